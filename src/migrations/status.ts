import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { canonicalTimestamp } from '../timestamps.js';
import type { Timestamp } from '../types.js';
import { checkParameter } from '../validation.js';
import { type MigrationFile, type MigrationRelease, readMigrationFiles } from './files.js';
import { migrationRefused } from './refusal.js';
import { findTable, sqlName, type TableName } from './table.js';

/** The table that records which migrations are applied. */
export interface MigrationsTable {
  /** node-pg-migrate's `--migrations-table`, in the first schema of search_path; defaults to `crm_schema_migrations`. */
  migrationsTable?: string | undefined;
}

/** Which migrations of this package are applied. */
export interface MigrationStatus {
  /** The schema of the installation: the first one in search_path. */
  schema: string;
  /** The migrations table. */
  migrationsTable: string;
  /** Whether the migrations table exists: the first migration creates it. */
  hasTable: boolean;
  /** This package's migrations, and recorded ones of a newer version, in ascending order. */
  migrations: MigrationState[];
  /** Whether all are applied, and none is edited, unknown or out of order. */
  isCurrent: boolean;
}

/** The state of one migration, in this package and in the database. */
export interface MigrationState {
  /** `0001_prepare_host_tables` */
  name: string;
  /** `unknown`: recorded, but not in this package; usually a newer version applied it. */
  standing: 'applied' | 'pending' | 'unknown';
  /** Null unless recorded. The table stores no time zone; this session's is assumed. */
  appliedAt: Timestamp | null;
  /** Null if the migration is unknown. */
  release: MigrationRelease | null;
  /** Whether it is pending although a later one is applied. */
  isOutOfOrder: boolean;
}

/**
 * Returns which migrations are applied. Reads only, in its own transaction, and waits up to five seconds for a lock.
 *
 * @throws CrmSchemaError `migration_refused` if the schema is missing, if the migrations table cannot be read or
 * trusted, or if it has no record of tables that exist; `invalid_input` for a pool, and if a transaction is open
 */
export async function migrationStatus(
  client: DedicatedConnection,
  options: MigrationsTable = {},
): Promise<MigrationStatus> {
  checkParameter('options', options);
  return readStatus(client, options, await readMigrationFiles());
}

/** Returns the status of migrations whose files have been read already, like `migrationStatus`. */
export async function readStatus(
  client: DedicatedConnection,
  options: MigrationsTable,
  files: readonly MigrationFile[],
): Promise<MigrationStatus> {
  const { migrationsTable = 'crm_schema_migrations' } = options;
  await checkDedicatedConnection(client);
  await client.query('begin read only');
  try {
    await client.query("set local lock_timeout = '5s'");
    const { schema, hasTable, hasConnections } = await findTable(client, migrationsTable);
    const recorded = hasTable ? await recordedMigrations(client, { schema, migrationsTable }) : new Map();
    if (hasConnections && !recorded.has('0002_create_crm_connections')) {
      throw migrationRefused(
        `Schema ${schema} already has crm_connections, but ${migrationsTable} does not record it. If another table does, name it with --migrations-table (node-pg-migrate's default is pgmigrations). If the migrations table is lost, restore its rows.`,
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
  table: Pick<MigrationStatus, 'schema' | 'migrationsTable' | 'hasTable'>,
): MigrationStatus {
  const fileOf = new Map(files.map((file) => [file.name, file]));
  const recordedNames = [...recorded.keys()].filter((name) => fileOf.has(name) || isOfThisPackage(name));
  const lastRecorded = recordedNames.toSorted().at(-1) ?? '';
  const names = [...new Set([...fileOf.keys(), ...recordedNames])].toSorted();
  const migrations = names.map((name): MigrationState => {
    const file = fileOf.get(name);
    const standing = file === undefined ? 'unknown' : recorded.has(name) ? 'applied' : 'pending';
    return {
      name,
      standing,
      appliedAt: recorded.get(name) ?? null,
      release: file?.release ?? null,
      isOutOfOrder: standing === 'pending' && name < lastRecorded,
    };
  });
  return {
    ...table,
    migrations,
    isCurrent: migrations.every(({ standing, release }) => standing === 'applied' && release !== 'edited'),
  };
}

/** Whether an unknown migration is one of this package: the host may record its own in the same table. */
export function isOfThisPackage(name: string): boolean {
  return /^\d{4}_/.test(name);
}

/** Reads the names of the recorded migrations, each with the time when it was applied. */
export async function recordedMigrations(
  client: DedicatedConnection,
  table: TableName,
): Promise<Map<string, Timestamp>> {
  // A timestamp without time zone, in that of the session that wrote it. As text, whatever the session's datestyle.
  const { rows } = await client.query(
    `select
       name,
       pg_catalog.to_char(run_on::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
     from ${sqlName(table)}
     order by run_on, id`,
  );
  return new Map(rows.map(({ name, at }) => [name, canonicalTimestamp(at)]));
}
