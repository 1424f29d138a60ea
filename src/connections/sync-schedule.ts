import { CrmSchemaError, connectionNotLive, timeInFuture } from '../errors.js';
import * as queries from '../generated/crm_connections.js';
import { type ConnectionKey, checkConnectionKey, checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { Timestamp, TimestampInput } from '../types.js';
import { checkFlag, checkUuids, checkWholeNumber } from '../validation.js';

/** The parameters of {@link connectionAdvanceLastSyncedAt}. */
export interface ConnectionAdvanceLastSyncedAtParams extends ConnectionKey {
  /**
   * The time up to which all changes have arrived, inclusive, by the CRM's clock: see `canonicalTimestamp`
   * for converting what a CRM sends.
   */
  lastSyncedAt: TimestampInput;
}

/**
 * Moves a connection's incremental sync cursor forwards. Setting the same value again changes nothing.
 *
 * @returns the cursor's position
 * @throws CrmSchemaError `cursor_moved_backwards`; `time_in_future` if the time is more than a day ahead of the
 *   database's clock: the cursor would skip every change until then; `connection_not_live`, `invalid_input`
 *
 * @example
 * ```ts
 * import { type ConnectionKey, canonicalTimestamp, connectionAdvanceLastSyncedAt } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Moves the cursor of a program without workers, in the transaction that logs what it has read.
 * export async function advance(client: pg.ClientBase, connection: ConnectionKey, modified: string) {
 *   const lastSyncedAt = canonicalTimestamp(modified, { timeZone: 'UTC' });
 *   await connectionAdvanceLastSyncedAt(client, { ...connection, lastSyncedAt });
 * }
 * ```
 */
export async function connectionAdvanceLastSyncedAt(
  client: Queryable,
  params: ConnectionAdvanceLastSyncedAtParams,
): Promise<{
  /** The cursor's position. */
  lastSyncedAt: Timestamp;
}> {
  checkConnectionKey(params);
  const lastSyncedAt = timestampParameter({ field: 'lastSyncedAt' }, params.lastSyncedAt);
  const [row] = await queries.connectionAdvanceLastSyncedAt.run({ ...params, lastSyncedAt }, client);
  if (row === undefined || row.outcome === 'disconnected') throw connectionNotLive();
  if (row.outcome === 'in_future') throw timeInFuture('lastSyncedAt');
  if (row.outcome === 'moved_backwards') {
    throw new CrmSchemaError(
      'cursor_moved_backwards',
      `The cursor is at ${row.lastSyncedAt} and cannot move back to ${lastSyncedAt}. For a full sync, reset it.`,
    );
  }
  return { lastSyncedAt: row.lastSyncedAt as Timestamp };
}

/** A connection for which a sync was requested. */
export interface RequestedSync extends queries.ConnectionRequestSyncResult {}

/**
 * Requests a sync of live connections, for a webhook or a user. Several requests before the next sync count
 * as one; a request during a sync leads to another sync after it.
 *
 * @returns the connections that this changed
 * @throws CrmSchemaError `invalid_input`
 *
 * @example
 * ```ts
 * import { connectionRequestSync, withOrganisation } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // A webhook has said that something changed at the CRM.
 * export async function noteWebhook(pool: pg.Pool, organisationId: string, connectionId: string) {
 *   await withOrganisation(pool, organisationId, (client) =>
 *     connectionRequestSync(client, { organisationId, connectionIds: [connectionId] }),
 *   );
 * }
 * ```
 */
export async function connectionRequestSync(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** UUIDs of the organisation's connections; those that are not live are skipped. */
    connectionIds: readonly string[];
    /**
     * Also sync a connection that is waiting after a failure, for example when a user has fixed the cause;
     * defaults to false.
     */
    isUrgent?: boolean | undefined;
  },
): Promise<RequestedSync[]> {
  checkOrganisation(params);
  const { organisationId, isUrgent = false } = params;
  checkFlag({ field: 'isUrgent' }, isUrgent);
  const connectionIds = checkUuids('connectionId', params.connectionIds);
  return queries.connectionRequestSync.run({ organisationId, connectionIds, isUrgent }, client);
}

/**
 * Clears a connection's cursor, which makes the next sync a full one.
 *
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionResetLastSyncedAt(client: Queryable, key: ConnectionKey): Promise<void> {
  checkConnectionKey(key, 'key');
  const [row] = await queries.connectionResetLastSyncedAt.run(key, client);
  if (row === undefined) throw connectionNotLive();
}

/** The parameters of {@link connectionSetSyncInterval}. */
export interface ConnectionSetSyncIntervalParams extends ConnectionKey {
  /** From the end of one successful sync to the next, in seconds: 60 to 604,800. */
  syncIntervalSeconds: number;
}

/**
 * Sets how often a live connection is synced; the default is every 15 minutes. A shorter interval also
 * applies to the sync that is already scheduled.
 *
 * @returns when the connection is next due
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionSetSyncInterval(
  client: Queryable,
  params: ConnectionSetSyncIntervalParams,
): Promise<{
  /** When the connection is next due. */
  nextSyncAt: Timestamp;
}> {
  checkConnectionKey(params);
  checkWholeNumber({ field: 'syncIntervalSeconds' }, params.syncIntervalSeconds, 60, 604_800);
  const [row] = await queries.connectionSetSyncInterval.run(params, client);
  if (row === undefined) throw connectionNotLive();
  return row;
}
