-- Up Migration
--
-- Purpose: keeps a proof of each erasure, without names and ids, and recognises the records and the contacts of erased
--          people, so that a CRM does not bring them back.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    restores the functions and drops the tables (contact_external_ids, contact_external_id_aliases, crm_erasures,
--          crm_erasure_salts and crm_erased_records ACCESS EXCLUSIVE); refuses while there are erasures, unless
--          crm_schema.allow_data_loss is on: then a CRM brings erased people back.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

create table crm_erasures (
  organisation_id uuid not null,
  id bigint generated always as identity,
  subject text not null,
  key_id text not null,
  subject_hashes bytea[] not null,
  erased_at timestamptz not null default now(),
  erased_by text not null default session_user,
  counts jsonb not null,
  constraint crm_erasures_pkey
    primary key (organisation_id, id),
  constraint crm_erasures_subject_check
    check (subject in ('contact', 'organisation')),
  constraint crm_erasures_key_id_check
    check (key_id ~ '^[0-9a-f]{16}$'),
  constraint crm_erasures_subject_hashes_check
    check (cardinality(subject_hashes) >= 1 and array_position(subject_hashes, null) is null),
  constraint crm_erasures_erased_by_check
    check (btrim(erased_by, E' \t\n\r\f\x0b') <> '' and length(erased_by) <= 100),
  constraint crm_erasures_counts_is_object_check
    check (jsonb_typeof(counts) = 'object'),
  constraint crm_erasures_erased_at_in_range_check
    check (erased_at >= '1900-01-01 00:00:00+00' and erased_at < '9999-01-01 00:00:00+00')
);

comment on table crm_erasures is
  'Proof of each erasure: when, by whom, and how much. No names and ids: whose it was is a keyed hash, and the key is not in the database. Written by crm_erase_contact; only the owner reads it.';
comment on column crm_erasures.organisation_id is
  'The organisation (tenant) whose data it was. Without a foreign key: the proof outlives the organisation.';
comment on column crm_erasures.id is
  'Names the erasure, in the order in which they were made.';
comment on column crm_erasures.subject is
  'Who was erased: contact (one person, with everyone merged into them) or organisation.';
comment on column crm_erasures.key_id is
  'Which key the hashes were made with.';
comment on column crm_erasures.subject_hashes is
  'HMAC-SHA-256 of each contact''s id, or of the organisation''s.';
comment on column crm_erasures.erased_at is
  'When the transaction that erased began.';
comment on column crm_erasures.erased_by is
  'The database user who erased: a role or a program, never a person''s name.';
comment on column crm_erasures.counts is
  'How many rows were deleted or rewritten, by table.';
comment on constraint crm_erasures_pkey on crm_erasures is
  'Tenant first.';
comment on constraint crm_erasures_subject_check on crm_erasures is
  'The closed list of subjects.';
comment on constraint crm_erasures_key_id_check on crm_erasures is
  'Sixteen hexadecimal digits.';
comment on constraint crm_erasures_subject_hashes_check on crm_erasures is
  'At least one, and none is null.';
comment on constraint crm_erasures_erased_by_check on crm_erasures is
  'Not blank, and at most 100 characters.';
comment on constraint crm_erasures_counts_is_object_check on crm_erasures is
  'A JSON object.';
comment on constraint crm_erasures_erased_at_in_range_check on crm_erasures is
  'In the years 1900 to 9998: every client can read it.';

create table crm_erasure_salts (
  organisation_id uuid not null,
  key_id text not null,
  salt bytea not null,
  constraint crm_erasure_salts_pkey
    primary key (organisation_id, key_id),
  constraint crm_erasure_salts_key_id_check
    check (key_id ~ '^[0-9a-f]{16}$'),
  constraint crm_erasure_salts_salt_check
    check (octet_length(salt) = 32)
);

comment on table crm_erasure_salts is
  'What the hashes of an organisation''s erased records are made with. Nobody reads it but the owner''s functions: with it, whoever has the hashes can try ids (docs/decisions/0027).';
