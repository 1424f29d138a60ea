/** Types generated for queries found in "queries/contact_export.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** The parameters of {@link contactExportContacts}. */
export interface ContactExportContactsParams {
  contactId: string;
  organisationId: string;
}

/** A row of {@link contactExportContacts}. */
export interface ContactExportContactsResult {
  contactId: string;
  /** When the transaction that made the change began. */
  mergedAt: Timestamp | null;
  /** The contact that the id means afterwards. Null if it means none. */
  mergedIntoId: string | null;
}

/**
 * Lists the contacts that are one person, the given one first, then those that were merged into it
 * (crm_contact_lineage), each with the contact that it was merged into, if it was. Returns one row each. Uses
 * contact_external_id_changes_to_contact_id_idx and contact_external_id_changes_from_contact_id_idx.
 *
 * @remarks
 * ```sql
 * select
 *   person.contact_id as "contactId!",
 *   merge.to_contact_id as "mergedIntoId?",
 *   merge.changed_at as "mergedAt?"
 * from crm_contact_lineage(:organisationId!::uuid, array[:contactId!::uuid]) as person (contact_id)
 * left join lateral (
 *   select
 *     to_contact_id,
 *     changed_at
 *   from contact_external_id_changes
 *   where organisation_id = :organisationId!::uuid
 *     and from_contact_id = person.contact_id
 *     and kind = 'contacts_merged'
 *     -- The change of the merge itself, not of an id that it moved.
 *     and provider is null
 *     and undone_by is null
 *   order by id desc
 *   limit 1
 * ) as merge on true
 * order by
 *   person.contact_id <> :contactId!::uuid,
 *   merge.changed_at desc,
 *   person.contact_id
 * ```
 */
export const contactExportContacts = new PreparedQuery<ContactExportContactsParams,ContactExportContactsResult>({
  name: 'contactExportContacts',
  statementName: 'contactExportContacts_4abb7c27',
  params: [
    { name: 'organisationId', required: true },
    { name: 'contactId', required: true },
  ],
  text: `select /* contactExportContacts */
  person.contact_id as "contactId",
  merge.to_contact_id as "mergedIntoId",
  merge.changed_at as "mergedAt"
from crm_contact_lineage($1::uuid, array[$2::uuid]) as person (contact_id)
left join lateral (
  select
    to_contact_id,
    changed_at
  from contact_external_id_changes
  where organisation_id = $1::uuid
    and from_contact_id = person.contact_id
    and kind = 'contacts_merged'
    and provider is null
    and undone_by is null
  order by id desc
  limit 1
) as merge on true
order by
  person.contact_id <> $2::uuid,
  merge.changed_at desc,
  person.contact_id`,
});


/** The parameters of {@link contactExportNamedRecords}. */
export interface ContactExportNamedRecordsParams {
  contactIds: string[];
  organisationId: string;
}

/** A row of {@link contactExportNamedRecords}. */
export interface ContactExportNamedRecordsResult {
  /** The connection that was synced. */
  connectionId: string;
  /** What kind of record it was, in the provider's terms and lower snake case: contact, applicant, landlord … */
  entityType: string;
  /** The record's id at the CRM, case-sensitive. Null if there is none: a create that failed, or an error that concerns the whole account. */
  externalId: string;
}

/**
 * Lists the records that stand together with one of some contacts in a month that is detached from the log. Uses the
 * month's index by contact.
 *
 * @remarks
 * ```sql
 * select distinct
 *   connection_id as "connectionId",
 *   entity_type as "entityType",
 *   external_id as "externalId!"
 * from crm_sync_log
 * -- `is true` keeps the planner from the primary key, through which it would read the whole organisation.
 * where (organisation_id = :organisationId!::uuid) is true
 *   and internal_id = any(:contactIds!::uuid[])
 *   and external_id is not null
 * ```
 */
export const contactExportNamedRecords = new PreparedQuery<ContactExportNamedRecordsParams,ContactExportNamedRecordsResult>({
  name: 'contactExportNamedRecords',
  statementName: 'contactExportNamedRecords_eeed43f8',
  params: [
    { name: 'organisationId', required: true },
    { name: 'contactIds', required: true },
  ],
  text: `select /* contactExportNamedRecords */ distinct
  connection_id as "connectionId",
  entity_type as "entityType",
  external_id as "externalId"
from crm_sync_log
where (organisation_id = $1::uuid) is true
  and internal_id = any($2::uuid[])
  and external_id is not null`,
});


/** The parameters of {@link contactExportSpans}. */
export interface ContactExportSpansParams {
  contactIds: string[];
  namedConnectionIds: string[];
  namedEntityTypes: string[];
  namedExternalIds: string[];
  organisationId: string;
}

/** A row of {@link contactExportSpans}. */
export interface ContactExportSpansResult {
  beforeAt: Timestamp | null;
  connectionId: string;
  entityType: string;
  externalId: string;
  fromAt: Timestamp | null;
}

/**
 * Lists the records that are or were those of some contacts, and when (crm_contact_record_spans), by connection. The
 * parameters from namedConnectionIds on are the records of contactExportNamedRecords, element by element. Returns at least one row for each record and connection. Uses the indexes of the contacts' external ids, and of the log
 * by contact.
 *
 * @remarks
 * ```sql
 * select
 *   span.connection_id as "connectionId!",
 *   span.entity_type as "entityType!",
 *   span.external_id as "externalId!",
 *   span.from_at as "fromAt?",
 *   span.before_at as "beforeAt?"
 * from crm_contact_record_spans(
 *   :organisationId!::uuid,
 *   :contactIds!::uuid[],
 *   :namedConnectionIds!::uuid[],
 *   :namedEntityTypes!::text[],
 *   :namedExternalIds!::text[]
 * ) as span
 * order by
 *   span.connection_id,
 *   span.entity_type,
 *   span.external_id,
 *   span.from_at nulls first
 * ```
 */
