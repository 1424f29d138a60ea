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
 * is at least a day old. Returns one row per element: `position`, counted from 1, and `outcome`: `linked`,
 * `already_linked`, `external_id_taken` (by `linkedContactId`), `contact_taken` (the contact has
 * `linkedExternalId`, a `linkedEntityType`, at that provider), `wrong_tenant` (the organisation has no
 * such contact; then nothing is linked), or `retry` (a concurrent change decides, and only the next
 * statement can see it). Uses the primary key, contact_external_ids_contact_id_provider_key and the host's
 * key of contacts. Locks the mappings in key order and the contacts FOR KEY SHARE.
 *
 * @remarks
 * ```sql
 * with wanted as (
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
 *   left join lateral (
 *     select id
 *     from contacts
 *     where organisation_id = :organisationId!::uuid
 *       and id = link.contact_id
 *     -- Keeps the planner from reading every contact of the organisation.
 *     limit 1
 *   ) as contacts on true
 * ),
 * existing as (
 *   select
 *     wanted.position,
 *     wanted.contact_id as wanted_contact_id,
 *     mapping.organisation_id,
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id,
 *     mapping.contact_id,
 *     mapping.last_seen_at
 *   from (
 *     select
 *       position,
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id
 *     from wanted
 *     -- Locks are taken in this order, that of the primary key.
 *     order by
 *       provider collate "C",
 *       entity_type collate "C",
 *       external_id collate "C"
 *   ) as wanted
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id,
 *       last_seen_at
 *     from contact_external_ids
 *     where organisation_id = :organisationId!::uuid
 *       and provider = wanted.provider
 *       and entity_type = wanted.entity_type
 *       and external_id = wanted.external_id
 *     -- Keeps the planner from reading every mapping of the organisation.
 *     limit 1
 *     for no key update
 *   ) as mapping
 * ),
 * seen as (
 *   update contact_external_ids as mapping
 *   set last_seen_at = now()
 *   from existing
 *   where existing.contact_id = existing.wanted_contact_id
 *     and existing.last_seen_at < now() - interval '1 day'
 *     -- By the row's own key, not by the parameter, for which the planner may read the whole organisation.
 *     and mapping.organisation_id = existing.organisation_id
 *     and mapping.provider = existing.provider
 *     and mapping.entity_type = existing.entity_type
 *     and mapping.external_id = existing.external_id
 *     and not exists (select from wanted where is_stranger)
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
 * )
 * select
 *   wanted.position::integer as "position!",
 *   case
 *     when wanted.is_stranger then 'wrong_tenant'
 *     when linked_id.contact_id = wanted.contact_id then 'linked'
 *     when existing.contact_id = wanted.contact_id then 'already_linked'
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
  statementName: 'contactExternalIdLink_04ad0ab3',
  isPreparable: true,
  params: [
    { name: 'providers', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `/* contactExternalIdLink */ with wanted as (
  select
    link.position,
    link.provider,
    link.entity_type,
    link.external_id,
    link.contact_id,
    contacts.id is null as is_stranger
  from unnest(
    $1::text[],
    $2::text[],
    $3::text[],
    $4::uuid[]
  ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
  left join lateral (
    select id
    from contacts
    where organisation_id = $5::uuid
      and id = link.contact_id
    limit 1
  ) as contacts on true
),
existing as (
  select
    wanted.position,
    wanted.contact_id as wanted_contact_id,
    mapping.organisation_id,
    mapping.provider,
    mapping.entity_type,
    mapping.external_id,
    mapping.contact_id,
    mapping.last_seen_at
  from (
    select
      position,
      provider,
      entity_type,
      external_id,
      contact_id
    from wanted
    order by
      provider collate "C",
      entity_type collate "C",
      external_id collate "C"
  ) as wanted
  cross join lateral (
    select
      organisation_id,
      provider,
      entity_type,
      external_id,
      contact_id,
      last_seen_at
    from contact_external_ids
    where organisation_id = $5::uuid
      and provider = wanted.provider
      and entity_type = wanted.entity_type
      and external_id = wanted.external_id
    limit 1
    for no key update
  ) as mapping
),
seen as (
  update contact_external_ids as mapping
  set last_seen_at = now()
  from existing
  where existing.contact_id = existing.wanted_contact_id
    and existing.last_seen_at < now() - interval '1 day'
    and mapping.organisation_id = existing.organisation_id
    and mapping.provider = existing.provider
    and mapping.entity_type = existing.entity_type
    and mapping.external_id = existing.external_id
    and not exists (select from wanted where is_stranger)
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
    $5::uuid,
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
)
select
  wanted.position::integer as "position",
  case
    when wanted.is_stranger then 'wrong_tenant'
    when linked_id.contact_id = wanted.contact_id then 'linked'
    when existing.contact_id = wanted.contact_id then 'already_linked'
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
  where (mapping.organisation_id = $5::uuid) is true
    and mapping.provider = wanted.provider
    and mapping.contact_id = wanted.contact_id
    and (mapping.entity_type, mapping.external_id) <> (wanted.entity_type, wanted.external_id)
  limit 1
) as other on true
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
 * Lists the external ids of the given contacts, by contact and provider. Returns at most one row per
 * contact and provider. Uses contact_external_ids_contact_id_provider_key. «is true» keeps the planner
 * from the primary key, through which it would read every mapping of the organisation, and «offset 0» from
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
  statementName: 'contactExternalIdListByContacts_b07beef1',
  isPreparable: true,
  params: [
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `/* contactExternalIdListByContacts */ select
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


/** The parameters of {@link contactExternalIdRepoint}. */
export interface ContactExternalIdRepointParams {
  entityTypes: string[];
  externalIds: string[];
  fromContactIds: string[];
  organisationId: string;
  providers: string[];
  toContactIds: string[];
}

/** A row of {@link contactExternalIdRepoint}. */
export interface ContactExternalIdRepointResult {
  outcome: string;
  position: number;
}

/**
 * Moves external ids from one contact to another, one array element each, all or nothing. A swap is two
 * elements. Returns one row per element: `position`, counted from 1, and `outcome`. If all are `moved`,
 * they were moved. Otherwise nothing was, and `outcome` says why: `mapping_changed` (the id is not mapped
 * to the contact from which it should move), `contact_taken` (the new contact would have two ids at that
 * provider), `wrong_tenant` (the organisation has no such contact) or `held` (nothing is wrong with this
 * element). Uses the primary key, contact_external_ids_contact_id_provider_key and the host's key of
 * contacts. Locks the mappings in key order and the contacts FOR KEY SHARE.
 *
 * @remarks
 * ```sql
 * with wanted as (
 *   select
 *     move.position,
 *     move.provider,
 *     move.entity_type,
 *     move.external_id,
 *     move.from_contact_id,
 *     move.to_contact_id,
 *     count(*) over (partition by move.provider, move.to_contact_id) > 1 as is_crowded,
 *     contacts.id is null as is_stranger
 *   from unnest(
 *     :providers!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :fromContactIds!::uuid[],
 *     :toContactIds!::uuid[]
 *   ) with ordinality as move (provider, entity_type, external_id, from_contact_id, to_contact_id, position)
 *   left join lateral (
 *     select id
 *     from contacts
 *     where organisation_id = :organisationId!::uuid
 *       and id = move.to_contact_id
 *     -- Keeps the planner from reading every contact of the organisation.
 *     limit 1
 *   ) as contacts on true
 * ),
 * held as (
 *   select
 *     wanted.position,
 *     wanted.from_contact_id as wanted_contact_id,
 *     mapping.organisation_id,
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id,
 *     mapping.contact_id
 *   from (
 *     select
 *       position,
 *       provider,
 *       entity_type,
 *       external_id,
 *       from_contact_id
 *     from wanted
 *     -- Locks are taken in this order, that of the primary key.
 *     order by
 *       provider collate "C",
 *       entity_type collate "C",
 *       external_id collate "C"
 *   ) as wanted
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id
 *     from contact_external_ids
 *     where organisation_id = :organisationId!::uuid
 *       and provider = wanted.provider
 *       and entity_type = wanted.entity_type
 *       and external_id = wanted.external_id
 *       and (contact_id = wanted.from_contact_id) is true
 *     -- Keeps the planner from reading every mapping of the organisation.
 *     limit 1
 *     for update
 *   ) as mapping
 * ),
 * decided as (
 *   select
 *     wanted.position,
 *     case
 *       when wanted.is_stranger then 'wrong_tenant'
 *       when held.position is null then 'mapping_changed'
 *       when wanted.is_crowded or occupant.contact_id is not null then 'contact_taken'
 *       else 'held'
 *     end as outcome
 *   from wanted
 *   left join held
 *     on held.position = wanted.position
 *   -- A contact that already has an id at that provider, and does not lose it in this batch.
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
 *       from held
 *     )
 * ),
 * -- Deleted and inserted again instead of updated: a unique index is checked row by row, so an update
 * -- would fail on the first half of a swap.
 * removed as (
 *   delete from contact_external_ids as mapping
 *   using held
 *   -- By the row's own key, not by the parameter, for which the planner may read the whole organisation.
 *   where mapping.organisation_id = held.organisation_id
 *     and mapping.provider = held.provider
 *     and mapping.entity_type = held.entity_type
 *     and mapping.external_id = held.external_id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and held.contact_id = held.wanted_contact_id
 *     and (select bool_and(outcome = 'held') from decided)
 *   returning mapping.external_id
 * ),
 * moved as (
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
 *     to_contact_id
 *   from wanted
 *   -- The count forces all deletions before the first insertion.
 *   where (select count(*) from removed) > 0
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
  statementName: 'contactExternalIdRepoint_c5b61fd2',
  isPreparable: true,
  params: [
    { name: 'providers', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'fromContactIds', required: true },
    { name: 'toContactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `/* contactExternalIdRepoint */ with wanted as (
  select
    move.position,
    move.provider,
    move.entity_type,
    move.external_id,
    move.from_contact_id,
    move.to_contact_id,
    count(*) over (partition by move.provider, move.to_contact_id) > 1 as is_crowded,
    contacts.id is null as is_stranger
  from unnest(
    $1::text[],
    $2::text[],
    $3::text[],
    $4::uuid[],
    $5::uuid[]
  ) with ordinality as move (provider, entity_type, external_id, from_contact_id, to_contact_id, position)
  left join lateral (
    select id
    from contacts
    where organisation_id = $6::uuid
      and id = move.to_contact_id
    limit 1
  ) as contacts on true
),
held as (
  select
    wanted.position,
    wanted.from_contact_id as wanted_contact_id,
    mapping.organisation_id,
    mapping.provider,
    mapping.entity_type,
    mapping.external_id,
    mapping.contact_id
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
      organisation_id,
      provider,
      entity_type,
      external_id,
      contact_id
    from contact_external_ids
    where organisation_id = $6::uuid
      and provider = wanted.provider
      and entity_type = wanted.entity_type
      and external_id = wanted.external_id
      and (contact_id = wanted.from_contact_id) is true
    limit 1
    for update
  ) as mapping
),
decided as (
  select
    wanted.position,
    case
      when wanted.is_stranger then 'wrong_tenant'
      when held.position is null then 'mapping_changed'
      when wanted.is_crowded or occupant.contact_id is not null then 'contact_taken'
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
    where (mapping.organisation_id = $6::uuid) is true
      and mapping.provider = wanted.provider
      and mapping.contact_id = wanted.to_contact_id
    limit 1
  ) as occupant
    on (occupant.provider, occupant.contact_id) not in (
      select
        provider,
        contact_id
      from held
    )
),
removed as (
  delete from contact_external_ids as mapping
  using held
  where mapping.organisation_id = held.organisation_id
    and mapping.provider = held.provider
    and mapping.entity_type = held.entity_type
    and mapping.external_id = held.external_id
    and held.contact_id = held.wanted_contact_id
    and (select bool_and(outcome = 'held') from decided)
  returning mapping.external_id
),
moved as (
  insert into contact_external_ids (
    organisation_id,
    provider,
    entity_type,
    external_id,
    contact_id
  )
  select
    $6::uuid,
    provider,
    entity_type,
    external_id,
    to_contact_id
  from wanted
  where (select count(*) from removed) > 0
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
  /** NurtureHub's contact. */
  contactId: string;
  /** The record's id at the CRM: case-sensitive text, whatever type the CRM sends. */
  externalId: string;
}

