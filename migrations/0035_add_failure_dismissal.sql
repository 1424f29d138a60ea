-- Up Migration
--
-- Purpose: lets a person dismiss a failing record, with a reason: it is not tried again, and stays listed and counted.
-- Locks:   crm_sync_failures ACCESS EXCLUSIVE: reads and writes wait until the end of the transaction. It is tried
--          for a tenth of a second at a time, up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for
--          vacuum.
-- Scans:   crm_sync_failures, to check the new constraints and to build the index of ids: about a second for a
--          million failing records. Nothing is rewritten.
-- Down:    drops the columns (crm_sync_failures ACCESS EXCLUSIVE), and refuses while a record is dismissed unless
--          crm_schema.allow_data_loss is on: then what was dismissed counts as given up.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_failures']::regclass[]);

select crm_run_in_schema('lock table %1$I.crm_sync_failures in access exclusive mode');

-- Only failing records are in this table, so reading them once more would not shorten the lock.
alter table crm_sync_failures
  add column dismissed_at timestamptz,
  add column dismissed_by text,
  add column dismissal_reason text,
  drop constraint crm_sync_failures_gave_up_iff_no_next_attempt_check,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_sync_failures_one_state_check
    check (num_nonnulls(next_attempt_at, gave_up_at, dismissed_at) = 1),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_sync_failures_dismissal_is_whole_check
    check (num_nonnulls(dismissed_at, dismissed_by, dismissal_reason) in (0, 3)),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_sync_failures_dismissed_by_check
    check (btrim(dismissed_by, E' \t\n\r\f\x0b') <> '' and length(dismissed_by) <= 100),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_sync_failures_dismissal_reason_check
    check (btrim(dismissal_reason, E' \t\n\r\f\x0b') <> '' and length(dismissal_reason) <= 500),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_sync_failures_dismissed_at_in_range_check
    check (dismissed_at >= '1900-01-01 00:00:00+00' and dismissed_at < '9999-01-01 00:00:00+00');

-- By id alone: if it began with the connection, the planner might read all of a connection's failures by it.
-- squawk-ignore require-concurrent-index-creation
create unique index crm_sync_failures_id_key
  on crm_sync_failures (id);

-- squawk-ignore require-concurrent-index-creation
create index crm_sync_failures_dismissed_at_idx
  on crm_sync_failures (organisation_id, connection_id, dismissed_at)
  where dismissed_at is not null;

comment on column crm_sync_failures.dismissed_at is
  'When a person dismissed it. It is not tried again by itself, but closed if a change at the CRM brings it and it succeeds. Null while it is tried or given up.';
comment on column crm_sync_failures.dismissed_by is
  'Who dismissed it: a role or a program, never a person''s name.';
comment on column crm_sync_failures.dismissal_reason is
  'Why it was dismissed, without personal data.';
comment on constraint crm_sync_failures_one_state_check on crm_sync_failures is
  'A record is tried again, given up or dismissed: nothing waits for ever unseen.';
comment on constraint crm_sync_failures_dismissal_is_whole_check on crm_sync_failures is
  'Nothing is dismissed without saying by whom and why.';
comment on constraint crm_sync_failures_dismissed_by_check on crm_sync_failures is
  'Not blank, and at most 100 characters.';
comment on constraint crm_sync_failures_dismissal_reason_check on crm_sync_failures is
  'Not blank, and at most 500 characters.';
comment on constraint crm_sync_failures_dismissed_at_in_range_check on crm_sync_failures is
  'Times are in the years 1900 to 9998: every client can read them.';
comment on index crm_sync_failures_id_key is
  'Finds the failures that a person chose.';
comment on index crm_sync_failures_dismissed_at_idx is
  'Finds and counts what was dismissed.';

create function crm_keep_or_end_dismissal()
returns trigger
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  -- A batch counts an attempt; a replay begins again at none. A push is dismissed with the edit that it was for: what
  -- fails later is another edit.
  if new.direction = 'inbound'
    and new.attempts > old.attempts
    and (new.error ->> 'kind', new.error ->> 'code') is not distinct from (old.error ->> 'kind', old.error ->> 'code')
  then
    new.next_attempt_at := null;
    new.gave_up_at := null;
  else
    new.dismissed_at := null;
    new.dismissed_by := null;
    new.dismissal_reason := null;
  end if;
  return new;
end
$$;

comment on function crm_keep_or_end_dismissal() is
  'The one rule for how long a record stays dismissed: while it fails for the same reason, which is an error of the same kind and code. Another error, or a replay, ends the dismissal; so does the next push that fails, because it is of a later edit. A trigger, because batches of earlier releases do not know of dismissals.';

create trigger crm_sync_failures_dismissal
  before update
  on crm_sync_failures
  for each row
  when (old.dismissed_at is not null and num_nonnulls(new.next_attempt_at, new.gave_up_at) > 0)
  execute function crm_keep_or_end_dismissal();

comment on trigger crm_sync_failures_dismissal on crm_sync_failures is
  'Decides whether a dismissed record that fails again, or is replayed, stays dismissed.';

select crm_give_to_owner(array['function crm_keep_or_end_dismissal()']);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_wait_for_vacuum(array['crm_sync_failures']::regclass[]);

-- Otherwise what somebody is dismissing now would be lost unseen.
select crm_run_in_schema('lock table %1$I.crm_sync_failures in access exclusive mode');

select crm_refuse_data_loss('crm_sync_failures has dismissed records')
where exists (select from crm_sync_failures where dismissed_at is not null);

drop trigger crm_sync_failures_dismissal on crm_sync_failures;

drop function crm_keep_or_end_dismissal();

-- squawk-ignore require-concurrent-index-deletion
drop index crm_sync_failures_id_key;

-- The new constraints would refuse what follows.
alter table crm_sync_failures
  drop constraint crm_sync_failures_one_state_check,
  drop constraint crm_sync_failures_dismissal_is_whole_check,
  drop constraint crm_sync_failures_dismissed_by_check,
  drop constraint crm_sync_failures_dismissal_reason_check,
  drop constraint crm_sync_failures_dismissed_at_in_range_check;

update crm_sync_failures
set gave_up_at = dismissed_at
where dismissed_at is not null;

alter table crm_sync_failures
  drop column dismissed_at,
  drop column dismissed_by,
  drop column dismissal_reason,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_sync_failures_gave_up_iff_no_next_attempt_check
    check ((gave_up_at is not null) = (next_attempt_at is null));

comment on constraint crm_sync_failures_gave_up_iff_no_next_attempt_check on crm_sync_failures is
  'A record is either retried or given up on: none waits unnoticed for ever.';
