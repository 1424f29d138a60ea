/**
 * Symptom: a record fails, and an old copy of it arrives afterwards, late. The failing record is no longer listed,
 * nobody retries it, and its last edit is missing.
 *
 * Source: paypal/mirakl-hyperwallet-connector #35 (a notification that arrives minutes after the next one);
 * owncloud/client #2059 (a sync that is not complete is marked as complete).
 *
 * Input: an inbound failure; then the record is skipped with reason `older`, in a later batch or in the same one.
 *
 * Right: what is older says nothing of what failed: the failure stays, and is retried. Any other skip closes it.
 */
import type pg from 'pg';
import { expect, test } from 'vitest';
import { type BatchEvent, type SyncSkipReason, syncBatchRecord, syncFailureList } from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

const record = { direction: 'inbound', entityType: 'contact', externalId: 'OXF18000001' } as const;
const failed: BatchEvent = {
  ...record,
  status: 'error',
  error: { kind: 'internal', retryable: true, message: 'It could not be stored.' },
};
const skipped = (reason: SyncSkipReason): BatchEvent => ({ ...record, status: 'skipped', reason });

/** Records these batches, and returns how many failures are left. */
async function failuresAfter(client: pg.ClientBase, ...batches: BatchEvent[][]): Promise<number> {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  const { organisationId } = await createTenant(pool);
  await connectDue('reapit', { organisationId });
  const run = await claimOne(client);
  for (const [index, events] of batches.entries())
    await syncBatchRecord(client, { ...run, batchNumber: index + 1, events });
  return (await syncFailureList(client, run)).length;
}

test.each([
  ['in a later batch', [[failed], [skipped('older')]]],
  ['in the same batch', [[failed, skipped('older')]]],
])('a failure stays when an old copy arrives %s', async (_, batches) => {
  await atNine(async (client) => {
    expect(await failuresAfter(client, ...batches)).toBe(1);
  });
});

test.each(['unchanged', 'echo', 'erased'] as const)(
  'a failure is closed by a skip because of %s',
  async (reason) => {
    await atNine(async (client) => {
      expect(await failuresAfter(client, [failed], [skipped(reason)])).toBe(0);
    });
  },
);
