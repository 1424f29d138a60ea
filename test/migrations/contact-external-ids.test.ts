import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { providers } from '../../src/index.js';
import { createTenant, insert, type Tenant, useDatabase } from '../support/database.js';
import { expectCheck, expectRefused } from '../support/refusals.js';

const { pool } = useDatabase();

let tenant: Tenant;
beforeEach(async () => {
  tenant = await createTenant(pool, 3);
});

/** Maps the tenant's first contact, changed by `overrides`. */
function map(overrides: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
  return insert(pool, 'contact_external_ids', {
    organisation_id: tenant.organisationId,
    provider: 'reapit',
    entity_type: 'contact',
    external_id: 'OXF18000001',
    contact_id: tenant.contactIds[0],
    ...overrides,
  });
}

const idTaken = { code: '23505', constraint: 'contact_external_ids_pkey' };
const contactTaken = { code: '23505', constraint: 'contact_external_ids_contact_id_provider_key' };
const noSuchContact = { code: '23503', constraint: 'contact_external_ids_contact_id_fkey' };

describe('a mapping', () => {
  test.each(providers)('accepts the provider %s', async (provider) => {
    expect(await map({ provider })).toMatchObject({ provider });
  });

  test.each([
    ['provider', 'contact_external_ids_provider_check', ['', 'Reapit', 'salesforce', 'reapit ']],
    [
      'entity_type',
      'contact_external_ids_entity_type_check',
      ['', 'Contact', 'land lord', '1st', '_contact', 'contact-type', 'contact\n', 'é', 'a'.repeat(64)],
    ],
    [
      'external_id',
      'contact_external_ids_external_id_check',
      ['', '   ', ' \t\r\n\f\v', 'x'.repeat(513), `${'é'.repeat(256)}x`, '🏡'.repeat(129)],
    ],
  ])('refuses an invalid %s', async (column, constraint, values) => {
    for (const value of values) await expectCheck(map({ [column]: value }), constraint);
  });

  test.each([
    ['one character', '0'],
    ['512 bytes', 'x'.repeat(512)],
    ['512 bytes in 256 characters', 'é'.repeat(256)],
    ['512 bytes of emoji', '🏡'.repeat(128)],
    ['quotes and backslashes', `O'Brien "x" \\ $1; drop table contacts; --`],
    ['surrounding spaces', ' 1 '],
    ['a UUID', '3F2504E0-4F89-41D3-9A0C-0305E82C3301'],
    ['a line break', 'a\nb'],
  ])('stores an external id of %s unchanged', async (_, external_id) => {
    expect(await map({ external_id })).toMatchObject({ external_id });
  });

  test('accepts an entity type of 63 characters', async () => {
    await map({ entity_type: 'a'.repeat(63) });
  });

  test('refuses an external id that contains a NUL', async () => {
    await expectRefused(map({ external_id: 'a\0b' }), { code: '22021' });
  });

  test.each([
    'organisation_id',
    'provider',
    'entity_type',
    'external_id',
    'contact_id',
    'first_seen_at',
    'last_seen_at',
  ])('refuses null in %s', async (column) => {
    await expectRefused(map({ [column]: null }), { code: '23502' });
  });
});

describe('first_seen_at and last_seen_at', () => {
  const seenTimes = 'contact_external_ids_seen_times_check';

  test.each([
    ['last seen before it was first seen', '2026-11-02T00:00:00Z', '2026-11-01T23:59:59.999999Z'],
    ['first seen at -infinity', '-infinity', '2026-11-02T00:00:00Z'],
    ['last seen at infinity', '2026-11-02T00:00:00Z', 'infinity'],
    ['seen at infinity', 'infinity', 'infinity'],
    ['first seen before 1900', '1899-12-31 23:59:59.999999+00', '2026-11-02T00:00:00Z'],
    ['last seen after 9998', '2026-11-02T00:00:00Z', '9999-01-01 00:00:00+00'],
  ])('refuses a mapping %s', async (_, first_seen_at, last_seen_at) => {
    await expectCheck(map({ first_seen_at, last_seen_at }), seenTimes);
  });

  test.each([
    ['at one moment', '2026-11-02T00:00:00Z', '2026-11-02T00:00:00Z'],
    ['from 1900 to 9998', '1900-01-01 00:00:00+00', '9998-12-31 23:59:59.999999+00'],
  ])('accepts a mapping seen %s', async (_, first_seen_at, last_seen_at) => {
    await map({ first_seen_at, last_seen_at });
  });

  test('are equal in a new mapping', async () => {
    const { first_seen_at, last_seen_at } = await map();
    expect(first_seen_at).toEqual(last_seen_at);
  });
});

