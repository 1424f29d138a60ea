-- Up Migration
--
-- Purpose: says in the log why an event was skipped, such as reason 'echo' for our own push that came back.
-- Locks:   crm_sync_log ACCESS EXCLUSIVE, with its partitions: reads and writes wait until the end of the
--          transaction. It is tried for a tenth of a second at a time, up to a hundred times. Before that, SHARE
--          UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   nothing: the new constraints are not valid until 0022 validates them.
-- Down:    drops the column (crm_sync_log ACCESS EXCLUSIVE). Scans the log for reasons, and refuses while there are
--          any unless crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
  if (
    select nspname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = 'crm_sync_log'::regclass::oid
  ) is distinct from current_schema() then
    raise exception using
      errcode = 'CRM01',
      message = 'search_path does not begin with the schema of crm_sync_log, so what is replaced would go elsewhere',
      hint = 'Let search_path begin with the schema of crm_sync_log, as it did for the earlier migrations.';
  end if;
end
$$;

-- Below deadlock_timeout's default of one second, so that in a tie this migration gives way, not the application.
do $$
begin
  -- Blocks no application. Waits long enough for autovacuum to give way.
  lock table crm_sync_log in share update exclusive mode;
  for attempt in 1..100 loop
    begin
      set local lock_timeout = '100ms';
      lock table crm_sync_log in access exclusive mode;
      set local lock_timeout = '5s';
      return;
    exception
      when lock_not_available then
        if attempt = 100 then
          raise exception using
            errcode = 'lock_not_available',
            message = sqlerrm,
            hint = 'A transaction stays open on crm_sync_log: see pg_stat_activity, and run it again once it has ended.';
        end if;
        perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
end
$$;

alter table crm_sync_log
  add column reason text,
  add constraint crm_sync_log_reason_check
    check (reason in ('echo', 'unchanged', 'older', 'pending_push', 'no_consent', 'merged', 'erased'))
    not valid,
  add constraint crm_sync_log_reason_has_status_skipped_check
    check (reason is null or status = 'skipped')
    not valid;

comment on column crm_sync_log.reason is
  'Why it was skipped. echo: our own push came back. unchanged: the CRM''s version is the one already seen. older: it was modified before the one already seen. pending_push: our own change has still to be pushed. no_consent: the person does not consent to it. merged: the record was merged into another. erased: the person was erased. Null if no reason was given, and for events that were not skipped.';
comment on constraint crm_sync_log_reason_check on crm_sync_log is
  'The closed list of reasons.';
comment on constraint crm_sync_log_reason_has_status_skipped_check on crm_sync_log is
  'Only a skipped event has a reason.';

-- Its list of columns was fixed, so an event moved out of the catch-all partition would have lost its reason.
create or replace function crm_sync_log_ensure_partitions(
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
  -- Read from the catalog, so that an event keeps every column that a migration adds.
  log_columns constant text := (
    select string_agg(quote_ident(attname), ', ' order by attnum)
    from pg_attribute
    where attrelid = log_table
      and attnum > 0
      and not attisdropped
      and attgenerated = ''
  );
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
          -- All arguments, of exactly these types: nobody's function of the same name fits as well.
          'select %I.crm_sync_log_finish_partition(%L::regclass, %L::regclass)',
          log_schema, partition_name, log_table
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

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
begin
  if (
    select nspname
    from pg_catalog.pg_class
    inner join pg_catalog.pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = 'crm_sync_log'::regclass::oid
  ) is distinct from current_schema() then
    raise exception using
      errcode = 'CRM01',
      message = 'search_path does not begin with the schema of crm_sync_log, so what is replaced would go elsewhere',
      hint = 'Let search_path begin with the schema of crm_sync_log, as it did for the earlier migrations.';
  end if;
end
$$;

-- Otherwise a reason that somebody is recording now would be lost unseen.
lock table crm_sync_log in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_sync_log where reason is not null)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_sync_log has reasons, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

create or replace function crm_sync_log_ensure_partitions(
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
          -- All arguments, of exactly these types: nobody's function of the same name fits as well.
          'select %I.crm_sync_log_finish_partition(%L::regclass, %L::regclass)',
          log_schema, partition_name, log_table
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

alter table crm_sync_log
  drop constraint crm_sync_log_reason_has_status_skipped_check,
  drop constraint crm_sync_log_reason_check,
  drop column reason;
