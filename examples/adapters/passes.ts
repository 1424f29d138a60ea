import { canonicalTimestamp, type Timestamp } from '@nurturehub/crm-schema';
import { type ContactFields, fieldsOf } from '../contact-fields.js';
import {
  type Crm,
  type CrmContact,
  CrmError,
  type CrmPage,
  type CrmPosition,
  type CrmRecord,
  type LinkedRecord,
} from '../crm.js';
import { unexpected } from './answers.js';

// One adapter per CRM. Adapters that read by time take `changedSince` exactly and inclusively, and return a time of
// the CRM's own clock as `syncedTo`, which never goes beyond what was read. Changes that appear late are the exception:
// for those, the caller goes back a little at the start of each pass. It need not go back by the duration of a pass: a
// change that appears behind the reader during a pass is later than the pass's start.

/** The operations that make up `Crm.write`. */
export interface Writes {
  /** Updates a record and returns it as the CRM now holds it; null if the CRM answers 404. */
  update(record: LinkedRecord, contact: CrmContact): Promise<CrmRecord | null>;
  /** Finds the record with our reference, if the CRM would otherwise create a second one. */
  find?(contact: CrmContact): Promise<string | undefined>;
  /** Creates a record and returns it as the CRM now holds it, or the id of an existing one. */
  create(contact: CrmContact): Promise<CrmRecord | { existing: string }>;
}

/** A create may repeat one whose answer was lost, in which case it finds the existing record. */
export function writer({ update, find, create }: Writes): Crm['write'] {
  return async (contact, linked) => {
    if (linked !== null) return update(linked, contact);
    const found = await find?.(contact);
    const created = found === undefined ? await create(contact) : { existing: found };
    if (!('existing' in created)) return created;
    return { existing: { entityType: 'contact', externalId: created.existing } };
  };
}

/** A record as it was sent, for a CRM that does not answer with it. */
export function asSent(externalId: string, contact: CrmContact, entityType = 'contact'): CrmRecord {
  return active(entityType, externalId, contact, contact.contactId);
}

/** @param modifiedAt as `modifiedIn` gives it, if the CRM says it */
export function active(
  entityType: string,
  externalId: string,
  fields: ContactFields,
  reference: string | null,
  modifiedAt?: Timestamp,
): CrmRecord {
  const record = { entityType, externalId, ...fieldsOf(fields), reference, mergedInto: null };
  return { ...record, state: 'active', ...(modifiedAt === undefined ? {} : { modifiedAt }) };
}

/**
 * The pass that a page belongs to: a new one, or the one that its token carries.
 *
 * @param begin makes a new pass, with each field that all passes have: a token without one of them is foreign
 * @throws CrmError with `isPositionLost` if the token is foreign: the pass begins again
 */
export function passOf<Pass>(from: CrmPosition, begin: (changedSince: Timestamp | null) => Pass): Pass {
  if (!('token' in from)) return begin(from.changedSince);
  const pass = parsed(from.token);
  // A token of another version of the adapter may be JSON as well.
  if (Object.keys(parsed(JSON.stringify(begin(null)))).every((name) => name in pass)) return pass as Pass;
  throw positionLost();
}

function parsed(token: string): object {
  try {
    return Object(JSON.parse(token));
  } catch {
    throw positionLost();
  }
}

function positionLost(): CrmError {
  const problem = 'The position is not one of this adapter.';
  return new CrmError('provider', problem, { retryable: true, isPositionLost: true });
}

/** A page with others after it. */
export function pageOf(records: CrmRecord[], pass: object): CrmPage {
  return { records, isLast: false, next: JSON.stringify(pass) };
}

/** The last page of a pass, after which the next one begins by time. */
export function lastPage(records: CrmRecord[], syncedTo: Timestamp): CrmPage {
  return { records, isLast: true, next: null, syncedTo };
}

export function pathOf(paths: Record<string, string>, entityType: string): string {
  const path = paths[entityType];
  if (path !== undefined) return path;
  throw new CrmError('validation', 'The CRM does not have this type of record.', { retryable: false });
}

/**
 * A record's modified time as we store it: truncated, never rounded up.
 *
 * @throws CrmError if it has none
 */
export function modifiedIn(found: {
  modified?: string | null;
  attributes?: { updated_at: string | null };
}): Timestamp {
  const time = found.modified ?? found.attributes?.updated_at ?? '';
  try {
    return canonicalTimestamp(time, { timeZone: 'UTC' });
  } catch {
    throw unexpected();
  }
}

/** A pass over pages, oldest change first. The token carries it from page to page. */
export interface Pass {
  /** Where the pass starts: `changedSince`; null for everything. */
  since: Timestamp | null;
  /**
   * When the pass began, by the CRM's clock: the `Date` of its first page, which has whole seconds, or the latest change
   * on that page if that is later. Null before the first page.
   */
  begun: Timestamp | null;
}

/** The time up to which everything is read: the latest change seen, but not later than the pass's start. */
export function reached(
  { since, begun }: Pass & { begun: Timestamp },
  times: readonly (string | null | undefined)[],
): Timestamp {
  const [earlier] = [greatest(times) ?? begun, begun].sort();
  return greatest([since, earlier]) as Timestamp;
}

/** The latest of some times, ignoring missing ones. */
export function greatest(times: readonly (string | null | undefined)[]): Timestamp | undefined {
  return times
    .filter((time) => time != null)
    .map((time) => canonicalTimestamp(time, { timeZone: 'UTC' }))
    .sort()
    .at(-1);
}

/** The id at the end of `Location`, the only place where the CRM names the record. */
export function idIn(headers: Headers): string {
  const [path = ''] = (headers.get('location') ?? '').split(/[?#]/);
  const id = path.split('/').filter(Boolean).at(-1);
  if (id) return decodeURIComponent(id);
  throw new CrmError('provider', 'The CRM does not name the record.', { retryable: true });
}
