import { execFile } from 'node:child_process';
import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { migrate, projectPath, withClient } from '../../dev/database.js';
import { isTransient, pauseAfter } from '../../src/migrations/retries.js';
import { type DedicatedConnection, migrateDown, migrateUp, migrationPlan } from '../../src/migrations.js';
import { catalog } from '../migrations/catalog.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { migrations } from '../support/migrations.js';
import { findProgram, isMissing } from '../support/programs.js';
import { releases } from '../upgrades/releases.js';
import { freshDatabase, recorded, useBuiltCli, useCopyOfBuiltCli } from './migrations.js';

const names = migrations.map(({ file }) => file.replace('.sql', ''));
const last = names.at(-1) as string;
const psql = findProgram('psql');
const noPsql = isMissing('psql', psql, 'TEST_REQUIRE_PG_DUMP');

/** A database after stock node-pg-migrate has applied all migrations. */
const stock = useDatabase();
let whole: string[];
beforeAll(async () => {
  whole = await catalog(stock.pool);
});

const cli = useBuiltCli();

function migrateCli(url: string, args: string[], env: Record<string, string> = {}) {
  return cli.run(url, ['migrate', ...args], env);
}

async function expectWhole(url: string): Promise<void> {
  expect(await withClient(url, (client) => catalog(client))).toEqual(whole);
}

/** Runs stock node-pg-migrate, each file in its own transaction. */
async function runStock(url: string, direction: 'up' | 'down' = 'up', count = Number.POSITIVE_INFINITY) {
  return withClient(url, (client) =>
    runner({
      dbClient: client,
      dir: projectPath('migrations'),
      migrationsTable: 'crm_schema_migrations',
      direction,
      count,
      logger: { debug() {}, info() {}, warn() {}, error() {} },
    }),
  );
}

describe('up', () => {
  test('gives a database with only the host tables the same catalog as stock node-pg-migrate', async () => {
    const url = await freshDatabase();
    const { code, stdout, stderr } = await migrateCli(url, ['up']);
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        `^Applied ${names.length} migrations in (\\d+\\.\\d\\d s|\\d+:\\d\\d)\\.\n$`,
      ),
    });
    const lines = names.map((name, index) => `[${String(index + 1).padStart(2)}/${names.length}] ${name}`);
    expect(stderr.replaceAll(/: applied in [\d.]+ s$/gm, '')).toBe(`${lines.join('\n')}\n`);
    await expectWhole(url);
    expect(await recorded(url)).toEqual(names);

    expect(await migrateCli(url, ['up'])).toEqual({
      code: 0,
      stdout: 'Nothing to apply: schema public is up to date.\n',
      stderr: '',
    });
  });

  test.each(releases)(
    'completes version $version, which stock node-pg-migrate applied',
    async ({ lastMigration }) => {
      const url = await freshDatabase();
      await withClient(url, (client) => migrate(client, 'up', lastMigration));
      const { code, stdout } = await migrateCli(url, ['up', '--json', '--migrations-table', 'pgmigrations']);
      expect({ code, ...JSON.parse(stdout) }).toEqual({
        code: 0,
        error: null,
        migrations: names.slice(lastMigration).map((name) => ({ name, milliseconds: expect.any(Number) })),
      });
      expect(await recorded(url, 'pgmigrations')).toEqual(names);
      await expectWhole(url);
    },
  );

  test('stops at --to, and stock node-pg-migrate continues from there and back', async () => {
    const url = await freshDatabase();
    expect(await migrateCli(url, ['up', '--to', '0004'])).toMatchObject({ code: 0 });
    expect((await runStock(url)).map(({ name }) => name)).toEqual(names.slice(4));
    await expectWhole(url);
    await runStock(url, 'down', 2);
    const { stdout } = await migrateCli(url, ['up', '--json']);
    expect(JSON.parse(stdout).migrations.map(({ name }: { name: string }) => name)).toEqual(names.slice(-2));
    expect(await runStock(url)).toEqual([]);
  });

  test('creates the same migrations table as stock node-pg-migrate, and only with a migration', async () => {
    const url = await freshDatabase();
    await withClient(url, async (client) => {
      await client.query('alter table contacts rename to elsewhere');
      expect(await migrateCli(url, ['up'])).toMatchObject({ code: 1 });
      expect((await client.query("select to_regclass('crm_schema_migrations') as it")).rows).toEqual([
        { it: null },
      ]);
      await client.query('alter table elsewhere rename to contacts');
      await migrateCli(url, ['up', '--to', '1', '--migrations-table', 'pgmigrations']);
      const shape = (on: Pick<typeof client, 'query'>) =>
        on.query(
          `select column_name, data_type, character_maximum_length, is_nullable, column_default
           from information_schema.columns where table_name = 'pgmigrations'
           union all
           select conname, pg_get_constraintdef(oid), null, null, null
           from pg_constraint where conrelid = 'pgmigrations'::regclass
           order by 1`,
        );
      expect((await shape(client)).rows).toEqual((await shape(stock.pool as never)).rows);
    });
  });

  test('creates everything in the first schema of search_path, and refuses if that schema is missing', async () => {
    const url = await freshDatabase();
    const env = { PGOPTIONS: '-c search_path=crm,public' };
    expect(await migrateCli(url, ['up'], env)).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'The first schema in search_path (crm,public) does not exist, or the user may not use it: create it, or grant usage on it.\n',
    });
    await withClient(url, (client) => client.query('create schema crm'));
    expect(await migrateCli(url, ['up'], env)).toMatchObject({ code: 0 });
    expect(await recorded(url, 'crm.crm_schema_migrations')).toEqual(names);
    await withClient(url, async (client) => {
      const { rows } = await client.query(
        "select count(*)::integer as strays from pg_class where relname ~ '^crm_' and relnamespace = 'public'::regnamespace",
      );
      expect(rows).toEqual([{ strays: 0 }]);
    });
    expect(await migrateCli(url, ['status', '--check'], env)).toMatchObject({ code: 0 });
  });

  test('refuses to begin again where another migrations table is in use', async () => {
    for (const command of ['up', 'status', 'plan']) {
      expect(await migrateCli(stock.url, [command])).toEqual({
        code: 1,
        stdout: '',
        stderr:
          "Schema public already has crm_connections, but crm_schema_migrations does not record it. If another table does, name it with --migrations-table (node-pg-migrate's default is pgmigrations). If the migrations table is lost, restore its rows.\n",
      });
    }
  });
});

