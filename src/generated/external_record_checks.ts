/** Types generated for queries found in "queries/external_record_checks.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { TimestampInput } from '../types.js';

/** The parameters of {@link externalRecordCheck}. */
export interface ExternalRecordCheckParams {
  areCurrent: boolean[];
  contentHashes: (string | null)[];
  entityTypes: string[];
  externalIds: string[];
  modifiedAts: (TimestampInput | null)[];
  organisationId: string;
  provider: string;
  states: string[];
  versions: (string | null)[];
}

/** A row of {@link externalRecordCheck}. */
export interface ExternalRecordCheckResult {
  contactId: string | null;
  decision: string;
  hasNewContent: boolean;
  matchedBy: string | null;
  position: number;
}

/**
 * Says what to do with records that a CRM has sent, one array element each. Returns one row per element, in
 * order: `position`, counted from 1; `contactId` and `matchedBy` (`primary` or `alias`), unless the record is
 * unknown; and `decision`: `contact_deleted` (the host deleted its contact, and nobody has linked it since; or the person was erased);
 * `older` (it was modified before what is known, or before an earlier element for the same record); `unknown`;
 * `revived` (it was deleted or merged, and is back); `unchanged` (its version or its content is what is known); `echo`
 * (the same, and the content is what was pushed last); or `changed`. A version that was read with another content tells
 * nothing. `older` is also a content that was replaced lately (crm_was_replaced), unless its time is a later one: lists
 * show a push late. A record that was read by its id just now (`areCurrent`), or was asked for (crm_record_requests) and
 * given to a run, is not older than what is known. `hasNewContent`: whether its content, or else its version, is known to be another. Uses the
 * primary keys, crm_connections_organisation_id_provider_live_key, and
 * contact_external_id_changes_external_id_idx for unknown records.
 * Locks the mappings and aliases in the order of their keys, for the transaction that applies the records. Nulls
 * are allowed in `versions`, `modifiedAts` and `contentHashes`, which are SHA-256 in lower-case hex.
 *
 * @remarks
 * ```sql
 * with sent as (
 *   select
 *     record.position,
 *     record.entity_type,
 *     record.external_id,
 *     record.version,
 *     record.modified_at,
 *     max(record.modified_at) over earlier as earlier_modified_at,
 *     -- What an earlier element says is not known yet, but it will be once the batch is recorded.
 *     min(record.content_hash) over earlier <> record.content_hash
 *       or max(record.content_hash) over earlier <> record.content_hash as is_other,
 *     bool_or(record.state in ('deleted', 'merged')) over earlier as was_gone,
 *     record.state,
 *     record.content_hash,
 *     record.is_current
 *   from unnest(
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :versions!::text[],
 *     :modifiedAts!::timestamptz[],
 *     :states!::text[],
 *     :contentHashes!::text[],
 *     :areCurrent!::boolean[]
 *   ) with ordinality as record (
 *     entity_type,
 *     external_id,
 *     version,
 *     modified_at,
 *     state,
 *     content_hash,
 *     is_current,
 *     position
 *   )
 *   where crm_check_organisation(:organisationId!::uuid)
 *   window earlier as (
 *     partition by
 *       record.entity_type collate "C",
 *       record.external_id collate "C"
 *     order by record.position
 *     rows between unbounded preceding and 1 preceding
 *   )
 * ),
 * erased as materialized (
 *   select erased.record_number as position
 *   from crm_find_erased_records(
 *     :organisationId!::uuid,
 *     array_fill(:provider!::text, array[cardinality(:externalIds!::text[])]),
 *     :entityTypes!::text[],
 *     :externalIds!::text[]
 *   ) as erased
 * ),
 * live as (
 *   select id
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and provider = :provider!::text
 *     and status <> 'disconnected'
 * ),
 * known as (
 *   select
 *     sent.position,
 *     sent.version,
 *     sent.modified_at,
 *     sent.modified_at < sent.earlier_modified_at as is_behind,
 *     coalesce(sent.is_other, false) as is_other,
 *     coalesce(sent.was_gone, false) as was_gone,
 *     sent.state,
 *     decode(sent.content_hash, 'hex') as sent_hash,
 *     row.contact_id,
 *     row.is_alias,
 *     row.remote_state,
 *     row.remote_version,
 *     row.remote_modified_at,
 *     row.content_hash,
 *     row.pushed_at,
 *     doubt.is_replaced,
 *     last_change.kind as last_change,
 *     sent.is_current or asked.entity_type is not null as is_current
 *   from (
 *     select
 *       position,
 *       entity_type,
 *       external_id,
 *       version,
 *       modified_at,
 *       earlier_modified_at,
 *       is_other,
 *       was_gone,
 *       state,
 *       content_hash,
 *       is_current
 *     from sent
 *     -- Locks are taken in this order, that of the primary key.
 *     order by
 *       entity_type collate "C",
 *       external_id collate "C"
 *   ) as sent
 *   left join lateral (
 *     select
 *       mapping.*,
 *       false as is_alias
 *     from (
 *       select
 *         contact_id,
 *         remote_state,
 *         remote_version,
 *         remote_modified_at,
 *         content_hash,
 *         pushed_at,
 *         replaced_hashes,
 *         replaced_at
 *       from contact_external_ids
 *       where organisation_id = :organisationId!::uuid
 *         and provider = :provider!::text
 *         and entity_type = sent.entity_type
 *         and external_id = sent.external_id
 *       limit 1
 *       for no key update
 *     ) as mapping
 *     union all
 *     select
 *       alias.*,
 *       true as is_alias
 *     from (
 *       select
 *         contact_id,
 *         remote_state,
 *         remote_version,
 *         remote_modified_at,
 *         content_hash,
 *         pushed_at,
 *         replaced_hashes,
 *         replaced_at
 *       from contact_external_id_aliases
 *       where organisation_id = :organisationId!::uuid
 *         and provider = :provider!::text
 *         and entity_type = sent.entity_type
 *         and external_id = sent.external_id
 *       limit 1
 *       for no key update
 *     ) as alias
 *     -- An alias is looked for only if there is no mapping.
 *     limit 1
 *   ) as row on true
 *   cross join lateral (
 *     select
 *       row.content_hash is not null
 *       and coalesce(sent.modified_at <= row.remote_modified_at, true)
 *       and crm_was_replaced(decode(sent.content_hash, 'hex'), row.replaced_hashes, row.replaced_at) as is_replaced
 *   ) as doubt
 *   left join lateral (
 *     select latest.kind
 *     from (
 *       select
 *         organisation_id,
 *         provider,
 *         entity_type,
 *         external_id,
 *         kind
 *       from contact_external_id_changes
 *       where row.contact_id is null
 *         and (organisation_id, provider, entity_type, external_id)
 *           <= (:organisationId!::uuid, :provider!::text, sent.entity_type, sent.external_id)
 *         and external_id is not null
 *       -- Only a search in this order is sure to use the index of ids: for equal values, the planner may read the
 *       -- whole history of the organisation.
 *       order by
 *         organisation_id desc,
 *         provider desc,
 *         entity_type desc,
 *         external_id desc,
 *         id desc
 *       limit 1
 *     ) as latest
 *     where latest.organisation_id = :organisationId!::uuid
 *       and latest.provider = :provider!::text
 *       and latest.entity_type = sent.entity_type
 *       and latest.external_id = sent.external_id
 *   ) as last_change on true
 *   left join lateral (
 *     select request.entity_type
 *     from live
 *     cross join crm_record_requests as request
 *     where (sent.modified_at < row.remote_modified_at or doubt.is_replaced)
 *       and request.organisation_id = :organisationId!::uuid
 *       and request.connection_id = live.id
 *       and request.entity_type = sent.entity_type
 *       and request.external_id = sent.external_id
 *       and request.claimed_run_id is not null
 *     limit 1
 *   ) as asked on true
 * )
 * select
 *   position::integer as "position!",
 *   contact_id as "contactId?",
 *   case
 *     when is_alias then 'alias'
 *     when contact_id is not null then 'primary'
 *   end as "matchedBy?",
 *   case
 *     when contact_id is null
 *       and (last_change = 'contact_deleted' or position in (select erased.position from erased)) then 'contact_deleted'
 *     -- Before all else: neither its state nor its version is news.
 *     when is_behind then 'older'
 *     when contact_id is null then 'unknown'
 *     when (was_gone or remote_state in ('deleted', 'merged')) and state in ('active', 'archived') then 'revived'
 *     when remote_state <> state then 'changed'
 *     -- Its contact is to have what an earlier element says.
 *     when is_other and (version = remote_version or sent_hash = content_hash) then 'changed'
 *     when version = remote_version and pushed_at is not null then 'echo'
 *     -- Versions are used again: by a CRM that was restored from a backup, or by two edits within a second.
 *     when version = remote_version and coalesce(sent_hash = content_hash, true) then 'unchanged'
 *     when modified_at < remote_modified_at and not is_current then 'older'
 *     when sent_hash = content_hash then case when pushed_at is null then 'unchanged' else 'echo' end
 *     when is_replaced and not is_current then 'older'
 *     else 'changed'
 *   end as "decision!",
 *   is_other or coalesce(sent_hash <> content_hash, version <> remote_version, false) as "hasNewContent!"
 * from known
 * order by position
 * ```
 */
