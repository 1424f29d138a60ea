import { inject, test } from 'vitest';
import { nameOf } from '../../src/verify/difference.js';
import { shippedItems } from '../../src/verify/expected-items.js';
import type { Item, ItemKind } from '../../src/verify/item.js';
import { useDatabase } from '../support/database.js';
import { monthName, monthStart } from '../support/log-partitions.js';
import { type Damage, expectRepaired, type Reported, title } from './damages.js';

const database = useDatabase();

const runs = 'public.crm_sync_runs';
const log = 'public.crm_sync_log';
const connections = 'public.crm_connections';
const retention = 'public.crm_retention';
const ids = 'public.contact_external_ids';
const view = 'public.contact_external_records';
const ensurePast = 'public.crm_sync_log_ensure_past(regclass)';
const [nextMonth = '', thirdMonth = ''] = [1, 2].map((ahead) => `public.${monthName(ahead)}`);
const [nextStart = '', thirdStart = '', fourthStart = ''] = [1, 2, 3].map(
  (ahead) => `${monthStart(ahead).slice(0, 10)} 00:00:00+00`,
);
const middle = `${nextStart.slice(0, 8)}15 00:00:00+00`;
const nextRange = `from ${nextStart} to ${thirdStart}`;
const isSince18 = inject('serverMajorVersion') >= 18;

/** As `reported` of a foreign key to crm_connections. */
const tablesOfConnections = [
  'contact_external_id_archive',
  ...[
    'outbound_changes',
    'record_requests',
    'sync_conflicts',
    'sync_cursors',
    'sync_failures',
    'sync_log',
    'sync_runs',
  ].map((name) => `crm_${name}`),
];

/** The tables with a foreign key to contacts. */
const tablesOfContacts = [
  'contact_external_id_aliases',
  'contact_external_id_archive',
  'contact_external_ids',
  'crm_outbound_changes',
];

/** As `reported` of the items that the role crm_reader has. */
const lostWithReader = (lost: ItemKind, isOfReader: (item: Item) => boolean) =>
  shippedItems()
    .filter((item) => item.kind === lost && isOfReader(item))
    .map(({ object, kind, name }): Reported => {
      const on = kind === 'policy' ? nameOf(object) : object;
      return [kind, `${name} on ${on}`, '', null];
    });

