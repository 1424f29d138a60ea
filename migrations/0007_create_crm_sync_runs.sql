-- Up Migration
--
-- Purpose: what is syncing now, and how did each run end?
-- Locks:   crm_connections SHARE ROW EXCLUSIVE, to add the foreign key: writes wait until the end of the
--          transaction, which by default is that of all pending files.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (crm_connections and it ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table crm_sync_runs (
  organisation_id uuid not null,
  connection_id uuid not null,
  id bigint generated always as identity,
  worker text not null,
  started_at timestamptz not null,
  heartbeat_at timestamptz not null,
  expires_at timestamptz not null,
  ended_at timestamptz,
  outcome text,
  error jsonb,
  -- A run is over long before two billion batches.
  -- squawk-ignore prefer-bigint-over-int
  batch_number integer not null default 0,
  success_count bigint not null default 0,
  skipped_count bigint not null default 0,
  error_count bigint not null default 0,
  constraint crm_sync_runs_pkey
    primary key (organisation_id, connection_id, id),
  -- A connection with runs is erased deliberately, never by a cascade.
  constraint crm_sync_runs_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint crm_sync_runs_worker_check
    check (btrim(worker, E' \t\n\r\f\x0b') <> '' and length(worker) <= 200),
  constraint crm_sync_runs_outcome_check
    check (outcome in ('success', 'failed', 'abandoned', 'cancelled')),
  constraint crm_sync_runs_ended_iff_outcome_check
    check ((ended_at is not null) = (outcome is not null)),
  constraint crm_sync_runs_failed_iff_error_check
    check ((outcome is not distinct from 'failed') = (error is not null)),
  constraint crm_sync_runs_error_is_valid_check
    check (crm_sync_error_is_valid(error)),
  constraint crm_sync_runs_expires_after_heartbeat_check
    check (expires_at > heartbeat_at),
  constraint crm_sync_runs_counts_check
    check (least(batch_number, success_count, skipped_count, error_count) >= 0),
  constraint crm_sync_runs_times_in_range_check
    check (
      least(started_at, heartbeat_at, expires_at, ended_at) >= '1900-01-01 00:00:00+00'
      and greatest(started_at, heartbeat_at, expires_at, ended_at) < '9999-01-01 00:00:00+00'
    )
);

create unique index crm_sync_runs_connection_id_open_key
  on crm_sync_runs (organisation_id, connection_id)
  where ended_at is null;

create index crm_sync_runs_expires_at_idx
  on crm_sync_runs (expires_at)
  where ended_at is null;

create index crm_sync_runs_ended_at_idx
  on crm_sync_runs (ended_at)
  where ended_at is not null;

comment on table crm_sync_runs is
  'One row per sync of a connection. The open run, of which a connection has at most one, is the lease: who holds it may write for the connection until it expires. Ended runs are deleted some time later; nothing refers to them.';
comment on column crm_sync_runs.organisation_id is
  'The organisation (tenant) the run belongs to.';
comment on column crm_sync_runs.connection_id is
  'The connection that is synced.';
comment on column crm_sync_runs.id is
  'The run, and the fencing token: each write for the connection shows it.';
comment on column crm_sync_runs.worker is
  'Who runs it, for people: a host and a process, 1 to 200 characters.';
comment on column crm_sync_runs.started_at is
  'When the connection was claimed.';
comment on column crm_sync_runs.heartbeat_at is
  'When the worker last gave a sign of life: with each batch, and between them.';
comment on column crm_sync_runs.expires_at is
  'When the lease runs out, unless there is a sign of life before. From then on the worker is refused, and others may claim the connection.';
comment on column crm_sync_runs.ended_at is
  'When the run ended. Null while it is open.';
comment on column crm_sync_runs.outcome is
  'success: it came to its end. failed: it could not, error says why. abandoned: the worker gave no sign of life. cancelled: the connection was disconnected, or the worker gave up its turn. Null while it is open.';
comment on column crm_sync_runs.error is
  'Why it failed, as in crm_sync_log. Set exactly when outcome is failed.';
comment on column crm_sync_runs.batch_number is
  'The last batch that was recorded, counted from 1: tells a repetition from something new.';
comment on column crm_sync_runs.success_count is
  'How many of its events were successes.';
comment on column crm_sync_runs.skipped_count is
  'How many of its events had nothing to change.';
comment on column crm_sync_runs.error_count is
  'How many of its events were failures.';
comment on constraint crm_sync_runs_pkey on crm_sync_runs is
  'Tenant first, then the runs of a connection in their order.';
comment on constraint crm_sync_runs_connection_id_fkey on crm_sync_runs is
  'Composite, so that a run can never belong to another organisation''s connection. On delete restrict: a connection with runs goes through erasure.';
comment on constraint crm_sync_runs_worker_check on crm_sync_runs is
  'A worker has a name of 1 to 200 characters that is not blank.';
comment on constraint crm_sync_runs_outcome_check on crm_sync_runs is
  'The closed list of outcomes.';
comment on constraint crm_sync_runs_ended_iff_outcome_check on crm_sync_runs is
  'A run that has ended says how, and no other does.';
comment on constraint crm_sync_runs_failed_iff_error_check on crm_sync_runs is
  'A failed run says why, and no other does.';
comment on constraint crm_sync_runs_error_is_valid_check on crm_sync_runs is
  'Errors are structured and bounded, as in crm_sync_log.';
comment on constraint crm_sync_runs_expires_after_heartbeat_check on crm_sync_runs is
  'A lease lasts.';
comment on constraint crm_sync_runs_counts_check on crm_sync_runs is
  'Counted from 0.';
comment on constraint crm_sync_runs_times_in_range_check on crm_sync_runs is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_sync_runs_connection_id_open_key is
  'One open run per connection: two workers never sync the same one.';
comment on index crm_sync_runs_expires_at_idx is
  'Finds the open runs that have expired.';
comment on index crm_sync_runs_ended_at_idx is
  'Finds the ended runs that are old enough to be deleted.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen. In the order in which everybody locks.
lock table crm_connections, crm_sync_runs in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_sync_runs)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_sync_runs has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop table crm_sync_runs;
