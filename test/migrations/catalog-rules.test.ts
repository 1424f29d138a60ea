import { beforeAll, describe, expect, test } from 'vitest';
import { useDatabase } from '../support/database.js';

const { pool } = useDatabase();

/** An object that the migrations created. */
interface Found {
  name: string;
  comment: string | null;
}

/** Our own tables, without partitions, which are compared with their parent below. */
const ours = `
  select pg_class.*, oid::regclass::text as name
  from pg_class
  where relnamespace = 'public'::regnamespace
    and relkind in ('r', 'p')
    and not relispartition
    and relname not in ('organisations', 'contacts', 'pgmigrations', 'crm_schema_migrations')`;

const objects = {
  tables: `select name, obj_description(oid, 'pg_class') as comment from (${ours}) as ours`,
  columns: `
    select format('%s.%s', name, attname) as name, col_description(attrelid, attnum) as comment
    from (${ours}) as ours
    join pg_attribute on attrelid = ours.oid and attnum > 0 and not attisdropped`,
  views: `
    select oid::regclass::text as name, obj_description(oid, 'pg_class') as comment
    from pg_class where relnamespace = 'public'::regnamespace and relkind = 'v'`,
  functions: `
    select oid::regprocedure::text as name, obj_description(oid, 'pg_proc') as comment
    from pg_proc where pronamespace = 'public'::regnamespace`,
  constraints: `
    select format('%s %s', name, conname) as name, obj_description(pg_constraint.oid, 'pg_constraint') as comment
    from (${ours}) as ours
    join pg_constraint on conrelid = ours.oid
    where contype <> 'n'`,
  indexes: `
    select indexrelid::regclass::text as name, obj_description(indexrelid, 'pg_class') as comment
    from pg_index
    where (indrelid in (select oid from (${ours}) as ours) or indexrelid = to_regclass('contacts_organisation_id_id_key'))
      and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u', 'x'))`,
  triggers: `
    select format('%s %s', name, tgname) as name, obj_description(pg_trigger.oid, 'pg_trigger') as comment
    from (${ours}) as ours
    join pg_trigger on tgrelid = ours.oid and not tgisinternal`,
  policies: `
    select format('%s %s', name, polname) as name, obj_description(pg_policy.oid, 'pg_policy') as comment
    from (${ours}) as ours
    join pg_policy on polrelid = ours.oid`,
  partitions: `
    select inhrelid::regclass::text as name, obj_description(inhrelid, 'pg_class') as comment
    from pg_inherits join pg_class on pg_class.oid = inhrelid and relkind = 'r'`,
};

async function found(kind: keyof typeof objects): Promise<Found[]> {
  return (await pool.query<Found>(`${objects[kind]} order by 1`)).rows;
}

/** The names that a query finds to break a rule. */
async function offenders(query: string): Promise<string[]> {
  return (await pool.query<{ name: string }>(query)).rows.map(({ name }) => name);
}

beforeAll(async () => {
  // The rules also apply to a partition created later.
  await pool.query('select crm_sync_log_ensure_partitions(5)');
  // With nothing to create, it drops what the previous call left behind.
  await pool.query('select crm_sync_log_ensure_partitions(5)');
});

describe.each(Object.keys(objects) as (keyof typeof objects)[])('%s', (kind) => {
  test('all have a comment', async () => {
    const all = await found(kind);
    expect(all.length).toBeGreaterThan(0);
    const bare = all.filter(({ comment }) => !/[.…]$/.test(comment ?? ''));
    expect(bare).toEqual([]);
  });
});

test('the schema has exactly our tables', async () => {
  expect((await found('tables')).map(({ name }) => name)).toEqual([
    'contact_external_id_aliases',
    'contact_external_id_archive',
    'contact_external_id_changes',
    'contact_external_ids',
    'crm_connections',
    'crm_erased_records',
    'crm_erasure_salts',
    'crm_erasures',
    'crm_outbound_changes',
    'crm_rate_limits',
    'crm_record_requests',
    'crm_retention',
    'crm_sync_conflicts',
    'crm_sync_cursors',
    'crm_sync_failures',
    'crm_sync_log',
    'crm_sync_runs',
  ]);
});

