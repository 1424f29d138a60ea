import { CrmSchemaError, type CrmSchemaErrorCode } from './errors.js';
import { type Provider, providers, type SyncError, syncErrorKinds } from './types.js';

/**
 * The rules of the database, checked before anything is sent, so that an error can name the field and
 * the element of a batch. The database stays the judge: tests hold the two against each other.
 */

/** Where a value stands, for error messages. */
export interface InputLocation {
  field: string;
  /** The element of a batch, counted from 0. */
  rowIndex?: number | undefined;
  /** Whether a secret may have slipped in there, so that the value must not be repeated. */
  isSensitive?: boolean | undefined;
}

/** @throws CrmSchemaError `invalid_input` (or `unknown_provider`), naming the place and never the value of free text */
export function refuse(
  place: InputLocation,
  problem: string,
  code: CrmSchemaErrorCode = 'invalid_input',
): never {
  throw new CrmSchemaError(code, `${place.field} ${problem}.`, { rowIndex: place.rowIndex });
}

/** The white space that the database's constraints take off. */
const blankPattern = /^[ \t\n\r\f\v]*$/;

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function checkUuid(place: InputLocation, value: unknown): void {
  if (typeof value !== 'string' || !uuidPattern.test(value))
    refuse(place, `has to be a UUID, not ${describeValue(value)}`);
}

/** How long a lease lasts without a sign of life, in seconds: up to a day. */
export function checkLease(leaseSeconds: unknown): void {
  checkWholeNumber({ field: 'leaseSeconds' }, leaseSeconds, 1, 86_400);
}

/** How long a CRM wants to be left alone, in seconds: up to a week. */
export function checkRetryAfter(place: InputLocation, retryAfterSeconds: unknown): void {
  checkWholeNumber(place, retryAfterSeconds, 0, 604_800);
}

export function checkProvider(place: InputLocation, value: unknown): asserts value is Provider {
  if (!isOneOf(value, providers)) {
    refuse(
      place,
      `has to be one of ${providers.join(', ')}, not ${describeValue(value)}`,
      'unknown_provider',
    );
  }
}

export function checkOneOf(place: InputLocation, value: unknown, allowed: readonly string[]): void {
  if (!isOneOf(value, allowed))
    refuse(place, `has to be one of ${allowed.join(', ')}, not ${describeValue(value)}`);
}

export function checkEntityType(place: InputLocation, value: unknown): void {
  if (typeof value !== 'string' || !/^[a-z][a-z0-9_]{0,62}$/.test(value)) {
    refuse(place, 'has to be lower snake case of 1 to 63 characters');
  }
}

export function checkExternalId(place: InputLocation, value: unknown): void {
  checkText(place, value);
  if (blankPattern.test(value)) refuse(place, 'is blank');
  if (Buffer.byteLength(value) > 512) refuse(place, 'is longer than 512 bytes');
}

/** Free text: neither blank nor longer than `limit` characters. */
export function checkShortText(place: InputLocation, value: unknown, limit: number): void {
  checkText(place, value);
  if (blankPattern.test(value)) refuse(place, 'is blank');
  // PostgreSQL counts code points, as the string's iterator does.
  if ([...value].length > limit) refuse(place, `is longer than ${limit} characters`);
}

/** A sync error, exactly as `crm_sync_error_is_valid` accepts it; returned as a plain object. */
export function checkSyncError({ field, rowIndex }: InputLocation, value: unknown): SyncError {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse({ field, rowIndex }, 'has to be an object with kind, retryable and message');
  }
  const at = (member: string): InputLocation => ({ field: `${field}.${member}`, rowIndex });
  const { kind, retryable, message, code, ...others } = value as Record<string, unknown>;
  checkOneOf(at('kind'), kind, syncErrorKinds);
  if (typeof retryable !== 'boolean') refuse(at('retryable'), 'has to be true or false');
  checkShortText(at('message'), message, 500);
  if (code !== undefined) checkShortText(at('code'), code, 100);
  const [other] = Object.keys(others);
  if (other !== undefined)
    refuse({ field, rowIndex }, `has a member that does not belong there: ${describeValue(other)}`);
  return { kind, retryable, message, ...(code === undefined ? {} : { code }) } as SyncError;
}

