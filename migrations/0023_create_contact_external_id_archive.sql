-- Up Migration
--
-- Purpose: keeps the ids of accounts that an organisation is not connected to at present, so that connecting
--          another account starts empty, and coming back finds them again.
-- Locks:   contacts SHARE ROW EXCLUSIVE and crm_connections SHARE ROW EXCLUSIVE, to add the foreign keys: writes wait
--          until the end of the transaction. They are tried for a tenth of a second at a time, up to a hundred times.
--          Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (contacts, crm_connections and it ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create table contact_external_id_archive (
  organisation_id uuid not null,
  connection_id uuid not null,
  entity_type text collate "C" not null,
  external_id text collate "C" not null,
  contact_id uuid,
  is_primary boolean not null,
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  remote_state text not null,
  remote_modified_at timestamptz,
  merged_into_entity_type text collate "C",
  merged_into_external_id text collate "C",
  archived_at timestamptz not null default now(),
  constraint contact_external_id_archive_pkey
    primary key (organisation_id, connection_id, entity_type, external_id),
  constraint contact_external_id_archive_entity_type_check
    check (
      entity_type ~ '^[a-z][a-z0-9_]{0,62}$'
      and merged_into_entity_type ~ '^[a-z][a-z0-9_]{0,62}$'
    ),
  constraint contact_external_id_archive_external_id_check
    check (
      btrim(external_id, E' \t\n\r\f\x0b') <> ''
      and octet_length(external_id) <= 512
      and btrim(merged_into_external_id, E' \t\n\r\f\x0b') <> ''
      and octet_length(merged_into_external_id) <= 512
    ),
  constraint contact_external_id_archive_seen_times_check
    check (
      first_seen_at <= last_seen_at
      and first_seen_at >= '1900-01-01 00:00:00+00'
      and last_seen_at < '9999-01-01 00:00:00+00'
    ),
  constraint contact_external_id_archive_remote_state_check
    check (remote_state in ('active', 'archived', 'deleted', 'hidden', 'merged')),
  constraint contact_external_id_archive_primary_is_not_merged_check
    check (not is_primary or remote_state <> 'merged'),
  constraint contact_external_id_archive_merged_iff_into_check
    check (
      pg_catalog.num_nonnulls(merged_into_entity_type, merged_into_external_id)
        = case remote_state when 'merged' then 2 else 0 end
    ),
  constraint contact_external_id_archive_merged_into_another_check
    check ((merged_into_entity_type, merged_into_external_id) <> (entity_type, external_id)),
  constraint contact_external_id_archive_modified_time_in_range_check
    check (
      remote_modified_at >= '1900-01-01 00:00:00+00'
      and remote_modified_at < '9999-01-01 00:00:00+00'
    )
);

create index contact_external_id_archive_contact_id_idx
  on contact_external_id_archive (organisation_id, contact_id);

comment on table contact_external_id_archive is
  'The ids of accounts that an organisation is not connected to at present. Connecting another account moves the current ids here; connecting theirs again moves them back (crm_switch_account). No look-up of contacts reads it.';
comment on column contact_external_id_archive.organisation_id is
  'The organisation (tenant) that the contact belongs to.';
comment on column contact_external_id_archive.connection_id is
  'The last connection to the account: it says which CRM and which account the id belongs to.';
comment on column contact_external_id_archive.entity_type is
  'The kind of record, in the CRM''s own terms.';
comment on column contact_external_id_archive.external_id is
  'The record''s id in that account.';
comment on column contact_external_id_archive.contact_id is
  'NurtureHub''s contact. Null if the host has deleted it: when the account comes back, contact_external_id_changes gets a contact_deleted row, and the id is not linked.';
comment on column contact_external_id_archive.is_primary is
  'Whether it was the primary id of its contact, rather than an alias.';
comment on column contact_external_id_archive.first_seen_at is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.last_seen_at is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.remote_state is
  'As in contact_external_ids, when it was archived; an alias may also be merged.';
comment on column contact_external_id_archive.remote_modified_at is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.merged_into_entity_type is
  'As in contact_external_id_aliases, when it was archived.';
comment on column contact_external_id_archive.merged_into_external_id is
  'As in contact_external_id_aliases, when it was archived.';
comment on column contact_external_id_archive.archived_at is
  'When another account took its place.';
comment on constraint contact_external_id_archive_pkey on contact_external_id_archive is
  'An id belongs to an account, so the same id may be here once for each account.';
comment on constraint contact_external_id_archive_entity_type_check on contact_external_id_archive is
  'Lower snake case, 1 to 63 characters.';
comment on constraint contact_external_id_archive_external_id_check on contact_external_id_archive is
  'Not blank, and at most 512 bytes.';
comment on constraint contact_external_id_archive_seen_times_check on contact_external_id_archive is
  'Times are in order and in the years 1900 to 9998: every client can read them.';
comment on constraint contact_external_id_archive_remote_state_check on contact_external_id_archive is
  'The closed list of states.';
comment on constraint contact_external_id_archive_primary_is_not_merged_check on contact_external_id_archive is
  'A record that was merged away is an alias.';
comment on constraint contact_external_id_archive_merged_iff_into_check on contact_external_id_archive is
  'The other record is named if and only if the state is merged.';
comment on constraint contact_external_id_archive_merged_into_another_check on contact_external_id_archive is
  'No record is merged into itself.';
comment on constraint contact_external_id_archive_modified_time_in_range_check on contact_external_id_archive is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index contact_external_id_archive_contact_id_idx is
  'Finds the archived ids of a contact that is deleted.';

grant select, insert, update, delete
on contact_external_id_archive
to crm_app, crm_worker;

grant select
on contact_external_id_archive
to crm_reader;

alter table contact_external_id_archive enable row level security;

-- As for contact_external_ids: coalesce, because the queries choose the index.
create policy contact_external_id_archive_tenant_policy
  on contact_external_id_archive
  to crm_app
  using (coalesce(organisation_id = (select crm_organisation_id()), false))
  with check (coalesce(organisation_id = (select crm_organisation_id()), false));

create policy contact_external_id_archive_worker_policy
  on contact_external_id_archive
  to crm_worker
  using (true)
  with check (true);

create policy contact_external_id_archive_reader_policy
  on contact_external_id_archive
  for select
  to crm_reader
  using (true);

comment on policy contact_external_id_archive_tenant_policy on contact_external_id_archive is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy contact_external_id_archive_worker_policy on contact_external_id_archive is
  'The sync worker works for all organisations.';
comment on policy contact_external_id_archive_reader_policy on contact_external_id_archive is
  'Monitoring and support read all organisations.';

select crm_give_to_owner(array['table contact_external_id_archive']);

-- Last, so that the locks are short.
select crm_wait_for_vacuum(array['contacts', 'crm_connections']::regclass[]);

-- Both at once, so that in a tie this migration gives way, not the application.
select crm_run_in_schema($alter$
alter table %1$I.contact_external_id_archive
  add constraint contact_external_id_archive_contact_id_fkey
    foreign key (organisation_id, contact_id)
    references %2$s (organisation_id, id)
    on delete set null (contact_id),
  add constraint contact_external_id_archive_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references %1$I.crm_connections (organisation_id, id)
    on delete restrict
$alter$);

comment on constraint contact_external_id_archive_contact_id_fkey on contact_external_id_archive is
  'Composite, so that an id can never point at another organisation''s contact. On delete set null: that the contact was deleted is worth knowing when the account comes back.';
comment on constraint contact_external_id_archive_connection_id_fkey on contact_external_id_archive is
  'Composite, so that an id can never point at another organisation''s connection. On delete restrict: a connection with archived ids must be erased deliberately.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['contacts', 'crm_connections', 'contact_external_id_archive']::regclass[]);

-- Locks contacts and crm_connections, too: at once, so that in a tie this migration gives way, not the application.
-- Before the check, else a row that somebody is inserting now would be lost unseen.
select crm_run_in_schema($alter$
alter table %1$I.contact_external_id_archive
  drop constraint if exists contact_external_id_archive_contact_id_fkey,
  drop constraint if exists contact_external_id_archive_connection_id_fkey
$alter$);

select crm_refuse_data_loss('contact_external_id_archive has rows')
where exists (select from contact_external_id_archive);

drop table contact_external_id_archive;
