import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createHostTables, databaseUrl, migrate, withClient } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { connectionGet, withOrganisation } from '../../src/index.js';
import { catalog } from '../migrations/catalog.js';
import { connect } from '../support/connection.js';
import { createTenant } from '../support/database.js';
import { migrations } from '../support/migrations.js';

// Roles belong to the cluster, so these tests need their own cluster, without the roles.
let server: EmbeddedPostgres;
let admin: pg.Pool;
beforeAll(async () => {
  server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION);
  admin = new pg.Pool({ connectionString: server.url });
  // Stopping the server may terminate a connection that is closing.
  admin.on('error', () => {});
  await admin.query("create role deployer login nosuperuser nocreaterole password 'test'");
});
afterAll(async () => {
  await admin.end();
  await server.stop();
});

const groupRoles = ['crm_app', 'crm_reader', 'crm_worker'];
const databases: string[] = [];
afterEach(async () => {
  for (const name of databases.splice(0)) await admin.query(`drop database ${name} with (force)`);
  for (const role of groupRoles) await admin.query(`drop role if exists ${role}`);
  await admin.query('alter role deployer nocreaterole');
});

/** Creates a database that the deploy user owns, with the host tables. */
async function createDatabase(name: string): Promise<string> {
  databases.push(name);
  await admin.query(`create database ${name} owner deployer`);
  const url = new URL(databaseUrl(server.url, name));
  url.username = 'deployer';
  url.password = 'test';
  await withClient(url.href, createHostTables);
  return url.href;
}

async function rolesFound(): Promise<unknown[]> {
  const { rows } = await admin.query(
    `select rolname as name, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb
     from pg_roles where rolname = any($1) order by 1`,
    [groupRoles],
  );
  return rows;
}
const plain = groupRoles.map((name) => ({
  name,
  rolcanlogin: false,
  rolsuper: false,
  rolbypassrls: false,
  rolcreaterole: false,
  rolcreatedb: false,
}));

test('up by a deploy user who may not create roles changes nothing and says what a DBA must run', async () => {
  await withClient(await createDatabase('refused'), async (client) => {
    const before = await catalog(client);
    const refusal = await migrate(client).then(
      () => expect.unreachable(),
      (error: pg.DatabaseError) => error,
    );
    expect(refusal).toMatchObject({
      code: 'CRM01',
      message: 'role crm_app is missing, and user deployer may not create it',
    });
    expect(await catalog(client)).toEqual(before);
    const [, statements = ''] = /run: (.*)$/.exec(refusal.hint ?? '') ?? [];
    await admin.query(statements);
    expect(await rolesFound()).toEqual(plain);
    await migrate(client);
  });
});

test('a deploy user with CREATEROLE migrates up and down and makes partitions, and members can work', async () => {
  await admin.query('alter role deployer createrole');
  const url = await createDatabase('whole');
  await withClient(url, async (client) => {
    const before = await catalog(client);
    await migrate(client);
    const after = await catalog(client);
    const { rows } = await client.query('select crm_sync_log_ensure_partitions(4)');
    expect(rows).toHaveLength(1);
    await admin.query("create role web login password 'test' in role crm_app");
    const web = new pg.Pool({ connectionString: Object.assign(new URL(url), { username: 'web' }).href });
    web.on('error', () => {});
    const { organisationId } = await createTenant(client);
    const { connectionId } = await connect(client, organisationId);
    expect(
      await withOrganisation(web, organisationId, (member) =>
        connectionGet(member, { organisationId, connectionId }),
      ),
    ).toMatchObject({ status: 'active' });
    await web.end();
    await admin.query('drop role web');
    await client.query('delete from crm_connections; delete from organisations');
    await migrate(client, 'down', 1000);
    expect(await catalog(client)).toEqual(before);
    expect(await rolesFound()).toEqual(plain);
    await migrate(client);
    expect(await catalog(client)).toEqual(after);
  });
});

test('concurrent migrations of several databases in a cluster all succeed, whichever creates the roles', async () => {
  await admin.query('alter role deployer createrole');
  const urls: string[] = [];
  for (let count = 1; count <= 8; count += 1) urls.push(await createDatabase(`many_${count}`));
  await Promise.all(urls.map((url) => withClient(url, (client) => migrate(client))));
  expect(await rolesFound()).toEqual(plain);
});

test.each(['superuser', 'bypassrls'])('up refuses an existing role with %s', async (attribute) => {
  await admin.query(`create role crm_app nologin; create role crm_worker nologin ${attribute}`);
  await admin.query('alter role deployer createrole');
  await withClient(await createDatabase('mighty'), async (client) => {
    await expect(migrate(client)).rejects.toMatchObject({
      code: 'CRM01',
      message: 'role crm_worker is a superuser or bypasses row-level security, so no policy would hold it',
      hint: 'Run: alter role crm_worker nosuperuser nobypassrls;',
    });
  });
});

