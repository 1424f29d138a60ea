import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type MigrationStatus,
  migrateUp,
  migrationPlan,
  migrationStatus,
  verify,
} from '../../src/migrations.js';
import { migrations } from '../support/migrations.js';
import { freshDatabase, useBuiltCli } from './migrations.js';

const cli = useBuiltCli();

describe('an object that another user created', () => {
  const statement = { up: ['migrate', 'up'], status: ['migrate', 'status'] };

  /** The message with which up and status refuse to run. */
  async function refused(url: string, env: Record<string, string> = {}) {
    const answers = [];
    for (const args of Object.values(statement)) {
      const { code, stdout, stderr } = await cli.run(url, args, env);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      answers.push(stderr);
    }
    expect(answers[0]).toBe(answers[1]);
    return answers[0];
  }

  const planted = `
    create function planted() returns timestamp language plpgsql as $$
      begin raise exception 'planted'; end $$;
    create function planted_trigger() returns trigger language plpgsql as $$
      begin raise exception 'planted'; end $$;`;
  const counter =
    'create table crm_schema_migrations (id serial primary key, name varchar(255) not null, run_on timestamp not null)';

  test.each([
    [
      'a view',
      "create view crm_schema_migrations as select 1 as id, 'x'::varchar as name, planted() as run_on",
    ],
    [
      'a table with a trigger',
      `${counter}; create trigger t before insert on crm_schema_migrations for each row execute function planted_trigger()`,
    ],
    [
      'a table with a policy',
      `${counter}; alter table crm_schema_migrations enable row level security;
       create policy p on crm_schema_migrations using (planted() is null)`,
    ],
    [
      'a table with a rule',
      `${counter}; create rule r as on insert to crm_schema_migrations do also select planted()`,
    ],
    ['a table with a CHECK', `${counter}; alter table crm_schema_migrations add check (planted() is null)`],
    [
      'a table with a default',
      `${counter}; alter table crm_schema_migrations alter run_on set default planted()`,
    ],
    ['a table with one more column', `${counter}; alter table crm_schema_migrations add x integer`],
    [
      'a table with an index of an expression',
      `create function planted_index(text) returns text language sql immutable as 'select $1'; ${counter};
       create index on crm_schema_migrations (planted_index(name))`,
    ],
    [
      'a table of other types',
      'create domain moment as timestamp check (planted() is null); create table crm_schema_migrations (id integer, name varchar, run_on moment)',
    ],
  ])('is not used as the migrations table: %s', async (_, sql) => {
    const url = await freshDatabase();
    await withClient(url, (client) => client.query(`${planted} ${sql}`));
    expect(await refused(url)).toMatch(
      /^crm_schema_migrations in schema public is not a plain migrations table: .* rename it\.\n$/,
    );
  });

  test('is not used as the migrations table: a table of another owner', async () => {
    const url = await freshDatabase();
    const stranger = `crm_test_${randomBytes(6).toString('hex')}`;
    await withClient(url, (client) =>
      client.query(
        `create role ${stranger}; ${counter}; alter table crm_schema_migrations owner to ${stranger}`,
      ),
    );
    onTestFinished(() =>
      withClient(inject('serverUrl'), async (client) => void (await client.query(`drop role ${stranger}`))),
    );
    expect(await refused(url)).toContain(`belongs to ${stranger}, who does not own crm_connections: `);
    await withClient(url, (client) => client.query('drop table crm_schema_migrations'));
    expect(await cli.run(url, ['migrate', 'up', '--to', '2'])).toMatchObject({ code: 0 });
    // Whoever continues trusts the owner of the existing installation.
    await withClient(url, (client) =>
      client.query(
        `alter table crm_schema_migrations owner to ${stranger}; alter table crm_connections owner to ${stranger}`,
      ),
    );
    expect(await cli.run(url, ['migrate', 'status'])).toMatchObject({ code: 0 });
    await withClient(url, (client) => client.query(`reassign owned by ${stranger} to current_user`));
  });

  test('is refused in a schema named after the user, beside the installation', async () => {
    const url = await freshDatabase();
    expect(await cli.run(url, ['migrate', 'up'])).toMatchObject({ code: 0 });
    const user = new URL(url).username;
    await withClient(url, (client) =>
      client.query(`create schema ${user}; create table ${user}.crm_connections (id uuid)`),
    );
    expect(await refused(url)).toBe(
      `search_path finds schema ${user} because it is named after the user, and schema public has crm_connections too: name the schema you mean with PGOPTIONS="-c search_path=…".\n`,
    );
    expect(
      await cli.run(url, ['migrate', 'status', '--check'], { PGOPTIONS: '-c search_path=public' }),
    ).toMatchObject({ code: 0 });
  });

  test.each(['a"; select pg_sleep(0); --', 'a\n\\! true'])(
    'is not executed as SQL, whatever the schema’s name: %j',
    async (schema) => {
      const url = await freshDatabase();
      const quoted = pg.escapeIdentifier(schema);
      await withClient(url, (client) =>
        client.query(
          `create schema ${quoted}; alter database ${new URL(url).pathname.slice(1)} set search_path = ${quoted}, public`,
        ),
      );
      const line =
        'The name of the schema or of the migrations table contains a double quote or a line break, which is not supported: choose another name.\n';
      expect(await refused(url)).toBe(line);
      expect((await cli.run(url, ['migrate', 'plan'])).stderr).toBe(line);
    },
  );

  test('is not executed: functions and operators named like PostgreSQL’s own', async () => {
    const url = await freshDatabase();
    await withClient(url, async (client) => {
      await client.query(`${planted}
        create table ran (name text);
        create function pg_blocking_pids(text) returns integer[] language sql as
          $$ insert into public.ran values ('pg_blocking_pids'); select array[1] $$;
        create function planted_operator(regclass, oid) returns boolean language sql as
          $$ insert into public.ran values ('='); select true $$;
        create operator public.= (leftarg = regclass, rightarg = oid, function = planted_operator);
        create function planted_operator(oid, regclass) returns boolean language sql as
          $$ insert into public.ran values ('='); select true $$;
        create operator public.= (leftarg = oid, rightarg = regclass, function = planted_operator);
        create function planted_operator(real, integer) returns boolean language sql as
          $$ insert into public.ran values ('= real'); select true $$;
        create operator public.= (leftarg = real, rightarg = integer, function = planted_operator);
        create function planted_operator(name, name) returns boolean language sql as
          $$ insert into public.ran values ('~'); select true $$;
        create operator public.~ (leftarg = name, rightarg = name, function = planted_operator);
        create function pg_cancel_backend(text) returns boolean language sql as
          $$ insert into public.ran values ('pg_cancel_backend'); select true $$`);
      for (const args of [
        ['migrate', 'up'],
        ['migrate', 'status'],
        ['partitions', 'ensure'],
        ['partitions', 'list'],
        ['partitions', 'drop', '--wait', '1'],
        ['verify'],
      ]) {
        expect(await cli.run(url, args), args.join(' ')).toMatchObject({ code: 0 });
      }
      expect((await client.query('select distinct name from ran')).rows).toEqual([]);
    });
  });
});

