import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { createHostTables, migrate, withClient } from '../../dev/database.js';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { verify, verifyInTransaction } from '../../src/verify/verify.js';
import { catalog } from '../migrations/catalog.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { beginLog, monthName } from '../support/log-partitions.js';
import { useMember } from '../support/roles.js';
import { differencesIn, differencesOf } from './support.js';

const database = useDatabase();
const { url, pool } = database;
const host = useDatabase('host');
const reader = useMember(database, 'crm_reader', 1);
const stranger = useMember(database, undefined, 1);
/** PostgreSQL 19 refuses line breaks in role names, and strings in which a backslash escapes. */
const isOld = inject('serverMajorVersion') < 19;

/** What differs in a session with these settings. */
async function verifyWith(to: string, settings: string) {
  return withClient(to, async (client) => {
    await client.query(settings);
    return differencesOf(client);
  });
}

test('verify reports nothing after the migrations', async () => {
  expect(await withClient(url, verify)).toEqual({
    schema: 'public',
    owner: expect.any(String),
    differences: [],
    waitingEvents: null,
  });
});

test.each([
  ['a member of crm_reader', reader],
  ['a user without privileges', stranger],
])('verify reports the same to %s as to the owner', async (_, users) => {
  const client = await users.connect();
  onTestFinished(() => client.release());
  expect(await differencesOf(client)).toEqual([]);
  await pool.query('alter table crm_sync_runs disable row level security');
  try {
    const expected = await withClient(url, differencesOf);
    expect(expected).toHaveLength(1);
    expect(await differencesOf(client)).toEqual(expected);
  } finally {
    await pool.query('alter table crm_sync_runs enable row level security');
  }
});

test('verify reports to a user without privileges what it reports to the owner, also of months and of what is to come', async () => {
  const client = await stranger.connect();
  onTestFinished(() => client.release());
  const [next, third] = [monthName(1), monthName(2)];
  await pool.query(
    `alter sequence crm_sync_runs_id_seq cache 50;
     alter table ${next} set (autovacuum_enabled = off);
     alter table ${next} alter internal_id set not null;
     alter table ${third} rename to theirs;
     alter default privileges in schema public grant select on tables to public;
     create schema crm_test_elsewhere;
     alter table crm_retention set schema crm_test_elsewhere`,
  );
  const expected = await withClient(url, differencesOf);
  expect(expected.map(({ kind }) => kind)).toEqual([
    'default privileges',
    'table',
    'table',
    'sequence',
    'column',
    'partition',
  ]);
  expect(await differencesOf(client)).toEqual(expected);
  for (const statement of expected.flatMap(({ statements }) => statements)) await pool.query(statement);
  await pool.query('drop schema crm_test_elsewhere');
  expect(await differencesOf(client)).toEqual([]);
});

test('verify writes nothing, locks nothing and restores the session', async () => {
  await withClient(url, async (client) => {
    const sent: string[] = [];
    const observed = {
      async query(text: string, values?: unknown[]) {
        const answer = await client.query(text, values);
        sent.push(text);
        if (sent.length > 1 && text !== 'rollback') {
          const { rows } = await client.query(
            `select
               pg_catalog.current_setting('transaction_read_only') as "isReadOnly",
               pg_catalog.current_setting('transaction_isolation') as isolation,
               exists (
                 select from pg_catalog.pg_locks
                 where pid = pg_catalog.pg_backend_pid() and locktype = 'relation' and mode <> 'AccessShareLock'
               ) as "hasLocks"`,
          );
          expect(rows).toEqual([{ isReadOnly: 'on', isolation: 'repeatable read', hasLocks: false }]);
        }
        return answer;
      },
    };
    const settings = async () => (await client.query('select name, setting from pg_settings')).rows;
    const before = [await catalog(client), await settings()];
    await verify(observed);
    expect(sent.at(-1)).toBe('rollback');
    expect([await catalog(client), await settings()]).toEqual(before);
  });
});

