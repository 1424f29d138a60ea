/** Types generated for queries found in "queries/crm_connections.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** What {@link connectionAdvanceLastSyncedAt} takes. */
export interface ConnectionAdvanceLastSyncedAtParams {
  connectionId: string;
  lastSyncedAt: TimestampInput;
  organisationId: string;
}

/** A row of {@link connectionAdvanceLastSyncedAt}. */
export interface ConnectionAdvanceLastSyncedAtResult {
  lastSyncedAt: Timestamp | null;
  outcome: string;
}

const connectionAdvanceLastSyncedAtIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"lastSyncedAt":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":452,"b":467}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":488,"b":501}]},{"name":"lastSyncedAt","required":true,"transform":{"type":"scalar"},"locs":[{"a":594,"b":607},{"a":870,"b":883},{"a":1059,"b":1072}]}],"statement":"-- Moves the cursor of a live connection forwards, never backwards. One row, or none if the\n-- organisation has no such connection: `outcome` says what happened (`advanced`, `moved_backwards`\n-- or `disconnected`), `lastSyncedAt` where the cursor stands now. Locks the row for the transaction;\n-- by primary key.\nwith connection as (\n  select\n    organisation_id,\n    id,\n    status,\n    last_synced_at\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n  for no key update\n),\nadvanced as (\n  update crm_connections\n  set last_synced_at = :lastSyncedAt!::timestamptz\n  from connection\n  where crm_connections.organisation_id = connection.organisation_id\n    and crm_connections.id = connection.id\n    and connection.status <> 'disconnected'\n    and (connection.last_synced_at is null or connection.last_synced_at < :lastSyncedAt!::timestamptz)\n  returning crm_connections.last_synced_at\n)\nselect\n  case\n    when connection.status = 'disconnected' then 'disconnected'\n    when connection.last_synced_at > :lastSyncedAt!::timestamptz then 'moved_backwards'\n    else 'advanced'\n  end as \"outcome!\",\n  coalesce((select last_synced_at from advanced), connection.last_synced_at) as \"lastSyncedAt\"\nfrom connection"};

/**
 * Moves the cursor of a live connection forwards, never backwards. One row, or none if the
 * organisation has no such connection: `outcome` says what happened (`advanced`, `moved_backwards`
 * or `disconnected`), `lastSyncedAt` where the cursor stands now. Locks the row for the transaction;
 * by primary key.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     status,
 *     last_synced_at
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *   for no key update
 * ),
 * advanced as (
 *   update crm_connections
 *   set last_synced_at = :lastSyncedAt!::timestamptz
 *   from connection
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.status <> 'disconnected'
 *     and (connection.last_synced_at is null or connection.last_synced_at < :lastSyncedAt!::timestamptz)
 *   returning crm_connections.last_synced_at
 * )
 * select
 *   case
 *     when connection.status = 'disconnected' then 'disconnected'
 *     when connection.last_synced_at > :lastSyncedAt!::timestamptz then 'moved_backwards'
 *     else 'advanced'
 *   end as "outcome!",
 *   coalesce((select last_synced_at from advanced), connection.last_synced_at) as "lastSyncedAt"
 * from connection
 * ```
 */
export const connectionAdvanceLastSyncedAt = new PreparedQuery<ConnectionAdvanceLastSyncedAtParams,ConnectionAdvanceLastSyncedAtResult>('connectionAdvanceLastSyncedAt', connectionAdvanceLastSyncedAtIR);


/** What {@link connectionConnect} takes. */
export interface ConnectionConnectParams {
  connectionId: string;
  credentials: Json;
  credentialsExpiresAt?: TimestampInput | null | void;
  organisationId: string;
  provider: string;
}

/** A row of {@link connectionConnect}. */
export interface ConnectionConnectResult {
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
}

const connectionConnectIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"provider":true,"credentials":true,"credentialsExpiresAt":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":273,"b":288}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":299,"b":312}]},{"name":"provider","required":true,"transform":{"type":"scalar"},"locs":[{"a":323,"b":332}]},{"name":"credentials","required":true,"transform":{"type":"scalar"},"locs":[{"a":343,"b":355}]},{"name":"credentialsExpiresAt","required":false,"transform":{"type":"scalar"},"locs":[{"a":367,"b":387}]}],"statement":"-- Connects a CRM: one new, active connection. Violates\n-- crm_connections_organisation_id_provider_live_key if the organisation has a live one already.\ninsert into crm_connections (\n  organisation_id,\n  id,\n  provider,\n  credentials,\n  credentials_expires_at\n)\nvalues (\n  :organisationId!::uuid,\n  :connectionId!::uuid,\n  :provider!::text,\n  :credentials!::jsonb,\n  :credentialsExpiresAt::timestamptz\n)\nreturning connected_at as \"connectedAt\""};

/**
 * Connects a CRM: one new, active connection. Violates
 * crm_connections_organisation_id_provider_live_key if the organisation has a live one already.
 *
 * @remarks
 * ```sql
 * insert into crm_connections (
 *   organisation_id,
 *   id,
 *   provider,
 *   credentials,
 *   credentials_expires_at
 * )
 * values (
 *   :organisationId!::uuid,
 *   :connectionId!::uuid,
 *   :provider!::text,
 *   :credentials!::jsonb,
 *   :credentialsExpiresAt::timestamptz
 * )
 * returning connected_at as "connectedAt"
 * ```
 */
export const connectionConnect = new PreparedQuery<ConnectionConnectParams,ConnectionConnectResult>('connectionConnect', connectionConnectIR);


/** What {@link connectionDisconnect} takes. */
export interface ConnectionDisconnectParams {
  connectionId: string;
  organisationId: string;
  reason?: string | null | void;
}

/** A row of {@link connectionDisconnect}. */
export interface ConnectionDisconnectResult {
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp;
}

