-- Up Migration
--
-- Purpose: how long is what kept, and how does the log stay without a gap when its oldest month goes?
-- Locks:   crm_sync_log SHARE UPDATE EXCLUSIVE, to change its comment: nobody waits but maintenance.
-- Scans:   nothing; the table is new.
-- Down:    drops the table (it ACCESS EXCLUSIVE, crm_sync_log SHARE UPDATE EXCLUSIVE), and refuses where a
--          period was changed unless crm_schema.allow_data_loss is on. Partitions stay as they are.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
declare
  search_path constant text := current_setting('search_path'::text);
  new_schema constant name := current_schema();
  log_table constant regclass := to_regclass('crm_sync_log'::text);
  our_schema name;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  select nspname
  into our_schema
  from pg_class
  inner join pg_namespace
    on pg_namespace.oid = relnamespace
  where pg_class.oid = log_table;
  if our_schema is null or our_schema is distinct from new_schema then
    raise exception using
      errcode = 'CRM01',
      message = format(
        'crm_sync_log is in schema %s, and what is new would go into schema %s',
        coalesce(our_schema, '(none that is searched)'), coalesce(new_schema, '(none)')
      ),
      hint = 'Let search_path begin with the schema of crm_sync_log, as it did for the migrations before.';
  end if;

  perform set_config('search_path', search_path, true);
end
$$;

create table crm_retention (
  subject text not null,
  -- A hundred years are not four billion days.
  -- squawk-ignore prefer-bigint-over-int
  keep_days integer not null,
  constraint crm_retention_pkey
    primary key (subject),
  constraint crm_retention_subject_check
    check (subject in ('crm_sync_log', 'crm_sync_runs')),
  constraint crm_retention_keep_days_check
    check (
      keep_days >= 1
      and keep_days <= 36500
      -- So that the month that is written to is never old enough.
      and (keep_days >= 31 or subject <> 'crm_sync_log')
    )
);

comment on table crm_retention is
  'How long what is kept: the one place that says it. Of the whole installation, so it has no organisation. The owner changes it; crm-schema partitions drop and syncRunPurge go by it.';
comment on column crm_retention.subject is
  'The table whose rows are kept for so long.';
comment on column crm_retention.keep_days is
  'For how many days of 24 hours at least: of the log since the event, whose whole month is dropped once all of it is that old; of runs since their end.';
comment on constraint crm_retention_pkey on crm_retention is
  'One period for each table.';
comment on constraint crm_retention_subject_check on crm_retention is
  'The closed list of tables that grow with time and are cut by age.';
comment on constraint crm_retention_keep_days_check on crm_retention is
  'A day to a hundred years; the log for 31 days at least.';

-- Who purges runs has to know for how long they are kept; only the owner changes it.
grant select
on crm_retention
to crm_worker, crm_reader;

alter table crm_retention enable row level security;

create policy crm_retention_worker_policy
  on crm_retention
  for select
  to crm_worker
  using (true);

create policy crm_retention_reader_policy
  on crm_retention
  for select
  to crm_reader
  using (true);

comment on policy crm_retention_worker_policy on crm_retention is
  'The sync worker purges by it.';
comment on policy crm_retention_reader_policy on crm_retention is
  'Monitoring and support see it.';

insert into crm_retention (subject, keep_days)
values
  -- Thirteen months: a year can be compared with the one before.
  ('crm_sync_log', 395),
  ('crm_sync_runs', 30);

comment on table crm_sync_log is
  'What happened in every sync operation: one row per event, only ever added to. Partitioned by month of occurred_at (UTC); the first partition also holds anything older, crm_sync_log_catch_all anything later than the last month. Months past their time (crm_retention) are dropped by crm-schema partitions drop.';

-- Searches pg_catalog alone, and finds the log by its parameter, as crm_sync_log_ensure_partitions does.
create function crm_sync_log_ensure_past(log_table regclass default 'crm_sync_log')
returns text
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
  log_schema constant name := (
    select nspname
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = log_table
  );
  first_start timestamptz;
  partition_name text;
  is_whole boolean;
  is_locked boolean;
