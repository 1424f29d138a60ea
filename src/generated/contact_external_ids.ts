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
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id,
 *     mapping.contact_id,
 *     mapping.contact_id = wanted.contact_id as is_same
 *   from wanted
 *   inner join contact_external_ids as mapping
 *     on mapping.organisation_id = :organisationId!::uuid
 *     and mapping.provider = wanted.provider
 *     and mapping.entity_type = wanted.entity_type
 *     and mapping.external_id = wanted.external_id
 *   order by
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id
 *   for no key update of mapping
 * ),
 * seen as (
 *   update contact_external_ids as mapping
 *   set last_seen_at = now()
 *   from existing
 *   where existing.is_same
 *     and mapping.last_seen_at < now() - interval '1 day'
 *     and mapping.organisation_id = :organisationId!::uuid
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
 *     when existing.is_same then 'already_linked'
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
 * left join contact_external_ids as other
 *   on other.organisation_id = :organisationId!::uuid
 *   and other.provider = wanted.provider
 *   and other.contact_id = wanted.contact_id
 *   -- If the wanted mapping is visible here but was not locked above, it was deleted in between.
 *   and (other.entity_type, other.external_id) <> (wanted.entity_type, wanted.external_id)
 * order by wanted.position
 * ```
 */
export const contactExternalIdLink = new PreparedQuery<ContactExternalIdLinkParams,ContactExternalIdLinkResult>({
  name: 'contactExternalIdLink',
  statementName: 'contactExternalIdLink_c6e12fd9',
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
    mapping.provider,
    mapping.entity_type,
    mapping.external_id,
    mapping.contact_id,
    mapping.contact_id = wanted.contact_id as is_same
  from wanted
  inner join contact_external_ids as mapping
    on mapping.organisation_id = $5::uuid
    and mapping.provider = wanted.provider
    and mapping.entity_type = wanted.entity_type
    and mapping.external_id = wanted.external_id
  order by
    mapping.provider,
    mapping.entity_type,
    mapping.external_id
  for no key update of mapping
),
seen as (
  update contact_external_ids as mapping
  set last_seen_at = now()
  from existing
  where existing.is_same
    and mapping.last_seen_at < now() - interval '1 day'
    and mapping.organisation_id = $5::uuid
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
    when existing.is_same then 'already_linked'
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
left join contact_external_ids as other
  on other.organisation_id = $5::uuid
  and other.provider = wanted.provider
  and other.contact_id = wanted.contact_id
  and (other.entity_type, other.external_id) <> (wanted.entity_type, wanted.external_id)
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
 * from the primary key, through which it would read every mapping of the organisation.
 *
 * @remarks
 * ```sql
 * select
 *   contact_id as "contactId",
 *   provider,
 *   entity_type as "entityType",
 *   external_id as "externalId",
 *   first_seen_at as "firstSeenAt",
 *   last_seen_at as "lastSeenAt"
 * from contact_external_ids
 * where (organisation_id = :organisationId!::uuid) is true
 *   and contact_id = any(:contactIds!::uuid[])
 * order by
 *   contact_id,
 *   provider
 * ```
 */
export const contactExternalIdListByContacts = new PreparedQuery<ContactExternalIdListByContactsParams,ContactExternalIdListByContactsResult>({
  name: 'contactExternalIdListByContacts',
  statementName: 'contactExternalIdListByContacts_54e8648c',
  isPreparable: true,
  params: [
    { name: 'organisationId', required: true },
    { name: 'contactIds', required: true },
  ],
  text: `/* contactExternalIdListByContacts */ select
  contact_id as "contactId",
  provider,
  entity_type as "entityType",
  external_id as "externalId",
  first_seen_at as "firstSeenAt",
  last_seen_at as "lastSeenAt"
from contact_external_ids
where (organisation_id = $1::uuid) is true
  and contact_id = any($2::uuid[])
order by
  contact_id,
  provider`,
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
 *     mapping.provider,
 *     mapping.contact_id
 *   from wanted
 *   inner join contact_external_ids as mapping
 *     on mapping.organisation_id = :organisationId!::uuid
 *     and mapping.provider = wanted.provider
 *     and mapping.entity_type = wanted.entity_type
 *     and mapping.external_id = wanted.external_id
 *     and mapping.contact_id = wanted.from_contact_id
 *   order by
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id
 *   for update of mapping
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
 *   left join contact_external_ids as occupant
 *     on occupant.organisation_id = :organisationId!::uuid
 *     and occupant.provider = wanted.provider
 *     and occupant.contact_id = wanted.to_contact_id
 *     and not exists (
 *       select
 *       from held as leaving
 *       where leaving.provider = occupant.provider
 *         and leaving.contact_id = occupant.contact_id
 *     )
 * ),
 * -- Deleted and inserted again instead of updated: a unique index is checked row by row, so an update
 * -- would fail on the first half of a swap.
 * removed as (
 *   delete from contact_external_ids as mapping
 *   using wanted
 *   where mapping.organisation_id = :organisationId!::uuid
 *     and mapping.provider = wanted.provider
 *     and mapping.entity_type = wanted.entity_type
 *     and mapping.external_id = wanted.external_id
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
  statementName: 'contactExternalIdRepoint_e9463da0',
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
    mapping.provider,
    mapping.contact_id
  from wanted
  inner join contact_external_ids as mapping
    on mapping.organisation_id = $6::uuid
    and mapping.provider = wanted.provider
    and mapping.entity_type = wanted.entity_type
    and mapping.external_id = wanted.external_id
    and mapping.contact_id = wanted.from_contact_id
  order by
    mapping.provider,
    mapping.entity_type,
    mapping.external_id
  for update of mapping
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
  left join contact_external_ids as occupant
    on occupant.organisation_id = $6::uuid
    and occupant.provider = wanted.provider
    and occupant.contact_id = wanted.to_contact_id
    and not exists (
      select
      from held as leaving
      where leaving.provider = occupant.provider
        and leaving.contact_id = occupant.contact_id
    )
),
removed as (
  delete from contact_external_ids as mapping
  using wanted
  where mapping.organisation_id = $6::uuid
    and mapping.provider = wanted.provider
    and mapping.entity_type = wanted.entity_type
    and mapping.external_id = wanted.external_id
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
 * none for an unknown id. Uses the primary key.
 *
 * @remarks
 * ```sql
 * select
 *   external_id as "externalId",
 *   contact_id as "contactId"
 * from contact_external_ids
 * where organisation_id = :organisationId!::uuid
 *   and provider = :provider!::text
 *   and entity_type = :entityType!::text
 *   and external_id = any(:externalIds!::text[])
 * ```
 */
export const contactExternalIdResolve = new PreparedQuery<ContactExternalIdResolveParams,ContactExternalIdResolveResult>({
  name: 'contactExternalIdResolve',
  statementName: 'contactExternalIdResolve_e6c9b035',
  isPreparable: true,
  params: [
    { name: 'organisationId', required: true },
    { name: 'provider', required: true },
    { name: 'entityType', required: true },
    { name: 'externalIds', required: true },
  ],
  text: `/* contactExternalIdResolve */ select
  external_id as "externalId",
  contact_id as "contactId"
from contact_external_ids
where organisation_id = $1::uuid
  and provider = $2::text
  and entity_type = $3::text
  and external_id = any($4::text[])`,
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
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id
 *   from unwanted
 *   inner join contact_external_ids as mapping
 *     on mapping.organisation_id = :organisationId!::uuid
 *     and mapping.provider = unwanted.provider
 *     and mapping.entity_type = unwanted.entity_type
 *     and mapping.external_id = unwanted.external_id
 *     and mapping.contact_id = unwanted.contact_id
 *   order by
 *     mapping.provider,
 *     mapping.entity_type,
 *     mapping.external_id
 *   for update of mapping
 * )
 * delete from contact_external_ids as mapping
 * using held
 * where mapping.organisation_id = :organisationId!::uuid
 *   and mapping.provider = held.provider
 *   and mapping.entity_type = held.entity_type
 *   and mapping.external_id = held.external_id
 * returning held.position::integer as "position!"
 * ```
 */
export const contactExternalIdUnlink = new PreparedQuery<ContactExternalIdUnlinkParams,ContactExternalIdUnlinkResult>({
  name: 'contactExternalIdUnlink',
  statementName: 'contactExternalIdUnlink_51805d41',
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
    mapping.provider,
    mapping.entity_type,
    mapping.external_id
  from unwanted
  inner join contact_external_ids as mapping
    on mapping.organisation_id = $5::uuid
    and mapping.provider = unwanted.provider
    and mapping.entity_type = unwanted.entity_type
    and mapping.external_id = unwanted.external_id
    and mapping.contact_id = unwanted.contact_id
  order by
    mapping.provider,
    mapping.entity_type,
    mapping.external_id
  for update of mapping
)
delete from contact_external_ids as mapping
using held
where mapping.organisation_id = $5::uuid
  and mapping.provider = held.provider
  and mapping.entity_type = held.entity_type
  and mapping.external_id = held.external_id
returning held.position::integer as "position"`,
});


