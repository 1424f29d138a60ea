import { execFile } from 'node:child_process';
import { copyFile, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { packedPackage } from '../package/consumer.js';
import { useDatabase } from '../support/database.js';
import { testImports } from './import-programs.js';
import { unreported } from './tools.js';

const run = promisify(execFile);

/** The folder that `dev/newer-clients/install.sh` has made; undefined to skip the tests. */
const clients = process.env.TEST_NEWER_CLIENTS || undefined;
if (clients === undefined) {
  console.log(
    'Skipped: Prisma, and newer versions of Kysely and MikroORM. Set TEST_NEWER_CLIENTS to a folder made by dev/newer-clients/install.sh.',
  );
}

const programs = ['kysely', 'mikro-orm-7', 'prisma'];

describe.skipIf(clients === undefined)('with the packed package and the newest clients,', () => {
  const database = useDatabase();
  let folder: string;
  beforeAll(async () => {
    // Within the folder, so that Node finds the clients.
    folder = await mkdtemp(join(resolve(clients ?? ''), 'application-'));
    await cp(projectPath('examples/clients'), join(folder, 'clients'), { recursive: true });
    const installed = join(folder, 'node_modules/@nurturehub/crm-schema');
    await mkdir(installed, { recursive: true });
    await run('tar', ['-xzf', await packedPackage(), '--strip-components=1', '-C', installed]);
    await writeFile(join(folder, 'package.json'), '{ "name": "application", "type": "module" }');
    await run(
      process.execPath,
      [join(folder, '../node_modules/prisma/build/index.js'), 'generate', '--schema=clients/contacts.prisma'],
      {
        cwd: folder,
        // Any program: else Prisma fetches an engine, which only its migrations need.
        env: { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath },
      },
    );
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('the programs have correct types', async () => {
    const tsc = projectPath('node_modules/typescript-7/bin/tsc');
    const options =
      '--noEmit --strict --exactOptionalPropertyTypes --skipLibCheck --target es2023 --module nodenext';
    const files = programs.map((program) => `clients/${program}.ts`);
    await run(process.execPath, [tsc, ...options.split(' '), '--types', 'node', ...files], {
      cwd: folder,
    }).catch(({ stdout }) => expect.unreachable(stdout));
  });

  test('a transaction in which a statement failed is reported as committed by those that docs/clients.md names', async () => {
    const program = 'failed-transactions.ts';
    await copyFile(projectPath('test/clients/failed-transactions.ts.txt'), join(folder, program));
    const { stdout } = await run(process.execPath, ['--import', 'tsx', program], {
      cwd: folder,
      env: { ...process.env, DATABASE_URL: database.url },
    });
    const reported = Object.entries<string>(JSON.parse(stdout));
    expect(reported).toHaveLength(3);
    for (const [name, outcome] of reported) {
      expect(outcome, name).toBe(unreported.includes(name) ? 'returned' : 'threw');
    }
  });

  testImports(database, () => folder, programs);
});
