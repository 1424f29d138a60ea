import type pg from 'pg';
import { loadAgencies, loadMappings } from './agencies.js';
import { loadEvents, loadRuns } from './log.js';
import { contactId, externalId, type Size } from './shape.js';
import {
  loadChanges,
  loadConflicts,
  loadCursors,
  loadFailures,
  loadOpenRuns,
  loadRateLimits,
  loadRecordRequests,
} from './work.js';

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

/** An agency with its connection, its open run, and some of its contacts with their external ids. */
export interface Tenant {
  organisationId: string;
  connectionId: string;
  provider: string;
  runId: string;
  contacts: { contactId: string; externalId: string }[];
  /** The ids of up to 100 failing records, as text. */
  failureIds: string[];
}

/** Fills a migrated database like a busy installation, and analyses it. */
export async function loadBusyDatabase(
  client: pg.ClientBase,
  size: Size,
  credentials: object,
): Promise<void> {
  await loadUnanalysed(client, size, credentials);
  await settle(client);
}

/** Fills a migrated database like a busy installation, and analyses none of its tables, now or later. */
export async function loadUnanalysed(client: pg.ClientBase, size: Size, credentials: object): Promise<void> {
  // Autovacuum's snapshots would keep dead rows from being vacuumed at the end.
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
  await loadRecordRequests(client);
  await loadConflicts(client);
  await loadRateLimits(client);
  // As NurtureHub does.
  await client.query('grant select on contacts to crm_app, crm_worker');
}

/** Vacuums and analyses after many writes, as autovacuum eventually does. */
export async function settle(client: pg.ClientBase): Promise<void> {
  // Only flushed pages are marked all-visible, which index-only scans depend on.
  await client.query('checkpoint');
  // By default, vacuum leaves an index's few dead entries, and the next scan would pay for them.
  await client.query('vacuum (analyze, index_cleanup on)');
}

/** The number of the agency with the most rows of every kind. */
export const busyAgency = 1;
/** The number of the second largest agency, which has no failures. */
export const healthyAgency = 2;
/** The number of one of the many small agencies. */
export const averageAgency = 2002;

/** Reads an agency by its number, with at most 100 contacts, on the client that loaded it. */
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
       ) as contacts,
       array(
         select id::text
         from crm_sync_failures
         where organisation_id = agency.organisation_id
           and connection_id = agency.connection_id
         order by id
         limit 100
       ) as "failureIds"
     from agency
     where number = $1`,
    [agency],
  );
  return rows[0];
}
