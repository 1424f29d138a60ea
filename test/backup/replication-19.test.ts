import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest';
import { syncRunClaim } from '../../src/index.js';
import { createSamples, queries, queryNames } from '../queries/every-query.js';
import { connect } from '../support/connection.js';
import { createTenant } from '../support/database.js';
import { insertEvents } from '../support/log-partitions.js';
import { caughtUp, type Side, startSide } from './sides.js';
import { contents, deleteWhatMigrationsWrote, fill } from './support.js';

describe.skipIf(inject('serverMajorVersion') < 19)('on PostgreSQL 19', () => {
  let publisher: Side;
  let subscriber: Side;
  let subscriberLog = '';

  beforeAll(async () => {
    publisher = await startSide({ wal_level: 'logical' }, () => {});
    subscriber = await startSide({ wal_retrieve_retry_interval: '100ms' }, (text) => {
      subscriberLog += text;
    });
    await fill(publisher.pool);
  }, 120_000);
  afterAll(async () => {
    for (const { pool, server } of [publisher, subscriber]) {
      await pool.end();
      await server.stop();
    }
  });

  /** The rows of every table but the migrations table, whatever partition holds them. */
  async function rowsOf({ pool }: Side): Promise<Record<string, string[]>> {
    return Object.fromEntries(
      Object.entries(await contents(pool))
        .filter(([table]) => !/(migrations|_emptied)$/.test(table))
        .map(([table, lines]) => [table, lines.map((line) => line.slice(line.indexOf(' '))).sort()]),
    );
  }

  async function expectSame(): Promise<void> {
    await caughtUp(publisher, subscriber).catch((error) => expect.unreachable(`${error}\n${subscriberLog}`));
    expect(await rowsOf(subscriber)).toEqual(await rowsOf(publisher));
  }

  test('a publication for all tables except the migrations table, and all sequences, copies and follows', async () => {
    await publisher.pool.query("create role crm_replication login replication bypassrls password 'test'");
    await publisher.pool.query(
      `grant select on all tables in schema public to crm_replication;
       grant select on all sequences in schema public to crm_replication;
       create publication crm_schema for all tables except (table pgmigrations), all sequences
         with (publish_via_partition_root = true)`,
    );
    await deleteWhatMigrationsWrote(subscriber.pool);
    const { hostname, port } = new URL(publisher.server.url);
    await subscriber.pool.query(
      `create subscription crm_schema
       connection 'host=${hostname} port=${port} dbname=postgres user=crm_replication password=test options=-crow_security=off'
       publication crm_schema
       with (disable_on_error = true)`,
    );
    await expectSame();
    const samples = await createSamples(publisher.pool);
    for (const name of queryNames) {
      for (const params of samples[name]) await queries[name].run(params, publisher.pool);
    }
    await expectSame();
  });

  test('all tables stop at a month that takes events from the catch-all; listed tables and all sequences go on', async () => {
    const { organisationId } = await createTenant(publisher.pool);
    const key = await connect(publisher.pool, organisationId);
    const inFourMonths = new Date();
    inFourMonths.setUTCMonth(inFourMonths.getUTCMonth() + 4, 1);
    const event = {
      direction: 'inbound',
      entityType: 'contact',
      externalId: '1',
      status: 'success',
    } as const;
    const record = () =>
      insertEvents(publisher.pool, {
        ...key,
        events: [{ ...event, occurredAt: inFourMonths.toISOString() }],
      });
    await record();
    await expectSame();
    await publisher.pool.query('select crm_sync_log_ensure_partitions(4)');
    const stopped =
      /relation "public\.crm_sync_log_emptied" does not exist[\s\S]*?finished at ([0-9A-F]+\/[0-9A-F]+)/;
    await vi.waitFor(() => expect(subscriberLog).toMatch(stopped), { timeout: 50_000, interval: 100 });
    await vi.waitFor(
      async () => {
        const { rows } = await subscriber.pool.query('select subenabled from pg_subscription');
        expect(rows).toEqual([{ subenabled: false }]);
      },
      { timeout: 50_000, interval: 100 },
    );

    const position = stopped.exec(subscriberLog)?.[1];
    await subscriber.pool.query(`alter subscription crm_schema skip (lsn = '${position}')`);
    await subscriber.pool.query('alter subscription crm_schema enable');
    await caughtUp(publisher, subscriber);
    const tables = Object.keys(await rowsOf(publisher));
    await publisher.pool.query(
      `create publication crm_schema_tables for table ${tables.join(', ')} with (publish_via_partition_root = true)`,
    );
    await publisher.pool.query('create publication crm_schema_sequences for all sequences');
    await subscriber.pool.query(
      'alter subscription crm_schema set publication crm_schema_tables, crm_schema_sequences',
    );
    await publisher.pool.query('drop publication crm_schema');
    await record();
    await expectSame();
  });

  test('the subscriber takes over after `refresh sequences`, with no statement for each sequence', async () => {
    const lastOf = async ({ pool }: Side) => {
      const { rows } = await pool.query(
        "select sequencename, last_value from pg_sequences where sequencename like 'crm\\_%' order by 1",
      );
      return rows;
    };
    await publisher.pool.query("select nextval('crm_sync_runs_id_seq') from generate_series(1, 100)");
    expect(await lastOf(subscriber)).not.toEqual(await lastOf(publisher));

    await subscriber.pool.query('alter subscription crm_schema refresh sequences');
    await caughtUp(publisher, subscriber);
    expect(await lastOf(subscriber)).toEqual(await lastOf(publisher));

    const last = await publisher.pool.query('select max(id) as id from crm_sync_runs');
    await subscriber.pool.query('drop subscription crm_schema');
    await subscriber.pool.query(
      'update crm_connections set next_sync_at = now() where next_sync_at is not null',
    );
    const [run] = await syncRunClaim(subscriber.pool, { worker: 'test', limit: 1 });
    expect(BigInt(run?.runId ?? 0)).toBeGreaterThan(BigInt(last.rows[0].id) + 99n);
    const samples = await createSamples(subscriber.pool);
    for (const name of queryNames) {
      for (const params of samples[name]) await queries[name].run(params, subscriber.pool);
    }
  });
});
