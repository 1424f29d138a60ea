import { beforeAll, expect, test } from 'vitest';
import { averageAgency, loadAgencies, type Tenant, tenantOf } from '../../dev/busy-database/index.js';
import type { Provider } from '../../src/index.js';
import { encryptCredentials } from '../support/credentials.js';
import { useDatabase } from '../support/database.js';
import { queries } from './every-query.js';
import { executed, explain, type PlanNode, pagesTouched } from './explain.js';

const { pool } = useDatabase();

/** Many connections, and nothing else. */
const connections = 6_002;
/** How many of them are to Loop. */
const fewLast = 5;
let tenant: Tenant;

beforeAll(async () => {
  const client = await pool.connect();
  try {
    const nobody = '00000000-0000-4000-8000-000000000000';
    const credentials = { organisationId: nobody, connectionId: nobody, provider: 'reapit' as const };
    await loadAgencies(
      client,
      { agencies: connections, mappings: connections },
      await encryptCredentials(credentials),
    );
    tenant = await tenantOf(client, averageAgency);
    // All are due, mixed: a thousand to each CRM, but Loop has only a few, the last ones.
    await client.query(
      `update crm_connections
       set next_sync_at = now() - interval '1 hour' - abs(hashtext(id::text)::bigint) % 100000 * interval '1 second'`,
    );
    await client.query(
      `delete from crm_connections
       where provider = 'loop'
         and id not in (select id from crm_connections where provider = 'loop' order by id limit ${fewLast})`,
    );
    await client.query(
      "update crm_connections set next_sync_at = now() - interval '1 minute' where provider = 'loop'",
    );
    await client.query('vacuum (analyze) crm_connections, crm_sync_runs');
  } finally {
    client.release();
  }
});

const limit = 10;

/** The plan of a claim of ten connections to these CRMs, as a worker runs it. */
async function planFor(providers: Provider[] | null): Promise<PlanNode> {
  const values: Record<string, unknown> = { worker: 'test', leaseSeconds: 60, limit, providers };
  const params = queries.syncRunClaim.parameterNames.map((name) => values[name]);
  const client = await pool.connect();
  try {
    const run = {
      name: 'syncRunClaim',
      params,
      mode: 'force_custom_plan',
      role: 'crm_worker',
      tenant,
    } as const;
    // The first execution also reads the catalog.
    await explain(client, run);
    return await explain(client, run);
  } finally {
    client.release();
  }
}

/** The scan that finds what is due. */
function dueScan(plan: PlanNode): PlanNode {
  const scans = executed(plan).filter((node) => node['Index Name'] === 'crm_connections_next_sync_at_idx');
  expect(scans).toHaveLength(1);
  return scans[0] as PlanNode;
}

test('a claim for all CRMs reads as many due connections as its limit', async () => {
  const plan = await planFor(null);
  expect(dueScan(plan)).toMatchObject({ 'Actual Rows': limit });
  expect(dueScan(plan)['Rows Removed by Filter'] ?? 0).toBe(0);
  expect(pagesTouched(plan)).toBeLessThan(300);
});

test('a claim for one CRM of several stops at its limit, in the order of the index', async () => {
  const plan = await planFor(['reapit']);
  expect(dueScan(plan)).toMatchObject({ 'Actual Rows': limit });
  expect(dueScan(plan)['Rows Removed by Filter']).toBeLessThan(limit * 20);
  expect(pagesTouched(plan)).toBeLessThan(500);
});

test('a claim for a CRM with few connections, the last ones due, reads what is due and nothing else', async () => {
  const plan = await planFor(['loop']);
  const scan = dueScan(plan);
  expect(scan).toMatchObject({ 'Actual Rows': fewLast });
  expect(scan['Rows Removed by Filter']).toBeLessThan(connections);
  // A page of the table for each.
  expect(pagesTouched(plan)).toBeLessThan(connections * 1.5);
});