test.each([
  [
    'prints times differently',
    "set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set intervalstyle = 'iso_8601'",
  ],
  ['quotes all identifiers', 'set quote_all_identifiers = on'],
  ...(isOld ? [['reads backslashes in strings', 'set standard_conforming_strings = off']] : []),
  ['searches other schemas first', 'create schema if not exists other; set search_path = other, public'],
])('verify reports nothing in a session that %s', async (_, settings) => {
  expect(await verifyWith(url, settings)).toEqual([]);
});

test('verify ignores privileges of known roles, but not of the three roles or public', async () => {
  await rolledBack(pool, async (client) => {
    await client.query(
      `create role "crm_test Replica";
       grant select on crm_connections, crm_sync_log to "crm_test Replica";
       grant select on crm_connections to public;
       grant select on crm_connections to crm_app;
       revoke select on crm_sync_runs from crm_reader`,
    );
    const names = async (knownRoles: string[]) => {
      await client.query('savepoint before_verify');
      const { differences } = await verifyInTransaction(client, { knownRoles });
      await client.query('rollback to savepoint before_verify');
      return differences.map(({ name }) => name.replace(/ on .*/, ''));
    };
    const others = ['crm_app', 'public', 'crm_reader'];
    expect(await names([])).toEqual([
      '"crm_test Replica"',
      ...others.slice(0, 2),
      '"crm_test Replica"',
      'crm_reader',
    ]);
    expect(await names(['crm_test Replica'])).toEqual(others);
    expect(await names(['crm_test Replica', 'public', 'crm_app', 'crm_reader'])).toEqual(others);
  });
});

test('verify reports nothing if two tables record the same migrations', async () => {
  await rolledBack(pool, async (client) => {
    await client.query('create table crm_schema_migrations as select * from pgmigrations');
    expect(await differencesIn(client)).toEqual([]);
  });
});

test('verify ignores settings and privileges of roles that no policy restricts', async () => {
  await rolledBack(pool, async (client) => {
    const name = new URL(url).pathname.slice(1);
    await client.query(
      `create role crm_test_deploy;
       grant create on schema public to crm_test_deploy;
       alter role crm_test_deploy set crm_schema.now = '2026-01-01T00:00:00Z';
       alter role crm_test_deploy in database ${name} set session_replication_role = replica;
       create role crm_test_loader superuser in role crm_worker;
       alter role crm_test_loader set session_replication_role = replica;
       alter role crm_worker set session_replication_role = origin;
       alter database ${name} set statement_timeout = '1min'`,
    );
    // As PostgreSQL itself grants it to a role that is not a superuser and creates another.
    if (inject('serverMajorVersion') >= 16) {
      await client.query(
        `create role crm_test_dba;
         grant crm_app to crm_test_dba with admin true, inherit false, set false;
         grant create on schema public to crm_test_dba`,
      );
    }
    expect(await differencesIn(client)).toEqual([]);
  });
});

test('verify reports nothing while partitions are created and dropped', async () => {
  await withClient(url, async (client) => {
    for (let months = 4; months < 24; months += 1) {
      const made = pool.query('select crm_sync_log_ensure_partitions($1::integer)', [months]);
      await sleep(60 * Math.random());
      expect(await differencesOf(client)).toEqual([]);
      await made;
    }
  });
});

test('verify ignores an index that is being rebuilt, and reports the one that a failed rebuild leaves', async () => {
  const holder = await pool.connect();
  const other = await pool.connect();
  try {
    await holder.query('begin isolation level repeatable read; select from crm_sync_runs limit 1');
    const rebuilt = other.query('reindex index concurrently crm_sync_runs_expires_at_idx').catch(() => {});
    await expect
      .poll(async () => (await pool.query("select from pg_class where relname ~ '_ccnew'")).rowCount)
      .toBe(1);
    expect(await withClient(url, differencesOf)).toEqual([]);
    const { rows } = await pool.query(
      "select pg_cancel_backend(pid) from pg_stat_activity where query ~ '^reindex' and datname = current_database()",
    );
    expect(rows).toHaveLength(1);
    await rebuilt;
    expect(await withClient(url, differencesOf)).toMatchObject([
      { kind: 'index', found: expect.stringContaining('invalid') },
    ]);
  } finally {
    await holder.query('rollback');
    holder.release();
    other.release();
    await pool.query('drop index if exists crm_sync_runs_expires_at_idx_ccnew');
  }
});

