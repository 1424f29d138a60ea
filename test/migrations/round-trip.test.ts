import { describe, expect, test } from 'vitest';
import { migrate, withClient } from '../../dev/database.js';
import { connect } from '../support/connection.js';
import { createTenant, insert, rolledBack, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { applyUps, downsTo, findMigrationsTable, migrations, positionOf } from '../support/migrations.js';
import { expectRefused } from '../support/refusals.js';
import { catalog } from './catalog.js';

/** The table that each migration's down drops, with the position of the migration. */
const tablesByMigration = [
  'crm_connections',
  'crm_sync_log',
  'contact_external_ids',
  'crm_outbound_changes',
  'crm_sync_runs',
  'crm_sync_cursors',
  'crm_sync_failures',
  'contact_external_id_aliases',
  'contact_external_id_changes',
  'contact_external_id_archive',
  'crm_record_requests',
].map((table) => [table, positionOf(`create_${table}`)] as const);

const dataLoss = { code: 'CRM03', message: expect.stringContaining('has rows') };

/** Inserts a row into a table, and into those that it references. */
async function fill(client: Parameters<typeof createTenant>[0], table: string): Promise<void> {
  const { organisationId, contactIds } = await createTenant(client, 1);
  if (table === 'contact_external_ids' || table === 'contact_external_id_aliases') {
    await insert(client, table, {
      organisation_id: organisationId,
      provider: 'loop',
      entity_type: 'contact',
      external_id: '1',
      contact_id: contactIds[0],
    });
    return;
  }
  if (table === 'contact_external_id_changes') {
    await insert(client, table, { organisation_id: organisationId, kind: 'unlinked' });
    return;
  }
  const { connectionId } = await connect(client, organisationId);
  if (table === 'contact_external_id_archive') {
    await insert(client, table, {
      organisation_id: organisationId,
      connection_id: connectionId,
      entity_type: 'contact',
      external_id: '1',
      contact_id: contactIds[0],
      is_primary: true,
      first_seen_at: '2026-11-16T09:00:00Z',
      last_seen_at: '2026-11-16T09:00:00Z',
      remote_state: 'active',
    });
  }
  if (table === 'crm_record_requests') {
    await insert(client, table, {
      organisation_id: organisationId,
      connection_id: connectionId,
      entity_type: 'contact',
      external_id: '1',
      requested_at: '2026-11-16T09:00:00Z',
    });
  }
  if (table === 'crm_sync_runs') {
    await insert(client, table, {
      organisation_id: organisationId,
      connection_id: connectionId,
      worker: 'test',
      started_at: '2026-11-16T09:00:00Z',
      heartbeat_at: '2026-11-16T09:00:00Z',
      expires_at: '2026-11-16T09:05:00Z',
    });
  }
  if (table === 'crm_sync_cursors') {
    await insert(client, table, {
      organisation_id: organisationId,
      connection_id: connectionId,
      direction: 'inbound',
      entity_type: 'contact',
      moved_at: '2026-11-16T09:00:00Z',
    });
  }
  if (table === 'crm_sync_failures') {
    await insert(client, table, {
      organisation_id: organisationId,
      connection_id: connectionId,
      direction: 'inbound',
      entity_type: 'contact',
      record_id: '1',
      attempts: 1,
      error: { kind: 'timeout', retryable: true, message: 'No answer.' },
      first_failed_at: '2026-11-16T09:00:00Z',
      last_failed_at: '2026-11-16T09:00:00Z',
      next_attempt_at: '2026-11-16T09:01:00Z',
    });
  }
  if (table === 'crm_outbound_changes') {
    await insert(client, table, {
      organisation_id: organisationId,
      contact_id: contactIds[0],
      connection_id: connectionId,
      first_changed_at: '2026-11-16T09:00:00Z',
      last_changed_at: '2026-11-16T09:00:00Z',
      next_attempt_at: '2026-11-16T09:00:00Z',
    });
  }
  if (table === 'crm_sync_log') {
    await insert(client, table, {
      organisation_id: organisationId,
      connection_id: connectionId,
      direction: 'inbound',
      entity_type: 'contact',
      status: 'success',
    });
  }
}

describe('migrating up, down and up again', () => {
  const { url } = useDatabase('host');

  test('each step down restores the exact catalog before it, and the step up again the one after it', async () => {
    await withClient(url, async (client) => {
      const states = [await catalog(client)];
      for (const _ of migrations) {
        await migrate(client, 'up', 1);
        states.push(await catalog(client));
      }
      for (let position = 1; position < states.length; position += 1) {
        expect(states[position]).not.toEqual(states[position - 1]);
        if (migrations[position - 1]?.file.includes('_replace_')) continue;
        expect(states[position]?.length).toBeGreaterThanOrEqual(states[position - 1]?.length ?? 0);
      }

      for (let position = migrations.length; position > 0; position -= 1) {
        await migrate(client, 'down', 1);
        expect(await catalog(client)).toEqual(states[position - 1]);
        await migrate(client, 'up', 1);
        expect(await catalog(client)).toEqual(states[position]);
        await migrate(client, 'down', 1);
      }
      expect(await catalog(client)).toEqual(states[0]);

      // Many steps in one call.
      await migrate(client, 'up');
      for (let steps = migrations.length; steps > 0; steps = Math.floor(steps / 3)) {
        await migrate(client, 'down', steps);
        expect(await catalog(client)).toEqual(states[migrations.length - steps]);
        await migrate(client, 'up');
        expect(await catalog(client)).toEqual(states[migrations.length]);
      }
    });
  });
});

describe('down with rows in the table', () => {
  const { url, pool } = useDatabase();

  test.each(tablesByMigration)('refuses to drop %s, and changes nothing', async (table) => {
    await withClient(url, async (client) => {
      await fill(client, table);
      const migrationsTable = await findMigrationsTable(client);
      const before = await catalog(client);
      const { rows } = await client.query(`select ${table}::text from ${table}`);
      const applied = await client.query(`select name from ${migrationsTable} order by id`);

      await expectRefused(migrate(client, 'down', migrations.length), dataLoss);

      expect(await catalog(client)).toEqual(before);
      expect((await client.query(`select ${table}::text from ${table}`)).rows).toEqual(rows);
      expect((await client.query(`select name from ${migrationsTable} order by id`)).rows).toEqual(
        applied.rows,
      );
      await client.query(
        'truncate contact_external_ids, contact_external_id_aliases, contact_external_id_changes, contact_external_id_archive, crm_sync_runs, crm_sync_cursors, crm_sync_failures, crm_outbound_changes, crm_record_requests',
      );
      // Only a superuser can bypass the append-only trigger.
      await client.query("set session_replication_role = 'replica'");
      await client.query('delete from crm_sync_log');
      await client.query('delete from crm_connections');
    });
  });

  describe.each(tablesByMigration)('%s', (table, position) => {
    const down = migrations[position]?.down ?? '';
    const laterDowns = migrations
      .slice(position + 1)
      .reverse()
      .map((migration) => migration.down);

    test.each(['off', '', 'true', 'On'])('refuses if crm_schema.allow_data_loss is "%s"', async (value) => {
      await rolledBack(pool, async (client) => {
        await fill(client, table);
        await client.query('set local session_replication_role = replica');
        for (const later of laterDowns) await client.query(later);
        await client.query("select set_config('crm_schema.allow_data_loss', $1, true)", [value]);
        await expectRefused(client.query(down), {
          ...dataLoss,
          hint: expect.stringContaining('crm_schema.allow_data_loss=on'),
        });
      });
    });

    test('drops the table and its rows if crm_schema.allow_data_loss is on', async () => {
      await rolledBack(pool, async (client) => {
        await fill(client, table);
        for (const later of laterDowns) await client.query(later);
        await client.query("set local crm_schema.allow_data_loss = 'on'");
        await client.query(down);
        const { rows } = await client.query('select to_regclass($1) as found', [table]);
        expect(rows).toEqual([{ found: null }]);
      });
    });
  });

  test.each([
    "remote_state = 'archived'",
    `remote_version = '"7"'`,
    "remote_modified_at = '2026-11-16T09:00:00Z'",
    "content_hash = sha256('')",
    "pushed_at = '2026-11-16T09:00:00Z'",
  ])('the down of add_remote_state refuses while an external id has %s', async (state) => {
    const { down, laterDowns } = downsTo('add_remote_state');
    await rolledBack(pool, async (client) => {
      await fill(client, 'contact_external_ids');
      for (const later of laterDowns) await client.query(later);
      await client.query('savepoint before');
      await client.query(down);
      await client.query('rollback to savepoint before');
      await client.query(`update contact_external_ids set ${state}`);
      await expectRefused(client.query(down), {
        code: 'CRM03',
        message: expect.stringContaining('has states and contents of records'),
      });
    });
  });

  test('the down of add_connection_account refuses while an account is known', async () => {
    const { down, laterDowns } = downsTo('add_connection_account');
    await rolledBack(pool, async (client) => {
      await connect(client, (await createTenant(client)).organisationId);
      for (const later of laterDowns) await client.query(later);
      await client.query('savepoint before');
      await client.query(down);
      await client.query('rollback to savepoint before');
      await client.query("update crm_connections set account = 'SBOX'");
      await expectRefused(client.query(down), {
        code: 'CRM03',
        message: expect.stringContaining('has accounts'),
      });
    });
  });

  test('the down of create_crm_rate_limits refuses while there are limits', async () => {
    const { down, laterDowns } = downsTo('create_crm_rate_limits');
    await rolledBack(pool, async (client) => {
      for (const later of laterDowns) await client.query(later);
      await client.query('savepoint before');
      await client.query(down);
      await client.query('rollback to savepoint before');
      await client.query("select crm_block_rate_limit('reapit', 'SBOX', 'requests', 0)");
      await expectRefused(client.query(down), {
        code: 'CRM03',
        message: expect.stringContaining('crm_rate_limits has rows'),
      });
    });
  });

  test.each([
    ['contact', false],
    ['organisation', true],
  ])('the down of add_organisation_erasure with a proof of a %s refuses: %s', async (subject, isRefused) => {
    const { down, laterDowns } = downsTo('add_organisation_erasure');
    await rolledBack(pool, async (client) => {
      for (const later of laterDowns) await client.query(later);
      await client.query(
        `insert into crm_erasures (organisation_id, subject, key_id, subject_hashes, counts)
         values (gen_random_uuid(), $1, repeat('0', 16), array[sha256('')], '{}')`,
        [subject],
      );
      if (!isRefused) return client.query(down);
      return expectRefused(client.query(down), {
        code: 'CRM03',
        message: expect.stringContaining('an organisation has been erased'),
      });
    });
  });

  test.each([
    ['0032_', "credentials_excused_at = '2026-11-16T09:00:00Z'", 'has streaks of failed syncs'],
    ['0032_', "records_failing_at = '2026-11-16T09:00:00Z'", 'has streaks of failed syncs'],
    ['0033_', 'paused_at = now()', 'has paused connections'],
    [
      '0041_',
      "status = 'disconnected', disconnected_at = now(), credentials = null, kept_changes = 'moved', changes_expire_at = now()",
      'has kept changes',
    ],
    ['0042_', 'fill_started_at = now(), filled_contacts = 0', 'has first fills'],
  ])('%s refuses while a connection has %s', async (prefix, state, message) => {
    const position = migrations.findIndex(({ file }) => file.startsWith(prefix));
    const [down = '', ...laterDowns] = migrations.slice(position).map((migration) => migration.down);
    await rolledBack(pool, async (client) => {
      await connect(client, (await createTenant(client)).organisationId);
      for (const later of laterDowns.reverse()) await client.query(later);
      await client.query('savepoint before');
      await client.query(down);
      await client.query('rollback to savepoint before');
      await client.query(`update crm_connections set ${state}`);
      await expectRefused(client.query(down), { code: 'CRM03', message: expect.stringContaining(message) });
    });
  });

  test('the down of add_pause makes paused connections due if crm_schema.allow_data_loss is on', async () => {
    const { down, laterDowns } = downsTo('add_pause');
    await rolledBack(pool, async (client) => {
      await connect(client, (await createTenant(client)).organisationId);
      await client.query('update crm_connections set paused_at = now()');
      for (const later of laterDowns) await client.query(later);
      await client.query("set local crm_schema.allow_data_loss = 'on'");
      await client.query(down);
      const { rows } = await client.query(
        'select next_sync_at <= clock_timestamp() as is_due from crm_connections',
      );
      expect(rows).toEqual([{ is_due: true }]);
    });
  });

  test('keeps the rows of host tables if crm_schema.allow_data_loss is on', async () => {
    await rolledBack(pool, async (client) => {
      await fill(client, 'contact_external_ids');
      await client.query("set local crm_schema.allow_data_loss = 'on'");
      for (const { down } of migrations.toReversed()) await client.query(down);
      const { rows } = await client.query('select count(*)::integer as contacts from contacts');
      expect(rows[0].contacts).toBeGreaterThan(0);
    });
  });
});

describe.each(tablesByMigration)('down of %s during a write', (table, index) => {
  const { url } = useDatabase();

  test('refuses because of a row that is committed while it waits for the lock', async () => {
    await withClient(url, async (writer) => {
      await writer.query('begin');
      await fill(writer, table);
      await withClient(url, async (deployer) => {
        await deployer.query('begin');
        const attempt = expectRefused(deployer.query(migrations[index]?.down ?? ''), dataLoss);
        // Awaited below; until then Node must not see an unhandled rejection.
        attempt.catch(() => {});
        await waitUntilBlocked(url, deployer);
        await writer.query('commit');
        await attempt;
      });
    });
  });
});

describe('migrating into another schema', () => {
  const { pool } = useDatabase('empty');

  test('creates every object in the first schema of the search_path, even with quotes in its name', async () => {
    await rolledBack(pool, async (client) => {
      await client.query('create schema "App ""Data"""');
      const empty = await catalog(client);
      await client.query('set local search_path = "App ""Data"""');
      await client.query(
        'create table organisations (id uuid primary key); create table contacts (id uuid primary key, organisation_id uuid not null)',
      );
      await applyUps(client);
      await client.query('set local search_path = pg_catalog');
      const elsewhere = (await catalog(client)).filter(
        (line) => !empty.includes(line) && !/App (\\?"){1,2}Data/.test(line),
      );
      expect(elsewhere).toEqual([]);
      const { rows } = await client.query('select "App ""Data""".crm_sync_log_ensure_partitions(5) as made');
      expect(rows).toHaveLength(2);
      await client.query('set local search_path = "App ""Data"""');
      for (const { down } of migrations.toReversed()) await client.query(down);
      await client.query('drop table contacts, organisations');
      await client.query('set local search_path = public');
      expect(await catalog(client)).toEqual(empty);
    });
  });
});
