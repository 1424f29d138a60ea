import { expect, test } from 'vitest';
import { catalog } from '../migrations/catalog.js';
import { rolledBack, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

/** Changes of one fact each. */
const changes = [
  "comment on column crm_connections.status is 'x'",
  "comment on index crm_sync_runs_expires_at_idx is 'x'",
  'alter table crm_connections alter column status drop not null',
  "alter table crm_connections alter column status set default 'error'",
  'alter table crm_connections alter column status set storage plain',
  'alter table crm_connections alter column status set statistics 7',
  'alter table crm_connections alter column status set (n_distinct = 3)',
  'alter table crm_connections rename column status to state',
  'alter table crm_connections add constraint theirs check (failure_count >= 0) not valid',
  'alter table crm_sync_runs set (fillfactor = 70)',
  'alter table crm_sync_runs replica identity full',
  'alter table crm_sync_runs force row level security',
  'alter table crm_sync_runs cluster on crm_sync_runs_pkey',
  'alter table crm_sync_log disable trigger crm_sync_log_refuse_truncate',
  'alter policy crm_sync_log_reader_policy on crm_sync_log using (false)',
  'alter policy crm_sync_log_reader_policy on crm_sync_log to public',
  'alter index crm_sync_runs_expires_at_idx rename to theirs_idx',
  'create index theirs_idx on contacts (id)',
  'create rule theirs as on delete to crm_sync_runs do instead nothing',
  'alter sequence crm_sync_runs_id_seq cache 7',
  'alter function crm_now() volatile',
  "alter function crm_now() set datestyle = 'ISO'",
  'alter function crm_now() owner to pg_monitor',
  'revoke execute on function crm_now() from public',
  'grant select (id) on contacts to pg_monitor',
  'grant select on contacts to pg_monitor with grant option',
  'grant create on schema public to pg_monitor',
  'alter table contacts owner to pg_monitor',
  'create type theirs as (id integer)',
  'create domain theirs as text',
  'create schema theirs',
];

test.each(changes)('the catalog facts show one changed fact: %s', async (sql) => {
  await rolledBack(pool, async (client) => {
    const before = await catalog(client);
    expect(new Set(before).size).toBe(before.length);
    await client.query(sql);
    expect(await catalog(client)).not.toEqual(before);
  });
});

test('the catalog facts leave out the version that PostgreSQL 15.20 keeps of each column', async () => {
  await rolledBack(pool, async (client) => {
    await client.query('alter table contacts alter column name set (n_distinct = 3)');
    const before = await catalog(client);
    for (const version of [1, 2]) {
      await client.query(
        `update pg_attribute
         set attoptions = array_append(
           array(select setting from unnest(attoptions) as setting where setting !~ 'attver'),
           'pg_attver=${version}'
         )
         where attrelid in ('contacts'::regclass, 'crm_connections'::regclass) and attnum > 0`,
      );
      expect(await catalog(client)).toEqual(before);
    }
  });
});
