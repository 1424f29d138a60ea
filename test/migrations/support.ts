import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { expect } from 'vitest';
import { projectPath } from '../../dev/database.js';

/** A migration file and its two halves, split as node-pg-migrate splits them. */
export interface Migration {
  file: string;
  text: string;
  up: string;
  down: string;
}

/** All migrations, in order. */
export const migrations: Migration[] = readdirSync(projectPath('migrations'))
  .sort()
  .map((file) => {
    const text = readFileSync(projectPath(`migrations/${file}`), 'utf8');
    const split = text.indexOf('-- Down Migration');
    return { file, text, up: text.slice(0, split), down: text.slice(split) };
  });

/** Applies the up halves on a client with an open transaction. */
export async function applyUps(client: pg.ClientBase, files = migrations): Promise<void> {
  for (const { up } of files) await client.query(up);
}

/** The name of the migrations table, if there is one. */
export async function bookkeeping(client: pg.ClientBase): Promise<string | undefined> {
  const { rows } = await client.query(
    "select coalesce(to_regclass('crm_schema_migrations'), to_regclass('pgmigrations'))::text as name",
  );
  return rows[0].name ?? undefined;
}

/** Expects PostgreSQL to refuse with an error that has the given fields. */
export async function expectRefused(
  attempt: Promise<unknown>,
  fields: Partial<Record<keyof pg.DatabaseError, unknown>>,
): Promise<pg.DatabaseError> {
  const error = await attempt.then(
    () => 'accepted',
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(pg.DatabaseError);
  expect(error).toMatchObject(fields);
  return error as pg.DatabaseError;
}

/** Expects a violation of the given CHECK. */
export function expectCheck(attempt: Promise<unknown>, constraint: unknown): Promise<pg.DatabaseError> {
  return expectRefused(attempt, { code: '23514', constraint });
}

/** Times that every table refuses, and the first and last that every table accepts. */
export const impossibleTimes = [
  'infinity',
  '-infinity',
  '1899-12-31 23:59:59.999999+00',
  '9999-01-01 00:00:00+00',
];
export const outermostTimes = ['1900-01-01 00:00:00+00', '9998-12-31 23:59:59.999999+00'];

/** The SQLSTATE of `on delete restrict`: foreign_key_violation until PostgreSQL 17, then restrict_violation. */
export const restricted = expect.stringMatching(/^(23503|23001)$/);

/** Runs `work` in a transaction that is rolled back. */
export async function rolledBack<Result>(
  pool: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    return await work(client);
  } finally {
    // This also ends settings that a test made for the session.
    await client.query('rollback');
    client.release();
  }
}

/** Inserts one row and returns it; objects become JSON. */
export async function insert(
  client: pg.Pool | pg.ClientBase,
  table: string,
  row: Record<string, unknown>,
  clause = '',
): Promise<Record<string, unknown>> {
  const names = Object.keys(row);
  const { rows } = await client.query(
    `insert into ${table} (${names.join(', ')}) ${clause}
     values (${names.map((_, position) => `$${position + 1}`).join(', ')}) returning *`,
    Object.values(row),
  );
  return rows[0];
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