comment on column crm_erasure_salts.organisation_id is
  'The organisation (tenant).';
comment on column crm_erasure_salts.key_id is
  'The key from which the salt was derived.';
comment on column crm_erasure_salts.salt is
  'HMAC-SHA-256 of the organisation''s id with that key, so that it is the same after a backup was restored.';
comment on constraint crm_erasure_salts_pkey on crm_erasure_salts is
  'Tenant first; one salt for each key.';
comment on constraint crm_erasure_salts_key_id_check on crm_erasure_salts is
  'Sixteen hexadecimal digits.';
comment on constraint crm_erasure_salts_salt_check on crm_erasure_salts is
  'Always 32 bytes.';

create table crm_erased_records (
  organisation_id uuid not null,
  hash bytea not null,
  erasure_id bigint not null,
  -- Collation C, because it is opaque to us.
  account text collate "C",
  constraint crm_erased_records_pkey
    primary key (organisation_id, hash),
  constraint crm_erased_records_erasure_id_fkey
    foreign key (organisation_id, erasure_id)
    references crm_erasures (organisation_id, id)
    on delete restrict,
  constraint crm_erased_records_hash_check
    check (octet_length(hash) = 32)
);

-- squawk-ignore require-concurrent-index-creation
create index crm_erased_records_erasure_id_idx
  on crm_erased_records (organisation_id, erasure_id);

comment on table crm_erased_records is
  'What erased people are recognised by, as salted hashes: their records, which are not linked, logged or asked for again (crm_find_erased_records), and their contacts'' ids, which records may carry (crm_find_erased_contacts).';
comment on column crm_erased_records.organisation_id is
  'The organisation (tenant).';
comment on column crm_erased_records.hash is
  'What the record (crm_erased_record_hash) or the contact (crm_erased_contact_hash) is recognised by.';
comment on column crm_erased_records.erasure_id is
  'The erasure that added it.';
comment on column crm_erased_records.account is
  'The account at the CRM that the id belongs to, as in crm_connections: in another account it is another record. Null if it is unknown, for ids of several accounts, and for contacts.';
comment on constraint crm_erased_records_pkey on crm_erased_records is
  'Tenant first; each record and each contact once.';
comment on constraint crm_erased_records_erasure_id_fkey on crm_erased_records is
  'Composite, so that it can never be another organisation''s erasure. On delete restrict: a proof stays as long as what it proves.';
comment on constraint crm_erased_records_hash_check on crm_erased_records is
  'Always 32 bytes.';
comment on index crm_erased_records_erasure_id_idx is
  'Lists what an erasure has added, for its export.';

-- Nobody reads or writes these but the owner: workers and applications ask crm_find_erased_records and
-- crm_find_erased_contacts.
alter table crm_erasures enable row level security;
alter table crm_erasure_salts enable row level security;
alter table crm_erased_records enable row level security;

create function crm_erased_record_hash(salt bytea, provider text, entity_type text, external_id text)
returns bytea
language sql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  -- Neither a provider nor an entity type contains a space, and the salt has a fixed length.
  select sha256(salt || convert_to(provider || ' ' || entity_type || ' ' || external_id, 'UTF8'))
$$;

comment on function crm_erased_record_hash(bytea, text, text, text) is
  'What crm_erased_records keeps of a record: SHA-256 of the salt and the record''s id.';

create function crm_erased_contact_hash(salt bytea, contact_id uuid)
returns bytea
language sql
stable
strict
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  -- No record's text is without a space.
  select sha256(salt || convert_to(contact_id::text, 'UTF8'))
$$;

comment on function crm_erased_contact_hash(bytea, uuid) is
  'What crm_erased_records keeps of a contact: SHA-256 of the salt and its id.';

create function crm_require_all_rows(connections_table regclass default 'crm_connections')
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  hidden text;
  statements text;
