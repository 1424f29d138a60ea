/**
 * Symptom: a CRM in London gives times without a zone. All summer, an hour of changes is not read.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits: its times have no zone. 1.4.0 read them as UTC.
 *
 * Input: a CRM that shows changes since a time of its own clock, and whose adapter gives the end of a pass as that clock
 * shows it: in summer, in winter, and in the hour that comes twice. Right: the adapter says what such a time means, and
 * every change is read; without that, the time is refused, the cursor stays, and health says why.
 */
import { beforeAll, beforeEach, expect, test } from 'vitest';
import type { Crm, CrmRecord } from '../../examples/crm.js';
import { syncNext } from '../../examples/sync-worker.js';
import {
  type ConnectionKey,
  canonicalTimestamp,
  syncCursorList,
  syncLogListByConnection,
  syncRunListByConnection,
} from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { makeDue, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const { connectDue } = syncSetup(database);
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let key: ConnectionKey;
beforeEach(async () => {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  key = await connectDue('custom');
});

/** A change at the CRM: when it was made, and what the CRM's clock showed then. */
interface Change {
  externalId: string;
  at: string;
  shown: string;
}

/** A CRM that shows what has changed since a time, and ends each pass at a time of its own clock. */
function londonCrm(changes: readonly Change[], endOfPass: string, timeZone?: string): Crm {
  const read = (time: string) => (timeZone === undefined ? time : canonicalTimestamp(time, { timeZone }));
  return {
    entityTypes: ['contact'],
    async readPage(_, from) {
      const since = 'changedSince' in from ? (from.changedSince ?? '') : '';
      const records = changes
        .filter(({ at }) => canonicalTimestamp(at) >= since)
        .map(
          ({ externalId, shown }): CrmRecord => ({
            entityType: 'contact',
            externalId,
            name: `Test Person ${externalId}`,
            state: 'active',
            modifiedAt: read(shown),
          }),
        );
      return { records, isLast: true, next: null, syncedTo: read(endOfPass) };
    },
    read: async () => null,
    write: async () => null,
  };
}

async function sync(crm: Crm): Promise<void> {
  await makeDue(pool, key);
  // Without an overlap, which would hide a cursor that is too late by less.
  await syncNext({ name: 'test', pool: worker, openCrm: async () => crm, overlapSeconds: 0 });
}

const firstId = { externalId: 'first' };
const laterId = { externalId: 'later' };

test.each([
  [
    'in summer',
    { ...firstId, at: '2026-07-01T08:59:00Z', shown: '2026-07-01T09:59:00' },
    '2026-07-01T10:00:00',
    { ...laterId, at: '2026-07-01T09:30:00Z', shown: '2026-07-01T10:30:00' },
  ],
  [
    'in winter',
    { ...firstId, at: '2026-01-15T09:59:00Z', shown: '2026-01-15T09:59:00' },
    '2026-01-15T10:00:00',
    { ...laterId, at: '2026-01-15T10:30:00Z', shown: '2026-01-15T10:30:00' },
  ],
  [
    'in the hour that comes twice',
    { ...firstId, at: '2026-10-25T00:29:00Z', shown: '2026-10-25T01:29:00' },
    '2026-10-25T01:30:00',
    { ...laterId, at: '2026-10-25T00:45:00Z', shown: '2026-10-25T01:45:00' },
  ],
])('a change %s that was made after a pass is read by the next one', async (_, first, endOfPass, later) => {
  await sync(londonCrm([first], endOfPass, 'Europe/London'));
  await sync(londonCrm([first, later], later.shown, 'Europe/London'));
  const read = (await syncLogListByConnection(pool, key)).map(({ externalId }) => externalId);
  expect(read.toSorted()).toEqual(['first', 'later']);
});

test('a time without a zone ends the run as a failure that says so, and the cursor stays', async () => {
  await sync(londonCrm([], '2026-07-01T10:00:00'));
  expect((await syncRunListByConnection(pool, key))[0]).toMatchObject({
    outcome: 'failed',
    error: { kind: 'provider', message: expect.stringContaining('has no zone') },
  });
  expect(await syncCursorList(pool, key)).toEqual([]);
});
