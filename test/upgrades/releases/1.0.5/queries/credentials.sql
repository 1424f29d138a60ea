/* @name credentialsCountByKey */
-- How many connections each key protects, over all organisations. One row for each key that is in
-- use; reads crm_connections_credentials_key_id_idx as a whole, and the table besides where it was not
-- vacuumed lately. Rows of transactions that are still open are not counted.
select
  credentials_key_id as "keyId!",
  count(*)::integer as "connections!"
from crm_connections
where credentials_key_id is not null
group by credentials_key_id
order by credentials_key_id;

/* @name credentialsListByKey */
-- The connections that one key protects, over all organisations, a page at a time: the work list of a
-- key rotation. At most `limit` rows, by crm_connections_credentials_key_id_idx where the key protects
-- few and else along the primary key, so that all pages together read the table about once; for that
-- the planner has to know the key: analyze the table first.
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
-- Replaces the credentials of a live connection, if they are still those of a version. One row, or
-- none if the organisation has no such connection: `outcome` says what happened (`replaced`,
-- `superseded`, `disconnected` or `other_provider`), `credentialsVersion` what the version is now. By
-- primary key; locks the row for the transaction. At READ COMMITTED: above it, a loser gets 40001.
with connection as (
  select
    organisation_id,
    id,
    provider,
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
    credentials_expires_at = :credentialsExpiresAt::timestamptz
  from connection
  where crm_connections.organisation_id = connection.organisation_id
    and crm_connections.id = connection.id
    and connection.status <> 'disconnected'
    and connection.provider = :provider!::text
    and connection.credentials_version = :credentialsVersion!::integer
  returning crm_connections.credentials_version
)
select
  case
    when connection.status = 'disconnected' then 'disconnected'
    when connection.provider <> :provider!::text then 'other_provider'
    when exists (select from replaced) then 'replaced'
    else 'superseded'
  end as "outcome!",
  coalesce((select credentials_version from replaced), connection.credentials_version) as "credentialsVersion!"
from connection;

/* @name credentialsRewrap */
-- Puts the same credentials of many connections under another key. Returns the connections that were
-- changed: those whose credentials are still what was read, by version and key, and whose row nobody
-- else has locked. The version stays: it counts changes of what is inside, and a worker that is just
-- refreshing a token must not lose. By primary key; locks the rows for the transaction. No connection
-- twice. At READ COMMITTED: above it, a row that was changed meanwhile fails the batch with 40001.
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
