-- Up Migration
--
-- Purpose: who may read and write what? Three group roles, and row-level security on every table. Privileges
--          on a single month of the log are taken away (on a column of it the policies hold them), and no down
--          brings them back.
-- Locks:   crm_connections ACCESS EXCLUSIVE, crm_sync_runs ACCESS EXCLUSIVE, crm_sync_cursors ACCESS
--          EXCLUSIVE, crm_sync_failures ACCESS EXCLUSIVE, crm_outbound_changes ACCESS EXCLUSIVE,
--          contact_external_ids ACCESS EXCLUSIVE and crm_sync_log ACCESS EXCLUSIVE with its partitions: reads
--          and writes wait until the end of the transaction, which by default is that of all pending files.
--          All are locked at once, after the roles are seen to, and all let go again where one of them stays
--          busy for a tenth of a second; before that, SHARE UPDATE EXCLUSIVE sees vacuum out.
-- Scans:   nothing.
-- Down:    drops the policies and takes the roles' privileges away, USAGE of the schema among them where
--          the user had granted it; loses no data. An outage for members of the roles, until it goes up again. The roles stay, because they
--          belong to the cluster.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Roles belong to the cluster: another database, or a DBA beforehand, may have made them. Before any lock,
-- because making one waits for whoever is just making it elsewhere.
do $$
declare
  search_path constant text := current_setting('search_path'::text);
  new_schema constant name := current_schema();
  connections constant regclass := to_regclass('crm_connections'::text);
  our_schema name;
  wanted record;
  creation text;
  problem text;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  select nspname
  into our_schema
  from pg_class
  inner join pg_namespace
    on pg_namespace.oid = relnamespace
  where pg_class.oid = connections;
  if our_schema is null or our_schema is distinct from new_schema then
    raise exception using
      errcode = 'CRM01',
      message = format(
        'crm_connections is in schema %s, and what is new would go into schema %s',
        coalesce(our_schema, '(none that is searched)'), coalesce(new_schema, '(none)')
      ),
      hint = 'Let search_path begin with the schema of crm_connections, as it did for the migrations before.';
  end if;

  for wanted in
    select
      role_name,
      purpose
    from (
      values
        ('crm_app', 'The application of one organisation (tenant) at a time: see crm_set_organisation.'),
        ('crm_worker', 'The sync worker: all organisations, and their encrypted credentials.'),
        ('crm_reader', 'Monitoring and support: reads all organisations, and no credentials.')
    ) as wanted (role_name, purpose)
  loop
    if not exists (select from pg_roles where rolname = wanted.role_name) then
      begin
        execute format('create role %I nologin', wanted.role_name);
        execute format('comment on role %I is %L', wanted.role_name, wanted.purpose);
        creation := concat(creation, format('create role %I nologin; ', wanted.role_name));
      exception
        when duplicate_object or unique_violation then
          -- Another migration of this cluster was faster.
          null;
        when insufficient_privilege then
          raise exception using
            errcode = 'CRM01',
            message = format('role %s is missing, and user %s may not create it', wanted.role_name, current_user),
            hint = 'As a user with CREATEROLE, run: create role crm_app nologin; create role crm_worker nologin; create role crm_reader nologin;';
      end;
    end if;

    if exists (select from pg_roles where rolname = wanted.role_name and (rolsuper or rolbypassrls)) then
      raise exception using
        errcode = 'CRM01',
        message = format('role %s is a superuser or bypasses row-level security, so no policy would hold it', wanted.role_name),
        hint = format('Run: alter role %I nosuperuser nobypassrls;', wanted.role_name);
    end if;

    -- Without the right to, grant only warns.
    if not has_schema_privilege(wanted.role_name, our_schema, 'usage') then
      execute format('grant usage on schema %I to %I', our_schema, wanted.role_name);
    end if;
    if not has_schema_privilege(wanted.role_name, our_schema, 'usage') then
      problem := concat_ws(', ', problem, wanted.role_name);
    end if;
  end loop;

  if problem is not null then
    raise exception using
      errcode = 'CRM01',
      message = format('user %s may not let %s use schema %s', current_user, problem, our_schema),
      -- What was created here is gone again with this transaction.
      hint = format('As the owner of the schema, run: %sgrant usage on schema %I to crm_app, crm_worker, crm_reader;', creation, our_schema);
  end if;

  -- A member may do what the role may, so one of ours in another would undo what keeps them apart.
  select format('%s is a member of %s, itself or by way of another role', member.rolname, role.rolname)
  into problem
  from pg_roles as member
  inner join pg_roles as role
    on role.rolname <> member.rolname
  where member.rolname in ('crm_app', 'crm_worker', 'crm_reader')
    and (
      role.rolname in ('crm_app', 'crm_worker', 'crm_reader')
      -- No policy holds the owner.
      or role.oid = (select relowner from pg_class where pg_class.oid = connections)
    )
    and pg_has_role(member.oid, role.oid, 'member')
  limit 1;
  if problem is not null then
    raise exception using
      errcode = 'CRM01',
      message = problem,
      hint = 'Revoke what makes it so: select roleid::regrole, member::regrole, grantor::regrole from pg_auth_members;';
  end if;

  -- Who creates here can have functions and operators of his own run by the owner and the worker.
  if has_schema_privilege('public', our_schema, 'create') then
    raise exception using
      errcode = 'CRM01',
      message = format('everybody may create in schema %s', our_schema),
      hint = format('As its owner, run: revoke create on schema %I from public;', our_schema);
  end if;

  perform set_config('search_path', search_path, true);
