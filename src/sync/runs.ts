import { leaseLost } from '../errors.js';
import * as queries from '../generated/crm_sync_runs.js';
import { type ConnectionKey, checkConnectionKey, checkRunKey, type RunKey } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { Json, Provider, SyncError, SyncRunOutcome, Timestamp, TimestampInput } from '../types.js';
import {
  checkId,
  checkLease,
  checkLimit,
  checkOneOf,
  checkRetryAfter,
  checkShortText,
  checkSyncError,
  checkVersion,
} from '../validation.js';
import { outboundChangeAnnounce } from './outbound-changes.js';

/** A claimed connection: the run is the lease. */
export interface ClaimedRun extends NarrowedRow<queries.SyncRunClaimResult, { provider: Provider }> {}

/** A run whose worker gave no sign of life until its lease ran out. */
export interface AbandonedRun extends queries.SyncRunSweepResult {}

/** A run: what is syncing, or how it ended. Counts are bigints, as text. */
export interface SyncRun
  extends NarrowedRow<
    queries.SyncRunListByConnectionResult,
    { outcome: SyncRunOutcome | null; error: SyncError | null }
  > {}

/** How a run ended: a failure says why. */
export type RunEnd =
  | {
      /** All streams have been read as far as they go. */
      outcome: 'success';
      /** Whether more waits than this run could do, so that the connection is due at once; false if not given. */
      hasMore?: boolean | undefined;
    }
  | {
      /** The worker gives up its turn. */
      outcome: 'cancelled';
    }
  | {
      /** It could not come to its end. */
      outcome: 'failed';
      /**
       * Which credentials it failed with: those of the claim, unless the worker has read others since. Null,
       * or not given: whatever they are.
       */
      credentialsVersion?: number | null | undefined;
      /** Why. */
      error: SyncError;
      /**
       * For the connection, should the failure put it in error: what an agent of the agency can do, 1 to 500
       * characters. Null, or not given: the error's message.
       */
      reason?: string | null | undefined;
      /** How long the CRM wants to be left alone, in seconds: up to a week; null, or not given, if it did not say. */
      retryAfterSeconds?: number | null | undefined;
    };

/**
 * Claims due connections of all organisations, oldest due first, for a worker: each gets a run, which is
 * its lease. Before that it closes runs whose lease has run out (`syncRunSweep`, up to 100), so that their
 * connections can be claimed again, after a moment, longer each time; and it makes connections due for
 * which there is something new to push (`outboundChangeAnnounce`, up to 100 connections).
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncRunClaim(
  client: Queryable,
  params: {
    /** Who claims, for people: a host and a process, 1 to 200 characters. */
    worker: string;
    /** At most how many connections: 1 to 1,000; 10 if not given. */
    limit?: number | undefined;
    /** How long the lease lasts without a sign of life, in seconds: 1 to 86,400; 300 if not given. */
    leaseSeconds?: number | undefined;
  },
): Promise<ClaimedRun[]> {
  const { worker, limit = 10, leaseSeconds = 300 } = params;
  checkShortText({ field: 'worker' }, worker, 200);
  checkLimit(limit);
  checkLease(leaseSeconds);
  await syncRunSweep(client);
  await outboundChangeAnnounce(client);
  const rows = await queries.syncRunClaim.run({ worker, limit, leaseSeconds }, client);
  return rows as ClaimedRun[];
}

/** What {@link syncRunHeartbeat} takes. */
export interface SyncRunHeartbeatParams extends RunKey {
  /** How long the lease lasts from now on, in seconds: 1 to 86,400; 300 if not given. */
  leaseSeconds?: number | undefined;
}

/**
 * A sign of life: lets the lease of a run last from now on, never shorter than it did.
 *
 * @returns when the lease runs out now
 * @throws CrmSchemaError `lease_lost` if the run has ended, or its lease has run out, or the connection is
 *   disconnected: stop, and write nothing more; `invalid_input`
 */
export async function syncRunHeartbeat(
  client: Queryable,
  params: SyncRunHeartbeatParams,
): Promise<{
  /** When the lease runs out now. */
  expiresAt: Timestamp;
}> {
  const { leaseSeconds = 300 } = params;
  checkRunKey(params);
  checkLease(leaseSeconds);
  const [row] = await queries.syncRunHeartbeat.run({ ...params, leaseSeconds }, client);
  return row ?? leaseLost();
}

