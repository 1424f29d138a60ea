import type pg from 'pg';
import { busyWork, contactId, error, firstDay, type Size } from './shape.js';

/** Opens a run for one connection in 40, including the two largest. The lease of one in 400 has expired. */
export async function loadOpenRuns(client: pg.ClientBase): Promise<void> {
  await client.query(
    `insert into crm_sync_runs (organisation_id, connection_id, worker, started_at, heartbeat_at, expires_at)
     select
       organisation_id,
       connection_id,
       'worker-7c9f',
       now() - interval '2 hours',
       now() - interval '2 hours',
       now() + case when number % 400 = 42 then interval '-1 hour' else interval '1 day' end
     from agency
     where number <= 2
       or number % 40 = 2`,
  );
}

/** Creates a cursor for each of three entity types, in both directions, of every connection. */
export async function loadCursors(client: pg.ClientBase): Promise<void> {
  await client.query(
    `insert into crm_sync_cursors (organisation_id, connection_id, direction, entity_type, kind, synced_to_at, moved_at)
     select organisation_id, connection_id, direction, entity_type, 'timestamp', ${firstDay}, now()
     from agency
     cross join unnest('{inbound,outbound}'::text[]) as direction
     cross join unnest('{contact,landlord,applicant}'::text[]) as entity_type
     order by agency.number`,
  );
}

/** Creates failures of all kinds, half in each direction. One in eleven is given up, one in a hundred is due. */
export async function loadFailures(
  client: pg.ClientBase,
  { agencies, failures }: Pick<Size, 'agencies' | 'failures'>,
): Promise<void> {
  await client.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at, gave_up_at)
     select
       organisation_id,
       connection_id,
       case when failure % 2 = 0 then 'outbound' else 'inbound' end,
       'contact',
       case when failure % 2 = 0 then ${contactId('agency.number', 'failure')}::text else 'OXF' || 18000000 + failure end,
       1 + failure % 10,
       ${error('failure')},
       ${firstDay},
       ${firstDay} + failure % ${busyWork} * interval '2 minutes',
       case when failure % 11 <> 0 then now() + case when failure % 100 = 1 then interval '-1 hour' else interval '1 hour' end end,
       case when failure % 11 = 0 then now() end
     from generate_series(1, $2::integer) as failure
     inner join agency
       on agency.number = case when failure <= ${busyWork} then 1 else 3 + failure % ($1::integer - 2) end
     order by failure`,
    [agencies, failures],
  );
}

/** Creates record requests: as many as fit for the two largest agencies, and a few for one in ten. */
export async function loadRecordRequests(client: pg.ClientBase): Promise<void> {
  await client.query(
    `insert into crm_record_requests (organisation_id, connection_id, entity_type, external_id, requested_at, attempts)
     select organisation_id, connection_id, 'contact', 'OXF' || 18000000 + record, now(), record % 3
     from agency
     cross join lateral generate_series(1, case when number <= 2 then 1000 else 5 end) as record
     where number <= 2
       or number % 10 = 0
     order by record, number
     -- Pushes that were given up have asked for some.
     on conflict do nothing`,
  );
}

/** Creates the rate limit of each agency's account, with what is used of it. One in ten counts no longer. */
export async function loadRateLimits(client: pg.ClientBase): Promise<void> {
  await client.query(
    `insert into crm_rate_limits (provider, scope, counted, used, taken_at, expires_at)
     select
       provider,
       'account ' || number,
       'requests',
       jsonb_build_object('86400', jsonb_build_object(floor(extract(epoch from now()) / 8640), 100)),
       now(),
       now() + case when number % 10 = 0 then interval '-1 hour' else interval '1 day' end
     from agency
     order by number`,
  );
}

/** Creates conflicts: many for the two largest agencies, and a few for one in ten; one in two is acknowledged. */
export async function loadConflicts(client: pg.ClientBase): Promise<void> {
  await client.query(
    `insert into crm_sync_conflicts (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at, acknowledged_at, acknowledged_by)
     select
       organisation_id,
       connection_id,
       'contact',
       'OXF' || 18000000 + record,
       ${contactId('agency.number', 'record')},
       'nurturehub',
       ${firstDay},
       ${firstDay} + record * interval '1 minute',
       case when record % 2 = 0 then now() end,
       case when record % 2 = 0 then 'support' end
     from agency
     cross join lateral generate_series(1, case when number <= 2 then 5000 else 5 end) as record
     where number <= 2
       or number % 10 = 0
     order by record, number`,
  );
}

/** Creates outbound changes. One in a hundred is due and not announced. */
export async function loadChanges(client: pg.ClientBase, { changes }: Pick<Size, 'changes'>): Promise<void> {
  await client.query(
    `insert into crm_outbound_changes (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at, is_announced)
     select
       organisation_id,
       ${contactId('agency.number', 'contact')},
       connection_id,
       ${firstDay},
       ${firstDay} + contact * interval '1 minute',
       now() + case when contact % 100 = 0 then interval '-1 hour' else interval '1 hour' end,
       contact % 100 <> 0
     from agency
     cross join lateral generate_series(1, least(contacts, ${busyWork})) as contact
     order by agency.number > 1, contact, agency.number
     limit $1`,
    [changes],
  );
}
