/**
 * Symptom: a CRM, or its webhook, sends only the fields that changed. The sync takes what is missing for empty, and wipes
 * it here and at every other CRM.
 *
 * Source: mautic/mautic #7225 and emartech/magento2-extension #22 (null for every field that was not sent).
 *
 * Input: an adapter in JavaScript that passes on a record without its name: a known one, and a new one.
 *
 * Right: nobody's name is wiped, here or elsewhere. The record fails and is listed, until it is read in full.
 */
import { expect, test } from 'vitest';
import type { CrmRecord } from '../../examples/crm.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const world = useAgency(database);

test('a record without its name wipes no name, and is applied once it is read in full', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  const other = await agency.startAndConnect('custom');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId } = await agency.contacts();
  const withoutName = (record: CrmRecord): CrmRecord => {
    const { name: _, ...rest } = record;
    return rest as CrmRecord;
  };
  let isPartial = true;
  agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      const page = await client.readPage(entityType, from);
      return isPartial && client.account !== undefined
        ? { ...page, records: page.records.map(withoutName) }
        : page;
    },
    async read(entityType, id) {
      const record = await client.read(entityType, id);
      return record && isPartial ? withoutName(record) : record;
    },
  });
  crm.edit(externalId, 'Ottoline Spratt');
  const added = crm.create('Barnaby Quince');
  for (let count = 0; count < 2; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': contactId });
  expect(other.crm.records()).toMatchObject([{ name: 'Ottoline Sprat' }]);
  expect((await agency.failures()).map(({ recordId }) => recordId).toSorted()).toEqual(
    [externalId, added.externalId].toSorted(),
  );

  isPartial = false;
  for (let count = 0; count < 2; count += 1) await agency.tick();
  expect(await agency.contacts()).toMatchObject({ 'Ottoline Spratt': contactId });
  expect(Object.keys(await agency.contacts())).toEqual(['Barnaby Quince', 'Ottoline Spratt']);
  expect(await agency.failures()).toEqual([]);
});
