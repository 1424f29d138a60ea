/**
 * Shows an agency its connections: their state, what to do next, what failed lately and why, the last thirty days, and
 * the ids of a contact in each CRM. Plain HTML, without scripts.
 *
 *   ORGANISATION=<an organisation's id> DATABASE_URL=postgres://… npx tsx health-page/server.ts
 *
 * Its database user is a member of crm_app, and may read the names of contacts. `withOrganisation` restricts each
 * request to one organisation, whatever ids the address has.
 *
 * Nobody signs in here: started like this, it shows that one organisation to whoever can open it, which is this computer
 * alone, on loopback (PORT, 8080 by default). In your application, replace `organisationOf` by your own sign-in.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pathToFileURL } from 'node:url';
import { CrmSchemaError, withOrganisation } from '@nurturehub/crm-schema';
import pg from 'pg';
import { connectionPage } from './connection-page.js';
import { connectionsPage } from './connections-page.js';
import { contactPage } from './contact-page.js';
import { findContact } from './find-form.js';
import { type Agency, contactNames, type Host } from './host.js';
import { html } from './html.js';
import { contentSecurityPolicy, type Page, pageOf } from './layout.js';

/** In milliseconds. A slower sender holds a connection for nothing. Node checks only at this interval. */
const limits = { headersTimeout: 5_000, requestTimeout: 10_000, connectionsCheckingInterval: 1_000 };

/** A server that is not listening yet. `clock` is the time that pages are of. */
export function createHealthPage(pool: pg.Pool, host: Host, clock = () => new Date()): Server {
  const server = createServer(limits, (request, response) => {
    handle(pool, host, clock(), request, response).catch((error) => {
      // Never the error itself: its message may quote a connection string or a value.
      console.error(`Page not shown: ${error.name} ${error.code ?? ''}`.trim());
      // What the schema refuses is our mistake. Anything else is the database's: it may pass, but 42501 lacks a grant.
      answer(response, error instanceof CrmSchemaError ? mistake : unavailable);
    });
  });
  server.maxConnections = 1_000;
  return server;
}

async function handle(
  pool: pg.Pool,
  host: Host,
  now: Date,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD');
    return answer(response, notAllowed);
  }
  const agency = await host.organisationOf(request);
  if (agency === undefined) return answer(response, signedOut);
  const page = await withOrganisation(pool, agency.id, async (client) => {
    // Set here and not for the pool, because PgBouncer refuses it as a startup parameter.
    await client.query("set local statement_timeout = '5s'");
    return route(client, agency.id, request.url ?? '', host, now);
  });
  if (typeof page === 'string') response.setHeader('location', page);
  return answer(response, typeof page === 'string' ? moved : (page ?? notFound), agency);
}

const uuid = '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
const connectionPath = new RegExp(`^/connections/(${uuid})$`);
const contactPath = new RegExp(`^/contacts/(${uuid})$`);

/** The page at an address; text is an address to go to instead; undefined if there is none. */
async function route(
  client: pg.PoolClient,
  organisationId: string,
  url: string,
  host: Host,
  now: Date,
): Promise<Page | string | undefined> {
  const [path = '', query] = url.split('?', 2);
  if (path === '/') return connectionsPage(client, organisationId, host, now);
  const [, connectionId] = connectionPath.exec(path) ?? [];
  if (connectionId !== undefined) return connectionPage(client, organisationId, connectionId, host, now);
  const [, contactId] = contactPath.exec(path) ?? [];
  if (contactId !== undefined) return contactPage(client, organisationId, contactId, host, now);
  if (path !== '/find') return undefined;
  const found = await findContact(client, organisationId, new URLSearchParams(query));
  return found === null ? nobody : `/contacts/${found}`;
}

const back = html`<p><a href="/">Back to your connections</a></p>`;
const message = (status: number, title: string, text: string): Page => ({
  status,
  title,
  body: html`<p>${text}</p>${status !== 401 && back}`,
});
const notFound = message(404, 'Page not found', 'There is no such page. It may have been removed.');
const nobody = message(
  404,
  'No contact found',
  'None of your contacts has this id. Check the CRM, the kind of record and the capitals.',
);
const notAllowed = message(405, 'This page only shows', 'Nothing can be changed here.');
const signedOut = message(
  401,
  'Please sign in',
  'You are signed out. Sign in to NurtureHub, and open this page again.',
);
const mistake = message(
  500,
  'Something went wrong',
  'The mistake is ours. Our support can find out what it was.',
);
const unavailable = message(
  503,
  'Please try again',
  'The connections cannot be shown now. Try again in a minute.',
);
const moved = message(303, 'Found', 'The contact is on another page.');

function answer(response: ServerResponse, page: Page, agency?: Agency): void {
  const { status = 200 } = page;
  if (status === 503) response.setHeader('retry-after', '60');
  response
    .writeHead(status, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': contentSecurityPolicy,
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    })
    .end(pageOf(page, agency?.name));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { DATABASE_URL, ORGANISATION, PORT = '8080' } = process.env;
  if (!ORGANISATION) {
    console.error("Set ORGANISATION to an organisation's id.");
    process.exit(2);
  }
  const pool = new pg.Pool({ connectionString: DATABASE_URL, connectionTimeoutMillis: 2_000 });
  // Without a listener, losing an idle connection would end the process.
  pool.on('error', () => {});
  const agency = { id: ORGANISATION, name: 'Your agency' };
  const host: Host = { organisationOf: async () => agency, contactNames };
  createHealthPage(pool, host).listen(Number(PORT), '127.0.0.1', () =>
    console.log(`Listening on port ${PORT}.`),
  );
}
