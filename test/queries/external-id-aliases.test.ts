import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  type ContactLink,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdListByContact,
  contactExternalIdLock,
  contactExternalIdMatchMany,
  contactExternalIdRepoint,
  contactExternalIdRepointMany,
  contactExternalIdResolve,
  contactExternalIdResolveMany,
  contactExternalIdUnlink,
  contactExternalIdUnlinkMany,
  contactIdentityChangeList,
  externalRecordListByContacts,
} from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';

const { url, pool } = useDatabase();

/** An organisation whose contacts have ids at Reapit: the first of each contact is primary, the others aliases. */
async function tenantWithIds(...idsByContact: string[][]) {
  const { organisationId, contactIds } = await createTenant(pool, idsByContact.length);
  const contact = (index: number) => contactIds[index] as string;
  /** An id is written as its entity type and external id: `landlord 7`. */
  const record = (id: string) => {
    const [entityType = '', externalId = ''] = id.split(' ');
    return { provider: 'reapit' as const, entityType, externalId };
  };
  const link = (index: number, id: string): ContactLink => ({ ...record(id), contactId: contact(index) });
  const move = (id: string, from: number, to: number) => ({
    ...record(id),
    fromContactId: contact(from),
    toContactId: contact(to),
  });
  const links = idsByContact.flatMap((ids, index) => ids.map((id) => link(index, id)));
  // One by one, so that the times at which they were first seen are in this order.
  for (const each of links)
    await contactExternalIdLinkMany(pool, { organisationId, links: [each], ifContactTaken: 'alias' });
  /** The ids of a contact, the primary one first and marked. */
  const ids = async (index: number) => {
    const records = await externalRecordListByContacts(pool, {
      organisationId,
      contactIds: [contact(index)],
    });
    return records.map(
      ({ entityType, externalId, isPrimary }) => `${isPrimary ? '*' : ''}${entityType} ${externalId}`,
    );
  };
  const setState = async (id: string, state: string) => {
    const { entityType, externalId } = record(id);
    const into = state === 'merged' ? 'other' : null;
    await pool.query(
      `update contact_external_id_aliases
       set remote_state = $4, merged_into_entity_type = $5, merged_into_external_id = $5
       where organisation_id = $1 and entity_type = $2 and external_id = $3`,
      [organisationId, entityType, externalId, state, into],
    );
  };
  return { organisationId, contactIds, contact, record, link, move, ids, setState };
}