export const contactExportSpans = new PreparedQuery<ContactExportSpansParams,ContactExportSpansResult>({
  name: 'contactExportSpans',
  statementName: 'contactExportSpans_8ff9423b',
  params: [
    { name: 'organisationId', required: true },
    { name: 'contactIds', required: true },
    { name: 'namedConnectionIds', required: true },
    { name: 'namedEntityTypes', required: true },
    { name: 'namedExternalIds', required: true },
  ],
  text: `select /* contactExportSpans */
  span.connection_id as "connectionId",
  span.entity_type as "entityType",
  span.external_id as "externalId",
  span.from_at as "fromAt",
  span.before_at as "beforeAt"
from crm_contact_record_spans(
  $1::uuid,
  $2::uuid[],
  $3::uuid[],
  $4::text[],
  $5::text[]
) as span
order by
  span.connection_id,
  span.entity_type,
  span.external_id,
  span.from_at nulls first`,
});


/** The parameters of {@link contactExportRecords}. */
export interface ContactExportRecordsParams {
  contactIds: string[];
  organisationId: string;
}

/** A row of {@link contactExportRecords}. */
export interface ContactExportRecordsResult {
  account: string | null;
  archivedAt: Timestamp | null;
  connectionId: string | null;
  contactId: string;
  contentHash: string | null;
  entityType: string;
  externalId: string;
  firstSeenAt: Timestamp;
  isPrimary: boolean;
  lastSeenAt: Timestamp;
  mergedIntoEntityType: string | null;
  mergedIntoExternalId: string | null;
  provider: string;
  pushedAt: Timestamp | null;
  remoteModifiedAt: Timestamp | null;
  remoteState: string;
  remoteVersion: string | null;
  replacedAt: Timestamp | null;
  replacedHashes: Json | null;
}

/**
 * Lists the records at CRMs that stand for some contacts: primary ids, aliases, and those in the archive
 * (`archivedAt`). Hashes are in hexadecimal. Leaves out the id of a record that another contact has by now. Returns one
 * row for each record. Uses contact_external_ids_contact_id_provider_key,
 * contact_external_id_aliases_contact_id_provider_idx, contact_external_id_archive_contact_id_idx and primary keys.
 *
 * @remarks
 * ```sql
 * with record as (
 *   select
 *     provider,
 *     null::text as account,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     true as is_primary,
 *     first_seen_at,
 *     last_seen_at,
 *     remote_state,
 *     remote_version,
 *     remote_modified_at,
 *     null::text as merged_into_entity_type,
 *     null::text as merged_into_external_id,
 *     content_hash,
 *     pushed_at,
 *     replaced_hashes,
 *     replaced_at,
 *     null::uuid as connection_id,
 *     null::timestamptz as archived_at
 *   from unnest(:contactIds!::uuid[]) as person (id)
 *   cross join lateral (
 *     select
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id,
 *       first_seen_at,
 *       last_seen_at,
 *       remote_state,
 *       remote_version,
 *       remote_modified_at,
 *       content_hash,
 *       pushed_at,
 *       replaced_hashes,
 *       replaced_at
 *     from contact_external_ids
 *     -- `is true` and `offset 0` keep the planner from reading all of an organisation's ids where statistics are missing.
 *     where (organisation_id = :organisationId!::uuid) is true
 *       and contact_id = person.id
 *     offset 0
 *   ) as mapping
 *   union all
 *   select
 *     provider,
 *     null,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     false,
 *     first_seen_at,
 *     last_seen_at,
 *     remote_state,
 *     remote_version,
 *     remote_modified_at,
 *     merged_into_entity_type,
 *     merged_into_external_id,
 *     content_hash,
 *     pushed_at,
 *     replaced_hashes,
 *     replaced_at,
 *     null,
 *     null
 *   from unnest(:contactIds!::uuid[]) as person (id)
 *   cross join lateral (
 *     select
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id,
 *       first_seen_at,
 *       last_seen_at,
 *       remote_state,
 *       remote_version,
 *       remote_modified_at,
 *       merged_into_entity_type,
 *       merged_into_external_id,
 *       content_hash,
 *       pushed_at,
 *       replaced_hashes,
 *       replaced_at
 *     from contact_external_id_aliases
 *     where (organisation_id = :organisationId!::uuid) is true
 *       and contact_id = person.id
 *     offset 0
 *   ) as alias
 *   union all
 *   select
 *     connection.provider,
 *     connection.account,
 *     archive.entity_type,
 *     archive.external_id,
 *     archive.contact_id,
 *     archive.is_primary,
 *     archive.first_seen_at,
 *     archive.last_seen_at,
 *     archive.remote_state,
 *     null,
 *     archive.remote_modified_at,
 *     archive.merged_into_entity_type,
 *     archive.merged_into_external_id,
 *     null,
 *     null,
 *     null,
 *     null,
 *     archive.connection_id,
 *     archive.archived_at
 *   from contact_external_id_archive as archive
 *   inner join crm_connections as connection
 *     on connection.organisation_id = archive.organisation_id
 *       and connection.id = archive.connection_id
 *   where archive.organisation_id = :organisationId!::uuid
 *     and archive.contact_id = any(:contactIds!::uuid[])
 * )
 * select
 *   record.provider as "provider!",
 *   record.connection_id as "connectionId?",
 *   record.account as "account?",
 *   record.entity_type as "entityType!",
 *   record.external_id as "externalId!",
 *   record.contact_id as "contactId!",
 *   record.is_primary as "isPrimary!",
 *   record.first_seen_at as "firstSeenAt!",
 *   record.last_seen_at as "lastSeenAt!",
 *   record.remote_state as "remoteState!",
 *   record.remote_version as "remoteVersion?",
 *   record.remote_modified_at as "remoteModifiedAt?",
 *   record.merged_into_entity_type as "mergedIntoEntityType?",
 *   case when other.contact_id is null then record.merged_into_external_id end as "mergedIntoExternalId?",
 *   encode(record.content_hash, 'hex') as "contentHash?",
 *   record.pushed_at as "pushedAt?",
 *   case
 *     when record.replaced_hashes is not null
 *       then (select jsonb_agg(encode(hash, 'hex')) from unnest(record.replaced_hashes) as hash)
 *   end as "replacedHashes?",
 *   record.replaced_at as "replacedAt?",
 *   record.archived_at as "archivedAt?"
 * from record
 * left join lateral (
 *   select contact_id
 *   from contact_external_records
 *   where organisation_id = :organisationId!::uuid
 *     and provider = record.provider
 *     and entity_type = record.merged_into_entity_type
 *     and external_id = record.merged_into_external_id
 *     and contact_id <> all(:contactIds!::uuid[])
 *   limit 1
 * ) as other on true
 * order by
 *   record.provider,
 *   record.entity_type,
 *   record.external_id,
 *   record.archived_at nulls first
 * ```
 */
