import type pg from 'pg';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  providers,
  type Queryable,
  type RateLimitBlockParams,
  type RateLimitTakeParams,
  rateLimitBlock,
  rateLimitPurge,
  rateLimits,
  rateLimitTake,
} from '../../src/index.js';
import { atNine as atNineOn, type Clock } from '../support/clock.js';
import { insert, useDatabase } from '../support/database.js';
import { expectRefused } from '../support/refusals.js';

const database = useDatabase();
const { pool } = database;
const atNine = (work: (client: pg.Client, clock: Clock) => Promise<void>) => atNineOn(database.url, work);
beforeEach(async () => {
  await pool.query('delete from crm_rate_limits');
});

const key = { provider: 'street', scope: 'AAA', counted: 'reads' } as const;
const tenAMinute = { ...key, windows: [{ requests: 10, seconds: 60 }] };
const take = (client: Queryable, overrides: Partial<RateLimitTakeParams> = {}) =>
  rateLimitTake(client, { ...tenAMinute, ...overrides });
const block = (client: Queryable, seconds: number, overrides: Partial<RateLimitBlockParams> = {}) =>
  rateLimitBlock(client, { ...key, ...overrides, seconds });

/** Takes permits one by one until none is left. Returns how many there were. */
async function exhaust(client: Queryable, overrides: Partial<RateLimitTakeParams> = {}): Promise<number> {
  let taken = 0;
  while ((await take(client, overrides)).granted === 1) taken += 1;
  return taken;
}

