import { CrmSchemaError } from './errors.js';
import * as queries from './generated/contact_external_ids.js';
import type { Queryable } from './prepared-query.js';
import type { Refined } from './refined.js';
import type { Provider } from './types.js';
import {
  checkEntityType,
  checkExternalId,
  checkProvider,
  checkUuid,
  type Place,
  refuse,
} from './validation.js';

/** A record at a CRM. An external id means something only with its provider and entity type. */
export interface ExternalRecord {
  provider: Provider;
  /** In the provider's terms, lower snake case: `contact`, `landlord`, `applicant` … */
  entityType: string;
  /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
  externalId: string;
}

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

/** One of a contact's ids, and since when and until when a sync saw it. */
export type ContactExternalId = Refined<
  queries.ContactExternalIdListByContactsResult,
  { provider: Provider }
>;

/** How often links that collide with others being made at that very moment are looked at again. */
const maxAttempts = 5;

/**
 * An external id as this schema keeps it: `123` and `"123"` are the same.
 *
 * @throws CrmSchemaError `invalid_input` on a number too large to be exact, a blank or an over-long id
 */
export function toExternalId(id: string | number | bigint): string {
  const place = { field: 'externalId' };
  if (typeof id === 'number' && !Number.isSafeInteger(id)) {
    refuse(place, `has to be text or a whole number that JavaScript holds exactly, not ${id}`);
  }
  const text = String(id);
  checkExternalId(place, text);
  return text;
}

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

/**
 * Whose are these external ids? Hundreds at a time cost about as much as a few.
 *
 * @returns contact ids by external id; unknown ones are absent
 */
export async function contactExternalIdResolveMany(
  client: Queryable,
  params: { organisationId: string; provider: Provider; entityType: string; externalIds: readonly string[] },
): Promise<Map<string, string>> {
  const { organisationId, provider, entityType, externalIds } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  externalIds.forEach((externalId, rowIndex) => {
    checkRecord({ provider, entityType, externalId }, rowIndex);
  });
  const rows = await queries.contactExternalIdResolve.run(
    { organisationId, provider, entityType, externalIds: [...externalIds] },
    client,
  );
  return new Map(rows.map(({ externalId, contactId }) => [externalId, contactId]));
}

/** Whose is this external id? The contact's id, or null if nobody's. */
export async function contactExternalIdResolve(
  client: Queryable,
  params: { organisationId: string } & ExternalRecord,
): Promise<string | null> {
  const { externalId, ...rest } = params;
  const contacts = await contactExternalIdResolveMany(client, { ...rest, externalIds: [externalId] });
  return contacts.get(externalId) ?? null;
}

/** All external ids of some contacts, by contact and provider. */
export async function contactExternalIdListByContacts(
  client: Queryable,
  params: { organisationId: string; contactIds: readonly string[] },
): Promise<ContactExternalId[]> {
  const { organisationId, contactIds } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  contactIds.forEach((contactId, rowIndex) => {
    checkUuid({ field: 'contactId', rowIndex }, contactId);
  });
  const rows = await queries.contactExternalIdListByContacts.run(
    { organisationId, contactIds: [...contactIds] },
    client,
  );
  return rows as ContactExternalId[];
}

/** All external ids of one contact, by provider. */
export async function contactExternalIdListByContact(
  client: Queryable,
  params: { organisationId: string; contactId: string },
): Promise<ContactExternalId[]> {
  const { organisationId, contactId } = params;
  return contactExternalIdListByContacts(client, { organisationId, contactIds: [contactId] });
}

function checkRecord(record: ExternalRecord, rowIndex: number): void {
  const at = (field: string): Place => ({ field, rowIndex });
  checkProvider(at('provider'), record.provider);
  checkEntityType(at('entityType'), record.entityType);
  checkExternalId(at('externalId'), record.externalId);
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
