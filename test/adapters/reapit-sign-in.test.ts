// Signing in to Reapit as the worker does it, against the simulated one.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openReapit } from '../../examples/adapters/open-reapit.js';
import { ReapitSession } from '../../examples/adapters/reapit-sign-in.js';
import type { Crm } from '../../examples/crm.js';
import type { SimulatedCrm } from '../../examples/simulated-crm/server.js';
import { syncNext } from '../../examples/sync-worker.js';
import { credentialsGet } from '../../src/credentials.js';
import { connectionGet, connectionRequestSync } from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { connectReapit, failure, type ReapitConnection, startReapit, stopAll } from './reapit-crm.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
beforeAll(() => pool.query('grant select, insert, update, delete on contacts to crm_worker'));
afterEach(stopAll);

const everything = { changedSince: null };

/** How many tokens the simulated Reapit has given out while something was done. */
async function signIns(crm: SimulatedCrm, work: () => Promise<unknown>): Promise<number> {
  const before = crm.signIns;
  await work();
  return crm.signIns - before;
}

async function versionOf({ organisationId, connectionId }: ReapitConnection): Promise<number> {
  const connection = await connectionGet(pool, { organisationId, connectionId });
  return connection?.credentialsVersion ?? expect.unreachable();
}

describe.each(['authorization_code', 'client_credentials'] as const)('with the grant %s', (grant) => {
  async function connected(): Promise<{ crm: SimulatedCrm<'reapit'>; connection: ReapitConnection }> {
    const crm = await startReapit();
    crm.create('Ottoline Sprat');
    const credentials = crm.signIn(grant === 'client_credentials' ? grant : undefined);
    return { crm, connection: await connectReapit(database, crm, credentials) };
  }

  test('a worker signs in once, and uses the token until it has expired', async () => {
    const { crm, connection } = await connected();
    const signedIn = await signIns(crm, async () => {
      for (let run = 0; run < 3; run += 1) {
        const opened = await openReapit(connection.settings, connection);
        expect((await opened.readPage('contact', everything)).records).toHaveLength(1);
        expect(opened).toMatchObject({ account: 'SBOX', rateLimitScope: 'SBOX', credentialsVersion: 2 });
      }
    });
    expect(signedIn).toBe(1);
    const stored = await credentialsGet(pool, connection.settings.keys, connection);
    const seconds = (Date.parse(stored?.credentialsExpiresAt ?? '') - Date.now()) / 1000;
    expect(Math.abs(seconds - 3600)).toBeLessThan(600);
    expect(stored?.credentials).toMatchObject({ grant, customer: 'SBOX' });

    await pool.query('update crm_connections set credentials_expires_at = now() where id = $1', [
      connection.connectionId,
    ]);
    expect(await signIns(crm, () => openReapit(connection.settings, connection))).toBe(1);
    expect(await versionOf(connection)).toBe(3);
  });

  test('five workers that sign in at once all have a token, and one version is stored', async () => {
    const { crm, connection } = await connected();
    const settings = { ...connection.settings, patience: 10_000 };
    const opened = await Promise.all([1, 2, 3, 4, 5].map(() => openReapit(settings, connection)));
    for (const each of opened) {
      expect((await each.readPage('contact', everything)).records).toHaveLength(1);
      expect(each.credentialsVersion).toBe(2);
    }
    expect(await versionOf(connection)).toBe(2);
    expect(crm.signIns).toBeLessThanOrEqual(grant === 'authorization_code' ? 1 : 5);
  });

  test('a token that is refused in mid-run is renewed once, and each request is repeated', async () => {
    const { crm, connection } = await connected();
    const opened = await openReapit(connection.settings, connection);
    crm.expireAccessTokens();
    const renewed = await signIns(crm, async () => {
      const requests = [1, 2, 3].map(() => opened.readPage('contact', everything));
      for (const { records } of await Promise.all(requests)) expect(records).toHaveLength(1);
    });
    expect(renewed).toBe(1);
    expect(opened.credentialsVersion).toBe(3);
    expect(await versionOf(connection)).toBe(3);

    crm.expireAccessTokens();
    const contact = { contactId: '00000000-0000-4000-8000-00000000000c', name: 'Barnaby Quince' };
    expect(await opened.write(contact, null)).toMatchObject({ name: 'Barnaby Quince' });
    expect(crm.writes.map(({ kind }) => kind)).toEqual(['create']);
  });

  test('two workers whose token is refused in mid-run do not both renew it', async () => {
    const { crm, connection } = await connected();
    const [one, other] = [
      await openReapit(connection.settings, connection),
      await openReapit(connection.settings, connection),
    ];
    crm.expireAccessTokens();
    const renewed = await signIns(crm, async () => {
      await one.readPage('contact', everything);
      await other.readPage('contact', everything);
    });
    expect(renewed).toBe(1);
    expect([one.credentialsVersion, other.credentialsVersion]).toEqual([3, 3]);
  });

  test('a run whose token is refused in its middle ends as a success', async () => {
    const { crm, connection } = await connected();
    for (let count = 0; count < 30; count += 1) crm.create(`Test Person ${count}`);
    let pages = 0;
    await run(connection, (opened) => ({
      ...opened,
      readPage(...args) {
        if (++pages === 2) crm.expireAccessTokens();
        return opened.readPage(...args);
      },
    }));
    expect(pages).toBeGreaterThan(2);
    expect(await outcomes(connection)).toEqual(['success']);
    expect(await versionOf(connection)).toBe(3);
  });

  test('a user without access is put in error by the version that was refused', async () => {
    const { crm, connection } = await connected();
    await openReapit(connection.settings, connection);
    crm.revokeTokens();
    const error = await openReapit(connection.settings, connection)
      .then((opened) => opened.readPage('contact', everything))
      .catch((thrown) => thrown);
    if (grant === 'client_credentials') expect(error).toMatchObject({ code: 'credentials_refused' });
    else expect(error).toMatchObject({ kind: 'auth', retryable: false, credentialsVersion: 2 });
    await run(connection);
    expect(await connectionGet(pool, connection)).toMatchObject({
      status: 'error',
      statusReason: expect.stringMatching(
        grant === 'client_credentials'
          ? /Reapit says invalid_client/
          : /requires the agency to consent again/,
      ),
    });
  });
});

