/**
 * Symptom: a CRM, or a program between, sends one time in the year 2062: a typing mistake, a wrong clock, an "until
 * further notice". The cursor takes it, and no change is read again until somebody asks for a full sync; the lag becomes
 * negative; and the log's event stays for good, outside all months.
 *
 * Source: tried on 1.3.0 with a Reapit-like server.
 *
 * Input: `lastSyncedAt` and `occurredAt` more than a day ahead of the database's clock. Right: refused with a code of
 * their own, `time_in_future`, and nothing is written. What is in the catch-all partition nevertheless is reported by
 * `crm-schema partitions list` and `crm-schema verify`.
 */
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionAdvanceLastSyncedAt,
  connectionGet,
  syncBatchRecord,
  syncCursorList,
  syncLogListByConnection,
  syncLogRecord,
  syncRunFinish,
} from '../../src/index.js';
import { runCli } from '../support/cli.js';
import { useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

beforeEach(async () => {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
});

const inFuture = { code: 'time_in_future', message: expect.stringContaining('Nothing was written') };
/** The clock stands at nine on 16 November 2026. */
const tooLate = ['2026-11-17T09:00:00.000001Z', '2062-07-01T10:00:00Z', '9998-12-31T23:59:59Z'];
const latest = '2026-11-17T09:00:00.000000Z';
const event = { direction: 'inbound', entityType: 'contact', status: 'success' } as const;

const lastSyncedAtOf = async (client: pg.ClientBase, key: ConnectionKey) =>
  (await connectionGet(client, key))?.lastSyncedAt;

describe('connectionAdvanceLastSyncedAt', () => {
  test.each(tooLate)('refuses %s, and leaves the cursor where it is', async (lastSyncedAt) => {
    const key = await connectDue();
    await atNine(async (client) => {
      await connectionAdvanceLastSyncedAt(client, { ...key, lastSyncedAt: '2026-11-16T08:00:00Z' });
      await expect(connectionAdvanceLastSyncedAt(client, { ...key, lastSyncedAt })).rejects.toMatchObject(
        inFuture,
      );
      expect(await lastSyncedAtOf(client, key)).toBe('2026-11-16T08:00:00.000000Z');
    });
  });

  test('takes a time up to a day ahead', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      expect(await connectionAdvanceLastSyncedAt(client, { ...key, lastSyncedAt: latest })).toEqual({
        lastSyncedAt: latest,
      });
    });
  });
});

describe('syncLogRecord', () => {
  test.each(tooLate)('refuses a batch with an event at %s, and names the event', async (occurredAt) => {
    const key = await connectDue();
    await atNine(async (client) => {
      const events = [event, { ...event, occurredAt: latest }, { ...event, occurredAt }, event];
      await expect(syncLogRecord(client, { ...key, events })).rejects.toMatchObject({
        ...inFuture,
        rowIndex: 2,
      });
      expect(await syncLogListByConnection(client, key)).toEqual([]);
    });
  });

  test('records events up to a day ahead, and without a time', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      const events = [event, { ...event, occurredAt: latest }];
      expect(await syncLogRecord(client, { ...key, events })).toEqual({ recorded: 2 });
    });
  });
});

describe('syncBatchRecord', () => {
  test.each(tooLate)('refuses a batch with an event or a cursor at %s, and writes nothing', async (time) => {
    const key = await connectDue();
    await atNine(async (client) => {
      const run = await claimOne(client);
      const move = (entityType: string, syncedTo: string) =>
        ({
          direction: 'inbound',
          entityType,
          version: 0,
          position: { kind: 'timestamp', syncedTo },
        }) as const;
      const right = [move('landlord', latest)];
      for (const batch of [
        { events: [event, { ...event, occurredAt: time }], cursors: right },
        { events: [event], cursors: [...right, move('contact', time)] },
      ]) {
        await expect(syncBatchRecord(client, { ...run, batchNumber: 1, ...batch })).rejects.toMatchObject({
          ...inFuture,
          rowIndex: 1,
        });
      }
      expect(await syncCursorList(client, key)).toEqual([]);
      expect(await syncLogListByConnection(client, key)).toEqual([]);
      await syncBatchRecord(client, { ...run, batchNumber: 1, events: [event], cursors: right });
    });
  });
});

test('a stream that an earlier release let go too far does not take the connection with it', async () => {
  const key = await connectDue();
  await atNine(async (client) => {
    await client.query(
      `insert into crm_sync_cursors (organisation_id, connection_id, direction, entity_type, kind, synced_to_at, version, moved_at)
       values ($1, $2, 'inbound', 'contact', 'timestamp', '2062-07-01Z', 1, crm_now())`,
      [key.organisationId, key.connectionId],
    );
    await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'success' });
    expect(await lastSyncedAtOf(client, key)).toBeNull();
  });
});

describe('events in the catch-all partition', () => {
  const own = useDatabase();
  const command = async (...args: string[]) => {
    const { code, stdout } = await runCli(args, { DATABASE_URL: own.url });
    return { code, stdout: stdout.replace(/\s+/g, ' ') };
  };

  test('are counted, with their days, by partitions list and by verify', async () => {
    expect(await command('verify')).toMatchObject({ code: 0 });
    const { organisationId, connectionId } = await syncSetup(own).connectDue();
    const insert = (occurredAt: string) =>
      own.pool.query(
        `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, status)
         values ($1, $2, $3, 'inbound', 'contact', 'success')`,
        [organisationId, connectionId, occurredAt],
      );
    await insert('2062-07-01T10:00:00Z');
    expect((await command('partitions', 'list')).stdout).toContain(
      'The catch-all partition holds 1 event, of 2062-07-01 (UTC), later than the last month.',
    );
    await insert('2061-01-31T23:00:00-02:00');
    const waiting = '2 events, from 2061-02-01 to 2062-07-01 (UTC)';
    expect((await command('partitions', 'list')).stdout).toContain(waiting);
    const verified = await command('verify');
    // The schema is as it should be.
    expect(verified.code).toBe(0);
    expect(verified.stdout).toContain(`The catch-all partition holds ${waiting}, later than the last month.`);
    const events = {
      count: 2,
      firstAt: '2061-02-01T01:00:00.000000Z',
      lastAt: '2062-07-01T10:00:00.000000Z',
    };
    expect(JSON.parse((await runCli(['verify', '--json'], { DATABASE_URL: own.url })).stdout)).toMatchObject({
      differences: [],
      waitingEvents: events,
    });
    const { stdout } = await runCli(['partitions', 'list', '--json'], { DATABASE_URL: own.url });
    expect(JSON.parse(stdout).partitions.at(-1)).toMatchObject({
      state: 'catch_all',
      hasEvents: true,
      events,
    });
  });
});
