// Which contacts records mean that nobody has linked yet, by the references that they carry.
import {
  type ClaimedRun,
  contactIdentityChangeList,
  contactReferenceCheckMany,
  externalRecordCheckMany,
  type ReferenceMeaning,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { type ContactFields, hashOf, isSame } from './contact-fields.js';
import type { CrmRecord, CrmRecordKey } from './crm.js';
import { isKnownContent, uuidIn } from './records.js';

/**
 * What the references of records that nobody has linked say, by record: they carry one because we created them, and the
 * answers were lost. Call it with the lock of the ids.
 */
export async function meaningsOf(
  client: pg.ClientBase,
  run: ClaimedRun,
  records: readonly CrmRecord[],
): Promise<Map<CrmRecord, ReferenceMeaning>> {
  const named = records.flatMap((record) => {
    const { entityType, externalId } = record;
    const contactId = uuidIn(record.reference);
    return contactId === null ? [] : [{ record, entityType, externalId, contactId }];
  });
  if (named.length === 0) return new Map();
  const meanings = await contactReferenceCheckMany(client, { ...run, references: named });
  return new Map(named.map(({ record }, index) => [record, meanings[index] as ReferenceMeaning]));
}

/**
 * The contact that a reference names; `gone` if it was deleted; null if it names none, as the UUIDs of other programs
 * do.
 */
export function contactNamedBy(
  named: ReferenceMeaning | undefined,
  isContact: (contactId: string) => boolean,
): string | 'gone' | null {
  if (named === undefined || named.meaning === 'unlinked') return null;
  if (isContact(named.contactId)) return named.contactId;
  return named.meaning === 'contact' ? 'gone' : null;
}

/** A record that was a contact's. It may still carry its reference. */
interface FormerRecord extends CrmRecordKey {
  /** Whether the contact was deleted since; otherwise, the record was unlinked from it, or re-pointed. */
  isOfDeleted: boolean;
}

/**
 * The records at the CRM of a run that a contact without any had, and whether it was merged into another contact
 * although it is still there.
 */
export async function formerRecordsOf(
  client: pg.Pool | pg.ClientBase,
  { organisationId, provider }: Pick<ClaimedRun, 'organisationId' | 'provider'>,
  contactId: string,
): Promise<{ isMerged: boolean; taken: FormerRecord[] }> {
  const changes = await contactIdentityChangeList(client, { organisationId, contactId, limit: 1000 });
  const own = changes.filter(
    ({ fromContactId, undoneBy }) => fromContactId === contactId && undoneBy === null,
  );
  const taken = own.flatMap(({ kind, provider: takenAt, entityType, externalId }) =>
    ['unlinked', 'repointed', 'contact_deleted'].includes(kind) &&
    takenAt === provider &&
    entityType !== null &&
    externalId !== null
      ? [{ entityType, externalId, isOfDeleted: kind === 'contact_deleted' }]
      : [],
  );
  // The change of the merge itself, not of an id that it moved.
  const isMerged = own.some(({ kind, provider: of }) => kind === 'contacts_merged' && of === null);
  return { isMerged, taken };
}

/** Which linked records carry another contact's reference: they were taken from that contact, whose push wrote what is there. */
export async function withAnothersReference(
  client: pg.ClientBase,
  run: ClaimedRun,
  linked: { record: CrmRecord; contactId: string }[],
): Promise<Set<CrmRecord>> {
  const suspects = linked.filter(
    ({ record, contactId }) => ![null, contactId].includes(uuidIn(record.reference)),
  );
  const meanings = await meaningsOf(
    client,
    run,
    suspects.map(({ record }) => record),
  );
  // The reference of a contact that was merged into this one is its own.
  const isOwn = ({ record, contactId }: (typeof suspects)[number]) => {
    const named = meanings.get(record);
    return named?.meaning === 'contact' && named.contactId === contactId;
  };
  return new Set(suspects.filter((each) => !isOwn(each)).map(({ record }) => record));
}

/**
 * Which records' references the CRM may have copied with the rest of another record: the contact has a record already,
 * which says something else, and another name.
 *
 * @param unlinked records that nobody has linked, and what their references name
 */
export async function withCopiedReference(
  client: pg.ClientBase,
  run: ClaimedRun,
  unlinked: { record: CrmRecord; contact: ContactFields | undefined; others: CrmRecordKey[] }[],
): Promise<Set<CrmRecord>> {
  const suspects = unlinked.filter(
    ({ record, contact, others }) => others.length > 0 && !isSame(contact, { name: record.name }),
  );
  if (suspects.length === 0) return new Set();
  // The contact may have been edited here since: then the record says what the others last said.
  const compared = suspects.flatMap(({ record, others }) => others.map((other) => ({ record, other })));
  const decisions = await externalRecordCheckMany(client, {
    ...run,
    records: compared.map(({ record, other: { entityType, externalId } }) => ({
      entityType,
      externalId,
      contentHash: hashOf(record),
    })),
  });
  const same = compared.filter((_, index) => isKnownContent(decisions[index]?.decision));
  return new Set(
    suspects.map(({ record }) => record).filter((record) => !same.some((each) => each.record === record)),
  );
}