describe('plan', () => {
  test('prints SQL that has the same effect as up, and changes nothing itself', async () => {
    const url = await freshDatabase();
    await migrateCli(url, ['up', '--to', '1']);
    const before = await withClient(url, (client) => catalog(client));
    const { code, stdout, stderr } = await migrateCli(url, ['plan']);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: 'To run this by hand in schema public: psql --set ON_ERROR_STOP=1\n',
    });
    expect(await withClient(url, (client) => catalog(client))).toEqual(before);
    await withClient(url, (client) => client.query(stdout));
    await expectWhole(url);
    expect(await recorded(url)).toEqual(names);
    expect(await migrateCli(url, ['plan'])).toEqual({ code: 0, stdout: '', stderr: 'Nothing to run.\n' });
  });

  test('prints SQL from an empty database, and for reverting', async () => {
    const url = await freshDatabase();
    const before = await withClient(url, (client) => catalog(client));
    const up = await migrateCli(url, ['plan']);
    await withClient(url, (client) => client.query(up.stdout));
    await expectWhole(url);
    const down = await migrateCli(url, ['plan', '--to', '0']);
    await withClient(url, (client) => client.query(down.stdout));
    expect(await withClient(url, (client) => catalog(client))).toEqual(before);
    expect(await recorded(url)).toEqual([]);
  });

  test.skipIf(noPsql)(
    'prints SQL that psql reads as UTF-8 where its terminal has another encoding',
    async () => {
      const url = await freshDatabase();
      const { stdout } = await migrateCli(url, ['plan']);
      expect(stdout).toMatch(/[^\0-\x7f]/);
      const ended = promisify(execFile)(psql as string, ['--no-psqlrc', '--set=ON_ERROR_STOP=1', url], {
        env: { ...process.env, PGCLIENTENCODING: 'WIN1252' },
      });
      ended.child.stdin?.end(stdout);
      await ended;
      await expectWhole(url);
    },
  );

  test('equals the statements that up runs, and that stock node-pg-migrate would run', async () => {
    const url = await freshDatabase();
    await withClient(url, async (client) => {
      const plan = await migrationPlan(client);
      const printed: string[] = [];
      const debug = (text: string) => void printed.push(text);
      await client.query('begin');
      await runner({
        dbClient: client,
        dir: projectPath('migrations'),
        migrationsTable: plan.migrationsTable,
        direction: 'up',
        dryRun: true,
        verbose: true,
        logger: { debug, info() {}, warn() {}, error() {} },
      });
      await client.query('rollback');
      expect(printed.map((text) => text.trim())).toEqual(
        plan.migrations.map(({ change, close }) => ['BEGIN;', change, close[0], 'COMMIT;'].join('\n')),
      );

      const ran: string[] = [];
      const recorder: DedicatedConnection = {
        query(text, values) {
          if (!text.trimStart().startsWith('select')) ran.push(text);
          return client.query(text, values);
        },
      };
      await migrateUp(recorder);
      const reading = ['begin read only', "set local lock_timeout = '5s'", 'rollback'];
      expect(ran).toEqual([
        ...reading,
        ...plan.migrations.flatMap(({ open, change, close }) => [...open, change, ...close]),
      ]);
    });
  });

  test('prints one JSON document with --json', async () => {
    const url = await freshDatabase();
    const { stdout } = await migrateCli(url, ['plan', '--to', '2', '--json']);
    expect(JSON.parse(stdout)).toEqual(await withClient(url, (client) => migrationPlan(client, { to: 2 })));
  });
});

