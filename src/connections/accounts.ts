import { CrmSchemaError, connectionNotLive } from '../errors.js';
import * as queries from '../generated/crm_connections.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkAccount } from '../validation.js';

/** What changed places or was dropped because a connection is to another account than the one before. */
export interface SwitchedIds {
  /** The number of ids that were archived, because they belong to another account. */
  archivedIds: number;
  /** The number of archived ids that were restored, because they belong to this account. */
  restoredIds: number;
  /**
   * The number of contacts that waited to be pushed and no longer do: they are other people at another account, or have
   * waited for more than 90 days.
   */
  droppedChanges: number;
}

/** The parameters of {@link connectionSetAccount}. */
export interface ConnectionSetAccountParams extends ConnectionKey {
  /** The CRM's own name of the account: 1 to 512 bytes, compared exactly. */
  account: string;
}

/**
 * Sets the account of a live connection whose account is unknown, for a worker that learns it on signing in.
 * Setting the same account again changes nothing.
 *
 * Ids that are known to be of another account are archived, and the archived ids of this account are restored.
 * Ids that were linked since the connection was made belong to this account and stay. Changes that were taken over from
 * a connection to another account are dropped.
 *
 * The session must use READ COMMITTED, PostgreSQL's default.
 *
 * @throws CrmSchemaError `account_changed` if the connection is to another account, in which case nothing is
 *   changed; `connection_not_live`, `invalid_input`
 */
export async function connectionSetAccount(
  client: Queryable,
  params: ConnectionSetAccountParams,
): Promise<SwitchedIds> {
  checkConnectionKey(params);
  checkAccount({ field: 'account' }, params.account);
  const [row] = await queries.connectionSetAccount.run(params, client);
  if (row === undefined || row.outcome === 'disconnected') throw connectionNotLive();
  if (row.outcome === 'other_account') return accountChanged();
  const { outcome: _, ...switched } = row;
  return switched;
}

/** Throws `account_changed`. */
export function accountChanged(): never {
  throw new CrmSchemaError(
    'account_changed',
    'The connection is to another account at the CRM. Nothing was written. To change to that account, disconnect the connection, and connect again.',
  );
}
