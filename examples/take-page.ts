// Inbound: what becomes of a page of records that the CRM has sent.
import { randomUUID } from 'node:crypto';
import {
  type BatchEvent,
  type ClaimedRun,
  contactExternalIdLinkMany,
  contactExternalIdLock,
  contactExternalIdMatchMany,
  contactMerge,
  externalRecordCheckMany,
  externalRecordMergeMany,
  outboundChangeRecord,
  providers,
  type RecordDecision,
  type WaitingChange,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { dropOurs, keepOurs } from './conflicts.js';
import type { CrmRecord } from './crm.js';
import { isDataError, report } from './errors.js';
import { isAlive, isSame, isStorable, recordsOf, remoteFieldsOf, sentRecordOf, uuidIn } from './records.js';
import { contactNamedBy } from './references.js';
import { closeIfAgreed, listWaiting } from './waiting-pushes.js';

/** The state of a page that is not recorded yet. */
interface Page {
  client: pg.ClientBase;
  run: ClaimedRun;
  workerName: string;
  /** The names of contacts, by contact id. */
  names: Map<string, string>;
  /** The contacts that the page links, by external id. */
  links: Map<string, string>;
  /** What waited to be pushed of the contacts before the page, by contact id. */
  waiting: Map<string, WaitingChange>;
}

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
  const [broken, storable] = partition(records, ({ externalId }) => !isStorable(externalId));
  const [merged, others] = partition(
    storable,
    ({ state, mergedInto }) => state === 'merged' && mergedInto != null,
  );
  // The ids first, then the contacts: everybody locks in this order. What is found now stays true until the
  // end of the transaction. Merging two contacts moves their ids at all CRMs.
  await contactExternalIdLock(client, {
    organisationId,
    providers: merged.length > 0 ? providers : [provider],
  });
  const names = await lockContacts(client, run, entityType, storable);
  const page: Page = {
    client,
    run,
    workerName,
    names,
    links: new Map(),
    // With the contacts locked: ours is newer than what the CRM sends.
    waiting: await listWaiting(client, run, names.keys()),
  };
  const events: BatchEvent[] = broken.map(() => {
    const message = 'The CRM sent a record id that cannot be stored.';
    const error = { kind: 'validation', retryable: false, message } as const;
    return { direction: 'inbound', entityType, status: 'error', error };
  });
  for (const record of merged) {
    events.push(...(await storing(client, record, () => merge(page, record))));
  }
  const decisions = await externalRecordCheckMany(client, {
    organisationId,
    provider,
    records: others.map(sentRecordOf),
  });
  for (const [index, record] of others.entries()) {
    const decision = decisions[index] as RecordDecision;
    events.push(...(await storing(client, record, () => apply(page, record, decision))));
  }
  return events;
}

/** Locks the contacts that a page is about, in the order of their ids. Returns their names. */
async function lockContacts(
  client: pg.ClientBase,
  run: ClaimedRun,
  entityType: string,
  records: CrmRecord[],
): Promise<Page['names']> {
  const externalIds = records.flatMap(({ externalId, mergedInto }) => [
    externalId,
    ...(isStorable(mergedInto) ? [mergedInto] : []),
  ]);
  const matches = await contactExternalIdMatchMany(client, { ...run, entityType, externalIds });
  const contactIds = [
    ...matches.map(({ contactId }) => contactId),
    ...records.map(({ reference }) => uuidIn(reference)),
  ];
  const { rows } = await client.query(
    'select id, name from contacts where organisation_id = $1 and id = any($2) order by id for no key update',
    [run.organisationId, contactIds.filter((id) => id !== null)],
  );
  return new Map(rows.map(({ id, name }) => [id, name]));
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
    page.names.delete(fromContactId);
    [result] = await externalRecordMergeMany(client, { ...change, provider, merges });
  }
  const event = { direction: 'inbound', entityType, externalId } as const;
  if (result?.outcome !== 'merged') return [{ ...event, status: 'skipped', reason: 'merged' }];
  return [{ ...event, internalId: result.contactId, status: 'success' }];
}

