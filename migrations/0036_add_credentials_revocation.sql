-- Up Migration
--
-- Purpose: lets a worker revoke a disconnected connection's token at the CRM before its credentials are wiped.
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for
--          vacuum.
-- Scans:   crm_connections, to check the new constraints and to build the index: a fraction of a second for
--          100,000 connections. Nothing is rewritten.
-- Down:    drops the columns (crm_connections ACCESS EXCLUSIVE), and refuses while a revocation is recorded unless
--          crm_schema.allow_data_loss is on: then credentials that wait to be revoked are wiped.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

-- Reading the few connections once more would not shorten the lock.
alter table crm_connections
  add column revocation text,
  add column revoke_before_at timestamptz,
  drop constraint crm_connections_disconnected_iff_no_credentials_check,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_no_credentials_iff_wiped_check
    check ((credentials is null) = (status = 'disconnected' and revocation is distinct from 'pending')),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_revocation_check
    check (revocation in ('pending', 'revoked', 'expired')),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_revocation_is_disconnected_check
    check (revocation is null or status = 'disconnected'),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_revocation_has_end_check
    check ((revocation is null) = (revoke_before_at is null)),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_revoke_before_at_in_range_check
    check (revoke_before_at >= '1900-01-01 00:00:00+00' and revoke_before_at < '9999-01-01 00:00:00+00');

-- squawk-ignore require-concurrent-index-creation
create index crm_connections_revoke_before_at_idx
  on crm_connections (revoke_before_at)
  where revocation = 'pending';

comment on column crm_connections.credentials is
  'Secret. The CRM''s credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null once they are wiped: when the connection is disconnected, or after that, if they were kept to be revoked.';
comment on column crm_connections.next_sync_at is
  'When the connection is due; the oldest due is claimed first. Never before the lease of an open run expires. Once disconnected: from when a worker may be given credentials that wait to be revoked.';
comment on column crm_connections.revocation is
  'What became of the CRM''s token after disconnecting. pending: the credentials are kept for a worker to revoke them. revoked: a worker has, and they are wiped. expired: none had in time, and they are wiped all the same. Null if no revocation was asked for.';
comment on column crm_connections.revoke_before_at is
  'When credentials that wait to be revoked are wiped at the latest. Null if no revocation was asked for.';
comment on constraint crm_connections_no_credentials_iff_wiped_check on crm_connections is
  'Disconnecting wipes the credentials, unless they wait to be revoked; a live connection always has some.';
comment on constraint crm_connections_revocation_check on crm_connections is
  'The closed list of outcomes.';
comment on constraint crm_connections_revocation_is_disconnected_check on crm_connections is
  'A live connection''s token is in use.';
comment on constraint crm_connections_revocation_has_end_check on crm_connections is
  'Credentials are never kept without an end.';
comment on constraint crm_connections_revoke_before_at_in_range_check on crm_connections is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_connections_revoke_before_at_idx is
  'Finds the credentials that wait to be revoked, and those whose time is over.';

grant select (revocation, revoke_before_at)
on crm_connections
to crm_app, crm_reader;

grant update (revocation, revoke_before_at)
on crm_connections
to crm_app, crm_worker;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

-- Otherwise a revocation that somebody is asking for now would be lost unseen.
select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

select crm_refuse_data_loss('crm_connections has revocations')
where exists (select from crm_connections where revocation is not null);

-- First, because the constraint that comes back wants it.
alter table crm_connections drop constraint crm_connections_no_credentials_iff_wiped_check;

update crm_connections
set credentials = null
where revocation = 'pending';

alter table crm_connections
  drop column revocation,
  drop column revoke_before_at,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_disconnected_iff_no_credentials_check
    check ((status = 'disconnected') = (credentials is null));

comment on column crm_connections.credentials is
  'Secret. The CRM''s credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null exactly when disconnected.';
comment on column crm_connections.next_sync_at is
  'When the connection is due; the oldest due is claimed first. Never before the lease of an open run expires. Meaningless once disconnected.';
comment on constraint crm_connections_disconnected_iff_no_credentials_check on crm_connections is
  'Disconnecting wipes the credentials; a live connection always has some.';
