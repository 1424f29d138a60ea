import type pg from 'pg';
import type { BatchEvent } from '../../src/index.js';
import type { Tenant } from './fleet.js';

/**
 * Records batches as one would write it by hand: seven statements in a transaction, each for the whole batch. They check
 * less than `syncBatchRecord`: neither what is known of each record, nor conflicts, erased people, and times.
 */
export class RawBatches {
  readonly #client: pg.Client;
  readonly #tenant: Tenant;

  constructor(client: pg.Client, tenant: Tenant) {
    this.#client = client;
    this.#tenant = tenant;
  }

  async record(batchNumber: number, events: readonly BatchEvent[]): Promise<void> {
    const { organisationId, connectionId, runId } = this.#tenant;
    const client = this.#client;
    const failed = events.filter(({ status }) => status === 'error');
    const linked = events.filter(({ linksContact }) => linksContact === true);
    const fine = events.filter(({ status }) => status !== 'error');
    await client.query('begin');
    try {
      await client.query(
        `update crm_connections set next_sync_at = greatest(next_sync_at, now() + interval '5 minutes')
         where organisation_id = $1 and id = $2 and status <> 'disconnected'`,
        [organisationId, connectionId],
      );
      await client.query(
        `update crm_sync_runs
         set
           batch_number = $4,
           success_count = success_count + $5,
           error_count = error_count + $6,
           heartbeat_at = now(),
           expires_at = greatest(expires_at, now() + interval '5 minutes')
         where organisation_id = $1 and connection_id = $2 and id = $3 and ended_at is null and expires_at > now()
           and batch_number = $4 - 1`,
        [organisationId, connectionId, runId, batchNumber, fine.length, failed.length],
      );
      await client.query(
        `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status, error)
         select $1, $2, event.*
         from unnest($3::timestamptz[], $4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::jsonb[]) as event`,
        [
          organisationId,
          connectionId,
          events.map(({ occurredAt }) => occurredAt),
          events.map(({ direction }) => direction),
          events.map(({ entityType }) => entityType),
          events.map(({ externalId }) => externalId),
          events.map(({ internalId }) => internalId ?? null),
          events.map(({ status }) => status),
          events.map(({ error }) => (error == null ? null : JSON.stringify(error))),
        ],
      );
      await client.query(
        `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
         select $1, 'reapit', link.*
         from unnest($2::text[], $3::text[], $4::uuid[]) as link
         on conflict (organisation_id, provider, entity_type, external_id) do update
         set last_seen_at = now()`,
        [
          organisationId,
          linked.map(({ entityType }) => entityType),
          linked.map(({ externalId }) => externalId),
          linked.map(({ internalId }) => internalId),
        ],
      );
      await client.query(
        `delete from crm_sync_failures as failure
         using unnest($3::text[], $4::text[]) as record (entity_type, record_id)
         where failure.organisation_id = $1
           and failure.connection_id = $2
           and failure.direction = 'inbound'
           and failure.entity_type = record.entity_type
           and failure.record_id = record.record_id`,
        [
          organisationId,
          connectionId,
          fine.map(({ entityType }) => entityType),
          fine.map(({ externalId }) => externalId),
        ],
      );
      await client.query(
        `insert into crm_sync_failures as failure
           (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
         select $1, $2, 'inbound', record.entity_type, record.record_id, 1, record.error, now(), now(), now() + interval '1 minute'
         from unnest($3::text[], $4::text[], $5::jsonb[]) as record (entity_type, record_id, error)
         on conflict (organisation_id, connection_id, direction, record_id, entity_type) do update
         set
           attempts = failure.attempts + 1,
           error = excluded.error,
           last_failed_at = excluded.last_failed_at,
           next_attempt_at = excluded.next_attempt_at`,
        [
          organisationId,
          connectionId,
          failed.map(({ entityType }) => entityType),
          failed.map(({ externalId }) => externalId),
          failed.map(({ error }) => JSON.stringify(error)),
        ],
      );
      await client.query(
        `insert into crm_sync_cursors as cursor
           (organisation_id, connection_id, direction, entity_type, kind, synced_to_at, moved_at)
         values ($1, $2, 'inbound', 'contact', 'timestamp', $3, now())
         on conflict (organisation_id, connection_id, direction, entity_type) do update
         set synced_to_at = excluded.synced_to_at, version = cursor.version + 1, moved_at = now()
         where cursor.version = $4`,
        [organisationId, connectionId, new Date(Date.UTC(2026, 0, 1) + batchNumber * 1000), batchNumber - 1],
      );
      await client.query('commit');
    } catch (error) {
      await client.query('rollback');
      throw error;
    }
  }
}
