import { CrmSchemaError } from '../errors.js';
import { explainMissingSchema } from '../partitions/missing-schema.js';
import { sqlStates } from '../statements/sqlstates.js';

/**
 * Runs statements that only the owner may run.
 *
 * @throws CrmSchemaError `not_permitted`, `schema_not_found`
 */
export async function asOwner<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await explainMissingSchema(work);
  } catch (error) {
    if ((error as { code?: string }).code !== sqlStates.insufficientPrivilege) throw error;
    throw new CrmSchemaError(
      'not_permitted',
      'Only the owner of crm_sync_log may erase, and read proofs: connect as that user, or as a member of that role.',
    );
  }
}
