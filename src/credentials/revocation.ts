import * as queries from '../generated/credentials.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { EncryptedCredentials, Provider, Timestamp } from '../types.js';
import { checkClaimedProviders, checkParameter } from '../validation.js';
import type { Credentials } from './credential-checks.js';
import { decryptCredentials } from './encryption.js';
import { checkKeyRing, type KeyRing } from './key-ring.js';

/** The credentials of a disconnected connection, which wait to be revoked at its CRM. */
export interface CredentialsToRevokeOf<P extends Provider> extends ConnectionKey {
  /** The CRM. */
  provider: P;
  /** The account at the CRM; null if unknown. */
  account: string | null;
  /** Hidden from `console.log`, `util.inspect` and `JSON.stringify`; a copy made with spread is not. */
  credentials: Credentials<P>;
  /** When they are wiped at the latest. */
  revokeBeforeAt: Timestamp;
}

/** The credentials of a disconnected connection, which wait to be revoked; discriminated by `provider`. */
export type CredentialsToRevoke = { [Each in Provider]: CredentialsToRevokeOf<Each> }[Provider];

/**
 * Claims the credentials of a connection that was disconnected with `revokeWithinSeconds`: those whose time ends
 * first. Ask the CRM to revoke them, then call {@link credentialsRevoked}, also if the CRM says that they are not
 * valid any more. If you don't, they are claimed again after five minutes, until their time is over; then the next
 * claim of a run (`syncRunSweep`) wipes them.
 *
 * @returns null if none wait
 * @throws CrmSchemaError `unknown_key`, `key_cannot_decrypt`, `credentials_not_authentic`, `invalid_credentials`:
 *   the next call claims others; `unknown_provider`, `invalid_input`
 */
export async function credentialsClaimRevocation(
  client: Queryable,
  keys: KeyRing,
  options: {
    /** The CRMs whose credentials are claimed: at least one; defaults to all. */
    providers?: readonly Provider[] | undefined;
  } = {},
): Promise<CredentialsToRevoke | null> {
  checkKeyRing(keys);
  checkParameter('options', options);
  const providers = checkClaimedProviders(options.providers);
  const [row] = await queries.credentialsClaimRevocation.run({ providers }, client);
  if (row === undefined) return null;
  const { organisationId, connectionId } = row;
  const owner = { organisationId, connectionId, provider: row.provider as Provider };
  const credentials = await decryptCredentials(
    keys,
    owner,
    row.credentials as unknown as EncryptedCredentials,
  );
  return { ...row, credentials } as CredentialsToRevoke;
}

/**
 * Records that the CRM has revoked a disconnected connection's token, and wipes its credentials.
 *
 * @returns whether a revocation had been asked for
 * @throws CrmSchemaError `invalid_input`
 */
export async function credentialsRevoked(client: Queryable, key: ConnectionKey): Promise<boolean> {
  checkConnectionKey(key, 'key');
  const rows = await queries.credentialsRevoked.run(key, client);
  return rows.length > 0;
}
