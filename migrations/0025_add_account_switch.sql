-- Up Migration
--
-- Purpose: makes an account the one to which an organisation's ids at a CRM belong, so that no id of one account is
--          taken for an id of another.
-- Locks:   nothing.
-- Scans:   nothing.
-- Down:    drops the functions; loses no data. What is in the archive stays there.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_forget_contents(organisation_id uuid, provider text)
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  crm constant text := provider;
begin
  update %1$I.contact_external_ids as mapping
  set
    remote_version = null,
    content_hash = null,
    pushed_at = null
  where mapping.organisation_id = organisation
    and mapping.provider = crm
    and num_nonnulls(mapping.remote_version, mapping.content_hash, mapping.pushed_at) > 0;

  update %1$I.contact_external_id_aliases as alias
  set
    remote_version = null,
    content_hash = null,
    pushed_at = null
  where alias.organisation_id = organisation
    and alias.provider = crm
    and num_nonnulls(alias.remote_version, alias.content_hash, alias.pushed_at) > 0;
end
$body$
$create$);

select crm_run_in_schema($create$
create function %1$I.crm_switch_account(
  organisation_id uuid,
  connection_id uuid,
  ids_of_unknown_account text default null,
  own_ids_since timestamptz default null
)
returns table (archived integer, restored integer)
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  operation constant uuid := gen_random_uuid();
  own_since constant timestamptz := coalesce(own_ids_since, 'infinity');
  present record;
  -- The last other connection whose account is known, and those since then whose account is not.
  named record;
  unnamed record;
  -- The connections under which their ids are archived; null if the ids stay.
  named_home uuid;
  unnamed_home uuid;
begin
  archived := 0;
  restored := 0;
  if ids_of_unknown_account not in ('keep', 'archive') then
    raise exception using
      errcode = 'CRM04',
      message = 'ids_of_unknown_account must be keep, archive or null';
  end if;
  select
    connection.id,
    connection.provider,
    connection.account
  into present
  from %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and connection.id = connection_id;

  select
    connection.id,
    connection.account,
    connection.connected_at
  into named
  from %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and connection.provider = present.provider
    and connection.id <> present.id
    and connection.account is not null
  order by connection.connected_at desc
  limit 1;

  select
    (array_agg(connection.id order by connection.connected_at desc))[1] as id,
    -- What was linked before the first connection of all was linked for it.
    case when named.id is null then '-infinity' else min(connection.connected_at) end as since
  into unnamed
  from %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and connection.provider = present.provider
    and connection.id <> present.id
    and connection.account is null
    and (named.id is null or connection.connected_at > named.connected_at);

  if coalesce(named.id, unnamed.id) is null then
    return next;
    return;
  end if;
  if present.account is null then
    perform %1$I.crm_lock_external_ids(organisation, array[present.provider]);
    perform %1$I.crm_forget_contents(organisation, present.provider);
    return next;
    return;
  end if;
  perform %1$I.crm_require_read_committed('accounts cannot be switched');

  perform %1$I.crm_lock_external_ids(organisation, array[present.provider]);

  if ids_of_unknown_account is null
    and exists (
      select
      from %1$I.contact_external_records as record
      where record.organisation_id = organisation
        and record.provider = present.provider
        and record.first_seen_at >= unnamed.since
        and record.first_seen_at < own_since
    )
  then
    raise exception using
      errcode = 'CRM06',
      message = format('the organisation has ids of records at %%s, and it is not known to which account they belong', present.provider),
      hint = 'Say whether to keep them, as ids of the account that is being connected, or to archive them, as ids of another.';
  end if;

  named_home := case when named.account <> present.account then named.id end;
  unnamed_home := case when ids_of_unknown_account = 'archive' then unnamed.id end;

  for attempt in 1..10 loop
    begin
      perform %1$I.crm_lock_contacts(organisation, array(
        select record.contact_id
        from %1$I.contact_external_records as record
        where record.organisation_id = organisation
          and record.provider = present.provider
        union
        select archive.contact_id
        from %1$I.contact_external_id_archive as archive
        inner join %1$I.crm_connections as connection
          on connection.organisation_id = archive.organisation_id
          and connection.id = archive.connection_id
        where archive.organisation_id = organisation
          and connection.provider = present.provider
          and connection.account = present.account
      ));

      archived := %1$I.crm_archive_external_ids(
        organisation, present.provider, named_home, unnamed_home, unnamed.since, own_since, operation
      );
      -- While no connection was live, contacts changed here and were not pushed: what stays must not be taken for
      -- unchanged when it is read again. What was read or pushed in this connection is known.
      if own_ids_since is null then
        perform %1$I.crm_forget_contents(organisation, present.provider);
      end if;
      restored := %1$I.crm_restore_external_ids(organisation, present.id, operation);
      return next;
      return;
    exception
      when foreign_key_violation then
        -- The host has deleted one of the contacts meanwhile; the next attempt sees that.
        if attempt = 10 then
          raise;
        end if;
    end;
  end loop;
end
$body$
$create$);

comment on function crm_forget_contents(uuid, text) is
  'For crm_switch_account: forgets the versions and contents of an organisation''s records at a CRM, so that none is taken for unchanged when it is next read.';
comment on function crm_switch_account(uuid, uuid, text, timestamptz) is
  'Makes the account of a live connection the one to which the organisation''s ids at this CRM belong: moves the ids of another account to contact_external_id_archive, moves the archived ids of this account back, and returns how many of each. Moves nothing if the account is null. For a new connection, forgets the versions and contents of the ids that stay: contacts may have changed since the last one ended. Ids that were linked since a connection without a known account are of an unknown account: ids_of_unknown_account (keep or archive) says what becomes of them; if it is null and there are such ids, the function fails with CRM06. own_ids_since is the time since which ids were linked for this connection itself, if it was live before its account was known: those stay. Takes the lock of crm_lock_external_ids. Fails with 0A000 unless at READ COMMITTED.';

revoke execute
on function
  crm_forget_contents(uuid, text),
  crm_switch_account(uuid, uuid, text, timestamptz)
from public;

grant execute
on function
  crm_forget_contents(uuid, text),
  crm_switch_account(uuid, uuid, text, timestamptz)
to crm_app, crm_worker;

select crm_give_to_owner(array[
  'function crm_forget_contents(uuid, text)',
  'function crm_switch_account(uuid, uuid, text, timestamptz)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

drop function crm_switch_account(uuid, uuid, text, timestamptz);

drop function crm_forget_contents(uuid, text);
