import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { historyOf, unfinishedWork, violations } from './checks.js';
import { World } from './world.js';

/** A few seeds by default; `CHAOS_SEEDS=200` makes a long run, which starts at `CHAOS_FIRST_SEED`. */
const seeds = Number(process.env.CHAOS_SEEDS ?? 2);
const firstSeed = Number(process.env.CHAOS_FIRST_SEED ?? 1);
const [processes, workersEach] = [5, 4];

const workerFile = projectPath(`node_modules/.cache/chaos-worker-${process.pid}.mjs`);

beforeAll(async () => {
  // Bundled into one file, so replacement workers start quickly.
  await build({
    entryPoints: [projectPath('test/chaos/worker.ts')],
    outfile: workerFile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    alias: {
      '@nurturehub/crm-schema/credentials': projectPath('src/credentials.ts'),
      '@nurturehub/crm-schema': projectPath('src/index.ts'),
    },
    logLevel: 'error',
  });
});
afterAll(() => rm(workerFile, { force: true }));

describe.each(Array.from({ length: seeds }, (_, index) => firstSeed + index))('seed %i', (seed) => {
  test('twenty workers and six misbehaving CRMs agree in the end and stay so, despite kill -9, merges, pauses and changes of account', {
    timeout: 600_000,
  }, async () => {
    const world = await World.create(seed, workerFile);
    try {
      for (let count = 0; count < processes; count += 1) world.startWorkers(workersEach);
      // The trouble begins when there is something to lose.
      await world.untilQuiet();
      for (let step = 1; step <= 60; step += 1) {
        await world.act().catch(() => world.untilServerIsBack());
        if (step % 7 === 0) world.replaceWorkers(workersEach, step % 2 === 0 ? 'SIGTERM' : 'SIGKILL');
        if (step % 11 === 0) await world.cutConnections();
        if (step === 25 || step === 50) await world.crashServer();
        if (step % 5 === 0) await world.signInAgain();
        if (step === 20 || step === 40) await world.changeAccount();
        if (step === 30 || step === 55) await world.disconnectForAWhile();
        await sleep(100);
      }
      world.calm();
      // Contacts whose creation was not committed yet when the other account was connected.
      await world.fill(world.moving, true);
      let problems = ['not checked yet'];
      for (let round = 1; problems.length > 0 && round <= 10; round += 1) {
        await world.retryEverything();
        await world.untilQuiet();
        problems = await unfinishedWork(world);
      }
      expect(problems, await historyOf(world, problems)).toEqual([]);
      expect(await violations(world)).toEqual([]);
      const settled = await world.countWrites();
      for (let round = 1; round <= 3; round += 1) {
        await world.retryEverything();
        await world.untilQuiet();
      }
      expect(await world.countWrites(), 'after the last edit, no CRM is written to again').toEqual(settled);
      expect(await unfinishedWork(world)).toEqual([]);
    } finally {
      await world.stop();
    }
  });
});
