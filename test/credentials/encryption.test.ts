import { createCipheriv } from 'node:crypto';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { compactDecrypt, FlattenedEncrypt, flattenedDecrypt, importJWK } from 'jose';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  type Credentials,
  decryptCredentials,
  encryptCredentials,
  generateKey,
  KeyRing,
  keyAlgorithms,
  publicHalf,
  type RingKey,
} from '../../src/credentials.js';
import { type CredentialsOwner, credentialsAad, providers } from '../../src/index.js';
import {
  encryptCredentials as encryptByJose,
  sampleCredentials,
  testKeyRing,
  testRingKey,
} from '../support/credentials.js';

const owner = {
  organisationId: '00000000-0000-4000-8000-000000000001',
  connectionId: '00000000-0000-4000-8000-000000000002',
  provider: 'street',
} as const;
const credentials: Credentials<'street'> = { token: 'street-token' };

let testKeys: KeyRing;
beforeAll(async () => {
  testKeys = await testKeyRing();
});

describe.each(keyAlgorithms)('with %s', (algorithm) => {
  let jwk: RingKey;
  let keys: KeyRing;
  beforeAll(async () => {
    jwk = await generateKey(algorithm, 'key-1');
    keys = await KeyRing.parse({ keys: [jwk] });
  });

  test.each(providers)('%s credentials survive encryption and decryption', async (provider) => {
    const encrypted = await encryptCredentials(keys, { ...owner, provider }, sampleCredentials[provider]);
    expect(Object.keys(encrypted).toSorted()).toEqual([
      'aad',
      'ciphertext',
      'encrypted_key',
      'header',
      'iv',
      'protected',
      'tag',
    ]);
    expect(encrypted.header).toEqual({ kid: 'key-1' });
    expect(await decryptCredentials(keys, { ...owner, provider }, encrypted)).toEqual(
      sampleCredentials[provider],
    );
  });

  test('jose decrypts what we encrypt, and we decrypt what jose encrypts', async () => {
    const key = await importJWK(jwk, algorithm);
    const ours = await encryptCredentials(keys, owner, credentials);
    const { plaintext, protectedHeader, additionalAuthenticatedData } = await flattenedDecrypt(ours, key);
    expect(JSON.parse(Buffer.from(plaintext).toString())).toEqual(credentials);
    expect(protectedHeader).toMatchObject({ alg: algorithm, enc: 'A256GCM' });
    expect(additionalAuthenticatedData).toEqual(credentialsAad(owner));

    const half = publicHalf(jwk);
    const theirs = await new FlattenedEncrypt(Buffer.from(JSON.stringify(credentials)))
      .setProtectedHeader({ alg: algorithm, enc: 'A256GCM' })
      .setUnprotectedHeader({ kid: 'key-1' })
      .setAdditionalAuthenticatedData(credentialsAad(owner))
      .encrypt(half === undefined ? key : await importJWK(half, algorithm));
    expect(await decryptCredentials(keys, owner, theirs)).toEqual(credentials);
  });

  test('encrypting the same credentials twice gives different ciphertexts', async () => {
    const [one, other] = await Promise.all([1, 2].map(() => encryptCredentials(keys, owner, credentials)));
    for (const member of ['encrypted_key', 'iv', 'ciphertext', 'tag'] as const) {
      expect(one?.[member]).not.toBe(other?.[member]);
    }
  });

  test('any changed bit makes decryption fail', async () => {
    const encrypted = await encryptCredentials(keys, owner, credentials);
    const members = ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag'] as const;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...members), fc.nat(), fc.nat(7), async (member, at, bit) => {
        const bytes = Buffer.from(encrypted[member], 'base64url');
        const index = at % bytes.length;
        bytes[index] = (bytes[index] as number) ^ (1 << bit);
        const changed = { ...encrypted, [member]: bytes.toString('base64url') };
        await expect(decryptCredentials(keys, owner, changed)).rejects.toMatchObject({
          name: 'CrmSchemaError',
          code: expect.stringMatching(/^(credentials_not_authentic|malformed_credentials)$/),
        });
      }),
      { numRuns: 60 },
    );
  });
});

