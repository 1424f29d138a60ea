/* @name syncBatchRecord */
-- Records a batch of a run, all or nothing: its events, the failures that they open, update or close, the
-- mappings that they make, what they say of the CRM's records, the changes that they push, the conflicts that they
-- tell (reason `conflict`), cursor moves and a heartbeat. Returns one row, or none if the organisation has no such run. `outcome` is `recorded`; otherwise
-- nothing was changed: `repeated`, `lost`, `stale`, `out_of_order`, `cursor_in_future` or `event_in_future`
-- (crm_latest_time), `cursor_conflict` or `cursor_moved_backwards`. `conflicts` lists the events, counted from 1, that were recorded as failures
-- because their mapping could not be made, or their push was based on another version (`basedOnVersions`)
-- than the one that is known. `contentHashes` are SHA-256 in lower-case hex. Uses primary keys,
-- contact_external_ids_contact_id_provider_key and the host's key of contacts. Locks the connection for the
-- transaction, then the run and its cursors; then, if an event links a contact, the external ids of the
-- organisation at that CRM and the contacts of new links FOR KEY SHARE; then the mappings and aliases in the
-- order of their keys, and the rest. Needs READ COMMITTED. Nulls are allowed in `occurredAts`, `externalIds`,
-- `internalIds`, `errors`, `reasons`, `retryAfters`, `changeVersions`, `remoteVersions`, `remoteModifiedAts`,
-- `remoteStates`, `contentHashes`, `basedOnVersions`, `cursorSyncedTos`, `cursorTokens` and `cursorPages`.

