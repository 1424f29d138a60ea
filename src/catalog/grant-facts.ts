// Privileges: see read.ts.

import type { RelationFacts } from './relation-facts.js';

/** Everything granted to one role on one object, including what an owner has by default. */
export interface GrantFacts {
  /** As in `grant … on`, except that a view is not called a table: see `RelationFacts.kind`. */
  kind: RelationFacts['kind'] | 'function' | 'schema';
  /** Qualified; of a function, with the types of its parameters. */
  name: string;
  /** `public` for everyone. */
  grantee: string;
  isToOwner: boolean;
  /** By the position of the column, then by the privilege. */
  grants: Grant[];
}

export interface Grant {
  /** In lower case. */
  privilege: string;
  /** The column that it is limited to. */
  column: string | null;
  /** Null for the owner of the object. */
  grantor: string | null;
  isGrantable: boolean;
}

/** An owner's default privileges are read like the rest, because they can be revoked. */
export const grantSelect = `
  select
    'grants',
    object,
    0,
    concat(name, ' ', grantee),
    json_build_object(
      'kind', kind,
      'name', name,
      'grantee', case grantee when 0 then 'public' else grantee::regrole::text end,
      'isToOwner', grantee = owner,
      'grants', json_agg(
        json_build_object(
          'privilege', lower(privilege_type),
          'column', column_name,
          'grantor', case when grantor <> owner then grantor::regrole::text end,
          'isGrantable', is_grantable
        )
        order by position, privilege_type, grantor
      )
    )
  from (
    select
      oid,
      kind,
      qualified,
      relowner,
      coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner)),
      null,
      0
    from relation
    where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    union all
    select relation.oid, kind, qualified, relowner, attacl, quote_ident(attname), attnum
    from relation
    inner join pg_attribute
      on attrelid = relation.oid
      and attacl is not null
      and not attisdropped
    union all
    select 0::oid, 'function', qualified, proowner, coalesce(proacl, acldefault('f', proowner)), null, 0
    from routine
    union all
    select 0::oid, 'schema', quote_ident(nspname), nspowner, coalesce(nspacl, acldefault('n', nspowner)), null, 0
    from schema_read
  ) as granted (object, kind, name, owner, acl, column_name, position)
  cross join aclexplode(acl)
  group by object, kind, name, owner, grantee`;
