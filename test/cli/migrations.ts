import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { build } from 'esbuild';
import { afterAll, beforeAll, inject, onTestFinished } from 'vitest';
import { databaseUrl, projectPath, withClient } from '../../dev/database.js';
import { startCli } from '../support/cli.js';

/** The built command, as it is shipped, in a copy of the package. Starts faster than from its source. */
export interface BuiltCli {
  /** The path of the copy. */
  readonly folder: string;
  start(url: string, args: readonly string[], env?: Record<string, string>): ReturnType<typeof startCli>;
  run(
    url: string,
    args: readonly string[],
    env?: Record<string, string>,
  ): ReturnType<typeof startCli>['ended'];
}

/** Builds a copy of the package before the tests of a file, and removes it afterwards. */
export function useBuiltCli(): BuiltCli {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(projectPath('.migrate-test-'));
    const sources = await readdir(projectPath('src'), { recursive: true });
    await build({
      entryPoints: sources.filter((file) => file.endsWith('.ts')).map((file) => projectPath(`src/${file}`)),
      outdir: `${folder}/dist`,
      outbase: projectPath('src'),
      format: 'esm',
      platform: 'node',
      logLevel: 'error',
    });
    for (const path of ['migrations', 'migrations.sha256', 'package.json', 'schema.json']) {
      await cp(projectPath(path), `${folder}/${path}`, { recursive: true });
    }
  });
  afterAll(() => rm(folder, { recursive: true }));
  const start = (url: string, args: readonly string[], env: Record<string, string> = {}) =>
    startCli(args, { DATABASE_URL: url, ...env }, [`${folder}/dist/cli/main.js`]);
  return {
    get folder() {
      return folder;
    },
    start,
    run: (...call) => start(...call).ended,
  };
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
  await withClient(serverUrl, (client) => client.query(`create database ${name} template ${prefix}_host`));
  onTestFinished(async () => {
    await withClient(serverUrl, (client) => client.query(`drop database ${name} with (force)`));
  });
  return databaseUrl(serverUrl, name);
}

/** The recorded names, in the order in which they were recorded. */
export async function recorded(url: string, table = 'crm_schema_migrations'): Promise<string[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query(`select name from ${table} order by id`);
    return rows.map(({ name }) => name);
  });
}
