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
export function dayBefore(time: Timestamp): Timestamp {
  return canonicalTimestamp(new Date(Date.parse(time) - 86_400_000).toISOString());
}

/** `2026-11-16`, in UTC. */
export function formatDay(time: Timestamp): string {
  return time.slice(0, '2026-11-16'.length);
}

/** `2026-11-16 09:05`, in UTC. */
export function formatTime(time: Timestamp): string {
  return time.slice(0, '2026-11-16T09:05'.length).replace('T', ' ');
}

/** The number of seconds since then; negative if it is in the future. */
export function secondsSince(time: Timestamp, now: Timestamp): number {
  return (Date.parse(now) - Date.parse(time)) / 1000;
}

/** `3 min ago`, or `in 3 min`. */
export function formatTimeFromNow(time: Timestamp, now: Timestamp): string {
  const seconds = secondsSince(time, now);
  return seconds < 0 ? `in ${formatDuration(-seconds)}` : `${formatDuration(seconds)} ago`;
}

/** `2026-11-16 09:05 UTC (3 min ago)`. */
export function formatTimeAndAge(time: Timestamp, now: Timestamp): string {
  return `${formatTime(time)} UTC (${formatTimeFromNow(time, now)})`;
}

/** `0:12`, from milliseconds. */
export function formatElapsed(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** `0.21 s`, and from a minute on `1:23`, from milliseconds. */
export function formatSeconds(milliseconds: number): string {
  return milliseconds < 60_000 ? `${(milliseconds / 1000).toFixed(2)} s` : formatElapsed(milliseconds);
}
