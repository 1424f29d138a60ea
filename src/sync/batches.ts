import { CrmSchemaError, leaseLost, timeInFuture } from '../errors.js';
import * as queries from '../generated/sync_batches.js';
import { checkRunKey, type RunKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Timestamp } from '../types.js';
import {
  checkBatch,
  checkId,
  checkLease,
  checkRetryAfter,
  checkWholeNumber,
  fieldsOf,
  type InputLocation,
  refuse,
} from '../validation.js';
import { type CursorMove, cursorColumns } from './cursor-moves.js';
import { appendEvent, type EventColumns, emptyEventColumns, eventFields, type SyncEvent } from './events.js';
import {
  addRemoteFields,
  noRemoteFields,
  type RemoteFieldColumns,
  type RemoteFields,
  remoteFieldNames,
} from './remote-fields.js';

/**
 * One sync operation of a batch. An inbound event is about `externalId`, an outbound one about `internalId`.
 */
export type BatchEvent = SyncEvent & {
  /** Only for errors: how long the CRM asks to leave this record alone, in seconds, up to a week. */
  retryAfterSeconds?: number | null | undefined;
  /** Links `externalId` to the contact `internalId`, or confirms the existing link; defaults to false. */
  linksContact?: boolean | undefined;
  /** Only for pushes: the version from `outboundChangeClaim`. */
  changeVersion?: string | null | undefined;
} & RemoteFields;

const batchEventFieldNames = fieldsOf<BatchEvent>({
  ...eventFields,
  retryAfterSeconds: true,
  linksContact: true,
  changeVersion: true,
  ...remoteFieldNames,
});

/** The outcome of a batch. */
export type BatchResult =
  | {
      /** The whole batch was written by this call. */
      outcome: 'recorded';
      /** When the run's lease now expires. */
      expiresAt: Timestamp;
      /**
       * Indexes, from 0, of the events that were recorded as failures because their contact could not be
       * linked, or because their push was not based on the version that is known. This includes a contact that
       * the organisation does not have: its failure is retryable, because the contact may have changed at the
       * same time.
       */
      conflicts: number[];
    }
  | {
      /** An earlier call recorded this batch. This call changed nothing. */
      outcome: 'repeated';
    };

/** The parameters of {@link syncBatchRecord}. */
export interface SyncBatchRecordParams extends RunKey {
  /**
   * Identifies the batch, counted from 1 within its run. If this number was already recorded, the call is
   * `repeated`, even if its contents differ.
   */
  batchNumber: number;
  /** What happened: up to a few thousand events; defaults to none. */
  events?: readonly BatchEvent[] | undefined;
  /** Where streams resume: at most one move for each stream; defaults to none. */
  cursors?: readonly CursorMove[] | undefined;
  /** How long the lease lasts from now, in seconds: 1 to 86,400; defaults to 300. */
  leaseSeconds?: number | undefined;
}

/**
 * Records a batch of a run, all or nothing, in one statement. It adds the events to the log; opens, updates
 * or closes failures by the last outcome of each record; links contacts; clears pushed changes unless a newer
 * one has come; moves cursors; and extends the lease from now.
 *
 * Write the batch's changes to the host's own tables in the same transaction, before this call.
 *
 * Of each record, the last event that did not fail says what the CRM now holds: its version, its time, its
 * state, and its content (`contentHash`), by which `externalRecordCheckMany` recognises what is read again: as an
 * echo if it was pushed, and not read since. An event with reason `older` says nothing, and closes no failure; if its
 * content is not the known one, the next run is given the record to read it by its id (`recordRequestClaim`). A record
 * that was deleted or merged stays so until `contactExternalIdLink` or `contactExternalIdUnlink`: to link it in a batch
 * with a `remoteState` of active or archived is a conflict that is given up at once.
 *
 * An event with reason `conflict` that names a record and its contact is also kept as a conflict (`syncConflictList`):
 * an inbound one says that theirs was not applied, an outbound one that ours was not pushed.
 *
 * It is safe to repeat a call whose answer was lost. If a contact cannot be linked, or does not exist, only
 * that record fails, with an error of kind `conflict`. So does a push whose `basedOnVersion` is not the version
 * that is known: its change stays, to be pushed again. Otherwise a change is also cleared if its push failed:
 * the failure replaces it, also if a push of the contact to another record succeeded. An event without the id of its
 * record is logged but opens no failure, so do not move a cursor past it.
 *
 * A push may come too late. If the host has deleted its contact, the record that it made is noted as `contact_deleted`,
 * so that it is not imported as a new contact. If its record means another contact by now, that one is pushed again.
 *
 * Retry a deadlock (SQLSTATE 40P01), which can occur while the host deletes many contacts.
 *
 * @throws CrmSchemaError, and nothing was written:
 *   - `lease_lost`: stop
 *   - `cursor_conflict`: the cursor was reset in the meantime: finish the run and start again
 *   - `cursor_moved_backwards`
 *   - `time_in_future` with `rowIndex`: an event or a cursor is more than a day ahead of the database's clock
 *   - `batch_out_of_order`
 *   - `wrong_tenant`: a contact was deleted while the batch was recorded: look it up again
 *   - `invalid_input` with `rowIndex`, which counts cursors if the message names one
 *
 * @example
 * ```ts
 * import { type RunKey, type SyncCursor, syncBatchRecord } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Records the last page of a stream with its cursor, in the transaction that has written the contact.
 * export async function recordPage(client: pg.ClientBase, run: RunKey, contactId: string, cursor?: SyncCursor) {
 *   const stream = { direction: 'inbound', entityType: 'contact' } as const;
 *   const position = { kind: 'timestamp', syncedTo: '2026-11-16T09:05:00Z' } as const;
 *   await syncBatchRecord(client, {
 *     ...run,
 *     batchNumber: 1,
 *     events: [{ ...stream, externalId: 'OXF18000001', internalId: contactId, status: 'success', linksContact: true }],
 *     cursors: [{ ...stream, version: cursor?.version ?? 0, position }],
 *   });
 * }
 * ```
 */