/** Updates a contact from the CRM's record, and returns the events. */
async function apply(
  page: Page,
  record: CrmRecord,
  { contactId: linkedTo, decision, hasNewContent }: RecordDecision,
): Promise<BatchEvent[]> {
  const { client } = page;
  const { organisationId, connectionId, provider } = page.run;
  const { entityType, externalId, name, state } = record;
  const known = linkedTo ?? page.links.get(externalId) ?? null;
  const event = {
    direction: 'inbound',
    entityType,
    externalId,
    internalId: known,
    ...remoteFieldsOf(record),
  } as const;
  const isShown = state === 'active' || state === 'archived';
  if (decision === 'older') return [{ ...event, status: 'skipped', reason: decision }];
  if (decision === 'echo' || decision === 'unchanged') {
    const isAgreed = isShown && known !== null && isSame(page.names.get(known), name);
    const closing = isAgreed ? await closeIfAgreed(client, page.run, page.waiting.get(known), record) : [];
    return [{ ...event, status: 'skipped', reason: decision }, ...closing];
  }
  // NurtureHub deleted the person, who must not come back with the next edit at the CRM.
  if (decision === 'contact_deleted') return [{ ...event, status: 'skipped', reason: 'erased' }];
  if (decision === 'revived') {
    // CRMs use ids again: a person decides whether it is the same contact, and then replays the failure.
    const message = 'The record was deleted or merged at the CRM and is back: link it again, or unlink it.';
    return [{ ...event, status: 'error', error: { kind: 'conflict', retryable: false, message } }];
  }
  // The link of a record that is gone stays, so that nothing creates the record again.
  if (!isShown) return [{ ...event, status: known === null ? 'skipped' : 'success' }];

  const named =
    known ?? (await contactNamedBy(client, page.run, record, (contactId) => page.names.has(contactId)));
  if (named === 'gone') return [{ ...event, status: 'skipped', reason: 'erased' }];
  const contactId = named ?? randomUUID();
  const isNew = !page.names.has(contactId);
  const push = page.waiting.get(contactId);
  const linked = { ...event, internalId: contactId, linksContact: true };
  const siblings = isNew ? [] : await recordsOf(client, page.run, contactId, record);
  // Of the same type, the record is a copy: the link will be refused, and the contact must not change.
  const isCopy =
    siblings.some((each) => each.entityType === entityType) || [...page.links.values()].includes(contactId);
  if (known === null && isCopy) return [{ ...linked, status: 'success' }];
  if (known === null && siblings.length > 0) {
    // Of another type, it is another role of the person, such as landlord.
    const link = { provider, entityType, externalId, contactId };
    await contactExternalIdLinkMany(client, { organisationId, links: [link], ifContactTaken: 'alias' });
  }
  if (isNew) {
    await client.query('insert into contacts (organisation_id, id, name) values ($1, $2, $3)', [
      organisationId,
      contactId,
      name,
    ]);
  } else if (isSame(page.names.get(contactId), name)) {
    page.links.set(externalId, contactId);
    const closing = await closeIfAgreed(client, page.run, push, record);
    return known === null
      ? [{ ...linked, status: 'success' }, ...closing]
      : [{ ...linked, status: 'skipped', reason: 'unchanged' }, ...closing];
  } else {
    // Not pushed yet: without an edit at the CRM, ours is simply newer.
    if (push !== undefined && !(hasNewContent && page.run.conflictWinner === 'crm')) {
      page.links.set(externalId, contactId);
      if (!hasNewContent) return [{ ...linked, status: 'skipped', reason: 'pending_push' }];
      return keepOurs(client, page.run, linked, push);
    }
    await client.query('update contacts set name = $3 where organisation_id = $1 and id = $2', [
      organisationId,
      contactId,
      name,
    ]);
  }
  // The agency's other CRMs get the change as well, and so do the contact's other records at this one.
  await outboundChangeRecord(client, {
    organisationId,
    contactIds: [contactId],
    fromConnectionId: siblings.some(isAlive) ? null : connectionId,
  });
  page.links.set(externalId, contactId);
  page.names.set(contactId, name);
  page.waiting.delete(contactId);
  return [{ ...linked, status: 'success' }, ...(push === undefined ? [] : [dropOurs(record, push)])];
}

/** Stores a record, and returns its events, or an error event: a broken record does not stop the others. */
async function storing(
  client: pg.ClientBase,
  { entityType, externalId }: CrmRecord,
  store: () => Promise<BatchEvent[]>,
): Promise<BatchEvent[]> {
  await client.query('savepoint record');
  try {
    const events = await store();
    await client.query('release savepoint record');
    return events;
  } catch (error) {
    if (!isDataError(error)) throw error;
    report(error);
    await client.query('rollback to savepoint record; release savepoint record');
    const message = 'The record could not be stored. See the log of the worker.';
    const failed = { kind: 'internal', retryable: true, message } as const;
    return [{ direction: 'inbound', entityType, externalId, status: 'error', error: failed }];
  }
}

/** Those that match, and the others. */
function partition<Item>(items: readonly Item[], matches: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(matches), items.filter((item) => !matches(item))];
}
