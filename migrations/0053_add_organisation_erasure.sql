-- Up Migration
--
-- Purpose: erases a whole organisation, a batch at a time.
-- Locks:   crm_erasures ACCESS EXCLUSIVE: whoever reads or adds proofs of erasures waits for an instant.
-- Scans:   crm_erasures, to check the new constraints: one row for each erasure.
-- Down:    drops the functions and the column (crm_erasures ACCESS EXCLUSIVE), and refuses while an organisation is being
--          erased or was, unless crm_schema.allow_data_loss is on: then nothing says whether that is complete.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Few rows, which are read in a moment.
alter table crm_erasures
  add column finished_at timestamptz,
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_erasures_finished_at_in_range_check
    check (finished_at >= '1900-01-01 00:00:00+00' and finished_at < '9999-01-01 00:00:00+00'),
  -- squawk-ignore constraint-missing-not-valid
  add constraint crm_erasures_contact_has_no_finish_check
    check (finished_at is null or subject = 'organisation');

comment on column crm_erasures.finished_at is
  'When nothing of the organisation was left. Null while it is being erased, and for contacts: each is erased in one transaction.';
comment on column crm_erasures.erased_at is
  'When the transaction that erased began; for an organisation, the first one.';
comment on column crm_erasures.counts is
  'How many rows were deleted or rewritten, by table; of an organisation, so far.';
comment on table crm_erasures is
  'Proof of each erasure: when, by whom, and how much. No names and ids: whose it was is a keyed hash, and the key is not in the database. Written by crm_erase_contact and crm_erase_organisation; only the owner reads it.';
comment on constraint crm_erasures_finished_at_in_range_check on crm_erasures is
  'In the years 1900 to 9998: every client can read it.';
comment on constraint crm_erasures_contact_has_no_finish_check on crm_erasures is
  'Only the erasure of an organisation takes more than one transaction.';

-- Functions name their tables with the schema, because search_path must not decide which tables they use.
select crm_run_in_schema($create$
create function %1$I.crm_organisation_tables()
returns table (held regclass, counted_as text)
language plpgsql
stable
set search_path = pg_catalog, pg_temp
as $body$
begin
  perform %1$I.crm_require_all_rows();
  return query
  -- The log a month at a time, then the months that were detached.
  select month.held, 'crm_sync_log'
  from (
    (
      select partition.relid as held
      from pg_partition_tree('%1$I.crm_sync_log'::regclass) as partition
      inner join pg_class
        on pg_class.oid = partition.relid
      where partition.isleaf
      order by pg_class.relname
    )
    union all
    select tables
    from %1$I.crm_sync_log_tables() as tables
    where tables <> '%1$I.crm_sync_log'::regclass
  ) as month
  union all
  select
    ('%1$I.' || quote_ident(other.name))::regclass,
    other.name
  from unnest(array[
    'crm_sync_failures',
    'crm_sync_conflicts',
    'crm_record_requests',
    'crm_outbound_changes',
    'crm_sync_cursors',
    'crm_sync_runs',
    'contact_external_id_aliases',
    'contact_external_ids',
    'contact_external_id_archive',
    'contact_external_id_changes',
    'crm_erased_records',
    'crm_erasure_salts'
  ]) as other (name);
end
$body$
$create$);

comment on function crm_organisation_tables() is
  'Lists the tables that hold rows of organisations, in the order in which crm_erase_organisation empties them: what references others first. Not crm_connections, which is last, nor the proofs, which stay. Fails with CRM01 if row-level security may hide rows (crm_require_all_rows), so that no table is taken for empty.';