export const contactExportRecords = new PreparedQuery<ContactExportRecordsParams,ContactExportRecordsResult>({
  name: 'contactExportRecords',
  statementName: 'contactExportRecords_d4122ec7',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `with /* contactExportRecords */ record as (
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
  from unnest($1::uuid[]) as person (id)
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
    where (organisation_id = $2::uuid) is true
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
  from unnest($1::uuid[]) as person (id)
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
    where (organisation_id = $2::uuid) is true
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
  where archive.organisation_id = $2::uuid
    and archive.contact_id = any($1::uuid[])
)
select
  record.provider as "provider",
  record.connection_id as "connectionId",
  record.account as "account",
  record.entity_type as "entityType",
  record.external_id as "externalId",
  record.contact_id as "contactId",
  record.is_primary as "isPrimary",
  record.first_seen_at as "firstSeenAt",
  record.last_seen_at as "lastSeenAt",
  record.remote_state as "remoteState",
  record.remote_version as "remoteVersion",
  record.remote_modified_at as "remoteModifiedAt",
  record.merged_into_entity_type as "mergedIntoEntityType",
  case when other.contact_id is null then record.merged_into_external_id end as "mergedIntoExternalId",
  encode(record.content_hash, 'hex') as "contentHash",
  record.pushed_at as "pushedAt",
  case
    when record.replaced_hashes is not null
      then (select jsonb_agg(encode(hash, 'hex')) from unnest(record.replaced_hashes) as hash)
  end as "replacedHashes",
  record.replaced_at as "replacedAt",
  record.archived_at as "archivedAt"
from record
left join lateral (
  select contact_id
  from contact_external_records
  where organisation_id = $2::uuid
    and provider = record.provider
    and entity_type = record.merged_into_entity_type
    and external_id = record.merged_into_external_id
    and contact_id <> all($1::uuid[])
  limit 1
) as other on true
order by
  record.provider,
  record.entity_type,
  record.external_id,
  record.archived_at nulls first`,
});


/** The parameters of {@link contactExportIdentityChanges}. */
export interface ContactExportIdentityChangesParams {
  beforeId?: number | string | null | void;
  contactIds: string[];
  limit: number;
  organisationId: string;
}

/** A row of {@link contactExportIdentityChanges}. */
export interface ContactExportIdentityChangesResult {
  /** When the transaction that made the change began. */
  changedAt: Timestamp;
  /** Who made the change: a role or a program, never a person's name. By default the database user. */
  changedBy: string;
  /** The connection whose account the id belongs to: the live one at that time, or that under which it was archived. Null if there was none. */
  connectionId: string | null;
  /** The entity type of the record. */
  entityType: string | null;
  externalId: string | null;
  fromContactId: string | null;
  /** In the order in which the changes were made. */
  id: string;
  isFromAnother: boolean;
  isPrimary: boolean | null;
  isToAnother: boolean;
  /** unlinked; repointed: moved to another contact; promoted: an alias became the primary id, because that was unlinked, moved or merged; contacts_merged: moved by a merge of two contacts; records_merged: the CRM merged two records; undone: moved back; contact_deleted: the host deleted the contact; archived: the note that the host had deleted the contact moved to contact_external_id_archive with the ids of its account. */
  kind: string;
  linkedAt: Timestamp | null;
  /** Names the changes that one call made together: a merge of contacts is undone by it. Each contact_deleted has its own. */
  operationId: string;
  /** The CRM of the record. Null, as are entity_type and external_id, in the row that says that two contacts were merged, or their merge undone. */
  provider: string | null;
  /** Why, in the words of whoever made the change. No personal data. */
  reason: string | null;
  toContactId: string | null;
  /** The operation that undid this change. */
  undoneBy: string | null;
  wasPrimary: boolean | null;
}

/**
 * Lists the changes in which some contacts had or were given an external id, the latest first: the page of at most
 * `limit` before the change `beforeId` if that is not null. What the change says of another contact is left out: who had
 * the id before, or has it afterwards, and the id itself if only a merge that was undone brought it. Uses contact_external_id_changes_from_contact_id_idx and
 * contact_external_id_changes_to_contact_id_idx.
 *
 * @remarks
 * ```sql
 * with found as (
 *   select page.id
 *   from unnest(:contactIds!::uuid[]) as person (contact_id)
 *   cross join lateral (
 *     (
 *       select id
 *       from contact_external_id_changes
 *       where organisation_id = :organisationId!::uuid
 *         and from_contact_id = person.contact_id
 *         and id < coalesce(:beforeId::bigint, 9223372036854775807)
 *       order by id desc
 *       limit :limit!::integer
 *     )
 *     union
 *     (
 *       select id
 *       from contact_external_id_changes
 *       where organisation_id = :organisationId!::uuid
 *         and to_contact_id = person.contact_id
 *         and id < coalesce(:beforeId::bigint, 9223372036854775807)
 *       order by id desc
 *       limit :limit!::integer
 *     )
 *   ) as page
 * )
 * select
 *   change.id,
 *   change.operation_id as "operationId",
 *   change.kind,
 *   change.provider,
 *   change.connection_id as "connectionId",
 *   change.entity_type as "entityType",
 *   change.external_id as "externalId?",
 *   change.from_contact_id as "fromContactId?",
 *   change.is_from_another as "isFromAnother!",
 *   change.to_contact_id as "toContactId?",
 *   change.is_to_another as "isToAnother!",
 *   change.was_primary as "wasPrimary?",
 *   change.is_primary as "isPrimary?",
 *   change.linked_at as "linkedAt?",
 *   change.changed_at as "changedAt",
 *   change.changed_by as "changedBy",
 *   change.reason,
 *   change.undone_by as "undoneBy"
 * from (
 *   select distinct id
 *   from found
 *   order by id desc
 *   limit :limit!::integer
 * ) as page
 * cross join lateral (
 *   select
 *     entry.id,
 *     entry.operation_id,
 *     entry.kind,
 *     entry.provider,
 *     entry.connection_id,
 *     entry.entity_type,
 *     -- By a merge that was undone, the id was never this person's.
 *     case
 *       when entry.kind = 'undone' and not is_to_person
 *         or entry.undone_by is not null and not is_from_person
 *         then null
 *       else entry.external_id
 *     end as external_id,
 *     case when is_from_person then entry.from_contact_id end as from_contact_id,
 *     entry.from_contact_id is not null and not is_from_person as is_from_another,
 *     case when is_to_person then entry.to_contact_id end as to_contact_id,
 *     entry.to_contact_id is not null and not is_to_person as is_to_another,
 *     case when is_from_person then entry.was_primary end as was_primary,
 *     case when is_to_person then entry.is_primary end as is_primary,
 *     case when is_from_person then entry.linked_at end as linked_at,
 *     entry.changed_at,
 *     entry.changed_by,
 *     entry.reason,
 *     entry.undone_by
 *   from contact_external_id_changes as entry
 *   cross join lateral (
 *     select
 *       coalesce(entry.from_contact_id = any(:contactIds!::uuid[]), false) as is_from_person,
 *       coalesce(entry.to_contact_id = any(:contactIds!::uuid[]), false) as is_to_person
 *   ) as side
 *   where entry.organisation_id = :organisationId!::uuid
 *     and entry.id = page.id
 *   -- Keeps the planner from reading the whole history.
 *   limit 1
 * ) as change
 * order by change.id desc
 * ```
 */
