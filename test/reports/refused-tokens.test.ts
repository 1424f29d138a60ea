/**
 * Symptom: the CRM answers 401 to every request, with whichever token. The program refreshes its token, is refused,
 * refreshes again, and so on: hundreds of sign-ins a minute, each of which uses up a single-use refresh token, until
 * the CRM locks the account. All the while the connection is shown as connected.
 *
 * Source: ecederstrand/exchangelib #1090, forcedotcom/SalesforceMobileSDK-iOS #38; tried on 1.3.0 with a Reapit-like
 * server: 104 syncs and 104 refresh tokens in 15 seconds, status active.
 *
 * Input: each sync refreshes the token (credentialsRefresh), is refused, and reports the version of its claim, as the
 * example worker did. Right: such a failure makes the connection due at once only once in a streak of failures. From
 * then on it waits longer each time, and is put in error like any other. An adapter can name the version that it used;
 * then the connection is in error at once.
 */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import { createHealthServer } from '../../examples/health-endpoint.js';
import { syncNext, type Worker } from '../../examples/sync-worker.js';
import { credentialsRefresh, credentialsReplace, type KeyRing } from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionListTotals,
  connectionListWithHealth,
  connectionSetStatus,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { runCli } from '../support/cli.js';
import { nine } from '../support/clock.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});
beforeEach(async () => {
  await pool.query('delete from crm_sync_runs');
  await pool.query('delete from crm_connections');
});

const refused = { kind: 'auth', retryable: false, message: 'The token was refused.' } as const;
const credentials = sampleCredentials.reapit;

async function healthOf(client: Parameters<typeof connectionListWithHealth>[0], key: ConnectionKey) {
  const [health] = await connectionListWithHealth(client, { ...key, failuresSince: nine });
  return health ?? expect.unreachable('not listed');
}

describe('a worker that reports the version of its claim, after it has stored another', () => {
  test('is let in at once only once, waits longer each time, and the connection is put in error', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const waits: number[] = [];
      for (let syncs = 0; syncs < 12; syncs += 1) {
        const run = await claimOne(client);
        await credentialsRefresh(client, keys, {
          ...key,
          provider: 'reapit',
          credentialsVersion: run.credentialsVersion,
          refresh: async () => ({ credentials }),
        });
        await syncRunFinish(client, { ...run, outcome: 'failed', error: refused });
        const { rows } = await client.query(
          'select ceil(extract(epoch from next_sync_at - crm_now()))::integer as wait from crm_connections',
        );
        waits.push(rows[0].wait);
        await clock.pass(rows[0].wait);
      }
      const [first, ...others] = waits;
      expect(first).toBe(0);
      // A random half to the whole of 2, 4, 8 … minutes, up to six hours.
      others.forEach((wait, index) => {
        expect(wait).toBeGreaterThanOrEqual(Math.min(60 * 2 ** index, 10_800));
      });
      expect(await healthOf(client, key)).toMatchObject({ status: 'error', statusReason: refused.message });
    });
  });

  test('is let in at once again after a success', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      const fail = async () => {
        const run = await claimOne(client);
        await client.query('update crm_connections set credentials_version = credentials_version + 1');
        await syncRunFinish(client, { ...run, outcome: 'failed', error: refused });
      };
      await fail();
      await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'success', hasMore: true });
      await fail();
      expect(await claimOne(client)).toMatchObject(key);
    });
  });

  test('is not let in at once again because it sets the status to active, or replaces the credentials itself', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const fail = async () => {
        const run = await claimOne(client);
        const { credentialsVersion } = run;
        await credentialsReplace(client, keys, {
          ...key,
          provider: 'reapit',
          credentialsVersion,
          credentials,
        });
        await connectionSetStatus(client, { ...key, status: 'active' });
        await syncRunFinish(client, { ...run, outcome: 'failed', error: refused });
      };
      await fail();
      for (let syncs = 0; syncs < 5; syncs += 1) {
        await fail();
        expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
        await clock.pass(60);
      }
    });
  });

  test('does not spend its one time on another failure', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const fail = async (kind: 'auth' | 'network') => {
        const run = await claimOne(client);
        await client.query('update crm_connections set credentials_version = credentials_version + 1');
        await syncRunFinish(client, { ...run, outcome: 'failed', error: { ...refused, kind } });
      };
      await fail('network');
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await clock.pass(60);
      await fail('auth');
      expect(await claimOne(client)).toMatchObject(key);
    });
  });
});