test('up grants usage of a schema other than public to the roles', async () => {
  await admin.query('alter role deployer createrole');
  await withClient(await createDatabase('own_schema'), async (client) => {
    await client.query('create schema crm; set search_path = crm, public');
    await migrate(client, 'up', undefined, ['crm', 'public']);
    for (const role of groupRoles) {
      const { rows } = await client.query("select has_schema_privilege($1, 'crm', 'usage') as may", [role]);
      expect(rows).toEqual([{ may: true }]);
    }
  });
});

test('partitions have none of the privileges that default privileges give to others', async () => {
  await admin.query('alter role deployer createrole');
  await admin.query('create role everybody nologin');
  try {
    await withClient(await createDatabase('generous'), async (client) => {
      await client.query('alter default privileges grant all on tables to everybody, public');
      await migrate(client);
      await client.query('select crm_sync_log_ensure_partitions(5)');
      const { rows } = await client.query(
        `select relname from pg_class
         join pg_inherits on inhrelid = oid and inhparent = 'crm_sync_log'::regclass
         where not relrowsecurity or exists (
           select from aclexplode(relacl) where grantee <> relowner
         )`,
      );
      expect(rows).toEqual([]);
    });
  } finally {
    await admin.query('drop database if exists generous with (force)');
    databases.length = 0;
    await admin.query('drop role everybody');
  }
});

test('the roles may execute the same functions if default privileges revoke execute from public', async () => {
  await admin.query('alter role deployer createrole');
  const runnable = async (client: pg.ClientBase) => {
    const { rows } = await client.query(
      `select pg_proc.oid::regprocedure::text as function, rolname as role
       from pg_proc
       join pg_roles on rolname = any($1) and has_function_privilege(pg_roles.oid, pg_proc.oid, 'execute')
       where pronamespace = 'public'::regnamespace and prorettype <> 'trigger'::regtype
       order by 1, 2`,
      [groupRoles],
    );
    return rows;
  };
  const usual = await withClient(await createDatabase('usual'), async (client) => {
    await migrate(client);
    return runnable(client);
  });
  expect(usual.length).toBeGreaterThan(20);
  await withClient(await createDatabase('strict'), async (client) => {
    await client.query('alter default privileges revoke execute on functions from public');
    const before = await catalog(client);
    await migrate(client);
    expect(await runnable(client)).toEqual(usual);
    await migrate(client, 'down', 1000);
    expect(await catalog(client)).toEqual(before);
  });
});

test('up by a second user gives new objects to the owner of the log', async () => {
  const url = await createDatabase('handed_over');
  await withClient(url, (client) => migrate(client, 'up', 9));
  await withClient(databaseUrl(server.url, 'handed_over'), (client) => migrate(client));
  await withClient(url, async (client) => {
    const { rows } = await client.query(
      `select relname as name, relowner::regrole::text as owner from pg_class
       where relnamespace = 'public'::regnamespace and relname ~ '^(crm_|contact_ext)' and relname <> 'crm_schema_migrations'
       union all
       select proname, proowner::regrole::text from pg_proc where pronamespace = 'public'::regnamespace`,
    );
    expect(rows.length).toBeGreaterThan(40);
    expect(rows.filter(({ owner }) => owner !== 'deployer')).toEqual([]);
    await client.query('select crm_sync_log_ensure_partitions(6)');
    await client.query('select crm_sync_log_ensure_past()');
  });
});

test("up in another user's schema says what its owner must run, and then succeeds", async () => {
  await admin.query('alter role deployer createrole');
  const url = await createDatabase('lodger');
  await withClient(databaseUrl(server.url, 'lodger'), (client) =>
    client.query(
      'create schema crm; revoke all on schema crm from public; grant create, usage on schema crm to deployer',
    ),
  );
  await withClient(url, async (client) => {
    await client.query('set search_path = crm, public');
    const refusal = await migrate(client, 'up', undefined, ['crm', 'public']).then(
      () => expect.unreachable(),
      (error: pg.DatabaseError) => error,
    );
    expect(refusal).toMatchObject({
      code: 'CRM01',
      message: 'user deployer may not let crm_app, crm_worker, crm_reader use schema crm',
    });
    const [, statement = ''] = /run: (.*)$/.exec(refusal.hint ?? '') ?? [];
    await withClient(databaseUrl(server.url, 'lodger'), (dba) => dba.query(statement));
    await migrate(client, 'up', undefined, ['crm', 'public']);
  });
});

