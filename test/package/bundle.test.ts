import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { useDatabase } from '../support/database.js';

const run = promisify(execFile);
const { url } = useDatabase();

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'crm-schema-bundle-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a bundle of a program that imports this package's source. Returns what it prints. */
async function runBundle(format: 'cjs' | 'esm', program: string): Promise<string> {
  const outfile = join(folder, format === 'cjs' ? 'app.cjs' : 'app.mjs');
  await build({
    stdin: { contents: program, resolveDir: projectPath('src'), loader: 'ts' },
    outfile,
    bundle: true,
    platform: 'node',
    format,
    external: ['pg'],
    logLevel: 'silent',
    banner: {
      js:
        format === 'cjs'
          ? ''
          : "import { createRequire as requireFor } from 'node:module'; const require = requireFor(import.meta.url);",
    },
  });
  const { stdout } = await run(process.execPath, [outfile], { env: { ...process.env, DATABASE_URL: url } });
  return stdout;
}

test.each(['cjs', 'esm'] as const)(
  'a bundle in %s loads, and its functions say that a bundler must treat the package as external',
  async (format) => {
    await symlink(projectPath('node_modules'), join(folder, 'node_modules')).catch(() => {});
    const found = await runBundle(
      format,
      `import pg from 'pg';
       import { existsSync } from 'node:fs';
       import { migrateUp, migrationPlan, migrationStatus, migrationsDirectory, partitionsList, verify } from './migrations.js';
       async function main() {
         const client = new pg.Client(process.env.DATABASE_URL);
         await client.connect();
         const found: unknown[] = [existsSync(migrationsDirectory), (await partitionsList(client)).keepDays];
         for (const work of [migrateUp, migrationPlan, migrationStatus, verify]) {
           await work(client).catch(({ code, message }) => found.push([code, message]));
         }
         await client.end();
         console.log(JSON.stringify(found));
       }
       void main();`,
    );
    const refusal = [
      'migration_refused',
      'Files of this package are missing: reinstall it, and mark it as external if you use a bundler.',
    ];
    expect(JSON.parse(found)).toEqual([false, expect.any(Number), refusal, refusal, refusal, refusal]);
  },
);

test('the command says in one line that pg, or another dependency, is not installed', async () => {
  const alone = await mkdtemp(join(tmpdir(), 'crm-schema-alone-'));
  try {
    const main = join(alone, 'dist/cli/main.js');
    const command = (external: string[]) =>
      build({
        entryPoints: [projectPath('src/cli/main.ts')],
        outdir: dirname(main),
        // Keeps what is loaded when needed in files of its own, as in the package.
        splitting: true,
        bundle: true,
        platform: 'node',
        format: 'esm',
        external: [...external, 'pg-native'],
        logLevel: 'silent',
        banner: {
          js: "import { createRequire as requireFor } from 'node:module'; const require = requireFor(import.meta.url);",
        },
      });
    await symlink(projectPath('package.json'), join(alone, 'package.json'));
    for (const path of ['migrations', 'migrations.sha256', 'schema.json']) {
      await symlink(projectPath(path), join(alone, path));
    }
    const env = { ...process.env, DATABASE_URL: url };
    const start = (...args: string[]) => run(process.execPath, [main, ...args], { env });
    await command(['pg']);
    for (const args of [['migrate', 'status'], ['health'], ['verify']]) {
      await expect(start(...args)).rejects.toMatchObject({
        code: 1,
        stderr: 'The package pg is not installed beside this one: npm install pg\n',
      });
    }
    expect((await start('--help')).stdout).toContain('Usage: crm-schema');
    await command(['node-pg-migrate/*']);
    await expect(
      start('migrate', 'plan', '--to', '0', '--migrations-table', 'pgmigrations'),
    ).rejects.toMatchObject({
      code: 1,
      stderr:
        'A dependency of this package is not installed: reinstall the package, with its dependencies.\n',
    });
  } finally {
    await rm(alone, { recursive: true, force: true });
  }
});
