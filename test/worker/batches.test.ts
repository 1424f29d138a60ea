/** How the example worker applies what it reads: many records at once, and several fields. */
import { setTimeout as sleep } from 'node:timers/promises';
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

test('pages that come while others are recorded are joined; no more are read than are wanted', async () => {
  const read: string[] = [];
  async function* pages(): AsyncGenerator<ReadRecords> {
    for (const token of ['a', 'b', 'c', 'd', 'e']) {
      read.push(token);
      yield {
        records: [{ entityType: 'contact', externalId: token, name: 'Test Person', state: 'active' }],
        position: { kind: 'token', token },
        isLast: token === 'e',
      };
    }
  }
  const batches = [];
  for await (const { records, position, isLast } of inBatches(pages(), 3)) {
    batches.push([records.map(({ externalId }) => externalId).join(''), position, isLast]);
    // As long as it takes to record the batch.
    await sleep(20);
    if (batches.length === 1) expect(read).toEqual(['a', 'b', 'c', 'd']);
  }
  expect(batches).toEqual([
    ['a', { kind: 'token', token: 'a' }, false],
    ['bcd', { kind: 'token', token: 'd' }, false],
    ['e', { kind: 'token', token: 'e' }, true],
  ]);
});

test('an error is reported once what was read before it is recorded; a batch that fails ends the reading', async () => {
  let isEnded = false;
  async function* pages(): AsyncGenerator<ReadRecords> {
    try {
      for (const token of ['a', 'b'])
        yield {
          records: [{ entityType: 'contact', externalId: token, name: 'Test Person', state: 'active' }],
          position: { kind: 'token', token },
          isLast: false,
        };
      throw new CrmError('network', 'The line is down.', { retryable: true });
    } finally {
      isEnded = true;
    }
  }
  const recorded: string[] = [];
  const record = async (failing: boolean) => {
    for await (const { records } of inBatches(pages(), 500)) {
      await sleep(20);
      if (failing) throw new Error('The batch failed.');
      recorded.push(...records.map(({ externalId }) => externalId));
    }
  };
  await expect(record(false)).rejects.toThrow('The line is down.');
  expect(recorded).toEqual(['a', 'b']);
  isEnded = false;
  await expect(record(true)).rejects.toThrow('The batch failed.');
  expect(isEnded).toBe(true);
});