describe('published vectors', () => {
  // RFC 7516, appendix A.1: RSAES-OAEP and AES GCM, the only example with the content encryption used here.
  const rfc7516 = {
    key: {
      kty: 'RSA',
      n: 'oahUIoWw0K0usKNuOR6H4wkf4oBUXHTxRvgb48E-BVvxkeDNjbC4he8rUWcJoZmds2h7M70imEVhRU5djINXtqllXI4DFqcI1DgjT9LewND8MW2Krf3Spsk_ZkoFnilakGygTwpZ3uesH-PFABNIUYpOiN15dsQRkgr0vEhxN92i2asbOenSZeyaxziK72UwxrrKoExv6kc5twXTq4h-QChLOln0_mtUZwfsRaMStPs6mS6XrgxnxbWhojf663tuEQueGC-FCMfra36C9knDFGzKsNa7LZK2djYgyD3JR_MB_4NUJW_TqOQtwHYbxevoJArm-L5StowjzGy-_bq6Gw',
      e: 'AQAB',
      d: 'kLdtIj6GbDks_ApCSTYQtelcNttlKiOyPzMrXHeI-yk1F7-kpDxY4-WY5NWV5KntaEeXS1j82E375xxhWMHXyvjYecPT9fpwR_M9gV8n9Hrh2anTpTD93Dt62ypW3yDsJzBnTnrYu1iwWRgBKrEYY46qAZIrA2xAwnm2X7uGR1hghkqDp0Vqj3kbSCz1XyfCs6_LehBwtxHIyh8Ripy40p24moOAbgxVw3rxT_vlt3UVe4WO3JkJOzlpUf-KTVI2Ptgm-dARxTEtE-id-4OJr0h-K-VFs3VSndVTIznSxfyrj8ILL6MG_Uv8YAu7VILSB3lOW085-4qE3DzgrTjgyQ',
      p: '1r52Xk46c-LsfB5P442p7atdPUrxQSy4mti_tZI3Mgf2EuFVbUoDBvaRQ-SWxkbkmoEzL7JXroSBjSrK3YIQgYdMgyAEPTPjXv_hI2_1eTSPVZfzL0lffNn03IXqWF5MDFuoUYE0hzb2vhrlN_rKrbfDIwUbTrjjgieRbwC6Cl0',
      q: 'wLb35x7hmQWZsWJmB_vle87ihgZ19S8lBEROLIsZG4ayZVe9Hi9gDVCOBmUDdaDYVTSNx_8Fyw1YYa9XGrGnDew00J28cRUoeBB_jKI1oma0Orv1T9aXIWxKwd4gvxFImOWr3QRL9KEBRzk2RatUBnmDZJTIAfwTs0g68UZHvtc',
      dp: 'ZK-YwE7diUh0qR1tR7w8WHtolDx3MZ_OTowiFvgfeQ3SiresXjm9gZ5KLhMXvo-uz-KUJWDxS5pFQ_M0evdo1dKiRTjVw_x4NyqyXPM5nULPkcpU827rnpZzAJKpdhWAgqrXGKAECQH0Xt4taznjnd_zVpAmZZq60WPMBMfKcuE',
      dq: 'Dq0gfgJ1DdFGXiLvQEZnuKEN0UUmsJBxkjydc3j4ZYdBiMRAy86x0vHCjywcMlYYg4yoC4YZa9hNVcsjqA3FeiL19rk8g6Qn29Tt0cj8qqyFpz9vNDBUfCAiJVeESOjJDZPYHdHY8v1b-o-Z2X5tvLx-TCekf7oxyeKDUqKWjis',
      qi: 'VIMpMYbPf47dT1w_zDUXfPimsSegnMOA1zTaX7aGk_8urY6R8-ZW1FxU7AlWAyLWybqq6t16VFd7hQd0y6flUK4SlOydB61gwanOsXGOAOv82cHq0E3eL4HrtZkUuKvnPrMnsUUFlfUdybVzxyjz9JF_XyaY14ardLSjf4L_FNY',
    },
    jwe: 'eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgckCL9kiMT03JGeipsEdY3mx_etLbbWSrFr05kLzcSr4qKAq7YN7e9jwQRb23nfa6c9d-StnImGyFDbSv04uVuxIp5Zms1gNxKKK2Da14B8S4rzVRltdYwam_lDp5XnZAYpQdb76FdIKLaVmqgfwX7XWRxv2322i-vDxRfqNzo_tETKzpVLzfiwQyeyPGLBIO56YJ7eObdv0je81860ppamavo35UgoRdbYaBcoh9QcfylQr66oc6vFWXRcZ_ZT2LawVCWTIy3brGPi6UklfCpIMfIjf7iGdXKHzg.48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ',
    plaintext: 'The true sign of intelligence is not knowledge but imagination.',
  };

  test('jose decrypts RFC 7516, appendix A.1', async () => {
    const { plaintext } = await compactDecrypt(rfc7516.jwe, await importJWK(rfc7516.key, 'RSA-OAEP'), {
      contentEncryptionAlgorithms: ['A256GCM'],
    });
    expect(Buffer.from(plaintext).toString()).toBe(rfc7516.plaintext);
  });

  test('a key ring decrypts what Node encrypted with the content key that RFC 3394, section 4.6, wraps', async () => {
    const bytes = (length: number, start = 0) =>
      Buffer.from(Array.from({ length }, (_, index) => start + index));
    const contentKey = Buffer.from('00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f', 'hex');
    const wrapped = '28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21';
    const keys = await KeyRing.parse({
      keys: [{ kid: 'rfc3394', alg: 'A256KW', kty: 'oct', k: bytes(32).toString('base64url') }],
    });

    const text = (value: string | Uint8Array) => Buffer.from(value).toString('base64url');
    const header = text('{"alg":"A256KW","enc":"A256GCM"}');
    const aad = text(credentialsAad(owner));
    const cipher = createCipheriv('aes-256-gcm', contentKey, bytes(12));
    cipher.setAAD(Buffer.from(`${header}.${aad}`));
    const ciphertext = Buffer.concat([cipher.update(JSON.stringify(credentials)), cipher.final()]);
    const jwe = {
      protected: header,
      header: { kid: 'rfc3394' },
      encrypted_key: Buffer.from(wrapped, 'hex').toString('base64url'),
      iv: text(bytes(12)),
      ciphertext: text(ciphertext),
      tag: text(cipher.getAuthTag()),
      aad,
    };
    expect(await decryptCredentials(keys, owner, jwe)).toEqual(credentials);
  });
});

