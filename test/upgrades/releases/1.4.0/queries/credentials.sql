/* @name credentialsCountByKey */
-- Counts the connections that each key protects, across all organisations. Returns one row per key in use.
-- Does not count rows of open transactions. Reads all of crm_connections_credentials_key_id_idx, and parts
-- of the table that were not vacuumed lately.
select
  credentials_key_id as "keyId!",
  count(*)::integer as "connections!"
from crm_connections
where credentials_key_id is not null
group by credentials_key_id
order by credentials_key_id;

/* @name credentialsListByKey */
-- Lists the connections that one key protects, across all organisations, a page at a time: the work list
-- of a key rotation. Returns at most `limit` rows. Uses crm_connections_credentials_key_id_idx if the key
-- protects few connections, and otherwise the primary key, so that all pages together read the table about
-- once. The planner needs statistics on the key to choose: analyze the table first.
select
  organisation_id as "organisationId",
  id as "connectionId",
  provider,
  credentials as "credentials!",
  credentials_version as "credentialsVersion"
from crm_connections
where credentials_key_id = :keyId!::text
  and (organisation_id, id) > (:afterOrganisationId!::uuid, :afterConnectionId!::uuid)
order by
  organisation_id,
  id
limit :limit!::integer;

/* @name credentialsReplace */
-- Replaces the credentials of a live connection if they are still of the given version and, where `account`
-- is given, for the same account. If its account is unknown, sets it, as connectionSetAccount does. Returns
-- one row, or none if the organisation has no such connection: `outcome` (`replaced`, `superseded`,
-- `disconnected`, `other_provider` or `other_account`), `credentialsVersion`, the version now, and how many
-- ids were archived and restored. Uses the primary key. Locks the row for the transaction; if it sets the
-- account and there was another connection, takes the lock of crm_lock_external_ids, then locks contacts and
-- ids. Needs READ COMMITTED: at a higher level, the loser of a race fails with 40001.
with connection as (
  select
    organisation_id,
    id,
    provider,
    account,
    status,
    credentials_version
  from crm_connections
  where organisation_id = :organisationId!::uuid
    and id = :connectionId!::uuid
  for no key update
),
replaced as (
  update crm_connections
  set
    credentials = :credentials!::jsonb,
    credentials_version = connection.credentials_version + 1,
    credentials_expires_at = :credentialsExpiresAt::timestamptz,
    account = coalesce(connection.account, :account::text)
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and connection.provider = :provider!::text
    and connection.credentials_version = :credentialsVersion!::integer
    and coalesce(connection.account = :account::text, true)
  returning
    crm_connections.organisation_id,
    crm_connections.id,
    crm_connections.credentials_version,
    crm_connections.connected_at
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.provider <> :provider!::text then 'other_provider'
    when connection.account <> :account::text then 'other_account'
    when replaced.id is not null then 'replaced'
    else 'superseded'
  end as "outcome!",
  coalesce(replaced.credentials_version, connection.credentials_version) as "credentialsVersion!",
  coalesce(switched.archived, 0) as "archivedIds!",
  coalesce(switched.restored, 0) as "restoredIds!"
from connection
left join replaced
  on replaced.id = connection.id
left join lateral crm_switch_account(
  case when connection.account is null then replaced.organisation_id end,
  replaced.id,
  'keep',
  replaced.connected_at
) as switched on true;

/* @name credentialsRewrap */
-- Stores the same credentials of many connections, encrypted for another key. Returns the changed
-- connections: those whose credentials still have the version and key that were read, and whose row is not
-- locked. The version does not change: it counts changes of the content, and a worker that is refreshing a
-- token must not lose. Uses the primary key. Locks the rows for the transaction. Pass each connection
-- once. Needs READ COMMITTED: at a higher level, a concurrent change fails the batch with 40001.
with given as (
  select
    organisation_id,
    connection_id,
    credentials_version,
    credentials
  from unnest(
    :organisationIds!::uuid[],
    :connectionIds!::uuid[],
    :credentialsVersions!::integer[],
    :credentials!::jsonb[]
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
    and connection.credentials_key_id = :keyId!::text
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
  crm_connections.id as "connectionId";