describe('uniqueness in both directions', () => {
  test('refuses a second contact for an external id', async () => {
    await map();
    await expectRefused(map({ contact_id: tenant.contactIds[1] }), idTaken);
  });

  test.each([
    ['another id', { external_id: 'OXF18000002' }],
    ['an id of another entity type', { entity_type: 'landlord' }],
  ])('refuses %s for a contact at the same provider', async (_, overrides) => {
    await map();
    await expectRefused(map(overrides), contactTaken);
  });

  test('refuses to re-point a mapping to a contact that already has one', async () => {
    await map();
    await map({ external_id: 'OXF18000002', contact_id: tenant.contactIds[1] });
    await expectRefused(
      pool.query('update contact_external_ids set contact_id = $1 where contact_id = $2', [
        tenant.contactIds[0],
        tenant.contactIds[1],
      ]),
      contactTaken,
    );
  });

  test('accepts one id per provider for a contact', async () => {
    for (const provider of providers) await map({ provider });
  });

  test('accepts the same external id for other providers, entity types and organisations', async () => {
    await map();
    await map({ provider: 'alto', contact_id: tenant.contactIds[1] });
    await map({ entity_type: 'landlord', contact_id: tenant.contactIds[1] });
    const other = await createTenant(pool, 1);
    await map({ organisation_id: other.organisationId, contact_id: other.contactIds[0] });
  });

  test.each([
    ['case', 'abc', 'ABC'],
    ['a trailing space', 'abc', 'abc '],
    ['the encoding of an accent', 'caf\u00e9', 'cafe\u0301'],
    ['a leading zero', '7', '07'],
  ])('distinguishes external ids by %s', async (_, one, other) => {
    await map({ external_id: one });
    await map({ external_id: other, contact_id: tenant.contactIds[1] });
    const { rows } = await pool.query(
      `select contact_id from contact_external_ids
       where organisation_id = $1 and provider = 'reapit' and entity_type = 'contact' and external_id = $2`,
      [tenant.organisationId, other],
    );
    expect(rows).toEqual([{ contact_id: tenant.contactIds[1] }]);
  });

  test('lets one of ten concurrent mappings of an external id succeed', async () => {
    const crowd = await createTenant(pool, 10);
    const outcomes = await Promise.allSettled(
      crowd.contactIds.map((contact_id) => map({ organisation_id: crowd.organisationId, contact_id })),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject(idTaken);
  });
});

describe('tenancy and deletion of mappings', () => {
  test("refuses another organisation's contact", async () => {
    const other = await createTenant(pool, 1);
    await expectRefused(map({ contact_id: other.contactIds[0] }), noSuchContact);
    await expectRefused(map({ organisation_id: other.organisationId }), noSuchContact);
  });

  test('refuses a contact that does not exist', async () => {
    await expectRefused(map({ contact_id: randomUUID() }), noSuchContact);
  });

  test('refuses to move a mapped contact to another organisation', async () => {
    await map();
    const other = await createTenant(pool);
    await expectRefused(
      pool.query('update contacts set organisation_id = $1 where id = $2', [
        other.organisationId,
        tenant.contactIds[0],
      ]),
      noSuchContact,
    );
  });

  test('deleting a contact deletes its mappings and no others', async () => {
    await map();
    await map({ provider: 'alto' });
    await map({ external_id: 'OXF18000002', contact_id: tenant.contactIds[1] });
    await pool.query('delete from contacts where id = $1', [tenant.contactIds[0]]);
    const { rows } = await pool.query(
      'select contact_id from contact_external_ids where organisation_id = $1',
      [tenant.organisationId],
    );
    expect(rows).toEqual([{ contact_id: tenant.contactIds[1] }]);
  });
});
