import { withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkBatch, checkParameter } from '../validation.js';
import { authorColumns, type ChangeAuthor } from './change-author.js';
import {
  type ContactExternalIdLinkParams,
  type ContactLink,
  checkLink,
  linkColumns,
} from './external-records.js';

/** The parameters of {@link contactExternalIdUnlinkMany}. */
export interface ContactExternalIdUnlinkManyParams extends ChangeAuthor {
  /** The organisation's UUID. */
  organisationId: string;
  /** Up to a few thousand. */
  links: readonly ContactLink[];
}

/**
 * Unlinks contacts from external ids, primary ids or aliases. Ignores mappings that do not exist or belong to another
 * contact. A contact that loses its primary id gets another from its aliases: one of the same entity type if there is
 * one, then the oldest; a deleted one only if there is no other, and none that was merged.
 *
 * @returns for each link, in order, whether the mapping existed and was removed
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function contactExternalIdUnlinkMany(
  client: Queryable,
  params: ContactExternalIdUnlinkManyParams,
): Promise<boolean[]> {
  checkOrganisation(params);
  const { organisationId } = params;
  const links = checkBatch('links', params.links);
  links.forEach(checkLink);
  const gone = links.map(() => false);
  // A statement that waits for another transaction does not see an alias that this one has made a primary id. The
  // next one does.
  for (let attempt = 1; attempt <= 2 && gone.includes(false); attempt += 1) {
    const open = [...links.keys()].filter((index) => !gone[index]);
    const batch = open.map((index) => links[index] as ContactLink);
    const rows = await queries.contactExternalIdUnlink.run(
      { organisationId, ...linkColumns(batch), ...authorColumns(params) },
      client,
    );
    for (const { position } of rows) gone[open[position - 1] as number] = true;
  }
  return gone;
}

/**
 * Unlinks one contact from an external id, as {@link contactExternalIdUnlinkMany}; returns whether the link was there.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function contactExternalIdUnlink(
  client: Queryable,
  params: ContactExternalIdLinkParams & ChangeAuthor,
): Promise<boolean> {
  checkParameter('params', params);
  const { organisationId, changedBy, reason, ...link } = params;
  const [wasThere = false] = await contactExternalIdUnlinkMany(client, {
    organisationId,
    links: [link],
    changedBy,
    reason,
  }).catch(withoutRow);
  return wasThere;
}
