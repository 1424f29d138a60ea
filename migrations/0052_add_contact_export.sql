-- Up Migration
--
-- Purpose: says which records are or were those of some contacts, and when, and finds the conflicts of a contact: for the
--          export of all that is kept of a person.
-- Locks:   crm_sync_conflicts SHARE: writes wait until the index is built. It is tried for a tenth of a second at a time,
--          up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   crm_sync_conflicts, to build the index: a fraction of a second for 100,000 conflicts.
-- Down:    drops the function and the index (crm_sync_conflicts ACCESS EXCLUSIVE). Loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_conflicts']::regclass[]);

-- The contact first: it alone names few rows, whatever the planner knows of the table.
select crm_run_in_schema($create$
create index crm_sync_conflicts_contact_id_idx
  on %1$I.crm_sync_conflicts (contact_id, organisation_id)
$create$);

comment on index crm_sync_conflicts_contact_id_idx is
  'Finds the conflicts of a person, to export or erase them.';

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
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
  -- linked: until then it was that of the contact that was merged away.
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
          then greatest(lead(link.linked_at) over times, link.merged_at)
      end as before_at
    from link
    inner join %1$I.crm_connections as connection
      on connection.organisation_id = crm_contact_record_spans.organisation_id
        and connection.provider = link.provider
        -- Unless both accounts are known, it may be the same one.
        and (connection.account <> link.account) is not true
    window times as (
      partition by connection.id, link.entity_type, link.external_id
      order by link.linked_at, link.rank, link.position
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
  'The records that are or were those of some contacts, and when, by connection: what was logged of a record alone, without a contact, belongs to the contact that was linked to it last before, or to the first one if there was none; and what was logged of both shows the record only if it was that contact''s then. Null: since ever, or until now. An id that has become another contact''s has an end. Records of another account of the CRM are left out, if both accounts are known. In doubt it is not theirs, because an export must not show what is another person''s; crm_contact_records, for erasures, decides the other way round. The last three parameters name, element by element, the records that stand together with these contacts in months that are detached from the log.';

-- The export runs with the rights of whoever asks for it. Default privileges may say otherwise.
grant execute
on function crm_contact_record_spans(uuid, uuid[], uuid[], text[], text[])
to crm_app, crm_worker, crm_reader;

select crm_give_to_owner(array['function crm_contact_record_spans(uuid, uuid[], uuid[], text[], text[])']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_conflicts']::regclass[]);

select crm_run_in_schema('drop index %1$I.crm_sync_conflicts_contact_id_idx');

drop function crm_contact_record_spans(uuid, uuid[], uuid[], text[], text[]);
