import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/credentials.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';

/** A key's place in a key ring: the one that encrypts, another one, or missing from it. */
export type KeyStanding = 'current' | 'other' | 'missing';

/** A wrapping key, and the number of connections it protects. */
export interface KeyUsage {
  /** The key's `kid`. */
  keyId: string;
  /** Its place in the key ring. */
  standing: KeyStanding;
  /** Whether the key ring can decrypt with this key. */
  canDecrypt: boolean;
  /** The number of connections whose credentials are encrypted under it, across all organisations. */
  connections: number;
}

/**
 * Counts the connections that each key protects: the key ring's keys first, starting with the current one,
 * then keys missing from it. A key that is not current and protects no connections is either new, or can be
 * dropped once no backup needs it.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function credentialsCountByKey(client: Queryable, keys: KeyRing): Promise<KeyUsage[]> {
  checkKeyRing(keys);
  const rows = await queries.credentialsCountByKey.run(undefined, client);
  const counts = new Map(rows.map(({ keyId, connections }) => [keyId, connections]));
  const inRing = keys.keys
    .toSorted((left, right) => Number(right.isCurrent) - Number(left.isCurrent))
    .map(({ keyId, isCurrent, canDecrypt }): KeyUsage => {
      const standing = isCurrent ? 'current' : 'other';
      return { keyId, standing, canDecrypt, connections: counts.get(keyId) ?? 0 };
    });
  const known = new Set(inRing.map(({ keyId }) => keyId));
  const missing = rows
    .filter(({ keyId }) => !known.has(keyId))
    .map((row): KeyUsage => ({ ...row, standing: 'missing', canDecrypt: false }));
  return [...inRing, ...missing];
}

/** The total number of connections under these keys. */
export function connectionsUnder(usages: readonly KeyUsage[]): number {
  return usages.reduce((sum, { connections }) => sum + connections, 0);
}

/**
 * Checks that the key ring can decrypt the credentials of every connection. Call it at the start of a program
 * that reads credentials, to notice at once if a key was dropped too early.
 *
 * @throws CrmSchemaError `key_still_needed`, naming the missing keys and how many connections need each;
 *   `invalid_input`
 */
export async function credentialsCheckKeys(client: Queryable, keys: KeyRing): Promise<void> {
  const needed = (await credentialsCountByKey(client, keys)).filter(
    ({ connections, canDecrypt }) => connections > 0 && !canDecrypt,
  );
  if (needed.length === 0) return;
  const list = needed.map(({ keyId, connections }) => `${keyId} (${connections})`).join(', ');
  throw new CrmSchemaError(
    'key_still_needed',
    `The key ring cannot decrypt all credentials. Keys still needed, with their number of connections: ${list}. Put them back and rotate; drop a key only when no connection needs it.`,
  );
}
