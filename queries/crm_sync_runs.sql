/* @name syncRunClaim */
-- Claims due connections across all organisations, longest due first: opens a run for each and postpones
-- its next sync to the end of the lease or later; if `providers` is given, only connections to these CRMs.
-- Returns at most `limit` runs. Skips connections with an open run, and locked connections, such as those that
-- another claim is taking. Uses crm_connections_next_sync_at_idx, then the primary key; reads what is due at
-- other CRMs until it has `limit`. Locks the connections for the transaction. Needs READ COMMITTED.
with clock as materialized (
  select crm_now() as at
),
due as (
  select
    connection.organisation_id,
    connection.id,
    connection.provider,
    connection.last_synced_at,
    connection.credentials_version,
    connection.conflict_winner,
    connection.sync_interval_seconds
  from crm_connections as connection
  where connection.status <> 'disconnected'
    and connection.next_sync_at <= (select at from clock)
    -- The planner drops this if it is null. Else coalesce keeps it on the index: it does not know how few are due, and
    -- for a CRM with few connections it would read the whole table.
    and (:providers::text[] is null or coalesce(connection.provider = any(:providers::text[]), false))
    -- Looked up for one connection at a time: as `not exists` it would be a join, which may read all open runs.
    and coalesce(
      (
        select false
        from crm_sync_runs as run
        where run.organisation_id = connection.organisation_id
          and run.connection_id = connection.id
          and run.ended_at is null
        limit 1
      ),
      true
    )
  order by
    connection.next_sync_at,
    connection.organisation_id,
    connection.id
  limit :limit!::integer
  for no key update of connection skip locked
),
started as (
  insert into crm_sync_runs (
    organisation_id,
    connection_id,
    worker,
    started_at,
    heartbeat_at,
    expires_at
  )
  select
    due.organisation_id,
    due.id,
    :worker!::text,
    clock.at,
    clock.at,
    clock.at + make_interval(secs => :leaseSeconds!::integer)
  from due
  cross join clock
  -- Claimed and requested again since this statement began: due, with a run that was not visible above.
  on conflict (organisation_id, connection_id) where ended_at is null do nothing
  returning
    organisation_id,
    connection_id,
    id,
    expires_at
),
moved as (
  update crm_connections
  set
    next_sync_at = greatest(
      started.expires_at,
      clock.at + make_interval(secs => due.sync_interval_seconds)
    ),
    sync_requested_at = null
  from started
  inner join due
    on due.organisation_id = started.organisation_id
    and due.id = started.connection_id
  cross join clock
  where crm_connections.organisation_id = started.organisation_id
    and crm_connections.id = started.connection_id
)
select
  started.organisation_id as "organisationId!",
  started.connection_id as "connectionId!",
  started.id as "runId!",
  started.expires_at as "expiresAt!",
  due.provider as "provider!",
  due.last_synced_at as "lastSyncedAt?",
  due.credentials_version as "credentialsVersion!",
  due.conflict_winner as "conflictWinner!"
from started
inner join due
  on due.organisation_id = started.organisation_id
  and due.id = started.connection_id
order by started.id;

