import { readdir } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { rolledBack } from '../migrations/support.js';
import { createSamples } from '../queries/every-query.js';
import { useDatabase } from '../support/database.js';
import { codeBlocks } from './blocks.js';

const { pool } = useDatabase();

const pages = (await readdir(projectPath('docs/operations'))).toSorted();

/** The statements of a page, one entry a block. */
async function statements(page: string): Promise<string[]> {
  const blocks = await codeBlocks(`docs/operations/${page}`);
  return blocks.filter(({ language }) => language === 'sql').map(({ text }) => text);
}

/** The one block of a page that contains `text`. */
async function blockWith(page: string, text: string): Promise<string> {
  const found = (await statements(page)).filter((sql) => sql.includes(text));
  expect(found).toHaveLength(1);
  return found[0] as string;
}

beforeAll(async () => {
  await createSamples(pool);
});

describe('docs/operations', () => {
  test.each([
    ['back-up.md', 1],
    ['install.md', 1],
    ['monitor.md', 10],
    ['partitions.md', 2],
    ['roles.md', 3],
    ['upgrade.md', 4],
  ])('the %s page has %i blocks of statements', async (page, count) => {
    expect(await statements(page)).toHaveLength(count);
  });

  test.each(pages)('every statement of %s runs, in order', async (page) => {
    // The other pages name the users that this one creates.
    const users = page === 'roles.md' ? [] : [await blockWith('roles.md', 'create role web_user')];
    await rolledBack(pool, async (client) => {
      for (const sql of [...users, ...(await statements(page))]) await client.query(sql);
    });
  });

  test('a member of crm_reader can run the queries for readers', async () => {
    const sql = await blockWith('monitor.md', 'as overdue');
    expect(sql.split(';').length).toBeGreaterThan(4);
    await rolledBack(pool, async (client) => {
      await client.query('set local role crm_reader');
      await client.query(sql);
    });
  });

  test('the checks find nothing in a new installation, and find what was tampered with', async () => {
    const protection = await blockWith('monitor.md', 'row-level security is off');
    const grants = await blockWith('roles.md', 'string_agg(privilege_type');
    await rolledBack(pool, async (client) => {
      expect((await client.query(protection)).rows).toEqual([]);
      expect((await client.query(grants)).rows).toEqual([]);
      await client.query('alter table crm_sync_log disable trigger crm_sync_log_refuse_change');
      await client.query('alter table crm_sync_runs disable row level security');
      await client.query('grant truncate on crm_sync_runs to public');
      const found = (await client.query(protection)).rows.map((row) => row.found);
      expect(found).toEqual(expect.arrayContaining(['crm_sync_log', 'crm_sync_runs']));
      expect((await client.query(grants)).rows).toMatchObject([{ relname: 'crm_sync_runs' }]);
    });
  });

  test('the statements after the clock was ahead let a connection be claimed again', async () => {
    const repair = await blockWith('partitions.md', 'leases from the future');
    const watch = await blockWith('monitor.md', 'as overdue');
    await rolledBack(pool, async (client) => {
      // The samples have one open run, or get one.
      const { rows } = await client.query(
        `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at)
         select organisation_id, id, 'worker', now() + interval '9 years', now() + interval '9 years',
           now() + interval '9 years 1 minute'
         from crm_connections
         where status <> 'disconnected'
           and not exists (select from crm_sync_runs where connection_id = crm_connections.id and ended_at is null)
         limit 1
         returning connection_id`,
      );
      expect(rows).toHaveLength(1);
      const [{ connection_id: connectionId }] = rows;
      await client.query(
        "update crm_connections set next_sync_at = now() + interval '9 years' where id = $1",
        [connectionId],
      );
      const found = async () => {
        const answers = (await client.query(watch)) as unknown as { rows: Record<string, unknown>[] }[];
        return answers
          .flatMap((answer) => answer.rows)
          .filter((row) => 'next_sync_at' in row || 'expires_at' in row);
      };
      expect(await found()).toHaveLength(2);
      await client.query(repair);
      expect(await found()).toEqual([]);
      const { rows: claimed } = await client.query(
        `select next_sync_at <= now() as "isDue",
           not exists (select from crm_sync_runs where connection_id = $1 and ended_at is null and expires_at > now()) as "isFree"
         from crm_connections
         where id = $1`,
        [connectionId],
      );
      expect(claimed).toEqual([{ isDue: true, isFree: true }]);
    });
  });

  test("a detached table does not count as next month's partition", async () => {
    const query = await blockWith('monitor.md', 'next_month_is_there');
    await rolledBack(pool, async (client) => {
      expect((await client.query(query)).rows).toMatchObject([{ next_month_is_there: true }]);
      const { rows } = await client.query(
        "select 'crm_sync_log_' || to_char(now() at time zone 'utc' + interval '1 month', 'YYYY_MM') as name",
      );
      await client.query(`alter table crm_sync_log detach partition ${rows[0].name}`);
      expect((await client.query(query)).rows).toMatchObject([{ next_month_is_there: false }]);
    });
  });
});
