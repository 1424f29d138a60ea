import { isDeepStrictEqual } from 'node:util';
import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/contact_export.js';
import { readDetachedMonths } from '../partitions/detached-months.js';
import { PreparedQuery, type Queryable } from '../statements/prepared-query.js';
import type { Timestamp } from '../types.js';
import type { ContactExportHead, ContactExportSections } from './document.js';

/** An export whose rows are read as they are needed. */
export interface ReadableExport {
  head: ContactExportHead;
  /** In the order in which they are written. */
  sections: readonly ExportSection[];
}

/** The rows of a section, a page at a time. */
export interface ExportSection {
  name: keyof ContactExportSections;
  read(): AsyncIterable<readonly object[]>;
}

/** When the transaction began. */
const beginning = new PreparedQuery<object, { at: Timestamp }>({
  name: 'beginning',
  statementName: null,
  params: [],
  text: 'select pg_catalog.now() as at',
});

/** How many rows of the history or the log are read at a time. */
const pageSize = 500;

/** Who a person is: their contacts, and the records that were theirs, with the times. */
interface Identity {
  contacts: queries.ContactExportContactsResult[];
  spans: queries.ContactExportSpansResult[];
}

/** @param months the detached months that are read, as they stand in SQL */
async function readIdentity(
  client: Queryable,
  { organisationId, contactId }: { organisationId: string; contactId: string },
  months: readonly string[],
): Promise<Identity> {
  const contacts = await queries.contactExportContacts.run({ organisationId, contactId }, client);
  const person = { organisationId, contactIds: contacts.map((contact) => contact.contactId) };
  const named: queries.ContactExportNamedRecordsResult[] = [];
  for (const month of months) {
    named.push(
      ...(await queries.contactExportNamedRecords.onTable('crm_sync_log', month).run(person, client)),
    );
  }
  const elsewhere = recordsOf(named);
  const spans = await queries.contactExportSpans.run(
    {
      ...person,
      namedConnectionIds: elsewhere.connectionIds,
      namedEntityTypes: elsewhere.entityTypes,
      namedExternalIds: elsewhere.externalIds,
    },
    client,
  );
  return { contacts, spans };
}

/** Pages that were read before and after a merge was undone may show somebody else. */
function identityChanged(): CrmSchemaError {
  return new CrmSchemaError(
    'mapping_changed',
    'While it was exported, the contact was merged, a merge was undone, or an id was given to another contact: discard what you have, and export again, best at REPEATABLE READ.',
  );
}

/** Finds out who the person is, for an export of what is kept of them. */
export async function readExport(
  client: Queryable,
  { organisationId, contactId }: { organisationId: string; contactId: string },
): Promise<ReadableExport> {
  const months = await readDetachedMonths(client);
  const readable = months.filter(({ isReadable }) => isReadable).map(({ sqlName }) => sqlName);
  const identity = await readIdentity(client, { organisationId, contactId }, readable);
  const { contacts, spans } = identity;
  const person = { organisationId, contactIds: contacts.map((contact) => contact.contactId) };
  const ever = {
    ...person,
    ...recordsOf(spans),
    fromTimes: spans.map(({ fromAt }) => fromAt),
    beforeTimes: spans.map(({ beforeAt }) => beforeAt),
  };
  // What is still to be done for a record is that of whoever has it now.
  const present = { ...person, ...recordsOf(spans.filter(({ beforeAt }) => beforeAt === null)) };
  const all = <Params>(query: PreparedQuery<Params, object>, params: Params) =>
    async function* () {
      yield await query.run(params, client);
    };

  const [first] = contacts as [queries.ContactExportContactsResult];
  const [time] = (await beginning.run({}, client)) as [{ at: Timestamp }];
  const head: ContactExportHead = {
    format: 1,
    exportedAt: time.at,
    organisationId: organisationId.toLowerCase(),
    contactId: first.contactId,
    mergedIntoId: first.mergedIntoId,
    monthsNotRead: months.filter(({ isReadable }) => !isReadable).map(({ name }) => name),
  };
  const sections: Record<keyof ContactExportSections, ExportSection['read']> = {
    contacts: async function* () {
      yield contacts;
    },
    records: all(queries.contactExportRecords, person),
    identityChanges: () =>
      pages(client, queries.contactExportIdentityChanges, (last) => ({
        ...person,
        limit: pageSize,
        beforeId: last?.id ?? null,
      })),
    outboundChanges: all(queries.contactExportOutboundChanges, person),
    failures: all(queries.contactExportFailures, present),
    conflicts: all(queries.contactExportConflicts, ever),
    recordRequests: all(queries.contactExportRecordRequests, present),
    events: async function* () {
      for (const table of ['crm_sync_log', ...readable]) {
        yield* pages(client, queries.contactExportEvents.onTable('crm_sync_log', table), (last) => ({
          ...ever,
          limit: pageSize,
          beforeOccurredAt: last?.occurredAt ?? null,
          beforeId: last?.id ?? null,
        }));
      }
      const latest = await readIdentity(client, { organisationId, contactId }, readable);
      if (!isDeepStrictEqual(latest, identity)) throw identityChanged();
    },
  };
  return {
    head,
    sections: Object.entries(sections).map(([name, read]) => ({ name: name as ExportSection['name'], read })),
  };
}

/** Records as columns, one element for each. */
function recordsOf(records: readonly queries.ContactExportNamedRecordsResult[]) {
  return {
    connectionIds: records.map(({ connectionId }) => connectionId),
    entityTypes: records.map(({ entityType }) => entityType),
    externalIds: records.map(({ externalId }) => externalId),
  };
}

/** Reads what a query finds, page after page. */
async function* pages<Params, Row extends object>(
  client: Queryable,
  query: PreparedQuery<Params, Row>,
  paramsAfter: (last: Row | undefined) => Params,
): AsyncGenerator<Row[]> {
  let last: Row | undefined;
  do {
    const rows: Row[] = await query.run(paramsAfter(last), client);
    yield rows;
    last = rows.length === pageSize ? rows.at(-1) : undefined;
  } while (last !== undefined);
}
