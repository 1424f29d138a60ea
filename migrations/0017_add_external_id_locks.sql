-- Up Migration
--
-- Purpose: locks what external ids mean, contacts and ids, in one order, so that nobody decides by what is outdated.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

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

create function crm_require_read_committed(refusal text)
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  level constant text := current_setting('transaction_isolation');
begin
  if level not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'feature_not_supported',
      message = format('%s at %s: what others have linked would not be seen', refusal, upper(level)),
      hint = 'Use READ COMMITTED.';
  end if;
end
$$;

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
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
$create$);

select crm_run_in_schema($create$
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
$create$);

comment on function crm_lock_external_ids(uuid, text[]) is
  'Locks what the external ids of an organisation (tenant) mean at these CRMs, until the end of the transaction; waits for whoever holds it. Call it first, as a statement of its own: only the statements after it see what the previous holder did. One lock for each CRM, however many ids; organisations may share a lock by chance. Fails with CRM04 if a parameter is null.';
comment on function crm_require_read_committed(text) is
  'Fails with 0A000 at an isolation level at which a transaction that has waited for a lock would not see what others have linked meanwhile.';
comment on function crm_lock_contacts(uuid, uuid[]) is
  'Locks contacts of an organisation (tenant) FOR KEY SHARE, in the order of their ids, until the end of the transaction, so that nobody deletes them meanwhile. Call it after crm_lock_external_ids and before locking external ids: whoever deletes a contact locks in that order. Does nothing for a role that may not update contacts.';
comment on function crm_lock_external_records(uuid, text[], text[], text[]) is
  'Locks external ids for update, primary ids and aliases in one order, that of their keys, as batches and checks of records do. Call it with the locks of crm_lock_external_ids and crm_lock_contacts.';

revoke execute on function crm_lock_external_records(uuid, text[], text[], text[]) from public;

grant execute
on function
  crm_lock_external_ids(uuid, text[]),
  crm_require_read_committed(text),
  crm_lock_contacts(uuid, uuid[])
to crm_app, crm_worker, crm_reader;

grant execute on function crm_lock_external_records(uuid, text[], text[], text[]) to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_lock_external_ids(uuid, text[])',
  'function crm_require_read_committed(text)',
  'function crm_lock_contacts(uuid, uuid[])',
  'function crm_lock_external_records(uuid, text[], text[], text[])'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_lock_external_records(uuid, text[], text[], text[]);

drop function crm_lock_contacts(uuid, uuid[]);

drop function crm_require_read_committed(text);

drop function crm_lock_external_ids(uuid, text[]);
