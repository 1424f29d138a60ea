/**
 * Symptom: an agent edits a contact here, and seconds later a colleague edits the same person in the CRM. The sync pushes
 * first. The colleague's edit is gone; the log has a success and a skip, and nobody can see that there was a conflict.
 * Whether ours should have won was never asked.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits; on 1.4.0 the same at a CRM without versions, and at one
 * with versions theirs is read first and then overwritten without a trace. Of the same kind:
 * aluxnimm/outlookcaldavsynchronizer #387, where each setting overwrites one of two edits and none leaves both.
 *
 * Input: both edits, in both orders (the worker meets the CRM's edit in its stream, or on pushing), at a CRM that compares
 * versions (Reapit) and one that does not (Alto), for each setting of who wins.
 *
 * Right: the setting decides; both sides end with the same value, or wait for a person; the conflict is listed and counted.
 */
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  type ConflictWinner,
  connectionListWithHealth,
  connectionSetConflictWinner,
  outboundChangeRecord,
  syncConflictAcknowledge,
  syncConflictList,
  syncFailureDismiss,
  syncFailureReplayByIds,
  syncLogListByConnection,
} from '../../src/index.js';
import { Agency, type Connected } from '../simulated-crm/agency.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let agency: Agency;
let custom: Connected;
let contactId: string;
let externalId: string;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  agency = await Agency.create(pool, worker);
});
afterEach(() => agency.stop());

/** Connects a CRM with one person, whom another CRM of the agency has as well, and sets who wins. */
async function start(provider: 'reapit' | 'alto', winner: ConflictWinner): Promise<Connected> {
  const connected = await agency.startAndConnect(provider);
  externalId = connected.crm.create('Ottoline Sprat').externalId;
  await agency.tick();
  contactId = (await agency.contacts())['Ottoline Sprat'] ?? expect.unreachable();
  custom = await agency.startAndConnect('custom');
  await outboundChangeRecord(pool, { organisationId: agency.organisationId, contactIds: [contactId] });
  await agency.tick();
  await connectionSetConflictWinner(pool, { ...connected, conflictWinner: winner });
  return connected;
}

/** Both edits, of which the worker meets the CRM's in its stream, or on pushing ours. */
async function editBoth({ crm }: Connected, met: 'in the stream' | 'on pushing'): Promise<void> {
  if (met === 'on pushing') {
    await agency.rename(contactId, 'Ottoline Ours');
    crm.edit(externalId, 'Ottoline Theirs');
    return agency.tick();
  }
  // Reading comes after pushing in a run, so ours is made while the run reads.
  crm.edit(externalId, 'Ottoline Theirs');
  let isMade = false;
  agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      const page = await client.readPage(entityType, from);
      if (!isMade && page.records.some((record) => record.externalId === externalId)) {
        isMade = true;
        await agency.rename(contactId, 'Ottoline Ours');
      }
      return page;
    },
  });
  await agency.tick();
}

const at = ({ crm }: Connected) => crm.records().map(({ name }) => name);
const everywhere = async (connected: Connected) => [
  ...Object.keys(await agency.contacts()),
  ...at(connected),
  ...at(custom),
];
async function conflictsIn(key: Connected): Promise<number | undefined> {
  const { organisationId, connectionId } = key;
  const found = await connectionListWithHealth(pool, {
    organisationId,
    failuresSince: '2026-01-01T00:00:00Z',
  });
  return found.find((each) => each.connectionId === connectionId)?.conflicts;
}

