import { FlattenedEncrypt } from 'jose';
import { type CredentialsOwner, credentialsAad, type EncryptedCredentials } from '../../src/index.js';

const testKey = new Uint8Array(32).fill(7);

/** Encrypts credentials for one row, as an application does: a JWE under a fixed test key. */
export async function encryptCredentials(
  owner: CredentialsOwner,
  credentials: unknown = { apiKey: 'test' },
  kid = 'test-key-1',
): Promise<EncryptedCredentials> {
  const jwe = await new FlattenedEncrypt(new TextEncoder().encode(JSON.stringify(credentials)))
    .setProtectedHeader({ alg: 'A256KW', enc: 'A256GCM' })
    .setUnprotectedHeader({ kid })
    .setAdditionalAuthenticatedData(credentialsAad(owner))
    .encrypt(testKey);
  return jwe as EncryptedCredentials;
}
