-- Up Migration
--
-- Purpose: says for each connection who wins if a person was edited here and at the CRM, and keeps what was, or would
--          be, overwritten for a person to see.
-- Locks:   crm_connections ACCESS EXCLUSIVE and crm_sync_log ACCESS EXCLUSIVE, with its partitions: reads and writes
--          wait until the end of the transaction. It is tried for a tenth of a second at a time, up to a hundred times.
--          Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   crm_connections, to check the new constraint: a fraction of a second for 100,000 connections. Nothing is
--          rewritten, and the log's new constraint is not valid until 0040 validates it.
-- Down:    drops the function, the table, the column and the reason (crm_connections and crm_sync_log ACCESS
--          EXCLUSIVE). Scans the log for the reason, and refuses while there are conflicts, or another winner than
--          NurtureHub is set, unless crm_schema.allow_data_loss is on: then the reason of those events becomes
--          pending_push, which is what 1.4.0 would have recorded.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- In the order in which partitions are created, which these locks hold up.
select crm_wait_for_vacuum(array['crm_sync_log', 'crm_connections']::regclass[]);

-- In the order in which everybody locks.
select crm_run_in_schema('lock table %1$I.crm_connections, %1$I.crm_sync_log in access exclusive mode');

alter table crm_connections
  add column conflict_winner text not null default 'nurturehub',
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_connections_conflict_winner_check
    check (conflict_winner in ('nurturehub', 'crm', 'person'));

comment on column crm_connections.conflict_winner is
  'Who wins if a person was edited here and at the CRM. nurturehub: ours is pushed. crm: theirs is applied here. person: neither is overwritten until a person decides.';
comment on constraint crm_connections_conflict_winner_check on crm_connections is
  'The closed list of winners.';

grant select (conflict_winner)
on crm_connections
to crm_app, crm_reader;

grant update (conflict_winner)
on crm_connections
to crm_app, crm_worker;

alter table crm_sync_log
  drop constraint crm_sync_log_reason_check,
  add constraint crm_sync_log_reason_check
    check (reason in ('echo', 'unchanged', 'older', 'pending_push', 'conflict', 'no_consent', 'merged', 'erased'))
    not valid;

comment on column crm_sync_log.reason is
  'Why it was skipped. echo: our own push came back. unchanged: the CRM''s version is the one already seen. older: it was modified before the one already seen. pending_push: our own change has still to be pushed. conflict: it was edited here and at the CRM, and the other side won, or a person has to decide. no_consent: the person does not consent to it. merged: the record was merged into another. erased: the person was erased. Null if no reason was given, and for events that were not skipped.';
comment on constraint crm_sync_log_reason_check on crm_sync_log is
  'The closed list of reasons.';

