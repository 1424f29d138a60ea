// The items of default privileges: see server-items.ts.

/**
 * What the owner's next tables, sequences and functions of this schema give to others as soon as they exist, such as those
 * of the next migration. Not what PostgreSQL gives by itself: everybody may run a new function.
 */
export const defaultPrivileges = `
  select
    concat(
      case defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' else 'functions' end,
      case defaclnamespace when 0 then ' in every schema' else format(' in schema %I', nspname) end
    ),
    'default privileges',
    case grantee when 0 then 'public' else grantee::regrole::text end,
    to_jsonb(string_agg(distinct lower(privilege_type), ', ')),
    null::jsonb
  from pg_default_acl
  left join pg_namespace
    on pg_namespace.oid = defaclnamespace
  cross join aclexplode(defaclacl)
  where defaclrole = $2::oid
    and defaclnamespace in (0, $1::oid)
    and defaclobjtype in ('r', 'S', 'f')
    and grantee <> defaclrole
    and not (grantee = 0 and defaclobjtype = 'f' and defaclnamespace = 0)
  group by defaclobjtype, defaclnamespace, nspname, grantee`;
