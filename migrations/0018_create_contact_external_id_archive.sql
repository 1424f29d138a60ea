-- Up Migration
--
-- Purpose: keeps the ids of accounts that an organisation is not connected to at present, so that connecting
--          another account starts empty, and coming back finds them again.
-- Locks:   contacts SHARE ROW EXCLUSIVE and then crm_connections SHARE ROW EXCLUSIVE, to add the foreign keys:
--          writes wait until the end of the transaction. In the order in which a sync writes to them.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (contacts, crm_connections and it ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
  if (
    select nspname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = 'crm_connections'::regclass::oid
  ) is distinct from current_schema() then
    raise exception using
      errcode = 'CRM01',
      message = 'search_path does not begin with the schema of crm_connections, so what is new would go elsewhere',
      hint = 'Let search_path begin with the schema of crm_connections, as it did for the earlier migrations.';
  end if;
end
$$;

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
  remote_version text collate "C",
  remote_modified_at timestamptz,
  merged_into_entity_type text collate "C",
  merged_into_external_id text collate "C",
  content_hash bytea,
  pushed_at timestamptz,
  archived_at timestamptz not null default now(),
  constraint contact_external_id_archive_pkey
    primary key (organisation_id, connection_id, entity_type, external_id),
  constraint contact_external_id_archive_contact_id_fkey
    foreign key (organisation_id, contact_id)
    references contacts (organisation_id, id)
    on delete set null (contact_id),
  constraint contact_external_id_archive_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint contact_external_id_archive_entity_type_check
    check (entity_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint contact_external_id_archive_external_id_check
    check (btrim(external_id, E' \t\n\r\f\x0b') <> '' and octet_length(external_id) <= 512),
  constraint contact_external_id_archive_remote_state_check
    check (remote_state in ('active', 'archived', 'deleted', 'hidden', 'merged')),
  constraint contact_external_id_archive_primary_is_not_merged_check
    check (not is_primary or remote_state <> 'merged')
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
  'NurtureHub''s contact. Null if the host has deleted it: when the account comes back, only that is noted again, in contact_external_id_changes.';
comment on column contact_external_id_archive.is_primary is
  'Whether it was the primary id of its contact, rather than an alias.';
comment on column contact_external_id_archive.first_seen_at is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.last_seen_at is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.remote_state is
  'As in contact_external_ids, when it was archived; an alias may also be merged.';
comment on column contact_external_id_archive.remote_version is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.remote_modified_at is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.merged_into_entity_type is
  'As in contact_external_id_aliases, when it was archived.';
comment on column contact_external_id_archive.merged_into_external_id is
  'As in contact_external_id_aliases, when it was archived.';
comment on column contact_external_id_archive.content_hash is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.pushed_at is
  'As in contact_external_ids, when it was archived.';
comment on column contact_external_id_archive.archived_at is
  'When another account took its place.';
comment on constraint contact_external_id_archive_pkey on contact_external_id_archive is
  'An id belongs to an account, so the same id may be here once for each account.';
comment on constraint contact_external_id_archive_contact_id_fkey on contact_external_id_archive is
  'Composite, so that an id can never point at another organisation''s contact. On delete set null: that the contact was deleted is worth knowing when the account comes back.';
comment on constraint contact_external_id_archive_connection_id_fkey on contact_external_id_archive is
  'Composite, so that an id can never point at another organisation''s connection. On delete restrict: a connection with archived ids must be erased deliberately.';
comment on constraint contact_external_id_archive_entity_type_check on contact_external_id_archive is
  'Lower snake case, 1 to 63 characters.';
comment on constraint contact_external_id_archive_external_id_check on contact_external_id_archive is
  'Not blank, and at most 512 bytes.';
comment on constraint contact_external_id_archive_remote_state_check on contact_external_id_archive is
  'The closed list of states.';
comment on constraint contact_external_id_archive_primary_is_not_merged_check on contact_external_id_archive is
  'A record that was merged away is an alias.';
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

-- All of the schema has one owner.
do $$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  connections constant regclass := to_regclass('crm_connections'::text);
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  execute format(
    'alter table %I.contact_external_id_archive owner to %s',
    our_schema, (select relowner::regrole from pg_class where oid = connections)
  );

  perform set_config('search_path', search_path, true);
end
$$;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen.
lock table contact_external_id_archive in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from contact_external_id_archive)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'contact_external_id_archive has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

-- One by one, so that contacts are locked before crm_connections, as by an application.
alter table contact_external_id_archive drop constraint contact_external_id_archive_contact_id_fkey;

alter table contact_external_id_archive drop constraint contact_external_id_archive_connection_id_fkey;

drop table contact_external_id_archive;
