/**
 * Symptom: a person has two records at the CRM. An edit is pushed to both in one request; the answer says that one was
 * refused. The sync counts the person as pushed, and the refused record keeps the old value for ever.
 *
 * Source: mautic/mautic #4664 and PipedreamHQ/pipedream #21343 (parts of a composite request fail, and the result of one
 * part stands for all).
 *
 * Input: a batch with the pushes of one contact to its two records, of which the first fails and the second succeeds.
 *
 * Right: the contact is not pushed as long as a record of it is not: whatever the order, its failure stays.
 */
import type pg from 'pg';
import { expect, test } from 'vitest';
import {
  type BatchEvent,
  outboundChangeClaim,
  outboundChangeListWaiting,
  outboundChangeRecord,
  syncBatchRecord,
  syncFailureList,
} from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

/** A contact whose change was claimed, and the events of its pushes. */
async function start(client: pg.ClientBase) {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  const { organisationId, contactIds } = await createTenant(pool, 1);
  await connectDue('reapit', { organisationId });
  await outboundChangeRecord(client, { organisationId, contactIds });
  const run = await claimOne(client);
  const [change] = await outboundChangeClaim(client, run);
  const push = {
    direction: 'outbound',
    entityType: 'contact',
    internalId: contactIds[0],
    changeVersion: change?.version,
  } as const;
  const refusal = { kind: 'provider', retryable: true, message: 'Try again later.' } as const;
  return {
    run,
    refused: (externalId: string | null): BatchEvent => ({
      ...push,
      externalId,
      status: 'error',
      error: refusal,
    }),
    pushed: (externalId: string): BatchEvent => ({ ...push, externalId, status: 'success' }),
    /** Records the events in one batch, and returns whether the contact still waits to be pushed. */
    async waitsAfter(...events: BatchEvent[]): Promise<boolean> {
      await syncBatchRecord(client, { ...run, batchNumber: 1, events });
      const failures = await syncFailureList(client, run);
      const waiting = await outboundChangeListWaiting(client, { ...run, contactIds });
      expect(waiting).toHaveLength(failures.length);
      return failures.length === 1;
    },
  };
}

test('a contact waits to be pushed when the first of two pushes fails', async () => {
  await atNine(async (client) => {
    const { refused, pushed, waitsAfter } = await start(client);
    expect(await waitsAfter(refused('OXF18000001'), pushed('OXF18000002'))).toBe(true);
  });
});

test('a contact waits to be pushed when the second of two pushes fails', async () => {
  await atNine(async (client) => {
    const { refused, pushed, waitsAfter } = await start(client);
    expect(await waitsAfter(pushed('OXF18000001'), refused('OXF18000002'))).toBe(true);
  });
});

test('a contact is pushed when the push that failed succeeds in the same batch', async () => {
  await atNine(async (client) => {
    const { refused, pushed, waitsAfter } = await start(client);
    const events = [refused('OXF18000001'), pushed('OXF18000002'), pushed('OXF18000001')];
    expect(await waitsAfter(...events)).toBe(false);
  });
});

test('a contact is pushed when a creation fails, whose record has no id, and then succeeds', async () => {
  await atNine(async (client) => {
    const { refused, pushed, waitsAfter } = await start(client);
    expect(await waitsAfter(refused(null), pushed('OXF18000001'))).toBe(false);
  });
});
