import { randomUUID } from 'node:crypto';
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
let otherConnectionId: string;
let contactIds: string[];
beforeAll(async () => {
  ({ organisationId, contactIds } = await createTenant(pool, 2));
  ({ connectionId } = await connect(pool, organisationId));
  ({ connectionId: otherConnectionId } = await connect(pool, organisationId, 'alto'));
});

const nine = '2026-11-16T09:00:00Z';
const ten = '2026-11-16T10:00:00Z';

/** A change that is in order. */
const change = () => ({
  organisation_id: organisationId,
  contact_id: contactIds[0],
  connection_id: connectionId,
  first_changed_at: nine,
  last_changed_at: nine,
  next_attempt_at: nine,
});

/** Inserts a change that is in order, but for what `overrides` spoils, and takes it back. */
function tryChange(overrides: Row = {}): Promise<Row> {
  return rolledBack(pool, (client) => insert(client, 'crm_outbound_changes', { ...change(), ...overrides }));
}

describe('a change', () => {
  test('begins unclaimed and unannounced', async () => {
    expect(await tryChange()).toMatchObject({ attempts: 0, is_announced: false });
  });

  test.each<[string, Row]>([
    ['was claimed often', { attempts: 2_147_483_647 }],
    ['came again later', { last_changed_at: ten }],
    ['may be claimed at once', { next_attempt_at: nine, last_changed_at: ten }],
    [
      'is very old',
      {
        first_changed_at: outermostTimes[0],
        last_changed_at: outermostTimes[0],
        next_attempt_at: outermostTimes[0],
      },
    ],
    ['is of the far future', { last_changed_at: outermostTimes[1], next_attempt_at: outermostTimes[1] }],
  ])('is accepted that %s', async (_, overrides) => {
    await tryChange(overrides);
  });

  test.each<[string, Row, string]>([
    ['was claimed less than never', { attempts: -1 }, 'attempts'],
    ['came first after it came last', { first_changed_at: ten }, 'changed_in_order'],
    [
      'came first a microsecond after it came last',
      { first_changed_at: '2026-11-16T09:00:00.000001Z' },
      'changed_in_order',
    ],
    ...impossibleTimes.flatMap((time): [string, Row, string][] => [
      [`came at ${time}`, { first_changed_at: time, last_changed_at: time }, 'times_in_range'],
      [`may be claimed at ${time}`, { next_attempt_at: time }, 'times_in_range'],
    ]),
    ['came first at -infinity', { first_changed_at: '-infinity' }, 'times_in_range'],
    ['came last at infinity', { last_changed_at: 'infinity' }, 'times_in_range'],
  ])('is refused that %s', async (_, overrides, constraint) => {
    await expectCheck(tryChange(overrides), `crm_outbound_changes_${constraint}_check`);
  });

  test.each([
    'organisation_id',
    'contact_id',
    'connection_id',
    'first_changed_at',
    'last_changed_at',
    'attempts',
    'next_attempt_at',
    'is_announced',
  ])('is refused without %s', async (column) => {
    await expectRefused(tryChange({ [column]: null }), { code: '23502', column });
  });

  test('is the only one of its contact and connection', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_outbound_changes', change());
      await insert(client, 'crm_outbound_changes', { ...change(), contact_id: contactIds[1] });
      await insert(client, 'crm_outbound_changes', { ...change(), connection_id: otherConnectionId });
      await expectRefused(insert(client, 'crm_outbound_changes', change()), {
        code: '23505',
        constraint: 'crm_outbound_changes_pkey',
      });
    });
  });
});