const connectionDisconnectIR = {"usedParamSet":{"reason":true,"organisationId":true,"connectionId":true},"params":[{"name":"reason","required":false,"transform":{"type":"scalar"},"locs":[{"a":477,"b":483}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":733,"b":748}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":769,"b":782}]}],"statement":"-- Ends a live connection, closes its open run and wipes its credentials; the row stays as history, with\n-- the given reason or else the one it had. One row, or none if the organisation has no such live\n-- connection. By primary keys; locks the connection for the transaction, then the run. (A run that is\n-- opened at the same moment stays, holds nothing, and is swept.)\nwith ended as (\n  update crm_connections\n  set\n    status = 'disconnected',\n    status_reason = coalesce(:reason::text, status_reason),\n    status_changed_at = now(),\n    disconnected_at = now(),\n    credentials = null,\n    credentials_version = credentials_version + 1,\n    credentials_expires_at = null,\n    sync_requested_at = null\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n    and status <> 'disconnected'\n  returning\n    organisation_id,\n    id,\n    disconnected_at\n),\ncancelled as (\n  update crm_sync_runs as run\n  set\n    ended_at = crm_now(),\n    outcome = 'cancelled'\n  from ended\n  where run.organisation_id = ended.organisation_id\n    and run.connection_id = ended.id\n    and run.ended_at is null\n)\nselect disconnected_at as \"disconnectedAt!\"\nfrom ended"};

/**
 * Ends a live connection, closes its open run and wipes its credentials; the row stays as history, with
 * the given reason or else the one it had. One row, or none if the organisation has no such live
 * connection. By primary keys; locks the connection for the transaction, then the run. (A run that is
 * opened at the same moment stays, holds nothing, and is swept.)
 *
 * @remarks
 * ```sql
 * with ended as (
 *   update crm_connections
 *   set
 *     status = 'disconnected',
 *     status_reason = coalesce(:reason::text, status_reason),
 *     status_changed_at = now(),
 *     disconnected_at = now(),
 *     credentials = null,
 *     credentials_version = credentials_version + 1,
 *     credentials_expires_at = null,
 *     sync_requested_at = null
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *   returning
 *     organisation_id,
 *     id,
 *     disconnected_at
 * ),
 * cancelled as (
 *   update crm_sync_runs as run
 *   set
 *     ended_at = crm_now(),
 *     outcome = 'cancelled'
 *   from ended
 *   where run.organisation_id = ended.organisation_id
 *     and run.connection_id = ended.id
 *     and run.ended_at is null
 * )
 * select disconnected_at as "disconnectedAt!"
 * from ended
 * ```
 */
export const connectionDisconnect = new PreparedQuery<ConnectionDisconnectParams,ConnectionDisconnectResult>('connectionDisconnect', connectionDisconnectIR);


/** What {@link connectionDropWork} takes. */
export interface ConnectionDropWorkParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionDropWork}. */
export interface ConnectionDropWorkResult {
  changes: number;
  failures: number;
}

const connectionDropWorkIR = {"usedParamSet":{"organisationId":true,"connectionId":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":535,"b":550}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":571,"b":584}]}],"statement":"-- Drops what a disconnected connection still had to try again and to push. One row: how much. A statement\n-- of its own after connectionDisconnect, because that one does not see what was committed while it waited.\n-- By crm_sync_failures_kind_idx and crm_outbound_changes_next_attempt_at_idx; locks the rows, the changes\n-- in the order in which the host writes them («is true» keeps the planner from reading all of them for each).\nwith ended as (\n  select\n    organisation_id,\n    id\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n    and status = 'disconnected'\n),\nfailed as (\n  delete from crm_sync_failures as failure\n  using ended\n  where failure.organisation_id = ended.organisation_id\n    and failure.connection_id = ended.id\n  returning failure.id\n),\nwaiting as (\n  select change.contact_id\n  from ended\n  inner join crm_outbound_changes as change\n    on change.organisation_id = ended.organisation_id\n    and change.connection_id = ended.id\n  order by change.contact_id\n  for update of change\n),\ndropped as (\n  delete from crm_outbound_changes as change\n  using ended\n  where change.organisation_id = ended.organisation_id\n    and (change.connection_id = ended.id) is true\n    and change.contact_id in (select contact_id from waiting)\n  returning change.contact_id\n)\nselect\n  (select count(*)::integer from failed) as \"failures!\",\n  (select count(*)::integer from dropped) as \"changes!\"\nfrom ended"};

/**
 * Drops what a disconnected connection still had to try again and to push. One row: how much. A statement
 * of its own after connectionDisconnect, because that one does not see what was committed while it waited.
 * By crm_sync_failures_kind_idx and crm_outbound_changes_next_attempt_at_idx; locks the rows, the changes
 * in the order in which the host writes them («is true» keeps the planner from reading all of them for each).
 *
 * @remarks
 * ```sql
 * with ended as (
 *   select
 *     organisation_id,
 *     id
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status = 'disconnected'
 * ),
 * failed as (
 *   delete from crm_sync_failures as failure
 *   using ended
 *   where failure.organisation_id = ended.organisation_id
 *     and failure.connection_id = ended.id
 *   returning failure.id
 * ),
 * waiting as (
 *   select change.contact_id
 *   from ended
 *   inner join crm_outbound_changes as change
 *     on change.organisation_id = ended.organisation_id
 *     and change.connection_id = ended.id
 *   order by change.contact_id
 *   for update of change
 * ),
 * dropped as (
 *   delete from crm_outbound_changes as change
 *   using ended
 *   where change.organisation_id = ended.organisation_id
 *     and (change.connection_id = ended.id) is true
 *     and change.contact_id in (select contact_id from waiting)
 *   returning change.contact_id
 * )
 * select
 *   (select count(*)::integer from failed) as "failures!",
 *   (select count(*)::integer from dropped) as "changes!"
 * from ended
 * ```
 */
export const connectionDropWork = new PreparedQuery<ConnectionDropWorkParams,ConnectionDropWorkResult>('connectionDropWork', connectionDropWorkIR);


/** What {@link connectionGet} takes. */
export interface ConnectionGetParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionGet}. */
export interface ConnectionGetResult {
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  /** The connection. The application makes it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** When the access token inside the credentials expires, readable without decrypting. Null if it does not, or if that is not known. */
  credentialsExpiresAt: Timestamp | null;
  /** Counts the changes of credentials, so that a writer can tell whether they are still those it read. */
  credentialsVersion: number;
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp | null;
  /** The cursor of incremental sync: everything the CRM changed up to here has arrived, by the CRM's clock. Null before the first complete sync, or to ask for a full one. Never moves backwards otherwise. */
  lastSyncedAt: Timestamp | null;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** active: syncing may go on. error: it needs attention, status_reason says which. disconnected: history. */
  status: string;
  /** When status last became what it is. */
  statusChangedAt: Timestamp;
  /** Why the connection is in its status, in words an agent can act on; required for error, absent for active. Never a secret or personal data. */
  statusReason: string | null;
  /** How long after a successful sync the next one is due: one minute to a week. */
  syncIntervalSeconds: number;
}

