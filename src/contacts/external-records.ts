import { CrmSchemaError } from '../errors.js';
import type { Provider } from '../types.js';
import {
  checkEntityType,
  checkExternalId,
  checkObject,
  checkProvider,
  checkUuid,
  describeValue,
  type InputLocation,
  refuse,
} from '../validation.js';

/** A record at a CRM. An external id is only meaningful with its provider and entity type. */
export interface ExternalRecord {
  /** The CRM. */
  provider: Provider;
  /** The kind of record, in the CRM's terms: `contact`, `landlord`, `applicant` … Lower snake case. */
  entityType: string;
  /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
  externalId: string;
}

/** A contact, and a record at a CRM that represents it. */
export interface ContactLink extends ExternalRecord {
  /** The contact's UUID. */
  contactId: string;
}

/** The parameters of `contactExternalIdLink` and `contactExternalIdUnlink`. */
export interface ContactExternalIdLinkParams extends ContactLink {
  /** The organisation's UUID. */
  organisationId: string;
}

/**
 * Converts a CRM's id to the text that this schema stores: `123` and `"123"` are the same.
 *
 * @param id what the CRM sends
 * @throws CrmSchemaError `invalid_input` for a number that is not a safe integer, and for a blank or overlong
 *   id
 */
export function toExternalId(id: string | number | bigint): string {
  const place = { field: 'externalId' };
  // A missing id must not become the id "undefined".
  if (typeof id !== 'string' && typeof id !== 'bigint' && !Number.isSafeInteger(id)) {
    refuse(place, `must be text or a safe integer, not ${describeValue(id)}`);
  }
  const text = String(id);
  checkExternalId(place, text);
  return text;
}

/**
 * Checks a record.
 *
 * @param rowIndex the element of a batch, for the error
 * @throws CrmSchemaError naming the field and the element of the batch
 */
export function checkRecord(record: ExternalRecord, rowIndex?: number): void {
  const at = (field: string): InputLocation => ({ field, rowIndex });
  checkObject(at('element'), record);
  checkProvider(at('provider'), record.provider);
  checkEntityType(at('entityType'), record.entityType);
  checkExternalId(at('externalId'), record.externalId);
}

/** Converts records to columns, for `unnest`. */
export function recordColumns(records: readonly ExternalRecord[]) {
  return {
    providers: records.map(({ provider }) => provider),
    entityTypes: records.map(({ entityType }) => entityType),
    externalIds: records.map(({ externalId }) => externalId),
  };
}

/** Checks one link of a batch, as {@link checkRecord}. */
export function checkLink(link: ContactLink, rowIndex: number): void {
  checkRecord(link, rowIndex);
  checkUuid({ field: 'contactId', rowIndex }, link.contactId);
}

/** Converts links to columns, for `unnest`. */
export function linkColumns(links: readonly ContactLink[]) {
  return { ...recordColumns(links), contactIds: links.map(({ contactId }) => contactId) };
}

/** The error for a contact that the organisation does not have. */
export function noSuchContact(contactId: string | undefined, rowIndex: number): CrmSchemaError {
  return new CrmSchemaError('wrong_tenant', `The organisation has no contact ${contactId}.`, { rowIndex });
}
