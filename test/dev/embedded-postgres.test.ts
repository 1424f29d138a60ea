import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { expect, test, vi } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { waiting } from '../support/waiting.js';

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.end();
    return true;
  } catch {
    return false;
  }
}

/** The server's directory, which holds its data and binaries. */
async function serverDirectory(url: string): Promise<string> {
  return withClient(url, async (client) => {
    const { rows } = await client.query('show data_directory');
    return dirname(rows[0].data_directory);
  });
}

/** Starts a process that starts a server, prints its URL and pid, and waits. */
async function spawnOwner(script = ''): Promise<{ owner: ChildProcess; url: string; pid: number }> {
  const code = `
    import { startEmbeddedPostgres } from '${projectPath('dev/embedded-postgres.ts')}';
    const server = await startEmbeddedPostgres();
    console.log(JSON.stringify({ url: server.url, pid: server.pid }));
    ${script}
    setInterval(() => {}, 1000);`;
  const owner = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: projectPath('.'),
  });
  if (owner.stdout === null) throw new Error('no output');
  for await (const line of createInterface(owner.stdout)) return { owner, ...JSON.parse(line) };
  throw new Error('the owner ended without a word');
}

test('the embedded server, when stopped, leaves no process and no files', async () => {
  const server = await startEmbeddedPostgres();
  const directory = await serverDirectory(server.url);
  expect(existsSync(directory)).toBe(true);
  await server.stop();
  expect(await answers(server.url)).toBe(false);
  expect(existsSync(directory)).toBe(false);
});

test.each(['SIGKILL', 'SIGTERM', 'SIGINT'] as const)(
  'the embedded server stops when %s ends the process that started it',
  async (signal) => {
    const { owner, url, pid } = await spawnOwner();
    expect(await answers(url)).toBe(true);
    owner.kill(signal);
    await once(owner, 'exit');
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(/ESRCH/), waiting);
    expect(await answers(url)).toBe(false);
  },
);

test('the embedded server runs until SIGTERM after outlive()', async () => {
  const { owner, url, pid } = await spawnOwner('server.outlive(); process.exit(0);');
  if (owner.exitCode === null) await once(owner, 'exit');
  expect(await answers(url)).toBe(true);
  process.kill(pid, 'SIGTERM');
  await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow(/ESRCH/), waiting);
  expect(await answers(url)).toBe(false);
});

test('startEmbeddedPostgres, given an unknown version, names the known ones', async () => {
  await expect(startEmbeddedPostgres('12')).rejects.toThrow(
    'There is no embedded PostgreSQL 12. Choose from 15, 16, 17, 18.',
  );
});
