import { copyFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { useDatabase } from '../support/database.js';
import { expectedOutput } from './application.js';
import { type Consumer, installedPackage, packageJson } from './consumer.js';

let consumer: Consumer;
beforeAll(async () => {
  consumer = await installedPackage();
  await copyFile(projectPath('test/package/application.mjs'), join(consumer.folder, 'application.mjs'));
  await writeFile(
    join(consumer.folder, 'functions.mjs'),
    `import { CrmSchemaError, connectionListTotals } from '${packageJson.name}';
     import { KeyRing, generateKey } from '${packageJson.name}/credentials';
     import * as migrations from '${packageJson.name}/migrations';
     import { existsSync } from 'node:fs';
     import pg from 'pg';
     async function main() {
       const client = new pg.Client(process.env.DATABASE_URL);
       await client.connect();
       const key = await generateKey('A256KW', 'test-key');
       const { keys } = await KeyRing.parse({ current: key.kid, keys: [key] });
       const found = [await connectionListTotals(client), keys.length, existsSync(migrations.migrationsDirectory)];
       found.push((await migrations.partitionsList(client)).keepDays);
       for (const work of ['migrateUp', 'migrationPlan', 'migrationStatus', 'verify']) {
         const { code, message } = await migrations[work](client).catch((error) => error);
         found.push([code, message]);
       }
       await client.end();
       console.log(JSON.stringify(found));
     }
     void main();`,
  );
});
afterAll(() => rm(consumer.folder, { recursive: true, force: true }));

/** Bundles a program of the consumer with its dependencies, except `external`. Returns the path of the bundle. */
async function bundle(program: string, format: 'cjs' | 'esm', external: string[]): Promise<string> {
  const outfile = join(consumer.folder, `bundle.${format === 'cjs' ? 'cjs' : 'mjs'}`);
  await build({
    entryPoints: [join(consumer.folder, program)],
    outfile,
    bundle: true,
    platform: 'node',
    format,
    external,
    logLevel: 'silent',
  });
  return outfile;
}

describe.each(['cjs', 'esm'] as const)('a bundle in %s', (format) => {
  const migrated = useDatabase();
  const host = useDatabase('host');

  test('without this package can do everything', async () => {
    const path = await bundle('application.mjs', format, [packageJson.name, 'pg']);
    const { stdout } = await consumer.node([path], { DATABASE_URL: host.url });
    expect(JSON.parse(stdout)).toEqual(await expectedOutput());
  });

  test('with this package has its functions, and those that need its files say that it must be external', async () => {
    const path = await bundle('functions.mjs', format, ['pg']);
    const { stdout } = await consumer.node([path], { DATABASE_URL: migrated.url });
    const refusal = [
      'migration_refused',
      'Files of this package are missing: reinstall it, and mark it as external if you use a bundler.',
    ];
    expect(JSON.parse(stdout)).toEqual([[], 1, false, 395, refusal, refusal, refusal, refusal]);
  });
});

describe('without a package that it needs, the command', () => {
  const { url } = useDatabase();

  /** Runs `work` while a package of the consumer is not there. */
  async function without(name: string, work: () => Promise<void>): Promise<void> {
    const path = join(consumer.folder, 'node_modules', name);
    await rename(path, `${path}-elsewhere`);
    await work().finally(() => rename(`${path}-elsewhere`, path));
  }

  test('says in one line that pg is not installed, and still has help', async () => {
    await without('pg', async () => {
      for (const args of [['migrate', 'status'], ['health'], ['verify']]) {
        await expect(consumer.command(args, { DATABASE_URL: url })).rejects.toMatchObject({
          code: 1,
          stderr: 'The package pg is not installed beside this one: npm install pg\n',
        });
      }
      expect((await consumer.command(['--help'])).stdout).toContain('Usage: crm-schema');
    });
  });

  test('says in one line that a dependency is not installed', async () => {
    expect(await readdir(join(consumer.folder, 'node_modules'))).toContain('node-pg-migrate');
    await without('node-pg-migrate', async () => {
      const args = ['migrate', 'plan', '--to', '0', '--migrations-table', 'pgmigrations'];
      await expect(consumer.command(args, { DATABASE_URL: url })).rejects.toMatchObject({
        code: 1,
        stderr:
          'A dependency of this package is not installed: reinstall the package, with its dependencies.\n',
      });
    });
  });
});
