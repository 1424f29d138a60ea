import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import * as queries from '../../src/generated/crm_sync_runs.js';
import {
  type ClaimedRun,
  type ConnectionKey,
  connectionDisconnect,
  connectionGet,
  connectionRequestSync,
  connectionSetStatus,
  connectionSetSyncInterval,
  outboundChangeRecord,
  type QueryConfig,
  type QueryResult,
  type SyncErrorKind,
  syncRunClaim,
  syncRunFinish,
  syncRunHeartbeat,
  syncRunListByConnection,
  syncRunPurge,
  syncRunSweep,
} from '../../src/index.js';
import { nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, delayStatements, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool, url } = database;
const { atNine, connectDue } = syncSetup(database);
const slow = useDatabase();

beforeEach(async () => {
  await pool.query('delete from crm_outbound_changes');
  await pool.query('delete from crm_sync_runs');
  await pool.query('delete from crm_connections');
});

const start = nine;

interface Schedule {
  status: string;
  reason: string | null;
  failures: number;
  due: number;
  failing: number | null;
  succeeded: number | null;
}

/** A connection's status and schedule. Times are in seconds after nine. */
async function schedule({ connectionId }: ConnectionKey): Promise<Schedule> {
  const { rows } = await pool.query(
    `select status, status_reason as reason, failure_count as failures,
       extract(epoch from next_sync_at - $2::timestamptz)::float8 as due,
       extract(epoch from first_failed_at - $2::timestamptz)::float8 as failing,
       extract(epoch from last_success_at - $2::timestamptz)::float8 as succeeded
     from crm_connections where id = $1`,
    [connectionId, start],
  );
  return rows[0];
}

const failed = (kind: SyncErrorKind) =>
  ({ outcome: 'failed', error: { kind, retryable: true, message: `It was ${kind}.` } }) as const;

