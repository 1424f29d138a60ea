import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createHostTables, migrate } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import {
  credentialsConnect,
  credentialsReplace,
  KeyRing,
  type KeyRingDocument,
  type ProviderCredentials,
} from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionRequestSync,
  connectionSetStatus,
  outboundChangeRecord,
  type Provider,
  providers,
  syncFailureReplay,
} from '../../src/index.js';
import { chaoticHabits } from '../simulated-crm/habits.js';
import { type Random, seededRandom } from '../simulated-crm/random.js';
import { type SimulatedCrm, startSimulatedCrm } from '../simulated-crm/server.js';
import { testRingKey } from '../support/credentials.js';
import type { Orders } from './worker.js';

/** One agency's CRM, and the connection to it. */
export interface Line extends ConnectionKey {
  provider: Provider;
  crm: SimulatedCrm;
}

/** Notes each change of a contact, and the transaction that made it. */
const audit = `
  create table audit (contact_id uuid not null, organisation_id uuid not null, xid xid not null, by text not null);
  create function audit() returns trigger language plpgsql as $$
  begin
    insert into audit values (new.id, new.organisation_id, pg_current_xact_id()::xid, current_setting('application_name'));
    return null;
  end $$;
  create trigger audit after insert or update on contacts for each row execute function audit()`;

/** Workers connect as production's do: as members of crm_worker, and with what the host grants of its own. */
const asWorker = `
  create role worker login password 'test' in role crm_worker;
  grant select, insert, update, delete on contacts to worker;
  grant insert on audit to worker`;

/** A server, six CRMs of one agency, workers, and the means to make their life hard. */
export class World {
  readonly pool: pg.Pool;
  readonly lines: Line[] = [];
  readonly organisationId = randomUUID();
  readonly #random: Random;
  readonly #server: EmbeddedPostgres;
  readonly #workerFile: string;
  readonly #processes: ChildProcess[] = [];
  readonly #keys: KeyRingDocument;
  #ring!: KeyRing;
  #count = 0;

  private constructor(server: EmbeddedPostgres, seed: number, workerFile: string) {
    this.#server = server;
    this.#random = seededRandom(seed);
    this.#workerFile = workerFile;
    const key = testRingKey();
    this.#keys = { current: key.kid, keys: [key] };
    this.pool = new pg.Pool({ connectionString: server.url, application_name: 'host', max: 10 });
    this.pool.on('error', () => {});
  }

