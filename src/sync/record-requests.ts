import { connectionNotLive, leaseLost } from '../errors.js';
import * as queries from '../generated/crm_record_requests.js';
import { type ConnectionKey, checkConnectionKey, checkRunKey, type RunKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Timestamp } from '../types.js';
import {
  checkBatch,
  checkEntityType,
  checkExternalId,
  checkLimit,
  checkObject,
  refuse,
} from '../validation.js';

/** A record at a CRM, by its id there. */
export interface RequestedRecord {
  /** The kind of record, in the CRM's terms: lower snake case. */
  entityType: string;
  /** The record's id at the CRM. */
  externalId: string;
}

/** A record that was asked for, to read now. */
export interface ClaimedRecordRequest extends RequestedRecord {
  /** When it was asked for. */
  requestedAt: Timestamp;
  /** How many runs have been given it since, including this one. */
  attempts: number;
}

/** The parameters of {@link recordRequestAdd}. */
export interface RecordRequestAddParams extends ConnectionKey {
  /** The records: at most 1,000. */
  records: readonly RequestedRecord[];
}

/** What became of records that were asked for. */
export interface AddedRecordRequests {
  /** The number of records that the call added; those that were asked for already are not counted. */
  added: number;
  /** The number of records that are left to the sync, because the connection has about 1,000 already. */
  leftToSync: number;
}

/**
 * Asks for records of a live connection, for a webhook that names them: the next run reads them first. Also requests
 * a sync of the connection, as `connectionRequestSync` does. However often a record is asked for before it is read,
 * it is read once; if it is asked for while a run has it, it is read again.
 *
 * A connection keeps about 1,000 records. Any more are left to the sync, which reads what the CRM shows as changed.
 *
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 * @throws Error of the server: 0A000 unless at READ COMMITTED
 *
 * @example
 * ```ts
 * import { connectionListLiveByAccount, recordRequestAdd } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // A webhook of Reapit names a record of a customer. The pool's user is a member of crm_worker.
 * export async function noteRecord(pool: pg.Pool, account: string, entityType: string, externalId: string) {
 *   for (const connection of await connectionListLiveByAccount(pool, { provider: 'reapit', account })) {
 *     await recordRequestAdd(pool, { ...connection, records: [{ entityType, externalId }] });
 *   }
 * }
 * ```
 */
export async function recordRequestAdd(
  client: Queryable,
  params: RecordRequestAddParams,
): Promise<AddedRecordRequests> {
  checkConnectionKey(params);
  const { organisationId, connectionId } = params;
  const [row] = await queries.recordRequestAdd.run(
    { organisationId, connectionId, ...recordColumns(params.records) },
    client,
  );
  if (row === undefined) throw connectionNotLive();
  return row;
}

/** The parameters of {@link recordRequestClaim}. */
export interface RecordRequestClaimParams extends RunKey {
  /** The maximum number of records: 1 to 1,000; defaults to 100. */
  limit?: number | undefined;
}

/**
 * Claims the records of a connection that were asked for, for the worker that holds its run. A run is given each
 * record once, unless it is asked for again meanwhile. If the run does not clear it, the next run is given it.
 *
 * Read them before the streams. Record each as an event of a batch, whatever came of it, and call
 * {@link recordRequestClear} in the same transaction: a record that failed is kept by its failure.
 *
 * @throws CrmSchemaError `lease_lost`, `invalid_input`
 */
export async function recordRequestClaim(
  client: Queryable,
  params: RecordRequestClaimParams,
): Promise<ClaimedRecordRequest[]> {
  checkRunKey(params);
  const { limit = 100 } = params;
  checkLimit(limit);
  const rows = await queries.recordRequestClaim.run({ ...params, limit }, client);
  if (rows.length === 0) throw leaseLost();
  return rows.filter(({ externalId }) => externalId !== null) as unknown as ClaimedRecordRequest[];
}

/** The parameters of {@link recordRequestClear}. */
export interface RecordRequestClearParams extends RunKey {
  /** The records that were read: at most 1,000. */
  records: readonly RequestedRecord[];
}

/** The records that were cleared. */
export interface ClearedRecordRequests {
  /** The number of records that the call cleared. */
  cleared: number;
}

/**
 * Clears records that the run was given and has read. Call it in the transaction of the batch that records them. A
 * record that was asked for again meanwhile stays.
 *
 * @throws CrmSchemaError `lease_lost`, `invalid_input`
 */
export async function recordRequestClear(
  client: Queryable,
  params: RecordRequestClearParams,
): Promise<ClearedRecordRequests> {
  checkRunKey(params);
  const [row] = await queries.recordRequestClear.run({ ...params, ...recordColumns(params.records) }, client);
  if (row === undefined) throw leaseLost();
  return row;
}

function recordColumns(value: readonly RequestedRecord[]) {
  const records = checkBatch('records', value);
  if (records.length > 1000) refuse({ field: 'records' }, 'has more than 1,000 elements');
  for (const [rowIndex, record] of records.entries()) {
    checkObject({ field: 'records', rowIndex }, record);
    checkEntityType({ field: 'entityType', rowIndex }, record.entityType);
    checkExternalId({ field: 'externalId', rowIndex }, record.externalId);
  }
  return {
    entityTypes: records.map(({ entityType }) => entityType),
    externalIds: records.map(({ externalId }) => externalId),
  };
}
