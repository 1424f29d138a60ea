import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { databaseUrl, withClient } from '../../dev/database.js';
import type { Beside, Goal, Row, Way } from './harness.js';
import type { PeerName, Peers } from './peers.js';
import type { Release } from './releases.js';
import type { Size } from './sizes.js';

/** What all rows are measured on. */
export interface Bench {
  /** A superuser's URL of a server. */
  serverUrl: string;
  ours: Release;
  earlier: { name: string; release?: Release | undefined; missing?: string | undefined };
  peers: Peers;
  size: Size;
  /** The databases that those of each release are cloned from, made when they are needed. They stay. */
  templates: Map<Release, string>;
}

/** Prepares some rows that share databases, and yields them one after the other. */
export type Group = (scope: Scope) => AsyncGenerator<Row>;

/** A database with the schema of a release. */
export interface Database {
  url: string;
  /** A superuser's client. */
  client: pg.Client;
  release: Release;
}

/** What a group of rows uses. All that it opens and creates is closed and dropped at the end. */
export class Scope {
  readonly #ends: (() => Promise<unknown>)[] = [];

  constructor(readonly bench: Bench) {}

  /** Does it at the end, before what was registered earlier. */
  atEnd(work: () => Promise<unknown>): void {
    this.#ends.push(work);
  }

  async end(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) await end();
  }

  /** Creates a database with the schema of a release. */
  async database(release: Release): Promise<Database> {
    const { serverUrl, templates } = this.bench;
    let template = templates.get(release);
    if (template === undefined) {
      template = await createDatabase(serverUrl);
      await withClient(databaseUrl(serverUrl, template), async (client) => {
        await client.query(await readFile(join(release.folder, 'dev/host-tables.sql'), 'utf8'));
        await release.migrations.migrateUp(client);
      });
      templates.set(release, template);
    }
    const url = await this.emptyDatabase(template);
    return { url, client: await this.connect(url), release };
  }

  /** Creates a database, and returns its URL. */
  async emptyDatabase(template = 'template0'): Promise<string> {
    const { serverUrl } = this.bench;
    const name = await createDatabase(serverUrl, template);
    this.atEnd(() => withClient(serverUrl, (client) => client.query(`drop database ${name} with (force)`)));
    return databaseUrl(serverUrl, name);
  }

  /** Opens a connection. */
  async connect(url: string): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    this.atEnd(() => client.end());
    return client;
  }

  /** Prepares something on the earlier release, if it is there. */
  async earlier<Prepared>(
    prepare: (release: Release) => Prepared | Promise<Prepared>,
  ): Promise<Prepared | undefined> {
    const { release } = this.bench.earlier;
    return release === undefined ? undefined : prepare(release);
  }

  /** A row's entry for the earlier release. */
  besideEarlier(way: Way | undefined, goal?: Goal): Beside {
    const { name, missing } = this.bench.earlier;
    return { name, goal, missing, way };
  }

  /** Prepares something with a peer, if it is installed. */
  async peer<Prepared>(name: PeerName, prepare: () => Promise<Prepared>): Promise<Prepared | undefined> {
    return this.bench.peers.versions[name] === undefined ? undefined : prepare();
  }

  /** A row's entry for a peer. */
  besidePeer(name: PeerName, what: string, way: Way | undefined, goal?: Goal): Beside {
    return { name: `${[name, this.bench.peers.versions[name]].filter(Boolean).join(' ')}${what}`, goal, way };
  }
}

/** Creates a database, and returns its name. */
async function createDatabase(serverUrl: string, template = 'template0'): Promise<string> {
  const name = `bench_${randomBytes(6).toString('hex')}`;
  await withClient(serverUrl, (client) =>
    client.query(`create database ${name} template ${template} strategy file_copy`),
  );
  return name;
}
