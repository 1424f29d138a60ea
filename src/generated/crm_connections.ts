/** Types generated for queries found in "queries/crm_connections.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** The parameters of {@link connectionAdvanceLastSyncedAt}. */
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

/**
 * Moves the cursor of a live connection forwards, never backwards, and not more than a day ahead of the clock
 * (crm_latest_time). Returns one row, or none if the organisation has no such connection: `outcome` (`advanced`,
 * `moved_backwards`, `in_future` or `disconnected`) and `lastSyncedAt`, the cursor now. Uses the primary key. Locks
 * the row for the transaction.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     status,
 *     last_synced_at,
 *     :lastSyncedAt!::timestamptz > crm_latest_time(crm_now()) as is_in_future
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
 *     and not connection.is_in_future
 *     and (connection.last_synced_at is null or connection.last_synced_at < :lastSyncedAt!::timestamptz)
 *   returning crm_connections.last_synced_at
 * )
 * select
 *   case
 *     when connection.status = 'disconnected' then 'disconnected'
 *     when connection.is_in_future then 'in_future'
 *     when connection.last_synced_at > :lastSyncedAt!::timestamptz then 'moved_backwards'
 *     else 'advanced'
 *   end as "outcome!",
 *   coalesce((select last_synced_at from advanced), connection.last_synced_at) as "lastSyncedAt"
 * from connection
 * ```
 */
export const connectionAdvanceLastSyncedAt = new PreparedQuery<ConnectionAdvanceLastSyncedAtParams,ConnectionAdvanceLastSyncedAtResult>({
  name: 'connectionAdvanceLastSyncedAt',
  statementName: 'connectionAdvanceLastSyncedAt_28b8cd49',
  params: [
    { name: 'lastSyncedAt', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `with /* connectionAdvanceLastSyncedAt */ connection as (
  select
    organisation_id,
    id,
    status,
    last_synced_at,
    $1::timestamptz > crm_latest_time(crm_now()) as is_in_future
  from crm_connections
  where organisation_id = $2::uuid
    and id = $3::uuid
  for no key update
),
advanced as (
  update crm_connections
  set last_synced_at = $1::timestamptz
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and not connection.is_in_future
    and (connection.last_synced_at is null or connection.last_synced_at < $1::timestamptz)
  returning crm_connections.last_synced_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.is_in_future then 'in_future'
    when connection.last_synced_at > $1::timestamptz then 'moved_backwards'
    else 'advanced'
  end as "outcome",
  coalesce((select last_synced_at from advanced), connection.last_synced_at) as "lastSyncedAt"
from connection`,
});


/** The parameters of {@link connectionCancelRun}. */
export interface ConnectionCancelRunParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionCancelRun}. */
export interface ConnectionCancelRunResult {
  /** The id of the run, and its fencing token: every write for the connection must present it. */
  runId: string;
}

/**
 * Cancels the open run of a paused connection, so that its worker stops. Returns the run, or no row if there is
 * none. This is a separate statement because connectionPause does not see a run that was opened while it waited.
 * Uses primary keys. Locks the connection for the transaction, then the run.
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
 *     and crm_pause_end(paused_at, pause_ends_at, crm_now()) is not null
 *   for no key update
 * )
 * update crm_sync_runs as run
 * set
 *   ended_at = crm_now(),
 *   outcome = 'cancelled'
 * from connection
 * -- By the parameters, not by the connection's columns: those the planner may join after reading every open run.
 * where run.organisation_id = :organisationId!::uuid
 *   and run.connection_id = :connectionId!::uuid
 *   and run.ended_at is null
 * returning run.id as "runId"
 * ```
 */
export const connectionCancelRun = new PreparedQuery<ConnectionCancelRunParams,ConnectionCancelRunResult>({
  name: 'connectionCancelRun',
  statementName: 'connectionCancelRun_52a6ceab',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `with /* connectionCancelRun */ connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status <> 'disconnected'
    and crm_pause_end(paused_at, pause_ends_at, crm_now()) is not null
  for no key update
)
update crm_sync_runs as run
set
  ended_at = crm_now(),
  outcome = 'cancelled'
from connection
where run.organisation_id = $1::uuid
  and run.connection_id = $2::uuid
  and run.ended_at is null
returning run.id as "runId"`,
});


/** The parameters of {@link connectionConnect}. */
export interface ConnectionConnectParams {
  account?: string | null | void;
  connectionId: string;
  credentials: Json;
  credentialsExpiresAt?: TimestampInput | null | void;
  idsOfUnknownAccount?: string | null | void;
  organisationId: string;
  provider: string;
}

/** A row of {@link connectionConnect}. */
export interface ConnectionConnectResult {
  archivedIds: number;
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  droppedChanges: number;
  restoredIds: number;
  waitingChanges: number;
}

/**
 * Connects a CRM: inserts a new, active connection, with the winner of conflicts that the organisation last had at this
 * CRM, and makes its account the one to which the organisation's ids at this CRM belong (crm_switch_account). Their
 * versions and contents are forgotten if contacts may have changed since the last connection ended and that does not
 * wait to be pushed (crm_forget_missed_contents). Takes over what waits to be pushed from the connection before, or
 * drops it if that was to another account (crm_take_over_changes). Returns one row: `connectedAt`, later
 * than that of every earlier connection to the CRM, how many ids were archived and restored, and for how many contacts
 * changes were taken over and dropped. Violates
 * crm_connections_organisation_id_provider_live_key if the organisation already has a live connection to
 * the CRM. Fails with CRM06 if the account is given, ids of an unknown account are present, and
 * idsOfUnknownAccount is null. Uses the primary key. Takes the lock of crm_lock_external_ids, so that nobody connects a CRM
 * while an erasure in the organisation is open; if there was another connection, then locks contacts and ids, then that
 * connection and what waits there.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   insert into crm_connections (
 *     organisation_id,
 *     id,
 *     provider,
 *     account,
 *     credentials,
 *     credentials_expires_at,
 *     conflict_winner,
 *     connected_at
 *   )
 *   values (
 *     :organisationId!::uuid,
 *     :connectionId!::uuid,
 *     :provider!::text,
 *     :account::text,
 *     :credentials!::jsonb,
 *     :credentialsExpiresAt::timestamptz,
 *     coalesce(
 *       (
 *         select conflict_winner
 *         from crm_connections
 *         where organisation_id = :organisationId!::uuid
 *           and provider = :provider!::text
 *         order by connected_at desc
 *         limit 1
 *       ),
 *       'nurturehub'
 *     ),
 *     -- Two connections of one transaction would otherwise have the same time, and their accounts no order.
 *     greatest(
 *       now(),
 *       (
 *         select max(connected_at)
 *         from crm_connections
 *         where organisation_id = :organisationId!::uuid
 *           and provider = :provider!::text
 *       ) + interval '1 microsecond'
 *     )
 *   )
 *   returning
 *     organisation_id,
 *     id,
 *     connected_at
 * )
 * select
 *   connection.connected_at as "connectedAt!",
 *   switched.archived as "archivedIds!",
 *   switched.restored as "restoredIds!",
 *   taken.moved as "waitingChanges!",
 *   taken.dropped as "droppedChanges!"
 * from connection
 * cross join lateral crm_switch_account(
 *   connection.organisation_id,
 *   connection.id,
 *   :idsOfUnknownAccount::text
 * ) as switched
 * cross join lateral crm_take_over_changes(
 *   connection.organisation_id,
 *   -- Always true. It makes the switch come first, which locks the contacts.
 *   case when switched.archived is not null then connection.id end,
 *   :idsOfUnknownAccount::text
 * ) as taken
 * ```
 */
export const connectionConnect = new PreparedQuery<ConnectionConnectParams,ConnectionConnectResult>({
  name: 'connectionConnect',
  statementName: 'connectionConnect_f34c1ca0',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'provider', required: true },
    { name: 'account', required: false },
    { name: 'credentials', required: true },
    { name: 'credentialsExpiresAt', required: false },
    { name: 'idsOfUnknownAccount', required: false },
  ],
  text: `with /* connectionConnect */ connection as (
  insert into crm_connections (
    organisation_id,
    id,
    provider,
    account,
    credentials,
    credentials_expires_at,
    conflict_winner,
    connected_at
  )
  values (
    $1::uuid,
    $2::uuid,
    $3::text,
    $4::text,
    $5::jsonb,
    $6::timestamptz,
    coalesce(
      (
        select conflict_winner
        from crm_connections
        where organisation_id = $1::uuid
          and provider = $3::text
        order by connected_at desc
        limit 1
      ),
      'nurturehub'
    ),
    greatest(
      now(),
      (
        select max(connected_at)
        from crm_connections
        where organisation_id = $1::uuid
          and provider = $3::text
      ) + interval '1 microsecond'
    )
  )
  returning
    organisation_id,
    id,
    connected_at
)
select
  connection.connected_at as "connectedAt",
  switched.archived as "archivedIds",
  switched.restored as "restoredIds",
  taken.moved as "waitingChanges",
  taken.dropped as "droppedChanges"
from connection
cross join lateral crm_switch_account(
  connection.organisation_id,
  connection.id,
  $7::text
) as switched
cross join lateral crm_take_over_changes(
  connection.organisation_id,
  case when switched.archived is not null then connection.id end,
  $7::text
) as taken`,
});


