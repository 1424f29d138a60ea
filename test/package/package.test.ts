import { execFile } from 'node:child_process';
import { access, copyFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { useDatabase } from '../support/database.js';
import {
  type Consumer,
  install,
  installedPackage,
  managers,
  packageJson,
  packedPackage,
} from './consumer.js';
import { typeErrors } from './types.js';

const run = promisify(execFile);

let folder: string;
let tarball: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'crm-schema-package-'));
  tarball = await packedPackage();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('publint finds no problem', async () => {
  const { buffer } = await readFile(tarball);
  const { messages, pkg } = await publint({ strict: true, pack: { tarball: buffer } });
  expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([]);
});

// `node16` skips TypeScript's oldest module resolution, which does not support subpaths. require() of an ES
// module is intended: every supported Node can do it.
test('Are the types wrong? finds no problem', async () => {
  const attw = projectPath('node_modules/@arethetypeswrong/cli/dist/index.js');
  const options = [
    '--profile',
    'node16',
    '--ignore-rules',
    'cjs-resolves-to-esm',
    '--no-color',
    '--no-emoji',
  ];
  await run(process.execPath, [attw, tarball, ...options]).catch(({ stdout }) => expect.unreachable(stdout));
});

test('CONVENTIONS.md gives the purpose of each dependency', async () => {
  const conventions = await readFile(projectPath('CONVENTIONS.md'), 'utf8');
  const [, section = ''] = /^## Dependencies\n([\s\S]*?)^## /m.exec(conventions) ?? [];
  const listed = [...section.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name);
  const { dependencies, peerDependencies } = packageJson;
  expect(listed).toEqual([...Object.keys(dependencies), ...Object.keys(peerDependencies)]);
});

