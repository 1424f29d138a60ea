import { readFile } from 'node:fs/promises';
import { CrmSchemaError } from '../errors.js';
import type { RingKey } from './keys.js';

/** A key ring as it is written down: a JWK Set (RFC 7517, section 5) that says which key is current. */
export interface KeyRingDocument {
  /** The `kid` of the key that encrypts; it may be left out where there is one key. */
  current?: string | undefined;
  /** At least one; no two with the same `kid`. */
  keys: RingKey[];
}

/** Where a key ring comes from, if nothing else is said. */
const variable = 'CRM_SCHEMA_KEYS';

type Environment = Readonly<Record<string, string | undefined>>;

/** The path of the file that `CRM_SCHEMA_KEYS` names; undefined where it holds the ring itself, or nothing. */
export function keyRingFile(environment: Environment): string | undefined {
  const value = environment[variable]?.trim() ?? '';
  return /^[{[]|^$/.test(value) ? undefined : value;
}

/**
 * The text of the key ring in the environment.
 *
 * @throws CrmSchemaError `invalid_key_ring`
 */
export async function readKeyRing(environment: Environment): Promise<string> {
  const path = keyRingFile(environment);
  if (path !== undefined) return readFile(path, 'utf8').catch(unreadable);
  const text = environment[variable]?.trim() ?? '';
  if (text !== '') return text;
  throw new CrmSchemaError(
    'invalid_key_ring',
    `${variable} is not set: it has to hold a key ring, as JSON or as the path of a file. To make one: npx crm-schema credentials generate-key.`,
  );
}

/** A key without its braces would be shown as if it were a path, so what was read is not named. */
function unreadable({ code }: NodeJS.ErrnoException): never {
  throw new CrmSchemaError(
    'invalid_key_ring',
    `${variable} is neither a key ring as JSON nor the path of a file that can be read (${code}).`,
  );
}

/** @throws CrmSchemaError `invalid_key_ring`; JSON.parse would quote the text */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return refuse('is not JSON');
  }
}

/** @throws CrmSchemaError `invalid_key_ring` */
export function checkDocument(document: unknown): { current: string | undefined; keys: unknown[] } {
  const { current, keys } = (document ?? {}) as { current?: unknown; keys?: unknown };
  if (!Array.isArray(keys) || keys.length === 0) {
    refuse('has to be a JWK Set: {"current": "<key id>", "keys": [ … ]}, with at least one key');
  }
  if (current !== undefined && typeof current !== 'string') refuse('has a current that is not text');
  return { current, keys };
}

/** @throws CrmSchemaError `invalid_key_ring` */
export function refuse(problem: string): never {
  throw new CrmSchemaError('invalid_key_ring', `The key ring ${problem}.`);
}
