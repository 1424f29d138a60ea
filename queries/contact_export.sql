/* @name contactExportContacts */
-- Lists the contacts that are one person, the given one first, then those that were merged into it
-- (crm_contact_lineage), each with the contact that it was merged into, if it was. Returns one row each. Uses
-- contact_external_id_changes_to_contact_id_idx and contact_external_id_changes_from_contact_id_idx.
select
  person.contact_id as "contactId!",
  merge.to_contact_id as "mergedIntoId?",
  merge.changed_at as "mergedAt?"
from crm_contact_lineage(:organisationId!::uuid, array[:contactId!::uuid]) as person (contact_id)
left join lateral (
  select
    to_contact_id,
    changed_at
  from contact_external_id_changes
  where organisation_id = :organisationId!::uuid
    and from_contact_id = person.contact_id
    and kind = 'contacts_merged'
    -- The change of the merge itself, not of an id that it moved.
    and provider is null
    and undone_by is null
  order by id desc
  limit 1
) as merge on true
order by
  person.contact_id <> :contactId!::uuid,
  merge.changed_at desc,
  person.contact_id;

/* @name contactExportNamedRecords */
-- Lists the records that stand together with one of some contacts in a month that is detached from the log. Uses the
-- month's index by contact.
select distinct
  connection_id as "connectionId",
  entity_type as "entityType",
  external_id as "externalId!"
from crm_sync_log
-- `is true` keeps the planner from the primary key, through which it would read the whole organisation.
where (organisation_id = :organisationId!::uuid) is true
  and internal_id = any(:contactIds!::uuid[])
  and external_id is not null;

/* @name contactExportSpans */
-- Lists the records that are or were those of some contacts, and when (crm_contact_record_spans), by connection. The
-- parameters from namedConnectionIds on are the records of contactExportNamedRecords, element by element. Returns at least one row for each record and connection. Uses the indexes of the contacts' external ids, and of the log
-- by contact.
select
  span.connection_id as "connectionId!",
  span.entity_type as "entityType!",
  span.external_id as "externalId!",
  span.from_at as "fromAt?",
  span.before_at as "beforeAt?"
from crm_contact_record_spans(
  :organisationId!::uuid,
  :contactIds!::uuid[],
  :namedConnectionIds!::uuid[],
  :namedEntityTypes!::text[],
  :namedExternalIds!::text[]
) as span
order by
  span.connection_id,
  span.entity_type,
  span.external_id,
  span.from_at nulls first;

