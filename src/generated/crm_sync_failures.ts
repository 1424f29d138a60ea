/** Types generated for queries found in "queries/crm_sync_failures.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** The parameters of {@link syncFailureClaim}. */
export interface SyncFailureClaimParams {
  connectionId: string;
  limit: number;
  organisationId: string;
  runId: number | string;
}

/** A row of {@link syncFailureClaim}. */
export interface SyncFailureClaimResult {
  /** How many attempts have failed, counted from the first failure or from a person's last request to try again. */
  attempts: number | null;
  /** inbound: from the CRM to NurtureHub. outbound: the other way. */
  direction: string | null;
  /** What kind of record it is, in the provider's terms. */
  entityType: string | null;
  /** Why the last attempt failed, as in crm_sync_log. */
  error: Json | null;
  /** When the record first failed, or when a person last asked to try it again. */
  firstFailedAt: Timestamp | null;
  /** The id of the record: the CRM's for inbound, NurtureHub's own for outbound. */
  recordId: string | null;
}

/**
 * Claims failing records of a connection that are due for a retry, longest due first, for the worker that
 * holds its run. The claim itself postpones the next attempt, so a record that crashes its workers does
 * not block the others. Returns at most `limit` rows, one row of nulls if there is nothing to claim, and
 * none if the lease is lost. Uses crm_sync_failures_next_attempt_at_idx. Locks the connection for the
 * transaction, then the run and the failures. Needs READ COMMITTED.
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
 *     failure.organisation_id,
 *     failure.connection_id,
 *     failure.direction,
 *     failure.record_id,
 *     failure.entity_type,
 *     failure.kind,
 *     failure.last_failed_at,
 *     failure.id,
 *     failure.id as locked_id
 *   from run
 *   cross join crm_sync_failures as failure
 *   where failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.next_attempt_at <= (select at from clock)
 *   order by failure.next_attempt_at
 *   limit :limit!::integer
 *   for no key update of failure
 * ),
 * claimed as (
 *   update crm_sync_failures as failure
 *   set next_attempt_at = clock.at + crm_sync_backoff(failure.attempts + 1, 60, 21600)
 *   from due
 *   cross join clock
 *   where failure.organisation_id = due.organisation_id
 *     and failure.connection_id = due.connection_id
 *     and failure.direction = due.direction
 *     and failure.record_id = due.record_id
 *     and failure.entity_type = due.entity_type
 *     -- All columns of crm_sync_failures_kind_idx too: whichever index the planner takes, it finds one row.
 *     and failure.kind = due.kind
 *     and failure.last_failed_at = due.last_failed_at
 *     and failure.id = due.id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and due.id = due.locked_id
 *   returning
 *     failure.direction,
 *     failure.entity_type,
 *     failure.record_id,
 *     failure.attempts,
 *     failure.error,
 *     failure.first_failed_at
 * )
 * select
 *   claimed.direction as "direction?",
 *   claimed.entity_type as "entityType?",
 *   claimed.record_id as "recordId?",
 *   claimed.attempts as "attempts?",
 *   claimed.error as "error?",
 *   claimed.first_failed_at as "firstFailedAt?"
 * from run
 * left join claimed on true
 * ```
 */
export const syncFailureClaim = new PreparedQuery<SyncFailureClaimParams,SyncFailureClaimResult>({
  name: 'syncFailureClaim',
  statementName: 'syncFailureClaim_bcdfc68a',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'runId', required: true },
    { name: 'limit', required: true },
  ],
  text: `with /* syncFailureClaim */ clock as materialized (
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
    failure.organisation_id,
    failure.connection_id,
    failure.direction,
    failure.record_id,
    failure.entity_type,
    failure.kind,
    failure.last_failed_at,
    failure.id,
    failure.id as locked_id
  from run
  cross join crm_sync_failures as failure
  where failure.organisation_id = $1::uuid
    and failure.connection_id = $2::uuid
    and failure.next_attempt_at <= (select at from clock)
  order by failure.next_attempt_at
  limit $4::integer
  for no key update of failure
),
claimed as (
  update crm_sync_failures as failure
  set next_attempt_at = clock.at + crm_sync_backoff(failure.attempts + 1, 60, 21600)
  from due
  cross join clock
  where failure.organisation_id = due.organisation_id
    and failure.connection_id = due.connection_id
    and failure.direction = due.direction
    and failure.record_id = due.record_id
    and failure.entity_type = due.entity_type
    and failure.kind = due.kind
    and failure.last_failed_at = due.last_failed_at
    and failure.id = due.id
    and due.id = due.locked_id
  returning
    failure.direction,
    failure.entity_type,
    failure.record_id,
    failure.attempts,
    failure.error,
    failure.first_failed_at
)
select
  claimed.direction as "direction",
  claimed.entity_type as "entityType",
  claimed.record_id as "recordId",
  claimed.attempts as "attempts",
  claimed.error as "error",
  claimed.first_failed_at as "firstFailedAt"
from run
left join claimed on true`,
});


