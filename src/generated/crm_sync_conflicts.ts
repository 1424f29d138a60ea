/** Types generated for queries found in "queries/crm_sync_conflicts.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

import type { Timestamp, TimestampInput } from '../types.js';

/** The parameters of {@link syncConflictAcknowledge}. */
export interface SyncConflictAcknowledgeParams {
  acknowledgedBy: string;
  connectionId: string;
  ids: (number | string)[];
  organisationId: string;
}

/** A row of {@link syncConflictAcknowledge}. */
export interface SyncConflictAcknowledgeResult {
  acknowledged: number;
}

/**
 * Says that a person has seen the given conflicts of a connection; they stay listed. Skips those that are acknowledged
 * already, and ids that the connection does not have. Returns one row with their number. Uses
 * crm_sync_conflicts_id_key (`is true` keeps the planner from reading all that the connection has). Locks the conflicts
 * for the transaction.
 *
 * @remarks
 * ```sql
 * with wanted as (
 *   select
 *     conflict.organisation_id,
 *     conflict.connection_id,
 *     conflict.id,
 *     given.id as given_id
 *   from (select distinct id from unnest(:ids!::bigint[]) as given (id)) as given
 *   cross join lateral (
 *     select
 *       organisation_id,
 *       connection_id,
 *       id
 *     from crm_sync_conflicts
 *     where (organisation_id = :organisationId!::uuid) is true
 *       and (connection_id = :connectionId!::uuid) is true
 *       and id = given.id
 *       and (acknowledged_at is null) is true
 *     limit 1
 *     for no key update
 *   ) as conflict
 * ),
 * acknowledged as (
 *   update crm_sync_conflicts as conflict
 *   set
 *     acknowledged_at = crm_now(),
 *     acknowledged_by = :acknowledgedBy!::text
 *   from wanted
 *   where (conflict.organisation_id = wanted.organisation_id) is true
 *     and (conflict.connection_id = wanted.connection_id) is true
 *     and conflict.id = wanted.id
 *     -- Always true. It tells the planner to expect few rows, so that it looks each one up.
 *     and wanted.id = wanted.given_id
 *   returning conflict.id
 * )
 * select count(*)::integer as "acknowledged!"
 * from acknowledged
 * ```
 */
export const syncConflictAcknowledge = new PreparedQuery<SyncConflictAcknowledgeParams,SyncConflictAcknowledgeResult>({
  name: 'syncConflictAcknowledge',
  statementName: 'syncConflictAcknowledge_cc91985e',
  params: [
    { name: 'ids', required: true },
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'acknowledgedBy', required: true },
  ],
  text: `with /* syncConflictAcknowledge */ wanted as (
  select
    conflict.organisation_id,
    conflict.connection_id,
    conflict.id,
    given.id as given_id
  from (select distinct id from unnest($1::bigint[]) as given (id)) as given
  cross join lateral (
    select
      organisation_id,
      connection_id,
      id
    from crm_sync_conflicts
    where (organisation_id = $2::uuid) is true
      and (connection_id = $3::uuid) is true
      and id = given.id
      and (acknowledged_at is null) is true
    limit 1
    for no key update
  ) as conflict
),
acknowledged as (
  update crm_sync_conflicts as conflict
  set
    acknowledged_at = crm_now(),
    acknowledged_by = $4::text
  from wanted
  where (conflict.organisation_id = wanted.organisation_id) is true
    and (conflict.connection_id = wanted.connection_id) is true
    and conflict.id = wanted.id
    and wanted.id = wanted.given_id
  returning conflict.id
)
select count(*)::integer as "acknowledged"
from acknowledged`,
});


/** The parameters of {@link syncConflictList}. */
export interface SyncConflictListParams {
  beforeId?: number | string | null | void;
  beforeLastSeenAt?: TimestampInput | null | void;
  connectionId: string;
  isAcknowledged?: boolean | null | void;
  limit: number;
  organisationId: string;
}

/** A row of {@link syncConflictList}. */
export interface SyncConflictListResult {
  /** When a person said that they had seen it. Null if nobody has since it last happened. */
  acknowledgedAt: Timestamp | null;
  /** Who has seen it: a role or a program, never a person's name. */
  acknowledgedBy: string | null;
  /** NurtureHub's contact when it last happened. Without a foreign key, as in the log. */
  contactId: string;
  /** The kind of record, in the CRM's own terms. */
  entityType: string;
  /** The record's id at the CRM. */
  externalId: string;
  /** When it happened first. */
  firstSeenAt: Timestamp;
  /** Names the conflict, and orders those of one instant. */
  id: string;
  /** Whose edit was kept when it last happened: nurturehub, crm, or neither was overwritten until a person decides. */
  kept: string;
  /** When it happened last. */
  lastSeenAt: Timestamp;
  /** How often it has happened. */
  occurrences: number;
}

/**
 * Lists the records of a connection that were edited on both sides, newest first, a page at a time; if isAcknowledged
 * is given, only those that a person has acknowledged, or only the others. Returns at most `limit` rows. Uses
 * crm_sync_conflicts_last_seen_at_idx, and reads what isAcknowledged leaves out.
 *
 * @remarks
 * ```sql
 * select
 *   id,
 *   entity_type as "entityType",
 *   external_id as "externalId",
 *   contact_id as "contactId",
 *   kept,
 *   first_seen_at as "firstSeenAt",
 *   last_seen_at as "lastSeenAt",
 *   occurrences,
 *   acknowledged_at as "acknowledgedAt",
 *   acknowledged_by as "acknowledgedBy"
 * from crm_sync_conflicts
 * where organisation_id = :organisationId!::uuid
 *   and connection_id = :connectionId!::uuid
 *   and coalesce((acknowledged_at is not null) = :isAcknowledged::boolean, true)
 *   -- least, not coalesce: under row-level security, a comparison with coalesce could not use the index.
 *   and last_seen_at <= least(:beforeLastSeenAt::timestamptz, 'infinity')
 *   and (last_seen_at, id) < (
 *     least(:beforeLastSeenAt::timestamptz, 'infinity'),
 *     least(:beforeId::bigint, 9223372036854775807)
 *   )
 * order by
 *   last_seen_at desc,
 *   id desc
 * limit :limit!::integer
 * ```
 */
export const syncConflictList = new PreparedQuery<SyncConflictListParams,SyncConflictListResult>({
  name: 'syncConflictList',
  statementName: 'syncConflictList_686a391d',
  params: [
    { name: 'organisationId', required: true },
    { name: 'connectionId', required: true },
    { name: 'isAcknowledged', required: false },
    { name: 'beforeLastSeenAt', required: false },
    { name: 'beforeId', required: false },
    { name: 'limit', required: true },
  ],
  text: `select /* syncConflictList */
  id,
  entity_type as "entityType",
  external_id as "externalId",
  contact_id as "contactId",
  kept,
  first_seen_at as "firstSeenAt",
  last_seen_at as "lastSeenAt",
  occurrences,
  acknowledged_at as "acknowledgedAt",
  acknowledged_by as "acknowledgedBy"
from crm_sync_conflicts
where organisation_id = $1::uuid
  and connection_id = $2::uuid
  and coalesce((acknowledged_at is not null) = $3::boolean, true)
  and last_seen_at <= least($4::timestamptz, 'infinity')
  and (last_seen_at, id) < (
    least($4::timestamptz, 'infinity'),
    least($5::bigint, 9223372036854775807)
  )
order by
  last_seen_at desc,
  id desc
limit $6::integer`,
});


