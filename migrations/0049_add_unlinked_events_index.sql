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
--          If every partition has one, writes wait for an instant. One whose build was interrupted is refused.
-- Scans:   crm_sync_log, but not the partitions that have such an index: about a second for three million events.
-- Down:    drops the index (crm_sync_log ACCESS EXCLUSIVE); loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

select crm_require_schema(current_schema());

-- An interrupted build leaves an index that CREATE INDEX takes over, and then the one of the log is not valid either.
do $$
declare
  invalid text;
  statements text;
begin
  select
    string_agg(pg_index.indexrelid::regclass::text, ', ' order by pg_index.indexrelid::regclass::text),
    string_agg(
      format('drop index concurrently %s', pg_index.indexrelid::regclass),
      '; ' order by pg_index.indexrelid::regclass::text
    )
  into
    invalid,
    statements
  from pg_partition_tree('crm_sync_log') as partition
  inner join pg_index
    on pg_index.indrelid = partition.relid
  where not pg_index.indisvalid
    and pg_index.indnatts = 2
    and pg_get_indexdef(pg_index.indexrelid, 1, true) = 'organisation_id'
    and pg_get_indexdef(pg_index.indexrelid, 2, true) = 'external_id'
    and pg_index.indpred is not null;
  if invalid is not null then
    raise exception using
      errcode = 'CRM01',
      message = format('the build of an index was interrupted: %s', invalid),
      hint = format('Run: %s; then build it again (docs/operations/upgrade.md), or let this migration build it.', statements);
  end if;
end
$$;

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