/** The parameters of {@link syncFailureCountByKind}. */
export interface SyncFailureCountByKindParams {
  connectionId: string;
  kinds: string[];
  organisationId: string;
}

/** A row of {@link syncFailureCountByKind}. */
export interface SyncFailureCountByKindResult {
  count: number;
  dismissedCount: number;
  givenUpCount: number;
  kind: string;
}

/**
 * Counts the failing records of a connection by the kind of their error, most frequent first, each kind up
 * to 1,000. Returns at most ten rows. Uses crm_sync_failures_kind_idx.
 *
 * @remarks
 * ```sql
 * select
 *   wanted.kind as "kind!",
 *   failures.count as "count!",
 *   failures.given_up_count as "givenUpCount!",
 *   failures.dismissed_count as "dismissedCount!"
 * from unnest(:kinds!::text[]) as wanted (kind)
 * cross join lateral (
 *   select
 *     count(*)::integer as count,
 *     count(gave_up_at)::integer as given_up_count,
 *     count(dismissed_at)::integer as dismissed_count
 *   from (
 *     select
 *       failure.gave_up_at,
 *       failure.dismissed_at
 *     from crm_sync_failures as failure
 *     where failure.organisation_id = :organisationId!::uuid
 *       and failure.connection_id = :connectionId!::uuid
 *       and failure.kind = wanted.kind
 *     limit 1000
 *   ) as counted
 * ) as failures
 * where failures.count > 0
 * order by
 *   failures.count desc,
 *   wanted.kind
 * ```
 */
