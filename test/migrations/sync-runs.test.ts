import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import {
  type Row,
  testRefusesOtherOrganisations,
  testRestrictsDeletion,
  tryRow,
  useConnectedTenant,
} from '../support/connected-tenant.js';
import { insert, rolledBack, useDatabase } from '../support/database.js';
import { type Migration, migrations } from '../support/migrations.js';
import { expectCheck, expectRefused, outermostTimes } from '../support/refusals.js';

const { pool } = useDatabase();

const tenant = useConnectedTenant(pool);

const nine = '2026-11-16T09:00:00Z';
const error = { kind: 'timeout', retryable: true, message: 'No answer.' };
const ended = { ended_at: nine, outcome: 'success' };

/** A valid open run. */
const validRow = () => ({
  organisation_id: tenant.organisationId,
  connection_id: tenant.connectionId,
  worker: 'test',
  started_at: nine,
  heartbeat_at: nine,
  expires_at: '2026-11-16T09:05:00Z',
});

const runs = { pool, table: 'crm_sync_runs', tenant, validRow };

describe('crm_sync_runs', () => {
  test.each<[string, Row]>([
    ['is open', {}],
    ['has ended', ended],
    ['was abandoned', { ended_at: nine, outcome: 'abandoned' }],
    ['was cancelled', { ended_at: nine, outcome: 'cancelled' }],
    ['failed with an error', { ended_at: nine, outcome: 'failed', error }],
    ['has a worker name of 200 characters', { worker: 'w'.repeat(200) }],
    ['has a lease of one microsecond', { expires_at: '2026-11-16T09:00:00.000001Z' }],
    ['started in 1900', { started_at: outermostTimes[0] }],
  ])('accepts a run that %s', async (_, overrides) => {
    await tryRow(runs, overrides);
  });

  test.each<[string, Row, string]>([
    ['has a blank worker name', { worker: ' ' }, 'worker'],
    ['has a worker name of 201 characters', { worker: 'w'.repeat(201) }, 'worker'],
    ['has an unknown outcome', { ended_at: nine, outcome: 'vanished' }, 'outcome'],
    ['ended without an outcome', { ended_at: nine }, 'ended_iff_outcome'],
    ['has an outcome but has not ended', { outcome: 'success' }, 'ended_iff_outcome'],
    ['failed without an error', { ended_at: nine, outcome: 'failed' }, 'failed_iff_error'],
    ['succeeded with an error', { ...ended, error }, 'failed_iff_error'],
    ['is open with an error', { error }, 'failed_iff_error'],
    [
      'failed with an error that contains a payload',
      { ended_at: nine, outcome: 'failed', error: { ...error, body: 'x' } },
      'error_is_valid',
    ],
    ['has a lease of zero length', { expires_at: nine }, 'expires_after_heartbeat'],
    ['has a negative count', { success_count: -1 }, 'counts'],
    ['has a negative batch number', { batch_number: -1 }, 'counts'],
    ['expires at infinity', { expires_at: 'infinity' }, 'times_in_range'],
  ])('refuses a run that %s', async (_, overrides, constraint) => {
    await expectCheck(tryRow(runs, overrides), `crm_sync_runs_${constraint}_check`);
  });

  testRefusesOtherOrganisations(runs);

  test('refuses a second open run of a connection, beside any number of ended ones', async () => {
    await rolledBack(pool, async (client) => {
      for (let count = 0; count < 3; count += 1)
        await insert(client, 'crm_sync_runs', { ...validRow(), ...ended });
      await insert(client, 'crm_sync_runs', validRow());
      await expectRefused(insert(client, 'crm_sync_runs', validRow()), {
        code: '23505',
        constraint: 'crm_sync_runs_connection_id_open_key',
      });
    });
  });

  testRestrictsDeletion(runs);
});

