import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type ConnectionHealth,
  type ConnectionKey,
  type ConnectionTotal,
  connectionAdvanceLastSyncedAt,
  connectionDisconnect,
  connectionGet,
  connectionListTotals,
  connectionListWithHealth,
  connectionTotalWork,
  outboundChangeRecord,
  type Queryable,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

beforeEach(async () => {
  const tables = ['crm_outbound_changes', 'crm_sync_failures', 'crm_sync_runs', 'crm_connections'];
  for (const table of tables) await pool.query(`delete from ${table}`);
});

async function healthOf(client: Queryable, key: ConnectionKey): Promise<ConnectionHealth> {
  const rows = await connectionListWithHealth(client, { ...key, failuresSince: nine });
  return (
    rows.find(({ connectionId }) => connectionId === key.connectionId) ?? expect.unreachable('not listed')
  );
}

/** Inserts failures as batches would. */
async function fail(key: ConnectionKey, retried: number, givenUp: number, dismissed = 0): Promise<void> {
  await pool.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at, gave_up_at, dismissed_at, dismissed_by, dismissal_reason)
     select $1, $2, 'inbound', 'contact', number, 1,
       '{"kind": "timeout", "retryable": true, "message": "No answer."}', $3::timestamptz, $3,
       case when number <= $4 then $3 end, case when number > $4 and number <= $4 + $5 then $3 end,
       case when number > $4 + $5 then $3 end, case when number > $4 + $5 then 'test' end, case when number > $4 + $5 then 'Test.' end
     from generate_series(1, $4::integer + $5::integer + $6::integer) as number`,
    [key.organisationId, key.connectionId, nine, retried, givenUp, dismissed],
  );
}

/** Inserts outbound changes of new contacts. */
async function wait(key: ConnectionKey, count: number): Promise<void> {
  await pool.query(
    `with contact as (
       insert into contacts (id, organisation_id, name)
       select gen_random_uuid(), $1, 'Test Person' from generate_series(1, $3) returning id
     )
     insert into crm_outbound_changes (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at)
     select $1, id, $2, $4::timestamptz, $4, $4 from contact`,
    [key.organisationId, key.connectionId, count, nine],
  );
}

const noAnswer = { kind: 'network', retryable: true, message: 'No answer.' } as const;

describe('connectionListWithHealth', () => {
  test('returns no runs, events or failures for a new connection', async () => {
    const key = await connectDue();
    expect(await healthOf(pool, key)).toMatchObject({
      nextSyncAt: nine,
      lastSuccessAt: null,
      failingSince: null,
      failedSyncs: 0,
      lagSeconds: null,
      runningSince: null,
      retriedRecords: 0,
      givenUpRecords: 0,
      dismissedRecords: 0,
      requestedRecords: 0,
      conflicts: 0,
      conflictWinner: 'nurturehub',
      revocation: null,
      revokeBeforeAt: null,
      waitingChanges: 0,
    });
  });

  test('returns every field of a connection', async () => {
    const key = await connectDue();
    expect(await healthOf(pool, key)).toMatchObject((await connectionGet(pool, key)) ?? {});
  });

  test('returns when the open run started, until its lease expires', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const [run] = await syncRunClaim(client, { worker: 'test', leaseSeconds: 60 });
      if (run === undefined) expect.unreachable('nothing was due');
      const runningSince = async () => (await healthOf(client, key)).runningSince;
      await clock.pass(59);
      expect(await runningSince()).toBe(nine);
      await clock.pass(1);
      expect(await runningSince()).toBeNull();
      await clock.pass(-1);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      expect(await runningSince()).toBeNull();
    });
  });

  test('returns since when and how often syncs have failed, and when one last succeeded', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const sync = async (end: { outcome: 'success' } | { outcome: 'failed'; error: typeof noAnswer }) => {
        await pool.query('update crm_connections set next_sync_at = $1', [nine]);
        const [run] = await syncRunClaim(client, { worker: 'test' });
        if (run === undefined) expect.unreachable('nothing was due');
        await syncRunFinish(client, { ...run, ...end });
      };
      await sync({ outcome: 'success' });
      expect(await healthOf(client, key)).toMatchObject({
        lastSuccessAt: nine,
        nextSyncAt: '2026-11-16T09:15:00.000000Z',
      });
      await clock.pass(60);
      await sync({ outcome: 'failed', error: noAnswer });
      await clock.pass(60);
      await sync({ outcome: 'failed', error: noAnswer });
      expect(await healthOf(client, key)).toMatchObject({
        lastSuccessAt: nine,
        failingSince: '2026-11-16T09:01:00.000000Z',
        failedSyncs: 2,
      });
      await sync({ outcome: 'success' });
      expect(await healthOf(client, key)).toMatchObject({
        lastSuccessAt: '2026-11-16T09:02:00.000000Z',
        failingSince: null,
        failedSyncs: 0,
      });
    });
  });

  test('returns the lag to the microsecond, and null once disconnected', async () => {
    const key = await connectDue();
    await connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: '2026-11-16T08:59:59.999999Z' });
    await atNine(async (client) => {
      expect((await healthOf(client, key)).lagSeconds).toBe(0.000001);
      await connectionDisconnect(client, key);
      expect(await healthOf(client, key)).toMatchObject({
        lagSeconds: null,
        lastSyncedAt: '2026-11-16T08:59:59.999999Z',
      });
    });
  });

  test('counts retried records, given-up records and waiting changes per connection', async () => {
    const key = await connectDue();
    const other = await connectDue('alto', key);
    await fail(key, 2, 3);
    await wait(key, 4);
    await fail(other, 1, 0);
    expect(await healthOf(pool, key)).toMatchObject({
      retriedRecords: 2,
      givenUpRecords: 3,
      waitingChanges: 4,
    });
    expect(await healthOf(pool, other)).toMatchObject({
      retriedRecords: 1,
      givenUpRecords: 0,
      waitingChanges: 0,
    });
  });

  test('counts at most 1,000 of each', async () => {
    const key = await connectDue();
    await fail(key, 1001, 1001);
    await wait(key, 1001);
    expect(await healthOf(pool, key)).toMatchObject({
      retriedRecords: 1000,
      givenUpRecords: 1000,
      waitingChanges: 1000,
    });
  });

  test('lists each connection once, whatever its runs, failures and changes', async () => {
    const key = await connectDue();
    await connectDue('alto', key);
    await fail(key, 3, 3);
    await wait(key, 3);
    await atNine(async (client) => {
      expect(await syncRunClaim(client, { worker: 'test' })).toHaveLength(2);
      expect(await connectionListWithHealth(client, { ...key, failuresSince: nine })).toHaveLength(2);
    });
  });
});

describe('connectionListTotals', () => {
  test('returns no row if nothing is connected', async () => {
    await connectionDisconnect(pool, await connectDue());
    expect(await connectionListTotals(pool)).toEqual([]);
  });

  test('counts the live connections of all organisations by CRM and status', async () => {
    const [healthy, failing, , late] = [
      await connectDue('reapit'),
      await connectDue('reapit'),
      await connectDue('reapit'),
      await connectDue('alto'),
    ];
    await connectionDisconnect(pool, await connectDue('alto'));
    await pool.query(
      "update crm_connections set next_sync_at = '2026-11-16T09:00:00.000001Z', last_success_at = $2 where id = $1",
      [healthy.connectionId, '2026-11-16T08:00:00Z'],
    );
    await pool.query(
      "update crm_connections set next_sync_at = '2026-11-16T08:30:00Z', last_success_at = $2, failure_count = 1, first_failed_at = $2 where id = $1",
      [failing.connectionId, '2026-11-15T08:00:00Z'],
    );
    await pool.query(
      "update crm_connections set status = 'error', status_reason = 'No answer.', failure_count = 9, first_failed_at = $2 where id = $1",
      [late.connectionId, nine],
    );
    await atNine(async (client) => {
      const totals: ConnectionTotal[] = await connectionListTotals(client);
      expect(totals).toEqual([
        {
          provider: 'alto',
          status: 'error',
          connections: 1,
          neverSynced: 1,
          failing: 1,
          due: 1,
          paused: 0,
          mostFailedSyncs: 9,
          nextSyncAt: nine,
          oldestSuccessAt: null,
        },
        {
          provider: 'reapit',
          status: 'active',
          connections: 3,
          neverSynced: 1,
          failing: 1,
          due: 2,
          paused: 0,
          mostFailedSyncs: 1,
          nextSyncAt: '2026-11-16T08:30:00.000000Z',
          oldestSuccessAt: '2026-11-15T08:00:00.000000Z',
        },
      ]);
    });
  });
});

describe('connectionTotalWork', () => {
  const nothing = {
    running: 0,
    expired: 0,
    retriedRecords: 0,
    givenUpRecords: 0,
    dismissedRecords: 0,
    waitingChanges: 0,
  };

  test('returns zeros if there is no work', async () => {
    expect(await connectionTotalWork(pool)).toEqual(nothing);
  });

  test('counts running and expired runs separately', async () => {
    await connectDue();
    await connectDue();
    await atNine(async (client, clock) => {
      const claim = (leaseSeconds: number) =>
        syncRunClaim(client, { worker: 'test', limit: 1, leaseSeconds });
      const [short] = [...(await claim(60)), ...(await claim(120))];
      expect(await connectionTotalWork(client)).toEqual({ ...nothing, running: 2 });
      await clock.pass(60);
      expect(await connectionTotalWork(client)).toEqual({ ...nothing, running: 1, expired: 1 });
      await connectionDisconnect(client, short ?? expect.unreachable('nothing was due'));
      expect(await connectionTotalWork(client)).toEqual({ ...nothing, running: 1 });
    });
  });

  test('counts retried records, given-up records and waiting changes of all organisations', async () => {
    const [one, other] = [await connectDue(), await connectDue()];
    await fail(one, 2, 3);
    await fail(other, 1, 1);
    await wait(one, 4);
    const { organisationId, contactIds } = await createTenant(pool, 1);
    await connect(pool, organisationId, 'street');
    await outboundChangeRecord(pool, { organisationId, contactIds });
    expect(await connectionTotalWork(pool)).toEqual({
      ...nothing,
      retriedRecords: 3,
      givenUpRecords: 4,
      waitingChanges: 5,
    });
  });

  test('counts at most 10,000 of each', async () => {
    const key = await connectDue();
    await fail(key, 10_001, 10_001, 10_001);
    await wait(key, 10_001);
    await runs(10_001, '2026-11-16T08:00:00Z');
    await runs(10_001, '2026-11-16T10:00:00Z');
    await atNine(async (client) => {
      expect(Object.values(await connectionTotalWork(client))).toEqual([
        10_000, 10_000, 10_000, 10_000, 10_000, 10_000,
      ]);
    });
  });
});

/** Inserts open runs with the given expiry, each on a new connection. */
async function runs(count: number, expiresAt: string): Promise<pg.QueryResult> {
  return pool.query(
    `with agency as (
       insert into organisations (id, name)
       select gen_random_uuid(), 'Test Agency' from generate_series(1, $1) returning id
     ),
     connection as (
       insert into crm_connections (organisation_id, id, provider, status, disconnected_at)
       select id, gen_random_uuid(), 'reapit', 'disconnected', now() from agency
       returning organisation_id, id
     )
     insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at)
     select organisation_id, id, 'test', '2026-11-16T07:00:00Z', '2026-11-16T07:00:00Z', $2 from connection`,
    [count, expiresAt],
  );
}
