import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import type { SimulatedRecord } from '../../examples/simulated-crm/store.js';
import {
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdLock,
  contactExternalIdResolve,
  contactExternalIdUnlink,
  contactMerge,
  outboundChangeRecord,
  syncConflictList,
  syncFailureReplay,
  syncLogListByConnection,
  syncRunListByConnection,
} from '../../src/index.js';
import { insert, useDatabase } from '../support/database.js';
import { waitUntilSomebodyIsBlocked } from '../support/locks.js';
import { useMember } from '../support/roles.js';
import { Agency, type Connected } from './agency.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let agency: Agency;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  agency = await Agency.create(pool, worker);
});
afterEach(() => agency.stop());

/** Replays the failures of a connection, after a person has removed their cause. */
async function replay(connected: Connected): Promise<void> {
  const failedBefore = new Date(Date.now() + 60_000);
  await syncFailureReplay(pool, { ...connected, failedFrom: '2020-01-01T00:00:00Z', failedBefore });
  await agency.tick();
}

/** Runs twelve ticks, as in an hour, and returns the number of writes to the CRMs. */
async function writesInAnHour(): Promise<number> {
  const before = agency.writes();
  for (let count = 0; count < 12; count += 1) await agency.tick();
  return agency.writes() - before;
}

describe('another account of the same CRM', () => {
  const start = async (account: string, ...names: string[]) => {
    const crm = await agency.start('reapit', { account });
    return { crm, records: names.map((name) => crm.create(name)) as [SimulatedRecord, SimulatedRecord] };
  };

  test('has other people under the same ids, and the way back finds the first ones again', async () => {
    const first = await start('AAA', 'Ottoline Sprat', 'Barnaby Quince');
    const second = await start('BBB', 'Zebedee Moss', 'Winifred Plum');
    expect(second.records[0].externalId).toBe(first.records[0].externalId);
    let connected = await agency.connect(first.crm);
    await agency.tick();
    await agency.disconnect(connected);
    connected = await agency.connect(second.crm);
    expect(connected).toMatchObject({ archivedIds: 2, restoredIds: 0 });
    await agency.tick();
    const contacts = await agency.contacts();
    expect(Object.keys(contacts)).toEqual([
      'Barnaby Quince',
      'Ottoline Sprat',
      'Winifred Plum',
      'Zebedee Moss',
    ]);

    await agency.rename(contacts['Barnaby Quince'] as string, 'Barnaby Quinces');
    await agency.tick();
    expect(second.crm.writes).toMatchObject([{ kind: 'create', name: 'Barnaby Quinces' }]);
    expect(second.crm.records().map(({ name }) => name)).toContain('Winifred Plum');

    await agency.disconnect(connected);
    expect(await agency.connect(first.crm)).toMatchObject({ archivedIds: 3, restoredIds: 2 });
    first.crm.edit(first.records[0].externalId, 'Ottoline Spratt');
    await agency.tick();
    expect(await agency.contacts()).toMatchObject({ 'Ottoline Spratt': contacts['Ottoline Sprat'] });
    expect(first.crm.records()).toHaveLength(2);
  });

  test('stops the run before anything is read or written when the worker signs in to it', async () => {
    const first = await start('AAA', 'Ottoline Sprat', 'Barnaby Quince');
    const second = await start('BBB', 'Zebedee Moss', 'Winifred Plum');
    const connected = await agency.connect(first.crm);
    await agency.tick();
    const contacts = await agency.contacts();
    await agency.rename(contacts['Ottoline Sprat'] as string, 'Ottoline Spratt');
    agency.redirect(connected, second.crm);
    await agency.tick();
    expect(second.crm.writes).toEqual([]);
    expect(Object.keys(await agency.contacts())).toEqual(['Barnaby Quince', 'Ottoline Spratt']);
    const [run] = await syncRunListByConnection(pool, connected);
    expect(run).toMatchObject({ outcome: 'failed', error: { kind: 'auth', retryable: false } });
  });

  test('that is connected while a run is pushing does not lend the run its ids', async () => {
    const first = await start('AAA', 'Ottoline Sprat', 'Barnaby Quince');
    const second = await start('BBB', 'Zebedee Moss');
    const { externalId } = second.records[0];
    expect(externalId).toBe(first.records[0].externalId);
    const connected = await agency.connect(first.crm);
    await agency.tick();
    const { 'Ottoline Sprat': ottoline = '', 'Barnaby Quince': barnaby = '' } = await agency.contacts();
    await agency.rename(ottoline, 'Ottoline Spratt');
    await agency.rename(barnaby, 'Barnaby Quinces');
    // After the first push, the id of Ottoline's record is that of a record of Barnaby's.
    agency.meddle = (client) => ({
      ...client,
      async write(contact, record) {
        const written = await client.write(contact, record);
        if (agency.isConnected(connected)) {
          await agency.disconnect(connected);
          await agency.connect(second.crm);
          await contactExternalIdLink(pool, {
            organisationId: agency.organisationId,
            provider: 'reapit',
            entityType: 'contact',
            externalId,
            contactId: contact.contactId === barnaby ? ottoline : barnaby,
          });
        }
        return written;
      },
    });
    await agency.tick();
    expect(first.crm.writes).toHaveLength(1);
    const [written] = first.crm.writes;
    expect(written?.name).toBe(written?.externalId === externalId ? 'Ottoline Spratt' : 'Barnaby Quinces');
  });

  test('is learned by a connection of unknown account when the worker signs in', async () => {
    const { crm } = await start('AAA', 'Ottoline Sprat', 'Barnaby Quince');
    const { connectionId } = await agency.connect(crm);
    await pool.query('update crm_connections set account = null where id = $1', [connectionId]);
    await agency.tick();
    const { rows } = await pool.query('select account from crm_connections where id = $1', [connectionId]);
    expect(rows).toEqual([{ account: 'AAA' }]);
  });
});