describe('the schedule of a connection', () => {
  const change = (column: string, value: unknown) =>
    rolledBack(pool, async (client) => {
      await client.query(`update crm_connections set ${column} = $1 where id = $2`, [
        value,
        tenant.connectionId,
      ]);
    });

  test('of a new connection is due now, every fifteen minutes, without a failure', async () => {
    const { rows } = await pool.query(
      `select next_sync_at <= now() as is_due, sync_interval_seconds, sync_requested_at, last_success_at,
         first_failed_at, failure_count
       from crm_connections where id = $1`,
      [tenant.connectionId],
    );
    expect(rows).toEqual([
      {
        is_due: true,
        sync_interval_seconds: 900,
        sync_requested_at: null,
        last_success_at: null,
        first_failed_at: null,
        failure_count: 0,
      },
    ]);
  });

  test('is added by 0006 without rewriting existing connections', async () => {
    const position = migrations.findIndex(({ file }) => file === '0006_add_sync_schedule.sql');
    await rolledBack(pool, async (client) => {
      for (const migration of migrations.slice(position).toReversed()) await client.query(migration.down);
      const file = async () =>
        (await client.query("select pg_relation_filenode('crm_connections') as file")).rows;
      const before = await file();
      await client.query(migrations[position]?.up ?? '');
      expect(await file()).toEqual(before);
    });
  });

  test.each([
    [60, true],
    [604_800, true],
    [59, false],
    [604_801, false],
  ])('an interval of %i seconds: accepted is %s', async (seconds, isAccepted) => {
    const attempt = change('sync_interval_seconds', seconds);
    if (isAccepted) await attempt;
    else await expectCheck(attempt, 'crm_connections_sync_interval_seconds_check');
  });

  test.each([
    ['first_failed_at', nine, 'first_failed_iff_failure_count'],
    ['failure_count', 1, 'first_failed_iff_failure_count'],
    ['failure_count', -1, 'failure_count'],
    ['next_sync_at', 'infinity', 'schedule_times_in_range'],
    ['last_success_at', '-infinity', 'schedule_times_in_range'],
  ])('refuses a change of only %s to %s', async (column, value, constraint) => {
    await expectCheck(change(column, value), `crm_connections_${constraint}_check`);
  });

  test.each([
    ['a success', 'last_success_at = now()'],
    ['a failure', 'first_failed_at = now(), failure_count = 1'],
    ['a request', 'sync_requested_at = now()'],
    ['a changed interval', 'sync_interval_seconds = 60'],
  ])('0006 refuses to go down while there is %s, unless data loss is allowed', async (_, assignment) => {
    const position = migrations.findIndex(({ file }) => file === '0006_add_sync_schedule.sql');
    const later = migrations.slice(position + 1).toReversed();
    const down = migrations[position]?.down ?? '';
    await rolledBack(pool, async (client) => {
      for (const migration of later) await client.query(migration.down);
      await client.query('savepoint before');
      await client.query(down);
      await client.query('rollback to before');
      await client.query(`update crm_connections set ${assignment}`);
      await expectRefused(client.query(down), { code: 'CRM03' });
    });
    await rolledBack(pool, async (client) => {
      for (const migration of later) await client.query(migration.down);
      await client.query(`update crm_connections set ${assignment}`);
      await client.query("set local crm_schema.allow_data_loss = 'on'");
      await client.query(down);
    });
  });
});

describe('crm_now', () => {
  test('is the start of the statement, also within a transaction', async () => {
    await rolledBack(pool, async (client) => {
      const { rows } = await client.query(
        'select crm_now() = statement_timestamp() as is_now, now() as begun',
      );
      expect(rows[0].is_now).toBe(true);
      const later = await client.query('select crm_now() > $1 as has_moved', [rows[0].begun]);
      expect(later.rows).toEqual([{ has_moved: true }]);
    });
  });

  test('follows crm_schema.now in the session that sets it, and no longer', async () => {
    await rolledBack(pool, async (client) => {
      await client.query("set local crm_schema.now = '2026-11-16T09:00:00Z'");
      const stopped = await client.query("select crm_now() = '2026-11-16T09:00:00Z' as is_stopped");
      expect(stopped.rows).toEqual([{ is_stopped: true }]);
    });
    // After a local setting, the name stays with an empty value.
    const { rows } = await pool.query('select crm_now() = statement_timestamp() as is_now');
    expect(rows).toEqual([{ is_now: true }]);
  });
});

