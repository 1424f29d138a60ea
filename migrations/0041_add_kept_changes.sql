-- Up Migration
--
-- Purpose: keeps what waits to be pushed when a CRM is disconnected, for the time until it is connected again.
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for
--          vacuum.
-- Scans:   crm_connections, to check the new constraints and to build the index: a fraction of a second for
--          100,000 connections. Nothing is rewritten.
-- Down:    drops the columns and the functions (crm_connections ACCESS EXCLUSIVE), and refuses while a connection
--          says what became of its changes unless crm_schema.allow_data_loss is on: then what waits for disconnected
--          connections is deleted.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

-- The columns are null everywhere, and reading the few connections once more would not shorten the lock.
alter table crm_connections
  add column kept_changes text,
  add column changes_expire_at timestamptz,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_kept_changes_check
    check (kept_changes in ('waiting', 'moved', 'dropped', 'expired')),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_kept_changes_is_disconnected_check
    check (kept_changes is null or status = 'disconnected'),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_kept_changes_has_end_check
    check ((kept_changes is null) = (changes_expire_at is null)),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_changes_expire_at_in_range_check
    check (changes_expire_at >= '1900-01-01 00:00:00+00' and changes_expire_at < '9999-01-01 00:00:00+00');

-- squawk-ignore require-concurrent-index-creation
create index crm_connections_changes_expire_at_idx
  on crm_connections (changes_expire_at)
  where kept_changes = 'waiting';

comment on column crm_connections.kept_changes is
  'What became of the changes that were not pushed when the connection was disconnected, and of those recorded since. waiting: they are kept until the CRM is connected again. moved: the same account was connected again, and that connection has them. dropped: another account was connected, and they were deleted. expired: nothing was connected in time, and they were deleted. Null while live, and if an earlier release disconnected it: then nothing was kept.';
comment on column crm_connections.changes_expire_at is
  'Until when changes wait for the CRM to be connected again. Null while live, and if nothing was kept.';
comment on constraint crm_connections_kept_changes_check on crm_connections is
  'The closed list of outcomes.';
comment on constraint crm_connections_kept_changes_is_disconnected_check on crm_connections is
  'A live connection''s changes wait for its next sync.';
comment on constraint crm_connections_kept_changes_has_end_check on crm_connections is
  'Changes are never kept without an end.';
comment on constraint crm_connections_changes_expire_at_in_range_check on crm_connections is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_connections_changes_expire_at_idx is
  'Finds the disconnected connections whose changes are kept, and those whose time is over.';

grant select (kept_changes, changes_expire_at)
on crm_connections
to crm_app, crm_reader;

grant update (kept_changes, changes_expire_at)
on crm_connections
to crm_app, crm_worker;

create function crm_changes_expire_at(disconnected_at timestamptz)
returns timestamptz
language sql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  -- 90 days: longer than an agency takes to repair an access or to sign a contract again.
  select disconnected_at + interval '2160 hours'
$$;

comment on function crm_changes_expire_at(timestamptz) is
  'The one rule for how long changes wait for a disconnected CRM: 90 days.';

create function crm_keeps_changes(status text, kept_changes text, changes_expire_at timestamptz, at timestamptz)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select status <> 'disconnected' or (kept_changes is not distinct from 'waiting' and changes_expire_at > at)
$$;

comment on function crm_keeps_changes(text, text, timestamptz, timestamptz) is
  'The one rule for which connections changes are recorded for, as seen at a time: live ones, and disconnected ones that wait to be connected again.';

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_count_waiting_changes(organisation_id uuid, connection_id uuid)
returns integer
language sql
stable
set search_path = pg_catalog, pg_temp
as $body$
  select count(*)::integer
  from (
    select change.contact_id::text
    from %1$I.crm_outbound_changes as change
    where change.organisation_id = crm_count_waiting_changes.organisation_id
      and change.connection_id = crm_count_waiting_changes.connection_id
    union
    select failure.record_id
    from %1$I.crm_sync_failures as failure
    where failure.organisation_id = crm_count_waiting_changes.organisation_id
      and failure.connection_id = crm_count_waiting_changes.connection_id
      and failure.direction = 'outbound'
      and failure.dismissed_at is null
  ) as waiting
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_take_over_changes(
  organisation_id uuid,
  connection_id uuid,
  ids_of_unknown_account text default null,
  own_changes_since timestamptz default null
)
returns table (moved integer, dropped integer)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  at constant timestamptz := %1$I.crm_now();
  present record;
  previous record;
  -- The last known account before a connection, and its connection's time.
  named record;
  is_same boolean;
  waiting integer;
