import type pg from 'pg';
import { connectionId, contactId, externalId, organisationId, type Size, tailShare } from './shape.js';

/**
 * Creates the agencies, each with a connection and contacts, and a temporary table `agency`. The rest of the load
 * reads that table, so all of it runs on one client. One connection in 300 is due.
 *
 * @param credentials of any connection; each connection gets them with its own `aad`
 */
export async function loadAgencies(
  client: pg.ClientBase,
  { agencies, mappings }: Pick<Size, 'agencies' | 'mappings'>,
  credentials: object,
): Promise<void> {
  await client.query(
    `create temporary table agency as
     select
       number,
       ${organisationId('number')} as organisation_id,
       ${connectionId('number')} as connection_id,
       ('{reapit,alto,street,loop,agentos,custom}'::text[])[1 + (number - 1) % 6] as provider,
       case number
         when 1 then $2::integer * 0.3
         when 2 then $2::integer * 0.2
         else 1 + ${tailShare('number', '$1', '$2::integer')}
       end::integer as contacts
     from generate_series(1, $1::integer) as number`,
    [agencies, mappings],
  );
  await client.query('create unique index on agency (number)');
  await client.query('analyze agency');
  await client.query(
    "insert into organisations (id, name) select organisation_id, 'Agency ' || number from agency order by number",
  );
  await client.query(
    `insert into crm_connections (organisation_id, id, provider, credentials, next_sync_at, last_synced_at, last_success_at)
     select
       organisation_id,
       connection_id,
       provider,
       $1::jsonb || jsonb_build_object('aad', crm_credentials_aad(organisation_id, connection_id, provider)),
       now() + case when number % 300 = 3 then interval '-1 minute' else interval '1 day' end,
       now(),
       now()
     from agency
     order by number`,
    [JSON.stringify(credentials)],
  );
  await client.query(
    `insert into contacts (id, organisation_id, name)
     select ${contactId('agency.number', 'contact')}, organisation_id, 'Test Person'
     from agency
     cross join lateral generate_series(1, contacts) as contact`,
  );
}

/** Creates the mappings of a share of each agency's contacts, from 0 to 1, in the order they arrive over time. */
export async function loadMappings(client: pg.ClientBase, from = 0, to = 1): Promise<void> {
  await client.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select
       organisation_id,
       provider,
       'contact',
       ${externalId('agency.number', 'contact')},
       ${contactId('agency.number', 'contact')}
     from agency
     cross join lateral generate_series(1 + ceil(contacts * $1::numeric)::integer, ceil(contacts * $2::numeric)::integer) as contact
     order by contact, agency.number`,
    [from, to],
  );
  // Every tenth contact is a landlord, too.
  await client.query(
    `insert into contact_external_id_aliases (organisation_id, provider, entity_type, external_id, contact_id)
     select
       organisation_id,
       provider,
       'landlord',
       ${externalId('agency.number', 'contact')},
       ${contactId('agency.number', 'contact')}
     from agency
     cross join lateral generate_series(1 + ceil(contacts * $1::numeric)::integer, ceil(contacts * $2::numeric)::integer) as contact
     where contact % 10 = 0
     order by contact, agency.number`,
    [from, to],
  );
  // Every tenth contact had another id before.
  await client.query(
    `insert into contact_external_id_changes
       (organisation_id, kind, provider, entity_type, external_id, from_contact_id, was_primary, linked_at)
     select
       organisation_id,
       'unlinked',
       provider,
       'applicant',
       ${externalId('agency.number', 'contact')},
       ${contactId('agency.number', 'contact')},
       true,
       now()
     from agency
     cross join lateral generate_series(1 + ceil(contacts * $1::numeric)::integer, ceil(contacts * $2::numeric)::integer) as contact
     where contact % 10 = 0
     order by contact, agency.number`,
    [from, to],
  );
}