export const syncFailureCountByKind = new PreparedQuery<SyncFailureCountByKindParams,SyncFailureCountByKindResult>({
  name: 'syncFailureCountByKind',
  statementName: 'syncFailureCountByKind_b4e0bb00',
  params: [
    { name: 'kinds', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `select /* syncFailureCountByKind */
  wanted.kind as "kind",
  failures.count as "count",
  failures.given_up_count as "givenUpCount",
  failures.dismissed_count as "dismissedCount"
from unnest($1::text[]) as wanted (kind)
cross join lateral (
  select
    count(*)::integer as count,
    count(gave_up_at)::integer as given_up_count,
    count(dismissed_at)::integer as dismissed_count
  from (
    select
      failure.gave_up_at,
      failure.dismissed_at
    from crm_sync_failures as failure
    where failure.organisation_id = $2::uuid
      and failure.connection_id = $3::uuid
      and failure.kind = wanted.kind
    limit 1000
  ) as counted
) as failures
where failures.count > 0
order by
  failures.count desc,
  wanted.kind`,
});


/** The parameters of {@link syncFailureDismiss}. */
export interface SyncFailureDismissParams {
  connectionId: string;
  dismissedBy: string;
  ids: (number | string)[];
  organisationId: string;
  reason: string;
}

/** A row of {@link syncFailureDismiss}. */
export interface SyncFailureDismissResult {
  dismissed: number;
}

/**
 * Dismisses the given failing records of a live connection: they are not retried, and stay listed. Of a push, this means
 * that the CRM's value is taken: forgets the version and the content of the contact's records there, so that the next
 * run, which is requested, reads and applies them (crm_request_unpushed_records). Skips records that are dismissed
 * already, and ids that the connection does not have. Returns one row with their number. Uses
 * crm_sync_failures_id_key, contact_external_ids_contact_id_provider_key and
 * contact_external_id_aliases_contact_id_provider_idx, then primary keys (`is true` is as in
 * contactExternalIdListByContacts). Locks the connection for the transaction,
 * then the contacts' records at its CRM, in the order of their keys, then the failures.
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
 *     connection.provider,
 *     -- greatest ignores null.
 *     greatest(clock.at, connection.not_before_at) as wanted_at
 *   from crm_connections as connection
 *   cross join clock
 *   where connection.organisation_id = :organisationId!::uuid
 *     and connection.id = :connectionId!::uuid
 *     and connection.status <> 'disconnected'
 *   for no key update of connection
 * ),
 * candidate as (
 *   select
 *     failure.id,
 *     failure.contact_id
 *   from connection
 *   cross join (select distinct id from unnest(:ids!::bigint[]) as given (id)) as given
 *   cross join lateral (
 *     select
 *       id,
 *       case when direction = 'outbound' then record_id::uuid end as contact_id
 *     from crm_sync_failures
 *     where organisation_id = :organisationId!::uuid
 *       and connection_id = :connectionId!::uuid
 *       and id = given.id
 *       and dismissed_at is null
 *     limit 1
 *   ) as failure
 * ),
 * -- What the CRM has of the contacts whose push is dismissed. `is true` keeps the planner from reading all of an
 * -- organisation's ids.
 * record as (
 *   select
 *     found.organisation_id,
 *     found.provider,
 *     found.entity_type,
 *     found.external_id,
 *     found.is_primary,
 *     found.contact_id,
 *     contact.contact_id as wanted_contact_id
 *   from connection
 *   cross join (select distinct contact_id from candidate where contact_id is not null) as contact
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       provider,
 *       entity_type,
 *       external_id,
 *       is_primary,
 *       contact_id
 *     from contact_external_records
 *     where (organisation_id = :organisationId!::uuid) is true
 *       and contact_id = contact.contact_id
 *       and provider = connection.provider
 *     offset 0
 *   ) as found
 * ),
 * -- Everybody locks the records before the failures.
 * record_lock as materialized (
 *   select crm_lock_external_records(
 *     :organisationId!::uuid,
 *     array_agg(provider),
 *     array_agg(entity_type),
 *     array_agg(external_id)
 *   )
 *   from record
 *   having count(*) > 0
 * ),
 * voided as (
 *   update contact_external_ids as mapping
 *   set
 *     remote_version = null,
 *     content_hash = null,
 *     pushed_at = null,
 *     replaced_hashes = case
 *       when mapping.content_hash is not null
 *         then crm_add_replaced_hash(mapping.replaced_hashes, mapping.replaced_at, mapping.content_hash)
 *       else mapping.replaced_hashes
 *     end,
 *     replaced_at = case when mapping.content_hash is not null then now() else mapping.replaced_at end
 *   from record
 *   where record.is_primary
 *     and (select count(*) from record_lock) >= 0
 *     and mapping.organisation_id = record.organisation_id
 *     and mapping.provider = record.provider
 *     and mapping.entity_type = record.entity_type
 *     and mapping.external_id = record.external_id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and record.contact_id = record.wanted_contact_id
 * ),
 * voided_alias as (
 *   update contact_external_id_aliases as alias
 *   set
 *     remote_version = null,
 *     content_hash = null,
 *     pushed_at = null,
 *     replaced_hashes = case
 *       when alias.content_hash is not null
 *         then crm_add_replaced_hash(alias.replaced_hashes, alias.replaced_at, alias.content_hash)
 *       else alias.replaced_hashes
 *     end,
 *     replaced_at = case when alias.content_hash is not null then now() else alias.replaced_at end
 *   from record
 *   where not record.is_primary
 *     and (select count(*) from record_lock) >= 0
 *     and alias.organisation_id = record.organisation_id
 *     and alias.provider = record.provider
 *     and alias.entity_type = record.entity_type
 *     and alias.external_id = record.external_id
 *     -- As above.
 *     and record.contact_id = record.wanted_contact_id
 * ),
 * wanted as (
 *   select
 *     failure.organisation_id,
 *     failure.connection_id,
 *     failure.id,
 *     failure.direction,
 *     candidate.id as candidate_id
 *   from candidate
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       connection_id,
 *       id,
 *       direction
 *     from crm_sync_failures
 *     where organisation_id = :organisationId!::uuid
 *       and connection_id = :connectionId!::uuid
 *       and id = candidate.id
 *       and dismissed_at is null
 *     limit 1
 *     for no key update
 *   ) as failure
 *   where (select count(*) from record_lock) >= 0
 * ),
 * dismissed as (
 *   update crm_sync_failures as failure
 *   set
 *     next_attempt_at = null,
 *     gave_up_at = null,
 *     dismissed_at = clock.at,
 *     dismissed_by = :dismissedBy!::text,
 *     dismissal_reason = :reason!::text
 *   from wanted
 *   cross join clock
 *   where failure.organisation_id = wanted.organisation_id
 *     and failure.connection_id = wanted.connection_id
 *     and failure.id = wanted.id
 *     -- As above.
 *     and wanted.id = wanted.candidate_id
 *   returning failure.id
 * ),
 * requested as (
 *   -- As recordRequestAdd does.
 *   update crm_connections
 *   set
 *     sync_requested_at = coalesce(crm_connections.sync_requested_at, clock.at),
 *     next_sync_at = least(crm_connections.next_sync_at, connection.wanted_at)
 *   from connection
 *   cross join clock
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and exists (select from wanted where direction = 'outbound')
 * )
 * select
 *   (select count(*) from dismissed)::integer as "dismissed!"
 * from connection
 * ```
 */
export const syncFailureDismiss = new PreparedQuery<SyncFailureDismissParams,SyncFailureDismissResult>({
  name: 'syncFailureDismiss',
  statementName: 'syncFailureDismiss_482eb762',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'ids', required: true },
    { name: 'dismissedBy', required: true },
    { name: 'reason', required: true },
  ],
  text: `with /* syncFailureDismiss */ clock as materialized (
  select crm_now() as at
),
connection as (
  select
    connection.organisation_id,
    connection.id,
    connection.provider,
    greatest(clock.at, connection.not_before_at) as wanted_at
  from crm_connections as connection
  cross join clock
  where connection.organisation_id = $1::uuid
    and connection.id = $2::uuid
    and connection.status <> 'disconnected'
  for no key update of connection
),
candidate as (
  select
    failure.id,
    failure.contact_id
  from connection
  cross join (select distinct id from unnest($3::bigint[]) as given (id)) as given
  cross join lateral (
    select
      id,
      case when direction = 'outbound' then record_id::uuid end as contact_id
    from crm_sync_failures
    where organisation_id = $1::uuid
      and connection_id = $2::uuid
      and id = given.id
      and dismissed_at is null
    limit 1
  ) as failure
),
record as (
  select
    found.organisation_id,
    found.provider,
    found.entity_type,
    found.external_id,
    found.is_primary,
    found.contact_id,
    contact.contact_id as wanted_contact_id
  from connection
  cross join (select distinct contact_id from candidate where contact_id is not null) as contact
  cross join lateral (
    select
      organisation_id,
      provider,
      entity_type,
      external_id,
      is_primary,
      contact_id
    from contact_external_records
    where (organisation_id = $1::uuid) is true
      and contact_id = contact.contact_id
      and provider = connection.provider
    offset 0
  ) as found
),
record_lock as materialized (
  select crm_lock_external_records(
    $1::uuid,
    array_agg(provider),
    array_agg(entity_type),
    array_agg(external_id)
  )
  from record
  having count(*) > 0
),
voided as (
  update contact_external_ids as mapping
  set
    remote_version = null,
    content_hash = null,
    pushed_at = null,
    replaced_hashes = case
      when mapping.content_hash is not null
        then crm_add_replaced_hash(mapping.replaced_hashes, mapping.replaced_at, mapping.content_hash)
      else mapping.replaced_hashes
    end,
    replaced_at = case when mapping.content_hash is not null then now() else mapping.replaced_at end
  from record
  where record.is_primary
    and (select count(*) from record_lock) >= 0
    and mapping.organisation_id = record.organisation_id
    and mapping.provider = record.provider
    and mapping.entity_type = record.entity_type
    and mapping.external_id = record.external_id
    and record.contact_id = record.wanted_contact_id
),
voided_alias as (
  update contact_external_id_aliases as alias
  set
    remote_version = null,
    content_hash = null,
    pushed_at = null,
    replaced_hashes = case
      when alias.content_hash is not null
        then crm_add_replaced_hash(alias.replaced_hashes, alias.replaced_at, alias.content_hash)
      else alias.replaced_hashes
    end,
    replaced_at = case when alias.content_hash is not null then now() else alias.replaced_at end
  from record
  where not record.is_primary
    and (select count(*) from record_lock) >= 0
    and alias.organisation_id = record.organisation_id
    and alias.provider = record.provider
    and alias.entity_type = record.entity_type
    and alias.external_id = record.external_id
    and record.contact_id = record.wanted_contact_id
),
wanted as (
  select
    failure.organisation_id,
    failure.connection_id,
    failure.id,
    failure.direction,
    candidate.id as candidate_id
  from candidate
  cross join lateral (
    select
      organisation_id,
      connection_id,
      id,
      direction
    from crm_sync_failures
    where organisation_id = $1::uuid
      and connection_id = $2::uuid
      and id = candidate.id
      and dismissed_at is null
    limit 1
    for no key update
  ) as failure
  where (select count(*) from record_lock) >= 0
),
dismissed as (
  update crm_sync_failures as failure
  set
    next_attempt_at = null,
    gave_up_at = null,
    dismissed_at = clock.at,
    dismissed_by = $4::text,
    dismissal_reason = $5::text
  from wanted
  cross join clock
  where failure.organisation_id = wanted.organisation_id
    and failure.connection_id = wanted.connection_id
    and failure.id = wanted.id
    and wanted.id = wanted.candidate_id
  returning failure.id
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
    and exists (select from wanted where direction = 'outbound')
)
select
  (select count(*) from dismissed)::integer as "dismissed"
from connection`,
});


