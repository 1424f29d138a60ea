/**
 * Symptom: a record was linked to the wrong person, and somebody moves it to the right one while a sync is running.
 * Afterwards the right person has the wrong one's name, here and at every CRM.
 *
 * Source: n8n-io/n8n #19849 and mautic/mautic #8590 (a contact is overwritten with the data of another one).
 *
 * Input: a push writes a contact to its record; before its answer is recorded, the record is re-pointed to another
 * contact.
 *
 * Right: the CRM's record holds the content of a person whom it no longer means, so the contact that it means now is
 * pushed there, and what is read meanwhile does not overwrite it.
 */
import { expect, test } from 'vitest';
import {
  contactExternalIdLink,
  contactExternalIdRepoint,
  outboundChangeClaim,
  outboundChangeListWaiting,
  outboundChangeRecord,
  syncBatchRecord,
  syncRunFinish,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import { connect } from '../support/connection.js';
import { createTenant, insert, useDatabase } from '../support/database.js';
import { claimOne, makeDue } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

test.each(['reapit', 'custom', 'loop'] as const)(
  'a record of %s that is moved while its old contact is pushed gets the content of the new one',
  async (provider) => {
    const { agency } = world;
    const { organisationId } = agency;
    const { crm } = await agency.startAndConnect(provider);
    const { externalId } = crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': ottoline = '' } = await agency.contacts();
    const zebedee = crypto.randomUUID();
    await insert(pool, 'contacts', { id: zebedee, organisation_id: organisationId, name: 'Zebedee Moss' });
    await pool.query("update contacts set email = 'ottoline@example.com' where id = $1", [ottoline]);
    await agency.rename(ottoline, 'Ottoline Spratt');
    let isMoved = false;
    agency.meddle = (client) => ({
      ...client,
      async write(contact, record) {
        const written = await client.write(contact, record);
        if (!isMoved) {
          isMoved = true;
          const key = { organisationId, provider, entityType: 'contact', externalId };
          await contactExternalIdRepoint(pool, { ...key, fromContactId: ottoline, toContactId: zebedee });
        }
        return written;
      },
    });
    for (let count = 0; count < 3; count += 1) await agency.tick();

    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': ottoline, 'Zebedee Moss': zebedee });
    expect(crm.records()).toMatchObject([{ externalId, name: 'Zebedee Moss', email: null }]);
    const { rows } = await pool.query('select email from contacts where id = $1', [zebedee]);
    expect(rows).toEqual([{ email: null }]);
    expect(await agency.failures()).toMatchObject([{ recordId: ottoline, error: { kind: 'conflict' } }]);
  },
);

test.each([
  ['before', false],
  ['after', true],
])(
  'a contact that was pushed %s another to its record, in the same batch, is pushed again',
  async (_, isLast) => {
    const { organisationId, contactIds } = await createTenant(pool, 2);
    const [wrong, right] = contactIds as [string, string];
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
    const key = await connect(pool, organisationId);
    await makeDue(pool, key);
    const record = { entityType: 'contact', externalId: 'OXF18000001' };
    await contactExternalIdLink(pool, { organisationId, provider: 'reapit', ...record, contactId: right });
    await outboundChangeRecord(pool, { organisationId, contactIds });
    const run = await claimOne(pool);
    const versions = new Map(
      (await outboundChangeClaim(pool, run)).map(({ contactId, version }) => [contactId, version]),
    );
    const events = [right, wrong].map(
      (internalId) =>
        ({
          direction: 'outbound',
          ...record,
          internalId,
          status: 'success',
          changeVersion: versions.get(internalId),
          linksContact: true,
        }) as const,
    );
    await syncBatchRecord(pool, { ...run, batchNumber: 1, events: isLast ? events.toReversed() : events });
    const waiting = await outboundChangeListWaiting(pool, { ...run, contactIds: [right] });
    expect(waiting).toMatchObject([{ contactId: right, hasFailed: false }]);
    await syncRunFinish(pool, { ...run, outcome: 'success' });
    await makeDue(pool, key);
    const again = await claimOne(pool);
    expect(await outboundChangeClaim(pool, again)).toMatchObject([{ contactId: right, attempts: 1 }]);
    await syncRunFinish(pool, { ...again, outcome: 'success' });
  },
);
