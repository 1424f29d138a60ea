/**
 * Symptom: an agent edits a contact here. The CRM refuses the push for good, for example because it wants a field that
 * we don't have. The next time that the record is read, the edit is gone, here and at the agency's other CRMs, and
 * nothing says so. A replay of the failure then pushes the CRM's own value back and counts as a success.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits; still so on 1.4.0 if the record changes at the CRM.
 *
 * Input: a push that is refused for good (`validation`, not retryable), and an edit of the same record at the CRM.
 *
 * Right: a push that was given up counts as waiting: what was edited here stays, and so does the failure, until a person
 * replays it (the current value is pushed) or dismisses it (the CRM's value is taken), until a later edit is pushed, or
 * until both sides have the same content.
 */
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import { syncFailureDismiss, syncFailureReplayByIds } from '../../src/index.js';
import { Agency, type Connected } from '../simulated-crm/agency.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let agency: Agency;
let reapit: Connected;
let alto: Connected;
let contactId: string;
let externalId: string;
let refuses: CrmError | undefined;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  agency = await Agency.create(pool, worker);
  reapit = await agency.startAndConnect('reapit');
  externalId = reapit.crm.create('Ottoline Sprat').externalId;
  await agency.tick();
  contactId = (await agency.contacts())['Ottoline Sprat'] ?? expect.unreachable();
  alto = await agency.startAndConnect('alto');
  await agency.rename(contactId, 'Ottoline Spratt');
  await agency.tick();
  refuses = new CrmError('validation', 'A postcode is missing.', { retryable: false });
  agency.meddle = (client) => ({
    ...client,
    async write(contact, record) {
      if (client.account === reapit.crm.account && refuses !== undefined) throw refuses;
      return client.write(contact, record);
    },
  });
  await agency.rename(contactId, 'Ottoline Ours');
  await agency.tick();
  expect(await agency.failures()).toMatchObject([
    { direction: 'outbound', recordId: contactId, gaveUpAt: expect.any(String) },
  ]);
  await agency.tick();
});
afterEach(() => agency.stop());

const here = async () => Object.keys(await agency.contacts());
const at = ({ crm }: Connected) => crm.records().map(({ name }) => name);
async function failureKey() {
  const [failure] = await agency.failures();
  const { organisationId, connectionId } = reapit;
  return { organisationId, connectionId, ids: [failure?.id ?? expect.unreachable('no failure')] };
}

describe('a push that was refused for good, and an edit of the record at the CRM', () => {
  beforeEach(async () => {
    reapit.crm.edit(externalId, 'Ottoline Theirs');
    await agency.tick();
    await agency.tick();
  });

  test('leave what was edited here, here and at the other CRM, and the failure stays', async () => {
    expect(await here()).toEqual(['Ottoline Ours']);
    expect(at(alto)).toEqual(['Ottoline Ours']);
    expect(at(reapit)).toEqual(['Ottoline Theirs']);
    expect(await agency.failures()).toMatchObject([{ recordId: contactId, gaveUpAt: expect.any(String) }]);
  });

  test('end with ours everywhere when the failure is replayed', async () => {
    refuses = undefined;
    await syncFailureReplayByIds(pool, await failureKey());
    await agency.tick();
    expect([await here(), at(reapit), at(alto)]).toEqual(Array(3).fill(['Ottoline Ours']));
    expect(await agency.failures()).toEqual([]);
  });

  test('end with theirs everywhere when the failure is dismissed', async () => {
    await syncFailureDismiss(pool, {
      ...(await failureKey()),
      reason: 'The CRM is right.',
      dismissedBy: 'support',
    });
    await agency.tick();
    expect([await here(), at(reapit), at(alto)]).toEqual(Array(3).fill(['Ottoline Theirs']));
  });

  test('end with a later edit here everywhere, and the failure closes', async () => {
    refuses = undefined;
    await agency.rename(contactId, 'Ottoline Later');
    await agency.tick();
    expect([await here(), at(reapit), at(alto)]).toEqual(Array(3).fill(['Ottoline Later']));
    expect(await agency.failures()).toEqual([]);
  });
});

test('a push that was refused is closed when somebody has made the same edit at the CRM', async () => {
  reapit.crm.edit(externalId, 'Ottoline Ours');
  await agency.tick();
  expect(await agency.failures()).toEqual([]);
  expect([await here(), at(reapit), at(alto)]).toEqual(Array(3).fill(['Ottoline Ours']));
});

test('a push that was refused stays open while another record of the contact has other content', async () => {
  const { externalId: landlord } = reapit.crm.create('Ottoline Spratt', contactId, 'landlord');
  await agency.tick();
  reapit.crm.edit(externalId, 'Ottoline Ours');
  await agency.tick();
  expect(await agency.failures()).toMatchObject([{ direction: 'outbound', recordId: contactId }]);
  reapit.crm.edit(landlord, 'Ottoline Ours');
  await agency.tick();
  expect(await agency.failures()).toEqual([]);
});

test('an edit that is made after a dismissal is not dismissed with it', async () => {
  await syncFailureDismiss(pool, {
    ...(await failureKey()),
    reason: 'The CRM is right.',
    dismissedBy: 'support',
  });
  await agency.tick();
  await agency.rename(contactId, 'Ottoline Later');
  await agency.tick();
  reapit.crm.edit(externalId, 'Ottoline Theirs');
  await agency.tick();
  expect(await here()).toEqual(['Ottoline Later']);
  expect(await agency.failures()).toMatchObject([{ gaveUpAt: expect.any(String), dismissedAt: null }]);
});
