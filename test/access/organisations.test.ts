import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectionGetLive, organisationSet, withOrganisation } from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
/** With one connection, so the next user gets the one that was used last. */
const plain = useMember(database, 'crm_app', 1);
const pipelining = new pg.Pool({ ...plain.options, pipeline: true });
pipelining.on('error', () => {});
// Before the user is dropped.
afterAll(() => pipelining.end());

let ours: string;
let theirs: string;
beforeAll(async () => {
  ours = (await createTenant(pool)).organisationId;
  theirs = (await createTenant(pool)).organisationId;
  await connect(pool, ours, 'reapit');
  await connect(pool, theirs, 'reapit');
});

/** The organisations whose rows a client sees in crm_connections. */
async function visible(client: pg.Pool | pg.ClientBase): Promise<string[]> {
  const { rows } = await client.query('select organisation_id as id from crm_connections');
  return rows.map(({ id }) => id);
}

/** Expects a working client without an organisation set. */
async function expectClean(client: pg.Pool | pg.ClientBase): Promise<void> {
  await expect(visible(client)).rejects.toMatchObject({ code: 'CRM05' });
  await expect(client.query('select crm_organisation_id()')).rejects.toMatchObject({ code: 'CRM05' });
}

describe('organisationSet', () => {
  test('lasts until the transaction is committed or rolled back', async () => {
    const client = await plain.connect();
    try {
      for (const end of ['commit', 'rollback']) {
        await client.query('begin');
        await organisationSet(client, { organisationId: ours });
        expect(await visible(client)).toEqual([ours]);
        await client.query(end);
        await expectClean(client);
      }
    } finally {
      client.release();
    }
  });

  test('has no effect outside a transaction', async () => {
    await organisationSet(plain, { organisationId: ours });
    await expectClean(plain);
  });

  test('changes nothing for the owner, because no policy applies to it', async () => {
    await withOrganisation(pool, ours, async (client) => {
      expect((await visible(client)).sort()).toEqual([ours, theirs].sort());
    });
  });

  test.each(['x', '', null, undefined])('refuses %j', async (organisationId) => {
    await expect(organisationSet(plain, { organisationId: organisationId as string })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe.each([
  ['a pool', plain],
  ['a pool that pipelines', pipelining],
])('withOrganisation on %s', (_, app) => {
  test('sees one organisation, commits, and returns the result of the work', async () => {
    const found = await withOrganisation(app, ours, async (client) => {
      expect(await connectionGetLive(client, { organisationId: theirs, provider: 'reapit' })).toBeNull();
      await client.query("update crm_connections set status = 'error', status_reason = 'No answer.'");
      return connectionGetLive(client, { organisationId: ours, provider: 'reapit' });
    });
    expect(found).toMatchObject({ statusReason: 'No answer.' });
    const { rows } = await pool.query(
      "select organisation_id as id from crm_connections where status = 'error'",
    );
    expect(rows).toEqual([{ id: ours }]);
    await expectClean(app);
  });

  test('refuses a client instead of a pool', async () => {
    const lent = await app.connect();
    const own = new pg.Client(app.options);
    for (const wrong of [lent, own, undefined, null, {}]) {
      await expect(withOrganisation(wrong as never, ours, () => expect.unreachable())).rejects.toMatchObject({
        code: 'invalid_input',
        message:
          'pool must be a pool, new pg.Pool(…), not a client: the transaction checks out its own client.',
      });
    }
    lent.release();
    await expect(
      withOrganisation(app, ours, (client) => withOrganisation(client as never, ours, async () => {})),
    ).rejects.toMatchObject({ code: 'invalid_input' });
    await expectClean(app);
  });

  test('rolls back if the work throws, and rethrows its error', async () => {
    const reason = new Error('changed my mind');
    await expect(
      withOrganisation(app, ours, async (client) => {
        await client.query("update crm_connections set status_reason = 'Lost.'");
        throw reason;
      }),
    ).rejects.toBe(reason);
    const { rows } = await pool.query("select from crm_connections where status_reason = 'Lost.'");
    expect(rows).toEqual([]);
    await expectClean(app);
  });

  test('throws if a statement failed, even if the work caught its error', async () => {
    await expect(
      withOrganisation(app, ours, async (client) => {
        await client.query('select 1 / 0').catch(() => {});
      }),
    ).rejects.toMatchObject({
      name: 'CrmSchemaError',
      code: 'transaction_undone',
      message: 'The transaction was rolled back because a statement in it failed.',
    });
    await expectClean(app);
  });

  test.each([
    ['commits', 'commit'],
    ['rolls back', 'rollback'],
    ['begins another transaction', 'commit; begin'],
    ['sets another organisation', () => `select crm_set_organisation('${theirs}')`],
    ['resets the organisation', 'reset crm_schema.organisation_id'],
  ])('throws if the work %s, and rolls back what is uncommitted', async (_, statement) => {
    await expect(
      withOrganisation(app, ours, async (client) => {
        await client.query(typeof statement === 'string' ? statement : statement());
      }),
    ).rejects.toMatchObject({ code: 'transaction_undone' });
    await expectClean(app);
  });

  test('takes two round trips besides those of the work', async () => {
    const client = await app.connect();
    let messages = 0;
    const counting = new Proxy(client, {
      get(target, key) {
        const value = Reflect.get(target, key);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (key === 'query') messages += 1;
          return value.apply(target, args);
        };
      },
    });
    await withOrganisation({ connect: async () => counting } as never, ours, async () => {});
    expect(messages).toBe(2);
    await expectClean(app);
  });

  test('passes on an error of a deferred trigger, and commits nothing', async () => {
    await pool.query(`
      create table late (id integer);
      grant insert, select on late to crm_app;
      create function late() returns trigger language plpgsql as 'begin perform 1 / 0; return null; end';
      create constraint trigger late after insert on late initially deferred for each row execute function late()`);
    await expect(
      withOrganisation(app, ours, (client) => client.query('insert into late values (1)')),
    ).rejects.toMatchObject({ code: '22012' });
    expect((await pool.query('select from late')).rows).toEqual([]);
    await pool.query('drop table late; drop function late');
    await expectClean(app);
  });

  test('lets the work use savepoints', async () => {
    const found = await withOrganisation(app, ours.toUpperCase(), async (client) => {
      await client.query('savepoint here');
      await client.query('select 1 / 0').catch(() => {});
      await client.query('rollback to savepoint here; release savepoint here');
      return visible(client);
    });
    expect(found).toEqual([ours]);
  });

  test.each(['commits', 'rolls back'])(
    'resets an organisation set for the whole session when it %s',
    async (end) => {
      await app.query(`set crm_schema.organisation_id = '${theirs}'`);
      expect(await visible(app)).toEqual([theirs]);
      await withOrganisation(app, ours, async (client) => {
        expect(await visible(client)).toEqual([ours]);
        if (end === 'rolls back') throw new Error('changed my mind');
      }).catch(() => {});
      await expectClean(app);
    },
  );

  test('refuses a late query, which would run in the next transaction', async () => {
    let straggler: Promise<unknown> = Promise.resolve();
    const failure = new Error('the other half failed');
    await expect(
      withOrganisation(app, ours, (client) => {
        straggler = new Promise((resolve) => setTimeout(resolve, 100)).then(() => visible(client));
        straggler.catch(() => {});
        return Promise.all([Promise.reject(failure), straggler]);
      }),
    ).rejects.toBe(failure);
    await withOrganisation(app, theirs, async (client) => {
      await client.query('select pg_sleep(0.3)');
    });
    await expect(straggler).rejects.toThrow(
      'The transaction is over: await each query inside withOrganisation.',
    );
    await expectClean(app);
  });

  test('refuses late queries also by a method read earlier, and by a client that a method returned', async () => {
    let query: pg.ClientBase['query'] | undefined;
    let chained: pg.PoolClient | undefined;
    await withOrganisation(app, ours, async (client) => {
      query = client.query;
      chained = client.on('notice', () => {});
    });
    await withOrganisation(app, theirs, async () => {
      const over = 'The transaction is over: await each query inside withOrganisation.';
      expect(() => query?.('select 1')).toThrow(over);
      expect(() => chained?.query('select 1')).toThrow(over);
      expect(() => chained?.release()).toThrow('withOrganisation releases the client itself.');
    });
  });

  test('does not let the work release the client', async () => {
    let next: Promise<void> | undefined;
    await withOrganisation(app, ours, async (client) => {
      expect(() => client.release()).toThrow('withOrganisation releases the client itself.');
      next = expectClean(app);
      expect(await visible(client)).toEqual([ours]);
    });
    await next;
  });

  test('keeps a lost connection out of the pool, and does not crash the process', async () => {
    await expect(
      withOrganisation(app, ours, async (client) => {
        const { rows } = await client.query('select pg_backend_pid() as pid');
        await pool.query('select pg_terminate_backend($1)', [rows[0].pid]);
        await new Promise((resolve) => setTimeout(resolve, 50));
        await visible(client);
      }),
    ).rejects.toThrow();
    await expectClean(app);
  });

  test('isolates a hundred transactions of two organisations on three connections', async () => {
    const busy = new pg.Pool({ ...app.options, max: 3 });
    busy.on('error', () => {});
    const found = await Promise.all(
      Array.from({ length: 100 }, (_, index) => {
        const organisationId = index % 2 === 0 ? ours : theirs;
        return withOrganisation(busy, organisationId, async (client) => {
          await client.query('select pg_sleep(0.001 * random())');
          return [organisationId, await visible(client)] as const;
        });
      }),
    );
    await busy.end();
    for (const [organisationId, seen] of found) expect(seen).toEqual([organisationId]);
  });

  test('refuses an invalid UUID before it takes a connection', async () => {
    await expect(withOrganisation(app, 'x', async () => {})).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

/** Watches when queries are sent and answered. */
function watched(client: pg.PoolClient, seen: string[]): pg.PoolClient {
  return new Proxy(client, {
    get(target, key) {
      const value = Reflect.get(target, key);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const result = value.apply(target, args);
        if (key !== 'query') return result;
        const name = String(args[0]).slice(0, 6);
        seen.push(`${name} sent`);
        return result.finally(() => seen.push(`${name} answered`));
      };
    },
  });
}

test.each([
  ['waits until the transaction has begun', plain, ['begin; sent', 'begin; answered', 'select sent']],
  ['on a pool that pipelines, does not wait', pipelining, ['begin; sent', 'select sent', 'begin; answered']],
])('the first query of the work %s', async (_, pool, first) => {
  const seen: string[] = [];
  await withOrganisation(
    { connect: async () => watched(await pool.connect(), seen) } as never,
    ours,
    (client: pg.ClientBase) => client.query('select 1'),
  );
  expect(seen.slice(0, 3)).toEqual(first);
});

test.each([
  ['a pool', {}],
  ['a pool that pipelines', { pipeline: true }],
])('nothing is written on %s if the transaction cannot begin', async (_, options) => {
  const lost = new pg.Pool({
    connectionString: database.url,
    options: '-c search_path=pg_catalog',
    ...options,
  });
  try {
    await expect(
      withOrganisation(lost, ours, async (client) => {
        // Whatever the work makes of it.
        await client.query('delete from public.crm_connections').catch(() => {});
        throw new Error('of the work');
      }),
    ).rejects.toMatchObject({ code: 'schema_not_found' });
    expect((await visible(pool)).toSorted()).toEqual([ours, theirs].toSorted());
  } finally {
    await lost.end();
  }
});
