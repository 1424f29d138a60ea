import type { LogPartition, PartitionedLog } from './log-partitions.js';
import { isForOlderEvents } from './names.js';

/** The state of a partition: attached (the first four), or on its way out. */
export type PartitionState = 'kept' | 'expired' | 'before' | 'catch_all' | 'detaching' | 'detached';

/**
 * The attached partitions past their retention period, in ascending order: months, and with them the partition for
 * older events. If that one alone is past it, it stays, since dropping it frees nothing; unless it ends before the
 * next partition begins, because it was created while a month was being dropped.
 */
export function expiredPartitions({ partitions, keptFrom }: PartitionedLog): LogPartition[] {
  const attached = partitions.filter(({ attachment }) => attachment === 'attached');
  const [first, second] = attached;
  const expired = attached.filter(({ before }) => before !== null && before <= keptFrom);
  const isOnlyForOlderEvents = expired.length === 1 && first !== undefined && isForOlderEvents(first.name);
  return isOnlyForOlderEvents && first.before === second?.from ? [] : expired;
}

/** The partitions that an earlier call detached, or began to detach, and did not drop. */
export function unfinishedPartitions({ partitions, keptFrom }: PartitionedLog): LogPartition[] {
  return partitions.filter(
    ({ attachment, before }) => attachment !== 'attached' && before !== null && before <= keptFrom,
  );
}

/** The partitions to drop, in order. */
export function droppablePartitions(log: PartitionedLog): LogPartition[] {
  return [...unfinishedPartitions(log), ...expiredPartitions(log)];
}

/** The state of a partition of the log. */
export function stateOf(partition: LogPartition, log: PartitionedLog): PartitionState {
  const { name, before, attachment } = partition;
  if (attachment !== 'attached') return attachment;
  if (before === null) return 'catch_all';
  if (isForOlderEvents(name)) return 'before';
  return expiredPartitions(log).includes(partition) ? 'expired' : 'kept';
}
