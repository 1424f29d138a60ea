-- The whole schema that the migrations make, as pg_dump of PostgreSQL 18 writes it: for reading, and for
-- seeing in a diff what a migration does. To set up or change a database, run the migrations.
--
-- Left out: owners; NurtureHub's own tables, but not the index on contacts; node-pg-migrate's table; and the
-- monthly partitions of crm_sync_log, which are made like crm_sync_log_catch_all, shown here as it is before
-- the first month.
--
-- Roles belong to the cluster, so that pg_dump names them and does not create them: crm_app, crm_reader, crm_worker.
--
-- Made by npm run snapshot. Do not edit.

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: crm_credentials_aad(uuid, uuid, text); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

--
-- Name: FUNCTION crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text) IS 'The additional authenticated data, in base64url, that binds encrypted credentials to one organisation, connection and provider, so that a ciphertext copied to another row is refused.';

--
-- Name: crm_credentials_is_jwe(jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_credentials_is_jwe(credentials jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
$_$;

--
-- Name: FUNCTION crm_credentials_is_jwe(credentials jsonb); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_credentials_is_jwe(credentials jsonb) IS 'Whether a value is a JWE in flattened JSON serialisation (RFC 7516) with exactly the members protected, header.kid, encrypted_key, iv, ciphertext, tag and aad. Checks the shape only, not whether the ciphertext can be decrypted.';

--
-- Name: crm_now(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_now() RETURNS timestamp with time zone
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select coalesce(nullif(current_setting('crm_schema.now', true), '')::timestamptz, statement_timestamp())
$$;

--
-- Name: FUNCTION crm_now(); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_now() IS 'The current time for schedules, leases and retries: the start of the statement, or the setting crm_schema.now, with which a test stops the clock.';


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: crm_connections; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_connections (
    organisation_id uuid NOT NULL,
    id uuid NOT NULL,
    provider text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    status_reason text,
    status_changed_at timestamp with time zone DEFAULT now() NOT NULL,
    credentials jsonb,
    credentials_key_id text GENERATED ALWAYS AS ((credentials #>> '{header,kid}'::text[])) STORED,
    credentials_version integer DEFAULT 1 NOT NULL,
    credentials_expires_at timestamp with time zone,
    last_synced_at timestamp with time zone,
    connected_at timestamp with time zone DEFAULT now() NOT NULL,
    disconnected_at timestamp with time zone,
    next_sync_at timestamp with time zone DEFAULT public.crm_now() NOT NULL,
    not_before_at timestamp with time zone,
    sync_interval_seconds integer DEFAULT 900 NOT NULL,
    sync_requested_at timestamp with time zone,
    last_success_at timestamp with time zone,
    first_failed_at timestamp with time zone,
    failure_count integer DEFAULT 0 NOT NULL,
    CONSTRAINT crm_connections_active_has_no_reason_check CHECK (((status <> 'active'::text) OR (status_reason IS NULL))),
    CONSTRAINT crm_connections_credentials_bound_to_row_check CHECK (((credentials ->> 'aad'::text) = public.crm_credentials_aad(organisation_id, id, provider))),
    CONSTRAINT crm_connections_credentials_is_jwe_check CHECK (public.crm_credentials_is_jwe(credentials)),
    CONSTRAINT crm_connections_credentials_version_check CHECK ((credentials_version >= 1)),
    CONSTRAINT crm_connections_disconnected_iff_disconnected_at_check CHECK (((status = 'disconnected'::text) = (disconnected_at IS NOT NULL))),
    CONSTRAINT crm_connections_disconnected_iff_no_credentials_check CHECK (((status = 'disconnected'::text) = (credentials IS NULL))),
    CONSTRAINT crm_connections_error_has_reason_check CHECK (((status <> 'error'::text) OR (status_reason IS NOT NULL))),
    CONSTRAINT crm_connections_expiry_has_credentials_check CHECK (((credentials_expires_at IS NULL) OR (credentials IS NOT NULL))),
    CONSTRAINT crm_connections_failure_count_check CHECK ((failure_count >= 0)),
    CONSTRAINT crm_connections_first_failed_iff_failure_count_check CHECK (((first_failed_at IS NOT NULL) = (failure_count > 0))),
    CONSTRAINT crm_connections_provider_check CHECK ((provider = ANY (ARRAY['agentos'::text, 'reapit'::text, 'alto'::text, 'street'::text, 'loop'::text, 'custom'::text]))),
    CONSTRAINT crm_connections_schedule_times_in_range_check CHECK (((LEAST(next_sync_at, not_before_at, sync_requested_at, last_success_at, first_failed_at) >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(next_sync_at, not_before_at, sync_requested_at, last_success_at, first_failed_at) < '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT crm_connections_status_check CHECK ((status = ANY (ARRAY['active'::text, 'error'::text, 'disconnected'::text]))),
    CONSTRAINT crm_connections_status_reason_length_check CHECK (((btrim(status_reason, E' \t\n\r\f\x0b'::text) <> ''::text) AND (length(status_reason) <= 500))),
    CONSTRAINT crm_connections_sync_interval_seconds_check CHECK (((sync_interval_seconds >= 60) AND (sync_interval_seconds <= 604800))),
    CONSTRAINT crm_connections_times_in_range_check CHECK (((LEAST(status_changed_at, credentials_expires_at, last_synced_at, connected_at, disconnected_at) >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(status_changed_at, credentials_expires_at, last_synced_at, connected_at, disconnected_at) < '9999-01-01 00:00:00+00'::timestamp with time zone)))
);

--
-- Name: TABLE crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_connections IS 'One row each time an organisation connects a CRM. At most one row per organisation and provider is live. Disconnected rows stay as history; no query reactivates them.';

--
-- Name: COLUMN crm_connections.organisation_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.organisation_id IS 'The organisation (tenant) that owns the connection.';

--
-- Name: COLUMN crm_connections.id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.id IS 'The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists.';

--
-- Name: COLUMN crm_connections.provider; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.provider IS 'The CRM: agentos, reapit, alto, street, loop or custom.';

--
-- Name: COLUMN crm_connections.status; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.status IS 'active: it can sync. error: it needs attention, status_reason says why. disconnected: kept as history.';

--
-- Name: COLUMN crm_connections.status_reason; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.status_reason IS 'Why the connection has its status, in words an agent can act on. Required for error, null for active. Never a secret or personal data.';

--
-- Name: COLUMN crm_connections.status_changed_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.status_changed_at IS 'When status last changed.';

--
-- Name: COLUMN crm_connections.credentials; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.credentials IS 'Secret. The CRM''s credentials, encrypted: a JWE in flattened JSON serialisation (RFC 7516), bound to this row by its aad. Null exactly when disconnected.';

--
-- Name: COLUMN crm_connections.credentials_key_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.credentials_key_id IS 'The id of the key that wraps the credentials (the JWE''s header.kid). Key rotation finds its rows by it.';

--
-- Name: COLUMN crm_connections.credentials_version; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.credentials_version IS 'Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it.';

--
-- Name: COLUMN crm_connections.credentials_expires_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.credentials_expires_at IS 'When the access token inside the credentials expires; readable without decrypting. Null if it does not expire, or if the time is unknown.';

--
-- Name: COLUMN crm_connections.last_synced_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.last_synced_at IS 'The cursor of incremental sync: every change the CRM made up to this time, by the CRM''s clock, has arrived. Null before the first complete sync, and to request a full one. Otherwise it never moves backwards.';

--
-- Name: COLUMN crm_connections.connected_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.connected_at IS 'When the organisation connected the CRM.';

--
-- Name: COLUMN crm_connections.disconnected_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.disconnected_at IS 'When the connection ended. Set exactly when status is disconnected.';

--
-- Name: COLUMN crm_connections.next_sync_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.next_sync_at IS 'When the connection is due; the oldest due is claimed first. Never before the lease of an open run expires. Meaningless once disconnected.';

--
-- Name: COLUMN crm_connections.not_before_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.not_before_at IS 'After a failure, no sync starts before this time, even if a webhook requests one. Null after a success, and when a person requests a sync.';

--
-- Name: COLUMN crm_connections.sync_interval_seconds; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.sync_interval_seconds IS 'How long after a successful sync the next one is due: one minute to a week.';

--
-- Name: COLUMN crm_connections.sync_requested_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.sync_requested_at IS 'When the pending request for a sync out of turn was made, by a webhook or a person. Null if none is pending. The next claim clears it, so many requests cause one sync. A request during a run causes another sync after it.';

--
-- Name: COLUMN crm_connections.last_success_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.last_success_at IS 'When a sync last succeeded. Null before the first success.';

--
-- Name: COLUMN crm_connections.first_failed_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.first_failed_at IS 'When the current series of failed syncs began. Null if the last sync succeeded.';

--
-- Name: COLUMN crm_connections.failure_count; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_connections.failure_count IS 'How many syncs in a row have failed, including abandoned ones.';

--
-- Name: CONSTRAINT crm_connections_active_has_no_reason_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_active_has_no_reason_check ON public.crm_connections IS 'A healthy connection carries no stale reason.';

--
-- Name: CONSTRAINT crm_connections_credentials_bound_to_row_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_credentials_bound_to_row_check ON public.crm_connections IS 'The ciphertext names this organisation, connection and provider: copied to another row it is refused.';

--
-- Name: CONSTRAINT crm_connections_credentials_is_jwe_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_credentials_is_jwe_check ON public.crm_connections IS 'Only ciphertext of the one agreed shape can be stored: plaintext is refused.';

--
-- Name: CONSTRAINT crm_connections_credentials_version_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_credentials_version_check ON public.crm_connections IS 'Versions count from 1.';

--
-- Name: CONSTRAINT crm_connections_disconnected_iff_disconnected_at_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_disconnected_iff_disconnected_at_check ON public.crm_connections IS 'disconnected_at is set if and only if the connection is disconnected.';

--
-- Name: CONSTRAINT crm_connections_disconnected_iff_no_credentials_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_disconnected_iff_no_credentials_check ON public.crm_connections IS 'Disconnecting wipes the credentials; a live connection always has some.';

--
-- Name: CONSTRAINT crm_connections_error_has_reason_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_error_has_reason_check ON public.crm_connections IS 'A connection in error says why.';

--
-- Name: CONSTRAINT crm_connections_expiry_has_credentials_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_expiry_has_credentials_check ON public.crm_connections IS 'Without credentials there is no expiry time.';

--
-- Name: CONSTRAINT crm_connections_failure_count_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_failure_count_check ON public.crm_connections IS 'Counted from 0.';

--
-- Name: CONSTRAINT crm_connections_first_failed_iff_failure_count_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_first_failed_iff_failure_count_check ON public.crm_connections IS 'first_failed_at is set if and only if failure_count is above 0.';

--
-- Name: CONSTRAINT crm_connections_provider_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_provider_check ON public.crm_connections IS 'The CRMs NurtureHub can sync with.';

--
-- Name: CONSTRAINT crm_connections_schedule_times_in_range_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_schedule_times_in_range_check ON public.crm_connections IS 'Times are in the years 1900 to 9998: every client can read them.';

--
-- Name: CONSTRAINT crm_connections_status_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_status_check ON public.crm_connections IS 'The closed list of statuses.';

--
-- Name: CONSTRAINT crm_connections_status_reason_length_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_status_reason_length_check ON public.crm_connections IS 'A reason is 1 to 500 characters and not blank.';

--
-- Name: CONSTRAINT crm_connections_sync_interval_seconds_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_sync_interval_seconds_check ON public.crm_connections IS 'At least a minute, so that a mistake does not use up a CRM''s daily limit; at most a week.';

--
-- Name: CONSTRAINT crm_connections_times_in_range_check ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_times_in_range_check ON public.crm_connections IS 'Times are in the years 1900 to 9998: every client can read them, and a cursor at infinity would skip every later change.';

--
-- Name: crm_check_organisation(uuid, regclass); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_check_organisation(organisation_id uuid, connections_table regclass DEFAULT 'public.crm_connections'::regclass) RETURNS boolean
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  if not row_security_active(connections_table::oid) or pg_has_role('crm_worker', 'usage') then
    return true;
  end if;
  if pg_has_role('crm_app', 'usage') then
    if nullif(current_setting('crm_schema.organisation_id', true), '')::uuid is distinct from organisation_id then
      raise exception using
        errcode = 'CRM05',
        message = 'the organisation is not the one that is set in this transaction',
        hint = 'Call crm_set_organisation first, in the same transaction (in TypeScript: withOrganisation, with the client that it lends).';
    end if;
  elsif not pg_has_role('crm_reader', 'usage') then
    raise exception using
      errcode = 'CRM05',
      message = format('user %s sees no organisation', current_user),
      hint = format('Run: grant crm_app to %I;', current_user);
  end if;
  return true;
end
$$;

--
-- Name: FUNCTION crm_check_organisation(organisation_id uuid, connections_table regclass); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_check_organisation(organisation_id uuid, connections_table regclass) IS 'Returns true if the user sees the rows of this organisation (tenant), and fails with SQLSTATE CRM05 otherwise. For statements to which finding nothing means that there is nothing to do: rows that a policy hides must not look like that. Omit the second parameter.';

--
-- Name: crm_organisation_id(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_organisation_id() RETURNS uuid
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  -- Once a transaction that set it is over, the setting reads as empty, not as missing.
  organisation_id constant text := nullif(current_setting('crm_schema.organisation_id', true), '');
begin
  if organisation_id is null then
    raise exception using
      errcode = 'CRM05',
      message = 'no organisation is set in this transaction',
      hint = 'Call crm_set_organisation first, in the same transaction (in TypeScript: withOrganisation, with the client that it lends).';
  end if;
  return organisation_id::uuid;
end
$$;

--
-- Name: FUNCTION crm_organisation_id(); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_organisation_id() IS 'The organisation (tenant) whose rows crm_app sees in this transaction. Fails with SQLSTATE CRM05 if none is set, so that hidden rows are not mistaken for missing ones.';

--
-- Name: crm_set_organisation(uuid); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_set_organisation(organisation_id uuid) RETURNS uuid
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select nullif(set_config('crm_schema.organisation_id', coalesce(organisation_id::text, ''), true), '')::uuid
$$;

--
-- Name: FUNCTION crm_set_organisation(organisation_id uuid); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_set_organisation(organisation_id uuid) IS 'Sets the organisation (tenant) whose rows crm_app sees until the end of the transaction. The next user of a pooled connection has none. Outside a transaction it has no effect. It guards against mistakes of the application, not against its SQL: whoever can run any statement as crm_app can set any organisation.';

--
-- Name: crm_sync_backoff(integer, integer, integer); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer) RETURNS interval
    LANGUAGE sql STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  -- At most 2^20, so that nothing overflows; half of it is up to chance, so that what failed together
  -- does not come back together.
  select make_interval(
    secs => least(base_seconds * 2.0 ^ least(greatest(attempts - 1, 0), 20), longest_seconds) * (0.5 + random() / 2)
  )
$$;

--
-- Name: FUNCTION crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer) IS 'How long to wait after this many failed attempts (counted from 1): base_seconds, doubled with each further attempt, at most longest_seconds, times a random factor from 0.5 to 1.';

--
-- Name: crm_sync_error_is_valid(jsonb); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_error_is_valid(error jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  select case
    when jsonb_typeof(error) <> 'object' then false
    when not error ?& '{kind,retryable,message}' then false
    when error - '{kind,retryable,message,code}'::text[] <> '{}' then false
    else
      jsonb_typeof(error -> 'kind') = 'string'
      and error ->> 'kind' in (
        'auth',
        'permission',
        'rate_limited',
        'conflict',
        'not_found',
        'validation',
        'timeout',
        'network',
        'provider',
        'internal'
      )
      and jsonb_typeof(error -> 'retryable') = 'boolean'
      and jsonb_typeof(error -> 'message') = 'string'
      and btrim(error ->> 'message', E' \t\n\r\f\x0b') <> ''
      and length(error ->> 'message') <= 500
      and (
        not error ? 'code'
        or (
          jsonb_typeof(error -> 'code') = 'string'
          and btrim(error ->> 'code', E' \t\n\r\f\x0b') <> ''
          and length(error ->> 'code') <= 100
        )
      )
  end
$$;

--
-- Name: FUNCTION crm_sync_error_is_valid(error jsonb); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_error_is_valid(error jsonb) IS 'Whether a value is a sync error: kind (a closed list), retryable (boolean), message (1 to 500 characters), and optionally code (the provider''s own, 1 to 100 characters); nothing else.';

--
-- Name: crm_sync_failure_is_alarming(text, integer, interval); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  -- What an agent has to mend never mends itself. The rest may: a burst alone says nothing, nor does time
  -- alone on a connection that is rarely synced.
  select kind in ('auth', 'permission') or (failures >= 5 and failing_for >= interval '1 hour')
$$;

--
-- Name: FUNCTION crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval) IS 'Decides when a failed sync puts its connection in error: at once for auth and permission errors; for any other kind after five failures in a row and an hour.';

--
-- Name: crm_sync_failure_is_final(jsonb, integer, interval); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval) RETURNS boolean
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
  -- Attempts alone can be used up by one bad hour, time alone by one attempt before a holiday.
  select error -> 'retryable' <> 'true' or (attempts >= 10 and failing_for >= interval '1 day')
$$;

--
-- Name: FUNCTION crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval) IS 'Decides when the worker gives up on a failing record: at once if its error cannot be retried; otherwise after ten attempts and a day.';

--
-- Name: crm_sync_log; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_sync_log (
    organisation_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    occurred_at timestamp with time zone DEFAULT now() NOT NULL,
    id bigint NOT NULL,
    direction text NOT NULL,
    entity_type text NOT NULL,
    external_id text,
    internal_id uuid,
    status text NOT NULL,
    error jsonb,
    CONSTRAINT crm_sync_log_direction_check CHECK ((direction = ANY (ARRAY['inbound'::text, 'outbound'::text]))),
    CONSTRAINT crm_sync_log_entity_type_check CHECK ((entity_type ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT crm_sync_log_error_iff_status_is_error_check CHECK (((status = 'error'::text) = (error IS NOT NULL))),
    CONSTRAINT crm_sync_log_error_is_valid_check CHECK (public.crm_sync_error_is_valid(error)),
    CONSTRAINT crm_sync_log_external_id_check CHECK (((btrim(external_id, E' \t\n\r\f\x0b'::text) <> ''::text) AND (octet_length(external_id) <= 512))),
    CONSTRAINT crm_sync_log_occurred_at_in_range_check CHECK (((occurred_at >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT crm_sync_log_status_check CHECK ((status = ANY (ARRAY['success'::text, 'skipped'::text, 'error'::text])))
)
PARTITION BY RANGE (occurred_at);

--
-- Name: TABLE crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_sync_log IS 'What happened in every sync operation: one row per event, append-only. Partitioned by month of occurred_at (UTC). The first partition also holds anything older, crm_sync_log_catch_all anything later than the last month. crm-schema partitions drop drops the months past their retention period (crm_retention).';

--
-- Name: COLUMN crm_sync_log.organisation_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.organisation_id IS 'The organisation (tenant) the event belongs to.';

--
-- Name: COLUMN crm_sync_log.connection_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.connection_id IS 'The connection that was synced.';

--
-- Name: COLUMN crm_sync_log.occurred_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.occurred_at IS 'When the operation ended, by the database''s clock or the sync worker''s.';

--
-- Name: COLUMN crm_sync_log.id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.id IS 'Orders events that have the same occurred_at.';

--
-- Name: COLUMN crm_sync_log.direction; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.direction IS 'inbound: from the CRM to NurtureHub. outbound: from NurtureHub to the CRM.';

--
-- Name: COLUMN crm_sync_log.entity_type; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.entity_type IS 'What kind of record it was, in the provider''s terms and lower snake case: contact, applicant, landlord …';

--
-- Name: COLUMN crm_sync_log.external_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.external_id IS 'The record''s id at the CRM, case-sensitive. Null if there is none: a create that failed, or an error that concerns the whole account.';

--
-- Name: COLUMN crm_sync_log.internal_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.internal_id IS 'NurtureHub''s own id of the record: the contact''s id for people. No foreign key, so that history outlives the record.';

--
-- Name: COLUMN crm_sync_log.status; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.status IS 'success: both sides agree. skipped: nothing had to change. error: it failed, error says why.';

--
-- Name: COLUMN crm_sync_log.error; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_log.error IS 'Why it failed: kind, retryable, message and optionally the provider''s own code. Never a payload, a secret or personal data. Set exactly when status is error.';

--
-- Name: CONSTRAINT crm_sync_log_direction_check ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_direction_check ON public.crm_sync_log IS 'The closed list of directions.';

--
-- Name: CONSTRAINT crm_sync_log_entity_type_check ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_entity_type_check ON public.crm_sync_log IS 'Lower snake case, at most 63 characters; an open list, because each provider names its own.';

--
-- Name: CONSTRAINT crm_sync_log_error_iff_status_is_error_check ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_error_iff_status_is_error_check ON public.crm_sync_log IS 'error is set if and only if status is error.';

--
-- Name: CONSTRAINT crm_sync_log_error_is_valid_check ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_error_is_valid_check ON public.crm_sync_log IS 'Errors are structured and bounded, so that no payload or secret ends up in the log.';

--
-- Name: CONSTRAINT crm_sync_log_external_id_check ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_external_id_check ON public.crm_sync_log IS 'Not blank (spaces, tabs and line breaks alone), at most 512 bytes.';

--
-- Name: CONSTRAINT crm_sync_log_occurred_at_in_range_check ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_occurred_at_in_range_check ON public.crm_sync_log IS 'Times are in the years 1900 to 9998: every client can read them, and no event happened at infinity.';

--
-- Name: CONSTRAINT crm_sync_log_status_check ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_status_check ON public.crm_sync_log IS 'The closed list of outcomes.';

--
-- Name: crm_sync_log_ensure_partitions(integer, regclass); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_log_ensure_partitions(months_ahead integer DEFAULT 3, log_table regclass DEFAULT 'public.crm_sync_log'::regclass) RETURNS SETOF text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    SET client_min_messages TO 'warning'
    SET lock_timeout TO '500ms'
    AS $$
declare
  this_month constant timestamptz := date_trunc('month', now());
  log_schema constant name := (
    select nspname
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = log_table
  );
  catch_all constant text := format('%I.crm_sync_log_catch_all', log_schema);
  emptied constant text := format('%I.crm_sync_log_emptied', log_schema);
  log_columns constant text := 'organisation_id, connection_id, occurred_at, id, direction, entity_type, external_id, internal_id, status, error';
  last_month timestamptz;
  lower_bound text;
  month_start timestamptz;
  month_end timestamptz;
  partition_name text;
  made text[];
  is_locked boolean;
begin
  if months_ahead is null or months_ahead not between 0 and 120 then
    raise exception using
      errcode = 'CRM04',
      message = format('months_ahead must be 0 to 120, not %s', coalesce(months_ahead::text, 'null'));
  end if;
  last_month := this_month + make_interval(months => months_ahead);

  for attempt in 1..20 loop
    begin
      -- Looks without a lock first, so that a call with nothing to make disturbs nobody; and again with
      -- it, because another call may have been faster.
      foreach is_locked in array array[false, true] loop
        if is_locked then
          -- What an earlier call emptied. Dropping it locks crm_connections, and is best not done while
          -- the log is locked, too: that is why the call that empties it leaves it to the next.
          execute format('drop table if exists %s', emptied);
          execute format('lock table only %s in access exclusive mode', log_table);
        end if;

        -- The catch-all's lower bound is the end of the last month, so no other state is needed.
        select substring(pg_get_expr(relpartbound, pg_class.oid) from 'FROM \((.*)\) TO')
        into strict lower_bound
        from pg_class
        inner join pg_namespace
          on pg_namespace.oid = relnamespace
        where nspname = log_schema
          and relname = 'crm_sync_log_catch_all';

        month_start := case
          when lower_bound = 'MINVALUE' then this_month
          else trim(lower_bound, '''')::timestamptz
        end;

        if month_start > last_month then
          if not is_locked then
            execute format('drop table if exists %s', emptied);
          end if;
          return;
        end if;
      end loop;

      -- Attaching the old catch-all again would lock crm_connections against readers: a new one does not.
      execute format('alter table %s detach partition %s', log_table, catch_all);
      execute format('alter table %s rename to crm_sync_log_emptied', catch_all);

      made := '{}';
      while month_start <= last_month loop
        month_end := month_start + interval '1 month';
        partition_name := format('%I.%I', log_schema, 'crm_sync_log_' || to_char(month_start, 'YYYY_MM'));
        execute format(
          'create table %s partition of %s for values from (%s) to (%L)',
          partition_name, log_table, lower_bound, month_end
        );
        execute format(
          'comment on table %s is %L',
          partition_name,
          format(
            'Sync events of %s (UTC)%s.',
            to_char(month_start, 'YYYY-MM'),
            case when lower_bound = 'MINVALUE' then ' and before' else '' end
          )
        );
        made := made || partition_name;
        month_start := month_end;
        lower_bound := quote_literal(month_end);
      end loop;

      execute format(
        'create table %s partition of %s for values from (%s) to (maxvalue)',
        catch_all, log_table, lower_bound
      );
      execute format(
        'comment on table %s is %L',
        catch_all, 'Sync events later than the last month that has a partition of its own. Normally empty.'
      );

      foreach partition_name in array made || catch_all loop
        execute format(
          -- All arguments, of exactly these types: nobody's function of the same name fits as well.
          'select %I.crm_sync_log_finish_partition(%L::regclass, %L::regclass)',
          log_schema, partition_name, log_table
        );
      end loop;

      execute format(
        'with moved as (delete from %s returning %s) insert into %s (%s) overriding system value select %s from moved',
        emptied, log_columns, log_table, log_columns, log_columns
      );

      return query select unnest(made);
      return;
    exception
      when lock_not_available then
        if attempt = 20 then
          raise;
        end if;
        -- What this attempt had locked is free again meanwhile.
        perform pg_sleep(0.2 + 0.3 * random());
    end;
  end loop;
end
$$;

--
-- Name: FUNCTION crm_sync_log_ensure_partitions(months_ahead integer, log_table regclass); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_log_ensure_partitions(months_ahead integer, log_table regclass) IS 'Creates the missing partitions from this month (UTC) to the given number of months after it, moves their events out of the catch-all partition with their ids, and returns the names of the partitions it created. Run it daily, as the owner of the log (or a superuser). If no partition is missing, it only drops the table crm_sync_log_emptied that an earlier call left behind. Otherwise it takes ACCESS EXCLUSIVE on the log and SHARE ROW EXCLUSIVE on crm_connections until the end of the transaction: an instant, unless there are events to move. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. It fails with CRM04 if the number of months is outside 0 to 120. Omit the second parameter, which is the log itself.';

--
-- Name: crm_sync_log_ensure_past(regclass); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_log_ensure_past(log_table regclass DEFAULT 'public.crm_sync_log'::regclass) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO'
    SET client_min_messages TO 'warning'
    SET lock_timeout TO '500ms'
    AS $$
declare
  log_schema constant name := (
    select nspname
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = log_table
  );
  first_start timestamptz;
  partition_name text;
  is_whole boolean;
  is_locked boolean;
begin
  for attempt in 1..20 loop
    begin
      -- Looks without a lock first, so that a call with nothing to make disturbs nobody; and again with
      -- it, because another call may have been faster.
      foreach is_locked in array array[false, true] loop
        if is_locked then
          execute format('lock table only %s in share update exclusive mode', log_table);
        end if;

        -- While a partition is being detached its place is neither free nor taken.
        select
          bool_or(inhdetachpending or bound = 'MINVALUE'),
          min(trim(nullif(bound, 'MINVALUE'), '''')::timestamptz)
        into is_whole, first_start
        from pg_inherits
        inner join pg_class
          on pg_class.oid = inhrelid
        cross join substring(pg_get_expr(relpartbound, pg_class.oid) from 'FROM \((.*)\) TO') as bound
        where inhparent = log_table;

        if is_whole then
          return null;
        end if;
      end loop;

      -- One of that name may have been detached by a drop that was interrupted before it dropped it.
      select format('%I.%I', log_schema, 'crm_sync_log_before_' || to_char(first_start, 'YYYY_MM') || suffix)
      into strict partition_name
      from generate_series(1, 1000) as number
      cross join concat(case when number > 1 then '_' || number end) as suffix
      where to_regclass(
        format('%I.%I', log_schema, 'crm_sync_log_before_' || to_char(first_start, 'YYYY_MM') || suffix)
      ) is null
      order by number
      limit 1;

      -- Attached, not made as a partition, which would lock the log; and without the foreign key, which
      -- it gets then: had it one already, attaching it would lock crm_connections against readers.
      execute format(
        'create table %s (like %s including constraints including defaults including storage including compression)',
        partition_name, log_table
      );
      execute format(
        'comment on table %s is %L',
        partition_name,
        format('Sync events from before %s (UTC). Normally empty.', to_char(first_start, 'YYYY-MM'))
      );
      execute format(
        'select %I.crm_sync_log_finish_partition(%L::regclass, %L::regclass)',
        log_schema, partition_name, log_table
      );
      execute format(
        'alter table %s attach partition %s for values from (minvalue) to (%L)',
        log_table, partition_name, first_start
      );
      return partition_name;
    exception
      when lock_not_available then
        if attempt = 20 then
          raise;
        end if;
        -- What this attempt had locked is free again meanwhile.
        perform pg_sleep(0.2 + 0.3 * random());
    end;
  end loop;
end
$$;

--
-- Name: FUNCTION crm_sync_log_ensure_past(log_table regclass); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_log_ensure_past(log_table regclass) IS 'Creates a partition for events older than the first partition if there is none, as after the oldest month was detached. Returns its name, or null if there is nothing to create or a partition is being detached. Run it as the owner of the log (or a superuser); crm-schema partitions drop and ensure call it. If it creates a partition, it takes SHARE UPDATE EXCLUSIVE on the log, which blocks neither readers nor writers, and SHARE ROW EXCLUSIVE on crm_connections, for an instant. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. Omit the parameter, which is the log itself.';

--
-- Name: crm_sync_log_finish_partition(regclass, regclass); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_log_finish_partition(partition regclass, log_table regclass DEFAULT 'public.crm_sync_log'::regclass) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
declare
  log_schema constant name := (
    select nspname
    from pg_class
    inner join pg_namespace
      on pg_namespace.oid = relnamespace
    where pg_class.oid = log_table
  );
  log_owner constant regrole := (select relowner from pg_class where oid = log_table);
  stranger text;
begin
  execute format(
    'create or replace trigger crm_sync_log_refuse_truncate before truncate on %s for each statement execute function %I.crm_sync_log_refuse_change()',
    partition, log_schema
  );
  execute format(
    'comment on trigger crm_sync_log_refuse_truncate on %s is %L',
    partition, 'Keeps the log append-only.'
  );
  -- Whoever runs this, the log's owner has to be able to alter all of it.
  execute format('alter table %s owner to %s', partition, log_owner);
  -- The policies of the log hold for what goes through the log. Nobody but the owner goes past it, also where
  -- default privileges would let somebody.
  execute format('alter table %s enable row level security', partition);
  for stranger in
    select distinct case grantee when 0 then 'public' else grantee::regrole::text end
    from pg_class
    cross join aclexplode(relacl)
    where pg_class.oid = partition
      and grantee <> relowner
  loop
    execute format('revoke all on table %s from %s cascade', partition, stranger);
  end loop;
end
$$;

--
-- Name: FUNCTION crm_sync_log_finish_partition(partition regclass, log_table regclass); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_log_finish_partition(partition regclass, log_table regclass) IS 'Gives a partition of the log what it does not inherit: the trigger that refuses TRUNCATE, the log''s owner, and row-level security without a policy. Revokes everybody else''s privileges. Run it as the owner of the log.';

--
-- Name: crm_sync_log_refuse_change(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.crm_sync_log_refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
begin
  raise exception using
    errcode = 'CRM02',
    message = format('the sync log is append-only: %s on %I is refused', lower(tg_op), tg_table_name),
    hint = 'Record what has changed as a new event.';
end
$$;

--
-- Name: FUNCTION crm_sync_log_refuse_change(); Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON FUNCTION public.crm_sync_log_refuse_change() IS 'Refuses UPDATE, DELETE and TRUNCATE on the sync log with SQLSTATE CRM02. The owner of the log could disable the triggers that call it or detach a partition, and a superuser could bypass them; applications must connect as neither.';

--
-- Name: contact_external_ids; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.contact_external_ids (
    organisation_id uuid NOT NULL,
    provider text NOT NULL COLLATE pg_catalog."C",
    entity_type text NOT NULL COLLATE pg_catalog."C",
    external_id text NOT NULL COLLATE pg_catalog."C",
    contact_id uuid NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT contact_external_ids_entity_type_check CHECK ((entity_type ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT contact_external_ids_external_id_check CHECK (((btrim(external_id, E' \t\n\r\f\x0b'::text) <> ''::text) AND (octet_length(external_id) <= 512))),
    CONSTRAINT contact_external_ids_provider_check CHECK ((provider = ANY (ARRAY['agentos'::text, 'reapit'::text, 'alto'::text, 'street'::text, 'loop'::text, 'custom'::text]))),
    CONSTRAINT contact_external_ids_seen_times_check CHECK (((first_seen_at <= last_seen_at) AND (first_seen_at >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (last_seen_at < '9999-01-01 00:00:00+00'::timestamp with time zone)))
);

--
-- Name: TABLE contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.contact_external_ids IS 'The id of each contact at each CRM: one row per contact and provider, and one contact per external id.';

--
-- Name: COLUMN contact_external_ids.organisation_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.contact_external_ids.organisation_id IS 'The organisation (tenant) that the contact belongs to.';

--
-- Name: COLUMN contact_external_ids.provider; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.contact_external_ids.provider IS 'The CRM that assigned the id. The mapping outlives the connection: it applies again after a reconnect.';

--
-- Name: COLUMN contact_external_ids.entity_type; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.contact_external_ids.entity_type IS 'What kind of record the id names, in the provider''s terms: an external id means something only together with it.';

--
-- Name: COLUMN contact_external_ids.external_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.contact_external_ids.external_id IS 'The record''s id at the CRM: case-sensitive text, whatever type the CRM sends.';

--
-- Name: COLUMN contact_external_ids.contact_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.contact_external_ids.contact_id IS 'NurtureHub''s contact.';

--
-- Name: COLUMN contact_external_ids.first_seen_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.contact_external_ids.first_seen_at IS 'When the contact was first linked to this external id. Reset when the id is re-pointed to another contact.';

--
-- Name: COLUMN contact_external_ids.last_seen_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.contact_external_ids.last_seen_at IS 'When a sync last confirmed the link, to within a day: an update at every sync would cost more than it is worth.';

--
-- Name: CONSTRAINT contact_external_ids_entity_type_check ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT contact_external_ids_entity_type_check ON public.contact_external_ids IS 'Lower snake case, at most 63 characters; an open list, because each provider names its own.';

--
-- Name: CONSTRAINT contact_external_ids_external_id_check ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT contact_external_ids_external_id_check ON public.contact_external_ids IS 'Not blank (spaces, tabs and line breaks alone), at most 512 bytes.';

--
-- Name: CONSTRAINT contact_external_ids_provider_check ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT contact_external_ids_provider_check ON public.contact_external_ids IS 'The CRMs NurtureHub can sync with.';

--
-- Name: CONSTRAINT contact_external_ids_seen_times_check ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT contact_external_ids_seen_times_check ON public.contact_external_ids IS 'Times are in order and in the years 1900 to 9998: every client can read them.';

--
-- Name: crm_outbound_changes; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_outbound_changes (
    organisation_id uuid NOT NULL,
    contact_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    version bigint NOT NULL,
    first_changed_at timestamp with time zone NOT NULL,
    last_changed_at timestamp with time zone NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone NOT NULL,
    is_announced boolean DEFAULT false NOT NULL,
    CONSTRAINT crm_outbound_changes_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT crm_outbound_changes_changed_in_order_check CHECK ((first_changed_at <= last_changed_at)),
    CONSTRAINT crm_outbound_changes_times_in_range_check CHECK (((LEAST(first_changed_at, last_changed_at, next_attempt_at) >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(first_changed_at, last_changed_at, next_attempt_at) < '9999-01-01 00:00:00+00'::timestamp with time zone)))
);

--
-- Name: TABLE crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_outbound_changes IS 'What must be pushed: one row per contact and connection, however often the contact changes. The host application writes it in the transaction that changes the contact. The batch that records the push deletes it, unless the contact has changed again. It holds no data: the push sends the contact as it is then.';

--
-- Name: COLUMN crm_outbound_changes.organisation_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.organisation_id IS 'The organisation (tenant) the contact belongs to.';

--
-- Name: COLUMN crm_outbound_changes.contact_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.contact_id IS 'The contact that changed.';

--
-- Name: COLUMN crm_outbound_changes.connection_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.connection_id IS 'The connection to push it to.';

--
-- Name: COLUMN crm_outbound_changes.version; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.version IS 'A new value with each change, never reused: shows whether the contact has changed again.';

--
-- Name: COLUMN crm_outbound_changes.first_changed_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.first_changed_at IS 'The time since which a change has been waiting to be pushed.';

--
-- Name: COLUMN crm_outbound_changes.last_changed_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.last_changed_at IS 'When the contact last changed.';

--
-- Name: COLUMN crm_outbound_changes.attempts; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.attempts IS 'How often it has been claimed since the last change. More than once if workers died while pushing it.';

--
-- Name: COLUMN crm_outbound_changes.next_attempt_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.next_attempt_at IS 'When it can be claimed: at once; after a claim, some time later, so that a contact over which workers die does not block the others.';

--
-- Name: COLUMN crm_outbound_changes.is_announced; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_outbound_changes.is_announced IS 'Whether its connection has been made due for it. The host application does not do that itself: its transaction may be long, and would block workers.';

--
-- Name: CONSTRAINT crm_outbound_changes_attempts_check ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_outbound_changes_attempts_check ON public.crm_outbound_changes IS 'Counted from 0.';

--
-- Name: CONSTRAINT crm_outbound_changes_changed_in_order_check ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_outbound_changes_changed_in_order_check ON public.crm_outbound_changes IS 'The last change is not before the first.';

--
-- Name: CONSTRAINT crm_outbound_changes_times_in_range_check ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_outbound_changes_times_in_range_check ON public.crm_outbound_changes IS 'Times are in the years 1900 to 9998: every client can read them.';

--
-- Name: crm_outbound_changes_version_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.crm_outbound_changes ALTER COLUMN version ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.crm_outbound_changes_version_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: crm_retention; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_retention (
    subject text NOT NULL,
    keep_days integer NOT NULL,
    CONSTRAINT crm_retention_keep_days_check CHECK (((keep_days >= 1) AND (keep_days <= 36500) AND ((keep_days >= 31) OR (subject <> 'crm_sync_log'::text)))),
    CONSTRAINT crm_retention_subject_check CHECK ((subject = ANY (ARRAY['crm_sync_log'::text, 'crm_sync_runs'::text])))
);

--
-- Name: TABLE crm_retention; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_retention IS 'How long rows are kept. Applies to the whole installation, so it has no organisation. The owner changes it; crm-schema partitions drop and syncRunPurge apply it.';

--
-- Name: COLUMN crm_retention.subject; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_retention.subject IS 'The table that the retention period applies to.';

--
-- Name: COLUMN crm_retention.keep_days; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_retention.keep_days IS 'The minimum retention period, in days of 24 hours. For the log it counts from the event: a month is dropped once all of it is that old. For runs it counts from their end.';

--
-- Name: CONSTRAINT crm_retention_keep_days_check ON crm_retention; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_retention_keep_days_check ON public.crm_retention IS 'From one day to a hundred years; at least 31 days for the log.';

--
-- Name: CONSTRAINT crm_retention_subject_check ON crm_retention; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_retention_subject_check ON public.crm_retention IS 'The closed list of tables that grow with time and whose rows are deleted by age.';

--
-- Name: crm_sync_cursors; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_sync_cursors (
    organisation_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    direction text NOT NULL,
    entity_type text NOT NULL COLLATE pg_catalog."C",
    kind text,
    synced_to_at timestamp with time zone,
    token text,
    page integer,
    version integer DEFAULT 1 NOT NULL,
    moved_at timestamp with time zone NOT NULL,
    CONSTRAINT crm_sync_cursors_beginning_has_no_synced_to_check CHECK (((kind IS NOT NULL) OR (synced_to_at IS NULL))),
    CONSTRAINT crm_sync_cursors_direction_check CHECK ((direction = ANY (ARRAY['inbound'::text, 'outbound'::text]))),
    CONSTRAINT crm_sync_cursors_entity_type_check CHECK ((entity_type ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT crm_sync_cursors_kind_check CHECK ((kind = ANY (ARRAY['timestamp'::text, 'token'::text, 'page'::text]))),
    CONSTRAINT crm_sync_cursors_page_check CHECK ((page >= 0)),
    CONSTRAINT crm_sync_cursors_page_iff_kind_check CHECK (((NOT (kind IS DISTINCT FROM 'page'::text)) = (page IS NOT NULL))),
    CONSTRAINT crm_sync_cursors_times_in_range_check CHECK (((LEAST(synced_to_at, moved_at) >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(synced_to_at, moved_at) < '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT crm_sync_cursors_timestamp_has_synced_to_check CHECK (((kind IS DISTINCT FROM 'timestamp'::text) OR (synced_to_at IS NOT NULL))),
    CONSTRAINT crm_sync_cursors_token_check CHECK (((token <> ''::text) AND (octet_length(token) <= 4096))),
    CONSTRAINT crm_sync_cursors_token_iff_kind_check CHECK (((NOT (kind IS DISTINCT FROM 'token'::text)) = (token IS NOT NULL))),
    CONSTRAINT crm_sync_cursors_version_check CHECK ((version >= 1))
);

--
-- Name: TABLE crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_sync_cursors IS 'Where each stream of a connection resumes. A stream is a direction and a kind of record. A cursor moves in the transaction that records what was read, and moves backwards only by a reset.';

--
-- Name: COLUMN crm_sync_cursors.organisation_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.organisation_id IS 'The organisation (tenant) the stream belongs to.';

--
-- Name: COLUMN crm_sync_cursors.connection_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.connection_id IS 'The connection that is synced.';

--
-- Name: COLUMN crm_sync_cursors.direction; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.direction IS 'inbound: from the CRM to NurtureHub. outbound: the other way.';

--
-- Name: COLUMN crm_sync_cursors.entity_type; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.entity_type IS 'What kind of record the stream holds, in the provider''s terms.';

--
-- Name: COLUMN crm_sync_cursors.kind; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.kind IS 'What the CRM resumes from: timestamp (synced_to_at), token or page. Null after a reset: the stream starts from the beginning.';

--
-- Name: COLUMN crm_sync_cursors.synced_to_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.synced_to_at IS 'Everything the CRM changed in this stream up to this time, by the CRM''s clock, has arrived. Null if the time is unknown.';

--
-- Name: COLUMN crm_sync_cursors.token; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.token IS 'The CRM''s token to resume from: opaque, 1 to 4,096 bytes. Set if and only if kind is token.';

--
-- Name: COLUMN crm_sync_cursors.page; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.page IS 'The page or offset to resume from. Starts again when synced_to_at moves on. Set if and only if kind is page.';

--
-- Name: COLUMN crm_sync_cursors.version; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.version IS 'Incremented with each move, so that a writer can tell whether the cursor is still where it read it.';

--
-- Name: COLUMN crm_sync_cursors.moved_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_cursors.moved_at IS 'When the cursor last moved or was reset.';

--
-- Name: CONSTRAINT crm_sync_cursors_beginning_has_no_synced_to_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_beginning_has_no_synced_to_check ON public.crm_sync_cursors IS 'A stream that starts from the beginning (kind is null) has no synced_to_at.';

--
-- Name: CONSTRAINT crm_sync_cursors_direction_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_direction_check ON public.crm_sync_cursors IS 'The closed list of directions.';

--
-- Name: CONSTRAINT crm_sync_cursors_entity_type_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_entity_type_check ON public.crm_sync_cursors IS 'Lower snake case, at most 63 characters; an open list, because each provider names its own.';

--
-- Name: CONSTRAINT crm_sync_cursors_kind_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_kind_check ON public.crm_sync_cursors IS 'The closed list of kinds.';

--
-- Name: CONSTRAINT crm_sync_cursors_page_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_page_check ON public.crm_sync_cursors IS 'Pages and offsets are not negative; CRMs count from 0 or 1.';

--
-- Name: CONSTRAINT crm_sync_cursors_page_iff_kind_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_page_iff_kind_check ON public.crm_sync_cursors IS 'page is set if and only if kind is page.';

--
-- Name: CONSTRAINT crm_sync_cursors_times_in_range_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_times_in_range_check ON public.crm_sync_cursors IS 'Times are in the years 1900 to 9998: every client can read them.';

--
-- Name: CONSTRAINT crm_sync_cursors_timestamp_has_synced_to_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_timestamp_has_synced_to_check ON public.crm_sync_cursors IS 'If kind is timestamp, synced_to_at is set.';

--
-- Name: CONSTRAINT crm_sync_cursors_token_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_token_check ON public.crm_sync_cursors IS 'A token has 1 to 4,096 bytes.';

--
-- Name: CONSTRAINT crm_sync_cursors_token_iff_kind_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_token_iff_kind_check ON public.crm_sync_cursors IS 'token is set if and only if kind is token.';

--
-- Name: CONSTRAINT crm_sync_cursors_version_check ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_version_check ON public.crm_sync_cursors IS 'Versions count from 1.';

--
-- Name: crm_sync_failures; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_sync_failures (
    organisation_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    direction text NOT NULL,
    entity_type text NOT NULL COLLATE pg_catalog."C",
    record_id text NOT NULL COLLATE pg_catalog."C",
    id bigint NOT NULL,
    attempts integer NOT NULL,
    error jsonb NOT NULL,
    kind text GENERATED ALWAYS AS ((error ->> 'kind'::text)) STORED,
    first_failed_at timestamp with time zone NOT NULL,
    last_failed_at timestamp with time zone NOT NULL,
    next_attempt_at timestamp with time zone,
    gave_up_at timestamp with time zone,
    CONSTRAINT crm_sync_failures_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT crm_sync_failures_direction_check CHECK ((direction = ANY (ARRAY['inbound'::text, 'outbound'::text]))),
    CONSTRAINT crm_sync_failures_entity_type_check CHECK ((entity_type ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT crm_sync_failures_error_is_valid_check CHECK (public.crm_sync_error_is_valid(error)),
    CONSTRAINT crm_sync_failures_failed_in_order_check CHECK ((first_failed_at <= last_failed_at)),
    CONSTRAINT crm_sync_failures_gave_up_iff_no_next_attempt_check CHECK (((gave_up_at IS NOT NULL) = (next_attempt_at IS NULL))),
    CONSTRAINT crm_sync_failures_record_id_check CHECK (((btrim(record_id, E' \t\n\r\f\x0b'::text) <> ''::text) AND (octet_length(record_id) <= 512))),
    CONSTRAINT crm_sync_failures_times_in_range_check CHECK (((LEAST(first_failed_at, last_failed_at, next_attempt_at, gave_up_at) >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(first_failed_at, last_failed_at, next_attempt_at, gave_up_at) < '9999-01-01 00:00:00+00'::timestamp with time zone)))
);

--
-- Name: TABLE crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_sync_failures IS 'The records that still fail, one row each. The batch that records the failure creates or updates it; the next batch in which the record succeeds or has nothing to change deletes it.';

--
-- Name: COLUMN crm_sync_failures.organisation_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.organisation_id IS 'The organisation (tenant) the record belongs to.';

--
-- Name: COLUMN crm_sync_failures.connection_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.connection_id IS 'The connection whose sync of the record fails.';

--
-- Name: COLUMN crm_sync_failures.direction; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.direction IS 'inbound: from the CRM to NurtureHub. outbound: the other way.';

--
-- Name: COLUMN crm_sync_failures.entity_type; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.entity_type IS 'What kind of record it is, in the provider''s terms.';

--
-- Name: COLUMN crm_sync_failures.record_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.record_id IS 'The id of the record: the CRM''s for inbound, NurtureHub''s own for outbound.';

--
-- Name: COLUMN crm_sync_failures.id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.id IS 'Orders failures that have the same time.';

--
-- Name: COLUMN crm_sync_failures.attempts; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.attempts IS 'How many attempts have failed, counted from the first failure or from a person''s last request to try again.';

--
-- Name: COLUMN crm_sync_failures.error; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.error IS 'Why the last attempt failed, as in crm_sync_log.';

--
-- Name: COLUMN crm_sync_failures.kind; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.kind IS 'The kind of that error.';

--
-- Name: COLUMN crm_sync_failures.first_failed_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.first_failed_at IS 'When the record first failed, or when a person last asked to try it again.';

--
-- Name: COLUMN crm_sync_failures.last_failed_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.last_failed_at IS 'When the last attempt failed.';

--
-- Name: COLUMN crm_sync_failures.next_attempt_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.next_attempt_at IS 'The record is tried again by the first sync after this time. Null if the worker gave up on it.';

--
-- Name: COLUMN crm_sync_failures.gave_up_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_failures.gave_up_at IS 'When the worker gave up on the record (crm_sync_failure_is_final). It is not retried automatically, but if a change at the CRM brings the record again and it succeeds, this row is deleted. Null while the record is retried.';

--
-- Name: CONSTRAINT crm_sync_failures_attempts_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_attempts_check ON public.crm_sync_failures IS 'Counted from 0.';

--
-- Name: CONSTRAINT crm_sync_failures_direction_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_direction_check ON public.crm_sync_failures IS 'The closed list of directions.';

--
-- Name: CONSTRAINT crm_sync_failures_entity_type_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_entity_type_check ON public.crm_sync_failures IS 'Lower snake case, at most 63 characters; an open list, because each provider names its own.';

--
-- Name: CONSTRAINT crm_sync_failures_error_is_valid_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_error_is_valid_check ON public.crm_sync_failures IS 'Errors are structured and bounded, as in crm_sync_log.';

--
-- Name: CONSTRAINT crm_sync_failures_failed_in_order_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_failed_in_order_check ON public.crm_sync_failures IS 'The last failure is not before the first.';

--
-- Name: CONSTRAINT crm_sync_failures_gave_up_iff_no_next_attempt_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_gave_up_iff_no_next_attempt_check ON public.crm_sync_failures IS 'A record is either retried or given up on: none waits unnoticed for ever.';

--
-- Name: CONSTRAINT crm_sync_failures_record_id_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_record_id_check ON public.crm_sync_failures IS 'Not blank (spaces, tabs and line breaks alone), at most 512 bytes.';

--
-- Name: CONSTRAINT crm_sync_failures_times_in_range_check ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_times_in_range_check ON public.crm_sync_failures IS 'Times are in the years 1900 to 9998: every client can read them.';

--
-- Name: crm_sync_failures_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_failures ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.crm_sync_failures_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: crm_sync_log_catch_all; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_sync_log_catch_all (
    organisation_id uuid CONSTRAINT crm_sync_log_organisation_id_not_null NOT NULL,
    connection_id uuid CONSTRAINT crm_sync_log_connection_id_not_null NOT NULL,
    occurred_at timestamp with time zone DEFAULT now() CONSTRAINT crm_sync_log_occurred_at_not_null NOT NULL,
    id bigint CONSTRAINT crm_sync_log_id_not_null NOT NULL,
    direction text CONSTRAINT crm_sync_log_direction_not_null NOT NULL,
    entity_type text CONSTRAINT crm_sync_log_entity_type_not_null NOT NULL,
    external_id text,
    internal_id uuid,
    status text CONSTRAINT crm_sync_log_status_not_null NOT NULL,
    error jsonb,
    CONSTRAINT crm_sync_log_direction_check CHECK ((direction = ANY (ARRAY['inbound'::text, 'outbound'::text]))),
    CONSTRAINT crm_sync_log_entity_type_check CHECK ((entity_type ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT crm_sync_log_error_iff_status_is_error_check CHECK (((status = 'error'::text) = (error IS NOT NULL))),
    CONSTRAINT crm_sync_log_error_is_valid_check CHECK (public.crm_sync_error_is_valid(error)),
    CONSTRAINT crm_sync_log_external_id_check CHECK (((btrim(external_id, E' \t\n\r\f\x0b'::text) <> ''::text) AND (octet_length(external_id) <= 512))),
    CONSTRAINT crm_sync_log_occurred_at_in_range_check CHECK (((occurred_at >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT crm_sync_log_status_check CHECK ((status = ANY (ARRAY['success'::text, 'skipped'::text, 'error'::text])))
);

--
-- Name: TABLE crm_sync_log_catch_all; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_sync_log_catch_all IS 'Sync events later than the last month that has a partition of its own. Normally empty.';

--
-- Name: crm_sync_log_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.crm_sync_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: crm_sync_runs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.crm_sync_runs (
    organisation_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    id bigint NOT NULL,
    worker text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    heartbeat_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    outcome text,
    error jsonb,
    batch_number integer DEFAULT 0 NOT NULL,
    success_count bigint DEFAULT 0 NOT NULL,
    skipped_count bigint DEFAULT 0 NOT NULL,
    error_count bigint DEFAULT 0 NOT NULL,
    CONSTRAINT crm_sync_runs_counts_check CHECK ((LEAST((batch_number)::bigint, success_count, skipped_count, error_count) >= 0)),
    CONSTRAINT crm_sync_runs_ended_iff_outcome_check CHECK (((ended_at IS NOT NULL) = (outcome IS NOT NULL))),
    CONSTRAINT crm_sync_runs_error_is_valid_check CHECK (public.crm_sync_error_is_valid(error)),
    CONSTRAINT crm_sync_runs_expires_after_heartbeat_check CHECK ((expires_at > heartbeat_at)),
    CONSTRAINT crm_sync_runs_failed_iff_error_check CHECK (((NOT (outcome IS DISTINCT FROM 'failed'::text)) = (error IS NOT NULL))),
    CONSTRAINT crm_sync_runs_outcome_check CHECK ((outcome = ANY (ARRAY['success'::text, 'failed'::text, 'abandoned'::text, 'cancelled'::text]))),
    CONSTRAINT crm_sync_runs_times_in_range_check CHECK (((LEAST(started_at, heartbeat_at, expires_at, ended_at) >= '1900-01-01 00:00:00+00'::timestamp with time zone) AND (GREATEST(started_at, heartbeat_at, expires_at, ended_at) < '9999-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT crm_sync_runs_worker_check CHECK (((btrim(worker, E' \t\n\r\f\x0b'::text) <> ''::text) AND (length(worker) <= 200)))
);

--
-- Name: TABLE crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TABLE public.crm_sync_runs IS 'One row per sync of a connection. The open run is the lease; a connection has at most one. Its holder may write for the connection until it expires. Ended runs are deleted some time later; nothing refers to them.';

--
-- Name: COLUMN crm_sync_runs.organisation_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.organisation_id IS 'The organisation (tenant) the run belongs to.';

--
-- Name: COLUMN crm_sync_runs.connection_id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.connection_id IS 'The connection that is synced.';

--
-- Name: COLUMN crm_sync_runs.id; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.id IS 'The id of the run, and its fencing token: every write for the connection must present it.';

--
-- Name: COLUMN crm_sync_runs.worker; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.worker IS 'The name of the worker, for people to read: such as host and process, 1 to 200 characters.';

--
-- Name: COLUMN crm_sync_runs.started_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.started_at IS 'When the connection was claimed.';

--
-- Name: COLUMN crm_sync_runs.heartbeat_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.heartbeat_at IS 'When the worker last sent a heartbeat: with each batch, and in between.';

--
-- Name: COLUMN crm_sync_runs.expires_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.expires_at IS 'When the lease expires, unless a heartbeat extends it. From then on the worker''s writes are refused, and others can claim the connection.';

--
-- Name: COLUMN crm_sync_runs.ended_at; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.ended_at IS 'When the run ended. Null while it is open.';

--
-- Name: COLUMN crm_sync_runs.outcome; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.outcome IS 'success: it finished. failed: it could not finish, error says why. abandoned: its lease expired without a heartbeat. cancelled: the connection was disconnected, or the worker gave up its turn. Null while it is open.';

--
-- Name: COLUMN crm_sync_runs.error; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.error IS 'Why it failed, as in crm_sync_log. Set exactly when outcome is failed.';

--
-- Name: COLUMN crm_sync_runs.batch_number; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.batch_number IS 'The number of the last recorded batch, counted from 1: distinguishes a repeated batch from a new one.';

--
-- Name: COLUMN crm_sync_runs.success_count; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.success_count IS 'How many of its events succeeded.';

--
-- Name: COLUMN crm_sync_runs.skipped_count; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.skipped_count IS 'How many of its events had nothing to change.';

--
-- Name: COLUMN crm_sync_runs.error_count; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON COLUMN public.crm_sync_runs.error_count IS 'How many of its events failed.';

--
-- Name: CONSTRAINT crm_sync_runs_counts_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_counts_check ON public.crm_sync_runs IS 'Counted from 0.';

--
-- Name: CONSTRAINT crm_sync_runs_ended_iff_outcome_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_ended_iff_outcome_check ON public.crm_sync_runs IS 'outcome is set if and only if the run has ended.';

--
-- Name: CONSTRAINT crm_sync_runs_error_is_valid_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_error_is_valid_check ON public.crm_sync_runs IS 'Errors are structured and bounded, as in crm_sync_log.';

--
-- Name: CONSTRAINT crm_sync_runs_expires_after_heartbeat_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_expires_after_heartbeat_check ON public.crm_sync_runs IS 'A lease expires after its last heartbeat.';

--
-- Name: CONSTRAINT crm_sync_runs_failed_iff_error_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_failed_iff_error_check ON public.crm_sync_runs IS 'error is set if and only if the run failed.';

--
-- Name: CONSTRAINT crm_sync_runs_outcome_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_outcome_check ON public.crm_sync_runs IS 'The closed list of outcomes.';

--
-- Name: CONSTRAINT crm_sync_runs_times_in_range_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_times_in_range_check ON public.crm_sync_runs IS 'Times are in the years 1900 to 9998: every client can read them.';

--
-- Name: CONSTRAINT crm_sync_runs_worker_check ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_worker_check ON public.crm_sync_runs IS 'A worker has a name of 1 to 200 characters that is not blank.';

--
-- Name: crm_sync_runs_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_runs ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.crm_sync_runs_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

--
-- Name: crm_sync_log_catch_all; Type: TABLE ATTACH; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_log ATTACH PARTITION public.crm_sync_log_catch_all FOR VALUES FROM (MINVALUE) TO (MAXVALUE);

--
-- Name: contact_external_ids contact_external_ids_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.contact_external_ids
    ADD CONSTRAINT contact_external_ids_pkey PRIMARY KEY (organisation_id, provider, entity_type, external_id);

--
-- Name: CONSTRAINT contact_external_ids_pkey ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT contact_external_ids_pkey ON public.contact_external_ids IS 'An external id belongs to one contact, so an inbound event always identifies it.';

--
-- Name: crm_connections crm_connections_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_connections
    ADD CONSTRAINT crm_connections_pkey PRIMARY KEY (organisation_id, id);

--
-- Name: CONSTRAINT crm_connections_pkey ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_pkey ON public.crm_connections IS 'Tenant first: rows of one organisation are found, kept and sharded together.';

--
-- Name: crm_outbound_changes crm_outbound_changes_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_outbound_changes
    ADD CONSTRAINT crm_outbound_changes_pkey PRIMARY KEY (organisation_id, contact_id, connection_id);

--
-- Name: CONSTRAINT crm_outbound_changes_pkey ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_outbound_changes_pkey ON public.crm_outbound_changes IS 'Tenant first; one row per contact and connection. Serves the foreign key to contacts.';

--
-- Name: crm_retention crm_retention_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_retention
    ADD CONSTRAINT crm_retention_pkey PRIMARY KEY (subject);

--
-- Name: CONSTRAINT crm_retention_pkey ON crm_retention; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_retention_pkey ON public.crm_retention IS 'One retention period per table.';

--
-- Name: crm_sync_cursors crm_sync_cursors_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_cursors
    ADD CONSTRAINT crm_sync_cursors_pkey PRIMARY KEY (organisation_id, connection_id, direction, entity_type);

--
-- Name: CONSTRAINT crm_sync_cursors_pkey ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_pkey ON public.crm_sync_cursors IS 'Tenant first; one cursor per stream.';

--
-- Name: crm_sync_failures crm_sync_failures_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_failures
    ADD CONSTRAINT crm_sync_failures_pkey PRIMARY KEY (organisation_id, connection_id, direction, record_id, entity_type);

--
-- Name: CONSTRAINT crm_sync_failures_pkey ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_pkey ON public.crm_sync_failures IS 'Tenant first; one row per failing record.';

--
-- Name: crm_sync_log crm_sync_log_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_log
    ADD CONSTRAINT crm_sync_log_pkey PRIMARY KEY (organisation_id, connection_id, occurred_at, id);

--
-- Name: CONSTRAINT crm_sync_log_pkey ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_pkey ON public.crm_sync_log IS 'Tenant first, then the timeline of a connection. Contains occurred_at because a primary key must contain the partition key.';

--
-- Name: crm_sync_log_catch_all crm_sync_log_catch_all_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_log_catch_all
    ADD CONSTRAINT crm_sync_log_catch_all_pkey PRIMARY KEY (organisation_id, connection_id, occurred_at, id);

--
-- Name: crm_sync_runs crm_sync_runs_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_runs
    ADD CONSTRAINT crm_sync_runs_pkey PRIMARY KEY (organisation_id, connection_id, id);

--
-- Name: CONSTRAINT crm_sync_runs_pkey ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_pkey ON public.crm_sync_runs IS 'Tenant first, then the runs of a connection in their order.';

--
-- Name: contact_external_ids_contact_id_provider_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX contact_external_ids_contact_id_provider_key ON public.contact_external_ids USING btree (contact_id, provider);

--
-- Name: INDEX contact_external_ids_contact_id_provider_key; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.contact_external_ids_contact_id_provider_key IS 'A contact has one id per provider; also finds all ids of a contact and serves its foreign key.';

--
-- Name: contacts_organisation_id_id_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX contacts_organisation_id_id_key ON public.contacts USING btree (organisation_id, id);

--
-- Name: INDEX contacts_organisation_id_id_key; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.contacts_organisation_id_id_key IS 'Created by @nurturehub/crm-schema: lets a foreign key hold a contact and its organisation together.';

--
-- Name: crm_connections_credentials_key_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_connections_credentials_key_id_idx ON public.crm_connections USING btree (credentials_key_id) WHERE (credentials_key_id IS NOT NULL);

--
-- Name: INDEX crm_connections_credentials_key_id_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_connections_credentials_key_id_idx IS 'Finds the rows that a retired key still wraps.';

--
-- Name: crm_connections_next_sync_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_connections_next_sync_at_idx ON public.crm_connections USING btree (next_sync_at, organisation_id, id) WHERE (status <> 'disconnected'::text);

--
-- Name: INDEX crm_connections_next_sync_at_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_connections_next_sync_at_idx IS 'Finds what is due, oldest first.';

--
-- Name: crm_connections_organisation_id_provider_live_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX crm_connections_organisation_id_provider_live_key ON public.crm_connections USING btree (organisation_id, provider) WHERE (status <> 'disconnected'::text);

--
-- Name: INDEX crm_connections_organisation_id_provider_live_key; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_connections_organisation_id_provider_live_key IS 'One live connection per organisation and provider; any number of disconnected ones.';

--
-- Name: crm_outbound_changes_connection_id_new_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_outbound_changes_connection_id_new_idx ON public.crm_outbound_changes USING btree (organisation_id, connection_id) WHERE (NOT is_announced);

--
-- Name: INDEX crm_outbound_changes_connection_id_new_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_outbound_changes_connection_id_new_idx IS 'Finds the connections that have to be made due.';

--
-- Name: crm_outbound_changes_next_attempt_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_outbound_changes_next_attempt_at_idx ON public.crm_outbound_changes USING btree (organisation_id, connection_id, next_attempt_at);

--
-- Name: INDEX crm_outbound_changes_next_attempt_at_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_outbound_changes_next_attempt_at_idx IS 'Finds what a connection has to push, and serves the foreign key to crm_connections.';

--
-- Name: crm_sync_failures_gave_up_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_failures_gave_up_at_idx ON public.crm_sync_failures USING btree (organisation_id, connection_id, gave_up_at) WHERE (gave_up_at IS NOT NULL);

--
-- Name: INDEX crm_sync_failures_gave_up_at_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_failures_gave_up_at_idx IS 'Finds and counts what was given up.';

--
-- Name: crm_sync_failures_kind_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_failures_kind_idx ON public.crm_sync_failures USING btree (organisation_id, connection_id, kind, last_failed_at, id);

--
-- Name: INDEX crm_sync_failures_kind_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_failures_kind_idx IS 'Lists and counts the failures of a connection by kind, newest first.';

--
-- Name: crm_sync_failures_next_attempt_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_failures_next_attempt_at_idx ON public.crm_sync_failures USING btree (organisation_id, connection_id, next_attempt_at) WHERE (next_attempt_at IS NOT NULL);

--
-- Name: INDEX crm_sync_failures_next_attempt_at_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_failures_next_attempt_at_idx IS 'Finds what a connection has to try again.';

--
-- Name: crm_sync_log_internal_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_log_internal_id_idx ON ONLY public.crm_sync_log USING btree (organisation_id, internal_id, occurred_at DESC, id DESC) WHERE (internal_id IS NOT NULL);

--
-- Name: INDEX crm_sync_log_internal_id_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_log_internal_id_idx IS 'The timeline of a contact, newest first.';

--
-- Name: crm_sync_log_catch_all_internal_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_log_catch_all_internal_id_idx ON public.crm_sync_log_catch_all USING btree (organisation_id, internal_id, occurred_at DESC, id DESC) WHERE (internal_id IS NOT NULL);

--
-- Name: crm_sync_log_status_connection_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_log_status_connection_id_idx ON ONLY public.crm_sync_log USING btree (status, connection_id, occurred_at DESC, id DESC) WHERE (status = 'error'::text);

--
-- Name: INDEX crm_sync_log_status_connection_id_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_log_status_connection_id_idx IS 'The failures of a connection, newest first. Partial: it holds only the minority that anyone searches.';

--
-- Name: crm_sync_log_catch_all_status_connection_id_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_log_catch_all_status_connection_id_idx ON public.crm_sync_log_catch_all USING btree (status, connection_id, occurred_at DESC, id DESC) WHERE (status = 'error'::text);

--
-- Name: crm_sync_runs_connection_id_open_key; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX crm_sync_runs_connection_id_open_key ON public.crm_sync_runs USING btree (organisation_id, connection_id) WHERE (ended_at IS NULL);

--
-- Name: INDEX crm_sync_runs_connection_id_open_key; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_runs_connection_id_open_key IS 'One open run per connection: two workers never sync the same one.';

--
-- Name: crm_sync_runs_ended_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_runs_ended_at_idx ON public.crm_sync_runs USING btree (ended_at) WHERE (ended_at IS NOT NULL);

--
-- Name: INDEX crm_sync_runs_ended_at_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_runs_ended_at_idx IS 'Finds the ended runs that are old enough to be deleted.';

--
-- Name: crm_sync_runs_expires_at_idx; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX crm_sync_runs_expires_at_idx ON public.crm_sync_runs USING btree (expires_at) WHERE (ended_at IS NULL);

--
-- Name: INDEX crm_sync_runs_expires_at_idx; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON INDEX public.crm_sync_runs_expires_at_idx IS 'Finds the open runs that have expired.';

--
-- Name: crm_sync_log_catch_all_internal_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.crm_sync_log_internal_id_idx ATTACH PARTITION public.crm_sync_log_catch_all_internal_id_idx;

--
-- Name: crm_sync_log_catch_all_pkey; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.crm_sync_log_pkey ATTACH PARTITION public.crm_sync_log_catch_all_pkey;

--
-- Name: crm_sync_log_catch_all_status_connection_id_idx; Type: INDEX ATTACH; Schema: public; Owner: -
--

ALTER INDEX public.crm_sync_log_status_connection_id_idx ATTACH PARTITION public.crm_sync_log_catch_all_status_connection_id_idx;

--
-- Name: crm_sync_log crm_sync_log_refuse_change; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER crm_sync_log_refuse_change BEFORE DELETE OR UPDATE ON public.crm_sync_log FOR EACH ROW EXECUTE FUNCTION public.crm_sync_log_refuse_change();

--
-- Name: TRIGGER crm_sync_log_refuse_change ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TRIGGER crm_sync_log_refuse_change ON public.crm_sync_log IS 'Keeps the log append-only.';

--
-- Name: crm_sync_log crm_sync_log_refuse_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER crm_sync_log_refuse_truncate BEFORE TRUNCATE ON public.crm_sync_log FOR EACH STATEMENT EXECUTE FUNCTION public.crm_sync_log_refuse_change();

--
-- Name: TRIGGER crm_sync_log_refuse_truncate ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TRIGGER crm_sync_log_refuse_truncate ON public.crm_sync_log IS 'Keeps the log append-only.';

--
-- Name: crm_sync_log_catch_all crm_sync_log_refuse_truncate; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER crm_sync_log_refuse_truncate BEFORE TRUNCATE ON public.crm_sync_log_catch_all FOR EACH STATEMENT EXECUTE FUNCTION public.crm_sync_log_refuse_change();

--
-- Name: TRIGGER crm_sync_log_refuse_truncate ON crm_sync_log_catch_all; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON TRIGGER crm_sync_log_refuse_truncate ON public.crm_sync_log_catch_all IS 'Keeps the log append-only.';

--
-- Name: contact_external_ids contact_external_ids_contact_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.contact_external_ids
    ADD CONSTRAINT contact_external_ids_contact_id_fkey FOREIGN KEY (organisation_id, contact_id) REFERENCES public.contacts(organisation_id, id) ON DELETE CASCADE;

--
-- Name: CONSTRAINT contact_external_ids_contact_id_fkey ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT contact_external_ids_contact_id_fkey ON public.contact_external_ids IS 'Composite, so that a mapping can never point at another organisation''s contact. On delete cascade: mappings are deleted with their contact. On update no action: unlink a contact before it moves to another organisation.';

--
-- Name: crm_connections crm_connections_organisation_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_connections
    ADD CONSTRAINT crm_connections_organisation_id_fkey FOREIGN KEY (organisation_id) REFERENCES public.organisations(id) ON DELETE RESTRICT;

--
-- Name: CONSTRAINT crm_connections_organisation_id_fkey ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_connections_organisation_id_fkey ON public.crm_connections IS 'On delete restrict: an organisation with connections must be erased deliberately, never by a cascade.';

--
-- Name: crm_outbound_changes crm_outbound_changes_connection_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_outbound_changes
    ADD CONSTRAINT crm_outbound_changes_connection_id_fkey FOREIGN KEY (organisation_id, connection_id) REFERENCES public.crm_connections(organisation_id, id) ON DELETE RESTRICT;

--
-- Name: CONSTRAINT crm_outbound_changes_connection_id_fkey ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_outbound_changes_connection_id_fkey ON public.crm_outbound_changes IS 'Composite, so that a contact is never pushed to another organisation''s CRM. On delete restrict: a connection with changes must be erased deliberately.';

--
-- Name: crm_outbound_changes crm_outbound_changes_contact_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_outbound_changes
    ADD CONSTRAINT crm_outbound_changes_contact_id_fkey FOREIGN KEY (organisation_id, contact_id) REFERENCES public.contacts(organisation_id, id) ON DELETE CASCADE;

--
-- Name: CONSTRAINT crm_outbound_changes_contact_id_fkey ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_outbound_changes_contact_id_fkey ON public.crm_outbound_changes IS 'Composite, so that a change can never refer to another organisation''s contact. On delete cascade: a deleted contact is not pushed.';

--
-- Name: crm_sync_cursors crm_sync_cursors_connection_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_cursors
    ADD CONSTRAINT crm_sync_cursors_connection_id_fkey FOREIGN KEY (organisation_id, connection_id) REFERENCES public.crm_connections(organisation_id, id) ON DELETE RESTRICT;

--
-- Name: CONSTRAINT crm_sync_cursors_connection_id_fkey ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_cursors_connection_id_fkey ON public.crm_sync_cursors IS 'Composite, so that a cursor can never belong to another organisation''s connection. On delete restrict: a connection with cursors must be erased deliberately.';

--
-- Name: crm_sync_failures crm_sync_failures_connection_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_failures
    ADD CONSTRAINT crm_sync_failures_connection_id_fkey FOREIGN KEY (organisation_id, connection_id) REFERENCES public.crm_connections(organisation_id, id) ON DELETE RESTRICT;

--
-- Name: CONSTRAINT crm_sync_failures_connection_id_fkey ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_failures_connection_id_fkey ON public.crm_sync_failures IS 'Composite, so that a failure can never belong to another organisation''s connection. On delete restrict: a connection with failures must be erased deliberately.';

--
-- Name: crm_sync_log crm_sync_log_connection_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_log
    ADD CONSTRAINT crm_sync_log_connection_id_fkey FOREIGN KEY (organisation_id, connection_id) REFERENCES public.crm_connections(organisation_id, id) ON DELETE RESTRICT;

--
-- Name: CONSTRAINT crm_sync_log_connection_id_fkey ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_log_connection_id_fkey ON public.crm_sync_log IS 'Composite, so that an event can never belong to another organisation''s connection. On delete restrict: a connection with history must be erased deliberately.';

--
-- Name: crm_sync_runs crm_sync_runs_connection_id_fkey; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.crm_sync_runs
    ADD CONSTRAINT crm_sync_runs_connection_id_fkey FOREIGN KEY (organisation_id, connection_id) REFERENCES public.crm_connections(organisation_id, id) ON DELETE RESTRICT;

--
-- Name: CONSTRAINT crm_sync_runs_connection_id_fkey ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON CONSTRAINT crm_sync_runs_connection_id_fkey ON public.crm_sync_runs IS 'Composite, so that a run can never belong to another organisation''s connection. On delete restrict: a connection with runs must be erased deliberately.';

--
-- Name: contact_external_ids; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.contact_external_ids ENABLE ROW LEVEL SECURITY;

--
-- Name: contact_external_ids contact_external_ids_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY contact_external_ids_reader_policy ON public.contact_external_ids FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY contact_external_ids_reader_policy ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY contact_external_ids_reader_policy ON public.contact_external_ids IS 'Monitoring and support read all organisations.';

--
-- Name: contact_external_ids contact_external_ids_tenant_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY contact_external_ids_tenant_policy ON public.contact_external_ids TO crm_app USING (COALESCE((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)), false)) WITH CHECK (COALESCE((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)), false));

--
-- Name: POLICY contact_external_ids_tenant_policy ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY contact_external_ids_tenant_policy ON public.contact_external_ids IS 'The application sees and writes the rows of the organisation that it has set for the transaction.';

--
-- Name: contact_external_ids contact_external_ids_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY contact_external_ids_worker_policy ON public.contact_external_ids TO crm_worker USING (true) WITH CHECK (true);

--
-- Name: POLICY contact_external_ids_worker_policy ON contact_external_ids; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY contact_external_ids_worker_policy ON public.contact_external_ids IS 'The sync worker works for all organisations.';

--
-- Name: crm_connections; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_connections ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_connections crm_connections_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_connections_reader_policy ON public.crm_connections FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY crm_connections_reader_policy ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_connections_reader_policy ON public.crm_connections IS 'Monitoring and support read all organisations.';

--
-- Name: crm_connections crm_connections_tenant_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_connections_tenant_policy ON public.crm_connections TO crm_app USING ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id))) WITH CHECK ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)));

--
-- Name: POLICY crm_connections_tenant_policy ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_connections_tenant_policy ON public.crm_connections IS 'The application sees and writes the rows of the organisation that it has set for the transaction.';

--
-- Name: crm_connections crm_connections_worker_change_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_connections_worker_change_policy ON public.crm_connections FOR UPDATE TO crm_worker USING (true) WITH CHECK (true);

--
-- Name: POLICY crm_connections_worker_change_policy ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_connections_worker_change_policy ON public.crm_connections IS 'The sync worker updates the connections of all organisations, and creates none. A member of both roles can create one only for the organisation that is set.';

--
-- Name: crm_connections crm_connections_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_connections_worker_policy ON public.crm_connections FOR SELECT TO crm_worker USING (true);

--
-- Name: POLICY crm_connections_worker_policy ON crm_connections; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_connections_worker_policy ON public.crm_connections IS 'The sync worker works for all organisations.';

--
-- Name: crm_outbound_changes; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_outbound_changes ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_outbound_changes crm_outbound_changes_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_outbound_changes_reader_policy ON public.crm_outbound_changes FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY crm_outbound_changes_reader_policy ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_outbound_changes_reader_policy ON public.crm_outbound_changes IS 'Monitoring and support read all organisations.';

--
-- Name: crm_outbound_changes crm_outbound_changes_tenant_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_outbound_changes_tenant_policy ON public.crm_outbound_changes TO crm_app USING ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id))) WITH CHECK ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)));

--
-- Name: POLICY crm_outbound_changes_tenant_policy ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_outbound_changes_tenant_policy ON public.crm_outbound_changes IS 'The application sees and writes the rows of the organisation that it has set for the transaction.';

--
-- Name: crm_outbound_changes crm_outbound_changes_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_outbound_changes_worker_policy ON public.crm_outbound_changes TO crm_worker USING (true) WITH CHECK (true);

--
-- Name: POLICY crm_outbound_changes_worker_policy ON crm_outbound_changes; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_outbound_changes_worker_policy ON public.crm_outbound_changes IS 'The sync worker works for all organisations.';

--
-- Name: crm_retention; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_retention ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_retention crm_retention_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_retention_reader_policy ON public.crm_retention FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY crm_retention_reader_policy ON crm_retention; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_retention_reader_policy ON public.crm_retention IS 'Monitoring and support read it.';

--
-- Name: crm_retention crm_retention_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_retention_worker_policy ON public.crm_retention FOR SELECT TO crm_worker USING (true);

--
-- Name: POLICY crm_retention_worker_policy ON crm_retention; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_retention_worker_policy ON public.crm_retention IS 'The sync worker reads it to purge runs.';

--
-- Name: crm_sync_cursors; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_cursors ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_sync_cursors crm_sync_cursors_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_cursors_reader_policy ON public.crm_sync_cursors FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY crm_sync_cursors_reader_policy ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_cursors_reader_policy ON public.crm_sync_cursors IS 'Monitoring and support read all organisations.';

--
-- Name: crm_sync_cursors crm_sync_cursors_tenant_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_cursors_tenant_policy ON public.crm_sync_cursors TO crm_app USING ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id))) WITH CHECK ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)));

--
-- Name: POLICY crm_sync_cursors_tenant_policy ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_cursors_tenant_policy ON public.crm_sync_cursors IS 'The application sees and writes the rows of the organisation that it has set for the transaction.';

--
-- Name: crm_sync_cursors crm_sync_cursors_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_cursors_worker_policy ON public.crm_sync_cursors TO crm_worker USING (true) WITH CHECK (true);

--
-- Name: POLICY crm_sync_cursors_worker_policy ON crm_sync_cursors; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_cursors_worker_policy ON public.crm_sync_cursors IS 'The sync worker works for all organisations.';

--
-- Name: crm_sync_failures; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_failures ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_sync_failures crm_sync_failures_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_failures_reader_policy ON public.crm_sync_failures FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY crm_sync_failures_reader_policy ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_failures_reader_policy ON public.crm_sync_failures IS 'Monitoring and support read all organisations.';

--
-- Name: crm_sync_failures crm_sync_failures_tenant_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_failures_tenant_policy ON public.crm_sync_failures TO crm_app USING ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id))) WITH CHECK ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)));

--
-- Name: POLICY crm_sync_failures_tenant_policy ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_failures_tenant_policy ON public.crm_sync_failures IS 'The application sees and writes the rows of the organisation that it has set for the transaction.';

--
-- Name: crm_sync_failures crm_sync_failures_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_failures_worker_policy ON public.crm_sync_failures TO crm_worker USING (true) WITH CHECK (true);

--
-- Name: POLICY crm_sync_failures_worker_policy ON crm_sync_failures; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_failures_worker_policy ON public.crm_sync_failures IS 'The sync worker works for all organisations.';

--
-- Name: crm_sync_log; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_log ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_sync_log_catch_all; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_log_catch_all ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_sync_log crm_sync_log_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_log_reader_policy ON public.crm_sync_log FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY crm_sync_log_reader_policy ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_log_reader_policy ON public.crm_sync_log IS 'Monitoring and support read all organisations.';

--
-- Name: crm_sync_log crm_sync_log_tenant_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_log_tenant_policy ON public.crm_sync_log TO crm_app USING (COALESCE((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)), false)) WITH CHECK (COALESCE((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)), false));

--
-- Name: POLICY crm_sync_log_tenant_policy ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_log_tenant_policy ON public.crm_sync_log IS 'The application sees and writes the rows of the organisation that it has set for the transaction.';

--
-- Name: crm_sync_log crm_sync_log_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_log_worker_policy ON public.crm_sync_log TO crm_worker USING (true) WITH CHECK (true);

--
-- Name: POLICY crm_sync_log_worker_policy ON crm_sync_log; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_log_worker_policy ON public.crm_sync_log IS 'The sync worker works for all organisations.';

--
-- Name: crm_sync_runs; Type: ROW SECURITY; Schema: public; Owner: -
--

ALTER TABLE public.crm_sync_runs ENABLE ROW LEVEL SECURITY;

--
-- Name: crm_sync_runs crm_sync_runs_reader_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_runs_reader_policy ON public.crm_sync_runs FOR SELECT TO crm_reader USING (true);

--
-- Name: POLICY crm_sync_runs_reader_policy ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_runs_reader_policy ON public.crm_sync_runs IS 'Monitoring and support read all organisations.';

--
-- Name: crm_sync_runs crm_sync_runs_tenant_change_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_runs_tenant_change_policy ON public.crm_sync_runs FOR UPDATE TO crm_app USING (((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)) AND (ended_at IS NULL))) WITH CHECK ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)));

