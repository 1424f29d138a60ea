-- Up Migration
--
-- Purpose: keeps what a person has still to decide when contacts are merged, and when a merge is undone.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_list_moved_conflicts(organisation_id uuid, operation_id uuid)
returns table (
  connection_id uuid,
  entity_type text,
  external_id text,
  from_contact_id uuid,
  to_contact_id uuid,
  kept text
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $body$
  select
    connection.id,
    change.entity_type,
    change.external_id,
    change.from_contact_id,
    change.to_contact_id,
    conflict.kept
  from %1$I.contact_external_id_changes as change
  inner join %1$I.crm_connections as connection
    on connection.organisation_id = change.organisation_id
    and connection.provider = change.provider
  -- The limit leaves only a look-up by the key.
  left join lateral (
    select conflict.kept
    from %1$I.crm_sync_conflicts as conflict
    where conflict.organisation_id = change.organisation_id
      and conflict.connection_id = connection.id
      and conflict.entity_type = change.entity_type
      and conflict.external_id = change.external_id
      and conflict.contact_id = change.from_contact_id
    limit 1
  ) as conflict on true
  where change.organisation_id = crm_list_moved_conflicts.organisation_id
    and change.operation_id = crm_list_moved_conflicts.operation_id
    and change.external_id is not null
    and change.from_contact_id <> change.to_contact_id
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_move_conflicts(organisation_id uuid, operation_id uuid)
returns void
language sql
volatile
set search_path = pg_catalog, pg_temp
as $body$
  update %1$I.crm_sync_conflicts as conflict
  set contact_id = moved.to_contact_id
  from (
    select found.*
    from %1$I.crm_list_moved_conflicts(
      crm_move_conflicts.organisation_id,
      crm_move_conflicts.operation_id
    ) as found
    where found.kept is not null
    order by
      found.connection_id,
      found.entity_type,
      found.external_id
  ) as moved
  where conflict.organisation_id = crm_move_conflicts.organisation_id
    and conflict.connection_id = moved.connection_id
    and conflict.entity_type = moved.entity_type
    and conflict.external_id = moved.external_id
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_move_decisions(
  organisation_id uuid,
  operation_id uuid,
  from_contact_id uuid,
  into_contact_id uuid
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  undecided record;
begin
  -- By the record: `is true` keeps the planner from reading all of a connection's failures.
  for undecided in
    select
      failure.id,
      failure.connection_id,
      failure.entity_type
    from %1$I.crm_sync_failures as failure
    where failure.record_id = from_contact_id::text
      and (failure.organisation_id = crm_move_decisions.organisation_id) is true
      and failure.direction = 'outbound'
      and failure.dismissed_at is null
      and %1$I.crm_sync_failure_is_undecided(failure.direction, failure.error, failure.gave_up_at)
    order by
      failure.connection_id,
      failure.entity_type
  loop
    -- One decision is about all records of a contact.
    continue when exists (
      select
      from %1$I.crm_sync_failures as other
      where other.record_id = into_contact_id::text
        and (other.organisation_id = crm_move_decisions.organisation_id) is true
        and (other.connection_id = undecided.connection_id) is true
        and other.direction = 'outbound'
        and other.dismissed_at is null
        and %1$I.crm_sync_failure_is_undecided(other.direction, other.error, other.gave_up_at)
    );
    delete from %1$I.crm_sync_failures as replaced
    where replaced.organisation_id = crm_move_decisions.organisation_id
      and replaced.connection_id = undecided.connection_id
      and replaced.direction = 'outbound'
      and replaced.record_id = into_contact_id::text
      and replaced.entity_type = undecided.entity_type;
    update %1$I.crm_sync_failures as failure
    set record_id = into_contact_id::text
    where failure.organisation_id = crm_move_decisions.organisation_id
      and failure.id = undecided.id;
  end loop;
  perform %1$I.crm_move_conflicts(organisation_id, operation_id);
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_return_decisions(
  organisation_id uuid,
  operation_id uuid,
  back_contact_id uuid,
  remaining_contact_id uuid
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  undecided record;
  is_returned boolean;
  stays boolean;
begin
  for undecided in
    select
      failure.*,
      connection.provider
    from %1$I.crm_sync_failures as failure
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = failure.organisation_id
      and connection.id = failure.connection_id
    where failure.record_id = remaining_contact_id::text
      and (failure.organisation_id = crm_return_decisions.organisation_id) is true
      and failure.direction = 'outbound'
      and failure.dismissed_at is null
      and %1$I.crm_sync_failure_is_undecided(failure.direction, failure.error, failure.gave_up_at)
    order by
      failure.connection_id,
      failure.entity_type
  loop
    -- Null if no record at this CRM is moved back.
    select bool_or(moved.kept is not distinct from 'neither')
    into is_returned
    from %1$I.crm_list_moved_conflicts(organisation_id, operation_id) as moved
    where moved.connection_id = undecided.connection_id;
    continue when is_returned is null;
    stays := exists (
      select
      from %1$I.contact_external_records as record
      inner join %1$I.crm_sync_conflicts as conflict
        on conflict.organisation_id = crm_return_decisions.organisation_id
        and conflict.connection_id = undecided.connection_id
        and conflict.entity_type = record.entity_type
        and conflict.external_id = record.external_id
      where (record.organisation_id = crm_return_decisions.organisation_id) is true
        and record.contact_id = remaining_contact_id
        and record.provider = undecided.provider
        and conflict.kept = 'neither'
    );
    -- If no conflict says whose it is, both wait: a decision too many loses nothing.
    continue when stays and not is_returned;
    insert into %1$I.crm_sync_failures as failure (
      organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at,
      last_failed_at, gave_up_at
    )
    values (
      undecided.organisation_id, undecided.connection_id, 'outbound', undecided.entity_type, back_contact_id::text,
      undecided.attempts, undecided.error, undecided.first_failed_at, undecided.last_failed_at, undecided.gave_up_at
    )
    on conflict on constraint crm_sync_failures_pkey do update
    set
      error = excluded.error,
      first_failed_at = excluded.first_failed_at,
      last_failed_at = excluded.last_failed_at,
      next_attempt_at = null,
      gave_up_at = excluded.gave_up_at,
      dismissed_at = null,
      dismissed_by = null,
      dismissal_reason = null;
    if is_returned and not stays then
      delete from %1$I.crm_sync_failures as failure
      where failure.organisation_id = undecided.organisation_id
        and failure.id = undecided.id;
    end if;
  end loop;
  perform %1$I.crm_move_conflicts(organisation_id, operation_id);
end
$body$
$create$);

comment on function crm_list_moved_conflicts(uuid, uuid) is
  'Lists the external ids that an operation has moved from one contact to another, for each connection of their CRM, with whose edit was kept in the conflict that the record has there; null if it has none.';
comment on function crm_move_conflicts(uuid, uuid) is
  'Makes the conflicts of the external ids that an operation has moved those of the contact that each means now.';
comment on function crm_move_decisions(uuid, uuid, uuid, uuid) is
  'For crm_merge_contacts: hands what a person has still to decide of a contact (crm_sync_failure_is_undecided), and the conflicts of its records, on to the contact that it is merged into. A decision that this contact waits for already stays, and is about all its records. Call it after the external ids have moved.';
comment on function crm_return_decisions(uuid, uuid, uuid, uuid) is
  'For crm_undo_contact_merge: gives what a person has still to decide back to the contact that is there again, if the conflict is one of a record that is its own again, or if no conflict says whose it is: then both contacts wait. Call it after the external ids have moved.';

-- As 0026 and 0028 left them, otherwise.
select crm_edit_function(
  'crm_merge_contacts(uuid, uuid, uuid, uuid, text, text)'::regprocedure,
  $present$  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$present$,
  format($wanted$  perform %1$I.crm_move_decisions(organisation, operation, from_contact_id, into_contact_id);

  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$wanted$, current_schema())
);

select crm_edit_function(
  'crm_undo_contact_merge(uuid, uuid, uuid, text, text)'::regprocedure,
  $present$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);
$present$,
  format($wanted$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);

  perform %1$I.crm_return_decisions(organisation, operation, merge.from_contact_id, merge.to_contact_id);
$wanted$, current_schema())
);

