/** Types generated for queries found in "queries/crm_outbound_changes.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp } from '../types.js';

/** The parameters of {@link outboundChangeAnnounce}. */
export interface OutboundChangeAnnounceParams {
  limit: number;
}

/** A row of {@link outboundChangeAnnounce}. */
export interface OutboundChangeAnnounceResult {
  announced: number;
}

/**
 * Requests a sync of the connections with new outbound changes, as a webhook does with
 * connectionRequestSync, across all organisations, for at most `limit` connections. New changes of a disconnected
 * connection wait there while they are kept (crm_keeps_changes); otherwise they go to the connection after it if the
 * same account was connected again, and are dropped if not. Then drops what was kept for too long
 * (crm_drop_expired_changes). Returns one row: the number of processed changes, at most 100 per connection, so that one
 * with many does not delay the others. Skips locked connections and changes: a later call processes them. Uses
 * crm_outbound_changes_connection_id_new_idx and crm_connections_changes_expire_at_idx, then primary keys (`is true`
 * keeps the planner from reading all changes of a connection for each one). Locks the connections for the transaction,
 * then the contacts of changes that it moves FOR KEY SHARE, then the changes. Waits only where it moves changes. Needs
 * READ COMMITTED.
 *
 * @remarks
 * ```sql
 * with recursive clock as materialized (
 *   select crm_now() as at
 * ),
 * named as (
 *   (
 *     select
 *       organisation_id,
 *       connection_id
 *     from crm_outbound_changes
 *     where not is_announced
 *     order by
 *       organisation_id,
 *       connection_id
 *     limit 1
 *   )
 *   union all
 *   select
 *     next.organisation_id,
 *     next.connection_id
 *   from named
 *   cross join lateral (
 *     select
 *       change.organisation_id,
 *       change.connection_id
 *     from crm_outbound_changes as change
 *     where not change.is_announced
 *       and (change.organisation_id, change.connection_id) > (named.organisation_id, named.connection_id)
 *     order by
 *       change.organisation_id,
 *       change.connection_id
 *     limit 1
 *   ) as next
 * ),
 * connection as (
 *   select
 *     found.organisation_id,
 *     found.id,
 *     found.provider,
 *     found.connected_at,
 *     found.status <> 'disconnected' as is_live,
 *     found.kept_changes,
 *     crm_keeps_changes(found.status, found.kept_changes, found.changes_expire_at, clock.at) as keeps_changes,
 *     -- greatest ignores null.
 *     greatest(
 *       clock.at,
 *       found.not_before_at,
 *       crm_pause_end(found.paused_at, found.pause_ends_at, clock.at)
 *     ) as wanted_at
 *   from (
 *     select
 *       organisation_id,
 *       connection_id
 *     from named
 *     limit :limit!::integer
 *   ) as named
 *   inner join crm_connections as found
 *     on found.organisation_id = named.organisation_id
 *     and found.id = named.connection_id
 *   cross join clock
 *   for no key update of found skip locked
 * ),
 * -- Recorded while the CRM was being connected again. Until the next connection is seen, they stay.
 * successor as (
 *   select
 *     connection.organisation_id,
 *     connection.id,
 *     next.id as next_id
 *   from connection
 *   cross join lateral (
 *     select later.id
 *     from crm_connections as later
 *     where later.organisation_id = connection.organisation_id
 *       and later.provider = connection.provider
 *       and later.connected_at > connection.connected_at
 *       -- One that an earlier release connected and disconnected has taken over nothing.
 *       and (later.status <> 'disconnected' or later.kept_changes is not null)
 *     order by later.connected_at
 *     limit 1
 *   ) as next
 *   where connection.kept_changes = 'moved'
 * ),
 * late as materialized (
 *   select
 *     successor.organisation_id,
 *     successor.id,
 *     change.contact_id
 *   from successor
 *   cross join lateral (
 *     select change.contact_id
 *     from crm_outbound_changes as change
 *     where change.organisation_id = successor.organisation_id
 *       and change.connection_id = successor.id
 *       and not change.is_announced
 *     limit 100
 *   ) as change
 * ),
 * -- Whoever deletes a contact locks it before its changes. Moving one would lock them the other way round.
 * contact_lock as materialized (
 *   select crm_lock_contacts(organisation_id, array_agg(contact_id))
 *   from late
 *   group by organisation_id
 * ),
 * fresh as (
 *   select
 *     change.organisation_id,
 *     change.contact_id,
 *     change.connection_id,
 *     change.first_changed_at,
 *     change.last_changed_at,
 *     connection.is_live,
 *     connection.keeps_changes,
 *     successor.next_id
 *   from connection
 *   left join successor
 *     on successor.organisation_id = connection.organisation_id
 *     and successor.id = connection.id
 *   cross join lateral (
 *     select
 *       change.organisation_id,
 *       change.contact_id,
 *       change.connection_id,
 *       change.first_changed_at,
 *       change.last_changed_at
 *     from crm_outbound_changes as change
 *     where change.organisation_id = connection.organisation_id
 *       and change.connection_id = connection.id
 *       and not change.is_announced
 *       and (select count(*) from contact_lock) >= 0
 *     limit 100
 *     for update of change skip locked
 *   ) as change
 *   -- What was kept for too long is dropped below.
 *   where connection.keeps_changes
 *     or connection.kept_changes is null
 *     or connection.kept_changes in ('dropped', 'expired')
 *     or exists (
 *       select
 *       from late
 *       where late.organisation_id = connection.organisation_id
 *         and late.id = connection.id
 *         and late.contact_id = change.contact_id
 *     )
 * ),
 * moved as (
 *   insert into crm_outbound_changes as change (
 *     organisation_id,
 *     contact_id,
 *     connection_id,
 *     first_changed_at,
 *     last_changed_at,
 *     next_attempt_at
 *   )
 *   select
 *     fresh.organisation_id,
 *     fresh.contact_id,
 *     fresh.next_id,
 *     fresh.first_changed_at,
 *     fresh.last_changed_at,
 *     clock.at
 *   from fresh
 *   cross join clock
 *   where fresh.next_id is not null
 *   order by
 *     fresh.organisation_id,
 *     fresh.contact_id
 *   on conflict (organisation_id, contact_id, connection_id) do update
 *   set
 *     version = default,
 *     last_changed_at = greatest(change.last_changed_at, excluded.last_changed_at),
 *     attempts = 0,
 *     next_attempt_at = excluded.next_attempt_at,
 *     is_announced = false
 * ),
 * dropped as (
 *   delete from crm_outbound_changes as change
 *   using fresh
 *   where not fresh.keeps_changes
 *     and change.organisation_id = fresh.organisation_id
 *     and change.contact_id = fresh.contact_id
 *     and (change.connection_id = fresh.connection_id) is true
 * ),
 * announced as (
 *   update crm_outbound_changes as change
 *   set is_announced = true
 *   from fresh
 *   where fresh.keeps_changes
 *     and change.organisation_id = fresh.organisation_id
 *     and change.contact_id = fresh.contact_id
 *     and (change.connection_id = fresh.connection_id) is true
 * ),
 * made_due as (
 *   update crm_connections
 *   set
 *     sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
 *     next_sync_at = least(crm_connections.next_sync_at, connection.wanted_at)
 *   from connection
 *   cross join clock
 *   where connection.is_live
 *     and crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and (connection.organisation_id, connection.id) in (
 *       select
 *         organisation_id,
 *         connection_id
 *       from fresh
 *     )
 *     and (crm_connections.sync_requested_at is null or crm_connections.next_sync_at > connection.wanted_at)
 * ),
 * expired as (
 *   select crm_drop_expired_changes() as dropped
 *   where exists (
 *     select
 *     from crm_connections
 *     where kept_changes = 'waiting'
 *       and changes_expire_at <= (select at from clock)
 *   )
 * )
 * select count(*)::integer + coalesce((select dropped from expired), 0) as "announced!"
 * from fresh
 * ```
 */
