/**
 * Symptom: a record was edited twice within a second, and the first edit is what stays: the CRM's feed has the newer
 * copy before the older one. Or a record that was deleted and restored counts as deleted.
 *
 * Source: reapit/foundations #9608 and paypal/mirakl-hyperwallet-connector #35 (notifications of one record in the wrong
 * order); PostHog/posthog #77469 (copies of one record within a batch).
 *
 * Input: one page with two copies of a record, the newer one first.
 *
 * Right: the newer copy counts, whichever comes first, and whether or not the record was known before the page.
 */
import { expect, test } from 'vitest';
import type { CrmRecord } from '../../examples/crm.js';
import { externalRecordCheckMany } from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';
import { tenantWithIds } from '../support/identity.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

/** Lets each page have a copy of each record, older by a millisecond, right after the current one. */
function addOldCopies(old: Partial<CrmRecord>): void {
  world.agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      const page = await client.readPage(entityType, from);
      const now = Date.now();
      const modifiedAt = (ago: number) => new Date(now - ago).toISOString();
      const records = page.records.flatMap((record) => [
        { ...record, modifiedAt: modifiedAt(0) },
        { ...record, version: '"old"', modifiedAt: modifiedAt(1), ...old },
      ]);
      return { ...page, records };
    },
  });
}

test('an old copy after the current one, on the page that first shows the record, changes nothing', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  addOldCopies({ name: 'Ottoline Spra' });
  crm.create('Ottoline Sprat');
  await agency.tick();
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Sprat']);
});

test('an old copy after the current one of a known record changes nothing', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  addOldCopies({ name: 'Ottoline Spra' });
  crm.edit(externalId, 'Ottoline Spratt');
  await agency.tick();
  expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Spratt']);
});

test('a deletion that was undone, and comes after the restored record, deletes nothing', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  await agency.tick();
  const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
  addOldCopies({ state: 'deleted' });
  crm.edit(externalId, 'Ottoline Spratt');
  await agency.tick();
  expect(await agency.recordsOf(contactId)).toEqual([`reapit contact ${externalId} active`]);
  expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
});

test('each copy is compared with those before it, whatever the other records', async () => {
  const { organisationId } = await tenantWithIds(pool, ['reapit contact 1']);
  const at = (externalId: string, minute: string | null, entityType = 'contact') => ({
    entityType,
    externalId,
    modifiedAt: minute && `2026-11-16T08:${minute}:00Z`,
  });
  const records = [
    at('1', '30'),
    at('2', '10'),
    at('1', '20'),
    at('1', null),
    at('1', '30'),
    at('1', '31'),
    at('1', '30'),
    at('1', '05', 'landlord'),
    at('2', '09'),
  ];
  const decisions = await externalRecordCheckMany(pool, { organisationId, provider: 'reapit', records });
  expect(decisions.map(({ decision }) => decision)).toEqual([
    'changed',
    'unknown',
    'older',
    'changed',
    'changed',
    'changed',
    'older',
    'unknown',
    'older',
  ]);
});
