-- Up Migration
--
-- Purpose: keeps which records a CRM's webhooks have named, so that the next run reads them first; and finds a
--          connection by the account that a webhook names.
-- Locks:   crm_connections SHARE ROW EXCLUSIVE, to add the foreign key and to build the index: writes wait until
--          the end of the transaction. It is tried for a tenth of a second at a time, up to a hundred times.
--          Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   crm_connections, to build the index: a fraction of a second for 100,000 connections.
-- Down:    drops the table (crm_connections and it ACCESS EXCLUSIVE) and the index, and refuses while the table has
--          rows unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in share row exclusive mode');

create table crm_record_requests (
  organisation_id uuid not null,
  connection_id uuid not null,
  -- Collation C, because these are opaque to us.
  entity_type text collate "C" not null,
  external_id text collate "C" not null,
  requested_at timestamptz not null,
  claimed_run_id bigint,
  -- A record that is claimed once a second lasts for 68 years.
  -- squawk-ignore prefer-bigint-over-int
  attempts integer not null default 0,
  constraint crm_record_requests_pkey
    primary key (organisation_id, connection_id, entity_type, external_id),
  -- A connection with requests is erased deliberately, never by a cascade.
  constraint crm_record_requests_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint crm_record_requests_entity_type_check
    check (entity_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint crm_record_requests_external_id_check
    check (btrim(external_id, E' \t\n\r\f\x0b') <> '' and octet_length(external_id) <= 512),
  constraint crm_record_requests_attempts_check
    check (attempts >= 0),
  constraint crm_record_requests_requested_at_in_range_check
    check (requested_at >= '1900-01-01 00:00:00+00' and requested_at < '9999-01-01 00:00:00+00')
);

-- squawk-ignore require-concurrent-index-creation
create index crm_connections_account_idx
  on crm_connections (provider, account, organisation_id, id)
  where status <> 'disconnected' and account is not null;

comment on table crm_record_requests is
  'Records that the next run of a connection reads first, because a webhook has named them: one row for each, however often it was named. About 1,000 for each connection; what is beyond is left to the sync.';
comment on column crm_record_requests.organisation_id is
  'The organisation (tenant) that the connection belongs to.';
comment on column crm_record_requests.connection_id is
  'The connection to read the record from.';
comment on column crm_record_requests.entity_type is
  'The kind of record, in the CRM''s own terms.';
comment on column crm_record_requests.external_id is
  'The record''s id at the CRM.';
comment on column crm_record_requests.requested_at is
  'When it was asked for, since it was last claimed.';
comment on column crm_record_requests.claimed_run_id is
  'The run that was given the record last. Null if none was since it was asked for: whoever asks again sets it to null, so that the run does not clear what it read too early.';
comment on column crm_record_requests.attempts is
  'How many runs were given the record since it was asked for. Those with few come first, so that a record that crashes its workers does not block the others.';
comment on constraint crm_record_requests_pkey on crm_record_requests is
  'Tenant first; one row for each record.';
comment on constraint crm_record_requests_connection_id_fkey on crm_record_requests is
  'Composite, so that a request can never belong to another organisation''s connection. On delete restrict: a connection with requests must be erased deliberately.';
comment on constraint crm_record_requests_entity_type_check on crm_record_requests is
  'Lower snake case, 1 to 63 characters.';
comment on constraint crm_record_requests_external_id_check on crm_record_requests is
  'Not blank, and at most 512 bytes.';
comment on constraint crm_record_requests_attempts_check on crm_record_requests is
  'Counted from 0.';
comment on constraint crm_record_requests_requested_at_in_range_check on crm_record_requests is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_connections_account_idx is
  'Finds the live connections to an account that a webhook names.';

grant select, insert, update, delete
on crm_record_requests
to crm_app, crm_worker;

grant select
on crm_record_requests
to crm_reader;

alter table crm_record_requests enable row level security;

create policy crm_record_requests_tenant_policy
  on crm_record_requests
  to crm_app
  using (organisation_id = (select crm_organisation_id()))
  with check (organisation_id = (select crm_organisation_id()));

create policy crm_record_requests_worker_policy
  on crm_record_requests
  to crm_worker
  using (true)
  with check (true);

create policy crm_record_requests_reader_policy
  on crm_record_requests
  for select
  to crm_reader
  using (true);

comment on policy crm_record_requests_tenant_policy on crm_record_requests is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy crm_record_requests_worker_policy on crm_record_requests is
  'The sync worker works for all organisations.';
comment on policy crm_record_requests_reader_policy on crm_record_requests is
  'Monitoring and support read all organisations.';

select crm_give_to_owner(array['table crm_record_requests']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections', 'crm_record_requests']::regclass[]);

-- In the order in which everybody locks.
select crm_run_in_schema('lock table %1$I.crm_connections, %1$I.crm_record_requests in access exclusive mode');

select crm_refuse_data_loss('crm_record_requests has rows')
where exists (select from crm_record_requests);

drop table crm_record_requests;

-- squawk-ignore require-concurrent-index-deletion
drop index crm_connections_account_idx;
