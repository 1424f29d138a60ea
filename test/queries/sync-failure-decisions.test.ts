import { beforeEach, describe, expect, test } from 'vitest';
import {
  type ClaimedRun,
  type ConnectionKey,
  connectionDisconnect,
  connectionGet,
  connectionListWithHealth,
  connectionTotalWork,
  type SyncError,
  syncBatchRecord,
  syncFailureClaim,
  syncFailureCountByKind,
  syncFailureDismiss,
  syncFailureList,
  syncFailureReplay,
  syncFailureReplayByIds,
  syncRunClaim,
} from '../../src/index.js';
import { nine } from '../support/clock.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

const decision = { reason: 'Archived at the branch.', dismissedBy: 'support' };
const noName: SyncError = { kind: 'validation', retryable: false, code: 'E-1', message: 'No name.' };
const window = { failedFrom: '2026-11-16T00:00:00Z', failedBefore: '2026-11-17T00:00:00Z' };

let key: ConnectionKey;
let run: ClaimedRun;
let batchNumber: number;
beforeEach(async () => {
  await pool.query('truncate crm_sync_failures, crm_sync_runs');
  await pool.query("update crm_connections set next_sync_at = '9000-01-01 00:00Z'");
  key = await connectDue();
  batchNumber = 0;
});

type Client = Parameters<Parameters<typeof atNine>[0]>[0];

/** Records an outcome of each record in the run, which it first claims. */
async function record(client: Client, recordIds: readonly string[], error: SyncError | null): Promise<void> {
  if (batchNumber === 0) run = await claimOne(client, 86_400);
  batchNumber += 1;
  await syncBatchRecord(client, {
    ...run,
    batchNumber,
    leaseSeconds: 86_400,
    events: recordIds.map((externalId) => ({
      direction: 'inbound',
      entityType: 'contact',
      externalId,
      ...(error === null ? { status: 'success' } : { status: 'error', error }),
    })),
  });
}

async function idOf(recordId: string): Promise<string> {
  const failures = await syncFailureList(pool, key);
  return failures.find((failure) => failure.recordId === recordId)?.id ?? expect.unreachable(recordId);
}

/** The state of each failing record, by its id at the CRM. */
async function states(): Promise<Record<string, string>> {
  const failures = await syncFailureList(pool, key);
  return Object.fromEntries(
    failures.map(({ recordId, nextAttemptAt, dismissedAt }) => [
      recordId,
      dismissedAt !== null ? 'dismissed' : nextAttemptAt !== null ? 'retrying' : 'given up',
    ]),
  );
}

