// What the programs in this folder have in common: the person to import, what this package writes of it, and the report.
import {
  CrmSchemaError,
  connectionGetLive,
  contactExternalIdLink,
  type Queryable,
  syncLogRecord,
} from '@nurturehub/crm-schema';

/** A person whom Reapit has sent, and the contact that it is. */
export interface Person {
  organisationId: string;
  contactId: string;
  externalId: string;
  name: string;
}

/** Logs an import and links the contact, in the transaction of the caller, whose organisation is set. */
export async function recordImport(client: Queryable, person: Person): Promise<void> {
  const { organisationId, contactId, externalId } = person;
  const provider = 'reapit';
  const record = { entityType: 'contact', externalId } as const;
  const connection = await connectionGetLive(client, { organisationId, provider });
  if (connection === null) throw new Error('Reapit is not connected: run first-sync.ts.');
  const { connectionId } = connection;
  await syncLogRecord(client, {
    organisationId,
    connectionId,
    events: [{ direction: 'inbound', status: 'success', ...record, internalId: contactId }],
  });
  await contactExternalIdLink(client, { organisationId, provider, ...record, contactId });
}

/** Imports the person whom the command line names, and prints what became of it. */
export async function runImport(importPerson: (person: Person) => Promise<void>): Promise<void> {
  const [organisationId, contactId, externalId, name] = process.argv.slice(2);
  if (!organisationId || !contactId || !externalId || !name) {
    console.error('Arguments: <organisation id> <contact id> <id at Reapit> <name>');
    process.exitCode = 2;
    return;
  }
  try {
    await importPerson({ organisationId, contactId, externalId, name });
    console.log(`Committed: ${name} is ${externalId}.`);
  } catch (error) {
    const problem = error instanceof CrmSchemaError ? `${error.code}: ${error.message}` : error;
    console.error(`Rolled back: ${problem}`);
    process.exitCode = 1;
  }
}
