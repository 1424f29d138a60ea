import { beforeEach, describe, expect, test } from 'vitest';
import {
  type BatchEvent,
  type ClaimedRun,
  type ConnectionKey,
  connectionDisconnect,
  connectionGet,
  connectionSetConflictWinner,
  contactExternalIdLink,
  externalRecordCheck,
  outboundChangeListWaiting,
  outboundChangeRecord,
  syncBatchRecord,
  syncConflictAcknowledge,
  syncConflictList,
  syncRunClaim,
} from '../../src/index.js';
import { nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, makeDue, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);

let key: ConnectionKey;
let contactIds: string[];
beforeEach(async () => {
  await pool.query('truncate crm_sync_conflicts, crm_sync_failures, crm_outbound_changes, crm_sync_runs');
  await pool.query("update crm_connections set next_sync_at = '9000-01-01 00:00Z'");
  const tenant = await createTenant(pool, 3);
  contactIds = tenant.contactIds;
  key = await connectDue('reapit', { organisationId: tenant.organisationId });
});

type Client = Parameters<Parameters<typeof atNine>[0]>[0];

async function record(client: Client, run: ClaimedRun, batchNumber: number, events: BatchEvent[]) {
  await syncBatchRecord(client, { ...run, batchNumber, events });
}

/** An event that skips theirs. */
function theirs(externalId: string, contact = 0) {
  return {
    direction: 'inbound',
    entityType: 'contact',
    externalId,
    internalId: contactIds[contact] as string,
    status: 'skipped',
    reason: 'conflict',
  } as const;
}

/** An event that skips ours. */
function ours(externalId: string, contact = 0) {
  return { ...theirs(externalId, contact), direction: 'outbound' } as const;
}

describe('syncConflictList', () => {
  test('says whose edit was kept, by the events of the batch', async () => {
    await atNine(async (client) => {
      const run = await claimOne(client);
      const error = { kind: 'conflict', retryable: false, message: 'Decide.' } as const;
      await record(client, run, 1, [
        theirs('1'),
        ours('2', 1),
        theirs('3', 2),
        { ...ours('3', 2), status: 'error', reason: null, error },
      ]);
      const kept = (await syncConflictList(client, key)).map((each) => [each.externalId, each.kept]);
      expect(kept.toSorted()).toEqual([
        ['1', 'nurturehub'],
        ['2', 'crm'],
        ['3', 'neither'],
      ]);
    });
  });

  test('has one entry for a record, with its first and last time, newest first, in pages', async () => {
    await atNine(async (client, clock) => {
      const run = await claimOne(client, 86_400);
      await record(client, run, 1, [theirs('1'), theirs('2', 1)]);
      await clock.pass(60);
      await record(client, run, 2, [ours('1')]);
      const [newest, ...older] = await syncConflictList(client, { ...key, limit: 1 });
      expect(older).toEqual([]);
      expect(newest).toMatchObject({
        externalId: '1',
        contactId: contactIds[0],
        kept: 'crm',
        firstSeenAt: nine,
        lastSeenAt: '2026-11-16T09:01:00.000000Z',
        occurrences: 2,
        acknowledgedAt: null,
      });
      expect(await syncConflictList(client, { ...key, before: newest, limit: 1 })).toMatchObject([
        { externalId: '2', occurrences: 1 },
      ]);
    });
  });

  test('does not list what another reason skipped, nor an event without a record or a contact', async () => {
    await atNine(async (client) => {
      const run = await claimOne(client);
      await record(client, run, 1, [
        { ...theirs('1'), reason: 'pending_push' },
        { ...theirs('2'), internalId: null },
        { ...ours('3'), externalId: null },
      ]);
      expect(await syncConflictList(client, key)).toEqual([]);
    });
  });

  test('is empty for another organisation', async () => {
    const { organisationId } = await createTenant(pool);
    await atNine(async (client) => {
      await record(client, await claimOne(client), 1, [theirs('1')]);
      expect(await syncConflictList(client, { ...key, organisationId })).toEqual([]);
    });
  });
});

