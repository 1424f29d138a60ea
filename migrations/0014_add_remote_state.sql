-- Up Migration
--
-- Purpose: in which state is a record at its CRM, which content has it, and is that content ours?
-- Locks:   contact_external_ids ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is
--          tried for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE
--          waits for vacuum.
-- Scans:   nothing; the new columns are null or constant. 0015 validates the constraints.
-- Down:    drops the columns (contact_external_ids ACCESS EXCLUSIVE). Refuses while any of them says something,
--          unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['contact_external_ids']::regclass[]);

select crm_run_in_schema('lock table %1$I.contact_external_ids in access exclusive mode');

alter table contact_external_ids
  add column remote_state text not null default 'active',
  -- Collation C, because these are opaque to us: the order of bytes never changes with the system.
  add column remote_version text collate "C",
  add column remote_modified_at timestamptz,
  add column content_hash bytea,
  add column pushed_at timestamptz,
  add constraint contact_external_ids_remote_state_check
    check (remote_state in ('active', 'archived', 'deleted', 'hidden'))
    not valid,
  add constraint contact_external_ids_remote_version_check
    check (octet_length(remote_version) between 1 and 512)
    not valid,
  add constraint contact_external_ids_content_hash_check
    check (octet_length(content_hash) = 32)
    not valid,
  add constraint contact_external_ids_remote_times_in_range_check
    check (
      least(remote_modified_at, pushed_at) >= '1900-01-01 00:00:00+00'
      and greatest(remote_modified_at, pushed_at) < '9999-01-01 00:00:00+00'
    )
    not valid;

-- Room for updates within the page: no index has a column of the state, so they are HOT. Pages that are full
-- already stay full until their rows have moved once.
alter table contact_external_ids set (fillfactor = 85);

comment on column contact_external_ids.remote_state is
  'The state of the record at the CRM. archived: put away. deleted: the CRM says that it is gone, so no push may create it again. hidden: the CRM does not show it to this account. That a record is missing from a list does not mean that it is deleted.';
comment on column contact_external_ids.remote_version is
  'The version of the record at the CRM, as the CRM writes it: an ETag with its quotes. Null if unknown.';
comment on column contact_external_ids.remote_modified_at is
  'When the record was last modified, by the CRM''s clock. Null if unknown.';
comment on column contact_external_ids.content_hash is
  'SHA-256 of the mapped fields as the CRM holds them, by what was last read or pushed: if they are read again, nothing has changed. Null if unknown.';
comment on column contact_external_ids.pushed_at is
  'When the record was last pushed. Null once it has been read since: until then, to read the same content is an echo.';
comment on constraint contact_external_ids_remote_state_check on contact_external_ids is
  'The closed list of states. A record that the CRM has merged into another is an alias.';
comment on constraint contact_external_ids_remote_version_check on contact_external_ids is
  'Versions are 1 to 512 bytes.';
comment on constraint contact_external_ids_content_hash_check on contact_external_ids is
  'SHA-256 has 32 bytes.';
comment on constraint contact_external_ids_remote_times_in_range_check on contact_external_ids is
  'Times are in the years 1900 to 9998: every client can read them.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['contact_external_ids']::regclass[]);

-- Before the check, else a state that somebody is recording now would be lost unseen.
select crm_run_in_schema('lock table %1$I.contact_external_ids in access exclusive mode');

select crm_refuse_data_loss('contact_external_ids has states and contents of records')
where exists (
  select
  from contact_external_ids
  where remote_state <> 'active'
    or pg_catalog.num_nonnulls(remote_version, remote_modified_at, content_hash, pushed_at) > 0
);

alter table contact_external_ids reset (fillfactor);

alter table contact_external_ids
  drop column remote_state,
  drop column remote_version,
  drop column remote_modified_at,
  drop column content_hash,
  drop column pushed_at;
