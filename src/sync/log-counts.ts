import * as queries from '../generated/crm_sync_log.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { SyncErrorKind, Timestamp, TimestampInput } from '../types.js';
import { checkBatch, checkLimit, refuse } from '../validation.js';

/** How often a kind of error occurred, and when it last did. */
export interface SyncErrorCount extends queries.SyncLogCountErrorsByKindResult {
  /** The kind of error. */
  kind: SyncErrorKind;
  /** How often it occurred. */
  count: number;
  /** When it last occurred. */
  lastAt: Timestamp;
}

/** How many events of a period had each status. */
export interface SyncPeriodCount extends queries.SyncLogCountByPeriodResult {
  /** When the period starts. */
  startsAt: Timestamp;
  /** When it ends: events of this time are in the next one. */
  endsAt: Timestamp;
  /** How many of its events succeeded; if `isCapped`, of its newest ones. */
  success: number;
  /** How many were skipped; if `isCapped`, of its newest ones. */
  skipped: number;
  /** How many failed: at most `limit`, which means so many or more. */
  error: number;
  /** Whether it has `limit` events or more: only so many were read. */
  isCapped: boolean;
}

/** The parameters of {@link syncLogCountErrorsByKind}. */
export interface SyncLogCountErrorsByKindParams extends ConnectionKey {
  /** Errors are counted from this time. */
  since: TimestampInput;
}

/**
 * Counts the failed events of a connection since a time by the kind of error, most frequent first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncLogCountErrorsByKind(
  client: Queryable,
  params: SyncLogCountErrorsByKindParams,
): Promise<SyncErrorCount[]> {
  checkConnectionKey(params);
  const since = timestampParameter({ field: 'since' }, params.since);
  const rows = await queries.syncLogCountErrorsByKind.run({ ...params, since }, client);
  return rows as SyncErrorCount[];
}

/** The parameters of {@link syncLogCountByPeriod}. */
export interface SyncLogCountByPeriodParams extends ConnectionKey {
  /** Where the periods begin, in ascending order, and at last where the last one ends: 2 to 401 times. */
  times: readonly TimestampInput[];
  /** How many events to read of each period: 1 to 1,000; defaults to 1,000. */
  limit?: number | undefined;
}

/**
 * Counts the events of a connection by status, in periods that follow each other, such as the days of a month: for a
 * plot. The caller chooses where a day begins, which depends on the time zone. Of a busy period it reads only the newest
 * events, but counts all its failures, up to `limit`.
 *
 * @returns one entry for each period, also for one without events
 * @throws CrmSchemaError `invalid_input`
 *
 * @example
 * ```ts
 * import { type ConnectionKey, syncLogCountByPeriod } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // How many events failed on each of the last seven days, in UTC?
 * export async function failuresByDay(client: pg.ClientBase, connection: ConnectionKey) {
 *   const midnight = new Date().setUTCHours(0, 0, 0, 0);
 *   const times = [-6, -5, -4, -3, -2, -1, 0, 1].map((day) => new Date(midnight + day * 86_400_000));
 *   const days = await syncLogCountByPeriod(client, { ...connection, times });
 *   return days.map(({ error }) => error);
 * }
 * ```
 */
export async function syncLogCountByPeriod(
  client: Queryable,
  params: SyncLogCountByPeriodParams,
): Promise<SyncPeriodCount[]> {
  checkConnectionKey(params);
  const { organisationId, connectionId, limit = 1000 } = params;
  checkLimit(limit);
  const times = checkBatch('times', params.times).map((time, rowIndex) =>
    timestampParameter({ field: 'times', rowIndex }, time),
  );
  if (times.length < 2 || times.length > 401) refuse({ field: 'times' }, 'must have 2 to 401 elements');
  const late = times.findIndex((time, index) => index > 0 && time <= (times[index - 1] as string));
  if (late !== -1) refuse({ field: 'times', rowIndex: late }, 'must be later than the one before it');
  const periods = { periodStarts: times.slice(0, -1), periodEnds: times.slice(1) };
  const rows = await queries.syncLogCountByPeriod.run(
    { organisationId, connectionId, limit, ...periods },
    client,
  );
  return rows as SyncPeriodCount[];
}
