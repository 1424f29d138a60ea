/** Types generated for queries found in "queries/crm_sync_log.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

import type { Json } from '../types.js';

/** What {@link syncLogCountErrorsByKind} takes. */
export interface SyncLogCountErrorsByKindParams {
  connectionId: string;
  organisationId: string;
  since: TimestampInput;
}

/** A row of {@link syncLogCountErrorsByKind}. */
export interface SyncLogCountErrorsByKindResult {
  count: number;
  kind: string;
  lastAt: Timestamp;
}

const syncLogCountErrorsByKindIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"since":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":442,"b":457}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":496,"b":509}]},{"name":"since","required":true,"transform":{"type":"scalar"},"locs":[{"a":561,"b":567}]}],"statement":"-- How often a connection failed since a time, by the error's kind, most frequent first. At most ten\n-- rows, one for each kind; by crm_sync_log_status_connection_id_idx, reading the failures of that\n-- time. «is true» keeps the planner from the primary key, which would read the successes, too.\nselect\n  error ->> 'kind' as \"kind!\",\n  count(*)::integer as \"count!\",\n  max(occurred_at) as \"lastAt!\"\nfrom crm_sync_log\nwhere (organisation_id = :organisationId!::uuid) is true\n  and connection_id = :connectionId!::uuid\n  and status = 'error'\n  and occurred_at >= :since!::timestamptz\ngroup by error ->> 'kind'\norder by\n  count(*) desc,\n  error ->> 'kind'"};

/**
 * How often a connection failed since a time, by the error's kind, most frequent first. At most ten
 * rows, one for each kind; by crm_sync_log_status_connection_id_idx, reading the failures of that
 * time. «is true» keeps the planner from the primary key, which would read the successes, too.
 *
 * @remarks
 * ```sql
 * select
 *   error ->> 'kind' as "kind!",
 *   count(*)::integer as "count!",
 *   max(occurred_at) as "lastAt!"
 * from crm_sync_log
 * where (organisation_id = :organisationId!::uuid) is true
 *   and connection_id = :connectionId!::uuid
 *   and status = 'error'
 *   and occurred_at >= :since!::timestamptz
 * group by error ->> 'kind'
 * order by
 *   count(*) desc,
 *   error ->> 'kind'
 * ```
 */
export const syncLogCountErrorsByKind = new PreparedQuery<SyncLogCountErrorsByKindParams,SyncLogCountErrorsByKindResult>('syncLogCountErrorsByKind', syncLogCountErrorsByKindIR);


/** What {@link syncLogListByConnection} takes. */
export interface SyncLogListByConnectionParams {
  beforeId?: number | string | null | void;
  beforeOccurredAt?: TimestampInput | null | void;
  connectionId: string;
  limit: number;
  organisationId: string;
}

/** A row of {@link syncLogListByConnection}. */
export interface SyncLogListByConnectionResult {
  /** The connection that was synced. */
  connectionId: string;
  /** inbound: from the CRM to NurtureHub. outbound: from NurtureHub to the CRM. */
  direction: string;
  /** What kind of record it was, in the provider's terms and lower snake case: contact, applicant, landlord … */
  entityType: string;
  /** Why it failed: kind, retryable, message and optionally the provider's own code. Never a payload, a secret or personal data. Set exactly when status is error. */
  error: Json | null;
  /** The record's id at the CRM, case-sensitive. Null where there is none: failed creates, errors of the whole account. */
  externalId: string | null;
  /** Orders events of the same instant. */
  id: string;
  /** NurtureHub's own id of the record: the contact's id for people. No foreign key, so that history outlives the record. */
  internalId: string | null;
  /** When the operation ended, by the database's clock or the sync worker's. */
  occurredAt: Timestamp;
  /** The organisation (tenant) the event belongs to. */
  organisationId: string;
  /** success: both sides agree. skipped: nothing had to change. error: it failed, error says why. */
  status: string;
}

const syncLogListByConnectionIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"beforeOccurredAt":true,"beforeId":true,"limit":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":427,"b":442}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":472,"b":485}]},{"name":"beforeOccurredAt","required":false,"transform":{"type":"scalar"},"locs":[{"a":603,"b":619},{"a":685,"b":701}]},{"name":"beforeId","required":false,"transform":{"type":"scalar"},"locs":[{"a":740,"b":748}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":829,"b":835}]}],"statement":"-- The timeline of a connection, newest first: the page of at most `limit` events before the given\n-- one. By the primary key, read backwards.\nselect\n  organisation_id as \"organisationId\",\n  connection_id as \"connectionId\",\n  occurred_at as \"occurredAt\",\n  id,\n  direction,\n  entity_type as \"entityType\",\n  external_id as \"externalId\",\n  internal_id as \"internalId\",\n  status,\n  error\nfrom crm_sync_log\nwhere organisation_id = :organisationId!::uuid\n  and connection_id = :connectionId!::uuid\n  -- Not coalesce: row-level security would keep such a comparison from the index.\n  and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')\n  and (occurred_at, id) < (\n    least(:beforeOccurredAt::timestamptz, 'infinity'),\n    least(:beforeId::bigint, 9223372036854775807)\n  )\norder by\n  occurred_at desc,\n  id desc\nlimit :limit!::integer"};

/**
 * The timeline of a connection, newest first: the page of at most `limit` events before the given
 * one. By the primary key, read backwards.
 *
 * @remarks
 * ```sql
 * select
 *   organisation_id as "organisationId",
 *   connection_id as "connectionId",
 *   occurred_at as "occurredAt",
 *   id,
 *   direction,
 *   entity_type as "entityType",
 *   external_id as "externalId",
 *   internal_id as "internalId",
 *   status,
 *   error
 * from crm_sync_log
 * where organisation_id = :organisationId!::uuid
 *   and connection_id = :connectionId!::uuid
 *   -- Not coalesce: row-level security would keep such a comparison from the index.
 *   and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')
 *   and (occurred_at, id) < (
 *     least(:beforeOccurredAt::timestamptz, 'infinity'),
 *     least(:beforeId::bigint, 9223372036854775807)
 *   )
 * order by
 *   occurred_at desc,
 *   id desc
 * limit :limit!::integer
 * ```
 */
export const syncLogListByConnection = new PreparedQuery<SyncLogListByConnectionParams,SyncLogListByConnectionResult>('syncLogListByConnection', syncLogListByConnectionIR);


/** What {@link syncLogListByContact} takes. */
export interface SyncLogListByContactParams {
  beforeId?: number | string | null | void;
  beforeOccurredAt?: TimestampInput | null | void;
  contactId: string;
  limit: number;
  organisationId: string;
}

/** A row of {@link syncLogListByContact}. */
export interface SyncLogListByContactResult {
  /** The connection that was synced. */
  connectionId: string;
  /** inbound: from the CRM to NurtureHub. outbound: from NurtureHub to the CRM. */
  direction: string;
  /** What kind of record it was, in the provider's terms and lower snake case: contact, applicant, landlord … */
  entityType: string;
  /** Why it failed: kind, retryable, message and optionally the provider's own code. Never a payload, a secret or personal data. Set exactly when status is error. */
  error: Json | null;
  /** The record's id at the CRM, case-sensitive. Null where there is none: failed creates, errors of the whole account. */
  externalId: string | null;
  /** Orders events of the same instant. */
  id: string;
  /** NurtureHub's own id of the record: the contact's id for people. No foreign key, so that history outlives the record. */
  internalId: string | null;
  /** When the operation ended, by the database's clock or the sync worker's. */
  occurredAt: Timestamp;
  /** The organisation (tenant) the event belongs to. */
  organisationId: string;
  /** The CRM: agentos, reapit, alto, street, loop or custom. */
  provider: string;
  /** success: both sides agree. skipped: nothing had to change. error: it failed, error says why. */
  status: string;
}

const syncLogListByContactIR = {"usedParamSet":{"organisationId":true,"contactId":true,"beforeOccurredAt":true,"beforeId":true,"limit":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":852,"b":867}]},{"name":"contactId","required":true,"transform":{"type":"scalar"},"locs":[{"a":897,"b":907}]},{"name":"beforeOccurredAt","required":false,"transform":{"type":"scalar"},"locs":[{"a":1027,"b":1043},{"a":1113,"b":1129}]},{"name":"beforeId","required":false,"transform":{"type":"scalar"},"locs":[{"a":1170,"b":1178}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":1269,"b":1275}]}],"statement":"-- The timeline of a contact across all CRMs, newest first: the page of at most `limit` events before\n-- the given one, each with its connection's provider. By crm_sync_log_internal_id_idx, and\n-- crm_connections_pkey for each event.\nselect\n  event.organisation_id as \"organisationId\",\n  event.connection_id as \"connectionId\",\n  connection.provider,\n  event.occurred_at as \"occurredAt\",\n  event.id,\n  event.direction,\n  event.entity_type as \"entityType\",\n  event.external_id as \"externalId\",\n  event.internal_id as \"internalId\",\n  event.status,\n  event.error\nfrom (\n  -- Limited here, so that the page is read by its index and no more than it.\n  select\n    organisation_id,\n    connection_id,\n    occurred_at,\n    id,\n    direction,\n    entity_type,\n    external_id,\n    internal_id,\n    status,\n    error\n  from crm_sync_log\n  where organisation_id = :organisationId!::uuid\n    and internal_id = :contactId!::uuid\n    -- Not coalesce: row-level security would keep such a comparison from the index.\n  and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')\n    and (occurred_at, id) < (\n      least(:beforeOccurredAt::timestamptz, 'infinity'),\n      least(:beforeId::bigint, 9223372036854775807)\n    )\n  order by\n    occurred_at desc,\n    id desc\n  limit :limit!::integer\n) as event\ninner join crm_connections as connection\n  on connection.organisation_id = event.organisation_id\n  and connection.id = event.connection_id\norder by\n  event.occurred_at desc,\n  event.id desc"};

