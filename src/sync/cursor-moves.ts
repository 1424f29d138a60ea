import { checkStreamKey, type StreamKey } from '../keys.js';
import { timestampParameter } from '../timestamps.js';
import { cursorKinds, type Timestamp } from '../types.js';
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
  /** The version that was read; 0 if there was no such cursor. One more once it has moved. */
  version: number;
  /** Where it is to stand. */
  position: CursorPosition;
}

const moveFields = fieldsOf<CursorMove>({ direction: true, entityType: true, version: true, position: true });
/** Of all kinds: something may be left over where a position becomes one of another kind. */
const positionFields = fieldsOf<CursorPosition>({ kind: true, syncedTo: true, token: true, page: true });

/** Checks moves and turns rows to columns, as `unnest` takes them. */
export function cursorColumns(moves: readonly CursorMove[]) {
  const seen = new Set<string>();
  moves.forEach((move, rowIndex) => {
    checkMove(move, rowIndex);
    const stream = `${move.direction} ${move.entityType}`;
    if (seen.has(stream)) refuse({ field: 'cursors.entityType', rowIndex }, 'is in the batch twice');
    seen.add(stream);
  });
  const positions = moves.map(({ position }) => position);
  // pgtyped types the elements of array parameters as never null.
  return {
    cursorDirections: moves.map(({ direction }) => direction as string),
    cursorEntityTypes: moves.map(({ entityType }) => entityType),
    cursorVersions: moves.map(({ version }) => version),
    cursorKinds: positions.map(({ kind }) => kind as string),
    cursorSyncedTos: positions.map(({ syncedTo }, rowIndex) =>
      syncedTo == null
        ? null
        : timestampParameter({ field: 'cursors.position.syncedTo', rowIndex }, syncedTo),
    ) as Timestamp[],
    cursorTokens: positions.map((position) =>
      position.kind === 'token' ? position.token : null,
    ) as string[],
    cursorPages: positions.map((position) => (position.kind === 'page' ? position.page : null)) as number[],
  };
}

function checkMove(move: CursorMove, rowIndex: number): void {
  const at = (field: string): InputLocation => ({ field: `cursors.${field}`, rowIndex });
  checkObject({ field: 'cursor', rowIndex }, move);
  // A cursor that was read may be spread.
  const { movedAt: _, ...given } = move as Partial<SyncCursor>;
  checkFields({ field: 'cursor', rowIndex }, given, moveFields);
  checkStreamKey(move, at);
  checkWholeNumber(at('version'), move.version, 0, 2_147_483_646);
  const { position } = move;
  checkObject(at('position'), position);
  checkFields(at('position'), position, positionFields);
  const { kind, syncedTo } = position;
  checkOneOf(at('position.kind'), kind, cursorKinds);
  if (kind === 'timestamp' && syncedTo == null) refuse(at('position.syncedTo'), 'is missing');
  if (kind === 'page') checkWholeNumber(at('position.page'), position.page, 0, 2_147_483_647);
  if (kind === 'token') {
    checkText(at('position.token'), position.token);
    const bytes = Buffer.byteLength(position.token);
    if (bytes < 1 || bytes > 4096) refuse(at('position.token'), 'has to have 1 to 4,096 bytes');
  }
}
