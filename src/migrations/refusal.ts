import { CrmSchemaError } from '../errors.js';

/** The error with which a migrator refuses to work. */
export function migrationRefused(message: string): CrmSchemaError {
  return new CrmSchemaError('migration_refused', message);
}
