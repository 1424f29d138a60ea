import { timeInFuture } from '../errors.js';
import * as queries from '../generated/crm_sync_log.js';
import { type ConnectionKey, checkConnectionKey, checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { Provider, SyncDirection, SyncError, SyncSkipReason, SyncStatus } from '../types.js';
import { checkBatch, checkLimit, checkUuid, refuse } from '../validation.js';
import { eventColumns, type SyncEvent } from './events.js';

/** One recorded sync operation. Only a failure has an error. */
export type SyncLogEntry = SyncLogFailure | SyncLogSuccess;

/** One recorded sync operation of a contact, with its CRM. */
export type ContactSyncLogEntry = SyncLogEntry & {
  /** The CRM. */
  provider: Provider;
};

/** One recorded sync operation that did not fail. `id` is a bigint, as text. */
export interface SyncLogSuccess
  extends NarrowedRow<
    queries.SyncLogListByConnectionResult,
    {
      direction: SyncDirection;
      status: Exclude<SyncStatus, 'error'>;
      error: null;
      reason: SyncSkipReason | null;
    }
  > {}

/** One recorded sync operation that failed. `id` is a bigint, as text. */
export interface SyncLogFailure
  extends NarrowedRow<
    queries.SyncLogListFailuresResult,
    { direction: SyncDirection; status: 'error'; error: SyncError }
  > {
  /** Null or absent: only what was skipped may have a reason. */
  reason?: null | undefined;
}

/** A page of a timeline: the newest, or the one before an entry. */
export interface Page {
  /** The last entry of the previous page; null or omitted for the newest page. */
  before?: Pick<SyncLogEntry, 'occurredAt' | 'id'> | null | undefined;
  /** The maximum number of entries: 1 to 1,000; defaults to 50. */
  limit?: number | undefined;
}

/** The parameters of {@link syncLogRecord}. */
export interface SyncLogRecordParams extends ConnectionKey {
  /** What happened: up to a few thousand events. */
  events: readonly SyncEvent[];
}

/**
 * Adds events of one connection to the log, all or nothing, in one statement. Workers call `syncBatchRecord`
 * instead; this function is for importing directly, without a worker run.
 *
 * @returns the number of recorded events
 * @throws CrmSchemaError `invalid_input` with the event's `rowIndex`; `time_in_future`, likewise, if the event occurred
 *   more than a day after the database's clock; `wrong_tenant` if the organisation has no such connection
 * @throws Error of the server: 0A000 unless at READ COMMITTED
 *
 * @example
 * ```ts
 * import { type ConnectionKey, syncLogRecord } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Logs a page that a program without workers has read.
 * export async function logPage(client: pg.ClientBase, connection: ConnectionKey) {
 *   const record = { direction: 'inbound', entityType: 'contact' } as const;
 *   const error = { kind: 'validation', retryable: false, message: 'It has no name.' } as const;
 *   await syncLogRecord(client, {
 *     ...connection,
 *     events: [
 *       { ...record, externalId: 'OXF18000001', status: 'success' },
 *       { ...record, externalId: 'OXF18000002', status: 'error', error },
 *     ],
 *   });
 * }
 * ```
 */
export async function syncLogRecord(
  client: Queryable,
  params: SyncLogRecordParams,
): Promise<{
  /** The number of recorded events. */
  recorded: number;
}> {
  checkConnectionKey(params);
  const { organisationId, connectionId } = params;
  const columns = eventColumns(checkBatch('events', params.events));
  const [row] = await queries.syncLogRecord.run({ organisationId, connectionId, ...columns }, client);
  const { recorded, inFuture } = row as queries.SyncLogRecordResult;
  if (inFuture !== null) throw timeInFuture('occurredAt', { rowIndex: inFuture - 1 });
  return { recorded };
}

/**
 * Lists the events of a connection, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogListByConnection(
  client: Queryable,
  params: ConnectionKey & Page,
): Promise<SyncLogEntry[]> {
  checkConnectionKey(params);
  const rows = await queries.syncLogListByConnection.run({ ...params, ...pageParameters(params) }, client);
  return rows as unknown as SyncLogEntry[];
}

/** The parameters of {@link syncLogListByContact}. */
export interface SyncLogListByContactParams extends Page {
  /** The organisation's UUID. */
  organisationId: string;
  /** The contact's UUID. */
  contactId: string;
}

/**
 * Lists the events of a contact across all CRMs, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogListByContact(
  client: Queryable,
  params: SyncLogListByContactParams,
): Promise<ContactSyncLogEntry[]> {
  checkOrganisation(params);
  checkUuid({ field: 'contactId' }, params.contactId);
  const rows = await queries.syncLogListByContact.run({ ...params, ...pageParameters(params) }, client);
  return rows as unknown as ContactSyncLogEntry[];
}

/**
 * Lists the failed events of a connection, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogListFailures(
  client: Queryable,
  params: ConnectionKey & Page,
): Promise<SyncLogFailure[]> {
  checkConnectionKey(params);
  const rows = await queries.syncLogListFailures.run({ ...params, ...pageParameters(params) }, client);
  return rows as unknown as SyncLogFailure[];
}

/** Checks a page, and converts it to the queries' parameters. */
function pageParameters({ organisationId, before, limit = 50 }: Page & { organisationId: string }) {
  checkUuid({ field: 'organisationId' }, organisationId);
  checkLimit(limit);
  if (before == null) return { limit, beforeOccurredAt: null, beforeId: null };
  if (typeof before.id !== 'string' || !/^-?\d{1,18}$/.test(before.id)) {
    refuse({ field: 'before.id' }, 'must be the id of a log entry, as text');
  }
  return {
    limit,
    beforeOccurredAt: timestampParameter({ field: 'before.occurredAt' }, before.occurredAt),
    beforeId: before.id,
  };
}
