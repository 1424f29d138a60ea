-- Up Migration
--
-- Purpose: no external id ever means two contacts, although a contact's ids are in two tables, which no unique
--          index spans; and a contact that loses its primary id gets another.
-- Locks:   contact_external_ids SHARE ROW EXCLUSIVE and contact_external_id_aliases SHARE ROW EXCLUSIVE, to
--          create the triggers: writes wait until the end of the transaction. The rows are read before that,
--          while only maintenance waits.
-- Scans:   contact_external_ids, to validate the constraints of 0013.
-- Down:    drops the triggers (contact_external_ids and contact_external_id_aliases ACCESS EXCLUSIVE) and the
--          functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Before the triggers, so that writers do not wait for the scan.
alter table contact_external_ids
  validate constraint contact_external_ids_remote_state_check,
  validate constraint contact_external_ids_remote_version_check,
  validate constraint contact_external_ids_content_hash_check,
  validate constraint contact_external_ids_remote_times_in_range_check;

create function crm_lock_external_ids(organisation_id uuid, providers text[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  bucket integer;
begin
  -- A lock of null would be none.
  if organisation_id is null or providers is null or array_position(providers, null) is not null then
    raise exception using
      errcode = 'CRM04',
      message = 'organisation_id and providers must not be null';
  end if;
  -- 'crm1' as a number, and one of 1,024 buckets: a transaction for thousands of organisations must not use up the
  -- server's memory for locks.
  for bucket in
    select distinct hashtext(provider || ' ' || organisation_id::text) & 1023
    from unnest(providers) as provider
    order by 1
  loop
    perform pg_advisory_xact_lock(1668443441, bucket);
  end loop;
end
$$;

comment on function crm_lock_external_ids(uuid, text[]) is
  'Locks what the external ids of an organisation (tenant) mean at these CRMs, until the end of the transaction; waits for whoever holds it. Call it first, as a statement of its own: only the statements after it see what the previous holder did. One lock for each CRM, however many ids; organisations may share a lock by chance. Fails with CRM04 if a parameter is null.';

-- The guards name their tables with the schema, because search_path must not decide which tables they read.
do $migration$
declare
  search_path constant text := current_setting('search_path'::text);
  new_schema constant name := current_schema();
  mappings constant regclass := to_regclass('contact_external_ids'::text);
  our_schema name;
  hosts_contacts regclass;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  select nspname
  into our_schema
  from pg_class
  inner join pg_namespace
    on pg_namespace.oid = relnamespace
  where pg_class.oid = mappings;
  if our_schema is null or our_schema is distinct from new_schema then
    raise exception using
      errcode = 'CRM01',
      message = format(
        'contact_external_ids is in schema %s, and what is new would go into schema %s',
        coalesce(our_schema, '(none that is searched)'), coalesce(new_schema, '(none)')
      ),
      hint = 'Let search_path begin with the schema of contact_external_ids, as it did for the earlier migrations.';
  end if;

  select confrelid::regclass
  into strict hosts_contacts
  from pg_constraint
  where conrelid = mappings
    and conname = 'contact_external_ids_contact_id_fkey';

  execute format($create$
create function %1$I.crm_lock_contacts(organisation_id uuid, contact_ids uuid[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  wanted uuid;
begin
  -- Locking needs the privilege to update; a role without it leaves the lock to the foreign keys.
  if not has_any_column_privilege(%2$L::regclass, 'update') then
    return;
  end if;
  -- One by one: before PostgreSQL 17, a search for a list in order reads every contact of the organisation.
  for wanted in
    select distinct contact_id
    from unnest(contact_ids) as contact_id
    order by contact_id
  loop
    perform
    from %2$s as contacts
    where contacts.organisation_id = crm_lock_contacts.organisation_id
      and contacts.id = wanted
    for key share;
  end loop;
end
$body$
  $create$, our_schema, hosts_contacts);

  execute format($create$
create function %1$I.crm_guard_primary_external_id()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  alias %1$I.contact_external_id_aliases;
begin
  if current_setting('transaction_isolation') = 'repeatable read' then
    raise exception using
      errcode = 'feature_not_supported',
      message = 'external ids cannot be linked at REPEATABLE READ: what others have linked would not be seen',
      hint = 'Use READ COMMITTED.';
  end if;
  -- As crm_lock_external_ids does.
  perform pg_advisory_xact_lock(1668443441, hashtext(new.provider || ' ' || new.organisation_id::text) & 1023);
  -- A statement of its own: it sees what those who held the lock before have written.
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
  $create$, our_schema);

  execute format($create$
create function %1$I.crm_guard_external_id_alias()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
begin
  if current_setting('transaction_isolation') = 'repeatable read' then
    raise exception using
      errcode = 'feature_not_supported',
      message = 'external ids cannot be linked at REPEATABLE READ: what others have linked would not be seen',
      hint = 'Use READ COMMITTED.';
  end if;
  -- As crm_lock_external_ids does.
  perform pg_advisory_xact_lock(1668443441, hashtext(new.provider || ' ' || new.organisation_id::text) & 1023);
  -- A statement of its own: it sees what those who held the lock before have written.
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
  $create$, our_schema);

  execute format($create$
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
  $create$, our_schema);

  perform set_config('search_path', search_path, true);
end
$migration$;

comment on function crm_lock_contacts(uuid, uuid[]) is
  'Locks contacts of an organisation (tenant) FOR KEY SHARE, in the order of their ids, until the end of the transaction, so that nobody deletes them meanwhile. Call it after crm_lock_external_ids and before locking external ids: whoever deletes a contact locks in that order. Does nothing for a role that may not update contacts.';
comment on function crm_promote_external_ids(uuid, uuid[], text[], text[]) is
  'Gives contacts that have lost their primary id at a CRM another, and returns those: an alias of the entity type that they lost if there is one, then the oldest; a deleted one only if there is no other, and none that was merged. Does nothing for contacts that have a primary id there. Call it after crm_lock_external_ids and crm_lock_contacts.';
comment on function crm_guard_primary_external_id() is
  'Keeps an id that is an alias from becoming a primary id as well: the row is not written, as with ON CONFLICT DO NOTHING. If it is an alias of the same contact, which has no primary id, the alias becomes the primary id. Takes the lock of crm_lock_external_ids. Refuses REPEATABLE READ with SQLSTATE 0A000; at SERIALIZABLE, it holds among transactions of that level.';
comment on function crm_guard_external_id_alias() is
  'Keeps a primary id from becoming an alias as well: the row is not written, as with ON CONFLICT DO NOTHING. Takes the lock of crm_lock_external_ids. Refuses REPEATABLE READ with SQLSTATE 0A000; at SERIALIZABLE, it holds among transactions of that level.';

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

grant execute
on function
  crm_lock_external_ids(uuid, text[]),
  crm_lock_contacts(uuid, uuid[]),
  crm_promote_external_ids(uuid, uuid[], text[], text[])
to crm_app, crm_worker, crm_reader;

-- Whoever runs this, all of the schema has one owner.
do $$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  log_table constant regclass := to_regclass('crm_sync_log'::text);
  log_owner regrole;
  new_function text;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  select relowner::regrole
  into log_owner
  from pg_class
  where oid = log_table;
  foreach new_function in array array[
    'crm_lock_external_ids(uuid, text[])',
    'crm_lock_contacts(uuid, uuid[])',
    'crm_promote_external_ids(uuid, uuid[], text[], text[])',
    'crm_guard_primary_external_id()',
    'crm_guard_external_id_alias()'
  ] loop
    execute format('alter function %I.%s owner to %s', our_schema, new_function, log_owner);
  end loop;

  perform set_config('search_path', search_path, true);
end
$$;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop trigger contact_external_ids_guard on contact_external_ids;

drop trigger contact_external_id_aliases_guard on contact_external_id_aliases;

drop function crm_guard_external_id_alias();

drop function crm_guard_primary_external_id();

drop function crm_promote_external_ids(uuid, uuid[], text[], text[]);

drop function crm_lock_contacts(uuid, uuid[]);

drop function crm_lock_external_ids(uuid, text[]);

-- As 0013 left them.
alter table contact_external_ids
  drop constraint contact_external_ids_remote_state_check,
  drop constraint contact_external_ids_remote_version_check,
  drop constraint contact_external_ids_content_hash_check,
  drop constraint contact_external_ids_remote_times_in_range_check,
  add constraint contact_external_ids_remote_state_check
    check (remote_state in ('active', 'archived', 'deleted', 'hidden'))
    not valid,
  add constraint contact_external_ids_remote_version_check
    check (octet_length(remote_version) between 1 and 512)
    not valid,
  add constraint contact_external_ids_content_hash_check
    check (octet_length(content_hash) = 32)
    not valid,
  add constraint contact_external_ids_remote_times_in_range_check
    check (
      least(remote_modified_at, pushed_at) >= '1900-01-01 00:00:00+00'
      and greatest(remote_modified_at, pushed_at) < '9999-01-01 00:00:00+00'
    )
    not valid;

comment on constraint contact_external_ids_remote_state_check on contact_external_ids is
  'The closed list of states. A record that the CRM has merged into another is an alias.';
comment on constraint contact_external_ids_remote_version_check on contact_external_ids is
  'Versions are 1 to 512 bytes.';
comment on constraint contact_external_ids_content_hash_check on contact_external_ids is
  'SHA-256 has 32 bytes.';
comment on constraint contact_external_ids_remote_times_in_range_check on contact_external_ids is
  'Times are in the years 1900 to 9998: every client can read them.';
