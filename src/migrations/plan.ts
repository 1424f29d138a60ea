import type { Migration } from 'node-pg-migrate/migration';
import type { RunnerOption } from 'node-pg-migrate/runner';
import { CrmSchemaError } from '../errors.js';
import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkWholeNumber } from '../validation.js';
import { type MigrationFile, readMigrationFiles } from './files.js';
import { type MigrationStatus, type MigrationsTable, migrationStatus, sqlName } from './status.js';

/** Which way. */
export type MigrationDirection = 'up' | 'down';

/** Where to. */
export interface MigrationTarget extends MigrationsTable {
  /** The number of the last migration that is applied afterwards; 0 for none. By default the last there is. */
  to?: number | undefined;
}

/** What would be done. */
export interface MigrationPlan {
  /** Which way it would go. */
  direction: MigrationDirection;
  /** Where everything is, or would be: the first schema of search_path. */
  schema: string;
  /** Where it is recorded. */
  migrationsTable: string;
  /** In the order in which they would run. */
  migrations: PlannedMigration[];
}

/** The statements of one migration, which is one transaction: those of the three parts, in their order. */
export interface PlannedMigration {
  /** `0001_prepare_host_tables` */
  name: string;
  /** Begins, and keeps others from the table of migrations; or makes it, if need be. */
  open: string[];
  /** One half of the file. */
  change: string;
  /** Records it, and commits. */
  close: string[];
}

/**
 * Tells which statements `migrateUp` or `migrateDown` would run to come to the target, but for those that
 * only read. Reads only.
 *
 * @throws CrmSchemaError `migration_refused` where they would refuse, `invalid_input` for a target that is none
 */
export async function migrationPlan(
  client: DedicatedConnection,
  options: MigrationTarget = {},
): Promise<MigrationPlan> {
  const down = await planOf(client, 'down', options);
  return down.migrations.length > 0 ? down : planOf(client, 'up', options);
}

/** The same, in one direction; without a target, down does nothing. */
export async function planOf(
  client: DedicatedConnection,
  direction: MigrationDirection,
  { to, migrationsTable }: MigrationTarget,
): Promise<MigrationPlan> {
  const files = await readMigrationFiles();
  if (to !== undefined) checkWholeNumber({ field: 'to' }, to, 0, 9999);
  if (to !== undefined && to !== 0 && !files.some(({ number }) => number === to)) {
    throw new CrmSchemaError(
      'invalid_input',
      `to has to be the number of a migration, not ${to}: the last is ${files.at(-1)?.name}.`,
    );
  }
  const status = await migrationStatus(client, { migrationsTable });
  const standingOf = new Map(status.migrations.map(({ name, standing }) => [name, standing]));
  const toRun =
    direction === 'up'
      ? files.filter(({ name, number }) => standingOf.get(name) === 'pending' && number <= (to ?? number))
      : files
          .filter(({ name, number }) => standingOf.get(name) === 'applied' && number > (to ?? number))
          .toReversed();
  if (toRun.length > 0) checkSafe(status, direction);
  const searchPath = await schemasSearched(client);
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

/** The schemas that names are looked up in, as SQL: so that a plan goes where it was made for. */
async function schemasSearched(client: DedicatedConnection): Promise<string> {
  const { rows } = await client.query(
    `select pg_catalog.string_agg(pg_catalog.quote_ident(schema), ', ' order by place) as path
     from pg_catalog.unnest(pg_catalog.current_schemas(false)::text[]) with ordinality as searched (schema, place)`,
  );
  const { path } = rows[0];
  if (/\p{C}/u.test(path)) {
    throw new CrmSchemaError(
      'migration_refused',
      'A schema that search_path names has what a terminal would obey in its name: leave it out with PGOPTIONS="-c search_path=…".',
    );
  }
  return path;
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
      `This package is not as it was released: ${edited.join(', ')} was edited. Install it again, and change the schema by migrations of your own.`,
    );
  }
  const where = `${migrationsTable} of schema ${schema}`;
  const skipped = migrations.find(({ isOutOfOrder }) => isOutOfOrder);
  if (direction === 'up' && skipped !== undefined) {
    refuse(
      `${skipped.name} is pending, but ${where} has some that come after it: if it was applied, put its line back; else go down to where it comes next, crm-schema migrate down --to ${Number.parseInt(skipped.name, 10) - 1}.`,
    );
  }
  const unknown = migrations.findLast(({ standing }) => standing === 'unknown');
  if (direction === 'down' && unknown !== undefined) {
    refuse(`${where} has ${unknown.name}, which this version does not know: go down with the one that does.`);
  }
}

/** The statements of a file, as node-pg-migrate makes them. */
async function planned(
  file: MigrationFile,
  direction: MigrationDirection,
  table: { schema: string; migrationsTable: string; searchPath: string },
  hasTable: boolean,
): Promise<PlannedMigration> {
  // Loaded when there is something to run: it takes a while.
  const { Migration } = await import('node-pg-migrate/migration');
  const { sqlMigration } = await import('node-pg-migrate/sqlMigration');
  const made: string[] = [];
  const recorder = { query: async (sql: string) => void made.push(sql) };
  const options = {
    direction,
    migrationsSchema: table.schema,
    migrationsTable: table.migrationsTable,
    // Begun and ended here.
    singleTransaction: true,
  };
  const migration = new Migration(
    recorder as unknown as Migration['db'],
    file.path,
    await sqlMigration(file.path),
    options as RunnerOption,
    {},
    { info() {}, warn() {}, error() {} },
  );
  await migration.apply(direction);
  const [change = '', record = ''] = made;
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