begin
  moved := 0;
  dropped := 0;
  select
    connection.id,
    connection.provider,
    connection.account
  into present
  from %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and connection.id = connection_id;

  if own_changes_since is not null then
    select
      connection.account,
      connection.connected_at
    into named
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.provider = present.provider
      and connection.id <> present.id
      and connection.account is not null
    order by connection.connected_at desc
    limit 1;
    if named.account is null or named.account = present.account then
      return next;
      return;
    end if;
    -- What was recorded since the connections of an unknown account began is this account's, as its ids are.
    own_changes_since := least(own_changes_since, (
      select min(connection.connected_at)
      from %1$I.crm_connections as connection
      where connection.organisation_id = organisation
        and connection.provider = present.provider
        and connection.account is null
        and connection.connected_at > named.connected_at
    ));
    waiting := %1$I.crm_count_waiting_changes(organisation, present.id);
    -- In the order in which the host writes them.
    perform
    from %1$I.crm_outbound_changes as change
    where change.organisation_id = organisation
      and change.connection_id = present.id
      and change.last_changed_at < own_changes_since
    order by change.contact_id
    for update;
    delete from %1$I.crm_outbound_changes as change
    where change.organisation_id = organisation
      and change.connection_id = present.id
      and change.last_changed_at < own_changes_since;
    delete from %1$I.crm_sync_failures as failure
    where failure.organisation_id = organisation
      and failure.connection_id = present.id
      and failure.direction = 'outbound'
      and failure.first_failed_at < own_changes_since;
    dropped := waiting - %1$I.crm_count_waiting_changes(organisation, present.id);
    return next;
    return;
  end if;

  for previous in
    select
      connection.id,
      connection.account,
      connection.connected_at,
      connection.status,
      connection.kept_changes,
      connection.changes_expire_at
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.provider = present.provider
      and connection.id <> present.id
      and connection.kept_changes = 'waiting'
    order by connection.connected_at desc
    for no key update
  loop
    -- What waits belongs to the account of the connection where it waits, as ids do.
    if present.account is null then
      is_same := true;
    elsif previous.account is not null then
      is_same := previous.account = present.account;
    elsif ids_of_unknown_account is not null then
      is_same := ids_of_unknown_account = 'keep';
    else
      select connection.account
      into named
      from %1$I.crm_connections as connection
      where connection.organisation_id = organisation
        and connection.provider = present.provider
        and connection.account is not null
        and connection.connected_at < previous.connected_at
      order by connection.connected_at desc
      limit 1;
      is_same := coalesce(named.account = present.account, true);
    end if;

    waiting := %1$I.crm_count_waiting_changes(organisation, previous.id);
    perform
    from %1$I.crm_outbound_changes as change
    where change.organisation_id = organisation
      and change.connection_id = previous.id
    order by change.contact_id
    for update;
    if is_same
      and %1$I.crm_keeps_changes(previous.status, previous.kept_changes, previous.changes_expire_at, at)
    then
      update %1$I.crm_outbound_changes as change
      set
        connection_id = present.id,
        version = default,
        attempts = 0,
        next_attempt_at = at,
        -- The new connection is due in any case.
        is_announced = true
      where change.organisation_id = organisation
        and change.connection_id = previous.id
        and not exists (
          select
          from %1$I.crm_outbound_changes as other
          where other.organisation_id = organisation
            and other.contact_id = change.contact_id
            and other.connection_id = present.id
        );
      update %1$I.crm_sync_failures as failure
      set
        connection_id = present.id,
        attempts = case when failure.next_attempt_at is null then failure.attempts else 0 end,
        next_attempt_at = case when failure.next_attempt_at is not null then at end
      where failure.organisation_id = organisation
        and failure.connection_id = previous.id
        and failure.direction = 'outbound'
        and not exists (
          select
          from %1$I.crm_sync_failures as other
          where other.organisation_id = organisation
            and other.connection_id = present.id
            and other.direction = 'outbound'
            and other.record_id = failure.record_id
            and other.entity_type = failure.entity_type
        );
      -- Those that wait at both. What was recorded since the update above stays, for outboundChangeAnnounce to move.
      delete from %1$I.crm_outbound_changes as change
      where change.organisation_id = organisation
        and change.connection_id = previous.id
        and exists (
          select
          from %1$I.crm_outbound_changes as other
          where other.organisation_id = organisation
            and other.contact_id = change.contact_id
            and other.connection_id = present.id
        );
      moved := moved + waiting;
      previous.kept_changes := 'moved';
    else
      delete from %1$I.crm_outbound_changes as change
      where change.organisation_id = organisation
        and change.connection_id = previous.id;
      dropped := dropped + waiting;
      previous.kept_changes := case when is_same then 'expired' else 'dropped' end;
    end if;
    delete from %1$I.crm_sync_failures as failure
    where failure.organisation_id = organisation
      and failure.connection_id = previous.id
      and failure.direction = 'outbound';
    update %1$I.crm_connections as connection
    set kept_changes = previous.kept_changes
    where connection.organisation_id = organisation
      and connection.id = previous.id;
  end loop;
  return next;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_drop_expired_changes()
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  ended record;
  deleted integer;
  dropped integer := 0;
