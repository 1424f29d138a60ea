/**
 * Symptom: a colleague corrects a person at the CRM, and seconds later somebody edits the same person here. The CRM answers
 * an error when the record is looked at, and takes the write all the same: the correction is overwritten, and nothing says
 * so.
 *
 * Source: tried while 1.5.1 was made, with the simulated CRMs that compare no versions.
 *
 * Input: edits on both sides; the record cannot be read before it is written, once or for good.
 *
 * Right: what has not been seen is not overwritten. The push is a failure until the record can be read; then the rule for
 * conflicts decides.
 */
import { expect, test } from 'vitest';
import { CrmError, type CrmRecord } from '../../examples/crm.js';
import { syncConflictList } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each([
  ['an error', async () => Promise.reject(new CrmError('provider', 'Unavailable.', { retryable: true }))],
  ['a refusal', async () => Promise.reject(new CrmError('permission', 'Forbidden.', { retryable: false }))],
  [
    'a state that there is not',
    async (record: CrmRecord | null) => ({ ...record, state: 'on_hold' }) as unknown as CrmRecord,
  ],
] as const)('a record that is answered with %s is not overwritten unseen', async (_, answer) => {
  const { agency } = world;
  const connected = await agency.startAndConnect('street');
  const { crm } = connected;
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  let isBroken = true;
  let isEdited = false;
  agency.meddle = (client) => ({
    ...client,
    async read(...args) {
      if (isBroken && !isEdited) crm.edit(externalId, 'Ottoline Theirs');
      isEdited = true;
      const record = await client.read(...args);
      return isBroken ? answer(record) : record;
    },
    // They are seen only when the record is read by its id.
    readPage: async (type, from) => ({ ...(await client.readPage(type, from)), records: [] }),
  });
  await agency.rename(contactId, 'Ottoline Ours');
  await agency.tick();
  expect(isEdited).toBe(true);
  expect(crm.records()).toMatchObject([{ name: 'Ottoline Theirs' }]);
  const failures = await agency.failures();
  expect(failures).toContainEqual(expect.objectContaining({ direction: 'outbound', recordId: contactId }));

  isBroken = false;
  await agency.rename(contactId, 'Ottoline Ours');
  await agency.tick();
  expect(crm.records()).toMatchObject([{ name: 'Ottoline Ours' }]);
  expect(await syncConflictList(pool, connected)).toHaveLength(1);
});
