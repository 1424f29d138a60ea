import { randomUUID } from 'node:crypto';
import {
  type ConnectionCredentials,
  type ConnectionKey,
  connectionConnect,
  connectionGetCredentials,
} from '../connections.js';
import { notLive } from '../errors.js';
import * as queries from '../generated/credentials.js';
import type { Queryable } from '../prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { Provider, Timestamp, TimestampInput } from '../types.js';
import { checkConnectionKey, checkVersion } from '../validation.js';
import { decryptCredentials, encryptCredentials, type OwnerOf } from './encryption.js';
import type { KeyRing } from './key-ring.js';
import type { Credentials } from './providers.js';

/** The decrypted credentials of one connection, and what is known of them. */
export type StoredCredentials<P extends Provider = Provider> = P extends Provider
  ? Omit<ConnectionCredentials, 'provider' | 'credentials'> & {
      provider: P;
      /** Not shown by `console.log`, `util.inspect` and `JSON.stringify`; a copy by spread is. */
      credentials: Credentials<P>;
    }
  : never;

/** New credentials. */
export interface NewCredentials<P extends Provider> {
  credentials: Credentials<P>;
  /** When the access token inside expires, if that is known; readable without decrypting. */
  credentialsExpiresAt?: TimestampInput | null | undefined;
}

/**
 * What became of new credentials. `superseded`: others were stored since the version that the caller
 * went by, and nothing was changed; read them and go on with them.
 */
export interface ReplaceOutcome {
  outcome: 'replaced' | 'superseded';
  /** What the version is now. */
  credentialsVersion: number;
}

/**
 * Connects a CRM: one new, active connection, its credentials encrypted under the ring's current key.
 *
 * @param params.connectionId a UUID; a new one if not given
 * @throws CrmSchemaError `invalid_credentials`, naming the field and never its value;
 *   `live_connection_exists`, `connection_exists`, `unknown_organisation`, `unknown_provider`, `invalid_input`
 */
export async function credentialsConnect<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: { organisationId: string; connectionId?: string | undefined; provider: P } & NewCredentials<P>,
): Promise<{ connectionId: string; connectedAt: Timestamp }> {
  const { organisationId, connectionId = randomUUID(), provider, credentialsExpiresAt } = params;
  const owner = { organisationId, connectionId, provider };
  const credentials = await encryptCredentials(keys, owner, params.credentials);
  const { connectedAt } = await connectionConnect(client, { ...owner, credentials, credentialsExpiresAt });
  return { connectionId, connectedAt };
}

/**
 * The decrypted credentials of a live connection; null if the organisation has no such live connection.
 *
 * @param params.provider which CRM the caller takes it for: makes the type precise, and refuses others
 * @throws CrmSchemaError `credentials_bound_elsewhere` if the connection is to another CRM;
 *   `unknown_key`, `key_cannot_decrypt`, `credentials_not_authentic`, `invalid_credentials`, `invalid_input`
 */
export async function credentialsGet<P extends Provider = Provider>(
  client: Queryable,
  keys: KeyRing,
  params: ConnectionKey & { provider?: P | undefined },
): Promise<StoredCredentials<P> | null> {
  const { organisationId, connectionId } = params;
  const row = await connectionGetCredentials(client, { organisationId, connectionId });
  if (row === null) return null;
  const owner = { organisationId, connectionId, provider: params.provider ?? row.provider };
  const credentials = await decryptCredentials(keys, owner, row.credentials);
  return { ...row, credentials } as StoredCredentials<P>;
}

/**
 * Replaces the credentials of a live connection, if they are still those of the version that the
 * caller read: of several that replace the same version exactly one does. The status stays as it is.
 *
 * @param params.credentialsVersion of `credentialsGet`, or of `connectionGet` where nothing can be decrypted
 * @throws CrmSchemaError `connection_not_live`; `credentials_bound_elsewhere` if the connection is to
 *   another CRM; `invalid_credentials`, naming the field and never its value; `invalid_input`
 */
export async function credentialsReplace<P extends Provider>(
  client: Queryable,
  keys: KeyRing,
  params: OwnerOf<P> & { credentialsVersion: number } & NewCredentials<P>,
): Promise<ReplaceOutcome> {
  const { organisationId, connectionId, provider, credentialsVersion } = params;
  checkConnectionKey(params);
  checkVersion(credentialsVersion);
  const expiresAt = params.credentialsExpiresAt ?? null;
  const credentialsExpiresAt =
    expiresAt === null ? null : timestampParameter({ field: 'credentialsExpiresAt' }, expiresAt);
  const { header, ...members } = await encryptCredentials(
    keys,
    { organisationId, connectionId, provider },
    params.credentials,
  );
  const [row] = await queries.credentialsReplace.run(
    {
      organisationId,
      connectionId,
      credentialsVersion,
      credentials: { ...members, header: { ...header } },
      credentialsExpiresAt,
    },
    client,
  );
  if (row === undefined || row.outcome === 'disconnected') return notLive();
  return row as ReplaceOutcome;
}
