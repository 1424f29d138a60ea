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
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import type { CrmRecord } from '../../examples/crm.js';
import { outboundChangeRecord, syncLogListByConnection } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each([
  ['an id with half a character', 'error', { externalId: 'A\ud800' }],
  ['an id that is a number', 'error', { externalId: 7 }],
  ['a state that there is not', 'error', { state: 'on_hold' }],
  ['another type than was asked for', 'error', { entityType: 'landlord' }],
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

test.each([
  ['an id that is a number', { externalId: 7 }],
  ['a state that there is not', { state: 'on_hold' }],
] as const)(
  'an answer to a write with %s fails alone, and the contact is not created twice',
  async (_, spoilt) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect('custom');
    agency.meddle = (client) => ({
      ...client,
      async write(contact, record) {
        const written = await client.write(contact, record);
        return written !== null && 'name' in written && written.name === 'Ottoline Sprat'
          ? ({ ...written, ...spoilt } as unknown as CrmRecord)
          : written;
      },
    });
    const contactIds = [randomUUID(), randomUUID()];
    await pool.query(
      "insert into contacts (organisation_id, id, name) select $1, unnest($2::uuid[]), unnest('{Ottoline Sprat,Barnaby Quince}'::text[])",
      [organisationId, contactIds],
    );
    await outboundChangeRecord(pool, { organisationId, contactIds });
    await agency.tick();
    const [sprat = '', quince = ''] = contactIds;
    // The list has the record as it is: it is linked by the reference.
    for (const id of [sprat, quince]) expect(await agency.recordsOf(id)).toHaveLength(1);
    agency.meddle = undefined;
    await agency.rename(sprat, 'Ottoline Spratt');
    await agency.tick();
    expect(
      crm
        .records()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['Barnaby Quince', 'Ottoline Spratt']);
    expect(await agency.failures()).toEqual([]);
  },
);
