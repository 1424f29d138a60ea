/* @name connectionAdvanceLastSyncedAt */
-- Moves the cursor of a live connection forwards, never backwards, and not more than a day ahead of the clock
-- (crm_latest_time). Returns one row, or none if the organisation has no such connection: `outcome` (`advanced`,
-- `moved_backwards`, `in_future` or `disconnected`) and `lastSyncedAt`, the cursor now. Uses the primary key. Locks
-- the row for the transaction.
with connection as (
  select
    organisation_id,
    id,
    status,
    last_synced_at,
    :lastSyncedAt!::timestamptz > crm_latest_time(crm_now()) as is_in_future
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
    and not connection.is_in_future
    and (connection.last_synced_at is null or connection.last_synced_at < :lastSyncedAt!::timestamptz)
  returning crm_connections.last_synced_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.is_in_future then 'in_future'
    when connection.last_synced_at > :lastSyncedAt!::timestamptz then 'moved_backwards'
    else 'advanced'
  end as "outcome!",
  coalesce((select last_synced_at from advanced), connection.last_synced_at) as "lastSyncedAt"
from connection;

/* @name connectionCancelRun */
-- Cancels the open run of a paused connection, so that its worker stops. Returns the run, or no row if there is
-- none. This is a separate statement because connectionPause does not see a run that was opened while it waited.
-- Uses primary keys. Locks the connection for the transaction, then the run.
with connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
    and status <> 'disconnected'
    and crm_pause_end(paused_at, pause_ends_at, crm_now()) is not null
  for no key update
)
update crm_sync_runs as run
set
  ended_at = crm_now(),
  outcome = 'cancelled'
from connection
-- By the parameters, not by the connection's columns: those the planner may join after reading every open run.
where run.organisation_id = :organisationId!::uuid
  and run.connection_id = :connectionId!::uuid
  and run.ended_at is null
returning run.id as "runId";

/* @name connectionConnect */
-- Connects a CRM: inserts a new, active connection, with the winner of conflicts that the organisation last had at this
-- CRM, and makes its account the one to which the organisation's ids at this CRM belong (crm_switch_account). Their
-- versions and contents are forgotten if contacts may have changed since the last connection ended and that does not
-- wait to be pushed (crm_forget_missed_contents). Takes over what waits to be pushed from the connection before, or
-- drops it if that was to another account (crm_take_over_changes). Returns one row: `connectedAt`, later
-- than that of every earlier connection to the CRM, how many ids were archived and restored, and for how many contacts
-- changes were taken over and dropped. Violates
-- crm_connections_organisation_id_provider_live_key if the organisation already has a live connection to
-- the CRM. Fails with CRM06 if the account is given, ids of an unknown account are present, and
-- idsOfUnknownAccount is null. Uses the primary key. Takes the lock of crm_lock_external_ids, so that nobody connects a CRM
-- while an erasure in the organisation is open; if there was another connection, then locks contacts and ids, then that
-- connection and what waits there.
with connection as (
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
    :organisationId!::uuid,
    :connectionId!::uuid,
    :provider!::text,
    :account::text,
    :credentials!::jsonb,
    :credentialsExpiresAt::timestamptz,
    coalesce(
      (
        select conflict_winner
        from crm_connections
        where organisation_id = :organisationId!::uuid
          and provider = :provider!::text
        order by connected_at desc
        limit 1
      ),
      'nurturehub'
    ),
    -- Two connections of one transaction would otherwise have the same time, and their accounts no order.
    greatest(
      now(),
      (
        select max(connected_at)
        from crm_connections
        where organisation_id = :organisationId!::uuid
          and provider = :provider!::text
      ) + interval '1 microsecond'
    )
  )
  returning
    organisation_id,
    id,
    connected_at
)
select
  connection.connected_at as "connectedAt!",
  switched.archived as "archivedIds!",
  switched.restored as "restoredIds!",
  taken.moved as "waitingChanges!",
  taken.dropped as "droppedChanges!"
