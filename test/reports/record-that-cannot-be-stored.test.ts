/**
 * Symptom: one record of the CRM has half an emoji in its id, where the CRM has cut a text. PostgreSQL has no such text;
 * each run ends at that record, and nothing of the agency is synced any more.
 *
 * Source: tried while 1.5.1 was made, with the simulated CRMs. Of the same kind: mautic/mautic #4664 (one record stops all
 * others).
 *
 * Input: a page with one record that has such a value, and one that is as it should be.
 *
 * Right: the other one is synced. The one with the value is stored without it, if it is only a hint; otherwise it is
 * refused, and applied once it is right.
 */
import { expect, test } from 'vitest';
import type { CrmRecord } from '../../examples/crm.js';
import { syncLogListByConnection } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each([
  ['an id with half a character', 'error', { externalId: 'A\ud800' }],
  ['a version with half a character', 'success', { version: '"\ud800"' }],
  ['the latest of all times', 'success', { modifiedAt: '9999-12-31T23:59:59Z' }],
  ['the earliest of all times', 'success', { modifiedAt: '0001-01-02T00:00:00Z' }],
  ['a name with half a character', 'error', { name: 'Ottoline \ud83d' }],
  ['an email with half a character', 'error', { email: '\ud83d' }],
  ['a name that is null', 'error', { name: null }],
  ['a reference that is a number', 'success', { reference: 7 }],
  ['half a character in the id that it was merged into', 'error', { state: 'merged', mergedInto: 'A\ud800' }],
  ['its own id as the one that it was merged into', 'skipped', { state: 'merged', mergedInto: 'itself' }],
] as const)(
  'a record with %s does not stop the others, is logged as %s, and is applied once it is right',
  async (_, status, spoilt) => {
    const { agency } = world;
    const connected = await agency.startAndConnect('custom');
    const { crm } = connected;
    const { externalId } = crm.create('Ottoline Sprat');
    const other = crm.create('Barnaby Quince');
    const spoil = (record: CrmRecord) => {
      if (record.externalId !== externalId) return record;
      const mergedInto =
        'mergedInto' in spoilt && spoilt.mergedInto === 'itself' ? { mergedInto: externalId } : {};
      return { ...record, ...spoilt, ...mergedInto } as CrmRecord;
    };
    agency.meddle = (client) => ({
      ...client,
      async readPage(...args) {
        const page = await client.readPage(...args);
        return { ...page, records: page.records.map(spoil) };
      },
      async read(...args) {
        const record = await client.read(...args);
        return record && spoil(record);
      },
    });
    for (let count = 0; count < 2; count += 1) await agency.tick();
    const isApplied = status === 'success';
    expect(Object.keys(await agency.contacts())).toEqual([
      'Barnaby Quince',
      ...(isApplied ? ['Ottoline Sprat'] : []),
    ]);
    const log = await syncLogListByConnection(pool, connected);
    expect(log.filter((event) => event.externalId !== other.externalId)).toContainEqual(
      expect.objectContaining({ direction: 'inbound', status }),
    );
    // What has no id that can be stored is only in the log.
    const isListed = status === 'error' && !('externalId' in spoilt);
    expect((await agency.failures()).map(({ recordId }) => recordId)).toEqual(isListed ? [externalId] : []);

    agency.meddle = undefined;
    crm.edit(externalId, 'Ottoline Spratt');
    await agency.tick();
    expect(Object.keys(await agency.contacts())).toEqual(['Barnaby Quince', 'Ottoline Spratt']);
    expect(await agency.failures()).toEqual([]);
  },
);