describe('a link with ifContactTaken alias', () => {
  test('makes an alias of a further id, and confirms it afterwards', async () => {
    const { organisationId, link, ids } = await tenantWithIds(['contact 1']);
    const links = [link(0, 'landlord 1'), link(0, 'landlord 1')];
    const outcomes = () =>
      contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken: 'alias' });
    expect(await outcomes()).toEqual([{ outcome: 'linked_as_alias' }, { outcome: 'linked_as_alias' }]);
    expect(await outcomes()).toEqual([{ outcome: 'already_linked' }, { outcome: 'already_linked' }]);
    expect(await ids(0)).toEqual(['*contact 1', 'landlord 1']);
  });

  test('makes the first id primary and the second an alias in one call', async () => {
    const { organisationId, link, ids } = await tenantWithIds([]);
    expect(
      await contactExternalIdLinkMany(pool, {
        organisationId,
        links: [link(0, 'landlord 2'), link(0, 'applicant 1')],
        ifContactTaken: 'alias',
      }),
    ).toEqual([{ outcome: 'linked_as_alias' }, { outcome: 'linked' }]);
    expect(await ids(0)).toEqual(['*applicant 1', 'landlord 2']);
  });

  test('is refused by default, as is an unknown value', async () => {
    const { organisationId, link, ids } = await tenantWithIds(['contact 1']);
    const links = [link(0, 'landlord 1')];
    expect(await contactExternalIdLinkMany(pool, { organisationId, links })).toEqual([
      { outcome: 'contact_taken', linkedEntityType: 'contact', linkedExternalId: '1' },
    ]);
    await expect(
      contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken: 'both' as never }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await ids(0)).toEqual(['*contact 1']);
  });

  test("returns external_id_taken for another contact's alias, for primary and further ids", async () => {
    const { organisationId, contact, link } = await tenantWithIds(
      ['contact 1', 'landlord 1'],
      ['contact 2'],
      [],
    );
    const taken = { outcome: 'external_id_taken', linkedContactId: contact(0) };
    expect(
      await contactExternalIdLinkMany(pool, {
        organisationId,
        links: [link(1, 'landlord 1'), link(2, 'landlord 1'), link(1, 'contact 1')],
        ifContactTaken: 'alias',
      }),
    ).toEqual([taken, taken, taken]);
    await expect(
      contactExternalIdLink(pool, { organisationId, ...link(2, 'landlord 1') }),
    ).rejects.toMatchObject({ code: 'external_id_taken' });
  });

  test('makes an alias of a contact without a primary id the primary id, and notes it', async () => {
    const { organisationId, contact, link, ids, setState } = await tenantWithIds(['contact 1', 'landlord 1']);
    await setState('landlord 1', 'merged');
    await contactExternalIdUnlink(pool, { organisationId, ...link(0, 'contact 1') });
    expect(await ids(0)).toEqual(['landlord 1']);
    const links = [link(0, 'landlord 1')];
    expect(await contactExternalIdLinkMany(pool, { organisationId, links })).toEqual([
      { outcome: 'already_linked' },
    ]);
    expect(await ids(0)).toEqual(['*landlord 1']);
    const [latest] = await contactIdentityChangeList(pool, { organisationId, contactId: contact(0) });
    expect(latest).toMatchObject({
      kind: 'promoted',
      entityType: 'landlord',
      wasPrimary: false,
      isPrimary: true,
    });
  });

  test('refreshes lastSeenAt of an alias at most once a day', async () => {
    const { organisationId, contact, link } = await tenantWithIds(['contact 1', 'landlord 1']);
    const seenAfter = async (age: string) => {
      await pool.query(
        `update contact_external_id_aliases
         set first_seen_at = now() - $2::interval, last_seen_at = now() - $2::interval
         where contact_id = $1`,
        [contact(0), age],
      );
      await contactExternalIdLink(pool, { organisationId, ...link(0, 'landlord 1') });
      const [, alias] = await externalRecordListByContacts(pool, {
        organisationId,
        contactIds: [contact(0)],
      });
      return Date.now() - Date.parse(alias?.lastSeenAt ?? '');
    };
    expect(await seenAfter('23 hours')).toBeGreaterThan(22 * 3_600_000);
    expect(await seenAfter('25 hours')).toBeLessThan(3_600_000);
  });
});

describe('contactExternalIdMatchMany', () => {
  test('says how each id matched, in the order given, and leaves unknown ids out', async () => {
    const { organisationId, contact, setState } = await tenantWithIds(
      ['landlord 1', 'landlord 2'],
      ['landlord 3'],
    );
    await setState('landlord 2', 'deleted');
    const params = { organisationId, provider: 'reapit', entityType: 'landlord' } as const;
    const externalIds = ['3', 'unknown', '2', '1', '2'];
    const match = (externalId: string, index: number, matchedBy: string, remoteState: string) => ({
      externalId,
      contactId: contact(index),
      matchedBy,
      remoteState,
    });
    expect(await contactExternalIdMatchMany(pool, { ...params, externalIds })).toEqual([
      match('3', 1, 'primary', 'active'),
      match('2', 0, 'alias', 'deleted'),
      match('1', 0, 'primary', 'active'),
      match('2', 0, 'alias', 'deleted'),
    ]);
    expect(await contactExternalIdResolveMany(pool, { ...params, externalIds })).toEqual(
      new Map([
        ['3', contact(1)],
        ['2', contact(0)],
        ['1', contact(0)],
      ]),
    );
    expect(await contactExternalIdResolve(pool, { ...params, externalId: '2' })).toBe(contact(0));
    const elsewhere = { ...params, organisationId: randomUUID(), externalIds };
    expect(await contactExternalIdMatchMany(pool, elsewhere)).toEqual([]);
  });

  test.each([
    ['another entity type', { entityType: 'applicant' }],
    ['another provider', { provider: 'alto' as const }],
  ])('does not find an alias under %s', async (_, other) => {
    const { organisationId } = await tenantWithIds(['contact 1', 'landlord 2']);
    const params = { organisationId, provider: 'reapit', entityType: 'landlord', ...other } as const;
    expect(await contactExternalIdMatchMany(pool, { ...params, externalIds: ['2'] })).toEqual([]);
  });
});

