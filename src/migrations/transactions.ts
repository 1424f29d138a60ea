import { CrmSchemaError } from '../errors.js';
import { safeCause } from '../statements/database-errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { MigrationPlan, PlannedMigration } from './plan.js';
import { isTransient } from './retries.js';
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
  const send = abortableSender(client, signal);
  try {
    for (const statement of open) await send(statement);
    const isRecorded = (await recordedMigrations(client, plan)).has(name);
    if (isRecorded === (plan.direction === 'up')) {
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

/**
 * Reverts all migrations in one transaction, and rolls it back: a migration that refuses must do so before others are
 * reverted. Without 0010, for example, the application is locked out.
 *
 * @throws CrmSchemaError `migration_failed`; the signal's reason
 */
export async function rehearse(
  client: DedicatedConnection,
  migrations: readonly PlannedMigration[],
  signal?: AbortSignal,
): Promise<void> {
  const send = abortableSender(client, signal);
  let rehearsed = '';
  try {
    await send('begin');
    for (const { name, change } of migrations) {
      rehearsed = name;
      await send(change);
    }
  } catch (error) {
    signal?.throwIfAborted();
    const cause = safeCause(error);
    // The real run tries again.
    if (isTransient(cause)) return;
    throw new CrmSchemaError(
      'migration_failed',
      `Nothing was reverted, because ${rehearsed} would fail: ${cause.message}`,
      { cause },
    );
  } finally {
    await client.query('rollback').catch(() => {});
  }
}

/** Returns a function that sends a statement, or throws the signal's reason once it is aborted. */
function abortableSender(
  client: DedicatedConnection,
  signal?: AbortSignal,
): (statement: string) => Promise<void> {
  return async (statement) => {
    signal?.throwIfAborted();
    await client.query(statement);
  };
}