test.each([
  ['directly', 'grant crm_worker to crm_app'],
  [
    'through another role',
    'create role between nologin; grant crm_worker to between; grant between to crm_app',
  ],
  ['as a member of the owner', 'grant deployer to crm_app'],
])('up refuses roles that are members of each other or of the owner: %s', async (_, entangle) => {
  await admin.query(`create role crm_worker nologin; create role crm_app nologin; ${entangle}`);
  await admin.query('alter role deployer createrole');
  await withClient(await createDatabase('entangled'), async (client) => {
    await expect(migrate(client)).rejects.toMatchObject({
      code: 'CRM01',
      message: expect.stringMatching(
        /^crm_app is a member of (crm_worker|deployer), itself or by way of another role$/,
      ),
    });
  });
  await admin.query('drop role if exists between');
});

test('up refuses a schema in which everybody may create, as by default before PostgreSQL 15', async () => {
  await admin.query('alter role deployer createrole');
  const url = await createDatabase('open');
  await withClient(databaseUrl(server.url, 'open'), async (dba) => {
    await dba.query('grant create on schema public to public');
    await withClient(url, async (client) => {
      const refusal = await migrate(client).then(
        () => expect.unreachable(),
        (error: pg.DatabaseError) => error,
      );
      expect(refusal).toMatchObject({ code: 'CRM01', message: 'everybody may create in schema public' });
      const [, statement = ''] = /run: (.*)$/.exec(refusal.hint ?? '') ?? [];
      await dba.query(`${statement} grant create on schema public to deployer`);
      await migrate(client);
    });
  });
});

test('up refuses a search_path with another schema in which everybody may create', async () => {
  await admin.query('alter role deployer createrole');
  const url = await createDatabase('open_elsewhere');
  await withClient(databaseUrl(server.url, 'open_elsewhere'), (dba) =>
    dba.query('create schema elsewhere; grant usage, create on schema elsewhere to public'),
  );
  await withClient(url, async (client) => {
    await migrate(client, 'up', 12);
    await expect(migrate(client, 'up', undefined, ['public', 'elsewhere'])).rejects.toMatchObject({
      code: 'CRM01',
      message: 'everybody may create in schema elsewhere, which is in search_path',
      hint: 'As its owner, run: revoke create on schema elsewhere from public;',
    });
  });
});

test('up revokes what was granted on a single partition, including grants passed on', async () => {
  await admin.query('alter role deployer createrole');
  const url = await createDatabase('months');
  await admin.query('create role first nologin; create role second nologin');
  try {
    await withClient(url, (client) => migrate(client, 'up', 9));
    await withClient(databaseUrl(server.url, 'months'), async (client) => {
      await client.query(`
        grant select on crm_sync_log_catch_all to first with grant option;
        set role first;
        grant select on crm_sync_log_catch_all to second;
        reset role`);
      await migrate(client);
      const { rows } = await client.query(
        "select from pg_class cross join aclexplode(relacl) where relname = 'crm_sync_log_catch_all' and grantee <> relowner",
      );
      expect(rows).toEqual([]);
    });
  } finally {
    await admin.query('drop database months with (force)');
    databases.length = 0;
    await admin.query('drop role first; drop role second');
  }
});

test('no migration since 0013 creates anything in a schema other than that of the tables', async () => {
  await admin.query('alter role deployer createrole');
  await withClient(await createDatabase('elsewhere'), async (client) => {
    await migrate(client, 'up', 12);
    await client.query('create schema other');
    for (const { file, up } of migrations.slice(12)) {
      await client.query('begin; set local search_path = other, public');
      const refusal = await client.query(up).catch(({ code }) => code);
      if (refusal !== 'CRM01') {
        const { rows } = await client.query(
          `select proname as name from pg_proc where pronamespace = 'other'::regnamespace
           union all
           select relname from pg_class where relnamespace = 'other'::regnamespace`,
        );
        expect(rows, file).toEqual([]);
      }
      await client.query('rollback');
      await migrate(client, 'up', 1);
    }
  });
});

test.each([
  [10, 'up'],
  [10, 'down'],
  [11, 'up'],
] as const)('migration %i (%s) refuses a schema other than that of the tables', async (position, half) => {
  await admin.query('alter role deployer createrole');
  await withClient(await createDatabase('astray'), async (client) => {
    await migrate(client, 'up', half === 'up' ? position - 1 : position);
    await client.query('create schema other');
    for (const path of ['other, public', 'other', 'nowhere']) {
      await client.query(`set search_path = ${path}`);
      await expect(client.query(migrations[position - 1]?.[half] ?? ''), path).rejects.toMatchObject({
        code: 'CRM01',
        hint: expect.stringMatching(/^Let search_path begin with the schema of crm_\w+, as it did/),
      });
    }
  });
});
