/**
 * The closed lists of the schema. A test compares each list with its CHECK constraint.
 */

/** The supported CRMs (`crm_connections_provider_check`). */
export const providers = ['agentos', 'reapit', 'alto', 'street', 'loop', 'custom'] as const;
/** One of {@link providers}. */
export type Provider = (typeof providers)[number];

/** The states of a connection (`crm_connections_status_check`). */
export const connectionStatuses = ['active', 'error', 'disconnected'] as const;
/** One of {@link connectionStatuses}. */
export type ConnectionStatus = (typeof connectionStatuses)[number];

/**
 * What to say first of a connection (`crm_connection_state`): `paused` until `pausedUntil`; `failing` if its last sync
 * failed, and it is not in error yet; otherwise its status.
 */
export const connectionStates = ['active', 'failing', 'error', 'paused', 'disconnected'] as const;
/** One of {@link connectionStates}. */
export type ConnectionState = (typeof connectionStates)[number];

/** Which way a record went (`crm_sync_log_direction_check`): `inbound` is from the CRM. */
export const syncDirections = ['inbound', 'outbound'] as const;
/** One of {@link syncDirections}. */
export type SyncDirection = (typeof syncDirections)[number];

/** How a sync operation ended (`crm_sync_log_status_check`). */
export const syncStatuses = ['success', 'skipped', 'error'] as const;
/** One of {@link syncStatuses}. */
export type SyncStatus = (typeof syncStatuses)[number];

/**
 * Why a sync operation was skipped (`crm_sync_log_reason_check`):
 *
 * - `echo`: our own push came back
 * - `unchanged`: the CRM's version is the one already seen
 * - `older`: it was modified before the one already seen
 * - `pending_push`: our own change has still to be pushed
 * - `conflict`: it was edited here and at the CRM, and the other side won, or a person has to decide
 * - `no_consent`: the person does not consent to it
 * - `merged`: the record was merged into another
 * - `erased`: the person was erased
 */
export const syncSkipReasons = [
  'echo',
  'unchanged',
  'older',
  'pending_push',
  'conflict',
  'no_consent',
  'merged',
  'erased',
] as const;
/** One of {@link syncSkipReasons}. */
export type SyncSkipReason = (typeof syncSkipReasons)[number];

/**
 * The states of a record at the CRM (`contact_external_id_aliases_remote_state_check`):
 *
 * - `active`: in use
 * - `archived`: put away
 * - `deleted`: the CRM says that it is gone; that it is missing from a list does not mean that
 * - `hidden`: the CRM does not show it to this account
 * - `merged`: the CRM has merged it into another record
 */
export const remoteStates = ['active', 'archived', 'deleted', 'hidden', 'merged'] as const;
/** One of {@link remoteStates}. */
export type RemoteState = (typeof remoteStates)[number];

/**
 * What became of the CRM's token after disconnecting (`crm_connections_revocation_check`):
 *
 * - `pending`: its credentials wait for a worker to revoke them
 * - `revoked`: a worker has revoked it, and its credentials are wiped
 * - `expired`: no worker has in time, and its credentials are wiped all the same
 */
export const revocations = ['pending', 'revoked', 'expired'] as const;
/** One of {@link revocations}. */
export type Revocation = (typeof revocations)[number];

/**
 * What became of the changes that were not pushed when a connection was disconnected, and of those recorded since
 * (`crm_connections_kept_changes_check`): `waiting` for the CRM to be connected again; `moved` to the connection after
 * it, which is to the same account; `dropped`, because another account was connected; `expired`: nothing was connected
 * in time.
 */
export const keptChanges = ['waiting', 'moved', 'dropped', 'expired'] as const;
/** One of {@link keptChanges}. */
export type KeptChanges = (typeof keptChanges)[number];

/**
 * Who wins if a person was edited here and at the CRM (`crm_connections_conflict_winner_check`):
 *
 * - `nurturehub`: ours is pushed
 * - `crm`: theirs is applied here
 * - `person`: neither is overwritten until a person decides
 */
