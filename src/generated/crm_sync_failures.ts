/** Types generated for queries found in "queries/crm_sync_failures.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** What {@link syncFailureClaim} takes. */
export interface SyncFailureClaimParams {
  connectionId: string;
  limit: number;
  organisationId: string;
  runId: number | string;
}

/** A row of {@link syncFailureClaim}. */
export interface SyncFailureClaimResult {
  /** How many attempts have failed since it first failed, or since a person asked to try again. */
  attempts: number | null;
  /** inbound: from the CRM to NurtureHub. outbound: the other way. */
  direction: string | null;
  /** What kind of record it is, in the provider's terms. */
  entityType: string | null;
  /** Why the last attempt failed, as in crm_sync_log. */
  error: Json | null;
  /** Since when the record has been failing, or since when a person asked to try again. */
  firstFailedAt: Timestamp | null;
  /** The record: inbound its id at the CRM, outbound NurtureHub's own id. */
  recordId: string | null;
}

const syncFailureClaimIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"runId":true,"limit":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":646,"b":661},{"a":866,"b":881},{"a":1253,"b":1268},{"a":1681,"b":1696}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":682,"b":695},{"a":917,"b":930},{"a":1308,"b":1321},{"a":1736,"b":1749}]},{"name":"runId","required":true,"transform":{"type":"scalar"},"locs":[{"a":955,"b":961}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":1430,"b":1436}]}],"statement":"-- Claims the failing records of a connection that are to be tried again, those due longest first, for the\n-- worker that holds its run: the claim itself puts off the next attempt, so that a record over which\n-- workers die does not hold up the others. At most `limit` rows; one row of nulls if there is nothing to\n-- claim; none if the run is lost. By crm_sync_failures_next_attempt_at_idx; locks the connection for the\n-- transaction, then the run and the failures. At READ COMMITTED.\nwith clock as materialized (\n  select crm_now() as at\n),\nconnection as (\n  select\n    organisation_id,\n    id\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n    and status <> 'disconnected'\n  for no key update\n),\nrun as (\n  select run.id\n  from connection\n  cross join crm_sync_runs as run\n  where run.organisation_id = :organisationId!::uuid\n    and run.connection_id = :connectionId!::uuid\n    and run.id = :runId!::bigint\n    and run.ended_at is null\n    and run.expires_at > (select at from clock)\n  for no key update of run\n),\ndue as (\n  select\n    failure.direction,\n    failure.entity_type,\n    failure.record_id\n  from run\n  cross join crm_sync_failures as failure\n  where failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.next_attempt_at <= (select at from clock)\n  order by failure.next_attempt_at\n  limit :limit!::integer\n  for no key update of failure\n),\nclaimed as (\n  update crm_sync_failures as failure\n  set next_attempt_at = clock.at + crm_sync_backoff(failure.attempts + 1, 60, 21600)\n  from due\n  cross join clock\n  where failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.direction = due.direction\n    and failure.entity_type = due.entity_type\n    and failure.record_id = due.record_id\n  returning\n    failure.direction,\n    failure.entity_type,\n    failure.record_id,\n    failure.attempts,\n    failure.error,\n    failure.first_failed_at\n)\nselect\n  claimed.direction as \"direction?\",\n  claimed.entity_type as \"entityType?\",\n  claimed.record_id as \"recordId?\",\n  claimed.attempts as \"attempts?\",\n  claimed.error as \"error?\",\n  claimed.first_failed_at as \"firstFailedAt?\"\nfrom run\nleft join claimed on true"};

/**
 * Claims the failing records of a connection that are to be tried again, those due longest first, for the
 * worker that holds its run: the claim itself puts off the next attempt, so that a record over which
 * workers die does not hold up the others. At most `limit` rows; one row of nulls if there is nothing to
 * claim; none if the run is lost. By crm_sync_failures_next_attempt_at_idx; locks the connection for the
 * transaction, then the run and the failures. At READ COMMITTED.
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
 *     failure.direction,
 *     failure.entity_type,
 *     failure.record_id
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
 *   where failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.direction = due.direction
 *     and failure.entity_type = due.entity_type
 *     and failure.record_id = due.record_id
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
export const syncFailureClaim = new PreparedQuery<SyncFailureClaimParams,SyncFailureClaimResult>('syncFailureClaim', syncFailureClaimIR);


/** What {@link syncFailureCountByKind} takes. */
export interface SyncFailureCountByKindParams {
  connectionId: string;
  kinds: string[];
  organisationId: string;
}

/** A row of {@link syncFailureCountByKind}. */
export interface SyncFailureCountByKindResult {
  count: number;
  givenUpCount: number;
  kind: string;
}

const syncFailureCountByKindIR = {"usedParamSet":{"kinds":true,"organisationId":true,"connectionId":true},"params":[{"name":"kinds","required":true,"transform":{"type":"scalar"},"locs":[{"a":288,"b":294}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":546,"b":561}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":603,"b":616}]}],"statement":"-- How many records of a connection fail, by the kind of their error, most first; each kind is counted up\n-- to 1,000. At most ten rows; by crm_sync_failures_kind_idx.\nselect\n  wanted.kind as \"kind!\",\n  failures.count as \"count!\",\n  failures.given_up_count as \"givenUpCount!\"\nfrom unnest(:kinds!::text[]) as wanted (kind)\ncross join lateral (\n  select\n    count(*)::integer as count,\n    count(gave_up_at)::integer as given_up_count\n  from (\n    select failure.gave_up_at\n    from crm_sync_failures as failure\n    where failure.organisation_id = :organisationId!::uuid\n      and failure.connection_id = :connectionId!::uuid\n      and failure.kind = wanted.kind\n    limit 1000\n  ) as counted\n) as failures\nwhere failures.count > 0\norder by\n  failures.count desc,\n  wanted.kind"};

