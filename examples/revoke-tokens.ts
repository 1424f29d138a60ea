// Revokes the tokens of connections that were disconnected with `revokeWithinSeconds`, before they are wiped.
import { once } from 'node:events';
import type { Provider } from '@nurturehub/crm-schema';
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
  /** The CRMs that `revoke` can ask; omit it if it can ask each. */
  providers?: readonly Provider[] | undefined;
  /** Asks the CRM to revoke the credentials. Returns also if the CRM says that they are not valid any more. */
  revoke(waiting: CredentialsToRevoke): Promise<void>;
}

/**
 * Revokes the credentials whose time ends first. If the CRM fails, or the worker is told to stop before it answers, they
 * are claimed again later. Returns false if none wait.
 */
export async function revokeNext(
  pool: pg.Pool,
  { keys, providers, revoke }: Revocation,
  signal: AbortSignal,
): Promise<boolean> {
  const waiting = await credentialsClaimRevocation(pool, keys, { providers });
  if (waiting === null || signal.aborted) return false;
  const over = new AbortController();
  try {
    await Promise.race([revoke(waiting), once(signal, 'abort', { signal: over.signal })]);
  } finally {
    over.abort();
  }
  if (signal.aborted) return false;
  await credentialsRevoked(pool, waiting);
  return true;
}
