// Outbound: how a contact gets to the CRM.
import type { BatchEvent, ClaimedRun, ContactExternalRecord } from '@nurturehub/crm-schema';
import type pg from 'pg';
import { type Crm, type CrmContact, CrmError, type LinkedRecord } from './crm.js';
import { failure, unlessFatal } from './errors.js';
import { isAlive, recordsOf, remoteFieldsOf } from './records.js';

/** What a push needs of the run. */
export interface Pushing {
  pool: pg.Pool;
  run: ClaimedRun;
  /** Sends a request to the CRM while the lease is live. */
  ask<Answer>(request: () => Promise<Answer>): Promise<Answer>;
  /** Throws if the lease is lost. */
  checkLease(): Promise<void>;
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
  { pool, run, ask, checkLease }: Pushing,
  crm: Crm,
  { contactId, changeVersion, entityType }: Push,
  events: BatchEvent[],
): Promise<void> {
  const known = await recordsOf(pool, run, contactId);
  const { rows } = await pool.query('select name from contacts where organisation_id = $1 and id = $2', [
    run.organisationId,
    contactId,
  ]);
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
  if (rows.length === 0 || (known.length > 0 && alive.length === 0)) {
    events.push({ ...event, status: 'skipped' });
    return;
  }
  const contact = { contactId, name: rows[0].name };
  // The last event of a contact decides whether it is pushed again, so those that failed come last.
  const failed: BatchEvent[] = [];
  try {
    for (const record of alive.length > 0 ? alive : [null]) {
      const pushed = await write(ask, crm, contact, record, event);
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

/** Writes a contact to a record, or creates one. Returns the event of the push. */
async function write(
  ask: Pushing['ask'],
  crm: Crm,
  contact: CrmContact,
  record: ContactExternalRecord | null,
  event: PushEvent,
): Promise<BatchEvent> {
  const linked: LinkedRecord | null = record && { ...record, version: record.remoteVersion };
  const written = await ask(() => crm.write(contact, linked)).catch(unlessFatal);
  const key = record && { entityType: record.entityType, externalId: record.externalId };
  if (written instanceof CrmError) return { ...event, ...key, ...failure(written) };
  if (written === null) return { ...event, ...key, status: 'skipped', remoteState: key && 'hidden' };
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
