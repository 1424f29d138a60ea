import { runner } from 'node-pg-migrate';
import { expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { useDatabase } from '../support/database.js';

const { url, pool } = useDatabase('host');

/** Does what `npx node-pg-migrate up --create-schema --schema crm --schema public` does. */
async function migrateInto(schema: string, direction: 'up' | 'down'): Promise<void> {
  await withClient(url, async (client) => {
    await runner({
      dbClient: client,
      dir: projectPath('migrations'),
      migrationsTable: 'pgmigrations',
      schema: [schema, 'public'],
      createSchema: true,
      direction,
      count: Number.POSITIVE_INFINITY,
      singleTransaction: true,
      logger: { debug() {}, info() {}, warn() {}, error() {} },
    });
  });
}

async function partitionsIn(schema: string): Promise<number> {
  const { rows } = await pool.query(
    'select count(*)::integer from pg_class where relispartition and relkind = $1 and relnamespace = $2::regnamespace',
    ['r', schema],
  );
  return rows[0].count;
}

test('all objects are created in the given schema, and two installations do not affect each other', async () => {
  await migrateInto('crm', 'up');
  await migrateInto('crm_two', 'up');
  expect([await partitionsIn('crm'), await partitionsIn('crm_two')]).toEqual([5, 5]);

  // From a session with neither schema in its search_path.
  const { rows } = await pool.query('select name from crm_two.crm_sync_log_ensure_partitions(4) as name');
  expect(rows).toEqual([{ name: expect.stringMatching(/^crm_two\.crm_sync_log_\d{4}_\d\d$/) }]);
  expect([await partitionsIn('crm'), await partitionsIn('crm_two')]).toEqual([5, 6]);

  await migrateInto('crm_two', 'down');
  await migrateInto('crm', 'down');
  const { rows: left } = await pool.query(
    "select relname from pg_class where relnamespace::regnamespace::text in ('crm', 'crm_two') and relname !~ '^pgmigrations'",
  );
  expect(left).toEqual([]);
});
