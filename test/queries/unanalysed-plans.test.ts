import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  busyAgency,
  loadUnanalysed,
  type Size,
  settle,
  type Tenant,
  tenantOf,
} from '../../dev/busy-database/index.js';
import { syncBatchRecord, syncRunClaim } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { type QueryName, queries, queryNames } from './every-query.js';
import {
  costThatCompiles,
  explain,
  type PlanNode,
  pagesTouched,
  pairsRejected,
  planModes,
  rowsRead,
} from './explain.js';
import { callsOf } from './plan-calls.js';
import { rolesOf } from './plan-roles.js';

// Statistics are wrong exactly when there is most to do: during a first sync, and after an agency has grown. A
// statement that joins a batch with a table must then read a few rows per element, however large the table is.

/** The busy agency has 9,000 contacts, mappings and changes, and 20,000 failures. */
const size: Size = {
  agencies: 302,
  mappings: 30_000,
  events: 1_000,
  runs: 5_000,
  failures: 24_000,
  changes: 24_000,
};
const batch = 100;
/** The maximum number of rows read, and of pairs of rows compared in vain, per element of a batch. */
const rowsEach = 10;
/**
 * The maximum number of pages touched per element. A change has five indexes and foreign keys to check; a re-pointed
 * id is deleted and inserted again, and looked for among the aliases and the records of erased people.
 */
const pagesEach = 45;

