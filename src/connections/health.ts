import * as queries from '../generated/crm_connections.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type {
  ConnectionStatus,
  Provider,
  SyncError,
  SyncRunOutcome,
  SyncStatus,
  Timestamp,
  TimestampInput,
} from '../types.js';
import { checkUuid } from '../validation.js';
import type { Connection } from './connections.js';

/** A connection, how its syncs fare, and what the sync log says. Counts stop at 1,000, which means 1,000 or more. */
export interface ConnectionHealth
  extends Connection,
    Omit<
      queries.ConnectionListWithHealthResult,
      keyof Connection | 'lastEventStatus' | 'lastError' | 'lastSyncOutcome' | 'lastSyncError'
    > {
  /** When it is due; past, if it waits for a worker. Of no meaning once disconnected. */
  nextSyncAt: Timestamp;
  /** When a sync last came to its end with success. */
  lastSuccessAt: Timestamp | null;
  /** Since when its syncs have been failing; null if the last one succeeded. */
  failingSince: Timestamp | null;
  /** How many syncs have failed in a row. */
  failedSyncs: number;
  /**
   * How long ago the point was up to which everything has arrived, in seconds: now less `lastSyncedAt`.
   * Grows while a CRM has no changes, unless its adapter moves the point on.
   */
  lagSeconds: number | null;
  /** How the last sync that is over ended; null if there is none, or it was too long ago to be kept. */
  lastSyncOutcome: SyncRunOutcome | null;
  /** Why, if it failed. */
  lastSyncError: SyncError | null;
  /** When the sync that is running now began; null if none is. */
  runningSince: Timestamp | null;
  /** How many records fail and are tried again. */
  retriedRecords: number;
  /** How many records were given up: somebody has to mend them. */
  givenUpRecords: number;
  /** How many contacts wait to be pushed. */
  waitingChanges: number;
  /** When the latest event was, however it ended; null if there is none. */
  lastEventAt: Timestamp | null;
  /** How the latest event ended. */
  lastEventStatus: SyncStatus | null;
  /** When the latest failure was, also one that is over, and also before `failuresSince`. */
  lastFailureAt: Timestamp | null;
  /** Why the latest failure of a record happened; of a sync as a whole, see `lastSyncError`. */
  lastError: SyncError | null;
  /** How many failures the log has since `failuresSince`. */
  failureCount: number;
}

/** How the live connections to one CRM fare that are in one status. */
export interface ConnectionTotal
  extends NarrowedRow<
    queries.ConnectionListTotalsResult,
    { provider: Provider; status: Exclude<ConnectionStatus, 'disconnected'> }
  > {
  /** How many there are. */
  connections: number;
  /** How many never had a sync that came to its end. */
  neverSynced: number;
  /** How many failed the last time. */
  failing: number;
  /** How many wait for a worker. */
  due: number;
  /** When the one that has waited longest was due, or else the next one will be. */
  nextSyncAt: Timestamp;
  /** The longest ago that one of them last succeeded. */
  oldestSuccessAt: Timestamp | null;
}

/** What goes on and what waits, everywhere. Counts stop at 10,000, which means 10,000 or more. */
export interface WorkTotal extends queries.ConnectionTotalWorkResult {
  /** How many syncs are running. */
  running: number;
  /** How many have stopped without a word and are not closed yet. */
  expired: number;
  /** How many records fail and are tried again. */
  retriedRecords: number;
  /** How many records were given up. */
  givenUpRecords: number;
  /** How many pushes wait. */
  waitingChanges: number;
}

/**
 * Which CRMs is this organisation connected to, and are they healthy?
 *
 * Every connection it has or had, live ones first, then by provider and newest first, with what runs,
 * waits and fails.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function connectionListWithHealth(
  client: Queryable,
  params: {
    /** Whose they are: a UUID. */
    organisationId: string;
    /** From when failures are counted, up to 1,000 for each connection. */
    failuresSince: TimestampInput;
  },
): Promise<ConnectionHealth[]> {
  checkUuid({ field: 'organisationId' }, params.organisationId);
  const failuresSince = timestampParameter({ field: 'failuresSince' }, params.failuresSince);
  const rows = await queries.connectionListWithHealth.run({ ...params, failuresSince }, client);
  return rows as ConnectionHealth[];
}

/**
 * How the live connections of all organisations fare, by CRM and status, for monitoring.
 */
export async function connectionListTotals(client: Queryable): Promise<ConnectionTotal[]> {
  const rows = await queries.connectionListTotals.run(undefined, client);
  return rows as ConnectionTotal[];
}

/**
 * What goes on and what waits, over all organisations, for monitoring.
 */
export async function connectionTotalWork(client: Queryable): Promise<WorkTotal> {
  const [row] = await queries.connectionTotalWork.run(undefined, client);
  return row as WorkTotal;
}