export const contactExportIdentityChanges = new PreparedQuery<ContactExportIdentityChangesParams,ContactExportIdentityChangesResult>({
  name: 'contactExportIdentityChanges',
  statementName: 'contactExportIdentityChanges_a8a781fe',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
    { name: 'beforeId', required: false },
    { name: 'limit', required: true },
  ],
  text: `with /* contactExportIdentityChanges */ found as (
  select page.id
  from unnest($1::uuid[]) as person (contact_id)
  cross join lateral (
    (
      select id
      from contact_external_id_changes
      where organisation_id = $2::uuid
        and from_contact_id = person.contact_id
        and id < coalesce($3::bigint, 9223372036854775807)
      order by id desc
      limit $4::integer
    )
    union
    (
      select id
      from contact_external_id_changes
      where organisation_id = $2::uuid
        and to_contact_id = person.contact_id
        and id < coalesce($3::bigint, 9223372036854775807)
      order by id desc
      limit $4::integer
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
  change.external_id as "externalId",
  change.from_contact_id as "fromContactId",
  change.is_from_another as "isFromAnother",
  change.to_contact_id as "toContactId",
  change.is_to_another as "isToAnother",
  change.was_primary as "wasPrimary",
  change.is_primary as "isPrimary",
  change.linked_at as "linkedAt",
  change.changed_at as "changedAt",
  change.changed_by as "changedBy",
  change.reason,
  change.undone_by as "undoneBy"
from (
  select distinct id
  from found
  order by id desc
  limit $4::integer
) as page
cross join lateral (
  select
    entry.id,
    entry.operation_id,
    entry.kind,
    entry.provider,
    entry.connection_id,
    entry.entity_type,
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
      coalesce(entry.from_contact_id = any($1::uuid[]), false) as is_from_person,
      coalesce(entry.to_contact_id = any($1::uuid[]), false) as is_to_person
  ) as side
  where entry.organisation_id = $2::uuid
    and entry.id = page.id
  limit 1
) as change
order by change.id desc`,
});


/** The parameters of {@link contactExportOutboundChanges}. */
export interface ContactExportOutboundChangesParams {
  contactIds: string[];
  organisationId: string;
}

/** A row of {@link contactExportOutboundChanges}. */
export interface ContactExportOutboundChangesResult {
  /** How often it has been claimed since the last change. More than once if workers died while pushing it. */
  attempts: number;
  /** The connection to push it to. */
  connectionId: string;
  /** The contact that changed. */
  contactId: string;
  /** The time since which a change has been waiting to be pushed. */
  firstChangedAt: Timestamp;
  /** Whether its connection has been made due for it. The host application does not do that itself: its transaction may be long, and would block workers. */
  isAnnounced: boolean;
  /** When the contact last changed. */
  lastChangedAt: Timestamp;
  /** When it can be claimed: at once; after a claim, some time later, so that a contact over which workers die does not block the others. */
  nextAttemptAt: Timestamp;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** A new value with each change, never reused: shows whether the contact has changed again. */
  version: string;
}

/**
 * Lists what must still be pushed of some contacts. Returns one row for each contact and connection. Uses
 * crm_outbound_changes_pkey, and crm_connections_pkey for each row.
 *
 * @remarks
 * ```sql
 * select
 *   change.contact_id as "contactId",
 *   change.connection_id as "connectionId",
 *   connection.provider,
 *   change.version,
 *   change.first_changed_at as "firstChangedAt",
 *   change.last_changed_at as "lastChangedAt",
 *   change.attempts,
 *   change.next_attempt_at as "nextAttemptAt",
 *   change.is_announced as "isAnnounced"
 * from crm_connections as connection
 * cross join unnest(:contactIds!::uuid[]) as person (contact_id)
 * cross join lateral (
 *   select
 *     contact_id,
 *     connection_id,
 *     version,
 *     first_changed_at,
 *     last_changed_at,
 *     attempts,
 *     next_attempt_at,
 *     is_announced
 *   from crm_outbound_changes
 *   where organisation_id = :organisationId!::uuid
 *     and contact_id = person.contact_id
 *     -- `is true` and the limit keep the planner from reading everything that waits.
 *     and (connection_id = connection.id) is true
 *   limit 1
 * ) as change
 * where connection.organisation_id = :organisationId!::uuid
 * order by
 *   change.contact_id,
 *   change.connection_id
 * ```
 */
