// The adapter for Reapit, against the simulated one: a server with the habits that Reapit documents, and with those that
// its developers report (docs/sync-engine.md).
import { afterEach, describe, expect, test } from 'vitest';
import { openReapit } from '../../examples/adapters/open-reapit.js';
import { begin, passAfter } from '../../examples/adapters/reapit-passes.js';
import type { Crm, CrmPosition, CrmRecord } from '../../examples/crm.js';
import type { Habits } from '../../examples/simulated-crm/habits.js';
import type { SimulatedCrm } from '../../examples/simulated-crm/server.js';
import { useDatabase } from '../support/database.js';
import { connectReapit, failure, startReapit, stopAll } from './reapit-crm.js';

const database = useDatabase();
afterEach(stopAll);

/** Starts a simulated Reapit that is signed in to. */
async function start(habits: Partial<Habits> = {}): Promise<{ crm: SimulatedCrm<'reapit'>; reapit: Crm }> {
  const crm = await startReapit(habits);
  const connection = await connectReapit(database, crm);
  return { crm, reapit: await openReapit(connection.settings, connection) };
}

/**
 * Reads a pass. Returns the records in the order in which they were read, and where the next pass begins.
 *
 * @param between is called after each page with its number
 */
async function readPass(
  reapit: Crm,
  since: string | null = null,
  between: (page: number) => void = () => {},
): Promise<{ read: CrmRecord[]; syncedTo: string }> {
  const read: CrmRecord[] = [];
  let from: CrmPosition = { changedSince: since };
  for (let pages = 1; pages < 100; pages += 1) {
    const page = await reapit.readPage('contact', from);
    read.push(...page.records);
    if (page.isLast) return { read, syncedTo: page.syncedTo as string };
    from = { token: page.next };
    between(pages);
  }
  throw new Error('The pass does not end.');
}

const idsOf = (records: readonly { externalId: string }[]) =>
  [...new Set(records.map(({ externalId }) => externalId))].sort();

const contactId = '00000000-0000-4000-8000-00000000000c';

