import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type DedicatedConnection,
  type PartitionsDropOptions,
  partitionsDrop,
  partitionsEnsure,
  partitionsList,
} from '../../src/migrations.js';
import { useDatabase } from '../support/database.js';
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
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { url, pool } = database;
const empty = useDatabase('host');
const reader = useMember(database, 'crm_reader');
const worker = useMember(database, 'crm_worker');
const stranger = useMember(database);

/** The default retention period is 395 days: in a log begun so long ago, two or three months are past it. */
const monthsAgo = 16;
const expired = Array.from({ length: monthsAgo }, (_, index) => index - monthsAgo).filter(
  (ahead) => Date.parse(monthStart(ahead + 1)) <= Date.now() - 395 * 86_400_000,
);
const firstKept = expired.length - monthsAgo;

beforeEach(async () => {
  for (const name of await detachedNames(pool)) await pool.query(`drop table ${name}`);
  await withClient(url, (client) => beginLog(client, monthsAgo));
});

/** Each function, called so that it changes the log where it changes anything. */
const functions = {
  partitionsEnsure: (client: DedicatedConnection) => partitionsEnsure(client, { months: 4 }),
  partitionsList,
  partitionsDrop: (client: DedicatedConnection) => partitionsDrop(client, { wait: 1 }),
};
const changing = ['partitionsEnsure', 'partitionsDrop'] as const;

/** Settings of a session that differ from what the functions need. */
const unusual = `
  set lock_timeout = '7s'; set statement_timeout = '70s'; set idle_session_timeout = '80s';
  set default_transaction_isolation = 'serializable'; set datestyle = 'German'; set timezone = 'Asia/Tokyo';
  set quote_all_identifiers = on; set row_security = off; set application_name = 'mine'`;

async function settingsOf(client: pg.ClientBase): Promise<Record<string, string>> {
  // Its own settings appear once it is loaded.
  await client.query('do $$ begin end $$');
  const { rows } = await client.query('select name, setting from pg_settings order by name');
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
}

async function withUser<Result>(
  users: pg.Pool,
  work: (client: pg.PoolClient) => Promise<Result>,
): Promise<Result> {
  const client = await users.connect();
  try {
    return await work(client);
  } finally {
    client.release(true);
  }
}

/** A client as behind a pooler, which announces a process id of its own. */
function throughPooler(client: pg.Client): DedicatedConnection {
  return {
    query: (text: string, values?: unknown[]) => client.query(text, values),
    processID: 1,
  } as DedicatedConnection;
}

describe.each(Object.entries(functions))('%s', (name, call) => {
  test('refuses a pool', async () => {
    await expect(call(pool as unknown as DedicatedConnection)).rejects.toMatchObject({
      code: 'invalid_input',
      message: expect.stringMatching(/^client must be a dedicated connection, not a pool: /),
    });
  });

  test('refuses a client with an open transaction, and leaves the transaction to its owner', async () => {
    await withClient(url, async (client) => {
      await client.query('begin; create table mine ()');
      await expect(call(client)).rejects.toMatchObject({
        code: 'invalid_input',
        message: expect.stringMatching(/^client must not have a transaction open: /),
      });
      await client.query('commit');
      expect((await client.query("select to_regclass('mine')::text as name")).rows).toEqual([
        { name: 'mine' },
      ]);
      await client.query('drop table mine');
    });
  });

  test('fails with schema_not_found where search_path leads to no installation', async () => {
    await withClient(empty.url, (client) =>
      expect(call(client)).rejects.toMatchObject({ code: 'schema_not_found', cause: { code: '42P01' } }),
    );
  });

  test('works with unusual settings of the session, and leaves them as they were', async () => {
    await withClient(url, async (client) => {
      await client.query(unusual);
      const before = await settingsOf(client);
      await call(client);
      expect(await settingsOf(client)).toEqual(before);
    });
    expect((await partitionNames(pool)).includes(monthName(4))).toBe(name === 'partitionsEnsure');
    expect((await partitionNames(pool)).includes(monthName(-monthsAgo))).toBe(name !== 'partitionsDrop');
  });

  test('leaves the settings of the session as they were when it fails', async () => {
    const role = `crm_test_${randomBytes(4).toString('hex')}`;
    await pool.query(`create role ${role}`);
    onTestFinished(async () => void (await pool.query(`drop role ${role}`)));
    await withClient(url, async (client) => {
      await client.query(`${unusual}; set role ${role}`);
      const before = await settingsOf(client);
      await expect(call(client)).rejects.toThrow();
      expect(await settingsOf(client)).toEqual(before);
      expect((await client.query('select now() = statement_timestamp() as free')).rows).toEqual([
        { free: true },
      ]);
    });
  });

  test('returns the same to a client with binary results', async () => {
    const client = new pg.Client({ connectionString: url, binary: true } as pg.ClientConfig);
    await client.connect();
    onTestFinished(() => client.end());
    const found = await call(client);
    expect(JSON.parse(JSON.stringify(found))).toEqual(found);
  });
});

