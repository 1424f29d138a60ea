/** Types generated for queries found in "queries/contact_external_ids.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp } from '../types.js';

/** What {@link contactExternalIdLink} takes. */
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

const contactExternalIdLinkIR = {"usedParamSet":{"providers":true,"entityTypes":true,"externalIds":true,"contactIds":true,"organisationId":true},"params":[{"name":"providers","required":true,"transform":{"type":"scalar"},"locs":[{"a":904,"b":914}]},{"name":"entityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":929,"b":941}]},{"name":"externalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":956,"b":968}]},{"name":"contactIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":983,"b":994}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1173,"b":1188},{"a":1624,"b":1639},{"a":2113,"b":2128},{"a":2494,"b":2509},{"a":4019,"b":4034}]}],"statement":"-- Links contacts to external ids, one array element each, and refreshes lastSeenAt, if it is a day old,\n-- where the link was there. One row per element: `position` counts from 1; `outcome` is `linked`, `already_linked`,\n-- `external_id_taken` (by `linkedContactId`), `contact_taken` (the contact has `linkedExternalId`, a\n-- `linkedEntityType`, at that provider), `wrong_tenant` (the organisation has no such contact: then no element\n-- is linked), or `retry` when a change of this very moment decides it and only the next statement can\n-- see which. By the primary key, contact_external_ids_contact_id_provider_key and the host's key of\n-- contacts; locks the mappings in key order and the contacts FOR KEY SHARE.\nwith wanted as (\n  select\n    link.position,\n    link.provider,\n    link.entity_type,\n    link.external_id,\n    link.contact_id,\n    contacts.id is null as is_stranger\n  from unnest(\n    :providers!::text[],\n    :entityTypes!::text[],\n    :externalIds!::text[],\n    :contactIds!::uuid[]\n  ) with ordinality as link (provider, entity_type, external_id, contact_id, position)\n  left join lateral (\n    select id\n    from contacts\n    where organisation_id = :organisationId!::uuid\n      and id = link.contact_id\n    -- Keeps the planner from reading all contacts of the organisation.\n    limit 1\n  ) as contacts on true\n),\nexisting as (\n  select\n    wanted.position,\n    mapping.provider,\n    mapping.entity_type,\n    mapping.external_id,\n    mapping.contact_id,\n    mapping.contact_id = wanted.contact_id as is_same\n  from wanted\n  inner join contact_external_ids as mapping\n    on mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = wanted.provider\n    and mapping.entity_type = wanted.entity_type\n    and mapping.external_id = wanted.external_id\n  order by\n    mapping.provider,\n    mapping.entity_type,\n    mapping.external_id\n  for no key update of mapping\n),\nseen as (\n  update contact_external_ids as mapping\n  set last_seen_at = now()\n  from existing\n  where existing.is_same\n    and mapping.last_seen_at < now() - interval '1 day'\n    and mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = existing.provider\n    and mapping.entity_type = existing.entity_type\n    and mapping.external_id = existing.external_id\n    and not exists (select from wanted where is_stranger)\n),\nlinked as (\n  insert into contact_external_ids (\n    organisation_id,\n    provider,\n    entity_type,\n    external_id,\n    contact_id\n  )\n  select\n    :organisationId!::uuid,\n    provider,\n    entity_type,\n    external_id,\n    contact_id\n  from wanted\n  where position not in (select position from existing)\n    and not exists (select from wanted where is_stranger)\n  order by\n    provider,\n    entity_type,\n    external_id,\n    position\n  on conflict do nothing\n  returning\n    provider,\n    entity_type,\n    external_id,\n    contact_id\n)\nselect\n  wanted.position::integer as \"position!\",\n  case\n    when wanted.is_stranger then 'wrong_tenant'\n    when linked_id.contact_id = wanted.contact_id then 'linked'\n    when existing.is_same then 'already_linked'\n    when coalesce(linked_id.contact_id, existing.contact_id) is not null then 'external_id_taken'\n    when coalesce(linked_contact.external_id, other.external_id) is not null then 'contact_taken'\n    else 'retry'\n  end as \"outcome!\",\n  coalesce(linked_id.contact_id, existing.contact_id) as \"linkedContactId?\",\n  coalesce(linked_contact.entity_type, other.entity_type) as \"linkedEntityType?\",\n  coalesce(linked_contact.external_id, other.external_id) as \"linkedExternalId?\"\nfrom wanted\nleft join existing\n  on existing.position = wanted.position\nleft join linked as linked_id\n  on linked_id.provider = wanted.provider\n  and linked_id.entity_type = wanted.entity_type\n  and linked_id.external_id = wanted.external_id\nleft join linked as linked_contact\n  on linked_contact.provider = wanted.provider\n  and linked_contact.contact_id = wanted.contact_id\nleft join contact_external_ids as other\n  on other.organisation_id = :organisationId!::uuid\n  and other.provider = wanted.provider\n  and other.contact_id = wanted.contact_id\n  -- Seen here but not locked above, the wanted mapping itself has just been taken away.\n  and (other.entity_type, other.external_id) <> (wanted.entity_type, wanted.external_id)\norder by wanted.position"};