test('every command refuses a schema that is new and earlier in search_path than the installation', async () => {
  const url = await freshDatabase();
  await migrateCli(url, ['up']);
  await withClient(url, async (client) => {
    const { rows } = await client.query('select quote_ident(current_user) as name');
    await client.query(`create schema ${rows[0].name}`);
    for (const args of [['up'], ['status', '--check'], ['plan']]) {
      const { code, stdout, stderr } = await migrateCli(url, args);
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toContain('crm_connections is in schema public, but search_path');
    }
    expect((await client.query("select from pg_class where relname = 'crm_connections'")).rows).toHaveLength(
      1,
    );
  });
});

test('status and plan run no function planted in a searched schema', async () => {
  const url = await freshDatabase();
  await withClient(url, async (client) => {
    const planted = "language plpgsql as $$ begin raise exception 'planted'; end $$";
    for (const name of [
      'format(text, name, text)',
      'format(text, name)',
      'format(text, name, name)',
      'unnest(text[])',
    ])
      await client.query(`create function public.${name} returns text ${planted}`);
    await client.query(
      `create function public.has_table_privilege(regclass, text) returns boolean ${planted}`,
    );
    for (const args of [['status'], ['plan']]) expect(await migrateCli(url, args)).toMatchObject({ code: 0 });
  });
});

describe('from a program', () => {
  const busy = {
    code: 'invalid_input',
    message: expect.stringContaining('must not have a transaction open'),
  };

  test('migrateUp refuses a pool, whose statements may run on any connection', async () => {
    const pool = new pg.Pool({ connectionString: await freshDatabase() });
    pool.on('error', () => {});
    // So do the types.
    const attempt = migrateUp(pool as unknown as DedicatedConnection);
    await expect(attempt).rejects.toMatchObject({ code: 'invalid_input' });
    expect((await pool.query("select to_regclass('crm_schema_migrations') as name")).rows).toEqual([
      { name: null },
    ]);
    await pool.end();
  });

  test('migrateUp refuses a client with an open transaction, and leaves the transaction to its owner', async () => {
    await withClient(await freshDatabase(), async (client) => {
      await client.query('begin; create table mine ()');
      await expect(migrateUp(client)).rejects.toMatchObject(busy);
      await client.query('rollback');
      expect((await client.query("select to_regclass('mine') as name")).rows).toEqual([{ name: null }]);
    });
  });

  test.each([{ wait: -1 }, { wait: Number.NaN }, { attempts: 0 }, { attempts: Number.NaN }])(
    'migrateUp refuses %j',
    async (options) => {
      await withClient(await freshDatabase(), (client) =>
        expect(migrateUp(client, options)).rejects.toMatchObject({ code: 'invalid_input' }),
      );
    },
  );
});

