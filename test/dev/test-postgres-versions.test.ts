import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, inject, test } from 'vitest';
import { projectPath } from '../../dev/database.js';

/** Runs the command. Returns its exit code and output. */
async function run(...args: string[]): Promise<{ code: number | null; output: string }> {
  return runWith({}, ...args);
}

async function runWith(
  env: NodeJS.ProcessEnv,
  ...args: string[]
): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'dev/test-postgres-versions.ts', ...args], {
    cwd: projectPath('.'),
    env: {
      ...process.env,
      NO_COLOR: '1',
      TEST_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nowhere',
      // Not every engine can pull an image of every version.
      DOCKER_HOST: 'none',
      TEST_POSTGRES_FOLDER: '',
      ...env,
    },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const [code] = await once(child, 'close');
  return { code, output };
}

test('test:postgres-versions runs the given files on the given version, whatever TEST_DATABASE_URL says', async () => {
  const { code, output } = await run('15', 'test/types/timestamps.test.ts');
  expect(output).toContain('Testing on PostgreSQL 15');
  expect(output).toMatch(/\nPostgreSQL 15 passed after \d+ s\n$/);
  expect(code).toBe(0);
});

test('test:postgres-versions continues after a version that fails, and fails at the end', async () => {
  const { code, output } = await run('16', '18', 'test/no-such-file');
  expect(output).toMatch(/\nPostgreSQL 16 FAILED after \d+ s\nPostgreSQL 18 FAILED after \d+ s\n$/);
  expect(code).toBe(1);
});

test('test:postgres-versions refuses an unknown version before it tests any', async () => {
  const { code, output } = await run('15', '14');
  expect(output).toBe('There is no PostgreSQL 14 here. Choose from 15, 16, 17, 18, 19.\n');
  expect(code).toBe(2);
});

describe('test:postgres-versions, for a version without an npm package,', () => {
  test('says how to get it, before it tests any', async () => {
    const { code, output } = await runWith({ TEST_DATABASE_URL: '' }, '15', '19');
    expect(output).toBe(
      'PostgreSQL 19: npm has no binaries of it. Run dev/debian-postgres/build.sh <folder> 19, and set TEST_POSTGRES_FOLDER to that folder; or set TEST_DATABASE_URL to a server of this version.\n',
    );
    expect(code).toBe(2);
  });

  test('refuses a server at TEST_DATABASE_URL that does not answer', async () => {
    const { code, output } = await run('19');
    expect(output).toBe(
      'PostgreSQL 19: the server at TEST_DATABASE_URL does not answer, and TEST_POSTGRES_FOLDER is not set.\n',
    );
    expect(code).toBe(2);
  });

  test('uses a server at TEST_DATABASE_URL only if it has this version', async () => {
    const version = inject('serverMajorVersion');
    const env = { TEST_DATABASE_URL: inject('serverUrl') };
    const { code, output } = await runWith(env, '19', 'test/types/timestamps.test.ts');
    if (version === 19) {
      expect(output).toContain('Testing on PostgreSQL 19');
      expect(output).toMatch(/\nPostgreSQL 19 passed after \d+ s\n$/);
      expect(code).toBe(0);
    } else {
      expect(output).toBe(
        `PostgreSQL 19: the server at TEST_DATABASE_URL has version ${version}, and TEST_POSTGRES_FOLDER is not set.\n`,
      );
      expect(code).toBe(2);
    }
  }, 120_000);

  test('names it as skipped at the end, if no version is named', async () => {
    const { output } = await runWith({ TEST_DATABASE_URL: '' }, 'test/no-such-file');
    expect(output).toMatch(/\nPostgreSQL 18 FAILED after \d+ s\nPostgreSQL 19 skipped: npm has no binaries/);
  }, 240_000);
});
