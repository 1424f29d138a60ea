// Where a stream is read from, and how its cursor moves. Only the end of a pass says how far the stream has been read.
import { EventEmitter, once } from 'node:events';
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

/**
 * Reads on while what was read before is recorded, and joins what came meanwhile: the faster the CRM, the larger the
 * batches.
 *
 * @param enough how many records wait before no more are read
 */
export async function* inBatches(
  pages: AsyncGenerator<ReadRecords>,
  enough: number,
): AsyncGenerator<ReadRecords> {
  let waiting: ReadRecords | undefined;
  let [isWanted, isOver] = [true, false];
  const changed = new EventEmitter();
  const read = async () => {
    try {
      for await (const page of pages) {
        if (!isWanted) return;
        waiting = { ...page, records: [...(waiting?.records ?? []), ...page.records] };
        changed.emit('read');
        if (waiting.records.length >= enough) await once(changed, 'taken');
      }
    } finally {
      isOver = true;
      changed.emit('read');
    }
  };
  const reading = read();
  // An error is reported when what was read before it is recorded; until then, it must not end the process.
  reading.catch(() => {});
  try {
    for (;;) {
      if (waiting === undefined && !isOver) await once(changed, 'read');
      if (waiting === undefined) break;
      const batch: ReadRecords = waiting;
      waiting = undefined;
      changed.emit('taken');
      yield batch;
    }
    await reading;
  } finally {
    isWanted = false;
    changed.emit('taken');
    await reading.catch(() => {});
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
