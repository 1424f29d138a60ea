import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import {
  type ContactLink,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdListByContact,
  contactExternalIdListByContacts,
  contactExternalIdRepoint,
  contactExternalIdRepointMany,
  contactExternalIdResolve,
  contactExternalIdResolveMany,
  contactExternalIdUnlink,
  contactExternalIdUnlinkMany,
  type LinkOutcome,
  toExternalId,
} from '../../src/index.js';
import type { QueryConfig } from '../../src/statements/prepared-query.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

/** An organisation, and a function that builds a link for one of its contacts by number. */
async function tenantWithContacts(count: number) {
  const { organisationId, contactIds } = await createTenant(pool, count);
  const contact = (index: number) => contactIds[index] as string;
  const link = (
    index: number,
    externalId: string,
    provider: ContactLink['provider'] = 'reapit',
  ): ContactLink => ({
    provider,
    entityType: 'contact',
    externalId,
    contactId: contact(index),
  });
  const move = (externalId: string, from: number, to: number) => ({
    provider: 'reapit' as const,
    entityType: 'contact',
    externalId,
    fromContactId: contact(from),
    toContactId: contact(to),
  });
  const owner = (externalId: string) =>
    contactExternalIdResolve(pool, { organisationId, provider: 'reapit', entityType: 'contact', externalId });
  return { organisationId, contactIds, contact, link, move, owner };
}

describe('contactExternalIdLink', () => {
  test('returns whether it linked or confirmed', async () => {
    const { organisationId, contact, link, owner } = await tenantWithContacts(1);
    expect(await contactExternalIdLink(pool, { organisationId, ...link(0, 'OXF18000001') })).toEqual({
      outcome: 'linked',
    });
    const [before] = await contactExternalIdListByContact(pool, { organisationId, contactId: contact(0) });
    expect(await contactExternalIdLink(pool, { organisationId, ...link(0, 'OXF18000001') })).toEqual({
      outcome: 'already_linked',
    });
    const [after] = await contactExternalIdListByContact(pool, { organisationId, contactId: contact(0) });
    expect(after).toEqual(before);
    expect(await owner('OXF18000001')).toBe(contact(0));
  });

  test('refuses an external id that is mapped to another contact', async () => {
    const { organisationId, contact, link, owner } = await tenantWithContacts(2);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    await expect(contactExternalIdLink(pool, { organisationId, ...link(1, '1') })).rejects.toMatchObject({
      code: 'external_id_taken',
      message: `The external id is mapped to another contact: ${contact(0)}.`,
    });
    expect(await owner('1')).toBe(contact(0));
  });

  test('refuses a second id at the same provider, and accepts one at another', async () => {
    const { organisationId, link } = await tenantWithContacts(1);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    await expect(contactExternalIdLink(pool, { organisationId, ...link(0, '2') })).rejects.toMatchObject({
      code: 'contact_taken',
      message: 'The contact has another external id at this provider: contact 1.',
    });
    await contactExternalIdLink(pool, { organisationId, ...link(0, '2', 'agentos') });
  });

  test('accepts the same id for another entity type or in another organisation', async () => {
    const { organisationId, link } = await tenantWithContacts(2);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    await contactExternalIdLink(pool, { organisationId, ...link(1, '1'), entityType: 'landlord' });
    const other = await tenantWithContacts(1);
    await contactExternalIdLink(pool, { organisationId: other.organisationId, ...other.link(0, '1') });
  });

  test('treats ids that differ only in case as different', async () => {
    const { organisationId, link, contact, owner } = await tenantWithContacts(2);
    await contactExternalIdLink(pool, { organisationId, ...link(0, 'abc') });
    await contactExternalIdLink(pool, { organisationId, ...link(1, 'ABC') });
    expect([await owner('abc'), await owner('ABC')]).toEqual([contact(0), contact(1)]);
  });

  test.each([
    ['an unknown provider', { provider: 'rightmove' }, 'unknown_provider'],
    ['a blank id', { externalId: ' ' }, 'invalid_input'],
    ['an id that is too long', { externalId: 'x'.repeat(513) }, 'invalid_input'],
    ['NUL in an id', { externalId: 'a\0' }, 'invalid_input'],
    ['an entity type with spaces', { entityType: 'land lord' }, 'invalid_input'],
    ['an invalid contact id', { contactId: '1' }, 'invalid_input'],
  ])('refuses %s', async (_, change, code) => {
    const { organisationId, link } = await tenantWithContacts(1);
    await expect(
      contactExternalIdLink(pool, { organisationId, ...link(0, '1'), ...change } as never),
    ).rejects.toMatchObject({ code, rowIndex: undefined, message: expect.not.stringContaining('row') });
  });

  test('refreshes lastSeenAt at most once a day', async () => {
    const { organisationId, contact, link } = await tenantWithContacts(1);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    const age = (interval: string) =>
      pool.query(
        `update contact_external_ids
         set first_seen_at = now() - $2::interval, last_seen_at = now() - $2::interval
         where contact_id = $1`,
        [contact(0), interval],
      );
    const seen = async () => {
      await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
      const [row] = await contactExternalIdListByContact(pool, { organisationId, contactId: contact(0) });
      return Date.parse(row?.lastSeenAt ?? '');
    };
    await age('23 hours');
    expect(Date.now() - (await seen())).toBeGreaterThan(22 * 3_600_000);
    await age('25 hours');
    expect(Date.now() - (await seen())).toBeLessThan(3_600_000);
  });
});