describe('unlinking', () => {
  test.each([
    ['of the same entity type before the oldest', ['contact 1', 'landlord 2', 'contact 3'], {}, '*contact 3'],
    ['the oldest', ['contact 1', 'landlord 2', 'applicant 3'], {}, '*landlord 2'],
    [
      'the oldest that is not deleted',
      ['contact 1', 'contact 2', 'landlord 3'],
      { 'contact 2': 'deleted' },
      '*landlord 3',
    ],
    [
      'a deleted one if there is no other',
      ['contact 1', 'contact 2'],
      { 'contact 2': 'deleted' },
      '*contact 2',
    ],
    [
      'none that was merged',
      ['contact 1', 'contact 2', 'landlord 3'],
      { 'contact 2': 'merged', 'landlord 3': 'deleted' },
      '*landlord 3',
    ],
  ] as const)('a primary id promotes an alias: %s', async (_, all, states, expected) => {
    const { organisationId, link, ids, setState } = await tenantWithIds([...all]);
    for (const [id, state] of Object.entries(states)) await setState(id, state);
    expect(await contactExternalIdUnlink(pool, { organisationId, ...link(0, 'contact 1') })).toBe(true);
    const left = await ids(0);
    expect(left[0]).toBe(expected);
    expect(left).toHaveLength(all.length - 1);
  });

  test('the last id that was not merged leaves a merged alias without a primary id', async () => {
    const { organisationId, link, ids, setState } = await tenantWithIds(['contact 1', 'contact 2']);
    await setState('contact 2', 'merged');
    await contactExternalIdUnlink(pool, { organisationId, ...link(0, 'contact 1') });
    expect(await ids(0)).toEqual(['contact 2']);
  });

  test('a primary id and aliases in one call promotes none that is unlinked', async () => {
    const { organisationId, link, ids } = await tenantWithIds(
      ['contact 1', 'landlord 1', 'landlord 2'],
      ['contact 3', 'landlord 3'],
    );
    const links = [link(0, 'contact 1'), link(0, 'landlord 1'), link(1, 'landlord 3'), link(1, 'landlord 2')];
    expect(await contactExternalIdUnlinkMany(pool, { organisationId, links })).toEqual([
      true,
      true,
      true,
      false,
    ]);
    expect([await ids(0), await ids(1)]).toEqual([['*landlord 2'], ['*contact 3']]);
  });

  test('keeps what is known of the record that is promoted', async () => {
    const { organisationId, contact, link } = await tenantWithIds(['contact 1', 'landlord 1']);
    await pool.query(
      `update contact_external_id_aliases
       set first_seen_at = '2026-01-02', last_seen_at = '2026-01-03', remote_state = 'archived',
         remote_version = '"7"', remote_modified_at = '2026-01-04', content_hash = sha256('x'),
         pushed_at = '2026-01-05'
       where contact_id = $1`,
      [contact(0)],
    );
    const known = async (table: string) => {
      const { rows } = await pool.query(
        `select first_seen_at, last_seen_at, remote_state, remote_version, remote_modified_at, content_hash,
           pushed_at from ${table} where contact_id = $1 and entity_type = 'landlord'`,
        [contact(0)],
      );
      return rows;
    };
    const before = await known('contact_external_id_aliases');
    await contactExternalIdUnlink(pool, { organisationId, ...link(0, 'contact 1') });
    expect(await known('contact_external_ids')).toEqual(before);
  });

  test('promotes an alias that a concurrent transaction adds', async () => {
    const { organisationId, link, ids } = await tenantWithIds(['contact 1']);
    const rival = await pool.connect();
    const client = await pool.connect();
    try {
      await rival.query('begin');
      await contactExternalIdLinkMany(rival, {
        organisationId,
        links: [link(0, 'landlord 1')],
        ifContactTaken: 'alias',
      });
      const unlinked = contactExternalIdUnlink(client, { organisationId, ...link(0, 'contact 1') });
      await waitUntilBlocked(url, client);
      await rival.query('commit');
      expect(await unlinked).toBe(true);
      expect(await ids(0)).toEqual(['*landlord 1']);
    } finally {
      await rival.query('rollback');
      rival.release();
      client.release();
    }
  });
});

