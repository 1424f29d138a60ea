/** Names of the log's partitions, as the functions of the schema form them. Nothing here talks to a database. */

import { canonicalTimestamp } from '../timestamps.js';
import type { PartitionRange } from './ranges.js';

/** The partition that holds events later than the last month. */
export const catchAllName = 'crm_sync_log_catch_all';

const olderEventsPrefix = 'crm_sync_log_before_';

/**
 * Matches the names that contain a month: `crm_sync_log_2026_11`; and `crm_sync_log_before_2026_11`, with a number at
 * its end if that name was taken. Means the same to PostgreSQL and to JavaScript.
 */
export const datedNamePattern = '^crm_sync_log_([0-9]{4}_[0-9]{2}|before_[0-9]{4}_[0-9]{2}(_[0-9]+)?)$';

/** Whether a table is named like a partition of the log. */
export function isPartitionName(name: string): boolean {
  return name === catchAllName || new RegExp(datedNamePattern).test(name);
}

/** Whether a name is that of a partition for events older than the first month. */
export function isForOlderEvents(name: string): boolean {
  return name.startsWith(olderEventsPrefix);
}

/** The name that the functions of the schema give to the partition of a range. */
export function partitionName({ from, before }: PartitionRange): string {
  if (before === null) return catchAllName;
  if (from === null) return `${olderEventsPrefix}${monthPart(before)}`;
  return `crm_sync_log_${monthPart(from)}`;
}

/**
 * The range that a partition's name stands for: a detached table has no bounds, but its name has a month.
 *
 * @param name as `datedNamePattern` matches it
 */
export function rangeOfName(name: string): PartitionRange {
  const [, year, month] = /(\d{4})_(\d\d)/.exec(name) ?? [];
  const start = (monthsLater: number) =>
    canonicalTimestamp(new Date(Date.UTC(Number(year), Number(month) - 1 + monthsLater)).toISOString());
  return isForOlderEvents(name) ? { from: null, before: start(0) } : { from: start(0), before: start(1) };
}

/**
 * SQL: the name of a table as it stands in SQL: quoted, and with its schema where the search_path needs it. Unlike a
 * cast to regclass, it still is a name where someone else drops the table meanwhile.
 *
 * @param relation the alias of a row of pg_class
 */
export function sqlNameOf(relation: string): string {
  const schema = `case
      when pg_catalog.pg_table_is_visible(${relation}.oid) then ''
      else pg_catalog.concat(${relation}.relnamespace::regnamespace, '.')
    end`;
  return `pg_catalog.concat(${schema}, pg_catalog.quote_ident(${relation}.relname::text))`;
}

/** `2026_11` */
function monthPart(moment: string): string {
  return moment.slice(0, 7).replace('-', '_');
}
