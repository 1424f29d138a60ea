/**
 * Ranges of the log's partitions: gaps, months and names. Nothing here talks to a database.
 *
 * Moments are UTC, as text of one form within a call, so that they sort: PostgreSQL's `2026-11-01 00:00:00+00`, or
 * this package's `2026-11-01T00:00:00.000000Z`.
 */

import type { Timestamp } from '../types.js';

/** The time that a partition covers. */
export interface PartitionRange {
  /** The first moment of the range; null if it has no beginning. */
  from: Timestamp | null;
  /** The first moment after the range; null if it has no end. */
  before: Timestamp | null;
}

/** Sorts ranges in ascending order of time. */
export function byTime(one: PartitionRange, other: PartitionRange): number {
  const key = ({ from, before }: PartitionRange) => `${before ?? '9999-99'} ${from ?? ''}`;
  return key(one) < key(other) ? -1 : 1;
}

/**
 * Finds the times that no range covers.
 *
 * @param ranges in ascending order, without overlaps
 */
export function gapsBetween(ranges: readonly PartitionRange[]): PartitionRange[] {
  const gaps: PartitionRange[] = [];
  let reached: Timestamp | null = null;
  let isFirst = true;
  for (const { from, before } of ranges) {
    if (isFirst ? from !== null : reached !== null && from !== null && from > reached) {
      gaps.push({ from: reached, before: from });
    }
    [reached, isFirst] = [before, false];
  }
  if (isFirst || reached !== null) gaps.push({ from: reached, before: null });
  return gaps;
}

/** Splits a range at the beginning of each month; leaves it whole where it has no beginning or no end. */
export function splitByMonth({ from, before }: PartitionRange): PartitionRange[] {
  if (from === null || before === null) return [{ from, before }];
  const months: PartitionRange[] = [];
  for (let start = from; start < before; ) {
    const nextMonth = monthAfter(start);
    const end = nextMonth < before ? nextMonth : before;
    months.push({ from: start, before: end });
    start = end;
  }
  return months;
}

/** The beginning of the next month, in the same form. */
export function monthAfter(moment: string): string {
  const month = new Date(Date.UTC(Number(moment.slice(0, 4)), Number(moment.slice(5, 7))));
  const midnight = moment[10] === 'T' ? 'T00:00:00.000000Z' : ' 00:00:00+00';
  return `${month.toISOString().slice(0, 10)}${midnight}`;
}

const pastPrefix = 'crm_sync_log_before_';

/** The partition that holds events later than the last month. */
export const catchAllName = 'crm_sync_log_catch_all';

/** The name that the functions of the schema give to the partition of a range. */
export function partitionName({ from, before }: PartitionRange): string {
  if (before === null) return catchAllName;
  if (from === null) return `${pastPrefix}${monthPart(before)}`;
  return `crm_sync_log_${monthPart(from)}`;
}

/** Whether a name is that of a partition for everything older than the first month. */
export function isPastPartition(name: string): boolean {
  return name.startsWith(pastPrefix);
}

/**
 * The range that a partition's name stands for: a detached table has no bounds, but its name has a month.
 *
 * @param name `crm_sync_log_2026_11`, or `crm_sync_log_before_2026_11` with any suffix
 */
export function rangeOfName(name: string): { from: Date | null; before: Date } {
  const [, year, month] = /^crm_sync_log_(?:before_)?(\d{4})_(\d\d)/.exec(name) ?? [];
  const start = (monthsLater: number) => new Date(Date.UTC(Number(year), Number(month) - 1 + monthsLater));
  return isPastPartition(name) ? { from: null, before: start(0) } : { from: start(0), before: start(1) };
}

/** `2026_11` */
function monthPart(moment: string): string {
  return moment.slice(0, 7).replace('-', '_');
}