--
-- Name: POLICY crm_sync_runs_tenant_change_policy ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_runs_tenant_change_policy ON public.crm_sync_runs IS 'The application can continue and end an open run, but not reopen one that has ended.';

--
-- Name: crm_sync_runs crm_sync_runs_tenant_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_runs_tenant_policy ON public.crm_sync_runs FOR SELECT TO crm_app USING ((organisation_id = ( SELECT public.crm_organisation_id() AS crm_organisation_id)));

--
-- Name: POLICY crm_sync_runs_tenant_policy ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_runs_tenant_policy ON public.crm_sync_runs IS 'The application sees the rows of the organisation that it has set for the transaction.';

--
-- Name: crm_sync_runs crm_sync_runs_worker_policy; Type: POLICY; Schema: public; Owner: -
--

CREATE POLICY crm_sync_runs_worker_policy ON public.crm_sync_runs TO crm_worker USING (true) WITH CHECK (true);

--
-- Name: POLICY crm_sync_runs_worker_policy ON crm_sync_runs; Type: COMMENT; Schema: public; Owner: -
--

COMMENT ON POLICY crm_sync_runs_worker_policy ON public.crm_sync_runs IS 'The sync worker works for all organisations.';

--
-- Name: FUNCTION crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text) TO crm_app;
GRANT ALL ON FUNCTION public.crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_credentials_aad(organisation_id uuid, connection_id uuid, provider text) TO crm_reader;