describe('a contact that was changed here while its CRM was disconnected', () => {
  /** Connects a CRM, and disconnects it; renames its contact; and connects it again. */
  async function renameMeanwhile(provider: 'reapit' | 'street') {
    const crm = await agency.start(provider);
    crm.create('Ottoline Sprat');
    const connected = await agency.connect(crm);
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await agency.disconnect(connected);
    await agency.rename(contactId, 'Ottoline Spratt');
    await agency.connect(crm);
    return { crm, contactId };
  }

  test.each(['reapit', 'street'] as const)('is pushed to %s once it is connected again', async (provider) => {
    const { crm, contactId } = await renameMeanwhile(provider);
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt' }]);
    expect(await writesInAnHour()).toBe(0);
  });
});

describe('an echo', () => {
  const name = 'Bartholomew McQuince-Sprat';

  test('of CRMs that write names in their own way ends after one round, and changes nothing here', async () => {
    const custom = await agency.startAndConnect('custom');
    const loop = await agency.startAndConnect('loop', { habits: { naming: 'cut at 12' } });
    await agency.startAndConnect('agentos', { habits: { naming: 'cut at 12' } });
    await agency.startAndConnect('reapit', { habits: { naming: 'Title Case' } });
    await agency.startAndConnect('alto', { habits: { naming: 'UPPER CASE' } });
    const street = await agency.startAndConnect('street', { habits: { naming: 'UPPER CASE' } });
    const { externalId } = custom.crm.create('Bartholomew Quince');
    await agency.tick();
    const { 'Bartholomew Quince': contactId } = await agency.contacts();
    // Street takes no new records: one is made there.
    street.crm.create('Bartholomew Quince', contactId);
    await agency.tick();
    custom.crm.edit(externalId, name);
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(loop.crm.records()).toMatchObject([{ name: 'Bartholomew' }]);
    expect(street.crm.records()).toMatchObject([{ name: name.toUpperCase() }]);
    expect(await writesInAnHour()).toBe(0);
    expect(await agency.contacts()).toEqual({ [name]: contactId });
  });

  test.each(['agentos', 'loop'] as const)(
    'is logged as one, once; a later change at %s is applied',
    async (provider) => {
      const custom = await agency.startAndConnect('custom');
      const cutting = await agency.startAndConnect(provider, { habits: { naming: 'cut at 12' } });
      custom.crm.create(name);
      for (let count = 0; count < 3; count += 1) await agency.tick();
      const log = await syncLogListByConnection(pool, cutting);
      const reasons = log.filter(({ direction }) => direction === 'inbound').map(({ reason }) => reason);
      expect(reasons.length).toBeGreaterThan(1);
      expect(reasons.at(-1)).toBe('echo');
      expect(new Set(reasons.slice(0, -1))).toEqual(new Set(['unchanged']));
      const [record] = cutting.crm.records() as [SimulatedRecord];
      cutting.crm.edit(record.externalId, 'Ottoline');
      for (let count = 0; count < 3; count += 1) await agency.tick();
      expect(Object.keys(await agency.contacts())).toEqual(['Ottoline']);
      expect(custom.crm.records()).toMatchObject([{ name: 'Ottoline' }]);
    },
  );
});

