-- Up Migration
--
-- Purpose: keeps how much of each CRM's rate limit is used, and until when the CRM refuses requests, so that all workers
--          and connections that share a limit keep to it together.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the table (crm_rate_limits ACCESS EXCLUSIVE) and the functions, and refuses while the table has rows
--          unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create table crm_rate_limits (
  provider text not null,
  -- Collation C, because it is opaque to us.
  scope text collate "C" not null,
  counted text not null,
  used jsonb not null default '{}',
  taken_at timestamptz not null,
  blocked_until_at timestamptz,
  expires_at timestamptz not null,
  constraint crm_rate_limits_pkey
    primary key (provider, scope, counted),
  constraint crm_rate_limits_provider_check
    check (provider in ('agentos', 'reapit', 'alto', 'street', 'loop', 'custom')),
  constraint crm_rate_limits_scope_check
    check (btrim(scope, E' \t\n\r\f\x0b') <> '' and length(scope) <= 200),
  constraint crm_rate_limits_counted_check
    check (counted in ('requests', 'reads', 'writes')),
  constraint crm_rate_limits_used_is_object_check
    check (jsonb_typeof(used) = 'object'),
  constraint crm_rate_limits_blocked_for_a_week_at_most_check
    check (blocked_until_at - taken_at <= interval '7 days'),
  constraint crm_rate_limits_times_in_range_check
    check (
      least(taken_at, blocked_until_at, expires_at) >= '1900-01-01 00:00:00+00'
      and greatest(taken_at, blocked_until_at, expires_at) < '9999-01-01 00:00:00+00'
    )
)
-- Each row is rewritten again and again, in its own page.
with (fillfactor = 50);

comment on table crm_rate_limits is
  'How much of each rate limit of a CRM is used: one row for what a CRM counts together. A CRM counts by its own accounts and keys, which several connections and organisations may share, so this table alone has no organisation (docs/decisions/0026). It holds no secret, and nothing of a person. Only workers use it.';
comment on column crm_rate_limits.provider is
  'The kind of CRM.';
comment on column crm_rate_limits.scope is
  'What the CRM counts by: the account, or the id of an API key. Never the key itself.';
comment on column crm_rate_limits.counted is
  'Which requests the CRM counts together: all requests, or reads and writes apart.';
comment on column crm_rate_limits.used is
  'The permits taken lately. By the length of the window in seconds, then by the number of the slot: slots are a tenth of the window long, counted from 1970. Slots that count no longer are left out at the next take.';
comment on column crm_rate_limits.taken_at is
  'When permits were last taken, or a block recorded, by the database''s clock then. If the clock is set back behind it, the row goes back with it.';
comment on column crm_rate_limits.blocked_until_at is
  'Until when the CRM refuses requests, because it has answered 429. Null if it never has.';
comment on column crm_rate_limits.expires_at is
  'When nothing in the row counts any longer, so that it can be deleted.';
comment on constraint crm_rate_limits_pkey on crm_rate_limits is
  'One row for what a CRM counts together. Without the organisation, because CRMs do not count by ours.';
comment on constraint crm_rate_limits_provider_check on crm_rate_limits is
  'The closed list of CRMs.';
comment on constraint crm_rate_limits_scope_check on crm_rate_limits is
  'Not blank, and at most 200 characters.';
comment on constraint crm_rate_limits_counted_check on crm_rate_limits is
  'The closed list of what CRMs count.';
comment on constraint crm_rate_limits_used_is_object_check on crm_rate_limits is
  'Windows by their length.';
comment on constraint crm_rate_limits_blocked_for_a_week_at_most_check on crm_rate_limits is
  'A CRM that asks for longer is asked again after a week: a wrong number must not stop a sync for years.';
comment on constraint crm_rate_limits_times_in_range_check on crm_rate_limits is
  'Times are in the years 1900 to 9998: every client can read them.';

