import type { LogPartition, PartitionedLog } from './log-partitions.js';
import { isPastPartition } from './ranges.js';

/** Where a partition stands: attached (the first four), or on its way out. */
export type PartitionState = 'kept' | 'expired' | 'before' | 'catch_all' | 'detaching' | 'detached';

/**
 * The attached partitions past their retention period, in ascending order: months, and with them the partition for
 * everything older. That one alone stays, since dropping it frees nothing; unless it ends too early, because it
 * was created while a month was being dropped.
 */
export function expiredPartitions({ partitions, keptFrom }: PartitionedLog): LogPartition[] {
  const attached = partitions.filter(({ standing }) => standing === 'attached');
  const [first, second] = attached;
  const expired = attached.filter(({ before }) => before !== null && before <= keptFrom);
  const isPastAlone = expired.length === 1 && first !== undefined && isPastPartition(first.name);
  return isPastAlone && first.before === second?.from ? [] : expired;
}

/** The partitions that an earlier call detached, or began to detach, and did not drop. */
export function unfinishedPartitions({ partitions, keptFrom }: PartitionedLog): LogPartition[] {
  return partitions.filter(
    ({ standing, before }) => standing !== 'attached' && before !== null && before <= keptFrom,
  );
}

/** The partitions to drop, in order. */
export function droppablePartitions(log: PartitionedLog): LogPartition[] {
  return [...unfinishedPartitions(log), ...expiredPartitions(log)];
}

/** Where a partition of the log stands. */
export function stateOf(partition: LogPartition, log: PartitionedLog): PartitionState {
  const { name, before, standing } = partition;
  if (standing !== 'attached') return standing;
  if (before === null) return 'catch_all';
  if (isPastPartition(name)) return 'before';
  return expiredPartitions(log).includes(partition) ? 'expired' : 'kept';
}
