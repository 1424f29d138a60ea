// Inbound: what becomes of each record of a page, and how all of that is stored at once.
import {
  type BatchEvent,
  type ClaimedRun,
  type ContactExternalRecord,
  contactExternalIdLinkMany,
  externalRecordCheckMany,
  outboundChangeRecord,
  type RecordDecision,
  type WaitingChange,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { dropOurs, keepOurs } from './conflicts.js';
import {
  type ContactFields,
  fieldsOf,
  filled,
  hashOf,
  isSame,
  isSameOrCut,
  saysAllOf,
  updated,
} from './contact-fields.js';
import { type Contacts, insertContacts, updateContacts } from './contacts.js';
import type { CrmRecord } from './crm.js';
import {
  isAlive,
  isKnownContent,
  isSameRecord,
  isShown,
  type RemoteFields,
  recordsOfMany,
} from './records.js';
import { withAnothersReference, withCopiedReference } from './references.js';
import { closeAgreed } from './waiting-pushes.js';

/** The state of a page that is not recorded yet. */
export interface Page {
  client: pg.ClientBase;
  run: ClaimedRun;
  workerName: string;
  /** The contacts that it may concern, which are locked. */
  contacts: Contacts;
  /** The contacts that it links, by external id. */
  links: Map<string, string>;
  /** What waited to be pushed of the contacts before it, by contact id. */
  waiting: Map<string, WaitingChange>;
  /** The records of this page that have changed contacts, by contact id. */
  changedBy: Map<string, CrmRecord>;
}

/** A record of a page, and what is known of it. */
export interface Item {
  record: CrmRecord;
  remote: RemoteFields;
  decision: RecordDecision;
  /** The contact that it is, or will be. */
  contactId: string;
  /** Whether the contact was deleted here. */
  isOfDeletedContact: boolean;
  /** The deleted contact, if the record carries its id. */
  deletedContactId: string | null;
}

/** What becomes of a record. */
interface Outcome {
  events: BatchEvent[];
  /** Whether the contact is linked with the event. */
  isLinked?: boolean;
  /** What the contact becomes. */
  contact?: ContactFields | undefined;
  /** Whether what waits to be pushed of the contact still does. */
  isPushKept?: boolean;
  /** Whether the record is another role of the contact, such as landlord. */
  isOtherRole?: boolean;
  /** A push to close if all records of the contact have what it was to write. */
  closes?: WaitingChange | undefined;
}

/** A record, the other records of its contact at the CRM, and what becomes of it. */
interface Judged extends Item {
  others: ContactExternalRecord[];
  outcome: Outcome;
}

/** Applies records of different contacts, and returns their events. */
export async function applyRecords(page: Page, items: Item[]): Promise<BatchEvent[]> {
  const { client, run } = page;
  const known = items.map(({ contactId }) => contactId).filter((contactId) => page.contacts.has(contactId));
  const records = await recordsOfMany(client, run, known);
  const untouched = await untouchedOf(page, items);
  const anothers = await withAnothersReference(
    client,
    run,
    items.filter(({ contactId }) => page.waiting.has(contactId)),
  );
  const unlinked = items.filter(({ record, decision }) => decision.contactId === null && isShown(record));
  const copied = await withCopiedReference(
    client,
    run,
    unlinked.map(({ record, contactId }) => ({
      record,
      contact: page.contacts.get(contactId),
      others: records.get(contactId) ?? [],
    })),
  );
  const judged = items.map((item): Judged => {
    const all = records.get(item.contactId) ?? [];
    const others = all.filter((each) => !isSameRecord(each, item.record));
    const outcome = copied.has(item.record)
      ? copiedReference(item)
      : outcomeOf(page, item, others, {
          isUntouched: untouched.has(item),
          isAnothers: anothers.has(item.record),
        });
    return { ...item, others, outcome };
  });
  await store(page, judged);
  const closed = await closeAgreed(
    client,
    run,
    judged.map(({ record, others, outcome }) => ({ record, others, push: outcome.closes })),
  );
  for (const { record, contactId, outcome } of judged) {
    if (outcome.isLinked) page.links.set(record.externalId, contactId);
    if (outcome.contact === undefined) continue;
    page.contacts.set(contactId, outcome.contact);
    if (outcome.isPushKept) continue;
    page.waiting.delete(contactId);
    page.changedBy.set(contactId, record);
  }
  return [...judged.flatMap(({ outcome }) => outcome.events), ...closed];
}

/**
 * Those whose contact is still what the record last said: what waits to be pushed is for its other records, and nobody
 * here has edited it.
 */
async function untouchedOf({ client, run, contacts, waiting }: Page, items: Item[]): Promise<Set<Item>> {
  const edited = items.filter(
    ({ contactId, decision: { decision, hasNewContent } }) =>
      decision === 'changed' && hasNewContent && waiting.has(contactId) && contacts.has(contactId),
  );
  if (edited.length === 0) return new Set();
  const records = edited.map(({ record, remote, contactId }) => ({
    entityType: record.entityType,
    externalId: record.externalId,
    state: remote.remoteState,
    contentHash: hashOf(record, contacts.get(contactId)),
  }));
  const decisions = await externalRecordCheckMany(client, { ...run, records });
  return new Set(edited.filter((_, index) => isKnownContent(decisions[index]?.decision)));
}

function copiedReference({ record: { entityType, externalId }, remote }: Item): Outcome {
  const message =
    'The record has the reference of a contact with another name, who has a record already: link it to a contact, then replay this failure.';
  const event = { direction: 'inbound', entityType, externalId, ...remote } as const;
  return { events: [forAPerson(event, message)] };
}

/** Decides what becomes of a record. */
function outcomeOf(
  page: Page,
  item: Item,
  others: ContactExternalRecord[],
  { isUntouched, isAnothers }: { isUntouched: boolean; isAnothers: boolean },
): Outcome {
  const { record, remote, contactId, isOfDeletedContact, deletedContactId } = item;
  const { decision, hasNewContent, contactId: linkedTo } = item.decision;
  const { entityType, externalId } = record;
  const known = linkedTo ?? page.links.get(externalId) ?? null;
  const contact = page.contacts.get(contactId);
  const push = page.waiting.get(contactId);
  // What a record does not say may still be to be written.
  const agreed =
    push !== undefined && isSame(contact, record) && saysAllOf(contact, record) ? push : undefined;
  const event = {
    direction: 'inbound',
    entityType,
    externalId,
    internalId: known,
    ...remote,
  } as const;
  if (decision === 'older') return { events: [{ ...event, status: 'skipped', reason: decision }] };
  if (decision === 'echo' || decision === 'unchanged') {
    const events: BatchEvent[] = [{ ...event, status: 'skipped', reason: decision }];
    if (!isShown(record) || known === null || contact === undefined) return { events };
    // A field that has been added to those that sync.
    return push === undefined ? { events, contact: filled(contact, record) } : { events, closes: agreed };
  }
  if (decision === 'revived') {
    // CRMs use ids again: a person decides whether it is the same contact, and then replays the failure.
    const message = 'The record was deleted or merged at the CRM and is back: link it again, or unlink it.';
    return { events: [forAPerson(event, message)] };
  }
  // NurtureHub deleted the person, who must not come back with the next edit at the CRM. With the contact's id, the
  // database leaves out the record's if it has erased the person: it does not know the record.
  if (isOfDeletedContact)
    return { events: [{ ...event, internalId: deletedContactId, status: 'skipped', reason: 'erased' }] };
  // The link of a record that is gone stays, so that nothing creates the record again. So does what is known of the content
  // of a hidden one, which a success would void: once it is shown again, that tells whether somebody has edited it.
  if (!isShown(record)) {
    const isSuccess = known !== null && record.state !== 'hidden';
    return { events: [{ ...event, status: isSuccess ? 'success' : 'skipped' }] };
  }

  const linked = { ...event, internalId: contactId, linksContact: true };
  // Of the same type, the record is a copy: the link will be refused, and the contact must not change.
  const isCopy =
    others.some((each) => each.entityType === entityType) || [...page.links.values()].includes(contactId);
  if (known === null && isCopy) return { events: [{ ...linked, status: 'success' }] };
  const isOtherRole = known === null && others.length > 0;
  if (contact === undefined)
    return {
      events: [{ ...linked, status: 'success' }],
      isLinked: true,
      isOtherRole,
      contact: fieldsOf(record),
    };
  if (isSame(contact, record)) {
    const seen: BatchEvent =
      known === null
        ? { ...linked, status: 'success' }
        : { ...linked, status: 'skipped', reason: 'unchanged' };
    return { events: [seen], isLinked: true, isOtherRole, closes: agreed };
  }
  // The answer to its creation was lost, and nobody here has edited the contact since: somebody has at the CRM.
  const isEditedCreation =
    known === null &&
    others.length === 0 &&
    push?.hasFailed === true &&
    push.changeVersion === null &&
    !isSameOrCut(filled(contact, record) ?? contact, record);
  // Not pushed yet: without an edit at the CRM, ours is simply newer. But nobody here may have read the record before.
  if (push !== undefined && !hasNewContent && !push.awaitsTheirs && !isEditedCreation) {
    return {
      events: [{ ...linked, status: 'skipped', reason: 'pending_push' }],
      isLinked: true,
      isOtherRole,
      // What the push of another contact wrote is not this one's: the record was re-pointed meanwhile.
      contact: isAnothers ? undefined : filled(contact, record),
      isPushKept: true,
    };
  }
  if (push !== undefined && !isUntouched && page.run.conflictWinner !== 'crm')
    return { events: keepOurs(page.run, linked, push, others), isLinked: true, isOtherRole };
  return {
    events: [
      { ...linked, status: 'success' },
      ...(push === undefined || isUntouched ? [] : [dropOurs(record, push)]),
    ],
    isLinked: true,
    isOtherRole,
    contact: updated(contact, record),
  };
}

/** The failure of a record that is not applied until a person has decided. */
function forAPerson(event: Omit<BatchEvent, 'status' | 'reason'>, message: string): BatchEvent {
  return { ...event, status: 'error', error: { kind: 'conflict', retryable: false, message } };
}

/** Stores what becomes of the contacts of some records. */
async function store({ client, run, contacts }: Page, judged: Judged[]): Promise<void> {
  const { organisationId, connectionId, provider } = run;
  const links = judged
    .filter(({ outcome }) => outcome.isOtherRole)
    .map(({ record: { entityType, externalId }, contactId }) => ({
      provider,
      entityType,
      externalId,
      contactId,
    }));
  if (links.length > 0)
    await contactExternalIdLinkMany(client, { organisationId, links, ifContactTaken: 'alias' });
  const changed = judged.filter(({ outcome }) => outcome.contact !== undefined);
  const isNew = ({ contactId }: Judged) => !contacts.has(contactId);
  await insertContacts(client, organisationId, contactsOf(changed.filter(isNew)));
  await updateContacts(client, organisationId, contactsOf(changed.filter((each) => !isNew(each))));
  // The agency's other CRMs get the change as well, and so do the contact's other records at this one.
  const hasOthers = ({ others }: Judged) => others.some(isAlive);
  for (const [group, fromConnectionId] of [
    [changed.filter((each) => !hasOthers(each)), connectionId],
    [changed.filter(hasOthers), null],
  ] as const) {
    const contactIds = group.map(({ contactId }) => contactId);
    if (contactIds.length > 0)
      await outboundChangeRecord(client, { organisationId, contactIds, fromConnectionId });
  }
}

function contactsOf(judged: Judged[]): Contacts {
  return new Map(judged.map(({ contactId, outcome }) => [contactId, outcome.contact as ContactFields]));
}
