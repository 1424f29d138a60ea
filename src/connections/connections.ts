import { CrmSchemaError, connectionNotLive } from '../errors.js';
import * as queries from '../generated/crm_connections.js';
import { type ConnectionKey, checkConnectionKey, checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type {
  ConflictWinner,
  ConnectionStatus,
  EncryptedCredentials,
  FlattenedJwe,
  Provider,
  Timestamp,
  TimestampInput,
} from '../types.js';
import {
  checkAccount,
  checkLimit,
  checkOneOf,
  checkParameter,
  checkProvider,
  checkShortText,
  checkVersion,
  checkWholeNumber,
} from '../validation.js';
import type { SwitchedIds } from './accounts.js';
import {
  checkEncryptedCredentials,
  encryptedCredentialsParameter,
  expiryParameter,
} from './encrypted-credentials.js';

/** An organisation's connection to a CRM, without its credentials. */
export interface Connection
  extends NarrowedRow<
    queries.ConnectionGetResult,
    { provider: Provider; status: ConnectionStatus; conflictWinner: ConflictWinner }
  > {}

/** The encrypted credentials that a worker signs in with; `credentialsGet` decrypts them. */
export interface ConnectionCredentials
  extends NarrowedRow<
    queries.ConnectionGetCredentialsResult,
    { provider: Provider; credentials: EncryptedCredentials }
  > {}

/** Which account a connection is to. */
export interface AccountParams {
  /**
   * The CRM's own name of the account: 1 to 512 bytes, compared exactly. External ids belong to it. Null or
   * omitted: unknown, and the ids that are present stay.
   */
  account?: string | null | undefined;
  /**
   * What becomes of ids that were linked while the account was unknown: `keep` them, as ids of this account,
   * or `archive` them, as ids of another. Needed if the account is given and there are such ids.
   */
  idsOfUnknownAccount?: 'keep' | 'archive' | undefined;
}

/** The parameters of {@link connectionConnect}. */
export interface ConnectionConnectParams extends ConnectionKey, AccountParams {
  /** A UUID that the caller generates, because the credentials are bound to it. */
  connectionId: string;
  /** The CRM. */
  provider: Provider;
  /** Encrypted for this organisation, connection and provider; `credentialsConnect` also encrypts them. */
  credentials: FlattenedJwe;
  /** When the access token inside expires; null or omitted if it does not expire or the time is unknown. */
  credentialsExpiresAt?: TimestampInput | null | undefined;
}

/** When a connection was created, and what became of the ids and changes that were present. */
export interface ConnectedCrm extends SwitchedIds {
  /** When the database created the connection. */
  connectedAt: Timestamp;
  /** The number of contacts that wait to be pushed since the last connection: the first syncs push them. */
  waitingChanges: number;
}

/**
 * Connects a CRM: creates an active connection. If it is to another account than the connection before, the
 * ids of that account are archived, and those of this account that were archived earlier are restored.
 *
 * What waited to be pushed when the CRM was disconnected, and what was recorded since, waits for this connection, and is
 * pushed before the CRM's older values are taken. It is dropped if this is another account, or after 90 days. An account
 * that is unknown, now or before, is taken for the same one, unless `idsOfUnknownAccount` is `archive`.
 *
 * The session must use READ COMMITTED, PostgreSQL's default.
 *
 * @returns when the database created the connection, and the numbers of archived and restored ids and of changes
 * @throws CrmSchemaError `account_unknown` if ids of an unknown account are present, and the call names an
 *   account without saying what becomes of them; `live_connection_exists`, `connection_exists`,
 *   `unknown_organisation`, `unknown_provider`, `malformed_credentials`, `credentials_bound_elsewhere`,
 *   `invalid_input`
 */
export async function connectionConnect(
  client: Queryable,
  params: ConnectionConnectParams,
): Promise<ConnectedCrm> {
  checkConnectionKey(params);
  const { account = null, idsOfUnknownAccount = null } = params;
  if (account !== null) checkAccount({ field: 'account' }, account);
  if (idsOfUnknownAccount !== null) {
    checkOneOf({ field: 'idsOfUnknownAccount' }, idsOfUnknownAccount, ['keep', 'archive']);
  }
  const credentials = checkEncryptedCredentials(params, params.credentials);
  const credentialsExpiresAt = expiryParameter(params.credentialsExpiresAt);
  const [row] = await queries.connectionConnect.run(
    {
      ...params,
      account,
      idsOfUnknownAccount,
      credentials: encryptedCredentialsParameter(credentials),
      credentialsExpiresAt,
    },
    client,
  );
  return row as queries.ConnectionConnectResult;
}

/**
 * Gets one connection, live or disconnected; null if the organisation has no such connection.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function connectionGet(client: Queryable, key: ConnectionKey): Promise<Connection | null> {
  checkConnectionKey(key, 'key');
  const [row] = await queries.connectionGet.run(key, client);
  return (row as Connection | undefined) ?? null;
}

/**
 * Gets the live connection of an organisation to one CRM; null if there is none.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function connectionGetLive(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The CRM. */
    provider: Provider;
  },
): Promise<Connection | null> {
  checkOrganisation(params);
  checkProvider({ field: 'provider' }, params.provider);
  const [row] = await queries.connectionGetLive.run(params, client);
  return (row as Connection | undefined) ?? null;
}

