-- Up Migration
--
-- Purpose: remembers which contents of a CRM's record were replaced recently, so that a copy from before a push, which a
--          list still shows, is not taken for an edit.
-- Locks:   contact_external_ids ACCESS EXCLUSIVE and contact_external_id_aliases ACCESS EXCLUSIVE: reads and writes wait
--          until the end of the transaction. They are tried for a tenth of a second at a time, up to a hundred times.
--          Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing; the new columns are null. 0047 and 0048 validate the constraints.
-- Down:    restores the functions, and drops the columns (contact_external_ids and contact_external_id_aliases ACCESS
--          EXCLUSIVE) and the new functions. Scans both tables for such contents, while reads and writes wait: up to the
--          first one, or if there is none, all rows. Refuses while there are any unless crm_schema.allow_data_loss is
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
  'Earlier hashes of content_hash, replaced or forgotten, oldest first, at most ten: a copy with one of them may be from before. Not kept where the modified times tell; ignored a day after replaced_at, and then dropped with the next write. Null if there is none.';
comment on column contact_external_ids.replaced_at is
  'When the last of replaced_hashes was replaced or forgotten. Null if there is none.';
comment on constraint contact_external_ids_replaced_hashes_check on contact_external_ids is
  'The last ten at most, and none that is null.';
comment on constraint contact_external_ids_replaced_is_whole_check on contact_external_ids is
  'Both are set, or neither.';
comment on constraint contact_external_ids_replaced_at_in_range_check on contact_external_ids is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on column contact_external_id_aliases.replaced_hashes is
  'Earlier hashes of content_hash, replaced or forgotten, oldest first, at most ten: a copy with one of them may be from before. Not kept where the modified times tell; ignored a day after replaced_at, and then dropped with the next write. Null if there is none.';
comment on column contact_external_id_aliases.replaced_at is
  'When the last of replaced_hashes was replaced or forgotten. Null if there is none.';
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
  'Adds the hash of a content that is being replaced or forgotten to those of the last day, and keeps the last ten.';

grant execute
on function
  crm_was_replaced(bytea, bytea[], timestamptz),
  crm_add_replaced_hash(bytea[], timestamptz, bytea)
to crm_app, crm_worker, crm_reader;

select crm_give_to_owner(array[
  'function crm_was_replaced(bytea, bytea[], timestamptz)',
  'function crm_add_replaced_hash(bytea[], timestamptz, bytea)'
]);

-- What becomes known of a record stays with it, whichever table it is in: these functions move it between the two.
-- Where the content is forgotten, it is added to those that were replaced: the CRM still has it, and once somebody pushes
-- another, a list may go on showing it. This hides nothing: while no content is known, every copy is a change; after that,
-- what is taken for older is read by its id. An id that was archived comes back without any: nothing is known of it then.
select crm_edit_function(
  'crm_guard_primary_external_id()'::regprocedure,
  $present$  new.pushed_at := alias.pushed_at;
$present$,
  $wanted$  new.pushed_at := alias.pushed_at;
  new.replaced_hashes := alias.replaced_hashes;
  new.replaced_at := alias.replaced_at;
$wanted$
);

select crm_edit_function(
  'crm_promote_external_ids(uuid, uuid[], text[], text[])'::regprocedure,
  $present$        content_hash,
        pushed_at
      )$present$,
  $wanted$        content_hash,
        pushed_at,
        replaced_hashes,
        replaced_at
      )$wanted$
);

select crm_edit_function(
  'crm_promote_external_ids(uuid, uuid[], text[], text[])'::regprocedure,
  $present$        alias.content_hash,
        alias.pushed_at
      )$present$,
  $wanted$        alias.content_hash,
        alias.pushed_at,
        alias.replaced_hashes,
        alias.replaced_at
      )$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      content_hash = case when present.contact_id = crm_place_external_id.contact_id then present.content_hash end,
