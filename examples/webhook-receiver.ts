/**
 * Receives webhooks: a CRM's notification makes its connection due, and a worker syncs it within seconds. There are
 * two ways to name the connection:
 *
 * - A CRM that takes a URL for each agency gets one that names the connection. The receiver reads nothing from the
 *   notification, so it needs no adapter and trusts no content.
 * - A CRM that has one webhook for all agencies, such as Reapit, names the account and the record in the
 *   notification. The next run reads that record first. It is asked for only by its id: nothing else of the
 *   notification is trusted.
 *
 * Any number of notifications before the next sync are one sync. But somebody who replays one after each sync keeps
 * the connection due and spends the CRM's rate limit: if the CRM can sign a timestamp, check that it is recent.
 *
 *   WEBHOOK_SECRET=… DATABASE_URL=postgres://… npx tsx webhook-receiver.ts
 *
 * To rotate the secret, move it to OLD_WEBHOOK_SECRET and set a new WEBHOOK_SECRET. The receiver accepts both.
 * Remove the old one when every CRM signs with the new one.
 *
 * It speaks HTTP without TLS, on loopback (PORT, 8080 by default): put a proxy in front, or set HOST.
 * Its database user is a member of crm_app. Give the CRM this URL and, as the secret to sign with,
 * `webhookSecret(…)` of the connection, so that no agency can sign for another:
 *   POST /webhooks/<organisation id>/<connection id>    x-signature: sha256=<HMAC-SHA256 of the body, in hex>
 *
 * For a webhook of all agencies, its database user is a member of crm_worker, which sees all organisations; the secret
 * is `webhookSecret(…)` of the CRM:
 *   POST /webhooks/reapit    {"customerId": "OXF", "entityType": "contact", "entityId": "OXF18000001"}
 *
 *   202 the connection is due    400 not a notification       410 the connection is disconnected
 *   401 wrong signature          404 no such connection       503 the database is unavailable: try again later
 *   413 more than 64 KiB
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pathToFileURL } from 'node:url';
import {
  type ConnectionKey,
  CrmSchemaError,
  connectionGet,
  connectionListLiveByAccount,
  connectionRequestSync,
  type Provider,
  providers,
  type RequestedRecord,
  recordRequestAdd,
  toExternalId,
  withOrganisation,
} from '@nurturehub/crm-schema';
import pg from 'pg';

const longestBody = 65_536;
const uuid = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
/** In milliseconds. A slower sender holds a connection for nothing. Node checks only at this interval. */
const limits = { headersTimeout: 5_000, requestTimeout: 10_000, connectionsCheckingInterval: 1_000 };
const routeOfConnection = new RegExp(`^/webhooks/(${uuid})/(${uuid})$`);
const routeOfCrm = new RegExp(`^/webhooks/(${providers.join('|')})$`);

/** The secret of one connection, or of a CRM that has one webhook for all, in hex, derived from the receiver's own. */
export function webhookSecret(secret: string, signer: ConnectionKey | Provider): string {
  const name = typeof signer === 'string' ? signer : `${signer.organisationId}/${signer.connectionId}`;
  return createHmac('sha256', secret).update(name).digest('hex');
}

/** What a webhook of all agencies says. */
interface Notification {
  account: string;
  record: RequestedRecord;
}

/** Reads a notification of Reapit's form; undefined if it is not one. Each CRM has its own form. */
function readNotification(body: Buffer): Notification | undefined {
  try {
    const { customerId, entityType, entityId } = JSON.parse(body.toString('utf8'));
    if (typeof customerId !== 'string' || typeof entityType !== 'string') return undefined;
    return { account: customerId, record: { entityType, externalId: toExternalId(entityId) } };
  } catch {
    return undefined;
  }
}

/**
 * A server that is not listening yet.
 *
 * @param secrets the receiver's own: one, or during a rotation the new one and the old one
 */
