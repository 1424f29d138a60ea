import { pipeline } from 'node:stream/promises';
import pg from 'pg';
import type { SyncEvent } from '../../src/index.js';
import { batchOf, cursorOf } from './batches.js';
import { contactIdOf, createTenant, type Tenant, timeOf } from './fleet.js';
import { processorTime, type Row, timed, type Way } from './harness.js';
import type { Release } from './releases.js';
import type { Database, Scope } from './scope.js';

const columns =
  'organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status, error';

/** Events as a worker logs them: with their times and contacts, one in twenty an error. */
function eventsOf(count: number): SyncEvent[] {
  return Array.from({ length: count }, (_, index) => {
    const event = {
      direction: 'inbound',
      entityType: 'contact',
      externalId: `OXF${18_000_000 + index}`,
      internalId: contactIdOf(index),
      occurredAt: timeOf(index),
    } as const;
    if (index % 20 !== 7) return { ...event, status: 'success' };
    const message = 'The CRM refuses the record: it has no name.';
    return {
      ...event,
      status: 'error',
      error: { kind: 'validation', retryable: true, code: '422', message },
    };
  });
}

/** What it costs to write the log without a run, what batches and log calls cost the client, and to read pages of it. */
export async function* log(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const { batchEvents, rounds } = size;
  const calls = Math.ceil(size.calls / 40);
  const count = batchEvents.toLocaleString('en');
  const events = eventsOf(batchEvents);
  const database = await scope.database(ours);
  const tenant = await createTenant(database.client);
  const logOf = ({ release, client }: Database, { organisationId, connectionId }: Tenant) => {
    const named = release.api.withNamedStatements(client);
    return () => release.api.syncLogRecord(named, { organisationId, connectionId, events });
  };
  const ourLog = logOf(database, tenant);
  const otherLog = await scope.earlier(async (release) => {
    const other = await scope.database(release);
    return logOf(other, await createTenant(other.client));
  });
  const copying = await scope.peer('pg-copy-streams', () => copy(scope, database.url, tenant, events));
  const inserting = await scope.peer('kysely', () => kyselyInsert(scope, database.url, tenant, events));
  yield {
    work: `log ${count} events`,
    unit: 'ms',
    rounds,
    ours: timed(calls, ourLog),
    beside: [
      scope.besidePeer('pg-copy-streams', ': COPY', copying && timed(calls, copying), { ratio: 0.98 }),
      scope.besidePeer('kysely', ': one insert', inserting && timed(calls, inserting), { ratio: 1.8 }),
      scope.besideEarlier(otherLog && timed(calls, otherLog)),
    ],
  };
  yield {
    work: `processor of the client, to log ${count} events`,
    unit: 'ms',
    rounds,
    ours: processorTime(calls, ourLog),
    beside: [scope.besideEarlier(otherLog && processorTime(calls, otherLog), { ratio: 2 })],
  };
  yield {
    work: `processor of the client, to record a batch of ${count}`,
    unit: 'ms',
    rounds,
    ours: await batchProcessorTime(scope, ours, calls),
    beside: [
      scope.besideEarlier(await scope.earlier((release) => batchProcessorTime(scope, release, calls)), {
        ratio: 2,
      }),
    ],
  };
  yield* pages(scope);
}

async function batchProcessorTime(scope: Scope, release: Release, calls: number): Promise<Way> {
  const { batchEvents, rounds } = scope.bench.size;
  const { client } = await scope.database(release);
  const tenant = await createTenant(client, Math.ceil(((calls * (rounds + 1) + 2) * batchEvents) / 5));
  let batchNumber = 0;
  // Made beforehand, so that only the call counts.
  const made = Array.from({ length: calls * (rounds + 1) }, (_, index) => batchOf(index + 1, batchEvents));
  return processorTime(calls, () => {
    batchNumber += 1;
    return release.api.syncBatchRecord(client, {
      ...tenant,
      batchNumber,
      events: made[batchNumber - 1] ?? [],
      cursors: [cursorOf(batchNumber)],
    });
  });
}

async function* pages(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const calls = Math.ceil(size.calls / 20);
  const limit = Math.min(1000, size.batchEvents);
  /** A log with failures for a page, and the ways to read one. */
  const pageOf = async (release: Release) => {
    const { client } = await scope.database(release);
    const { organisationId, connectionId } = await createTenant(client);
    const { syncLogRecord, withNamedStatements, ...reading } = release.api;
    for (let part = 0; part < 21; part += 1) {
      await syncLogRecord(client, { organisationId, connectionId, events: eventsOf(size.batchEvents) });
    }
    await client.query('vacuum analyze');
    const named = withNamedStatements(client);
    return (read: 'syncLogListByConnection' | 'syncLogListFailures') =>
      timed(calls, async () => {
        const found = await reading[read](named, { organisationId, connectionId, limit });
        if (found.length !== limit) throw new Error(`${found.length} events were found.`);
      });
  };
  const ourPage = await pageOf(ours);
  const theirPage = await scope.earlier(pageOf);
  for (const [what, read] of [
    ['events', 'syncLogListByConnection'],
    ['failures', 'syncLogListFailures'],
  ] as const) {
    yield {
      work: `a page of ${limit.toLocaleString('en')} ${what}`,
      unit: 'ms',
      rounds: size.rounds,
      ours: ourPage(read),
      beside: [scope.besideEarlier(theirPage?.(read), { ratio: 1 / 0.6 })],
    };
  }
}

async function copy(
  scope: Scope,
  url: string,
  { organisationId, connectionId }: Tenant,
  events: readonly SyncEvent[],
): Promise<() => Promise<unknown>> {
  const { from } = await scope.bench.peers.load('pg-copy-streams');
  const client = await scope.connect(url);
  const text = (value: unknown) =>
    value == null
      ? '\\N'
      : String(value).replace(
          /[\\\t\n\r]/g,
          (found) => `\\${{ '\t': 't', '\n': 'n', '\r': 'r' }[found] ?? found}`,
        );
  return async () => {
    const lines = events.map(({ occurredAt, direction, entityType, externalId, internalId, status, error }) =>
      [
        organisationId,
        connectionId,
        occurredAt,
        direction,
        entityType,
        externalId,
        internalId,
        status,
        error && JSON.stringify(error),
      ]
        .map(text)
        .join('\t'),
    );
    const target = client.query(from(`copy crm_sync_log (${columns}) from stdin`));
    await pipeline([`${lines.join('\n')}\n`], target);
  };
}

async function kyselyInsert(
  scope: Scope,
  url: string,
  { organisationId, connectionId }: Tenant,
  events: readonly SyncEvent[],
): Promise<() => Promise<unknown>> {
  const { Kysely, PostgresDialect } = await scope.bench.peers.load('kysely');
  const db = new Kysely({
    dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 1 }) }),
  });
  scope.atEnd(() => db.destroy());
  return () =>
    db
      .insertInto('crm_sync_log')
      .values(
        events.map(({ occurredAt, direction, entityType, externalId, internalId, status, error }) => ({
          organisation_id: organisationId,
          connection_id: connectionId,
          occurred_at: occurredAt,
          direction,
          entity_type: entityType,
          external_id: externalId,
          internal_id: internalId,
          status,
          error: error == null ? null : JSON.stringify(error),
        })),
      )
      .execute();
}