describe('status', () => {
  test('shows applied and pending migrations', async () => {
    const url = await freshDatabase();
    await migrateCli(url, ['up', '--to', '9']);
    const { code, stdout } = await migrateCli(url, ['status']);
    const lines = stdout.trimEnd().split('\n');
    expect({ code, head: lines.slice(0, 2) }).toEqual({
      code: 0,
      head: [`Schema public, according to crm_schema_migrations: 9 of ${names.length} applied`, ''],
    });
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(lines.slice(3).map((line) => line.replace(/ +[-\d]+ [:\d]+$/, '').split(/ +/))).toEqual(
      names.map((name, index) => [name, index < 9 ? 'applied' : 'pending']),
    );
    expect(await migrateCli(url, ['status', '--check'])).toEqual({ code: 3, stdout, stderr: '' });
    await migrateCli(url, ['up']);
    expect(await migrateCli(url, ['status', '--check'])).toMatchObject({ code: 0 });
  });

  test('shows when a migration was applied, whatever the time zone of that session', async () => {
    const url = await freshDatabase();
    const start = Date.now();
    await withClient(url, (client) =>
      client.query(`alter database ${new URL(url).pathname.slice(1)} set timezone = 'Asia/Tokyo'`),
    );
    await migrateCli(url, ['up', '--to', '1']);
    const { stdout } = await migrateCli(url, ['status', '--json']);
    const [first] = JSON.parse(stdout).migrations;
    const at = Date.parse(first.appliedAt);
    expect(at).toBeGreaterThan(start - 60_000);
    expect(at).toBeLessThan(Date.now() + 60_000);
  });

  test('shows what a newer version applied, and down refuses to revert below it', async () => {
    const url = await freshDatabase();
    await migrateCli(url, ['up']);
    await withClient(url, (client) =>
      client.query("insert into crm_schema_migrations (name, run_on) values ('9000_from_the_future', now())"),
    );
    const { code, stdout } = await migrateCli(url, ['status', '--check']);
    expect(code).toBe(3);
    expect(stdout).toContain('\nUnknown to this version; a newer one applied them:\n9000_from_the_future\n');
    expect(await migrateCli(url, ['up'])).toMatchObject({ code: 0 });
    expect(await migrateCli(url, ['down', '--to', '0', '--allow-production'])).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'crm_schema_migrations in schema public has 9000_from_the_future, which this version does not know. Revert with the version that does.\n',
    });
  });

  test('shows a migration that was left out, and up refuses to apply it late', async () => {
    const url = await freshDatabase();
    await migrateCli(url, ['up']);
    await withClient(url, (client) => client.query("delete from crm_schema_migrations where name ~ '^0005'"));
    const { code, stdout } = await migrateCli(url, ['status', '--check', '--json']);
    expect(code).toBe(3);
    const states: { name: string; isOutOfOrder: boolean }[] = JSON.parse(stdout).migrations;
    expect(states.filter(({ isOutOfOrder }) => isOutOfOrder).map(({ name }) => name)).toEqual([names[4]]);
    expect(await migrateCli(url, ['up'])).toEqual({
      code: 1,
      stdout: '',
      stderr: `${names[4]} is pending, but crm_schema_migrations in schema public has later ones. If it was applied, restore its row. Otherwise revert the later ones first: crm-schema migrate down --to 4.\n`,
    });
  });
});

test('ignores migrations that the host records in the same table', async () => {
  const url = await freshDatabase();
  const table = ['--migrations-table', 'pgmigrations'];
  await migrateCli(url, ['up', '--to', '10', ...table]);
  await withClient(url, (client) =>
    client.query("insert into pgmigrations (name, run_on) values ('1700000000000_add_users', now())"),
  );
  expect(await migrateCli(url, ['up', ...table])).toMatchObject({ code: 0 });
  expect(await migrateCli(url, ['status', '--check', ...table])).toMatchObject({ code: 0 });
  expect(await migrateCli(url, ['down', '--to', '10', ...table], { NODE_ENV: 'test' })).toMatchObject({
    code: 0,
  });
});

describe('a package with missing files', () => {
  const copy = useCopyOfBuiltCli();

  test.each([`migrations/${names[0]}.sql`, 'migrations.sha256'])('migrates nothing: %s', async (path) => {
    const url = await freshDatabase();
    await rename(`${copy.folder}/${path}`, `${copy.folder}/elsewhere`);
    for (const command of ['up', 'status', 'plan']) {
      expect(await copy.run(url, ['migrate', command])).toEqual({
        code: 1,
        stdout: '',
        stderr:
          'Files of this package are missing: reinstall it, and mark it as external if you use a bundler.\n',
      });
    }
    await rename(`${copy.folder}/elsewhere`, `${copy.folder}/${path}`);
  });
});

