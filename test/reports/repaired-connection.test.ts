/**
 * Symptom: the token of an agency is revoked, and sync fails for a night. In the morning somebody signs in again, but
 * nothing is synced for hours: the new credentials wait for the delay that the old ones have earned. The same happened
 * to programs that kept a delay although a person had just put right what was wrong.
 *
 * Source: vellum-ai/vellum-assistant #37481 (new credentials refused during a delay), syphon-org/syphon #665; tried on
 * 1.3.0 with a Reapit-like server.
 *
 * Input: twelve syncs in a row fail with kind auth; a person replaces the credentials, then sets the status to active.
 * Right: the connection is due at once after each of the two, whatever the delay. A worker that refreshes a token
 * neither skips a delay nor causes an extra sync.
 */
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { credentialsRefresh, credentialsReplace, type KeyRing } from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionListWithHealth,
  connectionSetStatus,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import type { Clock } from '../support/clock.js';
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

const refused = { kind: 'auth', retryable: false, message: 'The token was revoked.' } as const;

/** Twelve syncs that fail, each when the delay of the one before is over. */
async function failTwelveTimes(clock: Clock, key: ConnectionKey): Promise<void> {
  const { client } = clock;
  for (let count = 0; count < 12; count += 1) {
    await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'failed', error: refused });
    if (count < 11) await clock.pass(21_600);
  }
  expect(await waitOf(client, key)).toBeGreaterThanOrEqual(10_800);
}

/** How long the connection still waits, in seconds; zero or less if it is due. */
async function waitOf(client: Clock['client'], key: ConnectionKey): Promise<number> {
  const { rows } = await client.query(
    'select extract(epoch from next_sync_at - crm_now())::float8 as wait from crm_connections where id = $1',
    [key.connectionId],
  );
  return rows[0].wait;
}

function replacement(key: ConnectionKey, credentialsVersion = 1) {
  const credentials = { ...sampleCredentials.reapit, accessToken: `test-access-${credentialsVersion + 1}` };
  return { ...key, provider: 'reapit', credentialsVersion, credentials } as const;
}

test('a failing connection is due at once after its credentials were replaced, and the first success ends the error', async () => {
  const key = await connectDue();
  await atNine(async (client, clock) => {
    await failTwelveTimes(clock, key);
    await clock.pass(60);
    expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
    await credentialsReplace(client, keys, replacement(key));
    const run = await claimOne(client);
    expect(run.credentialsVersion).toBe(2);
    await syncRunFinish(client, { ...run, outcome: 'success' });
    const [health] = await connectionListWithHealth(client, {
      ...key,
      failuresSince: '2026-11-16T09:00:00Z',
    });
    expect(health).toMatchObject({ status: 'active', failedSyncs: 0, statusReason: null });
  });
});

test('a connection in error is due at once after its status was set to active', async () => {
  const key = await connectDue();
  await atNine(async (client, clock) => {
    await failTwelveTimes(clock, key);
    await connectionSetStatus(client, { ...key, status: 'active' });
    expect(await claimOne(client)).toMatchObject(key);
  });
});

test('credentials that replace those of a running sync are tried right after it, although it fails', async () => {
  const key = await connectDue();
  await atNine(async (client, clock) => {
    await failTwelveTimes(clock, key);
    await clock.pass(21_600);
    const run = await claimOne(client);
    await credentialsReplace(client, keys, replacement(key));
    expect(await syncRunClaim(client, { worker: 'other' })).toEqual([]);
    await syncRunFinish(client, { ...run, outcome: 'failed', error: refused });
    expect((await claimOne(client)).credentialsVersion).toBe(2);
  });
});

test('a success with the old credentials is followed by a sync with the new ones', async () => {
  const key = await connectDue();
  await atNine(async (client, clock) => {
    await failTwelveTimes(clock, key);
    await clock.pass(21_600);
    const run = await claimOne(client);
    await credentialsReplace(client, keys, replacement(key));
    await syncRunFinish(client, { ...run, outcome: 'success' });
    expect((await claimOne(client)).credentialsVersion).toBe(2);
  });
});

test('new credentials that are refused as well wait like any others', async () => {
  const key = await connectDue();
  await atNine(async (client, clock) => {
    await failTwelveTimes(clock, key);
    await credentialsReplace(client, keys, replacement(key));
    await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'failed', error: refused });
    expect(await waitOf(client, key)).toBeGreaterThanOrEqual(10_800);
  });
});

test('a worker that refreshes the token of a failing connection does not end its delay', async () => {
  const key = await connectDue();
  await atNine(async (client, clock) => {
    await failTwelveTimes(clock, key);
    const { credentials } = replacement(key);
    await credentialsRefresh(client, keys, { ...replacement(key), refresh: async () => ({ credentials }) });
    expect(await waitOf(client, key)).toBeGreaterThanOrEqual(10_800);
  });
});

test('replaced credentials of a connection that works do not bring its next sync forward', async () => {
  const key = await connectDue();
  await atNine(async (client) => {
    await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'success' });
    await credentialsReplace(client, keys, replacement(key));
    expect(await waitOf(client, key)).toBe(900);
  });
});

test('setting a connection to active that is active and works changes nothing', async () => {
  const key = await connectDue();
  await atNine(async (client) => {
    await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'success' });
    await connectionSetStatus(client, { ...key, status: 'active' });
    expect(await waitOf(client, key)).toBe(900);
  });
});
