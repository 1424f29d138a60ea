import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import { createHostTables, migrate, withClient } from '../../dev/database.js';
import { syncLogListByConnection } from '../../src/index.js';
import { catalog } from '../migrations/catalog.js';
import { createSamples, queries, queryNames } from '../queries/every-query.js';
import { type TestDatabase, useDatabase } from '../support/database.js';
import { isMissing } from '../support/programs.js';
import { differencesOf } from '../verify/support.js';
import { findClients } from './clients.js';
import { contents, deleteWhatMigrationsWrote, fill } from './support.js';

const major = inject('serverMajorVersion');
const clients = findClients(major);
const noClients = isMissing(`pg_dump of PostgreSQL ${major} or newer`, clients, 'TEST_REQUIRE_PG_DUMP');

describe.skipIf(noClients)('a dump', () => {
  const source = useDatabase();

  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'crm-schema-dump-'));
    await fill(source.pool);
    // More months than a newly migrated database has.
    await ensureMonths(source.pool, 5);
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** Creates the log's partitions of this month and of so many after it, which takes two calls. */
  async function ensureMonths(pool: pg.Pool, months: number): Promise<void> {
    for (let call = 1; call <= 2; call += 1)
      await pool.query('select crm_sync_log_ensure_partitions($1)', [months]);
  }

  /** Runs one of PostgreSQL's programs, without any environment variables. */
  async function run(program: string, ...args: string[]): Promise<void> {
    const { stderr } = await promisify(execFile)(join(clients as string, program), args);
    expect(stderr).toBe('');
  }

  /** The catalog without the parentheses of conditions, some of which a restore omits. */
  async function comparable(client: pg.ClientBase): Promise<string[]> {
    return (await catalog(client)).map((line) =>
      line.startsWith('constraint') ? line.replace(/[()]/g, '') : line,
    );
  }

  /** Expects the other database to have the same objects and the same rows. */
  async function expectSame(restored: TestDatabase, from = source): Promise<void> {
    expect(await withClient(restored.url, comparable)).toEqual(await withClient(from.url, comparable));
    expect(await contents(restored.pool)).toEqual(await contents(from.pool));
    expect(await withClient(restored.url, differencesOf)).toEqual([]);
  }

  /** Expects that work can continue in a database as in the dumped one. */
  async function expectAlive({ pool, url }: TestDatabase): Promise<void> {
    const { rows } = await pool.query('select max(id) as id from crm_sync_log');
    const samples = await createSamples(pool);
    for (const name of queryNames) {
      for (const params of samples[name]) await queries[name].run(params, pool);
    }
    const [key] = samples.connectionGet as [{ organisationId: string; connectionId: string }];
    const [latest] = await syncLogListByConnection(pool, { ...key, limit: 1 });
    expect(BigInt(latest?.id ?? 0)).toBeGreaterThan(BigInt(rows[0].id));
    await expect(pool.query('delete from crm_sync_log')).rejects.toMatchObject({ code: 'CRM02' });
    await pool.query('select crm_sync_log_ensure_partitions(7)');
    // No migration is pending.
    await withClient(url, (client) => migrate(client));
  }

  test('contains every kind of object', async () => {
    const empty = Object.entries(await contents(source.pool)).filter(([, lines]) => lines.length === 0);
    expect(empty.map(([table]) => table)).toEqual([]);
    const { rows } = await source.pool.query('select distinct tableoid from crm_sync_log');
    expect(rows.length).toBeGreaterThanOrEqual(3);
  });

  describe('in custom format', () => {
    const restored = useDatabase('empty');

    test('restores every object and row, and work continues', async () => {
      const file = join(folder, 'custom');
      await run('pg_dump', '--format=custom', `--file=${file}`, source.url);
      await run('pg_restore', '--exit-on-error', '--single-transaction', `--dbname=${restored.url}`, file);
      await expectSame(restored);
      await expectAlive(restored);
    });
  });

  describe('in plain SQL', () => {
    const restored = useDatabase('empty');

    test('restores every object and row through psql, and work continues', async () => {
      const file = join(folder, 'plain.sql');
      await run('pg_dump', `--file=${file}`, source.url);
      await run(
        'psql',
        '--no-psqlrc',
        '--quiet',
        '--output=/dev/null',
        '--set=ON_ERROR_STOP=1',
        `--file=${file}`,
        restored.url,
      );
      await expectSame(restored);
      await expectAlive(restored);
    });
  });

  describe('in custom format, restored section by section and in parallel', () => {
    const restored = useDatabase('empty');

    test('restores every object and row: the triggers come last', async () => {
      const file = join(folder, 'sections');
      await run('pg_dump', '--format=custom', `--file=${file}`, source.url);
      for (const section of ['pre-data', 'data', 'post-data']) {
        const options = [`--section=${section}`, '--exit-on-error', '--jobs=3'];
        await run('pg_restore', ...options, `--dbname=${restored.url}`, file);
      }
      await expectSame(restored);
    });
  });

  describe.each([
    ['with other months, in one transaction', 0, ['--single-transaction']],
    // With triggers, two sessions would wait for each other's identity locks.
    ['with the same months, in parallel without triggers', 5, ['--jobs=3', '--disable-triggers']],
  ])('of the rows only, into a migrated database %s', (_, months, how) => {
    const restored = useDatabase();

    test('restores every row, and adds nothing to the history of ids', async () => {
      const file = join(folder, `data-${months}`);
      if (months > 0) await ensureMonths(restored.pool, months);
      await deleteWhatMigrationsWrote(restored.pool);
      const options = ['--data-only', '--load-via-partition-root', '--exclude-table=pgmigrations'];
      await run('pg_dump', '--format=custom', ...options, `--file=${file}`, source.url);
      await run('pg_restore', '--data-only', '--exit-on-error', ...how, `--dbname=${restored.url}`, file);
      const withoutPlace = async (pool: pg.Pool) =>
        Object.entries(await contents(pool)).map(([table, lines]) => [
          table,
          table === 'pgmigrations' ? [] : lines.map((line) => line.slice(line.indexOf(' '))).sort(),
        ]);
      expect(await withoutPlace(restored.pool)).toEqual(await withoutPlace(source.pool));
      expect(await withClient(restored.url, differencesOf)).toEqual([]);
      await expectAlive(restored);
    });
  });

  describe('by an owner who is not a superuser', () => {
    const own = useDatabase('empty');
    const restored = useDatabase('empty');

    test('restores every object and row, also as that owner', async () => {
      const name = `crm_test_${randomBytes(6).toString('hex')}`;
      await own.pool.query(`create role ${name} login password 'test'`);
      onTestFinished(async () => {
        for (const { pool } of [own, restored]) {
          await pool.query(`reassign owned by ${name} to current_user`);
          await pool.query(`drop owned by ${name}`);
        }
        await own.pool.query(`drop role ${name}`);
      });
      const asOwner = ({ url }: TestDatabase): string => {
        const ownerUrl = new URL(url);
        [ownerUrl.username, ownerUrl.password] = [name, 'test'];
        return ownerUrl.href;
      };
      for (const { pool, url } of [own, restored]) {
        await pool.query(`alter database ${new URL(url).pathname.slice(1)} owner to ${name}`);
      }
      await withClient(asOwner(own), async (client) => {
        await createHostTables(client);
        await migrate(client);
      });
      await fill(own.pool);

      const file = join(folder, 'owner');
      await run('pg_dump', '--format=custom', `--file=${file}`, asOwner(own));
      await run(
        'pg_restore',
        '--exit-on-error',
        '--single-transaction',
        `--dbname=${asOwner(restored)}`,
        file,
      );
      await expectSame(restored, own);
      await expectAlive(restored);
    });
  });
});
