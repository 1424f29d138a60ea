import type { DedicatedConnection } from '../statements/dedicated-connection.js';

/** Where the schema is installed. Names are qualified, and quoted where they must be. */
export interface Installation {
  schema: string;
  schemaId: string;
  /** Null if crm_sync_log is missing. */
  logId: string | null;
  /** The owner of most tables, who should own all of them. */
  owner: string;
  ownerId: string;
  /** The owner of the schema, who alone may grant and revoke rights on it. */
  schemaOwner: string;
  organisations: string;
  contacts: string;
  contactsId: string | null;
  /** What the host's tables lack of what our foreign keys reference; the column is null if the table is missing. */
  missingHostColumns: { table: string; column: string | null }[];
  /** A name for the index on contacts that nothing in their schema has yet. */
  contactsIndex: string;
}

/** The tables by which an installation is found on the search_path; any of them may be missing. */
const landmarks = [
  'crm_sync_log',
  'crm_connections',
  'contact_external_ids',
  'crm_sync_runs',
  'crm_outbound_changes',
];

/**
 * Finds the installation that the session's search_path leads to. Then sets, until the end of the
 * transaction, every setting that affects what the catalog returns: above all search_path, so that no other
 * function runs in place of PostgreSQL's.
 *
 * @returns null if there is none
 */
export async function findInstallation(client: DedicatedConnection): Promise<Installation | null> {
  const { rows: landmarkRows } = await client.query(
    `select pg_catalog.to_regclass(name)::pg_catalog.oid::pg_catalog.text as oid
     from pg_catalog.unnest($1::pg_catalog.text[]) with ordinality as landmark (name, position)
     order by position`,
    [[...landmarks, 'organisations', 'contacts']],
  );
  const ids: (string | null)[] = landmarkRows.map(({ oid }) => oid);
  const [logId = null] = ids;
  const [organisationsId = null, contactsId = null] = ids.slice(landmarks.length);
  const foundLandmarks = ids.slice(0, landmarks.length).filter((id) => id !== null);
  await client.query(`select
    pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
    pg_catalog.set_config('lock_timeout', '5s', true),
    pg_catalog.set_config('row_security', 'on', true),
    -- Compiling the query would take longer than running it.
    pg_catalog.set_config('jit', 'off', true),
    pg_catalog.set_config('timezone', 'UTC', true),
    pg_catalog.set_config('datestyle', 'ISO', true),
    pg_catalog.set_config('intervalstyle', 'postgres', true),
    pg_catalog.set_config('extra_float_digits', '1', true),
    pg_catalog.set_config('bytea_output', 'hex', true),
    pg_catalog.set_config('quote_all_identifiers', 'off', true),
    pg_catalog.set_config('standard_conforming_strings', 'on', true)`);
  if (foundLandmarks.length === 0) return null;
  const { rows } = await client.query(
    `select
       quote_ident(nspname) as schema,
       relnamespace::text as "schemaId",
       owner::regrole::text as owner,
       owner::oid::text as "ownerId",
       nspowner::regrole::text as "schemaOwner",
       coalesce(host.organisations::regclass::text, format('%I.organisations', nspname)) as organisations,
       coalesce(host.contacts::regclass::text, format('%I.contacts', nspname)) as contacts,
       host.contacts::text as "contactsId",
       (
         select concat('contacts_organisation_id_id_key', nullif(number, 0))
         from generate_series(0, 100) as number
         where not exists (
           select
           from pg_class as taken
           where taken.relname = concat('contacts_organisation_id_id_key', nullif(number, 0))
             and taken.relnamespace = (select relnamespace from pg_class where oid = host.contacts)
         )
         order by number
         limit 1
       ) as "contactsIndex",
       -- As text, because the application may have changed how its client parses JSON.
       array_to_json(array(
         select json_build_object('table', name, 'column', case when relation is not null then needed.attname end)
         from (
           values
             (host.organisations, 'organisations', 'id'),
             (host.contacts, 'contacts', 'organisation_id'),
             (host.contacts, 'contacts', 'id')
         ) as needed (relation, bare, attname)
         cross join coalesce(relation::regclass::text, format('%I.%I', nspname, bare)) as name
         where not exists (
           select
           from pg_attribute
           where attrelid = relation
             and pg_attribute.attname = needed.attname
             and not attisdropped
         )
       ))::text as "missingHostColumns"
     from pg_class
     inner join pg_namespace
       on pg_namespace.oid = relnamespace
     cross join (
       select mode() within group (order by relowner)
       from pg_class
       where pg_class.oid = any ($1::oid[])
     ) as owners (owner)
     -- If search_path does not find the host tables: what our foreign keys reference.
     cross join lateral (
       select
         coalesce($2::oid, min(confrelid) filter (where conname = 'crm_connections_organisation_id_fkey')),
         coalesce($3::oid, min(confrelid) filter (where conname = 'contact_external_ids_contact_id_fkey'))
       from pg_constraint
       where connamespace = relnamespace
     ) as host (organisations, contacts)
     where pg_class.oid = ($1::oid[])[1]`,
    [foundLandmarks, organisationsId, contactsId],
  );
  return { ...rows[0], missingHostColumns: JSON.parse(rows[0].missingHostColumns), logId };
}
