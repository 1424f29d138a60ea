import type pg from 'pg';
import { agencyOf, firstDay, type Size } from '../dev/busy-database/index.js';

/**
 * Plays the runs with the given numbers, one after the other, with the three writes of a run: it opens, records
 * a batch, and ends. So it leaves the same dead rows and index entries as in production.
 */
export async function playRuns(
  client: pg.ClientBase,
  { agencies, runs }: Pick<Size, 'agencies' | 'runs'>,
  from: number,
  to: number,
): Promise<void> {
  await client.query(
    `do $$
     declare
       run record;
       run_id bigint;
     begin
       for run in
         select
           agency.organisation_id,
           agency.connection_id,
           ${firstDay} - interval '90 days' + series * interval '80 days' / ${runs} as started_at
         from generate_series(${from}::bigint, ${to}::bigint) as series
         inner join agency
           on agency.number = ${agencyOf('series', agencies)}
         order by series
       loop
         insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at)
         values (run.organisation_id, run.connection_id, 'worker-7c9f', run.started_at, run.started_at, run.started_at + interval '5 minutes')
         returning id into run_id;

         update crm_sync_runs
         set
           batch_number = 1,
           success_count = 10,
           heartbeat_at = run.started_at + interval '2 seconds',
           expires_at = run.started_at + interval '302 seconds'
         where organisation_id = run.organisation_id and connection_id = run.connection_id and id = run_id;

         update crm_sync_runs
         set
           ended_at = run.started_at + interval '3 seconds',
           outcome = 'success'
         where organisation_id = run.organisation_id and connection_id = run.connection_id and id = run_id;

         -- From here on, scans can skip the dead rows; otherwise each run of a connection would take longer.
         commit;
       end loop;
     end
     $$`,
  );
}

/** Reschedules every connection once, as a sync does: a tenth of them at a time, with a vacuum in between. */
export async function playSchedule(client: pg.ClientBase, step: number, steps: number): Promise<void> {
  for (let part = 0; part < 10; part += 1) {
    await client.query(
      `update crm_connections
       set
         next_sync_at = ${firstDay} + ($1 + $2 / 10.0) / $3 * interval '1 day' + number * interval '1 second',
         last_success_at = ${firstDay}
       from agency
       where crm_connections.organisation_id = agency.organisation_id
         and crm_connections.id = agency.connection_id
         and agency.number % 10 = $2::integer`,
      [step, part, steps],
    );
    await client.query('vacuum crm_connections');
  }
}
