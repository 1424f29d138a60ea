/**
 * Symptom: an edit at the CRM never arrives. The sync is green, the log says that the record was older than the known
 * one, and nothing reads it again until its next edit.
 *
 * Source: Flowfin/jellyfin-plugin-metadata-sync #46 and ZhFahim/anchor #125 (whose clock is ahead wins for ever);
 * mozilla-services/server-syncstorage #7 (servers of one service differ by seconds); Komodo/KomodoEdit #782 (the hour
 * that comes twice).
 *
 * Input: one server of the CRM, two minutes ahead, stamps an edit; another, right, stamps the next edit half a minute
 * later. The same in the hour that comes twice, at a CRM with local times.
 *
 * Right: a time alone does not prove that a record is older. If its content is not the known one either, the next run is
 * given the record to read it by its id, and applies what it then reads.
 */
import type pg from 'pg';
import { expect, test } from 'vitest';
import {
  type ClaimedRun,
  canonicalTimestamp,
  contentHash,
  externalRecordCheckMany,
  type RecordDecision,
  recordRequestAdd,
  recordRequestClaim,
  recordRequestClear,
  type SentRecord,
  syncBatchRecord,
  syncRunFinish,
} from '../../src/index.js';
import { useAgency } from '../support/agency.js';
import type { Clock } from '../support/clock.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool } = database;
const { atNine, connectDue } = syncSetup(database);
const world = useAgency(database);

const key = { entityType: 'contact', externalId: 'OXF18000001' };

/** What the CRM sends of Ottoline's record. */
function sent(name: string, version: string, modifiedAt: string): SentRecord {
  return { ...key, version, modifiedAt, contentHash: contentHash({ name }) };
}

/** A connection whose sync is running, and the contact of its record. */
async function start(client: pg.ClientBase) {
  await pool.query("update crm_connections set next_sync_at = '9000-01-01'");
  const { organisationId, contactIds } = await createTenant(pool, 1);
  await connectDue('reapit', { organisationId });
  const reader = new Reader(client, await claimOne(client), contactIds[0] as string);
  return { reader, organisationId };
}

/** Reads the record as a worker does. */
class Reader {
  #batchNumber = 0;

  constructor(
    readonly client: pg.ClientBase,
    public run: ClaimedRun,
    readonly contactId: string,
  ) {}

