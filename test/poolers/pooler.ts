import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** A pooler in transaction mode, on loopback. */
export interface Pooler {
  /** The URL of a database of the server, through the pooler. */
  through(databaseUrl: string): string;
  stop(): Promise<void>;
}

/** How a test wants a pooler. */
export interface PoolerOptions {
  /** How many connections to the server, for each user and database. */
  readonly connections: number;
  /** URLs of the users that connect. The first one is a superuser's. */
  readonly users: readonly string[];
}

/** A program to start, with the files that it reads. */
export interface PoolerProgram {
  readonly path: string;
  /** Its arguments; files are in `folder`. */
  arguments(folder: string): string[];
  /** What its files contain, by name. */
  files(folder: string, port: number): Record<string, string>;
}

/** Starts a pooler, and waits until it accepts connections. */
export async function startPooler(program: PoolerProgram): Promise<Pooler> {
  const folder = await mkdtemp(join(tmpdir(), 'crm-schema-pooler-'));
  const port = await freePort();
  for (const [name, text] of Object.entries(program.files(folder, port))) {
    await writeFile(join(folder, name), text, { mode: 0o600 });
  }
  const child = spawn(program.path, program.arguments(folder), { stdio: ['ignore', 'pipe', 'pipe'] });
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  await isReady(child, port);
  return {
    through(databaseUrl) {
      const url = new URL(databaseUrl);
      url.hostname = '127.0.0.1';
      url.port = String(port);
      return url.href;
    },
    async stop() {
      process.removeListener('exit', kill);
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        // From 1.23 PgBouncer waits after SIGTERM until its clients have gone.
        child.kill('SIGKILL');
        await exited;
      }
      await rm(folder, { recursive: true });
    },
  };
}

/** Waits until a pooler accepts connections: Odyssey says so a moment before it does. */
async function isReady(child: ChildProcess, port: number): Promise<void> {
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => output.push(`${text}`));
  while (!(await accepts(port))) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`The pooler did not start.\n${output.join('')}`);
    }
    await sleep(20);
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** The user and password of a URL. */
export function loginOf(databaseUrl: string): { user: string; password: string } {
  const { username, password } = new URL(databaseUrl);
  return { user: decodeURIComponent(username), password: decodeURIComponent(password) };
}

/** A free port. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => resolve(port));
    });
  });
}