const connectionGetIR = {"usedParamSet":{"organisationId":true,"connectionId":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":544,"b":559}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":578,"b":591}]}],"statement":"-- One connection, live or disconnected. At most one row, by primary key.\nselect\n  organisation_id as \"organisationId\",\n  id as \"connectionId\",\n  provider,\n  status,\n  status_reason as \"statusReason\",\n  status_changed_at as \"statusChangedAt\",\n  credentials_version as \"credentialsVersion\",\n  credentials_expires_at as \"credentialsExpiresAt\",\n  last_synced_at as \"lastSyncedAt\",\n  sync_interval_seconds as \"syncIntervalSeconds\",\n  connected_at as \"connectedAt\",\n  disconnected_at as \"disconnectedAt\"\nfrom crm_connections\nwhere organisation_id = :organisationId!::uuid\n  and id = :connectionId!::uuid"};

/**
 * One connection, live or disconnected. At most one row, by primary key.
 *
 * @remarks
 * ```sql
 * select
 *   organisation_id as "organisationId",
 *   id as "connectionId",
 *   provider,
 *   status,
 *   status_reason as "statusReason",
 *   status_changed_at as "statusChangedAt",
 *   credentials_version as "credentialsVersion",
 *   credentials_expires_at as "credentialsExpiresAt",
 *   last_synced_at as "lastSyncedAt",
 *   sync_interval_seconds as "syncIntervalSeconds",
 *   connected_at as "connectedAt",
 *   disconnected_at as "disconnectedAt"
 * from crm_connections
 * where organisation_id = :organisationId!::uuid
 *   and id = :connectionId!::uuid
 * ```
 */
export const connectionGet = new PreparedQuery<ConnectionGetParams,ConnectionGetResult>('connectionGet', connectionGetIR);


/** What {@link connectionGetCredentials} takes. */
export interface ConnectionGetCredentialsParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionGetCredentials}. */
export interface ConnectionGetCredentialsResult {
  /** Secret. The CRM's credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null exactly when disconnected. */
  credentials: Json;
  /** When the access token inside the credentials expires, readable without decrypting. Null if it does not, or if that is not known. */
  credentialsExpiresAt: Timestamp | null;
  /** The id of the key that wraps the credentials (the JWE's header.kid): the work list of a key rotation. */
  credentialsKeyId: string;
  /** Counts the changes of credentials, so that a writer can tell whether they are still those it read. */
  credentialsVersion: number;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
}

const connectionGetCredentialsIR = {"usedParamSet":{"organisationId":true,"connectionId":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":354,"b":369}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":388,"b":401}]}],"statement":"-- The encrypted credentials of a live connection, for the sync worker alone. At most one row, by\n-- primary key.\nselect\n  provider,\n  credentials as \"credentials!\",\n  credentials_key_id as \"credentialsKeyId!\",\n  credentials_version as \"credentialsVersion\",\n  credentials_expires_at as \"credentialsExpiresAt\"\nfrom crm_connections\nwhere organisation_id = :organisationId!::uuid\n  and id = :connectionId!::uuid\n  and status <> 'disconnected'"};

/**
 * The encrypted credentials of a live connection, for the sync worker alone. At most one row, by
 * primary key.
 *
 * @remarks
 * ```sql
 * select
 *   provider,
 *   credentials as "credentials!",
 *   credentials_key_id as "credentialsKeyId!",
 *   credentials_version as "credentialsVersion",
 *   credentials_expires_at as "credentialsExpiresAt"
 * from crm_connections
 * where organisation_id = :organisationId!::uuid
 *   and id = :connectionId!::uuid
 *   and status <> 'disconnected'
 * ```
 */
export const connectionGetCredentials = new PreparedQuery<ConnectionGetCredentialsParams,ConnectionGetCredentialsResult>('connectionGetCredentials', connectionGetCredentialsIR);


/** What {@link connectionGetLive} takes. */
export interface ConnectionGetLiveParams {
  organisationId: string;
  provider: string;
}

/** A row of {@link connectionGetLive}. */
export interface ConnectionGetLiveResult {
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  /** The connection. The application makes it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** When the access token inside the credentials expires, readable without decrypting. Null if it does not, or if that is not known. */
  credentialsExpiresAt: Timestamp | null;
  /** Counts the changes of credentials, so that a writer can tell whether they are still those it read. */
  credentialsVersion: number;
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp | null;
  /** The cursor of incremental sync: everything the CRM changed up to here has arrived, by the CRM's clock. Null before the first complete sync, or to ask for a full one. Never moves backwards otherwise. */
  lastSyncedAt: Timestamp | null;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** active: syncing may go on. error: it needs attention, status_reason says which. disconnected: history. */
  status: string;
  /** When status last became what it is. */
  statusChangedAt: Timestamp;
  /** Why the connection is in its status, in words an agent can act on; required for error, absent for active. Never a secret or personal data. */
  statusReason: string | null;
  /** How long after a successful sync the next one is due: one minute to a week. */
  syncIntervalSeconds: number;
}

