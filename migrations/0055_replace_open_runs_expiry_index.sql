-- Up Migration
--
-- Purpose: gives the index that 0054 has built the name of the one that it replaces. A worker of an earlier release then
--          finds expired runs by crm_sync_runs_connection_id_open_key, which holds only open ones.
-- Locks:   crm_sync_runs ACCESS EXCLUSIVE: reads and writes wait for an instant. It is tried for a tenth of a second at a
--          time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing.
-- Down:    gives the index its name of 0054 again, and builds the earlier one (crm_sync_runs SHARE, and at the end ACCESS
--          EXCLUSIVE): scans crm_sync_runs, while writes wait. Loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_runs']::regclass[]);

-- The lock of the drop, before the rename takes a weaker one.
select crm_run_in_schema('drop index %1$I.crm_sync_runs_expires_at_idx');

alter index crm_sync_runs_open_expires_at_idx rename to crm_sync_runs_expires_at_idx;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '30min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_runs']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_runs in share mode');

alter index crm_sync_runs_expires_at_idx rename to crm_sync_runs_open_expires_at_idx;

-- squawk-ignore require-concurrent-index-creation
create index crm_sync_runs_expires_at_idx
  on crm_sync_runs (expires_at)
  where ended_at is null;

comment on index crm_sync_runs_expires_at_idx is
  'Finds the open runs that have expired.';
