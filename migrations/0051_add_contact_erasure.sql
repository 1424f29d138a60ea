-- Up Migration
--
-- Purpose: erases a person: everything by which the tables and the log know them, in one transaction; and says which
--          records are or were those of some contacts, and when, for the export of a person as well.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    restores the trigger function and drops the others; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Whose a record is, for erasures, for exports, and where records of erased people are recognised: now, that of the contact
-- to which it is linked, or else for which the archive of its account has it (crm_record_holder); earlier, that of the
-- contact that was linked to it last before, or first of all (crm_contact_record_spans). If nobody has it now, it goes with
-- the erasure of anybody who had it. What is theirs now is erased wherever it stands, and recognised afterwards; of what
-- means somebody else by now, only what was logged while it was theirs. An unknown account may be the same as another: who
-- has the record there counts, but not where records are recognised.

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
returns table (
  provider text,
  connection_id uuid,
  account text,
  entity_type text,
  external_id text,
  is_theirs boolean
)
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
      'select coalesce(jsonb_agg(distinct jsonb_build_array(event.connection_id, event.entity_type, event.external_id)), ''[]'')
       from %%s as event
       where event.organisation_id = $1
         and event.internal_id = any($2)
         and event.external_id is not null',
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
      connection.id,
      connection.account
    from connection
    order by connection.provider, connection.connected_at desc, connection.id
  ),
  record as (
    select
      present_record.provider,
      present.id as connection_id,
      present.account,
      present_record.entity_type,
      present_record.external_id
    from %1$I.contact_external_records as present_record
    left join present
      on present.provider = present_record.provider
    where (present_record.organisation_id = organisation) is true
      and present_record.contact_id = any(people)
    union
    select
      alias.provider,
      present.id,
      present.account,
      alias.merged_into_entity_type,
      alias.merged_into_external_id
    from %1$I.contact_external_id_aliases as alias
    left join present
      on present.provider = alias.provider
    where (alias.organisation_id = organisation) is true
      and alias.contact_id = any(people)
      and alias.remote_state = 'merged'
    union
    select
      connection.provider,
      connection.id,
      connection.account,
      named.entity_type,
      named.external_id
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
      connection.id,
      connection.account,
      change.entity_type,
      change.external_id
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
      connection.id,
      connection.account,
      conflict.entity_type,
      conflict.external_id
    from %1$I.crm_sync_conflicts as conflict
    inner join connection
      on connection.id = conflict.connection_id
    where conflict.organisation_id = organisation
      and conflict.contact_id = any(people)
    union
    select
      connection.provider,
      connection.id,
      connection.account,
      event.value ->> 1,
      event.value ->> 2
    from jsonb_array_elements(logged) as event (value)
    inner join connection
      on connection.id = (event.value ->> 0)::uuid
  )
  select
    record.provider collate "default",
    record.connection_id,
    record.account collate "default",
    record.entity_type collate "default",
    record.external_id collate "default",
    coalesce(holder.contact_id = any(people), true)
  from record
  left join lateral %1$I.crm_record_holder(
    organisation, record.provider, record.connection_id, record.entity_type, record.external_id
  ) as holder on true;
end
$body$
$create$);

comment on function crm_contact_records(uuid, uuid[]) is
  'Lists every record at a CRM by which these contacts of an organisation are or were known: now, in the archive, in the history, in conflicts and in the log; with the connection whose account it belongs to, null if that is unknown. is_theirs: nobody else has it by now (crm_record_holder). Fails with CRM01 if row-level security may hide rows (crm_require_all_rows).';

