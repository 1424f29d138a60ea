import * as queries from '../generated/crm_sync_runs.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { SyncError, SyncRunOutcome, TimestampInput } from '../types.js';
import { checkId, checkLimit, checkParameter } from '../validation.js';

/** A run, open or ended. Counts are bigints, as text. */
export interface SyncRun
  extends NarrowedRow<
    queries.SyncRunListByConnectionResult,
    { outcome: SyncRunOutcome | null; error: SyncError | null }
  > {}

/** The parameters of {@link syncRunListByConnection}. */
export interface SyncRunListByConnectionParams extends ConnectionKey {
  /** The last run of the previous page; null or omitted for the newest page. */
  before?: Pick<SyncRun, 'runId'> | null | undefined;
  /** The maximum number of runs: 1 to 1,000; defaults to 50. */
  limit?: number | undefined;
}

/**
 * Lists the runs of a connection, newest first.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncRunListByConnection(
  client: Queryable,
  params: SyncRunListByConnectionParams,
): Promise<SyncRun[]> {
  checkConnectionKey(params);
  const { organisationId, connectionId, before, limit = 50 } = params;
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
 * Deletes runs past their retention period, across all organisations, oldest first. Call it again while
 * `purged` equals `limit`.
 *
 * @returns the number of deleted runs
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncRunPurge(
  client: Queryable,
  params: {
    /**
     * Deletes runs that ended before this time; null or omitted means the retention period in
     * `crm_retention`.
     */
    endedBefore?: TimestampInput | null | undefined;
    /** The maximum number of runs: 1 to 1,000; defaults to 1,000. */
    limit?: number | undefined;
  } = {},
): Promise<{
  /** The number of deleted runs. */
  purged: number;
}> {
  checkParameter('params', params);
  const { limit = 1000 } = params;
  checkLimit(limit);
  const endedBefore =
    params.endedBefore == null ? null : timestampParameter({ field: 'endedBefore' }, params.endedBefore);
  const [row] = await queries.syncRunPurge.run({ endedBefore, limit }, client);
  return row as queries.SyncRunPurgeResult;
}
