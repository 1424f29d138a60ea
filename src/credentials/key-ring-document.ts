import { readFile } from 'node:fs/promises';
import { CrmSchemaError } from '../errors.js';
import type { RingKey } from './wrapping-keys.js';

/** A key ring in its written form: a JWK Set (RFC 7517, section 5) that names its current key. */
export interface KeyRingDocument {
  /** The `kid` of the key that encrypts; optional if there is only one key. */
  current?: string | undefined;
  /** At least one; no two with the same `kid`. */
  keys: RingKey[];
}

const variable = 'CRM_SCHEMA_KEYS';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The path of the file that `CRM_SCHEMA_KEYS` names; undefined if it is unset or holds the key ring itself.
 */
export function keyRingFile(environment: Environment): string | undefined {
  const value = environment[variable]?.trim() ?? '';
  return /^[{[]|^$/.test(value) ? undefined : value;
}

/**
 * Reads the text of the key ring from the environment.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export async function readKeyRing(environment: Environment): Promise<string> {
  const path = keyRingFile(environment);
  if (path !== undefined) return decoded(await readFile(path).catch(refuseUnreadable));
  const text = environment[variable]?.trim() ?? '';
  if (text !== '') return text;
  throw new CrmSchemaError(
    'invalid_key_ring',
    `${variable} is not set: set it to a key ring, as JSON or as the path of a file. To create a key ring: npx --no -- crm-schema credentials generate-key.`,
  );
}

/** The text of a file, without the byte order mark that Windows editors write. */
function decoded(content: Buffer): string {
  const [first, second] = content;
  if (first === 0xff && second === 0xfe) {
    return refuseKeyRing('is in UTF-16, which the > of Windows PowerShell writes: save it as UTF-8');
  }
  return new TextDecoder().decode(content);
}

/** Does not repeat the value: a key without its braces looks like a path. */
function refuseUnreadable({ code }: NodeJS.ErrnoException): never {
  throw new CrmSchemaError(
    'invalid_key_ring',
    `${variable} is neither a key ring as JSON nor the path of a readable file (${code}).`,
  );
}

/**
 * Parses JSON. Replaces the error of JSON.parse, which would quote the text.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export function parseKeyRingJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return refuseKeyRing('is not JSON');
  }
}

/**
 * Checks the shape of a key ring, except its keys.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export function checkKeyRingDocument(document: unknown): { current: string | undefined; keys: unknown[] } {
  const { current, keys } = (document ?? {}) as { current?: unknown; keys?: unknown };
  if (!Array.isArray(keys) || keys.length === 0) {
    refuseKeyRing('must be a JWK Set: {"current": "<key id>", "keys": [ … ]}, with at least one key');
  }
  if (current !== undefined && typeof current !== 'string') {
    refuseKeyRing('has a value for current that is not text');
  }
  return { current, keys };
}

/**
 * Refuses a key ring.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export function refuseKeyRing(problem: string): never {
  throw new CrmSchemaError('invalid_key_ring', `The key ring ${problem}.`);
}
