import type { CredentialsOwner } from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import type { EncryptedCredentials, Provider } from '../types.js';
import { checkParameter } from '../validation.js';
import { type Credentials, checkCredentials } from './credential-checks.js';
import { hideFromLogs } from './hide-from-logs.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';

/** In bytes: what fits into the column's 16,384 characters of base64url. */
const maxPlaintextBytes = 12_288;

/** The row that a set of credentials belongs to, with the provider's own type. */
export interface OwnerOf<P extends Provider> extends CredentialsOwner {
  /** The CRM. */
  provider: P;
}

/**
 * Checks credentials against their provider's type, and encrypts them for one connection under the key
 * ring's current key.
 *
 * @param credentials in clear text
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value; and as `credentialsAad`
 */
export async function encryptCredentials<P extends Provider>(
  keys: KeyRing,
  owner: OwnerOf<P>,
  credentials: Credentials<P>,
): Promise<EncryptedCredentials> {
  checkKeyRing(keys);
  checkParameter('owner', owner);
  const checked = checkCredentials(owner.provider, credentials);
  const plaintext = new TextEncoder().encode(JSON.stringify(checked));
  if (plaintext.length > maxPlaintextBytes) {
    throw new CrmSchemaError(
      'invalid_credentials',
      `credentials is longer than ${maxPlaintextBytes} bytes as JSON (${owner.provider}).`,
    );
  }
  return keys.encrypt(owner, plaintext);
}

/**
 * Decrypts credentials that were encrypted for this connection. `console.log` and `JSON.stringify` do not
 * show the result; its fields, and a copy made with spread, do.
 *
 * @param encrypted what `connectionGetCredentials` returns as `credentials`
 * @throws CrmSchemaError `credentials_bound_elsewhere`, `unknown_key`, `key_cannot_decrypt`,
 *   `credentials_not_authentic`, `malformed_credentials`, `invalid_credentials`, `invalid_input`
 */
export async function decryptCredentials<P extends Provider>(
  keys: KeyRing,
  owner: OwnerOf<P>,
  encrypted: unknown,
): Promise<Credentials<P>> {
  checkKeyRing(keys);
  checkParameter('owner', owner);
  const plaintext = await keys.decrypt(owner, encrypted);
  return hideFromLogs(checkCredentials(owner.provider, parsePlaintext(plaintext)));
}

/** Replaces the error of JSON.parse, which would quote the plaintext. */
function parsePlaintext(plaintext: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plaintext));
  } catch {
    throw new CrmSchemaError('invalid_credentials', 'The decrypted credentials are not JSON.');
  }
}
