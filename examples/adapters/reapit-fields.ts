// A person at Reapit and here: which field is which. To sync another field, add it to contact-fields.ts and here.
import { optionalTimestamp, type Timestamp } from '@nurturehub/crm-schema';
import type { ContactFields } from '../contact-fields.js';
import type { CrmContact, CrmRecord } from '../crm.js';

/** What the adapter reads of a contact. Reapit may leave out or empty any of it but the id. */
export interface ReapitContact {
  id: string;
  forename?: string | null;
  surname?: string | null;
  email?: string | null;
  /** The phone that syncs. `homePhone` and `workPhone` are neither read nor written. */
  mobilePhone?: string | null;
  fromArchive?: boolean | null;
  /** With up to seven digits of a second, in UTC, sometimes without saying so. */
  modified?: string | null;
  /** What our app has stored with the contact; other apps do not see it. */
  metadata?: Record<string, unknown> | null;
  /** With its quotes. */
  _eTag?: string | null;
}

/** What the adapter writes. What is left out of an update stays as it is; empty text, not null, empties a field. */
interface ReapitFields {
  forename?: string;
  surname?: string;
  email?: string;
  mobilePhone?: string;
  metadata?: Record<string, unknown>;
}

export function recordOf(entityType: string, found: ReapitContact): CrmRecord {
  const reference = found.metadata?.reference;
  return {
    entityType,
    externalId: found.id,
    name: nameOf(found),
    ...filled('email', found.email),
    ...filled('phone', found.mobilePhone),
    reference: typeof reference === 'string' ? reference : null,
    state: found.fromArchive === true ? 'archived' : 'active',
    mergedInto: null,
    version: found._eTag ?? null,
    modifiedAt: modifiedIn(found),
  };
}

/** When a contact was last modified; null if Reapit does not say. Never rounded up. */
export function modifiedIn({ modified }: ReapitContact): Timestamp | null {
  try {
    return optionalTimestamp(modified, { timeZone: 'UTC' });
  } catch {
    return null;
  }
}

/** What to write so that `found` becomes `contact`, or to create it if there is none. */
export function changesTo(found: ReapitContact | null, contact: CrmContact): ReapitFields {
  const reference = contact.contactId;
  return {
    // A name that stays is not written: where it ends its forename is the agency's.
    ...(found !== null && nameOf(found) === contact.name ? {} : namesIn(contact.name, found)),
    ...(contact.email === undefined ? {} : { email: contact.email ?? '' }),
    ...(contact.phone === undefined ? {} : { mobilePhone: contact.phone ?? '' }),
    ...(found?.metadata?.reference === reference ? {} : { metadata: { ...found?.metadata, reference } }),
  };
}

function nameOf({ forename, surname }: ReapitContact): string {
  return [forename, surname]
    .map((part) => part?.trim())
    .filter(Boolean)
    .join(' ');
}

/**
 * A name's forename and surname. The surname that the contact has stays together, such as `van der Sprat`; otherwise it
 * is the last word. A name of one word is a surname, which Reapit requires.
 */
function namesIn(name: string, found: ReapitContact | null): { forename: string; surname: string } {
  const words = name.trim().split(/\s+/);
  const known = found?.surname?.trim().split(/\s+/) ?? [];
  const same = words.slice(-known.length).join(' ').toLowerCase() === known.join(' ').toLowerCase();
  const surnameWords = same && known.length > 0 ? known.length : 1;
  return {
    forename: words.slice(0, -surnameWords).join(' '),
    surname: words.slice(-surnameWords).join(' '),
  };
}

/** Left out if Reapit leaves it out. */
function filled(field: keyof ContactFields, text: string | null | undefined): Partial<ContactFields> {
  return text === undefined ? {} : { [field]: text?.trim() || null };
}