/**
 * The timeline of a contact across all CRMs, newest first: the page of at most `limit` events before
 * the given one, each with its connection's provider. By crm_sync_log_internal_id_idx, and
 * crm_connections_pkey for each event.
 *
 * @remarks
 * ```sql
 * select
 *   event.organisation_id as "organisationId",
 *   event.connection_id as "connectionId",
 *   connection.provider,
 *   event.occurred_at as "occurredAt",
 *   event.id,
 *   event.direction,
 *   event.entity_type as "entityType",
 *   event.external_id as "externalId",
 *   event.internal_id as "internalId",
 *   event.status,
 *   event.error
 * from (
 *   -- Limited here, so that the page is read by its index and no more than it.
 *   select
 *     organisation_id,
 *     connection_id,
 *     occurred_at,
 *     id,
 *     direction,
 *     entity_type,
 *     external_id,
 *     internal_id,
 *     status,
 *     error
 *   from crm_sync_log
 *   where organisation_id = :organisationId!::uuid
 *     and internal_id = :contactId!::uuid
 *     -- Not coalesce: row-level security would keep such a comparison from the index.
 *   and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')
 *     and (occurred_at, id) < (
 *       least(:beforeOccurredAt::timestamptz, 'infinity'),
 *       least(:beforeId::bigint, 9223372036854775807)
 *     )
 *   order by
 *     occurred_at desc,
 *     id desc
 *   limit :limit!::integer
 * ) as event
 * inner join crm_connections as connection
 *   on connection.organisation_id = event.organisation_id
 *   and connection.id = event.connection_id
 * order by
 *   event.occurred_at desc,
 *   event.id desc
 * ```
 */
export const syncLogListByContact = new PreparedQuery<SyncLogListByContactParams,SyncLogListByContactResult>('syncLogListByContact', syncLogListByContactIR);


/** What {@link syncLogListFailures} takes. */
export interface SyncLogListFailuresParams {
  beforeId?: number | string | null | void;
  beforeOccurredAt?: TimestampInput | null | void;
  connectionId: string;
  limit: number;
  organisationId: string;
}

