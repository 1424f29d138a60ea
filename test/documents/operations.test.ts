import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { rolledBack } from '../migrations/support.js';
import { createSamples } from '../queries/every-query.js';
import { useDatabase } from '../support/database.js';

const { pool } = useDatabase();
const text = await readFile(projectPath('docs/operations.md'), 'utf8');
const blocks = [...text.matchAll(/^( *)```sql\n([\s\S]*?)^ *```$/gm)].map(([, , sql]) => sql as string);

beforeAll(async () => {
  await createSamples(pool);
});

describe('docs/operations.md', () => {
  test('its statements run, one after the other', async () => {
    expect(blocks.length).toBeGreaterThan(5);
    await rolledBack(pool, async (client) => {
      for (const sql of blocks) await client.query(sql);
    });
  });

  test('what a reader may ask, a reader can', async () => {
    const [, section = ''] = /As a member of `crm_reader`[\s\S]*?```sql\n([\s\S]*?)```/.exec(text) ?? [];
    expect(section.split(';').length).toBeGreaterThan(4);
    await rolledBack(pool, async (client) => {
      await client.query('set local role crm_reader');
      await client.query(section);
    });
  });

  test('finds nothing odd in a fresh installation, and what is odd', async () => {
    const odd = blocks.find((sql) => sql.includes('row-level security is off')) ?? '';
    const check = odd.slice(odd.indexOf('-- Has somebody'), odd.indexOf('-- Is a month'));
    const grants = blocks.find((sql) => sql.includes('string_agg(privilege_type')) ?? '';
    await rolledBack(pool, async (client) => {
      expect((await client.query(check)).rows).toEqual([]);
      expect((await client.query(grants)).rows).toEqual([]);
      await client.query('alter table crm_sync_log disable trigger crm_sync_log_refuse_change');
      await client.query('alter table crm_sync_runs disable row level security');
      await client.query('grant truncate on crm_sync_runs to public');
      const found = (await client.query(check)).rows.map((row) => row.found);
      expect(found).toEqual(expect.arrayContaining(['crm_sync_log', 'crm_sync_runs']));
      expect((await client.query(grants)).rows).toMatchObject([{ relname: 'crm_sync_runs' }]);
    });
  });

  test('does not take a table that is detached for the next month', async () => {
    const [query = ''] = /select exists \([\s\S]*?as next_month_is_there[\s\S]*?;/.exec(text) ?? [];
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