test('verify reports lasting drift although something else keeps changing', async () => {
  const toggled = `crm_test_${randomBytes(6).toString('hex')}`;
  await pool.query(`create role ${toggled}; grant update on crm_sync_runs to ${toggled}`);
  await withClient(url, async (client) => {
    let reads = 0;
    const changing = {
      async query(text: string, values?: unknown[]) {
        if (text.startsWith('begin')) {
          reads += 1;
          const [from, to] = reads % 2 === 1 ? [toggled, `${toggled}_2`] : [`${toggled}_2`, toggled];
          await pool.query(`alter role ${from} rename to ${to}`);
        }
        return client.query(text, values);
      },
    };
    expect((await verify(changing)).differences).toMatchObject([{ kind: 'privileges', found: 'update' }]);
    expect(reads).toBe(5);
  });
  await pool.query(`drop owned by ${toggled}_2; drop role ${toggled}_2`);
});

test('verify reads again if an object is dropped during the read', async () => {
  await withClient(url, async (client) => {
    let failures = 2;
    const failing = {
      query(text: string, values?: unknown[]) {
        if (
          text.startsWith('begin') ||
          text === 'rollback' ||
          failures === 0 ||
          !text.includes('pg_inherits')
        ) {
          return client.query(text, values);
        }
        failures -= 1;
        throw Object.assign(new Error('cache lookup failed for relation 1'), { code: 'XX000' });
      },
    };
    expect((await verify(failing)).differences).toEqual([]);
    expect(failures).toBe(0);
    failures = 5;
    await expect(verify(failing)).rejects.toMatchObject({ code: 'XX000' });
  });
});

test('verify fails after five seconds if a table is locked', async () => {
  const holder = await pool.connect();
  try {
    await holder.query('begin; lock table crm_sync_failures in access exclusive mode');
    await expect(withClient(url, verify)).rejects.toMatchObject({ code: '55P03' });
  } finally {
    await holder.query('rollback');
    holder.release();
  }
});

test('verify reports a setting of the server itself', async () => {
  const server = await startEmbeddedPostgres(String(inject('serverMajorVersion')), {
    settings: { session_replication_role: 'replica' },
  });
  onTestFinished(() => server.stop());
  await withClient(server.url, async (client) => {
    await createHostTables(client);
    await migrate(client);
    expect(await differencesOf(client)).toMatchObject([
      {
        name: 'session_replication_role of the server',
        found: 'replica',
        advice: expect.stringContaining('alter system reset session_replication_role'),
      },
    ]);
  });
});

test('verify runs no planted cast of a planted type', async () => {
  await rolledBack(pool, async (client) => {
    await client.query(
      `create type subject as (value text);
       create function planted(subject) returns text language plpgsql as $$ begin raise exception 'planted'; end $$;
       create cast (subject as text) with function planted(subject) as implicit;
       drop table crm_retention;
       create table crm_retention (subject subject, keep_days integer);
       insert into crm_retention values (row('x'), 1)`,
    );
    expect(await differencesIn(client)).toContainEqual(
      expect.objectContaining({ kind: 'column', name: 'public.crm_retention.subject' }),
    );
  });
});

test('verify runs no policy of another owner', async () => {
  await rolledBack(pool, async (client) => {
    const stranger = `crm_test_${randomBytes(6).toString('hex')}`;
    await client.query(
      `create role ${stranger};
       create role ${stranger}_reader in role crm_reader;
       grant create on schema public to ${stranger};
       create function planted() returns boolean language plpgsql as $$ begin raise exception 'planted'; end $$;
       drop policy crm_retention_reader_policy on crm_retention;
       create policy planted on crm_retention using (planted());
       alter table crm_retention owner to ${stranger};
       create policy planted on pgmigrations using (planted());
       alter table pgmigrations owner to ${stranger};
       alter table pgmigrations enable row level security;
       grant select on crm_retention, pgmigrations to ${stranger}_reader;
       set local role ${stranger}_reader`,
    );
    const found = await differencesIn(client);
    expect(found).toContainEqual(
      expect.objectContaining({ kind: 'owner', name: 'table public.crm_retention' }),
    );
    expect(found.filter(({ name }) => name.includes('pgmigrations'))).toEqual([]);
  });
});