begin
  select
    string_agg(relation.oid::regclass::text, ', ' order by relation.relname),
    string_agg(format('alter table %s no force row level security;', relation.oid::regclass), ' ' order by relation.relname)
  into
    hidden,
    statements
  from pg_class as connections
  inner join pg_class as relation
    on relation.relnamespace = connections.relnamespace
    and relation.relkind in ('r', 'p')
    and (
      relation.relname = any(array[
        'contact_external_id_aliases',
        'contact_external_id_archive',
        'contact_external_id_changes',
        'contact_external_ids',
        'crm_connections',
        'crm_erased_records',
        'crm_erasure_salts',
        'crm_erasures',
        'crm_outbound_changes',
        'crm_rate_limits',
        'crm_record_requests',
        'crm_sync_conflicts',
        'crm_sync_cursors',
        'crm_sync_failures',
        'crm_sync_log',
        'crm_sync_runs'
      ])
      -- Detached months of somebody else are refused where they are searched (crm_sync_log_tables).
      or (relation.relname ~ '^crm_sync_log_' and relation.relowner = connections.relowner)
    )
  where connections.oid = connections_table
    and row_security_active(relation.oid);
  if hidden is not null then
    raise exception using
      errcode = 'CRM01',
      message = format('row-level security may hide rows from user %s: %s', current_user, hidden),
      hint = format('Be the owner of the tables. If that is who you are, the owner is under the policies, too: %s', statements);
  end if;
end
$$;

comment on function crm_require_all_rows(regclass) is
  'Fails with CRM01, and names the tables, if row-level security is active for the current user on any table that holds what is kept of people: what a policy hides must not be taken for nothing when somebody is erased, counted or exported. That is so for the owner after FORCE ROW LEVEL SECURITY. Omit the parameter.';

create function crm_lock_log(organisation_id uuid, is_erasure boolean)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  -- As many as crm_lock_external_ids has.
  bucket constant integer := hashtext(organisation_id::text) & 1023;
begin
  -- 'crm2' as a number.
  if is_erasure then
    perform pg_advisory_xact_lock(1668443442, bucket);
  else
    perform pg_advisory_xact_lock_shared(1668443442, bucket);
  end if;
end
$$;

comment on function crm_lock_log(uuid, boolean) is
  'Keeps an erasure and those who log without a run apart, until the end of the transaction: whoever logs waits for an erasure in the organisation (tenant), and an erasure for all who log there, who never wait for each other. Whoever logs asks crm_find_erased_records afterwards. Organisations may share a lock by chance. Batches of a run need none: they lock the connection.';

create function crm_check_caller_organisation(organisation_id uuid, connections_table regclass default 'crm_connections')
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  caller constant name := coalesce(nullif(current_setting('role'), 'none'), session_user);
begin
  if pg_has_role(caller, 'crm_app', 'usage')
    and not pg_has_role(caller, 'crm_worker', 'usage')
    and not (select rolbypassrls from pg_roles where rolname = caller)
    and not pg_has_role(caller, (select relowner from pg_class where oid = connections_table), 'usage')
    and nullif(current_setting('crm_schema.organisation_id', true), '')::uuid is distinct from organisation_id
  then
    raise exception using
      errcode = 'CRM05',
      message = 'the organisation is not the one that is set in this transaction',
      hint = 'Call crm_set_organisation first, in the same transaction (in TypeScript: withOrganisation, with the client that it lends).';
  end if;
end
$$;

