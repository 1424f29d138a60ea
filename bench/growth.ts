/**
 * Measures how large the tables grow: loads up to 10 million events in ten steps, with the mappings, connections,
 * runs, failures and changes of a busy installation, and measures each table and index after each step.
 *
 *   npm run growth                    writes docs/growth.json, docs/growth.md and docs/growth.svg
 *   npm run growth -- --events 100000    loads less, and only prints
 *   npm run growth -- --document      writes the last two from docs/growth.json, without loading
 */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type pg from 'pg';
import {
  loadAgencies,
  loadChanges,
  loadCursors,
  loadEvents,
  loadFailures,
  loadMappings,
  settle,
} from '../dev/busy-database/index.js';
import { createHostTables, migrate, projectPath, withClient } from '../dev/database.js';
import { startEmbeddedPostgres } from '../dev/embedded-postgres.js';
import { encryptCredentials } from '../test/support/credentials.js';
import { growthDocument } from './growth-document.js';
import { type Growth, measure } from './growth-measure.js';
import { playRuns, playSchedule } from './growth-play.js';
import { growthPlot } from './growth-plot.js';

const { values: options } = parseArgs({
  options: { events: { type: 'string' }, document: { type: 'boolean', default: false } },
});
const events = Number(options.events ?? 10_000_000);
const isWhole = options.events === undefined;
const steps = 10;
const agencies = 20_000;
const size = {
  agencies,
  mappings: events / 10,
  events,
  runs: Math.min(100_000, events / 10),
  failures: 100_000,
  changes: 100_000,
};

const growth = options.document
  ? (JSON.parse(await readFile(projectPath('docs/growth.json'), 'utf8')) as Growth)
  : await load();
console.log(growthDocument(growth));
if (isWhole) {
  await writeFile(projectPath('docs/growth.json'), `${JSON.stringify(growth, null, 2)}\n`);
  await writeFile(projectPath('docs/growth.md'), growthDocument(growth));
  await writeFile(projectPath('docs/growth.svg'), await growthPlot(growth));
}

/** Loads the data in steps and measures after each. */
async function load(): Promise<Growth> {
  const server = await startEmbeddedPostgres('18', {
    settings: { shared_buffers: '1GB', max_wal_size: '8GB', autovacuum: 'off' },
  });
  try {
    return await withClient(server.url, async (client) => {
      await createHostTables(client);
      await migrate(client);
      // The rows that the foreign keys refer to exist; checking them one by one would take most of the time.
      await client.query("set session_replication_role = 'replica'");
      await loadAgencies(client, size, await templateCredentials());
      await loadCursors(client);
      await loadFailures(client, size);
      await loadChanges(client, size);

      const growth: Growth = { postgres: await version(client), walBytesPerEvent: 0, steps: [] };
      let walBytes = 0;
      for (let step = 1; step <= steps; step += 1) {
        const share = (total: number, of: number) => Math.round((total * of) / steps);
        await loadMappings(client, (step - 1) / steps, step / steps);
        await playRuns(client, size, share(size.runs, step - 1) + 1, share(size.runs, step));
        // Each connection twice: only then does the table have the bloat that autovacuum allows.
        if (step > steps - 2) await playSchedule(client, step, steps);
        const before = await walPosition(client);
        for (let part = 0; part < 4; part += 1) {
          const from = share(events, step - 1 + part / 4) + 1;
          await loadEvents(client, size, from, share(events, step - 1 + (part + 1) / 4));
        }
        walBytes += (await walPosition(client)) - before;
        await settle(client);
        growth.steps.push({ events: share(events, step), tables: await measure(client) });
        console.error(`${share(events, step).toLocaleString('en')} events`);
      }
      growth.walBytesPerEvent = Math.round(walBytes / events);
      return growth;
    });
  } finally {
    await server.stop();
  }
}

/** Credentials of a typical length, to be bound to each row. */
function templateCredentials() {
  const nobody = '00000000-0000-4000-8000-000000000000';
  return encryptCredentials({ organisationId: nobody, connectionId: nobody, provider: 'reapit' });
}

async function version(client: pg.ClientBase): Promise<string> {
  const { rows } = await client.query("select current_setting('server_version') as version");
  return rows[0].version;
}

/** The number of bytes written to the write-ahead log so far. */
async function walPosition(client: pg.ClientBase): Promise<number> {
  const { rows } = await client.query("select (pg_current_wal_lsn() - '0/0')::float8 as position");
  return rows[0].position;
}
