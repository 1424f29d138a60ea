import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalTimestamp, optionalTimestamp } from '../../src/index.js';
import { timestampParameter } from '../../src/timestamps.js';

test.each([
  ['seven digits, as Reapit sends them', '2019-05-12T17:05:19.1234569Z', '2019-05-12T17:05:19.123456Z'],
  ['no seconds', '2026-11-16T10:00Z', '2026-11-16T10:00:00.000000Z'],
  ['lower-case t and z', '2026-11-16t10:00:00z', '2026-11-16T10:00:00.000000Z'],
  ['the end of a day', '2026-12-31T24:00:00.000Z', '2027-01-01T00:00:00.000000Z'],
  ['the end of a day without seconds', '2026-02-28T24:00Z', '2026-03-01T00:00:00.000000Z'],
  ['a leap second', '2016-12-31T23:59:60.25Z', '2016-12-31T23:59:59.999999Z'],
  ['a leap second at an offset', '2017-01-01T00:59:60+01:00', '2016-12-31T23:59:59.999999Z'],
  ['an offset', '2026-11-16T00:30:00.5+01:00', '2026-11-15T23:30:00.500000Z'],
  ['an offset without a colon', '2026-11-16T00:30:00-0330', '2026-11-16T04:00:00.000000Z'],
  ["PostgreSQL's own form", '2026-11-16 10:00:00.000001+00', '2026-11-16T10:00:00.000001Z'],
  ['an offset with seconds', '1900-01-01 00:00:00-00:01:15', '1900-01-01T00:01:15.000000Z'],
])('reads %s', (_, text, expected) => {
  expect(canonicalTimestamp(text)).toBe(expected);
});

test('a time as the server or this package writes it is read as with any other way to write UTC', () => {
  const read = (text: string) => {
    try {
      return canonicalTimestamp(text);
    } catch {
      return 'refused';
    }
  };
  const digits = (most: number, length = 2) =>
    fc.integer({ min: 0, max: most }).map((value) => String(value).padStart(length, '0'));
  const year = fc.oneof(digits(10_000, 4), fc.constantFrom('1899', '1900', '2000', '9899', '9900', '9998'));
  const time = fc.tuple(digits(25), digits(61), digits(61)).map((parts) => parts.join(':'));
  const fraction = fc.option(
    digits(999_999, 6).map((text) => `.${text.replace(/0+$/, '') || '0'}`),
    { nil: '' },
  );
  const text = fc
    .tuple(year, digits(13), digits(32), fc.constantFrom('T', ' '), time, fraction)
    .map(
      ([years, months, days, separator, ...rest]) => `${years}-${months}-${days}${separator}${rest.join('')}`,
    );
  fc.assert(
    fc.property(text, fc.constantFrom('Z', '+00'), (local, zone) => {
      expect(read(local + zone)).toBe(read(`${local}+00:00`));
    }),
    { numRuns: 5000 },
  );
});

