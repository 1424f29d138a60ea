import type pg from 'pg';
import { beforeAll, test } from 'vitest';
import { connect } from './connection.js';
import { createTenant, insert, rolledBack, type Tenant } from './database.js';
import { expectRefused, restricted } from './refusals.js';

/** A row to insert, by column. */
export type Row = Record<string, unknown>;

/** An organisation with a live connection to Reapit. */
export interface ConnectedTenant extends Tenant {
  connectionId: string;
}

/**
 * Creates a connected tenant for a test file, before its tests run. Until then its fields are empty.
 *
 * @param contacts how many contacts it has
 */
export function useConnectedTenant(pool: pg.Pool, contacts = 0): ConnectedTenant {
  const tenant: ConnectedTenant = { organisationId: '', contactIds: [], connectionId: '' };
  beforeAll(async () => {
    Object.assign(tenant, await createTenant(pool, contacts));
    Object.assign(tenant, await connect(pool, tenant.organisationId));
  });
  return tenant;
}

/** A table whose rows belong to a connection, and a valid row of it. */
export interface ConnectionTable {
  pool: pg.Pool;
  table: string;
  tenant: ConnectedTenant;
  validRow: () => Row;
}

/** Inserts a valid row with `overrides`, returns it, and rolls back. */
export function tryRow({ pool, table, validRow }: ConnectionTable, overrides: Row = {}): Promise<Row> {
  return rolledBack(pool, (client) => insert(client, table, { ...validRow(), ...overrides }));
}

/** Tests that a row and its connection must belong to the same organisation. */
export function testRefusesOtherOrganisations(subject: ConnectionTable): void {
  const { pool, table } = subject;
  test('refuses a connection of another organisation', async () => {
    const other = await createTenant(pool);
    const noSuchConnection = { code: '23503', constraint: `${table}_connection_id_fkey` };
    await expectRefused(tryRow(subject, { organisation_id: other.organisationId }), noSuchConnection);
    const { connectionId } = await connect(pool, other.organisationId);
    await expectRefused(tryRow(subject, { connection_id: connectionId }), noSuchConnection);
  });
}

/** Tests that a connection cannot be deleted while the table has a row of it. */
export function testRestrictsDeletion({ pool, table, tenant, validRow }: ConnectionTable): void {
  test('refuses to delete a connection that has rows', async () => {
    await rolledBack(pool, async (client) => {
      await insert(client, table, validRow());
      await expectRefused(client.query('delete from crm_connections where id = $1', [tenant.connectionId]), {
        code: restricted,
        constraint: `${table}_connection_id_fkey`,
      });
    });
  });
}
