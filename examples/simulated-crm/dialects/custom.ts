import type { SimulatedRecord } from '../store.js';
import {
  activeRecord,
  bearer,
  type Call,
  check,
  create,
  type Dialect,
  decode,
  encode,
  knownRecord,
  type SentFields,
  update,
} from './dialect.js';

/** A bearer token; a feed of changes with an opaque cursor, including deletions and merges. */
export const custom: Dialect = {
  hasEtag: false,
  creates: true,
  hasTimes: false,
  tells: ['deleted', 'merged'],
  hasAccounts: false,
  tokensExpire: false,
  pageToken: 'cursor',
  newId: (_, count) => `person:${count}`,
  error: (status, message) => ({ status, body: { code: `E${status}`, message } }),
  answer(call, { store, keys, habits }) {
    const { method, segments, query, body } = call;
    const [collection, externalId] = segments;
    check(keys.hasKey(bearer(call)), 401, 'The token is not valid.');
    const shown = ({
      externalId: id,
      name,
      email = null,
      phone = null,
      reference,
      state,
      mergedInto,
    }: SimulatedRecord) => ({
      id,
      name,
      email,
      phone,
      reference,
      state,
      mergedInto,
    });
    if (collection === 'changes') {
      // In the order in which changes appeared, so a late change comes after every existing cursor.
      const given = query.get('cursor') ?? encode('0/0');
      check(/^[\d.]+\/\d+$/.test(decode(given)), 410, 'The cursor is not valid any more.');
      const [time = 0, sequence = 0] = decode(given).split('/').map(Number);
      const rest = store
        .shown('contact')
        .filter(
          (change) => change.visibleAt > time || (change.visibleAt === time && change.sequence > sequence),
        );
      const page = rest.slice(0, habits.pageSize);
      const last = page.at(-1);
      const cursor = last ? encode(`${last.visibleAt}/${last.sequence}`) : given;
      return {
        status: 200,
        body: { changes: page.map(shown), cursor, hasMore: rest.length > page.length },
      };
    }
    check(collection === 'contacts', 404, 'No such resource.');
    if (externalId !== undefined) {
      if (method === 'GET') return { status: 200, body: shown(knownRecord(store, 'contact', externalId)) };
      const record = activeRecord(store, 'contact', externalId);
      return { status: 200, body: shown(update(store, record, sent(body), body.reference)) };
    }
    // A create with an existing reference answers with the existing record.
    const same = store.findByReference(String(body.reference));
    if (same !== undefined) return { status: 200, body: shown(same) };
    return { status: 201, body: shown(create(store, 'contact', sent(body), body.reference)) };
  },
};

function sent({ name, email, phone }: Call['body']): SentFields {
  return { name, email, phone };
}
