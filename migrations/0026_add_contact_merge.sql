-- Up Migration
--
-- Purpose: makes two contacts one: the external ids of one mean the other afterwards.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the function; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- The function names its tables with the schema, because search_path must not decide which tables it uses.
select crm_run_in_schema($create$
create function %1$I.crm_merge_contacts(
  organisation_id uuid,
  from_contact_id uuid,
  into_contact_id uuid,
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
  sorting constant text := current_setting('enable_sort');
  step record;
  is_missed boolean;
begin
  perform %1$I.crm_require_read_committed('contacts cannot be merged');

  perform %1$I.crm_check_organisation(organisation);
  perform %1$I.crm_lock_external_ids(organisation, array['agentos', 'alto', 'custom', 'loop', 'reapit', 'street']);
  perform %1$I.crm_lock_contacts(organisation, array[from_contact_id, into_contact_id]);
  if 2 <> (
    select count(*)
    from %2$s as contacts
    where contacts.organisation_id = organisation
      and contacts.id in (from_contact_id, into_contact_id)
  ) then
    outcome := 'wrong_tenant';
    return next;
    return;
  end if;

  -- "is true" keeps the planner from reading all of an organisation's ids where statistics are missing.
  perform %1$I.crm_lock_external_records(
    organisation,
    array_agg(record.provider),
    array_agg(record.entity_type),
    array_agg(record.external_id)
  )
  from %1$I.contact_external_records as record
  where (record.organisation_id = organisation) is true
    and record.contact_id in (from_contact_id, into_contact_id)
    and (record.is_primary or record.contact_id = from_contact_id);

  insert into %1$I.contact_external_id_changes (
    organisation_id, operation_id, kind, from_contact_id, to_contact_id, changed_by, reason
  )
  values (organisation, operation, 'contacts_merged', from_contact_id, into_contact_id, author, why);

  for step in
    select
      record.provider,
      record.entity_type,
      record.external_id,
      record.contact_id,
      record.is_primary as was_primary,
      -- A primary id keeps its place unless the other contact has one, which may only be worse if it is deleted.
      record.is_primary
        and record.contact_id = from_contact_id
        and (other.contact_id is null or (other.remote_state = 'deleted' and record.remote_state <> 'deleted'))
        as is_primary,
      record.first_seen_at,
      connection.id as connection_id
    from %1$I.contact_external_records as record
    left join %1$I.contact_external_ids as other
      on record.is_primary
      and other.provider = record.provider
      and other.contact_id in (from_contact_id, into_contact_id)
      and other.contact_id <> record.contact_id
    left join %1$I.crm_connections as connection
      on connection.organisation_id = organisation
      and connection.provider = record.provider
      and connection.status <> 'disconnected'
    where (record.organisation_id = organisation) is true
      and record.contact_id in (from_contact_id, into_contact_id)
      and (
        record.contact_id = from_contact_id
        or (
          record.is_primary
          and record.remote_state = 'deleted'
          and other.remote_state <> 'deleted'
        )
      )
    -- Those that become aliases first: a contact has one primary id at a CRM.
    order by is_primary, record.provider, record.entity_type, record.external_id
  loop
    perform %1$I.crm_place_external_id(
      organisation, step.provider, step.entity_type, step.external_id, into_contact_id, step.is_primary
    );
    insert into %1$I.contact_external_id_changes (
      organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id,
      to_contact_id, was_primary, is_primary, linked_at, changed_by, reason
    )
    values (
      organisation, operation, 'contacts_merged', step.provider, step.entity_type, step.external_id,
      step.connection_id, step.contact_id, into_contact_id, step.was_primary, step.is_primary,
      step.first_seen_at, author, why
    );
    provider := step.provider;
    entity_type := step.entity_type;
    external_id := step.external_id;
    outcome := case
      when step.is_primary then 'moved'
      when step.was_primary then 'became_alias'
      else 'alias_moved'
    end;
    return next;
  end loop;

  -- The ids of accounts that the organisation is not connected to at present.
  for step in
    select
      connection.provider,
      archive.entity_type,
      archive.external_id,
      archive.connection_id,
      archive.is_primary as was_primary,
      archive.is_primary and other.contact_id is null as is_primary,
      archive.first_seen_at
    from %1$I.contact_external_id_archive as archive
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = archive.organisation_id
      and connection.id = archive.connection_id
    left join %1$I.contact_external_id_archive as other
      on archive.is_primary
      and other.organisation_id = organisation
      and other.contact_id = into_contact_id
      and other.connection_id = archive.connection_id
      and other.is_primary
    where archive.organisation_id = organisation
      and archive.contact_id = from_contact_id
    order by archive.connection_id, archive.entity_type, archive.external_id
    for update of archive
  loop
    update %1$I.contact_external_id_archive as archive
    set
      contact_id = into_contact_id,
      is_primary = step.is_primary
    where archive.organisation_id = organisation
      and archive.connection_id = step.connection_id
      and archive.entity_type = step.entity_type
      and archive.external_id = step.external_id;
    insert into %1$I.contact_external_id_changes (
      organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id,
      to_contact_id, was_primary, is_primary, linked_at, changed_by, reason
    )
    values (
      organisation, operation, 'contacts_merged', step.provider, step.entity_type, step.external_id,
      step.connection_id, from_contact_id, into_contact_id, step.was_primary, step.is_primary,
      step.first_seen_at, author, why
    );
    provider := step.provider;
    entity_type := step.entity_type;
    external_id := step.external_id;
    outcome := 'archived_moved';
    return next;
  end loop;

  -- What is merged away is not pushed: the CRM would get a second record. In key order, as changes are recorded.
  perform
  from %1$I.crm_outbound_changes as change
  where change.organisation_id = organisation
    and change.contact_id = from_contact_id
  order by change.connection_id
  for update;
  delete from %1$I.crm_outbound_changes as change
  where change.organisation_id = organisation
    and change.contact_id = from_contact_id;
  -- Without sorting, the planner can only read the key in its order, and never all failures of a connection.
  perform set_config('enable_sort', 'off', true);
  -- More than once only if a batch updates one of them meanwhile.
  for attempt in 1..10 loop
    is_missed := false;
    for step in
      select
        connection.id as connection_id,
        failure.entity_type,
        failure.kind,
        failure.last_failed_at,
        failure.id
      from %1$I.crm_connections as connection
      cross join lateral (
        select
          later.record_id,
          later.entity_type,
          later.kind,
          later.last_failed_at,
          later.id
        from %1$I.crm_sync_failures as later
        where later.organisation_id = organisation
          and later.connection_id = connection.id
          and later.direction = 'outbound'
          and later.record_id >= from_contact_id::text
        order by later.record_id, later.entity_type
        limit 20
      ) as failure
      where connection.organisation_id = organisation
        and failure.record_id = from_contact_id::text
      order by connection.id, failure.entity_type
    loop
      delete from %1$I.crm_sync_failures as failure
      where failure.organisation_id = organisation
        and failure.connection_id = step.connection_id
        and failure.direction = 'outbound'
        and failure.record_id = from_contact_id::text
        and failure.entity_type = step.entity_type
        -- All columns of crm_sync_failures_kind_idx too: whichever index the planner takes, it finds one row.
        and failure.kind = step.kind
        and failure.last_failed_at = step.last_failed_at
        and failure.id = step.id;
      is_missed := is_missed or not found;
    end loop;
    exit when not is_missed;
  end loop;
  perform set_config('enable_sort', sorting, true);
end
$body$
$create$);

comment on function crm_merge_contacts(uuid, uuid, uuid, uuid, text, text) is
  'Merges a contact into another: each of its external ids means the other contact afterwards. Returns one row for each: moved (it is the primary id there), became_alias, alias_moved or archived_moved (an id of an account that the organisation is not connected to at present); or one row wrong_tenant, and nothing has changed. became_alias is also returned for the primary id of the remaining contact if the CRM has deleted that record and not the other. Deletes the outbound changes and failures of the contact that is merged away; the host deletes the contact itself. Takes the locks of crm_lock_external_ids for all CRMs, then of crm_lock_contacts: call it before touching either contact. operation_id names the merge for crm_undo_contact_merge; changed_by is the database user if null. Fails with 0A000 unless at READ COMMITTED.';

revoke execute
on function
  crm_merge_contacts(uuid, uuid, uuid, uuid, text, text)
from public;

grant execute
on function
  crm_merge_contacts(uuid, uuid, uuid, uuid, text, text)
to crm_app, crm_worker;

select crm_give_to_owner(array['function crm_merge_contacts(uuid, uuid, uuid, uuid, text, text)']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_merge_contacts(uuid, uuid, uuid, uuid, text, text);
