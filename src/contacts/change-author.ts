import { checkShortText } from '../validation.js';

/** Who changes what external ids mean, and why: both are kept in the history. */
export interface ChangeAuthor {
  /**
   * A role or a program, never a person's name: 1 to 100 characters. By default the database user.
   */
  changedBy?: string | undefined;
  /** Why: 1 to 500 characters, without personal data. */
  reason?: string | undefined;
}

/**
 * Checks who makes a change and why, and returns it as parameters of a query.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function authorColumns({ changedBy, reason }: ChangeAuthor) {
  if (changedBy !== undefined) checkShortText({ field: 'changedBy' }, changedBy, 100);
  if (reason !== undefined) checkShortText({ field: 'reason' }, reason, 500);
  return { changedBy, reason };
}
