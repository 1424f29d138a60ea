-- Up Migration
--
-- Purpose: erases a person: everything by which the tables and the log know them, in one transaction.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    restores the trigger function and drops the others; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- 1. The way through the log's trigger. The setting alone is anybody's to set, and the owner alone could change events by
--    mistake: both are needed. They meet only in functions that run as the owner and turn the setting on for their own
--    statements. If they fail, PostgreSQL takes it back with what they did. It cannot be a SET clause of the function:
--    for that, whoever migrates would have to be a superuser.

select crm_edit_function(
  'crm_sync_log_refuse_change()',
  $present$begin
  raise exception using$present$,
  $wanted$begin
  if tg_op <> 'TRUNCATE'
    and current_setting('crm_schema.erasing', true) = 'on'
    and current_user = (select pg_get_userbyid(relowner) from pg_class where oid = tg_relid)
  then
    return case tg_op when 'DELETE' then old else new end;
  end if;
  raise exception using$wanted$
);

comment on function crm_sync_log_refuse_change() is
  'Refuses UPDATE, DELETE and TRUNCATE on the sync log with SQLSTATE CRM02, except what the functions that erase do, which run as the log''s owner and turn on crm_schema.erasing for their own statements. The owner of the log could disable the triggers that call it or detach a partition, and a superuser could bypass them; applications must connect as neither.';

-- 2. What erasures go through.

create function crm_sync_log_tables(log_table regclass default 'crm_sync_log')
returns setof regclass
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  closed text;
begin
  return next log_table;

  select string_agg(relation.oid::regclass::text, ', ' order by relation.relname)
  into closed
  from pg_class as log
  inner join pg_class as relation
    on relation.relnamespace = log.relnamespace
    and relation.relkind in ('r', 'p')
  where log.oid = log_table
    and relation.relname ~ '^crm_sync_log_([0-9]{4}_[0-9]{2}|before_[0-9]{4}_[0-9]{2}(_[0-9]+)?)$'
    and not exists (
      select from pg_inherits where inhrelid = relation.oid and not inhdetachpending
    )
    and (
      relation.relowner <> log.relowner
      or relation.relkind = 'p'
      or exists (
        select
        from pg_attribute as wanted
        where wanted.attrelid = log.oid
          and wanted.attnum > 0
          and not wanted.attisdropped
          and not exists (
            select
            from pg_attribute as present
            where present.attrelid = relation.oid
              and present.attname = wanted.attname
              and present.atttypid = wanted.atttypid
          )
      )
    );
  if closed is not null then
    raise exception using
      errcode = 'CRM01',
      message = format('detached months cannot be searched: %s', closed),
      hint = 'They have another owner or other columns than crm_sync_log, or partitions of their own. Drop them, or give them the owner and the columns of the log.';
  end if;

  return query
  select relation.oid::regclass
  from pg_class as log
  inner join pg_class as relation
    on relation.relnamespace = log.relnamespace
    and relation.relkind = 'r'
  where log.oid = log_table
    and relation.relname ~ '^crm_sync_log_([0-9]{4}_[0-9]{2}|before_[0-9]{4}_[0-9]{2}(_[0-9]+)?)$'
    and not exists (
      select from pg_inherits where inhrelid = relation.oid and not inhdetachpending
    )
  order by relation.relname;
end
$$;

comment on function crm_sync_log_tables(regclass) is
  'Lists the tables that hold events: the log, with its partitions, and the months that were detached and are still in its schema. Fails with CRM01 and names those that cannot be searched. Omit the parameter, which is the log itself.';

select crm_run_in_schema($create$
create function %1$I.crm_contact_lineage(organisation_id uuid, contact_ids uuid[])
returns table (contact_id uuid)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
begin
  -- Every export and every erasure begins here. The policies of these roles show all that a member is to see.
  if not pg_has_role('crm_app', 'usage')
    and not pg_has_role('crm_worker', 'usage')
    and not pg_has_role('crm_reader', 'usage')
  then
    perform %1$I.crm_require_all_rows();
  end if;
  return query
  with recursive person (contact_id) as (
    select given.contact_id
    from unnest(contact_ids) as given (contact_id)
    union
    select change.from_contact_id
    from person
    inner join %1$I.contact_external_id_changes as change
      on change.organisation_id = organisation
      and change.to_contact_id = person.contact_id
      and change.kind = 'contacts_merged'
      and change.external_id is null
      and change.undone_by is null
      and change.from_contact_id is not null
  )
  select person.contact_id
  from person;
end
$body$
$create$);