/** The parameters of {@link connectionDisconnect}. */
export interface ConnectionDisconnectParams {
  connectionId: string;
  organisationId: string;
  reason?: string | null | void;
  revokeWithinSeconds?: number | null | void;
}

/** A row of {@link connectionDisconnect}. */
export interface ConnectionDisconnectResult {
  disconnectedAt: Timestamp;
  revokeBeforeAt: Timestamp | null;
}

/**
 * Ends a live connection, closes its open run and wipes its credentials; if revokeWithinSeconds is given, keeps
 * them for that long, for credentialsClaimRevocation alone. What waits to be pushed is kept for a time
 * (crm_changes_expire_at). The row stays as history, with the given reason or otherwise the previous one. Returns one row, or none if the organisation has no such live connection. Uses
 * primary keys. Locks the connection for the transaction, then the run. A run that opens at the same moment
 * stays open but holds no lease, and is swept later.
 *
 * @remarks
 * ```sql
 * with wiped as (
 *   update crm_connections
 *   set
 *     status = 'disconnected',
 *     status_reason = coalesce(:reason::text, status_reason),
 *     status_changed_at = now(),
 *     disconnected_at = now(),
 *     credentials = null,
 *     credentials_version = credentials_version + 1,
 *     credentials_expires_at = null,
 *     sync_requested_at = null,
 *     kept_changes = 'waiting',
 *     changes_expire_at = crm_changes_expire_at(crm_now())
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *     and :revokeWithinSeconds::integer is null
 *   returning
 *     organisation_id,
 *     id,
 *     disconnected_at,
 *     revoke_before_at
 * ),
 * -- Apart, because an application may set credentials to null but not read them, and an expression would.
 * kept as (
 *   update crm_connections
 *   set
 *     status = 'disconnected',
 *     status_reason = coalesce(:reason::text, status_reason),
 *     status_changed_at = now(),
 *     disconnected_at = now(),
 *     credentials_version = credentials_version + 1,
 *     credentials_expires_at = null,
 *     revocation = 'pending',
 *     revoke_before_at = crm_now() + make_interval(secs => :revokeWithinSeconds::integer),
 *     next_sync_at = crm_now(),
 *     sync_requested_at = null,
 *     kept_changes = 'waiting',
 *     changes_expire_at = crm_changes_expire_at(crm_now())
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *     and :revokeWithinSeconds::integer is not null
 *   returning
 *     organisation_id,
 *     id,
 *     disconnected_at,
 *     revoke_before_at
 * ),
 * ended as (
 *   select
 *     organisation_id,
 *     id,
 *     disconnected_at,
 *     revoke_before_at
 *   from wiped
 *   union all
 *   select
 *     organisation_id,
 *     id,
 *     disconnected_at,
 *     revoke_before_at
 *   from kept
 * ),
 * cancelled as (
 *   update crm_sync_runs as run
 *   set
 *     ended_at = crm_now(),
 *     outcome = 'cancelled'
 *   from ended
 *   -- By the parameters, as in connectionCancelRun.
 *   where run.organisation_id = :organisationId!::uuid
 *     and run.connection_id = :connectionId!::uuid
 *     and run.ended_at is null
 * )
 * select
 *   disconnected_at as "disconnectedAt!",
 *   revoke_before_at as "revokeBeforeAt"
 * from ended
 * ```
 */
export const connectionDisconnect = new PreparedQuery<ConnectionDisconnectParams,ConnectionDisconnectResult>({
  name: 'connectionDisconnect',
  statementName: 'connectionDisconnect_fbbdd96b',
  params: [
    { name: 'reason', required: false },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'revokeWithinSeconds', required: false },
  ],
  text: `with /* connectionDisconnect */ wiped as (
  update crm_connections
  set
    status = 'disconnected',
    status_reason = coalesce($1::text, status_reason),
    status_changed_at = now(),
    disconnected_at = now(),
    credentials = null,
    credentials_version = credentials_version + 1,
    credentials_expires_at = null,
    sync_requested_at = null,
    kept_changes = 'waiting',
    changes_expire_at = crm_changes_expire_at(crm_now())
  where organisation_id = $2::uuid
    and id = $3::uuid
    and status <> 'disconnected'
    and $4::integer is null
  returning
    organisation_id,
    id,
    disconnected_at,
    revoke_before_at
),
kept as (
  update crm_connections
  set
    status = 'disconnected',
    status_reason = coalesce($1::text, status_reason),
    status_changed_at = now(),
    disconnected_at = now(),
    credentials_version = credentials_version + 1,
    credentials_expires_at = null,
    revocation = 'pending',
    revoke_before_at = crm_now() + make_interval(secs => $4::integer),
    next_sync_at = crm_now(),
    sync_requested_at = null,
    kept_changes = 'waiting',
    changes_expire_at = crm_changes_expire_at(crm_now())
  where organisation_id = $2::uuid
    and id = $3::uuid
    and status <> 'disconnected'
    and $4::integer is not null
  returning
    organisation_id,
    id,
    disconnected_at,
    revoke_before_at
),
ended as (
  select
    organisation_id,
    id,
    disconnected_at,
    revoke_before_at
  from wiped
  union all
  select
    organisation_id,
    id,
    disconnected_at,
    revoke_before_at
  from kept
),
cancelled as (
  update crm_sync_runs as run
  set
    ended_at = crm_now(),
    outcome = 'cancelled'
  from ended
  where run.organisation_id = $2::uuid
    and run.connection_id = $3::uuid
    and run.ended_at is null
)
select
  disconnected_at as "disconnectedAt",
  revoke_before_at as "revokeBeforeAt"
from ended`,
});


/** The parameters of {@link connectionDropWork}. */
export interface ConnectionDropWorkParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionDropWork}. */
export interface ConnectionDropWorkResult {
  failures: number;
  waitingChanges: number;
}

/**
 * Deletes the inbound failures and record requests of a disconnected connection: whoever connects the CRM again reads
 * everything. Keeps what waits to be pushed, and counts it (crm_count_waiting_changes). Returns one row with both
 * numbers. This is a separate statement because connectionDisconnect does not see what was committed while
 * it waited. Uses crm_sync_failures_pkey, crm_record_requests_pkey and crm_outbound_changes_next_attempt_at_idx.
 * Locks the rows that it deletes.
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
 *     and failure.direction = 'inbound'
 *   returning failure.id
 * ),
 * asked as (
 *   delete from crm_record_requests as request
 *   using ended
 *   where request.organisation_id = ended.organisation_id
 *     and request.connection_id = ended.id
 * )
 * select
 *   (select count(*)::integer from failed) as "failures!",
 *   crm_count_waiting_changes(ended.organisation_id, ended.id) as "waitingChanges!"
 * from ended
 * ```
 */
export const connectionDropWork = new PreparedQuery<ConnectionDropWorkParams,ConnectionDropWorkResult>({
  name: 'connectionDropWork',
  statementName: 'connectionDropWork_ebe3e4ae',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `with /* connectionDropWork */ ended as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status = 'disconnected'
),
failed as (
  delete from crm_sync_failures as failure
  using ended
  where failure.organisation_id = ended.organisation_id
    and failure.connection_id = ended.id
    and failure.direction = 'inbound'
  returning failure.id
),
asked as (
  delete from crm_record_requests as request
  using ended
  where request.organisation_id = ended.organisation_id
    and request.connection_id = ended.id
)
select
  (select count(*)::integer from failed) as "failures",
  crm_count_waiting_changes(ended.organisation_id, ended.id) as "waitingChanges"
from ended`,
});


/** The parameters of {@link connectionGet}. */
export interface ConnectionGetParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionGet}. */
export interface ConnectionGetResult {
  /** The account at the CRM, by the CRM's own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. The package sets it once: another account needs another connection. */
  account: string | null;
  /** Who wins if a person was edited here and at the CRM. nurturehub: ours is pushed. crm: theirs is applied here. person: neither is overwritten until a person decides. */
  conflictWinner: string;
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** When the access token inside the credentials expires; readable without decrypting. Null if it does not expire, or if the time is unknown. */
  credentialsExpiresAt: Timestamp | null;
  /** Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it. */
  credentialsVersion: number;
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp | null;
  /** The cursor of incremental sync: every change the CRM made up to this time, by the CRM's clock, has arrived. Null before the first complete sync, and to request a full one. Otherwise it never moves backwards. */
  lastSyncedAt: Timestamp | null;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** Since when the connection is paused: it is not synced, whatever asks for it. Null if it is not paused. */
  pausedAt: Timestamp | null;
  /** When the pause ends by itself. Null: when somebody resumes the connection. */
  pausedUntil: Timestamp | null;
  /** Why it is paused, for people: 1 to 500 characters. */
  pauseReason: string | null;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** active: it can sync. error: it needs attention, status_reason says why. disconnected: kept as history. */
  status: string;
  /** When status last changed. */
  statusChangedAt: Timestamp;
  /** Why the connection has its status, in words an agent can act on. Required for error, null for active. Never a secret or personal data. */
  statusReason: string | null;
  /** How long after a successful sync the next one is due: one minute to a week. */
  syncIntervalSeconds: number;
}

