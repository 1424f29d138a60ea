import { createTenant } from './fleet.js';
import { type Row, timed } from './harness.js';
import type { Scope } from './scope.js';

/** What it costs to drop an old month of the log, beside deleting its rows. */
export async function* months(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const { monthEvents } = size;
  // A month takes as long to fill as to delete.
  const rounds = monthEvents > 1_000_000 ? 1 : Math.ceil(size.fewRounds / 2);
  const [dropped, deleted] = await Promise.all(
    [1, 2].map(async () => {
      const { client } = await scope.database(ours);
      return { client, tenant: await createTenant(client) };
    }),
  );
  if (dropped === undefined || deleted === undefined) throw new Error('Both were created.');
  const begin = "date_trunc('month', now(), 'UTC') - interval '3 months'";
  yield {
    work: `drop a month of ${monthEvents.toLocaleString('en')} events`,
    unit: 'ms',
    rounds,
    async before() {
      for (const { client, tenant } of [dropped, deleted]) {
        await beginLogEarlier(client.query.bind(client));
        await client.query(
          `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, status)
           select $1, $2, ${begin} + number * interval '27 days' / $3::float8, 'inbound', 'contact', 'OXF' || number, 'success'
           from generate_series(1, $3::integer) as number`,
          [tenant.organisationId, tenant.connectionId, monthEvents],
        );
        // A log that would be empty afterwards is kept.
        await client.query(
          `insert into crm_sync_log (organisation_id, connection_id, direction, entity_type, status)
           values ($1, $2, 'inbound', 'contact', 'success')`,
          [tenant.organisationId, tenant.connectionId],
        );
        await client.query('vacuum analyze crm_sync_log');
      }
    },
    ours: timed(1, async () => {
      const { dropped: partitions } = await ours.migrations.partitionsDrop(dropped.client);
      if (partitions.length !== 1) throw new Error(`${partitions.length} months were dropped.`);
    }),
    beside: [
      {
        name: 'delete, without the trigger that refuses it',
        goal: monthEvents < 5_000_000 ? undefined : { ratio: 100 },
        way: timed(1, async () => {
          const { client } = deleted;
          await client.query("set session_replication_role = 'replica'");
          const { rowCount } = await client.query(
            `delete from crm_sync_log where occurred_at < ${begin} + interval '1 month'`,
          );
          await client.query("set session_replication_role = 'origin'");
          if (rowCount !== monthEvents) throw new Error(`${rowCount} events were deleted.`);
        }),
      },
    ],
  };
}

/** Partitions the log as if it had begun three months ago, empties it, and keeps it for almost as long as since that month. */
async function beginLogEarlier(query: (statement: string) => Promise<unknown>): Promise<void> {
  await query(`
    do $$
    declare
      month regclass;
      begins timestamptz := date_trunc('month', now(), 'UTC') - interval '3 months';
      name text := 'crm_sync_log_' || to_char(begins at time zone 'UTC', 'YYYY_MM');
    begin
      for month in select inhrelid from pg_inherits where inhparent = 'crm_sync_log'::regclass loop
        execute format('drop table %s', month);
      end loop;
      execute format('create table %I partition of crm_sync_log for values from (minvalue) to (%L)', name, begins + interval '1 month');
      perform crm_sync_log_finish_partition(name::regclass);
      execute format('create table crm_sync_log_catch_all partition of crm_sync_log for values from (%L) to (maxvalue)', begins + interval '1 month');
      perform crm_sync_log_finish_partition('crm_sync_log_catch_all'::regclass);
      update crm_retention
      set keep_days = extract(day from now() - (begins + interval '1 month')) - 1
      where subject = 'crm_sync_log';
    end
    $$`);
  // The second call drops what the first one emptied.
  await query('select crm_sync_log_ensure_partitions()');
  await query('select crm_sync_log_ensure_partitions()');
}
