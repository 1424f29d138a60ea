import { beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../support/connection.js';
import { createTenant, insert, rolledBack, useDatabase } from '../support/database.js';
import { expectRefused } from '../support/refusals.js';

const { pool } = useDatabase();

const appendOnly = { code: 'CRM02', message: expect.stringContaining('append-only') };

let event: Record<string, unknown>;
let partitions: string[];

/** Adds one event to every partition, including later ones and the catch-all. */
beforeAll(async () => {
  await pool.query('select crm_sync_log_ensure_partitions(6)');
  const tenant = await createTenant(pool);
  const { connectionId } = await connect(pool, tenant.organisationId);
  event = {
    organisation_id: tenant.organisationId,
    connection_id: connectionId,
    direction: 'inbound',
    entity_type: 'contact',
    status: 'success',
  };
  for (let month = 0; month <= 6; month += 1) {
    await pool.query(
      `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status, occurred_at)
       values ($1, $2, 'inbound', 'contact', 'success', now() + make_interval(months => $3))`,
      [tenant.organisationId, connectionId, month],
    );
  }
  await insert(pool, 'crm_sync_log', { ...event, occurred_at: '9000-01-01T00:00:00Z' });
  const { rows } = await pool.query('select distinct tableoid::regclass::text as name from crm_sync_log');
  partitions = rows.map(({ name }) => name);
});

test('the setup has an event in every partition', async () => {
  const { rows } = await pool.query(
    "select count(*)::integer as partitions from pg_inherits where inhparent = 'crm_sync_log'::regclass",
  );
  expect(rows[0].partitions).toBe(partitions.length);
  expect(partitions).toContain('crm_sync_log_catch_all');
  expect(partitions).toHaveLength(8);
});

describe.each([
  ['update', (table: string) => `update ${table} set entity_type = 'x'`],
  [
    'update that moves to another month',
    (table: string) => `update ${table} set occurred_at = occurred_at - interval '40 days'`,
  ],
  ['delete', (table: string) => `delete from ${table}`],
  ['truncate', (table: string) => `truncate ${table}`],
  [
    'merge with update',
    (table: string) =>
      `merge into ${table} as log using (values (1)) as source on true when matched then update set entity_type = 'x'`,
  ],
  [
    'merge with delete',
    (table: string) =>
      `merge into ${table} as log using (values (1)) as source on true when matched then delete`,
  ],
])('%s', (_, statement) => {
  test('is refused on the log, even for a superuser', async () => {
    await expectRefused(pool.query(statement('crm_sync_log')), appendOnly);
  });

  test('is refused on each partition', async () => {
    for (const partition of partitions) {
      await expectRefused(pool.query(statement(partition)), {
        ...appendOnly,
        message: expect.stringContaining(partition),
      });
    }
  });
});

test('refuses an update by the owner of the log', async () => {
  await rolledBack(pool, async (client) => {
    await client.query(
      'create role crm_test_log_owner; grant create, usage on schema public to crm_test_log_owner',
    );
    await client.query(
      'alter table crm_sync_log owner to crm_test_log_owner; set local role crm_test_log_owner',
    );
    await expectRefused(client.query('delete from crm_sync_log'), appendOnly);
  });
});

test.each(['crm_sync_log', 'crm_connections', 'organisations', 'contacts, crm_connections'])(
  'refuses to truncate %s with cascade',
  async (tables) => {
    await expectRefused(pool.query(`truncate ${tables} cascade`), appendOnly);
  },
);

test('refuses an insert with on conflict do update', async () => {
  const { rows } = await pool.query('select id, occurred_at::text as at from crm_sync_log limit 1');
  await expectRefused(
    pool.query(
      `insert into crm_sync_log (organisation_id, connection_id, occurred_at, id, direction, entity_type, status)
       overriding system value
       values ($1, $2, $3, $4, 'inbound', 'contact', 'success')
       on conflict (organisation_id, connection_id, occurred_at, id) do update set entity_type = 'x'`,
      [event.organisation_id, event.connection_id, rows[0].at, rows[0].id],
    ),
    appendOnly,
  );
});

test('refuses an update in the transaction that added the event', async () => {
  await rolledBack(pool, async (client) => {
    const { id } = await insert(client, 'crm_sync_log', event);
    await expectRefused(client.query('delete from crm_sync_log where id = $1', [id]), appendOnly);
  });
});

test('accepts inserts of one event and of many', async () => {
  await rolledBack(pool, async (client) => {
    await insert(client, 'crm_sync_log', event);
    const { rowCount } = await client.query(
      `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status)
       select organisation_id, connection_id, direction, entity_type, status from crm_sync_log`,
    );
    expect(rowCount).toBe(partitions.length + 1);
  });
});

test('a detached month still refuses truncate, and can be dropped', async () => {
  await rolledBack(pool, async (client) => {
    const month = partitions.filter((name) => name !== 'crm_sync_log_catch_all').sort()[2];
    await client.query(`alter table crm_sync_log detach partition ${month}`);
    await client.query('savepoint attempt');
    await expectRefused(client.query(`truncate ${month}`), appendOnly);
    await client.query('rollback to attempt');
    await client.query(`drop table ${month}`);
  });
});
