import { CrmSchemaError } from '../errors.js';
import { checkWholeNumber } from '../validation.js';
import { type MigrationFile, numberOf } from './files.js';
import { migrationRefused } from './refusal.js';
import type { MigrationStatus } from './status.js';

/**
 * Checks that the target is one of this package's migrations, or 0.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function checkTarget(to: number | undefined, files: readonly MigrationFile[]): void {
  if (to === undefined) return;
  checkWholeNumber({ field: 'to' }, to, 0, 9999);
  if (to === 0 || files.some(({ number }) => number === to)) return;
  throw new CrmSchemaError(
    'invalid_input',
    `to must be the number of a migration, not ${to}: the last is ${files.at(-1)?.name}.`,
  );
}

/**
 * Refuses files whose line endings are not those of the release.
 *
 * @throws CrmSchemaError `migration_refused`
 */
export function checkLineEndings(files: readonly MigrationFile[]): void {
  if (!files.some(({ hasOtherLineEndings }) => hasOtherLineEndings)) return;
  throw migrationRefused(
    `Migrations of this package differ from their release only in their line endings, CRLF instead of LF, which functions in the database would keep. Git on Windows writes CRLF (core.autocrlf): pack the package from a clone with LF, and reinstall it.`,
  );
}

/**
 * Refuses to apply or revert anything where the records do not match the files: one is edited, skipped or unknown.
 *
 * @throws CrmSchemaError `migration_refused`
 */
export function checkRecords(
  { migrations, schema, migrationsTable }: MigrationStatus,
  direction: 'up' | 'down',
): void {
  const edited = migrations.filter(({ release }) => release === 'edited').map(({ name }) => name);
  if (edited.length > 0) {
    throw migrationRefused(
      `Migrations of this package were edited since their release: ${edited.join(', ')}. Reinstall the package, and change the schema with your own migrations.`,
    );
  }
  const table = `${migrationsTable} in schema ${schema}`;
  const skipped = migrations.find(({ isOutOfOrder }) => isOutOfOrder);
  if (direction === 'up' && skipped !== undefined) {
    throw migrationRefused(
      `${skipped.name} is pending, but ${table} has later ones. If it was applied, restore its row. Otherwise revert the later ones first: crm-schema migrate down --to ${numberOf(skipped.name) - 1}.`,
    );
  }
  const unknown = migrations.findLast(({ standing }) => standing === 'unknown');
  if (direction === 'down' && unknown !== undefined) {
    throw migrationRefused(
      `${table} has ${unknown.name}, which this version does not know. Revert with the version that does.`,
    );
  }
}