describe.each(changing)('%s', (name) => {
  const call: (client: DedicatedConnection, options?: object) => Promise<unknown> =
    name === 'partitionsEnsure' ? partitionsEnsure : partitionsDrop;

  test.each([
    ['a reader', reader],
    ['a worker', worker],
    ['a user of no role', stranger],
  ])('refuses %s, and names the owner', async (_, users) => {
    const before = await partitionNames(pool);
    const {
      rows: [{ owner }],
    } = await pool.query('select current_user as owner');
    await withUser(users, (client) =>
      expect(call(client)).rejects.toMatchObject({
        code: 'not_permitted',
        message: expect.stringContaining(`: connect as its owner, ${owner}, or as a superuser.`),
      }),
    );
    expect(await partitionNames(pool)).toEqual(before);
  });

  test('refuses a pooler, and changes neither the log nor the session', async () => {
    const names = await partitionNames(pool);
    await withClient(url, async (client) => {
      const before = await settingsOf(client);
      await expect(call(throughPooler(client))).rejects.toMatchObject({
        code: 'partitions_refused',
        message: expect.stringMatching(/^Poolers are not supported here, /),
      });
      expect(await settingsOf(client)).toEqual(before);
    });
    expect(await partitionNames(pool)).toEqual(names);
  });

  test('refuses a watcher that is a pool, has a transaction open, or is the client itself', async () => {
    await withClient(url, async (client) => {
      const refused = (watcher: unknown, message: string) =>
        expect(call(client, { watcher })).rejects.toMatchObject({
          code: 'invalid_input',
          message: expect.stringContaining(message),
        });
      await refused(pool, 'watcher must be a dedicated connection, not a pool');
      await refused(client, 'watcher must be another connection than client');
      await withClient(url, async (watcher) => {
        await watcher.query('begin; select 1');
        await refused(watcher, 'watcher must not have a transaction open');
      });
    });
  });

  test('ends, and holds no lock, although the watcher stops answering', async () => {
    await withClient(url, (client) =>
      withClient(url, async (watcher) => {
        const stalled: DedicatedConnection = {
          query: (text, values) =>
            text.startsWith('begin read only') ? new Promise(() => {}) : watcher.query(text, values),
        };
        let answered = 0;
        const pauses: number[] = [];
        const watched: DedicatedConnection = {
          async query(text, values) {
            if (text === 'commit') pauses.push(Date.now() - answered);
            const result = await client.query(text, values);
            answered = Date.now();
            return result;
          },
        };
        await call(watched, { watcher: stalled });
        expect(pauses.length).toBeGreaterThan(0);
        expect(Math.max(...pauses)).toBeLessThan(10_000);
      }),
    );
  });

  test('leaves the watcher without a transaction, and with its settings', async () => {
    await withClient(url, (client) =>
      withClient(url, async (watcher) => {
        await watcher.query(unusual);
        const before = await settingsOf(watcher);
        await call(client, { watcher });
        expect(await settingsOf(watcher)).toEqual(before);
        expect((await watcher.query('select now() = statement_timestamp() as free')).rows).toEqual([
          { free: true },
        ]);
      }),
    );
  });

  test('refuses an option that it does not know', async () => {
    const before = await partitionNames(pool);
    await withClient(url, (client) =>
      expect(call(client, { dryrun: true })).rejects.toMatchObject({
        code: 'invalid_input',
        message: expect.stringContaining('"dryrun"'),
      }),
    );
    expect(await partitionNames(pool)).toEqual(before);
  });
});