comment on function crm_check_caller_organisation(uuid, regclass) is
  'What crm_check_organisation is, for functions that are SECURITY DEFINER, in which the current user is their owner: asks for the user who called them. Omit the second parameter.';

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_record_holder(
  organisation_id uuid,
  provider text,
  connection_id uuid,
  entity_type text,
  external_id text
)
returns table (contact_id uuid, is_certain boolean)
language sql
stable
rows 1
set search_path = pg_catalog, pg_temp
as $body$
  with connection as materialized (
    select
      connections.id,
      connections.account,
      -- To whose account the links at this CRM belong; without a live connection, they are those of the last one.
      row_number() over (
        order by
          connections.status = 'disconnected',
          connections.connected_at desc,
          connections.id
      ) = 1 as is_present
    from %1$I.crm_connections as connections
    where connections.organisation_id = crm_record_holder.organisation_id
      and connections.provider = crm_record_holder.provider
  ),
  link as (
    select
      record.contact_id,
      record.first_seen_at,
      true as is_present,
      present.id as connection_id,
      present.account
    from (
      select
        linked.contact_id,
        linked.first_seen_at
      from %1$I.contact_external_records as linked
      where linked.organisation_id = crm_record_holder.organisation_id
        and linked.provider = crm_record_holder.provider
        and linked.entity_type = crm_record_holder.entity_type
        and linked.external_id = crm_record_holder.external_id
      limit 1
    ) as record
    left join connection as present
      on present.is_present
    union all
    select
      record.contact_id,
      record.first_seen_at,
      false,
      connection.id,
      connection.account
    from connection
    cross join lateral (
      select
        archive.contact_id,
        archive.first_seen_at
      from %1$I.contact_external_id_archive as archive
      where archive.organisation_id = crm_record_holder.organisation_id
        and archive.connection_id = connection.id
        and archive.entity_type = crm_record_holder.entity_type
        and archive.external_id = crm_record_holder.external_id
        and archive.contact_id is not null
      limit 1
    ) as record
  )
  select
    link.contact_id,
    account.is_same
  from link
  left join connection as named
    on named.id = crm_record_holder.connection_id
  cross join lateral (
    select
      coalesce(
        link.connection_id is not distinct from crm_record_holder.connection_id
          or link.account = named.account,
        false
      ) as is_same
  ) as account
  where (link.account <> named.account) is not true
  order by
    account.is_same desc,
    link.is_present desc,
    link.first_seen_at desc,
    link.contact_id
  limit 1
$body$
$create$);

comment on function crm_record_holder(uuid, text, uuid, text, text) is
  'Whose record it is now, in the account of a connection: that of the contact to which it is linked, else of the one for which the archive has it, the later link first. A link in that account goes before one in an account that may be the same, because either is unknown: then is_certain is false. connection_id is null if the connection is unknown. No row: nobody has it.';

select crm_run_in_schema($create$
create function %1$I.crm_find_erased_records(
  organisation_id uuid,
  providers text[],
  entity_types text[],
  external_ids text[],
  connection_id uuid default null
)
returns table (record_number bigint)
language plpgsql
-- Not stable: after waiting for an erasure, it must see what that has written.
volatile
security definer
-- Few are. By default, the planner expects a thousand.
rows 10
set search_path = pg_catalog, pg_temp
-- Fails rather than recognise nobody, should policies hold the owner, too.
set row_security = off
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  named_connection constant uuid := connection_id;
begin
  -- In an organisation that has erased nobody, it costs one look-up, and refuses nobody: the guards call it for users
  -- whom they have checked themselves, also in a function of the host that runs as another user.
  if not exists (select from %1$I.crm_erasure_salts as salts where salts.organisation_id = organisation) then
    return;
  end if;
  perform %1$I.crm_check_caller_organisation(organisation);
  return query
  select given.record_number
  from unnest(providers, entity_types, external_ids)
    with ordinality as given (provider, entity_type, external_id, record_number)
  where exists (
    select
    from %1$I.crm_erasure_salts as salts
    cross join lateral (
      select
        erased.hash,
        erased.account
      from %1$I.crm_erased_records as erased
      where erased.organisation_id = organisation
        and erased.hash = %1$I.crm_erased_record_hash(
          salts.salt, given.provider, given.entity_type, given.external_id
        )
      limit 1
    ) as erased
    -- To whose account the ids at this CRM belong; without a live connection, they are those of the last one.
    left join lateral (
      select
        connections.id,
        connections.account
      from %1$I.crm_connections as connections
      where connections.organisation_id = organisation
        and connections.provider = given.provider
      order by
        connections.status = 'disconnected',
        connections.connected_at desc,
        connections.id
      limit 1
    ) as present on true
    left join lateral (
      select
        connections.id,
        connections.account
      from %1$I.crm_connections as connections
      where connections.organisation_id = organisation
        and connections.id = coalesce(named_connection, present.id)
      limit 1
    ) as connection on true
    where salts.organisation_id = organisation
      -- If either account is unknown, it may be the same one.
      and coalesce(erased.account = connection.account, true)
      -- Erasures leave none of theirs: a record that somebody has in that very account means them.
      and not exists (
        select
        from %1$I.crm_record_holder(
          organisation, given.provider, coalesce(named_connection, present.id), given.entity_type, given.external_id
        ) as holder
        where holder.is_certain
      )
      -- The same for an id that is on the way from one row to another (crm_note_unlinked_record), in the account to which
      -- the links belong.
      and not (
        coalesce(connection.id = present.id or connection.account = present.account, named_connection is null)
        and encode(erased.hash, 'hex') = any(
          string_to_array(coalesce(current_setting('crm_schema.unlinked_records', true), ''), ' ')
        )
      )
  )
  order by given.record_number;
end
$body$
$create$);

