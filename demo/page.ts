import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import type { Host } from '../examples/health-page/host.js';
import { createHealthPage } from '../examples/health-page/server.js';
import {
  connectionListWithHealth,
  connectionRequestSync,
  type SyncError,
  syncRunClaim,
  syncRunFinish,
} from '../src/index.js';
import { puddlewickAgentos } from './connections.js';
import { agencies, contacts, puddlewick } from './people.js';
import type { DemoDatabase } from './server.js';
import { weekStart } from './week.js';

/** Sunday evening, when the week is over. The database's clock and the page's stand still then. */
const evening = '2026-11-22T17:55:00Z';

/** A page that is being shown. */
export interface ShownPage {
  readonly url: string;
  /** Says where it is. */
  readonly description: string;
  close(): Promise<void>;
}

/** Stops the clock before the week is played, so that no time on the page is later than its story. */
export async function prepareForPage(client: pg.ClientBase): Promise<void> {
  await client.query("select set_config('crm_schema.now', $1, false)", [evening]);
}

/** Shows examples/health-page/ on loopback, for one agency: nobody signs in. */
export async function servePage({ client, url }: Pick<DemoDatabase, 'client' | 'url'>): Promise<ShownPage> {
  await syncAll(client);
  // Row-level security applies, as for the application's user. Setting the role creates no user to be removed afterwards.
  const options = `-c role=crm_app -c crm_schema.now=${evening}`;
  const pool = new pg.Pool({ connectionString: url, options, connectionTimeoutMillis: 10_000 });
  pool.on('error', () => {});
  const server = createHealthPage(pool, host, () => new Date(evening)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return {
    url: address,
    description: `${puddlewick.name} on Sunday evening:  ${address}\nTo end it:  Ctrl-C, which also removes the database`,
    async close() {
      server.closeAllConnections();
      server.close();
      await pool.end();
    },
  };
}

/** The agency is always the same: an application would take it from its session. */
const host: Host = {
  organisationOf: async () => puddlewick,
  contactNames: async (_, organisationId, contactIds) =>
    new Map(
      contacts
        .filter((contact) => contact.organisationId === organisationId && contactIds.includes(contact.id))
        .map(({ id, name }) => [id, name]),
    ),
};

const refused: SyncError = {
  kind: 'auth',
  retryable: false,
  message: 'agentOS rejected the API key. Create a new one there.',
  code: '401',
};

/** A worker's turn after the imports of the week: it finds nothing new, and agentOS still refuses the key. */
async function syncAll(client: pg.ClientBase): Promise<void> {
  for (const { id: organisationId } of agencies) {
    const live = await connectionListWithHealth(client, {
      organisationId,
      failuresSince: weekStart,
      isLive: true,
    });
    const connectionIds = live.map(({ connectionId }) => connectionId);
    await connectionRequestSync(client, { organisationId, connectionIds });
  }
  for (const run of await syncRunClaim(client, { worker: 'demo', limit: 100 })) {
    const isRefused = run.connectionId === puddlewickAgentos.connectionId;
    const end = isRefused
      ? ({ outcome: 'failed', error: refused } as const)
      : ({ outcome: 'success' } as const);
    await syncRunFinish(client, { ...run, ...end });
  }
}