describe('partitionsEnsure', () => {
  test('creates the months ahead, moves early events to them, and finds no gap', async () => {
    await connectWithEvents(pool, [4]);
    await withClient(url, async (client) => {
      expect(await partitionsEnsure(client, { months: 5 })).toEqual({
        made: [monthName(4), monthName(5)],
        gaps: [],
      });
      expect(await partitionsEnsure(client)).toEqual({ made: [], gaps: [] });
    });
    const { rows } = await pool.query(`select count(*)::integer as events from ${monthName(4)}`);
    expect(rows).toEqual([{ events: 1 }]);
  });

  test('creates the partition for older events that an interrupted drop left out', async () => {
    await pool.query(`alter table crm_sync_log detach partition ${monthName(-monthsAgo)}`);
    await withClient(url, async (client) => {
      expect(await partitionsEnsure(client)).toEqual({ made: [pastName(1 - monthsAgo)], gaps: [] });
    });
  });

  test('reports months that someone dropped or detached as gaps', async () => {
    await pool.query(`drop table ${monthName(1)}; drop table ${monthName(-3)}`);
    await pool.query(`alter table crm_sync_log detach partition ${monthName(2)}`);
    const moment = (ahead: number) => monthStart(ahead).replace('Z', '000Z');
    await withClient(url, async (client) => {
      expect(await partitionsEnsure(client)).toEqual({
        made: [],
        gaps: [
          { from: moment(-3), before: moment(-2) },
          { from: moment(1), before: moment(3) },
        ],
      });
    });
  });

  test('fails with catch_all_missing where the log has no last partition', async () => {
    await pool.query('drop table crm_sync_log_catch_all');
    await withClient(url, (client) =>
      expect(partitionsEnsure(client)).rejects.toMatchObject({ code: 'catch_all_missing' }),
    );
  });

  test.each([-1, 121, 1.5, Number.NaN])('refuses %d months', async (months) => {
    await withClient(url, (client) =>
      expect(partitionsEnsure(client, { months })).rejects.toMatchObject({ code: 'invalid_input' }),
    );
  });

  test('fails with partitions_blocked, and names the session that the watcher saw', async () => {
    await withClient(url, async (holder) => {
      await holder.query("set application_name = 'report'; begin; select from crm_sync_log limit 1");
      const pid = await backendPid(holder);
      await withClient(url, (client) =>
        withClient(url, (watcher) =>
          expect(partitionsEnsure(client, { months: 4, watcher })).rejects.toMatchObject({
            code: 'partitions_blocked',
            message: expect.stringMatching(
              new RegExp(
                `^Gave up after twenty attempts, blocked by process ${pid} \\(report, idle in transaction for \\d+ s\\)\\. Nothing was changed: `,
              ),
            ),
            cause: { code: '55P03' },
          }),
        ),
      );
    });
    expect(await partitionNames(pool)).not.toContain(monthName(4));
  });
});

describe('partitionsList', () => {
  test.each([
    ['a reader', reader],
    ['a worker', worker],
  ])('lists ranges and states for %s, who may not look into partitions', async (_, users) => {
    const { partitions, droppable, keepDays } = await withUser(users, (client) => partitionsList(client));
    expect(keepDays).toBe(395);
    expect(partitions.map(({ name, state }) => `${name} ${state}`)).toEqual([
      ...expired.map((ahead) => `${monthName(ahead)} expired`),
      ...Array.from({ length: 4 - firstKept }, (_, index) => `${monthName(firstKept + index)} kept`),
      'crm_sync_log_catch_all catch_all',
    ]);
    expect(droppable).toEqual(expired.map(monthName));
    expect(partitions.at(-1)).toMatchObject({ before: null, hasEvents: null });
  });

  test('tells the owner whether the partitions at either end hold events', async () => {
    await withClient(url, async (client) => {
      await partitionsDrop(client);
      await connectWithEvents(pool, [9]);
      const { partitions, droppable } = await partitionsList(client);
      expect(partitions[0]).toMatchObject({
        name: pastName(firstKept),
        from: null,
        state: 'before',
        hasEvents: false,
      });
      expect(partitions.at(-1)).toMatchObject({ state: 'catch_all', hasEvents: true });
      expect(droppable).toEqual([]);
    });
  });

  test('fails with retention_period_missing where crm_retention has no row for the log', async () => {
    const { rows } = await pool.query("delete from crm_retention where subject = 'crm_sync_log' returning *");
    onTestFinished(async () => {
      await pool.query("insert into crm_retention (subject, keep_days) values ('crm_sync_log', $1)", [
        rows[0].keep_days,
      ]);
    });
    await withClient(url, async (client) => {
      const missing = { code: 'retention_period_missing' };
      await expect(partitionsList(client)).rejects.toMatchObject(missing);
      await expect(partitionsDrop(client)).rejects.toMatchObject(missing);
    });
  });
});