/* @name syncRunFinish */
-- Finishes a run, and schedules the next sync of its connection. A success returns it to active, resets
-- its failure count and advances the connection's cursor to the point that all its inbound streams have
-- passed. A success in which every record failed (crm_sync_run_is_fruitless) advances the cursor, but is
-- recorded and counted as a failure, and until a record succeeds, a success without records ends no streak. A
-- failure is counted, delays the next sync, and may put the connection in error
-- (crm_sync_failure_is_alarming). If its credentials are no longer of the worker's version, a refusal is
-- excused: once in a streak of failures, the connection is due at once. A cancelled run leaves the connection
-- due. Returns one row, or none if the organisation has no such run: `outcome` is `ended`, or `lost` if the run
-- had ended or its lease had expired, and then nothing was changed. Uses primary keys, and
-- crm_sync_failures_kind_idx if every record failed. Locks the connection for the transaction, then the run.
-- Needs READ COMMITTED.
with clock as materialized (
  select crm_now() as at
),
connection as (
  select
    organisation_id,
    id,
    status,
    sync_interval_seconds,
    sync_requested_at,
    first_failed_at,
    failure_count,
    credentials_excused_at,
    records_failing_at,
    credentials_version = coalesce(:credentialsVersion::integer, credentials_version) as is_current
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
  for no key update
),
run as (
  select
    run.id,
    run.started_at,
    run.error_count,
    crm_sync_run_is_fruitless(run.success_count, run.skipped_count, run.error_count) as is_fruitless,
    run.ended_at is null
      and run.expires_at > (select at from clock)
      and connection.status <> 'disconnected' as is_held
  from connection
  cross join crm_sync_runs as run
  where run.organisation_id = :organisationId!::uuid
    and run.connection_id = :connectionId!::uuid
    and run.id = :runId!::bigint
  for no key update of run
),
stream as (
  select cursor.synced_to_at
  from run
  cross join crm_sync_cursors as cursor
  where cursor.organisation_id = :organisationId!::uuid
    and cursor.connection_id = :connectionId!::uuid
    and cursor.direction = 'inbound'
  -- Locked to read the current row: a reset may have happened while this waited for the connection.
  for no key update of cursor
),
-- What every record of the run failed with, most of all. No row unless every record failed.
common_failure as (
  select
    run.error_count,
    coalesce(mode() within group (order by failure.kind), 'internal') as kind,
    count(distinct failure.kind) > 1 as is_mixed
  from run
  left join lateral (
    select failure.kind
    from crm_sync_failures as failure
    where failure.organisation_id = :organisationId!::uuid
      and failure.connection_id = :connectionId!::uuid
      and failure.last_failed_at >= run.started_at
    limit 1000
  ) as failure on true
  where :outcome!::text = 'success'
    and run.is_fruitless
    and run.is_held
  group by run.error_count
),
ending as materialized (
  select
    run.is_held,
    case when common_failure.kind is null then :outcome!::text else 'failed' end as outcome,
    case
      when common_failure.kind is null then :error::jsonb
      else jsonb_build_object(
        'kind', common_failure.kind,
        'retryable', true,
        'code', 'every_record_failed',
        'message', format(
          'All %s records failed, %s with an error of kind %s.',
          common_failure.error_count,
          case when common_failure.is_mixed then 'most of them' else 'each' end,
          common_failure.kind
        )
      )
    end as error,
    case
      when common_failure.kind is null then :reason::text
      when common_failure.kind in ('auth', 'permission')
        then 'The CRM denies access to every record. Ask its administrator to allow it again, or reconnect it.'
      else 'Every record of the last syncs failed. See the failing records, and correct what they have in common.'
    end as reason,
    common_failure.kind is not null as is_fruitless,
    :outcome!::text = 'success' and run.is_fruitless is null as is_inconclusive
  from run
  left join common_failure on true
),
ended as (
  update crm_sync_runs
  set
    ended_at = clock.at,
    outcome = ending.outcome,
    error = ending.error
  from ending, clock
  where crm_sync_runs.organisation_id = :organisationId!::uuid
    and crm_sync_runs.connection_id = :connectionId!::uuid
    and crm_sync_runs.id = :runId!::bigint
    and ending.is_held
),
judged as (
  select
    connection.organisation_id,
    connection.id,
    connection.status,
    ending.outcome,
    ending.error,
    ending.reason,
    ending.is_fruitless,
    ending.is_inconclusive and connection.records_failing_at is not null as is_streak_kept,
    least(connection.failure_count, 2147483646) + 1 as failure_count,
    coalesce(connection.first_failed_at, clock.at) as first_failed_at,
    crm_sync_failure_is_alarming(
      -- That replaced credentials were refused says nothing about the current ones. A streak of it does.
      case when connection.is_current then ending.error ->> 'kind' else 'internal' end,
      least(connection.failure_count, 2147483646) + 1,
      clock.at - coalesce(connection.first_failed_at, clock.at)
    ) is true as is_alarming,
    refusal.is_excused,
    -- After a success.
    clock.at + case
      when connection.sync_requested_at is not null or :hasMore!::boolean then interval '0'
      else make_interval(secs => connection.sync_interval_seconds)
    end as next_sync_at,
    -- After a failure.
    clock.at + case
      when refusal.is_excused then interval '0'
      else greatest(
        crm_sync_backoff(least(connection.failure_count, 2147483646) + 1, 60, 21600),
        make_interval(secs => coalesce(:retryAfterSeconds::integer, 0))
      )
    end as not_before_at,
    -- Only a run that came to its end says how far all streams have been read; and a cursor that was taken before such
    -- times were refused must not spread.
    case
      when :outcome!::text = 'success'
        then (
          select
            case
              when bool_and(synced_to_at is not null) and min(synced_to_at) <= crm_latest_time(clock.at)
                then min(synced_to_at)
            end
          from stream
        )
    end as synced_to_at,
    clock.at
  from connection
  cross join ending
  cross join clock
  cross join lateral (
    -- Once in a streak: a worker that stores a new token in each sync must not be let in at once each time.
    select
      not connection.is_current
      and :error::jsonb ->> 'kind' in ('auth', 'permission')
      and connection.credentials_excused_at is null as is_excused
  ) as refusal
  where ending.is_held
),
succeeded as (
  update crm_connections
  set
    last_synced_at = greatest(last_synced_at, judged.synced_to_at),
    next_sync_at = judged.next_sync_at,
    not_before_at = null,
    last_success_at = case when judged.is_streak_kept then last_success_at else judged.at end,
    first_failed_at = case when judged.is_streak_kept then crm_connections.first_failed_at end,
    failure_count = case when judged.is_streak_kept then crm_connections.failure_count else 0 end,
    credentials_excused_at = null,
    records_failing_at = case when judged.is_streak_kept then records_failing_at end,
    status = case when judged.is_streak_kept then judged.status else 'active' end,
    status_reason = case when judged.is_streak_kept then status_reason end,
    status_changed_at = case
      when judged.is_streak_kept or judged.status = 'active' then status_changed_at
      else judged.at
    end
  from judged
  where judged.outcome = 'success'
    and crm_connections.organisation_id = judged.organisation_id
    and crm_connections.id = judged.id
),
failed as (
  update crm_connections
  set
    last_synced_at = greatest(last_synced_at, judged.synced_to_at),
    next_sync_at = case
      when judged.is_fruitless then greatest(judged.next_sync_at, judged.not_before_at)
      else judged.not_before_at
    end,
    not_before_at = judged.not_before_at,
    first_failed_at = judged.first_failed_at,
    failure_count = judged.failure_count,
    credentials_excused_at = case when judged.is_excused then judged.at else credentials_excused_at end,
    records_failing_at = case when judged.is_fruitless then judged.at else records_failing_at end,
    status = case when judged.is_alarming then 'error' else judged.status end,
    status_reason = case when judged.is_alarming then coalesce(judged.reason, judged.error ->> 'message') else status_reason end,
    status_changed_at = case
      when judged.is_alarming and judged.status <> 'error' then judged.at
      else status_changed_at
    end
  from judged
  where judged.outcome = 'failed'
    and crm_connections.organisation_id = judged.organisation_id
    and crm_connections.id = judged.id
),
cancelled as (
  update crm_connections
  set next_sync_at = least(crm_connections.next_sync_at, judged.at)
  from judged
  where judged.outcome = 'cancelled'
    and crm_connections.organisation_id = judged.organisation_id
    and crm_connections.id = judged.id
)
select case when is_held then 'ended' else 'lost' end as "outcome!"
from run;