create function crm_rate_limit_slots(used jsonb)
returns table (window_seconds integer, slot_number bigint, permits integer, ends_at timestamptz)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select
    taken.seconds::integer,
    slot.number::bigint,
    slot.permits::integer,
    -- The end of the slot, the window after it, and how late a request may reach the CRM.
    to_timestamp(0) + make_interval(
      secs => (slot.number::numeric + 1) * taken.seconds::numeric / 10
        + taken.seconds::numeric
        + least(taken.seconds::numeric / 4, 1.25)
    )
  from jsonb_each(used) as taken (seconds, slots)
  cross join lateral jsonb_each_text(taken.slots) as slot (number, permits)
$$;

comment on function crm_rate_limit_slots(jsonb) is
  'The one rule for how long a permit counts: from its slot, which is a tenth of the window long, for the whole window after it, and for as long again as a request may be late: a fifth of the window and at most a second for which the permit is valid, and a quarter of that on the way. So no window, wherever it begins, has more requests than permits.';

-- The functions name each other and the table with the schema, because search_path must not decide which they use.
select crm_run_in_schema($create$
create function %1$I.crm_rate_limit_room(
  used jsonb,
  window_seconds integer[],
  window_requests integer[],
  at timestamptz
)
returns table (free bigint, free_at timestamptz)
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $body$
  with slot as materialized (
    select
      window_seconds,
      permits,
      ends_at,
      sum(permits) over (partition by window_seconds) as taken,
      sum(permits) over (partition by window_seconds order by slot_number) as ended
    from %1$I.crm_rate_limit_slots(used)
    where ends_at > at
  ),
  room as (
    select
      limits.requests - coalesce(max(slot.taken), 0) as free,
      -- When enough slots have ended for one more request.
      min(slot.ends_at) filter (where slot.taken >= limits.requests and slot.taken - slot.ended < limits.requests) as free_at
    from unnest(window_seconds, window_requests) as limits (seconds, requests)
    left join slot
      on slot.window_seconds = limits.seconds
    group by
      limits.seconds,
      limits.requests
  )
  select
    greatest(min(free), 0)::bigint,
    coalesce(max(free_at), at)
  from room
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_lock_rate_limit(provider text, scope text, counted text)
returns %1$I.crm_rate_limits
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  wanted_provider constant text := provider;
  wanted_scope constant text := scope;
  wanted_counted constant text := counted;
  found_limit %1$I.crm_rate_limits;
  at timestamptz;
  set_back interval;
begin
  loop
    select limits.*
    into found_limit
    from %1$I.crm_rate_limits as limits
    where limits.provider = wanted_provider
      and limits.scope = wanted_scope
      and limits.counted = wanted_counted
    for update;
    -- Not when the statement began: it may have waited for others.
    at := coalesce(nullif(current_setting('crm_schema.now', true), '')::timestamptz, clock_timestamp());
    exit when found_limit.provider is not null;
    insert into %1$I.crm_rate_limits (provider, scope, counted, taken_at, expires_at)
    values (wanted_provider, wanted_scope, wanted_counted, at, at)
    on conflict do nothing;
  end loop;

  if at < found_limit.taken_at then
    set_back := found_limit.taken_at - at;
    update %1$I.crm_rate_limits as limits
    set
      -- Rounded so that a permit rather counts for too long.
      used = coalesce(
        (
          select jsonb_object_agg(shifted.window_seconds, shifted.slots)
          from (
            select
              slot.window_seconds,
              jsonb_object_agg(
                slot.slot_number - floor(extract(epoch from set_back) * 10 / slot.window_seconds)::bigint,
                slot.permits
              ) as slots
            from %1$I.crm_rate_limit_slots(found_limit.used) as slot
            group by slot.window_seconds
          ) as shifted
        ),
        '{}'
      ),
      taken_at = at,
      blocked_until_at = limits.blocked_until_at - set_back,
      expires_at = limits.expires_at - set_back
    where limits.provider = wanted_provider
      and limits.scope = wanted_scope
      and limits.counted = wanted_counted
    returning limits.*
    into found_limit;
  end if;
  found_limit.taken_at := at;
  return found_limit;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_take_rate_limit(
  provider text,
  scope text,
  counted text,
  requests integer,
  window_seconds integer[],
  window_requests integer[]
)
returns table (granted integer, wait_milliseconds integer, valid_milliseconds integer)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  windows constant integer[] := window_seconds;
  allowed constant integer[] := window_requests;
  wanted constant integer := requests;
  found_limit %1$I.crm_rate_limits;
  room record;
  at timestamptz;
begin
  if not coalesce(
    wanted >= 1
      and cardinality(windows) between 1 and 10
      and cardinality(windows) = cardinality(allowed)
      and 1 <= all (windows)
      and 604800 >= all (windows)
      and 1 <= all (allowed),
    false
  ) then
    raise exception using
      errcode = 'CRM04',
      message = 'a rate limit needs 1 to 10 windows of 1 second to 7 days, each with at least 1 request',
      hint = 'Give as many lengths of windows as numbers of requests, and ask for at least 1 permit.';
  end if;
  found_limit := %1$I.crm_lock_rate_limit(provider, scope, counted);
  at := found_limit.taken_at;
  select
    free,
    free_at
  into strict room
  from %1$I.crm_rate_limit_room(found_limit.used, windows, allowed, at);

  granted := case
    when found_limit.blocked_until_at > at then 0
    -- So that one worker does not take all that others wait for, and few lapse with a worker that has done its work.
    else least(wanted, room.free, (select ceil(min(allowance) / 20.0) from unnest(allowed) as allowance))
  end;
  wait_milliseconds := case
    when granted > 0 then 0
    else ceil(extract(epoch from greatest(room.free_at, found_limit.blocked_until_at) - at) * 1000)
  end;
  valid_milliseconds := (select min(least(seconds * 200, 1000)) from unnest(windows) as seconds);

  if granted > 0 then
    update %1$I.crm_rate_limits as limits
    set
      used = counting.used,
      taken_at = at,
      expires_at = greatest(counting.ends_at, found_limit.blocked_until_at)
    from (
      select
        jsonb_object_agg(each.window_seconds, each.slots) as used,
        max(each.ends_at) as ends_at
      from (
        select
          slot.window_seconds,
          jsonb_object_agg(slot.slot_number, slot.permits) as slots,
          max(slot.ends_at) as ends_at
        from %1$I.crm_rate_limit_slots(
          -- Windows of another release count too, as long as they have permits.
          (
            select
              jsonb_object_agg(
                length.seconds,
                coalesce(found_limit.used -> length.seconds, '{}')
                  || jsonb_build_object(
                    now.slot, coalesce((found_limit.used -> length.seconds ->> now.slot)::integer, 0) + granted
                  )
              )
            from (
              select seconds::text
              from unnest(windows) as seconds
              union
              select jsonb_object_keys(found_limit.used)
            ) as length (seconds)
            cross join lateral (
              select floor(extract(epoch from at) * 10 / length.seconds::integer)::bigint::text
            ) as now (slot)
          )
        ) as slot
        where slot.ends_at > at
        group by slot.window_seconds
      ) as each
    ) as counting
    where limits.provider = found_limit.provider
      and limits.scope = found_limit.scope
      and limits.counted = found_limit.counted;
  end if;
  return next;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_block_rate_limit(provider text, scope text, counted text, seconds integer)
returns timestamptz
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  found_limit constant %1$I.crm_rate_limits := %1$I.crm_lock_rate_limit(provider, scope, counted);
  blocked_until constant timestamptz :=
    greatest(found_limit.blocked_until_at, found_limit.taken_at + make_interval(secs => seconds));
begin
  update %1$I.crm_rate_limits as limits
  set
    taken_at = found_limit.taken_at,
    blocked_until_at = blocked_until,
    expires_at = greatest(limits.expires_at, blocked_until)
  where limits.provider = found_limit.provider
    and limits.scope = found_limit.scope
    and limits.counted = found_limit.counted;
  return blocked_until;
end
$body$
$create$);

