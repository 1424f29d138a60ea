import type { ContactExternalRecord } from '../contacts/external-record-list.js';
import type { IdentityChangeKind } from '../contacts/identity-changes.js';
import type * as queries from '../generated/contact_export.js';
import type { SyncLogListByConnectionResult } from '../generated/crm_sync_log.js';
import type { ConnectionKey } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { SyncConflict } from '../sync/conflicts.js';
import type { SyncFailure } from '../sync/failures.js';
import type {
  Provider,
  SyncDirection,
  SyncError,
  SyncErrorKind,
  SyncSkipReason,
  SyncStatus,
  Timestamp,
} from '../types.js';

/**
 * All that the sync tables keep of a person; not what is in the application's contacts. Numbers that name a row are
 * text.
 */
export interface ContactExport extends ContactExportHead, ContactExportSections {}

/** What an export is of. */
export interface ContactExportHead {
  /** The version of this format. What is added to it later does not change the version. */
  format: 1;
  /** When the transaction began that read the export. */
  exportedAt: Timestamp;
  /** The organisation's UUID. */
  organisationId: string;
  /** The contact's UUID. */
  contactId: string;
  /** If the contact was merged into another one: that one, whose export has the rest of what is kept. */
  mergedIntoId: string | null;
  /**
   * The months of the log that are detached from it and could not be read, by the names of their tables: the user may not
   * read them, or they have another owner or other columns than the log. Their events are missing.
   */
  monthsNotRead: string[];
}

/** The rows of an export, by section. */
export interface ContactExportSections {
  /** The contacts that are this person: the contact, and those that were merged into it. */
  contacts: ExportedContact[];
  /** Their records at CRMs. */
  records: ExportedRecord[];
  /** How their external ids have changed, newest first. */
  identityChanges: ExportedIdentityChange[];
  /** What waits to be pushed to CRMs. */
  outboundChanges: ExportedOutboundChange[];
  /** What failed to be read or pushed, and has not succeeded since. */
  failures: ExportedFailure[];
  /** Their records that were edited on both sides. */
  conflicts: ExportedConflict[];
  /** Their records that are to be read first. */
  recordRequests: ExportedRecordRequest[];
  /** What was read, pushed, skipped, or failed, newest first, followed by those of each month that is detached from the log. */
  events: ExportedEvent[];
}

/** A contact of the person. */
export interface ExportedContact {
  /** The contact's UUID. */
  contactId: string;
  /** The contact that it was merged into. Null if it was not, or if that was undone. */
  mergedIntoId: string | null;
  /** When it was merged. */
  mergedAt: Timestamp | null;
}

/** Which connection a row is about. */
export interface ExportedConnection {
  /** The connection's UUID. */
  connectionId: string;
  /** The CRM. */
  provider: Provider;
}

/** A record at a CRM that is the person's: a primary id, an alias, or one in the archive. */
export interface ExportedRecord extends ContactExternalRecord {
  /** Of a record in the archive: the last connection to the account that it belongs to. */
  connectionId: string | null;
  /** Of a record in the archive: the account at the CRM. Null if it is not known. */
  account: string | null;
  /** If the CRM merged it into another record: the id of that one. Null if that one is another contact's by now. */
  mergedIntoExternalId: string | null;
  /** SHA-256 of the mapped fields as the CRM holds them, in hexadecimal. Null if it is not known. */
  contentHash: string | null;
  /** When the record was last pushed, if it has not been read since. */
  pushedAt: Timestamp | null;
  /** The hashes of earlier contents that a late copy may still have, in hexadecimal. */
  replacedHashes: string[] | null;
  /** When the last of them was replaced. */
  replacedAt: Timestamp | null;
  /** When it was put into the archive, because another account was connected. Null if it is in use. */
  archivedAt: Timestamp | null;
}

/** A change of what an external id means. Says nothing of another contact that had the id before, or has it afterwards. */
export interface ExportedIdentityChange
  extends NarrowedRow<
    queries.ContactExportIdentityChangesResult,
    { kind: IdentityChangeKind; provider: Provider | null }
  > {
  /** The CRM of the record. Null, as are `entityType` and `externalId`, for a merge itself, and for its undoing. */
  provider: Provider | null;
  /** The id of the record. Null for a merge itself, which names none, and for an id that is another person's now. */
  externalId: string | null;
  /** The contact of this person that the id meant before. Null if it meant none, or another person. */
  fromContactId: string | null;
  /** Whether the id meant another person before. */
  isFromAnother: boolean;
  /** The contact of this person that the id means afterwards. Null if it means none, or another person. */
  toContactId: string | null;
  /** Whether the id means another person afterwards. */
  isToAnother: boolean;
  /** Whether it was the primary id before, rather than an alias. Null if it meant no contact of this person. */
  wasPrimary: boolean | null;
  /** Whether it is the primary id afterwards, rather than an alias. Null if it means no contact of this person. */
  isPrimary: boolean | null;
  /** When the id was linked to `fromContactId`. */
  linkedAt: Timestamp | null;
}

/** A change that waits to be pushed. */
export interface ExportedOutboundChange
  extends ExportedConnection,
    Omit<queries.ContactExportOutboundChangesResult, keyof ExportedConnection> {}

/** A failing record. */
export interface ExportedFailure extends ExportedConnection, Omit<SyncFailure, keyof ConnectionKey> {
  /** When the worker gave up on the record. Null while it is retried. */
  gaveUpAt: Timestamp | null;
  /** The kind of that error. */
  kind: SyncErrorKind;
}

/** A record that was edited on both sides. */
export interface ExportedConflict
  extends ExportedConnection,
    Omit<SyncConflict, keyof ConnectionKey | 'externalId'> {
  /** The record's id at the CRM. Null if the record was another person's then. */
  externalId: string | null;
}

/** A record that is to be read first. */
export interface ExportedRecordRequest
  extends ExportedConnection,
    Omit<queries.ContactExportRecordRequestsResult, keyof ExportedConnection> {}

/** An event of the log. */
export interface ExportedEvent
  extends ExportedConnection,
    NarrowedRow<
      Omit<SyncLogListByConnectionResult, keyof ConnectionKey | 'externalId'>,
      {
        direction: SyncDirection;
        status: SyncStatus;
        error: SyncError | null;
        reason: SyncSkipReason | null;
      }
    > {
  /** The record's id at the CRM. Null if there is none, and if the record was another person's then. */
  externalId: string | null;
}