describe('reading', () => {
  test('maps each field, and takes empty text for none', async () => {
    const { crm, reapit } = await start();
    const own = { forename: 'Ottoline', surname: 'van der Sprat', homePhone: '020 7946 0000' };
    const person = { name: 'Ottoline van der Sprat', email: 'ottoline@example.com', phone: '07700 900123' };
    const { externalId, version, modifiedAt } = crm.create({ ...person, own }, contactId);
    expect(await reapit.read('contact', externalId)).toEqual({
      ...person,
      entityType: 'contact',
      externalId,
      version,
      modifiedAt,
      reference: contactId,
      state: 'active',
      mergedInto: null,
    });
    const { externalId: other } = crm.create({ name: 'Sprat', email: ' ', phone: '', own });
    expect(await reapit.read('contact', other)).toMatchObject({ name: 'Sprat', email: null, phone: null });
  });

  test('takes only the mobile phone for the phone', async () => {
    const { crm, reapit } = await start();
    const own = { homePhone: '020 7946 0000', workPhone: '0161 496 0000' };
    const { externalId } = crm.create({ name: 'Ottoline Sprat', own });
    expect(await reapit.read('contact', externalId)).toMatchObject({ phone: null });
  });

  test('takes times without a zone for UTC, and cuts the seventh digit off', async () => {
    const { crm, reapit } = await start();
    const { externalId, modifiedAt } = crm.create('Ottoline Sprat');
    // Some have a zone, and some have none.
    for (let time = 0; time < 20; time += 1)
      expect((await reapit.read('contact', externalId))?.modifiedAt).toBe(modifiedAt);
    expect(modifiedAt).toMatch(/\.\d{6}Z$/);
  });

  test('finds contacts without a modified time in a first pass of several pages', async () => {
    const { crm, reapit } = await start({ pageSize: 5 });
    for (let count = 0; count < 23; count += 1)
      crm.create({ name: `Test Person ${count}`, own: { isUntimed: count % 3 === 0 } });
    const { read } = await readPass(reapit);
    expect(idsOf(read)).toEqual(idsOf(crm.records()));
    expect(read.filter(({ modifiedAt }) => modifiedAt === null).length).toBeGreaterThan(7);
  });

  test('asks for the hundred contacts that fit on a page, and no more than that', async () => {
    const { crm, reapit } = await start({ pageSize: 1_000 });
    for (let count = 0; count < 101; count += 1) crm.create(`Test Person ${count}`);
    const first = await reapit.readPage('contact', { changedSince: null });
    expect(first.records).toHaveLength(100);
    expect(idsOf((await readPass(reapit)).read)).toHaveLength(101);
  });

  test('goes on by time and page if more contacts share a time than fit on a page', async () => {
    const { crm, reapit } = await start({ pageSize: 5, clockStepMilliseconds: 3_600_000_000 });
    crm.create('Test Person before');
    const { syncedTo } = await readPass(reapit);
    for (let count = 0; count < 23; count += 1) crm.create(`Test Person ${count}`);
    expect(new Set(crm.records().map(({ modifiedAt }) => modifiedAt)).size).toBe(1);
    const { read, syncedTo: next } = await readPass(reapit, syncedTo);
    expect(idsOf(read)).toEqual(idsOf(crm.records()));
    expect(next).toBe(crm.records()[0]?.modifiedAt);
  });

  test.each([
    ['edited', (crm: SimulatedCrm, id: string) => crm.edit(id, 'Test Person edited')],
    ['deleted', (crm: SimulatedCrm, id: string) => crm.delete(id)],
    ['archived', (crm: SimulatedCrm, id: string) => crm.archive(id)],
  ])('misses nobody while others are %s between two pages', async (_, change) => {
    for (const since of [null, '2020-01-01T00:00:00.000000Z']) {
      const { crm, reapit } = await start({ pageSize: 5 });
      const ids = Array.from({ length: 40 }, (_, count) => crm.create(`Test Person ${count}`).externalId);
      // The pass begins long after them, so that it does not read them again by time.
      crm.setHabits({ skewMilliseconds: 60_000 });
      const changed = new Set<string>();
      const { read, syncedTo } = await readPass(reapit, since, (page) => {
        // Of those that come first, of those in the middle, and of those that come last.
        for (const index of [page, 40 - page * 2, 39 - page * 2]) {
          const id = ids[index];
          if (id === undefined || changed.has(id)) continue;
          changed.add(id);
          change(crm, id);
        }
      });
      expect(changed.size).toBeGreaterThan(10);
      expect(idsOf(read)).toEqual(expect.arrayContaining(ids.filter((id) => !changed.has(id))));
      const next = await readPass(reapit, syncedTo);
      const left = crm.records().filter(({ state }) => state !== 'deleted');
      expect(idsOf([...read, ...next.read])).toEqual(expect.arrayContaining(idsOf(left)));
    }
  });

  test('begins the next pass at a time of its own clock, after which nothing is missed', async () => {
    const { crm, reapit } = await start({ skewMilliseconds: -3_600_000 });
    const empty = await readPass(reapit);
    expect(Math.abs(Date.now() - 3_600_000 - Date.parse(empty.syncedTo))).toBeLessThan(600_000);
    const { externalId } = crm.create('Ottoline Sprat');
    const { read, syncedTo } = await readPass(reapit, empty.syncedTo);
    expect(idsOf(read)).toEqual([externalId]);
    expect(idsOf((await readPass(reapit, syncedTo)).read), 'inclusive').toEqual([externalId]);
  });

  test('does not read by time what is not in the order of modification', async () => {
    const [early, late] = ['2026-07-01T10:00:00.000000Z', '2026-07-01T11:00:00.000000Z'] as const;
    const page = { pageSize: 2, totalCount: 3, date: late };
    expect(passAfter(begin(early), { ...page, times: [early, null] })).toMatchObject({ at: early, page: 0 });
    expect(() => passAfter(begin(early), { ...page, times: [late, early] })).toThrow(
      expect.objectContaining({ kind: 'provider' }),
    );
  });

  test('begins the pass again if the position is not one of its own', async () => {
    const { reapit } = await start();
    const error = await failure(reapit.readPage('contact', { token: 'page-2' }));
    expect(error).toMatchObject({ isPositionLost: true });
  });

  test('does not take an answer that is no list for the end of a pass', async () => {
    const { crm, reapit } = await start({ pageSize: Number.NaN });
    crm.create('Ottoline Sprat');
    const error = await failure(reapit.readPage('contact', { changedSince: null }));
    expect(error).toMatchObject({ kind: 'provider', retryable: true });
  });
});

