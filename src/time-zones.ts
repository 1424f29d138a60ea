import { describeValue, refuse } from './validation.js';

/** By IANA name; there are about 600. */
const clocks = new Map<string, Intl.DateTimeFormat>();

/**
 * Converts a local time to UTC, both in milliseconds since 1970. If the clocks went back and showed the time twice,
 * it is the first; if they went forward and never showed it, it is what they would have shown without the change
 * from winter time or, if that is earlier, with it. So whoever reads from this time on misses nothing.
 *
 * @throws CrmSchemaError `invalid_input` if it is not an IANA time zone
 */
export function localToUtc(local: number, timeZone: string): number {
  const clock = clockOf(timeZone);
  // No zone is further than a day from UTC, and none changes its clocks twice within two days.
  const before = offsetAt(local - day, clock);
  const after = offsetAt(local + day, clock);
  const candidates = [local - before, local - after].sort((a, b) => a - b);
  return candidates.find((utc) => utc + offsetAt(utc, clock) === local) ?? (candidates[0] as number);
}

const day = 86_400_000;

/** How far the clocks of a zone are ahead of UTC, in milliseconds. */
function offsetAt(utc: number, clock: Intl.DateTimeFormat): number {
  const shown = Object.fromEntries(clock.formatToParts(utc).map(({ type, value }) => [type, Number(value)]));
  const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = shown;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(utc / 1000) * 1000;
}

function clockOf(timeZone: unknown): Intl.DateTimeFormat {
  const known = clocks.get(timeZone as string);
  if (known !== undefined) return known;
  // Newer versions of Node also take an offset, such as +01:00, which says nothing about summer time.
  if (typeof timeZone !== 'string' || !/^[a-z]/i.test(timeZone)) refuseZone(timeZone);
  const clock = clockFor(timeZone);
  clocks.set(timeZone, clock);
  return clock;
}

function clockFor(timeZone: string): Intl.DateTimeFormat {
  try {
    return new Intl.DateTimeFormat('en-GB', {
      timeZone,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    });
  } catch {
    return refuseZone(timeZone);
  }
}

function refuseZone(timeZone: unknown): never {
  refuse(
    { field: 'timeZone' },
    `must be an IANA time zone, such as Europe/London, not ${describeValue(timeZone)}`,
  );
}
