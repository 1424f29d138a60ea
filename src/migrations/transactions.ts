import { CrmSchemaError } from '../errors.js';
import { type ServerError, safeCause } from '../statements/database-errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { MigrationPlan, PlannedMigration } from './plan.js';
import { recordedMigrations } from './status.js';

/**
 * Runs one migration, in its transaction.
 *
 * @returns false if another migrator ran it first, which happens only where the session-level lock does not hold
 */
export async function runMigration(
  client: DedicatedConnection,
  { name, open, change, close }: PlannedMigration,
  plan: MigrationPlan,
  signal?: AbortSignal,
): Promise<boolean> {
  const send = sender(client, signal);
  try {
    for (const statement of open) await send(statement);
    const isApplied = (await recordedMigrations(client, plan)).has(name);
    if (isApplied === (plan.direction === 'up')) {
      await client.query('rollback');
      return false;
    }
    for (const statement of [change, ...close]) await send(statement);
    return true;
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  }
}

/** Whether trying again may help: after a lock timeout, a deadlock or a statement timeout, but not after a cancel. */
export function maySucceed({ code, message }: Pick<Partial<ServerError>, 'code'> & Error): boolean {
  return code === '55P03' || code === '40P01' || (code === '57014' && !message.endsWith('user request'));
}

/**
 * The pause after a failed attempt, in milliseconds: about a second at first, doubling each time, up to half a minute.
 * Randomised, so that migrators that wait for the same lock do not all return at once.
 *
 * @param attempt the number of the failed attempt, from 1
 */
export function pauseAfter(attempt: number): number {
  return 1000 * Math.min(30, 2 ** (attempt - 1)) * (0.5 + Math.random());
}

/**
 * Runs all migrations in one transaction, and rolls it back: a migration that refuses must do so before others are
 * reverted. Without 0010, for example, the application is locked out.
 *
 * @throws CrmSchemaError `migration_failed`; the signal's reason
 */
export async function rehearse(
  client: DedicatedConnection,
  migrations: readonly PlannedMigration[],
  signal?: AbortSignal,
): Promise<void> {
  const send = sender(client, signal);
  let at = '';
  try {
    await send('begin');
    for (const { name, change } of migrations) {
      at = name;
      await send(change);
    }
  } catch (error) {
    signal?.throwIfAborted();
    const cause = safeCause(error);
    // The real run tries again.
    if (maySucceed(cause)) return;
    throw new CrmSchemaError(
      'migration_failed',
      `Nothing was reverted, because ${at} would fail: ${cause.message}`,
      { cause },
    );
  } finally {
    await client.query('rollback').catch(() => {});
  }
}

/** Sends statements, until the signal is aborted. */
function sender(client: DedicatedConnection, signal?: AbortSignal): (statement: string) => Promise<void> {
  return async (statement) => {
    signal?.throwIfAborted();
    await client.query(statement);
  };
}
