import { withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import { checkOrganisation } from '../keys.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkBatch, checkParameter, checkUuids } from '../validation.js';
import { checkRecord, type ExternalRecord } from './external-records.js';

/** One of a contact's external ids, and when a sync first and last saw it. */
export interface ContactExternalId
  extends NarrowedRow<queries.ContactExternalIdListByContactsResult, { provider: Provider }> {}

/**
 * Finds the contacts that external ids are mapped to. Hundreds at a time cost about as much as a few.
 *
 * @returns contact ids by external id; unmapped external ids are absent
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`, with `rowIndex`
 */
export async function contactExternalIdResolveMany(
  client: Queryable,
  params: {
    /** The UUID of the contacts' organisation. */
    organisationId: string;
    /** The CRM. */
    provider: Provider;
    /** The entity type of the records, in the provider's terms: lower snake case. */
    entityType: string;
    /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
    externalIds: readonly string[];
  },
): Promise<Map<string, string>> {
  checkOrganisation(params);
  const { organisationId, provider, entityType } = params;
  const externalIds = checkBatch('externalIds', params.externalIds);
  externalIds.forEach((externalId, rowIndex) => {
    checkRecord({ provider, entityType, externalId }, rowIndex);
  });
  const rows = await queries.contactExternalIdResolve.run(
    { organisationId, provider, entityType, externalIds },
    client,
  );
  return new Map(rows.map(({ externalId, contactId }) => [externalId, contactId]));
}

/** The parameters of {@link contactExternalIdResolve}. */
export interface ContactExternalIdResolveParams extends ExternalRecord {
  /** The UUID of the contact's organisation. */
  organisationId: string;
}

/**
 * Finds the contact that an external id is mapped to; null if there is none.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function contactExternalIdResolve(
  client: Queryable,
  params: ContactExternalIdResolveParams,
): Promise<string | null> {
  checkParameter('params', params);
  const { externalId, ...rest } = params;
  const contacts = await contactExternalIdResolveMany(client, { ...rest, externalIds: [externalId] }).catch(
    withoutRow,
  );
  return contacts.get(externalId) ?? null;
}

/**
 * Lists all external ids of some contacts, ordered by contact and provider.
 *
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function contactExternalIdListByContacts(
  client: Queryable,
  params: {
    /** The UUID of the contacts' organisation. */
    organisationId: string;
    /** UUIDs. Contacts without external ids, or of another organisation, return nothing. */
    contactIds: readonly string[];
  },
): Promise<ContactExternalId[]> {
  checkOrganisation(params);
  const { organisationId } = params;
  const contactIds = checkUuids('contactId', params.contactIds);
  const rows = await queries.contactExternalIdListByContacts.run({ organisationId, contactIds }, client);
  return rows as ContactExternalId[];
}

/**
 * Lists all external ids of one contact, ordered by provider.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function contactExternalIdListByContact(
  client: Queryable,
  params: {
    /** The UUID of the contact's organisation. */
    organisationId: string;
    /** The contact's UUID. */
    contactId: string;
  },
): Promise<ContactExternalId[]> {
  checkParameter('params', params);
  const { organisationId, contactId } = params;
  return contactExternalIdListByContacts(client, { organisationId, contactIds: [contactId] }).catch(
    withoutRow,
  );
}