end
$$;

-- The application locks the log and the connections in either order. Waiting for less than
-- deadlock_timeout's default of one second, this migration gives way in a tie, never the application.
do $$
begin
  -- Whoever holds it builds an index, vacuums by hand or attaches a month, and would get into a deadlock with
  -- whoever waits for him here: this does not. Autovacuum, which has no user, is waited for.
  if exists (
    select
    from pg_catalog.pg_locks
    inner join pg_catalog.pg_stat_activity
      using (pid)
    left join pg_catalog.pg_inherits
      on inhrelid = relation
    where database = (select oid from pg_catalog.pg_database where datname = current_database())
      and mode = 'ShareUpdateExclusiveLock'
      and pid <> pg_backend_pid()
      and usesysid is not null
      and coalesce(inhparent, relation) in (
        'crm_connections'::regclass::oid,
        'crm_sync_runs'::regclass::oid,
        'crm_sync_cursors'::regclass::oid,
        'crm_sync_failures'::regclass::oid,
        'crm_outbound_changes'::regclass::oid,
        'contact_external_ids'::regclass::oid,
        'crm_sync_log'::regclass::oid
      )
  ) then
    raise exception using
      errcode = 'lock_not_available',
      message = 'somebody vacuums, builds an index of or alters one of the tables',
      hint = 'Look at pg_stat_progress_vacuum, pg_stat_progress_create_index and pg_stat_activity, and run it again afterwards.';
  end if;

  begin
    -- Stops no application. Autovacuum goes once somebody has waited for it for deadlock_timeout, so this waits
    -- for longer.
    lock table
      crm_connections,
      crm_sync_runs,
      crm_sync_cursors,
      crm_sync_failures,
      crm_outbound_changes,
      contact_external_ids,
      crm_sync_log
    in share update exclusive mode;
  exception
    when lock_not_available then
      raise exception using
        errcode = 'lock_not_available',
        message = sqlerrm,
        hint = 'A vacuum against wraparound, or one that deadlock_timeout keeps from giving way, or somebody else''s lock is at one of the tables: see pg_stat_progress_vacuum and pg_locks, and run it again afterwards.';
  end;

  for attempt in 1..100 loop
    begin
      set local lock_timeout = '100ms';
      lock table
        crm_connections,
        crm_sync_runs,
        crm_sync_cursors,
        crm_sync_failures,
        crm_outbound_changes,
        contact_external_ids,
        crm_sync_log
      in access exclusive mode;
      set local lock_timeout = '5s';
      return;
    exception
      when lock_not_available then
        if attempt = 100 then
          raise exception using
            errcode = 'lock_not_available',
            message = sqlerrm,
            hint = 'A transaction stays open on one of the tables: see pg_stat_activity, and run it again once it has ended.';
        end if;
        -- What this attempt had locked is free again meanwhile.
        perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