  static async create(seed: number, workerFile: string): Promise<World> {
    const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, {
      // What was committed has to survive a crash here.
      settings: { synchronous_commit: 'on' },
    });
    const world = new World(server, seed, workerFile);
    const client = await world.pool.connect();
    await createHostTables(client);
    await migrate(client);
    await client.query(audit);
    await client.query(asWorker);
    await client.query("insert into organisations (id, name) values ($1, 'Test Agency')", [
      world.organisationId,
    ]);
    client.release();
    world.#ring = await KeyRing.parse(world.#keys);
    await Promise.all(providers.map((provider) => world.#connect(provider, seed)));
    return world;
  }

  async #connect(provider: Provider, seed: number): Promise<void> {
    const { organisationId } = this;
    const crm: SimulatedCrm = await startSimulatedCrm({
      provider,
      seed,
      habits: { ...chaoticHabits, lostToken: 0.02, accessTokenMilliseconds: 2_000 },
    });
    const own = { organisationId, provider, credentials: crm.credentials } as unknown as ProviderCredentials;
    const { connectionId } = await credentialsConnect(this.pool, this.#ring, { organisationId, ...own });
    this.lines.push({ organisationId, connectionId, provider, crm });
    for (let count = 0; count < 5; count += 1) crm.create(this.#name());
  }

  #name(): string {
    this.#count += 1;
    return `Test Person ${this.#count}`;
  }

  #pick<Item>(items: readonly Item[]): Item | undefined {
    return items[Math.floor(this.#random() * items.length)];
  }

  // --- Workers

  /** Starts a process of so many workers. */
  startWorkers(workers: number): void {
    const orders: Orders = {
      name: `worker-${this.#processes.length}`,
      workers,
      databaseUrl: Object.assign(new URL(this.#server.url), { username: 'worker', password: 'test' }).href,
      crmUrls: Object.fromEntries(this.lines.map(({ connectionId, crm }) => [connectionId, crm.url])),
      keys: this.#keys,
    };
    const child = spawn(process.execPath, [this.#workerFile, JSON.stringify(orders)], {
      stdio: ['pipe', 'ignore', process.env.CHAOS_VERBOSE ? 'inherit' : 'ignore'],
    });
    this.#processes.push(child);
  }

  /** kill -9, and another takes its place. */
  killWorkers(workers: number): void {
    const living = this.#processes.filter(
      ({ exitCode, signalCode }) => exitCode === null && signalCode === null,
    );
    this.#pick(living)?.kill('SIGKILL');
    this.startWorkers(workers);
  }

  // --- Troubles

  /** kill -9 of one of the server's processes, upon which all of it crashes, recovers and comes back. */
  async crashServer(): Promise<void> {
    await this.pool
      .query('select pg_backend_pid() as pid')
      .then(({ rows }) => process.kill(rows[0].pid, 'SIGKILL'))
      .catch(() => {});
    await this.untilServerIsBack();
  }

  async untilServerIsBack(): Promise<void> {
    for (let attempt = 0; attempt < 200; attempt += 1) {
      if (
        await this.pool.query('select 1').then(
          () => true,
          () => false,
        )
      )
        return;
      await sleep(50);
    }
    throw new Error('The server did not come back.');
  }

  /** Cuts the network between the workers and the server. */
  async cutConnections(): Promise<void> {
    await this.pool.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'worker'",
    );
  }

  /** As if a day had passed: what was put off is due. */
  async letTimePass(): Promise<void> {
    await this.pool.query(`
      update crm_connections set not_before_at = not_before_at - interval '1 day', next_sync_at = next_sync_at - interval '1 day'
      where status <> 'disconnected'`);
    await this.pool.query(
      "update crm_outbound_changes set next_attempt_at = next_attempt_at - interval '1 day'",
    );
    await this.pool.query(
      "update crm_sync_failures set next_attempt_at = next_attempt_at - interval '1 day' where next_attempt_at is not null",
    );
  }

  // --- People

  /** An agent signs in again wherever a connection asks for it. */
  async mendConnections(): Promise<void> {
    const { rows } = await this.pool.query("select id from crm_connections where status = 'error'");
    for (const { id } of rows) {
      const line = this.lines.find(({ connectionId }) => connectionId === id) as Line;
      const { rows: current } = await this.pool.query(
        'select credentials_version from crm_connections where id = $1',
        [id],
      );
      const own = { ...line, credentials: line.crm.signIn() } as never;
      await credentialsReplace(this.pool, this.#ring, {
        ...(own as object),
        credentialsVersion: current[0].credentials_version,
      } as never);
      await connectionSetStatus(this.pool, { ...line, status: 'active' });
      await this.request(line);
    }
  }

  request(line: Line): Promise<unknown> {
    return connectionRequestSync(this.pool, { ...line, connectionIds: [line.connectionId], isUrgent: true });
  }

  /** Somebody at the agency, or somewhere in the network, does something. */
  async act(): Promise<void> {
    const line = this.#pick(this.lines) as Line;
    const { crm } = line;
    const active = crm.records().filter(({ state }) => state === 'active');
    const record = this.#pick(active);
    const dice = this.#random();
    if (dice < 0.3 && record) crm.edit(record.externalId, this.#name());
    else if (dice < 0.4) crm.create(this.#name());
    else if (dice < 0.44 && record && active.length > 3) crm.delete(record.externalId);
    else if (dice < 0.48 && line.provider === 'custom') {
      const into = this.#pick(active.filter(({ externalId }) => externalId !== record?.externalId));
      if (record && into) crm.merge(record.externalId, into.externalId);
    } else if (dice < 0.75) await this.editContact();
    else if (dice < 0.85) await this.letTimePass();
    else if (dice < 0.87) crm.revokeTokens();
    else await this.request(line);
  }

  /** The host changes a contact; its transaction may take a while, and may be undone. */
  async editContact(): Promise<void> {
    const { organisationId } = this;
    const { rows } = await this.pool.query('select id from contacts order by id');
    const contactId: string = this.#pick(rows)?.id ?? randomUUID();
    const [name, pause, isUndone] = [this.#name(), this.#random() * 100, this.#random() < 0.2];
    const client = await this.pool.connect();
    const ignore = () => {};
    client.on('error', ignore);
    try {
      await client.query('begin');
      await client.query(
        'insert into contacts (id, organisation_id, name) values ($1, $2, $3) on conflict (id) do update set name = excluded.name',
        [contactId, organisationId, name],
      );
      await outboundChangeRecord(client, { organisationId, contactIds: [contactId] });
      await sleep(pause);
      await client.query(isUndone ? 'rollback' : 'commit');
      client.off('error', ignore).release();
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  /** What was put off, failed or given up is tried again, and every connection synced. */
  async tryAgain(): Promise<void> {
    await this.mendConnections();
    await this.letTimePass();
    for (const line of this.lines) {
      await syncFailureReplay(this.pool, {
        ...line,
        failedFrom: '2020-01-01T00:00:00Z',
        failedBefore: new Date(Date.now() + 60_000),
      });
      await this.request(line);
    }
  }

  /** Until no sync is due or running; half a minute at most. */
  async untilQuiet(): Promise<void> {
    for (let attempt = 0; attempt < 150; attempt += 1) {
      await sleep(200);
      const { rows } = await this.pool.query(`
        select from crm_sync_runs where ended_at is null
        union all
        select from crm_connections where next_sync_at <= now()
        union all
        select from crm_outbound_changes where not is_announced`);
      if (rows.length === 0) return;
    }
  }

  calm(): void {
    for (const { crm } of this.lines) crm.calm();
  }

  async stop(): Promise<void> {
    const living = this.#processes.filter(
      ({ exitCode, signalCode }) => exitCode === null && signalCode === null,
    );
    await Promise.all(
      living.map((child) => {
        const exited = once(child, 'exit');
        child.kill('SIGKILL');
        return exited;
      }),
    );
    await Promise.all(this.lines.map(({ crm }) => crm.stop()));
    await this.pool.end();
    await this.#server.stop();
  }
}