describe('an archived contact', () => {
  test('is archived, and active once it is out of the archive', async () => {
    const { crm, reapit } = await start({ pageSize: 5 });
    const ids = Array.from({ length: 12 }, (_, count) => crm.create(`Test Person ${count}`).externalId);
    const [id = '', ...others] = ids;
    for (const other of others.slice(0, 7)) crm.archive(other);
    const first = await readPass(reapit);
    expect(idsOf(first.read)).toEqual(ids);
    const archived = first.read.filter(({ state }) => state === 'archived');
    expect(idsOf(archived)).toEqual(others.slice(0, 7));

    crm.archive(id);
    expect(await reapit.read('contact', id)).toMatchObject({ state: 'archived', name: 'Test Person 0' });
    const second = await readPass(reapit, first.syncedTo);
    expect(second.read.find(({ externalId }) => externalId === id)).toMatchObject({ state: 'archived' });

    crm.unarchive(id);
    const third = await readPass(reapit, second.syncedTo);
    const states = third.read.filter(({ externalId }) => externalId === id).map(({ state }) => state);
    expect(states).toEqual(['active']);
  });

  test('takes no changes, which wait', async () => {
    const { crm, reapit } = await start();
    const { externalId } = crm.create('Ottoline Sprat');
    crm.archive(externalId);
    const contact = { contactId, name: 'Ottoline Spratt' };
    const error = await failure(reapit.write(contact, { entityType: 'contact', externalId }));
    expect(error).toMatchObject({ kind: 'validation', retryable: true, code: 'archived' });
    expect(crm.writes).toEqual([]);
    crm.unarchive(externalId);
    expect(await reapit.write(contact, { entityType: 'contact', externalId })).toMatchObject({
      name: contact.name,
    });
  });

  test('that we created is found by a creation that is repeated', async () => {
    const { crm, reapit } = await start({ lostAnswer: 1 });
    const contact = { contactId, name: 'Ottoline Sprat' };
    expect(await failure(reapit.write(contact, null))).toMatchObject({ kind: 'network' });
    crm.setHabits({ lostAnswer: 0 });
    const externalId = crm.records()[0]?.externalId as string;
    crm.archive(externalId);
    const existing = { entityType: 'contact', externalId };
    expect(await reapit.write(contact, null)).toEqual({ existing });
    expect(await failure(reapit.write(contact, existing))).toMatchObject({ code: 'archived' });
    expect(crm.records()).toHaveLength(1);
  });

  test('is not shown once it is deleted', async () => {
    const { crm, reapit } = await start();
    const { externalId } = crm.create('Ottoline Sprat');
    crm.delete(externalId);
    expect(await reapit.read('contact', externalId)).toBeNull();
    expect((await readPass(reapit)).read).toEqual([]);
  });
});

