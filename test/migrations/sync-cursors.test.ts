import { describe, expect, test } from 'vitest';
import {
  type Row,
  testRefusesOtherOrganisations,
  testRestrictsDeletion,
  tryRow,
  useConnectedTenant,
} from '../support/connected-tenant.js';
import { connect } from '../support/connection.js';
import { insert, rolledBack, useDatabase } from '../support/database.js';
import { expectCheck, expectRefused, impossibleTimes, outermostTimes } from '../support/refusals.js';

const { pool } = useDatabase();

const tenant = useConnectedTenant(pool);

const nine = '2026-11-16T09:00:00Z';
const beginning = { kind: null, synced_to_at: null };
const token = { kind: 'token', synced_to_at: null, token: 't' };
const page = { kind: 'page', synced_to_at: null, page: 1 };

/** A valid cursor. */
const validRow = () => ({
  organisation_id: tenant.organisationId,
  connection_id: tenant.connectionId,
  direction: 'inbound',
  entity_type: 'contact',
  kind: 'timestamp',
  synced_to_at: nine,
  moved_at: nine,
});

const cursors = { pool, table: 'crm_sync_cursors', tenant, validRow };

describe('crm_sync_cursors', () => {
  test.each<[string, Row]>([
    ['is a timestamp', {}],
    ['is outbound', { direction: 'outbound' }],
    ['is a token', token],
    ['is a token with synced_to_at', { ...token, synced_to_at: nine }],
    ['is a token of 4,096 bytes', { ...token, token: 'é'.repeat(2048) }],
    ['is a token of one space', { ...token, token: ' ' }],
    ['is offset 0', { ...page, page: 0 }],
    ['is the last possible page', { ...page, page: 2_147_483_647 }],
    ['is a page with synced_to_at', { ...page, synced_to_at: nine }],
    ['is at the beginning', beginning],
    ['has an entity type of 63 characters', { entity_type: `a${'0_'.repeat(31)}` }],
    ['has the highest version', { version: 2_147_483_647 }],
    ['is of 1900', { synced_to_at: outermostTimes[0], moved_at: outermostTimes[0] }],
    ['is of 9998', { synced_to_at: outermostTimes[1], moved_at: outermostTimes[1] }],
  ])('accepts a cursor that %s', async (_, overrides) => {
    expect(await tryRow(cursors, overrides)).toMatchObject({ version: overrides.version ?? 1 });
  });

  test.each<[string, Row, string]>([
    ['has an unknown direction', { direction: 'sideways' }, 'direction'],
    ['has an empty entity type', { entity_type: '' }, 'entity_type'],
    ['has an entity type with a capital letter', { entity_type: 'Contact' }, 'entity_type'],
    ['has an entity type with a line break', { entity_type: 'contact\n' }, 'entity_type'],
    ['has an entity type of 64 characters', { entity_type: 'a'.repeat(64) }, 'entity_type'],
    ['has an unknown kind', { kind: 'etag' }, 'kind'],
    ['is a timestamp without synced_to_at', { synced_to_at: null }, 'timestamp_has_synced_to'],
    ['is a token without a value', { ...token, token: null }, 'token_iff_kind'],
    ['is a timestamp with a token', { token: 't' }, 'token_iff_kind'],
    ['is a page with a token', { ...page, token: 't' }, 'token_iff_kind'],
    ['is at the beginning with a token', { ...beginning, token: 't' }, 'token_iff_kind'],
    ['is a page without a number', { ...page, page: null }, 'page_iff_kind'],
    ['is a timestamp with a page', { page: 1 }, 'page_iff_kind'],
    ['is a token with a page', { ...token, page: 1 }, 'page_iff_kind'],
    ['is at the beginning with a page', { ...beginning, page: 1 }, 'page_iff_kind'],
    ['is at the beginning with synced_to_at', { kind: null }, 'beginning_has_no_synced_to'],
    ['is an empty token', { ...token, token: '' }, 'token'],
    ['is a token of 4,097 bytes', { ...token, token: `${'é'.repeat(2048)}t` }, 'token'],
    ['is a negative page', { ...page, page: -1 }, 'page'],
    ['has version 0', { version: 0 }, 'version'],
    ...impossibleTimes.flatMap((time): [string, Row, string][] => [
      [`has synced_to_at ${time}`, { synced_to_at: time }, 'times_in_range'],
      [`moved at ${time}`, { moved_at: time }, 'times_in_range'],
      [`moved to the beginning at ${time}`, { ...beginning, moved_at: time }, 'times_in_range'],
    ]),
  ])('refuses a cursor that %s', async (_, overrides, constraint) => {
    await expectCheck(tryRow(cursors, overrides), `crm_sync_cursors_${constraint}_check`);
  });

  test.each(['organisation_id', 'connection_id', 'direction', 'entity_type', 'version', 'moved_at'])(
    'refuses a cursor without %s',
    async (column) => {
      await expectRefused(tryRow(cursors, { [column]: null }), { code: '23502', column });
    },
  );

  test('refuses a second cursor of a stream, beside those of other streams', async () => {
    const other = await connect(pool, tenant.organisationId, 'alto');
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_sync_cursors', validRow());
      for (const overrides of [
        { direction: 'outbound' },
        { entity_type: 'landlord' },
        { connection_id: other.connectionId },
      ])
        await insert(client, 'crm_sync_cursors', { ...validRow(), ...overrides });
      await expectRefused(insert(client, 'crm_sync_cursors', { ...validRow(), ...page }), {
        code: '23505',
        constraint: 'crm_sync_cursors_pkey',
      });
    });
  });

  testRefusesOtherOrganisations(cursors);

  testRestrictsDeletion(cursors);
});
