import { randomInt, randomUUID } from 'node:crypto';
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import {
  type ContactLink,
  contactExternalIdLinkMany,
  contactExternalIdLock,
  contactExternalIdMatchMany,
  contactExternalIdRepointMany,
  contactExternalIdUnlinkMany,
} from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';

const { url, pool } = useDatabase();

const sessions = 20;
const atReapit = { provider: 'reapit', entityType: 'contact' } as const;

/** Runs `work` in a transaction of its own. */
async function inTransaction<Result>(work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

function shuffled<Element>(elements: readonly Element[]): Element[] {
  return elements
    .map((element) => ({ element, rank: randomInt(1_000_000) }))
    .sort((one, other) => one.rank - other.rank)
    .map(({ element }) => element);
}

/** The ids of a tenant that are in both tables. */
async function idsInBoth(organisationId: string): Promise<unknown[]> {
  const { rows } = await pool.query(
    `select provider, entity_type, external_id from contact_external_ids where organisation_id = $1
     intersect
     select provider, entity_type, external_id from contact_external_id_aliases where organisation_id = $1`,
    [organisationId],
  );
  return rows;
}

describe('twenty sessions', () => {
  test('that insert the same ids into both tables at once leave no id in both', async () => {
    const { organisationId, contactIds } = await createTenant(pool, 60);
    const ids = Array.from({ length: 40 }, (_, index) => String(index));
    const insertInto = (table: string, externalId: string, contactId: string) =>
      pool.query(
        `insert into ${table} (organisation_id, provider, entity_type, external_id, contact_id)
         values ($1, 'reapit', 'contact', $2, $3)
         on conflict do nothing`,
        [organisationId, externalId, contactId],
      );
    await Promise.all(
      Array.from({ length: sessions }, async (_, session) => {
        const table = session % 2 === 0 ? 'contact_external_ids' : 'contact_external_id_aliases';
        for (const id of ids) await insertInto(table, id, contactIds[randomInt(60)] as string);
      }),
    );
    expect(await idsInBoth(organisationId)).toEqual([]);
    const { rows } = await pool.query(
      `select count(*)::integer as records, count(distinct external_id)::integer as ids
       from contact_external_records where organisation_id = $1`,
      [organisationId],
    );
    expect(rows).toEqual([{ records: 40, ids: 40 }]);
  });

  test('that link, unlink and re-point at random keep every id with one contact, and no alias without a primary id', async () => {
    const tenants = await Promise.all([createTenant(pool, 6), createTenant(pool, 6)]);
    const errors: unknown[] = [];
    const anyOf = <Element>(elements: readonly Element[]) => elements[randomInt(elements.length)] as Element;
    await Promise.all(
      Array.from({ length: sessions }, async () => {
        for (let round = 0; round < 25; round += 1) {
          const { organisationId, contactIds } = anyOf(tenants);
          const link = (): ContactLink => ({
            provider: anyOf(['reapit', 'alto'] as const),
            entityType: anyOf(['contact', 'landlord']),
            externalId: String(randomInt(8)),
            contactId: anyOf(contactIds),
          });
          const links = [link(), link(), link()];
          const moves = links.slice(0, 1).map(({ contactId, ...record }) => ({
            ...record,
            fromContactId: contactId,
            toContactId: anyOf(contactIds),
          }));
          const work = anyOf([
            () => contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken: 'alias' }),
            () => contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken: 'alias' }),
            () => contactExternalIdUnlinkMany(pool, { organisationId, links }),
            () => contactExternalIdRepointMany(pool, { organisationId, moves }),
          ]);
          await work().catch((error) => {
            if (!['mapping_changed', 'contact_taken'].includes(error.code)) errors.push(error);
          });
        }
      }),
    );
    expect(errors).toEqual([]);
    for (const { organisationId } of tenants) {
      expect(await idsInBoth(organisationId)).toEqual([]);
      const { rows } = await pool.query(
        `select contact_id, provider from contact_external_records where organisation_id = $1
         group by 1, 2 having not bool_or(is_primary)`,
        [organisationId],
      );
      expect(rows).toEqual([]);
    }
    const { rows: strays } = await pool.query(
      `select from contact_external_records as record
       inner join contacts on contacts.id = record.contact_id
       where contacts.organisation_id <> record.organisation_id`,
    );
    expect(strays).toEqual([]);
  });
});

/** Finds the contacts of records, and creates those that are missing: the way that docs/sync-engine.md describes. */
async function findOrCreate(client: pg.PoolClient, organisationId: string, externalIds: string[]) {
  await contactExternalIdLock(client, { organisationId, providers: ['reapit'] });
  const matches = await contactExternalIdMatchMany(client, { organisationId, ...atReapit, externalIds });
  const known = new Set(matches.map(({ externalId }) => externalId));
  const links = externalIds
    .filter((externalId) => !known.has(externalId))
    .map((externalId) => ({ ...atReapit, externalId, contactId: randomUUID() }));
  await client.query(
    `insert into contacts (id, organisation_id, name) select id, $1, 'Test Person' from unnest($2::uuid[]) as id`,
    [organisationId, links.map(({ contactId }) => contactId)],
  );
  return contactExternalIdLinkMany(client, { organisationId, links });
}

