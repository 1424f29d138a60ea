import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

/** What a user would pick instead, in the newest versions. The benchmark installs them, the package never does. */
const versions = {
  'drizzle-orm': '0.45.4',
  'graphile-worker': '0.18.0',
  kysely: '0.29.9',
  pg: '8.23.1',
  'pg-boss': '12.38.0',
  'pg-copy-streams': '7.0.0',
  postgres: '3.4.9',
} as const;

export type PeerName = keyof typeof versions;

/** The peers that are installed. */
export interface Peers {
  /** By name: the version, if it is installed. */
  versions: Partial<Record<PeerName, string>>;
  /** Imports a module of a peer: `drizzle-orm/node-postgres`. */
  // biome-ignore lint/suspicious/noExplicitAny: the peers are no dependencies, so their types are not there.
  load(specifier: string): Promise<any>;
}

/** No peers, as without a network. */
export const noPeers: Peers = {
  versions: {},
  load: (specifier) => Promise.reject(new Error(`${specifier} is not installed.`)),
};

/** Installs the peers into a folder, where they stay for the next time. */
export async function installPeers(folder: string): Promise<Peers> {
  const wanted = `${JSON.stringify({ private: true, type: 'module', dependencies: versions }, null, 2)}\n`;
  const installed = await readFile(join(folder, 'installed.json'), 'utf8').catch(() => undefined);
  if (installed !== wanted) {
    console.error('Installing the peers, once.');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'package.json'), wanted);
    await writeFile(join(folder, 'load.js'), 'export const load = (specifier) => import(specifier);\n');
    // Some ask for a newer Node than this package's oldest, but work on it.
    const args = [
      'install',
      '--ignore-scripts',
      '--engine-strict=false',
      '--no-audit',
      '--no-fund',
      '--prefix',
      '.',
    ];
    await promisify(execFile)('npm', args, { cwd: folder, maxBuffer: 1e8 });
    await writeFile(join(folder, 'installed.json'), wanted);
  }
  // From a module in that folder, an import finds what is installed there.
  const { load } = await import(pathToFileURL(join(folder, 'load.js')).href);
  return { versions, load };
}