/** Lets the example worker sync the connection once. */
async function run(connection: ReapitConnection, change: (crm: Crm) => Crm = (crm) => crm): Promise<void> {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  const { organisationId, connectionId, settings } = connection;
  // Only this one is due.
  await pool.query("update crm_connections set next_sync_at = '9000-01-01', sync_requested_at = null");
  await connectionRequestSync(pool, { organisationId, connectionIds: [connectionId], isUrgent: true });
  await syncNext({
    name: 'test-worker',
    pool: worker,
    openCrm: async (claimed) => change(await openReapit({ ...settings, pool: worker }, claimed)),
  });
}

async function outcomes({ connectionId }: ReapitConnection): Promise<string[]> {
  const { rows } = await pool.query(
    'select outcome from crm_sync_runs where connection_id = $1 order by id',
    [connectionId],
  );
  return rows.map(({ outcome }) => outcome);
}

/** A token endpoint that answers with this, and an API that accepts the tokens `good`. */
async function connectedTo(status: number, answer: object | string) {
  const crm = await startReapit();
  const connection = await connectReapit(database, crm);
  let asked = 0;
  const endpoint = createServer((request, response) => {
    if (request.url !== '/token') return void response.writeHead(401).end('{}');
    asked += 1;
    response.writeHead(status).end(typeof answer === 'string' ? answer : JSON.stringify(answer));
  }).listen(0, '127.0.0.1');
  await once(endpoint, 'listening');
  onTestFinished(() => void endpoint.close());
  const url = `http://127.0.0.1:${(endpoint.address() as AddressInfo).port}`;
  const { settings } = connection;
  const app = { ...settings.app, tokenUrl: `${url}/token` };
  return { connection, settings: { ...settings, app, apiUrl: url }, asked: () => asked };
}

