import { CrmSchemaError, connectionNotLive, leaseLost } from '../errors.js';
import * as queries from '../generated/crm_outbound_changes.js';
import {
  type ConnectionKey,
  checkConnectionKey,
  checkOrganisation,
  checkRunKey,
  type RunKey,
} from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Timestamp } from '../types.js';
import { checkLimit, checkParameter, checkUuid, checkUuids } from '../validation.js';

/** A contact to push now. */
export interface ClaimedChange {
  /** NurtureHub's contact: a UUID. */
  contactId: string;
  /** Pass this to `syncBatchRecord` as the push's `changeVersion`: a bigint, as text. */
  version: string;
  /** The time of the first change that is not pushed yet. */
  firstChangedAt: Timestamp;
  /** How often this change was claimed, including this claim. A new change resets it. */
  attempts: number;
}

/** A recorded change: a contact to push to a connection's CRM. */
export interface NotedChange extends queries.OutboundChangeRecordResult {}

/**
 * Records that contacts changed, so that workers push them to every live connection of the organisation. Call
 * it in the transaction that changes the contacts. A contact that changes several times before its push is
 * pushed once, in its state at that time.
 *
 * Also records them for CRMs that were disconnected in the last 90 days: if the same account is connected again, they
 * are pushed to it. That is at most one row for each contact and CRM.
 *
 * Change the contacts before this call: the other order can deadlock with a transaction that deletes one.
 *
 * @returns the recorded changes
 * @throws CrmSchemaError `wrong_tenant` if the organisation has no such contact; `connection_not_live` if
 *   `toConnectionId` is not a connection for which changes are recorded; `organisation_not_set`; `invalid_input`
 *
 * @example
 * ```ts
 * import { outboundChangeRecord, withOrganisation } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Renames a contact, so that workers push it to every CRM of the organisation.
 * export async function rename(pool: pg.Pool, organisationId: string, contactId: string, name: string) {
 *   await withOrganisation(pool, organisationId, async (client) => {
 *     await client.query('update contacts set name = $2 where id = $1', [contactId, name]);
 *     await outboundChangeRecord(client, { organisationId, contactIds: [contactId] });
 *   });
 * }
 * ```
 */
export async function outboundChangeRecord(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The contacts' UUIDs. */
    contactIds: readonly string[];
    /**
     * The connection that the change came from, which already has it; null or omitted if there is none. The
     * id is not checked: one that is not a live connection of the organisation excludes nothing, and the
     * change is also pushed back to its source.
     */
    fromConnectionId?: string | null | undefined;
    /** The only connection to push to; null or omitted: all of them. To push every contact, call `outboundFillStart`. */
    toConnectionId?: string | null | undefined;
  },
): Promise<NotedChange[]> {
  checkOrganisation(params);
  const { organisationId, fromConnectionId = null, toConnectionId = null } = params;
  const contactIds = checkUuids('contactId', params.contactIds);
  if (fromConnectionId !== null) checkUuid({ field: 'fromConnectionId' }, fromConnectionId);
  if (toConnectionId !== null) checkUuid({ field: 'toConnectionId' }, toConnectionId);
  if (toConnectionId !== null && toConnectionId === fromConnectionId) {
    throw new CrmSchemaError(
      'invalid_input',
      'toConnectionId must be another connection than fromConnectionId.',
    );
  }
  const recorded = await queries.outboundChangeRecord.run(
    { organisationId, contactIds, fromConnectionId, toConnectionId },
    client,
  );
  // Otherwise the change would be recorded nowhere, and nothing would say so.
  if (toConnectionId !== null && contactIds.length > 0 && recorded.length === 0) throw connectionNotLive();
  return recorded;
}

/** The parameters of {@link outboundChangeClaim}. */
export interface OutboundChangeClaimParams extends RunKey {
  /** The maximum number of contacts: 1 to 1,000; defaults to 100. */
  limit?: number | undefined;
}

