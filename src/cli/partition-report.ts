import type { ListedPartition, PartitionList } from '../migrations.js';
import type { Timestamp } from '../types.js';
import { count } from './progress.js';
import { table, wrapped } from './text.js';
import { minute } from './times.js';

/** The log's partitions, for people. */
export function listReport({ at, keepDays, keptFrom, partitions, droppable }: PartitionList): string[] {
  const isStuck = partitions.some(({ state, name }) => state === 'detaching' && !droppable.includes(name));
  const hasEarlyEvents = partitions.some((each) => each.state === 'catch_all' && each.hasEvents);
  const hasMonth = partitions.some(
    ({ state, from, before }) =>
      (state === 'kept' || state === 'expired') &&
      (from === null || from <= at) &&
      (before === null || before > at),
  );
  const isUnknown = partitions.some((each) => 'hasEvents' in each && each.hasEvents === null);
  return [
    `crm_sync_log, ${minute(at)} UTC`,
    `Retention period (crm_retention): ${count(keepDays)} days, since ${minute(keptFrom)}.`,
    '',
    ...table('lllrrl', [
      ['crm_sync_log_…', 'From (UTC)', 'Before', 'Rows', 'Size', 'State'],
      ...partitions.map((partition) => [
        partition.name.replace(/^crm_sync_log_/, ''),
        day(partition.from),
        day(partition.before),
        partition.rows === null ? '-' : count(partition.rows),
        size(partition.bytes),
        stateText(partition),
      ]),
    ]),
    ...remark(droppable.length > 0, 'To drop expired partitions: crm-schema partitions drop'),
    ...remark(
      !hasMonth,
      `The current month, ${at.slice(0, '2026-11'.length)}, has no partition of its own: crm-schema verify says how to repair it.`,
    ),
    ...remark(isStuck, 'A detach was begun and not finished: crm-schema verify says how to finish it.'),
    ...remark(
      isUnknown,
      'Unknown: whether the partitions at either end hold events. Only the owner of the log may look.',
    ),
    ...remark(
      hasEarlyEvents,
      'The catch-all partition holds events. To move them to months of their own: crm-schema partitions ensure --months <number>',
    ),
  ];
}

function remark(applies: boolean, text: string): string[] {
  return applies ? ['', ...wrapped(text)] : [];
}

function day(time: Timestamp | null): string {
  return time?.slice(0, '2026-11-16'.length) ?? '-';
}

function stateText(partition: ListedPartition): string {
  switch (partition.state) {
    case 'kept':
      return `kept until ${day(partition.keptUntil)}`;
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

/** `32 kB`, `1.5 GB`. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  const number = bytes / 1024 ** power;
  return `${number < 10 && power > 0 ? number.toFixed(1).replace('.0', '') : Math.floor(number)} ${units[power]}`;
}