comment on function crm_contact_lineage(uuid, uuid[]) is
  'Lists these contacts of an organisation and everyone who was merged into them, in turn. Not whom they were merged into. Fails with CRM01 if row-level security may hide rows from the user (crm_require_all_rows), unless it is a member of the roles for which the policies are.';

select crm_run_in_schema($create$
create function %1$I.crm_contact_records(organisation_id uuid, contact_ids uuid[])
returns table (provider text, account text, entity_type text, external_id text, theirs_until timestamptz)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  people constant uuid[] := contact_ids;
  log_table regclass;
  logged jsonb := '[]';
  found jsonb;
begin
  perform %1$I.crm_require_all_rows();
  for log_table in select tables from %1$I.crm_sync_log_tables() as tables loop
    execute format(
      'select coalesce(jsonb_agg(distinct jsonb_build_array(connection_id, entity_type, external_id)), ''[]'')
       from %%s
       where organisation_id = $1
         and internal_id = any($2)
         and external_id is not null',
      log_table
    )
    into found
    using organisation, people;
    logged := logged || found;
  end loop;

  return query
  with connection as materialized (
    select
      connections.id,
      connections.provider,
      connections.account,
      connections.connected_at
    from %1$I.crm_connections as connections
    where connections.organisation_id = organisation
  ),
  present as materialized (
    select distinct on (connection.provider)
      connection.provider,
      connection.account
    from connection
    order by connection.provider, connection.connected_at desc, connection.id
  ),
  record as (
    select
      present_record.provider,
      present_record.entity_type,
      present_record.external_id,
      present.account
    from %1$I.contact_external_records as present_record
    left join present
      on present.provider = present_record.provider
    where (present_record.organisation_id = organisation) is true
      and present_record.contact_id = any(people)
    union
    select
      alias.provider,
      alias.merged_into_entity_type,
      alias.merged_into_external_id,
      present.account
    from %1$I.contact_external_id_aliases as alias
    left join present
      on present.provider = alias.provider
    where (alias.organisation_id = organisation) is true
      and alias.contact_id = any(people)
      and alias.remote_state = 'merged'
    union
    select
      connection.provider,
      named.entity_type,
      named.external_id,
      connection.account
    from %1$I.contact_external_id_archive as archive
    inner join connection
      on connection.id = archive.connection_id
    cross join lateral (
      values
        (archive.entity_type, archive.external_id),
        (archive.merged_into_entity_type, archive.merged_into_external_id)
    ) as named (entity_type, external_id)
    where archive.organisation_id = organisation
      and archive.contact_id = any(people)
      and named.external_id is not null
    union
    select
      change.provider,
      change.entity_type,
      change.external_id,
      connection.account
    from (
      select
        from_change.provider,
        from_change.entity_type,
        from_change.external_id,
        from_change.connection_id
      from %1$I.contact_external_id_changes as from_change
      where from_change.organisation_id = organisation
        and from_change.from_contact_id = any(people)
      union all
      select
        to_change.provider,
        to_change.entity_type,
        to_change.external_id,
        to_change.connection_id
      from %1$I.contact_external_id_changes as to_change
      where to_change.organisation_id = organisation
        and to_change.to_contact_id = any(people)
    ) as change
    left join connection
      on connection.id = change.connection_id
    where change.external_id is not null
    union
    select
      connection.provider,
      conflict.entity_type,
      conflict.external_id,
      connection.account
    from %1$I.crm_sync_conflicts as conflict
    inner join connection
      on connection.id = conflict.connection_id
    where conflict.organisation_id = organisation
      and conflict.contact_id = any(people)
    union
    select
      connection.provider,
      event.value ->> 1,
      event.value ->> 2,
      connection.account
    from jsonb_array_elements(logged) as event (value)
    inner join connection
      on connection.id = (event.value ->> 0)::uuid
  )
  select
    record.provider collate "default",
    record.account collate "default",
    record.entity_type collate "default",
    record.external_id collate "default",
    coalesce(least(live.since, archived.since), 'infinity')
  from record
  left join present
    on present.provider = record.provider
  left join lateral (
    select other.first_seen_at as since
    from %1$I.contact_external_records as other
    where other.organisation_id = organisation
      and other.provider = record.provider
      and other.entity_type = record.entity_type
      and other.external_id = record.external_id
      and other.contact_id <> all(people)
      and coalesce(present.account = record.account, true)
    limit 1
  ) as live on true
  left join lateral (
    select min(other.first_seen_at) as since
    from connection
    inner join %1$I.contact_external_id_archive as other
      on other.organisation_id = organisation
      and other.connection_id = connection.id
      and other.entity_type = record.entity_type
      and other.external_id = record.external_id
      and other.contact_id <> all(people)
    where connection.provider = record.provider
      and coalesce(connection.account = record.account, true)
  ) as archived on true;
end
$body$
$create$);

