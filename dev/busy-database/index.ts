import type pg from 'pg';
import { loadAgencies, loadMappings } from './agencies.js';
import { loadEvents, loadRuns } from './log.js';
import { contactId, externalId, type Size } from './shape.js';
import { loadChanges, loadCursors, loadFailures, loadOpenRuns } from './work.js';

export { agencyOf, firstDay, type Size } from './shape.js';
export {
  loadAgencies,
  loadChanges,
  loadCursors,
  loadEvents,
  loadFailures,
  loadMappings,
  loadOpenRuns,
  loadRuns,
};

/** An agency with its connection, the open run of it, and some of its contacts with what the CRM calls them. */
export interface Tenant {
  organisationId: string;
  connectionId: string;
  provider: string;
  runId: string;
  contacts: { contactId: string; externalId: string }[];
}

/** Fills a migrated database with what a busy installation has, and lets the planner know it. */
export async function loadBusyDatabase(
  client: pg.ClientBase,
  size: Size,
  credentials: object,
): Promise<void> {
  // Its snapshots would keep what is dead from being tidied up at the end.
  await client.query(`
    do $$
    declare
      relation regclass;
    begin
      for relation in select oid from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' loop
        execute format('alter table %s set (autovacuum_enabled = off)', relation);
      end loop;
    end
    $$`);
  await loadAgencies(client, size, credentials);
  await loadMappings(client);
  await loadEvents(client, size);
  await loadRuns(client, size);
  await loadOpenRuns(client);
  await loadCursors(client);
  await loadFailures(client, size);
  await loadChanges(client, size);
  // As the host does.
  await client.query('grant select on contacts to crm_app, crm_worker');
  await settle(client);
}

/** Tidies up after many writes, as autovacuum does in time, and lets the planner know what is there. */
export async function settle(client: pg.ClientBase): Promise<void> {
  // Only what is flushed counts as visible to all, which is what reading an index alone depends on.
  await client.query('checkpoint');
  // Left to itself, vacuum leaves the few dead entries of an index where they are, to be stumbled over once.
  await client.query('vacuum (analyze, index_cleanup on)');
}

/** The number of the agency that has most of everything. */
export const busyAgency = 1;
/** The number of the agency that is nearly as large, and has no failures. */
export const healthyAgency = 2;
/** The number of one among many that are not large. */
export const averageAgency = 2002;

/** One of the agencies, by its number, with at most 100 contacts; on the client that loaded them. */
export async function tenantOf(client: pg.ClientBase, agency: number): Promise<Tenant> {
  const { rows } = await client.query(
    `select
       organisation_id as "organisationId",
       connection_id as "connectionId",
       provider,
       (
         select id
         from crm_sync_runs
         where organisation_id = agency.organisation_id
           and connection_id = agency.connection_id
           and ended_at is null
       ) as "runId",
       (
         select jsonb_agg(jsonb_build_object('contactId', ${contactId('agency.number', 'contact')}, 'externalId', ${externalId('agency.number', 'contact')}))
         from generate_series(1, least(contacts, 100)) as contact
       ) as contacts
     from agency
     where number = $1`,
    [agency],
  );
  return rows[0];
}
