import type { SimulatedRecord, Store } from '../store.js';
import {
  byModified,
  type Call,
  check,
  type Dialect,
  entityTypeOf,
  isActive,
  knownRecord,
  oneOrNone,
  pad,
  type Reply,
  referenceIn,
  since,
  slice,
  until,
  type World,
} from './dialect.js';
import { isShown, isUntimed, sent, shown } from './reapit-contacts.js';
import { answerToken, checkHeaders, described } from './reapit-tokens.js';

/**
 * OAuth by two grants, with single-use refresh tokens; ETags, without which nothing is updated; numbered pages; archived
 * contacts, which are a list of their own and take no changes; no deleted ones. What it knows of a person: see
 * reapit-contacts.ts. Unlike Reapit, it lets contacts be created that have a name alone, and has landlords who are
 * persons of their own.
 */
export const reapit: Dialect = {
  hasEtag: true,
  creates: true,
  hasTimes: true,
  changedSince: 'modifiedFrom',
  tells: ['archived'],
  hasAccounts: true,
  tokensExpire: true,
  // The observed shapes; a landlord's id has fewer digits.
  newId: (entityType, count) =>
    entityType === 'landlord' ? `RPT${pad(count, 6)}` : `OXF${pad(18_000_000 + count, 8)}`,
  error: described,
  answer(call, world) {
    const [collection = '', externalId] = call.segments;
    if (collection === 'token') return answerToken(call, world);
    checkHeaders(call, world.keys);
    const entityType = entityTypeOf(collection, { contacts: 'contact', landlords: 'landlord' });
    if (externalId === undefined)
      return call.method === 'POST' ? create(entityType, call, world) : list(entityType, call, world);
    const record = knownRecord(world.store, entityType, externalId);
    check(isShown(record), 404, 'No such record.');
    if (call.method !== 'GET') return update(record, call, world);
    const headers: Record<string, string> = record.version === null ? {} : { etag: record.version };
    return { status: 200, headers, body: shown(record, world.random) };
  },
};

function list(entityType: string, { query }: Call, { store, habits, random }: World): Reply {
  const pageSize = Math.min(habits.pageSize, Number(query.get('pageSize') ?? 25), 100);
  const pageNumber = Number(query.get('pageNumber') ?? 1);
  const [from, to] = [query.get('modifiedFrom'), query.get('modifiedTo')];
  for (const time of [from, to])
    check(time === null || /(Z|[+-]\d\d:?\d\d)$/.test(time), 400, 'A time needs a zone.');
  const matches = found(store, entityType, query.get('metadata'))
    .filter((record) => isActive(record) !== (query.get('fromArchive') === 'true'))
    .filter((record) => !isUntimed(record) || (from === null && to === null))
    .filter(since(from))
    .filter(until(to));
  if (query.get('sortBy') === 'modified') matches.sort(byModified);
  const page = slice(matches, (pageNumber - 1) * pageSize, pageSize);
  return {
    status: 200,
    body: {
      _embedded: page.map((record) => shown(record, random)),
      pageNumber,
      pageSize,
      pageCount: page.length,
      totalPageCount: Math.ceil(matches.length / pageSize),
      totalCount: matches.length,
    },
  };
}

/** The contacts in the order in which they were created, or those with the reference that `metadata` asks for. */
function found(store: Store, entityType: string, metadata: string | null): SimulatedRecord[] {
  if (metadata === null) {
    const byId = (a: SimulatedRecord, b: SimulatedRecord) => (a.externalId < b.externalId ? -1 : 1);
    return store.shown(entityType).filter(isShown).sort(byId);
  }
  const [, reference] = /^metadata\.reference \$eq '([^']*)'$/.exec(metadata) ?? [];
  check(reference !== undefined, 400, 'Not a filter of metadata.');
  return oneOrNone(store.findByReference(reference)).filter(isShown);
}

function create(entityType: string, { segments, body }: Call, { store }: World): Reply {
  for (const field of ['marketingConsent', 'officeIds', 'negotiatorIds'])
    check(body[field] !== undefined, 422, `${field} is required.`);
  const person = sent(body);
  const record = store.create(entityType, person, textOrNull(referenceIn(body.metadata)));
  store.journal('create', record);
  return { status: 201, headers: { location: `/${segments[0]}/${record.externalId}` } };
}

function update(record: SimulatedRecord, { headers, body }: Call, { store }: World): Reply {
  check(headers['if-match'] === record.version, 412, 'The eTag is not the current one.');
  check(isActive(record), 400, 'Unable to perform update operations on archived contacts.');
  const reference = body.metadata == null ? record.reference : textOrNull(referenceIn(body.metadata));
  const updated = store.change(record.externalId, { ...sent(body, record), reference });
  store.journal('update', updated);
  return { status: 204 };
}

function textOrNull(value: unknown): string | null {
  return value == null ? null : String(value);
}
