-- Up Migration
--
-- Purpose: finds the events of a contact by an index without their times, whose keys repeat: PostgreSQL stores a key once
--          for many events, which take a quarter of the space. 0057 drops the index that this one replaces.
-- Locks:   crm_sync_log SHARE, with its partitions: writes wait until the index is built. It is tried for a tenth of a
--          second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum. An index of a
--          partition that has been built beforehand is used:
--            create index concurrently crm_sync_log_2026_11_contact_idx on crm_sync_log_2026_11 (internal_id)
--              where internal_id is not null;
--          If every partition has one, writes wait for an instant. One whose build was interrupted is refused.
-- Scans:   crm_sync_log, but not the partitions that have such an index: about two seconds for a million events.
-- Down:    drops the index (crm_sync_log ACCESS EXCLUSIVE); loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

select crm_refuse_interrupted_builds(array['internal_id']);

select crm_run_in_schema('lock table %1$I.crm_sync_log in share mode');

-- squawk-ignore require-concurrent-index-creation
create index crm_sync_log_contact_idx
  on crm_sync_log (internal_id)
  where internal_id is not null;

comment on index crm_sync_log_contact_idx is
  'Finds the events of a contact, in no order. Without their times, so that its keys repeat and are stored once; and without the organisation, because a contact has only one.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_log in access exclusive mode');

-- squawk-ignore require-concurrent-index-deletion
drop index crm_sync_log_contact_idx;
