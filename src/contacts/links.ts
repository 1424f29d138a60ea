import { CrmSchemaError, withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkBatch, checkUuid, refuse } from '../validation.js';
import { checkRecord, type ExternalRecord } from './external-records.js';

/** A contact and a record that means it. */
export interface ContactLink extends ExternalRecord {
  /** NurtureHub's contact: a UUID. */
  contactId: string;
}

/** An external id that moves from one contact to another. */
export interface ContactMove extends ExternalRecord {
  /** The contact that has it now: a UUID. */
  fromContactId: string;
  /** The contact that is to have it: a UUID. */
  toContactId: string;
}

/** What became of a link. A conflict concerns that record alone. */
export type LinkOutcome =
  | {
      /** `contested`: others were changing these links at this very moment; nothing is linked, try again. */
      outcome: 'linked' | 'already_linked' | 'contested';
    }
  | {
      /** The external id means another contact. */
      outcome: 'external_id_taken';
      /** Which one. */
      linkedContactId: string;
    }
  | {
      /** The contact has another id at that provider: it has one for each, whatever the entity type. */
      outcome: 'contact_taken';
      /** What kind of record that id names. */
      linkedEntityType: string;
      /** That id. */
      linkedExternalId: string;
    };

/** How often links that collide with others being made at that very moment are looked at again. */
const maxAttempts = 5;

/**
 * Links contacts to external ids. A link that is there already is confirmed (`lastSeenAt`).
 *
 * @returns the outcome of each link, in order; a conflict stops none of the others
 * @throws CrmSchemaError with `rowIndex`: `wrong_tenant` if the organisation has no such contact,
 *   `unknown_provider`, `invalid_input`; then nothing is linked
 */
export async function contactExternalIdLinkMany(
  client: Queryable,
  params: {
    /** Whose the contacts are: a UUID. */
    organisationId: string;
    /** Up to some thousands. */
    links: readonly ContactLink[];
  },
): Promise<LinkOutcome[]> {
  const { organisationId } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  const links = checkBatch('links', params.links);
  links.forEach(checkLink);
  const outcomes = links.map((): LinkOutcome => ({ outcome: 'contested' }));
  let open = [...links.keys()];
  for (let attempt = 1; attempt <= maxAttempts && open.length > 0; attempt += 1) {
    const batch = open.map((index) => links[index] as ContactLink);
    const rows = await queries.contactExternalIdLink.run(
      { organisationId, ...columns(batch), contactIds: batch.map(({ contactId }) => contactId) },
      client,
    );
    // Later, a contact that is gone was deleted meanwhile, and other links may have been made already.
    const stranger = attempt === 1 ? rows.find(({ outcome }) => outcome === 'wrong_tenant') : undefined;
    if (stranger !== undefined) {
      const rowIndex = stranger.position - 1;
      throw noSuchContact(links[rowIndex]?.contactId, rowIndex);
    }
    const undecided: number[] = [];
    for (const row of rows) {
      const index = open[row.position - 1] as number;
      if (row.outcome === 'retry') undecided.push(index);
      else if (row.outcome !== 'wrong_tenant') outcomes[index] = linkOutcome(row);
    }
    open = undecided;
  }
  return outcomes;
}

/** A link of one organisation, for calls about one. */
export interface ContactExternalIdLinkParams extends ContactLink {
  /** Whose the contact is: a UUID. */
  organisationId: string;
}

/**
 * Links one contact to an external id, or confirms the link.
 *
 * @returns whether it is new
 * @throws CrmSchemaError `external_id_taken`, `contact_taken`, `mapping_changed` (others were changing
 *   it at this very moment: try again), `wrong_tenant`, `unknown_provider`, `invalid_input`
 */
export async function contactExternalIdLink(
  client: Queryable,
  params: ContactExternalIdLinkParams,
): Promise<{
  /** Whether it is new. */
  outcome: 'linked' | 'already_linked';
}> {
  const { organisationId, ...link } = params;
  const [result] = await contactExternalIdLinkMany(client, { organisationId, links: [link] }).catch(
    withoutRow,
  );
  const found = result as LinkOutcome;
  switch (found.outcome) {
    case 'external_id_taken':
      throw new CrmSchemaError(
        found.outcome,
        `The external id is mapped to another contact: ${found.linkedContactId}.`,
      );
    case 'contact_taken':
      throw new CrmSchemaError(
        found.outcome,
        `The contact has another external id at this provider: ${found.linkedEntityType} ${found.linkedExternalId}.`,
      );
    case 'contested':
      throw new CrmSchemaError(
        'mapping_changed',
        'Others were changing this link at this very moment: try again.',
      );
    default:
      return { outcome: found.outcome };
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
  params: {
    /** Whose the contacts are: a UUID. */
    organisationId: string;
    /** Up to some thousands. */
    links: readonly ContactLink[];
  },
): Promise<boolean[]> {
  const { organisationId } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  const links = checkBatch('links', params.links);
  links.forEach(checkLink);
  const rows = await queries.contactExternalIdUnlink.run(
    { organisationId, ...columns(links), contactIds: links.map(({ contactId }) => contactId) },
    client,
  );
  const gone = new Set(rows.map(({ position }) => position));
  return links.map((_, index) => gone.has(index + 1));
}

/**
 * Unlinks one contact from an external id; returns whether the link was there.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function contactExternalIdUnlink(
  client: Queryable,
  params: ContactExternalIdLinkParams,
): Promise<boolean> {
  const { organisationId, ...link } = params;
  const [wasThere = false] = await contactExternalIdUnlinkMany(client, {
    organisationId,
    links: [link],
  }).catch(withoutRow);
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
  params: {
    /** Whose the contacts are: a UUID. */
    organisationId: string;
    /** Up to some thousands, each of another external id. */
    moves: readonly ContactMove[];
  },
): Promise<void> {
  const { organisationId } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  const moves = checkBatch('moves', params.moves);
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
        throw noSuchContact(toContactId, rowIndex);
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

/** What {@link contactExternalIdRepoint} takes. */
export interface ContactExternalIdRepointParams extends ContactMove {
  /** Whose the contacts are: a UUID. */
  organisationId: string;
}

/**
 * Moves one external id from one contact to another.
 *
 * @throws CrmSchemaError as {@link contactExternalIdRepointMany}
 */
export async function contactExternalIdRepoint(
  client: Queryable,
  params: ContactExternalIdRepointParams,
): Promise<void> {
  const { organisationId, ...move } = params;
  await contactExternalIdRepointMany(client, { organisationId, moves: [move] }).catch(withoutRow);
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

function linkOutcome(row: queries.ContactExternalIdLinkResult): LinkOutcome {
  const { outcome, linkedContactId, linkedEntityType, linkedExternalId } = row;
  switch (outcome) {
    case 'external_id_taken':
      return { outcome, linkedContactId: linkedContactId as string };
    case 'contact_taken':
      return {
        outcome,
        linkedEntityType: linkedEntityType as string,
        linkedExternalId: linkedExternalId as string,
      };
    default:
      return { outcome: outcome as 'linked' | 'already_linked' };
  }
}

function noSuchContact(contactId: string | undefined, rowIndex: number): CrmSchemaError {
  return new CrmSchemaError('wrong_tenant', `The organisation has no contact ${contactId}.`, { rowIndex });
}
