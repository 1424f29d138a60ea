import { connectionNotLive } from '../errors.js';
import * as queries from '../generated/crm_sync_failures.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { SyncErrorKind, TimestampInput } from '../types.js';
import { checkBatch, checkErrorKinds, checkId, checkLimit, checkShortText, refuse } from '../validation.js';

/** The parameters of {@link syncFailureReplay}. */
export interface SyncFailureReplayParams extends ConnectionKey {
  /** Replays the records whose last failure was at or after this time … */
  failedFrom: TimestampInput;
  /** … and before this time. */
  failedBefore: TimestampInput;
  /** Kinds of error; defaults to all. */
  kinds?: readonly SyncErrorKind[] | undefined;
  /** The maximum number of records: 1 to 1,000; defaults to 1,000. */
  limit?: number | undefined;
}

/**
 * Makes the records that failed within a period due for a retry now, including those that the worker has given up
 * on but not those that a person has dismissed, or of which a person has to decide whose edit counts (they are chosen
 * one by one, with {@link syncFailureReplayByIds}), and gives them all their attempts again. Call it after the cause
 * has been repaired. Also requests a sync of the connection.
 *
 * Call it again while `replayed` equals `limit`.
 *
 * @returns the number of records that this call made due; records that were already due are not counted
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function syncFailureReplay(
  client: Queryable,
  params: SyncFailureReplayParams,
): Promise<{
  /** The number of records that this call made due; records that were already due are not counted. */
  replayed: number;
}> {
  checkConnectionKey(params);
  const { organisationId, connectionId, limit = 1000 } = params;
  checkLimit(limit);
  const failedFrom = timestampParameter({ field: 'failedFrom' }, params.failedFrom);
  const failedBefore = timestampParameter({ field: 'failedBefore' }, params.failedBefore);
  if (failedFrom >= failedBefore) refuse({ field: 'failedBefore' }, 'must be later than failedFrom');
  const kinds = checkErrorKinds(params.kinds);
  const [row] = await queries.syncFailureReplay.run(
    { organisationId, connectionId, kinds, failedFrom, failedBefore, limit },
    client,
  );
  if (row === undefined) throw connectionNotLive();
  return row;
}

/** The parameters of {@link syncFailureReplayByIds}. */
export interface SyncFailureReplayByIdsParams extends ConnectionKey {
  /** The `id` of each failure. */
  ids: readonly string[];
}

/**
 * Makes the given failing records due for a retry now, whatever their state, as {@link syncFailureReplay} does.
 * This also ends a dismissal.
 *
 * @returns the number of records that this call made due; records that were already due, and ids that the
 *   connection does not have, are not counted
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function syncFailureReplayByIds(
  client: Queryable,
  params: SyncFailureReplayByIdsParams,
): Promise<{
  /** The number of records that this call made due; records that were already due are not counted. */
  replayed: number;
}> {
  checkConnectionKey(params);
  const { organisationId, connectionId } = params;
  const ids = checkIds(params.ids);
  const [row] = await queries.syncFailureReplayByIds.run({ organisationId, connectionId, ids }, client);
  if (row === undefined) throw connectionNotLive();
  return row;
}

/** The parameters of {@link syncFailureDismiss}. */
export interface SyncFailureDismissParams extends ConnectionKey {
  /** The `id` of each failure. */
  ids: readonly string[];
  /** Why: 1 to 500 characters, without personal data. */
  reason: string;
  /** Who: a role or a program, never a person's name; 1 to 100 characters. */
  dismissedBy: string;
}

/** The failing records that were dismissed. */
export interface DismissedFailures {
  /** The number of records that the call dismissed; those that were dismissed already are not counted. */
  dismissed: number;
}

/**
 * Dismisses failing records: they are not retried, and no longer counted as failing or given up. They stay listed,
 * with who dismissed them, when and why, and are counted apart.
 *
 * A record stays dismissed while it fails for the same reason: with an error of the same kind and code. An error
 * of another kind or code ends the dismissal, as does a replay by its id. If the record succeeds, it is closed.
 *
 * Dismissing a push takes the CRM's value: the contact no longer waits to be pushed (`outboundChangeListWaiting`), what
 * is known of its records at that CRM is forgotten, so that they count as changed, and a sync is requested, which is
 * given them to read (`recordRequestClaim`). If the push of a later edit of the contact fails, the dismissal ends.
 *
 * @returns the number of records that this call dismissed; records that were dismissed already, and ids that the
 *   connection does not have, are not counted
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function syncFailureDismiss(
  client: Queryable,
  params: SyncFailureDismissParams,
): Promise<DismissedFailures> {
  checkConnectionKey(params);
  const { organisationId, connectionId, reason, dismissedBy } = params;
  const ids = checkIds(params.ids);
  checkShortText({ field: 'reason' }, reason, 500);
  checkShortText({ field: 'dismissedBy' }, dismissedBy, 100);
  const [row] = await queries.syncFailureDismiss.run(
    { organisationId, connectionId, ids, reason, dismissedBy },
    client,
  );
  if (row === undefined) throw connectionNotLive();
  return row;
}

function checkIds(value: readonly string[]): string[] {
  const ids = checkBatch('ids', value);
  for (const [rowIndex, id] of ids.entries()) checkId({ field: 'ids', rowIndex }, id);
  return ids;
}
