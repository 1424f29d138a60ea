import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  type BatchEvent,
  connectionDisconnect,
  connectionSetAccount,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactReferenceCheckMany,
  externalRecordCheckMany,
  externalRecordMergeMany,
  outboundChangeClaim,
  outboundChangeRecord,
  recordRequestAdd,
  type SyncEvent,
  syncBatchRecord,
  syncLogRecord,
  withOrganisation,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { eraseContacts, placesOf } from '../support/erasure.js';
import { useMember } from '../support/roles.js';
import { claimOne, makeDue } from '../support/sync.js';
import { type Agency, agencyWithOttoline } from './agency.js';

// The CRM still has the records of a person who was erased here, and shows them again.

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const app = useMember(database, 'crm_app');

let agency: Agency;
let landlord: string;

beforeEach(async () => {
  agency = await agencyWithOttoline(pool);
  const { organisationId, ottoline, duplicate, hers } = agency;
  landlord = hers.find((text) => text.startsWith('LANDLORD')) as string;
  await eraseContacts(pool, organisationId, [ottoline, duplicate]);
});

const decisionOn = async (externalId: string) => {
  const [record] = await externalRecordCheckMany(worker, {
    organisationId: agency.organisationId,
    provider: 'reapit',
    records: [{ entityType: 'contact', externalId }],
  });
  return record?.decision;
};

const inbound = (externalId: string, more: Partial<SyncEvent> = {}): SyncEvent =>
  ({
    direction: 'inbound',
    entityType: 'contact',
    externalId,
    internalId: agency.barnaby,
    status: 'success',
    ...more,
  }) as SyncEvent;

async function openRun() {
  await pool.query("update crm_connections set next_sync_at = now() + interval '1 day'");
  await pool.query('delete from crm_outbound_changes');
  await makeDue(pool, agency.reapit);
  return claimOne(worker);
}

const events = async () =>
  (
    await pool.query(
      `select external_id as "externalId", internal_id as "internalId", status, error, reason
       from crm_sync_log
       where connection_id = $1
       order by id desc`,
      [agency.reapit.connectionId],
    )
  ).rows;

const nothingOfHer = { externalId: null, internalId: null, status: 'skipped', error: null, reason: 'erased' };

test('the check of a record says contact_deleted, as of a contact that the host has deleted', async () => {
  expect(await decisionOn(landlord)).toBe('contact_deleted');
  expect(await decisionOn('NEWCOMER-1')).toBe('unknown');
});

test.each([
  ['a link', { linksContact: true }],
  ['a success without a link', {}],
  ['what the example worker records', { status: 'skipped', reason: 'erased' }],
  ['a failure', { status: 'error', error: { kind: 'internal', retryable: true, message: 'It failed.' } }],
  ['a push', { direction: 'outbound' }],
  ['a conflict', { status: 'skipped', reason: 'conflict' }],
] as const)('a batch records nothing of %s but a skipped event, and its other events', async (_, more) => {
  const run = await openRun();
  const recorded = await syncBatchRecord(worker, {
    ...run,
    batchNumber: 1,
    events: [
      inbound('NEWCOMER-2', { internalId: agency.barnaby }),
      inbound(landlord, more as Partial<SyncEvent>),
    ],
  });
  expect(recorded).toMatchObject({ outcome: 'recorded', conflicts: [] });
  expect(await placesOf(pool, landlord)).toEqual([]);
  expect((await events()).slice(0, 2)).toEqual([
    nothingOfHer,
    expect.objectContaining({ externalId: 'NEWCOMER-2', internalId: agency.barnaby }),
  ]);
  const { rows } = await pool.query(
    'select success_count as success, skipped_count as skipped, error_count as error from crm_sync_runs where id = $1',
    [run.runId],
  );
  expect(rows).toEqual([{ success: '1', skipped: '1', error: '0' }]);
});

