import { beforeEach, describe, expect, test } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import { RateLimiter } from '../../examples/rate-limit.js';
import { type Queryable, rateLimitBlock, rateLimits } from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';

const database = useDatabase();
const { pool } = database;
const worker = useMember(database, 'crm_worker');
const owner = { provider: 'street', scope: 'AAA' } as const;
beforeEach(async () => {
  await pool.query('delete from crm_rate_limits');
});

/** A limiter whose clock moves only when told to, and the numbers of permits that it asks for. */
function limiterOf(options: { limits?: typeof rateLimits.street; slowBy?: number } = {}) {
  const asked: unknown[] = [];
  const clock = { time: 0, now: () => clock.time, wait: () => Promise.reject(new Error('waits')) };
  const client: Queryable = {
    query(config) {
      asked.push(config.values[3]);
      clock.time += options.slowBy ?? 0;
      return worker.query(config) as never;
    },
  };
  const limiter = new RateLimiter(client, owner, { clock, ...options });
  return { limiter, clock, asked };
}

describe('turn', () => {
  test('asks once for as many permits as were used lately in the time for which they are valid', async () => {
    const { limiter, clock, asked } = limiterOf();
    for (let request = 0; request < 11; request += 1) {
      await limiter.turn('reads');
      clock.time += 100;
    }
    expect(asked).toEqual([1, 10]);
  });

  test('uses no permit that has lapsed, and then asks for as many as were used', async () => {
    const { limiter, clock, asked } = limiterOf();
    for (let request = 0; request < 4; request += 1) {
      await limiter.turn('reads');
      clock.time += 100;
    }
    clock.time = 1100;
    await limiter.turn('reads');
    expect(asked).toEqual([1, 10, 3]);
  });

  test('keeps reads and writes apart where the CRM does', async () => {
    const { limiter, asked } = limiterOf();
    await limiter.turn('reads');
    await limiter.turn('writes');
    await limiter.refused('writes', { retryAfterSeconds: 600 });
    await limiter.turn('reads');
    expect(asked.length).toBe(4);
    await expect(limiter.turn('writes')).rejects.toMatchObject({ kind: 'rate_limited' });
  });

  test('ends at once with the time to wait, if that is too long', async () => {
    const { limiter } = limiterOf();
    await rateLimitBlock(worker, { ...owner, counted: 'reads', seconds: 100 });
    const error = await limiter.turn('reads', { longestWaitSeconds: 99 }).catch((reason) => reason);
    expect(error).toBeInstanceOf(CrmError);
    expect(error).toMatchObject({ kind: 'rate_limited', retryable: true, retryAfterSeconds: 100 });
    await expect(limiter.turn('reads', { longestWaitSeconds: 101 })).rejects.toThrow('waits');
  });

  test('ends a wait at the signal', async () => {
    await rateLimitBlock(worker, { ...owner, counted: 'reads', seconds: 30 });
    const ending = new AbortController();
    const began = performance.now();
    const turn = new RateLimiter(worker, owner).turn('reads', { signal: ending.signal });
    setTimeout(() => ending.abort(), 200);
    await expect(turn).rejects.toMatchObject({ name: 'AbortError' });
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  test('gives up if its permits have lapsed each time before the database answers', async () => {
    const { limiter, asked } = limiterOf({ slowBy: 1001 });
    await expect(limiter.turn('reads')).rejects.toMatchObject({ kind: 'network', retryable: true });
    expect(asked).toEqual([1, 1, 1, 1, 1]);
  });

  test('keeps to the limits that an agency was promised', async () => {
    const windows = [{ requests: 1, seconds: 60 }];
    const { limiter } = limiterOf({
      limits: { ...rateLimits.street, reads: { counted: 'reads', windows } },
    });
    await limiter.turn('reads');
    await expect(limiter.turn('reads', { longestWaitSeconds: 1 })).rejects.toMatchObject({
      kind: 'rate_limited',
    });
  });
});

describe('refused', () => {
  test('blocks for as long as the CRM says, otherwise for as long as is documented for it', async () => {
    const { limiter } = limiterOf();
    const refusal = (retryAfterSeconds?: number) =>
      new CrmError('rate_limited', 'Too many requests.', { retryable: true, retryAfterSeconds });
    expect(await limiter.refused('reads', refusal(5))).toBe(5);
    expect(await limiter.refused('reads', refusal())).toBe(60);
    const { rows } = await pool.query(
      'select blocked_until_at > now() + interval \'50 s\' as "isBlocked" from crm_rate_limits',
    );
    expect(rows).toEqual([{ isBlocked: true }]);
  });

  test('lets go of the permits in hand', async () => {
    const { limiter, clock } = limiterOf();
    for (let request = 0; request < 4; request += 1) {
      await limiter.turn('reads');
      clock.time += 100;
    }
    await limiter.refused('reads', { retryAfterSeconds: 600 });
    await expect(limiter.turn('reads')).rejects.toMatchObject({ kind: 'rate_limited' });
  });
});
