/** Types generated for queries found in "queries/crm_record_requests.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp } from '../types.js';

/** The parameters of {@link recordRequestAdd}. */
export interface RecordRequestAddParams {
  connectionId: string;
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
}

/** A row of {@link recordRequestAdd}. */
export interface RecordRequestAddResult {
  added: number;
  leftToSync: number;
}

/**
 * Asks for records of a live connection, which the next run reads first, and requests a sync of it, as
 * connectionRequestSync does. A record that is asked for already stays as it is; one that a run was given
 * meanwhile is asked for again. Of new ones, adds as many as the connection has fewer than 1,000, and leaves
 * the others to the sync. Those who ask at the same moment may exceed this. Returns one row with the numbers,
 * or none if the organisation has no such live connection. Records of erased people are passed over. Uses primary
 * keys. Locks the connection for the transaction, then the requests, in key order. Needs READ COMMITTED, to see who was
 * erased meanwhile.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 *   from crm_require_read_committed('records cannot be asked for')
 * ),
 * connection as (
 *   select
 *     connection.organisation_id,
 *     connection.id,
 *     connection.provider,
 *     connection.next_sync_at,
 *     connection.sync_requested_at,
 *     -- greatest ignores null.
 *     greatest(clock.at, connection.not_before_at) as wanted_at
 *   from crm_connections as connection
 *   cross join clock
 *   where connection.organisation_id = :organisationId!::uuid
 *     and connection.id = :connectionId!::uuid
 *     and connection.status <> 'disconnected'
 *   for no key update of connection
 * ),
 * erased as materialized (
 *   select erased.record_number
 *   from connection
 *   cross join lateral crm_find_erased_records(
 *     :organisationId!::uuid,
 *     array_fill(connection.provider, array[cardinality(:externalIds!::text[])]),
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     connection.id
 *   ) as erased
 * ),
 * given as (
 *   select distinct
 *     given.entity_type,
 *     given.external_id,
 *     known.external_id is not null as is_known
 *   from connection
 *   cross join unnest(:entityTypes!::text[], :externalIds!::text[])
 *     with ordinality as given (entity_type, external_id, record_number)
 *   left join lateral (
 *     select request.external_id
 *     from crm_record_requests as request
 *     where request.organisation_id = :organisationId!::uuid
 *       and request.connection_id = :connectionId!::uuid
 *       and request.entity_type = given.entity_type
 *       and request.external_id = given.external_id
 *     limit 1
 *   ) as known on true
 *   where given.record_number not in (select erased.record_number from erased)
 * ),
 * room as (
 *   select 1000 - count(*) as size
 *   from (
 *     select
 *     from crm_record_requests
 *     where organisation_id = :organisationId!::uuid
 *       and connection_id = :connectionId!::uuid
 *     limit 1000
 *   ) as counted
 * ),
 * fitting as (
 *   select
 *     entity_type,
 *     external_id,
 *     is_known
 *   from (
 *     select
 *       entity_type,
 *       external_id,
 *       is_known,
 *       count(*) filter (where not is_known) over (
 *         order by
 *           entity_type,
 *           external_id
 *       ) as new_ones
 *     from given
 *   ) as numbered
 *   where is_known
 *     or new_ones <= (select size from room)
 * ),
 * added as (
 *   insert into crm_record_requests as request (
 *     organisation_id,
 *     connection_id,
 *     entity_type,
 *     external_id,
 *     requested_at
 *   )
 *   select
 *     :organisationId!::uuid,
 *     :connectionId!::uuid,
 *     fitting.entity_type,
 *     fitting.external_id,
 *     clock.at
 *   from fitting
 *   cross join clock
 *   order by
 *     fitting.entity_type,
 *     fitting.external_id
 *   on conflict (organisation_id, connection_id, entity_type, external_id) do update
 *   set
 *     requested_at = excluded.requested_at,
 *     claimed_run_id = null,
 *     attempts = 0
 *   where request.claimed_run_id is not null
 *   returning request.external_id
 * ),
 * requested as (
 *   update crm_connections
 *   set
 *     sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
 *     next_sync_at = least(crm_connections.next_sync_at, connection.wanted_at)
 *   from connection
 *   cross join clock
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and exists (select from given)
 *     and (connection.sync_requested_at is null or connection.next_sync_at > connection.wanted_at)
 * )
 * select
 *   (select count(*)::integer from added) as "added!",
 *   ((select count(*) from given) - (select count(*) from fitting))::integer as "leftToSync!"
 * from connection
 * ```
 */
