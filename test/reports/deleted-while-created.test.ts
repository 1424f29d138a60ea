/**
 * Symptom: a person is deleted, and is back after the next sync, as another contact: the CRM was just making the record
 * of them, which nobody knew yet.
 *
 * Source: mautic/mautic #8904 and #13340, veda-consulting-company/uk.co.vedaconsulting.mailchimp #140 (deleted contacts
 * are made again by the next sync; a race).
 *
 * Input: a push creates the record of a contact; before its answer is recorded, the host deletes the contact, or merges
 * it into another and then deletes it.
 *
 * Right: the record is noted as one whose contact was deleted. The sync skips it until a person links it. If the contact
 * was merged, the record is that of the contact that remains, whether or not the answer arrives; and once the merge is
 * undone, its own again.
 */
import { describe, expect, test } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import {
  contactExternalIdLink,
  contactExternalIdRepoint,
  contactIdentityChangeList,
  contactMerge,
  contactMergeUndo,
  outboundChangeRecord,
  syncFailureReplayByIds,
  syncLogListByConnection,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { insert, useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

/**
 * Adds a contact here, whom the next sync creates at the CRM; calls `meanwhile` before the CRM answers. Unless it `isRead`,
 * the CRM's list is out of order meanwhile.
 */
async function createDuring(
  name: string,
  meanwhile: (contactId: string) => Promise<void>,
  { isRead = true } = {},
): Promise<string> {
  const { agency } = world;
  const { organisationId } = agency;
  const row = { organisation_id: organisationId, name };
  const { id } = await insert(pool, 'contacts', { id: crypto.randomUUID(), ...row });
  await agency.rename(id as string, name);
  agency.meddle = (client) => ({
    ...client,
    async write(contact, record) {
      const written = await client.write(contact, record);
      if (contact.contactId === id) await meanwhile(id);
      return written;
    },
    readPage(...where) {
      if (isRead) return client.readPage(...where);
      throw new CrmError('provider', 'The list is out of order.', { retryable: true });
    },
  });
  await agency.tick();
  agency.meddle = undefined;
  return id as string;
}

const deleteContact = async (contactId: string) => {
  await pool.query('delete from contacts where id = $1', [contactId]);
};

test.each(['reapit', 'custom', 'alto'] as const)(
  'a contact that is deleted while %s creates its record does not come back',
  async (provider) => {
    const { agency } = world;
    const { crm, ...connection } = await agency.startAndConnect(provider);
    await createDuring('Ottoline Sprat', deleteContact);
    const { externalId } = crm.records()[0] ?? expect.unreachable('not created');
    crm.edit(externalId, 'Ottoline Spratt');
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({});
    expect(crm.records()).toHaveLength(1);
    const events = await syncLogListByConnection(pool, connection);
    expect(events[0]).toMatchObject({ externalId, status: 'skipped', reason: 'erased' });
  },
);

test('a contact that is deleted while reapit updates its record does not come back', async () => {
  const { agency } = world;
  const { crm, ...connection } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  await agency.rename(contactId, 'Ottoline Spratt');
  agency.meddle = (client) => ({
    ...client,
    async write(contact, record) {
      const written = await client.write(contact, record);
      await deleteContact(contactId);
      return written;
    },
  });
  await agency.tick();
  agency.meddle = undefined;
  crm.edit(externalId, 'Ottoline Sprats');
  await agency.tick();
  expect(await agency.contacts()).toEqual({});
  expect(await agency.failures()).toEqual([]);
  const events = await syncLogListByConnection(pool, connection);
  expect(events[0]).toMatchObject({ externalId, status: 'skipped', reason: 'erased' });
});

test('a contact that is merged while its record is created does not come back as another', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  crm.create('Barnaby Quince');
  await agency.tick();
  const { 'Barnaby Quince': intoContactId = '' } = await agency.contacts();
  await createDuring('Barnaby Quinces', async (fromContactId) => {
    await contactMerge(pool, { organisationId: agency.organisationId, fromContactId, intoContactId });
    await deleteContact(fromContactId);
  });
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Barnaby Quince': intoContactId });
  expect(crm.records()).toHaveLength(2);
});

test.each([true, false])(
  'a contact that is merged while its record is created has that record afterwards (the answer arrives: %s)',
  async (answerArrives) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect('reapit');
    const { id } = await insert(pool, 'contacts', {
      id: crypto.randomUUID(),
      organisation_id: organisationId,
      name: 'Barnaby Quince',
    });
    const intoContactId = id as string;
    await createDuring('Barnaby Quinces', async (fromContactId) => {
      await contactMerge(pool, { organisationId, fromContactId, intoContactId });
      await deleteContact(fromContactId);
      if (!answerArrives) throw new CrmError('timeout', 'No answer.', { retryable: true });
    });
    const { externalId } = crm.records()[0] ?? expect.unreachable('not created');
    crm.edit(externalId, 'Barnaby Q. Quince');
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Barnaby Q. Quince': intoContactId });
    expect(await agency.recordsOf(intoContactId)).toEqual([`reapit contact ${externalId} active`]);
    expect(crm.records()).toHaveLength(1);
  },
);