export function createReceiver(pool: pg.Pool, ...secrets: string[]): Server {
  const server = createServer(limits, (request, response) => {
    receive(pool, secrets, request, response).catch((error) => {
      // Never the error itself: its message may quote a connection string or a value.
      console.error(`Webhook not handled: ${error.name} ${error.code ?? ''}`.trim());
      // What the schema refuses is our mistake; anything else is the database's, and may pass.
      if (error instanceof CrmSchemaError) answer(response, 500);
      else answer(response, 503, { 'retry-after': '30' });
    });
  });
  server.maxConnections = 1_000;
  return server;
}

async function receive(
  pool: pg.Pool,
  secrets: readonly string[],
  request: IncomingMessage,
  response: ServerResponse,
) {
  const [, provider] = routeOfCrm.exec(request.url ?? '') ?? [];
  const [, organisationId = '', connectionId = ''] = routeOfConnection.exec(request.url ?? '') ?? [];
  if (provider === undefined && organisationId === '') return answer(response, 404);
  if (request.method !== 'POST') return answer(response, 405, { allow: 'POST' });
  const body = await read(request).catch(() => undefined);
  // The sender gave up before the end of the body.
  if (body === undefined) return response.destroy();
  if (body === 'too long') return answer(response, 413, { connection: 'close' });

  const key = { organisationId, connectionId };
  const signer = provider === undefined ? key : (provider as Provider);
  // Before the database is queried, so that no one without the secret can learn which connections exist.
  const signature = request.headers['x-signature'];
  if (!secrets.some((secret) => isSigned(body, webhookSecret(secret, signer), signature)))
    return answer(response, 401);
  if (typeof signer === 'string') {
    const notification = readNotification(body);
    if (notification === undefined) return answer(response, 400);
    return answer(response, await askForRecord(pool, signer, notification));
  }
  return answer(response, await withOrganisation(pool, organisationId, (client) => makeDue(client, key)));
}

/** Makes a connection due; returns the status to answer with. */
async function makeDue(client: pg.ClientBase, key: ConnectionKey): Promise<number> {
  const { organisationId, connectionId } = key;
  // A webhook gets its answer in seconds, even while a worker has the connection locked. Set here and not for
  // the pool, because PgBouncer refuses it as a startup parameter.
  await client.query("set local statement_timeout = '3s'");
  const changed = await connectionRequestSync(client, { organisationId, connectionIds: [connectionId] });
  if (changed.length > 0) return 202;
  // Nothing changed: a sync is requested already, or there is none to request.
  const connection = await connectionGet(client, key);
  if (connection === null) return 404;
  return connection.status === 'disconnected' ? 410 : 202;
}

/** Asks for a record of each connection to an account; returns the status to answer with. */
async function askForRecord(
  pool: pg.Pool,
  provider: Provider,
  { account, record }: Notification,
): Promise<number> {
  // Usually one; several only for a sandbox.
  const connections = await connectionListLiveByAccount(pool, { provider, account });
  for (const { organisationId, connectionId } of connections) {
    await withOrganisation(pool, organisationId, async (client) => {
      await client.query("set local statement_timeout = '3s'");
      await recordRequestAdd(client, { organisationId, connectionId, records: [record] });
    }).catch((error) => {
      // Disconnected since it was listed: there is nothing left to read.
      if (!(error instanceof CrmSchemaError && error.code === 'connection_not_live')) throw error;
    });
  }
  return connections.length === 0 ? 404 : 202;
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
  const {
    DATABASE_URL,
    WEBHOOK_SECRET = '',
    OLD_WEBHOOK_SECRET,
    HOST = '127.0.0.1',
    PORT = '8080',
  } = process.env;
  const secrets = [WEBHOOK_SECRET, ...(OLD_WEBHOOK_SECRET ? [OLD_WEBHOOK_SECRET] : [])];
  if (secrets.some((secret) => secret.length < 32)) {
    console.error('Set WEBHOOK_SECRET to at least 32 random characters.');
    process.exit(2);
  }
  const pool = new pg.Pool({ connectionString: DATABASE_URL, connectionTimeoutMillis: 2_000 });
  // Without a listener, losing an idle connection would end the process.
  pool.on('error', () => {});
  createReceiver(pool, ...secrets).listen(Number(PORT), HOST, () =>
    console.log(`Listening on port ${PORT}.`),
  );
}
