import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import type pg from 'pg';
import { describe, expect, inject, test } from 'vitest';
import { databaseUrl, migrate, projectPath, withClient } from '../../dev/database.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { applyUps, findMigrationsTable, migrations } from '../support/migrations.js';
import { expectRefused } from '../support/refusals.js';
import { catalog } from './catalog.js';

const first = migrations[0] as (typeof migrations)[number];
const ourIndex = 'contacts_organisation_id_id_key';
const organisations = 'create table organisations (id uuid primary key)';
const contacts = 'create table contacts (id uuid primary key, organisation_id uuid not null)';

/** The error for a database or a contacts table that does not meet the requirements. */
const unfit = (...problems: string[]) => ({
  code: 'CRM01',
  message: `this database does not fit the CRM schema: ${problems.join('; ')}`,
});

/** A role name that no concurrent test run uses; the transaction is rolled back. */
const roleName = () => `crm_test_${randomBytes(6).toString('hex')}`;

/** The valid unique indexes on contacts, without its primary key. */
async function contactIndexes(client: pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query(
    "select indexrelid::regclass::text as name from pg_index where indrelid = 'contacts'::regclass and not indisprimary order by 1",
  );
  return rows.map(({ name }) => name);
}

describe('a database that does not meet the requirements', () => {
  const { pool, url } = useDatabase('empty');

  test.each([
    ['without any table', [], ['table contacts is missing', 'table organisations is missing']],
    ['without contacts', [organisations], ['table contacts is missing']],
    ['without organisations', [contacts], ['table organisations is missing']],
    [
      'with bigint ids',
      [
        'create table organisations (id bigint primary key)',
        'create table contacts (id bigint primary key, organisation_id bigint)',
      ],
      [
        'column contacts.id is bigint, not uuid',
        'column contacts.organisation_id is bigint, not uuid',
        'column organisations.id is bigint, not uuid',
      ],
    ],
    [
      'with text ids',
      [organisations, 'create table contacts (id text primary key, organisation_id character varying(36))'],
      [
        'column contacts.id is text, not uuid',
        'column contacts.organisation_id is character varying(36), not uuid',
      ],
    ],
    [
      'if contacts have no organisation',
      [organisations, 'create table contacts (id uuid primary key)'],
      ['column contacts.organisation_id is missing'],
    ],
    [
      'if a column was dropped',
      [organisations, contacts, 'alter table contacts drop column organisation_id'],
      ['column contacts.organisation_id is missing'],
    ],
    [
      'with a view in place of a table',
      [organisations, 'create view contacts as select id, id as organisation_id from organisations'],
      ['contacts is not a table'],
    ],
    [
      'with a materialized view in place of a table',
      [
        contacts,
        'create materialized view organisations as select distinct organisation_id as id from contacts',
      ],
      ['organisations is not a table'],
    ],
    [
      'if organisations.id is not unique',
      ['create table organisations (id uuid not null)', contacts],
      ['organisations.id has neither a primary key nor a unique index'],
    ],
    [
      'if organisations.id is only partly unique',
      [
        'create table organisations (id uuid not null, name text)',
        'create unique index on organisations (id) where name is not null',
        'create unique index on organisations (id, name)',
        'alter table organisations add unique (id) deferrable',
        contacts,
      ],
      ['organisations.id has neither a primary key nor a unique index'],
    ],
    [
      'with several problems at once',
      ['create table organisations (id integer primary key)'],
      ['column organisations.id is integer, not uuid', 'table contacts is missing'],
    ],
  ])('is refused %s, with every problem listed', async (_, statements, problems) => {
    await rolledBack(pool, async (client) => {
      for (const statement of statements) await client.query(statement);
      await expectRefused(client.query(first.up), unfit(...problems));
    });
  });

  test('is refused with the search_path that was used', async () => {
    await rolledBack(pool, async (client) => {
      await client.query('create schema elsewhere; set local search_path = elsewhere');
      const { hint } = await expectRefused(client.query(first.up), { code: 'CRM01' });
      expect(hint).toContain('(now: elsewhere)');
    });
  });

  test('is accepted with a unique index on organisations.id instead of a primary key', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(
        'create table organisations (id uuid not null); create unique index on organisations (id)',
      );
      await client.query(contacts);
      await applyUps(client);
    });
  });

  test.each(['SQL_ASCII', 'LATIN1'])('is refused if its encoding is %s', async (encoding) => {
    const serverUrl = inject('serverUrl');
    const name = `${inject('databasePrefix')}_${randomBytes(6).toString('hex')}`;
    await withClient(serverUrl, async (client) => {
      await client.query(
        `create database ${name} encoding '${encoding}' template template0 locale_provider libc locale 'C'`,
      );
      try {
        await withClient(databaseUrl(serverUrl, name), async (other) => {
          await other.query(organisations);
          await other.query(contacts);
          await expectRefused(
            other.query(first.up),
            unfit(`the database's encoding is ${encoding}, not UTF8`),
          );
        });
      } finally {
        await client.query(`drop database ${name}`);
      }
    });
  });

  test('is left unchanged, with no migration recorded', async () => {
    await withClient(url, async (client) => {
      const before = await catalog(client);
      await expectRefused(migrate(client), { code: 'CRM01' });
      expect(await catalog(client)).toEqual(before);
      const table = await findMigrationsTable(client);
      if (table !== undefined) expect((await client.query(`select name from ${table}`)).rows).toEqual([]);
    });
  });
});

