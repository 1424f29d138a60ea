import type { DedicatedConnection } from '../statements/dedicated-connection.js';
import { canonicalTimestamp } from '../timestamps.js';
import type { Timestamp } from '../types.js';

/** The events that a partition at either end of the log holds, where there should be none. */
export interface WaitingEvents {
  /** How many there are. Stops at 10,000, which means 10,000 or more. */
  count: number;
  /** When the first of those that were counted occurred. */
  firstAt: Timestamp;
  /** When the last of them occurred. */
  lastAt: Timestamp;
}

/** The count at which counting stops. */
export const mostWaitingEvents = 10_000;

/**
 * Counts the events of a partition; null if it has none. The user must be able to read it.
 *
 * @param sqlName the partition as it stands in SQL
 */
export async function readWaitingEvents(
  client: DedicatedConnection,
  sqlName: string,
): Promise<WaitingEvents | null> {
  const { rows } = await client.query(
    `select
       pg_catalog.count(*)::float8 as count,
       ${isoText('pg_catalog.min(occurred_at)')} as "firstAt",
       ${isoText('pg_catalog.max(occurred_at)')} as "lastAt"
     from (select occurred_at from ${sqlName} limit ${mostWaitingEvents}) as counted`,
  );
  const { count, firstAt, lastAt } = rows[0];
  return count === 0
    ? null
    : { count, firstAt: canonicalTimestamp(firstAt), lastAt: canonicalTimestamp(lastAt) };
}

/** SQL: a timestamptz as text: a client's own parser may make anything of a timestamptz. */
function isoText(moment: string): string {
  return `pg_catalog.to_char(${moment} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
}

/** `3 events, from 2062-01-01 to 2062-03-04 (UTC)`. */
export function describeWaitingEvents({ count, firstAt, lastAt }: WaitingEvents): string {
  if (count >= mostWaitingEvents) return 'at least 10,000 events';
  const [first, last] = [firstAt, lastAt].map((time) => time.slice(0, 'YYYY-MM-DD'.length));
  const days = first === last ? `of ${first}` : `from ${first} to ${last}`;
  return `${count === 1 ? '1 event' : `${count.toLocaleString('en-GB')} events`}, ${days} (UTC)`;
}
