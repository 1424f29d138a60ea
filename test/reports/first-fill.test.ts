/**
 * Symptom: an agency connects its CRM when it has had contacts in NurtureHub for years, and the CRM gets none of them:
 * only contacts that are edited later. Recording a change of every contact pushes them all, but to every other CRM of the
 * agency as well, in one transaction, and nobody can see how far it is.
 *
 * Source: issue 16, row 8; the first export of OCA's connectors and of MinnPost's Salesforce sync, which has to be
 * started by hand, again after each interruption. Tried on 1.4.0.
 *
 * Input: an agency with contacts and one CRM connects another; while the fill runs, contacts are created, edited, deleted,
 * merged and linked, workers die or run side by side, the CRM loses answers, and somebody disconnects.
 *
 * Right: each contact without a record there becomes one record, once; the other CRM gets nothing; the fill goes on where
 * it stopped, and everybody can see how far it is.
 */
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { withClient } from '../../dev/database.js';
import { CrmError } from '../../examples/crm.js';
import {
  type ConnectionKey,
  connectionConnect,
  connectionDisconnect,
  connectionListWithHealth,
  contactExternalIdLink,
  contactMerge,
  outboundChangeRecord,
  outboundFillContinue,
  outboundFillStart,
  type Queryable,
  syncRunClaim,
  withOrganisation,
} from '../../src/index.js';
import { Agency } from '../simulated-crm/agency.js';
import { runCli } from '../support/cli.js';
import { encryptCredentials } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool, url } = database;
const app = useMember(database, 'crm_app');
const worker = useMember(database, 'crm_worker');
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker, crm_app');
});

/** Creates contacts that no CRM has. */
async function addContacts(client: Queryable, organisationId: string, count: number): Promise<string[]> {
  const ids = Array.from({ length: count }, () => randomUUID()).toSorted();
  await (client as pg.Pool).query(
    "insert into contacts (id, organisation_id, name) select id, $1, 'Contact ' || id from unnest($2::uuid[]) as id",
    [organisationId, ids],
  );
  return ids;
}

