import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { PG_MIGRATE_LOCK_ID, runner } from 'node-pg-migrate';
import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { projectPath, withClient } from '../../dev/database.js';
import { migrateUp } from '../../src/migrations.js';
import { catalog } from '../migrations/catalog.js';
import { useDatabase } from '../support/database.js';
import { migrations } from '../support/migrations.js';
import { freshDatabase, recorded, useBuiltCli } from './migrations.js';

const names = migrations.map(({ file }) => file.replace('.sql', ''));
const cli = useBuiltCli();
const stock = useDatabase();
let whole: string[];
beforeAll(async () => {
  whole = await catalog(stock.pool);
});

async function expectWhole(url: string): Promise<void> {
  expect(await recorded(url)).toEqual(names);
  expect(await withClient(url, (client) => catalog(client))).toEqual(whole);
}

function start(url: string, ...args: string[]) {
  return cli.start(url, ['migrate', 'up', ...args]);
}

/** Waits until an SQL condition holds in the database. */
async function until(url: string, condition: string): Promise<void> {
  await withClient(url, async (client) => {
    await expect
      .poll(async () => (await client.query(`select ${condition} as holds`)).rows[0].holds)
      .toBe(true);
  });
}

/** Whether a migrator waits for a lock. */
const isWaiting = `exists (
  select
  from pg_stat_activity
  where datname = current_database()
    and application_name = 'crm-schema'
    and wait_event_type = 'Lock'
)`;

/** Runs `work` while another session holds a lock on a table that keeps it from being altered. */
async function whileHeld(
  url: string,
  table: string,
  work: (holder: pg.Client) => Promise<void>,
): Promise<void> {
  await withClient(url, async (holder) => {
    await holder.query("set application_name = 'a report'");
    await holder.query(`begin; lock table ${table} in access share mode`);
    await work(holder);
  });
}

describe('several migrators at once', () => {
  test('of twenty pipelines apply each migration once', async () => {
    const url = await freshDatabase();
    await withClient(url, async (barrier) => {
      await barrier.query(`select pg_advisory_lock(${PG_MIGRATE_LOCK_ID})`);
      const pipelines = Array.from({ length: 20 }, () => start(url, '--json'));
      // Two connections each: one migrates, one looks for blocking sessions.
      await until(
        url,
        "(select count(*) = 40 from pg_stat_activity where datname = current_database() and application_name = 'crm-schema')",
      );
      await barrier.query(`select pg_advisory_unlock(${PG_MIGRATE_LOCK_ID})`);
      const runs = await Promise.all(pipelines.map(({ ended }) => ended));
      expect(runs.map(({ code }) => code)).toEqual(runs.map(() => 0));
      const applied = runs.flatMap(({ stdout }) =>
        JSON.parse(stdout).migrations.map(({ name }: { name: string }) => name),
      );
      expect(applied.toSorted()).toEqual(names);
    });
    await expectWhole(url);
  });

  test('wait for each other, and name the one they wait for', async () => {
    const url = await freshDatabase();
    await withClient(url, async (other) => {
      await other.query("set application_name = 'the other pipeline'");
      const { rows } = await other.query(
        `select pg_backend_pid() as pid from pg_advisory_lock(${PG_MIGRATE_LOCK_ID})`,
      );
      const { pid } = rows[0];
      const impatient = await start(url, '--wait', '0').ended;
      expect(impatient).toEqual({
        code: 1,
        stdout: '',
        stderr: [
          `Waiting for another migrator: process ${pid} (the other pipeline, idle).`,
          `Another migrator still holds the migration lock after 0 s: server process ${pid}. Wait for it to end, then run this again.\n`,
        ].join('\n'),
      });
      const { child, ended } = start(url);
      await once(child.stderr, 'data');
      await other.query(`select pg_advisory_unlock(${PG_MIGRATE_LOCK_ID})`);
      expect(await ended).toMatchObject({ code: 0 });
    });
    await expectWhole(url);
  });

  test('keep stock node-pg-migrate out', async () => {
    const url = await freshDatabase();
    await start(url, '--to', '5').ended;
    await whileHeld(url, 'crm_connections', async (holder) => {
      const { ended } = start(url);
      await until(url, isWaiting);
      const attempt = withClient(url, (client) =>
        runner({
          dbClient: client,
          dir: projectPath('migrations'),
          migrationsTable: 'crm_schema_migrations',
          direction: 'up',
          logger: { debug() {}, info() {}, warn() {}, error() {} },
        }),
      );
      await expect(attempt).rejects.toThrow('Another migration is already running');
      await holder.query('commit');
      expect(await ended).toMatchObject({ code: 0 });
    });
    await expectWhole(url);
  });

  test('apply each migration once even where the session-level lock does not hold', async () => {
    const url = await freshDatabase();
    await start(url, '--to', '4').ended;
    /** As through an unnoticed pooler: everyone who asks for the lock gets it. */
    const unlocked = (client: pg.Client) => ({
      query: (text: string, values?: unknown[]) =>
        client.query(text.replace(/pg_catalog\.pg_try_advisory_lock\(\d+\)/, 'true'), values),
    });
    const results = await Promise.all(
      Array.from({ length: 4 }, () => withClient(url, (client) => migrateUp(unlocked(client)))),
    );
    const applied = results.flatMap(({ migrations: done }) => done.map(({ name }) => name));
    expect(applied.toSorted()).toEqual(names.slice(4));
    await expectWhole(url);
  });
});