comment on function crm_find_erased_records(uuid, text[], text[], text[], uuid) is
  'Says which of these records, one array element each and counted from 1, are those of people who were erased: they must be neither linked nor logged. They are records of the account of the connection that is named, or if none is, of the live or the last one to their CRM. A record of another account is another record, if both accounts are known. One that somebody has in that account (crm_record_holder) means them, also if this transaction has unlinked it; but not one of an account that may be another. Where anybody was erased, refuses users who do not see the organisation with CRM05. SECURITY DEFINER, because only the owner reads the salts and the hashes.';

select crm_run_in_schema($create$
create function %1$I.crm_find_erased_contacts(organisation_id uuid, contact_ids uuid[])
returns table (contact_number bigint)
language plpgsql
volatile
security definer
rows 10
set search_path = pg_catalog, pg_temp
set row_security = off
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
begin
  if not exists (select from %1$I.crm_erasure_salts as salts where salts.organisation_id = organisation) then
    return;
  end if;
  perform %1$I.crm_check_caller_organisation(organisation);
  return query
  select given.contact_number
  from unnest(contact_ids) with ordinality as given (contact_id, contact_number)
  where exists (
    select
    from %1$I.crm_erasure_salts as salts
    cross join lateral (
      select
      from %1$I.crm_erased_records as erased
      where erased.organisation_id = organisation
        and erased.hash = %1$I.crm_erased_contact_hash(salts.salt, given.contact_id)
      limit 1
    ) as erased
    -- An erasure leaves no link: who has one is somebody again. `limit` leaves only index look-ups.
    left join lateral (
      select true as is_linked
      from %1$I.contact_external_records as record
      where (record.organisation_id = organisation) is true
        and record.contact_id = given.contact_id
      limit 1
    ) as link on true
    where salts.organisation_id = organisation
      and link.is_linked is null
  )
  order by given.contact_number;
end
$body$
$create$);

comment on function crm_find_erased_contacts(uuid, uuid[]) is
  'Says which of these contacts, one array element each and counted from 1, were erased: their ids must not be logged, and a record that carries one of them, as a push in flight has made it or the CRM has copied it, must not bring the person back. A contact that is linked is somebody again. Where anybody was erased, refuses users who do not see the organisation with CRM05. SECURITY DEFINER, as crm_find_erased_records.';

