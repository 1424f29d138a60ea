import { FlattenedEncrypt } from 'jose';
import { type CredentialsByProvider, generateKey, KeyRing, type RingKey } from '../../src/credentials.js';
import {
  type CredentialsOwner,
  credentialsAad,
  type EncryptedCredentials,
  type Provider,
} from '../../src/index.js';

const testKey = new Uint8Array(32).fill(7);

/** The key that `encryptCredentials` encrypts with, under any id. */
export function testRingKey(kid = 'test-key-1'): RingKey {
  return { kid, alg: 'A256KW', kty: 'oct', k: Buffer.from(testKey).toString('base64url') };
}

/** A key ring with new keys and the test key; the first one named is current. */
export async function testKeyRing(...kids: string[]): Promise<KeyRing> {
  const keys = [...(await Promise.all(kids.map((kid) => generateKey('A256KW', kid)))), testRingKey()];
  return KeyRing.parse({ current: kids[0] ?? 'test-key-1', keys });
}

/** Valid credentials for each CRM. */
export const sampleCredentials: CredentialsByProvider = {
  agentos: { apiKey: 'test-api-key', shortName: 'test-agency' },
  reapit: { grant: 'authorization_code', refreshToken: 'test-refresh-1', accessToken: 'test-access-1' },
  alto: { agencyRef: '00000000-0000-4000-8000-00000000000a', accessToken: 'test-access-1' },
  street: { token: 'test-token', sandbox: true },
  loop: { apiKey: 'test-api-key', region: { name: 'north', offices: [1, 2] } },
  custom: {
    scheme: 'api_key',
    baseUrl: 'https://crm.example.com/v1',
    header: 'X-Key',
    apiKey: 'test-api-key',
  },
};

/** Encrypts credentials for one row using only `jose`: a JWE under a fixed test key. */
export async function encryptCredentials(
  owner: CredentialsOwner,
  credentials: unknown = sampleCredentials[owner.provider as Provider],
  kid = 'test-key-1',
): Promise<EncryptedCredentials> {
  const jwe = await new FlattenedEncrypt(new TextEncoder().encode(JSON.stringify(credentials)))
    .setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM' })
    .setUnprotectedHeader({ kid })
    .setAdditionalAuthenticatedData(credentialsAad(owner))
    .encrypt(testKey);
  return jwe as EncryptedCredentials;
}
