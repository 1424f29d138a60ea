/**
 * Symptom: two colleagues correct the same person at the CRM, each in one of the two records that the person has there. One
 * of the corrections is gone, and nothing says so.
 *
 * Source: tried while 1.5.1 was made, with the simulated CRMs. Read one after the other, the second one was a conflict all
 * along.
 *
 * Input: a contact with two records of one type, after a merge here; both are edited before the next sync, which reads them
 * together.
 *
 * Right: as if they were read one after the other. The second one is a conflict, and the connection's winner decides.
 */
import { expect, test } from 'vitest';
import {
  connectionSetConflictWinner,
  contactMerge,
  outboundChangeRecord,
  syncConflictList,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each([
  ['reapit', 'nurturehub', 'ottoline@example.com', null],
  ['agentos', 'nurturehub', 'ottoline@example.com', null],
  ['custom', 'nurturehub', 'ottoline@example.com', null],
  ['custom', 'crm', null, '01632 960009'],
  ['custom', 'person', 'ottoline@example.com', null],
] as const)(
  'of two records of %s that are edited at once, the second is a conflict: %s wins',
  async (provider, conflictWinner, email, phone) => {
    const { agency } = world;
    const { organisationId } = agency;
    const connected = await agency.startAndConnect(provider);
    const { crm } = connected;
    await connectionSetConflictWinner(pool, { ...connected, conflictWinner });
    const one = crm.create('Ottoline Sprat');
    const two = crm.create('O. Sprat');
    await agency.tick();
    const { 'O. Sprat': fromContactId = '', 'Ottoline Sprat': intoContactId = '' } = await agency.contacts();
    await contactMerge(pool, { organisationId, fromContactId, intoContactId });
    await pool.query('delete from contacts where id = $1', [fromContactId]);
    await outboundChangeRecord(pool, { organisationId, contactIds: [intoContactId] });
    for (let count = 0; count < 3; count += 1) await agency.tick();
    agency.meddle = (client) => ({
      ...client,
      async readPage(...args) {
        const page = await client.readPage(...args);
        const key = ({ externalId }: { externalId: string }) => (externalId === one.externalId ? 0 : 1);
        return { ...page, records: page.records.toSorted((a, b) => key(a) - key(b)) };
      },
    });
    crm.edit(one.externalId, { email: 'ottoline@example.com' });
    crm.edit(two.externalId, { phone: '01632 960009' });
    for (let count = 0; count < 3; count += 1) await agency.tick();
    const { rows } = await pool.query('select email, phone from contacts where organisation_id = $1', [
      organisationId,
    ]);
    expect(rows).toEqual([{ email, phone }]);
    expect(await syncConflictList(pool, connected)).toMatchObject([{ externalId: two.externalId }]);
  },
);