test('every object has one of our prefixes', async () => {
  expect(
    await offenders(`
      select relname as name from pg_class
      where relnamespace = 'public'::regnamespace
        and relname !~ '^(crm_|contact_external_(ids|id_aliases|id_archive|id_changes|records)(_|$)|contacts_organisation_id_id_key$)'
        and relname !~ '^(organisations|contacts)(_pkey)?$'
        and relname !~ '^pgmigrations'
      union all
      select proname from pg_proc where pronamespace = 'public'::regnamespace and proname !~ '^crm_'
      union all
      select typname from pg_type
      where typnamespace = 'public'::regnamespace and typrelid = 0 and typelem = 0
      union all
      select nspname from pg_namespace where nspname !~ '^(pg_|public$|information_schema$)'
      union all
      select extname from pg_extension where extname <> 'plpgsql'
      union all
      select evtname from pg_event_trigger
      order by name`),
  ).toEqual([]);
});

test('constraints are named after their table and their columns or invariant', async () => {
  expect(
    await offenders(`
      select conname as name
      from (${ours}) as ours
      join pg_constraint on conrelid = ours.oid
      where contype <> 'n'
        and conname !~ ('^' || name || case contype
          when 'p' then '_pkey$'
          when 'f' then '_[a-z0-9_]+_fkey$'
          when 'u' then '_[a-z0-9_]+_key$'
          else '_[a-z0-9_]+_check$'
        end)`),
  ).toEqual([]);
});

test('indexes are named after their table and end in their kind', async () => {
  expect(
    await offenders(`
      select indexrelid::regclass::text as name
      from (${ours}) as ours
      join pg_index on indrelid = ours.oid
      where indexrelid::regclass::text !~ ('^' || name || case
        when indisprimary then '_pkey$'
        when indisunique then '_[a-z0-9_]+_key$'
        else '_[a-z0-9_]+_idx$'
      end)`),
  ).toEqual([]);
});

// The server names a partition's indexes, and truncates the names.
test('names are lower snake case and not truncated at 63 bytes', async () => {
  expect(
    await offenders(`
      with named (name) as (
        select relname::text from pg_class
        where relnamespace = 'public'::regnamespace and (not relispartition or relkind = 'r')
        union all select conname::text from pg_constraint where connamespace = 'public'::regnamespace
        union all select tgname::text from pg_trigger where not tgisinternal
        union all select proname::text from pg_proc where pronamespace = 'public'::regnamespace
        union all select attname::text from pg_attribute join (${ours}) as ours on attrelid = ours.oid where attnum > 0
      )
      select name from named where name !~ '^[a-z][a-z0-9_]*$' or octet_length(name) >= 63`),
  ).toEqual([]);
});

test('every foreign key has an index led by its columns', async () => {
  // An index led by the organisation alone would read all rows of a tenant.
  expect(
    await offenders(`
      select conname as name
      from (${ours}) as ours
      join pg_constraint on conrelid = ours.oid and contype = 'f'
      where not exists (
        select
        from pg_index
        where indrelid = conrelid
          and indisvalid
          and indpred is null
          and (
            (select array_agg(key order by key) from unnest(indkey[0:cardinality(conkey) - 1]) as key)
              = (select array_agg(key order by key) from unnest(conkey) as key)
            or (
              indkey[0] = any (conkey)
              and indkey[0] <> (select attnum from pg_attribute where attrelid = conrelid and attname = 'organisation_id')
            )
          )
      )`),
  ).toEqual([]);
});

// Except crm_retention, which is for the whole installation, and crm_rate_limits: a CRM counts by its own accounts and
// keys, which organisations may share (docs/decisions/0026).
test('every primary key and every foreign key begins with the organisation', async () => {
  expect(
    await offenders(`
      select conname as name
      from (${ours}) as ours
      join pg_constraint on conrelid = ours.oid and contype in ('p', 'f')
      where name not in ('crm_retention', 'crm_rate_limits')
        and conkey[1] <> (select attnum from pg_attribute where attrelid = conrelid and attname = 'organisation_id')`),
  ).toEqual([]);
});

test('every table has a primary key', async () => {
  expect(
    await offenders(`
      select name from (${ours}) as ours
      where not exists (select from pg_constraint where conrelid = ours.oid and contype = 'p')`),
  ).toEqual([]);
});

