import { CrmSchemaError } from '../errors.js';
import {
  checkDedicatedConnection,
  checkNoPooler,
  type DedicatedConnection,
} from '../statements/dedicated-connection.js';
import { hasEvents, type LogPartition, type PartitionedLog } from './log-partitions.js';

/**
 * Checks that a connection may change the log's partitions.
 *
 * @param watcher the second connection, if there is one
 * @throws CrmSchemaError `partitions_refused` through a pooler; `not_permitted`, naming the owner; `invalid_input` for
 * a pool, and if a transaction is open
 */
export async function checkMayChange(
  client: DedicatedConnection,
  watcher: DedicatedConnection | undefined,
): Promise<void> {
  await checkDedicatedConnection(client);
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
    'select (1000 * extract(epoch from pg_catalog.clock_timestamp()))::float8::text as milliseconds',
  );
  const [serverClock, ownClock] = [Number(rows[0].milliseconds), Date.now()];
  if (Math.abs(serverClock - ownClock) <= maximumClockDifference) return;
  const toMinute = (clock: number) => `${new Date(clock).toISOString().slice(0, '2026-11-16T09:30'.length)}Z`;
  throw new CrmSchemaError(
    'partitions_refused',
    `The server's clock says ${toMinute(serverClock)}, and this machine's ${toMinute(ownClock)}. Months are created and dropped by the server's: correct the clock that is wrong. If the server's is right, add --trust-server-clock (trustServerClock).`,
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