end
$$;

create function crm_organisation_id()
returns uuid
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
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

comment on function crm_organisation_id() is
  'The organisation (tenant) whose rows crm_app sees in this transaction. Fails with SQLSTATE CRM05 if none was set: rows that are hidden for that must not look like none.';

create function crm_set_organisation(organisation_id uuid)
returns uuid
language sql
volatile
set search_path = pg_catalog, pg_temp
as $$
  select nullif(set_config('crm_schema.organisation_id', coalesce(organisation_id::text, ''), true), '')::uuid
$$;

comment on function crm_set_organisation(uuid) is
  'Sets the organisation (tenant) whose rows crm_app sees until the end of the transaction, and no longer: the next user of a pooled connection has none. Outside a transaction it has no effect. It keeps an application from mistakes, not from itself: whoever may run any statement as crm_app may set any organisation.';

-- Searches pg_catalog alone, and finds the table by its parameter.
create function crm_check_organisation(organisation_id uuid, connections_table regclass default 'crm_connections')
returns boolean
language plpgsql
stable
parallel safe
set search_path = pg_catalog, pg_temp
as $$
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

comment on function crm_check_organisation(uuid, regclass) is
  'True if the user sees the rows of this organisation (tenant); fails with SQLSTATE CRM05 otherwise. For statements that find nothing where there is nothing to do: what a policy hides must not look like that. The second parameter is best left out.';

-- With an empty search_path, types are looked for among the temporary ones first: whoever made a type "text"
-- of his own could have the checks pass what they should refuse.
alter function crm_credentials_is_jwe(jsonb) set search_path = pg_catalog, pg_temp;
alter function crm_credentials_aad(uuid, uuid, text) set search_path = pg_catalog, pg_temp;
alter function crm_sync_error_is_valid(jsonb) set search_path = pg_catalog, pg_temp;
alter function crm_sync_log_refuse_change() set search_path = pg_catalog, pg_temp;
alter function crm_now() set search_path = pg_catalog, pg_temp;
alter function crm_sync_backoff(integer, integer, integer) set search_path = pg_catalog, pg_temp;
alter function crm_sync_failure_is_alarming(text, integer, interval) set search_path = pg_catalog, pg_temp;
alter function crm_sync_failure_is_final(jsonb, integer, interval) set search_path = pg_catalog, pg_temp;

-- Functions may be everybody's to run, or an installation's default privileges may say otherwise; this
-- does not depend on it.
grant execute
on function
  crm_credentials_is_jwe(jsonb),
  crm_credentials_aad(uuid, uuid, text),
  crm_sync_error_is_valid(jsonb),
  crm_now(),
  crm_sync_backoff(integer, integer, integer),
  crm_sync_failure_is_alarming(text, integer, interval),
  crm_sync_failure_is_final(jsonb, integer, interval),
  crm_organisation_id(),
  crm_set_organisation(uuid),
  crm_check_organisation(uuid, regclass)
to crm_app, crm_worker, crm_reader;

-- As the application's, the worker's and the reader's queries need it, and no more. Only the worker reads
-- credentials, and which key they are encrypted for; who connects a CRM may write them. The ids, the provider
-- and the time of a connection never change; connections are history, and deleted by nobody.
grant select (
  organisation_id,
  id,
  provider,
  status,
  status_reason,
  status_changed_at,
  credentials_version,
  credentials_expires_at,
  last_synced_at,
  connected_at,
  disconnected_at,
  next_sync_at,
  not_before_at,
  sync_interval_seconds,
  sync_requested_at,
  last_success_at,
  first_failed_at,
  failure_count
)
on crm_connections
to crm_app, crm_reader;

