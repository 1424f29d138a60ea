/* @name syncConflictAcknowledge */
-- Says that a person has seen the given conflicts of a connection; they stay listed. Skips those that are acknowledged
-- already, and ids that the connection does not have. Returns one row with their number. Uses
-- crm_sync_conflicts_id_key (`is true` keeps the planner from reading all that the connection has). Locks the conflicts
-- for the transaction.
with wanted as (
  select
    conflict.organisation_id,
    conflict.connection_id,
    conflict.id,
    given.id as given_id
  from (select distinct id from unnest(:ids!::bigint[]) as given (id)) as given
  cross join lateral (
    select
      organisation_id,
      connection_id,
      id
    from crm_sync_conflicts
    where (organisation_id = :organisationId!::uuid) is true
      and (connection_id = :connectionId!::uuid) is true
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
    acknowledged_by = :acknowledgedBy!::text
  from wanted
  where (conflict.organisation_id = wanted.organisation_id) is true
    and (conflict.connection_id = wanted.connection_id) is true
    and conflict.id = wanted.id
    -- Always true. It tells the planner to expect few rows, so that it looks each one up.
    and wanted.id = wanted.given_id
  returning conflict.id
)
select count(*)::integer as "acknowledged!"
from acknowledged;

/* @name syncConflictList */
-- Lists the records of a connection that were edited on both sides, newest first, a page at a time; if isAcknowledged
-- is given, only those that a person has acknowledged, or only the others. Returns at most `limit` rows. Uses
-- crm_sync_conflicts_last_seen_at_idx, and reads what isAcknowledged leaves out.
select
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
where organisation_id = :organisationId!::uuid
  and connection_id = :connectionId!::uuid
  and coalesce((acknowledged_at is not null) = :isAcknowledged::boolean, true)
  -- least, not coalesce: under row-level security, a comparison with coalesce could not use the index.
  and last_seen_at <= least(:beforeLastSeenAt::timestamptz, 'infinity')
  and (last_seen_at, id) < (
    least(:beforeLastSeenAt::timestamptz, 'infinity'),
    least(:beforeId::bigint, 9223372036854775807)
  )
order by
  last_seen_at desc,
  id desc
limit :limit!::integer;
