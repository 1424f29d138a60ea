import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { withClient } from '../../dev/database.js';
import {
  askFrom,
  type ConnectionKey,
  type CursorPosition,
  connectionAdvanceLastSyncedAt,
  connectionDisconnect,
  connectionGet,
  connectionResetLastSyncedAt,
  type SyncDirection,
  syncBatchRecord,
  syncCursorForget,
  syncCursorList,
  syncCursorReset,
  syncRunFinish,
} from '../../src/index.js';
import { atNine, nine } from '../support/clock.js';
import { connect } from '../support/connection.js';
import { createTenant, useDatabase } from '../support/database.js';
import { claimOne, makeDue } from '../support/sync.js';

const { pool, url } = useDatabase();

let key: ConnectionKey;
let other: ConnectionKey;
beforeEach(async () => {
  await pool.query("update crm_connections set next_sync_at = 'tomorrow'");
  const { organisationId } = await createTenant(pool);
  key = await connect(pool, organisationId);
  other = await connect(pool, organisationId, 'alto');
});

type Stream = readonly [SyncDirection, string, CursorPosition];

/** Records cursors as a worker does, in a run of the connection. */
async function record(connection: ConnectionKey, ...streams: Stream[]): Promise<void> {
  await makeDue(pool, connection);
  const run = await claimOne(pool);
  expect(run.connectionId).toBe(connection.connectionId);
  await syncBatchRecord(pool, {
    ...run,
    batchNumber: 1,
    cursors: streams.map(([direction, entityType, position]) => ({
      direction,
      entityType,
      version: 0,
      position,
    })),
  });
  await syncRunFinish(pool, { ...run, outcome: 'success' });
}

const at = (syncedTo: string) => ({ kind: 'timestamp', syncedTo }) as const;
const contacts = { direction: 'inbound', entityType: 'contact' } as const;
const lastSyncedAt = async () => (await connectionGet(pool, key))?.lastSyncedAt;

describe('syncCursorList', () => {
  test('returns each stream’s cursor to the microsecond, and none of other connections', async () => {
    const time = '2026-11-16T09:00:00.123456Z';
    await record(
      key,
      ['outbound', 'contact', { kind: 'page', page: 0 }],
      ['inbound', 'landlord', { kind: 'token', token: 'é next', syncedTo: time }],
      ['inbound', 'contact', at(time)],
    );
    await record(other, ['inbound', 'contact', at(nine)]);
    const cursors = await syncCursorList(pool, key);
    expect(cursors).toMatchObject([
      { ...contacts, version: 1, position: { kind: 'timestamp', syncedTo: time } },
      {
        direction: 'inbound',
        entityType: 'landlord',
        position: { kind: 'token', token: 'é next', syncedTo: time },
      },
      { direction: 'outbound', entityType: 'contact', position: { kind: 'page', page: 0, syncedTo: null } },
    ]);
    expect(Object.keys(cursors[0] ?? {}).toSorted()).toEqual([
      'direction',
      'entityType',
      'movedAt',
      'position',
      'version',
    ]);
  });

  test('omits a stream that was never recorded', async () => {
    expect(await syncCursorList(pool, key)).toEqual([]);
  });
});

