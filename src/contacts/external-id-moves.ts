import { CrmSchemaError, withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { checkBatch, checkParameter, checkUuid, refuse } from '../validation.js';
import { authorColumns, type ChangeAuthor } from './change-author.js';
import { checkRecord, type ExternalRecord, noSuchContact, recordColumns } from './external-records.js';

/** An external id that moves from one contact to another. */
export interface ContactMove extends ExternalRecord {
  /** The UUID of the contact that has it now. */
  fromContactId: string;
  /** The UUID of the contact that will have it. */
  toContactId: string;
}

/** The parameters of {@link contactExternalIdRepointMany}. */
export interface ContactExternalIdRepointManyParams extends ChangeAuthor {
  /** The organisation's UUID. */
  organisationId: string;
  /** Up to a few thousand, each for a different external id. */
  moves: readonly ContactMove[];
}

/**
 * Moves external ids between contacts, all or none. Two moves make a swap. An id becomes the primary id of its new
 * contact; a contact that loses its primary id gets another from its aliases, as with `contactExternalIdUnlinkMany`. A
 * record that the CRM has merged into another stays an alias. Versions and contents of what moves are forgotten,
 * because the new contact has not taken them.
 *
 * @throws CrmSchemaError, with `rowIndex` if one element caused it: `mapping_changed` if an external id is
 *   not, or no longer, mapped to its `fromContactId`; `contact_taken` if a contact would have two
 *   primary ids at one provider; `wrong_tenant` if the organisation has no such contact; `invalid_input`
 */
export async function contactExternalIdRepointMany(
  client: Queryable,
  params: ContactExternalIdRepointManyParams,
): Promise<void> {
  checkOrganisation(params);
  const { organisationId } = params;
  const moves = checkBatch('moves', params.moves);
  const seen = new Set<string>();
  moves.forEach((move, rowIndex) => {
    checkRecord(move, rowIndex);
    checkUuid({ field: 'fromContactId', rowIndex }, move.fromContactId);
    checkUuid({ field: 'toContactId', rowIndex }, move.toContactId);
    const record = JSON.stringify([move.provider, move.entityType, move.externalId]);
    if (seen.has(record)) refuse({ field: 'externalId', rowIndex }, 'is in the batch more than once');
    seen.add(record);
  });
  const rows = await queries.contactExternalIdRepoint.run(
    {
      organisationId,
      ...recordColumns(moves),
      fromContactIds: moves.map(({ fromContactId }) => fromContactId),
      toContactIds: moves.map(({ toContactId }) => toContactId),
      ...authorColumns(params),
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

/** The parameters of {@link contactExternalIdRepoint}. */
export interface ContactExternalIdRepointParams extends ContactMove, ChangeAuthor {
  /** The organisation's UUID. */
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
  checkParameter('params', params);
  const { organisationId, changedBy, reason, ...move } = params;
  await contactExternalIdRepointMany(client, {
    organisationId,
    moves: [move],
    changedBy,
    reason,
  }).catch(withoutRow);
}
