-- Up Migration
--
-- Purpose: has the server check what 0014 left unchecked: the state, version, times and hash of each record.
-- Locks:   contact_external_ids SHARE UPDATE EXCLUSIVE: only maintenance waits.
-- Scans:   contact_external_ids, while applications read and write.
-- Down:    adds the constraints again, not validated (contact_external_ids ACCESS EXCLUSIVE). Loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table contact_external_ids
  validate constraint contact_external_ids_remote_state_check,
  validate constraint contact_external_ids_remote_version_check,
  validate constraint contact_external_ids_content_hash_check,
  validate constraint contact_external_ids_remote_times_in_range_check;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table contact_external_ids
  drop constraint contact_external_ids_remote_state_check,
  drop constraint contact_external_ids_remote_version_check,
  drop constraint contact_external_ids_content_hash_check,
  drop constraint contact_external_ids_remote_times_in_range_check,
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

comment on constraint contact_external_ids_remote_state_check on contact_external_ids is
  'The closed list of states. A record that the CRM has merged into another is an alias.';
comment on constraint contact_external_ids_remote_version_check on contact_external_ids is
  'Versions are 1 to 512 bytes.';
comment on constraint contact_external_ids_content_hash_check on contact_external_ids is
  'SHA-256 has 32 bytes.';
comment on constraint contact_external_ids_remote_times_in_range_check on contact_external_ids is
  'Times are in the years 1900 to 9998: every client can read them.';