describe('a package with CRLF, as a clone with core.autocrlf has,', () => {
  const copy = useCopyOfBuiltCli();
  async function useLineEndings(lineEnd: string, ...paths: string[]) {
    for (const path of paths) {
      const text = await readFile(`${copy.folder}/${path}`, 'utf8');
      await writeFile(`${copy.folder}/${path}`, text.replace(/\r\n?|\n/g, lineEnd));
    }
  }

  test('migrates where only the checksums have CRLF, or are of binary mode', async () => {
    const url = await freshDatabase();
    await useLineEndings('\r\n', 'migrations.sha256');
    expect(await copy.run(url, ['migrate', 'status'])).toMatchObject({ code: 0, stderr: '' });
    const path = `${copy.folder}/migrations.sha256`;
    await writeFile(path, (await readFile(path, 'utf8')).replaceAll('  migrations', ' *migrations'));
    expect(await copy.run(url, ['migrate', 'up'])).toMatchObject({ code: 0 });
    await expectWhole(url);
  });

  test.each(['\r\n', '\r'])(
    'applies nothing, and says that only line endings differ: %j',
    async (lineEnd) => {
      const url = await freshDatabase();
      const paths = names.slice(0, 3).map((name) => `migrations/${name}.sql`);
      await useLineEndings(lineEnd, ...paths);
      for (const command of ['up', 'plan']) {
        expect(await copy.run(url, ['migrate', command])).toEqual({
          code: 1,
          stdout: '',
          stderr:
            'Migrations of this package differ from their release only in their line endings, CRLF instead of LF, which functions in the database would keep. Git on Windows writes CRLF (core.autocrlf): pack the package from a clone with LF, and reinstall it.\n',
        });
      }
      const { code, stdout } = await copy.run(url, ['migrate', 'status', '--check']);
      expect(code).toBe(3);
      expect(stdout).toContain(
        `\nDifferent from their release only in line endings (CRLF); reinstall the package\nfrom a clone with LF:\n${names[0]}\n`,
      );
      expect(stdout).not.toContain('Edited');
      await useLineEndings('\n', ...paths);
    },
  );
});

describe('a package edited since its release', () => {
  const copy = useCopyOfBuiltCli();
  const migrateEdited = (url: string, ...args: string[]) => copy.run(url, ['migrate', ...args]);

  test('is detected, and applies and reverts nothing', async () => {
    const url = await freshDatabase();
    await appendFile(`${copy.folder}/migrations/${names[1]}.sql`, '\n-- A little change.\n');
    const stderr = `Migrations of this package were edited since their release: ${names[1]}. Reinstall the package, and change the schema with your own migrations.\n`;
    expect(await migrateEdited(url, 'up')).toEqual({ code: 1, stdout: '', stderr });
    expect(await migrateEdited(url, 'plan')).toEqual({ code: 1, stdout: '', stderr });
    await migrateCli(url, ['up']);
    expect(await migrateEdited(url, 'down', '--to', '0', '--allow-production')).toEqual({
      code: 1,
      stdout: '',
      stderr,
    });
    const { code, stdout } = await migrateEdited(url, 'status', '--check');
    expect(code).toBe(3);
    expect(stdout).toContain(`\nEdited since their release; reinstall the package:\n${names[1]}\n`);
  });
});

