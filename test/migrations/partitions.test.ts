import type pg from 'pg';
import { beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { connect } from '../support/connection.js';
import { createTenant, insert, rolledBack, useDatabase } from '../support/database.js';
import { backendPid } from '../support/locks.js';
import { applyUps } from '../support/migrations.js';
import { expectRefused, outermostTimes } from '../support/refusals.js';
import { catalog } from './catalog.js';

type Client = pg.Pool | pg.ClientBase;

interface Partition {
  name: string;
  from: string;
  to: string;
}

/** All partitions in order of time, with bounds in UTC whatever the session's settings are. */
async function partitions(client: pg.ClientBase): Promise<Partition[]> {
  await client.query("set timezone = 'UTC'; set datestyle = 'ISO'");
  const { rows } = await client.query<Partition>(`
    select
      oid::regclass::text as name,
      trim('''' from substring(bound from 'FROM \\((.*)\\) TO')) as "from",
      trim('''' from substring(bound from 'TO \\((.*)\\)')) as "to"
    from pg_inherits
    join pg_class on pg_class.oid = inhrelid
    cross join pg_get_expr(relpartbound, oid) as bound
    where inhparent = 'crm_sync_log'::regclass`);
  return rows.sort((one, other) =>
    one.from === 'MINVALUE' ? -1 : other.from === 'MINVALUE' ? 1 : one.from < other.from ? -1 : 1,
  );
}

/** The start of the month `ahead` months after this one, in UTC, as PostgreSQL prints it. */
async function monthStart(client: Client, ahead: number): Promise<string> {
  const { rows } = await client.query(
    `select to_char(
       date_trunc('month', now() at time zone 'UTC') + make_interval(months => $1),
       'YYYY-MM-DD HH24:MI:SS"+00"'
     ) as start`,
    [ahead],
  );
  return rows[0].start;
}

const nameOf = (start: string) => `crm_sync_log_${start.slice(0, 7).replace('-', '_')}`;

async function ensure(client: Client, monthsAhead: number | null): Promise<string[]> {
  const { rows } = await client.query('select crm_sync_log_ensure_partitions($1) as name', [monthsAhead]);
  return rows.map(({ name }) => name.replace(/^public\./, ''));
}

/** Adds events for a new connection, and returns the partition of each. */
async function addEvents(client: Client, times: string[]): Promise<{ id: string; partition: string }[]> {
  const { organisationId } = await createTenant(client);
  const { connectionId } = await connect(client, organisationId);
  const { rows } = await client.query(
    `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, status)
     select $1, $2, at, 'inbound', 'contact', 'success' from unnest($3::timestamptz[]) as at
     returning id, tableoid::regclass::text as partition`,
    [organisationId, connectionId, times],
  );
  return rows;
}

describe('monthly partitions', () => {
  const { pool } = useDatabase('host');

  /** Settings of the session that migrates or calls. */
  const sessions = [
    ['UTC', 'ISO, MDY'],
    ['America/New_York', 'SQL, DMY'],
    ['Pacific/Kiritimati', 'German, DMY'],
    ['Pacific/Pago_Pago', 'Postgres, MDY'],
    ['Asia/Kolkata', 'ISO, YMD'],
    ['Europe/London', 'SQL, MDY'],
  ];

  test.each(sessions)('are in UTC for a session in %s with DateStyle %s', async (timezone, datestyle) => {
    await rolledBack(pool, async (client) => {
      const settings = "select set_config('timezone', $1, true), set_config('datestyle', $2, true)";
      await client.query(settings, [timezone, datestyle]);
      await applyUps(client);
      await ensure(client, 4);

      const starts: string[] = [];
      for (let ahead = 0; ahead <= 5; ahead += 1) starts.push(await monthStart(client, ahead));
      expect(await partitions(client)).toEqual([
        ...starts.slice(0, 5).map((start, ahead) => ({
          name: nameOf(start),
          from: ahead === 0 ? 'MINVALUE' : start,
          to: starts[ahead + 1],
        })),
        { name: 'crm_sync_log_catch_all', from: starts[5], to: 'MAXVALUE' },
      ]);
    });
  });

  test('are four after the migration, including this month, without a default partition', async () => {
    await rolledBack(pool, async (client) => {
      await applyUps(client);
      expect(await partitions(client)).toHaveLength(5);
      const { rows } = await client.query(
        "select partdefid from pg_partitioned_table where partrelid = 'crm_sync_log'::regclass",
      );
      expect(rows).toEqual([{ partdefid: 0 }]);
    });
  });

  test('are all created after years without a call, with every event in its month', async () => {
    await rolledBack(pool, async (client) => {
      await applyUps(client);
      const months = (await partitions(client)).filter(({ name }) => name !== 'crm_sync_log_catch_all');
      // As if the last call was in January 2020.
      await client.query('alter table crm_sync_log detach partition crm_sync_log_catch_all');
      for (const { name } of months) await client.query(`drop table ${name}`);
      await client.query(
        "create table crm_sync_log_2020_01 partition of crm_sync_log for values from (minvalue) to ('2020-02-01 00:00:00+00')",
      );
      await client.query(
        "alter table crm_sync_log attach partition crm_sync_log_catch_all for values from ('2020-02-01 00:00:00+00') to (maxvalue)",
      );
      const times = [
        '2019-06-01Z',
        '2020-01-31 23:59:59.999999Z',
        '2020-02-01Z',
        '2024-02-29 12:00Z',
        '2025-12-31Z',
      ];
      const events = await addEvents(client, times);

      const made = await ensure(client, 0);

      expect(made[0]).toBe('crm_sync_log_2020_02');
      expect(made.at(-1)).toBe(nameOf(await monthStart(client, 0)));
      const { rows } = await client.query(
        'select id, tableoid::regclass::text as partition from crm_sync_log order by occurred_at',
      );
      expect(rows).toEqual(
        ['2020_01', '2020_01', '2020_02', '2024_02', '2025_12'].map((month, position) => ({
          id: events[position]?.id,
          partition: `crm_sync_log_${month}`,
        })),
      );
      const all = await partitions(client);
      for (let position = 1; position < all.length; position += 1)
        expect(all[position]?.from).toBe(all[position - 1]?.to);
    });
  });
});

describe('an event', () => {
  const { pool } = useDatabase();

  test.each(outermostTimes)('has a partition even at %s', async (time) => {
    const [event] = await addEvents(pool, [time]);
    expect(event?.partition).toBe(
      time.startsWith('1900') ? nameOf(await monthStart(pool, 0)) : 'crm_sync_log_catch_all',
    );
  });

  test('is in the right month to the microsecond', async () => {
    for (let ahead = 1; ahead <= 4; ahead += 1) {
      const start = await monthStart(pool, ahead);
      const { rows } = await pool.query(
        "select ($1::timestamptz - interval '1 microsecond')::text as before, ($1::timestamptz + interval '1 microsecond')::text as after",
        [start],
      );
      const [before, at, after] = await addEvents(pool, [rows[0].before, start, rows[0].after]);
      const month = ahead === 4 ? 'crm_sync_log_catch_all' : nameOf(start);
      expect(before?.partition).toBe(nameOf(await monthStart(pool, ahead - 1)));
      expect([at?.partition, after?.partition]).toEqual([month, month]);
    }
  });
});

describe('the locks of crm_sync_log_ensure_partitions', () => {
  const { pool } = useDatabase();

  test('are those in its comment, until the end of the transaction', async () => {
    const { rows } = await pool.query(
      "select obj_description('crm_sync_log_ensure_partitions(integer, regclass)'::regprocedure) as comment",
    );
    const [, toCreate, toDrop] =
      /To create a partition, it takes (.*?): .* dropping it takes (.*?)\./.exec(rows[0].comment) ?? [];
    const held = (months: number) =>
      rolledBack(pool, async (client) => {
        await ensure(client, months);
        const { rows: locks } = await client.query(
          `select relation::regclass::text || ' ' || mode as lock from pg_locks
           where pid = pg_backend_pid()
             and relation in ('crm_connections'::regclass, 'crm_sync_log'::regclass)
             and mode in ('AccessExclusiveLock', 'ShareRowExclusiveLock')
           order by lock`,
        );
        return locks.map(({ lock }) => lock);
      });
    expect(await held(3)).toEqual([]);
    expect(await held(4)).toEqual([
      'crm_connections ShareRowExclusiveLock',
      'crm_sync_log AccessExclusiveLock',
    ]);
    expect(toCreate).toBe('ACCESS EXCLUSIVE on the log and SHARE ROW EXCLUSIVE on crm_connections');

    await ensure(pool, 4);
    expect(await held(4)).toEqual(['crm_connections AccessExclusiveLock']);
    expect(await held(5)).toEqual([
      'crm_connections AccessExclusiveLock',
      'crm_connections ShareRowExclusiveLock',
      'crm_sync_log AccessExclusiveLock',
    ]);
    expect(toDrop).toBe('ACCESS EXCLUSIVE on crm_connections');
  });
});

describe('crm_sync_log_ensure_partitions', () => {
  const { pool, url } = useDatabase();

  test('creates and returns nothing if no month is missing', async () => {
    const before = await catalog(pool);
    for (const months of [0, 1, 3]) expect(await ensure(pool, months)).toEqual([]);
    expect((await pool.query('select * from crm_sync_log_ensure_partitions()')).rows).toEqual([]);
    expect(await catalog(pool)).toEqual(before);
  });

  test('creates the missing months in order, and returns their names', async () => {
    await rolledBack(pool, async (client) => {
      const expected = [nameOf(await monthStart(client, 4)), nameOf(await monthStart(client, 5))];
      expect(await ensure(client, 5)).toEqual(expected);
      expect(await ensure(client, 5)).toEqual([]);
      expect(await ensure(client, 4)).toEqual([]);
      expect((await partitions(client)).map(({ name }) => name)).toEqual(expect.arrayContaining(expected));
    });
  });

  test('creates up to ten years of months', async () => {
    await rolledBack(pool, async (client) => {
      expect(await ensure(client, 120)).toHaveLength(117);
    });
  });

  test.each([-1, 121, 2147483647, -2147483648, null])('refuses %s months ahead', async (months) => {
    const { message } = await expectRefused(ensure(pool, months), { code: 'CRM04' });
    expect(message).toBe(`months_ahead must be 0 to 120, not ${months}`);
  });

  test('moves events from the catch-all to their month, unchanged', async () => {
    await rolledBack(pool, async (client) => {
      const [soon, later] = [await monthStart(client, 5), await monthStart(client, 9)];
      const moved = await addEvents(client, [soon, soon, later]);
      expect(new Set(moved.map(({ partition }) => partition))).toEqual(new Set(['crm_sync_log_catch_all']));
      const { organisationId } = await createTenant(client);
      const { connectionId } = await connect(client, organisationId);
      await insert(client, 'crm_sync_log', {
        organisation_id: organisationId,
        connection_id: connectionId,
        occurred_at: soon,
        direction: 'outbound',
        entity_type: 'landlord',
        external_id: 'OXF1',
        internal_id: organisationId,
        status: 'error',
        error: { kind: 'network', retryable: true, message: 'Refused.', code: 'ECONNREFUSED' },
      });
      const events = async () =>
        (await client.query('select log.* from crm_sync_log as log order by id')).rows;
      const before = await events();

      await ensure(client, 6);

      expect(await events()).toEqual(before);
      const { rows } = await client.query(
        'select tableoid::regclass::text as partition from crm_sync_log where id = any($1) order by id',
        [moved.map(({ id }) => id)],
      );
      expect(rows.map(({ partition }) => partition)).toEqual([
        nameOf(soon),
        nameOf(soon),
        'crm_sync_log_catch_all',
      ]);
      // The sequence of ids continues.
      const [next] = await addEvents(client, [soon]);
      expect(Number(next?.id)).toBeGreaterThan(Number(before.at(-1)?.id));
    });
  });

  test('leaves the catch-all unchanged except for its lower bound', async () => {
    await rolledBack(pool, async (client) => {
      // The server chooses the names of its indexes.
      const withoutBounds = async () =>
        (await catalog(client, 'crm_sync_log_catch_all'))
          .filter((line) => !line.startsWith('index '))
          .map((line) =>
            line.replace(/FOR VALUES FROM \([^)]*\)/, 'FOR VALUES').replace(/_pkey\d* /, '_pkey '),
          );
      await ensure(client, 4);
      const before = await withoutBounds();
      await addEvents(client, [await monthStart(client, 6)]);
      await ensure(client, 5);
      await ensure(client, 6);
      expect(await withoutBounds()).toEqual(before);
    });
  });

  test('gives a new month the constraints, triggers and policies of the log', async () => {
    await rolledBack(pool, async (client) => {
      const start = await monthStart(client, 6);
      await ensure(client, 6);
      const [event] = await addEvents(client, [start]);
      for (const partition of [nameOf(start), 'crm_sync_log_catch_all']) {
        for (const [statement, code] of [
          [`truncate ${partition}`, 'CRM02'],
          [
            `insert into crm_sync_log select (log).* from (select log from crm_sync_log as log limit 1) as one`,
            '428C9',
          ],
          [
            `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, status)
             select gen_random_uuid(), gen_random_uuid(), '${partition === nameOf(start) ? start : '9000-01-01Z'}', 'inbound', 'contact', 'success'`,
            '23503',
          ],
        ] as const) {
          await client.query('savepoint attempt');
          await expectRefused(client.query(statement), { code });
          await client.query('rollback to attempt');
        }
      }
      await expectRefused(client.query('delete from crm_sync_log where id = $1', [event?.id]), {
        code: 'CRM02',
      });
    });
  });

  test('finds the log with any search_path, and ignores a temporary table of its name', async () => {
    await rolledBack(pool, async (client) => {
      await client.query('create temporary table crm_sync_log_catch_all (id integer)');
      await client.query('create temporary table crm_sync_log (id integer); set local search_path = pg_temp');
      const { rows } = await client.query('select public.crm_sync_log_ensure_partitions(4) as name');
      expect(rows).toHaveLength(1);
    });
  });

  test('has a lock_timeout below the default deadlock_timeout', async () => {
    const { rows } = await pool.query(
      "select proconfig from pg_proc where proname = 'crm_sync_log_ensure_partitions'",
    );
    expect(rows[0].proconfig).toContain('lock_timeout=500ms');
  });

  test('creates a month once if called ten times concurrently, and no call fails', async () => {
    const made = await Promise.all(Array.from({ length: 10 }, () => ensure(pool, 6)));
    expect(made.flat()).toHaveLength(3);
    expect(made.filter((names) => names.length > 0)).toHaveLength(1);
  });

  test('breaks no concurrent reader or writer', async () => {
    const { organisationId } = await createTenant(pool);
    const { connectionId } = await connect(pool, organisationId);
    const start = await monthStart(pool, 8);
    let going = true;
    let written = 0;
    const write = async () => {
      while (going) {
        await pool.query(
          `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, status)
           values ($1, $2, now(), 'inbound', 'contact', 'success'), ($1, $2, $3, 'inbound', 'contact', 'success')`,
          [organisationId, connectionId, start],
        );
        written += 2;
        await pool.query('select count(*) from crm_sync_log where connection_id = $1', [connectionId]);
      }
    };
    const work = Promise.all([write(), write(), write()]);
    try {
      for (const months of [7, 8, 9]) expect(await ensure(pool, months)).toHaveLength(1);
    } finally {
      going = false;
    }
    await work;
    const { rows } = await pool.query(
      'select count(*)::integer, count(distinct id)::integer as ids from crm_sync_log where connection_id = $1',
      [connectionId],
    );
    expect(rows).toEqual([{ count: written, ids: written }]);
    const { rows: left } = await pool.query('select from crm_sync_log_catch_all where connection_id = $1', [
      connectionId,
    ]);
    expect(left).toEqual([]);
  });

  /** Waits until another session waits for a lock, for at most two seconds: it may have finished without one. */
  async function waitBriefly(pid: number): Promise<void> {
    for (const end = Date.now() + 2000; Date.now() < end; ) {
      const { rows } = await pool.query(
        'select from pg_stat_activity where pid = $1 and cardinality(pg_blocking_pids(pid)) > 0',
        [pid],
      );
      if (rows.length > 0) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  describe.each([
    [
      'a writer that locks connections, then the log',
      (id: string) => `update crm_connections set last_synced_at = now() where id = '${id}'`,
      (id: string) => `select count(*) from crm_sync_log where connection_id = '${id}'`,
    ],
    [
      'a reader that locks connections, then the log',
      (id: string) => `select from crm_connections where id = '${id}'`,
      (id: string) => `select count(*) from crm_sync_log where connection_id = '${id}'`,
    ],
    [
      'a writer that locks the log, then connections',
      (id: string) =>
        `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status)
         select organisation_id, id, 'inbound', 'contact', 'success' from crm_connections where id = '${id}'`,
      (id: string) => `update crm_connections set last_synced_at = now() where id = '${id}'`,
    ],
    [
      'a reader that locks the log, then connections',
      (id: string) => `select count(*) from crm_sync_log where connection_id = '${id}'`,
      (id: string) => `select from crm_connections where id = '${id}'`,
    ],
  ])('beside %s', (_, firstStep, secondStep) => {
    test('does not cause a deadlock in the application', async () => {
      const { organisationId } = await createTenant(pool);
      const { connectionId } = await connect(pool, organisationId);
      const { rows } = await pool.query(
        "select count(*)::integer from pg_inherits where inhparent = 'crm_sync_log'::regclass",
      );
      await withClient(url, async (other) => {
        await withClient(url, async (caller) => {
          // The caller checks for a deadlock at once, before there is one, and never again.
          await caller.query("set deadlock_timeout = '10ms'");
          await other.query("set deadlock_timeout = '1s'");
          const pid = await backendPid(caller);
          await other.query(`begin; ${firstStep(connectionId)}`);
          // One month more than exist: without the catch-all, counted from 0 for this month.
          const ensuring = ensure(caller, rows[0].count - 1).catch((error) => error);
          await Promise.race([waitBriefly(pid), ensuring]);
          await new Promise((resolve) => setTimeout(resolve, 50));
          await other.query(secondStep(connectionId));
          await other.query('commit');
          await ensuring;
        });
      });
    });
  });
});

describe('retention', () => {
  const { pool, url } = useDatabase();

  test('a month can be detached during reads and writes, because there is no default partition', async () => {
    const month = nameOf(await monthStart(pool, 2));
    await addEvents(pool, [await monthStart(pool, 0), await monthStart(pool, 2)]);
    await pool.query(`alter table crm_sync_log detach partition ${month} concurrently`);
    expect((await pool.query(`select from ${month}`)).rows).toHaveLength(1);
    expect((await pool.query('select from crm_sync_log')).rows).toHaveLength(1);
    await pool.query(`drop table ${month}`);
    await withClient(url, async (client) => {
      expect((await partitions(client)).map(({ name }) => name)).not.toContain(month);
      await ensure(client, 4);
    });
  });
});

describe('plans', () => {
  const { pool } = useDatabase();

  beforeAll(async () => {
    for (let connection = 0; connection < 4; connection += 1) {
      const { organisationId } = await createTenant(pool);
      const { connectionId } = await connect(pool, organisationId);
      await pool.query(
        `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, status, internal_id)
         select $1, $2, now() + make_interval(months => month, mins => minute), 'inbound', 'contact', 'success', $1
         from generate_series(0, 3) as month, generate_series(1, 500) as minute`,
        [organisationId, connectionId],
      );
    }
    await pool.query('analyze crm_sync_log');
  });

  interface PlanNode {
    'Node Type': string;
    'Actual Loops': number;
    'Relation Name'?: string;
    Plans?: PlanNode[];
  }

  const nodes = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodes)];

  test('reading the latest events of a connection opens only the latest partitions', async () => {
    const { rows: keys } = await pool.query('select organisation_id, id from crm_connections limit 1');
    const { rows } = await pool.query(
      `explain (analyze, format json)
       select id from crm_sync_log where organisation_id = $1 and connection_id = $2 order by occurred_at desc, id desc limit 20`,
      [keys[0].organisation_id, keys[0].id],
    );
    const plan = nodes(rows[0]['QUERY PLAN'][0].Plan);
    expect(plan.map((node) => node['Node Type'])).not.toContain('Merge Append');
    expect(plan.map((node) => node['Node Type'])).toContain('Append');
    const scans = plan.filter((node) => node['Relation Name'] !== undefined);
    expect(scans).toHaveLength(5);
    const opened = scans.filter((node) => node['Actual Loops'] > 0).map((node) => node['Relation Name']);
    expect(opened).not.toContain(nameOf(await monthStart(pool, 0)));
    expect(opened.length).toBeLessThanOrEqual(3);
  });
});
