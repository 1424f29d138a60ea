-- Up Migration
--
-- Purpose: moves an external id between contacts, and between the primary ids and the aliases; and a contact that
--          loses its primary id gets another.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_promote_external_ids(
  organisation_id uuid,
  contact_ids uuid[],
  providers text[],
  entity_types text[]
)
returns setof %1$I.contact_external_ids
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  bare record;
  alias %1$I.contact_external_id_aliases;
  promoted %1$I.contact_external_ids;
begin
  -- One by one: each look-up then reads a few rows, whatever the statistics know.
  for bare in
    select distinct on (given.provider, given.contact_id) given.*
    from unnest(contact_ids, providers, entity_types) as given (contact_id, provider, entity_type)
    order by given.provider, given.contact_id, given.entity_type
  loop
    continue when exists (
      select
      from %1$I.contact_external_ids as mapping
      where mapping.provider = bare.provider
        and mapping.contact_id = bare.contact_id
    );
    select candidate.*
    into alias
    from %1$I.contact_external_id_aliases as candidate
    where (candidate.organisation_id = crm_promote_external_ids.organisation_id) is true
      and candidate.contact_id = bare.contact_id
      and candidate.provider = bare.provider
      and candidate.remote_state <> 'merged'
    order by
      candidate.remote_state = 'deleted',
      candidate.entity_type <> bare.entity_type,
      candidate.first_seen_at,
      candidate.entity_type,
      candidate.external_id
    limit 1
    for update;
    delete from %1$I.contact_external_id_aliases as chosen
    where chosen.organisation_id = alias.organisation_id
      and chosen.provider = alias.provider
      and chosen.entity_type = alias.entity_type
      and chosen.external_id = alias.external_id;
    if found then
      insert into %1$I.contact_external_ids as mapping (
        organisation_id,
        provider,
        entity_type,
        external_id,
        contact_id,
        first_seen_at,
        last_seen_at,
        remote_state,
        remote_version,
        remote_modified_at,
        content_hash,
        pushed_at
      )
      values (
        alias.organisation_id,
        alias.provider,
        alias.entity_type,
        alias.external_id,
        alias.contact_id,
        alias.first_seen_at,
        alias.last_seen_at,
        alias.remote_state,
        alias.remote_version,
        alias.remote_modified_at,
        alias.content_hash,
        alias.pushed_at
      )
      returning mapping.*
      into promoted;
      return next promoted;
    end if;
  end loop;
end
$body$
$create$);

select crm_run_in_schema($create$
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
$create$);

comment on function crm_promote_external_ids(uuid, uuid[], text[], text[]) is
  'Gives contacts that have lost their primary id at a CRM another, and returns those: an alias of the entity type that they lost if there is one, then the oldest; a deleted one only if there is no other, and none that was merged. Does nothing for contacts that have a primary id there. Call it after crm_lock_external_ids and crm_lock_contacts.';
comment on function crm_place_external_id(uuid, text, text, text, uuid, boolean) is
  'Makes an external id that means a contact the primary id or an alias of that contact or another. Keeps what is known of the record, but its version and content only if the contact stays the same: another has not taken them, so the next read must not be taken for unchanged. One that was merged and becomes a primary id is active. Call it with the locks of crm_lock_external_ids and crm_lock_contacts.';

revoke execute on function crm_place_external_id(uuid, text, text, text, uuid, boolean) from public;

grant execute on function crm_promote_external_ids(uuid, uuid[], text[], text[]) to crm_app, crm_worker, crm_reader;

grant execute on function crm_place_external_id(uuid, text, text, text, uuid, boolean) to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_promote_external_ids(uuid, uuid[], text[], text[])',
  'function crm_place_external_id(uuid, text, text, text, uuid, boolean)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_place_external_id(uuid, text, text, text, uuid, boolean);

drop function crm_promote_external_ids(uuid, uuid[], text[], text[]);
