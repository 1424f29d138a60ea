import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { groups, measureGroup } from '../../bench/performance/groups.js';
import type { Peers } from '../../bench/performance/peers.js';
import { buildThisRelease, type Release } from '../../bench/performance/releases.js';
import { smoke } from '../../bench/performance/sizes.js';

/** Those that this project has for its own tests. The others need a network. */
const peers: Peers = {
  versions: { 'drizzle-orm': 'of the tests', kysely: 'of the tests', postgres: 'of the tests' },
  load: (specifier) => import(specifier),
};

let folder: string;
let release: Release;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'crm-schema-bench-'));
  release = await buildThisRelease(join(folder, 'build'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test.for(Object.entries(groups))('the benchmark measures every row of %s', async ([, { rows }]) => {
  const measured = await measureGroup(
    {
      serverUrl: inject('serverUrl'),
      ours: release,
      // There is no other build here, so this one stands in for it.
      earlier: { name: 'this build again', release },
      peers,
      size: smoke,
      templates: new Map([[release, `${inject('databasePrefix')}_migrated`]]),
    },
    rows,
  );

  expect(measured.length).toBeGreaterThan(0);
  for (const { ours, beside } of measured) {
    const spreads = [ours, ...beside.flatMap(({ cost, ratio }) => [cost ?? [], ratio ?? []].flat())];
    expect(spreads.length).toBeGreaterThan(1);
    for (const { median } of spreads) {
      expect(median).toBeGreaterThan(0);
      expect(median).toBeLessThan(Number.POSITIVE_INFINITY);
    }
  }
});