/**
 * Returns one connection, live or disconnected: at most one row. Uses the primary key.
 *
 * @remarks
 * ```sql
 * select
 *   connection.organisation_id as "organisationId",
 *   connection.id as "connectionId",
 *   connection.provider,
 *   connection.account,
 *   connection.status,
 *   connection.status_reason as "statusReason",
 *   connection.status_changed_at as "statusChangedAt",
 *   connection.credentials_version as "credentialsVersion",
 *   connection.credentials_expires_at as "credentialsExpiresAt",
 *   pause.paused_at as "pausedAt?",
 *   pause.pause_ends_at as "pausedUntil?",
 *   pause.pause_reason as "pauseReason?",
 *   connection.last_synced_at as "lastSyncedAt",
 *   connection.sync_interval_seconds as "syncIntervalSeconds",
 *   connection.conflict_winner as "conflictWinner",
 *   connection.connected_at as "connectedAt",
 *   connection.disconnected_at as "disconnectedAt"
 * from crm_connections as connection
 * left join lateral (
 *   select
 *     connection.paused_at,
 *     connection.pause_ends_at,
 *     connection.pause_reason
 *   where crm_pause_end(connection.paused_at, connection.pause_ends_at, crm_now()) is not null
 * ) as pause on true
 * where connection.organisation_id = :organisationId!::uuid
 *   and connection.id = :connectionId!::uuid
 * ```
 */
export const connectionGet = new PreparedQuery<ConnectionGetParams,ConnectionGetResult>({
  name: 'connectionGet',
  statementName: 'connectionGet_65903a0d',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `select /* connectionGet */
  connection.organisation_id as "organisationId",
  connection.id as "connectionId",
  connection.provider,
  connection.account,
  connection.status,
  connection.status_reason as "statusReason",
  connection.status_changed_at as "statusChangedAt",
  connection.credentials_version as "credentialsVersion",
  connection.credentials_expires_at as "credentialsExpiresAt",
  pause.paused_at as "pausedAt",
  pause.pause_ends_at as "pausedUntil",
  pause.pause_reason as "pauseReason",
  connection.last_synced_at as "lastSyncedAt",
  connection.sync_interval_seconds as "syncIntervalSeconds",
  connection.conflict_winner as "conflictWinner",
  connection.connected_at as "connectedAt",
  connection.disconnected_at as "disconnectedAt"
from crm_connections as connection
left join lateral (
  select
    connection.paused_at,
    connection.pause_ends_at,
    connection.pause_reason
  where crm_pause_end(connection.paused_at, connection.pause_ends_at, crm_now()) is not null
) as pause on true
where connection.organisation_id = $1::uuid
  and connection.id = $2::uuid`,
});


/** The parameters of {@link connectionGetCredentials}. */
export interface ConnectionGetCredentialsParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionGetCredentials}. */
export interface ConnectionGetCredentialsResult {
  /** The account at the CRM, by the CRM's own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. The package sets it once: another account needs another connection. */
  account: string | null;
  /** Secret. The CRM's credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null once they are wiped: when the connection is disconnected, or after that, if they were kept to be revoked. */
  credentials: Json;
  /** When the access token inside the credentials expires; readable without decrypting. Null if it does not expire, or if the time is unknown. */
  credentialsExpiresAt: Timestamp | null;
  /** The id of the key that wraps the credentials (the JWE's header.kid). Key rotation finds its rows by it. */
  credentialsKeyId: string;
  /** Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it. */
  credentialsVersion: number;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
}

/**
 * Returns the encrypted credentials of a live connection: at most one row. Only for sync workers. Uses the
 * primary key.
 *
 * @remarks
 * ```sql
 * select
 *   provider,
 *   account,
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
export const connectionGetCredentials = new PreparedQuery<ConnectionGetCredentialsParams,ConnectionGetCredentialsResult>({
  name: 'connectionGetCredentials',
  statementName: 'connectionGetCredentials_ad40cc78',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `select /* connectionGetCredentials */
  provider,
  account,
  credentials as "credentials",
  credentials_key_id as "credentialsKeyId",
  credentials_version as "credentialsVersion",
  credentials_expires_at as "credentialsExpiresAt"
from crm_connections
where organisation_id = $1::uuid
  and id = $2::uuid
  and status <> 'disconnected'`,
});


/** The parameters of {@link connectionGetLive}. */
export interface ConnectionGetLiveParams {
  organisationId: string;
  provider: string;
}

/** A row of {@link connectionGetLive}. */
export interface ConnectionGetLiveResult {
  /** The account at the CRM, by the CRM's own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. The package sets it once: another account needs another connection. */
  account: string | null;
  /** Who wins if a person was edited here and at the CRM. nurturehub: ours is pushed. crm: theirs is applied here. person: neither is overwritten until a person decides. */
  conflictWinner: string;
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** When the access token inside the credentials expires; readable without decrypting. Null if it does not expire, or if the time is unknown. */
  credentialsExpiresAt: Timestamp | null;
  /** Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it. */
  credentialsVersion: number;
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp | null;
  /** The cursor of incremental sync: every change the CRM made up to this time, by the CRM's clock, has arrived. Null before the first complete sync, and to request a full one. Otherwise it never moves backwards. */
  lastSyncedAt: Timestamp | null;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** Since when the connection is paused: it is not synced, whatever asks for it. Null if it is not paused. */
  pausedAt: Timestamp | null;
  /** When the pause ends by itself. Null: when somebody resumes the connection. */
  pausedUntil: Timestamp | null;
  /** Why it is paused, for people: 1 to 500 characters. */
  pauseReason: string | null;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** active: it can sync. error: it needs attention, status_reason says why. disconnected: kept as history. */
  status: string;
  /** When status last changed. */
  statusChangedAt: Timestamp;
  /** Why the connection has its status, in words an agent can act on. Required for error, null for active. Never a secret or personal data. */
  statusReason: string | null;
  /** How long after a successful sync the next one is due: one minute to a week. */
  syncIntervalSeconds: number;
}

/**
 * Returns the live connection of an organisation to one CRM: at most one row. Uses
 * crm_connections_organisation_id_provider_live_key.
 *
 * @remarks
 * ```sql
 * select
 *   connection.organisation_id as "organisationId",
 *   connection.id as "connectionId",
 *   connection.provider,
 *   connection.account,
 *   connection.status,
 *   connection.status_reason as "statusReason",
 *   connection.status_changed_at as "statusChangedAt",
 *   connection.credentials_version as "credentialsVersion",
 *   connection.credentials_expires_at as "credentialsExpiresAt",
 *   pause.paused_at as "pausedAt?",
 *   pause.pause_ends_at as "pausedUntil?",
 *   pause.pause_reason as "pauseReason?",
 *   connection.last_synced_at as "lastSyncedAt",
 *   connection.sync_interval_seconds as "syncIntervalSeconds",
 *   connection.conflict_winner as "conflictWinner",
 *   connection.connected_at as "connectedAt",
 *   connection.disconnected_at as "disconnectedAt"
 * from crm_connections as connection
 * left join lateral (
 *   select
 *     connection.paused_at,
 *     connection.pause_ends_at,
 *     connection.pause_reason
 *   where crm_pause_end(connection.paused_at, connection.pause_ends_at, crm_now()) is not null
 * ) as pause on true
 * where connection.organisation_id = :organisationId!::uuid
 *   and connection.provider = :provider!::text
 *   and connection.status <> 'disconnected'
 * ```
 */
export const connectionGetLive = new PreparedQuery<ConnectionGetLiveParams,ConnectionGetLiveResult>({
  name: 'connectionGetLive',
  statementName: 'connectionGetLive_a0a8c2ad',
  params: [
    { name: 'organisationId', required: true },
    { name: 'provider', required: true },
  ],
  text: `select /* connectionGetLive */
  connection.organisation_id as "organisationId",
  connection.id as "connectionId",
  connection.provider,
  connection.account,
  connection.status,
  connection.status_reason as "statusReason",
  connection.status_changed_at as "statusChangedAt",
  connection.credentials_version as "credentialsVersion",
  connection.credentials_expires_at as "credentialsExpiresAt",
  pause.paused_at as "pausedAt",
  pause.pause_ends_at as "pausedUntil",
  pause.pause_reason as "pauseReason",
  connection.last_synced_at as "lastSyncedAt",
  connection.sync_interval_seconds as "syncIntervalSeconds",
  connection.conflict_winner as "conflictWinner",
  connection.connected_at as "connectedAt",
  connection.disconnected_at as "disconnectedAt"
