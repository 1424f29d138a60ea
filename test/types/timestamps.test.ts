import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalTimestamp } from '../../src/index.js';
import { timestampParameter } from '../../src/timestamps.js';

test.each([
  ['seven digits, as Reapit sends them', '2019-05-12T17:05:19.1234569Z', '2019-05-12T17:05:19.123456Z'],
  ['no zone, as Reapit also sends them', '2019-05-12T17:05:19', '2019-05-12T17:05:19.000000Z'],
  ['no seconds', '2026-11-16T10:00Z', '2026-11-16T10:00:00.000000Z'],
  ['lower-case t and z', '2026-11-16t10:00:00z', '2026-11-16T10:00:00.000000Z'],
  ['a date without a time', '2026-11-16', '2026-11-16T00:00:00.000000Z'],
  ['an offset', '2026-11-16T00:30:00.5+01:00', '2026-11-15T23:30:00.500000Z'],
  ['an offset without a colon', '2026-11-16T00:30:00-0330', '2026-11-16T04:00:00.000000Z'],
  ["PostgreSQL's own form", '2026-11-16 10:00:00.000001+00', '2026-11-16T10:00:00.000001Z'],
  ['an offset with seconds', '1900-01-01 00:00:00-00:01:15', '1900-01-01T00:01:15.000000Z'],
])('reads %s', (_, text, expected) => {
  expect(canonicalTimestamp(text)).toBe(expected);
});

test.each([
  '',
  'yesterday',
  'infinity',
  '2026-02-30T00:00:00Z',
  '2026-13-01',
  '2026-11-16T25:00:00Z',
  '16/11/2026',
  '2026-11-16T10',
  '2026-11-16T10:00+16:00',
  '2026-11-16T10:00+01:75',
  '0001-01-01T00:00:00',
  '9998-12-31T23:59:59-01:00',
  '20261116T100000Z',
  ':'.repeat(40_000),
])('refuses %j', (text) => {
  expect(() => canonicalTimestamp(text)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
});

test('never rounds up, for any number of digits', () => {
  const moment = fc.record({
    date: fc.date({ min: new Date('1900-01-02'), max: new Date('9998-12-29'), noInvalidDate: true }),
    fraction: fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: 9 }),
  });
  fc.assert(
    fc.property(moment, ({ date, fraction }) => {
      const second = date.toISOString().slice(0, 19);
      const result = canonicalTimestamp(`${second}.${fraction}Z`);
      expect(result).toBe(`${second}.${fraction.slice(0, 6).padEnd(6, '0')}Z`);
      expect(canonicalTimestamp(result)).toBe(result);
    }),
  );
});

test('sorts as text in chronological order', () => {
  const times = fc.date({ min: new Date('1900-01-02'), max: new Date('9998-12-29'), noInvalidDate: true });
  fc.assert(
    fc.property(times, times, (left, right) => {
      const [a, b] = [left, right].map((date) => canonicalTimestamp(date.toISOString())) as [string, string];
      expect(a < b).toBe(left < right);
    }),
  );
});

test('timestampParameter accepts a Date or text with a zone, and nothing less exact', () => {
  const place = { field: 'since' };
  expect(timestampParameter(place, new Date('2026-11-16T09:00:00.5Z'))).toBe('2026-11-16T09:00:00.500000Z');
  expect(timestampParameter(place, '2026-11-16T10:00:00+01:00')).toBe('2026-11-16T09:00:00.000000Z');
  for (const vague of [
    '2026-11-16T09:00:00',
    '2026-11-16',
    '1899-12-31T23:59:59Z',
    '9999-01-01T00:00:00Z',
    new Date(Number.NaN),
    1,
    null,
  ]) {
    expect(() => timestampParameter(place, vague as never)).toThrow(
      'since must be a Date, or ISO 8601 with a zone, in the years 1900 to 9998, not ',
    );
  }
});
