import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createHostTables, databaseUrl } from '../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../dev/embedded-postgres.js';
import { migrateUp } from '../src/migrations.js';

/** A migrated database of the demo's own. */
export interface DemoDatabase {
  /** Says on which server it is. */
  readonly description: string;
  readonly client: pg.Client;
  /** Lets the database stay; returns how to look at it and how to remove it. */
  keep(): Promise<string[]>;
  /** Removes everything that was made. */
  remove(): Promise<void>;
}

/**
 * Makes a database on the server at `serverUrl`, or on an embedded server started for it.
 *
 * @throws whatever prevented it, with nothing left behind
 */
export async function createDemoDatabase(serverUrl: string | undefined): Promise<DemoDatabase> {
  const server = serverUrl === undefined ? await startEmbeddedPostgres() : undefined;
  const adminUrl = server?.url ?? (serverUrl as string);
  const name = `crm_schema_demo_${randomBytes(4).toString('hex')}`;
  const client = clientOf(databaseUrl(adminUrl, name));
  let created = false;

  const remove = async () => {
    await client.end().catch(() => {});
    if (server !== undefined) await server.stop();
    else if (created) await execute(adminUrl, `drop database if exists ${name} with (force)`);
  };

  try {
    // template0 and UTF8, whatever the server's own template holds.
    await execute(adminUrl, `create database ${name} template template0 encoding 'UTF8'`);
    created = true;
    await client.connect();
    await createHostTables(client);
    await migrateUp(client);
  } catch (error) {
    await remove();
    throw error;
  }
  return {
    description:
      server === undefined
        ? 'PostgreSQL at DATABASE_URL, in a database of its own'
        : 'PostgreSQL 18, embedded',
    client,
    async keep() {
      await client.end();
      server?.outlive();
      return server === undefined ? keptDatabase(adminUrl, name) : keptServer(server, name);
    },
    remove,
  };
}

function keptServer(server: EmbeddedPostgres, name: string): string[] {
  return [`To look around:  psql '${databaseUrl(server.url, name)}'`, `To stop it:      kill ${server.pid}`];
}

/** Without the password, which is not ours to show: psql asks for it. */
function keptDatabase(adminUrl: string, name: string): string[] {
  const shown = new URL(adminUrl);
  shown.password = '';
  for (const secret of ['password', 'sslpassword']) shown.searchParams.delete(secret);
  return [
    `To look around:  psql '${databaseUrl(shown.href, name)}'`,
    `To remove it:    psql '${shown.href}' -c 'drop database ${name}'`,
  ];
}

function clientOf(url: string): pg.Client {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  // A connection that is lost while idle is noticed by the next query; unheard, it would end the process.
  client.on('error', () => {});
  return client;
}

async function execute(url: string, statement: string): Promise<void> {
  const client = clientOf(url);
  try {
    await client.connect();
    await client.query(statement);
  } finally {
    await client.end();
  }
}