/**
 * How many records of a connection fail, by the kind of their error, most first; each kind is counted up
 * to 1,000. At most ten rows; by crm_sync_failures_kind_idx.
 *
 * @remarks
 * ```sql
 * select
 *   wanted.kind as "kind!",
 *   failures.count as "count!",
 *   failures.given_up_count as "givenUpCount!"
 * from unnest(:kinds!::text[]) as wanted (kind)
 * cross join lateral (
 *   select
 *     count(*)::integer as count,
 *     count(gave_up_at)::integer as given_up_count
 *   from (
 *     select failure.gave_up_at
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
export const syncFailureCountByKind = new PreparedQuery<SyncFailureCountByKindParams,SyncFailureCountByKindResult>('syncFailureCountByKind', syncFailureCountByKindIR);


/** What {@link syncFailureList} takes. */
export interface SyncFailureListParams {
  beforeId?: number | string | null | void;
  beforeLastFailedAt?: TimestampInput | null | void;
  connectionId: string;
  kinds: string[];
  limit: number;
  organisationId: string;
}

/** A row of {@link syncFailureList}. */
export interface SyncFailureListResult {
  /** How many attempts have failed since it first failed, or since a person asked to try again. */
  attempts: number;
  /** inbound: from the CRM to NurtureHub. outbound: the other way. */
  direction: string;
  /** What kind of record it is, in the provider's terms. */
  entityType: string;
  /** Why the last attempt failed, as in crm_sync_log. */
  error: Json;
  /** Since when the record has been failing, or since when a person asked to try again. */
  firstFailedAt: Timestamp;
  /** When it was given up (crm_sync_failure_is_final). It is not tried again by itself, but closed if a change at the CRM brings it and it succeeds. Null while it is tried. */
  gaveUpAt: Timestamp | null;
  /** Tells apart what failed at the same time. */
  id: string;
  /** When the last attempt failed. */
  lastFailedAt: Timestamp;
  /** From when the record is tried again: with the first sync after that. Null if it was given up. */
  nextAttemptAt: Timestamp | null;
  /** The record: inbound its id at the CRM, outbound NurtureHub's own id. */
  recordId: string;
}

