/** Types generated for queries found in "queries/crm_sync_runs.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** What {@link syncRunClaim} takes. */
export interface SyncRunClaimParams {
  leaseSeconds: number;
  limit: number;
  worker: string;
}

/** A row of {@link syncRunClaim}. */
export interface SyncRunClaimResult {
  /** The connection that is synced. */
  connectionId: string;
  /** Counts the changes of credentials, so that a writer can tell whether they are still those it read. */
  credentialsVersion: number;
  /** When the lease runs out, unless there is a sign of life before. From then on the worker is refused, and others may claim the connection. */
  expiresAt: Timestamp;
  /** The cursor of incremental sync: everything the CRM changed up to here has arrived, by the CRM's clock. Null before the first complete sync, or to ask for a full one. Never moves backwards otherwise. */
  lastSyncedAt: Timestamp | null;
  /** The organisation (tenant) the run belongs to. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** The run, and the fencing token: each write for the connection shows it. */
  runId: string;
}

const syncRunClaimIR = {"usedParamSet":{"limit":true,"worker":true,"leaseSeconds":true},"params":[{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":1162,"b":1168}]},{"name":"worker","required":true,"transform":{"type":"scalar"},"locs":[{"a":1426,"b":1433}]},{"name":"leaseSeconds","required":true,"transform":{"type":"scalar"},"locs":[{"a":1507,"b":1520}]}],"statement":"-- Claims due connections over all organisations, oldest due first: opens a run for each, and moves the\n-- time at which it is due next, to the end of the lease or later. Returns the runs, at most `limit`.\n-- Connections that still have an open run are passed over, and so are those that somebody has locked, as\n-- another claim does. By crm_connections_next_sync_at_idx, then by primary key; locks the connections for\n-- the transaction. At READ COMMITTED.\nwith clock as materialized (\n  select crm_now() as at\n),\ndue as (\n  select\n    connection.organisation_id,\n    connection.id,\n    connection.provider,\n    connection.last_synced_at,\n    connection.credentials_version,\n    connection.sync_interval_seconds\n  from crm_connections as connection\n  where connection.status <> 'disconnected'\n    and connection.next_sync_at <= (select at from clock)\n    and not exists (\n      select\n      from crm_sync_runs as run\n      where run.organisation_id = connection.organisation_id\n        and run.connection_id = connection.id\n        and run.ended_at is null\n    )\n  order by\n    connection.next_sync_at,\n    connection.organisation_id,\n    connection.id\n  limit :limit!::integer\n  for no key update of connection skip locked\n),\nstarted as (\n  insert into crm_sync_runs (\n    organisation_id,\n    connection_id,\n    worker,\n    started_at,\n    heartbeat_at,\n    expires_at\n  )\n  select\n    due.organisation_id,\n    due.id,\n    :worker!::text,\n    clock.at,\n    clock.at,\n    clock.at + make_interval(secs => :leaseSeconds!::integer)\n  from due\n  cross join clock\n  -- Claimed and asked for again since this statement began: it is due, and its run was not seen above.\n  on conflict (organisation_id, connection_id) where ended_at is null do nothing\n  returning\n    organisation_id,\n    connection_id,\n    id,\n    expires_at\n),\nmoved as (\n  update crm_connections\n  set\n    next_sync_at = greatest(\n      started.expires_at,\n      clock.at + make_interval(secs => due.sync_interval_seconds)\n    ),\n    sync_requested_at = null\n  from started\n  inner join due\n    on due.organisation_id = started.organisation_id\n    and due.id = started.connection_id\n  cross join clock\n  where crm_connections.organisation_id = started.organisation_id\n    and crm_connections.id = started.connection_id\n)\nselect\n  started.organisation_id as \"organisationId!\",\n  started.connection_id as \"connectionId!\",\n  started.id as \"runId!\",\n  started.expires_at as \"expiresAt!\",\n  due.provider as \"provider!\",\n  due.last_synced_at as \"lastSyncedAt?\",\n  due.credentials_version as \"credentialsVersion!\"\nfrom started\ninner join due\n  on due.organisation_id = started.organisation_id\n  and due.id = started.connection_id\norder by started.id"};

/**
 * Claims due connections over all organisations, oldest due first: opens a run for each, and moves the
 * time at which it is due next, to the end of the lease or later. Returns the runs, at most `limit`.
 * Connections that still have an open run are passed over, and so are those that somebody has locked, as
 * another claim does. By crm_connections_next_sync_at_idx, then by primary key; locks the connections for
 * the transaction. At READ COMMITTED.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * due as (
 *   select
 *     connection.organisation_id,
 *     connection.id,
 *     connection.provider,
 *     connection.last_synced_at,
 *     connection.credentials_version,
 *     connection.sync_interval_seconds
 *   from crm_connections as connection
 *   where connection.status <> 'disconnected'
 *     and connection.next_sync_at <= (select at from clock)
 *     and not exists (
 *       select
 *       from crm_sync_runs as run
 *       where run.organisation_id = connection.organisation_id
 *         and run.connection_id = connection.id
 *         and run.ended_at is null
 *     )
 *   order by
 *     connection.next_sync_at,
 *     connection.organisation_id,
 *     connection.id
 *   limit :limit!::integer
 *   for no key update of connection skip locked
 * ),
 * started as (
 *   insert into crm_sync_runs (
 *     organisation_id,
 *     connection_id,
 *     worker,
 *     started_at,
 *     heartbeat_at,
 *     expires_at
 *   )
 *   select
 *     due.organisation_id,
 *     due.id,
 *     :worker!::text,
 *     clock.at,
 *     clock.at,
 *     clock.at + make_interval(secs => :leaseSeconds!::integer)
 *   from due
 *   cross join clock
 *   -- Claimed and asked for again since this statement began: it is due, and its run was not seen above.
 *   on conflict (organisation_id, connection_id) where ended_at is null do nothing
 *   returning
 *     organisation_id,
 *     connection_id,
 *     id,
 *     expires_at
 * ),
 * moved as (
 *   update crm_connections
 *   set
 *     next_sync_at = greatest(
 *       started.expires_at,
 *       clock.at + make_interval(secs => due.sync_interval_seconds)
 *     ),
 *     sync_requested_at = null
 *   from started
 *   inner join due
 *     on due.organisation_id = started.organisation_id
 *     and due.id = started.connection_id
 *   cross join clock
 *   where crm_connections.organisation_id = started.organisation_id
 *     and crm_connections.id = started.connection_id
 * )
 * select
 *   started.organisation_id as "organisationId!",
 *   started.connection_id as "connectionId!",
 *   started.id as "runId!",
 *   started.expires_at as "expiresAt!",
 *   due.provider as "provider!",
 *   due.last_synced_at as "lastSyncedAt?",
 *   due.credentials_version as "credentialsVersion!"
 * from started
 * inner join due
 *   on due.organisation_id = started.organisation_id
 *   and due.id = started.connection_id
 * order by started.id
 * ```
 */
export const syncRunClaim = new PreparedQuery<SyncRunClaimParams,SyncRunClaimResult>('syncRunClaim', syncRunClaimIR);


/** What {@link syncRunFinish} takes. */
export interface SyncRunFinishParams {
  connectionId: string;
  credentialsVersion?: number | null | void;
  error?: Json | null | void;
  hasMore: boolean;
  organisationId: string;
  outcome: string;
  reason?: string | null | void;
  retryAfterSeconds?: number | null | void;
  runId: number | string;
}

/** A row of {@link syncRunFinish}. */
export interface SyncRunFinishResult {
  outcome: string;
}

const syncRunFinishIR = {"usedParamSet":{"credentialsVersion":true,"organisationId":true,"connectionId":true,"runId":true,"outcome":true,"error":true,"retryAfterSeconds":true,"hasMore":true,"reason":true},"params":[{"name":"credentialsVersion","required":false,"transform":{"type":"scalar"},"locs":[{"a":960,"b":978}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1074,"b":1089},{"a":1398,"b":1413},{"a":1658,"b":1673},{"a":2080,"b":2095}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1110,"b":1123},{"a":1449,"b":1462},{"a":1712,"b":1725},{"a":2141,"b":2154}]},{"name":"runId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1487,"b":1493},{"a":2189,"b":2195}]},{"name":"outcome","required":true,"transform":{"type":"scalar"},"locs":[{"a":1979,"b":1987},{"a":3989,"b":3997},{"a":4710,"b":4718},{"a":4958,"b":4966}]},{"name":"error","required":false,"transform":{"type":"scalar"},"locs":[{"a":2008,"b":2013},{"a":2602,"b":2607},{"a":2937,"b":2942},{"a":4495,"b":4500}]},{"name":"retryAfterSeconds","required":false,"transform":{"type":"scalar"},"locs":[{"a":3152,"b":3169}]},{"name":"hasMore","required":true,"transform":{"type":"scalar"},"locs":[{"a":3589,"b":3597}]},{"name":"reason","required":false,"transform":{"type":"scalar"},"locs":[{"a":4480,"b":4486}]}],"statement":"-- Ends a run, and draws from it when the connection is due next and how it fares: success heals, and moves\n-- the connection's cursor to the point that all its inbound streams have passed; a\n-- failure counts, puts off the next sync, and may put the connection in error\n-- (crm_sync_failure_is_alarming), unless its credentials are of another version than the worker's by now;\n-- a worker that gives up its turn leaves the connection due. One row, or\n-- none if the organisation has no such run: `outcome` says what happened (`ended`, or `lost` if it had\n-- ended or its lease had run out, and nothing was changed). By primary keys; locks the connection for the\n-- transaction, then the run. At READ COMMITTED.\nwith clock as materialized (\n  select crm_now() as at\n),\nconnection as (\n  select\n    organisation_id,\n    id,\n    status,\n    sync_interval_seconds,\n    sync_requested_at,\n    first_failed_at,\n    failure_count,\n    credentials_version = coalesce(:credentialsVersion::integer, credentials_version) as is_current\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n  for no key update\n),\nrun as (\n  select\n    run.id,\n    run.ended_at is null\n      and run.expires_at > (select at from clock)\n      and connection.status <> 'disconnected' as is_held\n  from connection\n  cross join crm_sync_runs as run\n  where run.organisation_id = :organisationId!::uuid\n    and run.connection_id = :connectionId!::uuid\n    and run.id = :runId!::bigint\n  for no key update of run\n),\nstream as (\n  select cursor.synced_to_at\n  from run\n  cross join crm_sync_cursors as cursor\n  where cursor.organisation_id = :organisationId!::uuid\n    and cursor.connection_id = :connectionId!::uuid\n    and cursor.direction = 'inbound'\n  -- Locked, to be seen as it is now: a reset may have come while the connection was waited for.\n  for no key update of cursor\n),\nended as (\n  update crm_sync_runs\n  set\n    ended_at = clock.at,\n    outcome = :outcome!::text,\n    error = :error::jsonb\n  from run, clock\n  where crm_sync_runs.organisation_id = :organisationId!::uuid\n    and crm_sync_runs.connection_id = :connectionId!::uuid\n    and crm_sync_runs.id = :runId!::bigint\n    and run.is_held\n),\njudged as (\n  select\n    connection.organisation_id,\n    connection.id,\n    connection.status,\n    connection.sync_interval_seconds,\n    connection.sync_requested_at,\n    least(connection.failure_count, 2147483646) + 1 as failure_count,\n    coalesce(connection.first_failed_at, clock.at) as first_failed_at,\n    connection.is_current and crm_sync_failure_is_alarming(\n      :error::jsonb ->> 'kind',\n      least(connection.failure_count, 2147483646) + 1,\n      clock.at - coalesce(connection.first_failed_at, clock.at)\n    ) is true as is_alarming,\n    -- What the CRM said of credentials that are gone says nothing of those that took their place.\n    clock.at + case\n      when not connection.is_current and :error::jsonb ->> 'kind' in ('auth', 'permission') then interval '0'\n      else greatest(\n        crm_sync_backoff(least(connection.failure_count, 2147483646) + 1, 60, 21600),\n        make_interval(secs => coalesce(:retryAfterSeconds::integer, 0))\n      )\n    end as not_before_at,\n    clock.at\n  from connection\n  cross join run\n  cross join clock\n  where run.is_held\n),\nsucceeded as (\n  update crm_connections\n  set\n    last_synced_at = greatest(\n      last_synced_at,\n      (select case when bool_and(synced_to_at is not null) then min(synced_to_at) end from stream)\n    ),\n    next_sync_at = case\n      when judged.sync_requested_at is not null or :hasMore!::boolean then judged.at\n      else judged.at + make_interval(secs => judged.sync_interval_seconds)\n    end,\n    not_before_at = null,\n    last_success_at = judged.at,\n    first_failed_at = null,\n    failure_count = 0,\n    status = 'active',\n    status_reason = null,\n    status_changed_at = case when judged.status = 'active' then status_changed_at else judged.at end\n  from judged\n  where :outcome!::text = 'success'\n    and crm_connections.organisation_id = judged.organisation_id\n    and crm_connections.id = judged.id\n),\nfailed as (\n  update crm_connections\n  set\n    next_sync_at = judged.not_before_at,\n    not_before_at = judged.not_before_at,\n    first_failed_at = judged.first_failed_at,\n    failure_count = judged.failure_count,\n    status = case when judged.is_alarming then 'error' else judged.status end,\n    status_reason = case when judged.is_alarming then coalesce(:reason::text, :error::jsonb ->> 'message') else status_reason end,\n    status_changed_at = case\n      when judged.is_alarming and judged.status <> 'error' then judged.at\n      else status_changed_at\n    end\n  from judged\n  where :outcome!::text = 'failed'\n    and crm_connections.organisation_id = judged.organisation_id\n    and crm_connections.id = judged.id\n),\ncancelled as (\n  update crm_connections\n  set next_sync_at = least(next_sync_at, judged.at)\n  from judged\n  where :outcome!::text = 'cancelled'\n    and crm_connections.organisation_id = judged.organisation_id\n    and crm_connections.id = judged.id\n)\nselect case when is_held then 'ended' else 'lost' end as \"outcome!\"\nfrom run"};

/**
 * Ends a run, and draws from it when the connection is due next and how it fares: success heals, and moves
 * the connection's cursor to the point that all its inbound streams have passed; a
 * failure counts, puts off the next sync, and may put the connection in error
 * (crm_sync_failure_is_alarming), unless its credentials are of another version than the worker's by now;
 * a worker that gives up its turn leaves the connection due. One row, or
 * none if the organisation has no such run: `outcome` says what happened (`ended`, or `lost` if it had
 * ended or its lease had run out, and nothing was changed). By primary keys; locks the connection for the
 * transaction, then the run. At READ COMMITTED.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * connection as (
 *   select
 *     organisation_id,
 *     id,
 *     status,
 *     sync_interval_seconds,
 *     sync_requested_at,
 *     first_failed_at,
 *     failure_count,
 *     credentials_version = coalesce(:credentialsVersion::integer, credentials_version) as is_current
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *   for no key update
 * ),
 * run as (
 *   select
 *     run.id,
 *     run.ended_at is null
 *       and run.expires_at > (select at from clock)
 *       and connection.status <> 'disconnected' as is_held
 *   from connection
 *   cross join crm_sync_runs as run
 *   where run.organisation_id = :organisationId!::uuid
 *     and run.connection_id = :connectionId!::uuid
 *     and run.id = :runId!::bigint
 *   for no key update of run
 * ),
 * stream as (
 *   select cursor.synced_to_at
 *   from run
 *   cross join crm_sync_cursors as cursor
 *   where cursor.organisation_id = :organisationId!::uuid
 *     and cursor.connection_id = :connectionId!::uuid
 *     and cursor.direction = 'inbound'
 *   -- Locked, to be seen as it is now: a reset may have come while the connection was waited for.
 *   for no key update of cursor
 * ),
 * ended as (
 *   update crm_sync_runs
 *   set
 *     ended_at = clock.at,
 *     outcome = :outcome!::text,
 *     error = :error::jsonb
 *   from run, clock
 *   where crm_sync_runs.organisation_id = :organisationId!::uuid
 *     and crm_sync_runs.connection_id = :connectionId!::uuid
 *     and crm_sync_runs.id = :runId!::bigint
 *     and run.is_held
 * ),
 * judged as (
 *   select
 *     connection.organisation_id,
 *     connection.id,
 *     connection.status,
 *     connection.sync_interval_seconds,
 *     connection.sync_requested_at,
 *     least(connection.failure_count, 2147483646) + 1 as failure_count,
 *     coalesce(connection.first_failed_at, clock.at) as first_failed_at,
 *     connection.is_current and crm_sync_failure_is_alarming(
 *       :error::jsonb ->> 'kind',
 *       least(connection.failure_count, 2147483646) + 1,
 *       clock.at - coalesce(connection.first_failed_at, clock.at)
 *     ) is true as is_alarming,
 *     -- What the CRM said of credentials that are gone says nothing of those that took their place.
 *     clock.at + case
 *       when not connection.is_current and :error::jsonb ->> 'kind' in ('auth', 'permission') then interval '0'
 *       else greatest(
 *         crm_sync_backoff(least(connection.failure_count, 2147483646) + 1, 60, 21600),
 *         make_interval(secs => coalesce(:retryAfterSeconds::integer, 0))
 *       )
 *     end as not_before_at,
 *     clock.at
 *   from connection
 *   cross join run
 *   cross join clock
 *   where run.is_held
 * ),
 * succeeded as (
 *   update crm_connections
 *   set
 *     last_synced_at = greatest(
 *       last_synced_at,
 *       (select case when bool_and(synced_to_at is not null) then min(synced_to_at) end from stream)
 *     ),
 *     next_sync_at = case
 *       when judged.sync_requested_at is not null or :hasMore!::boolean then judged.at
 *       else judged.at + make_interval(secs => judged.sync_interval_seconds)
 *     end,
 *     not_before_at = null,
 *     last_success_at = judged.at,
 *     first_failed_at = null,
 *     failure_count = 0,
 *     status = 'active',
 *     status_reason = null,
 *     status_changed_at = case when judged.status = 'active' then status_changed_at else judged.at end
 *   from judged
 *   where :outcome!::text = 'success'
 *     and crm_connections.organisation_id = judged.organisation_id
 *     and crm_connections.id = judged.id
 * ),
 * failed as (
 *   update crm_connections
 *   set
 *     next_sync_at = judged.not_before_at,
 *     not_before_at = judged.not_before_at,
 *     first_failed_at = judged.first_failed_at,
 *     failure_count = judged.failure_count,
 *     status = case when judged.is_alarming then 'error' else judged.status end,
 *     status_reason = case when judged.is_alarming then coalesce(:reason::text, :error::jsonb ->> 'message') else status_reason end,
 *     status_changed_at = case
 *       when judged.is_alarming and judged.status <> 'error' then judged.at
 *       else status_changed_at
 *     end
 *   from judged
 *   where :outcome!::text = 'failed'
 *     and crm_connections.organisation_id = judged.organisation_id
 *     and crm_connections.id = judged.id
 * ),
 * cancelled as (
 *   update crm_connections
 *   set next_sync_at = least(next_sync_at, judged.at)
 *   from judged
 *   where :outcome!::text = 'cancelled'
 *     and crm_connections.organisation_id = judged.organisation_id
 *     and crm_connections.id = judged.id
 * )
 * select case when is_held then 'ended' else 'lost' end as "outcome!"
 * from run
 * ```
 */
export const syncRunFinish = new PreparedQuery<SyncRunFinishParams,SyncRunFinishResult>('syncRunFinish', syncRunFinishIR);


/** What {@link syncRunHeartbeat} takes. */
export interface SyncRunHeartbeatParams {
  connectionId: string;
  leaseSeconds: number;
  organisationId: string;
  runId: number | string;
}

/** A row of {@link syncRunHeartbeat}. */
export interface SyncRunHeartbeatResult {
  /** When the lease runs out, unless there is a sign of life before. From then on the worker is refused, and others may claim the connection. */
  expiresAt: Timestamp;
}

const syncRunHeartbeatIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"leaseSeconds":true,"runId":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":534,"b":549},{"a":894,"b":909}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":570,"b":583},{"a":945,"b":958}]},{"name":"leaseSeconds","required":true,"transform":{"type":"scalar"},"locs":[{"a":801,"b":814}]},{"name":"runId","required":true,"transform":{"type":"scalar"},"locs":[{"a":983,"b":989}]}],"statement":"-- Lets the lease of a run last from now on, never shorter than it did, and sees to it that the connection\n-- is not due before its end. One row, or none if the organisation has no such open run whose lease still\n-- lasts, of a live connection: then it is lost. By primary keys; locks the connection for the transaction,\n-- then the run. At READ COMMITTED.\nwith clock as materialized (\n  select crm_now() as at\n),\nconnection as (\n  select\n    organisation_id,\n    id,\n    next_sync_at\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n    and status <> 'disconnected'\n  for no key update\n),\nextended as (\n  update crm_sync_runs as run\n  set\n    heartbeat_at = clock.at,\n    expires_at = greatest(run.expires_at, clock.at + make_interval(secs => :leaseSeconds!::integer))\n  from connection\n  cross join clock\n  where run.organisation_id = :organisationId!::uuid\n    and run.connection_id = :connectionId!::uuid\n    and run.id = :runId!::bigint\n    and run.ended_at is null\n    and run.expires_at > clock.at\n  returning run.expires_at\n),\nmoved as (\n  update crm_connections\n  set next_sync_at = extended.expires_at\n  from connection\n  cross join extended\n  where crm_connections.organisation_id = connection.organisation_id\n    and crm_connections.id = connection.id\n    and connection.next_sync_at < extended.expires_at\n)\nselect expires_at as \"expiresAt\"\nfrom extended"};

