-- Up Migration
--
-- Purpose: says in the log why an event was skipped, such as reason 'echo' for our own push that came back.
-- Locks:   crm_sync_log ACCESS EXCLUSIVE, with its partitions: reads and writes wait until the end of the
--          transaction. It is tried for a tenth of a second at a time, up to a hundred times. Before that, SHARE
--          UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing: the new constraints are not valid until 0031 validates them.
-- Down:    drops the column (crm_sync_log ACCESS EXCLUSIVE). Scans the log for reasons, and refuses while there are
--          any unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_log in access exclusive mode');

alter table crm_sync_log
  add column reason text,
  add constraint crm_sync_log_reason_check
    check (reason in ('echo', 'unchanged', 'older', 'pending_push', 'no_consent', 'merged', 'erased'))
    not valid,
  add constraint crm_sync_log_reason_has_status_skipped_check
    check (reason is null or status = 'skipped')
    not valid;

comment on column crm_sync_log.reason is
  'Why it was skipped. echo: our own push came back. unchanged: the CRM''s version is the one already seen. older: it was modified before the one already seen. pending_push: our own change has still to be pushed. no_consent: the person does not consent to it. merged: the record was merged into another. erased: the person was erased. Null if no reason was given, and for events that were not skipped.';
comment on constraint crm_sync_log_reason_check on crm_sync_log is
  'The closed list of reasons.';
comment on constraint crm_sync_log_reason_has_status_skipped_check on crm_sync_log is
  'Only a skipped event has a reason.';

-- Its list of columns was fixed, so an event moved out of the catch-all partition would have lost its reason. Only
-- that list changes: the columns are read from the catalog, so that an event keeps every column that a migration adds.
select crm_edit_function(
  'crm_sync_log_ensure_partitions(integer, regclass)'::regprocedure,
  $present$'organisation_id, connection_id, occurred_at, id, direction, entity_type, external_id, internal_id, status, error'$present$,
  $wanted$(select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attrelid = log_table and attnum > 0 and not attisdropped)$wanted$
);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

-- Before the check, else a reason that somebody is recording now would be lost unseen.
select crm_run_in_schema('lock table %1$I.crm_sync_log in access exclusive mode');

select crm_refuse_data_loss('crm_sync_log has reasons')
where exists (select from crm_sync_log where reason is not null);

-- As 0010 left it.
select crm_edit_function(
  'crm_sync_log_ensure_partitions(integer, regclass)'::regprocedure,
  $present$(select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute where attrelid = log_table and attnum > 0 and not attisdropped)$present$,
  $wanted$'organisation_id, connection_id, occurred_at, id, direction, entity_type, external_id, internal_id, status, error'$wanted$
);

alter table crm_sync_log
  drop constraint crm_sync_log_reason_has_status_skipped_check,
  drop constraint crm_sync_log_reason_check,
  drop column reason;
