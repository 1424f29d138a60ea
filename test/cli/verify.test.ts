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

/** Damages the database while `work` runs. */
async function damaged(sql: string, repair: string, work: () => Promise<void>): Promise<void> {
  await pool.query(sql);
  try {
    await work();
  } finally {
    await pool.query(repair);
  }
}

test('verify prints one line for a schema that is up to date', async () => {
  expect(await run()).toEqual({
    code: 0,
    stdout: `Schema public is up to date with version ${version} (owner: ${owner}).\n`,
    stderr: '',
  });
  const { code, stdout } = await run(['--json']);
  expect({ code, document: JSON.parse(stdout) }).toEqual({
    code: 0,
    document: { version, schema: 'public', owner, differences: [], waitingEvents: null },
  });
});

test('verify prints each difference, what was expected, and SQL that repairs it', async () => {
  await damaged(
    `drop index crm_sync_runs_expires_at_idx;
     revoke select on crm_sync_cursors from crm_reader;
     alter table crm_connections add column notes text`,
    'alter table crm_connections drop column notes',
    async () => {
      const { code, stdout, stderr } = await run();
      expect({ code, stderr }).toEqual({ code: 3, stderr: '' });
      expect(stdout).toBe(`Schema public has 3 differences from version ${version} (owner: ${owner}).

column public.crm_connections.notes
  expected  nothing
  found     text
  repair    It is not part of this schema: drop it once nobody needs its data.

index public.crm_sync_runs_expires_at_idx on public.crm_sync_runs
  expected  btree (expires_at) WHERE outcome IS NULL
  found     nothing
create index concurrently crm_sync_runs_expires_at_idx on public.crm_sync_runs using btree (expires_at) WHERE outcome IS NULL;
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
        advice: 'It is not part of this schema: drop it once nobody needs its data.',
      });
      // As a user would copy them.
      for (const [statement] of stdout.matchAll(/^(create|comment|grant) .*;$/gm))
        await pool.query(statement);
      expect((await run()).stdout).toMatch(/ has 1 difference from version .*\.\n\ncolumn /);
    },
  );
});

test('verify ignores the privileges of a known role', async () => {
  await damaged(
    'create role crm_test_replica; grant select on crm_sync_log to crm_test_replica',
    'drop owned by crm_test_replica; drop role crm_test_replica',
    async () => {
      expect((await run()).code).toBe(3);
      expect((await run(['--known-role', 'somebody', 'crm_test_replica'])).code).toBe(0);
    },
  );
});

test('verify ignores a known index', async () => {
  await damaged('create index theirs on crm_sync_log (direction)', 'drop index theirs', async () => {
    const { code, stdout } = await run();
    expect(code).toBe(3);
    expect(stdout).toContain('\ndrop index public.theirs;\n');
    expect((await run(['--known-index', 'public.theirs'])).code).toBe(0);
  });
});

test('verify prints a view that shows others every organisation, with its repair, unless it is known', async () => {
  await damaged(
    'create schema reporting; create view reporting.everyone as select * from crm_connections; grant select on reporting.everyone to crm_app',
    'drop schema reporting cascade',
    async () => {
      const { code, stdout } = await run();
      expect(code).toBe(3);
      expect(stdout).toContain('\nleak view reporting.everyone\n');
      expect(stdout).toContain('\nalter view reporting.everyone set (security_invoker = true);\n');
      expect((await run(['--known-object', 'reporting.everyone'])).code).toBe(0);
    },
  );
});

test('verify prints the first line that differs in a function, and the whole function to copy', async () => {
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

test.each([
  ['\r\n', (body: string) => body.replaceAll('\n', '\r\n'), 'LF', 'the same text, with line endings CRLF'],
  ['\r', (body: string) => body.replaceAll('\n', '\r'), 'LF', 'the same text, with line endings CR'],
])('verify says that only line endings differ: %j', async (_, change, expected, found) => {
  const { rows } = await pool.query(
    "select pg_get_functiondef('crm_sync_backoff'::regproc) as definition, prosrc from pg_proc where proname = 'crm_sync_backoff'",
  );
  const [{ definition, prosrc }] = rows;
  await damaged(
    definition.replace(prosrc, () => change(prosrc)),
    definition,
    async () => {
      const { code, stdout } = await run();
      expect(code).toBe(3);
      expect(stdout).toContain(`  expected  line endings ${expected}\n  found     ${found}\n`);
    },
  );
  expect((await run()).code).toBe(0);
});

test.each([
  ['a trailing space', (body: string) => body.replace(/(?<=\S)\n/, ' \n'), '\\u0020'],
  ['a tab', (body: string) => body.replace('\n  ', '\n\t'), '\\u0009'],
  ['another space', (body: string) => body.replace(/(?<=\w) (?=\w)/, '  '), ' \\u0020'],
])('verify shows %s in a function, which could not be seen', async (_, change, found) => {
  const { rows } = await pool.query(
    "select pg_get_functiondef('crm_sync_backoff'::regproc) as definition, prosrc from pg_proc where proname = 'crm_sync_backoff'",
  );
  const [{ definition, prosrc }] = rows;
  expect(change(prosrc)).not.toBe(prosrc);
  await damaged(
    definition.replace(prosrc, () => change(prosrc)),
    definition,
    async () => {
      const { code, stdout } = await run();
      expect(code).toBe(3);
      const [, expectedSide, foundSide] = /^ {2}expected {2}(.*?)^ {2}found {5}(.*?)^\S/ms.exec(stdout) ?? [];
      expect(foundSide).toContain(found);
      expect(expectedSide).not.toBe(foundSide);
    },
  );
});

test('verify wraps at 80 columns except for SQL, and escapes control characters', async () => {
  await damaged(
    `create table "crm_\u001b[2J${'x'.repeat(50)}" (id integer);
     comment on column crm_connections.status is 'a \u001b[31m b';
     alter table crm_sync_runs drop constraint crm_sync_runs_times_in_range_check`,
    `drop table "crm_\u001b[2J${'x'.repeat(50)}"`,
    async () => {
      const { stdout } = await run();
      expect(stdout).not.toContain('\u001b');
      const statements = stdout.split('\n').filter((line) => /^(select|alter|comment) .*;$/.test(line));
      expect(statements).toHaveLength(5);
      for (const line of stdout.split('\n'))
        if (!statements.includes(line)) expect(line.length, line).toBeLessThanOrEqual(80);
      for (const statement of statements) await pool.query(statement);
    },
  );
  expect((await run()).code).toBe(0);
});

test('verify prints no SQL that contains a name with a line break', async () => {
  const name = '"x\ndrop table crm_sync_log; --"';
  await damaged(
    `create policy ${name} on crm_sync_runs using (true)`,
    `drop policy ${name} on crm_sync_runs`,
    async () => {
      const { stdout } = await run();
      expect(stdout).not.toMatch(/^drop /m);
      expect(stdout).toContain('The SQL is in verify --json');
    },
  );
});

test('verify prints one line if the schema is missing, older or newer', async () => {
  const nowhere = await run([], older.url);
  expect(nowhere).toEqual({
    code: 1,
    stdout: '',
    stderr: expect.stringMatching(/^The schema was not found\. Run the migrations first.*\n$/),
  });
  await withClient(older.url, (client) => migrate(client, 'up', 9));
  expect(await run([], older.url)).toEqual({
    code: 3,
    stdout: '',
    stderr: `Schema public is older than version ${version}: run the migrations first, from 0010_add_row_level_security.\n`,
  });
  await withClient(older.url, (client) => migrate(client));
  expect((await run([], older.url)).code).toBe(0);
  await older.pool.query("insert into pgmigrations (name, run_on) values ('9998_add_x', now())");
  expect(await run([], older.url)).toEqual({
    code: 3,
    stdout: '',
    stderr: `Schema public is newer than version ${version}: use the version of the package that has 9998_add_x.\n`,
  });
});

test('verify finds the schema that PGOPTIONS names', async () => {
  expect((await run([], url, { PGOPTIONS: '-c search_path=pg_catalog' })).stderr).toContain('PGOPTIONS');
  expect((await run([], url, { PGOPTIONS: '-c search_path=public' })).code).toBe(0);
});

test('verify prints what docs/operations/monitor.md shows', async () => {
  const document = await readFile(projectPath('docs/operations/monitor.md'), 'utf8');
  const [, shown] = /^\$ npx --no -- crm-schema verify\n([\s\S]*?)^```$/m.exec(document) ?? [];
  await damaged(
    'drop index crm_sync_runs_expires_at_idx; alter table crm_sync_log disable trigger crm_sync_log_refuse_truncate',
    'select',
    async () => {
      const { stdout } = await run();
      expect(
        shown?.replace(
          /^(Schema public .*) version \d+\.\d+\.\d+ \(owner: \S+\)/,
          `$1 version ${version} (owner: ${owner})`,
        ),
      ).toBe(stdout);
      for (const [statement] of stdout.matchAll(/^(create|comment|alter) .*;$/gm))
        await pool.query(statement);
    },
  );
  expect((await run()).code).toBe(0);
});
