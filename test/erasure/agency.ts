import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import {
  type ConnectionKey,
  connectionDisconnect,
  connectionSetAccount,
  contactExternalIdLink,
  contactExternalIdLinkMany,
  contactExternalIdRepoint,
  contactExternalIdUnlink,
  contactMerge,
  externalRecordMergeMany,
  type Provider,
} from '../../src/index.js';
import { connect } from '../support/connection.js';
import { createTenant } from '../support/database.js';

/** What this agency's tables hold of Ottoline, who is erased, and of Barnaby, who stays. */
export interface Agency {
  organisationId: string;
  reapit: ConnectionKey;
  ottoline: string;
  /** A second contact of Ottoline, which was merged into hers. */
  duplicate: string;
  barnaby: string;
  /** Every text by which only Ottoline is known: her contacts and her records. */
  hers: string[];
}

/** An id that no other organisation of the test has. */
const newId = (name: string) => `${name}-${randomUUID().slice(0, 8)}`;

/**
 * An agency in which Ottoline is in every table: linked, merged, unlinked, re-pointed, archived, failing, waiting, in
 * conflict, and logged with and without a contact; and Barnaby beside her.
 */
export async function agencyWithOttoline(pool: pg.Pool): Promise<Agency> {
  const { organisationId, contactIds } = await createTenant(pool, 3);
  const [ottoline, duplicate, barnaby] = contactIds as [string, string, string];
  const ids = {
    landlord: newId('LANDLORD'),
    applicant: newId('APPLICANT'),
    mergedAway: newId('MERGED'),
    unlinked: newId('UNLINKED'),
    fromBarnaby: newId('REPOINTED'),
    archived: newId('ARCHIVED'),
    loggedOnly: newId('LOGGEDONLY'),
  };
  const barnabys = newId('BARNABY');
  const barnabysMerged = newId('BARNABY-MERGED');
  const alias = async (provider: Provider, externalId: string, contactId: string) => {
    await contactExternalIdLinkMany(pool, {
      organisationId,
      links: [{ provider, entityType: 'contact', externalId, contactId }],
      ifContactTaken: 'alias',
    });
  };

  const mergeRecords = (from: string, into: string) =>
    externalRecordMergeMany(pool, {
      organisationId,
      provider: 'reapit',
      merges: [
        {
          from: { entityType: 'contact', externalId: from },
          into: { entityType: 'contact', externalId: into },
        },
      ],
    });

  const alto = await connect(pool, organisationId, 'alto');
  await connectionSetAccount(pool, { ...alto, account: 'first' });
  await alias('alto', ids.archived, ottoline);
  await log(pool, alto, [{ externalId: ids.archived, internalId: ottoline }]);
  await connectionDisconnect(pool, alto);
  const other = await connect(pool, organisationId, 'alto');
  await connectionSetAccount(pool, { ...other, account: 'second' });

  const reapit = await connect(pool, organisationId, 'reapit');
  await alias('reapit', ids.landlord, ottoline);
  await alias('reapit', ids.applicant, ottoline);
  await alias('reapit', ids.mergedAway, ottoline);
  await alias('reapit', barnabys, barnaby);
  await alias('reapit', ids.fromBarnaby, barnaby);
  await alias('reapit', barnabysMerged, barnaby);
  await log(pool, reapit, [{ externalId: ids.fromBarnaby, internalId: barnaby }]);
  const unlinked = {
    organisationId,
    provider: 'street',
    entityType: 'contact',
    externalId: ids.unlinked,
  } as const;
  await contactExternalIdLink(pool, { ...unlinked, contactId: ottoline });
  await contactExternalIdUnlink(pool, { ...unlinked, contactId: ottoline });
  // Barnaby keeps a record that was merged into one that is Ottoline's by now.
  await mergeRecords(barnabysMerged, ids.fromBarnaby);
  await contactExternalIdRepoint(pool, {
    organisationId,
    provider: 'reapit',
    entityType: 'contact',
    externalId: ids.fromBarnaby,
    fromContactId: barnaby,
    toContactId: duplicate,
  });
  await mergeRecords(ids.mergedAway, ids.landlord);
  await contactMerge(pool, { organisationId, fromContactId: duplicate, intoContactId: ottoline });

  await log(pool, reapit, [
    { externalId: ids.landlord, internalId: ottoline },
    { externalId: ids.fromBarnaby, internalId: duplicate },
    { externalId: ids.loggedOnly, internalId: ottoline },
    { externalId: ids.landlord, error: `Landlord ${ids.landlord} has no name.` },
    { internalId: ottoline, error: `Contact ${ottoline} was refused.` },
    { externalId: barnabys, internalId: barnaby },
    { externalId: barnabys, error: 'Barnaby has no name.' },
  ]);
  await pool.query(
    `insert into crm_sync_failures (organisation_id, connection_id, direction, entity_type, record_id, attempts, error, first_failed_at, last_failed_at, next_attempt_at)
     select $1, $2, direction, 'contact', record_id, 1, '{"kind":"internal","retryable":true,"message":"It failed."}', now(), now(), now()
     from (values ('inbound', $3), ('outbound', $4::text), ('inbound', $5), ('outbound', $6::text)) as failing (direction, record_id)`,
    [organisationId, reapit.connectionId, ids.landlord, ottoline, barnabys, barnaby],
  );
  await pool.query(
    `insert into crm_record_requests (organisation_id, connection_id, entity_type, external_id, requested_at)
     select $1, $2, 'contact', id, now() from unnest($3::text[]) as id`,
    [organisationId, reapit.connectionId, [ids.applicant, barnabys]],
  );
  await pool.query(
    `insert into crm_sync_conflicts (organisation_id, connection_id, entity_type, external_id, contact_id, kept, first_seen_at, last_seen_at)
     select $1, $2, 'contact', held.id, held.contact_id, 'crm', now(), now()
     from unnest($3::text[], $4::uuid[]) as held (id, contact_id)`,
    [organisationId, reapit.connectionId, [ids.landlord, barnabys], [ottoline, barnaby]],
  );
  await pool.query(
    `insert into crm_outbound_changes (organisation_id, contact_id, connection_id, first_changed_at, last_changed_at, next_attempt_at)
     select $1, contact_id, $2, now(), now(), now() from unnest($3::uuid[]) as contact_id`,
    [organisationId, reapit.connectionId, [ottoline, barnaby]],
  );
  await pool.query(
    'update crm_connections set fill_started_at = now(), filled_contacts = 1, fill_contact_id = $2 where id = $1',
    [reapit.connectionId, ottoline],
  );
  return {
    organisationId,
    reapit,
    ottoline,
    duplicate,
    barnaby,
    hers: [ottoline, duplicate, ...Object.values(ids)],
  };
}

/** Adds events to the log: skipped, or failed with a message. */
export async function log(
  client: pg.Pool | pg.ClientBase,
  { organisationId, connectionId }: ConnectionKey,
  events: readonly { externalId?: string; internalId?: string; error?: string; occurredAt?: string }[],
): Promise<void> {
  for (const { externalId, internalId, error, occurredAt } of events) {
    await client.query(
      `insert into crm_sync_log (organisation_id, connection_id, occurred_at, direction, entity_type, external_id, internal_id, status, error)
       values ($1, $2, coalesce($3::timestamptz, now()), 'inbound', 'contact', $4, $5, $6, $7)`,
      [
        organisationId,
        connectionId,
        occurredAt ?? null,
        externalId ?? null,
        internalId ?? null,
        error === undefined ? 'success' : 'error',
        error === undefined ? null : { kind: 'validation', retryable: false, message: error, code: 'E17' },
      ],
    );
  }
}