describe('with the example worker', () => {
  let agency: Agency;
  beforeEach(async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    agency = await Agency.create(pool, worker);
  });
  afterEach(() => agency.stop());

  const start = ({ organisationId, connectionId }: ConnectionKey) =>
    outboundFillStart(pool, { organisationId, connectionId });

  test('each contact that has no record becomes one, and no other CRM is written to', async () => {
    const loop = await agency.startAndConnect('loop');
    loop.crm.create('Ottoline Sprat');
    const contactIds = await addContacts(pool, agency.organisationId, 230);
    await agency.tick();
    const reapit = await agency.startAndConnect('reapit');
    reapit.crm.create('Barnaby Quince');
    await agency.tick();
    const before = loop.crm.writes.length;
    await start(reapit);
    await agency.tick();
    const names = [...contactIds.map((id) => `Contact ${id}`), 'Barnaby Quince', 'Ottoline Sprat'];
    expect(
      reapit.crm
        .records()
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(names.toSorted());
    expect(loop.crm.writes).toHaveLength(before);
    expect(await agency.failures()).toEqual([]);
  });

  test('a contact whose answer was lost becomes one record all the same', async () => {
    const reapit = await agency.startAndConnect('reapit');
    const contactIds = await addContacts(pool, agency.organisationId, 5);
    await agency.tick();
    await start(reapit);
    let lost = 0;
    agency.meddle = (client) => ({
      ...client,
      async write(contact, record) {
        const written = await client.write(contact, record);
        lost += 1;
        if (lost <= 3) throw new CrmError('timeout', 'No answer.', { retryable: true });
        return written;
      },
    });
    for (let count = 0; count < 5; count += 1) await agency.tick();
    expect(
      reapit.crm
        .records()
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(contactIds.map((id) => `Contact ${id}`));
    expect(await agency.failures()).toEqual([]);
  });

  test('a fill goes on after the CRM was disconnected and connected again', async () => {
    const crm = await agency.start('reapit');
    const first = await agency.connect(crm);
    const contactIds = await addContacts(pool, agency.organisationId, 30);
    await agency.tick();
    await start(first);
    await outboundFillContinue(pool, {
      organisationId: agency.organisationId,
      connectionId: first.connectionId,
      limit: 10,
    });
    await agency.disconnect(first);
    await agency.connect(crm);
    for (let count = 0; count < 2; count += 1) await agency.tick();
    expect(
      crm
        .records()
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual(contactIds.map((id) => `Contact ${id}`));
  });
});

let organisationId: string;
let contactIds: string[];
let key: ConnectionKey;
beforeEach(async () => {
  await pool.query('truncate crm_outbound_changes, crm_sync_failures, crm_sync_runs');
  // Connections of other tests are not due.
  await pool.query(
    `update crm_connections
     set status = 'disconnected', disconnected_at = now(), credentials = null
     where status <> 'disconnected'`,
  );
  ({ organisationId } = await createTenant(pool));
  contactIds = await addContacts(pool, organisationId, 10);
  key = await connect();
  await connect('alto');
});

async function connect(provider: 'reapit' | 'alto' = 'reapit', account = 'AAA') {
  const key = { organisationId, connectionId: randomUUID() };
  const credentials = await encryptCredentials({ ...key, provider });
  const idsOfUnknownAccount = 'keep';
  return {
    ...key,
    ...(await connectionConnect(pool, { ...key, provider, credentials, account, idsOfUnknownAccount })),
  };
}

/** The contacts that wait to be pushed, in order, and to which connections. */
async function waiting() {
  const { rows } = await pool.query(
    'select contact_id, connection_id from crm_outbound_changes where organisation_id = $1 order by contact_id',
    [organisationId],
  );
  const connections = new Set(rows.map(({ connection_id }) => connection_id));
  return { contacts: rows.map(({ contact_id }) => contact_id), connections: [...connections] };
}

const next = (client: Queryable = pool, limit = 4) => outboundFillContinue(client, { ...key, limit });

const link = (contactId: string, externalId: string) =>
  contactExternalIdLink(pool, {
    organisationId,
    provider: 'reapit',
    entityType: 'contact',
    externalId,
    contactId,
  });

const health = async () => {
  const all = await connectionListWithHealth(pool, { organisationId, failuresSince: '2026-01-01T00:00:00Z' });
  return (
    all.find(({ connectionId }) => connectionId === key.connectionId) ?? expect.unreachable('not listed')
  );
};

describe('outboundChangeRecord', () => {
  test('with toConnectionId records a contact for that connection alone', async () => {
    const [contactId = ''] = contactIds;
    const { connectionId: toConnectionId } = key;
    expect(
      await outboundChangeRecord(pool, { organisationId, contactIds: [contactId], toConnectionId }),
    ).toEqual([{ contactId, connectionId: toConnectionId }]);
    expect(await waiting()).toEqual({ contacts: [contactId], connections: [toConnectionId] });
  });

  test.each<[string, () => Promise<string>]>([
    ['nobody’s connection', async () => randomUUID()],
    [
      'a connection of another organisation',
      async () => {
        const { organisationId: other } = await createTenant(pool);
        const theirs = { organisationId: other, connectionId: randomUUID() };
        const credentials = await encryptCredentials({ ...theirs, provider: 'reapit' });
        await connectionConnect(pool, { ...theirs, provider: 'reapit', credentials });
        return theirs.connectionId;
      },
    ],
  ])('refuses %s as toConnectionId', async (_, other) => {
    const toConnectionId = await other();
    await expect(
      outboundChangeRecord(pool, { organisationId, contactIds, toConnectionId }),
    ).rejects.toMatchObject({ code: 'connection_not_live' });
    expect((await waiting()).contacts).toEqual([]);
  });

  test.each([
    ['an invalid toConnectionId', () => ({ toConnectionId: '1' })],
    [
      'the same connection from and to',
      () => ({ toConnectionId: key.connectionId, fromConnectionId: key.connectionId }),
    ],
  ])('refuses %s', async (_, wrong) => {
    await expect(
      outboundChangeRecord(pool, { organisationId, contactIds, ...wrong() }),
    ).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

describe('outboundFillStart', () => {
  test('makes the connection due, and does nothing the second time', async () => {
    await pool.query("update crm_connections set next_sync_at = now() + interval '1 day'");
    const started = await outboundFillStart(pool, key);
    expect(started).toMatchObject({ queuedInAll: 0, finishedAt: null });
    const runs = await syncRunClaim(pool, { worker: 'test' });
    expect(runs).toMatchObject([{ connectionId: key.connectionId }]);
    await next();
    expect(await outboundFillStart(pool, key)).toEqual({ ...started, queuedInAll: 4 });
    expect(await next()).toMatchObject({ outcome: 'continued', queued: 4, queuedInAll: 8 });
  });

  test('begins again after a finished fill only if asked to', async () => {
    await outboundFillStart(pool, key);
    expect(await next(pool, 100)).toEqual({ outcome: 'finished', queued: 10, queuedInAll: 10 });
    expect(await outboundFillStart(pool, key)).toMatchObject({
      queuedInAll: 10,
      finishedAt: expect.any(String),
    });
    expect(await next()).toEqual({ outcome: 'finished', queued: 0, queuedInAll: 10 });
    await pool.query('truncate crm_outbound_changes');
    expect(await outboundFillStart(pool, { ...key, isRepeat: true })).toMatchObject({ finishedAt: null });
    expect(await next(pool, 100)).toEqual({ outcome: 'finished', queued: 10, queuedInAll: 10 });
  });

  test.each<[string, (client: Queryable) => Promise<unknown>]>([
    ['outboundFillStart', (client) => outboundFillStart(client, key)],
    ['outboundFillContinue', (client) => outboundFillContinue(client, key)],
  ])('refuses a disconnected connection: %s', async (_, call) => {
    await connectionDisconnect(pool, key);
    await expect(call(pool)).rejects.toMatchObject({ code: 'connection_not_live' });
  });

  test('is for the application and the worker', async () => {
    await withOrganisation(app, organisationId, (client) => outboundFillStart(client, key));
    expect(await withOrganisation(app, organisationId, (client) => next(client))).toMatchObject({
      queued: 4,
    });
    expect(await next(worker)).toMatchObject({ queued: 4 });
  });
});

describe('outboundFillContinue', () => {
  test('does nothing if no fill was started', async () => {
    expect(await next()).toEqual({ outcome: 'not_started', queued: 0, queuedInAll: 0 });
    expect((await waiting()).contacts).toEqual([]);
  });

  test('records each contact once, a page at a time, for this connection alone', async () => {
    await outboundFillStart(pool, key);
    const outcomes: unknown[] = [];
    for (let page = 0; page < 4; page += 1) outcomes.push(await next());
    expect(outcomes).toEqual([
      { outcome: 'continued', queued: 4, queuedInAll: 4 },
      { outcome: 'continued', queued: 4, queuedInAll: 8 },
      { outcome: 'finished', queued: 2, queuedInAll: 10 },
      { outcome: 'finished', queued: 0, queuedInAll: 10 },
    ]);
    expect(await waiting()).toEqual({ contacts: contactIds, connections: [key.connectionId] });
  });

  test('leaves out contacts with any record there: a primary id, an alias, a tombstone', async () => {
    const [primary = '', alias = '', deleted = '', elsewhere = ''] = contactIds;
    await link(primary, 'OXF1');
    await link(deleted, 'OXF2');
    await pool.query("update contact_external_ids set remote_state = 'deleted' where external_id = 'OXF2'");
    await pool.query(
      `insert into contact_external_id_aliases (organisation_id, provider, entity_type, external_id, contact_id)
       values ($1, 'reapit', 'landlord', 'OXF3', $2)`,
      [organisationId, alias],
    );
    await contactExternalIdLink(pool, {
      organisationId,
      provider: 'alto',
      entityType: 'contact',
      externalId: '1',
      contactId: elsewhere,
    });
    await outboundFillStart(pool, key);
    expect(await next(pool, 100)).toMatchObject({ outcome: 'finished', queued: 7 });
    expect((await waiting()).contacts).toEqual(contactIds.slice(3));
  });

  test('does nothing while enough changes wait', async () => {
    await outboundFillStart(pool, key);
    const page = () => outboundFillContinue(pool, { ...key, limit: 4, maxWaiting: 6 });
    expect(await page()).toMatchObject({ outcome: 'continued', queued: 4 });
    expect(await page()).toMatchObject({ outcome: 'continued', queued: 4 });
    expect(await page()).toEqual({ outcome: 'waiting', queued: 0, queuedInAll: 8 });
    await pool.query('delete from crm_outbound_changes where contact_id <> $1', [contactIds[0]]);
    expect(await page()).toMatchObject({ outcome: 'finished', queued: 2 });
  });

  test('neither loses nor repeats contacts that are edited, created, linked, merged or deleted meanwhile', async () => {
    const [edited = '', , , , mergedAway = '', remaining = '', linked = '', gone = ''] = contactIds;
    await outboundFillStart(pool, key);
    await next();
    // Before and behind the position.
    const added = await addContacts(pool, organisationId, 6);
    await outboundChangeRecord(pool, { organisationId, contactIds: [edited, ...added] });
    await pool.query('delete from crm_outbound_changes where connection_id <> $1', [key.connectionId]);
    await link(linked, 'OXF1');
    await contactMerge(pool, { organisationId, fromContactId: mergedAway, intoContactId: remaining });
    await pool.query('delete from contacts where id = any($1)', [[mergedAway, gone]]);
    while ((await next()).outcome !== 'finished');
    const expected = [...contactIds, ...added].filter((id) => ![mergedAway, linked, gone].includes(id));
    expect((await waiting()).contacts).toEqual(expected.toSorted());
  });

  test('two at once take different pages', async () => {
    await outboundFillStart(pool, key);
    await withClient(url, (one) =>
      withClient(url, async (other) => {
        await one.query('begin');
        expect(await next(one)).toMatchObject({ queued: 4, queuedInAll: 4 });
        const second = next(other);
        await waitUntilBlocked(url, other);
        await one.query('commit');
        expect(await second).toMatchObject({ queued: 4, queuedInAll: 8 });
      }),
    );
    expect((await waiting()).contacts).toEqual(contactIds.slice(0, 8));
  });

  test('waits for a contact that is being deleted, and leaves it out', async () => {
    await outboundFillStart(pool, key);
    await withClient(url, (host) =>
      withClient(url, async (client) => {
        await host.query('begin');
        await host.query('delete from contacts where id = $1', [contactIds[1]]);
        const page = next(client);
        await waitUntilBlocked(url, client);
        await host.query('commit');
        expect(await page).toMatchObject({ outcome: 'continued', queued: 3 });
      }),
    );
    while ((await next()).outcome !== 'finished');
    expect((await waiting()).contacts).toEqual(contactIds.toSpliced(1, 1));
  });

  test('goes on where it stopped once the same account is connected again, and not for another account', async () => {
    await outboundFillStart(pool, key);
    await next();
    await connectionDisconnect(pool, key);
    key = await connect();
    expect(await next()).toEqual({ outcome: 'continued', queued: 4, queuedInAll: 8 });
    expect((await waiting()).contacts).toEqual(contactIds.slice(0, 8));
    await connectionDisconnect(pool, key);
    key = await connect('reapit', 'BBB');
    expect(await next()).toEqual({ outcome: 'not_started', queued: 0, queuedInAll: 0 });
    expect((await waiting()).contacts).toEqual([]);
  });
});

test('connectionListWithHealth and crm-schema health show how far a fill is', async () => {
  expect(await health()).toMatchObject({ fillStartedAt: null, filledContacts: null, fillFinishedAt: null });
  const { startedAt: fillStartedAt } = await outboundFillStart(pool, key);
  await next();
  expect(await health()).toMatchObject({ fillStartedAt, filledContacts: 4, fillFinishedAt: null });
  const report = async () => {
    const { stdout } = await runCli(['health', '--organisation', organisationId], { DATABASE_URL: url });
    return stdout.replaceAll(/\s+/g, ' ');
  };
  expect(await report()).toMatch(/First fill under way since [^:]+:\d\d UTC \([^)]+\): 4 contacts recorded/);
  await next(pool, 100);
  expect(await health()).toMatchObject({ filledContacts: 10, fillFinishedAt: expect.any(String) });
  expect(await report()).toMatch(/First fill finished [^:]+:\d\d UTC \([^)]+\): 10 contacts recorded/);
});
