import type { SyncError, SyncErrorKind } from '@nurturehub/crm-schema';

/**
 * What the worker needs to know of a CRM: one adapter per CRM implements it, and is all that differs
 * between them.
 */
export interface Crm {
  /** The kinds of record that are read: each is a stream with a cursor of its own. */
  readonly entityTypes: readonly string[];

  /**
   * The records of one kind that changed, a page at a time, from where the last page ended.
   *
   * @param from what the last page said comes `next`; null for everything from the beginning
   * @throws CrmError
   */
  readPage(entityType: string, from: CrmPosition | null): Promise<CrmPage>;

  /**
   * One record as it is now; null if the CRM has none, or does not show it any more.
   *
   * @throws CrmError
   */
  read(entityType: string, externalId: string): Promise<CrmRecord | null>;

  /**
   * Writes a contact: updates the record it is linked to, or creates one. Creating the same contact
   * again, after an answer that was lost, finds the record that is there.
   *
   * @returns the record's id; null if the record is gone
   * @throws CrmError
   */
  write(contact: CrmContact, linked: CrmRecordKey | null): Promise<CrmRecordKey | null>;
}

/** Where a stream stands, in the CRM's own terms. */
export type CrmPosition =
  | { kind: 'timestamp'; syncedTo: string }
  | { kind: 'token'; token: string; syncedTo?: string | null }
  | { kind: 'page'; page: number; syncedTo?: string | null };

/** A page, and from where to read on. */
export interface CrmPage {
  records: CrmRecord[];
  /** From where the next page, or the next sync, reads on. */
  next: CrmPosition;
  /** Whether this was the last page for now. */
  isLast: boolean;
}

/** Names a record at the CRM. */
export interface CrmRecordKey {
  entityType: string;
  externalId: string;
}

/** A person as the CRM knows them. */
export interface CrmRecord extends CrmRecordKey {
  name: string;
  state: 'active' | 'deleted' | 'merged';
  /** The contact that it was written for, if we wrote it. */
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

/** A request that the CRM did not do, or may not have done. */
export class CrmError extends Error {
  override readonly name = 'CrmError';
  readonly kind: SyncErrorKind;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** How long the CRM asks to be left alone. */
  readonly retryAfterSeconds: number | undefined;
  /** The CRM's own code. */
  readonly code: string | undefined;

  /** Whatever the CRM says, it becomes something that the schema takes. */
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

  /** As the sync log and the failures keep it. */
  toSyncError(): SyncError {
    const { kind, retryable, message, code } = this;
    return { kind, retryable, message, ...(code === undefined ? {} : { code }) };
  }
}

/** Without NUL, halves of surrogate pairs and white space around it, and not too long. */
function storable(text: string, length: number): string {
  return [...text.replace(/\0|\p{Surrogate}/gu, '').trim()].slice(0, length).join('').trim();
}
