import { CrmSchemaError } from '../errors.js';
import { expiredPartitions, unfinishedPartitions } from './expiry.js';
import type { LogPartition, PartitionedLog } from './log-partitions.js';

/** The next thing to do, and the partition to do it to. */
export type DropStep =
  | {
      kind: 'finish detaching' | 'create a partition before' | 'drop';
      partition: LogPartition;
    }
  | {
      kind: 'detach';
      partition: LogPartition;
      /** The partitions that nobody may use when it begins. */
      waitFor: readonly LogPartition[];
    };

/** A step in words, for an error: `detach crm_sync_log_2026_11`. */
export function inWords({ kind, partition }: DropStep): string {
  return `${kind} ${partition.name}`;
}

/**
 * Decides the next step by what the log is now. Nothing here talks to a database.
 *
 * @param hasDetached whether this call has begun to detach a partition
 * @returns undefined if there is nothing left to do
 * @throws CrmSchemaError `partitions_refused` while someone else detaches a partition that is to be kept
 */
export function nextStep(log: PartitionedLog, hasDetached: boolean): DropStep | undefined {
  const expired = expiredPartitions(log);
  const [oldestExpired] = expired;
  const unfinished = unfinishedPartitions(log);
  const detaching = log.partitions.find(({ attachment }) => attachment === 'detaching');
  const firstAttached = log.partitions.find(({ attachment }) => attachment === 'attached');

  if (detaching !== undefined && unfinished.includes(detaching)) {
    return { kind: 'finish detaching', partition: detaching };
  }
  // PostgreSQL allows one pending detach at a time.
  if (detaching !== undefined && oldestExpired !== undefined) {
    throw new CrmSchemaError(
      'partitions_refused',
      `Someone else is detaching ${detaching.name}, which is within its retention period: finish that detach first.`,
    );
  }
  // At once where an earlier call was interrupted; otherwise after the last detach. Not while a detach is pending: the
  // function creates nothing then.
  if (
    detaching === undefined &&
    firstAttached !== undefined &&
    firstAttached.from !== null &&
    (oldestExpired === undefined || !hasDetached)
  ) {
    return { kind: 'create a partition before', partition: firstAttached };
  }
  if (oldestExpired !== undefined) {
    // From the first detach until the time of these partitions is covered again, its events are refused. So it does not
    // begin while anyone uses any of them, and once it has begun, it hurries.
    const isFirstDetach = firstAttached?.from === null;
    return { kind: 'detach', partition: oldestExpired, waitFor: isFirstDetach ? expired : [] };
  }
  const [detached] = unfinished;
  return detached && { kind: 'drop', partition: detached };
}
