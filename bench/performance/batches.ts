import type { BatchEvent } from '../../src/index.js';
import { startDelay } from '../delay.js';
import { contactIdOf, createTenant, type Tenant, timeOf } from './fleet.js';
import { type Row, replayed, timed, type Way } from './harness.js';
import { RawBatches } from './raw-batches.js';
import type { Release } from './releases.js';
import type { Database, Scope } from './scope.js';

/** The events of a batch: 5 % failures, 20 % links to contacts, all of records that are new. */
export function batchOf(batchNumber: number, count: number): BatchEvent[] {
  return Array.from({ length: count }, (_, index) => {
    const number = batchNumber * count + index;
    const record = {
      direction: 'inbound',
      entityType: 'contact',
      externalId: `OXF${number}`,
      occurredAt: timeOf(index),
    } as const;
    if (index % 20 === 7) {
      const message = 'The CRM refuses the record: it has no name.';
      const error = { kind: 'validation', retryable: true, code: '422', message } as const;
      return { ...record, status: 'error', error };
    }
    if (index % 5 !== 0) return { ...record, status: 'success' };
    return { ...record, status: 'success', internalId: contactIdOf(number / 5), linksContact: true };
  });
}

/** What a batch of a run costs, beside the same written by hand. */
export async function* batches(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const { batches, batchEvents } = size;
  const events = batchEvents.toLocaleString('en');
  const raw = 'seven set-based statements';

  const never = await prepare(scope, ours, batches);
  const times: number[] = [];
  const record = recordedBatches(scope, never);
  yield {
    work: `batch of ${events} into tables that were never analysed`,
    unit: 'ms',
    rounds: batches,
    async ours() {
      const time = await record();
      times.push(time);
      return time;
    },
    beside: [
      { name: raw, goal: { ratio: 0.9 }, way: rawBatches(scope, await prepare(scope, ours, batches)) },
      scope.besideEarlier(
        await scope.earlier(async (release) =>
          recordedBatches(scope, await prepare(scope, release, batches)),
        ),
      ),
    ],
  };
  const part = Math.ceil(batches / 5);
  yield {
    work: `the last ${part} of ${batches} batches into such tables, each with failures`,
    unit: 'ms',
    rounds: part,
    ours: replayed(times.slice(-part)),
    // The first ones meet a cold cache.
    beside: [{ name: `the first ${part}`, goal: { ratio: 0.9 }, way: replayed(times.slice(2, 2 + part)) }],
  };

  for (const milliseconds of [0, 1]) {
    const rounds = Math.ceil(size.rounds * 1.5);
    /** With a third of the batches before the tables are analysed. */
    const analysed = async (release: Release, waysOf: typeof rawBatches): Promise<Way> => {
      const tenant = await prepare(scope, release, 2 * rounds);
      const { client } = tenant.database;
      const way = waysOf(scope, milliseconds === 0 ? tenant : await delayed(scope, tenant, milliseconds));
      for (let batch = 0; batch < rounds / 2; batch += 1) await way();
      await client.query('vacuum analyze');
      return way;
    };
    yield {
      work: `batch of ${events} into analysed tables, ${milliseconds} ms away`,
      unit: 'ms',
      rounds,
      ours: await analysed(ours, recordedBatches),
      beside: [
        {
          name: raw,
          goal: { ratio: milliseconds === 0 ? 1 : 1.3 },
          way: await analysed(ours, rawBatches),
        },
        scope.besideEarlier(await scope.earlier((release) => analysed(release, recordedBatches))),
      ],
    };
  }
}

/** A run in a database. */
interface OpenRun {
  database: Database;
  tenant: Tenant;
}

/** The same run, further away. */
async function delayed(scope: Scope, { database, tenant }: OpenRun, milliseconds: number): Promise<OpenRun> {
  const delay = await startDelay(database.url, milliseconds);
  scope.atEnd(() => delay.stop());
  return { tenant, database: { ...database, url: delay.url, client: await scope.connect(delay.url) } };
}

/** A database that autovacuum leaves alone, with a run, and contacts for so many batches. */
async function prepare(scope: Scope, release: Release, batches: number): Promise<OpenRun> {
  const { size } = scope.bench;
  const database = await scope.database(release);
  const { client } = database;
  await client.query(`
    do $$
    declare
      relation regclass;
    begin
      for relation in select oid from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' loop
        execute format('alter table %s set (autovacuum_enabled = off)', relation);
      end loop;
    end
    $$`);
  return { database, tenant: await createTenant(client, Math.ceil(((batches + 3) * size.batchEvents) / 5)) };
}

/** Records a batch each time it is called. */
function recordedBatches(scope: Scope, { database, tenant }: OpenRun): Way {
  const { syncBatchRecord } = database.release.api;
  let batchNumber = 0;
  return async () => {
    batchNumber += 1;
    const events = batchOf(batchNumber, scope.bench.size.batchEvents);
    const cursors = [cursorOf(batchNumber)];
    return timed(1, () => syncBatchRecord(database.client, { ...tenant, batchNumber, events, cursors }))();
  };
}

/** Where the stream resumes after a batch. */
export function cursorOf(batchNumber: number) {
  return {
    direction: 'inbound',
    entityType: 'contact',
    version: batchNumber - 1,
    position: { kind: 'timestamp', syncedTo: new Date(Date.UTC(2026, 0, 1) + batchNumber * 1000) },
  } as const;
}

function rawBatches(scope: Scope, { database, tenant }: OpenRun): Way {
  const raw = new RawBatches(database.client, tenant);
  let batchNumber = 0;
  return async () => {
    batchNumber += 1;
    const events = batchOf(batchNumber, scope.bench.size.batchEvents);
    return timed(1, () => raw.record(batchNumber, events))();
  };
}
