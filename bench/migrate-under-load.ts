/**
 * Measures how long applications wait while their database is migrated: a million contacts, clients that
 * read and write throughout, and the duration of the longest statement of each kind. Prints milliseconds.
 *
 *   npm run bench:locks              100,000 organisations with ten contacts each
 *   npm run bench:locks -- 1000      that many organisations
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import type pg from 'pg';
import { createHostTables, databaseUrl, projectPath, withClient } from '../dev/database.js';
import { startEmbeddedPostgres } from '../dev/embedded-postgres.js';
import { fillHost, fillOwn } from './installation.js';
import { hostKinds, type Kind, ownKinds, Traffic } from './traffic.js';

const organisations = Number(process.argv[2] ?? 100_000);
if (!Number.isInteger(organisations) || organisations < 1)
  throw new RangeError(`Pass a number of organisations, not ${process.argv[2]}.`);

const files = readdirSync(projectPath('migrations')).sort();
const kinds = [...hostKinds, ...ownKinds];
const host = 'bench_host';

/** Which database is migrated to the latest version, and how. */
interface Scenario {
  title: string;
  template: string;
  /** The index of the first file to apply, from 0. */
  first: number;
  inOneTransaction: boolean;
  prepare?: string;
}

const server = await startEmbeddedPostgres();
try {
  await makeTemplates();
  const prepare =
    'create unique index concurrently contacts_organisation_id_id_key on contacts (organisation_id, id)';
  const starts = [
    { title: 'first install', template: host, first: 0 },
    { title: 'first install with the index built beforehand', template: host, first: 0, prepare },
    { title: 'from 1.0.4', template: 'bench_1_0_4', first: 4 },
    { title: 'from 1.1.0', template: 'bench_1_1_0', first: 9 },
  ].filter(({ first }) => first < files.length);
  console.log(
    `${organisations.toLocaleString('en')} organisations, ${(10 * organisations).toLocaleString('en')} contacts. The longest statement of each kind, in milliseconds.`,
  );
  for (const start of starts) {
    await measure({ ...start, inOneTransaction: false });
    if (files.length - start.first > 1) await measure({ ...start, inOneTransaction: true });
  }
} finally {
  await server.stop();
}

/** Creates a filled database for each release to start from. */
async function makeTemplates(): Promise<void> {
  const steps = [
    { name: host, template: 'template1', first: 0, last: 0, fill: [createHostTables, fillHost] },
    { name: 'bench_1_0_4', template: host, first: 0, last: 4, fill: [fillOwn] },
    { name: 'bench_1_1_0', template: 'bench_1_0_4', first: 4, last: 9, fill: [] },
  ];
  for (const { name, template, first, last, fill } of steps) {
    await withClient(server.url, (client) => client.query(`create database ${name} template ${template}`));
    await withClient(databaseUrl(server.url, name), async (client) => {
      for (const file of files.slice(first, last)) await apply(client, [file]);
      for (const step of fill) await step(client, organisations);
      await client.query('vacuum');
    });
  }
}

/** Applies the up halves of the files in one transaction. */
async function apply(client: pg.ClientBase, names: readonly string[]): Promise<void> {
  await client.query('begin');
  try {
    for (const name of names) {
      const text = readFileSync(projectPath(`migrations/${name}`), 'utf8');
      await client.query(text.slice(0, text.indexOf('-- Down Migration')));
    }
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

async function measure({ title, template, first, inOneTransaction, prepare }: Scenario): Promise<void> {
  const name = 'bench_run';
  await withClient(server.url, (client) => client.query(`create database ${name} template ${template}`));
  await withClient(server.url, (client) => client.query('checkpoint'));
  const url = databaseUrl(server.url, name);
  const running = first === 0 ? hostKinds : kinds;
  const phases: { name: string; took?: number; error?: string }[] = [];
  const traffic = await Traffic.start(url, running, organisations);
  try {
    await withClient(url, async (client) => {
      const phase = async (label: string, work: () => Promise<unknown>) => {
        const entry: (typeof phases)[number] = { name: label };
        phases.push(entry);
        traffic.begin(label);
        const start = performance.now();
        await work().catch((error) => {
          entry.error = `${error.code} ${error.message}`;
        });
        entry.took = performance.now() - start;
        traffic.begin('between');
        await setTimeout(200);
      };
      await phase('nothing', () => setTimeout(5000));
      if (prepare !== undefined) await phase('index', () => client.query(prepare));
      const pending = files.slice(first);
      const groups = inOneTransaction ? [pending] : pending.map((file) => [file]);
      for (const group of groups) {
        const label = inOneTransaction ? 'all' : (group[0] as string).slice(0, 4);
        await phase(label, () => apply(client, group));
      }
    });
  } finally {
    await traffic.stop();
  }
  await withClient(server.url, (client) => client.query(`drop database ${name} with (force)`));
  print(
    `${title}, ${inOneTransaction ? 'all files in one transaction' : 'one transaction per file'}`,
    phases,
    running,
    traffic,
  );
}

function print(
  title: string,
  phases: readonly { name: string; took?: number; error?: string }[],
  running: readonly Kind[],
  { waits }: Traffic,
): void {
  const short: Record<string, string> = {
    organisations: 'organis',
    contacts: 'contact',
    crm_connections: 'connect',
    crm_sync_log: 'log',
    contact_external_ids: 'ids',
  };
  const row = (cells: readonly string[]) =>
    cells.map((cell, index) => (index === 0 ? cell.padEnd(7) : cell.padStart(7))).join(' ');
  console.log(`\n${title[0]?.toUpperCase()}${title.slice(1)}:\n`);
  console.log(row(['', '', ...running.map(({ table }) => short[table] ?? table)]));
  console.log(row(['during', 'took', ...running.map(({ access }) => access)]));
  for (const { name, took = 0 } of phases) {
    const longest = running.map(
      (kind) => waits.find((wait) => wait.phase === name && wait.kind === kind)?.longest ?? 0,
    );
    console.log(row([name, ...[took, ...longest].map((time) => time.toFixed(0))]));
  }
  for (const { name, error } of phases) if (error !== undefined) console.log(`${name} failed: ${error}`);
  for (const { phase, kind, failures } of waits)
    if (failures.length > 0)
      console.log(
        `${phase}: ${failures.length} ${kind.access}s of ${kind.table} failed: ${[...new Set(failures)].join(', ')}`,
      );
}
