import { columnCount, groupsOf } from './groups.js';
import type { Constraint, Table } from './schema.js';

export interface Point {
  x: number;
  y: number;
}

export interface Box extends Point {
  width: number;
  height: number;
}

export interface Frame extends Box {
  title: string;
  id: string;
}

/** A foreign key. */
export interface Line {
  from: string;
  constraint: string;
  /** A Bézier curve from the key's row to the row it references: start, two control points, end. */
  points: [Point, Point, Point, Point];
}

/** Where everything is, in pixels from the top left. */
export interface Layout {
  width: number;
  height: number;
  frames: Frame[];
  boxes: Map<string, Box>;
  lines: Line[];
}

export const headHeight = 30;
export const rowHeight = 20;
export const noteHeight = 18;
/** Below the last row. */
const footHeight = 5;
/** Between tables of neighbouring columns: room for the lines. */
const columnGap = 96;
const padding = 14;
const titleHeight = 30;
const stackGap = 20;
const frameGap = 26;

/**
 * Places the tables in three columns, by group, and draws each foreign key in the gap between two columns.
 *
 * @param width of every table, in pixels
 * @param notes the number of lines below a table's columns
 */
export function layOut(tables: readonly Table[], width: number, notes: (table: Table) => number): Layout {
  const leftOf = (column: number) => padding + column * (width + columnGap);
  const bottoms = Array.from({ length: columnCount }, () => 0);
  const boxes = new Map<string, Box>();
  const columns = new Map<string, number>();
  const frames = groupsOf(tables).map(({ title, id, column, stacks }): Frame => {
    const top = Math.max(...stacks.map((_, index) => bottoms[column + index] ?? 0));
    const heights = stacks.map((stack, index) => {
      let y = top + titleHeight;
      for (const table of stack) {
        const height = headHeight + table.columns.length * rowHeight + notes(table) * noteHeight + footHeight;
        boxes.set(table.name, { x: leftOf(column + index), y, width, height });
        columns.set(table.name, column + index);
        y += height + stackGap;
      }
      return y - stackGap + padding - top;
    });
    const height = Math.max(...heights);
    for (const index of stacks.keys()) bottoms[column + index] = top + height + frameGap;
    return {
      title,
      id,
      x: leftOf(column) - padding,
      y: top,
      width: leftOf(column + stacks.length - 1) + width + padding - (leftOf(column) - padding),
      height,
    };
  });
  const lines = tables.flatMap((table) =>
    table.constraints.flatMap((constraint) => lineOf(table, constraint, { tables, boxes, columns })),
  );
  return {
    width: leftOf(columnCount - 1) + width + padding,
    height: Math.max(...bottoms) - frameGap,
    frames,
    boxes,
    lines,
  };
}

interface Places {
  tables: readonly Table[];
  boxes: Map<string, Box>;
  columns: Map<string, number>;
}

function lineOf(table: Table, { name, columns: key, references }: Constraint, places: Places): Line[] {
  if (references === null) return [];
  const { tables, boxes, columns } = places;
  const referenced = tables.find((candidate) => candidate.name === references.table);
  if (referenced === undefined) return [];
  const [many, one] = [boxes.get(table.name), boxes.get(referenced.name)] as [Box, Box];
  const [from, to] = [columns.get(table.name), columns.get(referenced.name)] as [number, number];
  const line = (points: Line['points']): Line[] => [{ from: table.name, constraint: name, points }];
  if (from === to && isNextTo(many, one, boxes)) {
    // Past the title of the frame.
    const x = many.x + many.width * 0.75;
    const [start, end] = many.y > one.y ? [many.y, one.y + one.height] : [many.y + many.height, one.y];
    const middle = (start + end) / 2;
    return line([
      { x, y: start },
      { x, y: middle },
      { x, y: middle },
      { x, y: end },
    ]);
  }
  // The tenant is in every key: the last column tells keys apart.
  const rowY = (box: Box, inTable: Table, column: string | undefined) =>
    box.y + headHeight + (inTable.columns.findIndex((each) => each.name === column) + 0.5) * rowHeight;
  const [start, end] = [rowY(many, table, key.at(-1)), rowY(one, referenced, references.columns.at(-1))];
  const isRight = from < to || (from === to && from === 0);
  const [startX, endX] = [
    isRight ? many.x + many.width : many.x,
    isRight && from < to ? one.x : from === to ? (isRight ? one.x + one.width : one.x) : one.x + one.width,
  ];
  const bend = from === to ? (isRight ? columnGap / 2 : -columnGap / 2) : (endX - startX) / 2;
  return line([
    { x: startX, y: start },
    { x: startX + bend, y: start },
    { x: from === to ? startX + bend : endX - bend, y: end },
    { x: endX, y: end },
  ]);
}

/** Whether no table is between two of the same column. */
function isNextTo(one: Box, other: Box, boxes: Map<string, Box>): boolean {
  const [top, bottom] = [Math.min(one.y, other.y), Math.max(one.y, other.y)];
  return ![...boxes.values()].some(({ x, y }) => x === one.x && y > top && y < bottom);
}
