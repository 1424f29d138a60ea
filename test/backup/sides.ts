import pg from 'pg';
import { expect, vi } from 'vitest';
import { createHostTables, migrate } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { waiting } from '../support/waiting.js';

/** A server with the schema: the publisher or the subscriber. */
export interface Side {
  server: EmbeddedPostgres;
  pool: pg.Pool;
}

/** Starts a server with these settings, and migrates it. */
export async function startSide(
  settings: Record<string, string>,
  onLog: (text: string) => void,
): Promise<Side> {
  const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, { settings, onLog });
  const pool = new pg.Pool({ connectionString: server.url });
  pool.on('error', () => {});
  const client = await pool.connect();
  await createHostTables(client);
  await migrate(client);
  client.release();
  return { server, pool };
}

/** Waits until the subscription `crm_schema` has received everything that was committed. */
export async function caughtUp(publisher: Side, subscriber: Side): Promise<void> {
  const { rows } = await publisher.pool.query('select pg_current_wal_insert_lsn() as position');
  await vi.waitFor(async () => {
    const slot = await publisher.pool.query(
      "select confirmed_flush_lsn >= $1 as reached from pg_replication_slots where slot_name = 'crm_schema'",
      [rows[0].position],
    );
    const copied = await subscriber.pool.query(
      "select bool_and(srsubstate = 'r') as all from pg_subscription_rel",
    );
    expect({ ...slot.rows[0], ...copied.rows[0] }).toEqual({ reached: true, all: true });
  }, waiting);
}
