-- Up Migration
--
-- Purpose: has the server check what 0046 left unchecked of primary ids: the contents that were replaced, and when.
-- Locks:   contact_external_ids SHARE UPDATE EXCLUSIVE: only maintenance waits.
-- Scans:   contact_external_ids, while applications read and write.
-- Down:    adds the constraints again, not validated (contact_external_ids ACCESS EXCLUSIVE): reads and writes wait for
--          an instant. It tries for a tenth of a second at a time, up to a hundred times. Loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

alter table contact_external_ids
  validate constraint contact_external_ids_replaced_hashes_check,
  validate constraint contact_external_ids_replaced_is_whole_check,
  validate constraint contact_external_ids_replaced_at_in_range_check;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['contact_external_ids']::regclass[]);

select crm_run_in_schema('lock table %1$I.contact_external_ids in access exclusive mode');

alter table contact_external_ids
  drop constraint contact_external_ids_replaced_hashes_check,
  drop constraint contact_external_ids_replaced_is_whole_check,
  drop constraint contact_external_ids_replaced_at_in_range_check,
  add constraint contact_external_ids_replaced_hashes_check
    check (cardinality(replaced_hashes) between 1 and 10 and array_position(replaced_hashes, null) is null)
    not valid,
  add constraint contact_external_ids_replaced_is_whole_check
    check ((replaced_hashes is null) = (replaced_at is null))
    not valid,
  add constraint contact_external_ids_replaced_at_in_range_check
    check (replaced_at >= '1900-01-01 00:00:00+00' and replaced_at < '9999-01-01 00:00:00+00')
    not valid;

comment on constraint contact_external_ids_replaced_hashes_check on contact_external_ids is
  'The last ten at most, and none that is null.';
comment on constraint contact_external_ids_replaced_is_whole_check on contact_external_ids is
  'Both are set, or neither.';
comment on constraint contact_external_ids_replaced_at_in_range_check on contact_external_ids is
  'Times are in the years 1900 to 9998: every client can read them.';
