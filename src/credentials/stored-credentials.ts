import { randomUUID } from 'node:crypto';
import { accountChanged, type SwitchedIds } from '../connections/accounts.js';
import {
  type AccountParams,
  type ConnectedCrm,
  type ConnectionCredentials,
  connectionConnect,
  connectionGetCredentials,
} from '../connections/connections.js';
import { encryptedCredentialsParameter, expiryParameter } from '../connections/encrypted-credentials.js';
import { CrmSchemaError, connectionNotLive } from '../errors.js';
import * as queries from '../generated/credentials.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider, TimestampInput } from '../types.js';
import { checkAccount, checkParameter, checkProvider, checkVersion } from '../validation.js';
import { credentialAccount } from './credential-account.js';
import type { Credentials } from './credential-checks.js';
import { decryptCredentials, encryptCredentials, type OwnerOf } from './encryption.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';

/** The decrypted credentials of a connection to one CRM, with their version and expiry. */
export interface StoredCredentialsOf<P extends Provider>
  extends Omit<ConnectionCredentials, 'provider' | 'credentials'> {
  /** The CRM. */
  provider: P;
  /** Hidden from `console.log`, `util.inspect` and `JSON.stringify`; a copy made with spread is not. */
  credentials: Credentials<P>;
}

/**
 * The decrypted credentials of one connection, with their version and expiry; discriminated by `provider`.
 */
export type StoredCredentials<P extends Provider = Provider> = { [Each in P]: StoredCredentialsOf<Each> }[P];

/** New credentials. */
export interface NewCredentials<P extends Provider> {
  /** In clear text. */
  credentials: Credentials<P>;
  /**
   * When the access token in these credentials expires; null or omitted if it does not expire or the time
   * is unknown.
   */
  credentialsExpiresAt?: TimestampInput | null | undefined;
}

/** New credentials for one CRM. */
export interface ProviderCredentialsOf<P extends Provider> extends NewCredentials<P> {
  /** The CRM. */
  provider: P;
}

/** New credentials for a CRM; discriminated by `provider`. */
export type ProviderCredentials<P extends Provider = Provider> = {
  [Each in P]: ProviderCredentialsOf<Each>;
}[P];

/** The outcome of a replacement; ids change places only if it sets the connection's account. */
export interface ReplaceOutcome extends SwitchedIds {
  /**
   * `superseded`: a newer version than the caller's was already stored, and nothing was changed; read it and
   * continue with it.
   */
  outcome: 'replaced' | 'superseded';
  /** The version now stored. */
  credentialsVersion: number;
}

/** The parameters of {@link credentialsConnect}, besides the CRM and its credentials. */
export interface CredentialsConnectParams extends AccountParams {
  /** The organisation's UUID. */
  organisationId: string;
  /** The connection's UUID; defaults to a new one. */
  connectionId?: string | undefined;
  /**
   * The CRM's own name of the account, as for `connectionConnect`; defaults to the one that the credentials
   * name (`credentialAccount`). Give it where they name none, or where several names are one account. Null:
   * unknown.
   */
  account?: string | null | undefined;
}

/** A new connection. */
export interface NewConnection extends ConnectedCrm {
  /** The connection's UUID, in lower case. */
  connectionId: string;
}

/**
 * Connects a CRM as `connectionConnect` does, with its credentials encrypted under the current key.
 *
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value;
 *   `account_unknown` if ids of an unknown account are present, and the account is known, but not what becomes of
 *   them; `live_connection_exists`, `connection_exists`, `unknown_organisation`, `unknown_provider`,
 *   `invalid_input`
 *
 * @example
 * ```ts
 * import { withOrganisation } from '@nurturehub/crm-schema';
 * import { credentialsConnect, KeyRing } from '@nurturehub/crm-schema/credentials';
 * import pg from 'pg';
 *
 * const pool = new pg.Pool(); // its user is a member of crm_app
 * const keys = await KeyRing.load(); // from CRM_SCHEMA_KEYS
 * const organisationId = '00000000-0000-4000-8000-000000000001';
 * const { connectionId } = await withOrganisation(pool, organisationId, (client) =>
 *   credentialsConnect(client, keys, {
 *     organisationId,
 *     provider: 'reapit',
 *     credentials: { grant: 'client_credentials', customer: 'SBOX' },
 *   }),
 * );
 * console.log(`Connected: ${connectionId}`);
 * ```
 */
export async function credentialsConnect<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: CredentialsConnectParams & ProviderCredentials<P>,
): Promise<NewConnection> {
  checkParameter('params', params);
  const { organisationId, connectionId = randomUUID(), provider } = params;
  checkConnectionKey({ organisationId, connectionId });
  const owner = { organisationId, connectionId: connectionId.toLowerCase(), provider };
  const credentials = await encryptCredentials(keys, owner, params.credentials);
  const { account = credentialAccount(provider, params.credentials), idsOfUnknownAccount } = params;
  const { credentialsExpiresAt } = params;
  const connected = await connectionConnect(client, {
    ...owner,
    credentials,
    credentialsExpiresAt,
    account,
    idsOfUnknownAccount,
  });
  return { connectionId: owner.connectionId, ...connected };
}