/**
 * Lets the lease of a run last from now on, never shorter than it did, and sees to it that the connection
 * is not due before its end. One row, or none if the organisation has no such open run whose lease still
 * lasts, of a live connection: then it is lost. By primary keys; locks the connection for the transaction,
 * then the run. At READ COMMITTED.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * connection as (
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
 * extended as (
 *   update crm_sync_runs as run
 *   set
 *     heartbeat_at = clock.at,
 *     expires_at = greatest(run.expires_at, clock.at + make_interval(secs => :leaseSeconds!::integer))
 *   from connection
 *   cross join clock
 *   where run.organisation_id = :organisationId!::uuid
 *     and run.connection_id = :connectionId!::uuid
 *     and run.id = :runId!::bigint
 *     and run.ended_at is null
 *     and run.expires_at > clock.at
 *   returning run.expires_at
 * ),
 * moved as (
 *   update crm_connections
 *   set next_sync_at = extended.expires_at
 *   from connection
 *   cross join extended
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.next_sync_at < extended.expires_at
 * )
 * select expires_at as "expiresAt"
 * from extended
 * ```
 */
export const syncRunHeartbeat = new PreparedQuery<SyncRunHeartbeatParams,SyncRunHeartbeatResult>('syncRunHeartbeat', syncRunHeartbeatIR);


