/**
 * Symptom: a CRM's branch asks support to try one record again, and says of three others that they are of no use.
 * Only a window of time could be tried again, which also sends everything else that failed in it. Nothing could be
 * set aside, so the three came back as failures with each sync, and hid the ones that mattered; taking them out
 * took SQL, and left no trace.
 *
 * Source: tried on 1.3.0 with a Reapit-like server.
 *
 * Input: four records fail in the same minute, and the overlap reads them again with each sync.
 *
 * Right: one is tried again by its id. Three are dismissed with a reason, are counted apart, and stay dismissed
 * over further syncs, until one of them fails for another reason.
 */
import { expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionListWithHealth,
  type Queryable,
  type SyncError,
  syncBatchRecord,
  syncFailureClaim,
  syncFailureDismiss,
  syncFailureList,
  syncFailureReplayByIds,
  syncRunFinish,
} from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const { atNine, connectDue } = syncSetup(useDatabase());

const noName: SyncError = { kind: 'validation', retryable: false, message: 'The name is missing.' };

/** One sync, which reads records that fail. Returns what it was asked to try again. */
async function sync(client: Queryable, errors: Record<string, SyncError>): Promise<string[]> {
  const run = await claimOne(client);
  const claimed = await syncFailureClaim(client, run);
  await syncBatchRecord(client, {
    ...run,
    batchNumber: 1,
    events: Object.entries(errors).map(([externalId, error]) => ({
      direction: 'inbound',
      entityType: 'contact',
      externalId,
      status: 'error',
      error,
    })),
  });
  await syncRunFinish(client, { ...run, outcome: 'success' });
  return claimed.map(({ recordId }) => recordId);
}

test('one failing record is tried again, others are dismissed, and syncs keep it so', async () => {
  await atNine(async (client, clock) => {
    const key: ConnectionKey = await connectDue();
    const health = async () => {
      const [connection] = await connectionListWithHealth(client, {
        organisationId: key.organisationId,
        failuresSince: '2026-11-16T00:00:00Z',
      });
      return [connection?.retriedRecords, connection?.givenUpRecords, connection?.dismissedRecords];
    };
    const all = { OXF1: noName, OXF2: noName, OXF3: noName, OXF4: noName };
    await sync(client, all);
    expect(await health()).toEqual([0, 4, 0]);

    const failures = await syncFailureList(client, key);
    const idsOf = (...records: string[]) =>
      failures.filter(({ recordId }) => records.includes(recordId)).map(({ id }) => id);
    await syncFailureReplayByIds(client, { ...key, ids: idsOf('OXF1') });
    const reason = 'Test records of the branch.';
    await syncFailureDismiss(client, {
      ...key,
      ids: idsOf('OXF2', 'OXF3', 'OXF4'),
      reason,
      dismissedBy: 'support',
    });
    expect(await health()).toEqual([1, 0, 3]);

    await clock.pass(1);
    expect(await sync(client, all)).toEqual(['OXF1']);
    expect(await health()).toEqual([0, 1, 3]);

    await clock.pass(900);
    const denied: SyncError = { kind: 'permission', retryable: false, message: 'Another branch has it.' };
    expect(await sync(client, { ...all, OXF4: denied })).toEqual([]);
    expect(await health()).toEqual([0, 2, 2]);
    const listed = await syncFailureList(client, { ...key, isDismissed: true });
    expect(
      listed.map(({ recordId, dismissedBy, dismissalReason }) => [recordId, dismissedBy, dismissalReason]),
    ).toEqual(
      expect.arrayContaining([
        ['OXF2', 'support', reason],
        ['OXF3', 'support', reason],
      ]),
    );
  });
});
