import pg from 'pg';
import type { Size, Tenant } from '../../dev/busy-database/index.js';
import { type QueryName, queries } from './every-query.js';
import { expectations } from './plan-expectations.js';
import type { Role } from './plan-roles.js';

/** The parts of PostgreSQL's JSON plan node that are used here. */
export interface PlanNode {
  'Node Type': string;
  'Subplan Name'?: string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Shared Hit Blocks'?: number;
  'Shared Read Blocks'?: number;
  /** The planner's estimate. */
  'Total Cost'?: number;
  'Actual Rows'?: number;
  'Actual Loops'?: number;
  'Rows Removed by Filter'?: number;
  'Rows Removed by Index Recheck'?: number;
  'Rows Removed by Join Filter'?: number;
  Plans?: PlanNode[];
}

/** Whether the server plans for any values, as for a prepared statement in the end, or for the given ones. */
export type PlanMode = 'force_generic_plan' | 'force_custom_plan';

/** The ways in which the server plans a query. */
export const planModes: readonly PlanMode[] = ['force_generic_plan', 'force_custom_plan'];

/** How to run a query. */
export interface Run {
  name: QueryName;
  params: unknown[];
  mode: PlanMode;
  role: Role;
  /** The organisation that is set for `crm_app`. */
  tenant: Tenant;
}

/** Runs a query under `explain analyze`, rolls it back, and returns its plan. */
export async function explain(client: pg.ClientBase, run: Run): Promise<PlanNode> {
  const [row] = await explained<[{ Plan: PlanNode }]>(client, run, 'analyze, buffers, format json');
  return (row as { 'QUERY PLAN': [{ Plan: PlanNode }] })['QUERY PLAN'][0].Plan;
}

/** Returns the plan as text, without values that vary between executions. */
export async function explainAsText(client: pg.ClientBase, run: Run): Promise<string> {
  const rows = await explained<string>(
    client,
    run,
    'analyze, buffers off, costs off, timing off, summary off',
  );
  return rows.map((row) => row['QUERY PLAN']).join('\n');
}

async function explained<Plan>(client: pg.ClientBase, run: Run, options: string) {
  await client.query('begin');
  try {
    await client.query(`set local plan_cache_mode = '${run.mode}'`);
    const { organisationId, connectionId } = run.tenant;
    // The query only drops the work of a disconnected connection.
    if (run.name === 'connectionDropWork') {
      await client.query(
        `update crm_connections
         set status = 'disconnected', disconnected_at = now(), credentials = null
         where organisation_id = $1 and id = $2`,
        [organisationId, connectionId],
      );
    }
    // The query only looks at contacts once a fill is started.
    if (run.name === 'outboundFillContinue') {
      await client.query(
        'update crm_connections set fill_started_at = now(), filled_contacts = 0 where organisation_id = $1 and id = $2',
        [organisationId, connectionId],
      );
    }
    if (run.role !== 'owner') {
      await client.query("select set_config('crm_schema.organisation_id', $1, true)", [organisationId]);
      await client.query(`set local role ${run.role}`);
    }
    // Only a prepared statement can have a generic plan: `explain` with parameters plans for their values.
    await client.query(`prepare examined as ${queries[run.name].text}`);
    const params = run.params.length > 0 ? `(${run.params.map(literal).join(', ')})` : '';
    const { rows } = await client.query<{ 'QUERY PLAN': Plan }>(
      `explain (${options}) execute examined${params}`,
    );
    return rows;
  } finally {
    await client.query('rollback');
    await client.query('deallocate all');
  }
}

/** A value as a literal for `execute`. */
function literal(value: unknown): string {
  return value === null ? 'null' : pg.escapeLiteral(textOf(value));
}

function textOf(value: unknown): string {
  if (Array.isArray(value)) {
    const elements = value.map((element) => (element === null ? 'null' : JSON.stringify(textOf(element))));
    return `{${elements.join(',')}}`;
  }
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** The executed nodes of a plan. */
export function executed(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(executed)].filter((node) => node['Actual Loops'] !== 0);
}

