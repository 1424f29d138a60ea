/**
 * Symptom: a record is linked to the wrong person, and somebody unlinks it. With its next edit it links itself again, and
 * the person gets the name of the other one.
 *
 * Source: open-keychain/open-keychain #1296 (no way to keep a wrong automatic link from coming back).
 *
 * Input: a record that carries the contact's reference, because it was pushed once, is unlinked and then edited at the
 * CRM.
 *
 * Right: a person's decision stays. The record becomes a contact of its own. An edit of the contact does not overwrite it
 * either: the CRM's reference would find it in place of a new record, so that the push fails until somebody removes it. The same goes
 * for a record that was re-pointed to another contact.
 */
import { expect, test } from 'vitest';
import {
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  outboundChangeRecord,
  syncFailureReplayByIds,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { insert, useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test('a record that a person unlinked does not link itself again by its reference', async () => {
  const { agency } = world;
  const { organisationId } = agency;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  await agency.rename(contactId, 'Ottoline Spratt');
  await agency.tick();
  const record = { provider: 'reapit', entityType: 'contact', externalId } as const;
  await contactExternalIdUnlink(pool, { organisationId, ...record, contactId });
  crm.edit(externalId, 'Zebedee Moss');
  await agency.tick();
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Spratt', 'Zebedee Moss']);
});

test.each(['reapit', 'alto'] as const)(
  'a record at %s that a person unlinked is not overwritten with the next edit here',
  async (provider) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm, connectionId } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await agency.rename(contactId, 'Ottoline Spratt');
    await agency.tick();
    crm.edit(externalId, 'Zebedee Moss');
    await agency.rename(contactId, 'Ottoline Later');
    const record = { provider, entityType: 'contact', externalId } as const;
    await contactExternalIdUnlink(pool, { organisationId, ...record, contactId });
    await agency.tick();
    await agency.tick();
    expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Later', 'Zebedee Moss']);
    expect(crm.records()).toMatchObject([{ externalId, name: 'Zebedee Moss' }]);
    const failures = await agency.failures();
    expect(failures).toMatchObject([
      { recordId: contactId, error: { kind: 'conflict' }, gaveUpAt: expect.any(String) },
    ]);

    // Somebody removes the reference.
    agency.meddle = (client) => ({
      ...client,
      async read(...key) {
        const found = await client.read(...key);
        return found && { ...found, reference: null };
      },
      write: async (contact) => ({
        entityType: 'contact',
        externalId: 'NEW1',
        name: contact.name,
        state: 'active',
      }),
    });
    await syncFailureReplayByIds(pool, { organisationId, connectionId, ids: failures.map(({ id }) => id) });
    await agency.tick();
    expect(await agency.recordsOf(contactId)).toEqual([`${provider} contact NEW1 active`]);
    expect(await agency.failures()).toEqual([]);
  },
);

test.each(['reapit', 'custom', 'agentos'] as const)(
  'a record at %s that was re-pointed to another contact is not overwritten with the next edit of the former one',
  async (provider) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': ottoline = '' } = await agency.contacts();
    await agency.rename(ottoline, 'Ottoline Spratt');
    await agency.tick();
    const zebedee = crypto.randomUUID();
    await insert(pool, 'contacts', { id: zebedee, organisation_id: organisationId, name: 'Zebedee Moss' });
    const key = { organisationId, provider, entityType: 'contact', externalId };
    await contactExternalIdRepoint(pool, { ...key, fromContactId: ottoline, toContactId: zebedee });
    crm.edit(externalId, { name: 'Zebedee Moss', phone: '01632 960009' });
    await pool.query("update contacts set email = 'ottoline@example.com' where id = $1", [ottoline]);
    await outboundChangeRecord(pool, { organisationId, contactIds: [ottoline] });
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(crm.records()).toMatchObject([{ name: 'Zebedee Moss', phone: '01632 960009', email: null }]);
    const { rows } = await pool.query('select phone, email from contacts where id = $1', [zebedee]);
    expect(rows).toEqual([{ phone: '01632 960009', email: null }]);
    expect(await agency.failures()).toMatchObject([{ recordId: ottoline, error: { kind: 'conflict' } }]);
  },
);

test.each(['reapit', 'custom', 'loop'] as const)(
  'a record at %s that is unlinked while its contact is written to it stays unlinked',
  async (provider) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await agency.rename(contactId, 'Ottoline Spratt');
    const record = { provider, entityType: 'contact', externalId };
    let isUnlinked = false;
    agency.meddle = (client) => ({
      ...client,
      async write(contact, linked) {
        const written = await client.write(contact, linked);
        if (!isUnlinked) await contactExternalIdUnlink(pool, { organisationId, ...record, contactId });
        isUnlinked = true;
        return written;
      },
    });
    await agency.tick();
    expect(await agency.recordsOf(contactId)).toEqual([]);
    expect(await agency.failures()).toMatchObject([
      { recordId: contactId, error: { kind: 'conflict' }, gaveUpAt: expect.any(String) },
    ]);
  },
);
