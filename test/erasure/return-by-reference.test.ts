import { expect, test } from 'vitest';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';

// A record that carries the id of an erased contact, in the example worker: a push was just creating it, or the CRM has
// copied a record with its reference.

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each(['has deleted the contact', 'still has the contact'])(
  'the record does not bring the person back if the host %s',
  async (host) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect('reapit');
    crm.create('Ottoline Sprat');
    for (let count = 0; count < 2; count += 1) await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await eraseContacts(pool, organisationId, [contactId]);
    const isDeleted = host === 'has deleted the contact';
    if (isDeleted) await pool.query('delete from contacts where id = $1', [contactId]);
    const kept = isDeleted ? {} : { 'Ottoline Sprat': contactId };

    const inFlight = crm.create('Ottoline Sprat', contactId, 'landlord');
    const copy = crm.create('Ottoline Sprat', contactId);
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual(kept);
    crm.edit(inFlight.externalId, 'Ottoline Second');
    // Nor is she sent to the CRM once more.
    const records = crm.records().length;
    if (!isDeleted) await agency.rename(contactId, 'Ottoline Third');
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(crm.records()).toHaveLength(records);
    expect(Object.values(await agency.contacts())).toEqual(Object.values(kept));
    expect(await agency.failures()).toEqual([]);
    for (const text of [contactId, inFlight.externalId, copy.externalId])
      expect(await placesOf(pool, text)).toEqual([]);
  },
);