export const outboundChangeAnnounce = new PreparedQuery<OutboundChangeAnnounceParams,OutboundChangeAnnounceResult>({
  name: 'outboundChangeAnnounce',
  statementName: 'outboundChangeAnnounce_24a23cd4',
  params: [
    { name: 'limit', required: true },
  ],
  text: `with /* outboundChangeAnnounce */ recursive clock as materialized (
  select crm_now() as at
),
named as (
  (
    select
      organisation_id,
      connection_id
    from crm_outbound_changes
    where not is_announced
    order by
      organisation_id,
      connection_id
    limit 1
  )
  union all
  select
    next.organisation_id,
    next.connection_id
  from named
  cross join lateral (
    select
      change.organisation_id,
      change.connection_id
    from crm_outbound_changes as change
    where not change.is_announced
      and (change.organisation_id, change.connection_id) > (named.organisation_id, named.connection_id)
    order by
      change.organisation_id,
      change.connection_id
    limit 1
  ) as next
),
connection as (
  select
    found.organisation_id,
    found.id,
    found.provider,
    found.connected_at,
    found.status <> 'disconnected' as is_live,
    found.kept_changes,
    crm_keeps_changes(found.status, found.kept_changes, found.changes_expire_at, clock.at) as keeps_changes,
    greatest(
      clock.at,
      found.not_before_at,
      crm_pause_end(found.paused_at, found.pause_ends_at, clock.at)
    ) as wanted_at
  from (
    select
      organisation_id,
      connection_id
    from named
    limit $1::integer
  ) as named
  inner join crm_connections as found
    on found.organisation_id = named.organisation_id
    and found.id = named.connection_id
  cross join clock
  for no key update of found skip locked
),
successor as (
  select
    connection.organisation_id,
    connection.id,
    next.id as next_id
  from connection
  cross join lateral (
    select later.id
    from crm_connections as later
    where later.organisation_id = connection.organisation_id
      and later.provider = connection.provider
      and later.connected_at > connection.connected_at
      and (later.status <> 'disconnected' or later.kept_changes is not null)
    order by later.connected_at
    limit 1
  ) as next
  where connection.kept_changes = 'moved'
),
late as materialized (
  select
    successor.organisation_id,
    successor.id,
    change.contact_id
  from successor
  cross join lateral (
    select change.contact_id
    from crm_outbound_changes as change
    where change.organisation_id = successor.organisation_id
      and change.connection_id = successor.id
      and not change.is_announced
    limit 100
  ) as change
),
contact_lock as materialized (
  select crm_lock_contacts(organisation_id, array_agg(contact_id))
  from late
  group by organisation_id
),
fresh as (
  select
    change.organisation_id,
    change.contact_id,
    change.connection_id,
    change.first_changed_at,
    change.last_changed_at,
    connection.is_live,
    connection.keeps_changes,
    successor.next_id
  from connection
  left join successor
    on successor.organisation_id = connection.organisation_id
    and successor.id = connection.id
  cross join lateral (
    select
      change.organisation_id,
      change.contact_id,
      change.connection_id,
      change.first_changed_at,
      change.last_changed_at
    from crm_outbound_changes as change
    where change.organisation_id = connection.organisation_id
      and change.connection_id = connection.id
      and not change.is_announced
      and (select count(*) from contact_lock) >= 0
    limit 100
    for update of change skip locked
  ) as change
  where connection.keeps_changes
    or connection.kept_changes is null
    or connection.kept_changes in ('dropped', 'expired')
    or exists (
      select
      from late
      where late.organisation_id = connection.organisation_id
        and late.id = connection.id
        and late.contact_id = change.contact_id
    )
),
moved as (
  insert into crm_outbound_changes as change (
    organisation_id,
    contact_id,
    connection_id,
    first_changed_at,
    last_changed_at,
    next_attempt_at
  )
  select
    fresh.organisation_id,
    fresh.contact_id,
    fresh.next_id,
    fresh.first_changed_at,
    fresh.last_changed_at,
    clock.at
  from fresh
  cross join clock
  where fresh.next_id is not null
  order by
    fresh.organisation_id,
    fresh.contact_id
  on conflict (organisation_id, contact_id, connection_id) do update
  set
    version = default,
    last_changed_at = greatest(change.last_changed_at, excluded.last_changed_at),
    attempts = 0,
    next_attempt_at = excluded.next_attempt_at,
    is_announced = false
),
dropped as (
  delete from crm_outbound_changes as change
  using fresh
  where not fresh.keeps_changes
    and change.organisation_id = fresh.organisation_id
    and change.contact_id = fresh.contact_id
    and (change.connection_id = fresh.connection_id) is true
),
announced as (
  update crm_outbound_changes as change
  set is_announced = true
  from fresh
  where fresh.keeps_changes
    and change.organisation_id = fresh.organisation_id
    and change.contact_id = fresh.contact_id
    and (change.connection_id = fresh.connection_id) is true
),
made_due as (
  update crm_connections
  set
    sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
    next_sync_at = least(crm_connections.next_sync_at, connection.wanted_at)
  from connection
  cross join clock
  where connection.is_live
    and crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and (connection.organisation_id, connection.id) in (
      select
        organisation_id,
        connection_id
      from fresh
    )
    and (crm_connections.sync_requested_at is null or crm_connections.next_sync_at > connection.wanted_at)
),
expired as (
  select crm_drop_expired_changes() as dropped
  where exists (
    select
    from crm_connections
    where kept_changes = 'waiting'
      and changes_expire_at <= (select at from clock)
  )
)
select count(*)::integer + coalesce((select dropped from expired), 0) as "announced"
from fresh`,
});