describe('syncRunClaim', () => {
  test('claims due connections, longest due first, and postpones their next sync', async () => {
    const late = await connectDue('reapit', { dueAt: '2026-11-16T08:59:00Z' });
    const later = await connectDue('alto', { dueAt: '2026-11-16T08:58:00Z' });
    await connectDue('street', { dueAt: '2026-11-16T09:00:01Z' });
    await atNine(async (client) => {
      const runs = await syncRunClaim(client, { worker: 'worker-1', limit: 5, leaseSeconds: 60 });
      expect(runs).toEqual([
        {
          ...later,
          runId: expect.stringMatching(/^\d+$/),
          provider: 'alto',
          lastSyncedAt: null,
          expiresAt: '2026-11-16T09:01:00.000000Z',
          credentialsVersion: 1,
          conflictWinner: 'nurturehub',
        },
        expect.objectContaining({ ...late, provider: 'reapit' }),
      ]);
      expect(await schedule(late)).toMatchObject({ due: 900 });
      expect(await syncRunClaim(client, { worker: 'worker-2' })).toEqual([]);
    });
  });

  test('claims at most `limit` connections', async () => {
    for (let count = 0; count < 3; count += 1) await connectDue();
    await atNine(async (client) => {
      expect(await syncRunClaim(client, { worker: 'w', limit: 2 })).toHaveLength(2);
      expect(await syncRunClaim(client, { worker: 'w', limit: 2 })).toHaveLength(1);
    });
  });

  test('claims connections in error, and none that are disconnected', async () => {
    const failing = await connectDue();
    await pool.query("update crm_connections set status = 'error', status_reason = 'No answer.'");
    await connectionDisconnect(pool, await connectDue('alto'));
    await atNine(async (client) => {
      expect((await claimOne(client)).connectionId).toBe(failing.connectionId);
    });
  });

  test('skips a connection with an open run until its lease expires', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await syncRunClaim(client, { worker: 'w', leaseSeconds: 3600 });
      await clock.pass(900);
      expect(await syncRunClaim(client, { worker: 'other' })).toEqual([]);
      expect(await schedule(key)).toMatchObject({ due: 3600, failures: 0 });
    });
  });

  test('skips a locked connection', async () => {
    const locked = await connectDue('reapit', { dueAt: '2026-11-16T08:00:00Z' });
    const free = await connectDue('alto');
    await withClient(url, async (other) => {
      await other.query('begin');
      await other.query('select from crm_connections where id = $1 for no key update', [locked.connectionId]);
      await atNine(async (client) => {
        expect((await claimOne(client)).connectionId).toBe(free.connectionId);
      });
      await other.query('rollback');
    });
  });

  test('is not blocked by a transaction that is recording an event', async () => {
    const key = await connectDue();
    await withClient(url, async (other) => {
      await other.query('begin');
      await other.query(
        `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status)
         values ($1, $2, 'inbound', 'contact', 'success')`,
        [key.organisationId, key.connectionId],
      );
      await atNine(async (client) => {
        expect((await claimOne(client)).connectionId).toBe(key.connectionId);
      });
      await other.query('rollback');
    });
  });

  test('takes over from a worker without a heartbeat, and counts a failure', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const lost = await claimOne(client);
      await clock.pass(900);
      // Closed now, and due again shortly.
      expect(await syncRunClaim(client, { worker: 'other' })).toEqual([]);
      await clock.pass(1);
      const next = await claimOne(client);
      expect(next.connectionId).toBe(key.connectionId);
      expect(BigInt(next.runId)).toBeGreaterThan(BigInt(lost.runId));
      expect(await schedule(key)).toMatchObject({ failures: 1, failing: 900, status: 'active' });
      expect(await syncRunListByConnection(client, key)).toMatchObject([
        { runId: next.runId, outcome: null },
        { runId: lost.runId, outcome: 'abandoned', endedAt: '2026-11-16T09:15:00.000000Z' },
      ]);
    });
  });

  test('looks past due connections that still have a run', async () => {
    const busy = await connectDue('reapit', { dueAt: '2026-11-16T08:00:00Z' });
    const free = await connectDue('alto');
    await atNine(async (client) => {
      await claimOne(client);
      // This is its state if a sync was requested during the claim.
      await pool.query('update crm_connections set next_sync_at = $1 where id = $2', [
        start,
        busy.connectionId,
      ]);
      expect((await claimOne(client)).connectionId).toBe(free.connectionId);
    });
  });

  test('skips a connection that was claimed and requested again after its snapshot', async () => {
    // A claim that still uses its original snapshot when it reaches the row a second later.
    await delayStatements(slow.pool);
    const { organisationId } = await createTenant(slow.pool);
    const { connectionId } = await connect(slow.pool, organisationId);
    await withClient(slow.url, async (late) => {
      await late.query("set test.delay = '1'");
      const lateClaim = queries.syncRunClaim.run({ worker: 'late', limit: 5, leaseSeconds: 60 }, late);
      await sleep(200);
      const first = await slow.pool.connect();
      await first.query('begin');
      const [run] = await syncRunClaim(first, { worker: 'first' });
      const request = connectionRequestSync(slow.pool, { organisationId, connectionIds: [connectionId] });
      await sleep(200);
      await first.query('commit');
      first.release();
      expect(await request).toHaveLength(1);
      expect(await lateClaim).toEqual([]);
      const { rows } = await slow.pool.query(
        `select run.id, sync_requested_at is not null as is_requested
         from crm_connections as connection
         inner join crm_sync_runs as run on run.connection_id = connection.id and ended_at is null`,
      );
      expect(rows).toEqual([{ id: run?.runId, is_requested: true }]);
    });
  });

  test('twenty workers claim every connection exactly once', async () => {
    const count = 400;
    // TEST_CLAIMS=100000 for a long run.
    const wanted = Number(process.env.TEST_CLAIMS ?? 2000);
    const template = await connectDue();
    await pool.query(
      `with agency as (
         insert into organisations (id, name) select gen_random_uuid(), 'Test Agency' from generate_series(2, $1) returning id
       )
       insert into crm_connections (organisation_id, id, provider, credentials, next_sync_at)
       select agency.id, connection.id, 'reapit',
         template.credentials || jsonb_build_object('aad', crm_credentials_aad(agency.id, connection.id, 'reapit')), $2
       from agency
       cross join lateral (select gen_random_uuid() as id, agency.id as agency_id offset 0) as connection
       cross join (select credentials from crm_connections where id = $3) as template`,
      [count, start, template.connectionId],
    );
    const open = new Set<string>();
    let claims = 0;
    const workerPool = new pg.Pool({ connectionString: url, max: 20 });
    const worker = async (number: number) => {
      while (claims < wanted) {
        const runs = await syncRunClaim(workerPool, { worker: `worker-${number}`, limit: 1 + (number % 9) });
        for (const { connectionId } of runs) {
          expect(open.has(connectionId), `${connectionId} was claimed twice`).toBe(false);
          open.add(connectionId);
          claims += 1;
        }
        for (const run of runs) {
          open.delete(run.connectionId);
          await syncRunFinish(workerPool, { ...run, outcome: 'cancelled' });
        }
      }
    };
    await Promise.all(Array.from({ length: 20 }, (_, number) => worker(number)));
    await workerPool.end();
    const { rows: totals } = await pool.query(
      'select count(*)::integer as runs, count(distinct connection_id)::integer as connections from crm_sync_runs',
    );
    expect(totals[0].runs).toBe(claims);
    expect(totals[0].connections).toBe(count);
  }, 600_000);

  test.each([
    ['a blank worker', { worker: ' ' }],
    ['a limit of 0', { worker: 'w', limit: 0 }],
    ['a lease of 0 seconds', { worker: 'w', leaseSeconds: 0 }],
    ['a lease of more than a day', { worker: 'w', leaseSeconds: 86_401 }],
  ])('refuses %s', async (_, params) => {
    await expect(syncRunClaim(pool, params)).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

describe('syncRunHeartbeat', () => {
  test('extends the lease from now', async () => {
    await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await clock.pass(299);
      expect(await syncRunHeartbeat(client, { ...run, leaseSeconds: 600 })).toEqual({
        expiresAt: '2026-11-16T09:14:59.000000Z',
      });
    });
  });

  test('never shortens a lease, and keeps the connection from being due before it expires', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      expect(await syncRunHeartbeat(client, { ...run, leaseSeconds: 1 })).toEqual({
        expiresAt: run.expiresAt,
      });
      expect((await schedule(key)).due).toBe(900);
      await clock.pass(200);
      await syncRunHeartbeat(client, { ...run, leaseSeconds: 1000 });
      expect((await schedule(key)).due).toBe(1200);
    });
  });

  test('followed by finish in one transaction does not deadlock with a disconnect', async () => {
    const key = await connectDue();
    const worker = await pool.connect();
    try {
      const run = await claimOne(pool);
      await worker.query('begin');
      await syncRunHeartbeat(worker, run);
      const disconnect = connectionDisconnect(pool, key);
      await sleep(200);
      await syncRunFinish(worker, { ...run, outcome: 'success' });
      await worker.query('commit');
      await disconnect;
    } finally {
      worker.release();
    }
  });

  test('refuses an expired lease, even if no worker has taken over', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await clock.pass(300);
      await expect(syncRunHeartbeat(client, run)).rejects.toMatchObject({ code: 'lease_lost' });
      expect(await syncRunListByConnection(client, key)).toMatchObject([{ expiresAt: run.expiresAt }]);
    });
  });

  test('refuses a run that has ended, is of another organisation or does not exist', async () => {
    await connectDue();
    await atNine(async (client) => {
      const run = await claimOne(client);
      const { organisationId } = await createTenant(pool);
      for (const wrong of [{ organisationId }, { connectionId: randomUUID() }, { runId: '0' }]) {
        await expect(syncRunHeartbeat(client, { ...run, ...wrong })).rejects.toMatchObject({
          code: 'lease_lost',
        });
      }
      await syncRunFinish(client, { ...run, outcome: 'success' });
      await expect(syncRunHeartbeat(client, run)).rejects.toMatchObject({ code: 'lease_lost' });
    });
  });
});

