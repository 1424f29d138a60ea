import { CrmSchemaError } from '../errors.js';
import { checkConnectionKey } from '../keys.js';
import { timestampParameter } from '../timestamps.js';
import type { EncryptedCredentials, Provider, Timestamp, TimestampInput } from '../types.js';
import { checkProvider, describeValue, refuse } from '../validation.js';

/** The row that a set of credentials belongs to. */
export interface CredentialsOwner {
  /** The organisation's UUID. */
  organisationId: string;
  /** The connection's UUID. */
  connectionId: string;
  /** The CRM. */
  provider: Provider;
}

/**
 * Returns the additional authenticated data (AAD) that binds credentials to their row, as bytes.
 * `encryptCredentials` sets it for you; if you use `jose` directly, call
 * `new FlattenedEncrypt(plaintext).setAdditionalAuthenticatedData(credentialsAad(owner))`.
 *
 * The database compares a ciphertext's `aad` with its row (`crm_credentials_aad`), and decryption compares it
 * again, so credentials copied to another row are refused.
 *
 * @throws CrmSchemaError `invalid_input`, `unknown_provider`
 */
export function credentialsAad(owner: CredentialsOwner): Uint8Array {
  checkConnectionKey(owner, 'owner');
  checkProvider({ field: 'provider' }, owner.provider);
  // PostgreSQL writes UUIDs in lower case.
  const ids = `${owner.organisationId}:${owner.connectionId}`.toLowerCase();
  return new TextEncoder().encode(`nurturehub-crm:${ids}:${owner.provider}`);
}

/** The only content encryption allowed: RFC 7518, section 5.3. */
export const contentEncryption = 'A256GCM';

/** The id of a wrapping key. */
export const keyIdPattern = /^[\w.:-]{1,200}$/;

/** The rule for each member except `header`, as in `crm_credentials_is_jwe`. */
const memberRules: Record<
  Exclude<keyof EncryptedCredentials, 'header'>,
  { pattern: RegExp; longest: number }
> = {
  protected: { pattern: /^eyJ[\w-]+$/, longest: 1000 },
  encrypted_key: { pattern: /^[\w-]{22,}$/, longest: 1366 },
  iv: { pattern: /^[\w-]{16}$/, longest: 16 },
  ciphertext: { pattern: /^[\w-]{2,}$/, longest: 16_384 },
  tag: { pattern: /^[\w-]{22}$/, longest: 22 },
  aad: { pattern: /^[\w-]+$/, longest: 1000 },
};

/**
 * Checks encrypted credentials as the database does for this owner, and returns them as a plain object.
 *
 * Checks before sending, because the server logs a row that it refuses: plaintext passed by mistake does not
 * leave the process.
 *
 * @throws CrmSchemaError `malformed_credentials`, naming the member and never its value;
 *   `credentials_bound_elsewhere`; and as {@link credentialsAad} on the owner
 */
export function checkEncryptedCredentials(owner: CredentialsOwner, value: unknown): EncryptedCredentials {
  const aad = Buffer.from(credentialsAad(owner)).toString('base64url');
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse({ field: 'credentials' }, 'must be a JWE, as an object', 'malformed_credentials');
  }
  const { header, ...others } = value as Record<string, unknown>;
  const checked: Record<string, string> = {};
  for (const [member, { pattern, longest }] of Object.entries(memberRules)) {
    const text = others[member];
    delete others[member];
    if (typeof text !== 'string') refuseMember(member, 'is missing or not text');
    if (text.length > longest) refuseMember(member, `is longer than ${longest} characters`);
    if (!pattern.test(text) || !isCanonicalBase64url(text))
      refuseMember(member, 'is not base64url of the expected length');
    checked[member] = text;
  }
  const [other] = Object.keys(others);
  if (other !== undefined) refuseMember(describeValue(other), 'is not allowed');
  const { kid, ...parameters } = (header ?? {}) as Record<string, unknown>;
  if (typeof kid !== 'string' || !keyIdPattern.test(kid) || Object.keys(parameters).length > 0) {
    refuseMember('header', 'must have only kid, 1 to 200 characters of A-Z a-z 0-9 . _ : -');
  }
  checkProtectedHeader(checked.protected as string);
  if (checked.aad !== aad) {
    throw new CrmSchemaError(
      'credentials_bound_elsewhere',
      'The credentials were encrypted for another organisation, connection or provider: see credentialsAad.',
    );
  }
  return { ...checked, header: { kid } } as EncryptedCredentials;
}

/** Converts encrypted credentials into a query's JSON parameter. */
export function encryptedCredentialsParameter({ header, ...members }: EncryptedCredentials) {
  return { ...members, header: { ...header } };
}

/**
 * Converts the expiry time of credentials. The error does not repeat the value, which could be a misplaced
 * token.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function expiryParameter(expiresAt: TimestampInput | null | undefined): Timestamp | null {
  return expiresAt == null
    ? null
    : timestampParameter({ field: 'credentialsExpiresAt', isSensitive: true }, expiresAt);
}

/**
 * The parameters that the key algorithms need. `zip` is left out because compression allows decompression
 * bombs.
 */
const headerParameters = new Set(['alg', 'enc', 'epk', 'apu', 'apv', 'iv', 'tag']);

function checkProtectedHeader(text: string): void {
  let header: unknown;
  try {
    header = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    refuseMember('protected', 'is not a JSON object in base64url');
  }
  const parameters = header as Record<string, unknown>;
  if (parameters.enc !== contentEncryption) refuseMember('protected', `must have enc ${contentEncryption}`);
  if (Object.keys(parameters).some((name) => !headerParameters.has(name))) {
    refuseMember('protected', `has parameters other than ${[...headerParameters].join(', ')}`);
  }
}

/** Whether this is the only encoding of these bytes: the last character may have unused bits. */
function isCanonicalBase64url(text: string): boolean {
  return Buffer.from(text, 'base64url').toString('base64url') === text;
}

function refuseMember(member: string, problem: string): never {
  refuse({ field: `credentials.${member}` }, problem, 'malformed_credentials');
}
