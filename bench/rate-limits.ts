import pg from 'pg';
import { RateLimiter } from '../examples/rate-limit.js';
import { type Queryable, rateLimits, rateLimitTake } from '../src/index.js';

const workers = 20;
const seconds = 10;

/**
 * Measures whether the row of a rate limit that twenty workers share is hot: how many takes a second it bears, and how
 * many it gets from workers that send a request every tenth of a second.
 */
export async function measureRateLimits(connectionString: string): Promise<void> {
  const clients = Array.from({ length: workers }, () => new pg.Client({ connectionString }));
  await Promise.all(clients.map((client) => client.connect()));
  const probe = clients[0] as pg.Client;
  try {
    const windows = [{ requests: 1_000_000_000, seconds: 60 }];
    const key = { provider: 'custom', counted: 'requests' } as const;
    for (const [name, scopeOf] of [
      ['a limit that all share', () => 'shared'],
      ['a limit for each worker', (worker: number) => `worker ${worker}`],
    ] as const) {
      const durations: number[] = [];
      await untilOver(clients, async (client, worker) => {
        const began = performance.now();
        await rateLimitTake(client, { ...key, scope: scopeOf(worker), windows });
        durations.push(performance.now() - began);
      });
      const [median, slow] = [0.5, 0.99].map((share) =>
        durations.toSorted((one, other) => one - other)[Math.floor(durations.length * share)]?.toFixed(1),
      );
      const rate = Math.round(durations.length / seconds);
      console.log(`${name}: ${rate} takes a second; median ${median} ms, 99th percentile ${slow} ms`);
    }

    let takes = 0;
    let requests = 0;
    const limiters = clients.map((client) => {
      const counting: Queryable = {
        query(config) {
          takes += 1;
          return client.query(config as never) as never;
        },
      };
      return new RateLimiter(counting, { provider: 'street', scope: 'AAA' });
    });
    const { windows: allowed } = rateLimits.street.reads;
    await untilOver(
      clients,
      async (_, worker) => {
        await (limiters[worker] as RateLimiter).turn('reads', { longestWaitSeconds: 0 }).then(
          () => {
            requests += 1;
          },
          () => {},
        );
        await new Promise((resolve) => setTimeout(resolve, 100));
      },
      () => requests < (allowed[0]?.requests ?? 0) * 0.9,
    );
    const { rows } = await probe.query(
      `select pg_size_pretty(pg_table_size('crm_rate_limits')) as size, length(used::text) as length
       from crm_rate_limits where provider = 'street'`,
    );
    console.log(`Street, a request every 100 ms: ${requests} requests, ${takes} takes`);
    console.log(`the table: ${rows[0].size}; the row: ${rows[0].length} characters of permits`);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** Lets each client repeat `work`, for some seconds or while there is reason to. */
async function untilOver(
  clients: pg.Client[],
  work: (client: pg.Client, worker: number) => Promise<void>,
  goesOn = () => true,
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  await Promise.all(
    clients.map(async (client, worker) => {
      while (performance.now() < end && goesOn()) await work(client, worker);
    }),
  );
}
