import type pg from 'pg';
import { encryptCredentials } from '../../test/support/credentials.js';
import { percentile95, type Row, timed, type Way } from './harness.js';
import type { Release } from './releases.js';
import type { Database, Scope } from './scope.js';

const nobody = '00000000-0000-4000-8000-000000000000';

/** A fleet with a log, and what its events take. */
interface Fleet extends Database {
  bytesPerEvent: number;
  walBytesPerEvent: number;
}

/** What monitoring and support ask of a fleet with a large log, and what an event takes on disk. */
export async function* health(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const { calls, rounds } = size;
  const connections = size.fleet.toLocaleString('en');
  const events = size.events.toLocaleString('en');
  const fleet = await loadFleet(scope, ours, size.events);
  const other = await scope.earlier((release) => loadFleet(scope, release, size.events));
  const few = Math.ceil(calls / 60);

  for (const [work, unit, key, goal] of [
    ['an event on disk, with its share of the indexes', 'bytes', 'bytesPerEvent', 1 / 0.78],
    ['an event in the write-ahead log', 'bytes', 'walBytesPerEvent', 1 / 0.85],
  ] as const) {
    yield {
      work,
      unit,
      rounds: 1,
      ours: async () => fleet[key],
      beside: [scope.besideEarlier(other && (async () => other[key]), { ratio: goal })],
    };
  }

  const totals = ({ client, release }: Fleet): Way => {
    const named = release.api.withNamedStatements(client);
    return timed(few, () => release.api.connectionListTotals(named));
  };
  yield {
    work: `totals of ${connections} connections, with ${events} events`,
    unit: 'ms',
    rounds,
    ours: totals(fleet),
    beside: [
      { name: 'an aggregate over the log', goal: { ratio: 250 }, way: naiveTotals(fleet.client) },
      scope.besideEarlier(other && totals(other), { ratio: 4 }),
    ],
  };

  const { organisationId } = await ours.busyDatabase.tenantOf(fleet.client, 1);
  const failuresSince = new Date(Date.now() - 86_400_000);
  const named = ours.api.withNamedStatements(fleet.client);
  yield {
    work: `health of the busiest organisation, of ${events} events`,
    unit: 'ms',
    rounds,
    ours: timed(few, () => ours.api.connectionListWithHealth(named, { organisationId, failuresSince })),
    beside: [
      {
        name: 'an aggregate over its log',
        goal: { ratio: 150 },
        way: naiveHealth(fleet.client, organisationId, failuresSince),
      },
    ],
  };

  const fewEvents = Math.ceil(size.events / 100);
  const small = await loadFleet(scope, ours, fewEvents);
  const large = size.pageEvents === size.events ? fleet : await loadFleet(scope, ours, size.pageEvents);
  yield {
    work: `a page of failures, with ${size.pageEvents.toLocaleString('en')} events (95th percentile)`,
    unit: 'ms',
    rounds,
    ours: await failuresPage(large, calls),
    beside: [
      {
        name: `itself, with ${fewEvents.toLocaleString('en')}`,
        goal: { ratio: 1 / 1.2 },
        way: await failuresPage(small, calls),
      },
    ],
  };
}

/** Fills a database, and measures what its events take. */
async function loadFleet(scope: Scope, release: Release, events: number): Promise<Fleet> {
  const database = await scope.database(release);
  const { client } = database;
  const { loadAgencies, loadCursors, loadEvents, loadFailures, loadMappings, loadRuns, settle } =
    release.busyDatabase;
  const agencies = scope.bench.size.fleet;
  const size = {
    agencies,
    mappings: 10 * agencies,
    events,
    runs: agencies,
    failures: 3 * agencies,
    changes: 0,
  };
  const key = { organisationId: nobody, connectionId: nobody, provider: 'reapit' } as const;
  // The rows that the foreign keys refer to exist; checking them one by one would take most of the time.
  await client.query("set session_replication_role = 'replica'");
  await loadAgencies(client, size, await encryptCredentials(key));
  await loadMappings(client);
  await loadRuns(client, size);
  await loadCursors(client);
  await loadFailures(client, size);
  const position = async () => {
    const { rows } = await client.query("select (pg_current_wal_insert_lsn() - '0/0')::float8 as bytes");
    return rows[0].bytes as number;
  };
  const before = await position();
  await loadEvents(client, size);
  const walBytesPerEvent = ((await position()) - before) / events;
  await settle(client);
  await client.query("set session_replication_role = 'origin'");
  const { rows } = await client.query<{ bytes: number }>(
    `select sum(pg_total_relation_size(inhrelid))::float8 as bytes
     from pg_inherits where inhparent = 'crm_sync_log'::regclass`,
  );
  return { ...database, walBytesPerEvent, bytesPerEvent: (rows[0]?.bytes ?? 0) / events };
}

/** The totals as one would ask at first: from what happened, connection by connection. */
function naiveTotals(client: pg.Client): Way {
  return timed(1, () =>
    client.query(`
      select
        provider,
        connection.status,
        count(distinct connection.id) as connections,
        count(distinct connection.id) filter (where next_sync_at <= now()) as due,
        min(next_sync_at) as next_sync_at,
        count(entry.id) filter (where entry.status = 'error') as failures,
        max(entry.occurred_at) filter (where entry.status = 'success') as last_success_at
      from crm_connections as connection
      left join crm_sync_log as entry
        on entry.organisation_id = connection.organisation_id
        and entry.connection_id = connection.id
      where connection.status <> 'disconnected'
      group by provider, connection.status`),
  );
}

/** The health of an organisation's connections, from its whole log. */
function naiveHealth(client: pg.Client, organisationId: string, failuresSince: Date): Way {
  return timed(1, () =>
    client.query(
      `select
         connection.id,
         connection.status,
         max(entry.occurred_at) as last_event_at,
         max(entry.occurred_at) filter (where entry.status = 'error') as last_failure_at,
         (array_agg(entry.error order by entry.occurred_at desc) filter (where entry.status = 'error'))[1] as last_error,
         count(entry.id) filter (where entry.status = 'error' and entry.occurred_at >= $2) as failure_count
       from crm_connections as connection
       left join crm_sync_log as entry
         on entry.organisation_id = connection.organisation_id
         and entry.connection_id = connection.id
       where connection.organisation_id = $1
       group by connection.organisation_id, connection.id`,
      [organisationId, failuresSince],
    ),
  );
}

/** A page of the newest failures of one connection after another. */
async function failuresPage({ client, release }: Fleet, calls: number): Promise<Way> {
  const { rows } = await client.query<{ organisationId: string; connectionId: string }>(
    `select organisation_id as "organisationId", id as "connectionId"
     from crm_connections order by id limit 500`,
  );
  const busiest = await release.busyDatabase.tenantOf(client, 1);
  const named = release.api.withNamedStatements(client);
  let turn = 0;
  return percentile95(calls, () => {
    turn += 1;
    // Half of the time the one with the most failures.
    const { organisationId, connectionId } = turn % 2 === 0 ? busiest : (rows[turn % rows.length] ?? busiest);
    return release.api.syncLogListFailures(named, { organisationId, connectionId, limit: 50 });
  });
}
