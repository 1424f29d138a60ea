import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError } from '../errors.js';
import { safeCause } from '../statements/database-errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkWholeNumber } from '../validation.js';
import { checkPrivileges } from './checks.js';
import { underMigrationLock } from './lock.js';
import {
  type MigrationDirection,
  type MigrationPlan,
  type MigrationTarget,
  type PlannedMigration,
  planOf,
} from './plan.js';
import { maySucceed, pauseAfter, rehearse, runMigration } from './transactions.js';

/** How to migrate. */
export interface MigrateOptions extends MigrationTarget {
  /** For how many seconds to wait for another migrator, up to a day; by default 600. */
  wait?: number | undefined;
  /** How often to try a migration that does not get its locks in time, 1 to 1,000 times; by default 10. */
  attempts?: number | undefined;
  /**
   * Stops between two statements, and rolls back the migration that is under way. Who wants the statement
   * stopped as well cancels it: `pg_cancel_backend`.
   */
  signal?: AbortSignal | undefined;
  /** Is told what happens, and awaited. */
  onProgress?: ((progress: MigrationProgress) => unknown) | undefined;
}

/** How to go down. */
export interface MigrateDownOptions extends MigrateOptions {
  /** The number of the last migration that is applied afterwards; 0 for none. */
  to: number;
}

/** What happens while migrating. */
export type MigrationProgress =
  | {
      /** Another migrator is at work, and is waited for. */
      step: 'waiting';
      /** The server's processes that hold the lock. */
      pids: number[];
    }
  | {
      /** It is this migrator's turn. */
      step: 'planned';
      /** What is to be done. */
      plan: MigrationPlan;
    }
  | {
      /**
       * Going down, all of it is tried in one transaction that is rolled back, so that a refusal comes before
       * anything is done.
       */
      step: 'rehearsing';
    }
  | {
      /** A migration has begun. */
      step: 'started';
      /** Of the migration: `0001_prepare_host_tables`. */
      name: string;
    }
  | {
      /** A migration failed for a reason that may pass, and is tried again. */
      step: 'retrying';
      /** Of the migration. */
      name: string;
      /** Which attempt failed, from 1 on. */
      attempt: number;
      /** How many there are. */
      attempts: number;
      /** For how long it is left before the next, in milliseconds. */
      pause: number;
      /** Why it failed: an `Error` with the `code` (SQLSTATE) and the `hint` of the server. */
      cause: unknown;
    }
  | {
      /** A migration is committed. */
      step: 'finished';
      /** Of the migration. */
      name: string;
      /** How long it took, pauses and all. */
      milliseconds: number;
    };

/** A migration that has run. */
export interface FinishedMigration {
  /** `0001_prepare_host_tables` */
  name: string;
  /** How long it took, pauses and all. */
  milliseconds: number;
}

/** What was done. */
export interface MigrationResult {
  /** Which way it went. */
  direction: MigrationDirection;
  /** Where everything is: the first schema of search_path. */
  schema: string;
  /** Where it is recorded. */
  migrationsTable: string;
  /** In the order in which they ran; without those that somebody else was quicker with. */
  migrations: FinishedMigration[];
}

/**
 * Applies what is pending, each migration in a transaction of its own. Waits for another migrator, and tries
 * again where the application holds locks. What it has done stays, however it ends; called again, it goes on.
 *
 * @param client a connection of its own, and not by way of a pooler
 * @throws CrmSchemaError `migration_refused`, `migration_failed`, `invalid_input` (also for a pool, and where a
 *   transaction is open); the signal's reason
 */
export function migrateUp(
  client: DedicatedConnection,
  options: MigrateOptions = {},
): Promise<MigrationResult> {
  return migrate(client, 'up', options);
}

/**
 * Reverts what comes after `to`, the newest first, in the same way. A migration refuses (SQLSTATE `CRM03`, as
 * `cause`) while there are rows to lose, unless the session sets `crm_schema.allow_data_loss` to `on`; and before
 * any is reverted, as all of it is tried beforehand in a transaction that is rolled back.
 *
 * @param client a connection of its own, and not by way of a pooler
 * @throws CrmSchemaError `migration_refused`, `migration_failed`, `invalid_input` (also for a pool, and where a
 *   transaction is open); the signal's reason
 */
export async function migrateDown(
  client: DedicatedConnection,
  options: MigrateDownOptions,
): Promise<MigrationResult> {
  checkWholeNumber({ field: 'to' }, options?.to, 0, 9999);
  return migrate(client, 'down', options);
}

async function migrate(
  client: DedicatedConnection,
  direction: MigrationDirection,
  options: MigrateOptions,
): Promise<MigrationResult> {
  const { wait = 600, attempts = 10, signal, onProgress } = options;
  checkWholeNumber({ field: 'wait' }, wait, 0, 86_400);
  checkWholeNumber({ field: 'attempts' }, attempts, 1, 1000);
  const onWaiting = (pids: number[]) => onProgress?.({ step: 'waiting', pids });
  return underMigrationLock(client, { wait, signal, onWaiting }, async () => {
    const plan = await planOf(client, direction, options);
    if (direction === 'up' && plan.migrations.length > 0) await checkPrivileges(client, plan);
    await onProgress?.({ step: 'planned', plan });
    const { migrations, ...where } = plan;
    if (direction === 'down' && migrations.length > 1) {
      await onProgress?.({ step: 'rehearsing' });
      await rehearse(client, migrations, signal);
    }
    const done: MigrationResult['migrations'] = [];
    for (const migration of migrations) {
      const { name } = migration;
      const start = Date.now();
      await onProgress?.({ step: 'started', name });
      if (!(await runWithRetries(client, migration, plan, options))) continue;
      const milliseconds = Date.now() - start;
      done.push({ name, milliseconds });
      await onProgress?.({ step: 'finished', name, milliseconds });
    }
    return { ...where, migrations: done };
  });
}

/** Tries a migration until it is through, or hopeless. */
async function runWithRetries(
  client: DedicatedConnection,
  migration: PlannedMigration,
  plan: MigrationPlan,
  { attempts = 10, signal, onProgress }: MigrateOptions,
): Promise<boolean> {
  const { name } = migration;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await runMigration(client, migration, plan, signal);
    } catch (error) {
      signal?.throwIfAborted();
      const cause = safeCause(error);
      if (attempt >= attempts || !maySucceed(cause)) {
        throw new CrmSchemaError('migration_failed', `${name} failed: ${cause.message}`, { cause });
      }
      const pause = pauseAfter(attempt);
      await onProgress?.({ step: 'retrying', name, attempt, attempts, pause, cause });
      await sleep(pause, undefined, { ...(signal && { signal }) });
    }
  }
}