comment on function crm_contact_records(uuid, uuid[]) is
  'Lists every record at a CRM by which these contacts of an organisation are or were known: now, in the archive, in the history, in conflicts and in the log. theirs_until: infinity, or if the id means another contact by now, since when: what was logged under the id from then on is that one''s. Null accounts are unknown. Fails with CRM01 if row-level security may hide rows (crm_require_all_rows).';

-- 3. The erasure.

select crm_run_in_schema($create$
create function %1$I.crm_erase_contact(
  organisation_id uuid,
  named_ids uuid[],
  contact_ids uuid[],
  subject_hashes bytea[],
  key_id text,
  salt bytea
)
returns table (erasure_id bigint, counts jsonb)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  people constant uuid[] := contact_ids;
  at constant timestamptz := %1$I.crm_now();
  erased_error constant text :=
    'case when error is not null then jsonb_build_object(''kind'', error -> ''kind'', ''retryable'', error -> ''retryable'', ''message'', ''Erased.'') end';
  log_table regclass;
  connection_id uuid;
  filled uuid;
  -- Each record that was theirs, element by element.
  providers text[];
  accounts text[];
  entity_types text[];
  external_ids text[];
  untils timestamptz[];
  -- The records that are nobody else's by now, by connection, element by element.
  own_connections uuid[];
  own_types text[];
  own_ids text[];
  -- Other contacts that had one of these records once.
  former_contacts uuid[];
  -- The live connections.
  locked uuid[];
  -- Those of the person who were erased before.
  proven uuid[];
  stranger uuid;
  is_merged boolean;
  merged_into uuid;
  merge uuid;
  erasure bigint;
  row_counts jsonb := '{}';
  affected bigint;
  total bigint := 0;
begin
  perform %1$I.crm_require_read_committed('a person cannot be erased');
  if organisation is null
    or coalesce(cardinality(named_ids), 0) = 0
    or array_position(named_ids, null) is not null
    or coalesce(cardinality(people), 0) = 0
    or array_position(people, null) is not null
    or cardinality(subject_hashes) is distinct from cardinality(people)
    or array_position(subject_hashes, null) is not null
    or salt is null
    or key_id is null
  then
    raise exception using
      errcode = 'CRM04',
      message = 'an erasure needs an organisation, contacts, a hash for each of them, a key id and a salt';
  end if;

  -- Step 1. Locks, in everybody's order. Open runs end: a worker that has read the person already is refused
  -- (lease_lost), and writes nothing of them afterwards. Their connections are due at once. Not those that are
  -- disconnected: nobody works on them, and who connects the CRM again locks the last one after the ids.
  select coalesce(array_agg(connection.id), '{}')
  into locked
  from (
    select connections.id
    from %1$I.crm_connections as connections
    where connections.organisation_id = organisation
      and connections.status <> 'disconnected'
    order by connections.id
    for no key update
  ) as connection;
  with ended as (
    update %1$I.crm_sync_runs as run
    set
      ended_at = at,
      outcome = 'cancelled'
    where run.organisation_id = organisation
      and run.ended_at is null
    returning run.connection_id
  )
  update %1$I.crm_connections as connection
  set next_sync_at = least(connection.next_sync_at, greatest(at, connection.not_before_at))
  from ended
  where connection.organisation_id = organisation
    and connection.id = ended.connection_id;
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('crm_sync_runs', affected);
  perform %1$I.crm_lock_external_ids(organisation, array['agentos', 'alto', 'custom', 'loop', 'reapit', 'street']);
  perform %1$I.crm_lock_contacts(organisation, people);
  -- Last, because whoever logs something may hold the others.
  perform %1$I.crm_lock_log(organisation, true);
  perform %1$I.crm_require_all_rows();
  -- From here on, nobody connects a CRM: that takes the lock of its ids (crm_switch_account).
  if exists (
    select
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.status <> 'disconnected'
      and connection.id <> all(locked)
  ) then
    raise exception using
      errcode = 'serialization_failure',
      message = 'the organisation was connected to a CRM meanwhile',
      hint = 'Try again.';
  end if;

  -- Step 2. The person is all of these contacts, and nobody else: only now can no merge change that.
  select coalesce(array_agg(given.contact_id), '{}')
  into proven
  from unnest(people, subject_hashes) as given (contact_id, hash)
  where given.hash in (
    select unnest(proof.subject_hashes)
    from %1$I.crm_erasures as proof
    where proof.organisation_id = organisation
      and proof.subject = 'contact'
  );
  -- An erasure leaves no merge, so that this one came after: whoever was merged into an erased contact may be alive.
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on' then
    select
      change.from_contact_id,
      change.to_contact_id,
      change.operation_id
    into
      stranger,
      merged_into,
      merge
    from %1$I.contact_external_id_changes as change
    where change.organisation_id = organisation
      and change.to_contact_id = any(proven)
      and change.kind = 'contacts_merged'
      and change.external_id is null
      and change.undone_by is null
      and change.from_contact_id <> all(proven)
    limit 1;
    if stranger is not null then
      raise exception using
        errcode = 'CRM04',
        message = format('contact %%s was merged into %%s after that had been erased', stranger, merged_into),
        hint = format('Undo merge %%s (contactMergeUndo), and erase it then. If they are one person, erase both with PGOPTIONS="-c crm_schema.allow_data_loss=on".', merge);
    end if;
  end if;
  -- Read before the locks, it may lack somebody who was merged since, or have somebody whose merge was undone.
  select
    coalesce(lineage.contact_id, given.contact_id),
    lineage.contact_id is not null
  into
    stranger,
    is_merged
  from %1$I.crm_contact_lineage(organisation, named_ids) as lineage
  full join unnest(people) as given (contact_id)
    on given.contact_id = lineage.contact_id
  where lineage.contact_id is null
    or given.contact_id is null
  limit 1;
  if stranger is not null then
    raise exception using
      errcode = 'serialization_failure',
      message = case
        when is_merged then format('contact %%s was merged into the person: it has to be erased, too', stranger)
        else format('contact %%s is not merged into the person any more: it must not be erased', stranger)
      end,
      hint = 'List the contacts with crm_contact_lineage, and try again.';
  end if;
  select change.to_contact_id
  into stranger
  from %1$I.contact_external_id_changes as change
  where change.organisation_id = organisation
    and change.from_contact_id = any(people)
    and change.kind = 'contacts_merged'
    and change.external_id is null
    and change.undone_by is null
    and change.to_contact_id <> all(people)
    -- Nothing of a contact that had been erased was left to merge: that they were merged is forgotten below.
    and not (
      change.from_contact_id = any(proven)
      and not exists (
        select
        from %1$I.contact_external_id_changes as moved
        where moved.organisation_id = organisation
          and moved.operation_id = change.operation_id
          and moved.external_id is not null
      )
    )
  limit 1;
  if stranger is not null then
    raise exception using
      errcode = 'CRM04',
      message = format('the contact was merged into %%s', stranger),
      hint = 'If that merge was a mistake, undo it first (contactMergeUndo). If they are one person, erase that contact, which erases this one, too.';
  end if;

  -- Step 3. Every id they had.
  select
    coalesce(array_agg(record.provider), '{}'),
    coalesce(array_agg(record.account), '{}'),
    coalesce(array_agg(record.entity_type), '{}'),
    coalesce(array_agg(record.external_id), '{}'),
    coalesce(array_agg(record.theirs_until), '{}')
  into
    providers,
    accounts,
    entity_types,
    external_ids,
    untils
  from %1$I.crm_contact_records(organisation, people) as record;
  select
    coalesce(array_agg(connection.id), '{}'),
    coalesce(array_agg(record.entity_type), '{}'),
    coalesce(array_agg(record.external_id), '{}')
  into
    own_connections,
    own_types,
    own_ids
  from unnest(providers, accounts, entity_types, external_ids, untils)
    as record (provider, account, entity_type, external_id, theirs_until)
  inner join %1$I.crm_connections as connection
    on connection.organisation_id = organisation
    and connection.provider = record.provider
    and coalesce(connection.account = record.account, true)
  where record.theirs_until = 'infinity';
  select coalesce(array_agg(distinct other.contact_id), '{}')
  into former_contacts
  from unnest(providers, entity_types, external_ids, untils)
    as record (provider, entity_type, external_id, theirs_until)
  inner join %1$I.contact_external_id_changes as change
    on change.organisation_id = organisation
    and change.provider = record.provider
    and change.entity_type = record.entity_type
    and change.external_id = record.external_id
  cross join lateral (values (change.from_contact_id), (change.to_contact_id)) as other (contact_id)
  where record.theirs_until = 'infinity'
    and other.contact_id <> all(people);

  -- Step 4. The log, then the months that were detached. None is detached meanwhile: that locks crm_connections, too.
  perform set_config('crm_schema.erasing', 'on', true);
  for log_table in select tables from %1$I.crm_sync_log_tables() as tables loop
    -- By the contact.
    execute format(
      'update %%s set internal_id = null, external_id = null, error = %%s
       where organisation_id = $1 and internal_id = any($2)',
      log_table, erased_error
    )
    using organisation, people;
    get diagnostics affected = row_count;
    total := total + affected;
    continue when cardinality(external_ids) = 0;
    -- By the id: before there was a contact, where reading it failed, and where it was refused to another contact, whose
    -- event stays that one's, without the id.
    execute format(
      'update %%s as event set external_id = null, error = %%s
       where event.organisation_id = $1
         and (event.internal_id is null or event.error is not null)
         and event.external_id = any($2)
         and exists (
           select
           from unnest($3, $4, $5, $2, $6) as record (provider, account, entity_type, external_id, theirs_until)
           inner join %1$I.crm_connections as connection
             on connection.organisation_id = $1
             and connection.provider = record.provider
             and coalesce(connection.account = record.account, true)
           where connection.id = event.connection_id
             and record.entity_type = event.entity_type
             and record.external_id = event.external_id
             and event.occurred_at < record.theirs_until
             and (event.internal_id is null or record.theirs_until = ''infinity'')
         )',
      log_table, erased_error
    )
    using organisation, external_ids, providers, accounts, entity_types, untils;
    get diagnostics affected = row_count;
    total := total + affected;
    continue when cardinality(former_contacts) = 0;
    -- By another contact that had one of the records once: its event stays that one's, too.
    execute format(
      'update %%s as event set external_id = null, error = %%s
       where event.organisation_id = $1
         and event.internal_id = any($2)
         and (event.connection_id, event.entity_type, event.external_id) in (
           select connection_id, entity_type, external_id
           from unnest($3, $4, $5) as record (connection_id, entity_type, external_id)
         )',
      log_table, erased_error
    )
    using organisation, former_contacts, own_connections, own_types, own_ids;
    get diagnostics affected = row_count;
    total := total + affected;
  end loop;
  perform set_config('crm_schema.erasing', '', true);
  row_counts := row_counts || jsonb_build_object('crm_sync_log', total);

  -- Step 5. What is pending.
  delete from %1$I.crm_sync_failures as failure
  using %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and failure.organisation_id = organisation
    and failure.connection_id = connection.id
    and (
      (
        failure.direction = 'outbound'
        -- Raw SQL may have written it in upper case.
        and failure.record_id = any(people::text[] || upper(people::text)::text[])
      )
      or (
        failure.direction = 'inbound'
        and failure.record_id = any(own_ids)
        and (failure.connection_id, failure.entity_type, failure.record_id) in (
          select
            record.connection_id,
            record.entity_type,
            record.external_id
          from unnest(own_connections, own_types, own_ids) as record (connection_id, entity_type, external_id)
        )
      )
    );
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('crm_sync_failures', affected);
  delete from %1$I.crm_outbound_changes as change
  where change.organisation_id = organisation
    and change.contact_id = any(people);
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('crm_outbound_changes', affected);
  delete from %1$I.crm_record_requests as request
  using unnest(own_connections, own_types, own_ids) as record (connection_id, entity_type, external_id)
  where request.organisation_id = organisation
    and request.connection_id = record.connection_id
    and request.entity_type = record.entity_type
    and request.external_id = record.external_id;
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('crm_record_requests', affected);
  delete from %1$I.crm_sync_conflicts as conflict
  where conflict.organisation_id = organisation
    and (
      conflict.contact_id = any(people)
      or (conflict.connection_id, conflict.entity_type, conflict.external_id) in (
        select
          record.connection_id,
          record.entity_type,
          record.external_id
        from unnest(own_connections, own_types, own_ids) as record (connection_id, entity_type, external_id)
      )
    );
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('crm_sync_conflicts', affected);
  total := 0;
  -- How far a fill has come is a contact's id. It goes on after the contact before; without one, or if the owner of
  -- these tables may not see contacts, it looks at all of them again.
  for connection_id, filled in
    select
      connection.id,
      connection.fill_contact_id
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.fill_contact_id = any(people)
  loop
    if has_column_privilege('%2$s'::regclass, 'id', 'select')
      and has_column_privilege('%2$s'::regclass, 'organisation_id', 'select')
    then
      filled := (
        select contacts.id
        from %2$s as contacts
        where contacts.organisation_id = organisation
          and contacts.id < filled
          and contacts.id <> all(people)
        order by contacts.id desc
        limit 1
      );
    else
      filled := null;
    end if;
    update %1$I.crm_connections as connection
    set fill_contact_id = filled
    where connection.organisation_id = organisation
      and connection.id = connection_id;
    total := total + 1;
  end loop;
  row_counts := row_counts || jsonb_build_object('crm_connections', total);

  -- Step 6. Identity.
  delete from %1$I.contact_external_ids as mapping
  where (mapping.organisation_id = organisation) is true
    and mapping.contact_id = any(people);
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('contact_external_ids', affected);
  delete from %1$I.contact_external_id_aliases as alias
  where (alias.organisation_id = organisation) is true
    and alias.contact_id = any(people);
  get diagnostics affected = row_count;
  total := affected;
  -- A record that the CRM merged into one of theirs, and that is another contact's.
  update %1$I.contact_external_id_aliases as alias
  set
    remote_state = 'deleted',
    merged_into_entity_type = null,
    merged_into_external_id = null
  where alias.organisation_id = organisation
    and alias.remote_state = 'merged'
    and alias.merged_into_external_id = any(external_ids)
    and exists (
      select
      from unnest(providers, accounts, entity_types, external_ids, untils)
        as record (provider, account, entity_type, external_id, theirs_until)
      where record.provider = alias.provider
        and record.entity_type = alias.merged_into_entity_type
        and record.external_id = alias.merged_into_external_id
        and record.theirs_until = 'infinity'
        and coalesce(
          record.account = (
            select connection.account
            from %1$I.crm_connections as connection
            where connection.organisation_id = organisation
              and connection.provider = record.provider
            order by connection.connected_at desc, connection.id
            limit 1
          ),
          true
        )
    );
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('contact_external_id_aliases', total + affected);
  delete from %1$I.contact_external_id_archive as archive
  where archive.organisation_id = organisation
    and archive.contact_id = any(people);
  get diagnostics affected = row_count;
  total := affected;
  delete from %1$I.contact_external_id_archive as archive
  using unnest(own_connections, own_types, own_ids) as record (connection_id, entity_type, external_id)
  where archive.organisation_id = organisation
    and archive.connection_id = record.connection_id
    and archive.entity_type = record.entity_type
    and archive.external_id = record.external_id;
  get diagnostics affected = row_count;
  total := total + affected;
  update %1$I.contact_external_id_archive as archive
  set
    remote_state = 'deleted',
    merged_into_entity_type = null,
    merged_into_external_id = null
  where archive.organisation_id = organisation
    and archive.merged_into_external_id = any(own_ids)
    and (archive.connection_id, archive.merged_into_entity_type, archive.merged_into_external_id) in (
      select
        record.connection_id,
        record.entity_type,
        record.external_id
      from unnest(own_connections, own_types, own_ids) as record (connection_id, entity_type, external_id)
    );
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('contact_external_id_archive', total + affected);
  -- A change between them and another contact goes as a whole: of the other, it says nothing else.
  delete from %1$I.contact_external_id_changes as change
  where change.organisation_id = organisation
    and change.from_contact_id = any(people);
  get diagnostics affected = row_count;
  total := affected;
  delete from %1$I.contact_external_id_changes as change
  where change.organisation_id = organisation
    and change.to_contact_id = any(people);
  get diagnostics affected = row_count;
  total := total + affected;
  delete from %1$I.contact_external_id_changes as change
  using unnest(providers, accounts, entity_types, external_ids, untils)
    as record (provider, account, entity_type, external_id, theirs_until)
  where record.theirs_until = 'infinity'
    and change.organisation_id = organisation
    and change.provider = record.provider
    and change.entity_type = record.entity_type
    and change.external_id = record.external_id
    and coalesce(
      record.account = (
        select connection.account
        from %1$I.crm_connections as connection
        where connection.organisation_id = organisation
          and connection.id = change.connection_id
      ),
      true
    );
  get diagnostics affected = row_count;
  row_counts := row_counts || jsonb_build_object('contact_external_id_changes', total + affected);

  -- Step 7. The proof, and what recognises the records if the CRM sends them again.
  insert into %1$I.crm_erasure_salts (organisation_id, key_id, salt)
  values (organisation, key_id, salt)
  on conflict on constraint crm_erasure_salts_pkey do nothing;
  perform
  from %1$I.crm_erasure_salts as salts
  where salts.organisation_id = organisation
    and salts.key_id = crm_erase_contact.key_id
    and salts.salt = crm_erase_contact.salt;
  if not found then
    raise exception using
      errcode = 'CRM04',
      message = 'an earlier erasure with this key id had another salt';
  end if;
  insert into %1$I.crm_erasures (organisation_id, subject, key_id, subject_hashes, counts)
  values (organisation, 'contact', key_id, subject_hashes, row_counts)
  returning id into erasure;
  insert into %1$I.crm_erased_records as erased (organisation_id, hash, erasure_id, account)
  select
    organisation,
    hashed.hash,
    erasure,
    -- In several accounts, it is recognised in any.
    case when count(*) = count(hashed.account) and count(distinct hashed.account) = 1 then min(hashed.account) end
  from (
    select
      %1$I.crm_erased_record_hash(salt, record.provider, record.entity_type, record.external_id) as hash,
      record.account
    from unnest(providers, accounts, entity_types, external_ids, untils)
      as record (provider, account, entity_type, external_id, theirs_until)
    where record.theirs_until = 'infinity'
    union all
    select
      %1$I.crm_erased_contact_hash(salt, given.contact_id),
      null
    from unnest(people) as given (contact_id)
  ) as hashed
  group by hashed.hash
  on conflict on constraint crm_erased_records_pkey do update
  set account = null
  where erased.account <> excluded.account
    or excluded.account is null;

  erasure_id := erasure;
  counts := row_counts;
  return next;
end
$body$
$create$);

