import { execFile } from 'node:child_process';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
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
  /** Runs Node on a program, in the project. */
  evaluate(type: 'module' | 'commonjs', program: string, env?: NodeJS.ProcessEnv): Promise<Output>;
  /** Runs `crm-schema`. */
  command(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Output>;
}

interface Output {
  stdout: string;
  stderr: string;
}

/** Packs the package into a folder. Returns the path of the tarball. */
export async function pack(folder: string): Promise<string> {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
    cwd: projectPath('.'),
  });
  const [{ filename }] = JSON.parse(stdout.slice(stdout.indexOf('[')));
  return join(folder, filename);
}

/** Creates an empty project and installs the tarball and its peer dependency `pg` there. */
export async function install(manager: Manager, tarball: string): Promise<Consumer> {
  const folder = await mkdtemp(join(tmpdir(), `crm-schema-${manager}-`));
  await writeFile(join(folder, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');
  const { pg, '@types/pg': pgTypes, '@types/node': nodeTypes } = packageJson.devDependencies;
  const wanted = [tarball, `pg@${pg}`, `@types/pg@${pgTypes}`, `@types/node@${nodeTypes}`];
  const [program, ...args] = {
    npm: ['npm', 'install', '--no-audit', '--no-fund', '--prefer-offline'],
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

  const start = (path: string, rest: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    run(path, rest, { cwd: folder, env: { ...process.env, ...env }, maxBuffer: 100_000_000 });
  return {
    folder,
    installed: join(folder, 'node_modules', packageJson.name),
    evaluate: (type, text, env) => start(process.execPath, [`--input-type=${type}`, '--eval', text], env),
    command: (rest, env) => start(join(folder, 'node_modules/.bin/crm-schema'), rest, env),
  };
}
