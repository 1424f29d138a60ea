import { CrmSchemaError, withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkBatch, checkOneOf, checkParameter } from '../validation.js';
import {
  type ContactExternalIdLinkParams,
  type ContactLink,
  checkLink,
  linkColumns,
  noSuchContact,
} from './external-records.js';

/** The outcome of a link. A conflict affects only its own record. */
export type LinkOutcome =
  | {
      /**
       * `linked_as_alias`: the contact has a primary id at this provider, and the external id is now an alias of it.
       * `contested`: other transactions are changing these mappings; nothing was linked, try again. `erased`: the
       * record is that of a person who was erased; it is not linked.
       */
      outcome: 'linked' | 'linked_as_alias' | 'already_linked' | 'contested' | 'erased';
    }
  | {
      /** The external id is mapped to another contact, as its primary id or as an alias. */
      outcome: 'external_id_taken';
      /** That contact's UUID. */
      linkedContactId: string;
    }
  | {
      /**
       * The contact has another primary id at this provider: it can have only one per provider, of any entity type.
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
 * What to do if the contact has a primary id at the provider: `refuse` the link, or link the external id as an
 * `alias`.
 */
export type IfContactTaken = 'refuse' | 'alias';

/**
 * Links contacts to external ids. If a mapping already exists, updates its `lastSeenAt`; a record that was
 * deleted or merged is active again, because somebody has decided that it is this contact's.
 *
 * @returns the outcome of each link, in order; a conflict does not stop the others
 * @throws CrmSchemaError with `rowIndex`: `wrong_tenant` if the organisation has no such contact,
 *   `unknown_provider`, `invalid_input`; then nothing is linked
 *
 * @example
 * ```ts
 * import { contactExternalIdLinkMany } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // Links a contact to its record at Reapit, unless one of the two is linked otherwise.
 * export async function link(client: pg.ClientBase, organisationId: string, contactId: string, externalId: string) {
 *   const [linked] = await contactExternalIdLinkMany(client, {
 *     organisationId,
 *     links: [{ provider: 'reapit', entityType: 'contact', externalId, contactId }],
 *   });
 *   return linked?.outcome === 'linked' || linked?.outcome === 'already_linked';
 * }
 * ```
 */
export async function contactExternalIdLinkMany(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** Up to a few thousand. */
    links: readonly ContactLink[];
    /** By default `refuse`. */
    ifContactTaken?: IfContactTaken | undefined;
  },
): Promise<LinkOutcome[]> {
  checkOrganisation(params);
  const { organisationId, ifContactTaken = 'refuse' } = params;
  checkOneOf({ field: 'ifContactTaken' }, ifContactTaken, ['refuse', 'alias']);
  const links = checkBatch('links', params.links);
  links.forEach(checkLink);
  const outcomes = links.map((): LinkOutcome => ({ outcome: 'contested' }));
  let open = [...links.keys()];
  for (let attempt = 1; attempt <= maxAttempts && open.length > 0; attempt += 1) {
    const batch = open.map((index) => links[index] as ContactLink);
    const rows = await queries.contactExternalIdLink.run({ organisationId, ...linkColumns(batch) }, client);
    // On later attempts, a missing contact was deleted in the meantime, and other links may already exist.
    const foreign = attempt === 1 ? rows.find(({ outcome }) => outcome === 'wrong_tenant') : undefined;
    if (foreign !== undefined) {
      const rowIndex = foreign.position - 1;
      throw noSuchContact(links[rowIndex]?.contactId, rowIndex);
    }
    const undecided: number[] = [];
    const further: number[] = [];
    for (const row of rows) {
      const index = open[row.position - 1] as number;
      if (row.outcome === 'retry') undecided.push(index);
      else if (row.outcome === 'contact_taken' && ifContactTaken === 'alias') further.push(index);
      else if (row.outcome !== 'wrong_tenant') outcomes[index] = linkOutcome(row);
    }
    for (const index of await linkAliases(client, organisationId, links, further)) {
      outcomes[index] = { outcome: 'linked_as_alias' };
      further.splice(further.indexOf(index), 1);
    }
    open = [...undecided, ...further];
  }
  return outcomes;
}

/** Links some of the links as aliases, and returns those that it linked. */
async function linkAliases(
  client: Queryable,
  organisationId: string,
  links: readonly ContactLink[],
  indexes: readonly number[],
): Promise<number[]> {
  if (indexes.length === 0) return [];
  const batch = indexes.map((index) => links[index] as ContactLink);
  const rows = await queries.contactExternalIdLinkAlias.run(
    { organisationId, ...linkColumns(batch) },
    client,
  );
  return rows.map(({ position }) => indexes[position - 1] as number);
}

/**
 * Links one contact to an external id. If the mapping already exists, as primary id or as alias, updates its
 * `lastSeenAt`. To link further ids of a contact as aliases, use {@link contactExternalIdLinkMany}.
 *
 * @returns whether the mapping is new
 * @throws CrmSchemaError `external_id_taken`, `contact_taken`, `mapping_changed` (another transaction is
 *   changing the mapping: try again), `record_erased`, `wrong_tenant`, `unknown_provider`, `invalid_input`
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
    case 'erased':
      throw new CrmSchemaError(
        'record_erased',
        'The record is that of a person who was erased: it is not linked unless the owner of the tables readmits it.',
      );
    default:
      return { outcome: found.outcome as 'linked' | 'already_linked' };
  }
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
      return { outcome: outcome as 'linked' | 'already_linked' | 'erased' };
  }
}
