import { BlockingSessions } from '../statements/blocking-sessions.js';
import { type DedicatedConnection, serverProcess } from '../statements/dedicated-connection.js';
import { requiredSettings, withSessionSettings } from '../statements/session-settings.js';
import { sqlStates } from '../statements/sqlstates.js';
import type { Timestamp } from '../types.js';
import { checkFields, checkObject, checkWholeNumber, fieldsOf, refuse } from '../validation.js';
import { checkClock, checkKeepsEvents, checkMayChange } from './checks.js';
import { dropExpired } from './drop-expired.js';
import { droppablePartitions } from './expiry.js';
import { type PartitionSize, sizeOf } from './list.js';
import { inReadOnlyTransaction, type LogPartition, type PartitionedLog, readLog } from './log-partitions.js';
import { explainMissingSchema } from './missing-schema.js';

/** Options for {@link partitionsDrop}. */
export interface PartitionsDropOptions {
  /** How long to wait for other sessions, in seconds, at each step: 1 to 3,600; defaults to 30. */
  wait?: number | undefined;
  /** Whether to change nothing, and return the partitions that would be dropped; defaults to false. */
  dryRun?: boolean | undefined;
  /**
   * Whether to go by the server's clock even where it differs from this machine's by more than a day, and where
   * every partition with events would be dropped;
   * defaults to false.
   */
  trustServerClock?: boolean | undefined;
  /** Called with each partition when it has been dropped (with `dryRun`, when it would have been), and awaited. */
  onDropped?: ((partition: DroppedPartition) => unknown) | undefined;
  /**
   * A second dedicated connection of the same user, which finds out which sessions block the first one, so that an
   * error can name them. Optional.
   */
  watcher?: DedicatedConnection | undefined;
}

/** A partition that was dropped; sizes are those before. */
export interface DroppedPartition extends PartitionSize {}

/** The result of {@link partitionsDrop}. */
export interface DroppedPartitions {
  /** The server's time when it began. */
  at: Timestamp;
  /** The retention period of the log in days, from `crm_retention`. */
  keepDays: number;
  /** Partitions that ended at this moment or before it were past their retention period. */
  keptFrom: Timestamp;
  /** Whether nothing was changed, as `dryRun` asked. */
  isDryRun: boolean;
  /** Oldest first. */
  dropped: DroppedPartition[];
}

const fields = fieldsOf<PartitionsDropOptions>({
  wait: true,
  dryRun: true,
  trustServerClock: true,
  onDropped: true,
  watcher: true,
});

/** Short enough that whoever queues behind this session does not wait long. In milliseconds. */
const timeouts = { lock_timeout: '500', statement_timeout: '10000' };

/**
 * Detaches and drops the log's partitions that are past their retention period, oldest first, and creates a partition
 * for events older than the first remaining month. May be interrupted at any point, and run several times at once: the
 * next call finishes what it finds. Restores the session's settings when it ends.
 *
 * Before it takes a lock, it waits without one until the transactions that would block it have ended (`wait`). Then it
 * waits half a second for the lock, lets others through and tries again. `crm-schema partitions drop --help` lists the locks.
 *
 * @param client a dedicated connection of the log's owner, not through a pooler
 * @throws CrmSchemaError `partitions_blocked`, naming the step and the sessions; `retention_period_missing`;
 *   `not_permitted`; `partitions_refused` through a pooler, while someone else detaches another partition, and
 *   unless `trustServerClock`;
 *   `schema_not_found`; `invalid_input`, also for a pool, and if a transaction is open
 */
export async function partitionsDrop(
  client: DedicatedConnection,
  options: PartitionsDropOptions = {},
): Promise<DroppedPartitions> {
  checkObject({ field: 'options' }, options);
  checkFields({ field: 'options' }, options, fields);
  const { wait = 30, dryRun = false, trustServerClock = false, onDropped, watcher } = options;
  checkWholeNumber({ field: 'wait' }, wait, 1, 3600);
  if (typeof dryRun !== 'boolean') refuse({ field: 'dryRun' }, 'must be true or false');
  if (typeof trustServerClock !== 'boolean') refuse({ field: 'trustServerClock' }, 'must be true or false');
  const log = await explainMissingSchema(async () => {
    await checkMayChange(client, watcher);
    if (!trustServerClock) await checkClock(client);
    return readChecked(client, trustServerClock);
  });
  const dropped: DroppedPartition[] = [];
  const report = async (partition: LogPartition) => {
    const size = sizeOf(partition);
    dropped.push(size);
    await onDropped?.(size);
  };
  if (dryRun) {
    for (const partition of droppablePartitions(log)) await report(partition);
  } else {
    const sessions = new BlockingSessions(watcher);
    const pid = await serverProcess(client);
    await withSessionSettings(client, { ...requiredSettings, ...timeouts }, () =>
      sessions.during(pid, () => dropExpired({ client, sessions, seconds: wait, onDropped: report })),
    );
  }
  const { at, keepDays, keptFrom } = log;
  return { at, keepDays, keptFrom, isDryRun: dryRun, dropped };
}

/** Reads the log, and refuses to drop all its events unless the server's clock is trusted. */
async function readChecked(client: DedicatedConnection, trustServerClock: boolean): Promise<PartitionedLog> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await inReadOnlyTransaction(client, async () => {
        const log = await readLog(client);
        if (!trustServerClock) await checkKeepsEvents(client, log, droppablePartitions(log));
        return log;
      });
    } catch (error) {
      // Another call dropped a partition after this one had listed it.
      const isGone = (error as { code?: string }).code === sqlStates.undefinedTable;
      if (!isGone || attempt === 5) throw error;
    }
  }
}
