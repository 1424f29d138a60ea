import { type CredentialsOwner, checkEncryptedCredentials } from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import type { EncryptedCredentials } from '../types.js';
import { checkParameter, refuse } from '../validation.js';
import { checkKeyWorks, decryptJwe, encryptJwe } from './jwe.js';
import {
  checkKeyRingDocument,
  type KeyRingDocument,
  parseKeyRingJson,
  readKeyRing,
  refuseKeyRing,
} from './key-ring-document.js';
import { type ImportedKey, importKey, type KeyAlgorithm } from './wrapping-keys.js';

/** The details of a wrapping key, without the key itself. */
export interface KeyInfo {
  /** The key's `kid`. */
  keyId: string;
  /** How the key protects credentials. */
  algorithm: KeyAlgorithm;
  /** Whether this is the key that encrypts. */
  isCurrent: boolean;
  /** False if the key ring has only the public half. */
  canDecrypt: boolean;
}

/**
 * Refuses a value that is not a key ring, without showing it: it may be the keys themselves.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function checkKeyRing(keys: KeyRing): void {
  // No instanceof: the key ring may come from another copy of this package.
  if (typeof keys?.encrypt === 'function' && typeof keys.decrypt === 'function') return;
  refuse({ field: 'keys' }, 'must be a KeyRing: use await KeyRing.load() or KeyRing.parse(…)');
}

/**
 * The wrapping keys that protect credentials: the current one encrypts, all of them decrypt. Printing a
 * key ring never shows a key.
 */
export class KeyRing {
  readonly #keys: ReadonlyMap<string, ImportedKey>;
  readonly #current: ImportedKey;

  private constructor(keys: ReadonlyMap<string, ImportedKey>, current: ImportedKey) {
    this.#keys = keys;
    this.#current = current;
  }

  /**
   * Loads the key ring that `CRM_SCHEMA_KEYS` holds as JSON or names as a file. Call it at program start.
   *
   * @param environment the variables; defaults to those of the process
   * @throws CrmSchemaError `invalid_key_ring`, naming the problem and never a value
   */
  static async load(
    environment: Readonly<Record<string, string | undefined>> = process.env,
  ): Promise<KeyRing> {
    checkParameter('environment', environment);
    return KeyRing.parse(await readKeyRing(environment));
  }

  /**
   * Makes a key ring from a document, as text or parsed. Tries each key once, so a key that does not work
   * is found here and not at first use.
   *
   * @param document the key ring: a JWK Set with `current`, the id of the key that encrypts
   * @throws CrmSchemaError `invalid_key_ring`, naming the problem and never a value
   */
  static async parse(document: string | KeyRingDocument): Promise<KeyRing> {
    const { current, keys } = checkKeyRingDocument(
      typeof document === 'string' ? parseKeyRingJson(document) : document,
    );
    const ring = new Map<string, ImportedKey>();
    for (const [index, jwk] of keys.entries()) {
      const key = await importKey(`keys[${index}]`, jwk);
      if (ring.has(key.keyId)) refuseKeyRing(`has two keys with the id ${key.keyId}`);
      await checkKeyWorks(key);
      ring.set(key.keyId, key);
    }
    const [only] = ring.values();
    const currentKey = current === undefined && ring.size === 1 ? only : ring.get(current ?? '');
    if (currentKey === undefined) {
      refuseKeyRing(
        current === undefined
          ? 'has several keys: current must name the one that encrypts'
          : `does not contain its current key; its keys are ${[...ring.keys()].join(', ')}`,
      );
    }
    return new KeyRing(ring, currentKey);
  }

  /** The id of the key that encrypts. */
  get current(): string {
    return this.#current.keyId;
  }

  /** The details of each key, in the key ring's order. */
  get keys(): KeyInfo[] {
    return [...this.#keys.values()].map(({ keyId, algorithm, decryption }) => ({
      keyId,
      algorithm,
      isCurrent: keyId === this.current,
      canDecrypt: decryption !== undefined,
    }));
  }

  /**
   * Encrypts bytes for one connection under the current key. Applications call `encryptCredentials`.
   *
   * @param plaintext the bytes
   * @throws CrmSchemaError as `credentialsAad`
   */
  async encrypt(owner: CredentialsOwner, plaintext: Uint8Array): Promise<EncryptedCredentials> {
    return encryptJwe(owner, plaintext, this.#current);
  }

  /**
   * Decrypts bytes that were encrypted for one connection. Applications call `decryptCredentials`.
   *
   * @param credentials the encrypted credentials
   * @throws CrmSchemaError `credentials_bound_elsewhere`, `unknown_key`, `key_cannot_decrypt`,
   *   `credentials_not_authentic`, `malformed_credentials`
   */
  async decrypt(owner: CredentialsOwner, credentials: unknown): Promise<Uint8Array> {
    const jwe = checkEncryptedCredentials(owner, credentials);
    const key = this.#keys.get(jwe.header.kid);
    if (key === undefined) {
      throw new CrmSchemaError(
        'unknown_key',
        `The credentials are encrypted under key ${jwe.header.kid}, which is not in the key ring.`,
      );
    }
    return decryptJwe(key, jwe);
  }

  /** The details of the key ring, without the keys themselves. */
  toJSON(): {
    /** The id of the key that encrypts. */
    current: string;
    /** The details of each key. */
    keys: KeyInfo[];
  } {
    return { current: this.current, keys: this.keys };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const others = this.keys.filter(({ isCurrent }) => !isCurrent).map(({ keyId }) => keyId);
    return `KeyRing { current: ${this.current}, others: [${others.join(', ')}] }`;
  }
}
