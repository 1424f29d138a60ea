import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  connectionGetLive,
  contactExternalIdLink,
  organisationSet,
  type Queryable,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, type Tenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { type Tool, tools, unreported } from './tools.js';

const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');
const provider = 'reapit';

describe.each(Object.keys(tools))('in transactions of %s,', (name) => {
  let tenant: Tenant;
  beforeAll(async () => {
    tenant = await createTenant(pool, 1);
    await connect(pool, tenant.organisationId);
  });

  async function open(): Promise<Tool> {
    const tool = await tools[name]?.(app.options.connectionString as string);
    if (tool === undefined) throw new Error(`There is no ${name}.`);
    onTestFinished(async () => {
      await tool.end();
    });
    return tool;
  }

  const getLive = (client: Queryable, organisationId = tenant.organisationId) =>
    connectionGetLive(client, { organisationId, provider });

  test('the organisation ends with the transaction, whether it is committed or rolled back', async () => {
    const { transaction } = await open();
    const inOrganisation = transaction(async (client) => {
      await organisationSet(client, tenant);
      return getLive(client);
    });
    expect(await inOrganisation).toMatchObject({ provider, status: 'active' });
    await expect(transaction((client) => getLive(client))).rejects.toMatchObject({
      code: 'organisation_not_set',
    });
    const failing = transaction(async (client) => {
      await organisationSet(client, tenant);
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    await expect(transaction((client) => getLive(client))).rejects.toMatchObject({
      code: 'organisation_not_set',
    });
  });

  test('a call for another organisation finds nothing', async () => {
    const other = await createTenant(pool);
    await connect(pool, other.organisationId);
    const { transaction } = await open();
    const found = await transaction(async (client) => {
      await organisationSet(client, tenant);
      return getLive(client, other.organisationId);
    });
    expect(found).toBeNull();
  });

  test('nothing is committed if the error of a statement is not rethrown, as docs/clients.md says', async () => {
    const { transaction } = await open();
    const externalId = randomUUID();
    const swallowing = transaction(async (client) => {
      await organisationSet(client, tenant);
      await contactExternalIdLink(client, {
        organisationId: tenant.organisationId,
        provider,
        entityType: 'contact',
        externalId,
        contactId: tenant.contactIds[0] as string,
      });
      const refusal = await client
        .query({ text: 'select 1/0 as one', values: [], types: { getTypeParser: () => String } })
        .catch((error) => error);
      expect(refusal).toMatchObject({ code: '22012' });
      return 'as if all was well';
    });
    if (unreported.includes(name)) expect(await swallowing).toBe('as if all was well');
    else await expect(swallowing).rejects.toThrow();
    const { rows } = await pool.query('select 1 from contact_external_ids where external_id = $1', [
      externalId,
    ]);
    expect(rows).toEqual([]);
  });
});
