import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Row, testRestrictsDeletion, tryRow, useConnectedTenant } from '../support/connected-tenant.js';
import { connect } from '../support/connection.js';
import { createTenant, insert, rolledBack, useDatabase } from '../support/database.js';
import { expectCheck, expectRefused, impossibleTimes, outermostTimes } from '../support/refusals.js';

const { pool } = useDatabase();

const tenant = useConnectedTenant(pool, 2);
let otherConnectionId: string;
beforeAll(async () => {
  ({ connectionId: otherConnectionId } = await connect(pool, tenant.organisationId, 'alto'));
});

const nine = '2026-11-16T09:00:00Z';
const ten = '2026-11-16T10:00:00Z';

/** A valid change. */
const validRow = () => ({
  organisation_id: tenant.organisationId,
  contact_id: tenant.contactIds[0],
  connection_id: tenant.connectionId,
  first_changed_at: nine,
  last_changed_at: nine,
  next_attempt_at: nine,
});

const changes = { pool, table: 'crm_outbound_changes', tenant, validRow };

describe('crm_outbound_changes', () => {
  test('starts unclaimed and unannounced', async () => {
    expect(await tryRow(changes)).toMatchObject({ attempts: 0, is_announced: false });
  });

  test.each<[string, Row]>([
    ['has the highest number of attempts', { attempts: 2_147_483_647 }],
    ['changed again later', { last_changed_at: ten }],
    ['can be claimed at once', { next_attempt_at: nine, last_changed_at: ten }],
    [
      'is of 1900',
      {
        first_changed_at: outermostTimes[0],
        last_changed_at: outermostTimes[0],
        next_attempt_at: outermostTimes[0],
      },
    ],
    ['is of 9998', { last_changed_at: outermostTimes[1], next_attempt_at: outermostTimes[1] }],
  ])('accepts a change that %s', async (_, overrides) => {
    await tryRow(changes, overrides);
  });

  test.each<[string, Row, string]>([
    ['has a negative number of attempts', { attempts: -1 }, 'attempts'],
    ['first changed after it last changed', { first_changed_at: ten }, 'changed_in_order'],
    [
      'first changed a microsecond after it last changed',
      { first_changed_at: '2026-11-16T09:00:00.000001Z' },
      'changed_in_order',
    ],
    ...impossibleTimes.flatMap((time): [string, Row, string][] => [
      [`changed at ${time}`, { first_changed_at: time, last_changed_at: time }, 'times_in_range'],
      [`can be claimed at ${time}`, { next_attempt_at: time }, 'times_in_range'],
    ]),
    ['first changed at -infinity', { first_changed_at: '-infinity' }, 'times_in_range'],
    ['last changed at infinity', { last_changed_at: 'infinity' }, 'times_in_range'],
  ])('refuses a change that %s', async (_, overrides, constraint) => {
    await expectCheck(tryRow(changes, overrides), `crm_outbound_changes_${constraint}_check`);
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
  ])('refuses a change without %s', async (column) => {
    await expectRefused(tryRow(changes, { [column]: null }), { code: '23502', column });
  });

  test('refuses a second change of the same contact and connection', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_outbound_changes', validRow());
      await insert(client, 'crm_outbound_changes', { ...validRow(), contact_id: tenant.contactIds[1] });
      await insert(client, 'crm_outbound_changes', { ...validRow(), connection_id: otherConnectionId });
      await expectRefused(insert(client, 'crm_outbound_changes', validRow()), {
        code: '23505',
        constraint: 'crm_outbound_changes_pkey',
      });
    });
  });
});

