import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider, RemoteState, Timestamp } from '../types.js';
import { checkUuids } from '../validation.js';

/** A record at a CRM that stands for a contact, and what is known of it there. */
export interface ContactExternalRecord
  extends NarrowedRow<
    queries.ExternalRecordListByContactsResult,
    { provider: Provider; remoteState: RemoteState }
  > {
  /** The UUID of NurtureHub's contact. */
  contactId: string;
  /** The CRM. */
  provider: Provider;
  /** The kind of record, in the CRM's own terms: lower snake case. */
  entityType: string;
  /** The record's id at the CRM: case-sensitive text. */
  externalId: string;
  /** Whether it is the contact's primary id at the CRM, rather than an alias. */
  isPrimary: boolean;
  /** When the contact was first linked to it. */
  firstSeenAt: Timestamp;
  /** When a sync last confirmed the link, to within a day. */
  lastSeenAt: Timestamp;
  /** The state of the record at the CRM, as last synced. */
  remoteState: RemoteState;
  /** The version of the record, exactly as the CRM writes it: an ETag with its quotes. Null if it is not known. */
  remoteVersion: string | null;
  /** When the record was last modified, by the CRM's clock. Null if it is not known. */
  remoteModifiedAt: Timestamp | null;
  /** If the CRM merged it into another record: the entity type of that one. */
  mergedIntoEntityType: string | null;
  /** If the CRM merged it into another record: the id of that one. */
  mergedIntoExternalId: string | null;
}

/**
 * Lists every record at a CRM that stands for some contacts: primary ids and aliases, ordered by contact and
 * provider, the primary id first.
 *
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function externalRecordListByContacts(
  client: Queryable,
  params: {
    /** The organisation's UUID. */
    organisationId: string;
    /** The contacts' UUIDs. Contacts without external ids, or of another organisation, return nothing. */
    contactIds: readonly string[];
  },
): Promise<ContactExternalRecord[]> {
  checkOrganisation(params);
  const { organisationId } = params;
  const contactIds = checkUuids('contactId', params.contactIds);
  const rows = await queries.externalRecordListByContacts.run({ organisationId, contactIds }, client);
  return rows as ContactExternalRecord[];
}