grant select
on crm_connections
to crm_worker;

grant insert
on crm_connections
to crm_app;

grant update (
  status,
  status_reason,
  status_changed_at,
  credentials,
  credentials_version,
  credentials_expires_at,
  last_synced_at,
  disconnected_at,
  next_sync_at,
  not_before_at,
  sync_interval_seconds,
  sync_requested_at,
  last_success_at,
  first_failed_at,
  failure_count
)
on crm_connections
to crm_app, crm_worker;

-- A run is begun by the worker, which claims over all organisations, and goes on in either role.
grant select
on crm_sync_runs
to crm_app;

grant update (
  heartbeat_at,
  expires_at,
  ended_at,
  outcome,
  error,
  batch_number,
  success_count,
  skipped_count,
  error_count
)
on crm_sync_runs
to crm_app;

grant select, insert, update, delete
on crm_sync_runs
to crm_worker;

grant select
on crm_sync_runs
to crm_reader;

grant select, insert, update, delete
on crm_sync_cursors
to crm_app, crm_worker;

grant select
on crm_sync_cursors
to crm_reader;

grant select, insert, update, delete
on crm_sync_failures
to crm_app, crm_worker;

grant select
on crm_sync_failures
to crm_reader;

grant select, insert, update, delete
on crm_outbound_changes
to crm_app, crm_worker;

grant select
on crm_outbound_changes
to crm_reader;

grant select, insert, update, delete
on contact_external_ids
to crm_app, crm_worker;

grant select
on contact_external_ids
to crm_reader;

-- Only ever added to.
grant select, insert
on crm_sync_log
to crm_app, crm_worker;

grant select
on crm_sync_log
to crm_reader;

-- The organisation is looked up once for a statement, so that the comparison can use an index.
alter table crm_connections enable row level security;

create policy crm_connections_tenant_policy
  on crm_connections
  to crm_app
  using (organisation_id = (select crm_organisation_id()))
  with check (organisation_id = (select crm_organisation_id()));

create policy crm_connections_worker_policy
  on crm_connections
  for select
  to crm_worker
  using (true);

create policy crm_connections_worker_change_policy
  on crm_connections
  for update
  to crm_worker
  using (true)
  with check (true);

create policy crm_connections_reader_policy
  on crm_connections
  for select
  to crm_reader
  using (true);

comment on policy crm_connections_tenant_policy on crm_connections is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy crm_connections_worker_policy on crm_connections is
  'The sync worker works for all organisations.';
comment on policy crm_connections_worker_change_policy on crm_connections is
  'The sync worker works for all organisations, and connects none: also who is a member of both roles connects the organisation that is set.';
comment on policy crm_connections_reader_policy on crm_connections is
  'Monitoring and support read all organisations.';

alter table crm_sync_runs enable row level security;

create policy crm_sync_runs_tenant_policy
  on crm_sync_runs
  for select
  to crm_app
  using (organisation_id = (select crm_organisation_id()));

create policy crm_sync_runs_tenant_change_policy
  on crm_sync_runs
  for update
  to crm_app
  using (organisation_id = (select crm_organisation_id()) and ended_at is null)
  with check (organisation_id = (select crm_organisation_id()));

create policy crm_sync_runs_worker_policy
  on crm_sync_runs
  to crm_worker
  using (true)
  with check (true);

create policy crm_sync_runs_reader_policy
  on crm_sync_runs
  for select
  to crm_reader
  using (true);

comment on policy crm_sync_runs_tenant_policy on crm_sync_runs is
  'The application sees the rows of the organisation that it has set for the transaction.';
