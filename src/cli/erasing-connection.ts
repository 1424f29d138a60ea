import type pg from 'pg';
import { readKeptMonths } from '../partitions/kept-months.js';
import { BlockingSessions } from '../statements/blocking-sessions.js';
import { isThroughPooler, serverProcess } from '../statements/dedicated-connection.js';
import { sqlStates } from '../statements/sqlstates.js';
import { withWatchedConnection } from './database.js';
import { printMessage } from './text.js';

/**
 * Runs `work`, which erases, with a connection of the owner. It waits five seconds for each lock, unless the user has set
 * lock_timeout: everybody else waits behind it for what it has locked already. Through a pooler, which would pass the
 * setting on to other clients, it waits as long as the server lets it.
 *
 * @param outcomeIfBlocked what has become of the erasure if a lock was not to be had
 * @throws Error that names the sessions that held it
 */
export function withErasingConnection<Result>(
  outcomeIfBlocked: string,
  work: (client: pg.Client, sessions: BlockingSessions) => Promise<Result>,
): Promise<Result> {
  return withWatchedConnection(async (client, watcher) => {
    if (await isThroughPooler(client)) return work(client, new BlockingSessions(undefined));
    await client.query(
      "select pg_catalog.set_config('lock_timeout', '5s', false) where pg_catalog.current_setting('lock_timeout') = '0'",
    );
    const sessions = new BlockingSessions(watcher);
    const pid = await serverProcess(client);
    return sessions
      .during(pid, () => work(client, sessions))
      .catch((error: unknown) => {
        if (isBlocked(error))
          throw new Error(
            `Blocked by ${sessions.last}. ${outcomeIfBlocked}: run it again when that transaction has ended.`,
          );
        if (codeOf(error) === sqlStates.deadlockDetected)
          throw new Error(
            `Another transaction and this one waited for each other (40P01). ${outcomeIfBlocked}: run it again.`,
          );
        throw error;
      });
  });
}

/** Says which months of the log are not searched, because they are kept under other names. */
export async function nameKeptMonths(client: pg.Client): Promise<void> {
  const months = await readKeptMonths(client);
  if (months.length === 0) return;
  printMessage(
    `Not searched: ${months.join(', ')}. They were months of the log, and are kept under other names: erase there yourself (docs/operations/erasure.md).`,
  );
}

/** Whether the server gave up waiting for a lock. */
export function isBlocked(error: unknown): boolean {
  return codeOf(error) === sqlStates.lockNotAvailable;
}

const codeOf = (error: unknown) => (error as { code?: string }).code;

/** What the commands' help says of it. */
export const lockHelp = `Waits five seconds for each lock; then it names who holds it, and can be run
again. Another time: PGOPTIONS="-c lock_timeout=1min".`;
