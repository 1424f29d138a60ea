import { spawn } from 'node:child_process';
import { once } from 'node:events';
import pg from 'pg';
import { databaseUrl, projectPath } from '../dev/database.js';
import { startSimulatedCrm } from '../examples/simulated-crm/server.js';
import { startDelay } from './delay.js';
import type { FirstSync } from './first-sync-run.js';

const records = 2_300;
const rounds = 5;

/**
 * Measures how long the example worker takes for the first sync of a CRM, over HTTP on loopback, beside that of another
 * release: in turn, and with the same records. With PostgreSQL on the same machine, and with one a millisecond away.
 *
 * @param serverUrl a PostgreSQL server
 * @param otherFolder a checkout of the other release, with its dependencies installed
 */
export async function measureFirstSync(serverUrl: string, otherFolder: string): Promise<void> {
  for (const milliseconds of [0, 1]) {
    const way =
      milliseconds === 0
        ? { url: serverUrl, stop: async () => {} }
        : await startDelay(serverUrl, milliseconds);
    const ratios: number[] = [];
    try {
      for (let round = 1; round <= rounds; round += 1) {
        const theirs = await firstSync(otherFolder, serverUrl, way.url);
        const ours = await firstSync(projectPath('.'), serverUrl, way.url);
        if (JSON.stringify(theirs.rows) !== JSON.stringify(ours.rows)) {
          console.error(theirs.rows, ours.rows);
          throw new Error('The two syncs did not store the same.');
        }
        ratios.push(theirs.milliseconds / ours.milliseconds);
        const [their, our] = [theirs, ours].map((each) => Math.round((records / each.milliseconds) * 1000));
        console.log(`other release ${their} records a second, this one ${our}`);
      }
    } finally {
      await way.stop();
    }
    const [least, median, most] = [0, Math.floor(rounds / 2), rounds - 1].map((index) =>
      ratios.toSorted((one, other) => one - other)[index]?.toFixed(1),
    );
    const place = milliseconds === 0 ? 'on the same machine' : `${milliseconds} ms away`;
    console.log(`PostgreSQL ${place}: ${median} times as fast as the other release (${least} to ${most})`);
  }
}

interface Result {
  milliseconds: number;
  rows: Record<string, unknown>;
}

/** Syncs the records with the worker of a checkout, into a database of its own. */
async function firstSync(folder: string, serverUrl: string, url: string): Promise<Result> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  await client.query('create database first_sync');
  const crm = await startSimulatedCrm({ provider: 'custom', seed: 1, habits: { pageSize: 100 } });
  try {
    for (let count = 1; count <= records; count += 1) crm.create(`Test ${count} Person`);
    return await run(folder, {
      databaseUrl: databaseUrl(url, 'first_sync'),
      url: crm.url,
      credentials: crm.credentials,
    });
  } finally {
    await crm.stop();
    await client.query('drop database first_sync with (force)');
    await client.end();
  }
}

/** Runs the worker of a checkout in a process of its own, with its own modules. */
async function run(folder: string, task: FirstSync): Promise<Result> {
  const script = projectPath('bench/first-sync-run.ts');
  const child = spawn(process.execPath, ['--import', 'tsx', script, JSON.stringify(task)], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`The worker in ${folder} failed.`);
  return JSON.parse(output);
}
