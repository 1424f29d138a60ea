/**
 * Symptom: a record is out of sight at the CRM for a while, because its office is not shared or it is in an archive that
 * the API does not show. The person is edited here meanwhile. Once the record is shown again, the edit is gone.
 *
 * Source: tried on 1.4.0: the push was taken for done, and the record's old content for new.
 *
 * Input: hide, edit here, sync, show again, sync; with each CRM that can hide a record. Right: the edit waits, is listed
 * as a failing push meanwhile, and is pushed when the record is shown again. If it was edited at the CRM as well, that is a
 * conflict.
 */
import { expect, test } from 'vitest';
import { connectionSetConflictWinner, recordRequestAdd, syncConflictList } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each(
  (['agentos', 'alto', 'reapit', 'street', 'loop', 'custom'] as const).flatMap((provider) =>
    (['crm', 'nurturehub', 'person'] as const).map((winner) => [provider, winner] as const),
  ),
)(
  'edits on both sides of a record that %s was seen to hide are a conflict, where %s wins',
  async (provider, winner) => {
    const { agency } = world;
    const connected = await agency.startAndConnect(provider);
    const { crm } = connected;
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await connectionSetConflictWinner(pool, { ...connected, conflictWinner: winner });
    crm.hide(externalId);
    await recordRequestAdd(pool, { ...connected, records: [{ entityType: 'contact', externalId }] });
    await agency.tick();
    expect(await agency.recordsOf(contactId)).toEqual([expect.stringMatching(/ hidden$/)]);

    await agency.rename(contactId, 'Ottoline Ours');
    crm.restore(externalId, 'Ottoline Theirs');
    for (let count = 0; count < 2; count += 1) await agency.tick();
    expect(await syncConflictList(pool, connected)).toMatchObject([{ externalId }]);
    const here = Object.keys(await agency.contacts());
    const there = crm.records().map(({ name }) => name);
    const expected = {
      crm: ['Ottoline Theirs', 'Ottoline Theirs'],
      nurturehub: ['Ottoline Ours', 'Ottoline Ours'],
      person: ['Ottoline Ours', 'Ottoline Theirs'],
    };
    expect([...here, ...there]).toEqual(expected[winner]);
  },
);

test.each(['reapit', 'street', 'custom'] as const)(
  'an edit made while %s hides the record is not lost when the record is shown again',
  async (provider) => {
    const { agency } = world;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    crm.hide(externalId);
    await agency.rename(contactId, 'Ottoline Spratt');
    await agency.tick();
    expect(await agency.failures()).toMatchObject([{ direction: 'outbound', error: { kind: 'not_found' } }]);

    crm.restore(externalId);
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
    expect(crm.records()).toMatchObject([{ externalId, name: 'Ottoline Spratt', state: 'active' }]);
    expect(await agency.failures()).toEqual([]);
  },
);