describe('down', () => {
  test('restores the catalog, and has nothing to do when run again', async () => {
    const url = await freshDatabase();
    const before = await withClient(url, (client) => catalog(client));
    await migrateCli(url, ['up']);
    const env = { NODE_ENV: 'development' };
    const { code, stdout, stderr } = await migrateCli(url, ['down', '--to', '0'], env);
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        `^Reverted ${names.length} migrations in (\\d+\\.\\d\\d s|\\d+:\\d\\d)\\.\n$`,
      ),
    });
    expect(stderr).toContain(`[ 1/${names.length}] ${last}: reverted in `);
    expect(await withClient(url, (client) => catalog(client))).toEqual(before);
    expect(await migrateCli(url, ['down', '--to', '0'], env)).toMatchObject({
      code: 0,
      stdout: 'Nothing to revert: schema public is up to date.\n',
    });
  });

  test.each([[{}], [{ NODE_ENV: 'staging' }], [{ NODE_ENV: 'latest' }]])(
    'refuses where it may be production: %j',
    async (env) => {
      const url = await freshDatabase();
      await migrateCli(url, ['up', '--to', '2']);
      expect(await migrateCli(url, ['down', '--to', '0'], env)).toEqual({
        code: 2,
        stdout: '',
        stderr:
          'error: NODE_ENV is not development or test, so this may be production: add --allow-production to revert anyway\n',
      });
      expect(await recorded(url)).toEqual(names.slice(0, 2));
      expect(await migrateCli(url, ['down', '--to', '1', '--allow-production'], env)).toMatchObject({
        code: 0,
      });
      expect(await recorded(url)).toEqual(names.slice(0, 1));
    },
  );

  test('refuses before it reverts anything while rows would be lost, and hints at how to lose them', async () => {
    const url = await freshDatabase();
    await migrateCli(url, ['up']);
    await withClient(url, async (client) => {
      await connect(client, (await createTenant(client)).organisationId);
    });
    const { code, stdout, stderr } = await migrateCli(url, ['down', '--to', '0', '--json'], {
      NODE_ENV: 'test',
    });
    const error = [
      `Nothing was reverted, because ${names[1]} would fail: crm_connections has rows, and going down would lose them`,
      'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".',
    ].join('\n');
    expect({ code, document: JSON.parse(stdout), stderr }).toEqual({
      code: 1,
      document: { migrations: [], error },
      stderr: `${error}\n`,
    });
    expect(await recorded(url)).toEqual(names);
    expect(await cli.run(url, ['migrate', 'status', '--check'])).toMatchObject({ code: 0 });
    const env = { NODE_ENV: 'test', PGOPTIONS: '-c crm_schema.allow_data_loss=on' };
    expect(await migrateCli(url, ['down', '--to', '0'], env)).toMatchObject({ code: 0 });
    expect(await recorded(url)).toEqual([]);
  });
});

describe('a usage error', () => {
  test.each([
    ['an unknown direction', ['migrate', 'sideways'], "unknown command 'sideways'"],
    [
      'an unknown migration',
      ['migrate', 'up', '--to', '4711'],
      `there is no migration 4711: the last is ${last}`,
    ],
    [
      'a target that is not a number',
      ['migrate', 'up', '--to', 'x'],
      'It must be a whole number from 0 to 9999.',
    ],
    ['a missing target', ['migrate', 'down'], "required option '--to <number>' not specified"],
    ['zero attempts', ['migrate', 'up', '--attempts', '0'], 'It must be a whole number from 1 to 100.'],
  ])('%s', async (_, args, message) => {
    const { code, stdout, stderr } = await cli.run(stock.url, args, { NODE_ENV: 'test' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toContain(message);
  });
});

test.each([
  ['a target that is not a number', { to: '3' }, /^to must be a whole number from 0 to 9999/],
  [
    'an unknown migration',
    { to: 4711 },
    new RegExp(`^to must be the number of a migration, not 4711: the last is ${last}\\.$`),
  ],
])('migrateUp and migrateDown refuse %s', async (_, options, message) => {
  await withClient(stock.url, async (client) => {
    const refusal = { code: 'invalid_input', message: expect.stringMatching(message) };
    const target = { migrationsTable: 'pgmigrations', ...(options as { to: number }) };
    await expect(migrateUp(client, target)).rejects.toMatchObject(refusal);
    await expect(migrateDown(client, target)).rejects.toMatchObject(refusal);
  });
});

test('migrateUp refuses a missing client, and migrateDown a missing target', async () => {
  const code = 'invalid_input';
  await expect(migrateUp(undefined as never)).rejects.toMatchObject({ code });
  await expect(migrateUp({} as never)).rejects.toMatchObject({ code });
  await expect(
    withClient(stock.url, (client) => migrateDown(client, undefined as never)),
  ).rejects.toMatchObject({ code });
});

test('pauses between attempts grow to half a minute, and are random', () => {
  for (const [attempt, seconds] of [
    [1, 1],
    [2, 2],
    [5, 16],
    [6, 30],
    [100, 30],
  ] as const) {
    const pauses = Array.from({ length: 200 }, () => pauseAfter(attempt));
    expect(new Set(pauses).size).toBeGreaterThan(190);
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(500 * seconds);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(1500 * seconds);
  }
});

test.each([
  ['55P03', 'canceling statement due to lock timeout', true],
  ['40P01', 'deadlock detected', true],
  ['57014', 'canceling statement due to statement timeout', true],
  ['57014', 'canceling statement due to user request', false],
  ['CRM01', 'this database does not fit', false],
])('after %s (%s) a migration is tried again: %s', (code, message, expected) => {
  expect(isTransient(Object.assign(new Error(message), { code }))).toBe(expected);
});
