import { randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { inspect } from 'node:util';
import pg from 'pg';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  CrmSchemaError,
  connectionGet,
  connectionGetCredentials,
  connectionRequestSync,
  connectionSetStatus,
  contactExternalIdLink,
  organisationSet,
  outboundChangeRecord,
  type Queryable,
  syncLogRecord,
  syncRunClaim,
  syncRunPurge,
  withOrganisation,
} from '../../src/index.js';
import { credentialsCountByKey } from '../../src/queries.js';
import { fromServerError } from '../../src/statements/database-errors.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const app = useMember(database, 'crm_app');
const worker = useMember(database, 'crm_worker');
const reader = useMember(database, 'crm_reader');

test('every constraint that can be violated maps to its own code or to invalid_input', async () => {
  const { rows } = await pool.query(
    `select conname as name, conrelid::regclass::text as table
     from pg_constraint
     where conrelid::regclass::text in (
         'crm_connections', 'crm_sync_log', 'crm_sync_runs', 'crm_sync_cursors', 'crm_sync_failures',
         'crm_outbound_changes', 'contact_external_ids'
       )
       and contype <> 'n'
     union all
     select indexrelid::regclass::text, indrelid::regclass::text
     from pg_index
     where indisunique
       and indrelid::regclass::text in ('crm_connections', 'contact_external_ids')
     order by 1`,
  );
  const codes = Object.fromEntries(
    rows.map(({ name, table }) => {
      const violation = Object.assign(new Error('violated'), { code: '23514', constraint: name, table });
      return [name, (fromServerError(violation) as CrmSchemaError).code];
    }),
  );
  expect(codes).toMatchObject({
    contact_external_ids_contact_id_fkey: 'wrong_tenant',
    contact_external_ids_contact_id_provider_key: 'contact_taken',
    contact_external_ids_pkey: 'external_id_taken',
    contact_external_ids_provider_check: 'unknown_provider',
    crm_connections_credentials_bound_to_row_check: 'credentials_bound_elsewhere',
    crm_connections_credentials_is_jwe_check: 'malformed_credentials',
    crm_connections_organisation_id_fkey: 'unknown_organisation',
    crm_connections_organisation_id_provider_live_key: 'live_connection_exists',
    crm_connections_pkey: 'connection_exists',
    crm_connections_provider_check: 'unknown_provider',
    crm_outbound_changes_connection_id_fkey: 'wrong_tenant',
    crm_outbound_changes_contact_id_fkey: 'wrong_tenant',
    crm_sync_cursors_connection_id_fkey: 'wrong_tenant',
    crm_sync_failures_connection_id_fkey: 'wrong_tenant',
    crm_sync_log_connection_id_fkey: 'wrong_tenant',
    crm_sync_runs_connection_id_fkey: 'wrong_tenant',
  });
  const others = Object.entries(codes).filter(([, code]) => code === 'invalid_input');
  expect(
    others
      .map(([name]) => name)
      .filter((name) => !/_check$|^crm_(sync_(log|runs|cursors|failures)|outbound_changes)_pkey$/.test(name)),
  ).toEqual([]);
});

test('neither the error nor its cause quotes a refused row', async () => {
  const refusal = await pool
    .query(
      `insert into crm_connections (organisation_id, id, provider, credentials)
       values (gen_random_uuid(), gen_random_uuid(), 'reapit', '{"apiKey": "secret-plaintext"}')`,
    )
    .catch((error: unknown) => error);
  expect(inspect(refusal)).toContain('secret-plaintext');
  const typed = fromServerError(refusal) as CrmSchemaError;
  expect(typed).toBeInstanceOf(CrmSchemaError);
  expect(typed.cause).toMatchObject({
    code: '23514',
    constraint: expect.stringMatching(/^crm_connections_/),
  });
  expect(inspect(typed, { depth: 10, showHidden: true })).not.toContain('secret-plaintext');
  expect(JSON.stringify(typed)).not.toContain('secret-plaintext');
});

test("errors of the host's tables, the server and the program pass through unchanged", async () => {
  const foreign = [
    await pool
      .query('insert into organisations (id, name) values (gen_random_uuid(), null)')
      .catch((error) => error),
    await pool.query('select 1/0').catch((error) => error),
    new TypeError('not a function'),
    undefined,
  ];
  for (const error of foreign) expect(fromServerError(error)).toBe(error);
  expect(foreign[0]).toBeInstanceOf(pg.DatabaseError);
});

