import * as queries from '../generated/crm_connections.js';
import { checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type {
  ConnectionState,
  ConnectionStatus,
  KeptChanges,
  Provider,
  Revocation,
  SyncDirection,
  SyncError,
  SyncRunOutcome,
  SyncStatus,
  Timestamp,
  TimestampInput,
} from '../types.js';
import { checkFlag } from '../validation.js';
import type { Connection } from './connections.js';

/** A connection with the health of its syncs and its log. Counts stop at 1,000, which means 1,000 or more. */
export interface ConnectionHealth
  extends Connection,
    Omit<
      queries.ConnectionListWithHealthResult,
      | keyof Connection
      | 'state'
      | 'revocation'
      | 'keptChanges'
      | 'lastEventStatus'
      | 'lastError'
      | 'lastErrorDirection'
      | 'lastSyncOutcome'
      | 'lastSyncError'
    > {
  /** What to show first: an `active` connection whose syncs fail is `failing`. */
  state: ConnectionState;
  /** What became of the CRM's token after disconnecting; null if no revocation was asked for. */
  revocation: Revocation | null;
  /** When credentials that wait to be revoked are wiped at the latest; null if no revocation was asked for. */
  revokeBeforeAt: Timestamp | null;
  /** What became of the changes that waited when it was disconnected; null while live, and if none were kept. */
  keptChanges: KeptChanges | null;
  /** Until when they wait for the CRM to be connected again; null while live, and if none were kept. */
  changesExpireAt: Timestamp | null;
  /** When somebody asked for a first fill (`outboundFillStart`); null if nobody has. */
  fillStartedAt: Timestamp | null;
  /** The number of contacts that it has recorded to be pushed so far; null if nobody asked for one. */
  filledContacts: number | null;
  /** When it had looked at every contact; the last of them may still wait to be pushed. Null if it has not. */
  fillFinishedAt: Timestamp | null;
  /**
   * When the connection is due; in the past if it is waiting for a worker. Meaningless once disconnected, and
   * at the end of 9998 while it is paused until somebody resumes it.
   */
  nextSyncAt: Timestamp;
  /** When a sync last finished successfully. */
  lastSuccessAt: Timestamp | null;
  /** When its syncs began to fail; null if the last one succeeded. */
  failingSince: Timestamp | null;
  /** The number of consecutive failed syncs. */
  failedSyncs: number;
  /**
   * How far the cursor lags behind, in seconds: now minus `lastSyncedAt`. Grows while a CRM has no changes,
   * unless its adapter advances the cursor anyway.
   */
  lagSeconds: number | null;
  /**
   * The outcome of the last finished sync; null if there is none, or its run is past the retention period.
   */
  lastSyncOutcome: SyncRunOutcome | null;
  /** The error of that sync, if it failed. */
  lastSyncError: SyncError | null;
  /** When the running sync started; null if none is running. */
  runningSince: Timestamp | null;
  /** The number of failing records that will be retried. */
  retriedRecords: number;
  /** The number of records that the worker has given up on; someone must fix the cause. */
  givenUpRecords: number;
  /** The number of failing records that a person has dismissed. */
  dismissedRecords: number;
  /** The number of outbound changes waiting to be pushed; once disconnected, to be pushed after a reconnect. */
  waitingChanges: number;
  /** The number of records that the next sync reads first, usually because webhooks have named them. */
  requestedRecords: number;
  /** The number of records that were edited on both sides, which nobody has acknowledged. */
  conflicts: number;
  /** When the latest event occurred, whatever its status; null if there is none. */
  lastEventAt: Timestamp | null;
  /** The status of the latest event. */
  lastEventStatus: SyncStatus | null;
  /** When the latest failure occurred, including resolved failures and those before `failuresSince`. */
  lastFailureAt: Timestamp | null;
  /** The last error of a record; for the error of a whole sync, see `lastSyncError`. */
  lastError: SyncError | null;
  /** Which way the record of that error went; null if the error is not of a record. */
  lastErrorDirection: SyncDirection | null;
  /** The kind of that record, in the CRM's terms; null if the error is not of a record. */
  lastErrorEntityType: string | null;
  /** The CRM's id of that record; null if it has none yet, or the error is not of a record. */
  lastErrorExternalId: string | null;
  /** The contact of that record; null if it is unknown, or the error is not of a record. */
  lastErrorInternalId: string | null;
  /** The number of failures in the log since `failuresSince`. */
  failureCount: number;
}

/** The health of the live connections to one CRM that have one status. */
export interface ConnectionTotal
  extends NarrowedRow<
    queries.ConnectionListTotalsResult,
    { provider: Provider; status: Exclude<ConnectionStatus, 'disconnected'> }
  > {
  /** The number of connections. */
  connections: number;
  /** How many have never finished a sync successfully. */
  neverSynced: number;
  /** How many failed their last sync. */
  failing: number;
  /** The most consecutive failed syncs of any of them. */
  mostFailedSyncs: number;
  /** How many are paused. */
  paused: number;
  /** How many are due, waiting for a worker. */
  due: number;
  /** When the longest-waiting connection became due; if none is due, when the next one will be. */
  nextSyncAt: Timestamp;
  /** The oldest of the last successes of those that are not paused. */
  oldestSuccessAt: Timestamp | null;
}

/** Running and waiting work across all organisations. Counts stop at 10,000, which means 10,000 or more. */
export interface WorkTotal extends queries.ConnectionTotalWorkResult {
  /** The number of running syncs. */
  running: number;
  /** The number of runs whose lease has expired and that are not closed yet. */
  expired: number;
  /** The number of failing records that will be retried. */
  retriedRecords: number;
  /** The number of records that workers have given up on. */
  givenUpRecords: number;
  /** The number of failing records that people have dismissed. */
  dismissedRecords: number;
  /** The number of outbound changes waiting, including those that wait for a CRM to be connected again. */
  waitingChanges: number;
}

/**
 * Lists every connection that an organisation has or had, with its running, waiting and failing work: live
 * connections first, then by provider, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 *
 * @example
 * ```ts
 * import { connectionListWithHealth, withOrganisation } from '@nurturehub/crm-schema';
 * import pg from 'pg';
 *
 * const pool = new pg.Pool(); // its user is a member of crm_app
 * const organisationId = '00000000-0000-4000-8000-000000000001';
 * const failuresSince = new Date(Date.now() - 86_400_000);
 * const connections = await withOrganisation(pool, organisationId, (client) =>
 *   connectionListWithHealth(client, { organisationId, failuresSince, isLive: true }),
 * );
 * for (const { provider, state, lastSuccessAt } of connections) {
 *   console.log(`${provider}: ${state}, last synced ${lastSuccessAt ?? 'never'}`);
 * }
 * ```
 */
export async function connectionListWithHealth(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** Counts failures from this time, up to 1,000 per connection. */
    failuresSince: TimestampInput;
    /** True for live connections only, false for disconnected ones only; defaults to all. */
    isLive?: boolean | undefined;
  },
): Promise<ConnectionHealth[]> {
  checkOrganisation(params);
  const { organisationId, isLive = null } = params;
  const failuresSince = timestampParameter({ field: 'failuresSince' }, params.failuresSince);
  if (isLive !== null) checkFlag({ field: 'isLive' }, isLive);
  const rows = await queries.connectionListWithHealth.run({ organisationId, failuresSince, isLive }, client);
  return rows as ConnectionHealth[];
}

/**
 * Summarises the health of all organisations' live connections by CRM and status, for monitoring.
 */
export async function connectionListTotals(client: Queryable): Promise<ConnectionTotal[]> {
  const rows = await queries.connectionListTotals.run(undefined, client);
  return rows as ConnectionTotal[];
}

/**
 * Counts the running and waiting work of all organisations, for monitoring.
 */
export async function connectionTotalWork(client: Queryable): Promise<WorkTotal> {
  const [row] = await queries.connectionTotalWork.run(undefined, client);
  return row as WorkTotal;
}
