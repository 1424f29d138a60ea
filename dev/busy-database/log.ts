import type pg from 'pg';
import { agencyOf, chance, contactId, days, error, externalId, firstDay, type Size } from './shape.js';

/**
 * Records the events in a range of numbers in chronological order, in one statement: ten per connection at a time,
 * 1 in 50 an error (but none in agency 2), 1 in 20 skipped, 1 in 5 outbound, and 1 in 100 for the agency's first
 * contact, which therefore has a long history.
 */
export async function loadEvents(
  client: pg.ClientBase,
  { agencies, events }: Pick<Size, 'agencies' | 'events'>,
  from = 1,
  to = events,
): Promise<void> {
  await client.query(
    `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status, error)
     select
       organisation_id,
       connection_id,
       ${firstDay} + event.number * interval '${days} days' / $1::integer,
       case when event.number % 5 = 0 then 'outbound' else 'inbound' end,
       case when event.number % 7 = 0 then 'applicant' else 'contact' end,
       ${externalId('agency.number', 'contact')},
       case when event.number % 33 > 0 then ${contactId('agency.number', 'contact')} end,
       case
         when is_error then 'error'
         when event.number % 20 = 1 then 'skipped'
         else 'success'
       end,
       case when is_error then ${error('event.number / 50')} end
     from (
       select number, ${agencyOf('(number - 1) / 10', agencies)} as agency_number
       from generate_series($2::bigint, $3::bigint) as number
     ) as event
     inner join agency
       on agency.number = agency_number
     cross join lateral (
       select
         event.number % 50 = 0 and agency.number <> 2 as is_error,
         case
           when event.number % 100 = 1 then 1
           else 1 + floor(${chance('event.number')} * contacts * 0.9999)::integer
         end as contact
     ) as detail
     order by event.number`,
    [events, from, to],
  );
}

/** Creates ended runs, spread over the months before this one. */
export async function loadRuns(
  client: pg.ClientBase,
  { agencies, runs }: Pick<Size, 'agencies' | 'runs'>,
): Promise<void> {
  await client.query(
    `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at, ended_at, outcome, batch_number, success_count)
     select
       organisation_id,
       connection_id,
       'worker-7c9f',
       started_at,
       started_at + interval '2 seconds',
       started_at + interval '302 seconds',
       started_at + interval '3 seconds',
       'success',
       1,
       10
     from (
       select
         ${agencyOf('number', agencies)} as agency_number,
         ${firstDay} - interval '90 days' + number * interval '${days} days' / $1::integer as started_at
       from generate_series(1, $1::integer) as number
     ) as run
     inner join agency
       on agency.number = agency_number
     order by started_at`,
    [runs],
  );
}
