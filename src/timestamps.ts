import type { Timestamp, TimestampInput } from './types.js';
import { describeValue, type InputLocation, refuse } from './validation.js';

const isoPattern =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(Z|[+-]\d\d(?::?[0-5]\d(?::?[0-5]\d)?)?)?$/i;
/**
 * The range that the database accepts: every client can read it in every time zone, and it excludes infinity.
 */
const firstYear = '1900';
const lastYear = '9998';

/**
 * Converts a time to the one format that this package returns: `2026-11-23T09:30:00.123456Z`.
 *
 * Accepts ISO 8601's extended format with the variations of CRMs and PostgreSQL: a space instead of the T, no
 * seconds, any number of fractional digits, any offset. A missing zone means UTC; a missing time means
 * midnight. Digits beyond the sixth are cut off, never rounded: a cursor that is rounded up loses records for
 * good.
 *
 * @throws CrmSchemaError `invalid_input` on any other text, and on years outside 1900 to 9998
 */
export function canonicalTimestamp(text: string): Timestamp {
  return (
    utcTimestamp(text)?.utc ??
    refuse(
      { field: 'timestamp' },
      `must be ISO 8601 in the years ${firstYear} to ${lastYear}, not ${describeValue(text)}`,
    )
  );
}

/**
 * Converts a time that application code passes in to the format that is sent to the database.
 *
 * Stricter than {@link canonicalTimestamp}: refuses text without a zone, because the caller could mean any.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function timestampParameter(location: InputLocation, value: TimestampInput): Timestamp {
  const isValidDate = value instanceof Date && !Number.isNaN(value.getTime());
  const parsed = utcTimestamp(isValidDate ? value.toISOString() : value);
  const utc = parsed?.isZoned ? parsed.utc : undefined;
  return (
    utc ??
    refuse(
      location,
      `must be a Date, or ISO 8601 with a zone, in the years ${firstYear} to ${lastYear}${location.isSensitive ? '' : `, not ${describeValue(value)}`}`,
    )
  );
}

function utcTimestamp(text: unknown): { utc: Timestamp; isZoned: boolean } | undefined {
  const match = typeof text === 'string' ? isoPattern.exec(text) : null;
  if (match === null) return undefined;
  const [, date, minutes = '00:00', seconds = '00', fraction = '', givenZone] = match;
  const zone = givenZone ?? 'Z';
  const local = `${date}T${minutes}:${seconds}`;
  const milliseconds = Date.parse(`${local}Z`);
  const offset = offsetMilliseconds(zone);
  // Date.parse reads 30 February as 2 March; only a real date reads back the same.
  if (Number.isNaN(milliseconds) || !new Date(milliseconds).toISOString().startsWith(local)) return undefined;
  // PostgreSQL's limit; no real offset exceeds 14 hours.
  if (Math.abs(offset) >= 16 * 3_600_000) return undefined;
  const utc = new Date(milliseconds - offset).toISOString().slice(0, -'.000Z'.length);
  if (utc < firstYear || utc > `${lastYear}-12-31T23:59:59`) return undefined;
  return { utc: `${utc}.${fraction.slice(0, 6).padEnd(6, '0')}Z`, isZoned: givenZone !== undefined };
}

/** `+01`, `+0100`, `+01:00`, `-00:01:15` or `Z`. */
function offsetMilliseconds(zone: string): number {
  const [hours = 0, minutes = 0, seconds = 0] = (zone.match(/\d\d/g) ?? []).map(Number);
  const size = ((hours * 60 + minutes) * 60 + seconds) * 1000;
  return zone.startsWith('-') ? -size : size;
}
