import { BlockingSessions } from '../statements/blocking-sessions.js';
import { type DedicatedConnection, serverProcess } from '../statements/dedicated-connection.js';
import { requiredSettings, withSessionSettings } from '../statements/session-settings.js';
import type { Timestamp } from '../types.js';
import { checkFields, checkObject, checkWholeNumber, fieldsOf, refuse } from '../validation.js';
import { checkClock, checkKeepsEvents, checkMayChange, onLog } from './checks.js';
import { dropExpired } from './drop-steps.js';
import { droppablePartitions } from './expiry.js';
import type { PartitionSize } from './list.js';
import { type LogPartition, type PartitionedLog, reading, readLog } from './log-partitions.js';

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
const limits = { lock_timeout: '500', statement_timeout: '10000' };

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
  let callbackFailure: { error: unknown } | undefined;
  const result = onLog(client, async () => {
    await checkMayChange(client, watcher);
    if (!trustServerClock) await checkClock(client);
    const dropped: DroppedPartition[] = [];
    const add = async ({ name, from, before, rows, bytes }: LogPartition) => {
      const partition = { name, from, before, rows, bytes };
      dropped.push(partition);
      try {
        await onDropped?.(partition);
      } catch (error) {
        callbackFailure = { error };
        throw error;
      }
    };
    const log = await readChecked(client, trustServerClock);
    if (dryRun) {
      for (const partition of droppablePartitions(log)) await add(partition);
    } else {
      const sessions = new BlockingSessions(watcher);
      const pid = await serverProcess(client);
      await withSessionSettings(client, { ...requiredSettings, ...limits }, () =>
        sessions.during(pid, () => dropExpired({ client, sessions, seconds: wait, onDropped: add })),
      );
    }
    const { at, keepDays, keptFrom } = log;
    return { at, keepDays, keptFrom, isDryRun: dryRun, dropped };
  });
  return result.catch((error: unknown) => {
    // The caller's error passes unchanged, whatever code it has.
    throw callbackFailure === undefined ? error : callbackFailure.error;
  });
}

async function readChecked(client: DedicatedConnection, trustServerClock: boolean): Promise<PartitionedLog> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await reading(client, async () => {
        const log = await readLog(client);
        if (!trustServerClock) await checkKeepsEvents(client, log, droppablePartitions(log));
        return log;
      });
    } catch (error) {
      // Another call dropped a partition after this one had listed it.
      if ((error as { code?: string }).code !== '42P01' || attempt === 5) throw error;
    }
  }
}
