-- Up Migration
--
-- Purpose: moves an organisation's ids at a CRM into the archive, and those of an account out of it again.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the functions; loses no data. What is in the archive stays there.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_archive_external_ids(
  organisation_id uuid,
  provider text,
  of_known_account uuid,
  of_unknown_account uuid,
  unknown_since timestamptz,
  own_ids_since timestamptz,
  operation_id uuid
)
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  crm constant text := provider;
  operation constant uuid := operation_id;
  archived integer;
begin
  -- That the host deleted the contact of an id belongs to the account as well. If the id was linked again since,
  -- the id itself is archived.
  with latest as (
    select distinct on (change.entity_type, change.external_id)
      change.kind,
      change.entity_type,
      change.external_id,
      change.was_primary,
      change.linked_at,
      change.changed_at
    from %1$I.contact_external_id_changes as change
    where change.organisation_id = organisation
      and change.provider = crm
      and change.external_id is not null
    order by change.entity_type, change.external_id, change.id desc
  ),
  deleted as (
    select latest.*, record.contact_id, place.connection_id
    from latest
    left join lateral (
      select record.contact_id, record.first_seen_at
      from %1$I.contact_external_records as record
      where record.organisation_id = organisation
        and record.provider = crm
        and record.entity_type = latest.entity_type
        and record.external_id = latest.external_id
      limit 1
    ) as record on true
    cross join lateral (
      select case
        when coalesce(record.first_seen_at, latest.linked_at) >= unknown_since then of_unknown_account
        else of_known_account
      end as connection_id
    ) as place
    where latest.kind = 'contact_deleted'
      and coalesce(record.first_seen_at, latest.linked_at) < own_ids_since
      and place.connection_id is not null
  ),
  archived_deletion as (
    insert into %1$I.contact_external_id_archive (
      organisation_id, connection_id, entity_type, external_id, is_primary, first_seen_at, last_seen_at, remote_state
    )
    select
      organisation, deleted.connection_id, deleted.entity_type, deleted.external_id, deleted.was_primary,
      deleted.linked_at, greatest(deleted.linked_at, deleted.changed_at), 'active'
    from deleted
    where deleted.contact_id is null
  )
  insert into %1$I.contact_external_id_changes (
    organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id
  )
  select
    organisation, operation, 'archived', crm, deleted.entity_type, deleted.external_id, deleted.connection_id
  from deleted;

  -- Inserts before it deletes: whoever deletes a contact has locked it, and waits for what is deleted here.
  insert into %1$I.contact_external_id_archive (
    organisation_id, connection_id, entity_type, external_id, contact_id, is_primary, first_seen_at,
    last_seen_at, remote_state, remote_modified_at, merged_into_entity_type, merged_into_external_id
  )
  select
    organisation, place.connection_id, record.entity_type, record.external_id, record.contact_id,
    record.is_primary, record.first_seen_at, record.last_seen_at, record.remote_state, record.remote_modified_at,
    record.merged_into_entity_type, record.merged_into_external_id
  from %1$I.contact_external_records as record
  cross join lateral (
    select case
      when record.first_seen_at >= unknown_since then of_unknown_account
      else of_known_account
    end as connection_id
  ) as place
  where record.organisation_id = organisation
    and record.provider = crm
    and record.first_seen_at < own_ids_since
    and place.connection_id is not null
  order by record.contact_id;
  get diagnostics archived = row_count;

  delete from %1$I.contact_external_id_aliases as alias
  where alias.organisation_id = organisation
    and alias.provider = crm
    and alias.first_seen_at < own_ids_since
    and case when alias.first_seen_at >= unknown_since then of_unknown_account else of_known_account end is not null;

  delete from %1$I.contact_external_ids as mapping
  where mapping.organisation_id = organisation
    and mapping.provider = crm
    and mapping.first_seen_at < own_ids_since
    and case when mapping.first_seen_at >= unknown_since then of_unknown_account else of_known_account end is not null;

  return archived;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_restore_external_ids(organisation_id uuid, connection_id uuid, operation_id uuid)
returns integer
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  operation constant uuid := operation_id;
  present record;
  -- An earlier connection to the same account, under which its ids were archived.
  home uuid;
  moved integer;
  restored integer := 0;