describe('while an application holds its tables, migrate up', () => {
  test('tries again, and names the blocking session each time', async () => {
    const url = await freshDatabase();
    await start(url, '--to', '5').ended;
    await whileHeld(url, 'crm_connections', async (holder) => {
      const { child, ended } = start(url);
      let said = '';
      child.stderr.on('data', (text) => {
        said += text;
      });
      await expect.poll(() => said).toContain('; attempt 2 of 10 in ');
      await holder.query('commit');
      const { code, stderr } = await ended;
      expect({ code, lines: stderr.split('\n') }).toEqual({
        code: 0,
        lines: expect.arrayContaining([
          expect.stringMatching(
            /^\[ 1\/\d+\] 0006_add_sync_schedule: no lock in time, blocked by process \d+ \(a report, idle in transaction for \d+ s\); attempt 2 of 10 in \d\.\d\d s$/,
          ),
        ]),
      });
    });
    await expectWhole(url);
  });

  test('gives up after its attempts, and leaves nothing half done', async () => {
    const url = await freshDatabase();
    await start(url, '--to', '5').ended;
    await whileHeld(url, 'crm_connections', async () => {
      const { code, stdout, stderr } = await start(url, '--attempts', '1').ended;
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(
        /^Could not run 0006_add_sync_schedule in 1 attempt, blocked by process \d+ \(a report, idle in transaction for \d+ s\)\. Earlier migrations are kept: run the command again when that transaction has ended\.\n$/,
      );
      expect(await recorded(url)).toEqual(names.slice(0, 5));
    });
    expect(await start(url).ended).toMatchObject({ code: 0 });
    await expectWhole(url);
  });
});

