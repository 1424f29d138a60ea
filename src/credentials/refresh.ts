import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError, notLive } from '../errors.js';
import type { Queryable } from '../prepared-query.js';
import type { Provider } from '../types.js';
import type { OwnerOf } from './encryption.js';
import type { KeyRing } from './key-ring.js';
import { credentialsGet, credentialsReplace, type NewCredentials, type StoredCredentials } from './stored.js';

/**
 * Refreshes a token, also where the refresh token is single use and other workers do the same at the
 * same time: one of them wins, and all go on with what it got.
 *
 * `refresh` gets the credentials that are stored now and asks the CRM for new ones. It is not called if
 * they are of another version than the caller's already. If it throws, perhaps because another worker
 * has just used up the refresh token, that worker's credentials are waited for. If the database cannot
 * be reached with new credentials in hand, it is tried again: nobody else has them.
 *
 * Not for use inside a longer transaction: others could neither see the new credentials nor, if it is
 * rolled back, ever get them again.
 *
 * @param params.credentialsVersion the version that needs refreshing
 * @param params.patience how long to wait for the other worker, and for the database, in milliseconds:
 *   10,000 if not given
 * @returns the credentials to go on with
 * @throws whatever `refresh` throws, if nobody else has refreshed meanwhile; then the connection may be
 *   marked by `connectionSetStatus` with this version
 * @throws CrmSchemaError `connection_not_live`, and as `credentialsGet` and `credentialsReplace`
 */
export async function credentialsRefresh<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: OwnerOf<P> & {
    credentialsVersion: number;
    refresh: (current: StoredCredentials<P>) => Promise<NewCredentials<P>>;
    patience?: number | undefined;
  },
): Promise<StoredCredentials<P>> {
  const { organisationId, connectionId, provider, credentialsVersion, refresh, patience = 10_000 } = params;
  const owner = { organisationId, connectionId, provider };
  const stored = async () => (await credentialsGet<P>(client, keys, owner)) ?? notLive();
  const isNewer = (some: StoredCredentials<P>) => some.credentialsVersion !== credentialsVersion;

  const current = await stored();
  if (isNewer(current)) return current;
  let fresh: NewCredentials<P>;
  try {
    fresh = await refresh(current);
  } catch (error) {
    const deadline = Date.now() + patience;
    for (const pause of pauses()) {
      const found = await stored();
      if (isNewer(found)) return found;
      if (Date.now() + pause > deadline) throw error;
      await sleep(pause);
    }
    throw error;
  }
  const deadline = Date.now() + patience;
  for (const pause of pauses()) {
    try {
      await credentialsReplace(client, keys, { ...owner, credentialsVersion, ...fresh });
      break;
    } catch (error) {
      if (error instanceof CrmSchemaError || Date.now() + pause > deadline) throw error;
      await sleep(pause);
    }
  }
  // Ours, or another worker's; ours too if the answer to a first attempt was lost.
  return stored();
}

/** Milliseconds to wait between attempts: 50, 100, 200 … up to 1,000, without end. */
function* pauses(): Generator<number, never> {
  for (let pause = 50; ; pause = Math.min(pause * 2, 1000)) yield pause;
}
