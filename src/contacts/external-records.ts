import type { Provider } from '../types.js';
import {
  checkEntityType,
  checkExternalId,
  checkObject,
  checkProvider,
  describeValue,
  type InputLocation,
  refuse,
} from '../validation.js';

/** A record at a CRM. An external id means something only with its provider and entity type. */
export interface ExternalRecord {
  /** Which CRM. */
  provider: Provider;
  /** In the provider's terms, lower snake case: `contact`, `landlord`, `applicant` … */
  entityType: string;
  /** Case-sensitive text, whatever type the CRM sends: see `toExternalId`. */
  externalId: string;
}

/**
 * An external id as this schema keeps it: `123` and `"123"` are the same.
 *
 * @throws CrmSchemaError `invalid_input` on a number too large to be exact, a blank or an over-long id
 */
export function toExternalId(id: string | number | bigint): string {
  const place = { field: 'externalId' };
  // A record without an id must not become the record "undefined".
  if (typeof id !== 'string' && typeof id !== 'bigint' && !Number.isSafeInteger(id)) {
    refuse(place, `has to be text or a whole number that JavaScript holds exactly, not ${describeValue(id)}`);
  }
  const text = String(id);
  checkExternalId(place, text);
  return text;
}

/** @throws CrmSchemaError naming the field and the element of the batch */
export function checkRecord(record: ExternalRecord, rowIndex: number): void {
  const at = (field: string): InputLocation => ({ field, rowIndex });
  checkObject(at('element'), record);
  checkProvider(at('provider'), record.provider);
  checkEntityType(at('entityType'), record.entityType);
  checkExternalId(at('externalId'), record.externalId);
}
