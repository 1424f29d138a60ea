/**
 * Symptom: the CRM answers 429 and does not say for how long. The run ends with the first one, although the CRM lets
 * the worker in again a moment later; and the other connections that share the limit find out for themselves.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits: Reapit publishes no Retry-After.
 *
 * Input: a 429 without Retry-After at the first page, in a lease that is long enough for the wait and in one that is not;
 * and two connections of different organisations with one API key.
 *
 * Right: the worker waits for as long as is documented for the CRM, and goes on. If the lease is too short for that, the
 * connection is due after that time. Who shares the limit asks nothing before it.
 */
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { type Crm, CrmError } from '../../examples/crm.js';
import { waitAfter } from '../../examples/requests.js';
import { startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import { syncNext } from '../../examples/sync-worker.js';
import { type ConnectionKey, rateLimits, syncRunListByConnection } from '../../src/index.js';
import { simulatedCrmClient } from '../simulated-crm/client.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const { connectDue } = syncSetup(database);
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});
beforeEach(async () => {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  await pool.query('delete from crm_rate_limits');
});

/** A CRM that refuses its first requests without saying for how long. */
function refusingCrm(refusals: number, rest: Partial<Crm> = {}) {
  const asked: number[] = [];
  const crm: Crm = {
    entityTypes: ['contact'],
    async readPage() {
      asked.push(performance.now());
      if (asked.length <= refusals)
        throw new CrmError('rate_limited', 'Too many requests.', { retryable: true });
      return { records: [], isLast: true, next: null, syncedTo: '2026-11-16T09:00:00Z' };
    },
    read: async () => null,
    write: async () => null,
    ...rest,
  };
  const sync = (leaseSeconds: number) =>
    syncNext({ name: 'test', pool: worker, openCrm: async () => crm, leaseSeconds });
  return { asked, sync };
}

const lastRun = async (key: ConnectionKey) => (await syncRunListByConnection(pool, key))[0];

/** For how long the connection is not due, in seconds. */
async function waitOf({ connectionId }: ConnectionKey): Promise<number> {
  const { rows } = await pool.query(
    'select extract(epoch from next_sync_at - now())::float8 as wait from crm_connections where id = $1',
    [connectionId],
  );
  return rows[0].wait;
}

test('the run waits and goes on, whether or not its adapter shares a limit', async () => {
  for (const rateLimitScope of [undefined, 'AAA']) {
    const key = await connectDue('loop');
    const { asked, sync } = refusingCrm(2, { rateLimitWaitSeconds: 1, rateLimitScope });
    expect(await sync(60)).toBe(true);
    expect(asked).toHaveLength(3);
    expect((asked[1] ?? 0) - (asked[0] ?? 0)).toBeGreaterThanOrEqual(990);
    expect(await lastRun(key)).toMatchObject({ outcome: 'success' });
  }
});

test.each(['reapit', 'agentos', 'street', 'loop'] as const)(
  'a connection to %s is due after the documented wait if the lease is too short for it',
  async (provider) => {
    const key = await connectDue(provider);
    const { asked, sync } = refusingCrm(1);
    await sync(10);
    expect(asked).toHaveLength(1);
    expect(await lastRun(key)).toMatchObject({ outcome: 'failed', error: { kind: 'rate_limited' } });
    expect(await waitOf(key)).toBeGreaterThan(rateLimits[provider].waitSeconds - 5);
  },
);

test('who shares the limit asks nothing before the wait is over, and is due after it', async () => {
  const scope = { rateLimitScope: 'key-1', rateLimitWaitSeconds: 600 };
  await connectDue('street');
  const first = refusingCrm(1, scope);
  await first.sync(60);
  expect(first.asked).toHaveLength(1);

  const key = await connectDue('street');
  const second = refusingCrm(0, scope);
  await second.sync(60);
  expect(second.asked).toEqual([]);
  expect(await lastRun(key)).toMatchObject({ outcome: 'failed', error: { kind: 'rate_limited' } });
  expect(await waitOf(key)).toBeGreaterThan(590);

  await connectDue('street');
  const stranger = refusingCrm(0, { rateLimitScope: 'key-2' });
  await stranger.sync(60);
  expect(stranger.asked).toHaveLength(1);
});

test('a run against a server whose 429 has no Retry-After reads every record', async () => {
  const crm = await startSimulatedCrm({
    provider: 'street',
    seed: 1,
    // The second request is refused, and any within the next 300 ms.
    habits: { requestLimit: 1, requestWindowMilliseconds: 300, retryAfterSeconds: null, pageSize: 2 },
  });
  for (let n = 0; n < 4; n += 1) crm.create(`Test Person ${n}`);
  try {
    const key = await connectDue('street');
    const { url, credentials } = crm;
    const client = simulatedCrmClient('street', { url, credentials, timeoutMilliseconds: 20_000 });
    const openCrm = async () => ({ ...client, rateLimitWaitSeconds: 1 });
    await syncNext({ name: 'test', pool: worker, openCrm });
    expect(await lastRun(key)).toMatchObject({ outcome: 'success', successCount: '4' });
  } finally {
    await crm.stop();
  }
});

test('what the CRM says comes before what its adapter says, and that before what is documented', () => {
  const tooMany = (retryAfterSeconds?: number) =>
    new CrmError('rate_limited', 'Too many requests.', { retryable: true, retryAfterSeconds });
  const adapter = { rateLimitWaitSeconds: 5 } as Crm;
  expect(waitAfter(tooMany(7), adapter, 'reapit')).toBe(7);
  expect(waitAfter(tooMany(), adapter, 'reapit')).toBe(5);
  expect(waitAfter(tooMany(), undefined, 'reapit')).toBe(rateLimits.reapit.waitSeconds);
  const broken = new CrmError('provider', 'Broken.', { retryable: true });
  expect(waitAfter(broken, adapter, 'reapit')).toBeUndefined();
});
