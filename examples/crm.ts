import type { SyncError, SyncErrorKind } from '@nurturehub/crm-schema';

/**
 * What the worker needs from a CRM. Each CRM has one adapter that implements this; nothing else differs
 * between CRMs.
 */
export interface Crm {
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
   * Reads the current state of one record; null if the CRM has none, or no longer shows it.
   *
   * @throws CrmError
   */
  read(entityType: string, externalId: string): Promise<CrmRecord | null>;

  /**
   * Writes a contact: updates the record it is linked to, or creates one. If the response to a creation
   * was lost, creating the same contact again finds the existing record.
   *
   * @returns the record's key; null if the record no longer exists
   * @throws CrmError
   */
  write(contact: CrmContact, linked: CrmRecordKey | null): Promise<CrmRecordKey | null>;
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

/** A person as the CRM knows them. */
export interface CrmRecord extends CrmRecordKey {
  name: string;
  state: 'active' | 'deleted' | 'merged';
  /** The id of the contact, if we created the record. */
  reference?: string | null;
  /** The record that this one was merged into. */
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

  /** Turns whatever the CRM says into values that the schema accepts. */
  constructor(
    kind: SyncErrorKind,
    message: string,
    details: { retryable: boolean; retryAfterSeconds?: number | undefined; code?: string | undefined },
  ) {
    const { retryable, retryAfterSeconds = Number.NaN, code = '' } = details;
    super(storable(message, 500) || 'The CRM gave no reason.');
    this.kind = kind;
    this.retryable = retryable;
    this.retryAfterSeconds = Number.isNaN(retryAfterSeconds)
      ? undefined
      : Math.min(Math.max(Math.ceil(retryAfterSeconds), 0), 604_800);
    this.code = storable(code, 100) || undefined;
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
