import type { ListedPartition, PartitionList } from '../migrations.js';
import { describeWaitingEvents } from '../partitions/waiting-events.js';
import type { Timestamp } from '../types.js';
import { formatBytes, formatNumber } from './numbers.js';
import { formatTable, wrap } from './text.js';
import { formatDay, formatTime } from './times.js';

/** The log's partitions, for people. */
export function partitionReport({ at, keepDays, keptFrom, partitions, droppable }: PartitionList): string[] {
  const hasInterruptedDetach = partitions.some(
    ({ state, name }) => state === 'detaching' && !droppable.includes(name),
  );
  const waiting = partitions.flatMap((each) => (each.state === 'catch_all' ? (each.events ?? []) : []));
  const hasCurrentMonth = partitions.some(
    ({ state, from, before }) =>
      (state === 'kept' || state === 'expired') &&
      (from === null || from <= at) &&
      (before === null || before > at),
  );
  const hasUnknown = partitions.some((each) => 'hasEvents' in each && each.hasEvents === null);
  return [
    `crm_sync_log, ${formatTime(at)} UTC`,
    `Retention period (crm_retention): ${formatNumber(keepDays)} days, since ${formatTime(keptFrom)}.`,
    '',
    ...formatTable('lllrrl', [
      ['crm_sync_log_…', 'From (UTC)', 'Before', 'Rows', 'Size', 'State'],
      ...partitions.map((partition) => [
        partition.name.replace(/^crm_sync_log_/, ''),
        dayOrDash(partition.from),
        dayOrDash(partition.before),
        partition.rows === null ? '-' : formatNumber(partition.rows),
        formatBytes(partition.bytes),
        formatState(partition),
      ]),
    ]),
    ...remark(droppable.length > 0, 'To drop expired partitions: crm-schema partitions drop'),
    ...remark(
      !hasCurrentMonth,
      `The current month, ${at.slice(0, '2026-11'.length)}, has no partition of its own: crm-schema verify says how to repair it.`,
    ),
    ...remark(
      hasInterruptedDetach,
      'A detach was begun and not finished: crm-schema verify says how to finish it.',
    ),
    ...remark(
      hasUnknown,
      'Unknown: whether the partitions at either end hold events. Only the owner of the log may look.',
    ),
    ...waiting.flatMap((events) =>
      remark(
        true,
        `The catch-all partition holds ${describeWaitingEvents(events)}, later than the last month. If the times are right, move them to months of their own: crm-schema partitions ensure --months <number>`,
      ),
    ),
  ];
}

function remark(applies: boolean, text: string): string[] {
  return applies ? ['', ...wrap(text)] : [];
}

function dayOrDash(time: Timestamp | null): string {
  return time === null ? '-' : formatDay(time);
}

function formatState(partition: ListedPartition): string {
  switch (partition.state) {
    case 'kept':
      return `kept until ${dayOrDash(partition.keptUntil)}`;
    case 'expired':
      return 'expired';
    case 'detaching':
      return 'detach pending';
    case 'detached':
      return 'to be dropped';
    default:
      return partition.hasEvents === null ? 'unknown' : partition.hasEvents ? 'has events' : 'empty';
  }
}
