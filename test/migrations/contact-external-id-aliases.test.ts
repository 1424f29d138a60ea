import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, test } from 'vitest';
import { createTenant, insert, type Tenant, useDatabase } from '../support/database.js';
import { expectCheck, expectRefused } from '../support/refusals.js';

const { pool } = useDatabase();

let tenant: Tenant;
beforeEach(async () => {
  tenant = await createTenant(pool, 2);
});

/** Adds a record of the tenant's first contact to a table, changed by `overrides`. */
function add(table: string, overrides: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
  return insert(pool, table, {
    organisation_id: tenant.organisationId,
    provider: 'reapit',
    entity_type: 'landlord',
    external_id: 'OXF18000001',
    contact_id: tenant.contactIds[0],
    ...overrides,
  });
}

const aliases = 'contact_external_id_aliases';
const into = { merged_into_entity_type: 'landlord', merged_into_external_id: 'OXF18000002' };

describe.each(['contact_external_ids', aliases])('%s', (table) => {
  test.each([
    ['remote_state', { remote_state: 'gone' }],
    ['remote_version', { remote_version: '' }],
    ['remote_version', { remote_version: 'x'.repeat(513) }],
    ['content_hash', { content_hash: Buffer.alloc(31) }],
    ['remote_times_in_range', { remote_modified_at: '0001-01-01T00:00:00Z' }],
    ['remote_times_in_range', { pushed_at: 'infinity' }],
  ])('refuses by its %s check what is not a state: %j', async (check, overrides) => {
    await expectCheck(add(table, overrides), `${table}_${check}_check`);
  });

  test.each(['active', 'archived', 'deleted', 'hidden'])(
    'accepts the state %s with all that is known',
    async (state) => {
      const known = {
        remote_state: state,
        remote_version: '"7"',
        remote_modified_at: new Date('2026-11-16T09:00:00Z'),
        content_hash: Buffer.alloc(32, 1),
        pushed_at: new Date('2026-11-16T09:01:00Z'),
      };
      expect(await add(table, known)).toMatchObject(known);
    },
  );
});

test('a primary id cannot be merged', async () => {
  await expectCheck(
    add('contact_external_ids', { remote_state: 'merged' }),
    'contact_external_ids_remote_state_check',
  );
});

describe('an alias', () => {
  test('names the record that it was merged into', async () => {
    expect(await add(aliases, { remote_state: 'merged', ...into })).toMatchObject(into);
  });

  test.each([
    ['merged_iff_into', { remote_state: 'merged' }],
    ['merged_iff_into', { ...into }],
    ['merged_iff_into', { remote_state: 'merged', merged_into_external_id: '1' }],
    ['merged_into_another', { remote_state: 'merged', ...into, merged_into_external_id: 'OXF18000001' }],
    ['entity_type', { entity_type: 'Landlord' }],
    ['entity_type', { remote_state: 'merged', ...into, merged_into_entity_type: 'Land lord' }],
    ['external_id', { external_id: ' ' }],
    ['external_id', { remote_state: 'merged', ...into, merged_into_external_id: 'x'.repeat(513) }],
    ['provider', { provider: 'rightmove' }],
    ['seen_times', { first_seen_at: '2026-11-02T00:00:00Z', last_seen_at: '2026-11-01T00:00:00Z' }],
  ])('is refused by the check %s: %j', async (check, overrides) => {
    await expectCheck(add(aliases, overrides), `${aliases}_${check}_check`);
  });

  test("is refused for another organisation's contact, and for another contact's alias", async () => {
    const other = await createTenant(pool, 1);
    const noSuchContact = { code: '23503', constraint: `${aliases}_contact_id_fkey` };
    await expectRefused(add(aliases, { contact_id: other.contactIds[0] }), noSuchContact);
    await expectRefused(add(aliases, { contact_id: randomUUID() }), noSuchContact);
    await add(aliases);
    await expectRefused(add(aliases, { contact_id: tenant.contactIds[1] }), {
      code: '23505',
      constraint: `${aliases}_pkey`,
    });
  });

  test('goes with its contact, and no other does', async () => {
    await add(aliases);
    await add(aliases, { entity_type: 'applicant', contact_id: tenant.contactIds[1] });
    await pool.query('delete from contacts where id = $1', [tenant.contactIds[0]]);
    const { rows } = await pool.query(`select entity_type from ${aliases} where organisation_id = $1`, [
      tenant.organisationId,
    ]);
    expect(rows).toEqual([{ entity_type: 'applicant' }]);
  });
});
