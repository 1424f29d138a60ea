/** Types generated for queries found in "queries/contact_external_ids.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp } from '../types.js';

/** The parameters of {@link contactExternalIdLink}. */
export interface ContactExternalIdLinkParams {
  contactIds: string[];
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
  providers: string[];
}

/** A row of {@link contactExternalIdLink}. */
export interface ContactExternalIdLinkResult {
  linkedContactId: string | null;
  linkedEntityType: string | null;
  linkedExternalId: string | null;
  outcome: string;
  position: number;
}

/**
 * Links contacts to external ids, one array element each. Refreshes lastSeenAt of an existing link if it
 * is at least a day old. If its record was deleted or merged, it is active again, and its version and content are
 * forgotten. An alias of a contact that has no primary id becomes that (crm_promote_external_ids, noted in
 * contact_external_id_changes). Returns one row per element: `position`, counted from 1, and `outcome`: `linked`,
 * `already_linked` (as primary id or as alias), `external_id_taken` (by `linkedContactId`), `contact_taken` (the
 * contact has the primary id `linkedExternalId`, a `linkedEntityType`, at that provider), `wrong_tenant` (the
 * organisation has no such contact; then nothing is linked), `erased` (its person was erased), or `retry` (a concurrent change decides, and only the
 * next statement can see it). Uses primary keys, contact_external_ids_contact_id_provider_key and the host's key of
 * contacts. Locks the external ids of the organisation at these providers, then the contacts FOR KEY SHARE, then the
 * mappings and the aliases in key order.
 *
 * @remarks
 * ```sql
 * with identity_lock as materialized (
 *   select crm_lock_external_ids(:organisationId!::uuid, :providers!::text[])
 * ),
 * erased as materialized (
 *   select erased.record_number as position
 *   from identity_lock
 *   cross join lateral crm_find_erased_records(
 *     :organisationId!::uuid,
 *     :providers!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[]
 *   ) as erased
 * ),
 * wanted as (
 *   select
 *     link.position,
 *     link.provider,
 *     link.entity_type,
 *     link.external_id,
 *     link.contact_id,
 *     contacts.id is null as is_stranger
 *   from unnest(
 *     :providers!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :contactIds!::uuid[]
 *   ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
 *   cross join identity_lock
 *   left join lateral (
 *     select id
 *     from contacts
 *     where organisation_id = :organisationId!::uuid
 *       and id = link.contact_id
 *     -- Keeps the planner from reading every contact of the organisation.
 *     limit 1
 *   ) as contacts on true
 * ),
 * -- Whoever deletes a contact locks it before its mappings, so this does, too.
 * contact_lock as materialized (
 *   select crm_lock_contacts(:organisationId!::uuid, :contactIds!::uuid[])
 *   from identity_lock
 * ),
 * found as (
 *   select
 *     wanted.position,
 *     wanted.contact_id as wanted_contact_id,
 *     row.organisation_id,
 *     row.provider,
 *     row.entity_type,
 *     row.external_id,
 *     row.contact_id,
 *     row.last_seen_at,
 *     row.remote_state,
 *     row.is_alias
 *   from (
 *     select
 *       position,
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id
 *     from wanted
 *     cross join contact_lock
 *     -- Locks are taken in this order, that of the primary keys of both tables, as batches and checks of records do.
 *     order by
 *       provider collate "C",
 *       entity_type collate "C",
 *       external_id collate "C"
 *   ) as wanted
 *   cross join lateral (
 *     select
 *       mapping.*,
 *       false as is_alias
 *     from (
 *       select
 *         organisation_id,
 *         provider,
 *         entity_type,
 *         external_id,
 *         contact_id,
 *         last_seen_at,
 *         remote_state
 *       from contact_external_ids
 *       where organisation_id = :organisationId!::uuid
 *         and provider = wanted.provider
 *         and entity_type = wanted.entity_type
 *         and external_id = wanted.external_id
 *       -- Keeps the planner from reading every row of the organisation.
 *       limit 1
 *       for no key update
 *     ) as mapping
 *     union all
 *     select
 *       alias.*,
 *       true as is_alias
 *     from (
 *       select
 *         organisation_id,
 *         provider,
 *         entity_type,
 *         external_id,
 *         contact_id,
 *         last_seen_at,
 *         remote_state
 *       from contact_external_id_aliases
 *       where organisation_id = :organisationId!::uuid
 *         and provider = wanted.provider
 *         and entity_type = wanted.entity_type
 *         and external_id = wanted.external_id
 *       -- Keeps the planner from reading every row of the organisation.
 *       limit 1
 *       for no key update
 *     ) as alias
 *     -- An alias is looked for only if there is no mapping.
 *     limit 1
 *   ) as row
 * ),
 * existing_primary as (
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     last_seen_at,
 *     remote_state
 *   from found
 *   where not is_alias
 * ),
 * existing_alias as (
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     last_seen_at,
 *     remote_state
 *   from found
 *   where is_alias
 * ),
 * existing as (
 *   select
 *     position,
 *     contact_id
 *   from existing_primary
 *   union all
 *   select
 *     position,
 *     contact_id
 *   from existing_alias
 * ),
 * -- Somebody has decided that the record is this contact's: a tombstone ends. What it holds was never applied, so the
 * -- next read must be a change.
 * seen as (
 *   update contact_external_ids as mapping
 *   set
 *     last_seen_at = now(),
 *     remote_state = case existing.remote_state when 'deleted' then 'active' else existing.remote_state end,
 *     remote_version = case when existing.remote_state <> 'deleted' then mapping.remote_version end,
 *     remote_modified_at = case when existing.remote_state <> 'deleted' then mapping.remote_modified_at end,
 *     content_hash = case when existing.remote_state <> 'deleted' then mapping.content_hash end,
 *     pushed_at = case when existing.remote_state <> 'deleted' then mapping.pushed_at end
 *   from existing_primary as existing
 *   where existing.contact_id = existing.wanted_contact_id
 *     and (existing.last_seen_at < now() - interval '1 day' or existing.remote_state = 'deleted')
 *     -- By the row's own key, not by the parameter, for which the planner may read the whole organisation.
 *     and mapping.organisation_id = existing.organisation_id
 *     and mapping.provider = existing.provider
 *     and mapping.entity_type = existing.entity_type
 *     and mapping.external_id = existing.external_id
 *     and not exists (select from wanted where is_stranger)
 * ),
 * seen_alias as (
 *   update contact_external_id_aliases as alias
 *   set
 *     last_seen_at = now(),
 *     remote_state = case when existing.remote_state in ('deleted', 'merged') then 'active' else existing.remote_state end,
 *     remote_version = case when existing.remote_state not in ('deleted', 'merged') then alias.remote_version end,
 *     remote_modified_at = case when existing.remote_state not in ('deleted', 'merged') then alias.remote_modified_at end,
 *     content_hash = case when existing.remote_state not in ('deleted', 'merged') then alias.content_hash end,
 *     pushed_at = case when existing.remote_state not in ('deleted', 'merged') then alias.pushed_at end,
 *     merged_into_entity_type = null,
 *     merged_into_external_id = null
 *   from existing_alias as existing
 *   where existing.contact_id = existing.wanted_contact_id
 *     and (existing.last_seen_at < now() - interval '1 day' or existing.remote_state in ('deleted', 'merged'))
 *     -- As above.
 *     and alias.organisation_id = existing.organisation_id
 *     and alias.provider = existing.provider
 *     and alias.entity_type = existing.entity_type
 *     and alias.external_id = existing.external_id
 *     and not exists (select from wanted where is_stranger)
 *   returning alias.external_id
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
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id
 *   from wanted
 *   where position not in (select position from existing)
 *     and not exists (select from wanted where is_stranger)
 *   order by
 *     provider,
 *     entity_type,
 *     external_id,
 *     position
 *   on conflict do nothing
 *   returning
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id
 * ),
 * -- An alias of a contact that has no primary id becomes it: otherwise a push would make a second record.
 * promoted as (
 *   select
 *     promotion.provider,
 *     promotion.entity_type,
 *     promotion.external_id,
 *     promotion.contact_id,
 *     promotion.first_seen_at
 *   from (
 *     select
 *       array_agg(contact_id) as contact_ids,
 *       array_agg(provider) as providers,
 *       array_agg(entity_type) as entity_types
 *     from existing_alias
 *     where contact_id = wanted_contact_id
 *       and not exists (select from wanted where is_stranger)
 *       -- After what else this call does.
 *       and (select count(*) from seen_alias) + (select count(*) from linked) >= 0
 *   ) as confirmed
 *   cross join lateral crm_promote_external_ids(
 *     :organisationId!::uuid,
 *     confirmed.contact_ids,
 *     confirmed.providers,
 *     confirmed.entity_types
 *   ) as promotion
 * ),
 * noted as (
 *   insert into contact_external_id_changes (
 *     organisation_id,
 *     kind,
 *     provider,
 *     entity_type,
 *     external_id,
 *     connection_id,
 *     from_contact_id,
 *     to_contact_id,
 *     was_primary,
 *     is_primary,
 *     linked_at
 *   )
 *   select
 *     :organisationId!::uuid,
 *     'promoted',
 *     promoted.provider,
 *     promoted.entity_type,
 *     promoted.external_id,
 *     connection.id,
 *     promoted.contact_id,
 *     promoted.contact_id,
 *     false,
 *     true,
 *     promoted.first_seen_at
 *   from promoted
 *   left join crm_connections as connection
 *     on connection.organisation_id = :organisationId!::uuid
 *     and connection.provider = promoted.provider
 *     and connection.status <> 'disconnected'
 * )
 * select
 *   wanted.position::integer as "position!",
 *   case
 *     when wanted.is_stranger then 'wrong_tenant'
 *     when linked_id.contact_id = wanted.contact_id then 'linked'
 *     when existing.contact_id = wanted.contact_id then 'already_linked'
 *     when wanted.position in (select erased.position from erased) then 'erased'
 *     when coalesce(linked_id.contact_id, existing.contact_id) is not null then 'external_id_taken'
 *     when coalesce(linked_contact.external_id, other.external_id) is not null then 'contact_taken'
 *     else 'retry'
 *   end as "outcome!",
 *   coalesce(linked_id.contact_id, existing.contact_id) as "linkedContactId?",
 *   coalesce(linked_contact.entity_type, other.entity_type) as "linkedEntityType?",
 *   coalesce(linked_contact.external_id, other.external_id) as "linkedExternalId?"
 * from wanted
 * left join existing
 *   on existing.position = wanted.position
 * left join linked as linked_id
 *   on linked_id.provider = wanted.provider
 *   and linked_id.entity_type = wanted.entity_type
 *   and linked_id.external_id = wanted.external_id
 * left join linked as linked_contact
 *   on linked_contact.provider = wanted.provider
 *   and linked_contact.contact_id = wanted.contact_id
 * left join lateral (
 *   select
 *     mapping.entity_type,
 *     mapping.external_id
 *   from contact_external_ids as mapping
 *   where (mapping.organisation_id = :organisationId!::uuid) is true
 *     and mapping.provider = wanted.provider
 *     and mapping.contact_id = wanted.contact_id
 *     -- If the wanted mapping is visible here but was not locked above, it was deleted in between.
 *     and (mapping.entity_type, mapping.external_id) <> (wanted.entity_type, wanted.external_id)
 *   limit 1
 * ) as other on true
 * order by wanted.position
 * ```
 */
