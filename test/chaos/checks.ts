import { contentHash } from '../../src/index.js';
import type { World } from './world.js';

/** Work that is still unfinished; empty once all syncs have settled. */
export async function unfinishedWork({ pool, connectedCrms }: World): Promise<string[]> {
  const { rows } = await pool.query(`
    select 'run of ' || provider || ' is open' as problem
    from crm_sync_runs inner join crm_connections on crm_connections.id = connection_id where ended_at is null
    union all
    select 'record ' || external_id || ' of ' || provider || ' is still to be read'
    from crm_record_requests inner join crm_connections on crm_connections.id = connection_id
    union all
    select 'contact ' || contact_id || ' is waiting to be pushed to ' || provider
    from crm_outbound_changes inner join crm_connections on crm_connections.id = connection_id
    union all
    select direction || ' ' || record_id || ' of ' || provider || ' is still retried: ' || error
    from crm_sync_failures inner join crm_connections on crm_connections.id = connection_id
    where next_attempt_at is not null
      -- A deleted record that the CRM does not show any more, which sync gives up on only after a day.
      and not (direction = 'outbound' and kind = 'not_found')
    union all
    select provider || ' is ' || status || ', ' || failure_count || ' failed: '
      || coalesce(status_reason, last_run.outcome || ' ' || coalesce(last_run.error ->> 'message', ''), '')
    from crm_connections
    left join lateral (
      select outcome, error
      from crm_sync_runs
      where connection_id = crm_connections.id
      order by crm_sync_runs.id desc
      limit 1
    ) as last_run on true
    where status <> 'disconnected'
      and (status <> 'active' or failure_count > 0 or last_success_at is null or last_synced_at is null)`);
  return [...rows.map(({ problem }) => problem), ...(await differences({ pool, connectedCrms } as World))];
}

/** The problems and what led to them: every event of each record and its contact, at all CRMs, and what is known of the contact. */
export async function historyOf({ pool }: World, problems: readonly string[]): Promise<string> {
  const places = problems.map((problem) => problem.split(' '));
  const { rows } = await pool.query(
    `with concerned as (
       select distinct contact_id
       from contact_external_records
       where (provider, external_id) in (select * from unnest($1::text[], $2::text[]))
     )
     select line
     from (
       select occurred_at as at, concat_ws(' ', occurred_at::time, provider, direction, entity_type, external_id, internal_id,
         crm_sync_log.status, reason, error ->> 'message') as line
       from crm_sync_log
       inner join crm_connections on crm_connections.id = connection_id
       where internal_id in (select contact_id from concerned)
          or (provider, external_id) in (
            select * from unnest($1::text[], $2::text[])
            union
            select provider, external_id from contact_external_records where contact_id in (select contact_id from concerned)
          )
       union all
       select changed_at, concat_ws(' ', changed_at::time, kind, provider, external_id, from_contact_id, '->', to_contact_id)
       from contact_external_id_changes
       where from_contact_id in (select contact_id from concerned) or to_contact_id in (select contact_id from concerned)
       union all
       select last_failed_at, 'failure ' || crm_sync_failures::text
       from crm_sync_failures
       where record_id in (select contact_id::text from concerned) or record_id = any($2)
       union all
       select last_seen_at, 'record ' || contact_external_records::text
       from contact_external_records
       where contact_id in (select contact_id from concerned)
       union all
       select connected_at, 'connection ' || concat_ws(' ', id, provider, status, account, connected_at::time, disconnected_at::time)
       from crm_connections
     ) as history
     order by at`,
    [places.map(([provider]) => provider), places.map(([, , externalId]) => externalId)],
  );
  return [...problems, ...rows.map(({ line }) => line)].join('\n');
}

