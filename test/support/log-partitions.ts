import type pg from 'pg';
import { expect } from 'vitest';
import { withClient } from '../../dev/database.js';
import type { ConnectionKey, SyncEvent } from '../../src/index.js';
import { connect } from './connection.js';
import { createTenant } from './database.js';

/** The first moment of the month that is `ahead` months after this one, in UTC: `2026-11-01T00:00:00.000Z`. */
export function monthStart(ahead: number): string {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + ahead)).toISOString();
}

/** `crm_sync_log_2026_11` */
export function monthName(ahead: number): string {
  return `crm_sync_log_${monthStart(ahead).slice(0, 7).replace('-', '_')}`;
}

/** `crm_sync_log_before_2026_11` */
export function pastName(ahead: number): string {
  return monthName(ahead).replace('log_', 'log_before_');
}

/** Partitions the log as if it had begun this many months ago, and empties it. */
export async function beginLog(client: pg.ClientBase, monthsAgo: number): Promise<void> {
  const { rows } = await client.query(
    "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'crm_sync_log'::regclass",
  );
  await client.query(`drop table ${rows.map(({ name }) => name).join(', ')}`);
  const end = monthStart(1 - monthsAgo);
  for (const [name, range] of [
    [monthName(-monthsAgo), `from (minvalue) to ('${end}')`],
    ['crm_sync_log_catch_all', `from ('${end}') to (maxvalue)`],
  ] as const) {
    await client.query(`create table ${name} partition of crm_sync_log for values ${range}`);
    await client.query(`comment on table ${name} is 'Sync events of long ago (UTC).'`);
    await client.query('select crm_sync_log_finish_partition($1)', [name]);
  }
  // The second call drops what the first one emptied.
  await client.query('select crm_sync_log_ensure_partitions()');
  await client.query('select crm_sync_log_ensure_partitions()');
}

/** The partitions of the log in order of time. Fails if there is a gap between two. */
export async function partitionNames(client: pg.Pool | pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query<{ name: string; from: string; to: string }>(
    `select
       inhrelid::regclass::text as name,
       coalesce(substring(bound from 'FROM \\(''([^'']*)'), 'MINVALUE') as "from",
       coalesce(substring(bound from 'TO \\(''([^'']*)'), 'MAXVALUE') as "to"
     from pg_inherits
     join pg_class on pg_class.oid = inhrelid
     cross join pg_get_expr(relpartbound, inhrelid) as bound
     where inhparent = 'crm_sync_log'::regclass`,
  );
  // MAXVALUE sorts after years.
  rows.sort((one, other) => (one.to < other.to ? -1 : 1));
  const starts = ['MINVALUE', ...rows.map(({ to }) => to)];
  const gap = rows.find(({ from }, position) => from !== starts[position]);
  if (gap !== undefined) throw new Error(`There is a gap before ${gap.name}.`);
  return rows.map(({ name }) => name);
}

/** Tables that were partitions, or look like them. */
export async function detachedNames(client: pg.Pool | pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query(
    `select relname as name from pg_class
     where relname ~ '^crm_sync_log_' and relkind = 'r' and not relispartition order by 1`,
  );
  return rows.map(({ name }) => name);
}

/** A connection with an event in each of the months. */
export async function connectWithEvents(client: pg.Pool | pg.ClientBase, months: readonly number[]) {
  const { organisationId } = await createTenant(client);
  const key = await connect(client as pg.Pool, organisationId);
  const events = months.map((ahead) => ({
    occurredAt: monthStart(ahead),
    direction: 'inbound' as const,
    entityType: 'contact',
    externalId: `OXF${ahead}`,
    status: 'skipped' as const,
    reason: 'unchanged' as const,
  }));
  await insertEvents(client, { ...key, events });
  return key;
}

/** Adds events to the log, also those that are so far ahead that `syncLogRecord` refuses them. */
export async function insertEvents(
  client: pg.Pool | pg.ClientBase,
  { organisationId, connectionId, events }: ConnectionKey & { events: readonly SyncEvent[] },
): Promise<void> {
  for (const { occurredAt, direction, entityType, externalId, internalId, status, error, reason } of events) {
    await client.query(
      `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status, error, reason)
       values ($1, $2, coalesce($3::timestamptz, now()), $4, $5, $6, $7, $8, $9, $10)`,
      [
        organisationId,
        connectionId,
        occurredAt,
        direction,
        entityType,
        externalId,
        internalId,
        status,
        error,
        reason,
      ],
    );
  }
}

/** The external ids of a connection's events, oldest first. */
export async function eventsOf(client: pg.Pool | pg.ClientBase, connectionId: string): Promise<string[]> {
  const { rows } = await client.query(
    'select external_id as id from crm_sync_log where connection_id = $1 order by occurred_at, id',
    [connectionId],
  );
  return rows.map(({ id }) => id);
}

/** Leaves the detach of a month unfinished, as an interrupted command does: another transaction uses the log meanwhile. */
export async function interruptDetach(url: string, month: string): Promise<void> {
  await withClient(url, async (user) => {
    await user.query('begin; select from crm_sync_log limit 1');
    await withClient(url, async (client) => {
      await client.query("set lock_timeout = '50ms'");
      await expect(
        client.query(`alter table crm_sync_log detach partition ${month} concurrently`),
      ).rejects.toMatchObject({ code: '55P03' });
    });
    await user.query('rollback');
  });
}