export const recordRequestAdd = new PreparedQuery<RecordRequestAddParams,RecordRequestAddResult>({
  name: 'recordRequestAdd',
  statementName: 'recordRequestAdd_bc941f55',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'externalIds', required: true },
    { name: 'entityTypes', required: true },
  ],
  text: `with /* recordRequestAdd */ clock as materialized (
  select crm_now() as at
  from crm_require_read_committed('records cannot be asked for')
),
connection as (
  select
    connection.organisation_id,
    connection.id,
    connection.provider,
    connection.next_sync_at,
    connection.sync_requested_at,
    greatest(clock.at, connection.not_before_at) as wanted_at
  from crm_connections as connection
  cross join clock
  where connection.organisation_id = $1::uuid
    and connection.id = $2::uuid
    and connection.status <> 'disconnected'
  for no key update of connection
),
erased as materialized (
  select erased.record_number
  from connection
  cross join lateral crm_find_erased_records(
    $1::uuid,
    array_fill(connection.provider, array[cardinality($3::text[])]),
    $4::text[],
    $3::text[],
    connection.id
  ) as erased
),
given as (
  select distinct
    given.entity_type,
    given.external_id,
    known.external_id is not null as is_known
  from connection
  cross join unnest($4::text[], $3::text[])
    with ordinality as given (entity_type, external_id, record_number)
  left join lateral (
    select request.external_id
    from crm_record_requests as request
    where request.organisation_id = $1::uuid
      and request.connection_id = $2::uuid
      and request.entity_type = given.entity_type
      and request.external_id = given.external_id
    limit 1
  ) as known on true
  where given.record_number not in (select erased.record_number from erased)
),
room as (
  select 1000 - count(*) as size
  from (
    select
    from crm_record_requests
    where organisation_id = $1::uuid
      and connection_id = $2::uuid
    limit 1000
  ) as counted
),
fitting as (
  select
    entity_type,
    external_id,
    is_known
  from (
    select
      entity_type,
      external_id,
      is_known,
      count(*) filter (where not is_known) over (
        order by
          entity_type,
          external_id
      ) as new_ones
    from given
  ) as numbered
  where is_known
    or new_ones <= (select size from room)
),
added as (
  insert into crm_record_requests as request (
    organisation_id,
    connection_id,
    entity_type,
    external_id,
    requested_at
  )
  select
    $1::uuid,
    $2::uuid,
    fitting.entity_type,
    fitting.external_id,
    clock.at
  from fitting
  cross join clock
  order by
    fitting.entity_type,
    fitting.external_id
  on conflict (organisation_id, connection_id, entity_type, external_id) do update
  set
    requested_at = excluded.requested_at,
    claimed_run_id = null,
    attempts = 0
  where request.claimed_run_id is not null
  returning request.external_id
),
requested as (
  update crm_connections
  set
    sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
    next_sync_at = least(crm_connections.next_sync_at, connection.wanted_at)
  from connection
  cross join clock
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and exists (select from given)
    and (connection.sync_requested_at is null or connection.next_sync_at > connection.wanted_at)
)
select
  (select count(*)::integer from added) as "added",
  ((select count(*) from given) - (select count(*) from fitting))::integer as "leftToSync"
from connection`,
});


/** The parameters of {@link recordRequestClaim}. */
export interface RecordRequestClaimParams {
  connectionId: string;
  limit: number;
  organisationId: string;
  runId: number | string;
}

/** A row of {@link recordRequestClaim}. */
export interface RecordRequestClaimResult {
  /** How many runs were given the record since it was asked for. Those with few come first, so that a record that crashes its workers does not block the others. */
  attempts: number | null;
  /** The kind of record, in the CRM's own terms. */
  entityType: string | null;
  /** The record's id at the CRM. */
  externalId: string | null;
  /** When it was asked for, since it was last claimed. */
  requestedAt: Timestamp | null;
}

