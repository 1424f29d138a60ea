import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/crm_sync_cursors.js';
import { type ConnectionKey, checkConnectionKey, checkStreamKey, type StreamKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { CursorKind, SyncDirection, Timestamp, TimestampInput } from '../types.js';
import { checkOptions, checkWholeNumber } from '../validation.js';

/** Where a stream resumes, in the form that the CRM accepts. */
export type CursorPosition =
  | {
      /** By time of change. */
      kind: 'timestamp';
      /**
       * Everything that the CRM changed up to and including this time has arrived. By the CRM's clock.
       */
      syncedTo: TimestampInput;
    }
  | {
      /** By a token from the CRM. */
      kind: 'token';
      /** The token: opaque, 1 to 4,096 bytes. */
      token: string;
      /** As for a `timestamp`. Null or omitted keeps the recorded time. */
      syncedTo?: TimestampInput | null | undefined;
    }
  | {
      /** By a page number or an offset. */
      kind: 'page';
      /** The page or offset, from 0. It may only go back when `syncedTo` advances, or the stream starts over. */
      page: number;
      /** As for a `timestamp`. Null or omitted keeps the recorded time. */
      syncedTo?: TimestampInput | null | undefined;
    };

/** Where a stream is: a {@link CursorPosition} as recorded. */
export type RecordedPosition =
  | {
      /** By time of change. */
      kind: 'timestamp';
      /**
       * Everything that the CRM changed up to and including this time has arrived. By the CRM's clock.
       */
      syncedTo: Timestamp;
    }
  | {
      /** By a token from the CRM. */
      kind: 'token';
      /** The token. */
      token: string;
      /** As for a `timestamp`; null while unknown. */
      syncedTo: Timestamp | null;
    }
  | {
      /** By a page number or an offset. */
      kind: 'page';
      /** The page or offset. */
      page: number;
      /** As for a `timestamp`; null while unknown. */
      syncedTo: Timestamp | null;
    };

/** A stream's cursor. */
export interface SyncCursor extends StreamKey {
  /** Null after a reset: the stream starts from the beginning. */
  position: RecordedPosition | null;
  /** Incremented by each move and reset. A `CursorMove` must name the version that it starts from. */
  version: number;
  /** When the cursor last moved or was reset. */
  movedAt: Timestamp;
}

/**
 * Lists the cursors of a connection's streams. A stream whose cursor was never recorded is missing.
 *
 * @throws CrmSchemaError `invalid_input`
 *
 * @example
 * ```ts
 * import { askFrom, type ConnectionKey, syncCursorList } from '@nurturehub/crm-schema';
 * import type pg from 'pg';
 *
 * // The time from which to read contacts; null for all of them.
 * export async function readContactsFrom(pool: pg.Pool, connection: ConnectionKey) {
 *   const cursors = await syncCursorList(pool, connection);
 *   const cursor = cursors.find(({ direction, entityType }) => direction === 'inbound' && entityType === 'contact');
 *   return askFrom(cursor?.position?.syncedTo);
 * }
 * ```
 */
export async function syncCursorList(client: Queryable, key: ConnectionKey): Promise<SyncCursor[]> {
  checkConnectionKey(key, 'key');
  const rows = await queries.syncCursorList.run(key, client);
  return rows.map(({ direction, entityType, kind, syncedTo, token, page, version, movedAt }) => ({
    direction: direction as SyncDirection,
    entityType,
    position: positionOf(kind as CursorKind | null, syncedTo, token, page),
    version,
    movedAt,
  }));
}

/**
 * Resets the cursor of one stream of a live connection: the stream starts again from the beginning. Resetting
 * an inbound stream also clears the connection's own cursor. The open run's next batch for that stream fails
 * with `cursor_conflict`. To reset all inbound streams at once, call `connectionResetLastSyncedAt`.
 *
 * @returns whether the stream had a cursor
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncCursorReset(
  client: Queryable,
  params: ConnectionKey & StreamKey,
): Promise<boolean> {
  checkConnectionKey(params);
  checkStreamKey(params);
  const rows = await queries.syncCursorReset.run(params, client);
  return rows.length === 1;
}

/**
 * Removes the cursor of a stream that is no longer synced. Until then it holds back the connection's own
 * cursor.
 *
 * @returns whether the stream had a cursor
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncCursorForget(
  client: Queryable,
  params: ConnectionKey & StreamKey,
): Promise<boolean> {
  checkConnectionKey(params);
  checkStreamKey(params);
  const rows = await queries.syncCursorForget.run(params, client);
  return rows.length === 1;
}

/**
 * Computes the time from which to ask the CRM for changes: shortly before `syncedTo`, because a CRM may
 * commit changes late, or stamp them by another machine's clock. Reading a record twice does no harm; missing
 * one does. Never rounds up.
 *
 * @param syncedTo a {@link Timestamp}, from the cursor; null for everything
 * @returns ISO 8601 in UTC, `2026-11-23T09:25:00.123456Z`; null for everything
 * @throws CrmSchemaError `invalid_input`
 */
export function askFrom(
  syncedTo: Timestamp | null | undefined,
  options: {
    /** How far to go back, in seconds: 0 to 604,800; defaults to 300. */
    overlapSeconds?: number | undefined;
    /** How many fractional digits of a second the CRM accepts: 0 to 6; defaults to 6. */
    fractionalDigits?: number | undefined;
  } = {},
): string | null {
  checkOptions(options);
  const { overlapSeconds = 300, fractionalDigits = 6 } = options;
  checkWholeNumber({ field: 'overlapSeconds' }, overlapSeconds, 0, 604_800);
  checkWholeNumber({ field: 'fractionalDigits' }, fractionalDigits, 0, 6);
  if (syncedTo == null) return null;
  const timestamp = timestampParameter({ field: 'syncedTo' }, syncedTo);
  // Date has no microseconds, so it computes whole seconds, and the fraction is copied.
  const startSecond = new Date(Date.parse(`${timestamp.slice(0, 19)}Z`) - overlapSeconds * 1000);
  const fraction = timestamp.slice(20, 20 + fractionalDigits);
  return `${startSecond.toISOString().slice(0, 19)}${fraction === '' ? '' : `.${fraction}`}Z`;
}

function positionOf(
  kind: CursorKind | null,
  syncedTo: Timestamp | null,
  token: string | null,
  page: number | null,
): RecordedPosition | null {
  switch (kind) {
    case null:
      return null;
    case 'timestamp':
      return { kind, syncedTo: syncedTo as Timestamp };
    case 'token':
      return { kind, token: token as string, syncedTo };
    case 'page':
      return { kind, page: page as number, syncedTo };
    default:
      throw new CrmSchemaError(
        'invalid_input',
        `The cursor is of kind ${kind}, which needs a newer version of this package.`,
      );
  }
}