/**
 * The elements of a batch, with holes filled as undefined.
 *
 * @throws CrmSchemaError `invalid_input` if it is no array
 */
export function checkBatch<Element>(field: string, value: readonly Element[]): Element[] {
  if (!Array.isArray(value)) refuse({ field }, `has to be an array, not ${describeValue(value)}`);
  return Array.from(value);
}

/** A batch of UUIDs; `field` names one of them. */
export function checkUuids(field: string, value: readonly string[]): string[] {
  const uuids = checkBatch(`${field}s`, value);
  for (const [rowIndex, uuid] of uuids.entries()) checkUuid({ field, rowIndex }, uuid);
  return uuids;
}

/** An element of a batch, or what a call is given as a whole. */
export function checkObject(place: InputLocation, value: unknown): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse(place, `has to be an object, not ${describeValue(value)}`);
  }
}

/** The names of a row's fields, of each kind of row if there are several. */
type FieldOf<Row> = Row extends unknown ? keyof Row & string : never;

/** The fields that a row may have, for {@link checkFields}; the compiler sees to it that they are all there. */
export function fieldsOf<Row>(fields: Record<FieldOf<Row>, true>): ReadonlySet<string> {
  return new Set(Object.keys(fields));
}

/**
 * Refuses a field that nobody would look at: for rows with fields that may be left out, of which a misspelt
 * one would be missed by nobody. Where all have to be there, others do no harm, and whole records may be spread.
 */
export function checkFields(place: InputLocation, row: object, fields: ReadonlySet<string>): void {
  for (const name of Object.keys(row)) {
    if (fields.has(name) || (row as Record<string, unknown>)[name] === undefined) continue;
    const known = [...fields].join(', ');
    refuse(place, `has a field that does not belong there: ${describeValue(name)}; these do: ${known}`);
  }
}

/** A bigint that the database made, as text. */
export function checkId(place: InputLocation, value: unknown): void {
  if (typeof value !== 'string' || !/^\d{1,19}$/.test(value) || BigInt(value) > 9_223_372_036_854_775_807n) {
    refuse(place, `has to be an id as text, not ${describeValue(value)}`);
  }
}

export function checkWholeNumber(place: InputLocation, value: unknown, least: number, most: number): void {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    refuse(place, `has to be a whole number from ${least} to ${most}, not ${describeValue(value)}`);
  }
}

/** Which version of a connection's credentials. */
export function checkVersion(value: unknown): void {
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > 2_147_483_647) {
    refuse({ field: 'credentialsVersion' }, 'has to be a whole number from 1');
  }
}

/** The size of a page or a batch. */
export function checkLimit(value: number, field = 'limit'): void {
  if (!Number.isInteger(value) || value < 1 || value > 1000) {
    refuse({ field }, `has to be a whole number from 1 to 1000, not ${describeValue(value)}`);
  }
}

/** Text that PostgreSQL can store and hands back the same. */
export function checkText(place: InputLocation, value: unknown): asserts value is string {
  if (typeof value !== 'string') refuse(place, `has to be text, not ${describeValue(value)}`);
  if (value.includes('\0')) refuse(place, 'contains a NUL character');
  // Otherwise a lone surrogate becomes U+FFFD on the way, and two different ids could become one.
  if (/\p{Surrogate}/u.test(value)) refuse(place, 'contains half of a surrogate pair');
}

function isOneOf(value: unknown, allowed: readonly string[]): boolean {
  return (allowed as readonly unknown[]).includes(value);
}

/** Short and on one line, whatever it is; only for values that are no secrets and no personal data. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') {
    return value.length > 50 ? `${JSON.stringify(value.slice(0, 50))}…` : JSON.stringify(value);
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid Date' : value.toISOString();
  if (Array.isArray(value)) return 'an array';
  if (value === null || typeof value !== 'object')
    return typeof value === 'function' ? 'a function' : String(value);
  return 'an object';
}
