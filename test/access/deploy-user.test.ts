import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createHostTables, databaseUrl, migrate, withClient } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { connectionGet, withOrganisation } from '../../src/index.js';
import { catalog } from '../migrations/catalog.js';
import { connect } from '../support/connection.js';
import { createTenant } from '../support/database.js';

// Roles belong to the cluster, so this needs one of its own, in which nobody has made them.
let server: EmbeddedPostgres;
let admin: pg.Pool;
beforeAll(async () => {
  server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION);
  admin = new pg.Pool({ connectionString: server.url });
  // Stopping the server may end a connection that is just closing.
  admin.on('error', () => {});
  await admin.query("create role deployer login nosuperuser nocreaterole password 'test'");
});
afterAll(async () => {
  await admin.end();
  await server.stop();
});

const ours = ['crm_app', 'crm_reader', 'crm_worker'];
const databases: string[] = [];
afterEach(async () => {
  for (const name of databases.splice(0)) await admin.query(`drop database ${name} with (force)`);
  for (const role of ours) await admin.query(`drop role if exists ${role}`);
  await admin.query('alter role deployer nocreaterole');
});

/** A database of the deploy user's, with the host tables. */
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
    [ours],
  );
  return rows;
}
const plain = ours.map((name) => ({
  name,
  rolcanlogin: false,
  rolsuper: false,
  rolbypassrls: false,
  rolcreaterole: false,
  rolcreatedb: false,
}));

test('a deploy user who may not create roles is told what a DBA has to run, and nothing is changed', async () => {
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

test('without being a superuser, it migrates up and down, makes months, and the members get to work', async () => {
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

test('many databases of a cluster are migrated at once, whoever is first to make the roles', async () => {
  await admin.query('alter role deployer createrole');
  const urls: string[] = [];
  for (let count = 1; count <= 8; count += 1) urls.push(await createDatabase(`many_${count}`));
  await Promise.all(urls.map((url) => withClient(url, (client) => migrate(client))));
  expect(await rolesFound()).toEqual(plain);
});

test.each(['superuser', 'bypassrls'])('a role that is there with %s is refused', async (attribute) => {
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

test('in a schema of its own, the roles may use it', async () => {
  await admin.query('alter role deployer createrole');
  await withClient(await createDatabase('own_schema'), async (client) => {
    await client.query('create schema crm; set search_path = crm, public');
    await migrate(client, 'up', undefined, ['crm', 'public']);
    for (const role of ours) {
      const { rows } = await client.query("select has_schema_privilege($1, 'crm', 'usage') as may", [role]);
      expect(rows).toEqual([{ may: true }]);
    }
  });
});

test('what default privileges would give to others, no partition has', async () => {
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
