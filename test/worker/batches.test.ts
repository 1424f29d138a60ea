/** How the example worker applies what it reads: many records at once, and several fields. */
import pg from 'pg';
import { expect, test, vi } from 'vitest';
import { CrmError, type CrmRecord } from '../../examples/crm.js';
import { inBatches, type ReadRecords } from '../../examples/stream.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

/** The number of statements that are sent meanwhile. */
async function statementsOf(work: () => Promise<void>): Promise<number> {
  const query = vi.spyOn(pg.Client.prototype, 'query');
  try {
    await work();
    return query.mock.calls.length;
  } finally {
    query.mockRestore();
  }
}

test('a sync of two hundred new and two hundred edited records takes as many statements as one of two each', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('custom', { habits: { pageSize: 1000 } });
  const records = Array.from({ length: 200 }, (_, index) => crm.create(`Test ${index} Person`));
  await agency.tick();
  const change = (count: number) => {
    for (const { externalId, name } of records.slice(0, count)) crm.edit(externalId, `${name} ${count}`);
    for (let index = 0; index < count; index += 1) crm.create(`New ${count} ${index}`);
  };
  change(2);
  const few = await statementsOf(() => agency.tick());
  change(200);
  const many = await statementsOf(() => agency.tick());

  expect(many).toBe(few);
  expect(Object.keys(await agency.contacts())).toHaveLength(402);
  expect(await agency.contacts()).toHaveProperty('Test 199 Person 200');
});

test('of two hundred records on a page, the one that cannot be stored fails alone', async () => {
  const { agency } = world;
  const connected = await agency.startAndConnect('custom', { habits: { pageSize: 1000 } });
  const [, , broken] = Array.from({ length: 200 }, (_, index) =>
    connected.crm.create(`Test ${index} Person`),
  );
  agency.meddle = (crm) => ({
    ...crm,
    async readPage(...args) {
      const page = await crm.readPage(...args);
      const spoilt = (record: CrmRecord) =>
        record.externalId === broken?.externalId ? { ...record, email: 'ottoline\0@example.com' } : record;
      return { ...page, records: page.records.map(spoilt) };
    },
  });
  await agency.tick();

  expect((await agency.failures()).map(({ recordId }) => recordId)).toEqual([broken?.externalId]);
  expect(Object.keys(await agency.contacts())).toHaveLength(199);
});

test('all fields are synced both ways; what a CRM leaves out stays, and what it empties becomes empty', async () => {
  const { agency } = world;
  const reapit = await agency.startAndConnect('reapit');
  const street = await agency.startAndConnect('alto');
  const { externalId } = reapit.crm.create({
    name: 'Ottoline Sprat',
    email: 'ottoline@example.com',
    phone: '020 7946 0018',
  });
  const contact = async () => {
    const { rows } = await pool.query('select name, email, phone from contacts where organisation_id = $1', [
      agency.organisationId,
    ]);
    return rows;
  };
  await agency.tick();
  expect(await contact()).toEqual([
    { name: 'Ottoline Sprat', email: 'ottoline@example.com', phone: '020 7946 0018' },
  ]);
  expect(street.crm.records()).toMatchObject(await contact());

  const [atAlto] = street.crm.records();
  street.crm.edit(atAlto?.externalId as string, { email: null });
  await agency.tick();
  expect(await contact()).toEqual([{ name: 'Ottoline Sprat', email: null, phone: '020 7946 0018' }]);
  expect(reapit.crm.records()).toMatchObject(await contact());

  agency.meddle = (crm) => ({
    ...crm,
    async readPage(...args) {
      const page = await crm.readPage(...args);
      return { ...page, records: page.records.map(({ phone: _, ...record }) => record) };
    },
  });
  reapit.crm.edit(externalId, { name: 'Ottoline Spratt' });
  await agency.tick();
  expect(await contact()).toEqual([{ name: 'Ottoline Spratt', email: null, phone: '020 7946 0018' }]);
});

test('what was read before the line is cut is recorded with its cursor, and is not read again', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('alto', { habits: { pageSize: 10 } });
  for (let count = 0; count < 30; count += 1) crm.create(`Test ${count} Person`);
  const pages: number[] = [];
  let isDown = true;
  agency.meddle = (client) => ({
    ...client,
    async readPage(...args) {
      if (isDown && pages.length === 2)
        throw new CrmError('network', 'The line is down.', { retryable: true });
      const page = await client.readPage(...args);
      pages.push(page.records.length);
      return page;
    },
  });
  await agency.tick();
  expect(Object.keys(await agency.contacts())).toHaveLength(20);

  isDown = false;
  await agency.tick();
  expect(pages).toEqual([10, 10, 10]);
  expect(Object.keys(await agency.contacts())).toHaveLength(30);
});

test('pages are joined until there are enough records, or the CRM is slow', async () => {
  async function* pages(): AsyncGenerator<ReadRecords> {
    for (const token of ['a', 'b', 'c', 'd'])
      yield {
        records: [{ entityType: 'contact', externalId: token, name: 'Test Person', state: 'active' }],
        position: { kind: 'token', token },
        isLast: token === 'd',
      };
  }
  const batches = async (limits: { records: number; seconds: number }) => {
    const joined = [];
    for await (const { records, position } of inBatches(pages(), limits))
      joined.push([records.map(({ externalId }) => externalId).join(''), position]);
    return joined;
  };
  expect(await batches({ records: 3, seconds: 60 })).toEqual([
    ['abc', { kind: 'token', token: 'c' }],
    ['d', { kind: 'token', token: 'd' }],
  ]);
  expect((await batches({ records: 3, seconds: 0 })).map(([records]) => records)).toEqual([
    'a',
    'b',
    'c',
    'd',
  ]);
});