const syncFailureListIR = {"usedParamSet":{"kinds":true,"organisationId":true,"connectionId":true,"beforeLastFailedAt":true,"beforeId":true,"limit":true},"params":[{"name":"kinds","required":true,"transform":{"type":"scalar"},"locs":[{"a":527,"b":533}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":671,"b":686}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":726,"b":739}]},{"name":"beforeLastFailedAt","required":false,"transform":{"type":"scalar"},"locs":[{"a":907,"b":925},{"a":1014,"b":1032}]},{"name":"beforeId","required":false,"transform":{"type":"scalar"},"locs":[{"a":1073,"b":1081}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":1191,"b":1197},{"a":1285,"b":1291}]}],"statement":"-- The records of a connection that fail, of some kinds of error, newest failure first, a page at a time.\n-- At most `limit` rows; by crm_sync_failures_kind_idx, a page of each kind at most.\nselect\n  failure.id,\n  failure.direction,\n  failure.entity_type as \"entityType\",\n  failure.record_id as \"recordId\",\n  failure.attempts,\n  failure.error,\n  failure.first_failed_at as \"firstFailedAt\",\n  failure.last_failed_at as \"lastFailedAt\",\n  failure.next_attempt_at as \"nextAttemptAt\",\n  failure.gave_up_at as \"gaveUpAt\"\nfrom unnest(:kinds!::text[]) as wanted (kind)\ncross join lateral (\n  select failure.*\n  from crm_sync_failures as failure\n  where failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.kind = wanted.kind\n    -- Not coalesce: row-level security would keep such a comparison from the index.\n    and failure.last_failed_at <= least(:beforeLastFailedAt::timestamptz, 'infinity')\n    and (failure.last_failed_at, failure.id) < (\n      least(:beforeLastFailedAt::timestamptz, 'infinity'),\n      least(:beforeId::bigint, 9223372036854775807)\n    )\n  order by\n    failure.last_failed_at desc,\n    failure.id desc\n  limit :limit!::integer\n) as failure\norder by\n  failure.last_failed_at desc,\n  failure.id desc\nlimit :limit!::integer"};

/**
 * The records of a connection that fail, of some kinds of error, newest failure first, a page at a time.
 * At most `limit` rows; by crm_sync_failures_kind_idx, a page of each kind at most.
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
 *   failure.gave_up_at as "gaveUpAt"
 * from unnest(:kinds!::text[]) as wanted (kind)
 * cross join lateral (
 *   select failure.*
 *   from crm_sync_failures as failure
 *   where failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.kind = wanted.kind
 *     -- Not coalesce: row-level security would keep such a comparison from the index.
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
export const syncFailureList = new PreparedQuery<SyncFailureListParams,SyncFailureListResult>('syncFailureList', syncFailureListIR);


/** What {@link syncFailureReplay} takes. */
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

const syncFailureReplayIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"kinds":true,"failedFrom":true,"failedBefore":true,"limit":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":548,"b":563},{"a":846,"b":861},{"a":1491,"b":1506}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":584,"b":597},{"a":901,"b":914},{"a":1546,"b":1559}]},{"name":"kinds","required":true,"transform":{"type":"scalar"},"locs":[{"a":949,"b":955}]},{"name":"failedFrom","required":true,"transform":{"type":"scalar"},"locs":[{"a":1000,"b":1011}]},{"name":"failedBefore","required":true,"transform":{"type":"scalar"},"locs":[{"a":1059,"b":1072}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":1243,"b":1249}]}],"statement":"-- Lets failing records of a live connection be tried again from now on, given-up ones among them, as if\n-- they had not failed before: those of some kinds whose last failure was in a window, oldest first, at\n-- most `limit`; those that are due already are left as they are. One row: how many. By\n-- crm_sync_failures_kind_idx; locks the connection for the transaction, then the failures.\nwith clock as materialized (\n  select crm_now() as at\n),\nconnection as (\n  select\n    organisation_id,\n    id\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n    and status <> 'disconnected'\n  for no key update\n),\nwanted as (\n  select\n    failure.direction,\n    failure.entity_type,\n    failure.record_id\n  from connection\n  cross join crm_sync_failures as failure\n  where failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.kind = any(:kinds!::text[])\n    and failure.last_failed_at >= :failedFrom!::timestamptz\n    and failure.last_failed_at < :failedBefore!::timestamptz\n    and (failure.next_attempt_at > (select at from clock) or failure.next_attempt_at is null)\n  order by\n    failure.last_failed_at,\n    failure.id\n  limit :limit!::integer\n  for no key update of failure\n),\nreplayed as (\n  update crm_sync_failures as failure\n  set\n    attempts = 0,\n    next_attempt_at = clock.at,\n    gave_up_at = null\n  from wanted\n  cross join clock\n  where failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.direction = wanted.direction\n    and failure.entity_type = wanted.entity_type\n    and failure.record_id = wanted.record_id\n  returning failure.id\n),\nrequested as (\n  -- As connectionRequestSync does for a person.\n  update crm_connections\n  set\n    sync_requested_at = coalesce(sync_requested_at, clock.at),\n    not_before_at = null,\n    next_sync_at = least(next_sync_at, clock.at)\n  from connection\n  cross join clock\n  where crm_connections.organisation_id = connection.organisation_id\n    and crm_connections.id = connection.id\n    and exists (select from replayed)\n)\nselect\n  (select count(*) from replayed)::integer as \"replayed!\"\nfrom connection"};

/**
 * Lets failing records of a live connection be tried again from now on, given-up ones among them, as if
 * they had not failed before: those of some kinds whose last failure was in a window, oldest first, at
 * most `limit`; those that are due already are left as they are. One row: how many. By
 * crm_sync_failures_kind_idx; locks the connection for the transaction, then the failures.
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
 *     failure.direction,
 *     failure.entity_type,
 *     failure.record_id
 *   from connection
 *   cross join crm_sync_failures as failure
 *   where failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.kind = any(:kinds!::text[])
 *     and failure.last_failed_at >= :failedFrom!::timestamptz
 *     and failure.last_failed_at < :failedBefore!::timestamptz
 *     and (failure.next_attempt_at > (select at from clock) or failure.next_attempt_at is null)
 *   order by
 *     failure.last_failed_at,
 *     failure.id
 *   limit :limit!::integer
 *   for no key update of failure
 * ),
 * replayed as (
 *   update crm_sync_failures as failure
 *   set
 *     attempts = 0,
 *     next_attempt_at = clock.at,
 *     gave_up_at = null
 *   from wanted
 *   cross join clock
 *   where failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.direction = wanted.direction
 *     and failure.entity_type = wanted.entity_type
 *     and failure.record_id = wanted.record_id
 *   returning failure.id
 * ),
 * requested as (
 *   -- As connectionRequestSync does for a person.
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
export const syncFailureReplay = new PreparedQuery<SyncFailureReplayParams,SyncFailureReplayResult>('syncFailureReplay', syncFailureReplayIR);


