-- Up Migration
--
-- Purpose: finds the events that were logged under an id of a CRM alone, before there was a contact, and those that
--          failed, which may name another contact than the record's, so that the erasure of a person finds them however
--          large the log is.
-- Locks:   crm_sync_log SHARE, with its partitions: writes wait until the index is built. It is tried for a tenth of a
--          second at a time, up to a hundred times. An index of a partition that has been built beforehand is used:
--            create index concurrently crm_sync_log_2026_11_external_id_idx on crm_sync_log_2026_11
--              (organisation_id, external_id)
--              where external_id is not null and (internal_id is null or error is not null);
--          If every partition has one, writes wait for an instant.
-- Scans:   crm_sync_log, but not the partitions that have such an index: about a second for three million events.
-- Down:    drops the index (crm_sync_log ACCESS EXCLUSIVE); loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

select crm_require_schema(current_schema());

select crm_run_in_schema($create$
create index crm_sync_log_external_id_idx
  on %1$I.crm_sync_log (organisation_id, external_id)
  where external_id is not null
    and (
      internal_id is null
      or error is not null
    )
$create$);

comment on index crm_sync_log_external_id_idx is
  'Finds the events of a record that was not linked to a contact, and those that failed, for the erasure of a person.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_run_in_schema('drop index %1$I.crm_sync_log_external_id_idx');