from crm_connections as connection
left join lateral (
  select
    connection.paused_at,
    connection.pause_ends_at,
    connection.pause_reason
  where crm_pause_end(connection.paused_at, connection.pause_ends_at, crm_now()) is not null
) as pause on true
where connection.organisation_id = $1::uuid
  and connection.provider = $2::text
  and connection.status <> 'disconnected'`,
});


/** The parameters of {@link connectionListWithHealth}. */
export interface ConnectionListWithHealthParams {
  failuresSince: TimestampInput;
  isLive?: boolean | null | void;
  organisationId: string;
}

/** A row of {@link connectionListWithHealth}. */
export interface ConnectionListWithHealthResult {
  /** The account at the CRM, by the CRM's own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. The package sets it once: another account needs another connection. */
  account: string | null;
  /** Until when changes wait for the CRM to be connected again. Null while live, and if nothing was kept. */
  changesExpireAt: Timestamp | null;
  conflicts: number;
  /** Who wins if a person was edited here and at the CRM. nurturehub: ours is pushed. crm: theirs is applied here. person: neither is overwritten until a person decides. */
  conflictWinner: string;
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** When the access token inside the credentials expires; readable without decrypting. Null if it does not expire, or if the time is unknown. */
  credentialsExpiresAt: Timestamp | null;
  /** Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it. */
  credentialsVersion: number;
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp | null;
  dismissedRecords: number;
  /** How many syncs in a row have failed, including abandoned ones. */
  failedSyncs: number;
  /** When the current series of failed syncs began. Null if the last sync succeeded. */
  failingSince: Timestamp | null;
  failureCount: number;
  /** How many contacts the first fill has recorded to be pushed so far. Null if nobody asked for one. */
  filledContacts: number | null;
  /** When the first fill had looked at every contact; the last of them may still wait to be pushed. Null if it has not. */
  fillFinishedAt: Timestamp | null;
  /** When somebody asked for a first fill: for the contacts that have no record at the CRM to be pushed. Null if nobody has. */
  fillStartedAt: Timestamp | null;
  givenUpRecords: number;
  /** What became of the changes that were not pushed when the connection was disconnected, and of those recorded since. waiting: they are kept until the CRM is connected again. moved: the same account was connected again, and that connection has them. dropped: another account was connected, and they were deleted. expired: nothing was connected in time, and they were deleted. Null while live, and if an earlier release disconnected it: then nothing was kept. */
  keptChanges: string | null;
  lagSeconds: number | null;
  /** Why it failed: kind, retryable, message and optionally the provider's own code. Never a payload, a secret or personal data. Set exactly when status is error. */
  lastError: Json | null;
  /** inbound: from the CRM to NurtureHub. outbound: from NurtureHub to the CRM. */
  lastErrorDirection: string | null;
  /** What kind of record it was, in the provider's terms and lower snake case: contact, applicant, landlord … */
  lastErrorEntityType: string | null;
  /** The record's id at the CRM, case-sensitive. Null if there is none: a create that failed, or an error that concerns the whole account. */
  lastErrorExternalId: string | null;
  /** NurtureHub's own id of the record: the contact's id for people. No foreign key, so that history outlives the record. */
  lastErrorInternalId: string | null;
  /** When the operation ended, by the database's clock or the sync worker's. */
  lastEventAt: Timestamp | null;
  /** success: both sides agree. skipped: nothing had to change. error: it failed, error says why. */
  lastEventStatus: string | null;
  /** When the operation ended, by the database's clock or the sync worker's. */
  lastFailureAt: Timestamp | null;
  /** When a sync last succeeded. Null before the first success. */
  lastSuccessAt: Timestamp | null;
  /** The cursor of incremental sync: every change the CRM made up to this time, by the CRM's clock, has arrived. Null before the first complete sync, and to request a full one. Otherwise it never moves backwards. */
  lastSyncedAt: Timestamp | null;
  /** Why it failed, as in crm_sync_log. Set exactly when outcome is failed. */
  lastSyncError: Json | null;
  /** success: it finished. failed: it could not finish, error says why. abandoned: its lease expired without a heartbeat. cancelled: the connection was disconnected or paused, or the worker gave up its turn. Null while it is open. */
  lastSyncOutcome: string | null;
  /** When the connection is due; the oldest due is claimed first. Never before the lease of an open run expires. Once disconnected: from when a worker may be given credentials that wait to be revoked. */
  nextSyncAt: Timestamp;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** Since when the connection is paused: it is not synced, whatever asks for it. Null if it is not paused. */
  pausedAt: Timestamp | null;
  /** When the pause ends by itself. Null: when somebody resumes the connection. */
  pausedUntil: Timestamp | null;
  /** Why it is paused, for people: 1 to 500 characters. */
  pauseReason: string | null;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  requestedRecords: number;
  retriedRecords: number;
  /** What became of the CRM's token after disconnecting. pending: the credentials are kept for a worker to revoke them. revoked: a worker has, and they are wiped. expired: none had in time, and they are wiped all the same. Null if no revocation was asked for. */
  revocation: string | null;
  /** When credentials that wait to be revoked are wiped at the latest. Null if no revocation was asked for. */
  revokeBeforeAt: Timestamp | null;
  /** When the connection was claimed. */
  runningSince: Timestamp | null;
  state: string;
  /** active: it can sync. error: it needs attention, status_reason says why. disconnected: kept as history. */
  status: string;
  /** When status last changed. */
  statusChangedAt: Timestamp;
  /** Why the connection has its status, in words an agent can act on. Required for error, null for active. Never a secret or personal data. */
  statusReason: string | null;
  /** How long after a successful sync the next one is due: one minute to a week. */
  syncIntervalSeconds: number;
  waitingChanges: number;
}

/**
 * Lists every connection that an organisation has or had, live ones first, then by provider and newest
 * first, with its health: the state of its syncs, its open run, and its waiting and failing work, each
 * counted up to 1,000; from the log, the last event, the last failure with its record, and the failures since a
 * time, counted up to 1,000. If isLive is given, only live connections, or only the others. Returns a handful of
 * rows. Uses the primary key. Per connection it uses the primary
 * key of the log and crm_sync_log_status_connection_id_idx, newest first (`is true` keeps the planner from
 * the primary key where only failures are wanted, and from all open runs where only one is),
 * crm_sync_runs_pkey, crm_sync_runs_connection_id_open_key, crm_sync_failures_next_attempt_at_idx,
 * crm_sync_failures_gave_up_at_idx, crm_sync_failures_dismissed_at_idx,
 * crm_outbound_changes_next_attempt_at_idx, crm_record_requests_pkey and crm_sync_conflicts_open_idx.
 *
 * @remarks
 * ```sql
 * select
 *   connection.organisation_id as "organisationId",
 *   connection.id as "connectionId",
 *   connection.provider,
 *   connection.account,
 *   crm_connection_state(connection.status, pause.paused_at is not null, connection.failure_count) as "state!",
 *   connection.status,
 *   connection.status_reason as "statusReason",
 *   connection.status_changed_at as "statusChangedAt",
 *   connection.credentials_version as "credentialsVersion",
 *   connection.credentials_expires_at as "credentialsExpiresAt",
 *   pause.paused_at as "pausedAt?",
 *   pause.pause_ends_at as "pausedUntil?",
 *   pause.pause_reason as "pauseReason?",
 *   connection.last_synced_at as "lastSyncedAt",
 *   connection.connected_at as "connectedAt",
 *   connection.disconnected_at as "disconnectedAt",
 *   connection.revocation,
 *   connection.revoke_before_at as "revokeBeforeAt",
 *   connection.kept_changes as "keptChanges",
 *   connection.changes_expire_at as "changesExpireAt",
 *   connection.fill_started_at as "fillStartedAt",
 *   connection.filled_contacts as "filledContacts",
 *   connection.fill_finished_at as "fillFinishedAt",
 *   connection.next_sync_at as "nextSyncAt",
 *   connection.sync_interval_seconds as "syncIntervalSeconds",
 *   connection.conflict_winner as "conflictWinner",
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
 *   dismissed.count as "dismissedRecords!",
 *   waiting.count as "waitingChanges!",
 *   asked.count as "requestedRecords!",
 *   conflicts.count as "conflicts!",
 *   last_event.occurred_at as "lastEventAt?",
 *   last_event.status as "lastEventStatus?",
 *   last_failure.occurred_at as "lastFailureAt?",
 *   last_failure.error as "lastError?",
 *   failing_record.direction as "lastErrorDirection?",
 *   failing_record.entity_type as "lastErrorEntityType?",
 *   failing_record.external_id as "lastErrorExternalId?",
 *   failing_record.internal_id as "lastErrorInternalId?",
 *   failures.count as "failureCount!"
 * from crm_connections as connection
 * left join lateral (
 *   select
 *     connection.paused_at,
 *     connection.pause_ends_at,
 *     connection.pause_reason
 *   where crm_pause_end(connection.paused_at, connection.pause_ends_at, crm_now()) is not null
 * ) as pause on true
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
 *     from crm_sync_failures
 *     where organisation_id = connection.organisation_id
 *       and connection_id = connection.id
 *       and dismissed_at is not null
 *     order by dismissed_at
 *     limit 1000
 *   ) as counted
 * ) as dismissed
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
 * cross join lateral (
 *   select count(*)::integer as count
 *   from (
 *     select
 *     from crm_record_requests
 *     where organisation_id = connection.organisation_id
 *       and connection_id = connection.id
 *     limit 1000
 *   ) as counted
 * ) as asked
 * cross join lateral (
 *   select count(*)::integer as count
 *   from (
 *     select
 *     from crm_sync_conflicts
 *     where organisation_id = connection.organisation_id
 *       and connection_id = connection.id
 *       and acknowledged_at is null
 *     order by last_seen_at
 *     limit 1000
 *   ) as counted
 * ) as conflicts
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
 *     error,
 *     direction,
 *     entity_type,
 *     external_id,
 *     internal_id
 *   from crm_sync_log
 *   where (organisation_id = connection.organisation_id) is true
 *     and connection_id = connection.id
 *     and status = 'error'
 *   order by
 *     occurred_at desc,
 *     id desc
 *   limit 1
 * ) as last_failure on true
 * left join lateral (
 *   select
 *     last_failure.direction,
 *     last_failure.entity_type,
 *     last_failure.external_id,
 *     last_failure.internal_id
 *   -- An error of a whole run names no record.
 *   where num_nonnulls(last_failure.external_id, last_failure.internal_id) > 0
 * ) as failing_record on true
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
 *   and coalesce((connection.status <> 'disconnected') = :isLive::boolean, true)
 * order by
 *   connection.status = 'disconnected',
 *   connection.provider,
 *   connection.connected_at desc,
 *   connection.id
 * ```
 */
export const connectionListWithHealth = new PreparedQuery<ConnectionListWithHealthParams,ConnectionListWithHealthResult>({
  name: 'connectionListWithHealth',
  statementName: 'connectionListWithHealth_4f8ac933',
  params: [
    { name: 'failuresSince', required: true },
    { name: 'organisationId', required: true },
    { name: 'isLive', required: false },
  ],
  text: `select /* connectionListWithHealth */
  connection.organisation_id as "organisationId",
  connection.id as "connectionId",
  connection.provider,
  connection.account,
  crm_connection_state(connection.status, pause.paused_at is not null, connection.failure_count) as "state",
  connection.status,
  connection.status_reason as "statusReason",
  connection.status_changed_at as "statusChangedAt",
  connection.credentials_version as "credentialsVersion",
  connection.credentials_expires_at as "credentialsExpiresAt",
  pause.paused_at as "pausedAt",
  pause.pause_ends_at as "pausedUntil",
  pause.pause_reason as "pauseReason",
  connection.last_synced_at as "lastSyncedAt",
  connection.connected_at as "connectedAt",
  connection.disconnected_at as "disconnectedAt",
  connection.revocation,
  connection.revoke_before_at as "revokeBeforeAt",
  connection.kept_changes as "keptChanges",
  connection.changes_expire_at as "changesExpireAt",
  connection.fill_started_at as "fillStartedAt",
  connection.filled_contacts as "filledContacts",
  connection.fill_finished_at as "fillFinishedAt",
  connection.next_sync_at as "nextSyncAt",
  connection.sync_interval_seconds as "syncIntervalSeconds",
  connection.conflict_winner as "conflictWinner",
  connection.last_success_at as "lastSuccessAt",
  connection.first_failed_at as "failingSince",
  connection.failure_count as "failedSyncs",
  case
    when connection.status <> 'disconnected'
      then extract(epoch from crm_now() - connection.last_synced_at)::double precision
  end as "lagSeconds",
  last_run.outcome as "lastSyncOutcome",
  last_run.error as "lastSyncError",
  run.started_at as "runningSince",
  retried.count as "retriedRecords",
  given_up.count as "givenUpRecords",
  dismissed.count as "dismissedRecords",
  waiting.count as "waitingChanges",
  asked.count as "requestedRecords",
  conflicts.count as "conflicts",
  last_event.occurred_at as "lastEventAt",
  last_event.status as "lastEventStatus",
  last_failure.occurred_at as "lastFailureAt",
  last_failure.error as "lastError",
  failing_record.direction as "lastErrorDirection",
  failing_record.entity_type as "lastErrorEntityType",
  failing_record.external_id as "lastErrorExternalId",
  failing_record.internal_id as "lastErrorInternalId",
  failures.count as "failureCount"