select crm_run_in_schema($create$
create function %1$I.crm_contact_record_spans(
  organisation_id uuid,
  contact_ids uuid[],
  named_connection_ids uuid[] default '{}',
  named_entity_types text[] default '{}',
  named_external_ids text[] default '{}'
)
returns table (
  connection_id uuid,
  entity_type text,
  external_id text,
  from_at timestamptz,
  before_at timestamptz
)
language sql
stable
set search_path = pg_catalog, pg_temp
as $$
  -- What the log and the conflicts have together with one of these contacts, and what the caller found in detached months.
  with named as materialized (
    select
      named_one.connection_id,
      connection.provider,
      named_one.entity_type,
      named_one.external_id
    from (
      select event.connection_id, event.entity_type, event.external_id
      from unnest(contact_ids) as person (contact_id)
      cross join lateral (
        select
          entry.connection_id,
          entry.entity_type,
          entry.external_id
        from %1$I.crm_sync_log as entry
        where entry.organisation_id = crm_contact_record_spans.organisation_id
          and entry.internal_id = person.contact_id
          and entry.external_id is not null
      ) as event
      union
      select conflict.connection_id, conflict.entity_type, conflict.external_id
      from %1$I.crm_sync_conflicts as conflict
      where (conflict.organisation_id = crm_contact_record_spans.organisation_id) is true
        and conflict.contact_id = any(contact_ids)
      union
      select elsewhere.connection_id, elsewhere.entity_type, elsewhere.external_id
      from unnest(named_connection_ids, named_entity_types, named_external_ids)
        as elsewhere (connection_id, entity_type, external_id)
    ) as named_one
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = crm_contact_record_spans.organisation_id
        and connection.id = named_one.connection_id
  ),
  -- "is true" keeps the planner from reading all of an organisation's ids where statistics are missing.
  known as materialized (
    select record.provider, record.entity_type, record.external_id
    from %1$I.contact_external_records as record
    where (record.organisation_id = crm_contact_record_spans.organisation_id) is true
      and record.contact_id = any(contact_ids)
    union
    select connection.provider, archive.entity_type, archive.external_id
    from %1$I.contact_external_id_archive as archive
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = archive.organisation_id
        and connection.id = archive.connection_id
    where archive.organisation_id = crm_contact_record_spans.organisation_id
      and archive.contact_id = any(contact_ids)
    union
    select change.provider, change.entity_type, change.external_id
    from %1$I.contact_external_id_changes as change
    where change.organisation_id = crm_contact_record_spans.organisation_id
      and change.from_contact_id = any(contact_ids)
      and change.external_id is not null
    union
    select named.provider, named.entity_type, named.external_id
    from named
  ),
  -- Each contact that has or had one of these ids. Ties go to the later one: the history first, then what is present.
  link as materialized (
    select
      known.provider,
      known.entity_type,
      known.external_id,
      record.contact_id,
      record.first_seen_at as linked_at,
      null::timestamptz as merged_at,
      present.account,
      2 as rank,
      0::bigint as position
    from known
    cross join lateral (
      select candidate.contact_id, candidate.first_seen_at
      from %1$I.contact_external_records as candidate
      where candidate.organisation_id = crm_contact_record_spans.organisation_id
        and candidate.provider = known.provider
        and candidate.entity_type = known.entity_type
        and candidate.external_id = known.external_id
      limit 1
    ) as record
    left join lateral (
      select connection.account
      from %1$I.crm_connections as connection
      where connection.organisation_id = crm_contact_record_spans.organisation_id
        and connection.provider = known.provider
      order by
        connection.status = 'disconnected',
        connection.connected_at desc
      limit 1
    ) as present on true
    union all
    select
      known.provider,
      known.entity_type,
      known.external_id,
      record.contact_id,
      record.first_seen_at,
      null,
      connection.account,
      1,
      0
    from known
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = crm_contact_record_spans.organisation_id
        and connection.provider = known.provider
    cross join lateral (
      select archive.contact_id, archive.first_seen_at
      from %1$I.contact_external_id_archive as archive
      where archive.organisation_id = crm_contact_record_spans.organisation_id
        and archive.connection_id = connection.id
        and archive.entity_type = known.entity_type
        and archive.external_id = known.external_id
        and archive.contact_id is not null
      limit 1
    ) as record
    union all
    select
      known.provider,
      known.entity_type,
      known.external_id,
      past.from_contact_id,
      past.linked_at,
      past.merged_at,
      connection.account,
      0,
      past.id
    from known
    cross join lateral (
      select
        change.id,
        change.from_contact_id,
        coalesce(change.linked_at, change.changed_at) as linked_at,
        case when change.kind = 'contacts_merged' and change.undone_by is null then change.changed_at end as merged_at,
        change.connection_id
      from %1$I.contact_external_id_changes as change
      where change.organisation_id = crm_contact_record_spans.organisation_id
        and change.provider = known.provider
        and change.entity_type = known.entity_type
        and change.external_id = known.external_id
        and change.from_contact_id is not null
      order by change.id desc
      limit 1000
    ) as past
    left join %1$I.crm_connections as connection
      on connection.organisation_id = crm_contact_record_spans.organisation_id
        and connection.id = past.connection_id
  ),
  -- From one link to the next; the first one also has what came before it. A merge of contacts keeps when the id was
  -- linked: until then it was that of the contact that was merged away. Who has it now is the last one, also where a
  -- later link is only in an account that may be the same.
  span as (
    select
      connection.id as connection_id,
      link.entity_type,
      link.external_id,
      link.contact_id,
      case
        when row_number() over times > 1
          then greatest(link.linked_at, lag(link.merged_at) over times)
      end as from_at,
      case
        when lead(link.contact_id) over times is not null
          then greatest(
            min(link.linked_at) over (times rows between 1 following and unbounded following),
            link.merged_at
          )
      end as before_at
    from link
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = crm_contact_record_spans.organisation_id
        and connection.provider = link.provider
        -- Unless both accounts are known, it may be the same one.
        and (connection.account <> link.account) is not true
    left join lateral %1$I.crm_record_holder(
      crm_contact_record_spans.organisation_id, link.provider, connection.id, link.entity_type, link.external_id
    ) as holder on true
    window times as (
      partition by connection.id, link.entity_type, link.external_id
      order by
        link.rank > 0 and (link.contact_id = holder.contact_id) is true,
        link.linked_at,
        link.rank,
        link.position
    )
  )
  select span.connection_id, span.entity_type, span.external_id, span.from_at, span.before_at
  from span
  where span.contact_id = any(contact_ids)
    and (span.from_at < span.before_at) is not false
  union all
  -- Nobody was ever linked, but the record was named together with the contact: a link that was refused.
  select named.connection_id, named.entity_type, named.external_id, null, null
  from named
  where not exists (
    select
    from span
    where span.connection_id = named.connection_id
      and span.entity_type = named.entity_type
      and span.external_id = named.external_id
  )
$$;
$create$);

