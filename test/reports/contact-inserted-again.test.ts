/**
 * Symptom: a contact is deleted by mistake and restored from a backup, with its id. Or two contacts are merged and the one
 * that is gone is kept, as a host that archives does. The CRM gets a second record of the person, or its own edits are
 * overwritten.
 *
 * Source: tried on the example worker of 1.5.1. Of the same kind: simplesalesforce's and HubSpot's advice on restored
 * records.
 *
 * Input: a contact with a record is deleted and inserted again with its id, and edited; a contact is merged into another,
 * stays, and is edited, or the CRM is filled.
 *
 * Right: nobody gets a second record, and no edit at the CRM is overwritten. The first is a failure that says what to do,
 * and linking the record again is enough; the second is skipped, because the person's records are the other contact's.
 */
import { describe, expect, test } from 'vitest';
import {
  contactExternalIdLink,
  contactMerge,
  outboundChangeRecord,
  outboundFillStart,
  syncFailureReplayByIds,
  syncLogListByContact,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { insert, useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

describe.each(['agentos', 'reapit', 'alto', 'loop', 'custom'] as const)('at %s', (provider) => {
  test('a contact that is deleted and inserted again with its id gets no second record', async () => {
    const { agency } = world;
    const { organisationId } = agency;
    const connected = await agency.startAndConnect(provider);
    const { crm } = connected;
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    // From now on, it carries our reference.
    await agency.rename(contactId, 'Ottoline Spratt');
    await agency.tick();
    await pool.query('delete from contacts where id = $1', [contactId]);
    crm.edit(externalId, 'Ottoline Sprattley');
    await insert(pool, 'contacts', {
      id: contactId,
      organisation_id: organisationId,
      name: 'Ottoline Sprat',
    });
    await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
    await agency.tick();
    await agency.tick();
    expect(crm.records()).toMatchObject([{ externalId, name: 'Ottoline Sprattley' }]);
    const failures = await agency.failures();
    expect(failures).toMatchObject([
      { recordId: contactId, error: { kind: 'conflict' }, gaveUpAt: expect.any(String) },
    ]);

    await contactExternalIdLink(pool, {
      organisationId,
      provider,
      entityType: 'contact',
      externalId,
      contactId,
    });
    await syncFailureReplayByIds(pool, { ...connected, ids: failures.map(({ id }) => id) });
    await agency.tick();
    expect(await agency.recordsOf(contactId)).toEqual([`${provider} contact ${externalId} active`]);
    expect(crm.records()).toHaveLength(1);
    expect(await agency.failures()).toEqual([]);
  });

  test('a contact whose record was deleted there as well gets a new one', async () => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await pool.query('delete from contacts where id = $1', [contactId]);
    crm.delete(externalId);
    await insert(pool, 'contacts', {
      id: contactId,
      organisation_id: organisationId,
      name: 'Ottoline Sprat',
    });
    await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
    await agency.tick();
    expect(await agency.recordsOf(contactId)).toHaveLength(1);
    expect(await agency.failures()).toEqual([]);
  });

  test('a contact that was merged into another and is still here gets no record, edited or filled', async () => {
    const { agency } = world;
    const { organisationId } = agency;
    const connected = await agency.startAndConnect(provider);
    const { crm } = connected;
    crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': intoContactId = '' } = await agency.contacts();
    const kept = crypto.randomUUID();
    await insert(pool, 'contacts', { id: kept, organisation_id: organisationId, name: 'O. Sprat' });
    await contactMerge(pool, { organisationId, fromContactId: kept, intoContactId });
    await outboundFillStart(pool, { ...connected, isRepeat: false });
    await agency.tick();
    await agency.rename(kept, 'O. Spratt');
    await agency.tick();
    expect(crm.records()).toHaveLength(1);
    expect(await agency.failures()).toEqual([]);
    const events = await syncLogListByContact(pool, { organisationId, contactId: kept });
    expect(events).toMatchObject([
      { direction: 'outbound', status: 'skipped', reason: 'merged' },
      { direction: 'outbound', status: 'skipped', reason: 'merged' },
    ]);
  });

  test('a contact that another was merged into gets a record, also if both had one elsewhere', async () => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm: custom } = await agency.startAndConnect('custom');
    const [gone] = ['Ottoline Sprat', 'O. Sprat'].map((name) => custom.create(name));
    await agency.tick();
    // So the other's becomes its primary one.
    custom.delete(gone?.externalId ?? '');
    await agency.tick();
    const { 'Ottoline Sprat': intoContactId = '', 'O. Sprat': fromContactId = '' } = await agency.contacts();
    await contactMerge(pool, { organisationId, fromContactId, intoContactId });
    await pool.query('delete from contacts where id = $1', [fromContactId]);
    const { crm } = await agency.startAndConnect(provider === 'custom' ? 'alto' : provider);
    await outboundChangeRecord(pool, { organisationId, contactIds: [intoContactId] });
    await agency.tick();
    expect(crm.records()).toMatchObject([{ reference: intoContactId }]);
  });
});