  /** Reads records from a list, or those that were asked for, and returns what was decided. */
  async read(records: SentRecord[], { isAskedFor = false } = {}): Promise<RecordDecision['decision'][]> {
    const { client, run } = this;
    const decisions = await externalRecordCheckMany(client, { ...run, records });
    this.#batchNumber += 1;
    const events = records.map(({ version, modifiedAt, contentHash, ...record }, index) => {
      const decision = decisions[index]?.decision;
      const isTaken = decision === 'changed' || decision === 'unknown';
      const end = isTaken
        ? ({ status: 'success', linksContact: true, internalId: this.contactId } as const)
        : ({ status: 'skipped', reason: decision as 'older' } as const);
      const fields = { remoteVersion: version, remoteModifiedAt: modifiedAt, contentHash };
      return { direction: 'inbound', ...record, ...fields, ...end } as const;
    });
    await syncBatchRecord(client, { ...run, batchNumber: this.#batchNumber, events });
    if (isAskedFor) await recordRequestClear(client, { ...run, records });
    return decisions.map(({ decision }) => decision);
  }

  /** Ends the run, and begins the next one when it is due. */
  async next(clock: Clock): Promise<void> {
    await syncRunFinish(this.client, { ...this.run, outcome: 'success' });
    await clock.pass(900);
    this.run = await claimOne(this.client);
    this.#batchNumber = 0;
  }

  async askedFor(): Promise<string[]> {
    return (await recordRequestClaim(this.client, this.run)).map(({ externalId }) => externalId);
  }
}

const ambiguous = { timeZone: 'Europe/London' };

test.each([
  ['by a server of the CRM whose clock is right', '2026-11-16T08:02:00Z', '2026-11-16T08:01:30Z'],
  [
    'in the hour that comes twice',
    canonicalTimestamp('2026-10-25T01:50:00', ambiguous),
    canonicalTimestamp('2026-10-25T01:10:00', ambiguous),
  ],
])('an edit that is stamped as older %s is read by its id, and applied', async (_, first, second) => {
  await atNine(async (client, clock) => {
    const { reader } = await start(client);
    const [before, after] = [sent('Ottoline Sprat', '"1"', first), sent('Ottoline Spratt', '"2"', second)];
    expect(await reader.read([before])).toEqual(['unknown']);
    expect(await reader.read([after])).toEqual(['older']);
    // The overlap of the next run reads it once more.
    await reader.next(clock);
    expect(await reader.askedFor()).toEqual([key.externalId]);
    expect(await reader.read([after], { isAskedFor: true })).toEqual(['changed']);
    expect(await reader.read([after])).toEqual(['unchanged']);
    await reader.next(clock);
    expect(await reader.askedFor()).toEqual([]);
    expect(await reader.read([after])).toEqual(['unchanged']);
  });
});

test('an old copy from a list is not applied, and what is read by its id shows that nothing has changed', async () => {
  await atNine(async (client, clock) => {
    const { reader } = await start(client);
    const current = sent('Ottoline Spratt', '"2"', '2026-11-16T08:02:00Z');
    const old = sent('Ottoline Sprat', '"1"', '2026-11-16T08:01:00Z');
    await reader.read([current]);
    expect(await reader.read([old])).toEqual(['older']);
    await reader.next(clock);
    expect(await reader.read([old])).toEqual(['older']);
    expect(await reader.askedFor()).toEqual([key.externalId]);
    expect(await reader.read([current], { isAskedFor: true })).toEqual(['unchanged']);
    await reader.next(clock);
    expect(await reader.askedFor()).toEqual([]);
  });
});

test('an old copy with the known content asks for nothing', async () => {
  await atNine(async (client, clock) => {
    const { reader } = await start(client);
    await reader.read([sent('Ottoline Sprat', '"2"', '2026-11-16T08:02:00Z')]);
    expect(await reader.read([sent('Ottoline Sprat', '"1"', '2026-11-16T08:01:00Z')])).toEqual(['older']);
    await reader.next(clock);
    expect(await reader.askedFor()).toEqual([]);
  });
});

test('a record that a webhook has named but no run was given does not excuse an old copy', async () => {
  await atNine(async (client) => {
    const { reader, organisationId } = await start(client);
    await reader.read([sent('Ottoline Spratt', '"2"', '2026-11-16T08:02:00Z')]);
    const { connectionId } = reader.run;
    await recordRequestAdd(client, { organisationId, connectionId, records: [key] });
    expect(await reader.read([sent('Ottoline Sprat', '"1"', '2026-11-16T08:01:00Z')])).toEqual(['older']);
  });
});

test('the example worker applies an edit that a clock of the CRM stamps as older than the last one', async () => {
  const { agency } = world;
  const { crm } = await agency.startAndConnect('reapit');
  const { externalId } = crm.create('Ottoline Sprat');
  let aheadMilliseconds = 120_000;
  agency.meddle = (client) => ({
    ...client,
    async readPage(entityType, from) {
      const page = await client.readPage(entityType, from);
      const modifiedAt = new Date(Date.now() + aheadMilliseconds).toISOString();
      return { ...page, records: page.records.map((record) => ({ ...record, modifiedAt })) };
    },
  });
  await agency.tick();
  const { 'Ottoline Sprat': contactId } = await agency.contacts();
  aheadMilliseconds = 0;
  crm.edit(externalId, 'Ottoline Spratt');
  for (let count = 0; count < 2; count += 1) await agency.tick();
  expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
});
