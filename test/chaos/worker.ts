// A process of sync workers, to be killed: as many as are asked for.
import pg from 'pg';
import { type Crm, CrmError } from '../../examples/crm.js';
import { runWorker, type Worker } from '../../examples/sync-worker.js';
import { credentialsGet, credentialsRefresh, KeyRing, type KeyRingDocument } from '../../src/credentials.js';
import type { ClaimedRun } from '../../src/index.js';
import { refreshAccessToken, simulatedCrmClient } from '../simulated-crm/client.js';

/** What the process is told, as JSON in its first argument. */
export interface Orders {
  name: string;
  workers: number;
  databaseUrl: string;
  /** Of the simulated CRMs, by connection. */
  crmUrls: Record<string, string>;
  keys: KeyRingDocument;
}

const orders: Orders = JSON.parse(process.argv[2] ?? '{}');
const keys = await KeyRing.parse(orders.keys);
const pool = new pg.Pool({
  connectionString: orders.databaseUrl,
  max: orders.workers * 2,
  application_name: 'worker',
  connectionTimeoutMillis: 5_000,
  query_timeout: 10_000,
});
// The server may go at any moment: whoever asks it next hears of that.
pool.on('error', () => {});

const timeoutMilliseconds = 1_000;

/** Signs in with what is stored, and again where the CRM does not take it any more. */
async function openCrm(run: ClaimedRun): Promise<Crm> {
  const url = orders.crmUrls[run.connectionId] as string;
  const { provider } = run;
  if (provider !== 'reapit') {
    const stored = await credentialsGet(pool, keys, { ...run, provider });
    if (stored === null) throw new CrmError('auth', 'There are no credentials.', { retryable: false });
    return simulatedCrmClient(provider, {
      url,
      credentials: stored.credentials as never,
      timeoutMilliseconds,
    });
  }
  const owner = { ...run, provider } as const;
  let stored = await credentialsGet(pool, keys, owner);
  if (stored === null) throw new CrmError('auth', 'There are no credentials.', { retryable: false });
  const refresh = async () => {
    stored = await credentialsRefresh(pool, keys, {
      ...owner,
      credentialsVersion: stored?.credentialsVersion ?? 0,
      // Less than the lease, else a token that was lost would never be seen to be.
      patience: 500,
      refresh: ({ credentials }) => refreshAccessToken(url, credentials, timeoutMilliseconds),
    });
  };
  if (stored.credentialsExpiresAt === null || Date.parse(stored.credentialsExpiresAt) < Date.now())
    await refresh();
  const open = () =>
    simulatedCrmClient(provider, {
      url,
      credentials: (stored as NonNullable<typeof stored>).credentials,
      timeoutMilliseconds,
    });
  /** A token may run out in the middle. */
  const signedIn = async <Answer>(ask: (crm: Crm) => Promise<Answer>): Promise<Answer> => {
    try {
      return await ask(open());
    } catch (error) {
      if (!(error instanceof CrmError) || error.kind !== 'auth') throw error;
      await refresh();
      return ask(open());
    }
  };
  return {
    entityTypes: open().entityTypes,
    readPage: (...args) => signedIn((crm) => crm.readPage(...args)),
    read: (...args) => signedIn((crm) => crm.read(...args)),
    write: (...args) => signedIn((crm) => crm.write(...args)),
  };
}

// However the test ends, this ends too.
process.stdin.resume().once('close', () => process.exit());

const never = new AbortController().signal;
await Promise.all(
  Array.from({ length: orders.workers }, (_, index) => {
    const worker: Worker = {
      name: `${orders.name}/${index}`,
      pool,
      openCrm,
      leaseSeconds: 5,
      overlapSeconds: 20,
    };
    return runWorker(worker, never);
  }),
);
