/**
 * Symptom: an agency withdraws the app's consent. Each sync then waits for ten seconds, in case another worker has
 * used up the refresh token, and until a worker has marked it, health says that the connection is active.
 *
 * Source: tried on 1.3.0 with a Reapit-like server.
 *
 * Input: the CRM refuses to refresh, for good, and the adapter says so.
 *
 * Right: the call fails at once and says so; the connection is in error at once, with the reason, unless another
 * worker has refreshed the credentials meanwhile.
 */
import { beforeAll, expect, test } from 'vitest';
import {
  type CredentialsRefreshParams,
  credentialsGet,
  credentialsRefresh,
  credentialsReplace,
  type KeyRing,
} from '../../src/credentials.js';
import { connectionDisconnect, connectionListWithHealth, type Queryable } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});

async function connectReapit() {
  const { organisationId } = await createTenant(pool);
  return { ...(await connect(pool, organisationId, 'reapit')), provider: 'reapit' } as const;
}

type Connection = Awaited<ReturnType<typeof connectReapit>>;

const refresh = (
  connection: Connection,
  answer: CredentialsRefreshParams<'reapit'>['refresh'],
  rest: { client?: Queryable; patience?: number } = {},
) =>
  credentialsRefresh(rest.client ?? pool, keys, {
    ...connection,
    credentialsVersion: 1,
    refresh: answer,
    patience: rest.patience,
  });

async function health({ organisationId }: Connection) {
  const since = { failuresSince: '2026-01-01T00:00:00Z' };
  const [connection] = await connectionListWithHealth(pool, { organisationId, ...since });
  return { status: connection?.status, statusReason: connection?.statusReason };
}

const refused = 'Reapit requires the agency to consent again.';

test('a refusal for good is said at once, and puts the connection in error', async () => {
  const connection = await connectReapit();
  // The patience is for other workers: a call that spent it would outlast the test.
  const patience = 3_600_000;
  await expect(refresh(connection, async () => ({ refused }), { patience })).rejects.toMatchObject({
    code: 'credentials_refused',
    message: `The CRM refuses to refresh the credentials: ${refused}`,
  });
  expect(await health(connection)).toEqual({ status: 'error', statusReason: refused });
});

test('a refusal of a version that another worker has refreshed meanwhile changes nothing', async () => {
  const connection = await connectReapit();
  const result = await refresh(connection, async ({ credentials }) => {
    await credentialsReplace(pool, keys, { ...connection, credentialsVersion: 1, credentials });
    return { refused };
  });
  expect(result).toMatchObject({ credentialsVersion: 2 });
  expect(await credentialsGet(pool, keys, connection)).toEqual(result);
  expect(await health(connection)).toEqual({ status: 'active', statusReason: null });
});

test('a refusal is marked once the database can be reached again', async () => {
  const connection = await connectReapit();
  let failures = 2;
  const client: Queryable = {
    query: (config) => {
      if (!config.text.includes('connectionSetStatus') || failures === 0) return pool.query(config);
      failures -= 1;
      return Promise.reject(new Error('Connection terminated unexpectedly'));
    },
  };
  await expect(refresh(connection, async () => ({ refused }), { client })).rejects.toMatchObject({
    code: 'credentials_refused',
  });
  expect(failures).toBe(0);
  expect(await health(connection)).toMatchObject({ status: 'error' });
});

test('a refusal that cannot be marked is said all the same, with the cause', async () => {
  const connection = await connectReapit();
  const client: Queryable = {
    query: (config) =>
      config.text.includes('connectionSetStatus')
        ? Promise.reject(new Error('database unavailable'))
        : pool.query(config),
  };
  await expect(
    refresh(connection, async () => ({ refused }), { client, patience: 100 }),
  ).rejects.toMatchObject({
    code: 'credentials_refused',
    message: `The CRM refuses to refresh the credentials: ${refused} The connection could not be put in error.`,
    cause: expect.objectContaining({ message: 'database unavailable' }),
  });
});

test.each([
  ['is too long', 'é'.repeat(501), 'é'.repeat(500)],
  ['is blank', ' \n', 'The CRM refuses to refresh the credentials.'],
  ['has a NUL and half of a surrogate pair', 'No\0 \ud800consent.', 'No \ufffdconsent.'],
  ['is missing', undefined as never, 'The CRM refuses to refresh the credentials.'],
])('a reason that %s does not keep a refusal from being marked', async (_, reason, stored) => {
  const connection = await connectReapit();
  await expect(refresh(connection, async () => ({ refused: reason }))).rejects.toMatchObject({
    code: 'credentials_refused',
  });
  expect(await health(connection)).toEqual({ status: 'error', statusReason: stored });
});

test('a refusal for a connection that was disconnected meanwhile says that', async () => {
  const connection = await connectReapit();
  const answer = refresh(connection, async () => {
    await connectionDisconnect(pool, connection);
    return { refused };
  });
  await expect(answer).rejects.toMatchObject({ code: 'connection_not_live' });
});

test.each([undefined, null])('new credentials beside a refusal that is %s are stored', async (no) => {
  const connection = await connectReapit();
  // What a helper with one form of answer returns. Nobody else has the new refresh token.
  const result = await refresh(connection, async ({ credentials }) => {
    const answer = { credentials: { ...credentials, accessToken: 'new-token' }, refused: no };
    return answer as never;
  });
  expect(result).toMatchObject({ credentialsVersion: 2, credentials: { accessToken: 'new-token' } });
  expect(await health(connection)).toEqual({ status: 'active', statusReason: null });
});

test('a refusal beside credentials that are undefined is a refusal', async () => {
  const connection = await connectReapit();
  const answer = { credentials: undefined, refused };
  await expect(refresh(connection, async () => answer as never)).rejects.toMatchObject({
    code: 'credentials_refused',
  });
});

test.each([undefined, null, 'token'])('a refresh that returns %j is told what to return', async (answer) => {
  const connection = await connectReapit();
  await expect(refresh(connection, async () => answer as never)).rejects.toMatchObject({
    code: 'invalid_input',
    message: 'refresh must return new credentials, { credentials }, or a refusal, { refused }.',
  });
  expect(await health(connection)).toMatchObject({ status: 'active' });
});
