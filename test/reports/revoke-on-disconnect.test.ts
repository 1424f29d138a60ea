/**
 * Symptom: an agency disconnects its CRM, and months later the CRM still lists NurtureHub's token as valid. Nobody can
 * revoke it: the credentials were wiped in the statement that disconnected.
 *
 * Source: tried on 1.3.0 with a Reapit-like server; RFC 7009, section 2, for how tokens are revoked.
 *
 * Input: the application disconnects, and asks for the token to be revoked within an hour; once the worker does, once
 * the CRM is away for longer.
 *
 * Right: the worker is given the credentials, and they are wiped when it has revoked them, or after the hour in any
 * case; health says which.
 */
import { beforeAll, expect, test } from 'vitest';
import {
  credentialsClaimRevocation,
  credentialsConnect,
  credentialsRevoked,
  type KeyRing,
} from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionListWithHealth,
  syncRunClaim,
  withOrganisation,
} from '../../src/index.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');
const worker = useMember(database, 'crm_worker');

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});

/** Connects and disconnects, as the application. */
async function disconnected(): Promise<ConnectionKey> {
  const { organisationId } = await createTenant(pool);
  return withOrganisation(app, organisationId, async (client) => {
    const { connectionId } = await credentialsConnect(client, keys, {
      organisationId,
      provider: 'reapit',
      credentials: sampleCredentials.reapit,
    });
    const key = { organisationId, connectionId };
    await connectionDisconnect(client, { ...key, revokeWithinSeconds: 3600 });
    return key;
  });
}

const health = ({ organisationId }: ConnectionKey) =>
  withOrganisation(app, organisationId, async (client) => {
    const since = { failuresSince: '2026-01-01T00:00:00Z' };
    const [connection] = await connectionListWithHealth(client, { organisationId, ...since });
    return [connection?.status, connection?.revocation];
  });

const hasCiphertext = async ({ connectionId }: ConnectionKey) => {
  const { rows } = await pool.query('select credentials from crm_connections where id = $1', [connectionId]);
  return rows[0].credentials !== null;
};

test('the worker revokes the token of a connection that the application disconnected', async () => {
  const key = await disconnected();
  expect(await health(key)).toEqual(['disconnected', 'pending']);
  const revokedAtTheCrm: string[] = [];
  for (;;) {
    const waiting = await credentialsClaimRevocation(worker, keys);
    if (waiting === null) break;
    if (waiting.provider !== 'reapit' || waiting.credentials.grant !== 'authorization_code')
      expect.unreachable();
    else revokedAtTheCrm.push(waiting.credentials.refreshToken);
    await credentialsRevoked(worker, waiting);
  }
  expect(revokedAtTheCrm).toEqual(['test-refresh-1']);
  expect(await hasCiphertext(key)).toBe(false);
  expect(await health(key)).toEqual(['disconnected', 'revoked']);
});

test('credentials that no worker could revoke within the hour are wiped all the same, and health says so', async () => {
  const key = await disconnected();
  expect(await credentialsClaimRevocation(worker, keys)).toMatchObject(key);
  await pool.query(
    "update crm_connections set revoke_before_at = now() - interval '1 second' where id = $1",
    [key.connectionId],
  );
  await syncRunClaim(worker, { worker: 'test' });
  expect(await hasCiphertext(key)).toBe(false);
  expect(await health(key)).toEqual(['disconnected', 'expired']);
});

test('the application cannot be given the credentials', async () => {
  const key = await disconnected();
  const call = withOrganisation(app, key.organisationId, (client) =>
    credentialsClaimRevocation(client, keys),
  );
  await expect(call).rejects.toMatchObject({ code: 'not_permitted' });
});
