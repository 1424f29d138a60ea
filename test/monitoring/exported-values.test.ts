import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { connectionPause, connectionSetStatus, rateLimitBlock } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, rolledBack, useDatabase } from '../support/database.js';
import { connectWithEvents, monthName } from '../support/log-partitions.js';
import { waiting } from '../support/waiting.js';
import { exportedQueries, queryOf } from './configuration.js';

describe('on an empty schema,', () => {
  const database = useDatabase();
  const { pool } = database;

  /** The rows of a query, as a member of crm_reader. */
  async function rowsOf(client: pg.ClientBase, name: string): Promise<Record<string, number | string>[]> {
    await client.query('savepoint query');
    await client.query('set local role crm_reader');
    const { rows } = await client.query(queryOf(name).query);
    await client.query('rollback to query');
    return rows;
  }

  async function connectedTo(client: pg.ClientBase, provider: 'reapit' | 'alto') {
    const { organisationId, contactIds } = await createTenant(client, 3);
    return { ...(await connect(client as pg.Client, organisationId, provider)), contactIds };
  }

  test.each(exportedQueries)('$name returns a row, or may return none', async ({ name, allow_zero_rows }) => {
    await rolledBack(pool, async (client) => {
      const rows = await rowsOf(client, name);
      if (rows.length === 0) expect(allow_zero_rows).toBe(true);
      else expect(allow_zero_rows).toBe(undefined);
    });
  });

  test('crm_connections shows a connection under its status, and no success as NaN', async () => {
    await rolledBack(pool, async (client) => {
      const key = await connectedTo(client, 'reapit');
      expect(await rowsOf(client, 'crm_connections')).toMatchObject([
        { provider: 'reapit', status: 'active', connections: 1, neverSynced: 1, oldestSuccessAt: Number.NaN },
      ]);
      await connectionSetStatus(client, { ...key, status: 'error', reason: 'Test.' });
      const [row] = await rowsOf(client, 'crm_connections');
      expect(row).toMatchObject({ provider: 'reapit', status: 'error', connections: 1 });
      const seconds = Date.now() / 1000;
      expect(Math.abs(Number(row?.nextSyncAt) - seconds)).toBeLessThan(600);
    });
  });

  test('crm_log counts the months ahead up to the first that is missing', async () => {
    await rolledBack(pool, async (client) => {
      const monthsAhead = async () => (await rowsOf(client, 'crm_log'))[0]?.monthsAhead;
      expect(await monthsAhead()).toBe(3);
      await client.query(`drop table ${monthName(2)}`);
      expect(await monthsAhead()).toBe(1);
      await client.query('savepoint whole');
      // As after an interrupted detach … concurrently.
      await client.query('update pg_inherits set inhdetachpending = true where inhrelid = $1::regclass', [
        monthName(1),
      ]);
      expect(await monthsAhead()).toBe(0);
      await client.query('rollback to whole');
      await client.query(`alter table crm_sync_log detach partition ${monthName(1)}`);
      expect(await monthsAhead()).toBe(0);
      await client.query(`drop table ${monthName(0)}`);
      expect(await monthsAhead()).toBe(-1);
    });
  });

  test('crm_log counts events in the catch-all partition, and no others', async () => {
    await rolledBack(pool, async (client) => {
      const events = async () => (await rowsOf(client, 'crm_log'))[0]?.catchAllEvents;
      await connectWithEvents(client as pg.Client, [-1, 0, 3]);
      expect(await events()).toBe(0);
      await connectWithEvents(client as pg.Client, [4, 5]);
      expect(await events()).toBe(2);
      await client.query('alter table crm_sync_log detach partition crm_sync_log_catch_all');
      expect(await events()).toBe(0);
    });
  });

  test('crm_log finds the catch-all partition whatever the DateStyle and time zone of its session', async () => {
    await rolledBack(pool, async (client) => {
      await connectWithEvents(client as pg.Client, [3, 4]);
      for (const [style, zone] of [
        ['SQL, DMY', 'Asia/Tokyo'],
        ['German', 'America/St_Johns'],
        ['Postgres, MDY', 'UTC'],
      ]) {
        await client.query(`set local datestyle = '${style}'`);
        await client.query(`set local timezone = '${zone}'`);
        expect((await rowsOf(client, 'crm_log'))[0]?.catchAllEvents, style).toBe(1);
      }
    });
  });

  test('crm_rate_limits counts the limits in use and those that are blocked', async () => {
    await rolledBack(pool, async (client) => {
      await rateLimitBlock(client, { provider: 'reapit', scope: 'one', counted: 'requests', seconds: 600 });
      await rateLimitBlock(client, { provider: 'reapit', scope: 'two', counted: 'requests', seconds: 60 });
      await client.query("update crm_rate_limits set blocked_until_at = null where scope = 'two'");
      const [row, ...others] = await rowsOf(client, 'crm_rate_limits');
      expect(others).toEqual([]);
      expect(row).toMatchObject({ provider: 'reapit', limits: 2, blocked: 1 });
      expect(Math.abs(Number(row?.blockedUntilAt) - Date.now() / 1000 - 600)).toBeLessThan(300);
    });
  });

  test('crm_changes leaves out disconnected connections, and shows the oldest edit', async () => {
    await rolledBack(pool, async (client) => {
      const { organisationId, connectionId, contactIds } = await connectedTo(client, 'alto');
      const add = (contactId: string | undefined, at: string) =>
        client.query(
          `insert into crm_outbound_changes (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at)
           values ($1, $2, $3, $4, now(), now())`,
          [organisationId, contactId, connectionId, at],
        );
      await add(contactIds[0], '2026-11-02T00:00:00Z');
      await add(contactIds[1], '2026-11-01T00:00:00Z');
      expect(await rowsOf(client, 'crm_changes')).toEqual([
        { provider: 'alto', changes: 2, oldestChangeAt: Date.parse('2026-11-01T00:00:00Z') / 1000 },
      ]);
      await client.query(
        "update crm_connections set status = 'disconnected', disconnected_at = now(), credentials = null",
      );
      expect(await rowsOf(client, 'crm_changes')).toEqual([]);
    });
  });

  test('crm_failures counts what is retried, given up on and undecided, and nothing that is dismissed', async () => {
    await rolledBack(pool, async (client) => {
      const { organisationId, connectionId } = await connectedTo(client, 'alto');
      const add = (record: string, state: 'retried' | 'gaveUp' | 'dismissed', kind: string, code?: string) =>
        client.query(
          `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error,
             first_failed_at, last_failed_at, next_attempt_at, gave_up_at, dismissed_at, dismissed_by, dismissal_reason)
           values ($1, $2, 'outbound', 'contact', $3, 1, $4, '2026-11-01', now(), $5, $6, $7, $8, $9)`,
          [
            organisationId,
            connectionId,
            record,
            { kind, retryable: false, message: 'Test.', ...(code && { code }) },
            state === 'retried' ? '2026-12-01' : null,
            state === 'gaveUp' ? '2026-11-02' : null,
            state === 'dismissed' ? '2026-11-02' : null,
            state === 'dismissed' ? 'test' : null,
            state === 'dismissed' ? 'Test.' : null,
          ],
        );
      const id = (last: number) => `00000000-0000-4000-8000-00000000000${last}`;
      await add(id(1), 'retried', 'validation');
      await add(id(2), 'gaveUp', 'validation');
      await add(id(3), 'dismissed', 'timeout');
      await add(id(4), 'gaveUp', 'conflict', 'edited_on_both_sides');
      const both = { provider: 'alto', direction: 'outbound' };
      expect(
        (await rowsOf(client, 'crm_failures')).toSorted((a, b) => (String(a.kind) < String(b.kind) ? -1 : 1)),
      ).toMatchObject([
        { ...both, kind: 'conflict', retried: 0, givenUp: 1, undecided: 1 },
        { ...both, kind: 'validation', retried: 1, givenUp: 1, undecided: 0 },
      ]);
    });
  });

  test('crm_conflicts counts those that nobody has acknowledged', async () => {
    await rolledBack(pool, async (client) => {
      const { organisationId, connectionId, contactIds } = await connectedTo(client, 'alto');
      for (const [record, acknowledged] of [
        ['OXF1', null],
        ['OXF2', '2026-11-03'],
      ]) {
        await client.query(
          `insert into crm_sync_conflicts (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at, acknowledged_at, acknowledged_by)
           values ($1, $2, 'contact', $3, $4, 'crm', '2026-11-02Z', '2026-11-02Z', $5, $6)`,
          [organisationId, connectionId, record, contactIds[0], acknowledged, acknowledged && 'test'],
        );
      }
      expect(await rowsOf(client, 'crm_conflicts')).toEqual([
        { provider: 'alto', kept: 'crm', conflicts: 1, oldestConflictAt: Date.parse('2026-11-02Z') / 1000 },
      ]);
    });
  });

  test('crm_fills shows first fills until they have finished', async () => {
    await rolledBack(pool, async (client) => {
      await connectedTo(client, 'alto');
      expect(await rowsOf(client, 'crm_fills')).toEqual([]);
      await client.query("update crm_connections set fill_started_at = '2026-11-02Z', filled_contacts = 7");
      expect(await rowsOf(client, 'crm_fills')).toEqual([
        { provider: 'alto', fills: 1, filledContacts: 7, oldestStartAt: Date.parse('2026-11-02Z') / 1000 },
      ]);
      await client.query('update crm_connections set fill_finished_at = now()');
      expect(await rowsOf(client, 'crm_fills')).toEqual([]);
    });
  });

  test('crm_credentials counts tokens that expired over a day ago, but not those of paused connections', async () => {
    await rolledBack(pool, async (client) => {
      const key = await connectedTo(client, 'reapit');
      const found = async () => (await rowsOf(client, 'crm_credentials'))[0];
      const expire = (ago: string) =>
        client.query('update crm_connections set credentials_expires_at = now() - $1::interval', [ago]);
      await expire('23 hours');
      expect(await found()).toMatchObject({
        expiredTokens: 0,
        unknownAccounts: 1,
        nextKeptEndsAt: Number.NaN,
      });
      await expire('25 hours');
      expect(await found()).toMatchObject({ expiredTokens: 1 });
      await connectionPause(client, { ...key, reason: 'Test.' });
      expect(await found()).toMatchObject({ expiredTokens: 0 });
    });
  });

  test('crm_credentials counts revocations that are overdue, and when kept edits end', async () => {
    await rolledBack(pool, async (client) => {
      await connectedTo(client, 'reapit');
      await connectedTo(client, 'reapit');
      const found = async () => (await rowsOf(client, 'crm_credentials'))[0];
      await client.query(
        `update crm_connections set status = 'disconnected', disconnected_at = now(), kept_changes = 'waiting', changes_expire_at = '2027-01-01Z',
           revocation = 'pending', revoke_before_at = now() + interval '1 hour'`,
      );
      expect(await found()).toEqual({
        provider: 'reapit',
        expiredTokens: 0,
        unknownAccounts: 0,
        overdueRevocations: 0,
        keptConnections: 2,
        nextKeptEndsAt: Date.parse('2027-01-01Z') / 1000,
      });
      await client.query("update crm_connections set revoke_before_at = now() - interval '1 minute'");
      expect(await found()).toMatchObject({ overdueRevocations: 2 });
      await client.query("update crm_connections set revocation = 'expired', credentials = null");
      expect(await found()).toMatchObject({ overdueRevocations: 2 });
      await client.query("update crm_connections set revocation = 'revoked', kept_changes = 'expired'");
      expect(await found()).toMatchObject({ overdueRevocations: 0, keptConnections: 0 });
    });
  });
});

describe('on a schema in use,', () => {
  const { pool } = useDatabase();

  test('insertedEvents grows with the events that are added', async () => {
    const inserted = async () => (await pool.query(queryOf('crm_log').query)).rows[0].insertedEvents;
    const before = await inserted();
    await connectWithEvents(pool, [-1, 0, 0, 1]);
    // A session reports its counts within a second.
    await expect.poll(inserted, waiting).toBe(before + 4);
  });
});