describe('rateLimitTake', () => {
  test('grants what is wanted, says for how long it is valid, and nothing about a wait', async () => {
    const { windows: many } = rateLimits.street.reads;
    expect(await take(pool, { windows: many, requests: 3 })).toEqual({
      granted: 3,
      waitMilliseconds: 0,
      validMilliseconds: 1000,
    });
    const { windows } = rateLimits.reapit.reads;
    expect(await take(pool, { windows })).toMatchObject({ granted: 1, validMilliseconds: 200 });
  });

  test('grants at most a twentieth of the smallest window, rounded up, so that others find some', async () => {
    const windows = [
      { requests: 1000, seconds: 60 },
      { requests: 50, seconds: 600 },
    ];
    const granted: number[] = [];
    for (let call = 0; call < 18; call += 1)
      granted.push((await take(pool, { windows, requests: 100 })).granted);
    expect(granted).toEqual([...Array(16).fill(3), 2, 0]);
  });

  test('grants no more than a window allows, wherever the window begins', async () => {
    await atNine(async (client, clock) => {
      const taken: number[] = [];
      // Half past a slot of six seconds, so that slots and seconds do not coincide.
      for (let second = 0; second < 300; second += 1) {
        for (let left = await exhaust(client); left > 0; left -= 1) taken.push(second);
        await clock.pass(1);
      }
      for (const first of taken) {
        const within = taken.filter((second) => second >= first && second < first + 60);
        expect(within.length).toBeLessThanOrEqual(10);
      }
      expect(taken.length).toBeGreaterThanOrEqual(40);
    });
  });

  test('says when a permit is free again, and it is', async () => {
    await atNine(async (client, clock) => {
      expect(await exhaust(client)).toBe(10);
      const { waitMilliseconds } = await take(client);
      // The slot of six seconds, the window, and how late a request may be.
      expect(waitMilliseconds).toBe(67_250);
      await clock.pass(67.249);
      expect(await take(client)).toMatchObject({ granted: 0, waitMilliseconds: 1 });
      await clock.pass(0.001);
      expect(await take(client)).toMatchObject({ granted: 1, waitMilliseconds: 0 });
    });
  });

  test('counts a permit of the last moment of a slot for the whole window after it', async () => {
    await atNine(async (client, clock) => {
      await clock.pass(5.999);
      expect(await exhaust(client)).toBe(10);
      await clock.pass(61.25);
      expect(await take(client)).toMatchObject({ granted: 0, waitMilliseconds: 1 });
    });
  });

  test('waits until as many have ended as a lowered limit demands', async () => {
    await atNine(async (client, clock) => {
      for (let permit = 0; permit < 10; permit += 1) {
        await take(client);
        await clock.pass(3);
      }
      const windows = [{ requests: 3, seconds: 60 }];
      // Eight of ten, two to a slot, have to end: those of the first four slots.
      expect(await take(client, { windows })).toMatchObject({
        granted: 0,
        waitMilliseconds: (4 * 6 + 60 + 1.25 - 30) * 1000,
      });
    });
  });

  test('takes from all windows or from none', async () => {
    await atNine(async (client, clock) => {
      const windows = [
        { requests: 5, seconds: 1 },
        { requests: 8, seconds: 60 },
      ];
      expect(await exhaust(client, { windows })).toBe(5);
      expect(await take(client, { windows })).toMatchObject({ granted: 0, waitMilliseconds: 1350 });
      await clock.pass(1.35);
      expect(await exhaust(client, { windows })).toBe(3);
      // What the minute refused has taken nothing from the second.
      await clock.pass(1.35);
      expect(await exhaust(client, { windows: [{ requests: 5, seconds: 1 }] })).toBe(5);
    });
  });

  test('counts what was taken by a release with other windows', async () => {
    await take(pool, { windows: [{ requests: 100, seconds: 60 }], requests: 2 });
    await take(pool, { windows: [{ requests: 140, seconds: 1 }], requests: 7 });
    expect(await exhaust(pool)).toBe(1);
  });

  test('counts apart what the CRM counts apart', async () => {
    expect(await exhaust(pool)).toBe(10);
    expect(await exhaust(pool, { counted: 'writes' })).toBe(10);
    expect(await exhaust(pool, { scope: 'aaa' })).toBe(10);
    expect(await exhaust(pool, { provider: 'alto' })).toBe(10);
    expect(await exhaust(pool)).toBe(0);
  });

  test('grants twenty workers at once no more than the limit', async () => {
    const granted = await Promise.all(
      Array.from({ length: 20 }, async () => {
        let own = 0;
        for (let call = 0; call < 10; call += 1) own += (await take(pool, { requests: 3 })).granted;
        return own;
      }),
    );
    expect(granted.reduce((sum, own) => sum + own)).toBe(10);
  });

  test('keeps only what still counts, so that the row does not grow', async () => {
    await atNine(async (client, clock) => {
      const windows = [
        { requests: 1000, seconds: 1 },
        { requests: 1000, seconds: 60 },
      ];
      for (let call = 0; call < 300; call += 1) {
        await take(client, { windows });
        await clock.pass(0.7);
      }
      const { rows } = await client.query('select length(used::text) as length from crm_rate_limits');
      expect(rows[0].length).toBeLessThan(400);
    });
  });

  test('forgets nothing and waits for nothing longer when the clock is set back', async () => {
    await atNine(async (client, clock) => {
      await block(client, 30);
      await clock.pass(31);
      expect(await exhaust(client)).toBe(10);
      await clock.pass(-3600);
      const { waitMilliseconds } = await take(client);
      expect(waitMilliseconds).toBeGreaterThan(60_000);
      expect(waitMilliseconds).toBeLessThanOrEqual(74_000);
      // The clock goes on from there.
      await clock.pass(74);
      expect(await exhaust(client)).toBe(10);
      await block(client, 100);
      await clock.pass(-86_400);
      expect(await take(client)).toMatchObject({ granted: 0, waitMilliseconds: 100_000 });
      await clock.pass(100);
      expect(await exhaust(client)).toBe(10);
    });
  });

  test('goes by the time after the wait for others, not by that before it', async () => {
    const { windows } = rateLimits.reapit.reads;
    const other = await pool.connect();
    try {
      await take(pool, { windows });
      await other.query('begin');
      await other.query('select from crm_rate_limits for update');
      const waiting = take(pool, { windows });
      await other.query('select pg_sleep(0.5)');
      const { rows } = await other.query('select clock_timestamp() as at');
      await other.query('commit');
      expect(await waiting).toMatchObject({ granted: 1 });
      const after = await pool.query('select taken_at >= $1 as "isLater" from crm_rate_limits', [rows[0].at]);
      expect(after.rows).toEqual([{ isLater: true }]);
    } finally {
      other.release();
    }
  });

  test.each<[string, Record<string, unknown>, string]>([
    ['another provider', { provider: 'salesforce' }, 'unknown_provider'],
    ['a blank scope', { scope: ' ' }, 'invalid_input'],
    ['a long scope', { scope: 'x'.repeat(201) }, 'invalid_input'],
    ['another count', { counted: 'deletes' }, 'invalid_input'],
    ['no request', { requests: 0 }, 'invalid_input'],
    ['too many requests', { requests: 1001 }, 'invalid_input'],
    ['no window', { windows: [] }, 'invalid_input'],
    ['eleven windows', { windows: Array(11).fill({ requests: 1, seconds: 1 }) }, 'invalid_input'],
    ['a window of nothing', { windows: [null] }, 'invalid_input'],
    ['a window without a request', { windows: [{ requests: 0, seconds: 1 }] }, 'invalid_input'],
    ['a window of no length', { windows: [{ requests: 1, seconds: 0 }] }, 'invalid_input'],
    ['a window that is too long', { windows: [{ requests: 1, seconds: 604_801 }] }, 'invalid_input'],
  ])('refuses %s', async (_, overrides, code) => {
    await expect(rateLimitTake(pool, { ...tenAMinute, ...overrides } as never)).rejects.toMatchObject({
      code,
    });
  });

  test.each([
    'null, array[1], array[1]',
    '0, array[1], array[1]',
    "1, '{}', '{}'",
    '1, array[0], array[1]',
    '1, array[604801], array[1]',
    '1, array[1, 2], array[1]',
    '1, array[1], array[0]',
    '1, array[null::integer], array[1]',
  ])('refuses %s in the database as well', async (parameters) => {
    const call = `select from crm_take_rate_limit('street', 'AAA', 'reads', ${parameters})`;
    await expectRefused(pool.query(call), { code: 'CRM04' });
  });
});

