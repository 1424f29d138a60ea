import { setTimeout as sleep } from 'node:timers/promises';
import type { DedicatedConnection } from './dedicated-connection.js';
import { formatDuration } from './durations.js';

/** How long a look may take, in milliseconds: on the server, and until its answer. */
const lookTimeout = 5000;

/** How long work that is over, and a cancellation, still wait for a look under way, in milliseconds. */
const lookGracePeriod = 1000;

/**
 * Finds which sessions block another one, over a second connection.
 *
 * Each look is its own transaction, which leaves the session's settings unchanged. It resets the role, because only
 * the session's user may see and cancel the statements of its other sessions. It searches pg_catalog first, and
 * temporary objects last, so that no other function runs in place of PostgreSQL's own. A look that takes too long
 * finds nothing: a watcher that does not answer must not hold up the work, which may hold locks.
 */
export class BlockingSessions {
  readonly #watcher: DedicatedConnection | undefined;
  #last: string[] = [];
  /** Settles when the current transaction ends: they run one at a time. */
  #queue: Promise<unknown> = Promise.resolve();

  /** @param watcher of the same user; without one, blocking sessions are not found */
  constructor(watcher: DedicatedConnection | undefined) {
    this.#watcher = watcher;
  }

  /** The sessions seen last: `process 4242 (psql, idle in transaction for 12 min)`, or `another session`. */
  get last(): string {
    return sessionList(this.#last);
  }

  /**
   * Runs `work`, and looks every 100 ms for the sessions that block it.
   *
   * @param pid the server process that runs it
   */
  async during<Result>(pid: number, work: () => Promise<Result>): Promise<Result> {
    const workIsOver = new AbortController();
    const looking = this.#lookUntil(workIsOver.signal, pid);
    try {
      return await work();
    } finally {
      workIsOver.abort();
      await resultWithin(lookGracePeriod, looking);
    }
  }

  /** Describes server processes: `process 4242 (psql, idle in transaction for 12 min)`. */
  async describe(pids: readonly number[]): Promise<string> {
    return sessionList(await this.#sessionsWhere('pid = any ($1::integer[])', [...pids]));
  }

  /** Cancels the statement that a server process of the same user runs. Waits only briefly for a look under way. */
  async cancel(pid: number): Promise<void> {
    await resultWithin(lookGracePeriod, this.#queue);
    const watcher = this.#watcher;
    await watcher
      ?.query(`${beginLook}; select pg_catalog.pg_cancel_backend(${Math.trunc(pid)}); rollback`)
      .catch(() => watcher.query('rollback'))
      .catch(() => {});
  }

  async #lookUntil(signal: AbortSignal, pid: number): Promise<void> {
    if (this.#watcher === undefined) return;
    while (!signal.aborted) {
      const blockers = await this.#sessionsWhere('pid = any (pg_catalog.pg_blocking_pids($1::integer))', pid);
      if (blockers.length > 0) this.#last = blockers;
      await sleep(100, undefined, { ref: false, signal }).catch(() => {});
    }
  }

  /** Describes sessions; none if the look fails, because an error of the work itself matters more. */
  #sessionsWhere(condition: string, parameter: unknown): Promise<string[]> {
    return this.#look((watcher) => describeSessions(watcher, condition, parameter)).then(
      (sessions) => sessions ?? [],
      () => [],
    );
  }

  async #look<Result>(work: (watcher: DedicatedConnection) => Promise<Result>): Promise<Result | undefined> {
    const watcher = this.#watcher;
    if (watcher === undefined) return undefined;
    let isLate = false;
    const look = this.#queue.then(async () => {
      if (isLate) return undefined;
      await watcher.query(beginLook);
      try {
        return isLate ? undefined : await work(watcher);
      } finally {
        await watcher.query('rollback');
      }
    });
    this.#queue = look.catch(() => {});
    try {
      return await resultWithin(lookTimeout, look);
    } finally {
      isLate = true;
    }
  }
}

/** Begins a look. */
const beginLook = `begin read only; set local role none; set local search_path = pg_catalog, pg_temp; set local statement_timeout = ${lookTimeout}`;

/** What `work` returns within so many milliseconds; undefined after that. */
async function resultWithin<Result>(
  milliseconds: number,
  work: Promise<Result>,
): Promise<Result | undefined> {
  const raceIsOver = new AbortController();
  try {
    return await Promise.race([
      work,
      sleep(milliseconds, undefined, { signal: raceIsOver.signal }).catch(() => undefined),
    ]);
  } finally {
    raceIsOver.abort();
  }
}

/**
 * Waits until the transactions that use these tables now have ended. Takes no lock, so no session queues behind it.
 *
 * @param tables `used`: waits for any use of these; `written`: waits for writers of these
 * @returns the sessions that have not ended within `seconds`, in words; empty if all have
 */
export async function waitUntilUnused(
  client: DedicatedConnection,
  tables: { used: string[]; written?: string[] },
  seconds: number,
): Promise<string[]> {
  const readTransactions = async (): Promise<{ id: string; pid: string | null }[]> =>
    (await client.query(transactionsUsing, [tables.used, tables.written ?? []])).rows;
  let remaining = await readTransactions();
  for (const end = Date.now() + 1000 * seconds; remaining.length > 0 && Date.now() < end; ) {
    await sleep(50);
    const idsNow = new Set((await readTransactions()).map(({ id }) => id));
    remaining = remaining.filter(({ id }) => idsNow.has(id));
  }
  const pids = remaining.flatMap(({ pid }) => pid ?? []);
  return [
    ...(await describeSessions(client, 'pid = any ($1::integer[])', pids)),
    ...(pids.length < remaining.length ? ['a prepared transaction'] : []),
  ];
}

const transactionsUsing = `
  select distinct
    virtualtransaction as id,
    pid::text as pid
  from pg_catalog.pg_locks
  where locktype = 'relation'
    and database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
    and granted
    and pid is distinct from pg_catalog.pg_backend_pid()
    and (
      relation = any ($1::regclass[]::oid[])
      or (relation = any ($2::regclass[]::oid[]) and mode not in ('AccessShareLock', 'RowShareLock'))
    )`;

/** Describes sessions without their statements, which may contain confidential values. */
async function describeSessions(
  client: DedicatedConnection,
  condition: string,
  parameter: unknown,
): Promise<string[]> {
  const { rows } = await client.query(
    `select
       pid::text as pid,
       coalesce(nullif(application_name, ''), backend_type) as name,
       state,
       extract(epoch from pg_catalog.clock_timestamp() - xact_start)::float8 as seconds
     from pg_catalog.pg_stat_activity
     where ${condition}
     order by xact_start`,
    [parameter],
  );
  return rows.map(({ pid, name, state, seconds }) => {
    const since = seconds === null ? '' : ` for ${formatDuration(seconds)}`;
    // Some users cannot see others' sessions. A session chooses its own name, so unusual characters are removed.
    const details = [/^[\w ./:@-]*$/.test(name ?? '') && name, state && `${state}${since}`]
      .filter(Boolean)
      .join(', ');
    return `process ${pid}${details === '' ? '' : ` (${details})`}`;
  });
}

function sessionList(sessions: readonly string[]): string {
  return sessions.join(' and ') || 'another session';
}
