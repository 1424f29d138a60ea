/**
 * Symptom: two people of the CRM become one, because their ids differ only in letter case (Salesforce), in a leading
 * zero, in white space, in the form of Unicode, or beyond the digits of a JavaScript number.
 *
 * Source: MinnPost/object-sync-for-salesforce #131; SFDO-Community/declarative-lookup-rollup-summaries #347.
 *
 * Input: records under such ids, in a first sync, an edit of each, a named record, a failure, an alias and a merge.
 *
 * Right: an id is opaque text: each of them is its own record, everywhere. A number that JavaScript may have rounded is
 * refused.
 */
import { expect, test } from 'vitest';
import {
  contactExternalIdMatchMany,
  externalRecordCheckMany,
  externalRecordListByContacts,
  externalRecordMergeMany,
  recordRequestAdd,
  recordRequestClaim,
  recordRequestClear,
  syncBatchRecord,
  syncFailureList,
  toExternalId,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);
const world = useAgency(database);

const ids = [
  '0013000000XyZab',
  '0013000000XYZab',
  '0013000000XyZabAAC',
  '7',
  '07',
  '7 ',
  ' 7',
  '７',
  '7.0',
  '9007199254740992',
  '9007199254740993',
  'Zo\u00eb',
  'Zoe\u0308',
  'straße',
  'strasse',
];
const names = ids.map((_, index) => `Test Person ${String.fromCharCode(65 + index)}`);

test('records whose ids look alike are people of their own, at the first sync and at each edit', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  for (const name of names) crm.create(name);
  const own = new Map(crm.records().map(({ externalId }, index) => [externalId, ids[index] as string]));
  agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      const page = await client.readPage(entityType, from);
      const records = page.records.map((record) => ({
        ...record,
        externalId: own.get(record.externalId) as string,
      }));
      return { ...page, records };
    },
  });
  await agency.tick();
  const contacts = await agency.contacts();
  expect(Object.keys(contacts)).toEqual(names);
  const { organisationId } = agency;
  const match = { organisationId, provider: 'reapit', entityType: 'contact', externalIds: ids } as const;
  expect((await contactExternalIdMatchMany(pool, match)).map(({ contactId }) => contactId)).toEqual(
    names.map((name) => contacts[name]),
  );

  for (const { externalId, name } of crm.records()) crm.edit(externalId, `${name} II`);
  await agency.tick();
  const edited = names.map((name) => [`${name} II`, contacts[name]]);
  expect(await agency.contacts()).toEqual(Object.fromEntries(edited));
});

test('failures, requests and checks of records whose ids look alike are apart', async () => {
  await atNine(async (client) => {
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
    const { organisationId, contactIds } = await createTenant(pool, ids.length);
    await connectDue('reapit', { organisationId });
    const run = await claimOne(client);
    const records = ids.map((externalId) => ({ entityType: 'contact', externalId }));
    await recordRequestAdd(client, { ...run, records });
    const error = { kind: 'internal', retryable: true, message: 'It could not be stored.' } as const;
    const failed = records.map(
      (record) => ({ direction: 'inbound', ...record, status: 'error', error }) as const,
    );
    await syncBatchRecord(client, { ...run, batchNumber: 1, events: failed });
    expect(await recordRequestClaim(client, run)).toHaveLength(ids.length);

    // One of them succeeds.
    const event = { direction: 'inbound', status: 'success', linksContact: true } as const;
    const [first, ...others] = records.map((record, index) => ({
      ...event,
      ...record,
      internalId: contactIds[index],
      remoteVersion: `"${index}"`,
    }));
    await syncBatchRecord(client, { ...run, batchNumber: 2, events: first ? [first] : [] });
    await recordRequestClear(client, { ...run, records: records.slice(0, 1) });
    const failures = await syncFailureList(client, run);
    expect(failures.map(({ recordId }) => recordId).toSorted()).toEqual(ids.slice(1).toSorted());

    await syncBatchRecord(client, { ...run, batchNumber: 3, events: others });
    const sent = records.map((record, index) => ({ ...record, version: `"${index}"` }));
    const decisions = await externalRecordCheckMany(client, { ...run, records: sent });
    expect(decisions).toMatchObject(
      contactIds.map((contactId) => ({ contactId, matchedBy: 'primary', decision: 'unchanged' })),
    );
  });
});

test('a merge of a record tells nothing of the one whose id looks alike', async () => {
  await atNine(async (client) => {
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
    const { organisationId, contactIds } = await createTenant(pool, 2);
    await connectDue('reapit', { organisationId });
    const run = await claimOne(client);
    const record = (externalId: string) => ({ entityType: 'contact', externalId });
    const events = ['abc', 'ABC'].map(
      (externalId, index) =>
        ({
          direction: 'inbound',
          ...record(externalId),
          internalId: contactIds[index],
          status: 'success',
          linksContact: true,
        }) as const,
    );
    await syncBatchRecord(client, { ...run, batchNumber: 1, events });
    const merges = [{ from: record('aBC'), into: record('ABC') }];
    await externalRecordMergeMany(client, { organisationId, provider: 'reapit', merges });
    const listed = await externalRecordListByContacts(client, { organisationId, contactIds });
    expect(listed.map(({ contactId, externalId }) => [contactIds.indexOf(contactId), externalId])).toEqual(
      expect.arrayContaining([
        [0, 'abc'],
        [1, 'ABC'],
        [1, 'aBC'],
      ]),
    );
    expect(listed).toHaveLength(3);
  });
});

test('an id that JavaScript has rounded is refused, as a number and as an event’s id', async () => {
  const rounded = JSON.parse('9007199254740993') as number;
  expect(() => toExternalId(rounded)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
  await atNine(async (client) => {
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
    const { organisationId } = await createTenant(pool);
    await connectDue('reapit', { organisationId });
    const run = await claimOne(client);
    const event = { direction: 'inbound', entityType: 'contact', status: 'skipped' } as const;
    const events = [{ ...event, externalId: rounded as unknown as string }];
    await expect(syncBatchRecord(client, { ...run, batchNumber: 1, events })).rejects.toMatchObject({
      code: 'invalid_input',
      rowIndex: 0,
    });
  });
});
