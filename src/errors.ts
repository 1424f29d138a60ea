/** What each code means. They are part of the public contract, and never change meaning. */
export interface CrmSchemaErrorCodes {
  /** The session's search_path leads to no installation of the schema; or, for partitions, only to an older version. */
  schema_not_found: true;
  /** The input breaks a rule of the schema; nothing was written. */
  invalid_input: true;
  /** The provider is none of `providers`. */
  unknown_provider: true;
  /** There is no such organisation. */
  unknown_organisation: true;
  /** The organisation has no such connection or contact; another organisation may. */
  wrong_tenant: true;
  /** No organisation is set for the transaction, or another than the call names: see `withOrganisation`. */
  organisation_not_set: true;
  /** The database's user may not do this: he is a member of another role than the call needs, or of none. */
  not_permitted: true;
  /** `withOrganisation` did not commit: a statement had failed, or its work ended the transaction by itself. */
  transaction_undone: true;
  /** The organisation already has a live connection to this CRM. */
  live_connection_exists: true;
  /** A connection with this id exists already. */
  connection_exists: true;
  /** The organisation has no such connection, or it is disconnected. */
  connection_not_live: true;
  /** The run has ended, or its lease has run out: another worker may be at it. */
  lease_lost: true;
  /** The batch is not the next one of its run: one before it was not recorded. */
  batch_out_of_order: true;
  /** The cursor is not, or no longer, where the caller believed: read it again. */
  cursor_conflict: true;
  /** The cursor is already past this point. */
  cursor_moved_backwards: true;
  /** The credentials are not a JWE of the agreed shape. */
  malformed_credentials: true;
  /** The credentials were encrypted for another organisation, connection or provider. */
  credentials_bound_elsewhere: true;
  /** The credentials are not what the provider's type says. */
  invalid_credentials: true;
  /** The credentials are not those of the version that the caller goes by: read them again. */
  credentials_superseded: true;
  /** The credentials cannot be decrypted: tampered with, or encrypted by another key of the same id. */
  credentials_not_authentic: true;
  /** The key ring is missing or malformed. */
  invalid_key_ring: true;
  /** The key ring does not have the key that the credentials are encrypted for. */
  unknown_key: true;
  /** The key ring has only the public half of the key that the credentials are encrypted for. */
  key_cannot_decrypt: true;
  /** The key ring lacks keys that connections still need. */
  key_still_needed: true;
  /** The external id is mapped to another contact. */
  external_id_taken: true;
  /** The contact has another external id at this provider. */
  contact_taken: true;
  /** The mapping is not, or no longer, what the caller believed: look again. */
  mapping_changed: true;
  /** The database or the package is not as migrating needs it; nothing was changed. */
  migration_refused: true;
  /** A migration failed, and nothing of it was done; those before it stay. `cause` says why. */
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

/** What went wrong, for programs: one of {@link CrmSchemaErrorCodes}. */
export type CrmSchemaErrorCode = keyof CrmSchemaErrorCodes;

/**
 * A rule of the schema is broken. `message` is for people and holds no secret; `code` is for programs.
 *
 * `cause`, where the database found it, has the server's SQLSTATE, message and constraint, but not its
 * detail, which quotes the refused row. Only then is a transaction that it happened in aborted.
 */
export class CrmSchemaError extends Error {
  /** Tells it apart, also where two copies of this package are loaded. */
  override readonly name = 'CrmSchemaError';
  /** What went wrong, for programs. */
  readonly code: CrmSchemaErrorCode;
  /** The element of a batch that is to blame, counted from 0. */
  readonly rowIndex: number | undefined;

  constructor(
    code: CrmSchemaErrorCode,
    message: string,
    options: {
      /** What the database found, without the row. */
      cause?: unknown;
      /** The element of a batch that is to blame, counted from 0. */
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

  /** What a log should have of it; `JSON.stringify` leaves out an error's message otherwise. */
  toJSON(): Pick<CrmSchemaError, 'name' | 'code' | 'message' | 'rowIndex'> {
    const { name, code, message, rowIndex } = this;
    return { name, code, message, rowIndex };
  }
}

/** For calls about a single record, which run as a batch of one: the same error, less the row. */
export function withoutRow(error: unknown): never {
  if (!(error instanceof CrmSchemaError) || error.rowIndex === undefined) throw error;
  const message = error.message.slice(`row ${error.rowIndex}: `.length);
  throw new CrmSchemaError(error.code, message, error.cause === undefined ? {} : { cause: error.cause });
}

/** For calls about a connection that has to be live. */
export function notLive(): never {
  throw new CrmSchemaError(
    'connection_not_live',
    'The organisation has no such live connection, or is not the one that is set for the transaction.',
  );
}

/** For what only the holder of a run's lease may do. */
export function leaseLost(): never {
  throw new CrmSchemaError(
    'lease_lost',
    'The run has ended, or its lease has run out, or the connection is disconnected: nothing was written.',
  );
}