from connection
cross join lateral crm_switch_account(
  connection.organisation_id,
  connection.id,
  :idsOfUnknownAccount::text
) as switched
cross join lateral crm_take_over_changes(
  connection.organisation_id,
  -- Always true. It makes the switch come first, which locks the contacts.
  case when switched.archived is not null then connection.id end,
  :idsOfUnknownAccount::text
) as taken;

/* @name connectionDisconnect */
-- Ends a live connection, closes its open run and wipes its credentials; if revokeWithinSeconds is given, keeps
-- them for that long, for credentialsClaimRevocation alone. What waits to be pushed is kept for a time
-- (crm_changes_expire_at). The row stays as history, with the given reason or otherwise the previous one. Returns one row, or none if the organisation has no such live connection. Uses
-- primary keys. Locks the connection for the transaction, then the run. A run that opens at the same moment
-- stays open but holds no lease, and is swept later.
with wiped as (
  update crm_connections
  set
    status = 'disconnected',
    status_reason = coalesce(:reason::text, status_reason),
    status_changed_at = now(),
    disconnected_at = now(),
    credentials = null,
    credentials_version = credentials_version + 1,
    credentials_expires_at = null,
    sync_requested_at = null,
    kept_changes = 'waiting',
    changes_expire_at = crm_changes_expire_at(crm_now())
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
    and status <> 'disconnected'
    and :revokeWithinSeconds::integer is null
  returning
    organisation_id,
    id,
    disconnected_at,
    revoke_before_at
),
-- Apart, because an application may set credentials to null but not read them, and an expression would.
kept as (
  update crm_connections
  set
    status = 'disconnected',
    status_reason = coalesce(:reason::text, status_reason),
    status_changed_at = now(),
    disconnected_at = now(),
    credentials_version = credentials_version + 1,
    credentials_expires_at = null,
    revocation = 'pending',
    revoke_before_at = crm_now() + make_interval(secs => :revokeWithinSeconds::integer),
    next_sync_at = crm_now(),
    sync_requested_at = null,
    kept_changes = 'waiting',
    changes_expire_at = crm_changes_expire_at(crm_now())
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
    and status <> 'disconnected'
    and :revokeWithinSeconds::integer is not null
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
  -- By the parameters, as in connectionCancelRun.
  where run.organisation_id = :organisationId!::uuid
    and run.connection_id = :connectionId!::uuid
    and run.ended_at is null
)
select
  disconnected_at as "disconnectedAt!",
  revoke_before_at as "revokeBeforeAt"
from ended;

/* @name connectionDropWork */
-- Deletes the inbound failures and record requests of a disconnected connection: whoever connects the CRM again reads
-- everything. Keeps what waits to be pushed, and counts it (crm_count_waiting_changes). Returns one row with both
-- numbers. This is a separate statement because connectionDisconnect does not see what was committed while
-- it waited. Uses crm_sync_failures_pkey, crm_record_requests_pkey and crm_outbound_changes_next_attempt_at_idx.
-- Locks the rows that it deletes.
with ended as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
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
  (select count(*)::integer from failed) as "failures!",
  crm_count_waiting_changes(ended.organisation_id, ended.id) as "waitingChanges!"
from ended;

/* @name connectionGet */
-- Returns one connection, live or disconnected: at most one row. Uses the primary key.
select
  connection.organisation_id as "organisationId",
  connection.id as "connectionId",
  connection.provider,
  connection.account,
  connection.status,
  connection.status_reason as "statusReason",
  connection.status_changed_at as "statusChangedAt",
  connection.credentials_version as "credentialsVersion",
  connection.credentials_expires_at as "credentialsExpiresAt",
  pause.paused_at as "pausedAt?",
  pause.pause_ends_at as "pausedUntil?",
  pause.pause_reason as "pauseReason?",
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
where connection.organisation_id = :organisationId!::uuid
  and connection.id = :connectionId!::uuid;

