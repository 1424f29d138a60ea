-- Up Migration
--
-- Purpose: keeps what a person still has to decide when contacts are merged, and when a merge is undone.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    restores the functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Within the two functions and not in others, because whoever is merging during the down still runs the new ones.
select crm_edit_function(
  'crm_merge_contacts(uuid, uuid, uuid, uuid, text, text)'::regprocedure,
  $present$  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$present$,
  format($wanted$  -- What a person has still to decide is handed on, unless the other contact waits for a decision already, which is then
  -- about all its records. By the record: `is true` keeps the planner from reading all of a connection's failures.
  for step in
    select
      failure.id,
      failure.connection_id,
      failure.entity_type
    from %1$I.crm_sync_failures as failure
    where failure.record_id = from_contact_id::text
      and (failure.organisation_id = organisation) is true
      and failure.direction = 'outbound'
      and failure.dismissed_at is null
      and %1$I.crm_sync_failure_is_undecided(failure.direction, failure.error, failure.gave_up_at)
    order by
      failure.connection_id,
      failure.entity_type
  loop
    continue when exists (
      select
      from %1$I.crm_sync_failures as other
      where other.record_id = into_contact_id::text
        and (other.organisation_id = organisation) is true
        and (other.connection_id = step.connection_id) is true
        and other.direction = 'outbound'
        and other.dismissed_at is null
        and %1$I.crm_sync_failure_is_undecided(other.direction, other.error, other.gave_up_at)
    );
    delete from %1$I.crm_sync_failures as replaced
    where replaced.organisation_id = organisation
      and replaced.connection_id = step.connection_id
      and replaced.direction = 'outbound'
      and replaced.record_id = into_contact_id::text
      and replaced.entity_type = step.entity_type;
    update %1$I.crm_sync_failures as failure
    set record_id = into_contact_id::text
    where failure.organisation_id = organisation
      and failure.id = step.id;
  end loop;
  update %1$I.crm_sync_conflicts as conflict
  set contact_id = change.to_contact_id
  from %1$I.contact_external_id_changes as change
  inner join %1$I.crm_connections as connection
    on connection.organisation_id = change.organisation_id
    and connection.provider = change.provider
  where change.organisation_id = organisation
    and change.operation_id = operation
    and change.external_id is not null
    and change.from_contact_id <> change.to_contact_id
    and conflict.organisation_id = change.organisation_id
    and conflict.connection_id = connection.id
    and conflict.entity_type = change.entity_type
    and conflict.external_id = change.external_id
    and conflict.contact_id = change.from_contact_id;

  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$wanted$, current_schema())
);

select crm_edit_function(
  'crm_undo_contact_merge(uuid, uuid, uuid, text, text)'::regprocedure,
  $present$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);
$present$,
  format($wanted$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);

  -- What a person has still to decide goes back to the contact whose record it is about. If no conflict says whose it is,
  -- both wait: asking twice loses nothing.
  for step in
    select
      failure.*,
      moved.is_returned,
      exists (
        select
        from %1$I.contact_external_records as record
        inner join %1$I.crm_sync_conflicts as conflict
          on conflict.organisation_id = organisation
          and conflict.connection_id = failure.connection_id
          and conflict.entity_type = record.entity_type
          and conflict.external_id = record.external_id
        where (record.organisation_id = organisation) is true
          and record.contact_id = merge.to_contact_id
          and record.provider = connection.provider
          and conflict.kept = 'neither'
      ) as stays
    from %1$I.crm_sync_failures as failure
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = failure.organisation_id
      and connection.id = failure.connection_id
    cross join lateral (
      -- Null if no record at this CRM is moved back.
      select bool_or(conflict.kept is not distinct from 'neither') as is_returned
      from %1$I.contact_external_id_changes as change
      left join %1$I.crm_sync_conflicts as conflict
        on conflict.organisation_id = change.organisation_id
        and conflict.connection_id = connection.id
        and conflict.entity_type = change.entity_type
        and conflict.external_id = change.external_id
        and conflict.contact_id = change.from_contact_id
      where change.organisation_id = organisation
        and change.operation_id = operation
        and change.provider = connection.provider
        and change.external_id is not null
        and change.from_contact_id <> change.to_contact_id
    ) as moved
    where failure.record_id = merge.to_contact_id::text
      and (failure.organisation_id = organisation) is true
      and failure.direction = 'outbound'
      and failure.dismissed_at is null
      and %1$I.crm_sync_failure_is_undecided(failure.direction, failure.error, failure.gave_up_at)
      and moved.is_returned is not null
    order by
      failure.connection_id,
      failure.entity_type
  loop
    continue when step.stays and not step.is_returned;
    insert into %1$I.crm_sync_failures as failure (
      organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at,
      last_failed_at, gave_up_at
    )
    values (
      organisation, step.connection_id, 'outbound', step.entity_type, merge.from_contact_id::text, step.attempts,
      step.error, step.first_failed_at, step.last_failed_at, step.gave_up_at
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
    if step.is_returned and not step.stays then
      delete from %1$I.crm_sync_failures as failure
      where failure.organisation_id = organisation
        and failure.id = step.id;
    end if;
  end loop;
  update %1$I.crm_sync_conflicts as conflict
  set contact_id = change.to_contact_id
  from %1$I.contact_external_id_changes as change
  inner join %1$I.crm_connections as connection
    on connection.organisation_id = change.organisation_id
    and connection.provider = change.provider
  where change.organisation_id = organisation
    and change.operation_id = operation
    and change.external_id is not null
    and change.from_contact_id <> change.to_contact_id
    and conflict.organisation_id = change.organisation_id
    and conflict.connection_id = connection.id
    and conflict.entity_type = change.entity_type
    and conflict.external_id = change.external_id
    and conflict.contact_id = change.from_contact_id;
$wanted$, current_schema())
);

