-- Up Migration
--
-- Purpose: keeps what is known of a CRM's records when the same account is connected again, so that an edit there is
--          noticed; and retries what waited through an outage as soon as a sync works again.
-- Locks:   crm_connections SHARE ROW EXCLUSIVE, to add the trigger: writes wait until the end of the transaction. It is
--          tried for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for
--          vacuum.
-- Scans:   nothing.
-- Down:    drops the trigger (crm_connections ACCESS EXCLUSIVE) and the functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_is_same_account(
  organisation_id uuid,
  connection_id uuid,
  previous_id uuid,
  ids_of_unknown_account text
)
returns boolean
language sql
stable
set search_path = pg_catalog, pg_temp
as $body$
  select case
    when present.account is null then true
    when previous.account is not null then previous.account = present.account
    when ids_of_unknown_account is not null then ids_of_unknown_account = 'keep'
    else coalesce(
      (
        select named.account = present.account
        from %1$I.crm_connections as named
        where named.organisation_id = previous.organisation_id
          and named.provider = previous.provider
          and named.account is not null
          and named.connected_at < previous.connected_at
        order by named.connected_at desc
        limit 1
      ),
      true
    )
  end
  from %1$I.crm_connections as present
  inner join %1$I.crm_connections as previous
    on previous.organisation_id = present.organisation_id
    and previous.id = crm_is_same_account.previous_id
  where present.organisation_id = crm_is_same_account.organisation_id
    and present.id = crm_is_same_account.connection_id
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_forget_missed_contents(
  organisation_id uuid,
  connection_id uuid,
  ids_of_unknown_account text
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  present_provider text;
  previous record;
begin
  select connection.provider
  into strict present_provider
  from %1$I.crm_connections as connection
  where connection.organisation_id = crm_forget_missed_contents.organisation_id
    and connection.id = crm_forget_missed_contents.connection_id;

  select
    connection.id,
    connection.status,
    connection.kept_changes,
    connection.changes_expire_at
  into previous
  from %1$I.crm_connections as connection
  where connection.organisation_id = crm_forget_missed_contents.organisation_id
    and connection.provider = present_provider
    and connection.id <> crm_forget_missed_contents.connection_id
  order by connection.connected_at desc
  limit 1
  -- So that crm_take_over_changes finds the same.
  for no key update;

  if not coalesce(
    %1$I.crm_keeps_changes(previous.status, previous.kept_changes, previous.changes_expire_at, %1$I.crm_now())
      and %1$I.crm_is_same_account(organisation_id, connection_id, previous.id, ids_of_unknown_account),
    false
  ) then
    perform %1$I.crm_forget_contents(organisation_id, present_provider);
  end if;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_retry_after_outage()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  at constant timestamptz := new.last_success_at;
  changes integer;
  failures integer;
begin
  -- What crashes its workers keeps its own delay.
  if exists (
    select
    from (
      select
        run.ended_at,
        run.outcome,
        run.error
      from %1$I.crm_sync_runs as run
      where run.organisation_id = new.organisation_id
        and run.connection_id = new.id
      order by run.id desc
      limit 100
    ) as latest
    where latest.ended_at >= old.first_failed_at
      and (latest.outcome = 'abandoned' or latest.error ->> 'kind' = 'internal')
  ) then
    return new;
  end if;

  -- Nothing but a claim postpones a change. `is true` keeps the planner from reading all changes of the connection for
  -- each one. Skips locked changes: they are being changed, and due at once.
  update %1$I.crm_outbound_changes as change
  set next_attempt_at = at
  from (
    select
      waiting.organisation_id,
      waiting.contact_id,
      waiting.connection_id
    from %1$I.crm_outbound_changes as waiting
    where waiting.organisation_id = new.organisation_id
      and waiting.connection_id = new.id
      and waiting.next_attempt_at > at
    for no key update skip locked
  ) as postponed
  where change.organisation_id = postponed.organisation_id
    and change.contact_id = postponed.contact_id
    and (change.connection_id = postponed.connection_id) is true;
  get diagnostics changes = row_count;

  -- Those that have not failed since the outage began were postponed by claims, for six hours at most. A longer
  -- delay that the CRM has asked for stays.
  update %1$I.crm_sync_failures as failure
  set next_attempt_at = at
  from (
    select waiting.id
    from %1$I.crm_sync_failures as waiting
    where waiting.organisation_id = new.organisation_id
      and waiting.connection_id = new.id
      and waiting.next_attempt_at > at
      and waiting.next_attempt_at <= at + interval '6 hours'
      and waiting.last_failed_at < old.first_failed_at
    for no key update skip locked
  ) as postponed
  where failure.id = postponed.id;
  get diagnostics failures = row_count;

  if changes + failures > 0 then
    new.next_sync_at := least(new.next_sync_at, at);
  end if;
  return new;
end
$body$
$create$);