begin
  for attempt in 1..20 loop
    begin
      -- Looks without a lock first, so that a call with nothing to make disturbs nobody; and again with
      -- it, because another call may have been faster.
      foreach is_locked in array array[false, true] loop
        if is_locked then
          execute format('lock table only %s in share update exclusive mode', log_table);
        end if;

        -- While a partition is being detached its place is neither free nor taken.
        select
          bool_or(inhdetachpending or bound = 'MINVALUE'),
          min(trim(nullif(bound, 'MINVALUE'), '''')::timestamptz)
        into is_whole, first_start
        from pg_inherits
        inner join pg_class
          on pg_class.oid = inhrelid
        cross join substring(pg_get_expr(relpartbound, pg_class.oid) from 'FROM \((.*)\) TO') as bound
        where inhparent = log_table;

        if is_whole then
          return null;
        end if;
      end loop;

      -- One of that name may have been detached by a drop that was interrupted before it dropped it.
      select format('%I.%I', log_schema, 'crm_sync_log_before_' || to_char(first_start, 'YYYY_MM') || suffix)
      into strict partition_name
      from generate_series(1, 1000) as number
      cross join concat(case when number > 1 then '_' || number end) as suffix
      where to_regclass(
        format('%I.%I', log_schema, 'crm_sync_log_before_' || to_char(first_start, 'YYYY_MM') || suffix)
      ) is null
      order by number
      limit 1;

      -- Attached, not made as a partition, which would lock the log; and without the foreign key, which
      -- it gets then: had it one already, attaching it would lock crm_connections against readers.
      execute format(
        'create table %s (like %s including constraints including defaults including storage including compression)',
        partition_name, log_table
      );
      execute format(
        'comment on table %s is %L',
        partition_name,
        format('Sync events from before %s (UTC). Normally empty.', to_char(first_start, 'YYYY-MM'))
      );
      execute format(
        'select %I.crm_sync_log_finish_partition(%L::regclass, %L::regclass)',
        log_schema, partition_name, log_table
      );
      execute format(
        'alter table %s attach partition %s for values from (minvalue) to (%L)',
        log_table, partition_name, first_start
      );
      return partition_name;
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

comment on function crm_sync_log_ensure_past(regclass) is
  'Makes sure that events from before the first partition''s time have a partition, as they have none after the oldest month was detached, and returns its name, or null where there is nothing to make (or a partition is just being detached). For the owner of the log (or a superuser) to run; crm-schema partitions drop and ensure do. With something to make it takes SHARE UPDATE EXCLUSIVE on the log, which stops neither readers nor writers, and SHARE ROW EXCLUSIVE on crm_connections, for an instant. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. The parameter is the log itself, and best left out.';

revoke execute on function crm_sync_log_ensure_past(regclass) from public;

-- Whoever runs this, all of the schema has one owner.
do $$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  log_table constant regclass := to_regclass('crm_sync_log'::text);
  log_owner regrole;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  select relowner::regrole
  into log_owner
  from pg_class
  where oid = log_table;
  execute format('alter table %I.crm_retention owner to %s', our_schema, log_owner);
  execute format('alter function %I.crm_sync_log_ensure_past(regclass) owner to %s', our_schema, log_owner);

  perform set_config('search_path', search_path, true);
end
$$;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a period that somebody is changing now would be lost unseen.
lock table crm_retention in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and 2 <> (
      select count(*)
      from crm_retention
      where (subject, keep_days) in (('crm_sync_log', 395), ('crm_sync_runs', 30))
    )
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_retention has periods that were changed, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop function crm_sync_log_ensure_past(regclass);

comment on table crm_sync_log is
  'What happened in every sync operation: one row per event, only ever added to. Partitioned by month of occurred_at (UTC); the first month also holds anything older, crm_sync_log_catch_all anything later than the last month. Detaching a month would leave a gap that refuses events of that time.';

drop table crm_retention;
