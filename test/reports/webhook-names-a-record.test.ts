/**
 * Symptom: the CRM has one webhook for all agencies, which names the customer and the record. Nothing finds the
 * connection by its customer, and all that can be asked for is a sync of everything; at a CRM whose `modified` misses
 * changes, that sync does not read the record that the webhook named.
 *
 * Source: tried on 1.3.0 with a Reapit-like server, whose webhooks name `customerId` and the record;
 * reapit/foundations #9690 and #9608 for webhooks that are sent twice and out of order.
 *
 * Input: a burst of notifications about three records of one customer, some twice, one while a run reads its record;
 * the first run dies.
 *
 * Right: the next run is given each record once, at once, and none is lost.
 */
import { expect, test } from 'vitest';
import {
  type ConnectionKey,
  connectionListLiveByAccount,
  type Queryable,
  type RunKey,
  recordRequestAdd,
  recordRequestClaim,
  recordRequestClear,
  syncBatchRecord,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { atNine, connectDue } = syncSetup(database);

/** What the receiver does. */
async function receive(client: Queryable, customerId: string, entityId: string): Promise<void> {
  for (const connection of await connectionListLiveByAccount(client, {
    provider: 'reapit',
    account: customerId,
  })) {
    const { organisationId, connectionId } = connection;
    const records = [{ entityType: 'contact', externalId: entityId }];
    await recordRequestAdd(client, { organisationId, connectionId, records });
  }
}

const claim = async (client: Queryable, run: RunKey) =>
  (await recordRequestClaim(client, run)).map(({ externalId }) => externalId).toSorted();

/** Records that records were read, as a worker does in one transaction. */
async function recordRead(client: Queryable, run: RunKey, batchNumber: number, externalIds: string[]) {
  const contact = { direction: 'inbound', entityType: 'contact' } as const;
  const events = externalIds.map((externalId) => ({ ...contact, externalId, status: 'skipped' }) as const);
  await syncBatchRecord(client, { ...run, batchNumber, events });
  await recordRequestClear(client, { ...run, records: events });
}

test('the next run is given the records that a webhook named, each once, and none is lost', async () => {
  await atNine(async (client, clock) => {
    const key: ConnectionKey = await connectDue('reapit', { dueAt: '2026-11-16T09:15:00Z' });
    await client.query("update crm_connections set account = 'OXF' where id = $1", [key.connectionId]);
    for (const id of ['OXF1', 'OXF2', 'OXF1', 'OXF3', 'OXF2']) await receive(client, 'OXF', id);
    await receive(client, 'AAA', 'OXF9');

    // Not at a quarter past, but at once. The worker dies.
    const dead = await claimOne(client);
    expect(dead.connectionId).toBe(key.connectionId);
    expect(await claim(client, dead)).toEqual(['OXF1', 'OXF2', 'OXF3']);
    await clock.pass(301);
    await syncRunClaim(client, { worker: 'test' });
    await clock.pass(10);

    const run = await claimOne(client);
    expect(await claim(client, run)).toEqual(['OXF1', 'OXF2', 'OXF3']);
    await receive(client, 'OXF', 'OXF2');
    await recordRead(client, run, 1, ['OXF1', 'OXF2', 'OXF3']);
    expect(await claim(client, run)).toEqual(['OXF2']);
    await recordRead(client, run, 2, ['OXF2']);
    expect(await claim(client, run)).toEqual([]);
    await clock.pass(1);
    await syncRunFinish(client, { ...run, outcome: 'success' });
    expect((await client.query('select count(*)::integer as left from crm_record_requests')).rows).toEqual([
      { left: 0 },
    ]);
  });
});
