/**
 * Symptom: an agency's access breaks, somebody disconnects the CRM and connects it again, and edits that were made in
 * between are gone. They were never pushed; then the first read brought the CRM's older values back, and from here those
 * went to the agency's other CRMs. Nothing said that anything had been dropped.
 *
 * Source: issue 16, row 2; the same was asked of OCA's connectors and of Mautic's CRM plugins when they are switched off
 * and on again. Tried on 1.4.0.
 *
 * Input: contacts are edited before and while a CRM is disconnected, with pushes that failed; the same account is
 * connected again, or another one, or nobody says which; or nothing is connected for 90 days.
 *
 * Right: disconnecting says how many wait. The same account is pushed to first, and nothing is lost, here or there.
 * Another account gets none of it, and connecting says how many were dropped. After 90 days they are dropped, a part at
 * a time.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type pg from 'pg';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { withClient } from '../../dev/database.js';
import { CrmError } from '../../examples/crm.js';
import { credentialsReplace } from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionConnect,
  connectionDisconnect,
  connectionListWithHealth,
  connectionSetAccount,
  outboundChangeAnnounce,
  outboundChangeClaim,
  outboundChangeListWaiting,
  outboundChangeRecord,
  type Provider,
  type Queryable,
  syncBatchRecord,
  syncFailureDismiss,
  syncFailureList,
  syncRunClaim,
  syncRunFinish,
  withOrganisation,
} from '../../src/index.js';
import { Agency } from '../simulated-crm/agency.js';
import { runCli } from '../support/cli.js';
import { nine } from '../support/clock.js';
import { encryptCredentials, sampleCredentials, testKeyRing } from '../support/credentials.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { useMember } from '../support/roles.js';
import { claimOne, makeDue, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool, url } = database;
const { atNine } = syncSetup(database);
const app = useMember(database, 'crm_app');
const worker = useMember(database, 'crm_worker');
beforeAll(async () => {
  await pool.query('grant select, insert, update, delete on contacts to crm_worker');
});

const day = 24 * 3600;

describe('with the example worker', () => {
  let agency: Agency;
  beforeEach(async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    agency = await Agency.create(pool, worker);
  });
  afterEach(() => agency.stop());

  test.each(['reapit', 'street', 'alto'] as const)(
    'edits before and after disconnecting reach the same account of %s, and no older value comes back',
    async (provider) => {
      const crm = await agency.start(provider);
      crm.create('Ottoline Sprat');
      crm.create('Barnaby Quince');
      const { crm: other } = await agency.startAndConnect('custom');
      const connected = await agency.connect(crm);
      await agency.tick();
      const { 'Ottoline Sprat': ottoline = '', 'Barnaby Quince': barnaby = '' } = await agency.contacts();
      await agency.rename(ottoline, 'Ottoline Spratt');
      await agency.disconnect(connected);
      await agency.rename(barnaby, 'Barnaby Quints');
      await agency.tick();
      expect(await agency.connect(crm)).toMatchObject({ waitingChanges: 2, droppedChanges: 0 });
      for (let count = 0; count < 3; count += 1) await agency.tick();
      const names = ['Barnaby Quints', 'Ottoline Spratt'];
      expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': ottoline, 'Barnaby Quints': barnaby });
      for (const each of [crm, other])
        expect(
          each
            .records()
            .map(({ name }) => name)
            .toSorted(),
        ).toEqual(names);
    },
  );

  test('a push that failed before disconnecting is tried again, and the older value does not come back', async () => {
    const { crm, ...connected } = await agency.startAndConnect('reapit');
    crm.create('Ottoline Sprat');
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await agency.rename(contactId, 'Ottoline Spratt');
    agency.meddle = (client) => ({
      ...client,
      write: () => Promise.reject(new CrmError('provider', 'Not now.', { retryable: true })),
    });
    await agency.tick();
    expect(await agency.failures()).toMatchObject([{ direction: 'outbound', recordId: contactId }]);
    agency.meddle = undefined;
    await agency.disconnect(connected);
    expect(await agency.connect(crm)).toMatchObject({ waitingChanges: 1 });
    for (let count = 0; count < 3; count += 1) await agency.tick();
    expect(await agency.contacts()).toEqual({ 'Ottoline Spratt': contactId });
    expect(crm.records()).toMatchObject([{ name: 'Ottoline Spratt' }]);
    expect(await agency.failures()).toEqual([]);
  });

  test('another account gets none of it', async () => {
    const first = await agency.start('reapit', { account: 'AAA' });
    const second = await agency.start('reapit', { account: 'BBB' });
    first.create('Ottoline Sprat');
    second.create('Zebedee Moss');
    const connected = await agency.connect(first);
    await agency.tick();
    const { 'Ottoline Sprat': contactId = '' } = await agency.contacts();
    await agency.disconnect(connected);
    await agency.rename(contactId, 'Ottoline Spratt');
    expect(await agency.connect(second)).toMatchObject({ waitingChanges: 0, droppedChanges: 1 });
    await agency.tick();
    expect(second.records()).toMatchObject([{ name: 'Zebedee Moss' }]);
  });
});

/** The host writes contacts through its own trigger, or calls outboundChangeRecord. */
const recorders: [string, (client: pg.Client, tenant: Tenant, contactIds: string[]) => Promise<unknown>][] = [
  [
    'outboundChangeRecord',
    (client, { organisationId }, contactIds) => outboundChangeRecord(client, { organisationId, contactIds }),
  ],
  [
    'the trigger of examples/contacts-trigger.sql',
    (client, _, contactIds) =>
      client.query("update contacts set name = name || '!' where id = any($1)", [contactIds]),
  ],
];