export const externalRecordCheck = new PreparedQuery<ExternalRecordCheckParams,ExternalRecordCheckResult>({
  name: 'externalRecordCheck',
  statementName: 'externalRecordCheck_75e5d9a7',
  params: [
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'versions', required: true },
    { name: 'modifiedAts', required: true },
    { name: 'states', required: true },
    { name: 'contentHashes', required: true },
    { name: 'areCurrent', required: true },
    { name: 'organisationId', required: true },
    { name: 'provider', required: true },
  ],
  text: `with /* externalRecordCheck */ sent as (
  select
    record.position,
    record.entity_type,
    record.external_id,
    record.version,
    record.modified_at,
    max(record.modified_at) over earlier as earlier_modified_at,
    min(record.content_hash) over earlier <> record.content_hash
      or max(record.content_hash) over earlier <> record.content_hash as is_other,
    bool_or(record.state in ('deleted', 'merged')) over earlier as was_gone,
    record.state,
    record.content_hash,
    record.is_current
  from unnest(
    $1::text[],
    $2::text[],
    $3::text[],
    $4::timestamptz[],
    $5::text[],
    $6::text[],
    $7::boolean[]
  ) with ordinality as record (
    entity_type,
    external_id,
    version,
    modified_at,
    state,
    content_hash,
    is_current,
    position
  )
  where crm_check_organisation($8::uuid)
  window earlier as (
    partition by
      record.entity_type collate "C",
      record.external_id collate "C"
    order by record.position
    rows between unbounded preceding and 1 preceding
  )
),
erased as materialized (
  select erased.record_number as position
  from crm_find_erased_records(
    $8::uuid,
    array_fill($9::text, array[cardinality($2::text[])]),
    $1::text[],
    $2::text[]
  ) as erased
),
live as (
  select id
  from crm_connections
  where organisation_id = $8::uuid
    and provider = $9::text
    and status <> 'disconnected'
),
known as (
  select
    sent.position,
    sent.version,
    sent.modified_at,
    sent.modified_at < sent.earlier_modified_at as is_behind,
    coalesce(sent.is_other, false) as is_other,
    coalesce(sent.was_gone, false) as was_gone,
    sent.state,
    decode(sent.content_hash, 'hex') as sent_hash,
    row.contact_id,
    row.is_alias,
    row.remote_state,
    row.remote_version,
    row.remote_modified_at,
    row.content_hash,
    row.pushed_at,
    doubt.is_replaced,
    last_change.kind as last_change,
    sent.is_current or asked.entity_type is not null as is_current
  from (
    select
      position,
      entity_type,
      external_id,
      version,
      modified_at,
      earlier_modified_at,
      is_other,
      was_gone,
      state,
      content_hash,
      is_current
    from sent
    order by
      entity_type collate "C",
      external_id collate "C"
  ) as sent
  left join lateral (
    select
      mapping.*,
      false as is_alias
    from (
      select
        contact_id,
        remote_state,
        remote_version,
        remote_modified_at,
        content_hash,
        pushed_at,
        replaced_hashes,
        replaced_at
      from contact_external_ids
      where organisation_id = $8::uuid
        and provider = $9::text
        and entity_type = sent.entity_type
        and external_id = sent.external_id
      limit 1
      for no key update
    ) as mapping
    union all
    select
      alias.*,
      true as is_alias
    from (
      select
        contact_id,
        remote_state,
        remote_version,
        remote_modified_at,
        content_hash,
        pushed_at,
        replaced_hashes,
        replaced_at
      from contact_external_id_aliases
      where organisation_id = $8::uuid
        and provider = $9::text
        and entity_type = sent.entity_type
        and external_id = sent.external_id
      limit 1
      for no key update
    ) as alias
    limit 1
  ) as row on true
  cross join lateral (
    select
      row.content_hash is not null
      and coalesce(sent.modified_at <= row.remote_modified_at, true)
      and crm_was_replaced(decode(sent.content_hash, 'hex'), row.replaced_hashes, row.replaced_at) as is_replaced
  ) as doubt
  left join lateral (
    select latest.kind
    from (
      select
        organisation_id,
        provider,
        entity_type,
        external_id,
        kind
      from contact_external_id_changes
      where row.contact_id is null
        and (organisation_id, provider, entity_type, external_id)
          <= ($8::uuid, $9::text, sent.entity_type, sent.external_id)
        and external_id is not null
      order by
        organisation_id desc,
        provider desc,
        entity_type desc,
        external_id desc,
        id desc
      limit 1
    ) as latest
    where latest.organisation_id = $8::uuid
      and latest.provider = $9::text
      and latest.entity_type = sent.entity_type
      and latest.external_id = sent.external_id
  ) as last_change on true
  left join lateral (
    select request.entity_type
    from live
    cross join crm_record_requests as request
    where (sent.modified_at < row.remote_modified_at or doubt.is_replaced)
      and request.organisation_id = $8::uuid
      and request.connection_id = live.id
      and request.entity_type = sent.entity_type
      and request.external_id = sent.external_id
      and request.claimed_run_id is not null
    limit 1
  ) as asked on true
)
select
  position::integer as "position",
  contact_id as "contactId",
  case
    when is_alias then 'alias'
    when contact_id is not null then 'primary'
  end as "matchedBy",
  case
    when contact_id is null
      and (last_change = 'contact_deleted' or position in (select erased.position from erased)) then 'contact_deleted'
    when is_behind then 'older'
    when contact_id is null then 'unknown'
    when (was_gone or remote_state in ('deleted', 'merged')) and state in ('active', 'archived') then 'revived'
    when remote_state <> state then 'changed'
    when is_other and (version = remote_version or sent_hash = content_hash) then 'changed'
    when version = remote_version and pushed_at is not null then 'echo'
    when version = remote_version and coalesce(sent_hash = content_hash, true) then 'unchanged'
    when modified_at < remote_modified_at and not is_current then 'older'
    when sent_hash = content_hash then case when pushed_at is null then 'unchanged' else 'echo' end
    when is_replaced and not is_current then 'older'
    else 'changed'
  end as "decision",
  is_other or coalesce(sent_hash <> content_hash, version <> remote_version, false) as "hasNewContent"
from known
order by position`,
});


