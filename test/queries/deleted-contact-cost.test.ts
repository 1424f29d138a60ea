import { randomUUID } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import type { Tenant } from '../../dev/busy-database/index.js';
import { createTenant, useDatabase } from '../support/database.js';
import { executed, explain, pagesTouched, planModes } from './explain.js';
import { rolesOf } from './plan-roles.js';

const { pool } = useDatabase();
const batch = 100;
let tenant: Tenant;

beforeAll(async () => {
  await pool.query('alter table contact_external_id_changes set (autovacuum_enabled = off)');
  const addHistory = async (rows: number) => {
    const { organisationId } = await createTenant(pool);
    await pool.query(
      `insert into contact_external_id_changes (organisation_id, kind, provider, entity_type, external_id)
       select $1, case number % 3 when 0 then 'unlinked' else 'contact_deleted' end, 'reapit', 'contact',
         number % 10000
       from generate_series(1, $2::integer) as number`,
      [organisationId, rows],
    );
    return organisationId;
  };
  await addHistory(1_000);
  await pool.query('analyze contact_external_id_changes');
  const organisationId = await addHistory(30_000);
  tenant = {
    organisationId,
    connectionId: randomUUID(),
    provider: 'reapit',
    runId: '1',
    contacts: [],
    failureIds: [],
  };
});

test.each([
  ['while the statistics do not know the organisation', ''],
  ['once they do', 'analyze contact_external_id_changes'],
])(
  'externalRecordCheck reads one row of history per unknown record, by its index, %s',
  async (_, prepare) => {
    const client = await pool.connect();
    try {
      await client.query(prepare);
      const ids = Array.from({ length: batch }, (_, index) => `${index * 99 + 1}`);
      const params = [
        ids.map(() => 'contact'),
        ids,
        ids.map(() => null),
        ids.map(() => null),
        ids.map(() => 'active'),
        ids.map(() => null),
        ids.map(() => false),
        tenant.organisationId,
        tenant.provider,
      ];
      for (const role of rolesOf('externalRecordCheck')) {
        for (const mode of planModes) {
          const run = { name: 'externalRecordCheck', params, mode, role, tenant } as const;
          // The first execution also reads the catalog.
          await explain(client, run);
          const plan = await explain(client, run);
          const scans = executed(plan).filter(
            (node) => node['Relation Name'] === 'contact_external_id_changes',
          );
          const costs = scans.map((node) => ({
            index: node['Index Name'],
            rows: node['Actual Rows'],
            loops: node['Actual Loops'],
            discarded: node['Rows Removed by Filter'] ?? 0,
          }));
          const index = 'contact_external_id_changes_external_id_idx';
          expect({ role, mode, costs }).toEqual({
            role,
            mode,
            costs: [{ index, rows: 1, loops: batch, discarded: 0 }],
          });
          // Up to four pages of the index and the row, and as many for each of the two tables of ids.
          expect(pagesTouched(plan)).toBeLessThan(batch * 12);
        }
      }
    } finally {
      client.release();
    }
  },
);
