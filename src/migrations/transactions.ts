import { CrmSchemaError } from '../errors.js';
import { type DatabaseError, safeCause } from '../statements/database-errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import type { MigrationPlan, PlannedMigration } from './plan.js';
import { recordedMigrations } from './status.js';

/**
 * Runs one migration, in its transaction.
 *
 * @returns false if somebody else has done it meanwhile, which only happens where the session's lock does not hold
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

/** It waited too long for a lock, met a deadlock, or took too long; unless somebody cancelled it. */
export function maySucceed({ code, message }: Pick<Partial<DatabaseError>, 'code'> & Error): boolean {
  return code === '55P03' || code === '40P01' || (code === '57014' && !message.endsWith('user request'));
}

/**
 * For how long to leave what failed, in milliseconds: about a second at first, twice as long each time, half a
 * minute at most; and at random, so that others who wait for the same do not come back all at once.
 *
 * @param attempt which one failed, from 1 on
 */
export function pauseAfter(attempt: number): number {
  return 1000 * Math.min(30, 2 ** (attempt - 1)) * (0.5 + Math.random());
}

/**
 * Goes through all in one transaction, and takes it back: what refuses is to do so before others are reverted,
 * for without 0010, say, the application is locked out.
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
    // Whether that passes is seen when it is done.
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

/** Sends statements until the signal. */
function sender(client: DedicatedConnection, signal?: AbortSignal): (statement: string) => Promise<void> {
  return async (statement) => {
    signal?.throwIfAborted();
    await client.query(statement);
  };
}
