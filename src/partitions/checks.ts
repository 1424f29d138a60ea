import { CrmSchemaError } from '../errors.js';
import { safeCause } from '../statements/database-errors.js';
import {
  checkDedicatedConnection,
  checkNoPooler,
  type DedicatedConnection,
} from '../statements/dedicated-connection.js';
import { hasEvents, type LogPartition, type PartitionedLog } from './log-partitions.js';

/** SQLSTATEs: a table, a column or a function that does not exist. */
const missingObject = new Set(['42P01', '42703', '42883']);

/**
 * Runs `work` on an installation that the session's search_path finds.
 *
 * @throws CrmSchemaError `schema_not_found`, also where an older version lacks a table or function; `invalid_input` for
 * a pool, and if a transaction is open
 */
export async function onLog<Result>(
  client: DedicatedConnection,
  work: () => Promise<Result>,
): Promise<Result> {
  await checkDedicatedConnection(client);
  try {
    return await work();
  } catch (error) {
    if (!missingObject.has((error as { code?: string }).code ?? '')) throw error;
    throw new CrmSchemaError(
      'schema_not_found',
      'The schema is missing or of an older version: run the migrations first, or name its schema in PGOPTIONS="-c search_path=…".',
      { cause: safeCause(error) },
    );
  }
}

/**
 * Checks that a connection may change the log's partitions.
 *
 * @param watcher the second connection, if there is one
 * @throws CrmSchemaError `partitions_refused` through a pooler; `not_permitted`, naming the owner; `invalid_input`
 */
export async function checkMayChange(
  client: DedicatedConnection,
  watcher: DedicatedConnection | undefined,
): Promise<void> {
  if (watcher !== undefined) {
    await checkDedicatedConnection(watcher, 'watcher');
    if (watcher === client) {
      throw new CrmSchemaError('invalid_input', 'watcher must be another connection than client.');
    }
  }
  await checkNoPooler(
    client,
    'partitions_refused',
    'other clients would get the settings of its session, and wait behind its locks',
  );
  const { rows } = await client.query(
    `select
       pg_catalog.pg_get_userbyid(relowner)::text as owner,
       current_user::text as user,
       pg_catalog.pg_has_role(relowner, 'usage') as "isOwner"
     from pg_catalog.pg_class
     where oid = 'crm_sync_log'::regclass::oid`,
  );
  const { owner, user, isOwner } = rows[0];
  if (!isOwner) {
    throw new CrmSchemaError(
      'not_permitted',
      `User ${user} may not change the partitions of crm_sync_log: connect as its owner, ${owner}, or as a superuser.`,
    );
  }
}

/** The longest time by which the clocks of the server and of this machine may differ, in milliseconds. */
const maximumClockDifference = 24 * 60 * 60 * 1000;

/**
 * Refuses to create or drop months by a server's clock that is wrong, or may be.
 *
 * @throws CrmSchemaError `partitions_refused` where it differs from this machine's by more than a day
 */
export async function checkClock(client: DedicatedConnection): Promise<void> {
  const { rows } = await client.query(
    'select (1000 * extract(epoch from pg_catalog.clock_timestamp()))::float8::text as at',
  );
  const [server, here] = [Number(rows[0].at), Date.now()];
  if (Math.abs(server - here) <= maximumClockDifference) return;
  const [serverTime, time] = [server, here].map((at) => `${new Date(at).toISOString().slice(0, 16)}Z`);
  throw new CrmSchemaError(
    'partitions_refused',
    `The server's clock says ${serverTime}, and this machine's ${time}. Months are created and dropped by the server's: correct the clock that is wrong. If the server's is right, add --trust-server-clock (trustServerClock).`,
  );
}

/**
 * Refuses to drop every partition that has events: more likely than a log of only old events is a clock that is ahead.
 *
 * @param droppable the partitions to drop
 * @throws CrmSchemaError `partitions_refused`
 */
export async function checkKeepsEvents(
  client: DedicatedConnection,
  log: PartitionedLog,
  droppable: readonly LogPartition[],
): Promise<void> {
  if (droppable.length === 0) return;
  for (const partition of log.partitions) {
    if (!droppable.includes(partition) && (await hasEvents(client, partition))) return;
  }
  for (const partition of droppable) {
    if (!(await hasEvents(client, partition))) continue;
    throw new CrmSchemaError(
      'partitions_refused',
      `Every partition with events is past its retention period, so nothing would be left in the log. The server's clock says ${log.at.slice(0, 16)}Z: if that is right, and they may go, add --trust-server-clock (trustServerClock).`,
    );
  }
}