test('verify runs no policy of the owner that search_path leads to', async () => {
  await rolledBack(pool, async (client) => {
    const name = `crm_test_${randomBytes(6).toString('hex')}`;
    await client.query(
      `create role ${name} in role crm_reader;
       create function planted() returns boolean language plpgsql as $$ begin raise exception 'planted'; end $$;
       create policy planted on crm_retention using (planted());
       create policy planted on pgmigrations using (planted());
       alter table pgmigrations enable row level security;
       grant select on pgmigrations to ${name};
       set local role ${name}`,
    );
    // The policy would raise an exception. Not read, the migrations table is reported as hidden.
    expect(await differencesIn(client)).toEqual([
      expect.objectContaining({ kind: 'table', name: 'public.pgmigrations' }),
    ]);
    await client.query('reset role; alter table pgmigrations disable row level security');
    await client.query(`set local role ${name}`);
    expect(await differencesIn(client)).toContainEqual(
      expect.objectContaining({ kind: 'policy', name: expect.stringContaining('planted') }),
    );
  });
});

test.each([
  ['is partial', 'unique (organisation_id, id) where name <> $x$y$x$'],
  ['has an expression', 'unique (organisation_id, (id::text))'],
  ['is deferrable', null],
])('verify does not accept an index on contacts that %s', async (_, definition) => {
  await rolledBack(pool, async (client) => {
    await client.query('drop index contacts_organisation_id_id_key cascade');
    await client.query(
      definition === null
        ? 'alter table contacts add constraint theirs unique (organisation_id, id) deferrable'
        : `create ${definition.replace('unique ', 'unique index theirs on contacts ')}`,
    );
    expect(await differencesIn(client)).toContainEqual(
      expect.objectContaining({ kind: 'host index', found: null }),
    );
  });
});

test('verify runs no function planted on the search_path', async () => {
  const planted = "language plpgsql as $$ begin raise exception 'planted'; end $$";
  await rolledBack(pool, async (client) => {
    await client.query(
      `create function public.to_regclass(text) returns regclass ${planted};
       create function public.format(text, name, name) returns text ${planted};
       create function public.quote_ident(name) returns text ${planted};
       create function public.starts_with(name, text) returns boolean ${planted};
       create operator public.^@ (leftarg = name, rightarg = text, function = public.starts_with);
       set local search_path = public, pg_catalog`,
    );
    expect(await differencesIn(client)).toEqual([]);
  });
});

test('verify reports and repairs objects with hostile names', async () => {
  await rolledBack(pool, async (client) => {
    const name = `"x'; drop table crm_sync_log; -- "" on \n TRIGGER USING "`;
    const role = isOld ? name : name.replace('\n', '\t');
    await client.query(
      `create index ${name} on crm_sync_runs (worker);
       create policy ${name} on crm_sync_runs using (true);
       create trigger ${name} before insert on crm_sync_runs for each row execute function crm_sync_log_refuse_change();
       alter table crm_sync_runs add constraint ${name} check (id > 0);
       create role ${role};
       grant select on crm_sync_runs to ${role}`,
    );
    const differences = await differencesIn(client);
    expect(differences.map(({ kind }) => kind)).toEqual([
      'constraint',
      'index',
      'trigger',
      'policy',
      'privileges',
    ]);
    for (const statement of differences.flatMap(({ statements }) => statements)) {
      await client.query(statement.replace(' concurrently', ''));
    }
    expect(await differencesIn(client)).toEqual([]);
  });
});

test('verify ignores objects of the host', async () => {
  await rolledBack(pool, async (client) => {
    await client.query(
      `create table notes (id integer primary key);
       create function notes_count() returns bigint language sql as 'select count(*) from public.notes';
       create trigger theirs before update on contacts for each row execute function suppress_redundant_updates_trigger();
       alter table contacts add column birthday date;
       alter table organisations add column crm_plan text;
       create role crm_test_host;
       grant crm_test_host to crm_app;
       grant select on contacts, notes to crm_app, crm_test_host;
       alter table crm_sync_runs set (autovacuum_vacuum_scale_factor = 0.01);
       alter table crm_sync_runs alter column worker set statistics 500;
       update crm_retention set keep_days = 60`,
    );
    expect(await differencesIn(client)).toEqual([]);
  });
});