/** The parameters of {@link outboundChangeClaim}. */
export interface OutboundChangeClaimParams {
  connectionId: string;
  limit: number;
  organisationId: string;
  runId: number | string;
}

/** A row of {@link outboundChangeClaim}. */
export interface OutboundChangeClaimResult {
  /** How often it has been claimed since the last change. More than once if workers died while pushing it. */
  attempts: number | null;
  /** The contact that changed. */
  contactId: string | null;
  /** The time since which a change has been waiting to be pushed. */
  firstChangedAt: Timestamp | null;
  /** A new value with each change, never reused: shows whether the contact has changed again. */
  version: string | null;
}

/**
 * Claims contacts to push to a connection's CRM, longest waiting first, for the worker that holds its run.
 * The claim itself postpones the next attempt, so a contact that crashes its workers does not block the
 * others. Drops changes of contacts that were erased. Returns at most `limit` rows, one row of nulls if there is nothing
 * to claim, and none if the lease is lost. Uses crm_outbound_changes_next_attempt_at_idx, then the primary key (`is true` keeps the
 * planner from reading all changes of the connection for each one). Locks the connection for the transaction,
 * then the run and the changes. Skips locked changes: they are being changed. Needs READ COMMITTED.
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
 * due as (
 *   select
 *     change.organisation_id,
 *     change.contact_id,
 *     change.connection_id,
 *     change.contact_id as locked_contact_id
 *   from run
 *   cross join crm_outbound_changes as change
 *   where change.organisation_id = :organisationId!::uuid
 *     and change.connection_id = :connectionId!::uuid
 *     and change.next_attempt_at <= (select at from clock)
 *   order by change.next_attempt_at
 *   limit :limit!::integer
 *   for no key update of change skip locked
 * ),
 * -- Until the host deletes the contact of an erased person, it may change it: a push would bring it to the CRM again.
 * erased as materialized (
 *   select
 *     listed.contact_ids[erased.contact_number] as contact_id
 *   from (
 *     select array_agg(due.contact_id) as contact_ids
 *     from due
 *   ) as listed
 *   cross join lateral crm_find_erased_contacts(:organisationId!::uuid, listed.contact_ids) as erased
 * ),
 * dropped as (
 *   delete from crm_outbound_changes as change
 *   using due
 *   where due.contact_id in (select erased.contact_id from erased)
 *     and change.organisation_id = due.organisation_id
 *     and change.contact_id = due.contact_id
 *     and (change.connection_id = due.connection_id) is true
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and due.contact_id = due.locked_contact_id
 * ),
 * claimed as (
 *   update crm_outbound_changes as change
 *   set
 *     attempts = change.attempts + 1,
 *     next_attempt_at = clock.at + crm_sync_backoff(change.attempts + 1, 60, 21600),
 *     is_announced = true
 *   from due
 *   cross join clock
 *   where change.organisation_id = due.organisation_id
 *     and change.contact_id = due.contact_id
 *     and (change.connection_id = due.connection_id) is true
 *     -- As above.
 *     and due.contact_id = due.locked_contact_id
 *     and due.contact_id not in (select erased.contact_id from erased)
 *   returning
 *     change.contact_id,
 *     change.version,
 *     change.first_changed_at,
 *     change.attempts
 * )
 * select
 *   claimed.contact_id as "contactId?",
 *   claimed.version as "version?",
 *   claimed.first_changed_at as "firstChangedAt?",
 *   claimed.attempts as "attempts?"
 * from run
 * left join claimed on true
 * ```
 */
