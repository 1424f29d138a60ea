/**
 * Symptom: an agent edits somebody at the CRM, a colleague the same person here. The colleague's edit is pushed, and the
 * agent's is gone. No conflict is listed, although the worker had read the record a moment before it wrote.
 *
 * Source: as clock-ahead-at-the-crm.test.ts, met on pushing: an edit was stamped by a clock that was ahead, and so the
 * next one looks older.
 *
 * Input: a server of the CRM that is an hour ahead stamps an edit, which is read; another, right, stamps the next. Before
 * that one is read, the contact is edited here. For each setting of who wins, at CRMs that do not compare versions.
 *
 * Right: what was read by its id a moment ago is what the CRM has, whatever its time. It is a conflict, and the setting
 * decides.
 */
import { expect, test } from 'vitest';
import type { CrmRecord } from '../../examples/crm.js';
import { type ConflictWinner, connectionSetConflictWinner, syncConflictList } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each<['alto' | 'street', ConflictWinner, string, string, string]>([
  ['alto', 'nurturehub', 'Ottoline Ours', 'Ottoline Ours', 'nurturehub'],
  ['alto', 'crm', 'Ottoline Theirs', 'Ottoline Theirs', 'crm'],
  ['alto', 'person', 'Ottoline Ours', 'Ottoline Theirs', 'neither'],
  ['street', 'person', 'Ottoline Ours', 'Ottoline Theirs', 'neither'],
])(
  'at %s, where %s wins, an edit with an older time is a conflict on pushing',
  async (provider, winner, here, there, kept) => {
    const { agency } = world;
    const connected = await agency.startAndConnect(provider);
    const { crm } = connected;
    const { externalId } = crm.create('Ottoline Sprat');
    const stamped = (record: CrmRecord): CrmRecord => ({
      ...record,
      modifiedAt: new Date(Date.now() + (record.name === 'Ottoline Sprat' ? 3_600_000 : 0)).toISOString(),
    });
    agency.meddle = (client) => ({
      ...client,
      async read(...key) {
        const found = await client.read(...key);
        return found && stamped(found);
      },
      async readPage(...asked) {
        const page = await client.readPage(...asked);
        return { ...page, records: page.records.map(stamped) };
      },
    });
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await connectionSetConflictWinner(pool, { ...connected, conflictWinner: winner });
    crm.edit(externalId, 'Ottoline Theirs');
    await agency.rename(contactId, 'Ottoline Ours');
    await agency.tick();
    expect(Object.keys(await agency.contacts())).toEqual([here]);
    expect(crm.records()).toMatchObject([{ name: there }]);
    expect(await syncConflictList(pool, connected)).toMatchObject([{ externalId, contactId, kept }]);
  },
);
