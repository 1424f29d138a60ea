import type { DedicatedConnection } from '../statements/dedicated-connection.js';

/** The session's search_path. */
export interface SearchPathFacts {
  /** The first schema in search_path that exists; null if there is none. */
  schema: string | null;
  user: string;
  searchPath: string;
  /** Whether the first schema that search_path names, besides the one named after the user, is missing; null if it names no other. */
  isFirstMissing: boolean | null;
}

/** The migrations table and crm_connections, in a schema. */
export interface TableFacts {
  hasTable: boolean;
  /** Like the next four, null or without meaning if there is no table. */
  owner: string | null;
  /** Whether this user or the owner of crm_connections owns it. */
  isTrusted: boolean | null;
  mayRead: boolean | null;
  /** Whether row-level security applies to this user. */
  hidesRows: boolean | null;
  /** Whether it has the columns of a migrations table, and nothing that runs functions. */
  isPlain: boolean | null;
  /** Of the table, quoted where it must be. */
  qualifiedName: string;
  hasConnections: boolean;
  /** Another schema in search_path that has crm_connections too; null if none has. */
  anotherSchema: string | null;
  /** The schema in which search_path finds crm_connections; null if it is this one, or if there is none. */
  schemaOfConnections: string | null;
}

/** Reads where the session's search_path leads. */
export async function readSearchPathFacts(client: DedicatedConnection): Promise<SearchPathFacts> {
  // Qualified names and exact types: no function in a searched schema matches better.
  const { rows } = await client.query(
    `select
       pg_catalog.current_schema()::text as schema,
       current_user::text as user,
       pg_catalog.current_setting('search_path') as "searchPath",
       (
         select pg_catalog.to_regnamespace(pg_catalog.btrim(entry)) is null
         from pg_catalog.unnest(
           pg_catalog.string_to_array(pg_catalog.current_setting('search_path'), ',')
         ) with ordinality as list (entry, place)
         where pg_catalog.btrim(entry) not in ('$user', '"$user"')
         order by place
         limit 1
       ) as "isFirstMissing"`,
  );
  return rows[0];
}

/** Reads what a schema has. */
export async function readTableFacts(
  client: DedicatedConnection,
  schema: string,
  migrationsTable: string,
): Promise<TableFacts> {
  const { rows } = await client.query(selectTableFacts, [schema, migrationsTable]);
  return rows[0];
}

/** $1: the schema, $2: the migrations table. */
const selectTableFacts = `
  select
    migrations_table.oid is not null as "hasTable",
    pg_catalog.pg_get_userbyid(migrations_table.relowner)::text as owner,
    migrations_table.relowner = (select oid from pg_catalog.pg_roles where rolname = current_user)
      or migrations_table.relowner is not distinct from connections.relowner as "isTrusted",
    pg_catalog.has_table_privilege(migrations_table.oid, 'select') as "mayRead",
    pg_catalog.row_security_active(migrations_table.oid) as "hidesRows",
    pg_catalog.format('%I.%I', namespace.nspname, $2::name) as "qualifiedName",
    migrations_table.relkind = 'r'
      and 3 = (
        select pg_catalog.count(*)
        from pg_catalog.pg_attribute
        where attrelid = migrations_table.oid
          and (attname, atttypid) in (
            ('id', 'pg_catalog.int4'::pg_catalog.regtype::oid),
            ('name', 'pg_catalog.varchar'::pg_catalog.regtype::oid),
            ('run_on', 'pg_catalog.timestamp'::pg_catalog.regtype::oid)
          )
      )
      and 3 = (
        select pg_catalog.count(*)
        from pg_catalog.pg_attribute
        where attrelid = migrations_table.oid
          and attnum > 0
          and not attisdropped
      )
      -- The default of id is its sequence.
      and not exists (
        select
        from pg_catalog.pg_attrdef
        where adrelid = migrations_table.oid
          and pg_catalog.pg_get_expr(adbin, adrelid) !~ '^nextval\\(''[^()]*''::regclass\\)$'
      )
      and not exists (select from pg_catalog.pg_constraint where conrelid = migrations_table.oid and contype not in ('p', 'u', 'n'))
      and not exists (
        select
        from pg_catalog.pg_index
        where indrelid = migrations_table.oid
          and (indexprs is not null or indpred is not null)
      )
      and not exists (select from pg_catalog.pg_trigger where tgrelid = migrations_table.oid)
      and not exists (select from pg_catalog.pg_rewrite where ev_class = migrations_table.oid)
      and not exists (select from pg_catalog.pg_policy where polrelid = migrations_table.oid) as "isPlain",
    connections.oid is not null as "hasConnections",
    (
      select pg_catalog.min(nspname::text)
      from pg_catalog.pg_class
      inner join pg_catalog.pg_namespace
        on pg_namespace.oid = relnamespace
      where relname = 'crm_connections'
        and nspname = any (pg_catalog.current_schemas(false))
        and nspname <> $1::name
    ) as "anotherSchema",
    (
      select nspname::text
      from pg_catalog.pg_class
      inner join pg_catalog.pg_namespace
        on pg_namespace.oid = relnamespace
      where pg_class.oid = pg_catalog.to_regclass('crm_connections')::oid
        and nspname <> $1::name
    ) as "schemaOfConnections"
  from pg_catalog.pg_namespace as namespace
  left join pg_catalog.pg_class as migrations_table
    on migrations_table.relnamespace = namespace.oid
    and migrations_table.relname = $2::name
  left join pg_catalog.pg_class as connections
    on connections.relnamespace = namespace.oid
    and connections.relname = 'crm_connections'
  where namespace.nspname = $1::name`;