/** A row of {@link syncLogListFailures}. */
export interface SyncLogListFailuresResult {
  /** The connection that was synced. */
  connectionId: string;
  /** inbound: from the CRM to NurtureHub. outbound: from NurtureHub to the CRM. */
  direction: string;
  /** What kind of record it was, in the provider's terms and lower snake case: contact, applicant, landlord … */
  entityType: string;
  /** Why it failed: kind, retryable, message and optionally the provider's own code. Never a payload, a secret or personal data. Set exactly when status is error. */
  error: Json;
  /** The record's id at the CRM, case-sensitive. Null where there is none: failed creates, errors of the whole account. */
  externalId: string | null;
  /** Orders events of the same instant. */
  id: string;
  /** NurtureHub's own id of the record: the contact's id for people. No foreign key, so that history outlives the record. */
  internalId: string | null;
  /** When the operation ended, by the database's clock or the sync worker's. */
  occurredAt: Timestamp;
  /** The organisation (tenant) the event belongs to. */
  organisationId: string;
  /** success: both sides agree. skipped: nothing had to change. error: it failed, error says why. */
  status: string;
}

const syncLogListFailuresIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"beforeOccurredAt":true,"beforeId":true,"limit":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":536,"b":551}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":590,"b":603}]},{"name":"beforeOccurredAt","required":false,"transform":{"type":"scalar"},"locs":[{"a":744,"b":760},{"a":826,"b":842}]},{"name":"beforeId","required":false,"transform":{"type":"scalar"},"locs":[{"a":881,"b":889}]},{"name":"limit","required":true,"transform":{"type":"scalar"},"locs":[{"a":970,"b":976}]}],"statement":"-- The failures of a connection, newest first: the page of at most `limit` events before the given\n-- one. By crm_sync_log_status_connection_id_idx; «is true» keeps the planner from the primary key,\n-- which would read the successes, too.\nselect\n  organisation_id as \"organisationId\",\n  connection_id as \"connectionId\",\n  occurred_at as \"occurredAt\",\n  id,\n  direction,\n  entity_type as \"entityType\",\n  external_id as \"externalId\",\n  internal_id as \"internalId\",\n  status,\n  error as \"error!\"\nfrom crm_sync_log\nwhere (organisation_id = :organisationId!::uuid) is true\n  and connection_id = :connectionId!::uuid\n  and status = 'error'\n  -- Not coalesce: row-level security would keep such a comparison from the index.\n  and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')\n  and (occurred_at, id) < (\n    least(:beforeOccurredAt::timestamptz, 'infinity'),\n    least(:beforeId::bigint, 9223372036854775807)\n  )\norder by\n  occurred_at desc,\n  id desc\nlimit :limit!::integer"};

/**
 * The failures of a connection, newest first: the page of at most `limit` events before the given
 * one. By crm_sync_log_status_connection_id_idx; «is true» keeps the planner from the primary key,
 * which would read the successes, too.
 *
 * @remarks
 * ```sql
 * select
 *   organisation_id as "organisationId",
 *   connection_id as "connectionId",
 *   occurred_at as "occurredAt",
 *   id,
 *   direction,
 *   entity_type as "entityType",
 *   external_id as "externalId",
 *   internal_id as "internalId",
 *   status,
 *   error as "error!"
 * from crm_sync_log
 * where (organisation_id = :organisationId!::uuid) is true
 *   and connection_id = :connectionId!::uuid
 *   and status = 'error'
 *   -- Not coalesce: row-level security would keep such a comparison from the index.
 *   and occurred_at <= least(:beforeOccurredAt::timestamptz, 'infinity')
 *   and (occurred_at, id) < (
 *     least(:beforeOccurredAt::timestamptz, 'infinity'),
 *     least(:beforeId::bigint, 9223372036854775807)
 *   )
 * order by
 *   occurred_at desc,
 *   id desc
 * limit :limit!::integer
 * ```
 */
export const syncLogListFailures = new PreparedQuery<SyncLogListFailuresParams,SyncLogListFailuresResult>('syncLogListFailures', syncLogListFailuresIR);


/** What {@link syncLogRecord} takes. */
export interface SyncLogRecordParams {
  connectionId: string;
  directions: string[];
  entityTypes: string[];
  errors: Json[];
  externalIds: string[];
  internalIds: string[];
  occurredAts: TimestampInput[];
  organisationId: string;
  statuses: string[];
}

