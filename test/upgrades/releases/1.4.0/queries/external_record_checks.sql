/* @name externalRecordCheck */
-- Says what to do with records that a CRM has sent, one array element each. Returns one row per element, in
-- order: `position`, counted from 1; `contactId` and `matchedBy` (`primary` or `alias`), unless the record is
-- unknown; and `decision`: `unknown`; `contact_deleted` (the host deleted its contact, and nobody has linked it
-- since); `revived` (it was deleted or merged, and is back); `unchanged` (its version or its content is what is
-- known); `echo` (the same, and the content is what was pushed last); `older` (it was modified before what is
-- known); or `changed`. Uses the primary keys, and contact_external_id_changes_external_id_idx for unknown records.
-- Locks the mappings and aliases in the order of their keys, for the transaction that applies the records. Nulls
-- are allowed in `versions`, `modifiedAts` and `contentHashes`, which are SHA-256 in lower-case hex.
with sent as (
  select
    record.position,
    record.entity_type,
    record.external_id,
    record.version,
    record.modified_at,
    record.state,
    record.content_hash
  from unnest(
    :entityTypes!::text[],
    :externalIds!::text[],
    :versions!::text[],
    :modifiedAts!::timestamptz[],
    :states!::text[],
    :contentHashes!::text[]
  ) with ordinality as record (entity_type, external_id, version, modified_at, state, content_hash, position)
  where crm_check_organisation(:organisationId!::uuid)
),
known as (
  select
    sent.position,
    sent.version,
    sent.modified_at,
    sent.state,
    decode(sent.content_hash, 'hex') as sent_hash,
    row.contact_id,
    row.is_alias,
    row.remote_state,
    row.remote_version,
    row.remote_modified_at,
    row.content_hash,
    row.pushed_at,
    last_change.kind as last_change
  from (
    select
      position,
      entity_type,
      external_id,
      version,
      modified_at,
      state,
      content_hash
    from sent
    -- Locks are taken in this order, that of the primary key.
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
        pushed_at
      from contact_external_ids
      where organisation_id = :organisationId!::uuid
        and provider = :provider!::text
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
        pushed_at
      from contact_external_id_aliases
      where organisation_id = :organisationId!::uuid
        and provider = :provider!::text
        and entity_type = sent.entity_type
        and external_id = sent.external_id
      limit 1
      for no key update
    ) as alias
    -- An alias is looked for only if there is no mapping.
    limit 1
  ) as row on true
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
          <= (:organisationId!::uuid, :provider!::text, sent.entity_type, sent.external_id)
        and external_id is not null
      -- Only a search in this order is sure to use the index of ids: for equal values, the planner may read the
      -- whole history of the organisation.
      order by
        organisation_id desc,
        provider desc,
        entity_type desc,
        external_id desc,
        id desc
      limit 1
    ) as latest
    where latest.organisation_id = :organisationId!::uuid
      and latest.provider = :provider!::text
      and latest.entity_type = sent.entity_type
      and latest.external_id = sent.external_id
  ) as last_change on true
)
select
  position::integer as "position!",
  contact_id as "contactId?",
  case
    when is_alias then 'alias'
    when contact_id is not null then 'primary'
  end as "matchedBy?",
  case
    when contact_id is null and last_change = 'contact_deleted' then 'contact_deleted'
    when contact_id is null then 'unknown'
    when remote_state in ('deleted', 'merged') and state in ('active', 'archived') then 'revived'
    when remote_state <> state then 'changed'
    when version = remote_version then case when pushed_at is null then 'unchanged' else 'echo' end
    when modified_at < remote_modified_at then 'older'
    when sent_hash = content_hash then case when pushed_at is null then 'unchanged' else 'echo' end
    else 'changed'
  end as "decision!"
from known
order by position;
