-- Notes each change of a contact for the CRMs, whoever makes it: an alternative to calling
-- outboundChangeRecord wherever contacts are written. For a migration of your own: name your columns, and
-- the schema if it is not public.
--
-- A user who changes contacts is the owner, or a member of crm_worker, or one of crm_app who has set the
-- contact's organisation: anybody else's change of a contact fails, because it could not be noted.
--
-- A worker that writes what came from a CRM names the connection, so that it is not pushed back to it:
--   select set_config('crm_schema.from_connection_id', '<connection id>', true);

create function note_contact_change()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
  insert into public.crm_outbound_changes as change (
    organisation_id,
    contact_id,
    connection_id,
    first_changed_at,
    last_changed_at,
    next_attempt_at
  )
  select
    new.organisation_id,
    new.id,
    connection.id,
    public.crm_now(),
    public.crm_now(),
    public.crm_now()
  from public.crm_connections as connection
  -- Fails where the user does not see the organisation: the change would be lost.
  where public.crm_check_organisation(new.organisation_id)
    and connection.organisation_id = new.organisation_id
    and connection.status <> 'disconnected'
    and connection.id is distinct from nullif(current_setting('crm_schema.from_connection_id', true), '')::uuid
  order by connection.id
  on conflict (organisation_id, contact_id, connection_id) do update
  set
    version = default,
    last_changed_at = greatest(change.last_changed_at, excluded.last_changed_at),
    attempts = 0,
    next_attempt_at = excluded.next_attempt_at,
    is_announced = false;
  return null;
end
$$;

create trigger note_contact_insert
after insert on contacts
for each row execute function note_contact_change();

create trigger note_contact_update
after update on contacts
for each row
when ((old.name) is distinct from (new.name))
execute function note_contact_change();