describe('re-pointing', () => {
  test('a primary id promotes an alias of the contact that it leaves', async () => {
    const { organisationId, move, ids } = await tenantWithIds(['contact 1', 'landlord 1'], []);
    await contactExternalIdRepoint(pool, { organisationId, ...move('contact 1', 0, 1) });
    expect([await ids(0), await ids(1)]).toEqual([['*landlord 1'], ['*contact 1']]);
  });

  test('an alias makes it the primary id of its new contact', async () => {
    const { organisationId, move, ids } = await tenantWithIds(['contact 1', 'landlord 1'], []);
    await contactExternalIdRepoint(pool, { organisationId, ...move('landlord 1', 0, 1) });
    expect([await ids(0), await ids(1)]).toEqual([['*contact 1'], ['*landlord 1']]);
  });

  test('is refused for an alias if the new contact has a primary id, although an alias of that one leaves', async () => {
    const { organisationId, move, ids } = await tenantWithIds(
      ['contact 1', 'landlord 1'],
      ['contact 2', 'landlord 2'],
      [],
    );
    await expect(
      contactExternalIdRepointMany(pool, {
        organisationId,
        moves: [move('landlord 1', 0, 1), move('landlord 2', 1, 2)],
      }),
    ).rejects.toMatchObject({ code: 'contact_taken', rowIndex: 0 });
    expect([await ids(0), await ids(1), await ids(2)]).toEqual([
      ['*contact 1', 'landlord 1'],
      ['*contact 2', 'landlord 2'],
      [],
    ]);
  });

  test('swaps primary ids and keeps the aliases', async () => {
    const { organisationId, move, ids } = await tenantWithIds(
      ['contact 1', 'landlord 1'],
      ['contact 2', 'landlord 2'],
    );
    await contactExternalIdRepointMany(pool, {
      organisationId,
      moves: [move('contact 1', 0, 1), move('contact 2', 1, 0)],
    });
    expect([await ids(0), await ids(1)]).toEqual([
      ['*contact 2', 'landlord 1'],
      ['*contact 1', 'landlord 2'],
    ]);
  });

  test.each(['contact 1', 'landlord 1'])(
    '%s forgets its version and content, which the new contact has not taken',
    async (record) => {
      const { organisationId, contact, move } = await tenantWithIds(['contact 1', 'landlord 1'], []);
      for (const table of ['contact_external_ids', 'contact_external_id_aliases'])
        await pool.query(
          `update ${table} set remote_version = '"7"', content_hash = sha256('x'), pushed_at = now(),
             remote_modified_at = '2026-03-03Z'
           where organisation_id = $1`,
          [organisationId],
        );
      await contactExternalIdRepointMany(pool, { organisationId, moves: [move(record, 0, 1)] });
      const { rows } = await pool.query(
        `select remote_version, content_hash, pushed_at, remote_modified_at is not null as is_timed
         from contact_external_records where organisation_id = $1 and contact_id = $2`,
        [organisationId, contact(1)],
      );
      expect(rows).toEqual([{ remote_version: null, content_hash: null, pushed_at: null, is_timed: true }]);
    },
  );

  test('moves a merged record as an alias, and keeps the state of every record', async () => {
    const { organisationId, contact, move, ids, setState } = await tenantWithIds(
      ['contact 1', 'landlord 1', 'landlord 2'],
      ['contact 3'],
      [],
    );
    await setState('landlord 1', 'merged');
    await setState('landlord 2', 'deleted');
    await contactExternalIdRepointMany(pool, {
      organisationId,
      moves: [move('landlord 1', 0, 1), move('landlord 2', 0, 2)],
    });
    expect([await ids(0), await ids(1), await ids(2)]).toEqual([
      ['*contact 1'],
      ['*contact 3', 'landlord 1'],
      ['*landlord 2'],
    ]);
    const contactIds = [contact(1), contact(2)];
    const records = await externalRecordListByContacts(pool, { organisationId, contactIds });
    expect(
      records.map(({ entityType, externalId, remoteState }) => [entityType, externalId, remoteState]),
    ).toEqual(
      expect.arrayContaining([
        ['landlord', '1', 'merged'],
        ['landlord', '2', 'deleted'],
      ]),
    );
  });

  test('moves a primary id together with what the CRM has merged into it, but no two primary ids', async () => {
    const { organisationId, move, ids, setState } = await tenantWithIds(['contact 1', 'landlord 1'], []);
    const moves = [move('contact 1', 0, 1), move('landlord 1', 0, 1)];
    await expect(contactExternalIdRepointMany(pool, { organisationId, moves })).rejects.toMatchObject({
      code: 'contact_taken',
      rowIndex: 0,
    });
    await setState('landlord 1', 'merged');
    await contactExternalIdRepointMany(pool, { organisationId, moves });
    expect([await ids(0), await ids(1)]).toEqual([[], ['*contact 1', 'landlord 1']]);
  });
});