/**
 * Claims records of a connection that were asked for, for the worker that holds its run: those given to the fewest
 * runs first, then the longest waiting. A run is given each once, unless it is asked for again meanwhile. Returns at
 * most `limit` rows, one row of nulls if there is nothing to claim, and none if the lease is lost. Uses
 * crm_record_requests_pkey, and reads all that the connection has. Locks the connection for the transaction, then the
 * run and the requests. Needs READ COMMITTED.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * connection as (
 *   select
 *     organisation_id,
 *     id
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *   for no key update
 * ),
 * run as (
 *   select run.id
 *   from connection
 *   cross join crm_sync_runs as run
 *   where run.organisation_id = :organisationId!::uuid
 *     and run.connection_id = :connectionId!::uuid
 *     and run.id = :runId!::bigint
 *     and run.ended_at is null
 *     and run.expires_at > (select at from clock)
 *   for no key update of run
 * ),
 * waiting as (
 *   select
 *     request.organisation_id,
 *     request.connection_id,
 *     request.entity_type,
 *     request.external_id,
 *     request.external_id as locked_external_id
 *   from run
 *   cross join crm_record_requests as request
 *   where request.organisation_id = :organisationId!::uuid
 *     and request.connection_id = :connectionId!::uuid
 *     and request.claimed_run_id is distinct from :runId!::bigint
 *   order by
 *     request.attempts,
 *     request.requested_at,
 *     request.entity_type,
 *     request.external_id
 *   limit :limit!::integer
 *   for no key update of request
 * ),
 * claimed as (
 *   update crm_record_requests as request
 *   set
 *     claimed_run_id = :runId!::bigint,
 *     attempts = least(request.attempts, 2147483646) + 1
 *   from waiting
 *   where request.organisation_id = waiting.organisation_id
 *     and request.connection_id = waiting.connection_id
 *     and request.entity_type = waiting.entity_type
 *     and request.external_id = waiting.external_id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and waiting.external_id = waiting.locked_external_id
 *   returning
 *     request.entity_type,
 *     request.external_id,
 *     request.requested_at,
 *     request.attempts
 * )
 * select
 *   claimed.entity_type as "entityType?",
 *   claimed.external_id as "externalId?",
 *   claimed.requested_at as "requestedAt?",
 *   claimed.attempts as "attempts?"
 * from run
 * left join claimed on true
 * ```
 */
export const recordRequestClaim = new PreparedQuery<RecordRequestClaimParams,RecordRequestClaimResult>({
  name: 'recordRequestClaim',
  statementName: 'recordRequestClaim_2c8987ef',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'runId', required: true },
    { name: 'limit', required: true },
  ],
  text: `with /* recordRequestClaim */ clock as materialized (
  select crm_now() as at
),
connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status <> 'disconnected'
  for no key update
),
run as (
  select run.id
  from connection
  cross join crm_sync_runs as run
  where run.organisation_id = $1::uuid
    and run.connection_id = $2::uuid
    and run.id = $3::bigint
    and run.ended_at is null
    and run.expires_at > (select at from clock)
  for no key update of run
),
waiting as (
  select
    request.organisation_id,
    request.connection_id,
    request.entity_type,
    request.external_id,
    request.external_id as locked_external_id
  from run
  cross join crm_record_requests as request
  where request.organisation_id = $1::uuid
    and request.connection_id = $2::uuid
    and request.claimed_run_id is distinct from $3::bigint
  order by
    request.attempts,
    request.requested_at,
    request.entity_type,
    request.external_id
  limit $4::integer
  for no key update of request
),
claimed as (
  update crm_record_requests as request
  set
    claimed_run_id = $3::bigint,
    attempts = least(request.attempts, 2147483646) + 1
  from waiting
  where request.organisation_id = waiting.organisation_id
    and request.connection_id = waiting.connection_id
    and request.entity_type = waiting.entity_type
    and request.external_id = waiting.external_id
    and waiting.external_id = waiting.locked_external_id
  returning
    request.entity_type,
    request.external_id,
    request.requested_at,
    request.attempts
)
select
  claimed.entity_type as "entityType",
  claimed.external_id as "externalId",
  claimed.requested_at as "requestedAt",
  claimed.attempts as "attempts"
from run
left join claimed on true`,
});