test('columns use timestamptz, text, jsonb and no integer keys', async () => {
  expect(
    await offenders(`
      select format('%s.%s %s', name, attname, format_type(atttypid, atttypmod)) as name
      from (${ours}) as ours
      join pg_attribute on attrelid = ours.oid and attnum > 0 and not attisdropped
      where atttypid in ('timestamp'::regtype, 'time'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'json'::regtype, 'money'::regtype)
        or (
          atttypid in ('int2'::regtype, 'int4'::regtype)
          and exists (select from pg_index where indrelid = ours.oid and attnum = any (indkey))
        )`),
  ).toEqual([]);
});

test('timestamp columns end in _at', async () => {
  expect(
    await offenders(`
      select format('%s.%s', name, attname) as name
      from (${ours}) as ours
      join pg_attribute on attrelid = ours.oid and attnum > 0 and not attisdropped
      where (atttypid = 'timestamptz'::regtype) <> (attname ~ '_at$')`),
  ).toEqual([]);
});

test('every function sets a fixed search_path', async () => {
  expect(
    await offenders(`
      select oid::regprocedure::text as name
      from pg_proc
      where pronamespace = 'public'::regnamespace
        and not exists (
          select from unnest(proconfig) as setting
          where setting ~ '^search_path=' and setting !~ '\\$user'
        )`),
  ).toEqual([]);
});

test('every search_path is pg_catalog, pg_temp', async () => {
  expect(
    await offenders(`
      select format('%s: %s', oid::regprocedure, setting) as name
      from pg_proc
      cross join unnest(proconfig) as setting
      where pronamespace = 'public'::regnamespace
        and setting ~ '^search_path='
        and setting <> 'search_path=pg_catalog, pg_temp'`),
  ).toEqual([]);
});

test('functions used by constraints are immutable, strict and parallel safe', async () => {
  const { rows } = await pool.query(`
    select distinct proname as name, provolatile, proisstrict, proparallel
    from pg_depend
    join pg_proc on pg_proc.oid = refobjid and pronamespace = 'public'::regnamespace
    where classid = 'pg_constraint'::regclass and refclassid = 'pg_proc'::regclass
    order by proname`);
  expect(rows).toEqual(
    ['crm_credentials_aad', 'crm_credentials_is_jwe', 'crm_sync_error_is_valid'].map((name) => ({
      name,
      provolatile: 'i',
      proisstrict: true,
      proparallel: 's',
    })),
  );
});

test('only what erases, and what recognises them, is security definer', async () => {
  expect(
    await offenders(
      "select proname as name from pg_proc where pronamespace = 'public'::regnamespace and prosecdef order by 1",
    ),
  ).toEqual([
    'crm_erase_contact',
    'crm_erase_organisation',
    'crm_find_erased_contacts',
    'crm_find_erased_records',
    'crm_note_unlinked_record',
  ]);
});

test('every constraint is validated and not deferrable', async () => {
  expect(
    await offenders(`
      select conname as name from pg_constraint
      where connamespace = 'public'::regnamespace and (not convalidated or condeferrable)`),
  ).toEqual([]);
});

test('every index is valid', async () => {
  expect(
    await offenders(
      'select indexrelid::regclass::text as name from pg_index where not indisvalid or not indisready',
    ),
  ).toEqual([]);
});

test('every trigger is enabled', async () => {
  expect(await offenders("select tgname as name from pg_trigger where tgenabled <> 'O'")).toEqual([]);
});

test('no index duplicates another or is a prefix of another', async () => {
  expect(
    await offenders(`
      select format('%s, %s', short.indexrelid::regclass, long.indexrelid::regclass) as name
      from pg_index as short
      join pg_index as long
        on long.indrelid = short.indrelid
        and long.indexrelid <> short.indexrelid
        and coalesce(pg_get_expr(long.indpred, long.indrelid), '') = coalesce(pg_get_expr(short.indpred, short.indrelid), '')
        and long.indkey[0:short.indnkeyatts - 1] = short.indkey[0:short.indnkeyatts - 1]
      join pg_class on pg_class.oid = short.indrelid and relnamespace = 'public'::regnamespace
      -- A shorter unique index enforces more than the longer one.
      where not short.indisunique or long.indnkeyatts = short.indnkeyatts`),
  ).toEqual([]);
});

