// Runs the worker of sync-worker.ts with a CRM in memory, to see one at work. That CRM forgets everything when
// the program ends. It needs a database with a connection, such as first-sync.ts creates:
//   DATABASE_URL=postgres://… npx tsx run-worker.ts           until Ctrl-C
//   DATABASE_URL=postgres://… npx tsx run-worker.ts --once    until nothing is due
// With an app at Reapit, it syncs connections to Reapit with Reapit:
//   REAPIT_CLIENT_ID=… REAPIT_CLIENT_SECRET=… CRM_SCHEMA_KEYS=keys.json DATABASE_URL=postgres://… npx tsx run-worker.ts
// Its database user is a member of crm_worker. The owner of contacts must also grant:
//   grant select, insert, update, delete on contacts to crm_worker;
import { hostname } from 'node:os';
import { type ClaimedRun, canonicalTimestamp } from '@nurturehub/crm-schema';
import { credentialsCheckKeys, KeyRing } from '@nurturehub/crm-schema/credentials';
import pg from 'pg';
import { openReapit, type ReapitSettings } from './adapters/open-reapit.js';
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

/** How to sign in to Reapit, by what the environment says; undefined without an app. */
async function reapitSettings(): Promise<ReapitSettings | undefined> {
  const {
    REAPIT_CLIENT_ID: id,
    REAPIT_CLIENT_SECRET: secret = '',
    REAPIT_TOKEN_URL: tokenUrl = 'https://connect.reapit.cloud/token',
    REAPIT_API_URL: apiUrl = 'https://platform.reapit.cloud',
    // Those that new contacts belong to. A product asks the agency, when it connects Reapit.
    REAPIT_OFFICE_ID: officeId,
    REAPIT_NEGOTIATOR_ID: negotiatorId,
  } = process.env;
  if (id === undefined) return undefined;
  // At start, so that a missing, malformed or incomplete key ring is found now and not in the middle of a sync.
  const keys = await KeyRing.load();
  await credentialsCheckKeys(pool, keys);
  const newContacts =
    officeId && negotiatorId ? { officeIds: [officeId], negotiatorIds: [negotiatorId] } : undefined;
  return { pool, keys, app: { tokenUrl, client: { id, secret } }, apiUrl, newContacts };
}

const crms = new Map<string, MemoryCrm>();

/** The worker signs in to a connection's CRM at the beginning of each run. */
async function openCrm(reapit: ReapitSettings | undefined, run: ClaimedRun): Promise<Crm> {
  const { provider, organisationId, connectionId } = run;
  console.log(`Syncing ${provider} of organisation ${organisationId}`);
  if (reapit !== undefined && provider === 'reapit') return openReapit(reapit, run);
  const crm = crms.get(connectionId) ?? new MemoryCrm();
  crms.set(connectionId, crm);
  return crm;
}

// A deployment sends SIGTERM and waits, often for thirty seconds. The run in hand ends in time, and leaves no lease.
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ending.abort());

try {
  const reapit = await reapitSettings();
  const worker: Worker = {
    name: `${hostname()} ${process.pid}`,
    pool,
    openCrm: (run) => openCrm(reapit, run),
  };
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