comment on function crm_erase_contact(uuid, uuid[], uuid[], bytea[], text, bytea) is
  'Erases a person: contact_ids, the contacts that they are, all of crm_contact_lineage(named_ids) and nobody else. Ends the open runs of the organisation, rewrites what the log has of them to events without ids, deletes everything else, and adds a proof to crm_erasures. Ids that mean another contact by now stay that one''s. subject_hashes has the HMAC-SHA-256 of each contact''s id, and salt that of the organisation''s, with the key that key_id names. Returns the proof''s id, and how many rows were concerned by table. Does not touch the host''s contacts. Locks the organisation''s live connections, then all its external ids, the contacts, and the log (crm_lock_log); nobody connects a CRM meanwhile. SECURITY DEFINER, the way through the log''s trigger: only the owner may run it; grant it to nobody, because it trusts the organisation that it is given. Fails with 0A000 unless at READ COMMITTED, with 40001 if contact_ids is not that lineage any more or a CRM was connected meanwhile, with CRM01 if row-level security may hide rows (crm_require_all_rows), and with CRM04 if the person was merged into somebody else, if a contact without a proof was merged into one that was erased before (unless crm_schema.allow_data_loss is on), or if a parameter is wrong. Who was merged into somebody else after an erasure, with no id, is not.';

