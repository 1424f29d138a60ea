import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createHostTables, migrate, withClient } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { connectionGet, withNamedStatements } from '../../src/index.js';
import { rolledBack } from '../support/database.js';
import { waiting } from '../support/waiting.js';
import { createSamples, queries, queryNames } from './every-query.js';

/** A server of its own: pg_stat_statements must be loaded when the server starts. */
let server: EmbeddedPostgres;
let pool: pg.Pool;
let log = '';
/** What pg_stat_activity showed of the session after each call, by the query's name. */
const shown: Record<string, string[]> = {};

beforeAll(async () => {
  server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, {
    settings: { log_statement: 'all', shared_preload_libraries: 'pg_stat_statements' },
    onLog: (text) => {
      log += text;
    },
  });
  pool = new pg.Pool({ connectionString: server.url });
  // pool.end() does not wait for its connections to close, so stopping the server may still hit one.
  pool.on('error', () => {});
  await withClient(server.url, async (client) => {
    await createHostTables(client);
    await migrate(client);
    await client.query('create extension pg_stat_statements');
  });
  const samples = await createSamples(pool);
  await pool.query('select pg_stat_statements_reset()');
  log = '';
  await rolledBack(pool, async (client) => {
    const { rows } = await client.query('select pg_backend_pid() as pid');
    for (const name of queryNames) {
      shown[name] = [];
      for (const params of samples[name]) {
        await client.query('savepoint before');
        await queries[name].run(params, client);
        const seen = await pool.query('select query from pg_stat_activity where pid = $1', [rows[0].pid]);
        shown[name].push(seen.rows[0].query);
        await client.query('rollback to before');
      }
    }
  });
});

afterAll(async () => {
  await pool.end();
  await server.stop();
});

test('pg_stat_statements shows the name of every query', async () => {
  const { rows } = await pool.query<{ query: string }>('select query from pg_stat_statements');
  const texts = rows.map(({ query }) => query);
  const missing = queryNames.filter((name) => !texts.some((text) => text.includes(`/* ${name} */`)));
  expect(missing).toEqual([]);
});

test('pg_stat_activity shows the name of every query, also of one that it cuts off', () => {
  for (const name of queryNames) {
    expect(shown[name]).not.toEqual([]);
    for (const text of shown[name] ?? []) expect(text).toMatch(new RegExp(`^[a-z]+ /\\* ${name} \\*/`));
  }
  const cut = queryNames.filter((name) => (shown[name]?.[0]?.length ?? 0) < queries[name].text.length);
  expect(cut.length).toBeGreaterThan(10);
});

test("the server's log shows the name of every query", async () => {
  // The log arrives by a pipe of its own.
  await expect
    .poll(() => queryNames.filter((name) => !log.includes(`: ${keywordOf(name)} /* ${name} */`)), waiting)
    .toEqual([]);
});

test('a named statement shows the name of its query', async () => {
  await withClient(server.url, async (client) => {
    const organisationId = '00000000-0000-4000-8000-000000000001';
    const connectionId = '00000000-0000-4000-8000-000000000002';
    await connectionGet(withNamedStatements(client), { organisationId, connectionId });
    const { rows } = await client.query('select statement from pg_prepared_statements');
    expect(rows).toHaveLength(1);
    expect(rows[0].statement).toMatch(/^select \/\* connectionGet \*\/\n/);
  });
});

function keywordOf(name: (typeof queryNames)[number]): string {
  return queries[name].text.split(' ')[0] as string;
}
