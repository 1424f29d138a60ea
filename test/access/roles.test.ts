import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { organisationSet, withNamedStatements } from '../../src/index.js';
import { createSamples, type QueryName, queries, queryNames, type Samples } from '../queries/every-query.js';
import { createTenant, useDatabase } from '../support/database.js';
import { type GroupRole, useMember } from '../support/roles.js';
import { denied, readOnly } from './permissions.js';

const database = useDatabase();
const { pool } = database;
const members = {
  crm_app: useMember(database, 'crm_app'),
  crm_worker: useMember(database, 'crm_worker'),
  crm_reader: useMember(database, 'crm_reader'),
};
const nobody = useMember(database);

/** The privileges of each role on each table; nobody else has any. */
const privileges: Record<string, Record<GroupRole, string>> = {
  crm_connections: { crm_app: 'insert', crm_worker: 'select', crm_reader: '' },
  crm_sync_log: { crm_app: 'insert select', crm_worker: 'insert select', crm_reader: 'select' },
  crm_sync_runs: {
    // And update on some columns.
    crm_app: 'select',
    crm_worker: 'delete insert select update',
    crm_reader: 'select',
  },
  crm_sync_cursors: fullAccess(),
  crm_sync_failures: fullAccess(),
  crm_outbound_changes: fullAccess(),
  // Shared by organisations, so the application neither reads nor writes it.
  crm_rate_limits: { ...fullAccess(), crm_app: '' },
  crm_record_requests: fullAccess(),
  crm_sync_conflicts: fullAccess(),
  contact_external_ids: fullAccess(),
  contact_external_id_aliases: fullAccess(),
  contact_external_id_archive: fullAccess(),
  // And insert on most columns, update on undone_by.
  contact_external_id_changes: {
    crm_app: 'select',
    crm_worker: 'select',
    crm_reader: 'select',
  },
};

function fullAccess(): Record<GroupRole, string> {
  return {
    crm_app: 'delete insert select update',
    crm_worker: 'delete insert select update',
    crm_reader: 'select',
  };
}

/** The tables whose rows belong to an organisation. */
const tenantTables = Object.keys(privileges).filter((table) => table !== 'crm_rate_limits');

/** The columns of crm_connections that only the worker may read. */
const secretColumns = ['credentials', 'credentials_key_id'];
/** The columns of crm_connections that never change. */
const fixedColumns = ['connected_at', 'credentials_key_id', 'id', 'organisation_id', 'provider'];

/** The queries across all organisations, of which the application sees less than the owner. */
const overAllTenants: QueryName[] = [
  'connectionListTotals',
  'connectionTotalWork',
  'outboundChangeAnnounce',
  'syncRunCheckHousekeeping',
  'syncRunSweep',
];

/** When the samples were made, or a little later, so that what is due stays the same. */
let now: string;

const insufficientPrivilege = { code: '42501' };