describe('contactExternalIdLinkMany', () => {
  test('returns an outcome per link, and a conflict does not stop the others', async () => {
    const { organisationId, contact, link } = await tenantWithContacts(4);
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(0, '1'), link(1, '2')] });
    const outcomes = await contactExternalIdLinkMany(pool, {
      organisationId,
      links: [
        link(2, '3'),
        link(1, '1'),
        link(0, '1'),
        link(0, '9'),
        link(3, '3'),
        link(2, '4'),
        link(3, '5'),
      ],
    });
    expect(outcomes).toEqual([
      { outcome: 'linked' },
      { outcome: 'external_id_taken', linkedContactId: contact(0) },
      { outcome: 'already_linked' },
      { outcome: 'contact_taken', linkedEntityType: 'contact', linkedExternalId: '1' },
      // The next two collide with the first of the same batch.
      { outcome: 'external_id_taken', linkedContactId: contact(2) },
      { outcome: 'contact_taken', linkedEntityType: 'contact', linkedExternalId: '3' },
      { outcome: 'linked' },
    ] satisfies LinkOutcome[]);
  });

  test("names the element with another organisation's contact, and links nothing", async () => {
    const { organisationId, link, owner } = await tenantWithContacts(1);
    const stranger = await tenantWithContacts(1);
    await expect(
      contactExternalIdLinkMany(pool, { organisationId, links: [link(0, '1'), stranger.link(0, '2')] }),
    ).rejects.toMatchObject({ code: 'wrong_tenant', rowIndex: 1 });
    expect(await owner('1')).toBeNull();
  });

  test('sees a link that a concurrent transaction made', async () => {
    const { organisationId, contact, link } = await tenantWithContacts(2);
    const rival = await pool.connect();
    try {
      await rival.query('begin');
      await contactExternalIdLink(rival, { organisationId, ...link(0, '1') });
      const outcomes = contactExternalIdLinkMany(pool, {
        organisationId,
        links: [link(1, '1'), link(0, '2')],
      });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await rival.query('commit');
      expect(await outcomes).toEqual([
        { outcome: 'external_id_taken', linkedContactId: contact(0) },
        { outcome: 'contact_taken', linkedEntityType: 'contact', linkedExternalId: '1' },
      ]);
    } finally {
      rival.release();
    }
  });

  test('returns contested for a link that others keep changing, and links the rest', async () => {
    const { organisationId, contact, link, owner } = await tenantWithContacts(2);
    // A client in which every statement returns retry for the first link.
    const contested = {
      query: async (config: QueryConfig) => {
        const result = await pool.query(config);
        for (const row of result.rows) if (row.position === '1') row.outcome = 'retry';
        return result;
      },
    };
    const outcomes = await contactExternalIdLinkMany(contested, {
      organisationId,
      links: [link(0, '1'), link(1, '2')],
    });
    expect(outcomes).toEqual([{ outcome: 'contested' }, { outcome: 'linked' }]);
    expect(await owner('2')).toBe(contact(1));
    await expect(contactExternalIdLink(contested, { organisationId, ...link(0, '3') })).rejects.toMatchObject(
      { code: 'mapping_changed' },
    );
  });

  test('returns contested for a link whose contact is deleted during the retry', async () => {
    const { organisationId, contact, link, owner } = await tenantWithContacts(2);
    const verdicts = ['retry', 'wrong_tenant'];
    const deleting = {
      query: async (config: QueryConfig) => {
        const result = await pool.query(config);
        const verdict = verdicts.shift();
        if (verdict !== undefined) result.rows[0].outcome = verdict;
        return result;
      },
    };
    expect(
      await contactExternalIdLinkMany(deleting, { organisationId, links: [link(0, '1'), link(1, '2')] }),
    ).toEqual([{ outcome: 'contested' }, { outcome: 'linked' }]);
    expect(await owner('2')).toBe(contact(1));
  });

  test("changes nothing in a batch with another organisation's contact", async () => {
    const { organisationId, contact, link } = await tenantWithContacts(1);
    const stranger = await tenantWithContacts(1);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    await pool.query(
      "update contact_external_ids set first_seen_at = '2026-01-01', last_seen_at = '2026-01-01' where contact_id = $1",
      [contact(0)],
    );
    const ids = () => contactExternalIdListByContact(pool, { organisationId, contactId: contact(0) });
    const before = await ids();
    await expect(
      contactExternalIdLinkMany(pool, { organisationId, links: [link(0, '1'), stranger.link(0, '2')] }),
    ).rejects.toMatchObject({ code: 'wrong_tenant', rowIndex: 1 });
    expect(await ids()).toEqual(before);
  });

  test('returns the new contact of an id that is concurrently moved', async () => {
    const { organisationId, contact, link, move } = await tenantWithContacts(2);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    const rival = await pool.connect();
    try {
      await rival.query('begin');
      await contactExternalIdRepoint(rival, { organisationId, ...move('1', 0, 1) });
      const outcomes = contactExternalIdLinkMany(pool, { organisationId, links: [link(0, '1')] });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await rival.query('commit');
      expect(await outcomes).toEqual([{ outcome: 'external_id_taken', linkedContactId: contact(1) }]);
    } finally {
      rival.release();
    }
  });

  test('lets exactly one of many concurrent calls link an id', async () => {
    const { organisationId, link, contactIds, owner } = await tenantWithContacts(10);
    const outcomes = await Promise.all(
      contactIds.map((_, index) =>
        contactExternalIdLinkMany(pool, { organisationId, links: [link(index, '1')] }),
      ),
    );
    const winners = contactIds.filter((_, index) => outcomes[index]?.[0]?.outcome === 'linked');
    expect(winners).toEqual([await owner('1')]);
  });

  test('links a thousand in one call', async () => {
    const { organisationId, contactIds, link } = await tenantWithContacts(1000);
    const links = contactIds.map((_, index) => link(index, `OXF${index}`));
    const outcomes = await contactExternalIdLinkMany(pool, { organisationId, links });
    expect(outcomes).toEqual(links.map(() => ({ outcome: 'linked' })));
    expect(await contactExternalIdLinkMany(pool, { organisationId, links: [] })).toEqual([]);
  });
});

