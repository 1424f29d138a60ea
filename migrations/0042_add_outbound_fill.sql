-- Up Migration
--
-- Purpose: pushes the contacts that an agency had before it connected a CRM, a page at a time.
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for
--          vacuum.
-- Scans:   crm_connections, to check the new constraints: a fraction of a second for 100,000 connections. Nothing is
--          rewritten.
-- Down:    drops the columns and the function (crm_connections ACCESS EXCLUSIVE), and refuses while a fill was started
--          unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

-- The columns are null everywhere, and reading the few connections once more would not shorten the lock.
alter table crm_connections
  add column fill_started_at timestamptz,
  add column fill_contact_id uuid,
  -- No agency has two billion contacts.
  -- squawk-ignore prefer-bigint-over-int
  add column filled_contacts integer,
  add column fill_finished_at timestamptz,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_fill_is_whole_check
    check (
      (fill_started_at is null) = (filled_contacts is null)
      and (fill_started_at is not null or (fill_contact_id is null and fill_finished_at is null))
    ),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_filled_contacts_check
    check (filled_contacts >= 0),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_fill_times_in_range_check
    check (
      least(fill_started_at, fill_finished_at) >= '1900-01-01 00:00:00+00'
      and greatest(fill_started_at, fill_finished_at) < '9999-01-01 00:00:00+00'
    );

comment on column crm_connections.fill_started_at is
  'When somebody asked for a first fill: for the contacts that have no record at the CRM to be pushed. Null if nobody has.';
comment on column crm_connections.fill_contact_id is
  'The last contact that the first fill has looked at, in the order of ids. It may be deleted by now. Null before the first page.';
comment on column crm_connections.filled_contacts is
  'How many contacts the first fill has recorded to be pushed so far. Null if nobody asked for one.';
comment on column crm_connections.fill_finished_at is
  'When the first fill had looked at every contact; the last of them may still wait to be pushed. Null if it has not.';
comment on constraint crm_connections_fill_is_whole_check on crm_connections is
  'A fill that was started has a count; one that was not has nothing.';
comment on constraint crm_connections_filled_contacts_check on crm_connections is
  'Counted from 0.';
comment on constraint crm_connections_fill_times_in_range_check on crm_connections is
  'Times are in the years 1900 to 9998: every client can read them.';

grant select (fill_started_at, fill_contact_id, filled_contacts, fill_finished_at)
on crm_connections
to crm_app, crm_reader;

grant update (fill_started_at, fill_contact_id, filled_contacts, fill_finished_at)
on crm_connections
to crm_app, crm_worker;

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_continue_fill(
  organisation_id uuid,
  connection_id uuid,
  page_size integer,
  max_waiting integer
)
returns table (outcome text, queued integer, queued_in_all integer)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  at constant timestamptz := %1$I.crm_now();
  filled record;
  page uuid[];
  newcomers uuid[];
