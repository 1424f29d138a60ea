/**
 * Symptom: while a CRM is disconnected, a person is edited here and at the CRM. The same account is connected again, and
 * NurtureHub's edit replaces the CRM's, whoever is to win; no conflict is recorded, and nobody is asked.
 *
 * Source: tried on 1.5.0 with the example worker. Of the same kind: issue 16, row 15, where an edit at the CRM is
 * overwritten unseen.
 *
 * Input: each winner; a person is edited on both sides while the CRM is disconnected; the same account is connected
 * again. Or only the CRM's side is edited, or only ours; or what waited here was kept for too long; or a program of an
 * earlier release disconnected, which keeps nothing; or it is another account.
 *
 * Right: the rule for conflicts decides, as it does for a CRM that was connected all the time. Where edits made here may
 * have been missed, what is known of the CRM's records is forgotten, so that none is taken for unchanged.
 */
import { describe, expect, test } from 'vitest';
import {
  connectionSetConflictWinner,
  externalRecordCheck,
  externalRecordListByContacts,
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

describe.each(['reapit', 'alto', 'street', 'agentos', 'loop'] as const)(
  'a person who is edited here and at %s while it is disconnected',
  (provider) => {
    async function editedOnBothSides(conflictWinner: 'nurturehub' | 'crm' | 'person') {
      const { agency } = world;
      const before = await agency.startAndConnect(provider);
      const { crm } = before;
      const { externalId } = crm.create('Ottoline Sprat');
      await agency.tick();
      const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
      await connectionSetConflictWinner(pool, { ...before, conflictWinner });
      await agency.disconnect(before);
      await agency.rename(contactId, 'Ottoline Ours');
      crm.edit(externalId, 'Ottoline Theirs');
      const after = await agency.connect(crm);
      for (let count = 0; count < 3; count += 1) await agency.tick();
      return { after, contactId };
    }
    const names = async ({ crm }: Connected) => [
      ...Object.keys(await world.agency.contacts()),
      ...crm.records().map(({ name }) => name),
    ];

    test('gets ours, and a conflict, if NurtureHub wins', async () => {
      const { after } = await editedOnBothSides('nurturehub');
      expect(await names(after)).toEqual(['Ottoline Ours', 'Ottoline Ours']);
      expect(await syncConflictList(pool, after)).toMatchObject([{ kept: 'nurturehub', occurrences: 1 }]);
    });

    test('gets theirs, and a conflict, if the CRM wins', async () => {
      const { after } = await editedOnBothSides('crm');
      expect(await names(after)).toEqual(['Ottoline Theirs', 'Ottoline Theirs']);
      expect(await syncConflictList(pool, after)).toMatchObject([{ kept: 'crm' }]);
      expect(await world.agency.failures()).toEqual([]);
    });

    test('keeps both until a person decides, if a person decides', async () => {
      const { after, contactId } = await editedOnBothSides('person');
      expect(await names(after)).toEqual(['Ottoline Ours', 'Ottoline Theirs']);
      expect(await syncConflictList(pool, after)).toMatchObject([{ kept: 'neither' }]);
      const failures = await world.agency.failures();
      expect(failures).toMatchObject([{ recordId: contactId, gaveUpAt: expect.any(String) }]);
      const decision = { ...after, ids: failures.map(({ id }) => id) };
      if (provider === 'reapit' || provider === 'loop') {
        await syncFailureReplayByIds(pool, decision);
        await world.agency.tick();
        expect(await names(after)).toEqual(['Ottoline Ours', 'Ottoline Ours']);
      } else {
        await syncFailureDismiss(pool, { ...decision, dismissedBy: 'support', reason: 'They know.' });
        await world.agency.tick();
        expect(await names(after)).toEqual(['Ottoline Theirs', 'Ottoline Theirs']);
      }
    });
  },
);

test.each(['reapit', 'alto', 'agentos'] as const)(
  'an edit at %s alone, made while it is disconnected, arrives without a conflict, and one here alone is pushed',
  async (provider) => {
    const { agency } = world;
    const before = await agency.startAndConnect(provider);
    const { crm } = before;
    const { externalId } = crm.create('Ottoline Sprat');
    crm.create('Barnaby Quince');
    await agency.tick();
    const { 'Barnaby Quince': barnaby = '' } = await agency.contacts();
    await agency.disconnect(before);
    crm.edit(externalId, 'Ottoline Spratt');
    await agency.rename(barnaby, 'Barnaby Quints');
    const after = await agency.connect(crm);
    for (let count = 0; count < 2; count += 1) await agency.tick();
    expect(Object.keys(await agency.contacts())).toEqual(['Barnaby Quints', 'Ottoline Spratt']);
    const names = crm.records().map(({ name }) => name);
    expect(names.toSorted()).toEqual(['Barnaby Quints', 'Ottoline Spratt']);
    expect(await syncConflictList(pool, after)).toEqual([]);
  },
);

describe('what is known of the records of a CRM that is connected again', () => {
  async function reconnected(whileDisconnected: (before: Connected<'reapit'>) => Promise<unknown>) {
    const { agency } = world;
    const before = await agency.startAndConnect('reapit', { account: 'AAA' });
    const { crm, organisationId } = before;
    crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    const recordOf = async () => {
      const [record] = await externalRecordListByContacts(pool, { organisationId, contactIds: [contactId] });
      return record ?? expect.unreachable('no record');
    };
    const { entityType, externalId, remoteVersion: version } = await recordOf();
    expect(version).not.toBeNull();
    await agency.disconnect(before);
    await whileDisconnected(before);
    await agency.connect(crm);
    const key = { organisationId, provider: 'reapit', entityType, externalId } as const;
    return (await externalRecordCheck(pool, { ...key, version })).decision;
  }

  test('is kept if all edits made here meanwhile wait to be pushed', async () => {
    expect(await reconnected(async () => {})).toBe('unchanged');
  });

  test('is forgotten if those were kept for too long', async () => {
    const expire = ({ connectionId }: Connected) =>
      pool.query(
        "update crm_connections set changes_expire_at = crm_now() - interval '1 second' where id = $1",
        [connectionId],
      );
    expect(await reconnected(expire)).toBe('changed');
  });

  test('is forgotten if an earlier release disconnected, which keeps none', async () => {
    const keepNothing = ({ connectionId }: Connected) =>
      pool.query('update crm_connections set kept_changes = null, changes_expire_at = null where id = $1', [
        connectionId,
      ]);
    expect(await reconnected(keepNothing)).toBe('changed');
  });

  test('is forgotten if another account was connected in between', async () => {
    const connectAnother = async () => {
      const { agency } = world;
      const other = await agency.start('reapit', { account: 'BBB' });
      await agency.disconnect(await agency.connect(other));
    };
    expect(await reconnected(connectAnother)).toBe('changed');
  });
});
