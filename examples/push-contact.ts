// Outbound: how a contact gets to the CRM.
import {
  type BatchEvent,
  type ContactExternalRecord,
  contactExternalIdResolve,
} from '@nurturehub/crm-schema';
import { undecided } from './conflicts.js';
import { readContact } from './contacts.js';
import { obstacleTo } from './creations.js';
import { type Crm, type CrmContact, CrmError, type CrmRecordKey, type LinkedRecord } from './crm.js';
import { failure, unlessFatal } from './errors.js';
import { type PushEvent, type Pushing, readRecord } from './pushing.js';
import {
  decisionOn,
  isAlive,
  isSameRecord,
  recordsOf,
  refusalOf,
  remoteFieldsOf,
  uuidIn,
} from './records.js';
import { listWaiting } from './waiting-pushes.js';

/** A contact to push, from an outbound change or a failure. */
export interface Push {
  contactId: string;
  changeVersion?: string;
  /** The failure's entity type: an event of the same type closes it. */
  entityType?: string;
}

/** Writes a contact to each of its records, or creates one, and adds the events. */
export async function pushContact(
  pushing: Pushing,
  crm: Crm,
  { contactId, changeVersion, entityType }: Push,
  events: BatchEvent[],
): Promise<void> {
  const { pool, run, checkLease } = pushing;
  // To replay the failure is a decision; another edit is not, and waits for it.
  if (
    changeVersion !== undefined &&
    (await listWaiting(pool, run, [contactId])).get(contactId)?.isUndecided
  ) {
    const [record] = await recordsOf(pool, run, contactId);
    events.push(undecided({ contactId, changeVersion }, record?.entityType ?? 'contact'));
    return;
  }
  // What the CRM would let us overwrite unseen is read first. Then the rule for conflicts decides, in take-page.ts.
  for (const record of (await recordsOf(pool, run, contactId)).filter(isAlive)) {
    if (crm.comparesVersions === true && record.remoteVersion !== null) continue;
    const settled = await readFirst(pushing, crm, contactId, record, { ifChanged: true });
    if (settled instanceof CrmError) {
      const { entityType, externalId } = record;
      const event = { direction: 'outbound', entityType, externalId, internalId: contactId } as const;
      events.push({ ...event, changeVersion, ...failure(settled) });
    }
    if (settled !== null) return;
  }
  const known = await recordsOf(pool, run, contactId);
  const fields = await readContact(pool, run.organisationId, contactId);
  // Now the ids are surely those of this run's account, and not of one that took its place meanwhile.
  await checkLease();
  const alive = known.filter(isAlive);
  const event: PushEvent = {
    direction: 'outbound',
    entityType: entityType ?? known[0]?.entityType ?? 'contact',
    internalId: contactId,
    changeVersion,
  };
  // What was deleted at the CRM is not created again.
  if (fields === undefined || (known.length > 0 && alive.length === 0)) {
    events.push({ ...event, status: 'skipped' });
    return;
  }
  const obstacle = known.length === 0 ? await obstacleTo(pushing, crm, contactId, event) : null;
  if (obstacle !== null) {
    events.push(obstacle);
    return;
  }
  const contact = { contactId, ...fields };
  // The last event of a contact decides whether it is pushed again, so those that failed come last.
  const failed: BatchEvent[] = [];
  try {
    for (const record of alive.length > 0 ? alive : [null]) {
      const first = await write(pushing, crm, contact, record, event);
      const { unread } = first;
      let { pushed } = first;
      if (unread !== undefined) {
        // Somebody may have edited it since it was read or created: the same rule decides.
        const settled = await readFirst(pushing, crm, contactId, unread, {
          ifChanged: false,
          isOurs: record === null,
        });
        if (settled !== null) {
          failed.push(...(settled instanceof CrmError ? [failureOf(event, record, settled)] : settled));
          return;
        }
        const again = (await recordsOf(pool, run, contactId)).find(
          (each) => isAlive(each) && isSameRecord(unread, each),
        );
        // The contact may have taken what is there.
        const latest = await readContact(pool, run.organisationId, contactId);
        if (again !== undefined && latest !== undefined)
          ({ pushed } = await write(pushing, crm, { contactId, ...latest }, again, event));
        // As after a merge during which the record was read, and which was undone.
        else if (
          again === undefined &&
          (await contactExternalIdResolve(pool, { ...run, ...unread })) !== null
        )
          pushed = failureOf(event, record, linkedToAnother);
      }
      (pushed.status === 'error' ? failed : events).push(pushed);
    }
  } catch (error) {
    // Some records are written, the others not: the contact is pushed again.
    if (error instanceof CrmError && events.at(-1)?.internalId === contactId)
      failed.push({ ...event, status: 'error', error: { ...error.toSyncError(), retryable: true } });
    throw error;
  } finally {
    events.push(...failed);
  }
}

