import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { rolledBack, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

test("partitions created by another user belong to the log's owner", async () => {
  await rolledBack(pool, async (client) => {
    const owner = `crm_owner_${randomBytes(4).toString('hex')}`;
    await client.query(`create role ${owner}`);
    await client.query(`grant create on schema public to ${owner}`);
    await client.query(`alter table crm_sync_log owner to ${owner}`);
    // A superuser, like a job of the server itself.
    await client.query('select crm_sync_log_ensure_partitions(6)');
    const { rows } = await client.query(
      `select relname, pg_get_userbyid(relowner) as owner
       from pg_class
       where relname ~ '^crm_sync_log_(catch_all|\\d{4}_\\d\\d)$'
       order by oid desc
       limit 4`,
    );
    expect(rows.map((row) => row.owner)).toEqual([owner, owner, owner, owner]);
    expect(rows.map((row) => row.relname)).toContain('crm_sync_log_catch_all');
  });
});

test('only the owner can create partitions unless granted', async () => {
  const { rows } = await pool.query(
    "select has_function_privilege('public', 'crm_sync_log_ensure_partitions(integer, regclass)', 'execute') as may",
  );
  expect(rows).toEqual([{ may: false }]);
});

test('creating partitions does not run functions that others created in the schema', async () => {
  await rolledBack(pool, async (client) => {
    // With exact argument types, so that they would be preferred if the schema were searched.
    const planted = "language plpgsql as $$ begin raise exception 'planted'; end $$";
    await client.query(`create function public.quote_literal(timestamptz) returns text ${planted}`);
    await client.query(`create function public.to_char(timestamptz, text) returns text ${planted}`);
    await client.query(`create function public.format(text, text, text) returns text ${planted}`);
    await client.query(`create function public.format(text, text, name) returns text ${planted}`);
    await client.query(
      `create function public.crm_sync_log_finish_partition(text, text) returns void ${planted}`,
    );
    await client.query(`create function public.crm_sync_log_ensure_partitions(text) returns void ${planted}`);
    const { rows } = await client.query(
      "select crm_sync_log_ensure_partitions(6::integer, 'crm_sync_log'::regclass)",
    );
    expect(rows).toHaveLength(3);
  });
});

test('text ids sort by bytes, whatever collation the system has', async () => {
  const { rows } = await pool.query(
    `select attname as name, collname as collation
     from pg_attribute
     inner join pg_collation on pg_collation.oid = attcollation
     where attrelid = 'contact_external_ids'::regclass
     order by attnum`,
  );
  expect(rows).toEqual([
    { name: 'provider', collation: 'C' },
    { name: 'entity_type', collation: 'C' },
    { name: 'external_id', collation: 'C' },
    { name: 'remote_state', collation: 'default' },
    { name: 'remote_version', collation: 'C' },
  ]);
});
