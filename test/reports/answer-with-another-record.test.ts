/**
 * Symptom: a CRM has merged two people and says nothing; whoever asks for the record that is gone gets the other one. The
 * next edit of the first person here is written over the second, who was a different contact here, and then comes back
 * as an edit of theirs.
 *
 * Source: tried while 1.6.0 was made. Of the same kind: HubSpot's and Pipedrive's ids that lead to the remaining record
 * after a merge.
 *
 * Input: two contacts with a record each; the CRM answers for the first record with the second one, to reads and to
 * writes, and its lists no longer have the first; the first contact is edited here.
 *
 * Right: nothing is written to the second person; the first one's failure says what a person has to decide.
 */
import { expect, test } from 'vitest';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const world = useAgency(database);

test.each(['agentos', 'alto', 'reapit', 'street', 'loop', 'custom'] as const)(
  'a record of %s for which the CRM answers with another one is not written, and fails for a person to decide',
  async (provider) => {
    const { agency } = world;
    const connected = await agency.startAndConnect(provider);
    const [gone, kept] = [connected.crm.create('Ottoline Sprat'), connected.crm.create('Barnaby Quince')];
    await agency.tick();
    const contacts = await agency.contacts();
    const other = { externalId: kept.externalId };
    agency.meddle = (client) => ({
      ...client,
      async readPage(...args) {
        const page = await client.readPage(...args);
        return {
          ...page,
          records: page.records.filter(({ externalId }) => externalId !== gone.externalId),
        };
      },
      read: (type, id) => client.read(type, id === gone.externalId ? kept.externalId : id),
      write: (contact, linked) =>
        client.write(contact, linked?.externalId === gone.externalId ? { ...linked, ...other } : linked),
    });
    await agency.rename(contacts['Ottoline Sprat'] ?? '', 'Ottoline Spratt');
    for (let count = 0; count < 2; count += 1) await agency.tick();
    expect(Object.keys(await agency.contacts()).toSorted()).toEqual(['Barnaby Quince', 'Ottoline Spratt']);
    expect(connected.crm.records().map(({ name }) => name)).toContain('Barnaby Quince');
    const failures = await agency.failures();
    // A push that is given up has its record read again.
    expect(failures.map(({ direction }) => direction).toSorted()).toEqual(['inbound', 'outbound']);
    for (const { error, gaveUpAt } of failures) {
      expect(error).toMatchObject({ kind: 'conflict', message: expect.stringContaining('another record') });
      expect(gaveUpAt).not.toBeNull();
    }
  },
);