/* @name contactExportRecords */
-- Lists the records at CRMs that stand for some contacts: primary ids, aliases, and those in the archive
-- (`archivedAt`). Hashes are in hexadecimal. Leaves out the id of a record that another contact has by now. Returns one
-- row for each record. Uses contact_external_ids_contact_id_provider_key,
-- contact_external_id_aliases_contact_id_provider_idx, contact_external_id_archive_contact_id_idx and primary keys.
with record as (
  select
    provider,
    null::text as account,
    entity_type,
    external_id,
    contact_id,
    true as is_primary,
    first_seen_at,
    last_seen_at,
    remote_state,
    remote_version,
    remote_modified_at,
    null::text as merged_into_entity_type,
    null::text as merged_into_external_id,
    content_hash,
    pushed_at,
    replaced_hashes,
    replaced_at,
    null::uuid as connection_id,
    null::timestamptz as archived_at
  from unnest(:contactIds!::uuid[]) as person (id)
  cross join lateral (
    select
      provider,
      entity_type,
      external_id,
      contact_id,
      first_seen_at,
      last_seen_at,
      remote_state,
      remote_version,
      remote_modified_at,
      content_hash,
      pushed_at,
      replaced_hashes,
      replaced_at
    from contact_external_ids
    -- `is true` and `offset 0` keep the planner from reading all of an organisation's ids where statistics are missing.
    where (organisation_id = :organisationId!::uuid) is true
      and contact_id = person.id
    offset 0
  ) as mapping
  union all
  select
    provider,
    null,
    entity_type,
    external_id,
    contact_id,
    false,
    first_seen_at,
    last_seen_at,
    remote_state,
    remote_version,
    remote_modified_at,
    merged_into_entity_type,
    merged_into_external_id,
    content_hash,
    pushed_at,
    replaced_hashes,
    replaced_at,
    null,
    null
  from unnest(:contactIds!::uuid[]) as person (id)
  cross join lateral (
    select
      provider,
      entity_type,
      external_id,
      contact_id,
      first_seen_at,
      last_seen_at,
      remote_state,
      remote_version,
      remote_modified_at,
      merged_into_entity_type,
      merged_into_external_id,
      content_hash,
      pushed_at,
      replaced_hashes,
      replaced_at
    from contact_external_id_aliases
    where (organisation_id = :organisationId!::uuid) is true
      and contact_id = person.id
    offset 0
  ) as alias
  union all
  select
    connection.provider,
    connection.account,
    archive.entity_type,
    archive.external_id,
    archive.contact_id,
    archive.is_primary,
    archive.first_seen_at,
    archive.last_seen_at,
    archive.remote_state,
    null,
    archive.remote_modified_at,
    archive.merged_into_entity_type,
    archive.merged_into_external_id,
    null,
    null,
    null,
    null,
    archive.connection_id,
    archive.archived_at
  from contact_external_id_archive as archive
  inner join crm_connections as connection
    on connection.organisation_id = archive.organisation_id
      and connection.id = archive.connection_id
  where archive.organisation_id = :organisationId!::uuid
    and archive.contact_id = any(:contactIds!::uuid[])
)
select
  record.provider as "provider!",
  record.connection_id as "connectionId?",
  record.account as "account?",
  record.entity_type as "entityType!",
  record.external_id as "externalId!",
  record.contact_id as "contactId!",
  record.is_primary as "isPrimary!",
  record.first_seen_at as "firstSeenAt!",
  record.last_seen_at as "lastSeenAt!",
  record.remote_state as "remoteState!",
  record.remote_version as "remoteVersion?",
  record.remote_modified_at as "remoteModifiedAt?",
  record.merged_into_entity_type as "mergedIntoEntityType?",
  case when other.contact_id is null then record.merged_into_external_id end as "mergedIntoExternalId?",
  encode(record.content_hash, 'hex') as "contentHash?",
  record.pushed_at as "pushedAt?",
  case
    when record.replaced_hashes is not null
      then (select jsonb_agg(encode(hash, 'hex')) from unnest(record.replaced_hashes) as hash)
  end as "replacedHashes?",
  record.replaced_at as "replacedAt?",
  record.archived_at as "archivedAt?"
from record
left join lateral (
  select contact_id
  from contact_external_records
  where organisation_id = :organisationId!::uuid
    and provider = record.provider
    and entity_type = record.merged_into_entity_type
    and external_id = record.merged_into_external_id
    and contact_id <> all(:contactIds!::uuid[])
  limit 1
) as other on true
order by
  record.provider,
  record.entity_type,
  record.external_id,
  record.archived_at nulls first;

/* @name contactExportIdentityChanges */
-- Lists the changes in which some contacts had or were given an external id, the latest first: the page of at most
-- `limit` before the change `beforeId` if that is not null. What the change says of another contact is left out: who had
-- the id before, or has it afterwards, and the id itself if only a merge that was undone brought it. Uses contact_external_id_changes_from_contact_id_idx and
-- contact_external_id_changes_to_contact_id_idx.
with found as (
  select page.id
  from unnest(:contactIds!::uuid[]) as person (contact_id)
  cross join lateral (
    (
      select id
      from contact_external_id_changes
      where organisation_id = :organisationId!::uuid
        and from_contact_id = person.contact_id
        and id < coalesce(:beforeId::bigint, 9223372036854775807)
      order by id desc
      limit :limit!::integer
    )
    union
    (
      select id
      from contact_external_id_changes
      where organisation_id = :organisationId!::uuid
        and to_contact_id = person.contact_id
        and id < coalesce(:beforeId::bigint, 9223372036854775807)
      order by id desc
      limit :limit!::integer
    )
  ) as page
)
select
  change.id,
  change.operation_id as "operationId",
  change.kind,
  change.provider,
  change.connection_id as "connectionId",
  change.entity_type as "entityType",
  change.external_id as "externalId?",
  change.from_contact_id as "fromContactId?",
  change.is_from_another as "isFromAnother!",
  change.to_contact_id as "toContactId?",
  change.is_to_another as "isToAnother!",
  change.was_primary as "wasPrimary?",
  change.is_primary as "isPrimary?",
  change.linked_at as "linkedAt?",
  change.changed_at as "changedAt",
  change.changed_by as "changedBy",
  change.reason,
  change.undone_by as "undoneBy"
