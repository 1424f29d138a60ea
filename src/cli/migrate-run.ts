import type pg from 'pg';
import { CrmSchemaError } from '../errors.js';
import type { MigrateOptions, MigrationResult } from '../migrations.js';
import { BlockingSessions } from '../statements/blocking-sessions.js';
import { serverProcess } from '../statements/dedicated-connection.js';
import { sqlStates } from '../statements/sqlstates.js';
import { withWatchedConnection } from './database.js';
import { explainError } from './explain-errors.js';
import { interruptionSignal } from './interruption.js';
import { MigrationLog } from './migrate-log.js';
import { formatQuantity } from './numbers.js';
import { formatJson, printResult } from './text.js';

/** What `crm-schema migrate up` and `down` share. */
export interface RunOptions {
  to?: number;
  wait: number;
  attempts: number;
  migrationsTable: string;
  json?: boolean;
}

/**
 * Migrates on a watched connection, reports progress and result, and names the sessions that were in the way.
 *
 * @param migrate applies or reverts the migrations
 * @param words what to print: `Nothing to apply` or `Applied`
 * @throws the error of `migrate`, in words for the person who runs the command
 */
export async function runMigrations(
  options: RunOptions,
  migrate: (client: pg.Client, options: MigrateOptions) => Promise<MigrationResult>,
  words: { nothing: string; done: string },
): Promise<void> {
  const signal = interruptionSignal();
  const log = new MigrationLog(words.done.toLowerCase());
  const { to, wait, attempts, migrationsTable } = options;
  const failure = await withWatchedConnection(async (client, watcher) => {
    const sessions = new BlockingSessions(watcher);
    const pid = await serverProcess(client);
    // Otherwise the server would run the statement to its end, and keep its locks.
    signal.addEventListener('abort', () => sessions.cancel(pid));
    return sessions.during(pid, () =>
      migrate(client, {
        to,
        wait,
        attempts,
        migrationsTable,
        signal,
        onProgress: (progress) => log.report(progress, sessions),
      }).catch((error: unknown) => {
        throw signal.aborted ? interruptedError() : namingBlockers(error, attempts, sessions);
      }),
    );
  }).then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  log.end();
  if (options.json) {
    const error = failure === undefined ? null : explainError(failure.error);
    await printResult(formatJson({ migrations: log.finished, error }));
  } else if (failure === undefined) {
    await printResult(
      log.finished.length === 0 ? `${words.nothing}: ${log.currentState}.` : `${words.done} ${log.summary}.`,
    );
  }
  if (failure !== undefined) throw failure.error;
}

function interruptedError(): Error {
  return new Error(
    'Interrupted: the migration in progress was rolled back. Run the command again for the rest.',
  );
}

/** Names the sessions that kept a migration from its lock: the server's error does not. */
function namingBlockers(error: unknown, attempts: number, sessions: BlockingSessions): unknown {
  const { cause } = error as { cause?: { code?: string } };
  if (!(error instanceof CrmSchemaError) || cause?.code !== sqlStates.lockNotAvailable) return error;
  const name = error.message.slice(0, error.message.indexOf(' '));
  return new Error(
    `Could not run ${name} in ${formatQuantity(attempts, 'attempt')}, blocked by ${sessions.last}. Earlier migrations are kept: run the command again when that transaction has ended.`,
  );
}
