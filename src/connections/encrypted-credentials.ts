import { CrmSchemaError } from '../errors.js';
import { checkConnectionKey } from '../keys.js';
import type { EncryptedCredentials, Provider } from '../types.js';
import { checkProvider, describeValue, refuse } from '../validation.js';

/** Which row a set of credentials belongs to. */
export interface CredentialsOwner {
  /** Whose they are: a UUID. */
  organisationId: string;
  /** Of the connection that they are for: a UUID. */
  connectionId: string;
  /** Which CRM. */
  provider: Provider;
}

/**
 * The additional authenticated data to encrypt credentials with, as bytes. `encryptCredentials` sees to
 * it; for `jose` alone, `new FlattenedEncrypt(plaintext).setAdditionalAuthenticatedData(credentialsAad(owner))`.
 *
 * The database holds a ciphertext's `aad` against the row that it stands in
 * (`crm_credentials_aad`), and decryption compares it again: copied to another row it is refused.
 *
 * @throws CrmSchemaError `invalid_input`, `unknown_provider`
 */
export function credentialsAad(owner: CredentialsOwner): Uint8Array {
  checkConnectionKey(owner);
  checkProvider({ field: 'provider' }, owner.provider);
  // PostgreSQL writes UUIDs in lower case.
  const ids = `${owner.organisationId}:${owner.connectionId}`.toLowerCase();
  return new TextEncoder().encode(`nurturehub-crm:${ids}:${owner.provider}`);
}

/** The one content encryption: RFC 7518, section 5.3. */
export const contentEncryption = 'A256GCM';

/** The id of a key. */
export const keyIdPattern = /^[\w.:-]{1,200}$/;

/** What each member has to look like besides `header`: as in `crm_credentials_is_jwe`. */
const members: Record<Exclude<keyof EncryptedCredentials, 'header'>, { pattern: RegExp; longest: number }> = {
  protected: { pattern: /^eyJ[\w-]+$/, longest: 1000 },
  encrypted_key: { pattern: /^[\w-]{22,}$/, longest: 1366 },
  iv: { pattern: /^[\w-]{16}$/, longest: 16 },
  ciphertext: { pattern: /^[\w-]{2,}$/, longest: 16_384 },
  tag: { pattern: /^[\w-]{22}$/, longest: 22 },
  aad: { pattern: /^[\w-]+$/, longest: 1000 },
};

/**
 * Encrypted credentials, as the database accepts them for this owner, as a plain object.
 *
 * Checked before they are sent, because the server logs a row that it refuses: plaintext that is passed
 * by mistake does not leave the process.
 *
 * @throws CrmSchemaError `malformed_credentials`, naming the member and never its value;
 *   `credentials_bound_elsewhere`; and as {@link credentialsAad} on the owner
 */
export function checkEncryptedCredentials(owner: CredentialsOwner, value: unknown): EncryptedCredentials {
  const aad = Buffer.from(credentialsAad(owner)).toString('base64url');
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse({ field: 'credentials' }, 'has to be a JWE, as an object', 'malformed_credentials');
  }
  const { header, ...others } = value as Record<string, unknown>;
  const checked: Record<string, string> = {};
  for (const [member, { pattern, longest }] of Object.entries(members)) {
    const text = others[member];
    delete others[member];
    if (typeof text !== 'string') malformed(member, 'is missing, or is not text');
    if (text.length > longest) malformed(member, `is longer than ${longest} characters`);
    if (!pattern.test(text) || !isCanonical(text)) malformed(member, 'is not base64url of the right size');
    checked[member] = text;
  }
  const [other] = Object.keys(others);
  if (other !== undefined) malformed(describeValue(other), 'does not belong there');
  const { kid, ...parameters } = (header ?? {}) as Record<string, unknown>;
  if (typeof kid !== 'string' || !keyIdPattern.test(kid) || Object.keys(parameters).length > 0) {
    malformed('header', 'has to have kid, 1 to 200 of A-Z a-z 0-9 . _ : -, and nothing else');
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

/** Encrypted credentials, as a query takes JSON. */
export function jsonParameter({ header, ...members }: EncryptedCredentials) {
  return { ...members, header: { ...header } };
}

/** What a protected header may have: what the key algorithms need. Above all no `zip`, which makes a little a lot. */
const headerParameters = new Set(['alg', 'enc', 'epk', 'apu', 'apv', 'iv', 'tag']);

function checkProtectedHeader(text: string): void {
  let header: unknown;
  try {
    header = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    malformed('protected', 'is not a JSON object in base64url');
  }
  const parameters = header as Record<string, unknown>;
  if (parameters.enc !== contentEncryption)
    malformed('protected', `does not say that enc is ${contentEncryption}`);
  if (Object.keys(parameters).some((name) => !headerParameters.has(name))) {
    malformed('protected', `has parameters other than ${[...headerParameters].join(', ')}`);
  }
}

/** Whether these characters, and no others, stand for the bytes: the last one may have bits to spare. */
function isCanonical(text: string): boolean {
  return Buffer.from(text, 'base64url').toString('base64url') === text;
}

function malformed(member: string, problem: string): never {
  refuse({ field: `credentials.${member}` }, problem, 'malformed_credentials');
}
