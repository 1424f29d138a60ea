import { leaseLost, notLive } from '../errors.js';
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
  type TimestampInput,
} from '../types.js';
import { checkBatch, checkId, checkLimit, checkOneOf, refuse } from '../validation.js';

/** A record that still fails. `id` is a bigint, as text. */
export interface SyncFailure
  extends NarrowedRow<queries.SyncFailureListResult, { direction: SyncDirection; error: SyncError }> {}

/** A failing record that is to be tried again now. */
export interface ClaimedFailure {
  /** Which way the record was to go: `inbound` is from the CRM, `outbound` to it. */
  direction: SyncDirection;
  /** What kind of record it is, in the provider's terms. */
  entityType: string;
  /** Inbound the record's id at the CRM, outbound NurtureHub's own. */
  recordId: string;
  /** How many attempts have failed. */
  attempts: number;
  /** Why the last one failed. */
  error: SyncError;
  /** Since when the record has been failing, or since when a person asked to try again. */
  firstFailedAt: Timestamp;
}

/** How many records fail with a kind of error. */
export interface SyncFailureCount extends queries.SyncFailureCountByKindResult {
  /** The kind of the last error. */
  kind: SyncErrorKind;
  /** Up to 1,000, which means 1,000 or more. */
  count: number;
  /** How many of those that were counted were given up. */
  givenUpCount: number;
}

/** What {@link syncFailureClaim} takes. */
export interface SyncFailureClaimParams extends RunKey {
  /** At most how many records: 1 to 1,000; 100 if not given. */
  limit?: number | undefined;
}

/**
 * Claims the failing records of a connection that are to be tried again, those due longest first, for the
 * worker that holds its run. What is claimed is put off; how the attempt ended is recorded by
 * `syncBatchRecord`. When as many come as may, there may be more: end the run with `hasMore`, so that
 * other connections have their turn first.
 *
 * @throws CrmSchemaError `lease_lost`, `invalid_input`
 */
export async function syncFailureClaim(
  client: Queryable,
  params: SyncFailureClaimParams,
): Promise<ClaimedFailure[]> {
  const { limit = 100 } = params;
  checkRunKey(params);
  checkLimit(limit);
  const rows = await queries.syncFailureClaim.run({ ...params, limit }, client);
  if (rows.length === 0) leaseLost();
  return rows.filter(({ recordId }) => recordId !== null) as unknown as ClaimedFailure[];
}

/** What {@link syncFailureList} takes. */
export interface SyncFailureListParams extends ConnectionKey {
  /** Kinds of error; all if not given. */
  kinds?: readonly SyncErrorKind[] | undefined;
  /** The last failure of the page that was read last; null, or not given, for the newest page. */
  before?: Pick<SyncFailure, 'lastFailedAt' | 'id'> | null | undefined;
  /** At most how many: 1 to 1,000; 50 if not given. */
  limit?: number | undefined;
}

/**
 * The records of a connection that fail, newest failure first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncFailureList(
  client: Queryable,
  params: SyncFailureListParams,
): Promise<SyncFailure[]> {
  const { organisationId, connectionId, before, limit = 50 } = params;
  checkConnectionKey(params);
  checkLimit(limit);
  const kinds = checkKinds(params.kinds);
  if (before != null) checkId({ field: 'before.id' }, before.id);
  const rows = await queries.syncFailureList.run(
    {
      organisationId,
      connectionId,
      kinds,
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
 * How many records of a connection fail, by the kind of their error, most first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncFailureCountByKind(
  client: Queryable,
  key: ConnectionKey,
): Promise<SyncFailureCount[]> {
  checkConnectionKey(key);
  const rows = await queries.syncFailureCountByKind.run({ ...key, kinds: [...syncErrorKinds] }, client);
  return rows as SyncFailureCount[];
}

/** What {@link syncFailureReplay} takes. */
export interface SyncFailureReplayParams extends ConnectionKey {
  /** The records whose last failure was from then on, */
  failedFrom: TimestampInput;
  /** and before then. */
  failedBefore: TimestampInput;
  /** Kinds of error; all if not given. */
  kinds?: readonly SyncErrorKind[] | undefined;
  /** At most how many: 1 to 1,000; 1,000 if not given. */
  limit?: number | undefined;
}

/**
 * Lets failing records be tried again at once, given-up ones among them, with all their attempts: when
 * somebody has mended what made them fail. Asks for a sync of the connection. Call it again while it
 * replays as many as it may.
 *
 * @returns how many are tried again
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function syncFailureReplay(
  client: Queryable,
  params: SyncFailureReplayParams,
): Promise<{
  /** How many are tried again. */
  replayed: number;
}> {
  const { organisationId, connectionId, limit = 1000 } = params;
  checkConnectionKey(params);
  checkLimit(limit);
  const failedFrom = timestampParameter({ field: 'failedFrom' }, params.failedFrom);
  const failedBefore = timestampParameter({ field: 'failedBefore' }, params.failedBefore);
  if (failedFrom >= failedBefore) refuse({ field: 'failedBefore' }, 'has to be later than failedFrom');
  const [row] = await queries.syncFailureReplay.run(
    { organisationId, connectionId, kinds: checkKinds(params.kinds), failedFrom, failedBefore, limit },
    client,
  );
  return row ?? notLive();
}

function checkKinds(kinds: readonly SyncErrorKind[] = syncErrorKinds): SyncErrorKind[] {
  const checked = checkBatch('kinds', kinds);
  for (const [rowIndex, kind] of checked.entries())
    checkOneOf({ field: 'kinds', rowIndex }, kind, syncErrorKinds);
  return [...new Set(checked)];
}
