-- Up Migration
--
-- Purpose: lets a connection be paused, for a time or until somebody resumes it. A trigger keeps it from becoming due
--          meanwhile, whatever asks for a sync, and from whichever release.
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times. Then crm_sync_runs SHARE UPDATE EXCLUSIVE, for
--          a comment.
-- Scans:   crm_connections, to check the new constraints: a fraction of a second for 100,000 connections. Nothing
--          is rewritten.
-- Down:    drops the columns (crm_connections ACCESS EXCLUSIVE), the trigger and the functions, and refuses while a
--          connection is paused unless crm_schema.allow_data_loss is on: then paused connections become due.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create function crm_pause_end(paused_at timestamptz, pause_ends_at timestamptz, at timestamptz)
returns timestamptz
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when paused_at is null or pause_ends_at <= at then null
    -- A time that every client can read, unlike infinity.
    else coalesce(pause_ends_at, '9998-12-31 00:00:00+00')
  end
$$;

comment on function crm_pause_end(timestamptz, timestamptz, timestamptz) is
  'The one rule for when a connection is paused: until when, as seen at a time; the end of 9998 if until somebody resumes it. Null if it is not paused, or no longer: the columns stay until the next write after pause_ends_at.';

create function crm_connection_state(status text, is_paused boolean, failure_count integer)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case
    when status = 'disconnected' then status
    when is_paused then 'paused'
    when status = 'error' then status
    when failure_count > 0 then 'failing'
    else status
  end
$$;

comment on function crm_connection_state(text, boolean, integer) is
  'What to say first of a connection: disconnected, paused, error, failing (its last sync failed) or active.';

-- The function names its function with the schema, because search_path must not decide which one it calls.
select crm_run_in_schema($create$
create function %1$I.crm_hold_paused_connection()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  pause_end constant timestamptz := %1$I.crm_pause_end(new.paused_at, new.pause_ends_at, %1$I.crm_now());
begin
  if pause_end is null or new.status = 'disconnected' then
    new.paused_at := null;
    new.pause_ends_at := null;
    new.pause_reason := null;
  else
    new.next_sync_at := greatest(new.next_sync_at, pause_end);
  end if;
  return new;
end
$body$
$create$);

comment on function crm_hold_paused_connection() is
  'Keeps a paused connection from becoming due before its pause ends, whatever asks for a sync; forgets a pause that is over.';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

-- The columns are null everywhere, and reading the few connections once more would not shorten the lock.
alter table crm_connections
  add column paused_at timestamptz,
  add column pause_ends_at timestamptz,
  add column pause_reason text,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_paused_if_end_or_reason_check
    check (paused_at is not null or (pause_ends_at is null and pause_reason is null)),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_paused_in_order_check
    check (pause_ends_at > paused_at),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_pause_reason_check
    check (btrim(pause_reason, E' \t\n\r\f\x0b') <> '' and length(pause_reason) <= 500),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_pause_times_in_range_check
    check (
      least(paused_at, pause_ends_at) >= '1900-01-01 00:00:00+00'
      and greatest(paused_at, pause_ends_at) < '9999-01-01 00:00:00+00'
    );

create trigger crm_connections_hold_paused
  before insert or update
  on crm_connections
  for each row
  when (new.paused_at is not null)
  execute function crm_hold_paused_connection();

comment on column crm_connections.paused_at is
  'Since when the connection is paused: it is not synced, whatever asks for it. Null if it is not paused.';
comment on column crm_connections.pause_ends_at is
  'When the pause ends by itself. Null: when somebody resumes the connection.';
comment on column crm_connections.pause_reason is
  'Why it is paused, for people: 1 to 500 characters.';
comment on constraint crm_connections_paused_if_end_or_reason_check on crm_connections is
  'Only a pause has an end and a reason.';
comment on constraint crm_connections_paused_in_order_check on crm_connections is
  'A pause ends after it began.';
comment on constraint crm_connections_pause_reason_check on crm_connections is
  'A reason is not blank, and at most 500 characters.';
comment on constraint crm_connections_pause_times_in_range_check on crm_connections is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on trigger crm_connections_hold_paused on crm_connections is
  'Here and not in the statements, so that the workers of earlier releases hold a pause as well.';
comment on column crm_sync_runs.outcome is
  'success: it finished. failed: it could not finish, error says why. abandoned: its lease expired without a heartbeat. cancelled: the connection was disconnected or paused, or the worker gave up its turn. Null while it is open.';

-- Functions may be everybody's to run, or an installation's default privileges may say otherwise; this
-- does not depend on it.
grant execute
on function
  crm_pause_end(timestamptz, timestamptz, timestamptz),
  crm_connection_state(text, boolean, integer),
  crm_hold_paused_connection()
to crm_app, crm_worker, crm_reader;

grant select (paused_at, pause_ends_at, pause_reason)
on crm_connections
to crm_app, crm_reader;

grant update (paused_at, pause_ends_at, pause_reason)
on crm_connections
to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_pause_end(timestamptz, timestamptz, timestamptz)',
  'function crm_connection_state(text, boolean, integer)',
  'function crm_hold_paused_connection()'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

-- Else a pause that somebody is beginning now would be lost unseen.
select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

select crm_refuse_data_loss('crm_connections has paused connections')
where exists (select from crm_connections where paused_at is not null);

drop trigger crm_connections_hold_paused on crm_connections;

-- Otherwise they would be due in 9998.
update crm_connections
set next_sync_at = greatest(crm_now(), not_before_at)
where paused_at is not null;

alter table crm_connections
  drop column paused_at,
  drop column pause_ends_at,
  drop column pause_reason;

comment on column crm_sync_runs.outcome is
  'success: it finished. failed: it could not finish, error says why. abandoned: its lease expired without a heartbeat. cancelled: the connection was disconnected, or the worker gave up its turn. Null while it is open.';

drop function crm_hold_paused_connection();

drop function crm_connection_state(text, boolean, integer);

drop function crm_pause_end(timestamptz, timestamptz, timestamptz);
