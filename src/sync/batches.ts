import { CrmSchemaError, leaseLost } from '../errors.js';
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
import { eventColumns, eventFieldNames, type SyncEvent } from './events.js';

/** One sync operation of a batch. An inbound one is of `externalId`, an outbound one of `internalId`. */
export type BatchEvent = SyncEvent & {
  /** With an error: how long the CRM wants this record to be left alone, in seconds, up to a week. */
  retryAfterSeconds?: number | null | undefined;
  /** Links `externalId` to the contact that `internalId` names, or confirms the link; false if not given. */
  linksContact?: boolean | undefined;
  /** With a push: the version that `outboundChangeClaim` gave. */
  changeVersion?: string | null | undefined;
};

const eventFields = fieldsOf<BatchEvent>({
  ...eventFieldNames,
  retryAfterSeconds: true,
  linksContact: true,
  changeVersion: true,
});

/** What became of a batch. */
export type BatchResult =
  | {
      /** All of it was written now. */
      outcome: 'recorded';
      /** When the run's lease runs out now. */
      expiresAt: Timestamp;
      /** The events, counted from 0, that were recorded as failures, because their contact could not be linked. */
      conflicts: number[];
    }
  | {
      /** The batch had been recorded before: nothing was changed now. */
      outcome: 'repeated';
    };

/** What {@link syncBatchRecord} takes. */
export interface SyncBatchRecordParams extends RunKey {
  /**
   * Names the batch, counted from 1 in its run: one whose number was recorded is `repeated`, whatever it
   * holds now.
   */
  batchNumber: number;
  /** What happened: up to some thousands; none if not given. */
  events?: readonly BatchEvent[] | undefined;
  /** Where streams go on: at most one move for each; none if not given. */
  cursors?: readonly CursorMove[] | undefined;
  /** How long the lease lasts from now on, in seconds: 1 to 86,400; 300 if not given. */
  leaseSeconds?: number | undefined;
}

/**
 * Records a batch of a run, all or none, in one statement: the events go to the log; failures are opened,
 * updated or closed, by the last outcome of each record; contacts are linked; pushed changes are cleared
 * unless something newer came; cursors move; and the lease lasts from now on.
 *
 * What a batch did to the host's own tables belongs into the same transaction, before this call.
 * Repeating a call after a lost answer changes nothing. A link that cannot be made fails that record
 * alone, with an error of kind `conflict`. A change is cleared also if its push failed: the failure takes
 * over. An event without the id of its record is logged, and opens no failure: do not move a cursor past it.
 *
 * @throws CrmSchemaError, and nothing was written: `lease_lost`: stop; `cursor_conflict`: the cursor was
 *   reset meanwhile: end the run and begin again; `cursor_moved_backwards`; `batch_out_of_order`;
 *   `wrong_tenant`: a contact was deleted at this very moment: look it up again; `invalid_input` with
 *   `rowIndex`, of the cursors where the message names one. A deadlock (SQLSTATE 40P01), as with a host that deletes many contacts, is to be retried
 */
export async function syncBatchRecord(
  client: Queryable,
  params: SyncBatchRecordParams,
): Promise<BatchResult> {
  const { organisationId, connectionId, runId, batchNumber, leaseSeconds = 300 } = params;
  checkRunKey(params);
  checkWholeNumber({ field: 'batchNumber' }, batchNumber, 1, 2_147_483_647);
  checkLease(leaseSeconds);
  const events = checkBatch('events', params.events ?? []);
  const cursors = checkBatch('cursors', params.cursors ?? []);
  const columns = { ...eventColumns(events, eventFields), ...cursorColumns(cursors) };
  events.forEach(checkBatchEvent);
  const record = () =>
    queries.syncBatchRecord.run(
      {
        organisationId,
        connectionId,
        runId,
        batchNumber,
        leaseSeconds,
        ...columns,
        retryAfters: events.map(({ retryAfterSeconds }) => retryAfterSeconds ?? null) as number[],
        areLinks: events.map(({ linksContact }) => linksContact ?? false),
        changeVersions: events.map(({ changeVersion }) => changeVersion ?? null) as string[],
      },
      client,
    );
  let [row] = await record();
  // Another batch of this run got in before: the next statement sees what it wrote.
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
        `Batch ${batchNumber} is not the next one of its run: one before it was not recorded.`,
      );
    case 'cursor_conflict':
      throw new CrmSchemaError(
        'cursor_conflict',
        'A cursor is not of the version given, because it was reset or moved: read it again.',
      );
    case 'cursor_moved_backwards':
      throw new CrmSchemaError(
        'cursor_moved_backwards',
        'A cursor is already past the position given, and never moves back; to begin again, reset it.',
      );
    default:
      return leaseLost();
  }
}

function checkBatchEvent(event: BatchEvent, rowIndex: number): void {
  const at = (field: string): InputLocation => ({ field, rowIndex });
  const { retryAfterSeconds, linksContact, changeVersion } = event;
  if (retryAfterSeconds != null) {
    if (event.status !== 'error') refuse(at('retryAfterSeconds'), 'belongs to a failure alone');
    checkRetryAfter(at('retryAfterSeconds'), retryAfterSeconds);
  }
  if (linksContact != null) {
    if (typeof linksContact !== 'boolean') refuse(at('linksContact'), 'has to be true or false');
    if (linksContact && (event.externalId == null || event.internalId == null)) {
      refuse(at('linksContact'), 'takes an externalId and an internalId to link');
    }
  }
  if (changeVersion != null) {
    checkId(at('changeVersion'), changeVersion);
    if (event.direction !== 'outbound' || event.internalId == null) {
      refuse(at('changeVersion'), 'belongs to an outbound event with the contact as its internalId');
    }
  }
}
