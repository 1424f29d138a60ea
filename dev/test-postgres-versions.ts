/**
 * Runs the tests on each PostgreSQL version in turn, and prints at the end which passed.
 *
 *   npm run test:postgres-versions                          the whole suite, on every version
 *   npm run test:postgres-versions -- 16 17                 on these versions
 *   npm run test:postgres-versions -- 16 test/migrations    other arguments go to vitest
 *
 * npm has no binaries of the newest version: it comes from TEST_POSTGRES_FOLDER, or from a server of that
 * version at TEST_DATABASE_URL.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { projectPath, withClient } from './database.js';
import { comesFromFolder, postgresVersions } from './embedded-postgres.js';

const args = process.argv.slice(2);
const firstOther = args.findIndex((arg) => !/^\d+$/.test(arg));
const named = firstOther === -1 ? args : args.slice(0, firstOther);
const forVitest = args.slice(named.length);

const unknown = named.filter((version) => !postgresVersions.includes(version));
if (unknown.length > 0) {
  console.error(
    `There is no PostgreSQL ${unknown.join(', ')} here. Choose from ${postgresVersions.join(', ')}.`,
  );
  process.exit(2);
}

const environments = new Map<string, NodeJS.ProcessEnv>();
const skipped: string[] = [];
for (const version of named.length > 0 ? named : postgresVersions) {
  const environment = await environmentFor(version);
  if (typeof environment !== 'string') environments.set(version, environment);
  else skipped.push(`PostgreSQL ${version} skipped: ${environment}`);
}
if (named.length > 0 && skipped.length > 0) {
  console.error(skipped.join('\n').replaceAll(' skipped: ', ': '));
  process.exit(2);
}

const summary: string[] = [];
for (const [version, environment] of environments) {
  const start = Date.now();
  const passed = await passes(environment);
  if (!passed) process.exitCode = 1;
  const seconds = Math.round((Date.now() - start) / 1000);
  summary.push(`PostgreSQL ${version} ${passed ? 'passed' : 'FAILED'} after ${seconds} s`);
}
console.log(`\n${[...summary, ...skipped].join('\n')}`);

/** The variables with which the tests run on a version, or why they cannot. */
async function environmentFor(version: string): Promise<NodeJS.ProcessEnv | string> {
  // A server or image from the environment has one version, whatever is requested here.
  const environment = {
    TEST_POSTGRES_VERSION: version,
    TEST_DATABASE_URL: '',
    TEST_POSTGRES_IMAGE: undefined,
  };
  if (!comesFromFolder(version)) return environment;
  if ((process.env.TEST_POSTGRES_FOLDER ?? '') !== '') return { ...environment, DOCKER_HOST: 'none' };
  const url = process.env.TEST_DATABASE_URL ?? '';
  if (url === '') {
    return `npm has no binaries of it. Run dev/debian-postgres/build.sh <folder> ${version}, and set TEST_POSTGRES_FOLDER to that folder; or set TEST_DATABASE_URL to a server of this version.`;
  }
  const found = await majorVersionAt(url);
  if (found !== version) {
    return `the server at TEST_DATABASE_URL ${found === undefined ? 'does not answer' : `has version ${found}`}, and TEST_POSTGRES_FOLDER is not set.`;
  }
  console.log(
    `Only tests that use the server at TEST_DATABASE_URL run on PostgreSQL ${version}. Those that start a server of their own do so with TEST_POSTGRES_FOLDER alone; here they start PostgreSQL 18.`,
  );
  return { TEST_POSTGRES_VERSION: undefined, TEST_POSTGRES_IMAGE: undefined };
}

/** The major version of a server, or undefined if it does not answer. */
async function majorVersionAt(url: string): Promise<string | undefined> {
  try {
    return await withClient(url, async (client) => {
      const { rows } = await client.query(
        "select current_setting('server_version_num')::int / 10000 as major",
      );
      return String(rows[0].major);
    });
  } catch {
    return undefined;
  }
}

/** Runs the tests with these variables. Returns whether they pass. */
async function passes(environment: NodeJS.ProcessEnv): Promise<boolean> {
  const vitest = spawn(
    process.execPath,
    [projectPath('node_modules/vitest/vitest.mjs'), 'run', ...forVitest],
    { cwd: projectPath('.'), stdio: 'inherit', env: { ...process.env, ...environment } },
  );
  const [code] = await once(vitest, 'exit');
  return code === 0;
}
