import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createTenant } from './fleet.js';
import { type Row, timed, type Way } from './harness.js';
import type { Release } from './releases.js';
import type { Scope } from './scope.js';

const run = promisify(execFile);

/** What whole processes cost: to start with this package, and to make one very large call. */
export async function* processes(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const start = (release: Release, ...args: string[]): Way =>
    timed(1, () => run(process.execPath, args, { cwd: release.folder }));
  const importing = ['--input-type=module', '--eval', "import '@nurturehub/crm-schema/credentials'"];
  const empty = start(ours, '--input-type=module', '--eval', '');
  for (const [work, args, most] of [
    ['a process that imports ./credentials', importing, 60],
    ['crm-schema --help', ['dist/cli/main.js', '--help'], 90],
  ] as const) {
    yield {
      work,
      unit: 'ms',
      rounds: size.rounds,
      ours: start(ours, ...args),
      beside: [
        { name: 'an empty script', goal: { added: most }, way: empty },
        scope.besideEarlier(await scope.earlier((release) => start(release, ...args))),
      ],
    };
  }
  yield {
    work: `peak memory of one call that logs ${size.callEvents.toLocaleString('en')} events, over the process`,
    unit: 'MB',
    rounds: size.fewRounds,
    ours: await peakMemory(scope, ours),
    beside: [scope.besideEarlier(await scope.earlier((release) => peakMemory(scope, release)), { ratio: 2 })],
  };
}

const largeCall = `
  import { syncLogRecord } from '@nurturehub/crm-schema';
  import pg from 'pg';
  const { url, count, ...connection } = JSON.parse(process.argv[1]);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const event = (index) => ({
    direction: 'inbound',
    entityType: 'contact',
    externalId: 'OXF' + (18000000 + index),
    internalId: '00000000-0000-4000-8000-' + String(index).padStart(12, '0'),
    occurredAt: new Date(Date.now() - index * 1000).toISOString(),
    status: 'success',
  });
  await syncLogRecord(client, { ...connection, events: [event(0)] });
  const events = Array.from({ length: count }, (_, index) => event(index));
  gc();
  // Kilobytes.
  const before = process.memoryUsage().rss / 1024;
  await syncLogRecord(client, { ...connection, events });
  console.log(Math.max(0.1, (process.resourceUsage().maxRSS - before) / 1024));
  await client.end();
`;

async function peakMemory(scope: Scope, release: Release): Promise<Way> {
  const { client, url } = await scope.database(release);
  const { organisationId, connectionId } = await createTenant(client);
  const task = { url, count: scope.bench.size.callEvents, organisationId, connectionId };
  const args = ['--expose-gc', '--input-type=module', '--eval', largeCall, JSON.stringify(task)];
  return async () => {
    const { stdout } = await run(process.execPath, args, { cwd: release.folder });
    return Number(stdout);
  };
}
