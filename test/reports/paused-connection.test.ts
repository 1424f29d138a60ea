/**
 * Symptom: an agency moves its data at the CRM, or trains its staff, and wants the sync to stop for a week. Disconnecting
 * loses what waits; setting the status to error stops nothing; so people stop the workers of everybody, or are told that
 * they cannot. Elsewhere a pause ended by itself as soon as something asked for a sync, or did not stop a running one.
 *
 * Source: airbytehq/airbyte #32587, supaglue-labs/supaglue #827, samschott/maestral #317, owncloud/client #3441.
 *
 * Input: a connection is paused, with or without an end, while it is due, while a sync runs, and while webhooks, people,
 * new credentials and changed contacts ask for a sync. Right: it is not claimed before the pause ends or somebody resumes
 * it; a running sync stops; what changes meanwhile is kept and pushed afterwards; everybody can see it.
 */
import type pg from 'pg';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import { credentialsReplace, type KeyRing } from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionGet,
  connectionGetLive,
  connectionListTotals,
  connectionListWithHealth,
  connectionPause,
  connectionRequestSync,
  connectionResume,
  connectionSetStatus,
  connectionSetSyncInterval,
  outboundChangeClaim,
  outboundChangeRecord,
  syncBatchRecord,
  syncRunClaim,
  syncRunFinish,
  syncRunHeartbeat,
  syncRunListByConnection,
  withOrganisation,
} from '../../src/index.js';
import { runCli } from '../support/cli.js';
import { nine } from '../support/clock.js';
import { sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { useMember } from '../support/roles.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool, url } = database;
const { atNine, connectDue } = syncSetup(database);
const app = useMember(database, 'crm_app');

let keys: KeyRing;
beforeAll(async () => {
  keys = await testKeyRing();
});
beforeEach(async () => {
  for (const table of ['crm_outbound_changes', 'crm_sync_runs', 'crm_connections']) {
    await pool.query(`delete from ${table}`);
  }
});

const week = 7 * 24 * 3600;
const until = '2026-11-23T09:00:00.000000Z';
const reason = 'The agency moves its data until Monday.';

async function healthOf(client: pg.ClientBase | pg.Pool, key: ConnectionKey) {
  const [health] = await connectionListWithHealth(client, { ...key, failuresSince: nine });
  return health ?? expect.unreachable('not listed');
}

const claim = (client: pg.ClientBase) => syncRunClaim(client, { worker: 'test' });

describe('connectionPause', () => {
  test('stops syncs until the given time, and then the connection is due by itself', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      expect(await connectionPause(client, { ...key, until, reason })).toEqual({ pausedAt: nine });
      expect(await claim(client)).toEqual([]);
      await clock.pass(week - 1);
      expect(await claim(client)).toEqual([]);
      await clock.pass(1);
      expect(await claimOne(client)).toMatchObject(key);
      const unpaused = { pausedAt: null, pausedUntil: null, pauseReason: null };
      expect(await connectionGet(client, key)).toMatchObject(unpaused);
      const { rows } = await client.query(
        'select paused_at, pause_ends_at, pause_reason from crm_connections',
      );
      expect(rows).toEqual([{ paused_at: null, pause_ends_at: null, pause_reason: null }]);
    });
  });

  test('stops syncs for good if no end is given', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await connectionPause(client, key);
      await clock.pass(1000 * week);
      expect(await claim(client)).toEqual([]);
      expect(await healthOf(client, key)).toMatchObject({
        state: 'paused',
        pausedAt: nine,
        pausedUntil: null,
      });
    });
  });

  test('holds whatever asks for a sync', async () => {
    const { organisationId, contactIds } = await createTenant(pool, 1);
    const key = await connectDue('reapit', { organisationId });
    await atNine(async (client, clock) => {
      await syncRunFinish(client, {
        ...(await claimOne(client)),
        outcome: 'failed',
        error: { kind: 'auth', retryable: false, message: 'Refused.' },
      });
      await connectionPause(client, { ...key, until });
      const asks = [
        () => connectionRequestSync(client, { organisationId, connectionIds: [key.connectionId] }),
        () =>
          connectionRequestSync(client, {
            organisationId,
            connectionIds: [key.connectionId],
            isUrgent: true,
          }),
        () =>
          credentialsReplace(client, keys, {
            ...key,
            provider: 'reapit',
            credentialsVersion: 1,
            credentials: sampleCredentials.reapit,
          }),
        () => connectionSetStatus(client, { ...key, status: 'error', reason: 'Refused.' }),
        () => connectionSetStatus(client, { ...key, status: 'active' }),
        () => connectionSetSyncInterval(client, { ...key, syncIntervalSeconds: 60 }),
        () => outboundChangeRecord(client, { organisationId, contactIds }),
        // As statements of earlier releases do.
        () => client.query('update crm_connections set next_sync_at = crm_now()'),
      ];
      for (const ask of asks) {
        await ask();
        expect(await claim(client), String(ask)).toEqual([]);
        await clock.pass(3600);
        expect(await claim(client), String(ask)).toEqual([]);
      }
      await clock.pass(week - asks.length * 3600);
      expect(await claimOne(client)).toMatchObject(key);
    });
  });

  test('is asked many times with one write', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      await connectionPause(client, { ...key, until });
      const request = { organisationId: key.organisationId, connectionIds: [key.connectionId] };
      expect(await connectionRequestSync(client, request)).toHaveLength(1);
      for (let count = 0; count < 3; count += 1) {
        expect(await connectionRequestSync(client, request)).toEqual([]);
      }
    });
  });

  test('keeps the changes of contacts, which are pushed after it', async () => {
    const { organisationId, contactIds } = await createTenant(pool, 3);
    const key = await connectDue('reapit', { organisationId });
    await atNine(async (client, clock) => {
      await outboundChangeRecord(client, { organisationId, contactIds: contactIds.slice(0, 1) });
      await connectionPause(client, { ...key, until });
      await outboundChangeRecord(client, { organisationId, contactIds: contactIds.slice(1) });
      expect(await claim(client)).toEqual([]);
      expect(await healthOf(client, key)).toMatchObject({ waitingChanges: 3 });
      await clock.pass(week);
      const changes = await outboundChangeClaim(client, await claimOne(client));
      expect(changes.map(({ contactId }) => contactId).toSorted()).toEqual(contactIds.toSorted());
    });
  });

  test('cancels the running sync, whose worker stops at its next write', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      const run = await claimOne(client);
      await connectionPause(client, { ...key, until });
      const lost = { code: 'lease_lost' };
      await expect(syncRunHeartbeat(client, run)).rejects.toMatchObject(lost);
      await expect(syncBatchRecord(client, { ...run, batchNumber: 1, events: [] })).rejects.toMatchObject(
        lost,
      );
      await expect(syncRunFinish(client, { ...run, outcome: 'success' })).rejects.toMatchObject(lost);
      expect(await syncRunListByConnection(client, key)).toMatchObject([{ outcome: 'cancelled' }]);
      await clock.pass(3600);
      // It has not failed.
      expect(await claim(client)).toEqual([]);
      expect(await healthOf(client, key)).toMatchObject({ failedSyncs: 0, runningSince: null });
    });
  });

  test('cancels a run that a worker opens at the same moment', async () => {
    const key = await connectDue();
    await withClient(url, async (worker) => {
      await worker.query('begin');
      const run = await claimOne(worker);
      await withClient(url, async (person) => {
        const pausing = connectionPause(person, key);
        await waitUntilBlocked(url, person);
        await worker.query('commit');
        await pausing;
      });
      await expect(syncRunHeartbeat(worker, run)).rejects.toMatchObject({ code: 'lease_lost' });
      expect(await claim(worker)).toEqual([]);
    });
  });

  test('of a paused connection changes its end and reason, and keeps its beginning', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await connectionPause(client, { ...key, reason });
      await clock.pass(60);
      expect(await connectionPause(client, { ...key, until: '2026-11-16T10:00:00Z' })).toEqual({
        pausedAt: nine,
      });
      expect(await connectionGetLive(client, { ...key, provider: 'reapit' })).toMatchObject({
        pausedAt: nine,
        pausedUntil: '2026-11-16T10:00:00.000000Z',
        pauseReason: null,
      });
      await clock.pass(3540);
      expect(await claimOne(client)).toMatchObject(key);
    });
  });

  test('does not end before the CRM may be asked again', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await syncRunFinish(client, {
        ...(await claimOne(client)),
        outcome: 'failed',
        error: { kind: 'rate_limited', retryable: true, message: 'Slow down.' },
        retryAfterSeconds: 7200,
      });
      await connectionPause(client, { ...key, until: '2026-11-16T10:00:00Z' });
      await clock.pass(3600);
      expect(await claim(client)).toEqual([]);
      await clock.pass(3600);
      expect(await claimOne(client)).toMatchObject(key);
    });
  });

  test('ends with the connection', async () => {
    const key = await connectDue();
    await connectionPause(pool, { ...key, reason });
    await connectionDisconnect(pool, key);
    expect(await healthOf(pool, key)).toMatchObject({
      state: 'disconnected',
      pausedAt: null,
      pauseReason: null,
    });
  });

  test('refuses an end that has passed, a blank reason, and a connection that is not live', async () => {
    const key = await connectDue();
    await atNine(async (client) => {
      for (const wrong of [{ until: nine }, { until: 'tomorrow' }, { reason: ' ' }]) {
        await expect(connectionPause(client, { ...key, ...wrong })).rejects.toMatchObject({
          code: 'invalid_input',
        });
      }
      expect(await claimOne(client)).toMatchObject(key);
    });
    await connectionDisconnect(pool, key);
    for (const call of [connectionPause, connectionResume]) {
      await expect(call(pool, key)).rejects.toMatchObject({ code: 'connection_not_live' });
    }
  });

  test('is called by an application for its own organisation, and for no other', async () => {
    const key = await connectDue();
    const { organisationId } = await createTenant(pool);
    await withOrganisation(app, key.organisationId, async (client) => {
      await connectionPause(client, { ...key, until: '9000-01-01T00:00:00Z' });
    });
    expect(await healthOf(pool, key)).toMatchObject({ state: 'paused' });
    await expect(
      withOrganisation(app, organisationId, (client) => connectionResume(client, key)),
    ).rejects.toMatchObject({ code: 'connection_not_live' });
    await withOrganisation(app, key.organisationId, (client) => connectionResume(client, key));
    expect(await healthOf(pool, key)).toMatchObject({ state: 'active' });
  });
});