select crm_run_in_schema($create$
create function %1$I.crm_erase_organisation(
  organisation_id uuid,
  subject_hash bytea,
  key_id text,
  batch_size integer
)
returns table (erasure_id bigint, emptied text, deleted bigint, is_finished boolean)
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
-- Each batch is found through a key: a scan would read what earlier batches have left behind.
set enable_seqscan = off
as $body$
#variable_conflict use_column
declare
  organisation constant uuid := organisation_id;
  live text;
  -- The connections that the last pass has locked; null before.
  locked uuid[];
  step record;
begin
  perform %1$I.crm_require_read_committed('an organisation cannot be erased');
  if organisation is null or subject_hash is null or key_id is null or coalesce(batch_size, 0) < 1 then
    raise exception using
      errcode = 'CRM04',
      message = 'an erasure needs an organisation, a hash, a key id and a batch size of at least 1';
  end if;

  for pass in 1..2 loop
    if pass = 1 then
      -- Also keeps two erasures of one organisation apart.
      perform
      from %1$I.crm_connections as connection
      where connection.organisation_id = organisation
      order by connection.id
      for no key update;
      perform %1$I.crm_lock_external_ids(organisation, array['agentos', 'alto', 'custom', 'loop', 'reapit', 'street']);
    else
      -- Nothing is left. From here on nothing can come: who adds something holds its connection, or the lock of the ids.
      select coalesce(array_agg(connection.id), '{}')
      into locked
      from (
        select connections.id
        from %1$I.crm_connections as connections
        where connections.organisation_id = organisation
        order by connections.id
        for update
      ) as connection;
    end if;

    -- After the locks: whoever was waited for, or connects by hand and does not wait, may have connected a CRM meanwhile.
    select string_agg(connection.provider, ', ' order by connection.provider)
    into live
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.status <> 'disconnected';
    if live is not null then
      raise exception using
        errcode = 'CRM04',
        message = format('the organisation is still connected to %%s', live),
        hint = 'Disconnect its CRMs, and erase it then.';
    end if;
    select string_agg(connection.provider, ', ' order by connection.provider)
    into live
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.revocation = 'pending';
    if live is not null then
      raise exception using
        errcode = 'CRM04',
        message = format('the credentials of the organisation at %%s have still to be revoked', live),
        hint = 'Let a worker revoke them, or wipe them with credentialsRevoked: without them, nobody can.';
    end if;
    select string_agg(connection.provider, ', ' order by connection.provider)
    into live
    from %1$I.crm_connections as connection
    where connection.organisation_id = organisation
      and connection.id <> all(locked);
    if live is not null then
      raise exception using
        errcode = 'CRM04',
        message = format('the organisation was connected to %%s meanwhile', live),
        hint = 'Erase it again.';
    end if;

    select erasure.id
    into erasure_id
    from %1$I.crm_erasures as erasure
    where erasure.organisation_id = organisation
      and erasure.subject = 'organisation'
      and erasure.finished_at is null
    order by erasure.id desc
    limit 1
    for no key update;

    for step in select tables.held, tables.counted_as from %1$I.crm_organisation_tables() as tables loop
      -- The way through the log's trigger, for this statement alone.
      perform set_config('crm_schema.erasing', 'on', true);
      -- By the place of each row: to join a table with its own rows would read it as a whole.
      execute format(
        'delete from only %%1$s
         where ctid = any(array(select ctid from only %%1$s where organisation_id = $1 limit $2))',
        step.held
      )
      using organisation, batch_size;
      get diagnostics deleted = row_count;
      perform set_config('crm_schema.erasing', '', true);
      if deleted > 0 then
        emptied := (select pg_class.relname from pg_class where pg_class.oid = step.held);
        is_finished := false;
        if erasure_id is null then
          insert into %1$I.crm_erasures as erasure (organisation_id, subject, key_id, subject_hashes, counts)
          values (organisation, 'organisation', key_id, array[subject_hash], '{}')
          returning erasure.id into erasure_id;
        end if;
        update %1$I.crm_erasures as erasure
        set counts = erasure.counts || jsonb_build_object(
          step.counted_as,
          coalesce((erasure.counts ->> step.counted_as)::bigint, 0) + deleted
        )
        where erasure.organisation_id = organisation
          and erasure.id = erasure_id;
        return next;
        return;
      end if;
    end loop;
  end loop;

  -- A rate limit of an account is named after it.
  delete from %1$I.crm_rate_limits as limits
  using %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and limits.provider = connection.provider
    and limits.scope = connection.account
    and not exists (
      select
      from %1$I.crm_connections as other
      where other.provider = limits.provider
        and other.account = limits.scope
        and other.status <> 'disconnected'
    );
  -- Not one that was connected since.
  delete from %1$I.crm_connections as connection
  where connection.organisation_id = organisation
    and connection.id = any(locked);
  get diagnostics deleted = row_count;
  is_finished := true;
  if deleted > 0 and erasure_id is null then
    insert into %1$I.crm_erasures as erasure (organisation_id, subject, key_id, subject_hashes, counts)
    values (organisation, 'organisation', key_id, array[subject_hash], '{}')
    returning erasure.id into erasure_id;
  end if;
  emptied := case when deleted > 0 then 'crm_connections' end;
  update %1$I.crm_erasures as erasure
  set
    counts = erasure.counts || jsonb_build_object('crm_connections', deleted),
    finished_at = now()
  where erasure.organisation_id = organisation
    and erasure.id = erasure_id;
  return next;
end
$body$
$create$);

comment on function crm_erase_organisation(uuid, bytea, text, integer) is
  'Erases an organisation, a batch of rows of one table in each call, which is to be a transaction of its own: call it until is_finished. It may be interrupted at any time. Returns the proof''s id, the table that it has deleted from and how many rows; of an organisation of which nothing is kept, is_finished and null. The log is emptied a month at a time, detached months too, then the other tables, and the connections last; contacts and organisations are the host''s to delete. subject_hash is the HMAC-SHA-256 of the organisation''s id with the key that key_id names. Locks the organisation''s connections and external ids, and nobody else''s rows. SECURITY DEFINER, and turns on crm_schema.erasing for its own statements, as crm_erase_contact: only the owner may run it. Fails with CRM04 while a connection is live, also one that was made meanwhile, while credentials have still to be revoked, and for wrong parameters, with CRM01 if a detached month cannot be searched or row-level security may hide rows (crm_require_all_rows), and with 0A000 unless at READ COMMITTED.';

revoke execute
on function
  crm_organisation_tables(),
  crm_erase_organisation(uuid, bytea, text, integer)
from public;

select crm_give_to_owner(array[
  'function crm_organisation_tables()',
  'function crm_erase_organisation(uuid, bytea, text, integer)'
]);

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

-- Before the check, else what somebody erases now would be lost unseen.
lock table crm_erasures in access exclusive mode;

select crm_refuse_data_loss('an organisation has been erased')
where exists (select from crm_erasures where subject = 'organisation');

drop function crm_erase_organisation(uuid, bytea, text, integer);

drop function crm_organisation_tables();

alter table crm_erasures
  drop column finished_at;

comment on column crm_erasures.erased_at is
  'When the transaction that erased began.';
comment on column crm_erasures.counts is
  'How many rows were deleted or rewritten, by table.';
comment on table crm_erasures is
  'Proof of each erasure: when, by whom, and how much. No names and ids: whose it was is a keyed hash, and the key is not in the database. Written by crm_erase_contact; only the owner reads it.';
