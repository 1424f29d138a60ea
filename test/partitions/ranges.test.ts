import { describe, expect, test } from 'vitest';
import {
  byTime,
  gapsBetween,
  monthAfter,
  type PartitionRange,
  splitByMonth,
} from '../../src/partitions/ranges.js';

/** Midnight of the first day of a month, as PostgreSQL prints it. */
function month(text: string): string {
  return `${text}-01 00:00:00+00`;
}

/** A range from one month to another; null where it has no beginning or no end. */
function range(from: string | null, before: string | null): PartitionRange {
  return { from: from && month(from), before: before && month(before) };
}

describe('gapsBetween', () => {
  test.each<[string, PartitionRange[], PartitionRange[]]>([
    ['no ranges: the whole time', [], [range(null, null)]],
    ['one range without beginning and end: none', [range(null, null)], []],
    [
      'ranges that touch: none',
      [range(null, '2026-01'), range('2026-01', '2026-02'), range('2026-02', null)],
      [],
    ],
    [
      'a hole of two months: one gap',
      [range(null, '2026-01'), range('2026-03', null)],
      [range('2026-01', '2026-03')],
    ],
    [
      'two holes: each of them',
      [range(null, '2026-01'), range('2026-02', '2026-03'), range('2026-04', null)],
      [range('2026-01', '2026-02'), range('2026-03', '2026-04')],
    ],
    ['a first range with a beginning: what is older', [range('2026-01', null)], [range(null, '2026-01')]],
    ['a last range with an end: what is later', [range(null, '2026-01')], [range('2026-01', null)]],
  ])('of %s', (_, ranges, expected) => {
    expect(gapsBetween(ranges)).toEqual(expected);
  });

  test('finds gaps between ranges that byTime has sorted', () => {
    const ranges = [range('2026-03', null), range('2026-01', '2026-02'), range(null, '2026-01')];
    expect(gapsBetween(ranges.sort(byTime))).toEqual([range('2026-02', '2026-03')]);
  });
});

describe('splitByMonth', () => {
  test('splits a range of months across the end of a year', () => {
    expect(splitByMonth(range('2026-11', '2027-02'))).toEqual([
      range('2026-11', '2026-12'),
      range('2026-12', '2027-01'),
      range('2027-01', '2027-02'),
    ]);
  });

  test('keeps ends that fall within a month', () => {
    const [from, before] = ['2026-11-15 12:30:00+00', '2026-12-02 00:00:00+00'];
    expect(splitByMonth({ from, before })).toEqual([
      { from, before: month('2026-12') },
      { from: month('2026-12'), before },
    ]);
  });

  test.each([range(null, '2026-01'), range('2026-01', null), range(null, null)])(
    'leaves an open range whole: %j',
    (open) => {
      expect(splitByMonth(open)).toEqual([open]);
    },
  );
});

test.each([
  ['2026-11-01 00:00:00+00', '2026-12-01 00:00:00+00'],
  ['2026-12-31 23:59:59.999999+00', '2027-01-01 00:00:00+00'],
  ['2026-11-15T12:00:00.000000Z', '2026-12-01T00:00:00.000000Z'],
])('monthAfter keeps the form of %s', (moment, expected) => {
  expect(monthAfter(moment)).toBe(expected);
});
