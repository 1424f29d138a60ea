import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import {
  type ClaimedRun,
  type ConnectionKey,
  connectionDisconnect,
  type SyncErrorKind,
  syncBatchRecord,
  syncFailureClaim,
  syncFailureCountByKind,
  syncFailureList,
  syncFailureReplay,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool, url } = database;
const { atNine, connectDue } = syncSetup(database);

let key: ConnectionKey;
beforeEach(async () => {
  await pool.query('truncate crm_sync_failures, crm_sync_runs');
  await pool.query('update crm_connections set next_sync_at = $1', ['9000-01-01T00:00:00Z']);
  key = await connectDue('reapit', { dueAt: dueAt(0) });
});

/** A minute before nine, plus `secondsLater`. */
const dueAt = (secondsLater: number) =>
  new Date(Date.parse('2026-11-16T08:59:00Z') + secondsLater * 1000).toISOString();

interface Failure {
  recordId: string;
  kind?: SyncErrorKind;
  attempts?: number;
  /** Seconds after nine. */
  failedAt?: number;
  /** Seconds after nine, or null if the worker gave up on the record. */
  dueAt?: number | null;
}

/** Inserts failures as batches would. */
async function fail(failures: Failure[], connection = key): Promise<void> {
  await pool.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at, gave_up_at)
     select $1, $2, 'inbound', 'contact', failure.record_id, failure.attempts,
       jsonb_build_object('kind', failure.kind, 'retryable', true, 'message', 'No name.'),
       $3::timestamptz - interval '2 days',
       $3::timestamptz + failure.failed * interval '1 second',
       $3::timestamptz + failure.due * interval '1 second',
       case when failure.due is null then $3::timestamptz end
     from unnest($4::text[], $5::text[], $6::integer[], $7::float8[], $8::float8[])
       as failure (record_id, kind, attempts, failed, due)`,
    [
      connection.organisationId,
      connection.connectionId,
      nine,
      failures.map(({ recordId }) => recordId),
      failures.map(({ kind = 'validation' }) => kind),
      failures.map(({ attempts = 1 }) => attempts),
      failures.map(({ failedAt = -3600 }) => failedAt),
      failures.map(({ dueAt = -60 }) => dueAt),
    ],
  );
}

const many = (count: number, rest: Partial<Failure> = {}): Failure[] =>
  Array.from({ length: count }, (_, number) => ({ recordId: `r${number}`, ...rest }));

const ids = (failures: readonly { recordId: string }[]) =>
  failures.map(({ recordId }) => recordId).toSorted();

/** The record ids of failures that match a condition. */
async function kept(condition: string): Promise<string[]> {
  const { rows } = await pool.query(
    `select record_id as "recordId" from crm_sync_failures where connection_id = $1 and ${condition}`,
    [key.connectionId],
  );
  return ids(rows);
}

describe('syncFailureClaim', () => {
  test('claims due records with every field, and nothing else', async () => {
    await fail([
      { recordId: 'due', attempts: 3, dueAt: 0 },
      { recordId: 'later', dueAt: 0.000001 },
      { recordId: 'given-up', dueAt: null },
    ]);
    await fail([{ recordId: 'of another' }], await connectDue('reapit', { dueAt: dueAt(1) }));
    await atNine(async (client) => {
      expect(await syncFailureClaim(client, await claimOne(client))).toEqual([
        {
          direction: 'inbound',
          entityType: 'contact',
          recordId: 'due',
          attempts: 3,
          error: { kind: 'validation', retryable: true, message: 'No name.' },
          firstFailedAt: '2026-11-14T09:00:00.000000Z',
        },
      ]);
    });
  });

  test('claims the longest due first and postpones them, so the next claim gets others', async () => {
    await fail([3, 1, 5, 2, 4].map((number) => ({ recordId: `${number}`, dueAt: -60 - number })));
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      const claim = async () => ids(await syncFailureClaim(client, { ...run, limit: 2 }));
      expect(await claim()).toEqual(['4', '5']);
      expect(await claim()).toEqual(['2', '3']);
      expect(await claim()).toEqual(['1']);
      expect(await claim()).toEqual([]);
      // 60 to 120 seconds after one failed attempt and this one.
      await clock.pass(59);
      expect(await claim()).toEqual([]);
      await clock.pass(61);
      expect(await syncFailureClaim(client, run)).toHaveLength(5);
    });
  });

  test('postpones a record longer the more often it has failed', async () => {
    await fail([{ recordId: 'often', attempts: 6 }]);
    await atNine(async (client) => {
      await syncFailureClaim(client, await claimOne(client));
      const { rows } = await pool.query(
        'select attempts, extract(epoch from next_attempt_at - $1::timestamptz)::float8 as wait from crm_sync_failures',
        [nine],
      );
      expect(rows[0].attempts).toBe(6);
      expect(rows[0].wait).toBeGreaterThanOrEqual(1920);
      expect(rows[0].wait).toBeLessThanOrEqual(3840);
    });
  });

  test('two concurrent claims never return the same record', async () => {
    await fail(many(60));
    const stopped = new pg.Pool({ connectionString: url, options: `-c crm_schema.now=${nine}` });
    // Dropping the database may terminate a closing connection.
    stopped.on('error', () => {});
    onTestFinished(() => stopped.end());
    const run = await claimOne(stopped);
    const claims = await Promise.all(
      Array.from({ length: 6 }, () => syncFailureClaim(stopped, { ...run, limit: 10 })),
    );
    expect(claims.map((claim) => claim.length)).toEqual([10, 10, 10, 10, 10, 10]);
    expect(new Set(claims.flat().map(({ recordId }) => recordId)).size).toBe(60);
  });

  test.each<[string, (client: pg.Client, run: ClaimedRun) => Promise<unknown>]>([
    ['ended', (client, run) => syncRunFinish(client, { ...run, outcome: 'cancelled' })],
    [
      'expired a microsecond ago',
      (client, run) => client.query("select set_config('crm_schema.now', $1, false)", [run.expiresAt]),
    ],
  ])('refuses a run that %s, and postpones nothing', async (_, lose) => {
    await fail([{ recordId: 'due' }]);
    await atNine(async (client) => {
      const run = await claimOne(client);
      await lose(client, run);
      await expect(syncFailureClaim(client, run)).rejects.toMatchObject({ code: 'lease_lost' });
      expect(await kept('next_attempt_at < first_failed_at + interval $$2 days$$')).toEqual(['due']);
    });
  });

  test('refuses another organisation, another connection and a run that does not exist', async () => {
    await fail([{ recordId: 'due' }]);
    const { organisationId } = await createTenant(pool);
    await atNine(async (client) => {
      const run = await claimOne(client);
      for (const wrong of [{ organisationId }, { connectionId: randomUUID() }, { runId: '0' }])
        await expect(syncFailureClaim(client, { ...run, ...wrong })).rejects.toMatchObject({
          code: 'lease_lost',
        });
      expect(await syncFailureClaim(client, run)).toHaveLength(1);
    });
  });

  test('an agency with thousands of failing records does not block others', async () => {
    await fail(many(5000));
    const others: ConnectionKey[] = [];
    for (let number = 1; number <= 20; number += 1)
      others.push(await connectDue('reapit', { dueAt: dueAt(number) }));
    await fail([{ recordId: 'theirs' }], others[19]);
    await atNine(async (client, clock) => {
      const served: string[] = [];
      for (let turn = 0; turn < 22; turn += 1) {
        const run = await claimOne(client);
        const claimed = await syncFailureClaim(client, { ...run, limit: 100 });
        await clock.pass(1);
        await syncRunFinish(client, { ...run, outcome: 'success', hasMore: claimed.length === 100 });
        served.push(`${run.connectionId} ${claimed.length}`);
      }
      expect(served).toEqual([
        `${key.connectionId} 100`,
        ...others.map(({ connectionId }, number) => `${connectionId} ${number === 19 ? 1 : 0}`),
        `${key.connectionId} 100`,
      ]);
    });
  });

  test('refuses a limit of 0', async () => {
    await expect(syncFailureClaim(pool, { ...key, runId: '1', limit: 0 })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('syncFailureList', () => {
  test('lists the newest failure first, with every field', async () => {
    await fail([
      { recordId: 'old', failedAt: -7200, dueAt: null },
      { recordId: 'new', kind: 'timeout', failedAt: -60, attempts: 2, dueAt: 30 },
    ]);
    await fail([{ recordId: 'of another' }], await connectDue('reapit', { dueAt: dueAt(0) }));
    expect(await syncFailureList(pool, key)).toEqual([
      {
        id: expect.stringMatching(/^\d+$/),
        direction: 'inbound',
        entityType: 'contact',
        recordId: 'new',
        attempts: 2,
        error: { kind: 'timeout', retryable: true, message: 'No name.' },
        firstFailedAt: '2026-11-14T09:00:00.000000Z',
        lastFailedAt: '2026-11-16T08:59:00.000000Z',
        nextAttemptAt: '2026-11-16T09:00:30.000000Z',
        gaveUpAt: null,
        dismissedAt: null,
        dismissedBy: null,
        dismissalReason: null,
      },
      expect.objectContaining({ recordId: 'old', nextAttemptAt: null, gaveUpAt: nine }),
    ]);
    const { organisationId } = await createTenant(pool);
    expect(await syncFailureList(pool, { ...key, organisationId })).toEqual([]);
  });

  test('pages over all kinds without gaps or repetitions, even if many failed at the same time', async () => {
    const kinds = ['validation', 'timeout', 'not_found'] as const;
    await fail(
      many(30).map(({ recordId }, number) => ({
        recordId,
        kind: kinds[number % 3] ?? 'internal',
        failedAt: -(number % 4),
      })),
    );
    const { rows: expected } = await pool.query(
      'select record_id from crm_sync_failures order by last_failed_at desc, id desc',
    );
    const seen: string[] = [];
    let before: Awaited<ReturnType<typeof syncFailureList>>[number] | undefined;
    do {
      const page = await syncFailureList(pool, { ...key, limit: 7, before });
      before = page.at(-1);
      seen.push(...page.map(({ recordId }) => recordId));
    } while (before !== undefined);
    expect(seen).toEqual(expected.map(({ record_id }) => record_id));
  });

  test('lists only the given kinds', async () => {
    await fail([{ recordId: 'v' }, { recordId: 't', kind: 'timeout' }, { recordId: 'a', kind: 'auth' }]);
    expect(ids(await syncFailureList(pool, { ...key, kinds: ['timeout', 'auth', 'auth'] }))).toEqual([
      'a',
      't',
    ]);
    expect(await syncFailureList(pool, { ...key, kinds: [] })).toEqual([]);
  });

  test.each([
    ['an unknown kind', { kinds: ['boredom' as never] }],
    ['kinds that are not an array', { kinds: 'timeout' as never }],
    ['a limit of 1,001', { limit: 1001 }],
    ['an invalid id to page from', { before: { lastFailedAt: nine, id: 'x' } }],
  ])('refuses %s', async (_, wrong) => {
    await expect(syncFailureList(pool, { ...key, ...wrong })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('syncFailureCountByKind', () => {
  test('counts by kind, most frequent first, and counts given-up records', async () => {
    await fail([
      { recordId: '1', kind: 'timeout' },
      { recordId: '2', kind: 'auth' },
      { recordId: '3', kind: 'auth', dueAt: null },
      { recordId: '4', kind: 'conflict', dueAt: null },
    ]);
    await fail([{ recordId: '1', kind: 'network' }], await connectDue('reapit', { dueAt: dueAt(0) }));
    expect(await syncFailureCountByKind(pool, key)).toEqual([
      { kind: 'auth', count: 2, givenUpCount: 1, dismissedCount: 0 },
      { kind: 'conflict', count: 1, givenUpCount: 1, dismissedCount: 0 },
      { kind: 'timeout', count: 1, givenUpCount: 0, dismissedCount: 0 },
    ]);
  });

  test('counts at most 1,000 of each kind', async () => {
    await fail([...many(1001), { recordId: 'x', kind: 'timeout' }]);
    expect(await syncFailureCountByKind(pool, key)).toEqual([
      { kind: 'validation', count: 1000, givenUpCount: 0, dismissedCount: 0 },
      { kind: 'timeout', count: 1, givenUpCount: 0, dismissedCount: 0 },
    ]);
  });
});

describe('syncFailureReplay', () => {
  const window = { failedFrom: '2026-11-16T08:00:00Z', failedBefore: '2026-11-16T09:00:00Z' };

  test('includes the start of the window and excludes its end', async () => {
    await fail(
      [
        { recordId: 'before', failedAt: -3600.000001 },
        { recordId: 'first', failedAt: -3600 },
        { recordId: 'last', failedAt: -0.000001 },
        { recordId: 'after', failedAt: 0 },
      ].map((failure) => ({ ...failure, dueAt: 3600 })),
    );
    await atNine(async (client) => {
      expect(await syncFailureReplay(client, { ...key, ...window })).toEqual({ replayed: 2 });
    });
    expect(await kept('attempts = 0')).toEqual(['first', 'last']);
  });

  test('replays only the given kinds, and skips records that are due already or of other connections', async () => {
    await fail([
      { recordId: 'v', dueAt: 3600 },
      { recordId: 't', kind: 'timeout', dueAt: 3600 },
      { recordId: 'due', kind: 'timeout', attempts: 4, dueAt: 0 },
    ]);
    const other = await connectDue('reapit', { dueAt: dueAt(1) });
    await fail([{ recordId: 't', kind: 'timeout', dueAt: 3600 }], other);
    await atNine(async (client) => {
      expect(await syncFailureReplay(client, { ...key, ...window, kinds: ['timeout'] })).toEqual({
        replayed: 1,
      });
      expect(await syncFailureReplay(client, { ...key, ...window, kinds: [] })).toEqual({ replayed: 0 });
      expect(await kept('attempts = 0')).toEqual(['t']);
      expect(await syncFailureList(pool, other)).toMatchObject([{ attempts: 1 }]);
      expect(ids(await syncFailureClaim(client, await claimOne(client)))).toEqual(['due', 't']);
    });
  });

  test('refuses a window that ends before it begins', async () => {
    const reversed = { failedFrom: window.failedBefore, failedBefore: window.failedFrom };
    await expect(syncFailureReplay(pool, { ...key, ...reversed })).rejects.toMatchObject({
      code: 'invalid_input',
      message: 'failedBefore must be later than failedFrom.',
    });
  });

  test('replays the oldest first, up to the limit, and the rest when called again', async () => {
    await fail([3, 1, 2].map((number) => ({ recordId: `${number}`, failedAt: -60 + number, dueAt: 3600 })));
    await atNine(async (client) => {
      expect(await syncFailureReplay(client, { ...key, ...window, limit: 2 })).toEqual({ replayed: 2 });
      expect(await kept('attempts = 0')).toEqual(['1', '2']);
      expect(await syncFailureReplay(client, { ...key, ...window, limit: 2 })).toEqual({ replayed: 1 });
      expect(await syncFailureReplay(client, { ...key, ...window, limit: 2 })).toEqual({ replayed: 0 });
    });
  });

  test('gives a given-up record ten attempts again', async () => {
    await fail([{ recordId: 'given-up', attempts: 10, dueAt: null }]);
    await atNine(async (client, clock) => {
      expect(await syncFailureReplay(client, { ...key, ...window })).toEqual({ replayed: 1 });
      expect(await kept('gave_up_at is not null')).toEqual([]);
      const run = await claimOne(client, 86_400);
      for (let attempt = 1; attempt <= 10; attempt += 1) {
        expect(await kept('gave_up_at is not null')).toEqual([]);
        const [claimed] = await syncFailureClaim(client, run);
        expect(claimed, `attempt ${attempt}`).toMatchObject({ recordId: 'given-up', attempts: attempt - 1 });
        await syncBatchRecord(client, {
          ...run,
          batchNumber: attempt,
          leaseSeconds: 86_400,
          events: [
            {
              direction: 'inbound',
              entityType: 'contact',
              externalId: 'given-up',
              status: 'error',
              error: { kind: 'timeout', retryable: true, message: 'No answer.' },
            },
          ],
        });
        await clock.pass(21_600);
      }
      expect(await kept('gave_up_at is not null')).toEqual(['given-up']);
    });
  });

  test('makes the connection due at once, even if the CRM asked to be left alone', async () => {
    await fail([{ recordId: 'late', dueAt: 3600 }]);
    const tomorrow = '2026-11-17T09:00:00Z';
    await pool.query('update crm_connections set next_sync_at = $2, not_before_at = $2 where id = $1', [
      key.connectionId,
      tomorrow,
    ]);
    await atNine(async (client) => {
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await syncFailureReplay(client, { ...key, ...window });
      const { rows } = await pool.query('select not_before_at from crm_connections where id = $1', [
        key.connectionId,
      ]);
      expect(rows).toEqual([{ not_before_at: null }]);
      const run = await claimOne(client);
      expect(run.connectionId).toBe(key.connectionId);
      expect(await syncFailureClaim(client, run)).toMatchObject([{ recordId: 'late', attempts: 0 }]);
    });
  });

  test('does not request a sync if there is nothing to retry', async () => {
    await fail([{ recordId: 'elsewhen', failedAt: 60, dueAt: 3600 }]);
    await pool.query('update crm_connections set next_sync_at = $2 where id = $1', [
      key.connectionId,
      '2026-11-16T10:00:00Z',
    ]);
    await atNine(async (client) => {
      expect(await syncFailureReplay(client, { ...key, ...window })).toEqual({ replayed: 0 });
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
    });
  });

  test('requests another sync after a run that is open', async () => {
    await fail([{ recordId: 'late', dueAt: 3600 }]);
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await syncFailureReplay(client, { ...key, ...window });
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await clock.pass(1);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
    });
  });

  test('requests another sync even if the run finishes concurrently', async () => {
    await fail([{ recordId: 'late', dueAt: 3600 }]);
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await client.query('begin');
      await syncRunFinish(client, { ...run, outcome: 'success' });
      await atNine(async (person) => {
        const replay = syncFailureReplay(person, { ...key, ...window });
        await waitUntilBlocked(url, person);
        await client.query('commit');
        expect(await replay).toEqual({ replayed: 1 });
      });
      await clock.pass(1);
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
    });
  });

  test('refuses a connection that is disconnected or of another organisation', async () => {
    await fail([{ recordId: 'given-up', dueAt: null }]);
    const { organisationId } = await createTenant(pool);
    const notLive = { code: 'connection_not_live' };
    await expect(syncFailureReplay(pool, { ...key, ...window, organisationId })).rejects.toMatchObject(
      notLive,
    );
    expect(await kept('gave_up_at is not null')).toEqual(['given-up']);
    await connectionDisconnect(pool, key);
    await expect(syncFailureReplay(pool, { ...key, ...window })).rejects.toMatchObject(notLive);
  });

  test.each([
    ['a window without a start', { failedFrom: undefined as never }],
    ['a time without a zone', { failedBefore: '2026-11-16T09:00:00' }],
    ['more than 1,000', { limit: 1001 }],
    ['an unknown kind', { kinds: ['boredom' as never] }],
  ])('refuses %s', async (_, wrong) => {
    await expect(syncFailureReplay(pool, { ...key, ...window, ...wrong })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('connectionDisconnect', () => {
  test('deletes the connection’s failures, also for the worker that holds its run, and nothing else', async () => {
    await fail([{ recordId: 'due' }, { recordId: 'given-up', dueAt: null }]);
    const other = await connect(pool, key.organisationId, 'alto');
    await fail([{ recordId: 'due' }], other);
    await atNine(async (client) => {
      const run = await claimOne(client);
      expect(run.connectionId).toBe(key.connectionId);
      await connectionDisconnect(client, key);
      await expect(syncFailureClaim(client, run)).rejects.toMatchObject({ code: 'lease_lost' });
    });
    expect(await syncFailureList(pool, key)).toEqual([]);
    expect(await syncFailureList(pool, other)).toHaveLength(1);
  });
});