export const outboundChangeClaim = new PreparedQuery<OutboundChangeClaimParams,OutboundChangeClaimResult>({
  name: 'outboundChangeClaim',
  statementName: 'outboundChangeClaim_0b1e09f8',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'runId', required: true },
    { name: 'limit', required: true },
  ],
  text: `with /* outboundChangeClaim */ clock as materialized (
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
due as (
  select
    change.organisation_id,
    change.contact_id,
    change.connection_id,
    change.contact_id as locked_contact_id
  from run
  cross join crm_outbound_changes as change
  where change.organisation_id = $1::uuid
    and change.connection_id = $2::uuid
    and change.next_attempt_at <= (select at from clock)
  order by change.next_attempt_at
  limit $4::integer
  for no key update of change skip locked
),
erased as materialized (
  select
    listed.contact_ids[erased.contact_number] as contact_id
  from (
    select array_agg(due.contact_id) as contact_ids
    from due
  ) as listed
  cross join lateral crm_find_erased_contacts($1::uuid, listed.contact_ids) as erased
),
dropped as (
  delete from crm_outbound_changes as change
  using due
  where due.contact_id in (select erased.contact_id from erased)
    and change.organisation_id = due.organisation_id
    and change.contact_id = due.contact_id
    and (change.connection_id = due.connection_id) is true
    and due.contact_id = due.locked_contact_id
),
claimed as (
  update crm_outbound_changes as change
  set
    attempts = change.attempts + 1,
    next_attempt_at = clock.at + crm_sync_backoff(change.attempts + 1, 60, 21600),
    is_announced = true
  from due
  cross join clock
  where change.organisation_id = due.organisation_id
    and change.contact_id = due.contact_id
    and (change.connection_id = due.connection_id) is true
    and due.contact_id = due.locked_contact_id
    and due.contact_id not in (select erased.contact_id from erased)
  returning
    change.contact_id,
    change.version,
    change.first_changed_at,
    change.attempts
)
select
  claimed.contact_id as "contactId",
  claimed.version as "version",
  claimed.first_changed_at as "firstChangedAt",
  claimed.attempts as "attempts"
from run
left join claimed on true`,
});


