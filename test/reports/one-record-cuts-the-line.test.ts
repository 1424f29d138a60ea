/**
 * Symptom: one name, which a firewall in front of the CRM dislikes, cuts the line each time it is written. Each run in
 * which that contact is due ends there: nothing else is pushed, and nothing is read.
 *
 * Source: mautic/mautic #4664 (one record stops all others); tried on 1.4.0 with the example worker.
 *
 * Input: a CRM that cuts the line on the write of one record, and answers everything else.
 *
 * Right: if the CRM answers to what is read after that, the contact fails alone. If it does not, the run has failed, and
 * the change waits for the next one.
 */
import { expect, test } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import { connectionListWithHealth } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

const cut = () => new CrmError('network', 'The line was cut.', { retryable: true });

/** Lets the line be cut when this record is written; with `isDown`, also by everything that follows. */
function cutAt(externalId: string, isDown: boolean): void {
  let wasCut = false;
  world.agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      if (isDown && wasCut) throw cut();
      return client.readPage(entityType, from);
    },
    async write(contact, record) {
      wasCut ||= record?.externalId === externalId;
      if (record?.externalId === externalId) throw cut();
      return client.write(contact, record);
    },
  });
}

async function start(isDown: boolean) {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  cutAt(externalId, isDown);
  await agency.rename(contactId, 'Ottoline Select');
  crm.create('Winifred Plum');
  await agency.tick();
  const { organisationId } = agency;
  const failuresSince = '2026-01-01T00:00:00Z';
  const [health] = await connectionListWithHealth(pool, { organisationId, failuresSince });
  return { crm, contactId, health };
}

test('a contact whose push always cuts the line fails alone', async () => {
  const { contactId, health } = await start(false);
  const { agency } = world;
  expect(Object.keys(await agency.contacts())).toContain('Winifred Plum');
  expect(await agency.failures()).toMatchObject([
    { direction: 'outbound', recordId: contactId, error: { kind: 'network' } },
  ]);
  expect(health).toMatchObject({ status: 'active', failedSyncs: 0, waitingChanges: 0 });
});

test('a line that stays cut fails the run, and the change waits', async () => {
  const { health } = await start(true);
  expect(await world.agency.failures()).toEqual([]);
  expect(health).toMatchObject({ failedSyncs: 1, waitingChanges: 1, lastSyncError: { kind: 'network' } });
});