describe('syncRunFinish', () => {
  test('success returns the connection to active, and the next sync is due after the interval', async () => {
    const key = await connectDue();
    await pool.query(
      `update crm_connections set status = 'error', status_reason = 'No answer.', first_failed_at = $1, failure_count = 7`,
      [start],
    );
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await clock.pass(60);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      expect(await schedule(key)).toEqual({
        status: 'active',
        reason: null,
        failures: 0,
        failing: null,
        succeeded: 60,
        due: 960,
      });
      expect(await connectionGet(client, key)).toMatchObject({
        statusChangedAt: '2026-11-16T09:01:00.000000Z',
      });
    });
  });

  test.each(['auth', 'permission'] as const)(
    'a failure of kind %s puts the connection in error at once, with its reason',
    async (kind) => {
      const key = await connectDue();
      await atNine(async (client) => {
        await syncRunFinish(client, {
          ...(await claimOne(client)),
          ...failed(kind),
          reason: 'Make a new key.',
        });
        expect(await schedule(key)).toMatchObject({
          status: 'error',
          reason: 'Make a new key.',
          failures: 1,
        });
      });
    },
  );

  test('other failures put the connection in error after five in a row and an hour, not before', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const seen: [number, string][] = [];
      for (let minutes = 0; minutes <= 70; minutes += 10) {
        await client.query('update crm_connections set next_sync_at = crm_now()');
        await syncRunFinish(client, { ...(await claimOne(client)), ...failed('timeout') });
        seen.push([minutes, (await schedule(key)).status]);
        await clock.pass(600);
      }
      expect(seen.filter(([, status]) => status === 'error').map(([minutes]) => minutes)).toEqual([60, 70]);
      expect(await schedule(key)).toMatchObject({ reason: 'It was timeout.', failures: 8, failing: 0 });
    });
  });

  test('neither a burst of failures nor a few over a long time put the connection in error', async () => {
    const [burst, rare] = [await connectDue('reapit'), await connectDue('alto')];
    await atNine(async (client, clock) => {
      const fail = async () => {
        await client.query('update crm_connections set next_sync_at = crm_now()');
        for (const run of await syncRunClaim(client, { worker: 'w' })) {
          await syncRunFinish(client, { ...run, ...failed('network') });
        }
      };
      for (let count = 0; count < 4; count += 1) await fail();
      await clock.pass(7 * 86_400);
      expect((await schedule(rare)).status).toBe('active');
      await client.query(
        'update crm_connections set first_failed_at = crm_now(), failure_count = 20 where id = $1',
        [burst.connectionId],
      );
      await client.query(
        'update crm_connections set first_failed_at = crm_now(), failure_count = 0 + 1 where id = $1',
        [rare.connectionId],
      );
      await fail();
      expect((await schedule(burst)).status).toBe('active');
      expect((await schedule(rare)).status).toBe('active');
    });
  });

  test('delays the next sync, longer each time, up to six hours', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      for (let failures = 1; failures <= 12; failures += 1) {
        await client.query('update crm_connections set next_sync_at = crm_now()');
        await syncRunFinish(client, { ...(await claimOne(client)), ...failed('provider') });
        const longest = Math.min(60 * 2 ** (failures - 1), 21_600);
        const { due } = await schedule(key);
        expect(due).toBeGreaterThanOrEqual(longest / 2);
        expect(due).toBeLessThanOrEqual(longest);
      }
    });
  });

  test('delays the next sync for as long as the CRM asks', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      await syncRunFinish(client, {
        ...(await claimOne(client)),
        ...failed('rate_limited'),
        retryAfterSeconds: 7200,
      });
      expect((await schedule(key)).due).toBe(7200);
    });
  });

  test('a refusal of replaced credentials does not put the connection in error', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      const run = await claimOne(client);
      await client.query('update crm_connections set credentials_version = 2');
      await syncRunFinish(client, { ...run, ...failed('auth') });
      expect(await schedule(key)).toMatchObject({ status: 'active', due: 0 });
      // A refusal of the new ones does.
      await syncRunFinish(client, { ...(await claimOne(client)), ...failed('auth') });
      expect(await schedule(key)).toMatchObject({ status: 'error' });
    });
  });

  test('after the connection is set to active, the next failure is the first', async () => {
    const key = await connectDue();
    await pool.query(
      "update crm_connections set status = 'error', status_reason = 'No.', failure_count = 9, first_failed_at = $1",
      ['2026-11-13T09:00:00Z'],
    );
    await connectionSetStatus(pool, { ...key, status: 'active' });
    await atNine(async (client) => {
      await syncRunFinish(client, { ...(await claimOne(client)), ...failed('network') });
      expect(await schedule(key)).toMatchObject({ status: 'active', failures: 1, failing: 0 });
    });
  });

  test('cancelling changes nothing except that the connection is due', async () => {
    const key = await connectDue();
    const before = await schedule(key);
    await atNine(async (client) => {
      await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'cancelled' });
      expect(await schedule(key)).toEqual(before);
    });
  });

  test('changes nothing once the lease has expired', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      const before = await schedule(key);
      await clock.pass(300);
      await expect(syncRunFinish(client, { ...run, ...failed('auth') })).rejects.toMatchObject({
        code: 'lease_lost',
      });
      expect(await schedule(key)).toEqual(before);
      expect(await syncRunListByConnection(client, key)).toMatchObject([{ outcome: null }]);
    });
  });

  test('finishes a run only once', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      const run = await claimOne(client);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      await expect(syncRunFinish(client, { ...run, ...failed('auth') })).rejects.toMatchObject({
        code: 'lease_lost',
      });
      expect(await schedule(key)).toMatchObject({ status: 'active', failures: 0 });
    });
  });

  test('does not change a connection that was disconnected in the meantime', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      const run = await claimOne(client);
      await connectionDisconnect(client, key);
      await expect(syncRunFinish(client, { ...run, outcome: 'success' })).rejects.toMatchObject({
        code: 'lease_lost',
      });
      expect(await schedule(key)).toMatchObject({ status: 'disconnected', succeeded: null });
      expect(await syncRunListByConnection(client, key)).toMatchObject([{ outcome: 'cancelled' }]);
    });
  });

  test.each([
    ['an outcome that callers may not set', { outcome: 'abandoned' }],
    ['a failure without an error', { outcome: 'failed' }],
    ['a negative retryAfterSeconds', { ...failed('provider'), retryAfterSeconds: -1 }],
    ['an invalid run id', { outcome: 'success', runId: '1.5' }],
  ])('refuses %s', async (_, end) => {
    const key = { organisationId: randomUUID(), connectionId: randomUUID(), runId: '1' };
    await expect(syncRunFinish(pool, { ...key, ...end } as never)).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('connectionRequestSync', () => {
  test('makes a connection due, with one write for many requests', async () => {
    const key = await connectDue('reapit', { dueAt: '2026-11-17T09:00:00Z' });
    const request = { organisationId: key.organisationId, connectionIds: [key.connectionId] };
    await atNine(async (client) => {
      expect(await connectionRequestSync(client, request)).toEqual([{ connectionId: key.connectionId }]);
      const { rows } = await client.query('select ctid::text from crm_connections');
      for (let count = 0; count < 5; count += 1)
        expect(await connectionRequestSync(client, request)).toEqual([]);
      expect((await client.query('select ctid::text from crm_connections')).rows).toEqual(rows);
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
      expect((await schedule(key)).due).toBe(900);
    });
  });

  test('a request during a run leads to another sync after it', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await clock.pass(10);
      await connectionRequestSync(client, {
        organisationId: key.organisationId,
        connectionIds: [key.connectionId],
      });
      // It waits for the open run, and is not lost.
      expect(await syncRunClaim(client, { worker: 'other' })).toEqual([]);
      await clock.pass(10);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
    });
  });

  test('a request while a run finishes leads to another sync after it', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      const run = await claimOne(client);
      await client.query('begin');
      await syncRunFinish(client, { ...run, outcome: 'success' });
      await atNine(async (other) => {
        const request = connectionRequestSync(other, { ...key, connectionIds: [key.connectionId] });
        await sleep(200);
        await client.query('commit');
        expect(await request).toHaveLength(1);
      });
      expect(await claimOne(client)).toMatchObject(key);
    });
  });

  test('waits for as long as the CRM asks, unless the request is urgent', async () => {
    const key = await connectDue();
    const request = { organisationId: key.organisationId, connectionIds: [key.connectionId] };
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await connectionRequestSync(client, request);
      await syncRunFinish(client, { ...run, ...failed('rate_limited'), retryAfterSeconds: 7200 });
      await clock.pass(10);
      // Webhooks: already requested.
      expect(await connectionRequestSync(client, request)).toEqual([]);
      expect((await schedule(key)).due).toBe(7200);
      // Urgent, from a person: changes the schedule although it was already requested.
      expect(await connectionRequestSync(client, { ...request, isUrgent: true })).toHaveLength(1);
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
    });
  });

  test('brings a failing connection forward only to the end of its delay', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      await syncRunFinish(client, {
        ...(await claimOne(client)),
        ...failed('provider'),
        retryAfterSeconds: 600,
      });
      await client.query("update crm_connections set next_sync_at = crm_now() + interval '1 day'");
      await connectionRequestSync(client, {
        organisationId: key.organisationId,
        connectionIds: [key.connectionId],
      });
      expect((await schedule(key)).due).toBe(600);
    });
  });

  test('skips connections that are disconnected or of another organisation', async () => {
    const [gone, other] = [await connectDue('reapit'), await connectDue('alto')];
    await connectionDisconnect(pool, gone);
    expect(
      await connectionRequestSync(pool, {
        organisationId: gone.organisationId,
        connectionIds: [gone.connectionId, other.connectionId],
      }),
    ).toEqual([]);
  });
});

