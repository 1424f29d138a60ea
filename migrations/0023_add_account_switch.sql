-- Up Migration
--
-- Purpose: moves an organisation's ids between accounts of one CRM, so that no id of one account is taken for an id
--          of another.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the function; loses no data. What is in the archive stays there.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
  if (
    select nspname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = 'crm_connections'::regclass::oid
  ) is distinct from current_schema() then
    raise exception using
      errcode = 'CRM01',
      message = 'search_path does not begin with the schema of crm_connections, so what is new would go elsewhere',
      hint = 'Let search_path begin with the schema of crm_connections, as it did for the earlier migrations.';
  end if;
end
$$;

create function crm_switch_account(
  organisation_id uuid,
  connection_id uuid,
  ids_of_unknown_account text default null,
  own_ids_since timestamptz default null,
  connections_table regclass default 'crm_connections'
)
returns table (archived integer, restored integer)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  operation constant uuid := gen_random_uuid();
  own_since constant timestamptz := coalesce(own_ids_since, 'infinity');
  our_schema constant name := (
    select nspname
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = connections_table
  );
  present record;
  -- The last other connection whose account is known, and those since then whose account is not.
  named record;
  unnamed record;
  -- The connections under which their ids are archived; null if the ids stay.
  named_home uuid;
  unnamed_home uuid;
  home uuid;
  moved integer;
