import pg from 'pg';
import type { Release } from './releases.js';
import { calledAt, samples } from './samples.js';

/** How the clients of a release fared during other work. */
export interface Fared {
  /** How often all its queries were called. */
  rounds: number;
  /** Calls that were refused now but not before, or the other way round. */
  failures: string[];
  /** How many events it recorded and committed, with the external ids 1, 2 … and the entity type `beside`. */
  recorded: number;
}

/**
 * Does `work` while clients of a release keep running: two call every query repeatedly, and one records
 * events. All have called everything before, so their statements are prepared only once.
 */
export async function beside(
  url: string,
  login: string,
  release: Release,
  work: () => Promise<void>,
): Promise<Fared> {
  const fared: Fared = { rounds: 0, failures: [], recorded: 0 };
  const clients = Array.from({ length: 3 }, () => new pg.Client({ connectionString: url }));
  try {
    for (const client of clients) {
      await client.connect();
      await client.query(`set session authorization ${login}`);
    }
    const [recorder, ...callers] = clients as [pg.Client, ...pg.Client[]];
    const record = async () => {
      await recordEvent(recorder, release, fared.recorded + 1);
      fared.recorded += 1;
    };
    await record();
    let answers = new Map<string, string>();
    for (const caller of callers) answers = await callEach(caller, release);

    let isOver = false;
    const goingOn = Promise.all([
      ...callers.map(async (caller) => {
        for (; !isOver; fared.rounds += 1) {
          for (const [call, answer] of await callEach(caller, release))
            if (answers.get(call) !== answer) fared.failures.push(`${call}: ${answer}`);
        }
      }),
      (async () => {
        while (!isOver) await record();
      })(),
    ]);
    // Awaited below; until then a rejection must not count as unhandled.
    goingOn.catch(() => {});
    try {
      await work();
    } finally {
      isOver = true;
      await goingOn;
    }
    return fared;
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** Calls every query of a release, each in a transaction that is rolled back, and returns which were refused. */
async function callEach(client: pg.ClientBase, { queries }: Release): Promise<Map<string, string>> {
  const answers = new Map<string, string>();
  for (const { name, text, parameterNames } of queries) {
    for (const [number, params] of (samples[name]?.calls ?? []).entries()) {
      await client.query('begin');
      await client.query("select set_config('crm_schema.now', $1, true)", [calledAt]);
      const values = parameterNames.map((parameter) => params[parameter] ?? null);
      const answer = await client.query({ name, text, values }).then(
        () => 'answered',
        ({ code, message }) => `${code} ${message}`,
      );
      answers.set(`${name} ${number + 1}`, answer);
      await client.query('rollback');
    }
  }
  return answers;
}

async function recordEvent(client: pg.ClientBase, { queries }: Release, number: number): Promise<void> {
  const query = queries.find(({ name }) => name === 'syncLogRecord');
  const params: Record<string, unknown> = {
    ...samples.syncLogRecord?.calls[0],
    occurredAts: [null],
    directions: ['inbound'],
    entityTypes: ['beside'],
    externalIds: [String(number)],
    internalIds: [null],
    statuses: ['success'],
    errors: [null],
    reasons: [null],
  };
  await client.query({
    name: 'record',
    text: query?.text ?? '',
    values: query?.parameterNames.map((name) => params[name]) ?? [],
  });
}