describe('connectionSetSyncInterval', () => {
  test('sets when the next sync is due after a success, and brings the waiting one forward', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await connectionSetSyncInterval(client, { ...key, syncIntervalSeconds: 86_400 });
      expect(await connectionGet(client, key)).toMatchObject({ syncIntervalSeconds: 86_400 });
      await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'success' });
      expect((await schedule(key)).due).toBe(86_400);
      await clock.pass(60);
      expect(await connectionSetSyncInterval(client, { ...key, syncIntervalSeconds: 60 })).toEqual({
        nextSyncAt: '2026-11-16T09:02:00.000000Z',
      });
      await connectionSetSyncInterval(client, { ...key, syncIntervalSeconds: 3600 });
      expect((await schedule(key)).due).toBe(120);
    });
  });

  test('does not bring a sync forward while the CRM asks to be left alone', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      const run = await claimOne(client);
      await syncRunFinish(client, { ...run, ...failed('rate_limited'), retryAfterSeconds: 7200 });
      await connectionSetSyncInterval(client, { ...key, syncIntervalSeconds: 60 });
      expect((await schedule(key)).due).toBe(7200);
    });
  });

  test.each([59, 604_801, 90.5, '900'])('refuses %j', async (syncIntervalSeconds) => {
    const key = await connectDue();
    await expect(
      connectionSetSyncInterval(pool, { ...key, syncIntervalSeconds: syncIntervalSeconds as number }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await connectionGet(pool, key)).toMatchObject({ syncIntervalSeconds: 900 });
  });

  test('refuses a connection that is disconnected or of another organisation', async () => {
    const key = await connectDue();
    const { organisationId } = await createTenant(pool);
    const interval = { ...key, syncIntervalSeconds: 60 };
    const refused = { code: 'connection_not_live' };
    await expect(connectionSetSyncInterval(pool, { ...interval, organisationId })).rejects.toMatchObject(
      refused,
    );
    await connectionDisconnect(pool, key);
    await expect(connectionSetSyncInterval(pool, interval)).rejects.toMatchObject(refused);
  });
});

