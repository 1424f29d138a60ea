import type { SyncError, SyncErrorKind } from '@nurturehub/crm-schema';
import type { ContactFields } from './contact-fields.js';

/**
 * What the worker needs from a CRM. Each CRM has one adapter that implements this; nothing else differs
 * between CRMs.
 */
export interface Crm {
  /** The CRM's own name of the account that is signed in, if it has one. Ids belong to an account. */
  readonly account?: string | undefined;

  /** The version of the credentials that it signed in with, if it has refreshed a token. */
  readonly credentialsVersion?: number | undefined;

  /**
   * What the CRM counts requests by, if the worker is to keep to its rate limit together with all others that share it:
   * the account, or the id of the API key; never the key. Without it, the worker waits only once it was refused.
   * Each call of a method below counts as one request.
   */
  readonly rateLimitScope?: string | undefined;

  /**
   * How long to wait, in seconds, when it says that there were too many requests but not for how long; defaults to what
   * `rateLimits` has for the CRM.
   */
  readonly rateLimitWaitSeconds?: number | undefined;

  /**
   * Whether the CRM refuses an update of another version than `record.version` (`If-Match`). Where it does not, the
   * worker reads a record before it overwrites it; an edit between the two requests is lost.
   */
  readonly comparesVersions?: boolean | undefined;

  /** The entity types to read. Each is a stream with its own cursor. */
  readonly entityTypes: readonly string[];

  /**
   * Reads one page of the changed records of an entity type. A stream is read in passes: a pass begins with
   * `changedSince`, and each further page with the `next` of the page before, until a page is the last.
   *
   * A pass may take several runs, and be continued by another worker. So:
   * - **`next` holds all that the pass needs**, also the time with which it began.
   * - **No record may slip between two pages** when others change meanwhile. Sort by modified time and id,
   *   ascending, and continue after the last ones that were read (also if many records share one time). If the
   *   CRM only numbers pages, sort newest first, so that an edit moves the others towards pages that are still to
   *   be read. If a record can move the other way, the next pass must find it: let that read everything, or begin
   *   at the time at which this one began.
   * - **A page may repeat records**: what is read twice is applied once.
   *
   * @throws CrmError with `isPositionLost` if the CRM no longer accepts the token
   */
  readPage(entityType: string, from: CrmPosition): Promise<CrmPage>;

  /**
   * Reads the current state of one record; null if the CRM does not show it, which need not mean that it is
   * deleted.
   *
   * @throws CrmError
   */
  read(entityType: string, externalId: string): Promise<CrmRecord | null>;

  /**
   * Writes a contact: updates a record, or creates one. If the CRM compares versions (`If-Match`), an update of
   * another version than `record.version` is refused: a retryable `CrmError` of kind `conflict`.
   *
   * @param record the record to update; null to create one
   * @returns the record as the CRM now holds it: its version and its fields as the CRM stores them, if it tells
   *   them; null if it does not show the record. If a creation finds a record with the contact's reference, because the
   *   answer to an earlier one was lost: its key. It is not written, since somebody may have edited it.
   * @throws CrmError
   */
  write(contact: CrmContact, record: LinkedRecord | null): Promise<CrmRecord | ExistingRecord | null>;
}

/** Where a page begins. */
export type CrmPosition =
  | {
      /** A new pass: all that has changed at or after this time, in UTC; null for all records. */
      changedSince: string | null;
    }
  | {
      /** The `next` of an earlier page, perhaps one that another worker read. */
      token: string;
    };

/** A page, and where the next one begins. `next` is the adapter's own text: 1 to 4,096 bytes, which nobody else reads. */
export type CrmPage = { records: CrmRecord[] } & (
  | {
      isLast: false;
      next: string;
    }
  | {
      /** The end of a pass: for now, there is no more. */
      isLast: true;
      /** Null: the next sync begins a new pass, shortly before `syncedTo`. */
      next: null;
      /**
       * Every change up to this time has been read, by the CRM's clock and with a zone: `canonicalTimestamp`. Not the
       * time of the last page, but at the latest that at which the pass began.
       */
      syncedTo: string;
    }
  | {
      isLast: true;
      /** The next sync continues here, as feeds of changes do. */
      next: string;
      /** As above, if the CRM says it. */
      syncedTo?: string | null;
    }
);

/** Identifies a record at the CRM. */
export interface CrmRecordKey {
  entityType: string;
  externalId: string;
}

/** The record that an earlier creation of a contact has left. */
export interface ExistingRecord {
  existing: CrmRecordKey;
}

/** A record that is linked to a contact. */
export interface LinkedRecord extends CrmRecordKey {
  /** Its version when it was last read or written, exactly as the CRM writes it; null if unknown. */
  version?: string | null;
}

/**
 * A person as the CRM knows them. A list, a record that is read by its id, and the answer to a write say the same fields: one
 * that is left out in some of them looks like an edit.
 */
export interface CrmRecord extends CrmRecordKey, ContactFields {
  state: 'active' | 'archived' | 'hidden' | 'deleted' | 'merged';
  /** An ETag with its quotes, for example. */
  version?: string | null;
  /** When the record last changed, by the CRM's clock and with a zone: `canonicalTimestamp`. Another is ignored. */
  modifiedAt?: string | null;
  /** The id of the contact, if we created the record. */
  reference?: string | null;
  /** The id of the record of the same entity type that this one was merged into. */
  mergedInto?: string | null;
  /** Set by the worker: it was read by its id, just now. */
  isCurrent?: boolean;
}

/** A person as NurtureHub knows them. */
export interface CrmContact extends ContactFields {
  /** Stored at the CRM as its reference to us. */
  contactId: string;
}

/** A request that failed, or may have failed, at the CRM. */
export class CrmError extends Error {
  override readonly name = 'CrmError';
  readonly kind: SyncErrorKind;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** How long the CRM asks us to wait. */
  readonly retryAfterSeconds: number | undefined;
  /** The CRM's own error code. */
  readonly code: string | undefined;
  /** The version of the credentials that the CRM refused, if it is another than the claim's and the adapter's. */
  readonly credentialsVersion: number | undefined;
  /** Whether the CRM no longer accepts the token of a page, because it has expired: the pass begins again. */
  readonly isPositionLost: boolean;

  /** Turns whatever the CRM says into values that the schema accepts. */
  constructor(
    kind: SyncErrorKind,
    message: string,
    details: {
      retryable: boolean;
      retryAfterSeconds?: number | undefined;
      code?: string | undefined;
      credentialsVersion?: number | undefined;
      isPositionLost?: boolean | undefined;
    },
  ) {
    const { retryable, retryAfterSeconds = Number.NaN, code = '', credentialsVersion } = details;
    super(storable(message, 500) || 'The CRM gave no reason.');
    this.kind = kind;
    this.retryable = retryable;
    this.retryAfterSeconds = Number.isNaN(retryAfterSeconds)
      ? undefined
      : Math.min(Math.max(Math.ceil(retryAfterSeconds), 0), 604_800);
    this.code = storable(code, 100) || undefined;
    this.credentialsVersion = credentialsVersion;
    this.isPositionLost = details.isPositionLost ?? false;
  }

  /** The form that the log and the failures store. */
  toSyncError(): SyncError {
    const { kind, retryable, message, code } = this;
    return { kind, retryable, message, ...(code === undefined ? {} : { code }) };
  }
}

/** Removes NUL, lone surrogates and surrounding white space, and truncates. */
function storable(text: string, length: number): string {
  return [...text.replace(/\0|\p{Surrogate}/gu, '').trim()].slice(0, length).join('').trim();
}