comment on function crm_rate_limit_room(jsonb, integer[], integer[], timestamptz) is
  'How many permits are free in all of these windows at once, at a time, and from when there is one at least.';
comment on function crm_lock_rate_limit(text, text, text) is
  'Locks the row of a rate limit, creating it if it is missing, and returns it with the present time in taken_at: the database''s clock after the wait for the lock, or crm_schema.now. If the clock has been set back since, what is in the row goes back with it, so that nothing counts for longer or shorter than it should.';
comment on function crm_take_rate_limit(text, text, text, integer, integer[], integer[]) is
  'Takes permits for the next moment, from all of these windows or from none: as many as wanted, and at most a twentieth of what the smallest window allows, rounded up. Returns how many; if none, after how long to ask again; and for how long permits are valid. Those that are not used by then have lapsed. Fails with CRM04 if a window is out of range.';
comment on function crm_block_rate_limit(text, text, text, integer) is
  'Records that the CRM refuses requests for so many seconds from now, at most a week. Never shortens a block. Returns when it ends.';

grant select, insert, update, delete
on crm_rate_limits
to crm_worker;

grant select
on crm_rate_limits
to crm_reader;

alter table crm_rate_limits enable row level security;

create policy crm_rate_limits_worker_policy
  on crm_rate_limits
  to crm_worker
  using (true)
  with check (true);

