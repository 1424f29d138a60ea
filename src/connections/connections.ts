import { CrmSchemaError, notLive } from '../errors.js';
import * as queries from '../generated/crm_connections.js';
import { type ConnectionKey, checkConnectionKey } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import { expiryParameter, timestampParameter } from '../timestamps.js';
import type {
  ConnectionStatus,
  EncryptedCredentials,
  FlattenedJwe,
  Provider,
  Timestamp,
  TimestampInput,
} from '../types.js';
import {
  checkOneOf,
  checkProvider,
  checkShortText,
  checkUuid,
  checkUuids,
  checkVersion,
  checkWholeNumber,
} from '../validation.js';
import { checkEncryptedCredentials, jsonParameter } from './encrypted-credentials.js';

/** One connection of an organisation to a CRM, without its credentials. */
export interface Connection
  extends NarrowedRow<queries.ConnectionGetResult, { provider: Provider; status: ConnectionStatus }> {}

/** What the sync worker needs to sign in, still encrypted; `credentialsGet` decrypts it. */
export interface ConnectionCredentials
  extends NarrowedRow<
    queries.ConnectionGetCredentialsResult,
    { provider: Provider; credentials: EncryptedCredentials }
  > {}

/** What {@link connectionConnect} takes. */
export interface ConnectionConnectParams extends ConnectionKey {
  /** A UUID that the caller makes, because the credentials are bound to it. */
  connectionId: string;
  /** Which CRM. */
  provider: Provider;
  /** Encrypted for exactly this organisation, connection and provider; `credentialsConnect` encrypts them as well. */
  credentials: FlattenedJwe;
  /** When the access token inside expires; null, or not given, if it does not, or if that is not known. */
  credentialsExpiresAt?: TimestampInput | null | undefined;
}

/**
 * Connects a CRM: one new, active connection.
 *
 * @returns when the database made the connection
 * @throws CrmSchemaError `live_connection_exists`, `connection_exists`, `unknown_organisation`,
 *   `unknown_provider`, `malformed_credentials`, `credentials_bound_elsewhere`, `invalid_input`
 */
export async function connectionConnect(
  client: Queryable,
  params: ConnectionConnectParams,
): Promise<{
  /** When the database made the connection. */
  connectedAt: Timestamp;
}> {
  const credentials = checkEncryptedCredentials(params, params.credentials);
  const credentialsExpiresAt = expiryParameter(params.credentialsExpiresAt);
  const [row] = await queries.connectionConnect.run(
    {
      ...params,
      credentials: jsonParameter(credentials),
      credentialsExpiresAt,
    },
    client,
  );
  return row as queries.ConnectionConnectResult;
}

/**
 * One connection, live or disconnected; null if the organisation has no such connection.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function connectionGet(client: Queryable, key: ConnectionKey): Promise<Connection | null> {
  checkConnectionKey(key);
  const [row] = await queries.connectionGet.run(key, client);
  return (row as Connection | undefined) ?? null;
}

/**
 * The live connection of an organisation to one CRM; null if there is none.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function connectionGetLive(
  client: Queryable,
  params: {
    /** Whose it is: a UUID. */
    organisationId: string;
    /** Which CRM. */
    provider: Provider;
  },
): Promise<Connection | null> {
  checkUuid({ field: 'organisationId' }, params.organisationId);
  checkProvider({ field: 'provider' }, params.provider);
  const [row] = await queries.connectionGetLive.run(params, client);
  return (row as Connection | undefined) ?? null;
}

/**
 * The encrypted credentials of a live connection; null if the organisation has no such live connection.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function connectionGetCredentials(
  client: Queryable,
  key: ConnectionKey,
): Promise<ConnectionCredentials | null> {
  checkConnectionKey(key);
  const [row] = await queries.connectionGetCredentials.run(key, client);
  return (row as ConnectionCredentials | undefined) ?? null;
}

/** What {@link connectionSetStatus} takes besides the status. */
export interface ConnectionSetStatusParams extends ConnectionKey {
  /**
   * Which credentials this was found out with, if it has to do with them: a CRM that refuses a token says
   * nothing of the token that another worker has put in its place. Null, or not given: whatever they are.
   */
  credentialsVersion?: number | null | undefined;
}

/** The status of a live connection. */
export type NewStatus =
  | {
      /** Syncing may go on. */
      status: 'active';
    }
  | {
      /** It needs attention. */
      status: 'error';
      /** What an agent can act on: 1 to 500 characters, no secret, no personal data. */
      reason: string;
    };

/**
 * Marks a live connection `active`, which clears the reason and the count of failures, or `error`, with a
 * reason.
 *
 * @returns since when the connection has had this status
 * @throws CrmSchemaError `credentials_superseded` if the credentials are of another version by now,
 *   and nothing was changed; `connection_not_live`, `invalid_input`
 */
export async function connectionSetStatus(
  client: Queryable,
  params: ConnectionSetStatusParams & NewStatus,
): Promise<{
  /** Since when the connection has had this status. */
  statusChangedAt: Timestamp;
}> {
  checkConnectionKey(params);
  const credentialsVersion = params.credentialsVersion ?? null;
  if (credentialsVersion !== null) checkVersion(credentialsVersion);
  checkOneOf({ field: 'status' }, params.status, ['active', 'error']);
  const reason = 'reason' in params ? params.reason : undefined;
  if (params.status === 'error') checkShortText({ field: 'reason' }, reason, 500);
  else if (reason !== undefined && reason !== null) {
    throw new CrmSchemaError('invalid_input', 'reason: an active connection has none.');
  }
  const [row] = await queries.connectionSetStatus.run({ ...params, reason, credentialsVersion }, client);
  if (row === undefined || row.outcome === 'disconnected') return notLive();
  if (row.outcome === 'superseded') {
    throw new CrmSchemaError(
      'credentials_superseded',
      `The credentials are not those of version ${credentialsVersion} any more: read them again.`,
    );
  }
  return { statusChangedAt: row.statusChangedAt };
}

