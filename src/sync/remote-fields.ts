import type { SyncBatchRecordParams } from '../generated/sync_batches.js';
import { timestampParameter } from '../timestamps.js';
import { type RemoteState, remoteStates, type TimestampInput } from '../types.js';
import {
  checkContentHash,
  checkOneOf,
  checkRemoteVersion,
  type InputLocation,
  refuse,
} from '../validation.js';
import type { SyncEvent } from './events.js';

/**
 * What an event of a batch says about the record at the CRM. All of it is ignored if the event failed. Version and
 * content are also ignored if the record was skipped, unless the reason is `echo`, `unchanged`, `pending_push` or
 * `conflict`: what was not taken is a change again when it is next read.
 */
export interface RemoteFields {
  /**
   * The version of the record, exactly as the CRM writes it: an ETag with its quotes, 1 to 512 bytes. For
   * pushes, the version that the CRM gave to what was pushed; null if it gave none.
   */
  remoteVersion?: string | null | undefined;
  /**
   * When the record was last modified, by the CRM's clock. A time more than a day ahead of the database's
   * clock is ignored.
   */
  remoteModifiedAt?: TimestampInput | null | undefined;
  /** The state of the record. Null or omitted: as before, and `active` for a record that is new. */
  remoteState?: Exclude<RemoteState, 'merged'> | null | undefined;
  /**
   * `contentHash` of the mapped fields: of a record that was read, as the CRM sent it; of a push, as the CRM now
   * holds it. Null or omitted: unknown, unless the reason is `echo` or `unchanged`. Ignored for pushes that were
   * skipped for any reason.
   */
  contentHash?: string | null | undefined;
  /**
   * Only for pushes: the version of the record that the push was based on. If another version is known, the
   * push may have overwritten a change: the event becomes a failure of kind `conflict`.
   */
  basedOnVersion?: string | null | undefined;
}

/** The fields of {@link RemoteFields}, for `fieldsOf`. */
export const remoteFieldNames = {
  remoteVersion: true,
  remoteModifiedAt: true,
  remoteState: true,
  contentHash: true,
  basedOnVersion: true,
} as const;

/** {@link RemoteFields} as columns, which is how `unnest` takes them. */
export type RemoteFieldColumns = Pick<
  SyncBatchRecordParams,
  'remoteVersions' | 'remoteModifiedAts' | 'remoteStates' | 'contentHashes' | 'basedOnVersions'
>;

/** Columns without any event yet. */
export function noRemoteFields(): RemoteFieldColumns {
  return {
    remoteVersions: [],
    remoteModifiedAts: [],
    remoteStates: [],
    contentHashes: [],
    basedOnVersions: [],
  };
}

/**
 * Checks what one event says about its record, and appends it to the columns.
 *
 * @throws CrmSchemaError `invalid_input` with the event's `rowIndex`
 */
export function addRemoteFields(
  columns: RemoteFieldColumns,
  event: SyncEvent & RemoteFields,
  rowIndex: number,
): void {
  const at = (field: string): InputLocation => ({ field, rowIndex });
  const { remoteVersion, remoteModifiedAt, remoteState, contentHash, basedOnVersion } = event;
  for (const field of Object.keys(remoteFieldNames) as (keyof RemoteFields)[]) {
    if (event[field] != null && event.externalId == null) refuse(at(field), 'needs externalId');
  }
  if (basedOnVersion != null && event.direction !== 'outbound') {
    refuse(at('basedOnVersion'), 'is only allowed with direction outbound');
  }
  if (remoteVersion != null) checkRemoteVersion(at('remoteVersion'), remoteVersion);
  if (remoteState != null) checkOneOf(at('remoteState'), remoteState, reportedStates);
  if (contentHash != null) checkContentHash(at('contentHash'), contentHash);
  if (basedOnVersion != null) checkRemoteVersion(at('basedOnVersion'), basedOnVersion);
  columns.remoteVersions.push(remoteVersion ?? null);
  columns.remoteModifiedAts.push(
    remoteModifiedAt == null ? null : timestampParameter(at('remoteModifiedAt'), remoteModifiedAt),
  );
  columns.remoteStates.push(remoteState ?? null);
  columns.contentHashes.push(contentHash ?? null);
  columns.basedOnVersions.push(basedOnVersion ?? null);
}

/** A merger has its own function, because it names the record that survives. */
const reportedStates = remoteStates.filter((state) => state !== 'merged');
