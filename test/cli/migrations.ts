import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, inject, onTestFinished } from 'vitest';
import { databaseUrl, withClient } from '../../dev/database.js';
import { startCli } from '../support/cli.js';
import { cloneDatabase } from '../support/database.js';

/** The built command. */
export interface BuiltCli {
  start(url: string, args: readonly string[], env?: Record<string, string>): ReturnType<typeof startCli>;
  run(
    url: string,
    args: readonly string[],
    env?: Record<string, string>,
  ): ReturnType<typeof startCli>['ended'];
}

/** The command that all test files share. */
export function useBuiltCli(): BuiltCli {
  return cliAt(() => inject('command'));
}

/** A copy of the built package for one test file or `describe`, which may change its files. */
export function useCopyOfBuiltCli(): BuiltCli & { readonly folder: string } {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'crm-schema-copy-'));
    await cp(inject('builtPackage'), folder, { recursive: true });
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));
  return {
    ...cliAt(() => join(folder, relative(inject('builtPackage'), inject('command')))),
    get folder() {
      return folder;
    },
  };
}

function cliAt(path: () => string): BuiltCli {
  const start = (url: string, args: readonly string[], env: Record<string, string> = {}) =>
    startCli(args, { DATABASE_URL: url, ...env }, [path()]);
  return { start, run: (...call) => start(...call).ended };
}

/**
 * Creates a database with the host tables for one test, and drops it afterwards.
 *
 * @returns a superuser's URL
 */
export async function freshDatabase(): Promise<string> {
  const serverUrl = inject('serverUrl');
  const prefix = inject('databasePrefix');
  const name = `${prefix}_${randomBytes(6).toString('hex')}`;
  await cloneDatabase(name, `${prefix}_host`);
  onTestFinished(async () => {
    await withClient(serverUrl, (client) => client.query(`drop database ${name} with (force)`));
  });
  return databaseUrl(serverUrl, name);
}

/** The names in the migrations table, in the order they were recorded. */
export async function recorded(url: string, table = 'crm_schema_migrations'): Promise<string[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query(`select name from ${table} order by id`);
    return rows.map(({ name }) => name);
  });
}
