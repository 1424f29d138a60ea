import * as queries from '../generated/crm_sync_conflicts.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { KeptSide } from '../types.js';
import { checkBatch, checkFlag, checkId, checkLimit, checkShortText } from '../validation.js';

/** A record that was edited at the CRM while an edit here waited to be pushed. `id` is a bigint, as text. */
export interface SyncConflict extends NarrowedRow<queries.SyncConflictListResult, { kept: KeptSide }> {}

/** The parameters of {@link syncConflictList}. */
export interface SyncConflictListParams extends ConnectionKey {
  /** True for acknowledged conflicts only, false for the others only; defaults to all. */
  isAcknowledged?: boolean | undefined;
  /** The last conflict of the previous page; null or omitted for the newest page. */
  before?: Pick<SyncConflict, 'lastSeenAt' | 'id'> | null | undefined;
  /** The maximum number of conflicts: 1 to 1,000; defaults to 50. */
  limit?: number | undefined;
}

/**
 * Lists the conflicts of a connection, newest first: one entry for each record that was edited on both sides, however
 * often it happened. It says whose edit was kept, and never what was overwritten: that is personal data.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncConflictList(
  client: Queryable,
  params: SyncConflictListParams,
): Promise<SyncConflict[]> {
  checkConnectionKey(params);
  const { organisationId, connectionId, isAcknowledged = null, before, limit = 50 } = params;
  if (isAcknowledged !== null) checkFlag({ field: 'isAcknowledged' }, isAcknowledged);
  checkLimit(limit);
  if (before != null) checkId({ field: 'before.id' }, before.id);
  const rows = await queries.syncConflictList.run(
    {
      organisationId,
      connectionId,
      isAcknowledged,
      limit,
      beforeLastSeenAt:
        before == null ? null : timestampParameter({ field: 'before.lastSeenAt' }, before.lastSeenAt),
      beforeId: before?.id ?? null,
    },
    client,
  );
  return rows as SyncConflict[];
}

/** The parameters of {@link syncConflictAcknowledge}. */
export interface SyncConflictAcknowledgeParams extends ConnectionKey {
  /** The `id` of each conflict. */
  ids: readonly string[];
  /** Who has seen them: a role or a program, never a person's name; 1 to 100 characters. */
  acknowledgedBy: string;
}

/** The conflicts that were acknowledged. */
export interface AcknowledgedConflicts {
  /** The number of conflicts that the call acknowledged; those that were acknowledged already are not counted. */
  acknowledged: number;
}

/**
 * Says that a person has seen conflicts: they stay listed, and are no longer counted. If a record conflicts again, it is
 * counted again. This decides nothing: where neither side was overwritten, replay or dismiss the failure
 * (`syncFailureReplayByIds`, `syncFailureDismiss`).
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncConflictAcknowledge(
  client: Queryable,
  params: SyncConflictAcknowledgeParams,
): Promise<AcknowledgedConflicts> {
  checkConnectionKey(params);
  const { organisationId, connectionId, acknowledgedBy } = params;
  const ids = checkBatch('ids', params.ids);
  for (const [rowIndex, id] of ids.entries()) checkId({ field: 'ids', rowIndex }, id);
  checkShortText({ field: 'acknowledgedBy' }, acknowledgedBy, 100);
  const [row] = await queries.syncConflictAcknowledge.run(
    { organisationId, connectionId, ids: [...ids], acknowledgedBy },
    client,
  );
  return row as AcknowledgedConflicts;
}
