// The items that say who may do what: see catalog-query.ts.

/** Whether a role has what another may do, or may take it on. */
export function has(member: string, role: string): string {
  return `(
    pg_has_role(${member}, ${role}, 'usage')
    or pg_has_role(
      ${member},
      ${role},
      case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end
    )
  )`;
}

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
  membership (member_name, first, grantor, reached) as (
    select
      rolname,
      roleid,
      grantor,
      roleid
    from role
    inner join pg_auth_members
      on member = role.oid
    union
    select
      member_name,
      first,
      membership.grantor,
      roleid
    from membership
    inner join pg_auth_members
      on member = reached
  ),
  held as (
    select distinct pg_roles.oid
    from pg_roles
    inner join role
      on ${has('pg_roles.oid', 'role.oid')}
    where not pg_roles.rolsuper
      and pg_roles.oid <> $3
  )`;

/** That of an identity column's sequence is that of its table. */
const owners = `
  select
    object,
    'owner',
    object,
    to_jsonb(case owner when $3 then 'the owner of the tables' else owner::regrole::text end),
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
      ' (' || column_name || ')',
      ', granted by ' || case when grantor <> owner then grantor::regrole::text end
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
      case when rolcreaterole then 'createrole' else 'nocreaterole' end,
      case when rolreplication then 'replication' else 'noreplication' end
    )),
    null,
    null,
    null
  from role`;

/**
 * Those that let a role do what its policies do not: others are the host's to grant. Since PostgreSQL 16 it
 * matters who has granted it, unless that was a superuser, for whom the first of them stands.
 */
const memberships = `
  select
    'role ' || member_name,
    'membership',
    quote_ident(rolname),
    to_jsonb(min(concat(
      'through ',
      first::regrole::text,
      ', granted by ' || case
        when current_setting('server_version_num')::integer >= 160000 and grantor <> 10
          then grantor::regrole::text
      end
    ))),
    null,
    null,
    null
  from membership
  inner join pg_roles
    on oid = reached
  where rolname in ('crm_app', 'crm_worker', 'crm_reader')
    or rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain')
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
  select
    format('schema %I', nspname),
    'schema creation',
    case creator when 0 then 'public' else creator::regrole::text end,
    to_jsonb(min(concat(
      case creator when nspowner then 'as its owner' else 'granted' end,
      ', granted by ' || case when grantor <> nspowner then grantor::regrole::text end
    ))),
    null::oid,
    null::oid,
    null::integer
  from pg_namespace
  cross join lateral (
    select
      grantee,
      grantor
    from aclexplode(nspacl)
    where privilege_type = 'CREATE'
      and grantee <> nspowner
    union all
    -- Who may always grant it to himself.
    select
      nspowner,
      nspowner
  ) as creators (creator, grantor)
  where pg_namespace.oid = $1
    and creator <> $3
    and (creator = 0 or exists (select from held where ${has('held.oid', 'creator')}))
  group by nspname, creator`;

/** All of who may do what, as selects to unite. */
export const roleItems = [owners, privileges, roleAttributes, memberships, schemaUsage, schemaCreation];
