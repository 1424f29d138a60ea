-- Up Migration
--
-- Purpose: remembers of a connection's streak of failed syncs whether a failure of replaced credentials was excused,
--          and whether syncs came to their end although every record failed.
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for
--          vacuum.
-- Scans:   crm_connections, to check the new constraint: a fraction of a second for 100,000 connections. Nothing
--          is rewritten.
-- Down:    drops the columns (crm_connections ACCESS EXCLUSIVE) and the function, and refuses while a streak has
--          either unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create function crm_sync_run_is_fruitless(success_count bigint, skipped_count bigint, error_count bigint)
returns boolean
language sql
immutable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when success_count > 0 or skipped_count > 0 then false
    -- One broken record, or two, says nothing about the others.
    when error_count >= 3 then true
  end
$$;

comment on function crm_sync_run_is_fruitless(bigint, bigint, bigint) is
  'The one rule for when a sync that came to its end counts as failed: if every record failed, and at least three did. Null if there were too few records to tell.';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

-- The columns are null everywhere, and reading the few connections once more would not shorten the lock.
alter table crm_connections
  add column credentials_excused_at timestamptz,
  add column records_failing_at timestamptz,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_streak_times_in_range_check
    check (
      least(credentials_excused_at, records_failing_at) >= '1900-01-01 00:00:00+00'
      and greatest(credentials_excused_at, records_failing_at) < '9999-01-01 00:00:00+00'
    );

comment on column crm_connections.credentials_excused_at is
  'When a sync last failed with credentials that had been replaced meanwhile, and the next one was due at once. Later failures of the same streak wait, whichever credentials they had. Null after a success.';
comment on column crm_connections.records_failing_at is
  'When a sync last came to its end although every record failed (crm_sync_run_is_fruitless). Until a record succeeds, a sync without records does not end the streak of failures. Null otherwise.';
comment on constraint crm_connections_streak_times_in_range_check on crm_connections is
  'Times are in the years 1900 to 9998: every client can read them.';

-- Functions may be everybody's to run, or an installation's default privileges may say otherwise; this
-- does not depend on it.
grant execute
on function crm_sync_run_is_fruitless(bigint, bigint, bigint)
to crm_app, crm_worker, crm_reader;

grant select (credentials_excused_at, records_failing_at)
on crm_connections
to crm_app, crm_reader;

grant update (credentials_excused_at, records_failing_at)
on crm_connections
to crm_app, crm_worker;

select crm_give_to_owner(array['function crm_sync_run_is_fruitless(bigint, bigint, bigint)']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

-- Else a streak that somebody is recording now would be lost unseen.
select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

select crm_refuse_data_loss('crm_connections has streaks of failed syncs')
where exists (
  select
  from crm_connections
  where credentials_excused_at is not null
    or records_failing_at is not null
);

alter table crm_connections
  drop column credentials_excused_at,
  drop column records_failing_at;

drop function crm_sync_run_is_fruitless(bigint, bigint, bigint);