test.each(["search_path = 'nope'", "search_path = ''"])(
  'every command refuses a search_path without a schema: %s',
  async (path) => {
    const url = await freshDatabase();
    await withClient(url, (client) =>
      client.query(`alter database ${new URL(url).pathname.slice(1)} set ${path}`),
    );
    for (const command of ['up', 'status', 'plan']) {
      expect(await cli.run(url, ['migrate', command])).toEqual({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(
          /^The first schema in search_path \((nope|"")\) does not exist, or the user may not use it: create it, or grant usage on it\.\n$/,
        ),
      });
    }
  },
);

test('commands do not depend on the user’s settings for reading and writing SQL', async () => {
  const url = await freshDatabase();
  const settings = [
    // PostgreSQL 19 refuses it.
    ...(inject('serverMajorVersion') < 19 ? ['standard_conforming_strings=off'] : []),
    'quote_all_identifiers=on',
    'row_security=off',
    'datestyle=German',
  ];
  const env = { PGOPTIONS: settings.map((setting) => `-c ${setting}`).join(' ') };
  for (const args of [
    ['migrate', 'up'],
    ['verify'],
    ['partitions', 'ensure'],
    ['partitions', 'list'],
    ['health'],
  ]) {
    expect(await cli.run(url, args, env), args.join(' ')).toMatchObject({ code: 0 });
  }
});

test('down and up repair migrations that were applied out of order', async () => {
  const url = await freshDatabase();
  // Two migrations that do not build on each other.
  expect(await cli.run(url, ['migrate', 'up', '--to', '29'])).toMatchObject({ code: 0 });
  const to = '27';
  const { stdout } = await cli.run(url, ['migrate', 'plan', '--to', to], { NODE_ENV: 'test' });
  // As after a plan run by hand without ON_ERROR_STOP: the last migration but one is reverted, the last is not.
  const [, lastStep = ''] = /reverts|(begin;[\s\S]*)/.exec(stdout.slice(stdout.lastIndexOf('begin;'))) ?? [];
  await withClient(url, (client) => client.query(lastStep));
  expect(await cli.run(url, ['migrate', 'up'])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`crm-schema migrate down --to ${to}.`),
  });
  expect(await cli.run(url, ['migrate', 'down', '--to', to], { NODE_ENV: 'test' })).toMatchObject({
    code: 0,
  });
  expect(await cli.run(url, ['migrate', 'up'])).toMatchObject({ code: 0 });
  expect(await cli.run(url, ['migrate', 'status', '--check'])).toMatchObject({ code: 0 });
  expect(await cli.run(url, ['verify'])).toMatchObject({ code: 0 });
});

