import { CrmSchemaError } from '../errors.js';
import * as queries from '../generated/crm_sync_cursors.js';
import { type ConnectionKey, checkConnectionKey, checkStreamKey, type StreamKey } from '../keys.js';
import type { Queryable } from '../statements/prepared-query.js';
import { timestampParameter } from '../timestamps.js';
import type { CursorKind, SyncDirection, Timestamp, TimestampInput } from '../types.js';
import { checkWholeNumber } from '../validation.js';

/** Where a stream resumes, in what the CRM takes. */
export type CursorPosition =
  | {
      /** By the time of the change. */
      kind: 'timestamp';
      /**
       * Up to when everything that the CRM changed has arrived, by the CRM's clock: what it changed at that
       * very moment has, too.
       */
      syncedTo: TimestampInput;
    }
  | {
      /** By something that the CRM gave. */
      kind: 'token';
      /** That: opaque, 1 to 4,096 bytes. */
      token: string;
      /** As of a `timestamp`; null, or not given: what is known stays. */
      syncedTo?: TimestampInput | null | undefined;
    }
  | {
      /** By a page number or an offset. */
      kind: 'page';
      /** That: from 0. It may begin again when `syncedTo` moves on, and only then. */
      page: number;
      /** As of a `timestamp`; null, or not given: what is known stays. */
      syncedTo?: TimestampInput | null | undefined;
    };

/** Where a stream stands, in what the CRM takes: a {@link CursorPosition} as it was recorded. */
export type RecordedPosition =
  | {
      /** By the time of the change. */
      kind: 'timestamp';
      /**
       * Up to when everything that the CRM changed has arrived, by the CRM's clock: what it changed at that
       * very moment has, too.
       */
      syncedTo: Timestamp;
    }
  | {
      /** By something that the CRM gave. */
      kind: 'token';
      /** That. */
      token: string;
      /** As of a `timestamp`; null while it is not known. */
      syncedTo: Timestamp | null;
    }
  | {
      /** By a page number or an offset. */
      kind: 'page';
      /** That. */
      page: number;
      /** As of a `timestamp`; null while it is not known. */
      syncedTo: Timestamp | null;
    };

/** Where a stream stands. */
export interface SyncCursor extends StreamKey {
  /** Null after a reset: from the beginning. */
  position: RecordedPosition | null;
  /** Counts the moves: whoever moves the cursor says from which version. */
  version: number;
  /** When it last moved or was reset. */
  movedAt: Timestamp;
}

/**
 * Where the streams of a connection stand; a stream that was never recorded is not there.
 *
 * @throws CrmSchemaError `invalid_input`
 */
export async function syncCursorList(client: Queryable, key: ConnectionKey): Promise<SyncCursor[]> {
  checkConnectionKey(key);
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
 * Lets one stream of a live connection begin again; with an inbound one, the connection's own cursor is
 * forgotten too. A run that is open meets `cursor_conflict`. For all inbound streams at once:
 * `connectionResetLastSyncedAt`.
 *
 * @returns whether there was such a stream
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
 * Removes the cursor of a stream that is not synced any more; until then it holds up the connection's own.
 *
 * @returns whether there was such a stream
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
 * From when to ask the CRM for changes: a while before the point that was reached, because what a CRM
 * commits late, or stamps with another machine's clock, lies behind it. Reading a record twice does no
 * harm; missing one does. Never rounds up.
 *
 * @param syncedTo the point that was reached, a {@link Timestamp}; null for everything
 * @returns ISO 8601 in UTC, `2026-11-23T09:25:00.123456Z`; null for everything
 * @throws CrmSchemaError `invalid_input`
 */
export function askFrom(
  syncedTo: Timestamp | null | undefined,
  options: {
    /** How far to go back, in seconds: 0 to 604,800; 300 if not given. */
    overlapSeconds?: number | undefined;
    /** How many digits of a second the CRM takes: 0 to 6; 6 if not given. */
    fractionalDigits?: number | undefined;
  } = {},
): string | null {
  const { overlapSeconds = 300, fractionalDigits = 6 } = options;
  checkWholeNumber({ field: 'overlapSeconds' }, overlapSeconds, 0, 604_800);
  checkWholeNumber({ field: 'fractionalDigits' }, fractionalDigits, 0, 6);
  if (syncedTo == null) return null;
  const reached = timestampParameter({ field: 'syncedTo' }, syncedTo);
  // To the whole second by Date, which has no microseconds; those are kept as they are.
  const seconds = new Date(Date.parse(`${reached.slice(0, 19)}Z`) - overlapSeconds * 1000);
  const fraction = reached.slice(20, 20 + fractionalDigits);
  return `${seconds.toISOString().slice(0, 19)}${fraction === '' ? '' : `.${fraction}`}Z`;
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
      throw new CrmSchemaError('invalid_input', `A newer version of the schema has cursors of kind ${kind}.`);
  }
}