describe('syncFailureDismiss', () => {
  test('dismisses the chosen records, with who, when and why, and leaves the others', async () => {
    await atNine(async (client, clock) => {
      await record(client, ['gone', 'other'], noName);
      await record(client, ['late'], { ...noName, retryable: true });
      await clock.pass(60);
      const ids = [await idOf('gone'), await idOf('late'), await idOf('gone'), '9000000000000000000'];
      expect(await syncFailureDismiss(client, { ...key, ids, ...decision })).toEqual({ dismissed: 2 });
      expect(await states()).toEqual({ gone: 'dismissed', late: 'dismissed', other: 'given up' });
      const [dismissed] = await syncFailureList(client, { ...key, isDismissed: true });
      expect(dismissed).toMatchObject({
        nextAttemptAt: null,
        gaveUpAt: null,
        dismissedAt: '2026-11-16T09:01:00.000000Z',
        dismissedBy: 'support',
        dismissalReason: 'Archived at the branch.',
      });
      const others = await syncFailureList(client, { ...key, isDismissed: false });
      expect(others).toMatchObject([
        { recordId: 'other', dismissedAt: null, dismissedBy: null, dismissalReason: null },
      ]);
    });
  });

  test('keeps who dismissed a record first, and why', async () => {
    await atNine(async (client, clock) => {
      await record(client, ['gone'], noName);
      const ids = [await idOf('gone')];
      await syncFailureDismiss(client, { ...key, ids, ...decision });
      await clock.pass(60);
      const again = { ids, reason: 'Once more.', dismissedBy: 'worker' };
      expect(await syncFailureDismiss(client, { ...key, ...again })).toEqual({ dismissed: 0 });
      expect(await syncFailureList(client, key)).toMatchObject([
        { dismissedAt: nine, dismissedBy: 'support' },
      ]);
    });
  });

  test('counts dismissed records apart from those given up and those retried', async () => {
    await atNine(async (client) => {
      const before = await connectionTotalWork(client);
      await record(client, ['1', '2', '3'], noName);
      await syncFailureDismiss(client, { ...key, ids: [await idOf('1'), await idOf('2')], ...decision });
      expect(await syncFailureCountByKind(client, key)).toEqual([
        { kind: 'validation', count: 3, givenUpCount: 1, dismissedCount: 2 },
      ]);
      const { organisationId } = key;
      expect(await connectionListWithHealth(client, { organisationId, failuresSince: nine })).toMatchObject([
        { retriedRecords: 0, givenUpRecords: 1, dismissedRecords: 2 },
      ]);
      expect(await connectionTotalWork(client)).toMatchObject({
        givenUpRecords: before.givenUpRecords + 1,
        dismissedRecords: before.dismissedRecords + 2,
      });
    });
  });

  test('a dismissed record is not retried, whatever time passes', async () => {
    await atNine(async (client, clock) => {
      await record(client, ['late'], { ...noName, retryable: true });
      await syncFailureDismiss(client, { ...key, ids: [await idOf('late')], ...decision });
      await clock.pass(80_000);
      expect(await syncFailureClaim(client, run)).toEqual([]);
    });
  });

  test.each<[string, string, SyncError]>([
    ['the same error', 'dismissed', noName],
    ['the same error in other words', 'dismissed', { ...noName, message: 'Name missing.' }],
    ['the same error, now retryable', 'dismissed', { ...noName, retryable: true }],
    ['another code', 'given up', { ...noName, code: 'E-2' }],
    ['no code', 'given up', { kind: 'validation', retryable: false, message: 'No name.' }],
    ['another kind', 'given up', { ...noName, kind: 'conflict' }],
    ['another kind, which is retryable', 'retrying', { ...noName, kind: 'timeout', retryable: true }],
  ])('a dismissed record that fails again with %s is %s', async (_, state, error) => {
    await atNine(async (client, clock) => {
      await record(client, ['gone'], noName);
      await syncFailureDismiss(client, { ...key, ids: [await idOf('gone')], ...decision });
      await clock.pass(60);
      await record(client, ['gone'], error);
      expect(await states()).toEqual({ gone: state });
      const [failure] = await syncFailureList(client, key);
      expect(failure).toMatchObject({ attempts: 2, error, lastFailedAt: '2026-11-16T09:01:00.000000Z' });
      expect(failure?.dismissedBy).toBe(state === 'dismissed' ? 'support' : null);
      expect(failure?.dismissedAt).toBe(state === 'dismissed' ? nine : null);
    });
  });

  test('a dismissed record that succeeds is closed', async () => {
    await atNine(async (client) => {
      await record(client, ['gone'], noName);
      await syncFailureDismiss(client, { ...key, ids: [await idOf('gone')], ...decision });
      await record(client, ['gone'], null);
      expect(await states()).toEqual({});
    });
  });

  test('refuses a connection that is disconnected or of another organisation', async () => {
    await atNine((client) => record(client, ['gone'], noName));
    const ids = [await idOf('gone')];
    const { organisationId } = await createTenant(pool);
    const notLive = { code: 'connection_not_live' };
    const other = syncFailureDismiss(pool, { ...key, organisationId, ids, ...decision });
    await expect(other).rejects.toMatchObject(notLive);
    expect(await states()).toEqual({ gone: 'given up' });
    await connectionDisconnect(pool, key);
    await expect(syncFailureDismiss(pool, { ...key, ids, ...decision })).rejects.toMatchObject(notLive);
  });

  test('leaves the failures of other connections', async () => {
    await atNine((client) => record(client, ['gone'], noName));
    const ids = [await idOf('gone')];
    const other = await connectDue('alto', { organisationId: key.organisationId });
    expect(await syncFailureDismiss(pool, { ...other, ids, ...decision })).toEqual({ dismissed: 0 });
    expect(await states()).toEqual({ gone: 'given up' });
  });

  test.each([
    ['no reason', { reason: undefined as never }],
    ['a blank reason', { reason: ' ' }],
    ['a reason of 501 characters', { reason: 'x'.repeat(501) }],
    ['nobody', { dismissedBy: undefined as never }],
    ['an id that is not one', { ids: ['OXF18000001'] }],
    ['an id as a number', { ids: [1 as never] }],
  ])('refuses %s', async (_, wrong) => {
    const call = syncFailureDismiss(pool, { ...key, ids: [], ...decision, ...wrong });
    await expect(call).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

describe('syncFailureReplayByIds', () => {
  test('makes the chosen records due at once, whatever their state, with all their attempts', async () => {
    await atNine(async (client) => {
      await record(client, ['gone', 'given-up', 'other'], noName);
      await record(client, ['late'], { ...noName, retryable: true });
      await syncFailureDismiss(client, { ...key, ids: [await idOf('gone')], ...decision });
      const ids = [await idOf('gone'), await idOf('given-up'), await idOf('late'), '9000000000000000000'];
      expect(await syncFailureReplayByIds(client, { ...key, ids })).toEqual({ replayed: 3 });
      expect(await states()).toEqual({
        gone: 'retrying',
        'given-up': 'retrying',
        late: 'retrying',
        other: 'given up',
      });
      const claimed = await syncFailureClaim(client, run);
      expect(claimed.map(({ recordId, attempts }) => [recordId, attempts]).toSorted()).toEqual([
        ['given-up', 0],
        ['gone', 0],
        ['late', 0],
      ]);
      expect(await syncFailureList(client, { ...key, isDismissed: true })).toEqual([]);
    });
  });

  test('does not count records that are due already', async () => {
    await atNine(async (client) => {
      await record(client, ['gone'], noName);
      const ids = [await idOf('gone')];
      expect(await syncFailureReplayByIds(client, { ...key, ids })).toEqual({ replayed: 1 });
      expect(await syncFailureReplayByIds(client, { ...key, ids })).toEqual({ replayed: 0 });
    });
  });

  test('makes the connection due at once, if there is anything to retry', async () => {
    await atNine(async (client) => {
      await record(client, ['gone'], noName);
      await pool.query('update crm_sync_runs set ended_at = $1, outcome = $2', [nine, 'success']);
      await pool.query("update crm_connections set next_sync_at = '2026-11-16 10:00Z' where id = $1", [
        key.connectionId,
      ]);
      await syncFailureReplayByIds(client, { ...key, ids: [] });
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await syncFailureReplayByIds(client, { ...key, ids: [await idOf('gone')] });
      expect((await claimOne(client)).connectionId).toBe(key.connectionId);
    });
  });

  test('refuses a connection that is disconnected or of another organisation', async () => {
    const { organisationId } = await createTenant(pool);
    const notLive = { code: 'connection_not_live' };
    const other = syncFailureReplayByIds(pool, { ...key, organisationId, ids: [] });
    await expect(other).rejects.toMatchObject(notLive);
    await connectionDisconnect(pool, key);
    await expect(syncFailureReplayByIds(pool, { ...key, ids: [] })).rejects.toMatchObject(notLive);
  });

  test('refuses an id that is not one', async () => {
    const call = syncFailureReplayByIds(pool, { ...key, ids: ['1', 'x'] });
    await expect(call).rejects.toMatchObject({ code: 'invalid_input', rowIndex: 1 });
  });
});

describe('syncFailureReplay', () => {
  test('leaves dismissed records of the period alone', async () => {
    await atNine(async (client) => {
      await record(client, ['gone', 'given-up'], noName);
      await syncFailureDismiss(client, { ...key, ids: [await idOf('gone')], ...decision });
      expect(await syncFailureReplay(client, { ...key, ...window })).toEqual({ replayed: 1 });
      expect(await states()).toEqual({ gone: 'dismissed', 'given-up': 'retrying' });
      expect((await connectionGet(client, key))?.status).toBe('active');
    });
  });

  test('of an earlier release, which knows of no dismissals, ends them', async () => {
    await atNine(async (client) => {
      await record(client, ['gone'], noName);
      await syncFailureDismiss(client, { ...key, ids: [await idOf('gone')], ...decision });
      await client.query(
        'update crm_sync_failures set attempts = 0, next_attempt_at = crm_now(), gave_up_at = null',
      );
      expect(await states()).toEqual({ gone: 'retrying' });
      expect(await syncFailureList(client, { ...key, isDismissed: true })).toEqual([]);
    });
  });
});
