import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider, RemoteState } from '../types.js';
import { checkUuids } from '../validation.js';

/** A record at a CRM that stands for a contact, and what is known of it there. */
export interface ContactExternalRecord
  extends NarrowedRow<
    queries.ExternalRecordListByContactsResult,
    { provider: Provider; remoteState: RemoteState }
  > {}

/**
 * Lists every record at a CRM that stands for some contacts: primary ids and aliases, ordered by contact and
 * provider, the primary id first.
 *
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function externalRecordListByContacts(
  client: Queryable,
  params: {
    /** The UUID of the contacts' organisation. */
    organisationId: string;
    /** UUIDs. Contacts without external ids, or of another organisation, return nothing. */
    contactIds: readonly string[];
  },
): Promise<ContactExternalRecord[]> {
  checkOrganisation(params);
  const { organisationId } = params;
  const contactIds = checkUuids('contactId', params.contactIds);
  const rows = await queries.externalRecordListByContacts.run({ organisationId, contactIds }, client);
  return rows as ContactExternalRecord[];
}
