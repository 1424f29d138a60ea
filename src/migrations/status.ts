import { CrmSchemaError } from '../errors.js';
import type { OwnConnection } from '../own-connection.js';
import { canonicalTimestamp } from '../timestamps.js';
import type { Timestamp } from '../types.js';
import { type MigrationRelease, readMigrations } from './files.js';

/** Where it is recorded what is applied. */
export interface MigrationsTable {
  /** node-pg-migrate's `--migrations-table`, in the first schema of search_path. By default `crm_schema_migrations`. */
  migrationsTable?: string | undefined;
}

/** What is applied of this package, and what is not. */
export interface MigrationStatus {
  /** The schema that everything is in, or will be: the first of search_path. */
  schema: string;
  migrationsTable: string;
  /** Whether that table is there: it comes with the first migration. */
  hasTable: boolean;
  /** Those of this package and those that are recorded, in order. */
  migrations: MigrationState[];
  /** Whether all of it is applied, and nothing is edited, unknown or out of order. */
  isCurrent: boolean;
}

/** A migration, here and in the database. */
export interface MigrationState {
  name: string;
  /** `unknown`: recorded, but not in this package, as when a newer version of it has migrated. */
  standing: 'applied' | 'pending' | 'unknown';
  /** Null unless it is recorded. */
  appliedAt: Timestamp | null;
  /** Null if it is unknown. */
  release: MigrationRelease | null;
  /** Whether it is pending, and one after it is applied. */
  isOutOfOrder: boolean;
}

/**
 * Tells what is applied. Reads only.
 *
 * @throws CrmSchemaError `migration_refused` if there is no schema to look into, if the table of migrations may
 * not be read, or if it does not know of the tables that are there
 */
export async function migrationStatus(
  client: OwnConnection,
  { migrationsTable = 'crm_schema_migrations' }: MigrationsTable = {},
): Promise<MigrationStatus> {
  const files = await readMigrations();
  const { schema, hasTable, hasConnections } = await look(client, migrationsTable);
  const recorded = hasTable ? await recordedMigrations(client, { schema, migrationsTable }) : new Map();
  if (hasConnections && !recorded.has('0002_create_crm_connections')) {
    throw new CrmSchemaError(
      'migration_refused',
      `crm_connections is in schema ${schema} already, but ${migrationsTable} does not say so: name the table that does with --migrations-table (by default, for node-pg-migrate it is pgmigrations).`,
    );
  }
  const known = new Map(files.map((file) => [file.name, file]));
  const names = [...new Set([...known.keys(), ...recorded.keys()])].toSorted();
  const last = [...recorded.keys()].toSorted().at(-1) ?? '';
  const migrations = names.map((name): MigrationState => {
    const file = known.get(name);
    const standing = file === undefined ? 'unknown' : recorded.has(name) ? 'applied' : 'pending';
    return {
      name,
      standing,
      appliedAt: recorded.get(name) ?? null,
      release: file?.release ?? null,
      isOutOfOrder: standing === 'pending' && name < last,
    };
  });
  return {
    schema,
    migrationsTable,
    hasTable,
    migrations,
    isCurrent: migrations.every(({ standing, release }) => standing === 'applied' && release !== 'edited'),
  };
}

/** The names that are recorded, each with its time. */
export async function recordedMigrations(
  client: OwnConnection,
  table: { schema: string; migrationsTable: string },
): Promise<Map<string, Timestamp>> {
  // It is a time without a zone, and that of the session that wrote it.
  const { rows } = await client.query(
    `select name, run_on::timestamptz as at from ${sqlName(table)} order by run_on, id`,
  );
  return new Map(rows.map(({ name, at }) => [name, canonicalTimestamp(new Date(at).toISOString())]));
}

/** `"public"."crm_schema_migrations"` */
export function sqlName({ schema, migrationsTable }: { schema: string; migrationsTable: string }): string {
  return [schema, migrationsTable].map((name) => `"${name.replaceAll('"', '""')}"`).join('.');
}

async function look(
  client: OwnConnection,
  migrationsTable: string,
): Promise<{ schema: string; hasTable: boolean; hasConnections: boolean }> {
  const { rows } = await client.query(
    // Qualified, and of the very types: no function in a schema that is searched fits better.
    `select
       pg_catalog.current_schema() as schema,
       current_user as user,
       pg_catalog.has_table_privilege(
         pg_catalog.to_regclass(pg_catalog.format('%I.%I', pg_catalog.current_schema(), $1::text))::oid, 'select'
       ) as "mayRead",
       pg_catalog.to_regclass(pg_catalog.format('%I.%I', pg_catalog.current_schema(), $1::text)) is not null as "hasTable",
       pg_catalog.to_regclass(pg_catalog.format('%I.crm_connections', pg_catalog.current_schema())) is not null
         as "hasConnections",
       (
         select nspname
         from pg_catalog.pg_class
         inner join pg_catalog.pg_namespace
           on pg_namespace.oid = relnamespace
         where pg_class.oid = pg_catalog.to_regclass('crm_connections')::oid
           and nspname <> pg_catalog.current_schema()
       ) as "otherSchema",
       pg_catalog.current_setting('search_path') as "searchPath",
       (
         select pg_catalog.to_regnamespace(pg_catalog.btrim(entry)) is null
         from pg_catalog.unnest(
           pg_catalog.string_to_array(pg_catalog.current_setting('search_path'), ',')
         ) with ordinality as list (entry, place)
         where pg_catalog.btrim(entry) not in ('$user', '"$user"')
         order by place
         limit 1
       ) as "lacksFirst"`,
    [migrationsTable],
  );
  const [{ schema, user, hasTable, mayRead, hasConnections, otherSchema, searchPath, lacksFirst }] = rows;
  // Everything would go into the next one, without a word.
  if (schema === null || lacksFirst) {
    throw new CrmSchemaError(
      'migration_refused',
      `The schema that search_path (${searchPath}) names first is not there, or the user may not use it: create it, or grant usage on it.`,
    );
  }
  // A schema that came before it would get a second one.
  if (!hasConnections && otherSchema !== null) {
    throw new CrmSchemaError(
      'migration_refused',
      `crm_connections is in schema ${otherSchema}, and search_path (${searchPath}) comes to schema ${schema} first: set PGOPTIONS="-c search_path=${otherSchema}".`,
    );
  }
  if (hasTable && !mayRead) {
    throw new CrmSchemaError(
      'migration_refused',
      `User ${user} may not read ${migrationsTable}: connect as its owner, who can also grant select on it.`,
    );
  }
  return { schema, hasTable, hasConnections };
}
