import { createHash } from 'node:crypto';
import { checkParameter, refuse } from '../validation.js';

/** A value of a mapped field. Null, undefined, blank text, and an empty array or object all mean nothing. */
export type FieldValue =
  | string
  | number
  | bigint
  | boolean
  | Date
  | null
  | undefined
  | readonly FieldValue[]
  | { readonly [key: string]: FieldValue };

/**
 * Hashes the fields of a record that are mapped to a contact, so that what was pushed is recognised when it
 * comes back. CRMs change what they are sent, so the hash ignores the order of keys, letter case, the amount of
 * white space, the form of Unicode (NFKC), the difference between a number and its text, and fields without a
 * value. The order of an array counts.
 *
 * Pass the fields under your own names and in one format for all CRMs: bring phone numbers, which two CRMs may
 * write differently, to one form first. After a push, hash what the CRM then holds, if it tells.
 *
 * @param fields the values, under your own names
 * @returns SHA-256 in lower-case hex
 * @throws CrmSchemaError `invalid_input` for a value of another type, such as a Map, and for a number or a Date that is not
 *   valid
 */
export function contentHash(fields: { readonly [key: string]: FieldValue }): string {
  checkParameter('fields', fields);
  return createHash('sha256')
    .update(JSON.stringify(normalised(fields, 'fields')) ?? '')
    .digest('hex');
}

/** Returns the form in which equal contents are equal; undefined for nothing. */
function normalised(value: unknown, path: string): unknown {
  switch (typeof value) {
    case 'undefined':
      return undefined;
    case 'string':
      return normalisedText(value) || undefined;
    case 'bigint':
    case 'boolean':
      return String(value);
    case 'number':
      if (!Number.isFinite(value)) refuse({ field: path }, 'must be a finite number');
      return normalisedText(String(value));
    case 'object':
      return value === null ? undefined : normalisedObject(value, path);
    default:
      return refuse({ field: path }, `must not be a ${typeof value}`);
  }
}

function normalisedObject(value: object, path: string): unknown {
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) refuse({ field: path }, 'must be a valid Date');
    return normalisedText(value.toISOString());
  }
  if (Array.isArray(value)) {
    const elements = value
      .map((element, index) => normalised(element, `${path}.${index}`))
      .filter((element) => element !== undefined);
    return elements.length === 0 ? undefined : elements;
  }
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) refuse({ field: path }, 'must be a plain object');
  // As pairs, so that no array looks like an object, and keys that look like numbers are sorted like the others.
  const members = Object.entries(value)
    .map(([key, member]): [string, unknown] => [key, normalised(member, `${path}.${key}`)])
    .filter(([, member]) => member !== undefined)
    .sort(([left], [right]) => (left < right ? -1 : 1));
  return members.length === 0 ? undefined : { members };
}

/** To upper case first: that makes ß and SS alike. */
function normalisedText(text: string): string {
  return text.normalize('NFKC').toUpperCase().toLowerCase().normalize('NFKC').replace(/\s+/g, ' ').trim();
}
