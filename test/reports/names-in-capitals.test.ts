/**
 * Symptom: a CRM keeps names in capitals. Somebody there corrects a phone number, and the person's name is in capitals in
 * NurtureHub and at the agency's other CRM, too.
 *
 * Source: tried while 1.6.0 was made. Of the same kind: twentyhq/twenty and Mautic users' reports of imports that rewrite
 * a whole contact where one field was edited.
 *
 * Input: a record whose name is the contact's in capitals, with another phone number; at a CRM with versions, and without.
 *
 * Right: the phone number is taken; the name stays as it is here and at the other CRM.
 */
import { expect, test } from 'vitest';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each(['reapit', 'alto'] as const)(
  'an edit of a phone number at %s, which keeps names in capitals, leaves the name as it is',
  async (provider) => {
    const { agency } = world;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create({ name: 'Ottoline McSprat', phone: '020 7946 0001' });
    await agency.tick();
    const other = await agency.startAndConnect('custom');
    await agency.rename((await agency.contacts())['Ottoline McSprat'] ?? '', 'Ottoline McSprat');
    await agency.tick();

    crm.edit(externalId, { name: 'OTTOLINE  MCSPRAT', phone: '020 7946 0002' });
    for (let count = 0; count < 2; count += 1) await agency.tick();
    const { rows } = await pool.query('select name, phone from contacts where organisation_id = $1', [
      agency.organisationId,
    ]);
    expect(rows).toEqual([{ name: 'Ottoline McSprat', phone: '020 7946 0002' }]);
    expect(other.crm.records()).toMatchObject([{ name: 'Ottoline McSprat', phone: '020 7946 0002' }]);
    expect(await agency.failures()).toEqual([]);
  },
);
