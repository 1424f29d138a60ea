import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { endlessIdling } from '../migrations/lock.js';
import { withConnection } from './database.js';
import { span } from './times.js';

/**
 * Runs `work` with a connection that has nothing else to do than to look on, and finds nothing but PostgreSQL's
 * own: nobody's function is run in place of one of these.
 */
export function withWatcher<Result>(work: (watcher: pg.Client) => Promise<Result>): Promise<Result> {
  return withConnection(async (watcher) => {
    // Nor as a role that the user takes on: only the user himself may cancel what his other session does.
    await watcher.query('set role none; set search_path = pg_catalog');
    await watcher.query(endlessIdling);
    return work(watcher);
  });
}

/** Sees for whom a session waits. */
export class LockWaits {
  readonly #watcher: pg.Client;
  #last: string[] = [];

  /** @param watcher of `withWatcher` */
  constructor(watcher: pg.Client) {
    this.#watcher = watcher;
  }

  /** Whom the session waited for last: `process 4242 (psql, idle in transaction for 12 min)`. */
  get last(): string {
    return this.#last.join(' and ') || 'another session';
  }

  /**
   * Does some work, and looks meanwhile.
   *
   * @param pid the server's process that does it
   */
  async during<Result>(pid: number, work: () => Promise<Result>): Promise<Result> {
    let isOver = false;
    const look = async () => {
      while (!isOver) {
        // What cannot be found out is not said.
        const found = await describe(this.#watcher, 'pid = any (pg_catalog.pg_blocking_pids($1::integer))', [
          pid,
        ]).catch(() => []);
        if (found.length > 0) this.#last = found;
        await sleep(100, undefined, { ref: false });
      }
    };
    void look();
    try {
      return await work();
    } finally {
      isOver = true;
    }
  }
}

/**
 * Waits until all transactions that would have to be waited for now have ended: without a lock, so that
 * nobody waits behind.
 *
 * @param tables `used`: in any way; `written`: also by writers of these
 * @returns who has not ended in time; empty if all have
 */
export async function untilUnused(
  client: pg.Client,
  tables: { used: string[]; written?: string[] },
  seconds: number,
): Promise<string[]> {
  const users = async () =>
    (
      await client.query<{ id: string; pid: number | null }>(usingTransactions, [
        tables.used,
        tables.written ?? [],
      ])
    ).rows;
  let waited = await users();
  for (const end = Date.now() + 1000 * seconds; waited.length > 0 && Date.now() < end; ) {
    await sleep(50);
    const now = new Set((await users()).map(({ id }) => id));
    waited = waited.filter(({ id }) => now.has(id));
  }
  const pids = waited.flatMap(({ pid }) => pid ?? []);
  return [
    ...(await describe(client, 'pid = any ($1)', [pids])),
    ...(pids.length < waited.length ? ['a prepared transaction'] : []),
  ];
}

const usingTransactions = `
  select distinct
    virtualtransaction as id,
    pid
  from pg_locks
  where locktype = 'relation'
    and database = (select oid from pg_database where datname = current_database())
    and granted
    and pid is distinct from pg_backend_pid()
    and (
      relation = any ($1::regclass[]::oid[])
      or (relation = any ($2::regclass[]::oid[]) and mode not in ('AccessShareLock', 'RowShareLock'))
    )`;

/** The server's processes in words: `process 4242 (psql, idle in transaction for 12 min)`. */
export async function processes(client: pg.Client, pids: readonly number[]): Promise<string> {
  // What cannot be found out is not said.
  const found = await describe(client, 'pid = any ($1)', [pids]).catch(() => []);
  return found.join(' and ') || 'another session';
}

/** Sessions in words, without what they do: a query may hold what is nobody's business. */
async function describe(client: pg.Client, condition: string, parameters: unknown[]): Promise<string[]> {
  const { rows } = await client.query(
    `select
       pid,
       coalesce(nullif(application_name, ''), backend_type) as name,
       state,
       extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
     from pg_stat_activity
     where ${condition}
     order by xact_start`,
    parameters,
  );
  return rows.map(({ pid, name, state, seconds }) => {
    const since = seconds === null ? '' : ` for ${span(seconds)}`;
    // Of others' sessions only some may see more. Anybody may call his own anything, and is not to speak for us.
    const known = [/^[\w ./:@-]*$/.test(name ?? '') && name, state && `${state}${since}`]
      .filter(Boolean)
      .join(', ');
    return `process ${pid}${known === '' ? '' : ` (${known})`}`;
  });
}
