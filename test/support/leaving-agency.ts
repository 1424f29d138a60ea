import type pg from 'pg';
import {
  type ConnectionKey,
  connectionDisconnect,
  contactExternalIdUnlink,
  syncLogRecord,
} from '../../src/index.js';
import { connect } from './connection.js';
import { eraseContacts } from './erasure.js';
import { tenantWithIds } from './identity.js';

/** The tables that hold rows of organisations, with their rows of one, as text. */
export async function rowsOf(client: pg.Pool, organisationId: string): Promise<Map<string, string[]>> {
  const { rows: tables } = await client.query<{ name: string }>(
    `select table_name as name
     from information_schema.columns
     join pg_class on relname = table_name and relnamespace = 'public'::regnamespace
     where table_schema = 'public' and column_name = 'organisation_id' and relkind = 'r' and table_name <> 'contacts'
     order by 1`,
  );
  const held = new Map<string, string[]>();
  for (const { name } of tables) {
    const { rows } = await client.query(
      `select row::text from only ${name} as row where organisation_id = $1 order by 1`,
      [organisationId],
    );
    if (rows.length > 0)
      held.set(
        name,
        rows.map(({ row }) => row),
      );
  }
  return held;
}

/** An agency with rows in every table, in several months of the log, one of which is detached; all its CRMs are disconnected. */
export async function leavingAgency(
  client: pg.Pool,
  events = 100,
): Promise<ConnectionKey & { contactIds: string[] }> {
  const tenant = await tenantWithIds(
    client,
    ['reapit contact 1', 'reapit landlord 2'],
    ['reapit contact 3'],
    ['reapit contact 4'],
  );
  const { organisationId, contactIds } = tenant;
  const key = await connect(client, organisationId);
  const ids = [organisationId, key.connectionId];
  await client.query('update crm_connections set account = $1::text where id = $2', ids);
  await syncLogRecord(client, {
    ...key,
    events: [
      {
        direction: 'inbound',
        entityType: 'contact',
        externalId: '4',
        internalId: contactIds[2],
        status: 'success',
      },
    ],
  });
  await eraseContacts(client, organisationId, [contactIds[2] as string]);
  await contactExternalIdUnlink(client, { organisationId, ...tenant.link(1, 'reapit contact 3') });
  await client.query(
    `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, status)
     select $1, $2, now() + number % 3 * interval '1 month', 'inbound', 'contact', number::text, 'success'
     from generate_series(1, $3::integer) as number`,
    [...ids, events],
  );
  await client.query(
    `insert into crm_sync_log_2020_01 (organisation_id, connection_id, occurred_at, direction, entity_type, status)
     select $1, $2, '2020-01-10', 'inbound', 'contact', 'success' from generate_series(1, 7) as number`,
    ids,
  );
  await client.query(
    `insert into crm_sync_failures
       (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, gave_up_at)
     values ($1, $2, 'outbound', 'contact', $3::uuid, 1, '{"kind": "network", "message": "No answer.", "retryable": true}', now(), now(), now())`,
    [...ids, contactIds[0]],
  );
  await client.query(
    "insert into crm_sync_conflicts (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at) values ($1, $2, 'contact', '1', $3, 'crm', now(), now())",
    [...ids, contactIds[0]],
  );
  await client.query(
    "insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at, ended_at, outcome) values ($1, $2, 'test', now(), now(), now() + interval '1 hour', now(), 'success')",
    ids,
  );
  await client.query(
    "insert into crm_sync_cursors (organisation_id, connection_id, direction, entity_type, moved_at) values ($1, $2, 'inbound', 'contact', now())",
    ids,
  );
  await client.query(
    "insert into crm_rate_limits (provider, scope, counted, used, taken_at, expires_at) values ('reapit', $1, 'requests', '{}', now(), now())",
    [organisationId],
  );
  await connectionDisconnect(client, key);
  await client.query(
    "insert into contact_external_id_archive (organisation_id, connection_id, entity_type, external_id, contact_id, is_primary, first_seen_at, last_seen_at, remote_state) values ($1, $2, 'contact', '1', $3, true, now(), now(), 'active')",
    [...ids, contactIds[0]],
  );
  await client.query(
    "insert into crm_record_requests (organisation_id, connection_id, entity_type, external_id, requested_at) values ($1, $2, 'contact', '9', now())",
    ids,
  );
  await client.query(
    'insert into crm_outbound_changes (organisation_id, connection_id, contact_id, first_changed_at, last_changed_at, next_attempt_at) values ($1, $2, $3, now(), now(), now())',
    [...ids, contactIds[0]],
  );
  return { ...key, contactIds };
}

/** Makes a month of the log that was detached. */
export async function createDetachedMonth(client: pg.Pool): Promise<void> {
  await client.query('create table crm_sync_log_2020_01 (like crm_sync_log including all)');
}
