import type { Random } from '../random.js';
import type { SimulatedPerson, SimulatedRecord } from '../store.js';
import { type Call, check } from './dialect.js';

/** What the simulated Reapit has of a person besides the fields that sync: `own` of a record. */
export interface ReapitOwn {
  /** If they are not the name any more, because the agency has edited it, its last word is the surname. */
  forename?: string | null;
  surname?: string | null;
  homePhone?: string | null;
  workPhone?: string | null;
  /** What was stored with the contact besides our reference. */
  metadata?: Record<string, unknown>;
  /** Whether it has no modified time. A write gives it one. */
  isUntimed?: boolean;
}

const ownOf = ({ own }: SimulatedPerson) => (own ?? {}) as ReapitOwn;

export function isShown({ state }: SimulatedRecord): boolean {
  return state === 'active' || state === 'archived';
}

export function isUntimed(record: SimulatedRecord): boolean {
  return ownOf(record).isUntimed === true;
}

/** A contact as lists and single requests show it. */
export function shown(record: SimulatedRecord, random: Random) {
  const { homePhone = null, workPhone = null, metadata } = ownOf(record);
  // A precision of 100 nanoseconds, and sometimes no zone.
  const time = record.modifiedAt.replace('Z', random() < 0.3 ? '7' : '7Z');
  return {
    id: record.externalId,
    ...(isUntimed(record) ? {} : { modified: time }),
    ...namesOf(record),
    email: record.email ?? null,
    mobilePhone: record.phone ?? null,
    homePhone,
    workPhone,
    fromArchive: record.state === 'archived',
    archivedOn: record.state === 'archived' ? time : null,
    metadata: { ...metadata, ...(record.reference === null ? {} : { reference: record.reference }) },
    _eTag: record.version,
  };
}

function namesOf(record: SimulatedPerson): { forename: string | null; surname: string } {
  const { forename = null, surname } = ownOf(record);
  if (surname && joined(forename, surname) === record.name) return { forename, surname };
  const words = record.name.split(' ');
  return { surname: words.pop() as string, forename: words.join(' ') || null };
}

/** The person that a creation or an update makes. Null leaves a field as it is, and empty text empties it. */
export function sent(body: Call['body'], before?: SimulatedRecord): SimulatedPerson {
  const names = before && namesOf(before);
  const text = (field: string, known: string | null = null): string | null => {
    const value = body[field] ?? known;
    check(value === null || typeof value === 'string', 422, `${field} must be text.`);
    return (value as string | null)?.trim() || null;
  };
  const [forename, surname] = [text('forename', names?.forename), text('surname', names?.surname)];
  check(surname !== null, 422, 'surname is required.');
  const own = before && ownOf(before);
  const { reference: _, ...metadata } = (body.metadata ?? own?.metadata ?? {}) as Record<string, unknown>;
  const ownNow: ReapitOwn = {
    forename,
    surname,
    homePhone: text('homePhone', own?.homePhone),
    workPhone: text('workPhone', own?.workPhone),
    metadata,
  };
  return {
    name: joined(forename, surname as string),
    email: text('email', before?.email),
    phone: text('mobilePhone', before?.phone),
    own: { ...ownNow },
  };
}

function joined(forename: string | null, surname: string): string {
  return [forename, surname].filter(Boolean).join(' ');
}
