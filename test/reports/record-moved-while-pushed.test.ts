/**
 * Symptom: a record was linked to the wrong person, and somebody moves it to the right one while a sync is running.
 * Afterwards the right person has the wrong one's name, here and at every CRM.
 *
 * Source: n8n-io/n8n #19849 and mautic/mautic #8590 (a contact is overwritten with the data of another one).
 *
 * Input: a push writes a contact to its record; before its answer is recorded, the record is re-pointed to another
 * contact.
 *
 * Right: the CRM's record holds the content of a person whom it no longer means, so the contact that it means now is
 * pushed there, and what is read meanwhile does not overwrite it.
 */
import { expect, test } from 'vitest';
import {
  contactExternalIdRepoint,
  outboundChangeListWaiting,
  outboundChangeRecord,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { insert, useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each(['reapit', 'custom', 'loop'] as const)(
  'a record of %s that is moved while its old contact is pushed gets the content of the new one',
  async (provider) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': ottoline = '' } = await agency.contacts();
    const zebedee = crypto.randomUUID();
    await insert(pool, 'contacts', { id: zebedee, organisation_id: organisationId, name: 'Zebedee Moss' });
    await agency.rename(ottoline, 'Ottoline Spratt');
    let isMoved = false;
    agency.meddle = (client) => ({
      ...client,
      async write(contact, record) {
        const written = await client.write(contact, record);
        if (!isMoved) {
          isMoved = true;
          const key = { organisationId, provider, entityType: 'contact', externalId };
          await contactExternalIdRepoint(pool, { ...key, fromContactId: ottoline, toContactId: zebedee });
        }
        return written;
      },
    });
    for (let count = 0; count < 3; count += 1) await agency.tick();

    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': ottoline, 'Zebedee Moss': zebedee });
    expect(crm.records()).toMatchObject([{ externalId, name: 'Zebedee Moss' }]);
    expect(await agency.failures()).toMatchObject([{ recordId: ottoline, error: { kind: 'conflict' } }]);
  },
);

test('a contact that was pushed in the same batch as another to its record is pushed again', async () => {
  const { agency } = world;
  const { organisationId } = agency;
  const { crm, connectionId } = await agency.startAndConnect('reapit');
  crm.create('Ottoline Sprat');
  crm.create('Zebedee Moss');
  await agency.tick();
  const { 'Ottoline Sprat': ottoline = '', 'Zebedee Moss': zebedee = '' } = await agency.contacts();
  const [other] = crm.records().filter(({ name }) => name === 'Zebedee Moss');
  await outboundChangeRecord(pool, { organisationId, contactIds: [ottoline, zebedee] });
  // The worker writes Ottoline to the record that was hers when it looked, and is Zebedee's by now.
  agency.meddle = (client) => ({
    ...client,
    write: (contact, record) =>
      client.write(
        contact,
        contact.contactId === ottoline && record
          ? { ...record, externalId: String(other?.externalId), version: null }
          : record,
      ),
  });
  const waiting = { organisationId, connectionId, contactIds: [zebedee] };
  let waited = 0;
  agency.meddle = ((meddle) => (client) => {
    const meddled = meddle(client);
    return {
      ...meddled,
      async readPage(entityType, from) {
        waited += (await outboundChangeListWaiting(pool, waiting)).length;
        return meddled.readPage(entityType, from);
      },
    };
  })(agency.meddle);
  await agency.tick();
  agency.meddle = undefined;
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(waited).toBeGreaterThan(0);
  expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': ottoline, 'Zebedee Moss': zebedee });
  expect(crm.records().find(({ externalId }) => externalId === other?.externalId)).toMatchObject({
    name: 'Zebedee Moss',
  });
});
