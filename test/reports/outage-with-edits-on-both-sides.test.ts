/**
 * Symptom: the CRM answers 503 to writes for more than a day. Meanwhile a contact is edited here and its record there.
 * The push is given up, the sync goes on with a green status, and from then on one name is here and another there.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits, whose writes fail while its reads work.
 *
 * Input: an edit on each side, and a push that fails for longer than the worker retries it.
 *
 * Right: the record of a push that was given up is asked for, whatever the stream shows, and the failure stays visible
 * until both sides have the same content. A later edit begins anew: a single 503 does not give it up at once.
 */
import { afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import {
  connectionListWithHealth,
  outboundChangeListWaiting,
  recordRequestClaim,
  syncFailureReplay,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { Agency, type Connected } from '../simulated-crm/agency.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { makeDue } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

let agency: Agency;
let reapit: Connected;
let contactId: string;
let externalId: string;
let isDown: boolean;
beforeEach(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  agency = await Agency.create(pool, worker);
  reapit = await agency.startAndConnect('reapit');
  externalId = reapit.crm.create('Ottoline Sprat').externalId;
  await agency.tick();
  contactId = (await agency.contacts())['Ottoline Sprat'] ?? expect.unreachable();
  isDown = true;
  agency.meddle = (client) => ({
    ...client,
    async write(contact, record) {
      if (isDown) throw new CrmError('provider', 'Service unavailable.', { retryable: true });
      return client.write(contact, record);
    },
  });
  await agency.rename(contactId, 'Ottoline Ours');
  await agency.tick();
  reapit.crm.edit(externalId, 'Ottoline Theirs');
  await agency.tick();
  await tickUntilGivenUp();
  await agency.tick();
});
afterEach(() => agency.stop());

/** Lets the push fail once more, as if its attempts had lasted for two days. */
async function tickUntilGivenUp(): Promise<void> {
  await pool.query(
    "update crm_sync_failures set attempts = 10, first_failed_at = first_failed_at - interval '2 days'",
  );
  await agency.tick();
  expect(await agency.failures()).toMatchObject([
    { direction: 'outbound', recordId: contactId, gaveUpAt: expect.any(String) },
  ]);
}

const names = async () => [
  ...Object.keys(await agency.contacts()),
  ...reapit.crm.records().map(({ name }) => name),
];
async function health() {
  const { organisationId } = agency;
  const [found] = await connectionListWithHealth(pool, {
    organisationId,
    failuresSince: '2026-01-01T00:00:00Z',
  });
  return found ?? expect.unreachable('not listed');
}

test('a push that was given up stays visible, and waits, while both sides differ', async () => {
  expect(await names()).toEqual(['Ottoline Ours', 'Ottoline Theirs']);
  expect(await health()).toMatchObject({ givenUpRecords: 1, waitingChanges: 0 });
  const waiting = await outboundChangeListWaiting(pool, { ...reapit, contactIds: [contactId] });
  expect(waiting).toEqual([
    { contactId, changeVersion: null, hasFailed: true, isUndecided: false, awaitsTheirs: false },
  ]);
});

test('the record of a push that is given up is the first that the next run is given', async () => {
  await pool.query('delete from crm_record_requests');
  await syncFailureReplay(pool, {
    ...reapit,
    failedFrom: '2026-01-01T00:00:00Z',
    failedBefore: '2027-01-01T00:00:00Z',
  });
  // Without a worker that would read it at once.
  await pool.query(
    'update crm_sync_failures set next_attempt_at = null, gave_up_at = crm_now(), attempts = 10 where connection_id = $1',
    [reapit.connectionId],
  );
  await makeDue(pool, reapit);
  const [run = expect.unreachable('nothing is due')] = await syncRunClaim(pool, { worker: 'test', limit: 1 });
  expect(await recordRequestClaim(pool, run)).toMatchObject([{ entityType: 'contact', externalId }]);
  await syncRunFinish(pool, { ...run, outcome: 'success' });
});

test('both sides agree once the CRM works again and the failure is replayed', async () => {
  isDown = false;
  await syncFailureReplay(pool, {
    ...reapit,
    failedFrom: '2026-01-01T00:00:00Z',
    failedBefore: '2027-01-01T00:00:00Z',
  });
  await agency.tick();
  expect(await names()).toEqual(['Ottoline Ours', 'Ottoline Ours']);
  expect(await health()).toMatchObject({ givenUpRecords: 0, retriedRecords: 0 });
});

test('a later edit begins anew: one more 503 does not give it up', async () => {
  await agency.rename(contactId, 'Ottoline Later');
  await agency.tick();
  expect(await agency.failures()).toMatchObject([{ attempts: 1, gaveUpAt: null }]);
  isDown = false;
  await agency.tick();
  expect(await names()).toEqual(['Ottoline Later', 'Ottoline Later']);
  expect(await agency.failures()).toEqual([]);
});