test('up and status give up after five seconds where another session locks the migrations table', async () => {
  const url = await freshDatabase();
  expect(await cli.run(url, ['migrate', 'up', '--to', '1'])).toMatchObject({ code: 0 });
  await withClient(url, async (client) => {
    await client.query('begin; lock table crm_schema_migrations in access exclusive mode');
    for (const command of ['up', 'status']) {
      expect(await cli.run(url, ['migrate', command])).toEqual({
        code: 1,
        stdout: '',
        stderr:
          'Another session holds a lock that this command needs: find it in pg_locks, and run the command again when its transaction has ended.\n',
      });
    }
  });
});

test('times do not depend on the datestyle of the database', async () => {
  const url = await freshDatabase();
  expect(await cli.run(url, ['migrate', 'up'])).toMatchObject({ code: 0 });
  const asked = async () => JSON.parse((await cli.run(url, ['migrate', 'status', '--json'])).stdout);
  const before = await asked();
  expect(before.migrations[0].appliedAt).toMatch(/^20\d\d-/);
  await withClient(url, (client) =>
    client.query(`alter database ${new URL(url).pathname.slice(1)} set datestyle = 'SQL, DMY'`),
  );
  expect(await asked()).toEqual(before);
  expect(await cli.run(url, ['health'])).toMatchObject({ code: 0, stderr: '' });
  expect(await cli.run(url, ['partitions', 'list'])).toMatchObject({ code: 0, stderr: '' });
});

test('a plan goes to the schema it was made for, whatever the search_path where it runs', async () => {
  const url = await freshDatabase();
  await withClient(url, (client) => client.query('create schema elsewhere'));
  const { stdout } = await cli.run(url, ['migrate', 'plan'], {
    PGOPTIONS: '-c search_path=elsewhere,public',
  });
  await withClient(url, (client) => client.query(stdout));
  expect(
    await cli.run(url, ['migrate', 'status', '--check'], { PGOPTIONS: '-c search_path=elsewhere,public' }),
  ).toMatchObject({ code: 0 });
});

test('--json prints a document on failure too, and migrate up continues when stderr is closed', async () => {
  const url = await freshDatabase();
  for (const args of [['verify'], ['health'], ['partitions', 'list']]) {
    const { code, stdout, stderr } = await cli.run(url, [...args, '--json']);
    expect({ code, document: JSON.parse(stdout) }).toEqual({
      code: 1,
      document: { error: stderr.trimEnd() },
    });
  }
  const { child, ended } = cli.start(url, ['migrate', 'up']);
  child.stderr.destroy();
  expect(await ended).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(new RegExp(`^Applied ${migrations.length} `)),
  });
});

/** Parsers such as applications use: bigints for numbers, a library's objects for times, JSON unparsed. */
function parserOf(id: number): (text: string) => unknown {
  if ([20, 21, 23, 26].includes(id)) return BigInt;
  if ([1082, 1114, 1184].includes(id)) return (text) => ({ text });
  return id === 114 || id === 3802 ? String : pg.types.getTypeParser(id);
}

test.each([
  ['its own parsers', { types: { getTypeParser: parserOf } }],
  ['binary results', { binary: true }],
])('the public functions return the same to a client with %s', async (_, config) => {
  const [url, other] = [await freshDatabase(), await freshDatabase()];
  const client = new pg.Client({ connectionString: url, ...config } as pg.ClientConfig);
  await client.connect();
  onTestFinished(() => client.end());
  await withClient(other, async (plain) => {
    expect(await migrationPlan(client)).toEqual(await migrationPlan(plain));
    await migrateUp(client, { to: 10 });
    await migrateUp(plain, { to: 10 });
    const undated = ({ migrations, ...rest }: MigrationStatus) => ({
      ...rest,
      migrations: migrations.map(({ appliedAt, ...state }) => ({
        ...state,
        isDated: appliedAt?.startsWith('20'),
      })),
    });
    expect(undated(await migrationStatus(client))).toEqual(undated(await migrationStatus(plain)));
    await migrateUp(client);
    await migrateUp(plain);
    expect(await verify(client)).toEqual({ ...(await verify(plain)), differences: [] });
    await client.query('drop table crm_retention; drop index crm_sync_runs_expires_at_idx');
    await plain.query('drop table crm_retention; drop index crm_sync_runs_expires_at_idx');
    expect(await verify(client)).toEqual(await verify(plain));
  });
});
