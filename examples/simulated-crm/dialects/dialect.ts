import { canonicalTimestamp } from '@nurturehub/crm-schema';
import type { ContactFields } from '../../contact-fields.js';
import type { CrmRecord } from '../../crm.js';
import type { Habits } from '../habits.js';
import type { Keys } from '../keys.js';
import type { Random } from '../random.js';
import type { SimulatedRecord, Store } from '../store.js';

/** A request as a dialect reads it. */
export interface Call {
  method: string;
  /** The segments of the path, decoded. */
  segments: string[];
  query: URLSearchParams;
  headers: Record<string, string | string[] | undefined>;
  /** The fields of a JSON object or a form; empty without a body. */
  body: Record<string, unknown>;
}

export interface Reply {
  status: number;
  headers?: Record<string, string>;
  /** Sent as JSON; the body is empty if omitted. */
  body?: unknown;
  /** Sent as it is, in place of `body`. */
  text?: string;
}

/** The state that a dialect works on. */
export interface World {
  store: Store;
  keys: Keys;
  random: Random;
  habits: Habits;
}

/** The API of one CRM. It throws a `Refusal`, which `error` turns into a reply. */
export interface Dialect {
  hasEtag: boolean;
  /** Whether it creates records for those who use its API. */
  creates: boolean;
  /** Whether it says when each record last changed. */
  hasTimes: boolean;
  /** The states that it tells, besides `active`. It does not show records in others. */
  tells: readonly CrmRecord['state'][];
  /** Whether who signs in names an account. */
  hasAccounts: boolean;
  /** Whether requests are made with a token that expires. */
  tokensExpire: boolean;
  /** The fields that it does not have. */
  lacks?: readonly (keyof ContactFields)[];
  /** The parameter of a list that asks for what has changed since a time, if it has one. */
  changedSince?: string;
  /** The parameter of a list that has the CRM's own token for the next page, if it has one. */
  pageToken?: string;
  newId(entityType: string, count: number, random: Random): string;
  answer(call: Call, world: World): Reply;
  error(status: number, message: string): Reply;
}

/** The error for a refused request. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;
  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

export function check(isFine: boolean, status: number, message: string): asserts isFine {
  if (!isFine) throw new Refusal(status, message);
}

export function bearer({ headers }: Call): string | undefined {
  return /^Bearer (.+)$/.exec(String(headers.authorization))?.[1];
}

export function accessToken(keys: Keys, { accessTokenMilliseconds }: Habits, isOfUser = false) {
  return {
    access_token: keys.newAccessToken(accessTokenMilliseconds, isOfUser),
    token_type: 'Bearer',
    expires_in: accessTokenMilliseconds / 1000,
  };
}

export function entityTypeOf(collection: string, entityTypes: Record<string, string>): string {
  const entityType = entityTypes[collection];
  check(entityType !== undefined, 404, 'No such resource.');
  return entityType;
}

export function knownRecord(store: Store, entityType: string, externalId: string): SimulatedRecord {
  const record = store.get(externalId);
  check(record?.entityType === entityType && record.state !== 'hidden', 404, 'No such record.');
  return record as SimulatedRecord;
}

export function activeRecord(store: Store, entityType: string, externalId: string): SimulatedRecord {
  const record = knownRecord(store, entityType, externalId);
  check(isActive(record), 404, 'No such record.');
  return record;
}

/** A person's fields as a request has them; those that are undefined stay as they are. */
export type SentFields = { [Field in keyof ContactFields]-?: unknown };

export function create(
  store: Store,
  entityType: string,
  sent: SentFields,
  reference: unknown,
): SimulatedRecord {
  const record = store.create(entityType, checked(sent), reference == null ? null : String(reference));
  store.journal('create', record);
  return record;
}

/** Updates a record; keeps its reference if none is given. */
export function update(
  store: Store,
  record: SimulatedRecord,
  sent: SentFields,
  reference: unknown,
): SimulatedRecord {
  const change = reference == null ? {} : { reference: String(reference) };
  const updated = store.change(record.externalId, { ...checked(sent), ...change });
  store.journal('update', updated);
  return updated;
}

export function checked({ name, email, phone }: SentFields): ContactFields {
  check(typeof name === 'string' && name.trim() !== '', 422, 'A name is required.');
  return { name, ...optional('email', email), ...optional('phone', phone) };
}

function optional(field: keyof ContactFields, value: unknown): Partial<ContactFields> {
  if (value === undefined) return {};
  check(value === null || typeof value === 'string', 422, `Not a valid ${field}.`);
  return { [field]: value };
}

export function objectIn(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

export function referenceIn(metadata: unknown): unknown {
  return objectIn(metadata).reference;
}

export function isActive({ state }: SimulatedRecord): boolean {
  return state === 'active';
}

/** Whether a record was modified at or after this time; always true without a time. */
export function since(from: string | null): (record: SimulatedRecord) => boolean {
  const least = from === null ? '' : canonicalTimestamp(from);
  return ({ modifiedAt }) => modifiedAt >= least;
}

/** Whether a record was modified at or before this time; always true without a time. */
export function until(to: string | null): (record: SimulatedRecord) => boolean {
  const most = to === null ? '~' : canonicalTimestamp(to);
  return ({ modifiedAt }) => modifiedAt <= most;
}

export function byModified(a: SimulatedRecord, b: SimulatedRecord): number {
  return compare(a.modifiedAt, b.modifiedAt);
}

export function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

export function oneOrNone(record: SimulatedRecord | undefined): SimulatedRecord[] {
  return record === undefined ? [] : [record];
}

export function slice<Element>(all: Element[], start: number, count: number): Element[] {
  return all.slice(start, start + count);
}

export function pad(count: number, digits: number): string {
  return String(count).padStart(digits, '0');
}

export function encode(text: string): string {
  return Buffer.from(text).toString('base64url');
}

export function decode(token: string): string {
  return Buffer.from(token, 'base64url').toString();
}