test('every partition has the columns, constraints, indexes and triggers of its parent', async () => {
  const { rows } = await pool.query(`
    select
      array_agg(distinct inhrelid::regclass::text) as partitions,
      shape
    from (
      select
        inhrelid,
        (
          select array_agg(format('%s %s %s', attname, atttypid::regtype, attnotnull) order by attname)
          from pg_attribute where attrelid = inhrelid and attnum > 0 and not attisdropped
        ) || (
          select array_agg(pg_get_constraintdef(oid) order by conname !~ '_pkey$', pg_get_constraintdef(oid))
          from pg_constraint where conrelid = inhrelid and contype <> 'n'
        ) || (
          select array_agg(parent.inhparent::regclass::text order by parent.inhparent::regclass::text)
          from pg_index join pg_inherits as parent on parent.inhrelid = indexrelid where indrelid = pg_inherits.inhrelid
        ) || (
          select array_agg(format('%s %s', tgname, tgtype) order by tgname) from pg_trigger
          where tgrelid = inhrelid and not tgisinternal
        ) || (
          select array[count(*)::text] from pg_index where indrelid = inhrelid
        ) as shape
      from pg_inherits
      where inhparent = 'crm_sync_log'::regclass
    ) as partition
    group by shape`);
  expect(rows).toHaveLength(1);
  expect(rows[0].partitions).toHaveLength(7);
  expect(rows[0].shape).toEqual(
    expect.arrayContaining([
      'PRIMARY KEY (organisation_id, connection_id, occurred_at, id)',
      expect.stringMatching(/^FOREIGN KEY \(organisation_id, connection_id\) REFERENCES crm_connections/),
      'crm_sync_log_internal_id_idx',
      'crm_sync_log_status_connection_id_idx',
      expect.stringMatching(/^crm_sync_log_refuse_change /),
      expect.stringMatching(/^crm_sync_log_refuse_truncate /),
    ]),
  );
});

test('every table and partition has row-level security, and no partition has a policy', async () => {
  expect(
    await offenders(`
      select name from (${ours}) as ours where not relrowsecurity
      union all
      select oid::regclass::text from pg_class where relispartition and relkind = 'r' and not relrowsecurity
      union all
      select polname from pg_policy join pg_class on pg_class.oid = polrelid and relispartition`),
  ).toEqual([]);
});

test('policies are named after their table and role', async () => {
  const { rows } = await pool.query(`
    select name, array_agg(format('%s for %s %s', replace(polname, name || '_', ''), polroles::regrole[], polcmd) order by polname) as policies
    from (${ours}) as ours
    join pg_policy on polrelid = ours.oid
    where exists (select from pg_attribute where attrelid = ours.oid and attname = 'organisation_id')
    group by name`);
  expect(rows.length).toBeGreaterThan(6);
  for (const { name, policies } of rows) {
    expect(policies, name).toEqual([
      'reader_policy for {crm_reader} r',
      // The application may change open runs.
      ...(name === 'crm_sync_runs'
        ? ['tenant_change_policy for {crm_app} w', 'tenant_policy for {crm_app} r']
        : ['tenant_policy for {crm_app} *']),
      // The worker creates no connections.
      ...(name === 'crm_connections'
        ? ['worker_change_policy for {crm_worker} w', 'worker_policy for {crm_worker} r']
        : ['worker_policy for {crm_worker} *']),
    ]);
  }
});

test('a policy evaluates the organisation once per statement, not once per row', async () => {
  expect(
    await offenders(`
      select polname as name from pg_policy
      where concat(pg_get_expr(polqual, polrelid), ' ', pg_get_expr(polwithcheck, polrelid)) ~ 'crm_organisation_id'
        and pg_get_expr(polqual, polrelid) !~ '^(COALESCE\\()?\\(organisation_id = \\( SELECT crm_organisation_id\\(\\) AS crm_organisation_id\\)\\)(, false\\))?$'
        and polname <> 'crm_sync_runs_tenant_change_policy'`),
  ).toEqual([]);
});