describe('partitionsDrop', () => {
  test('drops expired partitions, oldest first, and reports each when it is gone', async () => {
    const { connectionId } = await connectWithEvents(pool, [...expired, firstKept]);
    const seen: string[] = [];
    const onDropped: PartitionsDropOptions['onDropped'] = async ({ name }) => {
      expect((await pool.query('select to_regclass($1)::text as name', [name])).rows).toEqual([
        { name: null },
      ]);
      seen.push(name);
    };
    const result = await withClient(url, (client) => partitionsDrop(client, { onDropped }));
    expect(result).toMatchObject({ keepDays: 395, isDryRun: false });
    expect(result.dropped.map(({ name }) => name)).toEqual(expired.map(monthName));
    expect(result.dropped[0]).toEqual({
      name: monthName(-monthsAgo),
      from: monthStart(-monthsAgo).replace('Z', '000Z'),
      before: monthStart(1 - monthsAgo).replace('Z', '000Z'),
      rows: expect.any(Number),
      bytes: expect.any(Number),
    });
    expect(seen).toEqual(expired.map(monthName));
    expect((await partitionNames(pool))[0]).toBe(pastName(firstKept));
    expect(await eventsOf(pool, connectionId)).toEqual([`OXF${firstKept}`]);
  });

  test('as a dry run, changes nothing and returns what it would drop', async () => {
    const before = await partitionNames(pool);
    const seen: string[] = [];
    const result = await withClient(url, (client) =>
      partitionsDrop(client, { dryRun: true, onDropped: ({ name }) => seen.push(name) }),
    );
    expect(result.isDryRun).toBe(true);
    expect(result.dropped.map(({ name }) => name)).toEqual(expired.map(monthName));
    expect(seen).toEqual(expired.map(monthName));
    expect(await partitionNames(pool)).toEqual(before);
    expect(await detachedNames(pool)).toEqual([]);
  });

  test.each([
    ['55P03', false],
    ['42P01', false],
    ['42703', false],
    ['42703', true],
  ])('throws an error of onDropped with code %s unchanged (dry run: %s)', async (code, dryRun) => {
    const failure = Object.assign(new Error('mine'), { code });
    const seen: string[] = [];
    const onDropped: PartitionsDropOptions['onDropped'] = ({ name }) => {
      seen.push(name);
      throw failure;
    };
    await withClient(url, async (client) => {
      await expect(partitionsDrop(client, { dryRun, onDropped })).rejects.toBe(failure);
    });
    expect(seen).toEqual([monthName(-monthsAgo)]);
  });

  test('works for an owner who is not a superuser', async () => {
    const owner = `crm_owner_${randomBytes(4).toString('hex')}`;
    await pool.query(`create role ${owner}; grant create on schema public to ${owner}`);
    for (const table of [...(await partitionNames(pool)), 'crm_sync_log', 'crm_retention', 'crm_connections'])
      await pool.query(`alter table ${table} owner to ${owner}`);
    for (const signature of ['ensure_past(regclass)', 'finish_partition(regclass, regclass)'])
      await pool.query(`alter function crm_sync_log_${signature} owner to ${owner}`);
    onTestFinished(async () => {
      await pool.query(
        `reassign owned by ${owner} to current_user; drop owned by ${owner}; drop role ${owner}`,
      );
    });
    await withClient(url, async (client) => {
      await client.query(`set role ${owner}`);
      expect((await partitionsDrop(client)).dropped).toHaveLength(expired.length);
    });
  });

  test('fails with partitions_blocked while a transaction uses the log, without a watcher too', async () => {
    const before = await partitionNames(pool);
    await withClient(url, async (holder) => {
      await holder.query("set application_name = 'report'; begin; select from crm_sync_log limit 1");
      const pid = await backendPid(holder);
      await withClient(url, async (client) => {
        const settings = await settingsOf(client);
        await expect(partitionsDrop(client, { wait: 1 })).rejects.toMatchObject({
          code: 'partitions_blocked',
          message: expect.stringMatching(
            new RegExp(
              `^Could not detach ${monthName(-monthsAgo)} within 1 s: blocked by process ${pid} \\(report, idle in transaction for \\d s\\)\\. Nothing is lost: `,
            ),
          ),
        });
        expect(await settingsOf(client)).toEqual(settings);
      });
    });
    expect(await partitionNames(pool)).toEqual(before);
  });

  test('names the session that keeps it from a lock, where the watcher saw it', async () => {
    await withClient(url, async (holder) => {
      // Begins once partitionsDrop has seen that nobody uses the tables.
      await holder.query("set application_name = 'late'");
      const pid = await backendPid(holder);
      await withClient(url, (client) =>
        withClient(url, async (watcher) => {
          let isHeld = false;
          const meddling: DedicatedConnection = {
            async query(text, values) {
              if (!isHeld && text.startsWith('comment on table')) {
                isHeld = true;
                await holder.query('begin; lock table crm_sync_log in share update exclusive mode');
              }
              return client.query(text, values);
            },
          };
          await expect(partitionsDrop(meddling, { wait: 1, watcher })).rejects.toMatchObject({
            code: 'partitions_blocked',
            message: expect.stringContaining(`blocked by process ${pid} (late, idle in transaction for `),
          });
        }),
      );
    });
  });

  test('changes nothing while someone else detaches the first month within the retention period', async () => {
    await withClient(url, (client) => beginLog(client, 6));
    await interruptDetach(url, monthName(-6));
    const before = await partitionNames(pool);
    const calls: string[] = [];
    await withClient(url, async (client) => {
      const observed: DedicatedConnection = {
        query(text, values) {
          if (!/^(begin|rollback|select)\b|^\s+select/.test(text) || text.includes('ensure_past'))
            calls.push(text);
          return client.query(text, values);
        },
      };
      expect(await partitionsDrop(observed, { wait: 1 })).toMatchObject({ dropped: [] });
    });
    expect(calls).toEqual([]);
    expect(await partitionNames(pool)).toEqual(before);
    await pool.query(`alter table crm_sync_log detach partition ${monthName(-6)} finalize`);
  });

  test('fails with partitions_blocked where a step has no effect, and pauses between attempts', async () => {
    await pool.query(`alter table crm_sync_log detach partition ${monthName(-monthsAgo)}`);
    let calls = 0;
    await withClient(url, async (client) => {
      const ineffective: DedicatedConnection = {
        async query(text, values) {
          if (!text.includes('crm_sync_log_ensure_past')) return client.query(text, values);
          calls += 1;
          if (calls > 100) throw new Error('It does not pause.');
          return { rows: [] };
        },
      };
      await expect(partitionsDrop(ineffective, { wait: 1 })).rejects.toMatchObject({
        code: 'partitions_blocked',
        message: `Could not create a partition before ${monthName(1 - monthsAgo)} within 1 s: it had no effect. Nothing is lost: run it again.`,
      });
    });
    expect(calls).toBeGreaterThan(1);
    expect(calls).toBeLessThan(10);
  });

  test('fails with schema_not_found where a step misses a function, as in an older version', async () => {
    const [signature, hidden] = ['crm_sync_log_ensure_past(regclass)', 'crm_sync_log_ensure_past_hidden'];
    await pool.query(`alter table crm_sync_log detach partition ${monthName(-monthsAgo)}`);
    await pool.query(`alter function ${signature} rename to ${hidden}`);
    onTestFinished(async () => {
      await pool.query(`alter function ${hidden}(regclass) rename to crm_sync_log_ensure_past`);
    });
    await withClient(url, (client) =>
      expect(partitionsDrop(client)).rejects.toMatchObject({
        code: 'schema_not_found',
        cause: { code: '42883' },
      }),
    );
  });

  test('fails with partitions_refused while someone else detaches a month within the retention period', async () => {
    await interruptDetach(url, monthName(1));
    await withClient(url, (client) =>
      expect(partitionsDrop(client)).rejects.toMatchObject({
        code: 'partitions_refused',
        message: expect.stringContaining(`Someone else is detaching ${monthName(1)}`),
      }),
    );
    await pool.query(`alter table crm_sync_log detach partition ${monthName(1)} finalize`);
  });

  test.each([null, 'yes', 1])('refuses dryRun %j, and drops nothing', async (dryRun) => {
    const before = await partitionNames(pool);
    await withClient(url, (client) =>
      expect(partitionsDrop(client, { dryRun } as never)).rejects.toMatchObject({ code: 'invalid_input' }),
    );
    expect(await partitionNames(pool)).toEqual(before);
  });

  test.each([0, 3601, 1.5])('refuses to wait %d seconds', async (wait) => {
    await withClient(url, (client) =>
      expect(partitionsDrop(client, { wait })).rejects.toMatchObject({ code: 'invalid_input' }),
    );
  });
});