export const contactExternalIdLink = new PreparedQuery<ContactExternalIdLinkParams,ContactExternalIdLinkResult>({
  name: 'contactExternalIdLink',
  statementName: 'contactExternalIdLink_7b26b3d0',
  params: [
    { name: 'organisationId', required: true },
    { name: 'providers', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'contactIds', required: true },
  ],
  text: `with /* contactExternalIdLink */ identity_lock as materialized (
  select crm_lock_external_ids($1::uuid, $2::text[])
),
erased as materialized (
  select erased.record_number as position
  from identity_lock
  cross join lateral crm_find_erased_records(
    $1::uuid,
    $2::text[],
    $3::text[],
    $4::text[]
  ) as erased
),
wanted as (
  select
    link.position,
    link.provider,
    link.entity_type,
    link.external_id,
    link.contact_id,
    contacts.id is null as is_stranger
  from unnest(
    $2::text[],
    $3::text[],
    $4::text[],
    $5::uuid[]
  ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
  cross join identity_lock
  left join lateral (
    select id
    from contacts
    where organisation_id = $1::uuid
      and id = link.contact_id
    limit 1
  ) as contacts on true
),
contact_lock as materialized (
  select crm_lock_contacts($1::uuid, $5::uuid[])
  from identity_lock
),
found as (
  select
    wanted.position,
    wanted.contact_id as wanted_contact_id,
    row.organisation_id,
    row.provider,
    row.entity_type,
    row.external_id,
    row.contact_id,
    row.last_seen_at,
    row.remote_state,
    row.is_alias
  from (
    select
      position,
      provider,
      entity_type,
      external_id,
      contact_id
    from wanted
    cross join contact_lock
    order by
      provider collate "C",
      entity_type collate "C",
      external_id collate "C"
  ) as wanted
  cross join lateral (
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
        remote_state
      from contact_external_ids
      where organisation_id = $1::uuid
        and provider = wanted.provider
        and entity_type = wanted.entity_type
        and external_id = wanted.external_id
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
        remote_state
      from contact_external_id_aliases
      where organisation_id = $1::uuid
        and provider = wanted.provider
        and entity_type = wanted.entity_type
        and external_id = wanted.external_id
      limit 1
      for no key update
    ) as alias
    limit 1
  ) as row
),
existing_primary as (
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    last_seen_at,
    remote_state
  from found
  where not is_alias
),
existing_alias as (
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    last_seen_at,
    remote_state
  from found
  where is_alias
),
existing as (
  select
    position,
    contact_id
  from existing_primary
  union all
  select
    position,
    contact_id
  from existing_alias
),
seen as (
  update contact_external_ids as mapping
  set
    last_seen_at = now(),
    remote_state = case existing.remote_state when 'deleted' then 'active' else existing.remote_state end,
    remote_version = case when existing.remote_state <> 'deleted' then mapping.remote_version end,
    remote_modified_at = case when existing.remote_state <> 'deleted' then mapping.remote_modified_at end,
    content_hash = case when existing.remote_state <> 'deleted' then mapping.content_hash end,
    pushed_at = case when existing.remote_state <> 'deleted' then mapping.pushed_at end
  from existing_primary as existing
  where existing.contact_id = existing.wanted_contact_id
    and (existing.last_seen_at < now() - interval '1 day' or existing.remote_state = 'deleted')
    and mapping.organisation_id = existing.organisation_id
    and mapping.provider = existing.provider
    and mapping.entity_type = existing.entity_type
    and mapping.external_id = existing.external_id
    and not exists (select from wanted where is_stranger)
),
seen_alias as (
  update contact_external_id_aliases as alias
  set
    last_seen_at = now(),
    remote_state = case when existing.remote_state in ('deleted', 'merged') then 'active' else existing.remote_state end,
    remote_version = case when existing.remote_state not in ('deleted', 'merged') then alias.remote_version end,
    remote_modified_at = case when existing.remote_state not in ('deleted', 'merged') then alias.remote_modified_at end,
    content_hash = case when existing.remote_state not in ('deleted', 'merged') then alias.content_hash end,
    pushed_at = case when existing.remote_state not in ('deleted', 'merged') then alias.pushed_at end,
    merged_into_entity_type = null,
    merged_into_external_id = null
  from existing_alias as existing
  where existing.contact_id = existing.wanted_contact_id
    and (existing.last_seen_at < now() - interval '1 day' or existing.remote_state in ('deleted', 'merged'))
    and alias.organisation_id = existing.organisation_id
    and alias.provider = existing.provider
    and alias.entity_type = existing.entity_type
    and alias.external_id = existing.external_id
    and not exists (select from wanted where is_stranger)
  returning alias.external_id
),
linked as (
  insert into contact_external_ids (
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id
  )
  select
    $1::uuid,
    provider,
    entity_type,
    external_id,
    contact_id
  from wanted
  where position not in (select position from existing)
    and not exists (select from wanted where is_stranger)
  order by
    provider,
    entity_type,
    external_id,
    position
  on conflict do nothing
  returning
    provider,
    entity_type,
    external_id,
    contact_id
),
promoted as (
  select
    promotion.provider,
    promotion.entity_type,
    promotion.external_id,
    promotion.contact_id,
    promotion.first_seen_at
  from (
    select
      array_agg(contact_id) as contact_ids,
      array_agg(provider) as providers,
      array_agg(entity_type) as entity_types
    from existing_alias
    where contact_id = wanted_contact_id
      and not exists (select from wanted where is_stranger)
      and (select count(*) from seen_alias) + (select count(*) from linked) >= 0
  ) as confirmed
  cross join lateral crm_promote_external_ids(
    $1::uuid,
    confirmed.contact_ids,
    confirmed.providers,
    confirmed.entity_types
  ) as promotion
),
noted as (
  insert into contact_external_id_changes (
    organisation_id,
    kind,
    provider,
    entity_type,
    external_id,
    connection_id,
    from_contact_id,
    to_contact_id,
    was_primary,
    is_primary,
    linked_at
  )
  select
    $1::uuid,
    'promoted',
    promoted.provider,
    promoted.entity_type,
    promoted.external_id,
    connection.id,
    promoted.contact_id,
    promoted.contact_id,
    false,
    true,
    promoted.first_seen_at
  from promoted
  left join crm_connections as connection
    on connection.organisation_id = $1::uuid
    and connection.provider = promoted.provider
    and connection.status <> 'disconnected'
)
select
  wanted.position::integer as "position",
  case
    when wanted.is_stranger then 'wrong_tenant'
    when linked_id.contact_id = wanted.contact_id then 'linked'
    when existing.contact_id = wanted.contact_id then 'already_linked'
    when wanted.position in (select erased.position from erased) then 'erased'
    when coalesce(linked_id.contact_id, existing.contact_id) is not null then 'external_id_taken'
    when coalesce(linked_contact.external_id, other.external_id) is not null then 'contact_taken'
    else 'retry'
  end as "outcome",
  coalesce(linked_id.contact_id, existing.contact_id) as "linkedContactId",
  coalesce(linked_contact.entity_type, other.entity_type) as "linkedEntityType",
  coalesce(linked_contact.external_id, other.external_id) as "linkedExternalId"
from wanted
left join existing
  on existing.position = wanted.position
left join linked as linked_id
  on linked_id.provider = wanted.provider
  and linked_id.entity_type = wanted.entity_type
  and linked_id.external_id = wanted.external_id
left join linked as linked_contact
  on linked_contact.provider = wanted.provider
  and linked_contact.contact_id = wanted.contact_id
left join lateral (
  select
    mapping.entity_type,
    mapping.external_id
  from contact_external_ids as mapping
  where (mapping.organisation_id = $1::uuid) is true
    and mapping.provider = wanted.provider
    and mapping.contact_id = wanted.contact_id
    and (mapping.entity_type, mapping.external_id) <> (wanted.entity_type, wanted.external_id)
  limit 1
) as other on true
order by wanted.position`,
});


