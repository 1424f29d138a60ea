import { leaseLost } from '../errors.js';
import * as queries from '../generated/crm_sync_failures.js';
import { type ConnectionKey, checkConnectionKey, checkRunKey, type RunKey } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import {
  type SyncDirection,
  type SyncError,
  type SyncErrorKind,
  syncErrorKinds,
  type Timestamp,
} from '../types.js';
import { checkErrorKinds, checkFlag, checkId, checkLimit } from '../validation.js';

/** A failing record. `id` is a bigint, as text. */
export interface SyncFailure
  extends NarrowedRow<queries.SyncFailureListResult, { direction: SyncDirection; error: SyncError }> {}

/** A failing record to retry now. */
export interface ClaimedFailure {
  /** Which way the record goes: `inbound` is from the CRM, `outbound` to it. */
  direction: SyncDirection;
  /** The kind of record, in the CRM's terms: lower snake case. */
  entityType: string;
  /** Inbound: the record's id at the CRM. Outbound: NurtureHub's own id. */
  recordId: string;
  /** How many attempts have failed. */
  attempts: number;
  /** Why the last one failed. */
  error: SyncError;
  /** When the record began to fail, or when a person asked for a retry. */
  firstFailedAt: Timestamp;
}

/** The number of records that fail with a kind of error. */
export interface SyncFailureCount extends queries.SyncFailureCountByKindResult {
  /** The kind of each record's last error. */
  kind: SyncErrorKind;
  /** At most 1,000, which means 1,000 or more. */
  count: number;
  /** How many of the counted records the worker has given up on. */
  givenUpCount: number;
  /** How many of them a person has dismissed. */
  dismissedCount: number;
}

/** The parameters of {@link syncFailureClaim}. */
export interface SyncFailureClaimParams extends RunKey {
  /** The maximum number of records: 1 to 1,000; defaults to 100. */
  limit?: number | undefined;
}

/**
 * Claims the failing records of a connection that are due for a retry, longest due first, for the worker that
 * holds its run. Claiming postpones the next attempt. Record the outcome with `syncBatchRecord`.
 *
 * If the call returns `limit` records, more may be due: finish the run with `hasMore`, so that other
 * connections are synced first.
 *
 * @throws CrmSchemaError `lease_lost`, `invalid_input`
 *
 * @example
 * ```ts
 * import { type RunKey, syncFailureClaim } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Reads the failing records that are due again. Record what became of each with syncBatchRecord.
 * export async function retry(pool: pg.Pool, run: RunKey, read: (entityType: string, id: string) => Promise<void>) {
 *   for (const { direction, entityType, recordId } of await syncFailureClaim(pool, { ...run, limit: 20 })) {
 *     if (direction === 'inbound') await read(entityType, recordId);
 *   }
 * }
 * ```
 */
export async function syncFailureClaim(
  client: Queryable,
  params: SyncFailureClaimParams,
): Promise<ClaimedFailure[]> {
  checkRunKey(params);
  const { limit = 100 } = params;
  checkLimit(limit);
  const rows = await queries.syncFailureClaim.run({ ...params, limit }, client);
  if (rows.length === 0) throw leaseLost();
  return rows.filter(({ recordId }) => recordId !== null) as unknown as ClaimedFailure[];
}

/** The parameters of {@link syncFailureList}. */
export interface SyncFailureListParams extends ConnectionKey {
  /** Kinds of error; defaults to all. */
  kinds?: readonly SyncErrorKind[] | undefined;
  /** True for dismissed records only, false for the others only; defaults to all. */
  isDismissed?: boolean | undefined;
  /** The last failure of the previous page; null or omitted for the newest page. */
  before?: Pick<SyncFailure, 'lastFailedAt' | 'id'> | null | undefined;
  /** The maximum number of failures: 1 to 1,000; defaults to 50. */
  limit?: number | undefined;
}

/**
 * Lists the failing records of a connection, newest failure first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncFailureList(
  client: Queryable,
  params: SyncFailureListParams,
): Promise<SyncFailure[]> {
  checkConnectionKey(params);
  const { organisationId, connectionId, isDismissed = null, before, limit = 50 } = params;
  if (isDismissed !== null) checkFlag({ field: 'isDismissed' }, isDismissed);
  checkLimit(limit);
  const kinds = checkErrorKinds(params.kinds);
  if (before != null) checkId({ field: 'before.id' }, before.id);
  const rows = await queries.syncFailureList.run(
    {
      organisationId,
      connectionId,
      kinds,
      isDismissed,
      limit,
      beforeLastFailedAt:
        before == null ? null : timestampParameter({ field: 'before.lastFailedAt' }, before.lastFailedAt),
      beforeId: before?.id ?? null,
    },
    client,
  );
  return rows as unknown as SyncFailure[];
}

/**
 * Counts the failing records of a connection by the kind of their last error, most frequent first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncFailureCountByKind(
  client: Queryable,
  key: ConnectionKey,
): Promise<SyncFailureCount[]> {
  checkConnectionKey(key, 'key');
  const rows = await queries.syncFailureCountByKind.run({ ...key, kinds: [...syncErrorKinds] }, client);
  return rows as SyncFailureCount[];
}
