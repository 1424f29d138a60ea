import { relationItems } from './relation-items.js';

/**
 * Tables and such that are this schema's, by their names; those that inherit from them, above all the months of
 * the log; and what is only called like them. Not the table in which migrations are counted, nor what a detach
 * has left half done, which is told with the months.
 */
const relation = `
  named as (
    select oid
    from pg_class
    where relnamespace = $1
      and (relname ^@ 'crm_' or relname = 'contact_external_ids')
      and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      -- What crm_sync_log_ensure_partitions leaves behind for its next call to drop.
      and relname <> 'crm_sync_log_emptied'
      and oid <> all ($5::oid[])
      -- And its sequence.
      and not exists (
        select
        from pg_depend
        where classid = 'pg_class'::regclass
          and objid = pg_class.oid
          and refclassid = 'pg_class'::regclass
          and refobjid = any ($5::oid[])
      )
  ),
  relation as (
    select
      pg_class.*,
      log.inhrelid is not null as is_partition,
      name,
      kind,
      format('%s %s', kind, name) as object
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    cross join format('%I.%I', nspname, relname) as name
    cross join lateral (
      values (
        case relkind
          when 'v' then 'view'
          when 'm' then 'materialized view'
          when 'f' then 'foreign table'
          when 'S' then 'sequence'
          else 'table'
        end
      )
    ) as kinds (kind)
    left join pg_inherits as log
      on log.inhrelid = pg_class.oid
      and log.inhparent = $2
    where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
      and log.inhdetachpending is not true
      and (
        pg_class.oid in (select oid from named)
        or pg_class.oid in (select inhrelid from pg_inherits where inhparent in (select oid from named))
      )
  )`;

/**
 * The three roles, what each is a member of, itself or through others, and those whom policies hold: themselves
 * and their members, but for the owner and superusers.
 */
const roles = `
  role as (
    select *
    from pg_roles
    where rolname in ('crm_app', 'crm_worker', 'crm_reader')
  ),
  membership (member_name, first, reached) as (
    select
      rolname,
      roleid,
      roleid
    from role
    inner join pg_auth_members
      on member = role.oid
    union
    select
      member_name,
      first,
      roleid
    from membership
    inner join pg_auth_members
      on member = reached
  ),
  held as (
    select distinct pg_roles.oid
    from pg_roles
    inner join role
      on pg_has_role(pg_roles.oid, role.oid, 'member')
    where not pg_roles.rolsuper
      and pg_roles.oid <> $3
  )`;

const functions = `
  select
    object,
    'function',
    name,
    case prokind
      when 'a' then to_jsonb('an aggregate'::text)
      else to_jsonb(string_to_array(rtrim(pg_get_functiondef(oid), E'\\n'), E'\\n'))
    end,
    'pg_proc'::regclass,
    oid,
    0
  from routine`;

const types = `
  select
    format('type %I.%I', nspname, typname),
    'type',
    format('%I.%I', nspname, typname),
    to_jsonb(case typtype when 'd' then 'a domain' when 'e' then 'an enum' else 'a type' end),
    null,
    null,
    null
  from pg_type
  inner join pg_namespace
    on pg_namespace.oid = typnamespace
  where typnamespace = $1
    and typname ^@ 'crm_'
    and (typrelid = 0 or exists (select from pg_class where pg_class.oid = typrelid and relkind = 'c'))
    -- Not the array of another.
    and not exists (select from pg_type as element where element.typarray = pg_type.oid)`;

/** That of an identity column's sequence is that of its table. */
const owners = `
  select
    object,
    'owner',
    object,
    to_jsonb(case owner when $3 then 'the owner of crm_sync_log' else owner::regrole::text end),
    null,
    null,
    null
  from (
    select object, relowner from relation where relkind <> 'S'
    union all
    select object, proowner from routine
  ) as owned (object, owner)`;

/** One item a grantee. What the owner has by default is told like the rest, for it can be revoked, too. */
const privileges = `
  select
    object,
    'privileges',
    case grantee when 0 then 'public' when owner then 'the owner' else grantee::regrole::text end,
    jsonb_agg(distinct concat(
      case when option then 'grant option for ' end,
      lower(privilege_type),
      ' (' || column_name || ')'
    )),
    null,
    null,
    null
  from (
    select object, relowner, coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)), null
    from relation
    union all
    select object, relowner, attacl, quote_ident(attname)
    from relation
    inner join pg_attribute
      on attrelid = oid
      and attacl is not null
      and not attisdropped
    union all
    select object, proowner, coalesce(proacl, acldefault('f', proowner)), null
    from routine
  ) as granted (object, owner, acl, column_name)
  cross join aclexplode(acl)
  cross join lateral unnest(case when is_grantable then array[false, true] else array[false] end) as option
  -- Not every version has it.
  where not (grantee = owner and privilege_type = 'MAINTAIN')
  group by object, owner, grantee`;