/**
 * Claims contacts to push to a connection's CRM, longest waiting first, for the worker that holds its run.
 * Claiming postpones the next attempt. Record the outcome of each push with `syncBatchRecord`, with its
 * version.
 *
 * If the call returns `limit` contacts, more may be waiting: finish the run with `hasMore`, so that other
 * connections are synced first.
 *
 * @throws CrmSchemaError `lease_lost`, `invalid_input`
 *
 * @example
 * ```ts
 * import { type BatchEvent, outboundChangeClaim, type RunKey, syncBatchRecord } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Pushes the contacts that have waited for longest. `push` returns the CRM's id of the record.
 * export async function pushNext(pool: pg.Pool, run: RunKey, push: (contactId: string) => Promise<string>) {
 *   const record = { direction: 'outbound', entityType: 'contact', status: 'success', linksContact: true } as const;
 *   const events: BatchEvent[] = [];
 *   for (const { contactId, version } of await outboundChangeClaim(pool, { ...run, limit: 20 })) {
 *     events.push({ ...record, externalId: await push(contactId), internalId: contactId, changeVersion: version });
 *   }
 *   await syncBatchRecord(pool, { ...run, batchNumber: 1, events });
 * }
 * ```
 */
export async function outboundChangeClaim(
  client: Queryable,
  params: OutboundChangeClaimParams,
): Promise<ClaimedChange[]> {
  checkRunKey(params);
  const { limit = 100 } = params;
  checkLimit(limit);
  const rows = await queries.outboundChangeClaim.run({ ...params, limit }, client);
  if (rows.length === 0) throw leaseLost();
  return rows.filter(({ contactId }) => contactId !== null) as unknown as ClaimedChange[];
}

/** The parameters of {@link outboundChangeListWaiting}. */
export interface OutboundChangeListWaitingParams extends ConnectionKey {
  /** The contacts' UUIDs. */
  contactIds: readonly string[];
}

/** A contact that is not pushed yet. */
export interface WaitingChange extends queries.OutboundChangeListWaitingResult {
  /** NurtureHub's contact: a UUID. */
  contactId: string;
  /** The version of the change that waits, a bigint as text; null if none does, and its push has failed. */
  changeVersion: string | null;
  /** Whether its push has failed: it is tried again, or was given up. */
  hasFailed: boolean;
  /** Whether a person has to decide first whose edit counts (`conflictWinner`: `person`): do not push it until then. */
  isUndecided: boolean;
  /**
   * Whether a person has taken the CRM's value by dismissing an earlier push (`syncFailureDismiss`), and it has not been
   * read since: the edit that waits is a conflict with it.
   */
  awaitsTheirs: boolean;
}

/**
 * Lists which of the given contacts are not pushed yet to a connection's CRM, including those whose push failed,
 * also for good: until it succeeds, or a person dismisses the failure (`syncFailureDismiss`). A worker that wrote
 * the CRM's data over theirs would undo a change that is still waiting. Lock the contacts before this call,
 * at READ COMMITTED: at another isolation level, it would not see what was recorded since the transaction began, and is
 * refused (0A000).
 *
 * @throws CrmSchemaError `organisation_not_set`, `invalid_input`
 */
export async function outboundChangeListWaiting(
  client: Queryable,
  params: OutboundChangeListWaitingParams,
): Promise<WaitingChange[]> {
  checkConnectionKey(params);
  const { organisationId, connectionId } = params;
  const contactIds = checkUuids('contactId', params.contactIds);
  return queries.outboundChangeListWaiting.run({ organisationId, connectionId, contactIds }, client);
}

/**
 * Makes connections due that have new changes to push, across all organisations. Drops what has waited for a
 * disconnected CRM for more than 90 days, at most a thousand changes of each of ten connections at a time.
 * `syncRunClaim` already calls this.
 *
 * @returns the number of changes processed
 * @throws CrmSchemaError `invalid_input`
 */
export async function outboundChangeAnnounce(
  client: Queryable,
  params: {
    /** The maximum number of connections: 1 to 1,000; defaults to 100. */
    limit?: number | undefined;
  } = {},
): Promise<{
  /** The number of changes processed. */
  announced: number;
}> {
  checkParameter('params', params);
  const { limit = 100 } = params;
  checkLimit(limit);
  const [row] = await queries.outboundChangeAnnounce.run({ limit }, client);
  return row as queries.OutboundChangeAnnounceResult;
}
