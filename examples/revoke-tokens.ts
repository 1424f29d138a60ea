// Revokes the tokens of connections that were disconnected with `revokeWithinSeconds`, before they are wiped.
import {
  type CredentialsToRevoke,
  credentialsClaimRevocation,
  credentialsRevoked,
  type KeyRing,
} from '@nurturehub/crm-schema/credentials';
import type pg from 'pg';

/** What a worker needs in order to revoke tokens. */
export interface Revocation {
  keys: KeyRing;
  /** Asks the CRM to revoke the credentials. Returns also if the CRM says that they are not valid any more. */
  revoke(waiting: CredentialsToRevoke): Promise<void>;
}

/** Revokes the credentials whose time ends first; if the CRM fails, they are claimed again later. Returns false if none wait. */
export async function revokeNext(pool: pg.Pool, { keys, revoke }: Revocation): Promise<boolean> {
  const waiting = await credentialsClaimRevocation(pool, keys);
  if (waiting === null) return false;
  await revoke(waiting);
  await credentialsRevoked(pool, waiting);
  return true;
}