create policy crm_rate_limits_reader_policy
  on crm_rate_limits
  for select
  to crm_reader
  using (true);

comment on policy crm_rate_limits_worker_policy on crm_rate_limits is
  'The sync worker works for all organisations.';
comment on policy crm_rate_limits_reader_policy on crm_rate_limits is
  'Monitoring and support see which CRM refuses requests.';

revoke execute
on function
  crm_rate_limit_slots(jsonb),
  crm_rate_limit_room(jsonb, integer[], integer[], timestamptz),
  crm_lock_rate_limit(text, text, text),
  crm_take_rate_limit(text, text, text, integer, integer[], integer[]),
  crm_block_rate_limit(text, text, text, integer)
from public;

grant execute
on function
  crm_rate_limit_slots(jsonb),
  crm_rate_limit_room(jsonb, integer[], integer[], timestamptz),
  crm_lock_rate_limit(text, text, text),
  crm_take_rate_limit(text, text, text, integer, integer[], integer[]),
  crm_block_rate_limit(text, text, text, integer)
to crm_worker;

-- Monitoring reads what is used by it.
grant execute
on function crm_rate_limit_slots(jsonb)
to crm_reader;

select crm_give_to_owner(array[
  'table crm_rate_limits',
  'function crm_rate_limit_slots(jsonb)',
  'function crm_rate_limit_room(jsonb, integer[], integer[], timestamptz)',
  'function crm_lock_rate_limit(text, text, text)',
  'function crm_take_rate_limit(text, text, text, integer, integer[], integer[])',
  'function crm_block_rate_limit(text, text, text, integer)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a permit that somebody is taking now would be lost unseen.
lock table crm_rate_limits in access exclusive mode;

select crm_refuse_data_loss('crm_rate_limits has rows')
where exists (select from crm_rate_limits);

drop function crm_block_rate_limit(text, text, text, integer);

drop function crm_take_rate_limit(text, text, text, integer, integer[], integer[]);

drop function crm_lock_rate_limit(text, text, text);

drop function crm_rate_limit_room(jsonb, integer[], integer[], timestamptz);

drop function crm_rate_limit_slots(jsonb);

drop table crm_rate_limits;
