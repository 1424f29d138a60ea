import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { connectionDisconnect, syncLogRecord } from '../src/index.js';
import { connect } from '../test/support/connection.js';
import { createTenant } from '../test/support/database.js';

const events = 441_000;

/**
 * Measures how long the erasure of an agency takes that has 441,000 events of eighteen months and 50,000 contacts, beside
 * one that has as many and goes on logging: in all, and its longest batch; and the longest call of the other agency.
 */
export async function measureOrganisationErasure(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  const other = new pg.Client({ connectionString: url });
  await Promise.all([client.connect(), other.connect()]);
  try {
    await beginLogEarlier(client);
    const [leaving, staying] = [await createAgency(client), await createAgency(client)];
    await client.query('vacuum analyze');
    await connectionDisconnect(client, leaving);

    const progress = { isDone: false };
    const calls = logMeanwhile(other, staying, progress);
    const batches: number[] = [];
    const start = performance.now();
    for (let isFinished = false; !isFinished; ) {
      const begin = performance.now();
      const { rows } = await client.query(
        'select is_finished as "isFinished" from crm_erase_organisation($1, $2, $3, $4)',
        [leaving.organisationId, Buffer.alloc(32), '0'.repeat(16), 2000],
      );
      isFinished = rows[0].isFinished;
      batches.push(performance.now() - begin);
    }
    const seconds = (performance.now() - start) / 1000;
    progress.isDone = true;
    const format = (milliseconds: number) => `${Math.round(milliseconds)} ms`;
    const sorted = batches.toSorted((one, another) => one - another);
    console.log(`${events} events in ${seconds.toFixed(1)} s, ${batches.length} batches of 2,000`);
    console.log(
      `a batch: median ${format(sorted[sorted.length >> 1] as number)}, longest ${format(sorted.at(-1) as number)}`,
    );
    console.log(`a call of another agency meanwhile: longest ${format(Math.max(...(await calls)))}`);
    await client.query('delete from contacts where organisation_id = $1', [leaving.organisationId]);
    await client.query('delete from organisations where id = $1', [leaving.organisationId]);
  } finally {
    await Promise.all([client.end(), other.end()]);
  }
}

/** Months of the past, as after a year and a half. */
export async function beginLogEarlier(client: pg.Client): Promise<void> {
  await client.query(`
    do $$
    declare
      month regclass;
    begin
      for month in select inhrelid from pg_inherits where inhparent = 'crm_sync_log'::regclass loop
        execute format('drop table %s', month);
      end loop;
      for number in -18..1 loop
        execute format(
          'create table crm_sync_log_%s partition of crm_sync_log for values from (%L) to (%L)',
          to_char(now() + make_interval(months => number), 'YYYY_MM'),
          date_trunc('month', now() + make_interval(months => number)),
          date_trunc('month', now() + make_interval(months => number + 1))
        );
      end loop;
      create table crm_sync_log_catch_all partition of crm_sync_log default;
    end
    $$`);
}

async function createAgency(client: pg.Client) {
  const { organisationId } = await createTenant(client);
  const key = await connect(client, organisationId);
  await client.query(
    `insert into contacts (id, organisation_id, name) select gen_random_uuid(), $1, 'Bench Person' from generate_series(1, 50000)`,
    [organisationId],
  );
  await client.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select $1, 'reapit', 'contact', id, id from contacts where organisation_id = $1`,
    [organisationId],
  );
  await client.query(
    `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status)
     select $1, $2, now() - number * interval '530 days' / ${events}, 'inbound', 'contact', gen_random_uuid(), gen_random_uuid(), 'success'
     from generate_series(1, ${events}) as number`,
    [organisationId, key.connectionId],
  );
  return key;
}

/** Logs an event at a time, until told to stop. Returns how long each call took, in milliseconds. */
async function logMeanwhile(
  client: pg.Client,
  key: { organisationId: string; connectionId: string },
  progress: { isDone: boolean },
): Promise<number[]> {
  const calls: number[] = [];
  while (!progress.isDone) {
    const begin = performance.now();
    await syncLogRecord(client, {
      ...key,
      events: [{ direction: 'inbound', entityType: 'contact', externalId: randomUUID(), status: 'success' }],
    });
    calls.push(performance.now() - begin);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return calls;
}
