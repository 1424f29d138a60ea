/**
 * Symptom: a deployment sends SIGTERM. The worker goes on with its run, for up to ten minutes; after thirty seconds it is
 * killed, and until its lease has expired nobody syncs the connection.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits. pg-boss and graphile-worker stop gracefully.
 *
 * Input: SIGTERM, or an AbortSignal, in the middle of a pass, of pushes, of a wait for a rate limit, of a request that
 * nobody answers, and of a pause. Right: the run ends at the next page or contact, well within ten seconds; the
 * connection is due at once; no lease is left, and nothing is lost or done twice.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { type Crm, CrmError, type CrmPosition, type CrmRecord } from '../../examples/crm.js';
import { startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import { runWorker, syncNext, type Worker } from '../../examples/sync-worker.js';
import {
  type ConnectionKey,
  outboundChangeListWaiting,
  outboundChangeRecord,
  syncFailureList,
  syncRunListByConnection,
} from '../../src/index.js';
import { simulatedCrmClient } from '../simulated-crm/client.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { makeDue, syncSetup } from '../support/sync.js';
import { waiting } from '../support/waiting.js';

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
  key = await connectDue('loop');
});

/** The last run. It must have ended, and the connection must be due. */
async function endedRun() {
  const [run] = await syncRunListByConnection(pool, key);
  expect(run?.endedAt).not.toBeNull();
  const { rows } = await pool.query(
    'select next_sync_at <= now() as is_due from crm_connections where id = $1',
    [key.connectionId],
  );
  expect(rows).toEqual([{ is_due: true }]);
  return run;
}

const names = async () => {
  const { rows } = await pool.query('select name from contacts where organisation_id = $1 order by name', [
    key.organisationId,
  ]);
  return rows.map(({ name }) => name as string);
};

const record = (externalId: string): CrmRecord => ({
  entityType: 'contact',
  externalId,
  name: `Test Person ${externalId}`,
  state: 'active',
});

/** The example worker with a CRM that does as little as possible, but for what is given. */
function workerOf(crm: Partial<Crm>): Worker {
  const idle: Crm = {
    entityTypes: ['contact'],
    readPage: async () => ({ records: [], isLast: true, next: null, syncedTo: '2026-11-16T09:00:00Z' }),
    read: async () => null,
    write: async () => null,
  };
  return { name: 'test', pool: worker, openCrm: async () => ({ ...idle, ...crm }) };
}

/** Contacts that wait to be pushed. */
async function changedContacts(count: number): Promise<string[]> {
  const { rows } = await pool.query(
    "insert into contacts (organisation_id, id, name) select $1, gen_random_uuid(), 'Test ' || n from generate_series(1, $2::integer) as n returning id",
    [key.organisationId, count],
  );
  const contactIds = rows.map(({ id }) => id as string);
  await outboundChangeRecord(pool, { ...key, contactIds });
  return contactIds;
}

const stillWaiting = async (contactIds: string[]) =>
  (await outboundChangeListWaiting(pool, { ...key, contactIds })).length;

test('a process that gets SIGTERM in the middle of a pass exits soon, and another goes on where it stopped', async () => {
  const habits = { pageSize: 3, slow: 1, slowMilliseconds: 600 };
  const crm = await startSimulatedCrm({ provider: 'loop', seed: 1, habits });
  onTestFinished(() => crm.stop());
  for (let n = 10; n < 70; n += 1) crm.create(`Test Person ${n}`);
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'test/reports/stopping-worker.ts', crm.url, crm.credentials.apiKey],
    {
      cwd: projectPath('.'),
      env: { ...process.env, DATABASE_URL: worker.options.connectionString as string },
    },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  await vi.waitFor(async () => expect((await names()).length).toBeGreaterThan(5), waiting);

  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(await endedRun()).toMatchObject({ outcome: 'success' });
  expect((await names()).length).toBeLessThan(60);

  crm.setHabits({ slow: 0 });
  const requests = crm.requests;
  const openCrm = async () =>
    simulatedCrmClient('loop', { url: crm.url, credentials: crm.credentials, timeoutMilliseconds: 20_000 });
  await syncNext({ name: 'next', pool: worker, openCrm });
  expect(await names()).toEqual(Array.from({ length: 60 }, (_, n) => `Test Person ${n + 10}`));
  expect(crm.requests - requests, 'it does not begin again').toBeLessThan(20);
});

test('a signal between two pages ends the run, with what was read', async () => {
  const ending = new AbortController();
  const asked: CrmPosition[] = [];
  const crm = workerOf({
    async readPage(_, from) {
      asked.push(from);
      return { records: [record(String(asked.length))], isLast: false, next: `page ${asked.length}` };
    },
  });
  const recorded = pool.query.bind(pool);
  const sync = syncNext(crm, ending.signal);
  await vi.waitFor(async () => {
    const { rows } = await recorded('select from contacts where organisation_id = $1', [key.organisationId]);
    expect(rows.length).toBeGreaterThan(1);
  }, waiting);
  ending.abort();
  expect(await sync).toBe(true);
  const run = await endedRun();
  expect(run).toMatchObject({ outcome: 'success', successCount: String((await names()).length) });
});