begin
  select
    connection.id,
    connection.provider,
    connection.account
  into present
  from %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and connection.id = connection_id;

  for home in
    select connection.id
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.provider = present.provider
      and connection.account = present.account
      and connection.id <> present.id
    order by connection.connected_at desc
  loop
    -- An id that means a contact already stays as it is, and the archived one stays in the archive.
    insert into %1$I.contact_external_ids (
      organisation_id, provider, entity_type, external_id, contact_id, first_seen_at, last_seen_at,
      remote_state, remote_modified_at
    )
    select
      organisation, present.provider, archive.entity_type, archive.external_id, archive.contact_id,
      archive.first_seen_at, archive.last_seen_at, archive.remote_state, archive.remote_modified_at
    from %1$I.contact_external_id_archive as archive
    where archive.organisation_id = organisation
      and archive.connection_id = home
      and archive.is_primary
      and archive.contact_id is not null
    order by archive.contact_id
    on conflict do nothing;
    get diagnostics moved = row_count;
    restored := restored + moved;

    insert into %1$I.contact_external_id_aliases (
      organisation_id, provider, entity_type, external_id, contact_id, first_seen_at, last_seen_at,
      remote_state, remote_modified_at, merged_into_entity_type, merged_into_external_id
    )
    select
      organisation, present.provider, archive.entity_type, archive.external_id, archive.contact_id,
      archive.first_seen_at, archive.last_seen_at, archive.remote_state, archive.remote_modified_at,
      archive.merged_into_entity_type, archive.merged_into_external_id
    from %1$I.contact_external_id_archive as archive
    where archive.organisation_id = organisation
      and archive.connection_id = home
      and archive.contact_id is not null
    order by archive.contact_id
    on conflict do nothing;
    get diagnostics moved = row_count;
    restored := restored + moved;

    with deleted as (
      delete from %1$I.contact_external_id_archive as archive
      where archive.organisation_id = organisation
        and archive.connection_id = home
        and archive.contact_id is null
      returning
        archive.entity_type,
        archive.external_id,
        archive.is_primary,
        archive.first_seen_at
    )
    insert into %1$I.contact_external_id_changes (
      organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, was_primary, linked_at
    )
    select
      organisation, operation, 'contact_deleted', present.provider, deleted.entity_type, deleted.external_id,
      present.id, deleted.is_primary, deleted.first_seen_at
    from deleted
    where (
      select record.contact_id
      from %1$I.contact_external_records as record
      where record.organisation_id = organisation
        and record.provider = present.provider
        and record.entity_type = deleted.entity_type
        and record.external_id = deleted.external_id
      limit 1
    ) is null;

    -- Not a join, for which the planner may read all ids of the CRM for each archived one.
    delete from %1$I.contact_external_id_archive as archive
    where archive.organisation_id = organisation
      and archive.connection_id = home
      and archive.contact_id = (
        select record.contact_id
        from %1$I.contact_external_records as record
        where record.organisation_id = organisation
          and record.provider = present.provider
          and record.entity_type = archive.entity_type
          and record.external_id = archive.external_id
        limit 1
      );
  end loop;

  -- An alias whose primary id means another contact by now takes its place.
  insert into %1$I.contact_external_ids (
    organisation_id, provider, entity_type, external_id, contact_id, last_seen_at
  )
  select distinct on (alias.contact_id)
    organisation, present.provider, alias.entity_type, alias.external_id, alias.contact_id, alias.last_seen_at
  from %1$I.contact_external_id_aliases as alias
  where alias.organisation_id = organisation
    and alias.provider = present.provider
    and alias.remote_state <> 'merged'
    and (
      select mapping.external_id
      from %1$I.contact_external_ids as mapping
      where mapping.contact_id = alias.contact_id
        and mapping.provider = present.provider
      limit 1
    ) is null
  order by alias.contact_id, alias.remote_state = 'deleted', alias.first_seen_at;

  return restored;
end
$body$
$create$);

comment on function crm_archive_external_ids(uuid, text, uuid, uuid, timestamptz, timestamptz, uuid) is
  'For crm_switch_account: moves the ids of an organisation at a CRM to contact_external_id_archive, and returns how many. Ids that were linked since unknown_since are of an unknown account and go under the connection of_unknown_account, earlier ones under of_known_account; where that is null, they stay, and so do ids linked since own_ids_since. Their versions and contents are forgotten: contacts may change before they come back, without being pushed, so the next read must not be taken for unchanged. That the host deleted the contact of an id is archived as well.';
comment on function crm_restore_external_ids(uuid, uuid, uuid) is
  'For crm_switch_account: moves the archived ids of the account of a connection back, and returns how many. An id that means a contact by now stays as it is, and the archived one stays in the archive.';

revoke execute
on function
  crm_archive_external_ids(uuid, text, uuid, uuid, timestamptz, timestamptz, uuid),
  crm_restore_external_ids(uuid, uuid, uuid)
from public;

grant execute
on function
  crm_archive_external_ids(uuid, text, uuid, uuid, timestamptz, timestamptz, uuid),
  crm_restore_external_ids(uuid, uuid, uuid)
to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_archive_external_ids(uuid, text, uuid, uuid, timestamptz, timestamptz, uuid)',
  'function crm_restore_external_ids(uuid, uuid, uuid)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_restore_external_ids(uuid, uuid, uuid);

drop function crm_archive_external_ids(uuid, text, uuid, uuid, timestamptz, timestamptz, uuid);