/** The parameters of {@link outboundChangeListWaiting}. */
export interface OutboundChangeListWaitingParams {
  connectionId: string;
  contactIds: string[];
  organisationId: string;
}

/** A row of {@link outboundChangeListWaiting}. */
export interface OutboundChangeListWaitingResult {
  awaitsTheirs: boolean;
  /** A new value with each change, never reused: shows whether the contact has changed again. */
  changeVersion: string | null;
  contactId: string;
  hasFailed: boolean;
  isUndecided: boolean;
}

/**
 * Lists which of the given contacts are not pushed yet to a connection's CRM: those that wait, with the version of their
 * change, and those whose push failed, unless a person has dismissed the failure; of those, whether a person has to
 * decide whose edit counts (crm_sync_failure_is_undecided). `awaitsTheirs`: an earlier push was dismissed (of the last
 * 500 dismissals), which takes the CRM's value, and a record of the contact there has not been read since. Fails with
 * CRM05 if row-level security hides the organisation, and with 0A000 unless at READ COMMITTED: the caller has locked the
 * contacts, and what was recorded before that must be seen. Uses crm_outbound_changes_pkey,
 * crm_sync_failures_unpushed_idx and, for what waits, crm_sync_failures_dismissed_at_idx,
 * contact_external_ids_contact_id_provider_key and contact_external_id_aliases_contact_id_provider_idx (`is true` and the
 * limits keep the planner from reading everything that waits).
 *
 * @remarks
 * ```sql
 * with dismissed as materialized (
 *   select
 *     direction,
 *     record_id
 *   from crm_sync_failures
 *   where organisation_id = :organisationId!::uuid
 *     and connection_id = :connectionId!::uuid
 *     and dismissed_at is not null
 *   order by dismissed_at desc
 *   limit 500
 * )
 * select
 *   wanted.contact_id as "contactId!",
 *   change.version as "changeVersion?",
 *   failure.is_undecided is not null as "hasFailed!",
 *   coalesce(failure.is_undecided, false) as "isUndecided!",
 *   unread.is_found is not null as "awaitsTheirs!"
 * from unnest(:contactIds!::uuid[]) as wanted (contact_id)
 * left join lateral (
 *   select version
 *   from crm_outbound_changes
 *   where organisation_id = :organisationId!::uuid
 *     and contact_id = wanted.contact_id
 *     and (connection_id = :connectionId!::uuid) is true
 *   limit 1
 * ) as change on true
 * left join lateral (
 *   -- One row for each entity type. Null without any.
 *   select bool_or(crm_sync_failure_is_undecided(push.direction, push.error, push.gave_up_at)) as is_undecided
 *   from (
 *     select
 *       direction,
 *       error,
 *       gave_up_at
 *     from crm_sync_failures
 *     where (organisation_id = :organisationId!::uuid) is true
 *       and (connection_id = :connectionId!::uuid) is true
 *       and record_id = wanted.contact_id::text
 *       and direction = 'outbound'
 *       and dismissed_at is null
 *     limit 10
 *   ) as push
 * ) as failure on true
 * left join lateral (
 *   select true as is_found
 *   from contact_external_records
 *   where (organisation_id = :organisationId!::uuid) is true
 *     and contact_id = wanted.contact_id
 *     and provider = (
 *       select provider
 *       from crm_connections
 *       where organisation_id = :organisationId!::uuid
 *         and id = :connectionId!::uuid
 *     )
 *     and remote_state in ('active', 'archived', 'hidden')
 *     and content_hash is null
 *     and change.version is not null
 *     and wanted.contact_id::text = any(array(select record_id from dismissed where direction = 'outbound'))
 *   limit 1
 * ) as unread on true
 * where crm_check_organisation(:organisationId!::uuid)
 *   and (select count(*) from crm_require_read_committed('waiting changes cannot be listed')) > 0
 *   and (change.version is not null or failure.is_undecided is not null)
 * ```
 */