from (
  select distinct id
  from found
  order by id desc
  limit :limit!::integer
) as page
cross join lateral (
  select
    entry.id,
    entry.operation_id,
    entry.kind,
    entry.provider,
    entry.connection_id,
    entry.entity_type,
    -- By a merge that was undone, the id was never this person's.
    case
      when entry.kind = 'undone' and not is_to_person
        or entry.undone_by is not null and not is_from_person
        then null
      else entry.external_id
    end as external_id,
    case when is_from_person then entry.from_contact_id end as from_contact_id,
    entry.from_contact_id is not null and not is_from_person as is_from_another,
    case when is_to_person then entry.to_contact_id end as to_contact_id,
    entry.to_contact_id is not null and not is_to_person as is_to_another,
    case when is_from_person then entry.was_primary end as was_primary,
    case when is_to_person then entry.is_primary end as is_primary,
    case when is_from_person then entry.linked_at end as linked_at,
    entry.changed_at,
    entry.changed_by,
    entry.reason,
    entry.undone_by
  from contact_external_id_changes as entry
  cross join lateral (
    select
      coalesce(entry.from_contact_id = any(:contactIds!::uuid[]), false) as is_from_person,
      coalesce(entry.to_contact_id = any(:contactIds!::uuid[]), false) as is_to_person
  ) as side
  where entry.organisation_id = :organisationId!::uuid
    and entry.id = page.id
  -- Keeps the planner from reading the whole history.
  limit 1
) as change
order by change.id desc;

/* @name contactExportOutboundChanges */
-- Lists what must still be pushed of some contacts. Returns one row for each contact and connection. Uses
-- crm_outbound_changes_pkey, and crm_connections_pkey for each row.
select
  change.contact_id as "contactId",
  change.connection_id as "connectionId",
  connection.provider,
  change.version,
  change.first_changed_at as "firstChangedAt",
  change.last_changed_at as "lastChangedAt",
  change.attempts,
  change.next_attempt_at as "nextAttemptAt",
  change.is_announced as "isAnnounced"
from crm_connections as connection
cross join unnest(:contactIds!::uuid[]) as person (contact_id)
cross join lateral (
  select
    contact_id,
    connection_id,
    version,
    first_changed_at,
    last_changed_at,
    attempts,
    next_attempt_at,
    is_announced
  from crm_outbound_changes
  where organisation_id = :organisationId!::uuid
    and contact_id = person.contact_id
    -- `is true` and the limit keep the planner from reading everything that waits.
    and (connection_id = connection.id) is true
  limit 1
) as change
where connection.organisation_id = :organisationId!::uuid
order by
  change.contact_id,
  change.connection_id;

