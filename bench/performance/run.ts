import { mkdir } from 'node:fs/promises';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { projectPath, withClient } from '../../dev/database.js';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { groups, measureGroup } from './groups.js';
import type { MeasuredRow } from './harness.js';
import { installPeers, noPeers } from './peers.js';
import { buildEarlierRelease, buildThisRelease, type EarlierRelease } from './releases.js';
import type { Bench } from './scope.js';
import { full, standard } from './sizes.js';

/** package.json said 1.3.0 until 1.3.1 was released. Later commits have some of its changes. */
const earlier: EarlierRelease = {
  version: '1.3.0',
  commit: 'd037b2b35cd161f2d0263b2731e981bfccadb039',
};

/** All rows, and what they were measured on. */
export interface Performance {
  command: string;
  processor: string;
  cores: number;
  memoryGigabytes: number;
  /** The load of the minute before. */
  load: number;
  postgres: string;
  node: string;
  /** By name. */
  peers: Record<string, string>;
  /** Rows beside the earlier release are missing, and why. */
  missing?: string | undefined;
  groups: { title: string; rows: MeasuredRow[] }[];
}

/**
 * Measures on an embedded server.
 *
 * @param only names of groups; all if empty
 */
export async function measurePerformance(
  isFull: boolean,
  only: readonly string[] = [],
): Promise<Performance> {
  const unknown = only.find((name) => !(name in groups));
  if (unknown !== undefined) {
    throw new Error(`There is no group ${unknown}. Choose from ${Object.keys(groups).join(', ')}.`);
  }
  const cache = projectPath('node_modules/.cache/performance');
  await mkdir(cache, { recursive: true });
  const [load = 0] = loadavg();
  const ours = await buildThisRelease(join(cache, 'this-build'));
  const { release, missing } = await buildEarlierRelease(earlier, cache);
  if (missing !== undefined) console.error(`Without ${earlier.version}: ${missing}`);
  const peers = await installPeers(join(cache, 'peers')).catch((error: Error) => {
    console.error(`Without peers, because npm could not install them: ${error.message}`);
    return noPeers;
  });
  const server = await startEmbeddedPostgres('18', {
    settings: { shared_buffers: '1GB', max_wal_size: '8GB' },
  });
  try {
    const bench: Bench = {
      serverUrl: server.url,
      ours,
      earlier: { name: earlier.version, release, missing },
      peers,
      size: isFull ? full : standard,
      templates: new Map(),
    };
    const measured: Performance['groups'] = [];
    for (const [name, { title, rows }] of Object.entries(groups)) {
      if (only.length > 0 && !only.includes(name)) continue;
      console.error(title);
      measured.push({ title, rows: await measureGroup(bench, rows, report) });
    }
    return {
      command: isFull ? 'npm run bench -- --full' : 'npm run bench',
      processor: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryGigabytes: Math.round(totalmem() / 2 ** 30),
      load,
      postgres: await withClient(server.url, async (client) => {
        const { rows } = await client.query("select current_setting('server_version') as version");
        return rows[0].version;
      }),
      node: process.versions.node,
      peers: { ...peers.versions },
      ...(missing === undefined ? {} : { missing }),
      groups: measured,
    };
  } finally {
    await server.stop();
  }
}

function report({ work, unit, ours, beside }: MeasuredRow): void {
  console.error(`  ${work}: ${ours.median.toPrecision(3)} ${unit}`);
  for (const { name, missing, ratio, cost } of beside) {
    const result =
      ratio === undefined || cost === undefined
        ? missing
        : `${cost.median.toPrecision(3)}, ratio ${ratio.median.toPrecision(3)} (${ratio.low.toPrecision(3)} to ${ratio.high.toPrecision(3)})`;
    console.error(`    beside ${name}: ${result}`);
  }
}