comment on policy crm_sync_runs_tenant_change_policy on crm_sync_runs is
  'The application goes on with an open run and ends it, and opens none that has ended.';
comment on policy crm_sync_runs_worker_policy on crm_sync_runs is
  'The sync worker works for all organisations.';
comment on policy crm_sync_runs_reader_policy on crm_sync_runs is
  'Monitoring and support read all organisations.';

alter table crm_sync_cursors enable row level security;

create policy crm_sync_cursors_tenant_policy
  on crm_sync_cursors
  to crm_app
  using (organisation_id = (select crm_organisation_id()))
  with check (organisation_id = (select crm_organisation_id()));

create policy crm_sync_cursors_worker_policy
  on crm_sync_cursors
  to crm_worker
  using (true)
  with check (true);

create policy crm_sync_cursors_reader_policy
  on crm_sync_cursors
  for select
  to crm_reader
  using (true);

comment on policy crm_sync_cursors_tenant_policy on crm_sync_cursors is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy crm_sync_cursors_worker_policy on crm_sync_cursors is
  'The sync worker works for all organisations.';
comment on policy crm_sync_cursors_reader_policy on crm_sync_cursors is
  'Monitoring and support read all organisations.';

alter table crm_sync_failures enable row level security;

create policy crm_sync_failures_tenant_policy
  on crm_sync_failures
  to crm_app
  using (organisation_id = (select crm_organisation_id()))
  with check (organisation_id = (select crm_organisation_id()));

create policy crm_sync_failures_worker_policy
  on crm_sync_failures
  to crm_worker
  using (true)
  with check (true);

create policy crm_sync_failures_reader_policy
  on crm_sync_failures
  for select
  to crm_reader
  using (true);

comment on policy crm_sync_failures_tenant_policy on crm_sync_failures is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy crm_sync_failures_worker_policy on crm_sync_failures is
  'The sync worker works for all organisations.';
comment on policy crm_sync_failures_reader_policy on crm_sync_failures is
  'Monitoring and support read all organisations.';

alter table crm_outbound_changes enable row level security;

create policy crm_outbound_changes_tenant_policy
  on crm_outbound_changes
  to crm_app
  using (organisation_id = (select crm_organisation_id()))
  with check (organisation_id = (select crm_organisation_id()));

create policy crm_outbound_changes_worker_policy
  on crm_outbound_changes
  to crm_worker
  using (true)
  with check (true);

create policy crm_outbound_changes_reader_policy
  on crm_outbound_changes
  for select
  to crm_reader
  using (true);

comment on policy crm_outbound_changes_tenant_policy on crm_outbound_changes is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy crm_outbound_changes_worker_policy on crm_outbound_changes is
  'The sync worker works for all organisations.';
comment on policy crm_outbound_changes_reader_policy on crm_outbound_changes is
  'Monitoring and support read all organisations.';

alter table contact_external_ids enable row level security;

-- As of the log below.
create policy contact_external_ids_tenant_policy
  on contact_external_ids
  to crm_app
  using (coalesce(organisation_id = (select crm_organisation_id()), false))
  with check (coalesce(organisation_id = (select crm_organisation_id()), false));

create policy contact_external_ids_worker_policy
  on contact_external_ids
  to crm_worker
  using (true)
  with check (true);

create policy contact_external_ids_reader_policy
  on contact_external_ids
  for select
  to crm_reader
  using (true);

comment on policy contact_external_ids_tenant_policy on contact_external_ids is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy contact_external_ids_worker_policy on contact_external_ids is
  'The sync worker works for all organisations.';
comment on policy contact_external_ids_reader_policy on contact_external_ids is
  'Monitoring and support read all organisations.';

alter table crm_sync_log enable row level security;

-- Of the log and the mappings an agency may have millions. There the queries choose the index, and the policy
-- must not offer another: coalesce is what no index serves.
create policy crm_sync_log_tenant_policy
  on crm_sync_log
  to crm_app
  using (coalesce(organisation_id = (select crm_organisation_id()), false))
  with check (coalesce(organisation_id = (select crm_organisation_id()), false));