describe('an interruption', () => {
  test.each(['SIGINT', 'SIGTERM'] as const)(
    'by %s cancels the running statement, rolls back, and reports it',
    async (signal) => {
      const url = await freshDatabase();
      await start(url, '--to', '5').ended;
      await withClient(url, async (client) => {
        // A file's statement_timeout must not end it before the test does.
        await client.query(`
          create function run_long() returns event_trigger language plpgsql as $$
          begin
            perform set_config('statement_timeout', '0', true), pg_sleep(600);
          end
          $$;
          create event trigger long on ddl_command_start when tag in ('ALTER TABLE') execute function run_long()`);
        const isRunning =
          "exists (select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database())";
        const { child, ended } = start(url);
        await until(url, isRunning);
        child.kill(signal);
        expect(await ended).toEqual({
          code: 1,
          stdout: '',
          stderr:
            'Interrupted: the migration in progress was rolled back. Run the command again for the rest.\n',
        });
        await until(url, `not ${isRunning}`);
        await client.query('drop event trigger long; drop function run_long()');
      });
      expect(await recorded(url)).toEqual(names.slice(0, 5));
      expect(await start(url).ended).toMatchObject({ code: 0 });
      await expectWhole(url);
    },
  );

  test('by kill -9 during a statement leaves a state that the next run completes', async () => {
    const url = await freshDatabase();
    await start(url, '--to', '5').ended;
    await whileHeld(url, 'crm_connections', async (holder) => {
      const { child, ended } = start(url);
      await until(url, isWaiting);
      child.kill('SIGKILL');
      expect(await ended).toMatchObject({ code: null });
      const next = start(url);
      // The server has not noticed, and keeps running the dead migrator's statement, with its lock.
      await once(next.child.stderr, 'data');
      await holder.query('commit');
      const { code, stderr } = await next.ended;
      expect(code).toBe(0);
      expect(stderr).toMatch(/^Waiting for another migrator: process \d+ \(crm-schema, active for \d+ s\)\./);
    });
    await expectWhole(url);
  });

  test('by kill -9 at any moment leaves a state that the next run completes', async () => {
    const url = await freshDatabase();
    let kills = 0;
    for (let applied = 0; applied < names.length; ) {
      const { child, ended } = start(url);
      const first = await Promise.race([once(child.stderr, 'data'), ended]);
      if (Array.isArray(first)) {
        await sleep(60 * Math.random());
        child.kill('SIGKILL');
      }
      if ((await ended).code === null) kills += 1;
      applied = (await recorded(url)).length;
    }
    expect(kills).toBeGreaterThan(0);
    expect(await start(url).ended).toMatchObject({ code: 0 });
    await expectWhole(url);
  });

  test('by a signal cancels the running statement of a user that works as another role, too', async () => {
    const url = await freshDatabase();
    const name = `crm_test_${randomBytes(6).toString('hex')}`;
    await withClient(url, (client) =>
      client.query(
        `create role ${name}_owner;
         create role ${name} login password 'test' in role ${name}_owner;
         alter role ${name} set role = ${name}_owner;
         grant create on schema public to ${name}_owner;
         create function run_long() returns event_trigger language plpgsql as
           $$ begin perform set_config('statement_timeout', '0', true), pg_sleep(600); end $$;
         create event trigger long on ddl_command_start when tag in ('CREATE TABLE') execute function run_long()`,
      ),
    );
    const userUrl = new URL(url);
    userUrl.username = name;
    userUrl.password = 'test';
    const { child, ended } = start(userUrl.href);
    await until(
      url,
      "exists (select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep')",
    );
    child.kill('SIGTERM');
    expect(await ended).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /Interrupted: the migration in progress was rolled back\. Run the command again for the rest\.\n$/,
      ),
    });
    await withClient(url, (client) =>
      client.query(`drop owned by ${name}_owner; drop role ${name}; drop role ${name}_owner`),
    );
  });

  test('by the server keeps finished migrations, and says to run the command again', async () => {
    const url = await freshDatabase();
    await start(url, '--to', '5').ended;
    await whileHeld(url, 'crm_connections', async (holder) => {
      const { ended } = start(url);
      await until(url, isWaiting);
      await holder.query(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'crm-schema'",
      );
      expect(await ended).toEqual({
        code: 1,
        stdout: '',
        stderr:
          '0006_add_sync_schedule failed: The connection to the database was lost. Committed work is kept: run the command again for the rest.\n',
      });
    });
    expect(await start(url).ended).toMatchObject({ code: 0 });
    await expectWhole(url);
  });
});

test('migrateUp outlasts idle_session_timeout, and restores it', async () => {
  const url = await freshDatabase();
  await withClient(url, async (client) => {
    await client.query("set idle_session_timeout = '250ms'");
    await withClient(url, async (other) => {
      await other.query(`select pg_advisory_lock(${PG_MIGRATE_LOCK_ID})`);
      const migrated = migrateUp(client, {
        to: 1,
        onProgress: async ({ step }) => {
          if (step !== 'waiting') return;
          await sleep(1000);
          await other.query(`select pg_advisory_unlock(${PG_MIGRATE_LOCK_ID})`);
        },
      });
      expect((await migrated).migrations).toHaveLength(1);
      // The lock is free again, though the session goes on.
      const { rows } = await other.query(`select pg_try_advisory_lock(${PG_MIGRATE_LOCK_ID}) as "isFree"`);
      expect(rows).toEqual([{ isFree: true }]);
    });
    expect((await client.query('show idle_session_timeout')).rows).toEqual([
      { idle_session_timeout: '250ms' },
    ]);
  });
});
