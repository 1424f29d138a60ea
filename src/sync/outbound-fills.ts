import { connectionNotLive } from '../errors.js';
import * as queries from '../generated/crm_outbound_changes.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Timestamp } from '../types.js';
import { checkFlag, checkLimit, checkWholeNumber } from '../validation.js';

/** The parameters of {@link outboundFillStart}. */
export interface OutboundFillStartParams extends ConnectionKey {
  /** Whether to start again if one has finished; defaults to false. */
  isRepeat?: boolean | undefined;
}

/** A first fill. */
export interface OutboundFill {
  /** When it was started. */
  startedAt: Timestamp;
  /** The number of contacts that it has recorded to be pushed so far: `filledContacts` in `connectionListWithHealth`. */
  queuedInAll: number;
  /** When it had looked at every contact; null while it has not. */
  finishedAt: Timestamp | null;
}

/**
 * Starts a first fill of a live connection: every contact that has no record at its CRM is pushed there, and other CRMs
 * are left alone. Workers record the contacts a page at a time ({@link outboundFillContinue}). The connection becomes
 * due. Starting it again changes nothing.
 *
 * @returns the fill: this one, or the one that was started before
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function outboundFillStart(
  client: Queryable,
  params: OutboundFillStartParams,
): Promise<OutboundFill> {
  checkConnectionKey(params);
  const { isRepeat = false } = params;
  checkFlag({ field: 'isRepeat' }, isRepeat);
  const [row] = await queries.outboundFillStart.run({ ...params, isRepeat }, client);
  if (row === undefined) throw connectionNotLive();
  return row;
}

/** The parameters of {@link outboundFillContinue}. */
export interface OutboundFillContinueParams extends ConnectionKey {
  /** The number of contacts to look at: 1 to 1,000; defaults to 100. */
  limit?: number | undefined;
  /** Does nothing while so many changes wait for the connection: 1 to 100,000; defaults to 100. */
  maxWaiting?: number | undefined;
}

/** How far a first fill is. */
export interface OutboundFillProgress {
  /**
   * `not_started`: nobody asked for one. `waiting`: enough changes wait to be pushed, and nothing was done. `continued`:
   * there may be more contacts. `finished`: every contact has been looked at.
   */
  outcome: 'not_started' | 'waiting' | 'continued' | 'finished';
  /** The number of contacts that this call has recorded to be pushed. */
  queued: number;
  /** The number of contacts that it has recorded to be pushed so far: `filledContacts` in `connectionListWithHealth`. */
  queuedInAll: number;
}

/**
 * Continues the first fill of a connection: looks at the next contacts in the order of their ids, and records those
 * without a record at its CRM as outbound changes of this connection. Call it at the start of each run. Several workers
 * may: each page is taken once.
 *
 * A contact with any record there is left out, even one that the CRM has deleted. A contact that is created
 * meanwhile is recorded by the host, as always.
 *
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 * @throws Error of the server: 0A000 unless at READ COMMITTED
 */
export async function outboundFillContinue(
  client: Queryable,
  params: OutboundFillContinueParams,
): Promise<OutboundFillProgress> {
  checkConnectionKey(params);
  const { limit = 100, maxWaiting = 100 } = params;
  checkLimit(limit);
  checkWholeNumber({ field: 'maxWaiting' }, maxWaiting, 1, 100_000);
  const [row] = await queries.outboundFillContinue.run({ ...params, limit, maxWaiting }, client);
  if (row === undefined) throw connectionNotLive();
  return row as OutboundFillProgress;
}
