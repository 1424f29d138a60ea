/**
 * Measures the overhead of this package and the gain from named statements: the same point lookup in four
 * ways, in turn, on one connection. Prints ratios to plain `pg`, which depend less on the machine than rates.
 *
 *   npm run bench
 *   npm run bench -- --identity   how long the calls of identity take on a million mappings
 *   npm run bench -- --limits     whether the row of a rate limit that twenty workers share is hot
 *   npm run bench -- --erasure    how long the erasure of a person takes in an agency with 440,000 events
 *   npm run bench -- --organisation   how long the erasure of an agency takes, and whether another one notices
 *   npm run bench -- --first-sync FOLDER   the example worker beside that of a release that is checked out in FOLDER
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { createHostTables, migrate } from '../dev/database.js';
import { startEmbeddedPostgres } from '../dev/embedded-postgres.js';
import { contactExternalIdResolve as resolveQuery } from '../src/generated/contact_external_ids.js';
import { contactExternalIdResolve as publicResolve, withNamedStatements } from '../src/index.js';
import { measureContactErasure } from './contact-erasure.js';
import { measureFirstSync } from './first-sync.js';
import { measureIdentity } from './identity.js';
import { measureOrganisationErasure } from './organisation-erasure.js';
import { measureRateLimits } from './rate-limits.js';

const rounds = 15;
const callsPerRound = 500;

const { values: options } = parseArgs({
  options: {
    identity: { type: 'boolean', default: false },
    limits: { type: 'boolean', default: false },
    erasure: { type: 'boolean', default: false },
    organisation: { type: 'boolean', default: false },
    'first-sync': { type: 'string' },
  },
});
const settings = options.identity ? { settings: { shared_buffers: '1GB', max_wal_size: '4GB' } } : {};

const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, settings);
const client = new pg.Client({ connectionString: server.url });
await client.connect();
try {
  await createHostTables(client);
  await migrate(client);
  if (options.identity) await measureIdentity(client);
  else if (options['first-sync'] !== undefined) await measureFirstSync(server.url, options['first-sync']);
  else if (options.erasure) await measureContactErasure(server.url);
  else if (options.organisation) await measureOrganisationErasure(server.url);
  else if (options.limits) await measureRateLimits(server.url);
  else await measureLookups();
} finally {
  await client.end();
  await server.stop();
}

function median(values: number[]): number {
  return values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] as number;
}

async function measureLookups(): Promise<void> {
  const organisationId = randomUUID();
  await client.query('insert into organisations (id, name) values ($1, $2)', [
    organisationId,
    'Bench Agency',
  ]);
  await client.query(
    `with contact as (
       insert into contacts (id, organisation_id, name)
       select gen_random_uuid(), $1, 'Bench Person' from generate_series(1, 100000)
       returning id
     )
     insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select $1, 'reapit', 'contact', 'OXF' || row_number() over (), id from contact`,
    [organisationId],
  );
  await client.query('analyze');

  const record = { organisationId, provider: 'reapit', entityType: 'contact' } as const;
  const externalId = () => `OXF${1 + Math.floor(Math.random() * 100_000)}`;
  const named = withNamedStatements(client);
  const values = () => [organisationId, 'reapit', 'contact', [externalId()]];
  const { text } = resolveQuery;
  const ways: Record<string, () => Promise<unknown>> = {
    'pg, plain': () => client.query({ text, values: values() }),
    'pg, named': () => client.query({ name: 'resolve', text, values: values() }),
    'this package, plain': () => publicResolve(client, { ...record, externalId: externalId() }),
    'this package, named': () => publicResolve(named, { ...record, externalId: externalId() }),
  };

  const rates = new Map(Object.keys(ways).map((way) => [way, [] as number[]]));
  // The first round warms up and does not count.
  for (let round = 0; round <= rounds; round += 1) {
    for (const [way, call] of Object.entries(ways)) {
      const start = process.hrtime.bigint();
      for (let count = 0; count < callsPerRound; count += 1) await call();
      const seconds = Number(process.hrtime.bigint() - start) / 1e9;
      if (round > 0) rates.get(way)?.push(callsPerRound / seconds);
    }
  }
  const plain = rates.get('pg, plain') as number[];
  for (const [way, rate] of rates) {
    const ratio = median(rate.map((value, round) => value / (plain[round] as number)));
    console.log(
      `${way.padEnd(20)} ${median(rate).toFixed(0).padStart(6)} calls/s   ${ratio.toFixed(2)} of plain pg`,
    );
  }
}
