-- Up Migration
--
-- Purpose: which CRMs is an organisation connected to, and are those connections healthy?
-- Locks:   organisations SHARE ROW EXCLUSIVE, to add the foreign key: writes wait until the end of the
--          transaction, which by default is that of all pending files.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (organisations ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create function crm_credentials_is_jwe(credentials jsonb)
returns boolean
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
  -- case looks at one after the other, so that each condition can rely on those before it.
  select case
    when jsonb_typeof(credentials) <> 'object' then false
    when not credentials ?& '{protected,header,encrypted_key,iv,ciphertext,tag,aad}' then false
    when credentials - '{protected,header,encrypted_key,iv,ciphertext,tag,aad}'::text[] <> '{}' then false
    when exists (
      select
      from jsonb_each(credentials) as member (name, value)
      where jsonb_typeof(value) <> case name when 'header' then 'object' else 'string' end
    ) then false
    when not credentials -> 'header' ? 'kid' then false
    when (credentials -> 'header') - 'kid' <> '{}' then false
    when jsonb_typeof(credentials #> '{header,kid}') <> 'string' then false
    else
      credentials #>> '{header,kid}' ~ '^[A-Za-z0-9._:-]{1,200}$'
      -- base64url of a JSON object's first bytes
      and credentials ->> 'protected' ~ '^eyJ[A-Za-z0-9_-]+$'
      and length(credentials ->> 'protected') <= 1000
      -- at least a wrapped AES key; at most what RSA with 8192 bits makes
      and credentials ->> 'encrypted_key' ~ '^[A-Za-z0-9_-]+$'
      and length(credentials ->> 'encrypted_key') between 22 and 1366
      -- A256GCM: an IV of 96 bits and a tag of 128 bits
      and credentials ->> 'iv' ~ '^[A-Za-z0-9_-]{16}$'
      and credentials ->> 'tag' ~ '^[A-Za-z0-9_-]{22}$'
      and credentials ->> 'ciphertext' ~ '^[A-Za-z0-9_-]+$'
      and length(credentials ->> 'ciphertext') between 2 and 16384
      and credentials ->> 'aad' ~ '^[A-Za-z0-9_-]+$'
  end
$$;

comment on function crm_credentials_is_jwe(jsonb) is
  'Whether a value is a JWE in flattened JSON serialisation (RFC 7516) of exactly the members protected, header.kid, encrypted_key, iv, ciphertext, tag and aad. It can tell the shape, not whether the ciphertext is sound.';

create function crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text)
returns text
language sql
immutable
strict
parallel safe
set search_path = ''
as $$
  -- decode() and not convert_to(), which is not immutable.
  -- base64url is base64 with - and _ for + and /, and without line breaks and padding.
  select translate(
    encode(
      decode(
        'nurturehub-crm:' || organisation_id::text || ':' || connection_id::text || ':' || replace(provider, E'\\', E'\\\\'),
        'escape'
      ),
      'base64'
    ),
    E'+/=\n',
    '-_'
  )
$$;

comment on function crm_credentials_aad(uuid, uuid, text) is
  'The additional authenticated data, in base64url, that binds encrypted credentials to one organisation, connection and provider, so that a ciphertext copied to another row is refused.';

create table crm_connections (
  organisation_id uuid not null,
  id uuid not null,
  provider text not null,
  status text not null default 'active',
  status_reason text,
  status_changed_at timestamptz not null default now(),
  credentials jsonb,
  credentials_key_id text generated always as (credentials #>> '{header,kid}') stored,
  -- One refresh a minute lasts for 4,000 years.
  -- squawk-ignore prefer-bigint-over-int
  credentials_version integer not null default 1,
  credentials_expires_at timestamptz,
  last_synced_at timestamptz,
  connected_at timestamptz not null default now(),
  disconnected_at timestamptz,
  constraint crm_connections_pkey
    primary key (organisation_id, id),
  -- An organisation that still has connections is erased deliberately, never by a cascade.
  constraint crm_connections_organisation_id_fkey
    foreign key (organisation_id)
    references organisations (id)
    on delete restrict,
  constraint crm_connections_provider_check
    check (provider in ('agentos', 'reapit', 'alto', 'street', 'loop', 'custom')),
  constraint crm_connections_status_check
    check (status in ('active', 'error', 'disconnected')),
  constraint crm_connections_disconnected_iff_disconnected_at_check
    check ((status = 'disconnected') = (disconnected_at is not null)),
  constraint crm_connections_disconnected_iff_no_credentials_check
    check ((status = 'disconnected') = (credentials is null)),
  constraint crm_connections_error_has_reason_check
    check (status <> 'error' or status_reason is not null),
  constraint crm_connections_active_has_no_reason_check
    check (status <> 'active' or status_reason is null),
  constraint crm_connections_status_reason_length_check
    check (btrim(status_reason, E' \t\n\r\f\x0b') <> '' and length(status_reason) <= 500),
  constraint crm_connections_credentials_is_jwe_check
    check (crm_credentials_is_jwe(credentials)),
  constraint crm_connections_credentials_bound_to_row_check
    check (credentials ->> 'aad' = crm_credentials_aad(organisation_id, id, provider)),
  constraint crm_connections_credentials_version_check
    check (credentials_version >= 1),
  constraint crm_connections_expiry_has_credentials_check
    check (credentials_expires_at is null or credentials is not null),
  constraint crm_connections_times_in_range_check
    check (
      least(status_changed_at, credentials_expires_at, last_synced_at, connected_at, disconnected_at)
        >= '1900-01-01 00:00:00+00'
      and greatest(status_changed_at, credentials_expires_at, last_synced_at, connected_at, disconnected_at)
        < '9999-01-01 00:00:00+00'
    )
);

create unique index crm_connections_organisation_id_provider_live_key
  on crm_connections (organisation_id, provider)
  where status <> 'disconnected';

create index crm_connections_credentials_key_id_idx
  on crm_connections (credentials_key_id)
  where credentials_key_id is not null;

comment on table crm_connections is
  'One row each time an organisation connects a CRM. At most one row per organisation and provider is live; disconnected rows stay as history, and no query brings one back to life.';
comment on column crm_connections.organisation_id is
  'The organisation (tenant) that owns the connection.';
comment on column crm_connections.id is
  'The connection. The application makes it, because the encrypted credentials are bound to it before the row exists.';
comment on column crm_connections.provider is
  'The CRM: agentos, reapit, alto, street, loop or custom.';
comment on column crm_connections.status is
  'active: syncing may go on. error: it needs attention, status_reason says which. disconnected: history.';
comment on column crm_connections.status_reason is
  'Why the connection is in its status, in words an agent can act on; required for error, absent for active. Never a secret or personal data.';
comment on column crm_connections.status_changed_at is
  'When status last became what it is.';
comment on column crm_connections.credentials is
  'Secret. The CRM''s credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null exactly when disconnected.';
comment on column crm_connections.credentials_key_id is
  'The id of the key that wraps the credentials (the JWE''s header.kid): the work list of a key rotation.';
comment on column crm_connections.credentials_version is
  'Counts the changes of credentials, so that a writer can tell whether they are still those it read.';
comment on column crm_connections.credentials_expires_at is
  'When the access token inside the credentials expires, readable without decrypting. Null if it does not, or if that is not known.';
comment on column crm_connections.last_synced_at is
  'The cursor of incremental sync: everything the CRM changed up to here has arrived, by the CRM''s clock. Null before the first complete sync, or to ask for a full one. Never moves backwards otherwise.';
comment on column crm_connections.connected_at is
  'When the organisation connected the CRM.';
comment on column crm_connections.disconnected_at is
  'When the connection ended. Set exactly when status is disconnected.';
comment on constraint crm_connections_pkey on crm_connections is
  'Tenant first: rows of one organisation are found, kept and sharded together.';
comment on constraint crm_connections_organisation_id_fkey on crm_connections is
  'On delete restrict: an organisation with connections goes through erasure, never by a cascade.';
comment on constraint crm_connections_provider_check on crm_connections is
  'The CRMs NurtureHub can sync with.';
comment on constraint crm_connections_status_check on crm_connections is
  'The closed list of statuses.';
comment on constraint crm_connections_disconnected_iff_disconnected_at_check on crm_connections is
  'A connection says when it ended if, and only if, it has ended.';
comment on constraint crm_connections_disconnected_iff_no_credentials_check on crm_connections is
  'Disconnecting wipes the credentials; a live connection always has some.';
comment on constraint crm_connections_error_has_reason_check on crm_connections is
  'A connection in error says why.';
comment on constraint crm_connections_active_has_no_reason_check on crm_connections is
  'A healthy connection carries no stale reason.';
comment on constraint crm_connections_status_reason_length_check on crm_connections is
  'A reason is 1 to 500 characters and not blank.';
comment on constraint crm_connections_credentials_is_jwe_check on crm_connections is
  'Only ciphertext of the one agreed shape can be stored: plaintext is refused.';
comment on constraint crm_connections_credentials_bound_to_row_check on crm_connections is
  'The ciphertext names this organisation, connection and provider: copied to another row it is refused.';
comment on constraint crm_connections_credentials_version_check on crm_connections is
  'Versions count from 1.';
comment on constraint crm_connections_expiry_has_credentials_check on crm_connections is
  'Nothing that is not there expires.';
comment on constraint crm_connections_times_in_range_check on crm_connections is
  'Times are in the years 1900 to 9998: every client can read them, and a cursor at infinity would skip every later change.';
comment on index crm_connections_organisation_id_provider_live_key is
  'One live connection per organisation and provider; any number of disconnected ones.';
comment on index crm_connections_credentials_key_id_idx is
  'Finds the rows that a retired key still wraps.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen.
lock table crm_connections in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_connections)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_connections has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop table crm_connections;

drop function crm_credentials_aad(uuid, uuid, text);

drop function crm_credentials_is_jwe(jsonb);