describe('crm_sync_backoff', () => {
  test.each([
    [0, 60],
    [1, 60],
    [2, 120],
    [5, 960],
    [12, 21_600],
    [2_000_000_000, 21_600],
  ])('after %i attempts is between half of %i seconds and all of it', async (attempts, longest) => {
    const { rows } = await pool.query(
      `select min(seconds)::float8 as least, max(seconds)::float8 as most, count(distinct seconds)::integer as kinds
       from (
         select extract(epoch from crm_sync_backoff($1, 60, 21600)) as seconds from generate_series(1, 300)
       ) as waits`,
      [attempts],
    );
    expect(rows[0].least).toBeGreaterThanOrEqual(longest / 2);
    expect(rows[0].least).toBeLessThan(longest * 0.6);
    expect(rows[0].most).toBeLessThanOrEqual(longest);
    expect(rows[0].most).toBeGreaterThan(longest * 0.9);
    expect(rows[0].kinds).toBeGreaterThan(100);
  });
});

test.each([
  ['auth', 1, '0 seconds', true],
  ['permission', 1, '0 seconds', true],
  ['timeout', 4, '7 days', false],
  ['timeout', 500, '59 minutes', false],
  ['timeout', 5, '1 hour', true],
])(
  'a sync that fails with %s, %i times in %s: alarming is %s',
  async (kind, failures, failingFor, expected) => {
    const { rows } = await pool.query('select crm_sync_failure_is_alarming($1, $2, $3) as found', [
      kind,
      failures,
      failingFor,
    ]);
    expect(rows).toEqual([{ found: expected }]);
  },
);

describe('the index of open runs by the end of their lease', () => {
  const [add, replace] = ['0054', '0055'].map((number) =>
    migrations.find(({ file }) => file.startsWith(number)),
  ) as [Migration, Migration];

  /** Goes back to before the index, builds one with its name, and runs `work`. */
  const afterBuilding = (definition: string, work: (client: pg.ClientBase) => Promise<void>) =>
    rolledBack(pool, async (client) => {
      await client.query(replace.down);
      await client.query(add.down);
      await client.query(`create index crm_sync_runs_open_expires_at_idx on ${definition}`);
      await work(client);
    });

  test('is taken over if it was built beforehand', () =>
    afterBuilding('crm_sync_runs (expires_at) where outcome is null', async (client) => {
      const { rows: built } = await client.query(
        "select 'crm_sync_runs_open_expires_at_idx'::regclass::oid as index",
      );
      await client.query(add.up);
      await client.query(replace.up);
      const { rows } = await client.query("select 'crm_sync_runs_expires_at_idx'::regclass::oid as index");
      expect(rows).toEqual(built);
    }));

  test.each([
    ['with another condition', 'crm_sync_runs (expires_at) where ended_at is null', ''],
    ['on another table', 'crm_sync_cursors (moved_at)', ''],
    [
      'whose build was interrupted',
      'crm_sync_runs (expires_at) where outcome is null',
      "update pg_index set indisvalid = false where indexrelid = 'crm_sync_runs_open_expires_at_idx'::regclass",
    ],
  ])('is not one %s', (_, definition, afterwards) =>
    afterBuilding(definition, async (client) => {
      if (afterwards !== '') await client.query(afterwards);
      await expect(client.query(add.up)).rejects.toMatchObject({
        code: 'CRM01',
        hint: expect.stringContaining('drop index concurrently crm_sync_runs_open_expires_at_idx'),
      });
    }),
  );
});
