import type { ClientBase } from 'pg';
import {
  type ContactLink,
  connectionAdvanceLastSyncedAt,
  connectionGet,
  contactExternalIdLinkMany,
  contactExternalIdResolveMany,
  externalRecordCheckMany,
  type LinkOutcome,
  type RecordDecision,
  type SyncDirection,
  type SyncError,
  type SyncEvent,
  syncLogRecord,
  type Timestamp,
} from '../src/index.js';
import type { DemoConnection } from './connections.js';
import { type Contact, contactByEmail } from './people.js';
import type { RemoteRecord } from './providers/common.js';

/** The outcome of a sync: how many records ended in each status. */
export interface ImportResult {
  success: number;
  skipped: number;
  error: number;
  /** The cursor's new position; null if there is none yet. */
  lastSyncedAt: Timestamp | null;
}

/** A record and the contact it was matched to; null if none. */
interface Matched {
  record: RemoteRecord;
  contactId: string | null;
}

/**
 * Imports what a CRM sent. Mappings, log and cursor are written in one transaction, so they always agree.
 *
 * @param occurredAt the time in the story
 * @param confirmed contacts by external id, for records that a person had to identify
 */
export async function importRecords(
  client: ClientBase,
  connection: DemoConnection,
  records: readonly RemoteRecord[],
  occurredAt: string,
  confirmed: Readonly<Record<string, Contact>> = {},
): Promise<ImportResult> {
  await client.query('begin');
  try {
    const result = await importAll(client, connection, records, occurredAt, confirmed);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

async function importAll(
  client: ClientBase,
  connection: DemoConnection,
  records: readonly RemoteRecord[],
  occurredAt: string,
  confirmed: Readonly<Record<string, Contact>>,
): Promise<ImportResult> {
  const { organisationId, provider } = connection;
  const cursor = (await connectionGet(client, connection))?.lastSyncedAt ?? null;
  const decisions = await externalRecordCheckMany(client, {
    organisationId,
    provider,
    records: records.map(({ entityType, externalId, version, modifiedAt }) => ({
      entityType,
      externalId,
      version,
      modifiedAt,
    })),
  });
  const matched = await match(client, connection, records, confirmed);
  const links = matched.flatMap(({ record, contactId }): ContactLink[] =>
    contactId === null ? [] : [{ ...record, provider, contactId }],
  );
  const linked = await contactExternalIdLinkMany(client, { organisationId, links, ifContactTaken: 'alias' });
  const outcomes = linked.values();
  const events = matched.map(({ record, contactId }, index): SyncEvent => {
    const outcome = contactId === null ? undefined : outcomes.next().value;
    return {
      direction: 'inbound',
      entityType: record.entityType,
      externalId: record.externalId,
      internalId: contactId,
      occurredAt,
      ...statusOf(record, decisions[index], outcome, cursor),
    };
  });
  await syncLogRecord(client, { ...connection, events });

  const count = (status: SyncEvent['status']) => events.filter((event) => event.status === status).length;
  const failed = records.filter((_, index) => events[index]?.status === 'error');
  const reached = importedUpTo(records, failed);
  const advanced =
    reached === null || (cursor !== null && reached <= cursor)
      ? { lastSyncedAt: cursor }
      : await connectionAdvanceLastSyncedAt(client, { ...connection, lastSyncedAt: reached });
  return { success: count('success'), skipped: count('skipped'), error: count('error'), ...advanced };
}

/** Finds the contact of each record: as confirmed by a person, else by email address, else by mapping. */
async function match(
  client: ClientBase,
  { organisationId, provider }: DemoConnection,
  records: readonly RemoteRecord[],
  confirmed: Readonly<Record<string, Contact>>,
): Promise<Matched[]> {
  const known = new Map<string, Map<string, string>>();
  for (const entityType of new Set(records.map((record) => record.entityType))) {
    const externalIds = records
      .filter((record) => record.entityType === entityType)
      .map(({ externalId }) => externalId);
    known.set(
      entityType,
      await contactExternalIdResolveMany(client, { organisationId, provider, entityType, externalIds }),
    );
  }
  return records.map((record) => ({
    record,
    contactId:
      confirmed[record.externalId]?.id ??
      contactByEmail(organisationId, record.email)?.id ??
      known.get(record.entityType)?.get(record.externalId) ??
      null,
  }));
}

/** The status that the log records for a record. A conflict affects that record only. */
function statusOf(
  { modifiedAt }: RemoteRecord,
  { decision }: Pick<RecordDecision, 'decision'> = { decision: 'unknown' },
  link: LinkOutcome | undefined,
  cursor: Timestamp | null,
): { status: 'success' } | { status: 'skipped'; reason?: 'echo' } | { status: 'error'; error: SyncError } {
  const failure = (kind: 'validation' | 'conflict', message: string) =>
    ({ status: 'error', error: { kind, retryable: false, message } }) as const;
  if (decision === 'echo') return { status: 'skipped', reason: decision };
  switch (link?.outcome) {
    case undefined:
      return failure('validation', 'No email address or mapping identifies this person.');
    case 'external_id_taken':
      return failure('conflict', 'This id is already mapped to another contact.');
    case 'already_linked': {
      // Pages overlap: a record modified at or before the cursor has been imported already.
      const isOld = modifiedAt !== null && cursor !== null && modifiedAt <= cursor;
      return { status: isOld ? 'skipped' : 'success' };
    }
    default:
      return { status: 'success' };
  }
}

/**
 * The time up to which every change has been imported: the latest change before the first failure. If the
 * cursor passed a failed record, that record would be lost. Canonical timestamps sort as text.
 */
function importedUpTo(records: readonly RemoteRecord[], failed: readonly RemoteRecord[]): Timestamp | null {
  if (failed.some(({ modifiedAt }) => modifiedAt === null)) return null;
  const times = (some: readonly RemoteRecord[]) =>
    some.flatMap(({ modifiedAt }) => modifiedAt ?? []).sort((left, right) => (left < right ? -1 : 1));
  const [firstFailed] = times(failed);
  const arrived = times(records).filter((time) => firstFailed === undefined || time < firstFailed);
  return arrived.at(-1) ?? null;
}

/** Logs an operation that imports no record: an outbound change, or a request that failed as a whole. */
export async function log(
  client: ClientBase,
  connection: DemoConnection,
  event: {
    occurredAt: string;
    direction: SyncDirection;
    entityType: string;
    externalId?: string;
    contact?: Contact;
    error?: SyncError | null;
  },
): Promise<void> {
  const { contact, error, ...fields } = event;
  const outcome = error == null ? { status: 'success' as const } : { status: 'error' as const, error };
  await syncLogRecord(client, {
    ...connection,
    events: [{ ...fields, internalId: contact?.id ?? null, ...outcome }],
  });
}
