import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { syncSkipReasons, syncStatuses } from '../../src/index.js';
import { useConnectedTenant } from '../support/connected-tenant.js';
import { insert, rolledBack, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { downsTo } from '../support/migrations.js';
import { expectCheck, expectRefused } from '../support/refusals.js';

const { pool, url } = useDatabase();
const tenant = useConnectedTenant(pool);

const error = { kind: 'timeout', retryable: true, message: 'No answer.' };

/** Adds a skipped event, changed by `overrides`. */
function add(overrides: Record<string, unknown>, client: pg.Pool | pg.ClientBase = pool) {
  return insert(client, 'crm_sync_log', {
    organisation_id: tenant.organisationId,
    connection_id: tenant.connectionId,
    direction: 'inbound',
    entity_type: 'contact',
    status: 'skipped',
    ...overrides,
  });
}

describe('the reason of an event', () => {
  test.each([...syncSkipReasons, null])('can be %s if it was skipped', async (reason) => {
    expect(await add({ reason })).toMatchObject({ reason });
  });

  test.each(['', 'Echo', 'stale'])('cannot be "%s"', async (reason) => {
    await expectCheck(add({ reason }), 'crm_sync_log_reason_check');
  });

  test.each(syncStatuses.filter((status) => status !== 'skipped'))(
    'is refused with status %s',
    async (status) => {
      await expectCheck(
        add({ status, reason: 'echo', error: status === 'error' ? error : null }),
        'crm_sync_log_reason_has_status_skipped_check',
      );
    },
  );

  test('moves out of the catch-all partition with its event', async () => {
    await rolledBack(pool, async (client) => {
      const { rows } = await client.query(
        "select date_trunc('month', now()) + interval '5 months 1 day' as soon",
      );
      const event = await add({ reason: 'echo', occurred_at: rows[0].soon }, client);
      await client.query('select crm_sync_log_ensure_partitions(6)');
      const { rows: moved } = await client.query(
        'select tableoid::regclass::text as partition, reason from crm_sync_log where id = $1',
        [event.id],
      );
      expect(moved).toEqual([{ partition: expect.stringMatching(/_\d{4}_\d\d$/), reason: 'echo' }]);
    });
  });

  test('is checked in partitions that are created later', async () => {
    await rolledBack(pool, async (client) => {
      await client.query('select crm_sync_log_ensure_partitions(6)');
      const { rows } = await client.query(
        `select inhrelid::regclass::text as partition
         from pg_inherits
         where inhparent = 'crm_sync_log'::regclass
           and 2 <> (
             select count(*) from pg_constraint
             where conrelid = inhrelid and convalidated and conname like 'crm_sync_log_reason_%check'
           )`,
      );
      expect(rows).toEqual([]);
    });
  });
});

describe('the down of add_conflicts', () => {
  const { down, laterDowns } = downsTo('add_conflicts');

  test('refuses while an event has the reason conflict', async () => {
    await rolledBack(pool, async (client) => {
      await add({ reason: 'conflict' }, client);
      for (const later of laterDowns) await client.query(later);
      await expectRefused(client.query(down), {
        code: 'CRM03',
        message: 'crm_sync_log has events with reason conflict, and going down would lose them',
      });
    });
  });

  test('records what 1.4.0 would have if crm_schema.allow_data_loss is on, and the log stays append-only', async () => {
    await rolledBack(pool, async (client) => {
      const event = await add({ reason: 'conflict' }, client);
      await client.query("set local crm_schema.allow_data_loss = 'on'");
      for (const later of laterDowns) await client.query(later);
      await client.query(down);
      const { rows } = await client.query('select reason from crm_sync_log where id = $1', [event.id]);
      expect(rows).toEqual([{ reason: 'pending_push' }]);
      await expectRefused(client.query("update crm_sync_log set reason = 'echo'"), { code: 'CRM02' });
    });
  });
});

describe('the down of add_sync_log_reason', () => {
  const { down, laterDowns } = downsTo('add_sync_log_reason');

  test('refuses while an event has a reason', async () => {
    await rolledBack(pool, async (client) => {
      await add({ reason: 'older' }, client);
      await client.query("set local crm_schema.allow_data_loss = 'on'");
      for (const later of laterDowns) await client.query(later);
      await client.query("set local crm_schema.allow_data_loss = 'off'");
      await expectRefused(client.query(down), {
        code: 'CRM03',
        message: 'crm_sync_log has reasons, and going down would lose them',
      });
    });
  });

  test('keeps the event and drops its reason if crm_schema.allow_data_loss is on', async () => {
    await rolledBack(pool, async (client) => {
      const event = await add({ reason: 'older' }, client);
      await client.query("set local crm_schema.allow_data_loss = 'on'");
      for (const later of laterDowns) await client.query(later);
      await client.query(down);
      const { rows } = await client.query('select log.* from crm_sync_log as log where id = $1', [event.id]);
      expect(rows).toMatchObject([{ status: 'skipped' }]);
      expect(rows[0]).not.toHaveProperty('reason');
    });
  });

  test('refuses because of a reason that is committed while it waits for the lock', async () => {
    await withClient(url, async (writer) => {
      await writer.query('begin');
      await add({ reason: 'echo' }, writer);
      await withClient(url, async (deployer) => {
        await deployer.query('begin');
        const attempt = expectRefused(deployer.query(down), { code: 'CRM03' });
        // Awaited below; until then Node must not see an unhandled rejection.
        attempt.catch(() => {});
        await waitUntilBlocked(url, deployer);
        await writer.query('commit');
        await attempt;
      });
    });
  });
});
