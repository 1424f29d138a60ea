import { randomBytes } from 'node:crypto';
import type { CryptoKey, JWK } from 'jose';
import { exportJWK } from 'jose/key/export';
import { generateKeyPair } from 'jose/key/generate/keypair';
import { importJWK } from 'jose/key/import';
import { keyIdPattern } from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import { checkOneOf, checkParameter } from '../validation.js';

/**
 * The ways a wrapping key protects credentials (RFC 7518, section 4). With `A256KW` and `A256GCMKW`, one
 * symmetric key encrypts and decrypts. With `RSA-OAEP-256` and `ECDH-ES+A256KW`, the public half encrypts and
 * the private half decrypts.
 */
export const keyAlgorithms = ['A256KW', 'A256GCMKW', 'RSA-OAEP-256', 'ECDH-ES+A256KW'] as const;
/** One of {@link keyAlgorithms}. */
export type KeyAlgorithm = (typeof keyAlgorithms)[number];

/** A wrapping key of a key ring: a JWK (RFC 7517) with its id and algorithm. */
export interface RingKey extends JWK {
  /** The key's id: 1 to 200 characters of `A-Z a-z 0-9 . _ : -`; must not be a key itself. */
  kid: string;
  /** How the key protects credentials. */
  alg: KeyAlgorithm;
  /** The key type: `oct`, `RSA`, `EC` or `OKP`. */
  kty: string;
}

/** The rule for a key's id. Ids appear in messages and in the database, so a key in its place would leak. */
const keyIdRule = 'must be 1 to 200 characters of A-Z a-z 0-9 . _ : -, and not a key itself';

function isKeyId(value: unknown): value is string {
  return typeof value === 'string' && keyIdPattern.test(value);
}

/** A wrapping key, ready for use. */
export interface ImportedKey {
  keyId: string;
  algorithm: KeyAlgorithm;
  encryption: CryptoKey | Uint8Array;
  /** Undefined if the key ring has only the public half. */
  decryption: CryptoKey | Uint8Array | undefined;
}

/** The members of a JWK's public half; together with the private members they make the whole key. */
const publicMembers: Record<string, readonly string[]> = {
  oct: [],
  RSA: ['n', 'e'],
  EC: ['crv', 'x', 'y'],
  OKP: ['crv', 'x'],
};
const privateMembers: Record<string, readonly string[]> = {
  oct: ['k'],
  RSA: ['d', 'p', 'q', 'dp', 'dq', 'qi'],
  EC: ['d'],
  OKP: ['d'],
};
const keyTypes: Record<KeyAlgorithm, readonly string[]> = {
  A256KW: ['oct'],
  A256GCMKW: ['oct'],
  'RSA-OAEP-256': ['RSA'],
  'ECDH-ES+A256KW': ['EC', 'OKP'],
};

/**
 * Generates a wrapping key.
 *
 * @param algorithm how it wraps other keys
 * @param keyId 1 to 200 characters of `A-Z a-z 0-9 . _ : -`
 * @returns a JWK with its secret; RSA with 3,072 bits, ECDH on P-256
 * @throws CrmSchemaError `invalid_input`
 */
export async function generateKey(algorithm: KeyAlgorithm, keyId: string): Promise<RingKey> {
  checkOneOf({ field: 'algorithm' }, algorithm, keyAlgorithms);
  if (!isKeyId(keyId)) throw new CrmSchemaError('invalid_input', `keyId ${keyIdRule}.`);
  const named = { kid: keyId, alg: algorithm, use: 'enc' };
  if (keyTypes[algorithm].includes('oct')) {
    return { ...named, kty: 'oct', k: randomBytes(32).toString('base64url') };
  }
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true, modulusLength: 3072 });
  return { ...named, ...((await exportJWK(privateKey)) as Pick<RingKey, 'kty'>) };
}

/**
 * The public half of a key, which can encrypt but not decrypt; undefined for a symmetric key.
 *
 * @param key a JWK
 * @throws CrmSchemaError `invalid_input`
 */
export function publicHalf(key: RingKey): RingKey | undefined {
  checkParameter('key', key);
  const { kid, alg, kty, ...members } = key;
  if (kty === 'oct') return undefined;
  return { kid, alg, use: 'enc', kty, ...pick(members, publicMembers[kty]) };
}

/**
 * Checks one element of a key ring, and imports it for use.
 *
 * @param path the element's place in the key ring, for messages
 * @throws CrmSchemaError `invalid_key_ring`, naming the member and never its value
 */
export async function importKey(path: string, jwk: unknown): Promise<ImportedKey> {
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) refuseKey(path, 'must be a JWK');
  const { kid, alg, kty, use, ...members } = jwk as JWK;
  const secrets = Object.values(privateMembers)
    .flat()
    .map((name) => (jwk as Record<string, unknown>)[name]);
  if (!isKeyId(kid) || secrets.includes(kid)) refuseKey(`${path}.kid`, keyIdRule);
  // The id and the key may have been swapped, so the id must not be shown.
  if (kty === 'oct' && !/^[\w-]{43}$/.test(String(members.k))) {
    refuseKey(`${path}.k`, 'must be 256 bits in base64url, without padding');
  }
  const namedPath = `${path} (${kid})`;
  if (!(keyAlgorithms as readonly unknown[]).includes(alg)) {
    refuseKey(`${namedPath}.alg`, `must be one of ${keyAlgorithms.join(', ')}`);
  }
  const algorithm = alg as KeyAlgorithm;
  if (typeof kty !== 'string' || !keyTypes[algorithm].includes(kty)) {
    refuseKey(`${namedPath}.kty`, `must be ${keyTypes[algorithm].join(' or ')} for ${algorithm}`);
  }
  if (use !== undefined && use !== 'enc') refuseKey(`${namedPath}.use`, 'must be enc');
  const isPrivate = kty === 'oct' || members.d !== undefined;
  const importMembers = (...names: (readonly string[] | undefined)[]) =>
    importJWK({ kty, ...pick(members, ...names) }, algorithm).catch(() =>
      // The cause comes from another library, and its message might contain the key.
      refuseKey(namedPath, `is not a valid key for ${algorithm}`),
    );
  const whole = isPrivate ? await importMembers(publicMembers[kty], privateMembers[kty]) : undefined;
  return {
    keyId: kid,
    algorithm,
    encryption: kty === 'oct' && whole !== undefined ? whole : await importMembers(publicMembers[kty]),
    decryption: whole,
  };
}

function pick(members: object, ...names: (readonly string[] | undefined)[]): object {
  const wanted = new Set(names.flat());
  return Object.fromEntries(Object.entries(members).filter(([name]) => wanted.has(name)));
}

function refuseKey(path: string, problem: string): never {
  throw new CrmSchemaError('invalid_key_ring', `The key ring: ${path} ${problem}.`);
}
