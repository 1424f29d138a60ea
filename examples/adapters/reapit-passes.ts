// How Reapit's contacts are read without missing one while others change. It has numbered pages only, so an edit, a
// deletion or an archiving moves records from page to page.
//
// - All contacts are read from the last page to the first: whatever moves others moves them to pages that are still to be
//   read. Then what was modified since the pass began is read by time. Also contacts without a modified time are found.
// - Changes are read by time: each page begins at the last time of the page before. If more contacts share that time
//   than fit on a page, those are read from their last page to the first.
//
// Archived contacts are a list of their own, which is read after the others: what moves from one to the other meanwhile
// is modified, and comes with the next pass.
import { canonicalTimestamp, type Timestamp } from '@nurturehub/crm-schema';
import { CrmError } from '../crm.js';
import type { Query } from './http.js';
import { greatest, reached } from './passes.js';

/** A pass: where its next page begins. */
export interface ReapitPass {
  /** `changedSince`; null for everything. */
  since: Timestamp | null;
  /** When it began, by Reapit's clock; null before its first page. */
  begun: Timestamp | null;
  /** The latest modified time that it has seen. */
  latest: Timestamp | null;
  isArchive: boolean;
  /** The time at which the page begins; null: all contacts. */
  at: Timestamp | null;
  /** The number of the page, of those that were modified at `at`; 0: how many there are is not known yet. Null: by time. */
  page: number | null;
}

/** What a page tells. */
export interface ReapitPage {
  /** The modified times of its contacts. */
  times: readonly (Timestamp | null)[];
  pageSize: number;
  totalCount: number;
  readonly date: Timestamp;
}

export function begin(since: Timestamp | null): ReapitPass {
  return { ...listFrom(since), since, begun: null, latest: null, isArchive: false };
}

/** The most that Reapit puts on a page. */
const pageSize = 100;

export function queryOf({ at, page, isArchive }: ReapitPass): Query {
  return {
    sortBy: 'modified',
    fromArchive: isArchive,
    modifiedFrom: at,
    modifiedTo: page === null || at === null ? null : nextMicrosecond(at),
    pageNumber: page || 1,
    pageSize,
  };
}

/** The pass after a page, or the time up to which every change has been read. */
export function passAfter(pass: ReapitPass, page: ReapitPage): ReapitPass | { syncedTo: Timestamp } {
  const latest = greatest([pass.latest, ...page.times]) ?? null;
  const begun = pass.begun ?? (greatest([page.date, latest]) as Timestamp);
  const next = { ...pass, latest, begun };
  const isAll = page.totalCount <= page.times.length;
  if (pass.page === null && !isAll) {
    checkOrder(page.times);
    const at = greatest([pass.at, ...page.times]) ?? null;
    return { ...next, at, page: at === pass.at ? 0 : null };
  }
  if (pass.page !== null) {
    const pages = isAll ? 0 : Math.ceil(page.totalCount / page.pageSize);
    const number = pass.page === 0 ? pages : pass.page - 1;
    if (number > 0) return { ...next, page: number };
    if (pass.at !== null) return { ...next, at: nextMicrosecond(pass.at), page: null };
    // What was modified meanwhile was moved behind those that were read.
    if (pass.page > 0) return { ...next, at: begun, page: null };
  }
  if (!pass.isArchive) return { ...next, ...listFrom(pass.since), isArchive: true };
  return { syncedTo: reached(next, [latest]) };
}

/** The beginning of a list. */
function listFrom(since: Timestamp | null): Pick<ReapitPass, 'at' | 'page'> {
  return { at: since, page: since === null ? 0 : null };
}

/** By time, contacts in another order would be skipped. */
function checkOrder(times: ReapitPage['times']): void {
  const known = times.filter((time) => time !== null);
  if (known.every((time, index) => index === 0 || time >= (known[index - 1] as Timestamp))) return;
  throw new CrmError('provider', 'The list is not in the order of modification.', { retryable: true });
}

/** The end of a microsecond: Reapit's times have a seventh digit. */
function nextMicrosecond(time: Timestamp): Timestamp {
  const next = Number(time.slice(20, 26)) + 1;
  if (next < 1_000_000) return `${time.slice(0, 20)}${String(next).padStart(6, '0')}Z`;
  const second = new Date(Date.parse(`${time.slice(0, 19)}Z`) + 1000);
  return canonicalTimestamp(second.toISOString());
}
