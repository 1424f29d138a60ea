-- Up Migration
--
-- Purpose: undoes a merge of contacts, as a whole or not at all.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the function; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- The function names its tables with the schema, because search_path must not decide which tables it uses.
select crm_run_in_schema($create$
create function %1$I.crm_undo_contact_merge(
  organisation_id uuid,
  merge_id uuid,
  operation_id uuid,
  changed_by text,
  reason text
)
returns table (provider text, entity_type text, external_id text, outcome text)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  operation constant uuid := operation_id;
  author constant text := coalesce(changed_by, session_user);
  why constant text := reason;
  merge %1$I.contact_external_id_changes;
  step record;
begin
  perform %1$I.crm_require_read_committed('a merge cannot be undone');

  perform %1$I.crm_check_organisation(organisation);
  perform %1$I.crm_lock_external_ids(organisation, array['agentos', 'alto', 'custom', 'loop', 'reapit', 'street']);
  select change.*
  into merge
  from %1$I.contact_external_id_changes as change
  where change.organisation_id = organisation
    and change.operation_id = merge_id
    and change.kind = 'contacts_merged'
    and change.external_id is null;
  if merge.id is null then
    return;
  end if;
  perform %1$I.crm_lock_contacts(organisation, array[merge.from_contact_id, merge.to_contact_id]);
  perform %1$I.crm_lock_external_records(
    organisation,
    array_agg(record.provider),
    array_agg(record.entity_type),
    array_agg(record.external_id)
  )
  from %1$I.contact_external_records as record
  where (record.organisation_id = organisation) is true
    and record.contact_id in (merge.from_contact_id, merge.to_contact_id);

  outcome := case
    when merge.undone_by is not null then 'undone_before'
    when not exists (
      select
      from %2$s as contacts
      where contacts.organisation_id = organisation
        and contacts.id = merge.from_contact_id
    )
      then 'no_contact'
    when exists (
      select
      from %1$I.crm_contact_merge_records(organisation, merge_id) as merged
      where merged.outcome <> 'held'
    )
      then 'held'
    else 'undone'
  end;
  return next;
  if outcome <> 'undone' then
    return query
    select
      merged.provider,
      merged.entity_type,
      merged.external_id,
      merged.outcome
    from %1$I.crm_contact_merge_records(organisation, merge_id) as merged;
    return;
  end if;

  for step in
    select merged.*
    from %1$I.crm_contact_merge_records(organisation, merge_id) as merged
    -- Primary ids first, which give their place back.
    order by merged.is_primary desc, merged.provider, merged.entity_type, merged.external_id
  loop
    if step.is_archived then
      update %1$I.contact_external_id_archive as archive
      set
        contact_id = step.from_contact_id,
        is_primary = step.was_primary
      where archive.organisation_id = organisation
        and archive.connection_id = step.connection_id
        and archive.entity_type = step.entity_type
        and archive.external_id = step.external_id;
    else
      perform %1$I.crm_place_external_id(
        organisation, step.provider, step.entity_type, step.external_id, step.from_contact_id, step.was_primary
      );
    end if;
    insert into %1$I.contact_external_id_changes (
      organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id,
      to_contact_id, was_primary, is_primary, linked_at, changed_by, reason
    )
    values (
      organisation, operation, 'undone', step.provider, step.entity_type, step.external_id, step.connection_id,
      step.to_contact_id, step.from_contact_id, step.is_primary, step.was_primary, step.first_seen_at, author, why
    );
    provider := step.provider;
    entity_type := step.entity_type;
    external_id := step.external_id;
    outcome := 'undone';
    return next;
  end loop;

  insert into %1$I.contact_external_id_changes (
    organisation_id, operation_id, kind, from_contact_id, to_contact_id, changed_by, reason
  )
  values (organisation, operation, 'undone', merge.to_contact_id, merge.from_contact_id, author, why);

  -- Ids that were linked since stay; where only aliases are left, one becomes the primary id.
  insert into %1$I.contact_external_id_changes (
    organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id,
    to_contact_id, was_primary, is_primary, linked_at, changed_by, reason
  )
  select
    organisation, operation, 'promoted', promoted.provider, promoted.entity_type, promoted.external_id,
    connection.id, promoted.contact_id, promoted.contact_id, false, true, promoted.first_seen_at, author, why
  from (
    select
      array_agg(change.to_contact_id) as contact_ids,
      array_agg(change.provider) as providers,
      array_agg(change.entity_type) as entity_types
    from %1$I.contact_external_id_changes as change
    where change.organisation_id = organisation
      and change.operation_id = merge_id
      and change.is_primary
  ) as left_behind
  cross join lateral %1$I.crm_promote_external_ids(
    organisation, left_behind.contact_ids, left_behind.providers, left_behind.entity_types
  ) as promoted
  left join %1$I.crm_connections as connection
    on connection.organisation_id = organisation
    and connection.provider = promoted.provider
    and connection.status <> 'disconnected';

  update %1$I.contact_external_id_changes as change
  set undone_by = operation
  where change.organisation_id = organisation
    and change.operation_id = merge_id;

  return query
  select
    record.provider,
    record.entity_type,
    record.external_id,
    'stays'
  from %1$I.contact_external_records as record
  where (record.organisation_id = organisation) is true
    and record.contact_id = merge.to_contact_id
    and record.first_seen_at >= merge.changed_at;
end
$body$
$create$);

comment on function crm_undo_contact_merge(uuid, uuid, uuid, text, text) is
  'Undoes a merge of contacts: each external id that it has moved means the contact again that it meant before. All or none. Returns no row if there was no such merge; otherwise a row without a record: undone, or why not (undone_before, no_contact, held: one of the records stops it), and a row for each record: undone, or as crm_contact_merge_records says; then stays for each external id that was linked to the remaining contact since. Takes the locks of crm_lock_external_ids for all CRMs, then of crm_lock_contacts. changed_by is the database user if null. Fails with 0A000 unless at READ COMMITTED.';

revoke execute on function crm_undo_contact_merge(uuid, uuid, uuid, text, text) from public;

grant execute on function crm_undo_contact_merge(uuid, uuid, uuid, text, text) to crm_app, crm_worker;

select crm_give_to_owner(array['function crm_undo_contact_merge(uuid, uuid, uuid, text, text)']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_undo_contact_merge(uuid, uuid, uuid, text, text);