/**
 * Decrypts the credentials of a live connection; null if the organisation has no such live connection.
 * If the caller names the `provider`, the result has its type, and a connection to another CRM is refused.
 *
 * @throws CrmSchemaError `credentials_bound_elsewhere` if the connection is to another CRM;
 *   `unknown_key`, `key_cannot_decrypt`, `credentials_not_authentic`, `invalid_credentials`, `invalid_input`
 *
 * @example
 * ```ts
 * import type { ConnectionKey } from '@nurturehub/crm-schema';
 * import { credentialsGet, type KeyRing } from '@nurturehub/crm-schema/credentials';
 * import type pg from 'pg';
 *
 * // The token of a connection to Street, for a worker.
 * export async function tokenOf(pool: pg.Pool, keys: KeyRing, connection: ConnectionKey) {
 *   const stored = await credentialsGet(pool, keys, { ...connection, provider: 'street' });
 *   return stored?.credentials.token;
 * }
 * ```
 */
export async function credentialsGet<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: OwnerOf<P>,
): Promise<StoredCredentials<P> | null>;
/**
 * Decrypts the credentials of a live connection; null if the organisation has no such live connection.
 * If the caller names the `provider`, the result has its type, and a connection to another CRM is refused.
 *
 * @throws CrmSchemaError `credentials_bound_elsewhere` if the connection is to another CRM;
 *   `unknown_key`, `key_cannot_decrypt`, `credentials_not_authentic`, `invalid_credentials`, `invalid_input`
 */
export async function credentialsGet(
  client: Queryable,
  keys: KeyRing,
  params: ConnectionKey,
): Promise<StoredCredentials | null>;
export async function credentialsGet(
  client: Queryable,
  keys: KeyRing,
  params: ConnectionKey & { provider?: Provider },
): Promise<StoredCredentials | null> {
  checkKeyRing(keys);
  checkConnectionKey(params);
  const { organisationId, connectionId } = params;
  if (params.provider !== undefined) checkProvider({ field: 'provider' }, params.provider);
  const row = await connectionGetCredentials(client, { organisationId, connectionId });
  if (row === null) return null;
  const { provider } = row;
  if (params.provider !== undefined && params.provider !== provider) refuseOtherProvider(params.provider);
  const credentials = await decryptCredentials(
    keys,
    { organisationId, connectionId, provider },
    row.credentials,
  );
  return { ...row, credentials } as StoredCredentials;
}

/** The parameters of {@link credentialsReplace}, besides the CRM and its new credentials. */
export interface CredentialsReplaceParams extends ConnectionKey {
  /** The version to replace, from `credentialsGet`, or from `connectionGet` if you cannot decrypt. */
  credentialsVersion: number;
  /**
   * The account that the new credentials are for; defaults to the one that they name (`credentialAccount`).
   * Null: not compared with the connection's.
   */
  account?: string | null | undefined;
}

/**
 * Replaces the credentials of a live connection if they are still the version that the caller read: of
 * several callers that replace the same version, exactly one succeeds. Credentials of another account are
 * refused; an unknown account is set as by `connectionSetAccount`.
 *
 * A connection that is failing becomes due at once, however long it would still wait. Its status does not change: the
 * first successful sync makes it `active`. To store a token that a worker has refreshed, call `credentialsRefresh`,
 * which leaves the schedule as it is.
 *
 * The session must use READ COMMITTED, PostgreSQL's default: at a stricter level, the losers fail with 40001.
 *
 * @throws CrmSchemaError `account_changed` if the new credentials are for another account than the
 *   connection, in which case nothing is changed; `connection_not_live`; `credentials_bound_elsewhere` if the
 *   connection is to another CRM; `invalid_credentials`, naming the field and never its value; `invalid_input`
 */
export function credentialsReplace<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: CredentialsReplaceParams & ProviderCredentials<P>,
): Promise<ReplaceOutcome> {
  return storeCredentials(client, keys, params, { isRepair: true });
}

/** Replaces credentials as {@link credentialsReplace} does; as a repair, or as a part of the worker's routine. */
export async function storeCredentials<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: CredentialsReplaceParams & ProviderCredentials<P>,
  { isRepair }: { isRepair: boolean },
): Promise<ReplaceOutcome> {
  checkConnectionKey(params);
  const { organisationId, connectionId, provider, credentialsVersion } = params;
  checkVersion(credentialsVersion);
  const credentialsExpiresAt = expiryParameter(params.credentialsExpiresAt);
  const owner = { organisationId, connectionId, provider };
  const encrypted = await encryptCredentials(keys, owner, params.credentials);
  const { account = credentialAccount(provider, params.credentials) } = params;
  if (account !== null) checkAccount({ field: 'account' }, account);
  const [row] = await queries.credentialsReplace.run(
    {
      ...owner,
      credentialsVersion,
      account,
      credentials: encryptedCredentialsParameter(encrypted),
      credentialsExpiresAt,
      isRepair,
    },
    client,
  );
  if (row === undefined || row.outcome === 'disconnected') throw connectionNotLive();
  if (row.outcome === 'other_provider') refuseOtherProvider(provider);
  if (row.outcome === 'other_account') accountChanged();
  return row as ReplaceOutcome;
}

function refuseOtherProvider(provider: Provider): never {
  throw new CrmSchemaError(
    'credentials_bound_elsewhere',
    `The connection is to another CRM, not ${provider}.`,
  );
}
