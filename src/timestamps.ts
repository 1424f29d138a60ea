import { localToUtc } from './time-zones.js';
import type { Timestamp, TimestampInput } from './types.js';
import { checkOptions, describeValue, type InputLocation, refuse } from './validation.js';

const isoPattern =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(Z|[+-]\d\d(?::?[0-5]\d(?::?[0-5]\d)?)?)?$/i;
/**
 * What the server and this package write, on a day that is there every year: it needs no calendar, and is most of what
 * is ever read.
 */
const commonPattern =
  /^((?:19|[2-8]\d|9[0-8])\d\d-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31))[ T]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,6}))?(?:Z|\+00)$/;
/**
 * The range that the database accepts: every client can read it in every time zone, and it excludes infinity.
 */
const firstYear = '1900';
const lastYear = '9998';

/** How to read a CRM's times. */
export interface TimestampOptions {
  /** What a time without a zone means: an IANA time zone, such as `Europe/London` or `UTC`. */
  timeZone?: string | undefined;
}

/**
 * Converts a time to the one format that this package returns: `2026-11-23T09:30:00.123456Z`.
 *
 * Accepts ISO 8601's extended format with the variations of CRMs and PostgreSQL: a space instead of the T, no
 * seconds, any number of fractional digits, any offset, `24:00` for the end of a day. A missing time means midnight.
 * For other formats, pass a `Date`'s ISO text: `new Date(seconds * 1000).toISOString()`.
 *
 * The result is never later than the time that is meant, because a cursor that is too late loses records for good:
 *
 * - digits beyond the sixth are cut off
 * - a leap second, `:60`, is the last microsecond before it
 * - a time without a zone that the clocks of `timeZone` show twice, in autumn, is the first; one that they skip, in
 *   spring, is read as if they had been put forward before it
 *
 * @param text what the CRM sends
 * @throws CrmSchemaError `invalid_input` on any other text, on a time without a zone if `timeZone` is not given, on an
 *   unknown time zone, and on years outside 1900 to 9998
 *
 * @example
 * ```ts
 * import { canonicalTimestamp } from '@nurturehub/crm-schema';
 *
 * canonicalTimestamp('2026-07-01T10:00:00+01:00'); // '2026-07-01T09:00:00.000000Z'
 * canonicalTimestamp('2026-07-01 10:00', { timeZone: 'Europe/London' }); // the same time
 * canonicalTimestamp('2026-07-01T09:00:00.1234567Z'); // '2026-07-01T09:00:00.123456Z'
 * ```
 */
export function canonicalTimestamp(text: string, options: TimestampOptions = {}): Timestamp {
  checkOptions(options);
  const { timeZone } = options;
  const read = readTime(text, timeZone);
  if (typeof read === 'string') return read;
  if (read.isLocal) {
    return refuse(
      { field: 'timestamp' },
      `has no time zone: pass { timeZone } to say what ${describeValue(text)} means, for example Europe/London or UTC`,
    );
  }
  return refuse(
    { field: 'timestamp' },
    `must be ISO 8601 in the years ${firstYear} to ${lastYear}, not ${describeValue(text)}`,
  );
}

/**
 * Converts a time that a CRM may leave out, as {@link canonicalTimestamp} does. Null if it is null, undefined or empty,
 * or .NET's empty date, `0001-01-01`.
 *
 * @param text what the CRM sends
 * @throws CrmSchemaError `invalid_input`, as {@link canonicalTimestamp}
 */
export function optionalTimestamp(
  text: string | null | undefined,
  options: TimestampOptions = {},
): Timestamp | null {
  checkOptions(options);
  if (text == null || text === '' || /^0001-01-01([T ]00:00(:00(\.0+)?)?(Z|\+00(:?00)?)?)?$/i.test(text))
    return null;
  return canonicalTimestamp(text, options);
}

/**
 * Converts a time that application code passes in to the format that is sent to the database.
 *
 * Text without a zone is refused, because the caller could mean any.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function timestampParameter(location: InputLocation, value: TimestampInput): Timestamp {
  const isValidDate = value instanceof Date && !Number.isNaN(value.getTime());
  const read = readTime(isValidDate ? value.toISOString() : value);
  if (typeof read === 'string') return read;
  return refuse(
    location,
    `must be a Date, or ISO 8601 with a zone, in the years ${firstYear} to ${lastYear}${location.isSensitive ? '' : `, not ${describeValue(value)}`}`,
  );
}

/** The time in UTC, or why it cannot be read. */
function readTime(text: unknown, timeZone?: string): Timestamp | { isLocal: boolean } {
  if (typeof text !== 'string') return { isLocal: false };
  const common = commonPattern.exec(text);
  if (common !== null) return `${common[1]}T${common[2]}.${(common[3] ?? '').padEnd(6, '0')}Z`;
  const match = isoPattern.exec(text);
  if (match === null) return { isLocal: false };
  const [, date, minutes = '00:00', seconds = '00', fraction = '', zone] = match;
  const isLeapSecond = seconds === '60';
  const local = localMilliseconds(`${date}T${minutes}:${isLeapSecond ? '59' : seconds}`, fraction);
  if (local === undefined) return { isLocal: false };
  if (zone === undefined && timeZone === undefined) return { isLocal: true };
  const offset = zone === undefined ? 0 : offsetMilliseconds(zone);
  // PostgreSQL's limit; no real offset exceeds 14 hours.
  if (Math.abs(offset) >= 16 * 3_600_000) return { isLocal: false };
  const at = zone === undefined ? localToUtc(local, timeZone as string) : local - offset;
  const utc = new Date(at).toISOString().slice(0, -'.000Z'.length);
  if (utc < firstYear || utc > `${lastYear}-12-31T23:59:59`) return { isLocal: false };
  return `${utc}.${isLeapSecond ? '999999' : fraction.slice(0, 6).padEnd(6, '0')}Z`;
}

/** The time that clocks show, as if they showed UTC; undefined if there is no such time. */
function localMilliseconds(local: string, fraction: string): number | undefined {
  const isEndOfDay = local.endsWith('T24:00:00');
  const written = isEndOfDay ? local.replace('T24', 'T00') : local;
  const milliseconds = Date.parse(`${written}Z`);
  // Date.parse reads 30 February as 2 March; only a real date reads back the same.
  if (Number.isNaN(milliseconds) || !new Date(milliseconds).toISOString().startsWith(written))
    return undefined;
  if (!isEndOfDay) return milliseconds;
  return /^0*$/.test(fraction) ? milliseconds + 86_400_000 : undefined;
}

/** `+01`, `+0100`, `+01:00`, `-00:01:15` or `Z`. */
function offsetMilliseconds(zone: string): number {
  const [hours = 0, minutes = 0, seconds = 0] = (zone.match(/\d\d/g) ?? []).map(Number);
  const size = ((hours * 60 + minutes) * 60 + seconds) * 1000;
  return zone.startsWith('-') ? -size : size;
}
