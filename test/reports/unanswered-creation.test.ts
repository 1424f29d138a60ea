/**
 * Symptom: a contact is created at the CRM, and the answer is lost. Before the next sync, somebody there corrects the new
 * record. The next attempt finds it by its reference and writes ours over it: the correction is gone, and nothing says so.
 *
 * Source: tried on the example worker of 1.5.1. Of the same kind: nangohq/nango's and n8n's advice to repeat a POST with
 * the same key.
 *
 * Input: a creation that is not answered; the record is edited at the CRM, or not, before any list shows it or after; with
 * each winner of conflicts.
 *
 * Right: the record is read before it is overwritten. An edit there is a conflict, and the connection's rule decides. A
 * name that the CRM has cut or written in capitals is no edit. There is one record in any case.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import {
  type ConflictWinner,
  connectionSetConflictWinner,
  outboundChangeRecord,
  syncConflictList,
} from '../../src/index.js';
import type { Connected } from '../simulated-crm/agency.js';
import { useAgency } from '../support/agency.js';
import { insert, useDatabase } from '../support/database.js';

const database = useDatabase();
const { pool } = database;
const world = useAgency(database);

describe.each(['agentos', 'reapit', 'alto', 'loop', 'custom'] as const)(
  'a creation at %s that was not answered',
  (provider) => {
    let connected: Connected;
    let contactId: string;
    /** Whether the CRM's lists show the record. */
    let isListed: boolean;
    beforeEach(() => {
      isListed = false;
      contactId = crypto.randomUUID();
    });

    async function createUnanswered(conflictWinner: ConflictWinner, naming?: 'cut at 12' | 'UPPER CASE') {
      const { agency } = world;
      connected = await agency.startAndConnect(provider, naming === undefined ? {} : { habits: { naming } });
      await connectionSetConflictWinner(pool, { ...connected, conflictWinner });
      let isLost = false;
      agency.meddle = (client) => ({
        ...client,
        async readPage(...position) {
          const page = await client.readPage(...position);
          return isListed ? page : { ...page, records: [] };
        },
        async write(contact, record) {
          const written = await client.write(contact, record);
          if (isLost) return written;
          isLost = true;
          throw new CrmError('timeout', 'The CRM did not answer.', { retryable: true });
        },
      });
      const { organisationId } = agency;
      await insert(pool, 'contacts', {
        id: contactId,
        organisation_id: organisationId,
        name: 'Ottoline Sprat',
      });
      await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
      await agency.tick();
      expect(await agency.failures()).toMatchObject([{ recordId: contactId, error: { kind: 'timeout' } }]);
      const [record] = connected.crm.records();
      return record?.externalId ?? expect.unreachable();
    }
    const names = async () => [
      ...Object.keys(await world.agency.contacts()),
      ...connected.crm.records().map(({ name }) => name),
    ];
    const conflicts = async () =>
      (await syncConflictList(pool, connected)).map(({ contactId, kept }) => ({ contactId, kept }));

    test.each([
      ['nurturehub', 'Ottoline Sprat', 'Ottoline Sprat'],
      ['crm', 'Ottoline Sprattley', 'Ottoline Sprattley'],
      ['person', 'Ottoline Sprat', 'Ottoline Sprattley'],
    ] as const)('is a conflict if %s wins and the record was edited', async (winner, here, there) => {
      const { agency } = world;
      const externalId = await createUnanswered(winner);
      connected.crm.edit(externalId, 'Ottoline Sprattley');
      await agency.tick();
      isListed = true;
      await agency.tick();
      expect(await names()).toEqual([here, there]);
      expect(await agency.recordsOf(contactId)).toEqual([`${provider} contact ${externalId} active`]);
      expect(await conflicts()).toEqual([{ contactId, kept: winner === 'person' ? 'neither' : winner }]);
      expect(await agency.failures()).toMatchObject(
        winner === 'person' ? [{ recordId: contactId, error: { code: 'edited_on_both_sides' } }] : [],
      );
    });

    test('is no conflict if nobody edited the record', async () => {
      const { agency } = world;
      const externalId = await createUnanswered('person', 'UPPER CASE');
      await agency.tick();
      isListed = true;
      await agency.tick();
      expect(await agency.recordsOf(contactId)).toEqual([`${provider} contact ${externalId} active`]);
      expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Sprat']);
      expect(connected.crm.records()).toHaveLength(1);
      expect([await conflicts(), await agency.failures()]).toEqual([[], []]);
    });

    test('is a conflict as well if a list shows the edited record first', async () => {
      const { agency } = world;
      const externalId = await createUnanswered('person');
      connected.crm.edit(externalId, 'Ottoline Sprattley');
      isListed = true;
      // Not tried again.
      await pool.query(
        'update crm_sync_failures set next_attempt_at = null, gave_up_at = crm_now() where connection_id = $1',
        [connected.connectionId],
      );
      await agency.tick();
      expect(await names()).toEqual(['Ottoline Sprat', 'Ottoline Sprattley']);
      expect(await conflicts()).toEqual([{ contactId, kept: 'neither' }]);
    });

    test('does not shorten the contact if the CRM cuts names', async () => {
      const { agency } = world;
      await createUnanswered('crm', 'cut at 12');
      await agency.tick();
      isListed = true;
      await agency.tick();
      expect(Object.keys(await agency.contacts())).toEqual(['Ottoline Sprat']);
      expect([await conflicts(), await agency.failures()]).toEqual([[], []]);
    });

    test.each(['nurturehub', 'crm', 'person'] as const)(
      'is pushed with the edit that the contact got since, if %s wins',
      async (winner) => {
        const { agency } = world;
        await createUnanswered(winner);
        await agency.rename(contactId, 'Ottoline Later');
        await agency.tick();
        expect(await names()).toEqual(['Ottoline Later', 'Ottoline Later']);
        expect([await conflicts(), await agency.failures()]).toEqual([[], []]);
      },
    );
  },
);