--
-- Name: FUNCTION crm_credentials_is_jwe(credentials jsonb); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_credentials_is_jwe(credentials jsonb) TO crm_app;
GRANT ALL ON FUNCTION public.crm_credentials_is_jwe(credentials jsonb) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_credentials_is_jwe(credentials jsonb) TO crm_reader;

--
-- Name: FUNCTION crm_now(); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_now() TO crm_app;
GRANT ALL ON FUNCTION public.crm_now() TO crm_worker;
GRANT ALL ON FUNCTION public.crm_now() TO crm_reader;

--
-- Name: TABLE crm_connections; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.crm_connections TO crm_worker;
GRANT INSERT ON TABLE public.crm_connections TO crm_app;

--
-- Name: COLUMN crm_connections.organisation_id; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(organisation_id) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(organisation_id) ON TABLE public.crm_connections TO crm_reader;

--
-- Name: COLUMN crm_connections.id; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(id) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(id) ON TABLE public.crm_connections TO crm_reader;

--
-- Name: COLUMN crm_connections.provider; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(provider) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(provider) ON TABLE public.crm_connections TO crm_reader;

--
-- Name: COLUMN crm_connections.status; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(status),UPDATE(status) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(status) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(status) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.status_reason; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(status_reason),UPDATE(status_reason) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(status_reason) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(status_reason) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.status_changed_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(status_changed_at),UPDATE(status_changed_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(status_changed_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(status_changed_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.credentials; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(credentials) ON TABLE public.crm_connections TO crm_app;
GRANT UPDATE(credentials) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.credentials_version; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(credentials_version),UPDATE(credentials_version) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(credentials_version) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(credentials_version) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.credentials_expires_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(credentials_expires_at),UPDATE(credentials_expires_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(credentials_expires_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(credentials_expires_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.last_synced_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(last_synced_at),UPDATE(last_synced_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(last_synced_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(last_synced_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.connected_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(connected_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(connected_at) ON TABLE public.crm_connections TO crm_reader;

--
-- Name: COLUMN crm_connections.disconnected_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(disconnected_at),UPDATE(disconnected_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(disconnected_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(disconnected_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.next_sync_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(next_sync_at),UPDATE(next_sync_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(next_sync_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(next_sync_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.not_before_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(not_before_at),UPDATE(not_before_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(not_before_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(not_before_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.sync_interval_seconds; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(sync_interval_seconds),UPDATE(sync_interval_seconds) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(sync_interval_seconds) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(sync_interval_seconds) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.sync_requested_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(sync_requested_at),UPDATE(sync_requested_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(sync_requested_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(sync_requested_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.last_success_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(last_success_at),UPDATE(last_success_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(last_success_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(last_success_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.first_failed_at; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(first_failed_at),UPDATE(first_failed_at) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(first_failed_at) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(first_failed_at) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: COLUMN crm_connections.failure_count; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT(failure_count),UPDATE(failure_count) ON TABLE public.crm_connections TO crm_app;
GRANT SELECT(failure_count) ON TABLE public.crm_connections TO crm_reader;
GRANT UPDATE(failure_count) ON TABLE public.crm_connections TO crm_worker;

--
-- Name: FUNCTION crm_check_organisation(organisation_id uuid, connections_table regclass); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_check_organisation(organisation_id uuid, connections_table regclass) TO crm_app;
GRANT ALL ON FUNCTION public.crm_check_organisation(organisation_id uuid, connections_table regclass) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_check_organisation(organisation_id uuid, connections_table regclass) TO crm_reader;

--
-- Name: FUNCTION crm_organisation_id(); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_organisation_id() TO crm_app;
GRANT ALL ON FUNCTION public.crm_organisation_id() TO crm_worker;
GRANT ALL ON FUNCTION public.crm_organisation_id() TO crm_reader;

--
-- Name: FUNCTION crm_set_organisation(organisation_id uuid); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_set_organisation(organisation_id uuid) TO crm_app;
GRANT ALL ON FUNCTION public.crm_set_organisation(organisation_id uuid) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_set_organisation(organisation_id uuid) TO crm_reader;

--
-- Name: FUNCTION crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer) TO crm_app;
GRANT ALL ON FUNCTION public.crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_sync_backoff(attempts integer, base_seconds integer, longest_seconds integer) TO crm_reader;

--
-- Name: FUNCTION crm_sync_error_is_valid(error jsonb); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_sync_error_is_valid(error jsonb) TO crm_app;
GRANT ALL ON FUNCTION public.crm_sync_error_is_valid(error jsonb) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_sync_error_is_valid(error jsonb) TO crm_reader;

--
-- Name: FUNCTION crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval) TO crm_app;
GRANT ALL ON FUNCTION public.crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_sync_failure_is_alarming(kind text, failures integer, failing_for interval) TO crm_reader;

--
-- Name: FUNCTION crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval); Type: ACL; Schema: public; Owner: -
--

GRANT ALL ON FUNCTION public.crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval) TO crm_app;
GRANT ALL ON FUNCTION public.crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval) TO crm_worker;
GRANT ALL ON FUNCTION public.crm_sync_failure_is_final(error jsonb, attempts integer, failing_for interval) TO crm_reader;

--
-- Name: TABLE crm_sync_log; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT,INSERT ON TABLE public.crm_sync_log TO crm_app;
GRANT SELECT,INSERT ON TABLE public.crm_sync_log TO crm_worker;
GRANT SELECT ON TABLE public.crm_sync_log TO crm_reader;

--
-- Name: FUNCTION crm_sync_log_ensure_partitions(months_ahead integer, log_table regclass); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.crm_sync_log_ensure_partitions(months_ahead integer, log_table regclass) FROM PUBLIC;

--
-- Name: FUNCTION crm_sync_log_ensure_past(log_table regclass); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.crm_sync_log_ensure_past(log_table regclass) FROM PUBLIC;

--
-- Name: FUNCTION crm_sync_log_finish_partition(partition regclass, log_table regclass); Type: ACL; Schema: public; Owner: -
--

REVOKE ALL ON FUNCTION public.crm_sync_log_finish_partition(partition regclass, log_table regclass) FROM PUBLIC;

--
-- Name: TABLE contact_external_ids; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.contact_external_ids TO crm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.contact_external_ids TO crm_worker;
GRANT SELECT ON TABLE public.contact_external_ids TO crm_reader;

--
-- Name: TABLE crm_outbound_changes; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crm_outbound_changes TO crm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crm_outbound_changes TO crm_worker;
GRANT SELECT ON TABLE public.crm_outbound_changes TO crm_reader;

--
-- Name: TABLE crm_retention; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.crm_retention TO crm_worker;
GRANT SELECT ON TABLE public.crm_retention TO crm_reader;

--
-- Name: TABLE crm_sync_cursors; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crm_sync_cursors TO crm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crm_sync_cursors TO crm_worker;
GRANT SELECT ON TABLE public.crm_sync_cursors TO crm_reader;

--
-- Name: TABLE crm_sync_failures; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crm_sync_failures TO crm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crm_sync_failures TO crm_worker;
GRANT SELECT ON TABLE public.crm_sync_failures TO crm_reader;

--
-- Name: TABLE crm_sync_runs; Type: ACL; Schema: public; Owner: -
--

GRANT SELECT ON TABLE public.crm_sync_runs TO crm_app;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crm_sync_runs TO crm_worker;
GRANT SELECT ON TABLE public.crm_sync_runs TO crm_reader;

--
-- Name: COLUMN crm_sync_runs.heartbeat_at; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(heartbeat_at) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.expires_at; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(expires_at) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.ended_at; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(ended_at) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.outcome; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(outcome) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.error; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(error) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.batch_number; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(batch_number) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.success_count; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(success_count) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.skipped_count; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(skipped_count) ON TABLE public.crm_sync_runs TO crm_app;

--
-- Name: COLUMN crm_sync_runs.error_count; Type: ACL; Schema: public; Owner: -
--

GRANT UPDATE(error_count) ON TABLE public.crm_sync_runs TO crm_app;
