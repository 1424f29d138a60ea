import { CrmSchemaError } from '../errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';

/** The migrations table, and the schema that it is in. */
export interface FoundTable {
  /** The first schema in search_path. */
  schema: string;
  hasTable: boolean;
  /** Whether the schema has crm_connections. */
  hasConnections: boolean;
}

/**
 * Finds the migrations table, and refuses one that another user may have created: the migrating user would run that
 * user's functions.
 *
 * @throws CrmSchemaError `migration_refused`
 */
export async function findTable(client: DedicatedConnection, migrationsTable: string): Promise<FoundTable> {
  const { schema, user, searchPath } = await findSchema(client);
  if ([schema, migrationsTable].some((name) => /["\p{C}]/u.test(name))) {
    refuse(
      'The name of the schema or of the migrations table contains a double quote or a line break, which is not supported: choose another name.',
    );
  }
  const { rows } = await client.query(ofTable, [schema, migrationsTable]);
  const [found] = rows;
  // Anyone who may create schemas can create one named after a user, which that user's search_path puts before ours.
  if (found.hasConnections && found.beside !== null && schema === user && /^\W*\$user/.test(searchPath)) {
    refuse(
      `search_path finds schema ${schema} because it is named after the user, and schema ${found.beside} has crm_connections too: name the schema you mean with PGOPTIONS="-c search_path=…".`,
    );
  }
  // A schema created later, but earlier in search_path, would get a second installation.
  if (!found.hasConnections && found.otherSchema !== null) {
    refuse(
      `crm_connections is in schema ${found.otherSchema}, but search_path (${searchPath}) puts schema ${schema} first: set PGOPTIONS="-c search_path=${found.otherSchema}".`,
    );
  }
  if (found.hasTable && !found.isTrusted) {
    refuse(
      `${migrationsTable} in schema ${schema} belongs to ${found.owner}, who does not own crm_connections: connect as ${found.owner}, or find out who created the table and rename it.`,
    );
  }
  if (found.hasTable && !found.mayRead) {
    refuse(
      `User ${user} may not read ${migrationsTable}: connect as its owner, or have the owner grant select on it.`,
    );
  }
  if (found.hasTable && !found.isPlain) {
    refuse(
      `${migrationsTable} in schema ${schema} is not a plain migrations table: it must have only the columns id, name and run_on, and no constraints, triggers, rules or policies. Find out who created it, and rename it.`,
    );
  }
  // Hidden rows are not missing rows.
  if (found.hidesRows) {
    refuse(
      `Row-level security hides the rows of ${migrationsTable} from user ${user}, so which migrations are applied is unknown. As the table's owner, run: alter table ${found.sqlName} disable row level security;`,
    );
  }
  return { schema, hasTable: found.hasTable, hasConnections: found.hasConnections };
}

function refuse(message: string): never {
  throw new CrmSchemaError('migration_refused', message);
}

/** The first schema in search_path. It must exist, or everything would silently go into the next one. */
async function findSchema(
  client: DedicatedConnection,
): Promise<{ schema: string; user: string; searchPath: string }> {
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
  const [{ schema, user, searchPath, isFirstMissing }] = rows;
  if (schema === null || isFirstMissing) {
    refuse(
      `The first schema in search_path (${searchPath}) does not exist, or the user may not use it: create it, or grant usage on it.`,
    );
  }
  return { schema, user, searchPath };
}

/** $1: the schema, $2: the migrations table. */
const ofTable = `
  select
    counter.oid is not null as "hasTable",
    pg_catalog.pg_get_userbyid(counter.relowner)::text as owner,
    counter.relowner = (select oid from pg_catalog.pg_roles where rolname = current_user)
      or counter.relowner is not distinct from connections.relowner as "isTrusted",
    pg_catalog.has_table_privilege(counter.oid, 'select') as "mayRead",
    pg_catalog.row_security_active(counter.oid) as "hidesRows",
    pg_catalog.format('%I.%I', place.nspname, $2::name) as "sqlName",
    counter.relkind = 'r'
      and 3 = (
        select pg_catalog.count(*)
        from pg_catalog.pg_attribute
        where attrelid = counter.oid
          and (attname, atttypid) in (
            ('id', 'pg_catalog.int4'::pg_catalog.regtype::oid),
            ('name', 'pg_catalog.varchar'::pg_catalog.regtype::oid),
            ('run_on', 'pg_catalog.timestamp'::pg_catalog.regtype::oid)
          )
      )
      and 3 = (
        select pg_catalog.count(*)
        from pg_catalog.pg_attribute
        where attrelid = counter.oid
          and attnum > 0
          and not attisdropped
      )
      -- The default of id is its sequence.
      and not exists (
        select
        from pg_catalog.pg_attrdef
        where adrelid = counter.oid
          and pg_catalog.pg_get_expr(adbin, adrelid) !~ '^nextval\\(''[^()]*''::regclass\\)$'
      )
      and not exists (select from pg_catalog.pg_constraint where conrelid = counter.oid and contype not in ('p', 'u', 'n'))
      and not exists (
        select
        from pg_catalog.pg_index
        where indrelid = counter.oid
          and (indexprs is not null or indpred is not null)
      )
      and not exists (select from pg_catalog.pg_trigger where tgrelid = counter.oid)
      and not exists (select from pg_catalog.pg_rewrite where ev_class = counter.oid)
      and not exists (select from pg_catalog.pg_policy where polrelid = counter.oid) as "isPlain",
    connections.oid is not null as "hasConnections",
    (
      select pg_catalog.min(nspname::text)
      from pg_catalog.pg_class
      inner join pg_catalog.pg_namespace
        on pg_namespace.oid = relnamespace
      where relname = 'crm_connections'
        and nspname = any (pg_catalog.current_schemas(false))
        and nspname <> $1::name
    ) as beside,
    (
      select nspname::text
      from pg_catalog.pg_class
      inner join pg_catalog.pg_namespace
        on pg_namespace.oid = relnamespace
      where pg_class.oid = pg_catalog.to_regclass('crm_connections')::oid
        and nspname <> $1::name
    ) as "otherSchema"
  from pg_catalog.pg_namespace as place
  left join pg_catalog.pg_class as counter
    on counter.relnamespace = place.oid
    and counter.relname = $2::name
  left join pg_catalog.pg_class as connections
    on connections.relnamespace = place.oid
    and connections.relname = 'crm_connections'
  where place.nspname = $1::name`;