/* @name connectionGetCredentials */
-- Returns the encrypted credentials of a live connection: at most one row. Only for sync workers. Uses the
-- primary key.
select
  provider,
  account,
  credentials as "credentials!",
  credentials_key_id as "credentialsKeyId!",
  credentials_version as "credentialsVersion",
  credentials_expires_at as "credentialsExpiresAt"
from crm_connections
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid
  and status <> 'disconnected';

/* @name connectionGetLive */
-- Returns the live connection of an organisation to one CRM: at most one row. Uses
-- crm_connections_organisation_id_provider_live_key.
select
  connection.organisation_id as "organisationId",
  connection.id as "connectionId",
  connection.provider,
  connection.account,
  connection.status,
  connection.status_reason as "statusReason",
  connection.status_changed_at as "statusChangedAt",
  connection.credentials_version as "credentialsVersion",
  connection.credentials_expires_at as "credentialsExpiresAt",
  pause.paused_at as "pausedAt?",
  pause.pause_ends_at as "pausedUntil?",
  pause.pause_reason as "pauseReason?",
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
where connection.organisation_id = :organisationId!::uuid
  and connection.provider = :provider!::text
  and connection.status <> 'disconnected';

/* @name connectionListWithHealth */
-- Lists every connection that an organisation has or had, live ones first, then by provider and newest
-- first, with its health: the state of its syncs, its open run, and its waiting and failing work, each
-- counted up to 1,000; from the log, the last event, the last failure with its record, and the failures since a
-- time, counted up to 1,000. If isLive is given, only live connections, or only the others. Returns a handful of
-- rows. Uses the primary key. Per connection it uses the primary
-- key of the log and crm_sync_log_status_connection_id_idx, newest first (`is true` keeps the planner from
-- the primary key where only failures are wanted, and from all open runs where only one is),
-- crm_sync_runs_pkey, crm_sync_runs_connection_id_open_key, crm_sync_failures_next_attempt_at_idx,
-- crm_sync_failures_gave_up_at_idx, crm_sync_failures_dismissed_at_idx,
-- crm_outbound_changes_next_attempt_at_idx, crm_record_requests_pkey and crm_sync_conflicts_open_idx.
select
  connection.organisation_id as "organisationId",
  connection.id as "connectionId",
  connection.provider,
  connection.account,
  crm_connection_state(connection.status, pause.paused_at is not null, connection.failure_count) as "state!",
  connection.status,
  connection.status_reason as "statusReason",
  connection.status_changed_at as "statusChangedAt",
  connection.credentials_version as "credentialsVersion",
  connection.credentials_expires_at as "credentialsExpiresAt",
  pause.paused_at as "pausedAt?",
  pause.pause_ends_at as "pausedUntil?",
  pause.pause_reason as "pauseReason?",
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
  last_run.outcome as "lastSyncOutcome?",
  last_run.error as "lastSyncError?",
  run.started_at as "runningSince?",
  retried.count as "retriedRecords!",
  given_up.count as "givenUpRecords!",
  dismissed.count as "dismissedRecords!",
  waiting.count as "waitingChanges!",
  asked.count as "requestedRecords!",
  conflicts.count as "conflicts!",
  last_event.occurred_at as "lastEventAt?",
  last_event.status as "lastEventStatus?",
  last_failure.occurred_at as "lastFailureAt?",
  last_failure.error as "lastError?",
  failing_record.direction as "lastErrorDirection?",
  failing_record.entity_type as "lastErrorEntityType?",
  failing_record.external_id as "lastErrorExternalId?",
  failing_record.internal_id as "lastErrorInternalId?",
  failures.count as "failureCount!"
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
  -- An error of a whole run names no record.
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
      and occurred_at >= :failuresSince!::timestamptz
    limit 1000
  ) as counted
) as failures
where connection.organisation_id = :organisationId!::uuid
  and coalesce((connection.status <> 'disconnected') = :isLive::boolean, true)
order by
  connection.status = 'disconnected',
  connection.provider,
  connection.connected_at desc,
  connection.id;

