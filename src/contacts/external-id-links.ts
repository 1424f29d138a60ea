import { CrmSchemaError, withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkBatch, checkParameter, checkUuid } from '../validation.js';
import { checkRecord, type ExternalRecord, noSuchContact, recordColumns } from './external-records.js';

/** A contact, and a record at a CRM that represents it. */
export interface ContactLink extends ExternalRecord {
  /** The UUID of NurtureHub's contact. */
  contactId: string;
}

/** The outcome of a link. A conflict affects only its own record. */
export type LinkOutcome =
  | {
      /** `contested`: other transactions are changing these mappings; nothing was linked, try again. */
      outcome: 'linked' | 'already_linked' | 'contested';
    }
  | {
      /** The external id is mapped to another contact. */
      outcome: 'external_id_taken';
      /** That contact's UUID. */
      linkedContactId: string;
    }
  | {
      /**
       * The contact has another id at this provider: it can have only one per provider, of any entity type.
       */
      outcome: 'contact_taken';
      /** The entity type of that id. */
      linkedEntityType: string;
      /** That id. */
      linkedExternalId: string;
    };

/** How often links that collide with concurrent changes are tried. */
const maxAttempts = 5;

/**
 * Links contacts to external ids. If a mapping already exists, updates its `lastSeenAt`.
 *
 * @returns the outcome of each link, in order; a conflict does not stop the others
 * @throws CrmSchemaError with `rowIndex`: `wrong_tenant` if the organisation has no such contact,
 *   `unknown_provider`, `invalid_input`; then nothing is linked
 */
export async function contactExternalIdLinkMany(
  client: Queryable,
  params: {
    /** The UUID of the contacts' organisation. */
    organisationId: string;
    /** Up to a few thousand. */
    links: readonly ContactLink[];
  },
): Promise<LinkOutcome[]> {
  checkOrganisation(params);
  const { organisationId } = params;
  const links = checkBatch('links', params.links);
  links.forEach(checkLink);
  const outcomes = links.map((): LinkOutcome => ({ outcome: 'contested' }));
  let open = [...links.keys()];
  for (let attempt = 1; attempt <= maxAttempts && open.length > 0; attempt += 1) {
    const batch = open.map((index) => links[index] as ContactLink);
    const rows = await queries.contactExternalIdLink.run(
      { organisationId, ...recordColumns(batch), contactIds: batch.map(({ contactId }) => contactId) },
      client,
    );
    // On later attempts, a missing contact was deleted in the meantime, and other links may already exist.
    const foreign = attempt === 1 ? rows.find(({ outcome }) => outcome === 'wrong_tenant') : undefined;
    if (foreign !== undefined) {
      const rowIndex = foreign.position - 1;
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

/** The parameters of {@link contactExternalIdLink} and `contactExternalIdUnlink`. */
export interface ContactExternalIdLinkParams extends ContactLink {
  /** The UUID of the contact's organisation. */
  organisationId: string;
}

/**
 * Links one contact to an external id. If the mapping already exists, updates its `lastSeenAt`.
 *
 * @returns whether the mapping is new
 * @throws CrmSchemaError `external_id_taken`, `contact_taken`, `mapping_changed` (another transaction is
 *   changing the mapping: try again), `wrong_tenant`, `unknown_provider`, `invalid_input`
 */
export async function contactExternalIdLink(
  client: Queryable,
  params: ContactExternalIdLinkParams,
): Promise<{
  /** Whether the mapping is new. */
  outcome: 'linked' | 'already_linked';
}> {
  checkParameter('params', params);
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
      throw new CrmSchemaError('mapping_changed', 'Another transaction is changing this mapping: try again.');
    default:
      return { outcome: found.outcome };
  }
}

/**
 * Unlinks contacts from external ids. Ignores mappings that do not exist or belong to another contact.
 *
 * @returns for each link, in order, whether the mapping existed and was removed
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function contactExternalIdUnlinkMany(
  client: Queryable,
  params: {
    /** The UUID of the contacts' organisation. */
    organisationId: string;
    /** Up to a few thousand. */
    links: readonly ContactLink[];
  },
): Promise<boolean[]> {
  checkOrganisation(params);
  const { organisationId } = params;
  const links = checkBatch('links', params.links);
  links.forEach(checkLink);
  const rows = await queries.contactExternalIdUnlink.run(
    { organisationId, ...recordColumns(links), contactIds: links.map(({ contactId }) => contactId) },
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
  checkParameter('params', params);
  const { organisationId, ...link } = params;
  const [wasThere = false] = await contactExternalIdUnlinkMany(client, {
    organisationId,
    links: [link],
  }).catch(withoutRow);
  return wasThere;
}

function checkLink(link: ContactLink, rowIndex: number): void {
  checkRecord(link, rowIndex);
  checkUuid({ field: 'contactId', rowIndex }, link.contactId);
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
