import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  contactMerge,
  contactMergeUndo,
  contactReferenceCheckMany,
  syncLogRecord,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { tenantWithIds } from '../support/identity.js';

const database = useDatabase();
const { pool } = database;

describe('contactReferenceCheckMany', () => {
  test('a contact that sync knows is told from one that the record was unlinked from, and from ids of others', async () => {
    const { organisationId, contact, link } = await tenantWithIds(
      pool,
      ['reapit contact 1', 'reapit contact 9'],
      [],
    );
    const other = await createTenant(pool, 1);
    const [foreign = ''] = other.contactIds;
    const log = async (tenant: string, contactIds: string[]) => {
      const event = { direction: 'outbound', entityType: 'contact', status: 'skipped' } as const;
      const events = contactIds.map((internalId) => ({ ...event, internalId }));
      await syncLogRecord(pool, { ...(await connect(pool, tenant)), events });
    };
    await log(organisationId, [contact(0), contact(1)]);
    await log(other.organisationId, [foreign]);
    await contactExternalIdUnlink(pool, { organisationId, ...link(0, 'reapit contact 1') });
    const fromContactId = contact(0);
    await contactExternalIdRepoint(pool, {
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: '9',
      fromContactId,
      toContactId: contact(1),
    });
    const meaning = async (externalId: string, contactId: string, entityType = 'contact') => {
      const references = [{ entityType, externalId, contactId }];
      const [found] = await contactReferenceCheckMany(pool, {
        organisationId,
        provider: 'reapit',
        references,
      });
      expect(found?.contactId).toBe(contactId);
      return found?.meaning;
    };

    expect(await meaning('1', contact(0))).toBe('unlinked');
    expect(await meaning('9', contact(0))).toBe('unlinked');
    expect(await meaning('1', contact(0), 'landlord')).toBe('contact');
    expect(await meaning('2', contact(0))).toBe('contact');
    expect(await meaning('1', contact(1))).toBe('contact');
    expect(await meaning('1', foreign)).toBe('unknown');
    expect(await meaning('1', randomUUID())).toBe('unknown');
    const references = [contact(1), foreign, contact(0)].map((contactId) => ({
      entityType: 'contact',
      externalId: '1',
      contactId,
    }));
    expect(await contactReferenceCheckMany(pool, { organisationId, provider: 'reapit', references })).toEqual(
      [
        { contactId: contact(1), meaning: 'contact' },
        { contactId: foreign, meaning: 'unknown' },
        { contactId: contact(0), meaning: 'unlinked' },
      ],
    );
  });

  test('a reference to a contact that was merged away names the contact that it is now, until the merge is undone', async () => {
    const { organisationId, contact, link } = await tenantWithIds(pool, ['reapit contact 1'], [], []);
    const meaningOf = async (externalId: string, contactId: string) => {
      const references = [{ entityType: 'contact', externalId, contactId }];
      return (await contactReferenceCheckMany(pool, { organisationId, provider: 'reapit', references }))[0];
    };
    const merge = (from: number, into: number) =>
      contactMerge(pool, { organisationId, fromContactId: contact(from), intoContactId: contact(into) });
    await merge(0, 1);
    const { operationId } = await merge(1, 2);
    expect(await meaningOf('2', contact(0))).toEqual({ contactId: contact(2), meaning: 'contact' });
    expect(await meaningOf('2', contact(1))).toEqual({ contactId: contact(2), meaning: 'contact' });
    expect(await contactMergeUndo(pool, { organisationId, operationId })).toMatchObject({
      outcome: 'undone',
    });
    expect(await meaningOf('2', contact(0))).toEqual({ contactId: contact(1), meaning: 'contact' });
    // Unlinked from what the contact has become.
    await contactExternalIdUnlink(pool, { organisationId, ...link(1, 'reapit contact 1') });
    expect(await meaningOf('1', contact(0))).toEqual({ contactId: contact(1), meaning: 'unlinked' });
  });

  test('contacts that were merged in a circle, which only deletions allow, end the search', async () => {
    const { organisationId, contact } = await tenantWithIds(pool, [], []);
    const [one, other] = [contact(0), contact(1)];
    for (const [fromContactId, intoContactId] of [
      [one, other],
      [other, one],
    ] as const)
      await contactMerge(pool, { organisationId, fromContactId, intoContactId });
    const references = [{ entityType: 'contact', externalId: '1', contactId: one }];
    const [found] = await contactReferenceCheckMany(pool, { organisationId, provider: 'reapit', references });
    expect([one, other]).toContain(found?.contactId);
  });

  test.each([
    ['a reference that is no object', ['OXF18000001'], 'references'],
    [
      'a contact id that is no UUID',
      [{ entityType: 'contact', externalId: '1', contactId: '7' }],
      'contactId',
    ],
    [
      'a record without an id',
      [{ entityType: 'contact', externalId: '', contactId: randomUUID() }],
      'externalId',
    ],
  ])('%s is refused, with its place', async (_, references, field) => {
    await expect(
      contactReferenceCheckMany(pool, {
        organisationId: randomUUID(),
        provider: 'reapit',
        references: references as never,
      }),
    ).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringContaining(field),
      rowIndex: 0,
    });
  });
});
