/* @name contactMerge */
-- Merges a contact into another (crm_merge_contacts). Returns one row per external id that the contact had:
-- `outcome` is `moved`, `became_alias`, `alias_moved` or `archived_moved`; or one row `wrong_tenant` (the
-- organisation does not have both contacts), and nothing has changed. Uses the indexes of the contacts'
-- external ids. Locks the external ids of the organisation at all CRMs, then the contacts FOR KEY SHARE, then
-- their external ids in key order, then the outbound changes and failures of the contact.
select
  merged.provider as "provider?",
  merged.entity_type as "entityType?",
  merged.external_id as "externalId?",
  merged.outcome as "outcome!"
from crm_merge_contacts(
  :organisationId!::uuid,
  :fromContactId!::uuid,
  :intoContactId!::uuid,
  :operationId!::uuid,
  :changedBy::text,
  :reason::text
) as merged
order by
  merged.provider,
  merged.entity_type,
  merged.external_id;

/* @name contactMergeUndo */
-- Undoes a merge of contacts, as a whole or not at all (crm_undo_contact_merge). Returns no row if there was
-- no such merge. Otherwise the first row has no record: its `outcome` is `undone`, or `undone_before`,
-- `no_contact` or `held`, and nothing has changed. Then one row per external id that the merge had moved:
-- `undone`, or the reason why it cannot be moved back, or `held` (nothing is wrong with it); then `stays` for
-- external ids that the other contact has got since. Uses contact_external_id_changes_operation_id_idx and
-- primary keys. Locks as contactMerge.
select
  undone.provider as "provider?",
  undone.entity_type as "entityType?",
  undone.external_id as "externalId?",
  undone.outcome as "outcome!"
from crm_undo_contact_merge(
  :organisationId!::uuid,
  :mergeId!::uuid,
  :operationId!::uuid,
  :changedBy::text,
  :reason::text
) as undone
order by
  undone.provider nulls first,
  undone.entity_type,
  undone.external_id;

/* @name externalRecordMergeMany */
-- Records that a CRM has merged records into others, one array element each (crm_merge_external_records).
-- Returns one row per element: its `position`, counted from 1, and `outcome`: `merged`, `same_record`,
-- `unknown` (neither record means a contact) or `contacts_differ` (they mean `contactId` and `otherContactId`,
-- and nothing has changed). Uses primary keys. Locks the external ids of the organisation at this CRM, then
-- the contacts FOR KEY SHARE.
select
  merged.pair_number as "position!",
  merged.outcome as "outcome!",
  merged.contact_id as "contactId?",
  merged.other_contact_id as "otherContactId?"
from crm_merge_external_records(
  :organisationId!::uuid,
  :provider!::text,
  :fromEntityTypes!::text[],
  :fromExternalIds!::text[],
  :intoEntityTypes!::text[],
  :intoExternalIds!::text[],
  :operationId!::uuid,
  :changedBy::text,
  :reason::text
) as merged
order by merged.pair_number;

/* @name contactIdentityChangeList */
-- Lists the changes of what external ids mean in which a contact had or was given an id, the latest first, at
-- most `limit`, before the change `beforeId` if that is not null. Uses
-- contact_external_id_changes_from_contact_id_idx and contact_external_id_changes_to_contact_id_idx.
with found as (
  (
    select id
    from contact_external_id_changes
    where organisation_id = :organisationId!::uuid
      and from_contact_id = :contactId!::uuid
      and id < coalesce(:beforeId::bigint, 9223372036854775807)
    order by id desc
    limit :limit!::integer
  )
  union
  (
    select id
    from contact_external_id_changes
    where organisation_id = :organisationId!::uuid
      and to_contact_id = :contactId!::uuid
      and id < coalesce(:beforeId::bigint, 9223372036854775807)
    order by id desc
    limit :limit!::integer
  )
)
select
  change.id,
  change.operation_id as "operationId",
  change.kind,
  change.provider,
  change.entity_type as "entityType",
  change.external_id as "externalId",
  change.from_contact_id as "fromContactId",
  change.to_contact_id as "toContactId",
  change.was_primary as "wasPrimary",
  change.is_primary as "isPrimary",
  change.linked_at as "linkedAt",
  change.changed_at as "changedAt",
  change.changed_by as "changedBy",
  change.reason,
  change.undone_by as "undoneBy"
from (
  select id
  from found
  order by id desc
  limit :limit!::integer
) as page
cross join lateral (
  select
    id,
    operation_id,
    kind,
    provider,
    entity_type,
    external_id,
    from_contact_id,
    to_contact_id,
    was_primary,
    is_primary,
    linked_at,
    changed_at,
    changed_by,
    reason,
    undone_by
  from contact_external_id_changes
  where organisation_id = :organisationId!::uuid
    and id = page.id
  -- Keeps the planner from reading the whole history.
  limit 1
) as change
order by change.id desc;

/* @name contactReferenceCheckMany */
-- For records that carry contacts' ids as their references, one array element each: which contact that one is after
-- merges, whether the record was unlinked from it or re-pointed to another, and whether the log or a merge knows it, or an
-- erasure (crm_find_erased_contacts). Returns one row per element: its `position`, counted from 1. Uses contact_external_id_changes_from_contact_id_idx,
-- contact_external_id_changes_external_id_idx and crm_sync_log_internal_id_idx.
with erased as materialized (
  select erased.contact_number as position
  from crm_find_erased_contacts(:organisationId!::uuid, :contactIds!::uuid[]) as erased
)
select
  sent.position::integer as "position!",
  chain.contact_ids[cardinality(chain.contact_ids)] as "contactId!",
  unlinked.is_found is not null as "isUnlinked!",
  cardinality(chain.contact_ids) > 1
    or logged.is_found is not null
    or sent.position in (select erased.position from erased) as "isKnown!"
from unnest(
  -- From a subquery, so that the planner does not know how many there are: at an estimated cost of 100,000 the server
  -- would compile the statement (jit), which takes longer than running it.
  (select :entityTypes!::text[]),
  (select :externalIds!::text[]),
  (select :contactIds!::uuid[])
) with ordinality as sent (entity_type, external_id, contact_id, position)
cross join lateral (
  with recursive merged as (
    select
      sent.contact_id,
      1 as step
    union all
    select
      change.to_contact_id,
      merged.step + 1
    from merged
    inner join contact_external_id_changes as change
      on change.organisation_id = :organisationId!::uuid
        and change.from_contact_id = merged.contact_id
        and change.kind = 'contacts_merged'
        -- The change of the merge itself, not of an id that it moved.
        and change.provider is null
        and change.undone_by is null
    -- Contacts that were merged into each other again and again would go on for ever.
    where merged.step < 100
  )
  select array_agg(contact_id order by step) as contact_ids
  from merged
) as chain
left join lateral (
  select true as is_found
  from contact_external_id_changes as change
  where change.organisation_id = :organisationId!::uuid
    and change.from_contact_id = any(chain.contact_ids)
    and change.kind in ('unlinked', 'repointed')
    and change.provider = :provider!::text
    and change.entity_type = sent.entity_type
    and change.external_id = sent.external_id
  limit 1
) as unlinked on true
left join lateral (
  select true as is_found
  from crm_sync_log as event
  -- `is true` keeps the planner from the primary key, through which it would read the whole organisation.
  where (event.organisation_id = :organisationId!::uuid) is true
    and event.internal_id = sent.contact_id
  limit 1
) as logged on true
order by sent.position;
