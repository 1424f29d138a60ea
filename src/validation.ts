import { CrmSchemaError, type CrmSchemaErrorCode } from './errors.js';
import { type Provider, providers, type SyncError, type SyncErrorKind, syncErrorKinds } from './types.js';

/**
 * The database's rules, checked before anything is sent. An error can then name the field and the element
 * of a batch. The database still enforces them: tests compare the two.
 */

/** Where a value was given, for error messages. */
export interface InputLocation {
  field: string;
  /** The element of a batch, counted from 0. */
  rowIndex?: number | undefined;
  /** Whether the value could be a misplaced secret. If so, it is not repeated. */
  isSensitive?: boolean | undefined;
}

/**
 * Refuses a value.
 *
 * @throws CrmSchemaError `invalid_input` (or the given code), with the field's name and never the value of
 * free text
 */
export function refuse(
  location: InputLocation,
  problem: string,
  code: CrmSchemaErrorCode = 'invalid_input',
): never {
  throw new CrmSchemaError(code, `${location.field} ${problem}.`, { rowIndex: location.rowIndex });
}

/** The white space that the database's constraints trim. */
const blankPattern = /^[ \t\n\r\f\v]*$/;

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function checkUuid(location: InputLocation, value: unknown): void {
  if (typeof value !== 'string' || !uuidPattern.test(value))
    refuse(location, `must be a UUID, not ${describeValue(value)}`);
}

/** How long a lease lasts without a heartbeat, in seconds: up to a day. */
export function checkLease(leaseSeconds: unknown): void {
  checkWholeNumber({ field: 'leaseSeconds' }, leaseSeconds, 1, 86_400);
}

/** How long a CRM asks to be left alone, in seconds: up to a week. */
export function checkRetryAfter(location: InputLocation, retryAfterSeconds: unknown): void {
  checkWholeNumber(location, retryAfterSeconds, 0, 604_800);
}

export function checkProvider(location: InputLocation, value: unknown): asserts value is Provider {
  if (!isOneOf(value, providers)) {
    refuse(
      location,
      `must be one of ${providers.join(', ')}, not ${describeValue(value)}`,
      'unknown_provider',
    );
  }
}

/** A list of CRMs. */
export function checkProviders(value: readonly Provider[]): Provider[] {
  const checked = checkBatch('providers', value);
  checked.forEach((provider, rowIndex) => {
    checkProvider({ field: 'providers', rowIndex }, provider);
  });
  return checked;
}

/** The CRMs that a worker claims work of; null for all. */
export function checkClaimedProviders(value: readonly Provider[] | undefined): Provider[] | null {
  if (value === undefined) return null;
  const checked = checkProviders(value);
  // Nobody means to claim nothing: more likely, a setting was lost.
  if (checked.length === 0) refuse({ field: 'providers' }, 'must name a CRM; omit it for all');
  return checked;
}

export function checkOneOf(location: InputLocation, value: unknown, allowed: readonly string[]): void {
  if (!isOneOf(value, allowed))
    refuse(location, `must be one of ${allowed.join(', ')}, not ${describeValue(value)}`);
}

export function checkEntityType(location: InputLocation, value: unknown): void {
  if (typeof value !== 'string' || !/^[a-z][a-z0-9_]{0,62}$/.test(value)) {
    refuse(location, 'must be lower snake case of 1 to 63 characters');
  }
}

export function checkExternalId(location: InputLocation, value: unknown): void {
  checkText(location, value);
  if (blankPattern.test(value)) refuse(location, 'is blank');
  if (Buffer.byteLength(value) > 512) refuse(location, 'is longer than 512 bytes');
}

/** The name of an account at a CRM: as opaque as an external id. */
export function checkAccount(location: InputLocation, value: unknown): void {
  checkExternalId(location, value);
}

/** A version of a record, as the CRM writes it. */
export function checkRemoteVersion(location: InputLocation, value: unknown): void {
  checkText(location, value);
  const bytes = Buffer.byteLength(value);
  if (bytes < 1 || bytes > 512) refuse(location, 'must have 1 to 512 bytes');
}

/** What `contentHash` returns: SHA-256 in lower-case hex. */
export function checkContentHash(location: InputLocation, value: unknown): void {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) {
    refuse(location, `must be what contentHash returns, not ${describeValue(value)}`);
  }
}

/** Free text that is not blank and has at most `limit` characters. */
export function checkShortText(location: InputLocation, value: unknown, limit: number): void {
  checkText(location, value);
  if (blankPattern.test(value)) refuse(location, 'is blank');
  // PostgreSQL counts code points, and so does a string's iterator.
  if ([...value].length > limit) refuse(location, `is longer than ${limit} characters`);
}

/** Checks a sync error by the rules of `crm_sync_error_is_valid`, and returns it as a plain object. */
export function checkSyncError({ field, rowIndex }: InputLocation, value: unknown): SyncError {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse({ field, rowIndex }, 'must be an object with kind, retryable and message');
  }
  const member = (name: string): InputLocation => ({ field: `${field}.${name}`, rowIndex });
  const { kind, retryable, message, code, ...others } = value as Record<string, unknown>;
  checkOneOf(member('kind'), kind, syncErrorKinds);
  if (typeof retryable !== 'boolean') refuse(member('retryable'), 'must be true or false');
  checkShortText(member('message'), message, 500);
  if (code !== undefined) checkShortText(member('code'), code, 100);
  const [other] = Object.keys(others);
  if (other !== undefined) refuse({ field, rowIndex }, `has an unknown field: ${describeValue(other)}`);
  return { kind, retryable, message, ...(code === undefined ? {} : { code }) } as SyncError;
}