describe('a push', () => {
  test('does not overwrite an edit that it does not know unseen: it goes out after that is read', async () => {
    const connected = await agency.startAndConnect('reapit');
    const { crm } = connected;
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId } = await agency.contacts();
    crm.edit(externalId, 'Ottoline Spratt');
    await agency.rename(contactId as string, 'Ottoline Sprats');
    await agency.tick();
    expect(crm.writes).toMatchObject([{ name: 'Ottoline Sprats' }]);
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Sprats' }]);
    expect(await agency.failures()).toEqual([]);
    expect(await syncConflictList(pool, connected)).toMatchObject([{ externalId, kept: 'nurturehub' }]);
  });
});

test('a contact whose push failed and that has changed again since is pushed once', async () => {
  const { crm } = await agency.startAndConnect('agentos');
  crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  agency.meddle = (client) => ({
    ...client,
    write: () => Promise.reject(new CrmError('provider', 'Not now.', { retryable: true })),
  });
  await agency.rename(contactId, 'Ottoline Spratt');
  await agency.tick();
  expect(await agency.failures()).toMatchObject([{ direction: 'outbound', error: { message: 'Not now.' } }]);
  agency.meddle = undefined;
  await agency.rename(contactId, 'Ottoline Sprats');
  await agency.tick();
  expect(await agency.failures()).toEqual([]);
  expect(crm.writes).toHaveLength(1);
  expect(crm.records()).toMatchObject([{ name: 'Ottoline Sprats' }]);
  expect(await writesInAnHour()).toBe(0);
});

describe('two records of one person', () => {
  test('at one CRM are one contact, and an edit of either reaches both', async () => {
    const { crm } = await agency.startAndConnect('reapit');
    const contact = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId } = await agency.contacts();
    const landlord = crm.create('Ottoline Sprat', contactId, 'landlord');
    await agency.tick();
    expect(await agency.recordsOf(contactId as string)).toEqual([
      `reapit contact ${contact.externalId} active`,
      `reapit landlord ${landlord.externalId} active (alias)`,
    ]);
    expect(await agency.failures()).toEqual([]);

    crm.edit(landlord.externalId, 'Ottoline Spratt');
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt' }, { name: 'Ottoline Spratt' }]);
    await agency.rename(contactId as string, 'Ottoline Sprats');
    await agency.tick();
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Sprats' }, { name: 'Ottoline Sprats' }]);
    expect(await writesInAnHour()).toBe(0);
    expect(await agency.failures()).toEqual([]);
  });

  test('of one type are a contact and its copy, which is a failure and changes nothing', async () => {
    const contactId = '00000000-0000-4000-8000-0000000000c0';
    await insert(pool as never, 'contacts', {
      organisation_id: agency.organisationId,
      id: contactId,
      name: 'O. Sprat',
    });
    const { crm } = await agency.startAndConnect('custom');
    const [record, copy] = [crm.create('Ottoline Sprat', contactId), crm.create('Copy of Sprat', contactId)];
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': contactId });
    expect(await agency.recordsOf(contactId)).toEqual([`custom contact ${record.externalId} active`]);
    expect(await agency.failures()).toMatchObject([
      { direction: 'inbound', recordId: copy.externalId, error: { kind: 'conflict' } },
    ]);
    expect(await writesInAnHour()).toBe(0);
  });

  test.each([
    ['network', 'landlord'],
    ['provider', 'landlord'],
    ['provider', 'contact'],
  ] as const)(
    'stay to be pushed while an error of kind %s stops the writes to the %s',
    async (kind, broken) => {
      const { crm } = await agency.startAndConnect('reapit');
      crm.create('Ottoline Sprat');
      await agency.tick();
      const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
      crm.create('Ottoline Sprat', contactId, 'landlord');
      await agency.tick();
      await agency.rename(contactId, 'Ottoline Spratt');
      agency.meddle = (client) => ({
        ...client,
        write(contact, record) {
          if (record?.entityType === broken) throw new CrmError(kind, 'Not today.', { retryable: true });
          return client.write(contact, record);
        },
      });
      for (let count = 0; count < 3; count += 1) await agency.tick();
      expect(
        crm
          .records()
          .map(({ name }) => name)
          .toSorted(),
      ).toEqual(['Ottoline Sprat', 'Ottoline Spratt']);
      if (kind === 'provider')
        expect(await agency.failures()).toMatchObject([{ direction: 'outbound', attempts: 3 }]);
      agency.meddle = undefined;
      await agency.tick();
      await agency.tick();
      expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt' }, { name: 'Ottoline Spratt' }]);
      expect(await agency.failures()).toEqual([]);
    },
  );
});