/**
 * Finds the contacts of external ids of one provider and entity type. Returns at most one row per id, and
 * none for an unknown id. Uses the primary key. The limit keeps the planner from reading every mapping of
 * the organisation.
 *
 * @remarks
 * ```sql
 * select
 *   mapping.external_id as "externalId",
 *   mapping.contact_id as "contactId"
 * from (select distinct external_id from unnest(:externalIds!::text[]) as given (external_id)) as wanted
 * cross join lateral (
 *   select
 *     external_id,
 *     contact_id
 *   from contact_external_ids
 *   where organisation_id = :organisationId!::uuid
 *     and provider = :provider!::text
 *     and entity_type = :entityType!::text
 *     and external_id = wanted.external_id
 *   limit 1
 * ) as mapping
 * ```
 */
export const contactExternalIdResolve = new PreparedQuery<ContactExternalIdResolveParams,ContactExternalIdResolveResult>({
  name: 'contactExternalIdResolve',
  statementName: 'contactExternalIdResolve_cf29be12',
  isPreparable: true,
  params: [
    { name: 'externalIds', required: true },
    { name: 'organisationId', required: true },
    { name: 'provider', required: true },
    { name: 'entityType', required: true },
  ],
  text: `/* contactExternalIdResolve */ select
  mapping.external_id as "externalId",
  mapping.contact_id as "contactId"
from (select distinct external_id from unnest($1::text[]) as given (external_id)) as wanted
cross join lateral (
  select
    external_id,
    contact_id
  from contact_external_ids
  where organisation_id = $2::uuid
    and provider = $3::text
    and entity_type = $4::text
    and external_id = wanted.external_id
  limit 1
) as mapping`,
});