describe('syncCursorReset', () => {
  test('resets one stream, and clears the connection’s own cursor', async () => {
    await record(key, ['inbound', 'contact', at(nine)], ['inbound', 'landlord', at(nine)]);
    expect(await lastSyncedAt()).toBe(nine);
    await atNine(url, async (client, clock) => {
      await clock.pass(60);
      expect(await syncCursorReset(client, { ...key, ...contacts })).toBe(true);
    });
    expect(await syncCursorList(pool, key)).toMatchObject([
      { ...contacts, position: null, version: 2, movedAt: '2026-11-16T09:01:00.000000Z' },
      { entityType: 'landlord', position: at(nine), version: 1 },
    ]);
    expect(await lastSyncedAt()).toBeNull();
  });

  test('is not undone by a run that finishes concurrently', async () => {
    await record(key, ['inbound', 'contact', at(nine)]);
    await makeDue(pool, key);
    const run = await claimOne(pool);
    await withClient(url, async (person) => {
      await person.query('begin');
      await syncCursorReset(person, { ...key, ...contacts });
      const end = syncRunFinish(pool, { ...run, outcome: 'success' });
      await sleep(200);
      await person.query('commit');
      await end;
    });
    expect(await lastSyncedAt()).toBeNull();
  });

  test('of an outbound stream keeps the connection’s cursor and the inbound stream of the same name', async () => {
    await record(key, ['inbound', 'contact', at(nine)], ['outbound', 'contact', at(nine)]);
    expect(await syncCursorReset(pool, { ...key, ...contacts, direction: 'outbound' })).toBe(true);
    expect(await syncCursorList(pool, key)).toMatchObject([{ version: 1 }, { position: null, version: 2 }]);
    expect(await lastSyncedAt()).toBe(nine);
  });

  test('returns false and changes nothing if there is no such stream', async () => {
    await record(key, ['inbound', 'contact', at(nine)]);
    const { organisationId } = await createTenant(pool);
    for (const wrong of [{ entityType: 'landlord' }, { direction: 'outbound' as const }, { organisationId }])
      expect(await syncCursorReset(pool, { ...key, ...contacts, ...wrong })).toBe(false);
    expect(await syncCursorReset(pool, { ...other, ...contacts })).toBe(false);
    expect(await syncCursorList(pool, key)).toMatchObject([{ version: 1 }]);
    expect(await lastSyncedAt()).toBe(nine);
  });

  test('changes nothing on a disconnected connection', async () => {
    await record(key, ['inbound', 'contact', at(nine)]);
    await connectionDisconnect(pool, key);
    expect(await syncCursorReset(pool, { ...key, ...contacts })).toBe(false);
    expect(await syncCursorList(pool, key)).toMatchObject([{ version: 1, position: at(nine) }]);
  });

  test.each([
    ['a direction', { direction: 'sideways' as never }],
    ['an entity type', { entityType: 'Contact' }],
  ])('refuses %s that is invalid', async (_, wrong) => {
    for (const change of [syncCursorReset, syncCursorForget])
      await expect(change(pool, { ...key, ...contacts, ...wrong })).rejects.toMatchObject({
        code: 'invalid_input',
      });
  });
});

describe('syncCursorForget', () => {
  test('removes one stream, which then no longer holds back the connection’s cursor', async () => {
    await record(
      key,
      ['inbound', 'contact', at(nine)],
      ['inbound', 'landlord', { kind: 'token', token: 'never told when' }],
      ['outbound', 'landlord', at(nine)],
    );
    expect(await lastSyncedAt()).toBeNull();
    expect(await syncCursorForget(pool, { ...key, ...contacts, entityType: 'landlord' })).toBe(true);
    expect(await syncCursorList(pool, key)).toMatchObject([
      contacts,
      { direction: 'outbound', entityType: 'landlord' },
    ]);
    await record(key);
    expect(await lastSyncedAt()).toBe(nine);
  });

  test('works on a disconnected connection, and returns false if there is no such stream', async () => {
    await record(key, ['inbound', 'contact', at(nine)]);
    await connectionDisconnect(pool, key);
    const { organisationId } = await createTenant(pool);
    expect(await syncCursorForget(pool, { ...key, ...contacts, organisationId })).toBe(false);
    expect(await syncCursorForget(pool, { ...other, ...contacts })).toBe(false);
    expect(await syncCursorForget(pool, { ...key, ...contacts })).toBe(true);
    expect(await syncCursorForget(pool, { ...key, ...contacts })).toBe(false);
  });

  test('lets the stream start again at version 1', async () => {
    await record(key, ['inbound', 'contact', at(nine)]);
    await syncCursorForget(pool, { ...key, ...contacts });
    await record(key, ['inbound', 'contact', at('2020-01-01T00:00:00.000000Z')]);
    expect(await syncCursorList(pool, key)).toMatchObject([{ version: 1 }]);
  });
});

describe('connectionResetLastSyncedAt', () => {
  test('resets all inbound streams, and no others', async () => {
    await record(
      key,
      ['inbound', 'contact', at(nine)],
      ['inbound', 'landlord', { kind: 'token', token: 'x', syncedTo: nine }],
      ['inbound', 'vendor', { kind: 'page', page: 7 }],
      ['outbound', 'contact', at(nine)],
    );
    await record(other, ['inbound', 'contact', at(nine)]);
    await connectionAdvanceLastSyncedAt(pool, { ...key, lastSyncedAt: nine });
    await connectionResetLastSyncedAt(pool, key);
    expect(await syncCursorList(pool, key)).toMatchObject([
      { entityType: 'contact', position: null, version: 2 },
      { entityType: 'landlord', position: null, version: 2 },
      { entityType: 'vendor', position: null, version: 2 },
      { direction: 'outbound', position: at(nine), version: 1 },
    ]);
    expect(await syncCursorList(pool, other)).toMatchObject([{ position: at(nine), version: 1 }]);
    expect(await lastSyncedAt()).toBeNull();
  });
});

