import { flattenedDecrypt } from 'jose/jwe/flattened/decrypt';
import { FlattenedEncrypt } from 'jose/jwe/flattened/encrypt';
import {
  type CredentialsOwner,
  checkEncryptedCredentials,
  contentEncryption,
  credentialsAad,
} from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import type { EncryptedCredentials } from '../types.js';
import { refuseKeyRing } from './key-ring-document.js';
import type { ImportedKey } from './wrapping-keys.js';

/** Encrypts bytes for one connection as a JWE; the given key wraps its content key. */
export async function encryptJwe(
  owner: CredentialsOwner,
  plaintext: Uint8Array,
  { keyId, algorithm, encryption }: ImportedKey,
): Promise<EncryptedCredentials> {
  const jwe = await new FlattenedEncrypt(plaintext)
    .setProtectedHeader({ alg: algorithm, enc: contentEncryption })
    .setUnprotectedHeader({ kid: keyId })
    .setAdditionalAuthenticatedData(credentialsAad(owner))
    .encrypt(encryption);
  return jwe as EncryptedCredentials;
}

/**
 * Decrypts a JWE with the key that wraps its content key.
 *
 * @throws CrmSchemaError `key_cannot_decrypt`, `credentials_not_authentic`
 */
export async function decryptJwe(
  { keyId, algorithm, decryption }: ImportedKey,
  jwe: EncryptedCredentials,
): Promise<Uint8Array> {
  if (decryption === undefined) {
    throw new CrmSchemaError(
      'key_cannot_decrypt',
      `The key ring has only the public half of key ${keyId}: this service can write credentials but not read them.`,
    );
  }
  try {
    const { plaintext } = await flattenedDecrypt(jwe, decryption, {
      keyManagementAlgorithms: [algorithm],
      contentEncryptionAlgorithms: [contentEncryption],
    });
    return plaintext;
  } catch {
    throw new CrmSchemaError(
      'credentials_not_authentic',
      `Key ${keyId} cannot decrypt the credentials: they were tampered with, or encrypted under another key with that id.`,
    );
  }
}

/**
 * Tries a key: encrypts with it and, if it can decrypt, decrypts the result.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export async function checkKeyWorks(key: ImportedKey): Promise<void> {
  const nobody = '00000000-0000-4000-8000-000000000000';
  const owner = { organisationId: nobody, connectionId: nobody, provider: 'custom' } as const;
  try {
    const jwe = await encryptJwe(owner, new Uint8Array(1), key);
    // Catches a key that is too large for the database's columns.
    checkEncryptedCredentials(owner, jwe);
    if (key.decryption !== undefined) await decryptJwe(key, jwe);
  } catch {
    refuseKeyRing(`has a key that does not work: ${key.keyId}`);
  }
}
