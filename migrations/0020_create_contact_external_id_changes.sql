-- Up Migration
--
-- Purpose: records what each external id meant before, and when, by whom and why that changed.
-- Locks:   nothing.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table, and refuses while it has rows unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create table contact_external_id_changes (
  organisation_id uuid not null,
  id bigint generated always as identity,
  operation_id uuid not null default gen_random_uuid(),
  kind text not null,
  -- Collation C, as in contact_external_ids.
  provider text collate "C",
  entity_type text collate "C",
  external_id text collate "C",
  connection_id uuid,
  from_contact_id uuid,
  to_contact_id uuid,
  was_primary boolean,
  is_primary boolean,
  linked_at timestamptz,
  changed_at timestamptz not null default now(),
  changed_by text not null default session_user,
  reason text,
  undone_by uuid,
  constraint contact_external_id_changes_pkey
    primary key (organisation_id, id),
  constraint contact_external_id_changes_kind_check
    check (
      kind in (
        'unlinked', 'repointed', 'promoted', 'contacts_merged', 'records_merged', 'undone', 'contact_deleted', 'archived'
      )
    ),
  constraint contact_external_id_changes_record_check
    check (pg_catalog.num_nulls(provider, entity_type, external_id) in (0, 3)),
  constraint contact_external_id_changes_changed_by_check
    check (btrim(changed_by, E' \t\n\r\f\x0b') <> '' and length(changed_by) <= 100),
  constraint contact_external_id_changes_reason_check
    check (btrim(reason, E' \t\n\r\f\x0b') <> '' and length(reason) <= 500)
);

create index contact_external_id_changes_operation_id_idx
  on contact_external_id_changes (organisation_id, operation_id);

create index contact_external_id_changes_from_contact_id_idx
  on contact_external_id_changes (organisation_id, from_contact_id, id)
  where from_contact_id is not null;

create index contact_external_id_changes_to_contact_id_idx
  on contact_external_id_changes (organisation_id, to_contact_id, id)
  where to_contact_id is not null;

create index contact_external_id_changes_external_id_idx
  on contact_external_id_changes (organisation_id, provider, entity_type, external_id, id)
  where external_id is not null;

comment on table contact_external_id_changes is
  'The history of what external ids mean: one row for each id that was unlinked, moved or merged, that took the place of one that was, or that lost its contact. The first link is not in it; first_seen_at says when that was. It holds ids and times, and no other personal data. It outlives the contacts and has no foreign keys.';
comment on column contact_external_id_changes.organisation_id is
  'The organisation (tenant) that the contacts belong to.';
comment on column contact_external_id_changes.id is
  'In the order in which the changes were made.';
comment on column contact_external_id_changes.operation_id is
  'Names the changes that one call made together: a merge of contacts is undone by it. Each contact_deleted has its own.';
comment on column contact_external_id_changes.kind is
  'unlinked; repointed: moved to another contact; promoted: an alias became the primary id, because that was unlinked, moved or merged; contacts_merged: moved by a merge of two contacts; records_merged: the CRM merged two records; undone: moved back; contact_deleted: the host deleted the contact; archived: the note that the host had deleted the contact moved to contact_external_id_archive with the ids of its account.';
comment on column contact_external_id_changes.provider is
  'The CRM of the record. Null, as are entity_type and external_id, in the row that says that two contacts were merged, or their merge undone.';
comment on column contact_external_id_changes.entity_type is
  'The entity type of the record.';
comment on column contact_external_id_changes.external_id is
  'The external id of the record.';
comment on column contact_external_id_changes.connection_id is
  'The connection whose account the id belongs to: the live one at that time, or that under which it was archived. Null if there was none.';
comment on column contact_external_id_changes.from_contact_id is
  'The contact that the id meant before. Null if it meant none.';
comment on column contact_external_id_changes.to_contact_id is
  'The contact that the id means afterwards. Null if it means none.';
comment on column contact_external_id_changes.was_primary is
  'Whether it was the primary id before, rather than an alias. Null if it meant no contact.';
comment on column contact_external_id_changes.is_primary is
  'Whether it is the primary id afterwards, rather than an alias. Null if it means no contact.';
comment on column contact_external_id_changes.linked_at is
  'When the id was linked to from_contact_id.';
comment on column contact_external_id_changes.changed_at is
  'When the transaction that made the change began.';
comment on column contact_external_id_changes.changed_by is
  'Who made the change: a role or a program, never a person''s name. By default the database user.';
comment on column contact_external_id_changes.reason is
  'Why, in the words of whoever made the change. No personal data.';
comment on column contact_external_id_changes.undone_by is
  'The operation that undid this change.';
comment on constraint contact_external_id_changes_pkey on contact_external_id_changes is
  'Tenant first.';
comment on constraint contact_external_id_changes_kind_check on contact_external_id_changes is
  'The closed list of kinds.';
comment on constraint contact_external_id_changes_record_check on contact_external_id_changes is
  'A record is named in full or not at all.';
comment on constraint contact_external_id_changes_changed_by_check on contact_external_id_changes is
  'Not blank, at most 100 characters.';
comment on constraint contact_external_id_changes_reason_check on contact_external_id_changes is
  'Not blank, at most 500 characters.';
comment on index contact_external_id_changes_operation_id_idx is
  'Finds what was changed together, to undo it.';
comment on index contact_external_id_changes_from_contact_id_idx is
  'Finds the ids that a contact had, the latest change first.';
comment on index contact_external_id_changes_to_contact_id_idx is
  'Finds the ids that a contact was given, the latest change first.';
comment on index contact_external_id_changes_external_id_idx is
  'Finds the latest change of an external id, which says whether the host deleted its contact.';

-- History is added to, in the order and at the time that the database gives; the one thing that changes is whether it
-- was undone.
grant
  select,
  insert (
    organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id, to_contact_id,
    was_primary, is_primary, linked_at, changed_by, reason
  ),
  update (undone_by)
on contact_external_id_changes
to crm_app, crm_worker;

grant select
on contact_external_id_changes
to crm_reader;

alter table contact_external_id_changes enable row level security;

create policy contact_external_id_changes_tenant_policy
  on contact_external_id_changes
  to crm_app
  using (coalesce(organisation_id = (select crm_organisation_id()), false))
  with check (coalesce(organisation_id = (select crm_organisation_id()), false));

create policy contact_external_id_changes_worker_policy
  on contact_external_id_changes
  to crm_worker
  using (true)
  with check (true);

create policy contact_external_id_changes_reader_policy
  on contact_external_id_changes
  for select
  to crm_reader
  using (true);

comment on policy contact_external_id_changes_tenant_policy on contact_external_id_changes is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy contact_external_id_changes_worker_policy on contact_external_id_changes is
  'The sync worker works for all organisations.';
comment on policy contact_external_id_changes_reader_policy on contact_external_id_changes is
  'Monitoring and support read all organisations.';

select crm_give_to_owner(array['table contact_external_id_changes']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a change that somebody is recording now would be lost unseen.
lock table contact_external_id_changes in access exclusive mode;

select crm_refuse_data_loss('contact_external_id_changes has rows')
where exists (select from contact_external_id_changes);

drop table contact_external_id_changes;
