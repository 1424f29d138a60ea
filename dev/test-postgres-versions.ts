/**
 * Runs the tests on each PostgreSQL version in turn, and prints at the end which passed.
 *
 *   npm run test:postgres-versions                          the whole suite, on every version
 *   npm run test:postgres-versions -- 16 17                 on these versions
 *   npm run test:postgres-versions -- 16 test/migrations    other arguments go to vitest
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { projectPath } from './database.js';
import { postgresVersions } from './embedded-postgres.js';

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

const summary: string[] = [];
for (const version of named.length > 0 ? named : postgresVersions) {
  const start = Date.now();
  const passed = await passes(version);
  if (!passed) process.exitCode = 1;
  const seconds = Math.round((Date.now() - start) / 1000);
  summary.push(`PostgreSQL ${version} ${passed ? 'passed' : 'FAILED'} after ${seconds} s`);
}
console.log(`\n${summary.join('\n')}`);

/** Runs the tests on a version. Returns whether they pass. */
async function passes(version: string): Promise<boolean> {
  const vitest = spawn(
    process.execPath,
    [projectPath('node_modules/vitest/vitest.mjs'), 'run', ...forVitest],
    {
      cwd: projectPath('.'),
      stdio: 'inherit',
      // A server or image from the environment has one version, whatever is requested here.
      env: {
        ...process.env,
        TEST_POSTGRES_VERSION: version,
        TEST_DATABASE_URL: '',
        TEST_POSTGRES_IMAGE: undefined,
      },
    },
  );
  const [code] = await once(vitest, 'exit');
  return code === 0;
}
