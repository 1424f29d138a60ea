import type { CredentialsOwner } from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import type { EncryptedCredentials, Provider } from '../types.js';
import { hidden } from './hidden.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';
import { type Credentials, checkCredentials } from './providers.js';

/** What fits into the column's 16,384 characters of base64url. */
const longestPlaintext = 12_288;

/** Which row a set of credentials belongs to, with the provider's own type. */
export interface OwnerOf<P extends Provider> extends CredentialsOwner {
  /** Which CRM. */
  provider: P;
}

/**
 * Checks credentials by their provider's type, and encrypts them for one connection under the ring's
 * current key.
 *
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value; and as `credentialsAad`
 */
export async function encryptCredentials<P extends Provider>(
  keys: KeyRing,
  owner: OwnerOf<P>,
  credentials: Credentials<P>,
): Promise<EncryptedCredentials> {
  checkKeyRing(keys);
  const checked = checkCredentials(owner.provider, credentials);
  const plaintext = new TextEncoder().encode(JSON.stringify(checked));
  if (plaintext.length > longestPlaintext) {
    throw new CrmSchemaError(
      'invalid_credentials',
      `credentials of ${owner.provider} are longer than ${longestPlaintext} bytes as JSON.`,
    );
  }
  return keys.encrypt(owner, plaintext);
}

/**
 * Decrypts credentials that were encrypted for this very connection. `console.log` and `JSON.stringify`
 * do not show what comes back; its fields, and a copy by spread, do.
 *
 * @throws CrmSchemaError `credentials_bound_elsewhere`, `unknown_key`, `key_cannot_decrypt`,
 *   `credentials_not_authentic`, `malformed_credentials`, `invalid_credentials`, `invalid_input`
 */
export async function decryptCredentials<P extends Provider>(
  keys: KeyRing,
  owner: OwnerOf<P>,
  encrypted: unknown,
): Promise<Credentials<P>> {
  checkKeyRing(keys);
  const plaintext = await keys.decrypt(owner, encrypted);
  return hidden(checkCredentials(owner.provider, parsed(plaintext)));
}

/** JSON.parse would quote the text in its error. */
function parsed(plaintext: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(plaintext));
  } catch {
    throw new CrmSchemaError('invalid_credentials', 'The decrypted credentials are not JSON.');
  }
}
