/** Types generated for queries found in "queries/crm_sync_cursors.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp } from '../types.js';

/** The parameters of {@link syncCursorList}. */
export interface SyncCursorListParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link syncCursorList}. */
export interface SyncCursorListResult {
  /** inbound: from the CRM to NurtureHub. outbound: the other way. */
  direction: string;
  /** What kind of record the stream holds, in the provider's terms. */
  entityType: string;
  /** What the CRM resumes from: timestamp (synced_to_at), token or page. Null after a reset: the stream starts from the beginning. */
  kind: string | null;
  /** When the cursor last moved or was reset. */
  movedAt: Timestamp;
  /** The page or offset to resume from. Starts again when synced_to_at moves on. Set if and only if kind is page. */
  page: number | null;
  /** Everything the CRM changed in this stream up to this time, by the CRM's clock, has arrived. Null if the time is unknown. */
  syncedTo: Timestamp | null;
  /** The CRM's token to resume from: opaque, 1 to 4,096 bytes. Set if and only if kind is token. */
  token: string | null;
  /** Incremented with each move, so that a writer can tell whether the cursor is still where it read it. */
  version: number;
}

/**
 * Lists the cursors of a connection's streams: one row per stream. Uses the primary key.
 *
 * @remarks
 * ```sql
 * select
 *   direction,
 *   entity_type as "entityType",
 *   kind,
 *   synced_to_at as "syncedTo",
 *   token,
 *   page,
 *   version,
 *   moved_at as "movedAt"
 * from crm_sync_cursors
 * where organisation_id = :organisationId!::uuid
 *   and connection_id = :connectionId!::uuid
 * order by
 *   direction,
 *   entity_type
 * ```
 */
export const syncCursorList = new PreparedQuery<SyncCursorListParams,SyncCursorListResult>({
  name: 'syncCursorList',
  statementName: 'syncCursorList_a56a1af7',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `select /* syncCursorList */
  direction,
  entity_type as "entityType",
  kind,
  synced_to_at as "syncedTo",
  token,
  page,
  version,
  moved_at as "movedAt"
from crm_sync_cursors
where organisation_id = $1::uuid
  and connection_id = $2::uuid
order by
  direction,
  entity_type`,
});


/** The parameters of {@link syncCursorReset}. */
export interface SyncCursorResetParams {
  connectionId: string;
  direction: string;
  entityType: string;
  organisationId: string;
}

/** A row of {@link syncCursorReset}. */
export interface SyncCursorResetResult {
  /** Incremented with each move, so that a writer can tell whether the cursor is still where it read it. */
  version: number;
}

/**
 * Resets the cursor of one stream of a live connection; for an inbound stream, also clears the
 * connection's own cursor. Returns one row, or none if there is no such stream. Uses primary keys. Locks
 * the connection for the transaction, then the cursor.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *   for no key update
 * ),
 * reset as (
 *   update crm_sync_cursors as cursor
 *   set
 *     kind = null,
 *     synced_to_at = null,
 *     token = null,
 *     page = null,
 *     version = cursor.version + 1,
 *     moved_at = crm_now()
 *   from connection
 *   where cursor.organisation_id = connection.organisation_id
 *     and cursor.connection_id = connection.id
 *     and cursor.direction = :direction!::text
 *     and cursor.entity_type = :entityType!::text
 *   returning
 *     cursor.direction,
 *     cursor.version
 * ),
 * forgotten as (
 *   update crm_connections
 *   set last_synced_at = null
 *   from connection
 *   cross join reset
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and reset.direction = 'inbound'
 * )
 * select version
 * from reset
 * ```
 */
export const syncCursorReset = new PreparedQuery<SyncCursorResetParams,SyncCursorResetResult>({
  name: 'syncCursorReset',
  statementName: 'syncCursorReset_30f8803d',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'direction', required: true },
    { name: 'entityType', required: true },
  ],
  text: `with /* syncCursorReset */ connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status <> 'disconnected'
  for no key update
),
reset as (
  update crm_sync_cursors as cursor
  set
    kind = null,
    synced_to_at = null,
    token = null,
    page = null,
    version = cursor.version + 1,
    moved_at = crm_now()
  from connection
  where cursor.organisation_id = connection.organisation_id
    and cursor.connection_id = connection.id
    and cursor.direction = $3::text
    and cursor.entity_type = $4::text
  returning
    cursor.direction,
    cursor.version
),
forgotten as (
  update crm_connections
  set last_synced_at = null
  from connection
  cross join reset
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and reset.direction = 'inbound'
)
select version
from reset`,
});


/** The parameters of {@link syncCursorForget}. */
export interface SyncCursorForgetParams {
  connectionId: string;
  direction: string;
  entityType: string;
  organisationId: string;
}

/** A row of {@link syncCursorForget}. */
export interface SyncCursorForgetResult {
  /** Incremented with each move, so that a writer can tell whether the cursor is still where it read it. */
  version: number;
}

/**
 * Removes the cursor of a stream that is no longer synced, so that it no longer holds back the
 * connection's own cursor. Returns one row, or none if there is no such stream. Uses the primary key.
 * Locks the connection for the transaction, then the cursor.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *   for no key update
 * )
 * delete from crm_sync_cursors as cursor
 * using connection
 * where cursor.organisation_id = connection.organisation_id
 *   and cursor.connection_id = connection.id
 *   and cursor.direction = :direction!::text
 *   and cursor.entity_type = :entityType!::text
 * returning cursor.version
 * ```
 */
export const syncCursorForget = new PreparedQuery<SyncCursorForgetParams,SyncCursorForgetResult>({
  name: 'syncCursorForget',
  statementName: 'syncCursorForget_ffaed678',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'direction', required: true },
    { name: 'entityType', required: true },
  ],
  text: `with /* syncCursorForget */ connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
  for no key update
)
delete from crm_sync_cursors as cursor
using connection
where cursor.organisation_id = connection.organisation_id
  and cursor.connection_id = connection.id
  and cursor.direction = $3::text
  and cursor.entity_type = $4::text
returning cursor.version`,
});


