import {
  contactExternalIdResolve,
  type ExternalRecord,
  externalRecordListByContacts,
  type Queryable,
} from '../../src/index.js';
import { providerNames } from '../connections.js';
import { type Agency, agencies, contacts, nameOf, puddlewick, thistle } from '../people.js';
import { type Row, table } from '../text.js';

type Print = (text: string) => void;

/** Answers question 3: what is a contact's id in each external system, and whose id is it? */
export async function answerIdentity(client: Queryable, print: Print): Promise<void> {
  print("3. What is a contact's id in each external system, and whose id is it?");
  print('   externalRecordListByContacts — queries/contact_external_ids.sql');
  await printIds(client, print);
  print('');
  print('   contactExternalIdResolve — queries/contact_external_ids.sql');
  await printOwners(client, print);
}

async function printIds(client: Queryable, print: Print): Promise<void> {
  const rows: Row[] = [];
  for (const { id: organisationId, name: agencyName } of agencies) {
    const people = contacts.filter((contact) => contact.organisationId === organisationId);
    const contactIds = people.map(({ id }) => id);
    const found = await externalRecordListByContacts(client, { organisationId, contactIds });
    rows.push(agencyName);
    for (const { id, name } of people) {
      const ids = found.filter(({ contactId }) => contactId === id);
      if (ids.length === 0) rows.push([` ${name}`, '–', '–', '–']);
      for (const [index, { provider, entityType, externalId, isPrimary }] of ids.entries()) {
        const note = isPrimary ? '' : ' (alias)';
        rows.push([index === 0 ? ` ${name}` : '', providerNames[provider], entityType, externalId + note]);
      }
    }
  }
  print(table({ Contact: 17, CRM: 9, Record: 11, 'External id': 0 }, rows));
}

async function printOwners(client: Queryable, print: Print): Promise<void> {
  const asked: [Agency, ExternalRecord][] = [
    [puddlewick, { provider: 'reapit', entityType: 'landlord', externalId: 'RPT120080' }],
    [puddlewick, { provider: 'reapit', entityType: 'landlord', externalId: 'RPT120094' }],
    // The same id means another contact, or none, in another entity type or agency.
    [puddlewick, { provider: 'reapit', entityType: 'applicant', externalId: 'RPT120080' }],
    [thistle, { provider: 'reapit', entityType: 'landlord', externalId: 'RPT120080' }],
    [thistle, { provider: 'alto', entityType: 'contact', externalId: '48213' }],
  ];
  const rows: Row[] = [];
  for (const [{ id: organisationId, name }, record] of asked) {
    const contactId = await contactExternalIdResolve(client, { organisationId, ...record });
    rows.push([
      name,
      providerNames[record.provider],
      `${record.entityType} ${record.externalId}`,
      contactId === null ? 'nobody' : nameOf(contactId),
    ]);
  }
  print(table({ Agency: 21, CRM: 9, Record: 21, Contact: 0 }, rows));
}
