import { setTimeout as sleep } from 'node:timers/promises';
import {
  checkDedicatedConnection,
  checkNoPooler,
  type DedicatedConnection,
} from '../statements/dedicated-connection.js';
import { noIdleTimeout, withSessionSettings } from '../statements/session-settings.js';
import { migrationLockId } from './node-pg-migrate.js';
import { migrationRefused } from './refusal.js';

/** How to wait for another migrator. */
export interface LockOptions {
  /** How long to wait, in seconds. */
  wait: number;
  signal?: AbortSignal | undefined;
  /** Called when the wait begins, with the server processes that hold the lock. */
  onWaiting(pids: number[]): unknown;
}

/**
 * Runs `work` while no other migrator works in the database: it takes the same session-level lock as stock
 * node-pg-migrate.
 *
 * @throws CrmSchemaError `migration_refused` through a pooler, where the lock would not hold, and if another migrator
 * takes too long
 */
export async function underMigrationLock<Result>(
  client: DedicatedConnection,
  options: LockOptions,
  work: () => Promise<Result>,
): Promise<Result> {
  await checkDedicatedConnection(client);
  await checkNoPooler(
    client,
    'migration_refused',
    'through it, the migration lock would not keep other migrators out',
  );
  const id = await migrationLockId();
  return withSessionSettings(client, noIdleTimeout, async () => {
    try {
      await acquireLock(client, id, options);
      return await work();
    } finally {
      // If the connection is lost, so is the lock.
      await client.query(`select pg_catalog.pg_advisory_unlock(${id})`).catch(() => {});
    }
  });
}

async function acquireLock(
  client: DedicatedConnection,
  id: number,
  { wait, signal, onWaiting }: LockOptions,
): Promise<void> {
  const deadline = Date.now() + 1000 * wait;
  for (let isFirstAttempt = true; !(await tryLock(client, id)); isFirstAttempt = false) {
    if (isFirstAttempt) await onWaiting(await lockHolders(client, id));
    if (Date.now() >= deadline) {
      throw migrationRefused(
        `Another migrator still holds the migration lock after ${wait} s: server process ${(await lockHolders(client, id)).join(', ')}. Wait for it to end, then run this again.`,
      );
    }
    await sleep(100 + 200 * Math.random(), undefined, { ...(signal && { signal }) });
  }
}

async function tryLock(client: DedicatedConnection, id: number): Promise<boolean> {
  const { rows } = await client.query(`select pg_catalog.pg_try_advisory_lock(${id}) as "isOurs"`);
  return rows[0].isOurs;
}

/** The server processes that hold the lock. */
async function lockHolders(client: DedicatedConnection, id: number): Promise<number[]> {
  const { rows } = await client.query(
    `select pid::text
     from pg_catalog.pg_locks
     where locktype = 'advisory'
       and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
       and (classid::bigint << 32) + objid::bigint = ${id}
       and objsubid = 1
       and granted`,
  );
  return rows.map(({ pid }) => Number(pid));
}