/** The differences between each CRM and NurtureHub. */
async function differences({ pool, connectedCrms }: World): Promise<string[]> {
  const { rows: links } = await pool.query(`
    select provider, entity_type, external_id, contact_id, remote_state, name
    from contact_external_records inner join contacts on contacts.id = contact_id`);
  const { rows: givenUp } = await pool.query(`
    select provider, direction, record_id, dismissed_at is not null as is_dismissed
    from crm_sync_failures inner join crm_connections on crm_connections.id = connection_id
    where gave_up_at is not null or dismissed_at is not null`);
  const { rows: contacts } = await pool.query('select id, name from contacts');
  const { rows: events } = await pool.query(`
    select distinct provider || ' ' || external_id || ' ' || internal_id as event
    from crm_sync_log inner join crm_connections on crm_connections.id = connection_id`);
  const known = new Set(events.map(({ event }) => event));
  const isGivenUp = (provider: string, direction: string, id: string) =>
    givenUp.some(
      (each) => each.provider === provider && each.direction === direction && each.record_id === id,
    );
  const problems: string[] = [];
  for (const { provider, crm } of connectedCrms) {
    for (const { entityType, externalId, name, state } of crm.records()) {
      const place = `${provider} ${entityType} ${externalId}`;
      const link = links.find((each) => each.provider === provider && each.external_id === externalId);
      if (state === 'active') {
        if (link === undefined) {
          // Sync leaves alone what a person has dismissed, until the record changes again.
          const isDismissed = givenUp.some(
            (each) =>
              each.is_dismissed &&
              each.provider === provider &&
              each.direction === 'inbound' &&
              each.record_id === externalId,
          );
          if (!isDismissed) problems.push(`${place} (${name}) is not linked`);
        } else if (!isSame(crm.stored(link.name), name))
          problems.push(`${place} is ${name} there and ${link.name} here`);
        else if (link.remote_state !== 'active')
          problems.push(`${place} is active there and ${link.remote_state} here`);
      } else if (link?.remote_state === 'active' && ['street', 'custom'].includes(provider)) {
        problems.push(`${place} is ${state} there and active here`);
      }
    }
    // Street refuses new records, so the worker must give up on them and record that.
    for (const { id, name } of contacts) {
      const isLinked = links.some((each) => each.provider === provider && each.contact_id === id);
      const wasThere = crm
        .records()
        .some(
          ({ externalId, reference, state }) =>
            state !== 'active' && (reference === id || known.has(`${provider} ${externalId} ${id}`)),
        );
      if (!isLinked && !wasThere && !isGivenUp(provider, 'outbound', id)) {
        problems.push(`${name} is not at ${provider}, and sync has not given up on it`);
      }
    }
  }
  return problems;
}

function isSame(one: string, other: string): boolean {
  return contentHash({ name: one }) === contentHash({ name: other });
}

/** Broken invariants, which must be empty at all times. */
export async function violations({ pool, connectedCrms }: World): Promise<string[]> {
  const problems: string[] = [];
  const { rows: unlogged } = await pool.query(`
    select contact_id from audit
    where by = 'worker'
      and not exists (select from crm_sync_log where crm_sync_log.xmin = audit.xid and internal_id = audit.contact_id)`);
  for (const { contact_id } of unlogged) problems.push(`a change of ${contact_id} is not in the log`);
  const { rows: counted } = await pool.query(`
    select (select count(*) from crm_sync_log)::integer as logged,
      (select sum(success_count + skipped_count + error_count) from crm_sync_runs)::integer as counted`);
  if (counted[0].logged !== counted[0].counted) problems.push(`the runs count ${JSON.stringify(counted[0])}`);
  const { rows: pushes } = await pool.query(
    "select distinct internal_id as id from crm_sync_log where direction = 'outbound'",
  );
  // The push of a contact that was merged away meanwhile may be logged by nobody, but its record is read.
  const { rows: merged } = await pool.query(
    "select distinct from_contact_id as id from contact_external_id_changes where kind = 'contacts_merged'",
  );
  const { rows: read } = await pool.query(
    "select distinct external_id as id from crm_sync_log where direction = 'inbound'",
  );
  const [arePushed, areMerged, areRead] = [pushes, merged, read].map(
    (rows) => new Set<string | null>(rows.map(({ id }) => id)),
  ) as [Set<string | null>, Set<string | null>, Set<string | null>];
  for (const { provider, crm } of connectedCrms) {
    const made = new Map<string, string>();
    for (const { kind, reference, externalId } of crm.writes) {
      if (!arePushed.has(reference) && !(areMerged.has(reference) && areRead.has(externalId))) {
        problems.push(`a ${kind} of ${externalId} at ${provider} is not in the log`);
      }
      if (kind !== 'create' || reference === null) continue;
      const other = made.get(reference);
      // A record that was created during a merge, and stays when it is undone, carries the other contact's reference.
      const isStillIts = (id: string) =>
        crm
          .records()
          .some((each) => each.externalId === id && each.state === 'active' && each.reference === reference);
      if (other !== undefined && isStillIts(other) && isStillIts(externalId)) {
        problems.push(`${reference} is at ${provider} twice: ${other} and ${externalId}`);
      }
      made.set(reference, externalId);
    }
  }
  return problems;
}
