import pg from 'pg';
import { afterAll, beforeAll } from 'vitest';
import { contactNames, type Host } from '../../examples/health-page/host.js';
import { createHealthPage } from '../../examples/health-page/server.js';
import type { ConnectionKey, Provider, SyncError } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, insert, type Tenant, type TestDatabase } from '../support/database.js';
import { start } from '../support/http-server.js';
import { useMember } from '../support/roles.js';

/** The time of every page here, on the database's clock too: a Monday. */
export const now = '2026-11-16T09:30:00Z';

/** The page over a database, for the agency that a request's header `x-agency` names. */
export function usePage(database: TestDatabase) {
  const members = useMember(database, 'crm_app');
  const app = new pg.Pool({
    connectionString: members.options.connectionString as string,
    options: `-c crm_schema.now=${now}`,
  });
  app.on('error', () => {});
  beforeAll(async () => {
    await database.pool.query('grant select (name) on contacts to crm_app');
  });
  afterAll(() => app.end());
  const host: Host = {
    organisationOf: async ({ headers }) =>
      headers['x-agency'] === undefined
        ? undefined
        : { id: String(headers['x-agency']), name: 'Pumpernickel & Sons' },
    contactNames,
  };

  return {
    app,
    host,

    /** Gets a path, as somebody of this agency. */
    async get(path: string, agency?: string, init: RequestInit = {}): Promise<Response> {
      const url = await start(createHealthPage(app, host, () => new Date(now)));
      const headers: Record<string, string> = agency === undefined ? {} : { 'x-agency': agency };
      return fetch(url + path, { redirect: 'manual', ...init, headers });
    },
  };
}

/** An agency with three contacts and one connection, which has synced a minute ago and is not due. */
export interface ConnectedAgency extends Tenant, ConnectionKey {}

/** Connects a CRM for a new agency, or for this one. */
export async function connectedAgency(
  pool: pg.Pool,
  { provider = 'reapit', of }: { provider?: Provider; of?: Tenant } = {},
): Promise<ConnectedAgency> {
  const tenant = of ?? (await createTenant(pool, 3));
  const key = await connect(pool, tenant.organisationId, provider);
  await set(
    pool,
    key,
    "connected_at = '2026-11-01 09:00Z', last_success_at = '2026-11-16 09:29Z', next_sync_at = '2026-11-16 09:44Z'",
  );
  return { ...tenant, ...key };
}

/** Sets columns of a connection's row at the time of the pages: a pause that is over by the real clock would be removed. */
export async function set(pool: pg.Pool, { connectionId }: ConnectionKey, columns: string): Promise<void> {
  await pool.query(
    `set local crm_schema.now = '${now}'; update crm_connections set ${columns} where id = '${connectionId}'`,
  );
}

/** An error of a kind. Its message must not be on any page. */
export function errorOf(kind: SyncError['kind']): SyncError {
  return { kind, retryable: true, message: 'HTTP 418 from upstream', code: 'E-418' };
}

/** Inserts the connection's last run. */
export async function insertRun(
  pool: pg.Pool,
  { organisationId, connectionId }: ConnectionKey,
  end: { outcome: 'failed'; error: SyncError } | { outcome: 'abandoned' | 'success' } | null,
): Promise<void> {
  await insert(pool, 'crm_sync_runs', {
    organisation_id: organisationId,
    connection_id: connectionId,
    worker: 'test',
    started_at: '2026-11-16T09:28:00Z',
    heartbeat_at: '2026-11-16T09:28:00Z',
    expires_at: '2026-11-16T09:38:00Z',
    ...(end === null ? {} : { ended_at: '2026-11-16T09:29:00Z', ...end }),
  });
}

/** The text of HTML as a reader sees it. */
export function textOf(page: string): string {
  return page
    .replace(/<(style|title)>[\s\S]*?<\/\1>/g, '')
    .replace(/<\/?(span|strong|a)\b[^>]*>/g, '')
    .replace(/<[^>]+>/g, '\n')
    .replaceAll('&#39;', "'")
    .replaceAll('&quot;', '"')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&amp;', '&')
    .replace(/[ \t]+/g, ' ')
    .replace(/\s*\n\s*/g, '\n')
    .trim();
}