describe('a push of a contact that stays, which came to the record of the erased one', () => {
  const claimChange = async () => {
    const { barnaby, reapit } = agency;
    const run = await openRun();
    await outboundChangeRecord(worker, { organisationId: reapit.organisationId, contactIds: [barnaby] });
    const [change] = await outboundChangeClaim(worker, { ...run, limit: 10 });
    return { run, changeVersion: change?.version as string };
  };
  const versions = async () =>
    (
      await pool.query('select contact_id as id from crm_outbound_changes where connection_id = $1', [
        agency.reapit.connectionId,
      ])
    ).rows;
  const push = (externalId: string, more: Partial<BatchEvent>) =>
    inbound(externalId, { direction: 'outbound', ...more } as Partial<SyncEvent>);

  test.each([
    ['succeeded', {}],
    ['was to link it', { linksContact: true }],
    ['failed', { status: 'error', error: { kind: 'internal', retryable: true, message: 'It failed.' } }],
  ] as const)('is over if it %s, without the id in the log', async (_, more) => {
    const { run, changeVersion } = await claimChange();
    expect(await versions()).toEqual([{ id: agency.barnaby }]);
    await syncBatchRecord(worker, {
      ...run,
      batchNumber: 1,
      events: [push(landlord, { changeVersion, ...more } as Partial<BatchEvent>)],
    });
    expect(await versions()).toEqual([]);
    expect((await events())[0]).toEqual(nothingOfHer);
    expect(await placesOf(pool, landlord)).toEqual([]);
  });

  test('stays owed if the contact was edited meanwhile', async () => {
    const { run, changeVersion } = await claimChange();
    await outboundChangeRecord(worker, {
      organisationId: agency.organisationId,
      contactIds: [agency.barnaby],
    });
    await syncBatchRecord(worker, { ...run, batchNumber: 1, events: [push(landlord, { changeVersion })] });
    expect(await versions()).toEqual([{ id: agency.barnaby }]);
  });

  test('stays owed if another push of the contact was based on an old version', async () => {
    const { run, changeVersion } = await claimChange();
    const { rows } = await pool.query(
      `update contact_external_ids
       set remote_version = '2'
       where contact_id = $1 and provider = 'reapit'
       returning external_id as id`,
      [agency.barnaby],
    );
    await syncBatchRecord(worker, {
      ...run,
      batchNumber: 1,
      events: [push(rows[0].id, { basedOnVersion: '1', changeVersion }), push(landlord, { changeVersion })],
    });
    expect(await versions()).toEqual([{ id: agency.barnaby }]);
  });
});

test('what a program logs without a run is a skipped event', async () => {
  await syncLogRecord(worker, { ...agency.reapit, events: [inbound(landlord), inbound('NEWCOMER-3')] });
  expect(await placesOf(pool, landlord)).toEqual([]);
  expect((await events()).slice(0, 2)).toEqual([
    expect.objectContaining({ externalId: 'NEWCOMER-3' }),
    nothingOfHer,
  ]);
});

test('it cannot be linked, as primary id or as alias, and the others of the call are', async () => {
  const { organisationId, barnaby } = agency;
  const link = (externalId: string) =>
    ({ provider: 'reapit', entityType: 'contact', externalId, contactId: barnaby }) as const;
  expect(
    await contactExternalIdLinkMany(worker, {
      organisationId,
      links: [link(landlord), link('NEWCOMER-4')],
      ifContactTaken: 'alias',
    }),
  ).toEqual([{ outcome: 'erased' }, { outcome: 'linked_as_alias' }]);
  await expect(contactExternalIdLink(worker, { organisationId, ...link(landlord) })).rejects.toMatchObject({
    code: 'record_erased',
  });
  for (const table of ['contact_external_ids', 'contact_external_id_aliases']) {
    // As a worker of an earlier release would.
    const { rowCount } = await worker.query(
      `insert into ${table} (organisation_id, provider, entity_type, external_id, contact_id)
       values ($1, 'reapit', 'contact', $2, $3) on conflict do nothing`,
      [organisationId, landlord, barnaby],
    );
    expect(rowCount).toBe(0);
  }
  expect(await placesOf(pool, landlord)).toEqual([]);
});