describe('a token answer', () => {
  test.each([{}, { expires_in: 0 }, { expires_in: null }])(
    'with %j expires after an hour',
    async (expiry) => {
      const { connection, settings, asked } = await connectedTo(200, {
        access_token: 'good',
        refresh_token: 'next',
        ...expiry,
      });
      for (let signIn = 0; signIn < 3; signIn += 1) {
        const { stored } = await ReapitSession.open(settings, connection);
        const seconds = (Date.parse(stored.credentialsExpiresAt ?? '') - Date.now()) / 1000;
        expect(Math.abs(seconds - 3600)).toBeLessThan(600);
        expect({ ...stored.credentials }).toMatchObject({ accessToken: 'good', refreshToken: 'next' });
      }
      expect(asked()).toBe(1);
    },
  );

  test('without an access token keeps the refresh token, and is an error that passes', async () => {
    const { connection, settings } = await connectedTo(200, { refresh_token: 'next' });
    expect(await failure(ReapitSession.open(settings, connection))).toMatchObject({
      kind: 'provider',
      retryable: true,
    });
    const stored = await credentialsGet(pool, settings.keys, connection);
    expect({ ...stored?.credentials }).toMatchObject({ refreshToken: 'next' });
  });

  test.each<[string, number, object | string, object]>([
    ['that is empty', 200, {}, { kind: 'provider', retryable: true }],
    ['that is a page of a gateway', 400, '<html>secret</html>', { kind: 'provider', retryable: true }],
    ['without a reason', 400, {}, { kind: 'provider', retryable: true }],
    ['that the request is wrong', 400, { error: 'invalid_request' }, { kind: 'provider', retryable: true }],
    ['that there are too many', 429, {}, { kind: 'rate_limited', retryable: true }],
    ['that it is down', 503, {}, { kind: 'provider', retryable: true }],
    [
      'that the grant is invalid',
      400,
      { error: 'invalid_grant' },
      { kind: 'auth', retryable: false, credentialsVersion: 1 },
    ],
  ])('%s leaves the credentials as they are', async (_, status, answer, expected) => {
    const { connection, settings } = await connectedTo(status, answer);
    const error = await failure(ReapitSession.open(settings, connection));
    expect(error).toMatchObject(expected);
    expect(error.message).not.toMatch(/secret|refresh-/);
    expect(await connectionGet(pool, connection)).toMatchObject({ status: 'active', credentialsVersion: 1 });
  });

  test.each(['invalid_client', 'unauthorized_client', 'unsupported_grant_type'])(
    '%s puts the connection in error at once, without waiting for other workers',
    async (error) => {
      const { connection, settings } = await connectedTo(401, { error });
      const patient = { ...settings, patience: 60_000 };
      await expect(ReapitSession.open(patient, connection)).rejects.toMatchObject({
        code: 'credentials_refused',
      });
      expect(await connectionGet(pool, connection)).toMatchObject({
        status: 'error',
        statusReason: `Reapit says ${error}: check the app.`,
      });
    },
  );

  test('whose new token is refused, too, is an auth error of the new version, after one renewal', async () => {
    const { connection, settings, asked } = await connectedTo(200, {
      access_token: 'bad',
      refresh_token: 'next',
    });
    const opened = await openReapit(settings, connection);
    expect(await failure(opened.readPage('contact', everything))).toMatchObject({
      kind: 'auth',
      retryable: false,
      credentialsVersion: 3,
    });
    expect(asked()).toBe(2);
  });
});

test('a connection that is not live cannot be signed in to', async () => {
  const crm = await startReapit();
  const { settings, organisationId } = await connectReapit(database, crm);
  const connectionId = '00000000-0000-4000-8000-000000000000';
  const error = await failure(openReapit(settings, { organisationId, connectionId }));
  expect(error).toMatchObject({ kind: 'auth', retryable: false });
});
