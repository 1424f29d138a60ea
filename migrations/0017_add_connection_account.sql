-- Up Migration
--
-- Purpose: says which account at the CRM a connection is to, because a CRM's ids belong to an account.
-- Locks:   crm_connections ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times.
-- Scans:   crm_connections, to check the new constraint: a fraction of a second for 100,000 connections. Nothing
--          is rewritten.
-- Down:    drops the column (crm_connections ACCESS EXCLUSIVE), and refuses while an account is known unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Below deadlock_timeout's default of one second, so that in a tie this migration gives way, not the application.
do $$
begin
  for attempt in 1..100 loop
    begin
      set local lock_timeout = '100ms';
      lock table crm_connections in access exclusive mode;
      set local lock_timeout = '5s';
      return;
    exception
      when lock_not_available then
        if attempt = 100 then
          raise exception using
            errcode = 'lock_not_available',
            message = sqlerrm,
            hint = 'A transaction stays open on crm_connections: see pg_stat_activity, and run it again once it has ended.';
        end if;
        perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
end
$$;

-- The column is null everywhere, and reading the few connections once more would not shorten the lock.
alter table crm_connections
  -- Collation C, because it is opaque to us.
  add column account text collate "C",
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_account_check
    check (btrim(account, E' \t\n\r\f\x0b') <> '' and octet_length(account) <= 512);

comment on column crm_connections.account is
  'The account at the CRM, by the CRM''s own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. Set once: another account needs another connection.';
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

-- Else an account that somebody is setting now would be lost unseen.
lock table crm_connections in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_connections where account is not null)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_connections has accounts, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

alter table crm_connections drop column account;