/** What {@link syncRunListByConnection} takes. */
export interface SyncRunListByConnectionParams {
  beforeId?: number | string | null | void;
  connectionId: string;
  limit: number;
  organisationId: string;
}

/** A row of {@link syncRunListByConnection}. */
export interface SyncRunListByConnectionResult {
  /** When the run ended. Null while it is open. */
  endedAt: Timestamp | null;
  /** Why it failed, as in crm_sync_log. Set exactly when outcome is failed. */
  error: Json | null;
  /** How many of its events were failures. */
  errorCount: string;
  /** When the lease runs out, unless there is a sign of life before. From then on the worker is refused, and others may claim the connection. */
  expiresAt: Timestamp;
  /** When the worker last gave a sign of life: with each batch, and between them. */
  heartbeatAt: Timestamp;
  /** success: it came to its end. failed: it could not, error says why. abandoned: the worker gave no sign of life. cancelled: the connection was disconnected, or the worker gave up its turn. Null while it is open. */
  outcome: string | null;
  /** The run, and the fencing token: each write for the connection shows it. */
  runId: string;
  /** How many of its events had nothing to change. */
  skippedCount: string;
  /** When the connection was claimed. */
  startedAt: Timestamp;
  /** How many of its events were successes. */
  successCount: string;
  /** Who runs it, for people: a host and a process, 1 to 200 characters. */
  worker: string;
}

const syncRunListByConnectionIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"beforeId":true,"limit":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":412,"b":427}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":457,"b":470}]},{"name":"beforeId","required":false,"transform":{"type":"scalar"},"locs":[{"a":578,"b":586}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":641,"b":647}]}],"statement":"-- The runs of a connection, newest first, a page at a time. At most `limit` rows, by primary key.\nselect\n  id as \"runId\",\n  worker,\n  started_at as \"startedAt\",\n  heartbeat_at as \"heartbeatAt\",\n  expires_at as \"expiresAt\",\n  ended_at as \"endedAt\",\n  outcome,\n  error,\n  success_count as \"successCount\",\n  skipped_count as \"skippedCount\",\n  error_count as \"errorCount\"\nfrom crm_sync_runs\nwhere organisation_id = :organisationId!::uuid\n  and connection_id = :connectionId!::uuid\n  -- Not coalesce: row-level security would keep such a comparison from the index.\n  and id < least(:beforeId::bigint, 9223372036854775807)\norder by id desc\nlimit :limit!::integer"};

/**
 * The runs of a connection, newest first, a page at a time. At most `limit` rows, by primary key.
 *
 * @remarks
 * ```sql
 * select
 *   id as "runId",
 *   worker,
 *   started_at as "startedAt",
 *   heartbeat_at as "heartbeatAt",
 *   expires_at as "expiresAt",
 *   ended_at as "endedAt",
 *   outcome,
 *   error,
 *   success_count as "successCount",
 *   skipped_count as "skippedCount",
 *   error_count as "errorCount"
 * from crm_sync_runs
 * where organisation_id = :organisationId!::uuid
 *   and connection_id = :connectionId!::uuid
 *   -- Not coalesce: row-level security would keep such a comparison from the index.
 *   and id < least(:beforeId::bigint, 9223372036854775807)
 * order by id desc
 * limit :limit!::integer
 * ```
 */
export const syncRunListByConnection = new PreparedQuery<SyncRunListByConnectionParams,SyncRunListByConnectionResult>('syncRunListByConnection', syncRunListByConnectionIR);


/** What {@link syncRunPurge} takes. */
export interface SyncRunPurgeParams {
  endedBefore?: TimestampInput | null | void;
  limit: number;
}

/** A row of {@link syncRunPurge}. */
export interface SyncRunPurgeResult {
  purged: number;
}

const syncRunPurgeIR = {"usedParamSet":{"endedBefore":true,"limit":true},"params":[{"name":"endedBefore","required":false,"transform":{"type":"scalar"},"locs":[{"a":490,"b":501}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":720,"b":726}]}],"statement":"-- Deletes runs that ended before a time, or longer ago than crm_retention says, over all organisations,\n-- oldest first; at most `limit` of them, and none that somebody has locked. One row: how many. By\n-- crm_sync_runs_ended_at_idx.\nwith purged as (\n  delete from crm_sync_runs\n  -- Not a join: not knowing how few they are, the planner would read the whole table for one.\n  where ctid = any(\n    array(\n      select ctid\n      from crm_sync_runs\n      where ended_at < coalesce(\n        :endedBefore::timestamptz,\n        (\n          select crm_now() - make_interval(hours => 24 * keep_days)\n          from crm_retention\n          where subject = 'crm_sync_runs'\n        )\n      )\n      order by ended_at\n      limit :limit!::integer\n      for update skip locked\n    )\n  )\n  returning id\n)\nselect count(*)::integer as \"purged!\"\nfrom purged"};

/**
 * Deletes runs that ended before a time, or longer ago than crm_retention says, over all organisations,
 * oldest first; at most `limit` of them, and none that somebody has locked. One row: how many. By
 * crm_sync_runs_ended_at_idx.
 *
 * @remarks
 * ```sql
 * with purged as (
 *   delete from crm_sync_runs
 *   -- Not a join: not knowing how few they are, the planner would read the whole table for one.
 *   where ctid = any(
 *     array(
 *       select ctid
 *       from crm_sync_runs
 *       where ended_at < coalesce(
 *         :endedBefore::timestamptz,
 *         (
 *           select crm_now() - make_interval(hours => 24 * keep_days)
 *           from crm_retention
 *           where subject = 'crm_sync_runs'
 *         )
 *       )
 *       order by ended_at
 *       limit :limit!::integer
 *       for update skip locked
 *     )
 *   )
 *   returning id
 * )
 * select count(*)::integer as "purged!"
 * from purged
 * ```
 */
export const syncRunPurge = new PreparedQuery<SyncRunPurgeParams,SyncRunPurgeResult>('syncRunPurge', syncRunPurgeIR);


/** What {@link syncRunSweep} takes. */
export interface SyncRunSweepParams {
  limit: number;
}

/** A row of {@link syncRunSweep}. */
export interface SyncRunSweepResult {
  /** The connection that is synced. */
  connectionId: string;
  /** The organisation (tenant) the run belongs to. */
  organisationId: string;
  /** The run, and the fencing token: each write for the connection shows it. */
  runId: string;
  /** Who runs it, for people: a host and a process, 1 to 200 characters. */
  worker: string;
}

const syncRunSweepIR = {"usedParamSet":{"limit":true},"params":[{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":993,"b":999}]}],"statement":"-- Closes runs whose lease has run out, over all organisations, oldest first: each counts as a failure of\n-- its connection, which is due again after a while. Returns them, at most `limit`. By\n-- crm_sync_runs_expires_at_idx, then by primary keys; locks the connections for the transaction, then the\n-- runs; passes over those that somebody has locked: that is a sign of life. At READ COMMITTED.\nwith clock as materialized (\n  select crm_now() as at\n),\nexpired as (\n  select\n    run.organisation_id,\n    run.connection_id,\n    run.id,\n    connection.status,\n    least(connection.failure_count, 2147483646) + 1 as failure_count,\n    coalesce(connection.first_failed_at, (select at from clock)) as first_failed_at\n  from crm_sync_runs as run\n  inner join crm_connections as connection\n    on connection.organisation_id = run.organisation_id\n    and connection.id = run.connection_id\n  where run.ended_at is null\n    and run.expires_at <= (select at from clock)\n  order by run.expires_at\n  limit :limit!::integer\n  for no key update of connection, run skip locked\n),\nabandoned as (\n  update crm_sync_runs as run\n  set\n    ended_at = clock.at,\n    outcome = 'abandoned'\n  from expired\n  cross join clock\n  where run.organisation_id = expired.organisation_id\n    and run.connection_id = expired.connection_id\n    and run.id = expired.id\n  returning\n    run.organisation_id,\n    run.connection_id,\n    run.id,\n    run.worker\n),\njudged as (\n  select\n    expired.organisation_id,\n    expired.connection_id,\n    expired.status,\n    expired.failure_count,\n    expired.first_failed_at,\n    crm_sync_failure_is_alarming(\n      'internal',\n      expired.failure_count,\n      clock.at - expired.first_failed_at\n    ) as is_alarming,\n    clock.at + crm_sync_backoff(expired.failure_count, 1, 3600) as not_before_at,\n    clock.at\n  from abandoned\n  inner join expired\n    on expired.organisation_id = abandoned.organisation_id\n    and expired.connection_id = abandoned.connection_id\n  cross join clock\n),\ncounted as (\n  update crm_connections\n  set\n    next_sync_at = judged.not_before_at,\n    not_before_at = judged.not_before_at,\n    first_failed_at = judged.first_failed_at,\n    failure_count = judged.failure_count,\n    status = case when judged.is_alarming then 'error' else judged.status end,\n    status_reason = case\n      when judged.is_alarming\n        then coalesce(status_reason, 'The sync stops again and again before it comes to its end.')\n      else status_reason\n    end,\n    status_changed_at = case\n      when judged.is_alarming and judged.status <> 'error' then judged.at\n      else status_changed_at\n    end\n  from judged\n  where crm_connections.organisation_id = judged.organisation_id\n    and crm_connections.id = judged.connection_id\n    and judged.status <> 'disconnected'\n)\nselect\n  organisation_id as \"organisationId\",\n  connection_id as \"connectionId\",\n  id as \"runId\",\n  worker\nfrom abandoned"};

/**
 * Closes runs whose lease has run out, over all organisations, oldest first: each counts as a failure of
 * its connection, which is due again after a while. Returns them, at most `limit`. By
 * crm_sync_runs_expires_at_idx, then by primary keys; locks the connections for the transaction, then the
 * runs; passes over those that somebody has locked: that is a sign of life. At READ COMMITTED.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * expired as (
 *   select
 *     run.organisation_id,
 *     run.connection_id,
 *     run.id,
 *     connection.status,
 *     least(connection.failure_count, 2147483646) + 1 as failure_count,
 *     coalesce(connection.first_failed_at, (select at from clock)) as first_failed_at
 *   from crm_sync_runs as run
 *   inner join crm_connections as connection
 *     on connection.organisation_id = run.organisation_id
 *     and connection.id = run.connection_id
 *   where run.ended_at is null
 *     and run.expires_at <= (select at from clock)
 *   order by run.expires_at
 *   limit :limit!::integer
 *   for no key update of connection, run skip locked
 * ),
 * abandoned as (
 *   update crm_sync_runs as run
 *   set
 *     ended_at = clock.at,
 *     outcome = 'abandoned'
 *   from expired
 *   cross join clock
 *   where run.organisation_id = expired.organisation_id
 *     and run.connection_id = expired.connection_id
 *     and run.id = expired.id
 *   returning
 *     run.organisation_id,
 *     run.connection_id,
 *     run.id,
 *     run.worker
 * ),
 * judged as (
 *   select
 *     expired.organisation_id,
 *     expired.connection_id,
 *     expired.status,
 *     expired.failure_count,
 *     expired.first_failed_at,
 *     crm_sync_failure_is_alarming(
 *       'internal',
 *       expired.failure_count,
 *       clock.at - expired.first_failed_at
 *     ) as is_alarming,
 *     clock.at + crm_sync_backoff(expired.failure_count, 1, 3600) as not_before_at,
 *     clock.at
 *   from abandoned
 *   inner join expired
 *     on expired.organisation_id = abandoned.organisation_id
 *     and expired.connection_id = abandoned.connection_id
 *   cross join clock
 * ),
 * counted as (
 *   update crm_connections
 *   set
 *     next_sync_at = judged.not_before_at,
 *     not_before_at = judged.not_before_at,
 *     first_failed_at = judged.first_failed_at,
 *     failure_count = judged.failure_count,
 *     status = case when judged.is_alarming then 'error' else judged.status end,
 *     status_reason = case
 *       when judged.is_alarming
 *         then coalesce(status_reason, 'The sync stops again and again before it comes to its end.')
 *       else status_reason
 *     end,
 *     status_changed_at = case
 *       when judged.is_alarming and judged.status <> 'error' then judged.at
 *       else status_changed_at
 *     end
 *   from judged
 *   where crm_connections.organisation_id = judged.organisation_id
 *     and crm_connections.id = judged.connection_id
 *     and judged.status <> 'disconnected'
 * )
 * select
 *   organisation_id as "organisationId",
 *   connection_id as "connectionId",
 *   id as "runId",
 *   worker
 * from abandoned
 * ```
 */
export const syncRunSweep = new PreparedQuery<SyncRunSweepParams,SyncRunSweepResult>('syncRunSweep', syncRunSweepIR);


