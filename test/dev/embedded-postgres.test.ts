import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
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
    'There is no embedded PostgreSQL 12. Choose from 15, 16, 17, 18, 19.',
  );
});

describe('a version without an npm package', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  test('says how to make the folder, if TEST_POSTGRES_FOLDER is not set', async () => {
    vi.stubEnv('TEST_POSTGRES_FOLDER', '');
    await expect(startEmbeddedPostgres('19')).rejects.toThrow(
      'npm has no PostgreSQL 19. Run dev/debian-postgres/build.sh <folder> 19, and set TEST_POSTGRES_FOLDER to that folder.',
    );
  });

  test('is refused from a folder without a server, or with one of another version', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'crm-schema-folder-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    vi.stubEnv('TEST_POSTGRES_FOLDER', folder);
    await expect(startEmbeddedPostgres('19')).rejects.toThrow(
      `TEST_POSTGRES_FOLDER (${folder}) has no bin/postgres that starts. Make it again with dev/debian-postgres/build.sh.`,
    );
    await mkdir(join(folder, 'bin'));
    await writeFile(join(folder, 'bin/postgres'), "#!/bin/sh\necho 'postgres (PostgreSQL) 20.1'\n", {
      mode: 0o755,
    });
    await expect(startEmbeddedPostgres('19')).rejects.toThrow(
      `TEST_POSTGRES_FOLDER (${folder}) has postgres (PostgreSQL) 20.1, not PostgreSQL 19.`,
    );
  });

  test.skipIf((process.env.TEST_POSTGRES_FOLDER ?? '') === '')('starts from its folder', async () => {
    const server = await startEmbeddedPostgres('19');
    onTestFinished(() => server.stop());
    await withClient(server.url, async (client) => {
      const { rows } = await client.query("select current_setting('server_version') as version");
      expect(rows[0].version).toMatch(/^19/);
    });
  });
});

test('dev/debian-postgres/program.sh runs a program with its own loader and libraries, also through links', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-program-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const bin = join(folder, 'lib/postgresql/19/bin');
  for (const each of [bin, join(folder, 'libraries')]) await mkdir(each, { recursive: true });
  await cp(projectPath('dev/debian-postgres/program.sh'), join(bin, 'postgres'));
  await symlink('lib/postgresql/19/bin', join(folder, 'bin'));
  await writeFile(join(folder, 'libraries/ld-linux-x.so.2'), '#!/bin/sh\nprintf "%s\\n" "$@"\n', {
    mode: 0o755,
  });
  await symlink(join(folder, 'bin/postgres'), join(folder, 'postgres'));
  const real = await realpath(bin);
  for (const path of ['bin/postgres', 'postgres']) {
    const { stdout } = await promisify(execFile)(join(folder, path), ['-c', "it's one"]);
    expect(stdout.trim().split('\n')).toEqual([
      '--argv0',
      join(real, 'postgres'),
      '--library-path',
      `${real}/../../../../libraries`,
      `${real}/../../../../programs/postgres`,
      '-c',
      "it's one",
    ]);
  }
});
