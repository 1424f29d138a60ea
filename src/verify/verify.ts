import { CrmSchemaError } from '../errors.js';
import { readAttached } from '../partitions/attached.js';
import { readWaitingEvents, type WaitingEvents } from '../partitions/waiting-events.js';
import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import { checkParameter, refuse } from '../validation.js';
import type { Difference } from './difference.js';
import { findDifferences } from './find-differences.js';
import { findInstallation, type Installation } from './installation.js';

export type { Difference, DifferenceKind } from './difference.js';

/** What `verify` found, and where. */
export interface Verification {
  /** The schema, quoted if SQL requires it. */
  schema: string;
  /** The owner of most of the tables. */
  owner: string;
  /** In the order in which to repair them; empty if the schema is up to date. */
  differences: Difference[];
  /**
   * The events in the log's catch-all partition: they are later than every month, so perhaps their times are wrong.
   * Null if there are none, or the user may not read it: only the owner of the log may. Not a difference.
   */
  waitingEvents: WaitingEvents | null;
}

/** What `verify` accepts as intended. */
export interface VerifyOptions {
  /** Roles of the host with intended privileges here, such as one for replication; none by default. */
  knownRoles?: readonly string[] | undefined;
  /**
   * The host's views, rules and functions that are meant to read with their owner's rights what is in the schema's tables,
   * as `verify` names them: `reporting.connections`, `reporting.count_events(uuid)`; none by default.
   */
  knownObjects?: readonly string[] | undefined;
  /** The host's indexes on the schema's tables, as `verify` names them: `public.runs_by_worker`; none by default. */
  knownIndexes?: readonly string[] | undefined;
}

/**
 * Compares the catalog with what the migrations of this version create, and reports drift. It checks:
 *
 * - tables, columns, defaults, constraints, row-level security, policies, functions, owners, privileges and
 *   comments;
 * - whether indexes are valid and triggers enabled, and the index on contacts;
 * - whether tables are logged, vacuumed and have a replica identity, and how sequences count;
 * - that the log has no gap, that this month and the next have their own partitions, and that each is
 *   complete, named after its month, and otherwise like the log;
 * - that none of the three roles can bypass its policies, and that nobody subject to policies can create in
 *   the schema;
 * - that no default privileges give the owner's next tables, sequences or functions to others;
 * - that no setting of the database or of a role stops the schema's clock, disables triggers, sets an
 *   organisation, or has statements fail where a policy limits them;
 * - that a table records which migrations are applied;
 * - that everything deleted by age has a retention period;
 * - that no sequence is behind the numbers that its table has, if the user sees the whole table, as the owner does;
 * - that no view, rule or function of the host lets others read the schema's tables with its owner's rights.
 *
 * Other objects of the host are ignored, unless they are called `crm_…` or are on a table of this schema. What a DBA may
 * tune is not compared, such as storage parameters and statistics targets.
 *
 * Any user may run it, and it writes nothing. Each read runs in its own transaction, which takes no lock that
 * blocks others and waits at most five seconds for one. If something differs, it reads again until two reads
 * agree, at most five times, because the catalog may have changed during a read.
 *
 * @param client finds the installation by its search_path, and has no transaction open
 * @throws CrmSchemaError `schema_not_found`; `invalid_input` for a pool or an open transaction
 */
export async function verify(
  client: DedicatedConnection,
  options: VerifyOptions = {},
): Promise<Verification> {
  checkParameter('options', options);
  await checkDedicatedConnection(client);
  for (const field of ['knownRoles', 'knownObjects', 'knownIndexes'] as const) {
    if (!Array.isArray(options[field] ?? [])) refuse({ field }, 'must be an array of names');
  }
  let verification = await verifyOnce(client, options);
  for (let reads = 2; reads <= 5 && verification.differences.length > 0; reads += 1) {
    const previous = JSON.stringify(verification.differences);
    verification = await verifyOnce(client, options);
    if (JSON.stringify(verification.differences) === previous) break;
  }
  return verification;
}

/** Reads everything in one transaction; again if an object was dropped meanwhile. */
async function verifyOnce(client: DedicatedConnection, options: VerifyOptions): Promise<Verification> {
  for (let attempt = 1; ; attempt += 1) {
    await client.query('begin isolation level repeatable read read only');
    try {
      return await verifyInTransaction(client, options);
    } catch (error) {
      // `cache lookup failed for relation …`
      if ((error as { code?: string }).code !== 'XX000' || attempt === 5) throw error;
    } finally {
      await client.query('rollback').catch(() => {});
    }
  }
}

/** Verifies in the client's open transaction, whose settings it changes. */
export async function verifyInTransaction(
  client: DedicatedConnection,
  { knownRoles = [], knownObjects = [], knownIndexes = [] }: VerifyOptions = {},
): Promise<Verification> {
  const installation = await findInstallation(client);
  if (installation === null) {
    throw new CrmSchemaError(
      'schema_not_found',
      'The schema was not found. Run the migrations first, or name its schema in PGOPTIONS="-c search_path=…".',
    );
  }
  return {
    schema: installation.schema,
    owner: installation.owner,
    differences: await findDifferences(client, installation, { knownRoles, knownObjects, knownIndexes }),
    waitingEvents: await readWaiting(client, installation),
  };
}

async function readWaiting(
  client: DedicatedConnection,
  { logId }: Installation,
): Promise<WaitingEvents | null> {
  const partitions = logId === null ? [] : await readAttached(client, logId);
  const catchAll = partitions.find(
    ({ isDefault, isDetaching, before }) => !isDefault && !isDetaching && before === null,
  );
  if (catchAll === undefined) return null;
  // A column that is missing, or of another type, is reported as a difference.
  const { rows } = await client.query(
    `select pg_catalog.has_table_privilege($1, 'select') and exists (
       select
       from pg_catalog.pg_attribute
       where attrelid = $1::regclass
         and attname = 'occurred_at'
         and atttypid = 'timestamptz'::regtype
         and not attisdropped
     ) as readable`,
    [catchAll.name],
  );
  return rows[0].readable ? readWaitingEvents(client, catchAll.name) : null;
}