create policy crm_sync_log_worker_policy
  on crm_sync_log
  to crm_worker
  using (true)
  with check (true);

create policy crm_sync_log_reader_policy
  on crm_sync_log
  for select
  to crm_reader
  using (true);

comment on policy crm_sync_log_tenant_policy on crm_sync_log is
  'The application sees and writes the rows of the organisation that it has set for the transaction.';
comment on policy crm_sync_log_worker_policy on crm_sync_log is
  'The sync worker works for all organisations.';
comment on policy crm_sync_log_reader_policy on crm_sync_log is
  'Monitoring and support read all organisations.';

create function crm_sync_log_finish_partition(partition regclass, log_table regclass default 'crm_sync_log')
returns void
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
as $$
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

comment on function crm_sync_log_finish_partition(regclass, regclass) is
  'Gives a partition of the log what it does not inherit: the trigger that refuses TRUNCATE, the owner, row-level security without a policy, and no privileges. For the owner of the log to run.';

revoke execute on function crm_sync_log_finish_partition(regclass, regclass) from public;

create or replace function crm_sync_log_ensure_partitions(
  months_ahead integer default 3,
  log_table regclass default 'crm_sync_log'
)
returns setof text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set client_min_messages = 'warning'
-- Shorter than deadlock_timeout's default of one second: in a tie, this function gives way, never the
-- application.
set lock_timeout = '500ms'
as $$
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

do $$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  log_table constant regclass := to_regclass('crm_sync_log'::text);
  log_owner regrole;
  partition regclass;
  new_function text;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  for partition in
    select inhrelid
    from pg_inherits
    where inhparent = log_table
  loop
    execute format(
      'select %I.crm_sync_log_finish_partition(%L::regclass, %L::regclass)',
      our_schema, partition, log_table
    );
  end loop;

  -- Whoever runs this, all of the schema has one owner, who makes months and goes on from here.
  select relowner::regrole
  into log_owner
  from pg_class
  where oid = log_table;
  foreach new_function in array array[
    'crm_organisation_id()',
    'crm_set_organisation(uuid)',
    'crm_check_organisation(uuid, regclass)',
    'crm_sync_log_finish_partition(regclass, regclass)'
  ] loop
    execute format('alter function %I.%s owner to %s', our_schema, new_function, log_owner);
  end loop;

  perform set_config('search_path', search_path, true);
end
$$;

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

do $$
declare
  search_path constant text := current_setting('search_path'::text);
  new_schema constant name := current_schema();
  connections constant regclass := to_regclass('crm_connections'::text);
  our_schema name;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  select nspname
  into our_schema
  from pg_class
  inner join pg_namespace
    on pg_namespace.oid = relnamespace
  where pg_class.oid = connections;
  if our_schema is null or our_schema is distinct from new_schema then
    raise exception using
      errcode = 'CRM01',
      message = format(
        'crm_connections is in schema %s, and what is replaced would go into schema %s',
        coalesce(our_schema, '(none that is searched)'), coalesce(new_schema, '(none)')
      ),
      hint = 'Let search_path begin with the schema of crm_connections, as it did for the migrations before.';
  end if;

  perform set_config('search_path', search_path, true);
end
$$;

