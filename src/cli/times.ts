import type pg from 'pg';
import { formatDuration } from '../statements/durations.js';
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

/** `3 min ago`, or `in 3 min`. */
export function relative(at: Timestamp, now: Timestamp): string {
  const seconds = secondsSince(at, now);
  return seconds < 0 ? `in ${formatDuration(-seconds)}` : `${formatDuration(seconds)} ago`;
}

/** `2026-11-16 09:05 UTC (3 min ago)`. */
export function moment(at: Timestamp, now: Timestamp): string {
  return `${minute(at)} UTC (${relative(at, now)})`;
}
