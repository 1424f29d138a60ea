// Runs the first sync of a CRM with the example worker of the checkout in the working directory, and prints how long it
// took and what it stored. bench/first-sync.ts starts it.
import { randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import pg from 'pg';

/** What to sync. */
export interface FirstSync {
  /** An empty database. */
  databaseUrl: string;
  /** The address of the simulated CRM. */
  url: string;
  credentials: unknown;
}

const { databaseUrl, url, credentials }: FirstSync = JSON.parse(process.argv[2] ?? '');
/** A module of the checkout. */
const load = (path: string) => import(pathToFileURL(`${process.cwd()}/${path}`).href);
const { createHostTables, migrate } = await load('dev/database.ts');
const { syncNext } = await load('examples/sync-worker.ts');
// 1.3.0 has it in a folder.
const { credentialsConnect } = await load('src/credentials.ts').catch(() => load('src/credentials/index.ts'));
const { testKeyRing } = await load('test/support/credentials.ts');
const { simulatedCrmClient } = await load('test/simulated-crm/client.ts');

const pool = new pg.Pool({ connectionString: databaseUrl });
const client = await pool.connect();
await createHostTables(client);
await migrate(client);
client.release();
const organisationId = randomUUID();
await pool.query("insert into organisations (id, name) values ($1, 'Test Agency')", [organisationId]);
await credentialsConnect(pool, await testKeyRing(), { organisationId, provider: 'custom', credentials });

const worker = {
  name: 'bench',
  pool,
  openCrm: async () => simulatedCrmClient('custom', { url, credentials, timeoutMilliseconds: 10_000 }),
};
const began = performance.now();
while (await syncNext(worker));
const milliseconds = performance.now() - began;

const counts = await pool.query(`
  select
    (select count(*)::integer from contacts) as contacts,
    (select md5(string_agg(name, ',' order by name)) from contacts) as names,
    (select count(*)::integer from contact_external_ids) as links,
    (select md5(string_agg(external_id || ' ' || name, ',' order by external_id))
     from contact_external_ids inner join contacts on contacts.id = contact_id) as linked,
    (select json_agg(event order by event) from (
       select direction || ' ' || entity_type || ' ' || status || ' ' || count(*) as event
       from crm_sync_log group by direction, entity_type, status) as events) as events,
    (select count(*)::integer from crm_sync_failures) as failures,
    (select count(*)::integer from crm_outbound_changes) as changes,
    (select count(*)::integer from crm_sync_cursors) as cursors,
    (select json_agg(outcome) from crm_sync_runs) as runs`);
await pool.end();
console.log(JSON.stringify({ milliseconds, rows: counts.rows[0] }));