describe('rateLimitBlock', () => {
  test('lets nobody in until it ends, and then everybody', async () => {
    await atNine(async (client, clock) => {
      expect(await block(client, 60)).toEqual({ blockedUntil: '2026-11-16T09:01:00.000000Z' });
      expect(await take(client)).toMatchObject({ granted: 0, waitMilliseconds: 60_000 });
      await clock.pass(59.999);
      expect(await take(client)).toMatchObject({ granted: 0, waitMilliseconds: 1 });
      await clock.pass(0.001);
      expect(await take(client)).toMatchObject({ granted: 1 });
    });
  });

  test('is never shortened by another, but lengthened', async () => {
    await atNine(async (client, clock) => {
      await block(client, 60);
      await clock.pass(1);
      expect(await block(client, 10)).toEqual({ blockedUntil: '2026-11-16T09:01:00.000000Z' });
      expect(await block(client, 0)).toEqual({ blockedUntil: '2026-11-16T09:01:00.000000Z' });
      expect(await block(client, 60)).toEqual({ blockedUntil: '2026-11-16T09:01:01.000000Z' });
    });
  });

  test('says when a permit is free if that is after the block', async () => {
    await atNine(async (client) => {
      await exhaust(client);
      await block(client, 10);
      expect(await take(client)).toMatchObject({ granted: 0, waitMilliseconds: 67_250 });
    });
  });

  test('leaves what the CRM counts apart', async () => {
    await block(pool, 60);
    expect(await take(pool, { counted: 'writes' })).toMatchObject({ granted: 1 });
  });

  test('lasts for a week at most', async () => {
    await atNine(async (client) => {
      expect(await block(client, 604_800)).toEqual({ blockedUntil: '2026-11-23T09:00:00.000000Z' });
      expect(await take(client)).toMatchObject({ waitMilliseconds: 604_800_000 });
      for (const seconds of [604_801, -1, 0.5, Number.NaN, '60']) {
        await expect(block(client, seconds as number)).rejects.toMatchObject({ code: 'invalid_input' });
      }
      await expectRefused(client.query("select crm_block_rate_limit('street', 'AAA', 'reads', 604801)"), {
        code: '23514',
        constraint: 'crm_rate_limits_blocked_for_a_week_at_most_check',
      });
    });
  });
});