describe('contactExternalIdUnlink', () => {
  test('unlinks once, and only from the given contact', async () => {
    const { organisationId, link, owner, contact } = await tenantWithContacts(2);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    expect(await contactExternalIdUnlink(pool, { organisationId, ...link(1, '1') })).toBe(false);
    expect(await owner('1')).toBe(contact(0));
    expect(await contactExternalIdUnlink(pool, { organisationId, ...link(0, '1') })).toBe(true);
    expect(await contactExternalIdUnlink(pool, { organisationId, ...link(0, '1') })).toBe(false);
    expect(await owner('1')).toBeNull();
  });

  test('unlinks many, and returns which existed', async () => {
    const { organisationId, link, contact } = await tenantWithContacts(3);
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(0, '1'), link(2, '3')] });
    expect(
      await contactExternalIdUnlinkMany(pool, {
        organisationId,
        links: [link(0, '1'), link(1, '2'), link(2, '3')],
      }),
    ).toEqual([true, false, true]);
    expect(
      await contactExternalIdListByContacts(pool, { organisationId, contactIds: [contact(0), contact(2)] }),
    ).toEqual([]);
  });
});

describe('contactExternalIdRepoint', () => {
  test('moves an id to another contact and resets its history', async () => {
    const { organisationId, contact, link, move, owner } = await tenantWithContacts(2);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    const [before] = await contactExternalIdListByContact(pool, { organisationId, contactId: contact(0) });
    await contactExternalIdRepoint(pool, { organisationId, ...move('1', 0, 1) });
    const [after] = await contactExternalIdListByContact(pool, { organisationId, contactId: contact(1) });
    expect(await owner('1')).toBe(contact(1));
    expect((after?.firstSeenAt ?? '') > (before?.firstSeenAt ?? '')).toBe(true);
  });

  test('refuses an id that is mapped elsewhere or not at all', async () => {
    const { organisationId, contact, link, move, owner } = await tenantWithContacts(3);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    for (const stale of [move('1', 1, 2), move('404', 0, 1)]) {
      await expect(contactExternalIdRepoint(pool, { organisationId, ...stale })).rejects.toMatchObject({
        code: 'mapping_changed',
        rowIndex: undefined,
      });
    }
    expect(await owner('1')).toBe(contact(0));
  });

  test('refuses a contact that would have two ids at one provider', async () => {
    const { organisationId, contact, link, move, owner } = await tenantWithContacts(2);
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(0, '1'), link(1, '2')] });
    await expect(
      contactExternalIdRepoint(pool, { organisationId, ...move('1', 0, 1) }),
    ).rejects.toMatchObject({
      code: 'contact_taken',
      message: `Contact ${contact(1)} would have two external ids at this provider.`,
    });
    expect([await owner('1'), await owner('2')]).toEqual([contact(0), contact(1)]);
  });

  test("refuses another organisation's contact", async () => {
    const { organisationId, contact, link, move, owner } = await tenantWithContacts(1);
    const stranger = await tenantWithContacts(1);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    await expect(
      contactExternalIdRepoint(pool, {
        organisationId,
        ...move('1', 0, 0),
        toContactId: stranger.contact(0),
      }),
    ).rejects.toMatchObject({ code: 'wrong_tenant', rowIndex: undefined });
    expect(await owner('1')).toBe(contact(0));
  });
});

