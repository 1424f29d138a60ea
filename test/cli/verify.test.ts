import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { migrate, projectPath, withClient } from '../../dev/database.js';
import { type Run, runCli } from '../support/cli.js';
import { useDatabase } from '../support/database.js';

const { url, pool } = useDatabase();
const older = useDatabase('host');
const owner = new URL(url).username;
const { version } = JSON.parse(await readFile(projectPath('package.json'), 'utf8'));

function run(args: readonly string[] = [], to = url, env: Record<string, string> = {}): Promise<Run> {
  return runCli(['verify', ...args], { DATABASE_URL: to, ...env });
}

/** Does something to the database for as long as `work` lasts. */
async function damaged(sql: string, mended: string, work: () => Promise<void>): Promise<void> {
  await pool.query(sql);
  try {
    await work();
  } finally {
    await pool.query(mended);
  }
}

test('says in one line that nothing differs', async () => {
  expect(await run()).toEqual({
    code: 0,
    stdout: `Schema public of ${owner} is as version ${version} expects it.\n`,
    stderr: '',
  });
  const { code, stdout } = await run(['--json']);
  expect({ code, document: JSON.parse(stdout) }).toEqual({
    code: 0,
    document: { version, schema: 'public', owner, differences: [] },
  });
});

test('says what differs, what was expected, and the SQL that mends it', async () => {
  await damaged(
    `drop index crm_sync_runs_expires_at_idx;
     revoke select on crm_sync_cursors from crm_reader;
     alter table crm_connections add column notes text`,
    'alter table crm_connections drop column notes',
    async () => {
      const { code, stdout, stderr } = await run();
      expect({ code, stderr }).toEqual({ code: 3, stderr: '' });
      expect(stdout).toBe(`Schema public of ${owner} has 3 differences from what version ${version} expects.

column public.crm_connections.notes
  expected  nothing
  found     text
  mend      It is not of this schema: drop it once nobody needs what is in it.

index public.crm_sync_runs_expires_at_idx on public.crm_sync_runs
  expected  btree (expires_at) WHERE ended_at IS NULL
  found     nothing
create index concurrently crm_sync_runs_expires_at_idx on public.crm_sync_runs using btree (expires_at) WHERE ended_at IS NULL;
comment on index public.crm_sync_runs_expires_at_idx is 'Finds the open runs that have expired.';

privileges crm_reader on table public.crm_sync_cursors
  expected  select
  found     nothing
grant select on public.crm_sync_cursors to crm_reader;
`);
      const { differences } = JSON.parse((await run(['--json'])).stdout);
      expect(differences[0]).toEqual({
        kind: 'column',
        name: 'public.crm_connections.notes',
        expected: null,
        found: 'text',
        statements: [],
        advice: 'It is not of this schema: drop it once nobody needs what is in it.',
      });
      // As they are copied, they mend it.
      for (const [statement] of stdout.matchAll(/^(create|comment|grant) .*;$/gm))
        await pool.query(statement);
      expect((await run()).stdout).toMatch(/ has 1 difference from what version .* expects\.\n\ncolumn /);
    },
  );
});

test('leaves out what a role of yours has on purpose', async () => {
  await damaged(
    'create role crm_test_replica; grant select on crm_sync_log to crm_test_replica',
    'drop owned by crm_test_replica; drop role crm_test_replica',
    async () => {
      expect((await run()).code).toBe(3);
      expect((await run(['--known-role', 'somebody', 'crm_test_replica'])).code).toBe(0);
    },
  );
});

test('of a function, shows the first line that differs, and the whole to copy', async () => {
  const { rows } = await pool.query(
    "select pg_get_functiondef('crm_sync_backoff'::regproc) as definition, prosrc from pg_proc where proname = 'crm_sync_backoff'",
  );
  const [{ definition, prosrc }] = rows;
  await damaged(definition.replace(prosrc, '\n  select interval $x$1 hour$x$\n'), 'select', async () => {
    const { code, stdout } = await run();
    expect(code).toBe(3);
    expect(stdout).toMatch(/^ {2}expected {2}line \d+: /m);
    expect(stdout).toContain('select interval $x$1 hour$x$');
    const [, statement = ''] = /^(CREATE OR REPLACE [\s\S]*;)\n$/m.exec(stdout) ?? [];
    await pool.query(statement);
    expect((await run()).code).toBe(0);
  });
});

test('keeps to 80 columns, but for SQL, and shows nothing that a terminal would obey', async () => {
  await damaged(
    `create table "crm_\u001b[2J${'x'.repeat(50)}" (id integer);
     comment on column crm_connections.status is 'a \u001b[31m b';
     alter table crm_sync_runs drop constraint crm_sync_runs_times_in_range_check`,
    `drop table "crm_\u001b[2J${'x'.repeat(50)}"`,
    async () => {
      const { stdout } = await run();
      expect(stdout).not.toContain('\u001b');
      const statements = stdout.split('\n').filter((line) => /^(alter|comment) .*;$/.test(line));
      expect(statements).toHaveLength(4);
      for (const line of stdout.split('\n'))
        if (!statements.includes(line)) expect(line.length, line).toBeLessThanOrEqual(80);
      for (const statement of statements) await pool.query(statement);
    },
  );
  expect((await run()).code).toBe(0);
});

test('asks for the migrations, in one line, where they are not all applied', async () => {
  const nowhere = await run([], older.url);
  expect(nowhere).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^The schema is not there: run the migrations first.*\n$/),
  });
  await withClient(older.url, (client) => migrate(client, 'up', 9));
  expect(await run([], older.url)).toEqual({
    code: 3,
    stdout: '',
    stderr:
      'The schema is of an older version: run the migrations first, from 0010_add_row_level_security on.\n',
  });
  await withClient(older.url, (client) => migrate(client));
  expect((await run([], older.url)).code).toBe(0);
  await older.pool.query("insert into pgmigrations (name, run_on) values ('9998_add_x', now())");
  expect(await run([], older.url)).toEqual({
    code: 3,
    stdout: '',
    stderr: `The schema is of a newer version than ${version}, with 9998_add_x: use the package that brought it.\n`,
  });
});

test('finds the schema that PGOPTIONS names', async () => {
  expect((await run([], url, { PGOPTIONS: '-c search_path=pg_catalog' })).stderr).toContain('PGOPTIONS');
  expect((await run([], url, { PGOPTIONS: '-c search_path=public' })).code).toBe(0);
});

test('prints what docs/operations/monitor.md shows', async () => {
  const document = await readFile(projectPath('docs/operations/monitor.md'), 'utf8');
  const [, shown] = /^\$ npx crm-schema verify\n([\s\S]*?)^```$/m.exec(document) ?? [];
  await damaged(
    'drop index crm_sync_runs_expires_at_idx; alter table crm_sync_log disable trigger crm_sync_log_refuse_truncate',
    'select',
    async () => {
      const { stdout } = await run();
      expect(
        shown?.replace(
          /^Schema public of \S+ (.*) version \d+\.\d+\.\d+/,
          `Schema public of ${owner} $1 version ${version}`,
        ),
      ).toBe(stdout);
      for (const [statement] of stdout.matchAll(/^(create|comment|alter) .*;$/gm))
        await pool.query(statement);
    },
  );
  expect((await run()).code).toBe(0);
});
