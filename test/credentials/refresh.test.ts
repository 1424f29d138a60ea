import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type Credentials,
  credentialsGet,
  credentialsRefresh,
  credentialsReplace,
  type KeyRing,
} from '../../src/credentials.js';
import { connectionDisconnect, connectionGet, connectionSetStatus, type Queryable } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});

/** A token endpoint like Reapit's, whose refresh tokens are single use. */
class TokenEndpoint {
  #valid = 'test-refresh-1';
  calls = 0;
  refusals = 0;

  /** @param milliseconds the delay of each answer */
  constructor(readonly milliseconds = 0) {}

  async refresh(refreshToken: string): Promise<Credentials<'reapit'>> {
    this.calls += 1;
    if (refreshToken !== this.#valid) {
      this.refusals += 1;
      throw new Error('invalid_grant');
    }
    this.#valid = `test-refresh-${this.calls + 1}`;
    const answer = { grant: 'authorization_code', refreshToken: this.#valid } as const;
    await sleep(this.milliseconds);
    return answer;
  }
}

async function connectReapit() {
  const { organisationId } = await createTenant(pool);
  return { ...(await connect(pool, organisationId, 'reapit')), provider: 'reapit' } as const;
}

type Connection = Awaited<ReturnType<typeof connectReapit>>;

/** Refreshes as a worker does when its access token has expired. */
function refresh(client: Queryable, connection: Connection, endpoint: TokenEndpoint, credentialsVersion = 1) {
  return credentialsRefresh(client, keys, {
    ...connection,
    credentialsVersion,
    patience: 3000,
    refresh: async ({ credentials }) => {
      if (credentials.grant !== 'authorization_code') throw new Error('wrong grant');
      return {
        credentials: await endpoint.refresh(credentials.refreshToken),
        credentialsExpiresAt: '2126-11-23T10:00:00Z',
      };
    },
  });
}

describe('credentialsRefresh', () => {
  test('stores and returns the credentials from the CRM', async () => {
    const connection = await connectReapit();
    const refreshed = await refresh(pool, connection, new TokenEndpoint());
    expect(refreshed).toMatchObject({
      credentials: { refreshToken: 'test-refresh-2' },
      credentialsVersion: 2,
      credentialsExpiresAt: '2126-11-23T10:00:00.000000Z',
    });
    expect(await credentialsGet(pool, keys, connection)).toEqual(refreshed);
  });

  test.each([0, 100])(
    'of ten workers with one single-use token, one wins and all continue with its result (answers take %i ms)',
    async (milliseconds) => {
      const connection = await connectReapit();
      const endpoint = new TokenEndpoint(milliseconds);
      const results = await Promise.all(
        Array.from({ length: 10 }, () => refresh(pool, connection, endpoint)),
      );
      expect(endpoint.calls - endpoint.refusals).toBe(1);
      if (milliseconds > 0) expect(endpoint.refusals).toBeGreaterThan(0);
      for (const result of results) {
        expect(result).toEqual(results[0]);
        expect(result.credentials).not.toMatchObject({ refreshToken: 'test-refresh-1' });
      }
      expect(await connectionGet(pool, connection)).toMatchObject({
        status: 'active',
        credentialsVersion: 2,
      });
    },
  );

  test('does not use up a token for a worker with an old version', async () => {
    const connection = await connectReapit();
    const endpoint = new TokenEndpoint();
    const first = await refresh(pool, connection, endpoint);
    expect(await refresh(pool, connection, endpoint)).toEqual(first);
    expect(endpoint.calls).toBe(1);
    expect(await refresh(pool, connection, endpoint, 2)).toMatchObject({ credentialsVersion: 3 });
  });

  test('throws the CRM’s error if no other worker refreshed, and the connection can then be marked', async () => {
    const connection = await connectReapit();
    await expect(
      credentialsRefresh(pool, keys, {
        ...connection,
        credentialsVersion: 1,
        patience: 100,
        refresh: () => Promise.reject(new Error('invalid_grant')),
      }),
    ).rejects.toThrow('invalid_grant');
    await connectionSetStatus(pool, {
      ...connection,
      status: 'error',
      reason: 'Reapit wants a new consent.',
      credentialsVersion: 1,
    });
    expect(await connectionGet(pool, connection)).toMatchObject({ status: 'error' });
  });

  test('a worker whose version is superseded cannot mark the connection', async () => {
    const connection = await connectReapit();
    await refresh(pool, connection, new TokenEndpoint());
    await expect(
      connectionSetStatus(pool, {
        ...connection,
        status: 'error',
        reason: 'Reapit wants a new consent.',
        credentialsVersion: 1,
      }),
    ).rejects.toMatchObject({ code: 'credentials_superseded' });
    expect(await connectionGet(pool, connection)).toMatchObject({ status: 'active' });
  });

  test('retries until the new credentials are stored while the database is unavailable', async () => {
    const connection = await connectReapit();
    let failures = 2;
    const flaky: Queryable = {
      query: (config) => {
        if (config.text.includes('credentialsReplace') && failures > 0) {
          failures -= 1;
          return Promise.reject(new Error('Connection terminated unexpectedly'));
        }
        return pool.query(config);
      },
    };
    const refreshed = await refresh(flaky, connection, new TokenEndpoint());
    expect(failures).toBe(0);
    expect(refreshed.credentials).toMatchObject({ refreshToken: 'test-refresh-2' });
  });

  test('continues if the reply to its own success is lost', async () => {
    const connection = await connectReapit();
    let lost = false;
    const flaky: Queryable = {
      query: async (config) => {
        const result = await pool.query(config);
        if (config.text.includes('credentialsReplace') && !lost) {
          lost = true;
          throw new Error('Connection terminated unexpectedly');
        }
        return result;
      },
    };
    const refreshed = await refresh(flaky, connection, new TokenEndpoint());
    expect(lost).toBe(true);
    expect(refreshed).toMatchObject({
      credentials: { refreshToken: 'test-refresh-2' },
      credentialsVersion: 2,
    });
  });

  test('keeps a token that cannot be fetched again, even if the fields with it are invalid', async () => {
    const connection = await connectReapit();
    const refreshed = await credentialsRefresh(pool, keys, {
      ...connection,
      credentialsVersion: 1,
      refresh: async ({ credentials }) => {
        const answer = { refreshToken: 'test-refresh-2', expires_in: 'soon' };
        const fresh = {
          credentials: { ...credentials, ...answer } as Credentials<'reapit'>,
          credentialsExpiresAt: new Date(Number.NaN),
          // Fields that refresh has no say in.
          connectionId: 'elsewhere',
          credentialsVersion: 99,
        };
        return fresh;
      },
    });
    expect({ ...refreshed.credentials }).toEqual({
      grant: 'authorization_code',
      refreshToken: 'test-refresh-2',
      accessToken: 'test-access-1',
    });
    expect(refreshed).toMatchObject({ credentialsVersion: 2, credentialsExpiresAt: null });
  });

  test.each<[string, Record<string, unknown>, unknown]>([
    ['an empty expiry', {}, ''],
    ['an expiry of 0', {}, 0],
    ['pasted white space', { refreshToken: ' test-refresh-2\n', accessToken: 'test-access-2\n' }, null],
    ['an optional field that is null', { customer: null, apiVersion: '' }, null],
    ['an unknown field with a Date', { received: new Date() }, null],
    ['an unknown field with a function', { log: () => 1 }, null],
    ['a client with an unknown field', { client: { id: 'i', secret: 's', more: 1 } }, null],
  ])('keeps it despite %s', async (_, extra, credentialsExpiresAt) => {
    const connection = await connectReapit();
    const refreshed = await credentialsRefresh(pool, keys, {
      ...connection,
      credentialsVersion: 1,
      refresh: async ({ credentials }) => ({
        credentials: { ...credentials, refreshToken: 'test-refresh-2', ...extra } as Credentials<'reapit'>,
        credentialsExpiresAt: credentialsExpiresAt as null,
      }),
    });
    expect(refreshed).toMatchObject({
      credentials: { refreshToken: 'test-refresh-2' },
      credentialsVersion: 2,
      credentialsExpiresAt: null,
    });
    expect(Object.keys(refreshed.credentials)).not.toContain('received');
  });

  test('throws the CRM’s error, even if the database is unavailable', async () => {
    const connection = await connectReapit();
    let refused = false;
    const flaky: Queryable = {
      query: (config) => (refused ? Promise.reject(new Error('database unavailable')) : pool.query(config)),
    };
    await expect(
      credentialsRefresh(flaky, keys, {
        ...connection,
        credentialsVersion: 1,
        patience: 200,
        refresh: () => {
          refused = true;
          return Promise.reject(new Error('invalid_grant'));
        },
      }),
    ).rejects.toThrow('invalid_grant');
  });

  test.each([Number.NaN, -1, Number.POSITIVE_INFINITY])('refuses a patience of %d', async (patience) => {
    await expect(
      credentialsRefresh(pool, keys, {
        ...(await connectReapit()),
        credentialsVersion: 1,
        patience,
        refresh: () => expect.unreachable('asked the CRM'),
      }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
  });

  test('throws the database’s error once patience runs out', async () => {
    const connection = await connectReapit();
    const away: Queryable = {
      query: (config) =>
        config.text.includes('credentialsReplace')
          ? Promise.reject(new Error('database unavailable'))
          : pool.query(config),
    };
    await expect(
      credentialsRefresh(away, keys, {
        ...connection,
        credentialsVersion: 1,
        patience: 200,
        refresh: async ({ credentials }) => ({ credentials }),
      }),
    ).rejects.toThrow('database unavailable');
  });

  test('does not store credentials that are not enough to sign in', async () => {
    const connection = await connectReapit();
    await expect(
      credentialsRefresh(pool, keys, {
        ...connection,
        credentialsVersion: 1,
        refresh: async () => ({ credentials: { grant: 'authorization_code', refreshToken: '' } }),
      }),
    ).rejects.toMatchObject({ code: 'invalid_credentials' });
    expect(await connectionGet(pool, connection)).toMatchObject({ credentialsVersion: 1 });
  });

  test('refuses a connection that is not live', async () => {
    const connection = await connectReapit();
    await connectionDisconnect(pool, connection);
    await expect(refresh(pool, connection, new TokenEndpoint())).rejects.toMatchObject({
      code: 'connection_not_live',
    });
  });

  test('yields to credentials that an agent enters in the meantime', async () => {
    const connection = await connectReapit();
    const entered: Credentials<'reapit'> = { grant: 'client_credentials', customer: 'SBOX' };
    const result = await credentialsRefresh(pool, keys, {
      ...connection,
      credentialsVersion: 1,
      refresh: async () => {
        await credentialsReplace(pool, keys, { ...connection, credentialsVersion: 1, credentials: entered });
        return { credentials: { grant: 'authorization_code', refreshToken: 'too-late' } };
      },
    });
    expect(result).toMatchObject({ credentials: entered, credentialsVersion: 2 });
  });
});