describe('contactExternalIdRepointMany', () => {
  test('swaps two contacts and rotates three', async () => {
    const { organisationId, contact, link, move, owner } = await tenantWithContacts(3);
    await contactExternalIdLinkMany(pool, {
      organisationId,
      links: [link(0, '1'), link(1, '2'), link(2, '3')],
    });
    await contactExternalIdRepointMany(pool, { organisationId, moves: [move('1', 0, 1), move('2', 1, 0)] });
    expect([await owner('1'), await owner('2')]).toEqual([contact(1), contact(0)]);
    await contactExternalIdRepointMany(pool, {
      organisationId,
      moves: [move('1', 1, 2), move('3', 2, 0), move('2', 0, 1)],
    });
    expect([await owner('1'), await owner('2'), await owner('3')]).toEqual([
      contact(2),
      contact(1),
      contact(0),
    ]);
  });

  test('moves nothing if one of many is stale, and names it', async () => {
    const { organisationId, contact, link, move, owner } = await tenantWithContacts(4);
    await contactExternalIdLinkMany(pool, { organisationId, links: [link(0, '1'), link(1, '2')] });
    await expect(
      contactExternalIdRepointMany(pool, { organisationId, moves: [move('1', 0, 2), move('2', 3, 3)] }),
    ).rejects.toMatchObject({ code: 'mapping_changed', rowIndex: 1 });
    expect([await owner('1'), await owner('2')]).toEqual([contact(0), contact(1)]);
  });

  test('refuses the same id twice', async () => {
    const { organisationId, link, move, contact, owner } = await tenantWithContacts(3);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    await expect(
      contactExternalIdRepointMany(pool, { organisationId, moves: [move('1', 0, 1), move('1', 0, 2)] }),
    ).rejects.toMatchObject({ code: 'invalid_input', rowIndex: 1 });
    expect(await owner('1')).toBe(contact(0));
  });

  test('lets exactly one of two concurrent calls move an id', async () => {
    const { organisationId, link, move, owner, contactIds } = await tenantWithContacts(6);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    const attempts = await Promise.allSettled(
      [1, 2, 3, 4, 5].map((to) => contactExternalIdRepoint(pool, { organisationId, ...move('1', 0, to) })),
    );
    const winners = [1, 2, 3, 4, 5].filter((_, index) => attempts[index]?.status === 'fulfilled');
    expect(winners.map((winner) => contactIds[winner])).toEqual([await owner('1')]);
    for (const attempt of attempts) {
      if (attempt.status === 'rejected') expect(attempt.reason).toMatchObject({ code: 'mapping_changed' });
    }
  });

  test('accepts an empty batch', async () => {
    const { organisationId } = await tenantWithContacts(0);
    await contactExternalIdRepointMany(pool, { organisationId, moves: [] });
  });
});