comment on function crm_merge_contacts(uuid, uuid, uuid, uuid, text, text) is
  'Merges a contact into another: each of its external ids means the other contact afterwards. Returns one row for each: moved (it is the primary id there), became_alias, alias_moved or archived_moved (an id of an account that the organisation is not connected to at present); or one row wrong_tenant, and nothing has changed. became_alias is also returned for the primary id of the remaining contact if the CRM has deleted that record and not the other. Deletes the outbound changes and failures of the contact that is merged away, but hands on what a person has still to decide (crm_sync_failure_is_undecided), and the conflicts of its records; the host deletes the contact itself. Takes the locks of crm_lock_external_ids for all CRMs, then of crm_lock_contacts: call it before touching either contact. operation_id names the merge for crm_undo_contact_merge; changed_by is the database user if null. Fails with 0A000 unless at READ COMMITTED.';
comment on function crm_undo_contact_merge(uuid, uuid, uuid, text, text) is
  'Undoes a merge of contacts: each external id that it has moved means the contact again that it meant before. All or none. What a person has still to decide goes back with the records that it is about; if no conflict says whose it is, both contacts wait. Returns no row if there was no such merge; otherwise a row without a record: undone, or why not (undone_before, no_contact, held: one of the records stops it), and a row for each record: undone, or as crm_contact_merge_records says; then stays for each external id that was linked to the remaining contact since. Takes the locks of crm_lock_external_ids for all CRMs, then of crm_lock_contacts. changed_by is the database user if null. Fails with 0A000 unless at READ COMMITTED.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- As 0026 and 0028 left them.
select crm_edit_function(
  'crm_undo_contact_merge(uuid, uuid, uuid, text, text)'::regprocedure,
  format($present$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);

  -- What a person has still to decide goes back to the contact whose record it is about. If no conflict says whose it is,
  -- both wait: asking twice loses nothing.
  for step in
    select
      failure.*,
      moved.is_returned,
      exists (
        select
        from %1$I.contact_external_records as record
        inner join %1$I.crm_sync_conflicts as conflict
          on conflict.organisation_id = organisation
          and conflict.connection_id = failure.connection_id
          and conflict.entity_type = record.entity_type
          and conflict.external_id = record.external_id
        where (record.organisation_id = organisation) is true
          and record.contact_id = merge.to_contact_id
          and record.provider = connection.provider
          and conflict.kept = 'neither'
      ) as stays
    from %1$I.crm_sync_failures as failure
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = failure.organisation_id
      and connection.id = failure.connection_id
    cross join lateral (
      -- Null if no record at this CRM is moved back.
      select bool_or(conflict.kept is not distinct from 'neither') as is_returned
      from %1$I.contact_external_id_changes as change
      left join %1$I.crm_sync_conflicts as conflict
        on conflict.organisation_id = change.organisation_id
        and conflict.connection_id = connection.id
        and conflict.entity_type = change.entity_type
        and conflict.external_id = change.external_id
        and conflict.contact_id = change.from_contact_id
      where change.organisation_id = organisation
        and change.operation_id = operation
        and change.provider = connection.provider
        and change.external_id is not null
        and change.from_contact_id <> change.to_contact_id
    ) as moved
    where failure.record_id = merge.to_contact_id::text
      and (failure.organisation_id = organisation) is true
      and failure.direction = 'outbound'
      and failure.dismissed_at is null
      and %1$I.crm_sync_failure_is_undecided(failure.direction, failure.error, failure.gave_up_at)
      and moved.is_returned is not null
    order by
      failure.connection_id,
      failure.entity_type
  loop
    continue when step.stays and not step.is_returned;
    insert into %1$I.crm_sync_failures as failure (
      organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at,
      last_failed_at, gave_up_at
    )
    values (
      organisation, step.connection_id, 'outbound', step.entity_type, merge.from_contact_id::text, step.attempts,
      step.error, step.first_failed_at, step.last_failed_at, step.gave_up_at
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
    if step.is_returned and not step.stays then
      delete from %1$I.crm_sync_failures as failure
      where failure.organisation_id = organisation
        and failure.id = step.id;
    end if;
  end loop;
  update %1$I.crm_sync_conflicts as conflict
  set contact_id = change.to_contact_id
  from %1$I.contact_external_id_changes as change
  inner join %1$I.crm_connections as connection
    on connection.organisation_id = change.organisation_id
    and connection.provider = change.provider
  where change.organisation_id = organisation
    and change.operation_id = operation
    and change.external_id is not null
    and change.from_contact_id <> change.to_contact_id
    and conflict.organisation_id = change.organisation_id
    and conflict.connection_id = connection.id
    and conflict.entity_type = change.entity_type
    and conflict.external_id = change.external_id
    and conflict.contact_id = change.from_contact_id;
$present$, current_schema()),
  $wanted$  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);