describe('the version of a change', () => {
  test('increases with each change, is never reused, and cannot be set by hand', async () => {
    await rolledBack(pool, async (client) => {
      const versions = [
        (await insert(client, 'crm_outbound_changes', validRow())).version,
        (await insert(client, 'crm_outbound_changes', { ...validRow(), connection_id: otherConnectionId }))
          .version,
      ];
      for (let count = 0; count < 3; count += 1) {
        const { rows } = await client.query(
          'update crm_outbound_changes set version = default where connection_id = $1 returning version',
          [tenant.connectionId],
        );
        versions.push(rows[0].version);
      }
      const upserted = await client.query(
        `insert into crm_outbound_changes as change
           (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at)
         values ($1, $2, $3, $4, $4, $4)
         on conflict (organisation_id, contact_id, connection_id) do update set version = default
         returning version`,
        [tenant.organisationId, tenant.contactIds[0], tenant.connectionId, nine],
      );
      versions.push(upserted.rows[0].version);
      await client.query('delete from crm_outbound_changes');
      versions.push((await insert(client, 'crm_outbound_changes', validRow())).version);
      const numbers = versions.map((version) => BigInt(version as string));
      expect(numbers).toEqual([...new Set(numbers)].sort((one, other) => (one < other ? -1 : 1)));
      await expectRefused(client.query('update crm_outbound_changes set version = 1'), { code: '428C9' });
    });
  });

  test('is never one from a rolled-back transaction', async () => {
    const { version: lost } = await tryRow(changes);
    const { version } = await tryRow(changes);
    expect(BigInt(version as string)).toBeGreaterThan(BigInt(lost as string));
  });

  test('stays the same in an update that does not set it', async () => {
    await rolledBack(pool, async (client) => {
      const { version } = await insert(client, 'crm_outbound_changes', validRow());
      const { rows } = await client.query(
        'update crm_outbound_changes set attempts = attempts + 1 returning version',
      );
      expect(rows).toEqual([{ version }]);
    });
  });
});

describe('tenancy and deletion of changes', () => {
  const noSuchContact = { code: '23503', constraint: 'crm_outbound_changes_contact_id_fkey' };
  const noSuchConnection = { code: '23503', constraint: 'crm_outbound_changes_connection_id_fkey' };

  test('refuses a contact or a connection of another organisation', async () => {
    const other = await createTenant(pool, 1);
    const theirs = await connect(pool, other.organisationId);
    await expectRefused(tryRow(changes, { contact_id: other.contactIds[0] }), noSuchContact);
    await expectRefused(tryRow(changes, { connection_id: theirs.connectionId }), noSuchConnection);
    // Each foreign key includes the organisation.
    await expectRefused(
      tryRow(changes, { organisation_id: other.organisationId, contact_id: other.contactIds[0] }),
      noSuchConnection,
    );
    await expectRefused(
      tryRow(changes, { organisation_id: other.organisationId, connection_id: theirs.connectionId }),
      noSuchContact,
    );
  });

  test('refuses a contact or a connection that does not exist', async () => {
    await expectRefused(tryRow(changes, { contact_id: randomUUID() }), noSuchContact);
    await expectRefused(tryRow(changes, { connection_id: randomUUID() }), noSuchConnection);
  });

  test('refuses to move a contact with changes to another organisation', async () => {
    const other = await createTenant(pool);
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_outbound_changes', validRow());
      await expectRefused(
        client.query('update contacts set organisation_id = $1 where id = $2', [
          other.organisationId,
          tenant.contactIds[0],
        ]),
        noSuchContact,
      );
    });
  });

  test('deleting a contact deletes its changes and no others', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, 'crm_outbound_changes', validRow());
      await insert(client, 'crm_outbound_changes', { ...validRow(), connection_id: otherConnectionId });
      await insert(client, 'crm_outbound_changes', { ...validRow(), contact_id: tenant.contactIds[1] });
      await client.query('delete from contacts where id = $1', [tenant.contactIds[0]]);
      const { rows } = await client.query('select contact_id from crm_outbound_changes');
      expect(rows).toEqual([{ contact_id: tenant.contactIds[1] }]);
    });
  });

  testRestrictsDeletion(changes);
});