describe('the example worker', () => {
  /** A worker that refreshes its token as it signs in, and is refused at the first request. */
  function refusedWorker(name: (version: number) => { credentialsVersion?: number }): Worker {
    return {
      name: 'test',
      pool,
      async openCrm(run) {
        const { credentialsVersion } = await credentialsRefresh(pool, keys, {
          ...run,
          provider: 'reapit',
          refresh: async () => ({ credentials }),
        });
        throw new CrmError('auth', refused.message, { retryable: false, ...name(credentialsVersion) });
      },
    };
  }

  test('puts the connection in error at once if the error names the version that was refused', async () => {
    const key = await connectDue();
    const worker = refusedWorker((credentialsVersion) => ({ credentialsVersion }));
    expect(await syncNext(worker)).toBe(true);
    expect(await syncNext(worker)).toBe(false);
    expect(await healthOf(pool, key)).toMatchObject({
      status: 'error',
      failedSyncs: 1,
      credentialsVersion: 2,
    });
  });

  test('puts it in error at once if the adapter names the version that it signed in with', async () => {
    const key = await connectDue();
    const worker: Worker = {
      name: 'test',
      pool,
      async openCrm(run) {
        const { credentialsVersion } = await credentialsRefresh(pool, keys, {
          ...run,
          provider: 'reapit',
          refresh: async () => ({ credentials }),
        });
        return {
          credentialsVersion,
          entityTypes: ['contact'],
          readPage: async () => {
            throw new CrmError('auth', refused.message, { retryable: false });
          },
          read: async () => null,
          write: async () => null,
        };
      },
    };
    expect(await syncNext(worker)).toBe(true);
    expect(await healthOf(pool, key)).toMatchObject({
      status: 'error',
      failedSyncs: 1,
      credentialsVersion: 2,
    });
  });

  test('tries once more and then waits if neither names it', async () => {
    const key = await connectDue();
    const worker = refusedWorker(() => ({}));
    let syncs = 0;
    while (syncs < 20 && (await syncNext(worker))) syncs += 1;
    expect(syncs).toBe(2);
    expect(await healthOf(pool, key)).toMatchObject({ failedSyncs: 2 });
  });

  test('leaves the status as it is if somebody else replaced the credentials meanwhile', async () => {
    const key = await connectDue();
    const worker: Worker = {
      name: 'test',
      pool,
      async openCrm({ credentialsVersion }) {
        await credentialsReplace(pool, keys, { ...key, provider: 'reapit', credentialsVersion, credentials });
        throw new CrmError('auth', refused.message, { retryable: false, credentialsVersion });
      },
    };
    expect(await syncNext(worker)).toBe(true);
    expect(await healthOf(pool, key)).toMatchObject({ status: 'active', failedSyncs: 1 });
    expect(await syncRunClaim(pool, { worker: 'test' })).toMatchObject([{ credentialsVersion: 2 }]);
  });
});

describe('health leads with the streak, not with active', () => {
  /** A connection whose last syncs failed, and that is not in error yet. */
  async function failingConnection(failures: number): Promise<ConnectionKey> {
    const key = await connectDue();
    await pool.query(
      'update crm_connections set failure_count = $2, first_failed_at = $3, next_sync_at = $3 where id = $1',
      [key.connectionId, failures, nine],
    );
    return key;
  }

  test('in connectionListWithHealth and connectionListTotals', async () => {
    const key = await failingConnection(104);
    await connectDue('alto');
    expect(await healthOf(pool, key)).toMatchObject({ state: 'failing', status: 'active', failedSyncs: 104 });
    expect(await connectionListTotals(pool)).toMatchObject([
      { provider: 'alto', failing: 0, mostFailedSyncs: 0 },
      { provider: 'reapit', failing: 1, mostFailedSyncs: 104 },
    ]);
    await connectionSetStatus(pool, { ...key, status: 'error', reason: 'Sign in again.' });
    expect(await healthOf(pool, key)).toMatchObject({ state: 'error' });
    await connectionSetStatus(pool, { ...key, status: 'active' });
    expect(await healthOf(pool, key)).toMatchObject({ state: 'active', failedSyncs: 0 });
  });

  test('in crm-schema health', async () => {
    const { organisationId } = await failingConnection(104);
    const env = { DATABASE_URL: database.url, PGOPTIONS: '-c crm_schema.now=2026-11-16T09:30:00Z' };
    const { stdout } = await runCli(['health', '--organisation', organisationId], env);
    expect(stdout).toMatch(/^reapit {2}failing /m);
    expect(stdout).toContain('\n  104 syncs failed in a row since 2026-11-16 09:00 UTC (30 min ago).\n');
    expect(stdout).not.toContain('active');
    expect((await runCli(['health'], env)).stdout).toContain(
      '\nMost failures in a row: reapit, 104 syncs, status active.\n',
    );
  });

  test.each([
    [1, 'The last sync failed. We will try again.'],
    [104, 'The last 104 syncs failed. We will try again.'],
  ])('in the health endpoint, after %i failures', async (failures, summary) => {
    const { organisationId } = await failingConnection(failures);
    const server = createHealthServer(pool, async () => organisationId);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    const answer = await fetch(`http://127.0.0.1:${port}/connections`, {
      headers: { authorization: 'Bearer test', connection: 'close' },
    });
    const { connections } = (await answer.json()) as { connections: object[] };
    expect(connections).toMatchObject([
      { state: 'failing', summary, status: 'active', failedSyncs: failures },
    ]);
    expect(Object.keys(connections[0] ?? {}).slice(0, 3)).toEqual(['crm', 'state', 'summary']);
  });
});
