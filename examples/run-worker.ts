// Runs the worker of sync-worker.ts with a CRM in memory, to see one at work. That CRM forgets everything when
// the program ends. It needs a database with a connection, such as first-sync.ts creates:
//   DATABASE_URL=postgres://… npx tsx run-worker.ts           until Ctrl-C
//   DATABASE_URL=postgres://… npx tsx run-worker.ts --once    until nothing is due
// Its database user is a member of crm_worker. The owner of contacts must also grant:
//   grant select, insert, update, delete on contacts to crm_worker;
import { hostname } from 'node:os';
import { canonicalTimestamp } from '@nurturehub/crm-schema';
import pg from 'pg';
import type { Crm, CrmContact, CrmPage, CrmPosition, CrmRecord, LinkedRecord } from './crm.js';
import { runWorker, syncNext, type Worker } from './sync-worker.js';

/** The time by this CRM's clock. */
const now = () => canonicalTimestamp(new Date().toISOString());

/** A CRM with three invented contacts. */
class MemoryCrm implements Crm {
  readonly entityTypes = ['contact'];
  readonly #records = new Map<string, CrmRecord & { changedAt: string }>();

  constructor() {
    for (const name of ['Ottoline Sprat', 'Barnaby Quince', 'Winifred Plum']) this.#store({ name });
  }

  async readPage(_: string, from: CrmPosition): Promise<CrmPage> {
    // Taken before the records: a change while they are read comes with the next pass.
    const syncedTo = now();
    // One page has all of them, so there is no token.
    const since = ('changedSince' in from && from.changedSince) || '';
    const records = [...this.#records.values()].filter(({ changedAt }) => changedAt >= since);
    console.log(`  ${records.length} read`);
    return { records, isLast: true, next: null, syncedTo };
  }

  async read(_: string, externalId: string): Promise<CrmRecord | null> {
    return this.#records.get(externalId) ?? null;
  }

  async write({ contactId, name }: CrmContact, linked: LinkedRecord | null): Promise<CrmRecord | null> {
    const known =
      linked === null
        ? [...this.#records.values()].find(({ reference }) => reference === contactId)
        : this.#records.get(linked.externalId);
    if (linked !== null && known === undefined) return null;
    console.log(`  ${name} written`);
    return this.#store({ ...known, name, reference: contactId });
  }

  #store(record: Partial<CrmRecord> & { name: string }): CrmRecord {
    const externalId = record.externalId ?? `OXF1800000${this.#records.size + 1}`;
    const changedAt = now();
    const stored = {
      state: 'active',
      ...record,
      entityType: 'contact',
      externalId,
      version: `"${changedAt}"`,
      modifiedAt: changedAt,
      changedAt,
    } as const;
    this.#records.set(externalId, stored);
    return stored;
  }
}

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
// Without a listener, losing an idle connection would end the process. The next query reports the loss.
pool.on('error', () => {});

const crms = new Map<string, MemoryCrm>();
const worker: Worker = {
  name: `${hostname()} ${process.pid}`,
  pool,
  // A real worker signs in to the CRM here: see refresh-token.ts.
  async openCrm({ provider, organisationId, connectionId }) {
    console.log(`Syncing ${provider} of organisation ${organisationId}`);
    const crm = crms.get(connectionId) ?? new MemoryCrm();
    crms.set(connectionId, crm);
    return crm;
  },
};

// A deployment sends SIGTERM and waits, often for thirty seconds. The run in hand ends in time, and leaves no lease.
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());

try {
  if (process.argv.includes('--once')) {
    while (await syncNext(worker, ending.signal));
    if (!ending.signal.aborted) console.log('Nothing is due.');
  } else {
    console.log('Syncing what is due, until Ctrl-C.');
    await runWorker(worker, ending.signal);
  }
} catch (error) {
  const { message, code } = error as { message: string; code?: string };
  console.error(message || code);
  process.exitCode = 1;
} finally {
  await pool.end();
}
