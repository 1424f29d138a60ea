-- Records every change of a contact as an outbound change, whoever makes it: an alternative to calling
-- outboundChangeRecord wherever contacts are written. Copy it into a migration of your own, with your
-- columns, and your schema if it is not public.
--
-- Changes are also recorded for CRMs that were disconnected lately: they wait until the CRM is connected again.
--
-- Only these users can change contacts: the owner, a member of crm_worker, and a member of crm_app that has
-- set the contact's organisation. A change by anyone else fails, because it could not be recorded.
--
-- A worker that writes what came from a CRM names the connection, so that the change is not pushed back:
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
  -- Fails if the user cannot see the organisation: otherwise the change would be lost.
  where public.crm_check_organisation(new.organisation_id)
    and connection.organisation_id = new.organisation_id
    and public.crm_keeps_changes(
      connection.status,
      connection.kept_changes,
      connection.changes_expire_at,
      public.crm_now()
    )
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
when ((old.name, old.email, old.phone) is distinct from (new.name, new.email, new.phone))
execute function note_contact_change();