comment on function crm_is_same_account(uuid, uuid, uuid, text) is
  'The one rule for whether a connection is to the account of an earlier one of the same CRM. An unknown account counts as the same; but if only the earlier one is unknown, ids_of_unknown_account (keep or archive) decides, or if that is null the last known account.';
comment on function crm_forget_missed_contents(uuid, uuid, text) is
  'For crm_switch_account: forgets the contents of the records that stay, unless every edit here since the last connection ended waits to be pushed: it was to the same account (crm_is_same_account), and its changes are kept (crm_keeps_changes). Then what is known of the CRM''s records shows what was edited there meanwhile. Locks that connection.';
comment on function crm_retry_after_outage() is
  'Makes the changes and failures of a connection due that were claimed during an outage and not tried, when a sync succeeds after at least two failures in a row, and the connection with them. Does nothing if a run of that time was abandoned, or failed in the worker itself (internal): then one of them may be the cause. A trigger, because workers of earlier releases wait as well.';

-- Also for those who list what waits.
select crm_edit_function(
  'crm_require_read_committed(text)'::regprocedure,
  'what others have linked would not be seen',
  'what others have written since would not be seen'
);

comment on function crm_require_read_committed(text) is
  'Fails with 0A000 at an isolation level at which a transaction that has waited for a lock would not see what others have written meanwhile.';

-- As 0041 left it, but for the rule, which has a name now.
select crm_edit_function(
  'crm_take_over_changes(uuid, uuid, text, timestamptz)'::regprocedure,
  format($present$    if present.account is null then
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
$present$, current_schema()),
  format($wanted$    is_same := %1$I.crm_is_same_account(organisation, present.id, previous.id, ids_of_unknown_account);
$wanted$, current_schema())
);

select crm_edit_function(
  'crm_switch_account(uuid, uuid, text, timestamptz)'::regprocedure,
  format('%1$I.crm_forget_contents(organisation, present.provider)', current_schema()),
  format('%1$I.crm_forget_missed_contents(organisation, present.id, ids_of_unknown_account)', current_schema())
);

select crm_edit_function(
  'crm_switch_account(uuid, uuid, text, timestamptz)'::regprocedure,
  $present$      -- While no connection was live, contacts changed here and were not pushed: what stays must not be taken for
      -- unchanged when it is read again. What was read or pushed in this connection is known.
$present$,
  $wanted$      -- While no connection was live, contacts changed here. Unless that waits to be pushed, what stays must not be
      -- taken for unchanged when it is read again. What was read or pushed in this connection is known.
$wanted$
);

comment on function crm_switch_account(uuid, uuid, text, timestamptz) is
  'Makes the account of a live connection the one to which the organisation''s ids at this CRM belong: moves the ids of another account to contact_external_id_archive, moves the archived ids of this account back, and returns how many of each. Moves nothing if the account is null. For a new connection, forgets the versions and contents of the ids that stay, if contacts may have changed since the last one ended without a change that waits (crm_forget_missed_contents). Ids that were linked since a connection without a known account are of an unknown account: ids_of_unknown_account (keep or archive) says what becomes of them; if it is null and there are such ids, the function fails with CRM06. own_ids_since is the time since which ids were linked for this connection itself, if it was live before its account was known: those stay. Takes the lock of crm_lock_external_ids. Fails with 0A000 unless at READ COMMITTED.';
comment on function crm_forget_contents(uuid, text) is
  'For crm_forget_missed_contents: forgets the versions and contents of an organisation''s records at a CRM, so that none is taken for unchanged when it is next read.';
comment on function crm_take_over_changes(uuid, uuid, text, timestamptz) is
  'Moves what waits to be pushed from the disconnected connections of a CRM to a new one, or deletes it if that is to another account (crm_is_same_account) or the time is over (crm_keeps_changes), and returns for how many contacts each. Failing pushes that would be retried are due at once. With own_changes_since, for a connection whose account was learned later: deletes what was moved to it from another account, and was not recorded since. Call it after crm_switch_account, which locks the contacts.';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in share row exclusive mode');