/** The parameters of {@link syncFailureList}. */
export interface SyncFailureListParams {
  beforeId?: number | string | null | void;
  beforeLastFailedAt?: TimestampInput | null | void;
  connectionId: string;
  isDismissed?: boolean | null | void;
  kinds: string[];
  limit: number;
  organisationId: string;
}

/** A row of {@link syncFailureList}. */
export interface SyncFailureListResult {
  /** How many attempts have failed, counted from the first failure or from a person's last request to try again. */
  attempts: number;
  /** inbound: from the CRM to NurtureHub. outbound: the other way. */
  direction: string;
  /** Why it was dismissed, without personal data. */
  dismissalReason: string | null;
  /** When a person dismissed it. It is not tried again by itself, but closed if a change at the CRM brings it and it succeeds. Null while it is tried or given up. */
  dismissedAt: Timestamp | null;
  /** Who dismissed it: a role or a program, never a person's name. */
  dismissedBy: string | null;
  /** What kind of record it is, in the provider's terms. */
  entityType: string;
  /** Why the last attempt failed, as in crm_sync_log. */
  error: Json;
  /** When the record first failed, or when a person last asked to try it again. */
  firstFailedAt: Timestamp;
  /** When the worker gave up on the record (crm_sync_failure_is_final). It is not retried automatically, but if a change at the CRM brings the record again and it succeeds, this row is deleted. Null while the record is retried. */
  gaveUpAt: Timestamp | null;
  /** Orders failures that have the same time. */
  id: string;
  /** When the last attempt failed. */
  lastFailedAt: Timestamp;
  /** The record is tried again by the first sync after this time. Null if the worker gave up on it. */
  nextAttemptAt: Timestamp | null;
  /** The id of the record: the CRM's for inbound, NurtureHub's own for outbound. */
  recordId: string;
}