export const contactExportOutboundChanges = new PreparedQuery<ContactExportOutboundChangesParams,ContactExportOutboundChangesResult>({
  name: 'contactExportOutboundChanges',
  statementName: 'contactExportOutboundChanges_e801ab71',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `select /* contactExportOutboundChanges */
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
cross join unnest($1::uuid[]) as person (contact_id)
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
  where organisation_id = $2::uuid
    and contact_id = person.contact_id
    and (connection_id = connection.id) is true
  limit 1
) as change
where connection.organisation_id = $2::uuid
order by
  change.contact_id,
  change.connection_id`,
});


/** The parameters of {@link contactExportFailures}. */
export interface ContactExportFailuresParams {
  connectionIds: string[];
  contactIds: string[];
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
}

/** A row of {@link contactExportFailures}. */
export interface ContactExportFailuresResult {
  attempts: number;
  connectionId: string;
  direction: string;
  dismissalReason: string | null;
  dismissedAt: Timestamp | null;
  dismissedBy: string | null;
  entityType: string;
  error: Json;
  firstFailedAt: Timestamp;
  gaveUpAt: Timestamp | null;
  id: string;
  kind: string;
  lastFailedAt: Timestamp;
  nextAttemptAt: Timestamp | null;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  recordId: string;
}

/**
 * Lists the failures of some contacts: of pushes, by their ids, and of reads, by their records, one array element of
 * `connectionIds`, `entityTypes` and `externalIds` each. Returns one row for each failure. Uses
 * crm_sync_failures_pkey, for each contact and connection and for each record.
 *
 * @remarks
 * ```sql
 * with found as (
 *   select
 *     pushed.id,
 *     pushed.connection_id,
 *     pushed.direction,
 *     pushed.entity_type,
 *     pushed.record_id,
 *     pushed.attempts,
 *     pushed.error,
 *     pushed.kind,
 *     pushed.first_failed_at,
 *     pushed.last_failed_at,
 *     pushed.next_attempt_at,
 *     pushed.gave_up_at,
 *     pushed.dismissed_at,
 *     pushed.dismissed_by,
 *     pushed.dismissal_reason
 *   from crm_connections as connection
 *   cross join unnest(:contactIds!::uuid[]) as person (contact_id)
 *   cross join lateral (
 *     select
 *       failure.id,
 *       failure.connection_id,
 *       failure.direction,
 *       failure.entity_type,
 *       failure.record_id,
 *       failure.attempts,
 *       failure.error,
 *       failure.kind,
 *       failure.first_failed_at,
 *       failure.last_failed_at,
 *       failure.next_attempt_at,
 *       failure.gave_up_at,
 *       failure.dismissed_at,
 *       failure.dismissed_by,
 *       failure.dismissal_reason
 *     from crm_sync_failures as failure
 *     where failure.organisation_id = :organisationId!::uuid
 *       and failure.connection_id = connection.id
 *       and failure.direction = 'outbound'
 *       -- Not equality: in this order the planner can only read the primary key.
 *       and failure.record_id >= person.contact_id::text
 *       and failure.record_id <= person.contact_id::text
 *     order by
 *       failure.record_id,
 *       failure.entity_type
 *     limit 20
 *   ) as pushed
 *   where connection.organisation_id = :organisationId!::uuid
 *   union all
 *   select
 *     read.id,
 *     read.connection_id,
 *     read.direction,
 *     read.entity_type,
 *     read.record_id,
 *     read.attempts,
 *     read.error,
 *     read.kind,
 *     read.first_failed_at,
 *     read.last_failed_at,
 *     read.next_attempt_at,
 *     read.gave_up_at,
 *     read.dismissed_at,
 *     read.dismissed_by,
 *     read.dismissal_reason
 *   from (
 *     select distinct
 *       connection_id,
 *       entity_type,
 *       external_id
 *     from unnest(:connectionIds!::uuid[], :entityTypes!::text[], :externalIds!::text[])
 *       as given (connection_id, entity_type, external_id)
 *   ) as record
 *   cross join lateral (
 *     select
 *       failure.id,
 *       failure.connection_id,
 *       failure.direction,
 *       failure.entity_type,
 *       failure.record_id,
 *       failure.attempts,
 *       failure.error,
 *       failure.kind,
 *       failure.first_failed_at,
 *       failure.last_failed_at,
 *       failure.next_attempt_at,
 *       failure.gave_up_at,
 *       failure.dismissed_at,
 *       failure.dismissed_by,
 *       failure.dismissal_reason
 *     from crm_sync_failures as failure
 *     where failure.organisation_id = :organisationId!::uuid
 *       and failure.connection_id = record.connection_id
 *       and failure.direction = 'inbound'
 *       and (failure.record_id, failure.entity_type) >= (record.external_id, record.entity_type)
 *       and (failure.record_id, failure.entity_type) <= (record.external_id, record.entity_type)
 *     order by
 *       failure.record_id,
 *       failure.entity_type
 *     limit 1
 *   ) as read
 * )
 * select
 *   found.id as "id!",
 *   found.connection_id as "connectionId!",
 *   connection.provider,
 *   found.direction as "direction!",
 *   found.entity_type as "entityType!",
 *   found.record_id as "recordId!",
 *   found.attempts as "attempts!",
 *   found.error as "error!",
 *   found.kind as "kind!",
 *   found.first_failed_at as "firstFailedAt!",
 *   found.last_failed_at as "lastFailedAt!",
 *   found.next_attempt_at as "nextAttemptAt?",
 *   found.gave_up_at as "gaveUpAt?",
 *   found.dismissed_at as "dismissedAt?",
 *   found.dismissed_by as "dismissedBy?",
 *   found.dismissal_reason as "dismissalReason?"
 * from found
 * inner join crm_connections as connection
 *   on connection.organisation_id = :organisationId!::uuid
 *     and connection.id = found.connection_id
 * order by found.id
 * ```
 */