/**
 * Ends a run. Success says that all streams have been read as far as they go: it heals the connection,
 * moves its cursor to the point that all inbound streams have passed (a stream that is recorded later does not move it back), and makes it due after its interval,
 * or at once if a sync was requested meanwhile. A failure counts and puts off the next sync, longer each time; an auth or
 * permission failure puts the connection in error at once (unless other credentials have been stored since
 * `credentialsVersion`: then it is due at once), others after five in a row and an hour.
 * `cancelled` gives up the turn, and the connection is due at once. Adds nothing to the log: an event
 * without an `externalId` does.
 *
 * @throws CrmSchemaError `lease_lost`, and nothing was changed; `invalid_input`
 */
export async function syncRunFinish(client: Queryable, params: RunKey & RunEnd): Promise<void> {
  checkRunKey(params);
  checkOneOf({ field: 'outcome' }, params.outcome, ['success', 'failed', 'cancelled']);
  const end = params.outcome === 'failed' ? params : undefined;
  const error = end === undefined ? null : (checkSyncError({ field: 'error' }, end.error) as unknown as Json);
  const reason = end?.reason ?? null;
  const retryAfterSeconds = end?.retryAfterSeconds ?? null;
  const credentialsVersion = end?.credentialsVersion ?? null;
  if (credentialsVersion !== null) checkVersion(credentialsVersion);
  if (reason !== null) checkShortText({ field: 'reason' }, reason, 500);
  if (retryAfterSeconds !== null) checkRetryAfter({ field: 'retryAfterSeconds' }, retryAfterSeconds);
  const { organisationId, connectionId, runId, outcome } = params;
  const [row] = await queries.syncRunFinish.run(
    {
      organisationId,
      connectionId,
      runId,
      outcome,
      error,
      reason,
      retryAfterSeconds,
      credentialsVersion,
      hasMore: params.outcome === 'success' && params.hasMore === true,
    },
    client,
  );
  if (row?.outcome !== 'ended') leaseLost();
}

/** What {@link syncRunListByConnection} takes. */
export interface SyncRunListByConnectionParams extends ConnectionKey {
  /** The last run of the page that was read last; null, or not given, for the newest page. */
  before?: Pick<SyncRun, 'runId'> | null | undefined;
  /** At most how many: 1 to 1,000; 50 if not given. */
  limit?: number | undefined;
}

/**
 * The runs of a connection, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncRunListByConnection(
  client: Queryable,
  params: SyncRunListByConnectionParams,
): Promise<SyncRun[]> {
  const { organisationId, connectionId, before, limit = 50 } = params;
  checkConnectionKey(params);
  checkLimit(limit);
  const beforeId = before?.runId ?? null;
  if (beforeId !== null) checkId({ field: 'before.runId' }, beforeId);
  const rows = await queries.syncRunListByConnection.run(
    { organisationId, connectionId, beforeId, limit },
    client,
  );
  return rows as SyncRun[];
}

/**
 * Closes runs whose lease has run out, of all organisations. `syncRunClaim` does this by itself: call
 * it where nothing claims.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncRunSweep(
  client: Queryable,
  params: {
    /** At most how many: 1 to 1,000; 100 if not given. */
    limit?: number | undefined;
  } = {},
): Promise<AbandonedRun[]> {
  const { limit = 100 } = params;
  checkLimit(limit);
  return queries.syncRunSweep.run({ limit }, client);
}

/**
 * Deletes runs that are past their time, of all organisations, oldest first. Call it again while it
 * deletes as many as it may.
 *
 * @returns how many were deleted
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncRunPurge(
  client: Queryable,
  params: {
    /** Runs that ended before then; null, or not given: longer ago than `crm_retention` says. */
    endedBefore?: TimestampInput | null | undefined;
    /** At most how many: 1 to 1,000; 1,000 if not given. */
    limit?: number | undefined;
  } = {},
): Promise<{
  /** How many were deleted. */
  purged: number;
}> {
  const { limit = 1000 } = params;
  checkLimit(limit);
  const endedBefore =
    params.endedBefore == null ? null : timestampParameter({ field: 'endedBefore' }, params.endedBefore);
  const [row] = await queries.syncRunPurge.run({ endedBefore, limit }, client);
  return row as queries.SyncRunPurgeResult;
}