/**
 * Lists the failing records of a connection with the given kinds of error, newest failure first, a page at
 * a time; if isDismissed is given, only those that are dismissed, or only the others. Returns at most `limit`
 * rows. Uses crm_sync_failures_kind_idx, and reads at most a page per kind, and what isDismissed leaves out.
 *
 * @remarks
 * ```sql
 * select
 *   failure.id,
 *   failure.direction,
 *   failure.entity_type as "entityType",
 *   failure.record_id as "recordId",
 *   failure.attempts,
 *   failure.error,
 *   failure.first_failed_at as "firstFailedAt",
 *   failure.last_failed_at as "lastFailedAt",
 *   failure.next_attempt_at as "nextAttemptAt",
 *   failure.gave_up_at as "gaveUpAt",
 *   failure.dismissed_at as "dismissedAt",
 *   failure.dismissed_by as "dismissedBy",
 *   failure.dismissal_reason as "dismissalReason"
 * from unnest(:kinds!::text[]) as wanted (kind)
 * cross join lateral (
 *   select failure.*
 *   from crm_sync_failures as failure
 *   where failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.kind = wanted.kind
 *     and coalesce((failure.dismissed_at is not null) = :isDismissed::boolean, true)
 *     -- least, not coalesce: under row-level security, a comparison with coalesce could not use the index.
 *     and failure.last_failed_at <= least(:beforeLastFailedAt::timestamptz, 'infinity')
 *     and (failure.last_failed_at, failure.id) < (
 *       least(:beforeLastFailedAt::timestamptz, 'infinity'),
 *       least(:beforeId::bigint, 9223372036854775807)
 *     )
 *   order by
 *     failure.last_failed_at desc,
 *     failure.id desc
 *   limit :limit!::integer
 * ) as failure
 * order by
 *   failure.last_failed_at desc,
 *   failure.id desc
 * limit :limit!::integer
 * ```
 */