create table crm_sync_conflicts (
  organisation_id uuid not null,
  connection_id uuid not null,
  -- Collation C, because these are opaque to us.
  entity_type text collate "C" not null,
  external_id text collate "C" not null,
  id bigint generated always as identity,
  contact_id uuid not null,
  kept text not null,
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  -- A record that conflicts once a second lasts for 68 years.
  -- squawk-ignore prefer-bigint-over-int
  occurrences integer not null default 1,
  acknowledged_at timestamptz,
  acknowledged_by text,
  constraint crm_sync_conflicts_pkey
    primary key (organisation_id, connection_id, entity_type, external_id),
  -- A connection with conflicts is erased deliberately, never by a cascade.
  constraint crm_sync_conflicts_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint crm_sync_conflicts_entity_type_check
    check (entity_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint crm_sync_conflicts_external_id_check
    check (btrim(external_id, E' \t\n\r\f\x0b') <> '' and octet_length(external_id) <= 512),
  constraint crm_sync_conflicts_kept_check
    check (kept in ('nurturehub', 'crm', 'neither')),
  constraint crm_sync_conflicts_occurrences_check
    check (occurrences >= 1),
  constraint crm_sync_conflicts_acknowledgement_is_whole_check
    check ((acknowledged_at is null) = (acknowledged_by is null)),
  constraint crm_sync_conflicts_acknowledged_by_check
    check (btrim(acknowledged_by, E' \t\n\r\f\x0b') <> '' and length(acknowledged_by) <= 100),
  constraint crm_sync_conflicts_times_in_range_check
    check (
      least(first_seen_at, last_seen_at, acknowledged_at) >= '1900-01-01 00:00:00+00'
      and greatest(first_seen_at, last_seen_at, acknowledged_at) < '9999-01-01 00:00:00+00'
    )
);

-- By id alone: if it began with the connection, the planner might read all of a connection's conflicts by it.
-- squawk-ignore require-concurrent-index-creation
create unique index crm_sync_conflicts_id_key
  on crm_sync_conflicts (id);

-- squawk-ignore require-concurrent-index-creation
create index crm_sync_conflicts_last_seen_at_idx
  on crm_sync_conflicts (organisation_id, connection_id, last_seen_at, id);

-- squawk-ignore require-concurrent-index-creation
create index crm_sync_conflicts_open_idx
  on crm_sync_conflicts (organisation_id, connection_id, last_seen_at, id)
  where acknowledged_at is null;

comment on table crm_sync_conflicts is
  'Records that were edited at the CRM while an edit here waited to be pushed: one of the two was overwritten, or a person has to decide. One row for each record, however often it happens. Never what was overwritten: that is personal data.';
comment on column crm_sync_conflicts.organisation_id is
  'The organisation (tenant) that the connection belongs to.';
comment on column crm_sync_conflicts.connection_id is
  'The connection to the CRM that has the record.';
comment on column crm_sync_conflicts.entity_type is
  'The kind of record, in the CRM''s own terms.';
comment on column crm_sync_conflicts.external_id is
  'The record''s id at the CRM.';
comment on column crm_sync_conflicts.id is
  'Names the conflict, and orders those of one instant.';
comment on column crm_sync_conflicts.contact_id is
  'NurtureHub''s contact when it last happened. Without a foreign key, as in the log.';
comment on column crm_sync_conflicts.kept is
  'Whose edit was kept when it last happened: nurturehub, crm, or neither was overwritten until a person decides.';
comment on column crm_sync_conflicts.first_seen_at is
  'When it happened first.';
comment on column crm_sync_conflicts.last_seen_at is
  'When it happened last.';
comment on column crm_sync_conflicts.occurrences is
  'How often it has happened.';
comment on column crm_sync_conflicts.acknowledged_at is
  'When a person said that they had seen it. Null if nobody has since it last happened.';
comment on column crm_sync_conflicts.acknowledged_by is
  'Who has seen it: a role or a program, never a person''s name.';
comment on constraint crm_sync_conflicts_pkey on crm_sync_conflicts is
  'Tenant first; one row for each record.';
comment on constraint crm_sync_conflicts_connection_id_fkey on crm_sync_conflicts is
  'Composite, so that a conflict can never belong to another organisation''s connection. On delete restrict: a connection with conflicts must be erased deliberately.';
comment on constraint crm_sync_conflicts_entity_type_check on crm_sync_conflicts is
  'Lower snake case, 1 to 63 characters.';
comment on constraint crm_sync_conflicts_external_id_check on crm_sync_conflicts is
  'Not blank, and at most 512 bytes.';
comment on constraint crm_sync_conflicts_kept_check on crm_sync_conflicts is
  'The closed list of what was kept.';
comment on constraint crm_sync_conflicts_occurrences_check on crm_sync_conflicts is
  'Counted from 1.';
comment on constraint crm_sync_conflicts_acknowledgement_is_whole_check on crm_sync_conflicts is
  'Nothing is acknowledged without saying by whom.';
comment on constraint crm_sync_conflicts_acknowledged_by_check on crm_sync_conflicts is
  'Not blank, and at most 100 characters.';
comment on constraint crm_sync_conflicts_times_in_range_check on crm_sync_conflicts is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_sync_conflicts_id_key is
  'Finds the conflicts that a person chose.';
comment on index crm_sync_conflicts_last_seen_at_idx is
  'Lists the conflicts of a connection, newest first.';
comment on index crm_sync_conflicts_open_idx is
  'Lists and counts those that nobody has acknowledged.';

grant select, insert, update, delete
on crm_sync_conflicts
to crm_app, crm_worker;

grant select
on crm_sync_conflicts
to crm_reader;

alter table crm_sync_conflicts enable row level security;

create policy crm_sync_conflicts_tenant_policy
  on crm_sync_conflicts
  to crm_app
  using (organisation_id = (select crm_organisation_id()))
  with check (organisation_id = (select crm_organisation_id()));

create policy crm_sync_conflicts_worker_policy
  on crm_sync_conflicts
  to crm_worker
  using (true)
  with check (true);

create policy crm_sync_conflicts_reader_policy
  on crm_sync_conflicts
  for select
  to crm_reader
  using (true);

comment on policy crm_sync_conflicts_tenant_policy on crm_sync_conflicts is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy crm_sync_conflicts_worker_policy on crm_sync_conflicts is
  'The sync worker works for all organisations.';
comment on policy crm_sync_conflicts_reader_policy on crm_sync_conflicts is
  'Monitoring and support read all organisations.';

create function crm_sync_failure_is_undecided(direction text, error jsonb, gave_up_at timestamptz)
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(
    direction = 'outbound'
      and gave_up_at is not null
      and error ->> 'kind' = 'conflict'
      and error ->> 'code' = 'edited_on_both_sides',
    false
  )
$$;

comment on function crm_sync_failure_is_undecided(text, jsonb, timestamptz) is
  'The one rule for which failed pushes wait for a person to decide whose edit counts: given up with kind conflict and code edited_on_both_sides, and neither replayed nor dismissed since.';

-- Functions may be everybody's to run, or an installation's default privileges may say otherwise; this
-- does not depend on it.
grant execute
on function crm_sync_failure_is_undecided(text, jsonb, timestamptz)
to crm_app, crm_worker, crm_reader;

select crm_give_to_owner(array[
  'table crm_sync_conflicts',
  'function crm_sync_failure_is_undecided(text, jsonb, timestamptz)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- In the order in which partitions are created, which these locks hold up.
select crm_wait_for_vacuum(array['crm_sync_log', 'crm_connections', 'crm_sync_conflicts']::regclass[]);

-- Before the check, else what somebody is recording now would be lost unseen.
select crm_run_in_schema('lock table %1$I.crm_connections, %1$I.crm_sync_log, %1$I.crm_sync_conflicts in access exclusive mode');

select crm_refuse_data_loss('crm_sync_conflicts has rows')
where exists (select from crm_sync_conflicts);

select crm_refuse_data_loss('crm_connections has connections with another conflict_winner')
where exists (select from crm_connections where conflict_winner <> 'nurturehub');

select crm_refuse_data_loss('crm_sync_log has events with reason conflict')
where exists (select from crm_sync_log where reason = 'conflict');

drop function crm_sync_failure_is_undecided(text, jsonb, timestamptz);

drop table crm_sync_conflicts;

alter table crm_connections
  drop column conflict_winner;

-- Only if they may be lost: what is not lost is refused above.
alter table crm_sync_log
  disable trigger crm_sync_log_refuse_change;

update crm_sync_log
set reason = 'pending_push'
where reason = 'conflict';

alter table crm_sync_log
  enable trigger crm_sync_log_refuse_change;

alter table crm_sync_log
  drop constraint crm_sync_log_reason_check,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_sync_log_reason_check
    check (reason in ('echo', 'unchanged', 'older', 'pending_push', 'no_consent', 'merged', 'erased'));

comment on column crm_sync_log.reason is
  'Why it was skipped. echo: our own push came back. unchanged: the CRM''s version is the one already seen. older: it was modified before the one already seen. pending_push: our own change has still to be pushed. no_consent: the person does not consent to it. merged: the record was merged into another. erased: the person was erased. Null if no reason was given, and for events that were not skipped.';
comment on constraint crm_sync_log_reason_check on crm_sync_log is
  'The closed list of reasons.';
