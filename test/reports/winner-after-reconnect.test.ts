/**
 * Symptom: an agency has set that a person decides when both sides edit somebody. Its access breaks, it connects the CRM
 * again, and from then on NurtureHub's edits win. Nobody was asked, and nothing says so.
 *
 * Source: tried on the example worker. Of the same kind: settings that a reconnect puts back, which users of n8n and
 * Airbyte report of their connections.
 *
 * Input: a conflict winner is set; disconnect; connect again; edits on both sides.
 *
 * Right: who wins is the agency's decision about this CRM, and outlives a connection. Another CRM has its own.
 */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  connectionConnect,
  connectionDisconnect,
  connectionListWithHealth,
  connectionSetConflictWinner,
  type Provider,
  type Queryable,
  withOrganisation,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');
const world = useAgency(database);

async function connect(client: Queryable, organisationId: string, provider: Provider) {
  const key = { organisationId, connectionId: randomUUID() };
  const credentials = await encryptCredentials({ ...key, provider });
  await connectionConnect(client, { ...key, provider, credentials });
  return key;
}

test('who wins stays what it was when a CRM is connected again, as the application, and at that CRM alone', async () => {
  const { organisationId } = await createTenant(pool);
  await withOrganisation(app, organisationId, async (client) => {
    const first = await connect(client, organisationId, 'reapit');
    await connectionSetConflictWinner(client, { ...first, conflictWinner: 'crm' });
    await connectionDisconnect(client, first);
    const second = await connect(client, organisationId, 'reapit');
    await connectionSetConflictWinner(client, { ...second, conflictWinner: 'person' });
    await connectionDisconnect(client, second);
    await connect(client, organisationId, 'reapit');
    await connect(client, organisationId, 'alto');
    const failuresSince = '2026-01-01T00:00:00Z';
    const all = await connectionListWithHealth(client, { organisationId, failuresSince });
    const live = all.filter(({ status }) => status !== 'disconnected');
    const winners = live.map(({ provider, conflictWinner }) => `${provider} ${conflictWinner}`);
    expect(winners.toSorted()).toEqual(['alto nurturehub', 'reapit person']);
    for (const { connectionId } of live) await connectionDisconnect(client, { organisationId, connectionId });
  });
});

test('edits on both sides after a reconnect wait for a person as before', async () => {
  const { agency } = world;
  const before = await agency.startAndConnect('reapit');
  const { externalId } = before.crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  await connectionSetConflictWinner(pool, { ...before, conflictWinner: 'person' });
  await agency.disconnect(before);
  await agency.connect(before.crm);
  await agency.tick();
  await agency.rename(contactId, 'Ottoline Ours');
  before.crm.edit(externalId, 'Ottoline Theirs');
  await agency.tick();
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Ours']);
  expect(before.crm.records()).toMatchObject([{ name: 'Ottoline Theirs' }]);
  expect(await agency.failures()).toMatchObject([
    { error: { kind: 'conflict' }, gaveUpAt: expect.any(String) },
  ]);
});
