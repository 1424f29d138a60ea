/**
 * Symptom: a webhook names a record of a kind that the adapter does not know, or one that it cannot read. From then on
 * each run ends there, and nothing that has changed at the CRM arrives any more.
 *
 * Source: tried on the example worker with an adapter that throws a TypeError, as adapters do at a field that is missing.
 *
 * Input: a request for such a record; then a new record at the CRM.
 *
 * Right: the runs fail, because the adapter is broken, but after a few of them the streams are read all the same.
 */
import { expect, test } from 'vitest';
import { recordRequestAdd } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test('a requested record that stops each run does not keep the streams from being read', async () => {
  const { agency } = world;
  const connected = await agency.startAndConnect('reapit');
  await recordRequestAdd(pool, { ...connected, records: [{ entityType: 'viewing', externalId: 'V1' }] });
  let reads = 0;
  agency.meddle = (client) => ({
    ...client,
    async read(entityType, externalId) {
      if (entityType !== 'viewing') return client.read(entityType, externalId);
      reads += 1;
      throw new TypeError('Cannot read properties of undefined.');
    },
  });
  connected.crm.create('Ottoline Sprat');
  for (let run = 0; run < 3; run += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({});
  await agency.tick();
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Sprat']);
  expect(reads).toBe(4);
  const { rows } = await pool.query('select attempts from crm_record_requests where connection_id = $1', [
    connected.connectionId,
  ]);
  expect(rows).toEqual([{ attempts: 4 }]);
});
