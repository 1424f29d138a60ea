-- Up Migration
--
-- Purpose: finds the events that were logged under an id of a CRM alone, before there was a contact, and those that
--          failed, which may name another contact than the record's, so that the erasure of a person finds them however
--          large the log is.
-- Locks:   crm_sync_log SHARE, with its partitions: writes wait until the index is built. It is tried for a tenth of a
--          second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum. An index of a
--          partition that has been built beforehand is used:
--            create index concurrently crm_sync_log_2026_11_external_id_idx on crm_sync_log_2026_11
--              (organisation_id, external_id)
--              where external_id is not null and (internal_id is null or error is not null);
--          If every partition has one, writes wait for an instant. One whose build was interrupted is refused.
-- Scans:   crm_sync_log, but not the partitions that have such an index: about a second for three million events.
-- Down:    drops the index (crm_sync_log ACCESS EXCLUSIVE); loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '30min';

select crm_require_schema(current_schema());

create function crm_refuse_interrupted_builds(columns text[], on_table regclass default 'crm_sync_log')
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  invalid text;
  repairs text;
begin
  select
    string_agg(found.name, ', ' order by found.name),
    string_agg(format('drop index concurrently %s', found.name), '; ' order by found.name)
  into
    invalid,
    repairs
  from (
    select pg_index.indexrelid::regclass::text as name
    from pg_partition_tree(on_table) as partition
    inner join pg_index
      on pg_index.indrelid = partition.relid
    where not pg_index.indisvalid
      and array(
        select pg_get_indexdef(pg_index.indexrelid, key_number, true)
        from generate_series(1, pg_index.indnkeyatts) as key_number
      ) = columns
  ) as found;
  if invalid is not null then
    raise exception using
      errcode = 'CRM01',
      message = format('the build of an index was interrupted: %s', invalid),
      hint = format('Run: %s; then build it again (docs/operations/upgrade.md), or let this migration build it.', repairs);
  end if;
end
$$;

comment on function crm_refuse_interrupted_builds(text[], regclass) is
  'For migrations: fails with CRM01 if a table or a partition of it has an invalid index on these columns, as CREATE INDEX CONCURRENTLY leaves it when it is interrupted. CREATE INDEX on the parent would take it over, and nothing would use either. Call it after crm_wait_for_vacuum, which waits for a build that still runs. Omit the last parameter, which is crm_sync_log.';

revoke execute
on function crm_refuse_interrupted_builds(text[], regclass)
from public;

select crm_give_to_owner(array['function crm_refuse_interrupted_builds(text[], regclass)']);

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

select crm_refuse_interrupted_builds(array['organisation_id', 'external_id']);

select crm_run_in_schema('lock table %1$I.crm_sync_log in share mode');

-- squawk-ignore require-concurrent-index-creation
create index crm_sync_log_external_id_idx
  on crm_sync_log (organisation_id, external_id)
  where external_id is not null
    and (
      internal_id is null
      or error is not null
    );

comment on index crm_sync_log_external_id_idx is
  'Finds the events of a record that was not linked to a contact, and those that failed, for the erasure of a person.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_log']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_log in access exclusive mode');

-- squawk-ignore require-concurrent-index-deletion
drop index crm_sync_log_external_id_idx;

drop function crm_refuse_interrupted_builds(text[], regclass);
