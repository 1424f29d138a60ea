/**
 * Symptom: an agent corrects a person's name here, and the phone number and email address of that person are gone at the
 * CRM. Nobody emptied them: they had never been read. Or the other way round: a phone number that was changed here never
 * arrives at the CRM, because its push failed once.
 *
 * Source: tried while 1.5.1 was made, with the simulated CRMs.
 *
 * Input: a contact that is linked by hand, without the fields, and edited before the first sync; an edit after a field was
 * added to sync and everything was read once; a push that fails, and a list that leaves out the field that it was to write.
 *
 * Right: what waits to be pushed is completed with those fields of the record that are empty here, before it is written. A
 * failed push is settled only by a record that says each field. What was emptied here is still emptied there.
 */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { CrmError, type CrmRecord } from '../../examples/crm.js';
import {
  connectionResetLastSyncedAt,
  contactExternalIdLinkMany,
  outboundChangeRecord,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

function withoutPhone({ phone: _, ...record }: CrmRecord): CrmRecord {
  return record;
}

async function setPhone(contactId: string, phone: string | null): Promise<void> {
  const { organisationId } = world.agency;
  await pool.query('update contacts set phone = $2 where id = $1', [contactId, phone]);
  await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
}

test.each(['reapit', 'alto', 'custom'] as const)(
  'a contact that is linked by hand and edited before the first sync empties no field at %s',
  async (provider) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect(provider);
    const said = { phone: '020 7946 0018', email: 'ottoline@example.com' };
    const { externalId, entityType } = crm.create({ name: 'Ottoline Sprat', ...said });
    const contactId = randomUUID();
    await pool.query("insert into contacts (id, organisation_id, name) values ($1, $2, 'Ottoline Sprat')", [
      contactId,
      organisationId,
    ]);
    const links = [{ provider, entityType, externalId, contactId }];
    await contactExternalIdLinkMany(pool, { organisationId, links });
    await agency.rename(contactId, 'Ottoline Spratt');
    for (let count = 0; count < 2; count += 1) await agency.tick();
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt', ...said }]);
  },
);

test.each(['reapit', 'alto', 'custom', 'loop'] as const)(
  'a field that was added to sync, and read once, is not emptied at %s by the next edit here',
  async (provider) => {
    const { agency } = world;
    const { crm, ...connected } = await agency.startAndConnect(provider);
    const { phone } = crm.create({ name: 'Ottoline Sprat', phone: '020 7946 0018' });
    agency.meddle = (client) => ({
      ...client,
      async readPage(...args) {
        const page = await client.readPage(...args);
        return { ...page, records: page.records.map(withoutPhone) };
      },
      async read(...args) {
        const record = await client.read(...args);
        return record && withoutPhone(record);
      },
      async write({ phone: _, ...contact }, record) {
        const written = await client.write(contact, record);
        return written === null || 'existing' in written ? written : withoutPhone(written);
      },
    });
    await agency.tick();
    const { 'Ottoline Sprat': id = '' } = await agency.contacts();
    // One was written by us: its version is known as that of our own push.
    await agency.rename(id, 'Ottoline Spra');
    await agency.tick();
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spra', phone }]);

    agency.meddle = undefined;
    await connectionResetLastSyncedAt(pool, connected);
    await agency.tick();
    await agency.rename(id, 'Ottoline Spratt');
    for (let count = 0; count < 2; count += 1) await agency.tick();
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt', phone }]);
  },
);

test('a failed push of a field is not settled by a record that leaves the field out', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create({ name: 'Ottoline Sprat', phone: '020 7946 0018' });
  await agency.tick();
  const { 'Ottoline Sprat': id = '' } = await agency.contacts();
  let isDown = true;
  agency.meddle = (client) => ({
    ...client,
    async readPage(...args) {
      const page = await client.readPage(...args);
      return { ...page, records: page.records.map(withoutPhone) };
    },
    async write(...args) {
      if (isDown) throw new CrmError('provider', 'Down.', { retryable: true });
      return client.write(...args);
    },
  });
  await setPhone(id, '020 7946 0999');
  await agency.tick();
  crm.edit(externalId, { own: {} });
  await agency.tick();
  expect(crm.records()).toMatchObject([{ phone: '020 7946 0018' }]);
  isDown = false;
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(crm.records()).toMatchObject([{ phone: '020 7946 0999' }]);
  expect(await agency.failures()).toEqual([]);
});

test('a field that is emptied here is emptied at each CRM, also if the record is read before a push succeeds', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('custom');
  const { crm: other } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create({ name: 'Ottoline Sprat', phone: '020 7946 0018' });
  await agency.tick();
  expect(other.records()).toMatchObject([{ phone: '020 7946 0018' }]);
  const { 'Ottoline Sprat': id = '' } = await agency.contacts();
  agency.meddle = (client) => ({
    ...client,
    async write() {
      throw new CrmError('provider', 'Down.', { retryable: true });
    },
  });
  await setPhone(id, null);
  await agency.tick();
  crm.edit(externalId, { own: {} });
  await agency.tick();
  expect(crm.records()).toMatchObject([{ phone: '020 7946 0018' }]);
  agency.meddle = undefined;
  for (let count = 0; count < 2; count += 1) await agency.tick();
  expect([...crm.records(), ...other.records()].map(({ phone }) => phone)).toEqual([null, null]);
});

test('a field that was emptied here stays empty if the CRM edits another field before the push, and ours wins', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('custom');
  const { externalId } = crm.create({ name: 'Ottoline Sprat', phone: '020 7946 0018' });
  await agency.tick();
  const { 'Ottoline Sprat': id = '' } = await agency.contacts();
  let isDown = true;
  agency.meddle = (client) => ({
    ...client,
    async write(...args) {
      if (isDown) throw new CrmError('provider', 'Down.', { retryable: true });
      return client.write(...args);
    },
  });
  await setPhone(id, null);
  await agency.tick();
  crm.edit(externalId, 'Ottoline Theirs');
  await agency.tick();
  isDown = false;
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(crm.records()).toMatchObject([{ name: 'Ottoline Sprat', phone: null }]);
});