describe('decryption fails', () => {
  const elsewhere: [string, CredentialsOwner][] = [
    ['another organisation', { ...owner, organisationId: owner.connectionId }],
    ['another connection', { ...owner, connectionId: owner.organisationId }],
    ['another provider', { ...owner, provider: 'loop' }],
  ];

  test.each(elsewhere)('for %s', async (_, other) => {
    const encrypted = await encryptCredentials(testKeys, owner, credentials);
    await expect(decryptCredentials(testKeys, other, encrypted)).rejects.toMatchObject({
      code: 'credentials_bound_elsewhere',
    });
  });

  test.each(elsewhere)('for %s, even if the aad was changed to match', async (_, other) => {
    const encrypted = await encryptCredentials(testKeys, owner, credentials);
    const forged = { ...encrypted, aad: Buffer.from(credentialsAad(other)).toString('base64url') };
    await expect(decryptCredentials(testKeys, other, forged)).rejects.toMatchObject({
      code: 'credentials_not_authentic',
    });
  });

  test('for a key that is missing from the key ring', async () => {
    const encrypted = await encryptByJose(owner, credentials, 'key-of-last-year');
    await expect(decryptCredentials(testKeys, owner, encrypted)).rejects.toMatchObject({
      code: 'unknown_key',
      message: 'The credentials are encrypted under key key-of-last-year, which is not in the key ring.',
    });
  });

  test('for another key with the same id', async () => {
    const keys = await KeyRing.parse({ keys: [await generateKey('A256KW', 'test-key-1')] });
    await expect(decryptCredentials(keys, owner, await encryptByJose(owner))).rejects.toMatchObject({
      code: 'credentials_not_authentic',
    });
  });

  test('for a key ring with only the public half', async () => {
    const jwk = await generateKey('ECDH-ES+A256KW', 'key-1');
    const writer = await KeyRing.parse({ keys: [publicHalf(jwk) as RingKey] });
    const reader = await KeyRing.parse({ keys: [jwk] });
    const encrypted = await encryptCredentials(writer, owner, credentials);
    await expect(decryptCredentials(writer, owner, encrypted)).rejects.toMatchObject({
      code: 'key_cannot_decrypt',
    });
    expect(await decryptCredentials(reader, owner, encrypted)).toEqual(credentials);
  });

  test.each([
    [
      'a different algorithm from its key’s',
      { alg: 'A256GCMKW', enc: 'A256GCM' },
      'credentials_not_authentic',
    ],
    ['no algorithm', { enc: 'A256GCM' }, 'credentials_not_authentic'],
    ['another content encryption', { alg: 'A256KW', enc: 'A256CBC-HS512' }, 'malformed_credentials'],
    ['critical extensions', { alg: 'A256KW', enc: 'A256GCM', crit: ['x'], x: 1 }, 'malformed_credentials'],
    ['compression', { alg: 'A256KW', enc: 'A256GCM', zip: 'DEF' }, 'malformed_credentials'],
    ['an embedded key', { alg: 'A256KW', enc: 'A256GCM', jwk: { kty: 'oct' } }, 'malformed_credentials'],
  ])('for a header with %s', async (_, header, code) => {
    const encrypted = await encryptByJose(owner);
    const forged = { ...encrypted, protected: Buffer.from(JSON.stringify(header)).toString('base64url') };
    await expect(decryptCredentials(testKeys, owner, forged)).rejects.toMatchObject({ code });
  });

  test('for the right key used with an algorithm other than its own', async () => {
    const key = Buffer.from(testRingKey().k as string, 'base64url');
    const sound = await new FlattenedEncrypt(Buffer.from(JSON.stringify(credentials)))
      .setProtectedHeader({ alg: 'A256GCMKW', enc: 'A256GCM' })
      .setUnprotectedHeader({ kid: 'test-key-1' })
      .setAdditionalAuthenticatedData(credentialsAad(owner))
      .encrypt(key);
    expect((await flattenedDecrypt(sound, key)).plaintext).toBeDefined();
    await expect(decryptCredentials(testKeys, owner, sound)).rejects.toMatchObject({
      code: 'credentials_not_authentic',
    });
  });

  test.each([
    ['content that does not fit the provider’s type', { apiKey: 'plain-secret' }],
    ['content that is not an object', 'plain-secret'],
  ])('for %s', async (_, content) => {
    const error = await decryptCredentials(testKeys, owner, await encryptByJose(owner, content)).catch(
      (e) => e,
    );
    expect(error).toMatchObject({ code: 'invalid_credentials' });
    expect(inspect(error)).not.toContain('plain-secret');
  });

  test('for content that is not JSON, without quoting it', async () => {
    const encrypted = await testKeys.encrypt(owner, Buffer.from('plain-secret'));
    const error = await decryptCredentials(testKeys, owner, encrypted).catch((refusal) => refusal);
    expect(error).toMatchObject({ code: 'invalid_credentials' });
    expect(inspect(error)).not.toContain('plain-secret');
  });

  test('for another base64url encoding of the same bytes', async () => {
    const encrypted = await encryptCredentials(testKeys, owner, credentials);
    // The last character of 16 bytes has four unused bits.
    const last = encrypted.tag.slice(-1);
    const spelling = String.fromCharCode(last.charCodeAt(0) + 1);
    expect(Buffer.from(`${encrypted.tag.slice(0, -1)}${spelling}`, 'base64url')).toEqual(
      Buffer.from(encrypted.tag, 'base64url'),
    );
    await expect(
      decryptCredentials(testKeys, owner, { ...encrypted, tag: `${encrypted.tag.slice(0, -1)}${spelling}` }),
    ).rejects.toMatchObject({ code: 'malformed_credentials' });
  });

  test.each([null, undefined, 'text', [], {}])('for %j', async (value) => {
    await expect(decryptCredentials(testKeys, owner, value)).rejects.toMatchObject({
      code: 'malformed_credentials',
    });
  });
});