describe('rateLimitPurge', () => {
  test('deletes limits in which nothing counts any longer, and no others', async () => {
    await atNine(async (client, clock) => {
      await take(client, { scope: 'taken' });
      await block(client, 60, { scope: 'blocked' });
      await block(client, 3600, { scope: 'blocked for an hour' });
      await take(client, { scope: 'of a day', windows: [{ requests: 1, seconds: 86_400 }] });
      await clock.pass(61);
      expect(await rateLimitPurge(client)).toEqual({ purged: 1 });
      await clock.pass(10);
      expect(await rateLimitPurge(client, { limit: 1 })).toEqual({ purged: 1 });
      expect(await rateLimitPurge(client)).toEqual({ purged: 0 });
      await clock.pass(3600);
      expect(await rateLimitPurge(client)).toEqual({ purged: 1 });
      await clock.pass(80_000);
      expect(
        await take(client, { scope: 'of a day', windows: [{ requests: 1, seconds: 86_400 }] }),
      ).toMatchObject({ granted: 0 });
      await clock.pass(86_400);
      expect(await rateLimitPurge(client)).toEqual({ purged: 1 });
    });
  });

  test('skips a limit that somebody takes from at this moment, and a take makes a deleted one again', async () => {
    await atNine(async (client, clock) => {
      await take(client);
      await clock.pass(3600);
      const other = await pool.connect();
      try {
        await other.query('begin');
        await other.query('select from crm_rate_limits for update');
        expect(await rateLimitPurge(client)).toEqual({ purged: 0 });
        await other.query('rollback');
        expect(await rateLimitPurge(client)).toEqual({ purged: 1 });
        expect(await take(client)).toMatchObject({ granted: 1 });
      } finally {
        other.release();
      }
    });
  });
});

describe('crm_rate_limits', () => {
  const row = {
    provider: 'street',
    scope: 'AAA',
    counted: 'reads',
    taken_at: '2026-11-16T09:00:00Z',
    expires_at: '2026-11-16T09:00:00Z',
  };
  test.each<[string, Record<string, unknown>]>([
    ['crm_rate_limits_provider_check', { provider: 'salesforce' }],
    ['crm_rate_limits_scope_check', { scope: ' ' }],
    ['crm_rate_limits_scope_check', { scope: 'x'.repeat(201) }],
    ['crm_rate_limits_counted_check', { counted: 'deletes' }],
    ['crm_rate_limits_used_is_object_check', { used: '[]' }],
    ['crm_rate_limits_blocked_for_a_week_at_most_check', { blocked_until_at: '2026-11-23T09:00:01Z' }],
    ['crm_rate_limits_times_in_range_check', { taken_at: '1800-01-01T00:00:00Z' }],
    ['crm_rate_limits_times_in_range_check', { expires_at: 'infinity' }],
  ])('%s refuses %j', async (constraint, overrides) => {
    await expectRefused(insert(pool, 'crm_rate_limits', { ...row, ...overrides }), {
      code: '23514',
      constraint,
    });
  });
});

test('rateLimits has valid defaults for every CRM', async () => {
  for (const provider of providers) {
    const { reads, writes, waitSeconds } = rateLimits[provider];
    for (const limit of [reads, writes])
      expect(await rateLimitTake(pool, { provider, scope: 'AAA', ...limit })).toMatchObject({ granted: 1 });
    await rateLimitBlock(pool, { provider, scope: 'AAA', counted: reads.counted, seconds: waitSeconds });
    expect(waitSeconds).toBeGreaterThanOrEqual(1);
  }
});
