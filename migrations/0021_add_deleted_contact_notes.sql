-- Up Migration
--
-- Purpose: which records lost their contact because the host deleted it?
-- Locks:   contact_external_ids SHARE ROW EXCLUSIVE and contact_external_id_aliases SHARE ROW EXCLUSIVE, to
--          create the triggers: writes wait until the end of the transaction. They are tried for a tenth of a
--          second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing.
-- Down:    drops the triggers (contact_external_ids and contact_external_id_aliases ACCESS EXCLUSIVE) and the
--          function; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- The function names its tables with the schema, because search_path must not decide which tables it uses.
select crm_run_in_schema($create$
create function %1$I.crm_note_deleted_contact()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
begin
  -- A cascade deletes inside the trigger of the foreign key, as the owner of this table.
  if pg_trigger_depth() = 1
    or current_user <> (select pg_get_userbyid(relowner) from pg_class where oid = tg_relid)
  then
    return old;
  end if;
  -- A trigger of the host may do so, too, but then the contact is still there. The owner need not see contacts.
  if has_column_privilege(%2$L::regclass, 'id', 'select')
    and has_column_privilege(%2$L::regclass, 'organisation_id', 'select')
  then
    perform
    from %2$s as contacts
    where contacts.organisation_id = old.organisation_id
      and contacts.id = old.contact_id;
    if found then
      return old;
    end if;
  end if;
  insert into %1$I.contact_external_id_changes (
    organisation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id, was_primary, linked_at
  )
  values (
    old.organisation_id,
    'contact_deleted',
    old.provider,
    old.entity_type,
    old.external_id,
    (
      select connection.id
      from %1$I.crm_connections as connection
      where connection.organisation_id = old.organisation_id
        and connection.provider = old.provider
        and connection.status <> 'disconnected'
    ),
    old.contact_id,
    tg_table_name = 'contact_external_ids',
    old.first_seen_at
  );
  return old;
end
$body$
$create$);

comment on function crm_note_deleted_contact() is
  'Records in contact_external_id_changes that an external id lost its contact because the host deleted the contact. Does nothing if the id alone is deleted.';

select crm_wait_for_vacuum(array['contact_external_ids', 'contact_external_id_aliases']::regclass[]);

-- Both at once, so that in a tie this migration gives way, not the application.
select crm_run_in_schema(
  'lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases in share row exclusive mode'
);

create trigger contact_external_ids_note_deleted_contact
  before delete
  on contact_external_ids
  for each row
  execute function crm_note_deleted_contact();

create trigger contact_external_id_aliases_note_deleted_contact
  before delete
  on contact_external_id_aliases
  for each row
  execute function crm_note_deleted_contact();

comment on trigger contact_external_ids_note_deleted_contact on contact_external_ids is
  'Before the delete: an AFTER trigger would run once the cascade has ended, as the user who deleted the contact.';
comment on trigger contact_external_id_aliases_note_deleted_contact on contact_external_id_aliases is
  'Before the delete: an AFTER trigger would run once the cascade has ended, as the user who deleted the contact.';

select crm_give_to_owner(array['function crm_note_deleted_contact()']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['contact_external_ids', 'contact_external_id_aliases']::regclass[]);

-- Both at once, so that in a tie this migration gives way, not the application.
select crm_run_in_schema(
  'lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases in access exclusive mode'
);

drop trigger contact_external_ids_note_deleted_contact on contact_external_ids;

drop trigger contact_external_id_aliases_note_deleted_contact on contact_external_id_aliases;

drop function crm_note_deleted_contact();