/* @name contactExportFailures */
-- Lists the failures of some contacts: of pushes, by their ids, and of reads, by their records, one array element of
-- `connectionIds`, `entityTypes` and `externalIds` each. Returns one row for each failure. Uses
-- crm_sync_failures_pkey, for each contact and connection and for each record.
with found as (
  select
    pushed.id,
    pushed.connection_id,
    pushed.direction,
    pushed.entity_type,
    pushed.record_id,
    pushed.attempts,
    pushed.error,
    pushed.kind,
    pushed.first_failed_at,
    pushed.last_failed_at,
    pushed.next_attempt_at,
    pushed.gave_up_at,
    pushed.dismissed_at,
    pushed.dismissed_by,
    pushed.dismissal_reason
  from crm_connections as connection
  cross join unnest(:contactIds!::uuid[]) as person (contact_id)
  cross join lateral (
    select
      failure.id,
      failure.connection_id,
      failure.direction,
      failure.entity_type,
      failure.record_id,
      failure.attempts,
      failure.error,
      failure.kind,
      failure.first_failed_at,
      failure.last_failed_at,
      failure.next_attempt_at,
      failure.gave_up_at,
      failure.dismissed_at,
      failure.dismissed_by,
      failure.dismissal_reason
    from crm_sync_failures as failure
    where failure.organisation_id = :organisationId!::uuid
      and failure.connection_id = connection.id
      and failure.direction = 'outbound'
      -- Not equality: in this order the planner can only read the primary key.
      and failure.record_id >= person.contact_id::text
      and failure.record_id <= person.contact_id::text
    order by
      failure.record_id,
      failure.entity_type
    limit 20
  ) as pushed
  where connection.organisation_id = :organisationId!::uuid
  union all
  select
    read.id,
    read.connection_id,
    read.direction,
    read.entity_type,
    read.record_id,
    read.attempts,
    read.error,
    read.kind,
    read.first_failed_at,
    read.last_failed_at,
    read.next_attempt_at,
    read.gave_up_at,
    read.dismissed_at,
    read.dismissed_by,
    read.dismissal_reason
  from (
    select distinct
      connection_id,
      entity_type,
      external_id
    from unnest(:connectionIds!::uuid[], :entityTypes!::text[], :externalIds!::text[])
      as given (connection_id, entity_type, external_id)
  ) as record
  cross join lateral (
    select
      failure.id,
      failure.connection_id,
      failure.direction,
      failure.entity_type,
      failure.record_id,
      failure.attempts,
      failure.error,
      failure.kind,
      failure.first_failed_at,
      failure.last_failed_at,
      failure.next_attempt_at,
      failure.gave_up_at,
      failure.dismissed_at,
      failure.dismissed_by,
      failure.dismissal_reason
    from crm_sync_failures as failure
    where failure.organisation_id = :organisationId!::uuid
      and failure.connection_id = record.connection_id
      and failure.direction = 'inbound'
      and (failure.record_id, failure.entity_type) >= (record.external_id, record.entity_type)
      and (failure.record_id, failure.entity_type) <= (record.external_id, record.entity_type)
    order by
      failure.record_id,
      failure.entity_type
    limit 1
  ) as read
)
select
  found.id as "id!",
  found.connection_id as "connectionId!",
  connection.provider,
  found.direction as "direction!",
  found.entity_type as "entityType!",
  found.record_id as "recordId!",
  found.attempts as "attempts!",
  found.error as "error!",
  found.kind as "kind!",
  found.first_failed_at as "firstFailedAt!",
  found.last_failed_at as "lastFailedAt!",
  found.next_attempt_at as "nextAttemptAt?",
  found.gave_up_at as "gaveUpAt?",
  found.dismissed_at as "dismissedAt?",
  found.dismissed_by as "dismissedBy?",
  found.dismissal_reason as "dismissalReason?"
from found
inner join crm_connections as connection
  on connection.organisation_id = :organisationId!::uuid
    and connection.id = found.connection_id
order by found.id;

/* @name contactExportConflicts */
-- Lists the conflicts of some contacts. Leaves out the id of a record that was not theirs when it was last edited on both
-- sides: it is if one of the spans has it, one array element of `connectionIds`, `entityTypes`, `externalIds`,
-- `fromTimes` and `beforeTimes` each. Returns one row for each conflict. Uses crm_sync_conflicts_contact_id_idx (`is true`
-- keeps the planner from reading all that the organisation has), and crm_connections_pkey for each row. Nulls are allowed
-- in `fromTimes` and `beforeTimes`.
select
  conflict.id,
  conflict.connection_id as "connectionId",
  connection.provider,
  conflict.entity_type as "entityType",
  case
    when exists (
      select
      from unnest(
        :connectionIds!::uuid[],
        :entityTypes!::text[],
        :externalIds!::text[],
        :fromTimes!::timestamptz[],
        :beforeTimes!::timestamptz[]
      ) as span (connection_id, entity_type, external_id, from_at, before_at)
      where span.connection_id = conflict.connection_id
        and span.entity_type = conflict.entity_type
        and span.external_id = conflict.external_id
        and conflict.last_seen_at >= coalesce(span.from_at, '-infinity')
        and conflict.last_seen_at < coalesce(span.before_at, 'infinity')
    )
      then conflict.external_id
  end as "externalId?",
  conflict.contact_id as "contactId",
  conflict.kept,
  conflict.first_seen_at as "firstSeenAt",
  conflict.last_seen_at as "lastSeenAt",
  conflict.occurrences,
  conflict.acknowledged_at as "acknowledgedAt",
  conflict.acknowledged_by as "acknowledgedBy"
from unnest(:contactIds!::uuid[]) as person (contact_id)
cross join lateral (
  select
    id,
    connection_id,
    entity_type,
    external_id,
    contact_id,
    kept,
    first_seen_at,
    last_seen_at,
    occurrences,
    acknowledged_at,
    acknowledged_by
  from crm_sync_conflicts
  where (organisation_id = :organisationId!::uuid) is true
    and contact_id = person.contact_id
  offset 0
) as conflict
inner join crm_connections as connection
  on connection.organisation_id = :organisationId!::uuid
    and connection.id = conflict.connection_id
order by conflict.id;

