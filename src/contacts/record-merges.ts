import { randomUUID } from 'node:crypto';
import * as queries from '../generated/contact_external_id_changes.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkBatch, checkEntityType, checkExternalId, checkObject, checkProvider } from '../validation.js';
import { authorColumns, type ChangeAuthor } from './change-author.js';

/** A record of one CRM. */
export interface RecordName {
  /** The kind of record, in the CRM's terms: lower snake case. */
  entityType: string;
  /** Case-sensitive text. */
  externalId: string;
}

/** Two records that a CRM has merged. */
export interface RecordMerge {
  /** The record that is gone. */
  from: RecordName;
  /** The record that it is now part of. */
  into: RecordName;
}

/** The parameters of {@link externalRecordMergeMany}. */
export interface ExternalRecordMergeManyParams extends ChangeAuthor {
  /** The organisation's UUID. */
  organisationId: string;
  /** The CRM. */
  provider: Provider;
  /** Up to a few hundred. */
  merges: readonly RecordMerge[];
}

/** The outcome of a merge of records. */
export type RecordMergeOutcome =
  | {
      /** `merged`, also if that was known already. `same_record`: both are the same record. */
      outcome: 'merged' | 'same_record';
      /** The contact of the records; null for `same_record` if the record means no contact. */
      contactId: string | null;
    }
  | {
      /** Neither record means a contact. */
      outcome: 'unknown';
    }
  | {
      /**
       * The records mean two contacts, and nothing has changed. Decide which remains, merge the contacts
       * (`contactMerge`), and call again.
       */
      outcome: 'contacts_differ';
      /** The contact of `into`. */
      contactId: string;
      /** The contact of `from`. */
      otherContactId: string;
    };

/**
 * Records that a CRM has merged records of its own. The record that is gone becomes an alias with the state `merged`,
 * so that whatever still comes with its id finds the contact, and the other takes its place as primary id.
 *
 * Merges are recorded in the given order. If `into` is known to have been merged into a third record, that one takes the
 * place.
 *
 * @returns the outcome of each merge, in order; one that is not recorded does not stop the others
 * @throws CrmSchemaError with `rowIndex`: `invalid_input`; `unknown_provider`
 */
export async function externalRecordMergeMany(
  client: Queryable,
  params: ExternalRecordMergeManyParams,
): Promise<RecordMergeOutcome[]> {
  checkOrganisation(params);
  const { organisationId, provider } = params;
  checkProvider({ field: 'provider' }, provider);
  const merges = checkBatch('merges', params.merges);
  merges.forEach((merge, rowIndex) => {
    checkObject({ field: 'element', rowIndex }, merge);
    for (const side of ['from', 'into'] as const) {
      checkObject({ field: side, rowIndex }, merge[side]);
      checkEntityType({ field: `${side}.entityType`, rowIndex }, merge[side].entityType);
      checkExternalId({ field: `${side}.externalId`, rowIndex }, merge[side].externalId);
    }
  });
  const rows = await queries.externalRecordMergeMany.run(
    {
      organisationId,
      provider,
      fromEntityTypes: merges.map(({ from }) => from.entityType),
      fromExternalIds: merges.map(({ from }) => from.externalId),
      intoEntityTypes: merges.map(({ into }) => into.entityType),
      intoExternalIds: merges.map(({ into }) => into.externalId),
      operationId: randomUUID(),
      ...authorColumns(params),
    },
    client,
  );
  return rows.map(({ outcome, contactId, otherContactId }) => {
    switch (outcome) {
      case 'contacts_differ':
        return { outcome, contactId: contactId as string, otherContactId: otherContactId as string };
      case 'unknown':
        return { outcome };
      default:
        return { outcome: outcome as 'merged' | 'same_record', contactId };
    }
  });
}
