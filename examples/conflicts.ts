// What becomes of a person who was edited here and at the CRM. docs/sync-engine.md#conflicts has the rule.
import type { BatchEvent, ClaimedRun, WaitingChange } from '@nurturehub/crm-schema';
import type { CrmRecordKey } from './crm.js';

/** An inbound event about a record, before it is decided what becomes of it. */
type ReadEvent = CrmRecordKey & { direction: 'inbound'; internalId: string };

/**
 * The events of a record that is not applied here: ours is pushed, or a person decides.
 *
 * @param others the contact's other records at the CRM
 */
export function keepOurs<Event extends ReadEvent>(
  run: ClaimedRun,
  event: Event,
  push: WaitingChange,
  others: readonly CrmRecordKey[],
): BatchEvent[] {
  const seen: BatchEvent = { ...event, status: 'skipped', reason: 'conflict' };
  if (run.conflictWinner !== 'person') return [seen];
  // Retries of the same push under another entity type must stop, too.
  const retried = push.hasFailed ? others : [];
  const entityTypes = new Set([event, ...retried].map(({ entityType }) => entityType));
  return [seen, ...[...entityTypes].map((entityType) => undecided(push, entityType))];
}

/**
 * The event of a push that a person has to decide. Its code is what the schema knows it by: such a push is replayed and
 * dismissed alone, and a later edit waits with it (`WaitingChange.isUndecided`).
 */
export function undecided(
  push: Pick<WaitingChange, 'contactId' | 'changeVersion'>,
  entityType: string,
): BatchEvent {
  const message =
    'The person was edited here and at the CRM: replay this failure to push ours, or dismiss it to take theirs.';
  const error = { kind: 'conflict', code: 'edited_on_both_sides', retryable: false, message } as const;
  return { ...outbound(push), entityType, status: 'error', error };
}

/** The event of a push that is dropped because the CRM's record was applied here. */
export function dropOurs({ entityType, externalId }: CrmRecordKey, push: WaitingChange): BatchEvent {
  return { ...outbound(push), entityType, externalId, status: 'skipped', reason: 'conflict' };
}

function outbound({
  contactId: internalId,
  changeVersion,
}: Pick<WaitingChange, 'contactId' | 'changeVersion'>) {
  return { direction: 'outbound', internalId, changeVersion } as const;
}
