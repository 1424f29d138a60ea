import { randomBytes } from 'node:crypto';
import type { TestProject } from 'vitest/node';
import { createHostTables, databaseUrl, migrate, withClient } from '../../dev/database.js';
import { startEmbeddedPostgres } from '../../dev/embedded-postgres.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** A superuser's URL of the server under test. */
    serverUrl: string;
    /** Prefix of the databases to clone: `<prefix>_host` has the host tables, `<prefix>_migrated` the whole schema. */
    databasePrefix: string;
    /** The major version of the server under test. */
    serverMajorVersion: number;
    /** How to clone a database: by its files, where that needs no wait for a disk, or else through the log. */
    cloneStrategy: 'file_copy' | 'wal_log';
  }
}

interface Server {
  url: string;
  description: string;
  stop(): Promise<void>;
}

/** Runs once: finds a server, prints which, and creates the databases that test files clone. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await findServer();
  const prefix = `crm_schema_test_${randomBytes(4).toString('hex')}`;
  const { version, fsync } = await withClient(server.url, async (client) => {
    await client.query(`create database ${prefix}_host`);
    const { rows } = await client.query(
      "select current_setting('server_version') as version, current_setting('fsync') as fsync",
    );
    return rows[0];
  });
  console.log(`Testing on PostgreSQL ${version}: ${server.description}.`);

  await withClient(databaseUrl(server.url, `${prefix}_host`), createHostTables);
  await withClient(server.url, (client) =>
    client.query(`create database ${prefix}_migrated template ${prefix}_host`),
  );
  await withClient(databaseUrl(server.url, `${prefix}_migrated`), (client) => migrate(client));

  project.provide('serverUrl', server.url);
  project.provide('databasePrefix', prefix);
  project.provide('serverMajorVersion', Number.parseInt(version, 10));
  project.provide('cloneStrategy', fsync === 'off' ? 'file_copy' : 'wal_log');
  return async () => {
    await withClient(server.url, async (client) => {
      await client.query(`drop database ${prefix}_host`);
      await client.query(`drop database ${prefix}_migrated`);
    });
    await server.stop();
  };
}

/** TEST_DATABASE_URL if set; otherwise a container if a Docker engine answers; otherwise an embedded server. */
async function findServer(): Promise<Server> {
  const url = process.env.TEST_DATABASE_URL;
  if (url !== undefined && url !== '') {
    return { url, description: 'the server at TEST_DATABASE_URL', stop: async () => {} };
  }
  const version = process.env.TEST_POSTGRES_VERSION ?? '18';
  return (await startContainer(version)) ?? (await startEmbedded(version));
}

async function startEmbedded(version: string): Promise<Server> {
  const { url, stop } = await startEmbeddedPostgres(version);
  return { url, description: 'embedded', stop };
}

async function startContainer(version: string): Promise<Server | undefined> {
  const { GenericContainer, getContainerRuntimeClient, Wait } = await import('testcontainers');
  try {
    await getContainerRuntimeClient();
  } catch {
    return undefined;
  }
  const image = process.env.TEST_POSTGRES_IMAGE ?? `postgres:${version}`;
  const password = randomBytes(18).toString('base64url');
  const container = await new GenericContainer(image)
    .withEnvironment({ POSTGRES_PASSWORD: password })
    .withExposedPorts(5432)
    .withCommand(['postgres', '-c', 'fsync=off', '-c', 'max_connections=200'])
    .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/, 2))
    .start()
    .catch((cause) => {
      throw new Error(
        `A Docker engine answers, but ${image} does not start: set TEST_DATABASE_URL to use another server, or DOCKER_HOST=none to use the embedded one.`,
        { cause },
      );
    });
  const url = `postgres://postgres:${password}@${container.getHost()}:${container.getMappedPort(5432)}/postgres`;
  return {
    url,
    description: `a container of ${image}`,
    stop: async () => {
      await container.stop();
    },
  };
}
