import { timestampParameter } from '../timestamps.js';
import {
  type Json,
  type SyncDirection,
  type SyncError,
  syncDirections,
  syncStatuses,
  type Timestamp,
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

/** What is recorded of a sync operation, however it ended. */
export interface SyncEventFields {
  /** Which way the record went: `inbound` is from the CRM, `outbound` to it. */
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

/** How a sync operation ended: a failure says why, and nothing else does. */
export type SyncEventEnd =
  | {
      /** It failed. */
      status: 'error';
      /** Why. */
      error: SyncError;
    }
  | {
      /** `success`: both sides agree. `skipped`: nothing had to change. */
      status: 'success' | 'skipped';
      /** None. */
      error?: null | undefined;
    };

/** One sync operation, to be recorded. */
export type SyncEvent = SyncEventFields & SyncEventEnd;

/** The fields of an event, for {@link fieldsOf}. */
export const eventFieldNames = {
  direction: true,
  entityType: true,
  externalId: true,
  internalId: true,
  occurredAt: true,
  status: true,
  error: true,
} as const;

const eventFields = fieldsOf<SyncEvent>(eventFieldNames);

/**
 * Checks events and turns rows to columns, as `unnest` takes them.
 *
 * @param fields that an event may have
 */
export function eventColumns(events: readonly SyncEvent[], fields = eventFields) {
  const errors = events.map((event, rowIndex) => checkEvent(event, rowIndex, fields));
  // pgtyped types the elements of array parameters as never null.
  return {
    occurredAts: events.map(({ occurredAt }, rowIndex) =>
      occurredAt == null ? null : timestampParameter({ field: 'occurredAt', rowIndex }, occurredAt),
    ) as Timestamp[],
    directions: events.map(({ direction }) => direction as string),
    entityTypes: events.map(({ entityType }) => entityType),
    externalIds: events.map(({ externalId }) => externalId ?? null) as string[],
    internalIds: events.map(({ internalId }) => internalId ?? null) as string[],
    statuses: events.map(({ status }) => status as string),
    errors: errors as unknown as Json[],
  };
}

/** Returns the event's error, as a plain object. */
function checkEvent(
  event: { [Field in keyof SyncEvent]?: unknown },
  rowIndex: number,
  fields: ReadonlySet<string>,
): SyncError | null {
  const at = (field: string): InputLocation => ({ field, rowIndex });
  checkObject(at('event'), event);
  checkFields(at('event'), event, fields);
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