-- 4. The way back.

select crm_run_in_schema($create$
create function %1$I.crm_readmit_record(organisation_id uuid, provider text, entity_type text, external_id text)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
begin
  perform %1$I.crm_require_all_rows();
  delete from %1$I.crm_erased_records as erased
  using %1$I.crm_erasure_salts as salts
  where salts.organisation_id = crm_readmit_record.organisation_id
    and erased.organisation_id = salts.organisation_id
    and erased.hash = %1$I.crm_erased_record_hash(
      salts.salt,
      crm_readmit_record.provider,
      crm_readmit_record.entity_type,
      crm_readmit_record.external_id
    );
  return found;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_readmit_contact(organisation_id uuid, contact_id uuid)
returns boolean
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
begin
  perform %1$I.crm_require_all_rows();
  delete from %1$I.crm_erased_records as erased
  using %1$I.crm_erasure_salts as salts
  where salts.organisation_id = crm_readmit_contact.organisation_id
    and erased.organisation_id = salts.organisation_id
    and erased.hash = %1$I.crm_erased_contact_hash(salts.salt, crm_readmit_contact.contact_id);
  return found;
end
$body$
$create$);

comment on function crm_readmit_record(uuid, text, text, text) is
  'Lets a record of an erased person be linked and logged again, because the person wants it, or the CRM has given the id to somebody else. Returns whether it was one. Only the owner may run it.';
