import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  type ClaimedRun,
  type ConnectionKey,
  connectionDisconnect,
  outboundChangeAnnounce,
  outboundChangeClaim,
  outboundChangeListWaiting,
  outboundChangeRecord,
  type Queryable,
  syncBatchRecord,
  syncFailureDismiss,
  syncFailureList,
  syncFailureReplay,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitUntilBlocked } from '../support/locks.js';
import { claimOne, delayStatements, makeDue, syncSetup } from '../support/sync.js';

const database = useDatabase();
const { pool, url } = database;
const { atNine } = syncSetup(database);
const slow = useDatabase();

const tomorrow = '2026-11-17T09:00:00Z';

let organisationId: string;
let contactIds: string[];
let key: ConnectionKey;
beforeEach(async () => {
  await pool.query('truncate crm_outbound_changes, crm_sync_failures, crm_sync_runs');
  ({ organisationId, contactIds } = await createTenant(pool, 5));
  contactIds.sort();
  key = await connect(pool, organisationId);
  await dueOnlyAt(tomorrow);
});

const dueOnlyAt = (time: string) => pool.query('update crm_connections set next_sync_at = $1', [time]);

/** Claims a run of the tenant’s first connection. */
async function open(client: Queryable): Promise<ClaimedRun> {
  await makeDue(pool, key);
  return claimOne(client);
}

const record = (client: Queryable, ...contacts: string[]) =>
  outboundChangeRecord(client, { organisationId, contactIds: contacts });

const claimedIds = async (client: Queryable, run: ClaimedRun, limit = 100) =>
  (await outboundChangeClaim(client, { ...run, limit })).map(({ contactId }) => contactId).toSorted();

interface Waiting {
  contact: string;
  connection: string;
  version: string;
  attempts: number;
  announced: boolean;
}

/** The waiting changes of all organisations. */
async function waiting(): Promise<Waiting[]> {
  const { rows } = await pool.query(
    `select contact_id as contact, connection_id as connection, version, attempts, is_announced as announced
     from crm_outbound_changes order by contact_id, connection_id`,
  );
  return rows;
}

/** The connections that are due soon after nine, not tomorrow. */
async function due(): Promise<string[]> {
  const { rows } = await pool.query('select id from crm_connections where next_sync_at < $1 order by id', [
    '2026-11-16T09:10:00Z',
  ]);
  return rows.map(({ id }) => id);
}

