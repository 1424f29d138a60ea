import { describe, expect, test } from 'vitest';
import {
  contactExternalIdLinkMany,
  contactExternalIdMatchMany,
  contactExternalIdUnlink,
  contactIdentityChangeList,
  contactMerge,
  externalRecordMergeMany,
} from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { tenantWithIds } from '../support/identity.js';

const { pool } = useDatabase();

/** A tenant whose records are all of Reapit's contacts: ids are written without provider and entity type. */
async function tenantWithRecords(...idsByContact: string[][]) {
  const full = (id: string) => `reapit contact ${id}`;
  const tenant = await tenantWithIds(pool, ...idsByContact.map((ids) => ids.map(full)));
  const { organisationId } = tenant;
  return {
    ...tenant,
    /** Merges records at the CRM, each written as `1 into 2`. */
    mergeRecords: (...merges: string[]) =>
      externalRecordMergeMany(pool, {
        organisationId,
        provider: 'reapit',
        merges: merges.map((merge) => {
          const [from = '', into = ''] = merge.split(' into ');
          return tenant.recordMerge(full(from), full(into));
        }),
      }),
    /** The ids of a contact, the primary one first and marked with `*`. */
    idsOf: async (index: number) => (await tenant.ids(index)).map((id) => id.replace('reapit contact ', '')),
    state: (id: string) => tenant.stateOf(full(id)),
    changes: async (index: number) => {
      const rows = await contactIdentityChangeList(pool, {
        organisationId,
        contactId: tenant.contact(index),
      });
      return rows.map(({ kind, externalId }) => `${kind} ${externalId}`);
    },
  };
}

