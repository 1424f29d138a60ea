// A process that runs some sync workers, for the test to kill.
import pg from 'pg';
import { openReapit } from '../../examples/adapters/open-reapit.js';
import { type Crm, CrmError } from '../../examples/crm.js';
import { runWorker, type Worker } from '../../examples/sync-worker.js';
import { credentialsGet, KeyRing, type KeyRingDocument } from '../../src/credentials.js';
import type { ClaimedRun } from '../../src/index.js';
import { reapitAppAt, reapitPlaces, simulatedCrmClient } from '../simulated-crm/client.js';

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

/** Opens the CRM. Loop does not say how long a 429 lasts. */
async function openCrm(run: ClaimedRun): Promise<Crm> {
  const { rows } = await pool.query('select url from crm_urls where connection_id = $1', [run.connectionId]);
  const url: string = rows[0].url;
  const { provider } = run;
  if (provider === 'reapit') {
    const app = reapitAppAt(url, timeoutMilliseconds);
    // The patience is shorter than the lease; otherwise a lost token would never be noticed.
    const settings = { pool, keys, app, apiUrl: url, timeoutMilliseconds, patience: 500, ...reapitPlaces };
    return openReapit(settings, run);
  }
  const stored = await credentialsGet(pool, keys, { ...run, provider });
  if (stored === null) throw new CrmError('auth', 'The connection has no credentials.', { retryable: false });
  const { credentials } = stored;
  const crm = simulatedCrmClient(provider, { url, credentials: credentials as never, timeoutMilliseconds });
  return provider === 'loop' ? { ...crm, rateLimitWaitSeconds: 1 } : crm;
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
