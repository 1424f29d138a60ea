/**
 * Symptom: somebody at the CRM edits a person and takes the edit back at once. The contact here has the wrong value for
 * ever: each later sync calls the record unchanged. Likewise, a person who is given the id of one who was deleted a moment
 * ago overwrites the contact of that one.
 *
 * Source: tried while 1.5.1 was made, with the simulated CRMs: several pages are recorded as one batch. Workers that give
 * several copies of a record to one call had it before.
 *
 * Input: two copies of a record in one batch or call: an edit and its reversal, a deletion and another person under the id,
 * or an edit and a merge.
 *
 * Right: each copy is compared with what the earlier ones say as well. What comes last is true; an id that is used again
 * waits for a person; a copy from before a merge is no news after it.
 */
import { expect, test } from 'vitest';
import type { CrmRecord } from '../../examples/crm.js';
import {
  contactExternalIdLinkMany,
  contentHash,
  externalRecordCheckMany,
  syncBatchRecord,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { atNine, connectDue } = syncSetup(database);
const world = useAgency(database);

/** Changes the records of the next page that has any. */
function changeNextPage(change: (record: CrmRecord) => CrmRecord[]): void {
  let isDone = false;
  world.agency.meddle = (client) => ({
    ...client,
    async readPage(...args) {
      const page = await client.readPage(...args);
      if (isDone || page.records.length === 0) return page;
      isDone = true;
      return { ...page, records: page.records.flatMap(change) };
    },
  });
}

test.each(['reapit', 'custom', 'loop', 'alto'] as const)(
  'an edit at %s and its reversal on one page leave the contact as it was',
  async (provider) => {
    const { agency } = world;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const edited = crm.edit(externalId, 'Ottoline Spratt');
    crm.edit(externalId, 'Ottoline Sprat');
    changeNextPage((record) => [
      {
        ...record,
        name: 'Ottoline Spratt',
        ...(record.version ? { version: edited.version } : {}),
        ...(record.modifiedAt ? { modifiedAt: edited.modifiedAt } : {}),
      },
      record,
    ]);
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Sprat' }]);
    expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Sprat']);
  },
);

test.each(['reapit', 'street', 'alto'] as const)(
  'an edit at %s that is undone while the list is read leaves the contact as it was',
  async (provider) => {
    const { agency } = world;
    const { crm } = await agency.startAndConnect(provider, { habits: { pageSize: 5 } });
    const people = Array.from({ length: 30 }, (_, index) => crm.create(`Test Person ${index}`));
    await agency.tick();
    const edited = people[12] ?? expect.unreachable();
    for (const { externalId, name } of people)
      crm.edit(externalId, externalId === edited.externalId ? 'Test Mistake' : `${name}, Esq.`);
    let isUndone = false;
    agency.meddle = (client) => ({
      ...client,
      async readPage(...args) {
        const page = await client.readPage(...args);
        if (!isUndone && page.records.some(({ externalId }) => externalId === edited.externalId)) {
          isUndone = true;
          crm.edit(edited.externalId, edited.name);
        }
        return page;
      },
    });
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(isUndone).toBe(true);
    expect(Object.keys(await agency.contacts()).toSorted()).toEqual(
      crm
        .records()
        .map(({ name }) => name)
        .toSorted(),
    );
  },
);

test('another person under the id of one who is deleted on the same page does not overwrite the contact', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('custom');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': id } = await agency.contacts();
  crm.delete(externalId);
  crm.restore(externalId, 'Barnaby Quince');
  changeNextPage((record) => [{ ...record, name: 'Ottoline Sprat', state: 'deleted' }, record]);
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': id });
  expect(await agency.failures()).toMatchObject([
    { recordId: externalId, error: { kind: 'conflict', retryable: false } },
  ]);
});

test('an edit and a merge of a record on one page merge the contacts, and nothing fails', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('custom');
  const { externalId } = crm.create('Ottoline Sprat');
  const into = crm.create('Barnaby Quince');
  await agency.tick();
  crm.edit(externalId, 'Ottoline Spratt');
  crm.merge(externalId, into.externalId);
  changeNextPage((record) =>
    record.externalId === externalId
      ? [{ ...record, name: 'Ottoline Spratt', state: 'active', mergedInto: null }, record]
      : [record],
  );
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(Object.keys(await agency.contacts())).toEqual(['Barnaby Quince']);
  expect(await agency.failures()).toEqual([]);
});

test.each([
  ['an edit and its reversal', ['second', 'first'], ['changed', 'changed']],
  [
    'an edit, its reversal and a copy of that',
    ['second', 'first', 'first'],
    ['changed', 'changed', 'changed'],
  ],
  ['the known content twice', ['first', 'first'], ['unchanged', 'unchanged']],
  ['a deletion and another person under the id', [null, 'other'], ['changed', 'revived']],
] as const)(
  'in one call of externalRecordCheckMany, %s are compared with each other',
  async (_, names, decisions) => {
    await atNine(async (client) => {
      const { organisationId, connectionId } = await connectDue('loop');
      const { rows } = await client.query(
        "insert into contacts (id, organisation_id, name) values (gen_random_uuid(), $1, 'first') returning id",
        [organisationId],
      );
      const record = { entityType: 'contact', externalId: 'A1' } as const;
      const run = await claimOne(client);
      expect(run.connectionId).toBe(connectionId);
      const links = [{ ...record, provider: 'loop', contactId: rows[0].id } as const];
      await contactExternalIdLinkMany(client, { organisationId, links });
      const event = { direction: 'inbound', ...record, internalId: rows[0].id, status: 'success' } as const;
      const events = [{ ...event, contentHash: contentHash({ name: 'first' }) }];
      await syncBatchRecord(client, { ...run, batchNumber: 1, events });
      const records = names.map((name) => ({
        ...record,
        state: name === null ? ('deleted' as const) : ('active' as const),
        contentHash: name === null ? null : contentHash({ name }),
      }));
      const found = await externalRecordCheckMany(client, { ...run, records });
      expect(found.map(({ decision }) => decision)).toEqual(decisions);
    });
  },
);
