-- Up Migration
--
-- Purpose: no external id ever means two contacts, although a contact's ids are in two tables, which no unique
--          index spans.
-- Locks:   contact_external_ids SHARE ROW EXCLUSIVE and contact_external_id_aliases SHARE ROW EXCLUSIVE, to
--          create the triggers: writes wait until the end of the transaction. They are tried for a tenth of a
--          second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing.
-- Down:    drops the triggers (contact_external_ids and contact_external_id_aliases ACCESS EXCLUSIVE) and the
--          functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_guard_primary_external_id()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  alias %1$I.contact_external_id_aliases;
begin
  perform %1$I.crm_require_read_committed('external ids cannot be linked');
  -- A user from whom a policy hides ids cannot see which are taken, and the statement may have changed the setting
  -- since its own policy was checked.
  perform %1$I.crm_check_organisation(new.organisation_id);
  -- As crm_lock_external_ids does.
  perform pg_advisory_xact_lock(1668443441, hashtext(new.provider || ' ' || new.organisation_id::text) & 1023);
  -- A separate statement, so that it sees what earlier holders of the lock have written.
  select taken.*
  into alias
  from %1$I.contact_external_id_aliases as taken
  where taken.organisation_id = new.organisation_id
    and taken.provider = new.provider
    and taken.entity_type = new.entity_type
    and taken.external_id = new.external_id;
  if alias.contact_id is null then
    return new;
  end if;
  -- The alias of a contact without a primary id, which an earlier release leaves behind, becomes its primary id.
  if alias.contact_id <> new.contact_id
    or alias.remote_state = 'merged'
    or exists (
      select
      from %1$I.contact_external_ids as mapping
      where mapping.provider = new.provider
        and mapping.contact_id = new.contact_id
    )
  then
    return null;
  end if;
  delete from %1$I.contact_external_id_aliases as taken
  where taken.organisation_id = new.organisation_id
    and taken.provider = new.provider
    and taken.entity_type = new.entity_type
    and taken.external_id = new.external_id;
  new.first_seen_at := least(alias.first_seen_at, new.first_seen_at);
  new.remote_state := alias.remote_state;
  new.remote_version := alias.remote_version;
  new.remote_modified_at := alias.remote_modified_at;
  new.content_hash := alias.content_hash;
  new.pushed_at := alias.pushed_at;
  return new;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_guard_external_id_alias()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
begin
  perform %1$I.crm_require_read_committed('external ids cannot be linked');
  -- A user from whom a policy hides ids cannot see which are taken, and the statement may have changed the setting
  -- since its own policy was checked.
  perform %1$I.crm_check_organisation(new.organisation_id);
  -- As crm_lock_external_ids does.
  perform pg_advisory_xact_lock(1668443441, hashtext(new.provider || ' ' || new.organisation_id::text) & 1023);
  -- A separate statement, so that it sees what earlier holders of the lock have written.
  if exists (
    select
    from %1$I.contact_external_ids as taken
    where taken.organisation_id = new.organisation_id
      and taken.provider = new.provider
      and taken.entity_type = new.entity_type
      and taken.external_id = new.external_id
  ) then
    return null;
  end if;
  return new;
end
$body$
$create$);

comment on function crm_guard_primary_external_id() is
  'Keeps an id that is an alias from becoming a primary id as well: the row is not written, as with ON CONFLICT DO NOTHING. If it is an alias of the same contact, which has no primary id, the alias becomes the primary id. Takes the lock of crm_lock_external_ids. Refuses other isolation levels than READ COMMITTED with SQLSTATE 0A000, and users who do not see the organisation with CRM05.';
comment on function crm_guard_external_id_alias() is
  'Keeps a primary id from becoming an alias as well: the row is not written, as with ON CONFLICT DO NOTHING. Takes the lock of crm_lock_external_ids. Refuses other isolation levels than READ COMMITTED with SQLSTATE 0A000, and users who do not see the organisation with CRM05.';

select crm_wait_for_vacuum(array['contact_external_ids', 'contact_external_id_aliases']::regclass[]);

-- Both at once, so that in a tie this migration gives way, not the application.
select crm_run_in_schema(
  'lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases in share row exclusive mode'
);

create trigger contact_external_ids_guard
  before insert or update of organisation_id, provider, entity_type, external_id
  on contact_external_ids
  for each row
  execute function crm_guard_primary_external_id();

create trigger contact_external_id_aliases_guard
  before insert or update of organisation_id, provider, entity_type, external_id
  on contact_external_id_aliases
  for each row
  execute function crm_guard_external_id_alias();

comment on trigger contact_external_ids_guard on contact_external_ids is
  'Keeps an alias from becoming a primary id as well.';
comment on trigger contact_external_id_aliases_guard on contact_external_id_aliases is
  'Keeps a primary id from becoming an alias as well.';

select crm_give_to_owner(array[
  'function crm_guard_primary_external_id()',
  'function crm_guard_external_id_alias()'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['contact_external_ids', 'contact_external_id_aliases']::regclass[]);

-- Both at once, so that in a tie this migration gives way, not the application.
select crm_run_in_schema(
  'lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases in access exclusive mode'
);

drop trigger contact_external_ids_guard on contact_external_ids;

drop trigger contact_external_id_aliases_guard on contact_external_id_aliases;

drop function crm_guard_external_id_alias();

drop function crm_guard_primary_external_id();
