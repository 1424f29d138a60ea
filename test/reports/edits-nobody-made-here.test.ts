/**
 * Symptom: a colleague edits a person in the CRM twice. Nobody has edited that person here, but the second edit is
 * overwritten with the first one, and listed as a conflict.
 *
 * Source: tried while 1.5.1 was made, with the simulated CRMs, where NurtureHub wins.
 *
 * Input: a second edit while the first one, which came from the CRM, waits to be written to the contact's other role at
 * this CRM; and an edit of a record just after another was merged into it, which waits to be written as well.
 *
 * Right: as long as the contact is what the record last said, what waits is nobody's edit: the CRM's is applied, and there
 * is no conflict.
 */
import { expect, test } from 'vitest';
import { contactExternalIdLinkMany, syncConflictList } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test('the second edit of a person with two roles is kept, and is no conflict', async () => {
  const { agency } = world;
  const { organisationId } = agency;
  const connected = await agency.startAndConnect('street');
  const { crm } = connected;
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  const landlord = crm.create('Ottoline Sprat', null, 'landlord');
  const links = [
    { provider: 'street', entityType: 'landlord', externalId: landlord.externalId, contactId } as const,
  ];
  await contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken: 'alias' });
  await agency.tick();
  crm.edit(externalId, 'Ottoline First');
  let isEdited = false;
  agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      // The contacts have been read by then, and the first edit with them.
      if (entityType === 'landlord' && !isEdited) {
        isEdited = true;
        crm.edit(externalId, 'Ottoline Second');
      }
      return client.readPage(entityType, from);
    },
  });
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(isEdited).toBe(true);
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Second']);
  expect(crm.records().map(({ name }) => name)).toEqual(['Ottoline Second', 'Ottoline Second']);
  expect(await syncConflictList(pool, connected)).toEqual([]);
});

test('an edit of a record just after another was merged into it is kept, and is no conflict', async () => {
  const { agency } = world;
  const connected = await agency.startAndConnect('custom');
  const { crm } = connected;
  const merged = crm.create('Ottoline Sprat');
  const into = crm.create('Barnaby Quince');
  await agency.tick();
  crm.merge(merged.externalId, into.externalId);
  let isEdited = false;
  agency.meddle = (client) => ({
    ...client,
    async readPage(...args) {
      const page = await client.readPage(...args);
      if (!isEdited && page.records.some(({ state }) => state === 'merged')) {
        isEdited = true;
        crm.edit(into.externalId, 'Barnaby Edited');
      }
      return page;
    },
  });
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(isEdited).toBe(true);
  expect(Object.keys(await agency.contacts())).toEqual(['Barnaby Edited']);
  expect(crm.records().find(({ externalId }) => externalId === into.externalId)?.name).toBe('Barnaby Edited');
  expect(await syncConflictList(pool, connected)).toEqual([]);
});

test('a record that is edited at the CRM just before the contact is pushed keeps the edit', async () => {
  const { agency } = world;
  const connected = await agency.startAndConnect('reapit');
  const other = await agency.startAndConnect('custom');
  const { crm } = connected;
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const [atCustom] = other.crm.records();
  // Something is recorded to be pushed, though the contact is what Reapit last said.
  let isEdited = false;
  agency.meddle = (client) => ({
    ...client,
    async write(contact, record) {
      if (client.account !== undefined && !isEdited) {
        isEdited = true;
        crm.edit(externalId, 'Ottoline Second');
      }
      return client.write(contact, record);
    },
  });
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  await agency.rename(contactId, 'Ottoline Sprat');
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(isEdited).toBe(true);
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Second']);
  expect(crm.records()).toMatchObject([{ name: 'Ottoline Second' }]);
  expect(other.crm.records()).toMatchObject([{ externalId: atCustom?.externalId, name: 'Ottoline Second' }]);
});
