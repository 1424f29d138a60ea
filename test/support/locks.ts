import type pg from 'pg';
import { expect } from 'vitest';
import { withClient } from '../../dev/database.js';

/** Waits until the client's statement waits for a lock. Fails if it never does. */
export async function waitUntilBlocked(url: string, client: pg.ClientBase): Promise<void> {
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

/** Waits until a session of the database waits for a lock. Fails if none ever does. */
export async function waitUntilSomebodyIsBlocked(pool: pg.Pool): Promise<void> {
  await expect
    .poll(
      async () =>
        (
          await pool.query(
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
          )
        ).rowCount,
    )
    .toBeGreaterThan(0);
}

/** The process id of a client's session. */
export async function backendPid(client: pg.ClientBase): Promise<number> {
  return (await client.query('select pg_backend_pid() as pid')).rows[0].pid;
}
