import type { ClientBase } from 'pg';
import {
  type ContactLink,
  connectionAdvanceLastSyncedAt,
  connectionGet,
  contactExternalIdLinkMany,
  contactExternalIdResolveMany,
  type LinkOutcome,
  type SyncDirection,
  type SyncError,
  type SyncEvent,
  syncLogRecord,
  type Timestamp,
} from '../src/index.js';
import type { DemoConnection } from './connections.js';
import { type Contact, contactByEmail } from './people.js';
import type { RemoteRecord } from './providers/common.js';

/** What became of the records of a sync. */
export interface Received {
  success: number;
  skipped: number;
  error: number;
  /** Where the cursor stands now; null as long as there is none. */
  lastSyncedAt: Timestamp | null;
}

/** A record, and the contact it means as far as anyone can tell. */
interface Matched {
  record: RemoteRecord;
  contactId: string | null;
}

/**
 * Takes in what a CRM sent: mappings, log and cursor in one transaction, so that they never disagree.
 *
 * @param occurredAt when, in the story
 * @param confirmed who the records are, where a person had to say so: contacts by external id
 */
export async function receive(
  client: ClientBase,
  connection: DemoConnection,
  records: readonly RemoteRecord[],
  occurredAt: string,
  confirmed: Readonly<Record<string, Contact>> = {},
): Promise<Received> {
  await client.query('begin');
  try {
    const received = await receiveAll(client, connection, records, occurredAt, confirmed);
    await client.query('commit');
    return received;
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

async function receiveAll(
  client: ClientBase,
  connection: DemoConnection,
  records: readonly RemoteRecord[],
  occurredAt: string,
  confirmed: Readonly<Record<string, Contact>>,
): Promise<Received> {
  const { organisationId, provider } = connection;
  const cursor = (await connectionGet(client, connection))?.lastSyncedAt ?? null;
  const matched = await match(client, connection, records, confirmed);
  const links = matched.flatMap(({ record, contactId }): ContactLink[] =>
    contactId === null ? [] : [{ ...record, provider, contactId }],
  );
  const outcomes = (await contactExternalIdLinkMany(client, { organisationId, links })).values();
  const events = matched.map(({ record, contactId }): SyncEvent => {
    const outcome = contactId === null ? undefined : outcomes.next().value;
    return {
      direction: 'inbound',
      entityType: record.entityType,
      externalId: record.externalId,
      internalId: contactId,
      occurredAt,
      ...verdict(record, outcome, cursor),
    };
  });
  await syncLogRecord(client, { ...connection, events });

  const count = (status: SyncEvent['status']) => events.filter((event) => event.status === status).length;
  const failed = records.filter((_, index) => events[index]?.status === 'error');
  const reached = completeUpTo(records, failed);
  const advanced =
    reached === null || (cursor !== null && reached <= cursor)
      ? { lastSyncedAt: cursor }
      : await connectionAdvanceLastSyncedAt(client, { ...connection, lastSyncedAt: reached });
  return { success: count('success'), skipped: count('skipped'), error: count('error'), ...advanced };
}

/** Finds the contact of each record: as a person confirmed it, by its mail address, or by its mapping. */
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

/** What the log says of a record. A conflict concerns that record alone. */
function verdict(
  { modifiedAt }: RemoteRecord,
  link: LinkOutcome | undefined,
  cursor: Timestamp | null,
): { status: 'success' | 'skipped' } | { status: 'error'; error: SyncError } {
  const failure = (kind: 'validation' | 'conflict', message: string) =>
    ({ status: 'error', error: { kind, retryable: false, message } }) as const;
  switch (link?.outcome) {
    case undefined:
      return failure('validation', 'Neither a mail address nor a mapping says who this is.');
    case 'external_id_taken':
      return failure('conflict', 'This id is already mapped to another contact.');
    case 'contact_taken':
      return failure('conflict', 'The contact already has another id at this CRM.');
    case 'already_linked': {
      // Pages overlap: what was modified up to the cursor has been here before.
      const isOld = modifiedAt !== null && cursor !== null && modifiedAt <= cursor;
      return { status: isOld ? 'skipped' : 'success' };
    }
    default:
      return { status: 'success' };
  }
}

/**
 * Up to when every change has arrived: the latest change before the first one that failed. A cursor
 * that passed a failed record would lose it. Canonical timestamps sort as text.
 */
function completeUpTo(records: readonly RemoteRecord[], failed: readonly RemoteRecord[]): Timestamp | null {
  if (failed.some(({ modifiedAt }) => modifiedAt === null)) return null;
  const times = (some: readonly RemoteRecord[]) =>
    some.flatMap(({ modifiedAt }) => modifiedAt ?? []).sort((left, right) => (left < right ? -1 : 1));
  const [firstFailed] = times(failed);
  const arrived = times(records).filter((time) => firstFailed === undefined || time < firstFailed);
  return arrived.at(-1) ?? null;
}

/** Logs one operation that is not a record taken in: something sent, or a call that failed as a whole. */
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