describe('syncRunClaim before it claims', () => {
  test('runs only the housekeeping that has something to do', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const sent: string[] = [];
      const watched = {
        query: (config: QueryConfig) => {
          sent.push(/\/\* (\w+) \*\//.exec(config.text)?.[1] ?? config.text);
          return client.query(config) as Promise<QueryResult>;
        },
      };
      const sentByClaim = async () => {
        sent.length = 0;
        await syncRunClaim(watched, { worker: 'w', leaseSeconds: 60 });
        return sent;
      };
      expect(await sentByClaim()).toEqual(['syncRunCheckHousekeeping', 'syncRunClaim']);

      await clock.pass(60);
      expect(await sentByClaim()).toEqual(['syncRunCheckHousekeeping', 'syncRunSweep', 'syncRunClaim']);

      const contactId = randomUUID();
      await client.query('insert into contacts (id, organisation_id, name) values ($1, $2, $3)', [
        contactId,
        key.organisationId,
        'Test Person',
      ]);
      await outboundChangeRecord(client, { organisationId: key.organisationId, contactIds: [contactId] });
      const announcing = ['syncRunCheckHousekeeping', 'outboundChangeAnnounce', 'syncRunClaim'];
      expect(await sentByClaim()).toEqual(announcing);
      expect(await sentByClaim()).toEqual(['syncRunCheckHousekeeping', 'syncRunClaim']);

      await connectionDisconnect(client, { ...key, revokeWithinSeconds: 60 });
      expect(await sentByClaim()).toEqual(['syncRunCheckHousekeeping', 'syncRunClaim']);
      await clock.pass(60);
      expect(await sentByClaim()).toEqual(['syncRunCheckHousekeeping', 'syncRunSweep', 'syncRunClaim']);
      await clock.pass(90 * 86_400);
      expect(await sentByClaim()).toEqual(announcing);
      expect(await sentByClaim()).toEqual(['syncRunCheckHousekeeping', 'syncRunClaim']);
    });
  });
});

