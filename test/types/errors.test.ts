import { inspect } from 'node:util';
import pg from 'pg';
import { expect, test } from 'vitest';
import { fromDatabaseError } from '../../src/database-errors.js';
import { CrmSchemaError } from '../../src/index.js';
import { useDatabase } from '../support/database.js';

const { pool } = useDatabase();

test('every constraint that can be violated has a code of its own or is invalid input', async () => {
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
      return [name, (fromDatabaseError(violation) as CrmSchemaError).code];
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

test('a refused row is quoted neither by the error nor by its cause', async () => {
  const refusal = await pool
    .query(
      `insert into crm_connections (organisation_id, id, provider, credentials)
       values (gen_random_uuid(), gen_random_uuid(), 'reapit', '{"apiKey": "secret-plaintext"}')`,
    )
    .catch((error: unknown) => error);
  expect(inspect(refusal)).toContain('secret-plaintext');
  const typed = fromDatabaseError(refusal) as CrmSchemaError;
  expect(typed).toBeInstanceOf(CrmSchemaError);
  expect(typed.cause).toMatchObject({
    code: '23514',
    constraint: expect.stringMatching(/^crm_connections_/),
  });
  expect(inspect(typed, { depth: 10, showHidden: true })).not.toContain('secret-plaintext');
  expect(JSON.stringify(typed)).not.toContain('secret-plaintext');
});

test("errors of the host's own tables, of the server and of programs pass through untouched", async () => {
  const foreign = [
    await pool
      .query('insert into organisations (id, name) values (gen_random_uuid(), null)')
      .catch((error) => error),
    await pool.query('select 1/0').catch((error) => error),
    new TypeError('not a function'),
    undefined,
  ];
  for (const error of foreign) expect(fromDatabaseError(error)).toBe(error);
  expect(foreign[0]).toBeInstanceOf(pg.DatabaseError);
});
