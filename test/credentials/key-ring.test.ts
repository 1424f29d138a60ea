import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { calculateJwkThumbprint } from 'jose';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  generateKey,
  type KeyAlgorithm,
  KeyRing,
  type KeyRingDocument,
  keyAlgorithms,
  publicHalf,
} from '../../src/credentials.js';
import { testRingKey } from '../support/credentials.js';

const key = testRingKey('key-1');
const secret = key.k as string;

/** Parses a key ring document, even one that its type does not allow. */
const ring = (document: unknown) => KeyRing.parse(document as KeyRingDocument);

describe('KeyRing.parse', () => {
  test.each(keyAlgorithms)('accepts a %s key from generateKey', async (algorithm) => {
    const keys = await ring({ keys: [await generateKey(algorithm, 'key-1')] });
    expect(keys.current).toBe('key-1');
    expect(keys.keys).toEqual([{ keyId: 'key-1', algorithm, isCurrent: true, canDecrypt: true }]);
  });

  test.each(['RSA-OAEP-256', 'ECDH-ES+A256KW'] as const)(
    'accepts the public half of a %s key',
    async (algorithm) => {
      const half = publicHalf(await generateKey(algorithm, 'key-1'));
      expect(Object.keys(half as object)).not.toContain('d');
      const keys = await ring({ keys: [half] });
      expect(keys.keys).toEqual([{ keyId: 'key-1', algorithm, isCurrent: true, canDecrypt: false }]);
    },
  );

  test.each(['P-384', 'P-521'])('accepts ECDH on %s', async (namedCurve) => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve });
    const jwk = { ...privateKey.export({ format: 'jwk' }), kid: 'k', alg: 'ECDH-ES+A256KW' };
    expect((await ring({ keys: [jwk] })).current).toBe('k');
  });

  test('accepts X25519', async () => {
    const { privateKey } = generateKeyPairSync('x25519');
    const jwk = { ...privateKey.export({ format: 'jwk' }), kid: 'k', alg: 'ECDH-ES+A256KW' };
    expect((await ring({ keys: [jwk] })).current).toBe('k');
  });

  test('uses the key named by current, at any position', async () => {
    const keys = await ring({ current: 'b', keys: [key, testRingKey('b'), testRingKey('c')] });
    expect(keys.keys.map(({ keyId, isCurrent }) => [keyId, isCurrent])).toEqual([
      ['key-1', false],
      ['b', true],
      ['c', false],
    ]);
  });

  test('accepts a thumbprint (RFC 7638) as an id', async () => {
    const kid = await calculateJwkThumbprint(key);
    expect((await ring({ keys: [{ ...key, kid }] })).current).toBe(kid);
  });

  test('ignores other members of a JWK Set', async () => {
    expect(
      (await ring({ comment: 'ours', keys: [{ ...key, use: 'enc', key_ops: ['x'], x5t: 'y' }] })).current,
    ).toBe('key-1');
  });

  const smallRsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({ format: 'jwk' });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });

  test.each<[string, unknown, string]>([
    ['text that is not JSON', `{"keys": [{"k": "${secret}"`, 'The key ring is not JSON.'],
    ['null', 'null', 'The key ring must be a JWK Set'],
    ['no keys', { keys: [] }, 'with at least one key'],
    ['a bare JWK', key, 'The key ring must be a JWK Set'],
    ['a current that is not text', { current: 1, keys: [key] }, 'has a value for current that is not text'],
    [
      'a current key that is missing',
      { current: secret, keys: [key] },
      'does not contain its current key; its keys are key-1.',
    ],
    [
      'several keys without current',
      { keys: [key, testRingKey('b')] },
      'several keys: current must name the one',
    ],
    ['the same id twice', { current: 'key-1', keys: [key, key] }, 'two keys with the id key-1'],
    ['a key that is not an object', { keys: [secret] }, 'keys[0] must be a JWK'],
    ['no id', { keys: [{ ...key, kid: undefined }] }, 'keys[0].kid must be 1 to 200 characters'],
    [
      'an id with a space',
      { keys: [{ ...key, kid: `${secret} ` }] },
      'keys[0].kid must be 1 to 200 characters',
    ],
    ['no algorithm', { keys: [{ ...key, alg: undefined }] }, 'keys[0] (key-1).alg must be one of A256KW'],
    [
      'a weaker algorithm',
      { keys: [{ ...key, alg: 'A128KW' }] },
      'keys[0] (key-1).alg must be one of A256KW',
    ],
    ['direct encryption', { keys: [{ ...key, alg: 'dir' }] }, '.alg must be one of'],
    [
      'a key type that does not fit the algorithm',
      { keys: [{ ...key, alg: 'RSA-OAEP-256' }] },
      '.kty must be RSA for RSA-OAEP-256',
    ],
    ['a signing key', { keys: [{ ...key, use: 'sig' }] }, '.use must be enc'],
    ['a short key', { keys: [{ ...key, k: secret.slice(1) }] }, '.k must be 256 bits in base64url'],
    ['a padded key', { keys: [{ ...key, k: `${secret}=` }] }, '.k must be 256 bits in base64url'],
    ['a key without key material', { keys: [{ ...key, k: undefined }] }, '.k must be 256 bits in base64url'],
    [
      'an id swapped with its key',
      { keys: [{ ...key, kid: secret, k: 'key-1' }] },
      'keys[0].k must be 256 bits',
    ],
    [
      'a key that is its own id',
      { keys: [{ ...key, kid: secret }] },
      'keys[0].kid must be 1 to 200 characters',
    ],
    [
      'an RSA key too large for the database',
      { keys: [{ kty: 'RSA', kid: 'key-1', alg: 'RSA-OAEP-256', e: 'AQAB', n: oddNumber(8256) }] },
      'has a key that does not work: key-1',
    ],
    [
      'RSA with 1024 bits',
      { keys: [{ ...smallRsa, kid: 'key-1', alg: 'RSA-OAEP-256' }] },
      'has a key that does not work: key-1',
    ],
    [
      'a point that is not on the curve',
      { keys: [{ ...ec, kid: 'key-1', alg: 'ECDH-ES+A256KW', x: secret }] },
      'keys[0] (key-1) is not a valid key for ECDH-ES+A256KW',
    ],
  ])('refuses %s, and shows no key', async (_, document, message) => {
    const error = await ring(document).catch((refusal) => refusal);
    expect(error).toMatchObject({ code: 'invalid_key_ring', message: expect.stringContaining(message) });
    expect(inspect(error)).not.toContain(secret.slice(5, 20));
  });

  test('refuses an RSA key whose halves do not match', async () => {
    const [one, other] = [1, 2].map(() =>
      generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
    );
    await expect(
      ring({ keys: [{ ...other, n: one?.n, kid: 'key-1', alg: 'RSA-OAEP-256' }] }),
    ).rejects.toMatchObject({ code: 'invalid_key_ring' });
  });

  test('refuses an EC key whose halves do not match', async () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
    await expect(
      ring({ keys: [{ ...ec, d: other.d, kid: 'key-1', alg: 'ECDH-ES+A256KW' }] }),
    ).rejects.toMatchObject({ code: 'invalid_key_ring' });
  });
});