revoke execute
on function
  crm_list_moved_conflicts(uuid, uuid),
  crm_move_conflicts(uuid, uuid),
  crm_move_decisions(uuid, uuid, uuid, uuid),
  crm_return_decisions(uuid, uuid, uuid, uuid)
from public;

grant execute
on function
  crm_list_moved_conflicts(uuid, uuid),
  crm_move_conflicts(uuid, uuid),
  crm_move_decisions(uuid, uuid, uuid, uuid),
  crm_return_decisions(uuid, uuid, uuid, uuid)
to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_list_moved_conflicts(uuid, uuid)',
  'function crm_move_conflicts(uuid, uuid)',
  'function crm_move_decisions(uuid, uuid, uuid, uuid)',
  'function crm_return_decisions(uuid, uuid, uuid, uuid)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_edit_function(
  'crm_undo_contact_merge(uuid, uuid, uuid, text, text)'::regprocedure,
  format($present$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);

  perform %1$I.crm_return_decisions(organisation, operation, merge.from_contact_id, merge.to_contact_id);
$present$, current_schema()),
  $wanted$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);
$wanted$
);

select crm_edit_function(
  'crm_merge_contacts(uuid, uuid, uuid, uuid, text, text)'::regprocedure,
  format($present$  perform %1$I.crm_move_decisions(organisation, operation, from_contact_id, into_contact_id);

  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$present$, current_schema()),
  $wanted$  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$wanted$
);

drop function crm_return_decisions(uuid, uuid, uuid, uuid);

drop function crm_move_decisions(uuid, uuid, uuid, uuid);

drop function crm_move_conflicts(uuid, uuid);

drop function crm_list_moved_conflicts(uuid, uuid);
