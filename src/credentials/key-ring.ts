import { type CredentialsOwner, checkEncryptedCredentials } from '../connections/encrypted-credentials.js';
import { CrmSchemaError } from '../errors.js';
import type { EncryptedCredentials } from '../types.js';
import { refuse as refuseInput } from '../validation.js';
import { checkDocument, type KeyRingDocument, parsed, readKeyRing, refuse } from './key-ring-document.js';
import { type ImportedKey, importKey, type KeyAlgorithm } from './keys.js';
import { decryptBy, encryptFor, tryOut } from './sealing.js';

/** What may be told of a key. */
export interface KeyInfo {
  /** Its `kid`. */
  keyId: string;
  /** How it protects credentials. */
  algorithm: KeyAlgorithm;
  /** Whether it is the one that encrypts. */
  isCurrent: boolean;
  /** False where the ring has the public half alone. */
  canDecrypt: boolean;
}

/**
 * Refuses what is no key ring, and shows nothing of it: it may be the keys themselves.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function checkKeyRing(keys: KeyRing): void {
  // Not by its class: another copy of this package may have made it.
  if (typeof keys?.encrypt === 'function' && typeof keys.decrypt === 'function') return;
  refuseInput({ field: 'keys' }, 'has to be a KeyRing: await KeyRing.load() or KeyRing.parse(…)');
}

/**
 * The keys that protect credentials: the current one encrypts, all of them decrypt. Never shows a key,
 * however it is printed.
 */
export class KeyRing {
  readonly #keys: ReadonlyMap<string, ImportedKey>;
  readonly #current: ImportedKey;

  private constructor(keys: ReadonlyMap<string, ImportedKey>, current: ImportedKey) {
    this.#keys = keys;
    this.#current = current;
  }

  /**
   * The key ring that `CRM_SCHEMA_KEYS` holds as JSON, or names as a file. Meant for a program's start.
   *
   * @throws CrmSchemaError `invalid_key_ring`, naming what is wrong and never a value
   */
  static async load(
    environment: Readonly<Record<string, string | undefined>> = process.env,
  ): Promise<KeyRing> {
    return KeyRing.parse(await readKeyRing(environment));
  }

  /**
   * The key ring of a document, as text or parsed. Each key is tried once, so that one that does not
   * work is found here and not at first use.
   *
   * @throws CrmSchemaError `invalid_key_ring`, naming what is wrong and never a value
   */
  static async parse(document: string | KeyRingDocument): Promise<KeyRing> {
    const { current, keys } = checkDocument(typeof document === 'string' ? parsed(document) : document);
    const ring = new Map<string, ImportedKey>();
    for (const [index, jwk] of keys.entries()) {
      const key = await importKey(`keys[${index}]`, jwk);
      if (ring.has(key.keyId)) refuse(`has two keys with the id ${key.keyId}`);
      await tryOut(key);
      ring.set(key.keyId, key);
    }
    const [only] = ring.values();
    const found = current === undefined && ring.size === 1 ? only : ring.get(current ?? '');
    if (found === undefined) {
      refuse(
        current === undefined
          ? 'has several keys: current has to say which one encrypts'
          : `has no key with the id that current names; it has ${[...ring.keys()].join(', ')}`,
      );
    }
    return new KeyRing(ring, found);
  }

  /** The id of the key that encrypts. */
  get current(): string {
    return this.#current.keyId;
  }

  /** What may be told of each key, in the ring's order. */
  get keys(): KeyInfo[] {
    return [...this.#keys.values()].map(({ keyId, algorithm, decryption }) => ({
      keyId,
      algorithm,
      isCurrent: keyId === this.current,
      canDecrypt: decryption !== undefined,
    }));
  }

  /**
   * Encrypts bytes for one connection under the current key; `encryptCredentials` is what an
   * application wants.
   *
   * @throws CrmSchemaError as `credentialsAad`
   */
  async encrypt(owner: CredentialsOwner, plaintext: Uint8Array): Promise<EncryptedCredentials> {
    return encryptFor(owner, plaintext, this.#current);
  }

  /**
   * Decrypts what was encrypted for one connection; `decryptCredentials` is what an application wants.
   *
   * @throws CrmSchemaError `credentials_bound_elsewhere`, `unknown_key`, `key_cannot_decrypt`,
   *   `credentials_not_authentic`, `malformed_credentials`
   */
  async decrypt(owner: CredentialsOwner, credentials: unknown): Promise<Uint8Array> {
    const jwe = checkEncryptedCredentials(owner, credentials);
    const key = this.#keys.get(jwe.header.kid);
    if (key === undefined) {
      throw new CrmSchemaError(
        'unknown_key',
        `The credentials are encrypted for the key ${jwe.header.kid}, which the key ring does not have.`,
      );
    }
    return decryptBy(key, jwe);
  }

  /** What may be shown of it: no key. */
  toJSON(): {
    /** The id of the key that encrypts. */
    current: string;
    /** What may be told of each key. */
    keys: KeyInfo[];
  } {
    return { current: this.current, keys: this.keys };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    const others = this.keys.filter(({ isCurrent }) => !isCurrent).map(({ keyId }) => keyId);
    return `KeyRing { current: ${this.current}, others: [${others.join(', ')}] }`;
  }
}
