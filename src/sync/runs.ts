import { leaseLost } from '../errors.js';
import * as queries from '../generated/crm_sync_runs.js';
import { checkRunKey, type RunKey } from '../keys.js';
import { rethrowAsNotPermitted } from '../statements/database-errors.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { ConflictWinner, Json, Provider, SyncError, Timestamp } from '../types.js';
import {
  checkClaimedProviders,
  checkLease,
  checkLimit,
  checkOneOf,
  checkParameter,
  checkRetryAfter,
  checkShortText,
  checkSyncError,
  checkVersion,
} from '../validation.js';
import { outboundChangeAnnounce } from './outbound-changes.js';

/** A claimed connection. Its run is the lease. */
export interface ClaimedRun
  extends NarrowedRow<queries.SyncRunClaimResult, { provider: Provider; conflictWinner: ConflictWinner }> {}

/** A run whose lease expired without a heartbeat. */
export interface AbandonedRun extends queries.SyncRunSweepResult {}

/** How a run ended. Only a failure has an error. */
export type RunEnd =
  | {
      /** All streams have been read to their end. */
      outcome: 'success';
      /**
       * Whether there is more work than this run could do. If so, the connection is due at once. Defaults to
       * false.
       */
      hasMore?: boolean | undefined;
    }
  | {
      /** The worker stops early and releases the connection. */
      outcome: 'cancelled';
    }
  | {
      /** The run failed. */
      outcome: 'failed';
      /**
       * The version of the credentials that the CRM refused: the claim's, unless the worker has read or stored newer
       * ones since. Null or omitted means the current version.
       */
      credentialsVersion?: number | null | undefined;
      /** Why it failed. */
      error: SyncError;
      /**
       * The connection's `statusReason` if this failure puts it in error. It tells the agency's staff what
       * they can do: 1 to 500 characters. Null or omitted means the error's message.
       */
      reason?: string | null | undefined;
      /**
       * How long the CRM asks to be left alone, in seconds: up to a week; null or omitted if it did not say.
       */
      retryAfterSeconds?: number | null | undefined;
    };

/**
 * Claims due connections of all organisations, longest due first, for a worker. Each gets a run, which is its
 * lease.
 *
 * First it closes up to 100 runs whose lease has expired (`syncRunSweep`). Their connections become due again
 * after a delay that grows each time. Then it makes up to 100 connections due that have new changes to push
 * (`outboundChangeAnnounce`). It does both for all CRMs, also if `providers` is given, and each only if there is
 * something to do.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 *
 * @example
 * ```ts
 * import { syncRunClaim } from '@nurturehub/crm-schema';
 * import pg from 'pg';
 *
 * const pool = new pg.Pool(); // its user is a member of crm_worker
 * const [run] = await syncRunClaim(pool, { worker: 'host-1', limit: 1, providers: ['reapit'] });
 * if (run === undefined) console.log('Nothing is due.');
 * else console.log(`Syncing ${run.provider} of organisation ${run.organisationId}`);
 * ```
 */
export async function syncRunClaim(
  client: Queryable,
  params: {
    /** Identifies the worker to people: for example host and process, 1 to 200 characters. */
    worker: string;
    /** The maximum number of connections: 1 to 1,000; defaults to 10. */
    limit?: number | undefined;
    /** How long the lease lasts without a heartbeat, in seconds: 1 to 86,400; defaults to 300. */
    leaseSeconds?: number | undefined;
    /** The CRMs whose connections are claimed: at least one; defaults to all. */
    providers?: readonly Provider[] | undefined;
  },
): Promise<ClaimedRun[]> {
  checkParameter('params', params);
  const { worker, limit = 10, leaseSeconds = 300 } = params;
  checkShortText({ field: 'worker' }, worker, 200);
  checkLimit(limit);
  checkLease(leaseSeconds);
  const providers = checkClaimedProviders(params.providers);
  const [housekeeping] = await queries.syncRunCheckHousekeeping
    .run(undefined, client)
    .catch(rethrowAsNotPermitted);
  if (housekeeping?.isSweepDue) await syncRunSweep(client);
  if (housekeeping?.isAnnounceDue) await outboundChangeAnnounce(client);
  const rows = await queries.syncRunClaim.run({ worker, limit, leaseSeconds, providers }, client);
  return rows as ClaimedRun[];
}

