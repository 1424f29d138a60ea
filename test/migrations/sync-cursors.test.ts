import { beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import {
  expectCheck,
  expectRefused,
  impossibleTimes,
  insert,
  outermostTimes,
  restricted,
  rolledBack,
} from './support.js';

const { pool } = useDatabase();

type Row = Record<string, unknown>;

let organisationId: string;
let connectionId: string;
beforeAll(async () => {
  ({ organisationId } = await createTenant(pool));
  ({ connectionId } = await connect(pool, organisationId));
});

const nine = '2026-11-16T09:00:00Z';
const beginning = { kind: null, synced_to_at: null };
const token = { kind: 'token', synced_to_at: null, token: 't' };
const page = { kind: 'page', synced_to_at: null, page: 1 };

/** A cursor that is in order. */
const cursor = () => ({
  organisation_id: organisationId,
  connection_id: connectionId,
  direction: 'inbound',
  entity_type: 'contact',
  kind: 'timestamp',
  synced_to_at: nine,
  moved_at: nine,
});

/** Inserts a cursor that is in order, but for what `overrides` spoils, and takes it back. */
function tryCursor(overrides: Row = {}): Promise<Row> {
  return rolledBack(pool, (client) => insert(client, 'crm_sync_cursors', { ...cursor(), ...overrides }));
}

describe('a cursor', () => {
  test.each<[string, Row]>([
    ['is a timestamp', {}],
    ['is of the other direction', { direction: 'outbound' }],
    ['is a token', token],
    ['is a token beside what has arrived', { ...token, synced_to_at: nine }],
    ['is a token of 4,096 bytes', { ...token, token: 'é'.repeat(2048) }],
    ['is a token of one blank', { ...token, token: ' ' }],
    ['is the first offset', { ...page, page: 0 }],
    ['is a far page', { ...page, page: 2_147_483_647 }],
    ['is a page beside what has arrived', { ...page, synced_to_at: nine }],
    ['is at the beginning', beginning],
    ['is of a long entity type', { entity_type: `a${'0_'.repeat(31)}` }],
    ['has moved often', { version: 2_147_483_647 }],
    ['is very old', { synced_to_at: outermostTimes[0], moved_at: outermostTimes[0] }],
    ['is of the far future', { synced_to_at: outermostTimes[1], moved_at: outermostTimes[1] }],
  ])('is accepted that %s', async (_, overrides) => {
    expect(await tryCursor(overrides)).toMatchObject({ version: overrides.version ?? 1 });
  });

  test.each<[string, Row, string]>([
    ['goes in no direction we know', { direction: 'sideways' }, 'direction'],
    ['is of no entity type', { entity_type: '' }, 'entity_type'],
    ['is of an entity type in capitals', { entity_type: 'Contact' }, 'entity_type'],
    ['is of an entity type with a line break', { entity_type: 'contact\n' }, 'entity_type'],
    ['is of too long an entity type', { entity_type: 'a'.repeat(64) }, 'entity_type'],
    ['is of no kind we know', { kind: 'etag' }, 'kind'],
    ['is a timestamp without one', { synced_to_at: null }, 'timestamp_has_synced_to'],
    ['is a token without one', { ...token, token: null }, 'token_iff_kind'],
    ['is a timestamp with a token', { token: 't' }, 'token_iff_kind'],
    ['is a page with a token', { ...page, token: 't' }, 'token_iff_kind'],
    ['is at the beginning with a token', { ...beginning, token: 't' }, 'token_iff_kind'],
    ['is a page without one', { ...page, page: null }, 'page_iff_kind'],
    ['is a timestamp with a page', { page: 1 }, 'page_iff_kind'],
    ['is a token with a page', { ...token, page: 1 }, 'page_iff_kind'],
    ['is at the beginning with a page', { ...beginning, page: 1 }, 'page_iff_kind'],
    ['is at the beginning of what has arrived', { kind: null }, 'beginning_has_no_synced_to'],
    ['is an empty token', { ...token, token: '' }, 'token'],
    ['is a token of 4,097 bytes', { ...token, token: `${'é'.repeat(2048)}t` }, 'token'],
    ['is a page below nothing', { ...page, page: -1 }, 'page'],
    ['is of a version below one', { version: 0 }, 'version'],
    ...impossibleTimes.flatMap((time): [string, Row, string][] => [
      [`has arrived up to ${time}`, { synced_to_at: time }, 'times_in_range'],
      [`moved at ${time}`, { moved_at: time }, 'times_in_range'],
      [`moved to the beginning at ${time}`, { ...beginning, moved_at: time }, 'times_in_range'],
    ]),
  ])('is refused that %s', async (_, overrides, constraint) => {
    await expectCheck(tryCursor(overrides), `crm_sync_cursors_${constraint}_check`);
  });

  test.each(['organisation_id', 'connection_id', 'direction', 'entity_type', 'version', 'moved_at'])(
    'is refused without %s',
    async (column) => {
      await expectRefused(tryCursor({ [column]: null }), { code: '23502', column });
    },
  );

  test('is the only one of its stream, beside those of other streams', async () => {
    const other = await connect(pool, organisationId, 'alto');
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_sync_cursors', cursor());
      for (const overrides of [
        { direction: 'outbound' },
        { entity_type: 'landlord' },
        { connection_id: other.connectionId },
      ])
        await insert(client, 'crm_sync_cursors', { ...cursor(), ...overrides });
      await expectRefused(insert(client, 'crm_sync_cursors', { ...cursor(), ...page }), {
        code: '23505',
        constraint: 'crm_sync_cursors_pkey',
      });
    });
  });

  test('is refused for a connection of another organisation', async () => {
    const other = await createTenant(pool);
    const noSuchConnection = { code: '23503', constraint: 'crm_sync_cursors_connection_id_fkey' };
    await expectRefused(tryCursor({ organisation_id: other.organisationId }), noSuchConnection);
    const theirs = await connect(pool, other.organisationId);
    await expectRefused(tryCursor({ connection_id: theirs.connectionId }), noSuchConnection);
  });

  test('keeps its connection from being deleted', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_sync_cursors', cursor());
      await expectRefused(client.query('delete from crm_connections where id = $1', [connectionId]), {
        code: restricted,
        constraint: 'crm_sync_cursors_connection_id_fkey',
      });
    });
  });
});