describe('an event with reason conflict', () => {
  test('tells the version and the content that were seen, so that the next read is unchanged', async () => {
    const hash = 'a'.repeat(64);
    await contactExternalIdLink(pool, {
      ...key,
      provider: 'reapit',
      entityType: 'contact',
      externalId: '1',
      contactId: contactIds[0] as string,
    });
    const sent = { ...key, provider: 'reapit', entityType: 'contact', externalId: '1' } as const;
    const { connectionId: _, ...check } = sent;
    await atNine(async (client) => {
      const run = await claimOne(client);
      await record(client, run, 1, [{ ...theirs('1'), remoteVersion: '"2"', contentHash: hash }]);
      expect(await externalRecordCheck(client, { ...check, version: '"2"' })).toMatchObject({
        decision: 'unchanged',
      });
      // That ours was dropped says nothing of what the CRM has.
      await record(client, run, 2, [{ ...ours('1'), remoteVersion: '"3"', contentHash: 'b'.repeat(64) }]);
      expect(await externalRecordCheck(client, { ...check, contentHash: hash })).toMatchObject({
        decision: 'unchanged',
      });
    });
  });

  test('clears the push that it drops, and closes its failure, but keeps a newer change', async () => {
    const [contactId = ''] = contactIds;
    const { organisationId } = key;
    await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
    await atNine(async (client) => {
      const run = await claimOne(client);
      const error = { kind: 'validation', retryable: true, message: 'No name.' } as const;
      await record(client, run, 1, [{ ...ours('1'), status: 'error', reason: null, error }]);
      const [waiting] = await outboundChangeListWaiting(client, { ...key, contactIds });
      expect(waiting).toMatchObject({ contactId, hasFailed: true });
      await outboundChangeRecord(client, { organisationId, contactIds: [contactId] });
      const dropped = { ...ours('1'), changeVersion: waiting?.changeVersion };
      await record(client, run, 2, [dropped]);
      const [newer] = await outboundChangeListWaiting(client, { ...key, contactIds });
      expect(newer).toMatchObject({ contactId, hasFailed: false });
      await record(client, run, 3, [{ ...ours('1'), changeVersion: newer?.changeVersion }]);
      expect(await outboundChangeListWaiting(client, { ...key, contactIds })).toEqual([]);
    });
  });
});

describe('syncConflictAcknowledge', () => {
  test('keeps who has seen a conflict, leaves others, and ends when it happens again', async () => {
    await atNine(async (client, clock) => {
      const run = await claimOne(client, 86_400);
      await record(client, run, 1, [theirs('1'), theirs('2', 1)]);
      const [first] = (await syncConflictList(client, key)).filter(({ externalId }) => externalId === '1');
      const ids = [first?.id ?? '', first?.id ?? '', '9000000000000000000'];
      const { organisationId } = await createTenant(pool);
      const seen = { ...key, ids, acknowledgedBy: 'support' };
      expect(await syncConflictAcknowledge(client, { ...seen, organisationId })).toEqual({ acknowledged: 0 });
      expect(await syncConflictAcknowledge(client, seen)).toEqual({ acknowledged: 1 });
      expect(await syncConflictList(client, { ...key, isAcknowledged: true })).toMatchObject([
        { externalId: '1', acknowledgedAt: nine, acknowledgedBy: 'support' },
      ]);
      expect(await syncConflictList(client, { ...key, isAcknowledged: false })).toMatchObject([
        { externalId: '2' },
      ]);
      await clock.pass(60);
      await record(client, run, 2, [theirs('1')]);
      expect(await syncConflictList(client, { ...key, isAcknowledged: true })).toEqual([]);
    });
  });

  test('refuses a blank name', async () => {
    await expect(
      syncConflictAcknowledge(pool, { ...key, ids: ['1'], acknowledgedBy: ' ' }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

describe('connectionSetConflictWinner', () => {
  test('sets who wins, which connections and claimed runs carry', async () => {
    expect(await connectionGet(pool, key)).toMatchObject({ conflictWinner: 'nurturehub' });
    expect(await connectionSetConflictWinner(pool, { ...key, conflictWinner: 'person' })).toEqual({
      conflictWinner: 'person',
    });
    expect(await connectionGet(pool, key)).toMatchObject({ conflictWinner: 'person' });
    await makeDue(pool, key);
    const [run] = await syncRunClaim(pool, { worker: 'test', limit: 1 });
    expect(run).toMatchObject({ connectionId: key.connectionId, conflictWinner: 'person' });
  });

  test('holds for a connection that is made after it', async () => {
    await connectionSetConflictWinner(pool, { ...key, conflictWinner: 'crm' });
    await connectionDisconnect(pool, key);
    const again = await connect(pool, key.organisationId, 'reapit');
    expect(await connectionGet(pool, again)).toMatchObject({ conflictWinner: 'crm' });
    const other = await connect(pool, key.organisationId, 'loop');
    expect(await connectionGet(pool, other)).toMatchObject({ conflictWinner: 'nurturehub' });
  });

  test('refuses another value, and a connection that is not live', async () => {
    await expect(
      connectionSetConflictWinner(pool, { ...key, conflictWinner: 'newest' as never }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
    await connectionDisconnect(pool, key);
    await expect(connectionSetConflictWinner(pool, { ...key, conflictWinner: 'crm' })).rejects.toMatchObject({
      code: 'connection_not_live',
    });
  });
});
