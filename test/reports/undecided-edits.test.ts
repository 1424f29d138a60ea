/**
 * Symptom: a person was edited here and at the CRM, and somebody is to decide whose edit counts. Before they do, the
 * contact is edited once more here, or at another CRM of the agency, or support replays the failures of an outage. The
 * CRM's edit is overwritten and the failure closes. The list of conflicts goes on saying that neither was overwritten.
 *
 * Source: tried on the example worker with conflict winner `person`. Of the same kind: aluxnimm/outlookcaldavsynchronizer
 * #387, where no setting leaves both edits alone.
 *
 * Input: an undecided conflict at a CRM that compares versions and at one that does not; then each of these.
 *
 * Right: neither side is overwritten until a person decides on this failure. What is edited meanwhile waits with it.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import {
  connectionSetConflictWinner,
  outboundChangeListWaiting,
  outboundChangeRecord,
  syncConflictList,
  syncFailureDismiss,
  syncFailureReplay,
  syncFailureReplayByIds,
} from '../../src/index.js';
import type { Connected } from '../simulated-crm/agency.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

describe.each(['reapit', 'alto'] as const)(
  'edits here and at %s of which a person is to decide',
  (provider) => {
    let connected: Connected;
    let custom: Connected;
    let contactId: string;
    beforeEach(async () => {
      const { agency } = world;
      connected = await agency.startAndConnect(provider);
      const { externalId } = connected.crm.create('Ottoline Sprat');
      await agency.tick();
      contactId = (await agency.contacts())['Ottoline Sprat'] ?? expect.unreachable();
      custom = await agency.startAndConnect('custom');
      await outboundChangeRecord(pool, { organisationId: agency.organisationId, contactIds: [contactId] });
      await agency.tick();
      await connectionSetConflictWinner(pool, { ...connected, conflictWinner: 'person' });
      await agency.rename(contactId, 'Ottoline Ours');
      connected.crm.edit(externalId, 'Ottoline Theirs');
      await agency.tick();
    });

    const everywhere = async () => [
      ...Object.keys(await world.agency.contacts()),
      ...[connected, custom].flatMap(({ crm }) => crm.records().map(({ name }) => name)),
    ];
    async function failureIds() {
      const failures = await world.agency.failures();
      expect(failures).toMatchObject([{ recordId: contactId, gaveUpAt: expect.any(String) }]);
      return failures.map(({ id }) => id);
    }

    test.each([
      ['person', 'neither', 'Ottoline Later', 'Ottoline Theirs'],
      ['nurturehub', 'nurturehub', 'Ottoline Later', 'Ottoline Later'],
      ['crm', 'crm', 'Ottoline Theirs', 'Ottoline Theirs'],
    ] as const)(
      'are a conflict again if a person takes theirs and the contact is edited before it is read (winner %s)',
      async (conflictWinner, kept, here, there) => {
        const { agency } = world;
        const decision = { ...connected, ids: await failureIds() };
        await syncFailureDismiss(pool, { ...decision, dismissedBy: 'support', reason: 'They know.' });
        await connectionSetConflictWinner(pool, { ...connected, conflictWinner });
        await agency.rename(contactId, 'Ottoline Later');
        await agency.tick();
        await agency.tick();
        expect(await everywhere()).toEqual([here, there, here]);
        const [{ kept: latest } = {}] = await syncConflictList(pool, connected);
        expect(latest).toBe(kept);
        expect(await agency.failures()).toMatchObject(
          kept === 'neither' ? [{ error: { code: 'edited_on_both_sides' }, dismissedAt: null }] : [],
        );
      },
    );

    test('stay so after a later edit here, which waits for the same decision', async () => {
      const { agency } = world;
      await agency.rename(contactId, 'Ottoline Later');
      await agency.tick();
      await agency.tick();
      expect(await everywhere()).toEqual(['Ottoline Later', 'Ottoline Theirs', 'Ottoline Later']);
      expect(await outboundChangeListWaiting(pool, { ...connected, contactIds: [contactId] })).toEqual([
        { contactId, changeVersion: null, hasFailed: true, isUndecided: true, awaitsTheirs: false },
      ]);
      const decision = { ...connected, ids: await failureIds() };
      if (provider === 'reapit') {
        await syncFailureReplayByIds(pool, decision);
        await agency.tick();
        expect(await everywhere()).toEqual(Array(3).fill('Ottoline Later'));
        expect(await agency.failures()).toEqual([]);
      } else {
        await syncFailureDismiss(pool, { ...decision, dismissedBy: 'support', reason: 'They know.' });
        await agency.tick();
        expect(await everywhere()).toEqual(Array(3).fill('Ottoline Theirs'));
      }
    });

    test('stay so after an edit at another CRM', async () => {
      const [record] = custom.crm.records();
      custom.crm.edit(record?.externalId ?? '', 'Ottoline Third');
      await world.agency.tick();
      expect(await everywhere()).toEqual(['Ottoline Third', 'Ottoline Theirs', 'Ottoline Third']);
      await failureIds();
    });

    test('stay so when the failures of a period are replayed', async () => {
      const period = { failedFrom: '2026-01-01T00:00:00Z', failedBefore: '2100-01-01T00:00:00Z' };
      expect(await syncFailureReplay(pool, { ...connected, ...period })).toEqual({ replayed: 0 });
      await world.agency.tick();
      expect(await everywhere()).toEqual(['Ottoline Ours', 'Ottoline Theirs', 'Ottoline Ours']);
      await failureIds();
    });

    test('are settled when somebody makes the edit here that the CRM has', async () => {
      const { agency } = world;
      await agency.rename(contactId, 'Ottoline Theirs');
      await agency.tick();
      await agency.tick();
      expect(await everywhere()).toEqual(Array(3).fill('Ottoline Theirs'));
      expect(await agency.failures()).toEqual([]);
    });
  },
);
