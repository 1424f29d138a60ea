import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError, notLive } from '../errors.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { Provider } from '../types.js';
import { checkVersion, describeValue, refuse } from '../validation.js';
import type { OwnerOf } from './encryption.js';
import type { KeyRing } from './key-ring.js';
import { salvageCredentials } from './providers.js';
import { credentialsGet, credentialsReplace, type NewCredentials, type StoredCredentials } from './stored.js';

/** What {@link credentialsRefresh} takes. */
export interface CredentialsRefreshParams<P extends Provider> extends OwnerOf<P> {
  /** The version that needs refreshing. */
  credentialsVersion: number;
  /** Gets the credentials that are stored now, and asks the CRM for new ones. */
  refresh: (current: StoredCredentials<P>) => Promise<NewCredentials<P>>;
  /** How long to wait for the other worker, and for the database, in milliseconds: 10,000 if not given. */
  patience?: number | undefined;
}

/**
 * Refreshes a token, also where the refresh token is single use and other workers do the same at the
 * same time: one of them wins, and all go on with what it got.
 *
 * `refresh` gets the credentials that are stored now and asks the CRM for new ones. It is not called if
 * they are of another version than the caller's already. If it throws, perhaps because another worker
 * has just used up the refresh token, that worker's credentials are waited for; so a refusal that is
 * meant takes as long as `patience`. Workers are not kept from asking the CRM at the same time: where it
 * punishes that, hold a lock of yours around the call.
 *
 * What `refresh` returns exists nowhere else, so as much of it as possible is kept: fields that do not
 * belong there and optional ones that are wrong are left out, an expiry that is no time is taken for
 * unknown, and a database that cannot be reached is tried again for as long as `patience`.
 *
 * Not for use inside a longer transaction: others could neither see the new credentials nor, if it is
 * rolled back, ever get them again.
 *
 * @returns the credentials to go on with
 * @throws whatever `refresh` throws, if nobody else has refreshed meanwhile; then the connection may be
 *   marked by `connectionSetStatus` with this version
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`, and as `credentialsGet` and `credentialsReplace`
 */
export async function credentialsRefresh<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: CredentialsRefreshParams<P>,
): Promise<StoredCredentials<P>> {
  const { organisationId, connectionId, provider, credentialsVersion, refresh, patience = 10_000 } = params;
  checkVersion(credentialsVersion);
  if (!Number.isFinite(patience) || patience < 0) {
    refuse({ field: 'patience' }, `has to be milliseconds from 0, not ${describeValue(patience)}`);
  }
  const owner = { organisationId, connectionId, provider };
  const stored = async () => (await credentialsGet(client, keys, owner)) ?? notLive();
  const isOther = (some: StoredCredentials<P>) => some.credentialsVersion !== credentialsVersion;

  const current = await stored();
  if (isOther(current)) return current;
  let fresh: NewCredentials<P>;
  try {
    fresh = await refresh(current);
  } catch (error) {
    const found = await waited(patience, async () => {
      // Whatever is wrong here, what the CRM said is what matters.
      const some = await stored().catch(() => current);
      return isOther(some) ? some : undefined;
    });
    if (found === undefined) throw error;
    return found;
  }
  const replacement = { ...owner, credentialsVersion, ...salvaged(provider, fresh) };
  let failure: unknown;
  const outcome = await waited(patience, async () => {
    try {
      return await credentialsReplace(client, keys, replacement);
    } catch (error) {
      if (error instanceof CrmSchemaError) throw error;
      failure = error;
      return undefined;
    }
  });
  if (outcome === undefined) throw failure;
  // Ours, or another worker's; ours too if the answer to a first attempt was lost.
  return stored();
}

/** What can be kept of new credentials that cannot be got again. */
function salvaged<P extends Provider>(provider: P, fresh: NewCredentials<P>): NewCredentials<P> {
  const credentials = salvageCredentials(provider, fresh.credentials);
  const expiresAt = fresh.credentialsExpiresAt ?? null;
  if (expiresAt === null) return { credentials };
  try {
    return {
      credentials,
      credentialsExpiresAt: timestampParameter({ field: 'credentialsExpiresAt' }, expiresAt),
    };
  } catch {
    return { credentials };
  }
}

/** Tries until there is a result, again after 50, 100, 200 … up to 1,000 ms; undefined when time is up. */
async function waited<Result>(
  milliseconds: number,
  attempt: () => Promise<Result | undefined>,
): Promise<Result | undefined> {
  const deadline = Date.now() + milliseconds;
  for (let pause = 50; ; pause = Math.min(pause * 2, 1000)) {
    const result = await attempt();
    if (result !== undefined || Date.now() + pause > deadline) return result;
    await sleep(pause);
  }
}