describe('a deploy user who does not own the host tables', () => {
  const { pool } = useDatabase('host');

  test('is refused without REFERENCES, with the grants to run', async () => {
    await rolledBack(pool, async (client) => {
      const role = roleName();
      await client.query(`create role ${role}; set local role ${role}`);
      await expectRefused(
        client.query(first.up),
        unfit(
          `user ${role} may not reference contacts (grant references on public.contacts to ${role})`,
          `user ${role} may not reference organisations (grant references on public.organisations to ${role})`,
        ),
      );
    });
  });

  test('gets grants that run unchanged, whatever the role is named', async () => {
    await rolledBack(pool, async (client) => {
      const role = `Crm-Test ${randomBytes(4).toString('hex')}`;
      await client.query(`create role "${role}"; set local role "${role}"; savepoint attempt`);
      const { message } = await expectRefused(client.query(first.up), { code: 'CRM01' });
      await client.query('rollback to attempt; reset role');
      const grants = [...message.matchAll(/\((grant [^)]*)\)/g)].map(([, grant]) => grant as string);
      expect(grants).toHaveLength(2);
      for (const grant of grants) await client.query(grant);
      await client.query('create unique index on contacts (organisation_id, id)');
      await client.query(`set local role "${role}"`);
      await client.query(first.up);
    });
  });

  test('is refused if the index on contacts is missing, until its owner has built it', async () => {
    const role = roleName();
    const client = await pool.connect();
    try {
      await client.query(`create role ${role}; grant references on organisations, contacts to ${role}`);
      await client.query(`grant usage, create on schema public to ${role}; set role ${role}`);
      const before = await catalog(client);
      const { hint } = await expectRefused(client.query(first.up), {
        code: 'CRM01',
        message: `contacts needs a unique index on (organisation_id, id), and user ${role} does not own the table`,
      });
      expect(await catalog(client)).toEqual(before);
      const [, statement] = /^As its owner, run: (.*)$/.exec(hint ?? '') ?? [];
      expect(statement).toContain('concurrently');
      await client.query('reset role');
      await client.query(statement as string);

      await client.query(`begin; set local role ${role}`);
      await applyUps(client);
      for (const { down } of migrations.toReversed()) await client.query(down);
      expect(await contactIndexes(client)).toEqual([ourIndex]);
    } finally {
      await client.query(`rollback; reset role; drop index if exists ${ourIndex}`);
      await client.query(`drop owned by ${role}; drop role ${role}`);
      client.release();
    }
  });

  test('is accepted as a member of the role that owns contacts', async () => {
    await rolledBack(pool, async (client) => {
      const [owner, member] = [roleName(), roleName()];
      await client.query(`create role ${owner}; create role ${member} in role ${owner}`);
      await client.query(`grant usage, create on schema public to ${owner}`);
      await client.query(
        `alter table contacts owner to ${owner}; alter table organisations owner to ${owner}`,
      );
      await client.query(`set local role ${member}`);
      await applyUps(client);
      expect(await contactIndexes(client)).toEqual([ourIndex]);
    });
  });
});

