-- Up Migration
--
-- Purpose: remembers which contents of a CRM's record were replaced recently, so that a copy from before a push, which a
--          list still shows, is not taken for an edit.
-- Locks:   contact_external_ids ACCESS EXCLUSIVE and contact_external_id_aliases ACCESS EXCLUSIVE: reads and writes wait
--          until the end of the transaction. They are tried for a tenth of a second at a time, up to a hundred times.
--          Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing; the new columns are null. 0047 and 0048 validate the constraints.
-- Down:    drops the columns (contact_external_ids and contact_external_id_aliases ACCESS EXCLUSIVE) and the functions.
--          Scans both tables for such contents, and refuses while there are any unless crm_schema.allow_data_loss is
--          on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['contact_external_ids', 'contact_external_id_aliases']::regclass[]);

-- Both at once, so that in a tie this migration gives way, not the application.
select crm_run_in_schema(
  'lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases in access exclusive mode'
);

alter table contact_external_ids
  add column replaced_hashes bytea[],
  add column replaced_at timestamptz,
  add constraint contact_external_ids_replaced_hashes_check
    check (cardinality(replaced_hashes) between 1 and 10 and array_position(replaced_hashes, null) is null)
    not valid,
  add constraint contact_external_ids_replaced_is_whole_check
    check ((replaced_hashes is null) = (replaced_at is null))
    not valid,
  add constraint contact_external_ids_replaced_at_in_range_check
    check (replaced_at >= '1900-01-01 00:00:00+00' and replaced_at < '9999-01-01 00:00:00+00')
    not valid;

alter table contact_external_id_aliases
  add column replaced_hashes bytea[],
  add column replaced_at timestamptz,
  add constraint contact_external_id_aliases_replaced_hashes_check
    check (cardinality(replaced_hashes) between 1 and 10 and array_position(replaced_hashes, null) is null)
    not valid,
  add constraint contact_external_id_aliases_replaced_is_whole_check
    check ((replaced_hashes is null) = (replaced_at is null))
    not valid,
  add constraint contact_external_id_aliases_replaced_at_in_range_check
    check (replaced_at >= '1900-01-01 00:00:00+00' and replaced_at < '9999-01-01 00:00:00+00')
    not valid;

comment on column contact_external_ids.replaced_hashes is
  'Earlier hashes that content_hash has replaced, oldest first, at most ten: a copy with one of them may be from before. Not kept where the modified times tell; ignored a day after replaced_at, and then dropped with the next write. Null if there is none.';
comment on column contact_external_ids.replaced_at is
  'When content_hash replaced the last of replaced_hashes. Null if there is none.';
comment on constraint contact_external_ids_replaced_hashes_check on contact_external_ids is
  'The last ten at most, and none that is null.';
comment on constraint contact_external_ids_replaced_is_whole_check on contact_external_ids is
  'Both are set, or neither.';
comment on constraint contact_external_ids_replaced_at_in_range_check on contact_external_ids is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on column contact_external_id_aliases.replaced_hashes is
  'Earlier hashes that content_hash has replaced, oldest first, at most ten: a copy with one of them may be from before. Not kept where the modified times tell; ignored a day after replaced_at, and then dropped with the next write. Null if there is none.';
comment on column contact_external_id_aliases.replaced_at is
  'When content_hash replaced the last of replaced_hashes. Null if there is none.';
comment on constraint contact_external_id_aliases_replaced_hashes_check on contact_external_id_aliases is
  'The last ten at most, and none that is null.';
comment on constraint contact_external_id_aliases_replaced_is_whole_check on contact_external_id_aliases is
  'Both are set, or neither.';
comment on constraint contact_external_id_aliases_replaced_at_in_range_check on contact_external_id_aliases is
  'Times are in the years 1900 to 9998: every client can read them.';

create function crm_was_replaced(content_hash bytea, replaced_hashes bytea[], replaced_at timestamptz)
returns boolean
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  -- A day: far longer than lists of CRMs are late.
  select coalesce(content_hash = any(replaced_hashes) and replaced_at > now() - interval '1 day', false)
$$;

create function crm_add_replaced_hash(replaced_hashes bytea[], replaced_at timestamptz, content_hash bytea)
returns bytea[]
language sql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select (array_remove(kept.hashes, content_hash) || content_hash)[
    greatest(cardinality(array_remove(kept.hashes, content_hash)) - 8, 1):
  ]
  from (
    select case when replaced_at > now() - interval '1 day' then replaced_hashes else '{}' end as hashes
  ) as kept
$$;

comment on function crm_was_replaced(bytea, bytea[], timestamptz) is
  'The one rule for whether a content was replaced recently: a copy of the record that has it may be from before, because lists show a push late; only reading the record by its id can tell.';
comment on function crm_add_replaced_hash(bytea[], timestamptz, bytea) is
  'Adds the hash of a content that is being replaced to those of the last day, and keeps the last ten.';

grant execute
on function
  crm_was_replaced(bytea, bytea[], timestamptz),
  crm_add_replaced_hash(bytea[], timestamptz, bytea)
to crm_app, crm_worker, crm_reader;

select crm_give_to_owner(array[
  'function crm_was_replaced(bytea, bytea[], timestamptz)',
  'function crm_add_replaced_hash(bytea[], timestamptz, bytea)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['contact_external_ids', 'contact_external_id_aliases']::regclass[]);

-- Before the check, else what somebody is recording now would be lost unseen.
select crm_run_in_schema(
  'lock table %1$I.contact_external_ids, %1$I.contact_external_id_aliases in access exclusive mode'
);

select crm_refuse_data_loss('contact_external_ids or contact_external_id_aliases has contents that were replaced')
where exists (select from contact_external_ids where replaced_at is not null)
  or exists (select from contact_external_id_aliases where replaced_at is not null);

drop function crm_add_replaced_hash(bytea[], timestamptz, bytea);

drop function crm_was_replaced(bytea, bytea[], timestamptz);

alter table contact_external_ids
  drop column replaced_hashes,
  drop column replaced_at;

alter table contact_external_id_aliases
  drop column replaced_hashes,
  drop column replaced_at;