begin
  for ended in
    select
      connection.organisation_id,
      connection.id
    from %1$I.crm_connections as connection
    where connection.kept_changes = 'waiting'
      and connection.changes_expire_at <= %1$I.crm_now()
    order by connection.changes_expire_at
    limit 10
    for no key update skip locked
  loop
    delete from %1$I.crm_outbound_changes as change
    where change.organisation_id = ended.organisation_id
      and change.connection_id = ended.id
      and change.contact_id = any(array(
        select old.contact_id
        from %1$I.crm_outbound_changes as old
        where old.organisation_id = ended.organisation_id
          and old.connection_id = ended.id
        limit 1000
        for update skip locked
      ));
    get diagnostics deleted = row_count;
    dropped := dropped + deleted;
    delete from %1$I.crm_sync_failures as failure
    where failure.id = any(array(
      select old.id
      from %1$I.crm_sync_failures as old
      where old.organisation_id = ended.organisation_id
        and old.connection_id = ended.id
        and old.direction = 'outbound'
      limit 1000
      for update skip locked
    ));
    get diagnostics deleted = row_count;
    dropped := dropped + deleted;
    update %1$I.crm_connections as connection
    set kept_changes = 'expired'
    where connection.organisation_id = ended.organisation_id
      and connection.id = ended.id
      and not exists (
        select
        from %1$I.crm_outbound_changes as change
        where change.organisation_id = ended.organisation_id
          and change.connection_id = ended.id
      )
      and not exists (
        select
        from %1$I.crm_sync_failures as failure
        where failure.organisation_id = ended.organisation_id
          and failure.connection_id = ended.id
          and failure.direction = 'outbound'
      );
  end loop;
  return dropped;
end
$body$
$create$);

comment on function crm_count_waiting_changes(uuid, uuid) is
  'Counts the contacts that wait to be pushed to a connection''s CRM: those with an outbound change, and those whose push failed, unless a person has dismissed that.';
comment on function crm_take_over_changes(uuid, uuid, text, timestamptz) is
  'Moves what waits to be pushed from the disconnected connections of a CRM to a new one, or deletes it if that is to another account or the time is over (crm_keeps_changes), and returns for how many contacts each. Failing pushes that would be retried are due at once. The account is the same if either is unknown, except that ids_of_unknown_account (keep or archive) decides if only the earlier one is, and if that is null the last known account before. With own_changes_since, for a connection whose account was learned later: deletes what was moved to it from another account, and was not recorded since. Call it after crm_switch_account, which locks the contacts.';
comment on function crm_drop_expired_changes() is
  'Deletes what waited to be pushed for disconnected connections whose time is over: of up to ten connections, up to a thousand changes and as many failures each. Returns how many. Waits for no lock.';

grant execute
on function
  crm_changes_expire_at(timestamptz),
  crm_keeps_changes(text, text, timestamptz, timestamptz)
to crm_app, crm_worker, crm_reader;

revoke execute
on function
  crm_count_waiting_changes(uuid, uuid),
  crm_take_over_changes(uuid, uuid, text, timestamptz),
  crm_drop_expired_changes()
from public;

grant execute
on function
  crm_count_waiting_changes(uuid, uuid),
  crm_take_over_changes(uuid, uuid, text, timestamptz),
  crm_drop_expired_changes()
to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_changes_expire_at(timestamptz)',
  'function crm_keeps_changes(text, text, timestamptz, timestamptz)',
  'function crm_count_waiting_changes(uuid, uuid)',
  'function crm_take_over_changes(uuid, uuid, text, timestamptz)',
  'function crm_drop_expired_changes()'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

-- Before the check, else a connection that somebody is disconnecting now would be overlooked.
select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

select crm_refuse_data_loss('crm_connections has kept changes')
where exists (select from crm_connections where kept_changes is not null);

-- Earlier releases keep nothing for disconnected connections, and would never delete it.
delete from crm_outbound_changes as change
using crm_connections as connection
where connection.organisation_id = change.organisation_id
  and connection.id = change.connection_id
  and connection.kept_changes is not null;

delete from crm_sync_failures as failure
using crm_connections as connection
where connection.organisation_id = failure.organisation_id
  and connection.id = failure.connection_id
  and connection.kept_changes is not null;

drop function crm_drop_expired_changes();

drop function crm_take_over_changes(uuid, uuid, text, timestamptz);

drop function crm_count_waiting_changes(uuid, uuid);

drop function crm_keeps_changes(text, text, timestamptz, timestamptz);

drop function crm_changes_expire_at(timestamptz);

alter table crm_connections
  drop column kept_changes,
  drop column changes_expire_at;