/* @name syncRunHeartbeat */
-- Extends the lease of a run from now, never shortens it, and makes sure that the connection is not due
-- before the lease expires. Returns one row, or none if the lease is lost: the run has ended, its lease
-- has expired or its connection is not live. Uses primary keys. Locks the connection for the transaction,
-- then the run. Needs READ COMMITTED.
with clock as materialized (
  select crm_now() as at
),
connection as (
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
extended as (
  update crm_sync_runs as run
  set
    heartbeat_at = clock.at,
    expires_at = greatest(run.expires_at, clock.at + make_interval(secs => :leaseSeconds!::integer))
  from connection
  cross join clock
  where run.organisation_id = :organisationId!::uuid
    and run.connection_id = :connectionId!::uuid
    and run.id = :runId!::bigint
    and run.ended_at is null
    and run.expires_at > clock.at
  returning run.expires_at
),
moved as (
  update crm_connections
  set next_sync_at = extended.expires_at
  from connection
  cross join extended
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.next_sync_at < extended.expires_at
)
select expires_at as "expiresAt"
from extended;

/* @name syncRunListByConnection */
-- Lists the runs of a connection, newest first, a page at a time. Returns at most `limit` rows. Uses the
-- primary key.
select
  id as "runId",
  worker,
  started_at as "startedAt",
  heartbeat_at as "heartbeatAt",
  expires_at as "expiresAt",
  ended_at as "endedAt",
  outcome,
  error,
  success_count as "successCount",
  skipped_count as "skippedCount",
  error_count as "errorCount"
from crm_sync_runs
where organisation_id = :organisationId!::uuid
  and connection_id = :connectionId!::uuid
  -- least, not coalesce: under row-level security, a comparison with coalesce could not use the index.
  and id < least(:beforeId::bigint, 9223372036854775807)
order by id desc
limit :limit!::integer;

/* @name syncRunPurge */
-- Deletes runs that ended before a time, or longer ago than crm_retention allows, across all
-- organisations, oldest first: at most `limit`. Skips locked runs. Returns one row with their number. Uses
-- crm_sync_runs_ended_at_idx.
with purged as (
  delete from crm_sync_runs
  -- An array, not a join: for a join, the planner would read the whole table, unaware how few rows match.
  where ctid = any(
    array(
      select ctid
      from crm_sync_runs
      where ended_at < coalesce(
        :endedBefore::timestamptz,
        (
          select crm_now() - make_interval(hours => 24 * keep_days)
          from crm_retention
          where subject = 'crm_sync_runs'
        )
      )
      order by ended_at
      limit :limit!::integer
      for update skip locked
    )
  )
  returning id
)
select count(*)::integer as "purged!"
from purged;

/* @name syncRunCheckHousekeeping */
-- Says whether a claim has housekeeping to do first, across all organisations: for syncRunSweep, whether a lease has
-- expired or credentials are due to be wiped; for outboundChangeAnnounce, whether a change is new or was kept for too
-- long. For most claims there is none. Returns one row. Uses crm_sync_runs_expires_at_idx,
-- crm_connections_revoke_before_at_idx, crm_outbound_changes_connection_id_new_idx and
-- crm_connections_changes_expire_at_idx. Locks nothing.
with clock as materialized (
  select crm_now() as at
)
select
  exists (
    select
    from crm_sync_runs
    where outcome is null
      and expires_at <= (select at from clock)
  )
  or exists (
    select
    from crm_connections
    where revocation = 'pending'
      and revoke_before_at <= (select at from clock)
  ) as "isSweepDue!",
  exists (
    select
    from crm_outbound_changes
    where not is_announced
  )
  or exists (
    select
    from crm_connections
    where kept_changes = 'waiting'
      and changes_expire_at <= (select at from clock)
  ) as "isAnnounceDue!";

/* @name syncRunSweep */
-- Closes runs whose lease has expired, across all organisations, oldest first. Each counts as a failure of
-- its connection, which becomes due again after a delay. Also wipes credentials that nobody revoked in time. Returns
-- at most `limit` runs. Uses crm_sync_runs_expires_at_idx and crm_connections_revoke_before_at_idx, then primary
-- keys. Locks the connections for the transaction, then the runs. Skips locked ones: a lock means that the worker is
-- alive. Needs READ COMMITTED.
with clock as materialized (
  select crm_now() as at
),
expired as (
  select
    run.organisation_id,
    run.connection_id,
    run.id,
    connection.status,
    least(connection.failure_count, 2147483646) + 1 as failure_count,
    coalesce(connection.first_failed_at, (select at from clock)) as first_failed_at
  from crm_sync_runs as run
  inner join crm_connections as connection
    on connection.organisation_id = run.organisation_id
    and connection.id = run.connection_id
  -- As in crm_sync_runs_expires_at_idx, which serves no query that says "ended_at is null".
  where run.outcome is null
    and run.expires_at <= (select at from clock)
  order by run.expires_at
  limit :limit!::integer
  for no key update of connection, run skip locked
),
abandoned as (
  update crm_sync_runs as run
  set
    ended_at = clock.at,
    outcome = 'abandoned'
  from expired
  cross join clock
  where run.organisation_id = expired.organisation_id
    and run.connection_id = expired.connection_id
    and run.id = expired.id
  returning
    run.organisation_id,
    run.connection_id,
    run.id,
    run.worker
),
judged as (
  select
    expired.organisation_id,
    expired.connection_id,
    expired.status,
    expired.failure_count,
    expired.first_failed_at,
    crm_sync_failure_is_alarming(
      'internal',
      expired.failure_count,
      clock.at - expired.first_failed_at
    ) as is_alarming,
    clock.at + crm_sync_backoff(expired.failure_count, 1, 3600) as not_before_at,
    clock.at
  from abandoned
  inner join expired
    on expired.organisation_id = abandoned.organisation_id
    and expired.connection_id = abandoned.connection_id
  cross join clock
),
counted as (
  update crm_connections
  set
    next_sync_at = judged.not_before_at,
    not_before_at = judged.not_before_at,
    first_failed_at = judged.first_failed_at,
    failure_count = judged.failure_count,
    status = case when judged.is_alarming then 'error' else judged.status end,
    status_reason = case
      when judged.is_alarming
        then coalesce(status_reason, 'Syncs keep stopping before they finish.')
      else status_reason
    end,
    status_changed_at = case
      when judged.is_alarming and judged.status <> 'error' then judged.at
      else status_changed_at
    end
  from judged
  where crm_connections.organisation_id = judged.organisation_id
    and crm_connections.id = judged.connection_id
    and judged.status <> 'disconnected'
),
unrevoked as (
  select
    connection.organisation_id,
    connection.id
  from crm_connections as connection
  where connection.revocation = 'pending'
    and connection.revoke_before_at <= (select at from clock)
  order by connection.revoke_before_at
  limit :limit!::integer
  for no key update of connection skip locked
),
wiped as (
  update crm_connections
  set
    credentials = null,
    revocation = 'expired'
  from unrevoked
  where crm_connections.organisation_id = unrevoked.organisation_id
    and crm_connections.id = unrevoked.id
)
select
  organisation_id as "organisationId",
  connection_id as "connectionId",
  id as "runId",
  worker
from abandoned;
