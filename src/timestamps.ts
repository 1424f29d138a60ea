import { CrmSchemaError } from './errors.js';
import type { Timestamp, TimestampInput } from './types.js';
import { type Place, refuse } from './validation.js';

const isoPattern =
  /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d)(?:\.(\d+))?)?(Z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?$/;

/**
 * The one form in which this package hands out moments: `2026-11-23T09:30:00.123456Z`.
 *
 * Reads ISO 8601 as the CRMs and PostgreSQL write it: a space for the T, any number of fractional
 * digits, any offset; a missing zone means UTC and a missing time midnight. Digits beyond the sixth
 * are cut off, never rounded: a cursor that is rounded up loses records for good.
 *
 * @throws CrmSchemaError `invalid_input` on anything else
 */
export function canonicalTimestamp(text: string): Timestamp {
  const [, date, time = '00:00:00', fraction = '', zone = 'Z'] = isoPattern.exec(text) ?? [];
  const local = `${date}T${time}`;
  const milliseconds = Date.parse(`${local}Z`);
  // Date.parse takes 30 February for 2 March; only what reads back the same was a real date.
  if (Number.isNaN(milliseconds) || !new Date(milliseconds).toISOString().startsWith(local)) {
    throw new CrmSchemaError('invalid_input', `Not a time in ISO 8601: ${JSON.stringify(text)}.`);
  }
  const utc = new Date(milliseconds - offsetMilliseconds(zone)).toISOString();
  return `${utc.slice(0, -'.000Z'.length)}.${fraction.slice(0, 6).padEnd(6, '0')}Z`;
}

/** `+01`, `+0100`, `+01:00`, `-00:01:15` or `Z`. */
function offsetMilliseconds(zone: string): number {
  if (zone === 'Z') return 0;
  const [hours = 0, minutes = 0, seconds = 0] = (zone.match(/\d\d/g) ?? []).map(Number);
  const size = ((hours * 60 + minutes) * 60 + seconds) * 1000;
  return zone.startsWith('-') ? -size : size;
}

/**
 * What is sent to the database for a moment that application code gives.
 *
 * Stricter than {@link canonicalTimestamp}: a text without a zone is refused, because here nobody
 * knows which was meant.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export function timestampParameter(place: Place, value: TimestampInput): Timestamp {
  const utc = utcOrUndefined(value);
  if (utc === undefined || utc < '1900' || utc >= '9999') {
    refuse(place, 'has to be a Date, or ISO 8601 with a zone, in the years 1900 to 9998');
  }
  return utc;
}

function utcOrUndefined(value: TimestampInput): Timestamp | undefined {
  try {
    if (value instanceof Date) return canonicalTimestamp(value.toISOString());
    return /T.*(Z|[+-]\d\d:?\d\d)$/.test(value) ? canonicalTimestamp(value) : undefined;
  } catch {
    return undefined;
  }
}