const damages: Damage[] = [
  // Sequences
  {
    damage: 'lets each session take fifty numbers ahead, so that versions no longer come in order',
    sql: 'alter sequence crm_outbound_changes_version_seq cache 50',
    reported: [['sequence', 'public.crm_outbound_changes_version_seq', 'cache 1 ', 'cache 50 ']],
  },
  {
    damage: 'counts a sequence in steps of two, up to a hundred',
    sql: 'alter sequence crm_sync_runs_id_seq increment 2 maxvalue 100',
    reported: [['sequence', `${runs}_id_seq`, 'increment 1 ', 'increment 2 minvalue 1 maxvalue 100 ']],
  },
  {
    damage: 'makes a sequence unlogged, which a crash resets',
    sql: 'alter sequence crm_sync_runs_id_seq set unlogged',
    reported: [['sequence', `${runs}_id_seq`, 'as bigint', 'unlogged, as bigint']],
  },
  // A single month
  {
    damage: 'gives one month a default of its own',
    sql: `alter table ${nextMonth} alter internal_id set default gen_random_uuid()`,
    reported: [['default', `${nextMonth}.internal_id`, null, 'gen_random_uuid()']],
  },
  {
    damage: 'takes a default from one month',
    sql: `alter table ${nextMonth} alter occurred_at drop default`,
    reported: [['default', `${nextMonth}.occurred_at`, 'now()', null]],
  },
  {
    damage: 'takes a default from the log alone, which its months keep',
    sql: 'alter table only crm_sync_log alter occurred_at drop default',
    reported: [['default', `${log}.occurred_at`, 'now()', null]],
  },
  {
    damage: 'has one month refuse events without a contact',
    sql: `alter table ${nextMonth} alter internal_id set not null`,
    reported: [['column', `${nextMonth}.internal_id`, 'null, as in the log', 'not null']],
  },
  {
    damage: 'makes one month unlogged',
    sql: `alter table ${nextMonth} set unlogged`,
    reported: [['table', nextMonth, 'table, a partition', 'unlogged table, a partition']],
  },
  {
    damage: 'keeps autovacuum from one month',
    sql: `alter table ${nextMonth} set (autovacuum_enabled = false)`,
    reported: [['table', nextMonth, 'a partition', 'a partition, with autovacuum_enabled=off']],
  },
  {
    damage: 'renames one month',
    sql: `alter table ${nextMonth} rename to "Log of last year"`,
    reported: [['partition', nextMonth, nextRange, 'named public."Log of last year"']],
  },
  {
    damage: 'swaps the names of two months',
    sql: `alter table ${nextMonth} rename to x; alter table ${thirdMonth} rename to ${monthName(1)}; alter table x rename to ${monthName(2)}`,
    reported: [
      ['partition', nextMonth, nextRange, `named ${thirdMonth}`],
      ['partition', thirdMonth, `from ${thirdStart} to ${fourthStart}`, `named ${nextMonth}`],
    ],
  },
  {
    damage: 'moves one month to another schema, under the name of another',
    sql: `create schema elsewhere; alter table ${nextMonth} set schema elsewhere; alter table elsewhere.${monthName(1)} rename to ${monthName(2)}`,
    reported: [['partition', nextMonth, nextRange, `named elsewhere.${monthName(2)}`]],
  },
  {
    damage: 'gives the name of a month to another table',
    sql: `alter table ${nextMonth} rename to renamed; create table ${nextMonth} (id integer)`,
    reported: [
      ['table', nextMonth, null, 'table'],
      ['partition', nextMonth, nextRange, 'named public.renamed'],
    ],
    byHand: /rename public\.crm_sync_log_\d{4}_\d\d, then run verify again/,
    person: `alter table ${nextMonth} rename to theirs`,
  },
  {
    damage: 'gives a partition half of its month',
    sql: `alter table crm_sync_log detach partition ${nextMonth};
      alter table crm_sync_log attach partition ${nextMonth} for values from ('${middle}') to ('${thirdStart}')`,
    reported: [['partition', nextMonth, `from ${nextStart} to ${middle}`, 'nothing']],
  },
  {
    damage: 'gives a partition two months',
    sql: `drop table ${nextMonth}, ${thirdMonth};
      create table ${nextMonth} partition of crm_sync_log for values from ('${nextStart}') to ('${fourthStart}');
      select crm_sync_log_finish_partition('${nextMonth}')`,
    reported: [['partition', nextMonth, nextRange, `from ${nextStart} to ${fourthStart}`]],
    byHand: /^Detach it and rename it/,
    person: `alter table crm_sync_log detach partition ${nextMonth}; alter table ${nextMonth} rename to theirs`,
  },
  // Tables
  {
    damage: 'keeps autovacuum from a table',
    sql: 'alter table crm_sync_runs set (autovacuum_enabled = off)',
    reported: [['table', runs, 'table', 'table, with autovacuum_enabled=off']],
  },
  {
    damage: 'keeps autovacuum from the long values of a table',
    sql: 'alter table crm_connections set (toast.autovacuum_enabled = 0)',
    reported: [['table', connections, 'table', 'table, with toast.autovacuum_enabled=off']],
  },
  {
    damage: 'takes the replica identity from a table',
    sql: 'alter table crm_sync_runs replica identity nothing',
    reported: [['table', runs, 'table', 'table, without replica identity']],
  },
  {
    damage: 'drops the index that was chosen as the replica identity',
    sql: `create unique index theirs on crm_retention (subject);
      alter table crm_retention replica identity using index theirs; drop index theirs`,
    reported: [['table', retention, 'table', 'table, without replica identity']],
  },
  {
    damage: 'makes tables unlogged that reference each other',
    sql: 'alter table crm_erased_records set unlogged; alter table crm_erasures set unlogged',
    reported: [
      ['table', 'public.crm_erasures', 'table', 'unlogged table'],
      ['table', 'public.crm_erased_records', 'table', 'unlogged table'],
      ['sequence', 'public.crm_erasures_id_seq', 'as bigint', 'unlogged, as bigint'],
    ],
  },
  {
    damage: "makes a table a partition of somebody else's",
    sql: `create table theirs (subject text not null, keep_days integer not null) partition by list (subject);
      alter table theirs attach partition crm_retention default`,
    reported: [['table', retention, 'table', 'table, a partition of public.theirs']],
  },
  {
    damage: 'moves a table to another schema',
    sql: 'create schema elsewhere; alter table crm_retention set schema elsewhere',
    reported: [['table', retention, 'table', 'perhaps named elsewhere.crm_retention']],
  },
  {
    damage: 'renames a table',
    sql: 'alter table crm_sync_runs rename to crm_old_runs',
    reported: [['table', runs, 'table', 'perhaps named public.crm_old_runs']],
  },
  {
    damage: 'drops a table that others reference, on which nothing can be repaired before it is back',
    sql: 'drop table crm_connections cascade',
    reported: [
      ['function', 'public.crm_check_caller_organisation(uuid, regclass)', 'FUNCTION', null],
      ['function', 'public.crm_check_organisation(uuid, regclass)', 'FUNCTION', null],
      ['function', 'public.crm_require_all_rows(regclass)', 'FUNCTION', null],
      ['table', connections, 'table', null],
      ...tablesOfConnections.map(
        (table): Reported => [
          'constraint',
          `${table}_connection_id_fkey on public.${table}`,
          'FOREIGN KEY',
          null,
        ],
      ),
    ],
    byHand: /^Repair table public\.crm_connections first, then run verify again\.$/,
  },
  // Columns
  {
    damage: 'changes the type of a column, from which its CHECK follows',
    sql: 'alter table crm_sync_runs alter column worker type varchar(200)',
    reported: [
      ['column', `${runs}.worker`, 'text not null', 'character varying(200) not null'],
      ['constraint', `crm_sync_runs_worker_check on ${runs}`, 'btrim(worker,', 'btrim(worker::text,'],
    ],
    byHand: /^Repair column public\.crm_sync_runs\.worker first, then run verify again\.$/,
    person: 'alter table crm_sync_runs alter column worker type text',
  },
  {
    damage: 'renames a column that must not be null',
    sql: 'alter table contact_external_ids rename external_id to their_id',
    reported: [
      ['column', `${ids}.external_id`, 'text', 'perhaps named their_id'],
      ['constraint', `contact_external_ids_external_id_check on ${ids}`, '(external_id', '(their_id'],
      ['constraint', `contact_external_ids_pkey on ${ids}`, 'external_id)', 'their_id)'],
      ['trigger', `contact_external_ids_guard on ${ids}`, 'external_id', 'their_id'],
      ['view', view, 'contact_external_ids.external_id', 'contact_external_ids.their_id'],
    ],
    byHand: /^If their_id has its data/,
    person: 'select',
  },
  {
    damage: 'renames a column that may be null, which is not added a second time',
    sql: 'alter table crm_sync_runs rename outcome to result',
    reported: [
      ['column', `${runs}.outcome`, 'text', 'perhaps named result'],
      ...['ended_iff_outcome', 'failed_iff_error', 'outcome'].map(
        (name): Reported => ['constraint', `crm_sync_runs_${name}_check on ${runs}`, 'outcome', 'result'],
      ),
      ['index', `${runs}_expires_at_idx on ${runs}`, 'outcome', 'result'],
      ['privileges', `crm_app on table ${runs}`, 'update (outcome)', null],
      ['privileges', `crm_app on table ${runs}`, null, 'update (result)'],
    ],
    byHand: /^If result has its data/,
    person: 'select',
  },
  {
    damage: 'drops a column, on which nothing can be granted before it is back',
    sql: 'alter table crm_connections drop column provider cascade',
    reported: [
      ['column', `${connections}.provider`, 'text not null', null],
      ['constraint', `crm_connections_credentials_bound_to_row_check on ${connections}`, 'provider', null],
      ['constraint', `crm_connections_provider_check on ${connections}`, 'provider', null],
      ['index', `${connections}_account_idx on ${connections}`, 'provider', null],
      ['index', `${connections}_organisation_id_provider_live_key on ${connections}`, 'provider', null],
      ['privileges', `crm_app on table ${connections}`, 'select (provider)', null],
      ['privileges', `crm_reader on table ${connections}`, 'select (provider)', null],
    ],
    byHand: /^Repair column public\.crm_connections\.provider first, then run verify again\.$/,
  },
  {
    damage: 'renames the column of a host table that foreign keys reference',
    sql: 'alter table contacts rename id to contact_id',
    reported: [
      ['host index', 'contacts (organisation_id, id)', 'unique', null],
      ...tablesOfContacts.map(
        (table): Reported => [
          'constraint',
          `${table}_contact_id_fkey on public.${table}`,
          'contacts(organisation_id, id)',
          'contacts(organisation_id, contact_id)',
        ],
      ),
    ],
    byHand: /^Repair column public\.contacts\.id first, then run verify again\.$/,
    person: 'alter table contacts rename contact_id to id',
  },
  {
    damage: 'drops a host table that foreign keys reference',
    sql: 'drop table contacts cascade',
    reported: [
      ['host index', 'contacts (organisation_id, id)', 'unique', null],
      ...tablesOfContacts.map(
        (table): Reported => ['constraint', `${table}_contact_id_fkey on public.${table}`, 'contacts', null],
      ),
    ],
    byHand: /^Repair table public\.contacts first, then run verify again\.$/,
  },
  // Constraints, indexes, triggers, functions and views
  {
    damage: 'makes the primary key of the log again without that of its months',
    sql: `alter table crm_sync_log drop constraint crm_sync_log_pkey;
      alter table only crm_sync_log add constraint crm_sync_log_pkey primary key (organisation_id, connection_id, occurred_at, id)`,
    reported: [
      ['constraint', `crm_sync_log_pkey on ${log}`, 'PRIMARY KEY', `(invalid: ${log}_pkey)`],
      ['comment', `constraint crm_sync_log_pkey on ${log}`, 'Tenant first', null],
    ],
  },
  {
    damage: 'defers a foreign key',
    sql: 'alter table crm_sync_runs alter constraint crm_sync_runs_connection_id_fkey deferrable initially deferred',
    reported: [
      [
        'constraint',
        `crm_sync_runs_connection_id_fkey on ${runs}`,
        'ON DELETE RESTRICT',
        'DEFERRABLE INITIALLY DEFERRED',
      ],
    ],
  },
  ...(isSince18
    ? [
        {
          damage: 'no longer enforces a foreign key',
          sql: 'alter table crm_sync_runs alter constraint crm_sync_runs_connection_id_fkey not enforced',
          reported: [
            [
              'constraint',
              `crm_sync_runs_connection_id_fkey on ${runs}`,
              'RESTRICT',
              'RESTRICT NOT ENFORCED',
            ],
          ] as Reported[],
        },
      ]
    : []),
  {
    damage: 'disables the triggers on both sides of a foreign key',
    sql: 'alter table crm_erased_records disable trigger all; alter table crm_erasures disable trigger all',
    reported: [
      [
        'constraint',
        'crm_erased_records_erasure_id_fkey on public.crm_erased_records',
        'FOREIGN KEY',
        'triggers of public.crm_erased_records, public.crm_erasures are disabled',
      ],
    ],
  },
  {
    damage: 'swaps the names of two indexes',
    sql: `alter index crm_sync_runs_expires_at_idx rename to x;
      alter index crm_sync_log_internal_id_idx rename to crm_sync_runs_expires_at_idx;
      alter index x rename to crm_sync_log_internal_id_idx`,
    reported: [
      ['index', `${log}_internal_id_idx on ${log}`, 'btree', `named ${runs}_expires_at_idx`],
      ['index', `${runs}_expires_at_idx on ${runs}`, 'btree', `named ${log}_internal_id_idx`],
    ],
  },
  {
    damage: 'replaces a trigger by a constraint trigger',
    sql: `drop trigger contact_external_ids_guard on contact_external_ids;
      create constraint trigger contact_external_ids_guard after insert on contact_external_ids
        deferrable for each row execute function crm_guard_primary_external_id()`,
    reported: [
      ['trigger', `contact_external_ids_guard on ${ids}`, 'BEFORE INSERT', 'DEFERRABLE INITIALLY IMMEDIATE'],
      ['comment', `trigger contact_external_ids_guard on ${ids}`, 'Keeps an alias', null],
    ],
  },
  {
    damage: 'replaces a function by a procedure',
    sql: "drop function crm_sync_log_ensure_past; create procedure crm_sync_log_ensure_past(log_table regclass) language sql as 'select 1'",
    reported: [
      ['function', ensurePast, 'FUNCTION', 'PROCEDURE'],
      ['privileges', `public on function ${ensurePast}`, null, 'execute'],
      ['comment', `function ${ensurePast}`, 'Creates a partition', null],
    ],
    byHand: /If something depends on it, drop that first/,
    person: 'select',
  },
  {
    damage: 'changes a function and gives it to another owner, who comes first',
    sql: 'alter function crm_now() volatile; alter function crm_now() owner to pg_monitor',
    reported: [
      ['owner', 'function public.crm_now()', 'the owner of the tables', 'pg_monitor'],
      ['function', 'public.crm_now()', 'STABLE', 'PARALLEL SAFE'],
    ],
  },
  {
    damage: 'moves a function to another schema, with the default that calls it',
    sql: 'create schema elsewhere; alter function crm_now() set schema elsewhere',
    reported: [
      ['function', 'public.crm_now()', 'CREATE OR REPLACE FUNCTION', null],
      ['default', `${connections}.next_sync_at`, 'public.crm_now()', 'elsewhere.crm_now()'],
    ],
  },
  {
    damage: 'renames a column of a view',
    sql: 'alter view contact_external_records rename column provider to crm',
    reported: [['view', view, 'provider text', 'crm text']],
    byHand: /If something depends on it, drop that first/,
    person: 'select',
  },
  // Roles, rights and settings
  {
    damage: 'makes a role a member of another in two ways',
    sql: 'create role crm_test_one in role crm_worker; create role crm_test_two in role crm_worker; grant crm_test_one, crm_test_two to crm_app',
    reported: [['membership', 'crm_app in crm_worker', null, 'through crm_test_one; through crm_test_two']],
  },
  {
    damage: 'makes a role a member of another, who has made others members',
    sql: `create role crm_test_other; grant crm_worker to crm_app with admin option;
      set role crm_app; grant crm_worker to crm_test_other; reset role`,
    reported: [['membership', 'crm_app in crm_worker', null, 'through crm_worker']],
  },
  {
    damage: 'lets a role create in the schema by grants of two others',
    sql: `create role crm_test_grantor; grant create on schema public to crm_test_grantor with grant option;
      grant create on schema public to crm_worker;
      set role crm_test_grantor; grant create on schema public to crm_worker; reset role`,
    reported: [
      [
        'schema creation',
        'crm_worker on schema public',
        null,
        'granted; granted, granted by crm_test_grantor',
      ],
    ],
  },
  {
    damage: 'lets a role disable triggers by a grant of another',
    sql: `create role crm_test_grantor; grant set on parameter session_replication_role to crm_test_grantor with grant option;
      set role crm_test_grantor; grant set on parameter session_replication_role to crm_app; reset role`,
    reported: [
      ['parameter', 'session_replication_role for crm_app', null, 'set, granted by crm_test_grantor'],
    ],
  },
  {
    damage: "drops one of the three roles' privileges and policies",
    sql: 'drop owned by crm_reader',
    reported: [
      ...lostWithReader('policy', ({ definition }) => definition.sql.includes(' to crm_reader')),
      ...lostWithReader('privileges', ({ name }) => name === 'crm_reader'),
    ],
  },
  {
    damage: 'has statements of a role fail where a policy would limit them',
    sql: 'alter role crm_app set row_security = off',
    reported: [['setting', 'row_security of role crm_app', null, 'off']],
  },
  {
    damage: 'gives the next tables of the schema to another role',
    sql: 'create role crm_test_x; alter default privileges in schema public grant select, insert on tables to crm_test_x',
    reported: [
      ['default privileges', 'crm_test_x on future tables in schema public', null, 'insert, select'],
    ],
  },
  {
    damage:
      "lets another role run the owner's next functions, and drops one, which is not created with that right",
    sql: `create role crm_test_x; alter default privileges grant execute on functions to crm_test_x;
      drop function crm_sync_log_ensure_past`,
    reported: [
      ['default privileges', 'crm_test_x on future functions in every schema', null, 'execute'],
      ['function', ensurePast, 'FUNCTION', null],
    ],
  },
  {
    damage: 'shares a materialized view with a role that shares it on',
    sql: `create role crm_test_x; create materialized view leak as select id from crm_connections;
      grant select on leak to crm_test_x with grant option;
      set role crm_test_x; grant select on leak to crm_app; reset role`,
    reported: [['leak', 'materialized view public.leak', null, 'crm_app, crm_test_x may read it']],
  },
  // Rows
  {
    damage: 'sets a retention period that nothing has',
    sql: "alter table crm_retention drop constraint crm_retention_subject_check; insert into crm_retention values ('x', 400)",
    reported: [
      ['constraint', `crm_retention_subject_check on ${retention}`, 'CHECK', null],
      ['period', `x in ${retention}`, null, 'set'],
    ],
    byHand: /delete the row/,
    person: "delete from crm_retention where subject = 'x'",
  },
  {
    damage: 'moves the table of the migrations to another schema',
    sql: 'create schema elsewhere; alter table pgmigrations set schema elsewhere',
    reported: [
      [
        'table',
        'public.crm_schema_migrations',
        'the applied migrations',
        'elsewhere.pgmigrations, in another schema',
      ],
    ],
  },
  {
    damage: 'gives the table of the migrations to another owner',
    sql: 'alter table pgmigrations owner to pg_monitor',
    reported: [['table', 'public.crm_schema_migrations', 'the applied migrations', 'nothing that ']],
  },
  {
    damage: 'empties the table of the migrations',
    sql: 'create temporary table kept as select name, run_on from pgmigrations; truncate pgmigrations',
    reported: [['table', 'public.pgmigrations', 'the applied migrations', 'none of the applied migrations']],
    byHand: /Repair the migrations table, in docs\/operations\/migrate\.md/,
    person: 'insert into pgmigrations (name, run_on) select name, run_on from kept',
  },
  {
    damage: 'drops the table of the migrations',
    sql: 'create temporary table kept as select name, run_on from pgmigrations; drop table pgmigrations',
    reported: [['table', 'public.crm_schema_migrations', 'the applied migrations', null]],
    byHand: /Repair the migrations table, in docs\/operations\/migrate\.md/,
    person: `create table crm_schema_migrations (id serial primary key, name varchar(255) not null, run_on timestamp not null);
      insert into crm_schema_migrations (name, run_on) select name, run_on from kept`,
  },
  // Last: it leaves another index behind.
  {
    damage: 'gives the name of the index on contacts to another index',
    sql: `drop index contacts_organisation_id_id_key cascade;
      create index contacts_organisation_id_id_key on contacts (organisation_id, id)`,
    reported: [
      ['host index', 'contacts (organisation_id, id)', 'unique', null],
      ...tablesOfContacts.map(
        (table): Reported => [
          'constraint',
          `${table}_contact_id_fkey on public.${table}`,
          'FOREIGN KEY',
          null,
        ],
      ),
    ],
  },
];

test.each(damages.map((each) => [title(each), each] as const))('%s', (_, damage) =>
  expectRepaired(database, damage),
);
