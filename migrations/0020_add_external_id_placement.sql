-- Up Migration
--
-- Purpose: locks external ids, and moves them between contacts and between the primary ids and the aliases, for
--          merges.
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
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  execute format($create$
create function %1$I.crm_lock_external_records(
  organisation_id uuid,
  providers text[],
  entity_types text[],
  external_ids text[]
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  wanted record;
begin
  -- One by one, because an order by across both tables cannot be locked.
  for wanted in
    select given.*
    from unnest(providers, entity_types, external_ids) as given (provider, entity_type, external_id)
    order by given.provider collate "C", given.entity_type collate "C", given.external_id collate "C"
  loop
    perform
    from %1$I.contact_external_ids as mapping
    where mapping.organisation_id = crm_lock_external_records.organisation_id
      and mapping.provider = wanted.provider
      and mapping.entity_type = wanted.entity_type
      and mapping.external_id = wanted.external_id
    for update;
    continue when found;
    perform
    from %1$I.contact_external_id_aliases as alias
    where alias.organisation_id = crm_lock_external_records.organisation_id
      and alias.provider = wanted.provider
      and alias.entity_type = wanted.entity_type
      and alias.external_id = wanted.external_id
    for update;
  end loop;
end
$body$
  $create$, our_schema);

  execute format($create$
create function %1$I.crm_place_external_id(
  organisation_id uuid,
  provider text,
  entity_type text,
  external_id text,
  contact_id uuid,
  is_primary boolean
)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  mapping %1$I.contact_external_ids;
  alias %1$I.contact_external_id_aliases;
begin
  if is_primary then
    update %1$I.contact_external_ids as present
    set
      contact_id = crm_place_external_id.contact_id,
      remote_version = case when present.contact_id = crm_place_external_id.contact_id then present.remote_version end,
      content_hash = case when present.contact_id = crm_place_external_id.contact_id then present.content_hash end,
      pushed_at = case when present.contact_id = crm_place_external_id.contact_id then present.pushed_at end
    where present.organisation_id = crm_place_external_id.organisation_id
      and present.provider = crm_place_external_id.provider
      and present.entity_type = crm_place_external_id.entity_type
      and present.external_id = crm_place_external_id.external_id;
    if found then
      return;
    end if;
    delete from %1$I.contact_external_id_aliases as present
    where present.organisation_id = crm_place_external_id.organisation_id
      and present.provider = crm_place_external_id.provider
      and present.entity_type = crm_place_external_id.entity_type
      and present.external_id = crm_place_external_id.external_id
    returning present.*
    into strict alias;
    if alias.contact_id <> crm_place_external_id.contact_id then
      alias.remote_version := null;
      alias.content_hash := null;
      alias.pushed_at := null;
    end if;
    insert into %1$I.contact_external_ids (
      organisation_id, provider, entity_type, external_id, contact_id, first_seen_at, last_seen_at,
      remote_state, remote_version, remote_modified_at, content_hash, pushed_at
    )
    values (
      alias.organisation_id, alias.provider, alias.entity_type, alias.external_id,
      crm_place_external_id.contact_id, alias.first_seen_at, alias.last_seen_at,
      case alias.remote_state when 'merged' then 'active' else alias.remote_state end,
      alias.remote_version, alias.remote_modified_at, alias.content_hash, alias.pushed_at
    );
  else
    update %1$I.contact_external_id_aliases as present
    set
      contact_id = crm_place_external_id.contact_id,
      remote_version = case when present.contact_id = crm_place_external_id.contact_id then present.remote_version end,
      content_hash = case when present.contact_id = crm_place_external_id.contact_id then present.content_hash end,
      pushed_at = case when present.contact_id = crm_place_external_id.contact_id then present.pushed_at end
    where present.organisation_id = crm_place_external_id.organisation_id
      and present.provider = crm_place_external_id.provider
      and present.entity_type = crm_place_external_id.entity_type
      and present.external_id = crm_place_external_id.external_id;
    if found then
      return;
    end if;
    delete from %1$I.contact_external_ids as present
    where present.organisation_id = crm_place_external_id.organisation_id
      and present.provider = crm_place_external_id.provider
      and present.entity_type = crm_place_external_id.entity_type
      and present.external_id = crm_place_external_id.external_id
    returning present.*
    into strict mapping;
    if mapping.contact_id <> crm_place_external_id.contact_id then
      mapping.remote_version := null;
      mapping.content_hash := null;
      mapping.pushed_at := null;
    end if;
    insert into %1$I.contact_external_id_aliases (
      organisation_id, provider, entity_type, external_id, contact_id, first_seen_at, last_seen_at,
      remote_state, remote_version, remote_modified_at, content_hash, pushed_at
    )
    values (
      mapping.organisation_id, mapping.provider, mapping.entity_type, mapping.external_id,
      crm_place_external_id.contact_id, mapping.first_seen_at, mapping.last_seen_at, mapping.remote_state,
      mapping.remote_version, mapping.remote_modified_at, mapping.content_hash, mapping.pushed_at
    );
  end if;
end
$body$
  $create$, our_schema);

  perform set_config('search_path', search_path, true);
end
$migration$;

comment on function crm_lock_external_records(uuid, text[], text[], text[]) is
  'Locks external ids for update, primary ids and aliases in one order, that of their keys, as batches and checks of records do. Call it with the locks of crm_lock_external_ids and crm_lock_contacts.';
comment on function crm_place_external_id(uuid, text, text, text, uuid, boolean) is
  'Makes an external id that means a contact the primary id or an alias of that contact or another. Keeps what is known of the record, but its version and content only if the contact stays the same: another has not taken them, so the next read must not be taken for unchanged. One that was merged and becomes a primary id is active. Call it with the locks of crm_lock_external_ids and crm_lock_contacts.';

revoke execute
on function
  crm_lock_external_records(uuid, text[], text[], text[]),
  crm_place_external_id(uuid, text, text, text, uuid, boolean)
from public;

grant execute
on function
  crm_lock_external_records(uuid, text[], text[], text[]),
  crm_place_external_id(uuid, text, text, text, uuid, boolean)
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
    'crm_lock_external_records(uuid, text[], text[], text[])',
    'crm_place_external_id(uuid, text, text, text, uuid, boolean)'
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

drop function crm_place_external_id(uuid, text, text, text, uuid, boolean);

drop function crm_lock_external_records(uuid, text[], text[], text[]);
