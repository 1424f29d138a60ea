import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkParameter } from '../validation.js';
import { type MigrationFile, readMigrationFiles } from './files.js';
import { migrationStatements } from './node-pg-migrate.js';
import { checkLineEndings, checkRecords, checkTarget } from './plan-checks.js';
import { migrationRefused } from './refusal.js';
import { type MigrationStatus, type MigrationsTable, readStatus } from './status.js';
import { sqlName } from './table.js';

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
  checkParameter('options', options);
  const sources = await readPlanSources(client, options);
  const down = await planFrom(sources, 'down', options.to);
  return down.migrations.length > 0 ? down : planFrom(sources, 'up', options.to);
}

/** Plans in one direction. Without a target, `down` plans nothing. */
export async function planOf(
  client: DedicatedConnection,
  direction: MigrationDirection,
  target: MigrationTarget,
): Promise<MigrationPlan> {
  return planFrom(await readPlanSources(client, target), direction, target.to);
}

/** What a plan is made from. */
interface PlanSources {
  files: MigrationFile[];
  status: MigrationStatus;
  /** The schemas in search_path, as SQL. */
  searchPath: string;
}

async function readPlanSources(
  client: DedicatedConnection,
  { to, migrationsTable }: MigrationTarget,
): Promise<PlanSources> {
  const files = await readMigrationFiles();
  checkTarget(to, files);
  const status = await readStatus(client, { migrationsTable }, files);
  return { files, status, searchPath: await searchedSchemas(client) };
}

async function planFrom(
  { files, status, searchPath }: PlanSources,
  direction: MigrationDirection,
  to: number | undefined,
): Promise<MigrationPlan> {
  const standingOf = new Map(status.migrations.map(({ name, standing }) => [name, standing]));
  const filesToRun =
    direction === 'up'
      ? files.filter(({ name, number }) => standingOf.get(name) === 'pending' && number <= (to ?? number))
      : files
          .filter(({ name, number }) => standingOf.get(name) === 'applied' && number > (to ?? number))
          .toReversed();
  if (filesToRun.length > 0) {
    checkLineEndings(files);
    checkRecords(status, direction);
  }
  const { schema, migrationsTable, hasTable } = status;
  return {
    direction,
    schema,
    migrationsTable,
    migrations: await Promise.all(
      filesToRun.map(async (file, position) => {
        const { change, record } = await migrationStatements(file, direction, status);
        // The first migration creates the table.
        const open = openingStatements(sqlName(status), searchPath, hasTable || position > 0);
        return { name: file.name, open, change, close: [record, 'commit;'] };
      }),
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
    throw migrationRefused(
      'search_path contains a schema with control characters in its name: leave it out with PGOPTIONS="-c search_path=…".',
    );
  }
  return path;
}

/**
 * The statements before the change of a migration.
 *
 * @param table the migrations table, as SQL
 * @param searchPath the schemas in search_path, as SQL
 */
function openingStatements(table: string, searchPath: string, tableExists: boolean): string[] {
  return [
    'begin;',
    "set local lock_timeout = '5s';",
    `set local search_path = ${searchPath};`,
    tableExists
      ? `lock table ${table} in share row exclusive mode;`
      : `create table ${table} (id serial primary key, name varchar(255) not null, run_on timestamp not null);`,
  ];
}
