/** Types generated for queries found in "queries/sync_batches.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** What {@link syncBatchRecord} takes. */
export interface SyncBatchRecordParams {
  areLinks: boolean[];
  batchNumber: number;
  changeVersions: (number | string)[];
  connectionId: string;
  cursorDirections: string[];
  cursorEntityTypes: string[];
  cursorKinds: string[];
  cursorPages: number[];
  cursorSyncedTos: TimestampInput[];
  cursorTokens: string[];
  cursorVersions: number[];
  directions: string[];
  entityTypes: string[];
  errors: Json[];
  externalIds: string[];
  internalIds: string[];
  leaseSeconds: number;
  occurredAts: TimestampInput[];
  organisationId: string;
  retryAfters: number[];
  runId: number | string;
  statuses: string[];
}

/** A row of {@link syncBatchRecord}. */
export interface SyncBatchRecordResult {
  conflicts: Json;
  expiresAt: Timestamp | null;
  outcome: string;
}

const syncBatchRecordIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"runId":true,"cursorDirections":true,"cursorEntityTypes":true,"cursorVersions":true,"cursorKinds":true,"cursorSyncedTos":true,"cursorTokens":true,"cursorPages":true,"batchNumber":true,"occurredAts":true,"directions":true,"entityTypes":true,"externalIds":true,"internalIds":true,"statuses":true,"errors":true,"retryAfters":true,"areLinks":true,"changeVersions":true,"leaseSeconds":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1019,"b":1034},{"a":1365,"b":1380},{"a":2103,"b":2118},{"a":3381,"b":3396},{"a":5018,"b":5033},{"a":5515,"b":5530},{"a":5838,"b":5853},{"a":6213,"b":6228},{"a":6881,"b":6896},{"a":8362,"b":8377},{"a":9100,"b":9115},{"a":9703,"b":9718},{"a":11623,"b":11638},{"a":12083,"b":12098},{"a":12462,"b":12477},{"a":13849,"b":13864}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1055,"b":1068},{"a":1416,"b":1429},{"a":2157,"b":2170},{"a":3439,"b":3452},{"a":8390,"b":8403},{"a":9155,"b":9168},{"a":9731,"b":9744},{"a":11730,"b":11743},{"a":12184,"b":12197},{"a":12490,"b":12503},{"a":13900,"b":13913}]},{"name":"runId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1454,"b":1460},{"a":3484,"b":3490},{"a":13938,"b":13944}]},{"name":"cursorDirections","required":true,"transform":{"type":"scalar"},"locs":[{"a":1552,"b":1569}]},{"name":"cursorEntityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":1584,"b":1602}]},{"name":"cursorVersions","required":true,"transform":{"type":"scalar"},"locs":[{"a":1617,"b":1632}]},{"name":"cursorKinds","required":true,"transform":{"type":"scalar"},"locs":[{"a":1650,"b":1662}]},{"name":"cursorSyncedTos","required":true,"transform":{"type":"scalar"},"locs":[{"a":1677,"b":1693}]},{"name":"cursorTokens","required":true,"transform":{"type":"scalar"},"locs":[{"a":1715,"b":1728}]},{"name":"cursorPages","required":true,"transform":{"type":"scalar"},"locs":[{"a":1743,"b":1755}]},{"name":"batchNumber","required":true,"transform":{"type":"scalar"},"locs":[{"a":3035,"b":3047},{"a":3532,"b":3544},{"a":13155,"b":13167}]},{"name":"occurredAts","required":true,"transform":{"type":"scalar"},"locs":[{"a":3903,"b":3915}]},{"name":"directions","required":true,"transform":{"type":"scalar"},"locs":[{"a":3937,"b":3948}]},{"name":"entityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":3963,"b":3975}]},{"name":"externalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":3990,"b":4002}]},{"name":"internalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":4017,"b":4029}]},{"name":"statuses","required":true,"transform":{"type":"scalar"},"locs":[{"a":4044,"b":4053}]},{"name":"errors","required":true,"transform":{"type":"scalar"},"locs":[{"a":4068,"b":4075}]},{"name":"retryAfters","required":true,"transform":{"type":"scalar"},"locs":[{"a":4091,"b":4103}]},{"name":"areLinks","required":true,"transform":{"type":"scalar"},"locs":[{"a":4121,"b":4130}]},{"name":"changeVersions","required":true,"transform":{"type":"scalar"},"locs":[{"a":4148,"b":4163}]},{"name":"leaseSeconds","required":true,"transform":{"type":"scalar"},"locs":[{"a":13466,"b":13479}]}],"statement":"-- Records a batch of a run, all or none: events, the failures they open, update or close, the mappings\n-- they make, the changes they push, the moves of cursors, and a sign of life. One row, or none if the\n-- organisation has no such run: `outcome` says what happened (`recorded`; or, and nothing was changed,\n-- `repeated`, `lost`, `stale`, `out_of_order`, `cursor_conflict` or `cursor_moved_backwards`), `conflicts`\n-- which events, counted from 1, were recorded as failures because the mapping they wanted could not be\n-- made. First everything is decided under locks, and all else hangs on that decision. By primary keys,\n-- contact_external_ids_contact_id_provider_key and the host's key of contacts; locks the connection for\n-- the transaction, then the run and its cursors, then the rest. At READ COMMITTED.\nwith clock as materialized (\n  select crm_now() as at\n),\nconnection as (\n  select\n    organisation_id,\n    id,\n    provider,\n    status,\n    next_sync_at\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n  for no key update\n),\nrun as (\n  select\n    run.id,\n    run.batch_number,\n    run.ended_at is null\n      and run.expires_at > (select at from clock)\n      and connection.status <> 'disconnected' as is_held\n  from connection\n  cross join crm_sync_runs as run\n  where run.organisation_id = :organisationId!::uuid\n    and run.connection_id = :connectionId!::uuid\n    and run.id = :runId!::bigint\n  for no key update of run\n),\ncursor_move as (\n  select move.*\n  from unnest(\n    :cursorDirections!::text[],\n    :cursorEntityTypes!::text[],\n    :cursorVersions!::integer[],\n    :cursorKinds!::text[],\n    :cursorSyncedTos!::timestamptz[],\n    :cursorTokens!::text[],\n    :cursorPages!::integer[]\n  ) as move (direction, entity_type, version, kind, synced_to_at, token, page)\n),\ncursor as (\n  select\n    cursor.direction,\n    cursor.entity_type,\n    cursor.version,\n    cursor.kind,\n    cursor.synced_to_at,\n    cursor.page\n  from run\n  cross join cursor_move\n  inner join crm_sync_cursors as cursor\n    on cursor.organisation_id = :organisationId!::uuid\n    and cursor.connection_id = :connectionId!::uuid\n    and cursor.direction = cursor_move.direction\n    and cursor.entity_type = cursor_move.entity_type\n  order by\n    cursor.direction,\n    cursor.entity_type\n  for no key update of cursor\n),\njudged_move as (\n  select\n    coalesce(cursor.version, 0) = cursor_move.version as is_current,\n    -- Pages begin again when synced_to_at moves on, and only then.\n    cursor_move.synced_to_at < cursor.synced_to_at\n      or (\n        cursor_move.kind = 'page'\n        and cursor.kind = 'page'\n        and cursor_move.page < cursor.page\n        and coalesce(cursor_move.synced_to_at, cursor.synced_to_at) is not distinct from cursor.synced_to_at\n      ) as is_backwards\n  from cursor_move\n  left join cursor\n    on cursor.direction = cursor_move.direction\n    and cursor.entity_type = cursor_move.entity_type\n),\ndecision as materialized (\n  select\n    case\n      when :batchNumber!::integer <= run.batch_number then 'repeated'\n      when not run.is_held then 'lost'\n      -- Another batch was recorded while this one waited for the connection: what it wrote is not seen here.\n      when run.batch_number <> (\n        select seen.batch_number\n        from crm_sync_runs as seen\n        where seen.organisation_id = :organisationId!::uuid\n          and seen.connection_id = :connectionId!::uuid\n          and seen.id = :runId!::bigint\n      ) then 'stale'\n      when :batchNumber!::integer > run.batch_number + 1 then 'out_of_order'\n      when exists (select from judged_move where not is_current) then 'cursor_conflict'\n      when exists (select from judged_move where is_backwards) then 'cursor_moved_backwards'\n      else 'recorded'\n    end as outcome\n  from run\n),\nevent as (\n  select event.*\n  from decision\n  cross join unnest(\n    :occurredAts!::timestamptz[],\n    :directions!::text[],\n    :entityTypes!::text[],\n    :externalIds!::text[],\n    :internalIds!::uuid[],\n    :statuses!::text[],\n    :errors!::jsonb[],\n    :retryAfters!::integer[],\n    :areLinks!::boolean[],\n    :changeVersions!::bigint[]\n  ) with ordinality as event (\n    occurred_at,\n    direction,\n    entity_type,\n    external_id,\n    internal_id,\n    status,\n    error,\n    retry_after_seconds,\n    is_link,\n    change_version,\n    position\n  )\n  where decision.outcome = 'recorded'\n),\nwanted as (\n  select distinct on (event.entity_type, event.external_id)\n    event.position,\n    event.entity_type,\n    event.external_id,\n    event.internal_id\n  from event\n  where event.is_link\n    and event.status <> 'error'\n  order by\n    event.entity_type,\n    event.external_id,\n    event.position desc\n),\nexisting as (\n  select\n    wanted.position,\n    wanted.internal_id,\n    mapping.provider,\n    mapping.entity_type,\n    mapping.external_id,\n    mapping.contact_id\n  from wanted\n  cross join connection\n  inner join contact_external_ids as mapping\n    on mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = connection.provider\n    and mapping.entity_type = wanted.entity_type\n    and mapping.external_id = wanted.external_id\n  order by\n    mapping.entity_type,\n    mapping.external_id\n  for no key update of mapping\n),\nseen as (\n  update contact_external_ids as mapping\n  set last_seen_at = now()\n  from existing\n  where existing.contact_id = existing.internal_id\n    and mapping.last_seen_at < now() - interval '1 day'\n    and mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = existing.provider\n    and mapping.entity_type = existing.entity_type\n    and mapping.external_id = existing.external_id\n),\nlinked as (\n  insert into contact_external_ids (\n    organisation_id,\n    provider,\n    entity_type,\n    external_id,\n    contact_id\n  )\n  select\n    :organisationId!::uuid,\n    connection.provider,\n    wanted.entity_type,\n    wanted.external_id,\n    wanted.internal_id\n  from wanted\n  cross join connection\n  where wanted.position not in (select position from existing)\n    -- Deleted since the worker looked: that record alone fails.\n    and exists (\n      select\n      from contacts\n      where contacts.organisation_id = :organisationId!::uuid\n        and contacts.id = wanted.internal_id\n    )\n  order by\n    wanted.entity_type,\n    wanted.external_id\n  on conflict do nothing\n  returning\n    entity_type,\n    external_id,\n    contact_id\n),\nrefused as (\n  select\n    position,\n    '{\"kind\": \"conflict\", \"retryable\": false, \"message\": \"The external id is linked to another contact.\"}'::jsonb as error\n  from existing\n  where contact_id <> internal_id\n  union all\n  select\n    wanted.position,\n    case\n      when wanted.internal_id in (select contact_id from linked)\n        or exists (\n          select\n          from contact_external_ids as other\n          where other.organisation_id = :organisationId!::uuid\n            and other.contact_id = wanted.internal_id\n            and other.provider = connection.provider\n        )\n        then '{\"kind\": \"conflict\", \"retryable\": false, \"message\": \"The contact is linked to another external id of this CRM.\"}'::jsonb\n      else '{\"kind\": \"conflict\", \"retryable\": true, \"message\": \"There is no such contact, or its link was changed at this very moment.\"}'\n    end\n  from wanted\n  cross join connection\n  where wanted.position not in (select position from existing)\n    and (wanted.entity_type, wanted.external_id, wanted.internal_id) not in (\n      select\n        entity_type,\n        external_id,\n        contact_id\n      from linked\n    )\n),\nsettled as (\n  select\n    event.position,\n    event.occurred_at,\n    event.direction,\n    event.entity_type,\n    event.external_id,\n    event.internal_id,\n    case when refused.error is null then event.status else 'error' end as status,\n    coalesce(refused.error, event.error) as error,\n    event.retry_after_seconds,\n    event.change_version,\n    refused.error is not null as is_conflict,\n    case event.direction when 'inbound' then event.external_id else event.internal_id::text end as record_id\n  from event\n  left join refused\n    on refused.position = event.position\n),\nlogged as (\n  insert into crm_sync_log (\n    organisation_id,\n    connection_id,\n    occurred_at,\n    direction,\n    entity_type,\n    external_id,\n    internal_id,\n    status,\n    error\n  )\n  select\n    :organisationId!::uuid,\n    :connectionId!::uuid,\n    coalesce(settled.occurred_at, clock.at),\n    settled.direction,\n    settled.entity_type,\n    settled.external_id,\n    settled.internal_id,\n    settled.status,\n    settled.error\n  from settled\n  cross join clock\n  order by settled.position\n),\nlast_outcome as (\n  select distinct on (direction, entity_type, record_id)\n    direction,\n    entity_type,\n    record_id,\n    status,\n    error,\n    retry_after_seconds\n  from settled\n  where record_id is not null\n  order by\n    direction,\n    entity_type,\n    record_id,\n    position desc\n),\nclosed as (\n  delete from crm_sync_failures as failure\n  using last_outcome\n  where last_outcome.status <> 'error'\n    and failure.organisation_id = :organisationId!::uuid\n    and failure.connection_id = :connectionId!::uuid\n    and failure.direction = last_outcome.direction\n    and failure.record_id = last_outcome.record_id\n    -- A push is of our contact, whatever the CRM calls the record.\n    and (failure.entity_type = last_outcome.entity_type or failure.direction = 'outbound')\n),\nfailed as (\n  insert into crm_sync_failures as failure (\n    organisation_id,\n    connection_id,\n    direction,\n    entity_type,\n    record_id,\n    attempts,\n    error,\n    first_failed_at,\n    last_failed_at,\n    next_attempt_at,\n    gave_up_at\n  )\n  select\n    :organisationId!::uuid,\n    :connectionId!::uuid,\n    last_outcome.direction,\n    last_outcome.entity_type,\n    last_outcome.record_id,\n    1,\n    last_outcome.error,\n    clock.at,\n    clock.at,\n    case\n      when not crm_sync_failure_is_final(last_outcome.error, 1, interval '0') then clock.at + greatest(\n        crm_sync_backoff(1, 60, 21600),\n        make_interval(secs => coalesce(last_outcome.retry_after_seconds, 0))\n      )\n    end,\n    case when crm_sync_failure_is_final(last_outcome.error, 1, interval '0') then clock.at end\n  from last_outcome\n  cross join clock\n  where last_outcome.status = 'error'\n  order by\n    last_outcome.direction,\n    last_outcome.record_id,\n    last_outcome.entity_type\n  on conflict (organisation_id, connection_id, direction, record_id, entity_type) do update\n  set\n    attempts = failure.attempts + 1,\n    error = excluded.error,\n    -- A clock may have been set back.\n    first_failed_at = least(failure.first_failed_at, excluded.last_failed_at),\n    last_failed_at = excluded.last_failed_at,\n    next_attempt_at = case\n      when not crm_sync_failure_is_final(\n        excluded.error,\n        failure.attempts + 1,\n        excluded.last_failed_at - failure.first_failed_at\n      ) then excluded.last_failed_at + greatest(\n        crm_sync_backoff(failure.attempts + 1, 60, 21600),\n        -- As long as the CRM asks; else shorter than the other.\n        excluded.next_attempt_at - excluded.last_failed_at\n      )\n    end,\n    gave_up_at = case\n      when crm_sync_failure_is_final(\n        excluded.error,\n        failure.attempts + 1,\n        excluded.last_failed_at - failure.first_failed_at\n      ) then excluded.last_failed_at\n    end\n),\npushed as (\n  select\n    change.contact_id,\n    change.version\n  from settled\n  cross join lateral (\n    select\n      change.contact_id,\n      change.version\n    from crm_outbound_changes as change\n    where change.organisation_id = :organisationId!::uuid\n      and change.contact_id = settled.internal_id\n      and (change.connection_id = :connectionId!::uuid) is true\n      and change.version = settled.change_version\n    limit 1\n    -- What somebody is changing at this moment stays to be pushed.\n    for update skip locked\n  ) as change\n  where settled.change_version is not null\n),\ncleared as (\n  delete from crm_outbound_changes as change\n  using pushed\n  where change.organisation_id = :organisationId!::uuid\n    and change.contact_id = pushed.contact_id\n    and (change.connection_id = :connectionId!::uuid) is true\n    and change.version = pushed.version\n),\nmoved as (\n  insert into crm_sync_cursors as cursor (\n    organisation_id,\n    connection_id,\n    direction,\n    entity_type,\n    kind,\n    synced_to_at,\n    token,\n    page,\n    moved_at\n  )\n  select\n    :organisationId!::uuid,\n    :connectionId!::uuid,\n    cursor_move.direction,\n    cursor_move.entity_type,\n    cursor_move.kind,\n    cursor_move.synced_to_at,\n    cursor_move.token,\n    cursor_move.page,\n    clock.at\n  from decision\n  cross join cursor_move\n  cross join clock\n  where decision.outcome = 'recorded'\n  on conflict (organisation_id, connection_id, direction, entity_type) do update\n  set\n    kind = excluded.kind,\n    synced_to_at = coalesce(excluded.synced_to_at, cursor.synced_to_at),\n    token = excluded.token,\n    page = excluded.page,\n    version = cursor.version + 1,\n    moved_at = excluded.moved_at\n),\nextended as (\n  update crm_sync_runs as run\n  set\n    batch_number = :batchNumber!::integer,\n    success_count = run.success_count + counted.success_count,\n    skipped_count = run.skipped_count + counted.skipped_count,\n    error_count = run.error_count + counted.error_count,\n    heartbeat_at = clock.at,\n    expires_at = greatest(run.expires_at, clock.at + make_interval(secs => :leaseSeconds!::integer))\n  from decision\n  cross join clock\n  cross join (\n    select\n      count(*) filter (where status = 'success') as success_count,\n      count(*) filter (where status = 'skipped') as skipped_count,\n      count(*) filter (where status = 'error') as error_count\n    from settled\n  ) as counted\n  where decision.outcome = 'recorded'\n    and run.organisation_id = :organisationId!::uuid\n    and run.connection_id = :connectionId!::uuid\n    and run.id = :runId!::bigint\n  returning run.expires_at\n),\npostponed as (\n  update crm_connections\n  set next_sync_at = extended.expires_at\n  from connection\n  cross join extended\n  where crm_connections.organisation_id = connection.organisation_id\n    and crm_connections.id = connection.id\n    and connection.next_sync_at < extended.expires_at\n)\nselect\n  decision.outcome as \"outcome!\",\n  (select expires_at from extended) as \"expiresAt?\",\n  (select coalesce(jsonb_agg(position order by position), '[]') from settled where is_conflict) as \"conflicts!\"\nfrom decision"};

/**
 * Records a batch of a run, all or none: events, the failures they open, update or close, the mappings
 * they make, the changes they push, the moves of cursors, and a sign of life. One row, or none if the
 * organisation has no such run: `outcome` says what happened (`recorded`; or, and nothing was changed,
 * `repeated`, `lost`, `stale`, `out_of_order`, `cursor_conflict` or `cursor_moved_backwards`), `conflicts`
 * which events, counted from 1, were recorded as failures because the mapping they wanted could not be
 * made. First everything is decided under locks, and all else hangs on that decision. By primary keys,
 * contact_external_ids_contact_id_provider_key and the host's key of contacts; locks the connection for
 * the transaction, then the run and its cursors, then the rest. At READ COMMITTED.
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
 *       -- Another batch was recorded while this one waited for the connection: what it wrote is not seen here.
 *       when run.batch_number <> (
 *         select seen.batch_number
 *         from crm_sync_runs as seen
 *         where seen.organisation_id = :organisationId!::uuid
 *           and seen.connection_id = :connectionId!::uuid
 *           and seen.id = :runId!::bigint
 *       ) then 'stale'
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
 *     event.position,
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
 *     wanted.position,
 *     wanted.internal_id,
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
 *   where existing.contact_id = existing.internal_id
 *     and mapping.last_seen_at < now() - interval '1 day'
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
 *   where wanted.position not in (select position from existing)
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
 *     position,
 *     '{"kind": "conflict", "retryable": false, "message": "The external id is linked to another contact."}'::jsonb as error
 *   from existing
 *   where contact_id <> internal_id
 *   union all
 *   select
 *     wanted.position,
 *     case
 *       when wanted.internal_id in (select contact_id from linked)
 *         or exists (
 *           select
 *           from contact_external_ids as other
 *           where other.organisation_id = :organisationId!::uuid
 *             and other.contact_id = wanted.internal_id
 *             and other.provider = connection.provider
 *         )
 *         then '{"kind": "conflict", "retryable": false, "message": "The contact is linked to another external id of this CRM."}'::jsonb
 *       else '{"kind": "conflict", "retryable": true, "message": "There is no such contact, or its link was changed at this very moment."}'
 *     end
 *   from wanted
 *   cross join connection
 *   where wanted.position not in (select position from existing)
 *     and (wanted.entity_type, wanted.external_id, wanted.internal_id) not in (
 *       select
 *         entity_type,
 *         external_id,
 *         contact_id
 *       from linked
 *     )
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
 *     on refused.position = event.position
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
 * closed as (
 *   delete from crm_sync_failures as failure
 *   using last_outcome
 *   where last_outcome.status <> 'error'
 *     and failure.organisation_id = :organisationId!::uuid
 *     and failure.connection_id = :connectionId!::uuid
 *     and failure.direction = last_outcome.direction
 *     and failure.record_id = last_outcome.record_id
 *     -- A push is of our contact, whatever the CRM calls the record.
 *     and (failure.entity_type = last_outcome.entity_type or failure.direction = 'outbound')
 * ),
 * failed as (
 *   insert into crm_sync_failures as failure (
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
 *     last_outcome.direction,
 *     last_outcome.entity_type,
 *     last_outcome.record_id,
 *     1,
 *     last_outcome.error,
 *     clock.at,
 *     clock.at,
 *     case
 *       when not crm_sync_failure_is_final(last_outcome.error, 1, interval '0') then clock.at + greatest(
 *         crm_sync_backoff(1, 60, 21600),
 *         make_interval(secs => coalesce(last_outcome.retry_after_seconds, 0))
 *       )
 *     end,
 *     case when crm_sync_failure_is_final(last_outcome.error, 1, interval '0') then clock.at end
 *   from last_outcome
 *   cross join clock
 *   where last_outcome.status = 'error'
 *   order by
 *     last_outcome.direction,
 *     last_outcome.record_id,
 *     last_outcome.entity_type
 *   on conflict (organisation_id, connection_id, direction, record_id, entity_type) do update
 *   set
 *     attempts = failure.attempts + 1,
 *     error = excluded.error,
 *     -- A clock may have been set back.
 *     first_failed_at = least(failure.first_failed_at, excluded.last_failed_at),
 *     last_failed_at = excluded.last_failed_at,
 *     next_attempt_at = case
 *       when not crm_sync_failure_is_final(
 *         excluded.error,
 *         failure.attempts + 1,
 *         excluded.last_failed_at - failure.first_failed_at
 *       ) then excluded.last_failed_at + greatest(
 *         crm_sync_backoff(failure.attempts + 1, 60, 21600),
 *         -- As long as the CRM asks; else shorter than the other.
 *         excluded.next_attempt_at - excluded.last_failed_at
 *       )
 *     end,
 *     gave_up_at = case
 *       when crm_sync_failure_is_final(
 *         excluded.error,
 *         failure.attempts + 1,
 *         excluded.last_failed_at - failure.first_failed_at
 *       ) then excluded.last_failed_at
 *     end
 * ),
 * pushed as (
 *   select
 *     change.contact_id,
 *     change.version
 *   from settled
 *   cross join lateral (
 *     select
 *       change.contact_id,
 *       change.version
 *     from crm_outbound_changes as change
 *     where change.organisation_id = :organisationId!::uuid
 *       and change.contact_id = settled.internal_id
 *       and (change.connection_id = :connectionId!::uuid) is true
 *       and change.version = settled.change_version
 *     limit 1
 *     -- What somebody is changing at this moment stays to be pushed.
 *     for update skip locked
 *   ) as change
 *   where settled.change_version is not null
 * ),
 * cleared as (
 *   delete from crm_outbound_changes as change
 *   using pushed
 *   where change.organisation_id = :organisationId!::uuid
 *     and change.contact_id = pushed.contact_id
 *     and (change.connection_id = :connectionId!::uuid) is true
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


