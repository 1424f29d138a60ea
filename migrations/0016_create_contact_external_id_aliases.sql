-- Up Migration
--
-- Purpose: which further ids does a contact have at a CRM?
-- Locks:   contacts SHARE ROW EXCLUSIVE, to add the foreign key: writes wait until the end of the transaction. It is
--          tried for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits
--          for vacuum.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the view and the table (contacts and it ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create table contact_external_id_aliases (
  organisation_id uuid not null,
  -- Collation C, because these are opaque to us: the order of bytes never changes with the system.
  provider text collate "C" not null,
  entity_type text collate "C" not null,
  external_id text collate "C" not null,
  contact_id uuid not null,
  first_seen_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  remote_state text not null default 'active',
  remote_version text collate "C",
  remote_modified_at timestamptz,
  merged_into_entity_type text collate "C",
  merged_into_external_id text collate "C",
  content_hash bytea,
  pushed_at timestamptz,
  constraint contact_external_id_aliases_pkey
    primary key (organisation_id, provider, entity_type, external_id),
  constraint contact_external_id_aliases_provider_check
    check (provider in ('agentos', 'reapit', 'alto', 'street', 'loop', 'custom')),
  constraint contact_external_id_aliases_entity_type_check
    check (
      entity_type ~ '^[a-z][a-z0-9_]{0,62}$'
      and merged_into_entity_type ~ '^[a-z][a-z0-9_]{0,62}$'
    ),
  constraint contact_external_id_aliases_external_id_check
    check (
      btrim(external_id, E' \t\n\r\f\x0b') <> ''
      and octet_length(external_id) <= 512
      and btrim(merged_into_external_id, E' \t\n\r\f\x0b') <> ''
      and octet_length(merged_into_external_id) <= 512
    ),
  constraint contact_external_id_aliases_seen_times_check
    check (
      first_seen_at <= last_seen_at
      and first_seen_at >= '1900-01-01 00:00:00+00'
      and last_seen_at < '9999-01-01 00:00:00+00'
    ),
  constraint contact_external_id_aliases_remote_state_check
    check (remote_state in ('active', 'archived', 'deleted', 'hidden', 'merged')),
  constraint contact_external_id_aliases_merged_iff_into_check
    check (
      pg_catalog.num_nonnulls(merged_into_entity_type, merged_into_external_id)
        = case remote_state when 'merged' then 2 else 0 end
    ),
  constraint contact_external_id_aliases_merged_into_another_check
    check ((merged_into_entity_type, merged_into_external_id) <> (entity_type, external_id)),
  constraint contact_external_id_aliases_remote_version_check
    check (octet_length(remote_version) between 1 and 512),
  constraint contact_external_id_aliases_content_hash_check
    check (octet_length(content_hash) = 32),
  constraint contact_external_id_aliases_remote_times_in_range_check
    check (
      least(remote_modified_at, pushed_at) >= '1900-01-01 00:00:00+00'
      and greatest(remote_modified_at, pushed_at) < '9999-01-01 00:00:00+00'
    )
)
-- Room for updates within the page: no index has a column of the state, so they are HOT.
with (fillfactor = 85);

create index contact_external_id_aliases_contact_id_provider_idx
  on contact_external_id_aliases (contact_id, provider);

create view contact_external_records
with (security_invoker = true)
as
select
  organisation_id,
  provider,
  entity_type,
  external_id,
  contact_id,
  true as is_primary,
  first_seen_at,
  last_seen_at,
  remote_state,
  remote_version,
  remote_modified_at,
  null::text collate "C" as merged_into_entity_type,
  null::text collate "C" as merged_into_external_id,
  content_hash,
  pushed_at
from contact_external_ids
union all
select
  organisation_id,
  provider,
  entity_type,
  external_id,
  contact_id,
  false as is_primary,
  first_seen_at,
  last_seen_at,
  remote_state,
  remote_version,
  remote_modified_at,
  merged_into_entity_type,
  merged_into_external_id,
  content_hash,
  pushed_at
from contact_external_id_aliases;

comment on table contact_external_id_aliases is
  'Further external ids of contacts: a contact that has several records at one CRM has one of them in contact_external_ids, its primary id, and the others here. No id is in both.';
comment on column contact_external_id_aliases.organisation_id is
  'The organisation (tenant) that the contact belongs to.';
comment on column contact_external_id_aliases.provider is
  'The CRM that gave the id.';
comment on column contact_external_id_aliases.entity_type is
  'What kind of record the id names, in the provider''s terms: an external id means something only together with it.';
comment on column contact_external_id_aliases.external_id is
  'The record''s id at the CRM: case-sensitive text, whatever type the CRM sends.';
comment on column contact_external_id_aliases.contact_id is
  'NurtureHub''s contact.';
comment on column contact_external_id_aliases.first_seen_at is
  'When the external id was linked to this contact, or to one that was merged into it. Re-pointing resets it.';
comment on column contact_external_id_aliases.last_seen_at is
  'When a sync last confirmed the link, exact to a day: writing it each time would cost more than it tells.';
comment on column contact_external_id_aliases.remote_state is
  'The state of the record at the CRM, as in contact_external_ids. merged: the CRM has merged it into another record.';
comment on column contact_external_id_aliases.remote_version is
  'The version of the record at the CRM, as the CRM writes it: an ETag with its quotes. Null if unknown.';
comment on column contact_external_id_aliases.remote_modified_at is
  'When the record was last modified, by the CRM''s clock. Null if unknown.';
comment on column contact_external_id_aliases.merged_into_entity_type is
  'The entity type of the record that it was merged into. Null if it was not merged.';
comment on column contact_external_id_aliases.merged_into_external_id is
  'The external id of the record that it was merged into. Null if it was not merged.';
comment on column contact_external_id_aliases.content_hash is
  'SHA-256 of the mapped fields as the CRM holds them, by what was last read or pushed: if they are read again, nothing has changed. Null if unknown.';
comment on column contact_external_id_aliases.pushed_at is
  'When the record was last pushed. Null once it has been read since: until then, to read the same content is an echo.';
comment on constraint contact_external_id_aliases_pkey on contact_external_id_aliases is
  'An external id belongs to one contact, so that an inbound event finds it without doubt.';
comment on constraint contact_external_id_aliases_provider_check on contact_external_id_aliases is
  'The CRMs NurtureHub can sync with.';
comment on constraint contact_external_id_aliases_entity_type_check on contact_external_id_aliases is
  'Lower snake case, at most 63 characters; an open list, because each provider names its own.';
comment on constraint contact_external_id_aliases_external_id_check on contact_external_id_aliases is
  'Not blank (spaces, tabs and line breaks alone), at most 512 bytes.';
comment on constraint contact_external_id_aliases_seen_times_check on contact_external_id_aliases is
  'Times are in order and in the years 1900 to 9998: every client can read them.';
comment on constraint contact_external_id_aliases_remote_state_check on contact_external_id_aliases is
  'The closed list of states.';
comment on constraint contact_external_id_aliases_merged_iff_into_check on contact_external_id_aliases is
  'The other record is named if and only if the state is merged.';
comment on constraint contact_external_id_aliases_merged_into_another_check on contact_external_id_aliases is
  'No record is merged into itself.';
comment on constraint contact_external_id_aliases_remote_version_check on contact_external_id_aliases is
  'Versions are 1 to 512 bytes.';
comment on constraint contact_external_id_aliases_content_hash_check on contact_external_id_aliases is
  'SHA-256 has 32 bytes.';
comment on constraint contact_external_id_aliases_remote_times_in_range_check on contact_external_id_aliases is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index contact_external_id_aliases_contact_id_provider_idx is
  'Finds the aliases of a contact, and serves its foreign key.';
comment on view contact_external_records is
  'Every record at a CRM that stands for a contact: the primary ids and the aliases. It is read with the privileges and policies of the user who queries it.';

-- As for contact_external_ids.
grant select, insert, update, delete
on contact_external_id_aliases
to crm_app, crm_worker;

grant select
on contact_external_id_aliases
to crm_reader;

grant select
on contact_external_records
to crm_app, crm_worker, crm_reader;

alter table contact_external_id_aliases enable row level security;

create policy contact_external_id_aliases_tenant_policy
  on contact_external_id_aliases
  to crm_app
  using (coalesce(organisation_id = (select crm_organisation_id()), false))
  with check (coalesce(organisation_id = (select crm_organisation_id()), false));

create policy contact_external_id_aliases_worker_policy
  on contact_external_id_aliases
  to crm_worker
  using (true)
  with check (true);

create policy contact_external_id_aliases_reader_policy
  on contact_external_id_aliases
  for select
  to crm_reader
  using (true);

comment on policy contact_external_id_aliases_tenant_policy on contact_external_id_aliases is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy contact_external_id_aliases_worker_policy on contact_external_id_aliases is
  'The sync worker works for all organisations.';
comment on policy contact_external_id_aliases_reader_policy on contact_external_id_aliases is
  'Monitoring and support read all organisations.';

select crm_give_to_owner(array[
  'table contact_external_id_aliases',
  'view contact_external_records'
]);

-- Last, so that the lock is short.
select crm_wait_for_vacuum(array['contacts']::regclass[]);

-- The host must stay able to delete its own contacts; an alias without its contact means nothing.
select crm_run_in_schema($alter$
alter table %1$I.contact_external_id_aliases
  add constraint contact_external_id_aliases_contact_id_fkey
    foreign key (organisation_id, contact_id)
    references %2$s (organisation_id, id)
    on delete cascade
$alter$);

comment on constraint contact_external_id_aliases_contact_id_fkey on contact_external_id_aliases is
  'Composite, so that an alias can never point at another organisation''s contact. On delete cascade: aliases go with their contact. On update no action: a contact that moves to another organisation is unlinked first.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['contacts']::regclass[]);

-- Locks contacts, too: at once, so that in a tie this migration gives way, not the application. Before the check, else
-- a row that somebody is inserting now would be lost unseen.
select crm_run_in_schema(
  'alter table %1$I.contact_external_id_aliases drop constraint if exists contact_external_id_aliases_contact_id_fkey'
);

select crm_refuse_data_loss('contact_external_id_aliases has rows')
where exists (select from contact_external_id_aliases);

drop view contact_external_records;

drop table contact_external_id_aliases;