describe('encryption', () => {
  test('accepts the largest plaintext that fits into the column, and refuses more before sending', async () => {
    const loop = { ...owner, provider: 'loop' } as const;
    const empty = JSON.stringify({ apiKey: 'k', filler: '' }).length;
    const fitting = { apiKey: 'k', filler: 'x'.repeat(12_288 - empty) };
    const encrypted = await encryptCredentials(testKeys, loop, fitting);
    expect(encrypted.ciphertext).toHaveLength(16_384);
    expect(await decryptCredentials(testKeys, loop, encrypted)).toEqual(fitting);
    await expect(
      encryptCredentials(testKeys, loop, { ...fitting, filler: `${fitting.filler}x` }),
    ).rejects.toMatchObject({ code: 'invalid_credentials' });
  });

  test('decrypted credentials, though hidden from logs, encrypt again unchanged', async () => {
    const loop = { ...owner, provider: 'loop' } as const;
    const read = await decryptCredentials(testKeys, loop, await encryptByJose(loop));
    const again = await encryptCredentials(testKeys, loop, read);
    expect(await decryptCredentials(testKeys, loop, again)).toEqual(sampleCredentials.loop);
    const copied = await encryptCredentials(testKeys, loop, { ...read, apiKey: 'other' });
    expect(await decryptCredentials(testKeys, loop, copied)).toEqual({
      ...sampleCredentials.loop,
      apiKey: 'other',
    });
  });

  test('does not modify its input', async () => {
    const given = structuredClone(sampleCredentials.loop);
    await encryptCredentials(testKeys, { ...owner, provider: 'loop' }, given);
    expect(JSON.stringify(given)).toBe(JSON.stringify(sampleCredentials.loop));
  });
});

test('inspect and JSON.stringify do not show decrypted credentials, alone or nested', async () => {
  const loop = { ...owner, provider: 'loop' } as const;
  const read = await decryptCredentials(testKeys, loop, await encryptByJose(loop));
  expect(inspect(read)).toBe('[hidden]');
  expect(inspect({ read })).toBe('{ read: [hidden] }');
  expect(JSON.stringify({ read })).toBe('{"read":"[hidden]"}');
  expect(inspect(read.region)).toBe('[hidden]');
  expect(inspect((read.region as { offices: unknown }).offices)).toBe('[hidden]');
  expect(`${read}`).toBe('[object Object]');
  expect(JSON.stringify({ ...read, region: undefined })).toBe('{"apiKey":"test-api-key"}');
});
