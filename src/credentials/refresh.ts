import { setTimeout as sleep } from 'node:timers/promises';
import { CrmSchemaError, connectionNotLive } from '../errors.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { Provider } from '../types.js';
import { checkParameter, checkVersion, describeValue, refuse } from '../validation.js';
import { credentialAccount } from './credential-account.js';
import { type Credentials, salvageCredentials } from './credential-checks.js';
import type { OwnerOf } from './encryption.js';
import type { KeyRing } from './key-ring.js';
import {
  credentialsGet,
  type NewCredentials,
  type StoredCredentials,
  storeCredentials,
} from './stored-credentials.js';

/** The parameters of {@link credentialsRefresh}. */
export interface CredentialsRefreshParams<P extends Provider> extends OwnerOf<P> {
  /** The version to refresh. */
  credentialsVersion: number;
  /** Receives the stored credentials, and asks the CRM for new ones. */
  refresh: (current: StoredCredentials<P>) => Promise<NewCredentials<P>>;
  /** How long to wait for another worker, and for the database, in milliseconds; defaults to 10,000. */
  patience?: number | undefined;
}

/**
 * Refreshes a token, even if the refresh token is single use and several workers refresh it at the same
 * time: one worker wins, and all of them continue with its result.
 *
 * `refresh` receives the stored credentials and asks the CRM for new ones. It is not called if the stored
 * version already differs from the caller's. If it throws, another worker may have used up the refresh
 * token, so this function waits up to `patience` for that worker's credentials; a genuine refusal therefore
 * takes that long. Several workers may ask the CRM at the same time: if it penalises that, hold your own lock
 * around the call.
 *
 * The result of `refresh` exists nowhere else, so as much of it as possible is stored: unknown fields and
 * invalid optional ones are dropped, an invalid expiry is stored as unknown, and storing is retried for up
 * to `patience` while the database cannot be reached.
 *
 * Do not call this inside a longer transaction: other workers could not see the new credentials, and a
 * rollback would lose them for good.
 *
 * @returns the credentials to continue with
 * @throws whatever `refresh` throws, if no other worker has refreshed in the meantime; you may then mark the
 *   connection with `connectionSetStatus` and this version
 * @throws CrmSchemaError `account_changed` if the new credentials are for another account, in which case
 *   they are not stored; `connection_not_live`, `invalid_input`, and as `credentialsGet` and
 *   `credentialsReplace`
 */
export async function credentialsRefresh<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: CredentialsRefreshParams<P>,
): Promise<StoredCredentials<P>> {
  checkParameter('params', params);
  const { organisationId, connectionId, provider, credentialsVersion, refresh, patience = 10_000 } = params;
  checkVersion(credentialsVersion);
  if (!Number.isFinite(patience) || patience < 0) {
    refuse({ field: 'patience' }, `must be a number of milliseconds from 0, not ${describeValue(patience)}`);
  }
  const owner = { organisationId, connectionId, provider };
  const readStored = async () => {
    const stored = await credentialsGet(client, keys, owner);
    if (stored === null) throw connectionNotLive();
    return stored;
  };
  const isOtherVersion = (credentials: StoredCredentials<P>) =>
    credentials.credentialsVersion !== credentialsVersion;

  const current = await readStored();
  if (isOtherVersion(current)) return current;
  let fresh: NewCredentials<P>;
  try {
    fresh = await refresh(current);
  } catch (error) {
    const refreshedByOther = await retryUntil(patience, async () => {
      // Ignore errors here: the CRM's error is the one to report.
      const latest = await readStored().catch(() => current);
      return isOtherVersion(latest) ? latest : undefined;
    });
    if (refreshedByOther === undefined) throw error;
    return refreshedByOther;
  }
  const salvaged = salvage(provider, fresh);
  const account = newAccount(provider, current, salvaged);
  const replacement = { ...owner, credentialsVersion, ...salvaged, account };
  let failure: unknown;
  const outcome = await retryUntil(patience, async () => {
    try {
      return await storeCredentials(client, keys, replacement, { isRepair: false });
    } catch (error) {
      if (error instanceof CrmSchemaError) throw error;
      failure = error;
      return undefined;
    }
  });
  if (outcome === undefined) throw failure;
  // Ours or another worker's. If the reply to a first attempt was lost, superseded may mean ours.
  return readStored();
}

/**
 * The account to compare with the connection's. Null if the new credentials name the same one as the current
 * credentials: the connection may be to it under another name.
 */
function newAccount<P extends Provider>(
  provider: P,
  current: StoredCredentials<P>,
  { credentials }: NewCredentials<P>,
): string | null {
  const account = credentialAccount(provider, credentials);
  const isSame = account === credentialAccount(provider, current.credentials as Credentials<P>);
  return isSame && current.account !== null ? null : account;
}

/** Keeps as much as possible of new credentials, which cannot be fetched again. */
function salvage<P extends Provider>(provider: P, fresh: NewCredentials<P>): NewCredentials<P> {
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

/** Retries after 50, 100, 200 … up to 1,000 ms until there is a result; undefined when time is up. */
async function retryUntil<Result>(
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
