-- Up Migration
--
-- Purpose: keeps a proof of each erasure, without names and ids, and recognises the records of erased people, so that
--          a CRM does not bring them back.
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
  'The records of erased people, as salted hashes: they are not linked, logged or asked for again (crm_find_erased_records).';
comment on column crm_erased_records.organisation_id is
  'The organisation (tenant) whose CRM has the record.';
comment on column crm_erased_records.hash is
  'What the record is recognised by (crm_erased_record_hash).';
comment on column crm_erased_records.erasure_id is
  'The erasure that added it.';
comment on column crm_erased_records.account is
  'The account at the CRM that the id belongs to, as in crm_connections: in another account it is another record. Null if it is unknown, and for ids of several accounts.';
comment on constraint crm_erased_records_pkey on crm_erased_records is
  'Tenant first; each record once.';
comment on constraint crm_erased_records_erasure_id_fkey on crm_erased_records is
  'Composite, so that it can never be another organisation''s erasure. On delete restrict: a proof stays as long as what it proves.';
comment on constraint crm_erased_records_hash_check on crm_erased_records is
  'Always 32 bytes.';
comment on index crm_erased_records_erasure_id_idx is
  'Lists the records of an erasure, for its export.';

-- Nobody reads or writes these but the owner: workers and applications ask crm_find_erased_records.
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

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_find_erased_records(
  organisation_id uuid,
  providers text[],
  entity_types text[],
  external_ids text[]
)
returns table (record_number bigint)
language plpgsql
stable
security definer
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
begin
  -- In an organisation that has erased nobody, it costs one look-up.
  if not exists (select from %1$I.crm_erasure_salts as salts where salts.organisation_id = organisation) then
    return;
  end if;
  return query
  select given.record_number
  from unnest(providers, entity_types, external_ids)
    with ordinality as given (provider, entity_type, external_id, record_number)
  where exists (
    select
    from %1$I.crm_erasure_salts as salts
    cross join lateral (
      select erased.account
      from %1$I.crm_erased_records as erased
      where erased.organisation_id = organisation
        and erased.hash = %1$I.crm_erased_record_hash(
          salts.salt, given.provider, given.entity_type, given.external_id
        )
      limit 1
    ) as erased
    where salts.organisation_id = organisation
      and coalesce(
        erased.account = (
          select connection.account
          from %1$I.crm_connections as connection
          where connection.organisation_id = organisation
            and connection.provider = given.provider
            and connection.status <> 'disconnected'
        ),
        true
      )
  )
  order by given.record_number;
end
$body$
$create$);

comment on function crm_find_erased_records(uuid, text[], text[], text[]) is
  'Says which of these records, one array element each and counted from 1, are those of people who were erased: they must be neither linked nor logged. A record of another account of the CRM is another record, if both accounts are known. SECURITY DEFINER, because only the owner reads the salts and the hashes; it answers for the organisation that it is given.';

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

revoke execute
on function
  crm_erased_record_hash(bytea, text, text, text),
  crm_find_erased_records(uuid, text[], text[], text[])
from public;

grant execute
on function crm_find_erased_records(uuid, text[], text[], text[])
to crm_app, crm_worker;

select crm_give_to_owner(array[
  'table crm_erasures',
  'table crm_erasure_salts',
  'table crm_erased_records',
  'function crm_erased_record_hash(bytea, text, text, text)',
  'function crm_find_erased_records(uuid, text[], text[], text[])'
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

drop function crm_find_erased_records(uuid, text[], text[], text[]);

drop table crm_erased_records, crm_erasure_salts, crm_erasures;

drop function crm_erased_record_hash(bytea, text, text, text);
