import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectPath } from '../../dev/database.js';
import { damage, unrest } from './checks.js';
import { World } from './world.js';

/** A few seeds each time; a long run takes `CHAOS_SEEDS=200`, and `CHAOS_FIRST_SEED` to go on elsewhere. */
const seeds = Number(process.env.CHAOS_SEEDS ?? 2);
const firstSeed = Number(process.env.CHAOS_FIRST_SEED ?? 1);
const [processes, workersEach] = [5, 4];

const workerFile = projectPath(`node_modules/.cache/chaos-worker-${process.pid}.mjs`);

beforeAll(async () => {
  // In one file, so that a worker that takes another's place is there at once.
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
  test('twenty workers, six CRMs on a bad day, kill -9 of workers and server: in the end all agree', {
    timeout: 600_000,
  }, async () => {
    const world = await World.create(seed, workerFile);
    try {
      for (let count = 0; count < processes; count += 1) world.startWorkers(workersEach);
      for (let step = 1; step <= 60; step += 1) {
        await world.act().catch(() => world.untilServerIsBack());
        if (step % 7 === 0) world.killWorkers(workersEach);
        if (step % 11 === 0) await world.cutConnections();
        if (step === 25 || step === 50) await world.crashServer();
        if (step % 5 === 0) await world.mendConnections();
        await sleep(100);
      }
      world.calm();
      let problems = ['not looked at'];
      for (let round = 1; problems.length > 0 && round <= 10; round += 1) {
        await world.tryAgain();
        await world.untilQuiet();
        problems = await unrest(world);
      }
      expect(problems).toEqual([]);
      expect(await damage(world)).toEqual([]);
    } finally {
      await world.stop();
    }
  });
});
