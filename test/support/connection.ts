import { randomUUID } from 'node:crypto';
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
