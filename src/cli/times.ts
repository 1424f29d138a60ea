import type pg from 'pg';
import { canonicalTimestamp } from '../timestamps.js';
import type { Timestamp } from '../types.js';

/** The database's current time, on which all stored times are based. */
export async function databaseTime(client: pg.Client): Promise<Timestamp> {
  const { rows } = await client.query('select crm_now() as now');
  return canonicalTimestamp(rows[0].now.toISOString());
}

/** 24 hours earlier. */
export function dayBefore(at: Timestamp): Timestamp {
  return canonicalTimestamp(new Date(Date.parse(at) - 86_400_000).toISOString());
}

/** `2026-11-16 09:05`, in UTC. */
export function minute(at: Timestamp): string {
  return at.slice(0, '2026-11-16T09:05'.length).replace('T', ' ');
}

/** The number of seconds since then; negative if it is in the future. */
export function secondsSince(at: Timestamp, now: Timestamp): number {
  return (Date.parse(now) - Date.parse(at)) / 1000;
}

/** `45 s`, `3 min`, `5 h` or `12 d`, rounded down: the smallest unit that gives less than 100. */
export function span(seconds: number): string {
  const units = [
    [1, 's'],
    [60, 'min'],
    [3600, 'h'],
  ] as const;
  const [size, unit] = units.find(([each]) => seconds < 100 * each) ?? [86_400, 'd'];
  return `${Math.max(0, Math.floor(seconds / size))} ${unit}`;
}

/** `3 min ago`, or `in 3 min`. */
export function relative(at: Timestamp, now: Timestamp): string {
  const seconds = secondsSince(at, now);
  return seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
}

/** `2026-11-16 09:05 UTC (3 min ago)`. */
export function moment(at: Timestamp, now: Timestamp): string {
  return `${minute(at)} UTC (${relative(at, now)})`;
}
