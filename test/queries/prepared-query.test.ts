import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { queryDefinition } from '../../dev/query-definition.js';
import { type QueryConfig, type QueryResult, withNamedStatements } from '../../src/index.js';
import { PreparedQuery } from '../../src/statements/prepared-query.js';
import { useDatabase } from '../support/database.js';
import { parsedQuery } from '../support/parsed-query.js';

const database = useDatabase();
const { pool } = database;

function query(
  name: string,
  statement: string,
): PreparedQuery<Record<string, unknown>, Record<string, unknown>> {
  return new PreparedQuery(queryDefinition(name, parsedQuery(statement)));
}

test('sends values in the order of their numbers', async () => {
  const difference = query('difference', 'select :a!::int4 - :b!::int4 - :a!::int4 as "difference!"');
  expect(difference.parameterNames).toEqual(['a', 'b']);
  expect(await difference.run({ b: 10, a: 1 }, pool)).toEqual([{ difference: -10 }]);
});

test('refuses a missing required parameter by name, and sends null for an optional one', async () => {
  const echo = query('echo', 'select :needed!::text as needed, :optional::text as optional');
  await expect(echo.run({ needed: null }, pool)).rejects.toMatchObject({
    code: 'invalid_input',
    message: 'echo: needed is missing.',
  });
  expect(await echo.run({ needed: 'x' }, pool)).toEqual([{ needed: 'x', optional: null }]);
});

test('passes on errors that are not about the schema', async () => {
  await expect(query('broken', 'select 1/0 as one').run({}, pool)).rejects.toBeInstanceOf(pg.DatabaseError);
  const lost = new Error('connection lost');
  const client = { query: () => Promise.reject(lost) };
  await expect(query('one', 'select 1 as one').run({}, client)).rejects.toBe(lost);
});

describe('values', () => {
  const everything = query(
    'everything',
    `select 9007199254740993::int8 as int8, 7::int4 as int4, true as bool, false as "notBool", 'x' as text,
      '{"a": [1, null]}'::jsonb as jsonb, 'null'::jsonb as "jsonNull", null::timestamptz as nothing,
      '0f0e0d0c-0b0a-0908-0706-050403020100'::uuid as uuid, :at!::timestamptz as at`,
  );
  const row = {
    int8: '9007199254740993',
    int4: 7,
    bool: true,
    notBool: false,
    text: 'x',
    jsonb: { a: [1, null] },
    jsonNull: null,
    nothing: null,
    uuid: '0f0e0d0c-0b0a-0908-0706-050403020100',
    at: '2026-11-16T09:00:00.123456Z',
  };
  const at = '2026-11-16T09:00:00.123456Z';

  test('are the same whatever type parsers the client has', async () => {
    const client = new pg.Client({
      connectionString: database.url,
      types: { getTypeParser: () => () => 'spoilt' } as never,
    });
    await client.connect();
    expect(await everything.run({ at }, client)).toEqual([row]);
    await client.end();
  });

  test.each(['UTC', 'Europe/London', 'America/St_Johns', 'Pacific/Kiritimati'])(
    'are the same in a session in %s',
    async (zone) => {
      const client = new pg.Client({ connectionString: database.url });
      await client.connect();
      await client.query(`set timezone = '${zone}'`);
      expect(await everything.run({ at }, client)).toEqual([row]);
      // The first and last times that the schema accepts. In 1900, offsets still had seconds.
      for (const extreme of ['1900-01-01T00:00:00.000000Z', '9998-12-31T23:59:59.999999Z']) {
        expect(await everything.run({ at: extreme }, client)).toMatchObject([{ at: extreme }]);
      }
      await client.end();
    },
  );

  test('are refused, not misread, under another DateStyle', async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query("set datestyle = 'SQL, DMY'");
    await expect(everything.run({ at }, client)).rejects.toThrow(/the session's DateStyle must be ISO/);
    await client.end();
  });

  test('of a type that no query returns are refused', async () => {
    await expect(query('money', "select '1'::money as money").run({}, pool)).rejects.toThrow(
      /cannot read column money, type 790/,
    );
  });

  test.each([
    ['at', 'Date', 'select now() as at'],
    ['count', 'Number', 'select 1::int4 as count'],
    ['json', 'Object', `select '{"a": 1}'::jsonb as json`],
    ['last', 'Boolean', "select null::text as first, 'x' as second, true as last"],
  ])('of a client that parses them itself are refused: %s, a %s', async (name, type, statement) => {
    const client = { query: ({ text, values }: QueryConfig) => pool.query(text, values) };
    await expect(query('parsed', statement).run({}, client)).rejects.toThrow(
      new TypeError(
        `@nurturehub/crm-schema cannot read column ${name}, which arrived as ${type}, not as text: the client must honour the query's "types", as pg does.`,
      ),
    );
  });

  test('of a client that transforms text, or renames columns, are refused', async () => {
    const types = { getTypeParser: () => (text: string) => BigInt(text) };
    const parsing = { query: (config: QueryConfig) => pool.query({ ...config, types } as never) };
    await expect(query('one', 'select 1::int8 as one').run({}, parsing)).rejects.toThrow(
      'cannot read column one, which arrived as BigInt',
    );
    const renaming = {
      query: async (config: QueryConfig) => ({ ...(await pool.query(config)), rows: [{ ONE: '1' }] }),
    };
    await expect(query('one', 'select 1::int8 as one').run({}, renaming)).rejects.toThrow(
      'cannot read column ONE, which the "fields" of the client\'s result do not describe',
    );
  });

  test.each([
    ['no description of a column', { fields: [] }, 'cannot read column one, which the "fields"'],
    [
      'no descriptions',
      { fields: undefined },
      'needs the "fields" of the client\'s results, as pg gives them, not undefined',
    ],
    ['no format', { fields: [{ name: 'one', dataTypeID: 25 }] }, 'pg-native does not say the format'],
  ])('of a client that gives %s are refused', async (_, changed, message) => {
    const client = {
      query: async (config: QueryConfig) =>
        ({ ...(await pool.query(config)), ...changed }) as unknown as QueryResult,
    };
    await expect(query('one', "select 'x'::text as one").run({}, client)).rejects.toThrow(message);
  });

  test('of a client in binary mode are refused', async () => {
    const client = new pg.Client({ connectionString: database.url, binary: true } as pg.ClientConfig);
    await client.connect();
    await expect(everything.run({ at }, client)).rejects.toThrow(
      /use a pg client without the option "binary"/,
    );
    await client.end();
  });
});

describe('withNamedStatements', () => {
  test('prepares a statement once per connection', async () => {
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const one = query('one', 'select :x!::int4 as one');
    const sameName = query('one', 'select :x!::int4 + 1 as one');
    const named = withNamedStatements(client);
    for (let round = 0; round < 3; round += 1) {
      expect(await one.run({ x: 1 }, named)).toEqual([{ one: 1 }]);
      expect(await sameName.run({ x: 1 }, named)).toEqual([{ one: 2 }]);
      await one.run({ x: 1 }, client);
    }
    const { rows } = await client.query('select statement from pg_prepared_statements order by prepare_time');
    expect(rows.map(({ statement }) => statement)).toEqual([one.text, sameName.text]);
    await client.end();
  });
});
