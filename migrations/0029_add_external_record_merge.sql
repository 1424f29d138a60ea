-- Up Migration
--
-- Purpose: records that a CRM has merged two of its records.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the function; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- The functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_merge_external_records(
  organisation_id uuid,
  provider text,
  from_entity_types text[],
  from_external_ids text[],
  into_entity_types text[],
  into_external_ids text[],
  operation_id uuid,
  changed_by text,
  reason text
)
returns table (pair_number integer, outcome text, contact_id uuid, other_contact_id uuid)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  crm constant text := provider;
  operation constant uuid := operation_id;
  author constant text := coalesce(changed_by, session_user);
  why constant text := reason;
  live_connection_id constant uuid := (
    select connection.id
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.provider = crm
      and connection.status <> 'disconnected'
  );
  concerned_types text[];
  concerned_ids text[];
  pair record;
  gone %1$I.contact_external_records;
  survivor %1$I.contact_external_records;
  next_survivor %1$I.contact_external_records;
  survivor_id uuid;
begin
  perform %1$I.crm_require_read_committed('records cannot be merged');

  perform %1$I.crm_check_organisation(organisation);
  perform %1$I.crm_lock_external_ids(organisation, array[crm]);
  -- Those of the call, and what those were merged into before.
  with recursive concerned as (
    select
      given.entity_type collate "C" as entity_type,
      given.external_id collate "C" as external_id
    from unnest(
      from_entity_types || into_entity_types,
      from_external_ids || into_external_ids
    ) as given (entity_type, external_id)
    union
    select
      gone.merged_into_entity_type,
      gone.merged_into_external_id
    from concerned
    cross join lateral (
      select
        alias.merged_into_entity_type,
        alias.merged_into_external_id
      from %1$I.contact_external_id_aliases as alias
      where alias.organisation_id = organisation
        and alias.provider = crm
        and alias.entity_type = concerned.entity_type
        and alias.external_id = concerned.external_id
        and alias.remote_state = 'merged'
      limit 1
    ) as gone
  )
  select
    array_agg(concerned.entity_type),
    array_agg(concerned.external_id)
  into
    concerned_types,
    concerned_ids
  from concerned;
  perform %1$I.crm_lock_contacts(organisation, array(
    select record.contact_id
    from unnest(concerned_types, concerned_ids) as given (entity_type, external_id)
    cross join lateral (
      select found.contact_id
      from %1$I.contact_external_records as found
      where found.organisation_id = organisation
        and found.provider = crm
        and found.entity_type = given.entity_type
        and found.external_id = given.external_id
      limit 1
    ) as record
  ));
  perform %1$I.crm_lock_external_records(
    organisation, array(select crm from unnest(concerned_ids)), concerned_types, concerned_ids
  );

  for pair in
    select given.*
    from unnest(from_entity_types, from_external_ids, into_entity_types, into_external_ids)
      with ordinality as given (from_type, from_id, into_type, into_id, number)
    order by given.number
  loop
    pair_number := pair.number;
    other_contact_id := null;
    select record.* into gone
    from %1$I.contact_external_records as record
    where record.organisation_id = organisation
      and record.provider = crm
      and record.entity_type = pair.from_type
      and record.external_id = pair.from_id;
    select record.* into survivor
    from %1$I.contact_external_records as record
    where record.organisation_id = organisation
      and record.provider = crm
      and record.entity_type = pair.into_type
      and record.external_id = pair.into_id;
    -- CRMs report merges in any order: if the survivor was itself merged meanwhile, its own survivor counts, unless
    -- that is this record: then the CRM has reversed the merge.
    for hop in 1..20 loop
      exit when survivor.remote_state is distinct from 'merged';
      select record.* into next_survivor
      from %1$I.contact_external_records as record
      where record.organisation_id = organisation
        and record.provider = crm
        and record.entity_type = survivor.merged_into_entity_type
        and record.external_id = survivor.merged_into_external_id;
      exit when next_survivor.contact_id is null
        or (next_survivor.entity_type, next_survivor.external_id) = (pair.from_type, pair.from_id);
      survivor := next_survivor;
    end loop;

    contact_id := coalesce(survivor.contact_id, gone.contact_id);
    if (pair.from_type, pair.from_id) = (pair.into_type, pair.into_id) then
      outcome := 'same_record';
    elsif contact_id is null then
      outcome := 'unknown';
    elsif survivor.contact_id <> gone.contact_id then
      outcome := 'contacts_differ';
      other_contact_id := gone.contact_id;
    else
      outcome := 'merged';
    end if;
    if outcome <> 'merged'
      or (gone.merged_into_entity_type, gone.merged_into_external_id) = (pair.into_type, pair.into_id)
    then
      return next;
      continue;
    end if;

    survivor_id := contact_id;
    if gone.is_primary then
      perform %1$I.crm_place_external_id(organisation, crm, pair.from_type, pair.from_id, survivor_id, false);
    end if;
    if survivor.contact_id is null then
      -- It takes the place of the other: as primary id, or as an alias.
      if gone.is_primary then
        insert into %1$I.contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
        values (organisation, crm, pair.into_type, pair.into_id, survivor_id);
      else
        insert into %1$I.contact_external_id_aliases (organisation_id, provider, entity_type, external_id, contact_id)
        values (organisation, crm, pair.into_type, pair.into_id, survivor_id);
      end if;
    elsif gone.is_primary then
      perform %1$I.crm_place_external_id(
        organisation, crm, survivor.entity_type, survivor.external_id, survivor_id, true
      );
      insert into %1$I.contact_external_id_changes (
        organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id,
        to_contact_id, was_primary, is_primary, linked_at, changed_by, reason
      )
      values (
        organisation, operation, 'promoted', crm, survivor.entity_type, survivor.external_id, live_connection_id,
        survivor_id, survivor_id, false, true, survivor.first_seen_at, author, why
      );
    elsif survivor.remote_state = 'merged' then
      update %1$I.contact_external_id_aliases as alias
      set
        remote_state = 'active',
        merged_into_entity_type = null,
        merged_into_external_id = null
      where alias.organisation_id = organisation
        and alias.provider = crm
        and alias.entity_type = survivor.entity_type
        and alias.external_id = survivor.external_id;
    end if;
    insert into %1$I.contact_external_id_aliases as alias (
      organisation_id, provider, entity_type, external_id, contact_id, remote_state, merged_into_entity_type,
      merged_into_external_id
    )
    values (
      organisation, crm, pair.from_type, pair.from_id, survivor_id, 'merged', pair.into_type, pair.into_id
    )
    on conflict on constraint contact_external_id_aliases_pkey do update
    set
      remote_state = excluded.remote_state,
      merged_into_entity_type = excluded.merged_into_entity_type,
      merged_into_external_id = excluded.merged_into_external_id;
    insert into %1$I.contact_external_id_changes (
      organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id,
      to_contact_id, was_primary, is_primary, linked_at, changed_by, reason
    )
    values (
      organisation, operation, 'records_merged', crm, pair.from_type, pair.from_id, live_connection_id,
      gone.contact_id, survivor_id, gone.is_primary, false, gone.first_seen_at, author, why
    );
    -- If all that the contact had here was merged away, the record that remains is its primary id.
    insert into %1$I.contact_external_id_changes (
      organisation_id, operation_id, kind, provider, entity_type, external_id, connection_id, from_contact_id,
      to_contact_id, was_primary, is_primary, linked_at, changed_by, reason
    )
    select
      organisation, operation, 'promoted', crm, promoted.entity_type, promoted.external_id, live_connection_id,
      survivor_id, survivor_id, false, true, promoted.first_seen_at, author, why
    from %1$I.crm_promote_external_ids(
      organisation, array[survivor_id], array[crm], array[pair.into_type]
    ) as promoted
    -- Otherwise one of them was, and the other has taken its place or keeps its own.
    where gone.is_primary is not true
      and survivor.is_primary is not true;
    return next;
  end loop;
end
$body$
$create$);

comment on function crm_merge_external_records(uuid, text, text[], text[], text[], text[], uuid, text, text) is
  'Records that a CRM has merged records into others, one array element each: the record that is gone becomes an alias with the state merged, and the other takes its place as primary id. Returns one row for each: merged (also if that was known), same_record, unknown (neither means a contact), or contacts_differ: the records mean two contacts, contact_id and other_contact_id, and nothing has changed; merge the contacts, then call again. Takes the lock of crm_lock_external_ids, then of crm_lock_contacts. changed_by is the database user if null. Fails with 0A000 unless at READ COMMITTED.';

revoke execute
on function
  crm_merge_external_records(uuid, text, text[], text[], text[], text[], uuid, text, text)
from public;

grant execute
on function
  crm_merge_external_records(uuid, text, text[], text[], text[], text[], uuid, text, text)
to crm_app, crm_worker;

select crm_give_to_owner(array['function crm_merge_external_records(uuid, text, text[], text[], text[], text[], uuid, text, text)']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_merge_external_records(uuid, text, text[], text[], text[], text[], uuid, text, text);
