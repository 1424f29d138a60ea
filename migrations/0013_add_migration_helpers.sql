-- Up Migration
--
-- Purpose: what the migrations from here on have in common: they check the schema, wait for locks, create and edit
--          functions, keep one owner, and refuse to lose data.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the functions; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Whoever creates in a schema of search_path can have functions of their own run in place of these, by the owner.
do $$
declare
  open_schema name;
begin
  foreach open_schema in array current_schemas(false) loop
    if has_schema_privilege('public', open_schema, 'create') then
      raise exception using
        errcode = 'CRM01',
        message = format('everybody may create in schema %s, which is in search_path', open_schema),
        hint = format('As its owner, run: revoke create on schema %I from public;', open_schema);
    end if;
  end loop;
end
$$;

create function crm_require_schema(new_schema name, log_table regclass default 'crm_sync_log')
returns void
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $$
declare
  our_schema constant name := (
    select nspname
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = log_table
  );
begin
  if new_schema is distinct from our_schema then
    raise exception using
      errcode = 'CRM01',
      message = format(
        'crm_sync_log is in schema %s, and what is new would go into schema %s',
        our_schema, coalesce(new_schema, '(none)')
      ),
      hint = 'Let search_path begin with the schema of crm_sync_log, as it did for the earlier migrations.';
  end if;
end
$$;

create function crm_run_in_schema(statement text, log_table regclass default 'crm_sync_log')
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
-- Below deadlock_timeout's default of one second, so that in a tie the migration gives way, not the application.
set lock_timeout = '100ms'
as $$
declare
  our_schema name;
  hosts_contacts regclass;
begin
  select
    nspname,
    confrelid::regclass
  into strict
    our_schema,
    hosts_contacts
  from pg_class as log
  inner join pg_namespace
    on pg_namespace.oid = log.relnamespace
  inner join pg_class as mappings
    on mappings.relnamespace = log.relnamespace
    and mappings.relname = 'contact_external_ids'
  inner join pg_constraint
    on conrelid = mappings.oid
    and conname = 'contact_external_ids_contact_id_fkey'
  where log.oid = log_table;

  for attempt in 1..100 loop
    begin
      execute format(statement, our_schema, hosts_contacts);
      return;
    exception
      when lock_not_available then
        if attempt = 100 then
          raise exception using
            errcode = 'lock_not_available',
            message = sqlerrm,
            detail = format(statement, our_schema, hosts_contacts),
            hint = 'A transaction stays open on these tables: see pg_stat_activity, and run it again once it has ended.';
        end if;
        -- What this attempt had locked is free again meanwhile.
        perform pg_sleep(0.1);
    end;
  end loop;
end
$$;

create function crm_wait_for_vacuum(tables regclass[])
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  busy regclass;
begin
  foreach busy in array tables loop
    -- The host may have granted no more of its contacts than a foreign key needs.
    if has_table_privilege(busy, 'update, delete, truncate') then
      execute format('lock table %s in share update exclusive mode', busy);
    end if;
  end loop;
end
$$;

create function crm_give_to_owner(objects text[], log_table regclass default 'crm_sync_log')
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  our_schema name;
  log_owner regrole;
  object text;
begin
  select
    nspname,
    relowner::regrole
  into strict
    our_schema,
    log_owner
  from pg_class
  inner join pg_namespace
    on pg_namespace.oid = relnamespace
  where pg_class.oid = log_table;

  foreach object in array objects loop
    execute format(
      'alter %s %I.%s owner to %s',
      split_part(object, ' ', 1), our_schema, substr(object, strpos(object, ' ') + 1), log_owner
    );
  end loop;
end
$$;

create function crm_edit_function(function regprocedure, present text, wanted text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  definition constant text := pg_get_functiondef(function);
begin
  if strpos(definition, present) = 0 then
    raise exception using
      errcode = 'CRM01',
      message = format('%s is not as an earlier migration left it', function),
      hint = 'See what crm-schema verify reports, and restore the function first.';
  end if;
  execute replace(definition, present, wanted);
end
$$;

create function crm_refuse_data_loss(lost text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on' then
    raise exception using
      errcode = 'CRM03',
      message = format('%s, and going down would lose them', lost),
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

comment on function crm_require_schema(name, regclass) is
  'For migrations: fails with CRM01 unless the schema in which new objects are created is that of crm_sync_log. Omit the last parameter, which is crm_sync_log itself.';
comment on function crm_run_in_schema(text, regclass) is
  'For migrations: runs a statement in which %1$I stands for the schema of crm_sync_log and %2$s for the host''s contacts. It must not wait for a lock for more than a tenth of a second; otherwise what it has locked is released, and it is tried again, up to a hundred times. Fails with 55P03 after that. Omit the last parameter, which is crm_sync_log itself.';
comment on function crm_wait_for_vacuum(regclass[]) is
  'For migrations: locks tables against vacuum, and so waits until autovacuum gives way. Call it before crm_run_in_schema, whose short attempts would find autovacuum running each time. Blocks no application. Passes over tables that the user may not lock.';
comment on function crm_give_to_owner(text[], regclass) is
  'For migrations: gives objects, such as ''table t'' or ''function f(uuid)'', to the owner of crm_sync_log, so that all of the schema has one owner. Omit the last parameter, which is crm_sync_log itself.';
comment on function crm_edit_function(regprocedure, text, text) is
  'For migrations: replaces a part of a function, so that the migration shows what changes. Fails with CRM01 if the function has no such part.';
comment on function crm_refuse_data_loss(text) is
  'For migrations: fails with CRM03 unless crm_schema.allow_data_loss is on.';

revoke execute
on function
  crm_require_schema(name, regclass),
  crm_run_in_schema(text, regclass),
  crm_wait_for_vacuum(regclass[]),
  crm_give_to_owner(text[], regclass),
  crm_edit_function(regprocedure, text, text),
  crm_refuse_data_loss(text)
from public;

select crm_require_schema(current_schema());

select crm_give_to_owner(array[
  'function crm_require_schema(name, regclass)',
  'function crm_run_in_schema(text, regclass)',
  'function crm_wait_for_vacuum(regclass[])',
  'function crm_give_to_owner(text[], regclass)',
  'function crm_edit_function(regprocedure, text, text)',
  'function crm_refuse_data_loss(text)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_refuse_data_loss(text);

drop function crm_edit_function(regprocedure, text, text);

drop function crm_give_to_owner(text[], regclass);

drop function crm_wait_for_vacuum(regclass[]);

drop function crm_run_in_schema(text, regclass);

drop function crm_require_schema(name, regclass);
