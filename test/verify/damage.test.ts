import { test } from 'vitest';
import { useDatabase } from '../support/database.js';
import { monthName, monthStart } from '../support/log-partitions.js';
import { type Damage, expectRepaired, type Reported, title } from './damages.js';

const { url, pool } = useDatabase();
const databaseName = new URL(url).pathname.slice(1);
const ownerName = new URL(url).username;

const cursors = 'public.crm_sync_cursors';
const runs = 'public.crm_sync_runs';
const log = 'public.crm_sync_log';
const connections = 'public.crm_connections';
const catchAll = `${log}_catch_all`;
const [thisMonth, nextMonth, thirdMonth, lastMonth] = [0, 1, 2, 3].map(
  (ahead) => `public.${monthName(ahead)}`,
);
const [thisStart, nextStart, thirdStart] = [0, 1, 2].map(
  (ahead) => `${monthStart(ahead).slice(0, 10)} 00:00:00+00`,
);
const append = 'crm_sync_log_refuse_change';
const truncate = 'crm_sync_log_refuse_truncate';
const invalid = (index: string) =>
  `update pg_index set indisvalid = false where indexrelid = '${index}'::regclass`;

const damages: Damage[] = [
  // Indexes
  {
    damage: 'drops an index',
    sql: 'drop index crm_sync_runs_expires_at_idx',
    reported: [
      ['index', `${runs}_expires_at_idx on ${runs}`, 'btree (expires_at) WHERE outcome IS NULL', null],
    ],
  },
  {
    damage: 'drops a unique index',
    sql: 'drop index crm_connections_organisation_id_provider_live_key',
    reported: [
      ['index', `${connections}_organisation_id_provider_live_key on ${connections}`, 'unique btree', null],
    ],
  },
  {
    damage: 'recreates an index on other columns',
    sql: 'drop index crm_sync_runs_expires_at_idx; create index crm_sync_runs_expires_at_idx on crm_sync_runs (started_at)',
    reported: [
      ['index', `${runs}_expires_at_idx on ${runs}`, 'btree (expires_at)', 'btree (started_at)'],
      ['comment', `index ${runs}_expires_at_idx`, 'Finds the open runs', null],
    ],
  },
  {
    damage: 'invalidates an index',
    sql: invalid('crm_sync_runs_expires_at_idx'),
    reported: [['index', `${runs}_expires_at_idx on ${runs}`, 'btree', `(invalid: ${runs}_expires_at_idx)`]],
  },
  {
    damage: 'invalidates the index of a primary key',
    sql: invalid('crm_sync_cursors_pkey'),
    reported: [
      ['constraint', `crm_sync_cursors_pkey on ${cursors}`, 'PRIMARY KEY', `(invalid: ${cursors}_pkey)`],
    ],
  },
  {
    damage: 'drops an index of the log',
    sql: 'drop index crm_sync_log_internal_id_idx',
    reported: [['index', `${log}_internal_id_idx on ${log}`, 'btree (internal_id)', null]],
  },
  {
    damage: 'recreates an index of the log without its partitions',
    sql: 'drop index crm_sync_log_internal_id_idx; create index crm_sync_log_internal_id_idx on only crm_sync_log (internal_id) where internal_id is not null',
    reported: [
      ['index', `${log}_internal_id_idx on ${log}`, 'btree', `(invalid: ${log}_internal_id_idx)`],
      ['comment', `index ${log}_internal_id_idx`, 'Finds the events', null],
    ],
  },
  {
    damage: 'invalidates an index of a partition',
    sql: `update pg_index set indisvalid = false where indrelid = '${nextMonth}'::regclass and indisprimary`,
    reported: [['index', `${log}_pkey on ${nextMonth}`, 'attached', `attached (invalid: ${nextMonth}_pkey)`]],
  },
  {
    damage: 'gives the primary ids the guard of the aliases',
    sql: 'create or replace trigger contact_external_ids_guard before insert or update of organisation_id, provider, entity_type, external_id on contact_external_ids for each row execute function crm_guard_external_id_alias()',
    reported: [
      [
        'trigger',
        'contact_external_ids_guard on public.contact_external_ids',
        'EXECUTE FUNCTION public.crm_guard_primary_external_id()',
        'EXECUTE FUNCTION public.crm_guard_external_id_alias()',
      ],
    ],
  },
  {
    damage: 'keeps updates of keys from a guard',
    sql: 'create or replace trigger contact_external_id_aliases_guard before insert on contact_external_id_aliases for each row execute function crm_guard_external_id_alias()',
    reported: [
      [
        'trigger',
        'contact_external_id_aliases_guard on public.contact_external_id_aliases',
        'BEFORE INSERT OR UPDATE OF',
        'BEFORE INSERT ON',
      ],
    ],
  },
  {
    damage: 'has a view read with the privileges of its owner',
    sql: 'alter view contact_external_records set (security_invoker = false)',
    reported: [
      [
        'view',
        'public.contact_external_records',
        'with (security_invoker=true) as',
        'with (security_invoker=false) as',
      ],
    ],
  },
  {
    damage: 'adds an index',
    sql: 'create index crm_sync_runs_worker_idx on crm_sync_runs (worker)',
    reported: [['index', `${runs}_worker_idx on ${runs}`, null, 'btree (worker)']],
  },
  {
    damage: 'adds an index to the log',
    sql: 'create index "Theirs" on crm_sync_log (direction)',
    reported: [['index', `public."Theirs" on ${log}`, null, 'btree (direction)']],
  },
  {
    damage: 'adds an index to one partition',
    sql: `create index theirs on ${nextMonth} (direction)`,
    reported: [['index', `public.theirs on ${nextMonth}`, null, 'btree (direction)']],
  },
  {
    damage: 'invalidates the index on contacts',
    sql: invalid('contacts_organisation_id_id_key'),
    reported: [
      ['host index', 'contacts (organisation_id, id)', 'unique', 'unique (invalid: public.contacts_organ'],
    ],
  },
  // Constraints
  {
    damage: 'changes a CHECK',
    sql: "alter table crm_sync_runs drop constraint crm_sync_runs_outcome_check, add constraint crm_sync_runs_outcome_check check (outcome in ('success', 'failed', 'abandoned', 'cancelled', 'x'))",
    reported: [
      ['constraint', `crm_sync_runs_outcome_check on ${runs}`, "'cancelled'::text]", "'x'::text]"],
      ['comment', `constraint crm_sync_runs_outcome_check on ${runs}`, 'The closed list', null],
    ],
  },
  {
    damage: 'changes where the parentheses of a CHECK are',
    sql: `alter table crm_retention drop constraint crm_retention_keep_days_check;
      alter table crm_retention add constraint crm_retention_keep_days_check
        check ((keep_days >= 1 and keep_days <= 36500 and keep_days >= 31) or subject <> 'crm_sync_log')`,
    reported: [
      ['constraint', 'crm_retention_keep_days_check on public.crm_retention', 'CHECK', 'CHECK'],
      ['comment', 'constraint crm_retention_keep_days_check on public.crm_retention', 'From one day', null],
    ],
  },
  {
    damage: 'drops a CHECK with control characters',
    sql: 'alter table crm_sync_runs drop constraint crm_sync_runs_worker_check',
    reported: [['constraint', `crm_sync_runs_worker_check on ${runs}`, 'CHECK (btrim(worker', null]],
  },
  {
    damage: 'drops a CHECK of the log',
    sql: 'alter table crm_sync_log drop constraint crm_sync_log_status_check',
    reported: [['constraint', `crm_sync_log_status_check on ${log}`, 'CHECK (status', null]],
  },
  {
    damage: 'recreates a CHECK as not valid',
    sql: `alter table crm_sync_runs drop constraint crm_sync_runs_counts_check;
      alter table crm_sync_runs add constraint crm_sync_runs_counts_check
        check (least(batch_number, success_count, skipped_count, error_count) >= 0) not valid;
      comment on constraint crm_sync_runs_counts_check on crm_sync_runs is 'Counted from 0.'`,
    reported: [['constraint', `crm_sync_runs_counts_check on ${runs}`, '>= 0)', '>= 0) NOT VALID']],
  },
  {
    damage: 'adds a CHECK',
    sql: 'alter table crm_sync_log add constraint theirs check (id > 0)',
    reported: [['constraint', `theirs on ${log}`, null, 'CHECK (id > 0)']],
  },
  {
    damage: 'adds a CHECK to one partition',
    sql: `alter table ${nextMonth} add constraint theirs check (id > 0)`,
    reported: [['constraint', `theirs on ${nextMonth}`, null, 'CHECK (id > 0)']],
  },
  {
    damage: 'drops a foreign key',
    sql: 'alter table crm_sync_runs drop constraint crm_sync_runs_connection_id_fkey',
    reported: [
      ['constraint', `crm_sync_runs_connection_id_fkey on ${runs}`, `REFERENCES ${connections}`, null],
    ],
  },
  {
    damage: 'recreates a foreign key to a host table without cascade',
    sql: `alter table contact_external_ids drop constraint contact_external_ids_contact_id_fkey;
      alter table contact_external_ids add constraint contact_external_ids_contact_id_fkey
        foreign key (organisation_id, contact_id) references contacts (organisation_id, id)`,
    reported: [
      [
        'constraint',
        'contact_external_ids_contact_id_fkey on public.contact_external_ids',
        'REFERENCES public.contacts(organisation_id, id) ON DELETE CASCADE',
        'REFERENCES public.contacts(organisation_id, id)',
      ],
      [
        'comment',
        'constraint contact_external_ids_contact_id_fkey on public.contact_external_ids',
        'Composite',
        null,
      ],
    ],
  },
  {
    damage: 'drops a foreign key of the log',
    sql: 'alter table crm_sync_log drop constraint crm_sync_log_connection_id_fkey',
    reported: [['constraint', `crm_sync_log_connection_id_fkey on ${log}`, 'FOREIGN KEY', null]],
  },
  {
    damage: 'disables the triggers of a foreign key',
    sql: 'alter table crm_sync_runs disable trigger all',
    reported: [
      [
        'constraint',
        `crm_sync_runs_connection_id_fkey on ${runs}`,
        '',
        `not enforced: triggers of ${runs} are disabled`,
      ],
    ],
  },
  {
    damage: 'disables the triggers of foreign keys on a host table',
    sql: 'alter table organisations disable trigger all',
    reported: [
      [
        'constraint',
        `crm_connections_organisation_id_fkey on ${connections}`,
        'FOREIGN KEY',
        'not enforced: triggers of public.organisations are disabled',
      ],
    ],
    byHand: /internal triggers of public\.organisations/,
  },
  {
    damage: 'drops a primary key and the foreign keys that reference it',
    sql: 'alter table crm_connections drop constraint crm_connections_pkey cascade',
    reported: [
      ['constraint', `crm_connections_pkey on ${connections}`, 'PRIMARY KEY (organisation_id, id)', null],
      [
        'constraint',
        'contact_external_id_archive_connection_id_fkey on public.contact_external_id_archive',
        'FOREIGN KEY',
        null,
      ],
      ...[
        'outbound_changes',
        'record_requests',
        'sync_conflicts',
        'sync_cursors',
        'sync_failures',
        'sync_log',
        'sync_runs',
      ].map(
        (table): Reported => [
          'constraint',
          `crm_${table}_connection_id_fkey on public.crm_${table}`,
          'FOREIGN KEY',
          null,
        ],
      ),
    ],
  },
  // Columns
  {
    damage: 'adds a column',
    sql: "alter table crm_connections add column notes text not null default 'x'; comment on column crm_connections.notes is 'Theirs.'",
    reported: [['column', `${connections}.notes`, null, 'text not null']],
    byHand: /drop it once nobody needs its data/,
  },
  {
    damage: 'drops a nullable column',
    sql: 'alter table crm_sync_runs drop column outcome',
    reported: [
      ['column', `${runs}.outcome`, 'text', null],
      ['constraint', `crm_sync_runs_ended_iff_outcome_check on ${runs}`, '', null],
      ['constraint', `crm_sync_runs_failed_iff_error_check on ${runs}`, '', null],
      ['constraint', `crm_sync_runs_outcome_check on ${runs}`, '', null],
      ['index', `${runs}_expires_at_idx on ${runs}`, 'outcome', null],
      ['privileges', `crm_app on table ${runs}`, 'update (outcome)', null],
    ],
  },
  {
    damage: 'drops a column with a default',
    sql: 'alter table crm_sync_runs drop column batch_number cascade',
    reported: [
      ['column', `${runs}.batch_number`, 'integer not null', null],
      ['constraint', `crm_sync_runs_counts_check on ${runs}`, '', null],
      ['privileges', `crm_app on table ${runs}`, 'update (batch_number)', null],
    ],
  },
  {
    damage: 'drops a column without a default',
    sql: 'alter table crm_sync_runs drop column started_at',
    reported: [
      ['column', `${runs}.started_at`, 'timestamp with time zone not null', null],
      ['constraint', `crm_sync_runs_times_in_range_check on ${runs}`, '', null],
    ],
    byHand: /restore it from a backup/,
  },
  {
    damage: 'changes the type of a column',
    sql: 'alter table crm_sync_runs alter column success_count type numeric',
    reported: [
      ['column', `${runs}.success_count`, 'bigint not null', 'numeric not null'],
      ['constraint', `crm_sync_runs_counts_check on ${runs}`, '', ''],
    ],
    byHand: /rewrite the table/,
  },
  {
    damage: 'drops a NOT NULL',
    sql: 'alter table crm_sync_runs alter column started_at drop not null',
    reported: [['column', `${runs}.started_at`, 'zone not null', 'timestamp with time zone']],
  },
  {
    damage: 'adds a NOT NULL',
    sql: 'alter table crm_sync_log alter column internal_id set not null',
    reported: [['column', `${log}.internal_id`, 'uuid', 'uuid not null']],
  },
  {
    damage: 'changes a default',
    sql: "alter table crm_connections alter column status set default 'error'",
    reported: [['default', `${connections}.status`, "'active'::text", "'error'::text"]],
  },
  {
    damage: 'drops a default',
    sql: 'alter table crm_sync_log alter column occurred_at drop default',
    reported: [['default', `${log}.occurred_at`, 'now()', null]],
  },
  {
    damage: 'adds a default',
    sql: 'alter table crm_sync_log alter column external_id set default 1',
    reported: [['default', `${log}.external_id`, null, '1']],
  },
  {
    damage: 'lets a sequence cycle',
    sql: 'alter sequence crm_sync_runs_id_seq maxvalue 1000 cycle',
    reported: [['sequence', `${runs}_id_seq`, 'no cycle', 'maxvalue 1000 cache 1 cycle']],
  },
  {
    damage: 'makes an identity column generated by default',
    sql: 'alter table crm_sync_runs alter column id set generated by default',
    reported: [['column', `${runs}.id`, 'generated always as identity', 'generated by default as identity']],
  },
  {
    damage: 'drops the identity of a column',
    sql: 'alter table crm_sync_runs alter column id drop identity',
    reported: [
      ['sequence', `${runs}_id_seq`, 'as bigint', null],
      ['column', `${runs}.id`, 'bigint generated always as identity not null', 'bigint not null'],
    ],
    byHand: /an identity column again/,
  },
  // Row-level security
  {
    damage: 'disables row-level security',
    sql: 'alter table crm_connections disable row level security',
    reported: [['row-level security', connections, 'on', 'off']],
  },
  {
    damage: 'disables row-level security on one partition',
    sql: `alter table ${nextMonth} disable row level security`,
    reported: [['row-level security', String(nextMonth), 'on', 'off']],
  },
  {
    damage: 'forces row-level security',
    sql: 'alter table crm_sync_runs force row level security',
    reported: [['row-level security', runs, 'on', 'on, forced']],
  },
  {
    damage: 'drops a policy',
    sql: 'drop policy crm_connections_tenant_policy on crm_connections',
    reported: [['policy', `crm_connections_tenant_policy on ${connections}`, 'to crm_app', null]],
  },
  {
    damage: 'makes a policy allow every row',
    sql: 'alter policy crm_connections_tenant_policy on crm_connections using (true)',
    reported: [
      [
        'policy',
        `crm_connections_tenant_policy on ${connections}`,
        'crm_organisation_id',
        'using (true) with',
      ],
    ],
  },
  {
    damage: 'grants a policy to everyone',
    sql: 'alter policy crm_sync_log_reader_policy on crm_sync_log to public',
    reported: [['policy', `crm_sync_log_reader_policy on ${log}`, 'to crm_reader', 'to public']],
  },
  {
    damage: 'makes a policy restrictive',
    sql: `drop policy crm_sync_runs_worker_policy on crm_sync_runs;
      create policy crm_sync_runs_worker_policy on crm_sync_runs as restrictive to crm_worker using (true) with check (true)`,
    reported: [
      ['policy', `crm_sync_runs_worker_policy on ${runs}`, 'for all', 'as restrictive for all'],
      ['comment', `policy crm_sync_runs_worker_policy on ${runs}`, 'The sync worker', null],
    ],
  },
  {
    damage: 'adds a policy',
    sql: 'create policy "Theirs, too" on crm_connections using (true)',
    reported: [['policy', `"Theirs, too" on ${connections}`, null, 'for all to public using (true)']],
  },
  {
    damage: 'adds a policy to one partition',
    sql: `create policy theirs on ${nextMonth} for select to crm_reader using (true)`,
    reported: [['policy', `theirs on ${nextMonth}`, null, 'for select to crm_reader using (true)']],
  },
  // Privileges
  {
    damage: 'revokes privileges',
    sql: 'revoke insert, delete on crm_sync_cursors from crm_worker',
    reported: [['privileges', `crm_worker on table ${cursors}`, 'delete, insert', null]],
  },
  {
    damage: 'revokes a privilege on columns',
    sql: 'revoke select (status, provider) on crm_connections from crm_reader',
    reported: [['privileges', `crm_reader on table ${connections}`, 'select (provider, status)', null]],
  },
  {
    damage: 'grants a table whose credentials column is withheld',
    sql: 'grant select on crm_connections to crm_app',
    reported: [['privileges', `crm_app on table ${connections}`, null, 'select']],
  },
  {
    damage: 'grants a column',
    sql: 'grant select (credentials) on crm_connections to crm_reader',
    reported: [['privileges', `crm_reader on table ${connections}`, null, 'select (credentials)']],
  },
  {
    damage: 'grants a table to everyone',
    sql: 'grant select on crm_retention to public',
    reported: [['privileges', 'public on table public.crm_retention', null, 'select']],
  },
  {
    damage: 'adds a grant option',
    sql: 'grant select on crm_sync_runs to crm_reader with grant option',
    reported: [['privileges', `crm_reader on table ${runs}`, null, 'grant option for select']],
  },
  {
    damage: 'grants privileges with grant option to another role',
    sql: 'grant update, truncate on crm_sync_log to pg_monitor with grant option',
    reported: [['privileges', `pg_monitor on table ${log}`, null, 'truncate, update']],
  },
  {
    damage: 'lets another role add triggers, which would run as the owner during an erasure',
    sql: 'grant trigger on crm_sync_runs to pg_monitor',
    reported: [['privileges', `pg_monitor on table ${runs}`, null, 'trigger']],
  },
  {
    damage: 'grants privileges that the grantee grants on',
    sql: `create role crm_test_first; create role crm_test_second;
      grant select on crm_sync_runs to crm_test_first with grant option;
      set role crm_test_first; grant select on crm_sync_runs to crm_test_second; reset role`,
    reported: [
      ['privileges', `crm_test_second on table ${runs}`, null, 'select, granted by crm_test_first'],
      ['privileges', `crm_test_first on table ${runs}`, null, 'select'],
    ],
  },
  {
    damage: 'adds a grant option that the grantee uses',
    sql: `create role crm_test_second;
      grant select on crm_sync_runs to crm_reader with grant option;
      set role crm_reader; grant select on crm_sync_runs to crm_test_second; reset role`,
    reported: [
      ['privileges', `crm_test_second on table ${runs}`, null, 'select, granted by crm_reader'],
      ['privileges', `crm_reader on table ${runs}`, null, 'grant option for select'],
    ],
  },
  {
    damage: 'has another role grant privileges, one of them expected',
    sql: `create role crm_test_first;
      grant select on contact_external_ids to crm_test_first with grant option;
      grant update on crm_connections to crm_test_first with grant option;
      revoke select on contact_external_ids from crm_reader;
      set role crm_test_first;
      grant select on contact_external_ids to crm_reader;
      grant update (status) on crm_connections to crm_reader;
      reset role`,
    reported: [
      ['privileges', `crm_reader on table public.contact_external_ids`, 'select', null],
      [
        'privileges',
        `crm_reader on table public.contact_external_ids`,
        null,
        'select, granted by crm_test_first',
      ],
      [
        'privileges',
        `crm_reader on table ${connections}`,
        null,
        'update (status), granted by crm_test_first',
      ],
      ['privileges', `crm_test_first on table public.contact_external_ids`, null, 'select'],
      ['privileges', `crm_test_first on table ${connections}`, null, 'update'],
    ],
  },
  {
    damage: 'has a role with a hostile name grant privileges',
    sql: `create role "z, granted by ;drop table crm_sync_log;--"; create role "y, granted by crm_app";
      grant select on crm_sync_runs to "z, granted by ;drop table crm_sync_log;--" with grant option;
      set role "z, granted by ;drop table crm_sync_log;--";
      grant select on crm_sync_runs to "y, granted by crm_app"; reset role`,
    reported: [
      [
        'privileges',
        `"y, granted by crm_app" on table ${runs}`,
        null,
        'select, granted by "z, granted by ;drop table crm_sync_log;--"',
      ],
      ['privileges', `"z, granted by ;drop table crm_sync_log;--" on table ${runs}`, null, 'select'],
    ],
  },
  {
    damage: 'grants a partition',
    sql: `grant select on ${nextMonth} to crm_reader`,
    reported: [['privileges', `crm_reader on table ${nextMonth}`, null, 'select']],
  },
  {
    damage: 'revokes a privilege from the owner',
    sql: 'do $$ begin execute format($x$revoke insert on crm_sync_log from %I$x$, current_user); end $$',
    reported: [['privileges', `the owner on table ${log}`, 'insert', null]],
  },
  {
    damage: 'grants a sequence',
    sql: 'grant update on sequence crm_sync_runs_id_seq to crm_worker',
    reported: [['privileges', `crm_worker on sequence ${runs}_id_seq`, null, 'update']],
  },
  {
    damage: 'grants an owner-only function to everyone',
    sql: 'grant execute on function crm_sync_log_ensure_past to public',
    reported: [
      ['privileges', 'public on function public.crm_sync_log_ensure_past(regclass)', null, 'execute'],
    ],
  },
  {
    damage: 'lets workers erase people',
    sql: 'grant execute on function crm_erase_contact to crm_worker',
    reported: [
      [
        'privileges',
        'crm_worker on function public.crm_erase_contact(uuid, uuid[], uuid[], bytea[], text, bytea)',
        null,
        'execute',
      ],
    ],
  },
  {
    damage: 'has the function that erases run with the rights of its caller',
    sql: 'alter function crm_erase_contact security invoker',
    reported: [
      [
        'function',
        'public.crm_erase_contact(uuid, uuid[], uuid[], bytea[], text, bytea)',
        'SECURITY DEFINER',
        'crm_schema.erasing',
      ],
    ],
  },
  {
    damage: 'lets everybody with the setting change the log',
    sql: `
      create or replace function crm_sync_log_refuse_change() returns trigger
      language plpgsql set search_path = pg_catalog, pg_temp as $$
      begin
        if current_setting('crm_schema.erasing', true) = 'on' then
          return old;
        end if;
        raise exception using errcode = 'CRM02';
      end $$`,
    reported: [
      ['function', 'public.crm_sync_log_refuse_change()', 'pg_get_userbyid(relowner)', 'return old'],
    ],
  },
  {
    damage: 'revokes a function from everyone',
    sql: 'revoke execute on function crm_organisation_id from public',
    reported: [['privileges', 'public on function public.crm_organisation_id()', 'execute', null]],
  },
  {
    damage: 'revokes usage of the schema',
    sql: 'revoke usage on schema public from public',
    reported: ['crm_app', 'crm_reader', 'crm_worker'].map(
      (role): Reported => ['schema usage', role, 'granted', null],
    ),
  },
  ...['public', 'crm_worker'].map(
    (grantee): Damage => ({
      damage: `lets ${grantee} create in the schema`,
      sql: `grant create on schema public to ${grantee}`,
      reported: [['schema creation', `${grantee} on schema public`, null, 'granted']],
    }),
  ),
  {
    damage: 'lets a member create in the schema through another role',
    sql: `create role crm_test_host; create role crm_test_web in role crm_app, crm_test_host;
      grant create on schema public to crm_test_host`,
    reported: [['schema creation', 'crm_test_host on schema public', null, 'granted']],
  },
  {
    damage: 'lets a member create in the schema by a grant of another role',
    sql: `create role crm_test_host; create role crm_test_web in role crm_app;
      grant create on schema public to crm_test_host with grant option;
      set role crm_test_host; grant create on schema public to crm_test_web; reset role`,
    reported: [
      ['schema creation', 'crm_test_web on schema public', null, 'granted, granted by crm_test_host'],
    ],
  },
  {
    damage: 'lets a noinherit member create in the schema',
    sql: `create role crm_test_web noinherit in role crm_app; grant create on schema public to crm_test_web`,
    reported: [['schema creation', 'crm_test_web on schema public', null, 'granted']],
  },
  {
    damage: 'lets a member create in the schema by a grant of a role with a hostile name',
    sql: `create role "q, granted by w"; create role crm_test_web in role crm_app;
      grant create on schema public to "q, granted by w" with grant option;
      set role "q, granted by w"; grant create on schema public to crm_test_web; reset role`,
    reported: [
      ['schema creation', 'crm_test_web on schema public', null, 'granted, granted by "q, granted by w"'],
    ],
  },
  {
    damage: 'makes a member the owner of the schema, without the privilege to create',
    sql: `create role crm_test_web in role crm_app; alter schema public owner to crm_test_web;
      revoke create on schema public from crm_test_web`,
    reported: [['schema creation', 'crm_test_web on schema public', null, 'as its owner']],
  },
  {
    damage: 'makes a member the owner of the schema',
    sql: 'create role crm_test_web in role crm_app; alter schema public owner to crm_test_web',
    reported: [['schema creation', 'crm_test_web on schema public', null, 'as its owner']],
  },
  // Settings
  {
    damage: 'stops the clock for a member',
    sql: `create role "crm_test ""web" in role crm_app;
      alter role "crm_test ""web" set crm_schema.now = '2026-01-01T00:00:00Z'`,
    reported: [['setting', 'crm_schema.now of role "crm_test ""web"', null, '2026-01-01T00:00:00Z']],
  },
  {
    damage: 'sets a parameter with a quoted name for the owner',
    sql: `alter role ${ownerName} set crm_schema."Select" = '2026-01-01T00:00:00Z'`,
    reported: [['setting', `crm_schema."Select" of role ${ownerName}`, null, '2026-01-01T00:00:00Z']],
  },
  {
    damage: 'lets a role disable triggers',
    sql: 'grant set on parameter session_replication_role to crm_app',
    reported: [['parameter', 'session_replication_role for crm_app', null, 'set']],
  },
  {
    damage: 'allows data loss for the database',
    sql: `alter database ${databaseName} set crm_schema.allow_data_loss = on`,
    reported: [['setting', `crm_schema.allow_data_loss of database ${databaseName}`, null, 'on']],
  },
  {
    damage: 'disables triggers for a role in this database',
    sql: `alter role crm_worker in database ${databaseName} set session_replication_role = replica`,
    reported: [
      ['setting', `session_replication_role of role crm_worker in database ${databaseName}`, null, 'replica'],
    ],
  },
  // Functions
  {
    damage: 'replaces the body of a function',
    sql: "create or replace function crm_organisation_id() returns uuid language sql stable parallel safe set search_path = '' as $$ select null::uuid $$",
    reported: [['function', 'public.crm_organisation_id()', 'current_setting', 'select null::uuid']],
  },
  {
    damage: 'makes a function volatile',
    sql: 'alter function crm_sync_error_is_valid volatile',
    reported: [['function', 'public.crm_sync_error_is_valid(jsonb)', 'IMMUTABLE', 'PARALLEL SAFE']],
  },
  {
    damage: 'makes a function security definer',
    sql: 'alter function crm_set_organisation security definer',
    reported: [['function', 'public.crm_set_organisation(uuid)', '', 'SECURITY DEFINER']],
  },
  {
    damage: 'resets the search_path of a function',
    sql: 'alter function crm_sync_log_ensure_partitions reset search_path',
    reported: [
      ['function', 'public.crm_sync_log_ensure_partitions(integer, regclass)', 'SET search_path', ''],
    ],
  },
  {
    damage: 'drops a function',
    sql: 'drop function crm_sync_log_ensure_past',
    reported: [['function', 'public.crm_sync_log_ensure_past(regclass)', 'CREATE OR REPLACE FUNCTION', null]],
  },
  {
    damage: 'changes the result of a function',
    sql: 'drop function crm_sync_log_ensure_past; create function crm_sync_log_ensure_past(log_table regclass) returns integer language sql return 1',
    reported: [
      ['function', 'public.crm_sync_log_ensure_past(regclass)', 'RETURNS text', 'RETURNS integer'],
      ['privileges', 'public on function public.crm_sync_log_ensure_past(regclass)', null, 'execute'],
      ['comment', 'function public.crm_sync_log_ensure_past(regclass)', 'Creates a partition', null],
    ],
    byHand: /If something depends on it, drop that first/,
    person: 'select',
  },
  {
    damage: 'adds an overload of a function',
    sql: "create function crm_sync_log_finish_partition(text, text) returns void language sql as ''",
    reported: [['function', 'public.crm_sync_log_finish_partition(text, text)', null, 'RETURNS void']],
    byHand: /not part of this schema/,
  },
  // Triggers
  {
    damage: 'disables the append-only trigger',
    sql: `alter table crm_sync_log disable trigger ${append}`,
    reported: [['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', '(disabled)']],
  },
  {
    damage: 'disables the append-only trigger on one partition',
    sql: `alter table ${nextMonth} disable trigger ${append}`,
    reported: [['trigger', `${append} on ${nextMonth}`, 'BEFORE DELETE OR UPDATE', '(disabled)']],
  },
  {
    damage: 'disables all triggers of one partition',
    sql: `alter table ${nextMonth} disable trigger all`,
    reported: [
      ['constraint', `crm_sync_log_connection_id_fkey on ${nextMonth}`, '', `triggers of ${nextMonth}`],
      ['trigger', `${append} on ${nextMonth}`, 'BEFORE DELETE OR UPDATE', '(disabled)'],
      ['trigger', `${truncate} on ${nextMonth}`, 'BEFORE TRUNCATE', '(disabled)'],
    ],
  },
  {
    damage: 'drops the append-only trigger',
    sql: `drop trigger ${append} on crm_sync_log`,
    reported: [['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', null]],
  },
  {
    damage: 'makes a trigger fire on replicas only',
    sql: `alter table crm_sync_log enable replica trigger ${truncate}`,
    reported: [['trigger', `${truncate} on ${log}`, 'BEFORE TRUNCATE', '(on replicas only)']],
  },
  {
    damage: 'drops the trigger of one partition',
    sql: `drop trigger ${truncate} on ${nextMonth}`,
    reported: [['trigger', `${truncate} on ${nextMonth}`, 'BEFORE TRUNCATE', null]],
  },
  {
    damage: 'narrows the append-only trigger to deletes',
    sql: `create or replace trigger ${append} before delete on crm_sync_log for each row execute function ${append}()`,
    reported: [['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', 'BEFORE DELETE ON']],
  },
  {
    damage: 'adds a trigger',
    sql: `create trigger "a TRIGGER b" before insert on crm_connections for each row execute function ${append}()`,
    reported: [
      ['trigger', `"a TRIGGER b" on ${connections}`, null, 'BEFORE INSERT ON public.crm_connections'],
    ],
  },
  {
    damage: 'adds a rule',
    sql: 'create rule theirs as on delete to crm_sync_runs do instead nothing',
    reported: [['rule', `theirs on ${runs}`, null, 'DO INSTEAD NOTHING']],
  },
  {
    damage: 'adds a rule named like that of a view',
    sql: 'create rule theirs as on delete to crm_sync_runs do instead nothing; alter rule theirs on crm_sync_runs rename to "_RETURN"',
    reported: [['rule', `"_RETURN" on ${runs}`, null, 'DO INSTEAD NOTHING']],
    refused: { since: 19, code: '42P17' },
  },
  {
    damage: 'replaces a collation by one of the same name',
    sql: `create collation "C" (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      alter table crm_sync_runs alter worker type text collate public."C"`,
    reported: [['column', `${runs}.worker`, 'text not null', 'text collate public."C" not null']],
    byHand: /rewrite the table/,
  },
  // Names
  {
    damage: 'renames a primary key',
    sql: 'alter index crm_connections_pkey rename to theirs',
    reported: [['constraint', `crm_connections_pkey on ${connections}`, 'PRIMARY KEY', 'named theirs']],
  },
  {
    damage: 'renames indexes',
    sql: `alter index crm_connections_organisation_id_provider_live_key rename to theirs;
      alter index crm_sync_log_internal_id_idx rename to "Theirs"`,
    reported: [
      [
        'index',
        `${connections}_organisation_id_provider_live_key on ${connections}`,
        'unique',
        'named public.theirs',
      ],
      ['index', `${log}_internal_id_idx on ${log}`, 'btree', 'named public."Theirs"'],
    ],
  },
  {
    damage: 'renames a trigger and a policy',
    sql: `alter trigger ${append} on crm_sync_log rename to theirs;
      alter policy crm_retention_reader_policy on crm_retention rename to theirs`,
    reported: [
      ['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', 'named theirs'],
      ['policy', 'crm_retention_reader_policy on public.crm_retention', 'for select', 'named theirs'],
    ],
  },
  // Owners and comments
  ...['table public.crm_retention', `table ${nextMonth}`, 'function public.crm_now()'].map(
    (object): Damage => ({
      damage: `changes the owner of ${object}`,
      sql: `alter ${object} owner to pg_monitor`,
      reported: [['owner', object, 'the owner of the tables', 'pg_monitor']],
    }),
  ),
  {
    damage: 'changes a comment',
    sql: "comment on column crm_connections.status is 'x'",
    reported: [['comment', `column ${connections}.status`, 'it can sync', 'x']],
  },
  {
    damage: 'drops a comment',
    sql: 'comment on policy crm_sync_log_reader_policy on crm_sync_log is null',
    reported: [['comment', `policy crm_sync_log_reader_policy on ${log}`, 'Monitoring', null]],
  },
  {
    damage: 'adds a comment',
    sql: `comment on constraint crm_sync_log_connection_id_fkey on ${nextMonth} is 'x'`,
    reported: [['comment', `constraint crm_sync_log_connection_id_fkey on ${nextMonth}`, null, 'x']],
  },
  {
    damage: 'changes the owner of the log alone',
    sql: 'alter table crm_sync_log owner to pg_monitor',
    reported: [['owner', `table ${log}`, 'the owner of the tables', 'pg_monitor']],
  },
  // Tables and such
  {
    damage: 'makes a table inherit from another',
    sql: 'create table theirs (subject text not null, keep_days integer not null); alter table crm_retention inherit theirs',
    reported: [['table', 'public.crm_retention', 'table', 'table, inheriting from public.theirs']],
  },
  {
    damage: 'makes a table inherit from two with hostile names',
    sql: `create table "a, b.c" (subject text not null); create table "d""e" (keep_days integer not null);
      alter table crm_retention inherit "a, b.c"; alter table crm_retention inherit "d""e"`,
    reported: [
      ['table', 'public.crm_retention', 'table', 'table, inheriting from public."a, b.c", public."d""e"'],
    ],
  },
  {
    damage: "adds another owner's table named like the leftover of a new partition",
    sql: 'create table crm_sync_log_emptied (id integer); alter table crm_sync_log_emptied owner to pg_monitor',
    reported: [['table', 'public.crm_sync_log_emptied', null, 'table']],
    byHand: /check what is in it/,
  },
  {
    damage: 'changes the owner of the migrations table',
    sql: `create table crm_schema_migrations (id integer, name text, run_on timestamp);
      alter table crm_schema_migrations owner to pg_monitor`,
    reported: [['table', 'public.crm_schema_migrations', null, 'table']],
  },
  {
    damage: "adds a foreign key to a partition with the name of the log's",
    sql: `create table theirs (id uuid primary key);
      alter table crm_sync_log detach partition ${nextMonth};
      alter table ${nextMonth} drop constraint crm_sync_log_connection_id_fkey;
      alter table ${nextMonth} add constraint crm_sync_log_connection_id_fkey foreign key (connection_id) references theirs;
      alter table crm_sync_log attach partition ${nextMonth} for values from ('${nextStart}') to ('${thirdStart}')`,
    reported: [
      [
        'constraint',
        `crm_sync_log_connection_id_fkey on ${nextMonth}`,
        'FOREIGN KEY (organisation_id',
        'REFERENCES public.theirs(id)',
      ],
    ],
  },
  {
    damage: 'drops a table',
    sql: 'drop table crm_retention',
    reported: [['table', 'public.crm_retention', 'table', null]],
    byHand: /from a backup/,
  },
  {
    damage: 'makes a table unlogged',
    sql: 'alter table crm_retention set unlogged',
    reported: [['table', 'public.crm_retention', 'table', 'unlogged table']],
  },
  ...(
    [
      ['table', 'create table crm_notes (id integer primary key)', 'public.crm_notes', 'table'],
      ['view', 'create view crm_notes as select 1', 'public.crm_notes', 'as'],
      ['table', 'create materialized view crm_notes as select 1', 'public.crm_notes', 'materialized view'],
      ['sequence', 'create sequence crm_notes', 'public.crm_notes', 'as bigint'],
      ['type', "create type crm_notes as enum ('x')", 'public.crm_notes', 'an enum'],
      ['type', 'create domain crm_notes as text', 'public.crm_notes', 'a domain'],
      ['type', 'create type crm_notes as (id integer)', 'public.crm_notes', 'a type'],
      ['table', 'create table theirs () inherits (crm_sync_runs)', 'public.theirs', 'table'],
      [
        'function',
        'create aggregate crm_sum (integer) (sfunc = int4pl, stype = integer)',
        'public.crm_sum(integer)',
        'an aggregate',
      ],
    ] as const
  ).map(
    ([kind, sql, name, found]): Damage => ({
      damage: `adds an object: ${sql}`,
      sql,
      reported: [[kind, name, null, found]],
      byHand: /not part of this schema/,
    }),
  ),
  // Roles
  ...(['superuser', 'bypassrls', 'createrole', 'replication'] as const).map(
    (attribute): Damage => ({
      damage: `makes a role ${attribute}`,
      sql: `alter role crm_app ${attribute}`,
      reported: [['role', 'crm_app', `no${attribute}`, attribute]],
    }),
  ),
  {
    damage: 'makes a role a member of another of the three',
    sql: 'grant crm_worker to crm_app',
    reported: [['membership', 'crm_app in crm_worker', null, 'through crm_worker']],
  },
  {
    damage: 'makes a role a member of another of the three indirectly',
    sql: 'create role crm_test_between; grant crm_worker to crm_test_between; grant crm_test_between to crm_reader',
    reported: [['membership', 'crm_reader in crm_worker', null, 'through crm_test_between']],
  },
  {
    damage: 'lets a role read all tables',
    sql: 'grant pg_read_all_data to crm_reader',
    reported: [['membership', 'crm_reader in pg_read_all_data', null, 'through pg_read_all_data']],
  },
  // Partitions
  {
    damage: 'drops a coming partition and recreates the catch-all',
    sql: `drop table ${nextMonth}, ${thirdMonth}, ${lastMonth}, ${catchAll};
      create table crm_sync_log_catch_all partition of crm_sync_log for values from ('${nextStart}') to (maxvalue);
      select crm_sync_log_finish_partition('crm_sync_log_catch_all')`,
    reported: [
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'go to crm_sync_log_catch_all'],
    ],
  },
  {
    damage: 'drops a partition',
    sql: `drop table ${nextMonth}`,
    reported: [['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing']],
  },
  {
    damage: 'drops two partitions',
    sql: `drop table ${nextMonth}, ${thirdMonth}`,
    reported: [
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing'],
      ['partition', String(thirdMonth), `from ${thirdStart}`, 'nothing'],
    ],
  },
  {
    damage: 'detaches a partition',
    sql: `alter table crm_sync_log detach partition ${nextMonth}`,
    reported: [['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing']],
  },
  {
    damage: "replaces a partition by another owner's table",
    sql: `drop table ${nextMonth}; create table ${nextMonth} (like crm_sync_log); alter table ${nextMonth} owner to pg_monitor`,
    reported: [
      ['table', String(nextMonth), null, 'table'],
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing'],
    ],
    byHand: /check what is in it/,
  },
  {
    damage: 'drops the first partition',
    sql: `drop table ${thisMonth}`,
    reported: [
      ['partition', String(thisMonth), `from ${thisStart} to ${nextStart}`, 'nothing'],
      [
        'partition',
        `public.${monthName(0).replace('log_', 'log_before_')}`,
        `from the beginning to ${thisStart}`,
        'nothing',
      ],
    ],
  },
  {
    damage: 'drops the last partition',
    sql: `drop table ${catchAll}`,
    reported: [['partition', catchAll, 'to the end', 'nothing']],
  },
  {
    damage: 'detaches the last partition',
    sql: `alter table crm_sync_log detach partition ${catchAll}`,
    reported: [['partition', catchAll, 'to the end', 'nothing']],
  },
  {
    damage: 'interrupts detaching a partition',
    sql: `update pg_inherits set inhdetachpending = true where inhrelid = '${nextMonth}'::regclass`,
    reported: [
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'its detaching was interrupted'],
      [
        'partition',
        String(nextMonth),
        `from ${nextStart} to ${thirdStart}`,
        'events of that time are refused',
      ],
    ],
  },
  {
    damage: 'interrupts crm-schema partitions drop',
    sql: `update pg_inherits set inhdetachpending = true where inhrelid = '${thisMonth}'::regclass;
      comment on table ${thisMonth} is 'x To be dropped: crm-schema partitions drop.'`,
    reported: [['partition', String(thisMonth), `from the beginning to ${nextStart}`, 'interrupted']],
    byHand: /crm-schema partitions drop/,
  },
  {
    damage: 'drops all partitions',
    sql: `drop table ${thisMonth}, ${nextMonth}, ${thirdMonth}, ${lastMonth}, ${catchAll}`,
    reported: [['partition', catchAll, 'from the beginning to the end', 'nothing']],
  },
  {
    damage: "adds another owner's table that is marked to be dropped",
    sql: `create table crm_sync_log_2031_01 (id integer); alter table crm_sync_log_2031_01 owner to pg_monitor;
      comment on table crm_sync_log_2031_01 is 'x To be dropped: crm-schema partitions drop.'`,
    reported: [['table', 'public.crm_sync_log_2031_01', null, 'table']],
    byHand: /check what is in it/,
  },
  {
    damage: 'adds a default partition',
    sql: `create table theirs partition of crm_sync_log default; select crm_sync_log_finish_partition('theirs')`,
    reported: [['partition', 'public.theirs', null, 'the default']],
    byHand: /drop it/,
  },
  {
    damage: 'adds an unfinished partition',
    sql: `drop table ${nextMonth}; create table elsewhere partition of crm_sync_log for values from ('${nextStart}') to ('${thirdStart}');
      grant select on elsewhere to public`,
    reported: [
      ['trigger', `${truncate} on public.elsewhere`, 'BEFORE TRUNCATE ON public.elsewhere', null],
      ['row-level security', 'public.elsewhere', 'on', 'off'],
      ['privileges', 'public on table public.elsewhere', null, 'select'],
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'named public.elsewhere'],
    ],
  },
  // Periods
  {
    damage: 'deletes a retention period',
    sql: "delete from crm_retention where subject = 'crm_sync_log'",
    reported: [['period', 'crm_sync_log in public.crm_retention', 'set', null]],
    byHand: /insert into public\.crm_retention/,
  },
  // Migrations
  {
    damage: 'removes a migration and what it created',
    sql: "delete from pgmigrations where name ~ '^0011_'; drop table crm_retention; drop function crm_sync_log_ensure_past",
    reported: [['migration', '0011_create_crm_retention', 'applied', null]],
    byHand: /Run the migrations/,
  },
  {
    damage: 'records a migration of a later version',
    sql: "insert into pgmigrations (name, run_on) values ('9998_add_x', now())",
    reported: [['migration', '9998_add_x', null, 'applied']],
    byHand: /version of the package that has it/,
  },
];

test.each(damages.map((each) => [title(each), each] as const))('%s', (_, damage) =>
  expectRepaired({ url, pool }, damage),
);
