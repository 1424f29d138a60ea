// Signs in to Reapit for one connection, refreshing its token if that is due, as a member of crm_worker. Any
// number of workers may do so at once, though a refresh token works only once. It wants a connection whose credentials have
// the grant authorization_code, and the URL of a token endpoint (RFC 6749, section 6).
//   CRM_SCHEMA_KEYS=keys.json DATABASE_URL=postgres://… TOKEN_URL=https://… \
//     npx tsx refresh-token.ts <organisation id> <connection id>
import { connectionSetStatus } from '@nurturehub/crm-schema';
import {
  credentialsCheckKeys,
  credentialsGet,
  credentialsRefresh,
  KeyRing,
  type NewCredentials,
  type StoredCredentials,
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

// At start: a key ring that is missing, malformed or too small is found now, not in the middle of a sync.
const keys = await KeyRing.load();
await credentialsCheckKeys(pool, keys);

/** The CRM said that it will not have this refresh token. */
class RefreshRefused extends Error {}

interface TokenAnswer {
  access_token: string;
  /** Without one, the old one goes on working. */
  refresh_token?: string;
  /** Seconds. */
  expires_in: number;
}

/** Asks the CRM for a new access token. */
async function refresh({ credentials }: StoredCredentials<'reapit'>): Promise<NewCredentials<'reapit'>> {
  if (credentials.grant !== 'authorization_code') throw new Error('These credentials have no refresh token.');
  const { id, secret } = credentials.client ?? { id: CLIENT_ID, secret: CLIENT_SECRET };
  const response = await fetch(TOKEN_URL as string, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
    body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: credentials.refreshToken }),
    signal: AbortSignal.timeout(10_000),
  });
  if (response.status === 400 || response.status === 401) throw new RefreshRefused('Refused.');
  if (!response.ok) throw new Error(`The token endpoint answers ${response.status}.`);
  const answer = (await response.json()) as TokenAnswer;
  return {
    credentials: {
      ...credentials,
      accessToken: answer.access_token,
      refreshToken: answer.refresh_token ?? credentials.refreshToken,
    },
    credentialsExpiresAt: new Date(Date.now() + answer.expires_in * 1000),
  };
}

/** Credentials whose access token is good for another minute; undefined if an agent of the agency has to act. */
async function signIn(): Promise<StoredCredentials<'reapit'> | undefined> {
  const stored = await credentialsGet(pool, keys, connection);
  if (stored === null) throw new Error('The organisation has no such live connection.');
  const { credentialsVersion, credentialsExpiresAt } = stored;
  if (credentialsExpiresAt !== null && Date.parse(credentialsExpiresAt) > Date.now() + 60_000) return stored;
  try {
    return await credentialsRefresh(pool, keys, { ...connection, credentialsVersion, refresh });
  } catch (error) {
    if (!(error instanceof RefreshRefused)) throw error;
    // With the version: should another worker have refreshed after all, this changes nothing.
    const reason = 'Reapit wants the agency to consent again: reconnect it.';
    await connectionSetStatus(pool, { ...connection, status: 'error', reason, credentialsVersion });
    return undefined;
  }
}

try {
  const signedIn = await signIn();
  if (signedIn === undefined) process.exitCode = 1;
  console.log(signedIn ? `Signed in until ${signedIn.credentialsExpiresAt}.` : 'Not signed in.');
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
} finally {
  await pool.end();
}
