import { connectionNotLive } from '../errors.js';
import * as queries from '../generated/crm_connections.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { type ConflictWinner, conflictWinners } from '../types.js';
import { checkOneOf } from '../validation.js';

/** The parameters of {@link connectionSetConflictWinner}. */
export interface ConnectionSetConflictWinnerParams extends ConnectionKey {
  /** Who wins if a person was edited here and at the CRM. */
  conflictWinner: ConflictWinner;
}

/**
 * Sets who wins if a person was edited here and at the CRM since the two last agreed; the default is `nurturehub`. It
 * applies from the next run on (`ClaimedRun.conflictWinner`).
 *
 * @returns the new setting
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionSetConflictWinner(
  client: Queryable,
  params: ConnectionSetConflictWinnerParams,
): Promise<{
  /** Who wins. */
  conflictWinner: ConflictWinner;
}> {
  checkConnectionKey(params);
  checkOneOf({ field: 'conflictWinner' }, params.conflictWinner, conflictWinners);
  const [row] = await queries.connectionSetConflictWinner.run(params, client);
  if (row === undefined) throw connectionNotLive();
  return row as { conflictWinner: ConflictWinner };
}