describe('externalRecordMergeMany', () => {
  test('of a primary id and an alias of one contact lets the other record take its place', async () => {
    const { contact, mergeRecords, idsOf, state } = await tenantWithRecords(['1', '2']);
    expect(await mergeRecords('1 into 2')).toEqual([{ outcome: 'merged', contactId: contact(0) }]);
    expect(await idsOf(0)).toEqual(['*2', '1']);
    expect([await state('1'), await state('2')]).toEqual(['merged into contact 2', 'active']);
  });

  test('of an alias into the primary id leaves that where it is', async () => {
    const { mergeRecords, idsOf, state } = await tenantWithRecords(['1', '2']);
    await mergeRecords('2 into 1');
    expect([await idsOf(0), await state('2')]).toEqual([['*1', '2'], 'merged into contact 1']);
  });

  test('of an alias into another alias leaves the primary id where it is', async () => {
    const { mergeRecords, idsOf, state } = await tenantWithRecords(['1', '2', '3']);
    await mergeRecords('2 into 3');
    expect([await idsOf(0), await state('2')]).toEqual([['*1', '2', '3'], 'merged into contact 3']);
  });

  test('of a record that means no contact makes it an alias, so that its next edit finds the contact', async () => {
    const { organisationId, contact, mergeRecords, idsOf } = await tenantWithRecords(['1']);
    expect(await mergeRecords('9 into 1')).toEqual([{ outcome: 'merged', contactId: contact(0) }]);
    expect(await idsOf(0)).toEqual(['*1', '9']);
    expect(
      await contactExternalIdMatchMany(pool, {
        organisationId,
        provider: 'reapit',
        entityType: 'contact',
        externalIds: ['9'],
      }),
    ).toMatchObject([{ contactId: contact(0), matchedBy: 'alias', remoteState: 'merged' }]);
  });

  test.each([
    ['a primary id', '1 into 9', ['*9', '1', '2']],
    ['an alias', '2 into 9', ['*1', '2', '9']],
  ])('of %s into a record that means no contact links that one', async (_, merge, ids) => {
    const { mergeRecords, idsOf } = await tenantWithRecords(['1', '2']);
    await mergeRecords(merge);
    expect((await idsOf(0)).toSorted()).toEqual(ids.toSorted());
  });

  test.each([
    ['into a record that means no contact', '2 into 3', ['*3', '2'], 'promoted 3'],
    ['of a record that means no contact into it', '3 into 2', ['*2', '3'], 'promoted 2'],
  ])(
    'of the alias that a contact without a primary id has left, %s, makes the record that remains its primary id',
    async (_, merge, ids, latest) => {
      const tenant = await tenantWithRecords(['1', '2']);
      const { organisationId, link } = tenant;
      await tenant.mergeRecords('2 into 1');
      await contactExternalIdUnlink(pool, { organisationId, ...link(0, 'reapit contact 1') });
      expect(await tenant.idsOf(0)).toEqual(['2']);
      await tenant.mergeRecords(merge);
      expect(await tenant.idsOf(0)).toEqual(ids);
      expect((await tenant.changes(0))[0]).toBe(latest);
    },
  );

  test('of records of two contacts changes nothing, and is recorded once the contacts are merged', async () => {
    const tenant = await tenantWithRecords(['1'], ['2']);
    const { contact, mergeRecords, idsOf } = tenant;
    const differ = { outcome: 'contacts_differ', contactId: contact(1), otherContactId: contact(0) };
    expect(await mergeRecords('1 into 2')).toEqual([differ]);
    expect([await idsOf(0), await idsOf(1)]).toEqual([['*1'], ['*2']]);
    expect(await tenant.changes(0)).toEqual([]);
    await contactMerge(pool, tenant.merge(0, 1));
    expect(await mergeRecords('1 into 2')).toEqual([{ outcome: 'merged', contactId: contact(1) }]);
    expect([await idsOf(1), await tenant.state('1')]).toEqual([['*2', '1'], 'merged into contact 2']);
    // What still comes with the id of the record that is gone belongs to the contact that remains.
    const links = [tenant.link(1, 'reapit contact 1')];
    expect(await contactExternalIdLinkMany(pool, { organisationId: tenant.organisationId, links })).toEqual([
      { outcome: 'already_linked' },
    ]);
  });

  test('returns an outcome for each merge, and one that is not recorded does not stop the others', async () => {
    const { contact, mergeRecords, idsOf } = await tenantWithRecords(['1', '2'], ['3']);
    expect(await mergeRecords('1 into 3', '7 into 8', '1 into 1', '7 into 7', '1 into 2')).toEqual([
      { outcome: 'contacts_differ', contactId: contact(1), otherContactId: contact(0) },
      { outcome: 'unknown' },
      { outcome: 'same_record', contactId: contact(0) },
      { outcome: 'same_record', contactId: null },
      { outcome: 'merged', contactId: contact(0) },
    ]);
    expect([await idsOf(0), await idsOf(1)]).toEqual([['*2', '1'], ['*3']]);
  });

  test('told again changes nothing and is noted once', async () => {
    const { contact, mergeRecords, changes, idsOf } = await tenantWithRecords(['1', '2']);
    const merged = { outcome: 'merged', contactId: contact(0) };
    expect(await mergeRecords('1 into 2', '1 into 2')).toEqual([merged, merged]);
    expect(await mergeRecords('1 into 2')).toEqual([merged]);
    expect([await changes(0), await idsOf(0)]).toEqual([
      ['records_merged 1', 'promoted 2'],
      ['*2', '1'],
    ]);
  });

  test.each([
    ['in the order in which they happened', ['1 into 2', '2 into 3']],
    ['in the opposite order', ['2 into 3', '1 into 2']],
  ])('of a chain of merges, told %s, makes the last record the primary id', async (_, merges) => {
    const { mergeRecords, idsOf, state } = await tenantWithRecords(['1', '2', '3']);
    for (const merge of merges) await mergeRecords(merge);
    expect(await idsOf(0)).toEqual(['*3', '1', '2']);
    expect([await state('1'), await state('2'), await state('3')]).toEqual([
      'merged into contact 2',
      'merged into contact 3',
      'active',
    ]);
  });

  test('the other way round revives the record that was gone', async () => {
    const { mergeRecords, idsOf, state } = await tenantWithRecords(['1', '2']);
    await mergeRecords('1 into 2');
    await mergeRecords('2 into 1');
    expect([await idsOf(0), await state('1'), await state('2')]).toEqual([
      ['*1', '2'],
      'active',
      'merged into contact 1',
    ]);
  });

  test('of records of two entity types keeps them apart', async () => {
    const tenant = await tenantWithIds(pool, ['reapit applicant 1', 'reapit landlord 1']);
    const { organisationId } = tenant;
    const merges = [tenant.recordMerge('reapit applicant 1', 'reapit landlord 1')];
    await externalRecordMergeMany(pool, { organisationId, provider: 'reapit', merges });
    expect(await tenant.ids(0)).toEqual(['*reapit landlord 1', 'reapit applicant 1']);
    expect(await tenant.stateOf('reapit applicant 1')).toBe('merged into landlord 1');
  });

  test('finds nothing of another organisation', async () => {
    const { recordMerge, ids } = await tenantWithIds(pool, ['reapit contact 1', 'reapit contact 2']);
    const { organisationId } = await createTenant(pool, 1);
    const merges = [recordMerge('reapit contact 1', 'reapit contact 2')];
    expect(await externalRecordMergeMany(pool, { organisationId, provider: 'reapit', merges })).toEqual([
      { outcome: 'unknown' },
    ]);
    expect(await ids(0)).toEqual(['*reapit contact 1', 'reapit contact 2']);
  });

  test('refuses an element that is no merge, and names it', async () => {
    const { organisationId, recordMerge } = await tenantWithIds(pool, ['reapit contact 1']);
    const good = recordMerge('reapit contact 1', 'reapit contact 2');
    for (const bad of [
      null,
      { ...good, into: undefined },
      { ...good, from: { entityType: 'Contact', externalId: '1' } },
      { ...good, into: { entityType: 'contact', externalId: ' ' } },
    ]) {
      await expect(
        externalRecordMergeMany(pool, { organisationId, provider: 'reapit', merges: [good, bad as never] }),
      ).rejects.toMatchObject({ code: 'invalid_input', rowIndex: 1 });
    }
    await expect(
      externalRecordMergeMany(pool, { organisationId, provider: 'no crm' as never, merges: [good] }),
    ).rejects.toMatchObject({ code: 'unknown_provider' });
  });
});