describe('syncRunSweep', () => {
  test('closes expired runs, also of disconnected connections, and nothing else', async () => {
    const [first, second] = [await connectDue('reapit'), await connectDue('alto')];
    await atNine(async (client, clock) => {
      const runs = await syncRunClaim(client, { worker: 'w', leaseSeconds: 60 });
      await clock.pass(30);
      const run = runs.find(({ connectionId }) => connectionId === second.connectionId) as ClaimedRun;
      await syncRunHeartbeat(client, { ...run, leaseSeconds: 60 });
      await clock.pass(30);
      expect(await syncRunSweep(client)).toMatchObject([{ ...first, worker: 'w' }]);
      expect(await syncRunSweep(client)).toEqual([]);
      const { due, ...rest } = await schedule(first);
      expect(rest).toMatchObject({ failures: 1, failing: 60, status: 'active' });
      expect(due).toBeGreaterThan(60);
      expect(due).toBeLessThanOrEqual(61);
    });
  });

  test('does not close a run with a heartbeat at the last moment', async () => {
    await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await withClient(url, async (other) => {
        await other.query("select set_config('crm_schema.now', '2026-11-16T09:04:59Z', false)");
        await other.query('begin');
        await syncRunHeartbeat(other, run);
        await clock.pass(300);
        const sweep = syncRunSweep(client);
        await other.query('commit');
        expect(await sweep).toEqual([]);
      });
    });
  });

  test('a run longer than its interval does not crash workers in a tight loop', async () => {
    const key = await connectDue();
    await pool.query('update crm_connections set failure_count = 9, first_failed_at = $1', [start]);
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      for (let minutes = 0; minutes < 20; minutes += 4) {
        await clock.pass(240);
        await syncRunHeartbeat(client, run);
      }
      await clock.pass(300);
      await syncRunSweep(client);
      // 20 minutes and 5, then at most 512 seconds after ten failures.
      expect((await schedule(key)).due).toBeGreaterThanOrEqual(1500 + 256);
      expect((await schedule(key)).due).toBeLessThanOrEqual(1500 + 512);
    });
  });

  test('a connection with the maximum failure count does not stop claims', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await claimOne(client);
      await pool.query(
        'update crm_connections set failure_count = 2147483647, first_failed_at = $2 where id = $1',
        [key.connectionId, start],
      );
      await clock.pass(301);
      expect(await syncRunClaim(client, { worker: 'w' })).toEqual([]);
      expect(await schedule(key)).toMatchObject({ failures: 2_147_483_647 });
    });
  });

  test('skips a locked run, and does not wait for it while holding other locks', async () => {
    await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await clock.pass(300);
      await withClient(url, async (other) => {
        await other.query('begin');
        await other.query('select from crm_sync_runs where id = $1 for no key update', [run.runId]);
        expect(await syncRunSweep(client)).toEqual([]);
        await other.query('rollback');
      });
      expect(await syncRunSweep(client)).toHaveLength(1);
    });
  });

  test('a connection whose runs always expire is put in error by the same rule', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      for (let count = 0; count < 7; count += 1) {
        await client.query('update crm_connections set next_sync_at = crm_now()');
        await claimOne(client);
        await clock.pass(900);
        await syncRunSweep(client);
      }
      expect(await schedule(key)).toMatchObject({
        status: 'error',
        reason: 'Syncs keep stopping before they finish.',
        failures: 7,
      });
    });
  });
});