/** The parameters of {@link syncRunHeartbeat}. */
export interface SyncRunHeartbeatParams extends RunKey {
  /** How long the lease lasts from now, in seconds: 1 to 86,400; defaults to 300. */
  leaseSeconds?: number | undefined;
}

/**
 * Sends a heartbeat: extends the lease of a run from now, and never shortens it.
 *
 * @returns when the lease now expires
 * @throws CrmSchemaError `lease_lost` if the run has ended, its lease has expired or its connection is
 *   disconnected: stop, and write nothing more; `invalid_input`
 *
 * @example
 * ```ts
 * import { type RunKey, syncRunHeartbeat } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Applies a page in one transaction, which locks the connection before anything else.
 * export async function apply(client: pg.ClientBase, run: RunKey, write: () => Promise<void>) {
 *   await client.query('begin');
 *   try {
 *     await syncRunHeartbeat(client, run);
 *     await write(); // your own tables, and syncBatchRecord
 *     await client.query('commit');
 *   } catch (error) {
 *     await client.query('rollback');
 *     throw error;
 *   }
 * }
 * ```
 */
export async function syncRunHeartbeat(
  client: Queryable,
  params: SyncRunHeartbeatParams,
): Promise<{
  /** When the lease now expires. */
  expiresAt: Timestamp;
}> {
  checkRunKey(params);
  const { leaseSeconds = 300 } = params;
  checkLease(leaseSeconds);
  const [row] = await queries.syncRunHeartbeat.run({ ...params, leaseSeconds }, client);
  if (row === undefined) throw leaseLost();
  return row;
}

/**
 * Finishes a run.
 *
 * - `success` means that all streams have been read to their end. It returns the connection to `active`,
 *   advances its cursor to the point that all inbound streams have passed (a stream that is first recorded
 *   later does not move it back), and makes it due after its interval, or at once if a sync was requested in
 *   the meantime. If every record of the run failed, and at least three did, the cursor still advances, but the run
 *   is recorded and counted as a failure: of the kind that most of its records have, with the code
 *   `every_record_failed`. Until a record succeeds or is skipped, a success without records does not end that.
 * - `failed` counts a failure and delays the next sync, longer each time. A failure of kind `auth` or
 *   `permission` puts the connection in error at once, unless newer credentials than `credentialsVersion`
 *   have been stored: then the connection is due at once, but only once until a sync succeeds. Other failures put it
 *   in error after five in a row over at least an hour.
 * - `cancelled` releases the connection, which is due at once.
 *
 * Adds nothing to the log. To log an error of the whole run, record an event without an `externalId`.
 *
 * @throws CrmSchemaError `lease_lost`, and nothing was changed; `invalid_input`
 *
 * @example
 * ```ts
 * import { type RunEnd, type RunKey, syncRunFinish } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Does the work of a run, which returns whether there is more, and ends the run.
 * export async function finish(pool: pg.Pool, run: RunKey, work: () => Promise<boolean>) {
 *   let end: RunEnd;
 *   try {
 *     end = { outcome: 'success', hasMore: await work() };
 *   } catch {
 *     const error = { kind: 'internal', retryable: true, message: 'See the log of the worker.' } as const;
 *     end = { outcome: 'failed', error };
 *   }
 *   await syncRunFinish(pool, { ...run, ...end });
 * }
 * ```
 */
export async function syncRunFinish(client: Queryable, params: RunKey & RunEnd): Promise<void> {
  checkRunKey(params);
  checkOneOf({ field: 'outcome' }, params.outcome, ['success', 'failed', 'cancelled']);
  const failure = params.outcome === 'failed' ? params : undefined;
  const error =
    failure === undefined ? null : (checkSyncError({ field: 'error' }, failure.error) as unknown as Json);
  const reason = failure?.reason ?? null;
  const retryAfterSeconds = failure?.retryAfterSeconds ?? null;
  const credentialsVersion = failure?.credentialsVersion ?? null;
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
  if (row?.outcome !== 'ended') throw leaseLost();
}

/**
 * Closes runs whose lease has expired, across all organisations. `syncRunClaim` already calls this; call it
 * yourself only where no worker claims.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncRunSweep(
  client: Queryable,
  params: {
    /** The maximum number of runs: 1 to 1,000; defaults to 100. */
    limit?: number | undefined;
  } = {},
): Promise<AbandonedRun[]> {
  checkParameter('params', params);
  const { limit = 100 } = params;
  checkLimit(limit);
  return queries.syncRunSweep.run({ limit }, client);
}