export const contactExportFailures = new PreparedQuery<ContactExportFailuresParams,ContactExportFailuresResult>({
  name: 'contactExportFailures',
  statementName: 'contactExportFailures_2ce421e1',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionIds', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
  ],
  text: `with /* contactExportFailures */ found as (
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
  cross join unnest($1::uuid[]) as person (contact_id)
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
    where failure.organisation_id = $2::uuid
      and failure.connection_id = connection.id
      and failure.direction = 'outbound'
      and failure.record_id >= person.contact_id::text
      and failure.record_id <= person.contact_id::text
    order by
      failure.record_id,
      failure.entity_type
    limit 20
  ) as pushed
  where connection.organisation_id = $2::uuid
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
    from unnest($3::uuid[], $4::text[], $5::text[])
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
    where failure.organisation_id = $2::uuid
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
  found.id as "id",
  found.connection_id as "connectionId",
  connection.provider,
  found.direction as "direction",
  found.entity_type as "entityType",
  found.record_id as "recordId",
  found.attempts as "attempts",
  found.error as "error",
  found.kind as "kind",
  found.first_failed_at as "firstFailedAt",
  found.last_failed_at as "lastFailedAt",
  found.next_attempt_at as "nextAttemptAt",
  found.gave_up_at as "gaveUpAt",
  found.dismissed_at as "dismissedAt",
  found.dismissed_by as "dismissedBy",
  found.dismissal_reason as "dismissalReason"
from found
inner join crm_connections as connection
  on connection.organisation_id = $2::uuid
    and connection.id = found.connection_id
order by found.id`,
});


/** The parameters of {@link contactExportConflicts}. */
export interface ContactExportConflictsParams {
  beforeTimes: (TimestampInput | null)[];
  connectionIds: string[];
  contactIds: string[];
  entityTypes: string[];
  externalIds: string[];
  fromTimes: (TimestampInput | null)[];
  organisationId: string;
}

/** A row of {@link contactExportConflicts}. */
export interface ContactExportConflictsResult {
  /** When a person said that they had seen it. Null if nobody has since it last happened. */
  acknowledgedAt: Timestamp | null;
  /** Who has seen it: a role or a program, never a person's name. */
  acknowledgedBy: string | null;
  /** The connection to the CRM that has the record. */
  connectionId: string;
  /** NurtureHub's contact when it last happened. Without a foreign key, as in the log. */
  contactId: string;
  /** The kind of record, in the CRM's own terms. */
  entityType: string;
  externalId: string | null;
  /** When it happened first. */
  firstSeenAt: Timestamp;
  /** Names the conflict, and orders those of one instant. */
  id: string;
  /** Whose edit was kept when it last happened: nurturehub, crm, or neither was overwritten until a person decides. */
  kept: string;
  /** When it happened last. */
  lastSeenAt: Timestamp;
  /** How often it has happened. */
  occurrences: number;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
}

/**
 * Lists the conflicts of some contacts. Leaves out the id of a record that was not theirs when it was last edited on both
 * sides: it is if one of the spans has it, one array element of `connectionIds`, `entityTypes`, `externalIds`,
 * `fromTimes` and `beforeTimes` each. Returns one row for each conflict. Uses crm_sync_conflicts_contact_id_idx (`is true`
 * keeps the planner from reading all that the organisation has), and crm_connections_pkey for each row. Nulls are allowed
 * in `fromTimes` and `beforeTimes`.
 *
 * @remarks
 * ```sql
 * select
 *   conflict.id,
 *   conflict.connection_id as "connectionId",
 *   connection.provider,
 *   conflict.entity_type as "entityType",
 *   case
 *     when exists (
 *       select
 *       from unnest(
 *         :connectionIds!::uuid[],
 *         :entityTypes!::text[],
 *         :externalIds!::text[],
 *         :fromTimes!::timestamptz[],
 *         :beforeTimes!::timestamptz[]
 *       ) as span (connection_id, entity_type, external_id, from_at, before_at)
 *       where span.connection_id = conflict.connection_id
 *         and span.entity_type = conflict.entity_type
 *         and span.external_id = conflict.external_id
 *         and conflict.last_seen_at >= coalesce(span.from_at, '-infinity')
 *         and conflict.last_seen_at < coalesce(span.before_at, 'infinity')
 *     )
 *       then conflict.external_id
 *   end as "externalId?",
 *   conflict.contact_id as "contactId",
 *   conflict.kept,
 *   conflict.first_seen_at as "firstSeenAt",
 *   conflict.last_seen_at as "lastSeenAt",
 *   conflict.occurrences,
 *   conflict.acknowledged_at as "acknowledgedAt",
 *   conflict.acknowledged_by as "acknowledgedBy"
 * from unnest(:contactIds!::uuid[]) as person (contact_id)
 * cross join lateral (
 *   select
 *     id,
 *     connection_id,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     kept,
 *     first_seen_at,
 *     last_seen_at,
 *     occurrences,
 *     acknowledged_at,
 *     acknowledged_by
 *   from crm_sync_conflicts
 *   where (organisation_id = :organisationId!::uuid) is true
 *     and contact_id = person.contact_id
 *   offset 0
 * ) as conflict
 * inner join crm_connections as connection
 *   on connection.organisation_id = :organisationId!::uuid
 *     and connection.id = conflict.connection_id
 * order by conflict.id
 * ```
 */