/** The parameters of {@link connectionListLiveByAccount}. */
export interface ConnectionListLiveByAccountParams {
  /** The CRM. */
  provider: Provider;
  /** The CRM's own name of the account, compared exactly. */
  account: string;
  /** The last connection of the previous page; null or omitted for the first page. */
  after?: Pick<Connection, 'organisationId' | 'connectionId'> | null | undefined;
  /** The maximum number of connections: 1 to 1,000; defaults to 100. */
  limit?: number | undefined;
}

const firstId = '00000000-0000-0000-0000-000000000000';

/**
 * Lists the live connections to an account at a CRM, for a webhook that names the account: usually one, but several
 * organisations may be connected to a sandbox. A member of `crm_worker` sees those of all organisations, a member of
 * `crm_app` those of the organisation set for the transaction.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function connectionListLiveByAccount(
  client: Queryable,
  params: ConnectionListLiveByAccountParams,
): Promise<Connection[]> {
  checkParameter('params', params);
  const { provider, account, after, limit = 100 } = params;
  checkProvider({ field: 'provider' }, provider);
  checkAccount({ field: 'account' }, account);
  if (after != null) checkConnectionKey(after, 'after');
  checkLimit(limit);
  const rows = await queries.connectionListLiveByAccount.run(
    {
      provider,
      account,
      afterOrganisationId: after?.organisationId ?? firstId,
      afterConnectionId: after?.connectionId ?? firstId,
      limit,
    },
    client,
  );
  return rows as Connection[];
}

/**
 * Gets the encrypted credentials of a live connection; null if the organisation has no such live connection.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function connectionGetCredentials(
  client: Queryable,
  key: ConnectionKey,
): Promise<ConnectionCredentials | null> {
  checkConnectionKey(key, 'key');
  const [row] = await queries.connectionGetCredentials.run(key, client);
  return (row as ConnectionCredentials | undefined) ?? null;
}

/** The parameters of {@link connectionSetStatus}, besides the status. */
export interface ConnectionSetStatusParams extends ConnectionKey {
  /**
   * The version of the credentials that the status was observed with, if it depends on them: a CRM that
   * refuses one token says nothing about the token that another worker has since stored. Null or omitted: any
   * version.
   */
  credentialsVersion?: number | null | undefined;
}

/** A new status for a live connection. */
export type NewStatus =
  | {
      /** Syncs can continue. */
      status: 'active';
    }
  | {
      /** The connection needs attention. */
      status: 'error';
      /** A reason that an agent can act on: 1 to 500 characters, without secrets or personal data. */
      reason: string;
    };

