import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { contactErase, contactEraseAgain, ErasureKey, erasureList } from '../src/migrations.js';
import { connect } from '../test/support/connection.js';
import { createTenant } from '../test/support/database.js';
import { beginLogEarlier } from './organisation-erasure.js';

const events = 440_000;
const contacts = 20_000;
const people = 40;

/**
 * Measures how long the erasure of a person takes in an agency with 440,000 events of eighteen months, beside another one:
 * some twenty events of each contact, and one in seven without a contact. Then how
 * long --again looks for these people, and the size of the index that finds events without a contact.
 */
export async function measureContactErasure(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await beginLogEarlier(client);
    const [organisationId] = [await createAgency(client), await createAgency(client)];
    await client.query('vacuum analyze');
    const key = ErasureKey.parse(randomBytes(32).toString('base64'));
    const { rows } = await client.query<{ id: string }>(
      'select id from contacts where organisation_id = $1 order by id limit $2',
      [organisationId, people],
    );
    const durations: number[] = [];
    let erased = 0;
    for (const { id } of rows) {
      const begin = performance.now();
      const { counts } = await contactErase(client, key, { organisationId, contactId: id });
      durations.push(performance.now() - begin);
      erased += counts.crm_sync_log ?? 0;
    }
    const sorted = durations.toSorted((one, other) => one - other);
    const format = (milliseconds = 0) => `${Math.round(milliseconds)} ms`;
    console.log(`${people} people with ${Math.round(erased / people)} events each, of ${events}:`);
    console.log(
      `median ${format(sorted[people >> 1])}, first ${format(durations[0])}, longest ${format(sorted.at(-1))}`,
    );
    const proofs = await erasureList(client);
    const begin = performance.now();
    await contactEraseAgain(client, key, proofs);
    console.log(`looking for them again: ${format(performance.now() - begin)}`);
    const { rows: sizes } = await client.query(
      `select pg_size_pretty(sum(pg_relation_size(inhrelid))) as size
       from pg_inherits where inhparent = 'crm_sync_log_external_id_idx'::regclass`,
    );
    console.log(`crm_sync_log_external_id_idx: ${sizes[0].size} for ${2 * events} events`);
  } finally {
    await client.end();
  }
}

async function createAgency(client: pg.Client): Promise<string> {
  const { organisationId } = await createTenant(client);
  const { connectionId } = await connect(client, organisationId);
  await client.query(
    `insert into contacts (id, organisation_id, name) select gen_random_uuid(), $1, 'Bench Person' from generate_series(1, $2)`,
    [organisationId, contacts],
  );
  await client.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select $1, 'reapit', 'contact', id, id from contacts where organisation_id = $1`,
    [organisationId],
  );
  await client.query(
    `with numbered as (
       select row_number() over (order by id) - 1 as number, id from contacts where organisation_id = $1
     )
     insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status)
     select
       $1, $2, now() - event.number * interval '530 days' / $3::float8, 'inbound', 'contact', numbered.id,
       case when event.number / $4 % 7 <> 0 then numbered.id end, 'success'
     from generate_series(1, $3::integer) as event (number)
     inner join numbered
       on numbered.number = event.number % $4`,
    [organisationId, connectionId, events, contacts],
  );
  return organisationId;
}
