/** Types generated for queries found in "queries/credentials.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** The parameters of {@link credentialsClaimRevocation}. */
export interface CredentialsClaimRevocationParams {
  providers?: string[] | null | void;
}

/** A row of {@link credentialsClaimRevocation}. */
export interface CredentialsClaimRevocationResult {
  /** The account at the CRM, by the CRM's own name for it (Reapit: customer, Alto: AgencyRef, agentOS: shortName); external ids belong to it. Compared exactly. Null if unknown. The package sets it once: another account needs another connection. */
  account: string | null;
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** Secret. The CRM's credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null once they are wiped: when the connection is disconnected, or after that, if they were kept to be revoked. */
  credentials: Json;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** When credentials that wait to be revoked are wiped at the latest. Null if no revocation was asked for. */
  revokeBeforeAt: Timestamp;
}

/**
 * Claims the credentials of a disconnected connection, across all organisations, for a worker that revokes
 * them: those whose time ends first; if `providers` is given, only of connections to these CRMs. The claim itself postpones the next one by five minutes. Returns one
 * row, or none if none wait. Only for sync workers. Uses crm_connections_revoke_before_at_idx, and reads all
 * that wait. Locks the row for the transaction. Skips locked rows.
 *
 * @remarks
 * ```sql
 * with clock as materialized (
 *   select crm_now() as at
 * ),
 * waiting as (
 *   select
 *     connection.organisation_id,
 *     connection.id
 *   from crm_connections as connection
 *   where connection.revocation = 'pending'
 *     and connection.revoke_before_at > (select at from clock)
 *     and connection.next_sync_at <= (select at from clock)
 *     and (:providers::text[] is null or coalesce(connection.provider = any(:providers::text[]), false))
 *   order by connection.revoke_before_at
 *   limit 1
 *   for no key update of connection skip locked
 * )
 * update crm_connections
 * set next_sync_at = clock.at + interval '5 minutes'
 * from waiting
 * cross join clock
 * where crm_connections.organisation_id = waiting.organisation_id
 *   and crm_connections.id = waiting.id
 * returning
 *   crm_connections.organisation_id as "organisationId",
 *   crm_connections.id as "connectionId",
 *   crm_connections.provider,
 *   crm_connections.account,
 *   crm_connections.credentials as "credentials!",
 *   crm_connections.revoke_before_at as "revokeBeforeAt!"
 * ```
 */
export const credentialsClaimRevocation = new PreparedQuery<CredentialsClaimRevocationParams,CredentialsClaimRevocationResult>({
  name: 'credentialsClaimRevocation',
  statementName: 'credentialsClaimRevocation_6b188097',
  params: [
    { name: 'providers', required: false },
  ],
  text: `with /* credentialsClaimRevocation */ clock as materialized (
  select crm_now() as at
),
waiting as (
  select
    connection.organisation_id,
    connection.id
  from crm_connections as connection
  where connection.revocation = 'pending'
    and connection.revoke_before_at > (select at from clock)
    and connection.next_sync_at <= (select at from clock)
    and ($1::text[] is null or coalesce(connection.provider = any($1::text[]), false))
  order by connection.revoke_before_at
  limit 1
  for no key update of connection skip locked
)
update crm_connections
set next_sync_at = clock.at + interval '5 minutes'
from waiting
cross join clock
where crm_connections.organisation_id = waiting.organisation_id
  and crm_connections.id = waiting.id
returning
  crm_connections.organisation_id as "organisationId",
  crm_connections.id as "connectionId",
  crm_connections.provider,
  crm_connections.account,
  crm_connections.credentials as "credentials",
  crm_connections.revoke_before_at as "revokeBeforeAt"`,
});


/** The parameters of {@link credentialsCountByKey}. */
export type CredentialsCountByKeyParams = void;

/** A row of {@link credentialsCountByKey}. */
export interface CredentialsCountByKeyResult {
  connections: number;
  /** The id of the key that wraps the credentials (the JWE's header.kid). Key rotation finds its rows by it. */
  keyId: string;
}

/**
 * Counts the connections that each key protects, also those whose credentials wait to be revoked, across all
 * organisations. Returns one row per key in use.
 * Does not count rows of open transactions. Reads all of crm_connections_credentials_key_id_idx, and parts
 * of the table that were not vacuumed lately.
 *
 * @remarks
 * ```sql
 * select
 *   credentials_key_id as "keyId!",
 *   count(*)::integer as "connections!"
 * from crm_connections
 * where credentials_key_id is not null
 * group by credentials_key_id
 * order by credentials_key_id
 * ```
 */
