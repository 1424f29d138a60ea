/**
 * Symptom: several workers, or several connections with one API key, share a CRM's rate limit. Each of them learns of
 * it only by a 429 of its own, waits for itself, and comes back while the others go on asking, until the CRM takes it
 * for an attack and blocks the key. A 429 without Retry-After ends the run.
 *
 * Source: tried on 1.3.0 with a server that has Reapit's habits (20 requests a second, 250,000 a day, no Retry-After);
 * agentOS's help page on throttling: 50 a minute, then wait for 60 seconds, or be answered 403
 * (https://hub.agentos.com/api-throttle-limits-and-rate-limiting).
 *
 * Input: twenty workers, each with a connection of its own to the database, and a CRM that lets nobody in for a minute
 * when its limit is passed, also when another program passes it. Time is simulated.
 *
 * Right: workers that take their permits are never refused, and use more than half of what the CRM allows. If another program
 * passes the limit, one refusal stops all of them until the minute is over.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CrmError } from '../../examples/crm.js';
import { RateLimiter } from '../../examples/rate-limit.js';
import { seededRandom } from '../../examples/simulated-crm/random.js';
import { type Provider, type Queryable, type RateLimitWindow, rateLimits } from '../../src/index.js';
import { useDatabase } from '../support/database.js';
import { useMember } from '../support/roles.js';
import { SimulatedTime } from '../support/simulated-time.js';

const database = useDatabase();
const worker = useMember(database, 'crm_worker');

const workerCount = 20;
const blockSeconds = 60;
/** The longest that a request is on its way, in milliseconds. */
const longestWay = 40;

/** A CRM on loopback that lets nobody in for a minute when a window of its limit is passed. */
async function startCrm(time: SimulatedTime, windows: readonly RateLimitWindow[], saysHowLong: boolean) {
  const answered: number[] = [];
  const refused: number[] = [];
  let blockedUntil = 0;
  const letNobodyIn = () => {
    blockedUntil = time.now() + blockSeconds * 1000;
  };
  const server = createServer((_, response) => {
    const isPassed = windows.some(
      ({ requests, seconds }) => answered.filter((at) => at > time.now() - seconds * 1000).length >= requests,
    );
    if (time.now() >= blockedUntil && isPassed) letNobodyIn();
    if (time.now() >= blockedUntil) {
      answered.push(time.now());
      response.end();
      return;
    }
    refused.push(time.now());
    response.writeHead(
      429,
      saysHowLong ? { 'retry-after': String(Math.ceil((blockedUntil - time.now()) / 1000)) } : undefined,
    );
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, answered, refused, letNobodyIn };
}

/** A connection to the database whose statements see the simulated time. */
async function connectAt(time: SimulatedTime): Promise<Queryable> {
  const client = new pg.Client(worker.options);
  await client.connect();
  onTestFinished(() => client.end());
  return {
    async query(config) {
      await client.query("select set_config('crm_schema.now', $1, false)", [
        new Date(time.now()).toISOString(),
      ]);
      return client.query(config as never) as never;
    },
  };
}

/** How a worker keeps to the limit. */
interface Manners {
  turn(): Promise<void>;
  refused(error: CrmError): Promise<void>;
}

/** Lets twenty workers send their requests to a CRM. */
async function send(options: {
  provider: Provider;
  each: number;
  seed: number;
  saysHowLong?: boolean;
  /** When another program passes the limit, in seconds. */
  passedAt?: number;
  mannersOf?: (time: SimulatedTime) => Promise<Manners>;
}) {
  const { provider, each, seed, passedAt, saysHowLong = true } = options;
  const time = new SimulatedTime();
  const { windows } = rateLimits[provider].reads;
  const crm = await startCrm(time, windows, saysHowLong);
  const random = seededRandom(seed);
  const scope = `account ${seed}`;
  const takingPermits = async (): Promise<Manners> => {
    const clock = { now: time.now, wait: time.sleep };
    const limiter = new RateLimiter(await connectAt(time), { provider, scope }, { clock });
    return {
      turn: () => limiter.turn('reads', { longestWaitSeconds: 600 }),
      refused: async (error) => void (await limiter.refused('reads', error)),
    };
  };
  const all = await Promise.all(
    Array.from({ length: workerCount }, () => (options.mannersOf ?? takingPermits)(time)),
  );
  const work = (manners: Manners) => async () => {
    await time.sleep(random() * 1000);
    for (let sent = 0; sent < each; ) {
      await manners.turn();
      await time.sleep(random() * longestWay);
      const { status, headers } = await fetch(crm.url);
      const retryAfter = headers.get('retry-after');
      if (status === 200) sent += 1;
      else {
        const retryAfterSeconds = retryAfter === null ? undefined : Number(retryAfter);
        await manners.refused(
          new CrmError('rate_limited', 'Too many requests.', { retryable: true, retryAfterSeconds }),
        );
      }
      await time.sleep(50 + random() * 200);
    }
  };
  const otherProgram = async () => {
    if (passedAt === undefined) return;
    await time.sleep(passedAt * 1000);
    crm.letNobodyIn();
  };
  await time.run([...all.map(work), otherProgram]);
  return { ...crm, seconds: time.seconds };
}

/** Waits for itself only, as the example worker did. */
const waitingAlone = async (time: SimulatedTime): Promise<Manners> => ({
  turn: async () => {},
  refused: ({ retryAfterSeconds = blockSeconds }) => time.sleep(retryAfterSeconds * 1000),
});

const cases: { provider: Provider; each: number; saysHowLong: boolean; passedAt: number }[] = [
  { provider: 'agentos', each: 10, saysHowLong: false, passedAt: 1 },
  { provider: 'reapit', each: 15, saysHowLong: true, passedAt: 3 },
  { provider: 'street', each: 50, saysHowLong: false, passedAt: 3 },
];

describe.each(cases)('$provider, with twenty workers', ({ provider, each, saysHowLong, passedAt }) => {
  test('refuses many if each waits for itself', async () => {
    const { refused } = await send({ provider, each, saysHowLong, seed: 1, mannersOf: waitingAlone });
    expect(refused.length).toBeGreaterThan(workerCount / 2);
  });

  test('never refuses workers that take permits, who use more than half of its limit', async () => {
    const { refused, answered, seconds } = await send({ provider, each, saysHowLong, seed: 2 });
    expect(refused).toEqual([]);
    expect(answered.length).toBe(workerCount * each);
    const [shortest] = rateLimits[provider].reads.windows;
    const { requests, seconds: length } = shortest ?? expect.unreachable();
    // The first window is free at once.
    const allowed = requests * (seconds / length + 1);
    expect(answered.length / allowed).toBeGreaterThan(0.5);
  });

  test('refuses them once if another program passes the limit, and then nobody asks until it lets them in', async () => {
    const { refused, answered } = await send({ provider, each, saysHowLong, seed: 3, passedAt });
    const [first = 0] = refused;
    const last = refused.at(-1) ?? 0;
    expect(refused.length).toBeGreaterThan(0);
    // Only permits that others held already: they are valid for a second at most.
    expect(last - first).toBeLessThanOrEqual(1000 + longestWay);
    expect(refused.length).toBeLessThan(workerCount);
    expect(answered.length).toBe(workerCount * each);
  });
});
