import postgres from 'postgres';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { queryDefinition } from '../../dev/query-definition.js';
import { fromPostgresJs } from '../../src/clients.js';
import { connectionGetLive, type Queryable, withNamedStatements } from '../../src/index.js';
import { PreparedQuery } from '../../src/statements/prepared-query.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { parsedQuery } from '../support/parsed-query.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const app = useMember(database, 'crm_app');
const sql = postgres(database.url);
afterAll(() => sql.end({ timeout: 5 }));

const provider = 'reapit';

function query(name: string, statement: string) {
  return new PreparedQuery<Record<string, unknown>, Record<string, unknown>>(
    queryDefinition(name, parsedQuery(statement)),
  );
}

/** Opens postgres.js with other options for the duration of a test. */
function open(options: postgres.Options<Record<string, postgres.PostgresType>>, url = database.url) {
  const opened = postgres(url, options);
  onTestFinished(() => opened.end());
  return opened;
}

describe('fromPostgresJs', () => {
  test.each<[string, string, unknown]>([
    ['text', 'text', `a "b" \\ 'c' {d}, é`],
    ['an empty text', 'text', ''],
    ['a whole number', 'int4', -7],
    ['a fraction', 'float8', 0.1],
    ['true', 'bool', true],
    ['false', 'bool', false],
    ['an array', 'text[]', ['', 'null', null, 'a "b" \\ {c}, d', 'NULL']],
    ['an empty array', 'text[]', []],
    [
      'an array of arrays',
      'int4[]',
      [
        [1, 2],
        [3, null],
      ],
    ],
    ['an array of truths', 'bool[]', [true, false, null]],
    ['JSON', 'jsonb', { a: ['"', null, 1.5], b: { c: true } }],
    ['a text of JSON', 'jsonb', '{"a": "\\""}'],
    ['an array of JSON', 'jsonb[]', [{ a: '"\\' }, null]],
    ['an array of times', 'timestamptz[]', [new Date('2026-11-16T09:00:00.123Z'), null]],
    ['a time', 'timestamptz', new Date('2026-11-16T09:00:00.123Z')],
    ['nothing', 'text', null],
  ])('sends %s as pg does', async (_, type, value) => {
    const echo = query('echo', `select :value::${type}::text as "value?"`);
    const [row] = await echo.run({ value }, fromPostgresJs(sql));
    expect([row]).toEqual(await echo.run({ value }, database.pool));
  });

  test('sends a statement under its name with withNamedStatements, and else without one', async () => {
    const connection = await sql.reserve();
    onTestFinished(() => connection.release());
    const client = fromPostgresJs(connection);
    const find = { organisationId: '00000000-0000-4000-8000-000000000001', provider } as const;
    const prepared = async () =>
      (
        await connection.unsafe(
          'select from pg_prepared_statements where parameter_types <> array[]::regtype[]',
        )
      ).length;
    await connectionGetLive(client, find);
    expect(await prepared()).toBe(0);
    for (let count = 0; count < 2; count += 1) await connectionGetLive(withNamedStatements(client), find);
    expect(await prepared()).toBe(1);
  });

  test('reads the names of constraints, so that an error has its code', async () => {
    const { organisationId } = await createTenant(database.pool);
    await connect(fromPostgresJs(sql), organisationId);
    await expect(connect(fromPostgresJs(sql), organisationId)).rejects.toMatchObject({
      code: 'live_connection_exists',
      cause: { constraint: 'crm_connections_organisation_id_provider_live_key' },
    });
  });

  test('passes on errors that are not of the server', async () => {
    const closed = postgres(database.url);
    await closed.end();
    await expect(query('one', 'select 1 as one').run({}, fromPostgresJs(closed))).rejects.toMatchObject({
      code: 'CONNECTION_ENDED',
    });
  });

  test.each([
    [
      'without an organisation',
      (client: Queryable, organisationId: string) => connectionGetLive(client, { organisationId, provider }),
    ],
    [
      'for another organisation',
      async (client: Queryable, organisationId: string) => connect(client, organisationId),
    ],
  ])('a call %s throws organisation_not_set', async (_, call) => {
    const { organisationId } = await createTenant(database.pool);
    const client = fromPostgresJs(open({}, app.options.connectionString));
    await expect(call(client, organisationId)).rejects.toMatchObject({ code: 'organisation_not_set' });
  });

  test.each([
    ['parsers', { types: { bigint: postgres.BigInt } }],
    ['names in camel case', { transform: postgres.camel }],
    ['names in kebab case', { transform: postgres.kebab }],
    ['values', { transform: { value: () => 'spoilt' } }],
  ])('reads the same rows from an instance that changes %s', async (_, options) => {
    const { organisationId } = await createTenant(database.pool);
    await connect(database.pool, organisationId);
    const expected = await connectionGetLive(database.pool, { organisationId, provider });
    const client = fromPostgresJs(open(options as object));
    expect(await connectionGetLive(client, { organisationId, provider })).toEqual(expected);
  });

  test.each([
    ['names of columns', postgres.pascal],
    ['rows', { row: (row: object) => ({ ...row }) }],
  ])('refuses rows from an instance that changes %s', async (_, transform) => {
    const client = fromPostgresJs(open({ transform }));
    await expect(query('one', 'select 1 as one').run({}, client)).rejects.toThrow(
      '@nurturehub/crm-schema cannot read rows that the option "transform" of postgres.js has changed: use an instance without it.',
    );
  });

  test.each([
    ['nothing', undefined],
    ['a pool of pg', database.pool],
  ])('refuses %s', (_, given) => {
    expect(() => fromPostgresJs(given as never)).toThrow(/^sql must be the sql of postgres.js, not /);
  });
});
