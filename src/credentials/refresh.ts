import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectionSetStatusParams, connectionSetStatus } from '../connections/connections.js';
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

/** The CRM refuses to refresh these credentials, for good: somebody must connect it again. */
export interface RefreshRefusal {
  /**
   * A reason that an agent can act on, for `statusReason`: 1 to 500 characters, without secrets or personal data.
   */
  refused: string;
}

/** The parameters of {@link credentialsRefresh}. */
export interface CredentialsRefreshParams<P extends Provider> extends OwnerOf<P> {
  /** The version to refresh. */
  credentialsVersion: number;
  /**
   * Receives the stored credentials, and asks the CRM for new ones. Returns a {@link RefreshRefusal} if the CRM
   * refuses for good; throws on any other failure.
   */
  refresh: (current: StoredCredentials<P>) => Promise<NewCredentials<P> | RefreshRefusal>;
  /** How long to wait for another worker, and for the database, in milliseconds; defaults to 10,000. */
  patience?: number | undefined;
}

/**
 * Refreshes a token, even if the refresh token is single use and several workers refresh it at the same
 * time: one worker wins, and all of them continue with its result.
 *
 * `refresh` receives the stored credentials and asks the CRM for new ones. It is not called if the stored
 * version already differs from the caller's. If it throws, another worker may have used up the refresh
 * token, so this function waits up to `patience` for that worker's credentials. Several workers may ask the CRM
 * at the same time: if it penalises that, hold your own lock around the call.
 *
 * If `refresh` returns a refusal for good, nobody waits: the connection is put in error at once, with the reason,
 * unless another worker has refreshed meanwhile. Return one only for an answer that a token would not get because
 * another worker has just used it up, such as `invalid_client` or `unauthorized_client` (RFC 6749, section 5.2); of
 * `invalid_grant` only if nobody but the holder of the connection's run refreshes its token.
 *
 * The result of `refresh` exists nowhere else, so as much of it as possible is stored: unknown fields and
 * invalid optional ones are dropped, an expiry that is invalid or not in the future is stored as unknown, and
 * storing is retried for up to `patience` while the database cannot be reached. {@link tokenExpiresAt} reads the
 * expiry from a token answer.
 *
 * Do not call this inside a longer transaction: other workers could not see the new credentials, and a
 * rollback would lose them for good.
 *
 * @returns the credentials to continue with
 * @throws whatever `refresh` throws, if no other worker has refreshed in the meantime; you may then mark the
 *   connection with `connectionSetStatus` and this version
 * @throws CrmSchemaError `credentials_refused` if the CRM refuses for good; `account_changed` if the new
 *   credentials are for another account, in which case they are not stored; `connection_not_live`, `invalid_input`,
 *   and as `credentialsGet` and `credentialsReplace`
 *
 * @example
 * ```ts
 * import type { ConnectionKey } from '@nurturehub/crm-schema';
 * import { credentialsRefresh, type KeyRing, tokenExpiresAt } from '@nurturehub/crm-schema/credentials';
 * import type pg from 'pg';
 *
 * // Your request to the CRM's token endpoint.
 * type Ask = (refreshToken: string) => Promise<{ access: string; refresh: string; expiresIn?: unknown }>;
 *
 * // The access token of an agency that has signed in at Reapit, instead of the one of `version`, which has expired.
 * export async function refresh(pool: pg.Pool, keys: KeyRing, connection: ConnectionKey, version: number, ask: Ask) {
 *   const { credentials } = await credentialsRefresh(pool, keys, {
 *     ...connection,
 *     provider: 'reapit',
 *     credentialsVersion: version,
 *     async refresh({ credentials }) {
 *       if (credentials.grant !== 'authorization_code') return { refused: 'The agency has to sign in at Reapit.' };
 *       const { access, refresh, expiresIn } = await ask(credentials.refreshToken);
 *       return {
 *         credentials: { ...credentials, accessToken: access, refreshToken: refresh },
 *         credentialsExpiresAt: tokenExpiresAt('reapit', expiresIn),
 *       };
 *     },
 *   });
 *   return credentials;
 * }
 * ```
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
  let answer: NewCredentials<P> | RefreshRefusal;
  try {
    answer = await refresh(current);
  } catch (error) {
    const refreshedByOther = await retryUntil(patience, async () => {
      // Ignore errors here: the CRM's error is the one to report.
      const latest = await readStored().catch(() => current);
      return isOtherVersion(latest) ? latest : undefined;
    });
    if (refreshedByOther === undefined) throw error;
    return refreshedByOther;
  }
  if (typeof answer !== 'object' || answer === null) {
    refuse({ field: 'refresh' }, 'must return new credentials, { credentials }, or a refusal, { refused }');
  }
  if (isRefusal(answer)) {
    await markRefused(client, { ...owner, credentialsVersion }, answer, patience);
    return readStored();
  }
  const salvaged = salvage(provider, answer);
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

/** New credentials exist nowhere else, so they are never taken for a refusal. */
function isRefusal<P extends Provider>(answer: NewCredentials<P> | RefreshRefusal): answer is RefreshRefusal {
  return 'refused' in answer && (!('credentials' in answer) || answer.credentials == null);
}

/**
 * Puts the connection in error. Returns only if another worker has refreshed the credentials meanwhile.
 *
 * @throws CrmSchemaError `credentials_refused` otherwise, also if the database cannot be reached for `patience`;
 *   `connection_not_live`
 */
async function markRefused(
  client: Queryable,
  version: ConnectionSetStatusParams,
  { refused }: RefreshRefusal,
  patience: number,
): Promise<void> {
  const reason = storableReason(refused);
  let failure: unknown;
  const isSuperseded = await retryUntil(patience, async () => {
    try {
      await connectionSetStatus(client, { ...version, status: 'error', reason });
      return false;
    } catch (error) {
      if (error instanceof CrmSchemaError && error.code === 'credentials_superseded') return true;
      if (error instanceof CrmSchemaError) throw error;
      failure = error;
      return undefined;
    }
  });
  if (isSuperseded) return;
  const said = isSuperseded === false ? '' : ' The connection could not be put in error.';
  throw new CrmSchemaError(
    'credentials_refused',
    `${reason === unstatedReason ? reason : `The CRM refuses to refresh the credentials: ${reason}`}${said}`,
    isSuperseded === false ? {} : { cause: failure },
  );
}

const unstatedReason = 'The CRM refuses to refresh the credentials.';

/** A reason that can be stored. It must not be the reason why nobody hears of a refusal. */
function storableReason(refused: unknown): string {
  const text =
    typeof refused === 'string' ? refused.replaceAll('\0', '').replace(/\p{Surrogate}/gu, '\ufffd') : '';
  const reason = [...text.trim()].slice(0, 500).join('');
  return reason === '' ? unstatedReason : reason;
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
    const credentialsExpiresAt = timestampParameter({ field: 'credentialsExpiresAt' }, expiresAt);
    // New credentials that had expired already would be refreshed for ever: the CRM told no expiry.
    return Date.parse(credentialsExpiresAt) > Date.now()
      ? { credentials, credentialsExpiresAt }
      : { credentials };
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