/**
 * Sets a live connection to `active`, which clears the reason and the failure count and makes it due at once, or to
 * `error`, with a reason. Setting a connection that works to `active` changes nothing.
 *
 * @returns when the connection entered this status
 * @throws CrmSchemaError `credentials_superseded` if the credentials now have another version, in which case
 *   nothing is changed; `connection_not_live`, `invalid_input`
 */
export async function connectionSetStatus(
  client: Queryable,
  params: ConnectionSetStatusParams & NewStatus,
): Promise<{
  /** When the connection entered this status. */
  statusChangedAt: Timestamp;
}> {
  checkConnectionKey(params);
  const credentialsVersion = params.credentialsVersion ?? null;
  if (credentialsVersion !== null) checkVersion(credentialsVersion);
  checkOneOf({ field: 'status' }, params.status, ['active', 'error']);
  const reason = 'reason' in params ? params.reason : undefined;
  if (params.status === 'error') checkShortText({ field: 'reason' }, reason, 500);
  else if (reason !== undefined && reason !== null) {
    throw new CrmSchemaError('invalid_input', 'reason must be null or omitted if status is active.');
  }
  const [row] = await queries.connectionSetStatus.run({ ...params, reason, credentialsVersion }, client);
  if (row === undefined || row.outcome === 'disconnected') throw connectionNotLive();
  if (row.outcome === 'superseded') {
    throw new CrmSchemaError(
      'credentials_superseded',
      `The credentials are no longer version ${credentialsVersion}: read them again.`,
    );
  }
  return { statusChangedAt: row.statusChangedAt };
}

/** The parameters of {@link connectionDisconnect}. */
export interface ConnectionDisconnectParams extends ConnectionKey {
  /** The reason: 1 to 500 characters. Null or omitted: keeps the connection's current reason. */
  reason?: string | null | undefined;
  /**
   * How long to keep the encrypted credentials, in seconds, so that a worker can revoke the CRM's token
   * (`credentialsClaimRevocation`): 1 to 604,800, a week. After that they are wiped in any case. Null or omitted:
   * they are wiped at once, and the token stays valid at the CRM until it expires.
   */
  revokeWithinSeconds?: number | null | undefined;
}

/** When a connection was disconnected, what waits there, and until when its credentials wait to be revoked. */
export interface DisconnectedCrm {
  /** When the connection was disconnected. */
  disconnectedAt: Timestamp;
  /** When its credentials are wiped at the latest; null if they were wiped at once. */
  revokeBeforeAt: Timestamp | null;
  /**
   * The number of contacts that wait to be pushed, and those whose push has failed, unless a person has dismissed that.
   * They are kept for 90 days.
   */
  waitingChanges: number;
}

/**
 * Disconnects a live connection, and deletes its credentials, and the records that it failed to read. The row and its
 * log stay as history; connecting the same CRM again creates a new connection.
 *
 * What waits to be pushed is kept for 90 days, and so are changes that are recorded meanwhile. Connecting the same
 * account again pushes them; connecting another drops them. There is one for each contact at most.
 *
 * @returns when the connection was disconnected, how many contacts wait to be pushed, and until when its credentials
 *   wait to be revoked
 * @throws CrmSchemaError `connection_not_live`, `invalid_input`
 */
export async function connectionDisconnect(
  client: Queryable,
  params: ConnectionDisconnectParams,
): Promise<DisconnectedCrm> {
  checkConnectionKey(params);
  const { reason = null, revokeWithinSeconds = null } = params;
  if (reason !== null) checkShortText({ field: 'reason' }, reason, 500);
  if (revokeWithinSeconds !== null) {
    checkWholeNumber({ field: 'revokeWithinSeconds' }, revokeWithinSeconds, 1, 604_800);
  }
  const [row] = await queries.connectionDisconnect.run({ ...params, reason, revokeWithinSeconds }, client);
  // Also if it was already disconnected: an earlier call may have been interrupted at this point.
  const [work] = await queries.connectionDropWork.run(params, client);
  if (row === undefined) throw connectionNotLive();
  return { ...row, waitingChanges: work?.waitingChanges ?? 0 };
}