test('every README section that a message or comment quotes exists', () => {
  const root = new URL('../../', import.meta.url);
  const headings = new Set(
    [...readFileSync(new URL('README.md', root), 'utf8').matchAll(/^#+ (.+)$/gm)].map(
      ([, heading]) => heading,
    ),
  );
  const quoted = readdirSync(new URL('src', root), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => [
      ...readFileSync(new URL(`src/${file}`, root), 'utf8').matchAll(/"([^"\n]+)" in the README/g),
    ])
    .map(([, heading]) => heading);
  expect(quoted).toContain('Who may do what');
  expect(quoted.filter((heading) => !headings.has(heading))).toEqual([]);
});

describe('a missing schema', () => {
  const empty = useDatabase('empty');
  const elsewhere = new pg.Pool({ connectionString: database.url, options: '-c search_path=pg_catalog' });
  afterAll(() => elsewhere.end());
  const id = randomUUID();

  test.each([
    ['in a database that was never migrated', empty.pool],
    ['where search_path leads elsewhere', elsewhere],
  ])('is schema_not_found %s', async (_, members) => {
    const calls: (() => Promise<unknown>)[] = [
      () => connectionGet(members, { organisationId: id, connectionId: id }),
      () => connectionSetStatus(members, { organisationId: id, connectionId: id, status: 'active' }),
      () => organisationSet(members, { organisationId: id }),
      () => withOrganisation(members, id, async () => expect.unreachable()),
      () => syncRunClaim(members, { worker: 'test' }),
      () => credentialsCountByKey.run(undefined, members),
    ];
    for (const call of calls) {
      await expect(call(), String(call)).rejects.toMatchObject({
        name: 'CrmSchemaError',
        code: 'schema_not_found',
        message: expect.stringMatching(
          /^The database refused the statement: .+ does not exist\. The schema is missing or of an older version: run the migrations first, or /,
        ),
        cause: { code: expect.stringMatching(/^(42P01|42883)$/) },
      });
    }
  });

  test.each(['42P01', '42703', '42883', '3F000'])('is recognised by SQLSTATE %s in any language', (code) => {
    const own = Object.assign(new Error('Fehler'), { code });
    expect(fromServerError(own)).toMatchObject({ code: 'schema_not_found', cause: { code } });
    const inFunction = Object.assign(new Error('Fehler'), { code, where: 'PL/pgSQL-Funktion f()' });
    expect(fromServerError(inFunction)).toBe(inFunction);
  });
});