describe.each(managers)('installed by %s, the package', (manager) => {
  const database = useDatabase('host');
  let consumer: Consumer;
  beforeAll(async () => {
    consumer = manager === 'npm' ? await installedPackage() : await install(manager, tarball);
    for (const kind of ['ts', 'cts']) {
      await copyFile(
        projectPath(`test/package/consumer.${kind}.txt`),
        join(consumer.folder, `consumer.${kind}`),
      );
    }
  });
  afterAll(() => rm(consumer.folder, { recursive: true, force: true }));

  test('contains the code, types, migrations, queries, schema and documents, and nothing else', async () => {
    expect((await readdir(consumer.installed)).filter((name) => name !== 'node_modules').toSorted()).toEqual([
      'CHANGELOG.md',
      'CONTRIBUTING.md',
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
    expect((await readdir(join(consumer.installed, 'migrations'))).length).toBe(
      (await readdir(projectPath('migrations'))).length,
    );
  });

  test('has documents that link only to files in it', async () => {
    const files = await readdir(consumer.installed, { recursive: true });
    const documents = files.filter((path) => path.endsWith('.md') && !path.startsWith('node_modules'));
    expect(documents.length).toBeGreaterThan(10);
    for (const document of documents) {
      const text = await readFile(join(consumer.installed, document), 'utf8');
      for (const [, path = ''] of text.matchAll(/\]\((?!https?:)([^)#]+)[^)]*\)/g)) {
        await expect(
          access(join(consumer.installed, dirname(document), path)),
          `${document}: ${path}`,
        ).resolves.toBeUndefined();
      }
    }
  });

  test('installs no development dependency', async () => {
    const [lock, name] = {
      npm: ['package-lock.json', /^ +"(?:.*\/)?node_modules\/((?:@[\w.-]+\/)?[\w.-]+)": \{$/gm] as const,
      pnpm: ['pnpm-lock.yaml', /^ +'?((?:@[\w.-]+\/)?[\w.-]+)@[^:]*:/gm] as const,
    }[manager];
    const names = (await readFile(join(consumer.folder, lock), 'utf8')).matchAll(name);
    const brought = new Set([...names].map(([, name]) => name));
    expect([...brought]).toEqual(expect.arrayContaining(Object.keys(packageJson.dependencies)));
    // The consumer project installs these itself.
    const { pg: _, '@types/pg': __, '@types/node': ___, ...others } = packageJson.devDependencies;
    expect(Object.keys(others).filter((name) => brought.has(name))).toEqual([]);
  });

  test.each([
    ['', '{ providers, connectionGet }', 'providers.length, typeof connectionGet', '6 function'],
    [
      '/queries',
      '{ connectionGet }',
      'connectionGet.name, connectionGet.parameterNames.length',
      'connectionGet 2',
    ],
    [
      '/clients',
      '{ clientOf, fromPostgresJs }',
      'typeof clientOf, typeof fromPostgresJs',
      'function function',
    ],
    ['/migrations', '{ migrateUp, verify }', 'typeof migrateUp, typeof verify', 'function function'],
    ['/credentials', '{ KeyRing, keyAlgorithms }', 'keyAlgorithms.length, typeof KeyRing.load', '4 function'],
  ])('can be imported and required as .%s', async (subpath, names, shown, expected) => {
    const name = packageJson.name + subpath;
    const imported = await consumer.evaluate(
      'module',
      `import ${names} from '${name}'; console.log(${shown});`,
    );
    expect(imported.stdout).toBe(`${expected}\n`);
    const required = await consumer.evaluate(
      'commonjs',
      `const ${names} = require('${name}'); console.log(${shown});`,
    );
    expect(required.stdout).toBe(`${expected}\n`);
  });

  test.each([
    ['no code for keys', '', false],
    ['no code for keys with its queries', '/queries', false],
    ['no code for keys with its clients', '/clients', false],
    ['code for keys with its credentials', '/credentials', true],
  ])('loads %s', async (_, subpath, expected) => {
    const { stderr } = await consumer.evaluate('module', `import '${packageJson.name}${subpath}'`, {
      NODE_DEBUG: 'esm',
    });
    expect(stderr).toContain('crm-schema/dist/');
    expect(/node_modules\/(jose|valibot|commander|node-pg-migrate)\//.test(stderr)).toBe(expected);
  });

  const consumers = [
    ['nodenext', 'nodenext', 'ts'],
    ['nodenext', 'nodenext', 'cts'],
    ['bundler', 'esnext', 'ts'],
  ] as const;

  test.each(consumers)(
    'has correct types under moduleResolution %s, module %s, in .%s',
    (moduleResolution, _, kind) => {
      expect(typeErrors(consumer.folder, moduleResolution, `consumer.${kind}`)).toBe('');
    },
  );

  test.each(consumers)(
    'has correct types for TypeScript 7 under moduleResolution %s, module %s, in .%s',
    async (moduleResolution, module, kind) => {
      const options = ['--strict', '--exactOptionalPropertyTypes', '--noEmit'];
      const checked = ['--skipLibCheck', 'false', '--skipDefaultLibCheck', 'true'];
      const target = ['--target', 'es2023', '--module', module, '--moduleResolution', moduleResolution];
      await run(
        process.execPath,
        [
          projectPath('node_modules/typescript-7/bin/tsc'),
          ...options,
          ...checked,
          ...target,
          `consumer.${kind}`,
        ],
        { cwd: consumer.folder },
      ).catch(({ stdout }) => expect.unreachable(stdout));
    },
  );

  test('provides the command crm-schema, and works from ESM and CommonJS on a database that it migrated', async () => {
    const env = { DATABASE_URL: database.url };
    expect((await consumer.command(['--version'])).stdout).toBe(`${packageJson.version}\n`);
    await consumer.command(['migrate', 'up'], env);
    await consumer.command(['migrate', 'status', '--check'], env);
    expect((await consumer.command(['verify'], env)).stderr).toBe('');
    const program = `
      const client = new pg.Client(process.env.DATABASE_URL);
      client.connect()
        .then(() => Promise.all([connectionListTotals(client), queries.connectionListTotals.run(undefined, client)]))
        .then((found) => console.log(JSON.stringify(found)))
        .finally(() => client.end());`;
    const esm = `import pg from 'pg';
      import { connectionListTotals } from '${packageJson.name}';
      import * as queries from '${packageJson.name}/queries';`;
    expect((await consumer.evaluate('module', esm + program, env)).stdout).toBe('[[],[]]\n');
    const cjs = `const pg = require('pg');
      const { connectionListTotals } = require('${packageJson.name}');
      const queries = require('${packageJson.name}/queries');`;
    expect((await consumer.evaluate('commonjs', cjs + program, env)).stdout).toBe('[[],[]]\n');
  });
});

describe('its migrations', () => {
  const database = useDatabase('host');

  test('can be applied by stock node-pg-migrate', async () => {
    await run('tar', ['-xzf', tarball, '-C', folder]);
    const command = projectPath('node_modules/.bin/node-pg-migrate');
    const { stdout } = await run(
      command,
      ['up', '-m', join(folder, 'package/migrations'), '-t', 'crm_schema_migrations'],
      { cwd: projectPath('.'), env: { ...process.env, DATABASE_URL: database.url } },
    );
    expect(stdout).toContain('Migrations complete!');
    await withClient(database.url, async (client) => {
      const { rows } = await client.query('select name from crm_schema_migrations order by id');
      expect(rows.map(({ name }) => `${name}.sql`)).toEqual(
        (await readdir(projectPath('migrations'))).toSorted(),
      );
    });
  });
});