/* @name connectionListLiveByAccount */
-- Lists the live connections to an account at a CRM, of all organisations that the user sees, a page at a time.
-- Usually there is one. Returns at most `limit` rows. Uses crm_connections_account_idx.
select
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
where provider = :provider!::text
  and account = :account!::text
  and status <> 'disconnected'
  and (organisation_id, id) > (:afterOrganisationId!::uuid, :afterConnectionId!::uuid)
order by
  organisation_id,
  id
limit :limit!::integer;

/* @name connectionListTotals */
-- Summarises the live connections of all organisations: one row per CRM and status. The oldest success leaves out
-- paused connections. For monitoring. Reads every connection once.
with clock as materialized (
  select crm_now() as at
)
select
  provider,
  status,
  count(*)::integer as "connections!",
  count(*) filter (where last_success_at is null)::integer as "neverSynced!",
  count(*) filter (where failure_count > 0)::integer as "failing!",
  max(failure_count) as "mostFailedSyncs!",
  count(*) filter (where is_paused)::integer as "paused!",
  -- Of the whole table: crm_now() for each row would take most of the time.
  count(*) filter (where next_sync_at <= (select at from clock))::integer as "due!",
  min(next_sync_at) as "nextSyncAt!",
  min(last_success_at) filter (where not is_paused) as "oldestSuccessAt?"
from (
  select
    provider,
    status,
    last_success_at,
    failure_count,
    next_sync_at,
    -- Few are, and the function need not be called for the others.
    paused_at is not null and crm_pause_end(paused_at, pause_ends_at, (select at from clock)) is not null as is_paused
  from crm_connections
  where status <> 'disconnected'
) as connection
group by
  provider,
  status
order by
  provider,
  status;

/* @name connectionPause */
-- Pauses a live connection, or changes its pause: it is not due until the pause ends, and then at once, or as soon
-- as the CRM may be asked again. Returns one row, or none if the organisation has no such connection: `outcome`
-- (`paused`, `over` if `until` has passed, and then nothing was changed, or `disconnected`) and `pausedAt`. Uses the
-- primary key. Locks the row for the transaction.
with clock as materialized (
  select crm_now() as at
),
connection as (
  select
    connection.organisation_id,
    connection.id,
    connection.status,
    case
      when connection.status = 'disconnected' then 'disconnected'
      when :until::timestamptz <= clock.at then 'over'
      else 'paused'
    end as outcome
  from crm_connections as connection
  cross join clock
  where connection.organisation_id = :organisationId!::uuid
    and connection.id = :connectionId!::uuid
  for no key update of connection
),
paused as (
  update crm_connections
  set
    paused_at = case
      when crm_pause_end(paused_at, pause_ends_at, clock.at) is null then clock.at
      else paused_at
    end,
    pause_ends_at = :until::timestamptz,
    pause_reason = :reason::text,
    -- The trigger crm_connections_hold_paused moves it to the end of the pause. greatest ignores null.
    next_sync_at = greatest(clock.at, not_before_at)
  from connection
  cross join clock
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.outcome = 'paused'
  returning crm_connections.paused_at
)
select
  connection.outcome as "outcome!",
  paused.paused_at as "pausedAt?"
from connection
left join paused on true;

/* @name connectionRequestSync */
-- Requests a sync of live connections as soon as the CRM may be asked again, or at once if urgent; of a paused
-- connection, when its pause ends. A request during a run is kept and leads to another sync after it, because claims
-- skip connections with an open run. Returns the connections that changed: many requests make one write and one sync.
-- Fails with CRM05 if row-level security hides the organisation. Uses the primary key. Locks the rows for the
-- transaction, in key order.
with clock as materialized (
  select crm_now() as at
),
wanted as (
  select
    connection.id,
    connection.next_sync_at,
    connection.sync_requested_at,
    -- greatest ignores null.
    greatest(
      clock.at,
      case when not :isUrgent!::boolean then connection.not_before_at end,
      crm_pause_end(connection.paused_at, connection.pause_ends_at, clock.at)
    ) as at
  from crm_connections as connection
  cross join clock
  where connection.organisation_id = :organisationId!::uuid
    and connection.id = any(:connectionIds!::uuid[])
    and connection.status <> 'disconnected'
  order by connection.id
  for no key update of connection
)
update crm_connections
set
  sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
  not_before_at = case when not :isUrgent!::boolean then not_before_at end,
  next_sync_at = least(crm_connections.next_sync_at, wanted.at)
