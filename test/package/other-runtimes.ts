import { execFile } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { type Consumer, install, packageJson } from './consumer.js';

const run = promisify(execFile);

/** The folder that `dev/other-runtimes/install.sh` has made; undefined to skip the tests. */
const programs = process.env.TEST_OTHER_RUNTIMES || undefined;
export const noOtherRuntimes = programs === undefined;
if (noOtherRuntimes) {
  console.log(
    'Skipped: Bun, Deno and Yarn. Set TEST_OTHER_RUNTIMES to a folder made by dev/other-runtimes/install.sh.',
  );
}

/** A program of that folder. */
export function programPath(name: 'bun' | 'deno' | 'yarn'): string {
  return join(resolve(programs ?? ''), 'bin', name);
}

/** How a run ended. */
export interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** A project with the package and `pg` installed, and a runtime for it. */
export interface Application {
  folder: string;
  /** Runs a program of the project's folder. */
  program(file: string, env: NodeJS.ProcessEnv): Promise<Ended>;
  /** Runs `crm-schema`. */
  command(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ended>;
}

/** Runs a program to its end, whatever its exit code. */
export async function runToEnd(path: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv) {
  const options = { cwd, env: { ...process.env, ...env }, maxBuffer: 100_000_000 };
  return run(path, [...args], options).then(
    ({ stdout, stderr }): Ended => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }): Ended => ({ code, stdout, stderr }),
  );
}

/** By name: installs the tarball in a project of its own. */
export const applications = {
  Node: async (tarball: string) => onNodeModules(await install('npm', tarball), process.execPath, []),
  Bun: async (tarball: string) => onNodeModules(await install('npm', tarball), programPath('bun'), []),
  // -A: reading files, the environment and the network, which Deno asks permission for.
  Deno: async (tarball: string) =>
    onNodeModules(await install('npm', tarball), programPath('deno'), ['run', '-A']),
  'Yarn PnP': withPlugAndPlay,
} satisfies Record<string, (tarball: string) => Promise<Application>>;

function onNodeModules({ folder, installed }: Consumer, runtime: string, options: string[]): Application {
  const start = (args: readonly string[], env: NodeJS.ProcessEnv) =>
    runToEnd(runtime, [...options, ...args], folder, { DENO_NO_UPDATE_CHECK: '1', ...env });
  return {
    folder,
    program: (file, env) => start([file], env),
    command: (args, env) => start([join(installed, packageJson.bin['crm-schema']), ...args], env),
  };
}

/** Yarn's default: no node_modules, packages in archives, and no package that was not declared. */
async function withPlugAndPlay(tarball: string): Promise<Application> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-yarn-'));
  await writeFile(join(folder, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');
  await writeFile(join(folder, 'yarn.lock'), '');
  const yarn = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    runToEnd(process.execPath, [programPath('yarn'), ...args], folder, {
      YARN_ENABLE_TELEMETRY: '0',
      YARN_NODE_LINKER: 'pnp',
      // In CI, Yarn would refuse to write the lock file.
      YARN_ENABLE_IMMUTABLE_INSTALLS: 'false',
      // Leaves nothing behind on this machine.
      YARN_GLOBAL_FOLDER: join(folder, '.yarn-global'),
      ...env,
    });
  const { code, stdout } = await yarn(['add', tarball, `pg@${packageJson.devDependencies.pg}`]);
  if (code !== 0) throw new Error(`yarn add failed. ${stdout}`);
  return {
    folder,
    program: (file, env) => yarn(['node', file], env),
    command: (args, env) => yarn(['crm-schema', ...args], env),
  };
}
