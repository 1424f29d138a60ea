import { beforeAll, describe, expect, test } from 'vitest';
import { fillHost, fillOwn } from '../../bench/installation.js';
import { hostKinds, type Kind, ownKinds, Traffic } from '../../bench/traffic.js';
import { databaseUrl, withClient } from '../../dev/database.js';
import { rolledBack, useDatabase } from '../support/database.js';
import { migrations } from '../support/migrations.js';

const organisations = 400;

describe.each([
  ['from an empty database', 0, hostKinds],
  ['from 1.0.4', 4, [...hostKinds, ...ownKinds]],
  ['from 1.1.0', 9, [...hostKinds, ...ownKinds]],
] as const)('%s', (_, first, kinds) => {
  const { url, pool } = useDatabase('host');
  const pending = migrations.slice(first);

  beforeAll(() =>
    withClient(url, async (client) => {
      await fillHost(client, organisations);
      for (const { up } of migrations.slice(0, first)) await client.query(up);
      if (first > 0) await fillOwn(client, organisations);
    }),
  );

  test('no reader or writer fails while migrations are applied, one transaction per file', async () => {
    const { rows } = await pool.query('select count(*)::integer as contacts from contacts');
    const traffic = await Traffic.start(url, kinds, organisations);
    try {
      await withClient(url, async (client) => {
        for (const { file, up } of pending) {
          traffic.begin(file);
          await client.query(`begin; ${up} commit`);
        }
      });
    } finally {
      await traffic.stop();
    }
    const done = (kind: Kind) =>
      traffic.waits.filter((wait) => wait.kind === kind).reduce((sum, { count }) => sum + count, 0);
    expect(traffic.waits.filter(({ failures }) => failures.length > 0)).toEqual([]);
    for (const kind of kinds) expect(done(kind)).toBeGreaterThan(0);
    const inserts = kinds.find(({ table, access }) => table === 'contacts' && access === 'write') as Kind;
    const after = await pool.query('select count(*)::integer as contacts from contacts');
    // Each client runs its statement once before the count begins.
    expect(after.rows[0].contacts).toBe(rows[0].contacts + 1 + done(inserts));
  });
});

describe('maintenance during 0010', () => {
  const { pool } = useDatabase('host');
  const position = migrations.findIndex(({ file }) => file === '0010_add_row_level_security.sql');
  beforeAll(async () => {
    for (const { up } of migrations.slice(0, position)) await pool.query(up);
  });

  // Nobody uses its pool: a database with connections cannot be cloned.
  const original = useDatabase('host');

  test('in another database does not block it, even in a clone of this one', async () => {
    await withClient(original.url, async (client) => {
      for (const { up } of migrations.slice(0, position)) await client.query(up);
    });
    const name = new URL(original.url).pathname.slice(1);
    const clone = databaseUrl(original.url, `${name}_clone`);
    await pool.query(`create database ${name}_clone template ${name}`);
    try {
      await withClient(clone, async (maintenance) => {
        await maintenance.query('begin; lock table crm_connections in share update exclusive mode');
        await withClient(original.url, (client) => client.query(migrations[position]?.up ?? ''));
      });
    } finally {
      await pool.query(`drop database ${name}_clone with (force)`);
    }
  });

  test.each(['crm_connections', 'crm_sync_log', 'crm_sync_log_catch_all'])(
    'of %s blocks it: 0010 fails at once with the reason, instead of risking a deadlock',
    async (table) => {
      const maintenance = await pool.connect();
      try {
        // VACUUM and CREATE INDEX CONCURRENTLY hold this lock while they run.
        await maintenance.query(`begin; lock table only ${table} in share update exclusive mode`);
        await rolledBack(pool, (client) =>
          expect(client.query(migrations[position]?.up ?? '')).rejects.toMatchObject({
            code: '55P03',
            message: 'somebody vacuums, builds an index of or alters one of the tables',
            hint: expect.stringContaining('pg_stat_progress_create_index'),
          }),
        );
      } finally {
        await maintenance.query('rollback');
        maintenance.release();
      }
    },
  );
});
