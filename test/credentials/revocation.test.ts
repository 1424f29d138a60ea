import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  credentialsClaimRevocation,
  credentialsConnect,
  credentialsCountByKey,
  credentialsGet,
  credentialsReplace,
  credentialsRevoked,
  credentialsRotate,
  generateKey,
  KeyRing,
} from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionListWithHealth,
  connectionSetStatus,
  type Queryable,
  syncRunClaim,
  syncRunSweep,
} from '../../src/index.js';
import { atNine } from '../support/clock.js';
import { sampleCredentials, testKeyRing, testRingKey } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool, url } = useDatabase();

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});
beforeEach(async () => {
  await pool.query('delete from crm_connections');
});

const credentials = sampleCredentials.reapit;

async function connectReapit(client: Queryable = pool): Promise<ConnectionKey> {
  const { organisationId } = await createTenant(pool);
  const { connectionId } = await credentialsConnect(client, keys, {
    organisationId,
    provider: 'reapit',
    credentials,
  });
  return { organisationId, connectionId };
}

/** What is stored, and what health says. */
async function stateOf({ organisationId, connectionId }: ConnectionKey) {
  const since = { failuresSince: '2026-01-01T00:00:00Z' };
  const [health] = await connectionListWithHealth(pool, { organisationId, ...since });
  const { rows } = await pool.query(
    'select credentials is not null as "hasCiphertext" from crm_connections where id = $1',
    [connectionId],
  );
  return {
    ...rows[0],
    status: health?.status,
    revocation: health?.revocation,
    revokeBeforeAt: health?.revokeBeforeAt,
  };
}

