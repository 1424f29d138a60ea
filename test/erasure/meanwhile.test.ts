import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  connectionDisconnect,
  contactExternalIdLock,
  contactMerge,
  contactMergeUndo,
  syncBatchRecord,
} from '../../src/index.js';
import { contactErase, ErasureKey } from '../../src/migrations.js';
import { connect } from '../support/connection.js';
import { useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';
import { waitUntilSomebodyIsBlocked } from '../support/locks.js';
import { claimOne, makeDue } from '../support/sync.js';
import { type Agency, agencyWithOttoline } from './agency.js';

// What others commit while an erasure waits for them, and what waits for an erasure.

const { pool, url } = useDatabase();
const key = ErasureKey.parse(randomBytes(32).toString('base64'));

let agency: Agency;

beforeEach(async () => {
  agency = await agencyWithOttoline(pool);
});

const erase = () =>
  withClient(url, (client) =>
    contactErase(client, key, { organisationId: agency.organisationId, contactId: agency.ottoline }),
  );

/** Runs `work` in a transaction of another session, and commits it. */
async function inTransaction(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await work(client);
    await client.query('commit');
  } finally {
    client.release();
  }
}

describe('while an erasure waits', () => {
  test('a merge is undone: nobody is erased, and then the person alone', async () => {
    const { organisationId, ottoline, barnaby } = agency;
    const { operationId } = await contactMerge(pool, {
      organisationId,
      fromContactId: barnaby,
      intoContactId: ottoline,
    });
    let erasing: Promise<unknown> = Promise.resolve();
    await inTransaction(async (client) => {
      expect(await contactMergeUndo(client, { organisationId, operationId })).toMatchObject({
        outcome: 'undone',
      });
      erasing = erase().catch((error: unknown) => error);
      await waitUntilSomebodyIsBlocked(pool);
    });
    expect(await erasing).toMatchObject({
      code: '40001',
      message: `contact ${barnaby} is not merged into the person any more: it must not be erased`,
    });
    // Without the history, in which the merge was between the two.
    const ofBarnaby = async () =>
      (await placesOf(pool, 'BARNABY-')).filter((place) => !place.startsWith('contact_external_id_changes'));
    const before = await ofBarnaby();
    expect((await erase()).contactIds).not.toContain(barnaby);
    expect(await ofBarnaby()).toHaveLength(before.length);
  });

  test('somebody is merged into the person: nobody is erased, and then both', async () => {
    const { organisationId, ottoline, barnaby } = agency;
    let erasing: Promise<unknown> = Promise.resolve();
    await inTransaction(async (client) => {
      await contactMerge(client, { organisationId, fromContactId: barnaby, intoContactId: ottoline });
      erasing = erase().catch((error: unknown) => error);
      await waitUntilSomebodyIsBlocked(pool);
    });
    expect(await erasing).toMatchObject({ code: '40001', message: expect.stringContaining(barnaby) });
    expect((await erase()).contactIds).toContain(barnaby);
  });

  test('a CRM is connected: nobody is erased, and then all', async () => {
    const { organisationId, hers } = agency;
    let erasing: Promise<unknown> = Promise.resolve();
    await inTransaction(async (client) => {
      await connect(client, organisationId, 'street');
      erasing = erase().catch((error: unknown) => error);
      await waitUntilSomebodyIsBlocked(pool);
    });
    expect(await erasing).toMatchObject({
      code: '40001',
      message: 'the organisation was connected to a CRM meanwhile',
    });
    await erase();
    for (const text of hers) expect(await placesOf(pool, text)).toEqual([]);
  });

  test('a CRM is connected again by who holds its ids, without a deadlock', async () => {
    const { organisationId } = agency;
    await connectionDisconnect(pool, await connect(pool, organisationId, 'street'));
    let erasing: Promise<unknown> = Promise.resolve();
    await inTransaction(async (client) => {
      await contactExternalIdLock(client, { organisationId, providers: ['street'] });
      erasing = erase().catch((error: unknown) => error);
      await waitUntilSomebodyIsBlocked(pool);
      await connect(client, organisationId, 'street');
    });
    expect(await erasing).toMatchObject({ code: '40001' });
    await erase();
  });
});

test.each(['street', 'reapit'] as const)(
  'who connects %s while an erasure is open waits for it, and records nothing of the person',
  async (provider) => {
    const { organisationId, ottoline, duplicate, reapit, hers } = agency;
    const name = provider === 'street' ? 'UNLINKED' : 'LANDLORD';
    const externalId = hers.find((text) => text.startsWith(name)) as string;
    if (provider === 'reapit') await connectionDisconnect(pool, reapit);
    let isConnected = false;
    let connecting: ReturnType<typeof connect> | undefined;
    await inTransaction(async (client) => {
      await eraseContacts(client, organisationId, [ottoline, duplicate]);
      connecting = connect(pool, organisationId, provider).finally(() => {
        isConnected = true;
      });
      await waitUntilSomebodyIsBlocked(pool);
      expect(isConnected).toBe(false);
    });
    const connection = (await connecting) as Awaited<ReturnType<typeof connect>>;
    await pool.query("update crm_connections set next_sync_at = now() + interval '1 day'");
    await makeDue(pool, connection);
    const run = await claimOne(pool);
    const message = `Record ${externalId} has no name.`;
    await syncBatchRecord(pool, {
      ...run,
      batchNumber: 1,
      events: [
        {
          direction: 'inbound',
          entityType: 'contact',
          externalId,
          status: 'error',
          error: { kind: 'internal', retryable: true, message },
        },
      ],
    });
    for (const text of hers) expect(await placesOf(pool, text)).toEqual([]);
  },
);
