// The example worker with Reapit's adapter, through the archive and back.
import { expect, test } from 'vitest';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const current = useAgency(useDatabase());

test('a contact that is archived, edited here and taken out of the archive is one contact and one record', async () => {
  const { agency } = current;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  crm.archive(externalId);
  await agency.tick();
  expect(await agency.recordsOf(contactId)).toEqual([`reapit contact ${externalId} archived`]);
  expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': contactId });

  await agency.rename(contactId, 'Ottoline Spratt');
  await agency.tick();
  expect(await agency.failures()).toMatchObject([
    { direction: 'outbound', error: { kind: 'validation', code: 'archived' }, gaveUpAt: null },
  ]);
  expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });

  crm.unarchive(externalId);
  for (let count = 0; count < 2; count += 1) await agency.tick();
  expect(await agency.failures()).toEqual([]);
  expect(await agency.recordsOf(contactId)).toEqual([`reapit contact ${externalId} active`]);
  expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
  expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt', reference: contactId }]);
});
