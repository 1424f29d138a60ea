import { readdir } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { createSamples } from '../queries/every-query.js';
import { rolledBack, useDatabase } from '../support/database.js';
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
    ['partitions.md', 1],
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
