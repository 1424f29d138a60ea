import * as queries from '../generated/crm_sync_log.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type {
  Provider,
  SyncDirection,
  SyncError,
  SyncErrorKind,
  SyncStatus,
  Timestamp,
  TimestampInput,
} from '../types.js';
import { checkBatch, checkLimit, checkUuid, refuse } from '../validation.js';
import { eventColumns, type SyncEvent } from './events.js';

/** One sync operation, as recorded: a failure says why, and nothing else does. */
export type SyncLogEntry = SyncLogFailure | SyncLogSuccess;

/** One sync operation that concerned a contact, and the CRM that it was with. */
export type ContactSyncLogEntry = SyncLogEntry & {
  /** Which CRM. */
  provider: Provider;
};

/** One sync operation that did not fail, as recorded. `id` is a bigint, as text. */
export interface SyncLogSuccess
  extends NarrowedRow<
    queries.SyncLogListByConnectionResult,
    { direction: SyncDirection; status: Exclude<SyncStatus, 'error'>; error: null }
  > {}

/** One failed sync operation, as recorded. `id` is a bigint, as text. */
export interface SyncLogFailure
  extends NarrowedRow<
    queries.SyncLogListFailuresResult,
    { direction: SyncDirection; status: 'error'; error: SyncError }
  > {}

/** How often a kind of error happened, and when last. */
export interface SyncErrorCount extends queries.SyncLogCountErrorsByKindResult {
  /** The kind of error. */
  kind: SyncErrorKind;
  /** How often it happened. */
  count: number;
  /** When it happened last. */
  lastAt: Timestamp;
}

/** Which page of a timeline: the newest, or the one before an entry. */
export interface Page {
  /** The last entry of the page that was read last; null, or not given, for the newest page. */
  before?: Pick<SyncLogEntry, 'occurredAt' | 'id'> | null | undefined;
  /** At most how many entries: 1 to 1,000; 50 if not given. */
  limit?: number | undefined;
}

/** What {@link syncLogRecord} takes. */
export interface SyncLogRecordParams extends ConnectionKey {
  /** What happened: up to some thousands. */
  events: readonly SyncEvent[];
}

/**
 * Records what happened in a sync: the events of one connection, all or none, in one statement.
 *
 * @returns how many were recorded
 * @throws CrmSchemaError `invalid_input` with the event's `rowIndex`; `wrong_tenant` if the
 *   organisation has no such connection
 */
export async function syncLogRecord(
  client: Queryable,
  params: SyncLogRecordParams,
): Promise<{
  /** How many were recorded. */
  recorded: number;
}> {
  const { organisationId, connectionId } = params;
  checkConnectionKey(params);
  const columns = eventColumns(checkBatch('events', params.events));
  const [row] = await queries.syncLogRecord.run({ organisationId, connectionId, ...columns }, client);
  return row as queries.SyncLogRecordResult;
}

/**
 * The timeline of a connection, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogListByConnection(
  client: Queryable,
  params: ConnectionKey & Page,
): Promise<SyncLogEntry[]> {
  checkUuid({ field: 'connectionId' }, params.connectionId);
  const rows = await queries.syncLogListByConnection.run({ ...params, ...page(params) }, client);
  return rows as unknown as SyncLogEntry[];
}

/** What {@link syncLogListByContact} takes. */
export interface SyncLogListByContactParams extends Page {
  /** Whose the contact is: a UUID. */
  organisationId: string;
  /** A UUID. */
  contactId: string;
}

/**
 * The timeline of a contact across all CRMs, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogListByContact(
  client: Queryable,
  params: SyncLogListByContactParams,
): Promise<ContactSyncLogEntry[]> {
  checkUuid({ field: 'contactId' }, params.contactId);
  const rows = await queries.syncLogListByContact.run({ ...params, ...page(params) }, client);
  return rows as unknown as ContactSyncLogEntry[];
}

/**
 * The failures of a connection, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogListFailures(
  client: Queryable,
  params: ConnectionKey & Page,
): Promise<SyncLogFailure[]> {
  checkUuid({ field: 'connectionId' }, params.connectionId);
  const rows = await queries.syncLogListFailures.run({ ...params, ...page(params) }, client);
  return rows as unknown as SyncLogFailure[];
}

/** What {@link syncLogCountErrorsByKind} takes. */
export interface SyncLogCountErrorsByKindParams extends ConnectionKey {
  /** From when errors are counted. */
  since: TimestampInput;
}

/**
 * How often a connection failed since a time, by the error's kind, most frequent first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogCountErrorsByKind(
  client: Queryable,
  params: SyncLogCountErrorsByKindParams,
): Promise<SyncErrorCount[]> {
  checkConnectionKey(params);
  const since = timestampParameter({ field: 'since' }, params.since);
  const rows = await queries.syncLogCountErrorsByKind.run({ ...params, since }, client);
  return rows as SyncErrorCount[];
}

/** Checks a page and gives it the form that the queries take. */
function page({ organisationId, before, limit = 50 }: Page & { organisationId: string }) {
  checkUuid({ field: 'organisationId' }, organisationId);
  checkLimit(limit);
  if (before == null) return { limit, beforeOccurredAt: null, beforeId: null };
  if (typeof before.id !== 'string' || !/^-?\d{1,18}$/.test(before.id)) {
    refuse({ field: 'before.id' }, 'has to be the id of a log entry, as text');
  }
  return {
    limit,
    beforeOccurredAt: timestampParameter({ field: 'before.occurredAt' }, before.occurredAt),
    beforeId: before.id,
  };
}
