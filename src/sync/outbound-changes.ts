import { leaseLost } from '../errors.js';
import * as queries from '../generated/crm_outbound_changes.js';
import { type ConnectionKey, checkConnectionKey, checkRunKey, type RunKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Timestamp } from '../types.js';
import { checkLimit, checkUuid, checkUuids } from '../validation.js';

/** A contact that is to be pushed now. */
export interface ClaimedChange {
  /** NurtureHub's contact: a UUID. */
  contactId: string;
  /** What `syncBatchRecord` takes as `changeVersion` with the push: a bigint, as text. */
  version: string;
  /** Since when something has been waiting to be pushed. */
  firstChangedAt: Timestamp;
  /** How often it was claimed since the last change, this time included. */
  attempts: number;
}

/** What is noted: that a contact is to be pushed to a connection's CRM. */
export interface NotedChange extends queries.OutboundChangeRecordResult {}

/**
 * Notes, in the transaction that changes contacts, that they are to be pushed to every live connection of
 * the organisation: each once, however often it changes before that. Contacts are pushed as they are then.
 * Change the contacts first: noting them before can deadlock with somebody who deletes one.
 *
 * @returns what is noted
 * @throws CrmSchemaError `wrong_tenant` if the organisation has no such contact; `organisation_not_set`;
 *   `invalid_input`
 */
export async function outboundChangeRecord(
  client: Queryable,
  params: {
    /** Whose the contacts are: a UUID. */
    organisationId: string;
    /** UUIDs. */
    contactIds: readonly string[];
    /**
     * The connection that the change came from, which has it already; null, or not given, if from none. It is
     * not looked up: an id that is none of the organisation's live connections leaves none of them out, so
     * that the change is pushed back to where it came from, too.
     */
    fromConnectionId?: string | null | undefined;
  },
): Promise<NotedChange[]> {
  const { organisationId, fromConnectionId = null } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  const contactIds = checkUuids('contactId', params.contactIds);
  if (fromConnectionId !== null) checkUuid({ field: 'fromConnectionId' }, fromConnectionId);
  return queries.outboundChangeRecord.run({ organisationId, contactIds, fromConnectionId }, client);
}

/** What {@link outboundChangeClaim} takes. */
export interface OutboundChangeClaimParams extends RunKey {
  /** At most how many contacts: 1 to 1,000; 100 if not given. */
  limit?: number | undefined;
}

/**
 * Claims the contacts that are to be pushed to a connection's CRM, those waiting longest first, for the
 * worker that holds its run. What is claimed is put off; that it was pushed, or failed, is recorded by
 * `syncBatchRecord` with its version. When as many come as may, there may be more: end the run with
 * `hasMore`, so that other connections have their turn first.
 *
 * @throws CrmSchemaError `lease_lost`, `invalid_input`
 */
export async function outboundChangeClaim(
  client: Queryable,
  params: OutboundChangeClaimParams,
): Promise<ClaimedChange[]> {
  const { limit = 100 } = params;
  checkRunKey(params);
  checkLimit(limit);
  const rows = await queries.outboundChangeClaim.run({ ...params, limit }, client);
  if (rows.length === 0) leaseLost();
  return rows.filter(({ contactId }) => contactId !== null) as unknown as ClaimedChange[];
}

/** What {@link outboundChangeListWaiting} takes. */
export interface OutboundChangeListWaitingParams extends ConnectionKey {
  /** UUIDs. */
  contactIds: readonly string[];
}

/** A contact that is still to be pushed. */
export interface WaitingChange extends queries.OutboundChangeListWaitingResult {
  /** NurtureHub's contact: a UUID. */
  contactId: string;
}

/**
 * Which of some contacts are still to be pushed to a connection's CRM, a failed push that is tried again
 * among them. What the CRM says of those is older than what NurtureHub has: a worker that wrote it would
 * undo a change that was not pushed yet. Lock the contacts first.
 *
 * @throws CrmSchemaError `organisation_not_set`, `invalid_input`
 */
export async function outboundChangeListWaiting(
  client: Queryable,
  params: OutboundChangeListWaitingParams,
): Promise<WaitingChange[]> {
  const { organisationId, connectionId } = params;
  checkConnectionKey(params);
  const contactIds = checkUuids('contactId', params.contactIds);
  return queries.outboundChangeListWaiting.run({ organisationId, connectionId, contactIds }, client);
}

/**
 * Makes connections due for which there is something new to push, of all organisations. `syncRunClaim`
 * does this by itself.
 *
 * @returns how many changes were gone through
 * @throws CrmSchemaError `invalid_input`
 */
export async function outboundChangeAnnounce(
  client: Queryable,
  params: {
    /** At most how many connections: 1 to 1,000; 100 if not given. */
    limit?: number | undefined;
  } = {},
): Promise<{
  /** How many changes were gone through. */
  announced: number;
}> {
  const { limit = 100 } = params;
  checkLimit(limit);
  const [row] = await queries.outboundChangeAnnounce.run({ limit }, client);
  return row as queries.OutboundChangeAnnounceResult;
}
