import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { expect, onTestFinished, test, vi } from 'vitest';
import { databaseUrl, projectPath } from '../../dev/database.js';
import { runCli } from '../support/cli.js';
import { useDatabase } from '../support/database.js';
import { codeBlocks } from './blocks.js';

const run = promisify(execFile);
const database = useDatabase();

test('the README and docs/demo.md together show the whole output of the demo, at most 80 columns wide', async () => {
  const { DATABASE_URL: _, ...env } = process.env;
  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'demo/run.ts'], {
    cwd: projectPath('.'),
    env,
  });
  const shown = [...(await codeBlocks('README.md')), ...(await codeBlocks('docs/demo.md'))];
  const begin = shown.findIndex(({ text }) => text.includes('A first week of sync'));
  const blocks = shown.slice(begin).filter(({ text }, index) => index === 0 || /^┌/m.test(text));
  expect(blocks.map(({ text }) => text).join('\n')).toBe(stdout);
  for (const line of stdout.split('\n')) expect([...line].length, line).toBeLessThanOrEqual(80);
});

test('the demo, given a server, runs in a separate database and removes it', async () => {
  const databases = () =>
    database.pool.query('select datname from pg_database order by 1').then(({ rows }) => rows);
  const before = await databases();
  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'demo/run.ts'], {
    cwd: projectPath('.'),
    env: { ...process.env, DATABASE_URL: database.url },
  });
  expect(stdout).toContain('3. What is a contact');
  const demoDatabases = (rows: { datname: string }[]) =>
    rows.filter(({ datname }) => datname.startsWith('crm_schema_demo'));
  expect(demoDatabases(await databases())).toEqual(demoDatabases(before));
});

test('crm-schema finds nothing pending and no drift in a database that the demo keeps', async () => {
  const { stdout } = await run(process.execPath, ['--import', 'tsx', 'demo/run.ts', '--keep'], {
    cwd: projectPath('.'),
    env: { ...process.env, DATABASE_URL: database.url },
  });
  const [, name = ''] = /drop database (crm_schema_demo_\w+)/.exec(stdout) ?? [];
  onTestFinished(async () => {
    await database.pool.query(`drop database ${name}`);
  });
  const env = { DATABASE_URL: databaseUrl(database.url, name) };
  expect(await runCli(['migrate', 'status', '--check'], env)).toMatchObject({ code: 0, stderr: '' });
  expect(await runCli(['verify'], env)).toMatchObject({ code: 0, stderr: '' });
});

test.each([
  ['an unknown option', ['--nonsense'], {}, 2, /^Usage: npm run demo/],
  ['two options', ['--keep', '--page'], {}, 2, /^Usage: npm run demo/],
  [
    'an unreachable server',
    [],
    { DATABASE_URL: 'postgres://u:topsecret@127.0.0.1:1/x' },
    1,
    /^The demo failed: .*\n$/,
  ],
])('the demo, given %s, fails with one clear line', async (_, options, env, exitCode, line) => {
  const failure = await run(process.execPath, ['--import', 'tsx', 'demo/run.ts', ...options], {
    cwd: projectPath('.'),
    env: { ...process.env, ...env },
  }).catch((error) => error);
  expect(failure.code).toBe(exitCode);
  expect(failure.stderr).toMatch(line);
  expect(failure.stderr).not.toContain('topsecret');
});

test('the demo with --page shows the agency that needs attention until Ctrl-C, and removes its database', async () => {
  const databases = () =>
    database.pool
      .query("select datname from pg_database where datname like 'crm_schema_demo%'")
      .then(({ rows }) => rows);
  const before = await databases();
  const demo = spawn(process.execPath, ['--import', 'tsx', 'demo/run.ts', '--page'], {
    cwd: projectPath('.'),
    env: { ...process.env, DATABASE_URL: database.url },
  });
  onTestFinished(() => void demo.kill('SIGKILL'));
  const ended = once(demo, 'close');
  let [output, errors] = ['', ''];
  demo.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  demo.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const [, url = ''] = await vi.waitFor(
    () => /Sunday evening: {2}(http:\/\/127\.0\.0\.1:\d+\/)/.exec(output) ?? expect.unreachable(errors),
    60_000,
  );
  // What comes before is the demo as it is without a page.
  const shown = [...(await codeBlocks('README.md')), ...(await codeBlocks('docs/demo.md'))];
  const begin = shown.findIndex(({ text }) => text.includes('A first week of sync'));
  for (const { text } of shown
    .slice(begin)
    .filter(({ text }) => /^┌/m.test(text))
    .slice(1)) {
    expect(output).toContain(text);
  }
  const page = await (await fetch(url)).text();
  expect(page).toContain('1 of your 2 CRMs needs your attention.');
  expect(page).toContain('agentOS no longer accepts our sign-in. Syncs have failed since 17:55 today.');
  expect(page).toContain('Your contacts are in step with Reapit.');
  expect((await databases()).length).toBe(before.length + 1);
  demo.kill('SIGINT');
  expect([await ended, errors]).toEqual([[0, null], '']);
  await expect(fetch(url)).rejects.toThrow('fetch failed');
  expect(await databases()).toEqual(before);
});