describe('contactExternalIdLock', () => {
  test('keeps others from linking at these providers until the end of the transaction', async () => {
    const { organisationId, link } = await tenantWithIds([], []);
    const holder = await pool.connect();
    const waiter = await pool.connect();
    try {
      await holder.query('begin');
      await contactExternalIdLock(holder, { organisationId, providers: ['reapit'] });
      const at = { ...link(0, 'contact 1'), provider: 'alto' as const };
      expect(await contactExternalIdLink(pool, { organisationId, ...at })).toEqual({ outcome: 'linked' });
      const linked = contactExternalIdLink(waiter, { organisationId, ...link(1, 'contact 1') });
      await waitUntilBlocked(url, waiter);
      await contactExternalIdLink(holder, { organisationId, ...link(0, 'contact 1') });
      await holder.query('commit');
      await expect(linked).rejects.toMatchObject({ code: 'external_id_taken' });
    } finally {
      await holder.query('rollback');
      holder.release();
      waiter.release();
    }
  });

  test.each([
    ['an unknown provider', { providers: ['rightmove'] }, 'unknown_provider'],
    ['no array', { providers: 'reapit' }, 'invalid_input'],
    ['an invalid organisation', { organisationId: '1' }, 'invalid_input'],
  ])('refuses %s', async (_, change, code) => {
    const params = { organisationId: randomUUID(), providers: ['reapit'], ...change };
    await expect(contactExternalIdLock(pool, params as never)).rejects.toMatchObject({ code });
  });
});

describe('externalRecordListByContacts', () => {
  test('lists every record by contact and provider, with what is known of it', async () => {
    const { organisationId, contact, link } = await tenantWithIds(['contact 1', 'landlord 1'], ['contact 2']);
    await contactExternalIdLink(pool, { organisationId, ...link(0, 'contact 1'), provider: 'alto' });
    await pool.query(
      `update contact_external_id_aliases
       set remote_state = 'merged', remote_version = '"7"', remote_modified_at = '2026-11-16T09:00:00Z',
         merged_into_entity_type = 'contact', merged_into_external_id = '1'
       where contact_id = $1`,
      [contact(0)],
    );
    const records = await externalRecordListByContacts(pool, {
      organisationId,
      contactIds: [contact(0), contact(0), randomUUID()],
    });
    const nothing = {
      remoteState: 'active',
      remoteVersion: null,
      remoteModifiedAt: null,
      mergedIntoEntityType: null,
      mergedIntoExternalId: null,
    };
    const times = { firstSeenAt: expect.stringMatching(/Z$/), lastSeenAt: expect.stringMatching(/Z$/) };
    const contactId = contact(0);
    const record = {
      contactId,
      entityType: 'contact',
      externalId: '1',
      isPrimary: true,
      ...nothing,
      ...times,
    };
    expect(records).toEqual([
      { ...record, provider: 'alto' },
      { ...record, provider: 'reapit' },
      {
        ...record,
        provider: 'reapit',
        entityType: 'landlord',
        isPrimary: false,
        remoteState: 'merged',
        remoteVersion: '"7"',
        remoteModifiedAt: '2026-11-16T09:00:00.000000Z',
        mergedIntoEntityType: 'contact',
        mergedIntoExternalId: '1',
      },
    ]);
    expect(await contactExternalIdListByContact(pool, { organisationId, contactId })).toHaveLength(2);
  });
});
