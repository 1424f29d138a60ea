import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { type ConnectionKey, syncLogRecord } from '../../src/index.js';
import { verify } from '../../src/migrations.js';
import { useDatabase } from '../support/database.js';
import {
  beginLog,
  connectWithEvents,
  detachedNames,
  eventsOf,
  monthName,
  partitionNames,
  pastName,
} from '../support/log-partitions.js';
import { blockWith } from './blocks.js';

const { url, pool } = useDatabase();

/** How far ahead the clock was: two years, in months. */
const ahead = 24;
const day = 86_400_000;

beforeEach(async () => {
  for (const name of await detachedNames(pool)) await pool.query(`drop table ${name}`);
});

describe('the log after the clock was ahead', () => {
  /** What the daily jobs do while the clock is ahead: create the months up to then, and drop those before the retention period. */
  async function runJobs(client: pg.Client, jobs: { drops: boolean }): Promise<void> {
    await client.query('select crm_sync_log_ensure_partitions($1)', [ahead + 3]);
    if (!jobs.drops) return;
    const names = await partitionNames(client);
    for (const name of names.slice(0, names.indexOf(monthName(ahead - 13)))) {
      await client.query(`alter table crm_sync_log detach partition ${name}`);
      await client.query(`drop table ${name}`);
    }
    await client.query('select crm_sync_log_ensure_past()');
    expect((await partitionNames(client)).slice(0, 2)).toEqual([pastName(ahead - 13), monthName(ahead - 13)]);
  }

  const rowsOf = async (client: pg.Client, key: ConnectionKey) =>
    (
      await client.query(
        `select crm_sync_log.*, tableoid::regclass::text as partition from crm_sync_log
         where connection_id = $1 order by occurred_at, id`,
        [key.connectionId],
      )
    ).rows;

  const months = (from: number) => Array.from({ length: 4 - from }, (_, index) => monthName(from + index));
  const retained = new Date(Date.now() - 395 * day);
  const firstRetained =
    12 * (retained.getUTCFullYear() - new Date().getUTCFullYear()) +
    retained.getUTCMonth() -
    new Date().getUTCMonth();

  test.each([
    ['after the jobs dropped every month', true, [-2, -1, 0], -2],
    ['with events older than the retention period', true, [-30, -1, 0], firstRetained],
    ['without events', true, [], 0],
    ['with events of the future only', true, [ahead], 0],
    ['after the jobs only created months', false, [-30, -4, 0], -5],
    ['with events of the future', false, [-4, 0, ahead, ahead + 9], -5],
  ])('%s has a partition for each month, with the same events', async (_, drops, events, first) => {
    const cut = await blockWith('partitions.md', 'crm_sync_log_replaced_');
    await withClient(url, async (client) => {
      await beginLog(client, 5);
      await runJobs(client, { drops });
      const key = await connectWithEvents(client, events);
      const before = await rowsOf(client, key);
      if (drops) expect((await verify(client)).differences).not.toEqual([]);

      // Twice: the second time there is nothing to change.
      for (const _ of [1, 2]) {
        await client.query(cut);
        const names = await partitionNames(client);
        expect(names.slice(-months(first).length - 1)).toEqual([...months(first), 'crm_sync_log_catch_all']);
        expect(names.slice(0, -months(first).length - 1)).toEqual(drops ? [pastName(first)] : []);
        expect((await verify(client)).differences).toEqual([]);
        expect(await detachedNames(client)).toEqual([]);
        const after = await rowsOf(client, key);
        expect(after.map(({ partition, ...row }) => row)).toEqual(before.map(({ partition, ...row }) => row));
        expect(after.map(({ partition }) => partition)).toEqual(
          events.map((month) => {
            if (month > 3) return 'crm_sync_log_catch_all';
            return month >= first ? monthName(month) : (names[0] as string);
          }),
        );
      }

      // The log goes on, with new ids.
      await syncLogRecord(client, {
        ...key,
        events: [
          { direction: 'inbound', entityType: 'contact', externalId: randomUUID(), status: 'success' },
        ],
      });
      expect(await eventsOf(client, key.connectionId)).toHaveLength(events.length + 1);
    });
  });
});
