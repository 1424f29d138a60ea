// Where a stream is read from, and how its cursor moves. Only the end of a pass says how far the stream has been read.
import {
  askFrom,
  type CursorPosition,
  canonicalTimestamp,
  type RecordedPosition,
  type Timestamp,
} from '@nurturehub/crm-schema';
import { CrmError, type CrmPage, type CrmPosition, type CrmRecord } from './crm.js';

/** Records that were read, and the position after them. */
export interface ReadRecords {
  records: CrmRecord[];
  position: CursorPosition;
  /** Whether the pass is at its end. */
  isLast: boolean;
}

/**
 * Reads a stream page by page, from its cursor's position to the end of the pass.
 *
 * @param now by our clock: see `positionAfter`
 */
export async function* readPages(
  read: (from: CrmPosition) => Promise<CrmPage>,
  position: RecordedPosition | null | undefined,
  options: { overlapSeconds?: number | undefined; now: Date },
): AsyncGenerator<ReadRecords> {
  const syncedTo = position?.syncedTo ?? null;
  let from = resumeAt(position, options);
  let canBeginAgain = true;
  const tokens = new Set<string>();
  for (;;) {
    if ('token' in from && tokens.has(from.token)) {
      // It would be read for ever.
      const problem = 'The CRM leads back to a page that was read before.';
      throw new CrmError('provider', problem, { retryable: true });
    }
    if ('token' in from) tokens.add(from.token);
    const page = await read(from).catch((error) => {
      if (!canBeginAgain || !(error instanceof CrmError && error.isPositionLost)) throw error;
      return undefined;
    });
    if (page === undefined) {
      from = beginAgain(syncedTo, options);
      canBeginAgain = false;
      tokens.clear();
      continue;
    }
    const { records, isLast, next } = page;
    yield { records, isLast, position: positionAfter(page, syncedTo, options.now) };
    if (isLast) return;
    from = { token: next };
  }
}

/** Joins pages into batches of at least this many records, if the CRM sends them fast enough. */
export async function* inBatches(
  pages: AsyncIterable<ReadRecords>,
  { records: enough, seconds }: { records: number; seconds: number },
): AsyncGenerator<ReadRecords> {
  let batch: ReadRecords | undefined;
  let lastUntil = 0;
  try {
    for await (const page of pages) {
      if (batch === undefined) lastUntil = performance.now() + seconds * 1000;
      batch = { ...page, records: [...(batch?.records ?? []), ...page.records] };
      if (!page.isLast && batch.records.length < enough && performance.now() < lastUntil) continue;
      yield batch;
      batch = undefined;
    }
  } catch (error) {
    // What was read before is not read again.
    if (batch !== undefined) yield batch;
    throw error;
  }
}

/** Gets the next value while the last one is worked on. */
export async function* ahead<Value>(values: AsyncGenerator<Value>): AsyncGenerator<Value> {
  try {
    for (let next = values.next(); ; ) {
      const { value, done } = await next;
      if (done) return;
      next = values.next();
      // It is reported when its turn comes; until then, it must not end the process.
      next.catch(() => {});
      yield value;
    }
  } finally {
    await values.return(undefined);
  }
}

/** Where to resume: within a pass or a feed exactly there; at the beginning of a pass a little earlier. */
export function resumeAt(
  position: RecordedPosition | null | undefined,
  options: { overlapSeconds?: number | undefined },
): CrmPosition {
  if (position?.kind === 'token') return { token: position.token };
  if (position?.kind === 'timestamp') return beginAgain(position.syncedTo, options);
  // Nothing has been read, or the position is a page number from an earlier version of this worker. Its time may be
  // that of a pass which was never read to its end, so that everything is read again, once.
  return { changedSince: null };
}

/** The beginning of a pass: every change up to `syncedTo` has been read. */
export function beginAgain(
  syncedTo: Timestamp | null,
  options: { overlapSeconds?: number | undefined },
): CrmPosition {
  return { changedSince: askFrom(syncedTo, options) };
}

/**
 * The position after a page.
 *
 * @param syncedTo up to where every change had been read before
 * @param now by our clock: a time in the future would let the cursor pass every change until then
 * @throws CrmError if the adapter breaks a rule of `Crm.readPage`
 */
export function positionAfter(page: CrmPage, syncedTo: Timestamp | null, now: Date): CursorPosition {
  if (!page.isLast) {
    if (page.next == null) throw broken('The adapter did not say where the next page begins.');
    // Without a time, the cursor keeps the one that it has.
    return { kind: 'token', token: page.next };
  }
  // A pass that was begun slightly before the cursor may end before it.
  const reached = latest(syncedTo, earliest(page.syncedTo, now));
  if (page.next != null) return { kind: 'token', token: page.next, syncedTo: reached };
  if (page.syncedTo == null) throw broken('The adapter did not say up to where it has read.');
  return { kind: 'timestamp', syncedTo: reached as Timestamp };
}

/** Limits a time from the CRM to our own time. */
function earliest(point: string | null | undefined, now: Date): Timestamp | null {
  if (point == null) return null;
  const [first] = [timeIn(point), canonicalTimestamp(now.toISOString())].sort();
  return first as Timestamp;
}

/** The later of two times, either of which may be unknown. */
function latest(one: Timestamp | null, other: Timestamp | null): Timestamp | null {
  if (one === null || other === null) return one ?? other;
  return one > other ? one : other;
}

function timeIn(text: string): Timestamp {
  try {
    return canonicalTimestamp(text);
  } catch {
    throw broken('The adapter gave a time that is none, or that has no zone: see canonicalTimestamp.');
  }
}

function broken(message: string): CrmError {
  return new CrmError('provider', message, { retryable: false });
}