export const outboundChangeListWaiting = new PreparedQuery<OutboundChangeListWaitingParams,OutboundChangeListWaitingResult>({
  name: 'outboundChangeListWaiting',
  statementName: 'outboundChangeListWaiting_4d73ab75',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'contactIds', required: true },
  ],
  text: `with /* outboundChangeListWaiting */ dismissed as materialized (
  select
    direction,
    record_id
  from crm_sync_failures
  where organisation_id = $1::uuid
    and connection_id = $2::uuid
    and dismissed_at is not null
  order by dismissed_at desc
  limit 500
)
select
  wanted.contact_id as "contactId",
  change.version as "changeVersion",
  failure.is_undecided is not null as "hasFailed",
  coalesce(failure.is_undecided, false) as "isUndecided",
  unread.is_found is not null as "awaitsTheirs"
from unnest($3::uuid[]) as wanted (contact_id)
left join lateral (
  select version
  from crm_outbound_changes
  where organisation_id = $1::uuid
    and contact_id = wanted.contact_id
    and (connection_id = $2::uuid) is true
  limit 1
) as change on true
left join lateral (
  select bool_or(crm_sync_failure_is_undecided(push.direction, push.error, push.gave_up_at)) as is_undecided
  from (
    select
      direction,
      error,
      gave_up_at
    from crm_sync_failures
    where (organisation_id = $1::uuid) is true
      and (connection_id = $2::uuid) is true
      and record_id = wanted.contact_id::text
      and direction = 'outbound'
      and dismissed_at is null
    limit 10
  ) as push
) as failure on true
left join lateral (
  select true as is_found
  from contact_external_records
  where (organisation_id = $1::uuid) is true
    and contact_id = wanted.contact_id
    and provider = (
      select provider
      from crm_connections
      where organisation_id = $1::uuid
        and id = $2::uuid
    )
    and remote_state in ('active', 'archived', 'hidden')
    and content_hash is null
    and change.version is not null
    and wanted.contact_id::text = any(array(select record_id from dismissed where direction = 'outbound'))
  limit 1
) as unread on true
where crm_check_organisation($1::uuid)
  and (select count(*) from crm_require_read_committed('waiting changes cannot be listed')) > 0
  and (change.version is not null or failure.is_undecided is not null)`,
});


/** The parameters of {@link outboundChangeRecord}. */
export interface OutboundChangeRecordParams {
  contactIds: string[];
  fromConnectionId?: string | null | void;
  organisationId: string;
  toConnectionId?: string | null | void;
}

/** A row of {@link outboundChangeRecord}. */
export interface OutboundChangeRecordResult {
  /** The connection to push it to. */
  connectionId: string;
  /** The contact that changed. */
  contactId: string;
}