begin
  archived := 0;
  restored := 0;
  -- Until this function ends. Nobody else may create objects in the schema.
  perform set_config('search_path', format('pg_catalog, %I, pg_temp', our_schema), true);

  select
    connection.id,
    connection.provider,
    connection.account
  into present
  from crm_connections as connection
  where connection.organisation_id = organisation
    and connection.id = connection_id;

  select
    connection.id,
    connection.account,
    connection.connected_at
  into named
  from crm_connections as connection
  where connection.organisation_id = organisation
    and connection.provider = present.provider
    and connection.id <> present.id
    and connection.account is not null
  order by connection.connected_at desc
  limit 1;

  select
    (array_agg(connection.id order by connection.connected_at desc))[1] as id,
    -- What was linked before the first connection of all was linked for it.
    case when named.id is null then '-infinity' else min(connection.connected_at) end as since
  into unnamed
  from crm_connections as connection
  where connection.organisation_id = organisation
    and connection.provider = present.provider
    and connection.id <> present.id
    and connection.account is null
    and (named.id is null or connection.connected_at > named.connected_at);

  if coalesce(named.id, unnamed.id) is null then
    return next;
    return;
  end if;
  if present.account is not null and current_setting('transaction_isolation') = 'repeatable read' then
    raise exception using
      errcode = 'feature_not_supported',
      message = 'accounts cannot be switched at REPEATABLE READ: what others have linked would not be seen',
      hint = 'Use READ COMMITTED.';
  end if;

  perform crm_lock_external_ids(organisation, array[present.provider]);

  if present.account is not null
    and ids_of_unknown_account is null
    and exists (
      select
      from contact_external_records as record
      where record.organisation_id = organisation
        and record.provider = present.provider
        and record.first_seen_at >= unnamed.since
        and record.first_seen_at < own_since
    )
  then
    raise exception using
      errcode = 'CRM06',
      message = format('the organisation has ids of records at %s, and it is not known to which account they belong', present.provider),
      hint = 'Say whether to keep them, as ids of the account that is being connected, or to archive them, as ids of another.';
  end if;

  named_home := case when named.account <> present.account then named.id end;
  unnamed_home := case when present.account is not null and ids_of_unknown_account = 'archive' then unnamed.id end;

  -- While no connection was live, contacts changed here and were not pushed: whatever stays must not be taken for
  -- unchanged when it is read again. What was read or pushed in this connection is known.
  if own_ids_since is null then
    update contact_external_ids as mapping
    set
      remote_version = null,
      content_hash = null,
      pushed_at = null
    where mapping.organisation_id = organisation
      and mapping.provider = present.provider
      and case when mapping.first_seen_at >= unnamed.since then unnamed_home else named_home end is null
      and num_nonnulls(mapping.remote_version, mapping.content_hash, mapping.pushed_at) > 0;

    update contact_external_id_aliases as alias
    set
      remote_version = null,
      content_hash = null,
      pushed_at = null
    where alias.organisation_id = organisation
      and alias.provider = present.provider
      and case when alias.first_seen_at >= unnamed.since then unnamed_home else named_home end is null
      and num_nonnulls(alias.remote_version, alias.content_hash, alias.pushed_at) > 0;
  end if;
  if present.account is null then
    return next;
    return;
  end if;

  for attempt in 1..10 loop
    begin
      restored := 0;
      perform crm_lock_contacts(organisation, array(
        select record.contact_id
        from contact_external_records as record
        where record.organisation_id = organisation
          and record.provider = present.provider
        union
        select archive.contact_id
        from contact_external_id_archive as archive
        inner join crm_connections as connection
          on connection.organisation_id = archive.organisation_id
          and connection.id = archive.connection_id
        where archive.organisation_id = organisation
          and connection.provider = present.provider
          and connection.account = present.account
      ));

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
        from contact_external_id_changes as change
        where change.organisation_id = organisation
          and change.provider = present.provider
          and change.external_id is not null
        order by change.entity_type, change.external_id, change.id desc
      ),
      deleted as (
        select latest.*, record.contact_id, place.connection_id
        from latest
        left join lateral (
          select record.contact_id, record.first_seen_at
          from contact_external_records as record
          where record.organisation_id = organisation
            and record.provider = present.provider
            and record.entity_type = latest.entity_type
            and record.external_id = latest.external_id
          limit 1
        ) as record on true
        cross join lateral (
          select case
            when coalesce(record.first_seen_at, latest.linked_at) >= unnamed.since then unnamed_home
            else named_home
          end as connection_id
        ) as place
        where latest.kind = 'contact_deleted'
          and coalesce(record.first_seen_at, latest.linked_at) < own_since
          and place.connection_id is not null
      ),
      archived_deletion as (
        insert into contact_external_id_archive (
          organisation_id, connection_id, entity_type, external_id, is_primary, first_seen_at, last_seen_at,
          remote_state
        )
        select
          organisation, deleted.connection_id, deleted.entity_type, deleted.external_id, deleted.was_primary,
          deleted.linked_at, deleted.changed_at, 'active'
        from deleted
        where deleted.contact_id is null
      )
      insert into contact_external_id_changes (
        organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id
      )
      select
        organisation, operation, 'archived', present.provider, deleted.entity_type, deleted.external_id,
        deleted.connection_id
      from deleted;

      -- Inserts before it deletes: whoever deletes a contact has locked it, and waits for what is deleted here.
      insert into contact_external_id_archive (
        organisation_id, connection_id, entity_type, external_id, contact_id, is_primary, first_seen_at,
        last_seen_at, remote_state, remote_version, remote_modified_at, merged_into_entity_type,
        merged_into_external_id, content_hash, pushed_at
      )
      select
        organisation, place.connection_id, record.entity_type, record.external_id, record.contact_id,
        record.is_primary, record.first_seen_at, record.last_seen_at, record.remote_state, record.remote_version,
        record.remote_modified_at, record.merged_into_entity_type, record.merged_into_external_id,
        record.content_hash, record.pushed_at
      from contact_external_records as record
      cross join lateral (
        select case when record.first_seen_at >= unnamed.since then unnamed_home else named_home end as connection_id
      ) as place
      where record.organisation_id = organisation
        and record.provider = present.provider
        and record.first_seen_at < own_since
        and place.connection_id is not null
      order by record.contact_id;
      get diagnostics archived = row_count;

      delete from contact_external_id_aliases as alias
      where alias.organisation_id = organisation
        and alias.provider = present.provider
        and alias.first_seen_at < own_since
        and case when alias.first_seen_at >= unnamed.since then unnamed_home else named_home end is not null;

      delete from contact_external_ids as mapping
      where mapping.organisation_id = organisation
        and mapping.provider = present.provider
        and mapping.first_seen_at < own_since
        and case when mapping.first_seen_at >= unnamed.since then unnamed_home else named_home end is not null;

      for home in
        select connection.id
        from crm_connections as connection
        where connection.organisation_id = organisation
          and connection.provider = present.provider
          and connection.account = present.account
          and connection.id <> present.id
        order by connection.connected_at desc
      loop
        -- An id that means a contact already stays as it is, and the archived one stays in the archive.
        -- Version and content are not restored, for the same reason as above.
        insert into contact_external_ids (
          organisation_id, provider, entity_type, external_id, contact_id, first_seen_at, last_seen_at,
          remote_state, remote_modified_at
        )
        select
          organisation, present.provider, archive.entity_type, archive.external_id, archive.contact_id,
          archive.first_seen_at, archive.last_seen_at, archive.remote_state, archive.remote_modified_at
        from contact_external_id_archive as archive
        where archive.organisation_id = organisation
          and archive.connection_id = home
          and archive.is_primary
          and archive.contact_id is not null
        order by archive.contact_id
        on conflict do nothing;
        get diagnostics moved = row_count;
        restored := restored + moved;

        insert into contact_external_id_aliases (
          organisation_id, provider, entity_type, external_id, contact_id, first_seen_at, last_seen_at,
          remote_state, remote_modified_at, merged_into_entity_type, merged_into_external_id
        )
        select
          organisation, present.provider, archive.entity_type, archive.external_id, archive.contact_id,
          archive.first_seen_at, archive.last_seen_at, archive.remote_state, archive.remote_modified_at,
          archive.merged_into_entity_type, archive.merged_into_external_id
        from contact_external_id_archive as archive
        where archive.organisation_id = organisation
          and archive.connection_id = home
          and archive.contact_id is not null
        order by archive.contact_id
        on conflict do nothing;
        get diagnostics moved = row_count;
        restored := restored + moved;

        with deleted as (
          delete from contact_external_id_archive as archive
          where archive.organisation_id = organisation
            and archive.connection_id = home
            and archive.contact_id is null
          returning
            archive.entity_type,
            archive.external_id,
            archive.is_primary,
            archive.first_seen_at
        )
        insert into contact_external_id_changes (
          organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, was_primary, linked_at
        )
        select
          organisation, operation, 'contact_deleted', present.provider, deleted.entity_type, deleted.external_id,
          present.id, deleted.is_primary, deleted.first_seen_at
        from deleted
        where (
          select record.contact_id
          from contact_external_records as record
          where record.organisation_id = organisation
            and record.provider = present.provider
            and record.entity_type = deleted.entity_type
            and record.external_id = deleted.external_id
          limit 1
        ) is null;

        -- Not a join, for which the planner may read all ids of the CRM for each archived one.
        delete from contact_external_id_archive as archive
        where archive.organisation_id = organisation
          and archive.connection_id = home
          and archive.contact_id = (
            select record.contact_id
            from contact_external_records as record
            where record.organisation_id = organisation
              and record.provider = present.provider
              and record.entity_type = archive.entity_type
              and record.external_id = archive.external_id
            limit 1
          );
      end loop;

      -- An alias whose primary id means another contact by now takes its place.
      insert into contact_external_ids (
        organisation_id, provider, entity_type, external_id, contact_id, last_seen_at
      )
      select distinct on (alias.contact_id)
        organisation, present.provider, alias.entity_type, alias.external_id, alias.contact_id, alias.last_seen_at
      from contact_external_id_aliases as alias
      where alias.organisation_id = organisation
        and alias.provider = present.provider
        and alias.remote_state <> 'merged'
        and (
          select mapping.external_id
          from contact_external_ids as mapping
          where mapping.contact_id = alias.contact_id
            and mapping.provider = present.provider
          limit 1
        ) is null
      order by
        alias.contact_id,
        alias.remote_state = 'deleted',
        alias.first_seen_at;

      return next;
      return;
    exception
      when foreign_key_violation then
        -- The host has deleted one of the contacts meanwhile; the next attempt sees that.
        if attempt = 10 then
          raise;
        end if;
    end;
  end loop;