/** The parameters of {@link contactExternalIdLinkAlias}. */
export interface ContactExternalIdLinkAliasParams {
  contactIds: string[];
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
  providers: string[];
}

/** A row of {@link contactExternalIdLinkAlias}. */
export interface ContactExternalIdLinkAliasResult {
  position: number;
}

/**
 * Links contacts to further external ids as aliases, one array element each, after contactExternalIdLink has
 * found that they have a primary id. Returns one row per alias that it linked: its `position`, counted from
 * 1. A missing one depends on a concurrent change: link it again. Uses primary keys and the host's key of
 * contacts. Locks the external ids of the organisation at these providers and the contacts FOR KEY SHARE.
 *
 * @remarks
 * ```sql
 * with identity_lock as materialized (
 *   select crm_lock_external_ids(:organisationId!::uuid, :providers!::text[])
 * ),
 * wanted as (
 *   select
 *     link.position,
 *     link.provider,
 *     link.entity_type,
 *     link.external_id,
 *     link.contact_id
 *   from unnest(
 *     :providers!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :contactIds!::uuid[]
 *   ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
 *   cross join identity_lock
 * ),
 * linked as (
 *   insert into contact_external_id_aliases (
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id
 *   )
 *   select
 *     :organisationId!::uuid,
 *     wanted.provider,
 *     wanted.entity_type,
 *     wanted.external_id,
 *     wanted.contact_id
 *   from wanted
 *   -- Without a primary id, it must not become an alias; without the contact, nothing.
 *   cross join lateral (
 *     select contact_id
 *     from contact_external_ids as mapping
 *     where (mapping.organisation_id = :organisationId!::uuid) is true
 *       and mapping.provider = wanted.provider
 *       and mapping.contact_id = wanted.contact_id
 *     limit 1
 *     for key share
 *   ) as mapping
 *   order by
 *     wanted.provider collate "C",
 *     wanted.entity_type collate "C",
 *     wanted.external_id collate "C",
 *     wanted.position
 *   on conflict do nothing
 *   returning
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id
 * )
 * select wanted.position::integer as "position!"
 * from wanted
 * inner join linked
 *   on linked.provider = wanted.provider
 *   and linked.entity_type = wanted.entity_type
 *   and linked.external_id = wanted.external_id
 *   and linked.contact_id = wanted.contact_id
 * order by wanted.position
 * ```
 */
export const contactExternalIdLinkAlias = new PreparedQuery<ContactExternalIdLinkAliasParams,ContactExternalIdLinkAliasResult>({
  name: 'contactExternalIdLinkAlias',
  statementName: 'contactExternalIdLinkAlias_5b6350cf',
  params: [
    { name: 'organisationId', required: true },
    { name: 'providers', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'contactIds', required: true },
  ],
  text: `with /* contactExternalIdLinkAlias */ identity_lock as materialized (
  select crm_lock_external_ids($1::uuid, $2::text[])
),
wanted as (
  select
    link.position,
    link.provider,
    link.entity_type,
    link.external_id,
    link.contact_id
  from unnest(
    $2::text[],
    $3::text[],
    $4::text[],
    $5::uuid[]
  ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
  cross join identity_lock
),
linked as (
  insert into contact_external_id_aliases (
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id
  )
  select
    $1::uuid,
    wanted.provider,
    wanted.entity_type,
    wanted.external_id,
    wanted.contact_id
  from wanted
  cross join lateral (
    select contact_id
    from contact_external_ids as mapping
    where (mapping.organisation_id = $1::uuid) is true
      and mapping.provider = wanted.provider
      and mapping.contact_id = wanted.contact_id
    limit 1
    for key share
  ) as mapping
  order by
    wanted.provider collate "C",
    wanted.entity_type collate "C",
    wanted.external_id collate "C",
    wanted.position
  on conflict do nothing
  returning
    provider,
    entity_type,
    external_id,
    contact_id
)
select wanted.position::integer as "position"
from wanted
inner join linked
  on linked.provider = wanted.provider
  and linked.entity_type = wanted.entity_type
  and linked.external_id = wanted.external_id
  and linked.contact_id = wanted.contact_id
order by wanted.position`,
});


/** The parameters of {@link contactExternalIdListByContacts}. */
export interface ContactExternalIdListByContactsParams {
  contactIds: string[];
  organisationId: string;
}

/** A row of {@link contactExternalIdListByContacts}. */
export interface ContactExternalIdListByContactsResult {
  /** NurtureHub's contact. */
  contactId: string;
  /** What kind of record the id names, in the provider's terms: an external id means something only together with it. */
  entityType: string;
  /** The record's id at the CRM: case-sensitive text, whatever type the CRM sends. */
  externalId: string;
  /** When the contact was first linked to this external id. Reset when the id is re-pointed to another contact. */
  firstSeenAt: Timestamp;
  /** When a sync last confirmed the link, to within a day: an update at every sync would cost more than it is worth. */
  lastSeenAt: Timestamp;
  /** The CRM that assigned the id. The mapping outlives the connection: it applies again after a reconnect. */
  provider: string;
}

/**
 * Lists the primary ids of the given contacts, by contact and provider. Returns at most one row per
 * contact and provider. Uses contact_external_ids_contact_id_provider_key. `is true` keeps the planner
 * from the primary key, through which it would read every mapping of the organisation, and `offset 0` from
 * reading the whole table at once.
 *
 * @remarks
 * ```sql
 * select
 *   mapping.contact_id as "contactId",
 *   mapping.provider,
 *   mapping.entity_type as "entityType",
 *   mapping.external_id as "externalId",
 *   mapping.first_seen_at as "firstSeenAt",
 *   mapping.last_seen_at as "lastSeenAt"
 * from (select distinct contact_id from unnest(:contactIds!::uuid[]) as given (contact_id)) as wanted
 * cross join lateral (
 *   select
 *     contact_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     first_seen_at,
 *     last_seen_at
 *   from contact_external_ids
 *   where (organisation_id = :organisationId!::uuid) is true
 *     and contact_id = wanted.contact_id
 *   offset 0
 * ) as mapping
 * order by
 *   mapping.contact_id,
 *   mapping.provider
 * ```
 */
export const contactExternalIdListByContacts = new PreparedQuery<ContactExternalIdListByContactsParams,ContactExternalIdListByContactsResult>({
  name: 'contactExternalIdListByContacts',
  statementName: 'contactExternalIdListByContacts_a7f96e34',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `select /* contactExternalIdListByContacts */
  mapping.contact_id as "contactId",
  mapping.provider,
  mapping.entity_type as "entityType",
  mapping.external_id as "externalId",
  mapping.first_seen_at as "firstSeenAt",
  mapping.last_seen_at as "lastSeenAt"
from (select distinct contact_id from unnest($1::uuid[]) as given (contact_id)) as wanted
cross join lateral (
  select
    contact_id,
    provider,
    entity_type,
    external_id,
    first_seen_at,
    last_seen_at
  from contact_external_ids
  where (organisation_id = $2::uuid) is true
    and contact_id = wanted.contact_id
  offset 0
) as mapping
order by
  mapping.contact_id,
  mapping.provider`,
});