comment on function crm_readmit_contact(uuid, uuid) is
  'Lets the id of an erased person''s contact be logged again, and no longer takes a record that carries it for theirs. Returns whether it was one. Only the owner may run it.';

revoke execute
on function
  crm_readmit_record(uuid, text, text, text),
  crm_readmit_contact(uuid, uuid),
  crm_sync_log_tables(regclass),
  crm_contact_lineage(uuid, uuid[]),
  crm_contact_records(uuid, uuid[]),
  crm_erase_contact(uuid, uuid[], uuid[], bytea[], text, bytea)
from public;

grant execute
on function
  crm_contact_lineage(uuid, uuid[])
to crm_app, crm_worker, crm_reader;

select crm_give_to_owner(array[
  'function crm_sync_log_tables(regclass)',
  'function crm_contact_lineage(uuid, uuid[])',
  'function crm_contact_records(uuid, uuid[])',
  'function crm_erase_contact(uuid, uuid[], uuid[], bytea[], text, bytea)',
  'function crm_readmit_record(uuid, text, text, text)',
  'function crm_readmit_contact(uuid, uuid)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_readmit_contact(uuid, uuid);

drop function crm_readmit_record(uuid, text, text, text);

drop function crm_erase_contact(uuid, uuid[], uuid[], bytea[], text, bytea);

drop function crm_contact_records(uuid, uuid[]);

drop function crm_contact_lineage(uuid, uuid[]);

drop function crm_sync_log_tables(regclass);

select crm_edit_function(
  'crm_sync_log_refuse_change()',
  $wanted$begin
  if tg_op <> 'TRUNCATE'
    and current_setting('crm_schema.erasing', true) = 'on'
    and current_user = (select pg_get_userbyid(relowner) from pg_class where oid = tg_relid)
  then
    return case tg_op when 'DELETE' then old else new end;
  end if;
  raise exception using$wanted$,
  $present$begin
  raise exception using$present$
);

comment on function crm_sync_log_refuse_change() is
  'Refuses UPDATE, DELETE and TRUNCATE on the sync log with SQLSTATE CRM02. The owner of the log could disable the triggers that call it or detach a partition, and a superuser could bypass them; applications must connect as neither.';
