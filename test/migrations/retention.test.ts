import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { keptDays } from '../../bench/growth-document.js';
import { withClient } from '../../dev/database.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { beginLog, monthName, partitionNames, pastName } from '../support/log-partitions.js';
import { migrations } from '../support/migrations.js';
import { expectCheck, expectRefused } from '../support/refusals.js';
import { catalog } from './catalog.js';

const { url, pool } = useDatabase();

describe('crm_retention', () => {
  test('has a default period for the log and for runs', async () => {
    const { rows } = await pool.query('select subject, keep_days from crm_retention order by subject');
    expect(rows).toEqual([
      { subject: 'crm_sync_log', keep_days: 395 },
      { subject: 'crm_sync_runs', keep_days: 30 },
    ]);
    // The values that docs/growth.md uses.
    expect(keptDays).toEqual(Object.fromEntries(rows.map((row) => [row.subject, row.keep_days])));
  });

  test.each([
    ['crm_sync_log', 30],
    ['crm_sync_log', 36_501],
    ['crm_sync_runs', 0],
    ['crm_sync_runs', -1],
  ])('refuses to keep %s for %i days', async (subject, days) => {
    const attempt = pool.query('update crm_retention set keep_days = $2 where subject = $1', [subject, days]);
    await expectCheck(attempt, 'crm_retention_keep_days_check');
  });

  test.each([
    ['crm_sync_log', 31],
    ['crm_sync_log', 36_500],
    ['crm_sync_runs', 1],
  ])('accepts keeping %s for %i days', async (subject, days) => {
    await rolledBack(pool, async (client) => {
      await client.query('update crm_retention set keep_days = $2 where subject = $1', [subject, days]);
    });
  });

  test('refuses a period for any other table', async () => {
    await expectCheck(
      pool.query("insert into crm_retention (subject, keep_days) values ('crm_connections', 30)"),
      'crm_retention_subject_check',
    );
  });

  test.each(['crm_worker', 'crm_reader'])('can be read but not changed by %s', async (role) => {
    await rolledBack(pool, async (client) => {
      await client.query(`set local role ${role}`);
      expect((await client.query('select from crm_retention')).rows).toHaveLength(2);
      await expectRefused(client.query('update crm_retention set keep_days = 31'), { code: '42501' });
    });
  });

  const down = migrations.find(({ file }) => file.includes('create_crm_retention'))?.down ?? '';

  test.each([
    "update crm_retention set keep_days = 400 where subject = 'crm_sync_log'",
    "update crm_retention set keep_days = 31 where subject = 'crm_sync_runs'",
    "delete from crm_retention where subject = 'crm_sync_runs'",
  ])('0011 refuses to go down after: %s', async (change) => {
    await rolledBack(pool, async (client) => {
      await client.query(change);
      await client.query('savepoint before_down');
      await expectRefused(client.query(down), {
        code: 'CRM03',
        message: 'crm_retention has periods that were changed, and going down would lose them',
        hint: expect.stringContaining('crm_schema.allow_data_loss=on'),
      });
      await client.query('rollback to before_down');
      await client.query("set local crm_schema.allow_data_loss = 'on'");
      await client.query(down);
      const { rows } = await client.query("select to_regclass('crm_retention') as found");
      expect(rows).toEqual([{ found: null }]);
    });
  });
});

describe('crm_sync_log_ensure_past', () => {
  const ensurePast = async (client: Pick<typeof pool, 'query'>) =>
    (await client.query('select crm_sync_log_ensure_past() as name')).rows[0].name;

  test('does nothing if the log has a partition for older events', async () => {
    const before = await catalog(pool);
    expect(await ensurePast(pool)).toBeNull();
    expect(await catalog(pool)).toEqual(before);
  });

  test('creates a partition for older events, and blocks neither readers nor writers of the log', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(`alter table crm_sync_log detach partition ${monthName(0)}`);
      await client.query(`drop table ${monthName(0)}`);
      await client.query('commit; begin');
      expect(await ensurePast(client)).toBe(`public.${pastName(1)}`);
      const { rows } = await client.query(
        `select distinct relation::regclass::text as "table", mode from pg_locks
         where pid = pg_backend_pid() and mode <> 'AccessShareLock'
           and relation in ('crm_sync_log'::regclass, 'crm_connections'::regclass)
         order by 1, 2`,
      );
      expect(rows.map(({ table, mode }) => `${table} ${mode}`)).toEqual([
        'crm_connections RowShareLock',
        'crm_connections ShareRowExclusiveLock',
        'crm_sync_log ShareUpdateExclusiveLock',
      ]);
      await client.query('commit; begin');
      expect((await partitionNames(client))[0]).toBe(pastName(1));
      const shape = async (name: string) =>
        (await catalog(client, name))
          .filter((line) => !/^(index|column|relation) /.test(line))
          .map((line) => line.replaceAll(name, 'it').replace(/it_pkey\d*/, 'it_pkey'));
      expect(await shape(pastName(1))).toEqual(await shape(monthName(1)));
      const { rows: tables } = await client.query(
        'select relrowsecurity, relowner, relacl from pg_class where oid = any ($1::regclass[])',
        [[pastName(1), monthName(1)]],
      );
      expect(tables[0]).toEqual(tables[1]);
    });
  });

  test('creates the partition once if called ten times concurrently, and no call fails', async () => {
    await withClient(url, (client) => beginLog(client, 1));
    await pool.query(`drop table ${monthName(-1)}`);
    const made = await Promise.all(Array.from({ length: 10 }, () => ensurePast(pool)));
    expect(made.filter((name) => name !== null)).toEqual([`public.${pastName(0)}`]);
    await partitionNames(pool);
  });

  test('chooses another name while a detached table has that name', async () => {
    await rolledBack(pool, async (client) => {
      const [first = ''] = await partitionNames(client);
      await client.query(`drop table ${first}`);
      const name = await ensurePast(client);
      await client.query(`alter table crm_sync_log detach partition ${name}`);
      expect(await ensurePast(client)).toBe(`${name}_2`);
    });
  });

  test('has a lock_timeout below the default deadlock_timeout', async () => {
    const { rows } = await pool.query(
      "select proconfig from pg_proc where proname = 'crm_sync_log_ensure_past'",
    );
    expect(rows[0].proconfig).toContain('lock_timeout=500ms');
  });

  test('finds the log with any search_path and in any schema', async () => {
    await rolledBack(pool, async (client) => {
      const schema = `crm_test_${randomBytes(4).toString('hex')}`;
      await client.query(`drop table ${(await partitionNames(client))[0]}`);
      await client.query(
        `create temporary table crm_sync_log (id integer); create schema ${schema}; set local search_path = ${schema}, pg_temp`,
      );
      expect((await client.query('select public.crm_sync_log_ensure_past() as name')).rows[0].name).toMatch(
        /^public\.crm_sync_log_before_/,
      );
    });
  });
});
