/**
 * Everything that this package takes from inside node-pg-migrate, so that a database can be migrated by either.
 * Loaded when needed, because loading it takes a while.
 */

import type { Migration } from 'node-pg-migrate/migration';
import type { RunnerOption } from 'node-pg-migrate/runner';
import type { MigrationFile } from './files.js';
import type { TableName } from './table.js';

/** The key of the advisory lock under which node-pg-migrate works. */
export async function migrationLockId(): Promise<number> {
  const { PG_MIGRATE_LOCK_ID } = await import('node-pg-migrate/runner');
  return PG_MIGRATE_LOCK_ID;
}

/**
 * The statements that node-pg-migrate makes of one half of a file.
 *
 * @returns `change`: that half; `record`: the statement that adds the migration to the migrations table, or removes it
 */
export async function migrationStatements(
  { path, content }: MigrationFile,
  direction: 'up' | 'down',
  { schema, migrationsTable }: TableName,
): Promise<{ change: string; record: string }> {
  const { Migration } = await import('node-pg-migrate/migration');
  const { getActions } = await import('node-pg-migrate/sqlMigration');
  const statements: string[] = [];
  const recorder = { query: async (sql: string) => void statements.push(sql) };
  const options = {
    direction,
    migrationsSchema: schema,
    migrationsTable,
    // Our plan begins and commits.
    singleTransaction: true,
  };
  const migration = new Migration(
    recorder as unknown as Migration['db'],
    path,
    getActions(content),
    options as RunnerOption,
    {},
    { info() {}, warn() {}, error() {} },
  );
  await migration.apply(direction);
  const [change = '', record = ''] = statements;
  return { change, record };
}
