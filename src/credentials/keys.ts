import { randomBytes } from 'node:crypto';
import { type CryptoKey, exportJWK, generateKeyPair, importJWK, type JWK } from 'jose';
import { keyIdPattern } from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import { checkOneOf } from '../validation.js';

/**
 * How a key protects credentials (RFC 7518, section 4). `A256KW` and `A256GCMKW`: one symmetric key
 * encrypts and decrypts. `RSA-OAEP-256` and `ECDH-ES+A256KW`: the public half encrypts, the private one
 * decrypts.
 */
export const keyAlgorithms = ['A256KW', 'A256GCMKW', 'RSA-OAEP-256', 'ECDH-ES+A256KW'] as const;
/** One of {@link keyAlgorithms}. */
export type KeyAlgorithm = (typeof keyAlgorithms)[number];

/** A JWK (RFC 7517) that names itself and its algorithm. */
export interface RingKey extends JWK {
  /** Its id: 1 to 200 of `A-Z a-z 0-9 . _ : -`, and no key. */
  kid: string;
  /** How it protects credentials. */
  alg: KeyAlgorithm;
  /** What kind of key it is: `oct`, `RSA`, `EC` or `OKP`. */
  kty: string;
}

/** What an id has to be. A key in its place would be shown wherever the id is. */
const keyIdRule = 'has to be 1 to 200 of A-Z a-z 0-9 . _ : -, and no key';

function isKeyId(value: unknown): value is string {
  return typeof value === 'string' && keyIdPattern.test(value);
}

/** A key that is ready for use. */
export interface ImportedKey {
  keyId: string;
  algorithm: KeyAlgorithm;
  encryption: CryptoKey | Uint8Array;
  /** Undefined where the ring has the public half alone. */
  decryption: CryptoKey | Uint8Array | undefined;
}

/** The members of a JWK that make a public key; with those after, a private or symmetric one. */
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
 * Makes a new key.
 *
 * @param keyId 1 to 200 of `A-Z a-z 0-9 . _ : -`
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

/** The same key without what decrypts; undefined for a symmetric key, of which nothing is left. */
export function publicHalf(key: RingKey): RingKey | undefined {
  const { kid, alg, kty, ...members } = key;
  if (kty === 'oct') return undefined;
  return { kid, alg, use: 'enc', kty, ...only(members, publicMembers[kty]) };
}

/**
 * Checks one element of a key ring, and makes it ready for use.
 *
 * @param place where it stands, for messages
 * @throws CrmSchemaError `invalid_key_ring`, naming the member and never its value
 */
export async function importKey(place: string, jwk: unknown): Promise<ImportedKey> {
  if (typeof jwk !== 'object' || jwk === null || Array.isArray(jwk)) refuse(place, 'has to be a JWK');
  const { kid, alg, kty, use, ...members } = jwk as JWK;
  const secrets = Object.values(privateMembers)
    .flat()
    .map((name) => (jwk as Record<string, unknown>)[name]);
  if (!isKeyId(kid) || secrets.includes(kid)) refuse(`${place}.kid`, keyIdRule);
  // The two may have been swapped; then the id is the key, and must not be shown.
  if (kty === 'oct' && !/^[\w-]{43}$/.test(String(members.k))) {
    refuse(`${place}.k`, 'has to be 256 bits in base64url, without padding');
  }
  const where = `${place} (${kid})`;
  if (!(keyAlgorithms as readonly unknown[]).includes(alg)) {
    refuse(`${where}.alg`, `has to be one of ${keyAlgorithms.join(', ')}`);
  }
  const algorithm = alg as KeyAlgorithm;
  if (typeof kty !== 'string' || !keyTypes[algorithm].includes(kty)) {
    refuse(`${where}.kty`, `has to be ${keyTypes[algorithm].join(' or ')} for ${algorithm}`);
  }
  if (use !== undefined && use !== 'enc') refuse(`${where}.use`, 'has to be enc');
  const isPrivate = kty === 'oct' || members.d !== undefined;
  const read = (...names: (readonly string[] | undefined)[]) =>
    importJWK({ kty, ...only(members, ...names) }, algorithm).catch(() =>
      // The cause's words are not ours, so nobody knows what is in them.
      refuse(where, `is not a sound key for ${algorithm}`),
    );
  const whole = isPrivate ? await read(publicMembers[kty], privateMembers[kty]) : undefined;
  return {
    keyId: kid,
    algorithm,
    encryption: kty === 'oct' && whole !== undefined ? whole : await read(publicMembers[kty]),
    decryption: whole,
  };
}

function only(members: object, ...names: (readonly string[] | undefined)[]): object {
  const wanted = new Set(names.flat());
  return Object.fromEntries(Object.entries(members).filter(([name]) => wanted.has(name)));
}

function refuse(place: string, problem: string): never {
  throw new CrmSchemaError('invalid_key_ring', `The key ring: ${place} ${problem}.`);
}
