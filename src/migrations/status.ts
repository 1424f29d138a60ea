import { CrmSchemaError } from '../errors.js';
import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { quoted } from '../statements/quoting.js';
import { canonicalTimestamp } from '../timestamps.js';
import type { Timestamp } from '../types.js';
import { type MigrationFile, type MigrationRelease, readMigrationFiles } from './files.js';
import { findTable } from './table.js';

/** Where it is recorded what is applied. */
export interface MigrationsTable {
  /** node-pg-migrate's `--migrations-table`, in the first schema of search_path. By default `crm_schema_migrations`. */
  migrationsTable?: string | undefined;
}

/** What is applied of this package, and what is not. */
export interface MigrationStatus {
  /** The schema that everything is in, or will be: the first of search_path. */
  schema: string;
  /** Where it is recorded what is applied. */
  migrationsTable: string;
  /** Whether that table is there: it comes with the first migration. */
  hasTable: boolean;
  /** Those of this package and those of a newer one that are recorded, in order. */
  migrations: MigrationState[];
  /** Whether all of it is applied, and nothing is edited, unknown or out of order. */
  isCurrent: boolean;
}

/** A migration, here and in the database. */
export interface MigrationState {
  /** `0001_prepare_host_tables` */
  name: string;
  /** `unknown`: recorded, but not in this package, as when a newer version of it has migrated. */
  standing: 'applied' | 'pending' | 'unknown';
  /** Null unless it is recorded. Its zone is not: that of this session is taken for that of the one that wrote it. */
  appliedAt: Timestamp | null;
  /** Null if it is unknown. */
  release: MigrationRelease | null;
  /** Whether it is pending, and one after it is applied. */
  isOutOfOrder: boolean;
}

/**
 * Tells what is applied. Reads only, in a transaction of its own that waits five seconds for a lock.
 *
 * @throws CrmSchemaError `migration_refused` if there is no schema to look into, if the table of migrations may
 * not be read or is not to be trusted, or if it does not know of the tables that are there; `invalid_input` for a
 * pool, and where a transaction is open
 */
export async function migrationStatus(
  client: DedicatedConnection,
  options: MigrationsTable = {},
): Promise<MigrationStatus> {
  const { migrationsTable = 'crm_schema_migrations' } = options;
  const files = await readMigrationFiles();
  await checkDedicatedConnection(client);
  await client.query('begin read only');
  try {
    await client.query("set local lock_timeout = '5s'");
    const { schema, hasTable, hasConnections } = await findTable(client, migrationsTable);
    const recorded = hasTable ? await recordedMigrations(client, { schema, migrationsTable }) : new Map();
    if (hasConnections && !recorded.has('0002_create_crm_connections')) {
      throw new CrmSchemaError(
        'migration_refused',
        `crm_connections is in schema ${schema} already, but ${migrationsTable} does not say so: name the table that does with --migrations-table (by default, for node-pg-migrate it is pgmigrations); if it is lost, put its lines back.`,
      );
    }
    return statusOf(files, recorded, { schema, migrationsTable, hasTable });
  } finally {
    await client.query('rollback').catch(() => {});
  }
}

function statusOf(
  files: readonly MigrationFile[],
  recorded: ReadonlyMap<string, Timestamp>,
  where: Pick<MigrationStatus, 'schema' | 'migrationsTable' | 'hasTable'>,
): MigrationStatus {
  const known = new Map(files.map((file) => [file.name, file]));
  const ofThisPackage = [...recorded.keys()].filter((name) => known.has(name) || isOfThisPackage(name));
  const names = [...new Set([...known.keys(), ...ofThisPackage])].toSorted();
  const last = ofThisPackage.toSorted().at(-1) ?? '';
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
    ...where,
    migrations,
    isCurrent: migrations.every(({ standing, release }) => standing === 'applied' && release !== 'edited'),
  };
}

/** Whether a migration that is not known here is one of ours: the host may count its own in the same table. */
export function isOfThisPackage(name: string): boolean {
  return /^\d{4}_/.test(name);
}

/** The names that are recorded, each with its time. */
export async function recordedMigrations(
  client: DedicatedConnection,
  table: { schema: string; migrationsTable: string },
): Promise<Map<string, Timestamp>> {
  // It is a time without a zone, and that of the session that wrote it; as text, whatever the session's settings.
  const { rows } = await client.query(
    `select
       name,
       pg_catalog.to_char(run_on::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
     from ${sqlName(table)}
     order by run_on, id`,
  );
  return new Map(rows.map(({ name, at }) => [name, canonicalTimestamp(at)]));
}

/** `"public"."crm_schema_migrations"` */
export function sqlName({ schema, migrationsTable }: { schema: string; migrationsTable: string }): string {
  return [schema, migrationsTable].map(quoted).join('.');
}