select crm_run_in_schema($create$
create function %1$I.crm_note_unlinked_record(
  organisation_id uuid,
  provider text,
  entity_type text,
  external_id text
)
returns void
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
set row_security = off
as $body$
declare
  noted constant text := coalesce(current_setting('crm_schema.unlinked_records', true), '');
  unlinked text;
begin
  if not exists (
    select
    from %1$I.crm_erasure_salts as salts
    where salts.organisation_id = crm_note_unlinked_record.organisation_id
  ) then
    return;
  end if;
  -- Before it looks at records: whether it refuses must not depend on them.
  perform %1$I.crm_check_caller_organisation(organisation_id);
  select string_agg(encode(erased.hash, 'hex'), ' ')
  into unlinked
  from %1$I.crm_erasure_salts as salts
  inner join %1$I.crm_erased_records as erased
    on erased.organisation_id = salts.organisation_id
    and erased.hash = %1$I.crm_erased_record_hash(
      salts.salt,
      crm_note_unlinked_record.provider,
      crm_note_unlinked_record.entity_type,
      crm_note_unlinked_record.external_id
    )
  where salts.organisation_id = crm_note_unlinked_record.organisation_id
    and exists (
      select
      from %1$I.contact_external_records as record
      where record.organisation_id = salts.organisation_id
        and record.provider = crm_note_unlinked_record.provider
        and record.entity_type = crm_note_unlinked_record.entity_type
        and record.external_id = crm_note_unlinked_record.external_id
    );
  if unlinked is null then
    return;
  end if;
  perform set_config('crm_schema.unlinked_records', concat_ws(' ', nullif(noted, ''), unlinked), true);
end
$body$
$create$);

comment on function crm_note_unlinked_record(uuid, text, text, text) is
  'Notes, until the end of the transaction, that a record whose id was an erased person''s once is linked to somebody else and is about to be unlinked: whoever moves it links it again. By its hash, which nobody can make who does not read the salts. Where anybody was erased, refuses users who do not see the organisation with CRM05. SECURITY DEFINER, as crm_find_erased_records.';

-- 1. An id of an erased person is not linked again, whatever release the worker is of.

select crm_edit_function(
  'crm_guard_external_id_alias()',
  '  -- A separate statement, so that it sees what earlier holders of the lock have written.',
  format(
    $wanted$  if exists (
    select
    from %1$I.crm_find_erased_records(
      new.organisation_id, array[new.provider], array[new.entity_type], array[new.external_id]
    )
  ) then
    return null;
  end if;
  -- A separate statement, so that it sees what earlier holders of the lock have written.$wanted$,
    current_schema()
  )
);

select crm_edit_function(
  'crm_guard_primary_external_id()',
  '  -- A separate statement, so that it sees what earlier holders of the lock have written.',
  format(
    $wanted$  if exists (
    select
    from %1$I.crm_find_erased_records(
      new.organisation_id, array[new.provider], array[new.entity_type], array[new.external_id]
    )
  ) then
    return null;
  end if;
  -- A separate statement, so that it sees what earlier holders of the lock have written.$wanted$,
    current_schema()
  )
);

select crm_edit_function(
  'crm_note_deleted_contact()',
  $present$  then
    return old;
  end if;
  -- A trigger of the host may do so$present$,
  format(
    $wanted$  then
    perform %1$I.crm_note_unlinked_record(old.organisation_id, old.provider, old.entity_type, old.external_id);
    return old;
  end if;
  -- A trigger of the host may do so$wanted$,
    current_schema()
  )
);

select crm_edit_function(
  'crm_note_deleted_contact()',
  $present$    if found then
      return old;$present$,
  format(
    $wanted$    if found then
      perform %1$I.crm_note_unlinked_record(old.organisation_id, old.provider, old.entity_type, old.external_id);
      return old;$wanted$,
    current_schema()
  )
);

comment on function crm_note_deleted_contact() is
  'Records in contact_external_id_changes that an external id lost its contact because the host deleted the contact. If the id alone is deleted, notes only that it may be moved (crm_note_unlinked_record).';

comment on function crm_guard_external_id_alias() is
  'Keeps a primary id from becoming an alias as well, and the id of an erased person from being linked: the row is not written, as with ON CONFLICT DO NOTHING. Takes the lock of crm_lock_external_ids. Refuses other isolation levels than READ COMMITTED with SQLSTATE 0A000, and users who do not see the organisation with CRM05.';
