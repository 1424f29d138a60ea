import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { type ConnectionKey, connectionConnect, type Provider, type Queryable } from '../../src/index.js';
import { encryptCredentials } from './credentials.js';

/** Connects a CRM for an organisation, with a new id and test credentials. */
export async function connect(
  client: Queryable,
  organisationId: string,
  provider: Provider = 'reapit',
): Promise<ConnectionKey> {
  const connectionId = randomUUID();
  const credentials = await encryptCredentials({ organisationId, connectionId, provider });
  await connectionConnect(client, { organisationId, connectionId, provider, credentials });
  return { organisationId, connectionId };
}

/** The same by a statement that runs from the first release on, for a schema that is not fully migrated. */
export async function insertConnection(
  client: pg.ClientBase,
  organisationId: string,
  provider: Provider = 'reapit',
): Promise<ConnectionKey> {
  const connectionId = randomUUID();
  const credentials = await encryptCredentials({ organisationId, connectionId, provider });
  await client.query(
    'insert into crm_connections (organisation_id, id, provider, credentials) values ($1, $2, $3, $4)',
    [organisationId, connectionId, provider, credentials],
  );
  return { organisationId, connectionId };
}
