// Which contacts records mean that nobody has linked yet, by the references that they carry.
import {
  type ClaimedRun,
  contactIdentityChangeList,
  contactReferenceCheckMany,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import type { CrmRecord, CrmRecordKey } from './crm.js';
import { uuidIn } from './records.js';

/**
 * The contacts that records name as their references, because we created the records and the answers were lost; `gone`
 * for a contact that was deleted since. Other programs use UUIDs as well: such a record names nobody.
 */
export async function contactsNamedBy(
  client: pg.ClientBase,
  run: ClaimedRun,
  records: readonly CrmRecord[],
  isContact: (contactId: string) => boolean,
): Promise<Map<CrmRecord, string | 'gone'>> {
  const named = records.flatMap((record) => {
    const { entityType, externalId } = record;
    const contactId = uuidIn(record.reference);
    return contactId === null ? [] : [{ record, entityType, externalId, contactId }];
  });
  if (named.length === 0) return new Map();
  const meanings = await contactReferenceCheckMany(client, { ...run, references: named });
  return new Map(
    named.flatMap(({ record, contactId }, index) => {
      if (meanings[index] === 'unlinked') return [];
      if (isContact(contactId)) return [[record, contactId]];
      return meanings[index] === 'contact' ? [[record, 'gone']] : [];
    }),
  );
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
