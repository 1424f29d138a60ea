import type { SimulatedRecord } from '../store.js';
import {
  accessToken,
  activeRecord,
  bearer,
  type Call,
  check,
  compare,
  create,
  type Dialect,
  decode,
  encode,
  isActive,
  Refusal,
  type SentFields,
  since,
  update,
} from './dialect.js';

/**
 * OAuth client credentials; an opaque token leads to the next page; refuses a second record with the same
 * reference.
 */
export const alto: Dialect = {
  hasEtag: false,
  creates: true,
  hasTimes: true,
  changedSince: 'modified-from',
  tells: [],
  hasAccounts: true,
  tokensExpire: true,
  pageToken: 'next-token',
  newId: (_, count) => String(700_000 + count),
  // Two shapes, both observed.
  error: (status, message) => ({
    status,
    body: status < 500 ? { error: message } : { errors: [{ code: `ALTO-${status}`, message }] },
  }),
  answer(call, { store, keys, habits, random }) {
    const { method, segments, query, headers, body } = call;
    const [collection, externalId] = segments;
    if (collection === 'token') {
      check(body.grant_type === 'client_credentials', 400, 'unsupported_grant_type');
      const client = [body.client_id, body.client_secret].map(String);
      check(keys.hasClient(client[0], client[1]), 401, 'invalid_client');
      return { status: 200, body: accessToken(keys, habits) };
    }
    check(keys.hasAccessToken(bearer(call)), 401, 'The token is not valid.');
    check(String(headers.agencyref).toLowerCase() === keys.account, 403, 'No such AgencyRef.');
    check(collection === 'contacts', 404, 'No such resource.');
    const shown = (record: SimulatedRecord) => ({
      id: random() < 0.5 ? Number(record.externalId) : record.externalId,
      displayName: record.name,
      email: record.email ?? null,
      telephone: record.phone ?? null,
      modified: record.modifiedAt,
      reference: record.reference,
    });
    if (externalId !== undefined) {
      const record = activeRecord(store, 'contact', externalId);
      if (method === 'GET') return { status: 200, body: shown(record) };
      return { status: 200, body: shown(update(store, record, sent(body), body.reference)) };
    }
    if (method === 'POST') {
      const same = store.findByReference(String(body.reference));
      if (same !== undefined) {
        throw new Refusal(409, 'The record already exists.', { location: `/contacts/${same.externalId}` });
      }
      const record = create(store, 'contact', sent(body), body.reference);
      return { status: 201, body: { id: shown(record).id } };
    }
    // The token says after which time and id to continue, because such pages do not shift.
    const token = query.get('next-token');
    const after = token === null ? '' : decode(token);
    check(/^(\d{4}-\S+ \S+)?$/.test(after), 410, 'The token is not valid any more.');
    const rest = store
      .shown('contact')
      .filter(isActive)
      .filter(since(query.get('modified-from')))
      .map((record) => ({ record, place: `${record.modifiedAt} ${record.externalId}` }))
      .sort((a, b) => compare(a.place, b.place))
      .filter(({ place }) => place > after);
    const page = rest.slice(0, habits.pageSize);
    const last = page.at(-1);
    const nextToken = rest.length > page.length && last ? encode(last.place) : null;
    return { status: 200, body: { data: page.map(({ record }) => shown(record)), nextToken } };
  },
};

function sent({ displayName: name, email, telephone: phone }: Call['body']): SentFields {
  return { name, email, phone };
}