-- As on the way up.
do $$
begin
  -- Whoever holds it builds an index, vacuums by hand or attaches a month, and would get into a deadlock with
  -- whoever waits for him here: this does not. Autovacuum, which has no user, is waited for.
  if exists (
    select
    from pg_catalog.pg_locks
    inner join pg_catalog.pg_stat_activity
      using (pid)
    left join pg_catalog.pg_inherits
      on inhrelid = relation
    where database = (select oid from pg_catalog.pg_database where datname = current_database())
      and mode = 'ShareUpdateExclusiveLock'
      and pid <> pg_backend_pid()
      and usesysid is not null
      and coalesce(inhparent, relation) in (
        'crm_connections'::regclass::oid,
        'crm_sync_runs'::regclass::oid,
        'crm_sync_cursors'::regclass::oid,
        'crm_sync_failures'::regclass::oid,
        'crm_outbound_changes'::regclass::oid,
        'contact_external_ids'::regclass::oid,
        'crm_sync_log'::regclass::oid
      )
  ) then
    raise exception using
      errcode = 'lock_not_available',
      message = 'somebody vacuums, builds an index of or alters one of the tables',
      hint = 'Look at pg_stat_progress_vacuum, pg_stat_progress_create_index and pg_stat_activity, and run it again afterwards.';
  end if;

  begin
    -- Stops no application. Autovacuum goes once somebody has waited for it for deadlock_timeout, so this waits
    -- for longer.
    lock table
      crm_connections,
      crm_sync_runs,
      crm_sync_cursors,
      crm_sync_failures,
      crm_outbound_changes,
      contact_external_ids,
      crm_sync_log
    in share update exclusive mode;
  exception
    when lock_not_available then
      raise exception using
        errcode = 'lock_not_available',
        message = sqlerrm,
        hint = 'A vacuum against wraparound, or one that deadlock_timeout keeps from giving way, or somebody else''s lock is at one of the tables: see pg_stat_progress_vacuum and pg_locks, and run it again afterwards.';
  end;

  for attempt in 1..100 loop
    begin
      set local lock_timeout = '100ms';
      lock table
        crm_connections,
        crm_sync_runs,
        crm_sync_cursors,
        crm_sync_failures,
        crm_outbound_changes,
        contact_external_ids,
        crm_sync_log
      in access exclusive mode;
      set local lock_timeout = '5s';
      return;
    exception
      when lock_not_available then
        if attempt = 100 then
          raise exception using
            errcode = 'lock_not_available',
            message = sqlerrm,
            hint = 'A transaction stays open on one of the tables: see pg_stat_activity, and run it again once it has ended.';
        end if;
        -- What this attempt had locked is free again meanwhile.
        perform pg_catalog.pg_sleep(0.1);
    end;
  end loop;
end
$$;

drop policy crm_connections_tenant_policy on crm_connections;
drop policy crm_connections_worker_policy on crm_connections;
drop policy crm_connections_worker_change_policy on crm_connections;
drop policy crm_connections_reader_policy on crm_connections;
alter table crm_connections disable row level security;
revoke all on crm_connections from crm_app, crm_worker, crm_reader cascade;

drop policy crm_sync_runs_tenant_policy on crm_sync_runs;
drop policy crm_sync_runs_tenant_change_policy on crm_sync_runs;
drop policy crm_sync_runs_worker_policy on crm_sync_runs;
drop policy crm_sync_runs_reader_policy on crm_sync_runs;
alter table crm_sync_runs disable row level security;
revoke all on crm_sync_runs from crm_app, crm_worker, crm_reader cascade;

drop policy crm_sync_cursors_tenant_policy on crm_sync_cursors;
drop policy crm_sync_cursors_worker_policy on crm_sync_cursors;
drop policy crm_sync_cursors_reader_policy on crm_sync_cursors;
alter table crm_sync_cursors disable row level security;
revoke all on crm_sync_cursors from crm_app, crm_worker, crm_reader cascade;

drop policy crm_sync_failures_tenant_policy on crm_sync_failures;
drop policy crm_sync_failures_worker_policy on crm_sync_failures;
drop policy crm_sync_failures_reader_policy on crm_sync_failures;
alter table crm_sync_failures disable row level security;
revoke all on crm_sync_failures from crm_app, crm_worker, crm_reader cascade;

