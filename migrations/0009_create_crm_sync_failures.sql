-- Up Migration
--
-- Purpose: which records still fail, why, and when are they tried next?
-- Locks:   crm_connections SHARE ROW EXCLUSIVE, to add the foreign key: writes wait until the end of the
--          transaction, which by default is that of all pending files.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (crm_connections and it ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create function crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval)
returns boolean
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
  -- Attempts alone can be used up by one bad hour, time alone by one attempt before a holiday.
  select error -> 'retryable' <> 'true' or (attempts >= 10 and failing_for >= interval '1 day')
$$;

comment on function crm_sync_failure_is_final(jsonb, integer, interval) is
  'The one rule for when a failing record is given up: at once if its error cannot be retried; else after ten attempts and a day.';

create table crm_sync_failures (
  organisation_id uuid not null,
  connection_id uuid not null,
  direction text not null,
  -- Collation C, because these are opaque to us: the order of bytes never changes with the system.
  entity_type text collate "C" not null,
  record_id text collate "C" not null,
  id bigint generated always as identity,
  -- Given up long before two billion attempts; a record that fails each second lasts for 68 years.
  -- squawk-ignore prefer-bigint-over-int
  attempts integer not null,
  error jsonb not null,
  kind text generated always as (error ->> 'kind') stored,
  first_failed_at timestamptz not null,
  last_failed_at timestamptz not null,
  next_attempt_at timestamptz,
  gave_up_at timestamptz,
  constraint crm_sync_failures_pkey
    primary key (organisation_id, connection_id, direction, record_id, entity_type),
  -- A connection with failures is erased deliberately, never by a cascade.
  constraint crm_sync_failures_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint crm_sync_failures_direction_check
    check (direction in ('inbound', 'outbound')),
  constraint crm_sync_failures_entity_type_check
    check (entity_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint crm_sync_failures_record_id_check
    check (btrim(record_id, E' \t\n\r\f\x0b') <> '' and octet_length(record_id) <= 512),
  constraint crm_sync_failures_attempts_check
    check (attempts >= 0),
  constraint crm_sync_failures_error_is_valid_check
    check (crm_sync_error_is_valid(error)),
  constraint crm_sync_failures_gave_up_iff_no_next_attempt_check
    check ((gave_up_at is not null) = (next_attempt_at is null)),
  constraint crm_sync_failures_failed_in_order_check
    check (first_failed_at <= last_failed_at),
  constraint crm_sync_failures_times_in_range_check
    check (
      least(first_failed_at, last_failed_at, next_attempt_at, gave_up_at) >= '1900-01-01 00:00:00+00'
      and greatest(first_failed_at, last_failed_at, next_attempt_at, gave_up_at) < '9999-01-01 00:00:00+00'
    )
);

create index crm_sync_failures_next_attempt_at_idx
  on crm_sync_failures (organisation_id, connection_id, next_attempt_at)
  where next_attempt_at is not null;

create index crm_sync_failures_gave_up_at_idx
  on crm_sync_failures (organisation_id, connection_id, gave_up_at)
  where gave_up_at is not null;

create index crm_sync_failures_kind_idx
  on crm_sync_failures (organisation_id, connection_id, kind, last_failed_at, id);

comment on table crm_sync_failures is
  'What still fails: one row per failing record, opened and updated by the batch that records the failure, closed by the next batch in which the record succeeds or has nothing to change.';
comment on column crm_sync_failures.organisation_id is
  'The organisation (tenant) the record belongs to.';
comment on column crm_sync_failures.connection_id is
  'The connection whose sync of the record fails.';
comment on column crm_sync_failures.direction is
  'inbound: from the CRM to NurtureHub. outbound: the other way.';
comment on column crm_sync_failures.entity_type is
  'What kind of record it is, in the provider''s terms.';
comment on column crm_sync_failures.record_id is
  'The record: inbound its id at the CRM, outbound NurtureHub''s own id.';
comment on column crm_sync_failures.id is
  'Tells apart what failed at the same time.';
comment on column crm_sync_failures.attempts is
  'How many attempts have failed since it first failed, or since a person asked to try again.';
comment on column crm_sync_failures.error is
  'Why the last attempt failed, as in crm_sync_log.';
comment on column crm_sync_failures.kind is
  'The kind of that error.';
comment on column crm_sync_failures.first_failed_at is
  'Since when the record has been failing, or since when a person asked to try again.';
comment on column crm_sync_failures.last_failed_at is
  'When the last attempt failed.';
comment on column crm_sync_failures.next_attempt_at is
  'From when the record is tried again: with the first sync after that. Null if it was given up.';
comment on column crm_sync_failures.gave_up_at is
  'When it was given up (crm_sync_failure_is_final). It is not tried again by itself, but closed if a change at the CRM brings it and it succeeds. Null while it is tried.';
comment on constraint crm_sync_failures_pkey on crm_sync_failures is
  'Tenant first; one row per failing record.';
comment on constraint crm_sync_failures_connection_id_fkey on crm_sync_failures is
  'Composite, so that a failure can never belong to another organisation''s connection. On delete restrict: a connection with failures goes through erasure.';
comment on constraint crm_sync_failures_direction_check on crm_sync_failures is
  'The closed list of directions.';
comment on constraint crm_sync_failures_entity_type_check on crm_sync_failures is
  'Lower snake case, at most 63 characters; an open list, because each provider names its own.';
comment on constraint crm_sync_failures_record_id_check on crm_sync_failures is
  'Not blank (spaces, tabs and line breaks alone), at most 512 bytes.';
comment on constraint crm_sync_failures_attempts_check on crm_sync_failures is
  'Counted from 0.';
comment on constraint crm_sync_failures_error_is_valid_check on crm_sync_failures is
  'Errors are structured and bounded, as in crm_sync_log.';
comment on constraint crm_sync_failures_gave_up_iff_no_next_attempt_check on crm_sync_failures is
  'A record is either tried again or given up: nothing waits for ever unseen.';
comment on constraint crm_sync_failures_failed_in_order_check on crm_sync_failures is
  'The last failure is not before the first.';
comment on constraint crm_sync_failures_times_in_range_check on crm_sync_failures is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_sync_failures_next_attempt_at_idx is
  'Finds what a connection has to try again.';
comment on index crm_sync_failures_gave_up_at_idx is
  'Finds and counts what was given up.';
comment on index crm_sync_failures_kind_idx is
  'Lists and counts the failures of a connection by kind, newest first.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen. In the order in which everybody locks.
lock table crm_connections, crm_sync_failures in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_sync_failures)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_sync_failures has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop table crm_sync_failures;

drop function crm_sync_failure_is_final(jsonb, integer, interval);