/**
 * How many pages a plan touched. The root does not count CTEs that write and are not read: they run after it.
 */
export function pagesTouched(plan: PlanNode): number {
  return Math.max(
    ...executed(plan).map((node) => (node['Shared Hit Blocks'] ?? 0) + (node['Shared Read Blocks'] ?? 0)),
  );
}

/**
 * Above this estimated cost, the server compiles a statement before it runs it (`jit_above_cost`). For the largest of
 * ours that takes twenty seconds, on servers that have LLVM. The one of the tests has not.
 */
export const costThatCompiles = 100_000;

/** Parameters with an element for each contact or record of a batch. */
const batchParameters = ['contactIds', 'externalIds', 'internalIds', 'ids'];

/** How many rows a plan read from tables, including those that it discarded. */
export function rowsRead(plan: PlanNode): number {
  const scans = executed(plan).filter((node) => 'Relation Name' in node && /Scan$/.test(node['Node Type']));
  const rows = scans.map(
    (node) =>
      ((node['Actual Rows'] ?? 0) +
        (node['Rows Removed by Filter'] ?? 0) +
        (node['Rows Removed by Index Recheck'] ?? 0)) *
      (node['Actual Loops'] ?? 0),
  );
  return Math.round(rows.reduce((sum, count) => sum + count, 0));
}

/** How many pairs of rows a plan compared in vain: rows of one side that are read again for each of the other. */
export function pairsRejected(plan: PlanNode): number {
  const pairs = executed(plan).map(
    (node) => (node['Rows Removed by Join Filter'] ?? 0) * (node['Actual Loops'] ?? 0),
  );
  return Math.round(pairs.reduce((sum, count) => sum + count, 0));
}

/** The indexes that a plan used. Indexes of partitions have the name of the log's index. */
export async function indexesUsed(client: pg.ClientBase, plan: PlanNode): Promise<string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select distinct coalesce(parent.relname, index.relname) as name
     from pg_class as index
     left join pg_inherits on inhrelid = index.oid
     left join pg_class as parent on parent.oid = inhparent
     where index.relkind in ('i', 'I') and index.relname = any($1)
     order by 1`,
    [executed(plan).flatMap((node) => node['Index Name'] ?? [])],
  );
  return rows.map(({ name }) => name);
}

/**
 * Compares a plan with the expectations for its query, in a database of the given size. Returns the problems.
 */
export async function problemsOf(
  client: pg.ClientBase,
  name: QueryName,
  plan: PlanNode,
  size: Size,
): Promise<string[]> {
  const { indexes, buffers, scanned = [] } = expectations[name];
  const { rows: filled } = await client.query<{ name: string }>(
    'select relname as name from pg_class where relpages > 0',
  );
  const filledNames = filled.map((row) => row.name);
  const sequential = executed(plan)
    .filter((node) => node['Node Type'] === 'Seq Scan')
    .map((node) => node['Relation Name'] ?? '')
    // An empty partition has no pages to scan.
    .filter((relation) => filledNames.includes(relation) && !scanned.includes(relation));
  const used = await indexesUsed(client, plan);
  const strange = used.filter((index) => !indexes.includes(index));
  const isWithout = used.length === 0 && indexes.length > 0 && scanned.length === 0;
  const bound = typeof buffers === 'number' ? buffers : buffers(size);
  const pages = pagesTouched(plan);
  const cost = plan['Total Cost'] ?? 0;
  // The calls have batches of a hundred, and batches of a thousand are usual. Of an export, they are one person.
  const isBatch =
    queries[name].parameterNames.some((parameter) => batchParameters.includes(parameter)) &&
    !name.startsWith('contactExport');
  const costBound = isBatch ? costThatCompiles / 10 : costThatCompiles / 2;
  return [
    ...sequential.map((relation) => `scans ${relation} sequentially`),
    ...strange.map((index) => `uses ${index}`),
    ...(isWithout ? ['uses no index'] : []),
    ...(pages > bound ? [`touches ${pages} pages, more than ${bound}`] : []),
    ...(cost > costBound ? [`has an estimated cost of ${cost}, more than ${costBound}`] : []),
  ];
}
