// Adapters that are each broken in one way, at one place, as people break them.

import type { Access, Subject } from '../../examples/adapter-conformance/rule.js';
import { sender } from '../../examples/adapters/http.js';
import { lastPage, pageOf } from '../../examples/adapters/passes.js';
import { recordOf } from '../../examples/adapters/reapit-fields.js';
import { CrmError, type CrmRecord } from '../../examples/crm.js';
import { agentosCrm } from '../simulated-crm/adapters/agentos.js';
import { altoCrm } from '../simulated-crm/adapters/alto.js';
import {
  afterwards,
  atEnd,
  type BrokenAdapter,
  broken,
  changed,
  customSubject,
  failing,
  inLists,
  later,
  lost,
  type NumberedPass,
  nothing,
  reapitPaging,
  sending,
  split,
  withValues,
} from './breaking.js';

/** Each breaks exactly one rule. */
export const brokenAdapters: readonly BrokenAdapter[] = [
  sending('asks for another path', 'opens, and reads a page', (send) => (request) => {
    return send({ ...request, path: `/v2${request.path}` });
  }),
  broken('reads people alone', 'reads every record', 'street', ({ readPage }) => ({
    readPage: async (type, from) => (type === 'contact' ? readPage(type, from) : nothing),
  })),
  {
    what: 'numbers pages of what changed since a time',
    rule: 'misses nobody when others change meanwhile',
    subject: reapitPaging((pass: NumberedPass, { found, isLast, date }) => {
      const begun = pass.begun ?? date;
      const records = found.map((each) => recordOf('contact', each));
      if (isLast) return lastPage(records, begun);
      return pageOf(records, { ...pass, begun, number: pass.number + 1 });
    }),
  },
  {
    what: 'continues after the time of the last record',
    rule: 'reads many records of one time',
    subject: reapitPaging((pass: NumberedPass, { found, isLast, date }) => {
      const begun = pass.begun ?? date;
      const records = found.map((each) => recordOf('contact', each));
      if (isLast) return lastPage(records, begun);
      return pageOf(records, { begun, number: 1, since: afterwards(String(records.at(-1)?.modifiedAt)) });
    }),
  },
  broken(
    'reads on when records have left the list',
    'misses nobody when others change meanwhile',
    'street',
    ({ readPage }) => ({
      async readPage(type, from) {
        const page = await readPage(type, from);
        return page.isLast ? page : { ...page, next: JSON.stringify({ ...JSON.parse(page.next), total: 0 }) };
      },
    }),
  ),
  broken(
    'asks for what changed after the time',
    'includes what changed at the very time',
    'alto',
    ({ readPage }) => ({
      readPage: (type, from) =>
        readPage(
          type,
          'token' in from || from.changedSince === null ? from : { changedSince: later(from.changedSince) },
        ),
    }),
  ),
  broken(
    'asks for changes on the first page alone',
    'reads only what has changed',
    'alto',
    ({ readPage }) => ({
      async readPage(type, from) {
        const page = await readPage(type, from);
        return page.isLast ? page : { ...page, next: withValues(page.next, { since: null }) };
      },
    }),
  ),
  broken('reads everything in each pass', 'reads only what has changed', 'alto', ({ readPage }) => ({
    readPage: (type, from) => readPage(type, 'token' in from ? from : { changedSince: null }),
  })),
  broken(
    'continues after the end of a pass, without overlap',
    'finds changes that appear late',
    'alto',
    ({ readPage }) => ({
      async readPage(type, from) {
        const page = await readPage(type, from);
        if (!page.isLast || page.next !== null) return page;
        const { syncedTo } = page;
        return { ...page, next: JSON.stringify({ since: syncedTo, begun: null, read: syncedTo }) };
      },
    }),
  ),
  broken('keeps the pass in memory', 'continues from the token alone', 'agentos', ({ readPage }) => {
    const tokens = new Map<string, string>();
    return {
      async readPage(type, from) {
        const token = 'token' in from ? tokens.get(from.token) : undefined;
        if ('token' in from && token === undefined) throw lost();
        const page = await readPage(type, token === undefined ? from : { token });
        if (page.isLast) return page;
        tokens.set(String(tokens.size), page.next);
        return { ...page, next: String(tokens.size - 1) };
      },
    };
  }),
  broken('keeps in memory when the pass began', 'continues from the token alone', 'alto', ({ readPage }) => {
    let begun: string | null = null;
    return {
      async readPage(type, from) {
        const page = await readPage(
          type,
          'token' in from ? { token: withValues(from.token, { begun }) } : from,
        );
        if (page.isLast) return page;
        begun = JSON.parse(page.next).begun;
        return { ...page, next: withValues(page.next, { begun: null }) };
      },
    };
  }),
  broken('puts the ids that it has read into the token', 'keeps tokens short', 'street', ({ readPage }) => ({
    async readPage(type, from) {
      const [token, seen] = 'token' in from ? split(from.token) : [undefined, []];
      const page = await readPage(type, token === undefined ? from : { token });
      if (page.isLast) return page;
      const all = [...seen, ...page.records.map(({ externalId }) => externalId)];
      return { ...page, next: `${page.next} ${all.join(' ')}` };
    },
  })),
  broken('says when the pass ended', 'says how far it has read, and no further', 'alto', ({ readPage }) => ({
    readPage: async (type, from) => atEnd(await readPage(type, from), () => new Date().toISOString()),
  })),
  broken(
    'rounds its time up to a millisecond',
    'says how far it has read, and no further',
    'alto',
    ({ readPage }) => ({
      readPage: async (type, from) => atEnd(await readPage(type, from), later),
    }),
  ),
  broken(
    'says its time without a zone',
    'says how far it has read, and no further',
    'street',
    ({ readPage }) => ({
      readPage: async (type, from) => atEnd(await readPage(type, from), (time) => time.replace('Z', '')),
    }),
  ),
  broken(
    'throws another error on a token that it cannot read',
    'says that a position is lost',
    'loop',
    ({ readPage }) => ({
      async readPage(type, from) {
        if ('token' in from) JSON.parse(from.token);
        return readPage(type, from);
      },
    }),
  ),
  broken('takes any JSON for its token', 'says that a position is lost', 'loop', ({ readPage }) => ({
    readPage: (type, from) => {
      const isOwn = !('token' in from) || from.token.includes('number') || !from.token.endsWith('}');
      return readPage(type, isOwn ? from : { changedSince: null });
    },
  })),
  inLists('gives numbers as ids', 'gives ids as text', 'alto', (record) => ({
    ...record,
    externalId: Number(record.externalId) as never,
  })),
  inLists('leaves out phones', 'gives each field as the CRM has it', 'custom', ({ phone, ...record }) => ({
    ...record,
    ...(phone === null ? { phone } : {}),
  })),
  inLists('leaves out empty fields', 'gives null for an empty field', 'custom', ({ email, ...record }) => ({
    ...record,
    ...(email === null ? {} : { email: email as string }),
  })),
  inLists('leaves out when records changed', 'says when each record changed', 'alto', (record) => ({
    ...record,
    modifiedAt: null,
  })),
  inLists('gives times without a zone', 'gives times with a zone, not rounded up', 'alto', (record) => ({
    ...record,
    modifiedAt: String(record.modifiedAt).replace('Z', ''),
  })),
  inLists('rounds modified times up', 'gives times with a zone, not rounded up', 'alto', (record) => ({
    ...record,
    modifiedAt: later(String(record.modifiedAt)),
  })),
  inLists('strips the quotes of versions', 'gives the version exactly', 'agentos', (record) => ({
    ...record,
    version: String(record.version).replaceAll('"', ''),
  })),
  inLists('gives no reference', 'gives our reference back', 'loop', (record) => ({
    ...record,
    reference: null,
  })),
  inLists('calls every record a contact', 'gives the type of each record', 'street', (record) => ({
    ...record,
    entityType: 'contact',
  })),
  broken('takes what it cannot find for deleted', 'takes absence for no deletion', 'agentos', ({ read }) => ({
    read: async (entityType, externalId) =>
      (await read(entityType, externalId)) ?? { entityType, externalId, name: '', state: 'deleted' },
  })),
  inLists('takes a merge for a deletion', 'tells each state that the CRM tells', 'custom', (record) =>
    record.state === 'merged' ? { ...record, state: 'deleted', mergedInto: null } : record,
  ),
  broken('keeps what it has read', 'reads one record as it is now', 'loop', ({ read }) => {
    const kept = new Map<string, CrmRecord | null>();
    return {
      async read(type, id) {
        if (!kept.has(id)) kept.set(id, await read(type, id));
        return kept.get(id) ?? null;
      },
    };
  }),
  broken('takes 404 for an error', 'reads null for a record that is not shown', 'loop', ({ read }) => ({
    async read(type, id) {
      const record = await read(type, id);
      if (record === null) throw new CrmError('not_found', 'No such record.', { retryable: false });
      return record;
    },
  })),
  sending('puts ids into addresses as they are', 'encodes ids in addresses', (send) => (request) => {
    return send({ ...request, path: decodeURIComponent(request.path) });
  }),
  broken('writes landlords to people', 'updates the record that it is given', 'street', ({ write }) => ({
    write: (contact, record) => write(contact, record && { ...record, entityType: 'contact' }),
  })),
  broken('returns what it has sent', 'returns what the CRM stored', 'custom', ({ write }) => ({
    async write(contact, record) {
      const written = await write(contact, record);
      return written && { ...written, name: contact.name };
    },
  })),
  broken(
    'leaves the phone number out after a write',
    'says the same after a write as when it is read',
    'street',
    ({ write }) => ({
      async write(contact, record) {
        const written = await write(contact, record);
        if (written === null || 'existing' in written) return written;
        const { phone: _, ...others } = written;
        return others;
      },
    }),
  ),
  broken('empties what is left out', 'leaves fields alone that are left out', 'custom', ({ write }) => ({
    write: (contact, record) =>
      write({ ...contact, email: contact.email ?? null, phone: contact.phone ?? null }, record),
  })),
  broken('leaves out what is empty', 'empties fields that are null', 'custom', ({ write }) => ({
    write: ({ email, phone, ...contact }, record) =>
      write({ ...contact, ...(email == null ? {} : { email }), ...(phone == null ? {} : { phone }) }, record),
  })),
  sending('updates without our reference', 'creates a record with our reference', (send) => (request) => {
    const { reference: _, ...body } = (request.body ?? {}) as { reference?: string };
    return send(request.method === 'PATCH' ? { ...request, body } : request);
  }),
  {
    what: 'creates without a look for what is there',
    rule: 'creates one record, even if an answer is lost',
    subject: {
      provider: 'agentos',
      open({ url, credentials: { apiKey, shortName }, timeoutMilliseconds }: Access<'agentos'>) {
        const send = sender({ url, timeoutMilliseconds, headers: () => ({ api_key: apiKey }) });
        return agentosCrm(async (request) => {
          const answer = await send(request);
          return request.query?.reference === undefined ? answer : { ...answer, body: { Data: [] } };
        }, shortName);
      },
    } satisfies Subject<'agentos'> as Subject<never>,
  },
  sending(
    'takes the record that is there for a new one',
    'names the record that an earlier creation has left, unwritten',
    (send) => async (request) => {
      const answer = await send(request);
      return request.method === 'POST' ? { ...answer, status: 201 } : answer;
    },
  ),
  broken(
    'updates the record that is there unread',
    'names the record that an earlier creation has left, unwritten',
    'custom',
    ({ write }) => ({
      async write(contact, record) {
        const written = await write(contact, record);
        return written !== null && 'existing' in written ? write(contact, written.existing) : written;
      },
    }),
  ),
  broken(
    'creates another record for one that is gone',
    'returns null for an update of a record that is gone',
    'loop',
    ({ write }) => ({
      write: async (contact, record) => (await write(contact, record)) ?? write(contact, null),
    }),
  ),
  broken('writes over any version', 'refuses to overwrite another version', 'reapit', ({ write }) => ({
    write: (contact, record) => write(contact, record && { ...record, version: null }),
  })),
  sending(
    'takes an answer of another shape for an empty page',
    'turns every failure into a CrmError',
    (send) => async (request) => {
      const answer = await send(request);
      const body = { changes: [], hasMore: false, ...answer.body };
      return request.path === '/changes' ? { ...answer, body } : answer;
    },
  ),
  failing('lets an error of fetch through', 'turns every failure into a CrmError', 'loop', (error) =>
    error.kind === 'network' ? new TypeError('fetch failed') : error,
  ),
  broken(
    'names the person in an error',
    'keeps secrets and personal data out of errors',
    'custom',
    ({ write }) => ({
      write: (contact, record) =>
        write(contact, record).catch((error) => {
          throw changed(error, { message: `${contact.name} could not be written.` });
        }),
    }),
  ),
  failing('takes 401 for a missing permission', '401 is auth', 'street', (error) =>
    error.kind === 'auth' ? changed(error, { kind: 'permission' }) : error,
  ),
  failing('takes 403 for a refused sign-in', '403 is permission', 'street', (error) =>
    error.kind === 'permission' ? changed(error, { kind: 'auth' }) : error,
  ),
  failing('would try refused values again', '400 and 422 are validation, for good', 'custom', (error) =>
    error.kind === 'validation' ? changed(error, { retryable: true }) : error,
  ),
  failing('takes 409 for refused values', '409 and 412 are conflict', 'custom', (error) =>
    error.kind === 'conflict' ? changed(error, { kind: 'validation' }) : error,
  ),
  failing('takes 429 for a fault of the CRM', '429 is rate_limited', 'custom', (error) =>
    error.kind === 'rate_limited' ? changed(error, { kind: 'provider' }) : error,
  ),
  failing('ignores Retry-After', 'says how long the CRM asks to wait', 'loop', (error) =>
    changed(error, { retryAfterSeconds: undefined }),
  ),
  failing('gives up after 503', '5xx is provider, and worth another try', 'custom', (error) =>
    error.code?.includes('503') ? changed(error, { retryable: false }) : error,
  ),
  sending(
    'takes a page of HTML for a refusal',
    'an answer that is not the CRM’s is provider',
    (send) => (request) => {
      return send(request).catch((error) => {
        throw error.kind === 'provider' && !/5\d\d/.test(error.code ?? '')
          ? changed(error, { kind: 'validation' })
          : error;
      });
    },
  ),
  failing('takes a cut line for a fault of the CRM', 'a cut line is network', 'loop', (error) =>
    error.kind === 'network' ? changed(error, { kind: 'provider' }) : error,
  ),
  {
    what: 'has a time limit of its own',
    rule: 'silence is timeout',
    subject: customSubject((send) => send, 6_000),
  },
  failing('takes silence for a cut line', 'silence is timeout', 'loop', (error) =>
    error.kind === 'timeout' ? changed(error, { kind: 'network' }) : error,
  ),
  {
    what: 'keeps the token that it began with',
    rule: 'renews an expired token mid-run',
    subject: {
      provider: 'alto',
      async open({ url, credentials, timeoutMilliseconds }) {
        const { client, agencyRef } = credentials;
        const body = new URLSearchParams({
          grant_type: 'client_credentials',
          client_id: String(client?.id),
          client_secret: String(client?.secret),
        });
        const answer = await sender({ url, timeoutMilliseconds })({ method: 'POST', path: '/token', body });
        const headers = () => ({
          authorization: `Bearer ${answer.body.access_token}`,
          agencyref: agencyRef,
        });
        return altoCrm(sender({ url, timeoutMilliseconds, headers }), agencyRef.toLowerCase());
      },
    } satisfies Subject<'alto'> as Subject<never>,
  },
  broken('names the account as the agency writes it', 'names the account', 'alto', ({ account }) => ({
    account: account?.toUpperCase(),
  })),
  broken('does not name the account', 'names the account', 'agentos', () => ({ account: undefined })),
];