comment on function crm_guard_primary_external_id() is
  'Keeps an id that is an alias from becoming a primary id as well, and the id of an erased person from being linked: the row is not written, as with ON CONFLICT DO NOTHING. If it is an alias of the same contact, which has no primary id, the alias becomes the primary id. Takes the lock of crm_lock_external_ids. Refuses other isolation levels than READ COMMITTED with SQLSTATE 0A000, and users who do not see the organisation with CRM05.';

-- 2. A merge at the CRM neither links nor notes such an id.

select crm_edit_function(
  'crm_merge_external_records(uuid, text, text[], text[], text[], text[], uuid, text, text)',
  $present$    elsif contact_id is null then
      outcome := 'unknown';$present$,
  format(
    $wanted$    elsif contact_id is null then
      outcome := 'unknown';
    elsif exists (
      select
      from %1$I.crm_find_erased_records(
        organisation, array[crm, crm], array[pair.from_type, pair.into_type], array[pair.from_id, pair.into_id]
      )
    ) then
      outcome := 'unknown';
      contact_id := null;$wanted$,
    current_schema()
  )
);

-- 3. A CRM is not connected while an erasure in the organisation is open: that has locked the connections which there
--    are, and a batch of a new one would write the ids back unseen.

select crm_edit_function(
  'crm_switch_account(uuid, uuid, text, timestamptz)',
  '  if coalesce(named.id, unnamed.id) is null then',
  format(
    $wanted$  -- Waits for an erasure in the organisation.
  if present.id is not null then
    perform %1$I.crm_lock_external_ids(organisation, array[present.provider]);
  end if;
  if coalesce(named.id, unnamed.id) is null then$wanted$,
    current_schema()
  )
);

revoke execute
on function
  crm_erased_record_hash(bytea, text, text, text),
  crm_erased_contact_hash(bytea, uuid),
  crm_require_all_rows(regclass),
  crm_check_caller_organisation(uuid, regclass),
  crm_lock_log(uuid, boolean),
  crm_record_holder(uuid, text, uuid, text, text),
  crm_find_erased_records(uuid, text[], text[], text[], uuid),
  crm_find_erased_contacts(uuid, uuid[]),
  crm_note_unlinked_record(uuid, text, text, text)
from public;

grant execute
on function
  crm_lock_log(uuid, boolean),
  crm_find_erased_records(uuid, text[], text[], text[], uuid),
  crm_find_erased_contacts(uuid, uuid[]),
  crm_note_unlinked_record(uuid, text, text, text)
to crm_app, crm_worker;

-- The export asks for it with the rights of whoever asks for that.
grant execute
on function crm_record_holder(uuid, text, uuid, text, text)
to crm_app, crm_worker, crm_reader;

grant execute
on function crm_find_erased_contacts(uuid, uuid[])
to crm_reader;

