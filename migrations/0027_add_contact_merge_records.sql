-- Up Migration
--
-- Purpose: which external ids has a merge of contacts moved, and can each be moved back?
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the function; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- The function names its tables with the schema, because search_path must not decide which tables it uses.
select crm_run_in_schema($create$
create function %1$I.crm_contact_merge_records(organisation_id uuid, operation_id uuid)
returns table (
  provider text,
  entity_type text,
  external_id text,
  connection_id uuid,
  is_archived boolean,
  from_contact_id uuid,
  to_contact_id uuid,
  was_primary boolean,
  is_primary boolean,
  first_seen_at timestamptz,
  outcome text
)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  operation constant uuid := operation_id;
begin
  return query
  select
    change.provider,
    change.entity_type,
    change.external_id,
    coalesce(archive.connection_id, change.connection_id),
    archive.external_id is not null,
    change.from_contact_id,
    change.to_contact_id,
    change.was_primary,
    change.is_primary,
    present.first_seen_at,
    case
      when change.undone_by is not null then 'undone_before'
      when present.contact_id is distinct from change.to_contact_id
        or present.is_primary is distinct from change.is_primary
        or (change.was_primary and present.remote_state = 'merged')
        then 'changed_since'
      when contacts.id is null then 'no_contact'
      when change.was_primary and archive.external_id is null and exists (
        select
        from %1$I.contact_external_ids as other
        where other.provider = change.provider
          and other.contact_id = change.from_contact_id
          -- It gives its place back.
          and not exists (
            select
            from %1$I.contact_external_id_changes as moved
            where moved.organisation_id = organisation
              and moved.operation_id = operation
              and moved.provider = other.provider
              and moved.entity_type = other.entity_type
              and moved.external_id = other.external_id
          )
      )
        then 'contact_taken'
      when change.was_primary and exists (
        select
        from %1$I.contact_external_id_archive as other
        where archive.external_id is not null
          and other.organisation_id = organisation
          and other.contact_id = change.from_contact_id
          and other.connection_id = archive.connection_id
          and other.is_primary
      )
        then 'contact_taken'
      else 'held'
    end
  from %1$I.contact_external_id_changes as change
  -- The same id may stand for records of several accounts. Wherever an id is moved, since when it is linked goes
  -- with it, and tells them apart.
  left join lateral (
    select moved.*
    from %1$I.crm_connections as connection
    inner join %1$I.contact_external_id_archive as moved
      on moved.organisation_id = organisation
      and moved.connection_id = connection.id
      and moved.entity_type = change.entity_type
      and moved.external_id = change.external_id
    where connection.organisation_id = organisation
      and connection.provider = change.provider
      and moved.first_seen_at = change.linked_at
    limit 1
  ) as archive on true
  left join %1$I.contact_external_records as record
    on record.organisation_id = organisation
    and record.provider = change.provider
    and record.entity_type = change.entity_type
    and record.external_id = change.external_id
    and record.first_seen_at = change.linked_at
  cross join lateral (
    select
      case when archive.external_id is null then record.contact_id else archive.contact_id end as contact_id,
      case when archive.external_id is null then record.is_primary else archive.is_primary end as is_primary,
      case when archive.external_id is null then record.remote_state else archive.remote_state end as remote_state,
      case when archive.external_id is null then record.first_seen_at else archive.first_seen_at end as first_seen_at
  ) as present
  left join %2$s as contacts
    on contacts.organisation_id = organisation
    and contacts.id = change.from_contact_id
  where change.organisation_id = organisation
    and change.operation_id = operation
    and change.kind = 'contacts_merged'
    and change.external_id is not null;
end
$body$
$create$);

comment on function crm_contact_merge_records(uuid, uuid) is
  'Lists the external ids that a merge of contacts has moved, and whether each can be moved back: held, or the reason why not: undone_before, changed_since (it was moved, unlinked, linked again or merged meanwhile), no_contact (the contact that was merged away does not exist), contact_taken (that contact has another primary id at the CRM by now).';

revoke execute on function crm_contact_merge_records(uuid, uuid) from public;

grant execute on function crm_contact_merge_records(uuid, uuid) to crm_app, crm_worker;

select crm_give_to_owner(array['function crm_contact_merge_records(uuid, uuid)']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_contact_merge_records(uuid, uuid);
