import { execFile } from 'node:child_process';
import { cpSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { inject, vi } from 'vitest';
import { projectPath } from '../../dev/database.js';

const run = promisify(execFile);

export const packageJson = JSON.parse(await readFile(projectPath('package.json'), 'utf8'));

/** The package managers that must support the package. pnpm hides undeclared dependencies. */
export const managers = ['npm', 'pnpm'] as const;
export type Manager = (typeof managers)[number];

/** A separate project with the package installed, as from a registry. */
export interface Consumer {
  folder: string;
  /** The path of the package in it. */
  installed: string;
  /** Runs Node in the project. */
  node(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Output>;
  /** Runs Node on the text of a program, in the project. */
  evaluate(type: 'module' | 'commonjs', program: string, env?: NodeJS.ProcessEnv): Promise<Output>;
  /** Runs `crm-schema`. */
  command(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Output>;
}

interface Output {
  stdout: string;
  stderr: string;
}

/**
 * Packs this project, once for all test files.
 *
 * @returns the path of the tarball, which tests must not change
 */
export function packedPackage(): Promise<string> {
  return onceForAllFiles('packed', (folder) => pack(projectPath('.'), folder));
}

/** A copy of a project in which npm has installed the packed package, once for all test files. */
export async function installedPackage(): Promise<Consumer> {
  const original = await onceForAllFiles('installed', async () => {
    const folder = join(inject('packFolder'), 'consumer');
    await mkdir(folder);
    await installInto(folder, 'npm', await packedPackage());
    return folder;
  });
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-npm-'));
  // Synchronous: for thousands of small files, that takes a fraction of the CPU time.
  cpSync(original, folder, { recursive: true, verbatimSymlinks: true });
  return consumerAt(folder);
}

/** Does `work` in an empty folder, once: whichever test file comes first does it, the others wait for its result. */
async function onceForAllFiles(name: string, work: (folder: string) => Promise<string>): Promise<string> {
  const folder = join(inject('packFolder'), name);
  const path = join(folder, 'outcome.json');
  const isFirst = await mkdir(folder).then(
    () => true,
    ({ code }) => code !== 'EEXIST',
  );
  if (isFirst) {
    const outcome = await work(folder).then(
      (result) => ({ result }),
      (error) => ({ error: `${error.message ?? error}\n${error.stderr ?? ''}` }),
    );
    await writeFile(`${path}.draft`, JSON.stringify(outcome));
    await rename(`${path}.draft`, path);
  }
  const text = await vi.waitFor(() => readFile(path, 'utf8'), { timeout: 240_000, interval: 200 });
  const { result, error } = JSON.parse(text);
  if (error !== undefined) throw new Error(error);
  return result;
}

/** Builds and packs a clone of this project into a folder. Returns the path of the tarball. */
export async function pack(project: string, folder: string): Promise<string> {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: project });
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[')));
  return join(folder, filename);
}

/** Creates an empty project and installs the tarball and its peer dependency `pg` there. */
export async function install(manager: Manager, tarball: string): Promise<Consumer> {
  const folder = await mkdtemp(join(tmpdir(), `crm-schema-${manager}-`));
  await installInto(folder, manager, tarball);
  return consumerAt(folder);
}

async function installInto(folder: string, manager: Manager, tarball: string): Promise<void> {
  await writeFile(join(folder, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');
  const { pg, '@types/pg': pgTypes, '@types/node': nodeTypes } = packageJson.devDependencies;
  const wanted = [tarball, `pg@${pg}`, `@types/pg@${pgTypes}`, `@types/node@${nodeTypes}`];
  const [program, ...args] = {
    npm: npmInstall,
    pnpm: [
      process.execPath,
      projectPath('node_modules/pnpm/bin/pnpm.cjs'),
      'add',
      '--prefer-offline',
      // Leaves nothing behind on this machine.
      `--store-dir=${join(folder, '.store')}`,
      `--config.cache-dir=${join(folder, '.cache')}`,
    ],
  }[manager] as [string, ...string[]];
  await run(program, [...args, ...wanted], { cwd: folder });
}

const npmInstall = ['npm', 'install', '--no-audit', '--no-fund', '--prefer-offline'];

/** Replaces the installed package with that of another tarball. */
export async function replaceWith(tarball: string, { folder }: Consumer): Promise<void> {
  const [program, ...args] = npmInstall as [string, ...string[]];
  await run(program, [...args, tarball], { cwd: folder });
}

function consumerAt(folder: string): Consumer {
  const start = (path: string, rest: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    run(path, rest, { cwd: folder, env: { ...process.env, ...env }, maxBuffer: 100_000_000 });
  return {
    folder,
    installed: join(folder, 'node_modules', packageJson.name),
    node: (rest, env) => start(process.execPath, rest, env),
    evaluate: (type, text, env) => start(process.execPath, [`--input-type=${type}`, '--eval', text], env),
    command: (rest, env) => start(join(folder, 'node_modules/.bin/crm-schema'), rest, env),
  };
}
