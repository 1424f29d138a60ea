import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { syncFailureList, syncLogRecord } from '../../src/index.js';
import { dropMarker } from '../../src/partitions/drop-marker.js';
import { type Run, runCli, startCli } from '../support/cli.js';
import { insert, useDatabase } from '../support/database.js';
import { backendPid } from '../support/locks.js';
import {
  beginLog,
  connectWithEvents,
  detachedNames,
  eventsOf,
  interruptDetach,
  monthName,
  monthStart,
  partitionNames,
  pastName,
} from '../support/log-partitions.js';

const { url, pool } = useDatabase();

/** The default retention period is 395 days: in a log begun sixteen months ago, two or three months have expired. */
const monthsAgo = 16;

/** Months before this one that are entirely older than 395 days, oldest first. */
const past = Array.from({ length: monthsAgo }, (_, index) => index - monthsAgo).filter(
  (ahead) => Date.parse(monthStart(ahead + 1)) <= Date.now() - 395 * 86_400_000,
);
/** The oldest month that is kept. */
const firstKept = past.length - monthsAgo;
const kept = Array.from({ length: 4 - firstKept }, (_, index) => monthName(firstKept + index));
const afterDrop = [pastName(firstKept), ...kept, 'crm_sync_log_catch_all'];

beforeEach(async () => {
  for (const name of await detachedNames(pool)) await pool.query(`drop table ${name}`);
  await withClient(url, (client) => beginLog(client, monthsAgo));
  await pool.query("update crm_retention set keep_days = 395 where subject = 'crm_sync_log'");
});

