import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { withClient } from '../../dev/database.js';
import { partitionsDrop, partitionsEnsure, partitionsList } from '../../src/migrations.js';
import { runCli } from '../support/cli.js';
import { useDatabase } from '../support/database.js';
import {
  beginLog,
  connectWithEvents,
  detachedNames,
  monthName,
  monthStart,
  partitionNames,
} from '../support/log-partitions.js';
import { differencesOf } from '../verify/support.js';

const { url, pool } = useDatabase();
const monthsAgo = 16;
const day = 24 * 60 * 60 * 1000;

beforeEach(async () => {
  for (const name of await detachedNames(pool)) await pool.query(`drop table ${name}`);
  await withClient(url, (client) => beginLog(client, monthsAgo));
});
afterEach(() => void vi.useRealTimers());

/** Moves the clock of this process: to the functions, the server's is wrong by as much. */
function moveClock(milliseconds: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + milliseconds });
}

describe.each([2 * day, -2 * day, 9 * 365 * day])('with clocks %i ms apart,', (difference) => {
  test.each([
    ['partitionsEnsure', partitionsEnsure, { months: 4 }],
    ['partitionsDrop', partitionsDrop, { wait: 1 }],
    ['partitionsDrop with dryRun', partitionsDrop, { dryRun: true }],
  ] as const)('%s refuses unless trustServerClock', async (_, call, options) => {
    await connectWithEvents(pool, [-monthsAgo, 0]);
    moveClock(difference);
    await withClient(url, async (client) => {
      const before = await partitionNames(client);
      await expect(call(client, options)).rejects.toMatchObject({
        code: 'partitions_refused',
        message: expect.stringMatching(
          /^The server's clock says \d{4}-\S+Z, and this machine's \d{4}-\S+Z\. /,
        ),
      });
      expect(await partitionNames(client)).toEqual(before);
      await call(client, { ...options, trustServerClock: true });
    });
  });
});

test('clocks that are less than a day apart are accepted', async () => {
  await connectWithEvents(pool, [-monthsAgo, 0]);
  // By the server's clock: on the last day of a month, this machine's is about to be in the next one.
  const next = monthName(4);
  moveClock(day - 60_000);
  await withClient(url, async (client) => {
    expect((await partitionsEnsure(client, { months: 4 })).made).toEqual([next]);
    expect((await partitionsDrop(client)).dropped).not.toEqual([]);
  });
});

test('partitionsDrop refuses to drop every partition with events, unless trustServerClock', async () => {
  await connectWithEvents(pool, [-monthsAgo]);
  await withClient(url, async (client) => {
    const before = await partitionNames(client);
    for (const options of [{}, { dryRun: true }]) {
      await expect(partitionsDrop(client, options)).rejects.toMatchObject({
        code: 'partitions_refused',
        message: expect.stringMatching(/^Every partition with events is past its retention period, /),
      });
    }
    expect(await partitionNames(client)).toEqual(before);
    const { dropped } = await partitionsDrop(client, { trustServerClock: true });
    expect(dropped.map(({ name }) => name)).toContain(monthName(-monthsAgo));
  });
});

test.each([
  ['a later month', [-monthsAgo, -2]],
  ['the catch-all partition', [-monthsAgo, 9]],
  ['no partition', []],
])('partitionsDrop drops what is expired where %s has events too', async (_, months) => {
  await connectWithEvents(pool, months);
  await withClient(url, async (client) => {
    expect((await partitionsDrop(client)).dropped).not.toEqual([]);
  });
});

test('the commands refuse, and take --trust-server-clock', async () => {
  await connectWithEvents(pool, [-monthsAgo]);
  const ahead = `data:text/javascript,const now = Date.now; Date.now = () => now() - ${3 * day};`.replaceAll(
    ' ',
    '%20',
  );
  const env = { DATABASE_URL: url, NODE_OPTIONS: `--import=${ahead}` };
  for (const command of ['ensure', 'drop']) {
    expect(await runCli(['partitions', command], env)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('add --trust-server-clock'),
    });
    expect(await runCli(['partitions', command, '--trust-server-clock'], env)).toMatchObject({ code: 0 });
  }
});

test('trustServerClock must be a boolean', async () => {
  await withClient(url, async (client) => {
    for (const call of [partitionsEnsure, partitionsDrop]) {
      await expect(call(client, { trustServerClock: 'yes' as never })).rejects.toMatchObject({
        code: 'invalid_input',
      });
    }
  });
});

test('verify and partitions list say that the current month has no partition of its own', async () => {
  expect((await runCli(['partitions', 'list'], { DATABASE_URL: url })).stdout).not.toContain(
    'The current month',
  );
  const past = `crm_sync_log_before_${monthStart(20).slice(0, 7).replace('-', '_')}`;
  await withClient(url, async (client) => {
    for (const name of await partitionNames(client)) await client.query(`drop table ${name}`);
    for (const [name, range] of [
      [past, `from (minvalue) to ('${monthStart(20)}')`],
      ['crm_sync_log_catch_all', `from ('${monthStart(20)}') to (maxvalue)`],
    ]) {
      await client.query(`create table ${name} partition of crm_sync_log for values ${range}`);
      await client.query('select crm_sync_log_finish_partition($1)', [name]);
    }
    expect((await partitionsList(client)).partitions).toHaveLength(2);
    expect(await differencesOf(client)).toContainEqual(
      expect.objectContaining({
        kind: 'partition',
        name: `public.${monthName(0)}`,
        found: `nothing: its events go to ${past}`,
      }),
    );
  });
  const { stdout } = await runCli(['partitions', 'list'], { DATABASE_URL: url });
  expect(stdout.replaceAll('\n', ' ')).toContain(
    `The current month, ${monthStart(0).slice(0, 7)}, has no partition of its own: crm-schema verify says`,
  );
});
