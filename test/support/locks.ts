import type pg from 'pg';
import { expect } from 'vitest';
import { withClient } from '../../dev/database.js';

/** Waits until the client's statement waits for a lock. */
export async function waitsForALock(url: string, client: pg.ClientBase): Promise<void> {
  const { processID } = client as unknown as { processID: number };
  await withClient(url, async (watcher) => {
    await expect
      .poll(
        async () =>
          (await watcher.query('select from pg_locks where pid = $1 and not granted', [processID])).rowCount,
      )
      .toBeGreaterThan(0);
  });
}

/** Waits until another session waits for a lock, for at most `limit` milliseconds. */
export async function untilWaiting(pool: pg.Pool, pid: number, limit = 20_000): Promise<void> {
  for (const end = Date.now() + limit; Date.now() < end; ) {
    const { rows } = await pool.query(
      'select from pg_stat_activity where pid = $1 and cardinality(pg_blocking_pids(pid)) > 0',
      [pid],
    );
    if (rows.length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The process id of a client's session. */
export async function backendPid(client: pg.ClientBase): Promise<number> {
  return (await client.query('select pg_backend_pid() as pid')).rows[0].pid;
}
