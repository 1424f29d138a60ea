import {
  type Crm,
  type CrmContact,
  CrmError,
  type CrmPage,
  type CrmPosition,
  type CrmRecord,
} from '../../../examples/crm.js';
import { canonicalTimestamp, type Timestamp } from '../../../src/index.js';

// One adapter for each CRM. Where one reads by time, `from` is taken to the letter and inclusive, and the
// next position is a time of the CRM's own that never says more than was read, but for changes that show
// late: for those the caller goes back a little whenever a new sync begins. It needs not go back by as long
// as a pass may take: what shows behind a reader in the middle of a pass is later than when the pass began.

/** How an update ended. */
export type Updated = { status: number };

/** What `Crm.write` is made of. */
export interface Writes {
  /** With status 404 if the record is gone. */
  update(externalId: string, contact: CrmContact): Promise<Updated>;
  /** The record with our reference, where the CRM would create a second one. */
  find?(contact: CrmContact): Promise<string | undefined>;
  /** The new record's id, or that of the record that was there. */
  create(contact: CrmContact): Promise<string | { existing: string }>;
}

/** A create may be the repetition of one whose answer was lost: the record that is there is updated. */
export function writer({ update, find, create }: Writes): Crm['write'] {
  return async (contact, linked) => {
    const known = linked?.externalId ?? (await find?.(contact));
    const created = known === undefined ? await create(contact) : { existing: known };
    if (typeof created === 'string') return { entityType: 'contact', externalId: created };
    const { status } = await update(created.existing, contact);
    return status === 404 ? null : { entityType: 'contact', externalId: created.existing };
  };
}

export function active(
  entityType: string,
  externalId: string,
  name: string,
  reference: string | null,
): CrmRecord {
  return { entityType, externalId, name, reference, state: 'active', mergedInto: null };
}

export function page(records: CrmRecord[], next: CrmPosition, isLast: boolean): CrmPage {
  return { records, next, isLast };
}

export function pathOf(paths: Record<string, string>, entityType: string): string {
  const path = paths[entityType];
  if (path !== undefined) return path;
  throw new CrmError('validation', 'The CRM has no such kind of record.', { retryable: false });
}

/** A record's own time as it is kept: cut, never rounded up. */
export function modifiedIn(found: { modified?: string; attributes?: { updated_at: string } }): Timestamp {
  return canonicalTimestamp(found.modified ?? found.attributes?.updated_at ?? '');
}

/** A pass over pages, oldest change first: it travels in the token from page to page. */
export interface Pass {
  /** From where it reads: as `from` said, null for everything. */
  since: Timestamp | null;
  /** When it began, by the CRM's clock: `Date` of its first page, which is cut to a second, or the latest there. */
  begun: Timestamp;
}

/** Up to when all is read: the latest change that was seen, but not later than when the pass began. */
export function reached({ since, begun }: Pass, times: readonly (string | null)[]): Timestamp {
  const [earlier] = [greatest(times) ?? begun, begun].sort();
  return greatest([since, earlier]) as Timestamp;
}

/** The latest of some times, of which some may be none. */
export function greatest(times: readonly (string | null | undefined)[]): Timestamp | undefined {
  return times
    .filter((time) => time != null)
    .map(canonicalTimestamp)
    .sort()
    .at(-1);
}

/** The id at the end of `Location`: all that tells which record it is. */
export function idIn(headers: Headers): string {
  const id = headers.get('location')?.split('/').at(-1);
  if (id) return decodeURIComponent(id);
  throw new CrmError('provider', 'The CRM does not say which record it is.', { retryable: true });
}
