import { spawn } from 'node:child_process';
import { once } from 'node:events';
import pg from 'pg';
import { databaseUrl, projectPath } from '../dev/database.js';
import { startSimulatedCrm } from '../examples/simulated-crm/server.js';
import type { FirstSync } from './first-sync-run.js';

const records = 2_300;
const rounds = 5;

/**
 * Measures how long the example worker takes for the first sync of a CRM, over HTTP on loopback, beside that of another
 * release: in turn, and with the same records.
 *
 * @param serverUrl a PostgreSQL server
 * @param otherFolder a checkout of the other release, with its dependencies installed
 */
export async function measureFirstSync(serverUrl: string, otherFolder: string): Promise<void> {
  const times: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] };
  for (let round = 1; round <= rounds; round += 1) {
    const results = [];
    for (const [who, folder] of [
      ['theirs', otherFolder],
      ['ours', projectPath('.')],
    ] as const) {
      const database = `first_sync_${who}_${round}`;
      const client = new pg.Client({ connectionString: serverUrl });
      await client.connect();
      await client.query(`create database ${database}`);
      const crm = await startSimulatedCrm({ provider: 'custom', seed: 1, habits: { pageSize: 100 } });
      for (let count = 1; count <= records; count += 1) crm.create(`Test ${count} Person`);
      try {
        const { url, credentials } = crm;
        const task: FirstSync = { databaseUrl: databaseUrl(serverUrl, database), url, credentials };
        const { milliseconds, rows } = await run(folder, task);
        times[who].push(milliseconds);
        results.push(JSON.stringify(rows));
        console.log(`${who.padEnd(6)} ${Math.round((records / milliseconds) * 1000)} records a second`);
        if (round === 1) console.log(rows);
      } finally {
        await crm.stop();
        await client.query(`drop database ${database} with (force)`);
        await client.end();
      }
    }
    if (results[0] !== results[1]) throw new Error('The two syncs did not store the same.');
  }
  const ratios = times.theirs
    .map((theirs, round) => theirs / (times.ours[round] as number))
    .toSorted((a, b) => a - b);
  const [least, median, most] = [0, Math.floor(rounds / 2), rounds - 1].map((index) =>
    ratios[index]?.toFixed(1),
  );
  console.log(`${records} records: ${median} times as fast as the other release (${least} to ${most})`);
}

/** Runs the worker of a checkout in a process of its own, with its own modules. */
async function run(
  folder: string,
  task: FirstSync,
): Promise<{ milliseconds: number; rows: Record<string, unknown> }> {
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
