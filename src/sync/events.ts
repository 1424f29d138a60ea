import type { SyncLogRecordParams } from '../generated/crm_sync_log.js';
import { timestampParameter } from '../timestamps.js';
import {
  type Json,
  type SyncDirection,
  type SyncError,
  type SyncSkipReason,
  syncDirections,
  syncSkipReasons,
  syncStatuses,
  type TimestampInput,
} from '../types.js';
import {
  checkEntityType,
  checkExternalId,
  checkFields,
  checkObject,
  checkOneOf,
  checkSyncError,
  checkUuid,
  fieldsOf,
  type InputLocation,
  refuse,
} from '../validation.js';

/** What is recorded about a sync operation, whatever its outcome. */
export interface SyncEventFields {
  /** Which way the record went: `inbound` is from the CRM, `outbound` to it. */
  direction: SyncDirection;
  /** The kind of record, in lower snake case: `contact`, `landlord`, `applicant` … */
  entityType: string;
  /** The record's id at the CRM; null if it has none: a failed create, or an error of the whole account. */
  externalId?: string | null | undefined;
  /** NurtureHub's own id for the record: for people, the contact's id. */
  internalId?: string | null | undefined;
  /** When the operation ended; defaults to the database's current time. */
  occurredAt?: TimestampInput | null | undefined;
}

/** How a sync operation ended. A failure has an error, and only what was skipped may have a reason. */
export type SyncEventEnd =
  | {
      /** The operation failed. */
      status: 'error';
      /** Why it failed. */
      error: SyncError;
      /** Null or omitted. */
      reason?: null | undefined;
    }
  | {
      /** Both sides agree. */
      status: 'success';
      /** Null or omitted. */
      error?: null | undefined;
      /** Null or omitted. */
      reason?: null | undefined;
    }
  | {
      /** Nothing had to change. */
      status: 'skipped';
      /** Null or omitted. */
      error?: null | undefined;
      /** Why it was skipped; null or omitted if no reason applies. */
      reason?: SyncSkipReason | null | undefined;
    };

/** One sync operation to record. */
export type SyncEvent = SyncEventFields & SyncEventEnd;

/** The fields of an event, for {@link fieldsOf}. */
export const eventFields = {
  direction: true,
  entityType: true,
  externalId: true,
  internalId: true,
  occurredAt: true,
  status: true,
  error: true,
  reason: true,
} as const;

const logEventFieldNames = fieldsOf<SyncEvent>(eventFields);

/** Events as columns, which is how `unnest` takes them. */
export type EventColumns = Pick<
  SyncLogRecordParams,
  | 'occurredAts'
  | 'directions'
  | 'entityTypes'
  | 'externalIds'
  | 'internalIds'
  | 'statuses'
  | 'errors'
  | 'reasons'
>;

/** Columns without any event yet. */
export function emptyEventColumns(): EventColumns {
  return {
    occurredAts: [],
    directions: [],
    entityTypes: [],
    externalIds: [],
    internalIds: [],
    statuses: [],
    errors: [],
    reasons: [],
  };
}

/** Checks events and turns them into columns. */
export function eventColumns(events: readonly SyncEvent[]): EventColumns {
  const columns = emptyEventColumns();
  events.forEach((event, rowIndex) => {
    appendEvent(columns, event, rowIndex, logEventFieldNames);
  });
  return columns;
}

/**
 * Checks one event and appends it to the columns.
 *
 * @param fields the fields that the event may have
 * @throws CrmSchemaError `invalid_input` with the event's `rowIndex`
 */
export function appendEvent(
  columns: EventColumns,
  event: SyncEvent,
  rowIndex: number,
  fields: ReadonlySet<string>,
): void {
  const error = checkEvent(event, rowIndex, fields);
  const { occurredAt } = event;
  columns.occurredAts.push(
    occurredAt == null ? null : timestampParameter({ field: 'occurredAt', rowIndex }, occurredAt),
  );
  columns.directions.push(event.direction);
  columns.entityTypes.push(event.entityType);
  columns.externalIds.push(event.externalId ?? null);
  columns.internalIds.push(event.internalId ?? null);
  columns.statuses.push(event.status);
  columns.errors.push(error as Json);
  columns.reasons.push(event.reason ?? null);
}

/** Checks one event, and returns its error as a plain object. */
function checkEvent(
  event: { [Field in keyof SyncEvent]?: unknown },
  rowIndex: number,
  fields: ReadonlySet<string>,
): SyncError | null {
  const locate = (field: string): InputLocation => ({ field, rowIndex });
  checkObject(locate('event'), event);
  checkFields(locate('event'), event, fields);
  checkOneOf(locate('direction'), event.direction, syncDirections);
  checkEntityType(locate('entityType'), event.entityType);
  if (event.externalId != null) checkExternalId(locate('externalId'), event.externalId);
  if (event.internalId != null) checkUuid(locate('internalId'), event.internalId);
  checkOneOf(locate('status'), event.status, syncStatuses);
  if (event.reason != null) {
    if (event.status !== 'skipped')
      refuse(locate('reason'), `is only allowed with status skipped, not ${event.status}`);
    checkOneOf(locate('reason'), event.reason, syncSkipReasons);
  }
  if (event.status === 'error') {
    if (event.error == null) refuse(locate('error'), 'is missing: an event with status error must have one');
    return checkSyncError(locate('error'), event.error);
  }
  if (event.error != null) refuse(locate('error'), `is only allowed with status error, not ${event.status}`);
  return null;
}
