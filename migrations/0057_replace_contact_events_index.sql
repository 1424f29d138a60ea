-- Up Migration
--
-- Purpose: drops the index of a contact's events that also had their times, and gives its name to that of 0056.
-- Locks:   crm_sync_log ACCESS EXCLUSIVE, with its partitions: reads and writes wait for an instant. It is tried for a
--          tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing.
-- Down:    builds the index again (crm_sync_log SHARE): writes wait, about four seconds for a million events. Indexes of
--          partitions that have been built beforehand are used. Loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_log in access exclusive mode');

-- squawk-ignore require-concurrent-index-deletion
drop index crm_sync_log_internal_id_idx;

alter index crm_sync_log_contact_idx
  rename to crm_sync_log_internal_id_idx;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '30min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_log in share mode');

alter index crm_sync_log_internal_id_idx
  rename to crm_sync_log_contact_idx;

-- squawk-ignore require-concurrent-index-creation
create index crm_sync_log_internal_id_idx
  on crm_sync_log (organisation_id, internal_id, occurred_at desc, id desc)
  where internal_id is not null;

comment on index crm_sync_log_internal_id_idx is
  'The timeline of a contact, newest first.';
