import type { Provider } from './types.js';
import { checkProvider, checkUuid } from './validation.js';

/** Which row a set of credentials belongs to. */
export interface CredentialsOwner {
  organisationId: string;
  connectionId: string;
  provider: Provider;
}

/**
 * The additional authenticated data to encrypt credentials with, as bytes: for `jose`,
 * `new FlattenedEncrypt(plaintext).setAdditionalAuthenticatedData(credentialsAad(owner))`.
 *
 * The database holds a ciphertext's `aad` against the row that it stands in
 * (`crm_credentials_aad`), and decryption compares it again: copied to another row it is refused.
 *
 * @throws CrmSchemaError `invalid_input`, `unknown_provider`
 */
export function credentialsAad({ organisationId, connectionId, provider }: CredentialsOwner): Uint8Array {
  checkUuid({ field: 'organisationId' }, organisationId);
  checkUuid({ field: 'connectionId' }, connectionId);
  checkProvider({ field: 'provider' }, provider);
  // PostgreSQL writes UUIDs in lower case.
  const ids = `${organisationId}:${connectionId}`.toLowerCase();
  return new TextEncoder().encode(`nurturehub-crm:${ids}:${provider}`);
}
