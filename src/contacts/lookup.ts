import { withoutRow } from '../errors.js';
import * as queries from '../generated/contact_external_ids.js';
import type { NarrowedRow } from '../statements/narrowed-row.js';
import type { Queryable } from '../statements/prepared-query.js';
import type { Provider } from '../types.js';
import { checkBatch, checkUuid, checkUuids } from '../validation.js';
import { checkRecord, type ExternalRecord } from './external-records.js';

/** One of a contact's ids, and since when and until when a sync saw it. */
export interface ContactExternalId
  extends NarrowedRow<queries.ContactExternalIdListByContactsResult, { provider: Provider }> {}

/**
 * Whose are these external ids? Hundreds at a time cost about as much as a few.
 *
 * @returns contact ids by external id; unknown ones are absent
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`, with `rowIndex`
 */
export async function contactExternalIdResolveMany(
  client: Queryable,
  params: {
    /** Whose the contacts are: a UUID. */
    organisationId: string;
    /** Which CRM. */
    provider: Provider;
    /** What kind of records the ids name, in the provider's terms: lower snake case. */
    entityType: string;
    /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
    externalIds: readonly string[];
  },
): Promise<Map<string, string>> {
  const { organisationId, provider, entityType } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
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

/** What {@link contactExternalIdResolve} takes. */
export interface ContactExternalIdResolveParams extends ExternalRecord {
  /** Whose the contact is: a UUID. */
  organisationId: string;
}

/**
 * Whose is this external id? The contact's id, or null if nobody's.
 *
 * @throws CrmSchemaError `unknown_provider`, `invalid_input`
 */
export async function contactExternalIdResolve(
  client: Queryable,
  params: ContactExternalIdResolveParams,
): Promise<string | null> {
  const { externalId, ...rest } = params;
  const contacts = await contactExternalIdResolveMany(client, { ...rest, externalIds: [externalId] }).catch(
    withoutRow,
  );
  return contacts.get(externalId) ?? null;
}

/**
 * All external ids of some contacts, by contact and provider.
 *
 * @throws CrmSchemaError `invalid_input` with `rowIndex`
 */
export async function contactExternalIdListByContacts(
  client: Queryable,
  params: {
    /** Whose the contacts are: a UUID. */
    organisationId: string;
    /** UUIDs; of a contact that has none, or is another organisation's, nothing comes. */
    contactIds: readonly string[];
  },
): Promise<ContactExternalId[]> {
  const { organisationId } = params;
  checkUuid({ field: 'organisationId' }, organisationId);
  const contactIds = checkUuids('contactId', params.contactIds);
  const rows = await queries.contactExternalIdListByContacts.run({ organisationId, contactIds }, client);
  return rows as ContactExternalId[];
}

/**
 * All external ids of one contact, by provider.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function contactExternalIdListByContact(
  client: Queryable,
  params: {
    /** Whose the contact is: a UUID. */
    organisationId: string;
    /** A UUID. */
    contactId: string;
  },
): Promise<ContactExternalId[]> {
  const { organisationId, contactId } = params;
  return contactExternalIdListByContacts(client, { organisationId, contactIds: [contactId] }).catch(
    withoutRow,
  );
}
