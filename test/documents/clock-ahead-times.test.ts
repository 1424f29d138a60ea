import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type ConnectionKey,
  connectionAdvanceLastSyncedAt,
  connectionGet,
  outboundChangeClaim,
  outboundChangeRecord,
  syncBatchRecord,
  syncCursorList,
  syncFailureClaim,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { beginLog, monthStart } from '../support/log-partitions.js';
import { blockWith } from './blocks.js';

const { url, pool } = useDatabase();

/** How far ahead the clock was: two years, in months. */
const ahead = 24;

/** The first moment of a month, as events and cursors have it. */
const at = (months: number) => monthStart(months).replace('.000Z', '.000000Z');

beforeEach(async () => {
  await pool.query('truncate crm_sync_cursors, crm_sync_runs, crm_sync_failures, crm_outbound_changes');
  await pool.query("update crm_connections set next_sync_at = now() + interval '1 hour'");
});

/** How many times the watch finds that are too far ahead, by subject. */
async function watch(client: pg.ClientBase): Promise<Record<string, number>> {
  const sql = await blockWith('monitor.md', 'as ahead');
  const answers = (await client.query(sql)) as unknown as { rows: Record<string, unknown>[] }[];
  const rows = answers.flatMap((answer) => answer.rows);
  const counts = rows.filter((row) => 'ahead' in row).map(({ subject, ahead }) => [subject, Number(ahead)]);
  const connections = rows.filter((row) => 'not_before_at' in row).length;
  return { connections, ...Object.fromEntries(counts) };
}

const nothing = { connections: 0, cursors: 0, runs: 0, failures: 0, 'outbound changes': 0, events: 0 };

/** Runs `work` as a worker does while the server's clock is ahead. */
async function whileAhead<Result>(client: pg.Client, work: () => Promise<Result>): Promise<Result> {
  await client.query(
    "select set_config('crm_schema.now', (now() + make_interval(months => $1))::text, false)",
    [ahead],
  );
  try {
    return await work();
  } finally {
    await client.query('reset crm_schema.now');
  }
}