interface Tenant {
  organisationId: string;
  contactIds: string[];
}

let tenant: Tenant;
beforeEach(async () => {
  await pool.query('truncate crm_outbound_changes, crm_sync_failures, crm_sync_runs');
  // Connections of other tests are not due.
  await pool.query(
    `update crm_connections
     set status = 'disconnected', disconnected_at = now(), credentials = null
     where status <> 'disconnected'`,
  );
  tenant = await createTenant(pool, 3);
  tenant.contactIds.sort();
});

interface Given {
  account?: string | null;
  idsOfUnknownAccount?: 'keep' | 'archive';
  provider?: Provider;
}

async function connect(client: Queryable, given: Given = {}) {
  const { account = null, idsOfUnknownAccount, provider = 'reapit' } = given;
  const key = { organisationId: tenant.organisationId, connectionId: randomUUID() };
  const credentials = await encryptCredentials({ ...key, provider });
  const connected = await connectionConnect(client, {
    ...key,
    provider,
    credentials,
    account,
    idsOfUnknownAccount,
  });
  return { ...key, ...connected };
}

const record = (client: Queryable, contactIds = tenant.contactIds) =>
  outboundChangeRecord(client, { organisationId: tenant.organisationId, contactIds });

async function waitingAt({ connectionId }: ConnectionKey): Promise<number> {
  const { rows } = await pool.query('select from crm_outbound_changes where connection_id = $1', [
    connectionId,
  ]);
  return rows.length;
}

async function healthOf(client: Queryable, key: ConnectionKey) {
  const all = await connectionListWithHealth(client, { ...key, failuresSince: nine });
  return (
    all.find(({ connectionId }) => connectionId === key.connectionId) ?? expect.unreachable('not listed')
  );
}

/** Lets the pushes of contacts fail. */
async function failToPush(client: pg.Client, key: ConnectionKey, contactIds: string[], retryable: boolean) {
  await makeDue(client, key);
  const run = await claimOne(client);
  const error = { kind: retryable ? 'provider' : 'validation', retryable, message: 'Refused.' } as const;
  const base = { direction: 'outbound', entityType: 'contact', status: 'error', error } as const;
  await syncBatchRecord(client, {
    ...run,
    batchNumber: 1,
    events: contactIds.map((internalId) => ({ ...base, internalId })),
  });
  await syncRunFinish(client, { ...run, outcome: 'cancelled' });
}

