/* @name syncBatchRecord */
-- Records a batch of a run, all or nothing: its events, the failures that they open, update or close, the
-- mappings that they make, the changes that they push, cursor moves and a heartbeat. Returns one row, or
-- none if the organisation has no such run. `outcome` is `recorded`; otherwise nothing was changed:
-- `repeated`, `lost`, `stale`, `out_of_order`, `cursor_conflict` or `cursor_moved_backwards`. `conflicts`
-- lists the events, counted from 1, that were recorded as failures because their mapping could not be
-- made. Uses primary keys, contact_external_ids_contact_id_provider_key and the host's key of contacts.
-- Locks the connection for the transaction, then the run and its cursors, then the rest. Needs READ
-- COMMITTED.

-- The eight steps, and the CTEs of each:
--   1. Lock      clock, connection, run, cursor_move, cursor
--   2. Decide    judged_move, decision
--   3. Link      event, wanted, existing, seen, linked, refused, settled
--   4. Log       logged
--   5. Failures  last_outcome, closed, failed
--   6. Outbound  pushed, cleared
--   7. Cursors   moved
--   8. Lease     extended, postponed
-- There is one decision for the whole batch. Steps 3 to 8 have rows only if it is recorded: they read event,
-- which depends on it, or decision itself.

-- 1. Lock -------------------------------------------------------------------------------------------------
-- The connection first, as everywhere, then the run and the cursors. The decision reads locked rows, because
-- after waiting for a lock a statement sees only the rows that it locks in their current state.
with clock as materialized (
  select crm_now() as at
),
connection as (
  select
    organisation_id,
    id,
    provider,
    status,
    next_sync_at
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
  for no key update
),
run as (
  select
    run.id,
    run.batch_number,
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
cursor_move as (
  select move.*
  from unnest(
    :cursorDirections!::text[],
    :cursorEntityTypes!::text[],
    :cursorVersions!::integer[],
    :cursorKinds!::text[],
    :cursorSyncedTos!::timestamptz[],
    :cursorTokens!::text[],
    :cursorPages!::integer[]
  ) as move (direction, entity_type, version, kind, synced_to_at, token, page)
),
cursor as (
  select
    cursor.direction,
    cursor.entity_type,
    cursor.version,
    cursor.kind,
    cursor.synced_to_at,
    cursor.page
  from run
  cross join cursor_move
  inner join crm_sync_cursors as cursor
    on cursor.organisation_id = :organisationId!::uuid
    and cursor.connection_id = :connectionId!::uuid
    and cursor.direction = cursor_move.direction
    and cursor.entity_type = cursor_move.entity_type
  order by
    cursor.direction,
    cursor.entity_type
  for no key update of cursor
),
-- 2. Decide -----------------------------------------------------------------------------------------------
-- One outcome for the batch. It is materialized, so that no step can decide differently.
judged_move as (
  select
    coalesce(cursor.version, 0) = cursor_move.version as is_current,
    -- A page may only go back when synced_to_at advances.
    cursor_move.synced_to_at < cursor.synced_to_at
      or (
        cursor_move.kind = 'page'
        and cursor.kind = 'page'
        and cursor_move.page < cursor.page
        and coalesce(cursor_move.synced_to_at, cursor.synced_to_at) is not distinct from cursor.synced_to_at
      ) as is_backwards
  from cursor_move
  left join cursor
    on cursor.direction = cursor_move.direction
    and cursor.entity_type = cursor_move.entity_type
),
decision as materialized (
  select
    case
      when :batchNumber!::integer <= run.batch_number then 'repeated'
      when not run.is_held then 'lost'
      -- Another batch was recorded while this one waited for the connection, and is not visible here.
      when run.batch_number <> (
        select seen.batch_number
        from crm_sync_runs as seen
        where seen.organisation_id = :organisationId!::uuid
          and seen.connection_id = :connectionId!::uuid
          and seen.id = :runId!::bigint
      ) then 'stale'
      when :batchNumber!::integer > run.batch_number + 1 then 'out_of_order'
      when exists (select from judged_move where not is_current) then 'cursor_conflict'
      when exists (select from judged_move where is_backwards) then 'cursor_moved_backwards'
      else 'recorded'
    end as outcome
  from run
),
-- 3. Link -------------------------------------------------------------------------------------------------
-- The events of a recorded batch. Events that link a contact make or confirm its mapping. If a link is
-- refused, its event becomes a failure of kind conflict: settled lists the events after that.
event as (
  select event.*
  from decision
  cross join unnest(
    :occurredAts!::timestamptz[],
    :directions!::text[],
    :entityTypes!::text[],
    :externalIds!::text[],
    :internalIds!::uuid[],
    :statuses!::text[],
    :errors!::jsonb[],
    :retryAfters!::integer[],
    :areLinks!::boolean[],
    :changeVersions!::bigint[]
  ) with ordinality as event (
    occurred_at,
    direction,
    entity_type,
    external_id,
    internal_id,
    status,
    error,
    retry_after_seconds,
    is_link,
    change_version,
    position
  )
  where decision.outcome = 'recorded'
),
wanted as (
  select distinct on (event.entity_type, event.external_id)
    event.position,
    event.entity_type,
    event.external_id,
    event.internal_id
  from event
  where event.is_link
    and event.status <> 'error'
  order by
    event.entity_type,
    event.external_id,
    event.position desc
),
existing as (
  select
    wanted.position,
    wanted.internal_id,
    mapping.provider,
    mapping.entity_type,
    mapping.external_id,
    mapping.contact_id
  from wanted
  cross join connection
  inner join contact_external_ids as mapping
    on mapping.organisation_id = :organisationId!::uuid
    and mapping.provider = connection.provider
    and mapping.entity_type = wanted.entity_type
    and mapping.external_id = wanted.external_id
  order by
    mapping.entity_type,
    mapping.external_id
  for no key update of mapping
),
seen as (
  update contact_external_ids as mapping
  set last_seen_at = now()
  from existing
  where existing.contact_id = existing.internal_id
    and mapping.last_seen_at < now() - interval '1 day'
    and mapping.organisation_id = :organisationId!::uuid
    and mapping.provider = existing.provider
    and mapping.entity_type = existing.entity_type
    and mapping.external_id = existing.external_id
),
linked as (
  insert into contact_external_ids (
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id
  )
  select
    :organisationId!::uuid,
    connection.provider,
    wanted.entity_type,
    wanted.external_id,
    wanted.internal_id
  from wanted
  cross join connection
  where wanted.position not in (select position from existing)
    -- The contact may have been deleted since the worker looked it up. Then only this record fails.
    and exists (
      select
      from contacts
      where contacts.organisation_id = :organisationId!::uuid
        and contacts.id = wanted.internal_id
    )
  order by
    wanted.entity_type,
    wanted.external_id
  on conflict do nothing
  returning
    entity_type,
    external_id,
    contact_id
),
refused as (
  select
    position,
    '{"kind": "conflict", "retryable": false, "message": "The external id is linked to another contact."}'::jsonb as error
  from existing
  where contact_id <> internal_id
  union all
  select
    wanted.position,
    case
      when wanted.internal_id in (select contact_id from linked)
        or exists (
          select
          from contact_external_ids as other
          where other.organisation_id = :organisationId!::uuid
            and other.contact_id = wanted.internal_id
            and other.provider = connection.provider
        )
        then '{"kind": "conflict", "retryable": false, "message": "The contact is linked to another external id of this CRM."}'::jsonb
      else '{"kind": "conflict", "retryable": true, "message": "There is no such contact, or its link changed at the same time."}'
    end
  from wanted
  cross join connection
  where wanted.position not in (select position from existing)
    and (wanted.entity_type, wanted.external_id, wanted.internal_id) not in (
      select
        entity_type,
        external_id,
        contact_id
      from linked
    )
),
settled as (
  select
    event.position,
    event.occurred_at,
    event.direction,
    event.entity_type,
    event.external_id,
    event.internal_id,
    case when refused.error is null then event.status else 'error' end as status,
    coalesce(refused.error, event.error) as error,
    event.retry_after_seconds,
    event.change_version,
    refused.error is not null as is_conflict,
    case event.direction when 'inbound' then event.external_id else event.internal_id::text end as record_id
  from event
  left join refused
    on refused.position = event.position
),
-- 4. Log --------------------------------------------------------------------------------------------------
logged as (
  insert into crm_sync_log (
    organisation_id,
    connection_id,
    occurred_at,
    direction,
    entity_type,
    external_id,
    internal_id,
    status,
    error
  )
  select
    :organisationId!::uuid,
    :connectionId!::uuid,
    coalesce(settled.occurred_at, clock.at),
    settled.direction,
    settled.entity_type,
    settled.external_id,
    settled.internal_id,
    settled.status,
    settled.error
  from settled
  cross join clock
  order by settled.position
),
-- 5. Failures ---------------------------------------------------------------------------------------------
-- The last outcome of each record counts: an error opens or updates its failure, any other outcome closes it.
last_outcome as (
  select distinct on (direction, entity_type, record_id)
    direction,
    entity_type,
    record_id,
    status,
    error,
    retry_after_seconds
  from settled
  where record_id is not null
  order by
    direction,
    entity_type,
    record_id,
    position desc
),
closed as (
  delete from crm_sync_failures as failure
  using last_outcome
  where last_outcome.status <> 'error'
    and failure.organisation_id = :organisationId!::uuid
    and failure.connection_id = :connectionId!::uuid
    and failure.direction = last_outcome.direction
    and failure.record_id = last_outcome.record_id
    -- A push is about our contact, whatever the entity type at the CRM.
    and (failure.entity_type = last_outcome.entity_type or failure.direction = 'outbound')
),
failed as (
  insert into crm_sync_failures as failure (
    organisation_id,
    connection_id,
    direction,
    entity_type,
    record_id,
    attempts,
    error,
    first_failed_at,
    last_failed_at,
    next_attempt_at,
    gave_up_at
  )
  select
    :organisationId!::uuid,
    :connectionId!::uuid,
    last_outcome.direction,
    last_outcome.entity_type,
    last_outcome.record_id,
    1,
    last_outcome.error,
    clock.at,
    clock.at,
    case
      when not crm_sync_failure_is_final(last_outcome.error, 1, interval '0') then clock.at + greatest(
        crm_sync_backoff(1, 60, 21600),
        make_interval(secs => coalesce(last_outcome.retry_after_seconds, 0))
      )
    end,
    case when crm_sync_failure_is_final(last_outcome.error, 1, interval '0') then clock.at end
  from last_outcome
  cross join clock
  where last_outcome.status = 'error'
  order by
    last_outcome.direction,
    last_outcome.record_id,
    last_outcome.entity_type
  on conflict (organisation_id, connection_id, direction, record_id, entity_type) do update
  set
    attempts = failure.attempts + 1,
    error = excluded.error,
    -- The clock may have been set back.
    first_failed_at = least(failure.first_failed_at, excluded.last_failed_at),
    last_failed_at = excluded.last_failed_at,
    next_attempt_at = case
      when not crm_sync_failure_is_final(
        excluded.error,
        failure.attempts + 1,
        excluded.last_failed_at - failure.first_failed_at
      ) then excluded.last_failed_at + greatest(
        crm_sync_backoff(failure.attempts + 1, 60, 21600),
        -- The delay that the CRM asked for. If it asked for none, this is shorter than the backoff above.
        excluded.next_attempt_at - excluded.last_failed_at
      )
    end,
    gave_up_at = case
      when crm_sync_failure_is_final(
        excluded.error,
        failure.attempts + 1,
        excluded.last_failed_at - failure.first_failed_at
      ) then excluded.last_failed_at
    end
),
-- 6. Outbound ---------------------------------------------------------------------------------------------
-- Clears changes that were pushed at their current version; newer changes stay. A failed push is also cleared:
-- its failure replaces it.
pushed as (
  select
    change.contact_id,
    change.version
  from settled
  cross join lateral (
    select
      change.contact_id,
      change.version
    from crm_outbound_changes as change
    where change.organisation_id = :organisationId!::uuid
      and change.contact_id = settled.internal_id
      and (change.connection_id = :connectionId!::uuid) is true
      and change.version = settled.change_version
    limit 1
    -- Skips locked changes: they are being changed, and must be pushed again.
    for update skip locked
  ) as change
  where settled.change_version is not null
),
cleared as (
  delete from crm_outbound_changes as change
  using pushed
  where change.organisation_id = :organisationId!::uuid
    and change.contact_id = pushed.contact_id
    and (change.connection_id = :connectionId!::uuid) is true
    and change.version = pushed.version
),
-- 7. Cursors ----------------------------------------------------------------------------------------------
moved as (
  insert into crm_sync_cursors as cursor (
    organisation_id,
    connection_id,
    direction,
    entity_type,
    kind,
    synced_to_at,
    token,
    page,
    moved_at
  )
  select
    :organisationId!::uuid,
    :connectionId!::uuid,
    cursor_move.direction,
    cursor_move.entity_type,
    cursor_move.kind,
    cursor_move.synced_to_at,
    cursor_move.token,
    cursor_move.page,
    clock.at
  from decision
  cross join cursor_move
  cross join clock
  where decision.outcome = 'recorded'
  on conflict (organisation_id, connection_id, direction, entity_type) do update
  set
    kind = excluded.kind,
    synced_to_at = coalesce(excluded.synced_to_at, cursor.synced_to_at),
    token = excluded.token,
    page = excluded.page,
    version = cursor.version + 1,
    moved_at = excluded.moved_at
),
-- 8. Lease ------------------------------------------------------------------------------------------------
-- Adds the events to the counts of the run, extends its lease, and keeps the connection from becoming due
-- before the lease expires.
extended as (
  update crm_sync_runs as run
  set
    batch_number = :batchNumber!::integer,
    success_count = run.success_count + counted.success_count,
    skipped_count = run.skipped_count + counted.skipped_count,
    error_count = run.error_count + counted.error_count,
    heartbeat_at = clock.at,
    expires_at = greatest(run.expires_at, clock.at + make_interval(secs => :leaseSeconds!::integer))
  from decision
  cross join clock
  cross join (
    select
      count(*) filter (where status = 'success') as success_count,
      count(*) filter (where status = 'skipped') as skipped_count,
      count(*) filter (where status = 'error') as error_count
    from settled
  ) as counted
  where decision.outcome = 'recorded'
    and run.organisation_id = :organisationId!::uuid
    and run.connection_id = :connectionId!::uuid
    and run.id = :runId!::bigint
  returning run.expires_at
),
postponed as (
  update crm_connections
  set next_sync_at = extended.expires_at
  from connection
  cross join extended
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.next_sync_at < extended.expires_at
)
select
  decision.outcome as "outcome!",
  (select expires_at from extended) as "expiresAt?",
  (select coalesce(jsonb_agg(position order by position), '[]') from settled where is_conflict) as "conflicts!"
from decision;
