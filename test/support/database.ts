import { randomBytes, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, inject, type RunnerTestSuite } from 'vitest';
import { databaseUrl, withClient } from '../../dev/database.js';

/** The database of one test file. */
export interface TestDatabase {
  readonly url: string;
  /** A superuser's pool. */
  readonly pool: pg.Pool;
}

/**
 * Creates a database for a test file or a `describe`: cloned before its tests and dropped after them.
 *
 * @param content `migrated`: the whole schema; `host`: only the host tables; `empty`: nothing
 */
export function useDatabase(content: 'migrated' | 'host' | 'empty' = 'migrated'): TestDatabase {
  const serverUrl = inject('serverUrl');
  const prefix = inject('databasePrefix');
  const name = `${prefix}_${randomBytes(6).toString('hex')}`;
  const url = databaseUrl(serverUrl, name);
  const pool = new pg.Pool({ connectionString: url, max: 30 });
  // Dropping the database may terminate a connection that is closing.
  pool.on('error', () => {});
  beforeAll(async () => {
    await cloneDatabase(name, content === 'empty' ? 'template0' : `${prefix}_${content}`);
  });
  // biome-ignore lint/correctness/noEmptyPattern: vitest insists on a pattern here.
  afterAll(async ({}, suite) => {
    await pool.end();
    const { CI, TEST_DATABASE_URL } = process.env;
    if (!CI && TEST_DATABASE_URL && hasFailed(suite)) {
      console.log(`Kept for inspection: ${name}`);
      return;
    }
    await withClient(serverUrl, (client) => client.query(`drop database ${name} with (force)`));
  });
  return { url, pool };
}

/** Creates a database on the server under test, as a copy of another. */
export async function cloneDatabase(name: string, template: string): Promise<void> {
  await withClient(inject('serverUrl'), (client) =>
    client.query(`create database ${name} template ${template} strategy ${inject('cloneStrategy')}`),
  );
}

function hasFailed(suite: Readonly<RunnerTestSuite>): boolean {
  return suite.tasks.some((task) =>
    task.type === 'suite' ? hasFailed(task) : task.result?.state === 'fail',
  );
}

/** An organisation with contacts, which have fictional names. */
export interface Tenant {
  organisationId: string;
  contactIds: string[];
}

/** Creates an organisation with contacts. */
export async function createTenant(client: pg.Pool | pg.ClientBase, contacts = 0): Promise<Tenant> {
  const organisationId = randomUUID();
  const contactIds = Array.from({ length: contacts }, () => randomUUID());
  await client.query('insert into organisations (id, name) values ($1, $2)', [organisationId, 'Test Agency']);
  await client.query(
    "insert into contacts (id, organisation_id, name) select id, $1, 'Test Person' from unnest($2::uuid[]) as id",
    [organisationId, contactIds],
  );
  return { organisationId, contactIds };
}

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
