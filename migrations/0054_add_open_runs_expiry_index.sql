-- Up Migration
--
-- Purpose: finds the open runs whose lease has expired by `outcome is null`, so that the planner takes this index for
--          nothing else. The one that 0055 drops says `ended_at is null`: with statistics from a moment without open
--          runs it looked as good as any for the run of one connection, and each claim and heartbeat read all open runs.
-- Locks:   crm_sync_runs SHARE: writes wait until the index is built. It is tried for a tenth of a second at a time, up
--          to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum. An index that has been built
--          beforehand is taken over, and then nothing waits:
--            create index concurrently crm_sync_runs_open_expires_at_idx on crm_sync_runs (expires_at)
--              where outcome is null;
-- Scans:   crm_sync_runs, unless there is such an index: about a second for three million runs.
-- Down:    drops the index (crm_sync_runs ACCESS EXCLUSIVE); loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

select crm_require_schema(current_schema());

-- Waits for a build that still runs, too.
select crm_wait_for_vacuum(array['crm_sync_runs']::regclass[]);

-- An interrupted build leaves an index that nothing uses.
do $$
declare
  built_before constant regclass := to_regclass(format('%I.%I', current_schema(), 'crm_sync_runs_open_expires_at_idx'));
begin
  if built_before is not null
    and not exists (
      select
      from pg_index
      where indexrelid = built_before
        and indisvalid
        and pg_get_indexdef(indexrelid) like '% ON %.crm_sync_runs USING btree (expires_at) WHERE (outcome IS NULL)'
    )
  then
    raise exception using
      errcode = 'CRM01',
      message = 'crm_sync_runs_open_expires_at_idx exists, but is not a valid index on crm_sync_runs (expires_at) where outcome is null',
      hint = 'An interrupted build leaves such an index. Run: drop index concurrently crm_sync_runs_open_expires_at_idx; then migrate again, which builds it.';
  end if;
end
$$;

select crm_run_in_schema($create$
create index if not exists crm_sync_runs_open_expires_at_idx
  on %1$I.crm_sync_runs (expires_at)
  where outcome is null
$create$);

comment on index crm_sync_runs_open_expires_at_idx is
  'Finds the open runs that have expired.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_runs']::regclass[]);

select crm_run_in_schema('drop index %1$I.crm_sync_runs_open_expires_at_idx');
