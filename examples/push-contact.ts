// Outbound: how a contact gets to the CRM.
import type { BatchEvent, ClaimedRun, ContactExternalRecord } from '@nurturehub/crm-schema';
import type pg from 'pg';
import { undecided } from './conflicts.js';
import { readContact } from './contacts.js';
import {
  type Crm,
  type CrmContact,
  CrmError,
  type CrmRecord,
  type CrmRecordKey,
  type LinkedRecord,
} from './crm.js';
import { failure, unlessFatal } from './errors.js';
import {
  decisionOn,
  isAlive,
  isSameRecord,
  recordsOf,
  refusalOf,
  remoteFieldsOf,
  uuidIn,
} from './records.js';
import { recordsTakenFrom } from './references.js';
import { listWaiting } from './waiting-pushes.js';

/** What a push needs of the run. */
export interface Pushing {
  pool: pg.Pool;
  run: ClaimedRun;
  /** Sends a request to the CRM while the lease is live. */
  ask<Answer>(request: () => Promise<Answer>): Promise<Answer>;
  /** Throws if the lease is lost. */
  checkLease(): Promise<void>;
  /** Applies a record that was read, and records its events, which it returns. */
  take(record: CrmRecord): Promise<BatchEvent[]>;
}

/** A contact to push, from an outbound change or a failure. */
export interface Push {
  contactId: string;
  changeVersion?: string;
  /** The failure's entity type: an event of the same type closes it. */
  entityType?: string;
}

/** What is known of a push before the CRM has answered. */
interface PushEvent {
  direction: 'outbound';
  entityType: string;
  internalId: string;
  changeVersion: string | undefined;
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
  const refusal = known.length === 0 ? await takenStill(pushing, crm, contactId) : null;
  if (refusal !== null) {
    events.push({ ...event, ...failure(refusal) });
    return;
  }
  const contact = { contactId, ...fields };
  // The last event of a contact decides whether it is pushed again, so those that failed come last.
  const failed: BatchEvent[] = [];
  try {
    for (const record of alive.length > 0 ? alive : [null]) {
      let pushed = await write(pushing, crm, contact, record, event);
      if (record !== null && isRefusedVersion(pushed)) {
        // Somebody has edited it since it was read: the same rule decides.
        const settled = await readFirst(pushing, crm, contactId, record, { ifChanged: false });
        if (settled !== null) {
          failed.push(...(settled instanceof CrmError ? [pushed] : settled));
          return;
        }
        const again = (await recordsOf(pool, run, contactId)).find(
          (each) => isAlive(each) && isSameRecord(record, each),
        );
        // The contact may have taken what is there.
        const latest = await readContact(pool, run.organisationId, contactId);
        if (again !== undefined && latest !== undefined)
          pushed = await write(pushing, crm, { contactId, ...latest }, again, event);
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
  { entityType, externalId }: ContactExternalRecord,
  { ifChanged }: { ifChanged: boolean },
): Promise<BatchEvent[] | CrmError | null> {
  const { pool, run, take } = pushing;
  const found = await readRecord(pushing, crm, { entityType, externalId });
  // Whether the CRM will show it again, the write says.
  if (found === null) return null;
  // What is there is not known, so that it must not be overwritten.
  if (found instanceof CrmError) return found;
  // Whatever its time: a clock at the CRM may have been ahead.
  const read = { ...found, isCurrent: true };
  // Nobody has changed it since it was last read or pushed.
  if (ifChanged && (await decisionOn(pool, run, read)) !== 'changed') return null;
  const events = await take(read);
  const settled = events.filter(
    ({ direction, internalId }) => direction === 'outbound' && internalId === contactId,
  );
  // Its change was cleared with the record.
  return settled.length === 0
    ? null
    : settled.flatMap((event) => (event.status === 'error' ? [{ ...event, changeVersion: null }] : []));
}

/**
 * Why a contact must not be created: a record that a person took from it still carries its reference. The creation would
 * find that record, and overwrite somebody else.
 */
async function takenStill(pushing: Pushing, crm: Crm, contactId: string): Promise<CrmError | null> {
  const { pool, run } = pushing;
  for (const { entityType, externalId } of await recordsTakenFrom(pool, run, contactId)) {
    const found = await readRecord(pushing, crm, { entityType, externalId });
    if (found instanceof CrmError) return found;
    if (found === null || uuidIn(found.reference) !== contactId) continue;
    const message =
      'A record that was unlinked or re-pointed from the contact has its reference at the CRM: remove it there, then replay this failure.';
    return new CrmError('conflict', message, { retryable: false });
  }
  return null;
}

/** Reads a record. Returns an error of this record, also if nothing could be recorded of the answer. */
async function readRecord(
  { ask }: Pushing,
  crm: Crm,
  { entityType, externalId }: CrmRecordKey,
): Promise<CrmRecord | CrmError | null> {
  const found = await ask(() => crm.read(entityType, externalId)).catch(unlessFatal);
  if (found === null || found instanceof CrmError) return found;
  return refusalOf(found, entityType) ?? found;
}

const notShown = new CrmError('not_found', 'The CRM does not show the record.', { retryable: true });

/** Writes a contact to a record, or creates one. Returns the event of the push. */
async function write(
  { ask }: Pushing,
  crm: Crm,
  contact: CrmContact,
  record: ContactExternalRecord | null,
  event: PushEvent,
): Promise<BatchEvent> {
  const linked: LinkedRecord | null = record && { ...record, version: record.remoteVersion };
  const written = await ask(() => crm.write(contact, linked)).catch(unlessFatal);
  const key = record && { entityType: record.entityType, externalId: record.externalId };
  if (written instanceof CrmError) return { ...event, ...key, ...failure(written) };
  // It waits as a failure: otherwise the old value would overwrite ours when the CRM shows the record again.
  if (written === null) return { ...event, ...key, ...failure(notShown) };
  const refusal = refusalOf(written, record?.entityType ?? written.entityType);
  if (refusal !== null) return { ...event, ...key, ...failure(refusal) };
  return {
    ...event,
    entityType: written.entityType,
    externalId: written.externalId,
    status: 'success',
    linksContact: true,
    ...remoteFieldsOf(written),
    basedOnVersion: linked?.version,
  };
}

/** Whether the CRM has refused a push because the record has another version. */
function isRefusedVersion({ status, error }: BatchEvent): boolean {
  return status === 'error' && error?.kind === 'conflict' && error.retryable;
}