from wanted
cross join clock
where crm_check_organisation(:organisationId!::uuid)
  and crm_connections.organisation_id = :organisationId!::uuid
  and crm_connections.id = wanted.id
  and (wanted.sync_requested_at is null or wanted.next_sync_at > wanted.at)
returning crm_connections.id as "connectionId";

/* @name connectionResetLastSyncedAt */
-- Clears the cursor of a live connection and those of its inbound streams, so that the next sync is a full
-- one. Returns one row, or none if the organisation has no such live connection. Uses primary keys. Locks
-- the connection for the transaction, then the cursors.
with forgotten as (
  update crm_connections
  set last_synced_at = null
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
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
from forgotten;

/* @name connectionResume */
-- Ends the pause of a live connection, which becomes due as soon as the CRM may be asked again; changes nothing if
-- it is not paused. Returns one row, or none if the organisation has no such live connection. Uses the primary key.
-- Locks the row for the transaction.
with connection as (
  select
    organisation_id,
    id,
    next_sync_at
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
    and status <> 'disconnected'
  for no key update
),
resumed as (
  update crm_connections
  set
    paused_at = null,
    pause_ends_at = null,
    pause_reason = null,
    -- greatest ignores null.
    next_sync_at = greatest(crm_now(), not_before_at)
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and crm_connections.paused_at is not null
  returning crm_connections.next_sync_at
)
select coalesce(resumed.next_sync_at, connection.next_sync_at) as "nextSyncAt!"
from connection
left join resumed on true;

/* @name connectionSetAccount */
-- Sets the account of a live connection if it is unknown, and makes it the one to which the organisation's
-- ids at this CRM belong (crm_switch_account): ids known to be of another account are archived, those
-- linked since the connection was made stay. Drops what was taken over from a connection to another account
-- (crm_take_over_changes). Returns one row, or none if the organisation has no such connection: `outcome` (`set`,
-- `disconnected`, or `other_account` if it has another one), how many ids were archived and restored, and for how many
-- contacts changes were dropped. Uses the primary key. Locks the row for the transaction, then takes the
-- lock of crm_lock_external_ids if the account is set; if there was another connection, then locks contacts and ids.
-- Needs READ COMMITTED.
with connection as (
  select
    organisation_id,
    id,
    status,
    account
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
  for no key update
),
named as (
  update crm_connections
  set account = :account!::text
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
    when connection.account <> :account!::text then 'other_account'
    else 'set'
  end as "outcome!",
  coalesce(switched.archived, 0) as "archivedIds!",
  coalesce(switched.restored, 0) as "restoredIds!",
  coalesce(taken.dropped, 0) as "droppedChanges!"
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
  -- Always true. It makes the switch come first, which locks the contacts.
  case when switched.archived is not null then named.id end,
  'keep',
  named.connected_at
) as taken on true;

/* @name connectionSetConflictWinner */
-- Sets who wins if a person was edited here and at the CRM, from the next run on. Returns one row, or none if the
-- organisation has no such live connection. Uses the primary key. Locks the row for the transaction.
update crm_connections
set conflict_winner = :conflictWinner!::text
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid
  and status <> 'disconnected'
returning conflict_winner as "conflictWinner";

/* @name connectionSetStatus */
-- Sets a live connection to active (without a reason) or error (with one). If credentialsVersion is given,
-- only if its credentials are still of that version. Returns one row, or none if the organisation has no
-- such connection: `outcome` (`set`, `superseded` or `disconnected`) and statusChangedAt, which only
-- changes with the status. Activating a connection clears its count of failed syncs and makes it due at
-- once. Writes nothing if nothing changes. Uses the primary key. Locks the row for the transaction. Needs
-- READ COMMITTED: at a higher level, a concurrent change fails with 40001.
with connection as (
  select
    organisation_id,
    id,
    status,
    status_reason,
    status_changed_at,
    failure_count,
    credentials_version = coalesce(:credentialsVersion::integer, credentials_version) as is_current
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
  for no key update
),
changed as (
  update crm_connections
  set
    status = :status!::text,
    status_reason = :reason::text,
    status_changed_at = case
      when connection.status = :status!::text then connection.status_changed_at
      else now()
    end,
    -- Once active, the next failure is the first.
    failure_count = case when :status!::text = 'active' then 0 else connection.failure_count end,
    first_failed_at = case when :status!::text <> 'active' then first_failed_at end,
    records_failing_at = case when :status!::text <> 'active' then records_failing_at end,
    -- Due at once, as after an urgent request: whoever activates it has repaired something.
    not_before_at = case when :status!::text <> 'active' then not_before_at end,
    sync_requested_at = case
      when :status!::text = 'active' then coalesce(sync_requested_at, crm_now())
      else sync_requested_at
    end,
    next_sync_at = case
      when :status!::text = 'active' then least(next_sync_at, crm_now())
      else next_sync_at
    end
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and connection.is_current
    and (
      (connection.status, connection.status_reason) is distinct from (:status!::text, :reason::text)
      or (:status!::text = 'active' and connection.failure_count > 0)
    )
  returning crm_connections.status_changed_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.is_current then 'set'
    else 'superseded'
  end as "outcome!",
  coalesce((select status_changed_at from changed), connection.status_changed_at) as "statusChangedAt!"
from connection;

/* @name connectionSetSyncInterval */
-- Sets the sync interval of a live connection. A shorter interval counts from now, also for the next due
-- sync, but not before the CRM may be asked again. Returns one row, or none if the organisation has no
-- such live connection. Uses the primary key. Locks the row for the transaction.
update crm_connections
set
  sync_interval_seconds = :syncIntervalSeconds!::integer,
  -- greatest ignores null.
  next_sync_at = least(
    next_sync_at,
    greatest(crm_now() + make_interval(secs => :syncIntervalSeconds!::integer), not_before_at)
  )
where organisation_id = :organisationId!::uuid
  and id = :connectionId!::uuid
  and status <> 'disconnected'
returning next_sync_at as "nextSyncAt";

/* @name connectionTotalWork */
-- Counts the work in progress and the work waiting across all organisations, each up to 10,000. Returns
-- one row. For monitoring. Uses crm_sync_runs_expires_at_idx, crm_sync_failures_next_attempt_at_idx,
-- crm_sync_failures_gave_up_at_idx and crm_sync_failures_dismissed_at_idx. Of the outbound changes it reads up to 10,000 rows in table order.
select
  (
    select count(*)::integer
    from (select from crm_sync_runs where outcome is null and expires_at > crm_now() limit 10000) as counted
  ) as "running!",
  (
    select count(*)::integer
    from (select from crm_sync_runs where outcome is null and expires_at <= crm_now() limit 10000) as counted
  ) as "expired!",
  (
    select count(*)::integer
    from (select from crm_sync_failures where next_attempt_at is not null limit 10000) as counted
  ) as "retriedRecords!",
  (
    select count(*)::integer
    from (select from crm_sync_failures where gave_up_at is not null limit 10000) as counted
  ) as "givenUpRecords!",
  (
    select count(*)::integer
    from (select from crm_sync_failures where dismissed_at is not null limit 10000) as counted
  ) as "dismissedRecords!",
  (select count(*)::integer from (select from crm_outbound_changes limit 10000) as counted) as "waitingChanges!";
