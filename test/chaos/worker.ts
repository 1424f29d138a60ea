// A process that runs some sync workers, for the test to kill.
import pg from 'pg';
import { type Crm, CrmError } from '../../examples/crm.js';
import { runWorker, type Worker } from '../../examples/sync-worker.js';
import { credentialsGet, credentialsRefresh, KeyRing, type KeyRingDocument } from '../../src/credentials.js';
import type { ClaimedRun } from '../../src/index.js';
import { refreshAccessToken, simulatedCrmClient } from '../simulated-crm/client.js';

/** The settings of the process, as JSON in its first argument. */
export interface WorkerSettings {
  name: string;
  workers: number;
  databaseUrl: string;
  keys: KeyRingDocument;
}

const settings: WorkerSettings = JSON.parse(process.argv[2] ?? '{}');
const keys = await KeyRing.parse(settings.keys);
const pool = new pg.Pool({
  connectionString: settings.databaseUrl,
  max: settings.workers * 2,
  application_name: 'worker',
  connectionTimeoutMillis: 5_000,
  query_timeout: 10_000,
});
// The server may stop at any moment; the next query reports it.
pool.on('error', () => {});

const timeoutMilliseconds = 1_000;

/** Opens the CRM; all workers share the rate limit of Reapit, and Loop does not say how long a 429 lasts. */
async function openCrm(run: ClaimedRun): Promise<Crm> {
  const crm = await signIn(run);
  if (run.provider === 'reapit') return { ...crm, rateLimitScope: run.connectionId };
  if (run.provider === 'loop') return { ...crm, rateLimitWaitSeconds: 1 };
  return crm;
}

/** Signs in with the stored credentials, and refreshes them if the CRM no longer accepts them. */
async function signIn(run: ClaimedRun): Promise<Crm> {
  const { rows } = await pool.query('select url from crm_urls where connection_id = $1', [run.connectionId]);
  const url: string = rows[0].url;
  const { provider } = run;
  if (provider !== 'reapit') {
    const stored = await credentialsGet(pool, keys, { ...run, provider });
    if (stored === null)
      throw new CrmError('auth', 'The connection has no credentials.', { retryable: false });
    return simulatedCrmClient(provider, {
      url,
      credentials: stored.credentials as never,
      timeoutMilliseconds,
    });
  }
  const owner = { ...run, provider } as const;
  let stored = await credentialsGet(pool, keys, owner);
  if (stored === null) throw new CrmError('auth', 'The connection has no credentials.', { retryable: false });
  const refresh = async () => {
    stored = await credentialsRefresh(pool, keys, {
      ...owner,
      credentialsVersion: stored?.credentialsVersion ?? 0,
      // Shorter than the lease; otherwise a lost token would never be noticed.
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
  /** Refreshes the token if it expires during a run. */
  const withRefresh = async <Answer>(ask: (crm: Crm) => Promise<Answer>): Promise<Answer> => {
    try {
      return await ask(open());
    } catch (error) {
      if (!(error instanceof CrmError) || error.kind !== 'auth') throw error;
      await refresh();
      return ask(open());
    }
  };
  return {
    account: open().account,
    entityTypes: open().entityTypes,
    readPage: (...args) => withRefresh((crm) => crm.readPage(...args)),
    read: (...args) => withRefresh((crm) => crm.read(...args)),
    write: (...args) => withRefresh((crm) => crm.write(...args)),
  };
}

// Exits with the test, however that ends.
process.stdin.resume().once('close', () => process.exit());

const stopping = new AbortController();
process.once('SIGTERM', () => stopping.abort());
await Promise.all(
  Array.from({ length: settings.workers }, (_, index) => {
    const worker: Worker = {
      name: `${settings.name}/${index}`,
      pool,
      openCrm,
      // Long enough on a busy machine for a page that merges: it waits for those of all other CRMs.
      leaseSeconds: 10,
      overlapSeconds: 20,
      // Few, so that a pass is interrupted in its middle.
      batchRecords: 10,
    };
    return runWorker(worker, stopping.signal);
  }),
);
process.exit();
