import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { findProgram, isMissing } from '../support/programs.js';

const program = findProgram('pgbouncer');

/** Whether PgBouncer is not installed; Debian's package is `pgbouncer`. */
export const noPgBouncer = isMissing('pgbouncer', program, 'TEST_REQUIRE_PGBOUNCER');

/** Whether PgBouncer supports named statements in transaction mode, as it does from 1.21. */
export const supportsNamedStatements = !noPgBouncer && minorVersion() >= 21;

export interface PgBouncer {
  /** The database's URL through PgBouncer; other users of the server can connect through it too. */
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Starts PgBouncer in transaction mode on loopback.
 *
 * @param databaseUrl of a superuser, as which PgBouncer looks up the passwords of other users
 * @param connections to the server, for each user and database
 */
export async function startPgBouncer(databaseUrl: string, connections: number): Promise<PgBouncer> {
  const { hostname, port, username, password } = new URL(databaseUrl);
  const user = decodeURIComponent(username);
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-pgbouncer-'));
  const ownPort = await freePort();
  const settings = {
    listen_addr: '127.0.0.1',
    listen_port: ownPort,
    unix_socket_dir: '',
    pool_mode: 'transaction',
    default_pool_size: connections,
    auth_type: 'scram-sha-256',
    auth_file: join(folder, 'users'),
    auth_user: user,
    ...(supportsNamedStatements ? { max_prepared_statements: 200 } : {}),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  const configuration = join(folder, 'pgbouncer.ini');
  await writeFile(join(folder, 'users'), `"${user}" "${decodeURIComponent(password)}"\n`, { mode: 0o600 });
  await writeFile(
    configuration,
    `[databases]\n* = host=${hostname} port=${port || 5432}\n[pgbouncer]\n${lines.join('\n')}\n`,
  );

  // PgBouncer refuses to run as root; it reads its files before it changes user.
  const asNobody = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  const child = spawn(program as string, [...asNobody, configuration], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  const output: string[] = [];
  await new Promise<void>((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      output.push(line);
      if (line.includes('process up')) resolve();
    });
    child.once('exit', () => reject(new Error(`PgBouncer did not start.\n${output.join('\n')}`)));
  });

  const url = new URL(databaseUrl);
  url.port = String(ownPort);
  return {
    url: url.href,
    async stop() {
      process.removeListener('exit', kill);
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        child.kill('SIGTERM');
        await exited;
      }
      await rm(folder, { recursive: true });
    },
  };
}

function minorVersion(): number {
  const version = execFileSync(program as string, ['--version'], { encoding: 'utf8' });
  return Number(/PgBouncer 1\.(\d+)/.exec(version)?.[1] ?? Number.NaN);
}

/** A free port. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
