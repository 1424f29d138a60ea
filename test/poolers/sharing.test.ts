import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import {
  contactExternalIdResolve,
  providers,
  syncBatchRecord,
  syncRunClaim,
  withNamedStatements,
  withOrganisation,
} from '../../src/index.js';
import { createSamples, queries, queryNames } from '../queries/every-query.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { noOdyssey, startOdyssey } from './odyssey.js';
import type { Pooler } from './pooler.js';
import { poolers } from './poolers.js';

describe.each(poolers)('behind $name in transaction mode', ({ start, discards, supportsNamedStatements }) => {
  const database = useDatabase();
  const member = useMember(database, 'crm_app');

  const started: Pooler[] = [];
  const pools: pg.Pool[] = [];

  /** Pools whose clients share this many connections to the server. */
  async function sharedPools(
    connections: number,
    clients: readonly number[],
    as = database.pool,
  ): Promise<pg.Pool[]> {
    const url = as.options.connectionString as string;
    const users = [...new Set([database.url, url])];
    const pooler = await start({ connections, users });
    started.push(pooler);
    return clients.map((max) => {
      const pool = new pg.Pool({ connectionString: pooler.through(url), max });
      pool.on('error', () => {});
      pools.push(pool);
      return pool;
    });
  }

  let many: pg.Pool;
  beforeAll(async () => {
    [many] = (await sharedPools(2, [20])) as [pg.Pool];
  });
  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.end()));
    await Promise.all(started.map((pooler) => pooler.stop()));
  });

  test('twenty clients share two connections', async () => {
    const pids = await Promise.all(
      Array.from({ length: 100 }, async () => {
        const { rows } = await many.query('select pg_backend_pid() as pid, pg_sleep(0.001)');
        return rows[0].pid;
      }),
    );
    expect(many.totalCount).toBe(20);
    expect(new Set(pids).size).toBe(2);
  });

  test('every query runs, and read-only queries give twenty clients the same answers as the server gives one', async () => {
    const samples = await createSamples(many);
    for (const name of queryNames) {
      for (const params of samples[name]) await queries[name].run(params, many);
    }
    // Queries that read the clock may give another answer a moment later.
    const reads = queryNames.filter(
      (name) =>
        !/\b(insert|update|delete|crm_set_\w+|crm_now|crm_(take|block)_rate_limit|crm_continue_fill)\b/.test(
          queries[name].text,
        ),
    );
    expect(reads.length).toBeGreaterThan(10);
    const calls = reads.flatMap((name) => samples[name].map((params) => ({ name, params })));
    const ask = (pool: pg.Pool) =>
      Promise.all(calls.map(({ name, params }) => queries[name].run(params as never, pool)));
    const direct = await ask(database.pool);
    const rounds = await Promise.all(Array.from({ length: 10 }, () => ask(many)));
    for (const answers of rounds) expect(answers).toEqual(direct);
  });

  test('concurrent batches of many runs, each with rows of the host, are all recorded', async () => {
    const tenants = await Promise.all(Array.from({ length: 5 }, () => createTenant(many)));
    for (const { organisationId } of tenants) {
      await Promise.all(providers.map((provider) => connect(many, organisationId, provider)));
    }
    const ours = new Set(tenants.map(({ organisationId }) => organisationId));
    const claimed = await syncRunClaim(many, { worker: 'test', limit: 1000 });
    const runs = claimed.filter(({ organisationId }) => ours.has(organisationId));
    expect(runs).toHaveLength(30);

    await Promise.all(
      runs.map(async (run) => {
        for (const batchNumber of [1, 2, 3]) {
          const client = await many.connect();
          await client.query('begin');
          const { rows } = await client.query(
            "insert into contacts (id, organisation_id, name) values (gen_random_uuid(), $1, 'Test Person') returning id",
            [run.organisationId],
          );
          const event = {
            direction: 'inbound',
            entityType: 'contact',
            externalId: `${batchNumber}`,
          } as const;
          const result = await syncBatchRecord(client, {
            ...run,
            batchNumber,
            events: [{ ...event, internalId: rows[0].id, status: 'success', linksContact: true }],
          });
          await client.query('commit');
          client.release();
          expect(result).toMatchObject({ outcome: 'recorded', conflicts: [] });
        }
      }),
    );

    for (const { organisationId, provider } of runs) {
      const record = { organisationId, provider, entityType: 'contact' };
      expect(await contactExternalIdResolve(many, { ...record, externalId: '3' })).not.toBeNull();
    }
    const { rows } = await many.query(
      'select count(*)::integer as events from crm_sync_log where organisation_id = any ($1)',
      [[...ours]],
    );
    expect(rows).toEqual([{ events: 90 }]);
  });

  describe('the organisation of a transaction', () => {
    let ours: string;
    let theirs: string;
    beforeAll(async () => {
      for (const _ of [1, 2]) {
        const { organisationId } = await createTenant(database.pool);
        await connect(database.pool, organisationId);
        theirs = ours;
        ours = organisationId;
      }
    });

    /** The server process of a client, and the organisations whose rows it sees, or the error code. */
    async function look(client: pg.ClientBase): Promise<{ pid: number; sees: string[] | string }> {
      const { rows } = await client.query('select pg_backend_pid() as pid');
      const sees = await client.query('select organisation_id as id from crm_connections').then(
        (found) => found.rows.map(({ id }) => id as string),
        ({ code }) => code as string,
      );
      return { pid: rows[0].pid, sees };
    }
    const unset = 'CRM05';
    /** The same for a pool, whose own `query` would close the connection after a failed statement. */
    async function lookFrom(pool: pg.Pool) {
      const client = await pool.connect();
      try {
        return await look(client);
      } finally {
        client.release();
      }
    }

    test.each(['commit', 'rollback', 'select 1 / 0'])(
      'ends with "%s", before the next client',
      async (end) => {
        const [one, next] = (await sharedPools(1, [1, 1], member)) as [pg.Pool, pg.Pool];
        const client = await one.connect();
        await client.query('begin');
        await client.query('select crm_set_organisation($1)', [ours]);
        const during = await look(client);
        expect(during.sees).toEqual([ours]);
        await client.query(end).catch(() => client.query('rollback'));
        expect(await lookFrom(next)).toEqual({ pid: during.pid, sees: unset });
        const withTheirs = await withOrganisation(next, theirs, (other) => look(other));
        expect(withTheirs).toEqual({ pid: during.pid, sees: [theirs] });
        expect(await look(client)).toEqual({ pid: during.pid, sees: unset });
        client.release();
      },
    );

    test('ends when its client disappears', async () => {
      const [one, next] = (await sharedPools(1, [1, 1], member)) as [pg.Pool, pg.Pool];
      const client = await one.connect();
      client.on('error', () => {});
      await client.query('begin');
      await client.query('select crm_set_organisation($1)', [ours]);
      expect(await look(client)).toMatchObject({ sees: [ours] });
      (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
      expect(await lookFrom(next)).toMatchObject({ sees: unset });
      client.release(true);
    });

    test('is isolated in two hundred transactions of twenty clients on two connections', async () => {
      const [busy] = (await sharedPools(2, [20], member)) as [pg.Pool];
      const seen = await Promise.all(
        Array.from({ length: 200 }, async (_, index) => {
          const organisationId = index % 2 === 0 ? ours : theirs;
          return withOrganisation(busy, organisationId, async (client) => {
            await client.query('select pg_sleep(0.001 * random())');
            const { pid, sees } = await look(client);
            return { pid, isExpected: String(sees) === organisationId };
          });
        }),
      );
      expect(seen.every(({ isExpected }) => isExpected)).toBe(true);
      expect(new Set(seen.map(({ pid }) => pid)).size).toBe(2);
    });

    test('if set for the session, which this package never does, leaks to the next client unless the pooler resets it', async () => {
      const [one, next] = (await sharedPools(1, [1, 1], member)) as [pg.Pool, pg.Pool];
      await one.query("select set_config('crm_schema.organisation_id', $1, false)", [ours]);
      expect(await lookFrom(next)).toMatchObject({ sees: discards ? unset : [ours] });
    });
  });

  describe('named statements', () => {
    test.runIf(supportsNamedStatements)('work', async () => {
      const clients = await sharedPools(1, [1, 1]);
      for (const client of [...clients, ...clients]) {
        await queries.credentialsCountByKey.run(undefined, withNamedStatements(client));
      }
    });

    test.skipIf(supportsNamedStatements)(
      'fail in a PgBouncer before 1.21, and unnamed ones do not',
      async () => {
        const [one, next] = (await sharedPools(1, [1, 1])) as [pg.Pool, pg.Pool];
        const { credentialsCountByKey } = queries;
        await credentialsCountByKey.run(undefined, withNamedStatements(one));
        // Another client has already prepared the name on this connection to the server.
        await expect(credentialsCountByKey.run(undefined, withNamedStatements(next))).rejects.toMatchObject({
          code: '42P05',
        });
        await credentialsCountByKey.run(undefined, next);
      },
    );
  });
});

test.skipIf(noOdyssey)(
  'named statements fail behind Odyssey without pool_reserve_prepared_statement',
  async () => {
    const database = inject('serverUrl');
    const pooler = await startOdyssey({ connections: 1, users: [database] }, { reservesStatements: false });
    onTestFinished(() => pooler.stop());
    const [one, next] = [0, 1].map(() => new pg.Client({ connectionString: pooler.through(database) }));
    for (const client of [one, next]) {
      await client?.connect();
      onTestFinished(() => client?.end());
    }
    const statement = { name: 'crm_schema_test', text: 'select 1' };
    await one?.query(statement);
    await expect(next?.query(statement)).rejects.toMatchObject({ code: '42P05' });
  },
);