test.each([
  '',
  'yesterday',
  'infinity',
  '2026-02-30T00:00:00Z',
  '2026-13-01',
  '2026-11-16T25:00:00Z',
  '2026-11-16T24:00:01Z',
  '2026-11-16T24:01Z',
  '2026-11-16T24:00:00.1Z',
  '2026-02-30T24:00Z',
  '2026-11-16T23:59:61Z',
  '9998-12-31T24:00Z',
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

test.each(['2026-07-01T10:00:00', '2026-07-01 10:00', '2026-07-01', '0001-01-01T00:00:00'])(
  'refuses %j, which has no zone, unless told what it means',
  (text) => {
    expect(() => canonicalTimestamp(text)).toThrow(
      `timestamp has no time zone: pass { timeZone } to say what "${text}" means, for example Europe/London or UTC.`,
    );
  },
);

test.each([
  ['in summer', '2026-07-01T10:00:00', 'Europe/London', '2026-07-01T09:00:00.000000Z'],
  ['in winter', '2026-12-01T10:00:00.1234567', 'Europe/London', '2026-12-01T10:00:00.123456Z'],
  ['a date alone', '2026-07-01', 'Europe/London', '2026-06-30T23:00:00.000000Z'],
  ['UTC', '2019-05-12T17:05:19', 'UTC', '2019-05-12T17:05:19.000000Z'],
  ['a zone in other letter case', '2026-07-01T10:00', 'europe/london', '2026-07-01T09:00:00.000000Z'],
  ['west of UTC', '2026-07-01T20:00', 'America/Los_Angeles', '2026-07-02T03:00:00.000000Z'],
  ['half an hour off', '2026-07-01T00:00', 'Asia/Kolkata', '2026-06-30T18:30:00.000000Z'],
  ['fourteen hours ahead', '2026-07-01T00:00', 'Pacific/Kiritimati', '2026-06-30T10:00:00.000000Z'],
  [
    'the last minute before the clocks go back',
    '2026-10-25T00:59:59',
    'Europe/London',
    '2026-10-24T23:59:59.000000Z',
  ],
  [
    'the first time of an hour shown twice',
    '2026-10-25T01:30',
    'Europe/London',
    '2026-10-25T00:30:00.000000Z',
  ],
  ['the hour after it', '2026-10-25T02:00', 'Europe/London', '2026-10-25T02:00:00.000000Z'],
  [
    'the last minute before the clocks go forward',
    '2026-03-29T00:59',
    'Europe/London',
    '2026-03-29T00:59:00.000000Z',
  ],
  ['an hour that is skipped', '2026-03-29T01:30', 'Europe/London', '2026-03-29T00:30:00.000000Z'],
  ['the hour after it', '2026-03-29T02:00', 'Europe/London', '2026-03-29T01:00:00.000000Z'],
  ['a day that is skipped', '2011-12-30T12:00', 'Pacific/Apia', '2011-12-29T22:00:00.000000Z'],
  ['the end of a day', '2026-06-30T24:00', 'Europe/London', '2026-06-30T23:00:00.000000Z'],
  ['a zone in the text', '2026-07-01T10:00:00+00:00', 'Europe/London', '2026-07-01T10:00:00.000000Z'],
])('reads a time without a zone in that of the CRM: %s', (_, text, timeZone, expected) => {
  expect(canonicalTimestamp(text, { timeZone })).toBe(expected);
});

test.each(['Europe/Lundon', '+01:00', '', ' UTC', 1, null])('refuses %j for a time zone', (timeZone) => {
  expect(() => canonicalTimestamp('2026-07-01', { timeZone: timeZone as never })).toThrow(
    'timeZone must be an IANA time zone, such as Europe/London, not ',
  );
});

test('a time without a zone is never read later than any instant at which the clocks showed it', () => {
  const zones = [
    'Europe/London',
    'America/St_Johns',
    'Australia/Lord_Howe',
    'Africa/Casablanca',
    'Asia/Tehran',
  ];
  const instants = fc.date({ min: new Date('1971-01-01'), max: new Date('2035-01-01'), noInvalidDate: true });
  fc.assert(
    fc.property(instants, fc.constantFrom(...zones), (instant, timeZone) => {
      // Swedish is written as ISO 8601 is.
      const shown = instant.toLocaleString('sv-SE', { timeZone });
      const read = Date.parse(canonicalTimestamp(shown, { timeZone }));
      const second = Math.floor(instant.getTime() / 1000) * 1000;
      expect(second - read).toBeGreaterThanOrEqual(0);
      expect(new Date(read).toLocaleString('sv-SE', { timeZone })).toBe(shown);
    }),
    { numRuns: 300 },
  );
});

test.each([
  null,
  undefined,
  '',
  '0001-01-01T00:00:00',
  '0001-01-01T00:00:00Z',
  '0001-01-01',
  '0001-01-01 00:00:00.0000000',
])('an optional time may be %j, which is none', (text) => expect(optionalTimestamp(text)).toBeNull());

test('an optional time that is there is read as any other', () => {
  expect(optionalTimestamp('2026-07-01T10:00', { timeZone: 'Europe/London' })).toBe(
    '2026-07-01T09:00:00.000000Z',
  );
  for (const text of ['0001-01-02T00:00:00Z', '0001-01-01T00:00:01Z', 'yesterday', '2026-07-01T10:00']) {
    expect(() => optionalTimestamp(text)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
  }
});

test('other formats go through a Date', () => {
  const inJson = '/Date(1782900000123+0100)/';
  const milliseconds = Number(/-?\d+/.exec(inJson)?.[0]);
  expect(canonicalTimestamp(new Date(milliseconds).toISOString())).toBe('2026-07-01T10:00:00.123000Z');
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

test('knows how long each month is', () => {
  for (const year of [2026, 2028])
    for (let month = 1; month <= 12; month += 1)
      for (let day = 28; day <= 32; day += 1) {
        const text = `${year}-${String(month).padStart(2, '0')}-${day}T12:00:00.000000Z`;
        const isThere = day <= new Date(Date.UTC(year, month, 0)).getUTCDate();
        const read = () => canonicalTimestamp(text);
        if (isThere) expect(read()).toBe(text);
        else expect(read, text).toThrow('must be ISO 8601');
      }
});
