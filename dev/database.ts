import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { runner } from 'node-pg-migrate';
import pg from 'pg';

/** The absolute path of a file or folder of this project. */
export function projectPath(path: string): string {
  return fileURLToPath(new URL(`../${path}`, import.meta.url));
}

/**
 * The URL of another database on the same server.
 *
 * @throws Error if it does not have the form postgres://…; the message does not contain the URL
 */
export function databaseUrl(serverUrl: string, database: string): string {
  // Without the slashes, setting a URL's path does not change its database.
  if (!/^postgres(ql)?:\/\//.test(serverUrl) || !URL.canParse(serverUrl)) {
    throw new Error('A database URL has the form postgres://user:password@host:5432/database.');
  }
  const url = new URL(serverUrl);
  url.pathname = database;
  return url.href;
}

/** Creates NurtureHub's own tables, with only the columns that the schema needs. */
export async function createHostTables(client: pg.ClientBase): Promise<void> {
  await client.query(await readFile(projectPath('dev/host-tables.sql'), 'utf8'));
}

/** Applies or reverts migrations, exactly as `npx node-pg-migrate` does. */
export async function migrate(
  client: pg.ClientBase,
  direction: 'up' | 'down' = 'up',
  count?: number,
  schema = ['public'],
): Promise<void> {
  await runner({
    dbClient: client,
    dir: projectPath('migrations'),
    migrationsTable: 'pgmigrations',
    schema,
    direction,
    verbose: false,
    // The default of its command, but not of its programming interface.
    singleTransaction: true,
    ...(count === undefined ? {} : { count }),
    logger: { debug() {}, info() {}, warn() {}, error() {} },
  });
}

/** Runs `work` with a connection, and closes the connection afterwards. */
export async function withClient<Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