test('a webhook that names it asks for nothing', async () => {
  const records = [landlord, 'NEWCOMER-5'].map((externalId) => ({ entityType: 'contact', externalId }));
  expect(await recordRequestAdd(worker, { ...agency.reapit, records })).toMatchObject({
    added: 1,
    leftToSync: 0,
  });
  expect(await placesOf(pool, landlord)).toEqual([]);
});

test.each(['from', 'into'] as const)('a merge at the CRM %s it is unknown', async (side) => {
  const { organisationId, barnaby } = agency;
  const { rows } = await pool.query(
    "select external_id as id from contact_external_ids where contact_id = $1 and provider = 'reapit'",
    [barnaby],
  );
  const hers = { entityType: 'contact', externalId: landlord };
  const his = { entityType: 'contact', externalId: rows[0].id as string };
  const [merged] = await externalRecordMergeMany(worker, {
    organisationId,
    provider: 'reapit',
    merges: [side === 'from' ? { from: hers, into: his } : { from: his, into: hers }],
  });
  expect(merged).toMatchObject({ outcome: 'unknown' });
  expect(await placesOf(pool, landlord)).toEqual([]);
});

test('it is another record in another account of the CRM', async () => {
  const { organisationId } = agency;
  expect(await decisionOn(landlord)).toBe('contact_deleted');
  // Unknown accounts count as the same.
  await connectionSetAccount(pool, { ...agency.reapit, account: 'first' });
  expect(await decisionOn(landlord)).toBe('contact_deleted');
  await pool.query("update crm_erased_records set account = 'first' where organisation_id = $1", [
    organisationId,
  ]);
  expect(await decisionOn(landlord)).toBe('contact_deleted');
  await connectionDisconnect(pool, agency.reapit);
  const other = await connect(pool, organisationId, 'reapit');
  await connectionSetAccount(pool, { ...other, account: 'second' });
  expect(await decisionOn(landlord)).toBe('unknown');
});

test('what is logged under an earlier connection is compared with its account', async () => {
  const { organisationId, contactIds } = await createTenant(pool, 2);
  const [ottoline, barnaby] = contactIds as [string, string];
  const connectTo = async (account: string) => {
    const connection = await connect(pool, organisationId, 'alto');
    await connectionSetAccount(pool, { ...connection, account });
    return connection;
  };
  const link = (contactId: string) =>
    contactExternalIdLink(pool, {
      organisationId,
      provider: 'alto',
      entityType: 'contact',
      externalId: 'SHARED-ID',
      contactId,
    });
  const first = await connectTo('first');
  await link(ottoline);
  await connectionDisconnect(pool, first);
  const second = await connectTo('second');
  await link(barnaby);
  await eraseContacts(pool, organisationId, [ottoline]);

  const late = inbound('SHARED-ID', { internalId: null } as Partial<SyncEvent>);
  await syncLogRecord(worker, { ...first, events: [late] });
  await syncLogRecord(worker, { ...second, events: [late] });
  const { rows } = await pool.query(
    `select connection_id as connection, external_id as record, reason
     from crm_sync_log where organisation_id = $1 order by id`,
    [organisationId],
  );
  expect(rows).toEqual([
    { connection: first.connectionId, record: null, reason: 'erased' },
    { connection: second.connectionId, record: 'SHARED-ID', reason: null },
  ]);
});

