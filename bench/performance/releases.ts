import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { projectPath } from '../../dev/database.js';

const run = promisify(execFile);

/** A release of this package, built, with the modules that the benchmark calls. */
export interface Release {
  /** `this build` or `1.3.0`. */
  name: string;
  /** Its files: `dist`, `migrations`, `dev`, and what it depends on. */
  folder: string;
  api: typeof import('../../src/index.js');
  credentials: typeof import('../../src/credentials.js');
  migrations: typeof import('../../src/migrations.js');
  /** Fills a database of this release. */
  busyDatabase: typeof import('../../dev/busy-database/index.js');
}

/** Builds what is checked out, into a folder. */
export async function buildThisRelease(folder: string): Promise<Release> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const path of ['migrations', 'migrations.sha256', 'package.json', 'schema.json']) {
    await cp(projectPath(path), join(folder, path), { recursive: true });
  }
  for (const path of ['dev', 'node_modules']) await symlink(projectPath(path), join(folder, path));
  await run(process.execPath, [
    projectPath('node_modules/typescript-7/bin/tsc'),
    ...['--project', projectPath('tsconfig.build.json'), '--outDir', join(folder, 'dist')],
  ]);
  return load('this build', folder);
}

/** A release in this repository's history. */
export interface EarlierRelease {
  version: string;
  commit: string;
}

/** Builds an earlier release, with the dependencies of its own lock file. Later runs reuse it. */
export async function buildEarlierRelease(
  { version, commit }: EarlierRelease,
  folder: string,
): Promise<{ release?: Release; missing?: string }> {
  const built = join(folder, commit);
  try {
    return { release: await load(version, built) };
  } catch {
    console.error(`Building ${version}, once.`);
  }
  const project = { cwd: projectPath('.') };
  try {
    await run('git', ['cat-file', '-e', `${commit}^{commit}`], project);
  } catch {
    return { missing: 'This clone does not have its commit. `git fetch --unshallow` gets it.' };
  }
  const unfinished = `${built}.unfinished`;
  for (const each of [built, unfinished]) await rm(each, { recursive: true, force: true });
  await mkdir(unfinished, { recursive: true });
  await run('sh', ['-c', 'git archive "$1" | tar -x -C "$2"', 'sh', commit, unfinished], project);
  for (const command of ['ci --ignore-scripts --no-audit --no-fund', 'run build']) {
    await run('npm', [...command.split(' '), '--prefix', '.'], { cwd: unfinished, maxBuffer: 1e8 });
  }
  await rename(unfinished, built);
  return { release: await load(version, built) };
}

async function load(name: string, folder: string): Promise<Release> {
  const { exports } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  const module = (path: string) => import(pathToFileURL(join(folder, path)).href);
  return {
    name,
    folder,
    api: await module(exports['.'].default),
    credentials: await module(exports['./credentials'].default),
    migrations: await module(exports['./migrations'].default),
    busyDatabase: await module('dev/busy-database/index.ts'),
  };
}
