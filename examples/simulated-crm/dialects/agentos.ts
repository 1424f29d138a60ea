import { randomText } from '../random.js';
import type { SimulatedRecord } from '../store.js';
import {
  activeRecord,
  type Call,
  check,
  compare,
  create,
  type Dialect,
  isActive,
  oneOrNone,
  type SentFields,
  slice,
  update,
} from './dialect.js';

/**
 * An API key; offset and count over everything, without a filter for changes; unlisted records may still
 * exist.
 */
export const agentos: Dialect = {
  hasEtag: true,
  creates: true,
  hasTimes: false,
  tells: [],
  hasAccounts: true,
  tokensExpire: false,
  newId: (_, __, random) =>
    randomText(random, 16, 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789'),
  error: (status, Message) => ({ status, body: { Message } }),
  answer({ method, segments, query, headers, body }, { store, keys, habits }) {
    const [account, collection, externalId] = segments;
    check(keys.hasKey(String(headers.api_key)), 401, 'The key is not valid.');
    check(account === keys.account, 404, 'No such agency.');
    check(collection === 'people', 404, 'No such resource.');
    const shown = (record: SimulatedRecord) => ({
      OID: record.externalId,
      Name: record.name,
      Email: record.email ?? null,
      Telephone: record.phone ?? null,
      Reference: record.reference,
      ETag: record.version,
    });
    if (externalId !== undefined) {
      const record = activeRecord(store, 'contact', externalId);
      if (method === 'GET') return { status: 200, body: shown(record) };
      return { status: 200, body: shown(update(store, record, sent(body), body.Reference)) };
    }
    if (method === 'POST')
      return { status: 201, body: shown(create(store, 'contact', sent(body), body.Reference)) };
    const reference = query.get('reference');
    const count = Math.min(habits.pageSize, Number(query.get('count') ?? 1000));
    // Sorted by name, so an edit can move a record anywhere, and only another pass finds everything.
    const matches =
      reference === null
        ? store
            .shown('contact')
            .filter(isActive)
            .sort((a, b) => compare(a.name, b.name))
        : oneOrNone(store.findByReference(reference));
    const page = slice(matches, Number(query.get('offset') ?? 0), count);
    return { status: 200, body: { TotalCount: matches.length, Data: page.map(shown) } };
  },
};

function sent({ Name: name, Email: email, Telephone: phone }: Call['body']): SentFields {
  return { name, email, phone };
}
