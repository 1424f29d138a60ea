-- Up Migration
--
-- Purpose: says which account at the CRM a connection is to, because a CRM's ids belong to an account.
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for
--          vacuum.
-- Scans:   crm_connections, to check the new constraint: a fraction of a second for 100,000 connections. Nothing
--          is rewritten.
-- Down:    drops the column (crm_connections ACCESS EXCLUSIVE), and refuses while an account is known unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

-- The column is null everywhere, and reading the few connections once more would not shorten the lock.
alter table crm_connections
  -- Collation C, because it is opaque to us.
  add column account text collate "C",
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_account_check
    check (btrim(account, E' \t\n\r\f\x0b') <> '' and octet_length(account) <= 512);

comment on column crm_connections.account is
  'The account at the CRM, by the CRM''s own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. The package sets it once: another account needs another connection.';
comment on constraint crm_connections_account_check on crm_connections is
  'An account''s name is not blank, and at most 512 bytes.';

grant select (account)
on crm_connections
to crm_app, crm_reader;

grant update (account)
on crm_connections
to crm_app, crm_worker;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_connections']::regclass[]);

-- Before the check, else an account that somebody is setting now would be lost unseen.
select crm_run_in_schema('lock table %1$I.crm_connections in access exclusive mode');

select crm_refuse_data_loss('crm_connections has accounts')
where exists (select from crm_connections where account is not null);

alter table crm_connections drop column account;
