import { connectionNotLive } from '../errors.js';
import * as queries from '../generated/crm_connections.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { Timestamp, TimestampInput } from '../types.js';
import { checkShortText, refuse } from '../validation.js';

/** The parameters of {@link connectionPause}. */
export interface ConnectionPauseParams extends ConnectionKey {
  /** When the pause ends by itself, later than now. Null or omitted: when somebody calls `connectionResume`. */
  until?: TimestampInput | null | undefined;
  /** Why, for people: 1 to 500 characters, without secrets or personal data. Null or omitted: not said. */
  reason?: string | null | undefined;
}

/**
 * Pauses a live connection: nothing syncs it, neither its schedule nor a request, new credentials or a changed
 * contact. What changes meanwhile waits, and is synced after the pause: the connection is then due at once, or as soon
 * as the CRM may be asked again. Pausing a paused connection changes the end and the reason.
 *
 * A running sync is cancelled. Its worker gets `lease_lost` from its next heartbeat or batch: what it did at the CRM
 * since its last batch is not recorded, and is done again after the pause.
 *
 * @returns since when the connection is paused
 * @throws CrmSchemaError `connection_not_live`; `invalid_input`, also if `until` has passed
 */
export async function connectionPause(
  client: Queryable,
  params: ConnectionPauseParams,
): Promise<{
  /** Since when the connection is paused. */
  pausedAt: Timestamp;
}> {
  checkConnectionKey(params);
  const { organisationId, connectionId } = params;
  const until = params.until == null ? null : timestampParameter({ field: 'until' }, params.until);
  const reason = params.reason ?? null;
  if (reason !== null) checkShortText({ field: 'reason' }, reason, 500);
  const [row] = await queries.connectionPause.run({ organisationId, connectionId, until, reason }, client);
  if (row === undefined || row.outcome === 'disconnected') throw connectionNotLive();
  if (row.outcome === 'over') refuse({ field: 'until' }, `must be later than now, not ${until}`);
  await queries.connectionCancelRun.run({ organisationId, connectionId }, client);
  return { pausedAt: row.pausedAt as Timestamp };
}

/**
 * Ends the pause of a live connection before its time. The connection is due at once, or as soon as the CRM may be
 * asked again. If it is not paused, nothing changes.
 *
 * @returns when the connection is next due
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionResume(
  client: Queryable,
  key: ConnectionKey,
): Promise<{
  /** When the connection is next due. */
  nextSyncAt: Timestamp;
}> {
  checkConnectionKey(key, 'key');
  const [row] = await queries.connectionResume.run(key, client);
  if (row === undefined) throw connectionNotLive();
  return row;
}
