import type pg from 'pg';
import type { Crm } from '../../examples/crm.js';
import type { Habits } from '../../examples/simulated-crm/habits.js';
import { type SimulatedCrm, startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import { syncNext } from '../../examples/sync-worker.js';
import { credentialsConnect, type KeyRing } from '../../src/credentials.js';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionRequestSync,
  externalRecordListByContacts,
  outboundChangeRecord,
  type Provider,
  type SwitchedIds,
  syncFailureList,
} from '../../src/index.js';
import { testKeyRing } from '../support/credentials.js';
import { createTenant } from '../support/database.js';
import { refreshAccessToken, simulatedCrmClient } from './client.js';

/** A simulated CRM that an agency has connected. */
export interface Connected<P extends Provider = Provider> extends ConnectionKey {
  crm: SimulatedCrm<P>;
}

/** An agency, its CRMs, and the example worker. */
export class Agency {
  /** Changes what the worker gets when it signs in; undefined: nothing. */
  meddle: ((crm: Crm) => Crm) | undefined;
  readonly #started: SimulatedCrm[] = [];
  readonly #connected = new Map<string, SimulatedCrm>();

  private constructor(
    readonly organisationId: string,
    readonly pool: pg.Pool,
    readonly worker: pg.Pool,
    readonly keys: KeyRing,
  ) {}

  /**
   * @param pool a superuser's
   * @param worker that of a member of crm_worker who may write contacts
   */
  static async create(pool: pg.Pool, worker: pg.Pool): Promise<Agency> {
    const { organisationId } = await createTenant(pool);
    return new Agency(organisationId, pool, worker, await testKeyRing());
  }

  /** Starts a CRM without connecting it. CRMs of one kind and seed have the same ids. */
  async start<P extends Provider>(
    provider: P,
    options: { habits?: Partial<Habits>; account?: string } = {},
  ): Promise<SimulatedCrm<P>> {
    const crm = await startSimulatedCrm({ provider, seed: 1, ...options });
    this.#started.push(crm);
    return crm;
  }

  async connect<P extends Provider>(crm: SimulatedCrm<P>): Promise<Connected<P> & SwitchedIds> {
    const { organisationId, pool, keys } = this;
    const { provider, credentials } = crm;
    const given = { organisationId, provider, credentials } as never;
    const connection = await credentialsConnect(pool, keys, given);
    this.#connected.set(connection.connectionId, crm);
    return { ...connection, organisationId, crm };
  }

  /** Starts a CRM and connects it. */
  async startAndConnect<P extends Provider>(
    provider: P,
    options: { habits?: Partial<Habits>; account?: string } = {},
  ): Promise<Connected<P>> {
    return this.connect(await this.start(provider, options));
  }

  async disconnect({ organisationId, connectionId }: ConnectionKey): Promise<void> {
    await connectionDisconnect(this.pool, { organisationId, connectionId });
    this.#connected.delete(connectionId);
  }

  isConnected({ connectionId }: ConnectionKey): boolean {
    return this.#connected.has(connectionId);
  }

  /** Lets the worker sign in to another CRM than the connection is to, as after a mix-up of two environments. */
  redirect({ connectionId }: ConnectionKey, crm: SimulatedCrm): void {
    this.#connected.set(connectionId, crm);
  }

  /** Syncs everything that is due or waiting until nothing is, as if the pauses after failures had passed. */
  async tick(): Promise<void> {
    const { organisationId, pool } = this;
    const connectionIds = [...this.#connected.keys()];
    await pool.query(
      'update crm_sync_failures set next_attempt_at = crm_now() where organisation_id = $1 and next_attempt_at is not null',
      [organisationId],
    );
    await connectionRequestSync(pool, { organisationId, connectionIds, isUrgent: true });
    for (let count = 0; await this.#syncNext(); count += 1) {
      if (count > 100) throw new Error('The sync does not settle.');
    }
  }

  #syncNext(): Promise<boolean> {
    return syncNext({
      name: 'test-worker',
      pool: this.worker,
      leaseSeconds: 60,
      openCrm: async ({ connectionId }) => {
        const crm = this.#connected.get(connectionId);
        if (crm === undefined) throw new Error('A connection of another test is due.');
        const client = await signIn(crm);
        return this.meddle?.(client) ?? client;
      },
    });
  }

  /** Changes the name of a contact here. */
  async rename(contactId: string, name: string): Promise<void> {
    const { organisationId, pool } = this;
    await pool.query('update contacts set name = $2 where id = $1', [contactId, name]);
    await outboundChangeRecord(pool, { organisationId, contactIds: [contactId] });
  }

  /** The contacts' ids by their names, which are all different. */
  async contacts(): Promise<Record<string, string>> {
    const { rows } = await this.pool.query(
      'select id, name from contacts where organisation_id = $1 order by name',
      [this.organisationId],
    );
    const contacts = Object.fromEntries(rows.map(({ id, name }) => [name, id]));
    if (Object.keys(contacts).length < rows.length) throw new Error('Two contacts have the same name.');
    return contacts;
  }

  /** The records of a contact, as `provider entity_type external_id`, with their state; aliases are marked. */
  async recordsOf(contactId: string): Promise<string[]> {
    const { organisationId } = this;
    const records = await externalRecordListByContacts(this.pool, {
      organisationId,
      contactIds: [contactId],
    });
    return records.map(
      ({ provider, entityType, externalId, remoteState, isPrimary }) =>
        `${provider} ${entityType} ${externalId} ${remoteState}${isPrimary ? '' : ' (alias)'}`,
    );
  }

  /** The failures of all connections. */
  async failures() {
    const lists = await Promise.all(
      [...this.#connected.keys()].map((connectionId) =>
        syncFailureList(this.pool, { organisationId: this.organisationId, connectionId }),
      ),
    );
    return lists.flat();
  }

  /** The number of writes to the CRMs so far. */
  writes(): number {
    return this.#started.reduce((count, { writes }) => count + writes.length, 0);
  }

  async stop(): Promise<void> {
    const { organisationId } = this;
    for (const connectionId of this.#connected.keys())
      await connectionDisconnect(this.pool, { organisationId, connectionId });
    await Promise.all(this.#started.map((crm) => crm.stop()));
  }
}

async function signIn(crm: SimulatedCrm): Promise<Crm> {
  const { provider, url } = crm;
  const own = crm.signIn();
  const credentials = provider === 'reapit' ? (await refreshAccessToken(url, own as never)).credentials : own;
  return simulatedCrmClient(provider, {
    url,
    credentials: credentials as never,
    timeoutMilliseconds: 20_000,
  });
}
