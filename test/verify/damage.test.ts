import { expect, inject, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import type { Difference } from '../../src/verify/verify.js';
import { rolledBack } from '../migrations/support.js';
import { useDatabase } from '../support/database.js';
import { monthName, monthStart } from '../support/old-log.js';
import { differencesIn, differencesOf, isTransactional } from './support.js';

const { url, pool } = useDatabase();
const databaseName = new URL(url).pathname.slice(1);
const ownerName = new URL(url).username;

/** Kind, name, expected and found of each difference; a text may be a part of it. */
type Told = [Difference['kind'], string, string | null, string | null];

interface Damage {
  of: string;
  sql: string;
  told: Told[];
  /** What there is to do by hand, where no SQL mends it. */
  byHand?: RegExp;
  /** The first version that refuses `sql`, and the error code. */
  refused?: { since: number; code: string };
}

const cursors = 'public.crm_sync_cursors';
const runs = 'public.crm_sync_runs';
const log = 'public.crm_sync_log';
const connections = 'public.crm_connections';
const catchAll = `${log}_catch_all`;
const [thisMonth, nextMonth, thirdMonth, lastMonth] = [0, 1, 2, 3].map(
  (ahead) => `public.${monthName(ahead)}`,
);
const [nextStart, thirdStart] = [1, 2, 4].map((ahead) => `${monthStart(ahead).slice(0, 10)} 00:00:00+00`);
const append = 'crm_sync_log_refuse_change';
const truncate = 'crm_sync_log_refuse_truncate';
const invalid = (index: string) =>
  `update pg_index set indisvalid = false where indexrelid = '${index}'::regclass`;

const damages: Damage[] = [
  // Indexes
  {
    of: 'an index that was dropped',
    sql: 'drop index crm_sync_runs_expires_at_idx',
    told: [['index', `${runs}_expires_at_idx on ${runs}`, 'btree (expires_at) WHERE ended_at IS NULL', null]],
  },
  {
    of: 'a unique index that was dropped',
    sql: 'drop index crm_connections_organisation_id_provider_live_key',
    told: [
      ['index', `${connections}_organisation_id_provider_live_key on ${connections}`, 'unique btree', null],
    ],
  },
  {
    of: 'an index on other columns',
    sql: 'drop index crm_sync_runs_expires_at_idx; create index crm_sync_runs_expires_at_idx on crm_sync_runs (started_at)',
    told: [
      ['index', `${runs}_expires_at_idx on ${runs}`, 'btree (expires_at)', 'btree (started_at)'],
      ['comment', `index ${runs}_expires_at_idx`, 'Finds the open runs', null],
    ],
  },
  {
    of: 'an invalid index',
    sql: invalid('crm_sync_runs_expires_at_idx'),
    told: [['index', `${runs}_expires_at_idx on ${runs}`, 'btree', `(invalid: ${runs}_expires_at_idx)`]],
  },
  {
    of: 'an invalid index of a primary key',
    sql: invalid('crm_sync_cursors_pkey'),
    told: [
      ['constraint', `crm_sync_cursors_pkey on ${cursors}`, 'PRIMARY KEY', `(invalid: ${cursors}_pkey)`],
    ],
  },
  {
    of: 'an index of the log that was dropped',
    sql: 'drop index crm_sync_log_internal_id_idx',
    told: [['index', `${log}_internal_id_idx on ${log}`, 'btree (organisation_id, internal_id', null]],
  },
  {
    of: 'an index of the log that its months do not have',
    sql: 'drop index crm_sync_log_internal_id_idx; create index crm_sync_log_internal_id_idx on only crm_sync_log (organisation_id, internal_id, occurred_at desc, id desc) where internal_id is not null',
    told: [
      ['index', `${log}_internal_id_idx on ${log}`, 'btree', `(invalid: ${log}_internal_id_idx)`],
      ['comment', `index ${log}_internal_id_idx`, 'The timeline', null],
    ],
  },
  {
    of: 'an invalid index of a month',
    sql: `update pg_index set indisvalid = false where indrelid = '${nextMonth}'::regclass and indisprimary`,
    told: [['index', `${log}_pkey on ${nextMonth}`, 'attached', `attached (invalid: ${nextMonth}_pkey)`]],
  },
  {
    of: 'an index that is not ours',
    sql: 'create index crm_sync_runs_worker_idx on crm_sync_runs (worker)',
    told: [['index', `${runs}_worker_idx on ${runs}`, null, 'btree (worker)']],
  },
  {
    of: 'an index on the log that is not ours',
    sql: 'create index "Theirs" on crm_sync_log (direction)',
    told: [['index', `public."Theirs" on ${log}`, null, 'btree (direction)']],
  },
  {
    of: 'an index on one month that is not ours',
    sql: `create index theirs on ${nextMonth} (direction)`,
    told: [['index', `public.theirs on ${nextMonth}`, null, 'btree (direction)']],
  },
  {
    of: 'an invalid index on contacts',
    sql: invalid('contacts_organisation_id_id_key'),
    told: [
      ['host index', 'contacts (organisation_id, id)', 'unique', 'unique (invalid: public.contacts_organ'],
    ],
  },
  // Constraints
  {
    of: 'a CHECK that was changed',
    sql: "alter table crm_sync_runs drop constraint crm_sync_runs_outcome_check, add constraint crm_sync_runs_outcome_check check (outcome in ('success', 'failed', 'abandoned', 'cancelled', 'x'))",
    told: [
      ['constraint', `crm_sync_runs_outcome_check on ${runs}`, "'cancelled'::text]", "'x'::text]"],
      ['comment', `constraint crm_sync_runs_outcome_check on ${runs}`, 'The closed list', null],
    ],
  },
  {
    of: 'a CHECK whose parentheses mean something else',
    sql: `alter table crm_retention drop constraint crm_retention_keep_days_check;
      alter table crm_retention add constraint crm_retention_keep_days_check
        check ((keep_days >= 1 and keep_days <= 36500 and keep_days >= 31) or subject <> 'crm_sync_log')`,
    told: [
      ['constraint', 'crm_retention_keep_days_check on public.crm_retention', 'CHECK', 'CHECK'],
      ['comment', 'constraint crm_retention_keep_days_check on public.crm_retention', 'A day', null],
    ],
  },
  {
    of: 'a CHECK of blanks that was dropped',
    sql: 'alter table crm_sync_runs drop constraint crm_sync_runs_worker_check',
    told: [['constraint', `crm_sync_runs_worker_check on ${runs}`, 'CHECK (btrim(worker', null]],
  },
  {
    of: 'a CHECK of the log that was dropped',
    sql: 'alter table crm_sync_log drop constraint crm_sync_log_status_check',
    told: [['constraint', `crm_sync_log_status_check on ${log}`, 'CHECK (status', null]],
  },
  {
    of: 'a CHECK that was not validated',
    sql: `alter table crm_sync_runs drop constraint crm_sync_runs_counts_check;
      alter table crm_sync_runs add constraint crm_sync_runs_counts_check
        check (least(batch_number, success_count, skipped_count, error_count) >= 0) not valid;
      comment on constraint crm_sync_runs_counts_check on crm_sync_runs is 'Counted from 0.'`,
    told: [['constraint', `crm_sync_runs_counts_check on ${runs}`, '>= 0)', '>= 0) NOT VALID']],
  },
  {
    of: 'a CHECK that is not ours',
    sql: 'alter table crm_sync_log add constraint theirs check (id > 0)',
    told: [['constraint', `theirs on ${log}`, null, 'CHECK (id > 0)']],
  },
  {
    of: 'a CHECK on one month that is not ours',
    sql: `alter table ${nextMonth} add constraint theirs check (id > 0)`,
    told: [['constraint', `theirs on ${nextMonth}`, null, 'CHECK (id > 0)']],
  },
  {
    of: 'a foreign key that was dropped',
    sql: 'alter table crm_sync_runs drop constraint crm_sync_runs_connection_id_fkey',
    told: [['constraint', `crm_sync_runs_connection_id_fkey on ${runs}`, `REFERENCES ${connections}`, null]],
  },
  {
    of: "a foreign key to the host's table that cascades no more",
    sql: `alter table contact_external_ids drop constraint contact_external_ids_contact_id_fkey;
      alter table contact_external_ids add constraint contact_external_ids_contact_id_fkey
        foreign key (organisation_id, contact_id) references contacts (organisation_id, id)`,
    told: [
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
    of: 'a foreign key of the log that was dropped',
    sql: 'alter table crm_sync_log drop constraint crm_sync_log_connection_id_fkey',
    told: [['constraint', `crm_sync_log_connection_id_fkey on ${log}`, 'FOREIGN KEY', null]],
  },
  {
    of: 'a foreign key whose triggers are disabled',
    sql: 'alter table crm_sync_runs disable trigger all',
    told: [
      ['constraint', `crm_sync_runs_connection_id_fkey on ${runs}`, '', `because of triggers of ${runs}`],
    ],
  },
  {
    of: "foreign keys whose triggers on the host's table are disabled",
    sql: 'alter table organisations disable trigger all',
    told: [
      [
        'constraint',
        `crm_connections_organisation_id_fkey on ${connections}`,
        'FOREIGN KEY',
        'because of triggers of public.organisations',
      ],
    ],
    byHand: /internal triggers of public\.organisations/,
  },
  {
    of: 'a primary key and what points at it that were dropped',
    sql: 'alter table crm_connections drop constraint crm_connections_pkey cascade',
    told: [
      ['constraint', `crm_connections_pkey on ${connections}`, 'PRIMARY KEY (organisation_id, id)', null],
      ...['outbound_changes', 'sync_cursors', 'sync_failures', 'sync_log', 'sync_runs'].map(
        (table): Told => [
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
    of: 'an extra column',
    sql: "alter table crm_connections add column notes text not null default 'x'; comment on column crm_connections.notes is 'Theirs.'",
    told: [['column', `${connections}.notes`, null, 'text not null']],
    byHand: /drop it once nobody needs what is in it/,
  },
  {
    of: 'a column that was dropped',
    sql: 'alter table crm_sync_runs drop column outcome',
    told: [
      ['column', `${runs}.outcome`, 'text', null],
      ['constraint', `crm_sync_runs_ended_iff_outcome_check on ${runs}`, '', null],
      ['constraint', `crm_sync_runs_failed_iff_error_check on ${runs}`, '', null],
      ['constraint', `crm_sync_runs_outcome_check on ${runs}`, '', null],
      ['privileges', `crm_app on table ${runs}`, 'update (outcome)', null],
    ],
  },
  {
    of: 'a column with a default that was dropped',
    sql: 'alter table crm_sync_runs drop column batch_number cascade',
    told: [
      ['column', `${runs}.batch_number`, 'integer not null', null],
      ['constraint', `crm_sync_runs_counts_check on ${runs}`, '', null],
      ['privileges', `crm_app on table ${runs}`, 'update (batch_number)', null],
    ],
  },
  {
    of: 'a column that was dropped and can be filled by nothing',
    sql: 'alter table crm_sync_runs drop column started_at',
    told: [
      ['column', `${runs}.started_at`, 'timestamp with time zone not null', null],
      ['constraint', `crm_sync_runs_times_in_range_check on ${runs}`, '', null],
    ],
    byHand: /restore it from a backup/,
  },
  {
    of: 'a column of another type',
    sql: 'alter table crm_sync_runs alter column success_count type numeric',
    told: [
      ['column', `${runs}.success_count`, 'bigint not null', 'numeric not null'],
      ['constraint', `crm_sync_runs_counts_check on ${runs}`, '', ''],
    ],
    byHand: /rewrite the table/,
  },
  {
    of: 'a column that may be null',
    sql: 'alter table crm_sync_runs alter column started_at drop not null',
    told: [['column', `${runs}.started_at`, 'zone not null', 'timestamp with time zone']],
  },
  {
    of: 'a column that may not be null',
    sql: 'alter table crm_sync_log alter column internal_id set not null',
    told: [['column', `${log}.internal_id`, 'uuid', 'uuid not null']],
  },
  {
    of: 'a default that was changed',
    sql: "alter table crm_connections alter column status set default 'error'",
    told: [['default', `${connections}.status`, "'active'::text", "'error'::text"]],
  },
  {
    of: 'a default that was dropped',
    sql: 'alter table crm_sync_log alter column occurred_at drop default',
    told: [['default', `${log}.occurred_at`, 'now()', null]],
  },
  {
    of: 'a default that is not ours',
    sql: 'alter table crm_sync_log alter column external_id set default 1',
    told: [['default', `${log}.external_id`, null, '1']],
  },
  {
    of: 'a sequence that goes round',
    sql: 'alter sequence crm_sync_runs_id_seq maxvalue 1000 cycle',
    told: [['sequence', `${runs}_id_seq`, 'no cycle', 'maxvalue 1000 cycle']],
  },
  {
    of: 'an identity that gives way to what is given',
    sql: 'alter table crm_sync_runs alter column id set generated by default',
    told: [['column', `${runs}.id`, 'generated always as identity', 'generated by default as identity']],
  },
  {
    of: 'an identity that was dropped',
    sql: 'alter table crm_sync_runs alter column id drop identity',
    told: [
      ['sequence', `${runs}_id_seq`, 'as bigint', null],
      ['column', `${runs}.id`, 'bigint generated always as identity not null', 'bigint not null'],
    ],
    byHand: /an identity again/,
  },
  // Row-level security
  {
    of: 'row-level security that was disabled',
    sql: 'alter table crm_connections disable row level security',
    told: [['row-level security', connections, 'on', 'off']],
  },
  {
    of: 'row-level security that was disabled on a month',
    sql: `alter table ${nextMonth} disable row level security`,
    told: [['row-level security', String(nextMonth), 'on', 'off']],
  },
  {
    of: 'row-level security that is forced',
    sql: 'alter table crm_sync_runs force row level security',
    told: [['row-level security', runs, 'on', 'on, forced']],
  },
  {
    of: 'a policy that was dropped',
    sql: 'drop policy crm_connections_tenant_policy on crm_connections',
    told: [['policy', `crm_connections_tenant_policy on ${connections}`, 'to crm_app', null]],
  },
  {
    of: 'a policy that lets everything through',
    sql: 'alter policy crm_connections_tenant_policy on crm_connections using (true)',
    told: [
      [
        'policy',
        `crm_connections_tenant_policy on ${connections}`,
        'crm_organisation_id',
        'using (true) with',
      ],
    ],
  },
  {
    of: 'a policy for others',
    sql: 'alter policy crm_sync_log_reader_policy on crm_sync_log to public',
    told: [['policy', `crm_sync_log_reader_policy on ${log}`, 'to crm_reader', 'to public']],
  },
  {
    of: 'a policy that restricts',
    sql: `drop policy crm_sync_runs_worker_policy on crm_sync_runs;
      create policy crm_sync_runs_worker_policy on crm_sync_runs as restrictive to crm_worker using (true) with check (true)`,
    told: [
      ['policy', `crm_sync_runs_worker_policy on ${runs}`, 'for all', 'as restrictive for all'],
      ['comment', `policy crm_sync_runs_worker_policy on ${runs}`, 'The sync worker', null],
    ],
  },
  {
    of: 'a policy that is not ours',
    sql: 'create policy "Theirs, too" on crm_connections using (true)',
    told: [['policy', `"Theirs, too" on ${connections}`, null, 'for all to public using (true)']],
  },
  {
    of: 'a policy on a month',
    sql: `create policy theirs on ${nextMonth} for select to crm_reader using (true)`,
    told: [['policy', `theirs on ${nextMonth}`, null, 'for select to crm_reader using (true)']],
  },
  // Privileges
  {
    of: 'privileges that were revoked',
    sql: 'revoke insert, delete on crm_sync_cursors from crm_worker',
    told: [['privileges', `crm_worker on table ${cursors}`, 'delete, insert', null]],
  },
  {
    of: 'a privilege on columns that was revoked',
    sql: 'revoke select (status, provider) on crm_connections from crm_reader',
    told: [['privileges', `crm_reader on table ${connections}`, 'select (provider, status)', null]],
  },
  {
    of: 'the credentials granted to an application that reads the other columns',
    sql: 'grant select on crm_connections to crm_app',
    told: [['privileges', `crm_app on table ${connections}`, null, 'select']],
  },
  {
    of: 'a column that was granted',
    sql: 'grant select (credentials) on crm_connections to crm_reader',
    told: [['privileges', `crm_reader on table ${connections}`, null, 'select (credentials)']],
  },
  {
    of: 'a table granted to everybody',
    sql: 'grant select on crm_retention to public',
    told: [['privileges', 'public on table public.crm_retention', null, 'select']],
  },
  {
    of: 'a privilege that may be passed on',
    sql: 'grant select on crm_sync_runs to crm_reader with grant option',
    told: [['privileges', `crm_reader on table ${runs}`, null, 'grant option for select']],
  },
  {
    of: 'a role that is none of ours and may do much, and pass it on',
    sql: 'grant update, truncate on crm_sync_log to pg_monitor with grant option',
    told: [['privileges', `pg_monitor on table ${log}`, null, 'truncate, update']],
  },
  {
    of: 'privileges that were passed on',
    sql: `create role crm_test_first; create role crm_test_second;
      grant select on crm_sync_runs to crm_test_first with grant option;
      set role crm_test_first; grant select on crm_sync_runs to crm_test_second; reset role`,
    told: [
      ['privileges', `crm_test_second on table ${runs}`, null, 'select, granted by crm_test_first'],
      ['privileges', `crm_test_first on table ${runs}`, null, 'select'],
    ],
  },
  {
    of: 'the right to pass on, passed on',
    sql: `create role crm_test_second;
      grant select on crm_sync_runs to crm_reader with grant option;
      set role crm_reader; grant select on crm_sync_runs to crm_test_second; reset role`,
    told: [
      ['privileges', `crm_test_second on table ${runs}`, null, 'select, granted by crm_reader'],
      ['privileges', `crm_reader on table ${runs}`, null, 'grant option for select'],
    ],
  },
  {
    of: 'privileges that somebody else passed on, of which one should be there',
    sql: `create role crm_test_first;
      grant select on contact_external_ids to crm_test_first with grant option;
      grant update on crm_connections to crm_test_first with grant option;
      revoke select on contact_external_ids from crm_reader;
      set role crm_test_first;
      grant select on contact_external_ids to crm_reader;
      grant update (status) on crm_connections to crm_reader;
      reset role`,
    told: [
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
    of: 'privileges passed on by somebody with a hostile name',
    sql: `create role "z, granted by ;drop table crm_sync_log;--"; create role "y, granted by crm_app";
      grant select on crm_sync_runs to "z, granted by ;drop table crm_sync_log;--" with grant option;
      set role "z, granted by ;drop table crm_sync_log;--";
      grant select on crm_sync_runs to "y, granted by crm_app"; reset role`,
    told: [
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
    of: 'a month that was granted',
    sql: `grant select on ${nextMonth} to crm_reader`,
    told: [['privileges', `crm_reader on table ${nextMonth}`, null, 'select']],
  },
  {
    of: 'a privilege that the owner took from himself',
    sql: 'do $$ begin execute format($x$revoke insert on crm_sync_log from %I$x$, current_user); end $$',
    told: [['privileges', `the owner on table ${log}`, 'insert', null]],
  },
  {
    of: 'a sequence that was granted',
    sql: 'grant update on sequence crm_sync_runs_id_seq to crm_worker',
    told: [['privileges', `crm_worker on sequence ${runs}_id_seq`, null, 'update']],
  },
  {
    of: "a function of the owner's that everybody may run",
    sql: 'grant execute on function crm_sync_log_ensure_past to public',
    told: [['privileges', 'public on function public.crm_sync_log_ensure_past(regclass)', null, 'execute']],
  },
  {
    of: 'a function that nobody may run any more',
    sql: 'revoke execute on function crm_organisation_id from public',
    told: [['privileges', 'public on function public.crm_organisation_id()', 'execute', null]],
  },
  {
    of: 'a schema that roles may not use',
    sql: 'revoke usage on schema public from public',
    told: ['crm_app', 'crm_reader', 'crm_worker'].map(
      (role): Told => ['schema usage', role, 'granted', null],
    ),
  },
  ...['public', 'crm_worker'].map(
    (grantee): Damage => ({
      of: `a schema in which ${grantee} may create`,
      sql: `grant create on schema public to ${grantee}`,
      told: [['schema creation', `${grantee} on schema public`, null, 'granted']],
    }),
  ),
  {
    of: 'a schema in which a member of ours may create, because of another role',
    sql: `create role crm_test_host; create role crm_test_web in role crm_app, crm_test_host;
      grant create on schema public to crm_test_host`,
    told: [['schema creation', 'crm_test_host on schema public', null, 'granted']],
  },
  {
    of: 'a schema in which a member of ours may create, because somebody passed it on',
    sql: `create role crm_test_host; create role crm_test_web in role crm_app;
      grant create on schema public to crm_test_host with grant option;
      set role crm_test_host; grant create on schema public to crm_test_web; reset role`,
    told: [['schema creation', 'crm_test_web on schema public', null, 'granted, granted by crm_test_host']],
  },
  {
    of: 'a schema in which a member may create that takes the role on',
    sql: `create role crm_test_web noinherit in role crm_app; grant create on schema public to crm_test_web`,
    told: [['schema creation', 'crm_test_web on schema public', null, 'granted']],
  },
  {
    of: 'a schema in which a member of ours may create, because somebody with a hostile name passed it on',
    sql: `create role "q, granted by w"; create role crm_test_web in role crm_app;
      grant create on schema public to "q, granted by w" with grant option;
      set role "q, granted by w"; grant create on schema public to crm_test_web; reset role`,
    told: [
      ['schema creation', 'crm_test_web on schema public', null, 'granted, granted by "q, granted by w"'],
    ],
  },
  {
    of: 'a schema of a member of ours, who does not grant it to himself',
    sql: `create role crm_test_web in role crm_app; alter schema public owner to crm_test_web;
      revoke create on schema public from crm_test_web`,
    told: [['schema creation', 'crm_test_web on schema public', null, 'as its owner']],
  },
  {
    of: 'a schema of a member of ours',
    sql: 'create role crm_test_web in role crm_app; alter schema public owner to crm_test_web',
    told: [['schema creation', 'crm_test_web on schema public', null, 'as its owner']],
  },
  // Settings
  {
    of: "a member of ours for whom the database's clock stands still",
    sql: `create role "crm_test ""web" in role crm_app;
      alter role "crm_test ""web" set crm_schema.now = '2026-01-01T00:00:00Z'`,
    told: [['setting', 'crm_schema.now of role "crm_test ""web"', null, '2026-01-01T00:00:00Z']],
  },
  {
    of: 'an owner with a setting that has to be quoted',
    sql: `alter role ${ownerName} set crm_schema."Select" = '2026-01-01T00:00:00Z'`,
    told: [['setting', `crm_schema."Select" of role ${ownerName}`, null, '2026-01-01T00:00:00Z']],
  },
  {
    of: 'a role that may switch triggers off',
    sql: 'grant set on parameter session_replication_role to crm_app',
    told: [['parameter', 'session_replication_role for crm_app', null, 'set']],
  },
  {
    of: 'a database that loses data without a word',
    sql: `alter database ${databaseName} set crm_schema.allow_data_loss = on`,
    told: [['setting', `crm_schema.allow_data_loss of database ${databaseName}`, null, 'on']],
  },
  {
    of: 'a role without triggers in this database',
    sql: `alter role crm_worker in database ${databaseName} set session_replication_role = replica`,
    told: [
      ['setting', `session_replication_role of role crm_worker in database ${databaseName}`, null, 'replica'],
    ],
  },
  // Functions
  {
    of: 'a function that was edited',
    sql: "create or replace function crm_organisation_id() returns uuid language sql stable parallel safe set search_path = '' as $$ select null::uuid $$",
    told: [['function', 'public.crm_organisation_id()', 'current_setting', 'select null::uuid']],
  },
  {
    of: 'a function that is volatile',
    sql: 'alter function crm_sync_error_is_valid volatile',
    told: [['function', 'public.crm_sync_error_is_valid(jsonb)', 'IMMUTABLE', 'PARALLEL SAFE']],
  },
  {
    of: 'a function with the rights of its owner',
    sql: 'alter function crm_set_organisation security definer',
    told: [['function', 'public.crm_set_organisation(uuid)', '', 'SECURITY DEFINER']],
  },
  {
    of: 'a function that searches wherever it is called',
    sql: 'alter function crm_sync_log_ensure_partitions reset search_path',
    told: [['function', 'public.crm_sync_log_ensure_partitions(integer, regclass)', 'SET search_path', '']],
  },
  {
    of: 'a function that was dropped',
    sql: 'drop function crm_sync_log_ensure_past',
    told: [['function', 'public.crm_sync_log_ensure_past(regclass)', 'CREATE OR REPLACE FUNCTION', null]],
  },
  {
    of: 'a function of another result',
    sql: 'drop function crm_sync_log_ensure_past; create function crm_sync_log_ensure_past(log_table regclass) returns integer language sql return 1',
    told: [
      ['function', 'public.crm_sync_log_ensure_past(regclass)', 'RETURNS text', 'RETURNS integer'],
      ['privileges', 'public on function public.crm_sync_log_ensure_past(regclass)', null, 'execute'],
      ['comment', 'function public.crm_sync_log_ensure_past(regclass)', 'Makes sure', null],
    ],
    byHand: /drop it with what depends on it/,
  },
  {
    of: 'a function planted beside ours',
    sql: "create function crm_sync_log_finish_partition(text, text) returns void language sql as ''",
    told: [['function', 'public.crm_sync_log_finish_partition(text, text)', null, 'RETURNS void']],
    byHand: /not of this schema/,
  },
  // Triggers
  {
    of: 'the trigger that keeps the log append-only, disabled',
    sql: `alter table crm_sync_log disable trigger ${append}`,
    told: [['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', '(disabled)']],
  },
  {
    of: 'that trigger, disabled on a month alone',
    sql: `alter table ${nextMonth} disable trigger ${append}`,
    told: [['trigger', `${append} on ${nextMonth}`, 'BEFORE DELETE OR UPDATE', '(disabled)']],
  },
  {
    of: 'all triggers of a month, disabled',
    sql: `alter table ${nextMonth} disable trigger all`,
    told: [
      ['constraint', `crm_sync_log_connection_id_fkey on ${nextMonth}`, '', `triggers of ${nextMonth}`],
      ['trigger', `${append} on ${nextMonth}`, 'BEFORE DELETE OR UPDATE', '(disabled)'],
      ['trigger', `${truncate} on ${nextMonth}`, 'BEFORE TRUNCATE', '(disabled)'],
    ],
  },
  {
    of: 'that trigger, dropped',
    sql: `drop trigger ${append} on crm_sync_log`,
    told: [['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', null]],
  },
  {
    of: 'that trigger, for replicas only',
    sql: `alter table crm_sync_log enable replica trigger ${truncate}`,
    told: [['trigger', `${truncate} on ${log}`, 'BEFORE TRUNCATE', '(on replicas only)']],
  },
  {
    of: "a month's own trigger, dropped",
    sql: `drop trigger ${truncate} on ${nextMonth}`,
    told: [['trigger', `${truncate} on ${nextMonth}`, 'BEFORE TRUNCATE', null]],
  },
  {
    of: 'that trigger, for deletes alone',
    sql: `create or replace trigger ${append} before delete on crm_sync_log for each row execute function ${append}()`,
    told: [['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', 'BEFORE DELETE ON']],
  },
  {
    of: 'a trigger that is not ours',
    sql: `create trigger "a TRIGGER b" before insert on crm_connections for each row execute function ${append}()`,
    told: [['trigger', `"a TRIGGER b" on ${connections}`, null, 'BEFORE INSERT ON public.crm_connections']],
  },
  {
    of: 'a rule',
    sql: 'create rule theirs as on delete to crm_sync_runs do instead nothing',
    told: [['rule', `theirs on ${runs}`, null, 'DO INSTEAD NOTHING']],
  },
  {
    of: 'a rule that is called like that of a view',
    sql: 'create rule theirs as on delete to crm_sync_runs do instead nothing; alter rule theirs on crm_sync_runs rename to "_RETURN"',
    told: [['rule', `"_RETURN" on ${runs}`, null, 'DO INSTEAD NOTHING']],
    refused: { since: 19, code: '42P17' },
  },
  {
    of: 'a collation that is called like another',
    sql: `create collation "C" (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      alter table crm_sync_runs alter worker type text collate public."C"`,
    told: [['column', `${runs}.worker`, 'text not null', 'text collate public."C" not null']],
    byHand: /rewrite the table/,
  },
  // Names
  {
    of: 'a primary key that was renamed',
    sql: 'alter index crm_connections_pkey rename to theirs',
    told: [['constraint', `crm_connections_pkey on ${connections}`, 'PRIMARY KEY', 'named theirs']],
  },
  {
    of: 'indexes that were renamed',
    sql: `alter index crm_connections_organisation_id_provider_live_key rename to theirs;
      alter index crm_sync_log_internal_id_idx rename to "Theirs"`,
    told: [
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
    of: 'a trigger and a policy that were renamed',
    sql: `alter trigger ${append} on crm_sync_log rename to theirs;
      alter policy crm_retention_reader_policy on crm_retention rename to theirs`,
    told: [
      ['trigger', `${append} on ${log}`, 'BEFORE DELETE OR UPDATE', 'named theirs'],
      ['policy', 'crm_retention_reader_policy on public.crm_retention', 'for select', 'named theirs'],
    ],
  },
  // Owners and comments
  ...['table public.crm_retention', `table ${nextMonth}`, 'function public.crm_now()'].map(
    (object): Damage => ({
      of: `another owner of a ${object}`,
      sql: `alter ${object} owner to pg_monitor`,
      told: [['owner', object, 'the owner of the tables', 'pg_monitor']],
    }),
  ),
  {
    of: 'a comment that was changed',
    sql: "comment on column crm_connections.status is 'x'",
    told: [['comment', `column ${connections}.status`, 'syncing may go on', 'x']],
  },
  {
    of: 'a comment that was dropped',
    sql: 'comment on policy crm_sync_log_reader_policy on crm_sync_log is null',
    told: [['comment', `policy crm_sync_log_reader_policy on ${log}`, 'Monitoring', null]],
  },
  {
    of: 'a comment that is not ours',
    sql: `comment on constraint crm_sync_log_connection_id_fkey on ${nextMonth} is 'x'`,
    told: [['comment', `constraint crm_sync_log_connection_id_fkey on ${nextMonth}`, null, 'x']],
  },
  {
    of: 'another owner of the log alone',
    sql: 'alter table crm_sync_log owner to pg_monitor',
    told: [['owner', `table ${log}`, 'the owner of the tables', 'pg_monitor']],
  },
  // Tables and such
  {
    of: 'a table that another is a parent of',
    sql: 'create table theirs (subject text not null, keep_days integer not null); alter table crm_retention inherit theirs',
    told: [['table', 'public.crm_retention', 'table', 'table, inheriting from public.theirs']],
  },
  {
    of: 'a table that two others are parents of, by hostile names',
    sql: `create table "a, b.c" (subject text not null); create table "d""e" (keep_days integer not null);
      alter table crm_retention inherit "a, b.c"; alter table crm_retention inherit "d""e"`,
    told: [
      ['table', 'public.crm_retention', 'table', 'table, inheriting from public."a, b.c", public."d""e"'],
    ],
  },
  {
    of: "somebody else's table that is called like what is left by making a month",
    sql: 'create table crm_sync_log_emptied (id integer); alter table crm_sync_log_emptied owner to pg_monitor',
    told: [['table', 'public.crm_sync_log_emptied', null, 'table']],
    byHand: /look what is in it/,
  },
  {
    of: "the table of migrations, if it is somebody else's",
    sql: `create table crm_schema_migrations (id integer, name text, run_on timestamp);
      alter table crm_schema_migrations owner to pg_monitor`,
    told: [['table', 'public.crm_schema_migrations', null, 'table']],
  },
  {
    of: "a partition's own foreign key that is called like the log's",
    sql: `create table theirs (id uuid primary key);
      alter table crm_sync_log detach partition ${nextMonth};
      alter table ${nextMonth} drop constraint crm_sync_log_connection_id_fkey;
      alter table ${nextMonth} add constraint crm_sync_log_connection_id_fkey foreign key (connection_id) references theirs;
      alter table crm_sync_log attach partition ${nextMonth} for values from ('${nextStart}') to ('${thirdStart}')`,
    told: [
      [
        'constraint',
        `crm_sync_log_connection_id_fkey on ${nextMonth}`,
        'FOREIGN KEY (organisation_id',
        'REFERENCES public.theirs(id)',
      ],
    ],
  },
  {
    of: 'a table that was dropped',
    sql: 'drop table crm_retention',
    told: [['table', 'public.crm_retention', 'table', null]],
    byHand: /from a backup/,
  },
  {
    of: 'a table that a crash would empty',
    sql: 'alter table crm_retention set unlogged',
    told: [['table', 'public.crm_retention', 'table', 'unlogged table']],
  },
  ...(
    [
      ['table', 'create table crm_notes (id integer primary key)', 'public.crm_notes', 'table'],
      ['table', 'create view crm_notes as select 1', 'public.crm_notes', 'view'],
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
      of: `what is not ours: ${sql}`,
      sql,
      told: [[kind, name, null, found]],
      byHand: /not of this schema/,
    }),
  ),
  // Roles
  ...(['superuser', 'bypassrls', 'createrole', 'replication'] as const).map(
    (attribute): Damage => ({
      of: `a role with ${attribute}`,
      sql: `alter role crm_app ${attribute}`,
      told: [['role', 'crm_app', `no${attribute}`, attribute]],
    }),
  ),
  {
    of: 'a role that is a member of another of the three',
    sql: 'grant crm_worker to crm_app',
    told: [['membership', 'crm_app in crm_worker', null, 'through crm_worker']],
  },
  {
    of: 'a role that is so through a third',
    sql: 'create role crm_test_between; grant crm_worker to crm_test_between; grant crm_test_between to crm_reader',
    told: [['membership', 'crm_reader in crm_worker', null, 'through crm_test_between']],
  },
  {
    of: 'a role that reads all tables',
    sql: 'grant pg_read_all_data to crm_reader',
    told: [['membership', 'crm_reader in pg_read_all_data', null, 'through pg_read_all_data']],
  },
  // Partitions
  {
    of: 'a missing partition of a coming month',
    sql: `drop table ${nextMonth}, ${thirdMonth}, ${lastMonth}, ${catchAll};
      create table crm_sync_log_catch_all partition of crm_sync_log for values from ('${nextStart}') to (maxvalue);
      select crm_sync_log_finish_partition('crm_sync_log_catch_all')`,
    told: [
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'go to crm_sync_log_catch_all'],
    ],
  },
  {
    of: 'a month that was dropped',
    sql: `drop table ${nextMonth}`,
    told: [['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing']],
  },
  {
    of: 'two months that were dropped',
    sql: `drop table ${nextMonth}, ${thirdMonth}`,
    told: [
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing'],
      ['partition', String(thirdMonth), `from ${thirdStart}`, 'nothing'],
    ],
  },
  {
    of: 'a month that was detached',
    sql: `alter table crm_sync_log detach partition ${nextMonth}`,
    told: [['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing']],
  },
  {
    of: "a month that was dropped, in whose place there is somebody else's table",
    sql: `drop table ${nextMonth}; create table ${nextMonth} (like crm_sync_log); alter table ${nextMonth} owner to pg_monitor`,
    told: [
      ['table', String(nextMonth), null, 'table'],
      ['partition', String(nextMonth), `from ${nextStart} to ${thirdStart}`, 'nothing'],
    ],
    byHand: /look what is in it/,
  },
  {
    of: 'the first month, dropped',
    sql: `drop table ${thisMonth}`,
    told: [
      [
        'partition',
        `public.${monthName(1).replace('log_', 'log_before_')}`,
        `from the beginning to ${nextStart}`,
        'nothing',
      ],
    ],
  },
  {
    of: 'the last partition, dropped',
    sql: `drop table ${catchAll}`,
    told: [['partition', catchAll, 'to the end', 'nothing']],
  },
  {
    of: 'the last partition, detached',
    sql: `alter table crm_sync_log detach partition ${catchAll}`,
    told: [['partition', catchAll, 'to the end', 'nothing']],
  },
  {
    of: 'a month that is being detached',
    sql: `update pg_inherits set inhdetachpending = true where inhrelid = '${nextMonth}'::regclass`,
    told: [
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
    of: 'a month that crm-schema partitions drop is detaching',
    sql: `update pg_inherits set inhdetachpending = true where inhrelid = '${thisMonth}'::regclass;
      comment on table ${thisMonth} is 'x To be dropped: crm-schema partitions drop.'`,
    told: [['partition', String(thisMonth), `from the beginning to ${nextStart}`, 'interrupted']],
    byHand: /crm-schema partitions drop/,
  },
  {
    of: 'no partitions at all',
    sql: `drop table ${thisMonth}, ${nextMonth}, ${thirdMonth}, ${lastMonth}, ${catchAll}`,
    told: [['partition', catchAll, 'from the beginning to the end', 'nothing']],
  },
  {
    of: "somebody else's table that says of itself that it is to be dropped",
    sql: `create table crm_sync_log_2031_01 (id integer); alter table crm_sync_log_2031_01 owner to pg_monitor;
      comment on table crm_sync_log_2031_01 is 'x To be dropped: crm-schema partitions drop.'`,
    told: [['table', 'public.crm_sync_log_2031_01', null, 'table']],
    byHand: /look what is in it/,
  },
  {
    of: 'a default partition',
    sql: `create table theirs partition of crm_sync_log default; select crm_sync_log_finish_partition('theirs')`,
    told: [['partition', 'public.theirs', null, 'the default of the log']],
    byHand: /drop it/,
  },
  {
    of: 'a partition that nobody finished',
    sql: `drop table ${nextMonth}; create table elsewhere partition of crm_sync_log for values from ('${nextStart}') to ('${thirdStart}');
      grant select on elsewhere to public`,
    told: [
      ['trigger', `${truncate} on public.elsewhere`, 'BEFORE TRUNCATE ON public.elsewhere', null],
      ['row-level security', 'public.elsewhere', 'on', 'off'],
      ['privileges', 'public on table public.elsewhere', null, 'select'],
    ],
  },
  // Periods
  {
    of: 'a table that nothing says of how long it is kept',
    sql: "delete from crm_retention where subject = 'crm_sync_log'",
    told: [['period', 'crm_sync_log in public.crm_retention', 'set', null]],
    byHand: /insert into public\.crm_retention/,
  },
  // Migrations
  {
    of: 'a migration that was not applied, and nothing that follows from it',
    sql: "delete from pgmigrations where name ~ '^0011_'; drop table crm_retention; drop function crm_sync_log_ensure_past",
    told: [['migration', '0011_create_crm_retention', 'applied', null]],
    byHand: /Run the migrations/,
  },
  {
    of: 'a migration of a later version',
    sql: "insert into pgmigrations (name, run_on) values ('9998_add_x', now())",
    told: [['migration', '9998_add_x', null, 'applied']],
    byHand: /package that brought it/,
  },
];

test.each(damages)('notices $of', async ({ sql, told, byHand, refused }) => {
  if (refused !== undefined && inject('serverMajorVersion') >= refused.since) {
    await expect(rolledBack(pool, (client) => client.query(sql))).rejects.toMatchObject({
      code: refused.code,
    });
    return;
  }
  const found = await rolledBack(pool, async (client) => {
    await client.query(sql);
    const differences = await differencesIn(client);
    expect(differences).toMatchObject(
      told.map(([kind, name, wanted, is]) => ({
        kind,
        name,
        expected: wanted === null ? null : expect.stringContaining(wanted),
        found: is === null ? null : expect.stringContaining(is),
      })),
    );
    expect(differences.some(({ advice }) => byHand?.test(advice ?? ''))).toBe(byHand !== undefined);
    for (const { statements, advice } of differences)
      expect([statements.length > 0, advice !== null]).toContainEqual(true);
    if (byHand !== undefined || !differences.every(isTransactional)) return differences;
    // Each by itself, as they are copied.
    for (const statement of differences.flatMap(({ statements }) => statements))
      await client.query(statement);
    const left = await differencesIn(client);
    // Months ahead come once there is somewhere to cut them from.
    for (const statement of left.flatMap(({ statements }) => statements)) await client.query(statement);
    expect(left.filter(({ kind }) => kind !== 'partition')).toEqual([]);
    expect(await differencesIn(client)).toEqual([]);
    return [];
  });
  if (byHand !== undefined || found.length === 0) return;
  await withClient(url, async (client) => {
    await client.query(sql);
    for (const statement of found.flatMap(({ statements }) => statements)) await client.query(statement);
    expect(await differencesOf(client)).toEqual([]);
  });
});