/** The parameters of {@link contactExternalIdUnlink}. */
export interface ContactExternalIdUnlinkParams {
  contactIds: string[];
  entityTypes: string[];
  externalIds: string[];
  organisationId: string;
  providers: string[];
}

/** A row of {@link contactExternalIdUnlink}. */
export interface ContactExternalIdUnlinkResult {
  position: number;
}

/**
 * Unlinks contacts from external ids, one array element each. Returns one row per removed link: its
 * `position`, counted from 1. Uses the primary key. Locks the mappings in key order.
 *
 * @remarks
 * ```sql
 * with unwanted as (
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
 * ),
 * held as (
 *   select
 *     unwanted.position,
 *     unwanted.contact_id as wanted_contact_id,
 *     mapping.organisation_id,
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id,
 *     mapping.contact_id
 *   from (
 *     select
 *       position,
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id
 *     from unwanted
 *     -- Locks are taken in this order, that of the primary key.
 *     order by
 *       provider collate "C",
 *       entity_type collate "C",
 *       external_id collate "C"
 *   ) as unwanted
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       provider,
 *       entity_type,
 *       external_id,
 *       contact_id
 *     from contact_external_ids
 *     where organisation_id = :organisationId!::uuid
 *       and provider = unwanted.provider
 *       and entity_type = unwanted.entity_type
 *       and external_id = unwanted.external_id
 *       and (contact_id = unwanted.contact_id) is true
 *     -- Keeps the planner from reading every mapping of the organisation.
 *     limit 1
 *     for update
 *   ) as mapping
 * )
 * delete from contact_external_ids as mapping
 * using held
 * -- By the row's own key, not by the parameter, for which the planner may read the whole organisation.
 * where mapping.organisation_id = held.organisation_id
 *   and mapping.provider = held.provider
 *   and mapping.entity_type = held.entity_type
 *   and mapping.external_id = held.external_id
 *   -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *   and held.contact_id = held.wanted_contact_id
 * returning held.position::integer as "position!"
 * ```
 */
