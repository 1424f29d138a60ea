import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/credentials.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';

/** How a key stands to a key ring: the one that encrypts, one that is there besides, or not in it. */
export type KeyStanding = 'current' | 'other' | 'missing';

/** A key, and how many connections it protects. */
export interface KeyUsage {
  /** Its `kid`. */
  keyId: string;
  /** How it stands to the ring. */
  standing: KeyStanding;
  /** Whether the ring can read what the key protects. */
  canDecrypt: boolean;
  /** How many connections' credentials are encrypted for it, over all organisations. */
  connections: number;
}

/**
 * How many connections each key protects: the keys of the ring, the current one first, then those that
 * the ring lacks. One that is not current and has no connections is new, or it can go, once no backup needs it.
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

/** How many connections are under some keys together. */
export function connectionsUnder(usages: readonly KeyUsage[]): number {
  return usages.reduce((sum, { connections }) => sum + connections, 0);
}

/**
 * Makes sure that the ring can read the credentials of every connection. Meant for the start of a
 * program that reads them, so that a key that was dropped too early is noticed at once.
 *
 * @throws CrmSchemaError `key_still_needed`, saying which keys are lacking and how many connections need them;
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
    `The key ring cannot decrypt for keys that connections still need, with their number: ${list}. Put them back, rotate, and drop them only when none is left.`,
  );
}
