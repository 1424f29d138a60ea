-- Up Migration
--
-- Purpose: one rule for which times are too far ahead to be true.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the function; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create function crm_latest_time(at timestamptz)
returns timestamptz
language sql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  -- Clocks differ by minutes, and a time zone that is taken for another by half a day.
  select at + interval '24 hours'
$$;

comment on function crm_latest_time(timestamptz) is
  'The one rule for which times are refused because they are too far ahead: those later than a day after the database''s clock (crm_now). A cursor there would skip every change until then.';

-- Functions may be everybody's to run, or an installation's default privileges may say otherwise; this
-- does not depend on it.
grant execute
on function crm_latest_time(timestamptz)
to crm_app, crm_worker, crm_reader;

select crm_give_to_owner(array['function crm_latest_time(timestamptz)']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_latest_time(timestamptz);
