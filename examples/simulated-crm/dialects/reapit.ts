import type { SimulatedRecord } from '../store.js';
import {
  accessToken,
  activeRecord,
  bearer,
  byModified,
  type Call,
  check,
  create,
  type Dialect,
  entityTypeOf,
  isActive,
  oneOrNone,
  pad,
  Refusal,
  referenceIn,
  type SentFields,
  since,
  slice,
  until,
  update,
} from './dialect.js';

/**
 * OAuth with single-use refresh tokens; ETags; numbered pages, oldest change first; hides deleted records.
 */
export const reapit: Dialect = {
  hasEtag: true,
  creates: true,
  tells: [],
  hasAccounts: true,
  tokensExpire: true,
  // The observed shapes; a landlord's id has fewer digits.
  newId: (entityType, count) =>
    entityType === 'landlord' ? `RPT${pad(count, 6)}` : `OXF${pad(18_000_000 + count, 8)}`,
  error: (statusCode, description) => ({
    status: statusCode,
    body: { statusCode, dateTime: new Date().toISOString(), description, errors: [] },
  }),
  answer(call, { store, keys, habits, random }) {
    const { method, segments, query, headers, body } = call;
    const [collection = '', externalId] = segments;
    if (collection === 'token') {
      const next = keys.useRefreshToken(String(body.refresh_token));
      if (body.grant_type !== 'refresh_token' || next === undefined) throw new Refusal(400, 'invalid_grant');
      return { status: 200, body: { ...accessToken(keys, habits), refresh_token: next } };
    }
    check(keys.hasAccessToken(bearer(call)), 401, 'The token is not valid.');
    check(headers['reapit-customer'] === keys.account, 403, 'No such reapit-customer.');
    const entityType = entityTypeOf(collection, { contacts: 'contact', landlords: 'landlord' });
    const shown = (record: SimulatedRecord) => ({
      id: record.externalId,
      name: record.name,
      email: record.email ?? null,
      mobilePhone: record.phone ?? null,
      // A precision of 100 nanoseconds, and sometimes no zone.
      modified: record.modifiedAt.replace('Z', random() < 0.3 ? '7' : '7Z'),
      _eTag: record.version,
      metadata: { reference: record.reference },
    });
    if (externalId !== undefined) {
      const record = activeRecord(store, entityType, externalId);
      if (method === 'GET') return { status: 200, body: shown(record) };
      check(headers['if-match'] === record.version, 412, 'The eTag is not the current one.');
      update(store, record, sent(body), referenceIn(body.metadata));
      return { status: 204 };
    }
    if (method === 'POST') {
      const record = create(store, entityType, sent(body), referenceIn(body.metadata));
      return { status: 201, headers: { location: `/${collection}/${record.externalId}` } };
    }
    const reference = query.get('reference');
    const pageSize = Math.min(habits.pageSize, Number(query.get('pageSize') ?? 25));
    const pageNumber = Number(query.get('pageNumber') ?? 1);
    const matches =
      reference === null
        ? store
            .shown(entityType)
            .filter(isActive)
            .filter(since(query.get('modifiedFrom')))
            .filter(until(query.get('modifiedTo')))
            .sort(byModified)
        : oneOrNone(store.findByReference(reference));
    const page = slice(matches, (pageNumber - 1) * pageSize, pageSize);
    return {
      status: 200,
      body: {
        _embedded: page.map(shown),
        pageNumber,
        pageSize,
        pageCount: page.length,
        totalCount: matches.length,
      },
    };
  },
};

function sent({ name, email, mobilePhone: phone }: Call['body']): SentFields {
  return { name, email, phone };
}