/**
 * Links contacts to external ids, one array element each, and refreshes lastSeenAt, if it is a day old,
 * where the link was there. One row per element: `position` counts from 1; `outcome` is `linked`, `already_linked`,
 * `external_id_taken` (by `linkedContactId`), `contact_taken` (the contact has `linkedExternalId`, a
 * `linkedEntityType`, at that provider), `wrong_tenant` (the organisation has no such contact: then no element
 * is linked), or `retry` when a change of this very moment decides it and only the next statement can
 * see which. By the primary key, contact_external_ids_contact_id_provider_key and the host's key of
 * contacts; locks the mappings in key order and the contacts FOR KEY SHARE.
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
 *     -- Keeps the planner from reading all contacts of the organisation.
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
 *   -- Seen here but not locked above, the wanted mapping itself has just been taken away.
 *   and (other.entity_type, other.external_id) <> (wanted.entity_type, wanted.external_id)
 * order by wanted.position
 * ```
 */
export const contactExternalIdLink = new PreparedQuery<ContactExternalIdLinkParams,ContactExternalIdLinkResult>('contactExternalIdLink', contactExternalIdLinkIR);


/** What {@link contactExternalIdListByContacts} takes. */
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
  /** When the contact was first linked to this external id. Re-pointing starts anew. */
  firstSeenAt: Timestamp;
  /** When a sync last confirmed the link, exact to a day: writing it each time would cost more than it tells. */
  lastSeenAt: Timestamp;
  /** The CRM that gave the id. The mapping outlives a single connection: it holds again after a reconnect. */
  provider: string;
}

