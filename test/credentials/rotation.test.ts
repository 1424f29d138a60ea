import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { FlattenedEncrypt } from 'jose';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  credentialsCheckKeys,
  credentialsConnect,
  credentialsCountByKey,
  credentialsGet,
  credentialsReplace,
  credentialsRotate,
  generateKey,
  KeyRing,
  publicHalf,
  type RingKey,
} from '../../src/credentials.js';
import { connectionConnect, connectionDisconnect, credentialsAad, type Queryable } from '../../src/index.js';
import { encryptCredentials, testKeyRing, testRingKey } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

beforeEach(async () => {
  await pool.query('delete from crm_connections');
});

interface Owner {
  organisationId: string;
  connectionId: string;
  provider: 'street';
}

/** Makes connections under one key, each of another organisation. */
async function connectMany(count: number, kid = 'test-key-1'): Promise<Owner[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const { organisationId } = await createTenant(pool);
      const owner = { organisationId, connectionId: randomUUID(), provider: 'street' } as const;
      const credentials = await encryptCredentials(owner, { token: `token-${index}` }, kid);
      await connectionConnect(pool, { ...owner, credentials, credentialsExpiresAt: '2026-12-01T00:00:00Z' });
      return owner;
    }),
  );
}

async function expectTokens(keys: KeyRing, owners: readonly Owner[]): Promise<void> {
  const tokens = await Promise.all(owners.map((owner) => credentialsGet(pool, keys, owner)));
  expect(tokens.map((stored) => stored?.credentials.token)).toEqual(
    owners.map((_, index) => `token-${index}`),
  );
}

async function keyIds(): Promise<Record<string, number>> {
  const usages = await credentialsCountByKey(pool, await testKeyRing());
  return Object.fromEntries(usages.map(({ keyId, connections }) => [keyId, connections]));
}

/** A client that runs `work` once, before it sends the first query of this name. */
function justBefore(name: string, work: () => Promise<unknown>): Queryable {
  let done = false;
  return {
    query: async (config) => {
      if (!done && config.text.includes(name)) {
        done = true;
        await work();
      }
      return pool.query(config);
    },
  };
}

describe('credentialsCountByKey', () => {
  test('counts the connections under each key, with its place in the key ring', async () => {
    await connectMany(3);
    const [gone] = await connectMany(2, 'test-key-0');
    await connectionDisconnect(pool, gone as Owner);
    const jwk = await generateKey('ECDH-ES+A256KW', 'write-only');
    const keys = await KeyRing.parse({
      current: 'new',
      keys: [testRingKey(), await generateKey('A256KW', 'new'), publicHalf(jwk) as RingKey],
    });
    expect(await credentialsCountByKey(pool, keys)).toEqual([
      { keyId: 'new', standing: 'current', canDecrypt: true, connections: 0 },
      { keyId: 'test-key-1', standing: 'other', canDecrypt: true, connections: 3 },
      { keyId: 'write-only', standing: 'other', canDecrypt: false, connections: 0 },
      { keyId: 'test-key-0', standing: 'missing', canDecrypt: false, connections: 1 },
    ]);
  });
});

describe('credentialsCheckKeys', () => {
  test('accepts a key ring that can decrypt every connection', async () => {
    await connectMany(2);
    await credentialsCheckKeys(pool, await testKeyRing('new'));
  });

  test('names missing keys and how many connections need each', async () => {
    await connectMany(3);
    await connectMany(1, 'test-key-0');
    const keys = await KeyRing.parse({ keys: [await generateKey('A256KW', 'new')] });
    await expect(credentialsCheckKeys(pool, keys)).rejects.toMatchObject({
      code: 'key_still_needed',
      message: expect.stringContaining('with their number of connections: test-key-0 (1), test-key-1 (3).'),
    });
  });

  test('refuses a key ring with only the public half of a needed key', async () => {
    const jwk = await generateKey('ECDH-ES+A256KW', 'pair');
    const writer = await KeyRing.parse({ keys: [publicHalf(jwk) as RingKey] });
    const { organisationId } = await createTenant(pool);
    await credentialsConnect(pool, writer, {
      organisationId,
      provider: 'street',
      credentials: { token: 't' },
    });
    await expect(credentialsCheckKeys(pool, writer)).rejects.toMatchObject({ code: 'key_still_needed' });
    await credentialsCheckKeys(pool, await KeyRing.parse({ keys: [jwk] }));
  });
});