test('twenty workers that find or create the same 1,000 records, each in its own order, create each contact once', async () => {
  const { organisationId } = await createTenant(pool);
  const ids = Array.from({ length: 1_000 }, (_, index) => `OXF${index}`);
  const pages = (order: string[]) =>
    Array.from({ length: 10 }, (_, page) => order.slice(page * 100, page * 100 + 100));
  await Promise.all(
    Array.from({ length: sessions }, async () => {
      for (const page of pages(shuffled(ids))) {
        const outcomes = await inTransaction((client) => findOrCreate(client, organisationId, page));
        expect(outcomes.filter(({ outcome }) => outcome !== 'linked')).toEqual([]);
      }
    }),
  );
  const { rows } = await pool.query(
    `select
       (select count(*)::integer from contacts where organisation_id = $1) as contacts,
       (select count(*)::integer from contact_external_ids where organisation_id = $1) as ids`,
    [organisationId],
  );
  expect(rows).toEqual([{ contacts: 1_000, ids: 1_000 }]);
});

test('a look-up after the identity lock sees what its previous holder linked', async () => {
  const { organisationId, contactIds } = await createTenant(pool, 1);
  const contactId = contactIds[0] as string;
  const holder = await pool.connect();
  const waiter = await pool.connect();
  try {
    await holder.query('begin');
    await waiter.query('begin');
    await contactExternalIdLock(holder, { organisationId, providers: ['reapit'] });
    const locked = contactExternalIdLock(waiter, { organisationId, providers: ['alto', 'reapit'] });
    await waitUntilBlocked(url, waiter);
    await contactExternalIdLinkMany(holder, {
      organisationId,
      links: [{ ...atReapit, externalId: '1', contactId }],
    });
    await holder.query('commit');
    await locked;
    expect(
      await contactExternalIdMatchMany(waiter, { organisationId, ...atReapit, externalIds: ['1'] }),
    ).toMatchObject([{ externalId: '1', contactId, matchedBy: 'primary' }]);
    await waiter.query('commit');
  } finally {
    await holder.query('rollback');
    holder.release();
    waiter.release();
  }
});

test.each([
  [
    'confirms a primary id',
    (client: pg.ClientBase, organisationId: string, [primary]: ContactLink[]) =>
      contactExternalIdLinkMany(client, { organisationId, links: [primary as ContactLink] }),
  ],
  [
    'unlinks an alias',
    (client: pg.ClientBase, organisationId: string, [, alias]: ContactLink[]) =>
      contactExternalIdUnlinkMany(client, { organisationId, links: [alias as ContactLink] }),
  ],
])(
  'a transaction that %s of a contact and then links another alias does not deadlock with its deletion',
  async (_, first) => {
    const { organisationId, contactIds } = await createTenant(pool, 1);
    const contactId = contactIds[0] as string;
    const [primary, alias, other] = ['1', '2', '3'].map(
      (externalId): ContactLink => ({ ...atReapit, externalId, contactId }),
    ) as [ContactLink, ContactLink, ContactLink];
    const linkAll = (client: pg.Pool | pg.ClientBase, links: ContactLink[]) =>
      contactExternalIdLinkMany(client, { organisationId, links, ifContactTaken: 'alias' });
    await linkAll(pool, [primary, alias]);
    const worker = await pool.connect();
    const host = await pool.connect();
    try {
      await worker.query('begin');
      await first(worker, organisationId, [primary, alias]);
      const deleted = host.query('delete from contacts where id = $1', [contactId]);
      await waitUntilBlocked(url, host);
      expect(await linkAll(worker, [other])).toEqual([{ outcome: 'linked_as_alias' }]);
      await worker.query('commit');
      await deleted;
      const { rows } = await pool.query('select from contact_external_records where contact_id = $1', [
        contactId,
      ]);
      expect(rows).toEqual([]);
    } finally {
      await worker.query('rollback');
      worker.release();
      host.release();
    }
  },
);

test('unlinking an alias that another transaction has just made the primary id unlinks it', async () => {
  const { organisationId, contactIds } = await createTenant(pool, 1);
  const [primary, alias] = ['1', '2'].map(
    (externalId): ContactLink => ({ ...atReapit, externalId, contactId: contactIds[0] as string }),
  ) as [ContactLink, ContactLink];
  await contactExternalIdLinkMany(pool, { organisationId, links: [primary, alias], ifContactTaken: 'alias' });
  const holder = await pool.connect();
  try {
    await holder.query('begin');
    await contactExternalIdUnlinkMany(holder, { organisationId, links: [primary] });
    const unlinked = inTransaction(async (client) => {
      const result = contactExternalIdUnlinkMany(client, { organisationId, links: [alias] });
      await waitUntilBlocked(url, client);
      await holder.query('commit');
      return result;
    });
    expect(await unlinked).toEqual([true]);
  } finally {
    await holder.query('rollback');
    holder.release();
  }
  const { rows } = await pool.query('select from contact_external_records where organisation_id = $1', [
    organisationId,
  ]);
  expect(rows).toEqual([]);
});