/** The parameters of {@link recordRequestClear}. */
export interface RecordRequestClearParams {
  connectionId: string;
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
  runId: number | string;
}

/** A row of {@link recordRequestClear}. */
export interface RecordRequestClearResult {
  cleared: number;
}

/**
 * Clears records that the run was given and has read. One that was asked for again meanwhile stays. Returns one row
 * with their number, or none if the lease is lost. Uses primary keys. Locks the connection for the transaction, then
 * the run and the requests.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * connection as (
 *   select
 *     organisation_id,
 *     id
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *   for no key update
 * ),
 * run as (
 *   select run.id
 *   from connection
 *   cross join crm_sync_runs as run
 *   where run.organisation_id = :organisationId!::uuid
 *     and run.connection_id = :connectionId!::uuid
 *     and run.id = :runId!::bigint
 *     and run.ended_at is null
 *     and run.expires_at > (select at from clock)
 *   for no key update of run
 * ),
 * given as (
 *   select
 *     request.organisation_id,
 *     request.connection_id,
 *     request.entity_type,
 *     request.external_id,
 *     wanted.external_id as wanted_external_id
 *   from run
 *   cross join (
 *     select distinct
 *       entity_type,
 *       external_id
 *     from unnest(:entityTypes!::text[], :externalIds!::text[]) as wanted (entity_type, external_id)
 *   ) as wanted
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       connection_id,
 *       entity_type,
 *       external_id
 *     from crm_record_requests
 *     where organisation_id = :organisationId!::uuid
 *       and connection_id = :connectionId!::uuid
 *       and entity_type = wanted.entity_type
 *       and external_id = wanted.external_id
 *       and claimed_run_id = :runId!::bigint
 *     limit 1
 *     -- Not one that was asked for again since this statement began.
 *     for update
 *   ) as request
 * ),
 * cleared as (
 *   delete from crm_record_requests as request
 *   using given
 *   where request.organisation_id = given.organisation_id
 *     and request.connection_id = given.connection_id
 *     and request.entity_type = given.entity_type
 *     and request.external_id = given.external_id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and given.external_id = given.wanted_external_id
 *   returning request.external_id
 * )
 * select
 *   (select count(*)::integer from cleared) as "cleared!"
 * from run
 * ```
 */
export const recordRequestClear = new PreparedQuery<RecordRequestClearParams,RecordRequestClearResult>({
  name: 'recordRequestClear',
  statementName: 'recordRequestClear_2ed673f0',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'runId', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
  ],
  text: `with /* recordRequestClear */ clock as materialized (
  select crm_now() as at
),
connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status <> 'disconnected'
  for no key update
),
run as (
  select run.id
  from connection
  cross join crm_sync_runs as run
  where run.organisation_id = $1::uuid
    and run.connection_id = $2::uuid
    and run.id = $3::bigint
    and run.ended_at is null
    and run.expires_at > (select at from clock)
  for no key update of run
),
given as (
  select
    request.organisation_id,
    request.connection_id,
    request.entity_type,
    request.external_id,
    wanted.external_id as wanted_external_id
  from run
  cross join (
    select distinct
      entity_type,
      external_id
    from unnest($4::text[], $5::text[]) as wanted (entity_type, external_id)
  ) as wanted
  cross join lateral (
    select
      organisation_id,
      connection_id,
      entity_type,
      external_id
    from crm_record_requests
    where organisation_id = $1::uuid
      and connection_id = $2::uuid
      and entity_type = wanted.entity_type
      and external_id = wanted.external_id
      and claimed_run_id = $3::bigint
    limit 1
    for update
  ) as request
),
cleared as (
  delete from crm_record_requests as request
  using given
  where request.organisation_id = given.organisation_id
    and request.connection_id = given.connection_id
    and request.entity_type = given.entity_type
    and request.external_id = given.external_id
    and given.external_id = given.wanted_external_id
  returning request.external_id
)
select
  (select count(*)::integer from cleared) as "cleared"
from run`,
});