/** The parameters of {@link contactExternalIdLock}. */
export interface ContactExternalIdLockParams {
  organisationId: string;
  providers: string[];
}

/** A row of {@link contactExternalIdLock}. */
export interface ContactExternalIdLockResult {
  isLocked: boolean;
}

/**
 * Locks what the external ids of an organisation mean at some CRMs, until the end of the transaction. Returns
 * one row. Waits for whoever holds the lock; only the statements after this one see what that holder did.
 *
 * @remarks
 * ```sql
 * select crm_lock_external_ids(:organisationId!::uuid, :providers!::text[]) is not null as "isLocked!"
 * where crm_check_organisation(:organisationId!::uuid)
 * ```
 */
export const contactExternalIdLock = new PreparedQuery<ContactExternalIdLockParams,ContactExternalIdLockResult>({
  name: 'contactExternalIdLock',
  statementName: 'contactExternalIdLock_20277ca4',
  params: [
    { name: 'organisationId', required: true },
    { name: 'providers', required: true },
  ],
  text: `select /* contactExternalIdLock */ crm_lock_external_ids($1::uuid, $2::text[]) is not null as "isLocked"
where crm_check_organisation($1::uuid)`,
});


/** The parameters of {@link contactExternalIdRepoint}. */
export interface ContactExternalIdRepointParams {
  changedBy?: string | null | void;
  entityTypes: string[];
  externalIds: string[];
  fromContactIds: string[];
  organisationId: string;
  providers: string[];
  reason?: string | null | void;
  toContactIds: string[];
}

/** A row of {@link contactExternalIdRepoint}. */
export interface ContactExternalIdRepointResult {
  outcome: string;
  position: number;
}

/**
 * Moves external ids from one contact to another, one array element each, all or nothing. A swap is two
 * elements. An id becomes the primary id of its new contact, and the contact that it leaves gets another
 * (crm_promote_external_ids); a merged record stays an alias. Version and content are forgotten: the new contact has
 * not taken them. Returns one row per element: `position`,
 * counted from 1, and `outcome`. If all are `moved`, they were moved. Otherwise nothing was, and `outcome`
 * says why: `mapping_changed` (the id is not mapped to the contact from which it should move),
 * `contact_taken` (the new contact would have two primary ids at that provider), `wrong_tenant` (the
 * organisation has no such contact) or `held` (nothing is wrong with this element). Uses primary keys,
 * contact_external_ids_contact_id_provider_key, contact_external_id_aliases_contact_id_provider_idx and the host's
 * key of contacts. Locks the external ids of the organisation at these providers, then the contacts FOR KEY
 * SHARE, then the mappings and the aliases in key order. Records the moves in contact_external_id_changes.
 *
 * @remarks
 * ```sql
 * with identity_lock as materialized (
 *   select crm_lock_external_ids(:organisationId!::uuid, :providers!::text[])
 * ),
 * contact_lock as materialized (
 *   select crm_lock_contacts(:organisationId!::uuid, :fromContactIds!::uuid[] || :toContactIds!::uuid[])
 *   from identity_lock
 * ),
 * wanted as (
 *   select
 *     move.position,
 *     move.provider,
 *     move.entity_type,
 *     move.external_id,
 *     move.from_contact_id,
 *     move.to_contact_id,
 *     contacts.id is null as is_stranger
 *   from unnest(
 *     :providers!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :fromContactIds!::uuid[],
 *     :toContactIds!::uuid[]
 *   ) with ordinality as move (provider, entity_type, external_id, from_contact_id, to_contact_id, position)
 *   cross join contact_lock
 *   left join lateral (
 *     select id
 *     from contacts
 *     where organisation_id = :organisationId!::uuid
 *       and id = move.to_contact_id
 *     -- Keeps the planner from reading every contact of the organisation.
 *     limit 1
 *   ) as contacts on true
 * ),
 * found as (
 *   select
 *     wanted.position,
 *     wanted.from_contact_id as wanted_contact_id,
 *     row.organisation_id,
 *     row.provider,
 *     row.entity_type,
 *     row.external_id,
 *     row.contact_id,
 *     row.first_seen_at,
 *     row.remote_state,
 *     row.remote_modified_at,
 *     row.content_hash,
 *     row.replaced_hashes,
 *     row.replaced_at,
 *     row.is_alias
 *   from (
 *     select
 *       position,
 *       provider,
 *       entity_type,
 *       external_id,
 *       from_contact_id
 *     from wanted
 *     -- Locks are taken in this order, that of the primary keys of both tables, as batches and checks of records do.
 *     order by
 *       provider collate "C",
 *       entity_type collate "C",
 *       external_id collate "C"
 *   ) as wanted
 *   cross join lateral (
 *     select
 *       mapping.*,
 *       false as is_alias
 *     from (
 *       select
 *         organisation_id,
 *         provider,
 *         entity_type,
 *         external_id,
 *         contact_id,
 *         first_seen_at,
 *         remote_state,
 *         remote_modified_at,
 *         content_hash,
 *         replaced_hashes,
 *         replaced_at
 *       from contact_external_ids
 *       where organisation_id = :organisationId!::uuid
 *         and provider = wanted.provider
 *         and entity_type = wanted.entity_type
 *         and external_id = wanted.external_id
 *         and (contact_id = wanted.from_contact_id) is true
 *       -- Keeps the planner from reading every row of the organisation.
 *       limit 1
 *       for update
 *     ) as mapping
 *     union all
 *     select
 *       alias.*,
 *       true as is_alias
 *     from (
 *       select
 *         organisation_id,
 *         provider,
 *         entity_type,
 *         external_id,
 *         contact_id,
 *         first_seen_at,
 *         remote_state,
 *         remote_modified_at,
 *         content_hash,
 *         replaced_hashes,
 *         replaced_at
 *       from contact_external_id_aliases
 *       where organisation_id = :organisationId!::uuid
 *         and provider = wanted.provider
 *         and entity_type = wanted.entity_type
 *         and external_id = wanted.external_id
 *         and (contact_id = wanted.from_contact_id) is true
 *       -- Keeps the planner from reading every row of the organisation.
 *       limit 1
 *       for update
 *     ) as alias
 *     -- An alias is looked for only if there is no mapping.
 *     limit 1
 *   ) as row
 * ),
 * held_primary as (
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     first_seen_at,
 *     remote_state,
 *     remote_modified_at,
 *     content_hash,
 *     replaced_hashes,
 *     replaced_at
 *   from found
 *   where not is_alias
 * ),
 * held_alias as (
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     first_seen_at,
 *     remote_state,
 *     remote_modified_at,
 *     content_hash,
 *     replaced_hashes,
 *     replaced_at
 *   from found
 *   where is_alias
 * ),
 * held as (
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     first_seen_at,
 *     remote_state,
 *     remote_modified_at,
 *     content_hash,
 *     replaced_hashes,
 *     replaced_at,
 *     true as is_primary
 *   from held_primary
 *   union all
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     first_seen_at,
 *     remote_state,
 *     remote_modified_at,
 *     content_hash,
 *     replaced_hashes,
 *     replaced_at,
 *     false as is_primary
 *   from held_alias
 * ),
 * decided as (
 *   select
 *     wanted.position,
 *     case
 *       when wanted.is_stranger then 'wrong_tenant'
 *       when held.position is null then 'mapping_changed'
 *       when held.remote_state = 'merged' then 'held'
 *       when occupant.contact_id is not null
 *         or count(*) filter (where held.remote_state <> 'merged')
 *           over (partition by wanted.provider, wanted.to_contact_id) > 1
 *         then 'contact_taken'
 *       else 'held'
 *     end as outcome
 *   from wanted
 *   left join held
 *     on held.position = wanted.position
 *   -- A contact that already has a primary id at that provider, and does not lose it in this batch.
 *   left join lateral (
 *     select
 *       mapping.provider,
 *       mapping.contact_id
 *     from contact_external_ids as mapping
 *     where (mapping.organisation_id = :organisationId!::uuid) is true
 *       and mapping.provider = wanted.provider
 *       and mapping.contact_id = wanted.to_contact_id
 *     limit 1
 *   ) as occupant
 *     on (occupant.provider, occupant.contact_id) not in (
 *       select
 *         provider,
 *         contact_id
 *       from held_primary
 *     )
 * ),
 * -- Deleted and inserted again instead of updated: a unique index is checked row by row, so an update
 * -- would fail on the first half of a swap.
 * removed as (
 *   delete from contact_external_ids as mapping
 *   using held_primary as held
 *   -- By the row's own key, not by the parameter, for which the planner may read the whole organisation.
 *   where mapping.organisation_id = held.organisation_id
 *     and mapping.provider = held.provider
 *     and mapping.entity_type = held.entity_type
 *     and mapping.external_id = held.external_id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and held.contact_id = held.wanted_contact_id
 *     and (select bool_and(outcome = 'held') from decided)
 *   returning
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.contact_id
 * ),
 * removed_alias as (
 *   delete from contact_external_id_aliases as alias
 *   using held_alias as held
 *   -- As above.
 *   where alias.organisation_id = held.organisation_id
 *     and alias.provider = held.provider
 *     and alias.entity_type = held.entity_type
 *     and alias.external_id = held.external_id
 *     and held.contact_id = held.wanted_contact_id
 *     and held.remote_state <> 'merged'
 *     and (select bool_and(outcome = 'held') from decided)
 *   returning alias.external_id
 * ),
 * moved_merged as (
 *   update contact_external_id_aliases as alias
 *   set
 *     contact_id = wanted.to_contact_id,
 *     first_seen_at = now(),
 *     last_seen_at = now()
 *   from held_alias as held
 *   inner join wanted
 *     on wanted.position = held.position
 *   -- As above.
 *   where alias.organisation_id = held.organisation_id
 *     and alias.provider = held.provider
 *     and alias.entity_type = held.entity_type
 *     and alias.external_id = held.external_id
 *     and held.contact_id = held.wanted_contact_id
 *     and held.remote_state = 'merged'
 *     and (select bool_and(outcome = 'held') from decided)
 * ),
 * moved as (
 *   insert into contact_external_ids (
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     remote_state,
 *     remote_modified_at,
 *     replaced_hashes,
 *     replaced_at
 *   )
 *   select
 *     :organisationId!::uuid,
 *     wanted.provider,
 *     wanted.entity_type,
 *     wanted.external_id,
 *     wanted.to_contact_id,
 *     held.remote_state,
 *     held.remote_modified_at,
 *     -- As crm_place_external_id does.
 *     case
 *       when held.content_hash is not null
 *         then crm_add_replaced_hash(held.replaced_hashes, held.replaced_at, held.content_hash)
 *       else held.replaced_hashes
 *     end,
 *     case when held.content_hash is not null then now() else held.replaced_at end
 *   from wanted
 *   inner join held
 *     on held.position = wanted.position
 *     and held.remote_state <> 'merged'
 *   -- The counts force all deletions before the first insertion.
 *   where (select count(*) from removed) + (select count(*) from removed_alias) > 0
 *   returning external_id
 * ),
 * promoted as (
 *   select
 *     promotion.provider,
 *     promotion.entity_type,
 *     promotion.external_id,
 *     promotion.contact_id,
 *     promotion.first_seen_at
 *   from (
 *     select
 *       array_agg(contact_id) as contact_ids,
 *       array_agg(provider) as providers,
 *       array_agg(entity_type) as entity_types
 *     from removed
 *     -- After the insertions: half of a swap leaves nobody without an id.
 *     where (select count(*) from moved) > 0
 *   ) as left_behind
 *   cross join lateral crm_promote_external_ids(
 *     :organisationId!::uuid,
 *     left_behind.contact_ids,
 *     left_behind.providers,
 *     left_behind.entity_types
 *   ) as promotion
 * ),
 * changes as (
 *   select
 *     'repointed' as kind,
 *     held.provider,
 *     held.entity_type,
 *     held.external_id,
 *     held.contact_id as from_contact_id,
 *     wanted.to_contact_id,
 *     held.is_primary as was_primary,
 *     held.remote_state <> 'merged' as is_primary,
 *     held.first_seen_at as linked_at
 *   from held
 *   inner join wanted
 *     on wanted.position = held.position
 *   where (select bool_and(outcome = 'held') from decided)
 *   union all
 *   select
 *     'promoted' as kind,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id as from_contact_id,
 *     contact_id as to_contact_id,
 *     false as was_primary,
 *     true as is_primary,
 *     first_seen_at as linked_at
 *   from promoted
 * ),
 * operation as materialized (
 *   select gen_random_uuid() as id
 * ),
 * noted as (
 *   insert into contact_external_id_changes (
 *     organisation_id,
 *     operation_id,
 *     kind,
 *     provider,
 *     entity_type,
 *     external_id,
 *     connection_id,
 *     from_contact_id,
 *     to_contact_id,
 *     was_primary,
 *     is_primary,
 *     linked_at,
 *     changed_by,
 *     reason
 *   )
 *   select
 *     :organisationId!::uuid,
 *     operation.id,
 *     changes.kind,
 *     changes.provider,
 *     changes.entity_type,
 *     changes.external_id,
 *     connection.id,
 *     changes.from_contact_id,
 *     changes.to_contact_id,
 *     changes.was_primary,
 *     changes.is_primary,
 *     changes.linked_at,
 *     coalesce(:changedBy::text, session_user),
 *     :reason::text
 *   from changes
 *   cross join operation
 *   left join crm_connections as connection
 *     on connection.organisation_id = :organisationId!::uuid
 *     and connection.provider = changes.provider
 *     and connection.status <> 'disconnected'
 * )
 * select
 *   position::integer as "position!",
 *   case
 *     when bool_and(outcome = 'held') over () then 'moved'
 *     else outcome
 *   end as "outcome!"
 * from decided
 * order by position
 * ```
 */