async function run(args: readonly string[], env: Record<string, string> = {}): Promise<Run> {
  const ended = await runCli(['partitions', ...args], { DATABASE_URL: url, ...env });
  for (const line of ended.stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  return ended;
}

async function document(args: readonly string[]) {
  const { code, stdout, stderr } = await run([...args, '--json']);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

/** Leaves a month half detached, as an interrupted `partitions drop` does. */
async function leaveDetaching(name: string): Promise<void> {
  await pool.query(`comment on table ${name} is 'Sync events of long ago (UTC). ${dropMarker}'`);
  await interruptDetach(url, name);
}

describe('partitions ensure', () => {
  test('creates the months ahead, moves early events with their ids, and names the partitions', async () => {
    const { connectionId } = await connectWithEvents(pool, [4, 5, 6]);
    const ids = () =>
      pool
        .query(
          'select id, tableoid::regclass::text as partition from crm_sync_log where connection_id = $1 order by occurred_at',
          [connectionId],
        )
        .then(({ rows }) => rows);
    const before = await ids();
    expect(new Set(before.map(({ partition }) => partition))).toEqual(new Set(['crm_sync_log_catch_all']));

    expect(await run(['ensure', '--months', '5'])).toEqual({
      code: 0,
      stdout: `Created ${monthName(4)}.\nCreated ${monthName(5)}.\n`,
      stderr: '',
    });

    expect(await ids()).toEqual([
      { id: before[0].id, partition: monthName(4) },
      { id: before[1].id, partition: monthName(5) },
      { id: before[2].id, partition: 'crm_sync_log_catch_all' },
    ]);
    expect((await run(['ensure'])).stdout).toBe(
      'Nothing to create: this month and the next 3 have their partitions.\n',
    );
    expect(await document(['ensure', '--months', '6'])).toEqual({ made: [monthName(6)] });
  });

  test('creates the partition for older events that an interrupted drop left out', async () => {
    await pool.query(`alter table crm_sync_log detach partition ${monthName(-monthsAgo)}`);
    await expect(partitionNames(pool)).rejects.toThrow('gap');
    expect((await run(['ensure'])).stdout).toBe(`Created ${pastName(1 - monthsAgo)}.\n`);
    expect((await partitionNames(pool))[0]).toBe(pastName(1 - monthsAgo));
  });

  test('exits with 3 and names the gaps where someone dropped months by hand', async () => {
    const day = (ahead: number) => monthStart(ahead).slice(0, 10);
    await pool.query(`drop table ${monthName(1)}`);
    const first = `No partition covers events from ${day(1)} before ${day(2)}`;
    expect(await run(['ensure'])).toEqual({
      code: 3,
      stdout: 'Nothing was created.\n',
      stderr: `${first}: they are refused. crm-schema verify says how to repair it.\n`,
    });
    await pool.query(`alter table crm_sync_log detach partition ${monthName(3)}`);
    const second = `nor from ${day(3)} before ${day(4)}`;
    expect((await run(['ensure'])).stderr).toContain(`${first}, ${second}: they are refused.`);
    await pool.query('drop table crm_sync_log_catch_all');
    expect(await run(['ensure'])).toEqual({
      code: 3,
      stdout: '',
      stderr:
        'The log has no last partition, so later events are refused. crm-schema verify says how to repair it.\n',
    });
  });

  test('works while a partition is being detached', async () => {
    await leaveDetaching(monthName(-monthsAgo));
    expect(await run(['ensure', '--months', '4'])).toMatchObject({
      code: 0,
      stdout: `Created ${monthName(4)}.\n`,
    });
    await run(['drop']);
    expect(await partitionNames(pool)).toContain(monthName(4));
  });
});

describe('partitions list', () => {
  test('shows the range, rows, size and state of each partition', async () => {
    await connectWithEvents(pool, [firstKept, firstKept, 7]);
    // A session reports its inserts up to a minute later; reported after the analyze, they would count twice.
    await expect
      .poll(async () => {
        const { rows } = await pool.query(
          "select pg_stat_get_live_tuples('crm_sync_log_catch_all'::regclass)::integer as live",
        );
        return rows[0].live;
      })
      .toBe(1);
    await pool.query('analyze crm_sync_log');
    const { stdout, code } = await run(['list']);
    expect(code).toBe(0);
    const day = (ahead: number) => monthStart(ahead).slice(0, 10);
    const row = (...cells: (string | RegExp)[]) =>
      expect.stringMatching(
        new RegExp(`^${cells.map((cell) => (typeof cell === 'string' ? cell : cell.source)).join(' +')}$`),
      );
    const short = (name: string) => name.replace('crm_sync_log_', '');
    const until = new Date(Date.parse(monthStart(firstKept + 1)) + 395 * 86_400_000)
      .toISOString()
      .slice(0, 10);
    const lines = stdout.split('\n');
    expect(lines.slice(0, 4)).toEqual([
      row('crm_sync_log,', /[-\d]+ [:\d]+ UTC/),
      row(/Retention period \(crm_retention\): 395 days, since [-\d]+ [:\d]+\./),
      '',
      row('crm_sync_log_…', /From \(UTC\)/, 'Before', 'Rows', 'Size', 'State'),
    ]);
    expect(lines.slice(4)).toEqual(
      expect.arrayContaining([
        row(short(monthName(-monthsAgo)), '-', day(1 - monthsAgo), '0', /\d+ kB/, 'expired'),
        row(
          short(monthName(firstKept)),
          day(firstKept),
          day(firstKept + 1),
          '2',
          /\d+ kB/,
          `kept until ${until}`,
        ),
        row('catch_all', day(4), '-', '1', /\d+ kB/, 'has events'),
        'To drop expired partitions: crm-schema partitions drop',
      ]),
    );

    const { partitions, ...rest } = await document(['list']);
    expect(rest).toMatchObject({ keepDays: 395, keptFrom: expect.stringMatching(/000Z$/) });
    expect(partitions).toHaveLength(monthsAgo + 5);
    expect(partitions.at(-1)).toEqual({
      name: 'crm_sync_log_catch_all',
      from: monthStart(4).replace('Z', '000Z'),
      before: null,
      rows: 1,
      bytes: expect.any(Number),
      state: 'catch_all',
      hasEvents: true,
      events: { count: 1, firstAt: expect.any(String), lastAt: expect.any(String) },
    });
    expect(partitions.map(({ state }: { state: string }) => state)).toEqual([
      ...past.map(() => 'expired'),
      ...kept.map(() => 'kept'),
      'catch_all',
    ]);
  });

  test('shows a pending detach, and works for a reader, who may not look into partitions', async () => {
    await leaveDetaching(monthName(-monthsAgo));
    const reader = `crm_test_${randomBytes(4).toString('hex')}`;
    await pool.query(`create role ${reader} login in role crm_reader`);
    onTestFinished(async () => void (await pool.query(`drop role ${reader}`)));
    const { code, stdout } = await run(['list'], { PGOPTIONS: `-c role=${reader}` });
    expect(code).toBe(0);
    expect(stdout).toMatch(/detach pending\n/);
    expect(stdout).toMatch(/catch_all .* unknown\n/);
    expect(stdout).toContain('Unknown: whether the partitions at either end hold events.');
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
    const dry = await run(['drop', '--dry-run'], { PGOPTIONS: `-c role=${reader}` });
    expect(dry).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /^User .* may not change the partitions of crm_sync_log: .*\. For read-only access: crm-schema partitions list\n$/,
      ),
    });
  });
});