/** What {@link connectionDisconnect} takes. */
export interface ConnectionDisconnectParams extends ConnectionKey {
  /** Why: 1 to 500 characters. Null, or not given: the reason it already has stays. */
  reason?: string | null | undefined;
}

/**
 * Ends a live connection and wipes its credentials, what was to be tried again and what was to be pushed.
 * The row and its log stay as history; connecting the same CRM again makes a new connection.
 *
 * @returns when the connection ended
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionDisconnect(
  client: Queryable,
  params: ConnectionDisconnectParams,
): Promise<{
  /** When the connection ended. */
  disconnectedAt: Timestamp;
}> {
  checkConnectionKey(params);
  if (params.reason != null) checkShortText({ field: 'reason' }, params.reason, 500);
  const [row] = await queries.connectionDisconnect.run({ ...params, reason: params.reason ?? null }, client);
  // Also if it was disconnected already: then this one may be a repetition of a call that broke off here.
  await queries.connectionDropWork.run(params, client);
  return row ?? notLive();
}

/** What {@link connectionAdvanceLastSyncedAt} takes. */
export interface ConnectionAdvanceLastSyncedAtParams extends ConnectionKey {
  /**
   * Up to when all changes have arrived, those of that very moment included, by the CRM's clock: see
   * `canonicalTimestamp` for what a CRM sends.
   */
  lastSyncedAt: TimestampInput;
}

/**
 * Moves the cursor of incremental sync forwards. The same value again changes nothing.
 *
 * @returns where the cursor stands now
 * @throws CrmSchemaError `cursor_moved_backwards`, `connection_not_live`, `invalid_input`
 */
export async function connectionAdvanceLastSyncedAt(
  client: Queryable,
  params: ConnectionAdvanceLastSyncedAtParams,
): Promise<{
  /** Where the cursor stands now. */
  lastSyncedAt: Timestamp;
}> {
  checkConnectionKey(params);
  const lastSyncedAt = timestampParameter({ field: 'lastSyncedAt' }, params.lastSyncedAt);
  const [row] = await queries.connectionAdvanceLastSyncedAt.run({ ...params, lastSyncedAt }, client);
  if (row === undefined || row.outcome === 'disconnected') return notLive();
  if (row.outcome === 'moved_backwards') {
    throw new CrmSchemaError(
      'cursor_moved_backwards',
      `The cursor stands at ${row.lastSyncedAt} and never moves back to ${lastSyncedAt}; for a full sync, reset it.`,
    );
  }
  return { lastSyncedAt: row.lastSyncedAt as Timestamp };
}

/** A connection that is to be synced, because somebody asked for it. */
export interface RequestedSync extends queries.ConnectionRequestSyncResult {}

/**
 * Asks for a sync of live connections, as a webhook does, or a person. Many requests before the next sync
 * are one; a request during a sync is another sync after it.
 *
 * @returns the connections for which that changed anything
 * @throws CrmSchemaError `invalid_input`
 */
export async function connectionRequestSync(
  client: Queryable,
  params: {
    /** Whose they are: a UUID. */
    organisationId: string;
    /** UUIDs, of the organisation; those that are not live are passed over. */
    connectionIds: readonly string[];
    /**
     * Also if the CRM is to be left alone for a while after a failure: for a person who has mended something;
     * false if not given.
     */
    isUrgent?: boolean | undefined;
  },
): Promise<RequestedSync[]> {
  const { organisationId, isUrgent = false } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  const connectionIds = checkUuids('connectionId', params.connectionIds);
  return queries.connectionRequestSync.run({ organisationId, connectionIds, isUrgent }, client);
}

/**
 * Forgets the cursor, so that the next sync is a full one.
 *
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionResetLastSyncedAt(client: Queryable, key: ConnectionKey): Promise<void> {
  checkConnectionKey(key);
  const [row] = await queries.connectionResetLastSyncedAt.run(key, client);
  if (row === undefined) notLive();
}

/** What {@link connectionSetSyncInterval} takes. */
export interface ConnectionSetSyncIntervalParams extends ConnectionKey {
  /** From the end of one successful sync to the next, in seconds: 60 to 604,800. */
  syncIntervalSeconds: number;
}

/**
 * Says how often a live connection is synced; 15 minutes if nothing was said. A shorter interval counts
 * from now on, also for the sync that is waiting.
 *
 * @returns when the connection is due now
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionSetSyncInterval(
  client: Queryable,
  params: ConnectionSetSyncIntervalParams,
): Promise<{
  /** When the connection is due now. */
  nextSyncAt: Timestamp;
}> {
  checkConnectionKey(params);
  checkWholeNumber({ field: 'syncIntervalSeconds' }, params.syncIntervalSeconds, 60, 604_800);
  const [row] = await queries.connectionSetSyncInterval.run(params, client);
  return row ?? notLive();
}
