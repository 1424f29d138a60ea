import type { ConnectionKey } from './connections.js';
import * as queries from './generated/crm_sync_log.js';
import type { Queryable } from './prepared-query.js';
import type { Refined } from './refined.js';
import { timestampParameter } from './timestamps.js';
import {
  type Provider,
  type SyncDirection,
  type SyncError,
  type SyncErrorKind,
  type SyncStatus,
  syncDirections,
  syncStatuses,
  type Timestamp,
  type TimestampInput,
} from './types.js';
import {
  checkBatch,
  checkConnectionKey,
  checkEntityType,
  checkExternalId,
  checkLimit,
  checkObject,
  checkOneOf,
  checkSyncError,
  checkUuid,
  type Place,
  refuse,
} from './validation.js';

interface SyncEventFields {
  direction: SyncDirection;
  /** What kind of record it was, in lower snake case: `contact`, `landlord`, `applicant` … */
  entityType: string;
  /** The record's id at the CRM; null where there is none: a failed create, an error of the account. */
  externalId?: string | null | undefined;
  /** NurtureHub's own id of the record: the contact's id for people. */
  internalId?: string | null | undefined;
  /** When the operation ended; the database's now if not given. */
  occurredAt?: TimestampInput | null | undefined;
}

/** One sync operation, to be recorded: a failure says why, and nothing else does. */
export type SyncEvent = SyncEventFields &
  ({ status: 'error'; error: SyncError } | { status: 'success' | 'skipped'; error?: null | undefined });

/** How a recorded operation ended: a failure says why, and nothing else does. */
type Outcome = { status: 'error'; error: SyncError } | { status: Exclude<SyncStatus, 'error'>; error: null };

/** One sync operation, as recorded. `id` is a bigint, as text. */
export type SyncLogEntry = Refined<
  Omit<queries.SyncLogListByConnectionResult, 'status' | 'error'>,
  { direction: SyncDirection }
> &
  Outcome;

/** One sync operation that concerned a contact, and the CRM that it was with. */
export type ContactSyncLogEntry = SyncLogEntry & { provider: Provider };

/** One failed sync operation, as recorded. */
export type SyncLogFailure = Refined<
  queries.SyncLogListFailuresResult,
  { direction: SyncDirection; status: 'error'; error: SyncError }
>;

/** How often a kind of error happened, and when last. */
export type SyncErrorCount = Refined<queries.SyncLogCountErrorsByKindResult, { kind: SyncErrorKind }>;

/** Which page of a timeline: the newest, or the one before an entry. */
export interface Page {
  /** The last entry of the page that was read last; none for the newest page. */
  before?: { occurredAt: Timestamp; id: string } | null | undefined;
  /** 1 to 1,000; 50 if not given. */
  limit?: number | undefined;
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
  params: ConnectionKey & { events: readonly SyncEvent[] },
): Promise<{ recorded: number }> {
  const { organisationId, connectionId } = params;
  checkConnectionKey(params);
  const events = checkBatch('events', params.events);
  const columns = {
    occurredAts: [] as (Timestamp | null)[],
    directions: [] as string[],
    entityTypes: [] as string[],
    externalIds: [] as (string | null)[],
    internalIds: [] as (string | null)[],
    statuses: [] as string[],
    errors: [] as (SyncError | null)[],
  };
  events.forEach((event, rowIndex) => {
    const error = checkEvent(event, rowIndex);
    columns.occurredAts.push(
      event.occurredAt == null
        ? null
        : timestampParameter({ field: 'occurredAt', rowIndex }, event.occurredAt),
    );
    columns.directions.push(event.direction);
    columns.entityTypes.push(event.entityType);
    columns.externalIds.push(event.externalId ?? null);
    columns.internalIds.push(event.internalId ?? null);
    columns.statuses.push(event.status);
    columns.errors.push(error);
  });
  // pgtyped types the elements of array parameters as never null.
  const arrays = columns as unknown as Omit<queries.SyncLogRecordParams, 'organisationId' | 'connectionId'>;
  const [row] = await queries.syncLogRecord.run({ organisationId, connectionId, ...arrays }, client);
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

/**
 * The timeline of a contact across all CRMs, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogListByContact(
  client: Queryable,
  params: { organisationId: string; contactId: string } & Page,
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

/**
 * How often a connection failed since a time, by the error's kind, most frequent first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogCountErrorsByKind(
  client: Queryable,
  params: ConnectionKey & { since: TimestampInput },
): Promise<SyncErrorCount[]> {
  checkConnectionKey(params);
  const since = timestampParameter({ field: 'since' }, params.since);
  const rows = await queries.syncLogCountErrorsByKind.run({ ...params, since }, client);
  return rows as SyncErrorCount[];
}

/** Returns the event's error, as a plain object. */
function checkEvent(event: { [Field in keyof SyncEvent]?: unknown }, rowIndex: number): SyncError | null {
  const at = (field: string): Place => ({ field, rowIndex });
  checkObject(at('event'), event);
  checkOneOf(at('direction'), event.direction, syncDirections);
  checkEntityType(at('entityType'), event.entityType);
  if (event.externalId != null) checkExternalId(at('externalId'), event.externalId);
  if (event.internalId != null) checkUuid(at('internalId'), event.internalId);
  checkOneOf(at('status'), event.status, syncStatuses);
  if (event.status === 'error') {
    if (event.error == null) refuse(at('error'), 'is missing: a failure says why');
    return checkSyncError(at('error'), event.error);
  }
  if (event.error != null) refuse(at('error'), `belongs to a failure alone, and status is ${event.status}`);
  return null;
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