export const contactExternalIdRepoint = new PreparedQuery<ContactExternalIdRepointParams,ContactExternalIdRepointResult>({
  name: 'contactExternalIdRepoint',
  statementName: 'contactExternalIdRepoint_e4dc641a',
  params: [
    { name: 'organisationId', required: true },
    { name: 'providers', required: true },
    { name: 'fromContactIds', required: true },
    { name: 'toContactIds', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'changedBy', required: false },
    { name: 'reason', required: false },
  ],
  text: `with /* contactExternalIdRepoint */ identity_lock as materialized (
  select crm_lock_external_ids($1::uuid, $2::text[])
),
contact_lock as materialized (
  select crm_lock_contacts($1::uuid, $3::uuid[] || $4::uuid[])
  from identity_lock
),
wanted as (
  select
    move.position,
    move.provider,
    move.entity_type,
    move.external_id,
    move.from_contact_id,
    move.to_contact_id,
    contacts.id is null as is_stranger
  from unnest(
    $2::text[],
    $5::text[],
    $6::text[],
    $3::uuid[],
    $4::uuid[]
  ) with ordinality as move (provider, entity_type, external_id, from_contact_id, to_contact_id, position)
  cross join contact_lock
  left join lateral (
    select id
    from contacts
    where organisation_id = $1::uuid
      and id = move.to_contact_id
    limit 1
  ) as contacts on true
),
found as (
  select
    wanted.position,
    wanted.from_contact_id as wanted_contact_id,
    row.organisation_id,
    row.provider,
    row.entity_type,
    row.external_id,
    row.contact_id,
    row.first_seen_at,
    row.remote_state,
    row.remote_modified_at,
    row.content_hash,
    row.replaced_hashes,
    row.replaced_at,
    row.is_alias
  from (
    select
      position,
      provider,
      entity_type,
      external_id,
      from_contact_id
    from wanted
    order by
      provider collate "C",
      entity_type collate "C",
      external_id collate "C"
  ) as wanted
  cross join lateral (
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
        first_seen_at,
        remote_state,
        remote_modified_at,
        content_hash,
        replaced_hashes,
        replaced_at
      from contact_external_ids
      where organisation_id = $1::uuid
        and provider = wanted.provider
        and entity_type = wanted.entity_type
        and external_id = wanted.external_id
        and (contact_id = wanted.from_contact_id) is true
      limit 1
      for update
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
        first_seen_at,
        remote_state,
        remote_modified_at,
        content_hash,
        replaced_hashes,
        replaced_at
      from contact_external_id_aliases
      where organisation_id = $1::uuid
        and provider = wanted.provider
        and entity_type = wanted.entity_type
        and external_id = wanted.external_id
        and (contact_id = wanted.from_contact_id) is true
      limit 1
      for update
    ) as alias
    limit 1
  ) as row
),
held_primary as (
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    first_seen_at,
    remote_state,
    remote_modified_at,
    content_hash,
    replaced_hashes,
    replaced_at
  from found
  where not is_alias
),
held_alias as (
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    first_seen_at,
    remote_state,
    remote_modified_at,
    content_hash,
    replaced_hashes,
    replaced_at
  from found
  where is_alias
),
held as (
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    first_seen_at,
    remote_state,
    remote_modified_at,
    content_hash,
    replaced_hashes,
    replaced_at,
    true as is_primary
  from held_primary
  union all
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    first_seen_at,
    remote_state,
    remote_modified_at,
    content_hash,
    replaced_hashes,
    replaced_at,
    false as is_primary
  from held_alias
),
decided as (
  select
    wanted.position,
    case
      when wanted.is_stranger then 'wrong_tenant'
      when held.position is null then 'mapping_changed'
      when held.remote_state = 'merged' then 'held'
      when occupant.contact_id is not null
        or count(*) filter (where held.remote_state <> 'merged')
          over (partition by wanted.provider, wanted.to_contact_id) > 1
        then 'contact_taken'
      else 'held'
    end as outcome
  from wanted
  left join held
    on held.position = wanted.position
  left join lateral (
    select
      mapping.provider,
      mapping.contact_id
    from contact_external_ids as mapping
    where (mapping.organisation_id = $1::uuid) is true
      and mapping.provider = wanted.provider
      and mapping.contact_id = wanted.to_contact_id
    limit 1
  ) as occupant
    on (occupant.provider, occupant.contact_id) not in (
      select
        provider,
        contact_id
      from held_primary
    )
),
removed as (
  delete from contact_external_ids as mapping
  using held_primary as held
  where mapping.organisation_id = held.organisation_id
    and mapping.provider = held.provider
    and mapping.entity_type = held.entity_type
    and mapping.external_id = held.external_id
    and held.contact_id = held.wanted_contact_id
    and (select bool_and(outcome = 'held') from decided)
  returning
    mapping.provider,
    mapping.entity_type,
    mapping.contact_id
),
removed_alias as (
  delete from contact_external_id_aliases as alias
  using held_alias as held
  where alias.organisation_id = held.organisation_id
    and alias.provider = held.provider
    and alias.entity_type = held.entity_type
    and alias.external_id = held.external_id
    and held.contact_id = held.wanted_contact_id
    and held.remote_state <> 'merged'
    and (select bool_and(outcome = 'held') from decided)
  returning alias.external_id
),
moved_merged as (
  update contact_external_id_aliases as alias
  set
    contact_id = wanted.to_contact_id,
    first_seen_at = now(),
    last_seen_at = now()
  from held_alias as held
  inner join wanted
    on wanted.position = held.position
  where alias.organisation_id = held.organisation_id
    and alias.provider = held.provider
    and alias.entity_type = held.entity_type
    and alias.external_id = held.external_id
    and held.contact_id = held.wanted_contact_id
    and held.remote_state = 'merged'
    and (select bool_and(outcome = 'held') from decided)
),
moved as (
  insert into contact_external_ids (
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    remote_state,
    remote_modified_at,
    replaced_hashes,
    replaced_at
  )
  select
    $1::uuid,
    wanted.provider,
    wanted.entity_type,
    wanted.external_id,
    wanted.to_contact_id,
    held.remote_state,
    held.remote_modified_at,
    case
      when held.content_hash is not null
        then crm_add_replaced_hash(held.replaced_hashes, held.replaced_at, held.content_hash)
      else held.replaced_hashes
    end,
    case when held.content_hash is not null then now() else held.replaced_at end
  from wanted
  inner join held
    on held.position = wanted.position
    and held.remote_state <> 'merged'
  where (select count(*) from removed) + (select count(*) from removed_alias) > 0
  returning external_id
),
promoted as (
  select
    promotion.provider,
    promotion.entity_type,
    promotion.external_id,
    promotion.contact_id,
    promotion.first_seen_at
  from (
    select
      array_agg(contact_id) as contact_ids,
      array_agg(provider) as providers,
      array_agg(entity_type) as entity_types
    from removed
    where (select count(*) from moved) > 0
  ) as left_behind
  cross join lateral crm_promote_external_ids(
    $1::uuid,
    left_behind.contact_ids,
    left_behind.providers,
    left_behind.entity_types
  ) as promotion
),
changes as (
  select
    'repointed' as kind,
    held.provider,
    held.entity_type,
    held.external_id,
    held.contact_id as from_contact_id,
    wanted.to_contact_id,
    held.is_primary as was_primary,
    held.remote_state <> 'merged' as is_primary,
    held.first_seen_at as linked_at
  from held
  inner join wanted
    on wanted.position = held.position
  where (select bool_and(outcome = 'held') from decided)
  union all
  select
    'promoted' as kind,
    provider,
    entity_type,
    external_id,
    contact_id as from_contact_id,
    contact_id as to_contact_id,
    false as was_primary,
    true as is_primary,
    first_seen_at as linked_at
  from promoted
),
operation as materialized (
  select gen_random_uuid() as id
),
noted as (
  insert into contact_external_id_changes (
    organisation_id,
    operation_id,
    kind,
    provider,
    entity_type,
    external_id,
    connection_id,
    from_contact_id,
    to_contact_id,
    was_primary,
    is_primary,
    linked_at,
    changed_by,
    reason
  )
  select
    $1::uuid,
    operation.id,
    changes.kind,
    changes.provider,
    changes.entity_type,
    changes.external_id,
    connection.id,
    changes.from_contact_id,
    changes.to_contact_id,
    changes.was_primary,
    changes.is_primary,
    changes.linked_at,
    coalesce($7::text, session_user),
    $8::text
  from changes
  cross join operation
  left join crm_connections as connection
    on connection.organisation_id = $1::uuid
    and connection.provider = changes.provider
    and connection.status <> 'disconnected'
)
select
  position::integer as "position",
  case
    when bool_and(outcome = 'held') over () then 'moved'
    else outcome
  end as "outcome"
from decided
order by position`,
});


