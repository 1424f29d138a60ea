// A worker process for stopped-worker.test.ts: it syncs one simulated CRM until SIGTERM, as run-worker.ts does.
import pg from 'pg';
import { runWorker } from '../../examples/sync-worker.js';
import { simulatedCrmClient } from '../simulated-crm/client.js';

const [url = '', apiKey = ''] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
const ending = new AbortController();
process.once('SIGTERM', () => ending.abort());
const openCrm = async () =>
  simulatedCrmClient('loop', { url, credentials: { apiKey }, timeoutMilliseconds: 20_000 });
await runWorker({ name: 'stopped', pool, openCrm }, ending.signal);
await pool.end();