export const conflictWinners = ['nurturehub', 'crm', 'person'] as const;
/** One of {@link conflictWinners}. */
export type ConflictWinner = (typeof conflictWinners)[number];

/** Whose edit was kept (`crm_sync_conflicts_kept_check`): neither is overwritten until a person decides. */
export const keptSides = ['nurturehub', 'crm', 'neither'] as const;
/** One of {@link keptSides}. */
export type KeptSide = (typeof keptSides)[number];

/** How a run ended (`crm_sync_runs_outcome_check`). */
export const syncRunOutcomes = ['success', 'failed', 'abandoned', 'cancelled'] as const;
/** One of {@link syncRunOutcomes}. */
export type SyncRunOutcome = (typeof syncRunOutcomes)[number];

/** Which requests a CRM counts together for a rate limit (`crm_rate_limits_counted_check`): all, or reads and writes apart. */
export const rateLimitCounts = ['requests', 'reads', 'writes'] as const;
/** One of {@link rateLimitCounts}. */
export type RateLimitCounted = (typeof rateLimitCounts)[number];

/** How a CRM resumes a stream (`crm_sync_cursors_kind_check`). */
export const cursorKinds = ['timestamp', 'token', 'page'] as const;
/** One of {@link cursorKinds}. */
export type CursorKind = (typeof cursorKinds)[number];

/** Why a sync operation failed (`crm_sync_error_is_valid`). */
export const syncErrorKinds = [
  'auth',
  'permission',
  'rate_limited',
  'conflict',
  'not_found',
  'validation',
  'timeout',
  'network',
  'provider',
  'internal',
] as const;
/** One of {@link syncErrorKinds}. */
export type SyncErrorKind = (typeof syncErrorKinds)[number];

/** Why a sync operation failed. Never put a payload, a secret or personal data in it. */
export interface SyncError {
  /**
   * The kind of error. If a whole run fails with `auth` or `permission`, its connection goes to `error` at
   * once.
   */
  kind: SyncErrorKind;
  /** Whether a retry can succeed. If not, the worker gives up on the record at once. */
  retryable: boolean;
  /** For people: 1 to 500 characters. */
  message: string;
  /** The provider's own error code: 1 to 100 characters. */
  code?: string | undefined;
}

/**
 * Encrypted credentials: a JWE in flattened JSON serialisation (RFC 7516, section 7.2.2) with A256GCM
 * content. Every value but `header` is in base64url. The database checks the shape; only decryption shows
 * whether the ciphertext is authentic.
 */
export interface EncryptedCredentials {
  /** The protected header, `{"alg":…,"enc":"A256GCM"}`: at most 1,000 characters. */
  protected: string;
  /** Identifies the key that wraps the content key: 1 to 200 of `A-Z a-z 0-9 . _ : -`. */
  header: {
    /** The key's id. */
    kid: string;
  };
  /** 22 to 1,366 characters. */
  encrypted_key: string;
  /** 96 bits: 16 characters. */
  iv: string;
  /** 2 to 16,384 characters. */
  ciphertext: string;
  /** 128 bits: 22 characters. */
  tag: string;
  /** Binds the ciphertext to its row: see `credentialsAad`. */
  aad: string;
}

/** What a JOSE library returns for a JWE in flattened serialisation. All members are checked on use. */
export type FlattenedJwe = {
  [Member in keyof EncryptedCredentials]?: Member extends 'header' ? object : string;
};

/**
 * A time from the database: ISO 8601 in UTC with microseconds, `2026-11-23T09:30:00.123456Z`.
 *
 * A string, because a `Date` has only milliseconds, and a cursor that is rounded up loses records for good.
 * `new Date(timestamp)` returns a `Date`, rounded down.
 */
export type Timestamp = string;

/**
 * A time for the database, in the years 1900 to 9998: a {@link Timestamp}, any other text in ISO 8601's
 * extended format with a zone (`2026-11-23T10:30+01:00`), or a `Date`.
 */
export type TimestampInput = string | Date;

/** Any JSON value. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