describe('a merge', () => {
  test('at a CRM of records that are two contacts here merges the contacts, everywhere', async () => {
    const { crm } = await agency.startAndConnect('custom');
    const loop = await agency.startAndConnect('loop');
    const [kept, gone] = [crm.create('Ottoline Sprat'), crm.create('O. Sprat')];
    await agency.tick();
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    expect(loop.crm.records()).toHaveLength(2);
    crm.merge(gone.externalId, kept.externalId);
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': contactId });
    expect(await agency.recordsOf(contactId)).toEqual([
      `custom contact ${kept.externalId} active`,
      `custom contact ${gone.externalId} merged (alias)`,
      expect.stringMatching(/^loop contact \w+ active$/),
      expect.stringMatching(/^loop contact \w+ active \(alias\)$/),
    ]);
    expect(loop.crm.records()).toMatchObject([{ name: 'Ottoline Sprat' }, { name: 'Ottoline Sprat' }]);
    expect(await writesInAnHour()).toBe(0);
    expect(await agency.failures()).toEqual([]);
  });

  test('at a CRM into a record that was edited at the same time keeps the edit, unless a newer one waits here', async () => {
    const { crm } = await agency.startAndConnect('custom');
    const names = ['Ottoline Sprat', 'O. Sprat', 'Barnaby Quince', 'B. Quince'];
    const [ottoline, duplicate, barnaby, other] = names.map((name) => crm.create(name).externalId) as [
      string,
      string,
      string,
      string,
    ];
    await agency.tick();
    const { 'Barnaby Quince': contactId = '' } = await agency.contacts();
    crm.edit(ottoline, 'Ottoline Spratt');
    crm.merge(duplicate, ottoline);
    crm.edit(barnaby, 'Barnaby Quinces');
    crm.merge(other, barnaby);
    // Its push fails until the page is read.
    await agency.rename(contactId, 'Barnaby Quincy');
    agency.meddle = (client) => ({
      ...client,
      write() {
        throw new CrmError('provider', 'Not today.', { retryable: true });
      },
    });
    await agency.tick();
    agency.meddle = undefined;
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(Object.keys(await agency.contacts())).toEqual(['Barnaby Quincy', 'Ottoline Spratt']);
    expect(
      crm
        .records()
        .filter(({ state }) => state === 'active')
        .map(({ name }) => name),
    ).toEqual(['Ottoline Spratt', 'Barnaby Quincy']);
    expect(await writesInAnHour()).toBe(0);
  });

  test('at a CRM into a record that is unknown here keeps the contact', async () => {
    const { crm } = await agency.startAndConnect('custom');
    const gone = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    const kept = crm.create('Ottoline Spratt');
    crm.merge(gone.externalId, kept.externalId);
    await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
    expect(await agency.recordsOf(contactId)).toEqual([
      `custom contact ${kept.externalId} active`,
      `custom contact ${gone.externalId} merged (alias)`,
    ]);
  });

  test('of our contacts lets the next touch of either record change the one that remains', async () => {
    const { crm } = await agency.startAndConnect('reapit');
    const { organisationId } = agency;
    const [, other] = [crm.create('Ottoline Sprat'), crm.create('O. Sprat')];
    await agency.tick();
    const { 'Ottoline Sprat': into = '', 'O. Sprat': from = '' } = await agency.contacts();
    await contactMerge(pool, { organisationId, fromContactId: from, intoContactId: into });
    await pool.query('delete from contacts where id = $1', [from]);
    await outboundChangeRecord(pool, { organisationId, contactIds: [into] });
    await agency.tick();
    crm.edit(other.externalId, 'Ottoline Spratt');
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': into });
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt' }, { name: 'Ottoline Spratt' }]);
    expect(await writesInAnHour()).toBe(0);
  });
});

test('a record whose contact was deleted here does not bring the contact back', async () => {
  const { crm } = await agency.startAndConnect('custom');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  await pool.query('delete from contacts where organisation_id = $1', [agency.organisationId]);
  crm.edit(externalId, 'Ottoline Spratt');
  await agency.tick();
  expect(await agency.contacts()).toEqual({});
  expect(await agency.failures()).toEqual([]);
});