export async function syncBatchRecord(
  client: Queryable,
  params: SyncBatchRecordParams,
): Promise<BatchResult> {
  checkRunKey(params);
  const { organisationId, connectionId, runId, batchNumber, leaseSeconds = 300 } = params;
  checkWholeNumber({ field: 'batchNumber' }, batchNumber, 1, 2_147_483_647);
  checkLease(leaseSeconds);
  const events = checkBatch('events', params.events ?? []);
  const cursors = checkBatch('cursors', params.cursors ?? []);
  const columns = { ...batchEventColumns(events), ...cursorColumns(cursors) };
  const record = () =>
    queries.syncBatchRecord.run(
      {
        organisationId,
        connectionId,
        runId,
        batchNumber,
        leaseSeconds,
        ...columns,
      },
      client,
    );
  let [row] = await record();
  // Another batch of this run was recorded first. The next statement sees what it wrote.
  while (row?.outcome === 'stale') [row] = await record();
  switch (row?.outcome) {
    case 'recorded':
      return {
        outcome: 'recorded',
        expiresAt: row.expiresAt as Timestamp,
        conflicts: (row.conflicts as number[]).map((position) => position - 1),
      };
    case 'repeated':
      return { outcome: 'repeated' };
    case 'out_of_order':
      throw new CrmSchemaError(
        'batch_out_of_order',
        `Batch ${batchNumber} is not the next one of its run: an earlier batch was not recorded.`,
      );
    // The latest time is one that was refused: canonical times sort as text.
    case 'cursor_in_future':
      throw timeInFuture('cursors.position.syncedTo', { rowIndex: latest(columns.cursorSyncedTos) });
    case 'event_in_future':
      throw timeInFuture('occurredAt', { rowIndex: latest(columns.occurredAts) });
    case 'cursor_conflict':
      throw new CrmSchemaError(
        'cursor_conflict',
        'A cursor is no longer at the given version: it moved or was reset. Read it again.',
      );
    case 'cursor_moved_backwards':
      throw new CrmSchemaError(
        'cursor_moved_backwards',
        'A cursor is already past the given position, and cursors never move backwards. If the stream was read to its end and begins again, pass startsOver; otherwise reset the cursor.',
      );
    default:
      throw leaseLost();
  }
}

/** The index of the latest time. */
function latest(times: readonly unknown[]): number {
  return times.reduce<number>((found, time, index) => {
    return String(time ?? '') > String(times[found] ?? '') ? index : found;
  }, 0);
}

/** The events of a batch as columns, which is how `unnest` takes them. */
type BatchEventColumns = EventColumns &
  RemoteFieldColumns &
  Pick<queries.SyncBatchRecordParams, 'retryAfters' | 'areLinks' | 'changeVersions'>;

/** Checks events and turns them into columns, in one pass. */
function batchEventColumns(events: readonly BatchEvent[]): BatchEventColumns {
  const columns: BatchEventColumns = {
    ...emptyEventColumns(),
    ...noRemoteFields(),
    retryAfters: [],
    areLinks: [],
    changeVersions: [],
  };
  events.forEach((event, rowIndex) => {
    appendEvent(columns, event, rowIndex, batchEventFieldNames);
    checkBatchFields(event, rowIndex);
    columns.retryAfters.push(event.retryAfterSeconds ?? null);
    columns.areLinks.push(event.linksContact ?? false);
    columns.changeVersions.push(event.changeVersion ?? null);
    addRemoteFields(columns, event, rowIndex);
  });
  return columns;
}

/** Checks the fields that only the events of a batch have. */
function checkBatchFields(event: BatchEvent, rowIndex: number): void {
  const locate = (field: string): InputLocation => ({ field, rowIndex });
  const { retryAfterSeconds, linksContact, changeVersion } = event;
  if (retryAfterSeconds != null) {
    if (event.status !== 'error') refuse(locate('retryAfterSeconds'), 'is only allowed with status error');
    checkRetryAfter(locate('retryAfterSeconds'), retryAfterSeconds);
  }
  if (linksContact != null) {
    if (typeof linksContact !== 'boolean') refuse(locate('linksContact'), 'must be true or false');
    if (linksContact && (event.externalId == null || event.internalId == null)) {
      refuse(locate('linksContact'), 'needs both externalId and internalId');
    }
  }
  if (changeVersion != null) {
    checkId(locate('changeVersion'), changeVersion);
    if (event.direction !== 'outbound' || event.internalId == null) {
      refuse(
        locate('changeVersion'),
        'is only allowed with direction outbound and the contact as internalId',
      );
    }
  }
}
