/**
 * Runs one PostgreSQL server: prepares it, prints its URL, and stops it when standard input closes.
 *
 * It is a separate process because the operating system closes that pipe however the parent ends. It is plain
 * JavaScript so that Node runs it without a loader. Usage: node <this file> <binaries> [<setting>=<value> …]
 *
 * With settings, it copies the server's log to standard error.
 */
import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { cpSync } from 'node:fs';
import { chmod, chown, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

const run = promisify(execFile);
const [, , binaries, ...settings] = process.argv;

const directory = await mkdtemp(join(tmpdir(), 'crm-schema-postgres-'));
const passwordFile = join(directory, 'password');
let server;
let stopping;
const starting = start();

/** Stops the server, deletes its files, and ends this process. */
function stop(exitCode) {
  stopping ??= (async () => {
    // A start in progress would recreate what is being deleted.
    await starting.catch(() => {});
    if (server !== undefined && server.exitCode === null && server.signalCode === null) {
      const exited = once(server, 'exit');
      server.kill('SIGINT');
      await exited;
    }
    await rm(directory, { recursive: true, force: true });
    process.exit(exitCode);
  })();
  return stopping;
}

let outlive = false;
createInterface(process.stdin)
  .on('line', (line) => {
    outlive = line === 'outlive';
  })
  .on('close', () => {
    if (!outlive) stop(0);
  });
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => stop(0));
// If the reader has exited, this process must still clean up.
for (const output of [process.stdout, process.stderr]) output.on('error', () => {});

try {
  console.log(await starting);
} catch (error) {
  console.error(error.message);
  await stop(1);
}

/** @returns {Promise<string>} the superuser's URL, once the server accepts connections */
async function start() {
  const owner = await serverUser();
  const password = randomBytes(18).toString('base64url');
  await stageBinaries();
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (owner !== undefined) {
    await chown(passwordFile, owner.uid, owner.gid);
    // Last: from here on, the user nobody could plant links in it, so root writes nothing more there.
    await chown(directory, owner.uid, owner.gid);
  }
  return startServer(owner, password);
}

/**
 * PostgreSQL refuses to run as root, so root runs it as nobody, a user that exists everywhere and owns nothing.
 * @returns {Promise<{ uid: number, gid: number } | undefined>} undefined for any other user
 */
async function serverUser() {
  if (process.getuid?.() !== 0) return undefined;
  const id = async (flag) => Number((await run('id', [flag, 'nobody'])).stdout);
  return { uid: await id('-u'), gid: await id('-g') };
}

/**
 * Copies the binaries next to the data. node_modules may be unreadable for nobody, read-only, or without the
 * symbolic links: npm packages cannot contain them, and an install script, if allowed, would create them.
 */
async function stageBinaries() {
  const staged = join(directory, 'native');
  // Synchronous: for a thousand small files, that takes a third of the CPU time.
  cpSync(binaries, staged, { recursive: true, verbatimSymlinks: true });
  const links = JSON.parse(await readFile(join(binaries, 'pg-symlinks.json'), 'utf8').catch(() => '[]'));
  for (const { source, target } of links) {
    await symlink(relative(dirname(target), source), join(directory, target)).catch((error) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
  for (const program of await readdir(join(staged, 'bin'))) {
    await chmod(join(staged, 'bin', program), 0o755);
  }
}

/** Initialises a cluster and starts it on a free port of the loopback interface. */
async function startServer(owner, password) {
  const program = (name) => join(directory, 'native', 'bin', name);
  const data = join(directory, 'data');
  // Nothing else from the environment: the user nobody, and any superuser of the database, can read it.
  const { PATH, SystemRoot } = process.env;
  const options = { ...owner, cwd: directory, env: { PATH, SystemRoot, LC_ALL: 'C' } };
  await run(
    program('initdb'),
    [
      `--pgdata=${data}`,
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--no-sync',
      ...(await cheapPasswords(program('postgres'))),
    ],
    options,
  ).catch((error) => {
    throw new Error(`initdb failed.\n${error.stderr || error.message}`);
  });
  await rm(passwordFile);

  // Another process may take the free port between finding and using it.
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const log = [];
    server = spawn(
      program('postgres'),
      [
        ...['-D', data],
        ...['-p', String(port)],
        ...['-c', 'listen_addresses=127.0.0.1'],
        ...['-c', 'unix_socket_directories='],
        ...['-c', 'max_connections=200'],
        // The data is deleted with the server, so it need not survive a crash.
        ...['-c', 'fsync=off'],
        ...['-c', 'full_page_writes=off'],
        ...['-c', 'synchronous_commit=off'],
        ...settings.flatMap((setting) => ['-c', setting]),
      ],
      { ...options, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    if (await isReady(server, log)) return `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
    if (attempt === 5) throw new Error(log.join('\n'));
  }
}

/**
 * Options that make checking a password cheap: the password is random, and tests connect thousands of times.
 * PostgreSQL 15 has no such setting.
 */
async function cheapPasswords(postgres) {
  const { stdout } = await run(postgres, ['--version']);
  return Number(/\) (\d+)/.exec(stdout)?.[1]) >= 16 ? ['--set=scram_iterations=1'] : [];
}

/** Returns whether the server came up. Collects its log in `log`, and prints it if there are settings. */
function isReady(child, log) {
  return new Promise((resolve) => {
    createInterface(child.stderr).on('line', (line) => {
      if (log.length < 50) log.push(line);
      if (settings.length > 0) console.error(line);
      if (line.includes('database system is ready to accept connections')) resolve(true);
    });
    child.once('exit', () => resolve(false));
    child.once('error', (error) => {
      log.push(error.message);
      resolve(false);
    });
  });
}

/** Finds a free port. */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
