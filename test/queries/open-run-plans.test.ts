import { beforeAll, describe, expect, test } from 'vitest';
import {
  averageAgency,
  loadAgencies,
  loadRuns,
  settle,
  type Tenant,
  tenantOf,
} from '../../dev/busy-database/index.js';
import { encryptCredentials } from '../support/credentials.js';
import { useDatabase } from '../support/database.js';
import { type QueryName, queries, queryNames } from './every-query.js';
import { explain, pagesTouched, planModes, rowsRead } from './explain.js';
import { callsOf } from './plan-calls.js';
import { rolesOf } from './plan-roles.js';

// Autovacuum analyses a table when it has changed enough, which may be at night. Statistics that know of no open run
// make every index of open runs look as if it held one row; then a statement that looks for the run of one connection
// must not read those of all.

const { pool } = useDatabase();

/** How many connections are being synced at once. */
const connections = 3_002;
let tenant: Tenant;

/** Statements that are about the runs of all connections. */
const aboutAll: readonly QueryName[] = [
  'connectionTotalWork',
  'syncRunCheckHousekeeping',
  'syncRunPurge',
  'syncRunSweep',
];
const statements = queryNames.filter(
  (name) => /\bcrm_sync_runs\b/.test(queries[name].text) && !aboutAll.includes(name),
);

beforeAll(async () => {
  const client = await pool.connect();
  try {
    const nobody = '00000000-0000-4000-8000-000000000000';
    const credentials = { organisationId: nobody, connectionId: nobody, provider: 'reapit' as const };
    const size = {
      agencies: connections,
      mappings: connections,
      events: 0,
      runs: 10_000,
      failures: 0,
      changes: 0,
    };
    await client.query('alter table crm_sync_runs set (autovacuum_enabled = off)');
    await loadAgencies(client, size, await encryptCredentials(credentials));
    await loadRuns(client, size);
    await settle(client);
    await client.query(
      `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at)
       select organisation_id, id, 'worker-7c9f', now(), now(), now() + interval '1 day'
       from crm_connections`,
    );
    // Twenty connections are due.
    await client.query(`update crm_connections set next_sync_at = now() + interval '1 day'`);
    await client.query(
      `with due as (
         update crm_connections set next_sync_at = now()
         where (organisation_id, id) in (select organisation_id, connection_id from agency where number between 100 and 119)
         returning id
       )
       delete from crm_sync_runs where ended_at is null and connection_id in (select id from due)`,
    );
    // As NurtureHub does.
    await client.query('grant select on contacts to crm_app, crm_worker');
    tenant = await tenantOf(client, averageAgency);
  } finally {
    client.release();
  }
});

describe('with statistics that know of no open run', () => {
  test.each(statements)('%s reads the run of its connection, in every role', async (name) => {
    const call = await callsOf(tenant);
    const client = await pool.connect();
    try {
      for (const role of rolesOf(name)) {
        for (const mode of planModes) {
          const run = { name, params: call(name), mode, role, tenant };
          // The first execution also reads the catalog.
          await explain(client, run);
          const plan = await explain(client, run);
          const read = { rows: rowsRead(plan) < 500, pages: pagesTouched(plan) < 500 };
          expect({ role, mode, ...read }, `${rowsRead(plan)} rows`).toEqual({
            role,
            mode,
            rows: true,
            pages: true,
          });
        }
      }
    } finally {
      client.release();
    }
  });
});