test('partitions list refers to verify where a month within the retention period is half detached', async () => {
  await leaveDetaching(monthName(1));
  const { stdout } = await run(['list']);
  expect(stdout).toContain('A detach was begun and not finished: crm-schema verify says how to finish it.');
  expect(stdout).toContain('crm-schema partitions drop\n');
});

describe('partitions drop', () => {
  test('drops the expired months, oldest first, and nothing else', async () => {
    const { connectionId } = await connectWithEvents(pool, [...past, firstKept, 0]);
    const dry = await run(['drop', '--dry-run']);
    expect(dry.stdout.match(/^Would drop \S+:/gm)).toEqual(
      past.map((ahead) => `Would drop ${monthName(ahead)}:`),
    );
    expect(await partitionNames(pool)).toHaveLength(monthsAgo + 5);

    const { code, stdout, stderr } = await run(['drop']);

    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n').slice(0, -1)).toEqual(
      past.map((ahead) =>
        expect.stringMatching(new RegExp(`^Dropped ${monthName(ahead)}: (about \\d+ rows, )?\\d+ kB\\.$`)),
      ),
    );
    expect(await partitionNames(pool)).toEqual(afterDrop);
    expect(await detachedNames(pool)).toEqual([]);
    expect(await eventsOf(pool, connectionId)).toEqual([`OXF${firstKept}`, 'OXF0']);
    expect((await run(['drop'])).stdout).toBe(
      'Nothing to drop: no partition is entirely older than 395 days.\n',
    );
    expect(await document(['drop'])).toMatchObject({ isDryRun: false, dropped: [] });
  });

  test('creates an append-only partition for late events, and drops it with the next month', async () => {
    await run(['drop']);
    const { connectionId, ...rest } = await connectWithEvents(pool, [-30, past[0] ?? 0, firstKept + 1]);
    const late = () =>
      pool.query('select from crm_sync_log where connection_id = $1 and tableoid = $2::regclass', [
        connectionId,
        pastName(firstKept),
      ]);
    expect((await late()).rows).toHaveLength(2);
    await expect(pool.query(`truncate ${pastName(firstKept)}`)).rejects.toMatchObject({ code: 'CRM02' });
    await expect(
      pool.query('delete from crm_sync_log where connection_id = $1', [connectionId]),
    ).rejects.toMatchObject({ code: 'CRM02' });
    expect((await run(['list'])).stdout).toMatch(/before_.* has events\n/);
    expect((await run(['drop'])).stdout).toMatch(/^Nothing to drop/);

    // As if a month had passed.
    const days = Math.floor((Date.now() - Date.parse(monthStart(firstKept + 1))) / 86_400_000);
    await pool.query("update crm_retention set keep_days = $1 where subject = 'crm_sync_log'", [days]);
    const { dropped, keepDays } = await document(['drop']);
    expect(keepDays).toBe(days);
    expect(dropped.map(({ name }: { name: string }) => name)).toEqual([
      pastName(firstKept),
      monthName(firstKept),
    ]);
    expect(await eventsOf(pool, connectionId)).toEqual([`OXF${firstKept + 1}`]);
    expect((await partitionNames(pool))[0]).toBe(pastName(firstKept + 1));
    await syncLogRecord(pool, {
      ...rest,
      connectionId,
      events: [
        {
          direction: 'inbound',
          entityType: 'contact',
          status: 'success',
          occurredAt: '1970-01-01T00:00:00Z',
        },
      ],
    });
  });

  test('keeps open failures when it drops the events of their time', async () => {
    const key = await connectWithEvents(pool, [past[0] ?? 0, 0]);
    await insert(pool, 'crm_sync_failures', {
      organisation_id: key.organisationId,
      connection_id: key.connectionId,
      direction: 'inbound',
      entity_type: 'contact',
      record_id: `OXF${past[0]}`,
      attempts: 12,
      error: { kind: 'timeout', retryable: true, message: 'No answer.' },
      first_failed_at: monthStart(past[0] ?? 0),
      last_failed_at: monthStart(past[0] ?? 0),
      gave_up_at: monthStart(past[0] ?? 0),
    });
    const before = await syncFailureList(pool, key);
    expect(before).toHaveLength(1);
    await run(['drop']);
    expect(await eventsOf(pool, key.connectionId)).toEqual(['OXF0']);
    expect(await syncFailureList(pool, key)).toEqual(before);
  });

  test('refuses other users, and works for an owner who is not a superuser', async () => {
    const [owner, other] = ['owner', 'other'].map((name) => `crm_${name}_${randomBytes(4).toString('hex')}`);
    await pool.query(
      `create role ${owner} login; create role ${other} login; grant create on schema public to ${owner}`,
    );
    const tables = [...(await partitionNames(pool)), 'crm_sync_log', 'crm_retention', 'crm_connections'];
    for (const table of tables) await pool.query(`alter table ${table} owner to ${owner}`);
    for (const name of [
      'ensure_partitions(integer, regclass)',
      'ensure_past(regclass)',
      'finish_partition(regclass, regclass)',
    ]) {
      await pool.query(`alter function crm_sync_log_${name} owner to ${owner}`);
    }
    onTestFinished(async () => {
      await pool.query(
        `reassign owned by ${owner} to current_user; drop owned by ${owner}, ${other}; drop role ${owner}, ${other}`,
      );
    });
    for (const command of ['drop', 'ensure']) {
      expect(await run([command], { PGOPTIONS: `-c role=${other}` })).toEqual({
        code: 1,
        stdout: '',
        stderr: `User ${other} may not change the partitions of crm_sync_log: connect as its owner, ${owner}, or as a superuser.\n`,
      });
    }
    const as = { PGOPTIONS: `-c role=${owner}` };
    expect(await run(['drop'], as)).toMatchObject({ code: 0, stderr: '' });
    expect(await partitionNames(pool)).toEqual(afterDrop);
    expect(await run(['ensure', '--months', '4'], as)).toMatchObject({
      code: 0,
      stdout: `Created ${monthName(4)}.\n`,
    });
    const { rows } = await pool.query(
      `select distinct relowner::regrole::text as owner, relrowsecurity, relacl is null as bare from pg_class where oid in (select inhrelid from pg_inherits where inhparent = 'crm_sync_log'::regclass)`,
    );
    expect(rows).toMatchObject([{ owner, relrowsecurity: true }]);
  });

  test('finishes what an interrupted call left: a pending detach, a detached table, uncovered older events', async () => {
    await leaveDetaching(monthName(-monthsAgo));
    expect((await run(['list'])).stdout).toContain('detach pending');
    await run(['drop']);
    expect(await partitionNames(pool)).toEqual(afterDrop);

    await withClient(url, (client) => beginLog(client, monthsAgo));
    await leaveDetaching(monthName(-monthsAgo));
    await pool.query(`alter table crm_sync_log detach partition ${monthName(-monthsAgo)} finalize`);
    expect((await run(['list'])).stdout).toContain('to be dropped');
    const { stdout } = await run(['drop']);
    expect(stdout).toContain(`Dropped ${monthName(-monthsAgo)}:`);
    expect(await partitionNames(pool)).toEqual(afterDrop);
    expect(await detachedNames(pool)).toEqual([]);
  });

  test('closes the gap left where the past was covered while a month was being dropped', async () => {
    await pool.query(`drop table ${monthName(-monthsAgo)}`);
    await pool.query('select crm_sync_log_ensure_past()');
    for (const ahead of past.slice(1)) await pool.query(`drop table ${monthName(ahead)}`);
    await expect(partitionNames(pool)).rejects.toThrow('gap');
    await run(['drop']);
    expect(await partitionNames(pool)).toEqual(afterDrop);
  });

  test('continues where an earlier call detached the partition for older events and did not drop it', async () => {
    await pool.query(`drop table ${monthName(-monthsAgo)}`);
    await pool.query('select crm_sync_log_ensure_past()');
    const name = pastName(1 - monthsAgo);
    await leaveDetaching(name);
    await pool.query(`alter table crm_sync_log detach partition ${name} finalize`);
    expect((await run(['drop'])).stdout).toContain(`Dropped ${name}_2:`);
    expect(await partitionNames(pool)).toEqual(afterDrop);
    expect(await detachedNames(pool)).toEqual([]);
  });

  test('leaves alone tables that someone else detached, copied, or named alike', async () => {
    const text = `Sync events of long ago (UTC). ${dropMarker}`;
    // Detached by hand, to keep it.
    await pool.query(`alter table crm_sync_log detach partition ${monthName(-monthsAgo)}`);
    const role = `crm_other_${randomBytes(4).toString('hex')}`;
    await pool.query(`create role ${role}; create schema archive`);
    onTestFinished(
      async () =>
        void (await pool.query(`drop schema archive cascade; drop owned by ${role}; drop role ${role}`)),
    );
    for (const name of [
      'crm_sync_log_2019_01',
      'crm_sync_log_2019_01_copy',
      'archive.crm_sync_log_2019_02',
      monthName(firstKept).replace('_log_', '_log_before_'),
    ]) {
      await pool.query(`create table ${name} (like crm_sync_log); comment on table ${name} is '${text}'`);
    }
    await pool.query(`alter table crm_sync_log_2019_01 owner to ${role}`);
    await pool.query(`alter table ${pastName(firstKept)} rename to crm_sync_log_2099_01`);
    const before = await detachedNames(pool);
    expect(before).toHaveLength(5);
    expect(await run(['drop'])).toMatchObject({ code: 0, stderr: '' });
    expect(await detachedNames(pool)).toEqual(before);
    expect(
      (await pool.query("select to_regclass('archive.crm_sync_log_2019_02') as found")).rows[0].found,
    ).not.toBeNull();
  });

  test('changes nothing while a transaction uses the log, blocks no one, and names that session', async () => {
    await withClient(url, async (idle) => {
      await idle.query("set application_name = 'report'; begin; select from crm_sync_log limit 1");
      const pid = await backendPid(idle);
      const key = await connectWithEvents(pool, [0]);
      const { ended } = startCli(['partitions', 'drop', '--wait', '2'], { DATABASE_URL: url });
      await whileItRuns(ended, (client) =>
        syncLogRecord(client, {
          ...key,
          events: [
            {
              direction: 'inbound',
              entityType: 'contact',
              status: 'success',
              occurredAt: monthStart(past[0] ?? 0),
            },
          ],
        }),
      );
      expect(await ended).toEqual({
        code: 1,
        stdout: '',
        stderr: expect.stringMatching(
          new RegExp(
            `^Could not detach ${monthName(-monthsAgo)} within 2 s: blocked by process ${pid} \\(report, idle in transaction for \\d s\\)\\. Nothing is lost: run it again when that transaction has ended\\.\\n$`,
          ),
        ),
      });
      expect(await partitionNames(pool)).toHaveLength(monthsAgo + 5);
      expect((await run(['list'])).stdout).not.toMatch(/pending|dropped\n/);
    });
  });

  test('detaches nothing while a transaction uses any of the expired months', async () => {
    await withClient(url, async (idle) => {
      await idle.query(`begin; select from ${monthName(past[1] ?? 0)} limit 1`);
      const { code, stderr } = await run(['drop', '--wait', '2']);
      expect({ code, stderr }).toEqual({
        code: 1,
        stderr: expect.stringMatching(/^Could not detach .* Nothing is lost: /),
      });
      expect(await partitionNames(pool)).toHaveLength(monthsAgo + 5);
    });
  });

  test('while a transaction uses crm_connections, detaches but does not drop, and blocks no one', async () => {
    await withClient(url, async (idle) => {
      await idle.query('begin; select from crm_connections limit 1');
      const { ended } = startCli(['partitions', 'drop', '--wait', '2'], { DATABASE_URL: url });
      await whileItRuns(ended, (client) => client.query('select from crm_connections limit 1'));
      const { code, stdout, stderr } = await ended;
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
      expect(stderr).toMatch(
        new RegExp(`^Could not drop ${monthName(-monthsAgo)} within 2 s: blocked by process \\d+ `),
      );
      expect(await partitionNames(pool)).toEqual(afterDrop);
      expect(await detachedNames(pool)).toEqual(past.map(monthName));
    });
    expect(await run(['drop'])).toMatchObject({ code: 0 });
    expect(await detachedNames(pool)).toEqual([]);
  });

  test('takes exactly the locks that its help lists', async () => {
    await pool.query(`
      create table seen_locks (at text);
      create function see_locks() returns event_trigger language plpgsql set search_path = public as $$
      begin
        insert into seen_locks
        select format('%s %s', relation::regclass, mode) from pg_locks
        where pid = pg_backend_pid() and mode not in ('AccessShareLock', 'RowShareLock')
          and relation in ('crm_sync_log'::regclass, 'crm_connections'::regclass);
      end $$;
      create event trigger see_locks on ddl_command_end execute function see_locks()`);
    onTestFinished(async () => {
      await pool.query('drop event trigger see_locks; drop function see_locks; drop table seen_locks');
    });
    expect(await run(['drop'])).toMatchObject({ code: 0, stderr: '' });
    const { rows } = await pool.query('select distinct at from seen_locks order by at');
    expect(rows.map(({ at }) => at)).toEqual([
      'crm_connections AccessExclusiveLock',
      'crm_connections ShareRowExclusiveLock',
      'crm_sync_log ShareUpdateExclusiveLock',
    ]);
    const help = (await run(['drop', '--help'])).stdout;
    expect(help).toMatch(/crm_sync_log +SHARE UPDATE EXCLUSIVE/);
    expect(help).toMatch(/crm_connections +SHARE ROW EXCLUSIVE.*\n +ACCESS EXCLUSIVE/);
  });

  test('two drops at once do not disturb each other, nor a running sync', async () => {
    await besideSync(async () => {
      const both = await Promise.all([run(['drop']), run(['drop'])]);
      expect(both.map(({ code, stderr }) => ({ code, stderr }))).toEqual(
        both.map(() => ({ code: 0, stderr: '' })),
      );
    });
    expect(await partitionNames(pool)).toEqual(afterDrop);
    expect(await detachedNames(pool)).toEqual([]);
  });

  test('killed at any point, finishes when run again, and loses nothing within the retention period', async () => {
    const { connectionId } = await connectWithEvents(pool, [...past, firstKept, firstKept + 5, 0]);
    const state = async () => {
      const { rows } = await pool.query(
        "select array_agg(format('%s %s %s', relname, relispartition, obj_description(oid)) order by oid) as tables from pg_class where relname ~ '^crm_sync_log_' and relkind = 'r'",
      );
      return String(rows[0].tables);
    };
    let kills = 0;
    await besideSync(async () => {
      for (let isDone = false; !isDone && kills < 4; kills += 1) {
        const { child, ended } = startCli(['partitions', 'drop'], { DATABASE_URL: url });
        ended.finally(() => {
          isDone = true;
        });
        // Shortly after it has changed something.
        for (const before = await state(); !isDone && before === (await state()); ) await sleep(3);
        await sleep(30 * Math.random());
        child.kill('SIGKILL');
        isDone = (await ended).code === 0;
      }
      expect(await run(['drop'])).toMatchObject({ code: 0, stderr: '' });
    });
    expect(kills).toBeGreaterThan(1);
    expect(await partitionNames(pool)).toEqual(afterDrop);
    expect(await detachedNames(pool)).toEqual([]);
    expect(await eventsOf(pool, connectionId)).toEqual([`OXF${firstKept}`, `OXF${firstKept + 5}`, 'OXF0']);
  });

  test('refuses a pooler that refuses startup parameters, in one line', async () => {
    const pooler = createServer((socket) => {
      socket.once('data', () => {
        const fields = 'SFATAL\0C08P01\0Munsupported startup parameter: lock_timeout\0\0';
        const head = Buffer.from('E\0\0\0\0');
        head.writeInt32BE(fields.length + 4, 1);
        socket.end(Buffer.concat([head, Buffer.from(fields)]));
      });
    }).listen(0, '127.0.0.1');
    await once(pooler, 'listening');
    onTestFinished(() => void pooler.close());
    const { port } = pooler.address() as AddressInfo;
    expect(await run(['drop'], { DATABASE_URL: `postgres://a@127.0.0.1:${port}/b` })).toEqual({
      code: 1,
      stdout: '',
      stderr:
        'Poolers are not supported here, and this connection goes through one, which refused a setting of the session: connect to the database directly.\n',
    });
  });
});