export const syncFailureList = new PreparedQuery<SyncFailureListParams,SyncFailureListResult>({
  name: 'syncFailureList',
  statementName: 'syncFailureList_eb4bcd95',
  params: [
    { name: 'kinds', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'isDismissed', required: false },
    { name: 'beforeLastFailedAt', required: false },
    { name: 'beforeId', required: false },
    { name: 'limit', required: true },
  ],
  text: `select /* syncFailureList */
  failure.id,
  failure.direction,
  failure.entity_type as "entityType",
  failure.record_id as "recordId",
  failure.attempts,
  failure.error,
  failure.first_failed_at as "firstFailedAt",
  failure.last_failed_at as "lastFailedAt",
  failure.next_attempt_at as "nextAttemptAt",
  failure.gave_up_at as "gaveUpAt",
  failure.dismissed_at as "dismissedAt",
  failure.dismissed_by as "dismissedBy",
  failure.dismissal_reason as "dismissalReason"
from unnest($1::text[]) as wanted (kind)
cross join lateral (
  select failure.*
  from crm_sync_failures as failure
  where failure.organisation_id = $2::uuid
    and failure.connection_id = $3::uuid
    and failure.kind = wanted.kind
    and coalesce((failure.dismissed_at is not null) = $4::boolean, true)
    and failure.last_failed_at <= least($5::timestamptz, 'infinity')
    and (failure.last_failed_at, failure.id) < (
      least($5::timestamptz, 'infinity'),
      least($6::bigint, 9223372036854775807)
    )
  order by
    failure.last_failed_at desc,
    failure.id desc
  limit $7::integer
) as failure
order by
  failure.last_failed_at desc,
  failure.id desc
limit $7::integer`,
});


/** The parameters of {@link syncFailureReplay}. */
export interface SyncFailureReplayParams {
  connectionId: string;
  failedBefore: TimestampInput;
  failedFrom: TimestampInput;
  kinds: string[];
  limit: number;
  organisationId: string;
}

/** A row of {@link syncFailureReplay}. */
export interface SyncFailureReplayResult {
  replayed: number;
}

/**
 * Makes failing records of a live connection due for a retry now, as if they had never failed, including
 * those that the worker has given up on: records of the given kinds whose last failure was in a window, oldest
 * first, at most `limit`. Skips records that are already due or dismissed, and those of which a person has to decide
 * whose edit counts (crm_sync_failure_is_undecided). Returns one row with their number. Uses
 * crm_sync_failures_kind_idx for at most `limit` rows per kind, then once per row. Locks the connection for
 * the transaction, then the failures.
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
 * candidate as (
 *   select
 *     failure.organisation_id,
 *     failure.connection_id,
 *     failure.direction,
 *     failure.record_id,
 *     failure.entity_type,
 *     failure.kind,
 *     failure.last_failed_at,
 *     failure.id
 *   from connection
 *   cross join (select distinct kind from unnest(:kinds!::text[]) as given (kind)) as given
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       connection_id,
 *       direction,
 *       record_id,
 *       entity_type,
 *       kind,
 *       last_failed_at,
 *       id
 *     from crm_sync_failures
 *     where organisation_id = :organisationId!::uuid
 *       and connection_id = :connectionId!::uuid
 *       and kind = given.kind
 *       and last_failed_at >= :failedFrom!::timestamptz
 *       and last_failed_at < :failedBefore!::timestamptz
 *       and (next_attempt_at > (select at from clock) or next_attempt_at is null)
 *       and dismissed_at is null
 *       and not crm_sync_failure_is_undecided(direction, error, gave_up_at)
 *     -- Only crm_sync_failures_kind_idx has this order. Without it, the planner may read every failure.
 *     order by
 *       last_failed_at,
 *       id
 *     limit :limit!::integer
 *   ) as failure
 *   order by
 *     failure.last_failed_at,
 *     failure.id
 * ),
 * wanted as (
 *   select
 *     failure.organisation_id,
 *     failure.connection_id,
 *     failure.direction,
 *     failure.record_id,
 *     failure.entity_type,
 *     failure.kind,
 *     failure.last_failed_at,
 *     failure.id,
 *     candidate.id as candidate_id
 *   from candidate
 *   -- Locks one by one until there are enough. A record that fails again meanwhile is left to its own retry.
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       connection_id,
 *       direction,
 *       record_id,
 *       entity_type,
 *       kind,
 *       last_failed_at,
 *       id
 *     from crm_sync_failures
 *     where organisation_id = candidate.organisation_id
 *       and connection_id = candidate.connection_id
 *       and direction = candidate.direction
 *       and record_id = candidate.record_id
 *       and entity_type = candidate.entity_type
 *       -- All columns of crm_sync_failures_kind_idx too: see below.
 *       and kind = candidate.kind
 *       and last_failed_at = candidate.last_failed_at
 *       and id = candidate.id
 *       and (next_attempt_at > (select at from clock) or next_attempt_at is null)
 *       and dismissed_at is null
 *       and not crm_sync_failure_is_undecided(direction, error, gave_up_at)
 *     limit 1
 *     for no key update
 *   ) as failure
 *   limit :limit!::integer
 * ),
 * replayed as (
 *   update crm_sync_failures as failure
 *   set
 *     attempts = 0,
 *     next_attempt_at = clock.at,
 *     gave_up_at = null
 *   from wanted
 *   cross join clock
 *   where failure.organisation_id = wanted.organisation_id
 *     and failure.connection_id = wanted.connection_id
 *     and failure.direction = wanted.direction
 *     and failure.record_id = wanted.record_id
 *     and failure.entity_type = wanted.entity_type
 *     -- All columns of crm_sync_failures_kind_idx too: whichever index the planner takes, it finds one row.
 *     and failure.kind = wanted.kind
 *     and failure.last_failed_at = wanted.last_failed_at
 *     and failure.id = wanted.id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and wanted.id = wanted.candidate_id
 *   returning failure.id
 * ),
 * requested as (
 *   -- As connectionRequestSync does for an urgent request.
 *   update crm_connections
 *   set
 *     sync_requested_at = coalesce(sync_requested_at, clock.at),
 *     not_before_at = null,
 *     next_sync_at = least(next_sync_at, clock.at)
 *   from connection
 *   cross join clock
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and exists (select from replayed)
 * )
 * select
 *   (select count(*) from replayed)::integer as "replayed!"
 * from connection
 * ```
 */
