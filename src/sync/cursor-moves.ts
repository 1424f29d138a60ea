import type { SyncBatchRecordParams } from '../generated/sync_batches.js';
import { checkStreamKey, type StreamKey } from '../keys.js';
import { timestampParameter } from '../timestamps.js';
import { cursorKinds } from '../types.js';
import {
  checkFields,
  checkObject,
  checkOneOf,
  checkText,
  checkWholeNumber,
  fieldsOf,
  type InputLocation,
  refuse,
} from '../validation.js';
import type { CursorPosition, SyncCursor } from './cursors.js';

/** A stream's next position, for `syncBatchRecord`. */
export interface CursorMove extends StreamKey {
  /** The version that was read, or 0 if there was no cursor. Each move increments it. */
  version: number;
  /** The new position. */
  position: CursorPosition;
  /**
   * Whether the stream was read to its end and begins again, so that its page may go back. `syncedTo` may not; defaults
   * to false.
   */
  startsOver?: boolean | undefined;
}

const moveFieldNames = fieldsOf<CursorMove>({
  direction: true,
  entityType: true,
  version: true,
  position: true,
  startsOver: true,
});
/** The fields of every kind: a position that changes kind may still have fields of the old one. */
const positionFieldNames = fieldsOf<CursorPosition>({ kind: true, syncedTo: true, token: true, page: true });

/** Moves as columns, which is how `unnest` takes them. */
type CursorColumns = Pick<
  SyncBatchRecordParams,
  | 'cursorDirections'
  | 'cursorEntityTypes'
  | 'cursorVersions'
  | 'cursorKinds'
  | 'cursorSyncedTos'
  | 'cursorTokens'
  | 'cursorPages'
  | 'areCursorsStartingOver'
>;

/** Checks moves and turns them into columns, in one pass. */
export function cursorColumns(moves: readonly CursorMove[]): CursorColumns {
  const columns: CursorColumns = {
    cursorDirections: [],
    cursorEntityTypes: [],
    cursorVersions: [],
    cursorKinds: [],
    cursorSyncedTos: [],
    cursorTokens: [],
    cursorPages: [],
    areCursorsStartingOver: [],
  };
  const streams = new Set<string>();
  moves.forEach((move, rowIndex) => {
    checkMove(move, rowIndex);
    const { direction, entityType, version, position, startsOver = false } = move;
    const stream = `${direction} ${entityType}`;
    if (streams.has(stream)) refuse({ field: 'cursors.entityType', rowIndex }, 'is in the batch twice');
    streams.add(stream);
    const { kind, syncedTo } = position;
    columns.cursorDirections.push(direction);
    columns.cursorEntityTypes.push(entityType);
    columns.cursorVersions.push(version);
    columns.cursorKinds.push(kind);
    columns.cursorSyncedTos.push(
      syncedTo == null
        ? null
        : timestampParameter({ field: 'cursors.position.syncedTo', rowIndex }, syncedTo),
    );
    columns.cursorTokens.push(kind === 'token' ? position.token : null);
    columns.cursorPages.push(kind === 'page' ? position.page : null);
    columns.areCursorsStartingOver.push(startsOver);
  });
  return columns;
}

function checkMove(move: CursorMove, rowIndex: number): void {
  const locate = (field: string): InputLocation => ({ field: `cursors.${field}`, rowIndex });
  checkObject({ field: 'cursor', rowIndex }, move);
  // Callers may spread a cursor that they read.
  const { movedAt: _, ...given } = move as Partial<SyncCursor>;
  checkFields({ field: 'cursor', rowIndex }, given, moveFieldNames);
  checkStreamKey(move, locate);
  checkWholeNumber(locate('version'), move.version, 0, 2_147_483_646);
  const { position, startsOver } = move;
  if (startsOver !== undefined && typeof startsOver !== 'boolean')
    refuse(locate('startsOver'), 'must be true or false');
  checkObject(locate('position'), position);
  checkFields(locate('position'), position, positionFieldNames);
  const { kind, syncedTo } = position;
  checkOneOf(locate('position.kind'), kind, cursorKinds);
  if (kind === 'timestamp' && syncedTo == null) refuse(locate('position.syncedTo'), 'is missing');
  if (kind === 'page') checkWholeNumber(locate('position.page'), position.page, 0, 2_147_483_647);
  if (kind === 'token') {
    checkText(locate('position.token'), position.token);
    const bytes = Buffer.byteLength(position.token);
    if (bytes < 1 || bytes > 4096) refuse(locate('position.token'), 'must have 1 to 4,096 bytes');
  }
}