const contactExternalIdListByContactsIR = {"usedParamSet":{"organisationId":true,"contactIds":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":504,"b":519}]},{"name":"contactIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":559,"b":570}]}],"statement":"-- All external ids of some contacts, by contact and provider. At most one row for each contact and\n-- provider, by contact_external_ids_contact_id_provider_key («is true» keeps the planner from the primary key,\n-- through which it would read all mappings of the organisation).\nselect\n  contact_id as \"contactId\",\n  provider,\n  entity_type as \"entityType\",\n  external_id as \"externalId\",\n  first_seen_at as \"firstSeenAt\",\n  last_seen_at as \"lastSeenAt\"\nfrom contact_external_ids\nwhere (organisation_id = :organisationId!::uuid) is true\n  and contact_id = any(:contactIds!::uuid[])\norder by\n  contact_id,\n  provider"};

/**
 * All external ids of some contacts, by contact and provider. At most one row for each contact and
 * provider, by contact_external_ids_contact_id_provider_key («is true» keeps the planner from the primary key,
 * through which it would read all mappings of the organisation).
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
export const contactExternalIdListByContacts = new PreparedQuery<ContactExternalIdListByContactsParams,ContactExternalIdListByContactsResult>('contactExternalIdListByContacts', contactExternalIdListByContactsIR);


/** What {@link contactExternalIdRepoint} takes. */
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

const contactExternalIdRepointIR = {"usedParamSet":{"providers":true,"entityTypes":true,"externalIds":true,"fromContactIds":true,"toContactIds":true,"organisationId":true},"params":[{"name":"providers","required":true,"transform":{"type":"scalar"},"locs":[{"a":934,"b":944}]},{"name":"entityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":959,"b":971}]},{"name":"externalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":986,"b":998}]},{"name":"fromContactIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":1013,"b":1028}]},{"name":"toContactIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":1043,"b":1056}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1255,"b":1270},{"a":1600,"b":1615},{"a":2445,"b":2460},{"a":2990,"b":3005},{"a":3395,"b":3410}]}],"statement":"-- Moves external ids from one contact to another, one array element each, all or none; a swap is two\n-- elements. One row per element: `position` counts from 1; `outcome` is `moved` for all, or else for\n-- none: `mapping_changed` (the id is not mapped to the contact it should move from), `contact_taken`\n-- (its new contact would have two ids at that provider), `wrong_tenant` (the organisation has no such\n-- contact) or `held` (nothing is wrong with this one). By the primary key,\n-- contact_external_ids_contact_id_provider_key and the host's key of contacts; locks the mappings in\n-- key order and the contacts FOR KEY SHARE.\nwith wanted as (\n  select\n    move.position,\n    move.provider,\n    move.entity_type,\n    move.external_id,\n    move.from_contact_id,\n    move.to_contact_id,\n    count(*) over (partition by move.provider, move.to_contact_id) > 1 as is_crowded,\n    contacts.id is null as is_stranger\n  from unnest(\n    :providers!::text[],\n    :entityTypes!::text[],\n    :externalIds!::text[],\n    :fromContactIds!::uuid[],\n    :toContactIds!::uuid[]\n  ) with ordinality as move (provider, entity_type, external_id, from_contact_id, to_contact_id, position)\n  left join lateral (\n    select id\n    from contacts\n    where organisation_id = :organisationId!::uuid\n      and id = move.to_contact_id\n    -- Keeps the planner from reading all contacts of the organisation.\n    limit 1\n  ) as contacts on true\n),\nheld as (\n  select\n    wanted.position,\n    mapping.provider,\n    mapping.contact_id\n  from wanted\n  inner join contact_external_ids as mapping\n    on mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = wanted.provider\n    and mapping.entity_type = wanted.entity_type\n    and mapping.external_id = wanted.external_id\n    and mapping.contact_id = wanted.from_contact_id\n  order by\n    mapping.provider,\n    mapping.entity_type,\n    mapping.external_id\n  for update of mapping\n),\ndecided as (\n  select\n    wanted.position,\n    case\n      when wanted.is_stranger then 'wrong_tenant'\n      when held.position is null then 'mapping_changed'\n      when wanted.is_crowded or occupant.contact_id is not null then 'contact_taken'\n      else 'held'\n    end as outcome\n  from wanted\n  left join held\n    on held.position = wanted.position\n  -- Who has an id at that provider already, and does not give it away in this very batch.\n  left join contact_external_ids as occupant\n    on occupant.organisation_id = :organisationId!::uuid\n    and occupant.provider = wanted.provider\n    and occupant.contact_id = wanted.to_contact_id\n    and not exists (\n      select\n      from held as leaving\n      where leaving.provider = occupant.provider\n        and leaving.contact_id = occupant.contact_id\n    )\n),\n-- Deleted and inserted anew, not updated: a unique index is checked row by row, so that an update\n-- would stumble over the first half of a swap.\nremoved as (\n  delete from contact_external_ids as mapping\n  using wanted\n  where mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = wanted.provider\n    and mapping.entity_type = wanted.entity_type\n    and mapping.external_id = wanted.external_id\n    and (select bool_and(outcome = 'held') from decided)\n  returning mapping.external_id\n),\nmoved as (\n  insert into contact_external_ids (\n    organisation_id,\n    provider,\n    entity_type,\n    external_id,\n    contact_id\n  )\n  select\n    :organisationId!::uuid,\n    provider,\n    entity_type,\n    external_id,\n    to_contact_id\n  from wanted\n  -- Counting what was removed makes sure that all of it is, before the first row goes in.\n  where (select count(*) from removed) > 0\n)\nselect\n  position::integer as \"position!\",\n  case\n    when bool_and(outcome = 'held') over () then 'moved'\n    else outcome\n  end as \"outcome!\"\nfrom decided\norder by position"};

