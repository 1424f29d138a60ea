// The items that say who may do what: see catalog-query.ts.

/**
 * What they are read from: the three roles; what each is a member of, itself or through others; and those whom
 * policies hold, themselves and their members, but for the owner, superusers, and who may only make others members.
 */
export const roleTables = `
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
      on pg_has_role(pg_roles.oid, role.oid, 'usage')
    where not pg_roles.rolsuper
      and pg_roles.oid <> $3
  )`;

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
    and (grantee = 0 or exists (select from held where pg_has_role(held.oid, grantee, 'usage')))`;

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

/** All of who may do what, as selects to unite. */
export const roleItems = [
  owners,
  privileges,
  roleAttributes,
  memberships,
  schemaUsage,
  schemaCreation,
  settings,
];