export const credentialsCountByKey = new PreparedQuery<CredentialsCountByKeyParams,CredentialsCountByKeyResult>({
  name: 'credentialsCountByKey',
  statementName: 'credentialsCountByKey_b0383509',
  params: [],
  text: `select /* credentialsCountByKey */
  credentials_key_id as "keyId",
  count(*)::integer as "connections"
from crm_connections
where credentials_key_id is not null
group by credentials_key_id
order by credentials_key_id`,
});


/** The parameters of {@link credentialsListByKey}. */
export interface CredentialsListByKeyParams {
  afterConnectionId: string;
  afterOrganisationId: string;
  keyId: string;
  limit: number;
}

/** A row of {@link credentialsListByKey}. */
export interface CredentialsListByKeyResult {
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** Secret. The CRM's credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null once they are wiped: when the connection is disconnected, or after that, if they were kept to be revoked. */
  credentials: Json;
  /** Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it. */
  credentialsVersion: number;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
}

/**
 * Lists the connections that one key protects, across all organisations, a page at a time: the work list
 * of a key rotation. Returns at most `limit` rows. Uses crm_connections_credentials_key_id_idx if the key
 * protects few connections, and otherwise the primary key, so that all pages together read the table about
 * once. The planner needs statistics on the key to choose: analyze the table first.
 *
 * @remarks
 * ```sql
 * select
 *   organisation_id as "organisationId",
 *   id as "connectionId",
 *   provider,
 *   credentials as "credentials!",
 *   credentials_version as "credentialsVersion"
 * from crm_connections
 * where credentials_key_id = :keyId!::text
 *   and (organisation_id, id) > (:afterOrganisationId!::uuid, :afterConnectionId!::uuid)
 * order by
 *   organisation_id,
 *   id
 * limit :limit!::integer
 * ```
 */
export const credentialsListByKey = new PreparedQuery<CredentialsListByKeyParams,CredentialsListByKeyResult>({
  name: 'credentialsListByKey',
  statementName: 'credentialsListByKey_916cc144',
  params: [
    { name: 'keyId', required: true },
    { name: 'afterOrganisationId', required: true },
    { name: 'afterConnectionId', required: true },
    { name: 'limit', required: true },
  ],
  text: `select /* credentialsListByKey */
  organisation_id as "organisationId",
  id as "connectionId",
  provider,
  credentials as "credentials",
  credentials_version as "credentialsVersion"
from crm_connections
where credentials_key_id = $1::text
  and (organisation_id, id) > ($2::uuid, $3::uuid)
order by
  organisation_id,
  id
limit $4::integer`,
});


/** The parameters of {@link credentialsReplace}. */
export interface CredentialsReplaceParams {
  account?: string | null | void;
  connectionId: string;
  credentials: Json;
  credentialsExpiresAt?: TimestampInput | null | void;
  credentialsVersion: number;
  isRepair?: boolean | null | void;
  organisationId: string;
  provider: string;
}

/** A row of {@link credentialsReplace}. */
export interface CredentialsReplaceResult {
  archivedIds: number;
  credentialsVersion: number;
  droppedChanges: number;
  outcome: string;
  restoredIds: number;
}

