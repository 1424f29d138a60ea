import { randomUUID } from 'node:crypto';
import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/contact_external_id_changes.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkUuid, refuse } from '../validation.js';
import { authorColumns, type ChangeAuthor } from './change-author.js';
import type { ExternalRecord } from './external-records.js';

/**
 * What a merge did with an external id. `moved`: it is the primary id of the remaining contact. `became_alias`: that
 * contact had a primary id at this CRM. `alias_moved`: it was an alias and is one. `archived_moved`: it belongs to an
 * account that the organisation is not connected to at present.
 */
export type MergedRecordOutcome = 'moved' | 'became_alias' | 'alias_moved' | 'archived_moved';

/** An external id that a merge of contacts has moved. */
export interface MergedRecord extends ExternalRecord {
  /** What became of it. */
  outcome: MergedRecordOutcome;
}

/** A merge of two contacts. */
export interface ContactMerge {
  /** Names the merge, to undo it: a UUID. */
  operationId: string;
  /** The external ids that it moved, by provider, entity type and external id. */
  records: MergedRecord[];
}

/** The parameters of {@link contactMerge}. */
export interface ContactMergeParams extends ChangeAuthor {
  /** The organisation's UUID. */
  organisationId: string;
  /** The UUID of the contact that is merged away. */
  fromContactId: string;
  /** The UUID of the contact that remains. */
  intoContactId: string;
}

/**
 * Merges a contact into another: all its external ids mean the other contact afterwards, so that no CRM's record of
 * it is imported or pushed as a second one. What was still to be pushed of it, and its failed pushes, are dropped, except
 * that what a person has still to decide is handed on to the other contact. The versions and contents of its records are
 * forgotten, because the other contact has not taken them.
 *
 * Call it first in the transaction in which the host merges its own data, before touching either contact. Then delete
 * the contact that is merged away, or record no more changes of it; record the change of the other with
 * `outboundChangeRecord`.
 *
 * @throws CrmSchemaError `wrong_tenant` if the organisation does not have both contacts; `invalid_input`
 */
export async function contactMerge(client: Queryable, params: ContactMergeParams): Promise<ContactMerge> {
  checkOrganisation(params);
  const { organisationId, fromContactId, intoContactId } = params;
  checkUuid({ field: 'fromContactId' }, fromContactId);
  checkUuid({ field: 'intoContactId' }, intoContactId);
  if (fromContactId.toLowerCase() === intoContactId.toLowerCase())
    refuse({ field: 'intoContactId' }, 'is the contact that is merged away');
  const change = { operationId: randomUUID(), ...authorColumns(params) };
  const rows = await queries.contactMerge.run(
    { organisationId, fromContactId, intoContactId, ...change },
    client,
  );
  if (rows[0]?.outcome === 'wrong_tenant') {
    throw new CrmSchemaError(
      'wrong_tenant',
      `The organisation does not have both contacts, ${fromContactId} and ${intoContactId}.`,
    );
  }
  return { operationId: change.operationId, records: rows as MergedRecord[] };
}

/**
 * What an undo did with an external id, or why it did nothing. `undone`: it means the contact again that it meant
 * before. `changed_since`: it was moved, unlinked or merged after the merge. `no_contact`: the contact that was merged
 * away does not exist. `contact_taken`: that contact has another primary id at this CRM by now. `undone_before`: the
 * merge was undone. `held`: nothing is wrong with this one.
 */
export type UndoneRecordOutcome =
  | 'undone'
  | 'changed_since'
  | 'no_contact'
  | 'contact_taken'
  | 'undone_before'
  | 'held';

/** An external id that a merge of contacts had moved. */
export interface UndoneRecord extends ExternalRecord {
  /** What the undo did with it, or why it did nothing. */
  outcome: UndoneRecordOutcome;
}

/** The result of {@link contactMergeUndo}. */
export interface ContactMergeUndo {
  /**
   * Whether the merge was undone. `undone_before`: it was already. `no_contact`: the contact that was merged away does
   * not exist: create it again, with the same id. `refused`: a record stops it; see `records`.
   */
  outcome: 'undone' | 'undone_before' | 'no_contact' | 'refused';
  /** Names the undo in the history: a UUID; null if nothing was undone. */
  operationId: string | null;
  /** Each external id that the merge had moved. */
  records: UndoneRecord[];
  /** The external ids that were linked to the remaining contact since the merge. They stay; move those that are wrong. */
  staying: ExternalRecord[];
}

/** The parameters of {@link contactMergeUndo}. */
export interface ContactMergeUndoParams extends ChangeAuthor {
  /** The organisation's UUID. */
  organisationId: string;
  /** The UUID that names the merge. */
  operationId: string;
}

/**
 * Undoes a merge of contacts, as a whole or not at all: the external ids that it moved mean again what they meant
 * before. Their states are kept, their versions and contents forgotten. Outbound changes and failures that the merge
 * dropped do not return: record a change of the contact that is back with `outboundChangeRecord`, else it takes what
 * its records hold by now.
 *
 * @throws CrmSchemaError `invalid_input`, also if the organisation has no such merge
 */
export async function contactMergeUndo(
  client: Queryable,
  params: ContactMergeUndoParams,
): Promise<ContactMergeUndo> {
  checkOrganisation(params);
  const { organisationId, operationId: mergeId } = params;
  checkUuid({ field: 'operationId' }, mergeId);
  const change = { operationId: randomUUID(), ...authorColumns(params) };
  const [merge, ...rows] = await queries.contactMergeUndo.run({ organisationId, mergeId, ...change }, client);
  if (merge === undefined) refuse({ field: 'operationId' }, 'is not a merge of contacts of the organisation');
  const records = rows.map(({ provider, entityType, externalId, outcome }) => ({
    provider: provider as Provider,
    entityType: entityType as string,
    externalId: externalId as string,
    outcome,
  }));
  return {
    outcome: (merge.outcome === 'held' ? 'refused' : merge.outcome) as ContactMergeUndo['outcome'],
    operationId: merge.outcome === 'undone' ? change.operationId : null,
    records: records.filter(({ outcome }) => outcome !== 'stays') as UndoneRecord[],
    staying: records.filter(({ outcome }) => outcome === 'stays').map(({ outcome, ...record }) => record),
  };
}
