-- Up Migration
--
-- Purpose: undoes a merge of contacts, as a whole or not at all.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
  if (
    select nspname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = 'contact_external_ids'::regclass::oid
  ) is distinct from current_schema() then
    raise exception using
      errcode = 'CRM01',
      message = 'search_path does not begin with the schema of contact_external_ids, so what is new would go elsewhere',
      hint = 'Let search_path begin with the schema of contact_external_ids, as it did for the earlier migrations.';
  end if;
end
$$;

-- The functions name their tables with the schema, because search_path must not decide which tables they use.
do $migration$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  hosts_contacts constant regclass := (
    select confrelid::regclass
    from pg_catalog.pg_constraint
    where conrelid = 'contact_external_ids'::regclass::oid
      and conname = 'contact_external_ids_contact_id_fkey'
  );
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  execute format($create$
create function %1$I.crm_contact_merge_records(organisation_id uuid, operation_id uuid)
returns table (
  provider text,
  entity_type text,
  external_id text,
  connection_id uuid,
  is_archived boolean,
  from_contact_id uuid,
  to_contact_id uuid,
  was_primary boolean,
  is_primary boolean,
  first_seen_at timestamptz,
  outcome text
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  operation constant uuid := operation_id;
begin
  return query
  select
    change.provider,
    change.entity_type,
    change.external_id,
    coalesce(archive.connection_id, change.connection_id),
    archive.external_id is not null,
    change.from_contact_id,
    change.to_contact_id,
    change.was_primary,
    change.is_primary,
    present.first_seen_at,
    case
      when change.undone_by is not null then 'undone_before'
      when present.contact_id is distinct from change.to_contact_id
        or present.is_primary is distinct from change.is_primary
        or (change.was_primary and present.remote_state = 'merged')
        then 'changed_since'
      when contacts.id is null then 'no_contact'
      when change.was_primary and archive.external_id is null and exists (
        select
        from %1$I.contact_external_ids as other
        where other.provider = change.provider
          and other.contact_id = change.from_contact_id
          -- It gives its place back.
          and not exists (
            select
            from %1$I.contact_external_id_changes as moved
            where moved.organisation_id = organisation
              and moved.operation_id = operation
              and moved.provider = other.provider
              and moved.entity_type = other.entity_type
              and moved.external_id = other.external_id
          )
      )
        then 'contact_taken'
      when change.was_primary and exists (
        select
        from %1$I.contact_external_id_archive as other
        where archive.external_id is not null
          and other.organisation_id = organisation
          and other.contact_id = change.from_contact_id
          and other.connection_id = archive.connection_id
          and other.is_primary
      )
        then 'contact_taken'
      else 'held'
    end
  from %1$I.contact_external_id_changes as change
  -- The same id may stand for records of several accounts. Wherever an id is moved, since when it is linked goes
  -- with it, and tells them apart.
  left join lateral (
    select moved.*
    from %1$I.crm_connections as connection
    inner join %1$I.contact_external_id_archive as moved
      on moved.organisation_id = organisation
      and moved.connection_id = connection.id
      and moved.entity_type = change.entity_type
      and moved.external_id = change.external_id
    where connection.organisation_id = organisation
      and connection.provider = change.provider
      and moved.first_seen_at = change.linked_at
    limit 1
  ) as archive on true
  left join %1$I.contact_external_records as record
    on record.organisation_id = organisation
    and record.provider = change.provider
    and record.entity_type = change.entity_type
    and record.external_id = change.external_id
    and record.first_seen_at = change.linked_at
  cross join lateral (
    select
      case when archive.external_id is null then record.contact_id else archive.contact_id end as contact_id,
      case when archive.external_id is null then record.is_primary else archive.is_primary end as is_primary,
      case when archive.external_id is null then record.remote_state else archive.remote_state end as remote_state,
      case when archive.external_id is null then record.first_seen_at else archive.first_seen_at end as first_seen_at
  ) as present
  left join %2$s as contacts
    on contacts.organisation_id = organisation
    and contacts.id = change.from_contact_id
  where change.organisation_id = organisation
    and change.operation_id = operation
    and change.kind = 'contacts_merged'
    and change.external_id is not null;
end
$body$
  $create$, our_schema, hosts_contacts);

  execute format($create$
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
  if current_setting('transaction_isolation') = 'repeatable read' then
    raise exception using
      errcode = 'feature_not_supported',
      message = 'a merge cannot be undone at REPEATABLE READ: what others have linked would not be seen',
      hint = 'Use READ COMMITTED.';
  end if;

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
  $create$, our_schema, hosts_contacts);

  perform set_config('search_path', search_path, true);
end
$migration$;

comment on function crm_contact_merge_records(uuid, uuid) is
  'Lists the external ids that a merge of contacts has moved, and whether each can be moved back: held, or the reason why not: undone_before, changed_since (it was moved, unlinked, linked again or merged meanwhile), no_contact (the contact that was merged away does not exist), contact_taken (that contact has another primary id at the CRM by now).';
comment on function crm_undo_contact_merge(uuid, uuid, uuid, text, text) is
  'Undoes a merge of contacts: each external id that it has moved means the contact again that it meant before. All or none. Returns no row if there was no such merge; otherwise a row without a record: undone, or why not (undone_before, no_contact, held: one of the records stops it), and a row for each record: undone, or as crm_contact_merge_records says; then stays for each external id that was linked to the remaining contact since. Takes the locks of crm_lock_external_ids for all CRMs, then of crm_lock_contacts. changed_by is the database user if null. Fails with 0A000 at REPEATABLE READ.';

revoke execute
on function
  crm_contact_merge_records(uuid, uuid),
  crm_undo_contact_merge(uuid, uuid, uuid, text, text)
from public;

grant execute
on function
  crm_contact_merge_records(uuid, uuid),
  crm_undo_contact_merge(uuid, uuid, uuid, text, text)
to crm_app, crm_worker;

-- All of the schema has one owner.
do $$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  connections constant regclass := to_regclass('crm_connections'::text);
  new_function text;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  foreach new_function in array array[
    'crm_contact_merge_records(uuid, uuid)',
    'crm_undo_contact_merge(uuid, uuid, uuid, text, text)'
  ] loop
    execute format(
      'alter function %I.%s owner to %s',
      our_schema, new_function, (select relowner::regrole from pg_class where oid = connections)
    );
  end loop;

  perform set_config('search_path', search_path, true);
end
$$;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_undo_contact_merge(uuid, uuid, uuid, text, text);

drop function crm_contact_merge_records(uuid, uuid);
