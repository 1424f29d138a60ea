// Which contact a record means that nobody has linked yet, by the reference that it carries.
import { type ClaimedRun, contactIdentityChangeList, syncLogListByContact } from '@nurturehub/crm-schema';
import type pg from 'pg';
import type { CrmRecord, CrmRecordKey } from './crm.js';
import { isSameRecord, uuidIn } from './records.js';

/**
 * The contacts that records name as their references, because we created the records and the answers were lost: by
 * record; `gone` for a contact that was deleted since. Most records name none, and so are looked at one by one.
 */
export async function contactsNamedBy(
  client: pg.ClientBase,
  run: ClaimedRun,
  records: readonly CrmRecord[],
  isContact: (contactId: string) => boolean,
): Promise<Map<CrmRecord, string | 'gone'>> {
  const named = new Map<CrmRecord, string | 'gone'>();
  for (const record of records) {
    const contactId = await contactNamedBy(client, run, record, isContact);
    if (contactId !== null) named.set(record, contactId);
  }
  return named;
}

/** A record that was unlinked from the contact names nobody: it still carries the reference. */
async function contactNamedBy(
  client: pg.ClientBase,
  { organisationId, provider }: ClaimedRun,
  record: CrmRecord,
  isContact: (contactId: string) => boolean,
): Promise<string | 'gone' | null> {
  const contactId = uuidIn(record.reference);
  if (contactId === null) return null;
  if (!isContact(contactId)) {
    // Other programs use UUIDs as well: only the log tells that this was a contact of ours.
    const events = await syncLogListByContact(client, { organisationId, contactId, limit: 1 });
    return events.length > 0 ? 'gone' : null;
  }
  const unlinked = await recordsUnlinkedFrom(client, { organisationId, provider }, contactId);
  return unlinked.some((each) => isSameRecord(each, record)) ? null : contactId;
}

/** The records at the CRM of a run that were unlinked from a contact. They may still carry its reference. */
export async function recordsUnlinkedFrom(
  client: pg.Pool | pg.ClientBase,
  { organisationId, provider }: Pick<ClaimedRun, 'organisationId' | 'provider'>,
  contactId: string,
): Promise<CrmRecordKey[]> {
  const changes = await contactIdentityChangeList(client, { organisationId, contactId, limit: 1000 });
  return changes.flatMap(({ kind, provider: unlinkedAt, entityType, externalId }) =>
    kind === 'unlinked' && unlinkedAt === provider && entityType !== null && externalId !== null
      ? [{ entityType, externalId }]
      : [],
  );
}