describe('its version', () => {
  test('is another one with each change, never used before and never set by hand', async () => {
    await rolledBack(pool, async (client) => {
      const versions = [
        (await insert(client, 'crm_outbound_changes', change())).version,
        (await insert(client, 'crm_outbound_changes', { ...change(), connection_id: otherConnectionId }))
          .version,
      ];
      for (let count = 0; count < 3; count += 1) {
        const { rows } = await client.query(
          'update crm_outbound_changes set version = default where connection_id = $1 returning version',
          [connectionId],
        );
        versions.push(rows[0].version);
      }
      const upserted = await client.query(
        `insert into crm_outbound_changes as change
           (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at)
         values ($1, $2, $3, $4, $4, $4)
         on conflict (organisation_id, contact_id, connection_id) do update set version = default
         returning version`,
        [organisationId, contactIds[0], connectionId, nine],
      );
      versions.push(upserted.rows[0].version);
      await client.query('delete from crm_outbound_changes');
      versions.push((await insert(client, 'crm_outbound_changes', change())).version);
      const numbers = versions.map((version) => BigInt(version as string));
      expect(numbers).toEqual([...new Set(numbers)].sort((one, other) => (one < other ? -1 : 1)));
      await expectRefused(client.query('update crm_outbound_changes set version = 1'), { code: '428C9' });
    });
  });

  test('is none of those that came to nothing', async () => {
    const { version: lost } = await tryChange();
    const { version } = await tryChange();
    expect(BigInt(version as string)).toBeGreaterThan(BigInt(lost as string));
  });

  test('stays the same with an update that does not ask for another', async () => {
    await rolledBack(pool, async (client) => {
      const { version } = await insert(client, 'crm_outbound_changes', change());
      const { rows } = await client.query(
        'update crm_outbound_changes set attempts = attempts + 1 returning version',
      );
      expect(rows).toEqual([{ version }]);
    });
  });
});

describe('tenancy and deletion', () => {
  const noSuchContact = { code: '23503', constraint: 'crm_outbound_changes_contact_id_fkey' };
  const noSuchConnection = { code: '23503', constraint: 'crm_outbound_changes_connection_id_fkey' };

  test('refuses a contact or a connection of another organisation', async () => {
    const other = await createTenant(pool, 1);
    const theirs = await connect(pool, other.organisationId);
    await expectRefused(tryChange({ contact_id: other.contactIds[0] }), noSuchContact);
    await expectRefused(tryChange({ connection_id: theirs.connectionId }), noSuchConnection);
    // Each of the two keys is refused by its own organisation.
    await expectRefused(
      tryChange({ organisation_id: other.organisationId, contact_id: other.contactIds[0] }),
      noSuchConnection,
    );
    await expectRefused(
      tryChange({ organisation_id: other.organisationId, connection_id: theirs.connectionId }),
      noSuchContact,
    );
  });

  test('refuses a contact or a connection that does not exist', async () => {
    await expectRefused(tryChange({ contact_id: randomUUID() }), noSuchContact);
    await expectRefused(tryChange({ connection_id: randomUUID() }), noSuchConnection);
  });

  test('refuses to move a contact that has changes to another organisation', async () => {
    const other = await createTenant(pool);
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_outbound_changes', change());
      await expectRefused(
        client.query('update contacts set organisation_id = $1 where id = $2', [
          other.organisationId,
          contactIds[0],
        ]),
        noSuchContact,
      );
    });
  });

  test('a deleted contact takes its own changes along, and no others', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_outbound_changes', change());
      await insert(client, 'crm_outbound_changes', { ...change(), connection_id: otherConnectionId });
      await insert(client, 'crm_outbound_changes', { ...change(), contact_id: contactIds[1] });
      await client.query('delete from contacts where id = $1', [contactIds[0]]);
      const { rows } = await client.query('select contact_id from crm_outbound_changes');
      expect(rows).toEqual([{ contact_id: contactIds[1] }]);
    });
  });

  test('a change keeps its connection from being deleted', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_outbound_changes', change());
      await expectRefused(client.query('delete from crm_connections where id = $1', [connectionId]), {
        code: restricted,
        constraint: 'crm_outbound_changes_connection_id_fkey',
      });
    });
  });
});
