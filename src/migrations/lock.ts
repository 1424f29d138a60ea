import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError } from '../errors.js';
import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';

/** How to wait for another migrator. */
export interface LockOptions {
  /** For how many seconds. */
  wait: number;
  signal?: AbortSignal | undefined;
  /** Is told the server's processes of those that are waited for, when that begins. */
  onWaiting(pids: number[]): unknown;
}

/**
 * Does some work while no other migrator is at work in the database: under the lock of the session that
 * stock node-pg-migrate takes, too.
 *
 * @throws CrmSchemaError `migration_refused` where such a lock would not hold, or if the other one takes too long
 */
export async function underMigrationLock<Result>(
  client: DedicatedConnection,
  options: LockOptions,
  work: () => Promise<Result>,
): Promise<Result> {
  await checkDedicatedConnection(client);
  await checkOwnSession(client);
  // Loaded when somebody migrates: it takes a while.
  const { PG_MIGRATE_LOCK_ID: id } = await import('node-pg-migrate/runner');
  const { rows } = await client.query(endlessIdling);
  try {
    await lock(client, id, options);
    return await work();
  } finally {
    // If the connection is lost, so is the lock.
    await client.query(`select pg_advisory_unlock(${id})`).catch(() => {});
    for (const { name, setting } of rows) {
      await client.query('select set_config($1::text, $2::text, false)', [name, setting]).catch(() => {});
    }
  }
}

/** For a session that waits, and pauses between attempts; returns what was set before. */
export const endlessIdling = `
  select
    name,
    setting,
    set_config(name, '0', false)
  from pg_catalog.pg_settings
  where name = 'idle_session_timeout'`;

/** A pooler tells its clients another process than the one that serves them, which may change. */
async function checkOwnSession(client: DedicatedConnection): Promise<void> {
  const { processID: told } = client as { processID?: number | null };
  const { rows } = await client.query('select pg_backend_pid()::text as pid');
  if (typeof told === 'number' && told !== Number(rows[0].pid)) {
    throw new CrmSchemaError(
      'migration_refused',
      'A pooler is between here and the database, where no lock keeps other migrators out: connect to the database itself.',
    );
  }
}

async function lock(
  client: DedicatedConnection,
  id: number,
  { wait, signal, onWaiting }: LockOptions,
): Promise<void> {
  let isWaiting = false;
  for (const end = Date.now() + 1000 * wait; ; ) {
    const { rows } = await client.query(`select pg_try_advisory_lock(${id}) as "isOurs"`);
    if (rows[0].isOurs) return;
    if (!isWaiting) await onWaiting(await holders(client, id));
    isWaiting = true;
    if (Date.now() >= end) {
      throw new CrmSchemaError(
        'migration_refused',
        `Another migrator has been at work for ${wait} s, as process ${(await holders(client, id)).join(', ')} of the server: wait for its end, and run this again.`,
      );
    }
    await sleep(100 + 200 * Math.random(), undefined, { ...(signal && { signal }) });
  }
}

async function holders(client: DedicatedConnection, id: number): Promise<number[]> {
  const { rows } = await client.query(
    `select pid::text
     from pg_locks
     where locktype = 'advisory'
       and database = (select oid from pg_database where datname = current_database())
       and (classid::bigint << 32) + objid::bigint = ${id}
       and objsubid = 1
       and granted`,
  );
  return rows.map(({ pid }) => Number(pid));
}