describe('the unique index on contacts', () => {
  const { pool } = useDatabase('host');

  test.each([
    ['unique index', 'create unique index adopted on contacts (organisation_id, id)'],
    ['unique index in the other order', 'create unique index adopted on contacts (id, organisation_id)'],
    ['unique constraint', 'alter table contacts add constraint adopted unique (organisation_id, id)'],
    [
      'unique constraint in the other order',
      'alter table contacts add constraint adopted unique (id, organisation_id)',
    ],
    ['covering unique index', 'create unique index adopted on contacts (organisation_id, id) include (name)'],
  ])('is not created if there is a %s, which survives a down', async (_, statement) => {
    await rolledBack(pool, async (client) => {
      await client.query(statement);
      const before = await catalog(client);
      await applyUps(client);
      expect(await contactIndexes(client)).toEqual(['adopted']);
      for (const { down } of migrations.toReversed()) await client.query(down);
      expect(await catalog(client)).toEqual(before);
    });
  });

  test('is not created if a primary key has both columns', async () => {
    await rolledBack(pool, async (client) => {
      await client.query('alter table contacts drop constraint contacts_pkey');
      await client.query('alter table contacts add primary key (organisation_id, id)');
      await applyUps(client);
      expect(await contactIndexes(client)).toEqual([]);
    });
  });

  test('is not created if it was built beforehand, and then survives a down', async () => {
    await rolledBack(pool, async (client) => {
      await client.query(`create unique index ${ourIndex} on contacts (organisation_id, id)`);
      await client.query(first.up);
      await client.query(first.down);
      expect(await contactIndexes(client)).toEqual([ourIndex]);
    });
  });

  test.each([
    ['partial', "create unique index other on contacts (organisation_id, id) where name <> ''"],
    [
      'deferrable',
      'alter table contacts add constraint other unique (organisation_id, id) deferrable initially immediate',
    ],
    [
      'invalid',
      `create unique index other on contacts (organisation_id, id);
       update pg_index set indisvalid = false where indexrelid = 'other'::regclass`,
    ],
    ['not unique', 'create index other on contacts (organisation_id, id)'],
    ['wider', 'create unique index other on contacts (organisation_id, id, name)'],
    ['narrower', 'create unique index other on contacts (id)'],
    ['on an expression', 'create unique index other on contacts (organisation_id, (id::text))'],
    ['on the same column twice', 'create unique index other on contacts (id, id)'],
  ])('is created beside one that is %s, and dropped by the down', async (_, statement) => {
    await rolledBack(pool, async (client) => {
      await client.query(statement);
      const before = await catalog(client);
      await applyUps(client);
      expect(await contactIndexes(client)).toEqual([ourIndex, 'other'].sort());
      for (const { down } of migrations.toReversed()) await client.query(down);
      expect(await catalog(client)).toEqual(before);
    });
  });

  test('is the only object that the migrations create on a host table', async () => {
    await rolledBack(pool, async (client) => {
      const tables = async () => [
        ...(await catalog(client, 'contacts')),
        ...(await catalog(client, 'organisations')),
      ];
      const before = await tables();
      await applyUps(client);
      const added = (await tables()).filter((line) => !before.includes(line));
      expect(added).toEqual([expect.stringContaining(`index ${ourIndex} `)]);
      expect((await tables()).filter((line) => before.includes(line))).toEqual(before);
    });
  });

  test.each([
    [
      'an invalid index',
      `create unique index ${ourIndex} on contacts (organisation_id, id);
       update pg_index set indisvalid = false where indexrelid = '${ourIndex}'::regclass`,
    ],
    ['an index that is not unique', `create index ${ourIndex} on contacts (organisation_id, id)`],
  ])('is refused beside %s of its name, with the statements to repair it', async (_, statement) => {
    const client = await pool.connect();
    try {
      await client.query(statement);
      const { hint } = await expectRefused(client.query(first.up), {
        code: 'CRM01',
        message: `public.${ourIndex} exists, but is not a valid unique index on contacts (organisation_id, id)`,
      });
      const [, drop, create] = /Run: (.*); then: (.*);$/.exec(hint ?? '') ?? [];
      await client.query(drop as string);
      await client.query(create as string);
      await client.query(`begin; ${first.up}`);
      expect(await contactIndexes(client)).toEqual([ourIndex]);
    } finally {
      await client.query('rollback');
      await client.query(`drop index if exists ${ourIndex}`);
      client.release();
    }
  });

  test('covers the existing contacts', async () => {
    await rolledBack(pool, async (client) => {
      const tenant = await createTenant(client, 5);
      await applyUps(client);
      const { rows } = await client.query(
        'select count(*)::integer from contacts where organisation_id = $1',
        [tenant.organisationId],
      );
      expect(rows[0].count).toBe(5);
    });
  });
});