describe('connectionDisconnect', () => {
  test('wipes the credentials at once if no revocation is asked for', async () => {
    const key = await connectReapit();
    expect(await connectionDisconnect(pool, key)).toMatchObject({ revokeBeforeAt: null });
    expect(await stateOf(key)).toEqual({
      hasCiphertext: false,
      status: 'disconnected',
      revocation: null,
      revokeBeforeAt: null,
    });
    expect(await credentialsClaimRevocation(pool, keys)).toBeNull();
  });

  test('keeps them to be revoked, for so long, and for nothing else', async () => {
    await atNine(url, async (client) => {
      const key = await connectReapit(client);
      const revokeBeforeAt = '2026-11-16T10:00:00.000000Z';
      expect(await connectionDisconnect(client, { ...key, revokeWithinSeconds: 3600 })).toMatchObject({
        revokeBeforeAt,
      });
      expect(await stateOf(key)).toEqual({
        hasCiphertext: true,
        status: 'disconnected',
        revocation: 'pending',
        revokeBeforeAt,
      });
      const notLive = { code: 'connection_not_live' };
      expect(await credentialsGet(client, keys, key)).toBeNull();
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      const replacement = { ...key, provider: 'reapit', credentials, credentialsVersion: 2 } as const;
      await expect(credentialsReplace(client, keys, replacement)).rejects.toMatchObject(notLive);
      await expect(connectionSetStatus(client, { ...key, status: 'active' })).rejects.toMatchObject(notLive);
      const again = connectionDisconnect(client, { ...key, revokeWithinSeconds: 3600 });
      await expect(again).rejects.toMatchObject(notLive);
    });
  });

  test.each([0, -1, 604_801, 1.5, '60' as never])('refuses to keep them for %s seconds', async (seconds) => {
    const key = await connectReapit();
    const call = connectionDisconnect(pool, { ...key, revokeWithinSeconds: seconds });
    await expect(call).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

describe('credentialsClaimRevocation', () => {
  test('returns the credentials whose time ends first, in clear text, and not again for five minutes', async () => {
    await atNine(url, async (client, clock) => {
      const [later, sooner] = [await connectReapit(client), await connectReapit(client)];
      await connectionDisconnect(client, { ...later, revokeWithinSeconds: 7200 });
      await connectionDisconnect(client, { ...sooner, revokeWithinSeconds: 3600 });
      const claimed = await credentialsClaimRevocation(client, keys);
      expect(claimed).toEqual({
        ...sooner,
        provider: 'reapit',
        account: null,
        credentials,
        revokeBeforeAt: '2026-11-16T10:00:00.000000Z',
      });
      expect(JSON.stringify(claimed)).not.toContain('test-refresh');
      expect(await credentialsClaimRevocation(client, keys)).toMatchObject(later);
      expect(await credentialsClaimRevocation(client, keys)).toBeNull();
      await clock.pass(299);
      expect(await credentialsClaimRevocation(client, keys)).toBeNull();
      await clock.pass(1);
      expect(await credentialsClaimRevocation(client, keys)).toMatchObject(sooner);
    });
  });

  test('claims at once, although the next sync would have been later', async () => {
    const key = await connectReapit();
    await pool.query("update crm_connections set next_sync_at = '9000-01-01 00:00Z'");
    await connectionDisconnect(pool, { ...key, revokeWithinSeconds: 3600 });
    expect(await credentialsClaimRevocation(pool, keys)).toMatchObject(key);
  });

  test('returns nothing once their time is over, even before they are wiped', async () => {
    await atNine(url, async (client, clock) => {
      const key = await connectReapit(client);
      await connectionDisconnect(client, { ...key, revokeWithinSeconds: 60 });
      await clock.pass(60);
      expect(await credentialsClaimRevocation(client, keys)).toBeNull();
      expect(await stateOf(key)).toMatchObject({ hasCiphertext: true, revocation: 'pending' });
    });
  });

  test('returns others after credentials that cannot be decrypted', async () => {
    await atNine(url, async (client) => {
      const [lost, other] = [await connectReapit(client), await connectReapit(client)];
      await client.query(
        `update crm_connections set credentials = jsonb_set(credentials, '{header,kid}', '"lost"') where id = $1`,
        [lost.connectionId],
      );
      await connectionDisconnect(client, { ...lost, revokeWithinSeconds: 60 });
      await connectionDisconnect(client, { ...other, revokeWithinSeconds: 3600 });
      const first = credentialsClaimRevocation(client, keys);
      await expect(first).rejects.toMatchObject({ code: 'unknown_key' });
      expect(await credentialsClaimRevocation(client, keys)).toMatchObject(other);
    });
  });

  test('two workers never get the same credentials', async () => {
    const connections = [await connectReapit(), await connectReapit()];
    for (const key of connections) await connectionDisconnect(pool, { ...key, revokeWithinSeconds: 3600 });
    const one = await pool.connect();
    try {
      await one.query('begin');
      const first = await credentialsClaimRevocation(one, keys);
      const second = await credentialsClaimRevocation(pool, keys);
      expect(new Set([first?.connectionId, second?.connectionId]).size).toBe(2);
    } finally {
      await one.query('rollback');
      one.release();
    }
  });
});

describe('credentialsRevoked', () => {
  test('wipes the credentials, and says that they were revoked', async () => {
    const key = await connectReapit();
    await connectionDisconnect(pool, { ...key, revokeWithinSeconds: 3600 });
    expect(await credentialsRevoked(pool, key)).toBe(true);
    expect(await stateOf(key)).toMatchObject({ hasCiphertext: false, revocation: 'revoked' });
    expect(await credentialsClaimRevocation(pool, keys)).toBeNull();
  });

  test('also counts if their time was over meanwhile', async () => {
    await atNine(url, async (client, clock) => {
      const key = await connectReapit(client);
      await connectionDisconnect(client, { ...key, revokeWithinSeconds: 60 });
      await clock.pass(60);
      await syncRunSweep(client);
      expect(await credentialsRevoked(client, key)).toBe(true);
      expect(await stateOf(key)).toMatchObject({ revocation: 'revoked' });
    });
  });

  test('says that no revocation was asked for, and leaves a live connection alone', async () => {
    const key = await connectReapit();
    expect(await credentialsRevoked(pool, key)).toBe(false);
    expect(await stateOf(key)).toMatchObject({ hasCiphertext: true, status: 'active' });
    await connectionDisconnect(pool, key);
    expect(await credentialsRevoked(pool, key)).toBe(false);
  });
});

describe('syncRunSweep', () => {
  test('wipes credentials that nobody revoked in time, and says so', async () => {
    await atNine(url, async (client, clock) => {
      const [key, other] = [await connectReapit(client), await connectReapit(client)];
      await connectionDisconnect(client, { ...key, revokeWithinSeconds: 60 });
      await connectionDisconnect(client, { ...other, revokeWithinSeconds: 61 });
      await clock.pass(59);
      await syncRunClaim(client, { worker: 'test' });
      expect(await stateOf(key)).toMatchObject({ hasCiphertext: true, revocation: 'pending' });
      await clock.pass(1);
      await syncRunClaim(client, { worker: 'test' });
      expect(await stateOf(key)).toEqual({
        hasCiphertext: false,
        status: 'disconnected',
        revocation: 'expired',
        revokeBeforeAt: '2026-11-16T09:01:00.000000Z',
      });
      expect(await stateOf(other)).toMatchObject({ hasCiphertext: true, revocation: 'pending' });
    });
  });
});

describe('credentialsRotate', () => {
  test('re-encrypts credentials that wait to be revoked', async () => {
    const key = await connectReapit();
    await connectionDisconnect(pool, { ...key, revokeWithinSeconds: 3600 });
    const usages = await credentialsCountByKey(pool, keys);
    expect(usages).toMatchObject([{ keyId: keys.current, connections: 1 }]);
    const next = await generateKey('A256KW', 'next');
    const both = await KeyRing.parse({ current: 'next', keys: [next, testRingKey()] });
    expect(await credentialsRotate(pool, both)).toMatchObject({ rotated: 1, remaining: 0 });
    const only = await KeyRing.parse({ keys: [next] });
    expect(await credentialsClaimRevocation(pool, only)).toMatchObject({ ...key, credentials });
  });
});