drop policy crm_outbound_changes_tenant_policy on crm_outbound_changes;
drop policy crm_outbound_changes_worker_policy on crm_outbound_changes;
drop policy crm_outbound_changes_reader_policy on crm_outbound_changes;
alter table crm_outbound_changes disable row level security;
revoke all on crm_outbound_changes from crm_app, crm_worker, crm_reader cascade;

drop policy contact_external_ids_tenant_policy on contact_external_ids;
drop policy contact_external_ids_worker_policy on contact_external_ids;
drop policy contact_external_ids_reader_policy on contact_external_ids;
alter table contact_external_ids disable row level security;
revoke all on contact_external_ids from crm_app, crm_worker, crm_reader cascade;

drop policy crm_sync_log_tenant_policy on crm_sync_log;
drop policy crm_sync_log_worker_policy on crm_sync_log;
drop policy crm_sync_log_reader_policy on crm_sync_log;
alter table crm_sync_log disable row level security;
revoke all on crm_sync_log from crm_app, crm_worker, crm_reader cascade;

do $$
declare
  search_path constant text := current_setting('search_path'::text);
  our_schema constant name := current_schema();
  log_table constant regclass := to_regclass('crm_sync_log'::text);
  partition regclass;
  grantee regrole;
begin
  perform set_config('search_path'::text, 'pg_catalog, pg_temp'::text, true);

  for partition in
    select inhrelid
    from pg_inherits
    where inhparent = log_table
  loop
    execute format('alter table %s disable row level security', partition);
  end loop;

  for grantee in
    select item.grantee
    from pg_namespace
    cross join aclexplode(nspacl) as item
    where nspname = our_schema
      and item.grantee in (select oid from pg_roles where rolname in ('crm_app', 'crm_worker', 'crm_reader'))
  loop
    execute format('revoke usage on schema %I from %s cascade', our_schema, grantee);
  end loop;

  perform set_config('search_path', search_path, true);
end
$$;

create or replace function crm_sync_log_ensure_partitions(
  months_ahead integer default 3,
  log_table regclass default 'crm_sync_log'
)
returns setof text
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set datestyle = 'ISO'
set client_min_messages = 'warning'
-- Shorter than deadlock_timeout's default of one second: in a tie, this function gives way, never the
-- application.
set lock_timeout = '500ms'
as $$
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
          'create trigger crm_sync_log_refuse_truncate before truncate on %s for each statement execute function %I.crm_sync_log_refuse_change()',
          partition_name, log_schema
        );
        execute format(
          'comment on trigger crm_sync_log_refuse_truncate on %s is %L',
          partition_name, 'Keeps the log append-only.'
        );
        -- Whoever runs this, the log's owner has to be able to alter all of it.
        execute format(
          'alter table %s owner to %I',
          partition_name, (select pg_get_userbyid(relowner) from pg_class where oid = log_table)
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

drop function crm_sync_log_finish_partition(regclass, regclass);

alter function crm_credentials_is_jwe(jsonb) set search_path = '';
alter function crm_credentials_aad(uuid, uuid, text) set search_path = '';
alter function crm_sync_error_is_valid(jsonb) set search_path = '';
alter function crm_sync_log_refuse_change() set search_path = '';
alter function crm_now() set search_path = '';
alter function crm_sync_backoff(integer, integer, integer) set search_path = '';
alter function crm_sync_failure_is_alarming(text, integer, interval) set search_path = '';
alter function crm_sync_failure_is_final(jsonb, integer, interval) set search_path = '';

revoke execute
on function
  crm_credentials_is_jwe(jsonb),
  crm_credentials_aad(uuid, uuid, text),
  crm_sync_error_is_valid(jsonb),
  crm_now(),
  crm_sync_backoff(integer, integer, integer),
  crm_sync_failure_is_alarming(text, integer, interval),
  crm_sync_failure_is_final(jsonb, integer, interval)
from crm_app, crm_worker, crm_reader cascade;

drop function crm_check_organisation(uuid, regclass);

drop function crm_set_organisation(uuid);

drop function crm_organisation_id();
