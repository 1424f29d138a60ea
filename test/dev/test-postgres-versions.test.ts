import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';

/** Runs the command. Returns its exit code and output. */
async function run(...args: string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'dev/test-postgres-versions.ts', ...args], {
    cwd: projectPath('.'),
    env: {
      ...process.env,
      NO_COLOR: '1',
      TEST_DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nowhere',
      // Not every engine can pull an image of every version.
      DOCKER_HOST: 'none',
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
  expect(output).toBe('There is no PostgreSQL 14 here. Choose from 15, 16, 17, 18.\n');
  expect(code).toBe(2);
});