test('a signal between two pushes ends the run after those that it has claimed, and the others are pushed at once by the next', async () => {
  const contactIds = await changedContacts(25);
  const ending = new AbortController();
  const written: string[] = [];
  const crm = workerOf({
    async write({ contactId, name }) {
      written.push(contactId);
      if (written.length === 13) ending.abort();
      return { entityType: 'contact', externalId: contactId, name, state: 'active' };
    },
  });
  await syncNext(crm, ending.signal);
  expect(written).toHaveLength(15);
  expect(await endedRun()).toMatchObject({ outcome: 'success', successCount: '15' });
  expect(await stillWaiting(contactIds)).toBe(10);

  await syncNext(crm);
  expect(new Set(written).size).toBe(25);
  expect(written, 'none is written twice').toHaveLength(25);
  expect(await stillWaiting(contactIds)).toBe(0);
});

describe('a signal that comes while the worker waits', () => {
  /** Syncs, and aborts as soon as the CRM was asked. Returns how long that took, in milliseconds. */
  async function abortWhenAsked(crm: (asked: () => void) => Partial<Crm>): Promise<number> {
    const ending = new AbortController();
    let toldAt = 0;
    const asked = () =>
      void sleep(100).then(() => {
        toldAt = Date.now();
        ending.abort();
      });
    await syncNext(workerOf(crm(asked)), ending.signal);
    return Date.now() - toldAt;
  }
  const tooMany = () =>
    new CrmError('rate_limited', 'Too many requests.', { retryable: true, retryAfterSeconds: 100 });

  test('for the end of a rate limit ends the run', async () => {
    const took = await abortWhenAsked((asked) => ({
      async readPage() {
        asked();
        throw tooMany();
      },
    }));
    expect(took).toBeLessThan(50_000);
    expect(await endedRun()).toMatchObject({ outcome: 'cancelled' });
  });

  test('for the end of a rate limit of a push keeps the change', async () => {
    const contactIds = await changedContacts(2);
    await abortWhenAsked((asked) => ({
      async write() {
        asked();
        throw tooMany();
      },
    }));
    expect(await endedRun()).toMatchObject({ outcome: 'cancelled' });
    expect(await stillWaiting(contactIds)).toBe(2);
  });

  test('for an answer that does not come abandons a read', async () => {
    const took = await abortWhenAsked((asked) => ({
      readPage() {
        asked();
        return new Promise(() => {});
      },
    }));
    expect(took).toBeLessThan(50_000);
    expect(await endedRun()).toMatchObject({ outcome: 'cancelled' });
  });

  test('for the answer to a write lets it come, and records it', async () => {
    const [contactId = ''] = await changedContacts(1);
    await abortWhenAsked((asked) => ({
      async write({ name }) {
        asked();
        await sleep(500);
        return { entityType: 'contact', externalId: 'written', name, state: 'active' };
      },
    }));
    expect(await endedRun()).toMatchObject({ outcome: 'success', successCount: '1' });
    expect(await stillWaiting([contactId])).toBe(0);
  });

  test('for the second of two records of a contact does not lose the push to it', async () => {
    const [contactId = ''] = await changedContacts(1);
    await pool.query(
      "insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id) values ($1, 'loop', 'contact', 'first', $2)",
      [key.organisationId, contactId],
    );
    await pool.query(
      "insert into contact_external_id_aliases (organisation_id, provider, entity_type, external_id, contact_id) values ($1, 'loop', 'landlord', 'second', $2)",
      [key.organisationId, contactId],
    );
    const written: string[] = [];
    const write =
      (asked: () => void, isLimited: boolean): Crm['write'] =>
      async (contact, linked) => {
        if (isLimited && written.length === 1) {
          asked();
          throw tooMany();
        }
        written.push(linked?.externalId as string);
        return { ...(linked as NonNullable<typeof linked>), name: contact.name, state: 'active' };
      };
    await abortWhenAsked((asked) => ({ write: write(asked, true) }));
    expect(await syncFailureList(pool, key)).toMatchObject([{ direction: 'outbound', gaveUpAt: null }]);
    await pool.query('update crm_sync_failures set next_attempt_at = now()');
    await makeDue(pool, key);
    await syncNext(workerOf({ write: write(() => {}, false) }));
    expect(new Set(written)).toEqual(new Set(['first', 'second']));
    expect(await syncFailureList(pool, key)).toEqual([]);
  });

  test('for something to do ends the worker', async () => {
    await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
    const ending = new AbortController();
    const running = runWorker(
      {
        ...workerOf({}),
        // Never called: nothing waits to be revoked.
        revocation: { keys: null as never, revoke: async () => {} },
      },
      ending.signal,
    );
    await sleep(300);
    const toldAt = Date.now();
    ending.abort();
    await running;
    // It looks for tokens to revoke every ten seconds.
    expect(Date.now() - toldAt).toBeLessThan(8_000);
  });
});

test('a worker that was told to stop claims nothing', async () => {
  expect(await syncNext(workerOf({}), AbortSignal.abort())).toBe(false);
  expect(await syncRunListByConnection(pool, key)).toEqual([]);
});