/** Kinds of error to choose records by, each once. */
export function checkErrorKinds(kinds: readonly SyncErrorKind[] = syncErrorKinds): SyncErrorKind[] {
  const checked = checkBatch('kinds', kinds);
  for (const [rowIndex, kind] of checked.entries())
    checkOneOf({ field: 'kinds', rowIndex }, kind, syncErrorKinds);
  return [...new Set(checked)];
}

/**
 * The elements of a batch, with holes as undefined.
 *
 * @throws CrmSchemaError `invalid_input` if the value is not an array
 */
export function checkBatch<Element>(field: string, value: readonly Element[]): Element[] {
  if (!Array.isArray(value)) refuse({ field }, `must be an array, not ${describeValue(value)}`);
  return Array.from(value);
}

/** A batch of UUIDs. `field` is the singular: `contactId` for `contactIds`. */
export function checkUuids(field: string, value: readonly string[]): string[] {
  const uuids = checkBatch(`${field}s`, value);
  for (const [rowIndex, uuid] of uuids.entries()) checkUuid({ field, rowIndex }, uuid);
  return uuids;
}

/** An element of a batch, or a call's whole parameter object. */
export function checkObject(location: InputLocation, value: unknown): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse(location, `must be an object, not ${describeValue(value)}`);
  }
}

/** An object that a call takes as a parameter. Anything else could be a misplaced secret, so it is not repeated. */
export function checkParameter(field: string, value: unknown): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    refuse({ field }, `must be an object, not ${kindOf(value)}`);
  }
}

/** The options of a function that people give to `map` or `filter`, which pass an index instead: only null is refused. */
export function checkOptions(options: unknown): void {
  if (options === null) refuse({ field: 'options' }, 'must be an object, not null');
}

/** A time of this machine. */
export function checkDate(field: string, value: unknown): asserts value is Date {
  if (!(value instanceof Date)) refuse({ field }, `must be a Date, not ${describeValue(value)}`);
}

/** The names of a row's fields; for a union, those of every member. */
type FieldOf<Row> = Row extends unknown ? keyof Row & string : never;

/** The fields that a row may have, for {@link checkFields}. The compiler makes sure that none is missing. */
export function fieldsOf<Row>(fields: Record<FieldOf<Row>, true>): ReadonlySet<string> {
  return new Set(Object.keys(fields));
}

/**
 * Refuses unknown fields. For rows with optional fields: a misspelt one would go unnoticed. Where every field
 * is required, unknown fields do no harm, and callers may spread whole records.
 */
export function checkFields(location: InputLocation, row: object, fields: ReadonlySet<string>): void {
  for (const name of Object.keys(row)) {
    if (fields.has(name) || (row as Record<string, unknown>)[name] === undefined) continue;
    const known = [...fields].join(', ');
    refuse(location, `has an unknown field: ${describeValue(name)}; known fields: ${known}`);
  }
}

export function checkFlag(location: InputLocation, value: unknown): void {
  if (typeof value !== 'boolean') refuse(location, `must be true or false, not ${describeValue(value)}`);
}

/** A bigint that the database generated, as text. */
export function checkId(location: InputLocation, value: unknown): void {
  if (typeof value !== 'string' || !/^\d{1,19}$/.test(value) || BigInt(value) > 9_223_372_036_854_775_807n) {
    refuse(location, `must be an id as text, not ${describeValue(value)}`);
  }
}

export function checkWholeNumber(location: InputLocation, value: unknown, least: number, most: number): void {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    refuse(location, `must be a whole number from ${least} to ${most}, not ${describeValue(value)}`);
  }
}

/** A version of a connection's credentials. */
export function checkVersion(value: unknown): void {
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > 2_147_483_647) {
    refuse({ field: 'credentialsVersion' }, 'must be a whole number from 1');
  }
}

/** The size of a page or a batch. */
export function checkLimit(value: number, field = 'limit'): void {
  if (!Number.isInteger(value) || value < 1 || value > 1000) {
    refuse({ field }, `must be a whole number from 1 to 1000, not ${describeValue(value)}`);
  }
}

/** Text that PostgreSQL can store and returns unchanged. */
export function checkText(location: InputLocation, value: unknown): asserts value is string {
  if (typeof value !== 'string') refuse(location, `must be text, not ${describeValue(value)}`);
  if (value.includes('\0')) refuse(location, 'must not contain NUL');
  // A lone surrogate is sent as U+FFFD, so two different ids could become one.
  if (/\p{Surrogate}/u.test(value)) refuse(location, 'must not contain half of a surrogate pair');
}

function isOneOf(value: unknown, allowed: readonly string[]): boolean {
  return (allowed as readonly unknown[]).includes(value);
}

/** Describes any value briefly, on one line. Not for secrets or personal data. */
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

/** Names the kind of any value, also where the value could be a secret. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}
