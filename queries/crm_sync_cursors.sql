/* @name syncCursorList */
-- Lists the cursors of a connection's streams: one row per stream. Uses the primary key.
select
  direction,
  entity_type as "entityType",
  kind,
  synced_to_at as "syncedTo",
  token,
  page,
  version,
  moved_at as "movedAt"
from crm_sync_cursors
where organisation_id = :organisationId!::uuid
  and connection_id = :connectionId!::uuid
order by
  direction,
  entity_type;

/* @name syncCursorReset */
-- Resets the cursor of one stream of a live connection; for an inbound stream, also clears the
-- connection's own cursor. Returns one row, or none if there is no such stream. Uses primary keys. Locks
-- the connection for the transaction, then the cursor.
with connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
    and status <> 'disconnected'
  for no key update
),
reset as (
  update crm_sync_cursors as cursor
  set
    kind = null,
    synced_to_at = null,
    token = null,
    page = null,
    version = cursor.version + 1,
    moved_at = crm_now()
  from connection
  where cursor.organisation_id = connection.organisation_id
    and cursor.connection_id = connection.id
    and cursor.direction = :direction!::text
    and cursor.entity_type = :entityType!::text
  returning
    cursor.direction,
    cursor.version
),
forgotten as (
  update crm_connections
  set last_synced_at = null
  from connection
  cross join reset
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and reset.direction = 'inbound'
)
select version
from reset;

/* @name syncCursorForget */
-- Removes the cursor of a stream that is no longer synced, so that it no longer holds back the
-- connection's own cursor. Returns one row, or none if there is no such stream. Uses the primary key.
-- Locks the connection for the transaction, then the cursor.
with connection as (
  select
    organisation_id,
    id
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
  for no key update
)
delete from crm_sync_cursors as cursor
using connection
where cursor.organisation_id = connection.organisation_id
  and cursor.connection_id = connection.id
  and cursor.direction = :direction!::text
  and cursor.entity_type = :entityType!::text
returning cursor.version;