/**
 * Replaces the credentials of a live connection if they are still of the given version and, where `account`
 * is given, for the same account. If its account is unknown, sets it, as connectionSetAccount does. If
 * `isRepair`, a connection that fails becomes due at once, whatever its delay. Returns one row, or none if
 * the organisation has no such connection: `outcome` (`replaced`, `superseded`, `disconnected`,
 * `other_provider` or `other_account`), `credentialsVersion`, the version now, how many ids were archived
 * and restored, and for how many contacts changes were dropped. Uses the primary key. Locks the row for the transaction; if it sets the account and there was
 * another connection, takes the lock of crm_lock_external_ids, then locks contacts and ids. Needs READ
 * COMMITTED: at a higher level, the loser of a race fails with 40001.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     provider,
 *     account,
 *     status,
 *     credentials_version,
 *     (:isRepair::boolean) is true and (status = 'error' or failure_count > 0) as is_repaired
 *   from crm_connections
 *   where organisation_id = :organisationId!::uuid
 *     and id = :connectionId!::uuid
 *   for no key update
 * ),
 * replaced as (
 *   update crm_connections
 *   set
 *     credentials = :credentials!::jsonb,
 *     credentials_version = connection.credentials_version + 1,
 *     credentials_expires_at = :credentialsExpiresAt::timestamptz,
 *     account = coalesce(connection.account, :account::text),
 *     -- As after an urgent request.
 *     not_before_at = case when not connection.is_repaired then not_before_at end,
 *     sync_requested_at = case
 *       when connection.is_repaired then coalesce(sync_requested_at, crm_now())
 *       else sync_requested_at
 *     end,
 *     next_sync_at = case
 *       when connection.is_repaired then least(next_sync_at, crm_now())
 *       else next_sync_at
 *     end
 *   from connection
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.status <> 'disconnected'
 *     and connection.provider = :provider!::text
 *     and connection.credentials_version = :credentialsVersion!::integer
 *     and coalesce(connection.account = :account::text, true)
 *   returning
 *     crm_connections.organisation_id,
 *     crm_connections.id,
 *     crm_connections.credentials_version,
 *     crm_connections.connected_at
 * )
 * select
 *   case
 *     when connection.status = 'disconnected' then 'disconnected'
 *     when connection.provider <> :provider!::text then 'other_provider'
 *     when connection.account <> :account::text then 'other_account'
 *     when replaced.id is not null then 'replaced'
 *     else 'superseded'
 *   end as "outcome!",
 *   coalesce(replaced.credentials_version, connection.credentials_version) as "credentialsVersion!",
 *   coalesce(switched.archived, 0) as "archivedIds!",
 *   coalesce(switched.restored, 0) as "restoredIds!",
 *   coalesce(taken.dropped, 0) as "droppedChanges!"
 * from connection
 * left join replaced
 *   on replaced.id = connection.id
 * left join lateral crm_switch_account(
 *   case when connection.account is null then replaced.organisation_id end,
 *   replaced.id,
 *   'keep',
 *   replaced.connected_at
 * ) as switched on true
 * left join lateral crm_take_over_changes(
 *   -- The second condition is always true. It makes the switch come first, which locks the contacts.
 *   case when connection.account is null and switched.archived is not null then replaced.organisation_id end,
 *   replaced.id,
 *   'keep',
 *   replaced.connected_at
 * ) as taken on true
 * ```
 */
export const credentialsReplace = new PreparedQuery<CredentialsReplaceParams,CredentialsReplaceResult>({
  name: 'credentialsReplace',
  statementName: 'credentialsReplace_41743a5a',
  params: [
    { name: 'isRepair', required: false },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'credentials', required: true },
    { name: 'credentialsExpiresAt', required: false },
    { name: 'account', required: false },
    { name: 'provider', required: true },
    { name: 'credentialsVersion', required: true },
  ],
  text: `with /* credentialsReplace */ connection as (
  select
    organisation_id,
    id,
    provider,
    account,
    status,
    credentials_version,
    ($1::boolean) is true and (status = 'error' or failure_count > 0) as is_repaired
  from crm_connections
  where organisation_id = $2::uuid
    and id = $3::uuid
  for no key update
),
replaced as (
  update crm_connections
  set
    credentials = $4::jsonb,
    credentials_version = connection.credentials_version + 1,
    credentials_expires_at = $5::timestamptz,
    account = coalesce(connection.account, $6::text),
    not_before_at = case when not connection.is_repaired then not_before_at end,
    sync_requested_at = case
      when connection.is_repaired then coalesce(sync_requested_at, crm_now())
      else sync_requested_at
    end,
    next_sync_at = case
      when connection.is_repaired then least(next_sync_at, crm_now())
      else next_sync_at
    end
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and connection.provider = $7::text
    and connection.credentials_version = $8::integer
    and coalesce(connection.account = $6::text, true)
  returning
    crm_connections.organisation_id,
    crm_connections.id,
    crm_connections.credentials_version,
    crm_connections.connected_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.provider <> $7::text then 'other_provider'
    when connection.account <> $6::text then 'other_account'
    when replaced.id is not null then 'replaced'
    else 'superseded'
  end as "outcome",
  coalesce(replaced.credentials_version, connection.credentials_version) as "credentialsVersion",
  coalesce(switched.archived, 0) as "archivedIds",
  coalesce(switched.restored, 0) as "restoredIds",
  coalesce(taken.dropped, 0) as "droppedChanges"
from connection
left join replaced
  on replaced.id = connection.id
left join lateral crm_switch_account(
  case when connection.account is null then replaced.organisation_id end,
  replaced.id,
  'keep',
  replaced.connected_at
) as switched on true
left join lateral crm_take_over_changes(
  case when connection.account is null and switched.archived is not null then replaced.organisation_id end,
  replaced.id,
  'keep',
  replaced.connected_at
) as taken on true`,
});


/** The parameters of {@link credentialsRewrap}. */
export interface CredentialsRewrapParams {
  connectionIds: string[];
  credentials: Json[];
  credentialsVersions: number[];
  keyId: string;
  organisationIds: string[];
}

