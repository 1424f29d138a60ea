// The items of roles, and of who may create in the schema: see server-items.ts.

/** Whether a role has another's privileges, or may `set role` to it. */
export function mayActAs(member: string, role: string): string {
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
 * The sources of these items: the three roles; their memberships, direct and indirect; and the roles that
 * policies restrict, which are these three and their members. Not the owner, superusers, or roles that may
 * only grant membership.
 */
export const roleTables = `
  role as (
    select *
    from pg_roles
    where rolname in ('crm_app', 'crm_worker', 'crm_reader')
  ),
  membership (member_name, first, grantor, may_grant, reached) as (
    select
      rolname,
      roleid,
      grantor,
      admin_option,
      roleid
    from role
    inner join pg_auth_members
      on member = role.oid
    union
    select
      member_name,
      first,
      membership.grantor,
      may_grant,
      roleid
    from membership
    inner join pg_auth_members
      on member = reached
  ),
  restricted as (
    select distinct pg_roles.oid
    from pg_roles
    inner join role
      on ${mayActAs('pg_roles.oid', 'role.oid')}
    where not pg_roles.rolsuper
      and pg_roles.oid <> $2::oid
  )`;

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
    null::jsonb
  from role`;

/**
 * Memberships that let a role bypass its policies; the host may grant others. One for each way to get there: revoking
 * one leaves the others. Since PostgreSQL 16 the grantor matters, unless it was the bootstrap superuser.
 */
const memberships = `
  select distinct
    'role ' || member_name,
    'membership',
    quote_ident(rolname),
    to_jsonb(first::regrole),
    jsonb_build_object(
      'grantor', case
        when current_setting('server_version_num')::integer >= 160000 and grantor <> 10 then grantor::regrole
      end,
      'isGrantable', case when may_grant then true end
    )
  from membership
  inner join pg_roles
    on oid = reached
  where rolname in ('crm_app', 'crm_worker', 'crm_reader')
    or rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain')
    or rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
    or oid = $2::oid
    or rolsuper
    or rolbypassrls
  order by 1, 3, 4, 5`;

const schemaUsage = `
  select
    'role ' || rolname,
    'schema usage',
    rolname,
    to_jsonb('granted'::text),
    null::jsonb
  from role
  where has_schema_privilege(oid, $1::oid, 'usage')`;

/** Whoever may create in the schema can make the owner and the worker run their code. One for each grantor. */
const schemaCreation = `
  select distinct
    format('schema %I', nspname),
    'schema creation',
    case creator when 0 then 'public' else creator::regrole::text end,
    to_jsonb(case creator when nspowner then 'as its owner' else 'granted' end),
    jsonb_build_object('grantor', case when grantor <> nspowner then grantor::regrole end)
  from pg_namespace
  cross join lateral (
    select
      grantee,
      grantor
    from aclexplode(nspacl)
    where privilege_type = 'CREATE'
      and grantee <> nspowner
    union all
    -- The owner can always grant it to themselves.
    select
      nspowner,
      nspowner
  ) as creators (creator, grantor)
  where pg_namespace.oid = $1::oid
    and creator <> $2::oid
    and (creator = 0 or exists (select from restricted where ${mayActAs('restricted.oid', 'creator')}))
  order by 3, 5`;

/** Selects to unite: object, kind, name, definition and state. */
export const roleItems = [roleAttributes, memberships, schemaUsage, schemaCreation];