from crm_connections as connection
left join lateral (
  select
    connection.paused_at,
    connection.pause_ends_at,
    connection.pause_reason
  where crm_pause_end(connection.paused_at, connection.pause_ends_at, crm_now()) is not null
) as pause on true
left join crm_sync_runs as run
  on run.organisation_id = connection.organisation_id
  and run.connection_id = connection.id
  and run.ended_at is null
  and (run.expires_at > crm_now()) is true
left join lateral (
  select
    outcome,
    error
  from crm_sync_runs
  where organisation_id = connection.organisation_id
    and connection_id = connection.id
    and ended_at is not null
  order by id desc
  limit 1
) as last_run on true
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_sync_failures
    where organisation_id = connection.organisation_id
      and connection_id = connection.id
      and next_attempt_at is not null
    order by next_attempt_at
    limit 1000
  ) as counted
) as retried
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_sync_failures
    where organisation_id = connection.organisation_id
      and connection_id = connection.id
      and gave_up_at is not null
    order by gave_up_at
    limit 1000
  ) as counted
) as given_up
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_sync_failures
    where organisation_id = connection.organisation_id
      and connection_id = connection.id
      and dismissed_at is not null
    order by dismissed_at
    limit 1000
  ) as counted
) as dismissed
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_outbound_changes
    where organisation_id = connection.organisation_id
      and connection_id = connection.id
    order by next_attempt_at
    limit 1000
  ) as counted
) as waiting
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_record_requests
    where organisation_id = connection.organisation_id
      and connection_id = connection.id
    limit 1000
  ) as counted
) as asked
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_sync_conflicts
    where organisation_id = connection.organisation_id
      and connection_id = connection.id
      and acknowledged_at is null
    order by last_seen_at
    limit 1000
  ) as counted
) as conflicts
left join lateral (
  select
    occurred_at,
    status
  from crm_sync_log
  where organisation_id = connection.organisation_id
    and connection_id = connection.id
  order by
    occurred_at desc,
    id desc
  limit 1
) as last_event on true
left join lateral (
  select
    occurred_at,
    error,
    direction,
    entity_type,
    external_id,
    internal_id
  from crm_sync_log
  where (organisation_id = connection.organisation_id) is true
    and connection_id = connection.id
    and status = 'error'
  order by
    occurred_at desc,
    id desc
  limit 1
) as last_failure on true
left join lateral (
  select
    last_failure.direction,
    last_failure.entity_type,
    last_failure.external_id,
    last_failure.internal_id
  where num_nonnulls(last_failure.external_id, last_failure.internal_id) > 0
) as failing_record on true
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_sync_log
    where (organisation_id = connection.organisation_id) is true
      and connection_id = connection.id
      and status = 'error'
      and occurred_at >= $1::timestamptz
    limit 1000
  ) as counted
) as failures
where connection.organisation_id = $2::uuid
  and coalesce((connection.status <> 'disconnected') = $3::boolean, true)