/**
 * Repeats a statement until the command ends. The statement fails if it waits 400 ms for a lock. That is less
 * than the command's own limit, and is the server's measure, which a busy machine does not change.
 */
async function whileItRuns(ended: Promise<Run>, statement: (client: pg.Client) => Promise<unknown>) {
  let isOver = false;
  ended.finally(() => {
    isOver = true;
  });
  await withClient(url, async (client) => {
    await client.query("set lock_timeout = '400ms'");
    while (!isOver) {
      await statement(client);
      await sleep(5);
    }
  });
}

/** Runs `work` while workers read and write the log and the connections, in either order. */
async function besideSync(work: () => Promise<void>): Promise<void> {
  let going = true;
  const sync = [0, 1, 2].map(async () => {
    const key = await connectWithEvents(pool, []);
    const event = {
      direction: 'inbound',
      entityType: 'contact',
      status: 'success',
      externalId: 'A',
    } as const;
    let written = 0;
    while (going) {
      await withTransaction(async (client) => {
        const touch = () =>
          client.query('update crm_connections set last_synced_at = now() where id = $1', [key.connectionId]);
        if (written % 4 === 0) await touch();
        await syncLogRecord(client, {
          ...key,
          events: [event, { ...event, occurredAt: monthStart(firstKept) }],
        });
        await client.query('select count(*) from crm_sync_log where connection_id = $1', [key.connectionId]);
        await client.query('select status from crm_connections where id = $1', [key.connectionId]);
        await touch();
      });
      await sleep(5);
      written += 2;
    }
    expect(await eventsOf(pool, key.connectionId)).toHaveLength(written);
  });
  try {
    await Promise.race([work(), Promise.all(sync)]);
  } finally {
    going = false;
    await Promise.all(sync);
  }
}

async function withTransaction(work: (client: pg.ClientBase) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await work(client);
    await client.query('commit');
    client.release();
  } catch (error) {
    client.release(true);
    throw error;
  }
}

describe('a log just installed,', () => {
  const fresh = useDatabase();

  test('partitions list has no remark', async () => {
    const { stdout } = await run(['list'], { DATABASE_URL: fresh.url });
    expect(stdout).toContain(monthName(0).replace('crm_sync_log_', ''));
    expect(stdout).toMatch(/\ncatch_all .* empty\n$/);
  });
});