describe('askFrom', () => {
  const reached = '2026-11-16T09:00:00.123456Z';

  test('goes back five minutes, and keeps the microseconds', () => {
    expect(askFrom(reached)).toBe('2026-11-16T08:55:00.123456Z');
  });

  test.each([
    [0, '2026-11-16T09:00:00.123456Z'],
    [1, '2026-11-16T08:59:59.123456Z'],
    [604_800, '2026-11-09T09:00:00.123456Z'],
  ])('goes back %i seconds', (overlapSeconds, expected) => {
    expect(askFrom(reached, { overlapSeconds })).toBe(expected);
  });

  test.each([
    [0, '2026-11-16T09:00:00Z'],
    [1, '2026-11-16T09:00:00.9Z'],
    [3, '2026-11-16T09:00:00.999Z'],
    [6, '2026-11-16T09:00:00.999999Z'],
  ])('cuts to %i digits, and never rounds up', (fractionalDigits, expected) => {
    expect(askFrom('2026-11-16T09:00:00.999999Z', { overlapSeconds: 0, fractionalDigits })).toBe(expected);
  });

  test('crosses midnight, the year and 29 February', () => {
    expect(askFrom('2027-01-01T00:04:59.999999Z')).toBe('2026-12-31T23:59:59.999999Z');
    expect(askFrom('2028-03-01T00:00:00.000001Z')).toBe('2028-02-29T23:55:00.000001Z');
  });

  test('asks for everything if there is no cursor', () => {
    expect(askFrom(null)).toBeNull();
    expect(askFrom(undefined, { overlapSeconds: 0 })).toBeNull();
  });

  test.each<[string, unknown, object]>([
    ['text that is not a time', 'yesterday', {}],
    ['a time without a zone', '2026-11-16T09:00:00', {}],
    ['a date that does not exist', '2026-02-30T09:00:00Z', {}],
    ['a negative overlap', reached, { overlapSeconds: -1 }],
    ['half a second', reached, { overlapSeconds: 0.5 }],
    ['more than a week', reached, { overlapSeconds: 604_801 }],
    ['seven digits', reached, { fractionalDigits: 7 }],
    ['a negative number of digits', reached, { fractionalDigits: -1 }],
    ['an invalid overlap, even if there is no cursor', null, { overlapSeconds: Number.NaN }],
  ])('refuses %s', (_, syncedTo, options) => {
    expect(() => askFrom(syncedTo as string, options)).toThrow(
      expect.objectContaining({ code: 'invalid_input' }),
    );
  });

  /** Microseconds since 1970. */
  const microseconds = (timestamp: string) => {
    const [seconds = '', fraction = ''] = timestamp.replace('Z', '').split('.');
    return BigInt(Date.parse(`${seconds}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'));
  };

  test('is at most one unit before the cursor less the overlap, and never after it', () => {
    fc.assert(
      fc.property(
        fc.date({
          min: new Date('1900-01-09T00:00:00Z'),
          max: new Date('9998-12-31T23:59:59Z'),
          noInvalidDate: true,
        }),
        fc.integer({ min: 0, max: 999_999 }),
        fc.integer({ min: 0, max: 604_800 }),
        fc.integer({ min: 0, max: 6 }),
        (date, fraction, overlapSeconds, fractionalDigits) => {
          const syncedTo = `${date.toISOString().slice(0, 19)}.${String(fraction).padStart(6, '0')}Z`;
          const from = askFrom(syncedTo, { overlapSeconds, fractionalDigits }) ?? '';
          expect(from).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
          expect((from.split('.')[1] ?? 'Z').length - 1).toBe(fractionalDigits);
          const early = microseconds(syncedTo) - BigInt(overlapSeconds) * 1_000_000n - microseconds(from);
          expect(early).toBeGreaterThanOrEqual(0n);
          expect(early).toBeLessThan(10n ** BigInt(6 - fractionalDigits));
        },
      ),
    );
  });
});