describe('connectionDisconnect', () => {
  test('says how many contacts wait, each once, and those whose push failed, but not those dismissed', async () => {
    const [first = '', second = '', third = ''] = tenant.contactIds;
    await atNine(async (client) => {
      const key = await connect(client);
      await failToPush(client, key, [first], false);
      await failToPush(client, key, [second, third], true);
      await record(client, [first]);
      const failures = await syncFailureList(client, key);
      const ids = failures.filter(({ recordId }) => recordId === third).map(({ id }) => id);
      await syncFailureDismiss(client, {
        ...key,
        ids,
        dismissedBy: 'support',
        reason: 'A duplicate.',
      });
      expect(await connectionDisconnect(client, key)).toMatchObject({ waitingChanges: 2 });
      expect(await healthOf(client, key)).toMatchObject({
        keptChanges: 'waiting',
        changesExpireAt: '2027-02-14T09:00:00.000000Z',
        waitingChanges: 1,
        retriedRecords: 1,
        givenUpRecords: 1,
        dismissedRecords: 1,
      });
    });
  });

  test('deletes records that could not be read: the next connection reads everything', async () => {
    await atNine(async (client) => {
      const key = await connect(client);
      await makeDue(client, key);
      const run = await claimOne(client);
      const error = { kind: 'provider', retryable: true, message: 'Refused.' } as const;
      const event = {
        direction: 'inbound',
        entityType: 'contact',
        externalId: 'OXF1',
        status: 'error',
      } as const;
      await syncBatchRecord(client, { ...run, batchNumber: 1, events: [{ ...event, error }] });
      expect(await connectionDisconnect(client, key)).toMatchObject({ waitingChanges: 0 });
      expect(await syncFailureList(client, key)).toEqual([]);
    });
  });

  test('and crm-schema health show what waits, until when', async () => {
    const key = await connect(pool);
    await record(pool);
    await connectionDisconnect(pool, key);
    const { stdout } = await runCli(['health', '--organisation', key.organisationId], { DATABASE_URL: url });
    expect(stdout.replaceAll(/\s+/g, ' ')).toMatch(
      /Kept for a reconnect until \S+ \S+ UTC \(in (89|90) d\): contacts to push 3, failed pushes 0\./,
    );
  });
});

describe.each(recorders)('edits of a disconnected CRM, recorded by %s', (name, edit) => {
  beforeAll(async () => {
    if (name.includes('trigger'))
      await pool.query(await readFile('examples/contacts-trigger.sql', { encoding: 'utf8' }));
  });

  test('wait, and claims neither drop them nor come back to them', async () => {
    await atNine(async (client) => {
      const key = await connect(client);
      await connectionDisconnect(client, key);
      await edit(client, tenant, tenant.contactIds);
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 3 });
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 0 });
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      expect(await waitingAt(key)).toBe(3);
    });
  });

  test('are pushed by the first run after a reconnect, which is due at once', async () => {
    await atNine(async (client) => {
      await connectionDisconnect(client, await connect(client));
      await edit(client, tenant, tenant.contactIds);
      await outboundChangeAnnounce(client);
      const again = await connect(client);
      expect(again).toMatchObject({ waitingChanges: 3, droppedChanges: 0 });
      await makeDue(client, again, nine);
      const run = await claimOne(client);
      expect(run.connectionId).toBe(again.connectionId);
      expect(
        await outboundChangeListWaiting(client, { ...again, contactIds: tenant.contactIds }),
      ).toHaveLength(3);
      expect((await outboundChangeClaim(client, run)).map(({ contactId }) => contactId).toSorted()).toEqual(
        tenant.contactIds,
      );
    });
  });
});

