-- Up Migration
--
-- Purpose: finds a contact's failed push, and lets the next run read the CRM's records of a contact whose push was given
--          up or dismissed, so that what the CRM holds is compared with ours again.
-- Locks:   crm_sync_failures SHARE ROW EXCLUSIVE, to add the trigger and to build the index: writes wait until the end
--          of the transaction. It is tried for a tenth of a second at a time, up to a hundred times. Before that, SHARE
--          UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   crm_sync_failures, to build the index: about a second for a million failing records.
-- Down:    drops the index, the trigger and the function (crm_sync_failures ACCESS EXCLUSIVE); loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- The function names its tables with the schema, because search_path must not decide which tables it uses.
select crm_run_in_schema($create$
create function %1$I.crm_request_unpushed_records()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
declare
  at constant timestamptz := %1$I.crm_now();
begin
  insert into %1$I.crm_record_requests as request (
    organisation_id,
    connection_id,
    entity_type,
    external_id,
    requested_at
  )
  select
    new.organisation_id,
    new.connection_id,
    record.entity_type,
    record.external_id,
    at
  from (
    select provider
    from %1$I.crm_connections
    where organisation_id = new.organisation_id
      and id = new.connection_id
  ) as connection
  cross join lateral (
    select
      provider,
      entity_type,
      external_id,
      remote_state
    from %1$I.contact_external_records
    where (organisation_id = new.organisation_id) is true
      and contact_id = new.record_id::uuid
    offset 0
  ) as record
  where record.provider = connection.provider
    and record.remote_state not in ('deleted', 'merged')
    -- As recordRequestAdd: what is beyond is left to the sync.
    and (
      select count(*)
      from (
        select
        from %1$I.crm_record_requests
        where organisation_id = new.organisation_id
          and connection_id = new.connection_id
        limit 1000
      ) as counted
    ) < 1000
  order by
    record.entity_type,
    record.external_id
  on conflict (organisation_id, connection_id, entity_type, external_id) do update
  set
    requested_at = excluded.requested_at,
    claimed_run_id = null,
    attempts = 0
  where request.claimed_run_id is not null;
  return null;
end
$body$
$create$);

comment on function crm_request_unpushed_records() is
  'Asks for the records that a CRM has of a contact whose push was given up or dismissed, as recordRequestAdd does, unless the connection has 1,000 requests already. A trigger, because batches of earlier releases give up as well.';

select crm_wait_for_vacuum(array['crm_sync_failures']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_failures in share row exclusive mode');

-- By the record first: if it began with the connection, the planner might read all of a connection's failures by it.
-- squawk-ignore require-concurrent-index-creation
create index crm_sync_failures_unpushed_idx
  on crm_sync_failures (record_id, organisation_id, connection_id)
  where direction = 'outbound' and dismissed_at is null;

comment on index crm_sync_failures_unpushed_idx is
  'Finds the failed push of a contact.';

create trigger crm_sync_failures_request_records
  after insert or update
  on crm_sync_failures
  for each row
  when (
    new.direction = 'outbound'
    and new.next_attempt_at is null
    -- Ours always are.
    and new.record_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
  )
  execute function crm_request_unpushed_records();

comment on trigger crm_sync_failures_request_records on crm_sync_failures is
  'What could not be pushed is read again, from whichever release.';

-- Functions may be everybody's to run, or an installation's default privileges may say otherwise; this
-- does not depend on it.
grant execute
on function crm_request_unpushed_records()
to crm_app, crm_worker;

select crm_give_to_owner(array['function crm_request_unpushed_records()']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_failures']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_failures in access exclusive mode');

-- squawk-ignore require-concurrent-index-deletion
drop index crm_sync_failures_unpushed_idx;

drop trigger crm_sync_failures_request_records on crm_sync_failures;

drop function crm_request_unpushed_records();