/** Runs `work` as a role, in a transaction that is rolled back. Every call has the same time. */
async function rolledBack<Result>(
  memberPool: pg.Pool,
  organisationId: string | null,
  work: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await memberPool.connect();
  try {
    await client.query('begin');
    await client.query("select set_config('crm_schema.now', $1, true)", [now]);
    if (organisationId !== null) await organisationSet(client, { organisationId });
    return await work(client);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

describe('privileges', () => {
  test('on every table are exactly those listed, for these three roles only', async () => {
    const { rows } = await pool.query(`
      select
        relname,
        case grantee when 0 then 'public' else grantee::regrole::text end as grantee,
        string_agg(lower(privilege_type), ' ' order by lower(privilege_type)) as privileges
      from pg_class
      cross join aclexplode(relacl)
      where relnamespace = 'public'::regnamespace
        and relkind in ('r', 'p')
        and relname ~ '^(crm_|contact_external_id)'
        and relname not in ('crm_retention', 'crm_schema_migrations')
        and grantee <> relowner
      group by relname, grantee`);
    const found = new Set(rows.map((row) => `${row.relname} ${row.grantee}: ${row.privileges}`));
    const wanted = Object.entries(privileges).flatMap(([table, roles]) =>
      Object.entries(roles)
        .filter(([, some]) => some !== '')
        .map(([role, some]) => `${table} ${role}: ${some}`),
    );
    expect([...found].sort()).toEqual(wanted.sort());
  });

  test('on crm_connections are by column: select on all but the secret ones, update on all but the fixed ones', async () => {
    const { rows } = await pool.query(`
      select
        grantee::regrole::text as role,
        lower(privilege_type) as privilege,
        array_agg(attname::text order by attname) as columns
      from pg_attribute
      cross join aclexplode(attacl)
      where attrelid = 'crm_connections'::regclass
      group by grantee, privilege_type
      order by 1, 2`);
    const { rows: all } = await pool.query(
      "select attname::text as name from pg_attribute where attrelid = 'crm_connections'::regclass and attnum > 0 and not attisdropped order by attname",
    );
    const allExcept = (columns: string[]) =>
      all.map(({ name }) => name as string).filter((name) => !columns.includes(name));
    expect(rows).toEqual([
      { role: 'crm_app', privilege: 'select', columns: allExcept(secretColumns) },
      { role: 'crm_app', privilege: 'update', columns: allExcept(fixedColumns) },
      { role: 'crm_reader', privilege: 'select', columns: allExcept(secretColumns) },
      { role: 'crm_worker', privilege: 'update', columns: allExcept(fixedColumns) },
    ]);
  });

  test('on crm_sync_runs let the application update the columns of a run’s progress only', async () => {
    const { rows } = await pool.query(`
      select grantee::regrole::text as role, lower(privilege_type) as privilege, array_agg(attname::text order by attname) as columns
      from pg_attribute
      cross join aclexplode(attacl)
      where attrelid = 'crm_sync_runs'::regclass
      group by grantee, privilege_type`);
    expect(rows).toEqual([
      {
        role: 'crm_app',
        privilege: 'update',
        columns: [
          'batch_number',
          'ended_at',
          'error',
          'error_count',
          'expires_at',
          'heartbeat_at',
          'outcome',
          'skipped_count',
          'success_count',
        ],
      },
    ]);
  });

  test.each(Object.keys(privileges))('a user without a role may neither read nor write %s', async (table) => {
    for (const statement of [
      `select from ${table}`,
      `insert into ${table} default values`,
      `delete from ${table}`,
      `truncate ${table}`,
    ])
      await expect(nobody.query(statement)).rejects.toMatchObject(insufficientPrivilege);
  });

  test.each(['crm_app', 'crm_worker', 'crm_reader'] as const)(
    '%s may not truncate or alter a table, update or delete the log, or access a partition',
    async (role) => {
      const { rows } = await pool.query(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'crm_sync_log'::regclass",
      );
      const partitions = rows.map(({ name }) => name as string);
      expect(partitions.length).toBeGreaterThan(2);
      const statements = [
        ...Object.keys(privileges).flatMap((table) => [
          `truncate ${table} cascade`,
          `alter table ${table} disable row level security`,
          `drop table ${table}`,
        ]),
        'update crm_sync_log set status = status',
        'delete from crm_sync_log',
        'delete from crm_connections',
        'select crm_sync_log_ensure_partitions()',
        `select crm_sync_log_finish_partition('${partitions[0]}')`,
        'create table public.mine ()',
        ...partitions.flatMap((partition) => [
          `select from ${partition}`,
          `insert into ${partition} default values`,
          `delete from ${partition}`,
          `truncate ${partition}`,
        ]),
      ];
      for (const statement of statements)
        await expect(members[role].query(statement), statement).rejects.toMatchObject(insufficientPrivilege);
    },
  );

  test.each(['crm_app', 'crm_reader'] as const)('%s may not read credentials in any way', async (role) => {
    for (const statement of [
      'select credentials from crm_connections',
      'select credentials_key_id from crm_connections',
      'select crm_connections from crm_connections',
      'select to_jsonb(crm_connections) from crm_connections',
      "select id from crm_connections where credentials ->> 'tag' > 'a'",
      'update crm_connections set status_reason = credentials::text',
      'update crm_connections set status = status returning credentials',
    ])
      await expect(members[role].query(statement), statement).rejects.toMatchObject(insufficientPrivilege);
  });
});

describe.each(['crm_app', 'crm_worker', 'crm_reader'] as const)('%s', (role) => {
  let samples: Samples;
  let organisationId: string;
  beforeAll(async () => {
    samples = await createSamples(pool);
    now = new Date().toISOString();
    ({ organisationId } = samples.connectionGetLive[0] as { organisationId: string });
  });

  const tenant = () => (role === 'crm_app' ? organisationId : null);

  test.each(queryNames.filter((name) => !denied[role].includes(name)))(
    'runs %s with the owner’s result',
    async (name) => {
      for (const params of samples[name]) {
        const found = await rolledBack(members[role], tenant(), (client) =>
          queries[name].run({ ...params }, client),
        );
        if (role === 'crm_app' && overAllTenants.includes(name)) continue;
        const owners = await rolledBack(pool, null, (client) => queries[name].run({ ...params }, client));
        expect(found.length).toBe(owners.length);
        expect(found.map((row) => Object.keys(row as object))).toEqual(
          owners.map((row) => Object.keys(row as object)),
        );
        if (readOnly.includes(name)) expect(found).toEqual(owners);
      }
    },
  );

  test.each(denied[role])('may not run %s', async (name) => {
    await expect(
      rolledBack(members[role], tenant(), (client) => queries[name].run({ ...samples[name][0] }, client)),
    ).rejects.toMatchObject({ code: 'not_permitted', cause: insufficientPrivilege });
  });
});

describe('row-level security', () => {
  /** Counts the rows of an organisation in each table. */
  const counts = tenantTables.map(
    (table) =>
      `select '${table}' as name, count(*)::integer as rows from ${table} where organisation_id = $1`,
  );
  async function visible(client: pg.ClientBase, organisationId: string): Promise<Record<string, number>> {
    const { rows } = await client.query(counts.join(' union all '), [organisationId]);
    return Object.fromEntries(rows.map(({ name, rows: count }) => [name, count]));
  }
  /** A column of each table that the application may change. */
  const changeable: Record<string, string> = {
    crm_connections: 'status_reason',
    crm_sync_runs: 'heartbeat_at',
    crm_sync_cursors: 'moved_at',
    crm_sync_failures: 'attempts',
    crm_outbound_changes: 'attempts',
    crm_record_requests: 'attempts',
    crm_sync_conflicts: 'occurrences',
    contact_external_ids: 'contact_id',
    contact_external_id_aliases: 'contact_id',
    contact_external_id_archive: 'contact_id',
    contact_external_id_changes: 'undone_by',
  };
  const none = Object.fromEntries(tenantTables.map((table) => [table, 0]));
  let organisationId: string;
  let all: Record<string, number>;
  beforeAll(async () => {
    const samples = await createSamples(pool);
    ({ organisationId } = samples.connectionGetLive[0] as { organisationId: string });
    all = await rolledBack(pool, null, (client) => visible(client, organisationId));
    for (const [table, count] of Object.entries(all)) expect(count, table).toBeGreaterThan(0);
  });

  test('shows the application only the rows of its own organisation', async () => {
    const other = (await createTenant(pool)).organisationId;
    const seen = (tenant: string | null) =>
      rolledBack(members.crm_app, tenant, (client) => visible(client, organisationId));
    expect(await seen(organisationId)).toEqual(all);
    expect(await seen(other)).toEqual(none);
  });

  test.each(tenantTables)(
    'fails on %s if the application has set no organisation, instead of returning no rows',
    async (table) => {
      const statements = ['table only', 'table with its organisation', 'change'].map((what) =>
        what === 'change' && table !== 'crm_sync_log'
          ? `update ${table} set ${changeable[table]} = ${changeable[table]}`
          : `select from ${table} ${what === 'table only' ? '' : `where organisation_id = '${organisationId}'`}`,
      );
      for (const statement of statements)
        await expect(
          rolledBack(members.crm_app, null, (client) => client.query(statement)),
          statement,
        ).rejects.toMatchObject({ code: 'CRM05', hint: expect.stringContaining('crm_set_organisation') });
    },
  );

  test('shows the rate limits to the worker and the reader only, whichever organisation is set', async () => {
    const read = 'select scope from crm_rate_limits';
    const seen = (role: GroupRole) =>
      rolledBack(members[role], role === 'crm_app' ? organisationId : null, (client) => client.query(read));
    expect((await seen('crm_worker')).rowCount).toBeGreaterThan(0);
    expect((await seen('crm_reader')).rowCount).toBeGreaterThan(0);
    await expect(seen('crm_app')).rejects.toMatchObject(insufficientPrivilege);
  });

  // Else the order of the history could be forged, or the ids used up that the database would give.
  test.each(['id', 'changed_at', 'undone_by'])('lets nobody choose %s of a change of ids', async (column) => {
    for (const role of ['crm_app', 'crm_worker'] as const) {
      const inserted = rolledBack(members[role], organisationId, (client) =>
        client.query(
          `insert into contact_external_id_changes (organisation_id, kind, ${column}) overriding system value
           select $1, 'unlinked', ${column} from contact_external_id_changes limit 1`,
          [organisationId],
        ),
      );
      await expect(inserted).rejects.toMatchObject(insufficientPrivilege);
    }
  });

  test.each(['crm_worker', 'crm_reader'] as const)('shows %s every organisation', async (role) => {
    expect(await rolledBack(members[role], null, (client) => visible(client, organisationId))).toEqual(all);
  });

  test('also applies to a user with every privilege but no role', async () => {
    const legacy = legacyRole();
    await rolledBack(pool, null, async (client) => {
      await client.query(`create role ${legacy}; grant all on all tables in schema public to ${legacy}`);
      await client.query(`set local role ${legacy}`);
      expect(await visible(client, organisationId)).toEqual(none);
      await expect(
        client.query(
          "insert into contact_external_ids values ($1, 'loop', 'contact', 'x', gen_random_uuid())",
          [organisationId],
        ),
      ).rejects.toMatchObject({ code: 'CRM05', hint: `Run: grant crm_app to ${legacy};` });
    });
  });
  const legacyRole = () => `crm_test_legacy_${process.pid}`;

  /** Parameters with which these queries have nothing to do. */
  const nothingToDo = {
    outboundChangeRecord: () => ({ contactIds: [] as string[], fromConnectionId: null }),
    outboundChangeListWaiting: () => ({ contactIds: [] as string[], connectionId: organisationId }),
    connectionRequestSync: () => ({ connectionIds: [] as string[], isUrgent: false }),
  };
  test.each(Object.keys(nothingToDo) as (keyof typeof nothingToDo)[])(
    'makes %s fail for an organisation other than the one set, instead of returning no rows',
    async (name) => {
      const call = (pool: pg.Pool, tenant: string | null, mode = 'auto') =>
        rolledBack(pool, tenant, async (client) => {
          await client.query(`set local plan_cache_mode = ${mode}`);
          return queries[name].run({ organisationId, ...nothingToDo[name]() }, withNamedStatements(client));
        });
      const other = (await createTenant(pool)).organisationId;
      for (const tenant of [null, other])
        for (const mode of ['auto', 'force_generic_plan'])
          await expect(call(members.crm_app, tenant, mode)).rejects.toMatchObject({
            code: 'organisation_not_set',
          });
      expect(await call(members.crm_app, organisationId)).toEqual([]);
      for (const tenant of [null, other]) {
        if (name === 'outboundChangeListWaiting') await call(members.crm_reader, tenant);
        await call(members.crm_worker, tenant);
        await call(pool, tenant);
      }
    },
  );

  test('limits the changes of a member of both crm_app and crm_reader, who sees all organisations', async () => {
    const other = (await createTenant(pool)).organisationId;
    await rolledBack(pool, null, async (client) => {
      const both = `crm_test_both_${process.pid}`;
      await client.query(`create role ${both} in role crm_app, crm_reader; set local role ${both}`);
      await organisationSet(client, { organisationId: other });
      const call = { organisationId, ...nothingToDo.connectionRequestSync() };
      await expect(queries.connectionRequestSync.run(call, client)).rejects.toMatchObject({
        code: 'organisation_not_set',
      });
    });
  });

  test('tells a user with every privilege but no role which role to be granted', async () => {
    const legacy = legacyRole();
    await rolledBack(pool, null, async (client) => {
      await client.query(`create role ${legacy}; grant all on all tables in schema public to ${legacy}`);
      await client.query(`set local role ${legacy}`);
      await expect(client.query('select crm_check_organisation($1)', [organisationId])).rejects.toMatchObject(
        {
          code: 'CRM05',
          hint: `Run: grant crm_app to ${legacy};`,
        },
      );
    });
  });

  test('lets a member of crm_app and crm_worker connect a CRM only for the organisation set', async () => {
    const other = (await createTenant(pool)).organisationId;
    const insert = `insert into crm_connections (organisation_id, id, provider, credentials)
      select $1::uuid, id, provider, credentials from crm_connections limit 1`;
    await rolledBack(pool, null, async (client) => {
      const both = `crm_test_both_${process.pid}`;
      await client.query(`create role ${both} in role crm_app, crm_worker; set local role ${both}`);
      await organisationSet(client, { organisationId });
      await expect(client.query(insert, [other])).rejects.toMatchObject({
        ...insufficientPrivilege,
        message: expect.stringContaining('row-level security'),
      });
    });
  });

  test('refuses to let the application write rows of another organisation, or move rows to it', async () => {
    const other = (await createTenant(pool, 1)) as { organisationId: string; contactIds: string[] };
    const statements = [
      `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
       values ('${other.organisationId}', 'loop', 'contact', 'x', '${other.contactIds[0]}')`,
      `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status)
       values ('${other.organisationId}', gen_random_uuid(), 'inbound', 'contact', 'success')`,
      `update contact_external_ids set organisation_id = '${other.organisationId}'`,
      `update contact_external_id_archive set organisation_id = '${other.organisationId}'`,
      `update crm_sync_cursors set organisation_id = '${other.organisationId}'`,
      `update crm_sync_failures set organisation_id = '${other.organisationId}'`,
      `update crm_outbound_changes set organisation_id = '${other.organisationId}'`,
    ];
    const byPolicy = { ...insufficientPrivilege, message: expect.stringContaining('row-level security') };
    for (const statement of statements) {
      // The guards of ids check the organisation before the policy does.
      const isGuarded = /contact_external_ids/.test(statement);
      await expect(
        rolledBack(members.crm_app, organisationId, (client) => client.query(statement)),
        statement,
      ).rejects.toMatchObject(isGuarded ? { code: 'CRM05' } : byPolicy);
    }
  });

  test('leaves other organisations’ rows unchanged, even if a statement names no organisation', async () => {
    const other = (await createTenant(pool)).organisationId;
    await rolledBack(members.crm_app, other, async (client) => {
      for (const table of tenantTables) {
        if (table === 'crm_sync_log') continue;
        const changed =
          table === 'crm_connections'
            ? await client.query('update crm_connections set status_reason = status_reason')
            : table === 'crm_sync_runs'
              ? await client.query('update crm_sync_runs set heartbeat_at = heartbeat_at')
              : table === 'contact_external_id_changes'
                ? await client.query('update contact_external_id_changes set undone_by = undone_by')
                : await client.query(`delete from ${table}`);
        expect(changed.rowCount, table).toBe(0);
      }
    });
    expect(await rolledBack(pool, null, (client) => visible(client, organisationId))).toEqual(all);
  });

  test.each([
    [
      'crm_sync_log_error_is_valid_check',
      `'kind', 'retryable', 'message', 'code'`,
      `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status, error)
       select organisation_id, id, 'inbound', 'contact', 'error',
         '{"kind": "internal", "retryable": false, "message": "m", "extra": "in the clear"}'
       from crm_connections limit 1`,
    ],
    [
      'crm_connections_credentials_is_jwe_check',
      `'protected', 'header', 'encrypted_key', 'iv', 'ciphertext', 'tag', 'aad'`,
      `update crm_connections set credentials = jsonb_build_object(
         'protected', 'eyJabc', 'header', '{"kid": "key1"}'::jsonb, 'encrypted_key', repeat('A', 43),
         'iv', repeat('B', 16), 'ciphertext', 'SECRET', 'tag', repeat('C', 22), 'extra', 'in the clear',
         'aad', crm_credentials_aad(organisation_id, id, provider)
       ) where status <> 'disconnected'`,
    ],
  ])('keeps temporary types from redefining what %s checks', async (constraint, labels, statement) => {
    await rolledBack(members.crm_app, organisationId, async (client) => {
      await client.query(`
        create type pg_temp.text as enum (${labels});
        create function pg_temp.widen(pg_temp.text[]) returns pg_catalog.text[] language sql immutable
          as $$ select array[${labels}, 'extra']::pg_catalog.text[] $$;
        create cast (pg_temp.text[] as pg_catalog.text[]) with function pg_temp.widen(pg_temp.text[]) as implicit`);
      await expect(client.query(statement)).rejects.toMatchObject({ code: '23514', constraint });
    });
  });

  test('lets the application end a run, but not open one', async () => {
    const reopen = `update crm_sync_runs set ended_at = null, outcome = null, error = null, expires_at = '9998-01-01'`;
    await rolledBack(members.crm_app, organisationId, async (client) => {
      await client.query(
        "update crm_sync_runs set ended_at = now(), outcome = 'cancelled' where ended_at is null",
      );
      const { rows } = await client.query('select from crm_sync_runs');
      expect(rows.length).toBeGreaterThan(0);
      expect((await client.query(reopen)).rowCount).toBe(0);
    });
    for (const statement of [
      'lock table crm_sync_runs in access exclusive mode',
      'update crm_sync_runs set worker = worker',
      'delete from crm_sync_runs',
    ])
      await expect(
        rolledBack(members.crm_app, organisationId, (client) => client.query(statement)),
      ).rejects.toMatchObject(insufficientPrivilege);
  });

  test('fails on an organisation setting that is not a UUID, and returns no rows', async () => {
    await rolledBack(members.crm_app, null, async (client) => {
      await client.query("set local crm_schema.organisation_id = 'x'");
      await expect(client.query('select from crm_connections')).rejects.toMatchObject({ code: '22P02' });
    });
  });

  test('does not apply to the owner, who must be able to dump', async () => {
    const { rows } = await pool.query(
      "select count(*)::integer as forced from pg_class where relforcerowsecurity and relnamespace = 'public'::regnamespace",
    );
    expect(rows).toEqual([{ forced: 0 }]);
  });
});
