-- Up Migration
--
-- Purpose: checks that the database and NurtureHub's own tables in it fit, and makes sure that a foreign
--          key can point at a contact together with its organisation.
-- Locks:   contacts SHARE, and only where no usable unique index on (organisation_id, id) exists yet:
--          writes wait from the building of the index to the end of the transaction, which by default
--          is that of all pending files. To build it beforehand without blocking writes, run as the
--          owner of contacts, outside a transaction:
--            create unique index concurrently contacts_organisation_id_id_key
--              on contacts (organisation_id, id);
-- Scans:   contacts, once, for that index.
-- Down:    drops that index if this migration created it and no foreign key needs it (contacts ACCESS
--          EXCLUSIVE); loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '5min';

-- Both blocks look the host tables up where search_path finds them, and then search pg_catalog alone:
-- whoever may create functions in one of those schemas must not have his run by whoever migrates.

-- Everything that is wrong is reported at once, before anything changes.
do $$
declare
  search_path constant text := current_setting('search_path'::text);
  organisations constant regclass := to_regclass('organisations'::text);
  contacts constant regclass := to_regclass('contacts'::text);
  wanted record;
  host_table regclass;
  found_type text;
  problems text[] := '{}';
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  if current_setting('server_version_num')::integer < 150000 then
    problems := problems || format('PostgreSQL %s is too old, 15 is the oldest supported', current_setting('server_version'));
  end if;

  if current_setting('server_encoding') <> 'UTF8' then
    problems := problems || format('the database''s encoding is %s, not UTF8', current_setting('server_encoding'));
  end if;

  for wanted in
    select
      table_name,
      column_name
    from (
      values
        ('organisations', 'id'),
        ('contacts', 'id'),
        ('contacts', 'organisation_id')
    ) as host (table_name, column_name)
  loop
    host_table := case wanted.table_name when 'organisations' then organisations else contacts end;

    if host_table is null then
      problems := problems || format('table %s is missing', wanted.table_name);
      continue;
    end if;

    if (select relkind not in ('r', 'p') from pg_class where oid = host_table) then
      problems := problems || format('%s is not a table', wanted.table_name);
      continue;
    end if;

    select format_type(atttypid, atttypmod)
    into found_type
    from pg_attribute
    where attrelid = host_table
      and attname = wanted.column_name
      and attnum > 0
      and not attisdropped;

    if found_type is null then
      problems := problems || format('column %s.%s is missing', wanted.table_name, wanted.column_name);
    elsif found_type <> 'uuid' then
      problems := problems || format('column %s.%s is %s, not uuid', wanted.table_name, wanted.column_name, found_type);
    end if;

    if not has_table_privilege(host_table, 'REFERENCES') then
      problems := problems || format(
        'user %s may not reference %s (grant references on %s to %s)',
        current_user, wanted.table_name, host_table, quote_ident(current_user)
      );
    end if;
  end loop;

  if cardinality(problems) = 0 and not exists (
    select
    from pg_index
    where indrelid = organisations
      and indisunique
      and indisvalid
      and indimmediate
      and indpred is null
      and indexprs is null
      and indnkeyatts = 1
      and indkey[0] = (select attnum from pg_attribute where attrelid = organisations and attname = 'id')
  ) then
    problems := problems || 'organisations.id has neither a primary key nor a unique index'::text;
  end if;

  if cardinality(problems) > 0 then
    raise exception using
      errcode = 'CRM01',
      message = format(
        'this database does not fit the CRM schema: %s',
        array_to_string(array(select distinct p from unnest(problems) as p order by p), '; ')
      ),
      detail = 'The CRM schema builds on the tables organisations (id uuid) and contacts (id uuid, organisation_id uuid), and never creates or changes them.',
      hint = format(
        'Run these migrations in the database that holds both tables, with a search_path that finds them (now: %s).',
        search_path
      );
  end if;

  perform set_config('search_path', search_path, true);
end
$$;

do $$
declare
  search_path constant text := current_setting('search_path'::text);
  host_table constant regclass := to_regclass('contacts'::text);
  key_columns smallint[];
  statement text;
  unusable regclass;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  key_columns := array(
    select attnum
    from pg_attribute
    where attrelid = host_table
      and attname in ('organisation_id', 'id')
    order by attnum
  );
  statement := format(
    'create unique index concurrently contacts_organisation_id_id_key on %s (organisation_id, id)',
    host_table
  );

  if exists (
    select
    from pg_index
    where indrelid = host_table
      and indisunique
      and indisvalid
      and indimmediate
      and indpred is null
      and indexprs is null
      and indnkeyatts = 2
      and array(select key from unnest(indkey[0:1]) as key order by key) = key_columns
  ) then
    perform set_config('search_path', search_path, true);
    return;
  end if;

  select pg_class.oid
  into unusable
  from pg_class
  where relname = 'contacts_organisation_id_id_key'
    and relnamespace = (select relnamespace from pg_class where oid = host_table);

  if unusable is not null then
    raise exception using
      errcode = 'CRM01',
      message = format('%s exists, but is not a valid unique index on contacts (organisation_id, id)', unusable),
      hint = format('An interrupted build leaves such an index. Run: drop index concurrently %s; then: %s;', unusable, statement);
  end if;

  if not pg_has_role((select relowner from pg_class where oid = host_table), 'USAGE') then
    raise exception using
      errcode = 'CRM01',
      message = format('contacts needs a unique index on (organisation_id, id), and user %s does not own the table', current_user),
      hint = format('As its owner, run: %s;', statement);
  end if;

  execute format('create unique index contacts_organisation_id_id_key on %s (organisation_id, id)', host_table);

  perform set_config('search_path', search_path, true);

  -- The down migration drops the index only if it finds this comment.
  comment on index contacts_organisation_id_id_key is
    'Created by @nurturehub/crm-schema: lets a foreign key hold a contact and its organisation together.';
end
$$;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '5min';

do $$
declare
  created regclass;
begin
  select indexrelid
  into created
  from pg_index
  where indrelid = to_regclass('contacts'::text)
    and obj_description(indexrelid, 'pg_class') like 'Created by @nurturehub/crm-schema:%'
    -- Foreign keys of others, such as a second installation's, may have come to rely on it.
    and not exists (
      select
      from pg_constraint
      where conindid = indexrelid
    );

  if created is not null then
    execute format('drop index %s', created);
  end if;
end
$$;