/**
 * Moves external ids from one contact to another, one array element each, all or none; a swap is two
 * elements. One row per element: `position` counts from 1; `outcome` is `moved` for all, or else for
 * none: `mapping_changed` (the id is not mapped to the contact it should move from), `contact_taken`
 * (its new contact would have two ids at that provider), `wrong_tenant` (the organisation has no such
 * contact) or `held` (nothing is wrong with this one). By the primary key,
 * contact_external_ids_contact_id_provider_key and the host's key of contacts; locks the mappings in
 * key order and the contacts FOR KEY SHARE.
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
 *     -- Keeps the planner from reading all contacts of the organisation.
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
 *   -- Who has an id at that provider already, and does not give it away in this very batch.
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
 * -- Deleted and inserted anew, not updated: a unique index is checked row by row, so that an update
 * -- would stumble over the first half of a swap.
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
 *   -- Counting what was removed makes sure that all of it is, before the first row goes in.
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
export const contactExternalIdRepoint = new PreparedQuery<ContactExternalIdRepointParams,ContactExternalIdRepointResult>('contactExternalIdRepoint', contactExternalIdRepointIR);


/** What {@link contactExternalIdResolve} takes. */
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

const contactExternalIdResolveIR = {"usedParamSet":{"organisationId":true,"provider":true,"entityType":true,"externalIds":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":267,"b":282}]},{"name":"provider","required":true,"transform":{"type":"scalar"},"locs":[{"a":307,"b":316}]},{"name":"entityType","required":true,"transform":{"type":"scalar"},"locs":[{"a":344,"b":355}]},{"name":"externalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":387,"b":399}]}],"statement":"-- Which contacts some external ids of one provider and entity type mean. At most one row for each\n-- id, none for an unknown one; by the primary key.\nselect\n  external_id as \"externalId\",\n  contact_id as \"contactId\"\nfrom contact_external_ids\nwhere organisation_id = :organisationId!::uuid\n  and provider = :provider!::text\n  and entity_type = :entityType!::text\n  and external_id = any(:externalIds!::text[])"};

/**
 * Which contacts some external ids of one provider and entity type mean. At most one row for each
 * id, none for an unknown one; by the primary key.
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
export const contactExternalIdResolve = new PreparedQuery<ContactExternalIdResolveParams,ContactExternalIdResolveResult>('contactExternalIdResolve', contactExternalIdResolveIR);


/** What {@link contactExternalIdUnlink} takes. */
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

const contactExternalIdUnlinkIR = {"usedParamSet":{"providers":true,"entityTypes":true,"externalIds":true,"contactIds":true,"organisationId":true},"params":[{"name":"providers","required":true,"transform":{"type":"scalar"},"locs":[{"a":325,"b":335}]},{"name":"entityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":350,"b":362}]},{"name":"externalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":377,"b":389}]},{"name":"contactIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":404,"b":415}]},{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":722,"b":737},{"a":1136,"b":1151}]}],"statement":"-- Unlinks contacts from external ids, one array element each. One row for each link that was there\n-- and is gone: its `position`, counted from 1. By the primary key; locks the mappings in key order.\nwith unwanted as (\n  select\n    position,\n    provider,\n    entity_type,\n    external_id,\n    contact_id\n  from unnest(\n    :providers!::text[],\n    :entityTypes!::text[],\n    :externalIds!::text[],\n    :contactIds!::uuid[]\n  ) with ordinality as link (provider, entity_type, external_id, contact_id, position)\n),\nheld as (\n  select\n    unwanted.position,\n    mapping.provider,\n    mapping.entity_type,\n    mapping.external_id\n  from unwanted\n  inner join contact_external_ids as mapping\n    on mapping.organisation_id = :organisationId!::uuid\n    and mapping.provider = unwanted.provider\n    and mapping.entity_type = unwanted.entity_type\n    and mapping.external_id = unwanted.external_id\n    and mapping.contact_id = unwanted.contact_id\n  order by\n    mapping.provider,\n    mapping.entity_type,\n    mapping.external_id\n  for update of mapping\n)\ndelete from contact_external_ids as mapping\nusing held\nwhere mapping.organisation_id = :organisationId!::uuid\n  and mapping.provider = held.provider\n  and mapping.entity_type = held.entity_type\n  and mapping.external_id = held.external_id\nreturning held.position::integer as \"position!\""};

/**
 * Unlinks contacts from external ids, one array element each. One row for each link that was there
 * and is gone: its `position`, counted from 1. By the primary key; locks the mappings in key order.
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
export const contactExternalIdUnlink = new PreparedQuery<ContactExternalIdUnlinkParams,ContactExternalIdUnlinkResult>('contactExternalIdUnlink', contactExternalIdUnlinkIR);


