-- Up Migration
--
-- Purpose: what happened in every sync operation, and if it failed, why?
-- Locks:   crm_connections ACCESS EXCLUSIVE, to add the foreign key and drop the first catch-all: reads
--          and writes wait until the end of the transaction, which by default is that of all pending
--          files. At a first install nobody uses the table yet.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (crm_connections ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create function crm_sync_error_is_valid(error jsonb)
returns boolean
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
  select case
    when jsonb_typeof(error) <> 'object' then false
    when not error ?& '{kind,retryable,message}' then false
    when error - '{kind,retryable,message,code}'::text[] <> '{}' then false
    else
      jsonb_typeof(error -> 'kind') = 'string'
      and error ->> 'kind' in (
        'auth',
        'permission',
        'rate_limited',
        'conflict',
        'not_found',
        'validation',
        'timeout',
        'network',
        'provider',
        'internal'
      )
      and jsonb_typeof(error -> 'retryable') = 'boolean'
      and jsonb_typeof(error -> 'message') = 'string'
      and btrim(error ->> 'message', E' \t\n\r\f\x0b') <> ''
      and length(error ->> 'message') <= 500
      and (
        not error ? 'code'
        or (
          jsonb_typeof(error -> 'code') = 'string'
          and btrim(error ->> 'code', E' \t\n\r\f\x0b') <> ''
          and length(error ->> 'code') <= 100
        )
      )
  end
$$;

comment on function crm_sync_error_is_valid(jsonb) is
  'Whether a value is a sync error: kind (a closed list), retryable (boolean), message (1 to 500 characters), and optionally code (the provider''s own, 1 to 100 characters); nothing else.';

create table crm_sync_log (
  organisation_id uuid not null,
  connection_id uuid not null,
  occurred_at timestamptz not null default now(),
  id bigint generated always as identity,
  direction text not null,
  entity_type text not null,
  external_id text,
  internal_id uuid,
  status text not null,
  error jsonb,
  constraint crm_sync_log_pkey
    primary key (organisation_id, connection_id, occurred_at, id),
  -- A connection with history is erased deliberately, never by a cascade.
  constraint crm_sync_log_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint crm_sync_log_direction_check
    check (direction in ('inbound', 'outbound')),
  constraint crm_sync_log_status_check
    check (status in ('success', 'skipped', 'error')),
  constraint crm_sync_log_entity_type_check
    check (entity_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint crm_sync_log_external_id_check
    check (btrim(external_id, E' \t\n\r\f\x0b') <> '' and octet_length(external_id) <= 512),
  constraint crm_sync_log_error_iff_status_is_error_check
    check ((status = 'error') = (error is not null)),
  constraint crm_sync_log_error_is_valid_check
    check (crm_sync_error_is_valid(error)),
  constraint crm_sync_log_occurred_at_in_range_check
    check (occurred_at >= '1900-01-01 00:00:00+00' and occurred_at < '9999-01-01 00:00:00+00')
)
partition by range (occurred_at);

create index crm_sync_log_status_connection_id_idx
  on crm_sync_log (status, connection_id, occurred_at desc, id desc)
  where status = 'error';

create index crm_sync_log_internal_id_idx
  on crm_sync_log (organisation_id, internal_id, occurred_at desc, id desc)
  where internal_id is not null;

comment on table crm_sync_log is
  'What happened in every sync operation: one row per event, only ever added to. Partitioned by month of occurred_at (UTC); the first month also holds anything older, crm_sync_log_catch_all anything later than the last month. Detaching a month would leave a gap that refuses events of that time.';
comment on column crm_sync_log.organisation_id is
  'The organisation (tenant) the event belongs to.';
comment on column crm_sync_log.connection_id is
  'The connection that was synced.';
comment on column crm_sync_log.occurred_at is
  'When the operation ended, by the database''s clock or the sync worker''s.';
comment on column crm_sync_log.id is
  'Orders events of the same instant.';
comment on column crm_sync_log.direction is
  'inbound: from the CRM to NurtureHub. outbound: from NurtureHub to the CRM.';
comment on column crm_sync_log.entity_type is
  'What kind of record it was, in the provider''s terms and lower snake case: contact, applicant, landlord …';
comment on column crm_sync_log.external_id is
  'The record''s id at the CRM, case-sensitive. Null where there is none: failed creates, errors of the whole account.';
comment on column crm_sync_log.internal_id is
  'NurtureHub''s own id of the record: the contact''s id for people. No foreign key, so that history outlives the record.';
comment on column crm_sync_log.status is
  'success: both sides agree. skipped: nothing had to change. error: it failed, error says why.';
comment on column crm_sync_log.error is
  'Why it failed: kind, retryable, message and optionally the provider''s own code. Never a payload, a secret or personal data. Set exactly when status is error.';
comment on constraint crm_sync_log_pkey on crm_sync_log is
  'Tenant first, then the timeline of a connection; occurred_at is in it because partitions require that.';
comment on constraint crm_sync_log_connection_id_fkey on crm_sync_log is
  'Composite, so that an event can never belong to another organisation''s connection. On delete restrict: a connection with history goes through erasure.';
comment on constraint crm_sync_log_direction_check on crm_sync_log is
  'The closed list of directions.';
comment on constraint crm_sync_log_status_check on crm_sync_log is
  'The closed list of outcomes.';
comment on constraint crm_sync_log_entity_type_check on crm_sync_log is
  'Lower snake case, at most 63 characters; an open list, because each provider names its own.';
comment on constraint crm_sync_log_external_id_check on crm_sync_log is
  'Not blank (spaces, tabs and line breaks alone), at most 512 bytes.';
comment on constraint crm_sync_log_error_iff_status_is_error_check on crm_sync_log is
  'A failure says why, and nothing else does.';
comment on constraint crm_sync_log_error_is_valid_check on crm_sync_log is
  'Errors are structured and bounded, so that no payload or secret ends up in the log.';
comment on constraint crm_sync_log_occurred_at_in_range_check on crm_sync_log is
  'Times are in the years 1900 to 9998: every client can read them, and no event happened at infinity.';
comment on index crm_sync_log_status_connection_id_idx is
  'The failures of a connection, newest first. Partial: it holds only the minority that anyone searches.';
comment on index crm_sync_log_internal_id_idx is
  'The timeline of a contact, newest first.';

create function crm_sync_log_refuse_change()
returns trigger
language plpgsql
volatile
set search_path = ''
as $$
begin
  raise exception using
    errcode = 'CRM02',
    message = format('the sync log is append-only: %s on %I is refused', lower(tg_op), tg_table_name),
    hint = 'Record what has changed as a new event.';
end
$$;

comment on function crm_sync_log_refuse_change() is
  'Refuses UPDATE, DELETE and TRUNCATE on the sync log. Raises SQLSTATE CRM02. The owner of the log could disable the triggers that call it, or detach a partition, and a superuser bypass them: applications connect as neither.';

-- Row triggers of the parent are cloned to each partition. Triggers on truncate are not:
-- crm_sync_log_ensure_partitions adds one to each partition it makes.
create trigger crm_sync_log_refuse_change
  before update or delete on crm_sync_log
  for each row
  execute function crm_sync_log_refuse_change();

comment on trigger crm_sync_log_refuse_change on crm_sync_log is
  'Keeps the log append-only.';

create trigger crm_sync_log_refuse_truncate
  before truncate on crm_sync_log
  for each statement
  execute function crm_sync_log_refuse_change();

comment on trigger crm_sync_log_refuse_truncate on crm_sync_log is
  'Keeps the log append-only.';

-- The catch-all begins as the whole range. crm_sync_log_ensure_partitions cuts the months off its
-- lower end, the first as well as every later one.
create table crm_sync_log_catch_all
  partition of crm_sync_log
  for values from (minvalue) to (maxvalue);

-- Searches pg_catalog alone, so that nobody can slip a function of his own into what the owner runs. It
-- finds the log by its second parameter, whose default is the table of this schema, resolved now.
create function crm_sync_log_ensure_partitions(
  months_ahead integer default 3,
  log_table regclass default 'crm_sync_log'
)
returns setof text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set client_min_messages = 'warning'
-- Shorter than deadlock_timeout's default of one second: in a tie, this function gives way, never the
-- application.
set lock_timeout = '500ms'
as $$
declare
  this_month constant timestamptz := date_trunc('month', now());
  log_schema constant name := (
    select nspname
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = log_table
  );
  catch_all constant text := format('%I.crm_sync_log_catch_all', log_schema);
  emptied constant text := format('%I.crm_sync_log_emptied', log_schema);
  log_columns constant text := 'organisation_id, connection_id, occurred_at, id, direction, entity_type, external_id, internal_id, status, error';
  last_month timestamptz;
  lower_bound text;
  month_start timestamptz;
  month_end timestamptz;
  partition_name text;
  made text[];
  is_locked boolean;
begin
  if months_ahead is null or months_ahead not between 0 and 120 then
    raise exception using
      errcode = 'CRM04',
      message = format('months_ahead must be 0 to 120, not %s', coalesce(months_ahead::text, 'null'));
  end if;
  last_month := this_month + make_interval(months => months_ahead);

  for attempt in 1..20 loop
    begin
      -- Looks without a lock first, so that a call with nothing to make disturbs nobody; and again with
      -- it, because another call may have been faster.
      foreach is_locked in array array[false, true] loop
        if is_locked then
          -- What an earlier call emptied. Dropping it locks crm_connections, and is best not done while
          -- the log is locked, too: that is why the call that empties it leaves it to the next.
          execute format('drop table if exists %s', emptied);
          execute format('lock table only %s in access exclusive mode', log_table);
        end if;

        -- The catch-all's lower bound is the end of the last month, so no other state is needed.
        select substring(pg_get_expr(relpartbound, pg_class.oid) from 'FROM \((.*)\) TO')
        into strict lower_bound
        from pg_class
        inner join pg_namespace
          on pg_namespace.oid = relnamespace
        where nspname = log_schema
          and relname = 'crm_sync_log_catch_all';

        month_start := case
          when lower_bound = 'MINVALUE' then this_month
          else trim(lower_bound, '''')::timestamptz
        end;

        if month_start > last_month then
          if not is_locked then
            execute format('drop table if exists %s', emptied);
          end if;
          return;
        end if;
      end loop;

      -- Attaching the old catch-all again would lock crm_connections against readers: a new one does not.
      execute format('alter table %s detach partition %s', log_table, catch_all);
      execute format('alter table %s rename to crm_sync_log_emptied', catch_all);

      made := '{}';
      while month_start <= last_month loop
        month_end := month_start + interval '1 month';
        partition_name := format('%I.%I', log_schema, 'crm_sync_log_' || to_char(month_start, 'YYYY_MM'));
        execute format(
          'create table %s partition of %s for values from (%s) to (%L)',
          partition_name, log_table, lower_bound, month_end
        );
        execute format(
          'comment on table %s is %L',
          partition_name,
          format(
            'Sync events of %s (UTC)%s.',
            to_char(month_start, 'YYYY-MM'),
            case when lower_bound = 'MINVALUE' then ' and before' else '' end
          )
        );
        made := made || partition_name;
        month_start := month_end;
        lower_bound := quote_literal(month_end);
      end loop;

      execute format(
        'create table %s partition of %s for values from (%s) to (maxvalue)',
        catch_all, log_table, lower_bound
      );
      execute format(
        'comment on table %s is %L',
        catch_all, 'Sync events later than the last month that has a partition of its own. Normally empty.'
      );

      foreach partition_name in array made || catch_all loop
        execute format(
          'create trigger crm_sync_log_refuse_truncate before truncate on %s for each statement execute function %I.crm_sync_log_refuse_change()',
          partition_name, log_schema
        );
        execute format(
          'comment on trigger crm_sync_log_refuse_truncate on %s is %L',
          partition_name, 'Keeps the log append-only.'
        );
        -- Whoever runs this, the log's owner has to be able to alter all of it.
        execute format(
          'alter table %s owner to %I',
          partition_name, (select pg_get_userbyid(relowner) from pg_class where oid = log_table)
        );
      end loop;

      execute format(
        'with moved as (delete from %s returning %s) insert into %s (%s) overriding system value select %s from moved',
        emptied, log_columns, log_table, log_columns, log_columns
      );

      return query select unnest(made);
      return;
    exception
      when lock_not_available then
        if attempt = 20 then
          raise;
        end if;
        -- What this attempt had locked is free again meanwhile.
        perform pg_sleep(0.2 + 0.3 * random());
    end;
  end loop;
end
$$;

comment on function crm_sync_log_ensure_partitions(integer, regclass) is
  'Makes sure that this month (UTC) and the given number of months after it have a partition, moves events that had fallen into the catch-all to their month with their ids kept, and returns the names of the partitions it made. For the owner of the log (or a superuser) to run, best daily. With nothing to make it only drops the table crm_sync_log_emptied, which a call that made something leaves behind. With something to make it takes ACCESS EXCLUSIVE on the log and SHARE ROW EXCLUSIVE on crm_connections until the end of the transaction: an instant, unless there are events to move out of the catch-all. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. Raises CRM04 on months outside 0 to 120. The second parameter is the log itself, and best left out.';

revoke execute on function crm_sync_log_ensure_partitions(integer, regclass) from public;

select crm_sync_log_ensure_partitions();

drop table crm_sync_log_emptied;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen.
lock table crm_sync_log in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_sync_log)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_sync_log has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop function crm_sync_log_ensure_partitions(integer, regclass);

drop table crm_sync_log;

drop table if exists crm_sync_log_emptied;

drop function crm_sync_log_refuse_change();

drop function crm_sync_error_is_valid(jsonb);