-- The nine steps, and the CTEs of each:
--   1. Lock      clock, connection, run, cursor_move, cursor
--   2. Decide    judged_move, decision
--   3. Records   erased, forgotten, event, identity_lock, contact_lock, told, known, news
--   4. Mappings  linked, noted, noted_alias, settled, orphaned
--   5. Log       logged
--   6. Failures  last_outcome, open_failure, closed, failed, asked, kept_request, forgotten_request, kept_conflict, forgotten_conflict
--   7. Outbound  misplaced, answered, pushed, cleared, owed, conflicted
--   8. Cursors   moved
--   9. Lease     extended, postponed
-- There is one decision for the whole batch. Steps 3 to 9 have rows only if it is recorded: they read event,
-- which depends on it, or decision itself.
--
-- The cost of a batch must not depend on what the planner knows: the statistics of a first sync, or of a
-- connection that has grown, are wrong. So rows are found one by one, each in a subquery with a limit, which
-- leaves only an index look-up. Rows that were found are written by their own keys, never by the parameters
-- alone: for those, the planner could read everything that the connection has.
--
-- Nor must the planner know how many events there are: the arrays come from subqueries, and it expects ten. From an
-- estimated cost of 100,000 on, PostgreSQL up to 18 compiles a statement before it runs it (jit, which is on by
-- default). For this one, that took twenty seconds.

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
    :cursorPages!::integer[],
    :areCursorsStartingOver!::boolean[]
  ) as move (direction, entity_type, version, kind, synced_to_at, token, page, starts_over)
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
    cursor_move.synced_to_at > crm_latest_time((select at from clock)) as is_in_future,
    -- A page may only go back when synced_to_at advances, or the stream was read to its end and begins again.
    cursor_move.synced_to_at < cursor.synced_to_at
      or (
        cursor_move.kind = 'page'
        and cursor.kind = 'page'
        and cursor_move.page < cursor.page
        and cursor_move.starts_over is not true
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
      when exists (select from judged_move where is_in_future) then 'cursor_in_future'
      when (
        select max(occurred_at)
        from unnest(:occurredAts!::timestamptz[]) as occurred_at
      ) > crm_latest_time((select at from clock)) then 'event_in_future'
      when exists (select from judged_move where not is_current) then 'cursor_conflict'
      when exists (select from judged_move where is_backwards) then 'cursor_moved_backwards'
      else 'recorded'
    end as outcome
  from run
),
-- 3. Records ----------------------------------------------------------------------------------------------
-- The events of a recorded batch, and what is known of the record that each is about.
erased as materialized (
  select erased.record_number as position
  from decision
  cross join connection
  cross join lateral crm_find_erased_records(
    :organisationId!::uuid,
    array_fill(connection.provider, array[cardinality(:externalIds!::text[])]),
    :entityTypes!::text[],
    :externalIds!::text[],
    connection.id
  ) as erased
  where decision.outcome = 'recorded'
  union
  select erased.contact_number
  from decision
  cross join lateral crm_find_erased_contacts(:organisationId!::uuid, :internalIds!::uuid[]) as erased
  where decision.outcome = 'recorded'
),
forgotten as materialized (
  select
    given.direction,
    given.entity_type,
    given.external_id,
    given.internal_id,
    given.change_version
  from erased
  inner join unnest(
    (select :directions!::text[]),
    (select :entityTypes!::text[]),
    (select :externalIds!::text[]),
    (select :internalIds!::uuid[]),
    (select :changeVersions!::bigint[])
  ) with ordinality as given (direction, entity_type, external_id, internal_id, change_version, position)
    on given.position = erased.position
),
event as (
  select
    given.occurred_at,
    given.direction,
    given.entity_type,
    kept.external_id,
    kept.internal_id,
    kept.status,
    kept.error,
    kept.reason,
    kept.retry_after_seconds,
    kept.is_link,
    kept.change_version,
    kept.remote_version,
    kept.remote_modified_at,
    kept.remote_state,
    kept.content_hash,
    kept.based_on_version,
    given.position
  from decision
  cross join unnest(
    (select :occurredAts!::timestamptz[]),
    (select :directions!::text[]),
    (select :entityTypes!::text[]),
    (select :externalIds!::text[]),
    (select :internalIds!::uuid[]),
    (select :statuses!::text[]),
    (select :errors!::jsonb[]),
    (select :reasons!::text[]),
    (select :retryAfters!::integer[]),
    (select :areLinks!::boolean[]),
    (select :changeVersions!::bigint[]),
    (select :remoteVersions!::text[]),
    (select :remoteModifiedAts!::timestamptz[]),
    (select :remoteStates!::text[]),
    (select :contentHashes!::text[]),
    (select :basedOnVersions!::text[])
  ) with ordinality as given (
    occurred_at,
    direction,
    entity_type,
    external_id,
    internal_id,
    status,
    error,
    reason,
    retry_after_seconds,
    is_link,
    change_version,
    remote_version,
    remote_modified_at,
    remote_state,
    content_hash,
    based_on_version,
    position
  )
  left join erased
    on erased.position = given.position
  -- Of the record or the contact of an erased person, nothing is recorded but that there was one.
  cross join lateral (
    select
      given.external_id,
      given.internal_id,
      given.status,
      given.error,
      given.reason,
      given.retry_after_seconds,
      given.is_link,
      given.change_version,
      given.remote_version,
      given.remote_modified_at,
      given.remote_state,
      given.content_hash,
      given.based_on_version
    where erased.position is null
    union all
    select
      null,
      null,
      'skipped',
      null,
      'erased',
      null,
      false,
      null,
      null,
      null,
      null,
      null,
      null
    where erased.position is not null
  ) as kept
  where decision.outcome = 'recorded'
),
-- A new mapping takes these two locks as well, but only after the lock on the first row: too late for the order of
-- locks, which is the same everywhere.
identity_lock as materialized (
  select crm_lock_external_ids(:organisationId!::uuid, array[connection.provider])
  from decision
  cross join connection
  where decision.outcome = 'recorded'
    and true = any(:areLinks!::boolean[])
),
contact_lock as materialized (
  select crm_lock_contacts(:organisationId!::uuid, array_agg(event.internal_id))
  from identity_lock
  cross join connection
  cross join event
  left join lateral (
    select contact_id
    from contact_external_ids
    where organisation_id = :organisationId!::uuid
      and provider = connection.provider
      and entity_type = event.entity_type
      and external_id = event.external_id
    limit 1
  ) as mapping on true
  where event.is_link
    and event.status <> 'error'
    and mapping.contact_id is null
  having count(*) > 0
),
-- What the events of a record say together, up to each of them. Each value is the last that is not null: of arrays
-- of (rank, value), the greatest is the last. A push voids the version ('') unless the CRM told the new one, and
-- whatever may have changed the content voids its hash. What failed says nothing, and neither does what was older than
-- what is known. A version and a content are told only by who has taken it, or keeps another that waits to be pushed:
-- else the next read of what was merely skipped would be unchanged.
told as (
  select
    event.position,
    event.occurred_at,
    event.direction,
    event.entity_type,
    event.external_id,
    event.internal_id,
    event.status,
    event.error,
    event.reason,
    event.retry_after_seconds,
    event.is_link,
    event.change_version,
    event.remote_state,
    event.based_on_version,
    event.content_hash,
    event.is_news,
    min(array[rank, internal_id::text]) filter (where is_link) over record as first_link,
    (max(array[rank, version]) filter (where is_news and version is not null) over before)[2] as earlier_version,
    (max(array[rank, version]) filter (where is_news and version is not null) over so_far)[2] as told_version,
    (max(array[rank, remote_state]) filter (where is_news and remote_state is not null) over so_far)[2] as told_state,
    -- A clock that is far ahead must not make everything after it look older.
    max(remote_modified_at) filter (where is_news and remote_modified_at < now() + interval '1 day') over so_far
      as told_modified_at,
    (max(array[rank, hash]) filter (where is_news and is_turn and hash is not null) over so_far)[2] as told_hash,
    -- Whether the content is ours, as after a push, or was read since.
    (max(array[rank, direction]) filter (where is_news and is_turn) over so_far)[2] as told_direction
  from (
    select
      position,
      occurred_at,
      direction,
      entity_type,
      external_id,
      internal_id,
      status,
      error,
      reason,
      retry_after_seconds,
      is_link and status <> 'error' as is_link,
      change_version,
      remote_state,
      remote_modified_at,
      based_on_version,
      content_hash,
      lpad(position::text, 10, '0') as rank,
      status <> 'error' and reason is distinct from 'older' as is_news,
      status = 'success'
        or (direction = 'inbound' and reason in ('echo', 'unchanged', 'pending_push', 'conflict')) as is_turn,
      case when reason in ('echo', 'unchanged') then content_hash else coalesce(content_hash, '') end as hash,
      case
        when direction = 'outbound' and status = 'success' then coalesce(remote_version, '')
        when status = 'success' or reason in ('echo', 'unchanged', 'pending_push') then remote_version
        when direction = 'inbound' and reason = 'conflict' then remote_version
      end as version
    from event
  ) as event
  window
    record as (partition by entity_type collate "C", external_id collate "C"),
    so_far as (record order by position),
    before as (so_far rows between unbounded preceding and 1 preceding)
),
-- The same with the record's row, a mapping or an alias, which is locked. Locks are taken in the order of the keys.
known as (
  select
    told.position,
    told.occurred_at,
    told.direction,
    told.entity_type,
    told.external_id,
    told.internal_id,
    told.status,
    told.error,
    told.reason,
    told.retry_after_seconds,
    told.is_link,
    told.change_version,
    decode(told.content_hash, 'hex') as sent_hash,
    told.is_news,
    told.first_link[1] as first_link_rank,
    told.first_link[2]::uuid as first_contact_id,
    told.told_version,
    told.told_state,
    told.told_modified_at,
    told.told_hash,
    told.told_direction,
    row.organisation_id as row_organisation_id,
    row.provider as row_provider,
    row.entity_type as row_entity_type,
    row.external_id as row_external_id,
    row.is_alias,
    row.contact_id,
    row.last_seen_at,
    row.remote_state,
    row.remote_version,
    row.remote_modified_at,
    row.content_hash,
    row.pushed_at,
    row.replaced_hashes,
    row.replaced_at,
    -- Nobody but a person decides that a record that was deleted or merged is the same person's again.
    told.is_link and row.remote_state in ('deleted', 'merged') and told.remote_state in ('active', 'archived')
      as is_revived,
    told.status <> 'error'
      and told.based_on_version <> nullif(coalesce(told.earlier_version, row.remote_version), '') as is_stale
  from connection
  cross join (
    select told.*
    from told
    -- Always true. It forces those locks before the first of these.
    where (select count(*) from identity_lock) + (select count(*) from contact_lock) >= 0
    order by
      entity_type collate "C",
      external_id collate "C"
  ) as told
  left join lateral (
    select
      mapping.*,
      false as is_alias
    from (
      select
        organisation_id,
        provider,
        entity_type,
        external_id,
        contact_id,
        last_seen_at,
        remote_state,
        remote_version,
        remote_modified_at,
        content_hash,
        pushed_at,
        replaced_hashes,
        replaced_at
      from contact_external_ids
      where told.status <> 'error'
        and organisation_id = :organisationId!::uuid
        and provider = connection.provider
        and entity_type = told.entity_type
        and external_id = told.external_id
      limit 1
      for no key update
    ) as mapping
    union all
    select
      alias.*,
      true as is_alias
    from (
      select
        organisation_id,
        provider,
        entity_type,
        external_id,
        contact_id,
        last_seen_at,
        remote_state,
        remote_version,
        remote_modified_at,
        content_hash,
        pushed_at,
        replaced_hashes,
        replaced_at
      from contact_external_id_aliases
      where told.status <> 'error'
        and organisation_id = :organisationId!::uuid
        and provider = connection.provider
        and entity_type = told.entity_type
        and external_id = told.external_id
      limit 1
      for no key update
    ) as alias
    -- An alias is looked for only if there is no mapping.
    limit 1
  ) as row on true
),
-- The last event of each record that stands, and what is known after it.
news as (
  select
    latest.*,
    (new_state, new_version, new_modified_at, new_hash, new_pushed_at)
      is distinct from (remote_state, remote_version, remote_modified_at, content_hash, pushed_at) as is_changed,
    last_seen_at < now() - interval '1 day' as is_long_unseen,
    -- A list may still show the content that is replaced, also if the new one is not told. Those of more than a day ago
    -- are dropped: with the next write, and a record that is read again is written once a day.
    case
      when is_told_by_time then null
      when is_replaced then crm_add_replaced_hash(replaced_hashes, replaced_at, content_hash)
      when replaced_at > now() - interval '1 day' then replaced_hashes
    end as new_replaced_hashes,
    case
      when is_told_by_time then null
      when is_replaced then now()
      when replaced_at > now() - interval '1 day' then replaced_at
    end as new_replaced_at
  from (
    select distinct on (known.entity_type, known.external_id)
      known.position,
      known.entity_type,
      known.external_id,
      known.row_organisation_id,
      known.row_provider,
      known.row_entity_type,
      known.row_external_id,
      known.is_alias,
      known.contact_id,
      known.first_link_rank,
      known.first_contact_id,
      known.last_seen_at,
      known.remote_state,
      known.remote_version,
      known.remote_modified_at,
      known.content_hash,
      known.pushed_at,
      known.replaced_hashes,
      known.replaced_at,
      -- A tombstone stays: contactExternalIdLink or contactExternalIdUnlink removes it.
      case
        when known.remote_state in ('deleted', 'merged') then known.remote_state
        else coalesce(known.told_state, known.remote_state, 'active')
      end as new_state,
      case
        when known.told_version is null then known.remote_version
        else nullif(known.told_version, '')
      end as new_version,
      coalesce(known.told_modified_at, known.remote_modified_at) as new_modified_at,
      case
        when known.told_hash is null then known.content_hash
        else decode(nullif(known.told_hash, ''), 'hex')
      end as new_hash,
      case
        when known.told_direction is null then known.pushed_at
        when known.told_direction = 'outbound' then now()
      end as new_pushed_at
    from known
    where known.is_news
      and known.external_id is not null
      and known.is_stale is not true
      and known.is_revived is not true
      -- Only the contact that the record means can have taken what the event says.
      and (
        known.internal_id = coalesce(known.contact_id, known.first_contact_id)
        or (known.internal_id is null and not known.is_link)
      )
    order by
      known.entity_type,
      known.external_id,
      known.position desc
  ) as latest
  cross join lateral (
    -- Copies from before have an earlier time.
    select
      coalesce(new_modified_at > remote_modified_at, false) as is_told_by_time,
      content_hash is not null and new_hash is distinct from content_hash as is_replaced
  ) as clock
),
-- 4. Mappings ---------------------------------------------------------------------------------------------
-- Events that link a contact make or confirm its mapping. If a link is refused, its event becomes a failure of
-- kind conflict, and so does a push that was based on an old version: settled lists the events after that. Of
-- links that exclude each other, the first one counts.
linked as (
  insert into contact_external_ids (
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    remote_state,
    remote_version,
    remote_modified_at,
    content_hash,
    pushed_at
  )
  select
    :organisationId!::uuid,
    connection.provider,
    wanted.entity_type,
    wanted.external_id,
    wanted.first_contact_id,
    wanted.new_state,
    wanted.new_version,
    wanted.new_modified_at,
    wanted.new_hash,
    wanted.new_pushed_at
  from (
    select
      entity_type,
      external_id,
      first_contact_id,
      new_state,
      new_version,
      new_modified_at,
      new_hash,
      new_pushed_at,
      first_link_rank = min(first_link_rank) over (partition by first_contact_id) as is_first
    from news
    where contact_id is null
      and first_contact_id is not null
  ) as wanted
  cross join connection
  -- The contact may have been deleted since the worker looked it up. Then only this record fails.
  cross join lateral (
    select
    from contacts
    where organisation_id = :organisationId!::uuid
      and id = wanted.first_contact_id
    limit 1
  ) as contact
  where wanted.is_first
  order by
    wanted.entity_type,
    wanted.external_id
  on conflict do nothing
  returning
    entity_type,
    external_id,
    contact_id
),
noted as (
  update contact_external_ids as mapping
  set
    last_seen_at = case when news.is_long_unseen then now() else mapping.last_seen_at end,
    remote_state = news.new_state,
    remote_version = news.new_version,
    remote_modified_at = news.new_modified_at,
    content_hash = news.new_hash,
    pushed_at = news.new_pushed_at,
    replaced_hashes = news.new_replaced_hashes,
    replaced_at = news.new_replaced_at
  from news
  where not news.is_alias
    and (news.is_changed or news.is_long_unseen)
    and mapping.organisation_id = news.row_organisation_id
    and mapping.provider = news.row_provider
    and mapping.entity_type = news.row_entity_type
    and mapping.external_id = news.row_external_id
    -- Always true. It tells the planner to expect few rows, so that it looks each one up.
    and news.row_external_id = news.external_id
),
noted_alias as (
  update contact_external_id_aliases as alias
  set
    last_seen_at = case when news.is_long_unseen then now() else alias.last_seen_at end,
    remote_state = news.new_state,
    remote_version = news.new_version,
    remote_modified_at = news.new_modified_at,
    content_hash = news.new_hash,
    pushed_at = news.new_pushed_at,
    replaced_hashes = news.new_replaced_hashes,
    replaced_at = news.new_replaced_at
  from news
  where news.is_alias
    and (news.is_changed or news.is_long_unseen)
    and alias.organisation_id = news.row_organisation_id
    and alias.provider = news.row_provider
    and alias.entity_type = news.row_entity_type
    and alias.external_id = news.row_external_id
    -- As above.
    and news.row_external_id = news.external_id
),
settled as (
  select
    known.position,
    known.occurred_at,
    known.direction,
    known.entity_type,
    known.external_id,
    known.internal_id,
    case when refused.error is null then known.status else 'error' end as status,
    coalesce(refused.error, known.error) as error,
    case when refused.error is null then known.reason end as reason,
    known.retry_after_seconds,
    known.change_version,
    known.is_stale,
    bool_or(known.is_stale) over (partition by known.direction, known.internal_id) as is_stale_contact,
    bool_or(known.direction = 'outbound' and known.status = 'error') over (partition by known.internal_id)
      as is_push_refused,
    refused.error is not null as is_conflict,
    case known.direction when 'inbound' then known.external_id else known.internal_id::text end as record_id
  from known
  cross join connection
  cross join lateral (
    select
      case
        when known.is_stale
          then '{"kind": "conflict", "retryable": true, "message": "The record has changed at the CRM since the version that the push was based on."}'::jsonb
        when not known.is_link then null
        when known.contact_id <> known.internal_id
          or (
            known.contact_id is null
            and known.first_contact_id <> known.internal_id
            and (known.entity_type, known.external_id) in (select entity_type, external_id from linked)
          )
          then '{"kind": "conflict", "retryable": false, "message": "The external id is linked to another contact."}'
        when known.is_revived
          then '{"kind": "conflict", "retryable": false, "message": "The record was deleted or merged at the CRM and is back: link it again, or unlink it."}'
        when known.contact_id = known.internal_id
          or (known.entity_type, known.external_id, known.internal_id) in (
            select
              entity_type,
              external_id,
              contact_id
            from linked
          )
          then null
        when known.internal_id in (select contact_id from linked)
          or (
            select true
            from contact_external_ids as other
            where (other.organisation_id = :organisationId!::uuid) is true
              and other.contact_id = known.internal_id
              and other.provider = connection.provider
            limit 1
          )
          then '{"kind": "conflict", "retryable": false, "message": "The contact is linked to another external id of this CRM."}'
        else '{"kind": "conflict", "retryable": true, "message": "There is no such contact, or its link changed at the same time."}'
      end as error
    -- Evaluated once, although it is used several times.
    offset 0
  ) as refused
),
-- The host deleted the contact while its record was made. The CRM will send the record, and nobody may take it for a new
-- person: it is noted as if it had been linked first.
orphaned as (
  insert into contact_external_id_changes (
    organisation_id,
    kind,
    provider,
    entity_type,
    external_id,
    connection_id,
    from_contact_id,
    was_primary,
    linked_at
  )
  select distinct on (known.entity_type, known.external_id)
    :organisationId!::uuid,
    'contact_deleted',
    connection.provider,
    known.entity_type,
    known.external_id,
    :connectionId!::uuid,
    known.internal_id,
    true,
    now()
  from known
  cross join connection
  where known.direction = 'outbound'
    and known.is_link
    and known.contact_id is null
    and not exists (
      select
      from linked
      where linked.entity_type = known.entity_type
        and linked.external_id = known.external_id
    )
    and not exists (
      select
      from contacts
      where organisation_id = :organisationId!::uuid
        and id = known.internal_id
    )
    -- One that was merged is not deleted: the record is the other's, or its own again once the merge is undone.
    and (
      select true
      from contact_external_id_changes as merge
      where merge.organisation_id = :organisationId!::uuid
        and merge.from_contact_id = known.internal_id
        and merge.kind = 'contacts_merged'
        and merge.provider is null
        and merge.undone_by is null
      limit 1
    ) is null
  order by
    known.entity_type,
    known.external_id,
    known.position
),
-- 5. Log --------------------------------------------------------------------------------------------------
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
    error,
    reason
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
    settled.error,
    settled.reason
  from settled
  cross join clock
  order by settled.position
),
-- 6. Failures ---------------------------------------------------------------------------------------------
-- The last outcome of each record counts: an error opens or updates its failure, any other outcome closes it, except
-- that what was older says nothing of what failed. Of the pushes of a contact to several records, one that was based on
-- an old version counts before the others, and then one that failed. A push is about our contact: its success also
-- closes failures under other entity types, but none that fails in this batch. What is still kept of an erased person's
-- record goes: a failure that was open would be retried for ever, because no event of it closes it.
last_outcome as (
  select distinct on (direction, entity_type, record_id)
    direction,
    entity_type,
    record_id,
    status,
    error,
    retry_after_seconds
  from (
    select
      direction,
      entity_type,
      record_id,
      status,
      error,
      retry_after_seconds,
      position,
      is_stale is true as is_stale,
      status = 'error'
        and external_id is not null
        and position = max(position) over (partition by direction, entity_type, record_id, external_id) as has_failed
    from settled
    where record_id is not null
      and reason is distinct from 'older'
    union all
    select
      record.direction,
      forgotten.entity_type,
      record.record_id,
      'skipped',
      null,
      null,
      -- After what else the batch says of a contact that stays.
      0,
      false,
      false
    from forgotten
    cross join lateral (
      values
        ('inbound', forgotten.external_id),
        ('outbound', case forgotten.direction when 'outbound' then forgotten.internal_id::text end)
    ) as record (direction, record_id)
    where record.record_id is not null
  ) as outcome
  order by
    direction,
    entity_type,
    record_id,
    is_stale desc,
    has_failed desc,
    position desc
),
-- Each search reads the row that follows its key in the order of the primary key, and goes on while that is a
-- failure of its record. Only a search in that order is sure to use the primary key: for equal values, the
-- planner may use an index that leads to every failure of the connection. Where row-level security compares
-- organisation_id, the scan would begin at its first row, so the columns after it have their own bound there.
open_failure as (
  with recursive bound as (
    select
      case
        when row_security_active('crm_sync_failures') and not pg_has_role('crm_worker', 'usage')
          then :connectionId!::uuid
        else '00000000-0000-0000-0000-000000000000'
      end as connection_id
  ),
  found as (
    select
      last_outcome.record_id as wanted_record_id,
      last_outcome.entity_type as wanted_entity_type,
      first.organisation_id,
      first.connection_id,
      first.direction,
      first.record_id,
      first.entity_type,
      first.kind,
      first.last_failed_at,
      first.id
    from last_outcome
    cross join bound
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
      where (organisation_id, connection_id, direction, record_id, entity_type) > (
        :organisationId!::uuid,
        :connectionId!::uuid,
        last_outcome.direction,
        last_outcome.record_id,
        ''
      )
        and (connection_id, direction, record_id, entity_type) > (
          bound.connection_id,
          last_outcome.direction,
          last_outcome.record_id,
          ''
        )
      order by
        organisation_id,
        connection_id,
        direction,
        record_id,
        entity_type
      limit 1
    ) as first
    where last_outcome.status <> 'error'
      and first.organisation_id = :organisationId!::uuid
      and first.connection_id = :connectionId!::uuid
      and first.direction = last_outcome.direction
      and first.record_id = last_outcome.record_id
    union all
    select
      found.wanted_record_id,
      found.wanted_entity_type,
      next.organisation_id,
      next.connection_id,
      next.direction,
      next.record_id,
      next.entity_type,
      next.kind,
      next.last_failed_at,
      next.id
    from found
    cross join bound
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
      where (organisation_id, connection_id, direction, record_id, entity_type) > (
        found.organisation_id,
        found.connection_id,
        found.direction,
        found.record_id,
        found.entity_type
      )
        and (connection_id, direction, record_id, entity_type) > (
          bound.connection_id,
          found.direction,
          found.record_id,
          found.entity_type
        )
      order by
        organisation_id,
        connection_id,
        direction,
        record_id,
        entity_type
      limit 1
    ) as next
    where next.organisation_id = found.organisation_id
      and next.connection_id = found.connection_id
      and next.direction = found.direction
      and next.record_id = found.record_id
  )
  select
    wanted_record_id,
    organisation_id,
    connection_id,
    direction,
    record_id,
    entity_type,
    kind,
    last_failed_at,
    id
  from found
  where entity_type = wanted_entity_type
    or (
      direction = 'outbound'
      -- Otherwise closed and failed might write the same row, and their order would decide.
      and (entity_type, record_id) not in (
        select
          entity_type,
          record_id
        from last_outcome
        where direction = 'outbound'
          and status = 'error'
      )
    )
),
closed as (
  delete from crm_sync_failures as failure
  using open_failure
  where failure.organisation_id = open_failure.organisation_id
    and failure.connection_id = open_failure.connection_id
    and failure.direction = open_failure.direction
    and failure.record_id = open_failure.record_id
    and failure.entity_type = open_failure.entity_type
    -- All columns of crm_sync_failures_kind_idx too: whichever index the planner takes, it finds one row.
    and failure.kind = open_failure.kind
    and failure.last_failed_at = open_failure.last_failed_at
    and failure.id = open_failure.id
    -- Always true. It tells the planner to expect few rows, so that it looks each one up.
    and open_failure.wanted_record_id = open_failure.record_id
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
    error = excluded.error,
    last_failed_at = excluded.last_failed_at,
    (attempts, first_failed_at, next_attempt_at, gave_up_at) = (
      select
        counted.attempts,
        counted.first_failed_at,
        case
          when not counted.is_final then excluded.last_failed_at + greatest(
            crm_sync_backoff(counted.attempts, 60, 21600),
            -- The delay that the CRM asked for. If it asked for none, this is shorter than the backoff above.
            excluded.next_attempt_at - excluded.last_failed_at
          )
        end,
        case when counted.is_final then excluded.last_failed_at end
      from (
        select
          begun.attempts,
          begun.first_failed_at,
          crm_sync_failure_is_final(
            excluded.error,
            begun.attempts,
            excluded.last_failed_at - begun.first_failed_at
          ) as is_final
        from (
          select
            case when is_anew then 1 else failure.attempts + 1 end as attempts,
            case
              when is_anew then excluded.last_failed_at
              -- The clock may have been set back.
              else least(failure.first_failed_at, excluded.last_failed_at)
            end as first_failed_at
          -- A push that was given up or dismissed is not tried again by itself: what has failed is a later edit.
          from (
            select failure.direction = 'outbound' and failure.next_attempt_at is null as is_anew
          ) as judged
        ) as begun
      ) as counted
    )
),
-- A time alone does not prove that a record is older: a CRM's clock may have been ahead, or its hour may come twice. If
-- the content is not the known one either, the next run reads the record by its id.
asked as (
  insert into crm_record_requests (
    organisation_id,
    connection_id,
    entity_type,
    external_id,
    requested_at
  )
  select distinct on (known.entity_type, known.external_id)
    :organisationId!::uuid,
    :connectionId!::uuid,
    known.entity_type,
    known.external_id,
    clock.at
  from known
  cross join clock
  where known.direction = 'inbound'
    and known.reason = 'older'
    and known.external_id is not null
    and known.sent_hash is distinct from known.content_hash
  order by
    known.entity_type,
    known.external_id
  on conflict do nothing
),
kept_request as materialized (
  select distinct
    kept.organisation_id,
    kept.connection_id,
    kept.entity_type,
    kept.external_id,
    forgotten.external_id as wanted_external_id
  from forgotten
  cross join lateral (
    select
      organisation_id,
      connection_id,
      entity_type,
      external_id
    from crm_record_requests
    where organisation_id = :organisationId!::uuid
      and connection_id = :connectionId!::uuid
      and entity_type = forgotten.entity_type
      and external_id = forgotten.external_id
    limit 1
  ) as kept
),
forgotten_request as (
  delete from crm_record_requests as request
  using kept_request
  where request.organisation_id = kept_request.organisation_id
    and request.connection_id = kept_request.connection_id
    and request.entity_type = kept_request.entity_type
    and request.external_id = kept_request.external_id
    -- Always true. It tells the planner to expect few rows, so that it looks each one up.
    and kept_request.wanted_external_id = kept_request.external_id
),
kept_conflict as materialized (
  select distinct
    kept.organisation_id,
    kept.connection_id,
    kept.entity_type,
    kept.external_id,
    forgotten.external_id as wanted_external_id
  from forgotten
  cross join lateral (
    select
      organisation_id,
      connection_id,
      entity_type,
      external_id
    from crm_sync_conflicts
    where organisation_id = :organisationId!::uuid
      and connection_id = :connectionId!::uuid
      and entity_type = forgotten.entity_type
      and external_id = forgotten.external_id
    limit 1
  ) as kept
),
forgotten_conflict as (
  delete from crm_sync_conflicts as conflict
  using kept_conflict
  where conflict.organisation_id = kept_conflict.organisation_id
    and conflict.connection_id = kept_conflict.connection_id
    and conflict.entity_type = kept_conflict.entity_type
    and conflict.external_id = kept_conflict.external_id
    -- Always true. It tells the planner to expect few rows, so that it looks each one up.
    and kept_conflict.wanted_external_id = kept_conflict.external_id
),
-- 7. Outbound ---------------------------------------------------------------------------------------------
-- Clears changes that were pushed at their current version; newer changes stay. A failed push is also cleared:
-- its failure replaces it. A contact of which any push was based on an old version stays: it must be pushed again in
-- any case. So must the contact whose record has the content of another: the record was moved while the other was
-- pushed, and what the CRM now holds must not come back as the contact's own.
misplaced as (
  select distinct contact_id
  from known
  where direction = 'outbound'
    and status = 'success'
    and contact_id <> internal_id
),
-- A push that came to the record of an erased person is over as well: the contact's record is another, or there is none.
answered as (
  select
    internal_id,
    change_version,
    is_stale_contact
  from settled
  where change_version is not null
  union all
  select
    forgotten.internal_id,
    forgotten.change_version,
    exists (
      select
      from settled
      where settled.direction = 'outbound'
        and settled.internal_id = forgotten.internal_id
        and settled.is_stale_contact
    ) as is_stale_contact
  from forgotten
  where forgotten.direction = 'outbound'
    and forgotten.change_version is not null
),
pushed as (
  select
    change.organisation_id,
    change.contact_id,
    change.connection_id,
    change.version
  from answered
  cross join lateral (
    select
      change.organisation_id,
      change.contact_id,
      change.connection_id,
      change.version
    from crm_outbound_changes as change
    where change.organisation_id = :organisationId!::uuid
      and change.contact_id = answered.internal_id
      and (change.connection_id = :connectionId!::uuid) is true
      and change.version = answered.change_version
    limit 1
    -- Skips locked changes: they are being changed, and must be pushed again.
    for update skip locked
  ) as change
  -- Always true. It tells the planner to expect few rows, so that it looks each one up.
  where answered.change_version = change.version
    and answered.internal_id = change.contact_id
    and answered.is_stale_contact is not true
),
cleared as (
  delete from crm_outbound_changes as change
  using pushed
  where change.organisation_id = pushed.organisation_id
    and change.contact_id = pushed.contact_id
    and (change.connection_id = pushed.connection_id) is true
    and change.version = pushed.version
),
-- If such a contact was pushed in this batch as well, it is owed all the same, whichever of the two is written first.
owed as (
  insert into crm_outbound_changes as change (
    organisation_id,
    contact_id,
    connection_id,
    first_changed_at,
    last_changed_at,
    next_attempt_at
  )
  select
    :organisationId!::uuid,
    misplaced.contact_id,
    :connectionId!::uuid,
    clock.at,
    clock.at,
    clock.at
  from misplaced
  cross join clock
  order by misplaced.contact_id
  on conflict (organisation_id, contact_id, connection_id) do update
  set
    version = default,
    last_changed_at = greatest(change.last_changed_at, excluded.last_changed_at),
    attempts = 0,
    next_attempt_at = excluded.next_attempt_at,
    is_announced = false
),
-- Records that were edited on both sides. An event that skipped theirs has kept ours, unless our push became a failure
-- for a person to decide; one that skipped ours has kept theirs.
conflicted as (
  insert into crm_sync_conflicts as conflict (
    organisation_id,
    connection_id,
    entity_type,
    external_id,
    contact_id,
    kept,
    first_seen_at,
    last_seen_at
  )
  select
    :organisationId!::uuid,
    :connectionId!::uuid,
    latest.entity_type,
    latest.external_id,
    latest.internal_id,
    latest.kept,
    clock.at,
    clock.at
  from (
    select distinct on (entity_type, external_id)
      entity_type,
      external_id,
      internal_id,
      case
        when direction = 'outbound' then 'crm'
        when is_push_refused then 'neither'
        else 'nurturehub'
      end as kept
    from settled
    where reason = 'conflict'
      and external_id is not null
      and internal_id is not null
    order by
      entity_type,
      external_id,
      position desc
  ) as latest
  cross join clock
  order by
    latest.entity_type,
    latest.external_id
  on conflict (organisation_id, connection_id, entity_type, external_id) do update
  set
    contact_id = excluded.contact_id,
    kept = excluded.kept,
    -- The clock may have been set back.
    first_seen_at = least(conflict.first_seen_at, excluded.first_seen_at),
    last_seen_at = excluded.last_seen_at,
    occurrences = least(conflict.occurrences, 2147483646) + 1,
    acknowledged_at = null,
    acknowledged_by = null
),
-- 8. Cursors ----------------------------------------------------------------------------------------------
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
-- 9. Lease ------------------------------------------------------------------------------------------------
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
