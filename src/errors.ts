/** What each error code means. The codes are part of the public contract: none ever changes its meaning. */
export interface CrmSchemaErrorCodes {
  /** The session's `search_path` finds no installation of the schema, or only one of an older version. */
  schema_not_found: true;
  /** The input breaks a rule of the schema. Nothing was written. */
  invalid_input: true;
  /** The provider is not one of `providers`. */
  unknown_provider: true;
  /** The organisation does not exist. */
  unknown_organisation: true;
  /** The connection or contact does not belong to this organisation, or does not exist. */
  wrong_tenant: true;
  /** The transaction has no organisation set, or a different one from the call's: see `withOrganisation`. */
  organisation_not_set: true;
  /** The database user may not do this: it is not a member of the role that the call needs. */
  not_permitted: true;
  /** `withOrganisation` did not commit: a statement had failed, or its callback ended the transaction. */
  transaction_undone: true;
  /** The organisation already has a live connection to this CRM. */
  live_connection_exists: true;
  /** A connection with this id already exists. */
  connection_exists: true;
  /** The connection is disconnected, or does not belong to this organisation. */
  connection_not_live: true;
  /** The connection is to another account at the CRM than the call names. Nothing was written. */
  account_changed: true;
  /**
   * It is not known to which account at the CRM the organisation's external ids belong, and the call does not
   * say what becomes of them: see `idsOfUnknownAccount`.
   */
  account_unknown: true;
  /** The run has ended or its lease has expired. Another worker may already have the connection: stop. */
  lease_lost: true;
  /** The batch is not the next one of its run: an earlier batch was not recorded. */
  batch_out_of_order: true;
  /** The cursor has moved or was reset since the caller read it: read it again. */
  cursor_conflict: true;
  /** The cursor is already past this point. Cursors never move backwards; to start again, reset it. */
  cursor_moved_backwards: true;
  /** A time is more than a day ahead of the database's clock. Nothing was written. */
  time_in_future: true;
  /** The credentials are not a JWE of the required shape. */
  malformed_credentials: true;
  /** The credentials were encrypted for another organisation, connection or provider. */
  credentials_bound_elsewhere: true;
  /** The credentials do not match the provider's type. */
  invalid_credentials: true;
  /** The CRM refuses to refresh the credentials, for good. The connection was put in error: connect it again. */
  credentials_refused: true;
  /** The credentials have changed since the version that the caller has: read them again. */
  credentials_superseded: true;
  /**
   * The credentials cannot be decrypted: they were tampered with, or encrypted with another key of the same
   * id.
   */
  credentials_not_authentic: true;
  /** The key ring is missing or malformed. */
  invalid_key_ring: true;
  /** The key ring does not contain the key with which the credentials were encrypted. */
  unknown_key: true;
  /** The key ring contains only the public half of the key with which the credentials were encrypted. */
  key_cannot_decrypt: true;
  /** The key ring is missing keys that connections still need. */
  key_still_needed: true;
  /** The external id is mapped to another contact. */
  external_id_taken: true;
  /** The contact is mapped to another external id at this provider. */
  contact_taken: true;
  /** The record is that of a person who was erased: it is not linked. */
  record_erased: true;
  /** The mapping has changed since the caller read it: read it again. */
  mapping_changed: true;
  /** The database or the package is not in a state that can be migrated. Nothing was changed. */
  migration_refused: true;
  /** A migration failed and was rolled back; the migrations before it stay. `cause` says why. */
  migration_failed: true;
  /** The connection or the log does not allow partition maintenance: the message says why, and what to do. */
  partitions_refused: true;
  /** Other sessions blocked partition maintenance for too long. Run it again: what was done stays. */
  partitions_blocked: true;
  /** The log has no last partition, so later events are refused. `verify` says how to repair it. */
  catch_all_missing: true;
  /** `crm_retention` has no retention period for the log. */
  retention_period_missing: true;
}

/** One of the codes of {@link CrmSchemaErrorCodes}. */
export type CrmSchemaErrorCode = keyof CrmSchemaErrorCodes;

/**
 * A rule of the schema was broken. `message` is for people and contains no secret; `code` is for programs.
 *
 * If the database raised the error, `cause` has the server's SQLSTATE, message and constraint, but not its
 * detail, which quotes the refused row. Only then is the caller's transaction aborted.
 */
export class CrmSchemaError extends Error {
  /** Identifies the error even where two copies of this package are loaded. */
  override readonly name = 'CrmSchemaError';
  /** What went wrong: stable, for programs. */
  readonly code: CrmSchemaErrorCode;
  /** The element of the batch that caused the error, counted from 0. */
  readonly rowIndex: number | undefined;

  /**
   * @param code what went wrong, for programs
   * @param message what went wrong, for people: without a secret
   */
  constructor(
    code: CrmSchemaErrorCode,
    message: string,
    options: {
      /** The database's error, without the row. */
      cause?: unknown;
      /** The element of the batch that caused the error, counted from 0. */
      rowIndex?: number | undefined;
    } = {},
  ) {
    const { rowIndex } = options;
    super(
      rowIndex === undefined ? message : `row ${rowIndex}: ${message}`,
      'cause' in options ? { cause: options.cause } : undefined,
    );
    this.code = code;
    this.rowIndex = rowIndex;
  }

  /** What to log. Without this, `JSON.stringify` leaves out an error's message. */
  toJSON(): Pick<CrmSchemaError, 'name' | 'code' | 'message' | 'rowIndex'> {
    const { name, code, message, rowIndex } = this;
    return { name, code, message, rowIndex };
  }
}

/** Throws the same error without its row: for calls about a single record, which run as a batch of one. */
export function withoutRow(error: unknown): never {
  if (!(error instanceof CrmSchemaError) || error.rowIndex === undefined) throw error;
  const message = error.message.slice(`row ${error.rowIndex}: `.length);
  throw new CrmSchemaError(error.code, message, error.cause === undefined ? {} : { cause: error.cause });
}

/** The error of a call that needs a live connection. */
export function connectionNotLive(): CrmSchemaError {
  return new CrmSchemaError(
    'connection_not_live',
    'The organisation has no such live connection, or is not the one set for this transaction.',
  );
}

/** The error of a call with a time that is too far ahead. */
export function timeInFuture(field: string, options: { rowIndex?: number } = {}): CrmSchemaError {
  return new CrmSchemaError(
    'time_in_future',
    `${field} is more than a day ahead of the database's clock. Nothing was written. Check the time zone, and the clock that the time comes from.`,
    options,
  );
}

/** The error of a call that only the holder of a run's lease may make. */
export function leaseLost(): CrmSchemaError {
  return new CrmSchemaError(
    'lease_lost',
    'The run has ended, its lease has expired or its connection is disconnected. Nothing was written.',
  );
}