$wanted$
);

select crm_edit_function(
  'crm_merge_contacts(uuid, uuid, uuid, uuid, text, text)'::regprocedure,
  format($present$  -- What a person has still to decide is handed on, unless the other contact waits for a decision already, which is then
  -- about all its records. By the record: `is true` keeps the planner from reading all of a connection's failures.
  for step in
    select
      failure.id,
      failure.connection_id,
      failure.entity_type
    from %1$I.crm_sync_failures as failure
    where failure.record_id = from_contact_id::text
      and (failure.organisation_id = organisation) is true
      and failure.direction = 'outbound'
      and failure.dismissed_at is null
      and %1$I.crm_sync_failure_is_undecided(failure.direction, failure.error, failure.gave_up_at)
    order by
      failure.connection_id,
      failure.entity_type
  loop
    continue when exists (
      select
      from %1$I.crm_sync_failures as other
      where other.record_id = into_contact_id::text
        and (other.organisation_id = organisation) is true
        and (other.connection_id = step.connection_id) is true
        and other.direction = 'outbound'
        and other.dismissed_at is null
        and %1$I.crm_sync_failure_is_undecided(other.direction, other.error, other.gave_up_at)
    );
    delete from %1$I.crm_sync_failures as replaced
    where replaced.organisation_id = organisation
      and replaced.connection_id = step.connection_id
      and replaced.direction = 'outbound'
      and replaced.record_id = into_contact_id::text
      and replaced.entity_type = step.entity_type;
    update %1$I.crm_sync_failures as failure
    set record_id = into_contact_id::text
    where failure.organisation_id = organisation
      and failure.id = step.id;
  end loop;
  update %1$I.crm_sync_conflicts as conflict
  set contact_id = change.to_contact_id
  from %1$I.contact_external_id_changes as change
  inner join %1$I.crm_connections as connection
    on connection.organisation_id = change.organisation_id
    and connection.provider = change.provider
  where change.organisation_id = organisation
    and change.operation_id = operation
    and change.external_id is not null
    and change.from_contact_id <> change.to_contact_id
    and conflict.organisation_id = change.organisation_id
    and conflict.connection_id = connection.id
    and conflict.entity_type = change.entity_type
    and conflict.external_id = change.external_id
    and conflict.contact_id = change.from_contact_id;

  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$present$, current_schema()),
  $wanted$  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
$wanted$
);

comment on function crm_merge_contacts(uuid, uuid, uuid, uuid, text, text) is
  'Merges a contact into another: each of its external ids means the other contact afterwards. Returns one row for each: moved (it is the primary id there), became_alias, alias_moved or archived_moved (an id of an account that the organisation is not connected to at present); or one row wrong_tenant, and nothing has changed. became_alias is also returned for the primary id of the remaining contact if the CRM has deleted that record and not the other. Deletes the outbound changes and failures of the contact that is merged away; the host deletes the contact itself. Takes the locks of crm_lock_external_ids for all CRMs, then of crm_lock_contacts: call it before touching either contact. operation_id names the merge for crm_undo_contact_merge; changed_by is the database user if null. Fails with 0A000 unless at READ COMMITTED.';
comment on function crm_undo_contact_merge(uuid, uuid, uuid, text, text) is
  'Undoes a merge of contacts: each external id that it has moved means the contact again that it meant before. All or none. Returns no row if there was no such merge; otherwise a row without a record: undone, or why not (undone_before, no_contact, held: one of the records stops it), and a row for each record: undone, or as crm_contact_merge_records says; then stays for each external id that was linked to the remaining contact since. Takes the locks of crm_lock_external_ids for all CRMs, then of crm_lock_contacts. changed_by is the database user if null. Fails with 0A000 unless at READ COMMITTED.';
