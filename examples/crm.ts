import type { SyncError, SyncErrorKind } from '@nurturehub/crm-schema';

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
   * Whether the CRM refuses an update of another version than `record.version` (`If-Match`). Where it does not, the
   * worker reads a record before it overwrites it; an edit between the two requests is lost.
   */
  readonly comparesVersions?: boolean | undefined;

  /** The entity types to read. Each is a stream with its own cursor. */
  readonly entityTypes: readonly string[];

  /**
   * Reads one page of the changed records of an entity type, starting where the last page ended.
   *
   * @param from the last page's `next`; null to read everything from the beginning
   * @throws CrmError
   */
  readPage(entityType: string, from: CrmPosition | null): Promise<CrmPage>;

  /**
   * Reads the current state of one record; null if the CRM does not show it, which need not mean that it is
   * deleted.
   *
   * @throws CrmError
   */
  read(entityType: string, externalId: string): Promise<CrmRecord | null>;

  /**
   * Writes a contact: updates a record, or creates one. If the response to a creation was lost, creating the
   * same contact again finds the existing record. If the CRM compares versions (`If-Match`), an update of
   * another version than `record.version` is refused: a retryable `CrmError` of kind `conflict`.
   *
   * @param record the record to update; null to create one
   * @returns the record as the CRM now holds it: its version and the name as the CRM stores it, if it tells
   *   them; null if it does not show the record
   * @throws CrmError
   */
  write(contact: CrmContact, record: LinkedRecord | null): Promise<CrmRecord | null>;
}

/** A position in a stream, in the CRM's own terms. */
export type CrmPosition =
  | { kind: 'timestamp'; syncedTo: string }
  | { kind: 'token'; token: string; syncedTo?: string | null }
  | { kind: 'page'; page: number; syncedTo?: string | null };

/** A page, and where the next one starts. */
export interface CrmPage {
  records: CrmRecord[];
  /** Where the next page, or the next sync, starts. */
  next: CrmPosition;
  /** Whether this is the last page for now. */
  isLast: boolean;
}

/** Identifies a record at the CRM. */
export interface CrmRecordKey {
  entityType: string;
  externalId: string;
}

/** A record that is linked to a contact. */
export interface LinkedRecord extends CrmRecordKey {
  /** Its version when it was last read or written, exactly as the CRM writes it; null if unknown. */
  version?: string | null;
}

/** A person as the CRM knows them. */
export interface CrmRecord extends CrmRecordKey {
  name: string;
  state: 'active' | 'archived' | 'hidden' | 'deleted' | 'merged';
  /** An ETag with its quotes, for example. */
  version?: string | null;
  /** When the record last changed, by the CRM's clock, with a zone: see `canonicalTimestamp`. */
  modifiedAt?: string | null;
  /** The id of the contact, if we created the record. */
  reference?: string | null;
  /** The id of the record of the same entity type that this one was merged into. */
  mergedInto?: string | null;
}

/** A person as NurtureHub knows them. */
export interface CrmContact {
  /** Stored at the CRM as its reference to us. */
  contactId: string;
  name: string;
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

  /** Turns whatever the CRM says into values that the schema accepts. */
  constructor(
    kind: SyncErrorKind,
    message: string,
    details: {
      retryable: boolean;
      retryAfterSeconds?: number | undefined;
      code?: string | undefined;
      credentialsVersion?: number | undefined;
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