describe('syncRunListByConnection', () => {
  test('pages newest first, without gaps', async () => {
    const key = await connectDue();
    const runIds: string[] = [];
    await atNine(async (client) => {
      for (let count = 0; count < 5; count += 1) {
        const run = await claimOne(client);
        runIds.unshift(run.runId);
        await syncRunFinish(client, { ...run, outcome: 'cancelled' });
      }
      const first = await syncRunListByConnection(client, { ...key, limit: 3 });
      const second = await syncRunListByConnection(client, { ...key, limit: 3, before: first.at(-1) });
      expect([...first, ...second].map(({ runId }) => runId)).toEqual(runIds);
    });
  });
});

describe('syncRunPurge', () => {
  test('deletes runs that ended before a time, a batch at a time, and no open run', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      for (let count = 0; count < 4; count += 1) {
        await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'cancelled' });
        await clock.pass(60);
      }
      const open = await claimOne(client);
      const endedBefore = '2026-11-16T09:03:00Z';
      expect(await syncRunPurge(client, { endedBefore, limit: 2 })).toEqual({ purged: 2 });
      expect(await syncRunPurge(client, { endedBefore })).toEqual({ purged: 1 });
      expect(await syncRunPurge(client, { endedBefore })).toEqual({ purged: 0 });
      expect(await syncRunListByConnection(client, key)).toMatchObject([
        { runId: open.runId },
        { endedAt: '2026-11-16T09:03:00.000000Z' },
      ]);
    });
  });

  test('deletes runs past the retention period of crm_retention, to the second', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      for (let count = 0; count < 2; count += 1) {
        await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'cancelled' });
        await clock.pass(1);
      }
      await clock.pass(30 * 86_400 - 1);
      expect(await syncRunPurge(client)).toEqual({ purged: 1 });
      expect(await syncRunPurge(client, {})).toEqual({ purged: 0 });
      expect(await syncRunListByConnection(client, key)).toMatchObject([
        { endedAt: '2026-11-16T09:00:01.000000Z' },
      ]);
      await client.query('begin');
      await client.query("update crm_retention set keep_days = 29 where subject = 'crm_sync_runs'");
      expect(await syncRunPurge(client, { endedBefore: null })).toEqual({ purged: 1 });
      await client.query('rollback');
    });
  });
});