/**
 * Records that contacts of an organisation changed. Each will be pushed once to every live connection
 * except the one that the change came from, or only to `toConnectionId`, however often it changes before that; for a
 * disconnected connection, it waits for a time until the CRM is connected again (crm_keeps_changes). Run it in the
 * transaction that changes the contacts. Returns the recorded changes. Violates
 * crm_outbound_changes_contact_id_fkey if the organisation has no such contact. Fails with CRM05 if
 * row-level security hides the organisation. Uses an index of crm_connections that begins with the
 * organisation, then the primary key. Locks the rows that it writes, in key order, and their connections
 * and contacts FOR KEY SHARE, which only blocks their deletion.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * )
 * insert into crm_outbound_changes as change (
 *   organisation_id,
 *   contact_id,
 *   connection_id,
 *   first_changed_at,
 *   last_changed_at,
 *   next_attempt_at
 * )
 * select distinct
 *   connection.organisation_id,
 *   contact_id,
 *   connection.id,
 *   clock.at,
 *   clock.at,
 *   clock.at
 * from unnest(:contactIds!::uuid[]) as contact_id
 * cross join crm_connections as connection
 * cross join clock
 * where crm_check_organisation(:organisationId!::uuid)
 *   and connection.organisation_id = :organisationId!::uuid
 *   and crm_keeps_changes(connection.status, connection.kept_changes, connection.changes_expire_at, clock.at)
 *   and connection.id is distinct from :fromConnectionId::uuid
 *   and (:toConnectionId::uuid is null or connection.id = :toConnectionId::uuid)
 * order by
 *   connection.organisation_id,
 *   contact_id,
 *   connection.id
 * on conflict (organisation_id, contact_id, connection_id) do update
 * set
 *   version = default,
 *   last_changed_at = greatest(change.last_changed_at, excluded.last_changed_at),
 *   attempts = 0,
 *   next_attempt_at = excluded.next_attempt_at,
 *   is_announced = false
 * returning
 *   contact_id as "contactId",
 *   connection_id as "connectionId"
 * ```
 */
export const outboundChangeRecord = new PreparedQuery<OutboundChangeRecordParams,OutboundChangeRecordResult>({
  name: 'outboundChangeRecord',
  statementName: 'outboundChangeRecord_07bfa5d0',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
    { name: 'fromConnectionId', required: false },
    { name: 'toConnectionId', required: false },
  ],
  text: `with /* outboundChangeRecord */ clock as materialized (
  select crm_now() as at
)
insert into crm_outbound_changes as change (
  organisation_id,
  contact_id,
  connection_id,
  first_changed_at,
  last_changed_at,
  next_attempt_at
)
select distinct
  connection.organisation_id,
  contact_id,
  connection.id,
  clock.at,
  clock.at,
  clock.at
from unnest($1::uuid[]) as contact_id
cross join crm_connections as connection
cross join clock
where crm_check_organisation($2::uuid)
  and connection.organisation_id = $2::uuid
  and crm_keeps_changes(connection.status, connection.kept_changes, connection.changes_expire_at, clock.at)
  and connection.id is distinct from $3::uuid
  and ($4::uuid is null or connection.id = $4::uuid)
order by
  connection.organisation_id,
  contact_id,
  connection.id
on conflict (organisation_id, contact_id, connection_id) do update
set
  version = default,
  last_changed_at = greatest(change.last_changed_at, excluded.last_changed_at),
  attempts = 0,
  next_attempt_at = excluded.next_attempt_at,
  is_announced = false
returning
  contact_id as "contactId",
  connection_id as "connectionId"`,
});


/** The parameters of {@link outboundFillContinue}. */
export interface OutboundFillContinueParams {
  connectionId: string;
  limit: number;
  maxWaiting: number;
  organisationId: string;
}

/** A row of {@link outboundFillContinue}. */
export interface OutboundFillContinueResult {
  outcome: string;
  queued: number;
  queuedInAll: number;
}

/**
 * Records the next contacts of a first fill (crm_continue_fill): looks at `limit` contacts in the order of their ids,
 * and records those without a record at the CRM as outbound changes of this connection alone, unless `maxWaiting`
 * changes wait for it. Returns one row, or none if the organisation has no such live connection: `outcome`
 * (`not_started`, `waiting`, `continued` or `finished`), and how many contacts were recorded by this call and in all.
 * Uses the primary key, crm_outbound_changes_next_attempt_at_idx, and the indexes of contacts and external ids by
 * contact. Locks the connection for the transaction, then the contacts FOR KEY SHARE. Needs READ COMMITTED, to see who
 * was erased meanwhile.
 *
 * @remarks
 * ```sql
 * with level as materialized (
 *   select crm_require_read_committed('a fill cannot go on')
 * )
 * select
 *   outcome as "outcome!",
 *   queued as "queued!",
 *   queued_in_all as "queuedInAll!"
 * from level
 * cross join crm_continue_fill(
 *   :organisationId!::uuid,
 *   :connectionId!::uuid,
 *   :limit!::integer,
 *   :maxWaiting!::integer
 * )
 * ```
 */
