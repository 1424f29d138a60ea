import { join } from 'node:path';
import { findProgram, isMissing } from '../support/programs.js';
import { loginOf, type Pooler, type PoolerOptions, startPooler } from './pooler.js';

const path = findProgram('odyssey');

/** Whether Odyssey is not installed; Debian's package is `odyssey`. */
export const noOdyssey = isMissing('odyssey', path, 'TEST_REQUIRE_ODYSSEY');

/** Starts Odyssey in transaction mode. */
export function startOdyssey(
  { connections, users }: PoolerOptions,
  {
    /** Whether it resets a connection to the server before it gives it to the next client. */
    discards = false,
    /** Whether it supports named statements. */
    reservesStatements = true,
  },
): Promise<Pooler> {
  const { hostname, port: serverPort } = new URL(users[0] as string);
  const routes = users.map(loginOf).map(
    ({ user, password }) => `  user "${user}" {
    authentication "clear_text"
    password "${password}"
    storage "server"
    storage_user "${user}"
    storage_password "${password}"
    pool "transaction"
    pool_size ${connections}
    pool_discard ${discards ? 'yes' : 'no'}
    pool_reserve_prepared_statement ${reservesStatements ? 'yes' : 'no'}
  }`,
  );
  return startPooler({
    path: path as string,
    arguments: (folder) => [join(folder, 'odyssey.conf')],
    files: (folder, port) => ({
      'odyssey.conf': `daemonize no
log_to_stdout yes
log_format "%l (%c) %m\\n"
log_session no
unix_socket_dir "${folder}"
unix_socket_mode "0600"
locks_dir "${folder}"
workers 1
listen {
  host "127.0.0.1"
  port ${port}
}
storage "server" {
  type "remote"
  host "${hostname}"
  port ${serverPort || 5432}
}
database default {
${routes.join('\n')}
}
`,
    }),
  });
}
