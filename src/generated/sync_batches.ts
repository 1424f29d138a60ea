/** Types generated for queries found in "queries/sync_batches.sql" */
import { PreparedQuery } from '../prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type JsonArray = (Json)[];

export type NumberOrString = number | string;

export type NumberOrStringArray = (NumberOrString)[];

export type TimestampInputArray = (TimestampInput)[];

export type booleanArray = (boolean)[];

export type numberArray = (number)[];

export type stringArray = (string)[];

/** 'SyncBatchRecord' parameters type */
export interface SyncBatchRecordParams {
  areLinks: booleanArray;
  batchNumber: number;
  changeVersions: NumberOrStringArray;
  connectionId: string;
  cursorDirections: stringArray;
  cursorEntityTypes: stringArray;
  cursorKinds: stringArray;
  cursorPages: numberArray;
  cursorSyncedTos: TimestampInputArray;
  cursorTokens: stringArray;
  cursorVersions: numberArray;
  directions: stringArray;
  entityTypes: stringArray;
  errors: JsonArray;
  externalIds: stringArray;
  internalIds: stringArray;
  leaseSeconds: number;
  occurredAts: TimestampInputArray;
  organisationId: string;
  retryAfters: numberArray;
  runId: NumberOrString;
  statuses: stringArray;
}

/** 'SyncBatchRecord' return type */
export interface SyncBatchRecordResult {
  conflicts: Json;
  expiresAt: Timestamp | null;
  outcome: string;
}

/** 'SyncBatchRecord' query type */
export interface SyncBatchRecordQuery {
  params: SyncBatchRecordParams;
  result: SyncBatchRecordResult;
}

const syncBatchRecordIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"runId":true,"cursorDirections":true,"cursorEntityTypes":true,"cursorVersions":true,"cursorKinds":true,"cursorSyncedTos":true,"cursorTokens":true,"cursorPages":true,"batchNumber":true,"occurredAts":true,"directions":true,"entityTypes":true,"externalIds":true,"internalIds":true,"statuses":true,"errors":true,"retryAfters":true,"areLinks":true,"changeVersions":true,"leaseSeconds":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1024,"b":1039},{"a":1370,"b":1385},{"a":2108,"b":2123},{"a":4570,"b":4585},{"a":5184,"b":5199},{"a":5507,"b":5522},{"a":5977,"b":5992},{"a":7129,"b":7144},{"a":8382,"b":8397},{"a":9209,"b":9224},{"a":9876,"b":9891},{"a":11149,"b":11164},{"a":12091,"b":12106},{"a":12472,"b":12487},{"a":12841,"b":12856},{"a":14228,"b":14243}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1060,"b":1073},{"a":1421,"b":1434},{"a":2162,"b":2175},{"a":8410,"b":8423},{"a":9264,"b":9277},{"a":9931,"b":9944},{"a":11177,"b":11190},{"a":12193,"b":12206},{"a":12572,"b":12585},{"a":12869,"b":12882},{"a":14279,"b":14292}]},{"name":"runId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1459,"b":1465},{"a":14317,"b":14323}]},{"name":"cursorDirections","required":true,"transform":{"type":"scalar"},"locs":[{"a":1557,"b":1574}]},{"name":"cursorEntityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":1589,"b":1607}]},{"name":"cursorVersions","required":true,"transform":{"type":"scalar"},"locs":[{"a":1622,"b":1637}]},{"name":"cursorKinds","required":true,"transform":{"type":"scalar"},"locs":[{"a":1655,"b":1667}]},{"name":"cursorSyncedTos","required":true,"transform":{"type":"scalar"},"locs":[{"a":1682,"b":1698}]},{"name":"cursorTokens","required":true,"transform":{"type":"scalar"},"locs":[{"a":1720,"b":1733}]},{"name":"cursorPages","required":true,"transform":{"type":"scalar"},"locs":[{"a":1748,"b":1760}]},{"name":"batchNumber","required":true,"transform":{"type":"scalar"},"locs":[{"a":3040,"b":3052},{"a":3149,"b":3161},{"a":13534,"b":13546}]},{"name":"occurredAts","required":true,"transform":{"type":"scalar"},"locs":[{"a":3520,"b":3532}]},{"name":"directions","required":true,"transform":{"type":"scalar"},"locs":[{"a":3554,"b":3565}]},{"name":"entityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":3580,"b":3592}]},{"name":"externalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":3607,"b":3619}]},{"name":"internalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":3634,"b":3646}]},{"name":"statuses","required":true,"transform":{"type":"scalar"},"locs":[{"a":3661,"b":3670}]},{"name":"errors","required":true,"transform":{"type":"scalar"},"locs":[{"a":3685,"b":3692}]},{"name":"retryAfters","required":true,"transform":{"type":"scalar"},"locs":[{"a":3708,"b":3720}]},{"name":"areLinks","required":true,"transform":{"type":"scalar"},"locs":[{"a":3738,"b":3747}]},{"name":"changeVersions","required":true,"transform":{"type":"scalar"},"locs":[{"a":3765,"b":3780}]},{"name":"leaseSeconds","required":true,"transform":{"type":"scalar"},"locs":[{"a":13845,"b":13858}]}],"statement":"-- Records a batch of a run, all or none: events, the failures they open, update or close, the mappings\n-- they make, the changes they push, the moves of cursors, and a sign of life. One row, or none if the\n-- organisation has no such run: `outcome` says what happened (`recorded`; or, and nothing was changed,\n-- `repeated`, `lost`, `out_of_order`, `cursor_conflict` or `cursor_moved_backwards`), `conflicts` which\n-- events, counted from 1, were recorded as failures because the mapping they wanted could not be made.\n-- First everything is decided under locks, and all else hangs on that decision. By primary keys,\n-- contact_external_ids_contact_id_provider_key and the host's key of contacts; locks the connection for\n-- the transaction, then the run, its cursors, mappings, failures and changes. At READ COMMITTED.\nwith clock as materialized (\n  select crm_now() as at\n),\nconnection as (\n  select\n    organisation_id,\n    id,\n    provider,\n    status,\n    next_sync_at\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n  for no key update\n),\nrun as (\n  select\n    run.id,\n    run.batch_number,\n    run.ended_at is null\n      and run.expires_at > (select at from clock)\n      and connection.status <> 'disconnected' as is_held\n  from connection\n  cross join crm_sync_runs as run\n  where run.organisation_id = :organisationId!::uuid\n    and run.connection_id = :connectionId!::uuid\n    and run.id = :runId!::bigint\n  for no key update of run\n),\ncursor_move as (\n  select move.*\n  from unnest(\n    :cursorDirections!::text[],\n    :cursorEntityTypes!::text[],\n    :cursorVersions!::integer[],\n    :cursorKinds!::text[],\n    :cursorSyncedTos!::timestamptz[],\n    :cursorTokens!::text[],\n    :cursorPages!::integer[]\n  ) as move (direction, entity_type, version, kind, synced_to_at, token, page)\n),\ncursor as (\n  select\n    cursor.direction,\n    cursor.entity_type,\n    cursor.version,\n    cursor.kind,\n    cursor.synced_to_at,\n    cursor.page\n  from run\n  cross join cursor_move\n  inner join crm_sync_cursors as cursor\n    on cursor.organisation_id = :organisationId!::uuid\n    and cursor.connection_id = :connectionId!::uuid\n    and cursor.direction = cursor_move.direction\n    and cursor.entity_type = cursor_move.entity_type\n  order by\n    cursor.direction,\n    cursor.entity_type\n  for no key update of cursor\n),\njudged_move as (\n  select\n    coalesce(cursor.version, 0) = cursor_move.version as is_current,\n    -- Pages begin again when synced_to_at moves on, and only then.\n    cursor_move.synced_to_at < cursor.synced_to_at\n      or (\n        cursor_move.kind = 'page'\n        and cursor.kind = 'page'\n        and cursor_move.page < cursor.page\n        and coalesce(cursor_move.synced_to_at, cursor.synced_to_at) is not distinct from cursor.synced_to_at\n      ) as is_backwards\n  from cursor_move\n  left join cursor\n    on cursor.direction = cursor_move.direction\n    and cursor.entity_type = cursor_move.entity_type\n),\ndecision as materialized (\n  select\n    case\n      when :batchNumber!::integer <= run.batch_number then 'repeated'\n      when not run.is_held then 'lost'\n      when :batchNumber!::integer > run.batch_number + 1 then 'out_of_order'\n      when exists (select from judged_move where not is_current) then 'cursor_conflict'\n      when exists (select from judged_move where is_backwards) then 'cursor_moved_backwards'\n      else 'recorded'\n    end as outcome\n  from run\n),\nevent as (\n  select event.*\n  from decision\n  cross join unnest(\n    :occurredAts!::timestamptz[],\n    :directions!::text[],\n    :entityTypes!::text[],\n    :externalIds!::text[],\n    :internalIds!::uuid[],\n    :statuses!::text[],\n    :errors!::jsonb[],\n    :retryAfters!::integer[],\n    :areLinks!::boolean[],\n    :changeVersions!::bigint[]\n  ) with ordinality as event (\n    occurred_at,\n    direction,\n    entity_type,\n    external_id,\n    internal_id,\n    status,\n    error,\n    retry_after_seconds,\n    is_link,\n    change_version,\n    position\n  )\n  where decision.outcome = 'recorded'\n),\nwanted as (\n  select distinct on (event.entity_type, event.external_id)\n    event.entity_type,\n    event.external_id,\n    event.internal_id\n  from event\n  where event.is_link\n    and event.status <> 'error'\n  order by\n    event.entity_type,\n    event.external_id,\n    event.position desc\n),\nexisting as (\n  select\n    mapping.provider,\n    mapping.entity_type,\n    mapping.external_id,\n    mapping.contact_id\n  from wanted\n  cross join connection\n  inner join contact_external_ids as mapping\n    on mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = connection.provider\n    and mapping.entity_type = wanted.entity_type\n    and mapping.external_id = wanted.external_id\n  order by\n    mapping.entity_type,\n    mapping.external_id\n  for no key update of mapping\n),\nseen as (\n  update contact_external_ids as mapping\n  set last_seen_at = now()\n  from existing\n  inner join wanted\n    on wanted.entity_type = existing.entity_type\n    and wanted.external_id = existing.external_id\n    and wanted.internal_id = existing.contact_id\n  where mapping.last_seen_at < now() - interval '1 day'\n    and mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = existing.provider\n    and mapping.entity_type = existing.entity_type\n    and mapping.external_id = existing.external_id\n),\nlinked as (\n  insert into contact_external_ids (\n    organisation_id,\n    provider,\n    entity_type,\n    external_id,\n    contact_id\n  )\n  select\n    :organisationId!::uuid,\n    connection.provider,\n    wanted.entity_type,\n    wanted.external_id,\n    wanted.internal_id\n  from wanted\n  cross join connection\n  where not exists (\n    select\n    from existing\n    where existing.entity_type = wanted.entity_type\n      and existing.external_id = wanted.external_id\n  )\n    -- Deleted since the worker looked: that record alone fails.\n    and exists (\n      select\n      from contacts\n      where contacts.organisation_id = :organisationId!::uuid\n        and contacts.id = wanted.internal_id\n    )\n  order by\n    wanted.entity_type,\n    wanted.external_id\n  on conflict do nothing\n  returning\n    entity_type,\n    external_id,\n    contact_id\n),\nrefused as (\n  select\n    wanted.entity_type,\n    wanted.external_id,\n    jsonb_build_object('kind', 'conflict') || case\n      when existing.contact_id is not null\n        then '{\"retryable\": false, \"message\": \"The external id is linked to another contact.\"}'::jsonb\n      when taken.contact_id is not null\n        then '{\"retryable\": false, \"message\": \"The contact is linked to another external id of this CRM.\"}'\n      else '{\"retryable\": true, \"message\": \"The contact or its link was changed at this very moment.\"}'\n    end as error\n  from wanted\n  cross join connection\n  left join existing\n    on existing.entity_type = wanted.entity_type\n    and existing.external_id = wanted.external_id\n  left join linked\n    on linked.entity_type = wanted.entity_type\n    and linked.external_id = wanted.external_id\n  left join lateral (\n    select other.contact_id\n    from contact_external_ids as other\n    where other.organisation_id = :organisationId!::uuid\n      and other.contact_id = wanted.internal_id\n      and other.provider = connection.provider\n    union all\n    select others.contact_id\n    from linked as others\n    where others.contact_id = wanted.internal_id\n    limit 1\n  ) as taken on true\n  where wanted.internal_id is distinct from coalesce(linked.contact_id, existing.contact_id)\n),\nsettled as (\n  select\n    event.position,\n    event.occurred_at,\n    event.direction,\n    event.entity_type,\n    event.external_id,\n    event.internal_id,\n    case when refused.error is null then event.status else 'error' end as status,\n    coalesce(refused.error, event.error) as error,\n    event.retry_after_seconds,\n    event.change_version,\n    refused.error is not null as is_conflict,\n    case event.direction when 'inbound' then event.external_id else event.internal_id::text end as record_id\n  from event\n  left join refused\n    on event.is_link\n    and event.status <> 'error'\n    and refused.entity_type = event.entity_type\n    and refused.external_id = event.external_id\n),\nlogged as (\n  insert into crm_sync_log (\n    organisation_id,\n    connection_id,\n    occurred_at,\n    direction,\n    entity_type,\n    external_id,\n    internal_id,\n    status,\n    error\n  )\n  select\n    :organisationId!::uuid,\n    :connectionId!::uuid,\n    coalesce(settled.occurred_at, clock.at),\n    settled.direction,\n    settled.entity_type,\n    settled.external_id,\n    settled.internal_id,\n    settled.status,\n    settled.error\n  from settled\n  cross join clock\n  order by settled.position\n),\nlast_outcome as (\n  select distinct on (direction, entity_type, record_id)\n    direction,\n    entity_type,\n    record_id,\n    status,\n    error,\n    retry_after_seconds\n  from settled\n  where record_id is not null\n  order by\n    direction,\n    entity_type,\n    record_id,\n    position desc\n),\nfailing as (\n  select\n    failure.direction,\n    failure.entity_type,\n    failure.record_id,\n    failure.attempts,\n    failure.first_failed_at\n  from last_outcome\n  inner join crm_sync_failures as failure\n    on failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.direction = last_outcome.direction\n    and failure.entity_type = last_outcome.entity_type\n    and failure.record_id = last_outcome.record_id\n  order by\n    failure.direction,\n    failure.record_id,\n    failure.entity_type\n  for update of failure\n),\nclosed as (\n  delete from crm_sync_failures as failure\n  using failing\n  inner join last_outcome\n    on last_outcome.direction = failing.direction\n    and last_outcome.entity_type = failing.entity_type\n    and last_outcome.record_id = failing.record_id\n  where last_outcome.status <> 'error'\n    and failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.direction = failing.direction\n    and failure.entity_type = failing.entity_type\n    and failure.record_id = failing.record_id\n),\njudged_failure as (\n  select\n    last_outcome.direction,\n    last_outcome.entity_type,\n    last_outcome.record_id,\n    last_outcome.error,\n    last_outcome.retry_after_seconds,\n    coalesce(failing.attempts, 0) + 1 as attempts,\n    -- Null does not count; a clock may have been set back.\n    least(failing.first_failed_at, clock.at) as first_failed_at,\n    crm_sync_failure_is_final(\n      last_outcome.error,\n      coalesce(failing.attempts, 0) + 1,\n      clock.at - coalesce(failing.first_failed_at, clock.at)\n    ) as is_final,\n    clock.at\n  from last_outcome\n  cross join clock\n  left join failing\n    on failing.direction = last_outcome.direction\n    and failing.entity_type = last_outcome.entity_type\n    and failing.record_id = last_outcome.record_id\n  where last_outcome.status = 'error'\n),\nfailed as (\n  insert into crm_sync_failures (\n    organisation_id,\n    connection_id,\n    direction,\n    entity_type,\n    record_id,\n    attempts,\n    error,\n    first_failed_at,\n    last_failed_at,\n    next_attempt_at,\n    gave_up_at\n  )\n  select\n    :organisationId!::uuid,\n    :connectionId!::uuid,\n    direction,\n    entity_type,\n    record_id,\n    attempts,\n    error,\n    first_failed_at,\n    at,\n    case\n      when not is_final then at + greatest(\n        crm_sync_backoff(attempts, 60, 21600),\n        make_interval(secs => coalesce(retry_after_seconds, 0))\n      )\n    end,\n    case when is_final then at end\n  from judged_failure\n  order by\n    direction,\n    record_id,\n    entity_type\n  on conflict (organisation_id, connection_id, direction, record_id, entity_type) do update\n  set\n    attempts = excluded.attempts,\n    error = excluded.error,\n    first_failed_at = excluded.first_failed_at,\n    last_failed_at = excluded.last_failed_at,\n    next_attempt_at = excluded.next_attempt_at,\n    gave_up_at = excluded.gave_up_at\n),\npushed as (\n  select\n    change.contact_id,\n    change.version\n  from settled\n  inner join crm_outbound_changes as change\n    on change.organisation_id = :organisationId!::uuid\n    and change.contact_id = settled.internal_id\n    and change.connection_id = :connectionId!::uuid\n    and change.version = settled.change_version\n  -- What somebody is changing at this moment stays to be pushed.\n  for update of change skip locked\n),\ncleared as (\n  delete from crm_outbound_changes as change\n  using pushed\n  where change.organisation_id = :organisationId!::uuid\n    and change.contact_id = pushed.contact_id\n    and change.connection_id = :connectionId!::uuid\n    and change.version = pushed.version\n),\nmoved as (\n  insert into crm_sync_cursors as cursor (\n    organisation_id,\n    connection_id,\n    direction,\n    entity_type,\n    kind,\n    synced_to_at,\n    token,\n    page,\n    moved_at\n  )\n  select\n    :organisationId!::uuid,\n    :connectionId!::uuid,\n    cursor_move.direction,\n    cursor_move.entity_type,\n    cursor_move.kind,\n    cursor_move.synced_to_at,\n    cursor_move.token,\n    cursor_move.page,\n    clock.at\n  from decision\n  cross join cursor_move\n  cross join clock\n  where decision.outcome = 'recorded'\n  on conflict (organisation_id, connection_id, direction, entity_type) do update\n  set\n    kind = excluded.kind,\n    synced_to_at = coalesce(excluded.synced_to_at, cursor.synced_to_at),\n    token = excluded.token,\n    page = excluded.page,\n    version = cursor.version + 1,\n    moved_at = excluded.moved_at\n),\nextended as (\n  update crm_sync_runs as run\n  set\n    batch_number = :batchNumber!::integer,\n    success_count = run.success_count + counted.success_count,\n    skipped_count = run.skipped_count + counted.skipped_count,\n    error_count = run.error_count + counted.error_count,\n    heartbeat_at = clock.at,\n    expires_at = greatest(run.expires_at, clock.at + make_interval(secs => :leaseSeconds!::integer))\n  from decision\n  cross join clock\n  cross join (\n    select\n      count(*) filter (where status = 'success') as success_count,\n      count(*) filter (where status = 'skipped') as skipped_count,\n      count(*) filter (where status = 'error') as error_count\n    from settled\n  ) as counted\n  where decision.outcome = 'recorded'\n    and run.organisation_id = :organisationId!::uuid\n    and run.connection_id = :connectionId!::uuid\n    and run.id = :runId!::bigint\n  returning run.expires_at\n),\npostponed as (\n  update crm_connections\n  set next_sync_at = extended.expires_at\n  from connection\n  cross join extended\n  where crm_connections.organisation_id = connection.organisation_id\n    and crm_connections.id = connection.id\n    and connection.next_sync_at < extended.expires_at\n)\nselect\n  decision.outcome as \"outcome!\",\n  (select expires_at from extended) as \"expiresAt?\",\n  (select coalesce(jsonb_agg(position order by position), '[]') from settled where is_conflict) as \"conflicts!\"\nfrom decision"};

/**
 * Query generated from SQL:
 * ```
 * -- Records a batch of a run, all or none: events, the failures they open, update or close, the mappings
 * -- they make, the changes they push, the moves of cursors, and a sign of life. One row, or none if the
 * -- organisation has no such run: `outcome` says what happened (`recorded`; or, and nothing was changed,
 * -- `repeated`, `lost`, `out_of_order`, `cursor_conflict` or `cursor_moved_backwards`), `conflicts` which
 * -- events, counted from 1, were recorded as failures because the mapping they wanted could not be made.
 * -- First everything is decided under locks, and all else hangs on that decision. By primary keys,
 * -- contact_external_ids_contact_id_provider_key and the host's key of contacts; locks the connection for
 * -- the transaction, then the run, its cursors, mappings, failures and changes. At READ COMMITTED.
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * connection as (
 *   select
 *     organisation_id,
 *     id,
 *     provider,
 *     status,
 *     next_sync_at
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *   for no key update
 * ),
 * run as (
 *   select
 *     run.id,
 *     run.batch_number,
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
 * cursor_move as (
 *   select move.*
 *   from unnest(
 *     :cursorDirections!::text[],
 *     :cursorEntityTypes!::text[],
 *     :cursorVersions!::integer[],
 *     :cursorKinds!::text[],
 *     :cursorSyncedTos!::timestamptz[],
 *     :cursorTokens!::text[],
 *     :cursorPages!::integer[]
 *   ) as move (direction, entity_type, version, kind, synced_to_at, token, page)
 * ),
 * cursor as (
 *   select
 *     cursor.direction,
 *     cursor.entity_type,
 *     cursor.version,
 *     cursor.kind,
 *     cursor.synced_to_at,
 *     cursor.page
 *   from run
 *   cross join cursor_move
 *   inner join crm_sync_cursors as cursor
 *     on cursor.organisation_id = :organisationId!::uuid
 *     and cursor.connection_id = :connectionId!::uuid
 *     and cursor.direction = cursor_move.direction
 *     and cursor.entity_type = cursor_move.entity_type
 *   order by
 *     cursor.direction,
 *     cursor.entity_type
 *   for no key update of cursor
 * ),
 * judged_move as (
 *   select
 *     coalesce(cursor.version, 0) = cursor_move.version as is_current,
 *     -- Pages begin again when synced_to_at moves on, and only then.
 *     cursor_move.synced_to_at < cursor.synced_to_at
 *       or (
 *         cursor_move.kind = 'page'
 *         and cursor.kind = 'page'
 *         and cursor_move.page < cursor.page
 *         and coalesce(cursor_move.synced_to_at, cursor.synced_to_at) is not distinct from cursor.synced_to_at
 *       ) as is_backwards
 *   from cursor_move
 *   left join cursor
 *     on cursor.direction = cursor_move.direction
 *     and cursor.entity_type = cursor_move.entity_type
 * ),
 * decision as materialized (
 *   select
 *     case
 *       when :batchNumber!::integer <= run.batch_number then 'repeated'
 *       when not run.is_held then 'lost'
 *       when :batchNumber!::integer > run.batch_number + 1 then 'out_of_order'
 *       when exists (select from judged_move where not is_current) then 'cursor_conflict'
 *       when exists (select from judged_move where is_backwards) then 'cursor_moved_backwards'
 *       else 'recorded'
 *     end as outcome
 *   from run
 * ),
 * event as (
 *   select event.*
 *   from decision
 *   cross join unnest(
 *     :occurredAts!::timestamptz[],
 *     :directions!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :internalIds!::uuid[],
 *     :statuses!::text[],
 *     :errors!::jsonb[],
 *     :retryAfters!::integer[],
 *     :areLinks!::boolean[],
 *     :changeVersions!::bigint[]
 *   ) with ordinality as event (
 *     occurred_at,
 *     direction,
 *     entity_type,
 *     external_id,
 *     internal_id,
 *     status,
 *     error,
 *     retry_after_seconds,
 *     is_link,
 *     change_version,
 *     position
 *   )
 *   where decision.outcome = 'recorded'
 * ),
 * wanted as (
 *   select distinct on (event.entity_type, event.external_id)
 *     event.entity_type,
 *     event.external_id,
 *     event.internal_id
 *   from event
 *   where event.is_link
 *     and event.status <> 'error'
 *   order by
 *     event.entity_type,
 *     event.external_id,
 *     event.position desc
 * ),
 * existing as (
 *   select
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id,
 *     mapping.contact_id
 *   from wanted
 *   cross join connection
 *   inner join contact_external_ids as mapping
 *     on mapping.organisation_id = :organisationId!::uuid
 *     and mapping.provider = connection.provider
 *     and mapping.entity_type = wanted.entity_type
 *     and mapping.external_id = wanted.external_id
 *   order by
 *     mapping.entity_type,
 *     mapping.external_id
 *   for no key update of mapping
 * ),
 * seen as (
 *   update contact_external_ids as mapping
 *   set last_seen_at = now()
 *   from existing
 *   inner join wanted
 *     on wanted.entity_type = existing.entity_type
 *     and wanted.external_id = existing.external_id
 *     and wanted.internal_id = existing.contact_id
 *   where mapping.last_seen_at < now() - interval '1 day'
 *     and mapping.organisation_id = :organisationId!::uuid
 *     and mapping.provider = existing.provider
 *     and mapping.entity_type = existing.entity_type
 *     and mapping.external_id = existing.external_id
 * ),
 * linked as (
 *   insert into contact_external_ids (
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id
 *   )
 *   select
 *     :organisationId!::uuid,
 *     connection.provider,
 *     wanted.entity_type,
 *     wanted.external_id,
 *     wanted.internal_id
 *   from wanted
 *   cross join connection
 *   where not exists (
 *     select
 *     from existing
 *     where existing.entity_type = wanted.entity_type
 *       and existing.external_id = wanted.external_id
 *   )
 *     -- Deleted since the worker looked: that record alone fails.
 *     and exists (
 *       select
 *       from contacts
 *       where contacts.organisation_id = :organisationId!::uuid
 *         and contacts.id = wanted.internal_id
 *     )
 *   order by
 *     wanted.entity_type,
 *     wanted.external_id
 *   on conflict do nothing
 *   returning
 *     entity_type,
 *     external_id,
 *     contact_id
 * ),
 * refused as (
 *   select
 *     wanted.entity_type,
 *     wanted.external_id,
 *     jsonb_build_object('kind', 'conflict') || case
 *       when existing.contact_id is not null
 *         then '{"retryable": false, "message": "The external id is linked to another contact."}'::jsonb
 *       when taken.contact_id is not null
 *         then '{"retryable": false, "message": "The contact is linked to another external id of this CRM."}'
 *       else '{"retryable": true, "message": "The contact or its link was changed at this very moment."}'
 *     end as error
 *   from wanted
 *   cross join connection
 *   left join existing
 *     on existing.entity_type = wanted.entity_type
 *     and existing.external_id = wanted.external_id
 *   left join linked
 *     on linked.entity_type = wanted.entity_type
 *     and linked.external_id = wanted.external_id
 *   left join lateral (
 *     select other.contact_id
 *     from contact_external_ids as other
 *     where other.organisation_id = :organisationId!::uuid
 *       and other.contact_id = wanted.internal_id
 *       and other.provider = connection.provider
 *     union all
 *     select others.contact_id
 *     from linked as others
 *     where others.contact_id = wanted.internal_id
 *     limit 1
 *   ) as taken on true
 *   where wanted.internal_id is distinct from coalesce(linked.contact_id, existing.contact_id)
 * ),
 * settled as (
 *   select
 *     event.position,
 *     event.occurred_at,
 *     event.direction,
 *     event.entity_type,
 *     event.external_id,
 *     event.internal_id,
 *     case when refused.error is null then event.status else 'error' end as status,
 *     coalesce(refused.error, event.error) as error,
 *     event.retry_after_seconds,
 *     event.change_version,
 *     refused.error is not null as is_conflict,
 *     case event.direction when 'inbound' then event.external_id else event.internal_id::text end as record_id
 *   from event
 *   left join refused
 *     on event.is_link
 *     and event.status <> 'error'
 *     and refused.entity_type = event.entity_type
 *     and refused.external_id = event.external_id
 * ),
 * logged as (
 *   insert into crm_sync_log (
 *     organisation_id,
 *     connection_id,
 *     occurred_at,
 *     direction,
 *     entity_type,
 *     external_id,
 *     internal_id,
 *     status,
 *     error
 *   )
 *   select
 *     :organisationId!::uuid,
 *     :connectionId!::uuid,
 *     coalesce(settled.occurred_at, clock.at),
 *     settled.direction,
 *     settled.entity_type,
 *     settled.external_id,
 *     settled.internal_id,
 *     settled.status,
 *     settled.error
 *   from settled
 *   cross join clock
 *   order by settled.position
 * ),
 * last_outcome as (
 *   select distinct on (direction, entity_type, record_id)
 *     direction,
 *     entity_type,
 *     record_id,
 *     status,
 *     error,
 *     retry_after_seconds
 *   from settled
 *   where record_id is not null
 *   order by
 *     direction,
 *     entity_type,
 *     record_id,
 *     position desc
 * ),
 * failing as (
 *   select
 *     failure.direction,
 *     failure.entity_type,
 *     failure.record_id,
 *     failure.attempts,
 *     failure.first_failed_at
 *   from last_outcome
 *   inner join crm_sync_failures as failure
 *     on failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.direction = last_outcome.direction
 *     and failure.entity_type = last_outcome.entity_type
 *     and failure.record_id = last_outcome.record_id
 *   order by
 *     failure.direction,
 *     failure.record_id,
 *     failure.entity_type
 *   for update of failure
 * ),
 * closed as (
 *   delete from crm_sync_failures as failure
 *   using failing
 *   inner join last_outcome
 *     on last_outcome.direction = failing.direction
 *     and last_outcome.entity_type = failing.entity_type
 *     and last_outcome.record_id = failing.record_id
 *   where last_outcome.status <> 'error'
 *     and failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.direction = failing.direction
 *     and failure.entity_type = failing.entity_type
 *     and failure.record_id = failing.record_id
 * ),
 * judged_failure as (
 *   select
 *     last_outcome.direction,
 *     last_outcome.entity_type,
 *     last_outcome.record_id,
 *     last_outcome.error,
 *     last_outcome.retry_after_seconds,
 *     coalesce(failing.attempts, 0) + 1 as attempts,
 *     -- Null does not count; a clock may have been set back.
 *     least(failing.first_failed_at, clock.at) as first_failed_at,
 *     crm_sync_failure_is_final(
 *       last_outcome.error,
 *       coalesce(failing.attempts, 0) + 1,
 *       clock.at - coalesce(failing.first_failed_at, clock.at)
 *     ) as is_final,
 *     clock.at
 *   from last_outcome
 *   cross join clock
 *   left join failing
 *     on failing.direction = last_outcome.direction
 *     and failing.entity_type = last_outcome.entity_type
 *     and failing.record_id = last_outcome.record_id
 *   where last_outcome.status = 'error'
 * ),
 * failed as (
 *   insert into crm_sync_failures (
 *     organisation_id,
 *     connection_id,
 *     direction,
 *     entity_type,
 *     record_id,
 *     attempts,
 *     error,
 *     first_failed_at,
 *     last_failed_at,
 *     next_attempt_at,
 *     gave_up_at
 *   )
 *   select
 *     :organisationId!::uuid,
 *     :connectionId!::uuid,
 *     direction,
 *     entity_type,
 *     record_id,
 *     attempts,
 *     error,
 *     first_failed_at,
 *     at,
 *     case
 *       when not is_final then at + greatest(
 *         crm_sync_backoff(attempts, 60, 21600),
 *         make_interval(secs => coalesce(retry_after_seconds, 0))
 *       )
 *     end,
 *     case when is_final then at end
 *   from judged_failure
 *   order by
 *     direction,
 *     record_id,
 *     entity_type
 *   on conflict (organisation_id, connection_id, direction, record_id, entity_type) do update
 *   set
 *     attempts = excluded.attempts,
 *     error = excluded.error,
 *     first_failed_at = excluded.first_failed_at,
 *     last_failed_at = excluded.last_failed_at,
 *     next_attempt_at = excluded.next_attempt_at,
 *     gave_up_at = excluded.gave_up_at
 * ),
 * pushed as (
 *   select
 *     change.contact_id,
 *     change.version
 *   from settled
 *   inner join crm_outbound_changes as change
 *     on change.organisation_id = :organisationId!::uuid
 *     and change.contact_id = settled.internal_id
 *     and change.connection_id = :connectionId!::uuid
 *     and change.version = settled.change_version
 *   -- What somebody is changing at this moment stays to be pushed.
 *   for update of change skip locked
 * ),
 * cleared as (
 *   delete from crm_outbound_changes as change
 *   using pushed
 *   where change.organisation_id = :organisationId!::uuid
 *     and change.contact_id = pushed.contact_id
 *     and change.connection_id = :connectionId!::uuid
 *     and change.version = pushed.version
 * ),
 * moved as (
 *   insert into crm_sync_cursors as cursor (
 *     organisation_id,
 *     connection_id,
 *     direction,
 *     entity_type,
 *     kind,
 *     synced_to_at,
 *     token,
 *     page,
 *     moved_at
 *   )
 *   select
 *     :organisationId!::uuid,
 *     :connectionId!::uuid,
 *     cursor_move.direction,
 *     cursor_move.entity_type,
 *     cursor_move.kind,
 *     cursor_move.synced_to_at,
 *     cursor_move.token,
 *     cursor_move.page,
 *     clock.at
 *   from decision
 *   cross join cursor_move
 *   cross join clock
 *   where decision.outcome = 'recorded'
 *   on conflict (organisation_id, connection_id, direction, entity_type) do update
 *   set
 *     kind = excluded.kind,
 *     synced_to_at = coalesce(excluded.synced_to_at, cursor.synced_to_at),
 *     token = excluded.token,
 *     page = excluded.page,
 *     version = cursor.version + 1,
 *     moved_at = excluded.moved_at
 * ),
 * extended as (
 *   update crm_sync_runs as run
 *   set
 *     batch_number = :batchNumber!::integer,
 *     success_count = run.success_count + counted.success_count,
 *     skipped_count = run.skipped_count + counted.skipped_count,
 *     error_count = run.error_count + counted.error_count,
 *     heartbeat_at = clock.at,
 *     expires_at = greatest(run.expires_at, clock.at + make_interval(secs => :leaseSeconds!::integer))
 *   from decision
 *   cross join clock
 *   cross join (
 *     select
 *       count(*) filter (where status = 'success') as success_count,
 *       count(*) filter (where status = 'skipped') as skipped_count,
 *       count(*) filter (where status = 'error') as error_count
 *     from settled
 *   ) as counted
 *   where decision.outcome = 'recorded'
 *     and run.organisation_id = :organisationId!::uuid
 *     and run.connection_id = :connectionId!::uuid
 *     and run.id = :runId!::bigint
 *   returning run.expires_at
 * ),
 * postponed as (
 *   update crm_connections
 *   set next_sync_at = extended.expires_at
 *   from connection
 *   cross join extended
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.next_sync_at < extended.expires_at
 * )
 * select
 *   decision.outcome as "outcome!",
 *   (select expires_at from extended) as "expiresAt?",
 *   (select coalesce(jsonb_agg(position order by position), '[]') from settled where is_conflict) as "conflicts!"
 * from decision
 * ```
 */
export const syncBatchRecord = new PreparedQuery<SyncBatchRecordParams,SyncBatchRecordResult>('syncBatchRecord', syncBatchRecordIR);