order by
  connection.status = 'disconnected',
  connection.provider,
  connection.connected_at desc,
  connection.id`,
});


/** The parameters of {@link connectionListLiveByAccount}. */
export interface ConnectionListLiveByAccountParams {
  account: string;
  afterConnectionId: string;
  afterOrganisationId: string;
  limit: number;
  provider: string;
}

/** A row of {@link connectionListLiveByAccount}. */
export interface ConnectionListLiveByAccountResult {
  /** The account at the CRM, by the CRM's own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. The package sets it once: another account needs another connection. */
  account: string | null;
  /** Who wins if a person was edited here and at the CRM. nurturehub: ours is pushed. crm: theirs is applied here. person: neither is overwritten until a person decides. */
  conflictWinner: string;
  /** When the organisation connected the CRM. */
  connectedAt: Timestamp;
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** When the access token inside the credentials expires; readable without decrypting. Null if it does not expire, or if the time is unknown. */
  credentialsExpiresAt: Timestamp | null;
  /** Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it. */
  credentialsVersion: number;
  /** When the connection ended. Set exactly when status is disconnected. */
  disconnectedAt: Timestamp | null;
  /** The cursor of incremental sync: every change the CRM made up to this time, by the CRM's clock, has arrived. Null before the first complete sync, and to request a full one. Otherwise it never moves backwards. */
  lastSyncedAt: Timestamp | null;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** active: it can sync. error: it needs attention, status_reason says why. disconnected: kept as history. */
  status: string;
  /** When status last changed. */
  statusChangedAt: Timestamp;
  /** Why the connection has its status, in words an agent can act on. Required for error, null for active. Never a secret or personal data. */
  statusReason: string | null;
  /** How long after a successful sync the next one is due: one minute to a week. */
  syncIntervalSeconds: number;
}

/**
 * Lists the live connections to an account at a CRM, of all organisations that the user sees, a page at a time.
 * Usually there is one. Returns at most `limit` rows. Uses crm_connections_account_idx.
 *
 * @remarks
 * ```sql
 * select
 *   organisation_id as "organisationId",
 *   id as "connectionId",
 *   provider,
 *   account,
 *   status,
 *   status_reason as "statusReason",
 *   status_changed_at as "statusChangedAt",
 *   credentials_version as "credentialsVersion",
 *   credentials_expires_at as "credentialsExpiresAt",
 *   last_synced_at as "lastSyncedAt",
 *   sync_interval_seconds as "syncIntervalSeconds",
 *   conflict_winner as "conflictWinner",
 *   connected_at as "connectedAt",
 *   disconnected_at as "disconnectedAt"
 * from crm_connections
 * where provider = :provider!::text
 *   and account = :account!::text
 *   and status <> 'disconnected'
 *   and (organisation_id, id) > (:afterOrganisationId!::uuid, :afterConnectionId!::uuid)
 * order by
 *   organisation_id,
 *   id
 * limit :limit!::integer
 * ```
 */
export const connectionListLiveByAccount = new PreparedQuery<ConnectionListLiveByAccountParams,ConnectionListLiveByAccountResult>({
  name: 'connectionListLiveByAccount',
  statementName: 'connectionListLiveByAccount_728d2707',
  params: [
    { name: 'provider', required: true },
    { name: 'account', required: true },
    { name: 'afterOrganisationId', required: true },
    { name: 'afterConnectionId', required: true },
    { name: 'limit', required: true },
  ],
  text: `select /* connectionListLiveByAccount */
  organisation_id as "organisationId",
  id as "connectionId",
  provider,
  account,
  status,
  status_reason as "statusReason",
  status_changed_at as "statusChangedAt",
  credentials_version as "credentialsVersion",
  credentials_expires_at as "credentialsExpiresAt",
  last_synced_at as "lastSyncedAt",
  sync_interval_seconds as "syncIntervalSeconds",
  conflict_winner as "conflictWinner",
  connected_at as "connectedAt",
  disconnected_at as "disconnectedAt"
from crm_connections
where provider = $1::text
  and account = $2::text
  and status <> 'disconnected'
  and (organisation_id, id) > ($3::uuid, $4::uuid)
order by
  organisation_id,
  id
limit $5::integer`,
});


/** The parameters of {@link connectionListTotals}. */
export type ConnectionListTotalsParams = void;

/** A row of {@link connectionListTotals}. */
export interface ConnectionListTotalsResult {
  connections: number;
  due: number;
  failing: number;
  mostFailedSyncs: number;
  neverSynced: number;
  nextSyncAt: Timestamp;
  oldestSuccessAt: Timestamp | null;
  paused: number;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** active: it can sync. error: it needs attention, status_reason says why. disconnected: kept as history. */
  status: string;
}

/**
 * Summarises the live connections of all organisations: one row per CRM and status. The oldest success leaves out
 * paused connections. For monitoring. Reads every connection once.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * )
 * select
 *   provider,
 *   status,
 *   count(*)::integer as "connections!",
 *   count(*) filter (where last_success_at is null)::integer as "neverSynced!",
 *   count(*) filter (where failure_count > 0)::integer as "failing!",
 *   max(failure_count) as "mostFailedSyncs!",
 *   count(*) filter (where is_paused)::integer as "paused!",
 *   -- Of the whole table: crm_now() for each row would take most of the time.
 *   count(*) filter (where next_sync_at <= (select at from clock))::integer as "due!",
 *   min(next_sync_at) as "nextSyncAt!",
 *   min(last_success_at) filter (where not is_paused) as "oldestSuccessAt?"
 * from (
 *   select
 *     provider,
 *     status,
 *     last_success_at,
 *     failure_count,
 *     next_sync_at,
 *     -- Few are, and the function need not be called for the others.
 *     paused_at is not null and crm_pause_end(paused_at, pause_ends_at, (select at from clock)) is not null as is_paused
 *   from crm_connections
 *   where status <> 'disconnected'
 * ) as connection
 * group by
 *   provider,
 *   status
 * order by
 *   provider,
 *   status
 * ```
 */
export const connectionListTotals = new PreparedQuery<ConnectionListTotalsParams,ConnectionListTotalsResult>({
  name: 'connectionListTotals',
  statementName: 'connectionListTotals_33344f0e',
  params: [],
  text: `with /* connectionListTotals */ clock as materialized (
  select crm_now() as at
)
select
  provider,
  status,
  count(*)::integer as "connections",
  count(*) filter (where last_success_at is null)::integer as "neverSynced",
  count(*) filter (where failure_count > 0)::integer as "failing",
  max(failure_count) as "mostFailedSyncs",
  count(*) filter (where is_paused)::integer as "paused",
  count(*) filter (where next_sync_at <= (select at from clock))::integer as "due",
  min(next_sync_at) as "nextSyncAt",
  min(last_success_at) filter (where not is_paused) as "oldestSuccessAt"
from (
  select
    provider,
    status,
    last_success_at,
    failure_count,
    next_sync_at,
    paused_at is not null and crm_pause_end(paused_at, pause_ends_at, (select at from clock)) is not null as is_paused
  from crm_connections
  where status <> 'disconnected'
) as connection
group by
  provider,
  status
order by
  provider,
  status`,
});


/** The parameters of {@link connectionPause}. */
export interface ConnectionPauseParams {
  connectionId: string;
  organisationId: string;
  reason?: string | null | void;
  until?: TimestampInput | null | void;
}

/** A row of {@link connectionPause}. */
export interface ConnectionPauseResult {
  outcome: string;
  /** Since when the connection is paused: it is not synced, whatever asks for it. Null if it is not paused. */
  pausedAt: Timestamp | null;
}

/**
 * Pauses a live connection, or changes its pause: it is not due until the pause ends, and then at once, or as soon
 * as the CRM may be asked again. Returns one row, or none if the organisation has no such connection: `outcome`
 * (`paused`, `over` if `until` has passed, and then nothing was changed, or `disconnected`) and `pausedAt`. Uses the
 * primary key. Locks the row for the transaction.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * connection as (
 *   select
 *     connection.organisation_id,
 *     connection.id,
 *     connection.status,
 *     case
 *       when connection.status = 'disconnected' then 'disconnected'
 *       when :until::timestamptz <= clock.at then 'over'
 *       else 'paused'
 *     end as outcome
 *   from crm_connections as connection
 *   cross join clock
 *   where connection.organisation_id = :organisationId!::uuid
 *     and connection.id = :connectionId!::uuid
 *   for no key update of connection
 * ),
 * paused as (
 *   update crm_connections
 *   set
 *     paused_at = case
 *       when crm_pause_end(paused_at, pause_ends_at, clock.at) is null then clock.at
 *       else paused_at
 *     end,
 *     pause_ends_at = :until::timestamptz,
 *     pause_reason = :reason::text,
 *     -- The trigger crm_connections_hold_paused moves it to the end of the pause. greatest ignores null.
 *     next_sync_at = greatest(clock.at, not_before_at)
 *   from connection
 *   cross join clock
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.outcome = 'paused'
 *   returning crm_connections.paused_at
 * )
 * select
 *   connection.outcome as "outcome!",
 *   paused.paused_at as "pausedAt?"
 * from connection
 * left join paused on true
 * ```
 */
export const connectionPause = new PreparedQuery<ConnectionPauseParams,ConnectionPauseResult>({
  name: 'connectionPause',
  statementName: 'connectionPause_c30c954a',
  params: [
    { name: 'until', required: false },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'reason', required: false },
  ],
  text: `with /* connectionPause */ clock as materialized (
  select crm_now() as at
),
connection as (
  select
    connection.organisation_id,
    connection.id,
    connection.status,
    case
      when connection.status = 'disconnected' then 'disconnected'
      when $1::timestamptz <= clock.at then 'over'
      else 'paused'
    end as outcome
  from crm_connections as connection
  cross join clock
  where connection.organisation_id = $2::uuid
    and connection.id = $3::uuid
  for no key update of connection
),
paused as (
  update crm_connections
  set
    paused_at = case
      when crm_pause_end(paused_at, pause_ends_at, clock.at) is null then clock.at
      else paused_at
    end,
    pause_ends_at = $1::timestamptz,
    pause_reason = $4::text,
    next_sync_at = greatest(clock.at, not_before_at)
  from connection
  cross join clock
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.outcome = 'paused'
  returning crm_connections.paused_at
)
select
  connection.outcome as "outcome",
  paused.paused_at as "pausedAt"
from connection
left join paused on true`,
});


