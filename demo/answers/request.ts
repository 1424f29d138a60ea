import type { ClientBase } from 'pg';
import { type ContactExport, contactExport, externalRecordCheck } from '../../src/index.js';
import { contactErase, ErasureKey } from '../../src/migrations.js';
import { providerNames } from '../connections.js';
import { gideon } from '../people.js';
import { type Row, table } from '../text.js';

type Print = (text: string) => void;

const sections = {
  records: 'records at CRMs',
  identityChanges: 'changes of his ids',
  events: 'events',
} as const;

/** Answers a person's request: what is kept of them, and that nothing is. */
export async function answerRequest(client: ClientBase, print: Print): Promise<void> {
  const { organisationId, id: contactId } = gideon;
  print('Gideon asks what is kept of him, and of G. Custard, and then to be forgotten.');
  print('   contactExport, contactErase — docs/operations/erasure.md');
  const before = await exportOf(client);
  // A demo's key, and no secret.
  const key = ErasureKey.parse(Buffer.alloc(32, 'demo').toString('base64'));
  await client.query('begin');
  const { contactIds } = await contactErase(client, key, { organisationId, contactId });
  await client.query('delete from contacts where organisation_id = $1 and id = any($2)', [
    organisationId,
    contactIds,
  ]);
  await client.query('commit');
  const after = await exportOf(client);
  const rows = Object.entries(sections).map(([section, name]): Row => {
    const [kept, left] = [before, after].map((document) => document[section as keyof typeof sections].length);
    return [name, `${kept}`, `${left}`];
  });
  print(table({ 'Kept of him': 31, exported: 12, 'after the erasure': 0 }, rows));
  for (const { provider, entityType, externalId } of before.records) {
    const record = { entityType, externalId, state: 'active' } as const;
    const { decision } = await externalRecordCheck(client, { organisationId, provider, ...record });
    print(`   If ${providerNames[provider]} sends his record again, it is skipped: ${decision}.`);
  }
}

async function exportOf(client: ClientBase): Promise<ContactExport> {
  const { organisationId, id: contactId } = gideon;
  let text = '';
  for await (const piece of contactExport(client, { organisationId, contactId })) text += piece;
  return JSON.parse(text);
}