describe('a record that is gone', () => {
  test('because it was deleted is not created again by an edit here', async () => {
    const { crm } = await agency.startAndConnect('custom');
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    crm.delete(externalId);
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    const before = crm.requests;
    await agency.rename(contactId, 'Ottoline Spratt');
    await agency.tick();
    expect(crm.writes).toEqual([]);
    expect(crm.requests - before, 'reads only').toBe(1);
    expect(await agency.recordsOf(contactId)).toEqual([`custom contact ${externalId} deleted`]);
  });

  test('as a push finds is not created again by the next edit here', async () => {
    const { crm } = await agency.startAndConnect('reapit');
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    crm.delete(externalId);
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    for (const name of ['Ottoline Spratt', 'Ottoline Sprats']) {
      await agency.rename(contactId, name);
      await agency.tick();
    }
    expect(crm.writes).toEqual([]);
    expect(await agency.failures()).toMatchObject([
      { direction: 'outbound', recordId: contactId, error: { kind: 'not_found' } },
    ]);
  });

  test('only because its office was hidden while it was retried comes back to the same contact', async () => {
    const { crm } = await agency.startAndConnect('reapit');
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    crm.edit(externalId, 'Ottoline Spratt');
    agency.meddle = (client) => ({
      ...client,
      async readPage(...args) {
        const page = await client.readPage(...args);
        return { ...page, records: page.records.map((record) => ({ ...record, name: null as never })) };
      },
    });
    await agency.tick();
    expect(await agency.failures()).toMatchObject([{ recordId: externalId }]);
    agency.meddle = undefined;
    crm.hide(externalId);
    await agency.tick();
    expect(await agency.recordsOf(contactId)).toEqual([`reapit contact ${externalId} hidden`]);
    crm.restore(externalId);
    await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
    expect(await agency.recordsOf(contactId)).toEqual([`reapit contact ${externalId} active`]);
  });
});

describe('an id that is used again', () => {
  async function reuse() {
    const connected = await agency.startAndConnect('custom');
    const { externalId } = connected.crm.create('Ottoline Sprat');
    await agency.tick();
    connected.crm.delete(externalId);
    await agency.tick();
    connected.crm.restore(externalId, 'Zebedee Moss');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    const { organisationId } = agency;
    const link = {
      organisationId,
      provider: 'custom',
      entityType: 'contact',
      externalId,
      contactId,
    } as const;
    return { connected, link };
  }

  test('does not change the person that it meant before, and waits for a decision', async () => {
    const { link } = await reuse();
    expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': link.contactId });
    expect(await agency.failures()).toMatchObject([
      { recordId: link.externalId, error: { kind: 'conflict', retryable: false } },
    ]);
  });

  test('becomes another contact once somebody unlinks it', async () => {
    const { connected, link } = await reuse();
    await contactExternalIdUnlink(pool, link);
    await replay(connected);
    expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Sprat', 'Zebedee Moss']);
    expect(await agency.failures()).toEqual([]);
  });

  test('changes the contact once somebody links it again', async () => {
    const { connected, link } = await reuse();
    await contactExternalIdLink(pool, link);
    await replay(connected);
    expect(await agency.contacts()).toEqual({ 'Zebedee Moss': link.contactId });
    expect(await agency.failures()).toEqual([]);
  });
});

test('a webhook handler that finds or creates a contact beside the worker makes none twice', async () => {
  const { crm } = await agency.startAndConnect('reapit');
  const { organisationId } = agency;
  const { externalId } = crm.create('Ottoline Sprat');
  const record = { provider: 'reapit', entityType: 'contact', externalId } as const;
  const client = await pool.connect();
  try {
    await client.query('begin');
    await contactExternalIdLock(client, { organisationId, providers: ['reapit'] });
    expect(await contactExternalIdResolve(client, { organisationId, ...record })).toBeNull();
    const contactId = '00000000-0000-4000-8000-0000000000aa';
    await insert(client as never, 'contacts', {
      organisation_id: organisationId,
      id: contactId,
      name: 'Ottoline S.',
    });
    await contactExternalIdLinkMany(client, { organisationId, links: [{ ...record, contactId }] });
    const ticking = agency.tick();
    await waitUntilSomebodyIsBlocked(pool);
    await client.query('commit');
    await ticking;
    expect(await agency.contacts()).toEqual({ 'Ottoline Sprat': contactId });
    expect(await agency.failures()).toEqual([]);
  } finally {
    client.release();
  }
});
