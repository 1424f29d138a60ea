import { randomText } from '../random.js';
import type { SimulatedRecord } from '../store.js';
import {
  activeRecord,
  byModified,
  type Call,
  check,
  create,
  type Dialect,
  isActive,
  oneOrNone,
  type Reply,
  type SentFields,
  slice,
  update,
} from './dialect.js';

/** An API key; numbered pages over everything; errors with HTTP 200. */
export const loop: Dialect = {
  hasEtag: false,
  creates: true,
  hasTimes: false,
  tells: [],
  hasAccounts: false,
  tokensExpire: false,
  newId: (_, __, random) => `lp_${randomText(random, 12)}`,
  // Errors also have HTTP status 200.
  error: (status, message) => ({ status: 200, body: { statusCode: 'error', errorCode: status, message } }),
  answer({ method, segments, query, headers, body }, { store, keys, habits }) {
    const [collection, externalId] = segments;
    check(keys.hasKey(String(headers['x-api-key'])), 401, 'The key is not valid.');
    check(collection === 'contacts', 404, 'No such resource.');
    const shown = ({ externalId: id, name, email = null, phone = null, reference }: SimulatedRecord) => ({
      id,
      name,
      email,
      phone,
      reference,
    });
    const success = (data: unknown, others: object = {}): Reply => ({
      status: 200,
      body: { statusCode: 'success', data, ...others },
    });
    if (externalId !== undefined) {
      const record = activeRecord(store, 'contact', externalId);
      return success(shown(method === 'GET' ? record : update(store, record, sent(body), body.reference)));
    }
    if (method === 'POST') return success(shown(create(store, 'contact', sent(body), body.reference)));
    const reference = query.get('reference');
    const page = Number(query.get('page') ?? 1);
    const matches =
      reference === null
        ? store.shown('contact').filter(isActive).sort(byModified)
        : oneOrNone(store.findByReference(reference));
    const data = slice(matches, (page - 1) * habits.pageSize, habits.pageSize);
    return success(data.map(shown), { pages: Math.ceil(matches.length / habits.pageSize) });
  },
};

function sent({ name, email, phone }: Call['body']): SentFields {
  return { name, email, phone };
}