$present$,
  format($wanted$      content_hash = case when present.contact_id = crm_place_external_id.contact_id then present.content_hash end,
      replaced_hashes = case
        when present.contact_id <> crm_place_external_id.contact_id and present.content_hash is not null
          then %1$I.crm_add_replaced_hash(present.replaced_hashes, present.replaced_at, present.content_hash)
        else present.replaced_hashes
      end,
      replaced_at = case
        when present.contact_id <> crm_place_external_id.contact_id and present.content_hash is not null then now()
        else present.replaced_at
      end,
$wanted$, current_schema())
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      alias.content_hash := null;
$present$,
  format($wanted$      -- Once it is pushed for its new contact, a list may still show it as it was for the earlier one.
      if alias.content_hash is not null then
        alias.replaced_hashes :=
          %1$I.crm_add_replaced_hash(alias.replaced_hashes, alias.replaced_at, alias.content_hash);
        alias.replaced_at := now();
      end if;
      alias.content_hash := null;
$wanted$, current_schema())
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      mapping.content_hash := null;
$present$,
  format($wanted$      -- Once it is pushed for its new contact, a list may still show it as it was for the earlier one.
      if mapping.content_hash is not null then
        mapping.replaced_hashes :=
          %1$I.crm_add_replaced_hash(mapping.replaced_hashes, mapping.replaced_at, mapping.content_hash);
        mapping.replaced_at := now();
      end if;
      mapping.content_hash := null;
$wanted$, current_schema())
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      remote_state, remote_version, remote_modified_at, content_hash, pushed_at
$present$,
  $wanted$      remote_state, remote_version, remote_modified_at, content_hash, pushed_at, replaced_hashes, replaced_at
$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      alias.remote_version, alias.remote_modified_at, alias.content_hash, alias.pushed_at
$present$,
  $wanted$      alias.remote_version, alias.remote_modified_at, alias.content_hash, alias.pushed_at,
      alias.replaced_hashes, alias.replaced_at
$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      mapping.remote_version, mapping.remote_modified_at, mapping.content_hash, mapping.pushed_at
$present$,
  $wanted$      mapping.remote_version, mapping.remote_modified_at, mapping.content_hash, mapping.pushed_at,
      mapping.replaced_hashes, mapping.replaced_at
$wanted$
);

select crm_edit_function(
  'crm_forget_contents(uuid, text)'::regprocedure,
  $present$    content_hash = null,
    pushed_at = null
  where mapping.organisation_id$present$,
  format($wanted$    content_hash = null,
    pushed_at = null,
    replaced_hashes = case
      when mapping.content_hash is not null
        then %1$I.crm_add_replaced_hash(mapping.replaced_hashes, mapping.replaced_at, mapping.content_hash)
      else mapping.replaced_hashes
    end,
    replaced_at = case when mapping.content_hash is not null then now() else mapping.replaced_at end
  where mapping.organisation_id$wanted$, current_schema())
);

select crm_edit_function(
  'crm_forget_contents(uuid, text)'::regprocedure,
  $present$    content_hash = null,
    pushed_at = null
  where alias.organisation_id$present$,
  format($wanted$    content_hash = null,
    pushed_at = null,
    replaced_hashes = case
      when alias.content_hash is not null
        then %1$I.crm_add_replaced_hash(alias.replaced_hashes, alias.replaced_at, alias.content_hash)
      else alias.replaced_hashes
    end,
    replaced_at = case when alias.content_hash is not null then now() else alias.replaced_at end
  where alias.organisation_id$wanted$, current_schema())
);

comment on function crm_place_external_id(uuid, text, text, text, uuid, boolean) is
  'Makes an external id that means a contact the primary id or an alias of that contact or another. Keeps what is known of the record, but its version and content only if the contact stays the same: another has not taken them, so the next read must not be taken for unchanged. A content that is forgotten counts as replaced. One that was merged and becomes a primary id is active. Call it with the locks of crm_lock_external_ids and crm_lock_contacts.';
comment on function crm_forget_contents(uuid, text) is
  'For crm_forget_missed_contents: forgets the versions and contents of an organisation''s records at a CRM, so that none is taken for unchanged when it is next read. The contents count as replaced.';

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

-- As 0018, 0019 and 0025 left them.
select crm_edit_function(
  'crm_forget_contents(uuid, text)'::regprocedure,
  format($present$    content_hash = null,
    pushed_at = null,
    replaced_hashes = case
      when alias.content_hash is not null
        then %1$I.crm_add_replaced_hash(alias.replaced_hashes, alias.replaced_at, alias.content_hash)
      else alias.replaced_hashes
    end,
    replaced_at = case when alias.content_hash is not null then now() else alias.replaced_at end
  where alias.organisation_id$present$, current_schema()),
  $wanted$    content_hash = null,
    pushed_at = null
  where alias.organisation_id$wanted$
);

