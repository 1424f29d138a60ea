// Inbound: applies records that the CRM has sent, in a number of statements that does not grow with the records.
import { randomUUID } from 'node:crypto';
import {
  type BatchEvent,
  type ClaimedRun,
  contactExternalIdLock,
  contactExternalIdResolveMany,
  contactMerge,
  externalRecordCheckMany,
  externalRecordMergeMany,
  outboundChangeRecord,
  providers,
  type RecordDecision,
  type ReferenceMeaning,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { applyRecords, type Item, type Page } from './apply-records.js';
import { lockContacts } from './contacts.js';
import type { CrmRecord } from './crm.js';
import { failure, isDataError, report } from './errors.js';
import {
  isSameRecord,
  isStorable,
  type RemoteFields,
  refusalOf,
  remoteFieldsOf,
  sentRecordOf,
  uuidIn,
} from './records.js';
import { contactNamedBy, meaningsOf } from './references.js';
import { listWaiting } from './waiting-pushes.js';

/**
 * Applies a page of records in the transaction that records it, and returns their events. Call it right after the
 * heartbeat.
 */
export async function takePage(
  client: pg.ClientBase,
  run: ClaimedRun,
  workerName: string,
  entityType: string,
  records: CrmRecord[],
): Promise<BatchEvent[]> {
  const { organisationId, provider } = run;
  const storable = records.filter((record) => refusalOf(record, entityType) === null);
  const isMerged = ({ state, mergedInto }: CrmRecord) => state === 'merged' && mergedInto != null;
  const merged = storable.filter(isMerged);
  // Copies from before a merge are not news after it.
  const mergedAt = new Map(
    storable.flatMap((record, index) => (isMerged(record) ? [[record.externalId, index]] : [])),
  );
  const others = storable.filter(
    (record, index) => !isMerged(record) && index >= (mergedAt.get(record.externalId) ?? 0),
  );
  // The ids first, then the contacts: everybody locks in this order. What is found now stays true until the
  // end of the transaction. Merging two contacts moves their ids at all CRMs.
  await contactExternalIdLock(client, {
    organisationId,
    providers: merged.length > 0 ? providers : [provider],
  });
  const matched = await matchesOf(client, run, entityType, storable);
  const unmatched = others.filter(({ externalId }) => !matched.has(externalId));
  let meanings = await meaningsOf(client, run, unmatched);
  const contacts = await lockContacts(client, organisationId, [
    ...matched.values(),
    ...[...meanings.values()].map(({ contactId }) => contactId),
  ]);
  const page: Page = {
    client,
    run,
    workerName,
    contacts,
    links: new Map(),
    // With the contacts locked: ours is newer than what the CRM sends.
    waiting: await listWaiting(client, run, contacts.keys()),
    changedBy: new Map(),
  };
  const events = records.flatMap((record) => refused(record, entityType));
  for (const record of merged) {
    events.push(...((await unlessBroken(client, true, () => merge(page, record))) ?? [notStored(record)]));
  }
  if (merged.length > 0) meanings = await meaningsOf(client, run, unmatched);
  for (const round of roundsOf(await itemsOf(page, others, meanings))) {
    await listChanged(page, round);
    events.push(...(await applyRound(page, round)));
  }
  return events;
}

/** The contacts that records are linked to, and those that they were merged into, by external id. */
function matchesOf(
  client: pg.ClientBase,
  run: ClaimedRun,
  entityType: string,
  records: CrmRecord[],
): Promise<Map<string, string>> {
  const externalIds = records.flatMap(({ externalId, mergedInto }) => [
    externalId,
    ...(isStorable(mergedInto) ? [mergedInto] : []),
  ]);
  return contactExternalIdResolveMany(client, { ...run, entityType, externalIds });
}

/** What each record is to the contact that it concerns. */
async function itemsOf(
  page: Page,
  records: CrmRecord[],
  meanings: Map<CrmRecord, ReferenceMeaning>,
): Promise<Item[]> {
  const { client, run, contacts } = page;
  const remote = records.map(remoteFieldsOf);
  const decisions = await externalRecordCheckMany(client, {
    ...run,
    records: records.map((record, index) => sentRecordOf(record, remote[index])),
  });
  /** The contacts to create, by the id of the record: a page may have several copies of one. */
  const created = new Map<string, string>();
  return records.map((record, index) => {
    const decision = decisions[index] as RecordDecision;
    const { externalId } = record;
    const named = contactNamedBy(meanings.get(record), (contactId) => contacts.has(contactId));
    // One that was merged into another is not deleted: it is that one.
    const isMerged = named !== null && named !== uuidIn(record.reference);
    const isOfDeletedContact = named === 'gone' || (decision.decision === 'contact_deleted' && !isMerged);
    if (!created.has(externalId)) created.set(externalId, randomUUID());
    const contactId = decision.contactId ?? (named === 'gone' ? null : named) ?? created.get(externalId);
    return {
      record,
      remote: remote[index] as RemoteFields,
      decision,
      contactId: contactId as string,
      isOfDeletedContact,
      deletedContactId: named === 'gone' ? (meanings.get(record)?.contactId ?? null) : null,
    };
  });
}

/** Divides records into rounds, so that none has two of one contact: what the first one does, the next one finds. */
function roundsOf(items: Item[]): Item[][] {
  const rounds: Item[][] = [];
  const counts = new Map<string, number>();
  for (const item of items) {
    const count = counts.get(item.contactId) ?? 0;
    counts.set(item.contactId, count + 1);
    rounds[count] ??= [];
    rounds[count].push(item);
  }
  return rounds;
}

/** What another record has changed on this page waits to be written to these: if they were edited as well, it is a conflict. */
async function listChanged(page: Page, items: Item[]): Promise<void> {
  const changed = items.filter(({ contactId, record }) => {
    const other = page.changedBy.get(contactId);
    return other !== undefined && !isSameRecord(other, record);
  });
  const contactIds = changed.map(({ contactId }) => contactId);
  for (const [contactId, push] of await listWaiting(page.client, page.run, contactIds))
    page.waiting.set(contactId, push);
}

/** Applies the records of a round. One that cannot be stored does not stop the others: it is found by halving. */
async function applyRound(page: Page, items: Item[]): Promise<BatchEvent[]> {
  const [first] = items as [Item];
  const applied = await unlessBroken(page.client, items.length === 1, () => applyRecords(page, items));
  if (applied !== undefined) return applied;
  if (items.length === 1) return [notStored(first.record)];
  const middle = Math.ceil(items.length / 2);
  return [
    ...(await applyRound(page, items.slice(0, middle))),
    ...(await applyRound(page, items.slice(middle))),
  ];
}

/** Records that the CRM has merged a record into another. If they are two contacts here, merges those. */
async function merge(page: Page, record: CrmRecord): Promise<BatchEvent[]> {
  const { client } = page;
  const { organisationId, provider } = page.run;
  const { entityType, externalId, mergedInto } = record;
  const change = {
    organisationId,
    changedBy: page.workerName,
    reason: 'The CRM merged the records.',
  };
  const merges = [
    { from: { entityType, externalId }, into: { entityType, externalId: mergedInto as string } },
  ];
  let [result] = await externalRecordMergeMany(client, { ...change, provider, merges });
  if (result?.outcome === 'contacts_differ') {
    const { contactId: intoContactId, otherContactId: fromContactId } = result;
    await contactMerge(client, { ...change, fromContactId, intoContactId });
    // A product moves what else it keeps of the contact first, such as notes and viewings.
    await client.query('delete from contacts where organisation_id = $1 and id = $2', [
      organisationId,
      fromContactId,
    ]);
    await outboundChangeRecord(client, { organisationId, contactIds: [intoContactId] });
    [result] = await externalRecordMergeMany(client, { ...change, provider, merges });
    page.contacts.delete(fromContactId);
  }
  const event = { direction: 'inbound', entityType, externalId } as const;
  if (result?.outcome !== 'merged') return [{ ...event, status: 'skipped', reason: 'merged' }];
  return [{ ...event, internalId: result.contactId, status: 'success' }];
}

/** Does some work, and undoes it if the data is at fault: then it returns undefined. */
async function unlessBroken<Result>(
  client: pg.ClientBase,
  isReported: boolean,
  work: () => Promise<Result>,
): Promise<Result | undefined> {
  await client.query('savepoint records');
  try {
    const result = await work();
    await client.query('release savepoint records');
    return result;
  } catch (error) {
    if (!isDataError(error)) throw error;
    if (isReported) report(error);
    await client.query('rollback to savepoint records; release savepoint records');
    return undefined;
  }
}

/** The event of a record of which nothing can be recorded; none if something can. */
function refused(record: CrmRecord, entityType: string): BatchEvent[] {
  const refusal = refusalOf(record, entityType);
  if (refusal === null) return [];
  const externalId = isStorable(record.externalId) ? record.externalId : null;
  return [{ direction: 'inbound', entityType, externalId, ...failure(refusal) }];
}

function notStored({ entityType, externalId }: CrmRecord): BatchEvent {
  const message = 'The record could not be stored. See the log of the worker.';
  const error = { kind: 'internal', retryable: true, message } as const;
  return { direction: 'inbound', entityType, externalId, status: 'error', error };
}