export const syncFailureReplay = new PreparedQuery<SyncFailureReplayParams,SyncFailureReplayResult>({
  name: 'syncFailureReplay',
  statementName: 'syncFailureReplay_b6d85830',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'kinds', required: true },
    { name: 'failedFrom', required: true },
    { name: 'failedBefore', required: true },
    { name: 'limit', required: true },
  ],
  text: `with /* syncFailureReplay */ clock as materialized (
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
candidate as (
  select
    failure.organisation_id,
    failure.connection_id,
    failure.direction,
    failure.record_id,
    failure.entity_type,
    failure.kind,
    failure.last_failed_at,
    failure.id
  from connection
  cross join (select distinct kind from unnest($3::text[]) as given (kind)) as given
  cross join lateral (
    select
      organisation_id,
      connection_id,
      direction,
      record_id,
      entity_type,
      kind,
      last_failed_at,
      id
    from crm_sync_failures
    where organisation_id = $1::uuid
      and connection_id = $2::uuid
      and kind = given.kind
      and last_failed_at >= $4::timestamptz
      and last_failed_at < $5::timestamptz
      and (next_attempt_at > (select at from clock) or next_attempt_at is null)
      and dismissed_at is null
      and not crm_sync_failure_is_undecided(direction, error, gave_up_at)
    order by
      last_failed_at,
      id
    limit $6::integer
  ) as failure
  order by
    failure.last_failed_at,
    failure.id
),
wanted as (
  select
    failure.organisation_id,
    failure.connection_id,
    failure.direction,
    failure.record_id,
    failure.entity_type,
    failure.kind,
    failure.last_failed_at,
    failure.id,
    candidate.id as candidate_id
  from candidate
  cross join lateral (
    select
      organisation_id,
      connection_id,
      direction,
      record_id,
      entity_type,
      kind,
      last_failed_at,
      id
    from crm_sync_failures
    where organisation_id = candidate.organisation_id
      and connection_id = candidate.connection_id
      and direction = candidate.direction
      and record_id = candidate.record_id
      and entity_type = candidate.entity_type
      and kind = candidate.kind
      and last_failed_at = candidate.last_failed_at
      and id = candidate.id
      and (next_attempt_at > (select at from clock) or next_attempt_at is null)
      and dismissed_at is null
      and not crm_sync_failure_is_undecided(direction, error, gave_up_at)
    limit 1
    for no key update
  ) as failure
  limit $6::integer
),
replayed as (
  update crm_sync_failures as failure
  set
    attempts = 0,
    next_attempt_at = clock.at,
    gave_up_at = null
  from wanted
  cross join clock
  where failure.organisation_id = wanted.organisation_id
    and failure.connection_id = wanted.connection_id
    and failure.direction = wanted.direction
    and failure.record_id = wanted.record_id
    and failure.entity_type = wanted.entity_type
    and failure.kind = wanted.kind
    and failure.last_failed_at = wanted.last_failed_at
    and failure.id = wanted.id
    and wanted.id = wanted.candidate_id
  returning failure.id
),
requested as (
  update crm_connections
  set
    sync_requested_at = coalesce(sync_requested_at, clock.at),
    not_before_at = null,
    next_sync_at = least(next_sync_at, clock.at)
  from connection
  cross join clock
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and exists (select from replayed)
)
select
  (select count(*) from replayed)::integer as "replayed"
from connection`,
});


