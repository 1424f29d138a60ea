/**
 * Receives webhooks: a CRM's notification makes its connection due, and a worker syncs it within seconds.
 * The receiver reads nothing from the notification, so it needs no adapter and trusts no content. A repeated
 * or replayed notification is harmless: any number of them before the next sync are one sync.
 *
 *   WEBHOOK_SECRET=… DATABASE_URL=postgres://… npx tsx webhook-receiver.ts
 *
 * Its database user is a member of crm_app. Give the CRM this URL and, as the secret to sign with,
 * `webhookSecret(…)` of the connection, so that no agency can sign for another:
 *   POST /webhooks/<organisation id>/<connection id>    x-signature: sha256=<HMAC-SHA256 of the body, in hex>
 *
 *   202 the connection is due    401 wrong signature          410 the connection is disconnected
 *   404 no such connection       413 more than 64 KiB         503 the database is unavailable: try again later
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pathToFileURL } from 'node:url';
import {
  type ConnectionKey,
  CrmSchemaError,
  connectionGet,
  connectionRequestSync,
  withOrganisation,
} from '@nurturehub/crm-schema';
import pg from 'pg';

const longestBody = 65_536;
const uuid = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const route = new RegExp(`^/webhooks/(${uuid})/(${uuid})$`);

/** The secret of one connection, in hex, derived from the receiver's own. */
export function webhookSecret(secret: string, { organisationId, connectionId }: ConnectionKey): string {
  return createHmac('sha256', secret).update(`${organisationId}/${connectionId}`).digest('hex');
}

/** A server that is not listening yet. */
export function createReceiver(pool: pg.Pool, secret: string): Server {
  const server = createServer((request, response) => {
    receive(pool, secret, request, response).catch((error) => {
      // Never the error itself: its message may quote a connection string or a value.
      console.error(`Webhook not handled: ${error.name} ${error.code ?? ''}`.trim());
      // What the schema refuses is our mistake; anything else is the database's, and may pass.
      if (error instanceof CrmSchemaError) answer(response, 500);
      else answer(response, 503, { 'retry-after': '30' });
    });
  });
  // A sender slower than this occupies a connection to no purpose.
  server.requestTimeout = 10_000;
  server.headersTimeout = 5_000;
  return server;
}

async function receive(pool: pg.Pool, secret: string, request: IncomingMessage, response: ServerResponse) {
  const [, organisationId = '', connectionId = ''] = route.exec(request.url ?? '') ?? [];
  if (organisationId === '') return answer(response, 404);
  if (request.method !== 'POST') return answer(response, 405, { allow: 'POST' });
  const body = await read(request).catch(() => undefined);
  // The sender gave up before the end of the body.
  if (body === undefined) return response.destroy();
  if (body === 'too long') return answer(response, 413, { connection: 'close' });

  const key = { organisationId, connectionId };
  // Before the database is queried, so that no one without the secret can learn which connections exist.
  if (!isSigned(body, webhookSecret(secret, key), request.headers['x-signature']))
    return answer(response, 401);
  return answer(response, await withOrganisation(pool, organisationId, (client) => makeDue(client, key)));
}

/** Makes a connection due; returns the status to answer with. */
async function makeDue(client: pg.ClientBase, key: ConnectionKey): Promise<number> {
  const { organisationId, connectionId } = key;
  const changed = await connectionRequestSync(client, { organisationId, connectionIds: [connectionId] });
  if (changed.length > 0) return 202;
  // Nothing changed: a sync is requested already, or there is none to request.
  const connection = await connectionGet(client, key);
  if (connection === null) return 404;
  return connection.status === 'disconnected' ? 410 : 202;
}

/** Reads a body, up to the limit. */
async function read(request: IncomingMessage): Promise<Buffer | 'too long'> {
  if (Number(request.headers['content-length']) > longestBody) return 'too long';
  const chunks: Buffer[] = [];
  let length = 0;
  // Not destroyed on return: the sender still gets an answer.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    length += chunk.length;
    if (length > longestBody) return 'too long';
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Compares in constant time, so that a forger learns nothing from how long it takes. */
function isSigned(body: Buffer, secret: string, header: string | string[] | undefined): boolean {
  const [, hex = ''] = /^sha256=([0-9a-f]{64})$/.exec(String(header)) ?? [];
  const expected = createHmac('sha256', secret).update(body).digest();
  const given = Buffer.from(hex, 'hex');
  return given.length === expected.length && timingSafeEqual(given, expected);
}

function answer(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-length': '0', ...headers }).end();
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { DATABASE_URL, WEBHOOK_SECRET = '', PORT = '8080' } = process.env;
  if (WEBHOOK_SECRET.length < 32) {
    console.error('Set WEBHOOK_SECRET to at least 32 random characters.');
    process.exit(2);
  }
  // A webhook gets its answer in seconds, even while a worker has the connection locked.
  const pool = new pg.Pool({
    connectionString: DATABASE_URL,
    connectionTimeoutMillis: 2_000,
    statement_timeout: 3_000,
  });
  // Without a listener, losing an idle connection would end the process.
  pool.on('error', () => {});
  createReceiver(pool, WEBHOOK_SECRET).listen(Number(PORT), () => console.log(`Listening on port ${PORT}.`));
}