const connectionGetLiveIR = {"usedParamSet":{"organisationId":true,"provider":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":598,"b":613}]},{"name":"provider","required":true,"transform":{"type":"scalar"},"locs":[{"a":638,"b":647}]}],"statement":"-- The live connection of an organisation to one CRM. At most one row, by\n-- crm_connections_organisation_id_provider_live_key.\nselect\n  organisation_id as \"organisationId\",\n  id as \"connectionId\",\n  provider,\n  status,\n  status_reason as \"statusReason\",\n  status_changed_at as \"statusChangedAt\",\n  credentials_version as \"credentialsVersion\",\n  credentials_expires_at as \"credentialsExpiresAt\",\n  last_synced_at as \"lastSyncedAt\",\n  sync_interval_seconds as \"syncIntervalSeconds\",\n  connected_at as \"connectedAt\",\n  disconnected_at as \"disconnectedAt\"\nfrom crm_connections\nwhere organisation_id = :organisationId!::uuid\n  and provider = :provider!::text\n  and status <> 'disconnected'"};

/**
 * The live connection of an organisation to one CRM. At most one row, by
 * crm_connections_organisation_id_provider_live_key.
 *
 * @remarks
 * ```sql
 * select
 *   organisation_id as "organisationId",
 *   id as "connectionId",
 *   provider,
 *   status,
 *   status_reason as "statusReason",
 *   status_changed_at as "statusChangedAt",
 *   credentials_version as "credentialsVersion",
 *   credentials_expires_at as "credentialsExpiresAt",
 *   last_synced_at as "lastSyncedAt",
 *   sync_interval_seconds as "syncIntervalSeconds",
 *   connected_at as "connectedAt",
 *   disconnected_at as "disconnectedAt"
 * from crm_connections
 * where organisation_id = :organisationId!::uuid
 *   and provider = :provider!::text
 *   and status <> 'disconnected'
 * ```
 */
export const connectionGetLive = new PreparedQuery<ConnectionGetLiveParams,ConnectionGetLiveResult>('connectionGetLive', connectionGetLiveIR);


/** What {@link connectionListWithHealth} takes. */
export interface ConnectionListWithHealthParams {
  failuresSince: TimestampInput;
  organisationId: string;
}

/** A row of {@link connectionListWithHealth}. */
export interface ConnectionListWithHealthResult {
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  /** The connection. The application makes it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** When the access token inside the credentials expires, readable without decrypting. Null if it does not, or if that is not known. */
  credentialsExpiresAt: Timestamp | null;
  /** Counts the changes of credentials, so that a writer can tell whether they are still those it read. */
  credentialsVersion: number;
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp | null;
  /** How many syncs have failed in a row, abandoned ones among them. */
  failedSyncs: number;
  /** When the first of the failed syncs since the last success failed. Null if the last sync succeeded. */
  failingSince: Timestamp | null;
  failureCount: number;
  givenUpRecords: number;
  lagSeconds: number | null;
  /** Why it failed: kind, retryable, message and optionally the provider's own code. Never a payload, a secret or personal data. Set exactly when status is error. */
  lastError: Json | null;
  /** When the operation ended, by the database's clock or the sync worker's. */
  lastEventAt: Timestamp | null;
  /** success: both sides agree. skipped: nothing had to change. error: it failed, error says why. */
  lastEventStatus: string | null;
  /** When the operation ended, by the database's clock or the sync worker's. */
  lastFailureAt: Timestamp | null;
  /** When a sync last came to its end with success. Null before the first. */
  lastSuccessAt: Timestamp | null;
  /** The cursor of incremental sync: everything the CRM changed up to here has arrived, by the CRM's clock. Null before the first complete sync, or to ask for a full one. Never moves backwards otherwise. */
  lastSyncedAt: Timestamp | null;
  /** Why it failed, as in crm_sync_log. Set exactly when outcome is failed. */
  lastSyncError: Json | null;
  /** success: it came to its end. failed: it could not, error says why. abandoned: the worker gave no sign of life. cancelled: the connection was disconnected, or the worker gave up its turn. Null while it is open. */
  lastSyncOutcome: string | null;
  /** When the connection is due: the oldest due is claimed first. Not before the end of a run that is open. Of no meaning once disconnected. */
  nextSyncAt: Timestamp;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  retriedRecords: number;
  /** When the connection was claimed. */
  runningSince: Timestamp | null;
  /** active: syncing may go on. error: it needs attention, status_reason says which. disconnected: history. */
  status: string;
  /** When status last became what it is. */
  statusChangedAt: Timestamp;
  /** Why the connection is in its status, in words an agent can act on; required for error, absent for active. Never a secret or personal data. */
  statusReason: string | null;
  /** How long after a successful sync the next one is due: one minute to a week. */
  syncIntervalSeconds: number;
  waitingChanges: number;
}

const connectionListWithHealthIR = {"usedParamSet":{"failuresSince":true,"organisationId":true},"params":[{"name":"failuresSince","required":true,"transform":{"type":"scalar"},"locs":[{"a":4262,"b":4276}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":4370,"b":4385}]}],"statement":"-- Every connection an organisation has or had, live ones first, then by provider and newest first,\n-- with its health: how its syncs have gone, what is running, what waits and what fails now, each counted\n-- up to 1,000; and what the log says: the last event, the last failure, and the failures since a time, counted\n-- up to 1,000. A handful of rows by the primary key; for each, the log's primary key and\n-- crm_sync_log_status_connection_id_idx, newest first («is true» keeps the planner from the primary key\n-- where only failures are wanted, and from all open runs where only one is), crm_sync_runs_pkey, crm_sync_runs_connection_id_open_key,\n-- crm_sync_failures_next_attempt_at_idx, crm_sync_failures_gave_up_at_idx and\n-- crm_outbound_changes_next_attempt_at_idx.\nselect\n  connection.organisation_id as \"organisationId\",\n  connection.id as \"connectionId\",\n  connection.provider,\n  connection.status,\n  connection.status_reason as \"statusReason\",\n  connection.status_changed_at as \"statusChangedAt\",\n  connection.credentials_version as \"credentialsVersion\",\n  connection.credentials_expires_at as \"credentialsExpiresAt\",\n  connection.last_synced_at as \"lastSyncedAt\",\n  connection.connected_at as \"connectedAt\",\n  connection.disconnected_at as \"disconnectedAt\",\n  connection.next_sync_at as \"nextSyncAt\",\n  connection.sync_interval_seconds as \"syncIntervalSeconds\",\n  connection.last_success_at as \"lastSuccessAt\",\n  connection.first_failed_at as \"failingSince\",\n  connection.failure_count as \"failedSyncs\",\n  case\n    when connection.status <> 'disconnected'\n      then extract(epoch from crm_now() - connection.last_synced_at)::double precision\n  end as \"lagSeconds\",\n  last_run.outcome as \"lastSyncOutcome?\",\n  last_run.error as \"lastSyncError?\",\n  run.started_at as \"runningSince?\",\n  retried.count as \"retriedRecords!\",\n  given_up.count as \"givenUpRecords!\",\n  waiting.count as \"waitingChanges!\",\n  last_event.occurred_at as \"lastEventAt?\",\n  last_event.status as \"lastEventStatus?\",\n  last_failure.occurred_at as \"lastFailureAt?\",\n  last_failure.error as \"lastError?\",\n  failures.count as \"failureCount!\"\nfrom crm_connections as connection\nleft join crm_sync_runs as run\n  on run.organisation_id = connection.organisation_id\n  and run.connection_id = connection.id\n  and run.ended_at is null\n  and (run.expires_at > crm_now()) is true\nleft join lateral (\n  select\n    outcome,\n    error\n  from crm_sync_runs\n  where organisation_id = connection.organisation_id\n    and connection_id = connection.id\n    and ended_at is not null\n  order by id desc\n  limit 1\n) as last_run on true\ncross join lateral (\n  select count(*)::integer as count\n  from (\n    select\n    from crm_sync_failures\n    where organisation_id = connection.organisation_id\n      and connection_id = connection.id\n      and next_attempt_at is not null\n    order by next_attempt_at\n    limit 1000\n  ) as counted\n) as retried\ncross join lateral (\n  select count(*)::integer as count\n  from (\n    select\n    from crm_sync_failures\n    where organisation_id = connection.organisation_id\n      and connection_id = connection.id\n      and gave_up_at is not null\n    order by gave_up_at\n    limit 1000\n  ) as counted\n) as given_up\ncross join lateral (\n  select count(*)::integer as count\n  from (\n    select\n    from crm_outbound_changes\n    where organisation_id = connection.organisation_id\n      and connection_id = connection.id\n    order by next_attempt_at\n    limit 1000\n  ) as counted\n) as waiting\nleft join lateral (\n  select\n    occurred_at,\n    status\n  from crm_sync_log\n  where organisation_id = connection.organisation_id\n    and connection_id = connection.id\n  order by\n    occurred_at desc,\n    id desc\n  limit 1\n) as last_event on true\nleft join lateral (\n  select\n    occurred_at,\n    error\n  from crm_sync_log\n  where (organisation_id = connection.organisation_id) is true\n    and connection_id = connection.id\n    and status = 'error'\n  order by\n    occurred_at desc,\n    id desc\n  limit 1\n) as last_failure on true\ncross join lateral (\n  select count(*)::integer as count\n  from (\n    select\n    from crm_sync_log\n    where (organisation_id = connection.organisation_id) is true\n      and connection_id = connection.id\n      and status = 'error'\n      and occurred_at >= :failuresSince!::timestamptz\n    limit 1000\n  ) as counted\n) as failures\nwhere connection.organisation_id = :organisationId!::uuid\norder by\n  connection.status = 'disconnected',\n  connection.provider,\n  connection.connected_at desc,\n  connection.id"};

/**
 * Every connection an organisation has or had, live ones first, then by provider and newest first,
 * with its health: how its syncs have gone, what is running, what waits and what fails now, each counted
 * up to 1,000; and what the log says: the last event, the last failure, and the failures since a time, counted
 * up to 1,000. A handful of rows by the primary key; for each, the log's primary key and
 * crm_sync_log_status_connection_id_idx, newest first («is true» keeps the planner from the primary key
 * where only failures are wanted, and from all open runs where only one is), crm_sync_runs_pkey, crm_sync_runs_connection_id_open_key,
 * crm_sync_failures_next_attempt_at_idx, crm_sync_failures_gave_up_at_idx and
 * crm_outbound_changes_next_attempt_at_idx.
 *
 * @remarks
 * ```sql
 * select
 *   connection.organisation_id as "organisationId",
 *   connection.id as "connectionId",
 *   connection.provider,
 *   connection.status,
 *   connection.status_reason as "statusReason",
 *   connection.status_changed_at as "statusChangedAt",
 *   connection.credentials_version as "credentialsVersion",
 *   connection.credentials_expires_at as "credentialsExpiresAt",
 *   connection.last_synced_at as "lastSyncedAt",
 *   connection.connected_at as "connectedAt",
 *   connection.disconnected_at as "disconnectedAt",
 *   connection.next_sync_at as "nextSyncAt",
 *   connection.sync_interval_seconds as "syncIntervalSeconds",
 *   connection.last_success_at as "lastSuccessAt",
 *   connection.first_failed_at as "failingSince",
 *   connection.failure_count as "failedSyncs",
 *   case
 *     when connection.status <> 'disconnected'
 *       then extract(epoch from crm_now() - connection.last_synced_at)::double precision
 *   end as "lagSeconds",
 *   last_run.outcome as "lastSyncOutcome?",
 *   last_run.error as "lastSyncError?",
 *   run.started_at as "runningSince?",
 *   retried.count as "retriedRecords!",
 *   given_up.count as "givenUpRecords!",
 *   waiting.count as "waitingChanges!",
 *   last_event.occurred_at as "lastEventAt?",
 *   last_event.status as "lastEventStatus?",
 *   last_failure.occurred_at as "lastFailureAt?",
 *   last_failure.error as "lastError?",
 *   failures.count as "failureCount!"
 * from crm_connections as connection
 * left join crm_sync_runs as run
 *   on run.organisation_id = connection.organisation_id
 *   and run.connection_id = connection.id
 *   and run.ended_at is null
 *   and (run.expires_at > crm_now()) is true
 * left join lateral (
 *   select
 *     outcome,
 *     error
 *   from crm_sync_runs
 *   where organisation_id = connection.organisation_id
 *     and connection_id = connection.id
 *     and ended_at is not null
 *   order by id desc
 *   limit 1
 * ) as last_run on true
 * cross join lateral (
 *   select count(*)::integer as count
 *   from (
 *     select
 *     from crm_sync_failures
 *     where organisation_id = connection.organisation_id
 *       and connection_id = connection.id
 *       and next_attempt_at is not null
 *     order by next_attempt_at
 *     limit 1000
 *   ) as counted
 * ) as retried
 * cross join lateral (
 *   select count(*)::integer as count
 *   from (
 *     select
 *     from crm_sync_failures
 *     where organisation_id = connection.organisation_id
 *       and connection_id = connection.id
 *       and gave_up_at is not null
 *     order by gave_up_at
 *     limit 1000
 *   ) as counted
 * ) as given_up
 * cross join lateral (
 *   select count(*)::integer as count
 *   from (
 *     select
 *     from crm_outbound_changes
 *     where organisation_id = connection.organisation_id
 *       and connection_id = connection.id
 *     order by next_attempt_at
 *     limit 1000
 *   ) as counted
 * ) as waiting
 * left join lateral (
 *   select
 *     occurred_at,
 *     status
 *   from crm_sync_log
 *   where organisation_id = connection.organisation_id
 *     and connection_id = connection.id
 *   order by
 *     occurred_at desc,
 *     id desc
 *   limit 1
 * ) as last_event on true
 * left join lateral (
 *   select
 *     occurred_at,
 *     error
 *   from crm_sync_log
 *   where (organisation_id = connection.organisation_id) is true
 *     and connection_id = connection.id
 *     and status = 'error'
 *   order by
 *     occurred_at desc,
 *     id desc
 *   limit 1
 * ) as last_failure on true
 * cross join lateral (
 *   select count(*)::integer as count
 *   from (
 *     select
 *     from crm_sync_log
 *     where (organisation_id = connection.organisation_id) is true
 *       and connection_id = connection.id
 *       and status = 'error'
 *       and occurred_at >= :failuresSince!::timestamptz
 *     limit 1000
 *   ) as counted
 * ) as failures
 * where connection.organisation_id = :organisationId!::uuid
 * order by
 *   connection.status = 'disconnected',
 *   connection.provider,
 *   connection.connected_at desc,
 *   connection.id
 * ```
 */
export const connectionListWithHealth = new PreparedQuery<ConnectionListWithHealthParams,ConnectionListWithHealthResult>('connectionListWithHealth', connectionListWithHealthIR);


/** What {@link connectionListTotals} takes. */
export type ConnectionListTotalsParams = void;

/** A row of {@link connectionListTotals}. */
export interface ConnectionListTotalsResult {
  connections: number;
  due: number;
  failing: number;
  neverSynced: number;
  nextSyncAt: Timestamp;
  oldestSuccessAt: Timestamp | null;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** active: syncing may go on. error: it needs attention, status_reason says which. disconnected: history. */
  status: string;
}

const connectionListTotalsIR = {"usedParamSet":{},"params":[],"statement":"-- How the live connections of all organisations fare: a row per CRM and status. For monitoring; reads each\n-- connection once.\nselect\n  provider,\n  status,\n  count(*)::integer as \"connections!\",\n  count(*) filter (where last_success_at is null)::integer as \"neverSynced!\",\n  count(*) filter (where failure_count > 0)::integer as \"failing!\",\n  count(*) filter (where next_sync_at <= crm_now())::integer as \"due!\",\n  min(next_sync_at) as \"nextSyncAt!\",\n  min(last_success_at) as \"oldestSuccessAt?\"\nfrom crm_connections\nwhere status <> 'disconnected'\ngroup by\n  provider,\n  status\norder by\n  provider,\n  status"};

/**
 * How the live connections of all organisations fare: a row per CRM and status. For monitoring; reads each
 * connection once.
 *
 * @remarks
 * ```sql
 * select
 *   provider,
 *   status,
 *   count(*)::integer as "connections!",
 *   count(*) filter (where last_success_at is null)::integer as "neverSynced!",
 *   count(*) filter (where failure_count > 0)::integer as "failing!",
 *   count(*) filter (where next_sync_at <= crm_now())::integer as "due!",
 *   min(next_sync_at) as "nextSyncAt!",
 *   min(last_success_at) as "oldestSuccessAt?"
 * from crm_connections
 * where status <> 'disconnected'
 * group by
 *   provider,
 *   status
 * order by
 *   provider,
 *   status
 * ```
 */
export const connectionListTotals = new PreparedQuery<ConnectionListTotalsParams,ConnectionListTotalsResult>('connectionListTotals', connectionListTotalsIR);


/** What {@link connectionRequestSync} takes. */
export interface ConnectionRequestSyncParams {
  connectionIds: string[];
  isUrgent: boolean;
  organisationId: string;
}

/** A row of {@link connectionRequestSync}. */
export interface ConnectionRequestSyncResult {
  /** The connection. The application makes it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
}

const connectionRequestSyncIR = {"usedParamSet":{"isUrgent":true,"organisationId":true,"connectionIds":true},"params":[{"name":"isUrgent","required":true,"transform":{"type":"scalar"},"locs":[{"a":676,"b":685},{"a":1147,"b":1156}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":830,"b":845},{"a":1313,"b":1328},{"a":1377,"b":1392}]},{"name":"connectionIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":881,"b":895}]}],"statement":"-- Asks for a sync of live connections, as soon as the CRM may be asked again; where it is urgent, at once.\n-- During a run it is remembered, and is another sync after it: the claim passes over what is running.\n-- Returns those for which something changed: a storm of requests is one write, and one sync. Fails with\n-- CRM05 if the user does not see the organisation. By primary key; locks the rows for the transaction, in\n-- the order of their keys.\nwith clock as materialized (\n  select crm_now() as at\n),\nwanted as (\n  select\n    connection.id,\n    connection.next_sync_at,\n    connection.sync_requested_at,\n    -- Null does not count.\n    greatest(clock.at, case when not :isUrgent!::boolean then connection.not_before_at end) as at\n  from crm_connections as connection\n  cross join clock\n  where connection.organisation_id = :organisationId!::uuid\n    and connection.id = any(:connectionIds!::uuid[])\n    and connection.status <> 'disconnected'\n  order by connection.id\n  for no key update of connection\n)\nupdate crm_connections\nset\n  sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),\n  not_before_at = case when not :isUrgent!::boolean then not_before_at end,\n  next_sync_at = least(crm_connections.next_sync_at, wanted.at)\nfrom wanted\ncross join clock\nwhere crm_check_organisation(:organisationId!::uuid)\n  and crm_connections.organisation_id = :organisationId!::uuid\n  and crm_connections.id = wanted.id\n  and (wanted.sync_requested_at is null or wanted.next_sync_at > wanted.at)\nreturning crm_connections.id as \"connectionId\""};

/**
 * Asks for a sync of live connections, as soon as the CRM may be asked again; where it is urgent, at once.
 * During a run it is remembered, and is another sync after it: the claim passes over what is running.
 * Returns those for which something changed: a storm of requests is one write, and one sync. Fails with
 * CRM05 if the user does not see the organisation. By primary key; locks the rows for the transaction, in
 * the order of their keys.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * wanted as (
 *   select
 *     connection.id,
 *     connection.next_sync_at,
 *     connection.sync_requested_at,
 *     -- Null does not count.
 *     greatest(clock.at, case when not :isUrgent!::boolean then connection.not_before_at end) as at
 *   from crm_connections as connection
 *   cross join clock
 *   where connection.organisation_id = :organisationId!::uuid
 *     and connection.id = any(:connectionIds!::uuid[])
 *     and connection.status <> 'disconnected'
 *   order by connection.id
 *   for no key update of connection
 * )
 * update crm_connections
 * set
 *   sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
 *   not_before_at = case when not :isUrgent!::boolean then not_before_at end,
 *   next_sync_at = least(crm_connections.next_sync_at, wanted.at)
 * from wanted
 * cross join clock
 * where crm_check_organisation(:organisationId!::uuid)
 *   and crm_connections.organisation_id = :organisationId!::uuid
 *   and crm_connections.id = wanted.id
 *   and (wanted.sync_requested_at is null or wanted.next_sync_at > wanted.at)
 * returning crm_connections.id as "connectionId"
 * ```
 */
export const connectionRequestSync = new PreparedQuery<ConnectionRequestSyncParams,ConnectionRequestSyncResult>('connectionRequestSync', connectionRequestSyncIR);


/** What {@link connectionResetLastSyncedAt} takes. */
export interface ConnectionResetLastSyncedAtParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionResetLastSyncedAt}. */
export interface ConnectionResetLastSyncedAtResult {
  /** The connection. The application makes it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
}

const connectionResetLastSyncedAtIR = {"usedParamSet":{"organisationId":true,"connectionId":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":362,"b":377}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":398,"b":411}]}],"statement":"-- Forgets the cursor of a live connection and those of its inbound streams, so that the next sync is a full\n-- one. One row, or none if the organisation has no such live connection. By primary keys; locks the\n-- connection for the transaction, then the cursors.\nwith forgotten as (\n  update crm_connections\n  set last_synced_at = null\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n    and status <> 'disconnected'\n  returning\n    organisation_id,\n    id\n),\nreset as (\n  update crm_sync_cursors as cursor\n  set\n    kind = null,\n    synced_to_at = null,\n    token = null,\n    page = null,\n    version = cursor.version + 1,\n    moved_at = crm_now()\n  from forgotten\n  where cursor.organisation_id = forgotten.organisation_id\n    and cursor.connection_id = forgotten.id\n    and cursor.direction = 'inbound'\n)\nselect id as \"connectionId\"\nfrom forgotten"};

/**
 * Forgets the cursor of a live connection and those of its inbound streams, so that the next sync is a full
 * one. One row, or none if the organisation has no such live connection. By primary keys; locks the
 * connection for the transaction, then the cursors.
 *
 * @remarks
 * ```sql
 * with forgotten as (
 *   update crm_connections
 *   set last_synced_at = null
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *   returning
 *     organisation_id,
 *     id
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
 *   from forgotten
 *   where cursor.organisation_id = forgotten.organisation_id
 *     and cursor.connection_id = forgotten.id
 *     and cursor.direction = 'inbound'
 * )
 * select id as "connectionId"
 * from forgotten
 * ```
 */
export const connectionResetLastSyncedAt = new PreparedQuery<ConnectionResetLastSyncedAtParams,ConnectionResetLastSyncedAtResult>('connectionResetLastSyncedAt', connectionResetLastSyncedAtIR);


/** What {@link connectionSetStatus} takes. */
export interface ConnectionSetStatusParams {
  connectionId: string;
  credentialsVersion?: number | null | void;
  organisationId: string;
  reason?: string | null | void;
  status: string;
}

/** A row of {@link connectionSetStatus}. */
export interface ConnectionSetStatusResult {
  outcome: string;
  statusChangedAt: Timestamp;
}

const connectionSetStatusIR = {"usedParamSet":{"credentialsVersion":true,"organisationId":true,"connectionId":true,"status":true,"reason":true},"params":[{"name":"credentialsVersion","required":false,"transform":{"type":"scalar"},"locs":[{"a":708,"b":726}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":822,"b":837}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":858,"b":871}]},{"name":"status","required":true,"transform":{"type":"scalar"},"locs":[{"a":959,"b":966},{"a":1070,"b":1077},{"a":1233,"b":1240},{"a":1333,"b":1340},{"a":1416,"b":1423},{"a":1750,"b":1757},{"a":1791,"b":1798}]},{"name":"reason","required":false,"transform":{"type":"scalar"},"locs":[{"a":995,"b":1001},{"a":1766,"b":1772}]}],"statement":"-- Sets a live connection to active (no reason) or error (with one); with a credentialsVersion only if\n-- its credentials are still those of that version. One row, or none if the organisation has no such\n-- connection: `outcome` says what happened (`set`, `superseded` or `disconnected`); statusChangedAt\n-- moves only when the status does. An active connection has no failures in a row. Writes nothing where\n-- nothing changes. By primary key; locks the row\n-- for the transaction. At READ COMMITTED: above it, a change meanwhile is 40001.\nwith connection as (\n  select\n    organisation_id,\n    id,\n    status,\n    status_reason,\n    status_changed_at,\n    failure_count,\n    credentials_version = coalesce(:credentialsVersion::integer, credentials_version) as is_current\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n  for no key update\n),\nchanged as (\n  update crm_connections\n  set\n    status = :status!::text,\n    status_reason = :reason::text,\n    status_changed_at = case\n      when connection.status = :status!::text then connection.status_changed_at\n      else now()\n    end,\n    -- Mended, so that the next failure is the first one.\n    failure_count = case when :status!::text = 'active' then 0 else connection.failure_count end,\n    first_failed_at = case when :status!::text <> 'active' then first_failed_at end,\n    not_before_at = case when :status!::text <> 'active' then not_before_at end\n  from connection\n  where crm_connections.organisation_id = connection.organisation_id\n    and crm_connections.id = connection.id\n    and connection.status <> 'disconnected'\n    and connection.is_current\n    and (\n      (connection.status, connection.status_reason) is distinct from (:status!::text, :reason::text)\n      or (:status!::text = 'active' and connection.failure_count > 0)\n    )\n  returning crm_connections.status_changed_at\n)\nselect\n  case\n    when connection.status = 'disconnected' then 'disconnected'\n    when connection.is_current then 'set'\n    else 'superseded'\n  end as \"outcome!\",\n  coalesce((select status_changed_at from changed), connection.status_changed_at) as \"statusChangedAt!\"\nfrom connection"};

/**
 * Sets a live connection to active (no reason) or error (with one); with a credentialsVersion only if
 * its credentials are still those of that version. One row, or none if the organisation has no such
 * connection: `outcome` says what happened (`set`, `superseded` or `disconnected`); statusChangedAt
 * moves only when the status does. An active connection has no failures in a row. Writes nothing where
 * nothing changes. By primary key; locks the row
 * for the transaction. At READ COMMITTED: above it, a change meanwhile is 40001.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     status,
 *     status_reason,
 *     status_changed_at,
 *     failure_count,
 *     credentials_version = coalesce(:credentialsVersion::integer, credentials_version) as is_current
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *   for no key update
 * ),
 * changed as (
 *   update crm_connections
 *   set
 *     status = :status!::text,
 *     status_reason = :reason::text,
 *     status_changed_at = case
 *       when connection.status = :status!::text then connection.status_changed_at
 *       else now()
 *     end,
 *     -- Mended, so that the next failure is the first one.
 *     failure_count = case when :status!::text = 'active' then 0 else connection.failure_count end,
 *     first_failed_at = case when :status!::text <> 'active' then first_failed_at end,
 *     not_before_at = case when :status!::text <> 'active' then not_before_at end
 *   from connection
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.status <> 'disconnected'
 *     and connection.is_current
 *     and (
 *       (connection.status, connection.status_reason) is distinct from (:status!::text, :reason::text)
 *       or (:status!::text = 'active' and connection.failure_count > 0)
 *     )
 *   returning crm_connections.status_changed_at
 * )
 * select
 *   case
 *     when connection.status = 'disconnected' then 'disconnected'
 *     when connection.is_current then 'set'
 *     else 'superseded'
 *   end as "outcome!",
 *   coalesce((select status_changed_at from changed), connection.status_changed_at) as "statusChangedAt!"
 * from connection
 * ```
 */
export const connectionSetStatus = new PreparedQuery<ConnectionSetStatusParams,ConnectionSetStatusResult>('connectionSetStatus', connectionSetStatusIR);


/** What {@link connectionSetSyncInterval} takes. */
export interface ConnectionSetSyncIntervalParams {
  connectionId: string;
  organisationId: string;
  syncIntervalSeconds: number;
}

/** A row of {@link connectionSetSyncInterval}. */
export interface ConnectionSetSyncIntervalResult {
  /** When the connection is due: the oldest due is claimed first. Not before the end of a run that is open. Of no meaning once disconnected. */
  nextSyncAt: Timestamp;
}

const connectionSetSyncIntervalIR = {"usedParamSet":{"syncIntervalSeconds":true,"organisationId":true,"connectionId":true},"params":[{"name":"syncIntervalSeconds","required":true,"transform":{"type":"scalar"},"locs":[{"a":337,"b":357},{"a":484,"b":504}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":560,"b":575}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":594,"b":607}]}],"statement":"-- Says how often a live connection is synced. A shorter interval counts from now on, also for the sync\n-- that is waiting, though not while the CRM is left alone. One row, or none if the organisation has no\n-- such live connection. By primary key; locks the row for the transaction.\nupdate crm_connections\nset\n  sync_interval_seconds = :syncIntervalSeconds!::integer,\n  -- Null does not count.\n  next_sync_at = least(\n    next_sync_at,\n    greatest(crm_now() + make_interval(secs => :syncIntervalSeconds!::integer), not_before_at)\n  )\nwhere organisation_id = :organisationId!::uuid\n  and id = :connectionId!::uuid\n  and status <> 'disconnected'\nreturning next_sync_at as \"nextSyncAt\""};

/**
 * Says how often a live connection is synced. A shorter interval counts from now on, also for the sync
 * that is waiting, though not while the CRM is left alone. One row, or none if the organisation has no
 * such live connection. By primary key; locks the row for the transaction.
 *
 * @remarks
 * ```sql
 * update crm_connections
 * set
 *   sync_interval_seconds = :syncIntervalSeconds!::integer,
 *   -- Null does not count.
 *   next_sync_at = least(
 *     next_sync_at,
 *     greatest(crm_now() + make_interval(secs => :syncIntervalSeconds!::integer), not_before_at)
 *   )
 * where organisation_id = :organisationId!::uuid
 *   and id = :connectionId!::uuid
 *   and status <> 'disconnected'
 * returning next_sync_at as "nextSyncAt"
 * ```
 */
export const connectionSetSyncInterval = new PreparedQuery<ConnectionSetSyncIntervalParams,ConnectionSetSyncIntervalResult>('connectionSetSyncInterval', connectionSetSyncIntervalIR);


/** What {@link connectionTotalWork} takes. */
export type ConnectionTotalWorkParams = void;

/** A row of {@link connectionTotalWork}. */
export interface ConnectionTotalWorkResult {
  expired: number;
  givenUpRecords: number;
  retriedRecords: number;
  running: number;
  waitingChanges: number;
}

const connectionTotalWorkIR = {"usedParamSet":{},"params":[],"statement":"-- What goes on and what waits, over all organisations, each counted up to 10,000. One row, for monitoring;\n-- by crm_sync_runs_expires_at_idx, crm_sync_failures_next_attempt_at_idx and\n-- crm_sync_failures_gave_up_at_idx; of the changes it reads that many rows as they come.\nselect\n  (\n    select count(*)::integer\n    from (select from crm_sync_runs where ended_at is null and expires_at > crm_now() limit 10000) as counted\n  ) as \"running!\",\n  (\n    select count(*)::integer\n    from (select from crm_sync_runs where ended_at is null and expires_at <= crm_now() limit 10000) as counted\n  ) as \"expired!\",\n  (\n    select count(*)::integer\n    from (select from crm_sync_failures where next_attempt_at is not null limit 10000) as counted\n  ) as \"retriedRecords!\",\n  (\n    select count(*)::integer\n    from (select from crm_sync_failures where gave_up_at is not null limit 10000) as counted\n  ) as \"givenUpRecords!\",\n  (select count(*)::integer from (select from crm_outbound_changes limit 10000) as counted) as \"waitingChanges!\""};

/**
 * What goes on and what waits, over all organisations, each counted up to 10,000. One row, for monitoring;
 * by crm_sync_runs_expires_at_idx, crm_sync_failures_next_attempt_at_idx and
 * crm_sync_failures_gave_up_at_idx; of the changes it reads that many rows as they come.
 *
 * @remarks
 * ```sql
 * select
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_runs where ended_at is null and expires_at > crm_now() limit 10000) as counted
 *   ) as "running!",
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_runs where ended_at is null and expires_at <= crm_now() limit 10000) as counted
 *   ) as "expired!",
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_failures where next_attempt_at is not null limit 10000) as counted
 *   ) as "retriedRecords!",
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_failures where gave_up_at is not null limit 10000) as counted
 *   ) as "givenUpRecords!",
 *   (select count(*)::integer from (select from crm_outbound_changes limit 10000) as counted) as "waitingChanges!"
 * ```
 */
export const connectionTotalWork = new PreparedQuery<ConnectionTotalWorkParams,ConnectionTotalWorkResult>('connectionTotalWork', connectionTotalWorkIR);


