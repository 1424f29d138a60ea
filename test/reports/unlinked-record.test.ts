/**
 * Symptom: a record is linked to the wrong person, and somebody unlinks it. With its next edit it links itself again, and
 * the person gets the name of the other one.
 *
 * Source: open-keychain/open-keychain #1296 (no way to keep a wrong automatic link from coming back).
 *
 * Input: a record that carries the contact's reference, because it was pushed once, is unlinked and then edited at the
 * CRM.
 *
 * Right: a person's decision stays. The record becomes a contact of its own.
 */
import { expect, test } from 'vitest';
import { contactExternalIdUnlink } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test('a record that a person unlinked does not link itself again by its reference', async () => {
  const { agency } = world;
  const { organisationId } = agency;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  await agency.rename(contactId, 'Ottoline Spratt');
  await agency.tick();
  const record = { provider: 'reapit', entityType: 'contact', externalId } as const;
  await contactExternalIdUnlink(pool, { organisationId, ...record, contactId });
  crm.edit(externalId, 'Zebedee Moss');
  await agency.tick();
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Spratt', 'Zebedee Moss']);
});