describe('the times after the clock was ahead', () => {
  const timestamps = ['contact', 'landlord'] as const;

  /** A worker's runs while the clock is ahead; the last one does not end. */
  async function work(client: pg.Client, key: ConnectionKey): Promise<void> {
    const claim = async () => {
      await client.query('update crm_connections set next_sync_at = crm_now() where id = $1', [
        key.connectionId,
      ]);
      const runs = await syncRunClaim(client, { worker: 'test', limit: 1000 });
      const run = runs.find(({ connectionId }) => connectionId === key.connectionId);
      return run ?? expect.unreachable('the connection was not claimed');
    };
    const failed = { direction: 'inbound', entityType: 'contact', status: 'error' } as const;
    const error = { kind: 'provider', message: 'The CRM is down.' } as const;
    const syncedTo = at(ahead);
    const run = await claim();
    await syncBatchRecord(client, {
      ...run,
      batchNumber: 1,
      events: [
        { ...failed, externalId: 'OXF1', error: { ...error, retryable: true } },
        { ...failed, externalId: 'OXF2', error: { ...error, retryable: false } },
      ],
      cursors: [
        ...timestamps.map((entityType) => ({
          entityType,
          position: { kind: 'timestamp', syncedTo } as const,
        })),
        { entityType: 'applicant', position: { kind: 'token', token: 'opaque', syncedTo } as const },
      ].map((move) => ({ ...move, direction: 'inbound', version: 0 }) as const),
    });
    await outboundChangeClaim(client, run);
    await syncRunFinish(client, { ...run, outcome: 'success' });
    await syncRunFinish(client, {
      ...(await claim()),
      outcome: 'failed',
      error: { ...error, retryable: true },
    });
    await claim();
  }

  async function prepare(client: pg.Client) {
    await beginLog(client, 5);
    const { organisationId, contactIds } = await createTenant(client, 1);
    const key = await connect(client, organisationId);
    return { key, organisationId, contactIds };
  }

  async function repair(client: pg.Client): Promise<void> {
    await client.query(await blockWith('partitions.md', 'leases from the future'));
    await client.query(await blockWith('partitions.md', 'page = null'));
  }

  test('are found by the watch, and after the statements work goes on from before', async () => {
    await withClient(url, async (client) => {
      const { key, organisationId, contactIds } = await prepare(client);
      expect(await watch(client)).toEqual(nothing);
      await whileAhead(client, async () => {
        await outboundChangeRecord(client, { organisationId, contactIds });
        await work(client, key);
      });
      expect(await watch(client)).toEqual({
        connections: 1,
        cursors: 3,
        runs: 3,
        failures: 2,
        'outbound changes': 1,
        events: 2,
      });
      expect(await syncRunClaim(client, { worker: 'test', limit: 1000 })).toEqual([]);

      await repair(client);
      // The log is append-only: its events keep their times.
      expect(await watch(client)).toEqual({ ...nothing, events: 2 });
      expect((await connectionGet(client, key))?.lastSyncedAt).toBeNull();
      const cursors = await syncCursorList(client, key);
      expect(cursors.map(({ entityType, position }) => [entityType, position])).toEqual([
        ['applicant', null],
        ...timestamps.map((entityType) => [
          entityType,
          { kind: 'timestamp', syncedTo: '2026-11-01T00:00:00.000000Z' },
        ]),
      ]);

      // The claim closes the expired run; the pause after that failure ends at once for this test.
      expect(await syncRunClaim(client, { worker: 'test', limit: 1000 })).toEqual([]);
      const { rows: connections } = await client.query(
        `update crm_connections set next_sync_at = now() where id = $1
         returning first_failed_at <= now() as "hasFailed", last_success_at <= now() as "hasSucceeded"`,
        [key.connectionId],
      );
      expect(connections).toEqual([{ hasFailed: true, hasSucceeded: true }]);
      const [run] = await syncRunClaim(client, { worker: 'test', limit: 1000 });
      expect(run).toMatchObject(key);
      if (run === undefined) return;
      expect(await syncFailureClaim(client, run)).toMatchObject([{ recordId: 'OXF1' }]);
      expect(await outboundChangeClaim(client, run)).toMatchObject([{ contactId: contactIds[0] }]);
      const moves = cursors.map(({ direction, entityType, version }) => {
        return { direction, entityType, version, position: { kind: 'timestamp', syncedTo: at(0) } } as const;
      });
      const batch = await syncBatchRecord(client, { ...run, batchNumber: 1, cursors: moves });
      expect(batch.outcome).toBe('recorded');
      await syncRunFinish(client, { ...run, outcome: 'success' });
      expect((await connectionGet(client, key))?.lastSyncedAt).toBe(at(0));
      const { rows } = await client.query(
        'select count(*)::integer as runs from crm_sync_runs where ended_at <= now()',
      );
      expect(rows).toEqual([{ runs: 4 }]);
    });
  });

  test('of a program without workers are set back to before', async () => {
    await withClient(url, async (client) => {
      const { key } = await prepare(client);
      await client.query("select set_config('crm_schema.now', $1, false)", [at(ahead)]);
      await connectionAdvanceLastSyncedAt(client, { ...key, lastSyncedAt: at(ahead) });
      await client.query('reset crm_schema.now');
      expect(await watch(client)).toEqual({ ...nothing, connections: 1 });
      await repair(client);
      expect(await watch(client)).toEqual(nothing);
      expect((await connectionGet(client, key))?.lastSyncedAt).toBe('2026-11-01T00:00:00.000000Z');
    });
  });

  test('that are right stay: a paused CRM, a long interval, a disconnected connection', async () => {
    await withClient(url, async (client) => {
      const { organisationId } = await prepare(client);
      for (const [provider, values] of [
        ['alto', "paused_at = now(), pause_reason = 'Alto is down.'"],
        ['agentos', "next_sync_at = '9000-01-01Z', not_before_at = '9000-01-01Z'"],
        ['loop', "sync_interval_seconds = 604800, next_sync_at = now() + interval '7 days'"],
        [
          'street',
          `status = 'disconnected', disconnected_at = now(), credentials = null, next_sync_at = now() + interval '9 years',
           last_synced_at = now() + interval '9 years'`,
        ],
      ] as const) {
        const { connectionId } = await connect(client, organisationId, provider);
        await client.query(`update crm_connections set ${values} where id = $1`, [connectionId]);
      }
      const times = async () =>
        (await client.query('select id, next_sync_at, not_before_at from crm_connections order by id')).rows;
      const before = await times();
      expect(await watch(client)).toEqual(nothing);
      await repair(client);
      expect(await times()).toEqual(before);
    });
  });
});