export const contactExportConflicts = new PreparedQuery<ContactExportConflictsParams,ContactExportConflictsResult>({
  name: 'contactExportConflicts',
  statementName: 'contactExportConflicts_903ffee3',
  params: [
    { name: 'connectionIds', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'fromTimes', required: true },
    { name: 'beforeTimes', required: true },
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `select /* contactExportConflicts */
  conflict.id,
  conflict.connection_id as "connectionId",
  connection.provider,
  conflict.entity_type as "entityType",
  case
    when exists (
      select
      from unnest(
        $1::uuid[],
        $2::text[],
        $3::text[],
        $4::timestamptz[],
        $5::timestamptz[]
      ) as span (connection_id, entity_type, external_id, from_at, before_at)
      where span.connection_id = conflict.connection_id
        and span.entity_type = conflict.entity_type
        and span.external_id = conflict.external_id
        and conflict.last_seen_at >= coalesce(span.from_at, '-infinity')
        and conflict.last_seen_at < coalesce(span.before_at, 'infinity')
    )
      then conflict.external_id
  end as "externalId",
  conflict.contact_id as "contactId",
  conflict.kept,
  conflict.first_seen_at as "firstSeenAt",
  conflict.last_seen_at as "lastSeenAt",
  conflict.occurrences,
  conflict.acknowledged_at as "acknowledgedAt",
  conflict.acknowledged_by as "acknowledgedBy"
from unnest($6::uuid[]) as person (contact_id)
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
  where (organisation_id = $7::uuid) is true
    and contact_id = person.contact_id
  offset 0
) as conflict
inner join crm_connections as connection
  on connection.organisation_id = $7::uuid
    and connection.id = conflict.connection_id
order by conflict.id`,
});


/** The parameters of {@link contactExportRecordRequests}. */
export interface ContactExportRecordRequestsParams {
  connectionIds: string[];
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
}

/** A row of {@link contactExportRecordRequests}. */
export interface ContactExportRecordRequestsResult {
  /** How many runs were given the record since it was asked for. Those with few come first, so that a record that crashes its workers does not block the others. */
  attempts: number;
  /** The run that was given the record last. Null if none was since it was asked for: whoever asks again sets it to null, so that the run does not clear what it read too early. */
  claimedRunId: string | null;
  /** The connection to read the record from. */
  connectionId: string;
  /** The kind of record, in the CRM's own terms. */
  entityType: string;
  /** The record's id at the CRM. */
  externalId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** When it was asked for, since it was last claimed. */
  requestedAt: Timestamp;
}

/**
 * Lists the requests for records, one array element of `connectionIds`, `entityTypes` and `externalIds` each. Returns one
 * row for each request. Uses crm_record_requests_pkey.
 *
 * @remarks
 * ```sql
 * select
 *   request.connection_id as "connectionId",
 *   connection.provider,
 *   request.entity_type as "entityType",
 *   request.external_id as "externalId",
 *   request.requested_at as "requestedAt",
 *   request.claimed_run_id as "claimedRunId",
 *   request.attempts
 * from (
 *   select distinct
 *     connection_id,
 *     entity_type,
 *     external_id
 *   from unnest(:connectionIds!::uuid[], :entityTypes!::text[], :externalIds!::text[])
 *     as given (connection_id, entity_type, external_id)
 * ) as record
 * cross join lateral (
 *   select
 *     connection_id,
 *     entity_type,
 *     external_id,
 *     requested_at,
 *     claimed_run_id,
 *     attempts
 *   from crm_record_requests
 *   where organisation_id = :organisationId!::uuid
 *     and connection_id = record.connection_id
 *     and entity_type = record.entity_type
 *     and external_id = record.external_id
 *   limit 1
 * ) as request
 * inner join crm_connections as connection
 *   on connection.organisation_id = :organisationId!::uuid
 *     and connection.id = request.connection_id
 * order by
 *   request.connection_id,
 *   request.entity_type,
 *   request.external_id
 * ```
 */
export const contactExportRecordRequests = new PreparedQuery<ContactExportRecordRequestsParams,ContactExportRecordRequestsResult>({
  name: 'contactExportRecordRequests',
  statementName: 'contactExportRecordRequests_83d42f96',
  params: [
    { name: 'connectionIds', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `select /* contactExportRecordRequests */
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
  from unnest($1::uuid[], $2::text[], $3::text[])
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
  where organisation_id = $4::uuid
    and connection_id = record.connection_id
    and entity_type = record.entity_type
    and external_id = record.external_id
  limit 1
) as request
inner join crm_connections as connection
  on connection.organisation_id = $4::uuid
    and connection.id = request.connection_id
order by
  request.connection_id,
  request.entity_type,
  request.external_id`,
});


/** The parameters of {@link contactExportEvents}. */
export interface ContactExportEventsParams {
  beforeId?: number | string | null | void;
  beforeOccurredAt?: TimestampInput | null | void;
  beforeTimes: (TimestampInput | null)[];
  connectionIds: string[];
  contactIds: string[];
  entityTypes: string[];
  externalIds: string[];
  fromTimes: (TimestampInput | null)[];
  limit: number;
  organisationId: string;
}

/** A row of {@link contactExportEvents}. */
export interface ContactExportEventsResult {
  connectionId: string;
  direction: string;
  entityType: string;
  error: Json | null;
  externalId: string | null;
  id: string;
  internalId: string | null;
  occurredAt: Timestamp;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  reason: string | null;
  status: string;
}

/**
 * Lists the events of some contacts, newest first: the page of at most `limit` before the given one. They are those
 * logged with a contact, and those logged with a record alone at a time at which it was theirs, one array element of
 * `connectionIds`, `entityTypes`, `externalIds`, `fromTimes` and `beforeTimes` each. Of an event with both, leaves out the
 * record if it was not theirs at that time. Uses crm_sync_log_internal_id_idx and crm_sync_log_external_id_idx, which find
 * events in no order, so that each page reads all that are before it; and crm_connections_pkey for each event. Nulls are
 * allowed in `fromTimes` and `beforeTimes`.
 *
 * @remarks
 * ```sql
 * with found as (
 *   select
 *     logged.connection_id,
 *     logged.occurred_at,
 *     logged.id,
 *     logged.direction,
 *     logged.entity_type,
 *     logged.external_id,
 *     logged.internal_id,
 *     logged.status,
 *     logged.error,
 *     logged.reason
 *   from unnest(:contactIds!::uuid[]) as person (contact_id)
 *   cross join lateral (
 *     select
 *       connection_id,
 *       occurred_at,
 *       id,
 *       direction,
 *       entity_type,
 *       external_id,
 *       internal_id,
 *       status,
 *       error,
 *       reason
 *     from crm_sync_log
 *     -- `is true` keeps the planner from the primary key, through which it would read the whole organisation.
 *     where (organisation_id = :organisationId!::uuid) is true
 *       and internal_id = person.contact_id
 *       -- least, not coalesce: under row-level security, a comparison with coalesce could not choose the partitions.
 *       and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')
 *       and (occurred_at, id) < (
 *         least(:beforeOccurredAt::timestamptz, 'infinity'),
 *         least(:beforeId::bigint, 9223372036854775807)
 *       )
 *     order by
 *       occurred_at desc,
 *       id desc
 *     limit :limit!::integer
 *   ) as logged
 *   union all
 *   select
 *     unlinked.connection_id,
 *     unlinked.occurred_at,
 *     unlinked.id,
 *     unlinked.direction,
 *     unlinked.entity_type,
 *     unlinked.external_id,
 *     unlinked.internal_id,
 *     unlinked.status,
 *     unlinked.error,
 *     unlinked.reason
 *   from unnest(
 *     :connectionIds!::uuid[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :fromTimes!::timestamptz[],
 *     :beforeTimes!::timestamptz[]
 *   ) as span (connection_id, entity_type, external_id, from_at, before_at)
 *   cross join lateral (
 *     select
 *       connection_id,
 *       occurred_at,
 *       id,
 *       direction,
 *       entity_type,
 *       external_id,
 *       internal_id,
 *       status,
 *       error,
 *       reason
 *     from crm_sync_log
 *     where organisation_id = :organisationId!::uuid
 *       and external_id = span.external_id
 *       and internal_id is null
 *       and entity_type = span.entity_type
 *       -- `is true` keeps the planner from the primary key, through which it would read the whole connection.
 *       and (connection_id = span.connection_id) is true
 *       and (occurred_at >= coalesce(span.from_at, '-infinity')) is true
 *       and (occurred_at < coalesce(span.before_at, 'infinity')) is true
 *       and (
 *         (occurred_at, id) < (
 *           least(:beforeOccurredAt::timestamptz, 'infinity'),
 *           least(:beforeId::bigint, 9223372036854775807)
 *         )
 *       ) is true
 *     order by
 *       occurred_at desc,
 *       id desc
 *     limit :limit!::integer
 *   ) as unlinked
 * )
 * select
 *   page.id as "id!",
 *   page.connection_id as "connectionId!",
 *   connection.provider,
 *   page.occurred_at as "occurredAt!",
 *   page.direction as "direction!",
 *   page.entity_type as "entityType!",
 *   case
 *     when exists (
 *       select
 *       from unnest(
 *         :connectionIds!::uuid[],
 *         :entityTypes!::text[],
 *         :externalIds!::text[],
 *         :fromTimes!::timestamptz[],
 *         :beforeTimes!::timestamptz[]
 *       ) as span (connection_id, entity_type, external_id, from_at, before_at)
 *       where span.connection_id = page.connection_id
 *         and span.entity_type = page.entity_type
 *         and span.external_id = page.external_id
 *         and page.occurred_at >= coalesce(span.from_at, '-infinity')
 *         and page.occurred_at < coalesce(span.before_at, 'infinity')
 *     )
 *       then page.external_id
 *   end as "externalId?",
 *   page.internal_id as "internalId?",
 *   page.status as "status!",
 *   page.error as "error?",
 *   page.reason as "reason?"
 * from (
 *   select
 *     connection_id,
 *     occurred_at,
 *     id,
 *     direction,
 *     entity_type,
 *     external_id,
 *     internal_id,
 *     status,
 *     error,
 *     reason
 *   from found
 *   order by
 *     occurred_at desc,
 *     id desc
 *   limit :limit!::integer
 * ) as page
 * inner join crm_connections as connection
 *   on connection.organisation_id = :organisationId!::uuid
 *     and connection.id = page.connection_id
 * order by
 *   page.occurred_at desc,
 *   page.id desc
 * ```
 */
export const contactExportEvents = new PreparedQuery<ContactExportEventsParams,ContactExportEventsResult>({
  name: 'contactExportEvents',
  statementName: 'contactExportEvents_0f20278d',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
    { name: 'beforeOccurredAt', required: false },
    { name: 'beforeId', required: false },
    { name: 'limit', required: true },
    { name: 'connectionIds', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'fromTimes', required: true },
    { name: 'beforeTimes', required: true },
  ],
  text: `with /* contactExportEvents */ found as (
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
  from unnest($1::uuid[]) as person (contact_id)
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
    where (organisation_id = $2::uuid) is true
      and internal_id = person.contact_id
      and occurred_at <= least($3::timestamptz, 'infinity')
      and (occurred_at, id) < (
        least($3::timestamptz, 'infinity'),
        least($4::bigint, 9223372036854775807)
      )
    order by
      occurred_at desc,
      id desc
    limit $5::integer
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
    $6::uuid[],
    $7::text[],
    $8::text[],
    $9::timestamptz[],
    $10::timestamptz[]
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
    where organisation_id = $2::uuid
      and external_id = span.external_id
      and internal_id is null
      and entity_type = span.entity_type
      and (connection_id = span.connection_id) is true
      and (occurred_at >= coalesce(span.from_at, '-infinity')) is true
      and (occurred_at < coalesce(span.before_at, 'infinity')) is true
      and (
        (occurred_at, id) < (
          least($3::timestamptz, 'infinity'),
          least($4::bigint, 9223372036854775807)
        )
      ) is true
    order by
      occurred_at desc,
      id desc
    limit $5::integer
  ) as unlinked
)
select
  page.id as "id",
  page.connection_id as "connectionId",
  connection.provider,
  page.occurred_at as "occurredAt",
  page.direction as "direction",
  page.entity_type as "entityType",
  case
    when exists (
      select
      from unnest(
        $6::uuid[],
        $7::text[],
        $8::text[],
        $9::timestamptz[],
        $10::timestamptz[]
      ) as span (connection_id, entity_type, external_id, from_at, before_at)
      where span.connection_id = page.connection_id
        and span.entity_type = page.entity_type
        and span.external_id = page.external_id
        and page.occurred_at >= coalesce(span.from_at, '-infinity')
        and page.occurred_at < coalesce(span.before_at, 'infinity')
    )
      then page.external_id
  end as "externalId",
  page.internal_id as "internalId",
  page.status as "status",
  page.error as "error",
  page.reason as "reason"
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
  limit $5::integer
) as page
inner join crm_connections as connection
  on connection.organisation_id = $2::uuid
    and connection.id = page.connection_id
order by
  page.occurred_at desc,
  page.id desc`,
});


