import { FlattenedEncrypt, flattenedDecrypt } from 'jose';
import {
  type CredentialsOwner,
  checkEncryptedCredentials,
  contentEncryption,
  credentialsAad,
} from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import type { EncryptedCredentials } from '../types.js';
import { refuse } from './key-ring-document.js';
import type { ImportedKey } from './keys.js';

/** A JWE for one connection: its content key wrapped by the given key. */
export async function encryptFor(
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

/** @throws CrmSchemaError `key_cannot_decrypt`, `credentials_not_authentic` */
export async function decryptBy(
  { keyId, algorithm, decryption }: ImportedKey,
  jwe: EncryptedCredentials,
): Promise<Uint8Array> {
  if (decryption === undefined) {
    throw new CrmSchemaError(
      'key_cannot_decrypt',
      `The key ring has only the public half of the key ${keyId}: this service can write credentials, not read them.`,
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
      `The credentials cannot be decrypted by the key ${keyId}: they were tampered with, or encrypted by another key of that id.`,
    );
  }
}

/**
 * Encrypts with a key and, if it can, decrypts again.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export async function tryOut(key: ImportedKey): Promise<void> {
  const nobody = '00000000-0000-4000-8000-000000000000';
  const owner = { organisationId: nobody, connectionId: nobody, provider: 'custom' } as const;
  try {
    const jwe = await encryptFor(owner, new Uint8Array(1), key);
    // A key of more bits than the database has room for shows here.
    checkEncryptedCredentials(owner, jwe);
    if (key.decryption !== undefined) await decryptBy(key, jwe);
  } catch {
    refuse(`has a key that does not work: ${key.keyId}`);
  }
}
