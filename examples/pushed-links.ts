// Outbound: what pushes say of the links of their records, when they are recorded.
import {
  type BatchEvent,
  type ClaimedRun,
  contactExternalIdLock,
  contactExternalIdResolveMany,
} from '@nurturehub/crm-schema';
import type pg from 'pg';
import { lockContacts } from './contacts.js';
import { CrmError } from './crm.js';
import { failure } from './errors.js';

/**
 * The events of pushes, in the transaction that records them. The record of each update stays linked; one that was
 * unlinked meanwhile is not linked again.
 */
export async function withLinks(
  client: pg.ClientBase,
  run: ClaimedRun,
  events: readonly BatchEvent[],
): Promise<BatchEvent[]> {
  const { organisationId, provider } = run;
  const isUpdate = ({ status, linksContact }: BatchEvent) => status === 'success' && linksContact === false;
  const updates = events.filter(isUpdate);
  if (updates.length === 0) return [...events];
  await contactExternalIdLock(client, { organisationId, providers: [provider] });
  const gone = new Set<BatchEvent>();
  for (const entityType of new Set(updates.map((event) => event.entityType))) {
    const ofType = updates.filter((event) => event.entityType === entityType);
    const externalIds = ofType.map(({ externalId }) => externalId as string);
    const linked = await contactExternalIdResolveMany(client, { ...run, entityType, externalIds });
    for (const event of ofType) if (!linked.has(event.externalId as string)) gone.add(event);
  }
  // Of a contact that was deleted, the record is noted as such.
  const contacts = await lockContacts(
    client,
    organisationId,
    [...gone].map(({ internalId }) => internalId as string),
  );
  return events.map((event) => {
    if (!isUpdate(event)) return event;
    const { direction, entityType, externalId, internalId, changeVersion } = event;
    if (!gone.has(event) || !contacts.has(internalId as string)) return { ...event, linksContact: true };
    return { direction, entityType, externalId, internalId, changeVersion, ...failure(unlinked) };
  });
}

const unlinked = new CrmError(
  'conflict',
  'The record was unlinked while the contact was written to it: correct the record at the CRM, then replay this failure.',
  { retryable: false },
);
