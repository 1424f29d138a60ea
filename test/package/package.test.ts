import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { useDatabase } from '../support/database.js';

const run = promisify(execFile);
const database = useDatabase('host');

/** An empty project that has the package as npm would unpack it, and finds pg in ours. */
let consumer: string;
let installed: string;

beforeAll(async () => {
  consumer = await mkdtemp(projectPath('.package-test-'));
  installed = join(consumer, 'node_modules/@nurturehub/crm-schema');
  await mkdir(installed, { recursive: true });
  await writeFile(join(consumer, 'package.json'), '{ "name": "consumer", "type": "module" }');
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', consumer], {
    cwd: projectPath('.'),
  });
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[')));
  await run('tar', ['-xzf', join(consumer, filename), '-C', installed, '--strip-components=1']);
});
afterAll(() => rm(consumer, { recursive: true, force: true }));

test('holds the code, its types, the migrations, the queries, the schema and the documents, and nothing else', async () => {
  expect((await readdir(installed)).toSorted()).toEqual([
    'CHANGELOG.md',
    'CONVENTIONS.md',
    'LICENSE',
    'README.md',
    'SECURITY.md',
    'dist',
    'docs',
    'examples',
    'migrations',
    'migrations.sha256',
    'package.json',
    'queries',
    'schema.json',
    'schema.sql',
  ]);
  expect((await readdir(join(installed, 'migrations'))).length).toBe(
    (await readdir(projectPath('migrations'))).length,
  );
});

test.each([
  ['import', "import { providers, connectionGet } from '@nurturehub/crm-schema';", 'module'],
  ['require', "const { providers, connectionGet } = require('@nurturehub/crm-schema');", 'commonjs'],
])('can be used by %s', async (_, load, type) => {
  const { stdout } = await run(
    process.execPath,
    [`--input-type=${type}`, '--eval', `${load} console.log(providers.length, typeof connectionGet);`],
    { cwd: consumer },
  );
  expect(stdout).toBe('6 function\n');
});

test.each([
  ['import', "import { KeyRing, keyAlgorithms } from '@nurturehub/crm-schema/credentials';", 'module'],
  [
    'require',
    "const { KeyRing, keyAlgorithms } = require('@nurturehub/crm-schema/credentials');",
    'commonjs',
  ],
])('its credentials can be used by %s', async (_, load, type) => {
  const { stdout } = await run(
    process.execPath,
    [`--input-type=${type}`, '--eval', `${load} console.log(keyAlgorithms.length, typeof KeyRing.load);`],
    { cwd: consumer },
  );
  expect(stdout).toBe('4 function\n');
});

test.each([
  ['nothing that handles keys', '@nurturehub/crm-schema', false],
  ['that only with its credentials', '@nurturehub/crm-schema/credentials', true],
])('its root loads %s', async (_, name, expected) => {
  const { stderr } = await run(process.execPath, ['--input-type=module', '--eval', `import '${name}'`], {
    cwd: consumer,
    env: { ...process.env, NODE_DEBUG: 'esm' },
  });
  expect(stderr).toContain('crm-schema/dist/');
  expect(/node_modules\/(jose|zod|commander)\//.test(stderr)).toBe(expected);
});

test('brings the command crm-schema', async () => {
  const { version, bin } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'));
  const { stdout } = await run(process.execPath, [join(installed, bin['crm-schema']), '--version']);
  expect(stdout).toBe(`${version}\n`);
  expect(await readFile(join(installed, bin['crm-schema']), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
});

test.each(['nodenext', 'bundler'])(
  'has types that hold under moduleResolution %s',
  async (moduleResolution) => {
    await writeFile(
      join(consumer, 'consumer.ts'),
      `import pg from 'pg';
import { type Credentials, credentialsGet, KeyRing } from '@nurturehub/crm-schema/credentials';
import { type Connection, connectionGet, syncLogListFailures, withNamedStatements } from '@nurturehub/crm-schema';

const pool = new pg.Pool();
const client: pg.PoolClient = await pool.connect();
const key = { organisationId: 'o', connectionId: 'c' };
export const connection: Connection | null = await connectionGet(pool, key);
export const provider: 'agentos' | 'reapit' | 'alto' | 'street' | 'loop' | 'custom' | undefined = connection?.provider;
export const kinds = (await syncLogListFailures(withNamedStatements(client), key)).map(({ error }) => error.kind);
const keys = await KeyRing.load();
const stored = await credentialsGet(pool, keys, { ...key, provider: 'street' });
export const token: string | undefined = stored?.credentials.token;
const any = await credentialsGet(pool, keys, key);
export const customer: string | undefined = any?.provider === 'reapit' ? any.credentials.customer : undefined;
// @ts-expect-error agentOS has no token
export const wrongCredentials: Credentials<'agentos'> = { token: 't' };
// @ts-expect-error a connection has no such provider
export const wrong = connection?.provider === 'rightmove';
// @ts-expect-error the organisation is missing
await connectionGet(new pg.Client(), { connectionId: 'c' });
`,
    );
    const options = ['--strict', '--noEmit', '--target', 'es2022', '--moduleResolution', moduleResolution];
    const module = moduleResolution === 'nodenext' ? 'nodenext' : 'esnext';
    await run(
      process.execPath,
      [projectPath('node_modules/typescript/bin/tsc'), ...options, '--module', module, 'consumer.ts'],
      {
        cwd: consumer,
      },
    ).catch(({ stdout }) => expect.unreachable(stdout));
  },
);

test('has migrations that stock node-pg-migrate applies', async () => {
  const command = projectPath('node_modules/.bin/node-pg-migrate');
  const { stdout } = await run(
    command,
    ['up', '-m', join(installed, 'migrations'), '-t', 'crm_schema_migrations'],
    {
      cwd: consumer,
      env: { ...process.env, DATABASE_URL: database.url },
    },
  );
  expect(stdout).toContain('Migrations complete!');
  await withClient(database.url, async (client) => {
    const { rows } = await client.query('select name from crm_schema_migrations order by id');
    expect(rows.map(({ name }) => `${name}.sql`)).toEqual(
      (await readdir(projectPath('migrations'))).toSorted(),
    );
  });
});
