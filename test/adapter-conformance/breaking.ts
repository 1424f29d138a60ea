// How adapters are broken at one place.

import { adapterOf, signing } from '../../examples/adapter-conformance/reapit-subject.js';
import type { Subject } from '../../examples/adapter-conformance/rule.js';
import { listIn } from '../../examples/adapters/answers.js';
import { type Send, sender } from '../../examples/adapters/http.js';
import { passOf } from '../../examples/adapters/passes.js';
import type { ReapitContact } from '../../examples/adapters/reapit-fields.js';
import { type Crm, CrmError, type CrmPage, type CrmRecord } from '../../examples/crm.js';
import type { Provider, Timestamp } from '../../src/index.js';
import { customCrm } from '../simulated-crm/adapters/custom.js';
import { subjectOf } from './subjects.js';

export interface BrokenAdapter {
  /** What it does wrong. */
  what: string;
  /** The name of the rule that it breaks. */
  rule: string;
  subject: Subject<never>;
}

export const nothing = {
  records: [],
  isLast: true,
  next: null,
  syncedTo: '2026-01-01T00:00:00.000000Z',
} satisfies CrmPage;

type Change = (adapter: Crm) => Partial<Crm>;

/** The project's own adapter with some members in place of its own. */
export function broken(what: string, rule: string, provider: Provider, change: Change): BrokenAdapter {
  const subject = subjectOf(provider, (adapter) => ({ ...adapter, ...change(adapter) }));
  return { what, rule, subject: subject as unknown as Subject<never> };
}

/** One that changes the records of its pages. */
export function inLists(
  what: string,
  rule: string,
  provider: Provider,
  change: (record: CrmRecord) => CrmRecord,
): BrokenAdapter {
  return broken(what, rule, provider, ({ readPage }) => ({
    async readPage(type, from) {
      const page = await readPage(type, from);
      return { ...page, records: page.records.map(change) };
    },
  }));
}

/** One that changes its errors. */
export function failing(
  what: string,
  rule: string,
  provider: Provider,
  change: (error: CrmError) => Error,
): BrokenAdapter {
  const rethrow = (error: unknown): never => {
    throw error instanceof CrmError ? change(error) : error;
  };
  return broken(what, rule, provider, ({ readPage, read, write }) => ({
    readPage: (...args) => readPage(...args).catch(rethrow),
    read: (...args) => read(...args).catch(rethrow),
    write: (...args) => write(...args).catch(rethrow),
  }));
}

/** One for our own CRM that changes its requests or answers. */
export function sending(what: string, rule: string, change: (send: Send) => Send): BrokenAdapter {
  return { what, rule, subject: customSubject(change) };
}

/** @param timeLimit in place of the one that it is given */
export function customSubject(change: (send: Send) => Send, timeLimit?: number): Subject<never> {
  const subject: Subject<'custom'> = {
    provider: 'custom',
    open({ url, credentials, timeoutMilliseconds }) {
      const token = credentials.scheme === 'bearer' ? credentials.token : '';
      const headers = () => ({ authorization: `Bearer ${token}` });
      return customCrm(
        change(sender({ url, timeoutMilliseconds: timeLimit ?? timeoutMilliseconds, headers })),
      );
    },
  };
  return subject as unknown as Subject<never>;
}

export interface NumberedPass {
  since: string | null;
  number: number;
  begun?: Timestamp;
}

/** Reapit's adapter with pages of what changed since a time, oldest change first; `next` says what follows a page. */
export function reapitPaging(
  next: (pass: NumberedPass, page: { found: ReapitContact[]; isLast: boolean; date: Timestamp }) => CrmPage,
): Subject<never> {
  const subject: Subject<'reapit'> = {
    provider: 'reapit',
    async open(access) {
      const send = await signing(access);
      const adapter = adapterOf(access, send);
      return {
        ...adapter,
        async readPage(entityType, from) {
          if (entityType !== 'contact') return adapter.readPage(entityType, from);
          const pass = passOf<NumberedPass>(from, (since) => ({ since, number: 1 }));
          const query = { sortBy: 'modified', modifiedFrom: pass.since, pageNumber: pass.number };
          const { body, date } = await send({ path: '/contacts', query });
          const found = listIn<ReapitContact>(body, '_embedded');
          const isLast = pass.number * body.pageSize >= body.totalCount;
          if (!isLast) return next(pass, { found, date, isLast });
          const archived = await send({
            path: '/contacts',
            query: { fromArchive: true, modifiedFrom: pass.since },
          });
          return next(pass, { found: [...found, ...archived.body._embedded], date, isLast });
        },
      };
    },
  };
  return subject as unknown as Subject<never>;
}

export function changed(error: CrmError, change: Partial<CrmError>): CrmError {
  const { kind, message, ...details } = { ...error, message: error.message, ...change };
  return new CrmError(kind, message, details);
}

export function lost(): CrmError {
  return new CrmError('provider', 'No such token.', { retryable: true, isPositionLost: true });
}

/** The next whole millisecond. */
export function later(time: string): string {
  return new Date(Date.parse(time) + 1).toISOString();
}

/** The next microsecond. */
export function afterwards(time: string): string {
  const microseconds = Number(time.slice(20, 26)) + 1;
  return microseconds < 1_000_000
    ? `${time.slice(0, 20)}${String(microseconds).padStart(6, '0')}Z`
    : later(time);
}

/** A page whose time, if it is the last, was changed. */
export function atEnd(page: CrmPage, change: (time: string) => string): CrmPage {
  return page.isLast && page.next === null ? { ...page, syncedTo: change(page.syncedTo) } : page;
}

export function split(token: string): [string, string[]] {
  const [own = '', ...seen] = token.split(' ');
  return [own, seen];
}

/** A token with other values; as it is if it is not JSON. */
export function withValues(token: string, values: object): string {
  try {
    return JSON.stringify({ ...JSON.parse(token), ...values });
  } catch {
    return token;
  }
}
