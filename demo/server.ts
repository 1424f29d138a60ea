import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { createHostTables, databaseUrl } from '../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../dev/embedded-postgres.js';
import { migrateUp } from '../src/migrations.js';

/** A migrated database for the demo alone. */
export interface DemoDatabase {
  /** Says which server it is on. */
  readonly description: string;
  readonly url: string;
  readonly client: pg.Client;
  /** Keeps the database. Returns how to explore it and how to remove it. */
  keep(): Promise<string[]>;
  /** Removes everything the demo created. */
  remove(): Promise<void>;
}

/**
 * Creates a database on the server at `serverUrl`, or on an embedded server started for it.
 *
 * @throws the error that prevented it, after removing whatever was created
 */
export async function createDemoDatabase(serverUrl: string | undefined): Promise<DemoDatabase> {
  const server = serverUrl === undefined ? await startEmbeddedPostgres() : undefined;
  const adminUrl = server?.url ?? (serverUrl as string);
  const name = `crm_schema_demo_${randomBytes(4).toString('hex')}`;
  const url = databaseUrl(adminUrl, name);
  const client = clientOf(url);
  let created = false;

  const remove = async () => {
    await client.end().catch(() => {});
    if (server !== undefined) await server.stop();
    else if (created) await execute(adminUrl, `drop database if exists ${name} with (force)`);
  };

  try {
    // template0 and UTF8, whatever the server's default template contains.
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
      server === undefined ? 'PostgreSQL at DATABASE_URL, in a separate database' : 'PostgreSQL 18, embedded',
    url,
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
  return [`To explore it:  psql '${databaseUrl(server.url, name)}'`, `To stop it:     kill ${server.pid}`];
}

/** Leaves the password out, so that it is not printed: psql asks for it. */
function keptDatabase(adminUrl: string, name: string): string[] {
  const shown = new URL(adminUrl);
  shown.password = '';
  for (const secret of ['password', 'sslpassword']) shown.searchParams.delete(secret);
  return [
    `To explore it:  psql '${databaseUrl(shown.href, name)}'`,
    `To remove it:   psql '${shown.href}' -c 'drop database ${name}'`,
  ];
}

function clientOf(url: string): pg.Client {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  // Without a listener, losing an idle connection would end the process. The next query reports the loss.
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