end
$$;

comment on function crm_switch_account(uuid, uuid, text, timestamptz, regclass) is
  'Makes the account of a live connection the one to which the organisation''s ids at this CRM belong: moves the ids of another account to contact_external_id_archive, moves the archived ids of this account back, and returns how many of each. Moves nothing if the account is null. For a new connection, forgets the versions and contents of the ids that stay: contacts may have changed since the last one ended. Ids that were linked since a connection without a known account are of an unknown account: ids_of_unknown_account (keep or archive) says what becomes of them; if it is null and there are such ids, the function fails with CRM06. own_ids_since is the time since which ids were linked for this connection itself, if it was live before its account was known: those stay. Takes the lock of crm_lock_external_ids. Fails with 0A000 at REPEATABLE READ. Omit the last parameter, which is crm_connections itself.';

revoke execute on function crm_switch_account(uuid, uuid, text, timestamptz, regclass) from public;

grant execute
on function crm_switch_account(uuid, uuid, text, timestamptz, regclass)
to crm_app, crm_worker;

-- All of the schema has one owner.
do $$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  connections constant regclass := to_regclass('crm_connections'::text);
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  execute format(
    'alter function %I.crm_switch_account(uuid, uuid, text, timestamptz, regclass) owner to %s',
    our_schema, (select relowner::regrole from pg_class where oid = connections)
  );

  perform set_config('search_path', search_path, true);
end
$$;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_switch_account(uuid, uuid, text, timestamptz, regclass);