describe('outboundChangeRecord', () => {
  test('records each contact for every live connection of its organisation, and no other', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    const ended = await connect(pool, organisationId, 'street');
    await connectionDisconnect(pool, ended);
    // As an earlier release disconnects, which keeps nothing.
    await pool.query(
      'update crm_connections set kept_changes = null, changes_expire_at = null where id = $1',
      [ended.connectionId],
    );
    await connect(pool, (await createTenant(pool)).organisationId);
    const [first = '', second = ''] = contactIds;
    const noted = await record(pool, first, second);
    expect(noted).toHaveLength(4);
    expect(noted).toEqual(
      expect.arrayContaining(
        [first, second].flatMap((contactId) =>
          [key, alto].map(({ connectionId }) => ({ contactId, connectionId })),
        ),
      ),
    );
    expect(await waiting()).toHaveLength(4);
  });

  test('omits the connection that the change came from', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    expect(
      await outboundChangeRecord(pool, { organisationId, contactIds, fromConnectionId: key.connectionId }),
    ).toEqual(contactIds.map((contactId) => ({ contactId, connectionId: alto.connectionId })));
  });

  test('keeps one change per contact, with a new version for each call', async () => {
    const [contactId = ''] = contactIds;
    const versions: bigint[] = [];
    for (let count = 0; count < 3; count += 1) {
      await record(pool, contactId, contactId);
      const rows = await waiting();
      expect(rows).toHaveLength(1);
      versions.push(BigInt(rows[0]?.version ?? 0));
    }
    expect(new Set(versions).size).toBe(3);
    expect(versions).toEqual(versions.toSorted((left, right) => (left < right ? -1 : 1)));
  });

  test('keeps firstChangedAt, and makes a claimed change due again at once', async () => {
    const [contactId = ''] = contactIds;
    await atNine(async (client, clock) => {
      await record(client, contactId);
      const run = await open(client);
      const [before] = await outboundChangeClaim(client, run);
      await clock.pass(10);
      expect(await outboundChangeClaim(client, run)).toEqual([]);
      await record(client, contactId);
      expect(await waiting()).toMatchObject([{ attempts: 0, announced: false }]);
      const [after] = await outboundChangeClaim(client, run);
      expect(after).toMatchObject({ contactId, firstChangedAt: nine, attempts: 1 });
      expect(after?.version).not.toBe(before?.version);
    });
  });

  test('refuses a contact of another organisation, and records none of the batch', async () => {
    const { contactIds: theirs } = await createTenant(pool, 1);
    for (const stranger of [theirs[0] ?? '', randomUUID()])
      await expect(record(pool, ...contactIds, stranger)).rejects.toMatchObject({ code: 'wrong_tenant' });
    expect(await waiting()).toEqual([]);
  });

  test('is rolled back with the transaction that changes the contact', async () => {
    await withClient(url, async (host) => {
      await host.query('begin');
      await record(host, ...contactIds);
      await host.query('rollback');
    });
    expect(await waiting()).toEqual([]);
  });

  test('two calls with the same contacts in opposite orders do not deadlock', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    const [third = ''] = contactIds.slice(2);
    // A third session locks one of the rows, which stops both in the middle.
    await record(pool, third);
    await withClient(url, async (blocker) => {
      await blocker.query('begin');
      await blocker.query('select from crm_outbound_changes where contact_id = $1 for update', [third]);
      await withClient(url, (one) =>
        withClient(url, async (other) => {
          const both = Promise.all([record(one, ...contactIds), record(other, ...contactIds.toReversed())]);
          await waitUntilBlocked(url, one);
          await waitUntilBlocked(url, other);
          await blocker.query('rollback');
          expect((await both).map((noted) => noted.length)).toEqual([10, 10]);
        }),
      );
    });
    expect((await waiting()).filter(({ connection }) => connection === alto.connectionId)).toHaveLength(5);
  });

  test('does not block a worker while the host’s transaction is open', async () => {
    const [contactId = '', anotherId = ''] = contactIds;
    await withClient(url, async (host) => {
      await host.query('begin');
      await record(host, contactId);
      await atNine(async (client) => {
        await record(client, anotherId);
        await client.query("set lock_timeout = '1s'");
        const run = await open(client);
        expect(await claimedIds(client, run)).toEqual([anotherId]);
        await syncRunFinish(client, { ...run, outcome: 'success' });
      });
      await host.query('rollback');
    });
  });

  test('a change that commits late is not lost to one that committed earlier', async () => {
    const [late = '', early = ''] = contactIds;
    await atNine(async (host) => {
      await host.query('begin');
      await record(host, late);
      await atNine(async (client, clock) => {
        await clock.pass(60);
        await record(client, early);
        expect(await outboundChangeAnnounce(client)).toEqual({ announced: 1 });
        const run = await open(client);
        expect(await claimedIds(client, run)).toEqual([early]);
        await host.query('commit');
        expect(await outboundChangeAnnounce(client)).toEqual({ announced: 1 });
        expect(await claimedIds(client, run)).toEqual([late]);
      });
    });
  });

  test('is deleted with its contact', async () => {
    const [gone = '', stays = ''] = contactIds;
    await record(pool, gone, stays);
    await pool.query('delete from contacts where id = $1', [gone]);
    expect(await waiting()).toMatchObject([{ contact: stays }]);
  });

  test.each([
    ['an invalid UUID', { contactIds: ['1'] }],
    ['a string instead of an array', { contactIds: 'x' as never }],
    ['an invalid connection id', { fromConnectionId: '1' }],
  ])('refuses %s', async (_, wrong) => {
    await expect(outboundChangeRecord(pool, { organisationId, contactIds, ...wrong })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('outboundChangeClaim', () => {
  test('claims the longest waiting first and postpones them, so the next claim gets others', async () => {
    await atNine(async (client, clock) => {
      const inTurn = contactIds.toReversed();
      for (const contactId of inTurn) {
        await record(client, contactId);
        await clock.pass(1);
      }
      const run = await open(client);
      const [a = '', b = '', c = '', d = '', e = ''] = inTurn;
      expect(await claimedIds(client, run, 2)).toEqual([a, b].toSorted());
      expect(await claimedIds(client, run, 2)).toEqual([c, d].toSorted());
      expect(await claimedIds(client, run, 2)).toEqual([e]);
      expect(await claimedIds(client, run, 2)).toEqual([]);
      // 30 to 60 seconds after the first claim, longer after the second.
      await clock.pass(29);
      expect(await claimedIds(client, run)).toEqual([]);
      await clock.pass(31);
      expect(await outboundChangeClaim(client, run)).toMatchObject(contactIds.map(() => ({ attempts: 2 })));
      await clock.pass(59);
      expect(await claimedIds(client, run)).toEqual([]);
      await clock.pass(61);
      expect(await claimedIds(client, run)).toHaveLength(5);
    });
  });

  test('claims only changes of its own connection, with every field', async () => {
    await connect(pool, organisationId, 'alto');
    const [contactId = ''] = contactIds;
    await atNine(async (client) => {
      await record(client, contactId);
      const run = await open(client);
      const mine = (await waiting()).find(({ connection }) => connection === key.connectionId);
      expect(await outboundChangeClaim(client, run)).toEqual([
        { contactId, version: mine?.version, firstChangedAt: nine, attempts: 1 },
      ]);
      expect((await waiting()).map(({ attempts }) => attempts).toSorted()).toEqual([0, 1]);
    });
  });

  test('skips a locked change, and claims it afterwards', async () => {
    const [locked = '', ...others] = contactIds;
    await atNine(async (client) => {
      await record(client, ...contactIds);
      await client.query("set lock_timeout = '5s'");
      const run = await open(client);
      await withClient(url, async (host) => {
        await host.query("select set_config('crm_schema.now', $1, false)", [nine]);
        await host.query('begin');
        await record(host, locked);
        expect(await claimedIds(client, run)).toEqual(others);
        await host.query('commit');
      });
      expect(await claimedIds(client, run)).toEqual([locked]);
    });
  });

  test.each<[string, (client: pg.Client, run: ClaimedRun) => Promise<unknown>]>([
    ['ended', (client, run) => syncRunFinish(client, { ...run, outcome: 'cancelled' })],
    [
      'expired a microsecond ago',
      (client, run) => client.query("select set_config('crm_schema.now', $1, false)", [run.expiresAt]),
    ],
  ])('refuses a run that %s, and claims nothing', async (_, lose) => {
    await atNine(async (client) => {
      await record(client, ...contactIds);
      const run = await open(client);
      await lose(client, run);
      await expect(outboundChangeClaim(client, run)).rejects.toMatchObject({ code: 'lease_lost' });
      expect((await waiting()).map(({ attempts }) => attempts)).toEqual([0, 0, 0, 0, 0]);
    });
  });

  test('refuses another organisation, and a disconnected connection', async () => {
    const { organisationId: stranger } = await createTenant(pool);
    await atNine(async (client) => {
      await record(client, ...contactIds);
      const run = await open(client);
      const lost = { code: 'lease_lost' };
      for (const wrong of [{ organisationId: stranger }, { connectionId: randomUUID() }, { runId: '0' }])
        await expect(outboundChangeClaim(client, { ...run, ...wrong })).rejects.toMatchObject(lost);
      await connectionDisconnect(pool, key);
      await expect(outboundChangeClaim(client, run)).rejects.toMatchObject(lost);
    });
  });
});

describe('outboundChangeListWaiting', () => {
  test('lists waiting and claimed contacts of this connection', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    const [waits = '', claimed = '', elsewhere = '', none = ''] = contactIds;
    await atNine(async (client, clock) => {
      const noted = { organisationId, fromConnectionId: alto.connectionId };
      await outboundChangeRecord(client, { ...noted, contactIds: [claimed] });
      await clock.pass(1);
      await outboundChangeRecord(client, { ...noted, contactIds: [waits] });
      await outboundChangeRecord(client, {
        organisationId,
        contactIds: [elsewhere],
        fromConnectionId: key.connectionId,
      });
      expect(await claimedIds(client, await open(client), 1)).toEqual([claimed]);
      const listed = await outboundChangeListWaiting(client, {
        ...key,
        contactIds: [waits, claimed, elsewhere, none],
      });
      expect(listed.map(({ contactId }) => contactId).toSorted()).toEqual([waits, claimed].toSorted());
    });
  });

  test('lists contacts whose push failed, until it is dismissed, and none that is pushed', async () => {
    const [again = '', hopeless = '', pushed = ''] = contactIds;
    await atNine(async (client) => {
      await record(client, again, hopeless, pushed);
      const run = await open(client);
      const event = { direction: 'outbound', entityType: 'contact' } as const;
      const changes = new Map(
        (await outboundChangeClaim(client, run)).map(({ contactId, version }) => [contactId, version]),
      );
      const failure = (internalId: string, retryable: boolean) =>
        ({
          ...event,
          internalId,
          changeVersion: changes.get(internalId),
          status: 'error',
          error: { kind: 'validation', retryable, message: 'No name.' },
        }) as const;
      await syncBatchRecord(client, {
        ...run,
        batchNumber: 1,
        events: [
          failure(again, true),
          failure(hopeless, false),
          { ...event, internalId: pushed, changeVersion: changes.get(pushed), status: 'success' },
        ],
      });
      expect(await waiting()).toEqual([]);
      const list = async () => {
        const listed = await outboundChangeListWaiting(client, { ...key, contactIds });
        return listed.toSorted((one, other) => (one.contactId < other.contactId ? -1 : 1));
      };
      const waits = [again, hopeless].toSorted().map((contactId) => ({
        contactId,
        changeVersion: null,
        hasFailed: true,
        isUndecided: false,
        awaitsTheirs: false,
      }));
      expect(await list()).toEqual(waits);
      await syncFailureReplay(client, { ...key, failedFrom: nine, failedBefore: tomorrow });
      expect(await list()).toEqual(waits);
      const failures = await syncFailureList(client, key);
      const ids = failures.filter(({ recordId }) => recordId === hopeless).map(({ id }) => id);
      await syncFailureDismiss(client, { ...key, ids, reason: 'The CRM is right.', dismissedBy: 'support' });
      expect(await list()).toEqual(waits.filter(({ contactId }) => contactId === again));
      await outboundChangeRecord(client, { organisationId, contactIds: [hopeless] });
      expect(await list()).toContainEqual({
        contactId: hopeless,
        changeVersion: expect.stringMatching(/^\d+$/),
        hasFailed: false,
        isUndecided: false,
        awaitsTheirs: false,
      });
    });
  });

  test('lists nothing of another organisation', async () => {
    await record(pool, ...contactIds);
    const { organisationId: stranger } = await createTenant(pool);
    expect(await outboundChangeListWaiting(pool, { ...key, contactIds, organisationId: stranger })).toEqual(
      [],
    );
  });
});

describe('outboundChangeAnnounce', () => {
  test('makes connections with new changes due, once', async () => {
    const other = await createTenant(pool, 1);
    const theirs = await connect(pool, other.organisationId, 'alto');
    await connect(pool, (await createTenant(pool)).organisationId);
    await dueOnlyAt(tomorrow);
    await atNine(async (client) => {
      await record(client, ...contactIds);
      await outboundChangeRecord(client, other);
      expect(await due()).toEqual([]);
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 6 });
      expect(await due()).toEqual([key.connectionId, theirs.connectionId].toSorted());
      await dueOnlyAt(tomorrow);
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 0 });
      expect(await due()).toEqual([]);
    });
  });

  test('processes at most `limit` connections and 100 changes of each, and the rest next time', async () => {
    const others = await Promise.all([createTenant(pool, 120), createTenant(pool, 1)]);
    for (const { organisationId: other } of others) await connect(pool, other, 'alto');
    await dueOnlyAt(tomorrow);
    await atNine(async (client) => {
      for (const other of others) await outboundChangeRecord(client, other);
      const first = await outboundChangeAnnounce(client, { limit: 1 });
      expect(await due()).toHaveLength(1);
      const second = await outboundChangeAnnounce(client);
      expect(await due()).toHaveLength(2);
      const third = await outboundChangeAnnounce(client);
      const each = [first, second, third].map(({ announced }) => announced);
      // The lower key comes first.
      expect([[100, 21, 0].join(), [1, 100, 20].join()]).toContain(each.join());
    });
  });

  test('syncRunClaim calls it', async () => {
    await atNine(async (client) => {
      await record(client, ...contactIds);
      expect(await syncRunClaim(client, { worker: 'test' })).toMatchObject([key]);
    });
  });

  test('does not make a connection due before its CRM may be asked again', async () => {
    await pool.query('update crm_connections set not_before_at = $2 where id = $1', [
      key.connectionId,
      '2026-11-16T09:30:00Z',
    ]);
    await atNine(async (client, clock) => {
      await record(client, ...contactIds);
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await clock.pass(1799);
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await clock.pass(1);
      expect(await syncRunClaim(client, { worker: 'test' })).toMatchObject([key]);
    });
  });

  test('requests another sync after a run that is open', async () => {
    await atNine(async (client, clock) => {
      const run = await open(client);
      await record(client, ...contactIds);
      await outboundChangeAnnounce(client);
      expect(await syncRunClaim(client, { worker: 'test' })).toEqual([]);
      await clock.pass(1);
      await syncRunFinish(client, { ...run, outcome: 'success' });
      expect(await syncRunClaim(client, { worker: 'test' })).toMatchObject([key]);
    });
  });

  test('skips a locked connection, and processes it next time', async () => {
    const other = await createTenant(pool, 1);
    const theirs = await connect(pool, other.organisationId, 'alto');
    await dueOnlyAt(tomorrow);
    await atNine(async (client) => {
      await record(client, ...contactIds);
      await outboundChangeRecord(client, other);
      await client.query("set lock_timeout = '5s'");
      await withClient(url, async (locker) => {
        await locker.query('begin');
        await locker.query('select from crm_connections where id = $1 for no key update', [key.connectionId]);
        expect(await outboundChangeAnnounce(client)).toEqual({ announced: 1 });
        expect(await due()).toEqual([theirs.connectionId]);
        await locker.query('rollback');
      });
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 5 });
      expect(await due()).toEqual([key.connectionId, theirs.connectionId].toSorted());
    });
  });

  test('is not blocked by more locked changes than its limit', async () => {
    const other = await createTenant(pool, 1);
    const theirs = await connect(pool, other.organisationId, 'alto');
    await dueOnlyAt(tomorrow);
    await atNine(async (client, clock) => {
      await record(client, ...contactIds);
      await clock.pass(1);
      await outboundChangeRecord(client, other);
      for (const lock of [
        'select from crm_connections where organisation_id = $1 for no key update',
        'select from crm_outbound_changes where organisation_id = $1 for no key update',
      ]) {
        await client.query('begin');
        await withClient(url, async (locker) => {
          await locker.query('begin');
          await locker.query(lock, [organisationId]);
          expect(await outboundChangeAnnounce(client, { limit: 3 }), lock).toEqual({ announced: 1 });
          await locker.query('rollback');
        });
        const { rows } = await client.query('select id from crm_connections where next_sync_at <= crm_now()');
        expect(rows).toEqual([{ id: theirs.connectionId }]);
        await client.query('rollback');
      }
    });
  });

  test('skips a change that the host is changing, and announces it afterwards', async () => {
    const [contactId = ''] = contactIds;
    await atNine(async (client) => {
      await record(client, contactId);
      await withClient(url, async (host) => {
        await host.query('begin');
        await record(host, contactId);
        expect(await outboundChangeAnnounce(client)).toEqual({ announced: 0 });
        await host.query('commit');
      });
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 1 });
      expect(await due()).toEqual([key.connectionId]);
    });
  });

  test('drops changes that are recorded while an earlier release disconnects their connection', async () => {
    const other = await createTenant(pool, 1);
    const theirs = await connect(pool, other.organisationId, 'alto');
    await dueOnlyAt(tomorrow);
    await atNine(async (client, clock) => {
      await client.query('begin');
      await record(client, ...contactIds);
      // As the statement of 1.4.0 does.
      await pool.query(
        "update crm_connections set status = 'disconnected', disconnected_at = now(), credentials = null where id = $1",
        [key.connectionId],
      );
      await client.query('commit');
      await clock.pass(1);
      await outboundChangeRecord(client, other);
      expect(await waiting()).toHaveLength(6);
      for (let turn = 0; turn < 4; turn += 1) await outboundChangeAnnounce(client, { limit: 2 });
      expect(await due()).toEqual([theirs.connectionId]);
      expect(await waiting()).toHaveLength(1);
      const { rows } = await pool.query(
        'select sync_requested_at, next_sync_at = $2 as untouched from crm_connections where id = $1',
        [key.connectionId, tomorrow],
      );
      expect(rows).toEqual([{ sync_requested_at: null, untouched: true }]);
    });
  });

  test('keeps changes that are recorded while their connection is being disconnected, and does not make it due', async () => {
    await atNine(async (client) => {
      await client.query('begin');
      await record(client, ...contactIds);
      await connectionDisconnect(pool, key);
      await client.query('commit');
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 5 });
      expect(await outboundChangeAnnounce(client)).toEqual({ announced: 0 });
      expect(await due()).toEqual([]);
      expect(await waiting()).toHaveLength(5);
    });
  });

  test('makes the connection due if its run finishes concurrently', async () => {
    const agency = await createTenant(slow.pool, 1);
    const { connectionId } = await connect(slow.pool, agency.organisationId);
    const [run] = await syncRunClaim(slow.pool, { worker: 'test' });
    if (run === undefined) expect.unreachable('nothing was due');
    await outboundChangeRecord(slow.pool, agency);
    // An announcement that still uses its original snapshot when it reaches the connection a second later.
    await delayStatements(slow.pool);
    await withClient(slow.url, async (late) => {
      await late.query("set test.delay = '1'");
      const announcement = outboundChangeAnnounce(late);
      await sleep(300);
      await syncRunFinish(slow.pool, { ...run, outcome: 'success' });
      expect(await announcement).toEqual({ announced: 1 });
    });
    const { rows } = await slow.pool.query('select id from crm_connections where next_sync_at <= now()');
    expect(rows).toEqual([{ id: connectionId }]);
  });

  test('two concurrent calls announce each change once', async () => {
    await record(pool, ...contactIds);
    const results = await Promise.all(Array.from({ length: 8 }, () => outboundChangeAnnounce(pool)));
    const total = results.reduce((sum, { announced }) => sum + announced, 0);
    expect(total).toBeLessThanOrEqual(5);
    expect(total + (await outboundChangeAnnounce(pool)).announced).toBe(5);
  });

  test('refuses a limit of 0', async () => {
    await expect(outboundChangeAnnounce(pool, { limit: 0 })).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

describe('connectionDisconnect', () => {
  test('keeps the waiting changes of all connections', async () => {
    await connect(pool, organisationId, 'alto');
    await record(pool, ...contactIds);
    expect(await connectionDisconnect(pool, key)).toMatchObject({ waitingChanges: 5 });
    expect(await waiting()).toHaveLength(10);
  });
});

describe('connectionConnect', () => {
  test('waits for a host that records the same contacts, and takes over what it recorded', async () => {
    // The changes are stored in order of time, which is the reverse of key order.
    await atNine(async (client, clock) => {
      for (const contactId of contactIds.toReversed()) {
        await record(client, contactId);
        await clock.pass(1);
      }
    });
    await connectionDisconnect(pool, key);
    let again: ConnectionKey | undefined;
    await withClient(url, async (blocker) => {
      await blocker.query('begin');
      await blocker.query('select from crm_outbound_changes where contact_id = $1 for update', [
        contactIds[2],
      ]);
      await withClient(url, (host) =>
        withClient(url, async (person) => {
          await person.query("set lock_timeout = '5s'");
          const noted = record(host, ...contactIds);
          await waitUntilBlocked(url, host);
          const connected = connect(person, organisationId);
          await waitUntilBlocked(url, person);
          await blocker.query('rollback');
          expect(await noted).toHaveLength(5);
          again = await connected;
        }),
      );
    });
    expect((await waiting()).map(({ connection }) => connection)).toEqual(
      contactIds.map(() => again?.connectionId),
    );
  });
});