describe('contactExternalIdResolve', () => {
  test('finds hundreds at once and omits unknown ids', async () => {
    const { organisationId, contactIds, link, contact } = await tenantWithContacts(500);
    await contactExternalIdLinkMany(pool, {
      organisationId,
      links: contactIds.map((_, index) => link(index, `OXF${index}`)),
    });
    const found = await contactExternalIdResolveMany(pool, {
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalIds: [...contactIds.map((_, index) => `OXF${index}`), 'unknown', 'OXF0'],
    });
    expect(found.size).toBe(500);
    expect(found.get('OXF499')).toBe(contact(499));
    expect(found.has('unknown')).toBe(false);
  });

  test('does not find ids of another organisation, provider or entity type', async () => {
    const { organisationId, link } = await tenantWithContacts(1);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    const { organisationId: stranger } = await tenantWithContacts(0);
    const record = { organisationId, provider: 'reapit', entityType: 'contact', externalId: '1' } as const;
    for (const elsewhere of [
      { organisationId: stranger },
      { provider: 'alto' as const },
      { entityType: 'landlord' },
    ]) {
      expect(await contactExternalIdResolve(pool, { ...record, ...elsewhere })).toBeNull();
    }
  });
});

describe('contactExternalIdListByContacts', () => {
  test('lists every id of each contact, by contact and provider', async () => {
    const { organisationId, contactIds, link } = await tenantWithContacts(3);
    await contactExternalIdLinkMany(pool, {
      organisationId,
      links: [link(0, '1'), link(0, 'oid-1', 'agentos'), link(1, '2'), link(2, '3')],
    });
    const rows = await contactExternalIdListByContacts(pool, {
      organisationId,
      contactIds: contactIds.slice(0, 2),
    });
    expect(rows.map(({ contactId, provider, externalId }) => [contactId, provider, externalId])).toEqual(
      [
        [contactIds[0], 'agentos', 'oid-1'],
        [contactIds[0], 'reapit', '1'],
        [contactIds[1], 'reapit', '2'],
      ].toSorted(),
    );
  });

  test('lists nothing for another organisation', async () => {
    const { organisationId, contact, link } = await tenantWithContacts(1);
    await contactExternalIdLink(pool, { organisationId, ...link(0, '1') });
    expect(
      await contactExternalIdListByContact(pool, { organisationId: randomUUID(), contactId: contact(0) }),
    ).toEqual([]);
  });
});

describe('toExternalId', () => {
  test('returns the same id for 123 and "123"', () => {
    expect([toExternalId(123), toExternalId('123'), toExternalId(123n)]).toEqual(['123', '123', '123']);
  });

  test.each([
    2 ** 53,
    1.5,
    Number.NaN,
    '',
    ' ',
    '\t\n',
    'a\0',
    'x'.repeat(513),
    undefined,
    null,
    {},
    true,
    [],
  ])('refuses %j', (id) => {
    expect(() => toExternalId(id as never)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
  });
});
