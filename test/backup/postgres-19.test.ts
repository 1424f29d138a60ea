import { describe, expect, inject, onTestFinished, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { createSamples } from '../queries/every-query.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { differencesOf } from '../verify/support.js';

const isNew = inject('serverMajorVersion') >= 19;

describe('copy from the log', () => {
  const database = useDatabase();
  const app = useMember(database, 'crm_app', 1);

  test.skipIf(isNew)('is refused by PostgreSQL 18 and older: it is partitioned', async () => {
    await expect(database.pool.query('copy crm_sync_log to stdout')).rejects.toMatchObject({ code: '42809' });
  });

  test.skipIf(!isNew)('copies the events of the set organisation only', async () => {
    await createSamples(database.pool);
    await createSamples(database.pool);
    const { rows } = await database.pool.query(
      'select organisation_id as id, count(*)::int as count from crm_sync_log group by 1',
    );
    expect(rows.length).toBeGreaterThanOrEqual(2);
    const all = await database.pool.query('copy crm_sync_log to stdout');
    expect(all.rowCount).toBe(rows.reduce((sum, { count }) => sum + count, 0));

    const client = await app.connect();
    onTestFinished(() => client.release());
    for (const { id, count } of rows) {
      await client.query('begin');
      await client.query('select crm_set_organisation($1)', [id]);
      expect(await client.query('copy crm_sync_log to stdout')).toMatchObject({ rowCount: count });
      await client.query('commit');
    }
    await expect(client.query('copy crm_sync_log to stdout')).rejects.toMatchObject({ code: 'CRM05' });
  });
});

describe.skipIf(!isNew)('repack (concurrently)', () => {
  const database = useDatabase();

  test('rewrites each table that keeps changing, and each month of the log, but not the log as a whole', async () => {
    await createSamples(database.pool);
    const months = await database.pool.query(
      "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'crm_sync_log'::regclass",
    );
    const tables = ['crm_outbound_changes', 'crm_sync_failures', 'crm_sync_runs', 'crm_sync_cursors'];
    await withClient(database.url, async (client) => {
      // It also waits for transactions of other databases, which other tests keep open.
      await client.query("set lock_timeout = '2min'");
      for (const table of [...tables, ...months.rows.map(({ name }) => name)]) {
        const fileOf = async () =>
          (await client.query('select pg_relation_filenode($1) as file', [table])).rows[0].file;
        const before = await fileOf();
        await client.query(`repack (concurrently) ${table}`);
        expect(await fileOf(), table).not.toBe(before);
      }
      await expect(client.query('repack (concurrently) crm_sync_log')).rejects.toMatchObject({
        code: '0A000',
      });
      expect(await differencesOf(client)).toEqual([]);
    });
  });

  test('gives up after lock_timeout while somebody uses the table, and leaves nothing behind', async () => {
    const holder = await database.pool.connect();
    onTestFinished(() => holder.release());
    await holder.query('begin; select from crm_sync_failures');
    await withClient(database.url, async (client) => {
      await client.query("set lock_timeout = '500ms'");
      await expect(client.query('repack (concurrently) crm_sync_failures')).rejects.toMatchObject({
        code: '55P03',
      });
      await holder.query('rollback');
      const { rows } = await client.query(
        'select slot_name from pg_replication_slots where database = current_database()',
      );
      expect(rows).toEqual([]);
      expect(await differencesOf(client)).toEqual([]);
    });
  });
});
