import { CrmSchemaError } from '../errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkWholeNumber } from '../validation.js';
import { type MigrationFile, numberOf, readMigrationFiles } from './files.js';
import { migrationStatements } from './node-pg-migrate.js';
import { type MigrationStatus, type MigrationsTable, readStatus, sqlName } from './status.js';

/** The direction of a migration: `up` applies, `down` reverts. */
export type MigrationDirection = 'up' | 'down';

/** The target of a migration. */
export interface MigrationTarget extends MigrationsTable {
  /** The number of the last migration that is applied afterwards; 0 for none. Defaults to the last one. */
  to?: number | undefined;
}

/** The migrations that would run, and their statements. */
export interface MigrationPlan {
  /** Whether it applies or reverts. */
  direction: MigrationDirection;
  /** The schema of the installation: the first one in search_path. */
  schema: string;
  /** The migrations table. */
  migrationsTable: string;
  /** In order of execution. */
  migrations: PlannedMigration[];
}

/** The statements of one migration, in order of execution. Together they are one transaction. */
export interface PlannedMigration {
  /** `0001_prepare_host_tables` */
  name: string;
  /** Begins the transaction, and locks the migrations table or creates it. */
  open: string[];
  /** The up or down half of the file. */
  change: string;
  /** Records the migration, and commits. */
  close: string[];
}

/**
 * Returns the statements that `migrateUp` or `migrateDown` would run to reach the target, except those that only
 * read. Changes nothing.
 *
 * @throws CrmSchemaError `migration_refused` where they would refuse; `invalid_input` for a target that does not exist,
 * for a pool, and if a transaction is open
 */
export async function migrationPlan(
  client: DedicatedConnection,
  options: MigrationTarget = {},
): Promise<MigrationPlan> {
  const files = await readMigrationFiles();
  const down = await planOf(client, 'down', options, files);
  return down.migrations.length > 0 ? down : planOf(client, 'up', options, files);
}

/** Plans in one direction. Without a target, `down` plans nothing. */
export async function planOf(
  client: DedicatedConnection,
  direction: MigrationDirection,
  { to, migrationsTable }: MigrationTarget,
  files: readonly MigrationFile[],
): Promise<MigrationPlan> {
  if (to !== undefined) checkWholeNumber({ field: 'to' }, to, 0, 9999);
  if (to !== undefined && to !== 0 && !files.some(({ number }) => number === to)) {
    throw new CrmSchemaError(
      'invalid_input',
      `to must be the number of a migration, not ${to}: the last is ${files.at(-1)?.name}.`,
    );
  }
  const status = await readStatus(client, { migrationsTable }, files);
  const standingOf = new Map(status.migrations.map(({ name, standing }) => [name, standing]));
  const toRun =
    direction === 'up'
      ? files.filter(({ name, number }) => standingOf.get(name) === 'pending' && number <= (to ?? number))
      : files
          .filter(({ name, number }) => standingOf.get(name) === 'applied' && number > (to ?? number))
          .toReversed();
  if (toRun.length > 0) {
    checkLineEndings(files);
    checkSafe(status, direction);
  }
  const searchPath = await searchedSchemas(client);
  return {
    direction,
    schema: status.schema,
    migrationsTable: status.migrationsTable,
    migrations: await Promise.all(
      toRun.map((file, position) =>
        planned(file, direction, { ...status, searchPath }, status.hasTable || position > 0),
      ),
    ),
  };
}

/** The schemas in search_path, as SQL: a plan that is run elsewhere must reach the same schema. */
async function searchedSchemas(client: DedicatedConnection): Promise<string> {
  const { rows } = await client.query(
    `select pg_catalog.string_agg(pg_catalog.quote_ident(schema), ', ' order by place) as path
     from pg_catalog.unnest(pg_catalog.current_schemas(false)::text[]) with ordinality as searched (schema, place)`,
  );
  const { path } = rows[0];
  if (/\p{C}/u.test(path)) {
    throw new CrmSchemaError(
      'migration_refused',
      'search_path contains a schema with control characters in its name: leave it out with PGOPTIONS="-c search_path=…".',
    );
  }
  return path;
}

/** @throws CrmSchemaError `migration_refused` */
function checkLineEndings(files: readonly MigrationFile[]): void {
  if (!files.some(({ hasOtherLineEndings }) => hasOtherLineEndings)) return;
  throw new CrmSchemaError(
    'migration_refused',
    `Migrations of this package differ from their release only in their line endings, CRLF instead of LF, which functions in the database would keep. Git on Windows writes CRLF (core.autocrlf): pack the package from a clone with LF, and reinstall it.`,
  );
}

/** @throws CrmSchemaError `migration_refused` */
function checkSafe(
  { migrations, schema, migrationsTable }: MigrationStatus,
  direction: MigrationDirection,
): void {
  const refuse = (message: string) => {
    throw new CrmSchemaError('migration_refused', message);
  };
  const edited = migrations.filter(({ release }) => release === 'edited').map(({ name }) => name);
  if (edited.length > 0) {
    refuse(
      `Migrations of this package were edited since their release: ${edited.join(', ')}. Reinstall the package, and change the schema with your own migrations.`,
    );
  }
  const where = `${migrationsTable} in schema ${schema}`;
  const skipped = migrations.find(({ isOutOfOrder }) => isOutOfOrder);
  if (direction === 'up' && skipped !== undefined) {
    refuse(
      `${skipped.name} is pending, but ${where} has later ones. If it was applied, restore its row. Otherwise revert the later ones first: crm-schema migrate down --to ${numberOf(skipped.name) - 1}.`,
    );
  }
  const unknown = migrations.findLast(({ standing }) => standing === 'unknown');
  if (direction === 'down' && unknown !== undefined) {
    refuse(
      `${where} has ${unknown.name}, which this version does not know. Revert with the version that does.`,
    );
  }
}

/** The transaction of one file. */
async function planned(
  file: MigrationFile,
  direction: MigrationDirection,
  table: { schema: string; migrationsTable: string; searchPath: string },
  hasTable: boolean,
): Promise<PlannedMigration> {
  const { change, record } = await migrationStatements(file, direction, table);
  const name = sqlName(table);
  return {
    name: file.name,
    open: [
      'begin;',
      "set local lock_timeout = '5s';",
      `set local search_path = ${table.searchPath};`,
      hasTable
        ? `lock table ${name} in share row exclusive mode;`
        : `create table ${name} (id serial primary key, name varchar(255) not null, run_on timestamp not null);`,
    ],
    change,
    close: [record, 'commit;'],
  };
}
