import pg from 'pg';
import { afterAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { clientOf, shareClients } from '../../src/clients.js';
import { type Queryable, type QueryResult, withNamedStatements } from '../../src/index.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase('empty');
const pool = shareClients(new pg.Pool({ connectionString: database.url, max: 4 }));
afterAll(() => pool.end());

const text = (statement: string) => ({
  text: statement,
  values: [],
  types: { getTypeParser: () => (value: string) => value },
});

/** The server process that a client's statements run in. */
async function processOf(client: Queryable): Promise<number> {
  const { rows } = await client.query(text('select pg_backend_pid()::text as pid'));
  return Number(rows[0].pid);
}

/** Checks out a client for the duration of a test, or until `giveBack`. */
async function checkOut(from = pool): Promise<{ client: pg.PoolClient; giveBack: () => void }> {
  const client = await from.connect();
  let isOut = true;
  const giveBack = () => {
    if (isOut) client.release();
    isOut = false;
  };
  onTestFinished(giveBack);
  return { client, giveBack };
}

/** Which process a client of pg is connected to. */
const announced = (client: pg.PoolClient) => (client as unknown as { processID: number }).processID;

describe('clientOf', () => {
  /** The ways in which libraries run a statement on a client and return its rows. */
  const ways: [string, (client: pg.PoolClient, statement: string) => Promise<unknown>][] = [
    ['the result of a text', (client, statement) => client.query(statement)],
    ['the result of a text with values', (client, statement) => client.query(statement, [])],
    ['the result of a configuration', (client, statement) => client.query({ text: statement })],
    ['rows', async (client, statement) => (await client.query(statement)).rows],
    ['arrays', (client, statement) => client.query({ text: statement, rowMode: 'array' })],
    [
      'rows with another key',
      async (client, statement) =>
        (await client.query(statement)).rows.map((row) => ({ CLIENT: Object.values(row)[0] })),
    ],
    [
      'what a callback receives',
      (client, statement) =>
        new Promise((resolve) => {
          client.query(statement, (_: Error, result: pg.QueryResult) => resolve(result));
        }),
    ],
  ];

  test.each(ways)('finds the client by %s', async (_, run) => {
    const checkouts = await Promise.all([checkOut(), checkOut(), checkOut()]);
    // At once, so that several tokens are in use.
    const found = await Promise.all(
      checkouts.map(({ client }) => clientOf((statement) => run(client, statement))),
    );
    expect(await Promise.all(found.map(processOf))).toEqual(checkouts.map(({ client }) => announced(client)));
  });

  test('finds the client again for each of several questions, also if each is a prepared statement of one name', async () => {
    const { client } = await checkOut();
    for (let count = 0; count < 3; count += 1) {
      const found = await clientOf((statement) => client.query({ name: 'question', text: statement }));
      expect(await processOf(found)).toBe(announced(client));
    }
  });

  test('returns a client that prepares statements by withNamedStatements', async () => {
    const { client } = await checkOut();
    const found = withNamedStatements(await clientOf((statement) => client.query(statement)));
    await found.query({ ...text('select 1 as one'), name: 'one' });
    const { rows } = await client.query('select name from pg_prepared_statements');
    expect(rows.map(({ name }) => name)).toContain('one');
  });

  test('returns a client that refuses statements once the library has released it', async () => {
    const { client, giveBack } = await checkOut();
    const found = await clientOf((statement) => client.query(statement));
    expect(await processOf(found)).toBe(announced(client));
    giveBack();
    await expect(processOf(found)).rejects.toThrow('The transaction is over: await each query inside it.');
    const { client: next } = await checkOut();
    expect(announced(next)).toBe(announced(client));
    await expect(processOf(found)).rejects.toThrow('The transaction is over');
  });

  describe('refuses', () => {
    let other: pg.Pool;
    beforeEach(() => {
      other = new pg.Pool({ connectionString: database.url });
      return () => other.end();
    });

    test.each<[string, (statement: string) => Promise<unknown>]>([
      ['a pool that is not shared', (statement) => other.query(statement)],
      ['a statement on the pool, outside a transaction', (statement) => pool.query(statement)],
      ['another statement', () => pool.query('select 1 as one')],
      ['a statement without rows', () => pool.query('begin; commit')],
      ['a result without its rows', async (statement) => void (await pool.query(statement))],
      [
        'a result that has come too late',
        async (statement) => {
          const { client, giveBack } = await checkOut();
          const result: QueryResult = await client.query(statement);
          giveBack();
          return result;
        },
      ],
    ])('%s', async (_, run) => {
      await expect(clientOf(run)).rejects.toMatchObject({
        code: 'invalid_input',
        message:
          'run must run the statement, in a transaction of an ORM whose pool went through shareClients, and return its result.',
      });
    });

    test('a client', async () => {
      await expect(clientOf(pool as never)).rejects.toMatchObject({
        code: 'invalid_input',
        message: 'run must be a function, not an object.',
      });
    });
  });

  test('passes on the error of a transaction that has failed', async () => {
    const { client } = await checkOut();
    await client.query('begin');
    await client.query('select 1/0').catch(() => {});
    await expect(clientOf((statement) => client.query(statement))).rejects.toMatchObject({ code: '25P02' });
    await client.query('rollback');
  });
});

describe('shareClients', () => {
  test('leaves every other statement as it is', async () => {
    const { client } = await checkOut();
    expect((await client.query('select $1::text as text', ['x'])).rows).toEqual([{ text: 'x' }]);
    const query = new pg.Query({ text: 'select 2 as two' });
    expect(client.query(query)).toBe(query);
    const rows = await new Promise((resolve, reject) => {
      const seen: unknown[] = [];
      query.on('row', (row) => seen.push(row));
      query.on('end', () => resolve(seen));
      query.on('error', reject);
    });
    expect(rows).toEqual([{ two: 2 }]);
  });

  test('may be called twice', async () => {
    const { client } = await checkOut(shareClients(pool));
    const found = await clientOf((statement) => client.query(statement));
    expect(await processOf(found)).toBe(announced(client));
  });

  test.each([
    ['a client', new pg.Client()],
    ['nothing', undefined],
  ])('refuses %s', (_, given) => {
    expect(() => shareClients(given as never)).toThrow('pool must be a pool, new pg.Pool(…).');
  });
});
