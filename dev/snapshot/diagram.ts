import {
  type Box,
  type Frame,
  headHeight,
  type Line,
  layOut,
  noteHeight,
  type Point,
  rowHeight,
} from './layout.js';
import { shortType } from './markdown.js';
import { type Column, isAppendOnly, keyColumns, type Schema, type Table } from './schema.js';

/** The text of docs/schema.svg: the tables by group, their columns and keys, and the foreign keys. */
export function diagram({ tables }: Schema): string {
  const width = Math.max(...tables.map(widthOf));
  const layout = layOut(tables, width, (table) => notesOf(table).length);
  const margin = 20;
  const legendHeight = 18 * legend.length + 16;
  const size = {
    width: Math.ceil(layout.width) + 2 * margin,
    height: Math.ceil(layout.height) + 2 * margin + legendHeight,
  };
  const table = (name: string) => tables.find((candidate) => candidate.name === name) as Table;
  const legendTop = margin + Math.ceil(layout.height) + 28;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" width="${size.width}" height="${size.height}" role="img" aria-labelledby="title">
  <title id="title">The tables of the CRM schema by group, with their columns, keys and foreign keys</title>
  <style>${style}  </style>
  <rect class="page" x="0.5" y="0.5" width="${size.width - 1}" height="${size.height - 1}" rx="10"/>
  <g transform="translate(${margin} ${margin})">
${layout.frames.map(frameOf).join('\n')}
${layout.lines.map((line) => lineOf(line, table(line.from))).join('\n')}
${[...layout.boxes].map(([name, box]) => boxOf(table(name), box)).join('\n')}
  </g>
${legend.map((text, index) => `  <text class="legend" x="${margin}" y="${legendTop + 18 * index}">${text}</text>`).join('\n')}
</svg>
`;
}

const legend = [
  'PK primary key · FK foreign key · UK unique key; “UK where”: among these rows only · ? nullable',
  'crow’s foot: many rows · bar: one row · dashed: deleted with the row it references',
];

const style = `
    text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", Helvetica, Arial, sans-serif; font-size: 13px; fill: #1f2328; }
    .page { fill: #ffffff; stroke: #d1d9e0; }
    .frame { fill: #f6f8fa; stroke: #d1d9e0; }
    .group { font-size: 14px; font-weight: 600; fill: #59636e; }
    .identity { fill: #eef8f0; stroke: #b7dfc0; }
    .schedule { fill: #eef5fd; stroke: #b6d4f5; }
    .work { fill: #fdf6e7; stroke: #ecd7a3; }
    .history { fill: #f6f1fd; stroke: #d6c5f2; }
    .box { fill: #ffffff; stroke: #8c959f; }
    .head { fill: #dbe9f9; }
    .host-table .head { fill: #e1e4e8; }
    .name { font-size: 13.5px; font-weight: 600; }
    .stripe { fill: #f6f8fa; }
    .mark { font-size: 9.5px; font-weight: 600; fill: #0a56b5; }
    .type, .note { font-size: 11.5px; fill: #59636e; }
    .badge { fill: #6639ba; }
    .badge-text { font-size: 11px; font-weight: 600; fill: #ffffff; }
    .line, .foot { fill: none; stroke: #57606a; stroke-width: 1.3; }
    .cascade { stroke-dasharray: 5 3; }
    .legend { font-size: 12.5px; fill: #59636e; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3; }
      .page { fill: #0d1117; stroke: #30363d; }
      .frame { fill: #161b22; stroke: #30363d; }
      .identity { fill: #0f2417; stroke: #265b35; }
      .schedule { fill: #0e1e33; stroke: #23456f; }
      .work { fill: #261e0c; stroke: #5c4a1c; }
      .history { fill: #1d1530; stroke: #46347a; }
      .box { fill: #0d1117; stroke: #6e7681; }
      .head { fill: #14325a; }
      .host-table .head { fill: #2a3038; }
      .stripe { fill: #161b22; }
      .mark { fill: #79b8ff; }
      .group, .type, .note, .legend { fill: #9ba4ae; }
      .badge { fill: #8957e5; }
      .badge-text { fill: #ffffff; }
      .line, .foot { stroke: #9198a1; }
    }
`;

/** Where the names of columns begin, after the marks. */
const nameStart = 66;

/** Wide enough for its texts in a wide font, because every reader's font differs. */
function widthOf(table: Table): number {
  const widths = table.columns.map(
    (column) => nameStart + column.name.length * 7.4 + 12 + typeOf(column).length * 6.4 + 10,
  );
  const notes = notesOf(table).map((note) => 20 + note.length * 6.2);
  return Math.ceil(Math.max(...widths, ...notes));
}

function typeOf({ type, isNullable }: Column): string {
  return `${shortType(type).replace(/ collate .*/, '')}${isNullable ? '?' : ''}`;
}

/** What the columns do not show. */
function notesOf({ indexes, partitionKey }: Table): string[] {
  return [
    ...indexes
      .filter(({ isUnique, predicate }) => isUnique && predicate !== null)
      .map(({ predicate }) => `UK where ${predicate?.replace(/::\w+/g, '').toLowerCase()}`),
    ...(partitionKey === null ? [] : [`partitioned by ${partitionKey.toLowerCase()}`]),
  ];
}

function frameOf({ title, id, x, y, width, height }: Frame): string {
  return `    <rect class="frame ${id}" x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}" rx="10"/><text class="group" x="${round(x + 14)}" y="${round(y + 20)}">${title}</text>`;
}

function boxOf(table: Table, { x, y, width, height }: Box): string {
  const { primary, foreign, unique } = keyColumns(table);
  const rows = table.columns.map((column, index) => {
    const top = headHeight + index * rowHeight;
    const marks = [
      ...(primary.has(column.name) ? ['PK'] : []),
      ...(foreign.has(column.name) ? ['FK'] : []),
      ...(unique.has(column.name) ? ['UK'] : []),
    ];
    const baseline = top + rowHeight / 2 + 4;
    return [
      ...(index % 2 === 1
        ? [`<rect class="stripe" x="0.5" y="${top}" width="${width - 1}" height="${rowHeight}"/>`]
        : []),
      ...(marks.length > 0 ? [`<text class="mark" x="8" y="${baseline}">${marks.join(' ')}</text>`] : []),
      `<text x="${nameStart}" y="${baseline}">${column.name}</text>`,
      `<text class="type" x="${width - 10}" y="${baseline}" text-anchor="end">${typeOf(column)}</text>`,
    ].join('');
  });
  const notesTop = headHeight + table.columns.length * rowHeight;
  const notes = notesOf(table).map(
    (note, index) =>
      `<text class="note" x="8" y="${notesTop + index * noteHeight + 14}">${escaped(note)}</text>`,
  );
  return `    <g${table.isHost ? ' class="host-table"' : ''} transform="translate(${round(x)} ${round(y)})">
      <rect class="box" width="${width}" height="${height}" rx="6"/>
      <path class="head" d="M0.5 ${headHeight}V6.5a6 6 0 0 1 6 -6H${width - 6.5}a6 6 0 0 1 6 6V${headHeight}z"/>
      <text class="name" x="10" y="${headHeight / 2 + 5}">${table.name}</text>${isAppendOnly(table) ? badge('append-only', width) : ''}
      ${[...rows, ...notes].join('\n      ')}
    </g>`;
}

/** A mark at the right of a table's head. */
function badge(text: string, width: number): string {
  const size = text.length * 6.6 + 14;
  const left = width - 8 - size;
  return `<rect class="badge" x="${round(left)}" y="6" width="${round(size)}" height="18" rx="9"/><text class="badge-text" x="${round(left + size / 2)}" y="19" text-anchor="middle">${text}</text>`;
}

/** A foreign key: a crow's foot at the many rows, a bar across at the one row. */
function lineOf({ constraint, points }: Line, table: Table): string {
  const key = table.constraints.find(({ name }) => name === constraint);
  const [start, first, last, end] = points;
  const path = `M${xy(start)}C${xy(first)} ${xy(last)} ${xy(end)}`;
  const many = towards(start, first);
  const one = towards(end, last);
  const foot = `M${xy(many(0, 5))}L${xy(many(11, 0))}L${xy(many(0, -5))}`;
  const bar = `M${xy(one(8, 5))}L${xy(one(8, -5))}`;
  const isCascade = key?.references?.onDelete === 'c';
  return `    <path class="line${isCascade ? ' cascade' : ''}" d="${path}"><title>${constraint}</title></path><path class="foot" d="${foot}${bar}"/>`;
}

/** Points by their distance along a line and beside it. */
function towards(from: Point, to: Point): (along: number, beside: number) => Point {
  const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const direction = { x: (to.x - from.x) / length, y: (to.y - from.y) / length };
  return (along, beside) => ({
    x: from.x + along * direction.x - beside * direction.y,
    y: from.y + along * direction.y + beside * direction.x,
  });
}

function xy({ x, y }: Point): string {
  return `${round(x)} ${round(y)}`;
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
