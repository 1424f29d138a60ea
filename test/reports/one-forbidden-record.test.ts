/**
 * Symptom: the CRM refuses one record (a private one, or one of another office). From then on nothing is synced: each
 * run ends at that record, and the connection is shown as one whose access was withdrawn.
 *
 * Source: elastic/connectors #2312 and #3603, owncloud/core #12809 (one object that is not shared, or one 403, ends the
 * whole sync).
 *
 * Input: a CRM that answers `permission` to the write, or to the read, of one record, and serves all others.
 *
 * Right: that record fails, and is listed; everything else is synced, and the connection stays active. If every record
 * is refused, the run counts as a failed one, and the connection is in error.
 */
import { expect, test } from 'vitest';
import { type Crm, CrmError } from '../../examples/crm.js';
import { connectionListWithHealth } from '../../src/index.js';
import type { Connected } from '../simulated-crm/agency.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

/** Lets the CRM refuse some records. */
function forbid(isForbidden: (externalId: string) => boolean): void {
  const check = (externalId: string | undefined) => {
    if (externalId !== undefined && isForbidden(externalId))
      throw new CrmError('permission', 'The record is private.', { retryable: false });
  };
  world.agency.meddle = (client): Crm => ({
    ...client,
    async read(entityType, externalId) {
      check(externalId);
      return client.read(entityType, externalId);
    },
    async write(contact, record) {
      check(record?.externalId);
      return client.write(contact, record);
    },
  });
}

async function healthOf({ organisationId, connectionId }: Connected) {
  const listed = await connectionListWithHealth(pool, {
    organisationId,
    failuresSince: '2026-01-01T00:00:00Z',
  });
  return listed.find((each) => each.connectionId === connectionId);
}

test('a push of a forbidden record fails alone', async () => {
  const { agency } = world;
  const connected = await agency.startAndConnect('reapit');
  const { crm } = connected;
  const { externalId: forbidden } = crm.create('Ottoline Sprat');
  crm.create('Barnaby Quince');
  await agency.tick();
  const { 'Ottoline Sprat': ottoline = '', 'Barnaby Quince': barnaby = '' } = await agency.contacts();
  forbid((externalId) => externalId === forbidden);
  await agency.rename(ottoline, 'Ottoline Spratt');
  await agency.rename(barnaby, 'Barnaby Quinces');
  crm.create('Winifred Plum');
  await agency.tick();

  expect(crm.writes.map(({ name }) => name)).toEqual(['Barnaby Quinces']);
  expect(Object.keys(await agency.contacts())).toEqual([
    'Barnaby Quinces',
    'Ottoline Spratt',
    'Winifred Plum',
  ]);
  expect(await agency.failures()).toMatchObject([
    { direction: 'outbound', recordId: ottoline, error: { kind: 'permission' } },
  ]);
  expect(await healthOf(connected)).toMatchObject({ status: 'active', failedSyncs: 0 });
});

test('a failing record that the CRM forbids to read fails alone', async () => {
  const { agency } = world;
  const connected = await agency.startAndConnect('reapit');
  const { crm } = connected;
  // PostgreSQL has no such text, so it fails, and is read by its id to try again.
  const { externalId: forbidden } = crm.create('Ottoline\0Sprat');
  await agency.tick();
  expect(await agency.failures()).toMatchObject([{ recordId: forbidden, error: { kind: 'internal' } }]);
  forbid((externalId) => externalId === forbidden);
  crm.create('Winifred Plum');
  await agency.tick();

  expect(Object.keys(await agency.contacts())).toEqual(['Winifred Plum']);
  expect(await healthOf(connected)).toMatchObject({ status: 'active', failedSyncs: 0 });
});

test('a CRM that forbids every record puts the connection in error', async () => {
  const { agency } = world;
  const connected = await agency.startAndConnect('reapit', { habits: { skewMilliseconds: -3_600_000 } });
  const { crm } = connected;
  const names = ['Ottoline Sprat', 'Barnaby Quince', 'Winifred Plum'];
  for (const name of names) crm.create(name);
  await agency.tick();
  const contacts = await agency.contacts();
  forbid(() => true);
  // What the overlap reads again is skipped, which would be a success of the run.
  const refuse = agency.meddle as (client: Crm) => Crm;
  agency.meddle = (client) => ({
    ...refuse(client),
    async readPage(entityType, from) {
      return { ...(await client.readPage(entityType, from)), records: [] };
    },
  });
  for (const name of names) await agency.rename(contacts[name] as string, `${name} II`);
  await agency.tick();

  expect(await healthOf(connected)).toMatchObject({
    status: 'error',
    statusReason: expect.stringContaining('denies access to every record'),
  });
});
