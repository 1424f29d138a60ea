/**
 * Shows an agency the health of its own connections, in words for people.
 *
 *   TENANTS=tenants.json DATABASE_URL=postgres://… npx tsx health-endpoint.ts
 *   curl --header "authorization: Bearer $TOKEN" localhost:8080/connections
 *
 * It speaks HTTP without TLS, on loopback (PORT, 8080 by default): put a proxy in front, or set HOST.
 * Its database user is a member of crm_app. The organisation comes from the token alone, and
 * `withOrganisation` restricts the transaction to it: neither a parameter nor a mistake in the query can
 * show another agency's connections. Replace `tenantsFrom` with your own sign-in; tenants.json is
 * `{ "<SHA-256 of a token, in hex>": "<organisation id>" }`.
 *
 *   200 the connections    401 no token, or an unknown one    503 the database is unavailable: try again later
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pathToFileURL } from 'node:url';
import {
  type ConnectionHealth,
  CrmSchemaError,
  connectionListWithHealth,
  type SyncErrorKind,
  withOrganisation,
} from '@nurturehub/crm-schema';
import pg from 'pg';

/** Returns the organisation of a token; undefined if there is none. */
export type Authenticate = (token: string) => Promise<string | undefined>;

/** In milliseconds. A slower sender holds a connection for nothing. Node checks only at this interval. */
const limits = { headersTimeout: 5_000, requestTimeout: 10_000, connectionsCheckingInterval: 1_000 };

/** A server that is not listening yet. */
export function createHealthServer(pool: pg.Pool, authenticate: Authenticate): Server {
  const server = createServer(limits, (request, response) => {
    handle(pool, authenticate, request, response).catch((error) => {
      // Never the error itself: its message may quote a connection string or a value.
      console.error(`Health not answered: ${error.name} ${error.code ?? ''}`.trim());
      // What the schema refuses is our mistake; anything else is the database's, and may pass.
      if (error instanceof CrmSchemaError) answer(response, 500, { error: 'Something went wrong.' });
      else answer(response, 503, { error: 'Try again in a minute.' }, { 'retry-after': '60' });
    });
  });
  server.maxConnections = 1_000;
  return server;
}

async function handle(
  pool: pg.Pool,
  authenticate: Authenticate,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.url?.replace(/\?.*/, '') !== '/connections')
    return answer(response, 404, { error: 'Not found.' });
  if (request.method !== 'GET') return answer(response, 405, { error: 'Use GET.' }, { allow: 'GET' });
  const [, token = ''] = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
  const organisationId = token === '' ? undefined : await authenticate(token);
  if (organisationId === undefined) {
    return answer(response, 401, { error: 'Sign in again.' }, { 'www-authenticate': 'Bearer' });
  }
  const failuresSince = new Date(Date.now() - 86_400_000);
  const connections = await withOrganisation(pool, organisationId, async (client) => {
    // Set here and not for the pool, because PgBouncer refuses it as a startup parameter.
    await client.query("set local statement_timeout = '5s'");
    return connectionListWithHealth(client, { organisationId, failuresSince });
  });
  return answer(response, 200, { connections: connections.map(inWords) });
}

/** What an agency needs to know. The CRM's own error messages stay in the log. */
function inWords(connection: ConnectionHealth) {
  const { provider, state, status, statusReason, pausedUntil, pauseReason, failingSince, failedSyncs } =
    connection;
  const { lastSuccessAt, runningSince, waitingChanges, givenUpRecords } = connection;
  // An error of a whole sync is more useful than one of a record.
  const error = connection.lastSyncError ?? connection.lastError;
  const at = connection.lastSyncError === null ? connection.lastFailureAt : connection.failingSince;
  return {
    crm: provider,
    state,
    summary: summaryOf(connection),
    // Not first: a connection is active until the streak of failures is long enough.
    status,
    reason: state === 'paused' ? pauseReason : statusReason,
    failedSyncs,
    failingSince,
    pausedUntil,
    isSyncing: runningSince !== null,
    lastSuccessAt,
    changesWaiting: waitingChanges,
    recordsToRepair: givenUpRecords,
    lastError: error === null ? null : { at, explanation: explanations[error.kind] },
  };
}

function summaryOf({ state, failedSyncs, pausedUntil }: ConnectionHealth): string {
  switch (state) {
    case 'active':
      return 'Connected.';
    case 'failing':
      return failedSyncs === 1
        ? 'The last sync failed. We will try again.'
        : `The last ${failedSyncs} syncs failed. We will try again.`;
    case 'error':
      return 'Needs attention.';
    case 'paused':
      return pausedUntil === null ? 'Paused.' : `Paused until ${pausedUntil}.`;
    case 'disconnected':
      return 'Disconnected.';
  }
}

const explanations: Record<SyncErrorKind, string> = {
  auth: 'The CRM rejected the sign-in. Reconnect it.',
  permission: 'The CRM denied access. Ask its administrator to allow it again.',
  rate_limited: 'The CRM asked us to slow down. We will try again.',
  conflict: 'A record is linked to another contact, or changed at both ends. Check it.',
  not_found: 'The CRM no longer has a record.',
  validation: 'The CRM rejected a value. Correct the contact.',
  timeout: 'The CRM did not answer in time. We will try again.',
  network: 'The CRM could not be reached. We will try again.',
  provider: 'The CRM reported an internal error.',
  internal: 'Something went wrong on our side.',
};

/**
 * Tokens are stored as hashes, so that whoever reads the file cannot sign in. This holds only for tokens with at
 * least 128 random bits, such as `openssl rand -hex 16` prints: shorter ones and passwords can be guessed.
 */
export function tenantsFrom(organisations: Record<string, string>): Authenticate {
  const byHash = new Map(Object.entries(organisations));
  return async (token) => byHash.get(createHash('sha256').update(token).digest('hex'));
}

function answer(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Record<string, string> = {},
): void {
  const type = { 'content-type': 'application/json', 'cache-control': 'no-store' };
  response.writeHead(status, { ...type, ...headers }).end(JSON.stringify(body));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { DATABASE_URL, TENANTS = 'tenants.json', HOST = '127.0.0.1', PORT = '8080' } = process.env;
  const pool = new pg.Pool({ connectionString: DATABASE_URL, connectionTimeoutMillis: 2_000 });
  // Without a listener, losing an idle connection would end the process.
  pool.on('error', () => {});
  const authenticate = tenantsFrom(JSON.parse(readFileSync(TENANTS, 'utf8')));
  createHealthServer(pool, authenticate).listen(Number(PORT), HOST, () =>
    console.log(`Listening on port ${PORT}.`),
  );
}