export const contactExternalIdUnlink = new PreparedQuery<ContactExternalIdUnlinkParams,ContactExternalIdUnlinkResult>({
  name: 'contactExternalIdUnlink',
  statementName: 'contactExternalIdUnlink_f2d073c4',
  isPreparable: true,
  params: [
    { name: 'providers', required: true },
    { name: 'entityTypes', required: true },
    { name: 'externalIds', required: true },
    { name: 'contactIds', required: true },
    { name: 'organisationId', required: true },
  ],
  text: `/* contactExternalIdUnlink */ with unwanted as (
  select
    position,
    provider,
    entity_type,
    external_id,
    contact_id
  from unnest(
    $1::text[],
    $2::text[],
    $3::text[],
    $4::uuid[]
  ) with ordinality as link (provider, entity_type, external_id, contact_id, position)
),
held as (
  select
    unwanted.position,
    unwanted.contact_id as wanted_contact_id,
    mapping.organisation_id,
    mapping.provider,
    mapping.entity_type,
    mapping.external_id,
    mapping.contact_id
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
      organisation_id,
      provider,
      entity_type,
      external_id,
      contact_id
    from contact_external_ids
    where organisation_id = $5::uuid
      and provider = unwanted.provider
      and entity_type = unwanted.entity_type
      and external_id = unwanted.external_id
      and (contact_id = unwanted.contact_id) is true
    limit 1
    for update
  ) as mapping
)
delete from contact_external_ids as mapping
using held
where mapping.organisation_id = held.organisation_id
  and mapping.provider = held.provider
  and mapping.entity_type = held.entity_type
  and mapping.external_id = held.external_id
  and held.contact_id = held.wanted_contact_id
returning held.position::integer as "position"`,
});