describe('credentialsRotate', () => {
  test.each([1, 7, 100])(
    're-encrypts everything under the current key, in batches of %i',
    async (batchSize) => {
      const owners = await connectMany(20);
      const keys = await testKeyRing('new');
      const progress: number[] = [];
      const result = await credentialsRotate(pool, keys, {
        batchSize,
        onProgress: ({ rotated, total }) => {
          expect(total).toBe(20);
          progress.push(rotated);
        },
      });
      expect(result).toEqual({ rotated: 20, failures: [], lacking: [], remaining: 0 });
      expect(progress).toHaveLength(Math.ceil(20 / batchSize));
      expect(progress.at(-1)).toBe(20);
      expect(await keyIds()).toEqual({ 'test-key-1': 0, new: 20 });
      await expectTokens(keys, owners);
      expect(await credentialsRotate(pool, keys)).toEqual({
        rotated: 0,
        failures: [],
        lacking: [],
        remaining: 0,
      });
    },
  );

  test('keeps the version, expiry and status of a row', async () => {
    const [owner] = (await connectMany(1)) as [Owner];
    const row = () =>
      pool.query(
        "select to_jsonb(row) - '{credentials,credentials_key_id}'::text[] as row from crm_connections as row",
      );
    const { rows: rowsBefore } = await row();
    await credentialsRotate(pool, await testKeyRing('new'));
    expect((await row()).rows).toEqual(rowsBefore);
    expect(await credentialsGet(pool, await testKeyRing(), owner).catch(({ code }) => code)).toBe(
      'unknown_key',
    );
  });

  test('re-encrypts from several keys, and from a symmetric key to a key pair', async () => {
    const owners = await connectMany(3);
    await connectMany(2, 'test-key-0');
    const keys = await KeyRing.parse({
      current: 'pair',
      keys: [await generateKey('RSA-OAEP-256', 'pair'), testRingKey('test-key-0'), testRingKey()],
    });
    expect(await credentialsRotate(pool, keys)).toMatchObject({ rotated: 5, remaining: 0 });
    await expectTokens(keys, owners);
  });

  test('keeps the version, so a concurrent token refresh succeeds', async () => {
    const [owner] = (await connectMany(1)) as [Owner];
    const keys = await testKeyRing('new');
    const read = await credentialsGet(pool, keys, owner);
    await credentialsRotate(pool, keys);
    expect(
      await credentialsReplace(pool, keys, {
        ...owner,
        credentialsVersion: read?.credentialsVersion as number,
        credentials: { token: 'refreshed' },
      }),
    ).toMatchObject({ outcome: 'replaced' });
  });

  test.each([
    ['with the new key ring', 'new'],
    ['with the old key ring', undefined],
  ])('does not undo a replacement %s between its read and its write', async (_, current) => {
    const owners = await connectMany(3);
    const [owner] = owners as [Owner];
    const keys = await testKeyRing('new');
    const writer = current === undefined ? await testKeyRing() : keys;
    const client = justBefore('credentialsRewrap', () =>
      credentialsReplace(pool, writer, { ...owner, credentialsVersion: 1, credentials: { token: 'fresh' } }),
    );
    expect(await credentialsRotate(client, keys)).toMatchObject({ remaining: 0 });
    expect(await credentialsGet(pool, keys, owner)).toMatchObject({
      credentials: { token: 'fresh' },
      credentialsKeyId: 'new',
    });
  });

  test('does not restore credentials wiped between its read and its write', async () => {
    const [owner] = (await connectMany(2)) as [Owner, Owner];
    const client = justBefore('credentialsRewrap', () => connectionDisconnect(pool, owner));
    expect(await credentialsRotate(client, await testKeyRing('new'))).toMatchObject({
      rotated: 1,
      remaining: 0,
    });
    const { rows } = await pool.query('select credentials from crm_connections where id = $1', [
      owner.connectionId,
    ]);
    expect(rows).toEqual([{ credentials: null }]);
  });

  test('skips a locked row without holding other locks, and returns to it', async () => {
    const owners = await connectMany(10);
    const keys = await testKeyRing('new');
    const busy = await pool.connect();
    try {
      await busy.query('begin');
      await busy.query('select from crm_connections where id = $1 for no key update', [
        owners[4]?.connectionId,
      ]);
      const seen: number[] = [];
      const rotation = credentialsRotate(pool, keys, { onProgress: ({ rotated }) => seen.push(rotated) });
      while (!seen.includes(9)) await sleep(10);
      await busy.query('commit');
      expect(await rotation).toEqual({ rotated: 10, failures: [], lacking: [], remaining: 0 });
    } finally {
      busy.release();
    }
    await expectTokens(keys, owners);
  });

  test('counts a row that stays locked as remaining', async () => {
    const owners = await connectMany(2);
    const busy = await pool.connect();
    try {
      await busy.query('begin');
      await busy.query('select from crm_connections where id = $1 for update', [owners[0]?.connectionId]);
      expect(await credentialsRotate(pool, await testKeyRing('new'))).toEqual({
        rotated: 1,
        failures: [],
        lacking: [],
        remaining: 1,
      });
    } finally {
      await busy.query('rollback');
      busy.release();
    }
  });

  test('reports credentials that it cannot decrypt, leaves them unchanged, and re-encrypts the rest', async () => {
    const owners = await connectMany(5);
    const [{ organisationId, connectionId }] = owners as [Owner];
    await pool.query(
      `update crm_connections set credentials = jsonb_set(credentials, '{tag}', '"AAAAAAAAAAAAAAAAAAAAAA"') where id = $1`,
      [connectionId],
    );
    const row = () => pool.query('select credentials from crm_connections where id = $1', [connectionId]);
    const { rows: rowsBefore } = await row();
    expect(await credentialsRotate(pool, await testKeyRing('new'), { batchSize: 2 })).toEqual({
      rotated: 4,
      failures: [{ organisationId, connectionId, keyId: 'test-key-1', code: 'credentials_not_authentic' }],
      lacking: [],
      remaining: 1,
    });
    expect((await row()).rows).toEqual(rowsBefore);
  });

  test('a row that the database would refuse under the new key does not stop the others', async () => {
    const owners = await connectMany(4);
    const [big, ...others] = owners as [Owner, ...Owner[]];
    const keys = await testKeyRing('new');
    // The CHECK accepts it because it cannot look inside; re-encrypted, it is too long for the column.
    const content = `{"token": "t"${' '.repeat(12_300)}}`;
    const inflated = await new FlattenedEncrypt(Buffer.from(content))
      .setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM', zip: 'DEF' })
      .setUnprotectedHeader({ kid: 'test-key-1' })
      .setAdditionalAuthenticatedData(credentialsAad(big))
      .encrypt(Buffer.from(testRingKey().k as string, 'base64url'));
    await pool.query('update crm_connections set credentials = $1 where id = $2', [
      inflated,
      big.connectionId,
    ]);
    expect(await credentialsRotate(pool, keys)).toMatchObject({
      rotated: 3,
      failures: [{ connectionId: big.connectionId, code: 'malformed_credentials' }],
      remaining: 1,
    });
    for (const owner of others) expect(await credentialsGet(pool, keys, owner)).not.toBeNull();
  });

  test('refuses a current key that the key ring cannot decrypt with', async () => {
    await connectMany(1);
    const half = publicHalf(await generateKey('ECDH-ES+A256KW', 'pair')) as RingKey;
    const keys = await KeyRing.parse({ current: 'pair', keys: [half, testRingKey()] });
    await expect(credentialsRotate(pool, keys)).rejects.toMatchObject({ code: 'key_cannot_decrypt' });
    expect(await keyIds()).toEqual({ 'test-key-1': 1 });
  });

  test('leaves credentials under a missing key', async () => {
    await connectMany(2, 'lost-key');
    await connectMany(1);
    expect(await credentialsRotate(pool, await testKeyRing('new'))).toEqual({
      rotated: 1,
      failures: [],
      lacking: [{ keyId: 'lost-key', standing: 'missing', canDecrypt: false, connections: 2 }],
      remaining: 2,
    });
    expect(await keyIds()).toEqual({ 'test-key-1': 0, 'lost-key': 2, new: 1 });
  });

  test('concurrent rotations re-encrypt each connection once', async () => {
    const owners = await connectMany(60);
    const keys = await testKeyRing('new');
    const results = await Promise.all(
      [3, 5, 7].map((batchSize) => credentialsRotate(pool, keys, { batchSize })),
    );
    expect(results.reduce((sum, { rotated }) => sum + rotated, 0)).toBe(60);
    for (const { remaining } of results) expect(remaining).toBe(0);
    await expectTokens(keys, owners);
  });

  test('continues while it makes progress, however often a writer with the old key ring puts a row back', async () => {
    const [owner] = (await connectMany(1)) as [Owner];
    const keys = await testKeyRing('new');
    const oldRing = await testKeyRing();
    let credentialsVersion = 1;
    let putBack = 0;
    const client: Queryable = {
      query: async (config) => {
        if (config.text.includes('credentialsCountByKey') && putBack < 12) {
          putBack += 1;
          const replacement = { ...owner, credentialsVersion, credentials: { token: 'fresh' } };
          ({ credentialsVersion } = await credentialsReplace(pool, oldRing, replacement));
        }
        return pool.query(config);
      },
    };
    expect(await credentialsRotate(client, keys)).toEqual({
      rotated: 12,
      failures: [],
      lacking: [],
      remaining: 0,
    });
  });

  test('concurrent rotations to different keys both end', async () => {
    await connectMany(20);
    const [one, other] = await Promise.all(['one', 'other'].map((kid) => generateKey('A256KW', kid)));
    const keys = [one as RingKey, other as RingKey, testRingKey()];
    const rings = await Promise.all(['one', 'other'].map((current) => KeyRing.parse({ current, keys })));
    const results = await Promise.all(rings.map((ring) => credentialsRotate(pool, ring, { batchSize: 1 })));
    for (const { rotated } of results) expect(rotated).toBeLessThan(2000);
  });

  test('stops after the current batch when its signal is aborted', async () => {
    await connectMany(10);
    const stop = new AbortController();
    const result = await credentialsRotate(pool, await testKeyRing('new'), {
      batchSize: 3,
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    expect(result).toEqual({ rotated: 3, failures: [], lacking: [], remaining: 7 });
  });

  test('loses no change and refuses no worker while workers read and replace constantly', async () => {
    const owners = await connectMany(40);
    const ring = await testKeyRing('new');
    const oldRing = await KeyRing.parse({
      // The key ring of a service that knows the new key but does not encrypt with it yet.
      current: 'test-key-1',
      keys: [testRingKey(), testRingKey('other')],
    });
    const latest = new Map<string, string>(
      owners.map(({ connectionId }, index) => [connectionId, `token-${index}`]),
    );
    let isRotating = true;
    const worker = async (share: readonly Owner[], keys: KeyRing) => {
      for (let round = 0; isRotating || round < 3; round += 1) {
        for (const owner of share) {
          const read = await credentialsGet(pool, ring, owner);
          expect(read?.credentials.token).toBe(latest.get(owner.connectionId));
          const token = `${owner.connectionId}-${round}`;
          const { outcome } = await credentialsReplace(pool, keys, {
            ...owner,
            credentialsVersion: read?.credentialsVersion as number,
            credentials: { token },
          });
          expect(outcome).toBe('replaced');
          latest.set(owner.connectionId, token);
        }
      }
    };
    const workers = [0, 1, 2, 3].map((number) =>
      worker(
        owners.filter((_, index) => index % 4 === number),
        number % 2 === 0 ? ring : oldRing,
      ),
    );
    const rotation = credentialsRotate(pool, ring, { batchSize: 5 });
    await sleep(1500);
    isRotating = false;
    await Promise.all(workers);
    const { failures } = await rotation;
    expect(failures).toEqual([]);
    expect(await credentialsRotate(pool, ring)).toMatchObject({ remaining: 0 });
    for (const owner of owners) {
      const read = await credentialsGet(pool, ring, owner);
      expect(read).toMatchObject({
        credentialsKeyId: 'new',
        credentials: { token: latest.get(owner.connectionId) },
      });
    }
  });

  test.each([0, 1001, 1.5, '10'])('refuses a batch of %j', async (batchSize) => {
    await expect(
      credentialsRotate(pool, await testKeyRing(), { batchSize: batchSize as number }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
  });
});
