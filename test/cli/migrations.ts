import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { build } from 'esbuild';
import { afterAll, beforeAll, inject, onTestFinished } from 'vitest';
import { databaseUrl, projectPath, withClient } from '../../dev/database.js';
import { startCli } from '../support/cli.js';

/** The command as it is shipped, which starts faster than from its source, in a copy of the package. */
export interface BuiltCli {
  /** Where the copy is. */
  readonly folder: string;
  start(url: string, args: readonly string[], env?: Record<string, string>): ReturnType<typeof startCli>;
  run(
    url: string,
    args: readonly string[],
    env?: Record<string, string>,
  ): ReturnType<typeof startCli>['ended'];
}

/** Gives a test file a copy of the package, built before its tests and removed after. */
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
 * A database of one test, with the host tables, dropped after it.
 *
 * @returns its URL, as a superuser
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

/** The names that are recorded, in the order in which they were. */
export async function recorded(url: string, table = 'crm_schema_migrations'): Promise<string[]> {
  return withClient(url, async (client) => {
    const { rows } = await client.query(`select name from ${table} order by id`);
    return rows.map(({ name }) => name);
  });
}