comment on function crm_contact_record_spans(uuid, uuid[], uuid[], text[], text[]) is
  'The records that are or were those of some contacts, and when, by connection: what was logged of a record alone, without a contact, belongs to the contact that was linked to it last before, or to the first one if there was none; and what was logged of both shows the record only if it was that contact''s then. Null: since ever, or until now. An id that has become another contact''s has an end. Records of another account of the CRM are left out, if both accounts are known. Who has the record now (crm_record_holder) is the last one. A record that nobody has any more is that of the last one, because an export must not show what is another person''s; crm_contact_records, for erasures, has it for each of them. The last three parameters name, element by element, the records that stand together with these contacts in months that are detached from the log.';

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
  -- Each record that is or was theirs, element by element.
  providers text[];
  connections uuid[];
  accounts text[];
  entity_types text[];
  external_ids text[];
  are_theirs boolean[];
  -- Those that are theirs, by connection, element by element; the connection is null if there was none to the CRM.
  own_providers text[];
  own_connections uuid[];
  own_types text[];
  own_ids text[];
  -- When the others were theirs.
  past_connections uuid[] := '{}';
  past_types text[] := '{}';
  past_ids text[] := '{}';
  past_from timestamptz[] := '{}';
  past_before timestamptz[] := '{}';
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
    coalesce(array_agg(record.connection_id), '{}'),
    coalesce(array_agg(record.account), '{}'),
    coalesce(array_agg(record.entity_type), '{}'),
    coalesce(array_agg(record.external_id), '{}'),
    coalesce(array_agg(record.is_theirs), '{}')
  into
    providers,
    connections,
    accounts,
    entity_types,
    external_ids,
    are_theirs
  from %1$I.crm_contact_records(organisation, people) as record;
  -- What may be of an account may stand under each of its connections, unless somebody else certainly has it there.
  select
    coalesce(array_agg(own.provider), '{}'),
    coalesce(array_agg(own.connection_id), '{}'),
    coalesce(array_agg(own.entity_type), '{}'),
    coalesce(array_agg(own.external_id), '{}')
  into
    own_providers,
    own_connections,
    own_types,
    own_ids
  from (
    select distinct
      record.provider,
      connection.id as connection_id,
      record.entity_type,
      record.external_id
    from unnest(providers, accounts, entity_types, external_ids, are_theirs)
      as record (provider, account, entity_type, external_id, is_theirs)
    left join %1$I.crm_connections as connection
      on connection.organisation_id = organisation
      and connection.provider = record.provider
      and coalesce(connection.account = record.account, true)
    where record.is_theirs
  ) as own
  left join lateral %1$I.crm_record_holder(
    organisation, own.provider, own.connection_id, own.entity_type, own.external_id
  ) as holder on true
  where holder.contact_id = any(people)
    or holder.is_certain is not true;
  if false = any(are_theirs) then
    select
      coalesce(array_agg(span.connection_id), '{}'),
      coalesce(array_agg(span.entity_type), '{}'),
      coalesce(array_agg(span.external_id), '{}'),
      coalesce(array_agg(coalesce(span.from_at, '-infinity')), '{}'),
      coalesce(array_agg(coalesce(span.before_at, 'infinity')), '{}')
    into
      past_connections,
      past_types,
      past_ids,
      past_from,
      past_before
    from (
      select
        array_agg(record.connection_id) as connection_ids,
        array_agg(record.entity_type) as entity_types,
        array_agg(record.external_id) as external_ids
      from unnest(connections, entity_types, external_ids) as record (connection_id, entity_type, external_id)
      where record.connection_id is not null
    ) as named
    cross join lateral %1$I.crm_contact_record_spans(
      organisation, people, named.connection_ids, named.entity_types, named.external_ids
    ) as span
    where (span.connection_id, span.entity_type, span.external_id) not in (
      select
        own.connection_id,
        own.entity_type,
        own.external_id
      from unnest(own_connections, own_types, own_ids) as own (connection_id, entity_type, external_id)
      where own.connection_id is not null
    );
  end if;
  -- Other contacts that had one of these records once.
  select coalesce(array_agg(distinct other.contact_id), '{}')
  into former_contacts
  from (
    select side.contact_id
    from unnest(own_providers, own_types, own_ids) as record (provider, entity_type, external_id)
    inner join %1$I.contact_external_id_changes as change
      on change.organisation_id = organisation
      and change.provider = record.provider
      and change.entity_type = record.entity_type
      and change.external_id = record.external_id
    cross join lateral (values (change.from_contact_id), (change.to_contact_id)) as side (contact_id)
    union all
    select archive.contact_id
    from unnest(own_connections, own_types, own_ids) as record (connection_id, entity_type, external_id)
    inner join %1$I.contact_external_id_archive as archive
      on archive.organisation_id = organisation
      and archive.connection_id = record.connection_id
      and archive.entity_type = record.entity_type
      and archive.external_id = record.external_id
  ) as other
  where other.contact_id <> all(people);

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
         and event.external_id = any($4 || $7)
         and (
           (event.connection_id, event.entity_type, event.external_id) in (
             select connection_id, entity_type, external_id
             from unnest($2, $3, $4) as own (connection_id, entity_type, external_id)
           )
           or (
             event.internal_id is null
             and exists (
               select
               from unnest($5, $6, $7, $8, $9) as past (connection_id, entity_type, external_id, from_at, before_at)
               where past.connection_id = event.connection_id
                 and past.entity_type = event.entity_type
                 and past.external_id = event.external_id
                 and event.occurred_at >= past.from_at
                 and event.occurred_at < past.before_at
             )
           )
         )',
      log_table, erased_error
    )
    using
      organisation, own_connections, own_types, own_ids, past_connections, past_types, past_ids, past_from, past_before;
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
    and alias.merged_into_external_id = any(own_ids)
    and exists (
      select
      from unnest(own_providers, own_connections, own_types, own_ids)
        as record (provider, connection_id, entity_type, external_id)
      where record.provider = alias.provider
        and record.entity_type = alias.merged_into_entity_type
        and record.external_id = alias.merged_into_external_id
        -- Links belong to the live connection, or the last one.
        and record.connection_id is not distinct from (
          select connection.id
          from %1$I.crm_connections as connection
          where connection.organisation_id = organisation
            and connection.provider = record.provider
          order by
            connection.status = 'disconnected',
            connection.connected_at desc,
            connection.id
          limit 1
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
  -- The history of their records. Of one that means somebody else by now, what says who had it before them stays, without
  -- them: the erasure of whoever has it looks through the events of that one.
  delete from %1$I.contact_external_id_changes as change
  using unnest(own_providers, own_connections, own_types, own_ids)
    as record (provider, connection_id, entity_type, external_id)
  where change.organisation_id = organisation
    and change.provider = record.provider
    and change.entity_type = record.entity_type
    and change.external_id = record.external_id
    and (change.connection_id = record.connection_id or change.connection_id is null);
  get diagnostics affected = row_count;
  total := affected;
  delete from %1$I.contact_external_id_changes as change
  where change.organisation_id = organisation
    and change.from_contact_id = any(people);
  get diagnostics affected = row_count;
  total := total + affected;
  delete from %1$I.contact_external_id_changes as change
  where change.organisation_id = organisation
    and change.to_contact_id = any(people)
    and (
      change.external_id is null
      or change.from_contact_id is null
    );
  get diagnostics affected = row_count;
  total := total + affected;
  update %1$I.contact_external_id_changes as change
  set
    to_contact_id = null,
    is_primary = null
  where change.organisation_id = organisation
    and change.to_contact_id = any(people);
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
    from unnest(providers, accounts, entity_types, external_ids, are_theirs)
      as record (provider, account, entity_type, external_id, is_theirs)
    where record.is_theirs
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
  'Erases a person: contact_ids, the contacts that they are, all of crm_contact_lineage(named_ids) and nobody else. Ends the open runs of the organisation, rewrites what the log has of them to events without ids, deletes everything else, and adds a proof to crm_erasures. Ids that mean another contact by now stay that one''s; the history of such an id keeps who had it before the person, with to_contact_id null. subject_hashes has the HMAC-SHA-256 of each contact''s id, and salt that of the organisation''s, with the key that key_id names. Returns the proof''s id, and how many rows were concerned by table. Does not touch the host''s contacts. Locks the organisation''s live connections, then all its external ids, the contacts, and the log (crm_lock_log); nobody connects a CRM meanwhile. SECURITY DEFINER, the way through the log''s trigger: only the owner may run it; grant it to nobody, because it trusts the organisation that it is given. Fails with 0A000 unless at READ COMMITTED, with 40001 if contact_ids is not that lineage any more or a CRM was connected meanwhile, with CRM01 if row-level security may hide rows (crm_require_all_rows), and with CRM04 if the person was merged into somebody else, if a contact without a proof was merged into one that was erased before (unless crm_schema.allow_data_loss is on), or if a parameter is wrong. Who was merged into somebody else after an erasure, with no id, is not.';

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

-- The export runs with the rights of whoever asks for it. Default privileges may say otherwise.
grant execute
on function
  crm_contact_lineage(uuid, uuid[]),
  crm_contact_record_spans(uuid, uuid[], uuid[], text[], text[])
to crm_app, crm_worker, crm_reader;

select crm_give_to_owner(array[
  'function crm_sync_log_tables(regclass)',
  'function crm_contact_lineage(uuid, uuid[])',
  'function crm_contact_records(uuid, uuid[])',
  'function crm_contact_record_spans(uuid, uuid[], uuid[], text[], text[])',
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

drop function crm_contact_record_spans(uuid, uuid[], uuid[], text[], text[]);

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
