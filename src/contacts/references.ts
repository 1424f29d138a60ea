import * as queries from '../generated/contact_external_id_changes.js';
import { checkOrganisation } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkBatch, checkObject, checkUuid } from '../validation.js';
import { checkRecord } from './external-records.js';

/** A record that nobody has linked, and the contact id that it carries as its reference. */
export interface ContactReference {
  /** The kind of record, in the CRM's terms: `contact`, `landlord`, `applicant` … Lower snake case. */
  entityType: string;
  /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
  externalId: string;
  /** The UUID that the record carries. */
  contactId: string;
}

/** What a record's reference says. */
export interface ReferenceMeaning {
  /** The UUID that the record carries; or of the contact that this one was merged into, however often. */
  contactId: string;
  /**
   * - `contact`: sync knows the contact, or has erased the person. If it exists, the record is its: the answer to its
   *   creation was lost; of an erased person, a batch records nothing. If not, it was deleted: skip the record with reason
   *   `erased`
   * - `unlinked`: the record was unlinked from that contact, or re-pointed to another, and still carries its id: it names
   *   nobody
   * - `unknown`: sync has never seen such a contact. If none exists, it is another program's id
   */
  meaning: 'contact' | 'unlinked' | 'unknown';
}

/**
 * Says what the references of records mean that are not linked. Hundreds at a time cost about as much as a few. With the
 * lock of the ids (`contactExternalIdLock`), no merge changes the answer before the transaction ends.
 *
 * @returns one meaning per reference, in order
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`, with `rowIndex`
 */
export async function contactReferenceCheckMany(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The CRM. */
    provider: Provider;
    /** Up to a few thousand. */
    references: readonly ContactReference[];
  },
): Promise<ReferenceMeaning[]> {
  checkOrganisation(params);
  const { organisationId, provider } = params;
  const references = checkBatch('references', params.references);
  references.forEach((reference, rowIndex) => {
    checkObject({ field: 'references', rowIndex }, reference);
    checkRecord({ ...reference, provider }, rowIndex);
    checkUuid({ field: 'contactId', rowIndex }, reference.contactId);
  });
  const rows = await queries.contactReferenceCheckMany.run(
    {
      organisationId,
      provider,
      entityTypes: references.map(({ entityType }) => entityType),
      externalIds: references.map(({ externalId }) => externalId),
      contactIds: references.map(({ contactId }) => contactId),
    },
    client,
  );
  return rows.map(({ contactId, isUnlinked, isKnown }) => {
    if (isUnlinked) return { contactId, meaning: 'unlinked' };
    return { contactId, meaning: isKnown ? 'contact' : 'unknown' };
  });
}