describe('connectionResume', () => {
  test('makes the connection due at once', async () => {
    const key = await connectDue();
    await atNine(async (client, clock) => {
      await syncRunFinish(client, { ...(await claimOne(client)), outcome: 'success' });
      await connectionPause(client, { ...key, until });
      await clock.pass(60);
      expect(await connectionResume(client, key)).toEqual({ nextSyncAt: '2026-11-16T09:01:00.000000Z' });
      expect(await claimOne(client)).toMatchObject(key);
    });
  });

  test('changes nothing if the connection is not paused', async () => {
    const key = await connectDue('reapit', { dueAt: until });
    expect(await connectionResume(pool, key)).toEqual({ nextSyncAt: until });
  });
});

describe('a pause', () => {
  test('is seen in totals, which count it and leave its last success out', async () => {
    const [paused, other] = [await connectDue(), await connectDue()];
    await pool.query("update crm_connections set last_success_at = '2026-11-01Z' where id = $1", [
      paused.connectionId,
    ]);
    await pool.query('update crm_connections set last_success_at = $2 where id = $1', [
      other.connectionId,
      nine,
    ]);
    await atNine(async (client, clock) => {
      await connectionPause(client, { ...paused, until });
      expect(await connectionListTotals(client)).toMatchObject([
        { status: 'active', connections: 2, paused: 1, due: 1, oldestSuccessAt: nine },
      ]);
      await clock.pass(week);
      expect(await connectionListTotals(client)).toMatchObject([
        { paused: 0, due: 2, oldestSuccessAt: '2026-11-01T00:00:00.000000Z' },
      ]);
    });
  });

  test.each([
    [
      'until a time',
      { until, reason },
      'Paused since 2026-11-16 09:00 UTC (0 s ago), until 2026-11-23 09:00 UTC (in 7 d): The agency',
    ],
    [
      'until somebody resumes it',
      {},
      'Paused since 2026-11-16 09:00 UTC (0 s ago), until somebody resumes it.',
    ],
  ])('%s is shown by crm-schema health', async (_, pause, line) => {
    const key = await connectDue();
    await atNine(async (client) => void (await connectionPause(client, { ...key, ...pause })));
    const { stdout } = await runCli(['health', '--organisation', key.organisationId], {
      DATABASE_URL: url,
      PGOPTIONS: `-c crm_schema.now=${nine}`,
    });
    expect(stdout).toMatch(/^reapit {2}paused /m);
    expect(stdout.replace(/\s+/g, ' ')).toContain(line);
    expect(stdout).not.toMatch(/Next sync|Due since/);
  });
});
