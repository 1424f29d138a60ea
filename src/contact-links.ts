import { CrmSchemaError } from './errors.js';
import { checkRecord, type ExternalRecord } from './external-records.js';
import * as queries from './generated/contact_external_ids.js';
import type { Queryable } from './prepared-query.js';
import { checkUuid, refuse } from './validation.js';

/** A contact and a record that means it. */
export interface ContactLink extends ExternalRecord {
  contactId: string;
}

/** An external id that moves from one contact to another. */
export interface ContactMove extends ExternalRecord {
  fromContactId: string;
  toContactId: string;
}

/**
 * What became of a link. A conflict concerns that record alone: `external_id_taken` says by which
 * contact, `contact_taken` which external id the contact already has at that provider.
 */
export type LinkOutcome =
  | { outcome: 'linked' | 'already_linked' }
  | { outcome: 'external_id_taken'; linkedContactId: string }
  | { outcome: 'contact_taken'; linkedExternalId: string };

/** How often links that collide with others being made at that very moment are looked at again. */
const maxAttempts = 5;

/**
 * Links contacts to external ids. A link that is there already is confirmed (`lastSeenAt`).
 *
 * @returns the outcome of each link, in order; a conflict stops none of the others
 * @throws CrmSchemaError `wrong_tenant` with `rowIndex` if the organisation has no such contact, or
 *   `invalid_input`; then nothing is linked
 */
export async function contactExternalIdLinkMany(
  client: Queryable,
  params: { organisationId: string; links: readonly ContactLink[] },
): Promise<LinkOutcome[]> {
  const { organisationId, links } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  links.forEach(checkLink);
  const outcomes = new Array<LinkOutcome>(links.length);
  let open = links.map((_, index) => index);
  for (let attempt = 1; open.length > 0; attempt += 1) {
    if (attempt > maxAttempts) {
      throw new CrmSchemaError('mapping_changed', 'Others keep changing the same links: try again.');
    }
    const batch = open.map((index) => links[index] as ContactLink);
    const rows = await queries.contactExternalIdLink.run(
      { organisationId, ...columns(batch), contactIds: batch.map(({ contactId }) => contactId) },
      client,
    );
    const undecided: number[] = [];
    for (const row of rows) {
      const index = open[row.position - 1] as number;
      if (row.outcome === 'retry') undecided.push(index);
      else outcomes[index] = linkOutcome(row, index, (links[index] as ContactLink).contactId);
    }
    open = undecided;
  }
  return outcomes;
}

/**
 * Links one contact to an external id, or confirms the link.
 *
 * @throws CrmSchemaError `external_id_taken`, `contact_taken`, `wrong_tenant`, `invalid_input`
 */
export async function contactExternalIdLink(
  client: Queryable,
  params: { organisationId: string } & ContactLink,
): Promise<{ outcome: 'linked' | 'already_linked' }> {
  const { organisationId, ...link } = params;
  const [outcome] = await contactExternalIdLinkMany(client, { organisationId, links: [link] });
  switch (outcome?.outcome) {
    case 'external_id_taken':
      throw new CrmSchemaError(
        'external_id_taken',
        `The external id is mapped to another contact: ${outcome.linkedContactId}.`,
      );
    case 'contact_taken':
      throw new CrmSchemaError(
        'contact_taken',
        `The contact has another external id at this provider: ${outcome.linkedExternalId}.`,
      );
    default:
      return outcome as { outcome: 'linked' | 'already_linked' };
  }
}

/**
 * Unlinks contacts from external ids. A link that is not there, or is another contact's, stays as it is.
 *
 * @returns for each link, in order, whether it was there and is gone
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function contactExternalIdUnlinkMany(
  client: Queryable,
  params: { organisationId: string; links: readonly ContactLink[] },
): Promise<boolean[]> {
  const { organisationId, links } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  links.forEach(checkLink);
  const rows = await queries.contactExternalIdUnlink.run(
    { organisationId, ...columns(links), contactIds: links.map(({ contactId }) => contactId) },
    client,
  );
  const gone = new Set(rows.map(({ position }) => position));
  return links.map((_, index) => gone.has(index + 1));
}

/** Unlinks one contact from an external id; returns whether the link was there. */
export async function contactExternalIdUnlink(
  client: Queryable,
  params: { organisationId: string } & ContactLink,
): Promise<boolean> {
  const { organisationId, ...link } = params;
  const [wasThere = false] = await contactExternalIdUnlinkMany(client, { organisationId, links: [link] });
  return wasThere;
}

