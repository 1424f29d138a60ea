// Signs in to Reapit for one connection and refreshes its token if necessary, as a member of crm_worker. Any
// number of workers may do so at the same time, although a refresh token works only once. It needs a connection
// whose credentials have the grant authorization_code, and the URL of a token endpoint (RFC 6749, section 6).
//   CRM_SCHEMA_KEYS=keys.json DATABASE_URL=postgres://… TOKEN_URL=https://… \
//     npx tsx refresh-token.ts <organisation id> <connection id>
import { CrmSchemaError, connectionSetStatus } from '@nurturehub/crm-schema';
import {
  credentialsCheckKeys,
  credentialsGet,
  credentialsRefresh,
  KeyRing,
  type NewCredentials,
  type RefreshRefusal,
  type StoredCredentials,
  tokenExpiresAt,
  tokenHasExpired,
} from '@nurturehub/crm-schema/credentials';
import pg from 'pg';

const [organisationId, connectionId] = process.argv.slice(2);
const { DATABASE_URL, TOKEN_URL, CLIENT_ID = '', CLIENT_SECRET = '' } = process.env;
if (organisationId === undefined || connectionId === undefined || TOKEN_URL === undefined) {
  console.error('Usage: TOKEN_URL=https://… refresh-token.ts <organisation id> <connection id>');
  process.exit(2);
}
const connection = { organisationId, connectionId, provider: 'reapit' } as const;
const pool = new pg.Pool({ connectionString: DATABASE_URL });

// At start, so that a missing, malformed or incomplete key ring is found now and not in the middle of a sync.
const keys = await KeyRing.load();
await credentialsCheckKeys(pool, keys);

/** The CRM rejected the refresh token. */
class RefreshRejected extends Error {}

interface TokenAnswer {
  access_token: string;
  /** If absent, the old one remains valid. */
  refresh_token?: string;
  /** In seconds. CRMs leave it out, or send 0 or null: tokenExpiresAt knows what to make of that. */
  expires_in?: number | null;
}

/**
 * The errors of RFC 6749, section 5.2, that no other worker can have caused. `invalid_grant` is not one: a refresh
 * token that another worker has just used gets the same answer as one that was revoked.
 */
const finalErrors = ['invalid_client', 'unauthorized_client', 'unsupported_grant_type'];

/** Requests a new access token from the CRM. */
async function refresh({
  credentials,
}: StoredCredentials<'reapit'>): Promise<NewCredentials<'reapit'> | RefreshRefusal> {
  if (credentials.grant !== 'authorization_code') throw new Error('These credentials have no refresh token.');
  const { id, secret } = credentials.client ?? { id: CLIENT_ID, secret: CLIENT_SECRET };
  const response = await fetch(TOKEN_URL as string, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
    body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: credentials.refreshToken }),
    signal: AbortSignal.timeout(10_000),
  });
  if (response.status === 400 || response.status === 401) {
    const { error } = (await response.json().catch(() => ({}))) as { error?: string };
    if (error !== undefined && finalErrors.includes(error))
      return { refused: `Reapit says ${error}: check the app.` };
    throw new RefreshRejected('The CRM rejected the refresh token.');
  }
  if (!response.ok) throw new Error(`The token endpoint answered ${response.status}. Try again later.`);
  const answer = (await response.json()) as TokenAnswer;
  return {
    credentials: {
      ...credentials,
      accessToken: answer.access_token,
      refreshToken: answer.refresh_token ?? credentials.refreshToken,
    },
    credentialsExpiresAt: tokenExpiresAt('reapit', answer.expires_in),
  };
}

/**
 * Returns credentials whose access token is valid for another minute, or whose expiry is unknown; undefined if the
 * agency must act.
 *
 * @param refusedVersion the version of credentials whose access token the CRM has just refused with 401, if any
 */
async function signIn(refusedVersion?: number): Promise<StoredCredentials<'reapit'> | undefined> {
  const stored = await credentialsGet(pool, keys, connection);
  if (stored === null) throw new Error('The organisation has no such live connection. Check both ids.');
  const { credentials, credentialsVersion } = stored;
  const isUsable = credentials.accessToken !== undefined && credentialsVersion !== refusedVersion;
  if (isUsable && !tokenHasExpired(stored)) return stored;
  try {
    return await credentialsRefresh(pool, keys, { ...connection, credentialsVersion, refresh });
  } catch (error) {
    // Refused for good: the connection is in error already.
    if (error instanceof CrmSchemaError && error.code === 'credentials_refused') return undefined;
    if (!(error instanceof RefreshRejected)) throw error;
    // With the version, so that this changes nothing if another worker has refreshed the token meanwhile.
    const reason = 'Reapit requires the agency to consent again. Reconnect it.';
    await connectionSetStatus(pool, { ...connection, status: 'error', reason, credentialsVersion });
    return undefined;
  }
}

try {
  const signedIn = await signIn();
  if (signedIn === undefined) process.exitCode = 1;
  console.log(
    signedIn
      ? `Signed in until ${signedIn.credentialsExpiresAt ?? 'the CRM refuses the token'}.`
      : 'Not signed in.',
  );
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
} finally {
  await pool.end();
}