describe('connecting again', () => {
  test('makes the connection due, as the application', async () => {
    const { organisationId } = tenant;
    const [ended, again] = await withOrganisation(app, organisationId, async (client) => {
      const key = await connect(client);
      await record(client);
      await connectionDisconnect(client, key);
      await record(client);
      return [key, await connect(client)];
    });
    expect(again).toMatchObject({ waitingChanges: 3 });
    const [run, ...others] = await syncRunClaim(worker, { worker: 'test' });
    expect(others).toEqual([]);
    expect(run?.connectionId).toBe(again.connectionId);
    expect(await waitingAt(ended)).toBe(0);
    expect(await healthOf(pool, ended)).toMatchObject({ keptChanges: 'moved' });
  });

  test('has failed pushes as they were, and tries those that are not given up at once', async () => {
    const [first = '', second = '', third = ''] = tenant.contactIds;
    await atNine(async (client) => {
      const key = await connect(client);
      await failToPush(client, key, [first, third], false);
      await failToPush(client, key, [second], true);
      const failures = await syncFailureList(client, key);
      const ids = failures.filter(({ recordId }) => recordId === third).map(({ id }) => id);
      await syncFailureDismiss(client, {
        ...key,
        ids,
        dismissedBy: 'support',
        reason: 'A duplicate.',
      });
      await connectionDisconnect(client, key);
      const again = await connect(client);
      expect(again).toMatchObject({ waitingChanges: 2 });
      const [isDismissed, ...others] = [
        ...(await syncFailureList(client, { ...again, isDismissed: true })),
        ...(await syncFailureList(client, { ...again, isDismissed: false })),
      ];
      expect(isDismissed).toMatchObject({ recordId: third, dismissedBy: 'support' });
      expect(others.toSorted((one, other) => (one.recordId < other.recordId ? -1 : 1))).toMatchObject([
        { recordId: first, nextAttemptAt: null },
        { recordId: second, nextAttemptAt: nine },
      ]);
    });
  });

  test.each<[string, Given[], { waitingChanges: number; droppedChanges: number }]>([
    ['the same account', [{ account: 'AAA' }, { account: 'AAA' }], { waitingChanges: 3, droppedChanges: 0 }],
    ['another account', [{ account: 'AAA' }, { account: 'BBB' }], { waitingChanges: 0, droppedChanges: 3 }],
    ['no account, after one', [{ account: 'AAA' }, {}], { waitingChanges: 3, droppedChanges: 0 }],
    ['no account, after none', [{}, {}], { waitingChanges: 3, droppedChanges: 0 }],
    ['an account, after none', [{}, { account: 'AAA' }], { waitingChanges: 3, droppedChanges: 0 }],
    [
      'an account that keeps what is of an unknown one',
      [{}, { account: 'AAA', idsOfUnknownAccount: 'keep' }],
      { waitingChanges: 3, droppedChanges: 0 },
    ],
    [
      'an account that archives what is of an unknown one',
      [{}, { account: 'AAA', idsOfUnknownAccount: 'archive' }],
      { waitingChanges: 0, droppedChanges: 3 },
    ],
    [
      'an account, after another and none',
      [{ account: 'AAA' }, {}, { account: 'BBB' }],
      { waitingChanges: 0, droppedChanges: 3 },
    ],
    [
      'an account, after the same and none',
      [{ account: 'AAA' }, {}, { account: 'AAA' }],
      { waitingChanges: 3, droppedChanges: 0 },
    ],
    [
      'another CRM',
      [{ account: 'AAA' }, { account: 'AAA', provider: 'agentos' }],
      { waitingChanges: 0, droppedChanges: 0 },
    ],
  ])('as %s says what waits and what was dropped', async (_, [before = {}, ...rest], expected) => {
    let live = await connect(pool, before);
    await record(pool);
    for (const given of rest) {
      await connectionDisconnect(pool, live);
      live = await connect(pool, given);
    }
    expect(live).toMatchObject(expected);
    expect(await waitingAt(live)).toBe(expected.waitingChanges);
  });

  test.each<[string, (client: Queryable, key: ConnectionKey) => Promise<{ droppedChanges: number }>]>([
    ['connectionSetAccount', (client, key) => connectionSetAccount(client, { ...key, account: 'BBB' })],
    [
      'credentialsReplace',
      async (client, key) =>
        credentialsReplace(client, await testKeyRing(), {
          ...key,
          provider: 'reapit',
          credentials: sampleCredentials.reapit,
          credentialsVersion: 1,
          account: 'BBB',
        }),
    ],
  ])(
    'as another account that %s tells later drops what was taken over, and not what is new',
    async (_, tell) => {
      const [first = '', second = '', third = ''] = tenant.contactIds;
      const ended = await connect(pool, { account: 'AAA' });
      await record(pool, [first, second]);
      await connectionDisconnect(pool, ended);
      const again = await connect(pool);
      expect(again).toMatchObject({ waitingChanges: 2 });
      await record(pool, [second, third]);
      expect(await tell(pool, again)).toMatchObject({ droppedChanges: 1 });
      expect(
        (await outboundChangeListWaiting(pool, { ...again, contactIds: tenant.contactIds })).map(
          ({ contactId }) => contactId,
        ),
      ).toEqual([second, third]);
    },
  );

  test('takes over a change that is committed only after it', async () => {
    const ended = await connect(pool);
    await connectionDisconnect(pool, ended);
    await withClient(url, async (host) => {
      await host.query('begin');
      await record(host, tenant.contactIds.slice(0, 1));
      const again = await connect(pool);
      expect(again).toMatchObject({ waitingChanges: 0 });
      await host.query('commit');
      expect(await waitingAt(ended)).toBe(1);
      await outboundChangeAnnounce(pool);
      expect([await waitingAt(ended), await waitingAt(again)]).toEqual([0, 1]);
      await pool.query("update crm_connections set next_sync_at = now() + interval '1 day'");
      const [run] = await syncRunClaim(pool, { worker: 'test' });
      expect(run?.connectionId).toBe(again.connectionId);
    });
  });

  test('takes over a change that is committed while it moves the others', async () => {
    const [first = '', second = '', third = ''] = tenant.contactIds;
    const ended = await connect(pool);
    await withClient(url, (client) => failToPush(client, ended, [first], true));
    await record(pool, [second]);
    await connectionDisconnect(pool, ended);
    let again: Awaited<ReturnType<typeof connect>> | undefined;
    await withClient(url, async (blocker) => {
      await blocker.query('begin');
      // It has moved the changes by the time that it comes to the failures.
      await blocker.query('select from crm_sync_failures where connection_id = $1 for update', [
        ended.connectionId,
      ]);
      await withClient(url, async (person) => {
        const connected = connect(person);
        await waitUntilBlocked(url, person);
        await record(pool, [third]);
        await blocker.query('rollback');
        again = await connected;
      });
    });
    await outboundChangeAnnounce(pool);
    expect(
      (
        await outboundChangeListWaiting(pool, {
          ...(again ?? expect.unreachable('not connected')),
          contactIds: tenant.contactIds,
        })
      ).map(({ contactId }) => contactId),
    ).toEqual(expect.arrayContaining([first, second, third]));
    expect(await waitingAt(ended)).toBe(0);
  });

  test('deadlocks with no deletion of a contact whose change is committed only after it', async () => {
    const [first = ''] = tenant.contactIds;
    const ended = await connect(pool);
    await connectionDisconnect(pool, ended);
    await withClient(url, async (host) => {
      await host.query('begin');
      await record(host, [first]);
      await connect(pool);
      await host.query('commit');
      await host.query('begin');
      await host.query('select from contacts where id = $1 for update', [first]);
      await withClient(url, async (other) => {
        await other.query("set lock_timeout = '5s'");
        const announced = outboundChangeAnnounce(other);
        // Awaited below; until then Node must not see an unhandled rejection.
        announced.catch(() => {});
        await waitUntilBlocked(url, other);
        await host.query('delete from contacts where id = $1', [first]);
        await host.query('commit');
        await announced;
      });
      expect(await waitingAt(ended)).toBe(0);
    });
  });

  test('drops a change of another account that is committed only after it', async () => {
    const ended = await connect(pool, { account: 'AAA' });
    await connectionDisconnect(pool, ended);
    await withClient(url, async (host) => {
      await host.query('begin');
      await record(host, tenant.contactIds.slice(0, 1));
      const again = await connect(pool, { account: 'BBB' });
      await host.query('commit');
      expect(await outboundChangeAnnounce(pool)).toEqual({ announced: 1 });
      expect([await waitingAt(ended), await waitingAt(again)]).toEqual([0, 0]);
    });
  });
});