select crm_edit_function(
  'crm_forget_contents(uuid, text)'::regprocedure,
  format($present$    content_hash = null,
    pushed_at = null,
    replaced_hashes = case
      when mapping.content_hash is not null
        then %1$I.crm_add_replaced_hash(mapping.replaced_hashes, mapping.replaced_at, mapping.content_hash)
      else mapping.replaced_hashes
    end,
    replaced_at = case when mapping.content_hash is not null then now() else mapping.replaced_at end
  where mapping.organisation_id$present$, current_schema()),
  $wanted$    content_hash = null,
    pushed_at = null
  where mapping.organisation_id$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      mapping.remote_version, mapping.remote_modified_at, mapping.content_hash, mapping.pushed_at,
      mapping.replaced_hashes, mapping.replaced_at
$present$,
  $wanted$      mapping.remote_version, mapping.remote_modified_at, mapping.content_hash, mapping.pushed_at
$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      alias.remote_version, alias.remote_modified_at, alias.content_hash, alias.pushed_at,
      alias.replaced_hashes, alias.replaced_at
$present$,
  $wanted$      alias.remote_version, alias.remote_modified_at, alias.content_hash, alias.pushed_at
$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  $present$      remote_state, remote_version, remote_modified_at, content_hash, pushed_at, replaced_hashes, replaced_at
$present$,
  $wanted$      remote_state, remote_version, remote_modified_at, content_hash, pushed_at
$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  format($present$      -- Once it is pushed for its new contact, a list may still show it as it was for the earlier one.
      if mapping.content_hash is not null then
        mapping.replaced_hashes :=
          %1$I.crm_add_replaced_hash(mapping.replaced_hashes, mapping.replaced_at, mapping.content_hash);
        mapping.replaced_at := now();
      end if;
      mapping.content_hash := null;
$present$, current_schema()),
  $wanted$      mapping.content_hash := null;
$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  format($present$      -- Once it is pushed for its new contact, a list may still show it as it was for the earlier one.
      if alias.content_hash is not null then
        alias.replaced_hashes :=
          %1$I.crm_add_replaced_hash(alias.replaced_hashes, alias.replaced_at, alias.content_hash);
        alias.replaced_at := now();
      end if;
      alias.content_hash := null;
$present$, current_schema()),
  $wanted$      alias.content_hash := null;
$wanted$
);

select crm_edit_function(
  'crm_place_external_id(uuid, text, text, text, uuid, boolean)'::regprocedure,
  format($present$      content_hash = case when present.contact_id = crm_place_external_id.contact_id then present.content_hash end,
      replaced_hashes = case
        when present.contact_id <> crm_place_external_id.contact_id and present.content_hash is not null
          then %1$I.crm_add_replaced_hash(present.replaced_hashes, present.replaced_at, present.content_hash)
        else present.replaced_hashes
      end,
      replaced_at = case
        when present.contact_id <> crm_place_external_id.contact_id and present.content_hash is not null then now()
        else present.replaced_at
      end,
$present$, current_schema()),
  $wanted$      content_hash = case when present.contact_id = crm_place_external_id.contact_id then present.content_hash end,
$wanted$
);

select crm_edit_function(
  'crm_promote_external_ids(uuid, uuid[], text[], text[])'::regprocedure,
  $present$        alias.content_hash,
        alias.pushed_at,
        alias.replaced_hashes,
        alias.replaced_at
      )$present$,
  $wanted$        alias.content_hash,
        alias.pushed_at
      )$wanted$
);

select crm_edit_function(
  'crm_promote_external_ids(uuid, uuid[], text[], text[])'::regprocedure,
  $present$        content_hash,
        pushed_at,
        replaced_hashes,
        replaced_at
      )$present$,
  $wanted$        content_hash,
        pushed_at
      )$wanted$
);

select crm_edit_function(
  'crm_guard_primary_external_id()'::regprocedure,
  $present$  new.pushed_at := alias.pushed_at;
  new.replaced_hashes := alias.replaced_hashes;
  new.replaced_at := alias.replaced_at;
$present$,
  $wanted$  new.pushed_at := alias.pushed_at;
$wanted$
);

comment on function crm_forget_contents(uuid, text) is
  'For crm_forget_missed_contents: forgets the versions and contents of an organisation''s records at a CRM, so that none is taken for unchanged when it is next read.';
comment on function crm_place_external_id(uuid, text, text, text, uuid, boolean) is
  'Makes an external id that means a contact the primary id or an alias of that contact or another. Keeps what is known of the record, but its version and content only if the contact stays the same: another has not taken them, so the next read must not be taken for unchanged. One that was merged and becomes a primary id is active. Call it with the locks of crm_lock_external_ids and crm_lock_contacts.';

drop function crm_add_replaced_hash(bytea[], timestamptz, bytea);

drop function crm_was_replaced(bytea, bytea[], timestamptz);

alter table contact_external_ids
  drop column replaced_hashes,
  drop column replaced_at;

alter table contact_external_id_aliases
  drop column replaced_hashes,
  drop column replaced_at;
