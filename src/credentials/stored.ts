import { randomUUID } from 'node:crypto';
import {
  type ConnectionCredentials,
  connectionConnect,
  connectionGetCredentials,
} from '../connections/connections.js';
import { jsonParameter } from '../connections/encrypted-credentials.js';
import { CrmSchemaError, notLive } from '../errors.js';
import * as queries from '../generated/credentials.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { expiryParameter } from '../timestamps.js';
import type { Provider, Timestamp, TimestampInput } from '../types.js';
import { checkProvider, checkVersion } from '../validation.js';
import { decryptCredentials, encryptCredentials, type OwnerOf } from './encryption.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';
import type { Credentials } from './providers.js';

/** What is stored of a connection to one CRM, decrypted. */
export interface StoredCredentialsOf<P extends Provider>
  extends Omit<ConnectionCredentials, 'provider' | 'credentials'> {
  /** Which CRM. */
  provider: P;
  /** Not shown by `console.log`, `util.inspect` and `JSON.stringify`; a copy by spread is. */
  credentials: Credentials<P>;
}

/** The decrypted credentials of one connection, and what is known of them; to be told apart by `provider`. */
export type StoredCredentials<P extends Provider = Provider> = { [Each in P]: StoredCredentialsOf<Each> }[P];

/** New credentials. */
export interface NewCredentials<P extends Provider> {
  /** Not encrypted yet. */
  credentials: Credentials<P>;
  /** When the access token in these credentials expires; null, or not given, if it does not, or if that is not known. */
  credentialsExpiresAt?: TimestampInput | null | undefined;
}

/** One CRM and new credentials of its own. */
export interface ProviderCredentialsOf<P extends Provider> extends NewCredentials<P> {
  /** Which CRM. */
  provider: P;
}

/** A CRM and new credentials of its own; to be told apart by `provider`. */
export type ProviderCredentials<P extends Provider = Provider> = {
  [Each in P]: ProviderCredentialsOf<Each>;
}[P];

/** What became of new credentials. */
export interface ReplaceOutcome {
  /**
   * `superseded`: others were stored since the version that the caller went by, and nothing was changed; read
   * them and go on with them.
   */
  outcome: 'replaced' | 'superseded';
  /** What the version is now. */
  credentialsVersion: number;
}

/** What {@link credentialsConnect} takes besides the CRM and its credentials. */
export interface CredentialsConnectParams {
  /** Who connects: a UUID. */
  organisationId: string;
  /** A UUID; a new one if not given. */
  connectionId?: string | undefined;
}

/** A connection that was just made. */
export interface NewConnection {
  /** A UUID, in lower case. */
  connectionId: string;
  /** When the database made it. */
  connectedAt: Timestamp;
}

/**
 * Connects a CRM: one new, active connection, its credentials encrypted under the ring's current key.
 *
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value;
 *   `live_connection_exists`, `connection_exists`, `unknown_organisation`, `unknown_provider`, `invalid_input`
 */
export async function credentialsConnect<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: CredentialsConnectParams & ProviderCredentials<P>,
): Promise<NewConnection> {
  const { organisationId, connectionId = randomUUID(), provider } = params;
  checkConnectionKey({ organisationId, connectionId });
  const owner = { organisationId, connectionId: connectionId.toLowerCase(), provider };
  const credentials = await encryptCredentials(keys, owner, params.credentials);
  const { credentialsExpiresAt } = params;
  const { connectedAt } = await connectionConnect(client, { ...owner, credentials, credentialsExpiresAt });
  return { connectionId: owner.connectionId, connectedAt };
}

/**
 * The decrypted credentials of a live connection; null if the organisation has no such live connection.
 * With a `provider`, which CRM the caller takes it for, the type is precise, and others are refused.
 *
 * @throws CrmSchemaError `credentials_bound_elsewhere` if the connection is to another CRM;
 *   `unknown_key`, `key_cannot_decrypt`, `credentials_not_authentic`, `invalid_credentials`, `invalid_input`
 */
export async function credentialsGet<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: OwnerOf<P>,
): Promise<StoredCredentials<P> | null>;
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
  const { organisationId, connectionId } = params;
  checkKeyRing(keys);
  if (params.provider !== undefined) checkProvider({ field: 'provider' }, params.provider);
  const row = await connectionGetCredentials(client, { organisationId, connectionId });
  if (row === null) return null;
  const { provider } = row;
  if (params.provider !== undefined && params.provider !== provider) otherProvider(params.provider);
  const credentials = await decryptCredentials(
    keys,
    { organisationId, connectionId, provider },
    row.credentials,
  );
  return { ...row, credentials } as StoredCredentials;
}

/** What {@link credentialsReplace} takes besides the CRM and its new credentials. */
export interface CredentialsReplaceParams extends ConnectionKey {
  /** The version that is replaced: of `credentialsGet`, or of `connectionGet` where nothing can be decrypted. */
  credentialsVersion: number;
}

/**
 * Replaces the credentials of a live connection, if they are still those of the version that the
 * caller read: of several that replace the same version exactly one does. The status stays as it is;
 * once the CRM has taken the new ones, `connectionSetStatus` makes the connection `active`.
 *
 * The session has to be at READ COMMITTED, PostgreSQL's default: above it, a loser gets 40001.
 *
 * @throws CrmSchemaError `connection_not_live`; `credentials_bound_elsewhere` if the connection is to
 *   another CRM; `invalid_credentials`, naming the field and never its value; `invalid_input`
 */
export async function credentialsReplace<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: CredentialsReplaceParams & ProviderCredentials<P>,
): Promise<ReplaceOutcome> {
  const { organisationId, connectionId, provider, credentialsVersion } = params;
  checkConnectionKey(params);
  checkVersion(credentialsVersion);
  const credentialsExpiresAt = expiryParameter(params.credentialsExpiresAt);
  const owner = { organisationId, connectionId, provider };
  const encrypted = await encryptCredentials(keys, owner, params.credentials);
  const [row] = await queries.credentialsReplace.run(
    { ...owner, credentialsVersion, credentials: jsonParameter(encrypted), credentialsExpiresAt },
    client,
  );
  if (row === undefined || row.outcome === 'disconnected') return notLive();
  if (row.outcome === 'other_provider') otherProvider(provider);
  return row as ReplaceOutcome;
}

function otherProvider(provider: Provider): never {
  throw new CrmSchemaError(
    'credentials_bound_elsewhere',
    `The connection is to another CRM than ${provider}.`,
  );
}