-- Its name comes before that of crm_connections_hold_paused, so that a pause has the last word.
create trigger crm_connections_end_outage
  before update
  on crm_connections
  for each row
  when (
    old.failure_count >= 2
    and new.failure_count = 0
    and new.last_success_at is distinct from old.last_success_at
  )
  execute function crm_retry_after_outage();

comment on trigger crm_connections_end_outage on crm_connections is
  'A sync that works shows that the CRM is back: what waited is tried now, whichever release has run it.';

revoke execute
on function
  crm_is_same_account(uuid, uuid, uuid, text),
  crm_forget_missed_contents(uuid, uuid, text)
from public;

grant execute
on function
  crm_is_same_account(uuid, uuid, uuid, text),
  crm_forget_missed_contents(uuid, uuid, text),
  crm_retry_after_outage()
to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_is_same_account(uuid, uuid, uuid, text)',
  'function crm_forget_missed_contents(uuid, uuid, text)',
  'function crm_retry_after_outage()'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

drop trigger crm_connections_end_outage on crm_connections;

drop function crm_retry_after_outage();

-- As 0025 and 0041 left them.
select crm_edit_function(
  'crm_switch_account(uuid, uuid, text, timestamptz)'::regprocedure,
  $present$      -- While no connection was live, contacts changed here. Unless that waits to be pushed, what stays must not be
      -- taken for unchanged when it is read again. What was read or pushed in this connection is known.
$present$,
  $wanted$      -- While no connection was live, contacts changed here and were not pushed: what stays must not be taken for
      -- unchanged when it is read again. What was read or pushed in this connection is known.
$wanted$
);

select crm_edit_function(
  'crm_switch_account(uuid, uuid, text, timestamptz)'::regprocedure,
  format('%1$I.crm_forget_missed_contents(organisation, present.id, ids_of_unknown_account)', current_schema()),
  format('%1$I.crm_forget_contents(organisation, present.provider)', current_schema())
);

select crm_edit_function(
  'crm_take_over_changes(uuid, uuid, text, timestamptz)'::regprocedure,
  format($present$    is_same := %1$I.crm_is_same_account(organisation, present.id, previous.id, ids_of_unknown_account);
$present$, current_schema()),
  format($wanted$    if present.account is null then
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
$wanted$, current_schema())
);

comment on function crm_switch_account(uuid, uuid, text, timestamptz) is
  'Makes the account of a live connection the one to which the organisation''s ids at this CRM belong: moves the ids of another account to contact_external_id_archive, moves the archived ids of this account back, and returns how many of each. Moves nothing if the account is null. For a new connection, forgets the versions and contents of the ids that stay: contacts may have changed since the last one ended. Ids that were linked since a connection without a known account are of an unknown account: ids_of_unknown_account (keep or archive) says what becomes of them; if it is null and there are such ids, the function fails with CRM06. own_ids_since is the time since which ids were linked for this connection itself, if it was live before its account was known: those stay. Takes the lock of crm_lock_external_ids. Fails with 0A000 unless at READ COMMITTED.';
comment on function crm_forget_contents(uuid, text) is
  'For crm_switch_account: forgets the versions and contents of an organisation''s records at a CRM, so that none is taken for unchanged when it is next read.';
comment on function crm_take_over_changes(uuid, uuid, text, timestamptz) is
  'Moves what waits to be pushed from the disconnected connections of a CRM to a new one, or deletes it if that is to another account or the time is over (crm_keeps_changes), and returns for how many contacts each. Failing pushes that would be retried are due at once. The account is the same if either is unknown, except that ids_of_unknown_account (keep or archive) decides if only the earlier one is, and if that is null the last known account before. With own_changes_since, for a connection whose account was learned later: deletes what was moved to it from another account, and was not recorded since. Call it after crm_switch_account, which locks the contacts.';

select crm_edit_function(
  'crm_require_read_committed(text)'::regprocedure,
  'what others have written since would not be seen',
  'what others have linked would not be seen'
);

comment on function crm_require_read_committed(text) is
  'Fails with 0A000 at an isolation level at which a transaction that has waited for a lock would not see what others have linked meanwhile.';

drop function crm_forget_missed_contents(uuid, uuid, text);

drop function crm_is_same_account(uuid, uuid, uuid, text);
