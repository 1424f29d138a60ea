/* @name connectionAdvanceLastSyncedAt */
-- Moves the cursor of a live connection forwards, never backwards. One row, or none if the
-- organisation has no such connection: `outcome` says what happened (`advanced`, `moved_backwards`
-- or `disconnected`), `lastSyncedAt` where the cursor stands now. Locks the row for the transaction;
-- by primary key.
with connection as (
  select
    organisation_id,
    id,
    status,
    last_synced_at
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
  for no key update
),
advanced as (
  update crm_connections
  set last_synced_at = :lastSyncedAt!::timestamptz
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and (connection.last_synced_at is null or connection.last_synced_at < :lastSyncedAt!::timestamptz)
  returning crm_connections.last_synced_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.last_synced_at > :lastSyncedAt!::timestamptz then 'moved_backwards'
    else 'advanced'
  end as "outcome!",
  coalesce((select last_synced_at from advanced), connection.last_synced_at) as "lastSyncedAt"
from connection;

/* @name connectionConnect */
-- Connects a CRM: one new, active connection. Violates
-- crm_connections_organisation_id_provider_live_key if the organisation has a live one already.
insert into crm_connections (
  organisation_id,
  id,
  provider,
  credentials,
  credentials_expires_at
)
values (
  :organisationId!::uuid,
  :connectionId!::uuid,
  :provider!::text,
  :credentials!::jsonb,
  :credentialsExpiresAt::timestamptz
)
returning connected_at as "connectedAt";

/* @name connectionDisconnect */
-- Ends a live connection and wipes its credentials; the row stays as history, with the given reason
-- or else the one it had. One row, or none if the organisation has no such live connection. By primary
-- key; locks the row for the transaction.
update crm_connections
set
  status = 'disconnected',
  status_reason = coalesce(:reason::text, status_reason),
  status_changed_at = now(),
  disconnected_at = now(),
  credentials = null,
  credentials_version = credentials_version + 1,
  credentials_expires_at = null
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid
  and status <> 'disconnected'
returning disconnected_at as "disconnectedAt!";

/* @name connectionGet */
-- One connection, live or disconnected. At most one row, by primary key.
select
  organisation_id as "organisationId",
  id as "connectionId",
  provider,
  status,
  status_reason as "statusReason",
  status_changed_at as "statusChangedAt",
  last_synced_at as "lastSyncedAt",
  connected_at as "connectedAt",
  disconnected_at as "disconnectedAt"
from crm_connections
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid;

/* @name connectionGetCredentials */
-- The encrypted credentials of a live connection, for the sync worker alone. At most one row, by
-- primary key.
select
  provider,
  credentials as "credentials!",
  credentials_key_id as "credentialsKeyId!",
  credentials_version as "credentialsVersion",
  credentials_expires_at as "credentialsExpiresAt"
from crm_connections
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid
  and status <> 'disconnected';

/* @name connectionGetLive */
-- The live connection of an organisation to one CRM. At most one row, by
-- crm_connections_organisation_id_provider_live_key.
select
  organisation_id as "organisationId",
  id as "connectionId",
  provider,
  status,
  status_reason as "statusReason",
  status_changed_at as "statusChangedAt",
  last_synced_at as "lastSyncedAt",
  connected_at as "connectedAt",
  disconnected_at as "disconnectedAt"
from crm_connections
where organisation_id = :organisationId!::uuid
  and provider = :provider!::text
  and status <> 'disconnected';

/* @name connectionListWithHealth */
-- Every connection an organisation has or had, live ones first, then by provider and newest first,
-- with what the log says of its health: the last event, the last failure, and the failures since a
-- time, counted up to 1,000. A handful of rows by the primary key; for each, the log's primary key
-- and crm_sync_log_status_connection_id_idx, newest first; «is true» keeps the planner from the primary
-- key where only failures are wanted.
select
  connection.organisation_id as "organisationId",
  connection.id as "connectionId",
  connection.provider,
  connection.status,
  connection.status_reason as "statusReason",
  connection.status_changed_at as "statusChangedAt",
  connection.last_synced_at as "lastSyncedAt",
  connection.connected_at as "connectedAt",
  connection.disconnected_at as "disconnectedAt",
  last_event.occurred_at as "lastEventAt?",
  last_event.status as "lastEventStatus?",
  last_failure.occurred_at as "lastFailureAt?",
  last_failure.error as "lastError?",
  failures.count as "failureCount!"
from crm_connections as connection
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
    error
  from crm_sync_log
  where (organisation_id = connection.organisation_id) is true
    and connection_id = connection.id
    and status = 'error'
  order by
    occurred_at desc,
    id desc
  limit 1
) as last_failure on true
cross join lateral (
  select count(*)::integer as count
  from (
    select
    from crm_sync_log
    where (organisation_id = connection.organisation_id) is true
      and connection_id = connection.id
      and status = 'error'
      and occurred_at >= :failuresSince!::timestamptz
    limit 1000
  ) as counted
) as failures
where connection.organisation_id = :organisationId!::uuid
order by
  connection.status = 'disconnected',
  connection.provider,
  connection.connected_at desc,
  connection.id;

/* @name connectionResetLastSyncedAt */
-- Forgets the cursor of a live connection, which asks for a full sync. One row, or none if the
-- organisation has no such live connection. By primary key; locks the row for the transaction.
update crm_connections
set last_synced_at = null
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid
  and status <> 'disconnected'
returning id as "connectionId";

/* @name connectionSetStatus */
-- Sets a live connection to active (no reason) or error (with one). One row, or none if the
-- organisation has no such live connection; statusChangedAt moves only when the status does. By
-- primary key; locks the row for the transaction.
update crm_connections
set
  status = :status!::text,
  status_reason = :reason::text,
  status_changed_at = case when status = :status!::text then status_changed_at else now() end
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid
  and status <> 'disconnected'
returning status_changed_at as "statusChangedAt";