/** The parameters of {@link connectionRequestSync}. */
export interface ConnectionRequestSyncParams {
  connectionIds: string[];
  isUrgent: boolean;
  organisationId: string;
}

/** A row of {@link connectionRequestSync}. */
export interface ConnectionRequestSyncResult {
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
}

/**
 * Requests a sync of live connections as soon as the CRM may be asked again, or at once if urgent; of a paused
 * connection, when its pause ends. A request during a run is kept and leads to another sync after it, because claims
 * skip connections with an open run. Returns the connections that changed: many requests make one write and one sync.
 * Fails with CRM05 if row-level security hides the organisation. Uses the primary key. Locks the rows for the
 * transaction, in key order.
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
 *     -- greatest ignores null.
 *     greatest(
 *       clock.at,
 *       case when not :isUrgent!::boolean then connection.not_before_at end,
 *       crm_pause_end(connection.paused_at, connection.pause_ends_at, clock.at)
 *     ) as at
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
export const connectionRequestSync = new PreparedQuery<ConnectionRequestSyncParams,ConnectionRequestSyncResult>({
  name: 'connectionRequestSync',
  statementName: 'connectionRequestSync_74d22d3b',
  params: [
    { name: 'isUrgent', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionIds', required: true },
  ],
  text: `with /* connectionRequestSync */ clock as materialized (
  select crm_now() as at
),
wanted as (
  select
    connection.id,
    connection.next_sync_at,
    connection.sync_requested_at,
    greatest(
      clock.at,
      case when not $1::boolean then connection.not_before_at end,
      crm_pause_end(connection.paused_at, connection.pause_ends_at, clock.at)
    ) as at
  from crm_connections as connection
  cross join clock
  where connection.organisation_id = $2::uuid
    and connection.id = any($3::uuid[])
    and connection.status <> 'disconnected'
  order by connection.id
  for no key update of connection
)
update crm_connections
set
  sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
  not_before_at = case when not $1::boolean then not_before_at end,
  next_sync_at = least(crm_connections.next_sync_at, wanted.at)
from wanted
cross join clock
where crm_check_organisation($2::uuid)
  and crm_connections.organisation_id = $2::uuid
  and crm_connections.id = wanted.id
  and (wanted.sync_requested_at is null or wanted.next_sync_at > wanted.at)
returning crm_connections.id as "connectionId"`,
});


/** The parameters of {@link connectionResetLastSyncedAt}. */
export interface ConnectionResetLastSyncedAtParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionResetLastSyncedAt}. */
export interface ConnectionResetLastSyncedAtResult {
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
}

/**
 * Clears the cursor of a live connection and those of its inbound streams, so that the next sync is a full
 * one. Returns one row, or none if the organisation has no such live connection. Uses primary keys. Locks
 * the connection for the transaction, then the cursors.
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
export const connectionResetLastSyncedAt = new PreparedQuery<ConnectionResetLastSyncedAtParams,ConnectionResetLastSyncedAtResult>({
  name: 'connectionResetLastSyncedAt',
  statementName: 'connectionResetLastSyncedAt_7467eff8',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `with /* connectionResetLastSyncedAt */ forgotten as (
  update crm_connections
  set last_synced_at = null
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status <> 'disconnected'
  returning
    organisation_id,
    id
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
  from forgotten
  where cursor.organisation_id = forgotten.organisation_id
    and cursor.connection_id = forgotten.id
    and cursor.direction = 'inbound'
)
select id as "connectionId"
from forgotten`,
});


/** The parameters of {@link connectionResume}. */
export interface ConnectionResumeParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionResume}. */
export interface ConnectionResumeResult {
  nextSyncAt: Timestamp;
}

/**
 * Ends the pause of a live connection, which becomes due as soon as the CRM may be asked again; changes nothing if
 * it is not paused. Returns one row, or none if the organisation has no such live connection. Uses the primary key.
 * Locks the row for the transaction.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     next_sync_at
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *   for no key update
 * ),
 * resumed as (
 *   update crm_connections
 *   set
 *     paused_at = null,
 *     pause_ends_at = null,
 *     pause_reason = null,
 *     -- greatest ignores null.
 *     next_sync_at = greatest(crm_now(), not_before_at)
 *   from connection
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and crm_connections.paused_at is not null
 *   returning crm_connections.next_sync_at
 * )
 * select coalesce(resumed.next_sync_at, connection.next_sync_at) as "nextSyncAt!"
 * from connection
 * left join resumed on true
 * ```
 */
export const connectionResume = new PreparedQuery<ConnectionResumeParams,ConnectionResumeResult>({
  name: 'connectionResume',
  statementName: 'connectionResume_d7def268',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `with /* connectionResume */ connection as (
  select
    organisation_id,
    id,
    next_sync_at
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status <> 'disconnected'
  for no key update
),
resumed as (
  update crm_connections
  set
    paused_at = null,
    pause_ends_at = null,
    pause_reason = null,
    next_sync_at = greatest(crm_now(), not_before_at)
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and crm_connections.paused_at is not null
  returning crm_connections.next_sync_at
)
select coalesce(resumed.next_sync_at, connection.next_sync_at) as "nextSyncAt"
from connection
left join resumed on true`,
});


/** The parameters of {@link connectionSetAccount}. */
export interface ConnectionSetAccountParams {
  account: string;
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionSetAccount}. */
export interface ConnectionSetAccountResult {
  archivedIds: number;
  droppedChanges: number;
  outcome: string;
  restoredIds: number;
}

/**
 * Sets the account of a live connection if it is unknown, and makes it the one to which the organisation's
 * ids at this CRM belong (crm_switch_account): ids known to be of another account are archived, those
 * linked since the connection was made stay. Drops what was taken over from a connection to another account
 * (crm_take_over_changes). Returns one row, or none if the organisation has no such connection: `outcome` (`set`,
 * `disconnected`, or `other_account` if it has another one), how many ids were archived and restored, and for how many
 * contacts changes were dropped. Uses the primary key. Locks the row for the transaction, then takes the
 * lock of crm_lock_external_ids if the account is set; if there was another connection, then locks contacts and ids.
 * Needs READ COMMITTED.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     status,
 *     account
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *   for no key update
 * ),
 * named as (
 *   update crm_connections
 *   set account = :account!::text
 *   from connection
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.status <> 'disconnected'
 *     and connection.account is null
 *   returning
 *     crm_connections.organisation_id,
 *     crm_connections.id,
 *     crm_connections.connected_at
 * )
 * select
 *   case
 *     when connection.status = 'disconnected' then 'disconnected'
 *     when connection.account <> :account!::text then 'other_account'
 *     else 'set'
 *   end as "outcome!",
 *   coalesce(switched.archived, 0) as "archivedIds!",
 *   coalesce(switched.restored, 0) as "restoredIds!",
 *   coalesce(taken.dropped, 0) as "droppedChanges!"
 * from connection
 * left join named
 *   on named.id = connection.id
 * left join lateral crm_switch_account(
 *   named.organisation_id,
 *   named.id,
 *   'keep',
 *   named.connected_at
 * ) as switched on true
 * left join lateral crm_take_over_changes(
 *   named.organisation_id,
 *   -- Always true. It makes the switch come first, which locks the contacts.
 *   case when switched.archived is not null then named.id end,
 *   'keep',
 *   named.connected_at
 * ) as taken on true
 * ```
 */
export const connectionSetAccount = new PreparedQuery<ConnectionSetAccountParams,ConnectionSetAccountResult>({
  name: 'connectionSetAccount',
  statementName: 'connectionSetAccount_ff8ea06e',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'account', required: true },
  ],
  text: `with /* connectionSetAccount */ connection as (
  select
    organisation_id,
    id,
    status,
    account
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
  for no key update
),
named as (
  update crm_connections
  set account = $3::text
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and connection.account is null
  returning
    crm_connections.organisation_id,
    crm_connections.id,
    crm_connections.connected_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.account <> $3::text then 'other_account'
    else 'set'
  end as "outcome",
  coalesce(switched.archived, 0) as "archivedIds",
  coalesce(switched.restored, 0) as "restoredIds",
  coalesce(taken.dropped, 0) as "droppedChanges"
from connection
left join named
  on named.id = connection.id
left join lateral crm_switch_account(
  named.organisation_id,
  named.id,
  'keep',
  named.connected_at
) as switched on true
left join lateral crm_take_over_changes(
  named.organisation_id,
  case when switched.archived is not null then named.id end,
  'keep',
  named.connected_at
) as taken on true`,
});


