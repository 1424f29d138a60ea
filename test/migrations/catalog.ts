import type pg from 'pg';

/**
 * Everything a migration can leave behind in a database, one line an object, sorted: tables, columns,
 * constraints, indexes, triggers, functions, sequences, types, policies and schemas, with their
 * definitions, owners, privileges and comments. node-pg-migrate's own table is left out.
 *
 * Where `table` is given: the lines of that table alone. Times in definitions are printed by the session's
 * settings, so compare only what sessions of the same settings read.
 */
export async function catalog(client: pg.Pool | pg.ClientBase, table?: string): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(snapshot, [table ?? null]);
  return rows.map(({ line }) => line);
}

/** Privileges, in one order; none said is the same as the default said. */
const privileges = (acl: string, kind: string, owner: string) =>
  `(select array_agg(item::text order by item::text) from unnest(coalesce(${acl}, acldefault((${kind})::"char", ${owner}))) as item)`;

const snapshot = `
with space as (
  select oid, nspname, nspacl, nspowner
  from pg_namespace
  where nspname not in ('information_schema', 'pg_catalog') and nspname !~ '^pg_(toast|temp)'
),
relation as (
  select pg_class.*
  from pg_class
  join space on space.oid = relnamespace
  where relname !~ '^(pgmigrations|crm_schema_migrations)' and ($1::text is null or relname = $1)
),
line (kind, name, facts) as (
  select
    'relation',
    oid::regclass::text,
    jsonb_build_array(
      relkind, relowner::regrole, relpersistence, reloptions, relrowsecurity, relforcerowsecurity,
      relreplident, relispartition, reltablespace, pg_get_expr(relpartbound, oid),
      case relkind when 'p' then pg_get_partkeydef(oid) end, ${privileges('relacl', "case relkind when 'S' then 's' else 'r' end", 'relowner')}, obj_description(oid, 'pg_class'),
      (select inhparent::regclass from pg_inherits where inhrelid = oid)
    )
  from relation
  union all
  select
    'column',
    format('%s.%s', relation.oid::regclass, attname),
    jsonb_build_array(
      -- Dropped columns keep their numbers, which no one sees.
      row_number() over (partition by attrelid order by attnum), format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attstorage,
      attcompression, attcollation::regcollation, attislocal, attinhcount, attacl, attoptions,
      pg_get_expr(adbin, adrelid), col_description(relation.oid, attnum)
    )
  from relation
  join pg_attribute on attrelid = relation.oid and attnum > 0 and not attisdropped
  left join pg_attrdef on adrelid = attrelid and adnum = attnum
  where relkind in ('r', 'p', 'v', 'm')
  union all
  select
    'constraint',
    format('%s %s', relation.oid::regclass, conname),
    jsonb_build_array(
      contype, pg_get_constraintdef(pg_constraint.oid), convalidated, condeferrable, condeferred,
      conislocal, coninhcount, connoinherit, obj_description(pg_constraint.oid, 'pg_constraint')
    )
  from relation
  join pg_constraint on conrelid = relation.oid
  union all
  select
    'index',
    indexrelid::regclass::text,
    jsonb_build_array(
      pg_get_indexdef(indexrelid), indisvalid, indisready, indisunique, indisprimary, indimmediate,
      indisclustered, indisreplident, (select inhparent::regclass from pg_inherits where inhrelid = indexrelid)
    )
  from relation
  join pg_index on indrelid = relation.oid
  union all
  select
    'trigger',
    format('%s %s', relation.oid::regclass, tgname),
    jsonb_build_array(
      pg_get_triggerdef(pg_trigger.oid), tgenabled, tgparentid <> 0, obj_description(pg_trigger.oid, 'pg_trigger')
    )
  from relation
  join pg_trigger on tgrelid = relation.oid and not tgisinternal
  union all
  select
    'policy',
    format('%s %s', relation.oid::regclass, polname),
    jsonb_build_array(polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), obj_description(pg_policy.oid, 'pg_policy'))
  from relation
  join pg_policy on polrelid = relation.oid
  union all
  select
    'sequence',
    relation.oid::regclass::text,
    jsonb_build_array(seqtypid::regtype, seqstart, seqincrement, seqmin, seqmax, seqcache, seqcycle)
  from relation
  join pg_sequence on seqrelid = relation.oid
  union all
  -- The definition holds the language, volatility, parallel safety and settings as well.
  select
    'function',
    pg_proc.oid::regprocedure::text,
    jsonb_build_array(pg_get_functiondef(pg_proc.oid), proowner::regrole, ${privileges('proacl', "'f'", 'proowner')}, obj_description(pg_proc.oid, 'pg_proc'))
  from pg_proc
  join space on space.oid = pronamespace
  where $1 is null and prokind <> 'a'
  union all
  select 'type', pg_type.oid::regtype::text, jsonb_build_array(typtype, obj_description(pg_type.oid, 'pg_type'))
  from pg_type
  join space on space.oid = typnamespace
  where $1 is null and typrelid = 0 and typelem = 0
  union all
  select 'schema', nspname, jsonb_build_array(nspowner::regrole, ${privileges('nspacl', "'n'", 'nspowner')}, obj_description(oid, 'pg_namespace'))
  from space
  where $1 is null
)
select format('%s %s %s', kind, name, facts) as line
from line
order by line
`;
