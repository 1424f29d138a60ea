import { checkDedicatedConnection, type DedicatedConnection } from '../statements/dedicated-connection.js';
import type { Timestamp } from '../types.js';
import { droppablePartitions, stateOf } from './expiry.js';
import { inReadOnlyTransaction, type LogPartition, type PartitionedLog, readLog } from './log-partitions.js';
import { explainMissingSchema } from './missing-schema.js';
import type { PartitionRange } from './ranges.js';
import { readWaitingEvents, type WaitingEvents } from './waiting-events.js';

/** The log's partitions, and its retention period. */
export interface PartitionList {
  /** The server's time. */
  at: Timestamp;
  /** The retention period of the log in days, from `crm_retention`. */
  keepDays: number;
  /** A partition that ends at this moment or before it is past its retention period. */
  keptFrom: Timestamp;
  /** In ascending order of time. */
  partitions: ListedPartition[];
  /** The names of the partitions that `partitionsDrop` would drop now, in its order. */
  droppable: string[];
}

/** A partition of the log, or a detached table that waits to be dropped. Narrow it by `state`. */
export type ListedPartition = ListedMonth | ListedEnd;

/** The name, range and size of a partition. */
export interface PartitionSize extends PartitionRange {
  /** The table's name, without its schema. */
  name: string;
  /** An estimate; null if unknown. */
  rows: number | null;
  /** Including indexes. */
  bytes: number;
}

/** A partition of a month, or one that is being dropped. */
export interface ListedMonth extends PartitionSize {
  /**
   * `kept`: within the retention period; `expired`: past it; `detaching`: a detach is under way, or was interrupted;
   * `detached`: waits to be dropped.
   */
  state: 'kept' | 'expired' | 'detaching' | 'detached';
  /** When its retention period ends; null if it has no end. */
  keptUntil: Timestamp | null;
}

/** A partition at either end of the log. Normally empty. */
export interface ListedEnd extends PartitionSize {
  /** `before`: holds everything older than the first month; `catch_all`: everything later than the last one. */
  state: 'before' | 'catch_all';
  /** Whether it holds events; null if the user may not look. */
  hasEvents: boolean | null;
  /** What it holds; null if it holds nothing, or the user may not look. */
  events: WaitingEvents | null;
}

/**
 * Lists the log's partitions: ranges, sizes, and how long each is kept. Changes nothing, and leaves the session's
 * settings as they were. Any member of crm_worker or crm_reader may call it, and the owner.
 *
 * Takes ACCESS SHARE on the log and its partitions for an instant, and waits up to five seconds for it.
 *
 * @throws CrmSchemaError `retention_period_missing`; `schema_not_found`; `invalid_input` for a pool, and if a
 *   transaction is open
 */
export async function partitionsList(client: DedicatedConnection): Promise<PartitionList> {
  await checkDedicatedConnection(client);
  return explainMissingSchema(() =>
    inReadOnlyTransaction(client, async () => {
      const log = await readLog(client);
      const { at, keepDays, keptFrom } = log;
      const partitions: ListedPartition[] = [];
      for (const partition of log.partitions) partitions.push(await toListed(client, partition, log));
      const droppable = droppablePartitions(log).map(({ name }) => name);
      return { at, keepDays, keptFrom, partitions, droppable };
    }),
  );
}

async function toListed(
  client: DedicatedConnection,
  partition: LogPartition,
  log: PartitionedLog,
): Promise<ListedPartition> {
  const size = sizeOf(partition);
  const state = stateOf(partition, log);
  if (state !== 'before' && state !== 'catch_all')
    return { ...size, state, keptUntil: keptUntil(partition, log) };
  const events = partition.isReadable ? await readWaitingEvents(client, partition.sqlName) : null;
  return { ...size, state, hasEvents: partition.isReadable ? events !== null : null, events };
}

/** The name, range and size of a partition, without what only this package needs. */
export function sizeOf({ name, from, before, rows, bytes }: LogPartition): PartitionSize {
  return { name, from, before, rows, bytes };
}

/** When the retention period of a partition ends; null if it has no end. */
function keptUntil({ before }: LogPartition, { at, keptFrom }: PartitionedLog): Timestamp | null {
  if (before === null) return null;
  const retentionPeriod = Date.parse(at) - Date.parse(keptFrom);
  return new Date(Date.parse(before) + retentionPeriod).toISOString().replace('Z', '000Z');
}
