/* @name syncLogCountByPeriod */
-- Counts the events of a connection by status, in periods: one row for each start and end, in their order. Of a period it
-- reads the `limit` newest events, through the primary key, and `limit` failures, through
-- crm_sync_log_status_connection_id_idx, so that a busy day does not hide the few that failed (`is true` keeps the planner
-- from the primary key there). `isCapped`: there are `limit` events or more.
select
  period.starts_at as "startsAt!",
  period.ends_at as "endsAt!",
  newest.success as "success!",
  newest.skipped as "skipped!",
  failed.error as "error!",
  newest.events >= :limit!::integer as "isCapped!"
from unnest(
  :periodStarts!::timestamptz[],
  :periodEnds!::timestamptz[]
) with ordinality as period (
  starts_at,
  ends_at,
  position
)
cross join lateral (
  select
    count(*) filter (where status = 'success')::integer as success,
    count(*) filter (where status = 'skipped')::integer as skipped,
    count(*)::integer as events
  from (
    select status
    from crm_sync_log
    where organisation_id = :organisationId!::uuid
      and connection_id = :connectionId!::uuid
      and occurred_at >= period.starts_at
      and occurred_at < period.ends_at
    order by
      occurred_at desc,
      id desc
    limit :limit!::integer
  ) as event
) as newest
cross join lateral (
  select count(*)::integer as error
  from (
    select
    from crm_sync_log
    where (organisation_id = :organisationId!::uuid) is true
      and connection_id = :connectionId!::uuid
      and status = 'error'
      and occurred_at >= period.starts_at
      and occurred_at < period.ends_at
    limit :limit!::integer
  ) as failure
) as failed
order by period.position;

/* @name syncLogCountErrorsByKind */
-- Counts the failed events of a connection since a time by the kind of error, most frequent first. Returns
-- at most ten rows, one per kind. Uses crm_sync_log_status_connection_id_idx, and reads the failures of
-- that time. `is true` keeps the planner from the primary key, through which it would also read the
-- successes.
select
  error ->> 'kind' as "kind!",
  count(*)::integer as "count!",
  max(occurred_at) as "lastAt!"
from crm_sync_log
where (organisation_id = :organisationId!::uuid) is true
  and connection_id = :connectionId!::uuid
  and status = 'error'
  and occurred_at >= :since!::timestamptz
group by error ->> 'kind'
order by
  count(*) desc,
  error ->> 'kind';

/* @name syncLogListByConnection */
-- Lists the events of a connection, newest first: the page of at most `limit` events before the given one.
-- Uses the primary key, read backwards.
select
  organisation_id as "organisationId",
  connection_id as "connectionId",
  occurred_at as "occurredAt",
  id,
  direction,
  entity_type as "entityType",
  external_id as "externalId",
  internal_id as "internalId",
  status,
  error,
  reason
from crm_sync_log
where organisation_id = :organisationId!::uuid
  and connection_id = :connectionId!::uuid
  -- least, not coalesce: under row-level security, a comparison with coalesce could not use the index.
  and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')
  and (occurred_at, id) < (
    least(:beforeOccurredAt::timestamptz, 'infinity'),
    least(:beforeId::bigint, 9223372036854775807)
  )
order by
  occurred_at desc,
  id desc
limit :limit!::integer;

/* @name syncLogListByContact */
-- Lists the events of a contact across all CRMs, newest first: the page of at most `limit` events before
-- the given one, each with the provider of its connection. Uses crm_sync_log_internal_id_idx, which finds a contact's
-- events in no order, and crm_connections_pkey for each event. Reads the contact's events of a month at a time, of more
-- months where those before had few, and stops once the page is full.
select
  event.organisation_id as "organisationId",
  event.connection_id as "connectionId",
  connection.provider,
  event.occurred_at as "occurredAt",
  event.id,
  event.direction,
  event.entity_type as "entityType",
  event.external_id as "externalId",
  event.internal_id as "internalId",
  event.status,
  event.error,
  event.reason
from (
  select
    logged.organisation_id,
    logged.connection_id,
    logged.occurred_at,
    logged.id,
    logged.direction,
    logged.entity_type,
    logged.external_id,
    logged.internal_id,
    logged.status,
    logged.error,
    logged.reason
  from (
    -- The month of the page and all that is later, the month before, then two, four, and all that is earlier. They are
    -- whole months in UTC, like partitions, so that each partition is read in one period.
    select
      coalesce((month - make_interval(months => first_month)) at time zone 'UTC', '-infinity') as starts_at,
      coalesce((month - make_interval(months => last_month - 1)) at time zone 'UTC', 'infinity') as ends_at
    from date_trunc('month', coalesce(:beforeOccurredAt::timestamptz, now()) at time zone 'UTC') as month
    cross join unnest(
      array[0, 1, 3, 7, null],
      array[null, 1, 2, 4, 8]
    ) as period (first_month, last_month)
    order by ends_at desc
  ) as period
  cross join lateral (
    select
      organisation_id,
      connection_id,
      occurred_at,
      id,
      direction,
      entity_type,
      external_id,
      internal_id,
      status,
      error,
      reason
    from crm_sync_log
    -- `is true` keeps the planner from the primary key, through which it would read the whole organisation.
    where (organisation_id = :organisationId!::uuid) is true
      -- Selected, so that the planner takes it for an ordinary contact: it would compile the statement for a busy one.
      and internal_id = (select :contactId!::uuid)
      and occurred_at >= period.starts_at
      and occurred_at < period.ends_at
      -- least, not coalesce: under row-level security, a comparison with coalesce could not choose the partitions.
      and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')
      and (occurred_at, id) < (
        least(:beforeOccurredAt::timestamptz, 'infinity'),
        least(:beforeId::bigint, 9223372036854775807)
      )
    order by
      occurred_at desc,
      id desc
    limit :limit!::integer
  ) as logged
  -- By period first, so that the next one is only read if this one does not fill the page.
  order by
    period.ends_at desc,
    logged.occurred_at desc,
    logged.id desc
  limit :limit!::integer
) as event
inner join crm_connections as connection
  on connection.organisation_id = event.organisation_id
  and connection.id = event.connection_id
