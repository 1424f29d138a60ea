import { createHash, randomUUID } from 'node:crypto';
import type pg from 'pg';

/** Credentials as they are stored, of a typical length, which nobody can decrypt. */
const credentials = `jsonb_build_object(
  'protected', 'eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0',
  'header', '{"kid": "bench"}'::jsonb,
  'encrypted_key', repeat('k', 54),
  'iv', repeat('i', 16),
  'ciphertext', repeat('c', 200),
  'tag', repeat('t', 22),
  'aad', crm_credentials_aad(organisation_id, connection_id, 'reapit')
)`;

/** Creates organisations with a connection each, all due, and analyses them. */
export async function loadDueConnections(client: pg.Client, count: number): Promise<void> {
  await client.query(
    `insert into organisations (id, name)
     select md5('organisation ' || number)::uuid, 'Bench Agency' from generate_series(1, $1::integer) as number`,
    [count],
  );
  await client.query(
    `insert into crm_connections (organisation_id, id, provider, credentials, next_sync_at)
     select organisation_id, connection_id, 'reapit', ${credentials}, now() - interval '1 day' + number * interval '1 millisecond'
     from generate_series(1, $1::integer) as number
     cross join lateral (
       select md5('organisation ' || number)::uuid as organisation_id, md5('connection ' || number)::uuid as connection_id
     ) as connection`,
    [count],
  );
  await client.query('vacuum analyze');
}

/** Makes all connections due again, without an open run. */
export async function makeDue(client: pg.Client): Promise<void> {
  await client.query('truncate crm_sync_runs');
  await client.query("update crm_connections set next_sync_at = now() - interval '1 day'");
  await client.query('vacuum analyze crm_connections, crm_sync_runs');
}

/** A connection, with a run that stays open. */
export interface Tenant {
  organisationId: string;
  connectionId: string;
  runId: string;
}

/** The id of a contact that {@link createTenant} creates, counted from 1. */
export function contactIdOf(number: number): string {
  const hash = createHash('md5').update(`contact ${number}`).digest('hex');
  return hash.replace(/(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** When an event occurred, as text: a thousand of them over thirty days, because a time may be read by its day. */
export function timeOf(index: number): string {
  return new Date(Date.now() - (index % 1000) * 43 * 60_000).toISOString();
}

/** Creates an organisation with a connection, an open run, and contacts. Once a database. */
export async function createTenant(client: pg.Client, contacts = 0): Promise<Tenant> {
  const [organisationId, connectionId] = [randomUUID(), randomUUID()];
  await client.query("insert into organisations (id, name) values ($1, 'Bench Agency')", [organisationId]);
  await client.query(
    `insert into contacts (id, organisation_id, name)
     select md5('contact ' || number)::uuid, $1, 'Bench Person' from generate_series(1, $2::integer) as number`,
    [organisationId, contacts],
  );
  await client.query(
    `insert into crm_connections (organisation_id, id, provider, credentials)
     select organisation_id, connection_id, 'reapit', ${credentials}
     from (select $1::uuid as organisation_id, $2::uuid as connection_id) as connection`,
    [organisationId, connectionId],
  );
  const { rows } = await client.query(
    `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at)
     values ($1, $2, 'bench', now(), now(), now() + interval '1 day')
     returning id::text`,
    [organisationId, connectionId],
  );
  return { organisationId, connectionId, runId: rows[0].id };
}