/** Statements that compare the elements of a batch with each other: at most 50 connections here. */
const comparesWithin: readonly QueryName[] = ['outboundChangeAnnounce'];
/** Statements whose limit is about something else than the rows they read. */
const exceptions: Partial<Record<QueryName, string>> = {
  recordRequestClaim: 'reads all that a connection has, which is about 1,000',
  credentialsListByKey: 'needs statistics, as its comment says: a rotation analyses the table first',
  syncFailureCountByKind: 'counts up to 1,000 of each kind',
};
/** The statements that take arrays, or a limit on the rows that they change or list. */
const statements = queryNames.filter(
  (name) => /unnest\(|any\(\s*\$|limit \$/.test(queries[name].text) && !(name in exceptions),
);

test('the statements with batches include those that sync runs most', () => {
  expect(statements).toEqual(
    expect.arrayContaining([
      'contactExternalIdLink',
      'contactExternalIdResolve',
      'outboundChangeClaim',
      'outboundChangeListWaiting',
      'syncBatchRecord',
      'syncFailureClaim',
      'syncFailureReplay',
    ]),
  );
});

describe.each([
  ['tables that were never analysed', loadUnanalysed],
  ['a busy agency that the statistics do not know', loadWithStaleStatistics],
])('with %s', (_, load) => {
  const { pool } = useDatabase();
  let tenant: Tenant;

  beforeAll(async () => {
    const client = await pool.connect();
    try {
      const nobody = '00000000-0000-4000-8000-000000000000';
      const key = { organisationId: nobody, connectionId: nobody, provider: 'reapit' as const };
      await load(client, size, await encryptCredentials(key));
      tenant = await tenantOf(client, busyAgency);
    } finally {
      client.release();
    }
  });

  test.each(statements)('%s reads a few rows per element, in every role', async (name) => {
    const call = await callsOf(tenant);
    await expectFewRows(name, call(name));
  });

  test('syncBatchRecord reads a few rows per push, in every role', async () => {
    const call = await callsOf(tenant);
    const { rows } = await pool.query<{ contact_id: string; version: string }>(
      'select contact_id, version from crm_outbound_changes where connection_id = $1 limit $2',
      [tenant.connectionId, batch],
    );
    const params = withValues('syncBatchRecord', call('syncBatchRecord'), {
      directions: rows.map(() => 'outbound'),
      internalIds: rows.map((row) => row.contact_id),
      changeVersions: rows.map(({ version }) => version),
      areLinks: rows.map(() => false),
    });
    await expectFewRows('syncBatchRecord', params);
  });

  async function expectFewRows(name: QueryName, params: unknown[]): Promise<void> {
    const client = await pool.connect();
    try {
      for (const role of rolesOf(name)) {
        for (const mode of planModes) {
          const run = { name, params, mode, role, tenant };
          // The first execution also reads the catalog.
          await explain(client, run);
          const plan = await explain(client, run);
          const { pairs, ...others } = excess(plan, batch);
          const isWithin = comparesWithin.includes(name) && (pairs ?? 0) <= batch * 50;
          expect({ role, mode, ...others, ...(isWithin ? {} : { pairs }) }).toEqual({ role, mode });
        }
      }
    } finally {
      client.release();
    }
  }
});

describe('with the tables of a first sync', () => {
  const { pool } = useDatabase();

  test('the thirtieth batch reads as few rows as the second, while one event in twenty fails', async () => {
    await pool.query('alter table crm_sync_failures set (autovacuum_enabled = off)');
    await pool.query('alter table crm_connections set (autovacuum_enabled = off)');
    await pool.query('alter table crm_sync_runs set (autovacuum_enabled = off)');
    const { organisationId } = await createTenant(pool);
    const { connectionId } = await connect(pool, organisationId, 'reapit');
    const [run] = await syncRunClaim(pool, { worker: 'test', leaseSeconds: 3_600 });
    const { runId = '' } = run ?? {};
    const recordBatch = (batchNumber: number) =>
      syncBatchRecord(pool, {
        organisationId,
        connectionId,
        runId,
        batchNumber,
        events: Array.from({ length: 1_000 }, (_, index) => ({
          direction: 'inbound',
          entityType: 'contact',
          externalId: `OXF${batchNumber * 1_000 + index}`,
          ...(index % 20 === 0
            ? { status: 'error', error: { kind: 'validation', retryable: true, message: 'No name.' } }
            : { status: 'success' }),
        })),
      });
    const contacts = Array.from({ length: 1_000 }, (_, index) => ({
      contactId: randomUUID(),
      externalId: `NEW${index}`,
    }));
    const tenant: Tenant = {
      organisationId,
      connectionId,
      provider: 'reapit',
      runId,
      contacts,
      failureIds: [],
    };
    const call = await callsOf(tenant);
    const client = await pool.connect();
    const planOfBatch = (batchNumber: number) =>
      explain(client, {
        name: 'syncBatchRecord',
        mode: 'force_custom_plan',
        role: 'owner',
        tenant,
        params: withValues('syncBatchRecord', call('syncBatchRecord'), {
          batchNumber,
          areLinks: contacts.map(() => false),
          cursorVersions: [0],
        }),
      });

    try {
      await recordBatch(1);
      const second = await planOfBatch(2);
      for (let batchNumber = 2; batchNumber < 30; batchNumber += 1) await recordBatch(batchNumber);
      const thirtieth = await planOfBatch(30);

      const { rows } = await pool.query('select count(*)::integer as failures from crm_sync_failures');
      expect(rows).toEqual([{ failures: 29 * 50 }]);
      expect(second['Total Cost']).toBeLessThan(costThatCompiles);
      expect(thirtieth['Total Cost']).toBeLessThan(costThatCompiles);
      expect(excess(second, 1_000)).toEqual({});
      expect(excess(thirtieth, 1_000)).toEqual({});
      // The few more are upper levels of the indexes, and pages of the catalog that were read anew. Without a bound, they
      // would be thousands.
      expect(pagesTouched(thirtieth)).toBeLessThan(1.5 * pagesTouched(second) + 50);
    } finally {
      client.release();
    }
  });
});

/** Returns the counts of a plan that exceed their limits. */
function excess(plan: PlanNode, elements: number): Record<string, number> {
  const found = { rows: rowsRead(plan), pairs: pairsRejected(plan), pages: pagesTouched(plan) };
  return Object.fromEntries(
    Object.entries(found).filter(
      ([kind, count]) => count > elements * (kind === 'pages' ? pagesEach : rowsEach),
    ),
  );
}

/** A query's parameters, some of them replaced. */
function withValues(name: QueryName, params: unknown[], values: Record<string, unknown>): unknown[] {
  return queries[name].parameterNames.map((parameter, index) => values[parameter] ?? params[index]);
}

/** Analyses while the busy agency has no rows in the tables that grow; then it gets them. */
async function loadWithStaleStatistics(
  client: pg.ClientBase,
  ofSize: Size,
  credentials: object,
): Promise<void> {
  await loadUnanalysed(client, ofSize, credentials);
  const { organisationId } = await tenantOf(client, busyAgency);
  const growing = ['contacts', 'contact_external_ids', 'crm_outbound_changes', 'crm_sync_failures'];
  const columns = new Map<string, string>();
  for (const table of growing.toReversed()) {
    const { rows } = await client.query<{ list: string }>(
      `select string_agg(quote_ident(attname), ', ' order by attnum) as list
       from pg_attribute
       where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''`,
      [table],
    );
    columns.set(table, rows[0]?.list ?? '');
    await client.query(
      `create temporary table aside_${table} as
       select ${columns.get(table)} from ${table} where organisation_id = '${organisationId}'`,
    );
    await client.query(`delete from ${table} where organisation_id = $1`, [organisationId]);
  }
  await settle(client);
  for (const table of growing) {
    await client.query(
      `insert into ${table} (${columns.get(table)}) overriding system value
       select ${columns.get(table)} from aside_${table}`,
    );
  }
}
