-- Up Migration
--
-- Purpose: has the server check what 0039 left unchecked: that each event's reason is one of the list.
-- Locks:   crm_sync_log SHARE UPDATE EXCLUSIVE, with its partitions: only maintenance waits.
-- Scans:   crm_sync_log, while applications read and write.
-- Down:    adds the constraint anew, not validated (crm_sync_log ACCESS EXCLUSIVE). Loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table crm_sync_log
  validate constraint crm_sync_log_reason_check;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

alter table crm_sync_log
  drop constraint crm_sync_log_reason_check,
  add constraint crm_sync_log_reason_check
    check (reason in ('echo', 'unchanged', 'older', 'pending_push', 'conflict', 'no_consent', 'merged', 'erased'))
    not valid;

comment on constraint crm_sync_log_reason_check on crm_sync_log is
  'The closed list of reasons.';