describe.each(['reapit', 'alto'] as const)('edits here and at %s', (provider) => {
  describe.each(['in the stream', 'on pushing'] as const)('where the worker meets theirs %s', (met) => {
    test('end with ours if NurtureHub wins, and the conflict is seen', async () => {
      const connected = await start(provider, 'nurturehub');
      await editBoth(connected, met);
      await agency.tick();
      expect(await everywhere(connected)).toEqual(Array(3).fill('Ottoline Ours'));
      expect(await syncConflictList(pool, connected)).toMatchObject([
        { entityType: 'contact', externalId, contactId, kept: 'nurturehub', occurrences: 1 },
      ]);
      expect(await conflictsIn(connected)).toBe(1);
      const log = await syncLogListByConnection(pool, connected);
      expect(log.filter(({ reason }) => reason === 'conflict')).toMatchObject([
        { direction: 'inbound', status: 'skipped', externalId },
      ]);
      expect(await agency.failures()).toEqual([]);
    });

    test('end with theirs if the CRM wins, and the conflict is seen', async () => {
      const connected = await start(provider, 'crm');
      await editBoth(connected, met);
      await agency.tick();
      expect(await everywhere(connected)).toEqual(Array(3).fill('Ottoline Theirs'));
      expect(connected.crm.writes.filter(({ name }) => name === 'Ottoline Ours')).toEqual([]);
      expect(await syncConflictList(pool, connected)).toMatchObject([
        { externalId, contactId, kept: 'crm', occurrences: 1 },
      ]);
      expect(await agency.failures()).toEqual([]);
    });

    test('stay as they are until a person decides, if a person is to', async () => {
      const connected = await start(provider, 'person');
      await editBoth(connected, met);
      await agency.tick();
      await agency.tick();
      expect(await everywhere(connected)).toEqual(['Ottoline Ours', 'Ottoline Theirs', 'Ottoline Ours']);
      expect(await syncConflictList(pool, connected)).toMatchObject([
        { externalId, contactId, kept: 'neither', occurrences: 1 },
      ]);
      const [failure, ...others] = await agency.failures();
      expect(others).toEqual([]);
      expect(failure).toMatchObject({
        direction: 'outbound',
        recordId: contactId,
        error: { kind: 'conflict', retryable: false },
      });
      const chosen = { ...connected, ids: [failure?.id ?? ''] };
      if (met === 'on pushing') {
        await syncFailureReplayByIds(pool, chosen);
        await agency.tick();
        expect(await everywhere(connected)).toEqual(Array(3).fill('Ottoline Ours'));
        expect(await agency.failures()).toEqual([]);
      } else {
        await syncFailureDismiss(pool, { ...chosen, reason: 'They know.', dismissedBy: 'support' });
        await agency.tick();
        expect(await everywhere(connected)).toEqual(Array(3).fill('Ottoline Theirs'));
      }
    });
  });
});

test('the same edit on both sides is no conflict', async () => {
  const connected = await start('alto', 'person');
  await agency.rename(contactId, 'Ottoline Same');
  connected.crm.edit(externalId, 'Ottoline Same');
  await agency.tick();
  expect(await everywhere(connected)).toEqual(Array(3).fill('Ottoline Same'));
  expect(await syncConflictList(pool, connected)).toEqual([]);
  expect(await agency.failures()).toEqual([]);
});

test('a conflict that is acknowledged is no longer counted, until it happens again', async () => {
  const connected = await start('alto', 'nurturehub');
  await editBoth(connected, 'on pushing');
  const [conflict] = await syncConflictList(pool, { ...connected, isAcknowledged: false });
  const ids = [conflict?.id ?? ''];
  const seen = { ...connected, ids, acknowledgedBy: 'support' };
  expect(await syncConflictAcknowledge(pool, seen)).toEqual({ acknowledged: 1 });
  expect(await syncConflictAcknowledge(pool, seen)).toEqual({ acknowledged: 0 });
  expect(await conflictsIn(connected)).toBe(0);
  expect(await syncConflictList(pool, connected)).toMatchObject([{ acknowledgedBy: 'support' }]);
  await agency.rename(contactId, 'Ottoline Ours again');
  connected.crm.edit(externalId, 'Ottoline Theirs again');
  await agency.tick();
  expect(await conflictsIn(connected)).toBe(1);
  expect(await syncConflictList(pool, connected)).toMatchObject([
    { occurrences: 2, acknowledgedAt: null, acknowledgedBy: null },
  ]);
});