order by
  event.occurred_at desc,
  event.id desc;

/* @name syncLogListFailures */
-- Lists the failed events of a connection, newest first: the page of at most `limit` events before the
-- given one. Uses crm_sync_log_status_connection_id_idx. `is true` keeps the planner from the primary key,
-- through which it would also read the successes.
select
  organisation_id as "organisationId",
  connection_id as "connectionId",
  occurred_at as "occurredAt",
  id,
  direction,
  entity_type as "entityType",
  external_id as "externalId",
  internal_id as "internalId",
  status,
  error as "error!"
from crm_sync_log
where (organisation_id = :organisationId!::uuid) is true
  and connection_id = :connectionId!::uuid
  and status = 'error'
  -- least, not coalesce: under row-level security, a comparison with coalesce could not use the index.
  and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')
  and (occurred_at, id) < (
    least(:beforeOccurredAt::timestamptz, 'infinity'),
    least(:beforeId::bigint, 9223372036854775807)
  )
order by
  occurred_at desc,
  id desc
limit :limit!::integer;

/* @name syncLogRecord */
-- Adds events of one connection to the log, one array element each, all or nothing. An event without a
-- time gets the current time. Returns one row: the number of added events, and the first event, counted from 1, whose
-- time is more than a day ahead of the clock (crm_latest_time): if there is one, nothing was added. Locks the
-- connection's row FOR KEY SHARE, which only blocks its deletion, and waits for an erasure in the organisation
-- (crm_lock_log). Of the record or the contact of an erased person, adds nothing but that it was skipped (`erased`): needs
-- READ COMMITTED, to see who was erased meanwhile. Nulls are allowed in `occurredAts`, `externalIds`, `internalIds`,
-- `errors` and `reasons`.
with in_future as materialized (
  select min(given.position)::integer as position
  from crm_latest_time(crm_now()) as latest
  cross join unnest(:occurredAts!::timestamptz[]) with ordinality as given (occurred_at, position)
  where given.occurred_at > latest
),
log_lock as materialized (
  select
    :organisationId!::uuid as organisation_id,
    crm_lock_log(:organisationId!::uuid, false)
  from crm_require_read_committed('events cannot be logged')
),
erased as materialized (
  select erased.record_number as position
  from log_lock
  cross join crm_connections as connection
  -- By the column of log_lock, so that it is called only with the lock.
  cross join lateral crm_find_erased_records(
    log_lock.organisation_id,
    array_fill(connection.provider, array[cardinality(:externalIds!::text[])]),
    :entityTypes!::text[],
    :externalIds!::text[],
    connection.id
  ) as erased
  where connection.organisation_id = :organisationId!::uuid
    and connection.id = :connectionId!::uuid
  union
  select erased.contact_number
  from log_lock
  cross join lateral crm_find_erased_contacts(log_lock.organisation_id, :internalIds!::uuid[]) as erased
),
recorded as (
  insert into crm_sync_log (
    organisation_id,
    connection_id,
    occurred_at,
    direction,
    entity_type,
    external_id,
    internal_id,
    status,
    error,
    reason
  )
  select
    :organisationId!::uuid,
    :connectionId!::uuid,
    coalesce(event.occurred_at, now()),
    event.direction,
    event.entity_type,
    case when erased.position is null then event.external_id end,
    case when erased.position is null then event.internal_id end,
    case when erased.position is null then event.status else 'skipped' end,
    case when erased.position is null then event.error end,
    case when erased.position is null then event.reason else 'erased' end
  from in_future
  cross join unnest(
    :occurredAts!::timestamptz[],
    :directions!::text[],
    :entityTypes!::text[],
    :externalIds!::text[],
    :internalIds!::uuid[],
    :statuses!::text[],
    :errors!::jsonb[],
    :reasons!::text[]
  ) with ordinality as event (
    occurred_at,
    direction,
    entity_type,
    external_id,
    internal_id,
    status,
    error,
    reason,
    position
  )
  left join erased
    on erased.position = event.position
  where in_future.position is null
    -- Always true. It forces the lock, also where no id could be an erased one.
    and (select count(*) from erased) >= 0
  order by event.position
  returning 1
)
select
  (select count(*)::integer from recorded) as "recorded!",
  position as "inFuture?"
from in_future;