/**
 * Reads a record before it is overwritten, and applies what somebody has changed in it. Returns null if the push goes on;
 * the error if it could not be read; or else the failures of the contact that a person has to decide.
 */
async function readFirst(
  pushing: Pushing,
  crm: Crm,
  contactId: string,
  { entityType, externalId }: CrmRecordKey,
  { ifChanged, isOurs = false }: { ifChanged: boolean; isOurs?: boolean },
): Promise<BatchEvent[] | CrmError | null> {
  const { pool, run, take } = pushing;
  const found = await readRecord(pushing, crm, { entityType, externalId });
  // Whether the CRM will show it again, the write says.
  if (found === null) return null;
  // What is there is not known, so that it must not be overwritten.
  if (found instanceof CrmError) return found;
  if (isOurs && uuidIn(found.reference) !== contactId) return anothers;
  // Whatever its time: a clock at the CRM may have been ahead.
  const read = { ...found, isCurrent: true };
  // Nobody has changed it since it was last read or pushed.
  if (ifChanged && (await decisionOn(pool, run, read)) !== 'changed') return null;
  const events = await take(read);
  // An edit of theirs that is lost if ours is written over it.
  const isRefusedHere = events.some(
    (event) => event.direction === 'inbound' && event.status === 'error' && event.externalId === externalId,
  );
  if (isRefusedHere) return notStored;
  const settled = events.filter(
    ({ direction, internalId }) => direction === 'outbound' && internalId === contactId,
  );
  // Its change was cleared with the record.
  return settled.length === 0
    ? null
    : settled.flatMap((event) => (event.status === 'error' ? [{ ...event, changeVersion: null }] : []));
}

const anothers = new CrmError(
  'conflict',
  'The CRM has a record for the contact that does not carry its reference: link it, then replay this failure.',
  { retryable: false },
);

const notStored = new CrmError(
  'conflict',
  'The record was edited at the CRM, and what it holds cannot be stored here: its own failure says why. Until it can, nothing is written over it.',
  { retryable: true },
);

const linkedToAnother = new CrmError(
  'conflict',
  'The record that has the reference of the contact is linked to another contact: re-point it, or remove the reference at the CRM, then replay this failure.',
  { retryable: false },
);

const notShown = new CrmError('not_found', 'The CRM does not show the record.', { retryable: true });

function failureOf(event: PushEvent, record: CrmRecordKey | null, error: CrmError): BatchEvent {
  const key = record && { entityType: record.entityType, externalId: record.externalId };
  return { ...event, ...key, ...failure(error) };
}

/** What became of a write. */
interface Written {
  pushed: BatchEvent;
  /** The record, if it was not written because somebody may have edited it. */
  unread?: CrmRecordKey;
}

/** Writes a contact to a record, or creates one. */
async function write(
  { ask }: Pushing,
  crm: Crm,
  contact: CrmContact,
  record: ContactExternalRecord | null,
  event: PushEvent,
): Promise<Written> {
  const linked: LinkedRecord | null = record && { ...record, version: record.remoteVersion };
  const written = await ask(() => crm.write(contact, linked)).catch(unlessFatal);
  const failed = (error: CrmError) => failureOf(event, record, error);
  if (written instanceof CrmError) {
    const isRefusedVersion = written.kind === 'conflict' && written.retryable;
    return { pushed: failed(written), ...(record !== null && isRefusedVersion ? { unread: record } : {}) };
  }
  // It waits as a failure: otherwise the old value would overwrite ours when the CRM shows the record again.
  if (written === null) return { pushed: failed(notShown) };
  if ('existing' in written) return { pushed: failed(notShown), unread: written.existing };
  const refusal = refusalOf(written, record?.entityType ?? written.entityType);
  if (refusal !== null) return { pushed: failed(refusal) };
  const pushed: BatchEvent = {
    ...event,
    entityType: written.entityType,
    externalId: written.externalId,
    status: 'success',
    // An update is linked when it is recorded, in pushed-links.ts: meanwhile, somebody may unlink the record.
    linksContact: record === null,
    ...remoteFieldsOf(written),
    basedOnVersion: linked?.version,
  };
  return { pushed };
}