/**
 * Moves external ids between contacts, all or none. Two moves make a swap.
 *
 * @throws CrmSchemaError, each with `rowIndex` where one element is to blame: `mapping_changed` if an
 *   id is not mapped to its `fromContactId` (any more); `contact_taken` if a contact would have two ids
 *   at one provider; `wrong_tenant` if the organisation has no such contact; `invalid_input`
 */
export async function contactExternalIdRepointMany(
  client: Queryable,
  params: { organisationId: string; moves: readonly ContactMove[] },
): Promise<void> {
  const { organisationId, moves } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  const seen = new Set<string>();
  moves.forEach((move, rowIndex) => {
    checkRecord(move, rowIndex);
    checkUuid({ field: 'fromContactId', rowIndex }, move.fromContactId);
    checkUuid({ field: 'toContactId', rowIndex }, move.toContactId);
    const record = JSON.stringify([move.provider, move.entityType, move.externalId]);
    if (seen.has(record)) refuse({ field: 'externalId', rowIndex }, 'is in the batch twice');
    seen.add(record);
  });
  const rows = await queries.contactExternalIdRepoint.run(
    {
      organisationId,
      ...columns(moves),
      fromContactIds: moves.map(({ fromContactId }) => fromContactId),
      toContactIds: moves.map(({ toContactId }) => toContactId),
    },
    client,
  );
  for (const { position, outcome } of rows) {
    const rowIndex = position - 1;
    const { fromContactId, toContactId } = moves[rowIndex] as ContactMove;
    switch (outcome) {
      case 'wrong_tenant':
        throw wrongTenant(toContactId, rowIndex);
      case 'mapping_changed':
        throw new CrmSchemaError(outcome, `The external id is not mapped to contact ${fromContactId}.`, {
          rowIndex,
        });
      case 'contact_taken':
        throw new CrmSchemaError(
          outcome,
          `Contact ${toContactId} would have two external ids at this provider.`,
          { rowIndex },
        );
    }
  }
}

/** Moves one external id from one contact to another: see {@link contactExternalIdRepointMany}. */
export async function contactExternalIdRepoint(
  client: Queryable,
  params: { organisationId: string } & ContactMove,
): Promise<void> {
  const { organisationId, ...move } = params;
  await contactExternalIdRepointMany(client, { organisationId, moves: [move] });
}

function checkLink(link: ContactLink, rowIndex: number): void {
  checkRecord(link, rowIndex);
  checkUuid({ field: 'contactId', rowIndex }, link.contactId);
}

/** Rows to columns, as `unnest` takes them. */
function columns(records: readonly ExternalRecord[]) {
  return {
    providers: records.map(({ provider }) => provider),
    entityTypes: records.map(({ entityType }) => entityType),
    externalIds: records.map(({ externalId }) => externalId),
  };
}

function linkOutcome(
  { outcome, takenBy }: queries.ContactExternalIdLinkResult,
  rowIndex: number,
  contactId: string,
): LinkOutcome {
  switch (outcome) {
    case 'wrong_tenant':
      throw wrongTenant(contactId, rowIndex);
    case 'external_id_taken':
      return { outcome, linkedContactId: takenBy as string };
    case 'contact_taken':
      return { outcome, linkedExternalId: takenBy as string };
    default:
      return { outcome: outcome as 'linked' | 'already_linked' };
  }
}

function wrongTenant(contactId: string, rowIndex: number): CrmSchemaError {
  return new CrmSchemaError('wrong_tenant', `The organisation has no contact ${contactId}.`, { rowIndex });
}
