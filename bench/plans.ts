/**
 * Plans every query on 5 million events and a million mappings of skewed tenants, for three agencies and every role
 * that runs the query, and checks each plan against test/queries/plan-expectations.ts.
 *
 *   npm run plans              writes docs/plans.md; fails and names the query if a plan is not as expected
 *   npm run plans -- --small   does the same on a hundredth of the data, and writes nothing
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type pg from 'pg';
import {
  averageAgency,
  busyAgency,
  healthyAgency,
  loadBusyDatabase,
  type Size,
  tenantOf,
} from '../dev/busy-database/index.js';
import { createHostTables, migrate, projectPath, withClient } from '../dev/database.js';
import { startEmbeddedPostgres } from '../dev/embedded-postgres.js';
import { queryNames } from '../test/queries/every-query.js';
import {
  explain,
  explainAsText,
  indexesUsed,
  pagesTouched,
  planModes,
  problemsOf,
  rowsRead,
} from '../test/queries/explain.js';
import { callsOf } from '../test/queries/plan-calls.js';
import { rolesOf } from '../test/queries/plan-roles.js';
import { encryptCredentials } from '../test/support/credentials.js';
import { type Measurement, plansDocument } from './plans-document.js';

const { values: options } = parseArgs({ options: { small: { type: 'boolean', default: false } } });
const part = options.small ? 100 : 1;
const size: Size = {
  agencies: options.small ? 3_302 : 20_000,
  mappings: 1_000_000 / part,
  events: 5_000_000 / part,
  runs: 500_000 / part,
  failures: options.small ? 30_000 : 100_000,
  changes: options.small ? 30_000 : 100_000,
};

const server = await startEmbeddedPostgres('18', {
  settings: { shared_buffers: '1GB', max_wal_size: '8GB' },
});
try {
  await withClient(server.url, async (client) => {
    await createHostTables(client);
    await migrate(client);
    // The foreign keys of this data are valid, and checking them row by row takes most of the time.
    await client.query("set session_replication_role = 'replica'");
    const nobody = '00000000-0000-4000-8000-000000000000';
    const owner = { organisationId: nobody, connectionId: nobody, provider: 'reapit' } as const;
    await loadBusyDatabase(client, size, await encryptCredentials(owner));
    await client.query("set session_replication_role = 'origin'");

    const { rows } = await client.query("select current_setting('server_version') as version");
    const measurements = await measureAll(client);
    if (!options.small) {
      const document = await plansDocument(measurements, size, rows[0].version);
      await writeFile(projectPath('docs/plans.md'), document);
    }
  });
} finally {
  await server.stop();
}

/** Measures each query for each agency. Prints what is wrong with a plan, and makes the program fail. */
async function measureAll(client: pg.ClientBase): Promise<Measurement[]> {
  const tenants = [];
  for (const number of [busyAgency, healthyAgency, averageAgency]) {
    const tenant = await tenantOf(client, number);
    tenants.push({ tenant, call: await callsOf(tenant) });
  }
  const measurements: Measurement[] = [];
  for (const name of queryNames) {
    const shown = { name, mode: 'force_generic_plan', role: rolesOf(name)[1] ?? 'owner' } as const;
    const measurement: Measurement = { ...shown, indexes: [], text: '', sizes: [] };
    for (const { tenant, call } of tenants) {
      for (const role of rolesOf(name)) {
        for (const mode of planModes) {
          const run = { name, params: call(name), mode, role, tenant };
          // The first execution also reads the catalog.
          const text = await explainAsText(client, run);
          const plan = await explain(client, run);
          for (const problem of await problemsOf(client, name, plan, size)) {
            console.error(`${name}, ${role}, ${mode}: ${problem}`);
            process.exitCode = 1;
          }
          if (role !== shown.role || mode !== shown.mode) continue;
          measurement.sizes.push({
            returned: plan['Actual Rows'] ?? 0,
            read: rowsRead(plan),
            pages: pagesTouched(plan),
          });
          if (measurement.text === '') {
            measurement.text = text;
            measurement.indexes = await indexesUsed(client, plan);
          }
        }
      }
    }
    console.log(name.padEnd(34), measurement.sizes.map(({ pages }) => pages).join(' '));
    measurements.push(measurement);
  }
  return measurements;
}
