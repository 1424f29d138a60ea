/**
 * Symptom: the administrator of a CRM takes away the right to read people. Listing still works, each record is refused,
 * and each sync ends as a success. Everything is shown as healthy; only the number of failed records tells.
 *
 * Source: xcat2/xcat-core #4136, forcedotcom/SalesforceMobileSDK-iOS #2831 (a sync counts as done although its records
 * failed); tried on 1.3.0 with a Reapit-like server: eight such syncs, status active.
 *
 * Input: syncs in which every record fails, each finished with success. Right: such a sync counts as a failed one
 * (crm_sync_run_is_fruitless), so that the rule for failed syncs puts the connection in error, with a reason that an
 * agent can act on. The cursor still advances, and one broken record of a quiet agency alarms nobody.
 */
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type BatchEvent,
  type ConnectionKey,
  connectionGet,
  connectionListTotals,
  connectionListWithHealth,
  connectionRequestSync,
  type SyncErrorKind,
  syncBatchRecord,
  syncCursorList,
  syncRunClaim,
  syncRunFinish,
  syncRunListByConnection,
} from '../../src/index.js';
import { type Clock, nine } from '../support/clock.js';
import { useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

beforeEach(async () => {
  await pool.query('delete from crm_sync_runs');
  // The log refers to the connections, and keeps them.
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
});

const stream = { direction: 'inbound', entityType: 'contact' } as const;

/** Events of records that fail with these kinds, and of one that has the given status. */
function events(kinds: readonly SyncErrorKind[], status?: 'success' | 'skipped'): BatchEvent[] {
  const failed = kinds.map(
    (kind, index): BatchEvent => ({
      ...stream,
      externalId: `OXF1800${index}`,
      status: 'error',
      error: { kind, retryable: false, message: `It was ${kind}.` },
    }),
  );
  return status === undefined ? failed : [...failed, { ...stream, externalId: 'OXF1700001', status }];
}

/** A sync of what is due, with one page of these records, that ends as a success. */
async function sync(client: pg.ClientBase, page: BatchEvent[], { hasMore = false } = {}): Promise<void> {
  const run = await claimOne(client);
  const [cursor] = await syncCursorList(client, run);
  const version = cursor?.version ?? 0;
  await syncBatchRecord(client, {
    ...run,
    batchNumber: 1,
    events: page,
    cursors: [
      {
        ...stream,
        version,
        position: { kind: 'timestamp', syncedTo: new Date(Date.parse(nine) + version * 60_000) },
      },
    ],
  });
  await syncRunFinish(client, { ...run, outcome: 'success', hasMore });
}

async function healthOf(client: pg.ClientBase, key: ConnectionKey) {
  const [health] = await connectionListWithHealth(client, { ...key, failuresSince: nine });
  return health ?? expect.unreachable('not listed');
}

/** Passes the time until the connection is due, and returns it in seconds. */
async function passUntilDue(clock: Clock): Promise<number> {
  const { rows } = await clock.client.query(
    'select ceil(extract(epoch from min(next_sync_at) - crm_now()))::integer as wait from crm_connections',
  );
  await clock.pass(rows[0].wait);
  return rows[0].wait;
}

const three = ['permission', 'permission', 'permission'] as const;
const invalid = ['validation', 'validation', 'validation', 'conflict'] as const;

describe('syncs in which every record fails', () => {
  test('with permission put the connection in error at once, with a reason that an agent can act on', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      await sync(client, events(three));
      expect(await healthOf(client, key)).toMatchObject({
        status: 'error',
        statusReason:
          'The CRM denies access to every record. Ask its administrator to allow it again, or reconnect it.',
        failedSyncs: 1,
        failingSince: nine,
        lastSuccessAt: null,
        lastSyncOutcome: 'failed',
        lastSyncError: {
          kind: 'permission',
          retryable: true,
          code: 'every_record_failed',
          message: 'All 3 records failed, each with an error of kind permission.',
        },
        givenUpRecords: 3,
      });
      const totals = await connectionListTotals(client);
      expect(totals.find(({ status }) => status === 'error')).toMatchObject({ failing: 1, neverSynced: 1 });
    });
  });

  test('with other errors put it in error after five in a row and an hour, not before', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      for (let syncs = 1; syncs <= 4; syncs += 1) {
        await sync(client, events(invalid));
        expect(await healthOf(client, key)).toMatchObject({ status: 'active', failedSyncs: syncs });
        expect(await passUntilDue(clock)).toBeGreaterThanOrEqual(900);
      }
      await sync(client, events(invalid));
      expect(await healthOf(client, key)).toMatchObject({
        status: 'error',
        statusReason:
          'Every record of the last syncs failed. See the failing records, and correct what they have in common.',
        failedSyncs: 5,
        lastSyncError: {
          kind: 'validation',
          message: 'All 4 records failed, most of them with an error of kind validation.',
        },
      });
    });
  });

  test('advance the cursors, that of the connection as well', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      for (let syncs = 1; syncs <= 3; syncs += 1) {
        await sync(client, events(invalid));
        await passUntilDue(clock);
      }
      const syncedTo = '2026-11-16T09:02:00.000000Z';
      expect(await syncCursorList(client, key)).toMatchObject([{ version: 3, position: { syncedTo } }]);
      expect(await connectionGet(client, key)).toMatchObject({ lastSyncedAt: syncedTo });
    });
  });

  test('wait for the delay of a failure, although there is more, and although a webhook asks', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const request = { organisationId: key.organisationId, connectionIds: [key.connectionId] };
      await sync(client, events(invalid), { hasMore: true });
      await connectionRequestSync(client, request);
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await clock.pass(60);
      expect(await syncRunClaim(client, { worker: 'test' })).toHaveLength(1);
    });
  });

  test('keep a failing connection in error when a sync finds no records, until one succeeds', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await sync(client, events(three));
      await passUntilDue(clock);
      for (const page of [[], events(['permission'])]) {
        await sync(client, page);
        expect(await healthOf(client, key)).toMatchObject({
          status: 'error',
          statusReason: expect.stringContaining('denies access'),
          failedSyncs: 1,
          failingSince: nine,
        });
        expect(await passUntilDue(clock)).toBe(900);
      }
      await sync(client, events(['validation'], 'success'));
      expect(await healthOf(client, key)).toMatchObject({
        status: 'active',
        statusReason: null,
        failedSyncs: 0,
        failingSince: null,
      });
      await passUntilDue(clock);
      // Now a sync without records is an ordinary success again.
      await sync(client, []);
      expect(await healthOf(client, key)).toMatchObject({ status: 'active', failedSyncs: 0 });
    });
  });

  test('are listed as failed runs', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      await sync(client, events(three));
      expect(await syncRunListByConnection(client, key)).toMatchObject([
        { outcome: 'failed', errorCount: '3', error: { code: 'every_record_failed' } },
      ]);
    });
  });
});

test.each([
  ['one record fails', events(['permission'])],
  ['two records fail', events(['permission', 'permission'])],
  ['all records but one fail', events([...three, ...three], 'success')],
  ['all records fail but one that is unchanged', events([...three, ...three], 'skipped')],
  ['there are no records', []],
])('a sync in which %s is a success', async (_, page) => {
  const key = await connectDue();
  await atNine(async (client) => {
    await sync(client, page);
    expect(await healthOf(client, key)).toMatchObject({
      status: 'active',
      failedSyncs: 0,
      lastSuccessAt: nine,
      lastSyncOutcome: 'success',
    });
  });
});

test('records that fail are no news when the sync itself fails', async () => {
  const key = await connectDue();
  await atNine(async (client) => {
    const run = await claimOne(client);
    await syncBatchRecord(client, { ...run, batchNumber: 1, events: events(three) });
    const error = { kind: 'timeout', retryable: true, message: 'No answer.' } as const;
    await syncRunFinish(client, { ...run, outcome: 'failed', error });
    expect(await healthOf(client, key)).toMatchObject({ status: 'active', lastSyncError: error });
  });
});