/** The parameters of {@link connectionSetConflictWinner}. */
export interface ConnectionSetConflictWinnerParams {
  conflictWinner: string;
  connectionId: string;
  organisationId: string;
}

/** A row of {@link connectionSetConflictWinner}. */
export interface ConnectionSetConflictWinnerResult {
  /** Who wins if a person was edited here and at the CRM. nurturehub: ours is pushed. crm: theirs is applied here. person: neither is overwritten until a person decides. */
  conflictWinner: string;
}

/**
 * Sets who wins if a person was edited here and at the CRM, from the next run on. Returns one row, or none if the
 * organisation has no such live connection. Uses the primary key. Locks the row for the transaction.
 *
 * @remarks
 * ```sql
 * update crm_connections
 * set conflict_winner = :conflictWinner!::text
 * where organisation_id = :organisationId!::uuid
 *   and id = :connectionId!::uuid
 *   and status <> 'disconnected'
 * returning conflict_winner as "conflictWinner"
 * ```
 */
export const connectionSetConflictWinner = new PreparedQuery<ConnectionSetConflictWinnerParams,ConnectionSetConflictWinnerResult>({
  name: 'connectionSetConflictWinner',
  statementName: 'connectionSetConflictWinner_ed866488',
  params: [
    { name: 'conflictWinner', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `update /* connectionSetConflictWinner */ crm_connections
set conflict_winner = $1::text
where organisation_id = $2::uuid
  and id = $3::uuid
  and status <> 'disconnected'
returning conflict_winner as "conflictWinner"`,
});


/** The parameters of {@link connectionSetStatus}. */
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

/**
 * Sets a live connection to active (without a reason) or error (with one). If credentialsVersion is given,
 * only if its credentials are still of that version. Returns one row, or none if the organisation has no
 * such connection: `outcome` (`set`, `superseded` or `disconnected`) and statusChangedAt, which only
 * changes with the status. Activating a connection clears its count of failed syncs and makes it due at
 * once. Writes nothing if nothing changes. Uses the primary key. Locks the row for the transaction. Needs
 * READ COMMITTED: at a higher level, a concurrent change fails with 40001.
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
 *     -- Once active, the next failure is the first.
 *     failure_count = case when :status!::text = 'active' then 0 else connection.failure_count end,
 *     first_failed_at = case when :status!::text <> 'active' then first_failed_at end,
 *     records_failing_at = case when :status!::text <> 'active' then records_failing_at end,
 *     -- Due at once, as after an urgent request: whoever activates it has repaired something.
 *     not_before_at = case when :status!::text <> 'active' then not_before_at end,
 *     sync_requested_at = case
 *       when :status!::text = 'active' then coalesce(sync_requested_at, crm_now())
 *       else sync_requested_at
 *     end,
 *     next_sync_at = case
 *       when :status!::text = 'active' then least(next_sync_at, crm_now())
 *       else next_sync_at
 *     end
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
export const connectionSetStatus = new PreparedQuery<ConnectionSetStatusParams,ConnectionSetStatusResult>({
  name: 'connectionSetStatus',
  statementName: 'connectionSetStatus_bd595968',
  params: [
    { name: 'credentialsVersion', required: false },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'status', required: true },
    { name: 'reason', required: false },
  ],
  text: `with /* connectionSetStatus */ connection as (
  select
    organisation_id,
    id,
    status,
    status_reason,
    status_changed_at,
    failure_count,
    credentials_version = coalesce($1::integer, credentials_version) as is_current
  from crm_connections
  where organisation_id = $2::uuid
    and id = $3::uuid
  for no key update
),
changed as (
  update crm_connections
  set
    status = $4::text,
    status_reason = $5::text,
    status_changed_at = case
      when connection.status = $4::text then connection.status_changed_at
      else now()
    end,
    failure_count = case when $4::text = 'active' then 0 else connection.failure_count end,
    first_failed_at = case when $4::text <> 'active' then first_failed_at end,
    records_failing_at = case when $4::text <> 'active' then records_failing_at end,
    not_before_at = case when $4::text <> 'active' then not_before_at end,
    sync_requested_at = case
      when $4::text = 'active' then coalesce(sync_requested_at, crm_now())
      else sync_requested_at
    end,
    next_sync_at = case
      when $4::text = 'active' then least(next_sync_at, crm_now())
      else next_sync_at
    end
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and connection.is_current
    and (
      (connection.status, connection.status_reason) is distinct from ($4::text, $5::text)
      or ($4::text = 'active' and connection.failure_count > 0)
    )
  returning crm_connections.status_changed_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.is_current then 'set'
    else 'superseded'
  end as "outcome",
  coalesce((select status_changed_at from changed), connection.status_changed_at) as "statusChangedAt"
from connection`,
});


/** The parameters of {@link connectionSetSyncInterval}. */
export interface ConnectionSetSyncIntervalParams {
  connectionId: string;
  organisationId: string;
  syncIntervalSeconds: number;
}

/** A row of {@link connectionSetSyncInterval}. */
export interface ConnectionSetSyncIntervalResult {
  /** When the connection is due; the oldest due is claimed first. Never before the lease of an open run expires. Once disconnected: from when a worker may be given credentials that wait to be revoked. */
  nextSyncAt: Timestamp;
}

/**
 * Sets the sync interval of a live connection. A shorter interval counts from now, also for the next due
 * sync, but not before the CRM may be asked again. Returns one row, or none if the organisation has no
 * such live connection. Uses the primary key. Locks the row for the transaction.
 *
 * @remarks
 * ```sql
 * update crm_connections
 * set
 *   sync_interval_seconds = :syncIntervalSeconds!::integer,
 *   -- greatest ignores null.
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
export const connectionSetSyncInterval = new PreparedQuery<ConnectionSetSyncIntervalParams,ConnectionSetSyncIntervalResult>({
  name: 'connectionSetSyncInterval',
  statementName: 'connectionSetSyncInterval_36090476',
  params: [
    { name: 'syncIntervalSeconds', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `update /* connectionSetSyncInterval */ crm_connections
set
  sync_interval_seconds = $1::integer,
  next_sync_at = least(
    next_sync_at,
    greatest(crm_now() + make_interval(secs => $1::integer), not_before_at)
  )
where organisation_id = $2::uuid
  and id = $3::uuid
  and status <> 'disconnected'
returning next_sync_at as "nextSyncAt"`,
});


/** The parameters of {@link connectionTotalWork}. */
export type ConnectionTotalWorkParams = void;

/** A row of {@link connectionTotalWork}. */
export interface ConnectionTotalWorkResult {
  dismissedRecords: number;
  expired: number;
  givenUpRecords: number;
  retriedRecords: number;
  running: number;
  waitingChanges: number;
}

/**
 * Counts the work in progress and the work waiting across all organisations, each up to 10,000. Returns
 * one row. For monitoring. Uses crm_sync_runs_expires_at_idx, crm_sync_failures_next_attempt_at_idx,
 * crm_sync_failures_gave_up_at_idx and crm_sync_failures_dismissed_at_idx. Of the outbound changes it reads up to 10,000 rows in table order.
 *
 * @remarks
 * ```sql
 * select
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_runs where outcome is null and expires_at > crm_now() limit 10000) as counted
 *   ) as "running!",
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_runs where outcome is null and expires_at <= crm_now() limit 10000) as counted
 *   ) as "expired!",
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_failures where next_attempt_at is not null limit 10000) as counted
 *   ) as "retriedRecords!",
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_failures where gave_up_at is not null limit 10000) as counted
 *   ) as "givenUpRecords!",
 *   (
 *     select count(*)::integer
 *     from (select from crm_sync_failures where dismissed_at is not null limit 10000) as counted
 *   ) as "dismissedRecords!",
 *   (select count(*)::integer from (select from crm_outbound_changes limit 10000) as counted) as "waitingChanges!"
 * ```
 */
export const connectionTotalWork = new PreparedQuery<ConnectionTotalWorkParams,ConnectionTotalWorkResult>({
  name: 'connectionTotalWork',
  statementName: 'connectionTotalWork_0534f9d5',
  params: [],
  text: `select /* connectionTotalWork */
  (
    select count(*)::integer
    from (select from crm_sync_runs where outcome is null and expires_at > crm_now() limit 10000) as counted
  ) as "running",
  (
    select count(*)::integer
    from (select from crm_sync_runs where outcome is null and expires_at <= crm_now() limit 10000) as counted
  ) as "expired",
  (
    select count(*)::integer
    from (select from crm_sync_failures where next_attempt_at is not null limit 10000) as counted
  ) as "retriedRecords",
  (
    select count(*)::integer
    from (select from crm_sync_failures where gave_up_at is not null limit 10000) as counted
  ) as "givenUpRecords",
  (
    select count(*)::integer
    from (select from crm_sync_failures where dismissed_at is not null limit 10000) as counted
  ) as "dismissedRecords",
  (select count(*)::integer from (select from crm_outbound_changes limit 10000) as counted) as "waitingChanges"`,
});