/* @name contactExportRecordRequests */
-- Lists the requests for records, one array element of `connectionIds`, `entityTypes` and `externalIds` each. Returns one
-- row for each request. Uses crm_record_requests_pkey.
select
  request.connection_id as "connectionId",
  connection.provider,
  request.entity_type as "entityType",
  request.external_id as "externalId",
  request.requested_at as "requestedAt",
  request.claimed_run_id as "claimedRunId",
  request.attempts
from (
  select distinct
    connection_id,
    entity_type,
    external_id
  from unnest(:connectionIds!::uuid[], :entityTypes!::text[], :externalIds!::text[])
    as given (connection_id, entity_type, external_id)
) as record
cross join lateral (
  select
    connection_id,
    entity_type,
    external_id,
    requested_at,
    claimed_run_id,
    attempts
  from crm_record_requests
  where organisation_id = :organisationId!::uuid
    and connection_id = record.connection_id
    and entity_type = record.entity_type
    and external_id = record.external_id
  limit 1
) as request
inner join crm_connections as connection
  on connection.organisation_id = :organisationId!::uuid
    and connection.id = request.connection_id
order by
  request.connection_id,
  request.entity_type,
  request.external_id;

/* @name contactExportEvents */
-- Lists the events of some contacts, newest first: the page of at most `limit` before the given one. They are those
-- logged with a contact, and those logged with a record alone at a time at which it was theirs, one array element of
-- `connectionIds`, `entityTypes`, `externalIds`, `fromTimes` and `beforeTimes` each. Of an event with both, leaves out the
-- record if it was not theirs at that time. Uses crm_sync_log_internal_id_idx and crm_sync_log_external_id_idx, which find
-- events in no order, so that each page reads all that are before it; and crm_connections_pkey for each event. Nulls are
-- allowed in `fromTimes` and `beforeTimes`.
with found as (
  select
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
  from unnest(:contactIds!::uuid[]) as person (contact_id)
  cross join lateral (
    select
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
      and internal_id = person.contact_id
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
  union all
  select
    unlinked.connection_id,
    unlinked.occurred_at,
    unlinked.id,
    unlinked.direction,
    unlinked.entity_type,
    unlinked.external_id,
    unlinked.internal_id,
    unlinked.status,
    unlinked.error,
    unlinked.reason
  from unnest(
    :connectionIds!::uuid[],
    :entityTypes!::text[],
    :externalIds!::text[],
    :fromTimes!::timestamptz[],
    :beforeTimes!::timestamptz[]
  ) as span (connection_id, entity_type, external_id, from_at, before_at)
  cross join lateral (
    select
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
    where organisation_id = :organisationId!::uuid
      and external_id = span.external_id
      and internal_id is null
      and entity_type = span.entity_type
      -- `is true` keeps the planner from the primary key, through which it would read the whole connection.
      and (connection_id = span.connection_id) is true
      and (occurred_at >= coalesce(span.from_at, '-infinity')) is true
      and (occurred_at < coalesce(span.before_at, 'infinity')) is true
      and (
        (occurred_at, id) < (
          least(:beforeOccurredAt::timestamptz, 'infinity'),
          least(:beforeId::bigint, 9223372036854775807)
        )
      ) is true
    order by
      occurred_at desc,
      id desc
    limit :limit!::integer
  ) as unlinked
)
select
  page.id as "id!",
  page.connection_id as "connectionId!",
  connection.provider,
  page.occurred_at as "occurredAt!",
  page.direction as "direction!",
  page.entity_type as "entityType!",
  case
    when exists (
      select
      from unnest(
        :connectionIds!::uuid[],
        :entityTypes!::text[],
        :externalIds!::text[],
        :fromTimes!::timestamptz[],
        :beforeTimes!::timestamptz[]
      ) as span (connection_id, entity_type, external_id, from_at, before_at)
      where span.connection_id = page.connection_id
        and span.entity_type = page.entity_type
        and span.external_id = page.external_id
        and page.occurred_at >= coalesce(span.from_at, '-infinity')
        and page.occurred_at < coalesce(span.before_at, 'infinity')
    )
      then page.external_id
  end as "externalId?",
  page.internal_id as "internalId?",
  page.status as "status!",
  page.error as "error?",
  page.reason as "reason?"
from (
  select
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
  from found
  order by
    occurred_at desc,
    id desc
  limit :limit!::integer
) as page
inner join crm_connections as connection
  on connection.organisation_id = :organisationId!::uuid
    and connection.id = page.connection_id
order by
  page.occurred_at desc,
  page.id desc;