/** The parameters of {@link contactExternalIdResolve}. */
export interface ContactExternalIdResolveParams {
  entityType: string;
  externalIds: string[];
  organisationId: string;
  provider: string;
}

/** A row of {@link contactExternalIdResolve}. */
export interface ContactExternalIdResolveResult {
  contactId: string;
  externalId: string;
  matchedBy: string;
  remoteState: string;
}

/**
 * Finds the contacts of external ids of one provider and entity type. Returns a row for each given id that is
 * known: `matchedBy` is `primary` or `alias`. Give each id once. Uses the primary keys. Looks for an alias only
 * where there is no primary id; the limit does that, and keeps the planner from reading every mapping of the
 * organisation.
 *
 * @remarks
 * ```sql
 * select
 *   wanted.external_id as "externalId!",
 *   row.contact_id as "contactId!",
 *   row.matched_by as "matchedBy!",
 *   row.remote_state as "remoteState!"
 * from unnest(:externalIds!::text[]) as wanted (external_id)
 * cross join lateral (
 *   select
 *     contact_id,
 *     'primary' as matched_by,
 *     remote_state
 *   from contact_external_ids
 *   where organisation_id = :organisationId!::uuid
 *     and provider = :provider!::text
 *     and entity_type = :entityType!::text
 *     and external_id = wanted.external_id
 *   union all
 *   select
 *     contact_id,
 *     'alias' as matched_by,
 *     remote_state
 *   from contact_external_id_aliases
 *   where organisation_id = :organisationId!::uuid
 *     and provider = :provider!::text
 *     and entity_type = :entityType!::text
 *     and external_id = wanted.external_id
 *   limit 1
 * ) as row
 * ```
 */
export const contactExternalIdResolve = new PreparedQuery<ContactExternalIdResolveParams,ContactExternalIdResolveResult>({
  name: 'contactExternalIdResolve',
  statementName: 'contactExternalIdResolve_4649f0fd',
  params: [
    { name: 'externalIds', required: true },
    { name: 'organisationId', required: true },
    { name: 'provider', required: true },
    { name: 'entityType', required: true },
  ],
  text: `select /* contactExternalIdResolve */
  wanted.external_id as "externalId",
  row.contact_id as "contactId",
  row.matched_by as "matchedBy",
  row.remote_state as "remoteState"
from unnest($1::text[]) as wanted (external_id)
cross join lateral (
  select
    contact_id,
    'primary' as matched_by,
    remote_state
  from contact_external_ids
  where organisation_id = $2::uuid
    and provider = $3::text
    and entity_type = $4::text
    and external_id = wanted.external_id
  union all
  select
    contact_id,
    'alias' as matched_by,
    remote_state
  from contact_external_id_aliases
  where organisation_id = $2::uuid
    and provider = $3::text
    and entity_type = $4::text
    and external_id = wanted.external_id
  limit 1
) as row`,
});


/** The parameters of {@link contactExternalIdResolveOne}. */
export interface ContactExternalIdResolveOneParams {
  entityType: string;
  externalId: string;
  organisationId: string;
  provider: string;
}

/** A row of {@link contactExternalIdResolveOne}. */
export interface ContactExternalIdResolveOneResult {
  contactId: string;
}

/**
 * Finds the contact of one external id, which is the most frequent question, in half the time of
 * contactExternalIdResolve, which has an array to expand. Uses the primary keys; the limit keeps it from looking for an alias where there is a primary id.
 *
 * @remarks
 * ```sql
 * select contact_id as "contactId!"
 * from contact_external_ids
 * where organisation_id = :organisationId!::uuid
 *   and provider = :provider!::text
 *   and entity_type = :entityType!::text
 *   and external_id = :externalId!::text
 * union all
 * select contact_id
 * from contact_external_id_aliases
 * where organisation_id = :organisationId!::uuid
 *   and provider = :provider!::text
 *   and entity_type = :entityType!::text
 *   and external_id = :externalId!::text
 * limit 1
 * ```
 */
