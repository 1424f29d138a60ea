import { CrmSchemaError } from '../errors.js';
import { safeCause } from '../statements/database-errors.js';
import { sqlStates } from '../statements/sqlstates.js';

const missingObject: ReadonlySet<string> = new Set([
  sqlStates.undefinedTable,
  sqlStates.undefinedColumn,
  sqlStates.undefinedFunction,
]);

/**
 * Runs statements of this package, and explains the error of one that misses a table, column or function. Not for
 * what a caller passed in: its errors are its own, whatever code they have.
 *
 * @throws CrmSchemaError `schema_not_found`, also where an older version of the schema lacks the object
 */
export async function explainMissingSchema<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!missingObject.has((error as { code?: string }).code ?? '')) throw error;
    throw new CrmSchemaError(
      'schema_not_found',
      'The schema is missing or of an older version: run the migrations first, or name its schema in PGOPTIONS="-c search_path=…".',
      { cause: safeCause(error) },
    );
  }
}
