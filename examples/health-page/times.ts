// Times and numbers, as people in the United Kingdom write them.
import { canonicalTimestamp, type Timestamp } from '@nurturehub/crm-schema';

const timeZone = 'Europe/London';
const day = new Intl.DateTimeFormat('en-GB', { timeZone, day: 'numeric', month: 'long' });
const dayOfYear = new Intl.DateTimeFormat('en-GB', { timeZone, dateStyle: 'long' });
const shortDay = new Intl.DateTimeFormat('en-GB', { timeZone, day: 'numeric', month: 'short' });
const time = new Intl.DateTimeFormat('en-GB', { timeZone, timeStyle: 'short' });
const year = new Intl.DateTimeFormat('en-GB', { timeZone, year: 'numeric' });
/** A date as 2026-11-22. */
const isoDay = new Intl.DateTimeFormat('en-CA', { timeZone });
const number = new Intl.NumberFormat('en-GB');

/** The last days up to and including today: when each begins, and when today ends. */
export function lastDays(count: number, now: Date): Timestamp[] {
  const today = Date.parse(isoDay.format(now));
  return Array.from({ length: count + 1 }, (_, index) => {
    const date = new Date(today + (index + 1 - count) * 86_400_000).toISOString().slice(0, 10);
    // Midnight in London, which is another time in UTC when the clocks have changed.
    return canonicalTimestamp(date, { timeZone });
  });
}

/** A day as `22 November`, with the year if it is another than this one. */
export function inDays(at: Timestamp, now: Date): string {
  const date = new Date(at);
  return (year.format(date) === year.format(now) ? day : dayOfYear).format(date);
}

/** A day as `22 Nov`. */
export function inShort(at: Timestamp): string {
  return shortDay.format(new Date(at));
}

/** A time as `09:05 today` or `22 November, 09:05`. */
export function inMinutes(at: Timestamp, now: Date): string {
  const date = new Date(at);
  const clock = time.format(date);
  return isoDay.format(date) === isoDay.format(now) ? `${clock} today` : `${inDays(at, now)}, ${clock}`;
}

/** When something happened or will: `at 09:05 today` or `on 22 November at 09:05`. */
export function atTime(at: Timestamp, now: Date): string {
  const date = new Date(at);
  const clock = time.format(date);
  return isoDay.format(date) === isoDay.format(now)
    ? `at ${clock} today`
    : `on ${inDays(at, now)} at ${clock}`;
}

/** A number with its noun: `1 record`, `1,200 records`. */
export function counted(count: number, noun: string): string {
  return `${number.format(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** A number that stops at 1,000, with its noun: `1,000 or more records`. */
export function countedUpTo(count: number, noun: string): string {
  return count >= 1000 ? `1,000 or more ${noun}s` : counted(count, noun);
}

/** A number as `1,200`. */
export function inFigures(count: number): string {
  return number.format(count);
}
