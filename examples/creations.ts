// Outbound: what is in the way of creating a record for a contact that has none.
import type { BatchEvent } from '@nurturehub/crm-schema';
import { type Crm, CrmError } from './crm.js';
import { failure } from './errors.js';
import { type PushEvent, type Pushing, readRecord } from './pushing.js';
import { decisionOn, uuidIn } from './records.js';
import { formerRecordsOf } from './references.js';

/** The event of a push that must not create a record; null if it may. */
export async function obstacleTo(
  pushing: Pushing,
  crm: Crm,
  contactId: string,
  event: PushEvent,
): Promise<BatchEvent | null> {
  const { isMerged, taken } = await formerRecordsOf(pushing.pool, pushing.run, contactId);
  // The person's records are those of the contact that it was merged into.
  if (isMerged) return { ...event, status: 'skipped', reason: 'merged' };
  for (const { entityType, externalId, isOfDeleted } of taken) {
    const found = await readRecord(pushing, crm, { entityType, externalId });
    if (found instanceof CrmError) return { ...event, ...failure(found) };
    if (found === null || found.state === 'deleted' || found.state === 'merged') continue;
    const isInTheWay = isOfDeleted
      ? (await decisionOn(pushing.pool, pushing.run, found)) === 'contact_deleted'
      : uuidIn(found.reference) === contactId;
    if (!isInTheWay) continue;
    const message = isOfDeleted
      ? 'The contact was deleted and inserted again with its id, and its record is still there: link it again, then replay this failure to push ours, or dismiss it to take theirs.'
      : 'A record that was unlinked or re-pointed from the contact has its reference at the CRM: remove it there, then replay this failure.';
    return { ...event, ...failure(new CrmError('conflict', message, { retryable: false })) };
  }
  return null;
}
