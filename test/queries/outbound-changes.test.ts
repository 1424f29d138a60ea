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
  syncFailureReplay,
  syncRunClaim,
  syncRunFinish,
} from '../../src/index.js';
import { atNine as atNineOn, nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { waitsForALock } from '../support/locks.js';

const { pool, url } = useDatabase();
const slow = useDatabase();

const atNine = (work: Parameters<typeof atNineOn>[1]) => atNineOn(url, work);
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

/** A run of the tenant’s first connection. */
async function open(client: Queryable): Promise<ClaimedRun> {
  await pool.query('update crm_connections set next_sync_at = $2 where id = $1', [
    key.connectionId,
    '2026-11-16T08:00:00Z',
  ]);
  const [run] = await syncRunClaim(client, { worker: 'test', limit: 1 });
  return run ?? expect.unreachable('nothing was due');
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

/** What waits to be pushed, of all organisations. */
async function waiting(): Promise<Waiting[]> {
  const { rows } = await pool.query(
    `select contact_id as contact, connection_id as connection, version, attempts, is_announced as announced
     from crm_outbound_changes order by contact_id, connection_id`,
  );
  return rows;
}

/** Which connections are due soon after nine, and not only tomorrow. */
async function due(): Promise<string[]> {
  const { rows } = await pool.query('select id from crm_connections where next_sync_at < $1 order by id', [
    '2026-11-16T09:10:00Z',
  ]);
  return rows.map(({ id }) => id);
}

describe('outboundChangeRecord', () => {
  test('notes each contact for every live connection of its organisation, and no other', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    const ended = await connect(pool, organisationId, 'street');
    await connectionDisconnect(pool, ended);
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

  test('leaves out the connection that the change came from', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    expect(
      await outboundChangeRecord(pool, { organisationId, contactIds, fromConnectionId: key.connectionId }),
    ).toEqual(contactIds.map((contactId) => ({ contactId, connectionId: alto.connectionId })));
  });

  test('notes a contact once however often it changes, each time under another version', async () => {
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

  test('keeps since when a change waits, and lets a claimed one be claimed again at once', async () => {
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

  test('refuses a contact of another organisation, and notes none of its companions', async () => {
    const { contactIds: theirs } = await createTenant(pool, 1);
    for (const stranger of [theirs[0] ?? '', randomUUID()])
      await expect(record(pool, ...contactIds, stranger)).rejects.toMatchObject({ code: 'wrong_tenant' });
    expect(await waiting()).toEqual([]);
  });

  test('comes to nothing with the transaction that changes the contact', async () => {
    await withClient(url, async (host) => {
      await host.query('begin');
      await record(host, ...contactIds);
      await host.query('rollback');
    });
    expect(await waiting()).toEqual([]);
  });

  test('two that note the same contacts in opposite orders do not deadlock', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    const [third = ''] = contactIds.slice(2);
    // Both are stopped in the middle of their work by somebody who has one of the rows.
    await record(pool, third);
    await withClient(url, async (blocker) => {
      await blocker.query('begin');
      await blocker.query('select from crm_outbound_changes where contact_id = $1 for update', [third]);
      await withClient(url, (one) =>
        withClient(url, async (other) => {
          const both = Promise.all([record(one, ...contactIds), record(other, ...contactIds.toReversed())]);
          await waitsForALock(url, one);
          await waitsForALock(url, other);
          await blocker.query('rollback');
          expect((await both).map((noted) => noted.length)).toEqual([10, 10]);
        }),
      );
    });
    expect((await waiting()).filter(({ connection }) => connection === alto.connectionId)).toHaveLength(5);
  });

  test('does not keep a worker from its work while the host’s transaction goes on', async () => {
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

  test('what is committed late is not lost to what was committed before', async () => {
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

  test('goes with a contact that is deleted', async () => {
    const [gone = '', stays = ''] = contactIds;
    await record(pool, gone, stays);
    await pool.query('delete from contacts where id = $1', [gone]);
    expect(await waiting()).toMatchObject([{ contact: stays }]);
  });

  test.each([
    ['no UUID', { contactIds: ['1'] }],
    ['no list', { contactIds: 'x' as never }],
    ['a connection that is no UUID', { fromConnectionId: '1' }],
  ])('refuses %s', async (_, wrong) => {
    await expect(outboundChangeRecord(pool, { organisationId, contactIds, ...wrong })).rejects.toMatchObject({
      code: 'invalid_input',
    });
  });
});

describe('outboundChangeClaim', () => {
  test('gives those waiting longest first, and puts them off, so that the next claim gets others', async () => {
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
      // 30 to 60 seconds after the first claim, and longer after the second.
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

  test('gives what belongs to its own connection, as it is', async () => {
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

  test('passes over what somebody is changing, and gives it afterwards', async () => {
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
      'has expired to the microsecond',
      (client, run) => client.query("select set_config('crm_schema.now', $1, false)", [run.expiresAt]),
    ],
  ])('is refused to a run that %s, and claims nothing', async (_, lose) => {
    await atNine(async (client) => {
      await record(client, ...contactIds);
      const run = await open(client);
      await lose(client, run);
      await expect(outboundChangeClaim(client, run)).rejects.toMatchObject({ code: 'lease_lost' });
      expect((await waiting()).map(({ attempts }) => attempts)).toEqual([0, 0, 0, 0, 0]);
    });
  });

  test('is refused to another organisation, and once the connection is disconnected', async () => {
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
  test('tells those that wait or were claimed for this connection', async () => {
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

  test('tells those whose push failed and is tried again, and not those that were given up', async () => {
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
        return listed.map(({ contactId }) => contactId).toSorted();
      };
      expect(await list()).toEqual([again]);
      await syncFailureReplay(client, { ...key, failedFrom: nine, failedBefore: tomorrow });
      expect(await list()).toEqual([again, hopeless].toSorted());
    });
  });

  test('tells nothing of another organisation', async () => {
    await record(pool, ...contactIds);
    const { organisationId: stranger } = await createTenant(pool);
    expect(await outboundChangeListWaiting(pool, { ...key, contactIds, organisationId: stranger })).toEqual(
      [],
    );
  });
});

describe('outboundChangeAnnounce', () => {
  test('makes the connections due for which there is something to push, once', async () => {
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

  test('takes as many connections as it may, and 100 changes of each, the others the next time', async () => {
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
      // Whichever has the lower key comes first.
      expect([[100, 21, 0].join(), [1, 100, 20].join()]).toContain(each.join());
    });
  });

  test('syncRunClaim does it by itself', async () => {
    await atNine(async (client) => {
      await record(client, ...contactIds);
      expect(await syncRunClaim(client, { worker: 'test' })).toMatchObject([key]);
    });
  });

  test('leaves the CRM alone for as long as it wants', async () => {
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

  test('during a run it is remembered, and is another sync after it', async () => {
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

  test('does not wait for a connection that somebody has locked, and finds it next time', async () => {
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

  test('is not held up by older changes than it may look at, which somebody has locked', async () => {
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

  test('leaves a change that the host is making anew, and announces it afterwards', async () => {
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

  test('is not clogged by what was noted while its connection was being disconnected', async () => {
    const other = await createTenant(pool, 1);
    const theirs = await connect(pool, other.organisationId, 'alto');
    await dueOnlyAt(tomorrow);
    await atNine(async (client, clock) => {
      await client.query('begin');
      await record(client, ...contactIds);
      await connectionDisconnect(pool, key);
      await client.query('commit');
      await clock.pass(1);
      await outboundChangeRecord(client, other);
      expect(await waiting()).toHaveLength(6);
      for (let turn = 0; turn < 4; turn += 1) await outboundChangeAnnounce(client, { limit: 2 });
      expect(await due()).toEqual([theirs.connectionId]);
      const { rows } = await pool.query(
        'select sync_requested_at, next_sync_at = $2 as untouched from crm_connections where id = $1',
        [key.connectionId, tomorrow],
      );
      expect(rows).toEqual([{ sync_requested_at: null, untouched: true }]);
    });
  });

  test('does not take a run that comes to its end meanwhile for one that goes on', async () => {
    const agency = await createTenant(slow.pool, 1);
    const { connectionId } = await connect(slow.pool, agency.organisationId);
    const [run] = await syncRunClaim(slow.pool, { worker: 'test' });
    if (run === undefined) expect.unreachable('nothing was due');
    await outboundChangeRecord(slow.pool, agency);
    // An announcement that sees the world as it was, and gets to the connection a second later.
    await slow.pool.query(
      `create or replace function crm_now() returns timestamptz language plpgsql stable set search_path = '' as $$
       begin
         perform pg_catalog.pg_sleep(coalesce(nullif(current_setting('test.delay', true), ''), '0')::float8);
         return statement_timestamp();
       end $$`,
    );
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

  test('two at once announce each change once', async () => {
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
  test('drops what was to be pushed there, and nothing else', async () => {
    const alto = await connect(pool, organisationId, 'alto');
    await record(pool, ...contactIds);
    await connectionDisconnect(pool, key);
    const left = await waiting();
    expect(left.map(({ contact }) => contact)).toEqual(contactIds);
    expect(new Set(left.map(({ connection }) => connection))).toEqual(new Set([alto.connectionId]));
  });

  test('waits for a host that notes the same contacts, and leaves nothing of what it notes', async () => {
    // The changes lie in the order of time, which is the reverse of the order of their keys.
    await atNine(async (client, clock) => {
      for (const contactId of contactIds.toReversed()) {
        await record(client, contactId);
        await clock.pass(1);
      }
    });
    await withClient(url, async (blocker) => {
      await blocker.query('begin');
      await blocker.query('select from crm_outbound_changes where contact_id = $1 for update', [
        contactIds[2],
      ]);
      await withClient(url, (host) =>
        withClient(url, async (person) => {
          await person.query("set lock_timeout = '5s'");
          const noted = record(host, ...contactIds);
          await waitsForALock(url, host);
          const ended = connectionDisconnect(person, key);
          await waitsForALock(url, person);
          await blocker.query('rollback');
          expect(await noted).toHaveLength(5);
          await ended;
        }),
      );
    });
    expect(await waiting()).toEqual([]);
  });
});