test('a batch deletes what is still kept of the record: its failure, request and conflict', async () => {
  const { organisationId, reapit, barnaby } = agency;
  const run = await openRun();
  // As after a restore, or by a worker of an earlier release.
  const records = [landlord, 'NEWCOMER-7'];
  await pool.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
     select $1, $2, direction, 'contact', id, 1, '{"kind":"internal","retryable":true,"message":"It failed."}', now(), now(), now()
     from unnest($3::text[], array['inbound', 'inbound', 'outbound']) as failing (id, direction)
     on conflict on constraint crm_sync_failures_pkey do nothing`,
    [organisationId, reapit.connectionId, [...records, barnaby]],
  );
  await pool.query(
    `insert into crm_record_requests (organisation_id, connection_id, entity_type, external_id, requested_at)
     select $1, $2, 'contact', id, now() from unnest($3::text[]) as id`,
    [organisationId, reapit.connectionId, records],
  );
  await pool.query(
    `insert into crm_sync_conflicts (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at)
     select $1, $2, 'contact', id, $4, 'crm', now(), now() from unnest($3::text[]) as id`,
    [organisationId, reapit.connectionId, records, barnaby],
  );
  expect(await placesOf(pool, landlord)).toHaveLength(3);
  await syncBatchRecord(worker, { ...run, batchNumber: 1, events: [inbound(landlord)] });
  expect(await placesOf(pool, landlord)).toEqual([]);
  expect(await placesOf(pool, 'NEWCOMER-7')).toHaveLength(3);
  const failures = async () =>
    (
      await pool.query(
        "select record_id as id from crm_sync_failures where connection_id = $1 and direction = 'outbound'",
        [reapit.connectionId],
      )
    ).rows;
  expect(await failures()).toEqual([{ id: barnaby }]);

  // A push that was to be tried again is over, unless another one of the contact has failed.
  const push = (externalId: string, more: object = {}) =>
    inbound(externalId, { direction: 'outbound', ...more } as Partial<SyncEvent>);
  const failed = { status: 'error', error: { kind: 'internal', retryable: true, message: 'It failed.' } };
  await syncBatchRecord(worker, {
    ...run,
    batchNumber: 2,
    events: [push('NEWCOMER-8', failed), push(landlord)],
  });
  expect(await failures()).toEqual([{ id: barnaby }]);
  await syncBatchRecord(worker, { ...run, batchNumber: 3, events: [push(landlord)] });
  expect(await failures()).toEqual([]);
});

describe('the id of an erased contact, which records may carry', () => {
  const meaningOf = async (contactId: string, organisationId = agency.organisationId) => {
    const references = [{ entityType: 'contact', externalId: 'IN-FLIGHT', contactId }];
    const [found] = await contactReferenceCheckMany(worker, {
      organisationId,
      provider: 'reapit',
      references,
    });
    return found?.meaning;
  };

  test('stays known, also that of a contact that was merged into hers, and in no other organisation', async () => {
    const { ottoline, duplicate } = agency;
    const other = await agencyWithOttoline(pool);
    await eraseContacts(pool, other.organisationId, [other.ottoline, other.duplicate]);
    for (const contactId of [ottoline, duplicate]) {
      expect(await meaningOf(contactId)).toBe('contact');
      expect(await meaningOf(contactId, other.organisationId)).toBe('unknown');
    }
    expect(await meaningOf(randomUUID())).toBe('unknown');
  });

  test('is logged neither by a batch nor without a run, and nothing is linked to it', async () => {
    const { ottoline, reapit } = agency;
    const run = await openRun();
    const inFlight = inbound('IN-FLIGHT', { internalId: ottoline, linksContact: true } as Partial<SyncEvent>);
    const pushed = { ...inFlight, direction: 'outbound' } as SyncEvent;
    expect(
      await syncBatchRecord(worker, { ...run, batchNumber: 1, events: [inFlight, pushed] }),
    ).toMatchObject({
      outcome: 'recorded',
      conflicts: [],
    });
    await syncLogRecord(worker, { ...reapit, events: [inbound('IN-FLIGHT', { internalId: ottoline })] });
    expect((await events()).slice(0, 3)).toEqual(Array(3).fill(nothingOfHer));
    expect(await placesOf(pool, ottoline)).toEqual([]);
    expect(await placesOf(pool, 'IN-FLIGHT')).toEqual([]);
  });

  test('is not pushed while the host still has the contact, and its change is dropped', async () => {
    const { organisationId, ottoline, barnaby } = agency;
    const run = await openRun();
    await outboundChangeRecord(worker, { organisationId, contactIds: [ottoline, barnaby] });
    expect(await outboundChangeClaim(worker, { ...run, limit: 10 })).toMatchObject([{ contactId: barnaby }]);
    const { rows } = await pool.query(
      'select contact_id as id from crm_outbound_changes where connection_id = $1',
      [run.connectionId],
    );
    expect(rows).toEqual([{ id: barnaby }]);
  });

  test('means somebody again once a person has linked a record to it', async () => {
    const { organisationId, ottoline } = agency;
    await contactExternalIdLink(worker, {
      organisationId,
      provider: 'street',
      entityType: 'contact',
      externalId: 'BACK-AGAIN',
      contactId: ottoline,
    });
    const run = await openRun();
    await syncBatchRecord(worker, {
      ...run,
      batchNumber: 1,
      events: [inbound('NEWCOMER-9', { internalId: ottoline })],
    });
    expect((await events())[0]).toMatchObject({ externalId: 'NEWCOMER-9', internalId: ottoline });
  });

  test('is unknown once the owner has readmitted it', async () => {
    const { organisationId, ottoline } = agency;
    const readmit = async () =>
      (await pool.query('select crm_readmit_contact($1, $2) as was', [organisationId, ottoline])).rows[0].was;
    expect(await readmit()).toBe(true);
    expect(await readmit()).toBe(false);
    expect(await meaningOf(ottoline)).toBe('unknown');
    await expect(
      worker.query('select crm_readmit_contact($1, $2)', [organisationId, ottoline]),
    ).rejects.toMatchObject({ code: '42501' });
  });
});

test('it is unknown to other organisations', async () => {
  const other = await agencyWithOttoline(pool);
  const [record] = await externalRecordCheckMany(worker, {
    organisationId: other.organisationId,
    provider: 'reapit',
    records: [{ entityType: 'contact', externalId: landlord }],
  });
  expect(record?.decision).toBe('unknown');
});

test('a link that waits for an erasure is refused', async () => {
  const other = await agencyWithOttoline(pool);
  const { organisationId, ottoline, duplicate, barnaby } = other;
  const hers = other.hers.find((text) => text.startsWith('LANDLORD')) as string;
  const eraser = await pool.connect();
  try {
    await eraser.query('begin');
    await eraseContacts(eraser, organisationId, [ottoline, duplicate]);
    const linking = contactExternalIdLinkMany(worker, {
      organisationId,
      links: [{ provider: 'reapit', entityType: 'contact', externalId: hers, contactId: barnaby }],
      ifContactTaken: 'alias',
    });
    await eraser.query('select pg_sleep(0.3)');
    await eraser.query('commit');
    expect(await linking).toEqual([{ outcome: 'erased' }]);
  } finally {
    eraser.release();
  }
  expect(await placesOf(pool, hers)).toEqual([]);
});

test('an erasure waits for a link of the person, and erases it', async () => {
  const other = await agencyWithOttoline(pool);
  const { organisationId, ottoline, duplicate } = other;
  const linker = await pool.connect();
  try {
    await linker.query('begin');
    await contactExternalIdLinkMany(linker, {
      organisationId,
      links: [
        { provider: 'reapit', entityType: 'contact', externalId: 'LINKED-MEANWHILE', contactId: ottoline },
      ],
      ifContactTaken: 'alias',
    });
    const erasing = eraseContacts(pool, organisationId, [ottoline, duplicate]);
    await linker.query('select pg_sleep(0.3)');
    await linker.query('commit');
    await erasing;
  } finally {
    linker.release();
  }
  expect(await placesOf(pool, 'LINKED-MEANWHILE')).toEqual([]);
});

test('it can be linked again once the owner has readmitted it', async () => {
  const { organisationId, barnaby } = agency;
  const readmit = async () =>
    (
      await pool.query("select crm_readmit_record($1, 'reapit', 'contact', $2) as was", [
        organisationId,
        landlord,
      ])
    ).rows[0].was;
  expect(await readmit()).toBe(true);
  expect(await readmit()).toBe(false);
  expect(await decisionOn(landlord)).toBe('unknown');
  await expect(
    worker.query("select crm_readmit_record($1, 'reapit', 'contact', $2)", [organisationId, landlord]),
  ).rejects.toMatchObject({ code: '42501' });
  await contactExternalIdLinkMany(worker, {
    organisationId,
    links: [{ provider: 'reapit', entityType: 'contact', externalId: landlord, contactId: barnaby }],
    ifContactTaken: 'alias',
  });
  expect(await placesOf(pool, landlord)).toHaveLength(1);
});

describe('a user of crm_app', () => {
  const ask = (client: pg.ClientBase) =>
    client.query("select crm_find_erased_records($1, '{reapit}', '{contact}', array[$2])", [
      agency.organisationId,
      landlord,
    ]);

  test('learns of the erased records of the organisation that is set', async () => {
    await withOrganisation(app, agency.organisationId, async (client) => {
      expect((await ask(client as pg.ClientBase)).rowCount).toBe(1);
    });
  });

  test.each(['another', 'none'])('is refused while %s is set', async (set) => {
    const other = await agencyWithOttoline(pool);
    const client = await app.connect();
    try {
      await client.query('begin');
      if (set === 'another') await client.query('select crm_set_organisation($1)', [other.organisationId]);
      await expect(ask(client)).rejects.toMatchObject({ code: 'CRM05' });
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

test('a superuser who has taken the role crm_app is refused as well', async () => {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await client.query('set local role crm_app');
    await expect(
      client.query("select crm_find_erased_records($1, '{reapit}', '{contact}', array[$2])", [
        agency.organisationId,
        landlord,
      ]),
    ).rejects.toMatchObject({ code: 'CRM05' });
  } finally {
    await client.query('rollback');
    client.release();
  }
});

describe('what waits for an erasure', () => {
  /** Calls while an erasure is not committed yet, and returns what it answered once that has been committed. */
  async function duringErasure<T>(other: Agency, call: () => Promise<T>): Promise<T> {
    const { organisationId, ottoline, duplicate } = other;
    const eraser = await pool.connect();
    try {
      await eraser.query('begin');
      await eraseContacts(eraser, organisationId, [ottoline, duplicate]);
      let isAnswered = false;
      const answer = call().finally(() => {
        isAnswered = true;
      });
      await eraser.query('select pg_sleep(0.3)');
      expect(isAnswered).toBe(false);
      await eraser.query('commit');
      return await answer;
    } finally {
      eraser.release();
    }
  }
  const recordOf = (other: Agency, name: string) =>
    other.hers.find((text) => text.startsWith(name)) as string;

  test('a request for a record of the person asks for nothing', async () => {
    const other = await agencyWithOttoline(pool);
    const hers = recordOf(other, 'LANDLORD');
    const records = [hers, 'NEWCOMER-6'].map((externalId) => ({ entityType: 'contact', externalId }));
    const asked = await duringErasure(other, () => recordRequestAdd(worker, { ...other.reapit, records }));
    expect(asked).toMatchObject({ added: 1 });
    expect(await placesOf(pool, hers)).toEqual([]);
  });

  test('an event of a record of the person is logged without the id', async () => {
    const other = await agencyWithOttoline(pool);
    const hers = recordOf(other, 'APPLICANT');
    const failed = {
      status: 'error',
      error: { kind: 'internal', retryable: true, message: 'It failed.' },
    } as const;
    await duringErasure(other, () =>
      syncLogRecord(worker, { ...other.reapit, events: [inbound(hers, failed as Partial<SyncEvent>)] }),
    );
    expect(await placesOf(pool, hers)).toEqual([]);
  });
});

test('an erasure waits for what is logged of the person, and erases it', async () => {
  const other = await agencyWithOttoline(pool);
  const { organisationId, ottoline, duplicate, reapit } = other;
  const logger = await pool.connect();
  try {
    await logger.query('begin');
    await syncLogRecord(logger, {
      ...reapit,
      events: [inbound('LOGGED-MEANWHILE', { internalId: ottoline })],
    });
    const erasing = eraseContacts(pool, organisationId, [ottoline, duplicate]);
    await logger.query('select pg_sleep(1.5)');
    await logger.query('commit');
    await erasing;
  } finally {
    logger.release();
  }
  expect(await placesOf(pool, 'LOGGED-MEANWHILE')).toEqual([]);
});
