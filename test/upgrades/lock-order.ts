import { setTimeout } from 'node:timers/promises';
import type pg from 'pg';
import { backendPid } from '../support/locks.js';

/** A lock on a table, with its mode as in `lock table`. */
export interface TableLock {
  table: string;
  mode: string;
}

/** Table lock modes, from that of a foreign key's check upwards. Plain reads take none of them. */
const modes = [
  'row share',
  'row exclusive',
  'share update exclusive',
  'share',
  'share row exclusive',
  'exclusive',
  'access exclusive',
];

/** Work that runs in its own transaction. */
type Work = (client: pg.ClientBase) => Promise<unknown>;

/**
 * Finds the order in which a migration locks existing tables: it is blocked at each table in turn, and the locks
 * that it holds by then came before. The migration is rolled back.
 */
export async function lockOrder(pool: pg.Pool, migration: Work): Promise<TableLock[]> {
  const { rows } = await pool.query<{ name: string }>(
    "select oid::regclass::text as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace",
  );
  const steps: { lock: TableLock; before: number }[] = [];
  for (const { name } of rows) {
    await stoppedAt(pool, { table: name, mode: 'exclusive' }, migration, async (_, { awaited, held }) => {
      steps.push({ lock: awaited, before: held.length });
    });
  }
  const order = steps.sort((left, right) => left.before - right.before).map(({ lock }) => lock);
  // When a lock is strengthened later is unknown: assume the worst, after all the others.
  const end = await atTheEnd(pool, migration);
  return [...order, ...end.filter((lock) => !order.some((other) => isSame(other, lock)))];
}

/**
 * Finds where a transaction deadlocks with a migration that locks in the given order: the tables that it waits
 * for while it holds the lock that the migration wants next.
 */
export async function deadlocks(
  pool: pg.Pool,
  order: readonly TableLock[],
  transaction: Work,
): Promise<string[]> {
  const found: string[] = [];
  // After its last lock a migration waits for nothing more.
  for (const [position, lock] of order.slice(0, -1).entries()) {
    await stoppedAt(pool, lock, transaction, async (migration) => {
      for (const { table, mode } of order.slice(position + 1)) {
        await migration.query('savepoint attempt');
        await migration.query(`lock table only ${table} in ${mode} mode nowait`).catch((error) => {
          if (error.code !== '55P03') throw error;
          found.push(`waits for ${lock.table}, has ${table}`);
        });
        await migration.query('rollback to savepoint attempt');
      }
    });
  }
  return found;
}

/** Runs `work` while a lock is held, and `inspect` once `work` waits for that lock, if it ever does. */
async function stoppedAt(
  pool: pg.Pool,
  { table, mode }: TableLock,
  work: Work,
  inspect: (holder: pg.ClientBase, wait: { awaited: TableLock; held: TableLock[] }) => Promise<void>,
): Promise<void> {
  const [holder, client] = [await pool.connect(), await pool.connect()];
  try {
    await holder.query('begin');
    await holder.query(`lock table only ${table} in ${mode} mode`);
    await client.query('begin');
    const pid = await backendPid(client);
    let isDone = false;
    const attempt = work(client).finally(() => {
      isDone = true;
    });
    // Awaited below; until then a rejection must not count as unhandled.
    attempt.catch(() => {});
    while (!isDone) {
      const { awaited, held } = await locksOf(pool, pid);
      if (awaited !== undefined) {
        await inspect(holder, { awaited, held });
        break;
      }
      await setTimeout(5);
    }
    await holder.query('rollback');
    await attempt;
  } finally {
    await holder.query('rollback');
    await client.query('rollback');
    holder.release();
    client.release();
  }
}

async function atTheEnd(pool: pg.Pool, migration: Work): Promise<TableLock[]> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await migration(client);
    return (await locksOf(pool, await backendPid(client))).held;
  } finally {
    await client.query('rollback');
    client.release();
  }
}

/** The strongest lock that a session holds on each table, and the one it waits for. */
async function locksOf(pool: pg.Pool, pid: number): Promise<{ awaited?: TableLock; held: TableLock[] }> {
  const { rows } = await pool.query<TableLock & { granted: boolean }>(
    `select
       relation::regclass::text as "table",
       lower(regexp_replace(replace(mode, 'Lock', ''), '(?<=[a-z])([A-Z])', ' \\1', 'g')) as mode,
       granted
     from pg_locks
     inner join pg_class
       on pg_class.oid = relation
       and relkind in ('r', 'p')
       and relnamespace = 'public'::regnamespace
     where pid = $1 and locktype = 'relation' and (mode <> 'AccessShareLock' or not granted)`,
    [pid],
  );
  const strongest = new Map<string, TableLock>();
  for (const { table, mode } of rows.filter(({ granted }) => granted)) {
    const known = strongest.get(table);
    if (!known || modes.indexOf(known.mode) < modes.indexOf(mode)) strongest.set(table, { table, mode });
  }
  const [awaited] = rows.filter(({ granted }) => !granted).map(({ table, mode }) => ({ table, mode }));
  return { ...(awaited && { awaited }), held: [...strongest.values()] };
}

function isSame(left: TableLock, right: TableLock): boolean {
  return left.table === right.table && left.mode === right.mode;
}
