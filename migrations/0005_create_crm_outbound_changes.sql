-- Up Migration
--
-- Purpose: which contacts have to be pushed, and where to?
-- Locks:   contacts SHARE ROW EXCLUSIVE and then crm_connections SHARE ROW EXCLUSIVE, to add the foreign
--          keys: writes wait until the end of the transaction, which by default is that of all pending
--          files. In the order in which a sync writes, and before any other lock of this release.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (contacts, crm_connections and it ACCESS EXCLUSIVE), and refuses while it has
--          rows unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table crm_outbound_changes (
  organisation_id uuid not null,
  contact_id uuid not null,
  connection_id uuid not null,
  version bigint generated always as identity,
  first_changed_at timestamptz not null,
  last_changed_at timestamptz not null,
  -- A claim a second lasts for 68 years.
  -- squawk-ignore prefer-bigint-over-int
  attempts integer not null default 0,
  next_attempt_at timestamptz not null,
  is_announced boolean not null default false,
  constraint crm_outbound_changes_pkey
    primary key (organisation_id, contact_id, connection_id),
  -- The host must stay able to delete its own contacts; there is nothing left to push then.
  constraint crm_outbound_changes_contact_id_fkey
    foreign key (organisation_id, contact_id)
    references contacts (organisation_id, id)
    on delete cascade,
  -- A connection with changes is erased deliberately, never by a cascade.
  constraint crm_outbound_changes_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint crm_outbound_changes_attempts_check
    check (attempts >= 0),
  constraint crm_outbound_changes_changed_in_order_check
    check (first_changed_at <= last_changed_at),
  constraint crm_outbound_changes_times_in_range_check
    check (
      least(first_changed_at, last_changed_at, next_attempt_at) >= '1900-01-01 00:00:00+00'
      and greatest(first_changed_at, last_changed_at, next_attempt_at) < '9999-01-01 00:00:00+00'
    )
);

create index crm_outbound_changes_next_attempt_at_idx
  on crm_outbound_changes (organisation_id, connection_id, next_attempt_at);

create index crm_outbound_changes_connection_id_new_idx
  on crm_outbound_changes (organisation_id, connection_id)
  where not is_announced;

comment on table crm_outbound_changes is
  'What has to be pushed: one row per contact and connection, however often the contact changes. Written by the host in the transaction that changes the contact; removed by the batch that records the push, unless something newer came meanwhile. It holds no data: what is pushed is the contact as it is then.';
comment on column crm_outbound_changes.organisation_id is
  'The organisation (tenant) the contact belongs to.';
comment on column crm_outbound_changes.contact_id is
  'The contact that changed.';
comment on column crm_outbound_changes.connection_id is
  'The connection to push it to.';
comment on column crm_outbound_changes.version is
  'Another one with each change, never used twice: tells whether something newer came.';
comment on column crm_outbound_changes.first_changed_at is
  'Since when something has been waiting to be pushed.';
comment on column crm_outbound_changes.last_changed_at is
  'When the contact last changed.';
comment on column crm_outbound_changes.attempts is
  'How often it was claimed since the last change: more than once if workers died over it.';
comment on column crm_outbound_changes.next_attempt_at is
  'From when it may be claimed: at once, and after a claim a while later, lest a contact over which workers die holds up the others.';
comment on column crm_outbound_changes.is_announced is
  'Whether its connection has been made due for it. The host does not do that itself: its transaction may be long, and would keep workers waiting.';
comment on constraint crm_outbound_changes_pkey on crm_outbound_changes is
  'Tenant first; one row per contact and connection. Serves the foreign key to contacts.';
comment on constraint crm_outbound_changes_contact_id_fkey on crm_outbound_changes is
  'Composite, so that a change can never be of another organisation''s contact. On delete cascade: what is gone is not pushed.';
comment on constraint crm_outbound_changes_connection_id_fkey on crm_outbound_changes is
  'Composite, so that a contact is never pushed to another organisation''s CRM. On delete restrict: a connection with changes goes through erasure.';
comment on constraint crm_outbound_changes_attempts_check on crm_outbound_changes is
  'Counted from 0.';
comment on constraint crm_outbound_changes_changed_in_order_check on crm_outbound_changes is
  'The last change is not before the first.';
comment on constraint crm_outbound_changes_times_in_range_check on crm_outbound_changes is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_outbound_changes_next_attempt_at_idx is
  'Finds what a connection has to push, and serves the foreign key to crm_connections.';
comment on index crm_outbound_changes_connection_id_new_idx is
  'Finds the connections that have to be made due.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen.
lock table crm_connections, crm_outbound_changes in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_outbound_changes)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_outbound_changes has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop table crm_outbound_changes;
