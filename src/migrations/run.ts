import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError } from '../errors.js';
import { safeCause } from '../statements/database-errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkParameter, checkWholeNumber } from '../validation.js';
import { migrationNames } from './files.js';
import { underMigrationLock } from './lock.js';
import {
  type MigrationDirection,
  type MigrationPlan,
  type MigrationTarget,
  type PlannedMigration,
  planOf,
} from './plan.js';
import { checkPrivileges } from './privileges.js';
import { isTransient, pauseAfter } from './retries.js';
import { rehearse, runMigration } from './transactions.js';

/** Options for migrating. */
export interface MigrateOptions extends MigrationTarget {
  /** How long to wait for another migrator, in seconds: 0 to 86,400; defaults to 600. */
  wait?: number | undefined;
  /** How often to try a migration that does not get its locks in time: 1 to 1,000; defaults to 10. */
  attempts?: number | undefined;
  /**
   * Stops before the next statement, and rolls back the migration in progress. To stop the running statement too,
   * cancel it with `pg_cancel_backend`.
   */
  signal?: AbortSignal | undefined;
  /** Called with each step, and awaited. */
  onProgress?: ((progress: MigrationProgress) => unknown) | undefined;
}

/** Options for reverting. */
export interface MigrateDownOptions extends MigrateOptions {
  /** The number of the last migration that is applied afterwards; 0 for none. */
  to: number;
}

/** One step of migrating. */
export type MigrationProgress =
  | {
      /** The migrator waits for another one. */
      step: 'waiting';
      /** The server processes that hold the lock. */
      pids: number[];
    }
  | {
      /** The migrator has the lock, and knows what to do. */
      step: 'planned';
      /** The migrations to run. */
      plan: MigrationPlan;
    }
  | {
      /**
       * Before it reverts several migrations, the migrator tries all of them in one transaction and rolls it back, so
       * that a refusal comes before anything is reverted.
       */
      step: 'rehearsing';
    }
  | {
      /** A migration has begun. */
      step: 'started';
      /** The migration's name: `0001_prepare_host_tables`. */
      name: string;
    }
  | {
      /** A migration failed for a reason that may pass. The migrator will try it again. */
      step: 'retrying';
      /** The migration's name. */
      name: string;
      /** The number of the failed attempt, from 1. */
      attempt: number;
      /** How many attempts there are. */
      attempts: number;
      /** The pause before the next attempt, in milliseconds. */
      pause: number;
      /** Why it failed: an `Error` with the server's `code` (SQLSTATE) and `hint`. */
      cause: unknown;
    }
  | {
      /** A migration is committed. */
      step: 'finished';
      /** The migration's name. */
      name: string;
      /** How long it took in milliseconds, including pauses. */
      milliseconds: number;
    };

/** A migration that has run. */
export interface FinishedMigration {
  /** `0001_prepare_host_tables` */
  name: string;
  /** How long it took in milliseconds, including pauses. */
  milliseconds: number;
}

/** The result of migrating. */
export interface MigrationResult {
  /** Whether it applied or reverted. */
  direction: MigrationDirection;
  /** The schema of the installation: the first one in search_path. */
  schema: string;
  /** The migrations table. */
  migrationsTable: string;
  /** In order of execution, without those that another migrator ran first. */
  migrations: FinishedMigration[];
}

/**
 * Applies pending migrations, each in its own transaction. Waits for other migrators, and tries again while the
 * application holds locks. If it fails, committed migrations stay; call it again for the rest. Leaves the session's
 * settings as they were.
 *
 * @param client a dedicated connection, not through a pooler
 * @throws CrmSchemaError `migration_refused`, `migration_failed`, `invalid_input` (also for a pool, and if a
 *   transaction is open); the signal's reason
 */
export function migrateUp(
  client: DedicatedConnection,
  options: MigrateOptions = {},
): Promise<MigrationResult> {
  return migrate(client, 'up', options);
}

/**
 * Reverts the migrations after `to`, newest first, each in its own transaction. A migration refuses (SQLSTATE `CRM03`,
 * as `cause`) while its tables have rows that would be lost, unless the session sets `crm_schema.allow_data_loss` to
 * `on`. All of them are tried first, in a transaction that is rolled back, so a refusal comes before any is reverted.
 *
 * @param client a dedicated connection, not through a pooler
 * @throws CrmSchemaError `migration_refused`, `migration_failed`, `invalid_input` (also for a pool, and if a
 *   transaction is open); the signal's reason
 */
export async function migrateDown(
  client: DedicatedConnection,
  options: MigrateDownOptions,
): Promise<MigrationResult> {
  checkParameter('options', options);
  checkWholeNumber({ field: 'to' }, options.to, 0, 9999);
  return migrate(client, 'down', options);
}

async function migrate(
  client: DedicatedConnection,
  direction: MigrationDirection,
  options: MigrateOptions,
): Promise<MigrationResult> {
  checkParameter('options', options);
  const { wait = 600, attempts = 10, signal, onProgress } = options;
  checkWholeNumber({ field: 'wait' }, wait, 0, 86_400);
  checkWholeNumber({ field: 'attempts' }, attempts, 1, 1000);
  const onWaiting = (pids: number[]) => onProgress?.({ step: 'waiting', pids });
  // Refuses in a bundle, which lacks them, before the code of the lock is loaded: not every bundle can.
  await migrationNames();
  return underMigrationLock(client, { wait, signal, onWaiting }, async () => {
    const plan = await planOf(client, direction, options);
    if (direction === 'up' && plan.migrations.length > 0) await checkPrivileges(client, plan);
    await onProgress?.({ step: 'planned', plan });
    const { migrations } = plan;
    if (direction === 'down' && migrations.length > 1) {
      await onProgress?.({ step: 'rehearsing' });
      await rehearse(client, migrations, signal);
    }
    const finished: FinishedMigration[] = [];
    for (const migration of migrations) {
      const { name } = migration;
      const start = Date.now();
      await onProgress?.({ step: 'started', name });
      if (!(await runWithRetries(client, migration, plan, options))) continue;
      const milliseconds = Date.now() - start;
      finished.push({ name, milliseconds });
      await onProgress?.({ step: 'finished', name, milliseconds });
    }
    return { ...plan, migrations: finished };
  });
}

/**
 * Tries a migration until it succeeds, fails for good, or has had its attempts.
 *
 * @returns false if another migrator ran it first
 */
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
      if (attempt >= attempts || !isTransient(cause)) {
        throw new CrmSchemaError('migration_failed', `${name} failed: ${cause.message}`, { cause });
      }
      const pause = pauseAfter(attempt);
      await onProgress?.({ step: 'retrying', name, attempt, attempts, pause, cause });
      await sleep(pause, undefined, { ...(signal && { signal }) });
    }
  }
}