const roleAttributes = `
  select
    'role ' || rolname,
    'role',
    rolname,
    to_jsonb(concat_ws(
      ' ',
      case when rolsuper then 'superuser' else 'nosuperuser' end,
      case when rolbypassrls then 'bypassrls' else 'nobypassrls' end,
      case when rolcreaterole then 'createrole' else 'nocreaterole' end
    )),
    null,
    null,
    null
  from role`;

/** Those that let a role do what its policies do not: others are the host's to grant. */
const memberships = `
  select
    'role ' || member_name,
    'membership',
    quote_ident(rolname),
    to_jsonb('through ' || min(first::regrole::text)),
    null,
    null,
    null
  from membership
  inner join pg_roles
    on oid = reached
  where rolname in ('crm_app', 'crm_worker', 'crm_reader')
    or rolname in ('pg_read_all_data', 'pg_write_all_data')
    or rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
    or oid = $3
    or rolsuper
    or rolbypassrls
  group by member_name, rolname`;

const schemaUsage = `
  select
    'role ' || rolname,
    'schema usage',
    rolname,
    to_jsonb('granted'::text),
    null,
    null,
    null
  from role
  where has_schema_privilege(oid, $1::oid, 'usage')`;

/** Who may create there can have what he creates run by the owner and by the worker. */
const schemaCreation = `
  select distinct
    format('schema %I', nspname),
    'schema creation',
    case grantee when 0 then 'public' else grantee::regrole::text end,
    to_jsonb(case grantee when nspowner then 'as its owner' else 'granted' end),
    null::oid,
    null::oid,
    null::integer
  from pg_namespace
  cross join aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
  where pg_namespace.oid = $1
    and privilege_type = 'CREATE'
    and grantee <> $3
    and (grantee = 0 or exists (select from held where pg_has_role(held.oid, grantee, 'member')))`;

/**
 * Of the database, or of a role that works in it: one of this schema's, which are for a transaction or a test,
 * or the one that stops triggers, and foreign keys with them.
 */
const settings = `
  select
    case
      when setrole = 0 and setdatabase = 0 then 'role all'
      when setrole = 0 then format('database %I', current_database())
      when setdatabase = 0 then format('role %s', setrole::regrole)
      else format('role %s in database %I', setrole::regrole, current_database())
    end,
    'setting',
    split_part(setting, '=', 1),
    to_jsonb(substring(setting from '=(.*)$')),
    null,
    null,
    null
  from pg_db_role_setting
  cross join unnest(setconfig) as setting
  where setdatabase in (0, (select oid from pg_database where datname = current_database()))
    and (setrole in (0, $3) or setrole in (select oid from held))
    and (
      lower(setting) ^@ 'crm_schema.'
      or (setting ^@ 'session_replication_role=' and setting <> 'session_replication_role=origin')
    )`;

/** What our foreign keys to contacts need, under whatever name; a valid one, if there is one. */
const hostIndex = `
  select
    'index of contacts',
    'host index',
    'contacts (organisation_id, id)',
    to_jsonb(min(concat(
      'unique',
      case when not (indisvalid and indisready) then format(' (invalid: %s)', indexrelid::regclass) end
    ))),
    null,
    null,
    null
  from pg_index
  where indrelid = $4
    and indisunique
    and indimmediate
    and indpred is null
    and indexprs is null
    and indnkeyatts = 2
    and '{id,organisation_id}' = (
      select array_agg(attname::text order by attname)
      from unnest(indkey[0:1]) as key
      inner join pg_attribute
        on attrelid = indrelid
        and attnum = key
    )
  having count(*) > 0`;

/**
 * What the catalog holds of this schema, one row an item: the object it is or belongs to, its kind, its name,
 * and its definition, a text or a list, as SQL where SQL can say it. With search_path pg_catalog, names are
 * qualified.
 *
 * $1: the schema's oid, $2: that of crm_sync_log, $3: of its owner, $4: of contacts, $5: of the tables in which
 * migrations are counted.
 *
 * Left out is what a DBA may tune, such as storage, statistics and autovacuum, and what PostgreSQL itself
 * keeps the same in a partition: columns and CHECKs.
 */
export const catalogQuery = `
with recursive ${relation},
  routine as (
    select
      pg_proc.*,
      name,
      format('function %s', name) as object
    from pg_proc
    inner join pg_namespace
      on pg_namespace.oid = pronamespace
    cross join format('%I.%I(%s)', nspname, proname, oidvectortypes(proargtypes)) as name
    where pronamespace = $1
      and proname ^@ 'crm_'
  ),
  ${roles},
  item (object, kind, name, definition, classoid, objoid, objsubid) as (
    ${[...relationItems, functions, types, owners, privileges, roleAttributes, memberships, schemaUsage, schemaCreation, settings, hostIndex].join('\n    union all')}
  )
select object, kind, name, definition
from item
union all
select
  object,
  'comment',
  format('%s %s', kind, name),
  to_jsonb(description)
from item
inner join pg_description
  using (classoid, objoid, objsubid)`;