/** A row of {@link credentialsRewrap}. */
export interface CredentialsRewrapResult {
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
}

/**
 * Stores the same credentials of many connections, encrypted for another key. Returns the changed
 * connections: those whose credentials still have the version and key that were read, and whose row is not
 * locked. The version does not change: it counts changes of the content, and a worker that is refreshing a
 * token must not lose. Uses the primary key. Locks the rows for the transaction. Pass each connection
 * once. Needs READ COMMITTED: at a higher level, a concurrent change fails the batch with 40001.
 *
 * @remarks
 * ```sql
 * with given as (
 *   select
 *     organisation_id,
 *     connection_id,
 *     credentials_version,
 *     credentials
 *   from unnest(
 *     :organisationIds!::uuid[],
 *     :connectionIds!::uuid[],
 *     :credentialsVersions!::integer[],
 *     :credentials!::jsonb[]
 *   ) as given (organisation_id, connection_id, credentials_version, credentials)
 * ),
 * unchanged as (
 *   select
 *     connection.organisation_id,
 *     connection.id,
 *     given.credentials
 *   from given
 *   inner join crm_connections as connection
 *     on connection.organisation_id = given.organisation_id
 *     and connection.id = given.connection_id
 *     and connection.credentials_version = given.credentials_version
 *     and connection.credentials_key_id = :keyId!::text
 *   order by
 *     connection.organisation_id,
 *     connection.id
 *   for no key update of connection skip locked
 * )
 * update crm_connections
 * set credentials = unchanged.credentials
 * from unchanged
 * where crm_connections.organisation_id = unchanged.organisation_id
 *   and crm_connections.id = unchanged.id
 * returning
 *   crm_connections.organisation_id as "organisationId",
 *   crm_connections.id as "connectionId"
 * ```
 */
export const credentialsRewrap = new PreparedQuery<CredentialsRewrapParams,CredentialsRewrapResult>({
  name: 'credentialsRewrap',
  statementName: 'credentialsRewrap_5430bb1a',
  params: [
    { name: 'organisationIds', required: true },
    { name: 'connectionIds', required: true },
    { name: 'credentialsVersions', required: true },
    { name: 'credentials', required: true },
    { name: 'keyId', required: true },
  ],
  text: `with /* credentialsRewrap */ given as (
  select
    organisation_id,
    connection_id,
    credentials_version,
    credentials
  from unnest(
    $1::uuid[],
    $2::uuid[],
    $3::integer[],
    $4::jsonb[]
  ) as given (organisation_id, connection_id, credentials_version, credentials)
),
unchanged as (
  select
    connection.organisation_id,
    connection.id,
    given.credentials
  from given
  inner join crm_connections as connection
    on connection.organisation_id = given.organisation_id
    and connection.id = given.connection_id
    and connection.credentials_version = given.credentials_version
    and connection.credentials_key_id = $5::text
  order by
    connection.organisation_id,
    connection.id
  for no key update of connection skip locked
)
update crm_connections
set credentials = unchanged.credentials
from unchanged
where crm_connections.organisation_id = unchanged.organisation_id
  and crm_connections.id = unchanged.id
returning
  crm_connections.organisation_id as "organisationId",
  crm_connections.id as "connectionId"`,
});


/** The parameters of {@link credentialsRevoked}. */
export interface CredentialsRevokedParams {
  connectionId: string;
  organisationId: string;
}

/** A row of {@link credentialsRevoked}. */
export interface CredentialsRevokedResult {
  /** The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
}

/**
 * Records that a disconnected connection's token has been revoked at the CRM, and wipes its credentials. Also if
 * their time was over before. Returns one row, or none if no revocation was asked for. Uses the primary key. Locks
 * the row for the transaction.
 *
 * @remarks
 * ```sql
 * update crm_connections
 * set
 *   credentials = null,
 *   revocation = 'revoked'
 * where organisation_id = :organisationId!::uuid
 *   and id = :connectionId!::uuid
 *   and revocation is not null
 * returning id as "connectionId"
 * ```
 */
export const credentialsRevoked = new PreparedQuery<CredentialsRevokedParams,CredentialsRevokedResult>({
  name: 'credentialsRevoked',
  statementName: 'credentialsRevoked_9332b90b',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
  ],
  text: `update /* credentialsRevoked */ crm_connections
set
  credentials = null,
  revocation = 'revoked'
where organisation_id = $1::uuid
  and id = $2::uuid
  and revocation is not null
returning id as "connectionId"`,
});


