import type pg from 'pg';

/** Creates organisations numbered from 1, with ten contacts each. The names are obviously fictional. */
export async function fillHost(client: pg.ClientBase, organisations: number): Promise<void> {
  await client.query(
    `insert into organisations (id, name)
     select md5('organisation ' || number)::uuid, 'Bench Agency'
     from generate_series(1, ${organisations}) as number`,
  );
  await client.query(
    `insert into contacts (id, organisation_id, name)
     select md5('contact ' || number || ' ' || person)::uuid, md5('organisation ' || number)::uuid, 'Bench Person'
     from generate_series(1, ${organisations}) as number
     cross join generate_series(1, 10) as person`,
  );
  await client.query('analyze organisations, contacts');
}

/** Creates a connection for each organisation, with five events and a linked contact. */
export async function fillOwn(client: pg.ClientBase, organisations: number): Promise<void> {
  await client.query(
    `insert into crm_connections (organisation_id, id, provider, credentials)
     select
       organisation_id,
       connection_id,
       'reapit',
       jsonb_build_object(
         'protected', 'eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0',
         'header', '{"kid": "bench"}'::jsonb,
         'encrypted_key', repeat('k', 54),
         'iv', repeat('i', 16),
         'ciphertext', repeat('c', 200),
         'tag', repeat('t', 22),
         'aad', crm_credentials_aad(organisation_id, connection_id, 'reapit')
       )
     from generate_series(1, ${organisations}) as number
     cross join lateral (
       select md5('organisation ' || number)::uuid as organisation_id, md5('connection ' || number)::uuid as connection_id
     ) as connection`,
  );
  await client.query(
    `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, external_id, status)
     select md5('organisation ' || number)::uuid, md5('connection ' || number)::uuid, 'inbound', 'contact', event::text, 'success'
     from generate_series(1, ${organisations}) as number
     cross join generate_series(1, 5) as event`,
  );
  await client.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select md5('organisation ' || number)::uuid, 'reapit', 'contact', number::text, md5('contact ' || number || ' 1')::uuid
     from generate_series(1, ${organisations}) as number`,
  );
  await client.query('analyze crm_connections, crm_sync_log, contact_external_ids');
}