export const contactExternalIdResolveOne = new PreparedQuery<ContactExternalIdResolveOneParams,ContactExternalIdResolveOneResult>({
  name: 'contactExternalIdResolveOne',
  statementName: 'contactExternalIdResolveOne_c8cd2189',
  params: [
    { name: 'organisationId', required: true },
    { name: 'provider', required: true },
    { name: 'entityType', required: true },
    { name: 'externalId', required: true },
  ],
  text: `select /* contactExternalIdResolveOne */ contact_id as "contactId"
from contact_external_ids
where organisation_id = $1::uuid
  and provider = $2::text
  and entity_type = $3::text
  and external_id = $4::text
union all
select contact_id
from contact_external_id_aliases
where organisation_id = $1::uuid
  and provider = $2::text
  and entity_type = $3::text
  and external_id = $4::text
limit 1`,
});


/** The parameters of {@link contactExternalIdUnlink}. */
export interface ContactExternalIdUnlinkParams {
  changedBy?: string | null | void;
  contactIds: string[];
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
  providers: string[];
  reason?: string | null | void;
}

/** A row of {@link contactExternalIdUnlink}. */
export interface ContactExternalIdUnlinkResult {
  position: number;
}

/**
 * Unlinks contacts from external ids, one array element each. A contact that loses its primary id gets
 * another (crm_promote_external_ids). Returns one row per removed link: its `position`, counted from 1. Uses
 * primary keys, contact_external_ids_contact_id_provider_key and contact_external_id_aliases_contact_id_provider_idx.
 * Locks the external ids of the organisation at these providers, then the contacts FOR KEY SHARE, then the
 * mappings and the aliases in key order. Records the changes in contact_external_id_changes.
 *
 * @remarks
 * ```sql
 * with identity_lock as materialized (
 *   select crm_lock_external_ids(:organisationId!::uuid, :providers!::text[])
 * ),
 * contact_lock as materialized (
 *   select crm_lock_contacts(:organisationId!::uuid, :contactIds!::uuid[])
 *   from identity_lock
 * ),
 * unwanted as (
 *   select
 *     position,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id
 *   from unnest(
 *     :providers!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :contactIds!::uuid[]
 *   ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
 *   cross join contact_lock
 * ),
 * found as (
 *   select
 *     unwanted.position,
 *     unwanted.contact_id as wanted_contact_id,
 *     row.organisation_id,
 *     row.provider,
 *     row.entity_type,
 *     row.external_id,
 *     row.contact_id,
 *     row.first_seen_at,
 *     row.is_alias
 *   from (
 *     select
 *       position,
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id
 *     from unwanted
 *     -- Locks are taken in this order, that of the primary keys of both tables, as batches and checks of records do.
 *     order by
 *       provider collate "C",
 *       entity_type collate "C",
 *       external_id collate "C"
 *   ) as unwanted
 *   cross join lateral (
 *     select
 *       mapping.*,
 *       false as is_alias
 *     from (
 *       select
 *         organisation_id,
 *         provider,
 *         entity_type,
 *         external_id,
 *         contact_id,
 *         first_seen_at
 *       from contact_external_ids
 *       where organisation_id = :organisationId!::uuid
 *         and provider = unwanted.provider
 *         and entity_type = unwanted.entity_type
 *         and external_id = unwanted.external_id
 *         and (contact_id = unwanted.contact_id) is true
 *       -- Keeps the planner from reading every row of the organisation.
 *       limit 1
 *       for update
 *     ) as mapping
 *     union all
 *     select
 *       alias.*,
 *       true as is_alias
 *     from (
 *       select
 *         organisation_id,
 *         provider,
 *         entity_type,
 *         external_id,
 *         contact_id,
 *         first_seen_at
 *       from contact_external_id_aliases
 *       where organisation_id = :organisationId!::uuid
 *         and provider = unwanted.provider
 *         and entity_type = unwanted.entity_type
 *         and external_id = unwanted.external_id
 *         and (contact_id = unwanted.contact_id) is true
 *       -- Keeps the planner from reading every row of the organisation.
 *       limit 1
 *       for update
 *     ) as alias
 *     -- An alias is looked for only if there is no mapping.
 *     limit 1
 *   ) as row
 * ),
 * held_primary as (
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     first_seen_at
 *   from found
 *   where not is_alias
 * ),
 * held_alias as (
 *   select
 *     position,
 *     wanted_contact_id,
 *     organisation_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id,
 *     first_seen_at
 *   from found
 *   where is_alias
 * ),
 * removed as (
 *   delete from contact_external_ids as mapping
 *   using held_primary as held
 *   -- By the row's own key, not by the parameter, for which the planner may read the whole organisation.
 *   where mapping.organisation_id = held.organisation_id
 *     and mapping.provider = held.provider
 *     and mapping.entity_type = held.entity_type
 *     and mapping.external_id = held.external_id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and held.contact_id = held.wanted_contact_id
 *   returning
 *     held.position,
 *     held.contact_id,
 *     held.provider,
 *     held.entity_type,
 *     held.external_id,
 *     held.first_seen_at
 * ),
 * removed_alias as (
 *   delete from contact_external_id_aliases as alias
 *   using held_alias as held
 *   -- As above.
 *   where alias.organisation_id = held.organisation_id
 *     and alias.provider = held.provider
 *     and alias.entity_type = held.entity_type
 *     and alias.external_id = held.external_id
 *     and held.contact_id = held.wanted_contact_id
 *   returning
 *     held.position,
 *     held.contact_id,
 *     held.provider,
 *     held.entity_type,
 *     held.external_id,
 *     held.first_seen_at
 * ),
 * gone as (
 *   select
 *     position,
 *     contact_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     first_seen_at,
 *     true as was_primary
 *   from removed
 *   union all
 *   select
 *     position,
 *     contact_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     first_seen_at,
 *     false as was_primary
 *   from removed_alias
 * ),
 * promoted as (
 *   select
 *     promotion.provider,
 *     promotion.entity_type,
 *     promotion.external_id,
 *     promotion.contact_id,
 *     promotion.first_seen_at
 *   from (
 *     select
 *       array_agg(contact_id) as contact_ids,
 *       array_agg(provider) as providers,
 *       array_agg(entity_type) as entity_types
 *     from removed
 *     -- After the aliases are gone: none that is unlinked here is promoted.
 *     where (select count(*) from removed_alias) >= 0
 *   ) as left_behind
 *   cross join lateral crm_promote_external_ids(
 *     :organisationId!::uuid,
 *     left_behind.contact_ids,
 *     left_behind.providers,
 *     left_behind.entity_types
 *   ) as promotion
 * ),
 * changes as (
 *   select
 *     'unlinked' as kind,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id as from_contact_id,
 *     null::uuid as to_contact_id,
 *     was_primary,
 *     null::boolean as is_primary,
 *     first_seen_at as linked_at
 *   from gone
 *   union all
 *   select
 *     'promoted' as kind,
 *     provider,
 *     entity_type,
 *     external_id,
 *     contact_id as from_contact_id,
 *     contact_id as to_contact_id,
 *     false as was_primary,
 *     true as is_primary,
 *     first_seen_at as linked_at
 *   from promoted
 * ),
 * operation as materialized (
 *   select gen_random_uuid() as id
 * ),
 * noted as (
 *   insert into contact_external_id_changes (
 *     organisation_id,
 *     operation_id,
 *     kind,
 *     provider,
 *     entity_type,
 *     external_id,
 *     connection_id,
 *     from_contact_id,
 *     to_contact_id,
 *     was_primary,
 *     is_primary,
 *     linked_at,
 *     changed_by,
 *     reason
 *   )
 *   select
 *     :organisationId!::uuid,
 *     operation.id,
 *     changes.kind,
 *     changes.provider,
 *     changes.entity_type,
 *     changes.external_id,
 *     connection.id,
 *     changes.from_contact_id,
 *     changes.to_contact_id,
 *     changes.was_primary,
 *     changes.is_primary,
 *     changes.linked_at,
 *     coalesce(:changedBy::text, session_user),
 *     :reason::text
 *   from changes
 *   cross join operation
 *   left join crm_connections as connection
 *     on connection.organisation_id = :organisationId!::uuid
 *     and connection.provider = changes.provider
 *     and connection.status <> 'disconnected'
 * )
 * select position::integer as "position!"
 * from gone
 * ```
 */
