/**
 * Symptom: a person was edited here and at the CRM, and somebody is to decide. Before they do, the contact is found to be
 * a double and merged with another. The question is gone, and the CRM's edit is overwritten.
 *
 * Source: tried on 1.5.0 with the example worker and conflict winner `person`. Of the same kind: mautic/mautic's merges
 * of contacts, after which what a plugin kept of the merged contact is lost.
 *
 * Input: the contact with the undecided conflict is merged away, or is the one that remains, or both have one; then the
 * merge is undone.
 *
 * Right: the decision moves with the record: the failure and the conflict are those of the contact that remains, and
 * nothing is overwritten until a person decides. After an undo, the contact whose record it is waits for it again.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import {
  connectionSetConflictWinner,
  contactMerge,
  contactMergeUndo,
  outboundChangeListWaiting,
  outboundChangeRecord,
  syncConflictList,
  syncFailureDismiss,
  syncFailureReplayByIds,
} from '../../src/index.js';
import type { Connected } from '../simulated-crm/agency.js';
import { useAgency } from '../support/agency.js';
import { useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

describe.each(['reapit', 'agentos'] as const)('a contact with an undecided conflict at %s', (provider) => {
  let connected: Connected;
  let ottoline: string;
  let double: string;
  let externalIds: { ottoline: string; double: string };
  beforeEach(async () => {
    const { agency } = world;
    connected = await agency.startAndConnect(provider);
    const { crm } = connected;
    externalIds = {
      ottoline: crm.create('Ottoline Sprat').externalId,
      double: crm.create('O. Sprat').externalId,
    };
    await agency.tick();
    const contacts = await agency.contacts();
    ottoline = contacts['Ottoline Sprat'] ?? expect.unreachable();
    double = contacts['O. Sprat'] ?? expect.unreachable();
    await connectionSetConflictWinner(pool, { ...connected, conflictWinner: 'person' });
  });

  /** Edits a person on both sides, so that somebody has to decide. */
  async function dispute(which: 'ottoline' | 'double') {
    await world.agency.rename(which === 'ottoline' ? ottoline : double, `Ours of ${which}`);
    connected.crm.edit(externalIds[which], `Theirs of ${which}`);
    for (let count = 0; count < 2; count += 1) await world.agency.tick();
  }

  /** Merges as identity.md says, without deleting the contact, so that the merge can be undone. */
  async function merge() {
    const { organisationId } = connected;
    const client = await pool.connect();
    try {
      await client.query('begin');
      const merged = await contactMerge(client, {
        organisationId,
        fromContactId: double,
        intoContactId: ottoline,
      });
      await outboundChangeRecord(client, { organisationId, contactIds: [ottoline] });
      await client.query('commit');
      return merged;
    } finally {
      client.release();
    }
  }

  const sync = async () => {
    for (let count = 0; count < 3; count += 1) await world.agency.tick();
  };
  const atTheCrm = () =>
    Object.fromEntries(connected.crm.records().map(({ externalId, name }) => [externalId, name]));
  async function undecided() {
    const contactIds = [ottoline, double];
    const waiting = await outboundChangeListWaiting(pool, { ...connected, contactIds });
    return waiting.filter(({ isUndecided }) => isUndecided).map(({ contactId }) => contactId);
  }
  const disputes = async () =>
    Object.fromEntries(
      (await syncConflictList(pool, connected)).map(({ externalId, contactId }) => [externalId, contactId]),
    );
  const failureIds = async () => (await world.agency.failures()).map(({ id }) => id);

  test('that is merged away hands the decision on: ours is pushed to all records if a person says so', async () => {
    await dispute('double');
    await merge();
    await sync();
    expect(atTheCrm()).toEqual({
      [externalIds.ottoline]: 'Ottoline Sprat',
      [externalIds.double]: 'Theirs of double',
    });
    expect(await undecided()).toEqual([ottoline]);
    expect(await disputes()).toEqual({ [externalIds.double]: ottoline });
    await syncFailureReplayByIds(pool, { ...connected, ids: await failureIds() });
    await sync();
    expect(new Set(Object.values(atTheCrm()))).toEqual(new Set(['Ottoline Sprat']));
    expect(await world.agency.failures()).toEqual([]);
  });

  test('that is merged away hands the decision on: theirs is taken if a person says so', async () => {
    await dispute('double');
    await merge();
    await sync();
    const ids = await failureIds();
    await syncFailureDismiss(pool, { ...connected, ids, dismissedBy: 'support', reason: 'They know.' });
    await sync();
    expect(Object.values(atTheCrm())).toContain('Theirs of double');
    expect(await undecided()).toEqual([]);
  });

  test('that remains waits on for the decision', async () => {
    await dispute('ottoline');
    await merge();
    await sync();
    expect(atTheCrm()).toEqual({
      [externalIds.ottoline]: 'Theirs of ottoline',
      [externalIds.double]: 'O. Sprat',
    });
    expect(await undecided()).toEqual([ottoline]);
  });

  test('that is merged into another with one leaves one decision', async () => {
    await dispute('ottoline');
    await dispute('double');
    await merge();
    await sync();
    expect(atTheCrm()).toEqual({
      [externalIds.ottoline]: 'Theirs of ottoline',
      [externalIds.double]: 'Theirs of double',
    });
    expect(await world.agency.failures()).toHaveLength(1);
    expect(await disputes()).toEqual({ [externalIds.ottoline]: ottoline, [externalIds.double]: ottoline });
  });

  test.each([[['double'] as const], [['ottoline'] as const], [['ottoline', 'double'] as const]])(
    'is again the one that waits after an undo: %j',
    async (disputed) => {
      for (const which of disputed) await dispute(which);
      const idsOf = { ottoline, double };
      const waiting = disputed.map((which) => idsOf[which]).toSorted();
      const theirs = Object.fromEntries(disputed.map((which) => [externalIds[which], `Theirs of ${which}`]));
      const { operationId } = await merge();
      await sync();
      const { organisationId } = connected;
      expect(await contactMergeUndo(pool, { organisationId, operationId })).toMatchObject({
        outcome: 'undone',
      });
      expect((await undecided()).toSorted()).toEqual(waiting);
      await outboundChangeRecord(pool, { organisationId, contactIds: [ottoline, double] });
      await sync();
      expect(atTheCrm()).toMatchObject(theirs);
      expect((await undecided()).toSorted()).toEqual(waiting);
      expect(await disputes()).toEqual(
        Object.fromEntries(disputed.map((which) => [externalIds[which], idsOf[which]])),
      );
    },
  );
});
