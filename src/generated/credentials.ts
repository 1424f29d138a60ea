/** Types generated for queries found in "queries/credentials.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** What {@link credentialsCountByKey} takes. */
export type CredentialsCountByKeyParams = void;

/** A row of {@link credentialsCountByKey}. */
export interface CredentialsCountByKeyResult {
  connections: number;
  /** The id of the key that wraps the credentials (the JWE's header.kid): the work list of a key rotation. */
  keyId: string;
}

const credentialsCountByKeyIR = {"usedParamSet":{},"params":[],"statement":"-- How many connections each key protects, over all organisations. One row for each key that is in\n-- use; reads crm_connections_credentials_key_id_idx as a whole, and the table besides where it was not\n-- vacuumed lately. Rows of transactions that are still open are not counted.\nselect\n  credentials_key_id as \"keyId!\",\n  count(*)::integer as \"connections!\"\nfrom crm_connections\nwhere credentials_key_id is not null\ngroup by credentials_key_id\norder by credentials_key_id"};

/**
 * How many connections each key protects, over all organisations. One row for each key that is in
 * use; reads crm_connections_credentials_key_id_idx as a whole, and the table besides where it was not
 * vacuumed lately. Rows of transactions that are still open are not counted.
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
export const credentialsCountByKey = new PreparedQuery<CredentialsCountByKeyParams,CredentialsCountByKeyResult>('credentialsCountByKey', credentialsCountByKeyIR);


/** What {@link credentialsListByKey} takes. */
export interface CredentialsListByKeyParams {
  afterConnectionId: string;
  afterOrganisationId: string;
  keyId: string;
  limit: number;
}

/** A row of {@link credentialsListByKey}. */
export interface CredentialsListByKeyResult {
  /** The connection. The application makes it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** Secret. The CRM's credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null exactly when disconnected. */
  credentials: Json;
  /** Counts the changes of credentials, so that a writer can tell whether they are still those it read. */
  credentialsVersion: number;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
}

const credentialsListByKeyIR = {"usedParamSet":{"keyId":true,"afterOrganisationId":true,"afterConnectionId":true,"limit":true},"params":[{"name":"keyId","required":true,"transform":{"type":"scalar"},"locs":[{"a":579,"b":585}]},{"name":"afterOrganisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":624,"b":644}]},{"name":"afterConnectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":653,"b":671}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":719,"b":725}]}],"statement":"-- The connections that one key protects, over all organisations, a page at a time: the work list of a\n-- key rotation. At most `limit` rows, by crm_connections_credentials_key_id_idx where the key protects\n-- few and else along the primary key, so that all pages together read the table about once; for that\n-- the planner has to know the key: analyze the table first.\nselect\n  organisation_id as \"organisationId\",\n  id as \"connectionId\",\n  provider,\n  credentials as \"credentials!\",\n  credentials_version as \"credentialsVersion\"\nfrom crm_connections\nwhere credentials_key_id = :keyId!::text\n  and (organisation_id, id) > (:afterOrganisationId!::uuid, :afterConnectionId!::uuid)\norder by\n  organisation_id,\n  id\nlimit :limit!::integer"};

/**
 * The connections that one key protects, over all organisations, a page at a time: the work list of a
 * key rotation. At most `limit` rows, by crm_connections_credentials_key_id_idx where the key protects
 * few and else along the primary key, so that all pages together read the table about once; for that
 * the planner has to know the key: analyze the table first.
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
export const credentialsListByKey = new PreparedQuery<CredentialsListByKeyParams,CredentialsListByKeyResult>('credentialsListByKey', credentialsListByKeyIR);


/** What {@link credentialsReplace} takes. */
export interface CredentialsReplaceParams {
  connectionId: string;
  credentials: Json;
  credentialsExpiresAt?: TimestampInput | null | void;
  credentialsVersion: number;
  organisationId: string;
  provider: string;
}

/** A row of {@link credentialsReplace}. */
export interface CredentialsReplaceResult {
  credentialsVersion: number;
  outcome: string;
}

const credentialsReplaceIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"credentials":true,"credentialsExpiresAt":true,"provider":true,"credentialsVersion":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":555,"b":570}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":591,"b":604}]},{"name":"credentials","required":true,"transform":{"type":"scalar"},"locs":[{"a":698,"b":710}]},{"name":"credentialsExpiresAt","required":false,"transform":{"type":"scalar"},"locs":[{"a":811,"b":831}]},{"name":"provider","required":true,"transform":{"type":"scalar"},"locs":[{"a":1050,"b":1059},{"a":1298,"b":1307}]},{"name":"credentialsVersion","required":true,"transform":{"type":"scalar"},"locs":[{"a":1108,"b":1127}]}],"statement":"-- Replaces the credentials of a live connection, if they are still those of a version. One row, or\n-- none if the organisation has no such connection: `outcome` says what happened (`replaced`,\n-- `superseded`, `disconnected` or `other_provider`), `credentialsVersion` what the version is now. By\n-- primary key; locks the row for the transaction. At READ COMMITTED: above it, a loser gets 40001.\nwith connection as (\n  select\n    organisation_id,\n    id,\n    provider,\n    status,\n    credentials_version\n  from crm_connections\n  where organisation_id = :organisationId!::uuid\n    and id = :connectionId!::uuid\n  for no key update\n),\nreplaced as (\n  update crm_connections\n  set\n    credentials = :credentials!::jsonb,\n    credentials_version = connection.credentials_version + 1,\n    credentials_expires_at = :credentialsExpiresAt::timestamptz\n  from connection\n  where crm_connections.organisation_id = connection.organisation_id\n    and crm_connections.id = connection.id\n    and connection.status <> 'disconnected'\n    and connection.provider = :provider!::text\n    and connection.credentials_version = :credentialsVersion!::integer\n  returning crm_connections.credentials_version\n)\nselect\n  case\n    when connection.status = 'disconnected' then 'disconnected'\n    when connection.provider <> :provider!::text then 'other_provider'\n    when exists (select from replaced) then 'replaced'\n    else 'superseded'\n  end as \"outcome!\",\n  coalesce((select credentials_version from replaced), connection.credentials_version) as \"credentialsVersion!\"\nfrom connection"};

