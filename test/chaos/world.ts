import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { createHostTables, migrate } from '../../dev/database.js';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../dev/embedded-postgres.js';
import { chaoticHabits, type Naming } from '../../examples/simulated-crm/habits.js';
import { type Random, seededRandom } from '../../examples/simulated-crm/random.js';
import { type SimulatedCrm, startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import {
  credentialsConnect,
  credentialsReplace,
  KeyRing,
  type KeyRingDocument,
  type ProviderCredentials,
} from '../../src/credentials.js';
import {
  type ConflictWinner,
  type ConnectionKey,
  connectionDisconnect,
  connectionPause,
  connectionRequestSync,
  connectionSetConflictWinner,
  connectionSetStatus,
  contactExternalIdLinkMany,
  contactMerge,
  contactMergeUndo,
  contactReferenceCheckMany,
  outboundChangeRecord,
  outboundFillStart,
  type Provider,
  providers,
  recordRequestAdd,
  syncFailureDismiss,
  syncFailureReplay,
  syncFailureReplayByIds,
} from '../../src/index.js';
import { testRingKey } from '../support/credentials.js';
import type { WorkerSettings } from './worker.js';

/** One of the agency's CRMs, and the connection to it. */
export interface ConnectedCrm extends ConnectionKey {
  provider: Provider;
  crm: SimulatedCrm;
}

/** Records each change of a contact, with its transaction. */
const audit = `
  create table audit (contact_id uuid not null, organisation_id uuid not null, xid xid not null, by text not null);
  create function audit() returns trigger language plpgsql as $$
  begin
    insert into audit values (new.id, new.organisation_id, pg_current_xact_id()::xid, current_setting('application_name'));
    return null;
  end $$;
  create trigger audit after insert or update on contacts for each row execute function audit()`;

/** Where each connection's CRM is. */
const crmUrls = 'create table crm_urls (connection_id uuid primary key, url text not null)';

/** What each CRM does to names. */
const naming: Record<Provider, Naming> = {
  agentos: 'cut at 12',
  reapit: 'Title Case',
  alto: 'UPPER CASE',
  street: 'UPPER CASE',
  loop: 'cut at 12',
  custom: 'as sent',
};

/** Who wins at each CRM if a person was edited on both sides. */
const winners: Record<Provider, ConflictWinner> = {
  agentos: 'nurturehub',
  reapit: 'nurturehub',
  alto: 'crm',
  street: 'person',
  loop: 'crm',
  custom: 'person',
};

/** Workers connect as in production: as members of crm_worker, with the host's own grants. */
const asWorker = `
  create role worker login password 'test' in role crm_worker;
  grant select, insert, update, delete on contacts to worker;
  grant insert on audit to worker;
  grant select on crm_urls to worker`;

/** A server, six CRMs of one agency, which write names in their own way, workers, and ways to disturb them. */
export class World {
  readonly pool: pg.Pool;
  readonly connectedCrms: ConnectedCrm[] = [];
  readonly organisationId = randomUUID();
  /** The CRM at which the agency moves to another account and back. */
  readonly moving: Provider;
  /** The account at that CRM that the agency is not connected to. */
  #otherAccount: SimulatedCrm | undefined;
  readonly #random: Random;
  readonly #seed: number;
  readonly #server: EmbeddedPostgres;
  readonly #workerFile: string;
  readonly #processes: ChildProcess[] = [];
  readonly #keys: KeyRingDocument;
  #ring!: KeyRing;
  #count = 0;
  /** The host's merges that are not undone, the last one at the end. */
  readonly #merges: { operationId: string; gone: { id: string; name: string }; intoContactId: string }[] = [];

  private constructor(server: EmbeddedPostgres, seed: number, workerFile: string) {
    this.#server = server;
    this.#random = seededRandom(seed);
    this.#seed = seed;
    this.moving = this.#pick(['agentos', 'reapit', 'alto'] as const) as Provider;
    this.#workerFile = workerFile;
    const key = testRingKey();
    this.#keys = { current: key.kid, keys: [key] };
    this.pool = new pg.Pool({ connectionString: server.url, application_name: 'host', max: 10 });
    this.pool.on('error', () => {});
  }

  static async create(seed: number, workerFile: string): Promise<World> {
    const server = await startEmbeddedPostgres(process.env.TEST_POSTGRES_VERSION, {
      // Committed transactions must survive a crash.
      settings: { synchronous_commit: 'on' },
    });
    const world = new World(server, seed, workerFile);
    const client = await world.pool.connect();
    await createHostTables(client);
    await migrate(client);
    await client.query(audit);
    await client.query(crmUrls);
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
    this.connectedCrms.push(await this.#connectTo(await this.#startCrm(provider, seed)));
  }

  async #startCrm(provider: Provider, seed: number, account?: string): Promise<SimulatedCrm> {
    const crm: SimulatedCrm = await startSimulatedCrm({
      provider,
      seed,
      habits: {
        ...chaoticHabits,
        lostToken: 0.02,
        accessTokenMilliseconds: 2_000,
        retryAfterSeconds: provider === 'loop' ? null : 1,
        naming: naming[provider],
      },
      ...(account === undefined ? {} : { account }),
    });
    for (let count = 0; count < 5; count += 1) crm.create(this.#name());
    return crm;
  }

  async #connectTo(crm: SimulatedCrm): Promise<ConnectedCrm> {
    const { organisationId } = this;
    const { provider } = crm;
    const own = { organisationId, provider, credentials: crm.signIn() } as unknown as ProviderCredentials;
    const connectionId = randomUUID();
    await this.pool.query('insert into crm_urls values ($1, $2)', [connectionId, crm.url]);
    await credentialsConnect(this.pool, this.#ring, { organisationId, connectionId, ...own });
    const conflictWinner = winners[provider];
    await connectionSetConflictWinner(this.pool, { organisationId, connectionId, conflictWinner });
    return { organisationId, connectionId, provider, crm };
  }

  /** All CRMs, including that of the account that the agency has left. */
  get crms(): SimulatedCrm[] {
    const connected = this.connectedCrms.map(({ crm }) => crm);
    return this.#otherAccount === undefined ? connected : [...connected, this.#otherAccount];
  }

  /** A name of which any twelve characters at the start are different from those of others. */
  #name(): string {
    this.#count += 1;
    return `Test ${this.#count} Person McTest`;
  }

  #pick<Item>(items: readonly Item[]): Item | undefined {
    return items[Math.floor(this.#random() * items.length)];
  }

  // --- Workers

  /** Starts a process with this number of workers. */
  startWorkers(workers: number): void {
    const settings: WorkerSettings = {
      name: `worker-${this.#processes.length}`,
      workers,
      databaseUrl: Object.assign(new URL(this.#server.url), { username: 'worker', password: 'test' }).href,
      keys: this.#keys,
    };
    const child = spawn(process.execPath, [this.#workerFile, JSON.stringify(settings)], {
      stdio: ['pipe', 'ignore', process.env.CHAOS_VERBOSE ? 'inherit' : 'ignore'],
    });
    this.#processes.push(child);
  }

  /** Kills one worker process, or tells it to stop, and starts another. */
  replaceWorkers(workers: number, signal: 'SIGKILL' | 'SIGTERM'): void {
    const living = this.#processes.filter(
      ({ exitCode, signalCode }) => exitCode === null && signalCode === null,
    );
    this.#pick(living)?.kill(signal);
    this.startWorkers(workers);
  }

  // --- Disturbances

  /** Kills one of the server's processes with SIGKILL, which makes the whole server crash and recover. */
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
    throw new Error('The server did not recover.');
  }

  /** Closes all connections between the workers and the server. */
  async cutConnections(): Promise<void> {
    await this.pool.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'worker'",
    );
  }

  /** Moves all waiting work one day earlier, as if a day had passed. */
  async letTimePass(): Promise<void> {
    // In the order of their keys, as everybody locks: otherwise, one of the workers or this would be a deadlock's victim.
    await this.pool.query(`
      update crm_connections
      set not_before_at = not_before_at - interval '1 day', next_sync_at = next_sync_at - interval '1 day'
      from (
        select id from crm_connections where status <> 'disconnected' order by organisation_id, id for no key update
      ) as locked
      where crm_connections.id = locked.id`);
    await this.pool.query(`
      update crm_outbound_changes as change
      set next_attempt_at = change.next_attempt_at - interval '1 day'
      from (
        select * from crm_outbound_changes order by organisation_id, contact_id, connection_id for no key update
      ) as locked
      where (change.connection_id, change.contact_id) = (locked.connection_id, locked.contact_id)`);
    await this.pool.query(`
      update crm_sync_failures as failure
      set next_attempt_at = failure.next_attempt_at - interval '1 day'
      from (
        select * from crm_sync_failures
        where next_attempt_at is not null
        order by organisation_id, connection_id, direction, record_id, entity_type
        for no key update
      ) as locked
      where failure.id = locked.id`);
  }

  // --- Users

  /** Signs in again to each connection in error, as an agent would. */
  async signInAgain(): Promise<void> {
    const { rows } = await this.pool.query("select id from crm_connections where status = 'error'");
    for (const { id } of rows) {
      const connected = this.connectedCrms.find(({ connectionId }) => connectionId === id) as ConnectedCrm;
      const { rows: current } = await this.pool.query(
        'select credentials_version from crm_connections where id = $1',
        [id],
      );
      const own = { ...connected, credentials: connected.crm.signIn() } as never;
      await credentialsReplace(this.pool, this.#ring, {
        ...(own as object),
        credentialsVersion: current[0].credentials_version,
      } as never);
      await connectionSetStatus(this.pool, { ...connected, status: 'active' });
      await this.request(connected);
    }
  }

  request(connected: ConnectedCrm): Promise<unknown> {
    return connectionRequestSync(this.pool, {
      ...connected,
      connectionIds: [connected.connectionId],
      isUrgent: true,
    });
  }

  /** Performs a random action of the agency, the host or the network. */
  async act(): Promise<void> {
    const connected = this.#pick(this.connectedCrms) as ConnectedCrm;
    const { crm } = connected;
    const active = crm.records().filter(({ state }) => state === 'active');
    const record = this.#pick(active);
    const dice = this.#random();
    if (dice < 0.3 && record) crm.edit(record.externalId, this.#name());
    else if (dice < 0.4) crm.create(this.#name());
    else if (dice < 0.44 && record && active.length > 3) crm.delete(record.externalId);
    else if (dice < 0.48 && connected.provider === 'custom') {
      const into = this.#pick(active.filter(({ externalId }) => externalId !== record?.externalId));
      if (record && into) crm.merge(record.externalId, into.externalId);
    } else if (dice < 0.52) await this.mergeContacts();
    else if (dice < 0.54) await this.undoMerge();
    else if (dice < 0.73) await this.editContact();
    else if (dice < 0.81) await this.letTimePass();
    else if (dice < 0.83) crm.revokeTokens();
    else if (dice < 0.86 && record && active.length > 3) crm.hide(record.externalId);
    else if (dice < 0.88) this.showHidden(crm);
    else if (dice < 0.9) await this.pause(connected);
    else if (dice < 0.92) await this.dismiss(connected);
    else if (dice < 0.95 && record) await recordRequestAdd(this.pool, { ...connected, records: [record] });
    else await this.request(connected);
  }

  /** Shows the records again that the CRM has hidden, as when they are taken out of an archive. */
  showHidden(crm: SimulatedCrm): void {
    for (const { externalId, state } of crm.records()) if (state === 'hidden') crm.restore(externalId);
  }

  /** The agency wants a sync to stop for a moment. */
  async pause(connected: ConnectedCrm): Promise<void> {
    await connectionPause(this.pool, { ...connected, until: new Date(Date.now() + 2_000) });
  }

  /** A person dismisses what sync has given up on. */
  async dismiss(connected: ConnectedCrm): Promise<void> {
    const { rows } = await this.pool.query(
      'select id from crm_sync_failures where connection_id = $1 and gave_up_at is not null limit 10',
      [connected.connectionId],
    );
    await syncFailureDismiss(this.pool, {
      ...connected,
      ids: rows.map(({ id }) => id),
      reason: 'The CRM is right.',
      dismissedBy: 'test',
    });
  }

  /** The host changes a contact, in a transaction that may take a while and may be rolled back. */
  async editContact(): Promise<void> {
    const { organisationId } = this;
    const { rows } = await this.pool.query('select id from contacts order by id');
    const picked: string | undefined = this.#pick(rows)?.id;
    const contactId = picked ?? randomUUID();
    const [name, pause, isRolledBack] = [this.#name(), this.#random() * 100, this.#random() < 0.2];
    const client = await this.pool.connect();
    const ignore = () => {};
    client.on('error', ignore);
    try {
      await client.query('begin');
      // One that was deleted meanwhile stays so.
      await client.query(
        picked === undefined
          ? 'insert into contacts (id, organisation_id, name) values ($1, $2, $3)'
          : 'update contacts set name = $3 where id = $1 and organisation_id = $2',
        [contactId, organisationId, name],
      );
      await outboundChangeRecord(client, { organisationId, contactIds: [contactId] });
      await sleep(pause);
      await client.query(isRolledBack ? 'rollback' : 'commit');
      client.off('error', ignore).release();
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  /** The host finds that two contacts are one person, and merges them, perhaps while a push of one is under way. */
  async mergeContacts(): Promise<void> {
    const { organisationId } = this;
    const { rows } = await this.pool.query('select id from contacts order by id');
    const fromContactId: string | undefined = this.#pick(rows)?.id;
    const intoContactId: string | undefined = this.#pick(rows.filter(({ id }) => id !== fromContactId))?.id;
    if (fromContactId === undefined || intoContactId === undefined) return;
    await this.#inTransaction(async (client) => {
      const { operationId } = await contactMerge(client, { organisationId, fromContactId, intoContactId });
      const { rows } = await client.query('delete from contacts where id = $1 returning id, name', [
        fromContactId,
      ]);
      await outboundChangeRecord(client, { organisationId, contactIds: [intoContactId] });
      this.#merges.push({ operationId, gone: rows[0], intoContactId });
    });
  }

  /** The host finds that its last merge was wrong, and undoes it unless one of the records was moved since. */
  async undoMerge(): Promise<void> {
    const { organisationId } = this;
    const merge = this.#merges.pop();
    if (merge === undefined) return;
    const { operationId, gone, intoContactId } = merge;
    await this.#inTransaction(async (client) => {
      await client.query('insert into contacts (id, organisation_id, name) values ($1, $2, $3)', [
        gone.id,
        organisationId,
        gone.name,
      ]);
      const { outcome } = await contactMergeUndo(client, { organisationId, operationId });
      if (outcome !== 'undone') return client.query('rollback');
      return outboundChangeRecord(client, { organisationId, contactIds: [gone.id, intoContactId] });
    });
  }

  async #inTransaction(work: (client: pg.PoolClient) => Promise<unknown>): Promise<void> {
    const client = await this.pool.connect();
    const ignore = () => {};
    client.on('error', ignore);
    try {
      await client.query('begin');
      await work(client);
      await client.query('commit');
      client.off('error', ignore).release();
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  /** The agency moves to another account of one of its CRMs, or back. */
  async changeAccount(): Promise<void> {
    const index = this.connectedCrms.findIndex(({ provider }) => provider === this.moving);
    const left = this.connectedCrms[index] as ConnectedCrm;
    const account = this.moving === 'alto' ? '00000000-0000-4000-8000-00000000000b' : 'second-account';
    // The same seed: the ids are those of the first account, and mean other people.
    const next = this.#otherAccount ?? (await this.#startCrm(this.moving, this.#seed, account));
    await connectionDisconnect(this.pool, left);
    this.connectedCrms[index] = await this.#connectTo(next);
    this.#otherAccount = left.crm;
    await this.fill(this.moving, false);
  }

  /** The agency disconnects one of its CRMs, goes on working, and connects it again: nothing is lost. */
  async disconnectForAWhile(): Promise<void> {
    const left = this.#pick(this.connectedCrms);
    if (left === undefined) return;
    await connectionDisconnect(this.pool, left);
    for (let count = 0; count < 3; count += 1) await this.editContact().catch(() => {});
    this.connectedCrms[this.connectedCrms.indexOf(left)] = await this.#connectTo(left.crm);
  }

  /** Gives a CRM the contacts that have no record there. */
  async fill(provider: Provider, isRepeat: boolean): Promise<void> {
    const connected = this.connectedCrms.find((each) => each.provider === provider) as ConnectedCrm;
    await outboundFillStart(this.pool, { ...connected, isRepeat });
  }

  /**
   * A person decides on the records that the worker takes for copies: they are the contact's. Such a record was created
   * by a push whose answer was lost, and before it was read, a merge gave the contact another one. The worker gives up
   * on it by its own rule, so without a person the CRM and NurtureHub need not agree.
   */
  async decideOnCopies(): Promise<void> {
    const { organisationId } = this;
    for (const { provider, connectionId, crm } of this.connectedCrms) {
      const { rows } = await this.pool.query(
        `select record_id from crm_sync_failures
         where connection_id = $1 and direction = 'inbound' and kind = 'conflict' and gave_up_at is not null`,
        [connectionId],
      );
      for (const { record_id: externalId } of rows) {
        const { entityType, reference } = crm.records().find((each) => each.externalId === externalId) ?? {};
        if (entityType === undefined || reference == null) continue;
        const references = [{ entityType, externalId, contactId: reference }];
        const [named] = await contactReferenceCheckMany(this.pool, { organisationId, provider, references });
        const contactId = named?.contactId ?? '';
        const { rows: found } = await this.pool.query('select from contacts where id = $1', [contactId]);
        if (found.length === 0) continue;
        const links = [{ provider, entityType, externalId, contactId }];
        await contactExternalIdLinkMany(this.pool, { organisationId, links, ifContactTaken: 'alias' });
      }
    }
  }

  /** A person decides that our edits count, where that is left to a person. */
  async decideConflicts(connected: ConnectedCrm): Promise<void> {
    const { rows } = await this.pool.query(
      `select id from crm_sync_failures
       where connection_id = $1 and crm_sync_failure_is_undecided(direction, error, gave_up_at)`,
      [connected.connectionId],
    );
    await syncFailureReplayByIds(this.pool, { ...connected, ids: rows.map(({ id }) => id) });
  }

  /** Retries everything that is delayed, failed or given up on, and syncs every connection. */
  async retryEverything(): Promise<void> {
    await this.signInAgain();
    await this.decideOnCopies();
    await this.letTimePass();
    for (const connected of this.connectedCrms) {
      await syncFailureReplay(this.pool, {
        ...connected,
        failedFrom: '2020-01-01T00:00:00Z',
        failedBefore: new Date(Date.now() + 60_000),
      });
      await this.decideConflicts(connected);
      await this.request(connected);
    }
  }

  /** Waits until no sync is due or running, for half a minute at most. */
  async untilQuiet(): Promise<void> {
    for (let attempt = 0; attempt < 150; attempt += 1) {
      await sleep(200);
      const { rows } = await this.pool.query(`
        select from crm_sync_runs where ended_at is null
        union all
        select from crm_connections where next_sync_at <= now() and status <> 'disconnected'
        union all
        select from crm_outbound_changes where not is_announced`);
      if (rows.length === 0) return;
    }
  }

  /**
   * How often each CRM was written to. Without pushes that fail because one of the contact's records is gone, which the
   * CRM does not say: whoever replays such a failure writes to the other records again.
   */
  async countWrites(): Promise<string[]> {
    const { rows } = await this.pool.query(
      "select record_id as id from crm_sync_failures where direction = 'outbound' and kind = 'not_found'",
    );
    const isFailing = new Set(rows.map(({ id }) => id));
    return this.crms.map(({ provider, writes }) => {
      return `${provider} ${writes.filter(({ reference }) => !isFailing.has(reference)).length}`;
    });
  }

  calm(): void {
    for (const crm of this.crms) {
      crm.calm();
      this.showHidden(crm);
    }
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
    await Promise.all(this.crms.map((crm) => crm.stop()));
    await this.pool.end();
    await this.#server.stop();
  }
}