test('verify refuses a pool and a client with an open transaction, which stays open', async () => {
  const refusal = { code: 'invalid_input' };
  await expect(verify(pool as unknown as pg.Client)).rejects.toMatchObject(refusal);
  await rolledBack(pool, async (client) => {
    await client.query('create table mine ()');
    await expect(verify(client)).rejects.toMatchObject(refusal);
    await client.query('table mine');
  });
});

test('verify fails with schema_not_found if there is no schema', async () => {
  await expect(withClient(host.url, verify)).rejects.toMatchObject({
    code: 'schema_not_found',
    message: expect.stringMatching(/^The schema was not found\. Run the migrations first/),
  });
});

test('verify reports nothing after months are added, detached and dropped', async () => {
  await rolledBack(pool, async (client) => {
    await client.query('select crm_sync_log_ensure_partitions(7)');
    expect(await differencesIn(client)).toEqual([]);
    await beginLog(client, 16);
    expect(await differencesIn(client)).toEqual([]);
    // What crm-schema partitions drop does to the oldest, and to the next if it is interrupted.
    const { rows } = await client.query(
      "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'crm_sync_log'::regclass order by 1",
    );
    const [oldest, next] = rows.map(({ name }) => name);
    await client.query(`alter table crm_sync_log detach partition ${oldest}; drop table ${oldest}`);
    await client.query(
      `comment on table ${next} is 'x To be dropped: crm-schema partitions drop.';
       alter table crm_sync_log detach partition ${next};
       select crm_sync_log_ensure_past()`,
    );
    expect(await differencesIn(client)).toEqual([]);
  });
});

describe('verify in another schema with another owner', () => {
  const other = useDatabase('host');

  test('reports nothing, and its statements do not depend on the search_path', async () => {
    const owner = `crm_test_${randomBytes(6).toString('hex')} "x"`;
    const quoted = pg.escapeIdentifier(owner);
    await other.pool.query(`create role ${quoted} createrole`);
    onTestFinished(async () => {
      await other.pool.query(
        `reassign owned by ${quoted} to current_user; drop owned by ${quoted}; drop role ${quoted}`,
      );
    });
    const schema = 'CRM data';
    const path = `set search_path = ${pg.escapeIdentifier(schema)}, public`;
    await other.pool.query(
      `create schema ${pg.escapeIdentifier(schema)} authorization ${quoted};
       grant create on schema public to ${quoted};
       alter table organisations owner to ${quoted};
       alter table contacts owner to ${quoted}`,
    );
    await withClient(other.url, async (client) => {
      await client.query(`set session authorization ${quoted}; ${path}`);
      await migrate(client, 'up', undefined, [schema, 'public']);
      expect(await verify(client)).toEqual({
        schema: '"CRM data"',
        owner: quoted,
        differences: [],
        waitingEvents: null,
      });
      await client.query(`set search_path = ${pg.escapeIdentifier(schema)}`);
      expect(await differencesOf(client)).toEqual([]);
      await client.query(path);

      await client.query(
        `drop index crm_sync_runs_expires_at_idx;
         drop function crm_sync_log_ensure_past;
         alter table crm_sync_log disable trigger crm_sync_log_refuse_change;
         alter table contact_external_ids drop constraint contact_external_ids_contact_id_fkey;
         alter table crm_connections drop constraint crm_connections_error_has_reason_check;
         drop policy crm_sync_log_tenant_policy on crm_sync_log;
         comment on table crm_retention is null;
         revoke select on crm_sync_runs from crm_reader`,
      );
      const differences = await differencesOf(client);
      expect(differences).toHaveLength(8);
      await client.query('set search_path = pg_catalog');
      for (const statement of differences.flatMap(({ statements }) => statements))
        await client.query(statement);
      await client.query(path);
      expect(await differencesOf(client)).toEqual([]);
    });
  });
});