select crm_give_to_owner(array[
  'table crm_erasures',
  'table crm_erasure_salts',
  'table crm_erased_records',
  'function crm_erased_record_hash(bytea, text, text, text)',
  'function crm_erased_contact_hash(bytea, uuid)',
  'function crm_require_all_rows(regclass)',
  'function crm_check_caller_organisation(uuid, regclass)',
  'function crm_lock_log(uuid, boolean)',
  'function crm_record_holder(uuid, text, uuid, text, text)',
  'function crm_find_erased_records(uuid, text[], text[], text[], uuid)',
  'function crm_find_erased_contacts(uuid, uuid[])',
  'function crm_note_unlinked_record(uuid, text, text, text)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['contact_external_ids', 'contact_external_id_aliases', 'crm_erasures', 'crm_erasure_salts', 'crm_erased_records']::regclass[]);

-- Before the check, else what somebody erases now would be lost unseen; and the tables of ids, because whoever is
-- linking asks for what is dropped.
select crm_run_in_schema('lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases, %1$I.crm_erasures, %1$I.crm_erasure_salts, %1$I.crm_erased_records in access exclusive mode');

select crm_refuse_data_loss('crm_erasures has rows')
where exists (select from crm_erasures);

select crm_edit_function(
  'crm_merge_external_records(uuid, text, text[], text[], text[], text[], uuid, text, text)',
  format(
    $wanted$    elsif contact_id is null then
      outcome := 'unknown';
    elsif exists (
      select
      from %1$I.crm_find_erased_records(
        organisation, array[crm, crm], array[pair.from_type, pair.into_type], array[pair.from_id, pair.into_id]
      )
    ) then
      outcome := 'unknown';
      contact_id := null;$wanted$,
    current_schema()
  ),
  $present$    elsif contact_id is null then
      outcome := 'unknown';$present$
);

select crm_edit_function(
  'crm_guard_primary_external_id()',
  format(
    $wanted$  if exists (
    select
    from %1$I.crm_find_erased_records(
      new.organisation_id, array[new.provider], array[new.entity_type], array[new.external_id]
    )
  ) then
    return null;
  end if;
$wanted$,
    current_schema()
  ),
  ''
);

select crm_edit_function(
  'crm_guard_external_id_alias()',
  format(
    $wanted$  if exists (
    select
    from %1$I.crm_find_erased_records(
      new.organisation_id, array[new.provider], array[new.entity_type], array[new.external_id]
    )
  ) then
    return null;
  end if;
$wanted$,
    current_schema()
  ),
  ''
);

comment on function crm_guard_external_id_alias() is
  'Keeps a primary id from becoming an alias as well: the row is not written, as with ON CONFLICT DO NOTHING. Takes the lock of crm_lock_external_ids. Refuses other isolation levels than READ COMMITTED with SQLSTATE 0A000, and users who do not see the organisation with CRM05.';
comment on function crm_guard_primary_external_id() is
  'Keeps an id that is an alias from becoming a primary id as well: the row is not written, as with ON CONFLICT DO NOTHING. If it is an alias of the same contact, which has no primary id, the alias becomes the primary id. Takes the lock of crm_lock_external_ids. Refuses other isolation levels than READ COMMITTED with SQLSTATE 0A000, and users who do not see the organisation with CRM05.';

select crm_edit_function(
  'crm_note_deleted_contact()',
  format(
    $wanted$    perform %1$I.crm_note_unlinked_record(old.organisation_id, old.provider, old.entity_type, old.external_id);
    return old;
  end if;
  -- A trigger of the host may do so$wanted$,
    current_schema()
  ),
  $present$    return old;
  end if;
  -- A trigger of the host may do so$present$
);

select crm_edit_function(
  'crm_note_deleted_contact()',
  format(
    $wanted$    if found then
      perform %1$I.crm_note_unlinked_record(old.organisation_id, old.provider, old.entity_type, old.external_id);
$wanted$,
    current_schema()
  ),
  $present$    if found then
$present$
);

comment on function crm_note_deleted_contact() is
  'Records in contact_external_id_changes that an external id lost its contact because the host deleted the contact. Does nothing if the id alone is deleted.';

select crm_edit_function(
  'crm_switch_account(uuid, uuid, text, timestamptz)',
  format(
    $wanted$  -- Waits for an erasure in the organisation.
  if present.id is not null then
    perform %1$I.crm_lock_external_ids(organisation, array[present.provider]);
  end if;
  if coalesce(named.id, unnamed.id) is null then$wanted$,
    current_schema()
  ),
  '  if coalesce(named.id, unnamed.id) is null then'
);

drop function crm_note_unlinked_record(uuid, text, text, text);

drop function crm_find_erased_contacts(uuid, uuid[]);

drop function crm_find_erased_records(uuid, text[], text[], text[], uuid);

drop function crm_record_holder(uuid, text, uuid, text, text);

drop function crm_check_caller_organisation(uuid, regclass);

drop function crm_lock_log(uuid, boolean);

drop function crm_require_all_rows(regclass);

drop table crm_erased_records, crm_erasure_salts, crm_erasures;

drop function crm_erased_contact_hash(bytea, uuid);

drop function crm_erased_record_hash(bytea, text, text, text);