export const outboundFillContinue = new PreparedQuery<OutboundFillContinueParams,OutboundFillContinueResult>({
  name: 'outboundFillContinue',
  statementName: 'outboundFillContinue_9a559b69',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'limit', required: true },
    { name: 'maxWaiting', required: true },
  ],
  text: `with /* outboundFillContinue */ level as materialized (
  select crm_require_read_committed('a fill cannot go on')
)
select
  outcome as "outcome",
  queued as "queued",
  queued_in_all as "queuedInAll"
from level
cross join crm_continue_fill(
  $1::uuid,
  $2::uuid,
  $3::integer,
  $4::integer
)`,
});


/** The parameters of {@link outboundFillStart}. */
export interface OutboundFillStartParams {
  connectionId: string;
  isRepeat: boolean;
  organisationId: string;
}

/** A row of {@link outboundFillStart}. */
export interface OutboundFillStartResult {
  finishedAt: Timestamp | null;
  queuedInAll: number;
  startedAt: Timestamp;
}

/**
 * Starts a first fill of a live connection, which becomes due as soon as the CRM may be asked again. Changes nothing
 * while one is under way; begins again after one that is finished only if `isRepeat`. Returns one row, or none if the
 * organisation has no such live connection. Uses the primary key. Locks the row for the transaction.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     fill_started_at,
 *     filled_contacts,
 *     fill_finished_at
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *     and status <> 'disconnected'
 *   for no key update
 * ),
 * started as (
 *   update crm_connections
 *   set
 *     fill_started_at = crm_now(),
 *     fill_contact_id = null,
 *     filled_contacts = 0,
 *     fill_finished_at = null,
 *     sync_requested_at = coalesce(sync_requested_at, crm_now()),
 *     -- greatest ignores null.
 *     next_sync_at = least(next_sync_at, greatest(crm_now(), not_before_at))
 *   from connection
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and (
 *       connection.fill_started_at is null
 *       or (:isRepeat!::boolean and connection.fill_finished_at is not null)
 *     )
 *   returning
 *     crm_connections.id,
 *     crm_connections.fill_started_at,
 *     crm_connections.filled_contacts,
 *     crm_connections.fill_finished_at
 * )
 * select
 *   coalesce(started.fill_started_at, connection.fill_started_at) as "startedAt!",
 *   coalesce(started.filled_contacts, connection.filled_contacts) as "queuedInAll!",
 *   case when started.id is null then connection.fill_finished_at end as "finishedAt?"
 * from connection
 * left join started on true
 * ```
 */
export const outboundFillStart = new PreparedQuery<OutboundFillStartParams,OutboundFillStartResult>({
  name: 'outboundFillStart',
  statementName: 'outboundFillStart_83a894c3',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'isRepeat', required: true },
  ],
  text: `with /* outboundFillStart */ connection as (
  select
    organisation_id,
    id,
    fill_started_at,
    filled_contacts,
    fill_finished_at
  from crm_connections
  where organisation_id = $1::uuid
    and id = $2::uuid
    and status <> 'disconnected'
  for no key update
),
started as (
  update crm_connections
  set
    fill_started_at = crm_now(),
    fill_contact_id = null,
    filled_contacts = 0,
    fill_finished_at = null,
    sync_requested_at = coalesce(sync_requested_at, crm_now()),
    next_sync_at = least(next_sync_at, greatest(crm_now(), not_before_at))
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and (
      connection.fill_started_at is null
      or ($3::boolean and connection.fill_finished_at is not null)
    )
  returning
    crm_connections.id,
    crm_connections.fill_started_at,
    crm_connections.filled_contacts,
    crm_connections.fill_finished_at
)
select
  coalesce(started.fill_started_at, connection.fill_started_at) as "startedAt",
  coalesce(started.filled_contacts, connection.filled_contacts) as "queuedInAll",
  case when started.id is null then connection.fill_finished_at end as "finishedAt"
from connection
left join started on true`,
});


