import { randomUuid } from '../random.js';
import type { SimulatedRecord } from '../store.js';
import {
  activeRecord,
  bearer,
  byModified,
  type Call,
  check,
  type Dialect,
  entityTypeOf,
  isActive,
  knownRecord,
  objectIn,
  type SentFields,
  since,
  slice,
  update,
} from './dialect.js';

/** A bearer token; JSON:API; numbered pages, newest change first, including deleted records; no creates. */
export const street: Dialect = {
  hasEtag: false,
  creates: false,
  hasTimes: true,
  changedSince: 'filter[updated_from]',
  tells: ['deleted'],
  hasAccounts: false,
  tokensExpire: false,
  newId: (_, __, random) => randomUuid(random),
  error: (status, title) => ({ status, body: { errors: [{ status: String(status), title }] } }),
  answer(call, { store, keys, habits }) {
    const { method, segments, query, body } = call;
    const [collection = '', externalId] = segments;
    check(keys.hasKey(bearer(call)), 401, 'The token is not valid.');
    const entityType = entityTypeOf(collection, { people: 'contact', landlords: 'landlord' });
    check(method !== 'POST', 405, 'People can only be created in Street.');
    const shown = (record: SimulatedRecord) => ({
      type: collection,
      id: record.externalId,
      attributes: {
        full_name: record.name,
        email_address: record.email ?? null,
        telephone_number: record.phone ?? null,
        external_reference: record.reference,
        updated_at: record.modifiedAt.replace('Z', '+00:00'),
        deleted_at: isActive(record) ? null : record.modifiedAt.replace('Z', '+00:00'),
      },
    });
    if (externalId !== undefined) {
      if (method === 'GET')
        return { status: 200, body: { data: shown(knownRecord(store, entityType, externalId)) } };
      const record = activeRecord(store, entityType, externalId);
      const attributes = objectIn(objectIn(body.data).attributes);
      const updated = update(store, record, sent(attributes), attributes.external_reference);
      return { status: 200, body: { data: shown(updated) } };
    }
    const size = Math.min(habits.pageSize, Number(query.get('page[size]') ?? 25));
    const number = Number(query.get('page[number]') ?? 1);
    const matches = store
      .shown(entityType)
      .filter((record) => query.get('filter[trashed]') === 'with' || isActive(record))
      .filter(since(query.get('filter[updated_from]')))
      .sort(byModified)
      .reverse();
    const page = slice(matches, (number - 1) * size, size);
    const total = matches.length;
    const pages = { current_page: number, total_pages: Math.ceil(total / size) };
    const meta = { pagination: { total, count: page.length, per_page: size, ...pages } };
    return { status: 200, body: { data: page.map(shown), meta } };
  },
};

function sent({ full_name: name, email_address: email, telephone_number: phone }: Call['body']): SentFields {
  return { name, email, phone };
}