describe('90 days after disconnecting', () => {
  test('nothing more is recorded, and claims drop what waits', async () => {
    const [first = '', second = ''] = tenant.contactIds;
    await atNine(async (client, clock) => {
      const key = await connect(client);
      await record(client, [first]);
      await failToPush(client, key, [second], false);
      await connectionDisconnect(client, key);
      await clock.pass(90 * day - 1);
      expect(await record(client)).toHaveLength(3);
      await syncRunClaim(client, { worker: 'test' });
      expect(await waitingAt(key)).toBe(3);
      await clock.pass(1);
      expect(await record(client)).toEqual([]);
      await syncRunClaim(client, { worker: 'test' });
      expect(await waitingAt(key)).toBe(0);
      expect(await syncFailureList(client, key)).toEqual([]);
      expect(await healthOf(client, key)).toMatchObject({ keptChanges: 'expired' });
    });
  });

  test('a claim drops a thousand changes at a time', async () => {
    tenant = await createTenant(pool, 2500);
    await atNine(async (client, clock) => {
      const key = await connect(client);
      await record(client);
      await connectionDisconnect(client, key);
      await clock.pass(90 * day);
      const left: number[] = [];
      for (let count = 0; count < 4; count += 1) {
        await outboundChangeAnnounce(client);
        left.push(await waitingAt(key));
      }
      expect(left).toEqual([1500, 500, 0, 0]);
      expect(await healthOf(client, key)).toMatchObject({ keptChanges: 'expired' });
    });
  });

  test('connecting the same account drops what waits, if no claim has', async () => {
    await atNine(async (client, clock) => {
      const key = await connect(client);
      await record(client);
      await connectionDisconnect(client, key);
      await clock.pass(90 * day);
      expect(await connect(client)).toMatchObject({ waitingChanges: 0, droppedChanges: 3 });
      expect(await healthOf(client, key)).toMatchObject({ keptChanges: 'expired' });
    });
  });
});
