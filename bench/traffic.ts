import { setTimeout } from 'node:timers/promises';
import pg from 'pg';

/** A kind of statement that an application keeps running while its database is migrated. */
export interface Kind {
  table: string;
  access: 'read' | 'write';
  /** Takes the number of an organisation as `$1`: see `bench/installation.ts`. */
  text: string;
}

const organisation = "md5('organisation ' || $1::integer)::uuid";
const connection = "md5('connection ' || $1::integer)::uuid";
const contact = "md5('contact ' || $1::integer || ' 1')::uuid";

export const hostKinds: readonly Kind[] = [
  {
    table: 'organisations',
    access: 'read',
    text: `select name from organisations where id = ${organisation}`,
  },
  {
    table: 'organisations',
    access: 'write',
    text: `update organisations set name = name where id = ${organisation}`,
  },
  {
    table: 'contacts',
    access: 'read',
    text: `select name from contacts where id = ${contact}`,
  },
  {
    table: 'contacts',
    access: 'write',
    text: `insert into contacts (id, organisation_id, name) values (gen_random_uuid(), ${organisation}, 'Bench Person')`,
  },
];

export const ownKinds: readonly Kind[] = [
  {
    table: 'crm_connections',
    access: 'read',
    text: `select status from crm_connections where organisation_id = ${organisation} and id = ${connection}`,
  },
  {
    table: 'crm_connections',
    access: 'write',
    text: `update crm_connections set last_synced_at = now() where organisation_id = ${organisation} and id = ${connection}`,
  },
  {
    table: 'crm_sync_log',
    access: 'write',
    text: `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status) values (${organisation}, ${connection}, 'inbound', 'contact', 'success')`,
  },
  {
    table: 'contact_external_ids',
    access: 'write',
    text: `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id) values (${organisation}, 'alto', 'contact', $1::integer::text, ${contact}) on conflict (contact_id, provider) do update set last_seen_at = now()`,
  },
];

/** Results for one kind of statement during one phase. */
export interface Wait {
  phase: string;
  kind: Kind;
  /** The duration in milliseconds of the longest statement that ran during the phase. */
  longest: number;
  /** How many statements began in the phase. */
  count: number;
  /** The SQLSTATEs of those that failed. */
  failures: string[];
}

/**
 * Runs one client for each kind of statement. Each runs its statement about two hundred times a second, for a
 * random organisation, and measures the duration.
 */
export class Traffic {
  readonly waits: Wait[] = [];
  readonly #clients: pg.Client[] = [];
  readonly #phases = [{ phase: '', begins: 0 }];
  #isOver = false;
  #goingOn: Promise<unknown> = Promise.resolve();

  /** Starts the first phase once every client has run its statement. */
  static async start(url: string, kinds: readonly Kind[], organisations: number): Promise<Traffic> {
    const traffic = new Traffic();
    for (const { text } of kinds) {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      traffic.#clients.push(client);
      await client.query(text, [1]);
    }
    traffic.#goingOn = Promise.all(kinds.map((kind, index) => traffic.#repeat(kind, index, organisations)));
    return traffic;
  }

  /** Begins a phase, which lasts until the next one begins. */
  begin(phase: string): void {
    this.#phases.push({ phase, begins: performance.now() });
  }

  /** Waits for each client to finish its statement, and disconnects. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#goingOn;
    await Promise.all(this.#clients.map((client) => client.end()));
  }

  async #repeat(kind: Kind, index: number, organisations: number): Promise<void> {
    const client = this.#clients[index] as pg.Client;
    while (!this.#isOver) {
      const start = performance.now();
      const begun = this.#wait(kind, this.#phases.length - 1);
      await client.query(kind.text, [1 + Math.floor(Math.random() * organisations)]).catch((error) => {
        begun.failures.push(error.code ?? error.message);
      });
      begun.count += 1;
      // Count it in every phase back to the one in which it began: it may have waited through all of them.
      for (let phase = this.#phases.length - 1; phase >= 0; phase -= 1) {
        const wait = this.#wait(kind, phase);
        wait.longest = Math.max(wait.longest, performance.now() - start);
        if ((this.#phases[phase]?.begins ?? 0) <= start) break;
      }
      await setTimeout(5);
    }
  }

  #wait(kind: Kind, index: number): Wait {
    const { phase } = this.#phases[index] as { phase: string };
    const found = this.waits.find((wait) => wait.phase === phase && wait.kind === kind);
    if (found !== undefined) return found;
    const wait: Wait = { phase, kind, longest: 0, count: 0, failures: [] };
    this.waits.push(wait);
    return wait;
  }
}
