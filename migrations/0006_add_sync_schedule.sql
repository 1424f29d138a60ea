-- Up Migration
--
-- Purpose: when is each connection synced next, and since when has it been failing?
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction,
--          which by default is that of all pending files.
-- Scans:   crm_connections, to check the new constraints and build the index: a fraction of a second for
--          100,000 connections. Nothing is rewritten.
-- Down:    drops the columns, and with them the schedule and what is known of failures. Refuses while
--          anything is known, unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create function crm_now()
returns timestamptz
language sql
stable
parallel safe
set search_path = ''
as $$
  select coalesce(nullif(current_setting('crm_schema.now', true), '')::timestamptz, statement_timestamp())
$$;

comment on function crm_now() is
  'The time that schedules, leases and retries go by: when the statement began, or crm_schema.now, by which a test stops the clock.';

create function crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer)
returns interval
language sql
volatile
strict
parallel safe
set search_path = ''
as $$
  -- At most 2^20, so that nothing overflows; half of it is up to chance, so that what failed together
  -- does not come back together.
  select make_interval(
    secs => least(base_seconds * 2.0 ^ least(greatest(attempts - 1, 0), 20), longest_seconds) * (0.5 + random() / 2)
  )
$$;

comment on function crm_sync_backoff(integer, integer, integer) is
  'How long to wait after so many failed attempts (counted from 1): doubles from base_seconds up to longest_seconds, of which a random half to the whole.';

create function crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval)
returns boolean
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
  -- What an agent has to mend never mends itself. The rest may: a burst alone says nothing, nor does time
  -- alone on a connection that is rarely synced.
  select kind in ('auth', 'permission') or (failures >= 5 and failing_for >= interval '1 hour')
$$;

comment on function crm_sync_failure_is_alarming(text, integer, interval) is
  'The one rule for when a failed sync puts its connection in error: at once for auth and permission; for any other kind after five failures in a row and an hour.';

-- What the new columns begin with breaks none of these constraints, and reading the few connections once
-- more would not shorten the lock.
alter table crm_connections
  -- Nothing is rewritten: the function is stable, so that it is called once for all rows that are there.
  -- squawk-ignore adding-field-with-default
  add column next_sync_at timestamptz not null default crm_now(),
  add column not_before_at timestamptz,
  -- At most a week.
  -- squawk-ignore prefer-bigint-over-int
  add column sync_interval_seconds integer not null default 900,
  add column sync_requested_at timestamptz,
  add column last_success_at timestamptz,
  add column first_failed_at timestamptz,
  -- One failure a minute lasts for 4,000 years.
  -- squawk-ignore prefer-bigint-over-int
  add column failure_count integer not null default 0,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_sync_interval_seconds_check
    check (sync_interval_seconds between 60 and 604800),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_first_failed_iff_failure_count_check
    check ((first_failed_at is not null) = (failure_count > 0)),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_failure_count_check
    check (failure_count >= 0),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_schedule_times_in_range_check
    check (
      least(next_sync_at, not_before_at, sync_requested_at, last_success_at, first_failed_at) >= '1900-01-01 00:00:00+00'
      and greatest(next_sync_at, not_before_at, sync_requested_at, last_success_at, first_failed_at) < '9999-01-01 00:00:00+00'
    );

-- Under the same lock; nobody could have built it beforehand, on a column that was not there.
-- squawk-ignore require-concurrent-index-creation
create index crm_connections_next_sync_at_idx
  on crm_connections (next_sync_at, organisation_id, id)
  where status <> 'disconnected';

comment on column crm_connections.next_sync_at is
  'When the connection is due: the oldest due is claimed first. Not before the end of a run that is open. Of no meaning once disconnected.';
comment on column crm_connections.not_before_at is
  'Until when the CRM is left alone after a failure, also if a webhook asks for a sync. Null after a success, or when a person asks.';
comment on column crm_connections.sync_interval_seconds is
  'How long after a successful sync the next one is due: one minute to a week.';
comment on column crm_connections.sync_requested_at is
  'Since when a sync is wanted out of turn, by a webhook or a person. Null if none is; the next claim clears it, so a storm of requests is one sync. A request that comes during a run is another sync after it.';
comment on column crm_connections.last_success_at is
  'When a sync last came to its end with success. Null before the first.';
comment on column crm_connections.first_failed_at is
  'When the first of the failed syncs since the last success failed. Null if the last sync succeeded.';
comment on column crm_connections.failure_count is
  'How many syncs have failed in a row, abandoned ones among them.';
comment on constraint crm_connections_sync_interval_seconds_check on crm_connections is
  'At least a minute, so that a mistake does not use up a CRM''s daily limit; at most a week.';
comment on constraint crm_connections_first_failed_iff_failure_count_check on crm_connections is
  'A connection that fails says since when, and no other does.';
comment on constraint crm_connections_failure_count_check on crm_connections is
  'Counted from 0.';
comment on constraint crm_connections_schedule_times_in_range_check on crm_connections is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_connections_next_sync_at_idx is
  'Finds what is due, oldest first.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else what somebody is finding out now would be lost unseen.
lock table crm_connections in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (
      select
      from crm_connections
      where last_success_at is not null
        or first_failed_at is not null
        or sync_requested_at is not null
        or sync_interval_seconds <> 900
    )
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_connections has a schedule and a record of successes and failures, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

alter table crm_connections
  drop column next_sync_at,
  drop column not_before_at,
  drop column sync_interval_seconds,
  drop column sync_requested_at,
  drop column last_success_at,
  drop column first_failed_at,
  drop column failure_count;

drop function crm_sync_failure_is_alarming(text, integer, interval);

drop function crm_sync_backoff(integer, integer, integer);

drop function crm_now();