/**
 * Replaces the credentials of a live connection, if they are still those of a version. One row, or
 * none if the organisation has no such connection: `outcome` says what happened (`replaced`,
 * `superseded`, `disconnected` or `other_provider`), `credentialsVersion` what the version is now. By
 * primary key; locks the row for the transaction. At READ COMMITTED: above it, a loser gets 40001.
 *
 * @remarks
 * ```sql
 * with connection as (
 *   select
 *     organisation_id,
 *     id,
 *     provider,
 *     status,
 *     credentials_version
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
 *     credentials_expires_at = :credentialsExpiresAt::timestamptz
 *   from connection
 *   where crm_connections.organisation_id = connection.organisation_id
 *     and crm_connections.id = connection.id
 *     and connection.status <> 'disconnected'
 *     and connection.provider = :provider!::text
 *     and connection.credentials_version = :credentialsVersion!::integer
 *   returning crm_connections.credentials_version
 * )
 * select
 *   case
 *     when connection.status = 'disconnected' then 'disconnected'
 *     when connection.provider <> :provider!::text then 'other_provider'
 *     when exists (select from replaced) then 'replaced'
 *     else 'superseded'
 *   end as "outcome!",
 *   coalesce((select credentials_version from replaced), connection.credentials_version) as "credentialsVersion!"
 * from connection
 * ```
 */
export const credentialsReplace = new PreparedQuery<CredentialsReplaceParams,CredentialsReplaceResult>('credentialsReplace', credentialsReplaceIR);


/** What {@link credentialsRewrap} takes. */
export interface CredentialsRewrapParams {
  connectionIds: string[];
  credentials: Json[];
  credentialsVersions: number[];
  keyId: string;
  organisationIds: string[];
}

/** A row of {@link credentialsRewrap}. */
export interface CredentialsRewrapResult {
  /** The connection. The application makes it, because the encrypted credentials are bound to it before the row exists. */
  connectionId: string;
  /** The organisation (tenant) that owns the connection. */
  organisationId: string;
}

const credentialsRewrapIR = {"usedParamSet":{"organisationIds":true,"connectionIds":true,"credentialsVersions":true,"credentials":true,"keyId":true},"params":[{"name":"organisationIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":634,"b":650}]},{"name":"connectionIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":665,"b":679}]},{"name":"credentialsVersions","required":true,"transform":{"type":"scalar"},"locs":[{"a":694,"b":714}]},{"name":"credentials","required":true,"transform":{"type":"scalar"},"locs":[{"a":732,"b":744}]},{"name":"keyId","required":true,"transform":{"type":"scalar"},"locs":[{"a":1200,"b":1206}]}],"statement":"-- Puts the same credentials of many connections under another key. Returns the connections that were\n-- changed: those whose credentials are still what was read, by version and key, and whose row nobody\n-- else has locked. The version stays: it counts changes of what is inside, and a worker that is just\n-- refreshing a token must not lose. By primary key; locks the rows for the transaction. No connection\n-- twice. At READ COMMITTED: above it, a row that was changed meanwhile fails the batch with 40001.\nwith given as (\n  select\n    organisation_id,\n    connection_id,\n    credentials_version,\n    credentials\n  from unnest(\n    :organisationIds!::uuid[],\n    :connectionIds!::uuid[],\n    :credentialsVersions!::integer[],\n    :credentials!::jsonb[]\n  ) as given (organisation_id, connection_id, credentials_version, credentials)\n),\nunchanged as (\n  select\n    connection.organisation_id,\n    connection.id,\n    given.credentials\n  from given\n  inner join crm_connections as connection\n    on connection.organisation_id = given.organisation_id\n    and connection.id = given.connection_id\n    and connection.credentials_version = given.credentials_version\n    and connection.credentials_key_id = :keyId!::text\n  order by\n    connection.organisation_id,\n    connection.id\n  for no key update of connection skip locked\n)\nupdate crm_connections\nset credentials = unchanged.credentials\nfrom unchanged\nwhere crm_connections.organisation_id = unchanged.organisation_id\n  and crm_connections.id = unchanged.id\nreturning\n  crm_connections.organisation_id as \"organisationId\",\n  crm_connections.id as \"connectionId\""};

/**
 * Puts the same credentials of many connections under another key. Returns the connections that were
 * changed: those whose credentials are still what was read, by version and key, and whose row nobody
 * else has locked. The version stays: it counts changes of what is inside, and a worker that is just
 * refreshing a token must not lose. By primary key; locks the rows for the transaction. No connection
 * twice. At READ COMMITTED: above it, a row that was changed meanwhile fails the batch with 40001.
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
export const credentialsRewrap = new PreparedQuery<CredentialsRewrapParams,CredentialsRewrapResult>('credentialsRewrap', credentialsRewrapIR);