export const contactExternalIdUnlink = new PreparedQuery<ContactExternalIdUnlinkParams,ContactExternalIdUnlinkResult>({
  name: 'contactExternalIdUnlink',
  statementName: 'contactExternalIdUnlink_ca4794b7',
  params: [
    { name: 'organisationId', required: true },
    { name: 'providers', required: true },
    { name: 'contactIds', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'changedBy', required: false },
    { name: 'reason', required: false },
  ],
  text: `with /* contactExternalIdUnlink */ identity_lock as materialized (
  select crm_lock_external_ids($1::uuid, $2::text[])
),
contact_lock as materialized (
  select crm_lock_contacts($1::uuid, $3::uuid[])
  from identity_lock
),
unwanted as (
  select
    position,
    provider,
    entity_type,
    external_id,
    contact_id
  from unnest(
    $2::text[],
    $4::text[],
    $5::text[],
    $3::uuid[]
  ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
  cross join contact_lock
),
found as (
  select
    unwanted.position,
    unwanted.contact_id as wanted_contact_id,
    row.organisation_id,
    row.provider,
    row.entity_type,
    row.external_id,
    row.contact_id,
    row.first_seen_at,
    row.is_alias
  from (
    select
      position,
      provider,
      entity_type,
      external_id,
      contact_id
    from unwanted
    order by
      provider collate "C",
      entity_type collate "C",
      external_id collate "C"
  ) as unwanted
  cross join lateral (
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
        first_seen_at
      from contact_external_ids
      where organisation_id = $1::uuid
        and provider = unwanted.provider
        and entity_type = unwanted.entity_type
        and external_id = unwanted.external_id
        and (contact_id = unwanted.contact_id) is true
      limit 1
      for update
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
        first_seen_at
      from contact_external_id_aliases
      where organisation_id = $1::uuid
        and provider = unwanted.provider
        and entity_type = unwanted.entity_type
        and external_id = unwanted.external_id
        and (contact_id = unwanted.contact_id) is true
      limit 1
      for update
    ) as alias
    limit 1
  ) as row
),
held_primary as (
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    first_seen_at
  from found
  where not is_alias
),
held_alias as (
  select
    position,
    wanted_contact_id,
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id,
    first_seen_at
  from found
  where is_alias
),
removed as (
  delete from contact_external_ids as mapping
  using held_primary as held
  where mapping.organisation_id = held.organisation_id
    and mapping.provider = held.provider
    and mapping.entity_type = held.entity_type
    and mapping.external_id = held.external_id
    and held.contact_id = held.wanted_contact_id
  returning
    held.position,
    held.contact_id,
    held.provider,
    held.entity_type,
    held.external_id,
    held.first_seen_at
),
removed_alias as (
  delete from contact_external_id_aliases as alias
  using held_alias as held
  where alias.organisation_id = held.organisation_id
    and alias.provider = held.provider
    and alias.entity_type = held.entity_type
    and alias.external_id = held.external_id
    and held.contact_id = held.wanted_contact_id
  returning
    held.position,
    held.contact_id,
    held.provider,
    held.entity_type,
    held.external_id,
    held.first_seen_at
),
gone as (
  select
    position,
    contact_id,
    provider,
    entity_type,
    external_id,
    first_seen_at,
    true as was_primary
  from removed
  union all
  select
    position,
    contact_id,
    provider,
    entity_type,
    external_id,
    first_seen_at,
    false as was_primary
  from removed_alias
),
promoted as (
  select
    promotion.provider,
    promotion.entity_type,
    promotion.external_id,
    promotion.contact_id,
    promotion.first_seen_at
  from (
    select
      array_agg(contact_id) as contact_ids,
      array_agg(provider) as providers,
      array_agg(entity_type) as entity_types
    from removed
    where (select count(*) from removed_alias) >= 0
  ) as left_behind
  cross join lateral crm_promote_external_ids(
    $1::uuid,
    left_behind.contact_ids,
    left_behind.providers,
    left_behind.entity_types
  ) as promotion
),
changes as (
  select
    'unlinked' as kind,
    provider,
    entity_type,
    external_id,
    contact_id as from_contact_id,
    null::uuid as to_contact_id,
    was_primary,
    null::boolean as is_primary,
    first_seen_at as linked_at
  from gone
  union all
  select
    'promoted' as kind,
    provider,
    entity_type,
    external_id,
    contact_id as from_contact_id,
    contact_id as to_contact_id,
    false as was_primary,
    true as is_primary,
    first_seen_at as linked_at
  from promoted
),
operation as materialized (
  select gen_random_uuid() as id
),
noted as (
  insert into contact_external_id_changes (
    organisation_id,
    operation_id,
    kind,
    provider,
    entity_type,
    external_id,
    connection_id,
    from_contact_id,
    to_contact_id,
    was_primary,
    is_primary,
    linked_at,
    changed_by,
    reason
  )
  select
    $1::uuid,
    operation.id,
    changes.kind,
    changes.provider,
    changes.entity_type,
    changes.external_id,
    connection.id,
    changes.from_contact_id,
    changes.to_contact_id,
    changes.was_primary,
    changes.is_primary,
    changes.linked_at,
    coalesce($6::text, session_user),
    $7::text
  from changes
  cross join operation
  left join crm_connections as connection
    on connection.organisation_id = $1::uuid
    and connection.provider = changes.provider
    and connection.status <> 'disconnected'
)
select position::integer as "position"
from gone`,
});


/** The parameters of {@link externalRecordListByContacts}. */
export interface ExternalRecordListByContactsParams {
  contactIds: string[];
  organisationId: string;
}

/** A row of {@link externalRecordListByContacts}. */
export interface ExternalRecordListByContactsResult {
  contactId: string;
  entityType: string;
  externalId: string;
  firstSeenAt: Timestamp;
  isPrimary: boolean;
  lastSeenAt: Timestamp;
  mergedIntoEntityType: string | null;
  mergedIntoExternalId: string | null;
  provider: string;
  remoteModifiedAt: Timestamp | null;
  remoteState: string;
  remoteVersion: string | null;
}

/**
 * Lists every record at a CRM that stands for one of the given contacts, by contact and provider; the primary
 * id comes first, then the aliases, the oldest first. Uses contact_external_ids_contact_id_provider_key and
 * contact_external_id_aliases_contact_id_provider_idx. `is true` and `offset 0` are as in
 * contactExternalIdListByContacts.
 *
 * @remarks
 * ```sql
 * select
 *   record.contact_id as "contactId!",
 *   record.provider as "provider!",
 *   record.entity_type as "entityType!",
 *   record.external_id as "externalId!",
 *   record.is_primary as "isPrimary!",
 *   record.remote_state as "remoteState!",
 *   record.remote_version as "remoteVersion?",
 *   record.remote_modified_at as "remoteModifiedAt?",
 *   record.merged_into_entity_type as "mergedIntoEntityType?",
 *   record.merged_into_external_id as "mergedIntoExternalId?",
 *   record.first_seen_at as "firstSeenAt!",
 *   record.last_seen_at as "lastSeenAt!"
 * from (select distinct contact_id from unnest(:contactIds!::uuid[]) as given (contact_id)) as wanted
 * cross join lateral (
 *   select
 *     contact_id,
 *     provider,
 *     entity_type,
 *     external_id,
 *     is_primary,
 *     remote_state,
 *     remote_version,
 *     remote_modified_at,
 *     merged_into_entity_type,
 *     merged_into_external_id,
 *     first_seen_at,
 *     last_seen_at
 *   from contact_external_records
 *   where (organisation_id = :organisationId!::uuid) is true
 *     and contact_id = wanted.contact_id
 *   offset 0
 * ) as record
 * order by
 *   record.contact_id,
 *   record.provider,
 *   record.is_primary desc,
 *   record.first_seen_at,
 *   record.entity_type,
 *   record.external_id
 * ```
 */
export const externalRecordListByContacts = new PreparedQuery<ExternalRecordListByContactsParams,ExternalRecordListByContactsResult>({
  name: 'externalRecordListByContacts',
  statementName: 'externalRecordListByContacts_dd61f749',
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `select /* externalRecordListByContacts */
  record.contact_id as "contactId",
  record.provider as "provider",
  record.entity_type as "entityType",
  record.external_id as "externalId",
  record.is_primary as "isPrimary",
  record.remote_state as "remoteState",
  record.remote_version as "remoteVersion",
  record.remote_modified_at as "remoteModifiedAt",
  record.merged_into_entity_type as "mergedIntoEntityType",
  record.merged_into_external_id as "mergedIntoExternalId",
  record.first_seen_at as "firstSeenAt",
  record.last_seen_at as "lastSeenAt"
from (select distinct contact_id from unnest($1::uuid[]) as given (contact_id)) as wanted
cross join lateral (
  select
    contact_id,
    provider,
    entity_type,
    external_id,
    is_primary,
    remote_state,
    remote_version,
    remote_modified_at,
    merged_into_entity_type,
    merged_into_external_id,
    first_seen_at,
    last_seen_at
  from contact_external_records
  where (organisation_id = $2::uuid) is true
    and contact_id = wanted.contact_id
  offset 0
) as record
order by
  record.contact_id,
  record.provider,
  record.is_primary desc,
  record.first_seen_at,
  record.entity_type,
  record.external_id`,
});