describe('writing', () => {
  const key = (externalId: string, version?: string | null) => ({
    entityType: 'contact',
    externalId,
    ...(version === undefined ? {} : { version }),
  });

  test('creates a contact with each field, and returns it as Reapit holds it', async () => {
    const { crm, reapit } = await start({ naming: 'Title Case' });
    const person = { name: 'ottoline sprat', email: 'ottoline@example.com', phone: '07700 900123' };
    const written = await reapit.write({ contactId, ...person }, null);
    const [record] = crm.records();
    expect(record).toMatchObject({ ...person, name: 'Ottoline Sprat', reference: contactId });
    expect(written).toMatchObject({
      ...person,
      name: 'Ottoline Sprat',
      externalId: record?.externalId,
      version: record?.version,
      modifiedAt: record?.modifiedAt,
    });
  });

  test('does not create a contact without an office and a negotiator', async () => {
    const crm = await startReapit();
    const connection = await connectReapit(database, crm);
    const { newContacts: _, ...settings } = connection.settings;
    const reapit = await openReapit(settings, connection);
    const error = await failure(reapit.write({ contactId, name: 'Ottoline Sprat' }, null));
    expect(error).toMatchObject({ kind: 'validation', retryable: false });
    expect(error.message).toMatch(/newContacts/);
    expect(crm.records()).toEqual([]);
  });

  test.each([
    ['one word', 'Sprat', null, 'Sprat'],
    ['two words', 'Ottoline Sprat', 'Ottoline', 'Sprat'],
    ['three words', 'Ottoline May Sprat', 'Ottoline May', 'Sprat'],
    ['white space', '  Ottoline   Sprat ', 'Ottoline', 'Sprat'],
  ])('a name of %s has its last one as the surname', async (_, name, forename, surname) => {
    const { crm, reapit } = await start();
    expect(await reapit.write({ contactId, name }, null)).toMatchObject({
      name: name.trim().replace(/ +/g, ' '),
    });
    expect(crm.records()[0]?.own).toMatchObject({ forename, surname });
  });

  test('a blank name is refused', async () => {
    const { reapit } = await start();
    const error = await failure(reapit.write({ contactId, name: ' ' }, null));
    expect(error).toMatchObject({ kind: 'validation', retryable: false });
    expect(error.message).toBe('The CRM answered 422 about surname.');
  });

  test('an update leaves alone what does not sync, and where the name ends its forename', async () => {
    const { crm, reapit } = await start();
    const own = {
      forename: 'Ottoline',
      surname: 'van der Sprat',
      homePhone: '020 7946 0000',
      workPhone: '0161 496 0000',
      metadata: { tier: 'gold' },
    };
    const { externalId } = crm.create({ name: 'Ottoline van der Sprat', email: 'ottoline@example.com', own });
    const update = (name: string, rest: object = {}) =>
      reapit.write({ contactId, name, ...rest }, key(externalId));
    await update('Ottoline van der Sprat', { phone: '07700 900123' });
    const { phone, email } = { phone: '07700 900123', email: 'ottoline@example.com' };
    expect(crm.records()[0]).toMatchObject({ phone, email, reference: contactId, own });
    await update('Ottie van der Sprat');
    expect(crm.records()[0]).toMatchObject({ own: { ...own, forename: 'Ottie' }, phone: '07700 900123' });
    await update('OTTIE VAN DER SPRAT');
    expect(crm.records()[0]?.own).toMatchObject({ forename: 'OTTIE', surname: 'VAN DER SPRAT' });
    await update('Ottie Quince');
    expect(crm.records()[0]?.own).toMatchObject({ ...own, forename: 'Ottie', surname: 'Quince' });
    await update('Quince', { email: null, phone: null });
    const emptied = { name: 'Quince', email: null, phone: null };
    expect(crm.records()[0]).toMatchObject({
      ...emptied,
      own: { ...own, forename: null, surname: 'Quince' },
    });
    expect(await reapit.read('contact', externalId)).toMatchObject(emptied);
  });

  test('an update of another version is refused, and of the current one it is not', async () => {
    const { crm, reapit } = await start();
    const { externalId, version } = crm.create('Ottoline Sprat');
    crm.edit(externalId, 'Ottoline Spratt');
    const contact = { contactId, name: 'Ottoline Sprats' };
    const error = await failure(reapit.write(contact, key(externalId, version)));
    expect(error).toMatchObject({ kind: 'conflict', retryable: true, code: '412' });
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt' }]);
    const current = crm.records()[0]?.version as string;
    const written = await reapit.write(contact, key(externalId, current));
    expect(written).toMatchObject({ name: 'Ottoline Sprats', version: crm.records()[0]?.version });
    expect(written).toMatchObject({ version: expect.stringMatching(/^"\w+"$/) });
  });

  test('an update without a version overwrites the one that is there, also if it changes meanwhile', async () => {
    const { crm, reapit } = await start();
    const { externalId } = crm.create('Ottoline Sprat');
    const edits = setInterval(() => crm.edit(externalId, 'Ottoline Spratt'), 15);
    try {
      for (let count = 0; count < 5; count += 1) {
        const written = reapit.write({ contactId, name: 'Ottoline Sprats' }, key(externalId));
        await written.catch((error) => expect(error).toMatchObject({ kind: 'conflict', retryable: true }));
      }
    } finally {
      clearInterval(edits);
    }
    await reapit.write({ contactId, name: 'Ottoline Sprats' }, key(externalId));
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Sprats' }]);
  });

  test('a contact that Reapit does not show is not written to', async () => {
    const { crm, reapit } = await start();
    const { externalId } = crm.create('Ottoline Sprat');
    crm.delete(externalId);
    expect(await reapit.write({ contactId, name: 'Ottoline Spratt' }, key(externalId))).toBeNull();
    expect(crm.writes).toEqual([]);
  });
});

test('a 429 without Retry-After says that there were too many requests, and not for how long', async () => {
  const { crm, reapit } = await start({ retryAfterSeconds: null });
  crm.setHabits({ rateLimited: 1 });
  const error = await failure(reapit.readPage('contact', { changedSince: null }));
  expect(error).toMatchObject({ kind: 'rate_limited', retryable: true });
  expect(error.retryAfterSeconds).toBeUndefined();
});