/** The parameters of {@link syncFailureReplayByIds}. */
export interface SyncFailureReplayByIdsParams {
  connectionId: string;
  ids: (number | string)[];
  organisationId: string;
}

/** A row of {@link syncFailureReplayByIds}. */
export interface SyncFailureReplayByIdsResult {
  replayed: number;
}

/**
 * Makes the given failing records of a live connection due for a retry now, as syncFailureReplay does, also
 * those that are dismissed. Skips records that are already due, and ids that the connection does not have.
 * Returns one row with their number. Uses crm_sync_failures_id_key. Locks the connection for the
 * transaction, then the failures.
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
 * wanted as (
 *   select
 *     failure.organisation_id,
 *     failure.connection_id,
 *     failure.id,
 *     given.id as given_id
 *   from connection
 *   cross join (select distinct id from unnest(:ids!::bigint[]) as given (id)) as given
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       connection_id,
 *       id
 *     from crm_sync_failures
 *     where organisation_id = :organisationId!::uuid
 *       and connection_id = :connectionId!::uuid
 *       and id = given.id
 *       and (next_attempt_at > (select at from clock) or next_attempt_at is null)
 *     limit 1
 *     for no key update
 *   ) as failure
 * ),
 * replayed as (
 *   update crm_sync_failures as failure
 *   set
 *     attempts = 0,
 *     next_attempt_at = clock.at,
 *     gave_up_at = null,
 *     dismissed_at = null,
 *     dismissed_by = null,
 *     dismissal_reason = null
 *   from wanted
 *   cross join clock
 *   where failure.organisation_id = wanted.organisation_id
 *     and failure.connection_id = wanted.connection_id
 *     and failure.id = wanted.id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and wanted.id = wanted.given_id
 *   returning failure.id
 * ),
 * requested as (
 *   -- As connectionRequestSync does for an urgent request.
 *   update crm_connections
 *   set
 *     sync_requested_at = coalesce(sync_requested_at, clock.at),
 *     not_before_at = null,
 *     next_sync_at = least(next_sync_at, clock.at)
 *   from connection
 *   cross join clock
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and exists (select from replayed)
 * )
 * select
 *   (select count(*) from replayed)::integer as "replayed!"
 * from connection
 * ```
 */
export const syncFailureReplayByIds = new PreparedQuery<SyncFailureReplayByIdsParams,SyncFailureReplayByIdsResult>({
  name: 'syncFailureReplayByIds',
  statementName: 'syncFailureReplayByIds_588b72ad',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'ids', required: true },
  ],
  text: `with /* syncFailureReplayByIds */ clock as materialized (
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
wanted as (
  select
    failure.organisation_id,
    failure.connection_id,
    failure.id,
    given.id as given_id
  from connection
  cross join (select distinct id from unnest($3::bigint[]) as given (id)) as given
  cross join lateral (
    select
      organisation_id,
      connection_id,
      id
    from crm_sync_failures
    where organisation_id = $1::uuid
      and connection_id = $2::uuid
      and id = given.id
      and (next_attempt_at > (select at from clock) or next_attempt_at is null)
    limit 1
    for no key update
  ) as failure
),
replayed as (
  update crm_sync_failures as failure
  set
    attempts = 0,
    next_attempt_at = clock.at,
    gave_up_at = null,
    dismissed_at = null,
    dismissed_by = null,
    dismissal_reason = null
  from wanted
  cross join clock
  where failure.organisation_id = wanted.organisation_id
    and failure.connection_id = wanted.connection_id
    and failure.id = wanted.id
    and wanted.id = wanted.given_id
  returning failure.id
),
requested as (
  update crm_connections
  set
    sync_requested_at = coalesce(sync_requested_at, clock.at),
    not_before_at = null,
    next_sync_at = least(next_sync_at, clock.at)
  from connection
  cross join clock
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and exists (select from replayed)
)
select
  (select count(*) from replayed)::integer as "replayed"
from connection`,
});


