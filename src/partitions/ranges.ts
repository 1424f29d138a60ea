/**
 * Ranges of the log's partitions: gaps and months. Nothing here talks to a database.
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

/** Compares two ranges, to sort them in ascending order of time. */
export function byTime(one: PartitionRange, other: PartitionRange): number {
  const sortKey = ({ from, before }: PartitionRange) => `${before ?? '9999-99'} ${from ?? ''}`;
  return sortKey(one) < sortKey(other) ? -1 : 1;
}

/**
 * Finds the times that no range covers.
 *
 * @param ranges in ascending order, without overlaps
 */
export function gapsBetween(ranges: readonly PartitionRange[]): PartitionRange[] {
  const gaps: PartitionRange[] = [];
  /** Where the ranges so far end; null before the first of them, and after one that has no end. */
  let coveredUntil: Timestamp | null = null;
  let isFirst = true;
  for (const { from, before } of ranges) {
    if (isFirst ? from !== null : coveredUntil !== null && from !== null && from > coveredUntil) {
      gaps.push({ from: coveredUntil, before: from });
    }
    [coveredUntil, isFirst] = [before, false];
  }
  if (isFirst || coveredUntil !== null) gaps.push({ from: coveredUntil, before: null });
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
