/**
 * Symptom: after the CRM was restored from a backup, some edits never arrive. Each sync reads them and calls them
 * unchanged, because their version number was used before. The same where a version is a time in whole seconds, and a
 * record is edited twice within one.
 *
 * Source: syncyomi/syncyomi #242 (a tie of versions with another content); nextcloud/desktop #743 and owncloud/client
 * #2325 (what was restored on the server is not synced).
 *
 * Input: a record that is read again with the known version and another content.
 *
 * Right: it has changed. A version tells that nothing has changed only as long as the content does not say otherwise;
 * except after our own push, whose version the CRM told us: what differs then is how the CRM writes it.
 */
import { expect, test } from 'vitest';
import {
  contentHash,
  externalRecordCheckMany,
  outboundChangeRecord,
  syncBatchRecord,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);
const world = useAgency(database);

test('an edit at a CRM that uses a version again is applied', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      const page = await client.readPage(entityType, from);
      return { ...page, records: page.records.map((record) => ({ ...record, version: '"5"' })) };
    },
  });
  await agency.tick();
  const { 'Ottoline Sprat': contactId } = await agency.contacts();
  await agency.tick();
  crm.edit(externalId, 'Ottoline Spratt');
  await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
});

test.each([
  ['another content', 'Ottoline Spratt', 'changed'],
  ['the same content', 'OTTOLINE  SPRAT', 'unchanged'],
  ['an unknown content', null, 'unchanged'],
] as const)(
  'a record that was read with its version before, now with %s: %s, is %s',
  async (_, name, decision) => {
    await atNine(async (client) => {
      const { run, record, contactId } = await connected(client);
      const event = { direction: 'inbound', ...record, internalId: contactId, status: 'success' } as const;
      const fields = { remoteVersion: '"5"', contentHash: contentHash({ name: 'Ottoline Sprat' }) };
      await syncBatchRecord(client, {
        ...run,
        batchNumber: 1,
        events: [{ ...event, ...fields, linksContact: true }],
      });
      const sent = { ...record, version: '"5"', contentHash: name === null ? null : contentHash({ name }) };
      expect(await externalRecordCheckMany(client, { ...run, records: [sent] })).toMatchObject([
        { decision },
      ]);
    });
  },
);

test('a push whose version comes back with the name as the CRM writes it is an echo', async () => {
  await atNine(async (client) => {
    const { run, record, contactId } = await connected(client);
    await outboundChangeRecord(client, { organisationId: run.organisationId, contactIds: [contactId] });
    const push = { direction: 'outbound', ...record, internalId: contactId, status: 'success' } as const;
    const fields = { remoteVersion: '"5"', contentHash: contentHash({ name: 'Ottoline Sprat' }) };
    await syncBatchRecord(client, {
      ...run,
      batchNumber: 1,
      events: [{ ...push, ...fields, linksContact: true }],
    });
    const sent = { ...record, version: '"5"', contentHash: contentHash({ name: 'Ottoline Spr' }) };
    expect(await externalRecordCheckMany(client, { ...run, records: [sent] })).toMatchObject([
      { decision: 'echo' },
    ]);
  });
});

async function connected(client: Parameters<typeof claimOne>[0]) {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  const { organisationId, contactIds } = await createTenant(pool, 1);
  await connectDue('reapit', { organisationId });
  const record = { entityType: 'contact', externalId: 'OXF18000001' };
  return { run: await claimOne(client), record, contactId: contactIds[0] as string };
}