describe('a missing privilege', () => {
  const refusal = (call: Promise<unknown>) =>
    call.then(
      () => expect.unreachable(),
      (error: CrmSchemaError) => error,
    );
  const event = { direction: 'inbound', entityType: 'contact', status: 'success' } as const;

  test('is organisation_not_set outside withOrganisation, and for an organisation other than the one set', async () => {
    const { organisationId, contactIds } = await createTenant(pool, 1);
    const other = (await createTenant(pool)).organisationId;
    const { connectionId } = await connect(pool, organisationId, 'reapit');
    const key = { organisationId, connectionId };
    const link = {
      organisationId,
      provider: 'reapit',
      entityType: 'contact',
      externalId: 'x',
      contactId: contactIds[0] ?? '',
    } as const;
    const always: ((client: Queryable) => Promise<unknown>)[] = [
      (client) => syncLogRecord(client, { ...key, events: [event] }),
      (client) => outboundChangeRecord(client, { organisationId, contactIds }),
      (client) => connectionRequestSync(client, { organisationId, connectionIds: [connectionId] }),
    ];
    const unset: typeof always = [
      ...always,
      (client) => connectionGet(client, key),
      (client) => connectionSetStatus(client, { ...key, status: 'active' }),
      (client) => contactExternalIdLink(client, link),
    ];
    const wanted = {
      code: 'organisation_not_set',
      message: expect.stringMatching(
        /^The database refused the statement: .+\. Run it in withOrganisation, on the client that it passes, for the organisation of the call; in a transaction of your own or of an ORM, call organisationSet on its client first\.$/,
      ),
    };
    for (const call of unset) expect(await refusal(call(app)), String(call)).toMatchObject(wanted);
    for (const call of always) {
      expect(
        await refusal(withOrganisation(app, other, (client) => call(client))),
        String(call),
      ).toMatchObject(wanted);
    }
    const hidden = await refusal(
      withOrganisation(app, other, (client) => connectionSetStatus(client, { ...key, status: 'active' })),
    );
    expect(hidden).toMatchObject({
      code: 'connection_not_live',
      message: expect.stringContaining('the one set for this transaction'),
    });
    for (const call of unset) await withOrganisation(app, organisationId, (client) => call(client));
  });

  test('is not_permitted for the wrong role, and names the roles that exist', async () => {
    const { organisationId } = await createTenant(pool);
    const key = await connect(pool, organisationId, 'reapit');
    const calls = [
      () => withOrganisation(app, organisationId, (client) => connectionGetCredentials(client, key)),
      () => withOrganisation(app, organisationId, (client) => syncRunClaim(client, { worker: 'test' })),
      () => connect(worker, organisationId, 'alto'),
      () => syncLogRecord(reader, { ...key, events: [event] }),
    ];
    for (const call of calls) {
      const error = await refusal(call());
      expect(error).toMatchObject({
        name: 'CrmSchemaError',
        code: 'not_permitted',
        message: expect.stringMatching(/permission denied for table crm_.*crm_app.*crm_worker/),
        cause: { code: '42501' },
      });
    }
  });

  test('is not_permitted where only a worker may call, also outside withOrganisation', async () => {
    const { organisationId } = await createTenant(pool);
    const key = await connect(pool, organisationId, 'reapit');
    const calls = [
      () => syncRunClaim(app, { worker: 'test' }),
      () => syncRunPurge(app),
      () => connectionGetCredentials(app, key),
      () => credentialsCountByKey.run(undefined, app),
    ];
    for (const call of calls) {
      const error = await refusal(call());
      expect(error, String(call)).toMatchObject({
        code: 'not_permitted',
        message: expect.stringContaining('crm_worker'),
        cause: { code: expect.stringMatching(/^(42501|CRM05)$/) },
      });
      expect(error.message).not.toContain('withOrganisation');
    }
  });

  test("in a host's trigger function passes through unchanged, and so does any other error of it", async () => {
    const { organisationId, contactIds } = await createTenant(pool, 1);
    await connect(pool, organisationId, 'reapit');
    onTestFinished(async () => {
      await pool.query('drop function host_audit cascade; drop table if exists host_audit');
    });
    for (const [body, code] of [
      ['insert into host_audit default values', '42501'],
      ["raise insufficient_privilege using message = 'The host says no'", '42501'],
      ['insert into host_nowhere default values', '42P01'],
      ['perform host_nowhere()', '42883'],
      ['perform host_nowhere.f()', '3F000'],
      ['new.host_nowhere := 1', '42703'],
    ]) {
      await pool.query(`
        create table if not exists host_audit ();
        create or replace function host_audit() returns trigger language plpgsql as $$
        begin ${body}; return new; end $$;
        create or replace trigger host_audit before insert on crm_outbound_changes
        for each row execute function host_audit()`);
      const error = await refusal(
        withOrganisation(app, organisationId, (client) =>
          outboundChangeRecord(client, { organisationId, contactIds }),
        ),
      );
      expect(error).toBeInstanceOf(pg.DatabaseError);
      expect(error).toMatchObject({ code });
    }
  });

  test('is recognised in any language of the server', async () => {
    const localised = (rest: object) =>
      fromServerError(Object.assign(new Error('Fehler'), { code: '42501', ...rest }));
    expect(localised({ routine: 'ExecWithCheckOptions' })).toMatchObject({ code: 'organisation_not_set' });
    expect(localised({ routine: 'aclcheck_error' })).toMatchObject({ code: 'not_permitted' });
  });

  test('never affects the owner or a worker, whichever organisation is set', async () => {
    const { organisationId } = await createTenant(pool);
    const other = (await createTenant(pool)).organisationId;
    const key = await connect(pool, organisationId, 'reapit');
    for (const members of [pool, worker]) {
      const client = await members.connect();
      await client.query('begin');
      await organisationSet(client, { organisationId: other });
      await syncLogRecord(client, { ...key, events: [event] });
      await client.query('rollback');
      client.release();
    }
  });
});