describe('a contact that is merged by mistake while its record is created', () => {
  /** Merges a new contact into another while its record is created, and undoes that after the sync. */
  async function mergeAndPart({ isRead }: { isRead: boolean }) {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm, connectionId } = await agency.startAndConnect('reapit');
    const quince = { id: crypto.randomUUID(), organisation_id: organisationId, name: 'Barnaby Quince' };
    await insert(pool, 'contacts', quince);
    let operationId = '';
    const contactId = await createDuring(
      'Ottoline Sprat',
      async (fromContactId) => {
        const merge = { organisationId, fromContactId, intoContactId: quince.id };
        ({ operationId } = await contactMerge(pool, merge));
        await deleteContact(fromContactId);
      },
      { isRead },
    );
    const { externalId } = crm.records()[0] ?? expect.unreachable('not created');
    await insert(pool, 'contacts', {
      id: contactId,
      organisation_id: organisationId,
      name: 'Ottoline Spratt',
    });
    expect(await contactMergeUndo(pool, { organisationId, operationId })).toMatchObject({
      outcome: 'undone',
    });
    await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
    for (let count = 0; count < 3; count += 1) await agency.tick();
    return { agency, organisationId, connectionId, crm, contactId, otherContactId: quince.id, externalId };
  }

  test('has that record once the merge is undone', async () => {
    const { agency, crm, contactId, externalId } = await mergeAndPart({ isRead: false });
    expect(await agency.recordsOf(contactId)).toEqual([`reapit contact ${externalId} active`]);
    expect(crm.records().map(({ name }) => name)).toEqual(['Ottoline Spratt']);
    expect(await agency.failures()).toEqual([]);
  });

  test('needs a person if the record was read before the merge is undone: it is the other contact’s', async () => {
    const { agency, organisationId, connectionId, crm, contactId, otherContactId, externalId } =
      await mergeAndPart({
        isRead: true,
      });
    expect(await agency.recordsOf(otherContactId)).toEqual([`reapit contact ${externalId} active`]);
    const failures = await agency.failures();
    expect(failures).toMatchObject([
      { error: { kind: 'conflict', message: expect.stringContaining('linked to another contact') } },
    ]);

    const record = { provider: 'reapit', entityType: 'contact', externalId } as const;
    const between = { fromContactId: otherContactId, toContactId: contactId };
    await contactExternalIdRepoint(pool, { organisationId, ...record, ...between });
    const ids = failures.map(({ id }) => id);
    await syncFailureReplayByIds(pool, { organisationId, connectionId, ids });
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.recordsOf(contactId)).toEqual([`reapit contact ${externalId} active`]);
    expect(crm.records().map(({ name }) => name)).toContain('Ottoline Spratt');
  });
});

test('a record that was created for a deleted contact is taken once a person links it', async () => {
  const { agency } = world;
  const { organisationId } = agency;
  const { crm } = await agency.startAndConnect('reapit');
  const deleted = await createDuring('Ottoline Sprat', deleteContact);
  const { externalId } = crm.records()[0] ?? expect.unreachable('not created');
  await agency.tick();
  const record = { provider: 'reapit', entityType: 'contact', externalId } as const;
  const [change] = await contactIdentityChangeList(pool, { organisationId, contactId: deleted });
  expect(change).toMatchObject({ kind: 'contact_deleted', fromContactId: deleted });

  const contactId = crypto.randomUUID();
  await insert(pool, 'contacts', { id: contactId, organisation_id: organisationId, name: 'Ottoline' });
  await contactExternalIdLink(pool, { organisationId, ...record, contactId });
  crm.edit(externalId, 'Ottoline Spratt');
  await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
});

test('a contact that is deleted after the answer to its creation was lost does not come back', async () => {
  const { agency } = world;
  const { organisationId } = agency;
  await agency.startAndConnect('reapit');
  const { id } = await insert(pool, 'contacts', {
    id: crypto.randomUUID(),
    organisation_id: organisationId,
    name: 'Ottoline Sprat',
  });
  await agency.rename(id as string, 'Ottoline Sprat');
  agency.meddle = (client) => ({
    ...client,
    async write(contact, record) {
      await client.write(contact, record);
      await pool.query('delete from contacts where id = $1', [id]);
      throw new CrmError('timeout', 'No answer.', { retryable: true });
    },
  });
  for (let count = 0; count < 3; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({});
});