/** A row of {@link syncLogRecord}. */
export interface SyncLogRecordResult {
  recorded: number;
}

const syncLogRecordIR = {"usedParamSet":{"organisationId":true,"connectionId":true,"occurredAts":true,"directions":true,"entityTypes":true,"externalIds":true,"internalIds":true,"statuses":true,"errors":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":458,"b":473}]},{"name":"connectionId","required":true,"transform":{"type":"scalar"},"locs":[{"a":486,"b":499}]},{"name":"occurredAts","required":true,"transform":{"type":"scalar"},"locs":[{"a":691,"b":703}]},{"name":"directions","required":true,"transform":{"type":"scalar"},"locs":[{"a":725,"b":736}]},{"name":"entityTypes","required":true,"transform":{"type":"scalar"},"locs":[{"a":751,"b":763}]},{"name":"externalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":778,"b":790}]},{"name":"internalIds","required":true,"transform":{"type":"scalar"},"locs":[{"a":805,"b":817}]},{"name":"statuses","required":true,"transform":{"type":"scalar"},"locs":[{"a":832,"b":841}]},{"name":"errors","required":true,"transform":{"type":"scalar"},"locs":[{"a":856,"b":863}]}],"statement":"-- Adds the events of one connection to the log, all or none, one array element each; an event\n-- without a time happened now. One row: how many were added. Locks the connection's row FOR KEY\n-- SHARE, which lets everything but its deletion go on.\nwith recorded as (\n  insert into crm_sync_log (\n    organisation_id,\n    connection_id,\n    occurred_at,\n    direction,\n    entity_type,\n    external_id,\n    internal_id,\n    status,\n    error\n  )\n  select\n    :organisationId!::uuid,\n    :connectionId!::uuid,\n    coalesce(event.occurred_at, now()),\n    event.direction,\n    event.entity_type,\n    event.external_id,\n    event.internal_id,\n    event.status,\n    event.error\n  from unnest(\n    :occurredAts!::timestamptz[],\n    :directions!::text[],\n    :entityTypes!::text[],\n    :externalIds!::text[],\n    :internalIds!::uuid[],\n    :statuses!::text[],\n    :errors!::jsonb[]\n  ) with ordinality as event (\n    occurred_at,\n    direction,\n    entity_type,\n    external_id,\n    internal_id,\n    status,\n    error,\n    position\n  )\n  order by event.position\n  returning 1\n)\nselect count(*)::integer as \"recorded!\"\nfrom recorded"};

/**
 * Adds the events of one connection to the log, all or none, one array element each; an event
 * without a time happened now. One row: how many were added. Locks the connection's row FOR KEY
 * SHARE, which lets everything but its deletion go on.
 *
 * @remarks
 * ```sql
 * with recorded as (
 *   insert into crm_sync_log (
 *     organisation_id,
 *     connection_id,
 *     occurred_at,
 *     direction,
 *     entity_type,
 *     external_id,
 *     internal_id,
 *     status,
 *     error
 *   )
 *   select
 *     :organisationId!::uuid,
 *     :connectionId!::uuid,
 *     coalesce(event.occurred_at, now()),
 *     event.direction,
 *     event.entity_type,
 *     event.external_id,
 *     event.internal_id,
 *     event.status,
 *     event.error
 *   from unnest(
 *     :occurredAts!::timestamptz[],
 *     :directions!::text[],
 *     :entityTypes!::text[],
 *     :externalIds!::text[],
 *     :internalIds!::uuid[],
 *     :statuses!::text[],
 *     :errors!::jsonb[]
 *   ) with ordinality as event (
 *     occurred_at,
 *     direction,
 *     entity_type,
 *     external_id,
 *     internal_id,
 *     status,
 *     error,
 *     position
 *   )
 *   order by event.position
 *   returning 1
 * )
 * select count(*)::integer as "recorded!"
 * from recorded
 * ```
 */
export const syncLogRecord = new PreparedQuery<SyncLogRecordParams,SyncLogRecordResult>('syncLogRecord', syncLogRecordIR);


