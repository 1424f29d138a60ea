/**
 * Symptom: the CRM answers 429 without Retry-After, as Reapit does. The run ends at once, as a failure, and what it had
 * not read waits for the next sync.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits.
 *
 * Input: a 429 without Retry-After in the middle of a pass, while reading one record, and while pushing; and one that
 * does not end. Right: the run waits for as long as is known to be enough at that CRM, and goes on. If that is too long
 * for a run, the connection is left alone for as long.
 */
import { beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type Crm, CrmError, type CrmPage } from '../../examples/crm.js';
import { waitAfter } from '../../examples/requests.js';
import { syncNext } from '../../examples/sync-worker.js';
import { type ConnectionKey, syncRunListByConnection } from '../../src/index.js';
import { simulatedCrmClient } from '../simulated-crm/client.js';
import { startSimulatedCrm } from '../simulated-crm/server.js';
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

let key: ConnectionKey;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  key = await connectDue('street');
});

const tooMany = new CrmError('rate_limited', 'Too many requests.', { retryable: true });

/** Syncs with a CRM that refuses the request with this number for its rate limit, counted from 1. */
async function sync(crm: Partial<Crm>, leaseSeconds = 60): Promise<void> {
  const pages = ['page 2', 'page 3', null];
  const usual: Crm = {
    entityTypes: ['contact'],
    async readPage(_, from) {
      const next = pages['token' in from ? pages.indexOf(from.token) + 1 : 0] as string | null;
      const page = { records: [] };
      return next === null
        ? { ...page, isLast: true, next, syncedTo: '2026-11-16T09:00:00Z' }
        : { ...page, isLast: false, next };
    },
    read: async () => null,
    write: async () => null,
  };
  await syncNext({ name: 'test', pool: worker, openCrm: async () => ({ ...usual, ...crm }), leaseSeconds });
}

const lastRun = async () => (await syncRunListByConnection(pool, key))[0];

test('a run goes on after the wait that is known of its CRM', async () => {
  const asked: number[] = [];
  await sync({
    rateLimitWaitSeconds: 1,
    async readPage(): Promise<CrmPage> {
      asked.push(Date.now());
      if (asked.length % 2 === 1) throw tooMany;
      return asked.length < 4
        ? { records: [], isLast: false, next: 'page 2' }
        : { records: [], isLast: true, next: null, syncedTo: '2026-11-16T09:00:00Z' };
    },
  });
  expect(await lastRun()).toMatchObject({ outcome: 'success' });
  expect(asked).toHaveLength(4);
  const [first = 0, second = 0] = asked;
  expect(second - first).toBeGreaterThanOrEqual(990);
});

test('a run against a server whose 429 has no Retry-After ends as a success', async () => {
  const crm = await startSimulatedCrm({
    provider: 'street',
    seed: 1,
    // The second request is refused, and any within the next 300 ms.
    habits: { requestLimit: 1, requestWindowMilliseconds: 300, retryAfterSeconds: null, pageSize: 2 },
  });
  for (let n = 0; n < 4; n += 1) crm.create(`Test Person ${n}`);
  try {
    const { url, credentials } = crm;
    const client = simulatedCrmClient('street', { url, credentials, timeoutMilliseconds: 20_000 });
    const openCrm = async () => ({ ...client, rateLimitWaitSeconds: 1 });
    await syncNext({ name: 'test', pool: worker, openCrm });
    expect(await lastRun()).toMatchObject({ outcome: 'success', successCount: '4' });
  } finally {
    await crm.stop();
  }
});

test('a wait that is too long for a run ends it, and the connection is left alone for as long', async () => {
  await sync({
    rateLimitWaitSeconds: 3000,
    readPage: () => Promise.reject(tooMany),
  });
  expect(await lastRun()).toMatchObject({ outcome: 'failed', error: { kind: 'rate_limited' } });
  const { rows } = await pool.query(
    'select extract(epoch from next_sync_at - now())::integer as wait from crm_connections where id = $1',
    [key.connectionId],
  );
  expect(rows[0].wait).toBeGreaterThan(2900);
});

test('the CRM’s own word comes before what is known of it, and a minute is the last resort', () => {
  const saying = new CrmError('rate_limited', 'Too many requests.', {
    retryable: true,
    retryAfterSeconds: 7,
  });
  const known = { rateLimitWaitSeconds: 5 } as Crm;
  expect(waitAfter(saying, known)).toBe(7);
  expect(waitAfter(tooMany, known)).toBe(5);
  expect(waitAfter(tooMany, undefined)).toBe(60);
  expect(waitAfter(new CrmError('provider', 'Broken.', { retryable: true }), known)).toBeUndefined();
});