/** Good enough as a modulus for encryption. */
function oddNumber(bits: number): string {
  const bytes = Buffer.alloc(bits / 8, 0xff);
  return bytes.toString('base64url');
}

describe('generateKey', () => {
  test.each([
    ['an id with a space', 'A256KW', 'a b'],
    ['an id and algorithm that are swapped', 'key-1', 'A256KW'],
  ])('refuses %s', async (_, algorithm, keyId) => {
    await expect(generateKey(algorithm as KeyAlgorithm, keyId)).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('KeyRing.load', () => {
  test('reads JSON from CRM_SCHEMA_KEYS', async () => {
    const keys = await KeyRing.load({ CRM_SCHEMA_KEYS: `\n ${JSON.stringify({ keys: [key] })}\n` });
    expect(keys.current).toBe('key-1');
  });

  test('reads the file that CRM_SCHEMA_KEYS names', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'crm-schema-keys-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'keys.json'), JSON.stringify({ keys: [key] }));
    const keys = await KeyRing.load({ CRM_SCHEMA_KEYS: join(folder, 'keys.json') });
    expect(keys.current).toBe('key-1');
  });

  test.each([
    ['is not set', {}, 'CRM_SCHEMA_KEYS is not set: set it to a key ring'],
    ['is empty', { CRM_SCHEMA_KEYS: ' ' }, 'CRM_SCHEMA_KEYS is not set'],
    [
      'names a missing file',
      { CRM_SCHEMA_KEYS: `/nowhere/${secret}` },
      'nor the path of a readable file (ENOENT).',
    ],
    ['names a folder', { CRM_SCHEMA_KEYS: tmpdir() }, 'nor the path of a readable file (EISDIR).'],
    ['is cut short', { CRM_SCHEMA_KEYS: `{"keys":[{"k":"${secret}"` }, 'The key ring is not JSON.'],
    ['is a list', { CRM_SCHEMA_KEYS: '[]' }, 'The key ring must be a JWK Set'],
    ['is a bare key', { CRM_SCHEMA_KEYS: secret }, 'nor the path of a readable file (ENOENT).'],
  ])('says what is wrong if CRM_SCHEMA_KEYS %s', async (_, environment, message) => {
    const error = await KeyRing.load(environment).catch((refusal) => refusal);
    expect(error).toMatchObject({ code: 'invalid_key_ring', message: expect.stringContaining(message) });
    expect(inspect(error)).not.toContain(secret.slice(5, 20));
  });
});

test('a key ring shows only the ids of its keys, however it is printed', async () => {
  const made = await Promise.all(
    keyAlgorithms.map((algorithm, index) => generateKey(algorithm, `key-${index}`)),
  );
  const keys = await ring({ current: 'key-0', keys: made });
  const printed = [
    inspect(keys),
    inspect(keys, { showHidden: true, depth: 10, customInspect: false }),
    inspect({ keys }, { depth: 10 }),
    JSON.stringify(keys),
    String(keys),
    Object.values(keys).join(),
  ].join('\n');
  expect(printed).toContain('key-0');
  for (const { k, d } of made) expect(printed).not.toContain((k ?? d)?.slice(0, 20));
});
