import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { findProgram, isMissing } from '../support/programs.js';
import { loginOf, type Pooler, type PoolerOptions, startPooler } from './pooler.js';

const path = findProgram('pgbouncer');

/** Whether PgBouncer is not installed; Debian's package is `pgbouncer`. */
export const noPgBouncer = isMissing('pgbouncer', path, 'TEST_REQUIRE_PGBOUNCER');

/** The second number of the version: 18 for 1.18.0; 0 if PgBouncer is not installed. */
export const minorVersion = noPgBouncer ? 0 : readMinorVersion();

/**
 * Starts PgBouncer in transaction mode. It looks up the passwords of all users but the first.
 *
 * @param settings more lines of its configuration
 */
export function startPgBouncer(
  { connections, users }: PoolerOptions,
  settings: readonly string[] = [],
): Promise<Pooler> {
  const [owner] = users as [string];
  const { user, password } = loginOf(owner);
  const { hostname, port: serverPort } = new URL(owner);
  return startPooler({
    path: path as string,
    // PgBouncer refuses to run as root; it reads its files before it changes user.
    arguments: (folder) => [
      ...(process.getuid?.() === 0 ? ['-u', 'nobody'] : []),
      join(folder, 'pgbouncer.ini'),
    ],
    files: (folder, port) => ({
      users: `"${user}" "${password}"\n`,
      'pgbouncer.ini': `[databases]
* = host=${hostname} port=${serverPort || 5432}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = ${connections}
auth_type = scram-sha-256
auth_file = ${join(folder, 'users')}
auth_user = ${user}
${settings.join('\n')}
${minorVersion >= 21 && minorVersion < 26 ? 'max_prepared_statements = 200\n' : ''}`,
    }),
  });
}

function readMinorVersion(): number {
  const version = execFileSync(path as string, ['--version'], { encoding: 'utf8' });
  return Number(/PgBouncer 1\.(\d+)/.exec(version)?.[1] ?? Number.NaN);
}