begin
  select
    connection.id,
    connection.provider,
    connection.fill_started_at,
    connection.fill_contact_id,
    connection.filled_contacts,
    connection.fill_finished_at
  into filled
  from %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and connection.id = connection_id
    and connection.status <> 'disconnected'
  for no key update;
  if filled.id is null then
    return;
  end if;
  queued := 0;
  queued_in_all := coalesce(filled.filled_contacts, 0);
  outcome := case
    when filled.fill_started_at is null then 'not_started'
    when filled.fill_finished_at is not null then 'finished'
    when (
      select count(*)
      from (
        select
        from %1$I.crm_outbound_changes as change
        where change.organisation_id = organisation
          and change.connection_id = filled.id
        limit max_waiting
      ) as waiting
    ) >= max_waiting then 'waiting'
    else 'continued'
  end;
  if outcome <> 'continued' then
    return next;
    return;
  end if;

  page := array(
    select contacts.id
    from %2$s as contacts
    where contacts.organisation_id = organisation
      and contacts.id > coalesce(filled.fill_contact_id, '00000000-0000-0000-0000-000000000000')
    order by contacts.id
    limit page_size
  );
  -- Any record will do, also one that the CRM has deleted: a push would not create it again.
  newcomers := array(
    select found.id
    from unnest(page) as found (id)
    where (
      select mapping.contact_id
      from %1$I.contact_external_ids as mapping
      where mapping.organisation_id = organisation
        and mapping.contact_id = found.id
        and mapping.provider = filled.provider
      limit 1
    ) is null
      and (
        select alias.contact_id
        from %1$I.contact_external_id_aliases as alias
        where alias.organisation_id = organisation
          and alias.contact_id = found.id
          and alias.provider = filled.provider
        limit 1
      ) is null
    order by found.id
  );
  for attempt in 1..10 loop
    begin
      perform %1$I.crm_lock_contacts(organisation, newcomers);
      insert into %1$I.crm_outbound_changes (
        organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at
      )
      select organisation, contacts.id, filled.id, at, at, at
      from unnest(newcomers) as found (id)
      cross join lateral (
        select contacts.id
        from %2$s as contacts
        where contacts.organisation_id = organisation
          and contacts.id = found.id
        limit 1
      ) as contacts
      order by contacts.id
      -- It waits to be pushed anyway.
      on conflict do nothing;
      get diagnostics queued = row_count;
      exit;
    exception
      when foreign_key_violation then
        -- The host has deleted one of the contacts meanwhile; the next attempt sees that.
        if attempt = 10 then
          raise;
        end if;
    end;
  end loop;

  queued_in_all := queued_in_all + queued;
  outcome := case when cardinality(page) < page_size then 'finished' else 'continued' end;
  update %1$I.crm_connections as connection
  set
    fill_contact_id = coalesce(page[cardinality(page)], connection.fill_contact_id),
    filled_contacts = queued_in_all,
    fill_finished_at = case when outcome = 'finished' then at end
  where connection.organisation_id = organisation
    and connection.id = filled.id;
  return next;
end
$body$
$create$);

comment on function crm_continue_fill(uuid, uuid, integer, integer) is
  'Looks at the next page_size contacts of an organisation in the order of their ids, and records those that have no record at the CRM of a live connection, to be pushed there. Does nothing while max_waiting changes wait for the connection. Returns no row if there is no such live connection; otherwise the outcome (not_started, waiting, continued, or finished if every contact has been looked at), and how many contacts were recorded by this call and in all. Locks the connection, then contacts.';

revoke execute
on function crm_continue_fill(uuid, uuid, integer, integer)
from public;

grant execute
on function crm_continue_fill(uuid, uuid, integer, integer)
to crm_app, crm_worker;

select crm_give_to_owner(array['function crm_continue_fill(uuid, uuid, integer, integer)']);

-- Whoever connects the same account again goes on where the fill stopped.
select crm_edit_function(
  'crm_take_over_changes(uuid, uuid, text, timestamptz)'::regprocedure,
  $present$      previous.kept_changes := 'moved';$present$,
  format($wanted$      previous.kept_changes := 'moved';
      update %1$I.crm_connections as connection
      set
        fill_started_at = begun.fill_started_at,
        fill_contact_id = begun.fill_contact_id,
        filled_contacts = begun.filled_contacts
      from %1$I.crm_connections as begun
      where connection.organisation_id = organisation
        and connection.id = present.id
        and connection.fill_started_at is null
        and begun.organisation_id = organisation
        and begun.id = previous.id
        and begun.fill_started_at is not null
        and begun.fill_finished_at is null;$wanted$, current_schema())
);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

-- Before the check, else a fill that somebody is starting now would be overlooked.
select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

select crm_refuse_data_loss('crm_connections has first fills')
where exists (select from crm_connections where fill_started_at is not null);

-- As 0041 left it.
select crm_edit_function(
  'crm_take_over_changes(uuid, uuid, text, timestamptz)'::regprocedure,
  format($present$      previous.kept_changes := 'moved';
      update %1$I.crm_connections as connection
      set
        fill_started_at = begun.fill_started_at,
        fill_contact_id = begun.fill_contact_id,
        filled_contacts = begun.filled_contacts
      from %1$I.crm_connections as begun
      where connection.organisation_id = organisation
        and connection.id = present.id
        and connection.fill_started_at is null
        and begun.organisation_id = organisation
        and begun.id = previous.id
        and begun.fill_started_at is not null
        and begun.fill_finished_at is null;$present$, current_schema()),
  $wanted$      previous.kept_changes := 'moved';$wanted$
);

drop function crm_continue_fill(uuid, uuid, integer, integer);

alter table crm_connections
  drop column fill_started_at,
  drop column fill_contact_id,
  drop column filled_contacts,
  drop column fill_finished_at;