describe('stock node-pg-migrate', () => {
  const nodePgMigrate = JSON.parse(
    readFileSync(projectPath('node_modules/node-pg-migrate/package.json'), 'utf8'),
  );
  const program = projectPath(`node_modules/node-pg-migrate/${nodePgMigrate.bin['node-pg-migrate']}`);

  /** Runs the command as a pipeline does; its output is in the result, or in the error. */
  function run(url: string, args: string[], env: Record<string, string> = {}) {
    return promisify(execFile)(process.execPath, [program, ...args], {
      cwd: projectPath('.'),
      env: { ...process.env, DATABASE_URL: url, ...env },
    });
  }

  describe.each([[[]], [['--no-single-transaction']]])('with %j', (options: string[]) => {
    const { url, pool } = useDatabase('host');

    test('migrates up, down and up again', async () => {
      const before = await catalog(pool);
      await run(url, ['up', ...options]);
      const migrated = await catalog(pool);
      expect(migrated.join('\n')).toContain('contact_external_ids_pkey');
      await run(url, ['down', String(migrations.length), ...options]);
      expect(await catalog(pool)).toEqual(before);
      await run(url, ['up', ...options]);
      expect(await catalog(pool)).toEqual(migrated);
    });

    test('refuses a down that loses rows, with a hint that works', async () => {
      const { organisationId, contactIds } = await createTenant(pool, 1);
      await pool.query("insert into contact_external_ids values ($1, 'alto', 'contact', '1', $2)", [
        organisationId,
        contactIds[0],
      ]);
      const later = migrations.findIndex(({ file }) => file === '0004_create_contact_external_ids.sql');
      const down = ['down', String(migrations.length - later), ...options];
      const error = await run(url, down).catch((reason) => reason);
      expect(error).toMatchObject({ code: 1 });
      expect(error.stdout + error.stderr).toContain('contact_external_ids has rows');
      const [, value] = /PGOPTIONS=\\?"(-c [^"\\]+)/.exec(error.stdout + error.stderr) ?? [];
      // Without a single transaction, the later files are already reverted.
      await run(url, ['up', ...options]);
      await run(url, down, { PGOPTIONS: value as string });
      expect((await catalog(pool)).join('\n')).not.toContain('contact_external_ids');
    });
  });

  describe('on a database that does not meet the requirements', () => {
    const { url, pool } = useDatabase('empty');

    test('exits with 1 and the message, and changes nothing', async () => {
      const before = await catalog(pool);
      const error = await run(url, ['up', '--no-single-transaction']).catch((reason) => reason);
      expect(error).toMatchObject({ code: 1 });
      expect(error.stdout + error.stderr).toContain(
        'table contacts is missing; table organisations is missing',
      );
      expect(await catalog(pool)).toEqual(before);
    });
  });
});
