/**
 * Symptom: an agent copies a person at the CRM as a template for another one, in another role. The CRM copies the reference
 * to NurtureHub as well, and the first person is overwritten with the second, here and at every other CRM.
 *
 * Source: tried while 1.5.1 was made, with the simulated CRMs.
 *
 * Input: a record of another role that carries the reference of a contact with a record already, under the same name and
 * under another one.
 *
 * Right: under the same name it is the same person. Under another one, a person decides, and until then nothing of either
 * is changed.
 */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { contactExternalIdLinkMany, syncFailureReplayByIds } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

/** Two CRMs that both have a contact. */
async function startWithContact() {
  const { agency } = world;
  const connected = await agency.startAndConnect('reapit');
  const { crm } = connected;
  const other = await agency.startAndConnect('custom');
  crm.create('Ottoline Sprat');
  for (let count = 0; count < 2; count += 1) await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  expect(other.crm.records()).toMatchObject([{ name: 'Ottoline Sprat', reference: contactId }]);
  return { agency, connected, crm, other: other.crm, contactId };
}

test('a copy under another name changes nobody until a person has linked it', async () => {
  const { agency, connected, crm, other, contactId } = await startWithContact();
  const { externalId } = crm.create('Barnaby Quince', contactId, 'landlord');
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': contactId });
  expect(crm.records().map(({ name }) => name)).toEqual(['Ottoline Sprat', 'Barnaby Quince']);
  expect(other.records()).toMatchObject([{ name: 'Ottoline Sprat' }]);
  const [failure] = await agency.failures();
  expect(failure).toMatchObject({
    entityType: 'landlord',
    recordId: externalId,
    error: { kind: 'conflict' },
  });

  const { organisationId } = agency;
  const quince = randomUUID();
  await pool.query("insert into contacts (organisation_id, id, name) values ($1, $2, 'Barnaby Quince')", [
    organisationId,
    quince,
  ]);
  const links = [{ provider: 'reapit', entityType: 'landlord', externalId, contactId: quince } as const];
  await contactExternalIdLinkMany(pool, { organisationId, links });
  await syncFailureReplayByIds(pool, { ...connected, ids: [failure?.id as string] });
  for (let count = 0; count < 2; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': contactId, 'Barnaby Quince': quince });
  expect(await agency.failures()).toEqual([]);
});

test('a copy under the same name is the same person in another role', async () => {
  const { agency, crm, contactId } = await startWithContact();
  const { externalId } = crm.create('OTTOLINE SPRAT', contactId, 'landlord');
  for (let count = 0; count < 2; count += 1) await agency.tick();
  crm.edit(externalId, 'Ottoline Second');
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Second': contactId });
  expect(crm.records().map(({ name }) => name)).toEqual(['Ottoline Second', 'Ottoline Second']);
});
